"""Learning on a fixed graph with as much symmetry as the data deserve.

    graph -> Partition -> group -> PairOrbits -> EquivariantLinear -> GNet -> LightningModule -> study

Importing gnet loads nothing: a name is imported when it is first used, so that the command line answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnet.errors import GnetError
    from gnet.graphs import (
        Partition,
        blow_up,
        chain,
        coarsen,
        coarsened_graph,
        correlation_graph,
        distance_graph,
        grid_patches,
        knn_graph,
    )
    from gnet.groups import (
        Action,
        ClusterGroup,
        Group,
        PermutationGroup,
        SymmetricGroup,
        TrivialGroup,
        automorphism_group,
        coarse_automorphisms,
        grid_group,
    )
    from gnet.measures import equivariance_error, project
    from gnet.nn import (
        Block,
        EquivariantLinear,
        GNet,
        GNetGRU,
        InvariantLinear,
        IsotypicLinear,
        OrbitConv,
        TensorLinear,
        isotypic_decomposition,
    )
    from gnet.orbits import PairOrbits, close_edges
    from gnet.randomness import streams
    from gnet.selection import SymmetrySelection
    from gnet.training.checkpoint import load

__all__ = [
    "Action",
    "Block",
    "ClusterGroup",
    "EquivariantLinear",
    "GNet",
    "GNetGRU",
    "GnetError",
    "Group",
    "InvariantLinear",
    "IsotypicLinear",
    "OrbitConv",
    "PairOrbits",
    "Partition",
    "PermutationGroup",
    "SymmetricGroup",
    "SymmetrySelection",
    "TensorLinear",
    "TrivialGroup",
    "automorphism_group",
    "blow_up",
    "chain",
    "close_edges",
    "coarse_automorphisms",
    "coarsen",
    "coarsened_graph",
    "correlation_graph",
    "distance_graph",
    "equivariance_error",
    "grid_group",
    "grid_patches",
    "isotypic_decomposition",
    "knn_graph",
    "load",
    "project",
    "streams",
]

_HOME = {
    "gnet.errors": "GnetError",
    "gnet.graphs": "Partition blow_up chain coarsen coarsened_graph correlation_graph distance_graph grid_patches knn_graph",
    "gnet.groups": "Action ClusterGroup Group PermutationGroup SymmetricGroup TrivialGroup automorphism_group "
    "coarse_automorphisms grid_group",
    "gnet.measures": "equivariance_error project",
    "gnet.nn": "Block EquivariantLinear GNet GNetGRU InvariantLinear IsotypicLinear OrbitConv TensorLinear "
    "isotypic_decomposition",
    "gnet.orbits": "PairOrbits close_edges",
    "gnet.randomness": "streams",
    "gnet.selection": "SymmetrySelection",
    "gnet.training.checkpoint": "load",
}
_ROOM_OF = {name: room for room, names in _HOME.items() for name in names.split()}
_ROOMS = (
    *("distributed", "errors", "graphs", "groups", "isotypic", "kernels", "measures", "nn", "orbits", "plugins"),
    *("randomness", "selection", "study", "testing", "theory", "training"),
)


def __getattr__(name: str) -> Any:
    if name in _ROOM_OF:
        value = getattr(import_module(_ROOM_OF[name]), name)
        globals()[name] = value
        return value
    if name in _ROOMS:
        return import_module(f"gnet.{name}")
    raise AttributeError(f"module 'gnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
