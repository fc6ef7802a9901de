"""Learn the clusters from data: merge, two at a time, whatever lowers the estimated risk, or a criterion like it, most."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gnet.errors import ConfigError, PartitionError
from gnet.graphs.partition import Partition
from gnet.orbits import check_edges
from gnet.theory.estimates import LeastSquares

ROUNDING = 1e-12
"""Rounding of a risk, in units of the square of least squares, of which it is a difference."""


@dataclass(frozen=True, eq=False)
class MergePath:
    """What greedy merging went through, from the partition it started with to the last one it could make.

    ``merges[t]`` are the two clusters of partition t (numbered as there) that become one in partition t + 1; ``risks[t]`` is the
    estimated excess risk of partition t, for white inputs of variance 1 (with a complexity other than 2 its criterion). Risks
    that differ by less than ``rounding`` are the same number computed in another order.

    Shapes:
        merges: (T, 2)    risks: (T + 1,) float64
    """

    start: Partition
    merges: Tensor
    risks: Tensor
    rounding: float = 0.0

    def __len__(self) -> int:
        """How many partitions there are."""
        return len(self.risks)

    def partition(self, place: int) -> Partition:
        """The partition after so many merges."""
        if not 0 <= place < len(self):
            raise ConfigError(f"expected a place in 0..{len(self) - 1}, got {place}")
        # Clusters keep the number of their first; numbers close up at the end.
        owner = torch.arange(self.start.num_clusters)
        alive = torch.arange(self.start.num_clusters)
        for first, second in self.merges[:place].tolist():
            owner[owner == alive[second]] = alive[first]
            alive = torch.cat([alive[:second], alive[second + 1 :]])
        return Partition(owner[self.start.labels])

    @cached_property
    def best(self) -> int:
        """The place of the lowest estimated risk; of those that are equal to rounding the coarsest."""
        lowest = float(self.risks.min())
        return int(torch.nonzero(self.risks <= lowest + self.rounding).max())

    @property
    def best_partition(self) -> Partition:
        """The partition of the lowest estimated risk (or criterion)."""
        return self.partition(self.best)

    def chain(self, num_partitions: int | None = None) -> list[Partition]:
        """Nested partitions of the path, coarse to fine as in ``gnet.graphs.chain``: all of them, or about so many.

        Of fewer both ends and the best are there, and the others' numbers of clusters grow by about the same factor.

        Raises:
            ConfigError: fewer than three partitions asked for.
        """
        places = list(range(len(self)))
        if num_partitions is not None and num_partitions < len(self):
            if num_partitions < 3:
                raise ConfigError(f"expected num_partitions >= 3, for both ends and the best, got {num_partitions}")
            finest = self.start.num_clusters
            counts = geometric_counts(finest - len(self) + 1, finest, num_partitions - 1)
            places = sorted({self.best, *(finest - count for count in counts)})
        return [self.partition(place) for place in reversed(places)]


def geometric_counts(first: int, last: int, num: int) -> list[int]:
    """At most ``num`` whole numbers from first to last, each larger than the one before by about the same factor.

    Example:
        >>> geometric_counts(1, 64, 7), geometric_counts(1, 3, 7)
        ([1, 2, 4, 8, 16, 32, 64], [1, 2, 3])
    """
    steps = torch.linspace(0, 1, num, dtype=torch.float64)
    return sorted(set((first ** (1 - steps) * last**steps).round().long().tolist()))


def merge_clusters(
    fit: LeastSquares,
    start: Partition | None = None,
    *,
    edge_index: Tensor | None = None,
    min_clusters: int = 1,
    complexity: float = 2.0,
) -> MergePath:
    """Merge greedily: at each step the two clusters whose union has the lowest criterion, down to ``min_clusters``.

    The criterion is the square of what is lost of least squares, plus ``complexity`` times the noise in what is kept. With 2 it
    is, up to a constant, the estimated risk of the partition's cluster group, that of ``gnet.theory.estimate_bias``. A merge
    loses 2 k - 1 weights per channel pair (and one more or fewer for clusters that had, or get, a second node), and the part of
    least squares outside the new blocks. Both are sums over blocks, O(k^2 C C') for all pairs of one step, O(N^3 C C') in all.

    The lowest estimate of many is too low an estimate: where many partitions are nearly as good, the one chosen has been lucky,
    and tends to be too fine. Use its clusters, not its risk; a ``complexity`` of log n finds true clusters, if there are any,
    with a probability that goes to 1 as n grows, which 2 does not.

    Args:
        fit: least squares on the data, signals or one number out.
        start: finest clusters to consider; None starts from single nodes.
        edge_index: only clusters that an edge joins may merge; None lets any two.
        min_clusters: where to stop.
        complexity: price of the variance of what is kept; 2 is the unbiased estimate of the risk.

    Shapes:
        edge_index: (2, E)

    Raises:
        PartitionError: a partition of other nodes.
        GraphError: edges between other nodes.
        ConfigError: ``min_clusters`` outside 1..k, or a negative complexity.

    References:
        Ward (1963), doi:10.1080/01621459.1963.10500845, for greedy merging by the growth of a sum of squares; Mallows (1973),
        doi:10.1080/00401706.1973.10489103, for the estimate; Schwarz (1978), doi:10.1214/aos/1176344136, for log n.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> x = torch.randn(60, 4, dtype=torch.float64, generator=generator)
        >>> y = x @ torch.tensor([1.0, 3.0, 1.0, 3.0]).double() + 0.1 * torch.randn(60, generator=generator)
        >>> merge_clusters(LeastSquares.fit(x, y)).best_partition.labels
        tensor([0, 1, 0, 1])
    """
    size = len(fit.theta)
    start = Partition.singletons(size) if start is None else start
    if start.num_nodes != size:
        raise PartitionError(f"expected a partition of {size} nodes, got one of {start.num_nodes}")
    if not 1 <= min_clusters <= start.num_clusters:
        raise ConfigError(f"expected min_clusters in 1..{start.num_clusters}, got {min_clusters}")
    if not complexity >= 0:
        raise ConfigError(f"expected complexity >= 0, got {complexity}; 2 for the unbiased risk, log n to find true clusters")
    state = (_NodeSums if fit.is_invariant else _PairSums)(fit, start, complexity)
    joined = None
    if edge_index is not None:
        ends = start.labels[check_edges(edge_index, size)]
        joined = torch.zeros(start.num_clusters, start.num_clusters, dtype=torch.bool)
        joined[ends[0], ends[1]] = joined[ends[1], ends[0]] = True
    risks, merges = [state.risk()], []
    while len(state.sizes) > min_clusters:
        change = state.changes()
        allowed = torch.ones_like(change, dtype=torch.bool).triu(1)
        if joined is not None:
            allowed &= joined
        change = change.masked_fill(~allowed, torch.inf)
        place = int(change.argmin())
        first, second = divmod(place, len(change))
        if torch.isinf(change[first, second]):
            break  # no edge joins what is left
        state.merge(first, second)
        if joined is not None:
            joined = _merged(joined.long(), first, second).bool()
        merges.append((first, second))
        risks.append(state.risk())
    places = torch.tensor(merges, dtype=torch.long).reshape(-1, 2)
    return MergePath(start, places, torch.tensor(risks, dtype=torch.float64), ROUNDING * state.square)


class _Sums(ABC):
    """Sums over clusters that tell the risk of a partition, and of each that merges two of its clusters.

    Shapes:
        sizes: (k,)    gram: (k, k), sums over blocks of (X^T X)^-1, its channels traced out
    """

    def __init__(self, fit: LeastSquares, start: Partition, complexity: float) -> None:
        size = len(fit.theta)
        channels = len(fit.inverse_gram) // size
        by_node = torch.einsum("icjc->ij", fit.inverse_gram.reshape(size, channels, size, channels))
        self.sizes = start.sizes.double()
        self.gram = start.sum(start.sum(by_node), 1)
        self.noise, self.complexity = fit.noise, complexity
        self.square = float(fit.theta.square().sum())

    def risk(self) -> float:
        """||Theta||^2 - kept^2 - noise t_all + complexity noise t."""
        kept, trace = self.kept()
        return self.square - kept - self.noise * (self.whole_trace - self.complexity * trace)

    whole_trace: float
    """tr (C x I): the variance of all of least squares, per sigma_xi^2."""

    @abstractmethod
    def kept(self) -> tuple[float, float]:
        """||Psi Theta||^2 and tr[Psi o (C x I)]."""

    @abstractmethod
    def changes(self) -> Tensor:
        """Change of the risk by each merge, (k, k), symmetric; the diagonal means nothing."""

    def merge(self, first: int, second: int) -> None:
        """Make one cluster of two, at the place of the first."""
        self.sizes = _merged_rows(self.sizes, first, second)
        self.gram = _merged(self.gram, first, second)


class _NodeSums(_Sums):
    """For one number out: ``weights`` (k, C) are sums over clusters of least squares."""

    def __init__(self, fit: LeastSquares, start: Partition, complexity: float) -> None:
        super().__init__(fit, start, complexity)
        self.weights = start.sum(fit.theta)
        self.whole_trace = float(fit.inverse_gram.trace())

    def kept(self) -> tuple[float, float]:
        """Sums over clusters of squares over sizes."""
        return float((self.weights.square().sum(1) / self.sizes).sum()), float((self.gram.diagonal() / self.sizes).sum())

    def changes(self) -> Tensor:
        """From the squared distance of the two means, as in Ward's method, and the traces."""
        both = self.sizes[:, None] + self.sizes
        means = self.weights / self.sizes[:, None]
        lost = torch.cdist(means, means).square() * self.sizes[:, None] * self.sizes / both
        own = self.gram.diagonal()
        after = (own[:, None] + own + self.gram + self.gram.mT) / both
        before = own / self.sizes
        return lost + self.complexity * self.noise * (after - before[:, None] - before)

    def merge(self, first: int, second: int) -> None:
        """Add up."""
        super().merge(first, second)
        self.weights = _merged_rows(self.weights, first, second)


class _PairSums(_Sums):
    """For signals out: ``blocks`` (k, k, C' C) and ``own`` (k, C' C) are sums of least squares over pairs, and over nodes."""

    def __init__(self, fit: LeastSquares, start: Partition, complexity: float) -> None:
        super().__init__(fit, start, complexity)
        self.outputs = fit.theta.shape[1]
        by_node = fit.theta.transpose(1, 2).flatten(2)  # (N, N, C' C)
        self.blocks = start.sum(start.sum(by_node), 1)
        self.own = start.sum(by_node.diagonal().mT)
        size = len(fit.theta)
        channels = len(fit.inverse_gram) // size
        self.own_gram = start.sum(fit.inverse_gram.diagonal().reshape(size, channels).sum(1))
        self.whole_trace = size * self.outputs * float(self.own_gram.sum())

    def kept(self) -> tuple[float, float]:
        """Blocks of two clusters, then those within one: its own nodes, and its other pairs."""
        sizes, k = self.sizes, len(self.sizes)
        squares = self.blocks.square().sum(2) / (sizes[:, None] * sizes)
        within, trace = _within(self.own, self._others(), self.own_gram, self.gram.diagonal(), sizes)
        between = (k - 1) * self.gram.diagonal() / sizes
        kept = squares.sum() - squares.diagonal().sum() + within.sum()
        return float(kept), self.outputs * float((between + trace).sum())

    def changes(self) -> Tensor:
        """Blocks with all other clusters through one product, O(k^3 C' C), the two clusters' own part by itself."""
        sizes, k = self.sizes, len(self.sizes)
        both = sizes[:, None] + sizes
        diagonal = self.blocks.diagonal().mT  # (k, C' C)
        pair = self.blocks + self.blocks.transpose(0, 1)
        # Squares of the rows and columns of blocks, and products of those of two clusters, over the sizes of the third.
        rows = torch.cat([self.blocks, self.blocks.transpose(0, 1)], 2) / sizes.sqrt()[:, None]  # (a, r, .)
        products = rows.flatten(1) @ rows.flatten(1).mT
        squares = products.diagonal() - 2 * diagonal.square().sum(1) / sizes
        mixed = torch.einsum("aq,abq->ab", diagonal / sizes[:, None], pair)
        products = products - mixed - mixed.mT
        shared = self.blocks.square().sum(2)
        shared = shared + shared.mT
        rest = squares[:, None] - shared / sizes  # of a, without b
        after = (rest + rest.mT + 2 * products) / both
        alone = squares / sizes
        before = alone[:, None] + alone - shared / (sizes[:, None] * sizes)
        own_gram, gram = self.own_gram, self.gram.diagonal()
        joint = gram[:, None] + gram + self.gram + self.gram.mT
        others = self._others()
        within, trace = _within(self.own, others, own_gram, gram, sizes)
        within_after, trace_after = _within(
            self.own[:, None] + self.own,
            others[:, None] + others + pair,
            own_gram[:, None] + own_gram,
            joint,
            both,
        )
        kept = after - before + within_after - within[:, None] - within
        all_between = (gram / sizes).sum()
        left = all_between - (gram / sizes)[:, None] - gram / sizes
        between = (k - 2) * (left + joint / both) - (k - 1) * all_between
        change = between + trace_after - trace[:, None] - trace
        return self.complexity * self.noise * self.outputs * change - kept

    def _others(self) -> Tensor:
        """Sums over the pairs of different nodes of each cluster, (k, C' C); zero for one node, where rounding would remain."""
        return (self.blocks.diagonal().mT - self.own) * (self.sizes > 1)[:, None]

    def merge(self, first: int, second: int) -> None:
        """Add up."""
        super().merge(first, second)
        self.blocks = _merged(self.blocks, first, second)
        self.own = _merged_rows(self.own, first, second)
        self.own_gram = _merged_rows(self.own_gram, first, second)


def _within(own: Tensor, others: Tensor, own_gram: Tensor, gram: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """What clusters keep within them, squared, and its trace: sums over their nodes, and over pairs of different ones."""
    pairs = (sizes * (sizes - 1)).clamp(min=1)
    kept = own.square().sum(-1) / sizes + others.square().sum(-1) / pairs
    of_others = torch.where(sizes > 1, ((sizes - 2) * gram + own_gram) / pairs, 0.0)
    return kept, own_gram / sizes + of_others


def _merged(blocks: Tensor, first: int, second: int) -> Tensor:
    """Sums over pairs of clusters (k, k, ...) after two of them have become one, at the place of the first."""
    rows = _merged_rows(blocks, first, second)
    return _merged_rows(rows.transpose(0, 1), first, second).transpose(0, 1)


def _merged_rows(rows: Tensor, first: int, second: int) -> Tensor:
    """Sums over clusters (k, ...) after two of them have become one, at the place of the first."""
    merged = torch.cat([rows[:second], rows[second + 1 :]])
    merged[first] = rows[first] + rows[second]
    return merged
