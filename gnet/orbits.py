"""The waist: the ordered pairs of nodes that a group cannot tell apart.

Upstream everything is combinatorics, downstream everything is tensors. An equivariant layer has one weight per pair orbit, so
``PairOrbits`` is all that a layer knows of its group. It has three forms: ``Blocks`` for cluster groups, O(N + k^2) and never
N x N; ``Table`` for other groups up to ``DENSE_LIMIT`` nodes; ``Sparse`` on a support.
"""

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gnet.errors import GraphError, GroupError, ShapeError
from gnet.graphs.partition import Partition
from gnet.groups.base import NodeGroup, check_node_group
from gnet.groups.cluster import ClusterGroup
from gnet.groups.cluster_edges import closed_cluster_edges, cluster_edge_orbits
from gnet.groups.pairs import closed_edges, edge_orbits, pair_labels

DENSE_LIMIT = 4096
"""Most nodes for which an N x N table of labels is made (134 MB of int64)."""
MANY_CLUSTERS = 8192
"""Most clusters for which a k x k table is made (512 MB of int64)."""


class PairOrbits(ABC):
    """The orbits of a group on ordered pairs (receiver i, sender j), numbered 0..count-1.

    References:
        Theory: the orbit indicators are a basis of the equivariant linear maps; see Maron, Ben-Hamu, Shamir and Lipman (2019),
        arXiv:1812.09902, for S_N, and Huang, Levie and Villar (2023), arXiv:2308.10436, for products.

    Example:
        >>> PairOrbits.of(ClusterGroup(Partition([0, 0, 0, 1, 1, 2]))).count
        11
    """

    @staticmethod
    def of(group: NodeGroup) -> "PairOrbits":
        """The orbits on all pairs, in the form that suits the group.

        Raises:
            GroupError: a group with generators on more than ``DENSE_LIMIT`` nodes.
        """
        check_node_group(group)
        if isinstance(group, ClusterGroup):
            if group.partition.num_clusters > MANY_CLUSTERS:
                raise GroupError(
                    f"expected at most {MANY_CLUSTERS} clusters for the orbits on all pairs, got {group.partition.num_clusters}: "
                    "they have a table of clusters x clusters; use PairOrbits.on(group, edge_index), a sparse support (OrbitConv)"
                )
            return _remembered(group, _blocks)
        if group.degree > DENSE_LIMIT:
            raise GroupError(
                f"expected at most {DENSE_LIMIT} nodes for the pair orbits of {group.name}, got {group.degree}: "
                "the table would be N x N; use PairOrbits.on(group, edge_index), which keeps a sparse support (OrbitConv)"
            )
        return _remembered(group, lambda group: Table(pair_labels(group)))

    @staticmethod
    def on(group: NodeGroup, edge_index: Tensor) -> "Sparse":
        """The orbits on a support that the group maps onto itself.

        Raises:
            GraphError: the support is no union of orbits; the message names an edge and its missing image.
        """
        check_node_group(group)
        edges = check_edges(edge_index, group.degree)
        if isinstance(group, ClusterGroup):
            return Sparse(edges, cluster_edge_orbits(group, edges), group.degree)
        return Sparse(edges, edge_orbits(group, edges), group.degree)

    @property
    @abstractmethod
    def num_nodes(self) -> int:
        """N."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of orbits; times the channels this is dim Hom_G."""

    @abstractmethod
    def labels(self) -> Tensor:
        """The orbit of each pair, (N, N) int64, row = receiver; -1 off the support."""

    @abstractmethod
    def labels_of(self, receivers: Tensor, senders: Tensor) -> Tensor:
        """The orbits of single pairs, shaped like ``receivers``."""

    def members(self, orbit: int, limit: int) -> tuple[Tensor, Tensor]:
        """Receivers and senders of pairs of one orbit: all, or at least ``limit`` of them."""
        receivers, senders = torch.nonzero(self.labels() == orbit, as_tuple=True)
        return receivers, senders

    @cached_property
    def orbit_sizes(self) -> Tensor:
        """Number of pairs in each orbit, (count,)."""
        flat = self.labels().flatten()
        return torch.bincount(flat[flat >= 0], minlength=self.count)

    def matrix(self, weights: Tensor) -> Tensor:
        """The equivariant map with the given value on each orbit.

        Shapes:
            weights: (count,)         returns: (N, N)
            weights: (count, C', C)   returns: (N, C', N, C)
        """
        if weights.ndim not in (1, 3) or weights.shape[0] != self.count:
            raise ShapeError(f"expected weights of shape ({self.count},) or ({self.count}, C', C), got {tuple(weights.shape)}")
        labels = self.labels().to(weights.device)
        if not self.count:
            return weights.new_zeros(
                labels.shape if weights.ndim == 1 else (len(labels), weights.shape[1], len(labels), weights.shape[2])
            )
        dense = weights[labels.clamp(min=0)] * (labels >= 0).reshape(*labels.shape, *[1] * (weights.ndim - 1))
        return dense if weights.ndim == 1 else dense.permute(0, 2, 1, 3)

    def coefficients(self, weight: Tensor) -> Tensor:
        """The mean of a linear map over each orbit; on equivariant maps the inverse of ``matrix``.

        Shapes:
            weight: (N, N)         returns: (count,)
            weight: (N, C', N, C)  returns: (count, C', C)
        """
        num = self.num_nodes
        if weight.ndim not in (2, 4) or weight.shape[0] != num or weight.shape[weight.ndim // 2] != num:
            raise ShapeError(f"expected a map of shape ({num}, {num}) or ({num}, C', {num}, C), got {tuple(weight.shape)}")
        if not weight.is_floating_point():  # an integer buffer would silently truncate the means
            raise ShapeError(f"expected a floating-point map, got {weight.dtype}; convert with .double()")
        pairs = (weight if weight.ndim == 2 else weight.permute(0, 2, 1, 3)).flatten(0, 1)
        labels = self.labels().flatten().to(weight.device)
        kept = labels >= 0
        if not bool(kept.all()):
            pairs, labels = pairs[kept], labels[kept]
        sums = torch.zeros(self.count, *pairs.shape[1:], dtype=weight.dtype, device=weight.device).index_add(0, labels, pairs)
        return sums / self.orbit_sizes.to(weight).reshape(-1, *[1] * (sums.ndim - 1))

    def mean(self, weight: Tensor) -> Tensor:
        """The Reynolds operator: the average of g W g^-1 over the group, shaped like ``weight``.

        It is the orthogonal projection (Frobenius) onto the equivariant maps (supported on the support).
        """
        return self.matrix(self.coefficients(weight))

    def edge_labels(self, edge_index: Tensor) -> Tensor:
        """The orbit of each edge, numbered by first appearance, (E,).

        Row 0 of ``edge_index`` are senders and row 1 receivers, as in PyTorch Geometric.

        Raises:
            GraphError: the edges are no union of orbits; the message names an edge and its missing image.
        """
        edges = check_edges(edge_index, self.num_nodes)
        if edges.shape[1] == 0:
            return torch.empty(0, dtype=torch.long)
        orbits = self.labels_of(edges[1], edges[0])
        if bool((orbits < 0).any()):
            outside = edges[:, orbits < 0][:, 0].tolist()
            raise GraphError(f"edge {tuple(outside)} is not in the support")
        distinct = torch.unique(edges[0] * self.num_nodes + edges[1])
        present = torch.bincount(self.labels_of(distinct % self.num_nodes, distinct // self.num_nodes), minlength=self.count)
        broken = torch.nonzero((present > 0) & (present < self.orbit_sizes)).flatten()
        if len(broken):
            self._raise_broken(int(broken[0]), edges, orbits, distinct)
        return Partition(orbits).labels

    def _raise_broken(self, orbit: int, edges: Tensor, orbits: Tensor, distinct: Tensor) -> None:
        edge = edges[:, orbits == orbit][:, 0].tolist()
        receivers, senders = self.members(orbit, len(distinct) + 1)  # one more than there are: one of them is missing
        codes = senders * self.num_nodes + receivers
        missing = codes[~torch.isin(codes, distinct)][0]
        image = (int(missing) // self.num_nodes, int(missing) % self.num_nodes)
        raise GraphError(
            f"the edges are no union of orbits: edge {tuple(edge)} is there, its image {image} is not; "
            "add the missing images, or take a smaller group"
        )


@dataclass(frozen=True, eq=False)
class Blocks(PairOrbits):
    """Pair orbits of a cluster group, O(N + k^2) memory.

    ``own_ids[l]`` is the orbit of the pairs (i, i) with i in C_l, ``pair_ids[l, m]`` the orbit of the pairs of different nodes
    in C_l x C_m. For a singleton the two are the same orbit.

    Shapes:
        own_ids: (k,)    pair_ids: (k, k)
    """

    partition: Partition
    own_ids: Tensor
    pair_ids: Tensor

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.partition.num_nodes

    @cached_property
    def count(self) -> int:
        """|[k]^2 / H| + |{l : c_l > 1} / H|."""
        return int(max(self.own_ids.max(), self.pair_ids.max())) + 1

    @cached_property
    def has_own(self) -> Tensor:
        """Clusters with more than one node, (k,) bool: those whose own weight is a weight of its own."""
        return self.partition.sizes > 1

    @cached_property
    def is_tied(self) -> bool:
        """Whether swaps make clusters share weights."""
        return int(self.pair_ids.max()) + 1 < self.pair_ids.numel()

    @cached_property
    def orbit_sizes(self) -> Tensor:
        """From the cluster sizes alone."""
        sizes = self.partition.sizes
        pairs = sizes[:, None] * sizes[None, :]
        pairs = pairs - torch.diag(torch.where(self.has_own, sizes, 0))
        result = torch.zeros(self.count, dtype=torch.long).index_add(0, self.pair_ids.flatten(), pairs.flatten())
        own = self.own_ids[self.has_own]
        return result.index_add(0, own, sizes[self.has_own])

    def members(self, orbit: int, limit: int) -> tuple[Tensor, Tensor]:
        """Block by block, O(limit + N)."""
        found = [
            self.partition.members(cluster).expand(2, -1) for cluster in torch.nonzero(self.own_ids == orbit).flatten().tolist()
        ]
        for row, column in torch.nonzero(self.pair_ids == orbit).tolist():
            receivers, senders = self.partition.members(row), self.partition.members(column)
            # Row by row; the pairs (i, i) of a block belong to another orbit unless it is a singleton.
            spot = torch.arange(min(limit + len(receivers), len(receivers) * len(senders)))
            pairs = torch.stack([receivers[spot // len(senders)], senders[spot % len(senders)]])
            found.append(pairs[:, (pairs[0] != pairs[1]) | (len(receivers) == 1)])
            if sum(each.shape[1] for each in found) >= limit:
                break
        return tuple(torch.cat(found, 1))

    def labels_of(self, receivers: Tensor, senders: Tensor) -> Tensor:
        """By the clusters of the two nodes."""
        row, column = self.partition.labels[receivers], self.partition.labels[senders]
        return torch.where(receivers == senders, self.own_ids[row], self.pair_ids[row, column])

    def labels(self) -> Tensor:
        """(N, N): for tests and small graphs."""
        nodes = torch.arange(self.num_nodes)
        return self.labels_of(nodes[:, None].expand(-1, self.num_nodes), nodes[None, :].expand(self.num_nodes, -1))

    def __repr__(self) -> str:
        return f"Blocks({self.partition.num_clusters} clusters of {self.num_nodes} nodes, {self.count} orbits)"


@dataclass(frozen=True, eq=False)
class Table(PairOrbits):
    """Pair orbits as an explicit table of labels 0..count-1, (N, N) int64."""

    table: Tensor

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.table)

    @cached_property
    def count(self) -> int:
        """Number of distinct labels."""
        return int(self.table.max()) + 1

    def labels(self) -> Tensor:
        """The table."""
        return self.table

    def labels_of(self, receivers: Tensor, senders: Tensor) -> Tensor:
        """Looked up."""
        return self.table[receivers, senders]

    def __repr__(self) -> str:
        return f"Table({self.num_nodes} nodes, {self.count} orbits)"


@dataclass(frozen=True, eq=False)
class Sparse(PairOrbits):
    """Pair orbits on a support: edges (2, E), senders first, and the orbit of each, (E,)."""

    edge_index: Tensor
    orbits: Tensor
    size: int

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.size

    @cached_property
    def count(self) -> int:
        """Number of edge orbits."""
        return int(self.orbits.max()) + 1 if self.orbits.numel() else 0

    def labels(self) -> Tensor:
        """(N, N), -1 off the support: for tests and small graphs."""
        table = torch.full((self.size, self.size), -1)
        table[self.edge_index[1], self.edge_index[0]] = self.orbits
        return table

    def labels_of(self, receivers: Tensor, senders: Tensor) -> Tensor:
        """By search among the sorted edges; -1 off the support."""
        return _look_up(self.edge_index, self.orbits, self.size, senders * self.size + receivers)

    @cached_property
    def orbit_sizes(self) -> Tensor:
        """Distinct edges of each orbit."""
        codes = torch.unique(self.edge_index[0] * self.size + self.edge_index[1])
        return torch.bincount(self.labels_of(codes % self.size, codes // self.size), minlength=self.count)

    def __repr__(self) -> str:
        return f"Sparse({self.size} nodes, {len(self.orbits)} edges, {self.count} orbits)"


_TABLES: dict[int, tuple[weakref.ref[NodeGroup], "PairOrbits"]] = {}


def _remembered(group: Any, make: Callable[[Any], PairOrbits]) -> PairOrbits:
    """The orbits of a group, made once as long as the group lives: every layer of a net asks for them."""
    number = id(group)
    known = _TABLES.get(number)
    if known is None or known[0]() is not group:
        known = _TABLES[number] = (weakref.ref(group, lambda _: _TABLES.pop(number, None)), make(group))
    return known[1]


def _blocks(group: ClusterGroup) -> Blocks:
    partition, k = group.partition, group.partition.num_clusters
    has_own = partition.sizes > 1
    if group.swaps is None:
        pair_ids = torch.arange(k * k).reshape(k, k)
        own_ids = torch.where(has_own, k * k + has_own.long().cumsum(0) - 1, pair_ids.diagonal())
        return Blocks(partition, own_ids, pair_ids)
    pair_ids = pair_labels(group.swaps)
    coarse_orbits = group.swaps.node_orbits().labels
    own = torch.full((k,), -1)
    own[has_own] = int(pair_ids.max()) + 1 + Partition(coarse_orbits[has_own]).labels if bool(has_own.any()) else -1
    return Blocks(partition, torch.where(has_own, own, pair_ids.diagonal()), pair_ids)


def close_edges(group: NodeGroup, edge_index: Tensor) -> Tensor:
    """The edges and all their images: the smallest union of pair orbits that holds them, (2, E') without duplicates, sorted.

    For a cluster group that is every pair of nodes between two clusters that an edge joins.

    Raises:
        GraphError: edges among other nodes than 0..N-1.

    Example:
        >>> close_edges(PermutationGroup([[2, 1, 0]]), torch.tensor([[0], [1]]))
        tensor([[0, 2],
                [1, 1]])
    """
    check_node_group(group)
    edges = check_edges(edge_index, group.degree)
    return closed_cluster_edges(group, edges) if isinstance(group, ClusterGroup) else closed_edges(group, edges)


def _look_up(edges: Tensor, values: Tensor, num_nodes: int, codes: Tensor) -> Tensor:
    """``values`` of the edges with the given codes (sender * N + receiver), -1 where there is none."""
    if edges.shape[1] == 0:
        return torch.full_like(codes, -1)
    known, by_code = torch.sort(edges[0] * num_nodes + edges[1], stable=True)
    spot = torch.searchsorted(known, codes).clamp(max=len(known) - 1)
    return torch.where(known[spot] == codes, values[by_code[spot]], -1)


def check_edges(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Edges (2, E) as int64 on the CPU, after checking that they join nodes 0..num_nodes-1.

    Raises:
        GraphError: they do not, or are no integers.
    """
    edges = torch.as_tensor(edge_index).detach().cpu()
    if edges.ndim != 2 or edges.shape[0] != 2 or edges.is_floating_point() or edges.dtype == torch.bool:
        fix = "; transpose it: edge_index.t()" if edges.ndim == 2 and edges.shape[1] == 2 else ""
        raise GraphError(f"expected edge_index of shape (2, E) with integers, got {tuple(edges.shape)} of {edges.dtype}{fix}")
    if edges.numel() and (int(edges.min()) < 0 or int(edges.max()) >= num_nodes):
        raise GraphError(f"expected edges among nodes 0..{num_nodes - 1}, got {int(edges.min())}..{int(edges.max())}")
    return edges.long()
