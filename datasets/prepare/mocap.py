"""Convert CMU motion capture (ASF and AMC files) to what ``datasets.Mocap`` reads.

    python datasets/prepare/mocap.py subjects --subjects 1 2 3 7 8 9 49 55 131 --out $GNET_DATA/mocap

The folder has one of CMU's for each subject: ``subjects/01/01.asf`` (the skeleton) and ``subjects/01/01_01.amc`` ... (a clip of
joint angles each), as mocap.cs.cmu.edu offers them. Joint positions follow by forward kinematics at 120 frames a second, of which
every 4th is kept; a frame is a glitch where some joint moves faster than 12 m/s to a neighbouring one of the 120. ``--labels`` is
a ``.csv`` ``clip,label`` that says what is done in a clip. Written are ``cmu_subject_<sss>.npz`` (``positions`` (T, 31, 3) in
millimetres, y up; ``clip_start``, ``clip_names``, ``clip_labels``, ``glitch``, ``subject``, ``fps``) and ``skeleton.json``.

The recorded numbers come from files whose subjects 7 to 131 were read from FBX and BVH copies, so a conversion of your own has
other checksums and joints that differ by about a millimetre: ``--data.own_files true`` takes it.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from gnet.errors import DataError, GnetError
from gnet.training.data import repository_datasets
from gnet.training.table import columns, read_table

LEG = ("hipjoint", "femur", "tibia", "foot", "toes")
ARM = ("clavicle", "humerus", "radius", "wrist", "hand", "fingers", "thumb")
TRUNK = ("lowerback", "upperback", "thorax", "lowerneck", "upperneck", "head")
JOINTS = ("root", *(side + name for side in "lr" for name in LEG), *TRUNK, *(side + name for side in "lr" for name in ARM))
PARENTS = (
    *(-1, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 0, 11, 12, 13, 14, 15),
    *(13, 17, 18, 19, 20, 21, 20, 13, 24, 25, 26, 27, 28, 27),
)
HUMAN36M = {
    **{"Hip": "root", "RHip": "rhipjoint", "RKnee": "rfemur", "RFoot": "rtibia"},
    **{"LHip": "lhipjoint", "LKnee": "lfemur", "LFoot": "ltibia"},
    **{"Spine": "lowerback", "Thorax": "thorax", "Neck/Nose": "upperneck", "Head": "head"},
    **{"LShoulder": "lclavicle", "LElbow": "lhumerus", "LWrist": "lwrist"},
    **{"RShoulder": "rclavicle", "RElbow": "rhumerus", "RWrist": "rwrist"},
}
RATE, EVERY, FASTEST = 120, 4, 12_000.0
"""Frames a second, which of them are kept, and the speed of a glitch in millimetres a second."""
INCH = 25.4
SPLIT = {"train": [1, 2, 131], "test": [3, 7, 8, 9, 49, 55]}


@dataclass(frozen=True)
class Bone:
    """A bone of an ASF file: where it points, how long it is, the axes it turns about, and which of them are free.

    Shapes:
        direction, axis: (3,)

    Units: ``length`` in those of the file, ``axis`` in degrees.
    """

    direction: np.ndarray
    length: float
    axis: np.ndarray
    free: tuple[int, ...]


@dataclass(frozen=True)
class Asf:
    """A skeleton: the bones, the parent of each, and how many millimetres one unit of length is."""

    bones: dict[str, Bone]
    parents: dict[str, str]
    unit: float


def read_asf(path: Path) -> Asf:
    """The skeleton in an ASF file.

    Raises:
        DataError: no such file, angles in radians, a root that is turned, bones without a length, or another set of joints.
    """
    sections = _sections(path)
    try:
        units = {line[0]: line[1] for line in sections["units"]}
        root = {line[0]: line[1:] for line in sections["root"]}
        bones = dict(_bone(block) for block in _blocks(sections["bonedata"]))
        parents = {child: line[0] for line in sections["hierarchy"] if len(line) > 1 for child in line[1:]}
        unit = INCH / float(units["length"])
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise DataError(f"{path}: expected an ASF file with units, root, bonedata and hierarchy, got {error!r}") from error
    turned = [float(value) for key in ("position", "orientation") for value in root.get(key, ())]
    if (
        units.get("angle") != "deg"
        or [each.upper() for each in root.get("order", ())] != ["TX", "TY", "TZ", "RX", "RY", "RZ"]
        or any(turned)
    ):
        raise DataError(f"{path}: expected angles in degrees and a root of order TX TY TZ RX RY RZ at 0, got {units}, {root}")
    expected = {name: JOINTS[parent] for name, parent in zip(JOINTS, PARENTS, strict=True) if parent >= 0}
    if parents != expected or set(bones) != set(expected):
        odd = sorted(set(parents.items()) ^ set(expected.items()))
        raise DataError(f"{path}: expected the {len(JOINTS)} joints of CMU's skeletons; these differ: {odd or sorted(bones)}")
    return Asf(bones, parents, unit)


def read_amc(path: Path) -> dict[str, np.ndarray]:
    """The numbers of every joint in every frame of an AMC file: joint -> (T, channels).

    Raises:
        DataError: no such file, or frames that do not all have the same joints.
    """
    frames: list[dict[str, list[float]]] = []
    for number, line in enumerate(_lines(path), 1):
        if line[0].startswith((":", "#")):
            continue
        if len(line) == 1 and line[0].isdigit():
            frames.append({})
        elif not frames:
            raise DataError(f"{path}, line {number}: expected the number of the first frame, got {' '.join(line)!r}")
        else:
            try:
                frames[-1][line[0]] = [float(value) for value in line[1:]]
            except ValueError as error:
                raise DataError(f"{path}, line {number}: expected a joint and numbers, got {' '.join(line)!r}") from error
    shapes = [{name: len(values) for name, values in frame.items()} for frame in frames]
    odd = [number for number, shape in enumerate(shapes, 1) if shape != shapes[0]]
    if not frames or odd:
        raise DataError(f"{path}: expected frames with the same joints, got {len(frames)} frames, other joints in {odd[:3]}")
    return {name: np.array([frame[name] for frame in frames]) for name in frames[0]}


def positions(asf: Asf, amc: dict[str, np.ndarray]) -> np.ndarray:
    """Forward kinematics: (T, 31, 3) in millimetres.

    A bone turns about its own axes, C, against its parent: M = M_parent C R C', with R = Rz Ry Rx of its angles.

    Raises:
        DataError: a joint of the clip that the skeleton does not have, or with another number of angles.
    """
    for name, values in amc.items():
        size = 6 if name == "root" else len(asf.bones[name].free) if name in asf.bones else -1
        if values.shape[1] != size:
            raise DataError(f"{name} has {values.shape[1]} numbers in each frame; the skeleton expects {max(size, 0)}")
    if "root" not in amc:
        raise DataError(f"expected the joint root, got {sorted(amc)}")
    count = len(amc["root"])
    turn = {"root": _turned(amc["root"][:, 3:])}
    place = {"root": amc["root"][:, :3] * asf.unit}
    for name in JOINTS[1:]:
        bone, parent = asf.bones[name], asf.parents[name]
        angles = np.zeros((count, 3))
        if name in amc:
            angles[:, list(bone.free)] = amc[name]
        own = _turned(bone.axis[None])
        turn[name] = turn[parent] * own * _turned(angles) * own.inv()
        place[name] = place[parent] + turn[name].apply(bone.direction * bone.length * asf.unit)
    return np.stack([place[name] for name in JOINTS], axis=1)


def glitches(path: np.ndarray) -> np.ndarray:
    """(T,): frames from or to which some joint moves faster than ``FASTEST``; (T, J, 3) at ``RATE`` frames a second."""
    fast = (np.linalg.norm(np.diff(path, axis=0), axis=2) * RATE > FASTEST).any(1)
    return np.concatenate([[False], fast]) | np.concatenate([fast, [False]])


def skeleton() -> dict[str, Any]:
    """What ``skeleton.json`` holds."""
    pairs = [[JOINTS.index("l" + name), JOINTS.index("r" + name)] for name in (*LEG, *ARM)]
    return {
        "joint_names": list(JOINTS),
        "parents": list(PARENTS),
        "left_right_pairs": pairs,
        **{"units": "mm", "up_axis": "y", "fps": RATE // EVERY},
        "h36m17": _reduced(list(HUMAN36M), {"Neck/Nose": "Thorax", "Head": "Neck/Nose"}),
        "h36m16": _reduced([name for name in HUMAN36M if name != "Neck/Nose"], {"Head": "Thorax"}),
        "suggested_split": SPLIT,
    }


def convert(folder: Path, subjects: Sequence[int], out: Path, labels: dict[str, str]) -> dict[int, int]:
    """Write the files of the subjects and the skeleton, read them back, and return the number of frames of each.

    Raises:
        DataError: a file that is missing or cannot be read.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "skeleton.json").write_text(json.dumps(skeleton(), indent=1))
    # By path and not `import datasets`: a script finds another package of that name first.
    ours = importlib.import_module(f"{repository_datasets().__name__}.mocap")
    counts = {}
    for number in subjects:
        asf = read_asf(folder / f"{number:02d}" / f"{number:02d}.asf")
        files = sorted((folder / f"{number:02d}").glob(f"{number:02d}_*.amc"))
        if not files:
            raise DataError(f"{folder / f'{number:02d}'}: expected clips {number:02d}_01.amc ..., found none")
        clips, bad = [], []
        for file in files:
            try:
                path = positions(asf, read_amc(file))
            except DataError as error:
                raise error if str(file) in str(error) else DataError(f"{file}: {error}") from error
            clips.append(path[::EVERY])
            bad.append(glitches(path)[::EVERY])
        names = [file.stem for file in files]
        np.savez_compressed(
            out / f"cmu_subject_{number:03d}.npz",
            positions=np.concatenate(clips).astype(np.float32),
            clip_start=np.cumsum([0, *map(len, clips)]).astype(np.int32),
            clip_names=np.array(names),
            clip_labels=np.array([labels.get(name, "") for name in names]),
            glitch=np.concatenate(bad),
            subject=np.int32(number),
            fps=np.float32(RATE / EVERY),
        )
        counts[number] = len(ours.read_clips(out / f"cmu_subject_{number:03d}.npz")["positions"])
    return counts


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="with a folder for each subject: 01/01.asf, 01/01_01.amc, ...")
    parser.add_argument("--subjects", type=int, nargs="+", default=sorted([*SPLIT["train"], *SPLIT["test"]]), help="CMU numbers")
    parser.add_argument("--labels", type=Path, help="a .csv with the columns clip,label: what is done in 01_01 ...")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to, mocap below --data.root")
    given = parser.parse_args(arguments)
    try:
        labels = {} if given.labels is None else _labels(given.labels)
        counts = convert(given.folder, given.subjects, given.out, labels)
    except GnetError as error:
        sys.exit(f"error: {error}")
    print(f"{given.out}: {sum(counts.values())} frames of the subjects {sorted(counts)}; take them with --data.own_files true")


def _labels(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise DataError(f"{path}: no such file of labels")
    header, rows = read_table(path)
    at = columns(path, header, ("clip", "label"), ())
    return {row[at["clip"]]: row[at["label"]] for _, row in rows}


def _lines(path: Path) -> Iterator[list[str]]:
    if not path.is_file():
        raise DataError(f"{path}: no such file; those of CMU are at mocap.cs.cmu.edu")
    for line in path.read_text(encoding="latin1").splitlines():
        if words := line.split():
            yield words


def _sections(path: Path) -> dict[str, list[list[str]]]:
    found: dict[str, list[list[str]]] = {}
    here: list[list[str]] = []
    for line in _lines(path):
        if line[0].startswith("#"):
            continue
        if line[0].startswith(":"):
            here = found.setdefault(line[0][1:], [])
        else:
            here.append(line)
    return found


def _blocks(lines: list[list[str]]) -> Iterator[dict[str, list[str]]]:
    block: dict[str, list[str]] = {}
    for line in lines:
        if line[0] == "begin":
            block = {}
        elif line[0] == "end":
            yield block
        else:
            block[line[0]] = line[1:]


def _bone(block: dict[str, list[str]]) -> tuple[str, Bone]:
    direction, axis = (np.array([float(value) for value in block[key][:3]]) for key in ("direction", "axis"))
    if block["axis"][3:] not in ([], ["XYZ"]):
        raise ValueError(f"axis order {block['axis'][3:]}")
    free = tuple(("rx", "ry", "rz").index(name.lower()) for name in block.get("dof", ()))
    return block["name"][0], Bone(direction, float(block["length"][0]), axis, free)


def _turned(degrees: np.ndarray) -> Rotation:
    return Rotation.from_euler("xyz", degrees, degrees=True)  # lower case: about fixed axes, so Rz Ry Rx


def _reduced(names: list[str], trunk: dict[str, str]) -> dict[str, Any]:
    parents = {"Spine": "Hip", "Thorax": "Spine", **trunk}
    for side in "RL":
        parents |= {f"{side}Hip": "Hip", f"{side}Knee": f"{side}Hip", f"{side}Foot": f"{side}Knee"}
        parents |= {f"{side}Shoulder": "Thorax", f"{side}Elbow": f"{side}Shoulder", f"{side}Wrist": f"{side}Elbow"}
    sides = {side: [place for place, name in enumerate(names) if name[0] == side and name[1].isupper()] for side in "LR"}
    return {
        "names": names,
        "source_joint": [HUMAN36M[name] for name in names],
        "source_index": [JOINTS.index(HUMAN36M[name]) for name in names],
        "parents": [names.index(parents[name]) if name in parents else -1 for name in names],
        **{"left": sides["L"], "right": sides["R"]},
    }


if __name__ == "__main__":
    main()
