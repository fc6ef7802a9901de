"""The planted traffic: its best forecast, what symmetries cost, its stationarity, and the theorem on projected least squares."""

import pytest
import torch
from torch import Tensor

from gnet.errors import ConfigError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, NodeGroup
from gnet.orbits import PairOrbits
from gnet.study.baselines import last_value
from gnet.theory import expected_risk_gap
from gnet.training.data import PlantedTraffic
from gnet.training.module import GNetModule
from gnet.training.symmetry import GivenPartition
from gnet.training.trial import loss_on_test
from tests.training.small import quiet_trainer

SIZES = [3, 2, 1]


def planted(**settings: object) -> PlantedTraffic:
    return PlantedTraffic(**{"sizes": SIZES, "num_train": 40, "num_val": 7, "num_test": 9, "double": True, **settings})


def one_step(data: PlantedTraffic, x: Tensor) -> Tensor:
    """The formula node by node, for one state (N, d), from the edges of the graph and what ``transition`` says of H."""
    edges, weight = data.graph.edge_index, data.graph.edge_weight
    weight = torch.ones(edges.shape[1]) if weight is None else weight
    adjacency = torch.zeros(len(x), len(x), dtype=torch.float64).index_put((edges[0], edges[1]), weight.double())
    walks = [
        torch.eye(len(x)).double(),
        *((each / each.sum(1, keepdim=True).clamp(min=1e-9)).T for each in (adjacency, adjacency.T)),
    ]
    columns = torch.stack([torch.cat([walk[node] for walk in walks]) for node in range(len(x))])  # (N, 3 N)
    rows = []
    for node, label in enumerate(data.partition.labels.tolist()):
        mates = data.partition.members(label).tolist()
        # H of the cluster by least squares from the rows of its nodes: one solution for all of them, or no such H.
        block = data.transition[mates].permute(0, 2, 1, 3)  # (m, N, out, in)
        design = columns[mates].reshape(len(mates), 3, len(x)).permute(0, 2, 1).flatten(0, 1)  # (m N, 3)
        mixing = torch.linalg.lstsq(design, block.flatten(0, 1).flatten(1), driver="gelsd").solution
        rows.append(sum(walk[node] @ x @ mixing[r].reshape(2, 2).T for r, walk in enumerate(walks)))
    return torch.stack(rows)


@pytest.mark.parametrize("kind", ["road", "sbm"])
def test_a_step_diffuses_along_the_graph_and_mixes_as_the_cluster_does(kind, rng):
    data = planted(kind=kind)
    x = torch.randn(6, 2, generator=rng, dtype=torch.float64)
    step = torch.einsum("iojc,jc->io", data.transition, x)
    torch.testing.assert_close(one_step(data, x), step, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("inputs", ["series", "white"])
def test_theta_is_what_the_next_steps_are_without_noise(inputs):
    data = planted(inputs=inputs, noisy_test=True, sigma_xi=1e-9, sigma_x=1.0)
    for split in ("train", "val", "test"):
        x, y, mask = data.samples(split).all()
        torch.testing.assert_close(y, torch.einsum("iojc,bjc->bio", data.theta, x), atol=1e-7, rtol=1e-5)
        assert mask.all()


def test_the_noise_of_a_forecast_is_that_of_the_steps_since():
    data = planted(num_train=20000, sigma_xi=0.7)
    x, y, _ = data.train_arrays()
    found = (y - torch.einsum("iojc,bjc->bio", data.theta, x)).square().mean(0)  # (N, steps)
    step = data.transition.reshape(12, 12)
    powers = [torch.linalg.matrix_power(step, number).reshape(6, 2, 12)[:, 0].square().sum(1) for number in range(3)]
    expected = 0.7**2 * torch.stack(powers, 1).cumsum(1)
    torch.testing.assert_close(found, expected, rtol=0.08, atol=0.0)


def averaged(data: PlantedTraffic, group: NodeGroup, x: Tensor) -> Tensor:
    """(Psi f)(x), element by element of the group."""
    forecasts = [
        group.act(torch.argsort(g), torch.einsum("iojc,bjc->bio", data.theta, group.act(g, x))) for g in group.elements()
    ]
    return torch.stack(forecasts).mean(0)


@pytest.mark.parametrize("inputs", ["series", "white"])
def test_the_bias_is_the_distance_from_the_average_over_the_group(inputs):
    data = planted(inputs=inputs, sigma_x=1.5, num_train=4000, horizon_in=2)
    costs = {}
    for name, labels in {"trivial": range(6), "planted": [0, 0, 0, 1, 1, 2], "whole": [0] * 6}.items():
        group = ClusterGroup(Partition(labels))
        x = data.train_arrays().x
        forecast = torch.einsum("iojc,bjc->bio", data.theta, x)
        each = (forecast - averaged(data, group, x)).square().flatten(1).sum(1)
        costs[name] = data.bias(group)
        assert data.bias(Partition(labels)) == costs[name]
        assert float(each.mean()) == pytest.approx(costs[name], rel=0.15, abs=1e-12)
    assert 0 == costs["trivial"] < costs["planted"] < costs["whole"]


def test_the_series_is_stationary_from_its_first_step():
    data = planted()
    size = 12
    assert float(torch.linalg.eigvals(data.transition.reshape(size, size)).abs().max()) == pytest.approx(0.9)
    step, covariance = data.transition.reshape(size, size), data.covariance
    torch.testing.assert_close(step @ covariance @ step.T + torch.eye(size).double(), covariance)
    ends = torch.stack([planted(draw=draw, num_train=30).train_arrays().x[[0, -1]] for draw in range(600)])  # (draws, 2, N, 6)
    for at, place in ((0, slice(0, 2)), (1, slice(4, 6))):  # the first step of the first window, the last of the last
        states = ends[:, at, :, place].flatten(1)
        spread = torch.sqrt(covariance.diagonal()[:, None] * covariance.diagonal() / 600)
        assert bool(((states.T @ states / 600 - covariance).abs() < 6 * spread).all())


def test_shapes_are_those_of_measured_traffic():
    data = planted(double=False)
    assert (data.task, data.horizon_in, data.horizon_out) == ("forecast", 3, 3)
    assert (data.in_channels, data.out_channels, data.target) == (6, 3, "node")
    x, y, _ = data.train_arrays()
    assert (x.shape, y.shape, x.dtype) == ((40, 6, 6), (40, 6, 3), torch.float32)
    assert torch.equal(x[1:, :, :4], x[:-1, :, 2:])  # windows of one series
    assert torch.equal(x[3:, :, 4], y[:-3, :, 2])  # whose first channel is forecast
    assert set(data.metrics()) == {"mae", "rmse", *(f"{name}_{step}" for name in ("mae", "rmse") for step in (1, 2, 3))}
    assert {"name", "source", "licence", "shapes", "units", "splits", "checksum"} <= set(data.describe())


def test_roads_are_connected_directed_and_joined():
    graph = planted(sizes=[4, 3, 2]).graph
    edges = {tuple(edge) for edge in graph.edge_index.T.tolist()}
    assert edges >= {(a, a + 1) for a in (0, 1, 2, 4, 5, 7)} and {(b, a) for a, b in edges} == edges
    assert len(edges) == 2 * 8  # a tree, both ways
    weights = torch.zeros(9, 9).index_put((graph.edge_index[0], graph.edge_index[1]), graph.edge_weight)
    assert not torch.allclose(weights, weights.T)
    assert bool(((graph.edge_weight > 0.1) & (graph.edge_weight < 1.0)).all())


def test_draw_makes_the_training_set_and_nothing_else():
    base, drawn, studied = (planted(**options) for options in ({}, {"draw": 1}, {"study_seed": 1}))
    assert torch.equal(drawn.theta, base.theta)
    assert torch.equal(drawn.graph.edge_index, base.graph.edge_index)
    assert torch.equal(drawn.predict_arrays().x, base.predict_arrays().x)
    assert not torch.equal(drawn.train_arrays().x, base.train_arrays().x)
    assert not torch.equal(studied.theta, base.theta)


def test_projected_least_squares_gains_what_the_theorem_says():
    """D.3: white inputs and one step ahead; the excess risk of a linear forecast W is sigma_x^2 |W - Theta|^2."""
    options = {"inputs": "white", "horizon_in": 2, "horizon_out": 1, "sigma_x": 1.5, "sigma_xi": 0.8, "num_train": 50}
    group, gaps = planted().group, []
    for draw in range(200):
        data = planted(draw=draw, **options)
        x, y, _ = data.train_arrays()
        found = torch.linalg.lstsq(x.flatten(1), y.flatten(1)).solution.T.reshape(6, 1, 6, 4)
        risks = [1.5**2 * (each - data.theta).square().sum() for each in (found, PairOrbits.of(group).mean(found))]
        gaps.append(risks[0] - risks[1])
    measured = torch.stack(gaps)
    expected = expected_risk_gap(data.theta, group, 50, sigma_x=1.5, sigma_xi=0.8)
    assert abs(measured.mean() - expected) < 4 * measured.std() / 200**0.5
    variance = 0.8**2 * (6 * 24 - 4 * PairOrbits.of(group).count) / (50 - 24 - 1)
    assert expected == pytest.approx(variance - data.bias(group))


def test_a_recurrent_net_learns_more_than_the_last_value():
    data = planted(double=False, num_train=300, num_val=50, num_test=200)
    module = GNetModule(GivenPartition(labels=[0, 0, 0, 1, 1, 2]), architecture="gru", hidden_channels=16)
    quiet_trainer(max_epochs=15).fit(module, datamodule=data)
    batch = data.test_arrays()
    persistence = float((last_value(2, 3, 1)(batch.x) - batch.y).square().mean())
    assert loss_on_test(module.eval(), data) < 0.5 * persistence


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": []}, r"expected sizes, channels, horizons and numbers of samples >= 1, got sizes=\[\]"),
        ({"horizon_out": 0}, "horizons 3 and 0"),
        ({"memory": 1.0}, r"expected memory in \(0, 1\), so that the series is stationary, got 1\.0"),
        ({"sigma_xi": 0.0}, "expected sigma_xi and sigma_x > 0"),
        ({"kind": "rod"}, "expected kind to be one of 'road', 'sbm', got 'rod'; did you mean 'road'"),
        ({"inputs": "pink"}, "expected inputs to be one of 'series', 'white', got 'pink'"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigError, match=message):
        planted(**options)
