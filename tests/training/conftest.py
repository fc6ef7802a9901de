"""Fixtures of the tests of training: a user's own files."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.own_files import EDGES, IDS, POSITIONS, START, STEP, C, N, T, write


@pytest.fixture
def x() -> np.ndarray:
    """Readings of two channels in units of their own, some missing."""
    values = np.random.default_rng(0).normal(size=(T, N, C)) * [1.0, 20.0] + [0.0, 100.0]
    values[::7, 2, 1] = np.nan
    values[3] = np.nan
    return values


@pytest.fixture
def folder(tmp_path: Path, x: np.ndarray) -> Path:
    """Signals (with a target per graph), edges of a path, and positions."""
    write(tmp_path, x=x, time=START + np.arange(T) * STEP, node_ids=np.array(IDS), y=np.nansum(x, (1,))[:, :1])
    (tmp_path / "edges.csv").write_text(EDGES)
    (tmp_path / "positions.csv").write_text(POSITIONS)
    return tmp_path
