"""The published metric on errors of known size, and the data it is measured on."""

import math
from pathlib import Path

import pytest
import torch

from gnet.errors import ConfigError, DegenerateInputError, ShapeError
from gnet.plugins.pendulum import (
    Pendulum,
    initial_states,
    integrate,
    momentum_error,
    pendulum_data,
    relative_errors,
    state_error,
)
from gnet.plugins.pendulum.data import CHECKSUM, CHECKSUM_OF_FEW
from gnet.plugins.pendulum.metric import geometric_mean

FAMILY = Path(__file__).resolve().parents[3] / "gnet" / "plugins" / "pendulum"
TIMES = 0.2 * torch.arange(150, dtype=torch.float64)


@pytest.fixture(scope="module")
def starts() -> torch.Tensor:
    return initial_states(60, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def true(starts) -> torch.Tensor:
    return integrate(Pendulum(), starts, TIMES, substeps=20)


@pytest.mark.parametrize(("substeps", "expected"), [(1, 2.5e-4), (2, 1.5e-5), (4, 9.7e-7), (8, 1.2e-7)])
def test_errors_of_coarse_steps(substeps, expected, starts, true):
    error = state_error(integrate(Pendulum(), starts, TIMES, substeps=substeps), true)
    assert error == pytest.approx(expected, rel=0.4)


def test_errors_of_wrong_models(starts, true):
    assert state_error(starts[:, None].expand_as(true), true) == pytest.approx(0.28, rel=0.15)
    wrong = integrate(Pendulum(kappa=0.5), starts, TIMES)
    assert state_error(wrong, true) == pytest.approx(0.14, rel=0.3)
    assert momentum_error(wrong, true) < 1e-5 < momentum_error(true.roll(1, 0), true)  # kept by both, whatever kappa
    shifted = starts + 1e-3 * torch.randn(starts.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    path = integrate(Pendulum(), shifted, TIMES)
    assert state_error(path, true, include_t0=False) == pytest.approx(6.3e-4, rel=0.4)
    grown = geometric_mean(relative_errors(path, true)[:, -1])
    assert grown == pytest.approx(1.4e-3, rel=0.4)  # mild chaos, at t = 29.8


def test_the_first_time_counts_and_how_much(true):
    predicted = true * 1.02
    predicted[:, 0] = true[:, 0]
    without, included = state_error(predicted, true, include_t0=False), state_error(predicted, true)
    assert included == pytest.approx(without ** (149 / 150) * 10 ** (-7 / 150), rel=1e-9)
    assert 0.90 < included / without < 0.95


def test_a_path_that_diverges_counts_as_one():
    true, lost = torch.ones(1, 3, 12), torch.ones(1, 3, 12)
    lost[:, 1:] = torch.tensor(math.nan)
    assert relative_errors(lost, true).tolist() == [[0.0, 1.0, 1.0]]
    lost[:, 1:] = math.inf
    assert relative_errors(lost, true).tolist() == [[0.0, 1.0, 1.0]]
    assert state_error(lost, true) == pytest.approx(1e-7 ** (1 / 3), rel=1e-6)
    assert relative_errors(torch.zeros(1, 12), torch.zeros(1, 12)).tolist() == [0.0]
    with pytest.raises(ShapeError, match="paths of one shape"):
        state_error(true, true[:, :2])


# --- data ---


def test_data_are_the_same_everywhere():
    data = pendulum_data(20, 10, 10, num_times=30)
    assert data.checksum() == CHECKSUM_OF_FEW
    assert (data.train.shape, data.test.shape, data.paths.shape) == ((20, 5, 12), (10, 5, 12), (10, 30, 12))
    data.train[0, 0, 0] += 2e-3  # a change that counts
    assert data.checksum() != CHECKSUM_OF_FEW
    data.train[0, 0, 0] -= 2e-3
    torch.testing.assert_close(data.paths[:, :5].float(), data.test, atol=1e-5, rtol=1e-5)
    states = data.train.double()
    torch.testing.assert_close(Pendulum().energy(states), Pendulum().energy(states[:, :1]).expand(-1, 5), atol=1e-4, rtol=0)


def test_the_data_card_shows_the_checksum_of_all_data():
    data = pendulum_data()
    assert data.checksum() == CHECKSUM
    assert f" {CHECKSUM} |" in (FAMILY / "README.md").read_text()
    assert (data.train.shape, data.val.shape, data.paths.shape) == ((500, 5, 12), (500, 5, 12), (500, 150, 12))
    energies = Pendulum().energy(data.paths)
    assert float((energies - energies[:, :1]).abs().max()) < 1e-4


def test_data_follow_the_seed_and_the_law():
    one, again, other = (pendulum_data(20, 5, 5, seed=seed, num_times=20) for seed in (0, 0, 1))
    assert one.checksum() == again.checksum() != other.checksum()
    drawn = initial_states(20_000, torch.Generator().manual_seed(0))
    assert drawn.mean(0).tolist() == pytest.approx([0, 0, -1.5, 0, 0, -3, *[0] * 6], abs=0.02)
    assert drawn.std(0).tolist() == pytest.approx([0.2] * 6 + [0.4] * 6, rel=0.03)


def test_the_published_solver_makes_nearly_the_same_data():
    published, ours = (pendulum_data(5, 2, 2, method=method, num_times=20) for method in ("dopri5", "rk4"))
    torch.testing.assert_close(published.train, ours.train, atol=5e-3, rtol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pendulum_data(0, 1, 1), "up to 5000 paths in all, and some for each part, got 0, 1 and 1"),
        (lambda: pendulum_data(5000, 1, 1), "up to 5000 paths"),
        (lambda: pendulum_data(1, 1, 1, num_times=4), "at least 5 times"),
    ],
)
def test_settings_are_checked(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


@pytest.mark.parametrize("error", [state_error, momentum_error])
def test_what_has_no_error(error):
    """NaN would count as an error of one, and pass for a measurement."""
    true = torch.ones(2, 3, 12)
    lost = true.clone()
    lost[1, 2, 0] = math.nan
    with pytest.raises(DegenerateInputError, match="finite true paths, got NaN or infinity in item"):
        error(true, lost)
    with pytest.raises(ShapeError, match=r"one time or more after the first time, got \(2, 1\)"):
        error(true[:, :1], true[:, :1], include_t0=False)
    with pytest.raises(ShapeError, match=r"one time or more, got \(0, 3\)"):
        error(true[:0], true[:0])
