"""Matrices on the nodes as heat maps, sorted by cluster, with lines between the clusters."""

from collections.abc import Sequence
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gnet.study.plots.style import COLOURS

MOST_LINES = 40
ROOM = 0.045
"""Of the side: a smaller cluster has no room for its name."""


def draw_matrix(
    axes: Axes,
    matrix: NDArray[np.float64],
    sizes: Sequence[int],
    names: Sequence[str],
    unit: str,
    bar: Literal["right", "bottom"] = "right",
) -> AxesImage:
    """A heat map, 0 white: grey to black where nothing is negative, else orange below and purple above 0; NaN in light blue.

    Args:
        sizes: of the clusters, in the order of rows and columns.
        names: of the clusters.
        unit: beside the colour bar.
        bar: where that is.
    """
    known = matrix[np.isfinite(matrix)]
    reach = float(np.abs(known).max(initial=0.0)) or 1.0
    signed = bool((known < 0).any())
    colours = matplotlib.colormaps["PuOr" if signed else "Greys"].with_extremes(bad="#56B4E9")
    image = axes.imshow(
        np.ma.masked_invalid(matrix), cmap=colours, vmin=-reach if signed else 0.0, vmax=reach, interpolation="nearest"
    )
    mark_clusters(axes, sizes, names)
    figure = axes.get_figure(root=True)
    if figure is not None:
        scale = figure.colorbar(image, ax=axes, location=bar, shrink=0.75, pad=0.03, aspect=18)
        scale.set_label(unit, fontsize=7)
        scale.ax.tick_params(labelsize=7)
        scale.locator = MaxNLocator(4)
        scale.update_ticks()
    return image


def mark_clusters(axes: Axes, sizes: Sequence[int], names: Sequence[str], colour: str = COLOURS[0]) -> None:
    """Lines between clusters, and the names of those that have room for one, where there are few enough to be read."""
    bounds = np.cumsum([0, *sizes])
    if len(sizes) <= MOST_LINES:
        for bound in bounds[1:-1]:
            axes.axhline(bound - 0.5, color=colour, linewidth=0.6)
            axes.axvline(bound - 0.5, color=colour, linewidth=0.6)
    middle = (bounds[1:] + bounds[:-1] - 1) / 2
    named = [place for place, size in enumerate(sizes) if size >= ROOM * bounds[-1]]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([middle[place] for place in named], labels=[names[place] for place in named])
        axis.set_tick_params(length=0, labelsize=7)
    axes.spines[:].set_visible(True)
