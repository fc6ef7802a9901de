"""Human3.6M on small files of the usual layout: joints, cameras, splits, counts, and what a bad or hostile file gets."""

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from datasets import human36m
from datasets.cameras import ROOM, Cameras
from datasets.human36m import MOVING_17, Human36M, read_camera, read_cameras, sixteen
from datasets.kinematic import random_poses
from datasets.unpickle import ArrayUnpickler, read_pickled
from gnet.errors import ConfigError, DataError
from gnet.groups.automorphism import automorphism_group

SUBJECTS = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")
ACTIONS = {"Walking 1": 3, "Walking": 2, "Eating 2": 4}
SIXTEEN = (0, 1, 2, 3, 6, 7, 8, 12, 13, 15, 17, 18, 19, 25, 26, 27)
DISTORTION = ([-0.2, 0.24, -0.002], [-0.0009, -0.0014])


def poses(subject: str) -> dict[str, np.ndarray]:
    """World metres; the 16 joints among 32, copies and fingertips elsewhere."""
    found = {}
    for number, (action, count) in enumerate(ACTIONS.items()):
        generator = torch.Generator().manual_seed(100 * SUBJECTS.index(subject) + number)
        joints = np.full((count, 32, 3), 7.0, dtype=np.float32)
        joints[:, SIXTEEN] = random_poses(count, 0.3, generator).numpy() / 1000
        found[action] = joints
    return found


def camera(view: int) -> dict[str, Any]:
    """One of the cameras of the room, in the fields of the usual scripts."""
    x, y, z, w = Rotation.from_matrix(ROOM[view].rotation.T.numpy()).as_quat()
    return {
        "id": str(54138969 + view),
        "orientation": [w, x, y, z],
        "translation": ROOM[view].position.tolist(),
        "focal_length": [1145.0 + view, 1143.0],
        "center": [512.5, 515.4],
        "radial_distortion": DISTORTION[0],
        "tangential_distortion": DISTORTION[1],
        "res_w": 1000,
        "res_h": 1002,
        "azimuth": 70,
    }


def cameras() -> dict[str, list[dict[str, Any]]]:
    """Subjects differ by where the rig stands."""
    rigs = {subject: [camera(view) for view in range(4)] for subject in SUBJECTS}
    for number, rig in enumerate(rigs.values()):
        for each in rig:
            each["translation"] = [each["translation"][0] + 10.0 * number, *each["translation"][1:]]
    return rigs


def pixels(joints: tuple[int, ...] = tuple(range(32)), order: tuple[int, ...] = (0, 1, 2, 3)) -> dict[str, dict[str, list]]:
    """The projections, to a hundredth of a pixel."""
    found: dict[str, dict[str, list]] = {}
    for subject in SUBJECTS:
        rig = Cameras([read_camera(each, "") for each in cameras()[subject]])
        found[subject] = {}
        for action, world in poses(subject).items():
            points = 1000 * torch.from_numpy(world[:, list(joints)])
            views = [torch.full((len(points),), view) for view in order]
            found[subject][action] = [rig.pixels(rig.seen(points, which), which).numpy().round(2) for which in views]
    return found


def write(root: Path, rig: Any = None, flat: Any = None, **files: Any) -> Path:
    folder = root / "human36m"
    folder.mkdir(exist_ok=True)
    content = files.get("poses", {subject: poses(subject) for subject in SUBJECTS})
    np.savez_compressed(folder / "data_3d_h36m.npz", positions_3d=content)
    (folder / "cameras.json").write_text(json.dumps(cameras() if rig is None else rig))
    if flat is not None:
        np.savez_compressed(folder / "data_2d_h36m_gt.npz", positions_2d=flat, metadata={"num_joints": 16})
    return folder


def human36m_at(root: Path, **options: Any) -> Human36M:
    return Human36M(root=str(root), **{"check_counts": False, **options})


@pytest.fixture
def root(tmp_path):
    write(tmp_path)
    return tmp_path


# --- what it makes ---


def test_subjects_actions_and_cameras(root):
    module = human36m_at(root)
    frames = 4 * sum(ACTIONS.values())
    assert [len(module.samples(split)) for split in ("train", "val", "test", "predict")] == [
        4 * frames,
        frames,
        2 * frames,
        2 * frames,
    ]
    found = {split: {label.split("/")[0] for label in module.sample_labels(split)} for split in ("train", "val", "test")}
    assert found == {"train": {"S1", "S5", "S6", "S7"}, "val": {"S8"}, "test": {"S9", "S11"}}
    assert module.sample_labels("test")[:5] == [
        f"S9/Eating 2:{frame}:{view}" for frame, view in ((0, 0), (0, 1), (0, 2), (0, 3), (1, 0))
    ]
    names, actions = module.actions("test")
    assert names == ["Eating", "Walking"]
    assert actions.bincount().tolist() == [2 * 4 * 4, 2 * 4 * 5]
    assert automorphism_group(module.graph).order() == 4
    assert (module.left, module.right) == ((4, 5, 6, 10, 11, 12), (1, 2, 3, 13, 14, 15))


def test_a_sample_is_what_the_usual_scripts_make(root):
    module = human36m_at(root)
    batch = module.test_arrays()
    row = module.sample_labels("test").index("S11/Walking 1:2:3")
    there = camera(3)
    world = 1000 * poses("S11")["Walking 1"][2, list(SIXTEEN)].astype(float)
    w, x, y, z = there["orientation"]
    position = np.add(there["translation"], [10.0 * SUBJECTS.index("S11"), 0, 0])
    seen = Rotation.from_quat([x, y, z, w]).inv().apply(world - position)
    torch.testing.assert_close(
        module.scaling.y.inverse(batch.y[row]).double(), torch.from_numpy(seen - seen[0]), atol=1e-2, rtol=0
    )
    flat = seen[:, :2] / seen[:, 2:]
    square = (flat**2).sum(1, keepdims=True)
    radial = 1 + DISTORTION[0][0] * square + DISTORTION[0][1] * square**2 + DISTORTION[0][2] * square**3
    p = np.array(DISTORTION[1])
    bent = flat * (radial + (p * flat).sum(1, keepdims=True)) + p * square
    u = np.array([1148.0, 1143.0]) * bent + [512.5, 515.4]
    torch.testing.assert_close(batch.x[row].double(), torch.from_numpy(2 * u / 1000 - [1, 1.002]), atol=1e-5, rtol=0)
    assert module.scaling.y.std.tolist() == [1000] * 3


@pytest.mark.parametrize("joints", [tuple(range(32)), MOVING_17, SIXTEEN], ids=len)
def test_given_pixels_are_used(tmp_path, joints):
    write(tmp_path, flat=pixels(joints))
    given = human36m_at(tmp_path).test_arrays()
    (tmp_path / "human36m" / "data_2d_h36m_gt.npz").unlink()
    projected = human36m_at(tmp_path).test_arrays()
    assert torch.equal(given.y, projected.y)
    torch.testing.assert_close(given.x, projected.x, atol=2e-5, rtol=0)
    assert not torch.equal(given.x, projected.x)


def test_sixteen_of_thirty_two_joints():
    numbers = np.arange(32.0).reshape(1, 32, 1).repeat(3, 2)
    found = sixteen(numbers, 3, "")[0, :, 0]
    assert tuple(found.int().tolist()) == SIXTEEN
    assert torch.equal(sixteen(numbers[:, list(MOVING_17)], 3, "")[0, :, 0], found)
    assert 14 not in SIXTEEN  # Neck/Nose


def test_a_training_subject_is_held_out_and_may_be_another(root):
    module = human36m_at(root, val_subjects=("S1", "S5"))
    assert module.subjects == {"train": ["S6", "S7", "S8"], "val": ["S1", "S5"], "test": ["S9", "S11"]}
    assert "S8" in {label.split("/")[0] for label in module.sample_labels("train")}


def test_to_choose_on_the_test_set_is_refused(root):
    with pytest.raises(ConfigError, match=r"subjects \['S9'\] are named twice"):
        human36m_at(root, val_subjects=("S9",))
    with pytest.raises(ConfigError, match=r"got none for \['train'\]"):
        human36m_at(root, train_subjects=("S8",))


def test_card(root):
    module = human36m_at(root)
    assert {"name", "source", "licence", "shapes", "units", "splits", "checksum"} <= set(module.describe())
    assert "train: S1, S5, S6, S7; val: S8; test: S9, S11" in module.describe()["splits"]


# --- counts ---


def test_frames_are_counted(root):
    message = (
        r"expected 248376 frames of S1 in all cameras, got 36 in \d clips, the shortest of which are S1 .* \(\d+\), .*; is it cut"
    )
    with pytest.raises(DataError, match=message):
        human36m_at(root, check_counts=True).setup()
    assert human36m_at(root).in_channels == 2  # as it is
    assert sum(count for subjects, count in human36m.FRAMES.items() if "S9" not in subjects) == 1_559_752


@pytest.mark.parametrize("subjects", human36m.FRAMES, ids=" ".join)
def test_counts_have_no_tolerance(root, monkeypatch, subjects):
    small = {each: 36 * len(each) for each in human36m.FRAMES}
    monkeypatch.setattr(human36m, "FRAMES", small)
    human36m_at(root, check_counts=True).setup()
    human36m_at(root, check_counts=True, val_subjects=("S1",)).setup()  # the same five in all
    monkeypatch.setattr(human36m, "FRAMES", small | {subjects: 36 * len(subjects) + 1})
    with pytest.raises(DataError, match=rf"{36 * len(subjects) + 1} frames of {' and '.join(subjects)} in all cameras, got"):
        human36m_at(root, check_counts=True).setup()


def test_of_one_of_a_pair_nothing_is_known(root, monkeypatch):
    monkeypatch.setattr(human36m, "FRAMES", {("S7", "S8"): 1, ("S9", "S11"): 1})
    human36m_at(root, check_counts=True, train_subjects=("S1",), test_subjects=("S9",)).setup()


# --- bad files ---


def test_missing_files_name_what_they_must_hold(tmp_path):
    with pytest.raises(
        DataError, match=r"data_3d_h36m.npz is missing: Human3.6M is licensed .* cameras.json as datasets/human36m.py"
    ):
        human36m_at(tmp_path).setup()
    (write(tmp_path) / "cameras.json").unlink()
    with pytest.raises(DataError, match=r"cameras.json is missing"):
        human36m_at(tmp_path).setup()


def changed(subject: str, action: str, array: Any) -> dict[str, Any]:
    content = {name: poses(name) for name in SUBJECTS}
    content[subject][action] = array
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"S1": poses("S1")}, r"expected the subjects \['S1', .*got \['S1'\]: \['S5', 'S6', 'S7', 'S8', 'S9', 'S11'\] missing"),
        ([1, 2], r"expected positions_3d to be one pickled dictionary, got an array int64 \(2,\)"),
        (None, "expected positions_3d to be a dictionary subject -> action -> array, got NoneType"),
        ({"S1": {}}, "expected positions_3d to be a dictionary subject -> action -> array, got dict"),
        (
            changed("S5", "Walking", np.zeros((4, 31, 3))),
            r"S5, Walking: expected floats \(T, 32, 17 or 16, 3\), got float64 \(4, 31, 3\)",
        ),
        (changed("S5", "Walking", "text"), r"S5, Walking: expected floats .*, got <U4 \(\)"),
        (changed("S6", "Walking", np.full((2, 32, 3), np.nan)), "S6, Walking: frame 0 has a coordinate that is not finite"),
        (
            changed("S6", "Walking", 1000 * poses("S6")["Walking"]),
            "clip S6/Walking, frame 0: bones of .* mm on average; .* convert",
        ),
        (changed("S6", "Walking", 20 + poses("S6")["Walking"]), "clip S6/Walking, frame 0: Hip is not in front of camera 0"),
    ],
)
def test_what_the_poses_must_be(tmp_path, content, message):
    write(tmp_path, poses=content)
    with pytest.raises(DataError, match=message):
        human36m_at(tmp_path).setup()


def rig_with(**fields: Any) -> dict[str, Any]:
    rig = cameras()
    rig["S7"][2] |= fields
    return rig


@pytest.mark.parametrize(
    ("rig", "message"),
    [
        ([], "expected JSON, subject -> list of cameras with the fields"),
        ({"S1": []}, "expected JSON, subject -> list of cameras with the fields"),
        ({"S1": cameras()["S1"]}, r"cameras.json: expected the subjects .*\['S5', .*missing"),
        ({**cameras(), "S7": cameras()["S7"][:3]}, "expected as many cameras for every subject, got .*'S7': 3"),
        ({**cameras(), "S7": [{"id": 1}]}, r"S7, camera 0: expected the fields .*: \['orientation', 'translation', .*missing"),
        (
            rig_with(orientation=[2, 0, 0, 0]),
            r"S7, camera 2: expected an orientation \(w, x, y, z\) of norm 1, got \[2, 0, 0, 0\]",
        ),
        (rig_with(center=[1]), r"S7, camera 2: expected centre of shape \(2,\)"),
        (rig_with(focal_length="long"), "S7, camera 2: "),
        (rig_with(res_w=0), "S7, camera 2: expected a positive size"),
    ],
)
def test_what_the_cameras_must_be(tmp_path, rig, message):
    write(tmp_path, rig=rig)
    with pytest.raises(DataError, match=message):
        human36m_at(tmp_path).setup()


def test_cameras_that_are_no_json(root):
    (root / "human36m" / "cameras.json").write_text("{")
    with pytest.raises(DataError, match=r"cameras.json: expected JSON, subject -> list of cameras, got"):
        human36m_at(root).setup()
    (root / "human36m" / "cameras.json").write_text(json.dumps(cameras()))
    assert len(read_cameras(root / "human36m" / "cameras.json")["S9"]) == 4


def test_pixels_of_other_cameras_are_caught(tmp_path):
    write(tmp_path, flat=pixels(order=(1, 0, 2, 3)))
    with pytest.raises(
        DataError, match=r"camera 0 misses the projection by cameras.json by \d+ pixels in the median; list the cam"
    ):
        human36m_at(tmp_path).setup()


@pytest.mark.parametrize("change", ["a view", "a frame", "an action"])
def test_pixels_that_do_not_fit_the_poses(tmp_path, change):
    flat = pixels()
    if change == "a view":
        flat["S9"]["Walking"].pop()
    if change == "a frame":
        flat["S9"]["Walking"][1] = flat["S9"]["Walking"][1][1:]
    if change == "an action":
        del flat["S9"]["Walking"]
    write(tmp_path, flat=flat)
    with pytest.raises(
        DataError, match=r"data_2d_h36m_gt.npz, S9, Walking: expected 4 arrays of 2 frames, as in data_3d_h36m.npz"
    ):
        human36m_at(tmp_path).setup()


# --- pickles ---


class Hostile:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this must not run",))


def test_a_hostile_pickle_does_not_run(tmp_path, capsys):
    write(tmp_path, poses=changed("S1", "Walking", Hostile()))
    with pytest.raises(DataError, match=r"data_3d_h36m.npz: the pickle asks for builtins.print; only arrays"):
        human36m_at(tmp_path).setup()
    assert capsys.readouterr().out == ""
    with np.load(tmp_path / "human36m" / "data_3d_h36m.npz", allow_pickle=True) as liar:
        liar["positions_3d"].item()
    assert "this must not run" in capsys.readouterr().out  # what numpy does with the same file


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_of_every_protocol_are_read(protocol):
    content = {"S1": {"Walking": np.arange(6.0, dtype=np.float32).reshape(2, 3)}, "fps": np.float64(50), "names": ["é", "b"]}
    found = ArrayUnpickler(io.BytesIO(pickle.dumps(content, protocol=protocol)), encoding="latin1").load()
    assert np.array_equal(found["S1"]["Walking"], content["S1"]["Walking"])
    assert found["S1"]["Walking"].dtype == np.float32
    assert (found["fps"], found["names"]) == (50, ["é", "b"])


@pytest.mark.parametrize("wanted", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_names_of_both_numpys_are_known(wanted):
    text = pickle.dumps(np.arange(3), protocol=3).decode("latin1")
    for name in ("numpy.core.multiarray", "numpy._core.multiarray"):
        text = text.replace(name, wanted)
    assert ArrayUnpickler(io.BytesIO(text.encode("latin1"))).load().tolist() == [0, 1, 2]


def test_codecs_are_not_chosen_by_the_file():
    stream = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R."
    with pytest.raises(DataError, match="the pickle asks for the encoding 'rot13'"):
        ArrayUnpickler(io.BytesIO(stream)).load()


def test_files_that_are_no_pickled_dictionary(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, positions_3d=np.zeros(3))
    with pytest.raises(DataError, match=r"expected positions_3d to be one pickled dictionary, got an array float64 \(3,\)"):
        read_pickled(path, "positions_3d")
    with pytest.raises(DataError, match=r"expected the key 'positions_2d', got \['positions_3d'\]"):
        read_pickled(path, "positions_2d")
    np.savez(path, positions_3d={"S1": np.zeros(1000)})
    whole = path.read_bytes()
    for bad in (whole[: len(whole) // 2], b"text", b""):
        path.write_bytes(bad)
        with pytest.raises(DataError, match=r"is no complete .npz file .*; make it again"):
            read_pickled(path, "positions_3d")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("positions_3d.npy", b"not an array")
    with pytest.raises(DataError, match=r"is no complete .npz file .*; make it again"):
        read_pickled(path, "positions_3d")
