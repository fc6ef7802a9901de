"""Sums and products of other backends as differentiable functions: multilinear forms, whose derivatives are their own kind.

Each form maps its arguments to one number; a function gives the derivative by one argument, which is left out, in the others.
The derivative of that in the direction v by a further argument is the form with v in the first place and the other one left out.
So the backward pass of a function is the function itself, to any order.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

RAW: dict[str, Any] = {}
"""Operations that torch sees as one step each (``torch.library.custom_op``), by backend and name."""


class _Segments(Function):
    """``S(p, x) = sum_s <p_s, sum_{i in s} x_i> / d_s``: sums or means of segments (p left out), or their spreading (x left out).

    Shapes:
        p: (O, S, F)    x: (O, R, F)    places: (R,) the segment of each row    order: (R,) rows by segment, or None if sorted
        ptr: (S + 1,) where segments begin in it    divisor: (S,) or None for 1
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        kind: str, spread: bool, given: Tensor, places: Tensor, order: Tensor | None, ptr: Tensor, divisor: Tensor | None
    ) -> Tensor:
        if not spread:
            return RAW[f"{kind}.sums"](given, order, ptr, divisor)
        shares = given if divisor is None else given / divisor.to(given.dtype)[:, None]
        return shares.index_select(1, places)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.kind, ctx.spread = inputs[:2]
        ctx.save_for_backward(*inputs[3:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        back = _Segments.apply(ctx.kind, not ctx.spread, grad, *ctx.saved_tensors)
        return None, None, back, None, None, None, None


def _each(
    ctx: Any, first: int, slots: list[Tensor | None], missing: int, rest: tuple[Any, ...], form: Any
) -> list[Tensor | None]:
    """The gradient by each argument of a form: it is left out in turn."""
    grads: list[Tensor | None] = []
    for at in range(len(slots)):
        wanted = at != missing and slots[at] is not None and ctx.needs_input_grad[first + at]
        others = [None if each == at else slot for each, slot in enumerate(slots)]
        grads.append(form.apply(at, *others, *rest) if wanted else None)
    return grads


class _Own(Function):
    """``T(g, W, x) = sum_i g_i^T W_{a(i)} x_i`` less one of its arguments, which is number ``missing``.

    Shapes:
        x: (B, N, C) on axis 1, (N, B, C) in cluster order on axis 0    g: likewise with C'    W: (k, C', C)
        order: (N,) or None    ptr: (k + 1,)
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        missing: int, g: Tensor | None, w: Tensor | None, x: Tensor | None, order: Tensor | None, ptr: Tensor, axis: int
    ) -> Tensor:
        if missing == 1:
            return RAW["triton.products"](g, x, order, ptr, axis)
        return RAW["triton.times_plus"](x if missing == 0 else g, w, None, order, ptr, axis, missing == 2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.missing, ctx.axis = inputs[0], inputs[6]
        ctx.save_for_backward(*inputs[1:6])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *slots, order, ptr = ctx.saved_tensors
        slots[ctx.missing] = grad
        return None, *_each(ctx, 1, slots, ctx.missing, (order, ptr, ctx.axis), _Own), None, None, None


class _OwnPlus(Function):
    """``y_i = W_{a(i)} x_i + offset_{a(i)}`` in one pass, or with W^T for x in the place of g.

    Shapes:
        as in ``_Own``    offsets: (B, k, C')    places: (N,) the cluster of each node in the order of x
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, w: Tensor, offsets: Tensor, places: Tensor, order: Tensor | None, ptr: Tensor, axis: int, transposed: bool
    ) -> Tensor:
        return RAW["triton.times_plus"](x, w, offsets, order, ptr, axis, transposed)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, w, _, places, order, ptr, ctx.axis, ctx.transposed = inputs
        ctx.save_for_backward(x, w, places, order, ptr)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, w, places, order, ptr = ctx.saved_tensors
        slots, missing = ([x, w, grad], 2) if ctx.transposed else ([grad, w, x], 0)
        need_x, need_w, need_offsets = ctx.needs_input_grad[:3]
        at = 2 - missing
        grad_x = grad_w = grad_offsets = None
        if need_x:
            grad_x = _Own.apply(at, *[None if each == at else slot for each, slot in enumerate(slots)], order, ptr, ctx.axis)
        if need_w:
            grad_w = _Own.apply(1, slots[0], None, slots[2], order, ptr, ctx.axis)
        if need_offsets:
            grad_offsets = cluster_sums(grad, places, order, ptr, None, ctx.axis)
        return grad_x, grad_w, grad_offsets, None, None, None, None, None


class _Along(Function):
    """``T(g, W, x, s) = sum_e s_e g_{i(e)}^T W_{o(e)} x_{j(e)}`` over edges j -> i, less one of its arguments.

    Shapes:
        g: (B, N, C')    W: (count, C', C)    x: (B, M, C)    s: (E,) or None for 1    edges: of a ``RowIndex``
        sizes: (N, count, M)
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        missing: int,
        g: Tensor | None,
        w: Tensor | None,
        x: Tensor | None,
        s: Tensor | None,
        senders: Tensor,
        rows: Tensor,
        receivers: Tensor,
        orbits: Tensor,
        sizes: tuple[int, ...],
    ) -> Tensor:
        return RAW["triton.along"](missing, g, w, x, s, senders, rows, receivers, orbits, sizes[0], sizes[1], sizes[2])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.missing, ctx.sizes = inputs[0], inputs[9]
        ctx.save_for_backward(*inputs[1:9])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        slots = list(saved[:4])
        slots[ctx.missing] = grad
        grads = _each(ctx, 1, slots, ctx.missing, (*saved[4:], ctx.sizes), _Along)
        return None, *grads, None, None, None, None, None


def row_sums(kind: str, values: Tensor, places: Tensor, count: int) -> Tensor:
    """Sums of the rows that share a place, (O, R, F) -> (O, count, F); the places are sorted in every call."""
    order, ptr = sorted_places(places, count)
    return _Segments.apply(kind, False, values, places, order, ptr, None)


def own_plus(
    x: Tensor, w: Tensor, offsets: Tensor, places: Tensor, order: Tensor | None, ptr: Tensor, axis: int, transposed: bool = False
) -> Tensor:
    """``W_{a(i)} x_i + offset_{a(i)}``, or with W^T."""
    return _OwnPlus.apply(x, w, offsets, places, order, ptr, axis, transposed)


def own_products(left: Tensor, right: Tensor, order: Tensor | None, ptr: Tensor, axis: int) -> Tensor:
    """``sum left_i right_i^T`` over each cluster, (k, C', C)."""
    return _Own.apply(1, left, None, right, order, ptr, axis)


def along(x: Tensor, w: Tensor, s: Tensor | None, edges: tuple[Tensor, ...], sizes: tuple[int, int, int]) -> Tensor:
    """``y_i = sum_{j -> i} s_e W_{o(e)} x_j``, (B, M, C) -> (B, N, C'), with sizes (N, count, M)."""
    return _Along.apply(0, None, w, x, s, *edges, sizes)


def sorted_places(places: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The rows by place, and where each place begins among them, (R,) and (count + 1,).

    Example:
        >>> sorted_places(torch.tensor([2, 0, 2]), 3)
        (tensor([1, 0, 2]), tensor([0, 1, 1, 3]))
    """
    ordered, order = torch.sort(places, stable=True)
    return order, torch.searchsorted(ordered, torch.arange(count + 1, device=places.device))


def cluster_sums(
    x: Tensor, places: Tensor, order: Tensor | None, ptr: Tensor, divisor: Tensor | None, axis: int, kind: str = "triton"
) -> Tensor:
    """Sums, or means, of clusters for signals with the nodes on ``axis``: (B, k, C)."""
    if axis == 1:
        return _Segments.apply(kind, False, x, places, order, ptr, divisor)
    flat = _Segments.apply(kind, False, x.flatten(1)[None], places, order, ptr, divisor)
    return flat[0].unflatten(1, x.shape[1:]).transpose(0, 1)
