"""The linear layer between multi-images: every invariant filter, contracted with the input, in one call of torch's ``conv``."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from gnet.counts import check_count, is_count
from gnet.errors import ConfigError, RepresentationError, ShapeError
from gnet.nn.checks import check_placement
from gnet.plugins.geometric_images.convolve import Padding, correlate
from gnet.plugins.geometric_images.multi import MultiImage, Signature, Type
from gnet.plugins.geometric_images.orders import filters_between, fits


class ConvContract(nn.Module):
    """Linear equivariant maps between multi-images: convolve with invariant filters of order k + k'', contract the k indices.

    Every linear map from k(p)- to k''(p'')-tensor images that commutes with translations and signed permutations and reaches M
    pixels is of this form, so that the layer is complete, with ``count_filters(d, M, k + k'', p p'')`` weights for each pair of
    channels. All filters and all types make one kernel, (size out, size in, M, ..., M), and one call of ``conv`` does the rest:
    the cost is that of a plain convolution with as many channels.

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
        ConfigError: a dilation or stride below one, or not whole; a ``bias`` that is neither a truth value nor types.

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
        super().__init__()
        if sig_in.d != sig_out.d:
            raise ShapeError(f"expected two signatures of one d, got {sig_in!r} and {sig_out!r}")
        self.sig_in, self.sig_out, self.M, self.d, self.padding, self.stride = sig_in, sig_out, M, sig_in.d, padding, stride
        self.dilations = tuple(dilation) if isinstance(dilation, Iterable) else (dilation,)
        if not self.dilations:
            raise ShapeError("expected at least one dilation")
        check_count(stride=stride)
        for each in self.dilations:
            check_count(dilation=each)
        layout = _layout(sig_in, sig_out, M, None if filters is None else _checked_orders(sig_in, sig_out, M, filters))
        self.register_buffer("_entries", layout.entries, persistent=False)
        self.register_buffer("_sources", layout.sources, persistent=False)
        self.register_buffer("_values", layout.values.to(torch.get_default_dtype()), persistent=False)
        noise = torch.randn(len(self.dilations), len(layout.deviations), generator=generator)
        self.weight = nn.Parameter(noise * layout.deviations.to(noise) / math.sqrt(len(self.dilations)))
        count = sig_out.channels.get((0, 1), 0) if _has_bias(sig_out, bias) else 0
        self.bias = nn.Parameter(torch.zeros(count)) if count else None

    @property
    def num_weights(self) -> int:
        """Without biases: of one dilation the number of independent maps, where all filters are used."""
        return self.weight.numel()

    def kernel(self) -> Tensor:
        """The plain kernels that the weights make, for ``correlate``: (dilations, size out, size in, M, ..., M)."""
        shape = (len(self.dilations), self.sig_out.size, self.sig_in.size, *[self.M] * self.d)
        values = self.weight.index_select(1, self._sources) * self._values  # type: ignore[arg-type, operator]
        flat = values.new_zeros(len(self.dilations), math.prod(shape[1:]))
        return flat.index_add(1, self._entries, values).reshape(shape)  # type: ignore[arg-type]

    def forward(self, x: Tensor | MultiImage) -> Tensor | MultiImage:
        """One convolution for each dilation."""
        if isinstance(x, MultiImage):
            return through(self, x, self.sig_in, self.sig_out, self.padding)
        self.sig_in.check(x)
        if not x.is_complex():
            check_placement(x, self.weight)
        y = dilated_sum(x, self.kernel(), self.dilations, self.padding, self.stride)
        if self.bias is None:
            return y
        constant = torch.cat([self.bias, self.bias.new_zeros(self.sig_out.size - len(self.bias))])
        return y + constant.reshape(-1, *[1] * self.d)

    def __repr__(self) -> str:
        types = f"{self.sig_in.words} -> {self.sig_out.words} in d = {self.d}"
        return f"ConvContract({types} | M = {self.M} | {self.num_weights} weights)"


def _has_bias(sig_out: Signature, bias: bool | Collection[Type]) -> bool:
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


def dilated_sum(x: Tensor, kernels: Tensor, dilations: Sequence[int], padding: Padding, stride: int = 1) -> Tensor:
    """The sum of the correlations of one signal with several kernels, each with a dilation of its own.

    Shapes:
        x: (B, C, N, ..., N)    kernels: (dilations, C', C, M, ..., M)    returns: (B, C', N / stride, ...)

    Example:
        >>> dilated_sum(torch.ones(1, 1, 4, 4), torch.ones(2, 1, 1, 3, 3), (1, 2), "torus").unique()
        tensor([18.])
    """
    pairs = zip(kernels, dilations, strict=True)
    return reduce(torch.add, (correlate(x, k, padding=padding, dilation=n, stride=stride) for k, n in pairs))


@dataclass(frozen=True)
class _Layout:
    """Which kernel entry takes which weight, times which value; entries without any are zero. Deviations are of first weights."""

    entries: Tensor
    sources: Tensor
    values: Tensor
    deviations: Tensor


def _layout(sig_in: Signature, sig_out: Signature, M: int, orders: tuple[int, ...] | None) -> _Layout:
    """Weights are numbered by output type, input type, output channel, input channel, filter."""
    d, window = sig_in.d, M**sig_in.d
    parts: list[tuple[Tensor, ...]] = []
    start = 0
    for out, n in sig_out.channels.items():
        bases = {kind: _pair_basis(d, M, kind, out, orders) for kind in sig_in.channels}
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
    return _Layout(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def through(module: nn.Module, images: MultiImage, sig_in: Signature, sig_out: Signature, padding: str | None) -> MultiImage:
    """Stack, apply, and take apart again.

    Raises:
        ShapeError: images of another signature, or of another kind of border than the module has.
    """
    if images.signature != sig_in:
        raise ShapeError(f"expected images {sig_in!r}, got {images.signature!r}")
    if padding is not None and images.torus != (padding == "torus"):
        raise ShapeError(f"expected images with torus={padding == 'torus'} for padding {padding!r}, got torus={images.torus}")
    return MultiImage.from_stacked(module(images.stacked()), sig_out, images.torus)


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
