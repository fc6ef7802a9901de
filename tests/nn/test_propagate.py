"""Graphs inside nets: what stays exactly equivariant and what does not, check values, counts, true zeros, errors."""

import networkx as nx
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from gnet.errors import ConfigError, GraphError
from gnet.graphs import Partition, grid_patches
from gnet.groups import ClusterGroup, NodeGroup, PermutationGroup, SymmetricGroup, TrivialGroup, automorphism_group
from gnet.groups.kept import symmetries_within
from gnet.measures import project
from gnet.nn import EquivariantLinear, GNet, Propagate, RelaxedLinear
from gnet.nn.propagate import Support
from gnet.testing import LawBroken, check_layer
from tests.golden.fixtures import fixture_weight
from tests.groups.graphs import as_data, skeleton

SKELETON = as_data(skeleton())
GRID = as_data(nx.grid_2d_graph(4, 4))
PATCHES = ClusterGroup(grid_patches((4, 4), (2, 2)))
LIMBS = ClusterGroup(Partition([0, 1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5]))  # [6 legs, 6 arms, 1, 1, 1, 1]


def complement(weight: Tensor, group: NodeGroup) -> Tensor:
    return weight - project(weight, group)


def matrix_of(data: Data) -> Tensor:
    """The adjacency matrix, receiver first."""
    dense = torch.zeros(data.num_nodes, data.num_nodes, dtype=torch.float64)
    dense[data.edge_index[1], data.edge_index[0]] = 1.0
    return dense


class TestCheckValues:
    """Theory C."""

    def test_behind_a_map_the_distance_is_that_of_the_graph_times_the_map(self):
        adjacency, weight = matrix_of(GRID), project(fixture_weight(16), PATCHES)
        away = complement(adjacency @ weight, PATCHES)
        assert float(away.square().sum()) == pytest.approx(388.900462962963, rel=1e-12)
        torch.testing.assert_close(away, complement(adjacency, PATCHES) @ weight)
        assert float(away.square().sum() / (adjacency @ weight).square().sum()) == pytest.approx(0.05494, abs=5e-6)

    def test_within_a_map_the_distance_is_that_of_the_graph_entry_by_entry(self):
        mean, weight = Propagate(PATCHES, 1, GRID.edge_index).double().matrix(), project(fixture_weight(16), PATCHES)
        away = complement(mean * weight, PATCHES)
        assert float(away.square().sum()) == pytest.approx(4.94746180153678, rel=1e-12)
        torch.testing.assert_close(away, complement(mean, PATCHES) * weight)

    @pytest.mark.parametrize("by", ["receiver", "sender"])
    def test_distance_of_a_relaxed_layer_from_s_n(self, by):
        layer = RelaxedLinear(4, 1, 1, by=by).double()
        with torch.no_grad():
            layer.own.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1))
            layer.off.copy_(torch.tensor([1.0, 0.0, 1.0, 0.0]).reshape(4, 1, 1))
        assert float(complement(layer.dense().detach(), SymmetricGroup(4)).square().sum()) == pytest.approx(8.0, rel=1e-12)

    def test_the_support_of_the_skeleton(self):
        support = Support(automorphism_group(SKELETON), SKELETON.edge_index, trained=True, tied=True)
        assert len(support.senders) == 46
        assert len(support.logits) == 28

    @pytest.mark.parametrize(
        ("group", "distance"),
        [(SymmetricGroup(16), 26.25), (LIMBS, 17 + 1 / 15), (automorphism_group(SKELETON), 0.0)],
        ids=["S16", "limbs", "Aut"],
    )
    def test_distance_of_the_skeleton_from_its_groups(self, group, distance):
        assert float(complement(matrix_of(SKELETON), group).square().sum()) == pytest.approx(distance, abs=1e-12)

    @pytest.mark.parametrize(
        ("group", "layer", "published"),
        [
            (SymmetricGroup(16), "equivariant", 267_343),
            (SymmetricGroup(16), "relaxed", 4_218_703),
            (LIMBS, "equivariant", 5_008_975),
            (automorphism_group(SKELETON), "equivariant", 15_545_935),
            (TrivialGroup(16), "equivariant", 33_722_191),
        ],
        ids=["S16", "relaxed", "limbs", "Aut", "trivial"],
    )
    def test_trained_scalars_of_the_pose_nets(self, group, layer, published):
        net = GNet(
            group, 2, 128, 3, num_layers=10, layer=layer, propagate="edge_weights", edge_index=SKELETON.edge_index, norm="batch",
            residual=2, bias="shared",
        )  # fmt: skip
        assert net.num_parameters == published


GROUPS: dict[str, NodeGroup] = {
    "S16": SymmetricGroup(16),
    "limbs": LIMBS,
    "Aut": automorphism_group(SKELETON),
    "swapped": ClusterGroup(
        Partition([0, 1, 1, 1, 2, 2, 2, 3, 4, 5, 6, 6, 6, 7, 7, 7]), swaps=PermutationGroup([[0, 2, 1, 3, 4, 5, 6, 7]])
    ),
    "trivial": TrivialGroup(16),
}
COMMON = {"S16": 4, "limbs": 4, "Aut": 4, "swapped": 2, "trivial": 1}
VARIANTS = ["graph", "edge_weights", "pointwise", "self"]


def layers(group: NodeGroup, variant: str, tied: bool, channels: int = 1) -> GNet:
    return GNet(group, channels, 4, 2, num_layers=1, propagate=variant, edge_index=SKELETON.edge_index, tie_edges=tied).double()


def commutes(module: nn.Module, group: NodeGroup, rng: torch.Generator) -> bool:
    x = torch.randn(3, group.degree, 1, generator=rng, dtype=torch.float64)
    with torch.no_grad():
        gaps = [(module(group.act(g, x)) - group.act(g, module(x))).abs().max() for g in group.generators]
    return max(map(float, gaps), default=0.0) < 1e-10


def scrambled(net: nn.Module, rng: torch.Generator) -> nn.Module:
    """The net with random weights, those of the edges included."""
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=rng, dtype=p.dtype))
    return net


class TestExactness:
    """The table of theory C, both ways."""

    @pytest.mark.parametrize("name", GROUPS)
    def test_common_symmetries(self, name):
        common = symmetries_within(GROUPS[name], SKELETON)
        assert common.order() == COMMON[name]
        exact = automorphism_group(SKELETON)
        assert all(GROUPS[name].contains(g) and exact.contains(g) for g in common.generators)

    @pytest.mark.parametrize("name", GROUPS)
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_every_variant_starts_exact_on_the_common_symmetries(self, name, variant, rng):
        assert commutes(layers(GROUPS[name], variant, tied=False), symmetries_within(GROUPS[name], SKELETON), rng)

    @pytest.mark.parametrize("name", ["S16", "limbs"])
    @pytest.mark.parametrize("variant", ["graph", "edge_weights", "pointwise"])
    def test_none_is_exact_on_a_group_that_the_graph_does_not_have(self, name, variant, rng):
        assert not commutes(layers(GROUPS[name], variant, tied=False), GROUPS[name], rng)

    @pytest.mark.parametrize("name", ["S16", "limbs", "Aut", "swapped"])
    @pytest.mark.parametrize("variant", ["edge_weights", "pointwise", "self"])
    def test_free_edge_weights_lose_it_and_tied_ones_keep_it(self, name, variant, rng):
        common = symmetries_within(GROUPS[name], SKELETON)
        assert not commutes(scrambled(layers(GROUPS[name], variant, tied=False), rng), common, rng)
        assert commutes(scrambled(layers(GROUPS[name], variant, tied=True), rng), common, rng)

    @pytest.mark.parametrize("tied", [True, False])
    def test_after_training(self, tied, rng):
        net = layers(GROUPS["limbs"], "edge_weights", tied)
        common = symmetries_within(GROUPS["limbs"], SKELETON)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            x, y = (torch.randn(8, 16, c, generator=rng, dtype=torch.float64) for c in (1, 2))
            (net(x) - y).square().mean().backward()
            optimizer.step()
        assert commutes(net, common, rng) == tied

    def test_relaxed_layers_have_no_symmetry(self, rng):
        for by in ("receiver", "sender"):
            assert not commutes(RelaxedLinear(4, 1, 1, by=by).double(), SymmetricGroup(4), rng)

    @pytest.mark.parametrize("variant", ["edge_weights", "pointwise"])
    def test_laws_of_tied_nets(self, variant):
        group = symmetries_within(GROUPS["limbs"], SKELETON)
        net = GNet(
            GROUPS["limbs"], 2, 3, 2, propagate=variant, edge_index=SKELETON.edge_index, tie_edges=True, act="tanh", norm="layer"
        )
        x = torch.randn(2, 16, 2, dtype=torch.float64)
        check_layer(net, group, x, completeness=False)
        with pytest.raises(LawBroken, match="equivariance"):
            check_layer(net, GROUPS["limbs"], x, completeness=False)


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_its_explicit_map(name, variant, rng):
    net = scrambled(layers(GROUPS[name], variant, tied=False, channels=3), rng)
    block = net.blocks[0]
    if variant == "pointwise":
        dense, bias = block.linear.dense(), block.linear.dense_bias()
    else:
        dense = torch.einsum("nm,moic->noic", block.propagate.matrix(), block.linear.dense())
        bias = block.propagate.dense_bias()
    x = torch.randn(5, 16, 3, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(net(x), torch.einsum("nomi,bmi->bno", dense, x) + bias)


@pytest.mark.parametrize("name", GROUPS)
def test_the_weights_of_the_graph_are_stochastic_and_truly_zero_off_the_support(name, rng):
    layer = scrambled(Propagate(GROUPS[name], 1, SKELETON.edge_index, trained=True), rng)
    off = matrix_of(SKELETON) + torch.eye(16) == 0
    assert bool((layer.matrix()[off] == 0).all())
    torch.testing.assert_close(layer.matrix().sum(1), torch.ones(16))
    fixed = Propagate(GROUPS[name], 1, SKELETON.edge_index).matrix()
    start = Propagate(GROUPS[name], 1, SKELETON.edge_index, trained=True).matrix()
    torch.testing.assert_close(start, fixed)


def test_weighted_and_directed_graphs():
    """D^-1 (A + I) with receivers as rows; a loop of the graph keeps its weight, an edge of weight 0 is none."""
    edges = torch.tensor([[0, 1, 2, 2, 0], [1, 2, 2, 0, 1]])
    layer = Propagate(TrivialGroup(3), 1, edges, torch.tensor([1.0, 2.0, 3.0, 0.0, 4.0]))
    expected = torch.tensor([[1.0, 0.0, 0.0], [5 / 6, 1 / 6, 0.0], [0.0, 2 / 5, 3 / 5]])
    torch.testing.assert_close(layer.matrix(), expected)
    torch.testing.assert_close(
        Propagate(TrivialGroup(3), 1, edges, torch.tensor([1.0, 2.0, 3.0, 0.0, 4.0]), trained=True).matrix(), expected
    )


def test_large_graphs_go_along_edges(rng):
    """Beyond 32 pairs per edge nothing N x N is made; the numbers are those of the dense matrix."""
    ring = as_data(nx.cycle_graph(300))
    layer = Propagate(SymmetricGroup(300), 2, ring.edge_index).double()
    x = torch.randn(4, 300, 2, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(layer(x), layer.matrix() @ x + layer.dense_bias())


@pytest.mark.parametrize("by", ["receiver", "sender"])
def test_relaxed_layers_are_their_explicit_map(by, rng):
    layer = scrambled(RelaxedLinear(5, 2, 3, by=by).double(), rng)
    x = torch.randn(4, 5, 2, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(layer(x), torch.einsum("nomi,bmi->bno", layer.dense(), x) + layer.dense_bias())
    assert layer.num_weights == 2 * 5 * 2 * 3
    assert layer(x[0]).shape == (5, 3)


def test_relaxed_layers_hold_every_map_of_s_n(rng):
    full = EquivariantLinear(SymmetricGroup(5), 2, 3, generator=rng).double()
    layer = RelaxedLinear(5, 2, 3).double()
    dense = full.dense().detach()
    with torch.no_grad():
        layer.own.copy_(dense[0, :, 0].expand(5, -1, -1))
        layer.off.copy_(dense[0, :, 1].expand(5, -1, -1))
    torch.testing.assert_close(layer.dense(), dense)


def test_a_skip_spans_as_many_layers_as_asked_for(rng):
    net = GNet(SymmetricGroup(4), 2, 3, 1, num_layers=6, residual=2, generator=rng)
    first, one, two, last = net.blocks
    x = torch.randn(5, 4, 2, generator=rng)
    y = first(x)
    y = y + one.blocks[1](one.blocks[0](y))
    y = y + two.blocks[1](two.blocks[0](y))
    torch.testing.assert_close(net(x), last(y))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"propagate": "graph"}, ConfigError, r"propagate='graph' needs a graph; give edge_index=data\.edge_index"),
        ({"propagate": "grpah"}, ConfigError, "got 'grpah'; did you mean 'graph'"),
        ({"tie_edges": True}, ConfigError, "tie_edges ties trained edge weights, and propagate='none' trains none"),
        ({"layer": "relax"}, ConfigError, "got 'relax'; did you mean 'relaxed'"),
        ({"layer": "relaxed", "parametrization": "reference"}, ConfigError, "relaxed layers take no 'parametrization'"),
        ({"residual": 2, "num_layers": 5}, ConfigError, "expected residual to divide the 3 hidden layers of equal width, got 2"),
        (
            {"propagate": "graph", "edge_index": torch.tensor([[0], [4]])},
            GraphError,
            r"edge_index names nodes \[4\], expected 0\.\.3",
        ),
        (
            {"propagate": "graph", "edge_index": torch.tensor([[0], [1]]), "edge_weight": torch.tensor([-1.0])},
            GraphError,
            r"expected edge weights >= 0, got -1\.0",
        ),
        (
            {"propagate": "pointwise", "edge_index": torch.tensor([[0], [1]]), "layer": "relaxed"},
            ConfigError,
            "propagate='pointwise' weights the maps of a group",
        ),
    ],
)
def test_impossible_nets_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        GNet(SymmetricGroup(4), 1, 2, 1, **options)


def test_ties_of_a_group_that_shares_too_much_with_the_graph_are_refused():
    """Neither group is small and the swaps do not keep the graph: naming the way out beats a wrong tie."""
    stars = as_data(nx.disjoint_union_all([nx.star_graph(9), nx.star_graph(9), nx.star_graph(9)]))
    clusters = Partition([0] * 10 + [1] * 10 + [2] * 10)
    group = ClusterGroup(clusters, swaps=PermutationGroup([[1, 0, 2]]))
    with pytest.raises(ConfigError, match=r"too many elements to find those that keep it \(.*automorphisms\): take a cluster"):
        symmetries_within(group, stars)


def test_few_elements_are_tried_one_by_one():
    square = as_data(nx.cycle_graph(4))
    turns = PermutationGroup([[1, 2, 3, 0]])
    square.edge_weight = torch.tensor([1.0, 2.0] * 4)
    assert symmetries_within(turns, square).order() == symmetries_within(turns, square).elements().shape[0]
    path = as_data(nx.path_graph(4))
    assert symmetries_within(PermutationGroup([[1, 2, 3, 0], [3, 2, 1, 0]]), path).order() == 2
