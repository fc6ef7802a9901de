"""A graph and what its clusters make of it: the coarsened graph and the blow-up, or a map of the clusters."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from gnet.errors import GraphError
from gnet.graphs import Partition, blow_up, coarsened_graph
from gnet.graphs.edges import checked_edges
from gnet.nn.checks import check_choice
from gnet.orbits import DENSE_LIMIT
from gnet.study.plots.drawing import (
    MANY_ARROWS,
    MANY_LINES,
    PANEL,
    Array,
    Lines,
    Look,
    Units,
    diameter,
    draw_edges,
    draw_nodes,
    height_of,
    looks,
    medoid,
    places,
    set_view,
)
from gnet.study.plots.matrices import draw_matrix
from gnet.study.plots.style import PAGE, figure_and_axes, styled

if TYPE_CHECKING:
    from torch_geometric.data import Data

MOST_IN_LEGEND = 40


def plot_coarsening(
    data: "Data",
    partition: Partition,
    title: str = "",
    *,
    pos: Tensor | None = None,
    units: Units = "plane",
    matrices: bool = False,
    axes: Axes | Sequence[Axes] | None = None,
) -> Figure:
    """A graph with its clusters, the coarsened graph G', and its blow-up, side by side.

    Clusters have a number, a mark and a colour; those that edges join differ in colour as far as eight colours allow. Lines are
    as wide as the weights, relative to the widest of the panel, whose weight its title names; rings are loops, relative to the
    widest ring; negative weights are dashed. A node of G' stands at the mean of its cluster (where those would collide: at its
    most central node) and is the larger the more nodes it stands for. A blow-up of more than ``MANY_LINES`` edges has one line
    for each pair of clusters and one ring for each cluster. Directed graphs of up to ``MANY_ARROWS`` edges have arrows. Loops of
    single nodes are counted in the title and drawn in G' alone.

    Args:
        data: the graph; drawn at ``pos``, else at ``data.pos``, else where ``layout`` puts it.
        units: of the positions: a plane, metres on the ground, or degrees of longitude and latitude.
        matrices: a second row with the three adjacency matrices, A_ij the weight from i to j, nodes sorted by cluster.
        axes: three, or six with matrices; the matrices' colour bars take some of their room.

    Shapes:
        pos: (N, D), the first two directions, or of more than two those of largest spread

    Raises:
        PartitionError: the partition has another number of nodes.
        GraphError: edges, weights or positions that make no sense; too many nodes for a matrix.
        ShapeError: ``pos`` without a row per node.
        ConfigError: unknown units, another number of axes.

    Example:
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]), num_nodes=4)
        >>> figure = plot_coarsening(path, Partition([0, 0, 1, 1]))
        >>> for axes in figure.axes:
        ...     print(axes.get_title().replace(chr(10), ": "))
        graph: 4 nodes, 3 edges: widest line: 1
        coarsened: 2 nodes, 1 edge, 2 loops: widest line: 0.25, widest ring: 0.5
        blow-up: 4 nodes, 6 edges, 4 loops: widest line: 0.5
    """
    check_choice("units", units, Units)
    coarse = coarsened_graph(_without_pos(data), partition)  # checks that they fit together
    where = places(data, pos, units)
    graphs = (("graph", data), ("coarsened", coarse), ("blow-up", blow_up(coarse, partition)))
    if matrices and partition.num_nodes > DENSE_LIMIT:
        raise GraphError(
            f"expected at most {DENSE_LIMIT} nodes for pictures of matrices, got {partition.num_nodes}; leave them out"
        )
    look = looks(data, partition)
    with styled():
        height = height_of(where, units, 2.2) + 0.65 + (2.8 if matrices else 0.0)
        figure, panels = figure_and_axes(axes, 1 + matrices, 3, PAGE, height)
        for (name, graph), panel in zip(graphs, panels[:3], strict=True):
            lines = Lines.of(graph)
            in_bands = name == "blow-up" and len(lines.weight) > MANY_LINES
            if graph is coarse:
                _draw_coarse(panel, where, partition, lines, look)
            elif in_bands:
                _draw_bands(panel, where, partition, Lines.of(coarse), look)
            else:
                _draw_full(panel, where, partition, lines, look)
            set_view(panel, where, units)
            panel.set_anchor("N")  # or the title would move while matplotlib makes room for it
            panel.set_axis_off()
            panel.set_title(_counted(name, graph, lines) + (", one for each block" if in_bands else ""), fontsize=7)
        for (_, graph), panel in zip(graphs, panels[3:], strict=False):
            _draw_adjacency(panel, graph, partition)
        if title and axes is None:
            figure.suptitle(title)
    return figure


def _without_pos(data: "Data") -> "Data":
    """The edges alone: positions are checked where they are drawn."""
    from torch_geometric.data import Data

    checked_edges(data, signed=True)
    return Data(edge_index=data.edge_index, edge_weight=getattr(data, "edge_weight", None), num_nodes=data.num_nodes)


def _draw_full(axes: Axes, where: Array, partition: Partition, lines: Lines, look: Sequence[Look]) -> None:
    size = diameter(where)
    draw_edges(axes, where, lines.without_loops, 2.0 if len(where) < 100 else 1.0, size)
    draw_nodes(axes, where, partition.labels.numpy(), look, np.full(len(where), size))


def _draw_bands(axes: Axes, where: Array, partition: Partition, coarse: Lines, look: Sequence[Look]) -> None:
    """Of a blow-up with very many edges: those between two clusters are one line, those within a cluster one ring."""
    size = diameter(where)
    draw_edges(axes, _centres(where, partition), coarse, 4.0, 3 * size)
    draw_nodes(axes, where, partition.labels.numpy(), look, np.full(len(where), size))


def _draw_coarse(axes: Axes, where: Array, partition: Partition, lines: Lines, look: Sequence[Look]) -> None:
    centres = _centres(where, partition)
    share = np.sqrt(partition.sizes.numpy() / int(partition.sizes.max()))
    size = diameter(centres, largest=17.0)
    sizes = np.maximum(size * share, 0.6 * size)
    draw_edges(axes, centres, lines, 3.0, size)
    draw_nodes(axes, centres, np.arange(len(centres)), look, sizes)


def _centres(where: Array, partition: Partition) -> Array:
    """The mean of each cluster, or its most central node where two means are too close to tell apart."""
    members = [partition.members(cluster).numpy() for cluster in range(partition.num_clusters)]
    means = np.stack([where[nodes].mean(0) for nodes in members])
    apart = np.linalg.norm(means[:, None] - means[None], axis=2) + np.diag(np.full(len(means), np.inf))
    if apart.min() > 0.5 * np.ptp(where, axis=0).max() / max(len(means), 8):
        return means
    return where[[medoid(where, nodes) for nodes in members]]


def _counted(name: str, graph: "Data", lines: Lines) -> str:
    def number(count: int, what: str) -> str:
        return f"{count} {what}{'' if count == 1 else 's'}"

    counts = [number(int(cast(int, graph.num_nodes)), "node"), number(len(lines.weight), "edge")]
    counts += [number(len(lines.loops), "loop")] if len(lines.loops) else []
    drawn = [f"widest line: {lines.largest:.3g}"] if lines.largest else []
    drawn += [f"widest ring: {lines.largest_loop:.3g}"] if lines.largest_loop and name == "coarsened" else []
    drawn += ["directions not shown"] if lines.is_directed and len(lines.weight) > MANY_ARROWS else []
    return f"{name}\n{', '.join(counts)}\n{', '.join(drawn)}".rstrip()


def _draw_adjacency(axes: Axes, graph: "Data", partition: Partition) -> None:
    edges = checked_edges(graph, signed=True)
    n = edges.num_nodes
    flat = torch.zeros(n * n, dtype=torch.float64).index_add(0, edges.index[0] * n + edges.index[1], edges.weight)
    matrix = flat.view(n, n)
    is_coarse = n == partition.num_clusters and n != partition.num_nodes
    sizes = [1] * n if is_coarse else partition.sizes.tolist()
    order = torch.arange(n) if is_coarse else partition.order
    names = [str(cluster) for cluster in range(partition.num_clusters)]
    draw_matrix(axes, matrix[order][:, order].numpy(), sizes, names, "weight", bar="bottom")
    axes.set(xlabel="to cluster", ylabel="from cluster")


def plot_sensor_map(
    data: "Data",
    partition: Partition,
    title: str = "",
    *,
    pos: Tensor | None = None,
    units: Units = "metres",
    show_edges: bool = True,
    axes: Axes | None = None,
) -> Figure:
    """Sensors on the ground, coloured, marked and numbered by cluster, over the edges of their graph.

    One metre is as long to the east as to the north; so it is with degrees, about the mean latitude. Coordinates beyond two
    kilometres are shown in kilometres. The legend counts the sensors of each cluster.

    Args:
        units: of the positions: metres east and north, degrees of longitude and latitude, or a plane without units.
        show_edges: lines as wide as the weights, directions not shown.

    Shapes:
        pos: (N, D); None takes ``data.pos``

    Raises:
        GraphError: no positions, or degrees that are none; edges that make no sense.
        PartitionError, ShapeError, ConfigError: as ``plot_coarsening``.

    Example:
        >>> pos = torch.tensor([[0.0, 0.0], [900.0, 100.0], [5000.0, 2000.0]])
        >>> data = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3, pos=pos)
        >>> panel = plot_sensor_map(data, Partition([0, 0, 1])).axes[0]
        >>> panel.get_xlabel(), panel.get_aspect(), [text.get_text() for text in panel.get_legend().get_texts()]
        ('km east', 1.0, ['0 (2)', '1 (1)'])
    """
    check_choice("units", units, Units)
    coarsened_graph(_without_pos(data), partition)
    if pos is None and getattr(data, "pos", None) is None:
        raise GraphError("expected positions to draw a map, got a graph without data.pos; give pos=, or use plot_coarsening")
    where = places(data, pos, units)
    kilometres = units == "metres" and float(np.ptp(where, axis=0).max()) > 2000
    where = where / 1000 if kilometres else where
    look = looks(data, partition)
    length = "km" if kilometres else "m"
    named = {"plane": ("x", "y"), "degrees": ("longitude, degrees", "latitude, degrees")}
    with styled():
        figure, [panel] = figure_and_axes(axes, 1, 1, 5.6, height_of(where, units, 4.2) + 0.9)
        size = diameter(where, largest=9.0, panel=2 * PANEL)
        lines = Lines.of(data)
        if show_edges:
            draw_edges(panel, where, replace(lines.without_loops, is_directed=False), 1.0, size)
        draw_nodes(panel, where, partition.labels.numpy(), look, np.full(len(where), max(size, 4.0)))
        set_view(panel, where, units)
        east, north = named.get(units, (f"{length} east", f"{length} north"))
        panel.set(xlabel=east, ylabel=north)
        counted = f"{partition.num_nodes} nodes in {partition.num_clusters} cluster{'' if partition.num_clusters == 1 else 's'}"
        panel.set_title("\n".join(part for part in (title, counted) if part))
        if partition.num_clusters <= MOST_IN_LEGEND:
            handles = [each for each in panel.collections if str(each.get_label()).startswith("cluster ")]
            named_sizes = [f"{cluster} ({size})" for cluster, size in enumerate(partition.sizes.tolist())]
            panel.legend(
                handles,
                named_sizes,
                title="cluster (nodes)",
                loc="upper left",
                bbox_to_anchor=(1.0, 1.0),
                ncols=1 + (len(handles) - 1) // 20,
                title_fontsize=7,
                scatterpoints=1,
            )
    return figure
