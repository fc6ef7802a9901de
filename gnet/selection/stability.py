"""Would other data, or another seed, give the same clusters?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from gnet.errors import ConfigError, PartitionError
from gnet.graphs.coarsen import ClusteringMethod, coarsen
from gnet.graphs.partition import Partition

if TYPE_CHECKING:
    from torch_geometric.data import Data

STABLE = 0.75
"""Mean adjusted Rand index from which a partition counts as stable: below, pairs of runs disagree on a good part of the nodes."""

DIFFERENT = 1 - 1 / math.e
"""Share of the samples that is among as many drawn with replacement."""


@dataclass(frozen=True, eq=False)
class Stability:
    """How much several partitions of the same nodes agree.

    ``agreement`` holds the adjusted Rand index of every pair of runs: 1 for the same clusters, 0 for what chance would give.

    Shapes:
        agreement: (R, R) float64    together: (N, N) float64
    """

    partitions: tuple[Partition, ...]
    agreement: Tensor

    @property
    def score(self) -> float:
        """Mean adjusted Rand index over pairs of runs."""
        pairs = torch.ones_like(self.agreement, dtype=torch.bool).triu(1)
        return float(self.agreement[pairs].mean())

    @property
    def is_stable(self) -> bool:
        """Whether ``score`` is at least ``STABLE``."""
        return self.score >= STABLE

    @cached_property
    def together(self) -> Tensor:
        """In which share of the runs two nodes are in one cluster."""
        total = torch.zeros(self.partitions[0].num_nodes, self.partitions[0].num_nodes, dtype=torch.float64)
        for partition in self.partitions:
            total += (partition.labels[:, None] == partition.labels).double()
        return total / len(self.partitions)

    @property
    def doubtful(self) -> Tensor:
        """How unsettled each node is, (N,): mean over the others of 4 q (1 - q), q the share of runs they are together."""
        spread = 4 * self.together * (1 - self.together)
        return spread.sum(1) / max(len(spread) - 1, 1)

    def __repr__(self) -> str:
        verdict = "stable" if self.is_stable else f"unstable (below {STABLE})"
        return f"Stability({len(self.partitions)} runs, mean adjusted Rand index {self.score:.2f}: {verdict})"


def partition_stability(partitions: Sequence[Partition]) -> Stability:
    """Compare the clusters that several runs have found, of other seeds or other samples.

    Raises:
        ConfigError: fewer than two partitions.
        PartitionError: partitions of different nodes, or what is no partition.

    References:
        Hubert and Arabie (1985), doi:10.1007/BF01908075, for the adjusted Rand index.

    Example:
        >>> partition_stability([Partition([0, 0, 1, 1]), Partition([0, 0, 1, 1]), Partition([0, 0, 0, 1])])
        Stability(3 runs, mean adjusted Rand index 0.33: unstable (below 0.75))
    """
    found = tuple(partitions)
    if len(found) < 2:
        raise ConfigError(f"expected at least two partitions to compare, got {len(found)}")
    for each in found:
        if not isinstance(each, Partition):
            raise PartitionError(f"expected partitions, got {type(each).__name__}; make one of labels by Partition(labels)")
    sizes = {partition.num_nodes for partition in found}
    if len(sizes) > 1:
        raise PartitionError(f"expected partitions of the same nodes, got some of {sorted(sizes)} nodes")
    agreement = torch.eye(len(found), dtype=torch.float64)
    labels = [partition.labels.numpy() for partition in found]
    for first, second in combinations(range(len(found)), 2):
        index = adjusted_rand_score(labels[first], labels[second])
        agreement[first, second] = agreement[second, first] = float(index)
    return Stability(found, agreement)


def seed_stability(graph: "Data", num_clusters: int, *, method: ClusteringMethod = "spectral", num_runs: int = 10) -> Stability:
    """Coarsen a graph with several seeds, and compare: whether the clusters are the graph's, or the seed's.

    Raises:
        ConfigError, PartitionError, GraphError: as ``gnet.graphs.coarsen``; fewer than two runs.

    Example:
        >>> from torch_geometric.data import Data
        >>> two = Data(edge_index=torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 0, 4, 5, 3]]), num_nodes=6)
        >>> seed_stability(two, 2, method="louvain", num_runs=3)
        Stability(3 runs, mean adjusted Rand index 1.00: stable)
    """
    return partition_stability([coarsen(graph, num_clusters, method, seed=seed) for seed in range(num_runs)])


def bootstrap_stability(
    learn: Callable[[Tensor], Partition],
    num_samples: int,
    *,
    num_runs: int = 10,
    share: float | None = None,
    generator: torch.Generator | None = None,
) -> Stability:
    """Learn the partition again from samples drawn with replacement, or from a share of them, and compare.

    Samples drawn with replacement come several times, and with them their noise, which whoever estimates the noise takes for
    less than it is: ``merge_clusters`` then finds clusters that are too fine. ``share=DIFFERENT`` draws as many samples as are
    different among those, without copies.

    Args:
        learn: a partition from the numbers of the samples to use, (n,) int64.
        num_samples: n.
        num_runs: how often.
        share: of the samples, drawn without replacement; None draws all of them, with replacement.
        generator: of the draws.

    Raises:
        ConfigError: fewer than two runs, or a share outside (0, 1).

    References:
        Hennig (2007), doi:10.1016/j.csda.2006.11.025, on the stability of clusters under resampling.

    Example:
        >>> bootstrap_stability(lambda rows: Partition([0, 0, 1]), 20, num_runs=3)
        Stability(3 runs, mean adjusted Rand index 1.00: stable)
    """
    if share is not None and not 0 < share < 1:
        raise ConfigError(f"expected a share in (0, 1), got {share}")

    def draw() -> Tensor:
        if share is None:
            return torch.randint(num_samples, (num_samples,), generator=generator)
        return torch.randperm(num_samples, generator=generator)[: max(1, round(share * num_samples))]

    return partition_stability([learn(draw()) for _ in range(num_runs)])
