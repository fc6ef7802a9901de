"""The Triton kernels: sums of segments, one product of each node with the weight of its cluster, and the convolution along edges.

Sums are taken in float32 (float64 for float64), whatever the signal is. No kernel uses atomics: every number of the result is
made by one program, in one order, so that a run repeats to the bit. Rows of several clusters never share a tile: the last tile of
each cluster is ragged, and masked.
"""

import triton
import triton.language as tl

# Loops over a cluster, an orbit or the edges of a row are while loops: their bounds are read from memory.


@triton.jit
def _times(a, b, total, EXACT: tl.constexpr, PRECISION: tl.constexpr):
    """``total + a b``; tensor cores have no float64 everywhere, so that is multiplied entry by entry."""
    if EXACT:
        total += tl.sum(a[:, :, None] * b[None, :, :], 1)
    else:
        total = tl.dot(a, b, total, input_precision=PRECISION)
    return total


@triton.jit
def sums_kernel(
    values,  # (O, R, F)
    order,  # (R,) rows by segment, read if HAS_ORDER
    ptr,  # (S + 1,)
    divisor,  # (S,), read if HAS_DIVISOR
    out,  # (splits, O, S, F)
    num_rows,
    num_segments,
    num_outer,
    width,
    splits,
    HAS_ORDER: tl.constexpr,
    HAS_DIVISOR: tl.constexpr,
    EXACT: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
):
    """Sum, or average, a share of the rows of one segment, for some of the columns."""
    program = tl.program_id(0)
    blocks = (width + BLOCK_WIDTH - 1) // BLOCK_WIDTH
    columns = (program % blocks) * BLOCK_WIDTH + tl.arange(0, BLOCK_WIDTH)
    outer = (program // blocks) % num_outer
    split = (program // (blocks * num_outer)) % splits
    segment = program // (blocks * num_outer * splits)
    begin, end = tl.load(ptr + segment), tl.load(ptr + segment + 1)
    share = (end - begin + splits - 1) // splits
    at = begin + split * share
    stop = tl.minimum(at + share, end)
    total = tl.zeros((BLOCK_WIDTH,), tl.float64 if EXACT else tl.float32)
    while at < stop:
        rows = at + tl.arange(0, BLOCK_ROWS)
        inside = rows < stop
        if HAS_ORDER:
            rows = tl.load(order + rows, mask=inside, other=0)
        spots = (outer.to(tl.int64) * num_rows + rows.to(tl.int64)[:, None]) * width + columns[None, :]
        mask = inside[:, None] & (columns < width)[None, :]
        total += tl.sum(tl.load(values + spots, mask=mask, other=0.0).to(total.dtype), 0)
        at += BLOCK_ROWS
    if HAS_DIVISOR:
        total = total / tl.load(divisor + segment).to(total.dtype)
    spots = ((split * num_outer + outer).to(tl.int64) * num_segments + segment) * width + columns
    tl.store(out + spots, total.to(out.dtype.element_ty), mask=columns < width)


@triton.jit
def _cluster_of(tile, ptr, num_clusters, batch, BLOCK_ROWS: tl.constexpr):
    """The cluster of a tile, and its first tile: cluster g has those from ``ptr[g] * batch // BLOCK_ROWS + g`` on."""
    low = tile * 0
    high = low + num_clusters
    while high - low > 1:
        middle = (low + high) // 2
        if tl.load(ptr + middle) * batch // BLOCK_ROWS + middle <= tile:
            low = middle
        else:
            high = middle
    return low, tl.load(ptr + low) * batch // BLOCK_ROWS + low


@triton.jit
def _spots(rows, inside, first, size, order, num_nodes, batch, HAS_ORDER: tl.constexpr, NODES_FIRST: tl.constexpr):
    """Where the rows (node and signal) of a cluster are, and the signal of each."""
    if NODES_FIRST:
        node, signal = first + rows // batch, rows % batch
    else:
        node, signal = first + rows % size, rows // size
    if HAS_ORDER:
        node = tl.load(order + node, mask=inside, other=0)
    node, signal = node.to(tl.int64), signal.to(tl.int64)
    return node * batch + signal if NODES_FIRST else signal * num_nodes + node, signal


@triton.jit
def times_plus_kernel(
    x,  # (N, B, C) or (B, N, C)
    weights,  # (k, ., .) by strides
    offsets,  # (B, k, C'), read if HAS_OFFSETS
    order,  # (N,) nodes by cluster, read if HAS_ORDER
    ptr,  # (k + 1,)
    out,  # (N, B, C') or (B, N, C')
    num_nodes,
    batch,
    num_clusters,
    c_in,
    c_out,
    stride_cluster,
    stride_in,
    stride_out,
    HAS_OFFSETS: tl.constexpr,
    HAS_ORDER: tl.constexpr,
    NODES_FIRST: tl.constexpr,
    EXACT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
):
    """A tile of rows of one cluster times its weight, plus what the cluster is sent."""
    tile = tl.program_id(0).to(tl.int64)
    cluster, first_tile = _cluster_of(tile, ptr, num_clusters, batch, BLOCK_ROWS)
    first = tl.load(ptr + cluster)
    size = tl.load(ptr + cluster + 1) - first
    rows = (tile - first_tile) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    inside = rows < size * batch
    places, signal = _spots(rows, inside, first, size, order, num_nodes, batch, HAS_ORDER, NODES_FIRST)
    columns = tl.program_id(1) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    total = tl.zeros((BLOCK_ROWS, BLOCK_OUT), tl.float64 if EXACT else tl.float32)
    for start in range(0, c_in, BLOCK_IN):
        channels = start + tl.arange(0, BLOCK_IN)
        a = tl.load(x + places[:, None] * c_in + channels[None, :], mask=inside[:, None] & (channels < c_in)[None, :], other=0.0)
        b = tl.load(
            weights + cluster * stride_cluster + channels[:, None] * stride_in + columns[None, :] * stride_out,
            mask=(channels < c_in)[:, None] & (columns < c_out)[None, :],
            other=0.0,
        )
        total = _times(a, b, total, EXACT, PRECISION)
    mask = inside[:, None] & (columns < c_out)[None, :]
    if HAS_OFFSETS:
        sent = tl.load(offsets + (signal * num_clusters + cluster)[:, None] * c_out + columns[None, :], mask=mask, other=0.0)
        total += sent.to(total.dtype)
    tl.store(out + places[:, None] * c_out + columns[None, :], total.to(out.dtype.element_ty), mask=mask)


@triton.jit
def products_kernel(
    left,  # like x, with C' channels
    right,  # like x, with C channels
    order,
    ptr,
    out,  # (splits, k, C', C)
    num_nodes,
    batch,
    num_clusters,
    c_left,
    c_right,
    splits,
    HAS_ORDER: tl.constexpr,
    NODES_FIRST: tl.constexpr,
    EXACT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_LEFT: tl.constexpr,
    BLOCK_RIGHT: tl.constexpr,
):
    """``sum left_i right_i^T`` over a share of the rows of one cluster."""
    cluster = (tl.program_id(0) // splits).to(tl.int64)
    split = tl.program_id(0) % splits
    first = tl.load(ptr + cluster)
    size = tl.load(ptr + cluster + 1) - first
    share = (size * batch + splits - 1) // splits
    at = split * share
    stop = tl.minimum(at + share, size * batch)
    i = tl.program_id(1) * BLOCK_LEFT + tl.arange(0, BLOCK_LEFT)
    j = tl.program_id(2) * BLOCK_RIGHT + tl.arange(0, BLOCK_RIGHT)
    total = tl.zeros((BLOCK_LEFT, BLOCK_RIGHT), tl.float64 if EXACT else tl.float32)
    while at < stop:
        rows = at + tl.arange(0, BLOCK_ROWS)
        inside = rows < stop
        places, _ = _spots(rows, inside, first, size, order, num_nodes, batch, HAS_ORDER, NODES_FIRST)
        a = tl.load(left + places[None, :] * c_left + i[:, None], mask=inside[None, :] & (i < c_left)[:, None], other=0.0)
        b = tl.load(right + places[:, None] * c_right + j[None, :], mask=inside[:, None] & (j < c_right)[None, :], other=0.0)
        total = _times(a, b, total, EXACT, PRECISION)
        at += BLOCK_ROWS
    spots = (split * num_clusters + cluster) * c_left * c_right + i[:, None] * c_right + j[None, :]
    tl.store(out + spots, total.to(out.dtype.element_ty), mask=(i < c_left)[:, None] & (j < c_right)[None, :])


@triton.jit
def along_kernel(
    x,  # (B, M, C)
    weights,  # (count, ., .) by strides
    scale,  # (E,), read if HAS_SCALE
    row_ptr,  # (N + 1,) rows of each node that hears
    row_orbit,  # (R,)
    edge_ptr,  # (R + 1,) edges of each row
    sender,  # (E,)
    edge,  # (E,) the place of each in ``scale``
    out,  # (B, N, C')
    num_senders,
    num_nodes,
    batch,
    c_in,
    c_out,
    stride_orbit,
    stride_in,
    stride_out,
    HAS_SCALE: tl.constexpr,
    EXACT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_BATCH: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
):
    """What one node hears: senders of one orbit are summed, and the weight is applied to the sum, for a block of signals."""
    node = tl.program_id(0) % num_nodes
    signals = ((tl.program_id(0) // num_nodes) * BLOCK_BATCH + tl.arange(0, BLOCK_BATCH)).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    total = tl.zeros((BLOCK_BATCH, BLOCK_OUT), tl.float64 if EXACT else tl.float32)
    row = tl.load(row_ptr + node)
    last_row = tl.load(row_ptr + node + 1)
    while row < last_row:
        orbit = tl.load(row_orbit + row)
        begin, end = tl.load(edge_ptr + row), tl.load(edge_ptr + row + 1)
        for start in range(0, c_in, BLOCK_IN):
            channels = start + tl.arange(0, BLOCK_IN)
            mask = (signals < batch)[:, None] & (channels < c_in)[None, :]
            heard = tl.zeros((BLOCK_BATCH, BLOCK_IN), tl.float64 if EXACT else tl.float32)
            at = begin
            while at < end:
                spots = (signals * num_senders + tl.load(sender + at))[:, None] * c_in + channels[None, :]
                sent = tl.load(x + spots, mask=mask, other=0.0).to(heard.dtype)
                if HAS_SCALE:
                    sent = sent * tl.load(scale + tl.load(edge + at)).to(heard.dtype)
                heard += sent
                at += 1
            b = tl.load(
                weights + orbit * stride_orbit + channels[:, None] * stride_in + columns[None, :] * stride_out,
                mask=(channels < c_in)[:, None] & (columns < c_out)[None, :],
                other=0.0,
            )
            total = _times(heard.to(b.dtype), b, total, EXACT, PRECISION)
        row += 1
    spots = (signals * num_nodes + node)[:, None] * c_out + columns[None, :]
    tl.store(out + spots, total.to(out.dtype.element_ty), mask=(signals < batch)[:, None] & (columns < c_out)[None, :])


@triton.jit
def along_products_kernel(
    left,  # (B, N, C')
    right,  # (B, M, C)
    scale,  # (E,), read if HAS_SCALE
    orbit_ptr,  # (count + 1,) edges of each orbit
    receiver,  # (E,)
    sender,  # (E,)
    out,  # (splits, count, C', C)
    num_nodes,
    num_senders,
    batch,
    count,
    c_left,
    c_right,
    splits,
    HAS_SCALE: tl.constexpr,
    EXACT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_LEFT: tl.constexpr,
    BLOCK_RIGHT: tl.constexpr,
):
    """``sum s_e left_i right_j^T`` over a share of the edges of one orbit and all signals."""
    orbit = (tl.program_id(0) // splits).to(tl.int64)
    split = tl.program_id(0) % splits
    begin = tl.load(orbit_ptr + orbit)
    num_rows = (tl.load(orbit_ptr + orbit + 1) - begin) * batch
    share = (num_rows + splits - 1) // splits
    at = split * share
    stop = tl.minimum(at + share, num_rows)
    i = tl.program_id(1) * BLOCK_LEFT + tl.arange(0, BLOCK_LEFT)
    j = tl.program_id(2) * BLOCK_RIGHT + tl.arange(0, BLOCK_RIGHT)
    total = tl.zeros((BLOCK_LEFT, BLOCK_RIGHT), tl.float64 if EXACT else tl.float32)
    while at < stop:
        rows = at + tl.arange(0, BLOCK_ROWS)
        inside = rows < stop
        edges, signals = begin + rows // batch, (rows % batch).to(tl.int64)
        to = signals * num_nodes + tl.load(receiver + edges, mask=inside, other=0)
        by = signals * num_senders + tl.load(sender + edges, mask=inside, other=0)
        a = tl.load(left + to[None, :] * c_left + i[:, None], mask=inside[None, :] & (i < c_left)[:, None], other=0.0)
        b = tl.load(right + by[:, None] * c_right + j[None, :], mask=inside[:, None] & (j < c_right)[None, :], other=0.0)
        if HAS_SCALE:
            b = b * tl.load(scale + edges, mask=inside, other=0.0)[:, None].to(b.dtype)
        total = _times(a, b, total, EXACT, PRECISION)
        at += BLOCK_ROWS
    spots = (split * count + orbit) * c_left * c_right + i[:, None] * c_right + j[None, :]
    tl.store(out + spots, total.to(out.dtype.element_ty), mask=(i < c_left)[:, None] & (j < c_right)[None, :])


@triton.jit
def along_scores_kernel(
    left,  # (B, N, C')
    weights,  # (count, C', C)
    right,  # (B, M, C)
    receiver,  # (E,)
    sender,  # (E,)
    orbit_of,  # (E,)
    out,  # (E,)
    num_nodes,
    num_senders,
    batch,
    c_left,
    c_right,
    EXACT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_BATCH: tl.constexpr,
    BLOCK_LEFT: tl.constexpr,
    BLOCK_RIGHT: tl.constexpr,
):
    """``sum_b <g_i, W_o x_j>`` of one edge: the gradient by its scale."""
    edge = tl.program_id(0)
    to, by, orbit = tl.load(receiver + edge), tl.load(sender + edge), tl.load(orbit_of + edge)
    sums = tl.zeros((BLOCK_RIGHT,), tl.float64 if EXACT else tl.float32)
    for first in range(0, batch, BLOCK_BATCH):
        signals = first + tl.arange(0, BLOCK_BATCH).to(tl.int64)
        for start in range(0, c_right, BLOCK_RIGHT):
            j = start + tl.arange(0, BLOCK_RIGHT)
            back = tl.zeros((BLOCK_BATCH, BLOCK_RIGHT), sums.dtype)
            for begin in range(0, c_left, BLOCK_LEFT):
                i = begin + tl.arange(0, BLOCK_LEFT)
                a = tl.load(
                    left + (signals * num_nodes + to)[:, None] * c_left + i[None, :],
                    mask=(signals < batch)[:, None] & (i < c_left)[None, :],
                    other=0.0,
                )
                b = tl.load(
                    weights + orbit * c_left * c_right + i[:, None] * c_right + j[None, :],
                    mask=(i < c_left)[:, None] & (j < c_right)[None, :],
                    other=0.0,
                )
                back = _times(a, b, back, EXACT, PRECISION)
            x = tl.load(
                right + (signals * num_senders + by)[:, None] * c_right + j[None, :],
                mask=(signals < batch)[:, None] & (j < c_right)[None, :],
                other=0.0,
            )
            sums += tl.sum(back * x.to(back.dtype), 0)
    tl.store(out + edge, tl.sum(sums, 0).to(out.dtype.element_ty))
