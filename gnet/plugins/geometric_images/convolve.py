"""Convolutions of component images in any number of dimensions, by torch's own ``conv``."""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from gnet.counts import check_count, is_count
from gnet.errors import ConfigError, ShapeError

Padding = Literal["torus", "zero"]
LARGEST = 3
"""Most pixel axes that torch convolves at once; further ones are laid out as channels."""


def check_padding(padding: object) -> None:
    """Refuse an unknown padding, with ``ConfigError``."""
    if padding not in ("torus", "zero"):
        raise ConfigError(f"expected padding 'torus' or 'zero', got {padding!r}")


def checked_dilations(M: int, dilation: int | Iterable[int], padding: object) -> tuple[int, ...]:
    """The dilations of a layer, of NumPy's numbers too, after checking all that its settings say about convolutions.

    Raises:
        ShapeError: an even M, or no dilations.
        ConfigError: a dilation below one, or not whole, or an unknown padding.

    Example:
        >>> checked_dilations(3, range(1, 3), "torus")
        (1, 2)
    """
    if not is_count(M, 1) or M % 2 == 0:
        raise ShapeError(f"expected an odd side M = 2 m + 1 of filters, got {M!r}")
    check_padding(padding)
    dilations = tuple(dilation) if isinstance(dilation, Iterable) else (dilation,)
    if not dilations:
        raise ShapeError("expected at least one dilation")
    for each in dilations:
        check_count(dilation=each)
    return tuple(int(each) for each in dilations)


def check_kernel(kernel_sides: Sequence[int], pixels: Sequence[int], padding: str, dilation: int, stride: int) -> None:
    """Refuse a filter that does not fit an image.

    Raises:
        ShapeError: an even or unequal side, a filter larger than the image, a dilation or stride that is not whole and
            positive, a stride that does not divide a torus.
        ConfigError: an unknown padding.

    Example:
        >>> check_kernel((3, 3), (8, 8), "torus", 1, 2)
    """
    check_padding(padding)
    side = kernel_sides[0]
    if len(set(kernel_sides)) > 1 or side % 2 == 0:
        raise ShapeError(f"expected a filter with one odd side M = 2 m + 1, got {tuple(kernel_sides)}")
    if len(kernel_sides) != len(pixels) or side > min(pixels):
        raise ShapeError(
            f"expected a filter with {len(pixels)} axes and M <= N, got M = {side} for images of {tuple(pixels)} pixels"
        )
    if not is_count(dilation, 1) or not is_count(stride, 1):
        raise ShapeError(f"expected dilation >= 1 and stride >= 1, whole numbers, got {dilation} and {stride}")
    if padding == "torus" and any(n % stride for n in pixels):
        raise ShapeError(f"a stride on a torus divides its sides, got stride {stride} for {tuple(pixels)} pixels")
    if padding == "zero" and any((n - 1) % stride for n in pixels):
        raise ShapeError(
            f"expected a stride that divides N - 1, so that the kept pixels lie symmetrically, got {stride} for {tuple(pixels)}"
        )


def correlate(x: Tensor, kernel: Tensor, *, padding: Padding = "torus", dilation: int = 1, stride: int = 1) -> Tensor:
    """sum over a of kernel(a) x(i + dilation a), a in [-m, m]^d: one call of ``torch.nn.functional.conv``.

    For d > 3 the first axes are unfolded into channels: M times the memory for each.

    Shapes:
        x: (B, C, N_1, ..., N_d)    kernel: (C', C, M, ..., M)    returns: (B, C', N_1 / stride, ...)

    Raises:
        ShapeError: see ``check_kernel``.

    Example:
        >>> x = torch.arange(5.0).reshape(1, 1, 5)
        >>> correlate(x, torch.tensor([[[0.0, 0.0, 1.0]]]))
        tensor([[[1., 2., 3., 4., 0.]]])
        >>> correlate(x, torch.tensor([[[0.0, 0.0, 1.0]]]), padding="zero")
        tensor([[[1., 2., 3., 4., 0.]]])
        >>> correlate(x, torch.tensor([[[1.0, 0.0, 0.0]]])).flatten().tolist()
        [4.0, 0.0, 1.0, 2.0, 3.0]
    """
    check_kernel(kernel.shape[2:], x.shape[2:], padding, dilation, stride)
    return _correlate(x, kernel, padding, dilation, stride)


def correlate_torus(x: Tensor, kernel: Tensor, *, dilation: int = 1, stride: int = 1) -> Tensor:
    """sum over a of kernel(a) x(i + dilation a), a in (Z/N)^d, with a kernel as large as the torus whose pixel 0 is the offset 0.

    Shapes:
        x: (B, C, N, ..., N)    kernel: (C', C, N, ..., N)    returns: (B, C', N / stride, ...)

    Raises:
        ShapeError: x or the kernel has other than N^d pixels, or see ``check_kernel``.

    Example:
        >>> correlate_torus(torch.arange(4.0).reshape(1, 1, 4), torch.tensor([[[0.0, 1.0, 0.0, 0.0]]])).flatten().tolist()
        [1.0, 2.0, 3.0, 0.0]
    """
    d = kernel.ndim - 2
    if x.shape[2:] != kernel.shape[2:] or len(set(x.shape[2:])) > 1:
        raise ShapeError(
            f"expected filters as large as the torus, N pixels on each of its sides, got {tuple(kernel.shape[2:])} for "
            f"images of {tuple(x.shape[2:])} pixels"
        )
    side = kernel.shape[-1]
    centred = kernel.roll([side // 2] * d, list(range(2, 2 + d)))  # offsets from -(N // 2)
    centred = F.pad(centred, [0, 1 - side % 2] * d)  # to as many on the other side of 0
    check_kernel([1] * d, x.shape[2:], "torus", dilation, stride)
    return _correlate(x, centred, "torus", dilation, stride)


def _correlate(x: Tensor, kernel: Tensor, padding: Padding, dilation: int, stride: int) -> Tensor:
    d = kernel.ndim - 2
    if not len(kernel):  # torch wants at least one filter
        return x.new_zeros(len(x), 0, *(-(-n // stride) for n in x.shape[2:]))
    if d > LARGEST:
        return _first_axis_as_channels(x, kernel, padding, dilation, stride)
    conv = (F.conv1d, F.conv2d, F.conv3d)[d - 1]
    reach = dilation * (kernel.shape[-1] // 2)
    if padding == "zero":
        return conv(x, kernel, stride=stride, padding=reach, dilation=dilation)
    return conv(wrapped(x, reach, d), kernel, stride=stride, dilation=dilation)


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


def wrapped(x: Tensor, reach: int, d: int) -> Tensor:
    """The last d axes continued periodically by ``reach`` pixels on both sides, also by more than their length.

    Example:
        >>> wrapped(torch.arange(3.0).reshape(1, 1, 3), 4, 1)
        tensor([[[2., 0., 1., 2., 0., 1., 2., 0., 1., 2., 0.]]])
    """
    if not reach:
        return x
    if reach <= min(x.shape[-d:]) and x.ndim == d + 2 and d <= LARGEST:
        return F.pad(x, [reach] * (2 * d), mode="circular")
    for axis in range(-d, 0):
        x = x.index_select(axis, torch.arange(-reach, x.shape[axis] + reach, device=x.device) % x.shape[axis])
    return x


def _first_axis_as_channels(x: Tensor, kernel: Tensor, padding: Padding, dilation: int, stride: int) -> Tensor:
    """The windows along the first pixel axis become channels, its pixels items of the batch; then one axis less."""
    side, reach = kernel.shape[2], dilation * (kernel.shape[2] // 2)
    padded = (
        wrapped(x.movedim(2, -1), reach, 1).movedim(-1, 2)
        if padding == "torus"
        else F.pad(x, [*[0] * (2 * (x.ndim - 3)), reach, reach])
    )
    starts = torch.arange(0, x.shape[2], stride, device=x.device)
    window = starts[:, None] + dilation * torch.arange(side, device=x.device)  # (N', M)
    batch, channels, rest = x.shape[0], x.shape[1], x.shape[3:]
    rows = padded.index_select(2, window.flatten()).reshape(batch, channels, *window.shape, *rest)
    flat = rows.movedim(2, 1).reshape(batch * len(starts), channels * side, *rest)
    out = _correlate(flat, kernel.flatten(1, 2), padding, dilation, stride)
    return out.unflatten(0, (batch, len(starts))).movedim(1, 2)
