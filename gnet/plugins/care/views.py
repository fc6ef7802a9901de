"""Augmentations, and two views of every sample: one pair of augmentations for all samples of a chunk."""

import math
from typing import Protocol

import torch
from torch import Tensor

from gnet.errors import ConfigError, NotCompactError, ShapeError
from gnet.groups import Group
from gnet.groups.base import Action
from gnet.groups.haar import rotations_2d
from gnet.groups.matrix import matrix_times_vector
from gnet.plugins.care.losses import chunk_size


class Augmentation(Protocol):
    """What draws augmentations and applies them; write your own with these two methods.

    ``sample`` gives ``num`` of them along a first axis; ``apply`` applies the i-th to the i-th of groups of samples, (K, m, ...).
    """

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """``num`` augmentations."""

    def apply(self, drawn: Tensor, x: Tensor) -> Tensor:
        """Each on its own m samples: drawn (K, ...), x (K, m, ...)."""


class GroupAugmentation:
    """Uniform elements of a compact group, or those of ``group.sampled_by``.

    Args:
        group: of matrices or permutations.
        action: of the group on a batch of samples; its own if None.

    Raises:
        NotCompactError: a group without a uniform law.

    Example:
        >>> from gnet.plugins.tensors import SO
        >>> turns, clouds = GroupAugmentation(SO(3)), torch.randn(2, 5, 64, 3)  # two groups of five clouds
        >>> turns.apply(turns.sample(2), clouds).shape
        torch.Size([2, 5, 64, 3])
    """

    def __init__(self, group: Group, action: Action | None = None) -> None:
        if group.sampling == "local":
            raise NotCompactError(f"{group.name} has no uniform law to draw augmentations from; give group.sampled_by(...)")
        self.group, self.action = group, action or group.action

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Uniform elements."""
        return self.group.sample(num, generator)

    def apply(self, drawn: Tensor, x: Tensor) -> Tensor:
        """``g x``; in one product where the group acts by matrices on the last axis."""
        if self.action.act is matrix_times_vector and x.ndim > 2 and len(drawn) == len(x):
            return matrix_times_vector(drawn, x.flatten(1, -2)).reshape(x.shape)
        return torch.stack([self.action(g, part) for g, part in zip(drawn, x, strict=True)])

    def __repr__(self) -> str:
        return f"GroupAugmentation({self.group.name})"


class ImageAugmentation:
    """Turns, shifts and contrasts of images; what comes from outside is 0.

    Args:
        degrees: turns are uniform within +-degrees.
        shift: uniform within +-shift pixels along each axis.
        contrast: a factor uniform within 1 +- contrast.

    Shapes:
        drawn: (K, 4), angle in radians, shifts in pixels, factor    x: (K, m, C, H, W)

    Raises:
        ConfigError: negative numbers, or a contrast above 1.
        ShapeError: (in ``apply``) other shapes.

    Example:
        >>> moved, image = ImageAugmentation(shift=1.0), torch.zeros(1, 1, 1, 3, 3)
        >>> image[..., 1, 1] = 1
        >>> moved.apply(torch.tensor([[0.0, 1.0, 0.0, 0.5]]), image)[0, 0, 0]
        tensor([[0.0000, 0.0000, 0.0000],
                [0.0000, 0.0000, 0.5000],
                [0.0000, 0.0000, 0.0000]])
    """

    def __init__(self, degrees: float = 30.0, shift: float = 1.0, contrast: float = 0.3) -> None:
        if min(degrees, shift, contrast) < 0 or contrast > 1:
            raise ConfigError(f"expected degrees, shift >= 0 and 0 <= contrast <= 1, got {degrees}, {shift} and {contrast}")
        self.scales = torch.tensor([math.radians(degrees), shift, shift, contrast])

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Angle, two shifts and factor, each uniform."""
        drawn = (2 * torch.rand(num, 4, generator=generator) - 1) * self.scales
        drawn[:, 3] += 1
        return drawn

    def apply(self, drawn: Tensor, x: Tensor) -> Tensor:
        """Turn, then shift, then scale; bilinear."""
        if x.ndim != 5 or drawn.shape != (len(x), 4):
            raise ShapeError(f"expected drawn (K, 4) and x (K, m, C, H, W), got {tuple(drawn.shape)} and {tuple(x.shape)}")
        drawn, size = drawn.to(x), torch.tensor(x.shape[-2:], dtype=x.dtype, device=x.device)
        back = rotations_2d(-drawn[:, 0])
        # grid_sample asks where each pixel comes from, in units of half the image; pixels are square also where the image is not.
        half = size.flip(0) / 2
        back = back * half[None, :] / half[:, None]
        shifts = back @ (drawn[:, 1:3] / half)[..., None]
        where = torch.cat([back, -shifts], -1).repeat_interleave(x.shape[1], 0)
        flat = x.flatten(0, 1)
        grid = torch.nn.functional.affine_grid(where, list(flat.shape), align_corners=False)
        found = torch.nn.functional.grid_sample(flat, grid, align_corners=False)
        return found.view_as(x) * drawn[:, 3, None, None, None, None]

    def __repr__(self) -> str:
        degrees, shift, _, contrast = self.scales.tolist()
        return f"ImageAugmentation(degrees={math.degrees(degrees):.3g}, shift={shift:.3g}, contrast={contrast:.3g})"


class Views:
    """Two views of every sample: a(x) and a'(x), one pair (a, a') for all samples of a chunk.

    Args:
        augmentation: what is drawn.
        chunks: the batch is cut into so many chunks, in order.
        same_for_chunk: False draws a pair for each sample, as invariant learning usually has it; L_equi then means nothing.

    Shapes:
        x: (B, ...)    returns: twice (B, ...)

    Raises:
        ShapeError: chunks that do not divide the batch, or of a single sample.

    References:
        Gupta et al. (2024), arXiv:2306.13924, section 3.2.

    Example:
        >>> from gnet.plugins.tensors import SO
        >>> views, x = Views(GroupAugmentation(SO(2)), chunks=2), torch.ones(4, 1, 2)
        >>> first, second = views(x)
        >>> bool(torch.equal(first[0], first[1])), bool(torch.equal(first[1], first[2]))
        (True, False)
    """

    def __init__(self, augmentation: Augmentation, chunks: int = 1, same_for_chunk: bool = True) -> None:
        self.augmentation, self.chunks, self.same_for_chunk = augmentation, chunks, same_for_chunk

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Both views."""
        size = chunk_size(len(x), self.chunks) if self.same_for_chunk else 1
        grouped = x.unflatten(0, (-1, size))
        drawn = self.augmentation.sample(2 * len(grouped), generator)
        first, second = (self.augmentation.apply(each, grouped).flatten(0, 1) for each in drawn.chunk(2))
        return first, second

    def __repr__(self) -> str:
        return f"Views({self.augmentation!r}, chunks={self.chunks}, same_for_chunk={self.same_for_chunk})"
