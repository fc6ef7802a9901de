"""The risk gap lemma: what averaging a function over a group changes, for any function and any truth."""

from dataclasses import dataclass

from numpy.typing import ArrayLike
from torch import Tensor

from gnet.errors import ShapeError
from gnet.groups.base import NodeGroup
from gnet.theory.linear_maps import InputNorm, Output, split_map


@dataclass(frozen=True)
class RiskGap:
    """Risk of f less risk of its average over the group, E ||Y - f(X)||^2 - E ||Y - f_kept(X)||^2, in its two parts.

    ``mismatch`` = -2 <f*, f_lost> is what the truth f* has of what the group takes away, ``constraint`` = ||f_lost||^2 what that
    costs. If f* is equivariant the mismatch is 0, and averaging never hurts.
    """

    mismatch: float
    constraint: float

    @property
    def gap(self) -> float:
        """Their sum: positive where averaging helps."""
        return self.mismatch + self.constraint


def linear_risk_gap(
    truth: ArrayLike | Tensor,
    theta: ArrayLike | Tensor,
    group: NodeGroup,
    *,
    sigma_x: float = 1.0,
    output: Output = "equivariant",
    covariance: ArrayLike | Tensor | None = None,
) -> RiskGap:
    """The lemma for two linear maps and inputs that the group leaves as they are in distribution; the noise does not matter.

    Args:
        truth: f*.
        theta: f.
        sigma_x: standard deviation of each entry of white inputs.
        output: "equivariant" maps signals to signals, "invariant" to one number.
        covariance: of the inputs, in place of ``sigma_x``; one that the group leaves as it is.

    Shapes:
        truth, theta: (N, N) or (N, C', N, C), receiver first; with ``output="invariant"`` (N,) or (N, C)
        covariance: (N C, N C), nodes slow, channels fast

    Units: those of y squared.

    Raises:
        ShapeError: two shapes, or one that is no map.
        ConfigError: sigma_x <= 0 or not finite, sigma_x beside a covariance, an unknown output.
        GroupError: no group of nodes, or a covariance that the group changes.
        DataError: entries that are NaN or infinite.

    References:
        Elesedy and Zaidi (2021), arXiv:2102.10333, lemma 1, for a truth that is equivariant; Huang, Levie and Villar (2023),
        arXiv:2308.10436, lemma on the risk gap, for any.

    Example:
        >>> linear_risk_gap([[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 0.0]], SymmetricGroup(2))
        RiskGap(mismatch=0.0, constraint=2.0)
    """
    true, mine = split_map(truth, group, output), split_map(theta, group, output)
    if true.kept.shape != mine.kept.shape:
        raise ShapeError(
            f"expected a truth and a map of one shape, got {tuple(true.kept.shape)} and {tuple(mine.kept.shape)} (as matrices)"
        )
    norm = InputNorm.of(sigma_x, covariance, group, mine.in_dim)
    return RiskGap(-2 * float((true.whole * norm.times(mine.lost)).sum()) + 0.0, norm.square(mine.lost))
