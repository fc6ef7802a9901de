"""The planted task: its symmetry, its noise, and the theorem on projected least squares."""

import pytest
import torch

from gnet.errors import ConfigError
from gnet.orbits import PairOrbits
from gnet.training.data import Planted


def test_theta_deviates_from_the_symmetry_by_just_the_given_size():
    for deviation in (0.0, 0.7):
        planted = Planted(sizes=[3, 2, 1], in_channels=2, out_channels=3, deviation=deviation, double=True)
        theta = planted.theta
        assert theta.shape == (6, 3, 6, 2)
        outside = theta - PairOrbits.of(planted.group).mean(theta)
        assert float(outside.norm()) == pytest.approx(deviation, abs=1e-12)
    exact = Planted(sizes=[3, 2, 1], in_channels=2, out_channels=3, double=True).theta
    assert torch.allclose(PairOrbits.of(planted.group).mean(theta), exact)


def test_test_targets_are_free_of_noise_unless_asked_for():
    planted = Planted(sizes=[3, 2], in_channels=2, double=True, sigma_xi=0.5, num_test=4000)
    x, y, mask = planted.test_arrays()
    torch.testing.assert_close(y, torch.einsum("iojc,bjc->bio", planted.theta, x))
    assert mask.all()
    noisy = Planted(sizes=[3, 2], in_channels=2, double=True, sigma_xi=0.5, num_test=4000, noisy_test=True).test_arrays()
    assert float((noisy.y - torch.einsum("iojc,bjc->bio", planted.theta, noisy.x)).std()) == pytest.approx(0.5, rel=0.03)
    assert float(noisy.x.std()) == pytest.approx(1.0, rel=0.03)


def test_draw_makes_the_training_set_and_nothing_else():
    base, drawn, seeded, studied = (Planted(**options) for options in ({}, {"draw": 1}, {"seed": 1}, {"study_seed": 1}))
    for other in (drawn, seeded):
        assert torch.equal(other.theta, base.theta)
        assert torch.equal(other.graph.edge_index, base.graph.edge_index)
        assert torch.equal(other.predict_arrays().x, base.predict_arrays().x)
    assert torch.equal(seeded.train_arrays().y, base.train_arrays().y)
    assert not torch.equal(drawn.train_arrays().x, base.train_arrays().x)
    assert not torch.equal(studied.theta, base.theta)
    assert torch.equal(Planted(num_train=50).val_arrays().x, base.val_arrays().x)


def test_nothing_is_standardised():
    planted = Planted(sigma_x=3.0, double=True)
    assert planted.scaling.x.mean.item() == 0
    assert planted.scaling.y.std.item() == 1
    assert planted.train_arrays().x.dtype == planted.scaling.x.std.dtype == torch.float64


@pytest.mark.parametrize("kind", ["sbm", "ring"])
def test_clusters_are_connected(kind):
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    for study_seed in range(5):
        planted = Planted(sizes=[4, 3, 1], kind=kind, study_seed=study_seed)
        edges = planted.graph.edge_index
        assert planted.graph.is_undirected()
        assert not (edges[0] == edges[1]).any()
        for cluster in range(3):
            nodes = planted.partition.members(cluster)
            dense = torch.zeros(8, 8).index_put((edges[0], edges[1]), torch.ones(edges.shape[1]))[nodes][:, nodes]
            assert connected_components(csr_array(dense.numpy()))[0] == 1


def test_smallest_graphs():
    assert Planted(sizes=[1], kind="ring").graph.edge_index.shape == (2, 0)
    assert Planted(sizes=[2], kind="ring").graph.edge_index.tolist() == [[0, 1], [1, 0]]


def test_projected_least_squares_has_the_excess_risk_of_theory():
    """sigma_x^2 ||Psi_perp Theta||^2 + sigma_xi^2 dim Hom_G / (n - N d - 1); without projection N^2 d d' is the dimension."""
    options = {"sizes": [3, 2], "deviation": 0.5, "sigma_x": 1.5, "sigma_xi": 0.8, "num_train": 25, "num_test": 1, "double": True}
    risks = {"plain": [], "projected": []}
    for draw in range(150):
        planted = Planted(draw=draw, **options)
        x, y, _ = (each.squeeze(-1) for each in planted.train_arrays())
        found = torch.linalg.lstsq(x, y).solution.T
        orbits = PairOrbits.of(planted.group)
        for name, estimate in (("plain", found), ("projected", orbits.mean(found))):
            risks[name].append(1.5**2 * (estimate - planted.theta[:, 0, :, 0]).square().sum())
    variance = 0.8**2 / (25 - 5 - 1)
    expected = {"plain": 25 * variance, "projected": 1.5**2 * 0.5**2 + orbits.count * variance}
    for name, values in risks.items():
        measured = torch.stack(values)
        assert abs(measured.mean() - expected[name]) < 4 * measured.std() / len(values) ** 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": []}, "expected sizes, channels and numbers of samples >= 1"),
        ({"sizes": [2, 0]}, r"got sizes=\[2, 0\]"),
        ({"sigma_x": 0.0}, "expected sigma_x > 0"),
        ({"kind": "tree"}, "expected kind to be one of 'sbm', 'ring', got 'tree'"),
        ({"sizes": [1, 1], "deviation": 1.0}, "deviation needs a cluster of two or more nodes"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigError, match=message):
        Planted(**options)
