"""How many polynomial maps are equivariant, degree by degree, for a finite group: the series of Molien."""

import torch
from torch import Tensor

from gnet.counts import check_count
from gnet.errors import NotFiniteError
from gnet.groups import MatrixGroup


def molien_series(group: MatrixGroup, max_degree: int, *, invariant: bool = False) -> list[int]:
    """Dimensions of the homogeneous equivariant maps V -> V of degrees 0 to ``max_degree``; or of the invariants V -> R.

    The coefficients of 1/|G| sum_g tr(g^-1) / det(1 - t g), all elements listed.

    Raises:
        NotFiniteError: an infinite group.
        ConfigError: a degree below zero, or no whole number.

    References:
        Molien (1897); Blum-Smith and Villar (2023), arXiv:2209.14991, section 3.

    Example:
        >>> from gnet.plugins.tensors import S
        >>> molien_series(S(3), 6), molien_series(S(3), 6, invariant=True)
        ([1, 2, 4, 6, 9, 12, 16], [1, 1, 2, 3, 4, 5, 7])
    """
    check_count(0, max_degree=max_degree)
    if not group.is_finite:
        raise NotFiniteError(f"expected a finite group, got {group.name}; count on samples instead")
    g = group.elements()
    symmetric = symmetric_characters(g, max_degree)
    weights = torch.ones(len(g), dtype=g.dtype) if invariant else torch.einsum("kii->k", g.mH)
    counts = (symmetric * weights).mean(1).real
    return [round(float(each)) for each in counts]


def symmetric_characters(g: Tensor, max_degree: int) -> Tensor:
    """Traces of g on homogeneous polynomials of each degree, the coefficients of 1 / det(1 - t g), by Newton's identities.

    Shapes:
        g: (K, d, d)    returns: (max_degree + 1, K)

    Example:
        >>> symmetric_characters(torch.eye(2)[None], 3).flatten()  # monomials in two variables
        tensor([1., 2., 3., 4.])
    """
    traces, power = [], torch.eye(g.shape[-1], dtype=g.dtype).expand_as(g)
    found = [torch.ones(len(g), dtype=g.dtype)]
    for k in range(1, max_degree + 1):
        power = power @ g
        traces.append(torch.einsum("kii->k", power))
        found.append(sum((traces[i] * found[k - 1 - i] for i in range(k)), torch.zeros_like(found[0])) / k)
    return torch.stack(found)
