"""Bias^2 and variance of trained predictors, estimated from trials that differ in training set (draw) and seed.

A trial's prediction on the common test set is p_ds for draw d and seed s. With y the target, and every square a mean over the
entries of the test set that count,

    E mean (p_ds - y)^2 = mean (E p - y)^2 + Var p = bias^2 + variance .

bias^2 is measured against the noisy y, so it contains the irreducible part: the variance of y given the input. Where p are
probabilities of classes and y is 1 for the known one, the sum over classes of both is the expected Brier score.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnet.errors import ShapeError

Array = NDArray[np.float64]
CHUNK_ENTRIES = 4_000_000  # float64 numbers held at once: 32 MB


@dataclass(frozen=True)
class Decomposition:
    """Unbiased estimates of bias^2 and variance, per entry of the test set, with jackknife standard errors.

    ``between_draws`` and ``between_seeds`` split the variance of one trained model: the training set, and everything the seed
    decides with the training set given. ``num_draws`` and ``num_trials`` say from how many they come. What cannot be estimated
    is NaN: the split with one seed per draw, everything but ``mse`` with a single trial, the errors with fewer than three units.
    """

    mse: float
    bias2: float
    variance: float
    between_draws: float
    between_seeds: float
    bias2_error: float
    variance_error: float
    num_draws: int
    num_trials: int

    @property
    def conditional(self) -> bool:
        """Whether both are conditional on one training set, because seeds took the place of draws."""
        return self.num_draws == 1


def residual_gram(
    predictions: Sequence[NDArray[np.floating]], target: NDArray[np.floating], mask: NDArray[np.bool_] | None = None
) -> Array:
    """Inner products of the residuals p_t - y of all pairs of trials, each a mean over the entries that count.

    Everything ``decompose`` needs is in this small matrix, so predictions may be memory maps: they are read in pieces, and
    memory does not grow with the test set.

    Shapes:
        predictions: T arrays (M, ...)    target: (M, ...)    mask: (M, ...) bool    returns: (T, T)

    Raises:
        ShapeError: predictions and target differ in shape, or no entry counts.

    Example:
        >>> residual_gram([np.array([1.0, 2.0]), np.array([3.0, 2.0])], np.array([1.0, 1.0]))
        array([[0.5, 0.5],
               [0.5, 2.5]])
    """
    for prediction in predictions:
        if prediction.shape != target.shape:
            raise ShapeError(f"expected predictions of the target's shape {target.shape}, got {prediction.shape}")
    counted = target.size if mask is None else int(np.count_nonzero(mask))
    if counted == 0:
        raise ShapeError("expected at least one test entry that counts, got a mask without any")
    per_sample = max(1, target.size // max(1, len(target)))
    step = max(1, CHUNK_ENTRIES // (per_sample * max(1, len(predictions))))
    gram = np.zeros((len(predictions), len(predictions)))
    for start in range(0, len(target), step):
        part = slice(start, start + step)
        y = np.asarray(target[part], dtype=np.float64)
        residuals = np.stack([np.asarray(prediction[part], dtype=np.float64) - y for prediction in predictions])  # (T, m, ...)
        if mask is not None:
            # where, not a product: a target that is missing may be NaN, and NaN * 0 is NaN.
            residuals = np.where(mask[part], residuals, 0.0)
        residuals = residuals.reshape(len(predictions), -1)
        gram += residuals @ residuals.T
    return gram / counted


def decompose(gram: Array, draws: Sequence[int]) -> Decomposition:
    """Bias^2 and variance from the residuals' inner products; ``draws[t]`` names the training set of trial t.

    With D draws and their means m_d over seeds, v = sum_d |m_d - m|^2 / (D - 1) is the variance of one draw's mean, and
    bias^2 = |m - y|^2 - v / D: without the correction it would contain the variance of m. The seeds' part is the mean
    variance inside a draw; the draws' part is v less what the seeds leave in m_d. With one draw the seeds take the place of
    draws, and both numbers are conditional on that training set. Negative estimates are not clipped: that would bias them.

    Shapes:
        gram: (T, T)    draws: T integers

    References:
        Searle, Casella and McCulloch (1992), Variance Components, section 3.5: the one-way random model.

    Example:
        >>> decompose(residual_gram([np.array([1.0]), np.array([3.0])], np.array([0.0])), draws=[0, 1]).bias2
        3.0
    """
    units = _units(draws)
    bias2, variance, between_draws, between_seeds = _estimates(gram, units)
    if len(set(draws)) == 1:
        between_draws, between_seeds = math.nan, variance
    return Decomposition(
        mse=float(np.trace(gram) / len(gram)),
        bias2=bias2,
        variance=variance,
        between_draws=between_draws,
        between_seeds=between_seeds,
        bias2_error=_jackknife(lambda kept: _estimates(gram, kept)[0], units),
        variance_error=_jackknife(lambda kept: _estimates(gram, kept)[1], units),
        num_draws=len(set(draws)),
        num_trials=len(draws),
    )


def _units(draws: Sequence[int]) -> list[list[int]]:
    """The trials of each independent unit: of each draw, or each trial alone when there is one draw."""
    if len(set(draws)) == 1:
        return [[trial] for trial in range(len(draws))]
    return [[trial for trial, draw in enumerate(draws) if draw == unit] for unit in dict.fromkeys(draws)]


def _estimates(gram: Array, units: list[list[int]]) -> tuple[float, float, float, float]:
    """bias^2, variance of one trial, its part between units, its part inside a unit."""
    num = len(units)
    if num < 2:
        return math.nan, math.nan, math.nan, math.nan
    averaging = np.zeros((num, len(gram)))
    for row, unit in enumerate(units):
        averaging[row, unit] = 1 / len(unit)
    means = averaging @ gram @ averaging.T  # inner products of the residuals of the units' means
    square_of_mean = float(means.mean())
    of_means = float(np.trace(means) - num * square_of_mean) / (num - 1)
    bias2 = square_of_mean - of_means / num
    repeats = sum(len(unit) - 1 for unit in units)
    if repeats == 0:
        return bias2, of_means, math.nan, math.nan
    squares = sum(float(np.trace(gram[np.ix_(unit, unit)])) - len(unit) * means[row, row] for row, unit in enumerate(units))
    inside = float(squares / repeats)
    between = of_means - inside * float(np.mean([1 / len(unit) for unit in units]))
    return bias2, between + inside, between, inside


def _jackknife(estimate: Callable[[list[list[int]]], float], units: list[list[int]]) -> float:
    """Standard error of an estimate by leaving out one unit at a time; NaN with fewer than three."""
    num = len(units)
    if num < 3:
        return math.nan
    values = np.array([estimate(units[:left] + units[left + 1 :]) for left in range(num)])
    return float(np.sqrt((num - 1) / num * np.sum((values - values.mean()) ** 2)))
