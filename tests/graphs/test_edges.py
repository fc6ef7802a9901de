import pytest
import torch
from torch_geometric.data import Data

from gnet.errors import ConfigError, GraphError
from gnet.graphs import Partition, coarsen, coarsened_graph
from gnet.graphs.edges import checked_edges, similarity, within_hops
from tests.graphs.graph_cases import graph, path


def test_similarity_is_symmetric_without_loops_zeros_or_duplicates():
    data = graph(4, [(0, 1), (0, 1), (2, 1), (3, 3), (0, 3)], [1.0, 2.0, 5.0, 7.0, 0.0], both_ways=False)
    matrix = similarity(checked_edges(data))
    assert matrix.toarray().tolist() == [[0, 3, 0, 0], [3, 0, 5, 0], [0, 5, 0, 0], [0, 0, 0, 0]]
    assert matrix.nnz == 4


def test_edges_without_weight_count_one():
    assert checked_edges(path(3)).weight.tolist() == [1.0] * 4


INDEX = torch.tensor([[0, 1, 2], [1, 2, 0]])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Data(num_nodes=3), r"expected a graph with edge_index \(2, E\), got Data without; set data.edge_index"),
        (Data(edge_index=INDEX.t(), num_nodes=3), r"shape \(2, E\), got \(3, 2\); transpose it: edge_index.t\(\)"),
        (Data(edge_index=INDEX[0], num_nodes=3), r"shape \(2, E\), got \(3,\); row 0 holds the sources"),
        (Data(edge_index=INDEX.double(), num_nodes=3), r"integer edge_index, got torch.float64; convert with edge_index.long"),
        (Data(edge_index=INDEX, num_nodes=2), r"edge_index names nodes \[2\], expected 0..1 for num_nodes=2; renumber"),
        (Data(edge_index=INDEX - 1, num_nodes=3), r"edge_index names nodes \[-1\], expected 0..2"),
        (Data(edge_index=INDEX[:, :0], num_nodes=0), r"at least one node, got num_nodes=0; set data.num_nodes"),
        (Data(edge_index=INDEX, edge_weight=torch.ones(2), num_nodes=3), r"shape \(3,\), got \(2,\); give one number per edge"),
        (Data(edge_index=INDEX, edge_weight=torch.ones(3, 1), num_nodes=3), r"got \(3, 1\); flatten it with edge_weight.flatten"),
        (
            Data(edge_index=INDEX, edge_weight=torch.tensor([1.0, torch.nan, 1.0]), num_nodes=3),
            r"finite edge weights, got nan at edge 1 \(1 in all\); drop these edges",
        ),
        (
            Data(edge_index=INDEX, edge_weight=torch.tensor([torch.inf, 1.0, 1.0]), num_nodes=3),
            r"finite edge weights, got inf at edge 0",
        ),
        (
            Data(edge_index=INDEX, edge_weight=torch.tensor([1.0, 1.0, -2.0]), num_nodes=3),
            r"edge weights >= 0, got -2.0 at edge 2 \(1 in all\); take edge_weight",
        ),
    ],
)
def test_impossible_graphs_are_refused(data, message):
    with pytest.raises(GraphError, match=message):
        coarsen(data, 2)


def test_means_of_blocks_may_be_negative_but_not_nan():
    data = Data(edge_index=INDEX, edge_weight=torch.tensor([1.0, 1.0, -2.0]), num_nodes=3)
    assert coarsened_graph(data, Partition.whole(3)).num_edges == 0
    data.edge_weight[0] = torch.nan
    with pytest.raises(GraphError, match="finite edge weights, got nan"):
        coarsened_graph(data, Partition.whole(3))


def test_negative_weights_say_what_to_do_whoever_reads_them():
    graph = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), edge_weight=torch.tensor([1.0, -5.0]), num_nodes=3)
    with pytest.raises(
        GraphError, match=r"got -5\.0 at edge 1 \(1 in all\); take edge_weight\.abs\(\), or leave these edges out"
    ):
        checked_edges(graph)


def test_weights_under_another_name_are_pointed_out():
    graph = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), edge_attr=torch.tensor([1.0, 5.0]), num_nodes=3)
    with pytest.warns(UserWarning, match="the graph has edge_attr but no edge_weight, so every edge counts 1"):
        assert checked_edges(graph).weight.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_pairs_within_hops_are_those_of_powers_of_the_adjacency(hops, rng):
    """Directed, with loops and duplicates; a node is at distance 0 from itself and no pair."""
    index = torch.randint(0, 9, (2, 14), generator=rng)
    dense = torch.zeros(9, 9, dtype=torch.float64)
    dense[index[0], index[1]] = 1
    reached = sum(torch.linalg.matrix_power(dense, power) for power in range(1, hops + 1)) > 0
    expected = {(i, j) for i, j in reached.nonzero().tolist() if i != j}
    found = within_hops(Data(edge_index=index, num_nodes=9), hops)
    assert found.shape[1] == len(expected) and set(map(tuple, found.t().tolist())) == expected


def test_no_hops_are_refused():
    with pytest.raises(ConfigError, match="expected at least one hop, got 0"):
        within_hops(Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=2), 0)
