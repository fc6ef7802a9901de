"""Layers: they commute with the group, reach every map that does, have true gradients and a true fast kernel; with liars."""

import pytest
import torch
from torch import Tensor, nn

from gnet.errors import ShapeError
from gnet.graphs.partition import Partition
from gnet.groups import TRIVIAL_ACTION, ClusterGroup, NodeGroup, SymmetricGroup
from gnet.kernels.segments import cluster_mean
from gnet.nn import Block, EquivariantLinear, GNet, InvariantLinear
from gnet.orbits import PairOrbits
from gnet.testing import LawBroken, brute_force_mean, check_layer, expressible_rank
from tests.laws.cases import CLUSTER_GROUPS, GROUPS, TIED_GROUPS, UNTIED


@pytest.fixture(params=GROUPS)
def group(request: pytest.FixtureRequest) -> NodeGroup:
    return GROUPS[request.param]


@pytest.fixture(params=CLUSTER_GROUPS | TIED_GROUPS)
def cluster_group(request: pytest.FixtureRequest) -> ClusterGroup:
    return (CLUSTER_GROUPS | TIED_GROUPS)[request.param]


@pytest.mark.parametrize("bias", ["orbit", "shared", None])
def test_equivariant_linear_obeys_every_law(group, bias):
    check_layer(EquivariantLinear(group, 2, 3, bias=bias), group, completeness=bias == "orbit")


@pytest.mark.parametrize("bias", ["orbit", "shared", None])
def test_reference_parametrisation_obeys_every_law(cluster_group, bias):
    layer = EquivariantLinear(cluster_group, 2, 3, bias=bias, parametrization="reference")
    check_layer(layer, cluster_group, completeness=bias == "orbit")


def test_invariant_linear_obeys_every_law(group):
    check_layer(InvariantLinear(group, 2, 3), group, action_out=TRIVIAL_ACTION)


def test_reaches_every_equivariant_map(group):
    layer = EquivariantLinear(group, 1, 2)
    assert expressible_rank(layer) == PairOrbits.of(group).count * 1 * 2 == layer.num_weights


def test_reference_parametrisation_reaches_every_equivariant_map(cluster_group):
    layer = EquivariantLinear(cluster_group, 2, 1, parametrization="reference")
    assert expressible_rank(layer) == PairOrbits.of(cluster_group).count * 2 * 1 == layer.num_weights


def test_canonical_weights_are_exactly_the_dimension(group):
    layer = EquivariantLinear(group, 2, 3, bias=None)
    assert layer.num_parameters == layer.num_weights == PairOrbits.of(group).count * 2 * 3


def test_dense_weight_is_its_own_average_over_the_group(group):
    dense = EquivariantLinear(group, 2, 3).double().dense().detach()
    torch.testing.assert_close(brute_force_mean(dense, group), dense)


def test_does_not_commute_with_a_permutation_outside(rng):
    group = ClusterGroup(UNTIED)
    layer = EquivariantLinear(group, 1, 2, generator=rng).double()
    x = torch.randn(4, group.degree, 1, dtype=torch.float64, generator=rng)
    perm = torch.arange(group.degree)
    perm[[0, 1]] = torch.tensor([1, 0])  # clusters 2 and 0
    assert not group.contains(perm)
    assert float((layer(group.act(perm, x)) - group.act(perm, layer(x))).detach().abs().max()) > 1e-3


@pytest.mark.parametrize(
    "options", [{}, {"norm": "batch"}, {"norm": "layer"}, {"residual": True}, {"dropout": 0.5}, {"act": "tanh"}]
)
def test_nets_obey_every_law_in_eval_mode(group, options, rng):
    x = torch.randn(2, group.degree, 2, dtype=torch.float64, generator=rng)
    check_layer(GNet(group, 2, 4, 3, num_layers=3, **options), group, x, gradients=options.get("act") == "tanh")


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_norms_keep_the_symmetry_in_training_mode(group, norm, rng):
    if norm == "batch" and group.degree == 1:
        pytest.skip("batch statistics of a single value are refused by torch")
    net = GNet(group, 2, 4, 3, norm=norm, generator=rng).double()
    x = torch.randn(3, group.degree, 2, dtype=torch.float64, generator=rng)
    for g in group.sample(3, rng):
        torch.testing.assert_close(net(group.act(g, x)), group.act(g, net(x)))


class PerNodeWeight(nn.Module):
    """A weight for each node: commutes with nothing."""

    def __init__(self, group: NodeGroup) -> None:
        super().__init__()
        self.group, self.in_channels = group, 1
        self.weight = nn.Parameter(torch.ones(group.degree, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x


class PerNodeNorm(nn.Module):
    """Scales an equivariant output by an affine norm of each node."""

    def __init__(self, group: NodeGroup) -> None:
        super().__init__()
        self.group, self.in_channels = group, 1
        self.linear, self.norm = EquivariantLinear(group, 1, 1), nn.LayerNorm([group.degree, 1])

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x))


class PublishedIrregular(nn.Module):
    """Unequal clusters as released: the "diagonal" block is one constant instead of a multiple of I, so it adds nothing."""

    def __init__(self, group: ClusterGroup) -> None:
        super().__init__()
        k = group.partition.num_clusters
        self.group, self.in_channels, self.num_weights = group, 1, k + k * k
        self.w_diag, self.w_off = nn.Parameter(torch.randn(k)), nn.Parameter(torch.randn(k, k))

    def forward(self, x: Tensor) -> Tensor:
        labels = self.group.partition.labels
        blocks = torch.diag(self.w_diag) + self.w_off / self.group.degree
        return torch.einsum("ij,...jc->...ic", blocks[labels][:, labels], x)


class LyingKernel(EquivariantLinear):
    """Its fast map is not the one that ``dense`` shows."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.001 * super().forward(x)


class LyingGradient(EquivariantLinear):
    """The right map, and half of its gradient."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return 0.5 * y + 0.5 * y.detach()


class InvariantOfClusterMeansOnly(nn.Module):
    """An invariant layer that forgets which cluster is which."""

    def __init__(self, group: ClusterGroup) -> None:
        super().__init__()
        self.group, self.in_channels, self.num_weights = group, 1, 1
        self.weight = nn.Parameter(torch.ones(1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return cluster_mean(x, self.group.partition.labels, self.group.partition.num_clusters).mean(-2) @ self.weight


@pytest.mark.parametrize(
    ("liar", "law"),
    [
        (PerNodeWeight, "equivariance"),
        (PerNodeNorm, "equivariance"),
        (PublishedIrregular, "completeness: the layer reaches 9 dimensions, the equivariant maps have 12"),
        (lambda group: LyingKernel(group, 2, 3), "fast kernel = explicit kernel"),
        (lambda group: LyingGradient(group, 2, 3), "gradcheck"),
        (InvariantOfClusterMeansOnly, "completeness: the layer reaches 1 dimensions, the equivariant maps have 3"),
        (lambda group: EquivariantLinear(SymmetricGroup(group.degree), 1, 1), "completeness"),
    ],
    ids=["node", "norm", "irregular", "kernel", "gradient", "invariant", "too-large-group"],
)
def test_a_layer_that_lies_is_caught(liar, law):
    group = ClusterGroup(UNTIED)
    with pytest.raises(LawBroken, match=law):
        check_layer(liar(group), group)


def test_a_layer_on_other_nodes_is_refused():
    with pytest.raises(ShapeError, match=r"expected x of shape \(\*, 4, 1\), got \(2, 10, 1\)"):
        check_layer(EquivariantLinear(CLUSTER_GROUPS["trivial"], 1, 1), ClusterGroup(UNTIED))


def test_the_published_irregular_layer_has_rank_4_of_6_on_clusters_3_and_2():
    """Field observation on the released code, by running it: the commutant of S3 x S2 has dimension 6."""
    group = ClusterGroup(Partition([0, 1, 0, 1, 0]))
    assert expressible_rank(PublishedIrregular(group)) == 4
    assert expressible_rank(EquivariantLinear(group, 1, 1)) == PairOrbits.of(group).count == 6


def test_a_smaller_group_s_layer_breaks_equivariance_of_the_larger_one():
    with pytest.raises(LawBroken, match="equivariance"):
        check_layer(EquivariantLinear(ClusterGroup(UNTIED), 1, 1), SymmetricGroup(UNTIED.num_nodes))


def test_a_block_with_a_node_embedding_is_caught():
    class Embedding(nn.Module):
        def __init__(self, nodes: int) -> None:
            super().__init__()
            self.embedding = nn.Parameter(torch.zeros(nodes, 3))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.embedding

    group = ClusterGroup(UNTIED)
    liar = GNet.from_layers([Block(EquivariantLinear(group, 2, 3), propagate=Embedding(group.degree), act="relu")])
    x = torch.randn(2, group.degree, 2, dtype=torch.float64)
    with pytest.raises(LawBroken, match="equivariance"):
        check_layer(liar, group, x)
