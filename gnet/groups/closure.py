"""Every product of matrices that generate a finite group, each once."""

import numpy as np
import torch
from torch import Tensor

from gnet.groups.base import is_orthogonal_matrix

EDGE = 2**-0.5 - 0.5
"""The offset of the cells of ``keys``, in cells."""
SHARPENED = 2_000
"""Elements of a group up to which its generators are sharpened."""


def closure(generators: Tensor, identity: Tensor, limit: int) -> Tensor | None:
    """All products of generators, breadth first; None if there are more than ``limit``. Matrices closer than 1e-6 are one.

    O(order M d^3) operations; integer matrices are compared exactly.

    Shapes:
        generators: (M, d, d)    identity: (d, d)    returns: (order, d, d)

    Example:
        >>> len(closure(-torch.eye(1)[None], torch.eye(1), 10))
        2
    """
    found, seen, fresh = [identity[None]], {keys(identity[None])[0]}, identity[None]
    while len(fresh) and len(generators):
        products = torch.einsum("mij,njk->nmik", generators, fresh).flatten(0, 1)
        new = []
        for index, key in enumerate(keys(products)):
            if key not in seen:
                seen.add(key)
                new.append(index)
        fresh = products[new]
        # In a finite group only the identity has trace d: powers of a shear are seen to have no end at once.
        if bool(((torch.diagonal(fresh, dim1=1, dim2=2).sum(1) - len(identity)).abs() < 1e-9).any()):
            return None
        found.append(fresh)
        if len(seen) > limit:
            return None
    return torch.cat(found)


def keys(matrices: Tensor) -> list[bytes]:
    """One key for each matrix, its entries rounded to cells of width 1e-6: matrices with the same key count as equal.

    The same element made by different products differs by rounding, and has one key unless an entry lies that near the edge of a
    cell. Edges are an irrational offset away from the multiples of 1e-6, where no entry of a usual group is.

    Shapes:
        matrices: (K, d, d)    returns: K keys

    Example:
        >>> one, other = keys(torch.tensor([[[0.5]], [[0.5 + 1e-9]]], dtype=torch.float64))
        >>> one == other
        True
    """
    real = torch.view_as_real(matrices) if matrices.is_complex() else matrices
    whole = (real.double() * 1e6 + EDGE).round().long().flatten(1).numpy()
    return [row.tobytes() for row in np.ascontiguousarray(whole)]


def sharpened(generators: Tensor) -> Tensor:
    """Orthogonal generators of a finite group that were rounded to single precision, with the group's relations in double.

    The mean over h of (g h) h^-1 is the homomorphism next to one that holds up to an error, with the square of that error; so is
    g (3 - g^* g) / 2 the next orthogonal matrix. Exact generators, others, and those of groups with more than ``SHARPENED``
    elements stay as they are.

    Shapes:
        generators: (M, d, d)    returns: (M, d, d)

    References:
        Kazhdan (1982), doi:10.1007/BF02761236: almost homomorphisms.

    Example:
        >>> sixth = torch.tensor([[[0.5, -0.75**0.5], [0.75**0.5, 0.5]]]).double()  # by way of float32
        >>> found = sharpened(sixth)[0]
        >>> [float((torch.linalg.matrix_power(g, 6) - torch.eye(2)).norm()) < 1e-12 for g in (sixth[0], found)]
        [False, True]
    """
    unit = torch.eye(generators.shape[-1], dtype=generators.dtype)
    if torch.equal(generators.mH @ generators, unit.expand_as(generators)) or not all(map(is_orthogonal_matrix, generators)):
        return generators
    nearest = _orthogonal(generators)
    elements = closure(nearest, unit, SHARPENED)
    if elements is None:
        return generators
    place = {key: index for index, key in enumerate(keys(elements))}
    found = []
    for g in nearest:
        moved = [place.get(key) for key in keys(g @ elements)]
        if None in moved:  # an entry at the edge of a cell: no group to 1e-6
            return generators
        found.append((elements[moved] @ elements.mH).mean(0))
    return _orthogonal(torch.stack(found))


def _orthogonal(g: Tensor) -> Tensor:
    """The next orthogonal (unitary) matrices to some that nearly are."""
    unit = torch.eye(g.shape[-1], dtype=g.dtype)
    for _ in range(2):
        g = g @ (3 * unit - g.mH @ g) / 2
    return g
