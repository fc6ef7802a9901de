"""The kinematic tree that stands in for motion capture: rigid bones, fair seeds, sizes."""

import pytest
import torch
from torch import Tensor

from datasets import KinematicTree
from datasets.kinematic import random_poses
from datasets.skeleton import HUMAN36M_16
from gnet.errors import ConfigError


def test_bones_of_the_kinematic_tree_are_rigid_and_the_hip_is_in_the_middle(rng):
    poses = random_poses(50, 0.8, rng)
    lengths = HUMAN36M_16.bone_lengths(poses)
    assert lengths.std(0).max() < 1e-2
    by_name = dict(zip(HUMAN36M_16.names[1:], lengths[0].tolist(), strict=True))
    assert by_name["LKnee"] == pytest.approx(440, abs=0.1) == by_name["RKnee"]
    torch.testing.assert_close(poses[:, 0], poses[:, [1, 4]].mean(1), atol=1e-2, rtol=0)
    assert (poses[:, 3] - poses[0, 3]).norm(dim=1).max() > 100


def test_a_person_who_does_not_move_stands_upright():
    upright = random_poses(3, 0.0, torch.Generator().manual_seed(0))
    heights = dict(zip(HUMAN36M_16.names, (upright[0, :, 1] - upright[0, 0, 1]).tolist(), strict=True))
    assert heights["Head"] == pytest.approx(720, abs=0.1)
    assert heights["LFoot"] == heights["RFoot"] == pytest.approx(-890, abs=0.1)
    # Seen from the front of the person, left is on the right: left x forward x up is a right-handed frame.
    across, up = upright[:, 4] - upright[:, 1], upright[:, 9] - upright[:, 0]
    forward = torch.linalg.cross(across, up)
    assert torch.linalg.cross(up, forward).mul(across).sum(1).min() > 0


def test_every_joint_of_the_tree_is_in_every_image():
    tree = KinematicTree(num_train=300)
    x = tree.train_arrays().x
    assert x[..., 0].abs().max() < 1
    assert x[..., 1].abs().max() < 1080 / 1920


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({}, set()),
        ({"seed": 1}, {"batches"}),
        ({"draw": 1}, {"train", "val", "batches"}),
        ({"study_seed": 1}, {"test", "predict"}),
    ],
)
def test_each_seed_of_the_tree_changes_its_own_decisions(options, changed):
    def decisions(**settings: int) -> dict[str, Tensor]:
        tree = KinematicTree(num_train=5, num_val=3, num_test=4, batch_size=6, **settings)
        found = {split: tree.samples(split).all().y for split in ("train", "val", "test", "predict")}
        return {**found, "batches": next(iter(tree.train_dataloader())).y}

    first, second = decisions(), decisions(**options)
    assert {name for name in first if not torch.equal(first[name], second[name])} == changed


def test_sizes_and_card_of_the_tree():
    tree = KinematicTree(num_train=5, num_val=3, num_test=4)
    assert [len(tree.samples(split)) for split in ("train", "val", "test", "predict")] == [20, 12, 16, 16]
    assert tree.sample_labels("test")[5] == "test1:0:1"
    assert tree.node_ids == list(HUMAN36M_16.names)
    assert (tree.left, tree.right, tree.parents) == (HUMAN36M_16.left, HUMAN36M_16.right, HUMAN36M_16.parents)
    assert {"name", "source", "licence", "shapes", "units", "splits", "checksum"} <= set(tree.describe())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_val": 0}, "num_train, num_val, num_test >= 1 and spread >= 0, got 200, 0, 100, 0.5"),
        ({"spread": -1.0}, "got 200, 50, 100, -1.0"),
        ({"every": 2}, "every and num_frames are for films"),
        ({"num_frames": 3}, "every and num_frames are for films"),
    ],
)
def test_settings_of_the_tree_that_make_no_sense(options, message):
    with pytest.raises(ConfigError, match=message):
        KinematicTree(**options)
