"""The risk of linear regression with and without a group, exactly: which group wins at which number of samples.

Inputs x are normal with variance sigma_x^2 per entry, y = Theta x + xi with noise of variance sigma_xi^2 per entry, n independent
samples, no intercept. Three estimators are told apart, because a threshold for one is none for another:

- "ols": least squares without a group (of least norm where n < p, p the number of inputs);
- "projected": the Reynolds average of that, which the published theorem is about;
- "constrained": least squares among the maps of the group, which is what training an equivariant net does.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from torch import Tensor

from gnet.errors import ConfigError, GroupError
from gnet.groups.base import NodeGroup
from gnet.groups.cluster import ClusterGroup, TrivialGroup
from gnet.isotypic import isotypic_decomposition
from gnet.theory.least_norm import least_norm_gap
from gnet.theory.linear_maps import Output, Split, as_float64, check_covariance, split_map
from gnet.theory.weighted import weighted_split

Estimator = Literal["ols", "projected", "constrained"]
ESTIMATORS = ("ols", "projected", "constrained")


def expected_risk_gap(
    theta: ArrayLike | Tensor,
    group: NodeGroup,
    n: int,
    *,
    sigma_x: float = 1.0,
    sigma_xi: float = 1.0,
    output: Output = "equivariant",
    covariance: ArrayLike | Tensor | None = None,
    weighted: bool = False,
) -> float:
    """The expected risk of least squares less that of its average over the group: positive where the symmetry helps.

    For n > p + 1 it is -||Sigma^(1/2) Theta_lost||^2 + sigma_xi^2 (dim - dim Hom_G) / (n - p - 1): what the symmetry costs and
    what it saves. For n < p - 1 least squares means the solution of least norm; at n = p - 1, p, p + 1 the gap is infinite.

    Args:
        n: number of samples.
        sigma_x: standard deviation of each entry of the inputs.
        sigma_xi: standard deviation of each entry of the noise.
        output: "equivariant" maps signals to signals, "invariant" to one number.
        covariance: of the inputs, in place of ``sigma_x``; one that the group leaves as it is.
        weighted: of any covariance, with the nearest map in the norm of the inputs in place of the average: ``weighted_split``.

    Shapes:
        theta: (N, N) or (N, C', N, C), receiver first; with ``output="invariant"`` (N,) or (N, C)
        covariance: (N C, N C), nodes slow, channels fast

    Units: those of y squared.

    Raises:
        ShapeError: theta or covariance of another shape.
        ConfigError: n < 1, negative deviations, or a covariance where n < p.
        GroupError: a covariance that the group changes, or least-norm maps of more than 128 nodes that are not the group's.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, theorem on linear regression. Elesedy and Zaidi (2021),
        arXiv:2102.10333, theorems 8 and 13, for maps that are the group's and n < p; here any map.

    Example:
        >>> beta = torch.tensor([1.0, 1.0, 0.92], dtype=torch.float64) / 2.8464**0.5
        >>> swap = ClusterGroup(Partition([0, 0, 1]))
        >>> round(expected_risk_gap(beta, SymmetricGroup(3), 20, sigma_xi=1 / 6, output="invariant"), 8)
        0.00197325
    """
    if weighted:
        return _weighted_gap(theta, group, n, sigma_xi, output, covariance)
    task = _Task.of(theta, group, n, sigma_x, sigma_xi, output, covariance)
    p = task.split.in_dim
    if n > p + 1:
        return task.noise * task.split.lost_dim / (n - p - 1) - task.bias
    if n >= p - 1:
        return math.inf
    _needs_white(task)
    return least_norm_gap(task.split, group, n, output, task.signal, task.noise)


def expected_excess_risk(
    theta: ArrayLike | Tensor,
    group: NodeGroup | None,
    n: int,
    *,
    sigma_x: float = 1.0,
    sigma_xi: float = 1.0,
    output: Output = "equivariant",
    estimator: Estimator = "projected",
    covariance: ArrayLike | Tensor | None = None,
) -> float:
    """The expected squared error of an estimator on noiseless targets: its bias and its variance.

    The noise of the targets themselves would add sigma_xi^2 for each number that comes out. Infinite where too few samples make
    the variance so.

    Args:
        group: None is the trivial group.
        estimator: see the module; "constrained" is exact for one number out, for maps that are the group's, and for maps of
            cluster groups with one channel in and out.

    Shapes, units:
        as ``expected_risk_gap``

    Raises:
        as ``expected_risk_gap``; ConfigError also for a constrained estimator without a closed form.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436. The constrained estimator splits into one regression for each
        irreducible representation (Serre 1977, section 2.7).

    Example:
        >>> beta = torch.tensor([1.0, 1.0, 0.92], dtype=torch.float64) / 2.8464**0.5
        >>> for estimator in ("ols", "projected", "constrained"):
        ...     print(round(expected_excess_risk(
        ...         beta, SymmetricGroup(3), 20, sigma_xi=1 / 6, output="invariant", estimator=estimator), 8))
        0.00520833
        0.00323508
        0.00312546
    """
    if estimator not in ESTIMATORS:
        raise ConfigError(f"expected an estimator of {', '.join(ESTIMATORS)}, got {estimator!r}")
    group = TrivialGroup(len(as_float64(theta))) if group is None else group
    task = _Task.of(theta, group, n, sigma_x, sigma_xi, output, covariance)
    if estimator == "constrained":
        return _invariant_constrained(task, n) if output == "invariant" else _equivariant_constrained(task, group, n)
    plain = _least_squares_risk(task, n)
    if estimator == "ols":
        return plain
    p = task.split.in_dim
    if n > p + 1:
        return task.bias + task.noise * task.split.dim / (n - p - 1)
    return math.inf if n >= p - 1 else plain - least_norm_gap(task.split, group, n, output, task.signal, task.noise)


def crossover_sample_size(
    theta: ArrayLike | Tensor,
    smaller_group: NodeGroup,
    larger_group: NodeGroup,
    *,
    sigma_x: float = 1.0,
    sigma_xi: float = 1.0,
    output: Output = "equivariant",
    estimator: Literal["projected", "constrained"] = "projected",
    covariance: ArrayLike | Tensor | None = None,
) -> float:
    """The number of samples below which the larger group has the lower expected risk, among n > p + 1.

    Infinite where it costs nothing: then the larger group wins however many samples there are.

    Args:
        smaller_group: a subgroup of ``larger_group``.

    Shapes, units:
        as ``expected_risk_gap``

    Raises:
        as ``expected_excess_risk``; GroupError also for groups that are not nested.

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
    if estimator not in ESTIMATORS[1:]:
        raise ConfigError(f"expected the estimator 'projected' or 'constrained', got {estimator!r}")
    check_nested(smaller_group, larger_group)
    one, two = (_Task.of(theta, group, 1, sigma_x, sigma_xi, output, covariance) for group in (smaller_group, larger_group))
    saved, cost = one.noise * (one.split.dim - two.split.dim), two.bias - one.bias
    if cost <= 1e-12 * two.scale:
        return math.inf
    if estimator == "projected":
        return one.split.in_dim + 1 + saved / cost
    if output == "invariant":
        # [B (n - 1) + s m] / (n - m - 1) of both; the common factor n - 1 leaves an equation linear in n.
        return (two.bias * (one.split.dim + 1) - one.bias * (two.split.dim + 1) + saved) / cost

    def difference(n: float) -> float:
        return _equivariant_constrained(two, larger_group, n) - _equivariant_constrained(one, smaller_group, n)

    return _first_root(difference, one.split.in_dim)


def check_nested(smaller: NodeGroup, larger: NodeGroup) -> None:
    """Refuse two groups the first of which is no subgroup of the second.

    Raises:
        GroupError: it is none.
    """
    if smaller.degree != larger.degree:
        raise GroupError(f"expected two groups on the same nodes, got {smaller.degree} and {larger.degree} nodes")
    plain = isinstance(smaller, ClusterGroup) and isinstance(larger, ClusterGroup) and larger.swaps is None
    if plain and smaller.swaps is None:  # type: ignore[attr-defined]
        nested = smaller.partition.refines(larger.partition)  # type: ignore[attr-defined]
    else:
        nested = all(larger.contains(g) for g in smaller.generators)
    if not nested:
        raise GroupError(f"expected a subgroup of {larger.name} as the smaller group, got {smaller.name}; exchange them?")


@dataclass(frozen=True, eq=False)
class _Task:
    """A regression with its group: the split of the map, its bias in the norm of the inputs, and the variances."""

    split: Split
    bias: float
    scale: float
    signal: float
    noise: float
    is_white: bool

    @classmethod
    def of(
        cls,
        theta: ArrayLike | Tensor,
        group: NodeGroup,
        n: int,
        sigma_x: float,
        sigma_xi: float,
        output: Output,
        covariance: ArrayLike | Tensor | None,
    ) -> "_Task":
        if isinstance(n, bool) or not n >= 1 or n != int(n):
            raise ConfigError(f"expected a number of samples n >= 1, got {n!r}")
        if not sigma_x > 0 or not sigma_xi >= 0 or math.isinf(sigma_x) or math.isinf(sigma_xi):
            raise ConfigError(f"expected finite sigma_x > 0 and sigma_xi >= 0, got {sigma_x} and {sigma_xi}")
        split = split_map(theta, group, output)
        if covariance is None:
            bias, scale = (sigma_x**2 * float(each.square().sum()) for each in (split.lost, split.whole))
        else:
            values = check_covariance(covariance, group, split.in_dim)
            bias, scale = (float(((each @ values) * each).sum()) for each in (split.lost, split.whole))
        return cls(split, bias, scale, sigma_x**2, sigma_xi**2, covariance is None)


def _weighted_gap(
    theta: ArrayLike | Tensor,
    group: NodeGroup,
    n: int,
    sigma_xi: float,
    output: Output,
    covariance: ArrayLike | Tensor | None,
) -> float:
    """In coordinates in which inputs are white, least squares errs alike in all directions, and the projection is orthogonal."""
    if covariance is None:
        raise ConfigError("weighted=True is for inputs with a covariance; give covariance")
    split = weighted_split(theta, group, covariance, output)
    if n <= split.in_dim + 1:
        raise ConfigError(f"expected n > p + 1 = {split.in_dim + 1} samples with weighted=True, got {n}")
    bias = float(((split.lost @ as_float64(covariance)) * split.lost).sum())
    return sigma_xi**2 * split.lost_dim / (n - split.in_dim - 1) - bias


def _least_squares_risk(task: _Task, n: int) -> float:
    p, q = task.split.in_dim, task.split.out_dim
    if n > p + 1:
        return task.noise * p * q / (n - p - 1)
    if n >= p - 1:
        return math.inf
    _needs_white(task)
    return (1 - n / p) * task.scale + task.noise * q * n / (p - n - 1)


def _needs_white(task: _Task) -> None:
    if not task.is_white:
        raise ConfigError("with fewer samples than inputs there is a closed form for white inputs only; leave covariance out")


def _invariant_constrained(task: _Task, n: float) -> float:
    """One number out: regression on the m fixed coordinates, where what the group cannot express is more noise."""
    m, bias = task.split.dim, task.bias
    if n > m + 1:
        return bias + (task.noise + bias) * m / (n - m - 1)
    if n >= m - 1:
        return math.inf
    _needs_white(task)
    return bias + (1 - n / m) * (task.scale - bias) + (task.noise + bias) * n / (m - n - 1)


def _equivariant_constrained(task: _Task, group: NodeGroup, n: float) -> float:
    split = task.split
    size = group.degree
    receivers, senders = split.out_dim // size, split.in_dim // size
    if split.is_exact:
        risk = 0.0
        for multiplicity, dim, field in irreducibles(group):
            rows, columns = n * dim / field, multiplicity * senders
            free = rows - columns + 1 - 2 / field  # of the inverse Wishart matrix over the reals, complex numbers, quaternions
            if free <= 0:
                return math.inf
            risk += task.noise * dim * multiplicity * receivers * columns / free
        return risk
    if not isinstance(group, ClusterGroup) or group.swaps is not None or receivers * senders != 1 or not task.is_white:
        raise ConfigError(
            "for maps that are not the group's there is a closed form of the constrained estimator for one channel, white inputs "
            "and cluster groups without swaps; take estimator='projected', or simulate"
        )
    return _misspecified(task, group, n)


def _misspecified(task: _Task, group: ClusterGroup, n: float) -> float:
    """Cluster means regress on cluster means, deviations within a cluster on themselves with one slope; the rest is noise."""
    partition, theta = group.partition, task.split.whole
    labels, k = partition.labels, partition.num_clusters
    if n <= k + 1:
        return math.inf
    means = torch.zeros(len(labels), k, dtype=torch.float64)  # orthonormal columns
    means[torch.arange(len(labels)), labels] = 1 / partition.sizes[labels].double().sqrt()
    from_means = theta @ means @ means.mT
    mean_rows = means.mT @ (theta - from_means)
    risk = task.bias + (task.noise * k + task.signal * float(mean_rows.square().sum())) * k / (n - k - 1)
    deviations = theta - means @ (means.mT @ theta)  # rows: what deviations are made of
    for cluster in torch.nonzero(partition.sizes > 1).flatten().tolist():
        members = partition.members(cluster)
        c = len(members)
        rows = n * (c - 1)
        if rows <= 2:
            return math.inf
        mine = deviations[members]
        inside = mine[:, members] - mine[:, members].mean(1, keepdim=True)
        outside = mine.square().sum() - inside.square().sum()
        centred = inside - (inside.trace() / (c - 1)) * (torch.eye(c, dtype=torch.float64) - 1 / c)
        symmetric = (centred + centred.mT) / 2
        risk += ((c - 1) * task.noise + task.signal * float(outside)) / (rows - 2)
        risk += 2 * task.signal * float(symmetric.square().sum()) / (rows + 2)
    return risk


def irreducibles(group: NodeGroup) -> list[tuple[int, int, int]]:
    """(multiplicity, dimension, 1, 2 or 4 for real, complex or quaternionic type) of each irreducible representation in R^N.

    Example:
        >>> irreducibles(ClusterGroup(Partition([0, 0, 0, 1, 1, 2]))), irreducibles(PermutationGroup([[1, 2, 0]]))
        ([(3, 1, 1), (1, 2, 1), (1, 1, 1)], [(1, 1, 1), (1, 2, 2)])
    """
    if isinstance(group, ClusterGroup) and group.swaps is None:
        sizes = group.partition.sizes.tolist()
        return [(len(sizes), 1, 1), *((1, size - 1, 1) for size in sizes if size > 1)]
    components = isotypic_decomposition(group).components
    return [(each.multiplicity, each.dim, len(each.field)) for each in components]


def _first_root(difference: Callable[[float], float], start: int) -> float:
    """Where the larger group stops winning; it wins for few samples, and loses for many, since it is biased."""
    low, high = float(start + 2), float(start + 4)
    if difference(low) >= 0:
        return low
    while difference(high) < 0:
        low, high = high, 2 * high
        if high > 1e15:
            return math.inf
    return float(brentq(difference, low, high, xtol=1e-9))
