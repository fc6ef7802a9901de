"""Teams of processes, started once for all tests of a file."""

from collections.abc import Iterator

import pytest

from tests.distributed.team import Team


@pytest.fixture(scope="module")
def two() -> Iterator[Team]:
    team = Team(2)
    yield team
    team.stop()


@pytest.fixture(scope="module")
def four() -> Iterator[Team]:
    team = Team(4)
    yield team
    team.stop()
