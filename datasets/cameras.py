"""Pinhole cameras: from the world into a camera, from there onto its image, and to numbers of order one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gnet.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Camera:
    """A camera: x to the right of its image, y down, z away from it.

    Shapes:
        rotation: (3, 3), world to camera    position: (3,), of its centre    focal, centre: (2,)    radial: (3,)
        tangential: (2,)

    Units: ``position`` in millimetres; ``size`` (width, height), ``focal`` and ``centre`` (the principal point) in pixels.

    Raises:
        ConfigError: no rotation, or sizes and focal lengths that are not positive.

    Example:
        >>> camera = Camera.look_at((0, 0, 5000), (0, 0, 0), focal=1000, size=(1000, 500))
        >>> cameras = Cameras([camera])
        >>> seen = cameras.seen(torch.tensor([[[0.0, 500.0, 0.0]]]), torch.tensor([0]))  # half a metre above the point looked at
        >>> seen
        tensor([[[   0., -500., 5000.]]])
        >>> cameras.pixels(seen, torch.tensor([0]))
        tensor([[[500., 150.]]])
    """

    rotation: Tensor
    position: Tensor
    focal: Tensor
    centre: Tensor
    size: tuple[int, int]
    radial: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))
    tangential: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))

    def __post_init__(self) -> None:
        for name, shape in (
            *(("rotation", (3, 3)), ("position", (3,)), ("focal", (2,)), ("centre", (2,))),
            *(("radial", (3,)), ("tangential", (2,))),
        ):
            value = getattr(self, name)
            if value.shape != shape or not value.isfinite().all():
                raise ConfigError(f"expected {name} of shape {shape} and finite, got {value.tolist()}")
        if min(self.size) < 1 or (self.focal <= 0).any():
            raise ConfigError(f"expected a positive size and focal length, got {self.size} and {self.focal.tolist()}")
        gap = (self.rotation @ self.rotation.T - torch.eye(3, dtype=self.rotation.dtype)).abs().max()
        if gap > 1e-4 or torch.det(self.rotation) < 0:
            raise ConfigError(f"expected a proper rotation, got a matrix with R R' off by {float(gap):.2g}, or a reflection")

    @classmethod
    def look_at(
        cls, position: Sequence[float], target: Sequence[float], *, focal: float, size: tuple[int, int], up: int = 1
    ) -> "Camera":
        """A camera at ``position`` whose optical axis goes through ``target``; ``up`` is the world's axis that points up."""
        here, there = (torch.tensor(each, dtype=torch.float64) for each in (position, target))
        forward = torch.nn.functional.normalize(there - here, dim=0)
        right = torch.linalg.cross(forward, torch.eye(3, dtype=torch.float64)[up])
        if right.norm() < 1e-6:
            raise ConfigError(f"a camera at {list(position)} that looks straight up or down has no upright image; move it")
        right = right / right.norm()
        rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
        middle = torch.tensor([size[0] / 2, size[1] / 2], dtype=torch.float64)
        return cls(rotation, here, torch.full((2,), focal, dtype=torch.float64), middle, size)

    @classmethod
    def from_quaternion(cls, orientation: Sequence[float], position: Sequence[float], **intrinsics: Any) -> "Camera":
        """A camera whose ``orientation`` (w, x, y, z) turns camera axes into world axes.

        Example:
            >>> half = 0.5**0.5  # the camera's z axis is the world's x axis
            >>> camera = Camera.from_quaternion((half, 0, half, 0), (0, 0, 0), focal=(1.0, 1.0), centre=(0.0, 0.0), size=(1, 1))
            >>> (camera.rotation @ torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))[2].round()
            tensor(1., dtype=torch.float64)
        """
        given = torch.tensor(orientation, dtype=torch.float64)
        if given.shape != (4,) or not abs(float(given.norm()) - 1) < 1e-3:
            raise ConfigError(f"expected an orientation (w, x, y, z) of norm 1, got {list(orientation)}")
        w, x, y, z = (given / given.norm()).tolist()
        to_world = torch.tensor(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ],
            dtype=torch.float64,
        )
        size = intrinsics.pop("size")
        numbers = {name: torch.tensor(value, dtype=torch.float64) for name, value in intrinsics.items()}
        return cls(to_world.T, torch.tensor(position, dtype=torch.float64), size=(int(size[0]), int(size[1])), **numbers)


class Cameras:
    """Several cameras, to project batches in which every sample has its own.

    Shapes:
        points: (B, M, 3) in millimetres    which: (B,) numbers of cameras

    References:
        Brown (1971), "Close-range camera calibration", on radial and tangential distortion.
    """

    def __init__(self, cameras: Sequence[Camera]) -> None:
        if not cameras:
            raise ConfigError("expected at least one camera, got none")
        self.rotation, self.position, self.focal, self.centre, self.radial, self.tangential = (
            torch.stack([getattr(camera, name) for camera in cameras]).float()
            for name in ("rotation", "position", "focal", "centre", "radial", "tangential")
        )
        self.size = torch.tensor([camera.size for camera in cameras], dtype=torch.float32)
        self.distorts = bool(self.radial.any() or self.tangential.any())

    def __len__(self) -> int:
        return len(self.rotation)

    def seen(self, points: Tensor, which: Tensor) -> Tensor:
        """World to camera coordinates."""
        return (points - self.position[which].unsqueeze(1)) @ self.rotation[which].mT

    def pixels(self, seen: Tensor, which: Tensor) -> Tensor:
        """Camera coordinates to pixels (B, M, 2)."""
        flat = seen[..., :2] / seen[..., 2:]
        if self.distorts:
            square = flat.square().sum(-1, keepdim=True)
            powers = torch.cat([square, square**2, square**3], dim=-1)
            shift = self.tangential[which].unsqueeze(1)
            radial = 1 + (self.radial[which].unsqueeze(1) * powers).sum(-1, keepdim=True)
            flat = flat * (radial + (shift * flat).sum(-1, keepdim=True)) + shift * square
        return self.focal[which].unsqueeze(1) * flat + self.centre[which].unsqueeze(1)

    def normalised(self, pixels: Tensor, which: Tensor) -> Tensor:
        """2 u / w - (1, h / w): the image's width becomes -1 to 1, its height keeps the scale.

        Example:
            >>> cameras = Cameras([Camera.look_at((0, 0, 1), (0, 0, 0), focal=1, size=(1000, 500))])
            >>> cameras.normalised(torch.tensor([[[0.0, 0.0], [1000.0, 500.0]]]), torch.tensor([0]))
            tensor([[[-1.0000, -0.5000],
                     [ 1.0000,  0.5000]]])
        """
        size = self.size[which].unsqueeze(1)
        width = size[..., :1]
        return 2 * pixels / width - size / width


ROOM: tuple[Camera, ...] = tuple(
    Camera.look_at(position, (400, 1000, 200), focal=1200, size=(1920, 1080))
    for position in ((4000, 1700, 4400), (-3200, 1500, 4600), (-3300, 1600, -4200), (4100, 1400, -4300))
)
"""Four cameras in the corners of a capture room (millimetres, y up), at the height of a head, looking at its middle.

1920 x 1080 pixels with a focal length of 1200: an angle of 77 degrees. Every joint of every CMU frame is in all four images.
"""
