"""Which of the tensors that a net is called with a group moves, and PyG's flat batches while it does."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gnet.errors import ConfigError, ShapeError
from gnet.groups.base import TRIVIAL_ACTION, Action, Group, NodeGroup
from gnet.groups.matrix import MatrixGroup

Moved = Sequence[int | str]
"""Arguments after the first, by place from 0 on, or by name."""


def check_moved(moved: Moved | None) -> None:
    """Refuse what names no arguments.

    Raises:
        ConfigError: no places or names.
    """
    if moved is not None and (isinstance(moved, str) or not all(isinstance(each, int | str) for each in moved)):
        raise ConfigError(f"expected moved as places and names of arguments, such as [0, 'target'], got {moved!r}")


def signals_at(x: Tensor, group: Group, action: Action | None) -> Tensor:
    """x with its batch axis: PyG's flat (B N, C) as (B, N, C) for a group of nodes that acts as its own; all others as they are.

    Example:
        >>> signals_at(torch.zeros(6, 2), gnet.SymmetricGroup(3), None).shape
        torch.Size([2, 3, 2])
    """
    is_flat = action is None and isinstance(group, NodeGroup) and x.ndim == 2
    if not is_flat or len(x) == group.degree or len(x) % group.degree:  # type: ignore[attr-defined]
        return x
    return x.reshape(-1, group.degree, x.shape[1])  # type: ignore[attr-defined]


def num_items(x: Tensor, group: Group, action: Action | None) -> int:
    """Of a batch; one signal (N, C) is one.

    Example:
        >>> [num_items(torch.zeros(*shape), gnet.SymmetricGroup(3), None) for shape in ((3, 2), (6, 2), (5, 3, 2))]
        [1, 2, 5]
    """
    signals = signals_at(x, group, action)
    return 1 if action is None and isinstance(group, NodeGroup) and signals.ndim == 2 else len(signals)


def mapped(act: Callable[[Tensor], Tensor], x: Tensor, group: Group, action: Action | None) -> Tensor:
    """``act`` of signals, with x flat before and after if it is.

    Example:
        >>> mapped(lambda x: x.flip(1), torch.tensor([[1.0], [2.0], [3.0], [4.0]]), gnet.SymmetricGroup(2), None).flatten()
        tensor([2., 1., 4., 3.])
    """
    return act(signals_at(x, group, action)).reshape(x.shape)


def move_items(group: Group, elements: Tensor, x: Tensor, action: Action | None, *, back: bool = False) -> Tensor:
    """g x of each item, each with its own element or all with one, or g^-1 x; None is the group's own action.

    Shapes:
        elements: (B, ...) or (1, ...)    x: (B, ...), or PyG's flat batch of a group of nodes    returns: as x

    Raises:
        ShapeError: another number of items than of elements.

    Example:
        >>> both = torch.tensor([[0, 1], [1, 0]])
        >>> move_items(gnet.SymmetricGroup(2), both, torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]), None).flatten()
        tensor([1., 2., 4., 3.])
    """
    if action is TRIVIAL_ACTION:
        return x
    return mapped(lambda signals: _moved_items(group, elements, signals, action, back), x, group, action)


def _moved_items(group: Group, elements: Tensor, x: Tensor, action: Action | None, back: bool) -> Tensor:
    if len(elements) == 1:
        g = elements[0]
        return (action or group.action)(group.inverse(g) if back else g, x)
    if len(elements) != len(x):
        raise ShapeError(f"expected the {len(elements)} items that were moved, got {tuple(x.shape)}; take per='batch'")
    if action is None and isinstance(group, NodeGroup):
        rows = (elements if back else torch.argsort(elements, 1)).to(x.device)  # (g x)[perm[i]] = x[i]
        return x.gather(-2, rows.reshape(len(x), *[1] * (x.ndim - 3), -1, 1).expand_as(x))
    chosen = action or group.action
    # One product for all items; an action that names its group looks elements up, which cannot be batched.
    if isinstance(group, MatrixGroup) and getattr(chosen, "group", None) is None:
        inverses = torch.stack([group.inverse(g) for g in elements]) if back else elements
        with contextlib.suppress(RuntimeError):  # a stranger's action may look at values, too
            return torch.vmap(chosen)(inverses, x)
    pairs = zip(elements, x, strict=True)
    return torch.stack([chosen(group.inverse(g) if back else g, item) for g, item in pairs])


def does_move(
    name: int | str,
    value: Any,
    x: Tensor,
    group: Group,
    action_in: Action | None,
    action_out: Action | None,
    moved: Moved | None,
) -> bool:
    """Whether an argument beside x moves as outputs do: those named, or floating tensors with the items and nodes of x.

    Edges, and other whole numbers, stay where they are, as do weights of edges. In one flat (N, C), and in a flat batch, whatever
    has as many rows as x counts as signals: where that may be weights of edges, say which arguments move.

    Example:
        >>> x, target = torch.zeros(5, 3, 2), torch.zeros(5, 7, 3, 1)
        >>> edges, weights = torch.tensor([[0, 1], [1, 2]]), torch.ones(2)
        >>> [does_move(0, each, x, gnet.SymmetricGroup(3), None, None, None) for each in (target, edges, weights)]
        [True, False, False]
    """
    if not isinstance(value, Tensor) or action_out is TRIVIAL_ACTION:
        return False
    if moved is not None:
        return name in moved
    if not (value.is_floating_point() or value.is_complex()):
        return False
    if action_out is not None or not isinstance(group, NodeGroup):
        return value.ndim > 0 and len(value) == len(x)
    if action_in is None and x.ndim == 2:
        return value.ndim >= 2 and (value.shape[-2] == len(x) if len(x) == group.degree else len(value) == len(x))
    return value.ndim >= 3 and value.shape[-2] == group.degree and len(value) == len(x)


def moved_arguments(
    act: Callable[[Tensor], Tensor],
    x: Tensor,
    others: Sequence[Any],
    named: Mapping[str, Any],
    group: Group,
    action_in: Action | None,
    action_out: Action | None,
    moved: Moved | None,
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments after x, with ``act`` on those that move as outputs do.

    Raises:
        ConfigError: ``moved`` names one that was not given, or is no tensor.
    """
    arguments: dict[int | str, Any] = dict(enumerate(others))
    arguments.update(named.items())
    for each in moved or ():
        if not isinstance(arguments.get(each), Tensor):
            raise ConfigError(f"moved names {each!r}, and the net was called with no such tensor after x")
    found = {
        name: act(value) if does_move(name, value, x, group, action_in, action_out, moved) else value
        for name, value in arguments.items()
    }
    return [found[place] for place in range(len(others))], {name: found[name] for name in named}


def error_at(
    f: Callable[..., Tensor],
    g: Tensor,
    x: Tensor,
    others: Sequence[Any],
    y: Tensor,
    group: Group,
    action_in: Action | None,
    action_out: Action | None,
    *,
    named: Mapping[str, Any] | None = None,
    moved: Moved | None = None,
) -> Tensor:
    """``||g^-1 f(g x, g others) - y||^2`` of one element, averaged over the batch; of the others, signals move as outputs do.

    Raises:
        ShapeError: f(g x) has another shape than y.

    Example:
        >>> swap, x = torch.tensor([1, 0]), torch.tensor([[[1.0], [3.0]]])
        >>> error_at(lambda x: x * x[:, :1], swap, x, (), x * x[:, :1], SymmetricGroup(2), None, None)  # (3 - 1)^2 + (9 - 3)^2
        tensor(40.)
    """
    before, after = action_in or group.action, action_out or group.action

    def out(element: Tensor, value: Tensor) -> Tensor:
        return mapped(lambda signals: after(element, signals), value, group, action_out)

    args, kwargs = moved_arguments(lambda v: out(g, v), x, others, named or {}, group, action_in, action_out, moved)
    back = f(mapped(lambda signals: before(g, signals), x, group, action_in), *args, **kwargs)
    if back.shape != y.shape:
        raise ShapeError(f"expected f to keep its shape, got {tuple(y.shape)} at x and {tuple(back.shape)} at g x")
    return squared(out(group.inverse(g), back) - y).sum() / num_items(x, group, action_in)


def squared(x: Tensor) -> Tensor:
    """|x|^2 of each entry, real also of complex ones.

    Example:
        >>> squared(torch.tensor([3.0 + 4.0j])), squared(torch.tensor([-2.0]))
        (tensor([25.]), tensor([4.]))
    """
    return (x.conj() * x).real if x.is_complex() else x.square()


@torch.no_grad()
def measured_error(
    f: Callable[..., Tensor],
    x: Tensor,
    others: Sequence[Any],
    group: Group,
    action_in: Action | None,
    action_out: Action | None,
    *,
    named: Mapping[str, Any] | None = None,
    moved: Moved | None = None,
    num_samples: int = 32,
    generator: torch.Generator | None = None,
) -> float:
    """``sqrt(E ||g^-1 f(g x) - f(x)||^2 / E ||f(x)||^2)`` over a batch and random elements; 0 for f = 0.

    What ``gnet.measures.equivariance_error`` calls relative, for orthogonal actions.

    Example:
        >>> x = torch.tensor([[[1.0], [3.0]]])
        >>> measured_error(torch.tanh, x, (), gnet.SymmetricGroup(2), None, None)
        0.0
    """
    y = f(x, *others, **(named or {}))
    elements = group.sample(num_samples, generator)
    squares = [error_at(f, g, x, others, y, group, action_in, action_out, named=named, moved=moved) for g in elements]
    whole = float(squared(y).sum()) / num_items(x, group, action_in)
    return (float(torch.stack(squares).mean()) / whole) ** 0.5 if whole else 0.0
