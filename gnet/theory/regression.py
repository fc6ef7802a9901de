"""The risk of linear regression with and without a group, exactly: which group wins at which number of samples.

Inputs x are normal with variance sigma_x^2 per entry, y = Theta x + xi with noise of variance sigma_xi^2 per entry, n independent
samples, no intercept. Three estimators are told apart, because a threshold for one is none for another:

- "ols": least squares without a group (of least norm where n < p, p the number of inputs);
- "projected": the Reynolds average of that, which the published theorem is about;
- "constrained": least squares among the maps of the group, which is what training an equivariant net does.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from gnet.errors import ConfigError
from gnet.groups.base import NodeGroup
from gnet.groups.cluster import ClusterGroup, TrivialGroup
from gnet.isotypic import isotypic_decomposition
from gnet.theory.checks import as_float64, check_choice, check_non_negative, check_sample_size
from gnet.theory.least_norm import least_norm_gap
from gnet.theory.linear_maps import InputNorm, Output, Split, split_map
from gnet.theory.weighted import weighted_split

Estimator = Literal["ols", "projected", "constrained"]


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
        theta: the truth.
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
        ShapeError: theta or covariance of another shape, or no covariance.
        ConfigError: n that is no whole number >= 1, deviations out of range, an unknown output, sigma_x beside a covariance, a
            covariance where n < p; with ``weighted`` none, or n <= p + 1.
        GroupError: no group of nodes, a covariance that the group changes, or least-norm maps of more than 128 nodes that are not
            the group's.
        DataError: entries that are NaN or infinite.

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
        return _weighted_gap(theta, group, n, sigma_x, sigma_xi, output, covariance)
    check_sample_size(n)
    task = Task.of(theta, group, sigma_x, sigma_xi, output, covariance)
    p = task.split.in_dim
    if n > p + 1:
        return task.noise * task.split.lost_dim / (n - p - 1) - task.bias
    if n >= p - 1:
        return math.inf
    task.needs_white_inputs()
    return least_norm_gap(task.split, group, n, output, task.norm.variance, task.noise)


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
        theta, n, sigma_x, sigma_xi, output, covariance: as in ``expected_risk_gap``.
        group: None is the trivial group.
        estimator: see the module; "constrained" is exact for one number out, for maps that are the group's, and for maps of
            cluster groups with one channel in and out.

    Shapes:
        as ``expected_risk_gap``

    Units: those of y squared.

    Raises:
        ConfigError: as ``expected_risk_gap``, and for an unknown estimator or a constrained one without a closed form.
        ShapeError, GroupError, DataError: as ``expected_risk_gap``.

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
    check_choice("estimator", estimator, Estimator)
    check_sample_size(n)
    group = TrivialGroup(len(torch.atleast_1d(as_float64(theta)))) if group is None else group
    task = Task.of(theta, group, sigma_x, sigma_xi, output, covariance)
    if estimator == "constrained":
        return _invariant_constrained(task, n) if output == "invariant" else equivariant_constrained(task, n)
    plain = _least_squares_risk(task, n)
    if estimator == "ols":
        return plain
    p = task.split.in_dim
    if n > p + 1:
        return task.bias + task.noise * task.split.dim / (n - p - 1)
    return math.inf if n >= p - 1 else plain - least_norm_gap(task.split, group, n, output, task.norm.variance, task.noise)


@dataclass(frozen=True, eq=False)
class Task:
    """A regression with its group: the split of the map, the norm of the inputs, and the variance of the noise."""

    group: NodeGroup
    split: Split
    norm: InputNorm
    noise: float

    @classmethod
    def of(
        cls,
        theta: ArrayLike | Tensor,
        group: NodeGroup,
        sigma_x: float,
        sigma_xi: float,
        output: Output,
        covariance: ArrayLike | Tensor | None,
    ) -> "Task":
        """Checked.

        Raises:
            ShapeError, GroupError, DataError: as ``split_map`` and ``InputNorm.of``.
            ConfigError: numbers out of range, an unknown output.
        """
        check_non_negative(sigma_xi=sigma_xi)
        split = split_map(theta, group, output)
        return cls(group, split, InputNorm.of(sigma_x, covariance, group, split.in_dim), sigma_xi**2)

    @cached_property
    def bias(self) -> float:
        """b^2, what the group takes away from the map."""
        return self.norm.square(self.split.lost)

    @cached_property
    def scale(self) -> float:
        """The same of the whole map."""
        return self.norm.square(self.split.whole)

    @cached_property
    def irreducibles(self) -> list[tuple[int, int, int]]:
        """Of the group, decomposed once."""
        return irreducibles(self.group)

    @cached_property
    def pole(self) -> float:
        """The number of samples just above which least squares within the group, signals out, has a variance."""
        senders = self.split.in_dim // self.group.degree
        return max((multiplicity * senders - 1 + 2 / field) * field / dim for multiplicity, dim, field in self.irreducibles)

    def needs_white_inputs(self) -> None:
        """Refuse others.

        Raises:
            ConfigError: inputs with a covariance.
        """
        if self.norm.covariance is not None:
            raise ConfigError("with fewer samples than inputs there is a closed form for white inputs only; leave covariance out")


def _weighted_gap(
    theta: ArrayLike | Tensor,
    group: NodeGroup,
    n: int,
    sigma_x: float,
    sigma_xi: float,
    output: Output,
    covariance: ArrayLike | Tensor | None,
) -> float:
    """In coordinates in which inputs are white, least squares errs alike in all directions, and the projection is orthogonal."""
    if covariance is None:
        raise ConfigError("weighted=True is for inputs with a covariance; give covariance")
    if sigma_x != 1:
        raise ConfigError(f"expected sigma_x or covariance, got both; multiply the covariance by {sigma_x}^2, or leave it")
    check_non_negative(sigma_xi=sigma_xi)
    split = weighted_split(theta, group, covariance, output)
    check_sample_size(n, split.in_dim + 2, f"so that least squares of {split.in_dim} inputs has a variance")
    return sigma_xi**2 * split.lost_dim / (n - split.in_dim - 1) - InputNorm(1.0, as_float64(covariance)).square(split.lost)


def _least_squares_risk(task: Task, n: int) -> float:
    p, q = task.split.in_dim, task.split.out_dim
    if n > p + 1:
        return task.noise * p * q / (n - p - 1)
    if n >= p - 1:
        return math.inf
    task.needs_white_inputs()
    return (1 - n / p) * task.scale + task.noise * q * n / (p - n - 1)


def _invariant_constrained(task: Task, n: float) -> float:
    """One number out: regression on the m fixed coordinates, where what the group cannot express is more noise."""
    m, bias = task.split.dim, task.bias
    if n > m + 1:
        return bias + (task.noise + bias) * m / (n - m - 1)
    if n >= m - 1:
        return math.inf
    task.needs_white_inputs()
    return bias + (1 - n / m) * (task.scale - bias) + (task.noise + bias) * n / (m - n - 1)


def equivariant_constrained(task: Task, n: float) -> float:
    """The excess risk of least squares within the group, signals out, for any real n; infinite at and below ``Task.pole``."""
    split, group = task.split, task.group
    receivers, senders = split.out_dim // group.degree, split.in_dim // group.degree
    if split.is_exact:
        if n <= task.pole:
            return math.inf
        risk = 0.0
        for multiplicity, dim, field in task.irreducibles:
            rows, columns = n * dim / field, multiplicity * senders
            free = rows - columns + 1 - 2 / field  # of the inverse Wishart matrix over the reals, complex numbers, quaternions
            risk += task.noise * dim * multiplicity * receivers * columns / free
        return risk
    if (
        not isinstance(group, ClusterGroup)
        or group.swaps is not None
        or receivers * senders != 1
        or task.norm.covariance is not None
    ):
        raise ConfigError(
            "for maps that are not the group's there is a closed form of the constrained estimator for one channel, white inputs "
            "and cluster groups without swaps; take estimator='projected', or simulate"
        )
    return _misspecified(task, group, n) if n > task.pole else math.inf


def _misspecified(task: Task, group: ClusterGroup, n: float) -> float:
    """Cluster means regress on cluster means, deviations within a cluster on themselves with one slope; the rest is noise."""
    partition, theta = group.partition, task.split.whole
    labels, k = partition.labels, partition.num_clusters
    means = torch.zeros(len(labels), k, dtype=torch.float64)  # orthonormal columns
    means[torch.arange(len(labels)), labels] = 1 / partition.sizes[labels].double().sqrt()
    from_means = theta @ means @ means.mT
    mean_rows = means.mT @ (theta - from_means)
    signal = task.norm.variance
    risk = task.bias + (task.noise * k + signal * float(mean_rows.square().sum())) * k / (n - k - 1)
    deviations = theta - means @ (means.mT @ theta)  # rows: what deviations are made of
    for cluster in torch.nonzero(partition.sizes > 1).flatten().tolist():
        members = partition.members(cluster)
        c = len(members)
        rows = n * (c - 1)
        mine = deviations[members]
        inside = mine[:, members] - mine[:, members].mean(1, keepdim=True)
        outside = mine.square().sum() - inside.square().sum()
        centred = inside - (inside.trace() / (c - 1)) * (torch.eye(c, dtype=torch.float64) - 1 / c)
        symmetric = (centred + centred.mT) / 2
        risk += ((c - 1) * task.noise + signal * float(outside)) / (rows - 2)
        risk += 2 * signal * float(symmetric.square().sum()) / (rows + 2)
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
