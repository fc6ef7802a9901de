"""Groups and their actions: free permutations inside clusters, groups given by generators, and the base for a stranger's."""

from gnet.groups.base import TRIVIAL_ACTION, Action, Group, MatrixGroup, NodeGroup
from gnet.groups.cluster import ClusterGroup, SymmetricGroup, TrivialGroup
from gnet.groups.permutation import PermutationGroup

__all__ = [
    "TRIVIAL_ACTION",
    "Action",
    "ClusterGroup",
    "Group",
    "MatrixGroup",
    "NodeGroup",
    "PermutationGroup",
    "SymmetricGroup",
    "TrivialGroup",
]
