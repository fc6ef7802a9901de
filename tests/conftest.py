"""Fixtures of the whole suite: fresh, replayable randomness, and the folder of real data; what solvers took, at the end."""

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


def solver_lines(cells: list[tuple[str, str, float]]) -> list[str]:
    """Of each solver how many dimensions it found, in how many seconds, and the slowest; from (dimension, solver, seconds)."""
    found = []
    for solver in sorted({solver for _, solver, _ in cells}):
        own = [(seconds, cell) for cell, its, seconds in cells if its == solver]
        total, (longest, cell) = sum(seconds for seconds, _ in own), max(own)
        found.append(f"{solver}: {len(own)} dimensions in {total:.2f} s, the slowest {cell} in {longest:.2f} s")
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Solvers of invariant tensors and their times, which pytest would swallow; of parallel runs, too."""
    reports = [each for outcome in ("passed", "failed") for each in terminalreporter.stats.get(outcome, [])]
    properties = [pair for each in reports if each.when == "call" for pair in each.user_properties]
    cells = [tuple(value) for name, value in properties if name == "solver"]
    if cells:
        terminalreporter.section("solvers of invariant tensors")
        for line in solver_lines(cells):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The parent folder of ``mnist/``, ``fashion-mnist/`` ... (GNET_DATA); tests on real data skip without it."""
    root = os.environ.get("GNET_DATA")
    if not root:
        pytest.skip("real data: set GNET_DATA to the parent folder of mnist/, fashion-mnist/, ...")
    if not Path(root).is_dir():
        pytest.skip(f"real data: GNET_DATA={root} is no folder")
    return Path(root).resolve()
