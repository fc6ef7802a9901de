"""Exact errors of linear maps: brute force over the group, biases, channels, invariant outputs, and what a bad shape gets."""

import math

import pytest
import torch
from torch import Tensor

from gnet.errors import ConfigError, ShapeError
from gnet.groups import TRIVIAL_ACTION, ClusterGroup, NodeGroup, SymmetricGroup
from gnet.measures import channel_equivariance_errors, equivariance_error, linear_equivariance_error, project
from tests.golden.fixtures import SIZES_321, fixture_weight
from tests.laws.cases import GROUPS

SMALL = {name: group for name, group in GROUPS.items() if 1 < group.order() <= 200}


@pytest.fixture(params=SMALL)
def group(request: pytest.FixtureRequest) -> NodeGroup:
    return SMALL[request.param]


def normal(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=rng)


def test_white_inputs_and_a_bias_by_brute_force(group, rng):
    """White x: E_x |A x + a|^2 = sigma^2 |A|_F^2 + |a|^2 with A, a the difference of the map and its image."""
    n = group.degree
    weight, bias = normal(rng, n, 3, n, 2), normal(rng, n, 3)
    squares = []
    for g in group.elements():
        back = torch.argsort(g)
        difference = weight[back][:, :, back] - weight
        squares.append(4 * float(difference.square().sum()) + float((bias[back] - bias).square().sum()))
    error = linear_equivariance_error(weight, group, bias=bias, sigma_x=2.0)
    assert error.mean_square == pytest.approx(sum(squares) / len(squares))
    assert error.mean_square == pytest.approx(2 * error.variance)
    assert error.scale == pytest.approx(float(4 * weight.square().sum() + bias.square().sum()))
    without = linear_equivariance_error(weight, group, sigma_x=2.0)
    rest = (bias - project(bias, group, output="invariant")).square().sum()
    assert error.variance - without.variance == pytest.approx(float(rest))


def test_given_inputs_by_enumeration(group, rng):
    n = group.degree
    weight, bias, x = normal(rng, n, 3, n, 2), normal(rng, n, 3), normal(rng, 7, n, 2) + 1
    exact = linear_equivariance_error(weight, group, bias=bias, x=x)
    listed = equivariance_error(lambda s: torch.einsum("nomi,bmi->bno", weight, s) + bias, x, group, num_samples=None)
    for name in ("mean_square", "variance", "relative", "standard_error", "variance_standard_error", "scale"):
        assert getattr(exact, name) == pytest.approx(getattr(listed, name)), name
    assert math.isnan(exact.sup)
    # White inputs are another distribution: their error is none of these.
    assert linear_equivariance_error(weight, group, bias=bias).mean_square != pytest.approx(exact.mean_square, rel=1e-3)


def test_invariant_maps_by_enumeration(group, rng):
    n = group.degree
    theta, bias, x = normal(rng, 3, n, 2), normal(rng, 3), normal(rng, 7, n, 2)
    exact = linear_equivariance_error(theta, group, bias=bias, x=x, output="invariant")
    listed = equivariance_error(
        lambda s: torch.einsum("oni,bni->bo", theta, s) + bias, x, group, action_out=TRIVIAL_ACTION, num_samples=None
    )
    for name in ("mean_square", "variance", "relative", "standard_error", "variance_standard_error"):
        assert getattr(exact, name) == pytest.approx(getattr(listed, name)), name
    white = linear_equivariance_error(theta[0], group, output="invariant")
    lost = theta[0] - project(theta[0], group, output="invariant")
    assert white.variance == pytest.approx(float(lost.square().sum()))
    assert linear_equivariance_error(theta[0, :, 0], group, output="invariant").variance <= white.variance


def test_equivariant_maps_have_errors_of_rounding_alone(group, rng):
    """Squares of 1e-16, where a difference of large numbers would leave 1e-16 itself."""
    n = group.degree
    weight = project(normal(rng, n, 3, n, 2), group)
    bias = project(normal(rng, n, 3), group, output="invariant")
    assert linear_equivariance_error(weight, group, bias=bias, x=normal(rng, 5, n, 2)).relative < 1e-14
    assert linear_equivariance_error(weight, group, bias=bias).relative < 1e-14


def test_channels_add_up(group, rng):
    n = group.degree
    weight = normal(rng, n, 3, n, 2)
    weight[:, 1, :, 0] = project(weight[:, 1, :, 0], group)
    parts = channel_equivariance_errors(weight, group)
    assert parts.shape == (3, 2)
    assert float(parts[1, 0]) < 1e-20
    assert float(parts[2, 1]) == pytest.approx(linear_equivariance_error(weight[:, 2, :, 1], group).variance)
    assert float(parts.sum()) == pytest.approx(linear_equivariance_error(weight, group).variance)
    theta = normal(rng, 3, n, 2)
    of_theta = channel_equivariance_errors(theta, group, output="invariant")
    assert of_theta.shape == (3, 2)
    assert float(of_theta[2].sum()) == pytest.approx(linear_equivariance_error(theta[2], group, output="invariant").variance)


def test_check_values():
    """Theory, check F: E_g |W - g W|^2 = 259/3, relative 0.6849838674, over the 12 elements of sizes 3, 2, 1."""
    error = linear_equivariance_error(fixture_weight(6), ClusterGroup(SIZES_321))
    assert error.mean_square == pytest.approx(259 / 3, abs=1e-12)
    assert error.relative == pytest.approx(0.6849838674, abs=5e-11)
    assert float(channel_equivariance_errors(fixture_weight(6), ClusterGroup(SIZES_321))) == pytest.approx(259 / 6, abs=1e-12)


def test_what_does_not_fit_is_refused():
    group, weight = SymmetricGroup(3), torch.zeros(3, 2, 3, 1)
    with pytest.raises(ShapeError, match=r"expected a map \(3, 3\) or \(3, C', 3, C\), got \(4, 4\)"):
        linear_equivariance_error(torch.zeros(4, 4), group)
    with pytest.raises(ShapeError, match=r"expected an invariant map \(3,\), \(3, C\) or \(C', 3, C\), got \(4,\)"):
        linear_equivariance_error(torch.zeros(4), group, output="invariant")
    with pytest.raises(ShapeError, match=r"expected a bias of shape \(3, 2\), got \(3,\)"):
        linear_equivariance_error(weight, group, bias=torch.zeros(3))
    with pytest.raises(ShapeError, match=r"expected x as a tensor \(B, 3, 1\), got \(5, 3, 2\)"):
        linear_equivariance_error(weight, group, x=torch.zeros(5, 3, 2))
    with pytest.raises(ConfigError, match="expected a finite sigma_x > 0, got 0"):
        linear_equivariance_error(weight, group, sigma_x=0.0)
    with pytest.raises(ConfigError, match="expected output 'equivariant' or 'invariant', got 'both'"):
        linear_equivariance_error(weight, group, output="both")
