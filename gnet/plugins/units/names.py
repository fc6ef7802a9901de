"""Systems of base units: texts such as "kg m s^-2" to exponents and back, by pint where it is installed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any

from gnet.errors import MissingExtraError, UnitsError
from gnet.plugins.units.lattices import exact, rank, scaling_exponents

if TYPE_CHECKING:
    from torch import Tensor

    from gnet.plugins.units.quantities import Quantity

FACTOR = re.compile(r"([^\W\d]\w*|1|%|°)(?:(?:\^|\*\*)(?:\(\s*([+-]?\d+(?:\s*/\s*\d+)?)\s*\)|([+-]?\d+)))?")
TWO_WAYS = re.compile(r"(?:\^|\*\*)\s*([+-]?\d+\s*/\s*\d+)")
"""A fraction without brackets: m^1/2 is a root to some and half a metre to others."""


@dataclass(frozen=True, init=False)
class Units:
    """A system of base units, in the order of the exponents.

    Texts of base units need nothing else. Others (``"N"``, ``"km"``) are known where pint is installed
    (``pip install --editable '.[units]'``). Base units need not be independent for pint: litres may stand
    beside metres.

    Args:
        base: their names, each once.

    Raises:
        UnitsError: no names, or a name twice.

    Example:
        >>> system = Units("kg", "m", "s")
        >>> system.exponents("kg m/s^2"), system.text((1, 1, -2))
        ((1, 1, -2), 'kg m s^-2')
        >>> system(2.0, "m s^-1") * system(3.0, "s")
        Quantity(6., 'm')
    """

    base: tuple[str, ...]

    def __init__(self, *base: str) -> None:
        if not base or len(set(base)) != len(base) or not all(re.fullmatch(r"[^\W\d]\w*", each) for each in base):
            raise UnitsError(f"expected names of base units, each once, got {', '.join(map(repr, base)) or 'none'}")
        object.__setattr__(self, "base", base)

    def __call__(self, x: Any, unit: "str | Sequence[int | Fraction]") -> "Quantity":
        """A quantity of x such units; it is kept in base units."""
        from gnet.plugins.units.quantities import Quantity

        factor, exponents = self.parse(unit) if isinstance(unit, str) else (1.0, tuple(unit))
        found = Quantity(x, exponents, self)
        return found if factor == 1.0 else found * factor

    def exponents(self, unit: "str | Sequence[int | Fraction]") -> tuple[int | Fraction, ...]:
        """The exponents of the base units of a product of theirs.

        Raises:
            UnitsError: a text that is none, or a multiple such as "km" beside a base unit "m"; ``parse`` takes these.

        Example:
            >>> Units("m", "s").exponents("m^2/s")
            (2, -1)
        """
        if not isinstance(unit, str):
            if len(unit) != len(self.base):
                raise UnitsError(f"expected one exponent for each of {', '.join(self.base)}, got {tuple(unit)}")
            return tuple(unit)
        factor, found = self.parse(unit)
        if factor != 1.0:
            raise UnitsError(f"{unit!r} is {factor:.9g} {self.text(found)}; write base units, or multiply values by that")
        return found

    def matrix(self, units: Sequence["str | Sequence[int | Fraction]"]) -> "Tensor":
        """The matrix U of several units, (n, k) int64.

        Example:
            >>> Units("m", "s").matrix(["m", "m/s", "1"])
            tensor([[ 1,  0],
                    [ 1, -1],
                    [ 0,  0]])
        """
        import torch

        rows = [self.exponents(unit) for unit in units]
        if wrong := [unit for unit, row in zip(units, rows, strict=True) if any(each != int(each) for each in row)]:
            raise UnitsError(f"expected whole exponents, got {wrong[0]!r}")
        return torch.tensor([[int(each) for each in row] for row in rows], dtype=torch.int64).reshape(len(rows), len(self.base))

    def parse(self, text: str) -> tuple[float, tuple[int | Fraction, ...]]:
        """Factor and exponents of a text: names of units with powers, between them spaces, ``*`` or ``/``.

        Raises:
            UnitsError: a text that is none, or a unit that cannot be made of the base units, or is no multiple of them, such as
                "degC", which is counted from another zero, and "dB", which is a logarithm.

        Example:
            >>> Units("kg", "m", "s").parse("kg*m**2/s^2")
            (1.0, (1, 2, -2))
        """
        if wrong := TWO_WAYS.search(text):
            raise UnitsError(f"expected a fraction in brackets, ^({wrong[1]}), got {text!r}, which can be read in two ways")
        if text.count("(") != text.count(")"):
            raise UnitsError(f"expected every bracket closed, got {text!r}")
        found = self._parsed(text)
        if found is not None:
            return 1.0, found
        registry = pint_registry()
        if registry is None:
            raise UnitsError(
                f"expected a product of powers of {', '.join(self.base)}, got {text!r}; "
                "with pip install --editable '.[units]' pint knows others"
            )
        try:
            return self._through_pint(registry, _factors(registry, text))
        except UnitsError:
            raise
        except Exception as error:  # pint has errors of many kinds: unknown names, syntax, offsets
            raise UnitsError(f"expected a unit, got {text!r}: {error}") from error

    def text(self, exponents: Sequence[int | Fraction]) -> str:
        """How a product of base units is written here.

        Example:
            >>> Units("kg", "m", "s").text((1, Fraction(1, 2), -1)), Units("m").text((0,))
            ('kg m^(1/2) s^-1', '1')
        """
        return product_text(self.base, exponents)

    def pretty(self, exponents: Sequence[int | Fraction], spec: str = "~P") -> str:
        """How pint writes it, in a format of its own; as ``text`` where pint is not installed or does not know a base unit.

        Example:
            >>> Units("widget").pretty((2,))  # no unit of pint's
            'widget^2'
        """
        registry = pint_registry()
        if registry is None or not _knows(registry, self.base):
            return self.text(exponents)
        named = {self._canonical(registry)[i]: float(e) if isinstance(e, Fraction) else e for i, e in enumerate(exponents) if e}
        return str(format(registry.Unit(registry.UnitsContainer(named)), spec)) if named else "1"

    def from_pint(self, quantity: Any) -> "Quantity":
        """A quantity of pint's, in base units of this system; what pint counts from another zero (20 degC) is 293.15 K here.

        Raises:
            UnitsError: its units cannot be made of the base units.
        """
        from gnet.plugins.units.quantities import Quantity

        registry = required_registry()
        if not all(_is_multiple(registry, name) for name, _ in quantity.unit_items()):
            try:
                quantity = quantity.to_base_units()
            except Exception as error:  # of many kinds: a product of such units has none
                raise UnitsError(f"pint cannot express {quantity.units} in base units: {error}") from error
        factor, exponents = self._through_pint(registry, _factors(registry, str(quantity.units)))
        return Quantity(quantity.magnitude, exponents, self) * factor

    def _parsed(self, text: str) -> tuple[int | Fraction, ...] | None:
        """The exponents if all names are of base units, else None."""
        found: dict[str, Fraction] = {}
        sign, at, is_open = 1, 0, True
        for each in re.finditer(r"\s*(?:(?<!\*)(\*|·)(?!\*)|(/))?\s*", text):
            if each.start() < at:
                continue
            factor = FACTOR.match(text, each.end())
            if factor is None:
                break
            sign, is_open = (-1 if each[2] else 1), False
            name, power = factor[1], Fraction(re.sub(r"\s", "", factor[2] or factor[3] or "1"))
            if name != "1":
                found[name] = found.get(name, Fraction(0)) + sign * power
            at = factor.end()
        if is_open or text[at:].strip() or not set(found) <= set(self.base):
            return None
        return tuple(exact(found.get(name, Fraction(0))) for name in self.base)

    def _canonical(self, registry: Any) -> list[str]:
        """Pint's names of the base units."""
        found: list[str] = []
        for name in self.base:
            items = _factors(registry, name)
            if list(items.values()) != [1]:
                raise UnitsError(f"pint knows no single unit {name!r}")
            found += items
        return found

    def _through_pint(self, registry: Any, named: Mapping[str, Any]) -> tuple[float, tuple[int | Fraction, ...]]:
        """Base units are taken by name, units of the dimension of one by that, and others where there is but one way."""
        base = self._canonical(registry)
        kinds = [dict(registry.Unit(name).dimensionality) for name in base]
        found, factor = [Fraction(0)] * len(base), 1.0
        for name, given in named.items():
            power, kind = exact(given), dict(registry.Unit(name).dimensionality)
            if name in base:
                found[base.index(name)] += power
                continue
            if not _is_multiple(registry, name):
                raise UnitsError(f"{name} is no multiple of base units; convert by pint (to_base_units) first, or use from_pint")
            row = _combination(kinds, kind, name)
            for i, exponent in enumerate(row):
                found[i] += power * exponent
            made = registry.UnitsContainer({base[i]: float(e) for i, e in enumerate(row) if e})
            factor *= float(registry.Quantity(1.0, name).to(registry.Unit(made)).magnitude) ** float(power)
        return factor, tuple(exact(each) for each in found)


def product_text(names: Sequence[str], exponents: Sequence[int | Fraction]) -> str:
    """A product of powers; "1" where there are none.

    Raises:
        UnitsError: other than one exponent for each name.

    Example:
        >>> product_text(["k1", "alpha"], (1, -2))
        'k1 alpha^-2'
    """
    if len(names) != len(exponents):
        raise UnitsError(f"expected one exponent for each of {', '.join(names)}, got {len(exponents)}")
    parts = []
    for name, exponent in zip(names, exponents, strict=True):
        if exponent:
            power = f"({exponent})" if isinstance(exponent, Fraction) and exponent.denominator > 1 else f"{exponent}"
            parts.append(name if exponent == 1 else f"{name}^{power}")
    return " ".join(parts) or "1"


@cache
def pint_registry() -> Any:
    """Pint's registry of units, or None where pint is not installed."""
    try:
        import pint
    except ImportError:
        return None
    return pint.get_application_registry()


def required_registry() -> Any:
    """The registry.

    Raises:
        MissingExtraError: pint is not installed.
    """
    registry = pint_registry()
    if registry is None:
        raise MissingExtraError("quantities of pint need pint: pip install --editable '.[units]'")
    return registry


def _knows(registry: Any, names: Sequence[str]) -> bool:
    """Whether each is a unit of pint's by itself."""
    return all(name in registry and len(_factors(registry, name)) == 1 for name in names)


def _is_multiple(registry: Any, name: str) -> bool:
    """Whether none of a unit is nothing: not so for degC, whose zero is elsewhere, and dB, a logarithm."""
    return float(registry.Quantity(0.0, name).to_base_units().magnitude) == 0.0


def _factors(registry: Any, text: str) -> dict[str, Any]:
    """Pint's units in a text, with their powers."""
    return dict(registry.Quantity(1.0, registry.parse_units(text)).unit_items())


def _combination(kinds: Sequence[Mapping[str, Any]], kind: Mapping[str, Any], name: str) -> tuple[int | Fraction, ...]:
    """Exponents of base units that make the dimensions of a unit."""
    if not kind:
        return (0,) * len(kinds)
    if kind in kinds:
        return tuple(int(i == kinds.index(kind)) for i in range(len(kinds)))
    dimensions = sorted({each for some in (*kinds, kind) for each in some})
    rows = [[int(some.get(each, 0)) for each in dimensions] for some in kinds]
    if rank(rows) < len(rows):
        raise UnitsError(f"there is more than one way to write {name} in the base units; write it in these")
    return scaling_exponents(rows, [int(kind.get(each, 0)) for each in dimensions], rational=True)
