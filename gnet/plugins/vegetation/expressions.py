"""Expressions with units: what a text such as "alpha * u * k2 / (k2 + v)" is worth, and in which units."""

import ast
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import torch

from gnet.errors import ConfigError, UnitsError
from gnet.plugins.units import Quantity, scaling_exponents

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
        DegenerateInputError: a division by zero.

    Example:
        >>> from gnet.plugins.units import Units
        >>> system = Units("m", "s")
        >>> evaluate("x / (2 * t)", {"x": system(6.0, "m"), "t": system(2.0, "s")})
        Quantity(1.5000, 'm s^-1')
    """
    functions = functions or {}
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ConfigError(f"expected an expression such as 'k * u / (1 + v)', got {text!r}") from error
    if not names:
        raise ConfigError(f"expected names for {text!r}, got none")
    system = next(iter(names.values())).system

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
        return Quantity(torch.tensor(given, dtype=torch.float64), (0,) * len(system.base), system)

    return value(tree)


def _whole(node: ast.expr) -> int | None:
    match node:
        case ast.Constant(int() as given) if not isinstance(given, bool):
            return given
        case ast.UnaryOp(ast.USub(), ast.Constant(int() as given)):
            return -given
    return None


def product_expression(powers: Mapping[str, int]) -> str:
    """A product of powers as an expression.

    Example:
        >>> product_expression({"alpha": 1, "L": 2, "k2": -1, "R": 0}), product_expression({"t": -2}), product_expression({})
        ('alpha * L**2 / k2', '1 / t**2', '1')
    """
    above = [name if power == 1 else f"{name}**{power}" for name, power in powers.items() if power > 0]
    below = [name if power == -1 else f"{name}**{-power}" for name, power in powers.items() if power < 0]
    return " / ".join([" * ".join(above) or "1", *below])


def product_with_units(quantities: Mapping[str, Quantity], units: Sequence[int | Fraction]) -> str | None:
    """The smallest product of whole powers with these units, as an expression; None where there is none.

    Example:
        >>> from gnet.plugins.units import Units
        >>> x, t = Units("m", "s")(6.0, "m"), Units("m", "s")(2.0, "s")
        >>> product_with_units({"x": x, "t": t}, (2, -1)), product_with_units({"x": x}, (0, 1))
        ('x**2 / t', None)
    """
    rows, wanted = [_whole_units(each.u) for each in quantities.values()], _whole_units(units)
    try:
        powers = scaling_exponents(rows, wanted)
    except UnitsError:
        return None
    return product_expression(dict(zip(quantities, (int(each) for each in powers), strict=True)))


def in_brackets(text: str) -> str:
    """An expression as a factor.

    Example:
        >>> in_brackets("u + v"), in_brackets("u * v / (1 + v)")
        ('(u + v)', 'u * v / (1 + v)')
    """
    tree = ast.parse(text.strip(), mode="eval").body
    is_sum = isinstance(tree, ast.UnaryOp) or (isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add | ast.Sub))
    return f"({text.strip()})" if is_sum else text.strip()


def _whole_units(units: Sequence[int | Fraction]) -> list[int]:
    if any(each != int(each) for each in units):
        raise UnitsError(f"expected whole exponents of units, got {', '.join(map(str, units))}")
    return [int(each) for each in units]
