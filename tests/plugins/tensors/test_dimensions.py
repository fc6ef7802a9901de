"""Every cell of the table of dimensions, formulas for many of them, and the solvers against each other."""

import math
import time
from functools import cache

import pytest
import torch

from gnet.errors import ConfigError, ConvergenceError, RepresentationError
from gnet.groups import GeneratedGroup, SymmetricGroup, equivariant_maps, invariants
from gnet.nn import TensorLinear
from gnet.plugins.tensors import (
    SO,
    B,
    BlockSum,
    C,
    D,
    Descent,
    DPerm,
    Embed,
    HomSpace,
    Lorentz,
    O,
    OnProduct,
    S,
    Simple,
    Sp,
    T,
    U,
    Z,
    chosen_solver,
    count_orbits,
    descend,
    hom_basis,
    invariant_dim,
    invariant_tensors,
    orbit_basis,
    regular,
    sparsify,
)
from gnet.plugins.tensors.solvers import _known
from tests.conftest import solver_lines
from tests.plugins.tensors.table import TABLE


@cache
def group(name: str) -> GeneratedGroup:
    return TABLE[name].make()


def dimension(name: str, p: int, q: int = 0) -> tuple[int, str, float]:
    """The dimension, by which solver, and in how many seconds."""
    its, start = group(name), time.perf_counter()
    solver = chosen_solver(its, p, q)
    found = count_orbits(its, p + q) if solver == "orbits" else invariant_tensors(its, p, q).shape[1]
    return found, solver, time.perf_counter() - start


@pytest.mark.parametrize("name", TABLE)
def test_every_cell_of_the_table(name, record_property):
    row = TABLE[name]
    cells = {f"T({k})": (k, 0, value) for k, value in enumerate(row.ranks)} | {
        "T(1,1)": (1, 1, row.mixed),
        "T(2,2)": (2, 2, row.double),
    }
    for cell, (p, q, value) in cells.items():
        found, solver, seconds = dimension(name, p, q)
        print(f"{name:16} {cell:7} {found:4} {solver:6} {seconds:7.3f} s")
        record_property("solver", (f"{name} {cell}", solver, seconds))  # conftest sums them up at the end of the run
        assert found == value, cell


def test_the_solvers_and_their_times_stand_at_the_end_of_a_run():
    """Each solver, what it took in all, and its slowest dimension."""
    cells = [("S4 T(1)", "orbits", 0.25), ("SO(3) T(2)", "eigh", 0.5), ("SO(3) T(3)", "eigh", 1.5)]
    assert solver_lines(cells) == [
        "eigh: 2 dimensions in 2.00 s, the slowest SO(3) T(3) in 1.50 s",
        "orbits: 1 dimensions in 0.25 s, the slowest S4 T(1) in 0.25 s",
    ]


def test_a_wrong_cell_is_caught():
    """The liar: generators that leave the mirror out make another group."""
    liar = GeneratedGroup("O(3) without its mirror", lie_algebra=O(3).lie_algebra)
    assert tuple(invariant_dim(T(k), liar) for k in range(4)) != TABLE["O(3)"].ranks[:4]


# --- formulas ---


def stirling(k: int, j: int) -> int:
    if k == j:
        return 1
    return 0 if j == 0 or j > k else j * stirling(k - 1, j) + stirling(k - 1, j - 1)


def set_partitions(size: int) -> list[list[int]]:
    """Sizes of the blocks of each partition of a set."""
    if not size:
        return [[]]
    found = []
    for blocks in set_partitions(size - 1):
        found += [[*blocks[:i], block + 1, *blocks[i + 1 :]] for i, block in enumerate(blocks)]
        found.append([*blocks, 1])
    return found


def riordan(k: int) -> int:
    """The mean of (chi^2 - 1)^k over SU(2), whose even moments are Catalan numbers."""
    return sum((-1) ** (k - j) * math.comb(k, j) * math.comb(2 * j, j) // (j + 1) for j in range(k + 1))


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_permutations_have_as_many_as_set_partitions(n):
    assert [count_orbits(S(n), k) for k in range(6)] == [sum(stirling(k, j) for j in range(min(k, n) + 1)) for k in range(6)]


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_cycles(n):
    assert [count_orbits(Z(n), k) for k in range(1, 5)] == [n ** (k - 1) for k in range(1, 5)]
    fixed = torch.einsum("kii->k", DPerm(n).elements())
    assert [count_orbits(DPerm(n), k) for k in range(5)] == [round(float((fixed**k).mean())) for k in range(5)]


@pytest.mark.parametrize("d", [2, 3, 4])
def test_signs_need_blocks_of_even_size(d):
    expected = [sum(len(blocks) <= d and all(size % 2 == 0 for size in blocks) for blocks in set_partitions(k)) for k in range(5)]
    assert [count_orbits(B(d), k) for k in range(5)] == expected


def test_the_classical_groups():
    for d in (2, 3, 4):
        assert [invariant_dim(T(k), O(d)) for k in (2, 4)] == [1, 3]
    assert [invariant_dim(T(k), SO(2)) for k in range(0, 8, 2)] == [math.comb(k, k // 2) for k in range(0, 8, 2)]
    assert [invariant_dim(T(k), SO(3)) for k in range(6)] == [riordan(k) for k in range(6)] == [1, 0, 1, 1, 3, 6]
    assert [invariant_dim(T(2 * m), Sp(2)) for m in range(4)] == [math.comb(2 * m, m) // (m + 1) for m in range(4)]
    # Permutations of k letters without an increasing run of more than d of them.
    assert [invariant_dim(T(3, 3), U(d)) for d in (1, 2, 3)] == [1, 5, 6]


def test_products_multiply_and_sums_add():
    s, o = S(4), O(3)
    assert [invariant_dim(T(k), OnProduct(s, o)) for k in (0, 1, 2)] == [1, 0, 2]
    small = OnProduct(S(3), O(2))
    assert invariant_dim(T(4), small) == invariant_dim(T(4), S(3)) * invariant_dim(T(4), O(2)) == 42
    blocks = BlockSum(S(2), S(3))
    assert (invariant_dim(T(1, 1), blocks), invariant_dim(T(1), blocks)) == (6, 2)
    three = BlockSum(S(2), S(3), S(2))
    assert (invariant_dim(T(1, 1), three), invariant_dim(T(1), three)) == (12, 3)


def test_the_product_of_permutations_and_rotations_on_tensors_of_rank_four():
    """45 = 15 * 3, too large for a null space of 12^4 entries: the average of a character, and those of both factors."""
    nodes, weights = OnProduct(S(4), O(3)).quadrature(4)
    traces = torch.diagonal(nodes, dim1=1, dim2=2).sum(1)
    assert float((weights * traces**4).sum()) == pytest.approx(45, abs=1e-9)
    assert count_orbits(S(4), 4) * invariant_dim(T(4), O(3)) == 45


SCALED = {
    "short basis": (GeneratedGroup("x", lie_algebra=1e-5 * SO(3).lie_algebra), SO(3)),
    "long basis": (GeneratedGroup("x", lie_algebra=1e6 * SO(3).lie_algebra), SO(3)),
    "uneven basis": (
        GeneratedGroup("x", lie_algebra=torch.tensor([1.0, 1e-5, 1e-5]).reshape(3, 1, 1) * SO(3).lie_algebra),
        SO(3),
    ),
    "small angle": (C(100_000), SO(2)),
}


@pytest.mark.parametrize("case", SCALED)
@pytest.mark.parametrize("solver", ["svd", "eigh", "iterative"])
def test_lengths_of_a_basis_change_nothing(case, solver):
    group, usual = SCALED[case]
    for rank in (1, 2, 3):
        found, expected = (invariant_tensors(each, rank, 0, solver) for each in (group, usual))
        assert found.shape == expected.shape
        torch.testing.assert_close(projector(found), projector(expected), atol=1e-8, rtol=0)


def test_dependent_elements_of_a_lie_algebra_add_nothing():
    """QR alone gives each of them a direction of its own: a liar that leaves no invariants at all."""
    A = SO(3).lie_algebra
    more = GeneratedGroup(
        "x", lie_algebra=[A[0], A[0], A[1], 0 * A[0], A[0] - 2 * A[1], A[2], (A[1] + A[2]).float().double() / 3]
    )
    assert [invariant_dim(T(k), more) for k in range(5)] == [1, 0, 1, 1, 3]
    assert [invariant_dim(T(k), GeneratedGroup("y", lie_algebra=[A[0], A[0]])) for k in range(3)] == [1, 1, 3]
    for nothing in (torch.zeros(1, 2, 2), torch.zeros(2, 2, 2, dtype=torch.complex64)):
        assert invariant_dim(T(1), GeneratedGroup("0", lie_algebra=nothing)) == 2
    liar = GeneratedGroup("z", lie_algebra=torch.linalg.qr(torch.stack([*A, A[0]]).flatten(1).mT)[0].mT.reshape(4, 3, 3))
    assert invariant_dim(T(2), liar) == 0


def test_bases_are_remembered_by_what_makes_the_group_and_cannot_be_spoilt():
    before = len(_known)
    first = invariant_tensors(GeneratedGroup("one", lie_algebra=SO(3).lie_algebra), 2, 1)
    assert len(_known) <= before + 1
    known = len(_known)
    first.zero_()
    second = invariant_tensors(GeneratedGroup("other", lie_algebra=SO(3).lie_algebra), 1, 2)
    assert len(_known) == known and float(second.norm()) == pytest.approx(1.0)


def test_sums_of_types():
    given, out = 5 * T(0) + 5 * T(1), 3 * T(0) + T(2) + 2 * T(1)
    assert [HomSpace(given, out, g).dim for g in (SO(3), O(3))] == [35, 30]
    four = 4 * T(1)
    groups = [Embed(O(2), 3), Embed(SO(2), 3), Embed(D(2), 3), O(3)]
    assert [HomSpace(four, four, g).dim for g in groups] == [32, 48, 48, 16]
    assert HomSpace(four, T(0), groups[0]).dim == 4


def test_regular_types():
    for its, order in ((D(4), 8), (S(3), 6)):
        reg = regular(its)
        assert HomSpace(reg, reg, its).dim == order
        assert HomSpace(reg, T(2), its).dim == its.dim**2
        slow = equivariant_maps(its, reg, reg, (order,), (order,))
        assert len(slow) == order
    assert HomSpace(T(1), regular(D(4)), D(4)).dim == 2


@pytest.mark.parametrize(("n", "count"), [(1, 1), (2, 8), (3, 14), (4, 15), (5, 15)])
def test_permutation_tensors_have_as_many_operations(n, count):
    assert count_orbits(S(n), 4) == count
    assert len(TensorLinear(SymmetricGroup(n), 1, 1, 2, 2).weight) == count
    if n >= 3:
        orders = {(1, 1): 2, (2, 0): 2, (2, 1): 5, (1, 0): 1}
        for (given, out), number in orders.items():
            assert len(TensorLinear(SymmetricGroup(n), 1, 1, given, out).weight) == number == count_orbits(S(n), given + out)


def test_permutation_tensors_by_gathers_span_the_same_maps(rng):
    space, layer = HomSpace(T(2), T(2), S(4)), TensorLinear(SymmetricGroup(4), 1, 1, 2, 2, bias=False).double()
    units = torch.eye(16, dtype=torch.float64).reshape(16, 4, 4, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, dtype=torch.float64, generator=rng))
        matrix = layer(units).reshape(16, 16).mT
    torch.testing.assert_close(space.matrix(space.coefficients(matrix)), matrix)


# --- solvers ---

SMALL = {"SO(3)": SO(3), "O(2)": O(2), "C3": C(3), "B2": B(2), "SO+(1,2)": Lorentz(2, "SO+"), "Sp(2)": Sp(2)}


def projector(basis: torch.Tensor) -> torch.Tensor:
    torch.testing.assert_close(basis.mH @ basis, torch.eye(basis.shape[1], dtype=basis.dtype), atol=1e-9, rtol=0)
    return basis @ basis.mH


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("rank", [2, 3])
def test_solvers_find_the_same_space(name, rank):
    its = SMALL[name]
    slow = invariants(its, T(rank), (its.dim**rank,))
    expected = projector(slow.mT)
    for solver in ("svd", "eigh"):
        torch.testing.assert_close(projector(invariant_tensors(its, rank, 0, solver)), expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(projector(invariant_tensors(its, rank, 0, "iterative")), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("its", [B(2), B(3), S(3), Z(4), C(4), D(4), DPerm(4), Embed(D(2), 3)], ids=lambda its: its.name)
def test_orbits_are_the_null_space(its):
    for rank in (0, 1, 2, 3):
        expected = projector(invariant_tensors(its, rank, 0, "svd"))
        torch.testing.assert_close(projector(orbit_basis(its, rank)), expected, atol=1e-9, rtol=0)


def test_mixed_types_have_the_maps_of_linear_algebra():
    d3 = D(3)
    for its, given, out in (
        (Lorentz(1), T(1, 1), T(0, 1) + T(1, 1)),
        (Sp(2), T(2) + T(1), T(1, 1) + T(0, 1)),
        (Lorentz(2, "SO+"), T(0, 1), T(2)),
        (C(3), 2 * T(1) + T(0), T(2) + T(1)),
        (D(3), T(1) + regular(d3), T(2) + regular(d3)),  # another object of the same group
    ):
        d = its.dim
        slow = equivariant_maps(its, given, out, (given.size(d),), (out.size(d),)).flatten(1).mT
        torch.testing.assert_close(projector(hom_basis(given, out, its)), projector(slow), atol=1e-9, rtol=0)


def test_descent_doubles_its_columns_and_can_fail():
    assert descend(SO(2), Simple(4), Descent(start=2)).shape[1] == 6
    with pytest.raises(ConvergenceError, match=r"\|C W\| is .* after 5 steps"):
        descend(SO(3), Simple(2), Descent(max_steps=5))
    with pytest.raises(ConvergenceError, match="diverges"):
        descend(SO(3), Simple(2), Descent(step=2e-4, momentum=200.0))
    with pytest.raises(ConvergenceError, match="no gap"):
        descend(SO(3), Simple(2), Descent(gap=1e12))


def test_settings_that_cannot_be():
    with pytest.raises(ConfigError, match="expected solver among"):
        invariant_tensors(SO(3), 2, 0, "lapack")
    with pytest.raises(ConfigError, match="orbits need"):
        invariant_tensors(SO(3), 2, 0, "orbits")
    with pytest.raises(RepresentationError, match=r"T\(6\) of R\^20 has 64000000 entries, more than the cap of 20000000"):
        invariant_tensors(SO(20), 6)
    with pytest.raises(RepresentationError, match="T\\(9\\) of S"):
        count_orbits(S(9), 9)
    with pytest.raises(RepresentationError, match="svd takes"):
        invariant_tensors(SO(5), 5, 0, "svd")


def test_sparse_bases_span_the_same_space():
    basis = invariant_tensors(O(3), 4)
    sparse = sparsify(basis)
    assert set(sparse.abs().round(decimals=9).unique().tolist()) <= {0.0, 1.0}
    torch.testing.assert_close(projector(torch.linalg.qr(sparse)[0]), projector(basis))
