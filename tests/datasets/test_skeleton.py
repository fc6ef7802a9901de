"""Skeletons: the one of the paper with its two flips, and what is none."""

import pytest
import torch

from datasets.skeleton import HUMAN36M_16, Skeleton
from gnet.errors import DataError
from gnet.groups.automorphism import automorphism_group


def test_the_skeleton_has_fifteen_bones_and_the_two_flips_of_the_paper():
    skeleton = HUMAN36M_16
    graph = skeleton.graph()
    assert graph.edge_index.shape == (2, 30)
    assert graph.edge_weight is None
    assert len(skeleton.bones) == 15
    group = automorphism_group(graph)
    assert group.order() == 4  # S_2 x S_2: flips of the legs and of the arms
    legs, arms = torch.arange(16), torch.arange(16)
    legs[[1, 2, 3, 4, 5, 6]] = torch.tensor([4, 5, 6, 1, 2, 3])
    arms[[10, 11, 12, 13, 14, 15]] = torch.tensor([13, 14, 15, 10, 11, 12])
    assert group.contains(legs)
    assert group.contains(arms)
    assert torch.equal(skeleton.mirror(), legs[arms])
    assert not group.contains(torch.arange(16).index_copy(0, torch.tensor([1, 4]), torch.tensor([4, 1])))


def test_names_tell_left_from_right():
    names = HUMAN36M_16.names
    assert [names[joint] for joint in HUMAN36M_16.left] == ["LHip", "LKnee", "LFoot", "LShoulder", "LElbow", "LWrist"]
    assert {names[one][1:] for one in HUMAN36M_16.left} == {names[other][1:] for other in HUMAN36M_16.right}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parents": (-1, 2, 1, 0)}, "got a cycle of parents: a -> b -> a"),
        ({"parents": (-1, -1, 0, 0)}, r"one root, joint 0 with parent -1, got the roots \[0, 1\]"),
        ({"parents": (1, -1, 0, 0)}, r"got the roots \[1\]; renumber"),
        ({"parents": (-1, 4, 0, 0)}, r"joints \[1\] have parents that do not exist; expected 0..3"),
        ({"parents": (-1, 0, 0)}, "expected a name for each of 3 joints, got 4 names"),
        (
            {"left": (), "right": ()},
            r"expected at least one pair .*, got left \[\] and right \[\]; list .* partners in the same order$",
        ),
        (
            {"names": ("hip", "left knee", "right knee", "c"), "left": (), "right": ()},
            "partners in the same order, for example left knee and right knee$",
        ),
        ({"parents": (-1, 0, 0, 1)}, "c is in no pair, but its parent a is; list it and its partner in left and right"),
        ({"left": (1, 3)}, r"each joint in one pair, got left \[1, 3\], right \[2\]"),
        ({"left": (2,)}, r"each joint in one pair"),
        ({"right": (7,)}, r"outside 0..3: \[1, 7\]"),
        ({"right": (3,)}, "a and c are a pair, but their parents are none"),
    ],
)
def test_what_is_no_skeleton(changes, message):
    good = {"names": ("hip", "a", "b", "c"), "parents": (-1, 0, 0, 1), "left": (1,), "right": (2,)}
    if "right" not in changes or changes["right"] != (3,):
        good["parents"] = (-1, 0, 0, 0)
    with pytest.raises(DataError, match=message):
        Skeleton(**{**good, **changes})


def test_a_record_without_pairs_is_explained():
    record = {"names": ["hip", "LHip", "RHip"], "parents": [-1, 0, 0]}
    with pytest.raises(
        DataError, match=r"skeleton.json: expected lists .*, got none for \['left', 'right'\]; left and right list"
    ):
        Skeleton.from_record(record, "skeleton.json")
    with pytest.raises(DataError, match=r"skeleton.json: expected at least one pair .*, for example LHip and RHip$"):
        Skeleton.from_record({**record, "left": [], "right": []}, "skeleton.json")
