"""Ridge regression among the maps of a group, one irreducible representation at a time."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gnet.graphs.partition import Partition
from gnet.groups.base import NodeGroup, check_node_group
from gnet.groups.cluster import ClusterGroup
from gnet.isotypic import IsotypicComponent, isotypic_decomposition


@dataclass(frozen=True, eq=False)
class Block:
    """One of the systems of least squares that a fit among the maps of a group falls into, with no weight in common.

    Shapes:
        inputs: (rows, inputs)    errors: (rows, outputs)

    Attributes:
        dim: independent rows that each sample gives.
        field: 1, 2, 4 for real, complex and quaternionic weights, which stand in so many real inputs.
        is_fixed: whether the group leaves these rows as they are, so that an offset belongs to them.

    Example:
        >>> solver = solver_of(SymmetricGroup(3), is_invariant=False)
        >>> [(block.dim, block.is_fixed) for block in solver.blocks(torch.randn(9, 3, 1), torch.randn(9, 3, 1))]
        [(1, True), (2, False)]
    """

    inputs: Tensor
    errors: Tensor
    dim: int
    field: int = 1
    is_fixed: bool = False


class Solver(ABC):
    """Ridge regression among the maps of a group, without offset: made by ``solver_of``, which finds what the group is made of.

    A copy shares that and is fitted on its own, so that ``EquivariantRidge.fit_signals`` looks for it once for many fits.

    Shapes:
        signals in and out are (n, N, C); numbers out are (n, C')
    """

    @abstractmethod
    def fixed_mean(self, values: Tensor) -> Tensor:
        """Mean over samples and over the nodes that the group can exchange: (n, N, C) -> (N, C), or (n, C) -> (C,)."""

    @abstractmethod
    def prepare(self, x: Tensor, alpha: float) -> Callable[[Tensor], None]:
        """What fits the map to any y, (n, N, C') or (n, C'), once x (n, N, C) is known; the last y stays."""

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """The fitted map."""

    @abstractmethod
    def blocks(self, x: Tensor, errors: Tensor) -> list[Block]:
        """Inputs and errors in the rows of each system: (n, N, C), and (n, N, C') or (n, C')."""

    @abstractmethod
    def dense(self) -> Tensor:
        """The fitted map as a matrix, (out, in)."""

    @property
    @abstractmethod
    def num_weights(self) -> int:
        """Dimension of the maps."""


def solver_of(group: NodeGroup | None, is_invariant: bool) -> Solver:
    """The solver for a group, not fitted yet, to serve many fits of ``EquivariantRidge``.

    Args:
        group: None is the trivial group on any number of nodes.
        is_invariant: whether numbers come out rather than signals.

    Shapes:
        of its ``prepare``: x (n, N, C), then y (n, N, C') for signals or (n, C') for numbers

    Units: of its ``prepare``: the penalty in those of x squared.

    Raises:
        GroupError: no group of nodes, or more than 4096 nodes of a group with generators, for signals.

    References:
        Serre (1977), Linear Representations of Finite Groups, section 2.2: between unlike representations there is no map.

    Example:
        >>> x = torch.randn(20, 3, 1, dtype=torch.float64)
        >>> solver = solver_of(SymmetricGroup(3), is_invariant=False)
        >>> solver.prepare(x, 0.0)(2 * x)
        >>> solver.num_weights, torch.allclose(solver.dense(), 2 * torch.eye(3, dtype=torch.float64))
        (2, True)
    """
    if group is None:
        return Plain()
    check_node_group(group)
    if is_invariant:
        return Invariant(group.node_orbits())
    if isinstance(group, ClusterGroup):
        return Clusters(group)
    return Isotypic(group)


def ridge(x: Tensor, penalty: float) -> Callable[[Tensor], Tensor]:
    """(X^T X + penalty)^-1 X^T by the smaller of the two systems, for one X and any Y; of least norm for penalty 0.

    Shapes:
        x: (n, p)    of what is returned: (n, q) -> (p, q)

    Example:
        >>> ridge(torch.eye(2), 1.0)(torch.ones(2, 1)).flatten()
        tensor([0.5000, 0.5000])
    """
    n, p = x.shape
    if penalty == 0:
        left, values, right = torch.linalg.svd(x, full_matrices=False)
        kept = values > torch.finfo(x.dtype).eps * max(n, p) * values[:1]
        inverse = right[kept] / values[kept][:, None]
        return lambda y: inverse.mT @ (left[:, kept].mT @ y)
    gram = x.mT @ x if p <= n else x @ x.mT
    root = torch.linalg.cholesky(gram + penalty * torch.eye(len(gram), dtype=x.dtype))
    if p <= n:
        return lambda y: torch.cholesky_solve(x.mT @ y, root)
    return lambda y: x.mT @ torch.cholesky_solve(y, root)


class Plain(Solver):
    """No group: one system of all inputs."""

    def fixed_mean(self, values: Tensor) -> Tensor:
        """Over samples alone."""
        return values.mean(0)

    def prepare(self, x: Tensor, alpha: float) -> Callable[[Tensor], None]:
        """Ridge regression."""
        system = ridge(x.flatten(1), alpha)

        def solve(y: Tensor) -> None:
            self.weights, self.shape = system(y.flatten(1)), y.shape[1:]

        return solve

    def apply(self, x: Tensor) -> Tensor:
        """One product."""
        return (x.flatten(1) @ self.weights).reshape(len(x), *self.shape)

    def blocks(self, x: Tensor, errors: Tensor) -> list[Block]:
        """A single one."""
        return [Block(x.flatten(1), errors.flatten(1), 1, is_fixed=True)]

    def dense(self) -> Tensor:
        """The matrix itself."""
        return self.weights.mT

    @property
    def num_weights(self) -> int:
        """All of them."""
        return self.weights.numel()


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

    def prepare(self, x: Tensor, alpha: float) -> Callable[[Tensor], None]:
        """Ridge regression in those coordinates."""
        system = ridge(self._coordinates(x), alpha)

        def solve(y: Tensor) -> None:
            self.weights, self.channels = system(y), x.shape[2]

        return solve

    def apply(self, x: Tensor) -> Tensor:
        """Coordinates, then one product."""
        return self._coordinates(x) @ self.weights

    def blocks(self, x: Tensor, errors: Tensor) -> list[Block]:
        """A single one, in those coordinates."""
        return [Block(self._coordinates(x), errors.flatten(1), 1, is_fixed=True)]

    def dense(self) -> Tensor:
        """Each node has its orbit's weight."""
        weights = self.weights.reshape(self.orbits.num_clusters, self.channels, -1)
        scaled = weights / self.orbits.sizes.double().sqrt()[:, None, None]
        return scaled[self.orbits.labels].flatten(0, 1).mT

    @property
    def num_weights(self) -> int:
        """Node orbits times channels."""
        return self.weights.numel()


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

    def prepare(self, x: Tensor, alpha: float) -> Callable[[Tensor], None]:
        """One system for the means, one of C channels for each orbit of clusters."""
        means, rest = self._split(x)
        self.means = copy.copy(self.means)  # copies of this solver must not share what is fitted
        solve_means = self.means.prepare(means, alpha)
        labels, count = self.tied.labels[self.partition.labels], self.tied.num_clusters

        def products(other: Tensor) -> Tensor:
            each = torch.einsum("nic,nio->ico", rest, other)
            return each.new_zeros(count, *each.shape[1:]).index_add(0, labels, each)

        copies = self.tied.sum(self.partition.sizes.to(x.dtype) - 1)
        penalised = products(rest) + (alpha * copies)[:, None, None] * torch.eye(x.shape[2], dtype=x.dtype)
        # Of least norm where there is nothing to learn from: singletons, and no penalty.
        inverse = torch.linalg.pinv(penalised, hermitian=True)
        self.has_deviations = copies > 0

        def solve(y: Tensor) -> None:
            y_means, y_rest = self._split(y)
            solve_means(y_means)
            self.deviations = inverse @ products(y_rest)  # (orbits, C, C')

        return solve

    def apply(self, x: Tensor) -> Tensor:
        """Means and deviations, each by its own map."""
        means, rest = self._split(x)
        back = self.means.apply(means) / self.partition.sizes.double().sqrt()[:, None]
        weights = self.deviations[self.tied.labels][self.partition.labels]
        return back[:, self.partition.labels] + torch.einsum("nic,ico->nio", rest, weights)

    def blocks(self, x: Tensor, errors: Tensor) -> list[Block]:
        """Those of the means, and one for the deviations in each orbit of clusters."""
        (means, rest), (mean_errors, rest_errors) = self._split(x), self._split(errors)
        labels = self.tied.labels[self.partition.labels]
        dims = self.tied.sum(self.partition.sizes - 1).tolist()
        nodes = [torch.nonzero(labels == orbit).flatten() for orbit in range(len(dims))]
        deviations = [
            Block(rest[:, mine].flatten(0, 1), rest_errors[:, mine].flatten(0, 1), dim)
            for mine, dim in zip(nodes, dims, strict=True)
            if dim
        ]
        return [*self.means.blocks(means, mean_errors), *deviations]

    def dense(self) -> Tensor:
        """By applying it to all unit signals."""
        return _by_units(self, len(self.partition.labels), self.deviations.shape[1])

    @property
    def num_weights(self) -> int:
        """Those of the means, and C C' for each orbit of clusters of more than one node."""
        return self.means.num_weights + int(self.has_deviations.sum()) * self.deviations[0].numel()


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

    def prepare(self, x: Tensor, alpha: float) -> Callable[[Tensor], None]:
        """Rows are samples times dimensions, columns copies times channels (times 2 or 4)."""
        systems = [(each.basis, ridge(self._inputs(each, x), alpha * each.dim)) for each in self.components]

        def solve(y: Tensor) -> None:
            self.channels = (x.shape[2], y.shape[2])
            self.weights = [system(torch.einsum("and,sno->sdao", basis, y).flatten(2).flatten(0, 1)) for basis, system in systems]

        return solve

    def apply(self, x: Tensor) -> Tensor:
        """In the basis, and back."""
        total = x.new_zeros(len(x), x.shape[1], self.channels[1])
        for component, weights in zip(self.components, self.weights, strict=True):
            outputs = (self._inputs(component, x) @ weights).reshape(len(x), component.dim, component.multiplicity, -1)
            total = total + torch.einsum("and,sdao->sno", component.basis, outputs)
        return total

    def blocks(self, x: Tensor, errors: Tensor) -> list[Block]:
        """One for each representation; the first is the trivial one."""
        turned = [torch.einsum("and,sno->sdao", each.basis, errors).flatten(2).flatten(0, 1) for each in self.components]
        return [
            Block(self._inputs(each, x), rows, each.dim, len(each.field), is_fixed=place == 0)
            for place, (each, rows) in enumerate(zip(self.components, turned, strict=True))
        ]

    def dense(self) -> Tensor:
        """By applying it to all unit signals."""
        return _by_units(self, len(self.orbits.labels), self.channels[0])

    @property
    def num_weights(self) -> int:
        """Sum over components of multiplicity^2 times 1, 2 or 4, times C C'."""
        return sum(weights.numel() for weights in self.weights)


def _by_units(solver: Solver, nodes: int, channels: int) -> Tensor:
    units = torch.eye(nodes * channels, dtype=torch.float64).reshape(-1, nodes, channels)
    return solver.apply(units).flatten(1).mT


def _normalised_sums(x: Tensor, partition: Partition) -> Tensor:
    """Sums over clusters divided by the square root of their sizes: (n, N, C) -> (n, k, C)."""
    return partition.sum(x, 1) / partition.sizes.double().sqrt()[:, None]
