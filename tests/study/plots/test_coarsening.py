"""Pictures of graphs: every node and edge is there, clusters differ, and places are where they should be."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from torch_geometric.data import Data
from torch_geometric.utils import grid

from datasets.skeleton import HUMAN36M_16, STANCE_16
from gnet import Partition, coarsen, coarsened_graph, grid_patches
from gnet.errors import ConfigError, GraphError, PartitionError, ShapeError
from gnet.graphs.proximity import symmetric_graph
from gnet.study.plots import COLOURS, MARKERS, layout, new_figure, plot_coarsening, plot_sensor_map, save
from gnet.study.plots.drawing import Lines, looks

PATH = symmetric_graph(torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]]), None, 5)


def nodes_of(axes: Axes) -> dict[str, np.ndarray]:
    """The places of the nodes of each cluster, by its label."""
    found = [each for each in axes.collections if isinstance(each, PathCollection)]
    return {str(each.get_label()): np.asarray(each.get_offsets()) for each in found if str(each.get_label()) != "loops"}


def widths_of(axes: Axes) -> np.ndarray:
    """The widths of the lines between nodes."""
    return np.concatenate(
        [each.get_linewidths() for each in axes.collections if isinstance(each, LineCollection)] or [np.zeros(0)]
    )


def random_graph(num_nodes: int, num_edges: int, seed: int = 0) -> Data:
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(num_nodes, (2, num_edges), generator=generator)
    return symmetric_graph(edges[:, edges[0] != edges[1]], None, num_nodes)


def test_a_graph_its_coarsened_graph_and_its_blow_up_are_drawn() -> None:
    partition = Partition([0, 0, 1, 1, 1])
    graph, coarse, full = plot_coarsening(PATH, partition, "a path").axes
    assert [len(places) for places in nodes_of(graph).values()] == [2, 3] == [len(each) for each in nodes_of(full).values()]
    assert [len(places) for places in nodes_of(coarse).values()] == [1, 1]
    assert len(widths_of(graph)) == 4 and len(widths_of(coarse)) == 1
    assert len(widths_of(full)) == 1 + 2 * 3 + 3  # within the first, between, within the second cluster
    assert [text.get_text() for text in graph.texts] == ["0", "0", "1", "1", "1"]
    [loops] = [each for each in coarse.collections if each.get_label() == "loops"]
    assert len(loops.get_offsets()) == 2
    assert graph.get_figure().get_suptitle() == "a path"


def test_lines_are_as_wide_as_weights() -> None:
    graph = symmetric_graph(torch.tensor([[0, 1, 2], [1, 2, 3]]), torch.tensor([1.0, 0.5, 0.25]), 4)
    widths = widths_of(plot_coarsening(graph, Partition([0, 1, 2, 3])).axes[0]) - 0.25
    assert widths / widths.max() == pytest.approx([1.0, 0.5, 0.25])
    graph.edge_weight = torch.tensor([1.0, 1.0, -1.0, -1.0, 0.0, 0.0])
    panel = plot_coarsening(graph, Partition([0, 1, 2, 3])).axes[0]
    [lines] = [each for each in panel.collections if isinstance(each, LineCollection)]
    assert [style[1] is None for style in lines.get_linestyles()] == [True, False]  # negative: dashed; 0: no edge


@pytest.mark.parametrize("seed", range(3))
def test_clusters_that_edges_join_differ_in_colour(seed: int) -> None:
    graph = random_graph(40, 70, seed)
    partition = coarsen(graph, 12)
    look = looks(graph, partition)
    coarse = coarsened_graph(graph, partition)
    assert all(look[a].colour != look[b].colour for a, b in coarse.edge_index.T.tolist() if a != b)
    assert len({(each.colour, each.marker) for each in look}) == 12
    drawn = plot_coarsening(graph, partition).axes[0]
    assert [to_hex(each.get_facecolor()[0]).upper() for each in drawn.collections if isinstance(each, PathCollection)] == [
        each.colour for each in look
    ]


def test_more_neighbours_than_colours_differ_in_mark() -> None:
    complete = Data(edge_index=torch.ones(20, 20).triu(1).nonzero().T, num_nodes=20)
    look = looks(complete, Partition.singletons(20))
    assert len({(each.colour, each.marker) for each in look}) == 20
    assert {each.colour for each in look} == set(COLOURS) and {each.marker for each in look} == set(MARKERS)


@pytest.mark.parametrize(
    ("graph", "labels"),
    [
        (Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=1), [0]),
        (Data(edge_index=torch.tensor([[0], [0]]), num_nodes=1), [0]),
        (Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=5), [0, 0, 1, 2, 2]),
        (PATH, [0] * 5),
        (PATH, [0, 1, 2, 3, 4]),
        (Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=6), [0, 0, 1, 1, 2, 2]),
        (Data(edge_index=torch.tensor([[0, 0], [1, 1]]), num_nodes=2, pos=torch.zeros(2, 2)), [0, 1]),
        (Data(edge_index=torch.tensor([[0], [1]]), num_nodes=3, pos=torch.tensor([[0.0], [1.0], [2.0]])), [0, 1, 1]),
    ],
    ids=["one node", "a loop", "no edges", "one cluster", "singletons", "isolated nodes", "at one place", "on a line"],
)
def test_small_and_awkward_graphs(tmp_path: Path, graph: Data, labels: list[int]) -> None:
    figure = plot_coarsening(graph, Partition(labels), matrices=True)
    places = np.concatenate(list(nodes_of(figure.axes[0]).values()))
    assert len(places) == len(labels) and np.isfinite(places).all()
    (left, right), (low, high) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
    assert (left < places[:, 0]).all() and (places[:, 0] < right).all()
    assert (low < places[:, 1]).all() and (places[:, 1] < high).all()
    assert figure.axes[0].get_aspect() == 1.0
    assert save(figure, tmp_path / "a.png").stat().st_size > 1000


def test_a_blow_up_of_very_many_edges_is_drawn_block_by_block(tmp_path: Path) -> None:
    """300 nodes in 6 clusters: 44 850 edges and more, of which each block is one line or ring."""
    graph = random_graph(300, 900)
    partition = Partition(torch.arange(300) % 6)
    left, coarse, full = plot_coarsening(graph, partition).axes
    assert len(widths_of(left)) > 800 and len(widths_of(coarse)) == len(widths_of(full)) == 15
    [loops] = [each for each in full.collections if each.get_label() == "loops"]
    assert len(loops.get_offsets()) == 6
    assert [len(places) for places in nodes_of(full).values()] == [50] * 6
    assert "one for each block" in full.get_title() and "300 nodes, 44850 edges" in full.get_title()
    assert "one for each block" not in left.get_title() + coarse.get_title()
    assert save(full.get_figure(), tmp_path / "a.pdf").stat().st_size < 200_000


def test_very_many_edges_of_the_graph_itself_are_pixels() -> None:
    complete = Data(edge_index=torch.ones(110, 110).fill_diagonal_(0).nonzero().T, num_nodes=110)
    panel = plot_coarsening(complete, Partition(torch.arange(110) % 2)).axes[0]
    assert len(widths_of(panel)) == 5995
    assert any(each.get_rasterized() for each in panel.collections)


def test_directed_graphs_have_arrows() -> None:
    graph = Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 0]]), num_nodes=3)
    panel = plot_coarsening(graph, Partition([0, 1, 1])).axes[0]
    assert len(panel.patches) == 3 and not len(widths_of(panel))
    assert Lines.of(graph).is_directed and not Lines.of(PATH).is_directed
    many = torch.ones(30, 30).triu(1).nonzero().T
    panel = plot_coarsening(Data(edge_index=many, num_nodes=30), Partition([0] * 30)).axes[0]
    assert not panel.patches and len(widths_of(panel)) == 435
    assert "directions not shown" in panel.get_title()


def test_two_hundred_nodes_are_numbered_by_cluster() -> None:
    graph = random_graph(200, 400)
    figure = plot_coarsening(graph, coarsen(graph, 7, "agglomerative"))
    assert sum(len(places) for places in nodes_of(figure.axes[0]).values()) == 200
    assert sorted(text.get_text() for text in figure.axes[0].texts) == [str(cluster) for cluster in range(7)]
    assert "200 nodes" in figure.axes[0].get_title() and figure.axes[1].get_title().startswith("coarsened\n7 nodes")
    assert "one for each block" in figure.axes[2].get_title()


def test_matrices_are_sorted_by_cluster() -> None:
    partition = Partition([0, 1, 0, 1, 1])
    figure = plot_coarsening(PATH, partition, matrices=True)
    adjacency = torch.zeros(5, 5)
    adjacency[PATH.edge_index[0], PATH.edge_index[1]] = 1
    order = [0, 2, 1, 3, 4]
    images = [np.asarray(axes.images[0].get_array()) for axes in figure.axes[3:6]]
    assert np.array_equal(images[0], adjacency[order][:, order])
    assert images[1] == pytest.approx(np.array([[0, 0.5], [0.5, 2 / 9]]))
    assert images[2] == pytest.approx(np.kron(images[1], np.ones((3, 3)))[np.ix_([0, 1, 3, 4, 5], [0, 1, 3, 4, 5])])
    assert [tick.get_text() for tick in figure.axes[3].get_xticklabels()] == ["0", "1"]
    assert len(figure.axes[3].lines) == 2  # one boundary, across and up
    assert figure.axes[6].get_xlabel() == "weight"


def test_the_skeleton_stands_upright_and_mirrors() -> None:
    mirror = HUMAN36M_16.mirror()
    assert torch.equal(STANCE_16[mirror], STANCE_16 * torch.tensor([-1.0, 1.0]))
    names = HUMAN36M_16.names
    height = dict(zip(names, STANCE_16[:, 1].tolist(), strict=True))
    assert height["Head"] > height["Thorax"] > height["Spine"] > height["Hip"] > height["LKnee"] > height["LFoot"]
    pairs = Partition.from_clusters([[0], [1, 4], [2, 5], [3, 6], [7], [8], [9], [10, 13], [11, 14], [12, 15]])
    graph, coarse, _ = plot_coarsening(HUMAN36M_16.graph(), pairs, pos=STANCE_16).axes
    assert sum(len(places) for places in nodes_of(graph).values()) == 16
    centres = np.concatenate(list(nodes_of(coarse).values()))
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2) + 9 * np.eye(10)
    assert apart.min() > 0.1  # the means of left and right would stand on one line, the hip on the hips


def test_nodes_of_a_graph_without_positions_are_where_edges_put_them() -> None:
    where = layout(HUMAN36M_16.graph())
    assert torch.equal(where, layout(HUMAN36M_16.graph()))
    ends = HUMAN36M_16.bones
    lengths = (where[ends[:, 0]] - where[ends[:, 1]]).norm(dim=1)
    assert lengths.min() > 0.6 and lengths.max() < 1.4
    assert (torch.pdist(where) > 0.3).all()
    ring = Data(edge_index=torch.stack([torch.arange(12), (torch.arange(12) + 1) % 12]), num_nodes=12)
    where = layout(ring)
    from_middle = (where - where.mean(0)).norm(dim=1)
    assert from_middle.max() / from_middle.min() < 1.05  # a ring is round


def test_layouts_of_large_graphs_and_of_pieces() -> None:
    edge_index = grid(21, 21)[0]
    where = layout(Data(edge_index=edge_index, num_nodes=441))  # beyond what is fitted
    near = (where[edge_index[0]] - where[edge_index[1]]).norm(dim=1)
    assert near.mean() < torch.pdist(where).mean() / 5
    pieces = layout(Data(edge_index=torch.tensor([[0, 1, 3], [1, 2, 4]]), num_nodes=7))
    assert (torch.pdist(pieces) > 0.5).all()  # components, and nodes without edges, apart
    space = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([9.0, 0.01, 4.0])
    flat = layout(Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=9, pos=space))
    assert torch.allclose(torch.pdist(flat), torch.pdist(space).double(), atol=0.1)  # seen from where it is widest


def test_sensors_are_where_they_are_on_the_ground() -> None:
    pos = torch.tensor([[0.0, 0.0], [500.0, 100.0], [9000.0, 300.0], [9000.0, 5000.0], [100.0, 400.0]])
    graph = Data(edge_index=PATH.edge_index, num_nodes=5, pos=pos)
    [axes] = plot_sensor_map(graph, Partition([0, 0, 1, 1, 0]), "five").axes
    found = nodes_of(axes)
    assert found["cluster 0"] == pytest.approx(pos[[0, 1, 4]].numpy() / 1000, rel=1e-6)
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_aspect()) == ("km east", "km north", 1.0)
    assert axes.get_title() == "five\n5 nodes in 2 clusters"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0 (3)", "1 (2)"]
    assert len(widths_of(axes)) == 4
    assert not len(widths_of(plot_sensor_map(graph, Partition([0] * 5), show_edges=False).axes[0]))
    [axes] = plot_sensor_map(graph, Partition([0] * 5), pos=pos / 100).axes
    assert axes.get_xlabel() == "m east"


def test_a_degree_of_longitude_is_shorter() -> None:
    pos = torch.tensor([[-118.0, 60.0], [-119.0, 60.0], [-118.5, 60.5], [-118.0, 59.5], [-118.2, 60.0]])
    graph = Data(edge_index=PATH.edge_index, num_nodes=5, pos=pos)
    [axes] = plot_sensor_map(graph, Partition([0, 0, 0, 1, 1]), units="degrees").axes
    assert axes.get_aspect() == pytest.approx(2.0)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("longitude, degrees", "latitude, degrees")
    assert plot_coarsening(graph, Partition([0, 0, 0, 1, 1]), units="degrees").axes[0].get_aspect() == pytest.approx(2.0)
    graph.pos = pos.flip(1)
    with pytest.raises(GraphError, match="a latitude beyond 90; swap the columns"):
        plot_sensor_map(graph, Partition([0, 0, 0, 1, 1]), units="degrees")


def test_bad_input_is_refused() -> None:
    whole = Partition.whole(5)
    with pytest.raises(PartitionError, match="partition of the graph's 5 nodes, got one of 4"):
        plot_coarsening(PATH, Partition.whole(4))
    with pytest.raises(PartitionError, match="expected a Partition, got list"):
        plot_coarsening(PATH, [0, 0, 1, 1, 1])  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"expected pos of shape \(5, D\), a row per node, got \(4, 2\)"):
        plot_coarsening(PATH, whole, pos=torch.zeros(4, 2))
    with pytest.raises(GraphError, match=r"expected finite positions, got \[nan, nan\] for node 0"):
        plot_coarsening(PATH, whole, pos=torch.full((5, 2), torch.nan))
    with pytest.raises(GraphError, match=r"expected positions to draw a map, got a graph without data\.pos"):
        plot_sensor_map(PATH, whole)
    with pytest.raises(ConfigError, match="did you mean 'metres'"):
        plot_sensor_map(PATH, whole, units="meters")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"axes for 3 panel\(s\), got 1"):
        plot_coarsening(PATH, whole, axes=new_figure(1, 1).subplots())
    with pytest.raises(GraphError, match="expected finite edge weights"):
        plot_coarsening(Data(edge_index=PATH.edge_index, edge_weight=torch.full((8,), torch.nan), num_nodes=5), whole)


def test_it_draws_into_given_axes_and_is_written_with_text(tmp_path: Path) -> None:
    figure = new_figure(7, 4)
    panels = figure.subplots(2, 3)
    partition = grid_patches((1, 5), (1, 2))
    assert plot_coarsening(PATH, partition, axes=panels[0]) is figure
    written = save(figure, tmp_path / "a.svg").read_bytes()
    assert b">coarsened<" in written and b">1</text>" in written
    again = new_figure(7, 4)
    plot_coarsening(PATH, partition, axes=again.subplots(2, 3)[0])
    assert save(again, tmp_path / "b.svg").read_bytes() == written
