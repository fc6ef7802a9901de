"""The equivariance error of linear maps with a bias, exact for any node group: closed forms by orbits, nothing is sampled."""

import math

import torch
from torch import Tensor

from gnet.errors import ShapeError
from gnet.groups.base import NodeGroup, check_node_group
from gnet.kernels.segments import cluster_mean
from gnet.measures.equivariance import EquivarianceError, relative_error, square_norms
from gnet.orbits import PairOrbits
from gnet.theory.checks import check_choice, check_positive
from gnet.theory.linear_maps import Output


def linear_equivariance_error(
    weight: Tensor,
    group: NodeGroup,
    *,
    bias: Tensor | None = None,
    x: Tensor | None = None,
    sigma_x: float = 1.0,
    output: Output = "equivariant",
) -> EquivarianceError:
    """The exact equivariance error of f(x) = W x + b, over the whole group, for white inputs or at given ones.

    With L = W - mean of W over pair orbits and c = b - mean of b over node orbits, white inputs of variance sigma_x^2 have

        E ||g^-1 f(g x) - f(x)||^2 = 2 (sigma_x^2 ||L||_F^2 + ||c||^2) .

    At one input z, with Psi the average over the group,

        E_g ||g^-1 f(g z) - f(z)||^2 = V(z) + ||L z + c||^2,    V(z) = z^T Psi(L^T L) z + 2 z^T Psi(L^T c) + ||c||^2 .

    Both are exact; the second costs O(N^2 C^2) memory, the first O(N^2 C C').

    Args:
        x: inputs to average over; None takes white ones.
        sigma_x: standard deviation of the entries of white inputs.
        output: "invariant" for maps to a few numbers, on which the group does not act.

    Shapes:
        weight: (N, N) or (N, C', N, C), receiver first; with ``output="invariant"`` (N,), (N, C) or (C', N, C)
        bias: (N,) or (N, C'); with ``output="invariant"`` () or (C',)    x: (B, N, C)

    Units: squares in those of f; ``sup`` is not bounded over white inputs, nor looked for at given ones, and is NaN.

    Raises:
        ShapeError: other shapes, or no tensors.
        GroupError: no group of nodes.
        ConfigError: an unknown output, sigma_x <= 0 or not finite.

    References:
        Elesedy and Zaidi (2021), arXiv:2102.10333, for the projection; the rest follows by expanding the square.

    Example:
        >>> round(linear_equivariance_error(torch.diag(torch.tensor([1.0, 3.0])), SymmetricGroup(2)).mean_square, 6)
        4.0
        >>> x = torch.tensor([[[1.0], [1.0]]])
        >>> linear_equivariance_error(torch.diag(torch.tensor([1.0, 3.0])), SymmetricGroup(2), x=x).mean_square
        4.0
    """
    check_positive(sigma_x=sigma_x)
    whole, constant = _as_map(weight, bias, group, output)
    lost, moved = _lost(whole, group, output), _lost_bias(constant, group, output)
    if x is not None:
        return _error_at(whole, constant, lost, moved, x, group)
    rest = float(lost.square().sum()) * sigma_x**2 + float(moved.square().sum())
    scale = float(whole.square().sum()) * sigma_x**2 + float(constant.square().sum())
    return EquivarianceError(2 * rest, 0.0, relative_error(2 * rest, scale), math.nan, rest, 0, 0.0, 0.0, scale)


def channel_equivariance_errors(weight: Tensor, group: NodeGroup, *, output: Output = "equivariant") -> Tensor:
    """||L||_F^2 of every pair of channels, L = W - mean of W over orbits: which channels break the symmetry.

    Their sum is the ``variance`` of ``linear_equivariance_error`` for white inputs of variance 1, without a bias.

    Shapes:
        weight: as in ``linear_equivariance_error``    returns: (C', C) float64

    Units: those of the weight, squared.

    Raises:
        ShapeError: another shape, or no tensor.
        GroupError: no group of nodes.
        ConfigError: an unknown output.

    References:
        Elesedy and Zaidi (2021), arXiv:2102.10333, for the projection; squares of pairs of channels add up.

    Example:
        >>> weight = torch.zeros(2, 1, 2, 2)
        >>> weight[0, 0, 0, 1] = 2.0  # node 0 hears channel 1 of itself
        >>> channel_equivariance_errors(weight, SymmetricGroup(2))
        tensor([[0., 2.]], dtype=torch.float64)
    """
    whole, _ = _as_map(weight, None, group, output)
    lost = _lost(whole, group, output)
    return lost.square().sum((0, 2)) if output == "equivariant" else lost.square().sum((0, 2)).reshape(lost.shape[1], -1)


def _as_map(weight: Tensor, bias: Tensor | None, group: NodeGroup, output: Output) -> tuple[Tensor, Tensor]:
    """W as (M, C', N, C) and b as (M, C') in float64, with M = N, or M = 1 for an invariant map."""
    check_node_group(group)
    check_choice("output", output, Output)
    for each in (weight, bias):
        if each is not None and not isinstance(each, Tensor):
            raise ShapeError(f"expected a tensor, got {type(each).__name__}; convert with torch.as_tensor(...)")
    size, shape = group.degree, tuple(weight.shape)
    if output == "equivariant":
        if weight.ndim not in (2, 4) or shape[0] != size or shape[weight.ndim // 2] != size:
            raise ShapeError(f"expected a map ({size}, {size}) or ({size}, C', {size}, C), got {shape}")
        whole = weight[:, None, :, None] if weight.ndim == 2 else weight
    else:
        nodes = shape[-2:-1] if weight.ndim > 1 else shape
        if weight.ndim not in (1, 2, 3) or nodes != (size,):
            raise ShapeError(f"expected an invariant map ({size},), ({size}, C) or (C', {size}, C), got {shape}")
        whole = weight.reshape(1, shape[0] if weight.ndim == 3 else 1, size, -1)
    whole = whole.detach().double()
    places = whole.shape[:2]
    if bias is None:
        return whole, whole.new_zeros(places)
    wanted = [tuple(places)] + ([(size,)] if output == "equivariant" and places[1] == 1 else [])
    wanted = wanted if output == "equivariant" else [tuple(places[1:])] + ([()] if places[1] == 1 else [])
    if tuple(bias.shape) not in wanted:
        raise ShapeError(f"expected a bias of shape {' or '.join(map(str, wanted))}, got {tuple(bias.shape)}")
    return whole, bias.detach().to(whole).reshape(places)


def _lost(whole: Tensor, group: NodeGroup, output: Output) -> Tensor:
    if output == "equivariant":
        return whole - PairOrbits.of(group).mean(whole)
    return whole - _node_mean(whole, group)


def _lost_bias(constant: Tensor, group: NodeGroup, output: Output) -> Tensor:
    return constant - _node_mean(constant, group) if output == "equivariant" else torch.zeros_like(constant)


def _node_mean(values: Tensor, group: NodeGroup) -> Tensor:
    """The average over the group of (*, N, C)."""
    orbits = group.node_orbits()
    labels = orbits.labels.to(values.device)
    return cluster_mean(values, labels, orbits.num_clusters).index_select(-2, labels)


def _error_at(whole: Tensor, constant: Tensor, lost: Tensor, moved: Tensor, x: Tensor, group: NodeGroup) -> EquivarianceError:
    """Averages over the group at each item, then over the items."""
    if not isinstance(x, Tensor) or x.ndim != 3 or x.shape[1:] != whole.shape[2:] or not len(x):
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ShapeError(f"expected x as a tensor (B, {whole.shape[2]}, {whole.shape[3]}), got {got}")
    z = x.detach().to(whole)
    # The part that the group keeps cancels; written with W itself its rounding would hide errors below 1e-8.
    gram = PairOrbits.of(group).mean(torch.einsum("iqjp,iqkr->jpkr", lost, lost))
    linear = _node_mean(torch.einsum("iqjp,iq->jp", lost, moved), group)
    spread = torch.einsum("bjp,jpkr,bkr->b", z, gram, z) + 2 * torch.einsum("bjp,jp->b", z, linear) + moved.square().sum()
    spread = spread.clamp(min=0.0)  # below zero by rounding alone
    each = spread + square_norms(torch.einsum("iqjp,bjp->biq", lost, z) + moved)
    scale = float(square_norms(torch.einsum("iqjp,bjp->biq", whole, z) + constant).mean())
    mean_square, error, spread_error = float(each.mean()), math.nan, math.nan
    if len(z) > 1:
        error, spread_error = (float(values.std()) / math.sqrt(len(z)) for values in (each, spread))
    relative = relative_error(mean_square, scale)
    return EquivarianceError(mean_square, error, relative, math.nan, float(spread.mean()), 0, spread_error, error, scale)
