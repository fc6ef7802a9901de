"""What candidates err on samples left out, and what that says of each: risks, standard errors, the best penalty, ties."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gnet.errors import ShapeError
from gnet.groups.base import NodeGroup

Fold = tuple[np.ndarray, np.ndarray]
"""Numbers of the samples to fit to, and of those left out."""
Outputs = Callable[[NodeGroup, float, np.ndarray, np.ndarray], Tensor]
"""Of a group and a penalty, fitted to some samples, at others: (n, out)."""
ROUNDING = 1e-10
"""Relative size of what may be rounding, in risks and in the errors that they are squares of."""


def errors_left_out(
    folds: Sequence[Fold],
    candidates: Sequence[Sequence[NodeGroup]],
    penalties: Sequence[float],
    outputs: Outputs,
    targets: Tensor,
    counted: Tensor,
) -> tuple[Tensor, Tensor]:
    """Mean squares of the errors of each sample, and mean products of those of all candidates, over all folds it is left out of.

    Args:
        candidates: of each fold, as many in all.

    Shapes:
        targets, counted: (n, ...)    returns: (J, A, n), NaN for samples of which nothing counts, and (J, A, J, A)
    """
    size = (len(candidates[0]), len(penalties))
    squares = torch.zeros(*size, len(targets), dtype=torch.float64)
    products, counts = torch.zeros(*size, *size, dtype=torch.float64), torch.zeros(len(targets), dtype=torch.float64)
    for (train, test), groups in zip(folds, candidates, strict=True):
        truth, weights, rows = targets[test].flatten(1), counted[test].flatten(1).double(), torch.as_tensor(test)
        errors = torch.stack(
            [torch.stack([(truth - outputs(group, penalty, train, test)) * weights for penalty in penalties]) for group in groups]
        )  # (J, A, n, out)
        squares.index_add_(2, rows, errors.square().sum(3))
        counts.index_add_(0, rows, weights.sum(1))
        flat = errors.flatten(2).flatten(0, 1)
        products += (flat @ flat.mT).reshape(products.shape)
    return squares / counts, products / max(float(counts.sum()), 1.0)


@dataclass(frozen=True)
class Verdict:
    """What the samples left out say of a candidate at the best of its penalties; see ``Candidate``."""

    penalty: int
    validated: float
    standard_error: float
    difference: float
    difference_error: float


def judged(losses: Tensor) -> list[Verdict]:
    """Of each candidate the best penalty, the mean loss there, and by how much it is behind the best candidate.

    Shapes:
        losses: (J, A, n), NaN for samples that were left out of no fold, as in series, or have no target

    Raises:
        ShapeError: there are no others.

    Example:
        >>> judged(torch.tensor([[[2.0, 4.0], [1.0, 3.0]]]))
        [Verdict(penalty=1, validated=2.0, standard_error=1.0, difference=0.0, difference_error=0.0)]
    """
    seen = ~losses[0, 0].isnan()
    if not bool(seen.any()):
        raise ShapeError("expected samples left out that have targets, got none; see mask and cv")
    losses = losses[:, :, seen]
    best = losses.mean(2).argmin(1)
    chosen = losses[torch.arange(len(losses)), best]
    behind = chosen - chosen[chosen.mean(1).argmin()]
    columns = [best, chosen.mean(1), _standard_errors(chosen), behind.mean(1), _standard_errors(behind)]
    return [Verdict(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _standard_errors(losses: Tensor) -> Tensor:
    """Of the means over samples; NaN of a single sample, which says nothing of how much others differ."""
    if losses.shape[1] < 2:
        return torch.full_like(losses[:, 0], math.nan)
    return losses.std(1) / math.sqrt(losses.shape[1])


def simplest_of_best(risks: Sequence[float], num_weights: Sequence[int], scale: float = 0.0) -> int:
    """The place of the lowest risk; of those that differ by rounding alone, the one with the fewest weights.

    ``scale`` is the mean square of what was predicted. NaN is no risk.

    Example:
        >>> simplest_of_best([1e-31, 3e-31, 0.5], [36, 2, 1], scale=1.0), simplest_of_best([0.4, 0.3], [2, 36], scale=1.0)
        (1, 1)
    """
    most = float(np.nanmin(risks)) * (1 + ROUNDING) + ROUNDING**2 * scale
    return min((place for place, risk in enumerate(risks) if risk <= most), key=lambda place: (num_weights[place], risks[place]))
