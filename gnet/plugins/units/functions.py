"""Which units come out of functions: those of torch and Python's operators, by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from torch import Tensor

from gnet.errors import DegenerateInputError, UnitsError
from gnet.plugins.units.lattices import exact

Exponents = tuple[int | Fraction, ...]


@dataclass(frozen=True)
class Call:
    """A function with the arguments that may have units.

    Attributes:
        name: of the function.
        values: numbers or tensors, without their units.
        units: of each.
        text: how units are written.
        settings: arguments given by name.
        args: the others.
    """

    name: str
    values: Sequence[Any]
    units: Sequence[Exponents]
    text: Callable[[Exponents], str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    args: Sequence[Any] = ()


@dataclass(frozen=True)
class Rule:
    """Units of a result.

    Args:
        units: of the result of a call; None where a plain tensor comes out.
        operands: torch's names of the arguments that may have units; the others are pure numbers.
        start: position of the first of them; all that follow, if they have no names.
    """

    units: Callable[[Call], Exponents | None]
    operands: tuple[str, ...] | None = ("input", "other")
    start: int = 0

    def takes(self, where: int | str) -> bool:
        """Whether an argument, by its position or name, may have units.

        Example:
            >>> Rule(equal).takes(1), Rule(equal, start=1).takes("condition"), Rule(total, None, start=1).takes(5)
            (True, False, True)
        """
        if self.operands is None or isinstance(where, str):
            return where in (self.operands or ()) if isinstance(where, str) else where >= self.start
        return self.start <= where < self.start + len(self.operands)


PURE = Rule(lambda call: None, ())
"""Of functions that take pure numbers alone."""


def equal(call: Call) -> Exponents:
    """The units that all arguments have.

    Raises:
        UnitsError: two differ.

    Example:
        >>> equal(Call("add", [1.0, 2.0], [(0, 1), (0, 1)], str))
        (0, 1)
    """
    first = call.units[0]
    for other in call.units:
        if other != first:
            raise UnitsError(f"{call.text(first)} {SIGNS.get(call.name, 'beside')} {call.text(other)}")
    return first


def total(call: Call) -> Exponents:
    """The units of a product.

    Example:
        >>> total(Call("mul", [1.0, 2.0], [(0, 1), (1, -1)], str))
        (1, 0)
    """
    return tuple(exact(sum(each)) for each in zip(*call.units, strict=True))


def ratio(call: Call) -> Exponents:
    """The units of a quotient.

    Raises:
        DegenerateInputError: zero below.
        UnitsError: rounding, which depends on units that do not cancel.

    Example:
        >>> ratio(Call("div", [1.0, 2.0], [(0, 1), (1, -1)], str))
        (-1, 2)
    """
    above, below = call.units
    check_inverse(call.values[1])
    found = tuple(exact(a - b) for a, b in zip(above, below, strict=True))
    if call.settings.get("rounding_mode") is not None and any(found):
        raise UnitsError(f"expected equal units where a quotient is rounded, got {call.text(above)} over {call.text(below)}")
    return found


def pure(call: Call) -> None:
    """Equal units in, a plain tensor out."""
    equal(call)


def any_units(call: Call) -> None:
    """Any units in, a plain tensor out: signs, places of extremes."""


def squared(call: Call) -> Exponents:
    """Twice the exponents."""
    return tuple(exact(2 * each) for each in call.units[0])


def length(call: Call) -> Exponents:
    """Of a norm.

    Raises:
        UnitsError: of order 0, which counts.
    """
    if 0 in (call.settings.get("p"), call.settings.get("ord"), *call.args[1:2]):
        raise UnitsError("expected a norm of an order above 0, got 0; torch.count_nonzero counts")
    return call.units[0]


def check_inverse(x: Any) -> None:
    """Refuse zeros.

    Raises:
        DegenerateInputError: there is one.
    """
    if bool((x == 0).any() if isinstance(x, Tensor) else x == 0):
        raise DegenerateInputError("expected no zero under a negative exponent, got one")


SIGNS = {"add": "+", "sub": "-", "rsub": "-", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}


def _each(names: str, *rule: Any) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), Rule(*rule))


ONE = ("input",)
RULES: dict[str, Rule] = {
    **_each("add sub rsub maximum minimum hypot", equal),
    **_each("where", equal, ("input", "other"), 1),
    **_each("clamp", equal, ("input", "min", "max")),
    **_each("lerp", equal, ("input", "end")),
    **_each("cat stack", equal, ("tensors",)),
    **_each("neg abs sum mean std cumsum diff amax amin quantile clone detach zeros_like", equal, ONE),
    **_each("reshape flatten squeeze unsqueeze transpose permute movedim broadcast_to roll flip diagonal", equal, ONE),
    **_each("gather index_select unbind split chunk", equal, ONE),
    **_each("norm linalg_norm", length, ONE),
    **_each("linalg_vector_norm", length, ("x",)),
    **_each("mul matmul inner cross linalg_cross", total),
    **_each("mm bmm", total, ("input", "mat2")),
    **_each("mv", total, ("input", "vec")),
    **_each("dot", total, ("input", "tensor")),
    **_each("outer", total, ("input", "vec2")),
    **_each("linalg_vecdot", total, ("x", "y")),
    **_each("tensordot", total, ("a", "b")),
    **_each("einsum", total, None, 1),
    **_each("div", ratio),
    **_each("var", squared, ONE),
    **_each("lt le gt ge eq ne equal atan2", pure),
    **_each("sign isnan isinf isfinite argmax argmin argsort count_nonzero numel", any_units, ONE),
}
"""Functions of torch that units go through, by name; powers are beside them. All others take pure numbers."""

POWERS = {"square": Fraction(2), "sqrt": Fraction(1, 2), "rsqrt": Fraction(-1, 2), "reciprocal": Fraction(-1)}
"""Functions that are powers."""

FLOATS = {"mean", "std", "var", "quantile", "norm", "linalg_norm", "linalg_vector_norm"}
"""Functions that torch has for floats alone; whole numbers become floats."""

SAME_AS = {
    **{"truediv": "div", "true_divide": "div", "divide": "div", "multiply": "mul", "subtract": "sub", "negative": "neg"},
    **{"absolute": "abs", "concat": "cat", "concatenate": "cat", "clip": "clamp", "arctan2": "atan2", "moveaxis": "movedim"},
    **{"less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge", "not_equal": "ne", "swapaxes": "transpose"},
}
"""Second names."""

INSTEAD = {
    "max": "torch.amax, argmax or maximum",
    "min": "torch.amin, argmin or minimum",
    "median": "torch.quantile",
    "sort": "torch.argsort",
    "prod": "the product *",
    "round": "a quotient, which can be rounded",
    "cosine_similarity": "linalg_vecdot over the norms; that function takes norms below 1e-8 of whatever unit for zero",
}
"""What units do go through, in place of functions that refuse them."""
