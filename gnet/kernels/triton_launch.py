"""What the Triton kernels are started with: grids, tiles, memory for results, and the edges in the order of their readers."""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from gnet.errors import ConfigError
from gnet.kernels import triton_kernels as kernels

INTERPRETED: bool = triton.knobs.runtime.interpret
"""Whether Triton's interpreter runs the kernels on the CPU (TRITON_INTERPRET=1 when the process starts)."""

ROWS, CHANNELS, WIDTH = 64, 64, 128
"""The largest tiles: rows of a product, channels, columns of a sum."""

EXACT = 16
"""The tiles of a product in float64, which is multiplied entry by entry, in registers."""

PROGRAMS = 512
"""As many programs as keep a large device busy: with fewer segments, clusters or orbits, each is split, and the parts added."""


def _tile(size: int, largest: int) -> int:
    """A power of two from 16, which a matrix unit takes, that covers the size or is the largest tile."""
    return min(largest, max(16, triton.next_power_of_2(size)))


def _channels(x: Tensor, size: int) -> int:
    return _tile(size, EXACT if x.dtype is torch.float64 else CHANNELS)


def _rows(x: Tensor) -> int:
    return EXACT if x.dtype is torch.float64 else ROWS


def _exactness(x: Tensor) -> dict[str, Any]:
    if INTERPRETED and x.dtype is torch.bfloat16:
        raise ConfigError(
            "Triton's interpreter multiplies bfloat16 wrongly; take float32 or float16 there, or a GPU, or GNET_BACKEND=native"
        )
    precise = torch.get_float32_matmul_precision() == "highest"
    return {"EXACT": x.dtype is torch.float64, "PRECISION": "ieee" if precise else "tf32"}


def _parts(count: int, rows: int) -> int:
    """Into how many parts each of ``count`` sums over ``rows`` in all is split."""
    return max(1, min(PROGRAMS // max(count, 1), rows // max(count, 1) // (4 * ROWS)))


def _partial(splits: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
    wide = torch.float32 if splits > 1 and like.dtype is not torch.float64 else like.dtype
    return like.new_empty((splits, *shape), dtype=wide)


def _added(partial: Tensor, like: Tensor) -> Tensor:
    return (partial[0] if len(partial) == 1 else partial.sum(0)).to(like.dtype)


def sums(values: Tensor, order: Tensor | None, ptr: Tensor, divisor: Tensor | None) -> Tensor:
    """Sums or means of segments, (O, R, F) -> (O, S, F)."""
    exact = _exactness(values)["EXACT"]
    outer, rows, width = values.shape
    count = len(ptr) - 1
    splits = _parts(count * outer * triton.cdiv(max(width, 1), WIDTH), rows * outer)
    out = _partial(splits, (outer, count, width), values)
    if not out.numel():
        return out[0]
    block = _tile(width, WIDTH)
    grid = (count * splits * outer * triton.cdiv(width, block),)
    with torch.cuda.device_of(values):
        kernels.sums_kernel[grid](
            values, order, ptr, divisor, out, rows, count, outer, width, splits,
            HAS_ORDER=order is not None, HAS_DIVISOR=divisor is not None, EXACT=exact, BLOCK_ROWS=16, BLOCK_WIDTH=block,
        )  # fmt: skip
    return _added(out, values)


def times_plus(
    x: Tensor, weights: Tensor, offsets: Tensor | None, order: Tensor | None, ptr: Tensor, axis: int, transposed: bool
) -> Tensor:
    """``W x`` or ``W^T x`` of each node, plus what its cluster is sent."""
    nodes, batch = x.shape[axis], x.shape[1 - axis]
    k = len(weights)
    c_out, c_in = (weights.shape[2], weights.shape[1]) if transposed else weights.shape[1:]
    out = x.new_empty((*x.shape[:2], c_out))
    if not out.numel():
        return out
    strides = (weights.stride(1), weights.stride(2)) if transposed else (weights.stride(2), weights.stride(1))
    block, rows = _channels(x, c_out), _rows(x)
    grid = (nodes * batch // rows + k, triton.cdiv(c_out, block))
    with torch.cuda.device_of(x):
        kernels.times_plus_kernel[grid](
            x, weights, offsets, order, ptr, out, nodes, batch, k, c_in, c_out, weights.stride(0), *strides,
            HAS_OFFSETS=offsets is not None, HAS_ORDER=order is not None, NODES_FIRST=axis == 0, **_exactness(x),
            BLOCK_ROWS=rows, BLOCK_IN=_channels(x, c_in), BLOCK_OUT=block,
        )  # fmt: skip
    return out


def products(left: Tensor, right: Tensor, order: Tensor | None, ptr: Tensor, axis: int) -> Tensor:
    """``sum left_i right_i^T`` over each cluster, (k, C', C)."""
    nodes, batch = left.shape[axis], left.shape[1 - axis]
    k, c_left, c_right = len(ptr) - 1, left.shape[2], right.shape[2]
    splits = _parts(k, nodes * batch)
    out = _partial(splits, (k, c_left, c_right), left)
    i, j = _channels(left, c_left), _channels(left, c_right)
    grid = (k * splits, triton.cdiv(c_left, i), triton.cdiv(c_right, j))
    with torch.cuda.device_of(left):
        kernels.products_kernel[grid](
            left, right, order, ptr, out, nodes, batch, k, c_left, c_right, splits,
            HAS_ORDER=order is not None, NODES_FIRST=axis == 0, **_exactness(left),
            BLOCK_ROWS=_rows(left), BLOCK_LEFT=i, BLOCK_RIGHT=j,
        )  # fmt: skip
    return _added(out, left)


class Edges(NamedTuple):
    """Edges sorted by who hears and by orbit: rows of one node and one orbit, as in ``along_kernel``."""

    row_ptr: Tensor
    row_orbit: Tensor
    edge_ptr: Tensor
    sender: Tensor
    edge: Tensor

    @classmethod
    def of(cls, hears: Tensor, sends: Tensor, orbits: Tensor, num_nodes: int, count: int) -> "Edges":
        """Of the edges j -> i with their orbits, each (E,)."""
        codes, edge = torch.sort(hears * count + orbits, stable=True)
        rows, sizes = torch.unique_consecutive(codes, return_counts=True)
        row_ptr = torch.searchsorted(rows, torch.arange(num_nodes + 1, device=rows.device) * count)
        zero = sizes.new_zeros(1)
        return cls(row_ptr, rows % max(count, 1), torch.cat([zero, sizes.cumsum(0)]), sends[edge], edge)


class Plan(NamedTuple):
    """The edges of a ``RowIndex`` in every order that the kernels read: by receiver, by sender, by orbit (its own)."""

    heard: Edges
    sent: Edges
    receiver: Tensor
    orbit: Tensor
    orbit_ptr: Tensor


_plans = WeakTensorKeyDictionary()


def plan_of(
    senders: Tensor, rows: Tensor, receivers: Tensor, orbits: Tensor, num_nodes: int, count: int, num_senders: int
) -> Plan:
    """The plan of these edges, made once and kept while its senders are."""
    tensors = (senders, rows, receivers, orbits)
    key = (*((t.data_ptr(), t._version, len(t)) for t in tensors), num_nodes, count, num_senders)
    found = _plans.get(senders)
    if found is None or found[0] != key:
        receiver, orbit = receivers[rows], orbits[rows]
        heard = Edges.of(receiver, senders, orbit, num_nodes, count)
        sent = Edges.of(senders, receiver, orbit, num_senders, count)
        orbit_ptr = torch.searchsorted(orbit, torch.arange(count + 1, device=orbit.device))
        found = key, Plan(heard, sent, receiver, orbit, orbit_ptr)
        _plans[senders] = found
    return found[1]


def along(x: Tensor, weights: Tensor, scale: Tensor | None, edges: Edges, num_nodes: int, transposed: bool) -> Tensor:
    """The convolution, or with W^T its transpose, (B, M, C) -> (B, N, C')."""
    batch, num_senders, _ = x.shape
    c_out, c_in = (weights.shape[2], weights.shape[1]) if transposed else weights.shape[1:]
    out = x.new_empty((batch, num_nodes, c_out))
    if not out.numel():
        return out
    strides = (weights.stride(1), weights.stride(2)) if transposed else (weights.stride(2), weights.stride(1))
    signals, block = _tile(batch, EXACT if x.dtype is torch.float64 else ROWS // 2), _channels(x, c_out)
    grid = (num_nodes * triton.cdiv(batch, signals), triton.cdiv(c_out, block))
    with torch.cuda.device_of(x):
        kernels.along_kernel[grid](
            x, weights, scale, *edges, out, num_senders, num_nodes, batch, c_in, c_out, weights.stride(0), *strides,
            HAS_SCALE=scale is not None, **_exactness(x), BLOCK_BATCH=signals, BLOCK_IN=_channels(x, c_in), BLOCK_OUT=block,
        )  # fmt: skip
    return out


def along_products(g: Tensor, x: Tensor, scale: Tensor | None, senders: Tensor, plan: Plan, count: int) -> Tensor:
    """``sum s_e g_i x_j^T`` over the edges of each orbit, (count, C', C)."""
    batch, c_left, c_right = len(x), g.shape[2], x.shape[2]
    splits = _parts(count, len(senders) * batch)
    out = _partial(splits, (count, c_left, c_right), x)
    if not out.numel():
        return out[0]
    i, j = _channels(x, c_left), _channels(x, c_right)
    grid = (count * splits, triton.cdiv(c_left, i), triton.cdiv(c_right, j))
    with torch.cuda.device_of(x):
        kernels.along_products_kernel[grid](
            g, x, scale, plan.orbit_ptr, plan.receiver, senders, out,
            g.shape[1], x.shape[1], batch, count, c_left, c_right, splits,
            HAS_SCALE=scale is not None, **_exactness(x),
            BLOCK_ROWS=_rows(x), BLOCK_LEFT=i, BLOCK_RIGHT=j,
        )  # fmt: skip
    return _added(out, x)


def along_scores(g: Tensor, weights: Tensor, x: Tensor, senders: Tensor, plan: Plan) -> Tensor:
    """``sum_b <g_i, W_o x_j>`` of each edge, (E,)."""
    out = x.new_zeros(len(senders))
    if not (out.numel() and x.numel()):
        return out
    c_left, c_right = weights.shape[1:]
    with torch.cuda.device_of(x):
        kernels.along_scores_kernel[(len(senders),)](
            g, weights, x, plan.receiver, senders, plan.orbit, out, g.shape[1], x.shape[1], len(x), c_left, c_right,
            **_exactness(x), BLOCK_BATCH=16, BLOCK_LEFT=_channels(x, c_left), BLOCK_RIGHT=_channels(x, c_right),
        )  # fmt: skip
    return out
