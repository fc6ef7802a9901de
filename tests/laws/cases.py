"""The groups that every law runs on: distinct sizes, interleaved labels, singletons, one cluster, swaps, generators."""

import torch

from gnet.graphs.partition import Partition
from gnet.groups import ClusterGroup, NodeGroup, PermutationGroup, SymmetricGroup, TrivialGroup

UNTIED = Partition([2, 0, 1, 2, 1, 2, 0, 2, 1, 2], num_clusters=3)  # sizes 2, 3, 5
WITH_SINGLETONS = Partition([2, 0, 1, 2, 0, 3, 2], num_clusters=4)  # sizes 2, 1, 3, 1
TIED = Partition([1, 0, 2, 4, 1, 3, 0, 4, 2, 1, 4], num_clusters=5)  # sizes 2, 3, 2, 1, 3
TIED_SINGLETONS = Partition([0, 3, 1, 2, 4, 0, 2, 1], num_clusters=5)  # sizes 2, 2, 2, 1, 1


def _hexagon() -> PermutationGroup:
    """The dihedral group of a hexagon whose corners are nodes 0, 2, 4, 6, 1, 3; node 5 stays."""
    ring = torch.tensor([0, 2, 4, 6, 1, 3])
    turn, mirror = torch.arange(7), torch.arange(7)
    turn[ring], mirror[ring] = ring.roll(-1), ring.flip(0)
    return PermutationGroup([turn, mirror])


CLUSTER_GROUPS: dict[str, ClusterGroup] = {
    "untied": ClusterGroup(UNTIED),
    "with singletons": ClusterGroup(WITH_SINGLETONS),
    "trivial": TrivialGroup(4),
    "symmetric": SymmetricGroup(5),
    "one node": SymmetricGroup(1),
}
TIED_GROUPS: dict[str, ClusterGroup] = {
    "tied": ClusterGroup(TIED, swaps=PermutationGroup([[2, 4, 0, 3, 1]])),
    "tied singletons": ClusterGroup(TIED_SINGLETONS, swaps=PermutationGroup([[1, 2, 0, 3, 4], [0, 1, 2, 4, 3]])),
}
GENERATOR_GROUPS: dict[str, PermutationGroup] = {
    "hexagon": _hexagon(),
    "no generators": PermutationGroup([], degree=3),
}
GROUPS: dict[str, NodeGroup] = {**CLUSTER_GROUPS, **TIED_GROUPS, **GENERATOR_GROUPS}
ORDERS = {
    "untied": 2 * 6 * 120,
    "with singletons": 2 * 6,
    "trivial": 1,
    "symmetric": 120,
    "one node": 1,
    "tied": 2 * 6 * 2 * 6 * 2,
    "tied singletons": 2**3 * 3 * 2,
    "hexagon": 12,
    "no generators": 1,
}
