"""Clouds of two kinds, tori and boxes, drawn; and clouds on the meshes of ModelNet, read."""

from pathlib import Path

import torch
from torch import Tensor

from gnet.errors import ConfigError, DataError, DegenerateInputError
from gnet.groups.haar import haar_orthogonal

SMALLEST, LARGEST = 0.7, 1.0
"""Between which the length of the farthest point of a drawn cloud is."""


def tori(num: int, num_points: int = 100, generator: torch.Generator | None = None) -> Tensor:
    """Points on tori around the circle of radius 1, thick .1 to .6, both angles uniform; ``placed`` afterwards.

    Shapes:
        returns: (num, num_points, 3), float32

    Raises:
        ConfigError: numbers below one.

    Example:
        >>> tori(2, 5).shape
        torch.Size([2, 5, 3])
    """
    _check(num, num_points)
    radius = uniform((num, 1), 0.1, 0.6, generator)
    round_, about = uniform((2, num, num_points), 0.0, 2 * torch.pi, generator)
    reach = 1 + radius * about.cos()
    return placed(torch.stack([reach * round_.cos(), reach * round_.sin(), radius * about.sin()], -1), generator)


def boxes(num: int, num_points: int = 100, generator: torch.Generator | None = None) -> Tensor:
    """Points uniform on the surfaces of boxes with half sides .2 to 1; ``placed`` afterwards.

    Shapes:
        returns: (num, num_points, 3), float32

    Raises:
        ConfigError: numbers below one.

    Example:
        >>> boxes(2, 5).shape
        torch.Size([2, 5, 3])
    """
    _check(num, num_points)
    half = uniform((num, 3), 0.2, 1.0, generator)
    areas = half.prod(-1, keepdim=True) / half  # of the two faces that an axis meets
    axis = torch.multinomial(areas, num_points, replacement=True, generator=generator)
    inside = uniform((num, num_points, 3), -1.0, 1.0, generator)
    is_face = torch.nn.functional.one_hot(axis, 3).bool()
    return placed(torch.where(is_face, inside.sign(), inside) * half[:, None], generator)


def placed(V: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Clouds about their mean, under a random element of O(d) each, the farthest point between .7 and 1 from it; float32.

    Shapes:
        V: (B, n, d)    returns: (B, n, d)

    Raises:
        DegenerateInputError: a cloud that is one point.

    Example:
        >>> lengths = placed(torch.randn(4, 9, 3)).norm(dim=-1).amax(-1)
        >>> bool((lengths >= 0.7).all() and (lengths <= 1.0).all())
        True
    """
    V = V.double()
    centred = V - V.mean(-2, keepdim=True)
    largest = centred.norm(dim=-1).amax(-1)
    if bool((largest <= 0).any()):
        raise DegenerateInputError("expected clouds of different points, got one whose points are all the same")
    size = uniform((len(V),), SMALLEST, LARGEST, generator) / largest
    turns = haar_orthogonal(V.shape[-1], len(V), generator).to(V)
    return (size[:, None, None] * centred @ turns.mT).float()


def modelnet(
    root: str | Path,
    category: str,
    split: str = "train",
    num: int = 40,
    num_points: int = 100,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Clouds on the first meshes of a category of ModelNet40, uniform by area; ``placed`` afterwards. Nothing is fetched.

    Args:
        root: the folder of the categories: ``root/bed/train/bed_0001.off`` ...
        category: such as "bed" or "car", the numbers 2 and 7 of the published table.
        split: "train" or "test".

    Shapes:
        returns: (num, num_points, 3), float32

    Raises:
        DataError: no such folder, fewer than ``num`` meshes, or a file that is no mesh.
        ConfigError: numbers below one, or another split.

    References:
        Wu et al. (2015), arXiv:1406.5670.

    Example:
        >>> modelnet("/nowhere", "bed")
        Traceback (most recent call last):
        ...
        gnet.errors.DataError: expected 40 meshes /nowhere/bed/train/*.off, got 0; give the folder of an unpacked ModelNet40
    """
    from torch_geometric.io import read_off
    from torch_geometric.transforms import SamplePoints

    _check(num, num_points)
    if split not in ("train", "test"):
        raise ConfigError(f"expected split 'train' or 'test', got {split!r}")
    folder = Path(root) / category / split
    paths = sorted(folder.glob("*.off"))[:num]
    if len(paths) < num:
        raise DataError(f"expected {num} meshes {folder}/*.off, got {len(paths)}; give the folder of an unpacked ModelNet40")
    clouds = []
    with torch.random.fork_rng(devices=[]):  # PyG's transform draws from the global generator
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        for path in paths:
            try:
                clouds.append(SamplePoints(num_points)(read_off(str(path))).pos)
            except (ValueError, IndexError, AssertionError, RuntimeError) as error:
                raise DataError(f"expected a mesh in {path}, got what PyG cannot read: {error}") from error
    return placed(torch.stack(clouds), generator)


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator | None = None) -> Tensor:
    """Uniform numbers of float64.

    Example:
        >>> uniform((2, 3), 0.0, 1.0).shape
        torch.Size([2, 3])
    """
    return low + (high - low) * torch.rand(shape, dtype=torch.float64, generator=generator)


def _check(num: int, num_points: int) -> None:
    if min(num, num_points) < 1:
        raise ConfigError(f"expected num and num_points >= 1, got {num} and {num_points}")
