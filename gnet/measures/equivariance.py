"""How much a function changes when a group element moves before or after it."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gnet.errors import ShapeError
from gnet.groups.base import Action, Group, NodeGroup
from gnet.orbits import PairOrbits


@dataclass(frozen=True)
class EquivarianceError:
    """What ``equivariance_error`` measured.

    Attributes:
        mean_square: unbiased estimate of E ||g^-1 f(g x) - f(x)||^2 over x and g, summed over the entries of the output.
        standard_error: of ``mean_square``, over the items of the batch (not over pairs); NaN for one item.
        relative: root of ``mean_square`` over root of E ||f||^2, 0 for f = 0.
        sup: largest single ||g^-1 f(g x) - f(x)|| met.
        variance: unbiased estimate of V = E_x E_g ||g^-1 f(g x) - mean_g||^2. Where the distribution of x is invariant,
            ``mean_square`` = 2 V = 2 ||f - f averaged||^2; where it is not, the two differ.
        num_samples: group elements drawn.
    """

    mean_square: float
    standard_error: float
    relative: float
    sup: float
    variance: float
    num_samples: int


@contextlib.contextmanager
def evaluating(f: object) -> Iterator[None]:
    """Put a module into eval mode (batch norm and dropout would not be functions of x alone) and back afterwards."""
    modules = [m for m in f.modules() if m.training] if isinstance(f, nn.Module) else []
    if isinstance(f, nn.Module):
        f.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in modules:
            module.training = True


def equivariance_error(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    group: Group,
    action_in: Action | None = None,
    action_out: Action | None = None,
    *,
    num_samples: int = 32,
    generator: torch.Generator | None = None,
) -> EquivarianceError:
    """Monte-Carlo equivariance error of any function for any group, over ``num_samples`` random elements.

    ``action_in`` and ``action_out`` default to the group's own action; for an invariant function give
    ``action_out=gnet.groups.TRIVIAL_ACTION``. Modules run in eval mode. Give x in float64 (and the module too) where
    rounding matters. Squares are averaged and the root is taken last.

    Shapes:
        x: (B, ...): a batch of inputs, the group acting on each; one input also needs its batch axis

    Raises:
        ShapeError: fewer than two samples, or an x without batch axis.

    References:
        Wang, Walters and Yu (2022), arXiv:2201.11969, for the pointwise error; the identity E e^2 = 2 ||f_perp||^2 for
        invariant inputs follows by expanding the square.

    Example:
        >>> group = SymmetricGroup(4)
        >>> x = torch.randn(8, 4, 1, dtype=torch.float64)
        >>> error = equivariance_error(torch.tanh, x, group)
        >>> error.relative < 1e-12
        True
        >>> weights = torch.arange(4.0, dtype=torch.float64)[:, None]
        >>> equivariance_error(lambda signal: weights * signal, x, group).relative > 0.1
        True
    """
    if num_samples < 2:
        raise ShapeError(f"expected num_samples >= 2 for a variance over the group, got {num_samples}")
    if not isinstance(x, Tensor) or not x.numel():
        raise ShapeError(
            f"expected a batch of inputs as a tensor, got {'an empty one' if isinstance(x, Tensor) else type(x).__name__}"
        )
    if x.ndim < 2 or (action_in is None and isinstance(group, NodeGroup) and x.ndim < 3):
        raise ShapeError(f"expected a batch (B, ...) of inputs, got shape {tuple(x.shape)}; add an axis with x[None]")
    before, after = action_in or group.action, action_out or group.action
    with evaluating(f):
        plain = f(x)
        mean, spread = torch.zeros_like(plain), torch.zeros(len(x), dtype=torch.float64, device=x.device)
        squares = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        largest = 0.0
        for count, g in enumerate(group.sample(num_samples, generator), start=1):
            moved = after(group.inverse(g), f(before(g, x)))
            squared = _square_norms(moved - plain)
            squares += squared
            largest = max(largest, float(squared.max()) if len(squared) else 0.0)
            change = moved - mean  # Welford: the running mean and the sum of squares about it
            mean = mean + change / count
            spread += ((change * (moved - mean)).flatten(1).double()).sum(1)
        per_item, scale = squares / num_samples, float(_square_norms(plain).mean())
    mean_square = float(per_item.mean())
    return EquivarianceError(
        mean_square=mean_square,
        standard_error=float(per_item.std() / math.sqrt(len(x))) if len(x) > 1 else math.nan,
        relative=math.sqrt(mean_square / scale) if scale > 0 else 0.0,
        sup=math.sqrt(largest),
        variance=float((spread / (num_samples - 1)).mean()),
        num_samples=num_samples,
    )


def linear_equivariance_error(weight: Tensor, group: NodeGroup, *, sigma_x: float = 1.0) -> EquivarianceError:
    """The exact equivariance error of a linear map for white inputs, without sampling.

    E ||g^-1 f(g x) - f(x)||^2 = 2 sigma_x^2 ||W - mean over orbits of W||_F^2.

    Shapes:
        weight: (N, N) or (N, C', N, C), receiver first

    Units: squares in those of ``weight`` times ``sigma_x``; ``sup`` is unbounded for Gaussian inputs and given as NaN.

    Example:
        >>> round(linear_equivariance_error(torch.diag(torch.tensor([1.0, 3.0])), SymmetricGroup(2)).mean_square, 6)
        4.0
    """
    perp = float((weight - PairOrbits.of(group).mean(weight)).double().square().sum()) * sigma_x**2
    scale = float(weight.double().square().sum()) * sigma_x**2
    relative = math.sqrt(2 * perp / scale) if scale > 0 else 0.0
    return EquivarianceError(2 * perp, 0.0, relative, math.nan, perp, 0)


def _square_norms(y: Tensor) -> Tensor:
    return y.flatten(1).double().square().sum(1)
