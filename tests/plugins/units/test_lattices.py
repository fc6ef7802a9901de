"""Integer lattices against enumeration: every product without units is made of the basis, and scalings are the smallest ones."""

import numpy as np
import pytest
import torch
from sympy import ZZ, Matrix
from sympy.matrices.normalforms import smith_normal_form

from gnet.errors import ShapeError, UnitsError
from gnet.plugins.units import Units, dimensionless_basis, scaling_exponents
from gnet.plugins.units.lattices import exponent_rows, rank, reduced, row_echelon
from gnet.plugins.units.smallest import along_line, by_enumeration, by_programming

SI = Units("kg", "m", "s")
SEVEN = SI.matrix(["kg", "kg", "kg s^-2", "kg s^-2", "m", "m", "m s^-2"])


def all_rows(n, largest):
    return torch.cartesian_prod(*[torch.arange(-largest, largest + 1)] * n)


def is_saturated(basis):
    """Whether nothing but whole combinations of the rows lies in their span: all invariant factors are one."""
    factors = smith_normal_form(Matrix(basis.tolist()), domain=ZZ)
    return all(abs(factors[i, i]) == 1 for i in range(basis.shape[0]))


@pytest.mark.parametrize("reduce", [True, False])
@pytest.mark.parametrize(("n", "k"), [(5, 3), (7, 2), (4, 4)])
def test_every_product_without_units_is_made_of_the_basis(n, k, reduce, rng):
    U = torch.randint(-3, 4, (n, k), generator=rng)
    U[-1] = 2 * U[0]  # so that there is one
    basis = dimensionless_basis(U, reduce)
    assert basis.shape == (n - rank(U), n) == (n - int(torch.linalg.matrix_rank(U.double())), n)
    assert not (basis @ U).any()
    assert is_saturated(basis)
    doubled = basis.clone()
    doubled[0] *= 2  # the liar: x^2 / y^2 alone
    assert not (doubled @ U).any() and not is_saturated(doubled)


def test_reduced_rows_span_the_same_lattice(rng):
    U = torch.randint(-40, 41, (6, 2), generator=rng)
    large = dimensionless_basis(U, reduce=False)
    small = torch.tensor(reduced(large.tolist(), 6))
    change = torch.linalg.lstsq(large.double().mT, small.double().mT).solution
    torch.testing.assert_close(change, change.round(), atol=1e-6, rtol=0.0)
    assert abs(float(torch.linalg.det(change))) == pytest.approx(1.0)
    assert int(small.abs().sum()) <= int(large.abs().sum())


def test_row_operations_are_unimodular(rng):
    U = torch.randint(-9, 10, (5, 3), generator=rng)
    transform, echelon = (torch.tensor(each) for each in row_echelon(U.tolist()))
    assert torch.equal(transform @ U, echelon)
    assert abs(Matrix(transform.tolist()).det()) == 1


def smallest(U, b, largest=3):
    """By enumeration: smallest sum of sizes, fewest factors, largest first exponents; and how many have that sum."""
    rows = all_rows(len(U), largest)
    rows = rows[(rows @ U == torch.as_tensor(b)).all(1)].tolist()
    best = min(rows, key=lambda row: (sum(map(abs, row)), sum(a != 0 for a in row), [-a for a in row]))
    return tuple(best), sum(sum(map(abs, row)) == sum(map(abs, best)) for row in rows)


def test_ten_energies_have_the_same_sum_of_exponents():
    assert smallest(SEVEN, (1, 2, -2)) == ((0, 0, 1, 0, 2, 0, 0), 10)
    assert scaling_exponents(SEVEN, (1, 2, -2)) == (0, 0, 1, 0, 2, 0, 0)


def test_scalings_are_the_smallest_of_all(rng):
    ties = 0
    for _ in range(12):
        U = torch.randint(-2, 3, (5, 3), generator=rng)
        U[1] = U[0]  # so that there are ties
        b = U[0] + torch.randint(-1, 2, (3,), generator=rng) @ U[2:]
        best, num = smallest(U, b)
        if sum(map(abs, best)) <= 3:  # no smaller sum has an entry out of the range that was enumerated
            assert scaling_exponents(U, b.tolist()) == best
            ties += num > 1
    assert ties  # else the rule of ties was not asked


def test_enumeration_and_programming_agree(rng):
    ties = 0
    for _ in range(15):
        U = torch.randint(-2, 3, (6, 3), generator=rng)
        U[1], U[4] = U[0], U[0]  # inputs of equal units
        b = (U[0] - U[3] + torch.randint(-1, 2, (2,), generator=rng) @ U[[2, 5]]).tolist()
        found = by_enumeration(U.tolist(), b)
        if found is None or not any(b):
            continue
        assert by_programming(U.tolist(), b, found, 60.0) == found
        best, num = smallest(U, b, 2)
        if sum(map(abs, best)) <= 2:
            assert tuple(found) == best
        ties += num > 1
    assert ties


def test_of_equal_inputs_the_first_is_above_and_the_last_below():
    assert scaling_exponents([[1, 0], [1, 0], [0, 1], [0, 1]], (2, -3)) == (2, 0, 0, -3)


def test_a_hundred_inputs(rng):
    U = torch.randint(-2, 3, (100, 4), generator=rng)
    found = torch.tensor(scaling_exponents(U, (1, 2, -1, 0)))
    assert (found @ U).tolist() == [1, 2, -1, 0]
    assert int(found.abs().sum()) == (1 if (torch.tensor([1, 2, -1, 0]) == U).all(1).any() else 2)
    basis = dimensionless_basis(U[:60])
    assert not (basis @ U[:60]).any() and int(basis.abs().max()) <= 4
    assert torch.linalg.matrix_rank(basis.double()) == len(basis) == 60 - rank(U[:60])


def test_large_exponents_are_exact_or_refused():
    assert scaling_exponents([[10**6 + 3], [10**6 - 17]], (1,)) == (-349994, 350001)
    a, b = along_line([10**20, 0], [3, -2])
    assert abs(a) + abs(b) == min(abs(10**20 + 3 * t) + abs(-2 * t) for t in range(-(10**20) // 3 - 2, -(10**20) // 3 + 3))
    with pytest.raises(UnitsError, match="at most 64 bits"):
        dimensionless_basis([[10**25], [10**25 + 1]])
    with pytest.raises(UnitsError, match="ended early"):
        by_programming(torch.randint(-40, 41, (12, 5)).tolist(), [1, 2, 3, 4, 5], [30] * 12, 0.0)


def test_exponents_that_are_none_are_refused():
    with pytest.raises(ShapeError, match="matrix"):
        dimensionless_basis([1, 0])
    for wrong in (float("nan"), float("inf"), 0.5):
        with pytest.raises(UnitsError, match="whole exponents"):
            dimensionless_basis([[wrong]])
    with pytest.raises(UnitsError, match="'kg'; Units"):
        dimensionless_basis(["kg", "kg"])
    assert exponent_rows([np.array([1, 2])]) == [[1, 2]]
