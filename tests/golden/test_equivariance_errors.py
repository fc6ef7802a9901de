"""Check F of the theory (F.1): pointwise errors of f(x) = tanh(W x / 10), x = (1, 2, 4, 8, 16, 32) / 32, sizes [3, 2, 1].

Source of every number: the block "Check F", computed there over all 12 elements in float64.
"""

import math

import pytest
import torch
from torch import Tensor

from gnet.groups import ClusterGroup
from gnet.measures import AveragedModule, equivariance_error, linear_equivariance_error, project
from gnet.testing import enumerate_elements
from tests.golden.fixtures import SIZES_321, fixture_weight

V_AT_X, MEAN_SQUARE, SUP, SQUARE_OF_F = 0.1375433394443987, 0.26766310886383055, 0.7302723685660251, 0.7778164142269358
MEAN_SQUARE_ON_ORBIT = 0.2750866788887974


class Enumerated(ClusterGroup):
    """Draws every element once: with num_samples = 12, averages over the group are exact."""

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        elements = enumerate_elements(self)
        assert num == len(elements)
        return elements


GROUP = ClusterGroup(SIZES_321)
EVERY_ELEMENT = Enumerated(SIZES_321)
X = (torch.tensor([1.0, 2, 4, 8, 16, 32], dtype=torch.float64) / 32).reshape(1, 6, 1)


def f(x: Tensor) -> Tensor:
    return torch.tanh(fixture_weight(6) @ x / 10)


def test_errors_at_one_point_over_all_elements():
    error = equivariance_error(f, X, EVERY_ELEMENT, num_samples=12)
    assert error.mean_square == pytest.approx(MEAN_SQUARE, abs=1e-14)
    assert error.sup == pytest.approx(SUP, abs=1e-14)
    assert error.variance * 11 / 12 == pytest.approx(V_AT_X, abs=1e-14)  # V divides by 12, its unbiased estimate by 11
    assert error.relative == pytest.approx(math.sqrt(MEAN_SQUARE / SQUARE_OF_F), abs=1e-14)
    assert float(f(X).square().sum()) == pytest.approx(SQUARE_OF_F, abs=1e-14)
    assert math.isnan(error.standard_error)


def test_variance_at_one_point_is_the_distance_to_the_average():
    averaged = project(f, EVERY_ELEMENT, num_samples=12)
    moved = torch.stack([EVERY_ELEMENT.act(torch.argsort(g), f(EVERY_ELEMENT.act(g, X))) for g in enumerate_elements(GROUP)])
    assert float((moved - averaged(X)).square().sum((1, 2, 3)).mean()) == pytest.approx(V_AT_X, abs=1e-14)


def test_twice_the_squared_rest_on_the_uniform_distribution_of_an_orbit():
    elements = enumerate_elements(GROUP)
    orbit = torch.cat([GROUP.act(g, X) for g in elements])
    error = equivariance_error(f, orbit, EVERY_ELEMENT, num_samples=12)
    averaged = AveragedModule(f, GROUP, elements, GROUP.action, GROUP.action)
    rest = float((f(orbit) - averaged(orbit)).square().sum((1, 2)).mean())
    assert error.mean_square == pytest.approx(MEAN_SQUARE_ON_ORBIT, abs=1e-14)
    assert 2 * rest == pytest.approx(MEAN_SQUARE_ON_ORBIT, abs=1e-14)
    assert rest == pytest.approx(V_AT_X, abs=1e-14)


def test_the_average_over_all_elements_is_equivariant():
    averaged = project(f, EVERY_ELEMENT, num_samples=12)
    assert equivariance_error(averaged, X, EVERY_ELEMENT, num_samples=12).relative < 1e-12


def test_sampled_errors_are_unbiased(rng):
    """Over 400 independent estimates from 4 elements each, within 5 standard errors."""
    estimates = [equivariance_error(f, X, GROUP, num_samples=4, generator=rng) for _ in range(400)]
    for values, truth in [
        (torch.tensor([e.mean_square for e in estimates], dtype=torch.float64), MEAN_SQUARE),
        (torch.tensor([e.variance for e in estimates], dtype=torch.float64), V_AT_X),
    ]:
        assert abs(float(values.mean()) - truth) < 5 * float(values.std()) / math.sqrt(len(values))


def test_exact_errors_of_the_linear_map():
    """E_g ||W - g W||^2 = 259/3; ||Psi_perp W||^2 / ||W||^2 = 0.2346014492753623; relative RMS 0.6849838674."""
    weight = fixture_weight(6)
    error = linear_equivariance_error(weight, GROUP)
    assert error.mean_square == pytest.approx(259 / 3, abs=1e-12)
    assert error.variance / 184 == pytest.approx(0.2346014492753623, abs=1e-15)
    assert error.relative == pytest.approx(0.6849838674, abs=5e-11)
    moved = torch.stack([weight[torch.argsort(g)][:, torch.argsort(g)] for g in enumerate_elements(GROUP)])
    assert float((weight - moved).square().sum((1, 2)).mean()) == pytest.approx(259 / 3, abs=1e-12)


def test_exact_errors_scale_with_the_inputs():
    error = linear_equivariance_error(fixture_weight(6), GROUP, sigma_x=3.0)
    assert error.mean_square == pytest.approx(9 * 259 / 3, abs=1e-10)
    assert error.relative == pytest.approx(0.6849838674, abs=5e-11)


def test_sampled_error_of_the_linear_map_agrees_with_the_exact_one(rng):
    x = torch.randn(4000, 6, 1, dtype=torch.float64, generator=rng)
    error = equivariance_error(lambda signal: fixture_weight(6) @ signal, x, EVERY_ELEMENT, num_samples=12)
    assert abs(error.mean_square - 259 / 3) < 5 * error.standard_error
