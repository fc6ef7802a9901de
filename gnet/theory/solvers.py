"""Ridge regression among the maps of a group, one irreducible representation at a time."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from gnet.graphs.partition import Partition
from gnet.groups.base import NodeGroup
from gnet.groups.cluster import ClusterGroup
from gnet.isotypic import IsotypicComponent, isotypic_decomposition


class Solver(ABC):
    """Signals in, signals or numbers out; made for a group, then fitted once, without offset."""

    @abstractmethod
    def fixed_mean(self, values: Tensor) -> Tensor:
        """Mean over samples and over the nodes that the group can exchange: (n, N, C) -> (N, C), or (n, C) -> (C,)."""

    @abstractmethod
    def fit(self, x: Tensor, y: Tensor, alpha: float) -> None:
        """Solve; x (n, N, C), y (n, N, C') or (n, C')."""

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """The fitted map."""

    @abstractmethod
    def dense(self) -> Tensor:
        """The fitted map as a matrix, (out, in)."""

    @property
    @abstractmethod
    def num_weights(self) -> int:
        """Dimension of the maps."""

    @abstractmethod
    def min_samples(self, nodes: int, channels: int) -> int:
        """From how many samples on least squares has one solution, if the inputs are in general position."""


def solver_of(group: NodeGroup | None, is_invariant: bool) -> Solver:
    """The solver for a group (None is the trivial one)."""
    if group is None:
        return Plain()
    if is_invariant:
        return Invariant(group.node_orbits())
    if isinstance(group, ClusterGroup):
        return Clusters(group)
    return Isotypic(group)


def ridge(x: Tensor, y: Tensor, penalty: float) -> Tensor:
    """(X^T X + penalty)^-1 X^T Y by the smaller of the two systems; of least norm for penalty 0.

    Shapes:
        x: (n, p)    y: (n, q)    returns: (p, q)

    Example:
        >>> ridge(torch.eye(2), torch.ones(2, 1), 1.0).flatten()
        tensor([0.5000, 0.5000])
    """
    n, p = x.shape
    if penalty == 0:
        return torch.linalg.lstsq(x, y, driver="gelsd").solution
    if p <= n:
        gram = x.mT @ x + penalty * torch.eye(p, dtype=x.dtype)
        return torch.cholesky_solve(x.mT @ y, torch.linalg.cholesky(gram))
    gram = x @ x.mT + penalty * torch.eye(n, dtype=x.dtype)
    return x.mT @ torch.cholesky_solve(y, torch.linalg.cholesky(gram))


class Plain(Solver):
    """No group: one system of all inputs."""

    def fixed_mean(self, values: Tensor) -> Tensor:
        """Over samples alone."""
        return values.mean(0)

    def fit(self, x: Tensor, y: Tensor, alpha: float) -> None:
        """Ridge regression."""
        self.weights, self.shape = ridge(x.flatten(1), y.flatten(1), alpha), y.shape[1:]

    def apply(self, x: Tensor) -> Tensor:
        """One product."""
        return (x.flatten(1) @ self.weights).reshape(len(x), *self.shape)

    def dense(self) -> Tensor:
        """The matrix itself."""
        return self.weights.mT

    @property
    def num_weights(self) -> int:
        """All of them."""
        return self.weights.numel()

    def min_samples(self, nodes: int, channels: int) -> int:
        """One for each input."""
        return nodes * channels


class Invariant(Solver):
    """Numbers out: one system of the node orbits' sums over the square roots of their sizes, orthonormal coordinates."""

    def __init__(self, orbits: Partition) -> None:
        self.orbits = orbits

    def fixed_mean(self, values: Tensor) -> Tensor:
        """Over orbits for signals, over samples alone for numbers."""
        mean = values.mean(0)
        return mean if values.ndim == 2 else self.orbits.average(mean)

    def _coordinates(self, x: Tensor) -> Tensor:
        return _normalised_sums(x, self.orbits).flatten(1)

    def fit(self, x: Tensor, y: Tensor, alpha: float) -> None:
        """Ridge regression in those coordinates."""
        self.weights, self.channels = ridge(self._coordinates(x), y, alpha), x.shape[2]

    def apply(self, x: Tensor) -> Tensor:
        """Coordinates, then one product."""
        return self._coordinates(x) @ self.weights

    def dense(self) -> Tensor:
        """Each node has its orbit's weight."""
        weights = self.weights.reshape(self.orbits.num_clusters, self.channels, -1)
        scaled = weights / self.orbits.sizes.double().sqrt()[:, None, None]
        return scaled[self.orbits.labels].flatten(0, 1).mT

    @property
    def num_weights(self) -> int:
        """Node orbits times channels."""
        return self.weights.numel()

    def min_samples(self, nodes: int, channels: int) -> int:
        """One for each sum."""
        return self.orbits.num_clusters * channels


class Clusters(Solver):
    """A cluster group: cluster means regress on cluster means, deviations within a cluster on themselves.

    Swaps act on the means like on k nodes, and tie the deviations of clusters that they exchange.
    """

    def __init__(self, group: ClusterGroup) -> None:
        self.partition = group.partition
        k = group.partition.num_clusters
        self.nodes = group.node_orbits()
        self.means: Solver = Plain() if group.swaps is None else Isotypic(group.swaps)
        # Of each cluster, which weight its deviations have; clusters that swaps exchange have one.
        self.tied = Partition.singletons(k) if group.swaps is None else group.swaps.node_orbits()

    def fixed_mean(self, values: Tensor) -> Tensor:
        """Over the nodes of each orbit."""
        return self.nodes.average(values.mean(0))

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        means = _normalised_sums(x, self.partition)  # (n, k, C)
        back = means / self.partition.sizes.double().sqrt()[:, None]
        return means, x - back[:, self.partition.labels]

    def fit(self, x: Tensor, y: Tensor, alpha: float) -> None:
        """One system for the means, one of C channels for each orbit of clusters."""
        (x_means, x_rest), (y_means, y_rest) = self._split(x), self._split(y)
        self.means.fit(x_means, y_means, alpha)
        labels, count = self.tied.labels[self.partition.labels], self.tied.num_clusters
        gram, cross = (
            torch.zeros(count, x.shape[2], other.shape[2], dtype=x.dtype).index_add(
                0, labels, torch.einsum("nic,nio->ico", x_rest, other)
            )
            for other in (x_rest, y_rest)
        )
        copies = self.tied.sum(self.partition.sizes.to(x.dtype) - 1)
        penalised = gram + (alpha * copies)[:, None, None] * torch.eye(x.shape[2], dtype=x.dtype)
        # Of least norm where there is nothing to learn from: singletons, and no penalty.
        self.deviations = torch.linalg.pinv(penalised, hermitian=True) @ cross  # (orbits, C, C')
        self.has_deviations = copies > 0

    def apply(self, x: Tensor) -> Tensor:
        """Means and deviations, each by its own map."""
        means, rest = self._split(x)
        back = self.means.apply(means) / self.partition.sizes.double().sqrt()[:, None]
        weights = self.deviations[self.tied.labels][self.partition.labels]
        return back[:, self.partition.labels] + torch.einsum("nic,ico->nio", rest, weights)

    def dense(self) -> Tensor:
        """By applying it to all unit signals."""
        return _by_units(self, len(self.partition.labels), self.deviations.shape[1])

    @property
    def num_weights(self) -> int:
        """Those of the means, and C C' for each orbit of clusters of more than one node."""
        return self.means.num_weights + int(self.has_deviations.sum()) * self.deviations[0].numel()

    def min_samples(self, nodes: int, channels: int) -> int:
        """As the means need, and each deviation C rows, of which a sample has as many as dimensions."""
        rows = self.tied.sum(self.partition.sizes - 1)
        deviations = [math.ceil(channels / count) for count in rows.tolist() if count]
        return max(self.means.min_samples(self.partition.num_clusters, channels), *deviations, 0)


class Isotypic(Solver):
    """Any group of up to 4096 nodes: one system for each irreducible representation."""

    def __init__(self, group: NodeGroup) -> None:
        self.orbits = group.node_orbits()
        self.components = isotypic_decomposition(group).components

    def fixed_mean(self, values: Tensor) -> Tensor:
        """Over the nodes of each orbit."""
        return self.orbits.average(values.mean(0))

    @staticmethod
    def _inputs(component: IsotypicComponent, x: Tensor) -> Tensor:
        inner = torch.einsum("bnd,snc->sdbc", component.basis, x)
        turned = torch.einsum("fed,sdbc->sefbc", component.field, inner)
        return turned.flatten(2).flatten(0, 1)  # rows: samples and dimensions

    def fit(self, x: Tensor, y: Tensor, alpha: float) -> None:
        """Rows are samples times dimensions, columns copies times channels (times 2 or 4)."""
        self.weights, self.channels = [], (x.shape[2], y.shape[2])
        for component in self.components:
            outputs = torch.einsum("and,sno->sdao", component.basis, y).flatten(2).flatten(0, 1)
            self.weights.append(ridge(self._inputs(component, x), outputs, alpha * component.dim))

    def apply(self, x: Tensor) -> Tensor:
        """In the basis, and back."""
        total = x.new_zeros(len(x), x.shape[1], self.channels[1])
        for component, weights in zip(self.components, self.weights, strict=True):
            outputs = (self._inputs(component, x) @ weights).reshape(len(x), component.dim, component.multiplicity, -1)
            total = total + torch.einsum("and,sdao->sno", component.basis, outputs)
        return total

    def dense(self) -> Tensor:
        """By applying it to all unit signals."""
        return _by_units(self, len(self.orbits.labels), self.channels[0])

    @property
    def num_weights(self) -> int:
        """Sum over components of multiplicity^2 times 1, 2 or 4, times C C'."""
        return sum(weights.numel() for weights in self.weights)

    def min_samples(self, nodes: int, channels: int) -> int:
        """Columns over the rows of one sample, the worst component's."""
        return max(math.ceil(each.multiplicity * len(each.field) * channels / each.dim) for each in self.components)


def _by_units(solver: Solver, nodes: int, channels: int) -> Tensor:
    units = torch.eye(nodes * channels, dtype=torch.float64).reshape(-1, nodes, channels)
    return solver.apply(units).flatten(1).mT


def _normalised_sums(x: Tensor, partition: Partition) -> Tensor:
    """Sums over clusters divided by the square root of their sizes: (n, N, C) -> (n, k, C)."""
    return partition.sum(x, 1) / partition.sizes.double().sqrt()[:, None]
