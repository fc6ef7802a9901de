"""A linear map on a support: one weight for each orbit of edges, sparse in memory and time.

Senders of one orbit are summed at each receiver first, then one grouped product applies the weights: a *row* is a pair of
receiver and orbit, and rows are sorted by orbit, so that the rows of a weight are one contiguous matrix.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from gnet.kernels import backends
from gnet.kernels.batched import folded, one_by_one, only
from gnet.kernels.segments import segment_sum

FINE = 16
"""Mean number of rows of an orbit below which each row gets a copy of its weight, instead of a loop over orbits."""


class RowIndex(NamedTuple):
    """Where the rows of each orbit are, as tensors on the device of the signal.

    Shapes:
        senders: (E,) sorted by row    rows: (E,) the row of each edge
        receivers: (R,) of each row    orbits: (R,) of each row, sorted
        sizes: rows of each orbit    num_nodes: N, of the output
    """

    senders: Tensor
    rows: Tensor
    receivers: Tensor
    orbits: Tensor
    sizes: tuple[int, ...]
    num_nodes: int

    @classmethod
    def of(cls, edge_index: Tensor, orbits: Tensor, num_nodes: int, num_orbits: int) -> "RowIndex":
        """The index of distinct edges (2, E), senders first, and the orbit 0..num_orbits-1 of each, (E,).

        Example:
            >>> RowIndex.of(torch.tensor([[0, 1, 2], [2, 2, 0]]), torch.tensor([0, 0, 0]), 3, 1).receivers
            tensor([0, 2])
        """
        codes, rows = torch.unique(orbits * num_nodes + edge_index[1], return_inverse=True)
        order = torch.argsort(rows, stable=True)
        of_row = codes // num_nodes
        sizes = tuple(torch.bincount(of_row, minlength=num_orbits).tolist())
        return cls(edge_index[0][order], rows[order], codes % num_nodes, of_row, sizes, num_nodes)


def sparse_linear(x: Tensor, weights: Tensor, index: RowIndex, scale: Tensor | None = None) -> Tensor:
    """``y_i = sum_{j -> i} s_ji W_{o(j, i)} x_j``, O(B (E C + R C C')) operations, O(B (E C + R C')) memory.

    Shapes:
        x: (*, M, C)    weights: (count, C', C)    scale: (E,) in the order of ``index.senders``, or None for 1
        returns: (*, N, C')

    Example:
        >>> index = RowIndex.of(torch.tensor([[0, 1, 2], [2, 2, 0]]), torch.tensor([0, 0, 1]), 3, 2)
        >>> sparse_linear(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[[10.0]], [[1.0]]]), index)
        tensor([[ 4.],
                [ 0.],
                [30.]])
    """
    active = backends.active
    if active is not None and active.sparse_linear is not None and active.serves(x):
        return active.sparse_linear(x, weights, index, scale)
    nodes = x.movedim(-2, 0)  # (M, *, C)
    sent = nodes.index_select(0, index.senders)
    if scale is not None:
        sent = sent * scale.to(sent.dtype).reshape(-1, *[1] * (sent.ndim - 1))
    num_rows = len(index.receivers)
    if len(index.senders) > num_rows:
        sent = segment_sum(sent, index.rows, num_rows)
    return segment_sum(_grouped(sent, weights, index), index.receivers, index.num_nodes).movedim(0, -2)


DENSE = 32
"""Pairs of nodes for each edge up to which a dense matrix is faster than gathering along edges."""


def spread(x: Tensor, senders: Tensor, receivers: Tensor, weights: Tensor, num_nodes: int) -> Tensor:
    """``y_i = sum_{j -> i} w_ji x_j``, the same number for every channel.

    Shapes:
        x: (*, N, C)    senders, receivers, weights: (E,), each pair once    returns: (*, N, C)

    Example:
        >>> ends = torch.tensor([0, 1]), torch.tensor([1, 1])
        >>> spread(torch.tensor([[1.0], [2.0]]), *ends, torch.tensor([10.0, 1.0]), 2).flatten()
        tensor([ 0., 12.])
    """
    weights = weights.to(x.dtype)
    if num_nodes**2 <= DENSE * len(senders):
        matrix = weights.new_zeros(num_nodes, num_nodes).index_put((receivers, senders), weights)
        return torch.matmul(matrix, x)
    nodes = x.movedim(-2, 0)
    sent = nodes.index_select(0, senders) * weights.reshape(-1, *[1] * (nodes.ndim - 1))
    return segment_sum(sent, receivers, num_nodes).movedim(0, -2)


class FixedNumbers(nn.Module):
    """Numbers that are never trained; call it for them in the dtype and on the device of the module it is part of.

    They are kept in float64 and rounded when the module is moved, not at every use, so that ``net.double()`` has them exactly.
    They are no part of its state.

    Example:
        >>> third = FixedNumbers(torch.tensor([1 / 3], dtype=torch.float64))
        >>> third().dtype, float(third.half().double()()) == 1 / 3
        (torch.float32, True)
    """

    rounded: Tensor

    def __init__(self, exact: Tensor) -> None:
        super().__init__()
        self.exact = exact.detach().cpu().double()
        self.register_buffer("rounded", self.exact.to(torch.get_default_dtype()), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FixedNumbers":
        super()._apply(fn, recurse)
        self.rounded = self.exact.to(self.rounded)
        return self

    def forward(self) -> Tensor:
        """The numbers."""
        return self.rounded


SPARSE = 6
"""Pairs of nodes for each edge from which a sparse matrix of fixed numbers is faster than a dense one (CPU)."""


class FixedEdges(nn.Module):
    """``y_i = sum_{j -> i} w_ji x_j`` with weights that are never trained, for every channel: the edges are sorted once.

    On the CPU, in float32 and float64, the matrix is sparse, forward and backward, where edges are few; elsewhere as ``spread``.

    Args:
        senders, receivers: distinct pairs, (E,).
        weights: of the edges, (E,); float64 ones are not rounded before the module is.

    Shapes:
        x: (N, K)    returns: (N, K)

    Example:
        >>> edges = FixedEdges(torch.tensor([0, 1]), torch.tensor([1, 1]), torch.tensor([10.0, 1.0]), num_nodes=2)
        >>> edges(torch.tensor([[1.0], [2.0]])).flatten()
        tensor([ 0., 12.])
    """

    senders: Tensor
    receivers: Tensor
    order: Tensor

    def __init__(self, senders: Tensor, receivers: Tensor, weights: Tensor, num_nodes: int) -> None:
        super().__init__()
        self.num_nodes = num_nodes
        by_receiver = torch.argsort(receivers * num_nodes + senders)
        senders, receivers, weights = senders[by_receiver], receivers[by_receiver], weights[by_receiver]
        order = torch.argsort(senders * num_nodes + receivers)
        for name, tensor in {"senders": senders, "receivers": receivers, "order": order}.items():
            self.register_buffer(name, tensor, persistent=False)
        self.numbers = FixedNumbers(weights)

    @property
    def weights(self) -> Tensor:
        """Of the edges, sorted by receiver, (E,)."""
        return self.numbers()

    def forward(self, x: Tensor) -> Tensor:
        """Send."""
        weights, is_sparse = self.weights.to(x.dtype), self.num_nodes**2 > SPARSE * len(self.weights)
        plain = x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64) or torch.compiler.is_compiling()
        if plain or not is_sparse:
            return spread(x, self.senders, self.receivers, weights, self.num_nodes)
        there = torch.stack([self.receivers, self.senders]), weights
        back = torch.stack([self.senders, self.receivers])[:, self.order], weights[self.order]
        return cast(Tensor, _Sent.apply(x, *there, *back))


class _Sent(torch.autograd.Function):
    """A sparse matrix, given by sorted places and values, times x; its transpose, given likewise, times the gradient."""

    @staticmethod
    def forward(x: Tensor, places: Tensor, values: Tensor, *back: Tensor) -> Tensor:
        size = (len(x), len(x))
        return torch.sparse.mm(torch.sparse_coo_tensor(places, values, size, is_coalesced=True, check_invariants=False), x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return cast(Tensor, _Sent.apply(tangent, *ctx.saved_tensors))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        places, values, back_places, back_values = ctx.saved_tensors
        return _Sent.apply(grad, back_places, back_values, places, values), None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], x: Tensor, *matrices: Tensor) -> tuple[Tensor, int]:
        if not only(in_dims, [0]):
            return one_by_one(_Sent.apply, info.batch_size, in_dims, (x, *matrices))
        columns = folded(x, in_dims[0], info.batch_size, 1)
        return _Sent.apply(columns, *matrices).unflatten(1, (info.batch_size, -1)), 1


def _grouped(values: Tensor, weights: Tensor, index: RowIndex) -> Tensor:
    """Each row times the weight of its orbit, (R, *, C) -> (R, *, C')."""
    if len(index.receivers) < FINE * max(1, len(index.sizes)):
        flat = values.reshape(len(values), math.prod(values.shape[1:-1]), values.shape[-1])
        product = torch.bmm(flat, weights.index_select(0, index.orbits).transpose(1, 2).to(flat.dtype))
        return product.reshape(*values.shape[:-1], weights.shape[1])
    parts = zip(values.split(index.sizes), weights.unbind(0), strict=True)
    return torch.cat([torch.nn.functional.linear(part, weight.to(part.dtype)) for part, weight in parts])
