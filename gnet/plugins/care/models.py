"""Encoders: a set network for clouds of points, a small convolutional one for images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gnet.errors import ShapeError
from gnet.plugins.scalars import perceptron
from gnet.randomness import derive_seed


class CloudEncoder(nn.Module):
    """A network on each point, the mean over points, a network on the mean; it does not see the order of points.

    The last layer before the mean is linear, and one linear map with the first one after it: so trained, embeddings of chains are
    more equivariant than with a SiLU there (measured; see the README).

    Args:
        in_channels: numbers of a point.
        out_channels: D.
        local, after: hidden widths before and after the mean.

    Shapes:
        x: (..., n, in_channels)    returns: (..., out_channels)

    References:
        Zaheer et al. (2017), arXiv:1703.06114; Gupta et al. (2024), arXiv:2306.13924, section 5.1.

    Example:
        >>> CloudEncoder(3, 16)(torch.randn(7, 64, 3)).shape
        torch.Size([7, 16])
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 16, local: Sequence[int] = (64, 64, 64), after: Sequence[int] = (64, 64)
    ) -> None:
        super().__init__()
        self.local_nn = perceptron([in_channels, *local])
        self.global_nn = perceptron([local[-1], *after, out_channels])

    def forward(self, x: Tensor) -> Tensor:
        """Encode."""
        return self.global_nn(self.local_nn(x).mean(-2))


class ImageEncoder(nn.Module):
    """Three convolutions, the second and third after a step of two pixels, and the mean over what is left.

    Args:
        in_channels: of images.
        width: of the first layer; D = 4 ``width``.

    Shapes:
        x: (B, in_channels, H, W), sides of four pixels or more    returns: (B, 4 width)

    Raises:
        ShapeError: other shapes.

    Example:
        >>> ImageEncoder()(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 128])
    """

    def __init__(self, in_channels: int = 1, width: int = 32) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, 4 * width
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            nn.SiLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Encode."""
        if x.ndim != 4 or x.shape[1] != self.in_channels or min(x.shape[-2:]) < 4:
            raise ShapeError(f"expected images (B, {self.in_channels}, H, W) of sides >= 4, got {tuple(x.shape)}")
        return self.layers(x).mean((-2, -1))


def seeded(make: type[nn.Module], seed: int, *args: object, **options: object) -> nn.Module:
    """A module with weights that the seed decides; the global generator stays as it was.

    Example:
        >>> one, other = (seeded(CloudEncoder, 0, 3, 2) for _ in range(2))
        >>> bool(torch.equal(one.global_nn[-1].weight, other.global_nn[-1].weight))
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        return make(*args, **options)
