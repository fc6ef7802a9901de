"""Groups and their actions: free permutations inside clusters, groups given by generators, and the base for a stranger's."""

from gnet.groups.automorphism import AutomorphismGroup, automorphism_group, coarse_automorphisms
from gnet.groups.base import TRIVIAL_ACTION, Action, Group, NodeGroup
from gnet.groups.cluster import ClusterGroup, SymmetricGroup, TrivialGroup
from gnet.groups.grid import GridSymmetry, grid_group
from gnet.groups.invariants import equivariant_maps, invariants
from gnet.groups.matrix import GeneratedGroup, MatrixGroup
from gnet.groups.permutation import Motion, PermutationGroup

__all__ = [
    "TRIVIAL_ACTION",
    "Action",
    "AutomorphismGroup",
    "ClusterGroup",
    "GeneratedGroup",
    "GridSymmetry",
    "Group",
    "MatrixGroup",
    "Motion",
    "NodeGroup",
    "PermutationGroup",
    "SymmetricGroup",
    "TrivialGroup",
    "automorphism_group",
    "coarse_automorphisms",
    "equivariant_maps",
    "grid_group",
    "invariants",
]
