"""Model error, element by element: which motions a function, or every one of a family, nearly commutes with."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from gnet.errors import ConfigError, GroupError
from gnet.groups.base import Action, Group, check_permutation
from gnet.groups.cluster import SymmetricGroup
from gnet.measures.equivariance import check_inputs, images, output_of, square_norms
from gnet.nn.modes import evaluating
from gnet.theory.checks import as_number, check_whole

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class ElementErrors:
    """E_x ||g^-1 f(g x) - f(x)||^2 for each group element g, of one function, or the largest over a family of them.

    Shapes:
        elements: (K, ...)    mean_square, standard_error, sup: (K,) float64
    """

    elements: Tensor
    mean_square: Tensor
    standard_error: Tensor
    """Of ``mean_square``, over the items of the batch; NaN for one item."""
    sup: Tensor
    """Largest single error over the batch, not squared."""
    num_items: int

    @property
    def rms(self) -> Tensor:
        """Roots of ``mean_square``: ee(g), (K,)."""
        return self.mean_square.sqrt()

    @property
    def largest(self) -> float:
        """The largest ``rms``: the smallest epsilon at which all these elements are in the epsilon-stabiliser."""
        return float(self.rms.max())


@dataclass(frozen=True, eq=False)
class Stabiliser:
    """Candidates, their errors with confidence limits, and which of them an epsilon accepts.

    Shapes:
        kept, lower, upper: (K,)
    """

    errors: ElementErrors
    kept: Tensor
    lower: Tensor
    upper: Tensor
    epsilon: float
    confidence: float

    @property
    def elements(self) -> Tensor:
        """The accepted ones, (M, ...)."""
        return self.errors.elements[self.kept]

    @property
    def certain(self) -> Tensor:
        """Which candidates lie on one side of epsilon with both their limits, (K,) bool."""
        return (self.upper <= self.epsilon) | (self.lower > self.epsilon)


def model_error(
    f: Function | Sequence[Function],
    x: Tensor,
    group: Group,
    action_in: Action | None = None,
    action_out: Action | None = None,
    *,
    elements: Iterable[Tensor] | None = None,
    num_samples: int | None = None,
    generator: torch.Generator | None = None,
) -> ElementErrors:
    """ee(g) = sup over f of ||g^-1 f(g .) - f||, root mean square over x, for each element of a group.

    Args:
        f: one function, or a family of which the largest error counts, for each element on its own.
        elements: those to look at; None takes all of a small finite group, or ``num_samples`` random ones.

    Shapes:
        x: (B, ...)

    Units: those of f.

    Raises:
        ConfigError: no function, no element, or num_samples that is no whole number >= 1.
        ShapeError: an x without batch axis, or an f that does not return one output for each input.
        GroupError: no group, or more than 10 000 elements to list.

    References:
        Petrache and Trivedi (2023), arXiv:2305.17592, section on the equivariance error of a model.

    Example:
        >>> x = torch.tensor([[[0.0], [3.0]]])
        >>> errors = model_error(lambda x: x[:, :1], x, SymmetricGroup(2), action_out=gnet.groups.TRIVIAL_ACTION)
        >>> errors.rms, errors.largest
        (tensor([0., 3.], dtype=torch.float64), 3.0)
    """
    family = [f] if callable(f) else list(f)
    if not family:
        raise ConfigError("expected at least one function, got none")
    check_inputs(x, group, action_in, None)
    if num_samples is not None:
        check_whole(1, num_samples=num_samples)
    if elements is None:
        elements = group.elements() if num_samples is None else group.sample(num_samples, generator)
    chosen = elements if isinstance(elements, Tensor) else torch.stack(list(elements)) if elements else torch.empty(0)
    if not len(chosen):
        raise ConfigError("expected at least one group element, got none")
    best = torch.full((3, len(chosen)), -1.0, dtype=torch.float64)  # mean square, its error, largest square
    for function in family:
        with evaluating(function):
            plain = output_of(function, x)
            moved = images(function, x, group, chosen, action_in, action_out)
            squares = torch.stack([square_norms(each - plain) for each in moved]).cpu()  # (K, B)
        deviation = squares.std(1) if len(x) > 1 else torch.full((len(chosen),), math.nan, dtype=torch.float64)
        mine = torch.stack([squares.mean(1), deviation / math.sqrt(len(x)), squares.max(1).values])
        larger = (mine[0] > best[0]) | mine[0].isnan()
        largest = torch.maximum(best[2], mine[2])
        best = torch.where(larger, mine, best)
        best[2] = largest
    return ElementErrors(chosen, best[0], best[1], best[2].sqrt(), len(x))


def approximate_stabiliser(
    f: Function | Sequence[Function],
    x: Tensor,
    candidates: Iterable[Tensor],
    epsilon: float,
    group: Group | None = None,
    action_in: Action | None = None,
    action_out: Action | None = None,
    *,
    confidence: float = 0.95,
) -> Stabiliser:
    """The epsilon-stabiliser among candidates: those g with sup over f of ||g^-1 f(g .) - f|| <= epsilon.

    It need not be a group (partial symmetry): where the distribution of x is invariant, a product of elements of two stabilisers
    lies in that of the sum of their epsilons. Limits are Student's, for each candidate alone, over the items of the batch.

    Args:
        candidates: group elements, such as permutations (K, N); they need not form a group.
        epsilon: largest root mean square error to accept.
        group: whose elements they are; None for permutations of nodes.
        confidence: of each two-sided pair of limits.

    Shapes:
        x: (B, ...)

    Units: epsilon in those of f.

    Raises:
        ConfigError: a negative epsilon, a confidence outside (0, 1), no candidate or no function.
        ShapeError: an x without batch axis, or an f that does not return one output for each input.
        GroupError: candidates that are no permutations, without a group; or what is given as group is none.

    References:
        Petrache and Trivedi (2023), arXiv:2305.17592, definition of the epsilon-stabiliser.

    Example:
        >>> slope = torch.tensor([[1.0], [1.1], [5.0]])
        >>> found = approximate_stabiliser(lambda x: slope * x, torch.randn(50, 3, 1), [[0, 1, 2], [1, 0, 2], [2, 1, 0]], 0.5)
        >>> found.kept, found.elements.tolist()
        (tensor([ True,  True, False]), [[0, 1, 2], [1, 0, 2]])
    """
    _check_limits(epsilon, confidence)
    chosen = [torch.as_tensor(each) for each in candidates]
    if group is None and chosen:
        if chosen[0].ndim != 1:
            raise GroupError("expected permutations (K, N); say whose elements others are with group=")
        group = SymmetricGroup(len(chosen[0]))
        chosen = [check_permutation(each, len(chosen[0]), f"candidate {place}") for place, each in enumerate(chosen)]
    if group is None:
        raise ConfigError("expected at least one candidate, got none")
    errors = model_error(f, x, group, action_in, action_out, elements=chosen)
    return stabiliser_of(errors, epsilon, confidence)


def stabiliser_of(errors: ElementErrors, epsilon: float, confidence: float = 0.95) -> Stabiliser:
    """Which of the measured elements an epsilon accepts; one measurement serves every epsilon.

    Args:
        errors: of the candidates, from ``model_error``.
        epsilon: largest root mean square error to accept.
        confidence: of each two-sided pair of Student's limits.

    Shapes:
        errors: of K elements    kept, lower, upper of the result: (K,)

    Units: epsilon and limits in those of f.

    Raises:
        ConfigError: a negative epsilon, a confidence outside (0, 1).

    References:
        Petrache and Trivedi (2023), arXiv:2305.17592, definition of the epsilon-stabiliser.

    Example:
        >>> slope = torch.tensor([[1.0], [1.1], [5.0]])
        >>> errors = model_error(lambda x: slope * x, torch.randn(50, 3, 1), SymmetricGroup(3))
        >>> [len(stabiliser_of(errors, epsilon).elements) for epsilon in (0.0, 0.5, 100.0)]
        [1, 2, 6]
    """
    _check_limits(epsilon, confidence)
    reach = torch.full_like(errors.mean_square, math.nan)
    if errors.num_items > 1:
        reach = float(stats.t.ppf((1 + confidence) / 2, errors.num_items - 1)) * errors.standard_error
    lower, upper = (errors.mean_square - reach).clamp(min=0.0).sqrt(), (errors.mean_square + reach).sqrt()
    return Stabiliser(errors, errors.rms <= epsilon, lower, upper, epsilon, confidence)


def _check_limits(epsilon: float, confidence: float) -> None:
    if not as_number(epsilon) >= 0 or not 0 < as_number(confidence) < 1:
        raise ConfigError(f"expected epsilon >= 0 and confidence in (0, 1), got {epsilon!r} and {confidence!r}")
