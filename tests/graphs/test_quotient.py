import pytest
import torch
from torch_geometric.data import Data

from gnet.errors import ConfigError, GraphError, PartitionError
from gnet.graphs import Partition, blow_up, coarse_weights, coarsened_graph, grid_patches
from tests.graphs.graph_cases import dense, graph, grid, path, random_graph

PATH_PARTITION = Partition([0, 0, 0, 1, 1, 2])


def random_partition(num_nodes: int, rng: torch.Generator) -> Partition:
    return Partition(torch.randint(4, (num_nodes,), generator=rng))


def test_four_patches_of_a_grid():
    expected = [[0.5, 0.125, 0.125, 0], [0.125, 0.5, 0, 0.125], [0.125, 0, 0.5, 0.125], [0, 0.125, 0.125, 0.5]]
    assert coarse_weights(grid(4, 4), grid_patches((4, 4), (2, 2))).tolist() == expected


def test_a_path_in_clusters_of_three_two_and_one():
    expected = torch.tensor([[4 / 9, 1 / 6, 0], [1 / 6, 0.5, 0.5], [0, 0.5, 0]], dtype=torch.float64)
    torch.testing.assert_close(coarse_weights(path(6), PATH_PARTITION), expected, rtol=1e-14, atol=0)


def test_diagonal_without_the_pairs_of_a_node_with_itself():
    data = graph(4, [(0, 1), (1, 0), (1, 2), (0, 0), (3, 3)], [1.0, 3.0, 5.0, 8.0, 6.0], both_ways=False)
    weights = coarse_weights(data, Partition([0, 0, 0, 1]), diag="offdiag_mean")
    assert weights.tolist() == [[9 / 6, 0], [0, 6]]  # the loop of node 0 does not count, that of the singleton does
    assert coarse_weights(data, Partition([0, 0, 0, 1])).tolist() == [[17 / 9, 0], [0, 6]]


def test_coarsened_graph_holds_the_dense_weights_and_sizes(rng):
    data = random_graph(11, 40, rng)
    partition = random_partition(11, rng)
    coarse = coarsened_graph(data, partition)
    assert coarse.num_nodes == partition.num_clusters
    assert coarse.sizes.tolist() == partition.sizes.tolist()
    assert (coarse.edge_weight != 0).all()
    torch.testing.assert_close(dense(coarse).float(), coarse_weights(data, partition).float())


def test_a_directed_edge_keeps_its_direction():
    coarse = coarsened_graph(graph(3, [(0, 2)], both_ways=False), Partition([0, 0, 1]))
    assert coarse.edge_index.tolist() == [[0], [1]]
    assert coarse.edge_weight.tolist() == [0.5]


def test_weights_and_positions_keep_their_dtype():
    data = graph(3, [(0, 1), (1, 2)], [1.0, 2.0])
    data.pos = torch.tensor([[0.0, 0.0], [2.0, 4.0], [5.0, 5.0]])
    coarse = coarsened_graph(data, Partition([0, 0, 1]))
    assert coarse.edge_weight.dtype == torch.float64
    assert coarse.pos.tolist() == [[1.0, 2.0], [5.0, 5.0]]
    assert coarsened_graph(path(3), Partition([0, 0, 1])).edge_weight.dtype == torch.float32


def test_blow_up_is_the_projection_on_both_sides(rng):
    data = random_graph(13, 60, rng)
    data.edge_weight = data.edge_weight.double()
    partition = random_partition(13, rng)
    same = partition.labels[:, None] == partition.labels
    projector = same / partition.sizes[partition.labels].double()
    blown = dense(blow_up(coarsened_graph(data, partition), partition))
    torch.testing.assert_close(blown, projector @ dense(data) @ projector, rtol=1e-12, atol=1e-14)


def test_an_unprojected_graph_fails_the_check_of_the_blow_up():
    partition = Partition([0, 0, 1])
    same = partition.labels[:, None] == partition.labels
    projector = same / partition.sizes[partition.labels].double()
    liar = dense(path(3))
    assert not torch.allclose(liar, projector @ liar @ projector)


@pytest.mark.parametrize("diag", ["mean", "offdiag_mean"])
def test_blow_up_is_constant_on_blocks_for_both_diagonals(diag):
    data = path(6)
    blown = dense(blow_up(coarsened_graph(data, PATH_PARTITION, diag), PATH_PARTITION))
    labels = PATH_PARTITION.labels
    torch.testing.assert_close(blown, coarse_weights(data, PATH_PARTITION, diag)[labels[:, None], labels], rtol=1e-6, atol=0)


def test_coarsening_a_blow_up_gives_the_coarse_graph_back(rng):
    data = random_graph(9, 30, rng)
    partition = random_partition(9, rng)
    coarse = coarsened_graph(data, partition)
    again = coarsened_graph(blow_up(coarse, partition), partition)
    assert torch.equal(again.edge_index, coarse.edge_index)
    torch.testing.assert_close(again.edge_weight, coarse.edge_weight)


def test_finest_partition_gives_the_graph_and_coarsest_its_density():
    data = path(4)
    torch.testing.assert_close(coarse_weights(data, Partition.singletons(4)), dense(data))
    assert coarse_weights(data, Partition.whole(4)).tolist() == [[6 / 16]]


def test_a_graph_without_edges_has_an_empty_quotient():
    data = Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=3)
    partition = Partition([0, 0, 1])
    coarse = coarsened_graph(data, partition)
    assert (coarse.num_edges, blow_up(coarse, partition).num_edges) == (0, 0)


def test_large_graphs_need_no_dense_matrix():
    data = path(200_000)
    partition = Partition(torch.arange(200_000) * 5 // 200_000)
    assert coarsened_graph(data, partition).num_edges == 5 + 8


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: coarsened_graph(path(6), Partition.whole(5)),
            PartitionError,
            r"partition of the graph's 6 nodes, got one of 5; make it from this graph with coarsen",
        ),
        (lambda: coarse_weights(path(6), PATH_PARTITION, "median"), ConfigError, r"diag='mean' or 'offdiag_mean', got 'median'"),
        (lambda: coarsened_graph(Data(num_nodes=6), PATH_PARTITION), GraphError, r"expected a graph with edge_index"),
        (
            lambda: blow_up(path(4), PATH_PARTITION),
            PartitionError,
            r"one node per cluster, 3, got 4 nodes; make it with coarsened_graph",
        ),
        (
            lambda: blow_up(coarsened_graph(path(6), PATH_PARTITION), Partition([0, 0, 1, 1, 2, 2])),
            PartitionError,
            r"the graph was coarsened with, cluster sizes \[3, 2, 1\], got \[2, 2, 2\]",
        ),
    ],
)
def test_graphs_and_partitions_that_do_not_fit_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_labels_are_no_partition():
    with pytest.raises(PartitionError, match=r"expected a Partition, got list; write Partition\(labels\)"):
        coarsened_graph(Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3), [0, 0, 1])
