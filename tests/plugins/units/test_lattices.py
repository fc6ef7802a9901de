"""Integer lattices against enumeration: every product without units is made of the basis, and scalings are the smallest ones."""

import pytest
import torch
from sympy import ZZ, Matrix
from sympy.matrices.normalforms import smith_normal_form

from gnet.plugins.units import Units, dimensionless_basis, scaling_exponents
from gnet.plugins.units.lattices import rank, reduced, row_echelon

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
