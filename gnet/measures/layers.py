"""Which layer of a net breaks a symmetry: the equivariance error of each on the input it really gets."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, GroupError
from gnet.groups.base import TRIVIAL_ACTION, Action, Group, NodeGroup
from gnet.measures.equivariance import EquivarianceError, check_inputs, equivariance_error
from gnet.measures.linear import linear_equivariance_error
from gnet.nn.modes import evaluating

DENSE_ENTRIES = 2**20
"""Most entries of a dense map, or of its L^T L, that is made for an exact error: 8 MB, and 0.1 s for the product."""

Actions = tuple[Action | None, Action | None]


class Call(NamedTuple):
    """What a module was given, and the shape of what it returned."""

    x: Tensor
    output_shape: torch.Size


@dataclass(frozen=True)
class LayerEquivarianceError:
    """The error of one layer, at the inputs that reach it.

    Attributes:
        name: of the module in the net, as in ``named_modules``.
        kind: its class.
        error: in the layer's own units; relative to its own output.
        is_exact: an average over the whole group by a closed form, in place of random elements.
    """

    name: str
    kind: str
    error: EquivarianceError
    is_exact: bool


def layer_equivariance_errors(
    net: nn.Module,
    x: Tensor,
    group: Group,
    *,
    layers: Mapping[str, Actions] | None = None,
    num_samples: int | None = 32,
    generator: torch.Generator | None = None,
) -> tuple[LayerEquivarianceError, ...]:
    """How far each layer is from commuting with the group, in the order in which the net calls them.

    The net runs once on x; each layer is then measured alone, as a function of the input it was given (the first time, if it was
    called more often). Linear layers that know their dense map (``dense()``, ``dense_bias()``) are measured exactly over the
    whole group, up to ``DENSE_ENTRIES`` entries; all others with the same random elements, in ``num_samples`` + 1 calls each.
    Modules come back in the mode they were in.

    Layers are the innermost modules that take one tensor (B, N, C) and return one, or make numbers of it without nodes and say so
    (``InvariantLinear``, ``TensorLinear``). What is no module, as the activations of a ``Block``, and what works on flattened
    signals is no layer of its own; activations of single entries commute with every permutation.

    For groups of other things than nodes nobody can guess how hidden channels are moved: layers are the innermost modules that
    say so, by ``action_in`` and ``action_out``, as those of ``gnet.plugins.tensors`` do, or those that ``layers`` names.

    Args:
        layers: names of the layers to measure with their actions (None is the group's own); None finds them.
        num_samples: None takes all elements of a small group.

    Shapes:
        x: (B, N, C), or what else the net takes

    Units: of each layer's output, squared in squares.

    Raises:
        GroupError: no group, or one that does not act on nodes, with a net of which no module states its actions.
        ConfigError: no module, a layer that the net does not have, or does not call with one tensor.
        ShapeError: as in ``equivariance_error``.

    References:
        Wang, Walters and Yu (2022), arXiv:2201.11969, for the error; layer by layer it shows where a net breaks the symmetry.

    Example:
        >>> fine, coarse = ClusterGroup(Partition([0, 0, 1, 1])), SymmetricGroup(4)
        >>> net = GNet.from_layers([EquivariantLinear(fine, 1, 3), nn.Tanh(), EquivariantLinear(coarse, 3, 1)])
        >>> for each in layer_equivariance_errors(net.double(), torch.randn(8, 4, 1).double(), coarse):
        ...     print(each.name, each.kind, each.is_exact, each.error.relative > 1e-9)
        blocks.0 EquivariantLinear True True
        blocks.1 Tanh False False
        blocks.2 EquivariantLinear True False
    """
    check_inputs(x, group, TRIVIAL_ACTION if layers is not None else None, num_samples)
    layers = checked_layers(net, group, layers)
    known = dict(net.named_modules())
    with evaluating(net), _watching(known) as calls:
        net(x)
    actions = dict(layers) if layers is not None else _layers_of(net, calls, group)  # type: ignore[arg-type]
    for name in actions:
        if name not in calls:
            raise ConfigError(f"layer {name!r} is not called with one tensor; measure the module that it is part of")
    # Every layer meets the same elements.
    state = torch.empty((), dtype=torch.int64).random_(generator=generator).item()
    found = []
    for name in sorted(actions, key=list(calls).index):
        layer, before = known[name], calls[name].x
        dense = _dense(layer, before, actions[name], group)
        if dense is not None:
            error = linear_equivariance_error(*dense[:1], group, bias=dense[1], x=before, output=dense[2])  # type: ignore[arg-type]
        else:
            again = torch.Generator().manual_seed(int(state))
            error = equivariance_error(layer, before, group, *actions[name], num_samples=num_samples, generator=again)
        found.append(LayerEquivarianceError(name, type(layer).__name__, error, dense is not None or num_samples is None))
    return tuple(found)


def checked_layers(net: nn.Module, group: Group, layers: Mapping[str, Actions] | None) -> Mapping[str, Actions] | None:
    """The layers as given, or those that state their actions; None for groups of nodes, whose layers the inputs show.

    Raises:
        GroupError, ConfigError: as in ``layer_equivariance_errors``, before the net is called.

    Example:
        >>> from gnet.plugins.tensors import EMLP, SO, T
        >>> list(checked_layers(EMLP(T(1), T(1), SO(3), ch=8, layers=1), SO(3), None))
        ['blocks.0.linear', 'blocks.0.bilinear', 'blocks.0.gate', 'last']
    """
    if not isinstance(net, nn.Module):
        raise ConfigError(f"expected a module, got {type(net).__name__}; of a function take equivariance_error")
    known = dict(net.named_modules())
    for name in layers or ():
        if name not in known:
            raise ConfigError(f"the net has no layer {name!r}, expected one of {sorted(known)}")
    if layers is not None or isinstance(group, NodeGroup):
        return layers
    found = _stated("", net)
    if not found:
        raise GroupError(
            f"{group.name} acts on no nodes, and no module of the {type(net).__name__} states its action_in and action_out; name "
            "the layers: layers={'0': (action_in, action_out)}"
        )
    return found


def _stated(name: str, module: nn.Module) -> dict[str, Actions]:
    """The innermost modules that state how a group moves what they take and return."""
    prefix = f"{name}." if name else ""
    inside: dict[str, Actions] = {}
    for child_name, child in module.named_children():
        inside |= _stated(f"{prefix}{child_name}", child)
    actions = getattr(module, "action_in", None), getattr(module, "action_out", None)
    return inside or ({name: actions} if all(isinstance(action, Action) for action in actions) else {})


@contextlib.contextmanager
def _watching(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Call]]:
    """The first call of every module that takes and returns one tensor, filled in while the net runs."""
    given: dict[str, Tensor] = {}
    calls: dict[str, Call] = {}

    def before(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, inputs: Any) -> None:
            if len(inputs) == 1 and isinstance(inputs[0], Tensor) and name not in given:
                given[name] = inputs[0].detach().clone()  # the module may write over it

        return hook

    def after(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if name in given and isinstance(output, Tensor):
                calls.setdefault(name, Call(given[name], output.shape))

        return hook

    handles = [module.register_forward_pre_hook(before(name)) for name, module in modules.items()]
    handles += [module.register_forward_hook(after(name)) for name, module in modules.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _layers_of(net: nn.Module, calls: Mapping[str, Call], group: NodeGroup) -> dict[str, Actions]:
    """The innermost modules between signals on nodes; nothing inside a linear map that knows its dense weight."""

    def visit(name: str, module: nn.Module) -> dict[str, Actions]:
        prefix = f"{name}." if name else ""
        mine = _actions(module, calls.get(name), group)
        inside: dict[str, Actions] = {}
        if mine is None or not _knows_dense(module):
            for child_name, child in module.named_children():
                inside |= visit(f"{prefix}{child_name}", child)
        return inside or ({} if mine is None else {name: mine})

    return visit("", net)


def _actions(module: nn.Module, call: Call | None, group: NodeGroup) -> Actions | None:
    """How the group moves a module's input and output, or None where that cannot be known."""
    if call is None:
        return None
    orders = getattr(module, "order_in", None), getattr(module, "order_out", None)
    if all(isinstance(order, int) for order in orders):
        before, after = (group.tensor_action(order) for order in orders)  # type: ignore[arg-type]
        return before, after
    shape_in, shape_out = call.x.shape, call.output_shape
    if len(shape_in) < 3 or shape_in[-2] != group.degree:
        return None
    if len(shape_out) == len(shape_in) and shape_out[-2] == group.degree:
        return None, None
    is_invariant = len(shape_out) == len(shape_in) - 1 and _knows_dense(module)
    return (None, TRIVIAL_ACTION) if is_invariant else None


def _knows_dense(module: nn.Module) -> bool:
    dense = getattr(module, "dense", None)  # of others it may be a layer of that name
    return callable(dense) and not isinstance(dense, nn.Module)


def _dense(layer: Any, before: Tensor, actions: Actions, group: Group) -> tuple[Tensor, Tensor | None, str] | None:
    """Weight, bias and kind of output of a linear layer that knows them and is small enough; else None."""
    width = getattr(layer, "out_channels", None)
    if not isinstance(group, NodeGroup) or not _knows_dense(layer) or before.ndim != 3 or not isinstance(width, int):
        return None
    if actions not in ((None, None), (None, TRIVIAL_ACTION)):
        return None
    size = before.shape[1] * before.shape[2]
    if max(size, before.shape[1] * width) * size > DENSE_ENTRIES:
        return None
    weight = layer.dense()
    bias = layer.dense_bias() if hasattr(layer, "dense_bias") else getattr(layer, "bias", None)
    return weight, bias, "equivariant" if actions[1] is None else "invariant"
