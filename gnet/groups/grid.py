"""Symmetries of a pixel grid: translations on the torus, flips, turns, and all that they generate."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from gnet.errors import ConfigError, GroupError
from gnet.groups.base import NodeGroup
from gnet.groups.permutation import PermutationGroup

GridSymmetry = Literal["translations", "horizontal_flip", "vertical_flip", "flips", "half_turn", "rotations", "dihedral"]


def _mirrored(pixels: Tensor) -> Tensor:
    return pixels.flip(1)


def _turned_over(pixels: Tensor) -> Tensor:
    return pixels.flip(0)


def _half_turned(pixels: Tensor) -> Tensor:
    return pixels.flip(0, 1)


def _quarter_turned(pixels: Tensor) -> Tensor:
    return torch.rot90(pixels)


def _down(pixels: Tensor) -> Tensor:
    return pixels.roll(1, 0)


def _right(pixels: Tensor) -> Tensor:
    return pixels.roll(1, 1)


_MOVES: dict[str, tuple[Callable[[Tensor], Tensor], ...]] = {
    "translations": (_down, _right),
    "horizontal_flip": (_mirrored,),
    "vertical_flip": (_turned_over,),
    "flips": (_mirrored, _turned_over),
    "half_turn": (_half_turned,),
    "rotations": (_quarter_turned,),
    "dihedral": (_quarter_turned, _mirrored),
}


def grid_group(
    shape: tuple[int, int], symmetry: GridSymmetry | Sequence[GridSymmetry], *, periodic: bool | None = None
) -> PermutationGroup:
    """The group of a grid (H, W), nodes row by row, that one or several symmetries generate.

    "horizontal_flip" mirrors left and right, "vertical_flip" top and bottom, "flips" is both (order 4), "rotations" are the
    quarter turns (order 4) and "dihedral" these with the flips (order 8), on square grids; "half_turn" has order 2.
    "translations" wrap around, so they are symmetries of a torus only. ``grid_group(shape, ["translations", "dihedral"])`` is
    the wallpaper group p4m.

    For patches of an image, take the group of the grid of patches as swaps:
    ``ClusterGroup(grid_patches((28, 28), (14, 14)), swaps=grid_group((14, 14), "horizontal_flip"))``.

    Args:
        periodic: whether the grid is a torus; by default whatever the symmetries need.

    Raises:
        ConfigError: an unknown symmetry, or translations with ``periodic=False``.
        GroupError: quarter turns of a grid that is not square, or a side < 1.

    References:
        Cohen and Welling (2016), arXiv:1602.07576, for p4 and p4m.

    Example:
        >>> grid_group((3, 4), "horizontal_flip").generators[0].reshape(3, 4)[0]
        tensor([3, 2, 1, 0])
        >>> grid_group((4, 4), ["translations", "dihedral"]).order()
        128
    """
    names = [symmetry] if isinstance(symmetry, str) else list(symmetry)
    unknown = [name for name in names if name not in _MOVES]
    if unknown:
        raise ConfigError(f"expected symmetries among {', '.join(_MOVES)}, got {unknown[0]!r}")
    if periodic is False and "translations" in names:
        raise ConfigError("translations wrap around, so they need periodic=True; without it a grid has flips and turns only")
    if not isinstance(shape, Sequence) or len(shape) != 2:
        raise GroupError(f"expected a grid shape (H, W), got {shape!r}")
    height, width = shape
    if height < 1 or width < 1:
        raise GroupError(f"expected a grid (H, W) with sides >= 1, got {tuple(shape)}")
    if height != width and {"rotations", "dihedral"} & set(names):
        raise GroupError(f"quarter turns need a square grid, got {height} x {width}; take 'flips' or 'half_turn'")
    pixels = torch.arange(height * width).reshape(height, width)
    # The picture that a move shows at a place came from the pixel named there: the permutation is its inverse.
    generators = [torch.argsort(move(pixels).flatten()) for name in names for move in _MOVES[name]]
    group = PermutationGroup(generators, degree=height * width)
    group.name = f"{' + '.join(names)} of {height} x {width}"
    return group


def torus_shape(group: NodeGroup) -> tuple[int, int] | None:
    """The grid (H, W) whose translations a group is, nodes row by row; None if it is made in another way.

    Example:
        >>> torus_shape(grid_group((3, 4), "translations")), torus_shape(grid_group((3, 4), "flips"))
        ((3, 4), None)
    """
    if not isinstance(group, PermutationGroup) or len(group.generators) != 2:
        return None
    width = int(group.generators[0][0])  # moved one row down, the first node is at the start of the second row
    if width < 2 or group.degree % width:
        return None
    shape = group.degree // width, width
    moved = grid_group(shape, "translations").generators
    return shape if len(moved) == 2 and all(map(torch.equal, moved, group.generators)) else None
