"""Laws of layers: they commute with the group, reach every map that does, and their fast kernel is the explicit map."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError
from gnet.groups.base import TRIVIAL_ACTION, Action, Group, NodeGroup
from gnet.groups.invariants import equivariant_maps, invariants
from gnet.orbits import PairOrbits
from gnet.testing.tolerances import LawBroken, require_close


def expressible_rank(layer: nn.Module, num_nodes: int | None = None, in_channels: int | None = None) -> int:
    """The dimension of the space of linear maps that the layer's weights reach (biases left out).

    The map is linear in the weights, so its rank is that of the Jacobian of x -> layer(x) - layer(0), taken on unit signals,
    with respect to all parameters. Signals are (N, C), or what the layer says in ``in_shape``.

    Example:
        >>> expressible_rank(EquivariantLinear(ClusterGroup(Partition([0, 0, 0, 1, 1, 2])), 1, 1))
        11
    """
    layer = copy.deepcopy(layer).double()
    shape: Any = getattr(layer, "in_shape", None)
    if shape is None:
        shape = (num_nodes or layer.group.degree, in_channels or layer.in_channels)  # type: ignore[union-attr]
    units = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    names = [name for name, _ in layer.named_parameters()]

    def response(*values: Tensor) -> Tensor:
        parameters = dict(zip(names, values, strict=True))
        at = torch.func.functional_call(layer, parameters, (units,))
        return at - torch.func.functional_call(layer, parameters, (torch.zeros_like(units[:1]),))

    values = tuple(p.detach() for _, p in layer.named_parameters())
    jacobian = torch.autograd.functional.jacobian(response, values, vectorize=False)
    columns = torch.cat([part.reshape(units.shape[0] * response(*values)[0].numel(), -1) for part in jacobian], dim=1)
    return int(torch.linalg.matrix_rank(columns, rtol=1e-9))


def bias_rank(layer: nn.Module, num_nodes: int) -> int:
    """The dimension of the space of constant signals layer(0) that the layer's weights reach.

    Example:
        >>> bias_rank(EquivariantLinear(ClusterGroup(Partition([0, 0, 0, 1, 1, 2])), 1, 1), 6)
        3
    """
    layer = copy.deepcopy(layer).double()
    return _constant_rank(layer, torch.zeros(1, num_nodes, int(layer.in_channels), dtype=torch.float64))  # type: ignore[arg-type]


def _constant_rank(layer: nn.Module, zero: Tensor) -> int:
    names = [name for name, _ in layer.named_parameters()]

    def constant(*values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (zero,)).flatten()

    jacobian = torch.autograd.functional.jacobian(constant, tuple(p.detach() for p in layer.parameters()))
    return int(torch.linalg.matrix_rank(torch.cat([part.flatten(1) for part in jacobian], 1), rtol=1e-9))


def check_layer(
    layer: nn.Module,
    group: Group,
    x: Tensor | None = None,
    *,
    action_in: Action | None = None,
    action_out: Action | None = None,
    completeness: bool | None = None,
    gradients: bool = True,
    num_samples: int = 6,
    seed: int = 0,
) -> None:
    """Prove on samples that a layer obeys the laws of its group.

    Laws: ``layer(g x) = g layer(x)`` on samples and generators, with random weights and biases; completeness (the rank of what
    it expresses is the number of pair orbits, times the channels; for other groups that of the equivariant maps); the fast kernel
    equals the explicit map where the layer has ``dense()``; ``gradcheck`` of inputs and weights.

    Args:
        x: a batch of inputs; drawn as (2, N, in_channels) for layers on node groups, and of the shape ``layer.in_shape``.
        action_in: None is ``layer.action_in``, or the group's own; likewise ``action_out``.
        action_out: of the output; use ``gnet.groups.TRIVIAL_ACTION`` for an invariant layer that is not ``InvariantLinear``.
        completeness: None checks it where the layer has ``num_weights``, ``in_channels`` or ``in_shape``, and no ``num_bases``;
            of a layer with ``support`` among the maps on these pairs.

    Raises:
        LawBroken: a law does not hold.

    Example:
        >>> group = ClusterGroup(Partition([0, 1, 0, 1, 1]))
        >>> check_layer(EquivariantLinear(group, 2, 3), group)
    """
    generator = torch.Generator().manual_seed(seed)
    layer = copy.deepcopy(layer).double().eval()
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape, dtype=torch.float64, generator=generator))
    action_in = action_in or getattr(layer, "action_in", None)
    action_out = action_out or getattr(layer, "action_out", None)
    if x is None and not isinstance(group, NodeGroup) and hasattr(layer, "in_shape"):
        kind = torch.complex128 if group.identity.is_complex() else torch.float64
        x = torch.randn(2, *layer.in_shape, dtype=kind, generator=generator)  # type: ignore[misc]
    if x is None:
        if not isinstance(group, NodeGroup) or not hasattr(layer, "in_channels"):
            raise ConfigError("expected a batch of inputs x: the layer does not state in_channels, or the group has no nodes")
        x = torch.randn(2, group.degree, int(layer.in_channels), dtype=torch.float64, generator=generator)  # type: ignore[arg-type]
    y = layer(x).detach()
    before, after = action_in or group.action, action_out or _output_action(group, y)
    for g in [*group.sample(num_samples, generator), *list(group.generators)[:num_samples]]:
        require_close("equivariance", layer(before(g, x)).detach(), after(g, y))
    if hasattr(layer, "dense"):
        _check_dense(layer, x, y)
    claims = hasattr(layer, "num_weights") and getattr(layer, "num_bases", None) is None
    claims &= hasattr(layer, "in_channels") if isinstance(group, NodeGroup) else hasattr(layer, "in_shape")
    if claims if completeness is None else completeness:
        if isinstance(group, NodeGroup):
            _check_complete(layer, group, y)
        else:
            _check_dimensions(layer, group, before, after, y)
    if gradients:
        _check_gradients(layer, x)


def _output_action(group: Group, y: Tensor) -> Action:
    is_on_nodes = not isinstance(group, NodeGroup) or (y.ndim >= 3 and y.shape[-2] == group.degree)
    return group.action if is_on_nodes else TRIVIAL_ACTION


def _check_dense(layer: nn.Module, x: Tensor, y: Tensor) -> None:
    dense = layer.dense().detach()  # type: ignore[operator]
    zero = layer(torch.zeros_like(x)).detach()
    if dense.ndim == 4:
        explicit = torch.einsum("nomi,bmi->bno", dense, x)
    elif dense.ndim == 3:
        explicit = torch.einsum("omi,bmi->bo", dense, x)
    else:
        explicit = torch.einsum("oi,bi->bo", dense, x)
    require_close("fast kernel = explicit kernel", y - zero, explicit)


def _check_dimensions(layer: nn.Module, group: Group, action_in: Action, action_out: Action, y: Tensor) -> None:
    """Rank against the null space of the constraints, which knows nothing of the layer."""
    shape_in, shape_out = tuple(layer.in_shape), tuple(y.shape[1:])  # type: ignore[arg-type]
    rank, expected = expressible_rank(layer), len(equivariant_maps(group, action_in, action_out, shape_in, shape_out))
    if rank != expected:
        raise LawBroken(f"completeness: the layer reaches {rank} dimensions, the equivariant maps have {expected}")
    if getattr(layer, "bias", None) is not None:
        rank, expected = _constant_rank(layer, y.new_zeros(1, *shape_in)), len(invariants(group, action_out, shape_out))
        if rank != expected:
            raise LawBroken(f"completeness: the bias reaches {rank} dimensions, the invariant signals have {expected}")


def _check_complete(layer: nn.Module, group: NodeGroup, y: Tensor) -> None:
    channels = int(layer.in_channels) * y.shape[-1]  # type: ignore[arg-type]
    support = getattr(layer, "support", None)  # of a layer that moves signals along some edges only
    if _output_action(group, y) is TRIVIAL_ACTION:
        orbits = group.node_orbits().num_clusters
    else:
        orbits = (PairOrbits.of(group) if support is None else PairOrbits.on(group, support)).count
    rank, expected = expressible_rank(layer, group.degree), orbits * channels
    if rank != expected:
        raise LawBroken(f"completeness: the layer reaches {rank} dimensions, the equivariant maps have {expected}")
    if getattr(layer, "bias_kind", None) == "orbit":
        rank, expected = bias_rank(layer, group.degree), group.node_orbits().num_clusters * y.shape[-1]
        if rank != expected:
            raise LawBroken(f"completeness: the bias reaches {rank} dimensions, the invariant signals have {expected}")


def _check_gradients(layer: nn.Module, x: Tensor) -> None:
    names = [name for name, _ in layer.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]

    def run(signal: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (signal,))

    signal = x[:1].detach().clone().requires_grad_()
    try:
        torch.autograd.gradcheck(run, (signal, *values), fast_mode=True)
    except RuntimeError as error:  # gradcheck's own report
        raise LawBroken(f"gradcheck: {error}") from error
