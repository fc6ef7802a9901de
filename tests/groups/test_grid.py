"""Symmetries of grids: orders, the theory's counts of pair orbits, products with patches, and what a bad input gets."""

import networkx as nx
import pytest
import torch

from gnet.errors import ConfigError, GroupError
from gnet.graphs import Partition, grid_patches
from gnet.groups import ClusterGroup, PermutationGroup, TrivialGroup, automorphism_group, grid_group
from gnet.orbits import PairOrbits
from gnet.testing import check_group
from tests.groups.graphs import as_data


@pytest.mark.parametrize(
    ("shape", "symmetry", "order"),
    [
        ((4, 4), "horizontal_flip", 2),
        ((3, 5), "vertical_flip", 2),
        ((3, 5), "flips", 4),
        ((3, 5), "half_turn", 2),
        ((5, 5), "rotations", 4),
        ((5, 5), "dihedral", 8),
        ((3, 4), "translations", 12),
        ((4, 4), ["translations", "dihedral"], 128),
        ((1, 1), "dihedral", 1),
    ],
)
def test_orders(shape, symmetry, order):
    group = grid_group(shape, symmetry)
    assert group.order() == order
    check_group(group)


def test_pictures_are_moved_as_the_names_say():
    picture = torch.arange(6.0).reshape(2, 3)
    moved = {name: grid_group((2, 3), name) for name in ("horizontal_flip", "vertical_flip", "half_turn")}
    act = {name: group.act(group.generators[0], picture.reshape(6, 1)).reshape(2, 3) for name, group in moved.items()}
    assert torch.equal(act["horizontal_flip"], picture.flip(1))
    assert torch.equal(act["vertical_flip"], picture.flip(0))
    assert torch.equal(act["half_turn"], picture.flip(0, 1))
    down, right = grid_group((2, 3), "translations").generators
    square = torch.arange(9.0).reshape(3, 3)
    turn = grid_group((3, 3), "rotations")
    assert torch.equal(turn.act(turn.generators[0], square.reshape(9, 1)).reshape(3, 3), torch.rot90(square))
    translations = grid_group((2, 3), "translations")
    assert torch.equal(translations.act(down, picture.reshape(6, 1)).reshape(2, 3), picture.roll(1, 0))
    assert torch.equal(translations.act(right, picture.reshape(6, 1)).reshape(2, 3), picture.roll(1, 1))


@pytest.mark.parametrize(
    ("side", "symmetry", "count"),
    [
        (4, "horizontal_flip", 128),
        (4, "flips", 64),
        (4, "dihedral", 36),
        (3, "horizontal_flip", 45),
        (3, "flips", 25),
        (3, "dihedral", 15),
        (28, "horizontal_flip", 307_328),
        (28, "dihedral", 77_028),
    ],
)
def test_pair_orbits_of_theory_b1(side, symmetry, count):
    assert PairOrbits.of(grid_group((side, side), symmetry)).count == count


@pytest.mark.parametrize(("m", "count"), [(1, 2), (2, 10), (4, 136), (7, 1253), (14, 19_306), (28, 307_328)])
def test_patches_with_a_flip_of_theory_b1(m, count):
    group = ClusterGroup(grid_patches((28, 28), (m, m)), swaps=grid_group((m, m), "horizontal_flip"))
    assert PairOrbits.of(group).count == count


def test_a_flip_of_pixels_extends_the_patches_as_a_flip_of_patches_does():
    """The two lifts differ by permutations inside the patches, so they generate one group."""
    patches = grid_patches((6, 6), (3, 3))
    pixels = ClusterGroup(patches).extended_by(grid_group((6, 6), "horizontal_flip"))
    assert pixels == ClusterGroup(patches, swaps=grid_group((3, 3), "horizontal_flip"))


def test_extending_by_the_automorphisms_of_a_graph():
    data = as_data(nx.grid_2d_graph(4, 4))
    group = ClusterGroup(grid_patches((4, 4), (2, 2))).extended_by(automorphism_group(data))
    assert group.order() == 2_654_208
    assert group.extended_by(grid_group((4, 4), "flips")) == group
    single = TrivialGroup(16).extended_by(grid_group((4, 4), "dihedral"))
    assert single == grid_group((4, 4), "dihedral")


def test_extensions_that_tear_clusters_apart_are_refused():
    group = ClusterGroup(Partition([0, 0, 1, 1]))
    with pytest.raises(GroupError, match="sends node 1 of cluster 0 to cluster 1, and others of it to cluster 0"):
        group.extended_by(PermutationGroup([[0, 2, 1, 3]]))
    with pytest.raises(GroupError, match="expected a group on 4 nodes, got one on 3"):
        group.extended_by(PermutationGroup([[0, 2, 1]]))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((3, 4), "rotations"), GroupError, "quarter turns need a square grid, got 3 x 4; take 'flips' or 'half_turn'"),
        (((0, 4), "flips"), GroupError, r"expected a grid \(H, W\) with sides >= 1, got \(0, 4\)"),
        (((4, 4), "mirror"), ConfigError, "expected symmetries among translations, .* got 'mirror'"),
    ],
)
def test_impossible_grids_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        grid_group(*arguments)


def test_translations_need_a_torus():
    assert grid_group((3, 3), "translations", periodic=True).order() == 9
    with pytest.raises(ConfigError, match="translations wrap around"):
        grid_group((3, 3), "translations", periodic=False)


def test_a_shape_that_is_none_is_refused():
    with pytest.raises(GroupError, match=r"expected a grid shape \(H, W\), got 8"):
        grid_group(8, "dihedral")
