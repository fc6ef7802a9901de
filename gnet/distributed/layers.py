"""Layers of a net whose nodes are spread over processes: each has its own nodes, sorted by cluster, nodes first, (n, B, C)."""

import copy
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gnet.distributed.collectives import Processes, summed, total_of
from gnet.kernels.segments import segment_sum
from gnet.nn.linear import EquivariantLinear, InvariantLinear
from gnet.nn.mixing import MixingWeights
from gnet.nn.weights import BlockWeights, ClusterWeights

FINE = 16
"""Mean number of own nodes of a cluster below which each node gets a copy of its weight, instead of a loop over clusters."""


class _OwnNodes(torch.autograd.Function):
    """``y_i = A_{a(i)} x_i + offset_{a(i)}`` on nodes sorted by cluster; only x is kept for the backward pass.

    Shapes:
        x: (n, B, C)    own: (k, C', C)    offsets: (k, B, C')    labels: (n,) sorted    returns: (n, B, C')
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, own: Tensor, offsets: Tensor, labels: Tensor, bounds: list[int] | None) -> Tensor:
        ctx.save_for_backward(x, own, labels)
        ctx.bounds = bounds
        if bounds is None:
            return torch.bmm(x, own.index_select(0, labels).transpose(1, 2)).add_(offsets.index_select(0, labels))
        y = x.new_empty(*x.shape[:2], own.shape[1])
        for cluster, (start, end) in enumerate(pairwise(bounds)):
            if start < end:
                torch.mm(x[start:end].flatten(0, 1), own[cluster].t(), out=y[start:end].flatten(0, 1))
                y[start:end] += offsets[cluster]
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x, own, labels), bounds, grad = ctx.saved_tensors, ctx.bounds, grad.contiguous()
        need_x, need_own = ctx.needs_input_grad[:2]
        grad_offsets = segment_sum(grad, labels, len(own))
        if bounds is None:
            grad_x = torch.bmm(grad, own.index_select(0, labels)) if need_x else None
            products = torch.bmm(grad.transpose(1, 2), x) if need_own else None
            return grad_x, None if products is None else segment_sum(products, labels, len(own)), grad_offsets, None, None
        grad_x, grad_own = (torch.empty_like(x) if need_x else None), torch.zeros_like(own)
        for cluster, (start, end) in enumerate(pairwise(bounds)):
            part = grad[start:end].flatten(0, 1)
            if grad_x is not None and start < end:
                torch.mm(part, own[cluster], out=grad_x[start:end].flatten(0, 1))
            if start < end:
                grad_own[cluster] = part.t() @ x[start:end].flatten(0, 1)
        return grad_x, grad_own, grad_offsets, None, None


class ShardedLinear(nn.Module):
    """An ``EquivariantLinear`` of clusters on the nodes of one process: cluster sums are added over processes, all else is local.

    One message of (k, B, C) numbers forward, one backward; a cluster may be cut over any of the processes. Parameters have the
    names of the layer's.

    Args:
        layer: the whole layer.
        nodes: the nodes of this process, in the order of ``x``.

    Shapes:
        x: (n, B, C)    returns: (n, B, C')

    References:
        The pooled form of ``gnet.kernels.blocks``.
    """

    bias: nn.Parameter | None
    bias_rows: Tensor
    labels: Tensor
    divisor: Tensor
    order: Tensor
    inverse: Tensor

    def __init__(self, layer: EquivariantLinear, nodes: Tensor, processes: Processes = None) -> None:
        super().__init__()
        whole = cast(ClusterWeights, layer.weight)
        self.processes, self.text = processes, repr(layer)
        # Without the index of all nodes; what the pair orbits know of the partition stays that of the net.
        self.weight = copied(whole, {id(whole.clusters): nn.Module(), id(whole.orbits): whole.orbits})
        self.register_parameter("bias", None if layer.bias is None else nn.Parameter(layer.bias.detach().clone()))
        labels = whole.orbits.partition.labels[nodes.cpu()]
        k = whole.orbits.partition.num_clusters
        order = torch.argsort(labels, stable=True)
        is_sorted = torch.equal(order, torch.arange(len(labels)))
        sizes = torch.bincount(labels, minlength=k)
        is_fine = len(labels) < FINE * int((sizes > 0).sum())
        self.num_clusters = k
        self.bounds = None if is_fine else [0, *sizes.cumsum(0).tolist()]
        buffers = {"labels": labels[order], "divisor": whole.index.divisor, "bias_rows": layer.bias_rows}
        buffers |= {} if is_sorted else {"order": order, "inverse": torch.argsort(order)}
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor.clone().to(whole.index.labels.device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        x = x.index_select(0, self.order) if "order" in self._buffers else x
        offsets = self._offsets(self.total(segment_sum(x, self.labels, self.num_clusters)))
        own = self.weight.own_of_clusters()
        if own is None:
            y = offsets.index_select(0, self.labels)
        else:
            y = _OwnNodes.apply(x.contiguous(), own, offsets.contiguous(), self.labels, self.bounds)
        return y.index_select(0, self.inverse) if "inverse" in self._buffers else y

    def total(self, sums: Tensor) -> Tensor:
        """The sums of clusters over all processes, (k, B, C)."""
        return total_of(sums, self.processes)

    def _offsets(self, sums: Tensor) -> Tensor:
        """What each cluster is sent, and its bias: (k, B, C) -> (k, B, C')."""
        means = (sums / self.divisor.to(sums.dtype)[:, None, None]).transpose(0, 1)  # (B, k, C)
        if isinstance(self.weight, MixingWeights):
            offsets = self.weight._offsets(means)
        else:
            mix = cast(BlockWeights, self.weight).mix_of_clusters()
            offsets = F.linear(means.flatten(1), mix.flatten(2).flatten(0, 1)).unflatten(1, mix.shape[:2])
        offsets = offsets if self.bias is None else offsets + self.bias.index_select(0, self.bias_rows)
        return offsets.transpose(0, 1)

    def __repr__(self) -> str:
        return f"Sharded{self.text}"


class ShardedInvariant(nn.Module):
    """An ``InvariantLinear`` on the nodes of one process: every process has the output of the whole.

    Shapes:
        x: (n, B, C)    returns: (B, C'), the same in every process
    """

    bias: nn.Parameter | None
    labels: Tensor
    sizes: Tensor

    def __init__(self, layer: InvariantLinear, nodes: Tensor, processes: Processes = None) -> None:
        super().__init__()
        self.processes, self.text = processes, repr(layer)
        self.weight = nn.Parameter(layer.weight.detach().clone())
        self.register_parameter("bias", None if layer.bias is None else nn.Parameter(layer.bias.detach().clone()))
        self.register_buffer("labels", layer.labels[nodes.to(layer.labels.device)], persistent=False)
        self.register_buffer("sizes", torch.bincount(layer.labels, minlength=layer.num_orbits), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map; gradients of the output are those of every process, which are the same."""
        sums = summed(segment_sum(x, self.labels, len(self.sizes)), self.processes)
        means = (sums / self.sizes.to(sums.dtype)[:, None, None]).transpose(0, 1)
        return F.linear(means.flatten(1), self.weight.flatten(1), self.bias)

    def __repr__(self) -> str:
        return f"Sharded{self.text}"


def copied(module: Any, kept: dict[int, Any]) -> Any:
    """A deep copy in which some parts, by ``id``, are replaced."""
    return copy.deepcopy(module, dict(kept))
