"""Uniform laws of the compact matrix groups: how to draw from them, and how to integrate polynomials over them exactly."""

import math

import numpy as np
import torch
from torch import Tensor

from gnet.counts import is_count
from gnet.errors import ConfigError


def haar_orthogonal(dim: int, num: int, generator: torch.Generator | None = None) -> Tensor:
    """``num`` uniform elements of O(d), (num, d, d): QR of normal matrices, columns times the signs of R's diagonal.

    Without the signs the law would depend on how the routine chooses them.

    References:
        Mezzadri (2007), arXiv:math-ph/0609050.

    Example:
        >>> g = haar_orthogonal(3, 4)
        >>> torch.allclose(g.mT @ g, torch.eye(3, dtype=torch.float64).expand(4, 3, 3))
        True
    """
    q, r = torch.linalg.qr(torch.randn(num, dim, dim, dtype=torch.float64, generator=generator))
    return q * torch.sign(torch.diagonal(r, dim1=-2, dim2=-1))[:, None, :]


def haar_special_orthogonal(dim: int, num: int, generator: torch.Generator | None = None) -> Tensor:
    """``num`` uniform elements of SO(d), (num, d, d): those of O(d), one column times the determinant.

    Example:
        >>> bool((torch.linalg.det(haar_special_orthogonal(3, 9)) > 0).all())
        True
    """
    g = haar_orthogonal(dim, num, generator)
    signs = torch.ones(num, dim, dtype=g.dtype)
    signs[:, 0] = torch.linalg.det(g).sign()
    return g * signs[:, None, :]


def haar_unitary(dim: int, num: int, generator: torch.Generator | None = None) -> Tensor:
    """``num`` uniform elements of U(d), (num, d, d) complex128: complex QR, columns times R_ii / |R_ii|.

    Example:
        >>> g = haar_unitary(2, 4)
        >>> torch.allclose(g.mH @ g, torch.eye(2, dtype=torch.complex128).expand(4, 2, 2))
        True
    """
    parts = torch.randn(2, num, dim, dim, dtype=torch.float64, generator=generator)
    q, r = torch.linalg.qr(torch.complex(parts[0], parts[1]))
    diagonal = torch.diagonal(r, dim1=-2, dim2=-1)
    return q * (diagonal / diagonal.abs())[:, None, :]


def haar_special_unitary(dim: int, num: int, generator: torch.Generator | None = None) -> Tensor:
    """``num`` uniform elements of SU(d), (num, d, d) complex128: those of U(d), one column divided by the determinant.

    Example:
        >>> bool(((torch.linalg.det(haar_special_unitary(3, 9)) - 1).abs() < 1e-12).all())
        True
    """
    g = haar_unitary(dim, num, generator)
    phases = torch.ones(num, dim, dtype=g.dtype)
    phases[:, 0] = torch.linalg.det(g).conj()
    return g * phases[:, None, :]


def rotations_2d(angles: Tensor) -> Tensor:
    """Rotation matrices of the plane, (*, 2, 2).

    Example:
        >>> rotations_2d(torch.tensor(0.0))
        tensor([[1., -0.],
                [0., 1.]])
    """
    rows = [angles.cos(), -angles.sin(), angles.sin(), angles.cos()]
    return torch.stack(rows, -1).reshape(*angles.shape, 2, 2)


def quadrature_so2(degree: int) -> tuple[Tensor, Tensor]:
    """``degree`` + 1 equal angles, exact for trigonometric polynomials of that degree.

    Shapes:
        returns: (K, 2, 2) and (K,)

    Example:
        >>> len(quadrature_so2(4)[0])
        5
    """
    nodes = _check_degree(degree) + 1
    return rotations_2d(2 * math.pi * torch.arange(nodes, dtype=torch.float64) / nodes), torch.full(
        (nodes,), 1 / nodes, dtype=torch.float64
    )


def quadrature_so3(degree: int) -> tuple[Tensor, Tensor]:
    """ZYZ Euler angles: L + 1 equal alpha and gamma, floor(L/2) + 1 Gauss-Legendre nodes in cos(beta), for degree L.

    A polynomial of degree L in the entries is a sum of Wigner functions e^(-im alpha) d(cos beta) e^(-in gamma) with l <= L;
    equal angles keep m = n = 0 alone, and what is left is a polynomial of degree L in cos(beta).

    Shapes:
        returns: (K, 3, 3) and (K,) with K = (L + 1)^2 (floor(L/2) + 1)

    Example:
        >>> [len(quadrature_so3(degree)[0]) for degree in (2, 3, 4, 6)]
        [18, 32, 75, 196]
    """
    count = _check_degree(degree) + 1
    cosines, weights = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(degree // 2 + 1))
    angles = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
    about_z = _in_plane(rotations_2d(angles), (0, 1))
    about_y = _in_plane(rotations_2d(torch.acos(cosines)), (2, 0))
    nodes = torch.einsum("aij,bjk,ckl->abcil", about_z, about_y, about_z)
    shares = (weights / 2 / count**2)[None, :, None].expand(count, -1, count)
    return nodes.reshape(-1, 3, 3), shares.reshape(-1)


def with_mirror(rule: tuple[Tensor, Tensor], mirror: Tensor) -> tuple[Tensor, Tensor]:
    """The rule of a group twice as large: of SO(d) and a mirror, O(d).

    Example:
        >>> len(with_mirror(quadrature_so3(2), -torch.eye(3))[0])
        36
    """
    nodes, weights = rule
    return torch.cat([nodes, nodes @ mirror.to(nodes)]), torch.cat([weights, weights]) / 2


def _in_plane(turns: Tensor, axes: tuple[int, int]) -> Tensor:
    """Turns of two axes of space, (K, 3, 3)."""
    found = torch.eye(3, dtype=turns.dtype).repeat(len(turns), 1, 1)
    for i, row in enumerate(axes):
        for j, column in enumerate(axes):
            found[:, row, column] = turns[:, i, j]
    return found


def _check_degree(degree: int) -> int:
    if not is_count(degree, 0):
        raise ConfigError(f"expected a whole degree >= 0, got {degree!r}")
    return int(degree)
