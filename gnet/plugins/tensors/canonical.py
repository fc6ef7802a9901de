"""One orthonormal basis for each space: which one linear algebra finds depends on threads and processors."""

import torch
from torch import Tensor

TIE = 2**-9.5
"""Relative difference up to which squared lengths count as equal; irrational, for rows of usual groups have rational ratios."""


def canonical(basis: Tensor) -> Tensor:
    """The orthonormal basis that depends on the space alone, whichever orthonormal basis of it is given.

    A weight is a coefficient in a basis, and a seed draws coefficients: both mean one map only if the basis is always the same.
    Column k is the projection of a unit vector e_i onto what the columns before leave of the space, normed, thus positive in
    entry i. The pivot i is the first for which the squared length of that projection is within ``TIE`` of the largest: ties are
    broken by place and never by rounding. This is pivoted Gram-Schmidt on the rows of the projector Q Q^*, of which row i is
    Q_i Q^*; it is never made. O(n r^2).

    Shapes:
        basis: (n, r), orthonormal columns, real or complex    returns: (n, r)

    Example:
        >>> turned = torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.8, -0.6]])
        >>> canonical(turned).abs().round(decimals=6)
        tensor([[1., 0.],
                [0., 0.],
                [0., 1.]])
    """
    rank = basis.shape[1]
    left = basis.abs().square().sum(1)
    chosen = basis.new_zeros(rank, rank)  # each column of the result by its coefficients in the given basis
    found = torch.empty_like(basis)
    for k in range(rank):
        pivot = int((left >= (1 - TIE) * left.max()).nonzero()[0])
        column = basis[pivot].conj()
        for _ in range(2):  # once leaves rounding over the length of what is left
            column = column - chosen[:k].mT @ (chosen[:k].conj() @ column)
        chosen[k] = column / torch.linalg.vector_norm(column)
        found[:, k] = basis @ chosen[k]
        left -= found[:, k].abs().square()
    return found


def orthonormal_columns(matrix: Tensor) -> Tensor:
    """Gram-Schmidt by QR with a positive diagonal of R, which makes it unique.

    Shapes:
        matrix: (n, r), independent columns    returns: (n, r)

    Example:
        >>> orthonormal_columns(torch.tensor([[3.0], [4.0]]))
        tensor([[0.6000],
                [0.8000]])
    """
    q, r = torch.linalg.qr(matrix)
    return q * torch.sgn(torch.diagonal(r))
