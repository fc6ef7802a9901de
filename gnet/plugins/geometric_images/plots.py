"""Pictures of images and filters: scalars as colours, vectors as arrows, symmetric 2-tensors as crosses of their axes."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from gnet.errors import ShapeError
from gnet.plugins.geometric_images.images import GeometricImage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_image(image: GeometricImage, axes: "Axes | None" = None, *, title: str = "", limit: float | None = None) -> "Axes":
    """One image in d = 2 of order 0 (colours), 1 (arrows) or 2 (the axes of its symmetric part); pixel axis 0 goes to the right.

    Args:
        axes: where to draw; a new figure by default.
        limit: of colours, or the length of the longest arrow; by default the largest in the image.

    Shapes:
        image: data (N, N, ...), without batch and channels

    Raises:
        ShapeError: another d, an order above 2, or leading axes.

    Example:
        >>> axes = plot_image(GeometricImage(torch.randn(8, 8, 2), 2, 1), title="a wind")
        >>> axes.get_title()
        'a wind'
    """
    if image.d != 2 or image.k > 2 or image.leading:
        raise ShapeError(
            f"expected one image in d = 2 of order 0, 1 or 2, got {image!r}; choose one with image.like(image.data[0])"
        )
    if axes is None:
        from gnet.study.plots import COLUMN, new_figure

        axes = new_figure(COLUMN, COLUMN).subplots()
    data = image.data.detach().double().cpu()
    size = limit or float(image.like(data).norm().data.max()) or 1.0
    width, height = image.pixels
    x, y = torch.meshgrid(torch.arange(width), torch.arange(height), indexing="ij")
    if image.k == 0:
        axes.imshow(data.mT.numpy(), origin="lower", cmap="RdBu_r", vmin=-size, vmax=size)
    elif image.k == 1:
        along = [each.numpy() for each in (x, y, data[..., 0], data[..., 1])]
        axes.quiver(*along, angles="xy", scale_units="xy", scale=size / 0.9, pivot="mid", width=0.006)
    else:
        _draw_axes(axes, data, size)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(-0.5, height - 0.5), aspect="equal", xticks=[], yticks=[], title=title)
    return axes


def _draw_axes(axes: "Axes", data: torch.Tensor, size: float) -> None:
    """Two bars at each pixel along the eigenvectors of the symmetric part, as long as the eigenvalues; dashed where negative."""
    values, vectors = torch.linalg.eigh((data + data.transpose(2, 3)) / 2)
    for i in range(data.shape[0]):
        for j in range(data.shape[1]):
            for value, vector in zip(values[i, j], vectors[i, j].mT, strict=True):
                right, up = (0.45 * vector * value.abs() / size).tolist()
                style = "-" if value >= 0 else ":"
                axes.plot([i - right, i + right], [j - up, j + up], style, color="black", linewidth=1)


def plot_images(images: Sequence[GeometricImage], titles: Sequence[str] | None = None, *, columns: int = 4) -> "Figure":
    """Several images side by side, with one scale.

    Raises:
        ShapeError: no images, or one that ``plot_image`` cannot draw; no columns, or other than one title for each image.

    Example:
        >>> from gnet.plugins.geometric_images import invariant_filters
        >>> filters = invariant_filters(2, 3, 1)
        >>> len(plot_images([filters.like(each) for each in filters.data]).axes)
        2
    """
    from gnet.study.plots import PAGE, new_figure

    if not images:
        raise ShapeError("expected at least one image")
    if columns < 1 or (titles is not None and len(titles) != len(images)):
        many = "no" if titles is None else len(titles)
        raise ShapeError(f"expected columns >= 1 and {len(images)} titles or none, got {columns} columns and {many} titles")
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    figure = new_figure(PAGE, PAGE / columns * rows)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    limit = max(float(image.norm().data.max()) for image in images) or 1.0
    for index, axes in enumerate(grid):
        if index >= len(images):
            axes.remove()
            continue
        plot_image(images[index], axes, title="" if titles is None else titles[index], limit=limit)
    return figure
