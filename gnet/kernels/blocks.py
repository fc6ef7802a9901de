"""The pooled form of a cluster-equivariant linear map: pool, mix, broadcast, and one product of each node with its own weight.

    y_i = A_{a(i)} x_i + sum_m B_{a(i) m} (sum_{j in C_m} x_j) / v_m

with a(i) the cluster of node i and v a divisor per sending cluster (v_m = c_m turns sums into means). No N x N matrix is ever made.

Three ways to the same numbers, chosen by shapes alone, each measured to be the fastest where it is taken:

* clusters of one size: signals are put in cluster order, (B, k, s, C), and all is plain batched products (``_even``);
* fine clusters of several sizes: every node gets a copy of its weight, O(N C C') (``_by_node``);
* large clusters of several sizes: one cluster after the other, O(B N C + k^2 C C') memory (``_Chunked``).
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gnet.kernels.segments import cluster_sum

FINE = 16
"""Mean cluster size below which clusters of unequal sizes are not worth a loop."""


class ClusterIndex(NamedTuple):
    """Where the nodes of each cluster are, as tensors on the device of the signal.

    Shapes:
        labels: (N,)    divisor: (k,) integers, what each cluster's sum is divided by
        order: (N,) nodes sorted by cluster    inverse: (N,) the place of each node in it
        sizes: k numbers    is_sorted: order is 0..N-1
    """

    labels: Tensor
    divisor: Tensor
    order: Tensor
    inverse: Tensor
    sizes: tuple[int, ...]
    is_sorted: bool

    @classmethod
    def of(cls, labels: Tensor, divisor: Tensor) -> "ClusterIndex":
        """The index of labels 0..k-1, all of which occur.

        Example:
            >>> ClusterIndex.of(torch.tensor([0, 1, 0]), torch.tensor([2, 1])).order
            tensor([0, 2, 1])
        """
        order = torch.argsort(labels, stable=True)
        sizes = tuple(torch.bincount(labels, minlength=len(divisor)).tolist())
        is_sorted = torch.equal(order, torch.arange(len(labels), device=labels.device))
        return cls(labels, divisor, order, torch.argsort(order), sizes, is_sorted)

    @property
    def identity(self) -> bool:
        """Whether labels are 0..N-1."""
        return self.is_sorted and len(self.sizes) == len(self.labels)

    def tensors(self) -> dict[str, Tensor]:
        """The fields that move with the device."""
        return {name: value for name, value in self._asdict().items() if isinstance(value, Tensor)}


def pooled_linear(x: Tensor, own: Tensor | None, mix: Tensor, bias: Tensor | None, index: ClusterIndex) -> Tensor:
    """Apply the pooled form, O(B N C C' + B k^2 C C').

    Shapes:
        x: (*, N, C)    own: (k, C', C) or None    mix: (k, C', k, C), receiver first
        bias: (k, C') or None    returns: (*, N, C')

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436; the pooled coordinates are those of the two-dimensional commutant
        of each block (Zaheer et al. 2017, arXiv:1703.06114, for one block).

    Example:
        >>> index = ClusterIndex.of(torch.tensor([0, 0, 1]), torch.tensor([2, 1]))
        >>> pooled_linear(torch.tensor([[1.0], [3.0], [5.0]]), None, torch.eye(2).reshape(2, 1, 2, 1), None, index)
        tensor([[2.],
                [2.],
                [5.]])
    """
    k, out_channels, _, in_channels = mix.shape
    if own is None or index.sizes[0] == 1 == max(index.sizes):
        return _by_node(x, own, mix, bias, index)
    flat = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
    batch, num_nodes = flat.shape[:2]
    signals = batch * num_nodes * max(in_channels, out_channels)
    if min(index.sizes) == max(index.sizes) and batch * k * in_channels * out_channels <= 2 * max(signals, mix.numel()):
        y = _even(flat, own, mix, bias, index)
    elif num_nodes < FINE * k:
        y = _by_node(flat, own, mix, bias, index)
    else:
        if torch.is_autocast_enabled(x.device.type):
            low = torch.get_autocast_dtype(x.device.type)
            flat, own, mix, bias = flat.to(low), own.to(low), mix.to(low), None if bias is None else bias.to(low)
        y = _Chunked.apply(flat, own, mix, bias, index)
    return y.reshape(*x.shape[:-1], out_channels)


def _mix(pooled: Tensor, mix: Tensor, bias: Tensor | None) -> Tensor:
    """The one matrix product among clusters, (*, k, C) -> (*, k, C')."""
    k, out_channels = mix.shape[:2]
    mixed = F.linear(pooled.flatten(-2), mix.flatten(2).flatten(0, 1), None if bias is None else bias.flatten())
    return mixed.unflatten(-1, (k, out_channels))


class _Reorder(torch.autograd.Function):
    """Permute the nodes; unlike that of ``index_select`` the backward is no scatter but the inverse permutation."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:  # type: ignore[override]
        return x.index_select(-2, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.order, ctx.inverse = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return _Reorder.apply(grad, ctx.inverse, ctx.order), None, None


def _even(x: Tensor, own: Tensor, mix: Tensor, bias: Tensor | None, index: ClusterIndex) -> Tensor:
    k, size = len(index.sizes), index.sizes[0]
    batch, out_channels = len(x), mix.shape[1]
    ordered = x if index.is_sorted else _Reorder.apply(x, index.order, index.inverse)
    nodes = ordered.unflatten(1, (k, size))  # (B, k, s, C)
    wide = torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else None
    pooled = nodes.sum(2, dtype=wide) / index.divisor[:, None]
    mixed = _mix(pooled.to(x.dtype), mix, bias).unsqueeze(2)  # (B, k, 1, C')
    if k == 1:
        return F.linear(x, own[0]) + mixed[:, 0]
    weights = own.transpose(1, 2)[None].expand(batch, *[-1] * 3)
    if mix.shape[3] == 1:  # one product gives both parts: [x, 1] [A; mixed]
        one = torch.ones_like(nodes)
        both = torch.cat([weights, mixed.to(weights.dtype)], 2)
        y = torch.bmm(torch.cat([nodes, one], 3).flatten(0, 1), both.flatten(0, 1)).unflatten(0, (batch, k))
    else:
        y = torch.bmm(nodes.flatten(0, 1), weights.flatten(0, 1)).unflatten(0, (batch, k)) + mixed
    y = y.view(batch, k * size, out_channels)
    return y if index.is_sorted else _Reorder.apply(y, index.inverse, index.order)


def _by_node(x: Tensor, own: Tensor | None, mix: Tensor, bias: Tensor | None, index: ClusterIndex) -> Tensor:
    pooled = x if index.identity else cluster_sum(x, index.labels, len(index.sizes))  # (*, k, C)
    mixed = _mix(pooled / index.divisor.to(x.dtype)[:, None], mix, bias)
    y = mixed if index.identity else mixed.index_select(-2, index.labels)  # (*, N, C')
    if own is None:
        return y
    weights = own if index.identity else own.index_select(0, index.labels)
    return y + torch.einsum("...ni,noi->...no", x, weights)


def _chunks(x: Tensor, index: ClusterIndex) -> list[Tensor]:
    """The nodes of each cluster, (B, N, C) -> k contiguous tensors (B, c, C)."""
    if index.is_sorted:
        return [chunk.contiguous() for chunk in x.split(index.sizes, 1)]
    return [x.index_select(1, nodes) for nodes in index.order.split(index.sizes)]


def _join(chunks: list[Tensor], index: ClusterIndex) -> Tensor:
    """Inverse of ``_chunks``."""
    joined = chunks[0] if len(chunks) == 1 else torch.cat(chunks, 1)
    return joined if index.is_sorted else joined.index_select(1, index.inverse)


def _sums(chunks: list[Tensor]) -> Tensor:
    """Sum over the nodes of each cluster, (B, k, C); low precision is summed in float32."""
    wide = torch.float32 if chunks[0].dtype in (torch.bfloat16, torch.float16) else None
    return torch.cat([chunk.sum(1, keepdim=True, dtype=wide) for chunk in chunks], 1)


def _each_plus(chunks: list[Tensor], weights: Tensor, offsets: Tensor) -> list[Tensor]:
    """``chunk @ weight + offset`` for each cluster: weights (k, C, C'), offsets (B, k, C')."""
    pairs = zip(chunks, weights.unbind(0), offsets.split(1, 1), strict=True)
    return [torch.mm(c.flatten(0, 1), w).unflatten(0, c.shape[:2]) + offset for c, w, offset in pairs]


class _Chunked(torch.autograd.Function):
    """The whole map cluster by cluster; saves its inputs only, and its backward is made of differentiable operations."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, own: Tensor, mix: Tensor, bias: Tensor | None, index: ClusterIndex) -> Tensor:  # type: ignore[override]
        chunks = _chunks(x, index)
        pooled = (_sums(chunks) / index.divisor[:, None]).to(x.dtype)
        return _join(_each_plus(chunks, own.transpose(1, 2), _mix(pooled, mix, bias)), index)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, own, mix, bias, ctx.index = inputs
        ctx.save_for_backward(x, own, mix)
        ctx.has_bias = bias is not None

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (x, own, mix), index = ctx.saved_tensors, ctx.index
        need_x, need_own, need_mix, need_bias = ctx.needs_input_grad[:4]
        grads = _chunks(grad, index)
        sums = _sums(grads)  # (B, k, C')
        flat_sums = sums.to(grad.dtype).flatten(1)
        grad_x = grad_own = grad_mix = None
        if need_x:
            back = torch.mm(flat_sums, mix.flatten(2).flatten(0, 1)).unflatten(1, (len(index.sizes), -1))
            grad_x = _join(_each_plus(grads, own, (back / index.divisor[:, None]).to(grad.dtype)), index)
        if need_own or need_mix:
            chunks = _chunks(x, index)
            pooled = (_sums(chunks) / index.divisor[:, None]).to(x.dtype)
            grad_own = torch.stack([torch.mm(g.flatten(0, 1).t(), c.flatten(0, 1)) for g, c in zip(grads, chunks, strict=True)])
            grad_mix = torch.mm(flat_sums.t(), pooled.flatten(1)).view(mix.shape) if need_mix else None
        grad_bias = sums.sum(0).to(grad.dtype) if ctx.has_bias and need_bias else None
        return grad_x, grad_own, grad_mix, grad_bias, None
