"""Rules that turn a graph into a group, and what they refuse."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from gnet.errors import ConfigError, GroupError, PartitionError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, SymmetricGroup, TrivialGroup, automorphism_group, grid_group
from gnet.training.inpainting import grid_graph
from gnet.training.symmetry import (
    Automorphism,
    Coarsened,
    GivenPartition,
    Grid,
    Symmetric,
    Symmetry,
    Trivial,
    as_symmetry,
    read_partition,
)

GRAPH, SHAPE = grid_graph(4, 6), (4, 6)


def test_two_ends_of_every_method_are_the_symmetric_and_the_trivial_group():
    for method in ("patches", "spectral", "kmeans"):
        assert Coarsened(1, method)(GRAPH, SHAPE) == SymmetricGroup(24)
        assert Coarsened(24, method)(GRAPH, SHAPE) == TrivialGroup(24)
    assert Symmetric()(GRAPH) == SymmetricGroup(24)
    assert Trivial()(GRAPH) == TrivialGroup(24)


def test_patches_are_squares_of_the_grid_row_by_row():
    group = Coarsened(4, "patches")(GRAPH, SHAPE)
    assert isinstance(group, ClusterGroup)
    assert group.partition.labels.reshape(4, 6).tolist() == [[0, 0, 0, 1, 1, 1]] * 2 + [[2, 2, 2, 3, 3, 3]] * 2


def test_number_of_clusters_is_the_one_asked_for():
    group = Coarsened(5, "spectral", seed=3)(GRAPH)
    assert group.node_orbits().num_clusters == 5


def test_with_clusters_keeps_the_method():
    assert Coarsened(4, "patches", seed=2).with_clusters(9) == Coarsened(9, "patches", seed=2)
    assert Trivial().with_clusters(9) == Coarsened(9)
    assert GivenPartition("labels.txt").with_clusters(1) == Symmetric()
    with pytest.raises(ConfigError, match=r"clusters come from labels\.txt, so 9 of them"):
        GivenPartition("labels.txt").with_clusters(9)


def test_swaps_of_patches_and_of_coarsened_graphs():
    flipped = Coarsened(4, "patches", swaps="horizontal_flip")(GRAPH, SHAPE)
    assert flipped == ClusterGroup(Coarsened(4, "patches")(GRAPH, SHAPE).partition, swaps=grid_group((2, 2), "horizontal_flip"))
    free = Coarsened(4, "patches", swaps="automorphisms")(GRAPH, SHAPE)
    assert free.swaps.order() == 4  # patches of 2 x 3 pixels: the two flips of the picture, and no quarter turn
    pixels = Coarsened(16, "patches", swaps="dihedral")(grid_graph(4, 4), (4, 4))
    assert pixels == grid_group((4, 4), "dihedral")
    assert Coarsened(1, "patches", swaps="dihedral")(GRAPH, SHAPE) == SymmetricGroup(24)


def test_swaps_stay_when_the_number_of_clusters_changes():
    assert Coarsened(4, "patches", swaps="flips").with_clusters(9) == Coarsened(9, "patches", swaps="flips")


def test_automorphisms_and_grids():
    assert Automorphism()(GRAPH) == automorphism_group(GRAPH) == Grid("flips")(GRAPH, SHAPE)
    assert Grid(["translations", "flips"])(GRAPH, SHAPE).order() == 24 * 4
    with pytest.raises(ConfigError, match=r"need data on an image grid, got a graph of 24 nodes and grid shape None"):
        Grid("flips")(GRAPH)
    with pytest.raises(GroupError, match="quarter turns need a square grid"):
        Grid("dihedral")(GRAPH, SHAPE)


def test_neighbours_take_the_place_of_edges():
    """A lonely node is a cluster of its own by the edges, and part of its surroundings by the positions."""
    graph = Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]), pos=torch.arange(5.0)[:, None], num_nodes=5)
    assert Coarsened(2)(graph).partition.labels.tolist() == [0, 0, 0, 0, 1]
    assert sorted(Coarsened(2, neighbours=2)(graph).partition.sizes.tolist()) == [2, 3]
    graph.pos = None
    with pytest.raises(ConfigError, match="neighbours need positions, and the graph has none"):
        Coarsened(2, neighbours=2)(graph)
    with pytest.raises(ConfigError, match="method='patches' cuts a grid"):
        Coarsened(4, "patches", neighbours=2)


def test_grid_swaps_without_patches_are_refused_where_the_rule_is_made():
    with pytest.raises(ConfigError, match=r"turns a grid of patches, and method='spectral' makes none; use method='patches'"):
        Coarsened(4, swaps="horizontal_flip")


@pytest.mark.parametrize(
    "rule",
    [
        Trivial(),
        Symmetric(),
        Coarsened(9, "patches", 1, "dihedral"),
        GivenPartition("a.txt"),
        Automorphism(1e-3),
        Grid(["translations", "flips"]),
    ],
)
def test_a_rule_survives_its_config(rule: Symmetry):
    config = rule.as_config()
    assert as_symmetry(config) == rule
    name = config["class_path"].rpartition(".")[2]
    assert as_symmetry(dict(config, class_path=f"gnet.training.{name}")) == rule
    assert as_symmetry(rule) is rule


def test_unknown_rules_are_refused():
    with pytest.raises(ConfigError, match=r"expected a symmetry among .*Coarsened.*, got 'os\.system'"):
        as_symmetry({"class_path": "os.system", "init_args": {}})


@pytest.mark.parametrize(
    ("rule", "shape", "error", "message"),
    [
        (Coarsened(5, "patches"), SHAPE, ConfigError, "square number of clusters, got 5; the nearest are 4 and 9"),
        (Coarsened(4, "patches"), None, ConfigError, "needs data on an image grid"),
        (Coarsened(25), SHAPE, PartitionError, "at most one cluster per node, got num_clusters=25 for 24 nodes"),
    ],
)
def test_impossible_rules_say_what_is_possible(rule, shape, error, message):
    with pytest.raises(error, match=message):
        rule(GRAPH, shape)


def test_less_than_one_cluster_is_refused_where_the_rule_is_made():
    with pytest.raises(ConfigError, match="expected num_clusters >= 1, got 0"):
        Coarsened(0)


@pytest.mark.parametrize("text", ["0\n0\n1\n", "label\n5\n5\n2\n", "node,label\n2,1\n0,0\n1,0\n", "0,7\n1,7\n\n2,1\n"])
def test_partition_files_of_both_formats(tmp_path: Path, text: str):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    assert read_partition(str(path)) == Partition([0, 0, 1])


def test_partition_arrays(tmp_path: Path):
    np.save(tmp_path / "labels.npy", np.array([3, 3, 1]))
    assert read_partition(str(tmp_path / "labels.npy")) == Partition([0, 0, 1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\none\n", "line 2: expected an integer label, got 'one'"),
        ("0\n1,1\n", "line 2: expected 'label' or 'node,label' on every line"),
        ("0,1\n0,1\n", "expected each node 0..1 once"),
        ("", "got an empty file"),
    ],
)
def test_partition_files_that_do_not_parse(tmp_path: Path, text: str, message: str):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(PartitionError, match=message):
        read_partition(str(path))


def test_partition_file_of_another_graph(tmp_path: Path):
    path = tmp_path / "labels.txt"
    path.write_text("0\n1\n")
    with pytest.raises(PartitionError, match="expected labels for 24 nodes, got 2"):
        GivenPartition(str(path))(GRAPH)
    with pytest.raises(PartitionError, match="no such partition file"):
        GivenPartition(str(tmp_path / "none.txt"))(GRAPH)
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with pytest.raises(PartitionError, match=r"expected a \.npy array of N integer labels"):
        GivenPartition(str(tmp_path / "bad.npy"))(GRAPH)


def test_given_partition_keeps_its_clusters(tmp_path: Path):
    labels = torch.arange(24) % 5
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(map(str, labels.tolist())))
    assert GivenPartition(str(path))(GRAPH) == ClusterGroup(Partition(labels))
