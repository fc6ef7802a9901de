"""Small files in the layout of the CMU motion capture, that several tests share."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from datasets.kinematic import random_poses
from datasets.mocap import Mocap

PEOPLE = (1, 2, 131, 3)
FRAMES = (5, 3)
"""Frames of the two clips of each person."""
RISE = 105.0
"""Millimetres by which CMU's root is above the middle of the hips."""


def prepare() -> ModuleType:
    """The script that converts, which is in no package."""
    name = "prepare_mocap"
    if name not in sys.modules:
        file = Path(__file__).resolve().parents[2] / "datasets" / "prepare" / "mocap.py"
        spec = importlib.util.spec_from_file_location(name, file)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def person(number: int) -> dict[str, np.ndarray]:
    """The arrays of one person; the second frame of the first clip is a glitch."""
    count = sum(FRAMES)
    record = prepare().skeleton()["h36m16"]
    poses = random_poses(count, 0.3, torch.Generator().manual_seed(number)).numpy()
    positions = np.zeros((count, 31, 3), dtype=np.float32)
    positions[:, record["source_index"]] = poses
    positions[:, 0, 1] += RISE
    glitch = np.zeros(count, dtype=bool)
    glitch[1] = True
    return {
        "positions": positions,
        "clip_start": np.cumsum([0, *FRAMES]).astype(np.int32),
        "clip_names": np.array([f"{number:02d}_01", f"{number:02d}_02"]),
        "clip_labels": np.array(["walk", ""]),
        "glitch": glitch,
        "subject": np.int32(number),
        "fps": np.float32(30),
    }


def write_people(root: Path, **changes: Any) -> Path:
    """All people and the skeleton below ``root``; ``changes`` are those of person 2 (None leaves a key out)."""
    folder = root / "mocap"
    folder.mkdir(exist_ok=True)
    (folder / "skeleton.json").write_text(json.dumps(prepare().skeleton()))
    for number in PEOPLE:
        arrays = person(number) | (changes if number == 2 else {})
        np.savez(folder / f"cmu_subject_{number:03d}.npz", **{key: value for key, value in arrays.items() if value is not None})
    return folder


def captured(root: Path, **options: Any) -> Mocap:
    """The module over these files."""
    return Mocap(**{"root": str(root), "own_files": True, "test_subjects": (3,), **options})
