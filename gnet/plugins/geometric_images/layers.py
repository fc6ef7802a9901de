"""The linear layer between multi-images: every invariant filter, contracted with the input, in one call of torch's ``conv``."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor, nn

from gnet.errors import RepresentationError, ShapeError
from gnet.plugins.geometric_images.convolve import Padding, correlate
from gnet.plugins.geometric_images.filters import invariant_filters
from gnet.plugins.geometric_images.images import GeometricImage
from gnet.plugins.geometric_images.multi import MultiImage, Signature, Type

PERMUTED = 6
"""Most indices whose permutations are gone through for filters of given orders."""


class ConvContract(nn.Module):
    """Linear equivariant maps between multi-images: convolve with invariant filters of order k + k'', contract the k indices.

    Every linear map from k(p)- to k''(p'')-tensor images that commutes with translations and signed permutations and reaches M
    pixels is of this form, so that the layer is complete, with ``count_filters(d, M, k + k'', p p'')`` weights for each pair of
    channels. All filters and all types make one kernel, (size out, size in, M, ..., M), and one call of ``conv`` does the rest:
    the cost is that of a plain convolution with as many channels.

    Args:
        sig_in, sig_out: types and channels.
        filters: None for all invariant filters; or the orders of those that are used, as (0, 1): their products with unit
            tensors, permuted. Published nets use few orders; the result is a part of all maps.
        dilation: pixels between the entries of a filter; of several, the sum of a layer for each.
        M: side of the filters; 1 mixes channels and indices pixel by pixel.
        padding: "torus" or "zero".
        stride: of the output's pixels.
        bias: True for a constant on each channel of type (0, +), the types that may have one; or these types themselves.
        generator: of the first weights, normal with the deviation that keeps the size of white noise.

    Shapes:
        x: (B, sig_in.size, N, ..., N), or a MultiImage    returns: (B, sig_out.size, N, ..., N), or a MultiImage

    Raises:
        ShapeError: an even M, M > N, another signature, or a torus where zero padding is expected.
        RepresentationError: a bias of a type other than (0, +).

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
        self.dilations = (dilation,) if isinstance(dilation, int) else tuple(dilation)
        if not self.dilations:
            raise ShapeError("expected at least one dilation")
        layout = _layout(sig_in, sig_out, M, None if filters is None else tuple(filters))
        self.register_buffer("_entries", layout.entries, persistent=False)
        self.register_buffer("_sources", layout.sources, persistent=False)
        self.register_buffer("_values", layout.values.to(torch.get_default_dtype()), persistent=False)
        noise = torch.randn(len(self.dilations), len(layout.deviations), generator=generator)
        self.weight = nn.Parameter(noise * layout.deviations.to(noise) / math.sqrt(len(self.dilations)))
        types = ([(0, 1)] if bias else []) if isinstance(bias, bool) else list(bias)
        if wrong := [kind for kind in types if tuple(kind) != (0, 1)]:
            raise RepresentationError(f"a bias is equivariant on type (0, 1) alone, got one on {wrong[0]}")
        count = sig_out.channels.get((0, 1), 0) if types else 0
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
        y = dilated_sum(x, self.kernel(), self.dilations, self.padding, self.stride)
        if self.bias is None:
            return y
        constant = torch.cat([self.bias, self.bias.new_zeros(self.sig_out.size - len(self.bias))])
        return y + constant.reshape(-1, *[1] * self.d)

    def __repr__(self) -> str:
        ins, outs = (repr(sig).removeprefix("Signature(").rpartition(" in ")[0] for sig in (self.sig_in, self.sig_out))
        return f"ConvContract({ins} -> {outs} in d = {self.d} | M = {self.M} | {self.num_weights} weights)"


def dilated_sum(x: Tensor, kernels: Tensor, dilations: Sequence[int], padding: Padding, stride: int = 1) -> Tensor:
    """The sum of the correlations of one signal with several kernels, each with a dilation of its own.

    Shapes:
        x: (B, C, N, ..., N)    kernels: (dilations, C', C, M, ..., M)    returns: (B, C', N / stride, ...)

    Example:
        >>> dilated_sum(torch.ones(1, 1, 4, 4), torch.ones(2, 1, 1, 3, 3), (1, 2), "torus").unique()
        tensor([18.])
    """
    made = [correlate(x, k, padding=padding, dilation=n, stride=stride) for k, n in zip(kernels, dilations, strict=True)]
    return made[0] if len(made) == 1 else torch.stack(made).sum(0)


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


def filters_between(d: int, M: int, k: int, k_out: int, parity: int, orders: Collection[int] | None = None) -> GeometricImage:
    """A basis of the filters of order k + k'' that a layer from order k to k'' contracts with its input, indices of k first.

    Args:
        parity: the product of both parities.
        orders: of the invariant filters that they are made of, by products with unit tensors and permutations of indices; filters
            of higher order are contracted. None is all of them.

    Shapes:
        returns: data (count, M, ..., M, d, ..., d)

    Raises:
        ShapeError: an even M, or more than ``PERMUTED`` indices with ``orders``.

    Example:
        >>> len(filters_between(2, 3, 1, 1, 1).data), len(filters_between(2, 3, 1, 1, 1, (0, 1)).data)
        (5, 3)
    """
    if orders is None:
        return invariant_filters(d, M, k + k_out, parity)
    whole = k + k_out
    if whole > PERMUTED:
        raise ShapeError(f"expected at most {PERMUTED} indices for filters of given orders, got {whole}; leave filters out")
    rows = [torch.zeros(0, M**d * d**whole, dtype=torch.float64)]
    for order in orders:
        if (whole - order) % 2:
            continue
        made = invariant_filters(d, M, order, parity)
        while made.k > whole:
            made = _all_contractions(made)
        while made.k < whole:
            unit = GeometricImage(torch.eye(d, dtype=torch.float64).expand(*made.pixels, d, d), d, 2, 1, torus=False)
            made = made.outer(unit)
        rows += [made.permute(*each).data.flatten(1) for each in permutations(range(whole))]
    return GeometricImage(_independent(torch.cat(rows)).reshape(-1, *[M] * d, *[d] * whole), d, whole, parity, torus=False)


def _independent(rows: Tensor) -> Tensor:
    """Rows that span what all rows span, as they are: equal entries stay equal to the last bit, so that the symmetry is exact."""
    if not len(rows):
        return rows
    from scipy.linalg import qr

    _, r, order = qr(rows.mT.numpy(), mode="economic", pivoting=True)
    sizes = abs(r.diagonal())
    return rows[sorted(order[: int((sizes > 1e-9 * sizes[0]).sum())].tolist())]


def _all_contractions(image: GeometricImage) -> GeometricImage:
    pairs = [(i, j) for i in range(image.k) for j in range(i)]
    return image.like(torch.cat([image.contract(i, j).data for i, j in pairs]), image.k - 2)
