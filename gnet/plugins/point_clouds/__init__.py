"""Few invariants of symmetric matrices and of point clouds that tell almost all apart, and models on them."""

from gnet.plugins.point_clouds.coulomb import Molecules, coulomb_matrix, random_molecules, read_qm7b
from gnet.plugins.point_clouds.distances import CloudPairs, DistanceModule, third_lower_bound
from gnet.plugins.point_clouds.generators import FieldGenerators, field_generators, gram_from_generators
from gnet.plugins.point_clouds.graphs import GramGNN, gram_gnn, gram_graph
from gnet.plugins.point_clouds.invariants import CloudInvariants, MatrixInvariants, cloud_invariants, matrix_invariants
from gnet.plugins.point_clouds.models import CloudDeepSet, ConjInvariantDeepSet
from gnet.plugins.point_clouds.sets import DeepSet
from gnet.plugins.point_clouds.shapes import boxes, modelnet, tori

__all__ = [
    "CloudDeepSet",
    "CloudInvariants",
    "CloudPairs",
    "ConjInvariantDeepSet",
    "DeepSet",
    "DistanceModule",
    "FieldGenerators",
    "GramGNN",
    "MatrixInvariants",
    "Molecules",
    "boxes",
    "cloud_invariants",
    "coulomb_matrix",
    "field_generators",
    "gram_from_generators",
    "gram_gnn",
    "gram_graph",
    "matrix_invariants",
    "modelnet",
    "random_molecules",
    "read_qm7b",
    "third_lower_bound",
    "tori",
]
