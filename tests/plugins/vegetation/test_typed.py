"""Expressions with units: arithmetic, refusals, and the smallest product with given units."""

import pytest
import torch

from gnet.errors import ConfigError, UnitsError
from gnet.plugins.vegetation import Quantity, evaluate, parse_units
from gnet.plugins.vegetation.typed import in_brackets, product_text, product_with_units

BASE = ("l", "d", "m", "g")


def number(value, units):
    return Quantity(torch.tensor(value, dtype=torch.float64), parse_units(units, BASE))


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
    assert found.u == parse_units(units, BASE)


@pytest.mark.parametrize("text", ["u + a", "1 + u", "u - 2 * a", "u / (1 + k)"])
def test_unequal_units_are_not_added(text):
    with pytest.raises(UnitsError, match="only equal units are added"):
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


def test_units_as_text():
    assert parse_units("1", BASE) == (0, 0, 0, 0) == parse_units("m m^-1", BASE)
    for text in ("kg", "m^half", "m^0.5"):
        with pytest.raises(UnitsError, match=r"expected whole powers of l, d, m, g, such as l\^-1"):
            parse_units(text, BASE)
    with pytest.raises(UnitsError, match="as many base units"):
        Quantity(torch.ones(1), (1, 0)) * Quantity(torch.ones(1), (1,))


def test_products_with_given_units():
    text = product_with_units(NAMES, parse_units("l^2 d^-1 m^-4", BASE))
    assert evaluate(text, NAMES).u == (2, -1, -4, 0)
    assert product_with_units(NAMES, parse_units("g", BASE)) is None
    assert product_with_units(NAMES, (0, 0, 0, 0)) == "1" == product_text({"a": 0})
    assert in_brackets("-u") == "(-u)" and in_brackets("(u + k) * a") == "(u + k) * a"
