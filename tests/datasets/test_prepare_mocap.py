"""The conversion of ASF and AMC files: forward kinematics by hand, glitches, what is written, and what a bad file gets."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from datasets.mocap import SHA256, Mocap, sha256_of
from gnet.errors import DataError
from tests.datasets.captured import prepare

UNIT = 25.4 / 0.45
convert = prepare()


def asf_text(free: dict[str, str] | None = None, axes: dict[str, str] | None = None, length: float = 4.0) -> str:
    """A skeleton in which every bone points along one axis; ``free`` are degrees of freedom, ``axes`` those they turn about."""
    legs = {"hipjoint": "0.6 -0.8 0", "femur": "0 -1 0", "tibia": "0 -1 0", "foot": "0 0 1", "toes": "0 0 1"}
    names = convert.JOINTS
    lines = [
        ":version 1.10",
        ":name VICON",
        ":units",
        "  mass 1.0",
        "  length 0.45",
        "  angle deg",
        ":documentation",
        "   a note",
    ]
    lines += [":root", "   order TX TY TZ RX RY RZ", "   axis XYZ", "   position 0 0 0", "   orientation 0 0 0", ":bonedata"]
    for number, name in enumerate(names[1:], 1):
        bone = name[1:] if name[0] in "lr" and name[1:] in (*convert.LEG, *convert.ARM) else name
        direction = legs.get(bone, "1 0 0" if bone in convert.ARM else "0 1 0")
        if name[0] == "r" and bone != name:
            direction = " ".join([str(-float(direction.split()[0])), *direction.split()[1:]])
        lines += ["  begin", f"     id {number}", f"     name {name}", f"     direction {direction}", f"     length {length}"]
        lines += [f"     axis {(axes or {}).get(name, '0 0 0')}  XYZ"]
        if name in (free or {}):
            lines += [f"    dof {free[name]}", "    limits (-160.0 20.0)", "           (-70.0 70.0)"]
        lines += ["  end"]
    lines += [":hierarchy", "  begin"]
    for parent, name in enumerate(names):
        children = [names[child] for child, its in enumerate(convert.PARENTS) if its == parent]
        lines += [f"    {name} {' '.join(children)}"] if children else []
    return "\n".join([*lines, "  end", ""])


def amc_text(frames: list[dict[str, list[float]]]) -> str:
    lines = ["#!OML:ASF a file", ":FULLY-SPECIFIED", ":DEGREES"]
    for number, frame in enumerate(frames, 1):
        lines += [str(number), *(f"{name} {' '.join(map(str, values))}" for name, values in frame.items())]
    return "\n".join([*lines, ""])


def place(folder: Path, number: int, clips: dict[str, list[dict[str, list[float]]]], **settings: object) -> None:
    there = folder / f"{number:02d}"
    there.mkdir(parents=True)
    (there / f"{number:02d}.asf").write_text(asf_text(**settings))
    for name, frames in clips.items():
        (there / f"{number:02d}_{name}.amc").write_text(amc_text(frames))


def read(tmp_path: Path, frames: list[dict[str, list[float]]], **settings: object) -> dict[str, np.ndarray]:
    """Positions by joint, in the file's unit of length."""
    (tmp_path / "a.asf").write_text(asf_text(**settings))
    (tmp_path / "a.amc").write_text(amc_text(frames))
    found = convert.positions(convert.read_asf(tmp_path / "a.asf"), convert.read_amc(tmp_path / "a.amc")) / UNIT
    return dict(zip(convert.JOINTS, found.transpose(1, 0, 2), strict=True))


# --- kinematics ---


def test_a_person_at_rest_is_the_sum_of_the_bones(tmp_path):
    at = read(tmp_path, [{"root": [1, 20, 3, 0, 0, 0]}])
    np.testing.assert_allclose(at["root"], [[1, 20, 3]])
    np.testing.assert_allclose(at["lhipjoint"], [[1 + 2.4, 20 - 3.2, 3]])
    np.testing.assert_allclose(at["ltibia"], [[3.4, 16.8 - 8, 3]])
    np.testing.assert_allclose(at["rtoes"], [[1 - 2.4, 8.8, 3 + 8]])
    np.testing.assert_allclose(at["thorax"], [[1, 32, 3]])
    np.testing.assert_allclose(at["lthumb"], [[1 + 20, 32, 3]])


def test_the_root_turns_everything_about_fixed_axes(tmp_path):
    at = read(tmp_path, [{"root": [0, 0, 0, 90, 0, 90]}])  # first about x, then about the room's z
    # Up (0, 1, 0) goes to z, which stays; the left arm (1, 0, 0) goes to y.
    np.testing.assert_allclose(at["thorax"], [[0, 0, 12]], atol=1e-12)
    np.testing.assert_allclose(at["lclavicle"] - at["thorax"], [[0, 4, 0]], atol=1e-12)


def test_a_joint_turns_about_its_own_axes(tmp_path):
    # The femur's axes are turned by 90 degrees about z, so its x axis is the room's y axis, along the bone: it only twists.
    frames = [{"root": [0] * 6, "lfemur": [30.0], "ltibia": [90.0]}]
    settings = {"free": {"lfemur": "rx", "ltibia": "rx"}, "axes": {"lfemur": "0 0 90"}}
    at = read(tmp_path, frames, **settings)
    np.testing.assert_allclose(at["lfemur"] - at["lhipjoint"], [[0, -4, 0]], atol=1e-12)
    # The knee bends about x by 90 degrees, forward to -z, after the twist of 30 degrees about y.
    np.testing.assert_allclose(at["ltibia"] - at["lfemur"], [[-2, 0, -4 * np.sqrt(0.75)]], atol=1e-12)
    np.testing.assert_allclose(at["rtibia"] - at["rfemur"], [[0, -4, 0]], atol=1e-12)


def test_angles_compose_down_the_tree(tmp_path):
    random = np.random.default_rng(0)
    free = {"lowerback": "rx ry rz", "upperback": "rz", "thorax": "rx rz"}
    axes = {"lowerback": "10 20 30", "upperback": "0 0 -40", "thorax": "-15 5 25"}
    angles = {name: dict(zip(each.split(), 90 * random.normal(size=3), strict=False)) for name, each in free.items()}
    root = (30 * random.normal(size=6)).tolist()
    at = read(tmp_path, [{"root": root, **{name: list(each.values()) for name, each in angles.items()}}], free=free, axes=axes)
    turned, here = fixed_axes(*root[3:]), np.array(root[:3])
    for name, each in angles.items():
        own = fixed_axes(*map(float, axes[name].split()))
        turned = turned @ own @ fixed_axes(*(each.get(axis, 0.0) for axis in ("rx", "ry", "rz"))) @ own.T
        here = here + 4 * turned @ np.array([0, 1, 0])
        np.testing.assert_allclose(at[name][0], here, atol=1e-10)


def fixed_axes(*degrees: float) -> np.ndarray:
    """Rz Ry Rx, multiplied out."""
    x, y, z = (Rotation.from_rotvec(np.radians(angle) * axis).as_matrix() for angle, axis in zip(degrees, np.eye(3), strict=True))
    return z @ y @ x


def test_bones_are_rigid(tmp_path):
    random = np.random.default_rng(1)
    free = dict.fromkeys(convert.JOINTS[1:], "rx ry rz")
    frames = [
        {"root": random.normal(size=6).tolist(), **{n: (60 * random.normal(size=3)).tolist() for n in free}} for _ in range(5)
    ]
    at = read(tmp_path, frames, free=free, axes=dict.fromkeys(free, "10 -20 30"), length=5.0)
    for name, parent in zip(convert.JOINTS[1:], convert.PARENTS[1:], strict=True):
        length = np.linalg.norm(at[name] - at[convert.JOINTS[parent]], axis=1)
        np.testing.assert_allclose(length, 5.0, rtol=1e-9)


def test_a_leap_is_a_glitch_on_both_of_its_sides():
    path = np.zeros((6, 2, 3))
    path[3:, 1] = 101  # more than 12 m/s is more than 100 mm between two of 120 frames a second
    assert convert.glitches(path).tolist() == [False, False, True, True, False, False]
    path[3:, 1] = 57  # 99 mm in all three axes together
    assert not convert.glitches(path).any()


# --- what is written ---


@pytest.fixture
def people(tmp_path) -> Path:
    """Three people with two clips each, of 9 and 5 frames at 120 a second; one leaps."""
    walk = [{"root": [7 + 0.01 * step, 20, 3, 0, 0, 0]} for step in range(9)]
    leap = [{"root": [7 + (50 if step > 3 else 0), 20, 3, 0, 0, 0]} for step in range(5)]
    for number in (1, 2, 131):
        place(tmp_path / "subjects", number, {"01": walk, "02": leap if number == 2 else walk[:5]})
    return tmp_path


def test_the_command_writes_what_the_data_module_reads(people, capsys):
    (people / "labels.csv").write_text("clip,label\n02_01,walk\n")
    out = people / "data" / "mocap"
    arguments = [str(people / "subjects"), "--subjects", "1", "2", "131", "--out", str(out)]
    convert.main([*arguments, "--labels", str(people / "labels.csv")])
    assert "15 frames of the subjects [1, 2, 131]; take them with --data.own_files true" in capsys.readouterr().out
    with np.load(out / "cmu_subject_002.npz") as file:
        assert set(file.files) == {"positions", "clip_start", "clip_names", "clip_labels", "glitch", "subject", "fps"}
        assert file["clip_start"].tolist() == [0, 3, 5]  # frames 0, 4, 8 and 0, 4
        assert file["clip_names"].tolist() == ["02_01", "02_02"]
        assert file["clip_labels"].tolist() == ["walk", ""]
        assert file["glitch"].tolist() == [False] * 4 + [True]  # the leap is from frame 3 of 120 to frame 4, which is kept
        assert file["positions"].dtype == np.float32
        np.testing.assert_allclose(file["positions"][1, 0], np.array([7.04, 20, 3]) * UNIT, rtol=1e-6)
        assert (int(file["subject"]), float(file["fps"])) == (2, 30.0)
    module = Mocap(root=str(people / "data"), own_files=True, train_subjects=(1,), val_subjects=(2,), test_subjects=(131,))
    assert [len(module.samples(split)) for split in ("train", "val", "test")] == [20, 16, 20]
    assert module.sample_labels("test")[0] == "131_01:0:0"


def test_the_skeleton_is_the_published_one(data_root):
    if not (data_root / "mocap").is_dir():
        pytest.skip("real data: there is no folder mocap/ in GNET_DATA")
    path = data_root / "mocap" / "skeleton.json"
    assert path.read_text() == json.dumps(convert.skeleton(), indent=1)
    assert sha256_of(path) == SHA256["skeleton.json"]


def test_real_bones_have_the_lengths_of_the_published_skeleton(data_root):
    """Of CMU's ``02.asf``, in its unit of length."""
    if not (data_root / "mocap").is_dir():
        pytest.skip("real data: there is no folder mocap/ in GNET_DATA")
    with np.load(data_root / "mocap" / "cmu_subject_002.npz") as file:
        positions = file["positions"].astype(float) / UNIT
    lengths = {"lhipjoint": 2.52691, "lfemur": 7.59371, "ltibia": 7.28717, "rhipjoint": 2.49697, "rfemur": 7.58734}
    for name, expected in lengths.items():
        joint = convert.JOINTS.index(name)
        found = np.linalg.norm(positions[:, joint] - positions[:, convert.PARENTS[joint]], axis=1)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


# --- bad files ---


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  angle deg", "  angle rad", "expected angles in degrees and a root of order TX TY TZ RX RY RZ at 0"),
        ("position 0 0 0", "position 0 1 0", "expected angles in degrees and a root"),
        ("  length 0.45", "", r"expected an ASF file with units, root, bonedata and hierarchy, got KeyError\('length'\)"),
        ("  length 0.45", "  length 0", "got ZeroDivisionError"),
        (":hierarchy", ":nothing", r"got KeyError\('hierarchy'\)"),
        ("axis 0 0 0  XYZ", "axis 0 0 0  ZYX", "axis order"),
        ("length 4.0", "length long", "could not convert string to float"),
        ("name lthumb", "name lfinger", "expected the 31 joints of CMU's skeletons"),
        (
            "    lfoot ltoes",
            "    rfoot ltoes",
            r"expected the 31 joints .* these differ: \[\('ltoes', 'lfoot'\), \('ltoes', 'rfoot'\)",
        ),
    ],
)
def test_what_an_asf_file_must_hold(tmp_path, old, new, message):
    text = asf_text()
    assert old in text
    (tmp_path / "a.asf").write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        convert.read_asf(tmp_path / "a.asf")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected frames with the same joints, got 0 frames"),
        (":DEGREES\nroot 0 0\n", "line 2: expected the number of the first frame, got 'root 0 0'"),
        ("1\nroot 0 x\n", "line 2: expected a joint and numbers, got 'root 0 x'"),
        ("1\nroot 0 0\n2\nroot 0\n", r"expected frames with the same joints, got 2 frames, other joints in \[2\]"),
    ],
)
def test_what_an_amc_file_must_hold(tmp_path, text, message):
    (tmp_path / "a.amc").write_text(text)
    with pytest.raises(DataError, match=message):
        convert.read_amc(tmp_path / "a.amc")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"root": [0] * 5}, "root has 5 numbers in each frame; the skeleton expects 6"),
        ({"root": [0] * 6, "lfemur": [0, 0]}, "lfemur has 2 numbers in each frame; the skeleton expects 1"),
        ({"root": [0] * 6, "tail": [0]}, "tail has 1 numbers in each frame; the skeleton expects 0"),
        ({"lfemur": [0]}, "expected the joint root"),
    ],
)
def test_a_clip_of_another_skeleton(tmp_path, frame, message):
    place(tmp_path / "subjects", 1, {"01": [frame]}, free={"lfemur": "rx"})
    with pytest.raises(DataError, match=rf"01_01.amc: {message}"):
        convert.convert(tmp_path / "subjects", [1], tmp_path / "out", {})


def test_what_is_missing_is_said_by_the_command(people, capsys):
    for arguments, message in (
        (["--subjects", "5"], r"05.asf: no such file; those of CMU are at mocap.cs.cmu.edu"),
        (["--subjects", "1", "--labels", "nothing.csv"], r"nothing.csv: no such file of labels"),
    ):
        with pytest.raises(SystemExit, match=f"error: .*{message}"):
            convert.main([str(people / "subjects"), "--out", str(people / "out"), *arguments])
    (people / "subjects" / "01" / "01_01.amc").unlink()
    (people / "subjects" / "01" / "01_02.amc").unlink()
    with pytest.raises(SystemExit, match=r"expected clips 01_01.amc ..., found none"):
        convert.main([str(people / "subjects"), "--out", str(people / "out"), "--subjects", "1"])
