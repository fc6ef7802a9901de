"""How much a function changes when a group element moves before or after it."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gnet.errors import GroupError, ShapeError
from gnet.groups.base import Action, Group, NodeGroup
from gnet.nn.modes import evaluating
from gnet.theory.checks import is_whole


@dataclass(frozen=True)
class EquivarianceError:
    """What ``equivariance_error`` measured; squares are summed over the entries of the output.

    No sample can tell whether the distribution of x is invariant, so both ``mean_square`` and ``variance`` are given. Where it
    is, ``mean_square`` = 2 ``variance`` = 2 ||f - f averaged||^2; where it is not, the two differ, and ``variance`` need not be
    the squared distance to the average either.

    Attributes:
        mean_square: unbiased estimate of E ||g^-1 f(g x) - f(x)||^2 over x and g.
        standard_error: of ``mean_square``, over the items of the batch (not over pairs), the elements given; NaN for one item.
        relative: root of ``mean_square`` over root of E ||f||^2, 0 for f = 0.
        sup: largest single ||g^-1 f(g x) - f(x)|| met; NaN where no element was looked at.
        variance: unbiased estimate of V = E_x E_g ||g^-1 f(g x) - mean_g||^2.
        num_samples: group elements drawn, or all of them; 0 for a closed form.
        variance_standard_error: of ``variance``, as ``standard_error``.
        total_standard_error: of ``mean_square``, with items and elements both drawn; all items share the elements, so many items
            do not make up for few elements.
        scale: E ||f||^2, which ``relative`` refers to.
    """

    mean_square: float
    standard_error: float
    relative: float
    sup: float
    variance: float
    num_samples: int
    variance_standard_error: float = math.nan
    total_standard_error: float = math.nan
    scale: float = math.nan

    @property
    def rms(self) -> float:
        """The root of ``mean_square``, taken last: the root of an unbiased square is biased."""
        return math.sqrt(self.mean_square)


def equivariance_error(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    group: Group,
    action_in: Action | None = None,
    action_out: Action | None = None,
    *,
    num_samples: int | None = 32,
    generator: torch.Generator | None = None,
) -> EquivarianceError:
    """Equivariance error of any function for any group, over ``num_samples`` random elements, or exactly over all of them.

    ``action_in`` and ``action_out`` default to the group's own action; for an invariant function give
    ``action_out=gnet.groups.TRIVIAL_ACTION``. Modules run in eval mode. Give x in float64 (and the module too) where
    rounding matters. Squares are averaged and the root is taken last. The cost is num_samples + 1 calls of f.

    Args:
        num_samples: None takes all elements of a small finite group; averages over the group are then exact.

    Shapes:
        x: (B, ...): a batch of inputs, the group acting on each; one input also needs its batch axis

    Units: those of f, squared in ``mean_square`` and ``variance``.

    Raises:
        ShapeError: num_samples that is no whole number >= 2, an x without batch axis, or an f that does not return one output for
            each input.
        GroupError: no group, or ``num_samples=None`` with one of more than 10 000 elements.

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
        >>> ones = torch.ones(1, 4, 1, dtype=torch.float64)
        >>> equivariance_error(lambda signal: weights * signal, ones, group, num_samples=None).mean_square  # 2 sum (w - mean)^2
        10.0
    """
    check_inputs(x, group, action_in, num_samples)
    elements = chosen_elements(group, num_samples, generator)
    return error_of(error_sums(f, x, group, elements, action_in, action_out), whole_group=num_samples is None)


def pointwise_errors(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    group: Group,
    elements: Iterable[Tensor] | None = None,
    action_in: Action | None = None,
    action_out: Action | None = None,
) -> Tensor:
    """e(f; g, x) = ||g^-1 f(g x) - f(x)|| of each element and input, which for orthogonal actions is ||f(g x) - g f(x)||.

    Args:
        elements: those to look at; None takes all of a small finite group.

    Shapes:
        x: (B, ...)    elements: (K, ...) or a list    returns: (K, B) float64

    Units: those of f.

    Raises:
        ShapeError: an x without batch axis, or an f that does not return one output for each input.
        GroupError: no group, or no elements given, and more than 10 000 to list.

    References:
        Wang, Walters and Yu (2022), arXiv:2201.11969, definition of the equivariance error.

    Example:
        >>> x = torch.tensor([[[1.0], [4.0]], [[2.0], [2.0]]])
        >>> pointwise_errors(lambda signal: signal[:, 0], x, SymmetricGroup(2), action_out=gnet.groups.TRIVIAL_ACTION)
        tensor([[0., 0.],
                [3., 0.]], dtype=torch.float64)
    """
    check_inputs(x, group, action_in, None)
    chosen = group.elements() if elements is None else elements
    with evaluating(f):
        plain = output_of(f, x)
        moved = images(f, x, group, chosen, action_in, action_out)
        errors = [square_norms(each - plain).sqrt() for each in moved]
    return torch.stack(errors) if errors else torch.zeros(0, len(x), dtype=torch.float64)


def check_inputs(x: object, group: Group, action_in: Action | None, num_samples: int | None) -> None:
    """Refuse what cannot be measured.

    Raises:
        GroupError: no group.
        ShapeError: fewer than two samples, no tensor, an empty one, or one without batch axis.
    """
    check_is_group(group)
    if num_samples is not None and not is_whole(num_samples, 2):
        raise ShapeError(
            f"expected a whole num_samples >= 2 for a variance over the group, got {num_samples!r}; "
            "None takes all elements of a small group"
        )
    if not isinstance(x, Tensor) or not x.numel():
        got = "an empty one" if isinstance(x, Tensor) else type(x).__name__
        fix = "; give x.stacked()" if hasattr(x, "stacked") else ""  # images of several types
        raise ShapeError(f"expected a batch of inputs as a tensor, got {got}{fix}")
    if x.ndim < 2 or (action_in is None and isinstance(group, NodeGroup) and x.ndim < 3):
        raise ShapeError(f"expected a batch (B, ...) of inputs, got shape {tuple(x.shape)}; add an axis with x[None]")


def check_is_group(group: object) -> None:
    """Refuse what is no group.

    Raises:
        GroupError: it is none; the message says how to make one.
    """
    if isinstance(group, type) and issubclass(group, Group):
        raise GroupError(f"expected a group, got the class {group.__name__}; make one with {group.__name__}(...)")
    if not isinstance(group, Group):
        got = repr(group) if isinstance(group, str) else type(group).__name__
        raise GroupError(f"expected a group, got {got}; write ClusterGroup(partition), or gnet.plugins.tensors.SO(3) of matrices")


def chosen_elements(group: Group, num_samples: int | None, generator: torch.Generator | None) -> Tensor:
    """Random elements, or all of them, stacked along a first axis."""
    return group.elements() if num_samples is None else group.sample(num_samples, generator)


def output_of(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """f(x), after checking that it is one output for each input.

    Raises:
        ShapeError: it is not.
    """
    y = f(x.clone())  # it may write over what it is given
    if not isinstance(y, Tensor) or y.ndim == 0 or len(y) != len(x):
        got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise ShapeError(f"expected f to return a tensor with one output for each of {len(x)} inputs, got {got}")
    return y


def images(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    group: Group,
    elements: Iterable[Tensor],
    action_in: Action | None,
    action_out: Action | None,
) -> Iterator[Tensor]:
    """g^-1 f(g x) for each element, one after the other."""
    before, after = action_in or group.action, action_out or group.action
    for g in elements:
        moved = before(g, x)
        yield after(group.inverse(g), f(moved.clone() if moved is x else moved))


def square_norms(y: Tensor) -> Tensor:
    """Squared norm of each item, (B,) float64."""
    flat = y.reshape(len(y), -1)
    return (torch.view_as_real(flat.resolve_conj()).flatten(1) if y.is_complex() else flat).double().square().sum(1)


class RunningMean:
    """The mean of tensors (B, ...) that come one after the other, and each item's sum of squared distances to it.

    References:
        Welford (1962), doi:10.1080/00401706.1962.10490022.
    """

    def __init__(self, like: Tensor) -> None:
        self.count = 0
        self.mean = torch.zeros_like(like)
        self.spread = torch.zeros(len(like), dtype=torch.float64, device=like.device)

    def add(self, value: Tensor) -> None:
        """One more."""
        self.count += 1
        change = value - self.mean
        self.mean = self.mean + change / self.count
        self.spread += (change.conj() * (value - self.mean)).reshape(len(value), -1).real.double().sum(1)


def error_sums(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    group: Group,
    elements: Tensor,
    action_in: Action | None,
    action_out: Action | None,
) -> dict[str, Tensor]:
    """What ``error_of`` needs of one batch; over batches all add up but ``largest``, of which the maximum counts.

    With e[k, b] the error of element k at item b: ``count`` items, ``items`` and ``items_squared`` sums of the items' means of
    e^2 and of their squares, ``by_element`` (K,) sums over items, ``fourth`` sum of e^4, ``spread`` and ``spread_squared`` sums
    over items of the squared distances to the mean over elements, ``scale`` sum of ||f||^2, ``largest`` e^2.
    """
    squares = []
    with evaluating(f):
        plain = output_of(f, x)
        average = RunningMean(plain)
        for moved in images(f, x, group, elements, action_in, action_out):
            squares.append(square_norms(moved - plain))
            average.add(moved)
    pairs, spread = torch.stack(squares), average.spread  # (K, B), (B,)
    per_item = pairs.mean(0)
    return {
        "count": torch.tensor(len(x), dtype=torch.float64, device=x.device),
        "items": per_item.sum(),
        "items_squared": per_item.square().sum(),
        "by_element": pairs.sum(1),
        "fourth": pairs.square().sum(),
        "spread": spread.sum(),
        "spread_squared": spread.square().sum(),
        "scale": square_norms(plain).sum(),
        "largest": pairs.max(),
    }


def error_of(sums: dict[str, Tensor], whole_group: bool) -> EquivarianceError:
    """The error from the sums over all items; ``whole_group`` says that no element was left out."""
    num_items, num_elements = float(sums["count"]), len(sums["by_element"])
    mean_square, scale = float(sums["items"]) / num_items, float(sums["scale"]) / num_items
    free = num_elements if whole_group else num_elements - 1
    of_items = _square_of_error(float(sums["items"]), float(sums["items_squared"]), num_items)
    of_spread = _square_of_error(float(sums["spread"]), float(sums["spread_squared"]), num_items)
    if whole_group:
        total = of_items
    else:
        # Two crossed factors, items and elements; what both share is counted twice and taken off once.
        rows = (sums["by_element"] / num_items).double()
        of_elements = float(rows.var()) / num_elements
        rest = float(sums["fourth"] - num_elements * sums["items_squared"] - num_items * rows.square().sum())
        rest += num_items * num_elements * mean_square**2
        shared = rest / ((num_elements - 1) * (num_items - 1) * num_elements * num_items) if num_items > 1 else 0.0
        total = of_elements + (of_items - shared if num_items > 1 else 0.0)
    return EquivarianceError(
        mean_square=mean_square,
        standard_error=_root(of_items),
        relative=relative_error(mean_square, scale),
        sup=math.sqrt(float(sums["largest"])),
        variance=float(sums["spread"]) / free / num_items,
        num_samples=num_elements,
        variance_standard_error=_root(of_spread) / free,
        total_standard_error=_root(total),
        scale=scale,
    )


def relative_error(mean_square: float, scale: float) -> float:
    """Root of E e^2 over root of E ||f||^2; NaN stays NaN, and f = 0 has no error."""
    if scale == 0.0:
        return 0.0 if mean_square == 0.0 else math.inf
    return math.sqrt(mean_square / scale)


def _square_of_error(total: float, squares: float, num: float) -> float:
    """Variance of a mean from the sum and the sum of squares of its items; NaN for one item."""
    return (squares - total**2 / num) / (num - 1) / num if num > 1 else math.nan


def _root(square: float) -> float:
    return math.sqrt(square) if math.isnan(square) else math.sqrt(max(square, 0.0))
