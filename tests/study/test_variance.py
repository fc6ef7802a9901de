"""The estimators of bias^2 and variance are unbiased, and a naive one is caught."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from gnet.errors import ShapeError
from gnet.study.variance import decompose, residual_gram

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


def test_entries_outside_the_mask_do_not_count(generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    target = generator.standard_normal((5, 3, 2))
    predictions = generator.standard_normal((4, 5, 3, 2))
    mask = generator.random((5, 3, 2)) < 0.6
    mask[0, 0, 0] = True
    expected = residual_gram([p[mask] for p in predictions], target[mask])
    target[~mask] = np.nan
    monkeypatch.setattr("gnet.study.variance.CHUNK_ENTRIES", 30)  # several pieces
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
