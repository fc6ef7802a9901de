"""What every layer that is near a group has: its explicit map, how far it is from the group, and what it asks of the loss."""

import copy
import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError
from gnet.groups.base import NodeGroup
from gnet.nn.base import NodeLinear
from gnet.orbits import PairOrbits


class ApproximateLinear(NodeLinear):
    """Base of the linear maps (*, N, C) -> (*, N, C') that are near those of ``group`` without being among them.

    A subclass gives ``dense`` and ``dense_bias``, and overrides ``broken`` where its weights know it without an N x N matrix. All
    of this is about the map together with its bias, f(x) = W x + b: a bias that differs within node orbits breaks the symmetry
    too.

    References:
        For inputs of independent entries of variance 1, ``broken`` is E ||f - f averaged||^2, half of E ||g^-1 f(g x) - f(x)||^2:
        Elesedy and Zaidi (2021), arXiv:2102.10333; ``gnet.measures.linear_equivariance_error``.
    """

    @abstractmethod
    def dense(self) -> Tensor:
        """The explicit weight, (N, C', N, C), receiver first: for tests and for looking at."""

    @property
    def reference(self) -> NodeGroup:
        """The group that ``broken`` and ``equivariance_error`` are about."""
        return self.group

    def broken(self) -> Tensor:
        """Squared Frobenius norm of what averaging over the group takes away from W and b; 0-dim, differentiable.

        O(N^2 C C') memory unless a subclass knows better.
        """
        return broken_square(self.dense(), self.dense_bias(), self.reference)

    def square(self) -> Tensor:
        """Squared Frobenius norm of W and b; 0-dim, differentiable."""
        weight, bias = self.dense(), self.dense_bias()
        return weight.square().sum() + (0.0 if bias is None else bias.square().sum())

    @torch.no_grad()
    def equivariance_error(self) -> float:
        """||f - f averaged|| / ||f||, exact, computed in float64; 0 for f = 0. Costs a copy of the layer.

        ``gnet.measures.linear_equivariance_error(...).relative`` is root 2 times it.
        """
        twin = copy.deepcopy(self).double()
        square = float(twin.square())
        return math.sqrt(max(float(twin.broken()), 0.0) / square) if square else 0.0

    def penalty(self) -> Tensor:
        """What the layer asks to be added to the loss, 0-dim; zero unless a subclass asks for something."""
        return self._nothing()

    def _nothing(self) -> Tensor:
        return next(self.parameters()).new_zeros(())


def penalty(module: nn.Module) -> Tensor:
    """The sum of what the parts of a net ask to be added to the loss (their ``penalty()``), each part once; 0-dim.

    Example:
        >>> layer = gnet.nn.relaxed.ChainGates(SymmetricGroup(3), 1, 1, gates=[0.25], l1=2.0)
        >>> penalty(nn.Sequential(layer, nn.ReLU()))
        tensor(0.5000)
        >>> penalty(nn.Linear(1, 1))
        tensor(0.)
    """
    terms = [part.penalty() for part in asking(module)]
    return torch.stack(terms).sum() if terms else torch.zeros(())


def asking(module: nn.Module) -> list[Any]:
    """The parts of a net that ask for something: those whose class has a method ``penalty``.

    Example:
        >>> asking(nn.Linear(1, 1))
        []
    """
    return [each for each in module.modules() if callable(getattr(type(each), "penalty", None))]


def broken_square(weight: Tensor, bias: Tensor | None, group: NodeGroup) -> Tensor:
    """Squared Frobenius norm of what averaging over a group takes away from a dense map and its bias, differentiable.

    Shapes:
        weight: (N, C', N, C)    bias: (N, C') or None    returns: ()

    Example:
        >>> weight, bias = torch.diag(torch.tensor([1.0, 3.0])).reshape(2, 1, 2, 1), torch.tensor([[0.0], [4.0]])
        >>> broken_square(weight, bias, SymmetricGroup(2))
        tensor(10.)
    """
    lost = (weight - PairOrbits.of(group).mean(weight)).square().sum()
    return lost if bias is None else lost + (bias - group.node_orbits().average(bias)).square().sum()


def check_at_least(floor: float, **values: float) -> None:
    """Refuse settings below a number, infinite ones, and NaN.

    Raises:
        ConfigError: the first one that is.
    """
    for name, value in values.items():
        if not isinstance(value, int | float) or not floor <= value < math.inf:
            finite = " and finite" if value == math.inf else ""
            raise ConfigError(f"expected {name} >= {floor:g}{finite}, got {value!r}")
