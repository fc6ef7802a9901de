"""Functions of vectors through their inner products, determinants and cross products: universal, and no tensors."""

from collections.abc import Callable

from gnet.groups import GeneratedGroup
from gnet.plugins.scalars.anchors import anchors_of, gram_from_anchors, kmeans_centroids, moment_vectors
from gnet.plugins.scalars.features import Scalars, num_scalars, scalars, spanning_vectors, without_translation
from gnet.plugins.scalars.groups import MATRICES, POINTS, SE, VECTORS, E, Poincare, group_of
from gnet.plugins.scalars.models import PairMatrix, ScalarEquivariant, ScalarInvariant, ScalarMatrix, perceptron
from gnet.plugins.scalars.products import (
    cross_products,
    determinants,
    form_matrix,
    generalized_cross,
    levi_civita,
    products,
)
from gnet.plugins.scalars.sets import ScalarVectors, SetScalars, SetSizes

CATALOG: dict[str, Callable[[], GeneratedGroup]] = {
    "E(2)": lambda: E(2),
    "E(3)": lambda: E(3),
    "SE(3)": lambda: SE(3),
    "Poincare(3)": lambda: Poincare(3),
    'Poincare(3, "SO+")': lambda: Poincare(3, "SO+"),
}
"""How each group is written -> a function that makes it: what this family adds to ``python -m gnet catalog``."""

__all__ = [
    "CATALOG",
    "MATRICES",
    "POINTS",
    "SE",
    "VECTORS",
    "E",
    "PairMatrix",
    "Poincare",
    "ScalarEquivariant",
    "ScalarInvariant",
    "ScalarMatrix",
    "ScalarVectors",
    "Scalars",
    "SetScalars",
    "SetSizes",
    "anchors_of",
    "cross_products",
    "determinants",
    "form_matrix",
    "generalized_cross",
    "gram_from_anchors",
    "group_of",
    "kmeans_centroids",
    "levi_civita",
    "moment_vectors",
    "num_scalars",
    "perceptron",
    "products",
    "scalars",
    "spanning_vectors",
    "without_translation",
]
