"""Several images of different orders and parities on one grid, and the signature that says which there are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from gnet.counts import is_count
from gnet.errors import RepresentationError, ShapeError
from gnet.groups.base import Action
from gnet.nn.checks import no_tensor
from gnet.plugins.geometric_images.images import GeometricImage, check_image
from gnet.plugins.geometric_images.moves import ImageGroup, check_number, moved_tensors

Type = tuple[int, int]


@dataclass(frozen=True)
class Signature:
    """How many channels of each type (k, parity) a multi-image has; what layers take and return.

    Networks work on stacked signals ``(B, size, N, ..., N)``: all components of all channels as one axis, type by type in sorted
    order, (channel, component) row-major. ``action(group)`` moves them, so that all measures of the core take them.

    Args:
        d: number of pixel axes.
        channels: (k, parity) -> number of channels; types without channels are left out.

    Attributes:
        size: components of all channels, the sum of n d^k.
        places: where the components of each type lie in a stacked signal.
        scalars: where the channels of type (0, +) lie: first, since types are sorted; empty without them.
        words: the types with their channels, as "3 x 0(+) + 2 x 1(+)".

    Raises:
        ShapeError: channels that are no mapping, d < 2, an order or a number below zero or not whole, or no channels at all.
        RepresentationError: a parity that is neither 1 nor -1.

    References:
        Gregory et al. (2023), arXiv:2305.12585, section 5.

    Example:
        >>> given = Signature(2, {(0, 1): 3, (1, 1): 2})
        >>> given, given.size
        (Signature(3 x 0(+) + 2 x 1(+) in d = 2), 7)
    """

    d: int
    channels: Mapping[Type, int]
    size: int = field(init=False, compare=False)
    places: Mapping[Type, slice] = field(init=False, compare=False)
    scalars: slice = field(init=False, compare=False)
    words: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.channels, Mapping):
            raise ShapeError(f"expected channels as (k, parity) -> number, such as {{(1, 1): 3}}, got {self.channels!r}")
        whole = all(
            isinstance(kind, tuple) and len(kind) == 2 and is_count(kind[0], 0) and is_count(n, 0)
            for kind, n in self.channels.items()
        )
        if not is_count(self.d, 2) or not whole:
            raise ShapeError(
                f"expected whole numbers d >= 2, (order >= 0, parity): channels >= 0, got d = {self.d} and {dict(self.channels)}"
            )
        if wrong := [p for _, p in self.channels if p not in (1, -1)]:
            raise RepresentationError(f"expected types (k, parity) with parity 1 or -1, got {wrong[0]!r}")
        kept = {kind: n for kind, n in sorted(self.channels.items(), key=lambda item: (item[0][0], -item[0][1])) if n}
        if not kept:
            raise ShapeError("expected at least one channel")
        places, start = {}, 0
        for (k, p), n in kept.items():
            places[k, p] = slice(start, start + n * self.d**k)
            start += n * self.d**k
        found = {
            "channels": MappingProxyType(kept),
            "size": start,
            "places": MappingProxyType(places),
            "scalars": slice(0, kept.get((0, 1), 0)),
            "words": " + ".join(f"{n} x {k}({'+' if p > 0 else '-'})" for (k, p), n in kept.items()),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[type["Signature"], tuple[int, dict[Type, int]]]:
        return Signature, (self.d, dict(self.channels))

    def blocks(self, x: Tensor) -> "Iterator[tuple[Type, Tensor]]":
        """Each type with its part of a stacked signal, (B, n, d^k, N, ..., N)."""
        self.check(x)
        for (k, p), place in self.places.items():
            yield (k, p), x[:, place].unflatten(1, (self.channels[k, p], self.d**k))

    def check(self, x: object) -> None:
        """Refuse a signal of another shape.

        Raises:
            ShapeError: x is not (B, size, N, ..., N), or no tensor.
        """
        if not isinstance(x, Tensor):
            is_image = isinstance(x, GeometricImage)
            got = "a GeometricImage; give MultiImage.of(image)" if is_image else no_tensor(x)
            raise ShapeError(f"expected x of shape (B, {self.size}, {self.d} axes of pixels), or a MultiImage, got {got}")
        if x.ndim != 2 + self.d or x.shape[1] != self.size:
            raise ShapeError(f"expected x of shape (B, {self.size}, {self.d} axes of pixels) for {self!r}, got {tuple(x.shape)}")

    def action(self, group: ImageGroup) -> Action:
        """How elements of a group of pixels move stacked signals.

        Shapes:
            signals: (B, size, N, ..., N)

        Raises:
            ShapeError: a group of another d.
        """
        if group.d != self.d:
            raise ShapeError(f"expected a group with d = {self.d}, got {group.name}")

        def act(perm: Tensor, x: Tensor) -> Tensor:
            g, moved = group.linear(perm), group.moved(perm, x, 2)
            found = []
            for (k, p), block in self.blocks(moved):
                last = block.movedim(2, -1)
                turned = moved_tensors(last.unflatten(-1, (self.d,) * k) if k else last[..., 0], g, k, p)
                found.append((turned.flatten(-k).movedim(-1, 2) if k else turned[:, :, None]).flatten(1, 2))
            return torch.cat(found, 1)

        return Action(f"images {self!r}", act)

    def __hash__(self) -> int:
        return hash((self.d, tuple(self.channels.items())))

    def __repr__(self) -> str:
        return f"Signature({self.words} in d = {self.d})"


class MultiImage(Mapping[Type, GeometricImage]):
    """Images of different types on one grid, keyed by (k, parity), each (B, channels, N, ..., N, d, ..., d).

    Raises:
        ShapeError: no images, leading axes other than batch and channels, two grids, or two batch sizes.
        RepresentationError: a key that is not the image's type.

    Example:
        >>> flow = MultiImage.of(GeometricImage(torch.randn(5, 1, 8, 8, 2), 2, 1), GeometricImage(torch.randn(5, 3, 8, 8), 2))
        >>> flow.signature
        Signature(3 x 0(+) + 1 x 1(+) in d = 2)
    """

    def __init__(self, images: Mapping[Type, GeometricImage]) -> None:
        if not images:
            raise ShapeError("expected at least one image")
        self._images = dict(sorted(images.items(), key=lambda item: (item[0][0], -item[0][1])))
        first = next(iter(self._images.values()))
        for kind, image in self._images.items():
            check_image(image, "each image")
            if image.kind != kind:
                raise RepresentationError(f"expected an image of type {kind} under that key, got {image.kind}")
            if len(image.leading) != 2:
                raise ShapeError(f"expected images with the leading axes (batch, channels), got {image!r}")
            if (image.d, image.pixels, image.torus, image.leading[0]) != (first.d, first.pixels, first.torus, first.leading[0]):
                raise ShapeError(f"expected images on one grid and of one batch, got {first!r} and {image!r}")

    @classmethod
    def of(cls, *images: GeometricImage) -> "MultiImage":
        """Images by their types; those of one type become channels of one.

        Shapes:
            images: (B, channels, N, ..., N, d, ..., d)
        """
        found: dict[Type, GeometricImage] = {}
        for image in images:
            check_image(image, "each image")
            known = found.get(image.kind)
            found[image.kind] = image if known is None else image.like(torch.cat([known.data, image.data], 1))
        return cls(found)

    @classmethod
    def from_stacked(cls, x: Tensor, signature: Signature, torus: bool = True) -> "MultiImage":
        """The images in a stacked signal; views of it.

        Shapes:
            x: (B, size, N, ..., N)
        """
        d, found = signature.d, {}
        for (k, p), block in signature.blocks(x):
            data = block.unflatten(2, (d,) * k) if k else block[:, :, 0]
            data = data.movedim(tuple(range(2, 2 + k)), tuple(range(-k, 0))) if k else data
            found[k, p] = GeometricImage(data, d, k, p, torus)
        return cls(found)

    def stacked(self) -> Tensor:
        """All components as one axis, (B, size, N, ..., N)."""
        return torch.cat([image.components_first().flatten(1, 1 + image.k) for image in self._images.values()], 1)

    @property
    def signature(self) -> Signature:
        """Channels of each type."""
        d = next(iter(self._images.values())).d
        return Signature(d, {kind: image.leading[1] for kind, image in self._images.items()})

    @property
    def torus(self) -> bool:
        """Whether pixels wrap around."""
        return next(iter(self._images.values())).torus

    def act(
        self, g: Tensor, shift: Sequence[int] | None = None, *, about: Literal["pixel", "centre"] | None = None
    ) -> "MultiImage":
        """g A of every image, see ``GeometricImage.act``."""
        return self._each(lambda _, image: image.act(g, shift, about=about))

    def __add__(self, other: "MultiImage") -> "MultiImage":
        self._check_same(other)
        return self._each(lambda kind, image: image + other[kind])

    def __radd__(self, zero: object) -> "MultiImage":
        """0 + A, so that ``sum`` takes multi-images."""
        return self._each(lambda _, image: zero + image)

    def __sub__(self, other: "MultiImage") -> "MultiImage":
        self._check_same(other)
        return self._each(lambda kind, image: image - other[kind])

    def __mul__(self, number: float | Tensor) -> "MultiImage":
        check_number(number)
        return self._each(lambda _, image: image * number)

    __rmul__ = __mul__

    def __truediv__(self, number: float | Tensor) -> "MultiImage":
        check_number(number)
        return self._each(lambda _, image: image / number)

    def __neg__(self) -> "MultiImage":
        return self._each(lambda _, image: -image)

    def to(self, *args: Any, **kwargs: Any) -> "MultiImage":
        """The same images on another device or of another dtype, as ``Tensor.to``."""
        return self._each(lambda _, image: image.to(*args, **kwargs))

    def _check_same(self, other: "MultiImage") -> None:
        if not isinstance(other, MultiImage):
            raise RepresentationError(f"only multi-images of one signature are added, got {type(other).__name__}")
        if self.signature != other.signature:
            raise RepresentationError(f"only multi-images of one signature are added, got {self.signature} and {other.signature}")

    def _each(self, of: Callable[[Type, GeometricImage], GeometricImage]) -> "MultiImage":
        return MultiImage({kind: of(kind, image) for kind, image in self._images.items()})

    def __getitem__(self, kind: Type) -> GeometricImage:
        return self._images[kind]

    def __iter__(self) -> Iterator[Type]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)

    def __repr__(self) -> str:
        return f"MultiImage({self.signature!r})"
