"""The pair orbits of a group: which weights of a layer are one and the same, and how large they are."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from gnet.errors import ConfigError, GroupError, ShapeError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, NodeGroup
from gnet.groups.base import check_node_group
from gnet.orbits import DENSE_LIMIT, PairOrbits
from gnet.study.plots.matrices import draw_matrix, mark_clusters
from gnet.study.plots.style import COLOURS, PAGE, figure_and_axes, ink_on, styled

MOST_NUMBERS = 12
"""Up to so many nodes the number of the orbit stands in every pair."""


def plot_pair_orbits(
    group: NodeGroup,
    weight: Any = None,
    title: str = "",
    *,
    channels: tuple[int, int] = (0, 0),
    axes: Axes | Sequence[Axes] | None = None,
) -> Figure:
    """The orbits of a group on pairs of nodes, and a weight on these pairs: rows receive, columns send.

    Nodes are sorted by cluster (of a group that is no cluster group: by node orbit), clusters that change places side by side,
    with lines between them. Pairs of one orbit have one colour, and up to ``MOST_NUMBERS`` nodes its number. The title of the
    weight says how far it is from the equivariant maps, |W - P W| / |W| with P the average over the group.

    Args:
        group: of permutations of at most ``DENSE_LIMIT`` nodes.
        weight: a dense map, or a layer that knows its own (``dense()``); None draws the orbits alone.
        channels: which output and input channel of the weight.
        axes: one, or two with a weight.

    Shapes:
        weight: (N, N) or (N, C', N, C), receiver first

    Raises:
        GroupError: no group of permutations, or too many nodes.
        ShapeError: a weight on other nodes.
        ConfigError: channels that the weight does not have, another number of axes.

    Example:
        >>> group = ClusterGroup(Partition([0, 1, 0, 1, 1]))
        >>> figure = plot_pair_orbits(group, EquivariantLinear(group, 2, 3))
        >>> for panel in figure.axes[:2]:
        ...     print(panel.get_title())
        6 pair orbits on 25 pairs
        2 node orbits
        weight, output 0, input 0
        relative distance from the equivariant maps: 0
    """
    check_node_group(group)
    if group.degree > DENSE_LIMIT:
        raise GroupError(f"expected at most {DENSE_LIMIT} nodes for a picture of all pairs, got {group.degree}")
    dense = None if weight is None else _dense(weight, group.degree)
    shown = None if dense is None else _channel(dense, channels)
    orbits = PairOrbits.of(group)
    sizes, names, order = _sorted_by_cluster(group)
    with styled():
        count = 1 if dense is None else 2
        figure, panels = figure_and_axes(axes, 1, count, PAGE / 2 if count == 1 else PAGE, 3.3)
        labels = orbits.labels()[order][:, order]
        _draw_labels(panels[0], labels.numpy(), orbits.count, sizes, names)
        clusters = group.node_orbits().num_clusters
        counts = [(orbits.count, "pair orbit"), (group.degree**2, "pair"), (clusters, "node orbit")]
        said = [f"{number} {what}{'' if number == 1 else 's'}" for number, what in counts]
        panels[0].set_title(f"{said[0]} on {said[1]}\n{said[2]}")
        if dense is not None and shown is not None:
            draw_matrix(panels[1], shown[order][:, order].numpy(), sizes, names, "weight")
            panels[1].set(title=_described(dense, orbits, channels), xlabel="sending node, by cluster")
        if title and axes is None:
            figure.suptitle(title)
    return figure


def _dense(weight: Any, degree: int) -> Tensor:
    found = weight.dense() if hasattr(weight, "dense") else weight
    if not isinstance(found, Tensor):
        raise ShapeError(f"expected a tensor or a layer with dense(), got {type(weight).__name__}")
    found = found.detach().cpu().double()
    if found.ndim not in (2, 4) or found.shape[0] != degree or found.shape[found.ndim // 2] != degree:
        raise ShapeError(
            f"expected a weight of shape ({degree}, {degree}) or ({degree}, C', {degree}, C), got {tuple(found.shape)}"
        )
    return found if found.ndim == 4 else found[:, None, :, None]


def _channel(dense: Tensor, channels: tuple[int, int]) -> Tensor:
    output, given = channels
    if not (0 <= output < dense.shape[1] and 0 <= given < dense.shape[3]):
        raise ConfigError(f"expected channels (output, input) below ({dense.shape[1]}, {dense.shape[3]}), got {channels}")
    return dense[:, output, :, given]


def _sorted_by_cluster(group: NodeGroup) -> tuple[list[int], list[str], Tensor]:
    """Sizes and names of the clusters and the nodes, in the order of rows; clusters of one node orbit stand together."""
    of_nodes = group.node_orbits()
    fine: Partition = group.partition if isinstance(group, ClusterGroup) else of_nodes
    clusters = torch.argsort(fine.coarse_labels(of_nodes), stable=True)
    order = torch.cat([fine.members(int(cluster)) for cluster in clusters])
    return fine.sizes[clusters].tolist(), [str(int(cluster)) for cluster in clusters], order


def _draw_labels(axes: Axes, labels: NDArray[np.int64], count: int, sizes: list[int], names: list[str]) -> None:
    palette = orbit_colours(count)
    axes.imshow(labels, cmap=ListedColormap(palette), vmin=-0.5, vmax=count - 0.5, interpolation="nearest")
    mark_clusters(axes, sizes, names, "white" if count > 1 else "black")
    axes.set(xlabel="sending node, by cluster", ylabel="receiving node, by cluster")
    if len(labels) <= MOST_NUMBERS:
        for (row, column), label in np.ndenumerate(labels):
            ink = ink_on(palette[label])
            axes.text(column, row, str(label), ha="center", va="center", fontsize=7, color=ink)


def orbit_colours(count: int) -> list[str]:
    """A colour for each orbit: the palette's, then its tints; beyond 24 steps of lightness, neighbours set apart.

    Example:
        >>> orbit_colours(3) == COLOURS[:3], len(set(orbit_colours(100)))
        (True, 100)
    """
    if count <= 3 * len(COLOURS):
        tints = [_tint(colour, light) for light in (1.0, 0.55, 0.25) for colour in COLOURS]
        return [tint.upper() for tint in tints[:count]]
    steps = matplotlib.colormaps["cividis"](np.linspace(0, 1, count))
    mixed = np.argsort((np.arange(count) * 0.6180339887498949) % 1.0)
    found = [""] * count
    for rank, label in enumerate(mixed):
        found[label] = to_hex(steps[rank])
    return found


def _tint(colour: str, strength: float) -> str:
    """The colour mixed with white."""
    red, green, blue = (1 - strength * (1 - channel) for channel in to_rgb(colour))
    return to_hex((red, green, blue))


def _described(dense: Tensor, orbits: PairOrbits, channels: tuple[int, int]) -> str:
    size = float(dense.norm())
    away = float((dense - orbits.mean(dense)).norm()) / size if size != 0 else 0.0
    said = "unknown" if np.isnan(away) else "0" if away < 1e-6 else f"{away:.2g}"
    where = "" if dense.shape[1] == dense.shape[3] == 1 else f", output {channels[0]}, input {channels[1]}"
    return f"weight{where}\nrelative distance from the equivariant maps: {said}"
