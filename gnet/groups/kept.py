"""Which elements of a group keep a graph: G and Aut(A) at once."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnet.errors import ConfigError, GroupError
from gnet.graphs.partition import Partition
from gnet.groups.automorphism import AutomorphismGroup, automorphism_group
from gnet.groups.base import NodeGroup
from gnet.groups.cluster import ClusterGroup
from gnet.groups.permutation import PermutationGroup

if TYPE_CHECKING:
    from torch_geometric.data import Data

SMALL = 10_000
"""Most elements that are looked at one by one."""


def symmetries_within(group: NodeGroup, data: "Data", tol: float = 1e-6) -> NodeGroup:
    """The elements of ``group`` that are automorphisms of a graph.

    What a layer that mixes both is exactly equivariant to. For groups of clusters these are the automorphisms that map clusters
    onto clusters in an allowed way, found by one search; of other groups either all elements keep the graph, or those of the
    smaller one of the two groups are tried.

    Raises:
        ConfigError: neither group is small, and swaps or generators do not keep the graph.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436: approximate symmetries of a graph are those of its coarsening.

    Example:
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> symmetries_within(SymmetricGroup(3), path).order(), symmetries_within(TrivialGroup(3), path).order()
        (2, 1)
    """
    if isinstance(group, ClusterGroup):
        if group.swaps is None:
            return automorphism_group(data, node_labels=group.partition.labels, tol=tol)
        keeping = _keeping_clusters(data, group.partition, tol)
        allowed = group.swaps
        if all(allowed.contains(group.induced(g)) for g in keeping.generators):
            return keeping
    else:
        keeping = automorphism_group(data, tol=tol)
        if all(keeping.contains(g) for g in group.generators):
            return group
    small, large = (keeping, group) if keeping.order() <= group.order() else (group, keeping)
    try:
        elements = small.elements(SMALL)
    except GroupError as error:
        raise ConfigError(
            f"the graph is not kept by {group.name}, and there are too many elements to find those that keep it "
            f"({keeping.order_text()} automorphisms): take a cluster group without swaps, or "
            "swaps=coarse_automorphisms(data, ...)"
        ) from error
    return PermutationGroup([g for g in elements if large.contains(g)], degree=group.degree)


def _keeping_clusters(data: "Data", partition: Partition, tol: float) -> PermutationGroup:
    """The automorphisms that map clusters onto clusters: of the graph with one more node for each cluster, joined to its own."""
    from torch_geometric.data import Data

    n, k = partition.num_nodes, partition.num_clusters
    edges = torch.as_tensor(data.edge_index).detach().cpu().long()
    given = getattr(data, "edge_weight", None)
    weight = torch.ones(edges.shape[1], dtype=torch.float64) if given is None else given.detach().cpu().double()
    belongs = torch.stack([torch.arange(n), n + partition.labels])
    larger = Data(
        edge_index=torch.cat([edges, belongs], 1), edge_weight=torch.cat([weight, torch.ones(n).double()]), num_nodes=n + k
    )
    labels = torch.cat([torch.zeros(n, dtype=torch.long), torch.ones(k, dtype=torch.long)])
    found: AutomorphismGroup = automorphism_group(larger, node_labels=labels, tol=tol)
    generators: list[Tensor] = [g[:n] for g in found.generators]
    return PermutationGroup(generators, degree=n)
