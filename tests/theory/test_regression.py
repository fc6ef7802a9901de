"""The linear-regression theorem: published and double-checked numbers, simulations, and where it does not hold."""

import math

import numpy as np
import pytest
import torch

from gnet.errors import ConfigError, GroupError, ShapeError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, PermutationGroup, SymmetricGroup, automorphism_group, grid_group
from gnet.orbits import PairOrbits
from gnet.theory import dim_hom, expected_excess_risk, expected_risk_gap, split_map
from gnet.theory.regression import irreducibles
from tests.groups.graphs import as_data, skeleton
from tests.theory.simulate import agrees, cluster_elements, matrices, reynolds, simulate


def clusters(*sizes: int) -> ClusterGroup:
    return ClusterGroup(Partition([cluster for cluster, size in enumerate(sizes) for _ in range(size)]))


BETA = np.array([1.0, 1.0, 0.92]) / math.sqrt(2.8464)  # signal-to-noise ratio 6
R3 = {"sigma_xi": 1 / 6, "output": "invariant"}
S2, S3 = clusters(2, 1), SymmetricGroup(3)


class TestCheckValues:
    """Numbers computed twice, independently; Monte-Carlo ones beside them in the theory are not repeated."""

    def test_gaps_in_three_dimensions(self):
        assert expected_risk_gap(BETA, S3, 20, **R3) == pytest.approx(0.00197325, abs=5e-9)
        assert expected_risk_gap(BETA, S2, 20, **R3) == pytest.approx(0.00173611, abs=5e-9)
        assert float(split_map(BETA, S3, "invariant").lost.square().sum()) == pytest.approx(0.0014989694584973, rel=1e-12)

    def test_risks_in_three_dimensions(self):
        for group, estimator, value in (
            (S3, "projected", 0.00323508),
            (S2, "projected", 0.00347222),
            (None, "projected", 0.00520833),
            (S3, "ols", 0.00520833),
            (S3, "constrained", 0.00312546),
            (S2, "constrained", 0.00326797),
        ):
            assert expected_excess_risk(BETA, group, 20, estimator=estimator, **R3) == pytest.approx(value, abs=5e-9)

    def test_several_channels(self):
        theta = np.random.default_rng(123).standard_normal((3, 2, 3, 1)).transpose(2, 3, 0, 1)  # receiver first
        assert np.sum(theta**2) == pytest.approx(12.904178729651317)
        assert float(split_map(theta, S2).lost.square().sum()) == pytest.approx(8.193411620620608)
        assert dim_hom(S2, 2, 1) == 10
        assert expected_risk_gap(theta, S2, 25, sigma_xi=0.5) == pytest.approx(-8.0823005, abs=5e-8)
        assert expected_excess_risk(theta, S2, 25, sigma_xi=0.5, estimator="ols") == pytest.approx(0.25)
        kept = PairOrbits.of(S2).mean(torch.from_numpy(theta))
        assert expected_risk_gap(kept, S2, 25, sigma_xi=0.5) == pytest.approx(0.1111111, abs=5e-8)
        assert expected_excess_risk(kept, S2, 25, sigma_xi=0.5) == pytest.approx(0.1388889, abs=5e-8)
        assert expected_excess_risk(kept, S2, 25, sigma_xi=0.5, estimator="constrained") == pytest.approx(0.1227273, abs=5e-8)

    def test_inputs_that_are_not_white(self):
        covariance = [[1, 0.5, 0.2], [0.5, 1, 0.2], [0.2, 0.2, 2]]
        theta = np.array([[1, 2, 3], [0, 1, -1], [2, 0.5, 1]]).T
        gap = expected_risk_gap(theta, S2, 25, sigma_xi=0.5, covariance=covariance)
        assert gap == pytest.approx(-7.6023810, abs=5e-8)

    def test_least_norm(self):
        group, theta = clusters(4, 3, 1), np.arange(1, 9) / 8
        options = {"sigma_xi": 0.5, "output": "invariant"}
        kept = split_map(theta, group, "invariant").kept[0]
        assert float((torch.from_numpy(theta) - kept).square().sum()) == pytest.approx(0.109375)
        assert expected_risk_gap(kept, group, 4, **options) == pytest.approx(0.6480655, abs=5e-8)
        assert expected_risk_gap(theta, group, 4, **options) == pytest.approx(0.5840030, abs=5e-8)
        wide = clusters(2, 2)
        theta = split_map((np.arange(1, 17) / 10).reshape(4, 4).T, wide).kept
        assert expected_risk_gap(theta, wide, 2, sigma_xi=0.5) == pytest.approx(2.8366667, abs=5e-8)


def inputs_of(kind: str, elements: np.ndarray) -> dict:
    """Inputs whose spread is not 1: white ones, or those of a covariance that the group keeps."""
    if kind == "white":
        return {"sigma_x": 1.5}
    factor = np.random.default_rng(9).standard_normal((elements.shape[1],) * 2)
    return {"covariance": reynolds(factor @ factor.T, elements, elements)}


def hold(measured: dict, estimators: tuple[str, ...], theta: np.ndarray, group: ClusterGroup, n: int, **options) -> None:
    """The closed forms of estimators, and of what they differ by from least squares, which varies less."""
    risks = {name: expected_excess_risk(theta, group, n, estimator=name, **options) for name in ("ols", *estimators)}
    for name in estimators:
        assert agrees(risks[name], measured[name]), name
        if name != "ols":
            assert agrees(risks[name] - risks["ols"], measured[f"{name} less ols"]), name
    assert agrees(expected_risk_gap(theta, group, n, **options), measured["gap"])


EVERY, WITHOUT = ("ols", "projected", "constrained"), ("ols", "projected")


class TestSimulations:
    """Each closed form against regressions drawn and solved without it, to five standard errors."""

    @pytest.mark.parametrize(("kind", "n"), [("white", 12), ("white", 3), ("covariance", 12)])
    def test_one_number_out(self, kind, n):
        theta, elements = np.array([[0.5, -0.3, 0.9, 0.4, 0.1]]), matrices(cluster_elements(3, 2))
        inputs, options = inputs_of(kind, elements), {"sigma_xi": 0.4, "output": "invariant"}
        measured = simulate(
            theta,
            np.ones((len(elements), 1, 1)),
            elements,
            n,
            8000,
            np.random.default_rng(n),
            sigma_xi=0.4,
            constrained=True,
            **inputs,
        )
        hold(measured, EVERY if n == 12 else WITHOUT, theta[0], clusters(3, 2), n, **inputs, **options)

    def test_constrained_to_fewer_samples_than_orbits(self):
        theta = np.random.default_rng(5).standard_normal((1, 7))
        elements = matrices(cluster_elements(2, 1, 1, 1, 1, 1))
        group, options = clusters(2, 1, 1, 1, 1, 1), {"sigma_xi": 0.4, "sigma_x": 1.5}
        measured = simulate(theta, np.ones((2, 1, 1)), elements, 3, 8000, np.random.default_rng(0), constrained=True, **options)
        # Least squares of least norm in an orthonormal basis of the group's maps is that of the constrained estimator.
        value = expected_excess_risk(theta[0], group, 3, output="invariant", estimator="constrained", **options)
        assert agrees(value, measured["constrained"])

    @pytest.mark.parametrize("exact", [True, False])
    @pytest.mark.parametrize(("kind", "n"), [("white", 14), ("white", 2), ("covariance", 14)])
    def test_signals_out(self, exact, kind, n):
        """At n = 3, 4, 5 the variance of the gap is infinite."""
        elements = matrices(cluster_elements(3, 2, 1))
        theta = np.random.default_rng(1).standard_normal((6, 6))
        theta = reynolds(theta, elements, elements) if exact else theta
        inputs = inputs_of(kind, elements)
        measured = simulate(
            theta, elements, elements, n, 8000, np.random.default_rng(n), sigma_xi=0.7, constrained=n == 14, **inputs
        )
        has_form = n == 14 and (exact or kind == "white")
        hold(measured, EVERY if has_form else WITHOUT, theta, clusters(3, 2, 1), n, sigma_xi=0.7, **inputs)

    def test_several_channels_and_least_norm(self):
        elements = cluster_elements(2, 2)
        inner, outer = matrices(elements, 2), matrices(elements, 3)
        theta, options = np.random.default_rng(2).standard_normal((12, 8)), {"sigma_xi": 0.7, "sigma_x": 1.5}
        measured = simulate(theta, outer, inner, 5, 3000, np.random.default_rng(3), **options)
        hold(measured, WITHOUT, theta.reshape(4, 3, 4, 2), clusters(2, 2), 5, **options)

    @pytest.mark.parametrize("n", [3, 6])
    def test_one_slope_for_unlike_deviations(self, n):
        """A diagonal far from a multiple of the unit matrix: most of the risk is that of its symmetric rest."""
        theta, elements = np.diag([3.0, -3.0, 2.0, 1.0]), matrices(cluster_elements(4))
        options = {"sigma_xi": 0.3, "sigma_x": 1.5}
        measured = simulate(theta, elements, elements, n, 20000, np.random.default_rng(n), constrained=True, **options)
        value = expected_excess_risk(theta, SymmetricGroup(4), n, estimator="constrained", **options)
        assert agrees(value, measured["constrained"])
        lost = 1.5**2 * float(split_map(theta, SymmetricGroup(4)).lost.square().sum())
        assert not agrees(lost, measured["constrained"])  # bias alone

    @pytest.mark.parametrize("n", [4, 8])
    def test_slopes_of_several_clusters(self, n):
        """A truth that the group does not have, with little noise; a cluster of two has no symmetric rest."""
        theta, elements = np.random.default_rng(4).standard_normal((5, 5)), matrices(cluster_elements(3, 2))
        options = {"sigma_xi": 0.2, "sigma_x": 0.5}
        measured = simulate(theta, elements, elements, n, 20000, np.random.default_rng(n), constrained=True, **options)
        value = expected_excess_risk(theta, clusters(3, 2), n, estimator="constrained", **options)
        assert agrees(value, measured["constrained"])

    @pytest.mark.parametrize("name", ["C3", "C4 x C2", "quaternions"])
    def test_other_types_of_irreducible_representations(self, name):
        group = {
            "C3": PermutationGroup([[1, 2, 0]]),
            "C4 x C2": grid_group((4, 2), "translations"),
            "quaternions": PermutationGroup([[1, 2, 3, 0, 5, 6, 7, 4], [4, 7, 6, 5, 2, 1, 0, 3]]),
        }[name]
        elements = matrices(group.elements().tolist())
        theta = reynolds(np.random.default_rng(1).standard_normal((group.degree,) * 2), elements, elements)
        for inputs in (inputs_of("white", elements), inputs_of("covariance", elements)):
            measured = simulate(
                theta, elements, elements, 5, 4000, np.random.default_rng(0), sigma_xi=0.7, constrained=True, **inputs
            )
            value = expected_excess_risk(theta, group, 5, sigma_xi=0.7, estimator="constrained", **inputs)
            assert agrees(value, measured["constrained"])

    def test_a_wrong_dimension_would_be_noticed(self):
        """The liar: the group of other clusters, whose risk is not the measured one."""
        elements = matrices(cluster_elements(3, 2, 1))
        theta = reynolds(np.random.default_rng(1).standard_normal((6, 6)), elements, elements)
        measured = simulate(theta, elements, elements, 14, 3000, np.random.default_rng(0), sigma_xi=0.7, constrained=True)
        for estimator in ("projected", "constrained"):
            assert not agrees(
                expected_excess_risk(theta, clusters(2, 2, 2), 14, sigma_xi=0.7, estimator=estimator), measured[estimator]
            )


class TestEdges:
    def test_infinite_around_as_many_samples_as_inputs(self):
        for n in (2, 3, 4):
            assert expected_risk_gap(BETA, S3, n, **R3) == math.inf
            assert expected_excess_risk(BETA, S3, n, **R3) == math.inf
        assert expected_excess_risk(BETA, S3, 2, estimator="constrained", **R3) == math.inf
        assert expected_excess_risk(BETA, S3, 3, estimator="constrained", **R3) < math.inf

    def test_multiplicities_are_those_of_the_decomposition(self):
        group = clusters(3, 2, 1)
        as_generators = PermutationGroup([list(g) for g in group.generators])
        assert sorted(irreducibles(group)) == sorted(irreducibles(as_generators))
        assert sorted(irreducibles(automorphism_group(as_data(skeleton())))) == [(3, 1, 1), (3, 1, 1), (10, 1, 1)]

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (
                lambda: expected_risk_gap(np.ones((3, 2)), S3, 9),
                ShapeError,
                r"expected a map \(3, 3\) or \(3, C', 3, C\), got \(3, 2\)",
            ),
            (lambda: expected_risk_gap(np.ones(3), S3, 9), ShapeError, 'for a theta of one number say output="invariant"'),
            (lambda: expected_risk_gap(np.ones(4), S3, 9, output="invariant"), ShapeError, r"expected an invariant theta \(3,\)"),
            (lambda: expected_risk_gap(np.eye(3), S3, 9, covariance=np.diag([1, 2, 3])), GroupError, "leaves as it is"),
            (lambda: expected_risk_gap(np.eye(3), S3, 9, covariance=np.eye(2)), ShapeError, r"covariance of shape \(3, 3\)"),
            (lambda: expected_risk_gap(np.eye(3), S3, 9, covariance=-np.eye(3)), ShapeError, "positive semidefinite"),
            (lambda: expected_risk_gap(np.eye(5), SymmetricGroup(5), 2, covariance=np.eye(5)), ConfigError, "white inputs only"),
            (lambda: expected_risk_gap(np.eye(3), "S3", 9), GroupError, "expected a node group, got str"),
        ],
    )
    def test_errors(self, call, error, message):
        with pytest.raises(error, match=message):
            call()

    def test_no_closed_form(self):
        theta = np.random.default_rng(0).standard_normal((4, 2, 4, 1))
        with pytest.raises(ConfigError, match="closed form of the constrained estimator for one channel"):
            expected_excess_risk(theta, clusters(2, 2), 30, estimator="constrained")
        theta = np.random.default_rng(0).standard_normal((130, 130))
        with pytest.raises(GroupError, match="maps of more than 128 nodes must be the group's"):
            expected_risk_gap(theta, SymmetricGroup(130), 20)

    def test_large_graphs_need_no_table(self):
        group = ClusterGroup(Partition(torch.arange(3000) // 30))
        theta = torch.linspace(0, 1, 3000)
        gap = expected_risk_gap(theta, group, 5000, output="invariant")
        assert gap == pytest.approx(2900 / 1999 - float(split_map(theta, group, "invariant").lost.square().sum()))
