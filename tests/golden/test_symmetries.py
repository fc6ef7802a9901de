"""Check A of the theory (section A): coarsened graphs, their automorphisms, orders of groups.

Source of every number: the block "Check A", computed there by hand or with exact arithmetic; automorphisms are found here by
networkx's VF2, which gnet does not use.
"""

import math

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnet.graphs import Partition, blow_up, coarse_weights, coarsened_graph
from gnet.groups import ClusterGroup, PermutationGroup
from tests.golden.fixtures import (
    SIZES_321,
    automorphisms,
    grid_adjacency,
    image,
    patches,
    path_adjacency,
    skeleton_adjacency,
    skeleton_group,
)


def data_of(adjacency: Tensor) -> Data:
    edge_index = torch.nonzero(adjacency).T
    return Data(edge_index=edge_index, edge_weight=adjacency[edge_index[0], edge_index[1]], num_nodes=len(adjacency))


def block_means(adjacency: Tensor, partition: Partition) -> Tensor:
    """A'_lm, the mean over all ordered pairs of C_l x C_m, the zero diagonal included; and once more by plain means."""
    coarse = coarse_weights(data_of(adjacency), partition)
    members = [partition.members(cluster) for cluster in range(partition.num_clusters)]
    slow = torch.stack([torch.stack([adjacency[rows][:, columns].mean() for columns in members]) for rows in members])
    torch.testing.assert_close(coarse, slow)
    return coarse


def test_coarsened_grid():
    coarse = block_means(grid_adjacency(4), patches(4, 2))
    expected = [[0.5, 0.125, 0.125, 0], [0.125, 0.5, 0, 0.125], [0.125, 0, 0.5, 0.125], [0, 0.125, 0.125, 0.5]]
    torch.testing.assert_close(coarse, torch.tensor(expected, dtype=torch.float64))


def test_coarse_automorphisms_of_the_grid_are_eight_and_all_lift():
    partition = patches(4, 2)
    coarse = automorphisms(block_means(grid_adjacency(4), partition), partition.sizes)
    assert len(coarse) == 8
    group = ClusterGroup(partition, swaps=PermutationGroup(coarse))
    assert group.order() == math.factorial(4) ** 4 * 8 == 2_654_208
    assert group.order_text() == "24^4 * 8"
    assert all(group.contains(group.lift(torch.tensor(sigma))) for sigma in coarse)


def test_geometric_flip_of_the_grid_lies_in_the_group_of_the_canonical_lift():
    """The geometric node map and the canonical lift differ by an element of G_P."""
    partition = patches(4, 2)
    untied = ClusterGroup(partition)
    flip = image(4).flip(1).flatten()
    sigma = torch.tensor([1, 0, 3, 2])
    group = ClusterGroup(partition, swaps=PermutationGroup([sigma]))
    assert group.contains(flip)
    assert not untied.contains(flip)
    assert not torch.equal(group.lift(sigma), flip)
    assert untied.contains(group.compose(group.inverse(group.lift(sigma)), flip))


def test_coarsened_path_has_no_usable_swaps():
    coarse = block_means(path_adjacency(6), SIZES_321)
    torch.testing.assert_close(coarse, torch.tensor([[4 / 9, 1 / 6, 0], [1 / 6, 0.5, 0.5], [0, 0.5, 0]], dtype=torch.float64))
    assert automorphisms(coarse, SIZES_321.sizes) == [[0, 1, 2]]


def test_skeleton_has_fifteen_edges_and_four_automorphisms():
    adjacency = skeleton_adjacency()
    assert int(adjacency.sum()) == 2 * 15
    found = automorphisms(adjacency)
    group = skeleton_group()
    assert len(found) == group.order() == 4
    assert all(group.contains(torch.tensor(perm)) for perm in found)
    assert group == PermutationGroup(found)


def test_group_of_the_blow_up_fixes_it():
    """A_hat = P A P is fixed by G_P and by the lifts of the coarse automorphisms."""
    adjacency, partition = grid_adjacency(4), patches(4, 2)
    coarse = block_means(adjacency, partition)
    group = ClusterGroup(partition, swaps=PermutationGroup(automorphisms(coarse, partition.sizes)))
    full = blow_up(coarsened_graph(data_of(adjacency), partition), partition)
    blown_up = torch.zeros(16, 16, dtype=torch.float64)
    blown_up[full.edge_index[0], full.edge_index[1]] = full.edge_weight
    assert torch.equal(blown_up, coarse[partition.labels][:, partition.labels])
    for g in group.generators:
        assert torch.equal(blown_up[g][:, g], blown_up)
    assert any(not torch.equal(adjacency[g][:, g], adjacency) for g in group.generators)
