"""Shrinkage and selection: check values, brute-force traces, unbiasedness, and the lemma behind it all."""

import math

import numpy as np
import pytest
import torch

from gnet.errors import ConfigError, GroupError, ShapeError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, PermutationGroup, SymmetricGroup, TrivialGroup, grid_group
from gnet.theory import (
    LeastSquares,
    Shrinkage,
    estimate_bias,
    estimate_shrinkage,
    expected_excess_risk,
    linear_risk_gap,
    optimal_shrinkage,
    select_group,
    shrinkage_factor,
    split_map,
)
from tests.theory.simulate import agrees, cluster_elements, matrices, projector, reynolds
from tests.theory.test_regression import BETA, R3, S2, S3, clusters

CHAIN = [TrivialGroup(3), S2, S3]
INTEGERS = np.array([[((i + 1) * (i + 2 * j + 3)) % 7 - 3 for j in range(6)] for i in range(6)], dtype=float)


class TestRiskGap:
    @pytest.mark.parametrize("sizes", [(3, 2, 1), (6,), (2, 2, 2)])
    def test_the_lemma_against_the_listed_group(self, sizes):
        elements = matrices(cluster_elements(*sizes))
        truth, theta = INTEGERS.T, INTEGERS
        lost = theta - reynolds(theta, elements, elements)
        found = linear_risk_gap(truth, theta, clusters(*sizes), sigma_x=1.5)
        assert found.mismatch == pytest.approx(-2 * 1.5**2 * np.sum(truth * lost))
        assert found.constraint == pytest.approx(1.5**2 * np.sum(lost**2))
        risks = [np.sum((truth - each) ** 2) for each in (theta, theta - lost)]
        assert found.gap == pytest.approx(1.5**2 * (risks[0] - risks[1]))

    def test_an_equivariant_truth_never_loses(self, rng):
        group = clusters(3, 2, 1)
        truth = split_map(torch.randn(6, 6, generator=rng), group).kept
        found = linear_risk_gap(truth, torch.randn(6, 6, generator=rng), group)
        assert abs(found.mismatch) < 1e-9 < found.constraint
        liar = linear_risk_gap(torch.randn(6, 6, generator=rng), torch.randn(6, 6, generator=rng), group)
        assert abs(liar.mismatch) > 1e-6

    def test_inputs_that_are_not_white(self):
        covariance = np.array([[1, 0.5, 0.2], [0.5, 1, 0.2], [0.2, 0.2, 2]])
        theta, truth = np.arange(9.0).reshape(3, 3), np.arange(9.0).reshape(3, 3).T
        elements = matrices(cluster_elements(2, 1))
        kept = reynolds(theta, elements, elements)
        risks = [np.trace((truth - each) @ covariance @ (truth - each).T) for each in (theta, kept)]
        assert linear_risk_gap(truth, theta, S2, covariance=covariance).gap == pytest.approx(risks[0] - risks[1])

    def test_errors(self):
        with pytest.raises(ShapeError, match=r"one shape, got \(3, 3\) and \(6, 3\)"):
            linear_risk_gap(np.eye(3), np.ones((3, 2, 3, 1)), S3)


class TestOptimal:
    def test_check_values(self):
        best = optimal_shrinkage(BETA, S3, 20, **R3)
        assert best.factors == (pytest.approx(0.3015312, abs=5e-8),)
        assert best.risk == pytest.approx(0.00278309, abs=5e-9)
        assert best.model_error == pytest.approx(0.00045199, abs=5e-9)
        assert best.biases[0] == pytest.approx(0.00149897, abs=5e-9)
        chain = optimal_shrinkage(BETA, CHAIN, 20, **R3)
        assert chain.factors == (0.0, pytest.approx(0.4633484, abs=5e-8))
        assert chain.risk == pytest.approx(0.00254054, abs=5e-9)

    def test_the_ends_are_the_groups(self):
        chain = optimal_shrinkage(BETA, CHAIN, 20, **R3)
        for factors, group in (((1, 1), TrivialGroup(3)), ((0, 1), S2), ((0, 0), S3)):
            assert chain.risk_at(factors) == pytest.approx(expected_excess_risk(BETA, group, 20, **R3), rel=1e-12)

    def test_nothing_nearby_is_better(self, rng):
        theta = torch.randn(6, 6, generator=rng)
        chain = [clusters(2, 1, 2, 1), clusters(3, 3), SymmetricGroup(6)]
        best = optimal_shrinkage(theta, chain, 30, sigma_xi=2.0)
        for step in (-0.01, 0.01):
            for place in range(2):
                moved = [factor + step * (number == place) for number, factor in enumerate(best.factors)]
                assert best.risk_at(moved) > best.risk
        assert all(best.risk < expected_excess_risk(theta, group, 30, sigma_xi=2.0) for group in chain)

    def test_a_chain_that_does_not_start_at_the_trivial_group_pays_for_what_it_leaves_out(self):
        theta = np.arange(9.0).reshape(3, 3)
        whole, part = (optimal_shrinkage(theta, chain, 20) for chain in (CHAIN, CHAIN[1:]))
        assert part.rest - whole.rest == pytest.approx(whole.biases[0])

    def test_factors(self):
        assert shrinkage_factor(3.0, 1.0) == 0.75
        assert shrinkage_factor(0.0, 0.0) == 0.0
        with pytest.raises(ConfigError, match="got -1"):
            shrinkage_factor(-1.0, 1.0)

    def test_errors(self):
        with pytest.raises(ConfigError, match="n >= 5, so that least squares of 3 inputs has a variance, got 4"):
            optimal_shrinkage(BETA, S3, 4, **R3)
        with pytest.raises(GroupError, match="expected a subgroup"):
            optimal_shrinkage(BETA, CHAIN[::-1], 20, **R3)
        with pytest.raises(ConfigError, match="at least one group"):
            optimal_shrinkage(BETA, [], 20, **R3)
        with pytest.raises(ConfigError, match="expected 1 factors, got 2"):
            Shrinkage((0.5,), (1.0,), (1.0,), 0.0).risk_at([1, 1])


GROUPS = {
    "[3, 2, 1]": clusters(3, 2, 1),
    "S6": SymmetricGroup(6),
    "trivial": TrivialGroup(6),
    "swaps": ClusterGroup(Partition([0, 0, 1, 1, 2, 2]), PermutationGroup([[1, 0, 2]])),
    "grid": grid_group((2, 3), "flips"),
    "cycle": PermutationGroup([[1, 2, 3, 4, 5, 0]]),
}


class TestEstimates:
    @pytest.mark.parametrize("name", GROUPS)
    @pytest.mark.parametrize("channels", [(1, 1), (2, 3)])
    def test_the_trace_against_the_listed_group(self, name, channels, rng):
        """tr[Psi o (C x I)] as the trace of explicit matrices on flattened maps."""
        group, (c_in, c_out) = GROUPS[name], channels
        x = torch.randn(40, 6, c_in, generator=rng, dtype=torch.float64)
        fit = LeastSquares.fit(x, torch.randn(40, 6, c_out, generator=rng, dtype=torch.float64))
        elements = group.elements().tolist()
        project = projector(matrices(elements, c_out), matrices(elements, c_in))
        multiply = np.kron(np.eye(6 * c_out), fit.inverse_gram.numpy())
        assert fit.trace(group) == pytest.approx(np.trace(project @ multiply))
        single = LeastSquares.fit(x, torch.randn(40, generator=rng, dtype=torch.float64))
        project = projector(np.ones((len(elements), 1, 1)), matrices(elements, c_in))
        assert single.trace(group) == pytest.approx(np.trace(project @ fit.inverse_gram.numpy()))

    @pytest.mark.parametrize("output", ["equivariant", "invariant"])
    def test_the_bias_estimate_is_unbiased(self, output):
        rng, group = np.random.default_rng(0), clusters(2, 2)
        theta = rng.standard_normal((4, 4) if output == "equivariant" else 4)
        true = float(split_map(theta, group, output).lost.square().sum())
        found, noises = [], []
        for _ in range(2000):
            x = rng.standard_normal((9, 4))
            clean = x @ theta.T if output == "equivariant" else x @ theta
            estimate = estimate_bias(LeastSquares.fit(x, clean + 0.8 * rng.standard_normal(clean.shape)), group)
            found.append(estimate.bias)
            noises.append(estimate.noise)
        assert agrees(true, (np.mean(found), np.std(found) / math.sqrt(len(found))))
        assert agrees(0.64, (np.mean(noises), np.std(noises) / math.sqrt(len(noises))))
        assert not agrees(true + 0.25 * 16 * 0.64, (np.mean(found), np.std(found) / math.sqrt(len(found))))  # uncorrected

    def test_selection_in_three_dimensions(self):
        """2000 of the 40 000 trials: picks 12.1, 28.1 and 59.8 %, bias 0.0014990, risks 0.0044451 and, shrunk, 0.003755."""
        rng, picks, biases, risks, shrunk = np.random.default_rng(0), [], [], [], []
        for _ in range(2000):
            x = rng.standard_normal((20, 3))
            fit = LeastSquares.fit(x, x @ BETA + rng.standard_normal(20) / 6)
            place, estimates = select_group(fit, CHAIN)
            picks.append(place)
            biases.append(estimates[2].bias)
            risks.append(float((split_map(fit.theta, CHAIN[place], "invariant").kept - torch.from_numpy(BETA)).square().sum()))
            shrunk.append(float((estimate_shrinkage(fit, CHAIN)[0].flatten() - torch.from_numpy(BETA)).square().sum()))
        for place, share in enumerate((0.121, 0.281, 0.598)):
            assert agrees(share, (picks.count(place) / 2000, math.sqrt(share * (1 - share) / 2000)))
        for value, values in ((0.0014990, biases), (0.0044451, risks), (0.003755, shrunk)):
            assert agrees(value, (np.mean(values), np.std(values) / math.sqrt(2000)))
        assert not agrees(0.0044451, (np.mean(shrunk), np.std(shrunk) / math.sqrt(2000)))

    def test_centring_takes_an_intercept_away(self, rng):
        x, y = torch.randn(30, 4, generator=rng).double(), torch.randn(30, 4, generator=rng).double()
        plain, moved = (LeastSquares.fit(x + shift, y - shift, centred=True) for shift in (0.0, 5.0))
        torch.testing.assert_close(plain.theta, moved.theta)
        assert plain.noise == pytest.approx(moved.noise)
        design = np.column_stack([x.numpy(), np.ones(30)])
        weights, residuals, *_ = np.linalg.lstsq(design, y.numpy(), rcond=None)
        np.testing.assert_allclose(plain.theta.reshape(4, 4), weights[:4].T)
        assert plain.noise == pytest.approx(residuals.sum() / (25 * 4))

    def test_factors_are_those_of_the_formula(self, rng):
        x = torch.randn(30, 3, generator=rng).double()
        fit = LeastSquares.fit(x, x @ torch.from_numpy(BETA) + torch.randn(30, generator=rng).double())
        theta, factors = estimate_shrinkage(fit, S3)
        q = float(split_map(fit.theta, S3, "invariant").lost.square().sum())
        v = fit.noise * (float(fit.inverse_gram.trace()) - float(fit.inverse_gram.sum()) / 3)
        assert factors[0] == pytest.approx(max(0.0, 1 - v / q))
        parts = split_map(fit.theta, S3, "invariant")
        torch.testing.assert_close(theta.flatten(), (parts.kept + factors[0] * parts.lost)[0])

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: LeastSquares.fit(np.ones((5, 3)), np.ones(4)), r"got \(5, 3\) and \(4,\)"),
            (lambda: LeastSquares.fit(np.ones((5, 3)), np.ones((5, 2))), "y for each of 3 nodes"),
            (lambda: LeastSquares.fit(np.ones((3, 3)), np.ones(3)), "more samples than inputs, got 3 samples of 3 inputs"),
            (lambda: LeastSquares.fit(np.ones((5, 3)), np.ones(5)), "inputs of full rank"),
        ],
    )
    def test_errors(self, call, message):
        with pytest.raises(ShapeError, match=message):
            call()
        with pytest.raises(ConfigError, match="at least one group"):
            select_group(LeastSquares.fit(np.eye(4)[:, :2], np.ones(4)), [])
