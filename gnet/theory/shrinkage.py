"""Between a group and none: how far to shrink what the group would take away, if the truth and the noise are known."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from numpy.typing import ArrayLike
from torch import Tensor

from gnet.errors import ConfigError
from gnet.groups.base import NodeGroup, check_node_group
from gnet.groups.cluster import TrivialGroup
from gnet.theory.checks import check_non_negative, check_sample_size
from gnet.theory.crossover import check_nested
from gnet.theory.linear_maps import InputNorm, Output, split_map


@dataclass(frozen=True)
class Shrinkage:
    """The best factors for the increments of a chain of groups, and the expected excess risk with them.

    Each tuple has an entry for each increment, from what only the smallest group keeps to what the second largest adds to the
    largest. ``rest`` is the risk that no factor changes.
    """

    factors: tuple[float, ...]
    biases: tuple[float, ...]
    variances: tuple[float, ...]
    rest: float

    @property
    def risk(self) -> float:
        """Expected excess risk at the best factors."""
        return self.risk_at(self.factors)

    @property
    def model_error(self) -> float:
        """Expected squared norm of what the estimator has beyond the largest group, at the best factors."""
        return sum(factor**2 * (b + v) for factor, b, v in zip(self.factors, self.biases, self.variances, strict=True))

    def risk_at(self, factors: Sequence[float]) -> float:
        """Expected excess risk with any factors: all 0 is the largest group, all 1 the smallest.

        Example:
            >>> Shrinkage((0.5,), (1.0,), (1.0,), 0.25).risk_at([1.0])
            1.25
        """
        if len(factors) != len(self.factors):
            raise ConfigError(f"expected {len(self.factors)} factors, got {len(factors)}")
        parts = zip(factors, self.biases, self.variances, strict=True)
        return self.rest + sum((1 - factor) ** 2 * bias + factor**2 * variance for factor, bias, variance in parts)


def optimal_shrinkage(
    theta: ArrayLike | Tensor,
    groups: NodeGroup | Sequence[NodeGroup],
    n: int,
    *,
    sigma_x: float = 1.0,
    sigma_xi: float = 1.0,
    output: Output = "equivariant",
    covariance: ArrayLike | Tensor | None = None,
) -> Shrinkage:
    """The factors lambda of Psi_J + sum_j lambda_j (Psi_j - Psi_(j+1)), applied to least squares, of lowest expected risk.

    lambda_j = b_j^2 / (b_j^2 + v_j), with b_j^2 what the truth has of the increment and v_j the variance of least squares in it.
    Better than every group of the chain wherever both are positive.

    Args:
        groups: G_0 <= G_1 <= ... <= G_J; one group stands for the chain from the trivial group to it. What G_0 takes away
            is not estimated, and counts as bias.
        n: number of samples, more than p + 1 with p the number of inputs.

    Shapes:
        as ``expected_risk_gap``

    Units: those of y squared; factors have none.

    Raises:
        ShapeError: theta or covariance of another shape.
        GroupError: no groups of nodes, groups that are not nested, or a covariance that the largest changes.
        ConfigError: n that is no whole number >= p + 2, deviations out of range, sigma_x beside a covariance, or no group.
        DataError: entries that are NaN or infinite.

    References:
        The increments are orthogonal and their errors uncorrelated, so each has the factor of a single mean that is shrunk
        towards 0 (James and Stein 1961, here with the norm of the mean known).

    Example:
        >>> beta = torch.tensor([1.0, 1.0, 0.92], dtype=torch.float64) / 2.8464**0.5
        >>> chain = [TrivialGroup(3), ClusterGroup(Partition([0, 0, 1])), SymmetricGroup(3)]
        >>> best = optimal_shrinkage(beta, chain, 20, sigma_xi=1 / 6, output="invariant")
        >>> [round(factor, 7) for factor in best.factors], round(best.risk, 8)
        ([0.0, 0.4633484], 0.00254054)
    """
    chain = as_chain(groups)
    splits = [split_map(theta, group, output) for group in chain]
    p = splits[0].in_dim
    check_sample_size(n, p + 2, f"so that least squares of {p} inputs has a variance")
    check_non_negative(sigma_xi=sigma_xi)
    norm = InputNorm.of(sigma_x, covariance, chain[-1], p)
    each = sigma_xi**2 / (n - p - 1)
    biases, variances = [], []
    for smaller, larger in pairwise(splits):
        biases.append(norm.square(smaller.kept - larger.kept))
        variances.append(each * (smaller.dim - larger.dim))
    factors = tuple(shrinkage_factor(bias, variance) for bias, variance in zip(biases, variances, strict=True))
    return Shrinkage(factors, tuple(biases), tuple(variances), each * splits[-1].dim + norm.square(splits[0].lost))


def shrinkage_factor(bias: float, variance: float) -> float:
    """b^2 / (b^2 + v), 0 where both are 0.

    Args:
        bias: b^2, in the units of the risk.
        variance: v, in the same.

    Shapes:
        bias, variance: numbers

    Units: none; bias and variance in the same.

    Raises:
        ConfigError: one that is negative or not finite.

    References:
        James and Stein (1961), with the norm of the mean known.

    Example:
        >>> shrinkage_factor(1.0, 3.0), shrinkage_factor(0.0, 0.0)
        (0.25, 0.0)
    """
    check_non_negative(bias=bias, variance=variance)
    return bias / (bias + variance) if bias > 0 else 0.0


def as_groups(groups: Sequence[NodeGroup]) -> list[NodeGroup]:
    """A list of at least one group of nodes.

    Raises:
        GroupError: no groups of nodes.
        ConfigError: there is none.
    """
    found = list(groups) if isinstance(groups, Iterable) else [groups]
    if not found:
        raise ConfigError("expected at least one group, got none")
    for group in found:
        check_node_group(group)
    return found


def as_chain(groups: NodeGroup | Sequence[NodeGroup]) -> list[NodeGroup]:
    """A chain of at least one group, smallest first, each a subgroup of the next; of one group the chain from the trivial one.

    Raises:
        GroupError: they are not nested, or no groups of nodes.
        ConfigError: there is none.
    """
    if isinstance(groups, NodeGroup):
        return [TrivialGroup(groups.degree), groups]
    chain = as_groups(groups)
    for smaller, larger in pairwise(chain):
        check_nested(smaller, larger)
    return chain
