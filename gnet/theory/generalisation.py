"""Bounds for partial and approximate symmetry: what it gains in generalisation, and what it costs in approximation."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from gnet.errors import ConfigError, GroupError, ShapeError
from gnet.groups.cluster import ClusterGroup
from gnet.theory.checks import as_float64, as_number, check_non_negative, check_sample_size
from gnet.theory.shrinkage import shrinkage_factor


@dataclass(frozen=True)
class GeneralisationBound:
    """A bound on |empirical risk - risk| for all functions at once: three terms, and the level at which the first is smallest."""

    covering: float
    asymmetry: float
    confidence: float
    level: int

    @property
    def value(self) -> float:
        """Their sum."""
        return self.covering + self.asymmetry + self.confidence


def generalisation_bound(
    radii: Sequence[float],
    cells: Sequence[float],
    n: int,
    *,
    lipschitz: float = 1.0,
    epsilon: float = 0.0,
    largest_loss: float = 1.0,
    delta: float = 0.05,
) -> GeneralisationBound:
    """With probability 1 - delta the risks of all functions are as near to their means over n samples as this says.

        2 epsilon + L min_J (r_J + 1 / (2 sqrt(n)) sum_(j <= J) r_(j - 1) sqrt(N_j)) + M sqrt(log(1 / delta) / (2 n))

    Z_0 is a set of which a *set* H of transformations makes all data, H Z_0 = Z; no group is needed. It is cut into nested cells
    at levels 0, 1, ...: N_j cells of diameter at most r_j. Where H is a group of isometries that moves nearly every point, N_j is
    about |H| times smaller than for Z itself, as if there were |H| times as many samples, at the price 2 epsilon.

    Args:
        radii: r_0, r_1, ..., the largest *diameters* of cells.
        cells: N_0 = 1, N_1, ...; for data see ``greedy_net_sizes``.
        n: number of samples.
        lipschitz: L, of the losses as functions of a sample.
        epsilon: by how much losses change under H, at most: the asymmetry of the model.
        largest_loss: M.
        delta: how often the bound may fail.

    Shapes:
        radii, cells: as many numbers of each as there are levels

    Units: of the loss; radii times ``lipschitz`` are in them.

    Raises:
        ConfigError: radii that grow, cells that shrink or do not start at 1, or numbers out of range.
        ShapeError: radii or cells that are no numbers.
        DataError: radii or cells that are NaN or infinite.

    References:
        After Petrache and Trivedi (2023), arXiv:2305.17592, theorems on approximate and partial equivariance; constants of its
        own: a chain of approximations on the cells, and McDiarmid's inequality.

    Example:
        >>> bound = generalisation_bound([2.0**-j for j in range(13)], [2**j for j in range(13)], 100)
        >>> round(bound.covering, 7), bound.asymmetry, round(bound.confidence, 4)
        (0.2268687, 0.0, 0.1224)
    """
    widths, counts = (as_float64(values).flatten().tolist() for values in (radii, cells))
    if len(widths) != len(counts) or not widths or counts[0] != 1:
        raise ConfigError(f"expected as many radii as cells, from N_0 = 1 on, got {len(widths)} and cells {counts[:3]}")
    falls = all(a >= b for a, b in pairwise([*widths, 0.0]))
    rises = all(a <= b for a, b in pairwise(counts))
    if not (falls and rises):
        raise ConfigError("expected finer levels one after the other: radii that do not grow, cells that do not shrink")
    check_sample_size(n)
    check_non_negative(lipschitz=lipschitz, epsilon=epsilon, largest_loss=largest_loss)
    if not 0 < as_number(delta) < 1:
        raise ConfigError(f"expected delta in (0, 1), got {delta!r}")
    sums, values = 0.0, [widths[0]]
    for before, width, count in zip(widths, widths[1:], counts[1:], strict=False):
        sums += before * math.sqrt(count) / (2 * math.sqrt(n))
        values.append(width + sums)
    level = min(range(len(values)), key=values.__getitem__)
    confidence = largest_loss * math.sqrt(math.log(1 / delta) / (2 * n))
    return GeneralisationBound(lipschitz * values[level], 2 * epsilon, confidence, level)


def greedy_net_sizes(
    x: ArrayLike | Tensor, diameters: Sequence[float], canonicalise: Callable[[Tensor], Tensor] | None = None
) -> list[int]:
    """How many cells of each diameter the samples need (Euclidean): an estimate of the cells of ``generalisation_bound``.

    Cells are what lies around the centres of a greedy net, whose radius is *half* the diameter: two points of a ball of radius r
    may be 2 r apart. Samples that are all within one diameter of each other are one cell. Greedy nets are not nested, and cover
    the samples rather than the space they come from: an estimate, no bound.

    Args:
        diameters: of the cells, the r_0, r_1, ... of ``generalisation_bound``, which wants one cell at the first.
        canonicalise: maps each sample to a representative of its orbit first, see ``sorted_within``.

    Shapes:
        x: (B, ...)

    Units: diameters in those of x.

    Raises:
        ShapeError: no samples.
        ConfigError: a diameter that is negative or not finite.
        DataError: entries that are NaN or infinite.

    References:
        Gonzalez (1985), doi:10.1016/0304-3975(85)90224-5, on nets that are chosen greedily.

    Example:
        >>> x, diameters = [[0.0], [0.1], [1.0]], [1.0, 0.5, 0.01]
        >>> greedy_net_sizes(x, diameters)
        [1, 2, 3]
        >>> generalisation_bound(diameters, greedy_net_sizes(x, diameters), n=100).level
        2
    """
    samples = as_float64(x)
    if samples.ndim < 2 or not len(samples):
        raise ShapeError(f"expected samples (B, ...), got {tuple(samples.shape)}")
    check_non_negative(**{f"diameters[{place}]": diameter for place, diameter in enumerate(diameters)})
    points = (samples if canonicalise is None else canonicalise(samples)).flatten(1)
    return [1 if _are_within(points, diameter) else _net_size(points, diameter / 2) for diameter in diameters]


def _are_within(points: Tensor, diameter: float) -> bool:
    """Whether no two points are farther apart, (B, d)."""
    return all(float((points - each).norm(dim=1).max()) <= diameter for each in points)


def _net_size(points: Tensor, radius: float) -> int:
    """Centres that are chosen one after the other among the points that no ball covers yet."""
    uncovered, count = torch.ones(len(points), dtype=torch.bool), 0
    while bool(uncovered.any()):
        centre = points[int(uncovered.nonzero()[0])]
        uncovered &= (points - centre).norm(dim=1) > radius
        count += 1
    return count


def sorted_within(group: ClusterGroup) -> Callable[[Tensor], Tensor]:
    """The function that sorts the nodes of each cluster by their first channel, then the second and so on: one signal per orbit.

    Shapes:
        of the function: (*, N, C) -> (*, N, C)

    Units: those of x.

    Raises:
        GroupError: no cluster group.
        ConfigError: a group with swaps, whose orbits need more than sorting.

    References:
        Zaheer et al. (2017), arXiv:1703.06114, for sets as sorted lists.

    Example:
        >>> sorted_within(ClusterGroup(Partition([0, 0, 1])))(torch.tensor([[3.0], [1.0], [0.0]])).flatten()
        tensor([1., 3., 0.])
    """
    if not isinstance(group, ClusterGroup):
        raise GroupError(f"expected a cluster group, got {type(group).__name__}; of others take the least of all images by hand")
    if group.swaps is not None:
        raise ConfigError("expected a cluster group without swaps; take the best of the sorted images by hand")
    labels, order = group.partition.labels, group.partition.order

    def sort(x: Tensor) -> Tensor:
        place = torch.arange(x.shape[-2]).expand(x.shape[:-1])
        for channel in reversed(range(x.shape[-1])):  # stable sorts, the least important first
            keys = x[..., channel].gather(-1, place)
            place = place.gather(-1, keys.argsort(dim=-1, stable=True))
        place = place.gather(-1, labels[place].argsort(dim=-1, stable=True))
        arranged = x.gather(-2, place.unsqueeze(-1).expand(x.shape))
        result = torch.empty_like(x)
        result[..., order, :] = arranged
        return result

    return sort


def approximation_gap(data_error: float, model_error: float) -> float:
    """How far the nearest f with ||f_lost|| <= model_error is from a truth with ||f*_lost|| = data_error: the excess, or 0.

    Both are root mean squares over inputs that the group leaves as they are. The nearest f shrinks what the truth has beyond the
    group. For errors of single elements see ``element_approximation_gap``.

    Shapes:
        data_error, model_error: numbers

    Units: those of f.

    Raises:
        ConfigError: an error that is negative or not finite.

    References:
        After Petrache and Trivedi (2023), arXiv:2305.17592, on the approximation error of partially equivariant models.

    Example:
        >>> approximation_gap(0.5, 0.2), approximation_gap(0.2, 0.5)
        (0.3, 0.0)
    """
    check_non_negative(data_error=data_error, model_error=model_error)
    return max(data_error - model_error, 0.0)


def element_approximation_gap(data_error: float, model_error: float) -> float:
    """How far every f with ||g^-1 f(g .) - f|| <= model_error for one g is from a truth with ||g^-1 f*(g .) - f*|| = data_error.

    At least (data_error - model_error) / 2, or 0: moving f* there and back again costs what f does not change. Where g is its own
    inverse, and the norm is that of an inner product, some f is as near.

    Shapes:
        data_error, model_error: numbers

    Units: those of f, in any norm that g keeps.

    Raises:
        ConfigError: an error that is negative or not finite.

    References:
        After Petrache and Trivedi (2023), arXiv:2305.17592, on the approximation error of partially equivariant models: the
        triangle inequality, twice.

    Example:
        >>> element_approximation_gap(0.5, 0.25), element_approximation_gap(0.25, 0.5)
        (0.125, 0.0)
    """
    return approximation_gap(data_error, model_error) / 2


def optimal_model_error(bias: float, variance: float) -> float:
    """The expected ||f_lost||^2 of the shrinkage estimator of lowest risk, b^4 / (b^2 + v): below the data error b^2, and near it
    where data are plenty.

    Args:
        bias: b^2, with the variance of the inputs in it.
        variance: v, of least squares outside the group.

    Shapes:
        bias, variance: numbers

    Units: those of the risk, y squared.

    Raises:
        ConfigError: one that is negative or not finite.

    References:
        As ``optimal_shrinkage``: lambda^2 (b^2 + v) at the best lambda; Petrache and Trivedi (2023), arXiv:2305.17592, for model
        error against data error.

    Example:
        >>> optimal_model_error(1.0, 3.0)
        0.25
    """
    return shrinkage_factor(bias, variance) * bias
