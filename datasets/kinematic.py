"""Random poses of a kinematic tree, lifted from 2-D to 3-D: a stand-in for motion capture that needs no files."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gnet.errors import ConfigError
from gnet.randomness import derive_seed

from .cameras import ROOM, Cameras
from .lifting import Clips, Part, PoseLifting
from .skeleton import HUMAN36M_16, Skeleton

# Of each joint from its parent, in millimetres, for a person who stands upright with hanging arms and looks along z.
OFFSETS = (
    *((0, 0, 0), (-130, 0, 0), (0, -440, 0), (0, -450, 0), (130, 0, 0), (0, -440, 0), (0, -450, 0)),
    *((0, 230, 0), (0, 260, 0), (0, 230, 0)),
    *((150, 0, 0), (0, -280, 0), (0, -250, 0), (-150, 0, 0), (0, -280, 0), (0, -250, 0)),
)
# How much the bone to each joint turns, in units of ``spread``: hips are fixed to the root, so that it stays their middle.
FREEDOM = (0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.3, 0.3, 0.5, 0.2, 1.0, 1.0, 0.2, 1.0, 1.0)
MIDDLE = (400.0, 950.0, 200.0)
"""Where people stand: the root's mean position, between the cameras of ``ROOM``."""


class KinematicTree(PoseLifting):
    """Poses of a person of fixed bone lengths whose joints turn at random, each seen by the cameras of ``ROOM``.

    Each bone is turned against its parent's by a rotation vector with independent normal entries; the person faces any way and
    stands within a metre of the middle of the room. Left and right are equally long and move alike, so exchanging two legs or
    two arms changes the distribution only by the place of the hips and shoulders.

    ``draw`` makes the training and validation poses, ``study_seed`` the test poses, ``seed`` the order of batches.

    Args:
        num_train: poses to train on; each is a sample for every camera.
        num_val: poses to choose the epoch by.
        num_test: poses to test on.
        spread: standard deviation of a rotation vector's entries, in radians.
        options: see ``GraphDataModule``; ``root`` is not used.

    Raises:
        ConfigError: no poses, or a negative spread.

    Example:
        >>> tree = KinematicTree(num_train=50)
        >>> tree.train_arrays().x.shape, tree.train_arrays().y.shape
        (torch.Size([200, 16, 2]), torch.Size([200, 16, 3]))
    """

    def __init__(self, num_train: int = 200, num_val: int = 50, num_test: int = 100, spread: float = 0.5, **options: Any) -> None:
        super().__init__(**options)
        if (self.every, self.num_frames) != (1, 1):
            raise ConfigError("every and num_frames are for films; the poses of a kinematic tree are independent, leave them out")
        if min(num_train, num_val, num_test) < 1 or not 0 <= spread < math.inf:
            raise ConfigError(
                f"expected num_train, num_val, num_test >= 1 and spread >= 0, got {num_train}, {num_val}, {num_test}, {spread}"
            )
        self.num_poses: dict[Part, int] = {"train": num_train, "val": num_val, "test": num_test}
        self.spread = spread

    @property
    def skeleton(self) -> Skeleton:
        """The 16 joints of Human3.6M lifting."""
        return HUMAN36M_16

    def clips(self) -> tuple[Mapping[Part, Clips], Cameras]:
        """Each pose is a clip of one frame."""
        seeds = {part: derive_seed(self.draw, "draw", part) for part in ("train", "val")}
        seeds["test"] = derive_seed(self.study_seed, "test")
        return {
            part: self._drawn(count, part, torch.Generator().manual_seed(seeds[part])) for part, count in self.num_poses.items()
        }, Cameras(ROOM)

    def redrawn(self, clips: Clips, frames: Tensor, generator: torch.Generator) -> Tensor:
        """The poses themselves, which every draw makes anew."""
        return frames

    def describe(self) -> dict[str, Any]:
        """The data card."""
        return {
            "name": "Kinematic tree",
            "source": f"drawn by study seed {self.study_seed} and draw {self.draw}",
            "licence": "none needed",
            "splits": ", ".join(f"{count} {part}" for part, count in self.num_poses.items()) + " poses, all independent",
            "checksum": "drawn, not read",
            **super().describe(),
        }

    def _drawn(self, count: int, part: Part, generator: torch.Generator) -> Clips:
        poses = random_poses(count, self.spread, generator)
        names = tuple(f"{part}{number}" for number in range(count))
        return Clips(
            poses,
            torch.arange(count + 1),
            torch.ones(count, dtype=torch.bool),
            torch.zeros(count, dtype=torch.long),
            names,
            ("any",) * count,
            num_views=len(ROOM),
        )


def random_poses(count: int, spread: float, generator: torch.Generator) -> Tensor:
    """Poses in world coordinates, (count, 16, 3), millimetres, y up.

    Example:
        >>> poses = random_poses(5, 0.5, torch.Generator().manual_seed(0))
        >>> HUMAN36M_16.bone_lengths(poses).std(0).max() < 1e-3
        tensor(True)
    """
    freedom, offsets = torch.tensor(FREEDOM, dtype=torch.float64), torch.tensor(OFFSETS, dtype=torch.float64)
    vectors = torch.randn(count, len(freedom), 3, generator=generator, dtype=torch.float64) * (spread * freedom).unsqueeze(1)
    vectors[:, 0, 1] = 2 * math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    turns = rotations(vectors)  # (count, 16, 3, 3)
    place = torch.rand(count, 3, generator=generator, dtype=torch.float64) * 2 - 1
    root = torch.tensor(MIDDLE, dtype=torch.float64) + place * torch.tensor([1000.0, 100.0, 1000.0], dtype=torch.float64)
    frames, positions = [turns[:, 0]], [root]
    for joint, parent in enumerate(HUMAN36M_16.parents[1:], 1):
        frames.append(frames[parent] @ turns[:, joint])
        positions.append(positions[parent] + frames[joint] @ offsets[joint])
    return torch.stack(positions, dim=1).float()


def rotations(vectors: Tensor) -> Tensor:
    """The rotation about each vector by its length in radians: (*, 3) to (*, 3, 3).

    Example:
        >>> turned = rotations(torch.tensor([0.0, 0.0, math.pi / 2])) @ torch.tensor([2.0, 0.0, 3.0])
        >>> torch.allclose(turned, torch.tensor([0.0, 2.0, 3.0]), atol=1e-6)
        True
    """
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    rows = [torch.stack(row, dim=-1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return torch.linalg.matrix_exp(torch.stack(rows, dim=-2))
