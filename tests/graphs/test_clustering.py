import numpy as np
import pytest
import torch

from gnet.graphs import coarsen
from gnet.graphs.clustering import METHODS, Piece, cut, dendrogram, leiden
from gnet.graphs.edges import checked_edges, similarity
from tests.graphs.graph_cases import disconnected_clusters, graph, grid, path


def piece(data, seed=0):
    return Piece(similarity(checked_edges(data)), getattr(data, "pos", None), seed)


def test_a_dendrogram_joins_every_node_along_edges():
    data = grid(4, 3)
    merges = dendrogram(piece(data))
    assert merges.shape == (11, 2)
    assert sorted(merges.flatten().tolist()) == list(range(22))


def test_cuts_undo_the_last_merges_first():
    merges = np.array([[0, 2], [1, 3], [4, 5]])
    labels = [cut(merges, 4, k) for k in (1, 2, 3, 4)]
    assert [len(np.unique(cut_labels)) for cut_labels in labels] == [1, 2, 3, 4]
    assert labels[1][0] == labels[1][2] and labels[1][1] == labels[1][3]
    assert labels[2][0] == labels[2][2] and labels[2][1] != labels[2][3]


@pytest.mark.parametrize("num_nodes", [1, 2])
def test_dendrograms_of_one_and_two_nodes(num_nodes):
    assert dendrogram(piece(path(num_nodes))).shape == (num_nodes - 1, 2)


def test_leiden_ends_where_rounding_flips_ties():
    pytest.importorskip("igraph", reason="method='leiden' needs the extra igraph")
    light = graph(5, [(i, i + 1) for i in range(4)], [0.0002052501142024994 / 2] * 4)
    assert len(leiden(piece(light), 2)) == 5


@pytest.mark.parametrize("method", METHODS)
def test_the_unit_of_the_weights_does_not_matter_and_their_spread_does_no_harm(method):
    pytest.importorskip({"metis": "pymetis", "leiden": "igraph"}.get(method, "sklearn"), reason="an optional extra")
    data = grid(5, 4)
    spread = torch.rand(data.num_edges, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 30
    data.edge_weight = spread
    partition = coarsen(data, 6, method)
    assert partition.num_clusters == 6 and disconnected_clusters(data, partition) == []
    data.edge_weight = spread * 2.0**40
    assert coarsen(data, 6, method) == partition
