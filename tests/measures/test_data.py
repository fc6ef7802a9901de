"""Data error: brute force of its variance, unbiasedness, the risk gap lemma on whole orbits, and liars."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gnet.errors import GroupError, ShapeError
from gnet.graphs import Partition
from gnet.groups import TRIVIAL_ACTION, ClusterGroup, NodeGroup, PermutationGroup, SymmetricGroup, TrivialGroup
from gnet.measures import data_error, held_out_risk_gap, project
from gnet.theory import LeastSquares, estimate_bias
from tests.laws.test_matrix_group import QuarterTurns
from tests.theory.simulate import matrices, projector

GROUPS: dict[str, NodeGroup] = {
    "clusters": ClusterGroup(Partition([0, 1, 0])),
    "symmetric": SymmetricGroup(3),
    "cycle": PermutationGroup([[1, 2, 0, 3]]),
    "trivial": TrivialGroup(3),
}


@pytest.fixture(params=GROUPS)
def group(request: pytest.FixtureRequest) -> NodeGroup:
    return GROUPS[request.param]


def normal(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=rng)


def by_hand(x: np.ndarray, y: np.ndarray, group: NodeGroup, channels: int, out: int) -> tuple[float, float]:
    """Estimate and standard error through explicit projectors on flattened maps; ``out`` channels, 0 for one number."""
    elements = group.elements().tolist()
    inner = matrices(elements, channels)
    outer = matrices(elements, out) if out else np.ones((len(elements), 1, 1))
    n, p = x.shape
    q = y.shape[1]
    away = np.eye(p * q) - projector(outer, inner)
    gram = np.linalg.inv(x.T @ x)
    theta = (gram @ x.T @ y).T
    noise = float(((y - x @ theta.T) ** 2).sum()) / ((n - p) * q)
    spread = away @ np.kron(np.eye(q), gram) @ away
    lost = away @ theta.reshape(-1)
    trace, square = np.trace(spread), np.trace(spread @ spread)
    signal = max(float(lost @ np.kron(np.eye(q), gram) @ lost) - noise * square, 0.0)
    variance = 2 * noise**2 * square + 4 * noise * signal + 2 * noise**2 * trace**2 / ((n - p) * q)
    return float(lost @ lost - noise * trace), math.sqrt(variance)


@pytest.mark.parametrize("out", [0, 1, 2])
def test_estimate_and_error_by_explicit_projectors(group, rng, out):
    size, channels = group.degree, 2
    x = normal(rng, 30, size, channels)
    y = normal(rng, 30, size, out) if out else normal(rng, 30)
    found = data_error(x, y, group)
    square, error = by_hand(x.flatten(1).numpy(), y.reshape(30, -1).numpy(), group, channels, out)
    assert found.square == pytest.approx(square, abs=1e-12)
    assert found.standard_error == pytest.approx(error, abs=1e-12)
    assert found.square == pytest.approx(estimate_bias(LeastSquares.fit(x, y), group).bias)
    assert data_error(x, y, group, sigma_x=3.0).standard_error == pytest.approx(9 * error, abs=1e-10)


@pytest.mark.parametrize("slope", [1.0, 2.5])
def test_estimates_are_unbiased_and_their_errors_honest(rng, slope):
    """2000 data sets of 30 samples; 1.0 is a truth with the symmetry, 2.5 one without. Plugging in least squares is a liar."""
    group, theta = SymmetricGroup(3), torch.tensor([1.0, 1.0, slope], dtype=torch.float64)
    truth = float((theta - theta.mean()).square().sum())
    squares, errors, naive = [], [], []
    for _ in range(2000):
        x = normal(rng, 30, 3)
        y = x @ theta + 0.5 * normal(rng, 30)
        found = data_error(x, y, group)
        squares.append(found.square)
        errors.append(found.standard_error)
        weights = LeastSquares.fit(x, y).theta.flatten()
        naive.append(float((weights - weights.mean()).square().sum()))
    spread = np.std(squares, ddof=1)
    assert abs(np.mean(squares) - truth) < 5 * spread / math.sqrt(2000)
    assert abs(np.mean(naive) - truth) > 5 * np.std(naive, ddof=1) / math.sqrt(2000) or slope > 1
    claimed = math.sqrt(np.mean(np.square(errors)))
    assert 0.85 * spread < claimed < (1.5 if slope == 1 else 1.2) * spread


def test_an_intercept_is_taken_off(rng):
    x = normal(rng, 40, 3)
    y = x.sum(1) + 0.1 * normal(rng, 40)
    moved = data_error(x + 3, y + 5, SymmetricGroup(3), centred=True)
    still = data_error(x, y, SymmetricGroup(3), centred=True)
    assert (moved.square, moved.standard_error) == pytest.approx((still.square, still.standard_error))


def test_the_trivial_group_takes_nothing_away(rng):
    found = data_error(normal(rng, 30, 3), normal(rng, 30), TrivialGroup(3))
    assert (found.square, found.standard_error) == (0.0, 0.0)
    assert math.isnan(data_error(torch.eye(3).repeat(4, 1), torch.zeros(12), TrivialGroup(3)).score)


# --- the held-out gap ---


def f_star(x: Tensor) -> Tensor:
    return torch.sin(x) * torch.tensor([[1.0], [2.0], [3.0]], dtype=x.dtype)


def f_hat(x: Tensor) -> Tensor:
    return torch.tanh(x) * torch.tensor([[1.0], [0.5], [4.0]], dtype=x.dtype) + x.roll(1, -2)


@pytest.fixture
def orbits(rng):
    """Whole orbits under S_3: a distribution that is invariant."""
    x = normal(rng, 5, 3, 1)
    return torch.cat([SymmetricGroup(3).act(g, x) for g in SymmetricGroup(3).elements()])


def lost_part(f, x: Tensor) -> Tensor:
    group = SymmetricGroup(3)
    averaged = sum(group.act(torch.argsort(g), f(group.act(g, x))) for g in group.elements()) / 6
    return f(x) - averaged


def test_gap_is_that_of_the_lemma(orbits):
    """-2 <f*, f_lost> + |f_lost|^2 = |f_lost - f*_lost|^2 - |f*_lost|^2, without noise and on whole orbits."""
    found = held_out_risk_gap(f_hat, orbits, f_star(orbits), SymmetricGroup(3), num_samples=None)
    mine, true = lost_part(f_hat, orbits), lost_part(f_star, orbits)
    constraint, mismatch = mine.square().sum((1, 2)).mean(), -2 * (f_star(orbits) * mine).sum((1, 2)).mean()
    assert found.gap == pytest.approx(float(constraint + mismatch))
    distance = (mine - true).square().sum((1, 2)).mean() - true.square().sum((1, 2)).mean()
    assert found.gap == pytest.approx(float(distance))
    assert found.gap == pytest.approx(found.risk - found.averaged_risk)
    assert found.num_samples == 6
    best = held_out_risk_gap(f_star, orbits, f_star(orbits), SymmetricGroup(3), num_samples=None)
    assert best.gap == pytest.approx(-float(true.square().sum((1, 2)).mean()))
    assert best.gap < found.gap


def test_few_elements_are_no_worse_on_average(orbits, rng):
    group, y = SymmetricGroup(3), f_star(orbits)
    exact = held_out_risk_gap(f_hat, orbits, y, group, num_samples=None).gap
    found = [held_out_risk_gap(f_hat, orbits, y, group, num_samples=3, generator=rng).gap for _ in range(250)]
    assert abs(np.mean(found) - exact) < 5 * np.std(found, ddof=1) / math.sqrt(250)
    # Without taking off the noise of the average the same number would be off.
    naive = []
    for _ in range(250):
        averaged = project(f_hat, group, num_samples=3, generator=rng)
        naive.append(float(((y - f_hat(orbits)).square() - (y - averaged(orbits)).square()).sum((1, 2)).mean()))
    assert abs(np.mean(naive) - exact) > 5 * np.std(naive, ddof=1) / math.sqrt(250)


def test_the_noise_of_the_average_by_hand(rng):
    """Four elements: what their average is off is the sum of squared distances to it over 4 * 3."""
    x, group = normal(rng, 50, 3, 1), SymmetricGroup(3)
    y = f_star(x)
    found = held_out_risk_gap(f_hat, x, y, group, num_samples=4, generator=torch.Generator().manual_seed(3))
    elements = group.sample(4, torch.Generator().manual_seed(3))
    each = torch.stack([group.act(group.inverse(g), f_hat(group.act(g, x))) for g in elements])
    noise = (each - each.mean(0)).square().sum((0, 2, 3)) / 12
    averaged = (y - each.mean(0)).square().sum((1, 2)) - noise
    assert found.averaged_risk == pytest.approx(float(averaged.mean()))
    assert found.gap == pytest.approx(float(((y - f_hat(x)).square().sum((1, 2)) - averaged).mean()))


def test_error_is_of_pairs(rng):
    x = normal(rng, 50, 3, 1)
    y = f_star(x) + 10 * normal(rng, 50, 3, 1)
    found = held_out_risk_gap(f_hat, x, y, SymmetricGroup(3), num_samples=None)
    averaged = f_hat(x) - lost_part(f_hat, x)
    differences = ((y - f_hat(x)).square() - (y - averaged).square()).sum((1, 2))
    assert found.standard_error == pytest.approx(float(differences.std() / math.sqrt(50)))


def test_invariant_functions_of_a_matrix_group(rng):
    x = normal(rng, 40, 2)
    first = lambda v: v[:, :1]  # noqa: E731
    gap = held_out_risk_gap(first, x, x[:, :1], QuarterTurns(), action_out=TRIVIAL_ACTION, num_samples=None)
    assert gap.gap == pytest.approx(-float(x[:, 0].square().mean()))  # the average is 0
    norm = x.norm(dim=1)
    assert held_out_risk_gap(lambda v: v.norm(dim=1), x, norm, QuarterTurns(), action_out=TRIVIAL_ACTION).gap == pytest.approx(0)


def test_modules_come_back_as_they_were(rng):
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(1, 1)).double()
    x = normal(rng, 10, 3, 1)
    first, again = (held_out_risk_gap(net, x, x, SymmetricGroup(3), num_samples=None) for _ in range(2))
    assert first == again
    assert net.training and net[0].training


def test_what_does_not_fit_is_refused():
    x = torch.ones(4, 3, 1)
    with pytest.raises(ShapeError, match=r"expected y as a tensor of the shape of f\(x\), \(4, 3, 1\), got \(4, 3\)"):
        held_out_risk_gap(torch.tanh, x, torch.ones(4, 3), SymmetricGroup(3))
    with pytest.raises(ShapeError, match="expected a whole num_samples >= 2"):
        held_out_risk_gap(torch.tanh, x, x, SymmetricGroup(3), num_samples=1)
    with pytest.raises(ShapeError, match="expected more samples than inputs, got 3 samples of 3 inputs"):
        data_error(torch.eye(3), torch.ones(3), SymmetricGroup(3))
    with pytest.raises(GroupError, match="expected a node group, got QuarterTurns"):
        data_error(torch.eye(3), torch.ones(3), QuarterTurns())
