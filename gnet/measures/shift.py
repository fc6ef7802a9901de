"""Input shift: whether the distribution of the inputs is invariant, by moments and by energy distance."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from gnet.errors import ConfigError, ShapeError
from gnet.groups.base import Action, Group, NodeGroup, check_node_group
from gnet.groups.cluster import ClusterGroup
from gnet.measures.equivariance import check_inputs, chosen_elements
from gnet.orbits import Blocks, PairOrbits
from gnet.theory.checks import as_float64, check_finite, check_whole

CHUNK_ENTRIES = 4_000_000  # float64 numbers held at once: 32 MB
NULL_SAMPLES = 1000
"""Most samples whose pairs say how far an estimate is off by chance where the inputs are invariant."""


@dataclass(frozen=True)
class MomentShift:
    """How far a moment of the inputs is from invariant.

    Attributes:
        square: unbiased estimate of E_g ||S - g S g^T||_F^2, or of E_g ||m - g m||^2; may be negative.
        standard_error: of ``square``, by the jackknife, and not below its value for invariant inputs; NaN for fewer than three
            samples.
        plug_in: the same of the sample's own moment, exact by orbits; larger by about 1 / n.
        relative: ``square`` over the squared norm of the sample's moment.
    """

    square: float
    standard_error: float
    plug_in: float
    relative: float


@dataclass(frozen=True)
class EnergyShift:
    """The energy distance of inputs from moved inputs, averaged over the group.

    Attributes:
        square: unbiased estimate of E_g (2 E ||X - g X'|| - E ||X - X'|| - E ||g X - g X'||); may be negative.
        standard_error: by the jackknife over samples, the elements given, and not below its value for invariant inputs.
        p_value: of invariance, by moving every sample with an element of its own; NaN if it was not asked for.
        num_samples: group elements.
    """

    square: float
    standard_error: float
    p_value: float
    num_samples: int


def moment_shift(x: ArrayLike | Tensor, group: NodeGroup, *, order: int = 2) -> MomentShift:
    """E_g ||S - g S g^T||_F^2 = 2 ||S - mean of S over pair orbits||_F^2 for the second moment S = E x x^T, without bias.

    The sample's own S is too far away by its noise. The estimate leaves out what a sample contributes together with itself, as a
    U-statistic over pairs of samples: (n^2 ||P S||^2 - sum_i ||P x_i x_i^T||^2) / (n (n - 1)), with P what the group takes away.
    O(n N^2 C^2) time, with an N C x N C matrix.

    Args:
        order: 2 for the second moment (no mean is taken off), 1 for the mean.

    Shapes:
        x: (n, N) or (n, N, C), n >= 2

    Units: those of x, to the power 2 ``order``.

    Raises:
        ShapeError: another shape, or fewer than two samples.
        ConfigError: another order.
        GroupError: no group of nodes.
        DataError: entries that are NaN or infinite.

    References:
        Hoeffding (1948), doi:10.1214/aoms/1177730196, for U-statistics; Efron and Stein (1981), doi:10.1214/aos/1176345462, for
        the jackknife.

    Example:
        >>> x = torch.randn(400, 3, dtype=torch.float64)
        >>> alike, scaled = moment_shift(x, SymmetricGroup(3)), moment_shift(x * torch.tensor([1, 1, 2]), SymmetricGroup(3))
        >>> alike.square < 5 * alike.standard_error, scaled.square > 5 * scaled.standard_error
        (True, True)
    """
    check_node_group(group)
    samples = _as_samples(x, group)
    if order not in (1, 2):
        raise ConfigError(f"expected order 1 or 2, got {order}")
    if len(samples) < 2:
        raise ShapeError(f"expected at least two samples, got {len(samples)}")
    moment, own = moment_sums(samples, group, order)
    num = len(samples)
    lost, square = lost_moment(moment / num, group), float((moment / num).square().sum())
    if order == 2:
        against = torch.einsum("bjp,jpkr,bkr->b", samples, lost, samples)
    else:
        against = torch.einsum("bjp,jp->b", samples, lost)
    per_sample = (num * against - own) / (num - 1)  # mean over the other samples
    value = shift_of(float(lost.square().sum()), float(own.sum()), num)
    error = 2 * _error_of_pairs(per_sample, _kernel(samples[:NULL_SAMPLES], group, order))
    return MomentShift(value, error, 2 * float(lost.square().sum()), relative_shift(value, square))


def moment_sums(samples: Tensor, group: NodeGroup, order: int) -> tuple[Tensor, Tensor]:
    """Sum of x x^T (N, C, N, C), or of x (N, C), and ||P x x^T||^2, or ||P x||^2, of each sample, (B,)."""
    kept = torch.cat([_kept(chunk, group, order).square().sum(1) for chunk in samples.split(_step(samples, group, order))])
    own = samples.square().sum((1, 2)) ** order - kept
    return samples.sum(0) if order == 1 else torch.einsum("bip,bjr->ipjr", samples, samples), own


def _kept(samples: Tensor, group: NodeGroup, order: int) -> Tensor:
    """Coordinates of the average over the group of x x^T, or of x, in an orthonormal basis, (B, orbits * C^order)."""
    if order == 1:
        orbits = group.node_orbits()
        labels, sizes, values = orbits.labels, orbits.sizes, samples.movedim(1, 0)
    else:
        pairs = PairOrbits.of(group)
        sizes = pairs.orbit_sizes
        labels, values = _block_sums(samples, pairs) if isinstance(pairs, Blocks) else _products(samples, pairs)
    sums = torch.zeros(len(sizes), *values.shape[1:], dtype=values.dtype).index_add(0, labels, values)
    return (sums.movedim(0, -1) / sizes.double().sqrt()).flatten(1)


def _products(samples: Tensor, pairs: PairOrbits) -> tuple[Tensor, Tensor]:
    """The orbit of every pair of nodes, (N^2,), and their products, (N^2, B, C, C)."""
    return pairs.labels().flatten(), torch.einsum("bip,bjr->ijbpr", samples, samples).flatten(0, 1)


def _block_sums(samples: Tensor, blocks: Blocks) -> tuple[Tensor, Tensor]:
    """The orbit of every pair of clusters and of every cluster's own pairs, (k^2 + k',), and the products summed over each.

    The sum over pairs of different nodes of a cluster is that of all its pairs less that of each node with itself, so sums and
    sums of squares over clusters are enough: O(N C^2 + k^2 C^2) for each sample.
    """
    sums = blocks.partition.sum(samples, 1)
    own = blocks.partition.sum(torch.einsum("bip,bir->ibpr", samples, samples))  # (k, B, C, C)
    across = torch.einsum("bip,bjr->ijbpr", sums, sums)
    inside = blocks.has_own.nonzero().flatten()  # of single nodes both sums are one orbit
    across[inside, inside] -= own[inside]
    labels = torch.cat([blocks.pair_ids.flatten(), blocks.own_ids[inside]])
    return labels, torch.cat([across.flatten(0, 1), own[inside]])


def _step(samples: Tensor, group: NodeGroup, order: int) -> int:
    """How many samples are looked at together."""
    size, channels = samples.shape[1:]
    held = size * channels if order == 1 else (size * channels) ** 2
    if order == 2 and isinstance(group, ClusterGroup):
        held = (size + group.partition.num_clusters**2) * channels**2
    return max(1, CHUNK_ENTRIES // held)


def _kernel(samples: Tensor, group: NodeGroup, order: int) -> Tensor:
    """<P x x^T, y y^T>, or <P x, y>, of all pairs of samples, (B, B) with a zero diagonal."""
    kept = torch.cat([_kept(chunk, group, order) for chunk in samples.split(_step(samples, group, order))])
    flat = samples.flatten(1)
    return ((flat @ flat.mT) ** order - kept @ kept.mT).fill_diagonal_(0.0)


def lost_moment(moment: Tensor, group: NodeGroup) -> Tensor:
    """A moment (N, C, N, C) or (N, C) less its average over the group."""
    if moment.ndim == 4:
        return moment - PairOrbits.of(group).mean(moment)
    return moment - group.node_orbits().average(moment)


def shift_of(square: float, own: float, num: int) -> float:
    """The unbiased estimate from ||P S||^2 of the sample, the samples' own part, and their number."""
    return 2 * (num**2 * square - own) / (num * (num - 1))


def relative_shift(value: float, square: float) -> float:
    """Over the squared norm of the moment; 0 for a moment that is 0."""
    return 0.0 if square == 0 else value / square


def energy_shift(
    x: Tensor,
    group: Group,
    action: Action | None = None,
    *,
    num_samples: int | None = 8,
    num_permutations: int = 0,
    generator: torch.Generator | None = None,
) -> EnergyShift:
    """The energy distance between the distribution of x and that of g x, averaged over the group: 0 only for invariance.

    Unlike moments it sees every difference between distributions. Pairs of a sample with its own image are left out. With
    ``num_permutations`` = M the p-value compares with M data sets in which every sample was moved by a random element of its
    own, which changes nothing in distribution if the inputs are invariant: then P(p <= a) <= a exactly, whatever n. For compact
    groups. O(M K n^2) distances.

    Args:
        action: of the group on inputs; None is its own.
        num_samples: K random elements, or None for all of a small group.

    Shapes:
        x: (n, ...), n >= 3

    Units: those of x.

    Raises:
        ShapeError: fewer than three inputs, or none; num_samples that is no whole number >= 2.
        ConfigError: permutations that are no whole number >= 0.
        GroupError: no group, or ``num_samples=None`` with one of more than 10 000 elements.
        DataError: entries that are NaN or infinite.

    References:
        Szekely and Rizzo (2013), doi:10.1016/j.jspi.2013.03.018, for the distance; Lehmann and Romano, Testing Statistical
        Hypotheses (2005), section 15.2, for the test.

    Example:
        >>> x = torch.randn(60, 2, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> x[:, 0] += 2.0
        >>> energy_shift(x, SymmetricGroup(2), num_samples=None, num_permutations=19).p_value
        0.05
    """
    check_inputs(x, group, action, num_samples)
    if len(x) < 3:
        raise ShapeError(f"expected at least three inputs, got {len(x)}")
    check_whole(0, num_permutations=num_permutations)
    check_finite(x)
    elements, act = chosen_elements(group, num_samples, generator), action or group.action
    samples = x.detach().double()
    kernel = _energy_kernel(samples, elements, act)
    n = len(samples)
    per_sample = kernel.sum(1) / (n - 1)
    value, p_value = float(per_sample.mean()), math.nan
    if num_permutations:
        exceeded = 0
        for _ in range(num_permutations):
            moved = torch.cat([act(g, each[None]) for g, each in zip(group.sample(n, generator), samples, strict=True)])
            found = float(_energy_kernel(moved, elements, act).sum()) / (n * (n - 1))
            exceeded += found >= value - 1e-12 * abs(value)
        p_value = (1 + exceeded) / (1 + num_permutations)
    return EnergyShift(value, _error_of_pairs(per_sample, kernel), p_value, len(elements))


def _energy_kernel(samples: Tensor, elements: Tensor, act: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """What each pair of samples adds to the energy distance, a mean over the elements, (n, n) with a zero diagonal."""
    flat = samples.flatten(1)
    plain = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
    total = torch.zeros_like(plain)
    for g in elements:
        moved = act(g, samples).flatten(1)
        across = torch.cdist(flat, moved, compute_mode="donot_use_mm_for_euclid_dist")
        total += across + across.mT - plain - torch.cdist(moved, moved, compute_mode="donot_use_mm_for_euclid_dist")
    return total.fill_diagonal_(0.0) / len(elements)


def _error_of_pairs(per_sample: Tensor, kernel: Tensor) -> float:
    """Standard error of a mean over pairs of n samples, from each sample's mean over its pairs, and from values of pairs.

    The jackknife, but where all samples' means are alike, as for invariant inputs, it is off by chance: then the variance is
    2 / (n (n - 1)) times the mean square of a pair, which nothing falls below.
    """
    n, m = len(per_sample), len(kernel)
    if n < 3:
        return math.nan
    jackknife = 4 * (n - 1) / (n * (n - 2) ** 2) * float((per_sample - per_sample.mean()).square().sum())
    by_chance = 2 / (n * (n - 1)) * float(kernel.square().sum()) / (m * (m - 1))
    return math.sqrt(max(jackknife, by_chance))


def _as_samples(x: ArrayLike | Tensor, group: NodeGroup) -> Tensor:
    samples = as_float64(x)
    if samples.ndim not in (2, 3) or samples.shape[1] != group.degree:
        raise ShapeError(f"expected x of shape (n, {group.degree}) or (n, {group.degree}, C), got {tuple(samples.shape)}")
    return samples if samples.ndim == 3 else samples[..., None]
