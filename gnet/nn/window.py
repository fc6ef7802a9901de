"""Convolutions of translations on a torus by torch's own."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gnet.groups.base import NodeGroup
from gnet.groups.grid import torus_shape
from gnet.orbits import Sparse

FULL = 4
"""Places of a kernel for each offset up to which it is worth its zeros."""


@dataclass(frozen=True)
class Window:
    """Where on a kernel of a torus the orbits lie: its pairs of nodes are those of equal offsets.

    Example:
        >>> turns = grid_group((3, 4), "translations")
        >>> edges = close_edges(turns, torch.tensor([[0, 1], [0, 0]]))  # from itself and from the right
        >>> Window.of(turns, PairOrbits.on(turns, edges)).places
        ((0, 0), (0, 1))
    """

    shape: tuple[int, int]
    places: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, group: NodeGroup, orbits: Sparse) -> "Window | None":
        """The window of the orbits, or None where the group is not of translations or the window is mostly empty."""
        shape = torus_shape(group)
        if shape is None or not orbits.count:
            return None
        height, width = shape
        senders, receivers = orbits.edge_index
        into = receivers == 0
        rows, columns = senders[into] // width, senders[into] % width
        places = torch.empty(orbits.count, 2, dtype=torch.long)
        places[orbits.orbits[into], 0] = torch.where(rows > height // 2, rows - height, rows)
        places[orbits.orbits[into], 1] = torch.where(columns > width // 2, columns - width, columns)
        window = cls(shape, tuple((int(row), int(column)) for row, column in places))
        return window if math.prod(window.kernel_shape) <= FULL * orbits.count else None

    @property
    def kernel_shape(self) -> tuple[int, int]:
        """Odd sides, around the receiver."""
        reach = [max(abs(place[side]) for place in self.places) for side in (0, 1)]
        return 2 * reach[0] + 1, 2 * reach[1] + 1

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        """``y_i = sum_o W_o x_(i + o)``.

        Shapes:
            x: (*, H W, C)    weight: (offsets, C', C)    returns: (*, H W, C')
        """
        high, wide = self.kernel_shape
        up, left = high // 2, wide // 2
        index = torch.tensor([(row + up) * wide + column + left for row, column in self.places], device=x.device)
        kernel = weight.new_zeros(high * wide, *weight.shape[1:]).index_copy(0, index, weight)
        image = x.reshape(math.prod(x.shape[:-2]), *self.shape, x.shape[-1])
        rows = torch.cat([image[:, self.shape[0] - up :], image, image[:, :up]], 1)
        padded = torch.cat([rows[:, :, self.shape[1] - left :], rows, rows[:, :, :left]], 2).permute(0, 3, 1, 2)
        y = F.conv2d(padded, kernel.reshape(high, wide, *weight.shape[1:]).permute(2, 3, 0, 1))
        return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], weight.shape[1])
