"""Which symmetry: candidates on a graph, estimates of their risk, learned clusters, tests of single symmetries, stability."""

from gnet.selection.averaging import Candidate, convex_weights
from gnet.selection.candidates import candidate_groups, cluster_chain
from gnet.selection.discovery import SymmetryTests, block_moves, check_symmetries, exchanges, group_of_accepted
from gnet.selection.merging import MergePath, merge_clusters
from gnet.selection.prediction import predicted_risk
from gnet.selection.select import SymmetrySelection, UnstablePartitionWarning
from gnet.selection.stability import Stability, bootstrap_stability, partition_stability, seed_stability

__all__ = [
    "Candidate",
    "MergePath",
    "Stability",
    "SymmetrySelection",
    "SymmetryTests",
    "UnstablePartitionWarning",
    "block_moves",
    "bootstrap_stability",
    "candidate_groups",
    "check_symmetries",
    "cluster_chain",
    "convex_weights",
    "exchanges",
    "group_of_accepted",
    "merge_clusters",
    "partition_stability",
    "predicted_risk",
    "seed_stability",
]
