"""From physical units to model units and back, in a way that keeps every symmetry of the nodes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gnet.errors import DataError, ShapeError


class Standardiser(nn.Module):
    """(x - mean) / std with ONE mean and one std per channel, pooled over all nodes.

    A mean for every node would tell the nodes apart before the net sees them; this one commutes with every permutation of
    the nodes. Means and deviations are buffers: they move with the net and are part of its state.

    Shapes:
        mean, std: (C,)    x: (*, C)    returns: (*, C)

    Units: ``forward`` takes physical units to standard deviations, ``inverse`` takes them back. NaN stays NaN.

    Raises:
        DataError: mean or std that are not finite, or a negative std.

    Example:
        >>> standardiser = Standardiser.fit(torch.tensor([[[1.0], [float("nan")]], [[3.0], [5.0]]]))
        >>> standardiser.mean
        tensor([3.])
        >>> standardiser.inverse(standardiser(torch.tensor([[7.0]])))
        tensor([[7.]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor | Sequence[float], std: Tensor | Sequence[float]) -> None:
        super().__init__()
        means, deviations = (_floating(each) for each in (mean, std))
        if means.ndim != 1 or means.shape != deviations.shape:
            raise ShapeError(f"expected mean and std of shape (C,), got {tuple(means.shape)} and {tuple(deviations.shape)}")
        if not (means.isfinite().all() and deviations.isfinite().all() and (deviations >= 0).all()):
            raise DataError(f"expected finite means and stds >= 0, got mean {means.tolist()} and std {deviations.tolist()}")
        self.register_buffer("mean", means)
        # A constant channel has nothing to scale by; it becomes 0 and comes back as its mean.
        self.register_buffer("std", torch.where(deviations > 0, deviations, torch.ones_like(deviations)))

    @classmethod
    def fit(cls, x: Tensor, mask: Tensor | None = None) -> "Standardiser":
        """Mean and population std of each channel over all samples and nodes, without the missing entries.

        Shapes:
            x: (*, C)    mask: like x, True where observed; NaN counts as missing in any case

        Raises:
            DataError: a channel without an observed entry, or with infinite ones.
            ShapeError: mask and x of different shapes.
        """
        if mask is not None and mask.shape != x.shape:
            raise ShapeError(f"expected a mask of shape {tuple(x.shape)}, got {tuple(mask.shape)}")
        observed = ~x.isnan() if mask is None else mask & ~x.isnan()
        flat, seen = x.reshape(-1, x.shape[-1]).double(), observed.reshape(-1, x.shape[-1])
        count = seen.sum(0)
        if (count == 0).any():
            empty = (count == 0).nonzero().flatten().tolist()
            raise DataError(
                f"channels {empty} have no observed entry to standardise by; drop them, or check the mask and the NaN"
            )
        flat = flat.masked_fill(~seen, 0.0)
        mean = flat.sum(0) / count
        # Two passes: the mean of squares minus the squared mean cancels where the mean is large.
        std = ((flat - mean).masked_fill(~seen, 0.0).square().sum(0) / count).sqrt()
        # Rounding leaves a constant channel a deviation of some ulp of its mean; dividing by it would blow the noise up.
        resolution = 8 * torch.finfo(torch.float64).eps * mean.abs()
        return cls(mean.to(x.dtype), std.masked_fill(std <= resolution, 0.0).to(x.dtype))

    @classmethod
    def identity(cls, channels: int, dtype: torch.dtype = torch.float32) -> "Standardiser":
        """The standardiser that changes nothing."""
        return cls(torch.zeros(channels, dtype=dtype), torch.ones(channels, dtype=dtype))

    @property
    def channels(self) -> int:
        """C."""
        return len(self.mean)

    def repeated(self, times: int) -> "Standardiser":
        """For channels that hold ``times`` copies of these, one after the other (time steps of a window).

        Example:
            >>> Standardiser([1.0, 2.0], [1.0, 1.0]).repeated(2).mean
            tensor([1., 2., 1., 2.])
        """
        return Standardiser(self.mean.repeat(times), self.std.repeat(times))

    def forward(self, x: Tensor) -> Tensor:
        """Physical units to model units."""
        return (self._checked(x) - self.mean) / self.std

    def inverse(self, y: Tensor) -> Tensor:
        """Model units to physical units."""
        return self._checked(y) * self.std + self.mean

    def filled(self, x: Tensor) -> Tensor:
        """Model units with missing entries (NaN) set to the mean, which is 0.

        Example:
            >>> Standardiser([1.0], [2.0]).filled(torch.tensor([[5.0], [float("nan")]]))
            tensor([[2.],
                    [0.]])
        """
        scaled = self(x)
        return scaled.masked_fill(scaled.isnan(), 0.0)

    def _checked(self, x: Tensor) -> Tensor:
        if x.ndim == 0 or x.shape[-1] != self.channels:
            raise ShapeError(f"expected (*, {self.channels}) with the channels last, got {tuple(x.shape)}")
        return x

    def extra_repr(self) -> str:
        """Mean and std of the first channels."""
        shown = [f"{mean:.4g} +- {std:.4g}" for mean, std in zip(self.mean[:4].tolist(), self.std[:4].tolist(), strict=True)]
        return ", ".join(shown + ["..."] * (self.channels > 4))


def _floating(values: Tensor | Sequence[float]) -> Tensor:
    tensor = torch.as_tensor(values).detach().clone()
    return tensor if tensor.is_floating_point() else tensor.float()


class Scaling(nn.Module):
    """The two standardisers of a task: ``x`` of its inputs, ``y`` of its targets.

    Example:
        >>> Scaling.identity(3, 1).y(torch.tensor([[5.0]]))
        tensor([[5.]])
    """

    def __init__(self, x: Standardiser, y: Standardiser) -> None:
        super().__init__()
        self.x = x
        self.y = y

    @classmethod
    def identity(cls, in_channels: int, out_channels: int, dtype: torch.dtype = torch.float32) -> "Scaling":
        """Model units are the physical ones."""
        return cls(Standardiser.identity(in_channels, dtype), Standardiser.identity(out_channels, dtype))
