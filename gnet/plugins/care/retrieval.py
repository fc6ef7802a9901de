"""Nearest neighbours of a query among embeddings, and how samples look: chains as lines, images as images."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnet.errors import ShapeError
from gnet.plugins.care.clouds import principal_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def nearest(query: Tensor, database: Tensor, num: int = 5) -> Tensor:
    """The rows of a database with the largest products with each query, the nearest first.

    Shapes:
        query: (Q, D)    database: (N, D), unit rows    returns: (Q, num) int64

    Raises:
        ShapeError: other shapes, or fewer rows than asked for.

    Example:
        >>> nearest(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.6, 0.8], [1.0, 0.0]]), 2)
        tensor([[2, 1]])
    """
    if query.ndim != 2 or database.ndim != 2 or query.shape[1] != database.shape[1] or len(database) < num:
        raise ShapeError(
            f"expected queries (Q, D) and a database (N, D) with N >= {num}, got {tuple(query.shape)} and {tuple(database.shape)}"
        )
    return (query @ database.mT).topk(num, dim=-1).indices


def axis_angles(x: Tensor, y: Tensor) -> Tensor:
    """Angles in degrees between the principal axes of clouds, 0 to 90; of unrelated ones in space 57.3 in the mean.

    Shapes:
        x, y: (..., n, d)    returns: (...)

    Example:
        >>> cloud = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.1]])
        >>> axis_angles(cloud, cloud.flip(-1)).round()
        tensor(84.)
    """
    cosines = (principal_axis(x) * principal_axis(y)).sum(-1).abs().clamp(max=1.0)
    return cosines.acos() * (180 / math.pi)


def draw_chain(axes: "Axes", cloud: Tensor, colour: str, title: str = "") -> None:
    """A chain from the front, its principal axis dotted; the first two coordinates are those seen."""
    points, axis = cloud.double(), principal_axis(cloud.double())
    axes.plot(points[:, 0].numpy(), points[:, 1].numpy(), color=colour, lw=0.8)
    ends = torch.stack([-1.8 * axis, 1.8 * axis])
    axes.plot(ends[:, 0].numpy(), ends[:, 1].numpy(), color="black", lw=0.8, ls=":")
    axes.set(xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), aspect="equal", xticks=[], yticks=[], title=title)


def draw_image(axes: "Axes", image: Tensor, colour: str, title: str = "") -> None:
    """A grey image in a coloured frame, (1, H, W)."""
    axes.imshow(image[0].numpy(), cmap="gray", vmin=0, vmax=1)
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=1.2)
    axes.set(xticks=[], yticks=[], title=title)
