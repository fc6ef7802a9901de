"""How a peer is asked for a basis: the case comes as JSON, the basis and the seconds go back as an npz. Runs without gnet."""

import importlib.metadata
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

ENOUGH = 10.0
"""Seconds after which a case is not repeated."""


def permutation_matrix(perm: list[int]) -> np.ndarray:
    """The matrix of a node permutation: it takes basis vector i to basis vector ``perm[i]``, (N, N)."""
    matrix = np.zeros((len(perm), len(perm)))
    matrix[perm, np.arange(len(perm))] = 1
    return matrix


def answer(basis: Callable[[dict[str, Any]], np.ndarray], packages: tuple[str, ...]) -> None:
    """Time ``basis(case)`` for the case in ``sys.argv[1]``; write the matrices (dim, N, N) and the seconds to ``sys.argv[2]``.

    Seconds are those of the processor: ``first`` those of the first call in a new process, ``seconds`` the median of up to three
    further ones, or the first again if it took longer than ``ENOUGH``. Without arguments it prints the versions of ``packages``.
    """
    if len(sys.argv) == 1:
        print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages))
        return
    with open(sys.argv[1]) as file:
        case = json.load(file)
    times: list[float] = []
    while not times or (sum(times) < ENOUGH and len(times) < 4):
        start = time.process_time()
        matrices = basis(case)
        times.append(time.process_time() - start)
    np.savez(sys.argv[2], basis=matrices, first=times[0], seconds=statistics.median(times[1:] or times))
