"""Which symmetries to compare on a graph when nobody says."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gnet.graphs.coarsen import ClusteringMethod, chain
from gnet.groups.automorphism import automorphism_group
from gnet.groups.base import NodeGroup
from gnet.groups.cluster import ClusterGroup
from gnet.groups.grid import grid_group
from gnet.selection.merging import geometric_counts

if TYPE_CHECKING:
    from torch_geometric.data import Data


def cluster_chain(
    graph: "Data",
    num_clusters: Sequence[int] | None = None,
    *,
    num_candidates: int = 8,
    method: ClusteringMethod = "agglomerative",
    seed: int = 0,
) -> list[ClusterGroup]:
    """Nested cluster groups of a graph, smallest first, from no symmetry to full symmetry.

    Args:
        num_clusters: how many clusters each has, in increasing order; None takes ``num_candidates`` numbers from 1 to N, each
            larger by about the same factor.

    Raises:
        ConfigError, PartitionError, GraphError: as ``gnet.graphs.chain``.

    Example:
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]), num_nodes=6)
        >>> [group.partition.num_clusters for group in cluster_chain(path, [1, 2, 6])]
        [6, 2, 1]
    """
    size = int(graph.num_nodes or 0)
    counts = geometric_counts(1, size, num_candidates) if num_clusters is None else list(num_clusters)
    return [ClusterGroup(partition) for partition in reversed(chain(graph, counts, method=method, seed=seed))]


def candidate_groups(
    graph: "Data",
    *,
    num_candidates: int = 8,
    method: ClusteringMethod = "agglomerative",
    seed: int = 0,
    grid_shape: tuple[int, int] | None = None,
) -> list[NodeGroup]:
    """The chain of ``cluster_chain`` and, where the graph has any, its own symmetries; for an image grid translations, too.

    Example:
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> [group.order() for group in candidate_groups(path)]
        [1, 2, 6, 2]
    """
    groups: list[NodeGroup] = list(cluster_chain(graph, num_candidates=num_candidates, method=method, seed=seed))
    own = automorphism_group(graph)
    if own.order() > 1 and own not in groups:
        groups.append(own)
    if grid_shape is not None:
        groups.append(grid_group(grid_shape, "translations"))
    return groups
