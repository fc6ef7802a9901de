"""Soft clusters: one-hot is the pooled form, hardening, the regulariser written out, extreme numbers of clusters."""

import math

import pytest
import torch
from torch import Tensor

from gnet.errors import ConfigError, GraphError, ShapeError
from gnet.graphs import Partition, grid_patches
from gnet.groups import ClusterGroup
from gnet.nn import EquivariantLinear
from gnet.nn.relaxed import SoftClusters
from gnet.testing import check_layer
from tests.golden.fixtures import grid_adjacency, path_adjacency
from tests.nn.relaxed.cases import CLUSTERS, EDGES, scrambled, signals

PARTITIONS = {
    "unequal with a singleton": CLUSTERS,
    "one cluster": Partition.whole(6),
    "all singletons": Partition.singletons(6),
    "interleaved": Partition([0, 1, 0, 1, 0, 1]),
}


@pytest.fixture(params=PARTITIONS)
def partition(request: pytest.FixtureRequest) -> Partition:
    return PARTITIONS[request.param]


def hard(partition: Partition, rng: torch.Generator, num_clusters: int | None = None, **options) -> SoftClusters:
    """One-hot shares, all weights random."""
    k = partition.num_clusters if num_clusters is None else num_clusters
    layer = scrambled(SoftClusters(6, k, 2, 3, **options).double(), rng)
    with torch.no_grad():
        layer.logits.copy_(10.0 * torch.nn.functional.one_hot(partition.labels, k))
        layer.temperature.fill_(0.01)
    return layer


def test_one_hot_shares_are_the_pooled_form(partition, rng):
    layer = hard(partition, rng)
    assert torch.equal(layer.shares(), torch.nn.functional.one_hot(partition.labels).double())
    exact, x = EquivariantLinear(ClusterGroup(partition), 2, 3).double(), signals(5, 6, 2, rng=rng)
    with torch.no_grad():  # theory's pooled form, by its own letters
        a, b, c = layer.own, layer.mix, layer.bias
        labels, means = (
            partition.labels,
            torch.stack([x[:, partition.members(m)].mean(1) for m in range(partition.num_clusters)], 1),
        )
        y = torch.einsum("noi,bni->bno", a[labels], x) + torch.einsum("nomi,bmi->bno", b[labels], means) + c[labels]
        torch.testing.assert_close(layer(x), y)
        exact.set_dense(layer.dense(), layer.dense_bias())
    torch.testing.assert_close(layer(x), exact(x))
    assert layer.equivariance_error() < 1e-12
    check_layer(FrozenClusters(layer), ClusterGroup(partition), completeness=False, gradients=False)


class FrozenClusters(torch.nn.Module):
    """Its weights may be drawn anew, its clusters not."""

    def __init__(self, layer: SoftClusters) -> None:
        super().__init__()
        layer.logits.requires_grad_(False)
        logits = layer.logits.detach().clone()
        del layer.logits
        layer.register_buffer("logits", logits)
        self.layer, self.in_channels = layer, layer.in_channels

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


@pytest.mark.parametrize("bias", ["orbit", "shared", None])
def test_hardening_keeps_the_map(partition, bias, rng):
    layer, x = hard(partition, rng, bias=bias), signals(5, 6, 2, rng=rng)
    found = layer.harden()
    assert found.group.partition == partition == layer.partition
    torch.testing.assert_close(found(x), layer(x))


def test_clusters_that_nobody_is_in_are_left_out(rng):
    partition = Partition([4, 4, 1, 1, 4, 1], num_clusters=None)
    labels = torch.tensor([4, 4, 1, 1, 4, 1])
    layer = scrambled(SoftClusters(6, 5, 2, 3).double(), rng)
    with torch.no_grad():
        layer.logits.copy_(50.0 * torch.nn.functional.one_hot(labels, 5))
        layer.temperature.fill_(0.01)
    x = signals(5, 6, 2, rng=rng)
    assert layer.harden().group.partition == partition
    torch.testing.assert_close(layer.harden()(x), layer(x))
    layer(x).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_the_error_vanishes_with_the_temperature(rng):
    layer = scrambled(SoftClusters(6, 3, 2, 3, entropy=1.0).double(), rng)
    assert layer.equivariance_error() > 1e-3
    layer.temperature.fill_(0.0)
    assert layer.equivariance_error() < 1e-12
    assert float(layer.penalty().detach()) == pytest.approx(0.0, abs=1e-12)
    x = signals(4, 6, 2, rng=rng)
    torch.testing.assert_close(layer(x), layer.harden()(x))


def test_starts_from_a_partition_softened():
    layer = SoftClusters(6, 3, 2, 3, logits=CLUSTERS, temperature=0.4)
    shares = layer.shares()
    torch.testing.assert_close(shares.gather(1, CLUSTERS.labels[:, None]), torch.full((6, 1), 0.9))
    torch.testing.assert_close(shares.sum(1), torch.ones(6))
    assert layer.group == ClusterGroup(CLUSTERS) == layer.reference


def test_given_logits_are_taken(rng):
    logits = torch.randn(6, 2, generator=rng)
    assert torch.equal(SoftClusters(6, 2, 1, 1, logits=logits).logits, logits)


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0, 1.5, 2.5])])
def test_penalty_is_the_written_one(weights, rng):
    edges = torch.cat([EDGES, EDGES[:, :1]], 1)  # one edge twice: the weights add up
    layer = scrambled(SoftClusters(6, 3, 2, 3, entropy=0.3, coarsening=0.2, edge_index=edges, edge_weight=weights).double(), rng)
    adjacency = torch.zeros(6, 6, dtype=torch.float64)
    for number, (sender, receiver) in enumerate(edges.t().tolist()):
        adjacency[receiver, sender] += 1.0 if weights is None else float(weights[number])
    shares = torch.softmax(layer.logits / layer.temperature, 1)
    within = shares / shares.sum(0)
    coarse = shares @ (within.t() @ adjacency @ within) @ shares.t()
    entropy = -(shares * shares.log()).sum() / 6
    torch.testing.assert_close(layer.penalty(), 0.3 * entropy + 0.2 * (adjacency - coarse).square().sum())


@pytest.mark.parametrize(
    ("adjacency", "partition", "error"),
    [
        (grid_adjacency(4), grid_patches((4, 4), (2, 2)), 30.0),
        (grid_adjacency(4), Partition.whole(16), 16**2 * 0.3903124**2),
        (path_adjacency(6), Partition([0, 0, 0, 1, 1, 2]), 5 + 8 / 9),
    ],
)
def test_of_hard_clusters_it_is_the_coarsening_error_of_theory(adjacency, partition, error):
    edges = adjacency.nonzero().t().flip(0)
    layer = SoftClusters(len(adjacency), partition.num_clusters, 1, 1, coarsening=1.0, edge_index=edges, logits=partition)
    layer.double().temperature.fill_(1e-3)
    assert layer.penalty().item() == pytest.approx(error, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"temperature": 0.0}, ConfigError, r"expected a temperature > 0, got 0\.0"),
        ({"temperature": math.nan}, ConfigError, "expected a temperature > 0, got nan"),
        ({"entropy": -1.0}, ConfigError, r"expected entropy >= 0, got -1\.0"),
        ({"coarsening": 1.0}, ConfigError, r"give edge_index=data\.edge_index, or coarsening=0"),
        ({"logits": torch.zeros(6, 2)}, ShapeError, r"expected logits of shape \(6, 3\), got \(6, 2\)"),
        ({"logits": Partition.whole(6)}, ShapeError, "expected a partition of 6 nodes into 3 clusters"),
        ({"init": "reference"}, ConfigError, "use 'white' or 'correlated'"),
        ({"coarsening": 1.0, "edge_index": torch.tensor([[0], [9]])}, GraphError, r"edge_index names nodes \[9\]"),
    ],
)
def test_impossible_soft_clusters_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        SoftClusters(6, 3, 2, 3, **options)


@pytest.mark.parametrize("num_clusters", [0, 7])
def test_impossible_numbers_of_clusters_are_refused(num_clusters):
    with pytest.raises(ConfigError, match=f"expected between one cluster and one per node, got {num_clusters} for 6 nodes"):
        SoftClusters(6, num_clusters, 1, 1)
