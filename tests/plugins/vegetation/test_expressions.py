"""Expressions with units: arithmetic, refusals, and the smallest product with given units."""

import pytest
import torch

from gnet.errors import ConfigError, DegenerateInputError, UnitsError
from gnet.plugins.vegetation import SYSTEM, evaluate
from gnet.plugins.vegetation.expressions import in_brackets, product_expression, product_with_units


def number(value, units):
    return SYSTEM(torch.tensor(value, dtype=torch.float64), units)


NAMES = {"u": number(3.0, "l m^-2"), "k": number(2.0, "l m^-2"), "a": number(0.5, "d^-1")}


@pytest.mark.parametrize(
    ("text", "value", "units"),
    [
        ("a * u", 1.5, "l d^-1 m^-2"),
        ("u / (k + u)", 0.6, "1"),
        ("a * u**2 / k - u * a", 0.75, "l d^-1 m^-2"),
        ("-2 * u**-1", -2 / 3, "l^-1 m^2"),
        ("1.5", 1.5, "1"),
        ("double(a)", 1.0, "d^-1"),
    ],
)
def test_values_and_units(text, value, units):
    found = evaluate(text, NAMES, {"double": lambda each: each + each})
    assert float(found.x) == pytest.approx(value, rel=1e-15)
    assert found.u == SYSTEM.exponents(units)


@pytest.mark.parametrize("text", ["u + a", "1 + u", "u - 2 * a", "u / (1 + k)"])
def test_unequal_units_are_not_added(text):
    with pytest.raises(UnitsError, match=r" [+-] "):
        evaluate(text, NAMES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("u +", "expected an expression such as"),
        ("b * u", r"there is no b in 'b \* u'; there are u, k, a"),
        ("exp(u)", "there is no exp"),
        ("u ** 0.5", "expected whole powers"),
        ("u.x", "expected names, numbers"),
        ("u if k else a", "expected names, numbers"),
        ("True * u", "expected names, numbers"),
        ("__import__('os')", "there is no __import__"),
    ],
)
def test_nothing_but_arithmetic(text, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(text, NAMES)


def test_no_names_and_no_division_by_zero():
    with pytest.raises(ConfigError, match="expected names for '1', got none"):
        evaluate("1", {})
    with pytest.raises(DegenerateInputError, match="expected no zero under a negative exponent"):
        evaluate("a / (u - u)", NAMES)
    with pytest.raises(UnitsError, match="expected whole exponents of units, got 0, -1/2, 0, 0"):
        product_with_units({"x": NAMES["a"].sqrt(rational=True)}, (0, 1, 0, 0))


def test_products_with_given_units():
    text = product_with_units(NAMES, SYSTEM.exponents("l^2 d^-1 m^-4"))
    assert evaluate(text, NAMES).u == (2, -1, -4, 0)
    assert product_with_units(NAMES, SYSTEM.exponents("g")) is None
    assert product_with_units(NAMES, (0, 0, 0, 0)) == "1" == product_expression({"a": 0})
    assert in_brackets("-u") == "(-u)" and in_brackets("(u + k) * a") == "(u + k) * a"
