"""How far a net is from a group, as a term of the loss: of any module by one random element, of linear layers exactly."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gnet.errors import GroupError, ShapeError
from gnet.groups.base import TRIVIAL_ACTION, Action, Group, NodeGroup, check_node_group
from gnet.groups.laws import require_sampler, require_uniform
from gnet.groups.reynolds import reynolds
from gnet.kernels.segments import cluster_mean
from gnet.nn.relaxed.base import ApproximateLinear, broken_square, check_at_least
from gnet.nn.relaxed.moving import error_at


def equivariance_penalty(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    group: Group,
    action_in: Action | None = None,
    action_out: Action | None = None,
    *,
    y: Tensor | None = None,
    num_samples: int = 1,
    stop_gradient: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """``||g^-1 f(g x) - f(x)||^2`` with random g, averaged over the batch: differentiable, and unbiased for its mean over g.

    Its expectation is ``gnet.measures.equivariance_error(f, x, group, ..., num_samples=None).mean_square`` (with f in the mode it
    is in: the noise of dropout would count as error). For orthogonal actions it is ||f(g x) - g f(x)||^2. It costs a call of f
    for each g, and one more without ``y``. A small penalty on the elements met does not promise a small error on others: measure.

    Args:
        f: any function or module, for any group.
        action_in, action_out: None is the group's own; ``gnet.groups.TRIVIAL_ACTION`` for an invariant f.
        y: f(x), where it is known already.
        num_samples: random elements, of which the mean is taken.
        stop_gradient: f(x) is a target without gradients, and the gradient pulls f(g x) to it. For orthogonal actions, and inputs
            that the group does not change in distribution, the mean over g of that gradient is half of the whole one, whatever f;
            of a single g, or for other inputs, it has another direction.

    Shapes:
        x: (B, ...), or (N, C) or PyG's flat (B N, C) for a group of nodes    returns: ()

    Units: those of f, squared and summed over the entries of an output.

    Raises:
        ShapeError: f(g x) has another shape than f(x), or x no axes.
        ConfigError: ``num_samples`` below 1.
        NotCompactError: a group without a uniform law, for which no law was chosen (``group.sampled_by``).

    References:
        The penalty of approximate equivariance as in Wang, Walters and Yu (2022), arXiv:2201.11969, definition 2, squared.

    Example:
        >>> x = torch.tensor([[[1.0], [3.0]]])
        >>> equivariance_penalty(torch.tanh, x, SymmetricGroup(2))
        tensor(0.)
        >>> swap = PermutationGroup([[1, 0]])
        >>> first = lambda x: x[:, 0]
        >>> draws = {float(equivariance_penalty(first, x, swap, action_out=gnet.groups.TRIVIAL_ACTION)) for _ in range(20)}
        >>> sorted(draws)  # 2^2 for the swap, 0 for the identity
        [0.0, 4.0]
    """
    if x.ndim < 2:
        raise ShapeError(f"expected a batch of inputs (B, ...), got shape {tuple(x.shape)}; add an axis with x[None]")
    require_sampler(group, "a penalty")
    check_at_least(1, num_samples=num_samples)
    y = f(x) if y is None else y
    y = y.detach() if stop_gradient else y
    terms = [error_at(f, g, x, (), y, group, action_in, action_out) for g in group.sample(num_samples, generator)]
    return torch.stack(terms).mean()


def linear_penalty(net: nn.Module, group: Group) -> Tensor:
    """``sum_t ||L_t - mean of L_t over the group||^2`` over the linear layers of a net, biases included: exact, nothing is drawn.

    Layers are the outermost modules that know their explicit map (``dense()``), between signals on the group's nodes or to
    numbers without nodes; what comes between them is left out. An ``ApproximateLinear`` of this very group answers from its
    weights, all others make the N x N map, O(N^2 C C') memory.

    For groups of other things than nodes, layers are those with a matrix ``dense()`` and ``nn.Linear``, moved by the actions
    that they state (``action_in``, ``action_out``), or by the group's own where sizes are those of the group. The mean costs
    O((n n')^3) operations of a layer from n to n' numbers: for small ones; of others take ``equivariance_penalty``.

    Shapes:
        returns: ()

    Raises:
        GroupError: no group; a layer between other numbers than the group moves, which states no actions.
        NotCompactError: a group without a uniform law.
        ShapeError: no layer, or none on the nodes of the group.

    References:
        Elesedy and Zaidi (2021), arXiv:2102.10333, for the mean of a linear map.

    Example:
        >>> group = SymmetricGroup(4)
        >>> symmetric, free = (GNet(each, 1, 3, 1) for each in (group, gnet.TrivialGroup(4)))
        >>> linear_penalty(symmetric, group) < 1e-10, linear_penalty(free, group) > 0.1
        (tensor(True), tensor(True))
        >>> from gnet.plugins.tensors import SO
        >>> linear_penalty(nn.Linear(3, 3), SO(3)) > 0.1
        tensor(True)
    """
    if isinstance(group, Group) and not isinstance(group, NodeGroup):
        return _matrix_penalty(net, group)
    check_node_group(group)
    terms = [term for layer in linear_layers(net) if (term := _term(layer, group)) is not None]
    if not terms:
        raise ShapeError(
            f"expected layers with dense() on the {group.degree} nodes of {group.name}, got {type(net).__name__} without"
        )
    return torch.stack(terms).sum()


def linear_layers(net: nn.Module, plain: bool = False) -> Iterator[nn.Module]:
    """The outermost modules of a net that know their explicit map, with ``plain`` also each ``nn.Linear``."""
    dense = getattr(net, "dense", None)  # of others it may be a layer of that name
    if (callable(dense) and not isinstance(dense, nn.Module)) or (plain and isinstance(net, nn.Linear)):
        yield net
        return
    for child in net.children():
        yield from linear_layers(child, plain)


def _matrix_penalty(net: nn.Module, group: Group) -> Tensor:
    """Over a group of matrices, by ``reynolds``."""
    require_uniform(group, "linear_penalty")
    terms = []
    layer: Any
    for layer in linear_layers(net, plain=True):
        is_plain = isinstance(layer, nn.Linear)
        weight = layer.weight if is_plain else layer.dense()
        bias = layer.bias if is_plain else layer.dense_bias() if hasattr(layer, "dense_bias") else None
        actions = _actions_of(layer, weight, group)
        terms.append((weight - reynolds(weight, group, *actions)).abs().square().sum())
        if bias is not None:
            kept = reynolds(bias[:, None], group, TRIVIAL_ACTION, actions[1])[:, 0]
            terms.append((bias - kept).abs().square().sum())
    if not terms:
        raise ShapeError(f"expected layers with a matrix dense() or nn.Linear, got {type(net).__name__} without")
    return torch.stack(terms).sum()


def _actions_of(layer: nn.Module, weight: Tensor, group: Group) -> tuple[Action, Action]:
    """Those that a layer states; else the group's own, where the sizes fit."""
    before, after = getattr(layer, "action_in", None), getattr(layer, "action_out", None)
    if isinstance(before, Action) and isinstance(after, Action):
        return before, after
    size = group.identity.shape[-1]
    if weight.shape != (size, size):
        raise GroupError(
            f"how {group.name} moves what a {type(layer).__name__} {tuple(weight.shape)} takes and returns is not known: "
            f"expected ({size}, {size}) or a layer with action_in and action_out, such as RepLinear; take equivariance_penalty"
        )
    return group.action, group.action


def _term(layer: nn.Module, group: NodeGroup) -> Tensor | None:
    """The squared distance of one layer from the group; None if it is about other nodes or tensors."""
    if isinstance(layer, ApproximateLinear) and layer.reference is group:
        return layer.broken()
    weight: Tensor = layer.dense()  # type: ignore[operator]
    size = group.degree
    if weight.ndim == 4 and weight.shape[0] == weight.shape[2] == size:
        return broken_square(weight, layer.dense_bias() if hasattr(layer, "dense_bias") else None, group)  # type: ignore[operator]
    if weight.ndim == 3 and weight.shape[1] == size:  # invariant: the bias has no nodes
        orbits = group.node_orbits()
        labels = orbits.labels.to(weight.device)
        mean = cluster_mean(weight, labels, orbits.num_clusters).index_select(1, labels)
        return (weight - mean).square().sum()
    return None
