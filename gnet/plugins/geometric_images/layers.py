"""The linear layer between multi-images: every invariant filter, contracted with the input, in one call of torch's ``conv``."""

import math
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gnet.counts import check_count, is_count
from gnet.errors import ConfigError, RepresentationError
from gnet.plugins.geometric_images.convolve import Padding, dilated_sum
from gnet.plugins.geometric_images.multi import Signature, Type
from gnet.plugins.geometric_images.orders import filters_between, fits
from gnet.plugins.geometric_images.weighted import WeightedFilters


class ConvContract(WeightedFilters):
    """Linear equivariant maps between multi-images: convolve with invariant filters of order k + k'', contract the k indices.

    Every linear map from k(p)- to k''(p'')-tensor images that commutes with translations and signed permutations and reaches M
    pixels is of this form, so that the layer is complete, with ``count_filters(d, M, k + k'', p p'')`` weights for each pair of
    channels. All filters and all types make one kernel, (size out, size in, M, ..., M), and one call of ``conv`` does the rest:
    the cost is that of a plain convolution with as many channels. Types that no filter reaches are 0, with a warning if all are.

    Args:
        sig_in, sig_out: types and channels.
        filters: None for all invariant filters; or the orders of those that are used, as (0, 1): their products with unit
            tensors, permuted, for pairs of types with more indices, and their contractions for pairs with fewer. Published nets
            use few orders; the result is a part of all maps.
        dilation: pixels between the entries of a filter; of several, the sum of a layer for each.
        M: side of the filters; 1 mixes channels and indices pixel by pixel.
        padding: "torus" or "zero".
        stride: of the output's pixels.
        bias: True for a constant on each channel of type (0, +), the type that may have one; or the types, [(0, 1)] or none.
        generator: of the first weights, normal with the deviation that keeps the size of white noise.

    Shapes:
        x: (B, sig_in.size, N, ..., N), or a MultiImage    returns: (B, sig_out.size, N, ..., N), or a MultiImage

    Raises:
        ShapeError: an even M, M > N, another signature, a torus where zero padding is expected, or x of another dtype or device
            than the weights.
        RepresentationError: a bias of a type other than (0, +), or where ``sig_out`` has none; no orders of filters, or one that
            makes no map of any pair of types.
        ConfigError: a dilation or stride below one, or not whole; an unknown padding; a ``bias`` that is neither a truth value
            nor types.

    References:
        Gregory et al. (2023), arXiv:2305.12585, theorem 1; the contraction is needed, filters of order k'' - k do not suffice.

    Example:
        >>> vectors = Signature(2, {(1, 1): 2})
        >>> layer = ConvContract(vectors, Signature(2, {(0, 1): 1, (1, 1): 3}))
        >>> layer
        ConvContract(2 x 1(+) -> 1 x 0(+) + 3 x 1(+) in d = 2 | M = 3 | 34 weights)
        >>> layer(torch.randn(4, 4, 16, 16)).shape
        torch.Size([4, 7, 16, 16])
    """

    def __init__(
        self,
        sig_in: Signature,
        sig_out: Signature,
        filters: Collection[int] | None = None,
        dilation: int | Sequence[int] = 1,
        *,
        M: int = 3,
        padding: Padding = "torus",
        stride: int = 1,
        bias: bool | Collection[Type] = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(sig_in, sig_out, M, dilation, padding)
        check_count(stride=stride)
        self.stride = stride
        layout = _layout(sig_in, sig_out, M, None if filters is None else _checked_orders(sig_in, sig_out, M, filters))
        self._fix(layout.entries, layout.sources, layout.values, layout.joined)
        if not layout.joined:
            warnings.warn(f"no filter of side {M} makes a map {sig_in.words} -> {sig_out.words}: the layer is 0", stacklevel=2)
        noise = torch.randn(len(self.dilations), len(layout.deviations), generator=generator)
        self.weight = nn.Parameter(noise * layout.deviations.to(noise) / math.sqrt(len(self.dilations)))
        count = sig_out.channels.get((0, 1), 0) if has_bias(sig_out, bias) else 0
        self.bias = nn.Parameter(torch.zeros(count)) if count else None

    def _of(self, x: Tensor) -> Tensor:
        y = dilated_sum(x, self.kernel(), self.dilations, self.padding, self.stride)
        if self.bias is None:
            return y
        constant = torch.cat([self.bias, self.bias.new_zeros(self.sig_out.size - len(self.bias))])
        return y + constant.reshape(-1, *[1] * self.d)

    def __repr__(self) -> str:
        types = f"{self.sig_in.words} -> {self.sig_out.words} in d = {self.d}"
        return f"ConvContract({types} | M = {self.M} | {self.num_weights} weights)"


def has_bias(sig_out: Signature, bias: bool | Collection[Type]) -> bool:
    """Whether a layer has biases, after checking that it may have them; see ``ConvContract`` for what is raised.

    Example:
        >>> has_bias(Signature(2, {(0, 1): 1}), [(0, 1)])
        True
    """
    if isinstance(bias, bool):
        return bias
    if not isinstance(bias, Collection) or not all(isinstance(kind, Collection) for kind in bias):
        raise ConfigError(f"expected bias True, False or types as [(0, 1)], got {bias!r}")
    if wrong := [kind for kind in bias if tuple(kind) != (0, 1)]:
        raise RepresentationError(f"a bias is equivariant on type (0, 1) alone, got one on {wrong[0]}")
    if bias and (0, 1) not in sig_out.channels:
        raise RepresentationError(f"a bias on type (0, 1) needs channels of it, got {sig_out!r}; leave bias out")
    return bool(bias)


def _checked_orders(sig_in: Signature, sig_out: Signature, M: int, orders: Collection[int]) -> tuple[int, ...]:
    """Orders of filters, each of which makes maps of some pair of types."""
    if not isinstance(orders, Collection) or not orders:
        raise RepresentationError(f"expected orders of filters, as (0, 1), or None for all filters, got {orders!r}")
    pairs = [(k + k_out, p * p_out) for k, p in sig_in.channels for k_out, p_out in sig_out.channels]
    for order in orders:
        if not is_count(order, 0):
            raise RepresentationError(f"expected orders of filters that are whole numbers >= 0, got {order!r}")
        if not any(fits(sig_in.d, M, whole, parity, order) for whole, parity in pairs):
            raise RepresentationError(
                f"no filter of order {order} and side {M} makes a map {sig_in.words} -> {sig_out.words}, whose pairs have "
                f"{sorted({whole for whole, _ in pairs})} indices, or an even number more or less; leave it out"
            )
    return tuple(sorted(set(orders)))


@dataclass(frozen=True)
class _Layout:
    """Which kernel entry takes which weight, times which value; entries without any are zero. Deviations are of first weights.

    Pairs of types that are ``joined`` have a map from the first to the second.
    """

    joined: frozenset[tuple[Type, Type]]
    entries: Tensor
    sources: Tensor
    values: Tensor
    deviations: Tensor


def _layout(sig_in: Signature, sig_out: Signature, M: int, orders: tuple[int, ...] | None) -> _Layout:
    """Weights are numbered by output type, input type, output channel, input channel, filter."""
    d, window = sig_in.d, M**sig_in.d
    parts: list[tuple[Tensor, ...]] = []
    joined: set[tuple[Type, Type]] = set()
    start = 0
    for out, n in sig_out.channels.items():
        bases = {kind: _pair_basis(d, M, kind, out, orders) for kind in sig_in.channels}
        joined |= {(kind, out) for kind, basis in bases.items() if len(basis)}
        fan_in = sum(sig_in.channels[kind] * len(basis) for kind, basis in bases.items())
        for kind, m in sig_in.channels.items():
            basis, size_out, size_in = bases[kind], d ** out[0], d ** kind[0]
            which, row, column, pixel = basis.reshape(-1, size_out, size_in, window).nonzero(as_tuple=True)
            value = basis.reshape(-1, size_out, size_in, window)[which, row, column, pixel]
            channel, other = torch.arange(n)[:, None, None], torch.arange(m)[None, :, None]
            rows = sig_out.places[out].start + channel * size_out + row
            columns = sig_in.places[kind].start + other * size_in + column
            entries = (rows * sig_in.size + columns) * window + pixel
            sources = start + (channel * m + other) * len(basis) + which
            count = n * m * len(basis)
            parts.append(
                (
                    entries.flatten(),
                    sources.flatten(),
                    value.expand(n, m, -1).flatten(),
                    torch.full((count,), max(fan_in, 1) ** -0.5),
                )
            )
            start += count
    return _Layout(frozenset(joined), *(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _pair_basis(d: int, M: int, kind: Type, out: Type, orders: Sequence[int] | None) -> Tensor:
    """Filters between two types as rows of (d^k'', d^k, M, ..., M), turned for ``correlate``, of mean size one in the output.

    Shapes:
        returns: (count, d^k'' d^k M^d)
    """
    (k, p), (k_out, p_out) = kind, out
    found = filters_between(d, M, k, k_out, p * p_out, orders)
    # (count, pixels, k, k'') -> (count, k'', k, pixels); correlate does not turn the filter round, a convolution does.
    first = found.data.flip(tuple(range(1, d + 1)))
    axes = [0, *range(1 + d + k, 1 + d + k + k_out), *range(1 + d, 1 + d + k), *range(1, 1 + d)]
    flat = first.permute(axes).reshape(len(first), first[:1].numel())
    norms = flat.norm(dim=1, keepdim=True) / d ** (k_out / 2)
    return flat / norms if len(flat) else flat
