"""Scalars and vectors make every polynomial invariant and equivariant: dimensions by two ways, and those worked out before."""

import pytest
import torch

from gnet.plugins.scalars import group_of, levi_civita, products, spanning_vectors
from tests.plugins.scalars.polynomials import equivariant_dimension, generated_dimension, monomials, rank

EQUIVARIANTS = [
    ("O", 2, 1, (0, 1, 0, 1, 0, 1)),
    ("SO", 2, 1, (0, 2, 0, 2, 0, 2)),
    ("O", 2, 2, (0, 2, 0, 6, 0, 12)),
    ("O", 3, 2, (0, 2, 0, 6)),
    ("SO", 3, 2, (0, 2, 1, 6, 3)),
    ("O", 3, 3, (0, 3, 0, 18)),
    ("SO", 3, 3, (0, 3, 3, 18)),
    ("Lorentz", 4, 2, (0, 2, 0, 6)),
    ("Sp", 2, 1, (0, 1, 0, 0, 0, 0)),
    ("Sp", 2, 2, (0, 2, 0, 2, 0, 2)),
    ("Sp", 4, 2, (0, 2, 0, 2)),
    ("Lorentz+", 3, 2, (0, 2, 1, 6)),  # beside the specification: cross products of two vectors in R^(1+2)
]


@pytest.mark.parametrize(("kind", "d", "n", "dims"), EQUIVARIANTS, ids=lambda each: str(each).replace(" ", ""))
def test_equivariant_maps_are_sums_of_invariants_times_vectors(kind, d, n, dims, rng):
    group = group_of(kind, d)
    for degree, expected in enumerate(dims):
        assert generated_dimension(kind, n, d, degree, rng) == expected
        assert equivariant_dimension(group, n, degree, rng) == expected


@pytest.mark.parametrize(
    ("kind", "d", "n", "degree", "expected"), [("SO", 3, 3, 2, 6), ("SO", 3, 3, 3, 1), ("O", 2, 2, 2, 3), ("O", 2, 2, 4, 6)]
)
def test_invariants_are_polynomials_in_scalars(kind, d, n, degree, expected, rng):
    assert generated_dimension(kind, n, d, degree, rng, invariant=True) == expected
    assert equivariant_dimension(group_of(kind, d), n, degree, rng, invariant=True) == expected


def test_without_cross_products_something_is_missing(rng):
    """The liar: inner products and vectors alone, for rotations."""
    assert generated_dimension("O", 2, 3, 2, rng) == 0 < equivariant_dimension(group_of("SO", 3), 2, 2, rng)
    assert generated_dimension("O", 3, 3, 3, rng, invariant=True) < equivariant_dimension(
        group_of("SO", 3), 3, 3, rng, invariant=True
    )


@pytest.mark.parametrize(("kind", "dims"), [("O", (1, 0, 2, 0)), ("SO", (1, 1, 2, 1))])
def test_matrices_of_one_vector(kind, dims, rng):
    """Equivariant maps R^3 -> matrices by constraints, against I, v v^T and the skew matrix of v, times powers of v . v."""
    group = group_of(kind, 3)
    for degree, expected in enumerate(dims):
        x = torch.randn(200, 1, 3, dtype=torch.float64, generator=rng)
        g = group.sample(200, rng)
        before, after = monomials(x, degree), monomials(torch.einsum("bij,bnj->bni", g, x), degree)
        turned = torch.einsum("bij,bkl->bikjl", g, g).reshape(200, 9, 9)
        unit = torch.eye(9, dtype=torch.float64)
        rows = torch.einsum("ij,bm->bijm", unit, after) - torch.einsum("bij,bm->bijm", turned, before)
        count = 9 * before.shape[1]
        assert count - rank(rows.reshape(-1, count)) == expected
        w, square = spanning_vectors(x, "O"), products(x)[..., 0, 0]
        made = [(0, torch.eye(3, dtype=torch.float64).expand(200, 3, 3)), (2, w[:, 0, :, None] * w[:, 0, None])]
        made += [(1, levi_civita(x)[:, 0])] if kind == "SO" else []
        made = [(degree - size, m) for size, m in made if degree >= size and not (degree - size) % 2]
        fitting = [(square ** (power // 2))[:, None, None] * m for power, m in made]
        assert (rank(torch.stack([each.flatten() for each in fitting])) if fitting else 0) == expected
