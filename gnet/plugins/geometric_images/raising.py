"""Layers that raise orders: outer products with invariant filters, contractions of index pairs, and scalars made so."""

import functools
from collections import Counter
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from gnet.counts import is_count
from gnet.errors import RepresentationError
from gnet.plugins.geometric_images.convolve import Padding
from gnet.plugins.geometric_images.filters import invariant_filters
from gnet.plugins.geometric_images.gates import SLOPE, Gate
from gnet.plugins.geometric_images.multi import Signature, Type
from gnet.plugins.geometric_images.orders import pairings
from gnet.plugins.geometric_images.weighted import WeightedFilters

START = 0.1
"""Deviation of all first weights of the published nets."""


class OuterConv(WeightedFilters):
    """Convolve with invariant filters of few orders: an image of order k and a filter of order k' make one of order k + k'.

    Where the output has no such order, index pairs are contracted until it has one, as few as possible, in every way there is;
    what reaches no order of the output is left out. Each output channel is the sum over input channels, filters and ways to
    contract, with a weight for each. All of it is linear and commutes with the group, and makes one kernel and one call of
    ``conv`` for each dilation. ``ConvContract`` with all filters can do whatever this can.

    Args:
        sig_in, sig_out: types and channels.
        filters: orders of the filters, of parity +; (0,) with M = 1 contracts and mixes channels, pixel by pixel.
        dilation: pixels between the entries of a filter; of several, the sum of a layer for each.
        M: side of the filters.
        padding: "torus" or "zero".
        generator: of the first weights, normal with the deviation 0.1.

    Shapes:
        x: (B, sig_in.size, N, ..., N), or a MultiImage    returns: (B, sig_out.size, N, ..., N), or a MultiImage

    Raises:
        ShapeError: an even M, M > N, two signatures of different d, or no dilations.
        RepresentationError: an input or an output type that no filter and no contraction joins to another, or no orders.
        ConfigError: a dilation below one, or not whole, or an unknown padding.

    References:
        Gregory, Hogg, Blum-Smith, Arias, Wong and Villar (2023), arXiv:2305.12585, section 5.

    Example:
        >>> layer = OuterConv(Signature(2, {(1, 1): 1}), Signature(2, {(2, 1): 1, (3, 1): 1}), filters=(1, 2))
        >>> layer
        OuterConv(1 x 1(+) -> 1 x 2(+) + 1 x 3(+) in d = 2 | M = 3 | orders 1, 2 | 7 weights)
        >>> layer(torch.randn(4, 2, 8, 8)).shape
        torch.Size([4, 12, 8, 8])
    """

    def __init__(
        self,
        sig_in: Signature,
        sig_out: Signature,
        filters: Collection[int],
        dilation: int | Sequence[int] = 1,
        *,
        M: int = 3,
        padding: Padding = "torus",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(sig_in, sig_out, M, dilation, padding)
        self.orders = _checked_orders(filters)
        count, joined, entries, sources, values = _layout(sig_in, sig_out, M, self.orders)
        self._fix(entries, sources, values, joined)
        self.weight = nn.Parameter(START * torch.randn(len(self.dilations), count, generator=generator))

    def __repr__(self) -> str:
        maps = f"{self.sig_in.words} -> {self.sig_out.words} in d = {self.sig_in.d}"
        orders = ", ".join(map(str, self.orders))
        return f"OuterConv({maps} | M = {self.M} | orders {orders} | {self.num_weights} weights)"


def _checked_orders(orders: Collection[int]) -> tuple[int, ...]:
    """Orders of filters, each once."""
    if not isinstance(orders, Collection) or not orders or not all(is_count(order, 0) for order in orders):
        raise RepresentationError(f"expected orders of filters, whole numbers >= 0 as (0, 1), got {orders!r}")
    return tuple(dict.fromkeys(orders))


def _layout(
    sig_in: Signature, sig_out: Signature, M: int, orders: tuple[int, ...]
) -> tuple[int, set[tuple[Type, Type]], Tensor, Tensor, Tensor]:
    """The number of weights, joined types, and which kernel entry takes which weight, times which value; one may take several."""
    d, window, start = sig_in.d, M**sig_in.d, 0
    parts: list[tuple[Tensor, ...]] = []
    joined: set[tuple[Type, Type]] = set()
    for kind, m in sig_in.channels.items():
        for order in orders:
            out = _reached(kind, order, sig_out)
            if out is None:
                continue
            basis, n = _raised(d, M, kind[0], order, out[0]), sig_out.channels[out]
            if not len(basis):
                continue
            which, row, column, pixel = basis.nonzero(as_tuple=True)
            value = basis[which, row, column, pixel]
            channel, other = torch.arange(n)[:, None, None], torch.arange(m)[None, :, None]
            rows = sig_out.places[out].start + channel * d ** out[0] + row
            columns = sig_in.places[kind].start + other * d ** kind[0] + column
            entries, sources = (rows * sig_in.size + columns) * window + pixel, start + (channel * m + other) * len(basis) + which
            parts.append((entries.flatten(), sources.flatten(), value.expand(n, m, -1).flatten()))
            start += n * m * len(basis)
            joined.add((kind, out))
    there = {*(("input", kind) for kind, _ in joined), *(("output", out) for _, out in joined)}
    wanted = [*(("input", kind) for kind in sig_in.channels), *(("output", kind) for kind in sig_out.channels)]
    if lost := [each for each in wanted if each not in there]:
        (side, kind), names = lost[0], list(orders)
        raise RepresentationError(
            f"no filter of orders {names} joins {side} type {kind} in {sig_in!r} -> {sig_out!r} by M = {M}; leave it out"
        )
    return start, joined, *(torch.cat(columns) for columns in zip(*parts, strict=True))  # type: ignore[return-value]


def _reached(kind: Type, order: int, sig_out: Signature) -> Type | None:
    """The largest type of the output that contractions of the outer product reach."""
    whole = kind[0] + order
    return next(((k, kind[1]) for k in range(whole, -1, -2) if (k, kind[1]) in sig_out.channels), None)


@functools.lru_cache(maxsize=64)
def _raised(d: int, M: int, k: int, order: int, k_out: int) -> Tensor:
    """The maps A -> contraction of A * C for every filter C and every way to contract, turned for ``correlate``.

    Shapes:
        returns: (filters * ways, d^k_out, d^k, M^d) float64
    """
    found = invariant_filters(d, M, order, 1).data
    flipped = found.flip(tuple(range(1, d + 1))).reshape(len(found), M**d, d**order)
    unit = torch.eye(d**k, dtype=torch.float64)
    outer = torch.einsum("ic,fpj->fcpij", unit, flipped)  # indices of A first, then those of C
    outer = outer.reshape(len(found), d**k, M**d, *[d] * (k + order))
    ways = []
    for pairs in pairings(k + order, (k + order - k_out) // 2):
        made, left = outer, list(range(k + order))
        for one, other in pairs:
            made = made.diagonal(dim1=3 + left.index(one), dim2=3 + left.index(other)).sum(-1)
            left = [i for i in left if i not in (one, other)]
        ways.append(made.reshape(len(found), d**k, M**d, d**k_out))
    return torch.stack(ways, 1).flatten(0, 1).permute(0, 3, 1, 2).contiguous()


class ContractedScalars(Gate):
    """Scalars made of the tensors of even order and parity + by contracting all their indices, through a leaky ReLU, as channels.

    Each way to pair all indices gives one scalar: one for order 2, three for order 4. The tensors pass as they are, and the
    scalars come before them; scalars that were there already go through the leaky ReLU.

    Shapes:
        x: (B, sig_in.size, N, ..., N)    returns: (B, sig_out.size, N, ..., N)

    References:
        Gregory et al. (2023), arXiv:2305.12585, section 6.

    Example:
        >>> gate = ContractedScalars(Signature(2, {(1, 1): 1, (2, 1): 1, (4, 1): 1}))
        >>> gate.sig_out
        Signature(4 x 0(+) + 1 x 1(+) + 1 x 2(+) + 1 x 4(+) in d = 2)
    """

    def __init__(self, signature: Signature) -> None:
        made = Counter({kind: n for kind, n in signature.channels.items() if kind != (0, 1)})
        for (k, p), n in signature.channels.items():
            if k % 2 == 0 and p > 0:
                made[0, 1] += n * len(pairings(k, k // 2))
        super().__init__(signature, Signature(signature.d, made))
        for k, p in signature.channels:
            if k % 2 == 0 and p > 0:
                self.register_buffer(f"_traces_{k}", _traces(signature.d, k).to(torch.get_default_dtype()), persistent=False)

    def _of(self, x: Tensor) -> Tensor:
        scalars, rest = [], []
        for (k, p), block in self.sig_in.blocks(x):
            if k % 2 == 0 and p > 0:
                made = torch.einsum("tc,bnc...->bnt...", getattr(self, f"_traces_{k}").to(x), block)
                scalars.append(made.flatten(1, 2))
            if (k, p) != (0, 1):
                rest.append(block.flatten(1, 2))
        first = [nn.functional.leaky_relu(torch.cat(scalars, 1), SLOPE)] if scalars else []
        return torch.cat([*first, *rest], 1)


@functools.lru_cache(maxsize=64)
def _traces(d: int, k: int) -> Tensor:
    """For each way to pair all indices: 1 for the components of a k-tensor whose paired indices are equal, (ways, d^k)."""
    index = torch.arange(d**k)[:, None] // d ** torch.arange(k - 1, -1, -1) % d  # (d^k, k)
    found = []
    for pairs in pairings(k, k // 2):
        equal = [index[:, one] == index[:, other] for one, other in pairs]
        found.append(torch.stack(equal).all(0) if equal else torch.ones(1, dtype=torch.bool))
    return torch.stack(found).double()
