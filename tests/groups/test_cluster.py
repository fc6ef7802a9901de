"""Cluster groups: names, orders, lifts, swaps, equality, large N, what a bad input gets."""

import copy
import pickle
from types import SimpleNamespace

import pytest
import torch
from torch_geometric.data import Data

from gnet.errors import GroupError, PartitionError, ShapeError
from gnet.graphs.partition import Partition
from gnet.groups import (
    ClusterGroup,
    NodeGroup,
    PermutationGroup,
    SymmetricGroup,
    TrivialGroup,
    automorphism_group,
    coarse_automorphisms,
)
from gnet.groups.base import LazySequence
from gnet.testing import enumerate_elements
from tests.laws.cases import CLUSTER_GROUPS, GROUPS, TIED_GROUPS

SWAP = PermutationGroup([[1, 0]])
PAIRS = Partition([0, 1, 1, 0])


@pytest.mark.parametrize(
    ("group", "text"),
    [
        (CLUSTER_GROUPS["untied"], "ClusterGroup(S2 x S3 x S5, order 2 * 6 * 120)"),
        (ClusterGroup(PAIRS, swaps=SWAP), "ClusterGroup((S2 x S2) x| H, order 2^2 * 2)"),
        (SymmetricGroup(5), "ClusterGroup(S5, order 120)"),
        (TrivialGroup(2), "ClusterGroup(S1 x S1, order 1)"),
        (TrivialGroup(784), "ClusterGroup(S1^784, order 1)"),
        (SymmetricGroup(21), "ClusterGroup(S21, order 21!)"),
        (ClusterGroup(Partition([0] * 784 + [1] * 3)), "ClusterGroup(S784 x S3, order 784! * 6)"),
    ],
)
def test_repr_prints_the_product_and_the_factored_order(group, text):
    assert repr(group) == text


def test_many_clusters_print_as_powers():
    group = ClusterGroup(Partition(torch.arange(12) // 2, num_clusters=6))
    assert group.name == "S2 x S2 x S2 x S2 x S2 x S2"
    assert ClusterGroup(Partition([*range(7), 0])).name == "S2 x S1^6"


def test_order_text_evaluates_to_the_order():
    for group in GROUPS.values():
        assert eval(group.order_text().replace("^", "**")) == group.order()


def test_symmetric_and_trivial_groups_are_the_ends_of_the_scale():
    assert SymmetricGroup(4).partition == Partition.whole(4)
    assert TrivialGroup(4).partition == Partition.singletons(4)
    assert list(TrivialGroup(4).generators) == []
    assert SymmetricGroup(1) == TrivialGroup(1)


def test_generators_are_made_when_asked_for_and_index_like_a_list():
    group = CLUSTER_GROUPS["untied"]
    assert isinstance(group.generators, LazySequence)
    made = list(group.generators)
    assert len(made) == len(group.generators) == 5  # S2: a swap; S3 and S5: a swap and a cycle
    assert torch.equal(group.generators[-1], made[-1])
    assert [g.tolist() for g in group.generators[1:3]] == [g.tolist() for g in made[1:3]]
    with pytest.raises(IndexError, match=r"expected an index in 0\.\.4, got 5"):
        group.generators[5]


def test_lift_sends_the_rth_node_to_the_rth_node():
    group = ClusterGroup(Partition([0, 1, 1, 0, 2]))
    assert group.lift(torch.tensor([1, 0, 2])).tolist() == [1, 0, 3, 2, 4]
    both = group.lift(torch.tensor([[1, 0, 2], [0, 1, 2]]))
    assert both.tolist() == [[1, 0, 3, 2, 4], [0, 1, 2, 3, 4]]


def test_lift_is_a_homomorphism():
    group = TIED_GROUPS["tied singletons"]
    elements = enumerate_elements(group.swaps)
    for g in elements:
        for h in elements:
            assert torch.equal(group.lift(g[h]), group.lift(g)[group.lift(h)])


def test_swaps_join_node_orbits():
    assert ClusterGroup(PAIRS).node_orbits().num_clusters == 2
    assert ClusterGroup(PAIRS, swaps=SWAP).node_orbits() == Partition.whole(4)
    assert TIED_GROUPS["tied"].node_orbits().sizes.sort().values.tolist() == [1, 4, 6]


def test_swaps_without_generators_are_no_swaps():
    group = ClusterGroup(PAIRS, swaps=PermutationGroup([], degree=2))
    assert group == ClusterGroup(PAIRS)
    assert repr(group) == repr(ClusterGroup(PAIRS))


def test_contains_swapped_clusters_and_no_halves():
    group = ClusterGroup(PAIRS, swaps=SWAP)
    assert group.contains(torch.tensor([1, 0, 3, 2]))
    assert not ClusterGroup(PAIRS).contains(torch.tensor([1, 0, 3, 2]))
    assert not group.contains(torch.tensor([1, 0, 2, 3]))  # one node of each cluster stays


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SymmetricGroup(4), ClusterGroup(Partition([7, 7, 7, 7]))),
        (SymmetricGroup(4), PermutationGroup([[1, 0, 2, 3], [1, 2, 3, 0]])),
        (TrivialGroup(3), PermutationGroup([], degree=3)),
        (ClusterGroup(Partition([0, 1, 0])), ClusterGroup(Partition([1, 0, 1], num_clusters=2))),
        (ClusterGroup(Partition([0, 1, 0])), PermutationGroup([[2, 1, 0]])),
        (ClusterGroup(PAIRS, swaps=SWAP), PermutationGroup([[3, 1, 2, 0], [1, 0, 3, 2]])),
        (ClusterGroup(Partition([0, 1]), swaps=SWAP), SymmetricGroup(2)),
        (ClusterGroup(PAIRS, swaps=SWAP), ClusterGroup(Partition([1, 0, 0, 1], 2), swaps=PermutationGroup([[1, 0], [0, 1]]))),
    ],
)
def test_equal_groups_are_equal_however_they_were_made(one, other):
    assert one == other
    assert other == one
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SymmetricGroup(4), SymmetricGroup(5)),
        (SymmetricGroup(3), TrivialGroup(3)),
        (ClusterGroup(Partition([0, 0, 1])), ClusterGroup(Partition([0, 1, 1]))),
        (ClusterGroup(Partition([0, 0, 1])), PermutationGroup([[0, 2, 1]])),
        (ClusterGroup(PAIRS), ClusterGroup(PAIRS, swaps=SWAP)),
        (PermutationGroup([[1, 2, 0]]), PermutationGroup([[1, 0, 2]])),
    ],
)
def test_different_groups_are_different(one, other):
    assert one != other
    assert other != one


def test_a_group_is_no_number():
    assert SymmetricGroup(2) != 2


def test_a_hundred_thousand_nodes_are_no_burden(rng):
    group = ClusterGroup(Partition(torch.arange(100_000) % 7))
    generators = group.generators
    assert len(generators) == 14
    assert int((generators[0] != torch.arange(100_000)).sum()) == 2
    assert group.sample(2, rng).shape == (2, 100_000)
    assert group.contains(group.sample(1, rng)[0])
    assert repr(group) == "ClusterGroup(S14286^5 x S14285^2, order 14286!^5 * 14285!^2)"


def unused(name: str) -> NodeGroup:
    """The group of that name made anew, before anything was computed from it."""
    group = GROUPS[name]
    if isinstance(group, ClusterGroup):
        swaps = None if group.swaps is None else PermutationGroup(group.swaps.generators)
        return ClusterGroup(Partition(group.partition.labels, group.partition.num_clusters), swaps)
    return PermutationGroup(group.generators, group.degree)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("name", GROUPS)
def test_copies_are_equal_and_work(name, clone, rng):
    fresh = unused(name)
    group = clone(fresh)
    assert group == fresh
    assert all(fresh.contains(g) for g in group.sample(3, rng))
    assert group.node_orbits() == fresh.node_orbits()


def used(name: str) -> NodeGroup:
    """The same after its generators, order and samples were asked for."""
    group = unused(name)
    assert len(list(group.generators)) == len(group.generators)
    assert all(group.contains(g) for g in group.sample(2, torch.Generator().manual_seed(0)))
    return group


@pytest.mark.parametrize("name", [name for name in GROUPS if name in CLUSTER_GROUPS])
def test_used_groups_can_be_copied(name):
    assert copy.deepcopy(used(name)) == used(name)


@pytest.mark.parametrize("name", [name for name in GROUPS if name not in CLUSTER_GROUPS])
def test_used_groups_with_generators_can_be_copied(name):
    assert copy.deepcopy(used(name)) == used(name)


@pytest.mark.parametrize("name", GROUPS)
def test_used_groups_can_be_pickled(name):
    assert pickle.loads(pickle.dumps(used(name))) == used(name)


@pytest.mark.parametrize(
    ("sizes", "sigma", "message"),
    [
        ([0, 0, 1], [1, 0], r"swaps must keep cluster sizes: cluster 0 with 2 nodes is mapped to cluster 1 with 1"),
        (
            [0, 0, 1, 1, 1, 2],
            [0, 2, 1],
            r"cluster 1 with 3 nodes is mapped to cluster 2 with 1; swap clusters of equal size only",
        ),
        ([0, 1, 2], [1, 0], r"expected swaps of 3 clusters, got a group on 2"),
    ],
)
def test_swaps_that_do_not_fit_are_refused(sizes, sigma, message):
    with pytest.raises(GroupError, match=message):
        ClusterGroup(Partition(sizes), swaps=PermutationGroup([sigma]))


def test_signals_on_other_nodes_are_refused():
    group = SymmetricGroup(3)
    with pytest.raises(ShapeError, match=r"expected x of shape \(\*, 3, C\), got \(3, 4, 2\)"):
        group.act(torch.arange(3), torch.zeros(3, 4, 2))
    with pytest.raises(ShapeError, match=r"expected x of shape \(\*, 3, C\), got \(3,\)"):
        group.act(torch.arange(3), torch.zeros(3))


@pytest.mark.parametrize(
    ("perm", "message"),
    [
        ([0, 0, 1], r"element: expected a permutation of 0\.\.2, got \[0, 0, 1\]"),
        ([0, 1], r"element: expected a permutation of 0\.\.2, got \[0, 1\]"),
        ([0.0, 1.0, 2.0], r"element: expected integers, got torch.float32"),
        ([True, False, True], r"element: expected integers, got torch.bool"),
    ],
)
def test_membership_of_what_is_no_permutation_is_refused(perm, message):
    with pytest.raises(GroupError, match=message):
        ClusterGroup(Partition([0, 0, 1])).contains(torch.tensor(perm))


def test_an_empty_group_is_refused():
    with pytest.raises(PartitionError, match=r"expected num_nodes as an integer >= 1, got 0"):
        SymmetricGroup(0)


def test_a_group_does_not_change_with_the_caller_s_labels():
    labels = torch.tensor([0, 1, 0, 1])
    group = ClusterGroup(Partition(labels, num_clusters=2))
    labels[:] = torch.tensor([0, 0, 1, 1])
    assert group.contains(torch.tensor([2, 1, 0, 3]))


@pytest.mark.parametrize("make", [SymmetricGroup, TrivialGroup])
def test_a_negative_number_of_nodes_is_refused(make):
    with pytest.raises(PartitionError):
        make(-1)


@pytest.mark.parametrize("perm", [[1, 0], [0, 0, 1], [0.5, 0.1, 0.2]])
def test_acting_with_what_is_no_permutation_is_refused(perm):
    with pytest.raises(GroupError, match="expected"):
        SymmetricGroup(3).act(torch.tensor(perm), torch.zeros(3, 1))


@pytest.mark.parametrize(
    "partition", [[0, 0, 1], torch.tensor([0, 0, 1]), SimpleNamespace(num_clusters=2)], ids=["list", "tensor", "other"]
)
def test_labels_in_place_of_a_partition_are_refused(partition):
    with pytest.raises(PartitionError, match="Partition"):
        ClusterGroup(partition)


def path(*weights: float) -> Data:
    """A weighted path, both directions."""
    nodes = torch.arange(len(weights))
    edges = torch.stack([torch.cat([nodes, nodes + 1]), torch.cat([nodes + 1, nodes])])
    return Data(edge_index=edges, edge_weight=torch.tensor(weights).repeat(2), num_nodes=len(weights) + 1)


def test_swaps_that_do_not_keep_the_weights_of_a_given_graph_are_refused():
    halves = Partition([0, 0, 1, 1])
    assert ClusterGroup(halves, swaps=SWAP, data=path(2.0, 1.0, 2.0)).order() == 8
    uneven = path(2.0, 1.0, 3.0)
    with pytest.raises(GroupError, match=r"clusters \(0, 0\) with mean weight 1 are mapped to \(1, 1\) with 1\.5; take"):
        ClusterGroup(halves, swaps=SWAP, data=uneven)
    assert ClusterGroup(halves, swaps=SWAP, data=uneven, tol=0.5).order() == 8
    assert ClusterGroup(halves, swaps=coarse_automorphisms(uneven, halves), data=uneven).order() == 4
    assert ClusterGroup(halves, swaps=SWAP).order() == 8  # an approximate symmetry is the user's to choose


def test_one_tolerance_for_swaps_and_their_check():
    """A chain of loops closer than tol each is one colour for both; a block of almost no weight is none for both."""
    loops = Data(
        edge_index=torch.arange(3).expand(2, -1), edge_weight=torch.tensor([1.0, 1 + 0.9e-6, 1 + 1.8e-6]).double(), num_nodes=3
    )
    single = Partition([0, 1, 2])
    swaps = coarse_automorphisms(loops, single)
    assert ClusterGroup(single, swaps=swaps, data=loops).order() == 6
    faint = Data(edge_index=torch.tensor([[0], [0]]), edge_weight=torch.tensor([1e-9]).double(), num_nodes=2)
    assert coarse_automorphisms(faint, Partition([0, 1])).order() == 2


def test_huge_orders_of_swaps_are_printed():
    star = automorphism_group(Data(edge_index=torch.stack([torch.zeros(1999).long(), torch.arange(1, 2000)]), num_nodes=2000))
    assert repr(ClusterGroup(Partition.singletons(2000), swaps=star)).endswith("order 1999!)")


def test_what_is_no_group_cannot_extend_one():
    with pytest.raises(GroupError, match=r"expected a group on the nodes, got list; write PermutationGroup\(\[perm\]\)"):
        ClusterGroup(PAIRS).extended_by([[1, 0, 2, 3]])
