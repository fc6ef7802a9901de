"""Synthetic proteins: smooth random chains of points in space, their first principal axis, and how well embeddings know it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gnet.errors import ConfigError, DegenerateInputError, ShapeError
from gnet.groups.haar import haar_special_orthogonal

SMOOTHING = 5
"""Steps of a chain are means of so many normal ones, times the root of it."""


def chains(num: int, num_points: int = 64, generator: torch.Generator | None = None) -> Tensor:
    """Random chains: smoothed normal steps added up, centred, of mean square length 1.

    They stand for the backbones of proteins. The law does not change under rotations.

    Shapes:
        returns: (num, num_points, 3), float32

    Raises:
        ConfigError: fewer than two points.

    Example:
        >>> cloud = chains(4, generator=torch.Generator().manual_seed(0))
        >>> cloud.shape, bool(cloud.mean(1).abs().max() < 1e-6), bool((cloud.square().sum(-1).mean(-1) - 1).abs().max() < 1e-5)
        (torch.Size([4, 64, 3]), True, True)
    """
    if num_points < 2:
        raise ConfigError(f"expected num_points >= 2, got {num_points}")
    steps = torch.randn(num, num_points + SMOOTHING - 1, 3, dtype=torch.float64, generator=generator)
    smooth = steps.unfold(1, SMOOTHING, 1).mean(-1) * SMOOTHING**0.5
    walked = smooth.cumsum(1)
    centred = walked - walked.mean(1, keepdim=True)
    size = centred.square().sum(-1).mean(-1).sqrt()[:, None, None]
    return (centred / size).float()


def principal_axis(x: Tensor) -> Tensor:
    """The unit vector along which points vary most; its sign is arbitrary.

    Shapes:
        x: (..., n, d)    returns: (..., d)

    Raises:
        DegenerateInputError: clouds that vary as much along another direction.

    Example:
        >>> principal_axis(torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.1]])).abs().round(decimals=2)
        tensor([1.0000, 0.0500])
    """
    centred = x - x.mean(-2, keepdim=True)
    values, vectors = torch.linalg.eigh(centred.mT @ centred)
    if bool((values[..., -1] - values[..., -2] <= 16 * torch.finfo(x.dtype).eps * values[..., -1]).any()):
        raise DegenerateInputError("expected clouds with one longest axis, got one that is as long along another")
    return vectors[..., -1]


def axis_entries(x: Tensor) -> Tensor:
    """The entries of u u^T on and above the diagonal, u the principal axis: what does not see its sign.

    Shapes:
        x: (..., n, 3)    returns: (..., 6)

    Example:
        >>> axis_entries(chains(2)).shape
        torch.Size([2, 6])
    """
    u = principal_axis(x)
    rows, columns = torch.triu_indices(u.shape[-1], u.shape[-1])
    return u[..., rows] * u[..., columns]


def turned(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Every cloud under a uniform rotation of its own, (num, n, d) -> (num, n, d).

    Example:
        >>> turned(torch.ones(2, 4, 3)).shape
        torch.Size([2, 4, 3])
    """
    return x @ haar_special_orthogonal(x.shape[-1], len(x), generator).to(x).mT


@dataclass(frozen=True)
class Ridge:
    """Least squares with a penalty: minimises sum |y - W z - b|^2 + alpha |W|^2; the intercept is not penalised.

    Inputs are not scaled on purpose: directions in which embeddings hardly vary stay hardly usable. Scaled, or with alpha near
    zero, what is left of orientation in an embedding that is all but invariant would be blown up to full size.

    Attributes:
        weight: (D, outputs).
        intercept: (outputs,).

    Example:
        >>> z = torch.randn(50, 3, dtype=torch.float64)
        >>> fit = Ridge.fit(z, z @ torch.ones(3, 1, dtype=torch.float64) + 2, alpha=1e-9)
        >>> fit.intercept.round(decimals=4), round(fit.r2(z, z.sum(1, keepdim=True) + 2), 4)
        (tensor([2.], dtype=torch.float64), 1.0)
    """

    weight: Tensor
    intercept: Tensor

    @classmethod
    def fit(cls, z: Tensor, y: Tensor, alpha: float = 1e-3) -> "Ridge":
        """From samples (num, D) and targets (num, outputs), in float64.

        Raises:
            ShapeError: other shapes.
            ConfigError: alpha <= 0.
        """
        if z.ndim != 2 or y.ndim != 2 or len(z) != len(y):
            raise ShapeError(f"expected z (num, D) and y (num, outputs), got {tuple(z.shape)} and {tuple(y.shape)}")
        if alpha <= 0:
            raise ConfigError(f"expected alpha > 0, got {alpha}")
        z, y = z.double(), y.double()
        z_mean, y_mean = z.mean(0), y.mean(0)
        centred = z - z_mean
        gram = centred.mT @ centred + alpha * torch.eye(z.shape[1], dtype=z.dtype)
        weight = torch.linalg.solve(gram, centred.mT @ (y - y_mean))
        return cls(weight, y_mean - z_mean @ weight)

    def __call__(self, z: Tensor) -> Tensor:
        """Predictions, (num, outputs)."""
        return z.double() @ self.weight + self.intercept

    def r2(self, z: Tensor, y: Tensor) -> float:
        """1 - squared errors over squared deviations from the mean, both summed over all outputs."""
        y = y.double()
        return float(1 - (self(z) - y).square().sum() / (y - y.mean(0)).square().sum())


def with_products(z: Tensor) -> Tensor:
    """Embeddings and all their products of two, (num, D) -> (num, D + D (D + 1) / 2): a linear probe of these is a quadratic one.

    Example:
        >>> with_products(torch.tensor([[2.0, 3.0]]))
        tensor([[2., 3., 4., 6., 9.]])
    """
    rows, columns = torch.triu_indices(z.shape[-1], z.shape[-1])
    return torch.cat([z, z[..., rows] * z[..., columns]], -1)


class Probe(NamedTuple):
    """What embeddings know of the principal axis: R^2 on test clouds of a linear and of a quadratic probe."""

    linear: float
    quadratic: float


def probe_axis(
    embed: Callable[[Tensor], Tensor], train: Tensor, test: Tensor, generator: torch.Generator, alpha: float = 1e-3
) -> Probe:
    """Fit ``axis_entries`` of turned training clouds to their embeddings, and measure it on turned test clouds.

    Shapes:
        train, test: (num, n, 3); embed: (num, n, 3) -> (num, D)

    Example:
        >>> clouds = chains(80)
        >>> moments = lambda x: (x.mT @ x).flatten(1)
        >>> probe_axis(moments, clouds[:60], clouds[60:], torch.Generator().manual_seed(0)).linear > 0.5
        True
    """
    (x, y), (x_test, y_test) = ((moved, axis_entries(moved)) for moved in (turned(train, generator), turned(test, generator)))
    with torch.no_grad():
        z, z_test = embed(x), embed(x_test)
    linear = Ridge.fit(z, y, alpha).r2(z_test, y_test)
    return Probe(linear, Ridge.fit(with_products(z), y, alpha).r2(with_products(z_test), y_test))
