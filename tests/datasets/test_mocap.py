"""CMU motion capture: splits by people, clips and glitches on small files, what a bad file gets, and the real files."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.cameras import ROOM, Cameras
from datasets.mocap import SHA256, Mocap, read_clips, sha256_of
from gnet.errors import ConfigError, DataError
from gnet.groups.automorphism import automorphism_group
from gnet.training.pose import mpjpe, p_mpjpe
from tests.datasets.captured import FRAMES, PEOPLE, RISE, captured, person, write_people

SPLITS = ("train", "val", "test")


@pytest.fixture
def root(tmp_path):
    write_people(tmp_path)
    return tmp_path


def people_of(module: Mocap, split: str) -> set[int]:
    return {int(label.split("_")[0]) for label in module.sample_labels(split)}


# --- small files ---


def test_people_are_split_and_glitches_left_out(root):
    module = captured(root)
    assert [people_of(module, split) for split in SPLITS] == [{1, 2}, {131}, {3}]
    usable = sum(FRAMES) - 1
    assert [len(module.samples(split)) for split in SPLITS] == [2 * 4 * usable, 4 * usable, 4 * usable]
    assert module.sample_labels("test")[:6] == ["03_01:0:0", "03_01:0:1", "03_01:0:2", "03_01:0:3", "03_01:2:0", "03_01:2:1"]
    assert module.sample_labels("predict") == module.sample_labels("test")
    assert not [label for split in SPLITS for label in module.sample_labels(split) if "_01:1:" in label]


def test_the_root_is_the_middle_of_the_hips(root):
    module = captured(root)
    source = person(3)["positions"]
    hips = source[:, [1, 6]].mean(1)
    assert np.allclose(source[:, 0] - hips, [0, RISE, 0], atol=0.01)
    clips = module.clips()[0]["test"]
    torch.testing.assert_close(clips.positions[:, 0], torch.from_numpy(hips), atol=1e-2, rtol=0)
    knee = torch.from_numpy(source[0, 2] - hips[0])  # lfemur of the first frame, which camera 2 sees ...
    seen = ROOM[2].rotation.float() @ knee
    batch = module.test_arrays()
    torch.testing.assert_close(module.scaling.y.inverse(batch.y[2])[5], seen, atol=1e-2, rtol=0)  # ... as LKnee
    assert module.node_ids[5] == "LKnee"
    assert (batch.y[:, 0] == 0).all()


def test_windows_hold_no_glitch(root):
    module = captured(root, num_frames=3)
    assert module.in_channels == 6
    assert module.sample_labels("test")[::4] == ["03_01:3:0", "03_02:1:0"]


def test_every_other_frame(root):
    assert captured(root, every=2).sample_labels("test")[::4] == ["03_01:0:0", "03_01:2:0", "03_01:4:0", "03_02:0:0", "03_02:2:0"]


def test_graph_units_and_card(root):
    module = captured(root)
    assert automorphism_group(module.graph).order() == 4
    assert module.graph.num_nodes == 16
    assert module.graph.edge_weight is None
    assert (module.in_channels, module.out_channels, module.target) == (2, 3, "node")
    assert (module.left, module.right) == ((4, 5, 6, 10, 11, 12), (1, 2, 3, 13, 14, 15))
    assert module.parents == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 8, 10, 11, 8, 13, 14)
    card = module.describe()
    assert {"name", "source", "licence", "shapes", "units", "splits", "checksum"} <= set(card)
    assert card["checksum"]["cmu_subject_003.npz"] == sha256_of(module.folder / "cmu_subject_003.npz")
    assert Mocap(root=str(root)).describe()["checksum"]["cmu_subject_003.npz"] == SHA256["cmu_subject_003.npz"]


def test_actions_are_the_descriptions_or_else_the_clips(root):
    names, actions = captured(root).actions("test")
    assert names == ["03_02", "walk"]
    assert actions.bincount().tolist() == [12, 16]


def test_root_comes_from_the_environment(root, monkeypatch):
    monkeypatch.setenv("GNET_DATA", str(root))
    assert Mocap(own_files=True, test_subjects=(3,)).folder == captured(root).folder == root / "mocap"


# --- settings ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_subjects": ()}, r"expected subjects in every split, got none for \['val'\]"),
        ({"val_subjects": (1,)}, r"subjects \[1\] are named twice \(train: \[1, 2\]; val: \[1\]; test: \[3\]\)"),
        ({"train_subjects": (2, 2)}, r"subjects \[2\] are named twice"),
        ({"num_frames": 4}, "expected an odd num_frames"),
    ],
)
def test_settings_that_make_no_sense(root, options, message):
    with pytest.raises(ConfigError, match=message):
        captured(root, **options)


# --- bad files ---


def test_a_missing_folder_names_the_script_and_the_keys(tmp_path):
    with pytest.raises(DataError, match=r"skeleton.json is missing: .* `python datasets/prepare/mocap.py`") as caught:
        captured(tmp_path).setup()
    for key in ("positions", "clip_start", "clip_names", "clip_labels", "glitch", "skeleton.json", "--data.root"):
        assert key in str(caught.value)


def test_an_unknown_person_is_named_with_those_there_are(root):
    with pytest.raises(
        DataError, match=r"subject 7 is unknown: .*cmu_subject_007.npz is missing; there are files of \[1, 2, 3, 131\]"
    ):
        captured(root, test_subjects=(3, 7)).setup()


def test_other_checksums_are_refused_unless_the_files_are_ones_own(root):
    expected, got = SHA256["skeleton.json"], sha256_of(root / "mocap" / "skeleton.json")
    with pytest.raises(DataError, match=f"expected sha256 {expected}, got {got}; .* --data.own_files true"):
        captured(root, own_files=False).setup()


@pytest.mark.parametrize("damage", ["truncated", "one bit", "text"])
def test_a_damaged_file_is_named(root, damage):
    path = root / "mocap" / "cmu_subject_002.npz"
    good = path.read_bytes()
    middle = len(good) // 2
    bad = {"truncated": good[:middle], "one bit": good[:middle] + bytes([good[middle] ^ 4]) + good[middle + 1 :], "text": b"no"}
    path.write_bytes(bad[damage])
    with pytest.raises(DataError, match=r"cmu_subject_002.npz is no complete .npz file \(.*make it again with"):
        captured(root).setup()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"glitch": None}, r"got \['positions', .*\]: \['glitch'\] missing; run datasets/prepare/mocap.py"),
        ({"positions": np.zeros((8, 31, 2), np.float32)}, r"\['positions'\] do not fit; expected positions: float \(T, J, 3\)"),
        ({"positions": np.zeros((8, 31, 3), np.int32)}, r"\['positions'\] do not fit"),
        ({"positions": np.zeros((8, 20, 3), np.float32)}, "expected at least 28 joints, got 20"),
        ({"glitch": np.zeros(8)}, r"\['glitch'\] do not fit; expected glitch: bool \(T,\).* got .*glitch float64 \(8,\)"),
        ({"clip_start": np.array([0, 8])}, r"\['clip_start'\] do not fit"),
        ({"clip_start": np.array([0, 5, 7])}, r"expected clip_start to rise from 0 to 8 frames, got \[0, 5, 7\]"),
        ({"clip_start": np.array([0, 8, 8])}, "expected clip_start to rise"),
        ({"clip_labels": np.array(["walk"])}, r"\['clip_labels'\] do not fit"),
        ({"clip_names": np.array("walk")}, r"\['clip_start', 'clip_labels'\] do not fit"),
        ({"positions": person(2)["positions"] * np.nan}, "clip 02_01, frame 0: Hip has a coordinate that is not finite"),
        ({"positions": person(2)["positions"] / 1000}, "clip 02_01, frame 0: bones of 0.2.. mm on average; expected 50"),
        ({"positions": person(2)["positions"] + 9000}, r"clip 02_01, frame 0: Hip is not in front of camera 0"),
    ],
)
def test_what_a_file_must_hold(tmp_path, changes, message):
    write_people(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        captured(tmp_path).setup()


def skeleton_without(root, **changes: object) -> None:
    path = root / "mocap" / "skeleton.json"
    record = json.loads(path.read_text())
    record["h36m16"] |= changes
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"left": [], "right": []}, r"skeleton.json, h36m16: expected at least one pair of a left and a right joint"),
        ({"left": None}, r"h36m16: expected lists names, parents, left, right, got none for \['left'\]"),
        ({"parents": [-1, 2, 1, *[0] * 13]}, "h36m16: expected a tree, got a cycle of parents: RHip -> RKnee -> RHip"),
        ({"parents": ["-", *[0] * 15]}, "h36m16: invalid literal"),
        (
            {"source_index": list(range(15))},
            "expected 16 joints and as many different source_index, got 16 joints and 15 indices",
        ),
        ({"source_index": [0] * 16}, "got 16 joints and 1 indices"),
        ({"source_index": ["a"]}, "expected JSON with h36m16: names, source_index"),
        ({"names": [str(joint) for joint in range(16)]}, "expected joints called LHip and RHip, whose middle is the root"),
    ],
)
def test_what_a_skeleton_must_hold(root, changes, message):
    skeleton_without(root, **changes)
    with pytest.raises(DataError, match=message):
        captured(root).setup()


def test_a_skeleton_of_another_size(root):
    record = json.loads((root / "mocap" / "skeleton.json").read_text())["h36m17"]
    skeleton_without(root, **record)
    with pytest.raises(DataError, match="expected 16 joints and as many different source_index, got 17 joints and 17 indices"):
        captured(root).setup()


@pytest.mark.parametrize("content", ["{", "[]", '{"h36m17": {}}'])
def test_a_skeleton_file_of_something_else(root, content):
    (root / "mocap" / "skeleton.json").write_text(content)
    with pytest.raises(DataError, match=re.escape("expected JSON with h36m16: names, source_index, parents, left, right, got ")):
        captured(root).setup()


# --- the real files ---


@pytest.fixture(scope="module")
def real(data_root) -> Mocap:
    if not (data_root / "mocap").is_dir():
        pytest.skip("real data: there is no folder mocap/ in GNET_DATA")
    return Mocap(root=str(data_root))


def test_real_splits(real):
    assert [people_of(real, split) for split in SPLITS] == [{1, 2}, {131}, {3, 7, 8, 9, 49, 55}]
    # 13721 + 3208, 837 and 3317 frames, of which 16, 3 and 1 are glitches, in four cameras.
    assert [len(real.samples(split)) for split in SPLITS] == [4 * 16913, 4 * 834, 4 * 3316]


def test_real_poses_are_people(real):
    for split in SPLITS:
        clips = real.samples(split).clips
        lengths = real.skeleton.bone_lengths(clips.positions[clips.usable])
        thighs_and_shins = lengths[:, [1, 2, 4, 5]]
        assert thighs_and_shins.min() > 330
        assert thighs_and_shins.max() < 480
        assert (lengths[:, 1] / lengths[:, 4]).sub(1).abs().max() < 0.06
        torch.testing.assert_close(lengths[:, 0], lengths[:, 3], atol=0.1, rtol=0)  # the root is the middle of the hips
        targets = real.samples(split).all().y
        assert targets.norm(dim=-1).max() < 1.3
        assert (targets[:, 0] == 0).all()


def test_real_joints_are_in_every_image(real):
    cameras = Cameras(ROOM)
    for split in SPLITS:
        x = real.samples(split).all().x
        assert x[..., 0].abs().max() < 1
        assert x[..., 1].abs().max() < 1080 / 1920
        clips = real.samples(split).clips
        for view in range(4):
            poses = clips.positions[clips.usable]
            depth = cameras.seen(poses, torch.full((len(poses),), view))[..., 2]
            assert depth.min() > 2500
            assert depth.max() < 9000


def test_real_people_walk_upright_and_left_is_left(real):
    clips, names = real.samples("test").clips, list(real.skeleton.names)
    walks = torch.tensor([action in ("walk", "run") for action in clips.actions])
    poses = clips.positions[walks[clips.clip_of(torch.arange(len(clips.positions)))]]
    across = poses[:, names.index("LHip")] - poses[:, names.index("RHip")]
    up = poses[:, names.index("Thorax")] - poses[:, 0]
    assert (up[:, 1] > 300).all()
    forward = torch.linalg.cross(across, up)
    walked = poses[1:, 0] - poses[:-1, 0]
    fast = (walked.norm(dim=1) > 20) & (walked.norm(dim=1) < 500)  # not from one clip to the next
    assert (forward[:-1][fast] * walked[fast]).sum(1).gt(0).float().mean() > 0.95


def test_real_files_are_the_recorded_ones(real):
    for name, expected in SHA256.items():
        assert sha256_of(real.folder / name) == expected
    for number in PEOPLE:
        assert read_clips(real.folder / f"cmu_subject_{number:03d}.npz")["positions"].shape[1:] == (31, 3)


def test_real_baselines_are_those_of_the_data_cards(real):
    train, test = real.train_arrays(), real.test_arrays()
    seen, unseen = (torch.cat([each.x.flatten(1), torch.ones(len(each.x), 1)], dim=1).double() for each in (train, test))
    lifted = (unseen @ torch.linalg.lstsq(seen, train.y.flatten(1).double()).solution).reshape(test.y.shape)
    mean = train.y.double().mean(0).expand_as(test.y)
    cards = (Path(__file__).resolve().parents[2] / "datasets" / "README.md").read_text()
    for name, prediction in (
        ("mean pose of the training set", mean),
        ("linear least squares of all joints on all joints", lifted),
    ):
        found = [mpjpe(prediction, test.y.double(), reroot=True), p_mpjpe(prediction, test.y.double())]
        assert f"| {name} | {1000 * found[0]:.1f} | {1000 * found[1]:.1f} |" in cards


def test_real_actions(real):
    assert real.actions("test")[0] == ["cartwheels", "dance, whirl", "run", "walk", "walk on uneven terrain"]
