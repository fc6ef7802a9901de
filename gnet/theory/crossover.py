"""Where two nested groups change places: the number of samples below which the larger one has the lower risk."""

from typing import Literal

from numpy.typing import ArrayLike
from scipy.optimize import brentq
from torch import Tensor

from gnet.errors import GroupError
from gnet.groups.base import NodeGroup, check_node_group
from gnet.groups.cluster import ClusterGroup
from gnet.theory.checks import check_choice
from gnet.theory.linear_maps import Output
from gnet.theory.regression import Task, equivariant_constrained

Crossing = Literal["projected", "constrained"]


def crossover_sample_size(
    theta: ArrayLike | Tensor,
    smaller_group: NodeGroup,
    larger_group: NodeGroup,
    *,
    sigma_x: float = 1.0,
    sigma_xi: float = 1.0,
    output: Output = "equivariant",
    estimator: Crossing = "projected",
    covariance: ArrayLike | Tensor | None = None,
) -> float:
    """The number of samples below which the larger group has the lower expected risk, as a real number.

    It is looked for where both risks are finite. For "projected" that is n > p + 1, with p the number of inputs; for
    "constrained" wherever least squares within the smaller group has a variance: n > m + 1 for m weights of one number out,
    n > k C + 1 for k clusters of signals with C channels. Below, the smaller group's risk is infinite.

    The answer is infinity where the larger group costs nothing, so that it wins however many samples there are, and 0 where it
    never wins, as without noise for a truth that the smaller group has.

    Args:
        theta: the truth.
        smaller_group: a subgroup of ``larger_group``.
        larger_group: a group that it is in.
        sigma_x, sigma_xi, output, covariance: as in ``expected_risk_gap``.
        estimator: "projected" or "constrained"; see the closed forms of ``expected_excess_risk``.

    Shapes:
        as ``expected_risk_gap``

    Units: samples.

    Raises:
        ShapeError, ConfigError, DataError: as ``expected_excess_risk``.
        GroupError: no groups of nodes, or groups that are not nested, and as ``expected_excess_risk``.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, whose simulation trains within the group and draws the threshold of the
        projected estimator; both are here.

    Example:
        >>> beta = torch.tensor([1.0, 1.0, 0.92], dtype=torch.float64) / 2.8464**0.5
        >>> swap, everything = ClusterGroup(Partition([0, 0, 1])), SymmetricGroup(3)
        >>> options = {"sigma_xi": 1 / 6, "output": "invariant"}
        >>> round(crossover_sample_size(beta, swap, everything, **options), 5)
        22.53125
        >>> round(crossover_sample_size(beta, swap, everything, estimator="constrained", **options), 5)
        21.53125
    """
    check_choice("estimator", estimator, Crossing)
    check_nested(smaller_group, larger_group)
    one, two = (Task.of(theta, group, sigma_x, sigma_xi, output, covariance) for group in (smaller_group, larger_group))
    saved, cost = one.noise * (one.split.dim - two.split.dim), two.bias - one.bias
    if cost <= 1e-12 * two.scale:
        return float("inf")
    if estimator == "constrained" and output == "equivariant":
        return _constrained_crossing(one, two)
    if estimator == "projected":
        start = one.split.in_dim + 1
    else:
        # Both risks are [b^2 (n - 1) + sigma_xi^2 m] / (n - m - 1); of their difference a factor n - 1 leaves a linear equation.
        start = one.split.dim + 1
        saved = saved + one.bias * (one.split.dim - two.split.dim)
    crossing = start + saved / cost
    return crossing if crossing > start else 0.0


def _constrained_crossing(one: Task, two: Task) -> float:
    """The first sign change of a sum of hyperbolas: minus infinity at the smaller group's pole, the bias for many samples."""
    start = max(one.pole, two.pole)

    def difference(n: float) -> float:
        return equivariant_constrained(two, n) - equivariant_constrained(one, n)

    low, step = start + 1e-9, 1.0
    if difference(low) >= 0:
        return 0.0
    while difference(start + step) < 0:
        low, step = start + step, 2 * step
        if step > 1e15:
            return float("inf")
    return float(brentq(difference, low, start + step, xtol=1e-9))


def check_nested(smaller: NodeGroup, larger: NodeGroup) -> None:
    """Refuse two groups the first of which is no subgroup of the second.

    Raises:
        GroupError: it is none, or they are no groups of nodes.
    """
    for group in (smaller, larger):
        check_node_group(group)
    if smaller.degree != larger.degree:
        raise GroupError(f"expected two groups on the same nodes, got {smaller.degree} and {larger.degree} nodes")
    plain = isinstance(smaller, ClusterGroup) and isinstance(larger, ClusterGroup) and larger.swaps is None
    if plain and smaller.swaps is None:  # type: ignore[attr-defined]
        nested = smaller.partition.refines(larger.partition)  # type: ignore[attr-defined]
    else:
        nested = all(larger.contains(g) for g in smaller.generators)
    if not nested:
        raise GroupError(f"expected a subgroup of {larger.name} as the smaller group, got {smaller.name}; exchange them?")
