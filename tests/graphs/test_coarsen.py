import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from gnet.errors import ConfigError, GraphError, MissingExtraError, PartitionError
from gnet.graphs import Partition, chain, check_chain, coarsen, coarsened_graph, grid_patches
from tests.graphs.graph_cases import disconnected_clusters, graph, grid, num_components, path, random_graph

EXTRAS = {"metis": "pymetis", "leiden": "igraph"}
METHODS = ["spectral", "agglomerative", "louvain", "kmeans", "metis", "leiden"]


@pytest.fixture(params=METHODS)
def method(request):
    if request.param in EXTRAS:
        pytest.importorskip(EXTRAS[request.param], reason=f"method={request.param!r} needs the extra {EXTRAS[request.param]}")
    return request.param


@pytest.fixture(scope="module")
def metr_la(data_root):
    stored = np.load(data_root / "metr-la" / "adj_mx.npz", allow_pickle=False)["adj"]
    adjacency = torch.from_numpy(stored)
    edge_index = adjacency.nonzero().t()
    places = np.loadtxt(data_root / "metr-la" / "graph_sensor_locations.csv", delimiter=",", skiprows=1)[:, 2:4]
    weight = adjacency[edge_index[0], edge_index[1]]
    return Data(edge_index=edge_index, edge_weight=weight, pos=torch.from_numpy(places), num_nodes=len(adjacency))


def test_random_graphs_give_exactly_k_connected_clusters(method, rng):
    for num_nodes, num_edges in ((2, 1), (3, 5), (11, 13), (35, 60)):
        data = random_graph(num_nodes, num_edges, rng)
        for k in sorted({1, 2, num_nodes // 3 or 1, num_nodes - 1 or 1, num_nodes}):
            partition = coarsen(data, k, method)
            assert (partition.num_nodes, partition.num_clusters) == (num_nodes, k)
            if num_components(data) <= k:
                assert disconnected_clusters(data, partition) == []


def test_the_check_of_connectedness_finds_a_disconnected_partition():
    liar = Partition([0, 1, 0, 1, 2])
    assert disconnected_clusters(path(5), liar) == [0, 1]
    assert disconnected_clusters(path(5), Partition([0, 0, 1, 1, 2])) == []


def test_equal_seeds_give_equal_partitions(method, rng):
    data = random_graph(50, 120, rng)
    assert torch.equal(coarsen(data, 7, method, seed=3).labels, coarsen(data, 7, method, seed=3).labels)


def test_clusters_do_not_depend_on_the_order_or_direction_of_the_edges(rng):
    data = grid(5, 4)
    order = torch.randperm(data.edge_index.shape[1], generator=rng)
    shuffled = Data(edge_index=data.edge_index[:, order].flip(0), num_nodes=20)
    assert coarsen(data, 5, "agglomerative") == coarsen(shuffled, 5, "agglomerative")


def test_two_cliques_with_one_bridge_are_found(method):
    cliques = [(i, j) for start in (0, 4) for i in range(start, start + 4) for j in range(i) if j >= start]
    data = graph(8, [*cliques, (3, 4)])
    data.pos = torch.tensor([[float(i // 4) * 9, float(i % 4)] for i in range(8)])
    assert coarsen(data, 2, method) == Partition([0] * 4 + [1] * 4)


def test_strong_edges_stay_inside_clusters(method):
    weights = [9.0, 9.0, 0.1, 9.0, 9.0, 0.1, 9.0]
    data = graph(8, [(i, i + 1) for i in range(7)], weights)
    data.pos = torch.tensor([0.0, 1, 2, 9, 10, 11, 20, 21])[:, None]
    assert coarsen(data, 3, method) == Partition([0, 0, 0, 1, 1, 1, 2, 2])


def test_directed_duplicate_and_zero_edges_and_loops_cluster_like_the_plain_graph(method):
    plain = graph(6, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)], [2.0, 2.0, 0.5, 2.0, 2.0])
    edges = [(0, 1), (0, 1), (2, 1), (2, 3), (4, 3), (4, 5), (5, 5), (0, 5)]
    messy = graph(6, edges, [1.0, 1.0, 2.0, 0.5, 2.0, 2.0, 7.0, 0.0], both_ways=False)
    plain.pos = messy.pos = torch.tensor([0.0, 1, 2, 7, 8, 9])[:, None]
    assert coarsen(messy, 2, method) == coarsen(plain, 2, method) == Partition([0, 0, 0, 1, 1, 1])


def test_every_component_and_isolated_node_gets_a_cluster(method):
    data = graph(9, [(0, 1), (1, 2), (2, 3), (3, 4), (6, 7)])
    data.pos = torch.arange(9.0)[:, None]
    assert coarsen(data, 4, method) == Partition([0, 0, 0, 0, 0, 1, 2, 2, 3])
    assert disconnected_clusters(data, coarsen(data, 6, method)) == []


def test_more_components_than_clusters_pools_the_small_ones_and_divides_the_large(method):
    data = graph(26, [(i, i + 1) for i in range(20)])  # a path of 21 and five nodes without edges
    data.pos = torch.arange(26.0)[:, None]
    partition = coarsen(data, 4, method)
    assert partition.members(3).tolist() == [21, 22, 23, 24, 25]
    assert disconnected_clusters(data, partition) == [3]


def test_a_graph_without_edges_is_divided_evenly(method):
    data = Data(edge_index=torch.empty(2, 0, dtype=torch.long), pos=torch.arange(6.0)[:, None], num_nodes=6)
    assert coarsen(data, 1, method) == Partition.whole(6)
    assert sorted(coarsen(data, 3, method).sizes.tolist()) == [2, 2, 2]
    assert coarsen(data, 6, method) == Partition.singletons(6)


def test_nodes_at_one_place_still_give_the_number_of_clusters():
    data = path(5)
    data.pos = torch.zeros(5, 2)
    partition = coarsen(data, 3, "kmeans")
    assert partition.num_clusters == 3 and disconnected_clusters(data, partition) == []


def test_a_star_has_its_hub_in_one_cluster(method):
    data = graph(7, [(0, leaf) for leaf in range(1, 7)])
    data.pos = torch.randn(7, 2, generator=torch.Generator().manual_seed(0))
    assert sorted(coarsen(data, 4, method).sizes.tolist()) == [1, 1, 1, 4]


def test_road_sensors_cluster_into_connected_regions(metr_la, method):
    assert num_components(metr_la) == 2  # one sensor has no neighbour
    for k in (2, 9):
        partition = coarsen(metr_la, k, method)
        assert partition.num_clusters == k and disconnected_clusters(metr_la, partition) == []
        labels = partition.labels
        inside = labels[metr_la.edge_index[0]] == labels[metr_la.edge_index[1]]
        shuffled = labels[torch.randperm(207, generator=torch.Generator().manual_seed(0))]
        by_chance = shuffled[metr_la.edge_index[0]] == shuffled[metr_la.edge_index[1]]
        assert inside.double().mean() > by_chance.double().mean()


def test_road_sensors_have_a_nested_chain(metr_la):
    levels = chain(metr_la, num_clusters=[1, 4, 16, 64, 207])
    assert [level.num_clusters for level in levels] == [1, 4, 16, 64, 207]
    assert all(fine.refines(coarse) for coarse, fine in pairwise(levels))
    assert all(disconnected_clusters(metr_la, level) == [] for level in levels[1:])


def test_chains_refine_on_random_graphs(method, rng):
    data = random_graph(40, 70, rng)
    counts = [1, 2, 9, 20, 40]
    levels = chain(data, counts, method)
    assert [level.num_clusters for level in levels] == counts
    assert all(fine.refines(coarse) for coarse, fine in pairwise(levels))
    if num_components(data) <= 2:
        assert all(disconnected_clusters(data, level) == [] for level in levels[1:])


def test_chains_of_a_connected_graph_have_connected_clusters(method):
    data = grid(6, 5)
    levels = chain(data, [1, 3, 8, 29, 30], method)
    assert all(disconnected_clusters(data, level) == [] for level in levels)


def test_a_chain_of_a_dendrogram_holds_the_single_cuts():
    data = grid(6, 5)
    levels = chain(data, [2, 7, 13])
    assert levels == [coarsen(data, k, "agglomerative") for k in (2, 7, 13)]


def test_a_chain_that_does_not_nest_is_refused():
    with pytest.raises(PartitionError, match=r"partition 1 to refine partition 0; its cluster 1 = \[1, 2\] lies in several"):
        check_chain([Partition([0, 0, 1, 1]), Partition([0, 1, 1, 2])])


@pytest.mark.parametrize("counts", [[4, 1], [2, 2], []])
def test_a_chain_goes_from_coarse_to_fine(counts):
    with pytest.raises(ConfigError, match=r"expected increasing num_clusters, coarse to fine, got .*; try \["):
        chain(path(6), counts)


@pytest.mark.parametrize(
    ("shape", "patches", "labels"),
    [
        ((4, 4), (2, 2), [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3]),
        ((2, 3), (1, 3), [0, 1, 2, 0, 1, 2]),
        ((3, 2), (2, 1), [0, 0, 0, 0, 1, 1]),
        ((2, 2), (1, 1), [0, 0, 0, 0]),
        ((2, 2), (2, 2), [0, 1, 2, 3]),
    ],
)
def test_patches_are_numbered_row_by_row(shape, patches, labels):
    assert grid_patches(shape, patches).labels.tolist() == labels


def test_uneven_patches_differ_by_one_pixel_a_side():
    labels = grid_patches((28, 11), (5, 3)).labels.view(28, 11)
    assert sorted(torch.bincount(labels[:, 0] // 3).tolist()) == [5, 5, 6, 6, 6]
    assert sorted(torch.bincount(labels[0]).tolist()) == [3, 4, 4]


@pytest.mark.parametrize(
    ("shape", "patches", "message"),
    [
        ((4, 6), (5, 2), r"expected 1..4 rows of patches for a grid of 4 x 6, got 5; equal patches: \[1, 2, 4\]"),
        ((4, 6), (2, 7), r"expected 1..6 cols of patches for a grid of 4 x 6, got 7; equal patches: \[1, 2, 3, 6\]"),
        ((4, 6), (0, 2), r"expected patches as two positive integers, got \(0, 2\)"),
        ((4,), (2, 2), r"expected grid_shape as two positive integers, got \(4,\); for instance \(28, 28\)"),
        ((4, 6), 2, r"expected patches as two positive integers, got 2"),
    ],
)
def test_impossible_patches_are_refused(shape, patches, message):
    with pytest.raises(PartitionError, match=message):
        grid_patches(shape, patches)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: coarsen(path(6), 7), PartitionError, r"num_clusters in 1..6 \(the number of nodes\), got 7; nearest: 6"),
        (lambda: coarsen(path(6), 0), PartitionError, r"num_clusters in 1..6 .*, got 0; nearest: 1"),
        (lambda: coarsen(path(6), 2.5), PartitionError, r"expected num_clusters as an integer, got 2.5"),
        (lambda: chain(path(6), [1, 7]), PartitionError, r"got 7; nearest: 6"),
        (lambda: coarsen(path(6), 2, "spectrl"), ConfigError, r"unknown method 'spectrl'; did you mean 'spectral'\? Known: spec"),
        (lambda: coarsen(path(6), 2, "xyz"), ConfigError, r"unknown method 'xyz'; known: spectral, agglomerative, louvain"),
        (lambda: chain(path(6), [2], "luvain"), ConfigError, r"did you mean 'louvain'\?"),
        (lambda: coarsen(path(6), 2, seed=-1), ConfigError, r"expected a seed that is an integer >= 0, got -1"),
        (lambda: coarsen(path(6), 2, "kmeans"), GraphError, r"'kmeans' needs node positions.*set data.pos \(N, dim\)"),
    ],
)
def test_impossible_requests_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_unusable_positions_are_refused():
    data = path(3)
    data.pos = torch.tensor([[0.0], [float("nan")], [1.0]])
    with pytest.raises(GraphError, match=r"expected finite data.pos, got NaN or infinity at nodes \[1\]"):
        coarsen(data, 2, "kmeans")
    data.pos = torch.zeros(4, 2)
    with pytest.raises(GraphError, match=r"data.pos of shape \(3, dim\), got \(4, 2\)"):
        coarsen(data, 2, "kmeans")
    with pytest.raises(GraphError, match=r"data.pos of shape \(3, dim\), got \(4, 2\); give one row per node"):
        coarsened_graph(data, Partition.whole(3))


@pytest.mark.parametrize(
    ("name", "package", "message"),
    [
        ("metis", "pymetis", r"pip install --editable '.\[metis\]'; method='spectral'"),
        (
            "leiden",
            "igraph",
            r"igraph, which is licensed under the GPL .*: pip install --editable '.\[igraph\]'; method='louvain'",
        ),
    ],
)
def test_a_missing_extra_names_its_install_command(monkeypatch, name, package, message):
    monkeypatch.setitem(sys.modules, package, None)  # hides the package: importing it now fails
    with pytest.raises(MissingExtraError, match=message):
        coarsen(path(6), 2, name)


def test_a_chain_of_one_number_is_pointed_to_coarsen():
    with pytest.raises(ConfigError, match="expected several num_clusters, coarse to fine, got 2; for one partition use coarsen"):
        chain(Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3), 2)
