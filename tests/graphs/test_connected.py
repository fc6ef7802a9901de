import numpy as np
import torch

from gnet.graphs import Partition
from gnet.graphs.connected import apportion, bisect, bridge, components, pieces, repair
from gnet.graphs.edges import checked_edges, similarity
from tests.graphs.graph_cases import disconnected_clusters, graph, grid, num_components, path, random_graph


def matrix(data):
    return similarity(checked_edges(data))


def test_pieces_cut_a_cluster_where_it_is_not_connected():
    assert pieces(matrix(path(5)), np.array([0, 1, 0, 0, 1])).tolist() == [0, 1, 2, 2, 3]


def test_repair_keeps_what_is_right():
    labels = np.array([0, 0, 0, 1, 1, 2])
    assert Partition(torch.from_numpy(repair(matrix(path(6)), labels, 3))) == Partition(labels.tolist())


def test_repair_gives_an_outlying_piece_to_its_neighbour():
    labels = repair(matrix(path(6)), np.array([0, 0, 1, 2, 2, 1]), 3)
    assert Partition(torch.from_numpy(labels)) == Partition([0, 0, 1, 2, 2, 2])


def test_repair_merges_the_smallest_cluster_into_the_one_it_shares_most_weight_with():
    data = graph(6, [(i, i + 1) for i in range(5)], [1.0, 1.0, 3.0, 1.0, 1.0])
    labels = repair(matrix(data), np.array([0, 0, 1, 2, 2, 2]), 2)
    assert Partition(torch.from_numpy(labels)) == Partition([0, 0, 1, 1, 1, 1])


def test_repair_splits_the_largest_cluster():
    labels = repair(matrix(path(6)), np.array([0, 0, 0, 0, 1, 1]), 3)
    assert Partition(torch.from_numpy(labels)) == Partition([0, 0, 1, 1, 2, 2])


def test_repair_reaches_the_number_from_any_labels(rng):
    data = random_graph(30, 200, rng)
    if num_components(data) > 1:
        data.edge_index = torch.cat([data.edge_index, path(30).edge_index], dim=1)
        data.edge_weight = torch.ones(data.edge_index.shape[1])
    for given in (1, 3, 30):
        labels = torch.randint(given, (30,), generator=rng).numpy()
        for k in (1, 2, 7, 29, 30):
            partition = Partition(torch.from_numpy(repair(matrix(data), labels, k)))
            assert partition.num_clusters == k
            assert disconnected_clusters(data, partition) == []


def test_bisect_halves_a_path_and_a_grid():
    assert bisect(matrix(path(8))).sum() == 4
    side = torch.from_numpy(bisect(matrix(grid(4, 6)))).long()
    assert disconnected_clusters(grid(4, 6), Partition(side)) == []


def test_shares_never_fall_as_the_total_grows(rng):
    sizes = torch.randint(1, 9, (5,), generator=rng).tolist()
    before = apportion(sizes, 5)
    assert before == [1] * 5
    for total in range(6, sum(sizes) + 1):
        now = apportion(sizes, total)
        assert sum(now) == total and all(a <= b for a, b in zip(before, now, strict=True))
        before = now
    assert before == sizes


def test_bridges_leave_enough_components_and_no_more(rng):
    for num_edges in (0, 5, 20):
        graph_matrix = matrix(random_graph(25, num_edges, rng))
        for k in range(1, 26):
            bridged = bridge(graph_matrix, k)
            assert len(components(bridged)) <= k
            if len(components(graph_matrix)) <= k:
                assert bridged is graph_matrix
