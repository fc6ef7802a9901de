"""The bounds for partial symmetry: check values, and that they hold where the truth can be simulated."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from gnet.errors import ConfigError, ShapeError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, PermutationGroup
from gnet.theory import (
    approximation_gap,
    element_approximation_gap,
    generalisation_bound,
    greedy_net_sizes,
    optimal_model_error,
    optimal_shrinkage,
    sorted_within,
)
from tests.theory.simulate import cluster_elements, matrices
from tests.theory.test_regression import BETA, R3, S3

LEVELS = range(13)
TORUS = [min(0.5, 2.0**-j) for j in LEVELS]


@pytest.mark.parametrize(("n", "value", "level"), [(1000, 0.3000490, 3), (8000, 0.1691105, 4)])
def test_check_values_on_the_torus(n, value, level):
    cells = [8**j for j in LEVELS]
    bound = generalisation_bound(TORUS, cells, n)
    assert (bound.covering, bound.level) == (pytest.approx(value, abs=5e-8), level)
    halved = generalisation_bound([r / 2 for r in TORUS], cells, n)
    assert halved.covering == pytest.approx(value / 2, abs=5e-8)


def test_check_values_on_the_interval():
    cells = [2**j for j in LEVELS]
    whole = generalisation_bound([2.0**-j for j in LEVELS], cells, 100)
    half = generalisation_bound([2.0 ** -(j + 1) for j in LEVELS], cells, 100)
    assert (whole.covering, half.covering) == (pytest.approx(0.2268687, abs=5e-8), pytest.approx(0.1134343, abs=5e-8))


def test_the_covering_term_holds_on_the_interval():
    """The largest gap over all 1-Lipschitz functions is the transport distance to the sample: its mean is far below the bound."""
    rng, n = np.random.default_rng(0), 100
    grid = (np.arange(20000) + 0.5) / 20000
    for width in (1.0, 0.5):  # the interval, and what a reflection leaves of it
        gaps = []
        for _ in range(200):
            share = np.searchsorted(np.sort(rng.random(n) * width), grid * width, side="right") / n
            gaps.append(np.mean(np.abs(share - grid)) * width)
        bound = generalisation_bound([width * 2.0**-j for j in LEVELS], [2**j for j in LEVELS], n).covering
        assert np.mean(gaps) == pytest.approx(0.0312 * width, rel=0.1)
        assert np.mean(gaps) < bound


def test_terms_add_up_and_scale():
    cells = [2**j for j in LEVELS]
    radii = [2.0**-j for j in LEVELS]
    bound = generalisation_bound(radii, cells, 100, lipschitz=3.0, epsilon=0.1, largest_loss=2.0, delta=0.01)
    assert bound.covering == pytest.approx(3 * 0.2268687, abs=2e-7)
    assert bound.asymmetry == 0.2
    assert bound.confidence == pytest.approx(2 * np.sqrt(np.log(100) / 200))
    assert bound.value == bound.covering + bound.asymmetry + bound.confidence
    assert generalisation_bound([0.5], [1], 10).covering == 0.5


def test_net_sizes_shrink_with_the_symmetry(rng):
    group = ClusterGroup(Partition([0, 0, 1, 1]))
    x = torch.rand(400, 4, 1, generator=rng)
    diameters = [2.0, 1.0, 0.5]
    plain, modulo = greedy_net_sizes(x, diameters), greedy_net_sizes(x, diameters, sorted_within(group))
    assert plain[0] == modulo[0] == 1
    assert all(a > b for a, b in zip(plain[1:], modulo[1:], strict=True))
    wrong = greedy_net_sizes(x, diameters, lambda samples: samples)  # no representative of anything
    assert wrong == plain


def test_nets_by_hand():
    """Quarters of the unit interval: balls of radius 1/4 around 0, 1/2 and 1, each with its edge; distances are exact."""
    quarters = torch.arange(5.0)[:, None] / 4
    assert greedy_net_sizes(quarters, [1.0, 0.75, 0.5, 0.49, 0.0]) == [1, 3, 3, 5, 5]
    assert greedy_net_sizes(torch.zeros(4, 1), [0.0]) == [1]
    # A triangle of sides 1: one cell of diameter 1, though no ball of radius 1/2 around a corner holds another.
    triangle = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]], dtype=torch.float64)
    assert greedy_net_sizes(triangle, [1.0 + 1e-9, 0.99]) == [1, 3]


def test_nets_make_no_bound_too_small():
    """Of the unit interval, which needs 1 / d cells of diameter d: balls of radius d are fewer."""
    order = torch.randperm(4097, generator=torch.Generator().manual_seed(0))
    x, diameters, needed = order[:, None] / 4096, [2.0**-j for j in range(9)], [2**j for j in range(9)]
    found = greedy_net_sizes(x, diameters)
    assert found[0] == 1 and all(a <= b <= 2 * a for a, b in zip(needed, found, strict=True))
    balls = [1, *greedy_net_sizes(x, [2 * d for d in diameters[1:]])]  # of radius d
    assert balls[2] < needed[2]
    of_balls, exact, of_cells = (generalisation_bound(diameters, cells, 100).covering for cells in (balls, needed, found))
    assert of_balls < exact < of_cells < 1.4 * exact


def test_sorting_is_constant_on_orbits_and_stays_in_them(rng):
    group = ClusterGroup(Partition([0, 1, 0, 2, 1, 0]))
    x = torch.randint(3, (5, 6, 2), generator=rng).float()
    sort = sorted_within(group)
    for g in group.sample(8, rng):
        assert torch.equal(sort(group.act(g, x)), sort(x))
    orbit = torch.stack([group.act(g, x[0]) for g in group.elements()])
    assert bool((orbit == sort(x)[0]).all(-1).all(-1).any())
    assert len(cluster_elements(3, 2, 1)) == len(group.elements())
    other = PermutationGroup([[1, 0, 2, 3, 4, 5]]).generators[0]
    assert not torch.equal(sort(group.act(other, torch.arange(12.0).reshape(6, 2))), sort(torch.arange(12.0).reshape(6, 2)))


def test_model_error_and_data_error():
    assert approximation_gap(0.5, 0.0) == 0.5
    assert approximation_gap(0.5, 0.7) == 0.0
    best = optimal_shrinkage(BETA, S3, 20, **R3)
    assert optimal_model_error(best.biases[0], best.variances[0]) == pytest.approx(0.00045199, abs=5e-9)
    assert optimal_model_error(best.biases[0], best.variances[0]) == pytest.approx(best.model_error)
    assert optimal_model_error(1.0, 1e-9) == pytest.approx(1.0)


def test_the_nearest_function_with_less_model_error(rng):
    """Among maps with ||lost|| <= e none is nearer than the one that shrinks what is lost."""
    from gnet.theory import split_map

    truth = torch.randn(4, 4, generator=rng)
    parts = split_map(truth, S4 := ClusterGroup(Partition([0, 0, 1, 1])))
    size = float(parts.lost.norm())
    allowed = size / 3
    nearest = parts.kept + parts.lost * (allowed / size)
    assert float((nearest - truth).norm()) == pytest.approx(approximation_gap(size, allowed))
    for _ in range(50):
        other = split_map(nearest + 0.3 * torch.randn(4, 4, generator=rng), S4)
        lost = other.lost * min(1.0, allowed / float(other.lost.norm()))
        assert float((other.kept + lost - truth).norm()) >= approximation_gap(size, allowed) - 1e-12


@pytest.mark.parametrize(("element", "reached"), [([1, 0, 2, 3], True), ([1, 0, 3, 2], True), ([1, 2, 0, 3], False)])
def test_the_nearest_map_with_less_error_for_one_element(element, reached, rng):
    """By a general minimiser over all 4 x 4 maps: half the excess is a bound, which elements that undo themselves reach."""
    g = matrices([element])[0]
    truth = torch.randn(4, 4, generator=rng, dtype=torch.float64).numpy()

    def error(w):
        return np.sum((g.T @ w.reshape(4, 4) @ g - w.reshape(4, 4)) ** 2)

    size = math.sqrt(error(truth))
    limit = 0.4 * size
    keeps = {"type": "ineq", "fun": lambda w: limit**2 - error(w)}
    start = truth.mean() + np.zeros(16)
    best = minimize(lambda w: np.sum((w - truth.ravel()) ** 2), start, method="SLSQP", constraints=keeps, options={"ftol": 1e-13})
    bound = element_approximation_gap(size, limit)
    assert bound == pytest.approx(0.3 * size)
    if reached:
        assert math.sqrt(best.fun) == pytest.approx(bound, rel=1e-4)
    else:
        assert math.sqrt(best.fun) > 1.05 * bound
        assert math.sqrt(best.fun) < approximation_gap(size, limit)  # the gap of a whole group would be too much for one element


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: generalisation_bound([1.0], [2], 10), ConfigError, "from N_0 = 1 on"),
        (lambda: generalisation_bound([1.0, 2.0], [1, 2], 10), ConfigError, "radii that do not grow"),
        (lambda: generalisation_bound([1.0, 0.5], [1, 0.5], 10), ConfigError, "cells that do not shrink"),
        (lambda: generalisation_bound([-1.0], [1], 5), ConfigError, "radii that do not grow"),
        (lambda: generalisation_bound([1.0], [1], 5, delta=1.0), ConfigError, r"delta in \(0, 1\)"),
        (lambda: greedy_net_sizes(np.ones(3), [1.0]), ShapeError, r"samples \(B, \.\.\.\)"),
        (
            lambda: sorted_within(ClusterGroup(Partition([0, 0, 1, 1]), PermutationGroup([[1, 0]]))),
            ConfigError,
            "without swaps",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
