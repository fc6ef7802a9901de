"""Every product of matrices that generate a finite group, each once."""

import numpy as np
import torch
from torch import Tensor

EDGE = 2**-0.5 - 0.5
"""The offset of the cells of ``keys``, in cells."""


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
