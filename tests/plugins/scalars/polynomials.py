"""Homogeneous polynomial maps of vectors: how many are equivariant, by linear algebra, and how many scalars and vectors make."""

from collections.abc import Sequence
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from gnet.groups import GeneratedGroup
from gnet.plugins.scalars.features import upper
from gnet.plugins.scalars.products import cross_products, determinants, kind_of, products

CUT = 1e-8


def rank(matrix: Tensor) -> int:
    values = torch.linalg.svdvals(matrix) if matrix.numel() else matrix.new_zeros(0)
    return int((values > CUT * max(float(values.max()), 1e-3)).sum()) if len(values) else 0


def monomials(x: Tensor, degree: int) -> Tensor:
    """All monomials of one degree in the entries of x, (B, n, d) -> (B, M)."""
    flat = x.flatten(1)
    return torch.stack(
        [flat[:, list(chosen)].prod(1) for chosen in combinations_with_replacement(range(flat.shape[1]), degree)], 1
    )


def equivariant_dimension(group: GeneratedGroup, n: int, degree: int, rng: torch.Generator, invariant: bool = False) -> int:
    """Of the homogeneous maps h: V^n -> V (or -> R) with h(g x) = g h(x): a null space of sampled constraints."""
    d = group.dim
    outputs = 1 if invariant else d
    count = monomials(torch.zeros(1, n, d), degree).shape[1]
    num = 2 * count // 1 + 20 if invariant else (5 * count) // 4 + 20
    x = torch.randn(num, n, d, dtype=torch.float64, generator=rng)
    g = group.sample(num, rng)
    before, after = monomials(x, degree), monomials(torch.einsum("bij,bnj->bni", g, x), degree)
    moved = torch.ones(num, 1, 1, dtype=torch.float64) if invariant else g
    unit = torch.eye(outputs, dtype=torch.float64)
    rows = torch.einsum("ij,bm->bijm", unit, after) - torch.einsum("bij,bm->bijm", moved, before)
    matrix = rows.reshape(num * outputs, outputs * count)
    size = before.norm(dim=1) + after.norm(dim=1)  # samples far out do not outweigh the others
    matrix = matrix / size.repeat_interleave(outputs)[:, None]
    return outputs * count - rank(matrix)


def generated_dimension(kind: str, n: int, d: int, degree: int, rng: torch.Generator, invariant: bool = False) -> int:
    """Of the span of products of scalars, times vectors and cross products, as in the table of characterisations."""
    x = torch.randn(400, n, d, dtype=torch.float64, generator=rng)
    values = [(2, upper(products(x, group=kind), kind))]
    vectors = [(1, x)]
    if kind_of(kind).is_oriented:
        values.append((d, determinants(x)))
        vectors.append((d - 1, cross_products(x, kind)))
    invariants = [(size, part[:, k]) for size, part in values for k in range(part.shape[1])]
    if invariant:
        terms = _products(invariants, degree)
        return rank(torch.stack(terms)) if terms else 0
    found = [
        (term[:, None] * part[:, k]).flatten()
        for size, part in vectors
        for k in range(part.shape[1])
        for term in _products(invariants, degree - size)
    ]
    return rank(torch.stack(found)) if found else 0


def _products(invariants: Sequence[tuple[int, Tensor]], degree: int) -> list[Tensor]:
    """All products of total degree ``degree``."""
    if degree == 0:
        return [torch.ones(400, dtype=torch.float64)]
    if degree < 0 or not invariants:
        return []
    (size, value), rest = invariants[0], invariants[1:]
    found, power = [], torch.ones(400, dtype=torch.float64)
    for times in range(degree // size + 1):
        found += [power * each for each in _products(rest, degree - times * size)]
        power = power * value
    return found
