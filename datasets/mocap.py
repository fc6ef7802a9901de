"""CMU motion capture, lifted from 2-D to 3-D: people seen by four virtual cameras."""

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnet.errors import ConfigError, DataError

from .cameras import ROOM, Cameras
from .folders import data_folder
from .lifting import JOINTS, Clips, Part, PoseLifting
from .skeleton import Skeleton

KEYS = {
    "positions": "float (T, J, 3): millimetres, y up",
    "clip_start": "integers (C + 1,): clip c is frames clip_start[c]:clip_start[c + 1]",
    "clip_names": "text (C,): subject_trial",
    "clip_labels": "text (C,): what is done",
    "glitch": "bool (T,): frames to leave out",
}
SHA256 = {
    "cmu_subject_001.npz": "d87afd9a04be268fbf7a84dca76111f3cdd1a283895fc4c343c13d6f0b0f6f5d",
    "cmu_subject_002.npz": "00be55944c3623780f6750b0f9c7af16a2316ed635c9ceb2984c89d63a6a50ae",
    "cmu_subject_003.npz": "0d3c757a293c4b6df060142bdeef02c3bc9050f624a9f70b2dd8594ed454a026",
    "cmu_subject_007.npz": "118e091297a85ae62fa7dccae0e3cfdde583fc3932467700ee075253103bfd32",
    "cmu_subject_008.npz": "b86aa3f7f6a8ead33a0e49eafde3386cfdbcf0d5603d9120ddbc1c965562ebd8",
    "cmu_subject_009.npz": "c070e54c0aebb4aec51423ab306b90d63906190fc6277ade9a36d5d68ddb4fb6",
    "cmu_subject_049.npz": "38aade9c86e7899f97afe71d3e952b862c02ce65be5d361d0145956ff7a9e63a",
    "cmu_subject_055.npz": "66cf759c488b4ecb7ae1ff095286eb1c101aec393cada238c7616cc7e5fe5776",
    "cmu_subject_131.npz": "a88f446e4444fce1ba0e3370e01105bf74ba03402c7bef43e64ca9caf9646406",
    "skeleton.json": "603f4ce21dfb2422f2c826422de88eb8951bcddb57c98112a977e00398b5edff",
}
"""Of the files that the numbers of this repository come from."""
SCRIPT = "datasets/prepare/mocap.py"


class Mocap(PoseLifting):
    """CMU motion capture on 16 joints, each frame seen by the four cameras of ``datasets.cameras.ROOM``.

    The joints are those of Human3.6M lifting, in its order. CMU's own root lies about 105 mm above the line between the hips;
    joint 0 is therefore not that root but the middle of the two hip joints, as in Human3.6M, and the origin of the targets.

    People of the training, validation and test sets are different ones: the epoch is chosen on a person who is neither trained
    nor tested on. The default validates with subject 131 (three clips, 837 frames of walking and hopping: the test set is mostly
    walking too), which leaves subjects 1 (playground) and 2 (walk, run, jump, punch, bend ...) to train on. Frames in which the
    capture's solver flipped are left out.

    Args:
        train_subjects: CMU numbers of the people to train on.
        val_subjects: to choose the epoch by.
        test_subjects: to test on.
        own_files: take files with other checksums than the recorded ones: converted by yourself.
        options: see ``PoseLifting``.

    Raises:
        ConfigError: no subject, or one in two splits.
        DataError: files that are missing, corrupt, or hold something other than promised (when set up).

    References:
        CMU Graphics Lab Motion Capture Database, mocap.cs.cmu.edu, created with funding from NSF EIA-0196217.
    """

    def __init__(
        self,
        train_subjects: Sequence[int] = (1, 2),
        val_subjects: Sequence[int] = (131,),
        test_subjects: Sequence[int] = (3, 7, 8, 9, 49, 55),
        own_files: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.subjects: dict[Part, list[int]] = {
            "train": list(train_subjects),
            "val": list(val_subjects),
            "test": list(test_subjects),
        }
        check_subjects(self.subjects)
        self.own_files = own_files

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return data_folder("mocap", self.root)

    @cached_property
    def _record(self) -> dict[str, Any]:
        path = self._checked(self.folder / "skeleton.json")
        try:
            record = json.loads(path.read_text())["h36m16"]
            index = [int(joint) for joint in record["source_index"]]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: expected JSON with h36m16: names, source_index, parents, left, right, got {error!r}; run {SCRIPT}"
            ) from error
        return {**record, "source_index": index}

    @cached_property
    def skeleton(self) -> Skeleton:
        """Joints, bones and pairs, from ``skeleton.json``."""
        where = f"{self.folder / 'skeleton.json'}, h36m16"
        skeleton = Skeleton.from_record(self._record, where)
        index = self._record["source_index"]
        if skeleton.num_joints != JOINTS or len(set(index)) != JOINTS or len(index) != JOINTS:
            raise DataError(
                f"{where}: expected {JOINTS} joints and as many different source_index, got {skeleton.num_joints} joints "
                f"and {len(set(index))} indices; run {SCRIPT}"
            )
        if any(name not in skeleton.names for name in ("LHip", "RHip")):
            raise DataError(f"{where}: expected joints called LHip and RHip, whose middle is the root, got {skeleton.names}")
        return skeleton

    def clips(self) -> tuple[Mapping[Part, Clips], Cameras]:
        """The clips of each split, seen by the four cameras of the room."""
        return {
            part: Clips.joined([self._subject(number) for number in numbers]) for part, numbers in self.subjects.items()
        }, Cameras(ROOM)

    def _subject(self, number: int) -> Clips:
        path = self.folder / f"cmu_subject_{number:03d}.npz"
        if not path.is_file() and self.folder.is_dir():
            known = sorted(int(found[1]) for each in self.folder.iterdir() if (found := FILE.fullmatch(each.name)))
            if known:
                raise DataError(
                    f"subject {number} is unknown: {path} is missing; there are files of {known}, and {SCRIPT} converts others"
                )
        arrays = read_clips(self._checked(path))
        names, skeleton = self._record, self.skeleton
        if arrays["positions"].shape[1] <= max(names["source_index"]):
            raise DataError(
                f"{path}: expected at least {max(names['source_index']) + 1} joints, got {arrays['positions'].shape[1]}"
            )
        positions = torch.from_numpy(arrays["positions"][:, names["source_index"]]).float()
        positions[:, 0] = positions[:, [skeleton.names.index(name) for name in ("LHip", "RHip")]].mean(1)
        labels = [str(label) for label in arrays["clip_labels"]]
        clip_names = tuple(str(name) for name in arrays["clip_names"])
        return Clips(
            positions,
            torch.from_numpy(arrays["clip_start"].astype(np.int64)),
            torch.from_numpy(~arrays["glitch"]),
            torch.zeros(len(labels), dtype=torch.long),
            clip_names,
            tuple(label or name for label, name in zip(labels, clip_names, strict=True)),
            num_views=len(ROOM),
        )

    def _checksum(self, name: str) -> str:
        path = self.folder / name
        if self.own_files and path.is_file():
            return sha256_of(path)
        return SHA256.get(name, "not recorded")

    def _checked(self, path: Path) -> Path:
        if not path.is_file():
            keys = "; ".join(f"{key}: {meaning}" for key, meaning in KEYS.items())
            raise DataError(
                f"{path} is missing: give --data.root, or make it from the ASF and AMC files of mocap.cs.cmu.edu by "
                f"`python {SCRIPT}` (an .npz per subject with {keys}; and skeleton.json)"
            )
        expected, got = SHA256.get(path.name), sha256_of(path)
        if expected is not None and got != expected and not self.own_files:
            raise DataError(
                f"{path} is corrupt, truncated or another conversion: expected sha256 {expected}, got {got}; put a good copy "
                "there, or take files converted by yourself with --data.own_files true"
            )
        return path

    def describe(self) -> dict[str, Any]:
        """The data card."""
        used = [f"cmu_subject_{number:03d}.npz" for numbers in self.subjects.values() for number in numbers]
        return {
            "name": "CMU motion capture, lifted from four virtual cameras",
            "source": "mocap.cs.cmu.edu (NSF EIA-0196217), by forward kinematics, every 4th of 120 frames a second",
            "licence": (
                "free for all uses, may be copied, modified and redistributed; the data may not be resold directly (CMU terms)"
            ),
            "splits": "; ".join(f"{part}: subjects {numbers}" for part, numbers in self.subjects.items()),
            "checksum": {name: self._checksum(name) for name in [*used, "skeleton.json"]},
            **super().describe(),
        }


FILE = re.compile(r"cmu_subject_(\d+)\.npz")


def sha256_of(path: Path) -> str:
    """The checksum of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_subjects(subjects: Mapping[Part, Sequence[Any]]) -> None:
    """Refuse a split without people, and a person in two places.

    Raises:
        ConfigError: either.

    Example:
        >>> check_subjects({"train": ["S1"], "val": ["S8"], "test": ["S9"]})
    """
    empty = [part for part, numbers in subjects.items() if not numbers]
    if empty:
        raise ConfigError(f"expected subjects in every split, got none for {empty}")
    everyone = [number for numbers in subjects.values() for number in numbers]
    twice = sorted({number for number in everyone if everyone.count(number) > 1})
    if twice:
        splits = "; ".join(f"{part}: {list(numbers)}" for part, numbers in subjects.items())
        raise ConfigError(f"subjects {twice} are named twice ({splits}); name each once: nobody is trained on and tested on")


def read_clips(path: Path) -> dict[str, np.ndarray]:
    """The arrays of one subject's file, with the shapes and types that ``KEYS`` promises.

    Raises:
        DataError: no .npz file, a damaged one, keys that are missing, or arrays that do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in KEYS if key not in file.files]
            if missing:
                raise DataError(f"{path}: expected the keys {list(KEYS)}, got {file.files}: {missing} missing; run {SCRIPT}")
            arrays = {key: np.asarray(file[key]) for key in KEYS}
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is no complete .npz file ({error}); make it again with {SCRIPT}") from error
    positions, start, glitch = arrays["positions"], arrays["clip_start"], arrays["glitch"]
    count = len(arrays["clip_names"]) if arrays["clip_names"].ndim == 1 else -1
    fits = {
        "positions": positions.ndim == 3 and positions.shape[2] == 3 and positions.dtype.kind == "f",
        "clip_start": start.dtype.kind in "iu" and start.shape == (count + 1,),
        "clip_labels": arrays["clip_labels"].shape == (count,),
        "glitch": glitch.dtype == bool and glitch.shape == positions.shape[:1],
    }
    wrong = [key for key, good in fits.items() if not good]
    if wrong:
        got = ", ".join(f"{key} {arrays[key].dtype} {arrays[key].shape}" for key in KEYS)
        raise DataError(f"{path}: {wrong} do not fit; expected {'; '.join(f'{key}: {KEYS[key]}' for key in wrong)}; got {got}")
    if start[0] != 0 or start[-1] != len(positions) or (np.diff(start.astype(np.int64)) < 1).any():
        raise DataError(f"{path}: expected clip_start to rise from 0 to {len(positions)} frames, got {start.tolist()}")
    return arrays
