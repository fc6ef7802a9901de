"""How far predicted paths are from true ones: the published geometric mean of relative errors."""

import torch
from torch import Tensor

from gnet.errors import ShapeError
from gnet.nn.checks import require_finite
from gnet.plugins.pendulum.physics import angular_momentum

FLOOR = 1e-7
"""Errors below this count as this much."""


def relative_errors(predicted: Tensor, true: Tensor) -> Tensor:
    """rms(z' - z) / (rms z' + rms z) at each time, over the entries of a state; 1 where the prediction is not finite.

    Shapes:
        predicted, true: (..., T, S)    returns: (..., T)

    Raises:
        ShapeError: different shapes.
        DegenerateInputError: true paths that are not finite.

    Example:
        >>> relative_errors(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 0.0]]))
        tensor([0.5000])
    """
    if predicted.shape != true.shape:
        raise ShapeError(f"expected paths of one shape, got {tuple(predicted.shape)} and {tuple(true.shape)}")
    require_finite(true, "true paths")
    sizes = predicted.square().mean(-1).sqrt() + true.square().mean(-1).sqrt()
    found = (predicted - true).square().mean(-1).sqrt() / sizes
    found = torch.where(sizes == 0, torch.zeros_like(found), found)
    return torch.where(found.isfinite(), found, torch.ones_like(found))


def state_error(predicted: Tensor, true: Tensor, *, include_t0: bool = True) -> float:
    """exp of the mean of ln e over paths and times, e being ``relative_errors`` and at least 1e-7.

    The published numbers include the first time, at which nothing is predicted and e is 1e-7: with 150 times that is the error of
    the others to the power 149/150, times 10^(-7/150), some 6 per cent less.

    Shapes:
        predicted, true: (..., T, S), the first time being that of the given state

    Raises:
        ShapeError: different shapes, or nothing to take the mean of.
        DegenerateInputError: true paths that are not finite.

    References:
        Finzi, Welling and Wilson (2021), arXiv:2104.09459, and the published code.

    Example:
        >>> true = torch.ones(1, 150, 12)
        >>> predicted = 1.02 * true  # e = 0.02 / 2.02
        >>> predicted[:, 0] = 1.0
        >>> round(state_error(predicted, true), 6), round(state_error(predicted, true, include_t0=False), 6)
        (0.00917, 0.009901)
    """
    return geometric_mean(relative_errors(predicted, true), include_t0=include_t0)


def momentum_error(predicted: Tensor, true: Tensor, *, include_t0: bool = True) -> float:
    """The same mean of |L' - L| / (|L'| + |L|), L the angular momentum about the vertical.

    Shapes:
        predicted, true: (..., T, 12)

    Example:
        >>> momentum_error(torch.ones(1, 2, 12), torch.ones(1, 2, 12)) < 1.1e-7
        True
    """
    ours, theirs = angular_momentum(predicted), angular_momentum(true)
    return geometric_mean(relative_errors(ours[..., None], theirs[..., None]), include_t0=include_t0)


def geometric_mean(errors: Tensor, *, include_t0: bool = True) -> float:
    """exp of the mean of the logarithms of errors (..., T), each at least ``FLOOR``.

    Raises:
        ShapeError: no errors, or that of the first time alone where it is left out.

    Example:
        >>> round(geometric_mean(torch.tensor([1e-4, 1e-2])), 9)
        0.001
    """
    chosen = errors if include_t0 else errors[..., 1:]
    if not chosen.numel():
        left = "" if include_t0 else " after the first time"
        raise ShapeError(f"expected errors (..., T) of one time or more{left}, got {tuple(errors.shape)}")
    return float(chosen.double().clamp(min=FLOOR).log().mean().exp())
