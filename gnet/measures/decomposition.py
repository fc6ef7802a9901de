"""Bias^2 and variance of fitted predictors, estimated from trials that differ in training set (draw) and seed.

A trial's prediction on the common test set is p_ds for draw d and seed s. With y the target, and every square a mean over the
entries of the test set that count,

    E mean (p_ds - y)^2 = mean (E p - y)^2 + Var p = bias^2 + variance .

Against a noisy y bias^2 contains the irreducible part, the variance of y given the input; against the truth E[y | x] it does not.
Where p are probabilities of classes and y is 1 for the known one, the sum over classes of both is the expected Brier score.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from gnet.errors import ConfigError, ShapeError
from gnet.nn.modes import evaluating
from gnet.theory.checks import is_whole

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


def bias_variance(
    predictions: ArrayLike | Tensor,
    target: ArrayLike | Tensor,
    draws: Sequence[int] | None = None,
    mask: ArrayLike | Tensor | None = None,
) -> Decomposition:
    """Bias^2 and variance of a family of predictors from a stack of their predictions on one test set.

    Args:
        draws: which training set each prediction comes from; None takes one for each. Several of one draw differ by their seed.

    Shapes:
        predictions: (T, M, ...)    target: (M, ...)    draws: T integers    mask: (M, ...) bool, the entries that count

    Units: those of the target, squared, a mean over entries.

    Raises:
        ShapeError: shapes that do not fit, or no entry that counts.

    References:
        Geman, Bienenstock and Doursat (1992), doi:10.1162/neco.1992.4.1.1. Searle, Casella and McCulloch (1992), Variance
        Components, section 3.5, for the split.

    Example:
        >>> parts = bias_variance(torch.tensor([[1.0, 2.0], [3.0, 2.0]]), torch.zeros(2))
        >>> parts.bias2, parts.variance
        (3.5, 1.0)
    """
    stack, truth = _as_array(predictions), _as_array(target)
    if stack.ndim < 2 or not len(stack):
        raise ShapeError(f"expected a stack (T, M, ...) of predictions, got {stack.shape}")
    names = list(range(len(stack))) if draws is None else list(draws)
    if len(names) != len(stack):
        raise ShapeError(f"expected the draw of each of {len(stack)} predictions, got {len(names)}")
    return decompose(residual_gram(list(stack), truth, None if mask is None else _as_array(mask).astype(bool)), names)


def fitted_bias_variance(
    fit: Callable[..., Callable[[Tensor], Tensor]],
    x: Tensor,
    target: ArrayLike | Tensor,
    *,
    num_draws: int = 20,
    num_seeds: int | None = None,
    mask: ArrayLike | Tensor | None = None,
) -> Decomposition:
    """Bias^2 and variance of a way to fit: train it on fresh training sets and compare the predictions at x.

    Args:
        fit: ``fit(draw)`` draws the training set of that number, fits and returns the predictor; with ``num_seeds`` it is called
            as ``fit(draw, seed)``, and the seed decides all but the training set. Modules predict in eval mode.
        target: at x; the truth E[y | x] where it is known.

    Shapes:
        x: (M, ...)    target: shaped as the predictions    mask: the same, bool

    Units: those of the target, squared, a mean over entries.

    Raises:
        ConfigError: fewer than two fits, or numbers of them that are not whole.
        ShapeError: predictions or a mask of another shape than the target, or a mask without any entry.

    References:
        Geman, Bienenstock and Doursat (1992), doi:10.1162/neco.1992.4.1.1.

    Example:
        >>> def fit(draw):  # the mean of five numbers of variance 1: variance 1/5, no bias
        ...     sample = torch.randn(5, generator=torch.Generator().manual_seed(draw))
        ...     return lambda x: sample.mean().expand(len(x))
        >>> parts = fitted_bias_variance(fit, torch.zeros(1), torch.zeros(1), num_draws=200)
        >>> abs(parts.variance - 0.2) < 5 * parts.variance_error, abs(parts.bias2) < 5 * parts.bias2_error
        (True, True)
    """
    counts_are_whole = is_whole(num_draws, 1) and (num_seeds is None or is_whole(num_seeds, 1))
    if not counts_are_whole or num_draws * (num_seeds or 1) < 2:
        raise ConfigError(f"expected at least two fits, got num_draws={num_draws!r} and num_seeds={num_seeds!r}")
    predictions, draws = [], []
    for draw in range(num_draws):
        for arguments in [(draw,)] if num_seeds is None else [(draw, seed) for seed in range(num_seeds)]:
            predictor = fit(*arguments)
            with evaluating(predictor):
                predictions.append(_as_array(predictor(x)))
            draws.append(draw)
    truth = _as_array(target)
    return decompose(residual_gram(predictions, truth, None if mask is None else _as_array(mask).astype(bool)), draws)


def residual_gram(
    predictions: Sequence[NDArray[np.floating]], target: NDArray[np.floating], mask: NDArray[np.bool_] | None = None
) -> Array:
    """Inner products of the residuals p_t - y of all pairs of trials, each a mean over the entries that count.

    Everything ``decompose`` needs is in this small matrix, so predictions may be memory maps: they are read in pieces, and
    memory does not grow with the test set.

    Shapes:
        predictions: T arrays (M, ...)    target: (M, ...)    mask: (M, ...) bool    returns: (T, T)

    Units: those of the target, squared.

    Raises:
        ShapeError: predictions, target and mask differ in shape, or no entry counts.

    References:
        Searle, Casella and McCulloch (1992), Variance Components, section 3.5: estimates that are quadratic in the residuals need
        these products alone.

    Example:
        >>> residual_gram([np.array([1.0, 2.0]), np.array([3.0, 2.0])], np.array([1.0, 1.0]))
        array([[0.5, 0.5],
               [0.5, 2.5]])
    """
    predictions, target = [_plain(each) for each in predictions], _plain(target)
    for prediction in predictions:
        if prediction.shape != target.shape:
            raise ShapeError(f"expected predictions of the target's shape {target.shape}, got {prediction.shape}")
    mask = None if mask is None else _plain(mask).astype(bool)
    if mask is not None and mask.shape != target.shape:
        raise ShapeError(f"expected a mask of the target's shape {target.shape}, got {mask.shape}")
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

    Units: those of the target, squared, a mean over entries.

    Raises:
        ShapeError: another number of draws than of trials, or none.

    References:
        Searle, Casella and McCulloch (1992), Variance Components, section 3.5: the one-way random model.

    Example:
        >>> decompose(residual_gram([np.array([1.0]), np.array([3.0])], np.array([0.0])), draws=[0, 1]).bias2
        3.0
    """
    gram = _as_array(gram)
    if gram.shape != (len(draws), len(draws)) or not len(draws):
        raise ShapeError(f"expected the products of {len(draws)} trials, ({len(draws)}, {len(draws)}), got {gram.shape}")
    units = _Units.of(gram, draws)
    everything = np.arange(len(units.sizes))
    bias2, variance, between_draws, between_seeds = units.estimates(everything)
    if len(set(draws)) == 1:
        between_draws, between_seeds = math.nan, variance
    bias2_error, variance_error = units.jackknife()
    return Decomposition(
        mse=float(np.trace(gram) / len(gram)),
        bias2=bias2,
        variance=variance,
        between_draws=between_draws,
        between_seeds=between_seeds,
        bias2_error=bias2_error,
        variance_error=variance_error,
        num_draws=len(set(draws)),
        num_trials=len(draws),
    )


@dataclass(frozen=True, eq=False)
class _Units:
    """Independent units, draws or the trials of a single one: what their trials have in common, and their spread inside.

    Shapes:
        means: (U, U), inner products of the residuals of the units' means    inside, sizes: (U,)
    """

    means: Array
    inside: Array
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, gram: Array, draws: Sequence[int]) -> "_Units":
        """One unit for each draw, or for each trial when there is one draw."""
        names = list(range(len(draws))) if len(set(draws)) == 1 else list(draws)
        units = [[trial for trial, name in enumerate(names) if name == unit] for unit in dict.fromkeys(names)]
        averaging = np.zeros((len(units), len(gram)))
        for row, unit in enumerate(units):
            averaging[row, unit] = 1 / len(unit)
        means = averaging @ gram @ averaging.T
        squares = [sum(gram[trial, trial] for trial in unit) - len(unit) * means[row, row] for row, unit in enumerate(units)]
        return cls(means, np.array(squares), np.array([len(unit) for unit in units]))

    def estimates(self, kept: NDArray[np.int64]) -> tuple[float, float, float, float]:
        """bias^2, variance of one trial, its part between units, its part inside a unit, from some of the units."""
        num = len(kept)
        if num < 2:
            return math.nan, math.nan, math.nan, math.nan
        means, sizes = self.means[np.ix_(kept, kept)], self.sizes[kept]
        square_of_mean = float(means.mean())
        of_means = float(np.trace(means) - num * square_of_mean) / (num - 1)
        bias2 = square_of_mean - of_means / num
        repeats = int(sizes.sum()) - num
        if repeats == 0:
            return bias2, of_means, math.nan, math.nan
        inside = float(self.inside[kept].sum() / repeats)
        between = of_means - inside * float(np.mean(1 / sizes))
        return bias2, between + inside, between, inside

    def jackknife(self) -> tuple[float, float]:
        """Standard errors of bias^2 and variance by leaving out one unit at a time; NaN with fewer than three."""
        num = len(self.sizes)
        if num < 3:
            return math.nan, math.nan
        values = np.array([self.estimates(np.delete(np.arange(num), left))[:2] for left in range(num)])
        errors = np.sqrt((num - 1) / num * np.sum((values - values.mean(0)) ** 2, axis=0))
        return float(errors[0]), float(errors[1])


def _as_array(values: ArrayLike | Tensor) -> Array:
    """float64."""
    return _plain(values).astype(np.float64, copy=False)


def _plain(values: ArrayLike | Tensor) -> NDArray[Any]:
    """An array of numbers as it is: memory maps stay where they are."""
    try:
        found = values.detach().cpu().double().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    except ValueError as error:
        raise ShapeError(f"expected an array of numbers, got {type(values).__name__}: {error}") from None
    if found.dtype.kind not in "biuf":
        raise ShapeError(f"expected an array of numbers, got one of {found.dtype}")
    return found
