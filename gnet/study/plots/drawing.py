"""Nodes, edges and clusters as marks on paper: what the pictures of graphs share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import FancyArrowPatch
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor

from gnet.errors import GraphError, ShapeError
from gnet.graphs import Partition
from gnet.graphs.edges import checked_edges
from gnet.study.plots.layout import in_the_plane, layout
from gnet.study.plots.style import COLOURS, MARKERS, ink_on

if TYPE_CHECKING:
    from torch_geometric.data import Data

Array = NDArray[np.float64]
Units: TypeAlias = Literal["plane", "metres", "degrees"]

PANEL = 150.0
"""About how many points wide the picture of a graph is; sizes of nodes follow from it."""
MANY_ARROWS, MANY_LINES = 200, 5000
"""Beyond the first number edges are lines without heads, beyond the second those lines are pixels in a vector file."""


READABLE = 9.0
"""Diameter in points from which a number inside a node can be read."""
_AREA = {"s": 0.8, "D": 0.62, "^": 1.15, "v": 1.15, "<": 1.15, ">": 1.15}
"""Of marks whose area differs, so that all look equally large."""
_MIDDLE = {"^": (0.0, -0.1), "v": (0.0, 0.1), "<": (0.1, 0.0), ">": (-0.1, 0.0)}
"""Where the number of a cluster stands in its mark, in diameters from the middle of its box."""


@dataclass(frozen=True)
class Look:
    """Colour and mark of a cluster."""

    colour: str
    marker: str


@dataclass(frozen=True)
class Lines:
    """What is drawn of the edges: every pair of nodes once, or every ordered pair where direction is shown; loops apart.

    Shapes:
        ends: (2, E)    weight: (E,)    loops: (L,) nodes    loop_weight: (L,)
    """

    ends: NDArray[np.int64]
    weight: Array
    loops: NDArray[np.int64]
    loop_weight: Array
    is_directed: bool

    @classmethod
    def of(cls, data: "Data") -> "Lines":
        """Of a graph; duplicate edges add up, edges of weight 0 vanish, of two directions the larger weight counts.

        Example:
            >>> Lines.of(Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 2]]), num_nodes=3)).ends.tolist()
            [[0, 1, 1], [1, 0, 2]]
        """
        edges = checked_edges(data, signed=True)
        n = edges.num_nodes
        code, place = torch.unique(edges.index[0] * n + edges.index[1], return_inverse=True)
        weight = torch.zeros(len(code), dtype=torch.float64).index_add(0, place, edges.weight)
        code, weight = code[weight != 0], weight[weight != 0]
        source, target = code // n, code % n
        loop = source == target
        directed = bool((~torch.isin(target[~loop] * n + source[~loop], code)).any())
        kept = ~loop
        if not directed:
            back = weight[torch.searchsorted(code, target * n + source)]
            weight = torch.where(back.abs() > weight.abs(), back, weight)
            kept = source < target
        ends = torch.stack([source[kept], target[kept]])
        return cls(ends.numpy(), weight[kept].numpy(), source[loop].numpy(), weight[loop].numpy(), directed)

    @property
    def largest(self) -> float:
        """The largest absolute weight of an edge between two nodes, 0 without."""
        return float(np.abs(self.weight).max(initial=0.0))

    @property
    def largest_loop(self) -> float:
        """The largest absolute weight of a loop, 0 without."""
        return float(np.abs(self.loop_weight).max(initial=0.0))

    @property
    def without_loops(self) -> "Lines":
        """The other edges."""
        return replace(self, loops=self.loops[:0], loop_weight=self.loop_weight[:0])


def looks(data: "Data", partition: Partition) -> list[Look]:
    """A colour and a mark for each cluster: clusters that edges join differ in colour, as far as eight colours allow.

    Clusters are coloured one by one, those with the most neighbours first, each in the colour to which the fewest and lightest
    edges lead. Colour and mark together are unique for 64 clusters.

    Example:
        >>> path = Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]), num_nodes=4)
        >>> [look.marker for look in looks(path, Partition([0, 0, 1, 2]))]
        ['s', 'o', '^']
    """
    k = partition.num_clusters
    edges = checked_edges(data, signed=True)
    source, target = partition.labels[edges.index[0]], partition.labels[edges.index[1]]
    joined = torch.zeros(k * k, dtype=torch.float64).index_add(0, source * k + target, edges.weight.abs()).view(k, k)
    between = (joined + joined.T).fill_diagonal_(0).numpy()
    chosen = np.full(k, -1)
    marks = np.zeros(k, dtype=int)
    for cluster in np.argsort(-(between > 0).sum(1), kind="stable"):
        used = np.array([(chosen == number).sum() for number in range(len(COLOURS))])
        clash = np.array([between[cluster, chosen == number].sum() for number in range(len(COLOURS))])
        best = int(np.lexsort((np.arange(len(COLOURS)), used, clash))[0])
        chosen[cluster], marks[cluster] = best, (best + used[best]) % len(MARKERS)
    return [Look(COLOURS[colour], MARKERS[mark]) for colour, mark in zip(chosen, marks, strict=True)]


def places(data: "Data", pos: Tensor | None, units: Units) -> Array:
    """Where the nodes are drawn, (N, 2): at ``pos``, else at ``data.pos``, else by ``layout``.

    Raises:
        ShapeError: ``pos`` has no row per node.
        GraphError: degrees that are no longitude and latitude; positions that are not finite.
    """
    num_nodes = checked_edges(data, signed=True).num_nodes
    if pos is not None and (pos.ndim != 2 or len(pos) != num_nodes or pos.shape[1] == 0):
        raise ShapeError(f"expected pos of shape ({num_nodes}, D), a row per node, got {tuple(pos.shape)}")
    found = (layout(data) if pos is None else in_the_plane(pos)).numpy()
    if units == "degrees" and (np.abs(found[:, 1]).max() > 90 or np.abs(found[:, 0]).max() > 360):
        raise GraphError(
            "expected longitude and latitude in degrees, in this order, got a latitude beyond 90; swap the columns of pos"
        )
    return found


def set_view(axes: Axes, where: Array, units: Units) -> None:
    """As long on paper in both directions as on the ground; a degree of longitude is shorter than one of latitude."""
    middle, reach = _view(where)
    axes.set_aspect(1 / np.cos(np.radians(where[:, 1].mean())) if units == "degrees" else 1.0)
    axes.set(xlim=(middle[0] - reach[0], middle[0] + reach[0]), ylim=(middle[1] - reach[1], middle[1] + reach[1]))


def height_of(where: Array, units: Units, width: float) -> float:
    """Of a panel so wide, such that little of it is empty."""
    across, up = _view(where)[1]
    across *= np.cos(np.radians(where[:, 1].mean())) if units == "degrees" else 1.0
    return width * float(np.clip(up / across, 0.45, 1.3))


def _view(where: Array) -> tuple[Array, Array]:
    """Middle and half sides of the part of the plane that is drawn, with room for the marks at its edges."""
    reach = np.ptp(where, axis=0) / 2
    largest = float(reach.max()) or 1.0
    return (where.max(0) + where.min(0)) / 2, np.maximum(reach, 0.12 * largest) + 0.22 * largest


def diameter(where: Array, largest: float = 11.0, panel: float = PANEL) -> float:
    """Of the nodes, in points: so that neighbours do not touch."""
    extent = float(np.ptp(where, axis=0).max())
    if len(where) < 2 or extent == 0:
        return largest
    nearest = float(np.median(KDTree(where).query(where, k=2)[0][:, 1]))
    return float(np.clip(0.6 * panel * nearest / extent, 2.5, largest))


def draw_edges(axes: Axes, where: Array, lines: Lines, widest: float, node_size: float) -> None:
    """Lines as wide as their weight, relative to the largest; dashed where it is negative; arrows where direction matters."""
    largest, largest_loop = lines.largest or 1.0, lines.largest_loop or 1.0
    if lines.is_directed and len(lines.weight) <= MANY_ARROWS:
        for (source, target), weight in zip(lines.ends.T, lines.weight, strict=True):
            axes.add_patch(
                FancyArrowPatch(
                    tuple(where[source]),
                    tuple(where[target]),
                    arrowstyle="-|>",
                    mutation_scale=4 + widest,
                    connectionstyle="arc3,rad=0.1",
                    shrinkA=node_size / 2,
                    shrinkB=node_size / 2,
                    linewidth=_width(weight, largest, widest),
                    linestyle="--" if weight < 0 else "-",
                    color="0.35",
                    zorder=1,
                )
            )
    elif len(lines.weight):
        axes.add_collection(
            LineCollection(
                list(where[lines.ends.T]),
                linewidths=[_width(weight, largest, widest) for weight in lines.weight],
                linestyles=["--" if weight < 0 else "-" for weight in lines.weight],
                colors="0.35",
                alpha=float(np.clip(9 / np.sqrt(len(lines.weight)), 0.1, 0.9)),
                zorder=1,
                rasterized=len(lines.weight) > MANY_LINES,
            ),
            autolim=False,
        )
    figure = axes.get_figure(root=True)
    if len(lines.loops) and figure is not None:
        up = ScaledTranslation(0, 0.6 * node_size / 72, figure.dpi_scale_trans)
        axes.scatter(
            where[lines.loops, 0],
            where[lines.loops, 1],
            s=(0.8 * node_size) ** 2,
            facecolors="none",
            edgecolors="0.35",
            linewidths=[_width(weight, largest_loop, widest) for weight in lines.loop_weight],
            clip_on=False,
            transform=axes.transData + up,
            zorder=1.5,
            label="loops",
        )


def _width(weight: float, largest: float, widest: float) -> float:
    return 0.25 + (widest - 0.25) * abs(weight) / largest


def draw_nodes(axes: Axes, where: Array, labels: NDArray[np.int64], look: Sequence[Look], sizes: Array) -> None:
    """Each cluster in its colour and mark, and its number: inside the nodes where they are large enough, else once beside them.

    Shapes:
        where: (N, 2)    labels: (N,)    sizes: (N,) diameters in points
    """
    for cluster, each in enumerate(look):
        mine = labels == cluster
        axes.scatter(
            where[mine, 0],
            where[mine, 1],
            s=_AREA.get(each.marker, 1.0) * sizes[mine] ** 2,
            color=each.colour,
            marker=each.marker,
            edgecolors="black",
            linewidths=0.5 if sizes.min() > 4 else 0.25,
            clip_on=False,
            zorder=2,
            label=f"cluster {cluster}",
        )
    if sizes.min() < (READABLE if len(look) <= 10 else 11.0):  # two digits are wider
        _number_clusters(axes, where, labels, look, float(sizes.max()))
        return
    for node, cluster in enumerate(labels):
        each = look[cluster]
        right, up = _MIDDLE.get(each.marker, (0.0, 0.0))
        axes.annotate(
            str(cluster),
            where[node],
            (right * sizes[node], up * sizes[node]),
            textcoords="offset points",
            ha="center",
            va="center_baseline",
            fontsize=7,
            color=ink_on(each.colour),
            zorder=3,
        ).set_in_layout(False)  # inside its node: measuring hundreds of them takes seconds


def _number_clusters(axes: Axes, where: Array, labels: NDArray[np.int64], look: Sequence[Look], size: float) -> None:
    """A number beside the most central node of each cluster, on the side where the fewest nodes and numbers are."""
    scale = PANEL / (float(np.ptp(where, axis=0).max()) or 1.0)
    taken = list(where * scale)
    turns = np.arange(12) * np.pi / 6 + np.pi / 4
    sides = (size / 2 + 5.0) * np.stack([np.cos(turns), np.sin(turns)], 1)  # in points
    for cluster in range(len(look)):
        node = medoid(where, np.flatnonzero(labels == cluster))
        room = [min(np.linalg.norm(np.array(taken) - (where[node] * scale + side), axis=1)) for side in sides]
        # A little more room is no reason to leave the first free side.
        side = sides[int(np.argmax(np.minimum(room, 7.0)))]
        taken.append(where[node] * scale + side)
        box = {"boxstyle": "round,pad=0.08", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
        at: dict[str, Any] = {"ha": "center", "va": "center", "textcoords": "offset points", "annotation_clip": False}
        axes.annotate(str(cluster), where[node], tuple(side), fontsize=7, bbox=box, zorder=3, **at)


def medoid(where: Array, nodes: NDArray[np.int64]) -> int:
    """The node nearest to the mean of some; the first of several."""
    away = np.linalg.norm(where[nodes] - where[nodes].mean(0), axis=1)
    return int(nodes[np.flatnonzero(away <= away.min() + 1e-9 * (1 + away.min()))[0]])
