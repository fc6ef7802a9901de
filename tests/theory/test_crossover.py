"""Where groups change places: check values, risks written out by hand, and regressions drawn and solved on both sides."""

import math

import numpy as np
import pytest
import torch

from gnet.errors import ConfigError, GroupError
from gnet.groups import PermutationGroup, SymmetricGroup, TrivialGroup, grid_group
from gnet.isotypic import isotypic_decomposition
from gnet.theory import crossover_sample_size, expected_excess_risk, split_map
from gnet.theory.crossover import check_nested
from tests.theory.simulate import constrained_basis, matrices
from tests.theory.test_regression import BETA, R3, S2, S3, clusters

BIASED = np.array([3.0, -3.0, 0.3, -0.2])  # of which clusters of 2, 1 and 1 take away nearly all
PAIR, ALL = clusters(2, 1, 1), SymmetricGroup(4)


def test_check_values():
    for smaller, estimator, value in (
        (S2, "projected", 22.53125),
        (TrivialGroup(3), "projected", 41.0625),
        (S2, "constrained", 21.53125),
        (TrivialGroup(3), "constrained", 41.0625),
    ):
        assert crossover_sample_size(BETA, smaller, S3, estimator=estimator, **R3) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("sigma_x", [1.0, 0.5])
def test_at_the_crossing_risks_written_out_by_hand_are_equal(sigma_x):
    """One number out, both groups biased: [b^2 (n - 1) + s m] / (n - m - 1), and b^2 + s m / (n - p - 1)."""
    options = {"sigma_x": sigma_x, "sigma_xi": 0.7, "output": "invariant"}
    smaller, larger = (
        (sigma_x**2 * float(np.sum((BIASED - mean) ** 2)), weights)
        for mean, weights in ((np.array([0, 0, 0.3, -0.2]), 3), (np.full(4, 0.025), 1))
    )

    def constrained(n, bias, m):
        return (bias * (n - 1) + 0.49 * m) / (n - m - 1)

    def projected(n, bias, m):
        return bias + 0.49 * m / (n - 4 - 1)

    for name, risk in (("constrained", constrained), ("projected", projected)):
        n = crossover_sample_size(BIASED, PAIR, ALL, estimator=name, **options)
        assert risk(n, *smaller) == pytest.approx(risk(n, *larger), rel=1e-9)
        assert risk(0.9 * n, *smaller) > risk(0.9 * n, *larger) and risk(1.1 * n, *smaller) < risk(1.1 * n, *larger)


def differences(theta, groups, n, trials, rng, sigma_xi=1.0):
    """Risk of least squares within the larger group less that within the smaller, on the same samples."""
    q, p = theta.shape
    elements = [matrices(group.elements().tolist()) for group in groups]
    bases = [constrained_basis(each if q > 1 else np.ones((len(each), 1, 1)), each) for each in elements]
    found = []
    for _ in range(trials):
        x = rng.standard_normal((n, p))
        y = x @ theta.T + sigma_xi * rng.standard_normal((n, q))
        risks = []
        for basis in bases:
            design = np.einsum("dqp,np->nqd", basis, x).reshape(n * q, -1)
            weights = np.linalg.lstsq(design, y.reshape(-1), rcond=None)[0]
            risks.append(np.sum((np.tensordot(weights, basis, 1) - theta) ** 2))
        found.append(risks[1] - risks[0])
    return np.mean(found), np.std(found, ddof=1) / math.sqrt(trials)


def test_a_biased_smaller_group_loses_for_long():
    """Without the smaller group's own bias the crossing would be at 20."""
    n = crossover_sample_size(BIASED, PAIR, ALL, output="invariant", estimator="constrained")
    assert n == pytest.approx(302.04, abs=0.01)
    for at, sign in ((60, -1), (700, 1)):
        mean, error = differences(BIASED[None], (PAIR, ALL), at, 300, np.random.default_rng(at))
        assert sign * mean > 5 * error, at


def test_signals_out_cross_where_least_squares_without_a_group_has_no_variance():
    """Six nodes, two clusters against all: the crossing lies below p + 2 = 8 samples."""
    smaller, larger = clusters(3, 3), SymmetricGroup(6)
    kept = split_map(np.random.default_rng(0).standard_normal((6, 6)), smaller).kept
    base = split_map(kept, larger).kept
    theta = (base + 1.2 * (kept - base)).numpy()
    n = crossover_sample_size(theta, smaller, larger, estimator="constrained")
    assert 5 < n < 6
    for at, sign in ((4, -1), (8, 1)):
        mean, error = differences(theta, (smaller, larger), at, 500, np.random.default_rng(at))
        assert sign * mean > 5 * error, at
    risks = [expected_excess_risk(theta, group, 5, estimator="constrained") for group in (smaller, larger)]
    assert risks[1] < risks[0] < math.inf


def test_twenty_nodes_in_two_clusters():
    smaller, larger = clusters(10, 10), SymmetricGroup(20)
    kept = split_map(np.random.default_rng(3).standard_normal((20, 20)), smaller).kept
    n = crossover_sample_size(kept, smaller, larger, estimator="constrained", sigma_xi=2.0)
    assert 3 < n < 22
    for at, wins in ((math.floor(n), True), (math.ceil(n), False)):
        risks = [expected_excess_risk(kept, g, at, estimator="constrained", sigma_xi=2.0) for g in (smaller, larger)]
        assert (risks[1] < risks[0]) is wins


def test_a_group_without_clusters_is_decomposed_once(monkeypatch):
    """Translations of a grid, with representations of real and complex type, against all permutations."""
    calls = []
    monkeypatch.setattr("gnet.theory.regression.isotypic_decomposition", lambda g: calls.append(g) or isotypic_decomposition(g))
    shifts, everything = grid_group((3, 2), "translations"), SymmetricGroup(6)
    theta = 0.5 * split_map(np.random.default_rng(0).standard_normal((6, 6)), shifts).kept.numpy()
    n = crossover_sample_size(theta, shifts, everything, estimator="constrained")
    assert calls == [shifts]
    for at, sign in ((math.ceil(0.6 * n), -1), (math.ceil(2 * n), 1)):
        mean, error = differences(theta, (shifts, everything), at, 400, np.random.default_rng(at))
        assert sign * mean > 5 * error, (n, at)


@pytest.mark.parametrize("estimator", ["projected", "constrained"])
def test_signals_out_cross_between_two_whole_numbers(estimator):
    theta = np.random.default_rng(0).standard_normal((6, 6)) * 0.1
    groups = clusters(1, 1, 1, 3), clusters(3, 3)
    n = crossover_sample_size(theta, *groups, estimator=estimator)
    for at, wins in ((math.floor(n), True), (math.ceil(n), False)):
        risks = [expected_excess_risk(theta, g, at, estimator=estimator) for g in groups]
        assert (risks[1] <= risks[0]) is wins


@pytest.mark.parametrize(
    ("estimator", "output"), [("projected", "invariant"), ("constrained", "invariant"), ("constrained", "equivariant")]
)
def test_without_noise_the_larger_group_never_wins_unless_the_smaller_is_biased_too(estimator, output):
    options = {"sigma_xi": 0.0, "estimator": estimator, "output": output}
    theta = np.array([1.0, 2.0, 4.0]) if output == "invariant" else np.diag([1.0, 2.0, 4.0])
    assert crossover_sample_size(theta, TrivialGroup(3), S3, **options) == 0.0
    n = crossover_sample_size(theta, S2, S3, **options)
    assert n == 0.0 if estimator == "projected" else n > 3  # what S2 cannot express is noise to the constrained estimator
    assert crossover_sample_size(theta, TrivialGroup(3), S3, **options | {"sigma_xi": 1e-3}) > 2


def test_infinite_where_the_symmetry_costs_nothing():
    assert crossover_sample_size(np.ones(3), S2, S3, output="invariant") == math.inf
    assert crossover_sample_size(np.eye(3), S2, S3, estimator="constrained") == math.inf


def test_a_covariance_weighs_what_the_group_takes_away():
    """b^2 in the norm of the inputs: variance 4 for the entry that breaks the symmetry of the pair."""
    theta, covariance = np.array([1.0, -1.0, 2.0]), np.array([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 1.0]])
    n = crossover_sample_size(theta, TrivialGroup(3), S2, sigma_xi=2.0, output="invariant", covariance=covariance)
    assert n == pytest.approx(4 + 4.0 * 1 / (4 * 2))


def test_groups_that_are_not_nested():
    with pytest.raises(GroupError, match="expected a subgroup of S2 x S1 as the smaller group, got S3; exchange them"):
        crossover_sample_size(BETA, S3, S2, output="invariant")
    with pytest.raises(GroupError, match="got 3 and 4 nodes"):
        crossover_sample_size(BETA, S3, SymmetricGroup(4), output="invariant")
    flips = grid_group((2, 2), "flips")
    assert crossover_sample_size(np.arange(4.0), flips, SymmetricGroup(4), output="invariant") == math.inf
    with pytest.raises(GroupError, match="expected a subgroup"):
        check_nested(PermutationGroup([[1, 2, 3, 0]]), flips)


def test_no_closed_form():
    theta = np.random.default_rng(0).standard_normal((4, 2, 4, 1))
    with pytest.raises(ConfigError, match="closed form of the constrained estimator for one channel"):
        crossover_sample_size(torch.from_numpy(theta), clusters(2, 2), SymmetricGroup(4), estimator="constrained")
