"""Filters between two orders, made of invariant filters of given orders: products with unit tensors, and contractions."""

import functools
from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from gnet.errors import RepresentationError, ShapeError
from gnet.plugins.geometric_images.filters import CAP, count_filters, filter_orbits, invariant_filters
from gnet.plugins.geometric_images.images import GeometricImage

PERMUTED = 6
"""Most indices that are shared out between filters of lower order and unit tensors."""
INDEPENDENT = 1e-9
"""Share of the largest pivot below which a filter is a sum of others."""


Pairs = tuple[tuple[int, int], ...]


def pairings(k: int, num_pairs: int) -> list[Pairs]:
    """The ways to choose so many disjoint pairs of k indices: k! / (2^n n! (k - 2 n)!) of them.

    Example:
        >>> pairings(3, 1), len(pairings(4, 2)), len(pairings(7, 1)), pairings(5, 0)
        ([((0, 1),), ((0, 2),), ((1, 2),)], 3, 21, [()])
    """

    def of(left: tuple[int, ...], num: int) -> Iterator[Pairs]:
        if not num:
            yield ()
            return
        for place, one in enumerate(left[: len(left) - 2 * num + 1]):
            for other in left[place + 1 :]:
                rest = tuple(i for i in left[place + 1 :] if i != other)
                yield from (((one, other), *more) for more in of(rest, num - 1))

    return list(of(tuple(range(k)), num_pairs))


def filters_between(d: int, M: int, k: int, k_out: int, parity: int, orders: Collection[int] | None = None) -> GeometricImage:
    """A basis of the filters of order k + k'' that a layer from order k to k'' contracts with its input, indices of k first.

    An order above k + k'' makes all of them, since (C x 1) contracted over the unit tensor is d C. Lower ones make a part:
    products of C with unit tensors, with the indices shared out in every way. Since invariant filters of one order are closed
    under permutations, only (k + k'')! / (order! 2^n n!) of them differ, with n unit tensors.

    Args:
        parity: the product of both parities.
        orders: of the invariant filters that they are made of; those that differ from k + k'' by an odd number make none. None is
            all orders.

    Shapes:
        returns: data (count, M, ..., M, d, ..., d)

    Raises:
        ShapeError: an even M, or more than ``PERMUTED`` indices with lower ``orders`` only.
        RepresentationError: a parity that is neither 1 nor -1, or more than ``CAP`` numbers.

    Example:
        >>> len(filters_between(2, 3, 1, 1, 1).data), len(filters_between(2, 3, 1, 1, 1, (0, 1)).data)
        (5, 3)
    """
    whole = k + k_out
    fitting = None if orders is None else tuple(sorted({order for order in orders if (whole - order) % 2 == 0}))
    if fitting is None or (fitting and fitting[-1] >= whole):
        return invariant_filters(d, M, whole, parity)
    count_filters(d, M, whole, parity)  # checks d, M, the order and the parity
    if whole > PERMUTED:
        raise ShapeError(f"expected at most {PERMUTED} indices for filters of lower orders, got {whole}; leave filters out")
    return GeometricImage(_made_of(d, M, whole, parity, fitting).clone(), d, whole, parity, torus=False)


def fits(d: int, M: int, whole: int, parity: int, order: int) -> bool:
    """Whether filters of an order make any for pairs of types with ``whole`` indices together.

    Example:
        >>> fits(2, 3, 2, 1, 0), fits(2, 3, 2, 1, 1), fits(2, 1, 1, 1, 3)
        (True, False, False)
    """
    return (whole - order) % 2 == 0 and count_filters(d, M, min(order, whole), parity) > 0


@functools.lru_cache(maxsize=64)
def _made_of(d: int, M: int, whole: int, parity: int, orders: Sequence[int]) -> Tensor:
    """A basis of the span of C x 1 x ... x 1 with permuted indices, (count, M, ..., M, d, ..., d). One for all callers: clone it.

    All of them are combinations of the filters of order ``whole``, which do not overlap: one entry of each says everything.
    """
    size, count = M**d * d**whole, count_filters(d, M, whole, parity)
    if count * size > CAP:
        raise RepresentationError(
            f"up to {count} filters of {size} entries are more than {CAP} numbers; take a smaller M or order"
        )
    labels, signs = filter_orbits(d, M, whole, parity)
    inside = (labels >= 0).nonzero().flatten()
    first = torch.full((count,), size).scatter_reduce(0, labels[inside], inside, "amin")
    rows = [torch.zeros(0, count, dtype=torch.float64)]
    unit = torch.eye(d, dtype=torch.float64).expand(*[M] * d, d, d)
    for order in orders:
        made = invariant_filters(d, M, order, parity)
        for _ in range((whole - order) // 2):
            made = made.outer(GeometricImage(unit, d, 2, 1, torus=False))
        rows += [made.permute(*each).data.flatten(1)[:, first] for each in _shares(whole, order)]
    found = torch.cat(rows)
    found = found[_independent(found * labels[inside].bincount(minlength=count).sqrt())]
    full = torch.zeros(len(found), size, dtype=torch.float64)
    full[:, inside] = found[:, labels[inside]] * (signs[first][labels[inside]] * signs[inside])
    return full.reshape(len(found), *[M] * d, *[d] * whole) + 0.0  # no -0


def _shares(whole: int, order: int) -> Iterator[tuple[int, ...]]:
    """Permutations of the indices of C x 1 x ... x 1, one for each way to choose the pairs that unit tensors take.

    Index n of the result is index ``share[n]`` of the product, whose first ``order`` indices are those of C.
    """

    for pairs in pairings(whole, (whole - order) // 2):
        places = [place for pair in pairs for place in pair]
        rest = [index for index in range(whole) if index not in places]
        share = [0] * whole
        for source, place in enumerate([*rest, *places]):
            share[place] = source
        yield tuple(share)


def _independent(rows: Tensor) -> list[int]:
    """Which rows span what all rows span."""
    if not rows.numel():
        return []
    from scipy.linalg import qr

    _, r, order = qr(rows.mT.numpy(), mode="economic", pivoting=True)
    sizes = abs(r.diagonal())
    return sorted(order[: int((sizes > INDEPENDENT * sizes[0]).sum())].tolist())
