"""What is held in memory while maps of pairs, T(2) -> T(2), are found: never all constraints as one matrix."""

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gnet.errors import ConvergenceError
from gnet.groups import GeneratedGroup
from gnet.plugins.tensors import SO, Descent, HomSpace, Simple, Sp, T, chosen_solver, descend, orbit_basis
from gnet.plugins.tensors.solvers import _dense
from tests.plugins.tensors.table import TABLE


class Held(TorchDispatchMode):
    """The most numbers of eight bytes that tensors made within held at one time."""

    def __init__(self):
        super().__init__()
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for each in tree_leaves(found):
            if isinstance(each, torch.Tensor):
                storage = each.untyped_storage()
                self._alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes() // 8
        self._alive = {key: item for key, item in self._alive.items() if not item[0].expired()}
        self.peak = max(self.peak, sum(numbers for _, numbers in self._alive.values()))
        return found


def type_of_pairs(group: GeneratedGroup) -> Simple:
    """Maps T(2) -> T(2) as one type of d^4 entries."""
    return Simple(2, 2).canonical(group)


@pytest.mark.parametrize("name", TABLE)
def test_maps_of_pairs_hold_a_few_matrices_or_a_few_tensors(name):
    """By linear algebra six matrices of n = d^4 rows, however many constraints there are; by orbits none, O(M n + n r)."""
    group, row = TABLE[name].make(), TABLE[name]
    part = type_of_pairs(group)
    n, solver, moves = group.dim**4, chosen_solver(group, part.p, part.q), len(group.generators)
    with Held() as held:
        basis = orbit_basis(group, 4) if solver == "orbits" else _dense(group, part, solver)
    assert basis.shape == (n, row.double if part.q else row.ranks[4])
    if solver == "orbits":
        assert held.peak <= 8 * (moves + 1) * n + 2 * basis.numel()
        assert n < 600 or held.peak < n * n / 2
    else:
        assert solver == "eigh"
        words = 2 if group.dtype.is_complex else 1
        assert held.peak <= words * (6 * n * n + 10 * (n + 10))
    assert HomSpace(T(2), T(2), group).dim == basis.shape[1]


def test_the_stacked_constraints_are_seen_by_that_measure():
    """The liar: a solver that stacks them, ten matrices of n rows for Sp(4)."""
    group = Sp(4)
    with Held() as held:
        basis = _dense(group, type_of_pairs(group), "svd")
    assert basis.shape == (256, TABLE["Sp(4)"].double)
    assert held.peak > (len(group.lie_algebra) + 6) * 256**2


def test_descent_makes_no_matrix_of_the_tensors_size():
    """A few stacks of its columns: as many for each entry at n = 625 as at n = 81, and far less than one matrix."""
    peaks, settings = {}, Descent(max_steps=5)  # every step holds the same
    for group in (SO(3), SO(5)):
        with Held() as held, pytest.raises(ConvergenceError, match="after 5 steps"):
            descend(group, type_of_pairs(group), settings)
        peaks[group.dim**4] = held.peak
    assert peaks[625] / 625 == pytest.approx(peaks[81] / 81, rel=0.1)
    assert peaks[625] < 10 * settings.start * 625 < 625**2 / 6
