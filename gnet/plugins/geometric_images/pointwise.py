"""Tensors at one pixel: their norms, which of them are largest, and the Levi-Civita symbol."""

import math

import torch
from torch import Tensor


def slack(dtype: torch.dtype) -> float:
    """The root of the precision: numbers whose relative difference is below it may differ by rounding alone.

    Example:
        >>> round(1e4 * slack(torch.float32), 2)
        3.45
    """
    return math.sqrt(torch.finfo(dtype).eps)


def tensor_norms(tensors: Tensor, dim: int) -> Tensor:
    """Euclidean norms over one axis, which stays with length 1; all derivatives are 0 where the tensor is.

    Squares neither overflow nor vanish, as components are divided by the largest of them.

    Shapes:
        tensors: (..., d^k, ...)    returns: (..., 1, ...) real

    Example:
        >>> tensor_norms(torch.tensor([[3e-30, 4e-30], [0.0, 0.0]]), 1)
        tensor([[5.0000e-30],
                [0.0000e+00]])
    """
    largest = tensors.detach().abs().amax(dim, keepdim=True)
    none = largest == 0
    scaled = tensors / torch.where(none | largest.isinf(), 1.0, largest)
    squares = ((scaled * scaled.conj()).real if scaled.is_complex() else scaled.square()).sum(dim, keepdim=True)
    # The root never sees 0, where its derivatives are infinite.
    return torch.where(none, 0.0, torch.where(none, 1.0, squares).sqrt() * torch.where(largest.isinf(), 1.0, largest))


def are_largest(tensors: Tensor) -> Tensor:
    """Which tensors have the largest norm of their block, up to rounding, (..., size^d) for (..., size^d, d^k).

    Example:
        >>> are_largest(torch.tensor([[3.0, 4.0], [-5.0, 1e-7], [1.0, 2.0]]))
        tensor([ True,  True, False])
    """
    real = tensors.abs()
    largest = real.to(torch.promote_types(real.dtype, torch.float32)).amax((-2, -1), keepdim=True)
    scale = torch.where((largest == 0) | largest.isinf(), 1.0, largest)
    size = (real / scale).square().sum(-1)
    return size >= size.amax(-1, keepdim=True) * (1 - slack(real.dtype))


def levi_civita_symbol(d: int) -> Tensor:
    """The sign of each tuple of d indices as a permutation, 0 where one is repeated, (d, ..., d) float64.

    Example:
        >>> levi_civita_symbol(2)
        tensor([[ 0.,  1.],
                [-1.,  0.]], dtype=torch.float64)
    """
    index = torch.cartesian_prod(*[torch.arange(d)] * d)
    sign = torch.ones(len(index), dtype=torch.float64)
    for one in range(d):
        for two in range(one + 1, d):
            sign = sign * (index[:, two] - index[:, one]).sign()
    return sign.reshape(*[d] * d)
