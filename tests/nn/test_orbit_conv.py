"""OrbitConv and restricted mixing: laws, counts, twins, and what a bad input gets."""

import networkx as nx
import pytest
import torch
import torch.nn.functional as F

from gnet.errors import ConfigError, GraphError, ShapeError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, PermutationGroup, SymmetricGroup, TrivialGroup, automorphism_group, grid_group
from gnet.nn import Block, EquivariantLinear, GNet, OrbitConv
from gnet.orbits import PairOrbits, close_edges
from gnet.testing import LawBroken, check_layer
from tests.groups.graphs import as_data, skeleton
from tests.largest import no_tensor_over

PATH = as_data(nx.path_graph(7)).edge_index
SKELETON = as_data(skeleton())
TORUS = as_data(nx.grid_2d_graph(5, 5, periodic=True))

CASES = {
    "skeleton": (automorphism_group(SKELETON), SKELETON.edge_index),
    "torus": (grid_group((5, 5), ["translations", "dihedral"]), TORUS.edge_index),
    "trivial": (TrivialGroup(7), PATH),
    "all pairs": (PermutationGroup([[1, 2, 3, 0]]), torch.cartesian_prod(torch.arange(4), torch.arange(4)).t()),
    "clusters": (
        ClusterGroup(Partition([0, 0, 1, 1, 2])),
        close_edges(ClusterGroup(Partition([0, 0, 1, 1, 2])), torch.tensor([[0, 2], [2, 3]])),
    ),
    "no edges": (SymmetricGroup(4), torch.empty(2, 0, dtype=torch.long)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("loops", [True, False])
def test_laws(case, loops):
    """Equivariance, completeness on the support, fast = explicit, gradients."""
    group, edges = CASES[case]
    check_layer(OrbitConv(group, 2, 3, edges, add_self_loops=loops), group)


def test_a_layer_with_a_weight_of_its_own_for_each_edge_is_a_liar():
    group, edges = CASES["skeleton"]
    with pytest.raises(LawBroken, match="equivariance"):
        check_layer(OrbitConv(TrivialGroup(16), 2, 3, edges), group)


def test_a_layer_that_misses_an_orbit_is_a_liar():
    class Missing(OrbitConv):
        def forward(self, x):
            mask = torch.ones_like(self.weight)
            mask[0] = 0
            return torch.func.functional_call(self.twin, {"weight": self.weight * mask, "bias": self.bias}, (x,))

        def dense(self):
            mask = torch.ones_like(self.weight)
            mask[0] = 0
            return self.orbits.matrix(self.weight * mask)

    group, edges = CASES["skeleton"]
    layer = Missing(group, 1, 1, edges)
    object.__setattr__(layer, "twin", OrbitConv(group, 1, 1, edges).double())
    with pytest.raises(LawBroken, match="completeness: the layer reaches 27 dimensions, the equivariant maps have 28"):
        check_layer(layer, group)


def test_the_skeleton_has_28_weights_on_46_edges():
    assert repr(OrbitConv(*CASES["skeleton"][:1], 2, 3, SKELETON.edge_index)).endswith(
        "| 28 weights per channel pair on 46 edges)"
    )


def test_translations_of_a_torus_are_a_convolution(rng):
    """The published definition of a CNN: the same numbers as ``torch.nn.functional.conv2d`` with wrapped borders."""
    side = 6
    cells = torch.arange(side * side).reshape(side, side)
    steps = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    edges = torch.cat([torch.stack([cells.roll((-a, -b), (0, 1)).flatten(), cells.flatten()]) for a, b in steps], 1)
    layer = OrbitConv(grid_group((side, side), "translations"), 2, 3, edges, bias=None).double()
    assert layer.orbits.count == 9
    x = torch.randn(4, side * side, 2, generator=rng, dtype=torch.float64)
    kernel = torch.stack([layer.weight[layer.orbits.labels_of(cells[1, 1], cells[1 + a, 1 + b])] for a, b in steps], -1)
    image = x.mT.reshape(4, 2, side, side)
    expected = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="circular"), kernel.reshape(3, 2, 3, 3))
    torch.testing.assert_close(layer(x), expected.flatten(2).mT)


def test_it_starts_with_variance_one(rng):
    group, edges = CASES["skeleton"]
    x = torch.randn(200, 16, 4, generator=rng)
    second = torch.stack([OrbitConv(group, 4, 8, edges, generator=rng)(x).square().mean((0, 2)) for _ in range(200)]).mean(0)
    torch.testing.assert_close(second, torch.ones(16), atol=0.15, rtol=0.0)


def test_batches_without_samples_and_low_precision(rng):
    group, edges = CASES["torus"]
    layer = OrbitConv(group, 2, 3, edges)
    assert layer(torch.zeros(0, 25, 2)).shape == (0, 25, 3)
    x = torch.randn(3, 25, 2, generator=rng)
    low = layer.bfloat16()(x.bfloat16())
    torch.testing.assert_close(low.float(), layer.float()(x), atol=0.1, rtol=0.05)


def test_it_works_inside_a_net_under_vmap_and_compile(rng):
    group, edges = CASES["torus"]
    net = GNet.from_layers([Block(OrbitConv(group, 1, 4, edges), act="relu"), Block(OrbitConv(group, 4, 2, edges))])
    x = torch.randn(5, 25, 1, generator=rng)
    torch.testing.assert_close(torch.vmap(net)(x), net(x))
    torch.testing.assert_close(torch.compile(net, backend="aot_eager", fullgraph=True)(x), net(x))


def test_edges_that_are_no_union_of_orbits_are_refused():
    with pytest.raises(
        GraphError, match=r"edge \(0, 1\) is there, its image \(1, 2\) is not; add the missing images with close_edges"
    ):
        OrbitConv(PermutationGroup([[1, 2, 0]]), 1, 1, torch.tensor([[0], [1]]))


def test_signals_of_another_shape_are_refused():
    group, edges = CASES["torus"]
    with pytest.raises(ShapeError, match=r"expected x of shape \(\*, 25, 2\), got \(3, 24, 2\)"):
        OrbitConv(group, 2, 3, edges)(torch.zeros(3, 24, 2))


def test_closing_adds_the_images_and_nothing_else():
    group = PermutationGroup([[1, 2, 3, 0]])
    closed = close_edges(group, torch.tensor([[0], [1]]))
    assert closed.tolist() == [[0, 1, 2, 3], [1, 2, 3, 0]]
    assert torch.equal(close_edges(group, closed), closed)
    assert PairOrbits.on(group, closed).count == 1
    clusters = ClusterGroup(Partition([0, 0, 1]), swaps=None)
    assert close_edges(clusters, torch.tensor([[0], [2]])).tolist() == [[0, 1], [2, 2]]


def test_a_million_edges(rng):
    side = 500
    grid = as_data(nx.grid_2d_graph(side, side))
    with no_tensor_over(10 * grid.edge_index.numel()):
        orbits = PairOrbits.on(grid_group((side, side), "dihedral"), grid.edge_index)
    assert orbits.edge_index.shape[1] == 4 * side * (side - 1)
    assert orbits.count == side * side // 2 - side // 2


MIXED = {
    "uneven": ClusterGroup(Partition([0, 0, 0, 1, 1, 2, 3])),
    "swapped": ClusterGroup(Partition([0, 0, 1, 1, 2, 2, 3]), swaps=PermutationGroup([[2, 1, 0, 3]])),
    "trivial": TrivialGroup(7),
    "symmetric": SymmetricGroup(7),
}
OPTIONS = {
    "none": {"mixing": "none"},
    "coarse edges": {"mixing": "coarse_edges", "edge_index": PATH},
    "bases": {"num_bases": 2},
    "coarse edges and bases": {"mixing": "coarse_edges", "edge_index": PATH, "num_bases": 2},
}


@pytest.mark.parametrize("group", MIXED)
@pytest.mark.parametrize("options", OPTIONS)
def test_laws_of_mixing(group, options):
    check_layer(EquivariantLinear(MIXED[group], 2, 3, **OPTIONS[options]), MIXED[group])


class Edited(EquivariantLinear):
    """Changes the output in a way of its own."""

    def __init__(self, edit: torch.Tensor) -> None:
        super().__init__(MIXED["uneven"], 2, 3, mixing="coarse_edges", edge_index=PATH)
        self.register_buffer("edit", edit)

    def forward(self, x):
        return super().forward(x) * self.edit

    def dense(self):
        return super().dense() * self.edit[..., None, None]


def test_a_layer_that_treats_one_node_of_a_cluster_otherwise_is_a_liar():
    edit = torch.ones(7, 1, dtype=torch.float64)
    check_layer(Edited(edit), MIXED["uneven"])
    with pytest.raises(LawBroken, match="equivariance"):
        check_layer(Edited(edit.index_fill(0, torch.tensor([1]), 2.0)), MIXED["uneven"])


def test_a_layer_that_leaves_out_a_cluster_is_a_liar():
    with pytest.raises(LawBroken, match="completeness: the layer reaches 54 dimensions, the equivariant maps have 72"):
        check_layer(Edited(torch.ones(7, 1, dtype=torch.float64).index_fill(0, torch.tensor([5]), 0.0)), MIXED["uneven"])


@pytest.mark.parametrize(
    ("group", "mixing", "count"),
    # own weights of larger clusters, and pairs of clusters that an edge joins, both ways, with each cluster itself
    [("uneven", "none", 4), ("uneven", "coarse_edges", 2 + 4 + 6), ("trivial", "none", 7), ("trivial", "coarse_edges", 7 + 12)],
)
def test_counts_of_mixing(group, mixing, count):
    layer = EquivariantLinear(MIXED[group], 1, 1, mixing=mixing, edge_index=PATH if mixing == "coarse_edges" else None)
    assert layer.num_weights == count


def test_bases_share_weights_and_so_are_not_complete():
    group = TrivialGroup(7)
    layer = EquivariantLinear(group, 3, 3, num_bases=2)
    assert layer.num_weights == 49 * 2 + 2 * 9
    with pytest.raises(LawBroken, match="completeness"):
        check_layer(layer, group, completeness=True)


def test_edges_between_all_clusters_are_the_full_layer(rng):
    group = MIXED["uneven"]
    every = torch.cartesian_prod(torch.arange(7), torch.arange(7)).t()
    layer = EquivariantLinear(group, 2, 3, mixing="coarse_edges", edge_index=every).double()
    full = EquivariantLinear(group, 2, 3).double()
    full.set_dense(layer.dense().detach(), layer.dense_bias().detach())
    x = torch.randn(4, 7, 2, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(full(x), layer(x))


@pytest.mark.parametrize("options", OPTIONS)
def test_no_signals_at_all(options):
    assert EquivariantLinear(MIXED["uneven"], 1, 2, **OPTIONS[options])(torch.zeros(0, 7, 1)).shape == (0, 7, 2)


def test_repr_counts_the_weights_there_are():
    assert repr(EquivariantLinear(MIXED["uneven"], 2, 3, mixing="none")).endswith("| 4 weights per channel pair, mixing none)")
    text = repr(EquivariantLinear(MIXED["uneven"], 2, 3, num_bases=2))
    assert text.endswith("| 2 own weights, 16 pairs of clusters from 2 bases per channel pair)")


def test_a_net_of_many_clusters(rng):
    """10^5 nodes and 10^3 clusters on a path: no tensor of N^2 entries, and none of k^2 C C' either, forward and backward."""
    num_nodes, k = 100_000, 1_000
    nodes = torch.arange(num_nodes)
    edges = torch.stack([nodes[:-1], nodes[1:]])
    with no_tensor_over(2 * k * k):
        net = GNet(ClusterGroup(Partition(nodes * k // num_nodes)), 1, 8, 1, mixing="coarse_edges", edge_index=edges)
        assert net.num_parameters < 100_000
        net(torch.randn(1, num_nodes, 1, generator=rng)).sum().backward()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mixing": "coarse_edges"}, ConfigError, "belong together: give both or neither"),
        ({"edge_index": PATH}, ConfigError, "belong together: give both or neither"),
        ({"mixing": "some"}, ConfigError, "expected mixing to be one of"),
        ({"num_bases": 0}, ConfigError, "expected num_bases to be a whole number >= 1, or None, got 0"),
        ({"num_bases": 1.5}, ConfigError, r"expected num_bases to be a whole number >= 1, or None, got 1\.5"),
        ({"mixing": "none", "parametrization": "reference"}, ConfigError, "in the canonical parametrisation"),
        ({"mixing": "none", "init": "reference"}, ConfigError, "init='reference' is made for mixing='full'"),
        ({"mixing": "coarse_edges", "edge_index": torch.tensor([[0], [9]])}, GraphError, r"expected edges among nodes 0\.\.6"),
    ],
)
def test_impossible_mixings_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        EquivariantLinear(SymmetricGroup(7), 1, 1, **options)
