"""Groups given by generators: orders, membership, orbits, and what a bad input gets."""

import pytest
import torch

from gnet.errors import GroupError
from gnet.groups import Motion, PermutationGroup, SymmetricGroup
from gnet.groups.permutation import orbit_labels
from gnet.nn import EquivariantLinear, InvariantLinear, IsotypicLinear, OrbitConv
from gnet.orbits import PairOrbits, close_edges
from gnet.testing import enumerate_elements


def test_repr_counts_generators_and_elements():
    assert repr(PermutationGroup([[2, 1, 0]])) == "PermutationGroup(<1 generator on 3 nodes>, order 2)"
    assert repr(PermutationGroup([[1, 2, 0], [1, 0, 2]])) == "PermutationGroup(<2 generators on 3 nodes>, order 6)"
    assert repr(PermutationGroup([], degree=4)) == "PermutationGroup(<0 generators on 4 nodes>, order 1)"


@pytest.mark.parametrize(
    ("generators", "order"),
    [([[1, 2, 3, 4, 0]], 5), ([[1, 2, 3, 4, 0], [0, 4, 3, 2, 1]], 10), ([[1, 2, 0, 3, 4], [0, 1, 3, 4, 2]], 60)],
    ids=["C5", "D5", "A5"],
)
def test_order_by_schreier_sims(generators, order):
    assert PermutationGroup(generators).order() == order


def test_alternating_group_contains_even_permutations_only():
    group = PermutationGroup([[1, 2, 0, 3], [0, 2, 3, 1]])
    assert group.contains(torch.tensor([1, 0, 3, 2]))
    assert not group.contains(torch.tensor([1, 0, 2, 3]))


def test_generators_may_be_lists_or_tensors_of_any_integer_type():
    made = [PermutationGroup([g]) for g in ([1, 0, 2], torch.tensor([1, 0, 2]), torch.tensor([1, 0, 2], dtype=torch.int32))]
    assert made[0] == made[1] == made[2]
    assert made[2].generators[0].dtype == torch.int64


def test_orbits_are_numbered_by_first_appearance():
    assert PermutationGroup([[0, 3, 2, 1], [0, 1, 2, 3]]).node_orbits().labels.tolist() == [0, 1, 2, 1]
    assert orbit_labels(torch.tensor([[1, 0, 2, 3, 4], [0, 1, 2, 4, 3]])).tolist() == [0, 0, 1, 2, 2]
    assert orbit_labels(torch.empty(0, 3)).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("generators", "degree", "message"),
    [
        ([[0, 0, 1]], None, r"generator 0: expected a permutation of 0\.\.2, got \[0, 0, 1\]"),
        ([[1, 2, 3]], None, r"generator 0: expected a permutation of 0\.\.2, got \[1, 2, 3\]"),
        ([[1, 0, 2], [1, 0]], None, r"generator 1: expected a permutation of 0\.\.2, got \[1, 0\]"),
        ([[1, 0, 2]], 4, r"generator 0: expected a permutation of 0\.\.3, got \[1, 0, 2\]"),
        ([[1.0, 0.0]], None, r"generator 0: expected integers, got torch.float32"),
        ([list(range(1, 21))], None, r"generator 0: expected a permutation of 0\.\.19, got \[1, .*, 12\]\.\.\."),
        ([], None, r"expected at least one generator, got none; give degree=N for the trivial group"),
    ],
)
def test_generators_that_are_not_permutations_are_refused(generators, degree, message):
    with pytest.raises(GroupError, match=message):
        PermutationGroup(generators, degree)


def test_a_single_permutation_without_its_list_is_refused():
    with pytest.raises(GroupError, match="generator"):
        PermutationGroup([1, 0, 2])


@pytest.mark.parametrize(("generators", "degree"), [([], 0), ([], -1)])
def test_a_degree_below_one_is_refused(generators, degree):
    with pytest.raises(GroupError):
        PermutationGroup(generators, degree)


def test_an_empty_generator_is_refused():
    with pytest.raises(GroupError, match=r"generator 0: expected integers, got torch\.float32"):
        PermutationGroup([[]])


def test_generators_are_frozen_when_the_group_is_made():
    perm = torch.tensor([1, 0, 2])
    group = PermutationGroup([perm])
    perm[:] = 0
    assert group.order() == 2
    assert group.generators[0].tolist() == [1, 0, 2]


@pytest.mark.parametrize("group", [PermutationGroup([[1, 2, 3, 0], [3, 2, 1, 0]]), PermutationGroup([], degree=3)])
def test_elements_are_all_that_the_generators_give(group):
    elements = group.elements()
    assert len(torch.unique(elements, dim=0)) == len(elements) == group.order()
    assert {tuple(g.tolist()) for g in elements} == {tuple(g.tolist()) for g in enumerate_elements(group)}


def test_elements_of_a_large_group_are_refused():
    with pytest.raises(GroupError, match=r"at most 100 elements to list, S6 has 720; draw some with sample\(num\)"):
        SymmetricGroup(6).elements(limit=100)


def test_elements_of_a_group_that_lies_about_its_order_are_refused():
    class Liar(PermutationGroup):
        def order(self) -> int:
            return 7

    with pytest.raises(GroupError, match="the generators give 2 elements, the order says 7"):
        Liar([[1, 0]]).elements()


@pytest.mark.parametrize(
    ("sources", "targets", "message"),
    [
        ([0, 0, 1, 1], [1, 0, 1, 0], "expected distinct points, got 0 twice"),
        ([0, 1], [1, 2], "expected targets that are the sources in another order"),
        ([0.0, 1.0], [1.0, 0.0], r"expected sources of shape \(m,\) with integers, got \(2,\) of torch\.float32"),
        ([[0, 1]], [[1, 0]], r"expected sources of shape \(m,\) with integers, got \(1, 2\)"),
    ],
)
def test_moved_points_that_are_no_permutation_are_refused(sources, targets, message):
    with pytest.raises(GroupError, match=message):
        Motion(sources, targets)


def test_moved_points_do_not_change_with_the_caller_s_tensors():
    sources, targets = torch.tensor([0, 1], dtype=torch.int32), torch.tensor([1, 0])
    group = PermutationGroup([Motion(sources, targets)], degree=3)
    sources[0] = 2
    assert group.generators[0].tolist() == [1, 0, 2]
    with pytest.raises(GroupError, match="expected a degree >= 1, got 0"):
        PermutationGroup([Motion([], [])], degree=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda given: OrbitConv(given, 1, 1, torch.tensor([[0], [1]])),
        lambda given: EquivariantLinear(given, 1, 1),
        lambda given: InvariantLinear(given, 1, 1),
        lambda given: IsotypicLinear(given, 1, 1),
        lambda given: close_edges(given, torch.tensor([[0], [1]])),
        lambda given: PairOrbits.on(given, torch.tensor([[0], [1]])),
    ],
)
def test_a_list_in_place_of_a_group_is_refused(make):
    with pytest.raises(GroupError, match=r"expected a node group, got list; write PermutationGroup\(\[perm, \.\.\.\]\)"):
        make([[1, 0]])


def test_generators_show_what_they_are():
    assert repr(PermutationGroup([[1, 0, 2]]).generators) == "1 generator made when asked for [[1, 0, 2]]"
