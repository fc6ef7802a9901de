"""What one data set says of a symmetry: an unbiased estimate of its bias, of its risk, and the shrinkage that follows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from gnet.errors import ShapeError
from gnet.graphs.partition import Partition
from gnet.groups.base import NodeGroup
from gnet.groups.cluster import ClusterGroup
from gnet.orbits import PairOrbits
from gnet.theory.checks import as_float64, check_finite, check_non_negative
from gnet.theory.linear_maps import split_map
from gnet.theory.shrinkage import as_chain, as_groups


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """Least squares of signals (or one number) on signals, with what is needed to say how sure it is.

    Shapes:
        theta: (N, C', N, C), receiver first, or (N, C) for one number out
        inverse_gram: (N C, N C), the inverse of X^T X

    Raises:
        ShapeError: other shapes.
        DataError: entries, or a noise, that are NaN or infinite.
        ConfigError: a noise below 0.
    """

    theta: Tensor
    inverse_gram: Tensor
    noise: float
    """The unbiased estimate of sigma_xi^2."""

    def __post_init__(self) -> None:
        shape = tuple(self.theta.shape)
        if len(shape) not in (2, 4) or (len(shape) == 4 and shape[0] != shape[2]):
            raise ShapeError(f"expected theta (N, C', N, C), or (N, C) for one number out, got {shape}")
        size = math.prod(shape[-2:])
        if self.inverse_gram.shape != (size, size):
            raise ShapeError(f"expected inverse_gram ({size}, {size}) beside theta {shape}, got {tuple(self.inverse_gram.shape)}")
        for values in (self.theta, self.inverse_gram, torch.tensor([self.noise])):
            check_finite(values)
        check_non_negative(noise=self.noise)

    @classmethod
    def fit(cls, x: ArrayLike | Tensor, y: ArrayLike | Tensor, *, centred: bool = False) -> "LeastSquares":
        """Fit without intercept, or with one where the means are taken off first.

        Args:
            centred: take the mean of each entry off, which costs one degree of freedom.

        Shapes:
            x: (n, N) or (n, N, C)    y: (n,) for one number out, else (n, N) or (n, N, C')

        Raises:
            ShapeError: other shapes, no more samples than inputs, or inputs that depend on others.
            DataError: entries that are NaN or infinite.

        Example:
            >>> x = torch.randn(50, 3, dtype=torch.float64)
            >>> LeastSquares.fit(x, 2 * x).theta.reshape(3, 3).diagonal().round(decimals=9)
            tensor([2., 2., 2.], dtype=torch.float64)
        """
        inputs, targets = as_float64(x), as_float64(y)
        if inputs.ndim not in (2, 3) or targets.ndim not in (1, 2, 3) or len(inputs) != len(targets):
            raise ShapeError(
                "expected x (n, N) or (n, N, C) and y (n,), (n, N) or (n, N, C'), "
                f"got {tuple(inputs.shape)} and {tuple(targets.shape)}"
            )
        size = inputs.shape[1]
        if targets.ndim > 1 and targets.shape[1] != size:
            raise ShapeError(f"expected y for each of {size} nodes, or one number (n,), got {tuple(targets.shape)}")
        flat, out = inputs.flatten(1), targets.reshape(len(targets), -1)
        if centred:
            flat, out = flat - flat.mean(0), out - out.mean(0)
        n, p = flat.shape
        free = n - p - int(centred)
        if free < 1:
            raise ShapeError(f"expected more samples than inputs, got {n} samples of {p} inputs; take a ridge penalty")
        # Each input in a unit of its own, since full rank does not depend on units.
        scale = flat.norm(dim=0)
        # The triangular factor alone: the inverse of X^T X without its squared condition number.
        q, r = torch.linalg.qr(flat / scale.where(scale > 0, 1.0))
        if float(r.diagonal().abs().min()) <= 1e-12 * float(r.diagonal().abs().max()):
            raise ShapeError("expected inputs of full rank, got some that depend on others; take a ridge penalty")
        weights = torch.linalg.solve_triangular(r, q.mT @ out, upper=True) / scale[:, None]  # (p, q)
        inverse = torch.linalg.solve_triangular(r, torch.eye(p, dtype=torch.float64), upper=True) / scale[:, None]
        noise = float((out - flat @ weights).square().sum()) / (free * out.shape[1])
        if targets.ndim == 1:
            theta = weights.reshape(size, -1)
        else:
            theta = weights.mT.reshape(size, -1, size, inputs.shape[2] if inputs.ndim == 3 else 1)
        return cls(theta, inverse @ inverse.mT, noise)

    @property
    def is_invariant(self) -> bool:
        """Whether one number comes out."""
        return self.theta.ndim == 2

    def trace(self, group: NodeGroup) -> float:
        """tr[Psi o (C x I)]: the variance of the average over a group, per sigma_xi^2.

        The group's trivial subgroup has all of it, out_dim times tr C.

        Raises:
            GroupError: a group on other nodes, or one of more than 4096 nodes with generators.
        """
        size = len(self.theta)
        channels = self.inverse_gram.shape[0] // size
        by_node = torch.einsum("icjc->ij", self.inverse_gram.reshape(size, channels, size, channels))
        if self.is_invariant:
            return _mean_within(by_node, group.node_orbits())
        return self.theta.shape[1] * _trace(by_node, group)


@dataclass(frozen=True)
class BiasEstimate:
    """What least squares says of a group; all squares without sigma_x^2.

    ``bias`` estimates ||Theta_lost||^2 without bias, so it may be negative, and must not be clipped where groups are compared.
    ``variance`` is what the average over the group has left of the noise.
    """

    bias: float
    variance: float
    noise: float

    @property
    def risk(self) -> float:
        """Estimated excess risk of the average over the group, for white inputs of variance 1: as Mallows' C_p."""
        return self.bias + self.variance


def estimate_bias(fit: LeastSquares, group: NodeGroup) -> BiasEstimate:
    """How far the truth is from a group's maps, by least squares on one data set, and what the group would leave of the noise.

    Args:
        fit: of the data; one fit serves all groups.

    Shapes:
        fit.theta: (N, C', N, C), or (N, C) for one number out

    Units: those of y over those of x, squared.

    Raises:
        ShapeError: a group on other nodes.
        GroupError: no group of nodes, or one of more than 4096 nodes with generators.

    References:
        Mallows (1973), doi:10.1080/00401706.1973.10489103, for subsets of regressors.

    Example:
        >>> x = torch.randn(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> estimate = estimate_bias(LeastSquares.fit(x, x @ torch.tensor([1.0, 1.0, 3.0]).double()), SymmetricGroup(3))
        >>> round(estimate.bias, 6)  # of (1, 1, 3), whose mean is 5/3
        2.666667
    """
    split = split_map(fit.theta, group, "invariant" if fit.is_invariant else "equivariant")
    kept = fit.trace(group)
    whole = split.out_dim * float(fit.inverse_gram.trace())
    return BiasEstimate(float(split.lost.square().sum()) - fit.noise * (whole - kept), fit.noise * kept, fit.noise)


def select_group(fit: LeastSquares, groups: Sequence[NodeGroup]) -> tuple[int, tuple[BiasEstimate, ...]]:
    """Which of some groups has the lowest estimated risk, and all estimates.

    Among groups of nearly equal risk the choice is a lottery, which costs more than it gains: ``estimate_shrinkage`` is the safer
    default.

    Shapes:
        returns: the place of the group, and an estimate for each

    Units: as ``estimate_bias``.

    Raises:
        ConfigError: no group.
        ShapeError, GroupError: as ``estimate_bias``.

    References:
        Mallows (1973), doi:10.1080/00401706.1973.10489103.

    Example:
        >>> x = torch.randn(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> y = x @ torch.tensor([1.0, 1.0, 3.0]).double() + 0.1 * torch.randn(200, dtype=torch.float64)
        >>> select_group(LeastSquares.fit(x, y), [ClusterGroup(Partition([0, 0, 1])), SymmetricGroup(3)])[0]
        0
    """
    found = tuple(estimate_bias(fit, group) for group in as_groups(groups))
    return min(range(len(found)), key=lambda place: found[place].risk), found


def estimate_shrinkage(fit: LeastSquares, groups: NodeGroup | Sequence[NodeGroup]) -> tuple[Tensor, tuple[float, ...]]:
    """Least squares shrunk along a chain of groups by estimated factors, max(0, q_j - v_j) / q_j, and the factors.

    q_j is the squared norm of the increment of least squares, v_j the estimate of its part that is noise. What the smallest
    group takes away is left out.

    Args:
        groups: as in ``optimal_shrinkage``.

    Shapes:
        returns: a map shaped as ``fit.theta``, and a factor for each increment

    Units: those of ``fit.theta``.

    Raises:
        GroupError: no groups of nodes, or groups that are not nested.
        ConfigError: no group.
        ShapeError: groups on other nodes.

    References:
        James and Stein (1961), with the part of the noise estimated for each increment.

    Example:
        >>> x = torch.randn(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> y = x @ torch.tensor([1.0, 1.0, 1.0]).double()
        >>> theta, factors = estimate_shrinkage(LeastSquares.fit(x, y), SymmetricGroup(3))
        >>> theta.flatten().round(decimals=6)
        tensor([1., 1., 1.], dtype=torch.float64)
    """
    chain = as_chain(groups)
    output = "invariant" if fit.is_invariant else "equivariant"
    kept = [split_map(fit.theta, group, output).kept for group in chain]  # type: ignore[arg-type]
    traces = [fit.trace(group) for group in chain]
    theta, factors = kept[-1].clone(), []
    for number in range(len(chain) - 1):
        increment = kept[number] - kept[number + 1]
        size = float(increment.square().sum())
        noise = fit.noise * (traces[number] - traces[number + 1])
        factors.append(max(0.0, size - noise) / size if size > 0 else 0.0)
        theta += factors[-1] * increment
    return theta.reshape(fit.theta.shape), tuple(factors)


def _mean_within(by_node: Tensor, clusters: Partition) -> float:
    """Sum over clusters of the sum of a block over its size."""
    return float((_sums_within(by_node, clusters) / clusters.sizes).sum())


def _sums_within(by_node: Tensor, clusters: Partition) -> Tensor:
    """The sum of each cluster's block, (k,)."""
    return clusters.sum(clusters.sum(by_node), 1).diagonal()


def _trace(by_node: Tensor, group: NodeGroup) -> float:
    """tr[Psi o (C x I)] for one channel out, C (N, N)."""
    if isinstance(group, ClusterGroup) and group.swaps is None:
        sizes, k = group.partition.sizes.double(), group.partition.num_clusters
        sums, own = _sums_within(by_node, group.partition), group.partition.sum(by_node.diagonal())
        others = torch.where(sizes > 1, ((sizes - 2) * sums + own) / (sizes * (sizes - 1)).clamp(min=1), 0.0)
        return float((own / sizes + others + (k - 1) * sums / sizes).sum())
    orbits = PairOrbits.of(group)
    # The projection commutes with the group, so C may be averaged first; then all receivers of a node orbit give the same.
    mean, labels, share = orbits.mean(by_node), orbits.labels(), 1 / orbits.orbit_sizes.double()
    nodes = group.node_orbits()
    total = 0.0
    for receiver, count in zip(nodes.order[nodes.ptr[:-1]].tolist(), nodes.sizes.tolist(), strict=True):
        mine, where = torch.unique(labels[receiver], return_inverse=True)
        total += count * float((_sums_within(mean, Partition(where, len(mine))) * share[mine]).sum())
    return total
