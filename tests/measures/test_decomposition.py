"""The estimators of bias^2 and variance are unbiased, and a naive one is caught."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, ShapeError
from gnet.groups import SymmetricGroup
from gnet.measures import bias_variance, fitted_bias_variance, project
from gnet.measures.decomposition import decompose, residual_gram
from gnet.theory import LeastSquares

BIAS, DRAW_STD, SEED_STD, ENTRIES = 0.7, 0.5, 0.9, 6


def simulate(generator: np.random.Generator, num_draws: int, num_seeds: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Predictions y + bias + draw effect + seed effect with known variances."""
    target = generator.standard_normal(ENTRIES)
    of_draw = DRAW_STD * generator.standard_normal((num_draws, 1, ENTRIES))
    of_seed = SEED_STD * generator.standard_normal((num_draws, num_seeds, ENTRIES))
    predictions = (target + BIAS + of_draw + of_seed).reshape(-1, ENTRIES)
    return predictions, target, [draw for draw in range(num_draws) for _ in range(num_seeds)]


def simulations(generator: np.random.Generator, *shape: int) -> Iterator[tuple[np.ndarray, np.ndarray, list[int]]]:
    return (simulate(generator, *shape) for _ in range(1000))


def within_five_errors(values: np.ndarray, expected: float) -> bool:
    error = values.std(ddof=1) / math.sqrt(len(values))
    return bool(abs(values.mean() - expected) < 5 * error)


@pytest.fixture
def generator(rng: torch.Generator) -> np.random.Generator:
    return np.random.default_rng(int(torch.randint(2**31, (), generator=rng)))


@pytest.mark.parametrize(("num_draws", "num_seeds"), [(2, 3), (5, 2), (3, 1)])
def test_estimates_are_unbiased(generator: np.random.Generator, num_draws: int, num_seeds: int) -> None:
    studies = [decompose(residual_gram(p, y), draws) for p, y, draws in simulations(generator, num_draws, num_seeds)]
    expected = {"bias2": BIAS**2, "variance": DRAW_STD**2 + SEED_STD**2}
    if num_seeds > 1:  # one seed per draw leaves the split undetermined
        expected |= {"between_draws": DRAW_STD**2, "between_seeds": SEED_STD**2}
    for name, value in expected.items():
        assert within_five_errors(np.array([getattr(study, name) for study in studies]), value), name


def test_the_naive_estimate_is_caught(generator: np.random.Generator) -> None:
    naive = np.array([np.mean((p.mean(0) - y) ** 2) for p, y, _ in simulations(generator, 3, 2)])
    assert not within_five_errors(naive, BIAS**2)


def test_dividing_by_the_number_of_draws_is_caught(generator: np.random.Generator) -> None:
    too_small = np.array([np.mean(p.var(axis=0, ddof=0)) for p, _, _ in simulations(generator, 3, 1)])
    assert not within_five_errors(too_small, DRAW_STD**2 + SEED_STD**2)


def test_unequal_numbers_of_seeds_stay_unbiased(generator: np.random.Generator) -> None:
    kept = [0, 1, 2, 3, 6]  # of 3 draws with 3 seeds each: 3, 1 and 1 seeds
    studies = [decompose(residual_gram(p[kept], y), [draws[t] for t in kept]) for p, y, draws in simulations(generator, 3, 3)]
    for name, value in (("bias2", BIAS**2), ("variance", DRAW_STD**2 + SEED_STD**2), ("between_draws", DRAW_STD**2)):
        assert within_five_errors(np.array([getattr(study, name) for study in studies]), value), name


def test_seeds_take_the_place_of_draws_when_there_is_one(generator: np.random.Generator) -> None:
    predictions, target, draws = simulate(generator, 1, 4)
    alone = decompose(residual_gram(predictions, target), draws)
    as_draws = decompose(residual_gram(predictions, target), [0, 1, 2, 3])
    assert (alone.bias2, alone.variance) == (as_draws.bias2, as_draws.variance)
    assert alone.conditional and not as_draws.conditional
    assert math.isnan(alone.between_draws) and alone.between_seeds == alone.variance


def test_parts_add_up_to_the_mean_squared_error(generator: np.random.Generator) -> None:
    predictions, target, _ = simulate(generator, 4, 1)
    parts = decompose(residual_gram(predictions, target), [0, 1, 2, 3])
    assert parts.bias2 + parts.variance == pytest.approx(parts.mse)


def test_the_jackknife_error_is_that_of_repeated_studies(generator: np.random.Generator) -> None:
    studies = [decompose(residual_gram(p, y), d) for p, y, d in (simulate(generator, 12, 1) for _ in range(600))]
    for name in ("bias2", "variance"):
        spread = np.std([getattr(study, name) for study in studies], ddof=1)
        claimed = math.sqrt(np.mean([getattr(study, f"{name}_error") ** 2 for study in studies]))
        assert claimed == pytest.approx(spread, rel=0.2)


@pytest.mark.parametrize(("num_draws", "num_seeds"), [(5, 1), (4, 3), (1, 6)])
def test_the_jackknife_error_is_that_of_leaving_out_one_at_a_time(
    generator: np.random.Generator, num_draws: int, num_seeds: int
) -> None:
    """One draw with all its seeds, or one seed where there is a single draw."""
    predictions, target, draws = simulate(generator, num_draws, num_seeds)
    units = np.array(draws if num_draws > 1 else range(num_seeds))
    found = bias_variance(predictions, target, draws)
    num = len(set(units.tolist()))
    for name in ("bias2", "variance"):
        kept = [np.flatnonzero(units != left) for left in range(num)]
        left_out = np.array([getattr(bias_variance(predictions[k], target, [draws[t] for t in k]), name) for k in kept])
        by_hand = math.sqrt((num - 1) / num * np.sum((left_out - left_out.mean()) ** 2))
        assert getattr(found, f"{name}_error") == pytest.approx(by_hand), name


def test_entries_outside_the_mask_do_not_count(generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    target = generator.standard_normal((5, 3, 2))
    predictions = generator.standard_normal((4, 5, 3, 2))
    mask = generator.random((5, 3, 2)) < 0.6
    mask[0, 0, 0] = True
    expected = residual_gram([p[mask] for p in predictions], target[mask])
    target[~mask] = np.nan
    monkeypatch.setattr("gnet.measures.decomposition.CHUNK_ENTRIES", 30)  # several pieces
    assert residual_gram(list(predictions), target, mask) == pytest.approx(expected)


def test_a_single_trial_has_no_decomposition() -> None:
    parts = decompose(residual_gram([np.ones(3)], np.zeros(3)), [0])
    assert parts.mse == 1.0
    assert math.isnan(parts.bias2) and math.isnan(parts.variance) and math.isnan(parts.bias2_error)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected predictions of the target's shape \(3,\), got \(2,\)"):
        residual_gram([np.ones(2)], np.ones(3))
    with pytest.raises(ShapeError, match="a mask without any"):
        residual_gram([np.ones(3)], np.ones(3), np.zeros(3, dtype=bool))


def test_stacks_of_tensors_and_arrays_agree(generator: np.random.Generator) -> None:
    predictions, target, draws = simulate(generator, 3, 2)
    mask = np.array([True, True, False, True, True, False])
    expected = decompose(residual_gram(list(predictions), target, mask), draws)
    assert bias_variance(predictions, target, draws, mask) == expected
    tensors = [torch.from_numpy(each) for each in (predictions, target, mask)]
    assert bias_variance(tensors[0], tensors[1], draws, tensors[2]) == expected
    assert bias_variance(predictions, target).num_draws == 6


def test_least_squares_has_the_bias_and_variance_of_the_theorem(rng: torch.Generator) -> None:
    """Averaged over S_3, n = 20: bias^2 of a prediction at x is (theta_lost x)^2, its variance |x_kept|^2 s^2 / (n - p - 1)."""
    theta, group, n = torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64), SymmetricGroup(3), 20
    x = torch.randn(50, 3, dtype=torch.float64, generator=rng)
    start = int(torch.randint(2**31, (), generator=rng))

    def fit(averaged: bool, draw: int):
        source = torch.Generator().manual_seed(start + draw)
        inputs = torch.randn(n, 3, dtype=torch.float64, generator=source)
        targets = inputs @ theta + 0.5 * torch.randn(n, dtype=torch.float64, generator=source)
        weights = LeastSquares.fit(inputs, targets).theta.flatten()
        weights = project(weights, group, output="invariant") if averaged else weights
        return lambda x: x @ weights

    for averaged in (False, True):
        parts = fitted_bias_variance(lambda draw, a=averaged: fit(a, draw), x, x @ theta, num_draws=100)
        lost = (theta - theta.mean()) if averaged else torch.zeros(3, dtype=torch.float64)
        kept = x.mean(1).square() * 3 if averaged else x.square().sum(1)
        assert abs(parts.bias2 - float((x @ lost).square().mean())) < 5 * parts.bias2_error
        assert abs(parts.variance - 0.25 * float(kept.mean()) / (n - 3 - 1)) < 5 * parts.variance_error


def test_seeds_and_draws_are_told_apart() -> None:
    calls: list[tuple[int, ...]] = []

    class Predictor(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value, self.drop = value, nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.drop(torch.full_like(x, self.value))

    def fit(draw: int, seed: int) -> Predictor:
        calls.append((draw, seed))
        return Predictor([0.0, 3.0][draw] + [-1.0, 1.0][seed])

    parts = fitted_bias_variance(fit, torch.zeros(4), torch.zeros(4), num_draws=2, num_seeds=2)
    assert calls == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert parts.between_seeds == pytest.approx(2.0)  # of -1 and 1
    assert parts.between_draws == pytest.approx(4.5 - 2.0 / 2)  # of 0 and 3, less what the seeds leave
    masked = fitted_bias_variance(
        fit, torch.zeros(4), torch.tensor([0.0, 0, 0, torch.nan]), num_draws=2, num_seeds=2, mask=[True, True, True, False]
    )
    assert masked == parts


def test_stacks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected a stack \(T, M, ...\) of predictions, got \(3,\)"):
        bias_variance(np.ones(3), np.ones(3))
    with pytest.raises(ShapeError, match="expected the draw of each of 2 predictions, got 3"):
        bias_variance(np.ones((2, 3)), np.ones(3), draws=[0, 1, 2])
    with pytest.raises(ConfigError, match="expected at least two fits, got num_draws=1 and num_seeds=None"):
        fitted_bias_variance(lambda draw: torch.tanh, torch.zeros(3), torch.zeros(3), num_draws=1)


def test_a_mask_of_another_shape_is_refused() -> None:
    """Broadcast, it would say how many entries count by its own."""
    for shape in ((3, 1), (3,), (1,)):
        with pytest.raises(ShapeError, match=r"expected a mask of the target's shape \(3, 2\), got"):
            bias_variance(np.ones((2, 3, 2)), np.zeros((3, 2)), mask=np.ones(shape, dtype=bool))
    with pytest.raises(ShapeError, match=r"expected the products of 0 trials, \(0, 0\), got \(0, 0\)"):
        decompose(np.zeros((0, 0)), [])
