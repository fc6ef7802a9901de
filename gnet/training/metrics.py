"""Errors of numbers and of classes with missing entries: over those that count, of a whole split and not of its batches."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from gnet.distributed import summed
from gnet.errors import ConfigError, ShapeError


class MaskedError(Metric):
    """The mean of an error over the entries that count, sum m e / sum m; NaN where no entry counts.

    Sums and counts are kept and divided once, so that neither the size of the batches nor the number of processes matters. Sums
    are in float64 (in float32 on devices without it, such as MPS); the error is in float64 where predictions are, else float32.

    Args:
        horizon: the channel to look at, from 0 (of a forecast of one channel: 0 is one step ahead); None takes all.
        per_batch: the mean over batches of each batch's own error, as much code for traffic reports it. A batch in which nothing
            counts then enters as an error of 0, and a small last batch weighs as much as any other.
        options: of ``torchmetrics.Metric``.

    Shapes:
        prediction, target: (*, C')    mask: bool, like them    computes: ()

    Raises:
        ConfigError: a negative horizon.
        ShapeError: from ``update``: shapes that differ, a mask that is not bool, fewer channels than ``horizon`` needs.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = False
    total: Tensor
    count: Tensor

    def __init__(self, horizon: int | None = None, per_batch: bool = False, **options: Any) -> None:
        super().__init__(**options)
        if horizon is not None and horizon < 0:
            raise ConfigError(f"expected horizon to be a channel >= 0, or None for all, got {horizon}")
        self.horizon, self.per_batch = horizon, per_batch
        self._kind = torch.float32
        self.add_state("total", default=torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", default=torch.tensor(0), dist_reduce_fx="sum")

    @abstractmethod
    def each(self, prediction: Tensor, target: Tensor) -> Tensor:
        """What is averaged, of every entry; it may be anything where an entry does not count."""

    def counted(self, target: Tensor, mask: Tensor) -> Tensor:
        """Which entries count: those of the mask."""
        return mask

    def finish(self, mean: Tensor) -> Tensor:
        """From the mean to the error."""
        return mean

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add one batch."""
        prediction, target, mask = self._looked_at(prediction, target, mask)
        counted = self.counted(target, mask)
        self._kind = torch.promote_types(self._kind, prediction.dtype)
        # Where nothing was observed a target may be NaN, which 0 times it would stay.
        total = self.each(prediction, target).masked_fill(~counted, 0.0).sum(dtype=self.total.dtype)
        count = counted.sum()
        if self.per_batch:
            total, count = summed(total), summed(count)  # of the batch of all processes, each of which enters it once
            total, count = self.finish(total / count.clamp_min(1)), torch.ones_like(count)
        self.total, self.count = self.total + total, self.count + count

    def compute(self) -> Tensor:
        """The error of all batches so far."""
        mean = self.total / self.count
        return (mean if self.per_batch else self.finish(mean)).to(self._kind)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = ()) -> nn.Module:
        try:
            fn(self.total)
        except TypeError:  # of MPS, which has no float64
            self.total, self._defaults["total"] = self.total.float(), torch.tensor(0.0)
        return super()._apply(fn, exclude_state)

    def _looked_at(self, prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if not prediction.shape == target.shape == mask.shape or mask.dtype != torch.bool:
            raise ShapeError(
                "expected prediction and target of one shape and a bool mask like them, "
                f"got {tuple(prediction.shape)}, {tuple(target.shape)} and {tuple(mask.shape)} {mask.dtype}"
            )
        if self.horizon is None:
            return prediction, target, mask
        if target.ndim == 0 or self.horizon >= target.shape[-1]:
            raise ShapeError(
                f"expected at least {self.horizon + 1} channels for horizon={self.horizon}, got {tuple(target.shape)}"
            )
        return prediction[..., self.horizon], target[..., self.horizon], mask[..., self.horizon]


class MaskedMAE(MaskedError):
    """Mean absolute error, sum m |y - yhat| / sum m; see ``MaskedError``.

    Units: those of the target.

    Example:
        >>> target = torch.tensor([0.0, 10.0, 20.0, 0.0, 40.0])
        >>> mae = MaskedMAE()
        >>> mae.update(torch.tensor([5.0, 11.0, 18.0, 7.0, 44.0]), target, target != 0)
        >>> mae.compute()
        tensor(2.3333)
    """

    def each(self, prediction: Tensor, target: Tensor) -> Tensor:
        """|y - yhat|."""
        return (prediction - target).abs()


class MaskedRMSE(MaskedError):
    """Root of the mean squared error; see ``MaskedError``.

    Units: those of the target.

    Example:
        >>> rmse = MaskedRMSE()
        >>> rmse.update(torch.tensor([3.0, 4.0, 9.0]), torch.zeros(3), torch.tensor([True, True, False]))
        >>> rmse.compute()
        tensor(3.5355)
    """

    def each(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(y - yhat)^2."""
        return (prediction - target).square()

    def finish(self, mean: Tensor) -> Tensor:
        """The root."""
        return mean.sqrt()


class MaskedMAPE(MaskedError):
    """Mean absolute error relative to the target, which is not 0; see ``MaskedError``.

    Units: per cent.

    Args:
        horizon: see ``MaskedError``.
        per_batch: see ``MaskedError``.
        smallest: targets nearer to 0 than this do not count; a 0 comes back from model units as some millionths.
        options: of ``torchmetrics.Metric``.

    Raises:
        ConfigError: ``smallest`` is negative.

    Example:
        >>> mape = MaskedMAPE()
        >>> mape.update(torch.tensor([5.0, 11.0]), torch.tensor([0.0, 10.0]), torch.tensor([True, True]))
        >>> mape.compute()
        tensor(10.)
    """

    def __init__(self, horizon: int | None = None, per_batch: bool = False, smallest: float = 1.0e-4, **options: Any) -> None:
        super().__init__(horizon, per_batch, **options)
        if smallest < 0:
            raise ConfigError(f"expected smallest >= 0, got {smallest}")
        self.smallest = smallest

    def each(self, prediction: Tensor, target: Tensor) -> Tensor:
        """100 |y - yhat| / |y|."""
        return 100 * (prediction - target).abs() / target.abs()

    def counted(self, target: Tensor, mask: Tensor) -> Tensor:
        """Those of the mask whose target is not 0."""
        return mask & (target.abs() > self.smallest)


def of_each_step(kinds: Mapping[str, type[MaskedError]], steps: int) -> dict[str, Metric]:
    """The errors of forecasts of one channel: over all steps by their names, and n steps ahead with ``_n`` behind.

    Example:
        >>> list(of_each_step({"mae": MaskedMAE}, 2))
        ['mae', 'mae_1', 'mae_2']
    """
    found: dict[str, Metric] = {name: kind() for name, kind in kinds.items()}
    for step in range(steps):
        found |= {f"{name}_{step + 1}": kind(horizon=step) for name, kind in kinds.items()}
    return found


class MaskedAccuracy(MulticlassAccuracy):
    """The share of entries whose most probable class is the known one.

    Args:
        num_classes: K.
        options: of ``torchmetrics.classification.MulticlassAccuracy``.

    Shapes:
        prediction, target: (*, K), scores and 1 at the known class    mask: bool, like them    computes: ()

    Raises:
        ShapeError: from ``update``: shapes that differ, or that are not of K classes.

    Example:
        >>> accuracy = MaskedAccuracy(2)
        >>> scores, known = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]), torch.tensor([0, 1, 0])
        >>> mask = torch.tensor([[True], [True], [False]]).expand(3, 2)
        >>> accuracy.update(scores, torch.nn.functional.one_hot(known), mask)
        >>> accuracy.compute()
        tensor(0.5000)
    """

    def __init__(self, num_classes: int, **options: Any) -> None:
        super().__init__(num_classes, average="micro", **options)

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor) -> None:  # type: ignore[override]
        """Add one batch."""
        super().update(*_places(self.num_classes, prediction, target, mask))


class MaskedF1(MulticlassF1Score):
    """The mean over classes of F1, the harmonic mean of precision and recall: rare classes weigh as much as frequent ones.

    A class that neither occurs nor is predicted does not enter. Shapes and errors are those of ``MaskedAccuracy``.

    Args:
        num_classes: K.
        options: of ``torchmetrics.classification.MulticlassF1Score``.

    Example:
        >>> f1 = MaskedF1(3)
        >>> scores, known = torch.eye(3)[[0, 0, 1]], torch.eye(3)[[0, 1, 1]]
        >>> f1.update(scores, known, torch.ones(3, 3, dtype=torch.bool))
        >>> f1.compute()
        tensor(0.6667)
    """

    def __init__(self, num_classes: int, **options: Any) -> None:
        super().__init__(num_classes, average="macro", **options)

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor) -> None:  # type: ignore[override]
        """Add one batch."""
        super().update(*_places(self.num_classes, prediction, target, mask))


def _places(num_classes: int | None, prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted and known class of every entry that counts."""
    if not prediction.shape == target.shape == mask.shape or mask.dtype != torch.bool or target.shape[-1] != num_classes:
        raise ShapeError(
            f"expected prediction and target of shape (*, {num_classes}) and a bool mask like them, "
            f"got {tuple(prediction.shape)}, {tuple(target.shape)} and {tuple(mask.shape)} {mask.dtype}"
        )
    counted = mask[..., 0]
    return prediction[counted].argmax(-1), target[counted].argmax(-1)
