"""Data errors, shifts of the inputs, bias and variance as torchmetrics; see ``gnet.training.symmetry_metrics``."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from gnet.errors import ConfigError, ShapeError
from gnet.groups import Action, Group, NodeGroup
from gnet.measures import data, decomposition, shift
from gnet.theory.checks import check_finite, check_positive
from gnet.theory.estimates import LeastSquares
from gnet.training.symmetry_metrics import SymmetryMetric


class DataErrorMetric(SymmetryMetric):
    """``data_error`` of a linear truth over all batches, without intercept, from sums of products: float64 at any precision.

    The inverse of X^T X is taken of the sums, so its condition number enters squared; scale the inputs first.

    Args:
        group: of the nodes.
        in_channels: C.
        out_channels: C', or None for one number out.
        sigma_x: as in ``data_error``.
        value: attribute of ``DataError``.
        options: of ``torchmetrics.Metric``.

    Raises:
        ConfigError: sigma_x <= 0 or not finite, or an unknown value.

    Example:
        >>> metric, x = DataErrorMetric(SymmetricGroup(3), 1, None, value="score"), torch.randn(200, 3, 1)
        >>> metric.update(x, x[:, 0, 0] + 0.1 * torch.randn(200))
        >>> bool(metric.compute() > 5)
        True
    """

    def __init__(
        self,
        group: NodeGroup,
        in_channels: int,
        out_channels: int | None,
        *,
        sigma_x: float = 1.0,
        value: str = "square",
        **options: Any,
    ) -> None:
        super().__init__(data.DataError, value, **options)
        check_positive(sigma_x=sigma_x)
        self.group, self.sigma_x = group, sigma_x
        self.shape_in = (group.degree, in_channels)
        self.shape_out = () if out_channels is None else (group.degree, out_channels)
        size, width = math.prod(self.shape_in), math.prod(self.shape_out)
        self.add_sums("count", "targets")
        self.add_sums("gram", size=(size, size))
        self.add_sums("cross", size=(size, width))

    def update(self, x: Tensor, y: Tensor) -> None:
        """Add a batch of inputs (B, N, C) and targets (B, N, C') or (B,).

        Raises:
            ShapeError: other shapes.
            DataError: entries that are NaN or infinite.
        """
        if x.shape[1:] != self.shape_in or y.shape != (len(x), *self.shape_out):
            wanted = f"x {('B', *self.shape_in)} and y {('B', *self.shape_out)}".replace("'", "")
            raise ShapeError(f"expected {wanted}, got {tuple(x.shape)} and {tuple(y.shape)}")
        check_finite(x)
        check_finite(y)
        flat, out = x.double().flatten(1), y.double().reshape(len(y), -1)
        products = {"gram": flat.mT @ flat, "cross": flat.mT @ out, "targets": out.square().sum()}
        self.add({"count": torch.tensor(len(x)), **products})

    def measured(self) -> data.DataError:
        """The estimate from all batches.

        Raises:
            ShapeError: no more samples than inputs, or inputs that depend on others.
        """
        sums = {name: each.cpu() for name, each in self.sums("count", "gram", "cross", "targets").items()}
        size, width = sums["cross"].shape
        free = int(sums["count"]) - size
        factor, failed = torch.linalg.cholesky_ex(sums["gram"])
        if free < 1 or int(failed):
            raise ShapeError(f"expected more samples than {size} inputs, and none that depends on others, got {free + size}")
        inverse = torch.cholesky_inverse(factor)
        weights = inverse @ sums["cross"]
        noise = float(sums["targets"] - (weights * sums["cross"]).sum()) / (free * width)
        num_nodes, channels = self.shape_in
        theta = weights.mT.reshape(num_nodes, -1, num_nodes, channels) if self.shape_out else weights.reshape(num_nodes, -1)
        fit = LeastSquares(theta, inverse, max(noise, 0.0))
        return data.data_error_of(fit, self.group, free, sigma_x=self.sigma_x)


class RiskGapMetric(SymmetryMetric):
    """``held_out_risk_gap`` of a function over all batches.

    Args:
        group: over which f is averaged.
        action_in: of the group; None is its own.
        action_out: as ``action_in``.
        num_samples: elements, or None for all of a small group.
        seed: of the elements.
        value: attribute of ``HeldOutGap``.
        options: of ``torchmetrics.Metric``.

    Example:
        >>> metric, x = RiskGapMetric(SymmetricGroup(2), num_samples=None), torch.randn(50, 2, 1)
        >>> metric.update(lambda x: x * torch.tensor([[1.0], [3.0]]), x, x * torch.tensor([[1.0], [3.0]]))
        >>> bool(metric.compute() < 0)
        True
    """

    def __init__(
        self,
        group: Group,
        action_in: Action | None = None,
        action_out: Action | None = None,
        *,
        num_samples: int | None = 32,
        seed: int = 0,
        value: str = "gap",
        **options: Any,
    ) -> None:
        super().__init__(data.HeldOutGap, value, **options)
        self.group, self.actions, self.num_samples, self.seed = group, (action_in, action_out), num_samples, seed
        self.add_sums("count", "gap", "squares", "risk", "averaged")

    def update(self, f: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> None:
        """Add a batch that f was not fitted to."""
        generator = torch.Generator().manual_seed(self.seed)
        self.add(data.gap_sums(f, x, y, self.group, *self.actions, self.num_samples, generator))

    def measured(self) -> data.HeldOutGap:
        """The gap over all batches."""
        num_samples = len(self.group.elements()) if self.num_samples is None else self.num_samples
        return data.gap_of(self.sums("count", "gap", "squares", "risk", "averaged"), num_samples)


class MomentShiftMetric(SymmetryMetric):
    """``moment_shift`` of the inputs of all batches; a standard error would need the samples again, and is NaN.

    Args:
        group: of the nodes.
        channels: C.
        order: of the moment, 2 or 1.
        value: attribute of ``MomentShift``.
        options: of ``torchmetrics.Metric``.

    Example:
        >>> metric = MomentShiftMetric(SymmetricGroup(2), 1, order=1)
        >>> metric.update(torch.tensor([[[0.0], [2.0]], [[0.0], [2.0]]]))
        >>> round(float(metric.compute()), 9)
        4.0
    """

    count: Tensor

    def __init__(self, group: NodeGroup, channels: int, *, order: int = 2, value: str = "square", **options: Any) -> None:
        super().__init__(shift.MomentShift, value, **options)
        if order not in (1, 2):
            raise ConfigError(f"expected order 1 or 2, got {order}")
        self.group, self.order, self.shape = group, order, (group.degree, channels)
        self.add_sums("count", "own")
        self.add_sums("moment", size=self.shape * order)

    def update(self, x: Tensor) -> None:
        """Add a batch of inputs (B, N, C).

        Raises:
            ShapeError: another shape.
            DataError: entries that are NaN or infinite.
        """
        if x.shape[1:] != self.shape:
            raise ShapeError(f"expected x of shape (B, {self.shape[0]}, {self.shape[1]}), got {tuple(x.shape)}")
        check_finite(x)
        moment, own = shift.moment_sums(x.detach().double().cpu(), self.group, self.order)
        self.add({"count": torch.tensor(len(x)), "moment": moment, "own": own.sum()})

    def measured(self) -> shift.MomentShift:
        """The shift over all batches."""
        sums, num = {name: each.cpu() for name, each in self.sums("moment", "own").items()}, int(self.count)
        moment = sums["moment"] / num
        lost, square = float(shift.lost_moment(moment, self.group).square().sum()), float(moment.square().sum())
        value = shift.shift_of(lost, float(sums["own"]), num) if num > 1 else math.nan
        return shift.MomentShift(value, math.nan, 2 * lost, shift.relative_shift(value, square))


class EnergyShiftMetric(SymmetryMetric):
    """``energy_shift`` of the inputs of all batches. It compares all pairs, so it keeps the inputs: memory grows with them.

    Args:
        group: a compact group.
        action: of the group on inputs; None is its own.
        num_samples: elements, or None for all of a small group.
        num_permutations: for the p-value.
        seed: of elements and permutations.
        value: attribute of ``EnergyShift``.
        options: of ``torchmetrics.Metric``.

    Example:
        >>> metric = EnergyShiftMetric(SymmetricGroup(2))
        >>> metric.update(torch.randn(20, 2, 1) + torch.tensor([[5.0], [0.0]]))
        >>> bool(metric.compute() > 1)
        True
    """

    inputs: Any

    def __init__(
        self,
        group: Group,
        action: Action | None = None,
        *,
        num_samples: int | None = 8,
        num_permutations: int = 0,
        seed: int = 0,
        value: str = "square",
        **options: Any,
    ) -> None:
        super().__init__(shift.EnergyShift, value, **options)
        self.group, self.action, self.seed = group, action, seed
        self.num_samples, self.num_permutations = num_samples, num_permutations
        self.add_state("inputs", default=[], dist_reduce_fx="cat")

    def update(self, x: Tensor) -> None:
        """Keep a batch of inputs (B, ...)."""
        self.inputs.append(x.detach())

    def measured(self) -> shift.EnergyShift:
        """The distance over all batches.

        Raises:
            ShapeError: fewer than three inputs.
        """
        if not len(self.inputs):
            raise ShapeError("expected at least three inputs, got none; call update first")
        return shift.energy_shift(
            torch.cat(self.inputs) if isinstance(self.inputs, list) else self.inputs,
            self.group,
            self.action,
            num_samples=self.num_samples,
            num_permutations=self.num_permutations,
            generator=torch.Generator().manual_seed(self.seed),
        )


class BiasVarianceMetric(SymmetryMetric):
    """``bias_variance`` of several predictors, whose predictions come batch by batch.

    Args:
        draws: which training set each predictor was fitted to; predictors of one draw differ by their seed.
        value: attribute of ``Decomposition``.
        options: of ``torchmetrics.Metric``.

    Example:
        >>> metric = BiasVarianceMetric(draws=[0, 1], value="variance")
        >>> metric.update(torch.tensor([[1.0], [3.0]]), torch.zeros(1))
        >>> metric.update(torch.tensor([[2.0], [2.0]]), torch.zeros(1))
        >>> metric.compute()
        tensor(1., dtype=torch.float64)
    """

    def __init__(self, draws: Iterable[int], *, value: str = "bias2", **options: Any) -> None:
        super().__init__(decomposition.Decomposition, value, **options)
        self.draws = list(draws)
        self.add_sums("count")
        self.add_sums("gram", size=(len(self.draws), len(self.draws)))

    def update(self, predictions: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add the predictions (T, B, ...) of one batch, its target (B, ...) and what counts of it.

        Raises:
            ShapeError: shapes that do not fit, or another number of predictors than of draws.
        """
        if len(predictions) != len(self.draws) or predictions.shape[1:] != target.shape:
            shape = (len(self.draws), *target.shape)
            raise ShapeError(f"expected predictions {shape}, of each draw like the target, got {tuple(predictions.shape)}")
        residuals = (predictions.double() - target.double()).flatten(1)
        counted = torch.ones_like(target, dtype=torch.bool) if mask is None else mask
        residuals = residuals.masked_fill(~counted.flatten(), 0.0)
        self.add({"count": counted.sum(), "gram": residuals @ residuals.mT})

    def measured(self) -> decomposition.Decomposition:
        """The decomposition over all batches."""
        sums = self.sums("count", "gram")
        return decomposition.decompose((sums["gram"] / sums["count"]).cpu().numpy(), self.draws)
