"""Check B.1 of the theory: the number of pair orbits and of node orbits of every group of its table.

Source of every number: the table "Check B.1"; it was made by enumeration there, by union-find or closed form here, and once
more by Burnside's lemma (the mean of the squared number of fixed nodes) wherever the group is small enough to enumerate.
"""

import pytest
import torch

from gnet.groups import ClusterGroup, NodeGroup, PermutationGroup, SymmetricGroup, TrivialGroup
from gnet.nn import EquivariantLinear, InvariantLinear
from gnet.orbits import PairOrbits
from gnet.testing import enumerate_elements
from tests.golden.fixtures import (
    ARM_PAIRS,
    LEG_PAIRS,
    automorphisms,
    clusters_of_sizes,
    flipped_patches,
    flips,
    legs_and_arms,
    patches,
    path_adjacency,
    skeleton_adjacency,
    skeleton_group,
    swapping,
)


def sizes(*values: int) -> ClusterGroup:
    return ClusterGroup(clusters_of_sizes(*values))


def swapped(values: tuple[int, ...], sigma: list[int]) -> ClusterGroup:
    return ClusterGroup(clusters_of_sizes(*values), swaps=PermutationGroup([sigma]))


def free_pair_flips() -> PermutationGroup:
    return PermutationGroup([swapping(16, pair) for pair in LEG_PAIRS + ARM_PAIRS])


C4_RING = [[1, 2, 3, 0], [0, 3, 2, 1]]

SMALL: dict[str, tuple[NodeGroup, int, int | None]] = {
    "[3,2,1]": (sizes(3, 2, 1), 11, 3),
    "S6": (SymmetricGroup(6), 2, 1),
    "trivial on 6": (TrivialGroup(6), 36, 6),
    "[2,2,2]": (sizes(2, 2, 2), 12, 3),
    "[4,4]": (sizes(4, 4), 6, 2),
    "S2 wr S2": (swapped((2, 2), [1, 0]), 3, 1),
    "[2,2,1]": (sizes(2, 2, 1), 11, 3),
    "[2,2,1] with the pairs swapped": (swapped((2, 2, 1), [1, 0, 2]), 6, 2),
    "skeleton (S2)^2": (skeleton_group(), 118, 10),
    "skeleton, automorphisms by VF2": (PermutationGroup(automorphisms(skeleton_adjacency())), 118, 10),
    "skeleton, one global flip": (PermutationGroup([swapping(16, *LEG_PAIRS, *ARM_PAIRS)]), 136, 10),
    "skeleton, six free pair flips": (free_pair_flips(), 106, 10),
    "skeleton, six pairs as clusters": (ClusterGroup(free_pair_flips().node_orbits()), 106, 10),
    "4 x 4 grid, h-flip": (flips(4, "h"), 128, None),
    "4 x 4 grid, h+v flips": (flips(4, "h+v"), 64, None),
    "4 x 4 grid, D4": (flips(4, "dihedral"), 36, 3),
    "3 x 3 grid, h-flip": (flips(3, "h"), 45, None),
    "3 x 3 grid, h+v flips": (flips(3, "h+v"), 25, None),
    "3 x 3 grid, D4": (flips(3, "dihedral"), 15, 3),
    "path P3 with its flip": (PermutationGroup([[2, 1, 0]]), 5, 2),
    "path P3, automorphisms by VF2": (PermutationGroup(automorphisms(path_adjacency(3))), 5, 2),
    "C4 with D4": (PermutationGroup(C4_RING), 3, 1),
}
LARGE: dict[str, tuple[NodeGroup, int, int | None]] = {
    "skeleton (S6)^2": (ClusterGroup(legs_and_arms()), 38, 6),
    "skeleton S16": (SymmetricGroup(16), 2, 1),
    "skeleton trivial": (TrivialGroup(16), 256, 16),
    "28 x 28 grid, h-flip": (flips(28, "h"), 307_328, None),
    "28 x 28 grid, D4": (flips(28, "dihedral"), 77_028, None),
}
PATCHES = {1: 2, 2: 20, 4: 272, 7: 2450, 14: 38_612, 28: 614_656}
FLIPPED_PATCHES = {1: 2, 2: 10, 4: 136, 7: 1253, 14: 19_306, 28: 307_328}


@pytest.mark.parametrize("name", SMALL | LARGE)
def test_pair_orbits_and_node_orbits(name):
    group, pairs, nodes = (SMALL | LARGE)[name]
    assert PairOrbits.of(group).count == pairs
    if nodes is not None:
        assert group.node_orbits().num_clusters == nodes


@pytest.mark.parametrize("name", SMALL)
def test_burnside_agrees(name):
    group, pairs, nodes = SMALL[name]
    elements = enumerate_elements(group)
    fixed = (elements == torch.arange(group.degree)).sum(1)
    assert int((fixed**2).sum()) == pairs * len(elements)
    assert int(fixed.sum()) == group.node_orbits().num_clusters * len(elements)
    assert nodes in (None, group.node_orbits().num_clusters)


def test_burnside_sums_that_the_table_states():
    """132 / 12 for sizes [3, 2, 1]; (16^2 + 10^2 + 10^2 + 4^2) / 4 for the skeleton."""

    def fixed(group: NodeGroup) -> list[int]:
        return sorted((enumerate_elements(group) == torch.arange(group.degree)).sum(1).tolist())

    assert sum(f**2 for f in fixed(sizes(3, 2, 1))) == 132
    assert fixed(skeleton_group()) == [4, 10, 10, 16]


@pytest.mark.parametrize("name", [name for name in SMALL if isinstance(SMALL[name][0], ClusterGroup)])
def test_union_find_on_generators_agrees_with_the_closed_form(name):
    group = SMALL[name][0]
    generators = list(group.generators)
    explicit = PermutationGroup(generators, degree=group.degree)
    assert PairOrbits.of(explicit).count == PairOrbits.of(group).count
    assert explicit.node_orbits() == group.node_orbits()


@pytest.mark.parametrize("count", PATCHES)
def test_patches_of_an_image(count):
    group = ClusterGroup(patches(28, count))
    assert PairOrbits.of(group).count == PATCHES[count]
    assert group.node_orbits().num_clusters == count * count


@pytest.mark.parametrize("count", FLIPPED_PATCHES)
def test_patches_of_an_image_with_the_flip_of_the_patch_grid(count):
    assert PairOrbits.of(flipped_patches(28, count)).count == FLIPPED_PATCHES[count]


@pytest.mark.parametrize("name", SMALL)
def test_layers_have_as_many_weights_per_channel_pair(name):
    group, pairs, _ = SMALL[name]
    nodes = group.node_orbits().num_clusters
    layer = EquivariantLinear(group, 2, 3)
    assert layer.num_weights == pairs * 6
    assert layer.num_parameters == pairs * 6 + nodes * 3
    assert InvariantLinear(group, 2, 3).num_weights == nodes * 6


def test_edge_orbits_of_the_skeleton():
    """Check C and section I.6: 46 edges with self-loops fall into 28 orbits under the automorphisms."""
    support = torch.nonzero(skeleton_adjacency() + torch.eye(16)).T
    assert support.shape == (2, 46)
    assert PairOrbits.on(skeleton_group(), support).count == 28
    assert int(PairOrbits.of(skeleton_group()).edge_labels(support).max()) + 1 == 28


def test_isotypic_multiplicities_square_to_the_count():
    """Section I.5: 10, 3, 3 for the skeleton; 3, 1, 1, 3, 4 for D4 on the 4 x 4 grid."""
    assert PairOrbits.of(skeleton_group()).count == sum(m * m for m in (10, 3, 3))
    assert PairOrbits.of(flips(4, "dihedral")).count == sum(m * m for m in (3, 1, 1, 3, 4))
