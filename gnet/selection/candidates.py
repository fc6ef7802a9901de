"""Which symmetries to compare on a graph when nobody says."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from gnet.errors import ConfigError, GroupError
from gnet.graphs.coarsen import ClusteringMethod, chain
from gnet.groups.automorphism import automorphism_group
from gnet.groups.base import NodeGroup, check_node_group
from gnet.groups.cluster import ClusterGroup, TrivialGroup
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


def given_groups(
    groups: Sequence[NodeGroup] | None, graph: "Data | None", *, num_candidates: int = 8, is_chain: bool = False
) -> list[NodeGroup]:
    """The candidates that do not depend on samples: those given, or else those of the graph; none where there is neither.

    With ``is_chain`` they are nested: of a graph the clusterings alone, and one group stands for the chain from the trivial one.

    Raises:
        ConfigError: no group, or no sequence of them.
        GroupError: what is no group of nodes, or groups on other nodes than the first, or the graph.

    Example:
        >>> given_groups([SymmetricGroup(3)], None, is_chain=True), given_groups(None, None)
        ([ClusterGroup(S1 x S1 x S1, order 1), ClusterGroup(S3, order 6)], [])
    """
    if groups is None:
        if graph is None:
            return []
        return list((cluster_chain if is_chain else candidate_groups)(graph, num_candidates=num_candidates))
    if isinstance(groups, str | bytes | Mapping) or _is_rule(groups) or not isinstance(groups, NodeGroup | Iterable):
        raise ConfigError(f"expected a sequence of groups, such as [SymmetricGroup(12)], got {_told(groups)}")
    if isinstance(groups, NodeGroup):
        raise ConfigError(f"expected a sequence of groups, got {groups!r}; put one group into a list")
    found = list(groups)
    if not found:
        raise ConfigError("expected at least one group, got none; None takes those of the graph given to fit")
    for group in found:
        if _is_rule(group):
            raise GroupError(f"expected groups, such as SymmetricGroup(12), got {_told(group)}")
        check_node_group(group)
        if group.degree != found[0].degree:
            raise GroupError(f"expected groups on the same nodes, got degrees {found[0].degree} and {group.degree}")
    if graph is not None and graph.num_nodes != found[0].degree:
        raise GroupError(f"expected groups on the {graph.num_nodes} nodes of the graph, got {found[0].degree}")
    if is_chain and len(found) == 1 and found[0].node_orbits().num_clusters != found[0].degree:
        return [TrivialGroup(found[0].degree), *found]
    return found


def distinct_groups(groups: Sequence[NodeGroup]) -> list[int]:
    """The places of the groups that are not the same as an earlier one; those that cannot be compared count as others.

    Example:
        >>> distinct_groups([SymmetricGroup(2), TrivialGroup(2), ClusterGroup(Partition([0, 0]))])
        [0, 1]
    """
    found: list[int] = []
    for place, group in enumerate(groups):
        if not any(_is_same(group, groups[other]) for other in found):
            found.append(place)
    return found


def is_finest_first(groups: Sequence[NodeGroup]) -> bool:
    """Whether the groups never have more clusters (node orbits) than the one before.

    Example:
        >>> is_finest_first([TrivialGroup(2), SymmetricGroup(2)]), is_finest_first([SymmetricGroup(2), TrivialGroup(2)])
        (True, False)
    """
    counts = [group.node_orbits().num_clusters for group in groups]
    return counts == sorted(counts, reverse=True)


def _is_rule(value: object) -> bool:
    """Whether it is a rule of a config, as those of ``gnet.training``, which this room must not import."""
    return not isinstance(value, type) and callable(value) and hasattr(value, "as_config")


def _told(value: object) -> str:
    return f"the rule {value!r} of a config; give the group it makes, {value!r}(graph)" if _is_rule(value) else repr(value)


def _is_same(one: NodeGroup, other: NodeGroup) -> bool:
    if one is other:
        return True
    if one.degree != other.degree or one.node_orbits() != other.node_orbits():  # cheap, and tells most apart
        return False
    try:
        return bool(one == other)
    except GroupError:
        return False
