"""A user's own files, small, that the tests of ``FromFiles`` share."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnet.training.data import FromFiles

IDS = ["a1", "a2", "b1", "b2", "b3"]
EDGES = "source,target,weight\na1,a2,1.5\na2,b1,0.5\nb1,b2,1\nb2,b3,2\n"
POSITIONS = "node,x,y\nb3,4,0\nb2,3,0\nb1,2,0\na2,1,0\na1,0,0\n"
T, N, C = 50, 5, 2
START, STEP = np.datetime64("2026-01-01T00:00"), np.timedelta64(5, "m")


def files(folder: Path, **options: Any) -> FromFiles:
    return FromFiles(**{"signals": "signals.npz", "edges": "edges.csv", "root": str(folder), **options})


def write(folder: Path, **arrays: Any) -> None:
    np.savez(folder / "signals.npz", **arrays)


def rows_of(module: FromFiles, split: str) -> torch.Tensor:
    """Rows of the file, from the time stamps of a split."""
    labels = module.sample_labels(split)
    if labels[0].isdigit():
        return torch.tensor([int(label) for label in labels])
    return torch.tensor([int((np.datetime64(label) - START) / STEP) for label in labels])
