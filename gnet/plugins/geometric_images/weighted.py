"""What both convolutions with invariant filters share: weights times fixed numbers make one kernel, and one call of ``conv``."""

import math
from collections.abc import Collection, Sequence, Set

from torch import Tensor, nn

from gnet.errors import ShapeError
from gnet.kernels.sparse import FixedNumbers
from gnet.nn.checks import check_placement
from gnet.plugins.geometric_images.convolve import Padding, checked_dilations, dilated_sum
from gnet.plugins.geometric_images.multi import MultiImage, Signature, Type


class WeightedFilters(nn.Module):
    """A convolution of multi-images whose kernel entries are weights times numbers of filters, the base of those here.

    The numbers of filters are kept in float64, and rounded when the layer is moved: ``layer.double()`` has them exactly, also
    after ``layer.bfloat16()``.

    Args:
        sig_in, sig_out: types and channels.
        M: side of the filters.
        dilation: pixels between the entries of a filter; of several, the sum of a layer for each.
        padding: "torus" or "zero".

    Shapes:
        x: (B, sig_in.size, N, ..., N), or a MultiImage    returns: (B, sig_out.size, N, ..., N), or a MultiImage

    Raises:
        ShapeError: an even M, two signatures of different d, or no dilations.
        ConfigError: a dilation below one, or not whole, or an unknown padding.

    Example:
        >>> from gnet.plugins.geometric_images import ConvContract, OuterConv
        >>> issubclass(ConvContract, WeightedFilters), issubclass(OuterConv, WeightedFilters)
        (True, True)
    """

    weight: nn.Parameter
    _entries: Tensor
    _sources: Tensor

    def __init__(self, sig_in: Signature, sig_out: Signature, M: int, dilation: int | Sequence[int], padding: Padding) -> None:
        super().__init__()
        if sig_in.d != sig_out.d:
            raise ShapeError(f"expected two signatures of one d, got {sig_in!r} and {sig_out!r}")
        self.dilations = checked_dilations(M, dilation, padding)
        self.sig_in, self.sig_out, self.M, self.d, self.padding = sig_in, sig_out, M, sig_in.d, padding

    def _fix(self, entries: Tensor, sources: Tensor, values: Tensor, joined: Collection[tuple[Type, Type]]) -> None:
        """Which kernel entry takes which weight, times which number; and the pairs of types that some weight joins."""
        self.register_buffer("_entries", entries, persistent=False)
        self.register_buffer("_sources", sources, persistent=False)
        self._values = FixedNumbers(values)
        self.joined = frozenset(joined)

    @property
    def num_weights(self) -> int:
        """Of all dilations, without biases; of one dilation the number of independent maps, where all filters are used."""
        return self.weight.numel()

    def reached(self, types: Set[Type]) -> set[Type]:
        """Types of the output that some weight makes of these types of the input."""
        return {out for kind, out in self.joined if kind in types}

    def kernel(self) -> Tensor:
        """The plain kernels that the weights make, for ``correlate``: (dilations, size out, size in, M, ..., M)."""
        shape = (len(self.dilations), self.sig_out.size, self.sig_in.size, *[self.M] * self.d)
        values = self.weight.index_select(1, self._sources) * self._values.rounded
        flat = values.new_zeros(len(self.dilations), math.prod(shape[1:]))
        return flat.index_add(1, self._entries, values).reshape(shape)

    def forward(self, x: Tensor | MultiImage) -> Tensor | MultiImage:
        """One convolution for each dilation."""
        if isinstance(x, MultiImage):
            return through(self, x, self.sig_in, self.sig_out, self.padding)
        self.sig_in.check(x)
        check_signal(x, self.weight)
        return self._of(x)

    def _of(self, x: Tensor) -> Tensor:
        return dilated_sum(x, self.kernel(), self.dilations, self.padding)


def check_signal(x: Tensor, weight: Tensor) -> None:
    """Refuse signals on another device or of another dtype than the weights; complex ones take complex weights.

    Raises:
        ShapeError: it is; the message says how to convert.

    Example:
        >>> x = torch.ones(1, dtype=torch.complex64)
        >>> check_signal(x, x)
    """
    if not x.is_complex():
        check_placement(x, weight)
    elif (x.dtype, x.device) != (weight.dtype, weight.device):
        fix = f"convert the layer with layer.to({x.dtype})"
        raise ShapeError(f"expected x of dtype {weight.dtype} on {weight.device}, got {x.dtype} on {x.device}; {fix}")


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
