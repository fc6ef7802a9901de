"""Data error: what samples say of the symmetry of the truth, with a standard error."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from gnet.errors import ShapeError
from gnet.groups.base import Action, Group, NodeGroup, check_node_group
from gnet.measures.equivariance import RunningMean, check_inputs, chosen_elements, images, output_of, square_norms
from gnet.nn.modes import evaluating
from gnet.orbits import PairOrbits
from gnet.theory.checks import as_float64, check_positive
from gnet.theory.estimates import LeastSquares, estimate_bias
from gnet.theory.linear_maps import split_map


@dataclass(frozen=True)
class DataError:
    """How far the truth E[Y | X] is from the group's functions, squared; unbiased, so that it may be negative.

    Attributes:
        square: the estimate.
        standard_error: its standard error.
        noise: the estimated variance of one entry of Y given X.
    """

    square: float
    standard_error: float
    noise: float

    @property
    def score(self) -> float:
        """``square`` in standard errors: large where the data break the symmetry."""
        return self.square / self.standard_error if self.standard_error > 0 else math.nan


@dataclass(frozen=True)
class HeldOutGap:
    """Risk of f less risk of its average over the group, on samples that f was not fitted to.

    Attributes:
        gap: negative where the data break the symmetry, so that averaging hurts.
        standard_error: of ``gap``, over pairs of losses on the same samples, with the group elements given.
        risk: E ||Y - f(X)||^2.
        averaged_risk: the same of the average.
        num_samples: group elements in the average.
    """

    gap: float
    standard_error: float
    risk: float
    averaged_risk: float
    num_samples: int


def data_error(
    x: ArrayLike | Tensor, y: ArrayLike | Tensor, group: NodeGroup, *, sigma_x: float = 1.0, centred: bool = False
) -> DataError:
    """The data error of a linear truth, sigma_x^2 ||Theta - Theta averaged||_F^2, by least squares on one data set.

    Its standard error is that of Gaussian noise, given the inputs: with P the map to what the group takes away, S = C x I the
    covariance of least squares per sigma_xi^2, nu degrees of freedom and t = tr P S,

        Var = 2 sigma_xi^4 tr (P S)^2 + 4 sigma_xi^2 <P Theta, S P Theta> + 2 sigma_xi^4 t^2 / nu ,

    with estimates put in, the middle one corrected for its own noise and not below zero, so never below the error under exact
    symmetry, on the safe side near it. O(N^2 C^2) memory. For truths that are
    not linear see ``held_out_risk_gap``.

    Args:
        sigma_x: standard deviation of the entries of white inputs, on which the distance is measured.
        centred: take the mean of each entry off first, as for a fit with an intercept.

    Shapes:
        x: (n, N) or (n, N, C), with n > N C    y: (n,) for one number out, else (n, N) or (n, N, C')

    Units: those of y, squared, for sigma_x in those of x.

    Raises:
        ShapeError: other shapes, a group on other nodes, no more samples than inputs, or inputs that depend on others.
        GroupError: no group of nodes, or one of more than 4096 nodes with generators.
        ConfigError: sigma_x <= 0 or not finite.
        DataError: entries that are NaN or infinite.

    References:
        Mallows (1973), doi:10.1080/00401706.1973.10489103, for the unbiased estimate; Petrache and Trivedi (2023),
        arXiv:2305.17592, for data error.

    Example:
        >>> x = torch.randn(200, 3, dtype=torch.float64)
        >>> found = data_error(x, x @ torch.tensor([1.0, 1.0, 3.0]).double() + 0.1 * torch.randn(200), SymmetricGroup(3))
        >>> found.score > 5, data_error(x, x.sum(1) + 0.1 * torch.randn(200), SymmetricGroup(3)).score < 5
        (True, True)
    """
    check_node_group(group)
    inputs = as_float64(x)
    fit = LeastSquares.fit(inputs, y, centred=centred)
    free = len(inputs) - len(fit.inverse_gram) - int(centred)
    return data_error_of(fit, group, free, sigma_x=sigma_x)


def data_error_of(fit: LeastSquares, group: NodeGroup, free: int, *, sigma_x: float = 1.0) -> DataError:
    """The same from least squares that were fitted already, with ``free`` samples more than parameters of one output.

    Raises:
        ShapeError, GroupError, ConfigError: as ``data_error``.
    """
    check_positive(sigma_x=sigma_x)
    estimate = estimate_bias(fit, group)
    split = split_map(fit.theta, group, "invariant" if fit.is_invariant else "equivariant")
    if split.lost_dim == 0:
        return DataError(0.0, 0.0, fit.noise)
    gram, out_dim = fit.inverse_gram, split.out_dim
    trace = out_dim * float(gram.trace()) - fit.trace(group)
    # tr (P S P S) = tr S^2 - 2 tr (Psi S^2) + tr (Psi S)^2 with P = 1 - Psi.
    square = gram @ gram
    of_square = out_dim * float(square.trace()) - 2 * replace(fit, inverse_gram=square).trace(group)
    square_trace = max(of_square + _trace_of_square(fit, group), 0.0)
    noise = fit.noise
    signal = max(float((split.lost @ gram * split.lost).sum()) - noise * square_trace, 0.0)
    variance = 2 * noise**2 * square_trace + 4 * noise * signal + 2 * noise**2 * trace**2 / (free * out_dim)
    return DataError(sigma_x**2 * estimate.bias, sigma_x**2 * math.sqrt(variance), noise)


def held_out_risk_gap(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    group: Group,
    action_in: Action | None = None,
    action_out: Action | None = None,
    *,
    num_samples: int | None = 32,
    generator: torch.Generator | None = None,
) -> HeldOutGap:
    """E ||Y - f(X)||^2 - E ||Y - f averaged(X)||^2 of a fitted function, on samples that it was not fitted to.

    Where the inputs are distributed invariantly its expectation is ||f_lost - f*_lost||^2 - ||f*_lost||^2: never below minus the
    data error of the truth f*, and equal to it where f has learnt all that the group takes away. A gap that is negative by
    several standard errors says that the data break the symmetry; a positive one that averaging f helps, which an f of large
    variance shows for any truth. The average over ``num_samples`` random elements is noisier than that over the group; what the
    noise adds to its risk, V / num_samples, is estimated without bias and taken off.

    Args:
        num_samples: None takes all elements of a small group.

    Shapes:
        x: (B, ...)    y: shaped as f(x)

    Units: those of y, squared and summed over the entries of one item.

    Raises:
        ShapeError: shapes that differ, num_samples that is no whole number >= 2.
        GroupError: no group, or ``num_samples=None`` with one of more than 10 000 elements.

    References:
        Elesedy and Zaidi (2021), arXiv:2102.10333, lemma 1; Huang, Levie and Villar (2023), arXiv:2308.10436, the risk gap.

    Example:
        >>> x = torch.randn(100, 3, 1, dtype=torch.float64)
        >>> y = x * torch.tensor([[1.0], [2.0], [3.0]])
        >>> gap = held_out_risk_gap(lambda x: x * torch.tensor([[1.0], [2.0], [3.0]]), x, y, SymmetricGroup(3), num_samples=None)
        >>> gap.gap < -5 * gap.standard_error
        True
    """
    sums = gap_sums(f, x, y, group, action_in, action_out, num_samples, generator)
    return gap_of(sums, num_samples=len(group.elements()) if num_samples is None else num_samples)


def gap_sums(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    group: Group,
    action_in: Action | None,
    action_out: Action | None,
    num_samples: int | None,
    generator: torch.Generator | None,
) -> dict[str, Tensor]:
    """Sums over the items of a batch: of the gap, its square, and both losses; over batches they add up."""
    check_inputs(x, group, action_in, num_samples)
    elements = chosen_elements(group, num_samples, generator)
    with evaluating(f):
        plain = output_of(f, x)
        if not isinstance(y, Tensor) or plain.shape != y.shape:
            got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise ShapeError(f"expected y as a tensor of the shape of f(x), {tuple(plain.shape)}, got {got}")
        average = RunningMean(plain)
        for moved in images(f, x, group, elements, action_in, action_out):
            average.add(moved)
    risk, averaged = square_norms(y - plain), square_norms(y - average.mean)
    if num_samples is not None:
        averaged = averaged - average.spread / ((num_samples - 1) * num_samples)
    gap = risk - averaged
    count_of = torch.tensor(len(x), dtype=torch.float64, device=x.device)
    return {"count": count_of, "gap": gap.sum(), "squares": gap.square().sum(), "risk": risk.sum(), "averaged": averaged.sum()}


def gap_of(sums: dict[str, Tensor], num_samples: int) -> HeldOutGap:
    """The gap from the sums over all items."""
    num, total, squares = (float(sums[name]) for name in ("count", "gap", "squares"))
    error = math.sqrt(max(squares - total**2 / num, 0.0) / (num - 1) / num) if num > 1 else math.nan
    return HeldOutGap(total / num, error, float(sums["risk"]) / num, float(sums["averaged"]) / num, num_samples)


def _trace_of_square(fit: LeastSquares, group: NodeGroup) -> float:
    """tr (Psi S)^2 with S = C x I, from the matrix of S between the group's maps."""
    size = len(fit.theta)
    channels = len(fit.inverse_gram) // size
    gram = fit.inverse_gram.reshape(size, channels, size, channels)
    nodes = group.node_orbits()
    if fit.is_invariant:
        return float((_blocks(gram, nodes.labels, nodes.sizes.double())).square().sum())
    orbits = PairOrbits.of(group)
    # The group's maps do not see what of C is not equivariant; of its average all receivers of a node orbit say the same.
    mean, labels, sizes = orbits.mean(gram), orbits.labels(), orbits.orbit_sizes.double()
    total = 0.0
    for receiver, count in zip(nodes.order[nodes.ptr[:-1]].tolist(), nodes.sizes.tolist(), strict=True):
        mine, where = torch.unique(labels[receiver], return_inverse=True)
        total += count**2 * float(_blocks(mean, where, sizes[mine]).square().sum())
    return fit.theta.shape[1] * total


def _blocks(gram: Tensor, labels: Tensor, sizes: Tensor) -> Tensor:
    """Sums of (N, C, N, C) over pairs of classes, each over the root of both sizes."""
    k, channels = len(sizes), gram.shape[1]
    rows = torch.zeros(k, *gram.shape[1:], dtype=gram.dtype).index_add(0, labels, gram)
    blocks = torch.zeros(k, channels, k, channels, dtype=gram.dtype).index_add(2, labels, rows)
    root = sizes.sqrt()
    return blocks / root[:, None, None, None] / root[None, None, :, None]
