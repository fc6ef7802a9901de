"""A partition of the nodes into clusters: the combinatorial object everything else is built from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gnet.counts import is_count
from gnet.errors import PartitionError, ShapeError


def _as_labels(labels: Tensor | Iterable[int]) -> Tensor:
    try:
        tensor = torch.as_tensor(labels if isinstance(labels, Tensor) else list(labels)).detach().cpu()
    except (TypeError, ValueError) as error:
        raise PartitionError(f"expected integer labels, got {labels!r}") from error
    if tensor.ndim != 1 or tensor.numel() == 0:
        raise PartitionError(f"expected labels of shape (N,) with N >= 1, got shape {tuple(tensor.shape)}")
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise PartitionError(f"expected integer labels, got {tensor.dtype}; convert with labels.long()")
    return tensor.long().clone()  # nobody else may change a checked partition


def _by_first_appearance(labels: Tensor) -> Tensor:
    values, inverse = torch.unique(labels, return_inverse=True)
    first = torch.full((len(values),), len(labels)).scatter_reduce(0, inverse, torch.arange(len(labels)), "amin")
    rank = torch.empty_like(first)
    rank[torch.argsort(first)] = torch.arange(len(values))
    return rank[inverse]


@dataclass(frozen=True, eq=False, repr=False)
class Partition:
    """Disjoint clusters C_0, ..., C_{k-1} that cover the nodes 0..N-1; frozen and checked when made.

    Without ``num_clusters`` any integers serve as labels and are renumbered by first appearance; with it the labels are
    kept and must be 0..k-1, each occurring.

    Shapes:
        labels: (N,) integers

    Raises:
        PartitionError: labels that are not integers, out of range, or leave a cluster empty.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436: the coarsening whose clusters the symmetry permutes within.

    Example:
        >>> partition = Partition([7, 7, 2, 7, 2])
        >>> partition
        Partition(5 nodes into 2 clusters of sizes [3, 2])
        >>> partition.labels
        tensor([0, 0, 1, 0, 1])
        >>> partition.members(1)
        tensor([2, 4])
    """

    labels: Tensor

    def __init__(self, labels: Tensor | Iterable[int], num_clusters: int | None = None) -> None:
        values = _as_labels(labels)
        if num_clusters is None:
            values = _by_first_appearance(values)
        else:
            _check_range(values, num_clusters)
        object.__setattr__(self, "labels", values)

    @classmethod
    def singletons(cls, num_nodes: int) -> "Partition":
        """Every node a cluster of its own: the finest partition, whose group is trivial."""
        _check_num_nodes(num_nodes)
        return cls(torch.arange(num_nodes), num_nodes)

    @classmethod
    def whole(cls, num_nodes: int) -> "Partition":
        """All nodes in one cluster: the coarsest partition, whose group is the symmetric group."""
        _check_num_nodes(num_nodes)
        return cls(torch.zeros(num_nodes, dtype=torch.long), 1)

    @classmethod
    def from_clusters(cls, clusters: Sequence[Sequence[int]]) -> "Partition":
        """The partition with the given clusters, in the given order.

        Raises:
            PartitionError: a node in two clusters, in none, or an empty cluster.

        Example:
            >>> Partition.from_clusters([[1, 2], [0, 3]]).labels
            tensor([1, 0, 0, 1])
        """
        nodes = [int(node) for cluster in clusters for node in cluster]
        if sorted(nodes) != list(range(len(nodes))):
            twice = sorted({node for node in nodes if nodes.count(node) > 1})
            missing = sorted(set(range(max(nodes, default=-1) + 1)) - set(nodes))
            negative = sorted(node for node in nodes if node < 0)
            raise PartitionError(
                f"expected every node 0..N-1 in exactly one cluster; twice: {twice}, in none: {missing}, negative: {negative}"
            )
        labels = torch.empty(len(nodes), dtype=torch.long)
        for label, cluster in enumerate(clusters):
            labels[torch.as_tensor([int(node) for node in cluster], dtype=torch.long)] = label
        return cls(labels, len(clusters))

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.labels)

    @cached_property
    def num_clusters(self) -> int:
        """k."""
        return int(self.labels.max()) + 1

    @cached_property
    def sizes(self) -> Tensor:
        """Number of nodes of each cluster, (k,)."""
        return torch.bincount(self.labels, minlength=self.num_clusters)

    @cached_property
    def order(self) -> Tensor:
        """The nodes sorted by cluster, in their own order inside each, (N,)."""
        return torch.argsort(self.labels, stable=True)

    @cached_property
    def ptr(self) -> Tensor:
        """Where each cluster starts in ``order``, (k + 1,)."""
        return torch.cat([torch.zeros(1, dtype=torch.long), self.sizes.cumsum(0)])

    def members(self, cluster: int) -> Tensor:
        """The nodes of one cluster, in increasing order."""
        if not 0 <= cluster < self.num_clusters:
            raise PartitionError(f"expected a cluster in 0..{self.num_clusters - 1}, got {cluster}")
        return self.order[self.ptr[cluster] : self.ptr[cluster + 1]]

    def sum(self, values: Tensor, dim: int = 0) -> Tensor:
        """Sums over the nodes of each cluster along an axis of length N, which has length k afterwards.

        Raises:
            ShapeError: that axis has another length.

        Example:
            >>> Partition([0, 0, 1]).sum(torch.tensor([1.0, 2.0, 4.0]))
            tensor([3., 4.])
        """
        if values.shape[dim] != self.num_nodes:
            raise ShapeError(f"expected {self.num_nodes} nodes along axis {dim}, got {tuple(values.shape)}")
        shape = list(values.shape)
        shape[dim] = self.num_clusters
        return values.new_zeros(shape).index_add(dim, self.labels.to(values.device), values)

    def average(self, values: Tensor) -> Tensor:
        """Each node's value replaced by the mean of its cluster, (N, ...) -> (N, ...).

        Raises:
            ShapeError: not N rows.

        Example:
            >>> Partition([0, 0, 1]).average(torch.tensor([1.0, 2.0, 4.0]))
            tensor([1.5000, 1.5000, 4.0000])
        """
        sizes = self.sizes.to(values).reshape(-1, *[1] * (values.ndim - 1))
        return (self.sum(values) / sizes)[self.labels.to(values.device)]

    def refines(self, other: "Partition") -> bool:
        """Whether every cluster of this partition lies inside one cluster of ``other``."""
        if self.num_nodes != other.num_nodes:
            raise PartitionError(f"partitions of {self.num_nodes} and of {other.num_nodes} nodes cannot be compared")
        return torch.equal(self.coarse_labels(other)[self.labels], other.labels)

    def coarse_labels(self, other: "Partition") -> Tensor:
        """The cluster of ``other`` that holds the first node of each cluster here, (k,): the map fine -> coarse of a chain."""
        return other.labels[self.order[self.ptr[:-1]]]

    def __eq__(self, other: object) -> bool:
        """Equal as sets of clusters: the numbers of the clusters do not matter."""
        if not isinstance(other, Partition):
            return NotImplemented
        return torch.equal(_by_first_appearance(self.labels), _by_first_appearance(other.labels))

    def __hash__(self) -> int:
        return hash(tuple(_by_first_appearance(self.labels).tolist()))

    def __repr__(self) -> str:
        sizes = self.sizes.tolist()
        shown = str(sizes) if len(sizes) <= 8 else f"[{', '.join(map(str, sizes[:7]))}, ...]"
        plural = "" if len(sizes) == 1 else "s"
        return f"Partition({self.num_nodes} nodes into {len(sizes)} cluster{plural} of sizes {shown})"


def _check_num_nodes(num_nodes: int) -> None:
    if not is_count(num_nodes):
        raise PartitionError(f"expected num_nodes as an integer >= 1, got {num_nodes!r}")


def _check_range(labels: Tensor, num_clusters: int) -> None:
    if not is_count(num_clusters):
        raise PartitionError(f"expected num_clusters as an integer >= 1, got {num_clusters!r}")
    if num_clusters > len(labels):
        raise PartitionError(f"expected at most one cluster per node, got num_clusters={num_clusters} for {len(labels)} nodes")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_clusters:
        raise PartitionError(
            f"expected labels in 0..{num_clusters - 1}, got {low}..{high}; leave num_clusters out to renumber by first appearance"
        )
    empty = torch.nonzero(torch.bincount(labels, minlength=num_clusters) == 0).flatten().tolist()
    if empty:
        raise PartitionError(
            f"clusters {empty} have no node; num_clusters={num_clusters} needs labels 0..{num_clusters - 1} to all occur"
        )
