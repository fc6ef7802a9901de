"""Least squares on targets that were measured in part: the fit itself says what stands where nothing was."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from gnet.errors import ShapeError
from gnet.theory.estimates import LeastSquares
from gnet.theory.solvers import ridge

TOLERANCE = 1e-5
"""Of what is filled in against what the fit says there, relative to the targets, in root mean square."""
MOST_ROUNDS = 200


def fill(outputs: Callable[[Tensor], Tensor], targets: Tensor, counted: Tensor) -> Tensor:
    """The targets, with a fit's own outputs where they do not count.

    Its errors are 0 there, so fitted to these targets it has the lowest sum of squares (and penalty) over the entries that count.
    They solve a linear system, by conjugate gradients from the mean of each column: one fit a round, and the more rounds, the
    more is missing.

    Args:
        outputs: from such targets to the outputs of what is fitted to them; linear, and a projection, or one that shrinks.

    Shapes:
        targets, counted: (n, ...)    returns: (n, ...)

    Example:
        >>> seen = torch.tensor([True, True, True, False])
        >>> fill(lambda y: y.mean().expand(4), torch.tensor([1.0, 2.0, 6.0, 99.0]), seen)
        tensor([1., 2., 6., 3.])
    """
    if bool(counted.all()):
        return targets
    means = targets.masked_fill(~counted, 0.0).sum(0) / counted.sum(0).clamp(min=1)
    filled = torch.where(counted, targets, means)
    residual = (outputs(filled) - filled).masked_fill(counted, 0.0)
    direction, square = residual, residual.square().sum()
    enough = TOLERANCE**2 * filled.square().sum()
    for _ in range(MOST_ROUNDS):
        if square <= enough:
            break
        change = (direction - outputs(direction)).masked_fill(counted, 0.0)
        curvature = (direction * change).sum()
        if curvature <= 1e-12 * direction.square().sum():  # no entry that counts depends on it
            break
        step = square / curvature
        filled, residual = filled + step * direction, residual - step * change
        before, square = square, residual.square().sum()
        direction = residual + square / before * direction
    return filled


def fill_by_least_squares(x: Tensor, targets: Tensor, counted: Tensor | None, *, centred: bool) -> Tensor:
    """``fill`` by least squares without symmetry, each output by itself; None counts all.

    Shapes:
        x: (n, N, C)    targets, counted: (n, ...)    returns: (n, ...)

    Example:
        >>> x, seen = torch.eye(2, dtype=torch.float64)[[0, 1, 1]][..., None], torch.tensor([[True], [True], [False]])
        >>> filled = fill_by_least_squares(x, torch.tensor([[4.0], [5.0], [0.0]]).double(), seen, centred=False)
        >>> filled.flatten().round(decimals=3)
        tensor([4., 5., 5.], dtype=torch.float64)
    """
    if counted is None or bool(counted.all()):
        return targets
    flat = (x - x.mean(0) if centred else x).flatten(1)
    solve = ridge(flat, 0.0)

    def outputs(known: Tensor) -> Tensor:
        mean = known.mean(0) if centred else torch.zeros_like(known[0])
        return mean + (flat @ solve((known - mean).reshape(len(known), -1))).reshape(known.shape)

    return fill(outputs, targets, counted)


def least_squares(x: Tensor, filled: Tensor, counted: Tensor | None, *, centred: bool) -> LeastSquares:
    """``LeastSquares`` of targets that ``fill_by_least_squares`` gave, with the noise of those that count.

    That noise is divided by their share: ``inverse_gram`` is of all samples, and the product of both is the variance of the
    estimate, on average over outputs.

    Shapes:
        x: (n, N, C)    filled, counted: (n, N, C') or (n,)

    Raises:
        ShapeError: no more samples than inputs, or no more entries that count than weights.

    Example:
        >>> x, seen = torch.randn(60, 3, 1, dtype=torch.float64), torch.rand(60, 3, 1) < 0.7
        >>> fit = least_squares(x, fill_by_least_squares(x, 2 * x, seen, centred=True), seen, centred=True)
        >>> fit.theta.reshape(3, 3).diagonal().round(decimals=2)
        tensor([2., 2., 2.], dtype=torch.float64)
    """
    fit = LeastSquares.fit(x, filled, centred=centred)
    if counted is None or bool(counted.all()):
        return fit
    weights, outputs, total = x[0].numel() + int(centred), counted[0].numel(), int(counted.sum())
    if total <= weights * outputs:
        raise ShapeError(f"expected more targets than weights, got {total} that count for {weights * outputs} weights")
    squares = fit.noise * (len(x) - weights) * outputs
    return replace(fit, noise=squares / (total - weights * outputs) * counted.numel() / total)
