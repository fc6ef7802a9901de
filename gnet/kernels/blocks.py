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

from gnet.kernels import backends

FINE = 16
"""Mean cluster size below which clusters of several sizes are not worth a loop: each node gets a copy of its weight."""


class ClusterIndex(NamedTuple):
    """Where the nodes of each cluster are, as tensors on the device of the signal.

    Shapes:
        labels: (N,)    divisor: (k,) integers, what each cluster's sum is divided by
        order: (N,) nodes sorted by cluster    inverse: (N,) the place of each node in it
        ptr: (k + 1,) where each cluster begins in the order
        sizes: k numbers    is_sorted: order is 0..N-1
    """

    labels: Tensor
    divisor: Tensor
    order: Tensor
    inverse: Tensor
    ptr: Tensor
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
        counts = torch.bincount(labels, minlength=len(divisor))
        ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        is_sorted = torch.equal(order, torch.arange(len(labels), device=labels.device))
        return cls(labels, divisor, order, torch.argsort(order), ptr, tuple(counts.tolist()), is_sorted)

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
        return mix_clusters(x / index.divisor.to(x.dtype)[:, None], mix, bias)
    if backends.active is not None and backends.active.serves(x):
        return backends.active.pooled_linear(x, own, mix, bias, index, 1)
    flat = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
    # A batched product per signal and cluster copies the weights B times, which pays while they are smaller than the signals.
    if own is not None and index.is_even and in_channels * out_channels <= 2 * index.sizes[0] * max(in_channels, out_channels):
        y = _batch_first(flat, own, mix, bias, index)
    elif own is not None and index.is_loop:
        y = _apply(flat, own, mix, bias, index, 1)
    else:
        y = nodes_last(pooled_linear_nodes_first(nodes_first(flat, index), own, mix, bias, index), index)
    return y.reshape(*x.shape[:-1], out_channels)


def own_linear(x: Tensor, own: Tensor | None, offsets: Tensor, index: ClusterIndex) -> Tensor:
    """``y_i = A_{a(i)} x_i + offset_{a(i)}``: what is left of the pooled form when the clusters have been mixed elsewhere.

    Shapes:
        x: (*, N, C)    own: (k, C', C) or None    offsets: (*, k, C')    returns: (*, N, C')

    Example:
        >>> index = ClusterIndex.of(torch.tensor([0, 1, 0]), torch.tensor([2, 1]))
        >>> own_linear(torch.ones(3, 1), torch.tensor([[[2.0]], [[3.0]]]), torch.tensor([[0.5], [0.0]]), index).flatten()
        tensor([2.5000, 3.0000, 2.5000])
    """
    if own is None:
        return offsets.index_select(-2, index.labels)
    if backends.active is not None and backends.active.own_linear is not None and backends.active.serves(x):
        return backends.active.own_linear(x, own, offsets, index)
    batch = x.shape[:-2]
    first = nodes_first(x.reshape(math.prod(batch), *x.shape[-2:]), index)
    flat = offsets.to(x.dtype).reshape(math.prod(batch), *offsets.shape[-2:])
    y = nodes_last(own_linear_nodes_first(first, own.to(x.dtype), flat, index), index)
    return y.reshape(*batch, *y.shape[-2:])


def own_linear_nodes_first(x: Tensor, own: Tensor, offsets: Tensor, index: ClusterIndex) -> Tensor:
    """The same on signals with the nodes first and in cluster order, (N, B, C) and (B, k, C') -> (N, B, C').

    Example:
        >>> index = ClusterIndex.of(torch.tensor([0, 0, 1]), torch.tensor([2, 1]))
        >>> own_linear_nodes_first(torch.ones(3, 1, 1), torch.tensor([[[2.0]], [[3.0]]]), torch.zeros(1, 2, 1), index).flatten()
        tensor([2., 2., 3.])
    """
    return _times_plus(_parts(x, index, 0), own.transpose(1, 2), offsets.flatten(1), index, 0)


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
    if backends.active is not None and backends.active.serves(x):
        return backends.active.pooled_linear(x, own, mix, bias, index, 0)
    if own is None:
        pooled = _means(_parts(x, index, 0), index, 0).unflatten(1, (len(index.sizes), -1))
        return mix_clusters(pooled, mix, bias).transpose(0, 1).index_select(0, index.sorted_labels)
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
    def forward(x: Tensor, order: Tensor, inverse: Tensor, axis: int) -> Tensor:
        return x.index_select(axis, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.order, ctx.inverse, ctx.axis = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _Reorder.apply(grad, ctx.inverse, ctx.order, ctx.axis), None, None, None


def mix_clusters(pooled: Tensor, mix: Tensor, bias: Tensor | None) -> Tensor:
    """The one matrix product among clusters, (*, k, C) -> (*, k, C').

    Example:
        >>> mix_clusters(torch.tensor([[2.0], [5.0]]), torch.tensor([[0.0, 1.0], [1.0, 1.0]]).reshape(2, 1, 2, 1), None).flatten()
        tensor([5., 7.])
    """
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
    mixed = mix_clusters(pooled.to(x.dtype), mix, bias).unsqueeze(2)  # (B, k, 1, C')
    if k == 1:
        return F.linear(x, own[0]) + mixed[:, 0]
    weights = own.transpose(1, 2)[None].expand(batch, *[-1] * 3)
    y = torch.bmm(nodes.flatten(0, 1), weights.flatten(0, 1)).unflatten(0, (batch, k)) + mixed
    y = y.view(batch, k * size, out_channels)
    return y if index.is_sorted else _Reorder.apply(y, index.inverse, index.order, 1)


def _parts(x: Tensor, index: ClusterIndex, axis: int) -> list[Tensor]:
    """The nodes of each cluster, contiguous, if clusters are taken one by one; else all of them.

    On axis 0 nodes come in cluster order, (N, B, C), on axis 1 in their own, (B, N, C).
    """
    if not index.is_loop:
        return [x.contiguous()]
    if axis == 0 or index.is_sorted:
        return [part.contiguous() for part in x.split(index.sizes, axis)]
    return [x.index_select(1, nodes) for nodes in index.order.split(index.sizes)]


def _sums(parts: list[Tensor], index: ClusterIndex, axis: int) -> Tensor:
    """Sum over the nodes of each cluster as rows of one matrix, (B, k C), in float32 for low precision."""
    dtype, k = parts[0].dtype, len(index.sizes)
    wide = torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype
    if index.is_loop:
        sums = torch.stack([part.sum(axis, dtype=wide) for part in parts], 1)
    elif index.is_even:
        sums = parts[0].unflatten(0, (k, index.sizes[0])).sum(1, dtype=wide).transpose(0, 1)
    else:
        zeros = torch.zeros(k, *parts[0].shape[1:], dtype=wide, device=parts[0].device)
        sums = zeros.index_add(0, index.sorted_labels, parts[0].to(wide)).transpose(0, 1)
    return sums.flatten(1)


def _means(parts: list[Tensor], index: ClusterIndex, axis: int) -> Tensor:
    """Sums over their divisor, in the dtype of the signal, (B, k C)."""
    return (_sums(parts, index, axis) / _divisor(index, parts[0])).to(parts[0].dtype)


def _times_plus(parts: list[Tensor], weights: Tensor, offsets: Tensor, index: ClusterIndex, axis: int) -> Tensor:
    """``x_i W_{a(i)} + offset_{a(i)}`` on nodes: weights (k, C, C'), offsets (B, k C')."""
    offsets = offsets.unflatten(1, (len(weights), -1)).transpose(0, 1)  # (k, B, C')
    if index.is_loop:
        triples = zip(parts, weights.unbind(0), offsets.unsqueeze(1 + axis).unbind(0), strict=True)
        y = torch.cat([(part.flatten(0, 1) @ w).unflatten(0, part.shape[:2]) + o for part, w, o in triples], axis)
        return y if axis == 0 or index.is_sorted else y.index_select(1, index.inverse)
    if not index.is_even:
        weights, offsets = weights.index_select(0, index.sorted_labels), offsets.index_select(0, index.sorted_labels)
    nodes = parts[0].unflatten(0, (len(weights), -1))  # (k, s, B, C)
    offsets = offsets.contiguous()[:, None]
    if nodes.shape[3] == 1:  # a product with one channel is no matrix product; take the sum in the same pass
        y = torch.addcmul(offsets, nodes, weights[:, None])
    else:
        y = torch.bmm(nodes.flatten(1, 2), weights).view(*nodes.shape[:3], weights.shape[2]) + offsets
    # Fresh memory under a new shape, and no view in the eyes of autograd: the net's ReLU may write into it.
    return torch.ops.aten._unsafe_view(y, (*parts[0].shape[:2], y.shape[3]))


def _products(lefts: list[Tensor], rights: list[Tensor], index: ClusterIndex) -> Tensor:
    """``sum left_i right_i^T`` over nodes and signals of each cluster, (k, C', C)."""
    if index.is_loop:
        return torch.stack([a.flatten(0, 1).t() @ b.flatten(0, 1) for a, b in zip(lefts, rights, strict=True)])
    groups = len(index.sizes) if index.is_even else len(index.labels)
    left, right = (part[0].unflatten(0, (groups, -1)).flatten(1, 2) for part in (lefts, rights))
    if right.shape[2] == 1:  # a thin product is twice as fast with its long side last
        products = torch.bmm(right.transpose(1, 2), left).transpose(1, 2)
    else:
        products = torch.bmm(left.transpose(1, 2), right)
    if index.is_even:
        return products
    zeros = torch.zeros(len(index.sizes), *products.shape[1:], dtype=products.dtype, device=products.device)
    return zeros.index_add(0, index.sorted_labels, products)


def _apply(x: Tensor, own: Tensor, mix: Tensor, bias: Tensor | None, index: ClusterIndex, axis: int) -> Tensor:
    low = backends.autocast_dtype(x.device.type)
    if low is not None:
        x, own, mix, bias = x.to(low), own.to(low), mix.to(low), None if bias is None else bias.to(low)
    return _Pooled.apply(x, own, mix, bias, index, axis)[0]


class _Pooled(torch.autograd.Function):
    """The whole map with the nodes on ``axis``, and the pooled signal, which the backward reads; no gathered copy is saved.

    The backward is made of differentiable operations.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, own: Tensor, mix: Tensor, bias: Tensor | None, index: ClusterIndex, axis: int
    ) -> tuple[Tensor, Tensor]:
        parts = _parts(x, index, axis)
        pooled = _means(parts, index, axis)  # (B, k C)
        mixed = F.linear(pooled, mix.flatten(2).flatten(0, 1), None if bias is None else bias.flatten())
        return _times_plus(parts, own.transpose(1, 2), mixed, index, axis), pooled

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, own, mix, bias, ctx.index, ctx.axis = inputs
        ctx.save_for_backward(x, own, mix, output[1])
        ctx.has_bias = bias is not None

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_pooled: Tensor) -> tuple[Tensor | None, ...]:
        (x, own, mix, pooled), index, axis = ctx.saved_tensors, ctx.index, ctx.axis
        need_x, need_own, need_mix, need_bias = ctx.needs_input_grad[:4]
        parts = _parts(grad, index, axis)
        sums = _sums(parts, index, axis).to(grad.dtype)  # (B, k C')
        grad_x = grad_own = grad_mix = grad_bias = None
        if need_x:
            back = torch.addmm(grad_pooled, sums, mix.flatten(2).flatten(0, 1)) / _divisor(index, x)
            grad_x = _times_plus(parts, own, back, index, axis)
        if need_own:
            grad_own = _products(parts, _parts(x, index, axis), index)
        if need_mix:
            grad_mix = torch.mm(sums.t(), pooled).view(mix.shape)
        if ctx.has_bias and need_bias:
            grad_bias = sums.sum(0).view(len(index.sizes), -1)
        return grad_x, grad_own, grad_mix, grad_bias, None, None


def _divisor(index: ClusterIndex, x: Tensor) -> Tensor:
    """The divisor of each column of the pooled matrix, (k C,)."""
    return index.divisor.to(x.dtype)[:, None].expand(-1, x.shape[-1]).flatten()
