"""From positions or signals alone, without edges and without lightning, to a net: every step is the user's own call."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnet.errors import DataError, GraphError, ShapeError
from gnet.graphs import Partition, coarsen, correlation_graph, distance_graph, knn_graph
from gnet.groups import ClusterGroup
from gnet.measures import equivariance_error
from gnet.nn import GNet

PLANTED = Partition([0, 1, 2, 1, 0, 2, 2, 1, 2, 2])  # sizes 2, 3 and 5, interleaved


def positions(rng: torch.Generator) -> Tensor:
    """Three heaps of points, far from each other."""
    return 20.0 * PLANTED.labels[:, None] + torch.rand(10, 2, generator=rng)


def signals(rng: torch.Generator) -> Tensor:
    """Nodes of a cluster see one signal, each with a little noise of its own; a reading is missing."""
    x = torch.randn(200, 3, 2, generator=rng)[:, PLANTED.labels] + 0.2 * torch.randn(200, 10, 2, generator=rng)
    x[5, 3, 1] = torch.nan
    return x


MAKERS = {
    "knn": lambda rng: knn_graph(positions(rng), k=1),
    "radius": lambda rng: distance_graph(positions(rng), radius=2.0),
    "sigma": lambda rng: distance_graph(positions(rng), sigma=3.0),
    "correlation": lambda rng: correlation_graph(signals(rng), threshold=0.5),
}


@pytest.fixture(params=MAKERS)
def graph(request: pytest.FixtureRequest, rng: torch.Generator) -> Data:
    made: Data = MAKERS[request.param](rng)
    return made


def test_edges_are_undirected_once_and_stay_inside_what_is_near(graph: Data):
    assert graph.num_nodes == 10
    assert graph.is_undirected() and not graph.has_self_loops() and graph.is_coalesced()
    ends = PLANTED.labels[graph.edge_index]
    assert torch.equal(ends[0], ends[1])


def test_a_graph_of_points_or_signals_becomes_a_net(graph: Data, rng: torch.Generator):
    group = ClusterGroup(coarsen(graph, num_clusters=3))
    net = GNet(group, 2, 4, 3, propagate="graph", edge_index=graph.edge_index, edge_weight=graph.edge_weight)
    assert net(torch.randn(7, 10, 2, generator=rng)).shape == (7, 10, 3)
    bare = GNet(group, 2, 4, 3).double()
    x = torch.randn(7, 10, 2, generator=rng, dtype=torch.float64)
    assert equivariance_error(bare, x, group, generator=rng).relative < 1e-12


@pytest.mark.parametrize("kind", ["radius", "sigma", "correlation"])
def test_clusters_are_those_that_were_planted(kind: str, rng: torch.Generator):
    assert coarsen(MAKERS[kind](rng), num_clusters=3) == PLANTED


def test_a_liar_finds_other_clusters(rng: torch.Generator):
    shuffled = signals(rng)[:, torch.tensor([1, 0, 3, 2, 5, 4, 6, 8, 7, 9])]
    assert coarsen(correlation_graph(shuffled, threshold=0.5), num_clusters=3) != PLANTED


class TestCorrelations:
    def test_are_those_of_the_samples_that_both_nodes_have(self, rng: torch.Generator):
        x = torch.randn(60, 4, 2, generator=rng, dtype=torch.float64).cumsum(0) + 100
        x[torch.rand(x.shape, generator=rng) < 0.4] = torch.nan
        graph = correlation_graph(x, 1e-9)
        found = torch.zeros(4, 4, dtype=torch.float64)
        found[graph.edge_index[0], graph.edge_index[1]] = graph.edge_weight.double()
        for i, j in itertools.combinations(range(4), 2):
            both = [x[:, [i, j], channel] for channel in range(2)]
            expected = [float(torch.corrcoef(each[~each.isnan().any(1)].T)[0, 1].abs()) for each in both]
            assert float(found[i, j]) == pytest.approx(sum(expected) / 2, abs=1e-6)

    def test_of_one_signal_with_gaps_is_one(self, rng: torch.Generator):
        x = torch.randn(500, 1, 1, generator=rng).expand(-1, 2, 1).clone()
        x[torch.rand(500, 2, 1, generator=rng) < 0.5] = torch.nan
        assert float(correlation_graph(x, 0.9).edge_weight[0]) == pytest.approx(1.0)

    def test_of_opposite_sign_in_two_channels_do_not_cancel(self, rng: torch.Generator):
        y = torch.randn(200, 1, 2, generator=rng)
        both = torch.cat([y, y * torch.tensor([1.0, -1.0])], 1)
        assert float(correlation_graph(both, 0.9).edge_weight[0]) == pytest.approx(1.0)

    def test_need_three_samples_and_a_signal_that_varies(self, rng: torch.Generator):
        x = torch.randn(5, 3, 1, generator=rng)
        x[:3, 0], x[:, 2] = torch.nan, 0.1
        with pytest.raises(GraphError, match=r"no two nodes have a correlation of 0\.01 or more; the largest is 0\.000"):
            correlation_graph(x, 0.01)
        x[4, 0] = torch.nan
        x[0, 0], x[1, 0], x[2, 0] = 1.0, 2.0, 4.0
        assert correlation_graph(x, 1e-6).edge_index.tolist() == [[0, 1], [1, 0]]

    def test_name_an_infinite_reading(self):
        x = torch.zeros(4, 3, 1)
        x[1, 2] = torch.inf
        with pytest.raises(DataError, match="NaN where missing, got an infinite one: node 2, channel 0, sample 1"):
            correlation_graph(x)


def test_neighbours_are_the_nearest(rng: torch.Generator):
    pos = torch.randn(10, 3, generator=rng)
    graph = knn_graph(pos, k=2)
    nearest = torch.cdist(pos, pos).fill_diagonal_(torch.inf).topk(2, largest=False).indices
    wanted = {(node, int(other)) for node, row in enumerate(nearest) for other in row}
    assert {tuple(edge) for edge in graph.edge_index.T.tolist()} == wanted | {(b, a) for a, b in wanted}


def test_positions_that_are_trained_are_taken_as_they_are(rng: torch.Generator):
    pos = positions(rng)
    assert torch.equal(knn_graph(pos.requires_grad_(), 2).edge_index, knn_graph(pos.detach(), 2).edge_index)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: knn_graph(np.zeros((3, 2)), 1), ShapeError, r"pos to be a tensor, got a ndarray; torch.as_tensor\(pos\)"),
        (lambda: knn_graph(Data(pos=torch.zeros(3, 2)), 1), ShapeError, r"pos to be a tensor, got a Data; give data\.pos"),
        (lambda: correlation_graph(Data(x=torch.zeros(3, 2))), ShapeError, r"got a Data; give data\.x"),
        (lambda: distance_graph(torch.zeros(3), 1.0), ShapeError, r"finite positions of shape \(N, D\), got \(3,\)"),
        (lambda: correlation_graph(torch.zeros(9, 3)), ShapeError, r"\(T, N, C\), got \(9, 3\); add an axis of one channel"),
        (lambda: correlation_graph([[1.0]]), ShapeError, "x to be a tensor, got a list"),
        (lambda: knn_graph(torch.zeros(3, 2), 3), GraphError, "expected 1 <= k < 3 neighbours for 3 nodes, got k=3"),
    ],
)
def test_bad_input_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_it_needs_no_lightning():
    code = (
        "import sys, torch; from gnet import GNet, coarsen, correlation_graph, distance_graph, knn_graph\n"
        "import gnet; net = GNet(gnet.ClusterGroup(coarsen(knn_graph(torch.rand(9, 2), 2), 3)), 1, 4, 1)\n"
        "print(sorted({'lightning', 'jsonargparse', 'torchmetrics', 'matplotlib'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=240, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
