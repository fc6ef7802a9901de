"""One table of tolerances, and the error a broken law raises."""

import torch
from torch import Tensor

from gnet.errors import GnetError

RELATIVE_TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 5e-2, torch.float16: 5e-3}
"""Largest relative error that counts as rounding, by dtype."""


class LawBroken(GnetError, AssertionError):
    """A law does not hold; the message names it, the measured error and the tolerance."""


def tolerance(dtype: torch.dtype) -> float:
    """The relative tolerance of laws in this dtype.

    Example:
        >>> tolerance(torch.float64)
        1e-10
    """
    return RELATIVE_TOLERANCE.get(dtype, 0.0)


def require_close(law: str, got: Tensor, expected: Tensor, scale: float = 1.0) -> None:
    """Raise unless two tensors agree to the tolerance of their dtype, relative to the larger norm times ``scale``.

    Raises:
        LawBroken: shapes differ, or the difference is too large.
    """
    if got.shape != expected.shape:
        raise LawBroken(f"{law}: shapes {tuple(got.shape)} and {tuple(expected.shape)} differ")
    if got.is_complex() and expected.is_complex():
        got, expected = torch.view_as_real(got), torch.view_as_real(expected)
    if not got.is_floating_point():
        if not torch.equal(got, expected):
            raise LawBroken(f"{law}: {int((got != expected).sum())} of {got.numel()} entries differ")
        return
    size = max(float(got.detach().double().norm()), float(expected.detach().double().norm()), 1e-300)
    error = float((got.detach().double() - expected.detach().double()).norm()) / size
    if not error <= tolerance(got.dtype) * max(scale, 1.0):
        raise LawBroken(f"{law}: relative error {error:.3g}, tolerance {tolerance(got.dtype) * max(scale, 1.0):.3g}")
