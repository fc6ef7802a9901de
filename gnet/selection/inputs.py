"""What ``SymmetrySelection`` is given: nodes, targets that were measured, penalties."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from gnet.errors import ConfigError, ShapeError

PENALTIES = (0.0, 0.1, 1.0, 10.0, 100.0)
"""Ridge penalties to begin with, in units of the mean square of an input."""
LARGEST = 1e6
"""To which they are extended while the largest is best: there a fit says little but the mean."""
GAINED = 1e-3
"""Share of the error by which a larger penalty must be better to look further."""


def without_missing(y: Any, mask: ArrayLike | None) -> tuple[Any, ArrayLike | None]:
    """Targets with 0 for NaN, and a mask that does not count them.

    Example:
        >>> without_missing([[1.0, float("nan")]], None)
        (array([[1., 0.]]), array([[ True, False]]))
    """
    values = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
    if values.dtype.kind != "f" or not np.isnan(values).any():
        return y, mask
    known = ~np.isnan(values)
    return np.where(known, values, 0.0), known if mask is None else _mask_like(mask, values.shape) & known


def counted_entries(mask: ArrayLike | None, targets: Tensor) -> Tensor:
    """Which entries count, shaped as the targets; all without a mask.

    Raises:
        ShapeError: a mask that is not of bool, or not shaped as the targets.

    Example:
        >>> counted_entries([[True, False]], torch.zeros(1, 2, 1)).shape
        torch.Size([1, 2, 1])
    """
    if mask is None:
        return torch.ones_like(targets, dtype=torch.bool)
    return torch.as_tensor(_mask_like(mask, tuple(targets.shape))).reshape(targets.shape)


def _mask_like(mask: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    given = np.asarray(mask)
    if given.dtype != bool or given.size != math.prod(shape) or len(given) != shape[0]:
        raise ShapeError(f"expected a mask of bool, shaped as y, got {tuple(given.shape)} of {given.dtype}")
    return given.reshape(shape)


def check_penalties(alphas: Sequence[float] | None) -> list[float]:
    """The penalties to begin with.

    Raises:
        ConfigError: none, or some that are negative or not finite.

    Example:
        >>> check_penalties((0.0, 5.0)), len(check_penalties(None))
        ([0.0, 5.0], 5)
    """
    given = list(PENALTIES if alphas is None else alphas)
    if not given or not all(0 <= alpha < math.inf for alpha in given):
        raise ConfigError(f"expected finite ridge penalties >= 0 in alphas, got {alphas!r}; (0.0,) is least squares")
    return given


def wants_larger(risks: Tensor) -> bool:
    """Whether for some candidate the largest penalty is best, and better than the one before by a share of ``GAINED``.

    Shapes:
        risks: (J, A), penalties increasing

    Example:
        >>> wants_larger(torch.tensor([[3.0, 2.0, 1.0]])), wants_larger(torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 1.0]]))
        (True, False)
    """
    at_edge = risks.argmin(1) == risks.shape[1] - 1
    return bool((at_edge & (risks[:, -1] < (1 - GAINED) * risks[:, -2])).any())


def num_nodes_in(X: Any) -> int:
    """The nodes of X (n, N) or (n, N, C).

    Raises:
        ShapeError: X of other axes.

    Example:
        >>> num_nodes_in(np.zeros((5, 3)))
        3
    """
    shape = np.shape(X)
    if len(shape) not in (2, 3):
        raise ShapeError(f"expected X of shape (n, N) or (n, N, C), got {shape}")
    return int(shape[1])
