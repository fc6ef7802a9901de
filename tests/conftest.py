"""Fixtures of the whole suite: fresh, replayable randomness, and the folder of real data."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> torch.Generator:
    """A generator with a new seed every run; the seed is printed when the test fails."""
    seed = int(os.environ.get("GNET_SEED", secrets.randbelow(2**31)))
    request.node.user_properties.append(("seed", seed))
    return torch.Generator().manual_seed(seed)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add the line that replays a failed random test."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    seeds = [value for name, value in item.user_properties if name == "seed"]
    if report.failed and seeds:
        report.sections.append(("seed", f"replay with GNET_SEED={seeds[-1]}"))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The parent folder of ``mnist/``, ``fashion-mnist/`` ... (GNET_DATA); tests on real data skip without it."""
    root = os.environ.get("GNET_DATA")
    if not root:
        pytest.skip("real data: set GNET_DATA to the parent folder of mnist/, fashion-mnist/, ...")
    if not Path(root).is_dir():
        pytest.skip(f"real data: GNET_DATA={root} is no folder")
    return Path(root).resolve()
