"""Sums over processes that autograd understands: everything that processes tell each other goes through here.

With one process, or without ``torch.distributed``, all of them are the identity.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

Processes = dist.ProcessGroup | None
"""Which processes work together; None is all."""


def num_processes(processes: Processes = None) -> int:
    """How many work together.

    Example:
        >>> num_processes()
        1
    """
    return dist.get_world_size(processes) if dist.is_available() and dist.is_initialized() else 1


def this_process(processes: Processes = None) -> int:
    """The number of this one among them, from 0.

    Example:
        >>> this_process()
        0
    """
    return dist.get_rank(processes) if num_processes(processes) > 1 else 0


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, processes: Processes) -> Tensor:
        total = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=processes)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad, None


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, processes: Processes, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.processes = processes
        return tuple(each.view_as(each) for each in tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        wanted = [place for place, needed in enumerate(ctx.needs_input_grad[1:]) if needed]
        found: list[Tensor | None] = [None] * len(grads)
        for dtype in sorted({grads[place].dtype for place in wanted}, key=str):
            places = [place for place in wanted if grads[place].dtype == dtype]
            flat = torch.cat([grads[place].reshape(-1) for place in places])  # one message for all
            dist.all_reduce(flat, group=ctx.processes)
            for place, part in zip(places, flat.split([grads[place].numel() for place in places]), strict=True):
                found[place] = part.view(grads[place].shape)
        return None, *found


def summed(x: Tensor, processes: Processes = None) -> Tensor:
    """The sum over processes, every one of which goes on with it in the same way: the gradient is passed on as it is.

    Example:
        >>> summed(torch.tensor([1.0, 2.0]))
        tensor([1., 2.])
    """
    return x if num_processes(processes) == 1 else _Summed.apply(x, processes)


def shared(tensors: Sequence[Tensor], processes: Processes = None) -> tuple[Tensor, ...]:
    """Tensors that are the same in every process, each of which goes on in its own way: their gradients are summed.

    The backward pass sends one message for all of them, once all gradients are there.

    Example:
        >>> shared([torch.ones(2), torch.zeros(1)])
        (tensor([1., 1.]), tensor([0.]))
    """
    if num_processes(processes) == 1 or not tensors:
        return tuple(tensors)
    return tuple(_Shared.apply(processes, *tensors))


def total_of(x: Tensor, processes: Processes = None) -> Tensor:
    """The sum over processes, each of which goes on with it in its own way; one message forward, one backward.

    Example:
        >>> total_of(torch.tensor([1.0, 2.0]))
        tensor([1., 2.])
    """
    return shared([summed(x, processes)], processes)[0]


def whole_mean(
    total: Tensor, count: int, processes: Processes = None, *, gradients_are_averaged: bool = False
) -> tuple[Tensor, int]:
    """The mean over all entries that count, of every process: sum of totals over sum of counts; and the sum of counts.

    Averaging the means of processes would weigh an entry the more the fewer of them its process has. The value is the same in
    every process; its gradient reaches the process's own part of the total, so that summed over processes it is that of the
    whole. Nothing counted is a mean of 0.

    Args:
        gradients_are_averaged: by what comes after, as ``DistributedDataParallel`` does; gradients are then so many times
            larger that their average is that of the whole.

    Shapes:
        total: ()    returns: (), and an integer

    Example:
        >>> whole_mean(torch.tensor(6.0), 4)
        (tensor(1.5000), 4)
    """
    world = num_processes(processes)
    if world == 1:
        return total / max(count, 1), count
    both = torch.stack([total.detach().double(), torch.tensor(float(count), dtype=torch.float64, device=total.device)])
    dist.all_reduce(both, group=processes)
    counted = int(both[1])
    mean = (both[0] / max(counted, 1)).to(total.dtype)
    # The own part, whose value cancels: it is there for its gradient.
    share = total * ((world if gradients_are_averaged else 1) / max(counted, 1))
    return mean + (share - share.detach()).nan_to_num(), counted


@torch.no_grad()
def gathered(x: Tensor, processes: Processes = None) -> Tensor:
    """The parts of all processes one after the other along the first axis, which may differ in length; without gradient.

    Shapes:
        x: (n, *)    returns: (sum of n, *)

    Example:
        >>> gathered(torch.ones(2, 1)).shape
        torch.Size([2, 1])
    """
    world = num_processes(processes)
    if world == 1:
        return x
    lengths = [torch.zeros((), dtype=torch.long, device=x.device) for _ in range(world)]
    dist.all_gather(lengths, torch.tensor(len(x), device=x.device), group=processes)
    longest = int(torch.stack(lengths).max())
    padded = x.new_zeros(longest, *x.shape[1:])
    padded[: len(x)] = x
    parts = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded, group=processes)
    return torch.cat([part[: int(length)] for part, length in zip(parts, lengths, strict=True)])


def any_process(flag: bool, device: torch.device, processes: Processes = None) -> bool:
    """Whether the flag is set in any of them: what one has to stop for, all stop for.

    Example:
        >>> any_process(True, torch.device("cpu"))
        True
    """
    if num_processes(processes) == 1:
        return flag
    found = torch.tensor(int(flag), device=device)
    dist.all_reduce(found, op=dist.ReduceOp.MAX, group=processes)
    return bool(found)
