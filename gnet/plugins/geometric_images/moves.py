"""How translations and signed permutations move tensor images, and the group of a pixel grid that they make."""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gnet.counts import is_count
from gnet.errors import GroupError, RepresentationError, ShapeError
from gnet.graphs.partition import Partition
from gnet.groups.base import Action, NodeGroup, check_permutation
from gnet.groups.permutation import orbit_labels
from gnet.plugins.tensors import B, T


def warn_of_order(shape: Sequence[int], d: int, k: int) -> None:
    """Warn where data of order 0 look like vectors whose order was left out: a last axis of d pixels beside longer ones.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warn_of_order((10, 1, 32, 32, 2), 2, 0)
        >>> print(caught[0].message)
        data (10, 1, 32, 32, 2) without k are scalars on 32 x 2 pixels; if the last axis has components of vectors, give k=1
    """
    pixels = tuple(shape[-d:])
    if not k and len(shape) > d and pixels[-1] == d and set(pixels) != {d}:
        sides = " x ".join(map(str, pixels))
        hint = "if the last axis has components of vectors, give k=1"
        warnings.warn(f"data {tuple(shape)} without k are scalars on {sides} pixels; {hint}", stacklevel=4)


def check_shift(shift: Sequence[int] | Tensor, d: int) -> list[int]:
    """``shift`` as a list, after checking that it has d whole numbers.

    Raises:
        ShapeError: it has not; pixels are not moved by parts of pixels.

    Example:
        >>> check_shift(torch.tensor([1, -2]), 2)
        [1, -2]
    """
    numbers = torch.as_tensor(shift)
    if numbers.shape != (d,) or numbers.is_complex() or not torch.equal(numbers, numbers.round()):
        raise ShapeError(f"expected a shift of {d} whole numbers of pixels, got {numbers.tolist()}")
    return [int(n) for n in numbers.tolist()]


def check_signed_permutation(g: Tensor, d: int) -> Tensor:
    """``g`` in float64, after checking that each row and column has a single entry, 1 or -1.

    Raises:
        GroupError: it has others, or another size.

    Example:
        >>> check_signed_permutation(torch.tensor([[0, -1], [1, 0]]), 2)
        tensor([[ 0., -1.],
                [ 1.,  0.]], dtype=torch.float64)
    """
    g = torch.as_tensor(g).detach().cpu().double()
    ones = torch.ones(d, dtype=torch.float64)
    if g.shape != (d, d) or not bool((g.abs() * (g.abs() - 1) == 0).all()) or not torch.equal(g.abs().sum(0), ones):
        raise GroupError(f"expected a signed permutation matrix of shape ({d}, {d}), an element of B({d}), got {g.tolist()}")
    if not torch.equal(g.abs().sum(1), ones):
        raise GroupError(f"expected a single entry in each row of an element of B({d}), got {g.tolist()}")
    return g


def check_number(number: float | Tensor) -> float | Tensor:
    """``number``, after checking that it is one, also as a tensor without axes.

    Raises:
        RepresentationError: an array or an image: components multiplied each by its own number do not turn with the image.

    Example:
        >>> check_number(0.5)
        0.5
    """
    if isinstance(number, Tensor) and not number.ndim:
        return number
    if not isinstance(number, int | float | complex | np.number):
        raise RepresentationError(
            f"an image is multiplied by numbers, got {type(number).__name__}; multiply pixel by pixel with image.outer(other)"
        )
    return number


def moved_pixels(data: Tensor, g: Tensor, first: int, *, about_pixel_0: bool) -> Tensor:
    """A(g^-1 i): the pixel axes from ``first`` on are permuted and reversed.

    Args:
        about_pixel_0: of a torus, i -> g i mod N; otherwise about the centre of the image, (N - 1) / 2.

    Shapes:
        data: (..., N_1, ..., N_d, ...)    g: (d, d)

    Example:
        >>> quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
        >>> moved_pixels(torch.tensor([[1, 2], [3, 4]]), quarter, 0, about_pixel_0=False)
        tensor([[2, 4],
                [1, 3]])
    """
    d = len(g)
    image, sign = g.abs().argmax(0), g.sum(0)  # axis j becomes axis image[j], reversed where the sign is -1
    order = list(range(data.ndim))
    order[first : first + d] = [first + int(j) for j in torch.argsort(image)]
    reversed_axes = [first + int(image[j]) for j in range(d) if sign[j] < 0]
    moved = data.permute(order).flip(reversed_axes)
    return moved.roll([1] * len(reversed_axes), reversed_axes) if about_pixel_0 and reversed_axes else moved


def moved_tensors(data: Tensor, g: Tensor, order: int, parity: int) -> Tensor:
    """det(g)^((1 - p) / 2) g ... g T of the tensors on the last ``order`` axes.

    Shapes:
        data: (..., d, ..., d)    g: (d, d)

    Example:
        >>> moved_tensors(torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 0.0], [0.0, -1.0]]), 1, -1)
        tensor([-1.,  2.])
    """
    if order:
        data = T(order)(g, data.flatten(-order)).unflatten(-1, (len(g),) * order)
    return data * float(torch.linalg.det(g).round()) if parity < 0 else data


class ImageGroup(NodeGroup):
    """G(N, d): translations of the torus (Z/N)^d and signed permutations B_d, which act on pixels, and so on tensor images.

    With ``torus=False`` translations are left out, and B_d turns and mirrors about the centre of the image. An element is a
    permutation of the N^d pixels (row-major), so that everything of the core takes this group: its pair orbits are those of
    ``grid_group``. ``image_action(k, parity)`` moves tensor images, and ``linear(perm)`` is the matrix of an element.

    Raises:
        ShapeError: d < 2, or sides of fewer than 3 pixels (of fewer than 2, off the torus), which do not tell all elements apart.

    References:
        Gregory, Hogg, Blum-Smith, Arias, Wong and Villar (2023), arXiv:2305.12585, definitions 3 and 6.

    Example:
        >>> ImageGroup(4, 2), ImageGroup(4, 2, torus=False).order()
        (ImageGroup(G(4, 2), order 128), 8)
        >>> ImageGroup(4, 2) == gnet.grid_group((4, 4), ["translations", "dihedral"])
        True
    """

    def __init__(self, side: int, d: int = 2, *, torus: bool = True) -> None:
        if not is_count(d, 2) or not is_count(side, 3 if torus else 2):
            raise ShapeError(f"expected d >= 2 and sides of at least {3 if torus else 2} pixels, got d = {d} and side {side}")
        self.side, self.d, self.torus = side, d, torus
        self.name = f"G({side}, {d})" if torus else f"B({d}) on {side}^{d} pixels"
        self._coordinates = torch.cartesian_prod(*[torch.arange(side)] * d)  # (N^d, d)
        self._strides = torch.tensor([side**axis for axis in reversed(range(d))])

    @property
    def degree(self) -> int:
        """N^d, the number of pixels."""
        return int(self.side**self.d)

    def order(self) -> int:
        """N^d 2^d d! of a torus, else 2^d d!."""
        return 2**self.d * math.factorial(self.d) * (self.degree if self.torus else 1)

    def element(self, g: Tensor, shift: Sequence[int] | Tensor | None = None) -> Tensor:
        """The permutation i -> g i + shift of pixels, about pixel 0 on a torus, about the centre otherwise.

        Shapes:
            g: (d, d)    shift: (d,) integers, on a torus only    returns: (N^d,) int64

        Raises:
            GroupError: no element of B_d, or a shift off the torus.
            ShapeError: a shift with other than d whole numbers.

        Example:
            >>> ImageGroup(3, 2).element(torch.eye(2), [0, 1]).tolist()
            [1, 2, 0, 4, 5, 3, 7, 8, 6]
        """
        whole = check_signed_permutation(g, self.d).long()
        if shift is not None and not self.torus:
            raise GroupError("translations move pixels out of an image that is no torus; leave shift out")
        if self.torus:
            by = torch.tensor([0] * self.d if shift is None else check_shift(shift, self.d))
            moved = (self._coordinates @ whole.mT + by) % self.side
        else:
            moved = ((2 * self._coordinates - (self.side - 1)) @ whole.mT + (self.side - 1)) // 2
        return moved @ self._strides

    def linear(self, perm: Tensor) -> Tensor:
        """The signed permutation matrix of an element, (d, d).

        Raises:
            GroupError: ``perm`` is no element.

        Example:
            >>> group = ImageGroup(5, 2)
            >>> group.linear(group.element(torch.tensor([[0.0, -1.0], [1.0, 0.0]]), [2, 3])).tolist()
            [[0.0, -1.0], [1.0, 0.0]]
        """
        g = self._linear(perm)
        if g is None:
            raise GroupError(f"expected an element of {self.name}, got another permutation of its pixels")
        return g

    def _linear(self, perm: Tensor) -> Tensor | None:
        """The matrix that the images of pixel 0 and its neighbours tell, or None if ``perm`` is not the element made of it."""
        perm = check_permutation(perm, self.degree, "element")
        shift = self._coordinates[perm[0]]
        columns = self._coordinates[perm[self._strides]] - shift
        g = ((columns + 1) % self.side - 1 if self.torus else columns).mT.double()
        try:
            made = self.element(g, shift if self.torus else None)
        except GroupError:
            return None
        return g if torch.equal(made, perm) else None

    def contains(self, g: Tensor) -> bool:
        """Whether a permutation of pixels is an element."""
        return self._linear(g) is not None

    @property
    def generators(self) -> Sequence[Tensor]:
        """Those of B(d), and on a torus one step along each axis."""
        unit = torch.eye(self.d, dtype=torch.float64)
        turns = [self.element(g) for g in B(self.d).generators]
        return turns + ([self.element(unit, step) for step in unit.long()] if self.torus else [])

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Uniform elements, (num, N^d)."""
        matrices = B(self.d).sample(num, generator)
        if not self.torus:
            return torch.stack([self.element(g) for g in matrices])
        shifts = torch.randint(self.side, (num, self.d), generator=generator)
        return torch.stack([self.element(g, shift) for g, shift in zip(matrices, shifts, strict=True)])

    def node_orbits(self) -> Partition:
        """Pixels that are mapped onto each other: all of them on a torus."""
        return Partition(orbit_labels(torch.stack(list(self.generators))))

    def act(self, perm: Tensor, x: Tensor) -> Tensor:
        """Moves pixels as nodes, on axis -2 of x.

        Shapes:
            perm: (N^d,)    x: (*, N^d, C)    returns: (*, N^d, C)

        Raises:
            ShapeError: x of another shape, as of images, which have actions of their own.
        """
        if x.ndim < 2 or x.shape[-2] != self.degree:
            raise ShapeError(
                f"expected x of shape (*, {self.degree}, C) for pixels as nodes, got {tuple(x.shape)}; images are moved by "
                "signature.action(group), or group.image_action(k, parity): give it as action_in and action_out"
            )
        return super().act(perm, x)

    def image_action(self, k: int = 0, parity: int = 1) -> Action:
        """How elements move tensor images of order k and parity p: (g A)(i) = g . A(g^-1 i).

        Shapes:
            images: (..., N, ..., N, d, ..., d) with k axes d

        Raises:
            ShapeError: an order below zero, or not whole.
            RepresentationError: a parity that is neither 1 nor -1.

        Example:
            >>> group = ImageGroup(3, 2)
            >>> step = group.element(torch.eye(2), [0, 1])
            >>> group.image_action()(step, torch.arange(9.0).reshape(3, 3))[0]
            tensor([2., 0., 1.])
        """
        if not is_count(k, 0):
            raise ShapeError(f"expected an order k >= 0, a whole number, got {k!r}")
        if parity not in (1, -1):
            raise RepresentationError(f"expected parity 1 or -1, got {parity!r}")
        pixels = (self.side,) * self.d

        def act(perm: Tensor, data: Tensor) -> Tensor:
            if data.shape[data.ndim - k - self.d :] != (*pixels, *(self.d,) * k):
                raise ShapeError(
                    f"expected images (..., {self.side}^{self.d} pixels, {k} axes of {self.d}), got {tuple(data.shape)}"
                )
            g = self.linear(perm)
            return moved_tensors(self.moved(perm, data, data.ndim - k - self.d), g, k, parity)

        return Action(f"{k}-tensor images, parity {parity:+d}", act)

    def moved(self, perm: Tensor, data: Tensor, first: int) -> Tensor:
        """A(g^-1 i) for the d pixel axes from ``first`` on.

        Shapes:
            perm: (N^d,)    data: (..., N, ..., N, ...)

        Raises:
            ShapeError: images of another side.
        """
        if data.shape[first : first + self.d] != (self.side,) * self.d:
            got = tuple(data.shape[first : first + self.d])
            raise ShapeError(f"expected images of {self.side}^{self.d} pixels for {self.name}, got {got} of {tuple(data.shape)}")
        flat = data.flatten(first, first + self.d - 1)
        back = torch.argsort(torch.as_tensor(perm)).to(data.device)
        return flat.index_select(first, back).unflatten(first, (self.side,) * self.d)
