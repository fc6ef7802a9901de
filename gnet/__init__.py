"""Learning on a fixed graph with as much symmetry as the data deserve.

    graph -> Partition -> group -> PairOrbits -> EquivariantLinear -> GNet -> LightningModule -> study

Importing gnet loads torch and nothing heavier; training, the command line and plots import what they need themselves.
"""

from gnet.errors import GnetError
from gnet.graphs import Partition, blow_up, chain, coarsen, coarsened_graph, grid_patches
from gnet.groups import Action, ClusterGroup, Group, PermutationGroup, SymmetricGroup, TrivialGroup
from gnet.measures import equivariance_error, project
from gnet.nn import Block, EquivariantLinear, GNet, InvariantLinear
from gnet.orbits import PairOrbits
from gnet.streams import streams
from gnet.training.checkpoint import load

__all__ = [
    "Action",
    "Block",
    "ClusterGroup",
    "EquivariantLinear",
    "GNet",
    "GnetError",
    "Group",
    "InvariantLinear",
    "PairOrbits",
    "Partition",
    "PermutationGroup",
    "SymmetricGroup",
    "TrivialGroup",
    "blow_up",
    "chain",
    "coarsen",
    "coarsened_graph",
    "equivariance_error",
    "grid_patches",
    "load",
    "project",
    "streams",
]
