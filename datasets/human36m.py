"""Human3.6M, lifted from 2-D to 3-D: for those who have the licensed files, which are not part of this repository."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnet.errors import ConfigError, DataError

from .cameras import Camera, Cameras
from .folders import data_folder
from .lifting import Clips, Part, PoseLifting
from .mocap import check_subjects
from .skeleton import HUMAN36M_16, Skeleton
from .unpickle import read_pickled

MOVING_17 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
"""The joints of 32 that are not copies of others or tips of fingers and toes."""
NECK = 9
"""Neck/Nose among the 17, left out for the 16."""
POSES, FLAT, CAMERAS = "data_3d_h36m.npz", "data_2d_h36m_gt.npz", "cameras.json"
FRAMES: dict[tuple[str, ...], int] = {
    ("S1",): 248_376,
    ("S5",): 396_316,
    ("S6",): 249_864,
    ("S7", "S8"): 665_196,
    ("S9", "S11"): 543_344,
}
"""Frames times cameras; 1 559 752 of the first five subjects. What is known of pairs is their sum."""
INTRINSICS = ("focal_length", "center", "radial_distortion", "tangential_distortion", "res_w", "res_h")
EXTRINSICS = ("orientation", "translation")
NEAR = 20.0
"""Pixels by which given 2-D positions may miss the projected ones, in the median."""


class Human36M(PoseLifting):
    """Human3.6M on 16 joints: all actions, all cameras, no down-sampling unless ``every`` asks for it.

    The folder ``human36m`` below the root holds

    - ``data_3d_h36m.npz``: ``positions_3d``, a pickled dictionary subject -> action -> (T, 32, 3) or (T, 17, 3) in metres, in
      world coordinates; nothing but arrays, dictionaries and text is read from it;
    - ``cameras.json``: subject -> list of cameras, the order of which is that of the views, each with ``orientation``
      (quaternion w, x, y, z from camera to world axes), ``translation`` (of the camera in the world, millimetres),
      ``focal_length``, ``center`` (pixels, two each), ``radial_distortion`` (3), ``tangential_distortion`` (2), ``res_w``,
      ``res_h`` (pixels): the fields of the usual scripts, before they are normalised;
    - perhaps ``data_2d_h36m_gt.npz``: ``positions_2d``, subject -> action -> a list of (T, J, 2) in pixels, one for each camera,
      J 16, 17 or 32; without it the 3-D positions are projected.

    Of 32 joints 17 move; Neck/Nose is left out and the shoulders hang on the thorax. One training subject is held out: to choose
    the epoch on S9 and S11 would be to choose on the test set.

    Args:
        train_subjects: to train on; those that are also among ``val_subjects`` are left out.
        val_subjects: training subjects to choose the epoch by.
        test_subjects: to test on.
        check_counts: refuse files with other numbers of frames than the usual ones, 1 559 752 of S1, S5, S6, S7 and S8 in all
            cameras and 543 344 of S9 and S11. False takes any other conversion, or a part.
        options: see ``PoseLifting``.

    Raises:
        ConfigError: no subject, or one that is trained and tested on.
        DataError: files that are missing, corrupt, or hold something other than promised (when set up).

    References:
        Ionescu, Papava, Olaru and Sminchisescu (2014), doi:10.1109/TPAMI.2013.248: the data.
        Martinez, Hossain, Romero and Little (2017), arXiv:1705.03098: lifting. Zhao et al. (2019), arXiv:1904.03345: 16 joints.
        Pavllo et al. (2019), arXiv:1811.11742: the layout of the files.
    """

    def __init__(
        self,
        train_subjects: Sequence[str] = ("S1", "S5", "S6", "S7", "S8"),
        val_subjects: Sequence[str] = ("S8",),
        test_subjects: Sequence[str] = ("S9", "S11"),
        check_counts: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.subjects: dict[Part, list[str]] = {
            "train": [subject for subject in train_subjects if subject not in val_subjects],
            "val": list(val_subjects),
            "test": list(test_subjects),
        }
        check_subjects(self.subjects)
        self.check_counts = check_counts

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return data_folder("human36m", self.root)

    @property
    def skeleton(self) -> Skeleton:
        """The 16 joints."""
        return HUMAN36M_16

    def clips(self) -> tuple[Mapping[Part, Clips], Cameras]:
        """The clips of each split, and the cameras of all subjects."""
        poses = _by_action(self._file(POSES), "positions_3d")
        flat = _by_action(self.folder / FLAT, "positions_2d") if (self.folder / FLAT).is_file() else None
        rigs = read_cameras(self._file(CAMERAS))
        subjects = [subject for part in self.subjects.values() for subject in part]
        files: dict[str, Any] = {POSES: poses, CAMERAS: rigs}
        if flat is not None:
            files[FLAT] = flat
        for name, there in files.items():
            missing = [subject for subject in subjects if subject not in there]
            if missing:
                raise DataError(f"{self.folder / name}: expected the subjects {subjects}, got {sorted(there)}: {missing} missing")
        counts = {subject: len(rigs[subject]) for subject in subjects}
        views = counts[subjects[0]]
        if set(counts.values()) != {views}:
            raise DataError(f"{self.folder / CAMERAS}: expected as many cameras for every subject, got {counts}")
        cameras = Cameras([camera for subject in subjects for camera in rigs[subject]])
        clips = {
            part: Clips.joined([self._clips(poses, flat, subject, subjects.index(subject), views) for subject in each])
            for part, each in self.subjects.items()
        }
        if self.check_counts:
            self._check_counts(clips)
        if flat is not None:
            for each in clips.values():
                self._check_views(each, cameras)
        return clips, cameras

    def _clips(self, poses: Any, flat: Any, subject: str, place: int, views: int) -> Clips:
        actions = sorted(poses[subject])
        arrays = [sixteen(poses[subject][action], 3, f"{self.folder / POSES}, {subject}, {action}") for action in actions]
        lengths = torch.tensor([len(array) for array in arrays])
        pixels = None if flat is None else self._pixels(flat[subject], subject, actions, lengths.tolist(), views)
        return Clips(
            1000 * torch.cat(arrays),
            torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)]),
            torch.ones(int(lengths.sum()), dtype=torch.bool),
            torch.full((len(actions),), place * views),
            tuple(f"{subject}/{action}" for action in actions),
            tuple(action.split(" ")[0] for action in actions),
            views,
            pixels,
        )

    def _pixels(self, flat: Any, subject: str, actions: list[str], lengths: list[int], views: int) -> Tensor:
        found = []
        for action, length in zip(actions, lengths, strict=True):
            where = f"{self.folder / FLAT}, {subject}, {action}"
            given = flat.get(action, ())
            each = [sixteen(array, 2, where) for array in given]
            if len(each) != views or any(len(array) != length for array in each):
                raise DataError(
                    f"{where}: expected {views} arrays of {length} frames, as in {POSES} and {CAMERAS}, "
                    f"got {[len(array) for array in each]} frames"
                )
            found.append(torch.stack(each))
        return torch.cat(found, dim=1)

    def _check_counts(self, clips: Mapping[Part, Clips]) -> None:
        found: dict[str, dict[str, int]] = {}  # frames by subject and action
        for each in clips.values():
            for name, frames in zip(each.names, each.start.diff().tolist(), strict=True):
                subject, _, action = name.partition("/")
                found.setdefault(subject, {})[action] = frames * each.num_views
        for subjects, expected in FRAMES.items():
            actions = {f"{subject} {action}": n for subject in subjects for action, n in found.get(subject, {}).items()}
            if set(subjects) <= set(found) and sum(actions.values()) != expected:
                shortest = sorted(actions, key=actions.__getitem__)[:3]
                raise DataError(
                    f"{self.folder / POSES}: expected {expected} frames of {' and '.join(subjects)} in all cameras, got "
                    f"{sum(actions.values())} in {len(actions)} clips, the shortest of which are "
                    f"{', '.join(f'{name} ({actions[name]})' for name in shortest)}; is it cut off, down-sampled or another "
                    "conversion? check_counts=False takes it as it is"
                )

    def _check_views(self, clips: Clips, cameras: Cameras) -> None:
        frames = clips.start[:-1]  # the first of each clip
        for view in range(clips.num_views):
            which = clips.rig + view
            expected = cameras.pixels(cameras.seen(clips.positions[frames], which), which)
            given = clips.pixels[view, frames] if clips.pixels is not None else expected
            if not (miss := float((given - expected).norm(dim=-1).median())) < NEAR:
                raise DataError(
                    f"{self.folder / FLAT}: camera {view} misses the projection by {CAMERAS} by {miss:.0f} pixels in the median; "
                    "list the cameras in the order of the 2-D file"
                )

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise DataError(
                f"{path} is missing: Human3.6M is licensed (vision.imar.ro/human3.6m) and comes with no repository; make "
                f"{POSES} (positions_3d) by the scripts of arXiv:1811.11742, and {CAMERAS} as datasets/human36m.py says"
            )
        return path

    def describe(self) -> dict[str, Any]:
        """The data card."""
        return {
            "name": "Human3.6M",
            "source": "vision.imar.ro/human3.6m (Ionescu et al., 2014), in the layout of arXiv:1811.11742; bring your own files",
            "licence": "academic use under a licence of its own; no redistribution",
            "splits": "; ".join(f"{part}: {', '.join(subjects)}" for part, subjects in self.subjects.items()),
            "checksum": "not recorded; the number of frames is checked" if self.check_counts else "not recorded",
            **super().describe(),
        }


def sixteen(array: Any, channels: int, where: str) -> Tensor:
    """The 16 joints of an array with 32, 17 or 16 of them, (T, 16, channels).

    Raises:
        DataError: another shape, or coordinates that are not finite; the message starts with ``where``.

    Example:
        >>> sixteen(np.arange(32.0).reshape(1, 32, 1).repeat(3, 2), 3, "")[0, :, 0].int().tolist()
        [0, 1, 2, 3, 6, 7, 8, 12, 13, 15, 17, 18, 19, 25, 26, 27]
    """
    given = np.asarray(array)
    if given.ndim != 3 or given.shape[1] not in (16, 17, 32) or given.shape[2] != channels or given.dtype.kind != "f":
        raise DataError(f"{where}: expected floats (T, 32, 17 or 16, {channels}), got {given.dtype} {given.shape}")
    if given.shape[1] == 32:
        given = given[:, list(MOVING_17)]
    if given.shape[1] == 17:
        given = np.delete(given, NECK, axis=1)
    values = torch.from_numpy(np.ascontiguousarray(given, dtype=np.float32))
    if not values.isfinite().all():
        frame = int((~values.isfinite()).nonzero()[0, 0])
        raise DataError(f"{where}: frame {frame} has a coordinate that is not finite; make the file again")
    return values


def read_cameras(path: Path) -> dict[str, list[Camera]]:
    """The cameras of every subject in a file like ``Human36M`` describes.

    Raises:
        DataError: no JSON, fields that are missing, or numbers that make no camera.
    """
    try:
        record = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path}: expected JSON, subject -> list of cameras, got {error}") from error
    if not isinstance(record, dict) or not all(isinstance(each, list) and each for each in record.values()):
        raise DataError(f"{path}: expected JSON, subject -> list of cameras with the fields {[*EXTRINSICS, *INTRINSICS]}")
    return {
        str(subject): [read_camera(each, f"{path}, {subject}, camera {number}") for number, each in enumerate(cameras)]
        for subject, cameras in record.items()
    }


def read_camera(fields: Any, where: str) -> Camera:
    """The camera of a dictionary of fields like ``Human36M`` describes.

    Raises:
        DataError: fields that are missing, or numbers that make no camera; the message starts with ``where``.
    """
    missing = [name for name in (*EXTRINSICS, *INTRINSICS) if not isinstance(fields, dict) or name not in fields]
    if missing:
        raise DataError(f"{where}: expected the fields {[*EXTRINSICS, *INTRINSICS]}: {missing} missing")
    try:
        return Camera.from_quaternion(
            fields["orientation"],
            fields["translation"],
            focal=fields["focal_length"],
            centre=fields["center"],
            radial=fields["radial_distortion"],
            tangential=fields["tangential_distortion"],
            size=(fields["res_w"], fields["res_h"]),
        )
    except (ConfigError, TypeError, ValueError) as error:
        raise DataError(f"{where}: {error}") from error


def _by_action(path: Path, key: str) -> dict[str, dict[str, Any]]:
    found = read_pickled(path, key)
    if not isinstance(found, dict) or not all(isinstance(each, dict) and each for each in found.values()):
        raise DataError(f"{path}: expected {key} to be a dictionary subject -> action -> array, got {type(found).__name__}")
    return {str(subject): {str(action): array for action, array in each.items()} for subject, each in found.items()}
