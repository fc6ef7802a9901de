"""Geometric images: a tensor of order k and parity p at every pixel of a grid, and everything one does with them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gnet.counts import is_count, is_integer
from gnet.errors import ConfigError, RepresentationError, ShapeError
from gnet.nn.checks import check_choice, no_tensor
from gnet.plugins.geometric_images.convolve import correlate, correlate_torus
from gnet.plugins.geometric_images.moves import (
    check_number,
    check_shift,
    check_signed_permutation,
    moved_pixels,
    moved_tensors,
    warn_of_order,
)
from gnet.plugins.geometric_images.pointwise import are_largest, levi_civita_symbol, tensor_norms


@dataclass(frozen=True, eq=False)
class GeometricImage:
    """A k(p)-tensor image: a map from pixels to tensors of order k and parity p on R^d, with any leading axes (batch, channels).

    A group element acts by (g A)(i) = g . A(g^-1 i), where g . T turns every index of T, and parity -1 adds det(g). Component j
    of a tensor points along pixel axis j. Images on a torus wrap around; others are zero outside.

    Args:
        data: pixels first, then tensor indices; real or complex numbers of any precision.
        d: number of pixel axes.
        k: order.
        parity: 1 or -1.
        torus: whether pixels wrap around.

    Shapes:
        data: (..., N_1, ..., N_d, d, ..., d) with k axes d at the end

    Raises:
        ShapeError: d < 2, k < 0, or data that are no tensor, of another shape, or of whole numbers, which have no derivatives.
        RepresentationError: a parity that is neither 1 nor -1.
        ConfigError: a torus that is no truth value.

    References:
        Gregory, Hogg, Blum-Smith, Arias, Wong and Villar (2023), arXiv:2305.12585, definitions 1 to 12.

    Example:
        >>> wind = GeometricImage(torch.randn(7, 16, 16, 2), d=2, k=1)
        >>> wind
        GeometricImage(7 x 16x16 pixels, 1(+)-tensors in d = 2, torus)
        >>> wind.outer(wind).contract(0, 1)
        GeometricImage(7 x 16x16 pixels, 0(+)-tensors in d = 2, torus)
    """

    data: Tensor
    d: int
    k: int = 0
    parity: int = 1
    torus: bool = True

    def __post_init__(self) -> None:
        if not is_count(self.d, 2) or not is_count(self.k, 0):
            raise ShapeError(f"expected d >= 2 and k >= 0, whole numbers, got d = {self.d} and k = {self.k}")
        if self.parity not in (1, -1):
            raise RepresentationError(f"expected parity 1 or -1, got {self.parity!r}")
        if not isinstance(self.torus, bool | np.bool_):
            raise ConfigError(f"expected torus True or False, got {self.torus!r}")
        if not isinstance(self.data, Tensor):
            raise ShapeError(f"expected data as a tensor, got {no_tensor(self.data)}")
        shape = tuple(self.data.shape)
        if len(shape) < self.d + self.k or any(size != self.d for size in shape[len(shape) - self.k :]):
            raise ShapeError(f"expected data (..., {self.d} axes of pixels, {self.k} axes of size {self.d}), got {shape}")
        if not self.data.is_floating_point() and not self.data.is_complex():
            raise ShapeError(f"expected data of a floating dtype, got {self.data.dtype}; convert it with data.float()")
        warn_of_order(shape, self.d, self.k)

    # --- shape ---

    @property
    def pixels(self) -> tuple[int, ...]:
        """Sides of the grid."""
        return tuple(self.data.shape[self.data.ndim - self.k - self.d : self.data.ndim - self.k])

    @property
    def leading(self) -> tuple[int, ...]:
        """Axes before the pixels: batch, channels."""
        return tuple(self.data.shape[: self.data.ndim - self.k - self.d])

    @property
    def kind(self) -> tuple[int, int]:
        """(k, parity)."""
        return self.k, self.parity

    def components_first(self) -> Tensor:
        """Tensor indices before pixels, as convolutions want them: (..., d, ..., d, N_1, ..., N_d); a view."""
        return self.data.movedim(_last(self.k), tuple(range(-self.k - self.d, -self.d))) if self.k else self.data

    def like(self, data: Tensor, k: int | None = None, parity: int | None = None) -> "GeometricImage":
        """Other data on the same kind of grid."""
        return GeometricImage(data, self.d, self.k if k is None else k, self.parity if parity is None else parity, self.torus)

    def __repr__(self) -> str:
        lead = " x ".join(map(str, self.leading)) + " x " if self.leading else ""
        sides, sign = "x".join(map(str, self.pixels)), "+" if self.parity > 0 else "-"
        border = "torus" if self.torus else "zero outside"
        return f"GeometricImage({lead}{sides} pixels, {self.k}({sign})-tensors in d = {self.d}, {border})"

    # --- sums ---

    def _check_same(self, other: "GeometricImage") -> None:
        check_image(other, "an image to add")
        if self.kind != other.kind:
            raise RepresentationError(f"only images of one order and parity are added, got {self.kind} and {other.kind}")
        if (self.d, self.pixels, self.torus) != (other.d, other.pixels, other.torus):
            raise ShapeError(f"expected two images on one grid, got {self!r} and {other!r}")

    def __add__(self, other: "GeometricImage") -> "GeometricImage":
        self._check_same(other)
        return self.like(self.data + other.data)

    def __radd__(self, zero: object) -> "GeometricImage":
        """0 + A, so that ``sum`` takes images."""
        if is_integer(zero) and zero == 0:
            return self
        raise RepresentationError(f"only images of one order and parity are added, got {type(zero).__name__}")

    def __sub__(self, other: "GeometricImage") -> "GeometricImage":
        self._check_same(other)
        return self.like(self.data - other.data)

    def __mul__(self, number: float | Tensor) -> "GeometricImage":
        return self.like(self.data * check_number(number))

    __rmul__ = __mul__

    def __truediv__(self, number: float | Tensor) -> "GeometricImage":
        return self.like(self.data / check_number(number))

    def __neg__(self) -> "GeometricImage":
        return self.like(-self.data)

    def to(self, *args: Any, **kwargs: Any) -> "GeometricImage":
        """The same image on another device or of another dtype, as ``Tensor.to``.

        Example:
            >>> GeometricImage(torch.ones(3, 3), 2).to(torch.float64).data.dtype
            torch.float64
        """
        return self.like(self.data.to(*args, **kwargs))

    # --- the group ---

    def act(
        self, g: Tensor, shift: Sequence[int] | None = None, *, about: Literal["pixel", "centre"] | None = None
    ) -> "GeometricImage":
        """g A, and then a translation.

        Args:
            g: a signed permutation matrix, an element of B(d).
            shift: pixels to move by, of a torus.
            about: "pixel" 0, of a torus, or the "centre" of the image; by default the first where there is a torus.

        Shapes:
            g: (d, d)    shift: (d,)

        Raises:
            GroupError: g is no signed permutation.
            ShapeError: a turn about a pixel, or a translation, of an image that is no torus.
            ConfigError: another word for what it turns about.

        Example:
            >>> mirror = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
            >>> GeometricImage(torch.ones(3, 3, 2), 2, 1).act(mirror).data[0, 0]
            tensor([ 1., -1.])
        """
        g = check_signed_permutation(g, self.d)
        if about is not None:
            check_choice("about", about, ("pixel", "centre"))
        if about == "pixel" and not self.torus:
            raise ShapeError("an image that is no torus is turned about its centre; leave about='pixel' out")
        first = len(self.leading)
        moved = moved_pixels(self.data, g, first, about_pixel_0=self.torus and about != "centre")
        turned = self.like(moved_tensors(moved, g, self.k, self.parity))
        return turned if shift is None else turned.translate(shift)

    def translate(self, shift: Sequence[int]) -> "GeometricImage":
        """(L A)(i) = A(i - shift), on a torus.

        Raises:
            ShapeError: no torus, or a shift with other than d whole numbers.

        Example:
            >>> GeometricImage(torch.arange(9.0).reshape(3, 3), 2).translate([0, 1]).data[0]
            tensor([2., 0., 1.])
        """
        if not self.torus:
            raise ShapeError("expected a torus; translations move pixels out of other images")
        first = len(self.leading)
        return self.like(self.data.roll(check_shift(shift, self.d), list(range(first, first + self.d))))

    # --- products ---

    def conv(
        self,
        filters: "GeometricImage",
        *,
        dilation: int = 1,
        stride: int = 1,
        origin: Literal["centre", "pixel"] = "centre",
    ) -> "GeometricImage":
        """(A * C)(i) = sum over a in [-m, m]^d of A(i - a) x C(a): order k + k', parity p p'.

        By origin="pixel" the sum is over a in (Z/N)^d with the offset 0 at pixel 0 of the filter, as ``torus_filters`` have it.

        Indices of A come first, then those of C. Leading axes of the filters come after those of the image: a batch of images
        and ten filters give (batch, 10, ...).

        Shapes:
            filters: (..., M, ..., M, d, ..., d) with M = 2 m + 1 <= N    returns: (..., ..., N / stride, ..., d, ..., d)

        Raises:
            ShapeError: an even M, M > N, filters of another d, or a stride that does not fit; by origin="pixel" filters that are
                not as large as the image, or an image that is no torus.
            ConfigError: another origin.

        References:
            Gregory et al. (2023), arXiv:2305.12585, definition 9.

        Example:
            >>> image = GeometricImage(torch.randn(4, 16, 16, 2), 2, 1)
            >>> image.conv(GeometricImage(torch.randn(10, 3, 3, 2), 2, 1))
            GeometricImage(4 x 10 x 16x16 pixels, 2(+)-tensors in d = 2, torus)
        """
        check_image(filters, "filters")
        if filters.d != self.d:
            raise ShapeError(f"expected filters with d = {self.d}, got d = {filters.d}")
        out = self._correlated(filters, dilation, stride, origin)
        axes = (self.d,) * self.k
        found = out.reshape(*self.leading, *axes, *filters.leading, *(self.d,) * filters.k, *out.shape[2:])
        here, there = len(self.leading), len(filters.leading)
        # (lead, k, lead', k', pixels) -> (lead, lead', pixels, k, k')
        order = [
            *range(here),
            *range(here + self.k, here + self.k + there),
            *range(found.ndim - self.d, found.ndim),
            *range(here, here + self.k),
            *range(here + self.k + there, found.ndim - self.d),
        ]
        return self.like(found.permute(order), self.k + filters.k, self.parity * filters.parity)

    def _correlated(self, filters: "GeometricImage", dilation: int, stride: int, origin: str) -> Tensor:
        """Every component with every component of every filter, (components, components of filters, N / stride, ...)."""
        check_choice("origin", origin, ("centre", "pixel"))
        x, kernel = (
            each.components_first().reshape(math.prod(each.leading) * self.d**each.k, 1, *each.pixels) for each in (self, filters)
        )
        x = x.to(torch.promote_types(x.dtype, torch.complex64)) if kernel.is_complex() else x
        kernel = kernel.flip(_last(self.d)).to(x)
        if origin == "centre":
            padding: Literal["torus", "zero"] = "torus" if self.torus else "zero"
            return correlate(x, kernel, padding=padding, dilation=dilation, stride=stride)
        if not self.torus:
            raise ShapeError("filters with their origin at pixel 0 are those of a torus, and the image is none")
        return correlate_torus(x, kernel.roll([1] * self.d, _last(self.d)), dilation=dilation, stride=stride)  # a -> -a

    def outer(self, other: "GeometricImage") -> "GeometricImage":
        """A(i) x B(i) at every pixel: order k + k', parity p p'; leading axes are broadcast.

        Raises:
            ShapeError: another grid.

        Example:
            >>> GeometricImage(torch.ones(3, 3, 2), 2, 1).outer(GeometricImage(torch.ones(3, 3), 2, 0, -1)).kind
            (1, -1)
        """
        check_image(other, "the other factor")
        if (self.d, self.pixels, self.torus) != (other.d, other.pixels, other.torus):
            raise ShapeError(f"expected two images on one grid, got {self!r} and {other!r}")
        one = self.data.reshape(*self.data.shape, *[1] * other.k)
        two = other.data.reshape(*other.leading, *other.pixels, *[1] * self.k, *(self.d,) * other.k)
        return self.like(one * two, self.k + other.k, self.parity * other.parity)

    # --- indices ---

    def _check_indices(self, indices: Sequence[int]) -> list[int]:
        if not all(is_count(i, 0) and i < self.k for i in indices) or len(set(indices)) != len(indices):
            raise ShapeError(f"expected different indices in 0..{self.k - 1} of a {self.k}-tensor image, got {tuple(indices)}")
        return [self.data.ndim - self.k + i for i in indices]

    def contract(self, i: int, j: int) -> "GeometricImage":
        """The sum over equal values of two indices: order k - 2.

        Raises:
            ShapeError: fewer than two indices, or ones that are not there.

        Example:
            >>> GeometricImage(torch.eye(2).expand(3, 3, 2, 2), 2, 2).contract(0, 1).data[0, 0]
            tensor(2.)
        """
        if self.k < 2:
            raise ShapeError(f"a contraction takes two indices, and the image has order {self.k}")
        one, two = self._check_indices((i, j))
        return self.like(self.data.diagonal(dim1=one, dim2=two).sum(-1), self.k - 2)

    def permute(self, *order: int) -> "GeometricImage":
        """The same tensors with indices in another order: index n of the result is index ``order[n]``.

        Raises:
            ShapeError: no permutation of the indices.

        Example:
            >>> image = GeometricImage(torch.randn(3, 3, 2, 2), 2, 2)
            >>> torch.equal(image.permute(1, 0).data, image.data.mT)
            True
        """
        if len(order) != self.k:
            raise ShapeError(f"expected {self.k} indices, got {order}")
        return self.like(self.data.permute(*range(self.data.ndim - self.k), *self._check_indices(order)))

    def levi_civita(self, *indices: int) -> "GeometricImage":
        """The contraction with the Levi-Civita symbol, its first indices with those given: order k + d - 2 n, the other parity.

        Indices that are left come first, then the free ones of the symbol. In d = 3 two indices become one, as in a curl.

        Raises:
            ShapeError: more indices than d, or ones that are not there.

        References:
            Gregory et al. (2023), arXiv:2305.12585, definition 8.

        Example:
            >>> GeometricImage(torch.tensor([1.0, 2.0]).expand(3, 3, 2), 2, 1).levi_civita(0).data[0, 0]
            tensor([-2.,  1.])
        """
        axes = self._check_indices(indices)
        if len(axes) > self.d:
            raise ShapeError(f"the Levi-Civita symbol in d = {self.d} has {self.d} indices, got {len(axes)} to contract")
        symbol = levi_civita_symbol(self.d).to(self.data)
        found = torch.tensordot(self.data, symbol, dims=(axes, list(range(len(axes)))))
        return self.like(found, self.k + self.d - 2 * len(axes), -self.parity)

    # --- pixels ---

    def norm(self) -> "GeometricImage":
        """The Euclidean norm of the tensor at each pixel, a scalar image; its derivatives are 0 where the tensor is.

        Example:
            >>> GeometricImage(torch.tensor([3.0, 4.0]).expand(3, 3, 2), 2, 1).norm().data[0, 0]
            tensor(5.)
        """
        flat = self.data.flatten(self.data.ndim - self.k) if self.k else self.data[..., None]
        return self.like(tensor_norms(flat, -1)[..., 0], 0, 1)

    def pool(self, size: int, how: Literal["mean", "max"] = "mean") -> "GeometricImage":
        """One tensor for each block of size^d pixels: the mean of all, or of those of largest norm.

        Of several tensors with one norm none is first after a turn, so that only their mean turns with the image. Norms are one
        where they differ by no more than rounding may make (``slack``). Blocks begin at the border: they are turned and mirrored
        with the image about its centre.

        Raises:
            ShapeError: sides that ``size`` does not divide, or another word.

        Example:
            >>> GeometricImage(torch.arange(16.0).reshape(4, 4), 2).pool(2).data
            tensor([[ 2.5000,  4.5000],
                    [10.5000, 12.5000]])
        """
        if not is_count(size, 1) or any(n % size for n in self.pixels) or how not in ("mean", "max"):
            raise ShapeError(f"expected a size that divides {self.pixels} and 'mean' or 'max', got {size!r} and {how!r}")
        first = len(self.leading)
        shape = [part for n in self.pixels for part in (n // size, size)]
        blocks = self.data.reshape(*self.leading, *shape, *(self.d,) * self.k)
        inner = tuple(first + 2 * axis + 1 for axis in range(self.d))
        lined = blocks.movedim(inner, tuple(range(-self.k - self.d, -self.k if self.k else 0)))
        lined = lined.flatten(first + self.d, first + 2 * self.d - 1)  # (..., pixels, size^d, d, ..., d)
        if how == "mean":
            return self.like(lined.mean(first + self.d))
        largest = are_largest(lined.detach().flatten(first + self.d + 1) if self.k else lined.detach()[..., None])
        spread = largest.reshape(*largest.shape, *[1] * self.k)
        return self.like(lined.where(spread, 0.0).sum(first + self.d) / spread.sum(first + self.d))


def check_image(given: object, what: str) -> None:
    """Refuse what is no image, with ``RepresentationError``."""
    if not isinstance(given, GeometricImage):
        raise RepresentationError(f"expected {what} as GeometricImage(data, d, k, parity), got {type(given).__name__}")


def _last(n: int) -> tuple[int, ...]:
    return tuple(range(-n, 0))
