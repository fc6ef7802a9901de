"""The measurements of ``gnet.measures`` as torchmetrics: batch by batch, over any number of processes.

States are sums in float64 that add up over batches and processes, so neither changes the result. Group elements are drawn once
from a seed, the same in every batch and process. ``measured()`` gives the whole result of the batches so far, ``compute()`` the
one number of it that ``value`` names, of all processes.
"""

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from gnet.errors import ConfigError, ShapeError
from gnet.groups import Action, Group
from gnet.measures import equivariance, layers, stabiliser

Function = Callable[[Tensor], Tensor]


class SymmetryMetric(Metric):
    """Base: named sums in float64, and one number of a result.

    Args:
        kind: the class of the result.
        value: which of its numbers ``compute`` returns.
        options: of ``torchmetrics.Metric``.

    Raises:
        ConfigError: the result has no such number.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = False

    def __init__(self, kind: type, value: str, **options: Any) -> None:
        super().__init__(**options)
        computed = [name for name, each in vars(kind).items() if isinstance(each, property)]
        known = [each.name for each in dataclasses.fields(kind)] + computed
        if value not in known:
            raise ConfigError(f"expected value to be one of {', '.join(known)}, got {value!r}")
        self.value = value

    def add_sums(self, *names: str, size: Sequence[int] = ()) -> None:
        """States that start at zero and add up."""
        for name in names:
            self.add_state(name, default=torch.zeros(tuple(size), dtype=torch.float64), dist_reduce_fx="sum")

    def add(self, sums: dict[str, Tensor]) -> None:
        """Add the sums of a batch."""
        for name, each in sums.items():
            mine = getattr(self, name)
            setattr(self, name, mine + each.detach().to(mine))

    def sums(self, *names: str) -> dict[str, Tensor]:
        """The states of these names.

        Raises:
            ShapeError: no batch was added.
        """
        if float(getattr(self, "count", 1)) == 0:
            raise ShapeError("expected at least one batch, got none; call update first")
        return {name: getattr(self, name) for name in names}

    @abstractmethod
    def measured(self) -> Any:
        """The whole result."""

    def compute(self) -> Tensor:
        """The number that ``value`` names."""
        return torch.tensor(float(getattr(self.measured(), self.value)), dtype=torch.float64)


class EquivarianceErrorMetric(SymmetryMetric):
    """``equivariance_error`` of a function over all batches.

    Args:
        group: whose elements move the inputs.
        action_in: of the group; None is its own.
        action_out: of the group; ``gnet.groups.TRIVIAL_ACTION`` for an invariant function.
        num_samples: elements, or None for all of a small group.
        seed: of the elements.
        value: attribute of ``EquivarianceError``.
        options: of ``torchmetrics.Metric``.

    Example:
        >>> metric = EquivarianceErrorMetric(SymmetricGroup(3), num_samples=None, value="mean_square")
        >>> for x in torch.eye(3).reshape(3, 1, 3, 1):
        ...     metric.update(lambda x: torch.tensor([[0.0], [1.0], [2.0]]) * x, x)
        >>> metric.compute()
        tensor(1.3333, dtype=torch.float64)
    """

    largest: Tensor

    def __init__(
        self,
        group: Group,
        action_in: Action | None = None,
        action_out: Action | None = None,
        *,
        num_samples: int | None = 32,
        seed: int = 0,
        value: str = "relative",
        **options: Any,
    ) -> None:
        super().__init__(equivariance.EquivarianceError, value, **options)
        self.group, self.action_in, self.action_out, self.num_samples = group, action_in, action_out, num_samples
        self.elements = equivariance.chosen_elements(group, num_samples, torch.Generator().manual_seed(seed))
        self.names = ("count", "items", "items_squared", "fourth", "spread", "spread_squared", "scale")
        self.add_sums(*self.names)
        self.add_sums("by_element", size=(len(self.elements),))
        self.add_state("largest", default=torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="max")

    def update(self, f: Function, x: Tensor) -> None:
        """Add a batch of inputs (B, ...)."""
        equivariance.check_inputs(x, self.group, self.action_in, self.num_samples)
        sums = equivariance.error_sums(f, x, self.group, self.elements, self.action_in, self.action_out)
        self.largest = torch.maximum(self.largest, sums.pop("largest").to(self.largest))
        self.add(sums)

    def measured(self) -> equivariance.EquivarianceError:
        """The error over all batches."""
        return equivariance.error_of(self.sums(*self.names, "by_element", "largest"), whole_group=self.num_samples is None)


class LayerEquivarianceErrorMetric(SymmetryMetric):
    """``layer_equivariance_errors`` of a net over all batches; ``compute`` returns one relative error for each layer.

    Args:
        group: as in ``layer_equivariance_errors``.
        names: of the layers, in any order; ``[each.name for each in layer_equivariance_errors(net, x, group)]`` lists them.
        actions: of the layers, for groups of other things than nodes.
        num_samples: as there.
        seed: of the elements.
        options: of ``torchmetrics.Metric``.

    Example:
        >>> metric = LayerEquivarianceErrorMetric(SymmetricGroup(3), ["0"])
        >>> metric.update(nn.Sequential(EquivariantLinear(TrivialGroup(3), 1, 2)), torch.randn(5, 3, 1))
        >>> list(metric.compute()), bool(metric.compute()["0"] > 0.1)
        (['0'], True)
    """

    def __init__(
        self,
        group: Group,
        names: Sequence[str],
        actions: dict[str, layers.Actions] | None = None,
        *,
        num_samples: int | None = 32,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(equivariance.EquivarianceError, "relative", **options)
        self.group, self.names, self.actions, self.num_samples, self.seed = group, list(names), actions, num_samples, seed
        self.add_sums("count")
        self.add_sums("squares", "scale", size=(len(self.names),))

    def update(self, net: nn.Module, x: Tensor) -> None:
        """Add a batch of the net's inputs.

        Raises:
            ConfigError: the net has other layers.
        """
        generator = torch.Generator().manual_seed(self.seed)
        found = layers.layer_equivariance_errors(
            net, x, self.group, layers=self.actions, num_samples=self.num_samples, generator=generator
        )
        errors = {each.name: each.error for each in found}
        missing = [name for name in self.names if name not in errors]
        if missing:
            raise ConfigError(f"the net has no layer {missing[0]!r} to measure, expected some of {list(errors)}")
        values = [(errors[name].mean_square * len(x), errors[name].scale * len(x)) for name in self.names]
        squares, scale = torch.tensor(values, dtype=torch.float64).reshape(-1, 2).T
        self.add({"count": torch.tensor(len(x)), "squares": squares, "scale": scale})

    def measured(self) -> dict[str, float]:
        """The relative error of each layer over all batches."""
        sums = self.sums("squares", "scale")
        pairs = zip(sums["squares"].tolist(), sums["scale"].tolist(), strict=True)
        return {name: equivariance.relative_error(*pair) for name, pair in zip(self.names, pairs, strict=True)}

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        """``measured``, as tensors."""
        return {name: torch.tensor(each, dtype=torch.float64) for name, each in self.measured().items()}


class StabiliserMetric(SymmetryMetric):
    """``approximate_stabiliser`` of a function over all batches; ``compute`` says which candidates are kept, (K,) bool.

    Args:
        group: whose elements the candidates are.
        candidates: (K, ...), such as permutations; None takes all elements of a small group.
        epsilon: largest root mean square error to accept.
        action_in: of the group; None is its own.
        action_out: as ``action_in``.
        confidence: of the limits in ``measured()``.
        options: of ``torchmetrics.Metric``.

    Example:
        >>> metric = StabiliserMetric(SymmetricGroup(3), torch.tensor([[0, 1, 2], [1, 0, 2], [2, 1, 0]]), epsilon=0.5)
        >>> metric.update(lambda x: torch.tensor([[1.0], [1.1], [5.0]]) * x, torch.randn(50, 3, 1))
        >>> metric.compute()
        tensor([ True,  True, False])
    """

    largest: Tensor
    count: Tensor

    def __init__(
        self,
        group: Group,
        candidates: Tensor | None = None,
        epsilon: float = 0.0,
        action_in: Action | None = None,
        action_out: Action | None = None,
        *,
        confidence: float = 0.95,
        **options: Any,
    ) -> None:
        super().__init__(stabiliser.Stabiliser, "kept", **options)
        self.group, self.epsilon, self.confidence = group, epsilon, confidence
        self.candidates = group.elements() if candidates is None else candidates
        self.actions = action_in, action_out
        self.add_sums("count")
        self.add_sums("total", "squares", size=(len(self.candidates),))
        self.add_state("largest", default=torch.zeros(len(self.candidates), dtype=torch.float64), dist_reduce_fx="max")

    def update(self, f: Function, x: Tensor) -> None:
        """Add a batch of inputs (B, ...)."""
        errors = equivariance.pointwise_errors(f, x, self.group, self.candidates, *self.actions)  # (K, B)
        self.largest = torch.maximum(self.largest, errors.max(1).values.to(self.largest))
        squares = errors.square()
        self.add({"count": torch.tensor(len(x)), "total": squares.sum(1), "squares": squares.square().sum(1)})

    def measured(self) -> stabiliser.Stabiliser:
        """The candidates, with errors and limits over all batches."""
        sums, num = self.sums("total", "squares"), float(self.count)
        mean = sums["total"].cpu() / num
        deviation = (sums["squares"].cpu() / num - mean.square()).clamp(min=0.0).sqrt()
        error = deviation / math.sqrt(num - 1) if num > 1 else torch.full_like(mean, math.nan)
        errors = stabiliser.ElementErrors(self.candidates, mean, error, self.largest.cpu(), int(num))
        return stabiliser.stabiliser_of(errors, self.epsilon, self.confidence)

    def compute(self) -> Tensor:
        """Which candidates are kept."""
        return self.measured().kept
