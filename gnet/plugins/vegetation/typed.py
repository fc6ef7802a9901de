"""Expressions with units: what a text such as "alpha * u * k2 / (k2 + v)" is worth, and in which units."""

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gnet.errors import ConfigError, UnitsError
from gnet.plugins.units import scaling_exponents


@dataclass(frozen=True, eq=False)
class Quantity:
    """Numbers with one unit, as exponents of base units: sums of equal units only, products add exponents.

    Args:
        x: the numbers.
        u: exponents, in an order of base units that is the same for all quantities of a problem.

    Raises:
        UnitsError: a sum or difference of unequal units, or quantities with different numbers of base units.

    References:
        Villar et al. (2023), arXiv:2204.00887, section 3.

    Example:
        >>> metre, second = Quantity(torch.tensor(6.0), (1, 0)), Quantity(torch.tensor(2.0), (0, 1))
        >>> metre / second**2
        Quantity(x=tensor(1.5000), u=(1, -2))
    """

    x: Tensor
    u: tuple[int, ...]

    def _like(self, other: "Quantity") -> None:
        if len(self.u) != len(other.u):
            raise UnitsError(f"expected as many base units in both quantities, got exponents {self.u} and {other.u}")

    def _same(self, other: "Quantity") -> None:
        if self.u != other.u:
            raise UnitsError(f"only equal units are added, got exponents {self.u} and {other.u}")

    def __add__(self, other: "Quantity") -> "Quantity":
        self._same(other)
        return Quantity(self.x + other.x, self.u)

    def __sub__(self, other: "Quantity") -> "Quantity":
        self._same(other)
        return Quantity(self.x - other.x, self.u)

    def __mul__(self, other: "Quantity") -> "Quantity":
        self._like(other)
        return Quantity(self.x * other.x, tuple(a + b for a, b in zip(self.u, other.u, strict=True)))

    def __truediv__(self, other: "Quantity") -> "Quantity":
        self._like(other)
        return Quantity(self.x / other.x, tuple(a - b for a, b in zip(self.u, other.u, strict=True)))

    def __pow__(self, power: int) -> "Quantity":
        return Quantity(self.x**power, tuple(power * each for each in self.u))


def parse_units(text: str, base: Sequence[str]) -> tuple[int, ...]:
    """Exponents of base units in a text such as "l d^-1 m^-2"; "1" is without units.

    Raises:
        UnitsError: another unit, or a power that is no whole number.

    Example:
        >>> parse_units("l d^-1 m^-2", ("l", "d", "m", "g"))
        (1, -1, -2, 0)
    """
    found = dict.fromkeys(base, 0)
    for word in text.split():
        name, _, power = word.partition("^")
        if word == "1":
            continue
        if name not in found or not re.fullmatch(r"-?\d+", power or "1"):
            raise UnitsError(f"expected whole powers of {', '.join(base)}, such as {base[0]}^-1, got {word!r}")
        found[name] += int(power or 1)
    return tuple(found.values())


OPERATORS: dict[type[ast.operator], Callable[[Quantity, Quantity], Quantity]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}


def evaluate(
    text: str, names: Mapping[str, Quantity], functions: Mapping[str, Callable[[Quantity], Quantity]] | None = None
) -> Quantity:
    """The value and the units of an expression of names, numbers, + - * /, whole powers, brackets and functions.

    Numbers have no units; unequal units are never added. Nothing but arithmetic is carried out: no attributes, no other calls.

    Raises:
        ConfigError: no expression of this kind, or a name that does not stand for anything.
        UnitsError: unequal units are added.

    Example:
        >>> metre, second = Quantity(torch.tensor(6.0), (1, 0)), Quantity(torch.tensor(2.0), (0, 1))
        >>> speed = evaluate("x / (2 * t)", {"x": metre, "t": second})
        >>> float(speed.x), speed.u
        (1.5, (1, -1))
    """
    functions = functions or {}
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ConfigError(f"expected an expression such as 'k * u / (1 + v)', got {text!r}") from error
    size = len(next(iter(names.values())).u) if names else 0

    def value(node: ast.expr) -> Quantity:
        match node:
            case ast.BinOp(left, ast.Pow(), right):
                power = _whole(right)
                if power is None:
                    raise ConfigError(f"expected whole powers, got {ast.unparse(node)}")
                return value(left) ** power
            case ast.BinOp(left, operator, right) if type(operator) in OPERATORS:
                return OPERATORS[type(operator)](value(left), value(right))
            case ast.UnaryOp(ast.USub(), operand):
                return number(-1.0) * value(operand)
            case ast.Constant(int() | float() as given) if not isinstance(given, bool):
                return number(float(given))
            case ast.Name(name) if name in names:
                return names[name]
            case ast.Call(ast.Name(name), [argument], []) if name in functions:
                return functions[name](value(argument))
            case ast.Name(name) | ast.Call(ast.Name(name)):
                raise ConfigError(f"there is no {name} in {text!r}; there are {', '.join([*names, *functions])}")
        raise ConfigError(f"expected names, numbers, + - * / and whole powers, got {ast.unparse(node)!r} in {text!r}")

    def number(given: float) -> Quantity:
        return Quantity(torch.tensor(given, dtype=torch.float64), (0,) * size)

    return value(tree)


def _whole(node: ast.expr) -> int | None:
    match node:
        case ast.Constant(int() as given) if not isinstance(given, bool):
            return given
        case ast.UnaryOp(ast.USub(), ast.Constant(int() as given)):
            return -given
    return None


def product_text(powers: Mapping[str, int]) -> str:
    """A product of powers as an expression.

    Example:
        >>> product_text({"alpha": 1, "L": 2, "k2": -1, "R": 0}), product_text({"t": -2}), product_text({})
        ('alpha * L**2 / k2', '1 / t**2', '1')
    """
    above = [name if power == 1 else f"{name}**{power}" for name, power in powers.items() if power > 0]
    below = [name if power == -1 else f"{name}**{-power}" for name, power in powers.items() if power < 0]
    return " / ".join([" * ".join(above) or "1", *below])


def product_with_units(quantities: Mapping[str, Quantity], units: Sequence[int]) -> str | None:
    """The smallest product of whole powers with these units, as an expression; None where there is none.

    Example:
        >>> metre, second = Quantity(torch.tensor(6.0), (1, 0)), Quantity(torch.tensor(2.0), (0, 1))
        >>> product_with_units({"x": metre, "t": second}, (2, -1)), product_with_units({"x": metre}, (0, 1))
        ('x**2 / t', None)
    """
    try:
        powers = scaling_exponents([list(each.u) for each in quantities.values()], list(units))
    except UnitsError:
        return None
    return product_text(dict(zip(quantities, (int(each) for each in powers), strict=True)))


def in_brackets(text: str) -> str:
    """An expression as a factor.

    Example:
        >>> in_brackets("u + v"), in_brackets("u * v / (1 + v)")
        ('(u + v)', 'u * v / (1 + v)')
    """
    tree = ast.parse(text.strip(), mode="eval").body
    is_sum = isinstance(tree, ast.UnaryOp) or (isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add | ast.Sub))
    return f"({text.strip()})" if is_sum else text.strip()
