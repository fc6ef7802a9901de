"""Worker for EMLP (Finzi, Welling and Wilson 2021, arXiv:2104.09459): the basis of V >> V for generators as matrices."""

import os

os.environ["JAX_ENABLE_X64"] = "1"  # before jax is imported; in float32 its rank tolerance of 1e-5 is near the noise

from typing import Any

import numpy as np
from emlp.groups import Group
from emlp.reps import V
from emlp.reps.representation import Rep
from exchange import answer, permutation_matrix


class Permutations(Group):
    """A group in EMLP's sense; EMLP knows groups apart by their arguments, so the generators are one."""

    def __init__(self, generators: list[list[int]]) -> None:
        self.discrete_generators = np.stack([permutation_matrix(g) for g in generators])
        super().__init__(str(generators))


def basis(case: dict[str, Any]) -> np.ndarray:
    """A basis of the equivariant maps, (dim, N, N), solved anew."""
    Rep.solcache.clear()
    group = Permutations(case["generators"])
    columns = np.asarray((V >> V)(group).equivariant_basis())  # (N^2, dim)
    return columns.T.reshape(-1, group.d, group.d)


if __name__ == "__main__":
    answer(basis, ("emlp", "jax", "objax", "numpy"))
