"""The pooled form of a cluster-equivariant linear map: pool, mix, broadcast, and one product of each node with its own weight.

    y_i = A_{a(i)} x_i + sum_m B_{a(i) m} (sum_{j in C_m} x_j) / v_m

with a(i) the cluster of node i and v a divisor per sending cluster (v_m = c_m turns sums into means). No N x N matrix is made.

Three ways to the same numbers, chosen by shapes alone, each measured to be the fastest where it is taken. Large clusters of one
size stay batch-major, (B, k, s, C), and all is plain batched products (``_batch_first``). Large clusters of several sizes are
taken one after the other. Fine clusters, and all inside a net, have the nodes first and in cluster order, (N, B, C), where the
nodes of a cluster are one contiguous matrix.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

FINE = 16
"""Mean cluster size below which clusters of several sizes are not worth a loop: each node gets a copy of its weight."""


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
        """Whether every node is a cluster, in the order of the nodes."""
        return self.is_sorted and len(self.sizes) == len(self.labels)

    @property
    def is_even(self) -> bool:
        """Whether all clusters have one size."""
        return min(self.sizes) == max(self.sizes)

    @property
    def is_fine(self) -> bool:
        """Whether clusters are too small for a loop over them."""
        return len(self.labels) < FINE * len(self.sizes)

    @property
    def is_loop(self) -> bool:
        """Whether clusters are taken one after the other: several sizes, and most of them large."""
        return not (self.is_even or self.is_fine)

    @property
    def sorted_labels(self) -> Tensor:
        """The cluster of each node in cluster order, (N,)."""
        return self.labels.index_select(0, self.order)

    def tensors(self) -> dict[str, Tensor]:
        """The fields that move with the device."""
        return {name: value for name, value in self._asdict().items() if isinstance(value, Tensor)}


def pooled_linear(x: Tensor, own: Tensor | None, mix: Tensor, bias: Tensor | None, index: ClusterIndex) -> Tensor:
    """Apply the pooled form, O(B N C C' + B k^2 C C') operations, O(B N C + k^2 C C') memory.

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
    _, out_channels, _, in_channels = mix.shape
    if own is None and index.identity:
        return _mix(x / index.divisor.to(x.dtype)[:, None], mix, bias)
    flat = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
    # A batched product per signal and cluster copies the weights B times, which pays while they are smaller than the signals.
    if own is not None and index.is_even and in_channels * out_channels <= 2 * index.sizes[0] * max(in_channels, out_channels):
        y = _batch_first(flat, own, mix, bias, index)
    elif own is not None and index.is_loop:
        y = _apply(flat, own, mix, bias, index, 1)
    else:
        y = nodes_last(pooled_linear_nodes_first(nodes_first(flat, index), own, mix, bias, index), index)
    return y.reshape(*x.shape[:-1], out_channels)


def pooled_linear_nodes_first(x: Tensor, own: Tensor | None, mix: Tensor, bias: Tensor | None, index: ClusterIndex) -> Tensor:
    """The same map on signals with the nodes first and in cluster order, as ``nodes_first`` gives them.

    Shapes:
        x: (N, B, C)    returns: (N, B, C')

    Example:
        >>> index = ClusterIndex.of(torch.tensor([1, 0, 1]), torch.tensor([1, 2]))
        >>> own, mix = torch.randn(2, 5, 3), torch.randn(2, 5, 2, 3)
        >>> x = torch.randn(7, 3, 3)
        >>> y = nodes_last(pooled_linear_nodes_first(nodes_first(x, index), own, mix, None, index), index)
        >>> torch.allclose(y, pooled_linear(x, own, mix, None, index), atol=1e-5)
        True
    """
    if own is None:
        mixed = _mix_sums(_sums(x, index, 0), mix, bias, index, x.dtype)
        return mixed.index_select(0, index.sorted_labels)
    return _apply(x, own, mix, bias, index, 0)


def nodes_first(x: Tensor, index: ClusterIndex) -> Tensor:
    """(B, N, C) -> (N, B, C), the nodes in cluster order.

    Example:
        >>> nodes_first(torch.tensor([[[1.0], [2.0], [3.0]]]), ClusterIndex.of(torch.tensor([0, 1, 0]), torch.ones(2))).flatten()
        tensor([1., 3., 2.])
    """
    x = x.transpose(0, 1)
    return x.contiguous() if index.is_sorted else _Reorder.apply(x, index.order, index.inverse, 0)


def nodes_last(x: Tensor, index: ClusterIndex) -> Tensor:
    """Inverse of ``nodes_first``, (N, B, C) -> (B, N, C).

    Example:
        >>> index = ClusterIndex.of(torch.tensor([0, 1, 0]), torch.ones(2))
        >>> nodes_last(torch.tensor([[[1.0]], [[3.0]], [[2.0]]]), index).flatten()
        tensor([1., 2., 3.])
    """
    x = x.transpose(0, 1)
    return x.contiguous() if index.is_sorted else _Reorder.apply(x, index.inverse, index.order, 1)


class _Reorder(torch.autograd.Function):
    """Permute the nodes; unlike that of ``index_select`` the backward is no scatter but the inverse permutation."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, order: Tensor, inverse: Tensor, axis: int) -> Tensor:  # type: ignore[override]
        return x.index_select(axis, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.order, ctx.inverse, ctx.axis = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return _Reorder.apply(grad, ctx.inverse, ctx.order, ctx.axis), None, None, None


def _mix(pooled: Tensor, mix: Tensor, bias: Tensor | None) -> Tensor:
    """The one matrix product among clusters, (*, k, C) -> (*, k, C')."""
    k, out_channels = mix.shape[:2]
    mixed = F.linear(pooled.flatten(-2), mix.flatten(2).flatten(0, 1), None if bias is None else bias.flatten())
    return mixed.unflatten(-1, (k, out_channels))


def _batch_first(x: Tensor, own: Tensor, mix: Tensor, bias: Tensor | None, index: ClusterIndex) -> Tensor:
    k, size = len(index.sizes), index.sizes[0]
    batch, out_channels = len(x), mix.shape[1]
    ordered = x if index.is_sorted else _Reorder.apply(x, index.order, index.inverse, 1)
    nodes = ordered.unflatten(1, (k, size))  # (B, k, s, C)
    wide = torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype
    pooled = nodes.sum(2, dtype=wide) / index.divisor[:, None]
    mixed = _mix(pooled.to(x.dtype), mix, bias).unsqueeze(2)  # (B, k, 1, C')
    if k == 1:
        return F.linear(x, own[0]) + mixed[:, 0]
    weights = own.transpose(1, 2)[None].expand(batch, *[-1] * 3)
    y = torch.bmm(nodes.flatten(0, 1), weights.flatten(0, 1)).unflatten(0, (batch, k)) + mixed
    y = y.view(batch, k * size, out_channels)
    return y if index.is_sorted else _Reorder.apply(y, index.inverse, index.order, 1)


def _chunks(x: Tensor, index: ClusterIndex, axis: int) -> list[Tensor]:
    """The nodes of each cluster as k contiguous tensors; axis 0: (N, B, C) in cluster order, axis 1: (B, N, C) as it came."""
    if axis == 0 or index.is_sorted:
        return [chunk.contiguous() for chunk in x.split(index.sizes, axis)]
    return [x.index_select(1, nodes) for nodes in index.order.split(index.sizes)]


def _join(chunks: list[Tensor], index: ClusterIndex, axis: int) -> Tensor:
    """Inverse of ``_chunks``."""
    joined = torch.cat(chunks, axis)
    return joined if axis == 0 or index.is_sorted else joined.index_select(1, index.inverse)


def _sums(x: Tensor, index: ClusterIndex, axis: int) -> Tensor:
    """Sum over the nodes of each cluster, (k, B, C), in float32 for low precision."""
    wide = torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype
    if index.is_loop:
        return torch.stack([chunk.sum(axis, dtype=wide) for chunk in _chunks(x, index, axis)])
    if index.is_even:
        return x.unflatten(0, (len(index.sizes), index.sizes[0])).sum(1, dtype=wide)
    zeros = torch.zeros(len(index.sizes), *x.shape[1:], dtype=wide, device=x.device)
    return zeros.index_add(0, index.sorted_labels, x.to(wide))


def _mix_sums(sums: Tensor, mix: Tensor, bias: Tensor | None, index: ClusterIndex, dtype: torch.dtype) -> Tensor:
    """What each cluster receives from all, (k, B, C) -> (k, B, C')."""
    means = (sums / index.divisor[:, None, None]).to(dtype)
    return _mix(means.transpose(0, 1), mix, bias).transpose(0, 1).contiguous()


def _times_plus(x: Tensor, weights: Tensor, offsets: Tensor, index: ClusterIndex, axis: int) -> Tensor:
    """``x_i W_{a(i)} + offset_{a(i)}`` on nodes: weights (k, C, C'), offsets (k, B, C')."""
    if index.is_loop:
        parts = zip(_chunks(x, index, axis), weights.unbind(0), offsets.unbind(0), strict=True)
        return _join([(c.flatten(0, 1) @ w).unflatten(0, c.shape[:2]) + o.unsqueeze(axis) for c, w, o in parts], index, axis)
    if not index.is_even:
        weights, offsets = weights.index_select(0, index.sorted_labels), offsets.index_select(0, index.sorted_labels)
    nodes = x.contiguous().unflatten(0, (len(weights), -1))  # (k, s, B, C)
    if x.shape[2] == 1:  # a product with one channel is no matrix product; take the sum in the same pass
        y = torch.addcmul(offsets[:, None], nodes, weights[:, None])
    else:
        y = torch.bmm(nodes.flatten(1, 2), weights).view(*nodes.shape[:3], weights.shape[2]) + offsets[:, None]
    # Fresh memory under a new shape, and no view in the eyes of autograd: the net's ReLU may write into it.
    return torch.ops.aten._unsafe_view(y, (*x.shape[:2], y.shape[3]))


def _products(left: Tensor, right: Tensor, index: ClusterIndex, axis: int) -> Tensor:
    """``sum left_i right_i^T`` over nodes and signals of each cluster, (k, C', C)."""
    if index.is_loop:
        parts = zip(_chunks(left, index, axis), _chunks(right, index, axis), strict=True)
        return torch.stack([a.flatten(0, 1).t() @ b.flatten(0, 1) for a, b in parts])
    groups = len(index.sizes) if index.is_even else len(left)
    left, right = left.unflatten(0, (groups, -1)).flatten(1, 2), right.unflatten(0, (groups, -1)).flatten(1, 2)
    if right.shape[2] == 1:  # a thin product is twice as fast with its long side last
        products = torch.bmm(right.transpose(1, 2), left).transpose(1, 2)
    else:
        products = torch.bmm(left.transpose(1, 2), right)
    if index.is_even:
        return products
    zeros = torch.zeros(len(index.sizes), *products.shape[1:], dtype=products.dtype, device=products.device)
    return zeros.index_add(0, index.sorted_labels, products)


def _apply(x: Tensor, own: Tensor, mix: Tensor, bias: Tensor | None, index: ClusterIndex, axis: int) -> Tensor:
    if torch.is_autocast_enabled(x.device.type):
        low = torch.get_autocast_dtype(x.device.type)
        x, own, mix, bias = x.to(low), own.to(low), mix.to(low), None if bias is None else bias.to(low)
    return _Pooled.apply(x, own, mix, bias, index, axis)


class _Pooled(torch.autograd.Function):
    """The whole map with the nodes on ``axis``; saves its inputs only, and its backward is made of differentiable operations."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, own: Tensor, mix: Tensor, bias: Tensor | None, index: ClusterIndex, axis: int) -> Tensor:  # type: ignore[override]
        offsets = _mix_sums(_sums(x, index, axis), mix, bias, index, x.dtype)
        return _times_plus(x, own.transpose(1, 2), offsets, index, axis)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, own, mix, bias, ctx.index, ctx.axis = inputs
        ctx.save_for_backward(x, own, mix)
        ctx.has_bias = bias is not None

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (x, own, mix), index, axis = ctx.saved_tensors, ctx.index, ctx.axis
        need_x, need_own, need_mix, need_bias = ctx.needs_input_grad[:4]
        sums = _sums(grad, index, axis)  # (k, B, C')
        flat_sums = sums.to(grad.dtype).transpose(0, 1).flatten(1)
        grad_x = grad_own = grad_mix = grad_bias = None
        if need_x:
            back = torch.mm(flat_sums, mix.flatten(2).flatten(0, 1)).unflatten(1, (len(index.sizes), -1))
            back = (back.transpose(0, 1).contiguous() / index.divisor[:, None, None]).to(grad.dtype)
            grad_x = _times_plus(grad, own, back, index, axis)
        if need_own:
            grad_own = _products(grad, x, index, axis)
        if need_mix:
            means = (_sums(x, index, axis) / index.divisor[:, None, None]).to(x.dtype)
            grad_mix = torch.mm(flat_sums.t(), means.transpose(0, 1).flatten(1)).view(mix.shape)
        if ctx.has_bias and need_bias:
            grad_bias = sums.sum(1).to(grad.dtype)
        return grad_x, grad_own, grad_mix, grad_bias, None, None
