"""vmap of operations that torch sees as one step: fold the new axis into the batch where that is all, else one call for each."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Axes = Sequence[int | None]


def one_by_one(op: Any, size: int, in_dims: Axes, args: Sequence[Any]) -> tuple[Tensor, int]:
    """The results of one call for each index of the new axis, stacked."""
    results = []
    for at in range(size):
        picked = (a if axis is None else a.select(axis, at) for a, axis in zip(args, in_dims, strict=True))
        results.append(op(*(a.contiguous() if isinstance(a, Tensor) else a for a in picked)))
    return torch.stack(results), 0


def folded(x: Tensor | None, axis: int | None, size: int, batch_axis: int) -> Tensor | None:
    """The new axis as the outer part of the batch axis; an argument without it is repeated."""
    if x is None:
        return None
    moved = x.unsqueeze(batch_axis).expand(*x.shape[:batch_axis], size, *x.shape[batch_axis:]) if axis is None else None
    return (x.movedim(axis, batch_axis) if moved is None else moved).flatten(batch_axis, batch_axis + 1).contiguous()  # type: ignore[arg-type]


def only(in_dims: Axes, places: Sequence[int]) -> bool:
    """Whether no argument but those at these places has the new axis."""
    return all(axis is None or place in places for place, axis in enumerate(in_dims))


def register_sums(op: Any) -> None:
    """Shapes and vmap of an operation ``op(values (B, N, C), order, ptr (k + 1,), divisor)`` that sums rows, into (B, k, C)."""

    @op.register_fake
    def _(values: Tensor, order: Tensor | None, ptr: Tensor, divisor: Tensor | None) -> Tensor:
        return values.new_empty((values.shape[0], ptr.shape[0] - 1, values.shape[2]))

    @op.register_vmap
    def _(info: Any, in_dims: Axes, *args: Any) -> tuple[Tensor, int]:
        if not only(in_dims, [0]):
            return one_by_one(op, info.batch_size, in_dims, args)
        values = folded(args[0], in_dims[0], info.batch_size, 0)
        return op(values, *args[1:]).unflatten(0, (info.batch_size, -1)), 0
