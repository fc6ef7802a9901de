"""Networks on sets and on a few numbers: what the models of this family are put together from."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn import MLP
from torch_geometric.utils import scatter

from gnet.errors import ConfigError, ShapeError

Pooling = Literal["mean", "sum"]
ROUNDING = 16.0
"""Deviations of at most so many roundings of the mean are none."""


class DeepSet(nn.Module):
    """rho(mean or sum over the set of phi(x)), phi: C -> h -> 2 h, rho: 2 h -> h, by PyG's ``MLP``. Both are 0 of an empty set.

    PyG's ``DeepSetsAggregation`` only sums: of the 4950 products of 100 points that is a number of another size than of the 45
    of 10, and the first steps of a training spend themselves on it. With ``aggr="sum"`` this is the same function.

    Args:
        in_channels: of an element.
        hidden_channels: h, and the outputs.
        aggr: "mean" or "sum".

    Shapes:
        x: (..., m, C), sets of one size; or with ``index`` (m,), which of ``num_sets`` sets an element is in, (m, C)
        returns: (..., h), or (num_sets, h)

    Raises:
        ConfigError: numbers below one, or another aggr.

    References:
        Zaheer et al. (2017), arXiv:1703.06114.

    Example:
        >>> DeepSet(3, 8)(torch.randn(7, 20, 3)).shape
        torch.Size([7, 8])
        >>> DeepSet(3, 8)(torch.randn(5, 3), torch.tensor([0, 0, 1, 1, 1]), 2).shape
        torch.Size([2, 8])
    """

    def __init__(self, in_channels: int, hidden_channels: int, aggr: Pooling = "mean") -> None:
        super().__init__()
        if min(in_channels, hidden_channels) < 1 or aggr not in ("mean", "sum"):
            raise ConfigError(f"expected channels >= 1 and aggr 'mean' or 'sum', got {in_channels}, {hidden_channels}, {aggr!r}")
        self.aggr = aggr
        # SiLU after the last layer, too: rho would else be one linear map with it, whatever its width.
        self.local_nn = MLP([in_channels, hidden_channels, 2 * hidden_channels], act="silu", norm=None, plain_last=False)
        self.global_nn = silu_mlp(2 * hidden_channels, hidden_channels)

    def forward(self, x: Tensor, index: Tensor | None = None, num_sets: int | None = None) -> Tensor:
        """Outputs of sets."""
        found = self.local_nn(x)
        if index is not None:
            return self.global_nn(scatter(found, index, 0, num_sets, self.aggr))
        return self.global_nn(found.mean(-2) if self.aggr == "mean" and found.shape[-2] else found.sum(-2))


class FeatureScale(nn.Module):
    """(x - mean) / deviation for each channel, both taken from data once and kept with the weights; at first 0 and 1.

    Both are computed in float64. A deviation of at most 16 roundings of the mean is rounding: the channel counts as constant.

    Shapes:
        x: (..., C)

    Raises:
        ShapeError: another number of channels.

    Example:
        >>> scale = FeatureScale(1).fit(torch.tensor([[1.0], [3.0]]))
        >>> scale(torch.tensor([[5.0]]))
        tensor([[3.]])
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    def fit(self, x: Tensor) -> "FeatureScale":
        """Mean and deviation over all axes but the last; a constant channel gets deviation 1, and no data change nothing."""
        self._check(x)
        if not x.numel():
            return self
        rows = x.detach().reshape(-1, x.shape[-1]).double()
        mean, deviation = rows.mean(0), rows.std(0, correction=0)
        eps = max(torch.finfo(x.dtype).eps, torch.finfo(self.mean.dtype).eps)
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > ROUNDING * eps * mean.abs(), deviation, torch.ones_like(deviation)))
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Standardise."""
        self._check(x)
        return (x - self.mean) / self.deviation

    def _check(self, x: Tensor) -> None:
        if x.shape[-1:] != self.mean.shape:
            raise ShapeError(f"expected data (..., {len(self.mean)}), got {tuple(x.shape)}")


class ScalarExpansion(nn.Module):
    """A number as 99 soft steps: x -> sigmoid((x - theta j) / theta) for j = -49..49.

    It resolves |x| < 49 theta, at one resolution; beyond, all steps are near 0 or near 1.

    Args:
        theta: distance of the steps, in units of x.

    Shapes:
        x: (..., 1)    returns: (..., 99)

    Raises:
        ConfigError: theta <= 0.
        ShapeError: another last axis.

    References:
        Montavon et al. (2012), for the expansion of Coulomb matrices; Blum-Smith et al. (2024), arXiv:2405.08097.

    Example:
        >>> found = ScalarExpansion(0.1)(torch.zeros(1))
        >>> found.shape, found[49]
        (torch.Size([99]), tensor(0.5000))
    """

    steps: Tensor
    SIZE = 99

    def __init__(self, theta: float = 0.1) -> None:
        super().__init__()
        if not theta > 0:
            raise ConfigError(f"expected theta > 0, got {theta}")
        self.theta = theta
        self.register_buffer("steps", torch.arange(self.SIZE) - self.SIZE // 2, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Expand."""
        if x.shape[-1:] != (1,):
            raise ShapeError(f"expected numbers (..., 1), got {tuple(x.shape)}; take x[..., None]")
        return torch.sigmoid(x / self.theta - self.steps)


def silu_mlp(*widths: int) -> MLP:
    """PyG's MLP with SiLU between its layers. No batch norm: statistics of 40 clouds make distances to others worthless.

    Example:
        >>> silu_mlp(3, 8, 1)
        MLP(3, 8, 1)
    """
    return MLP(list(widths), act="silu", norm=None)
