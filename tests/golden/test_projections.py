"""Checks of B.2 (pooled form), C, D and E of the theory that need the projection of linear maps alone.

Source of every number: the block "Check" of the section named in the test; all were computed there in float64. The weight is
W_ij = ((i + 1) (j + 2)) mod 5; sizes [3, 2, 1] are the clusters {0, 1, 2}, {3, 4}, {5}.
"""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gnet.groups import ClusterGroup, NodeGroup, PermutationGroup, SymmetricGroup, TrivialGroup
from gnet.measures import project
from gnet.nn import EquivariantLinear
from gnet.orbits import PairOrbits
from gnet.testing import brute_force_mean, enumerate_elements
from tests.golden.fixtures import (
    SIZES_321,
    clusters_of_sizes,
    fixture_weight,
    grid_adjacency,
    legs_and_arms,
    patches,
    path_adjacency,
    skeleton_adjacency,
    skeleton_group,
)

GROUP_321 = ClusterGroup(SIZES_321)
GROUP_222 = ClusterGroup(clusters_of_sizes(2, 2, 2))
SWAPPED_222 = ClusterGroup(clusters_of_sizes(2, 2, 2), swaps=PermutationGroup([[2, 1, 0]]))


def perp(weight: Tensor, group: NodeGroup) -> Tensor:
    return weight - project(weight, group)


def square(weight: Tensor) -> float:
    return float(weight.square().sum())


def float64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("group", "expected"),
    [(GROUP_321, 259 / 6), (SymmetricGroup(6), 75), (GROUP_222, 52), (SWAPPED_222, 129 / 2), (TrivialGroup(6), 0)],
    ids=["[3,2,1]", "S6", "[2,2,2]", "[2,2,2] swapped", "trivial"],
)
def test_distance_of_the_fixture_to_equivariant_maps(group, expected):
    """Check D: 259/6, 75, 52, and 129/2 with clusters 0 and 2 swapped by the canonical lift."""
    weight = fixture_weight(6)
    assert square(perp(weight, group)) == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(project(weight, group), brute_force_mean(weight, group))


def test_norms_of_the_fixture():
    """Check D: ||W||^2 = 184, ||Psi W||^2 = 845/6."""
    assert square(fixture_weight(6)) == 184
    assert square(project(fixture_weight(6), GROUP_321)) == pytest.approx(845 / 6, abs=1e-12)


def test_the_brute_force_average_has_twelve_elements():
    """Check D."""
    assert len(enumerate_elements(GROUP_321)) == GROUP_321.order() == 12


def test_one_cluster_has_one_diagonal_and_one_off_diagonal_mean():
    """Check D: diagonal 7/6, off-diagonal 11/6."""
    mean = project(fixture_weight(6), SymmetricGroup(6))
    torch.testing.assert_close(mean, torch.full((6, 6), 11 / 6, dtype=torch.float64).fill_diagonal_(7 / 6))


def layer_321() -> EquivariantLinear:
    layer = EquivariantLinear(GROUP_321, 1, 1).double()
    layer.set_dense(fixture_weight(6).reshape(6, 1, 6, 1))
    return layer


def test_pooled_form_of_the_fixture():
    """Check B.2: A = (-3/2, -2, none), B = [[19/2, 2, 7/3], [3, 4, 3/2], [9, 1, 2]]."""
    dense = layer_321().dense().detach()[:, 0, :, 0]
    first, sizes = [0, 3, 5], SIZES_321.sizes.double()
    between = dense[first][:, [2, 4, 5]] * sizes  # the last node of each cluster as sender: off the diagonal where there is one
    torch.testing.assert_close(between, float64([[19 / 2, 2, 7 / 3], [3, 4, 3 / 2], [9, 1, 2]]))
    own = dense.diagonal()[first] - between.diagonal() / sizes
    torch.testing.assert_close(own, float64([-3 / 2, -2, 0]))


def test_reference_parameters_of_the_fixture():
    """Check B.2: w_off = N B_lm / c_m = [[19, 6, 14], [6, 12, 9], [18, 3, 12]]; w_diag = A, zero for the singleton."""
    reference = layer_321().to_reference_params()
    torch.testing.assert_close(reference["w_off"], float64([[[19, 6, 14], [6, 12, 9], [18, 3, 12]]]))
    torch.testing.assert_close(reference["w_diag"], float64([[-3 / 2, -2, 0]]))


def test_fixture_applied_to_a_signal():
    """Check B.2: y = (119 1/3, 117 5/6, 114 5/6, 87, 71, 97)."""
    signal = float64([1, 2, 4, 8, 16, 32])[:, None]
    expected = float64([119 + 1 / 3, 117 + 5 / 6, 114 + 5 / 6, 87, 71, 97])[:, None]
    torch.testing.assert_close(layer_321()(signal).detach(), expected)
    torch.testing.assert_close(project(fixture_weight(6), GROUP_321) @ signal, expected)


def test_cluster_means_of_a_signal():
    """Check B.2: (7/3, 12, 32); the mean is the projection of an invariant theta."""
    means = project(float64([1, 2, 4, 8, 16, 32]), GROUP_321, output="invariant")
    torch.testing.assert_close(means, float64([7 / 3, 7 / 3, 7 / 3, 12, 12, 32]))


def test_risk_gap_lemma_on_white_inputs():
    """Check D: f = W, f* = W^T: <f*, f_perp> = -28.5, Delta = 100.1666..."""
    weight = fixture_weight(6)
    rest = perp(weight, GROUP_321)
    mismatch = float((weight.T * rest).sum())
    assert mismatch == pytest.approx(-28.5, abs=1e-12)
    assert -2 * mismatch + square(rest) == pytest.approx(100 + 1 / 6, abs=1e-12)
    gap = square(weight.T - weight) - square(weight.T - project(weight, GROUP_321))  # the two risks, white inputs
    assert gap == pytest.approx(100 + 1 / 6, abs=1e-12)


def test_bias_and_thresholds_of_the_three_dimensional_example():
    """Check D: b^2 = 0.0014989694584973, thresholds 22.53125 (S2 against S3) and 41.0625 (trivial against S3)."""
    beta = float64([1, 1, 0.92]) / math.sqrt(2.8464)
    s3, s2 = SymmetricGroup(3), ClusterGroup(clusters_of_sizes(2, 1))

    def bias(group: NodeGroup) -> float:
        return square(beta - project(beta, group, output="invariant"))

    assert bias(s3) == pytest.approx(0.0014989694584973, abs=1e-16)
    assert bias(s2) == pytest.approx(0, abs=1e-30)
    for group, expected in [(s2, 22.53125), (TrivialGroup(3), 41.0625)]:
        dims = group.node_orbits().num_clusters - s3.node_orbits().num_clusters
        assert 3 + 1 + (1 / 6) ** 2 * dims / bias(s3) == pytest.approx(expected, abs=1e-9)


def test_channels_of_the_regression_example():
    """Check D: Theta = default_rng(123) (3, 2, 3, 1), sizes [2, 1]: ||Theta||^2, b^2, dim 10 of 18, gap -8.0823005."""
    theta = torch.from_numpy(np.random.default_rng(123).standard_normal((3, 2, 3, 1)))  # (sender, C, receiver, C')
    weight, group = theta.permute(2, 3, 0, 1), ClusterGroup(clusters_of_sizes(2, 1))
    bias = square(perp(weight, group))
    assert square(weight) == pytest.approx(12.904178729651317, abs=1e-13)
    assert bias == pytest.approx(8.193411620620608, abs=1e-13)
    num_weights = EquivariantLinear(group, 2, 1).num_weights
    assert (weight.numel(), num_weights) == (18, 10)
    assert -bias + 0.5**2 * (weight.numel() - num_weights) / (25 - 3 * 2 - 1) == pytest.approx(-8.0823005, abs=5e-8)


def test_anisotropic_inputs_weigh_the_rest_by_their_covariance():
    """Check D: ||Sigma^(1/2) Psi_perp Theta||^2 = 7.65, gap -7.6023810."""
    sigma = float64([[1, 0.5, 0.2], [0.5, 1, 0.2], [0.2, 0.2, 2]])
    theta, group = float64([[1, 2, 3], [0, 1, -1], [2, 0.5, 1]]), ClusterGroup(clusters_of_sizes(2, 1))
    torch.testing.assert_close(project(sigma, group), sigma)  # the covariance commutes with the group
    rest = perp(theta, group)
    bias = float((rest.T @ sigma @ rest).trace())
    assert bias == pytest.approx(7.65, abs=1e-12)
    assert -bias + 0.25 * (9 - PairOrbits.of(group).count) / (25 - 3 - 1) == pytest.approx(-7.6023810, abs=5e-8)


def test_minimum_norm_examples():
    """Check D: ||theta_perp||^2 = 0.109375 for [4, 3, 1]; (chi|chi) = 6 and tr(Theta^T Theta J) = 42.84 for [2, 2]."""
    theta = torch.arange(1, 9, dtype=torch.float64) / 8
    rest = theta - project(theta, ClusterGroup(clusters_of_sizes(4, 3, 1)), output="invariant")
    assert square(rest) == pytest.approx(0.109375, abs=1e-14)
    group = ClusterGroup(clusters_of_sizes(2, 2))
    weight = project((torch.arange(1, 17, dtype=torch.float64) / 10).reshape(4, 4), group)
    eye, elements = torch.eye(4, dtype=torch.float64), enumerate_elements(group)
    traces = torch.stack([eye[g].trace() * eye[g].T + eye[g[g]].T for g in elements]).mean(0)
    assert PairOrbits.of(group).count == 6
    assert float((weight.T @ weight @ traces).trace()) == pytest.approx(42.84, abs=1e-12)


def test_graph_operators_break_the_symmetry_by_the_coarsening_error():
    """Check C: ||Psi_perp(A W)||^2 = 388.900462962963, 5.494 % of ||A W||^2; ||Psi_perp(S o W)||^2 = 4.94746180153678."""
    group, adjacency = ClusterGroup(patches(4, 2)), grid_adjacency(4)
    weight = project(fixture_weight(16), group)
    product = adjacency @ weight
    assert square(perp(product, group)) == pytest.approx(388.900462962963, abs=1e-10)
    assert square(perp(product, group)) / square(product) == pytest.approx(0.05494, abs=5e-6)
    torch.testing.assert_close(perp(product, group), perp(adjacency, group) @ weight)
    shift = adjacency + torch.eye(16, dtype=torch.float64)
    shift = shift / shift.sum(1, keepdim=True)
    assert square(perp(shift * weight, group)) == pytest.approx(4.94746180153678, abs=1e-12)
    torch.testing.assert_close(perp(shift * weight, group), perp(shift, group) * weight)


def test_skeleton_adjacency_and_its_groups():
    """Check C: ||A||^2 = 30; 26.25 for S16, 17.0666... for [6, 6, 1, 1, 1, 1], 0 for (S2)^2."""
    adjacency = skeleton_adjacency()
    assert square(adjacency) == 30
    assert square(perp(adjacency, SymmetricGroup(16))) == pytest.approx(26.25, abs=1e-12)
    assert square(perp(adjacency, ClusterGroup(legs_and_arms()))) == pytest.approx(17 + 1 / 15, abs=1e-12)
    assert square(perp(adjacency, skeleton_group())) == 0


def test_coarsening_errors_by_projection():
    """Check E: 74/3 for 2 x 2 patches of the 4 x 4 grid, 38.4 for one cluster, 4 for the path with [3, 2, 1]; filter 6.9375."""
    adjacency, group = grid_adjacency(4), ClusterGroup(patches(4, 2))
    assert square(adjacency) == 48
    assert square(perp(adjacency, group)) == pytest.approx(74 / 3, abs=1e-12)
    assert square(perp(adjacency, SymmetricGroup(16))) == pytest.approx(38.4, abs=1e-12)
    assert square(perp(path_adjacency(6), GROUP_321)) == pytest.approx(4, abs=1e-12)
    polynomial = torch.eye(16, dtype=torch.float64) + adjacency / 2 + adjacency @ adjacency / 4
    assert math.sqrt(square(polynomial)) == pytest.approx(8.514693, abs=5e-7)
    assert square(perp(polynomial, group)) == pytest.approx(6.9375, abs=1e-12)


def test_relaxed_layer_s_distance_to_the_symmetric_group():
    """Check C: N = 4, w_diag = (1, 2, 3, 4), w_off = (1, 0, 1, 0): 8.0, by receiver and by sender."""
    off = float64([1, 0, 1, 0])[:, None].expand(4, 4)
    by_receiver = off - torch.diag(off.diagonal()) + torch.diag(float64([1, 2, 3, 4]))
    assert square(perp(by_receiver, SymmetricGroup(4))) == pytest.approx(8, abs=1e-12)
    assert square(perp(by_receiver.T, SymmetricGroup(4))) == pytest.approx(8, abs=1e-12)
