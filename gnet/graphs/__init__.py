"""From a graph to a partition of its nodes, and to the coarsened graph: combinatorics, no tensors of signals."""

from gnet.graphs.coarsen import ClusteringMethod, chain, check_chain, coarsen, grid_patches
from gnet.graphs.edges import within_hops
from gnet.graphs.partition import Partition
from gnet.graphs.proximity import correlation_graph, distance_graph, knn_graph
from gnet.graphs.quotient import blow_up, coarse_weights, coarsened_graph

__all__ = [
    "ClusteringMethod",
    "Partition",
    "blow_up",
    "chain",
    "check_chain",
    "coarse_weights",
    "coarsen",
    "coarsened_graph",
    "correlation_graph",
    "distance_graph",
    "grid_patches",
    "knn_graph",
    "within_hops",
]
