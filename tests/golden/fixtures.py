"""The graphs, groups and weights that the check values of the theory are stated for."""

import networkx as nx
import torch
from networkx.algorithms.isomorphism import GraphMatcher, numerical_edge_match
from torch import Tensor

from gnet.graphs.partition import Partition
from gnet.groups import ClusterGroup, PermutationGroup

SIZES_321 = Partition([0, 0, 0, 1, 1, 2])
"""Clusters {0, 1, 2}, {3, 4}, {5}."""

SKELETON_PARENTS = [-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 8, 10, 11, 8, 13, 14]
LEG_PAIRS, ARM_PAIRS = [(1, 4), (2, 5), (3, 6)], [(10, 13), (11, 14), (12, 15)]


def fixture_weight(num_nodes: int) -> Tensor:
    """W_ij = ((i + 1) (j + 2)) mod 5, in float64."""
    i, j = torch.arange(num_nodes)[:, None], torch.arange(num_nodes)[None, :]
    return (((i + 1) * (j + 2)) % 5).double()


def clusters_of_sizes(*sizes: int) -> Partition:
    """Consecutive clusters."""
    return Partition(torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)), len(sizes))


def swapping(num_nodes: int, *pairs: tuple[int, int]) -> Tensor:
    """The product of transpositions."""
    perm = torch.arange(num_nodes)
    for a, b in pairs:
        perm[[a, b]] = torch.tensor([b, a])
    return perm


def image(side: int) -> Tensor:
    """The pixels of a square image, row by row."""
    return torch.arange(side * side).reshape(side, side)


def flips(side: int, kind: str) -> PermutationGroup:
    """Left-right flip, both flips, or all eight symmetries of the square (dihedral)."""
    pixels = image(side)
    generators = {
        "h": [pixels.flip(1)],
        "h+v": [pixels.flip(1), pixels.flip(0)],
        "dihedral": [pixels.flip(1), pixels.rot90()],
    }[kind]
    return PermutationGroup([g.flatten() for g in generators])


def patches(side: int, count: int) -> Partition:
    """count x count equal patches of a square image, row-major."""
    rows = torch.arange(side) * count // side
    return Partition((rows[:, None] * count + rows[None, :]).flatten(), count * count)


def flipped_patches(side: int, count: int) -> ClusterGroup:
    """Free permutations inside patches, and the left-right flip of the grid of patches."""
    return ClusterGroup(patches(side, count), swaps=flips(count, "h"))


def grid_adjacency(side: int) -> Tensor:
    """The 4-neighbour grid."""
    return torch.from_numpy(nx.to_numpy_array(nx.grid_2d_graph(side, side))).double()


def path_adjacency(num_nodes: int) -> Tensor:
    """The path 0 - 1 - ... ."""
    return torch.from_numpy(nx.to_numpy_array(nx.path_graph(num_nodes))).double()


def skeleton_adjacency() -> Tensor:
    """The 16 joints and 15 bones."""
    adjacency = torch.zeros(16, 16, dtype=torch.float64)
    for child, parent in enumerate(SKELETON_PARENTS):
        if parent >= 0:
            adjacency[child, parent] = adjacency[parent, child] = 1
    return adjacency


def automorphisms(adjacency: Tensor, colours: Tensor | None = None) -> list[list[int]]:
    """All of them, by networkx's VF2: the independent twin. Edge weights and colours of nodes are kept; loops too."""
    graph = nx.from_numpy_array(adjacency.numpy())
    for node in graph:
        graph.nodes[node]["colour"] = (float(adjacency[node, node]), 0 if colours is None else int(colours[node]))
    same_weight = numerical_edge_match("weight", 1.0)
    matcher = GraphMatcher(graph, graph, node_match=lambda a, b: a["colour"] == b["colour"], edge_match=same_weight)
    return [[mapping[node] for node in range(len(graph))] for mapping in matcher.isomorphisms_iter()]


def skeleton_group() -> PermutationGroup:
    """(S_2)^2: the flip of the legs and the flip of the arms."""
    return PermutationGroup([swapping(16, *LEG_PAIRS), swapping(16, *ARM_PAIRS)])


def legs_and_arms() -> Partition:
    """The six leg joints, the six arm joints, and four singletons."""
    legs, arms = sum(LEG_PAIRS, ()), sum(ARM_PAIRS, ())
    return Partition.from_clusters([legs, arms, [0], [7], [8], [9]])
