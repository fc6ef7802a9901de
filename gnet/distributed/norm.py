"""Batch normalisation with the statistics of all processes, on any device and backend."""

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gnet.distributed.collectives import Processes, num_processes
from gnet.nn.blocks import NodeBatchNorm


class _Normalised(torch.autograd.Function):
    """``(x - mean) / std * weight + bias`` with moments over the rows of all processes, and mean, variance, number of rows."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, processes: Processes
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide = torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype
        sums = torch.cat([x.sum(0, dtype=wide).double(), torch.tensor([float(len(x))], dtype=torch.float64, device=x.device)])
        dist.all_reduce(sums, group=processes)
        count, mean = sums[-1], (sums[:-1] / sums[-1]).to(wide)
        # In a second message: squares less the square of the mean would lose the digits of a small variance.
        squares = (x - mean).square().sum(0, dtype=wide).double()
        dist.all_reduce(squares, group=processes)
        variance = (squares / count).to(wide)
        scale = torch.rsqrt(variance + eps)
        ctx.save_for_backward(x, weight, mean, scale, count)
        ctx.processes = processes
        ctx.mark_non_differentiable(mean, variance, count)
        return ((x - mean) * (scale * weight) + bias).to(x.dtype), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, count = ctx.saved_tensors
        normal = (x - mean) * scale
        grad_bias, grad_weight = grad.sum(0, dtype=mean.dtype), (grad * normal).sum(0)
        sums = torch.stack([grad_bias, grad_weight]).double()
        dist.all_reduce(sums, group=ctx.processes)
        of_bias, of_weight = (sums / count).to(mean.dtype)
        grad_x = (grad - of_bias - normal * of_weight) * (scale * weight)
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype), grad_bias.to(weight.dtype), None, None


class SharedBatchNorm(NodeBatchNorm):
    """``NodeBatchNorm`` over the rows of all processes: mean and variance are those of the whole batch and graph.

    Gradients of weight and bias are those of the process's own rows, to be summed (or averaged) like all others. Without further
    processes, and in ``eval()``, it is ``NodeBatchNorm``, whose parameters and running statistics it has, by the same names.

    Shapes:
        x: (*, N, C); a process may have no row    returns: the same

    References:
        Ioffe and Szegedy (2015), arXiv:1502.03167. ``torch.nn.SyncBatchNorm`` does the same for CUDA alone.

    Example:
        >>> SharedBatchNorm(2)(torch.randn(4, 3, 2)).mean(dim=(0, 1)).abs().max() < 1e-6
        tensor(True)
    """

    def __init__(self, channels: int, processes: Processes = None) -> None:
        super().__init__(channels)
        self.processes = processes

    @classmethod
    def of(cls, norm: NodeBatchNorm, processes: Processes = None) -> "SharedBatchNorm":
        """The same normalisation, with the very parameters of ``norm``."""
        made = cls(norm.norm.num_features, processes)
        made.norm = norm.norm
        return made.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        if not self.training or num_processes(self.processes) == 1:
            return super().forward(x)
        norm = self.norm
        y, mean, variance, count = _Normalised.apply(x.reshape(-1, x.shape[-1]), norm.weight, norm.bias, norm.eps, self.processes)
        with torch.no_grad():
            norm.get_buffer("num_batches_tracked").add_(1)
            unbiased = variance * (count / (count - 1).clamp(min=1)).to(variance.dtype)
            for name, new in (("running_mean", mean), ("running_var", unbiased)):
                kept = norm.get_buffer(name)
                kept.lerp_(new.to(kept.dtype), cast(float, norm.momentum))  # a NodeBatchNorm has one
        return y.reshape(x.shape)


def share_batch_norms(module: nn.Module, processes: Processes = None) -> None:
    """Let every ``NodeBatchNorm`` inside count the rows of all processes.

    Example:
        >>> net = GNet(SymmetricGroup(3), 1, 2, 1, norm="batch")
        >>> share_batch_norms(net)
        >>> type(net.blocks[0].norm).__name__
        'SharedBatchNorm'
    """
    for name, child in module.named_children():
        if type(child) is NodeBatchNorm:
            setattr(module, name, SharedBatchNorm.of(child, processes))
        else:
            share_batch_norms(child, processes)
