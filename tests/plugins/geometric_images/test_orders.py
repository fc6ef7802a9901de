"""Filters of given orders between two types: products and contractions in every order of indices, and nothing else."""

import itertools

import pytest
import torch

from gnet.errors import RepresentationError, ShapeError
from gnet.plugins.geometric_images import GeometricImage, count_filters, filters_between, invariant_filters
from gnet.plugins.tensors import B
from tests.plugins.geometric_images.slow import orthonormal


def test_filters_of_all_orders_are_all_filters():
    for k, k_out in ((0, 2), (1, 1), (2, 1)):
        whole = k + k_out
        orders = tuple(range(whole % 2, whole + 1, 2))
        assert len(filters_between(2, 3, k, k_out, 1, orders).data) == count_filters(2, 3, whole)


def slow_between(d, M, whole, parity, orders):
    """Products with unit tensors or contractions of invariant filters, with every permutation of their indices."""
    rows = [torch.zeros(0, M**d * d**whole, dtype=torch.float64)]
    for order in orders:
        made = [invariant_filters(d, M, order, parity)]
        while made[0].k < whole:
            unit = GeometricImage(torch.eye(d, dtype=torch.float64).expand(*[M] * d, d, d), d, 2, 1, torus=False)
            made = [each.outer(unit) for each in made]
        while made[0].k > whole:
            made = [each.contract(i, j) for each in made for i, j in itertools.combinations(range(each.k), 2)]
        rows += [each.permute(*order).data.flatten(1) for each in made for order in itertools.permutations(range(whole))]
    return orthonormal(torch.cat(rows))


@pytest.mark.parametrize(
    ("d", "M", "k", "k_out", "parity", "orders"),
    [
        *((2, 3, 1, 1, 1, (0,)), (2, 3, 1, 2, -1, (1,)), (2, 3, 2, 2, 1, (0,)), (2, 3, 2, 2, 1, (2, 0)), (2, 3, 2, 2, -1, (2,))),
        *((3, 3, 1, 1, 1, (0,)), (3, 1, 2, 2, 1, (0,)), (2, 1, 3, 2, 1, (3,)), (2, 3, 0, 1, 1, (3,)), (2, 3, 1, 1, -1, (4,))),
        *((3, 3, 0, 1, -1, (3,)), (2, 3, 0, 0, 1, (2,))),
    ],
)
def test_filters_of_given_orders_are_products_and_contractions(d, M, k, k_out, parity, orders):
    slow = slow_between(d, M, k + k_out, parity, orders)
    found = filters_between(d, M, k, k_out, parity, orders).data
    assert len(found) == len(orthonormal(found)) == len(slow)
    mine = orthonormal(found)
    torch.testing.assert_close(mine.mT @ mine, slow.mT @ slow, atol=1e-10, rtol=0)
    for g in B(d).generators:  # to the last bit
        assert torch.equal(GeometricImage(found, d, k + k_out, parity, torus=False).act(g).data, found)


def test_products_in_one_order_of_indices_are_too_few():
    unit = GeometricImage(torch.eye(2, dtype=torch.float64).expand(3, 3, 2, 2), 2, 2, 1, torus=False)
    one_order = invariant_filters(2, 3, 2).outer(unit)
    assert len(orthonormal(one_order.data)) == 5 < len(filters_between(2, 3, 2, 2, 1, (2,)).data) == 17


def test_filters_with_six_indices_are_found_from_their_orbits():
    assert len(filters_between(2, 3, 3, 3, 1, (0, 2, 4, 6)).data) == count_filters(2, 3, 6) == 80
    assert len(filters_between(2, 3, 3, 3, 1, (0, 2, 4)).data) == 78
    with pytest.raises(ShapeError, match="at most 6 indices"):
        filters_between(2, 3, 4, 3, 1, (1,))
    with pytest.raises(RepresentationError, match="take a smaller M or order"):
        filters_between(4, 3, 3, 3, 1, (2,))
