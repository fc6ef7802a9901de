"""Numbers and tensors with units: sums of equal units, products of any, functions of pure numbers."""

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnet.errors import DegenerateInputError, ShapeError, UnitsError
from gnet.plugins.units.functions import FLOATS, INSTEAD, POWERS, PURE, RULES, SAME_AS, Call, check_inverse
from gnet.plugins.units.lattices import exact
from gnet.plugins.units.names import Units, required_registry


def _operator(function: Callable[..., Any], is_reflected: bool = False) -> Callable[["Quantity", Any], Any]:
    def apply(self: "Quantity", other: Any) -> Any:
        if not isinstance(other, NUMBERS):
            return NotImplemented
        return _applied(function, (other, self) if is_reflected else (self, other), {})

    return apply


class Quantity:
    """x with units u: all components of a vector or tensor x share them.

    Sums and comparisons are of equal units, products add exponents, ``q ** p`` multiplies them. Functions of torch with a
    rule (sums, ``torch.cat``, ``torch.einsum`` ..., all in ``gnet.plugins.units.functions``) act likewise; all others, exp and
    networks among them, take pure numbers alone and return tensors. Numbers and arrays beside a quantity are pure numbers.

    Args:
        x: a number or tensor.
        u: an exponent for each base unit.
        system: the base units; None calls them u1, u2, ...

    Raises:
        UnitsError: other than one exponent for each base unit; (later) units that do not fit, or a system that is another.

    References:
        Villar, Yao, Hogg, Blum-Smith and Dumitrascu (2023), arXiv:2204.00887, section 2.

    Example:
        >>> SI = Units("kg", "m", "s")
        >>> mass, velocity = SI(2.0, "kg"), SI(torch.tensor([3.0, 4.0]), "m/s")
        >>> mass * velocity.dot(velocity) / 2
        Quantity(25., 'kg m^2 s^-2')
        >>> mass * velocity + mass
        Traceback (most recent call last):
        gnet.errors.UnitsError: kg m s^-1 + kg
    """

    def __init__(self, x: Any, u: Sequence[int | Fraction], system: Units | None = None) -> None:
        self.system = system or Units(*(f"u{i + 1}" for i in range(len(u))))
        self.u = tuple(exact(each) for each in u)
        if len(self.u) != len(self.system.base):
            raise UnitsError(f"expected one exponent for each of {', '.join(self.system.base)}, got {tuple(u)}")
        if isinstance(x, Quantity):
            raise UnitsError("expected a number or tensor, got a quantity")
        self.x = x if isinstance(x, Tensor) else torch.as_tensor(x)

    @property
    def is_dimensionless(self) -> bool:
        """Whether it is a pure number."""
        return not any(self.u)

    @property
    def shape(self) -> torch.Size:
        """Of x."""
        return self.x.shape

    def dim(self) -> int:
        """The number of axes of x."""
        return self.x.dim()

    @property
    def unit(self) -> str:
        """The units as text."""
        return self.system.text(self.u)

    def number(self, what: str = "a function") -> Tensor:
        """x of a pure number.

        Raises:
            UnitsError: it has units.

        Example:
            >>> (Units("m")(3.0, "m") / Units("m")(2.0, "m")).number()
            tensor(1.5000)
        """
        if not self.is_dimensionless:
            way_out = f"take {INSTEAD[what]}" if what in INSTEAD else f"divide by something in {self.unit} first"
            raise UnitsError(f"{what} takes pure numbers, got {self.unit}; {way_out}")
        return self.x

    def value_in(self, unit: str) -> Tensor:
        """How many of a unit it is.

        Raises:
            UnitsError: units of another kind.

        Example:
            >>> Units("kg", "m", "s")(3.0, "m/s").value_in("m s^-1")
            tensor(3.)
        """
        factor, exponents = self.system.parse(unit)
        if exponents != self.u:
            raise UnitsError(f"{self.unit} in {unit}")
        return self.x / factor

    def rescaled(self, lam: Sequence[float]) -> "Quantity":
        """Acted on by a change of base units: x times the product of lam_j^u_j.

        Example:
            >>> Units("kg", "m")(2.0, "kg m^-1").rescaled([1000.0, 100.0])
            Quantity(20., 'kg m^-1')
        """
        factor = 1.0
        for size, exponent in zip(lam, self.u, strict=True):
            factor *= float(size) ** float(exponent)
        return self._like(self.x * factor)

    def to_pint(self) -> Any:
        """A quantity of pint's, of a numpy array or a number.

        Raises:
            MissingExtraError: pint is not installed.
        """
        registry = required_registry()
        values = self.x.detach().numpy()
        return registry.Quantity(values if values.ndim else values.item(), registry.parse_units(_for_pint(self)))

    def __repr__(self) -> str:
        return f"Quantity({_numbers(self.x)}, {self.unit!r})"

    def __str__(self) -> str:
        return f"{_numbers(self.x)} {self.system.pretty(self.u)}"

    def __format__(self, spec: str) -> str:
        """``spec`` is one of numbers, such as ``.2f``, then one of pint's for units, such as ``~P``, ``~L`` or ``C``: ``.2f~P``.

        Example:
            >>> f"{Units('m')(1.23456, 'm'):.2f~P}"
            '1.23 m'
        """
        of_numbers, of_units = re.fullmatch(r"(.*?)(~?[DPLCHKS]?x?)", spec, re.DOTALL).groups()  # type: ignore[union-attr]
        numbers = _formatted(self.x.detach().tolist(), of_numbers) if of_numbers else _numbers(self.x)
        return f"{numbers} {self.system.pretty(self.u, of_units or '~P')}"

    # --- operators ---

    __array_ufunc__ = None  # so that numpy leaves array * q to __rmul__
    __hash__ = None  # type: ignore[assignment]

    __add__ = _operator(operator.add)
    __radd__ = _operator(operator.add, is_reflected=True)
    __sub__ = _operator(operator.sub)
    __rsub__ = _operator(operator.sub, is_reflected=True)
    __mul__ = _operator(operator.mul)
    __rmul__ = _operator(operator.mul, is_reflected=True)
    __truediv__ = _operator(operator.truediv)
    __rtruediv__ = _operator(operator.truediv, is_reflected=True)
    __matmul__ = _operator(operator.matmul)
    __rmatmul__ = _operator(operator.matmul, is_reflected=True)
    __pow__ = _operator(operator.pow)
    __rpow__ = _operator(operator.pow, is_reflected=True)
    __lt__ = _operator(operator.lt)
    __le__ = _operator(operator.le)
    __gt__ = _operator(operator.gt)
    __ge__ = _operator(operator.ge)
    __eq__ = _operator(operator.eq)
    __ne__ = _operator(operator.ne)

    def __neg__(self) -> "Quantity":
        return self._like(-self.x)

    def __abs__(self) -> "Quantity":
        return self._like(self.x.abs())

    def __getitem__(self, index: Any) -> "Quantity":
        return self._like(self.x[index])

    def __iter__(self) -> Iterator["Quantity"]:
        return (self._like(each) for each in iter(self.x))

    def sum(self, dim: int | None = None) -> "Quantity":
        """Along an axis, or of all."""
        return self._like(self.x.sum() if dim is None else self.x.sum(dim))

    def mean(self, dim: int | None = None) -> "Quantity":
        """Along an axis, or of all; of integers a float."""
        x = _as_floats(self.x)
        return self._like(x.mean() if dim is None else x.mean(dim))

    def power(self, power: float | Fraction, rational: bool = False) -> "Quantity":
        """x^p with units p u.

        Args:
            power: whole, or a fraction for x >= 0.
            rational: exponents of units may be fractions.

        Raises:
            UnitsError: a fractional exponent without ``rational``.
            DegenerateInputError: zero under a negative power, or below zero under a fraction.

        Example:
            >>> area = Units("m")(9.0, "m^2")
            >>> area.power(0.5), area[None].power(Fraction(1, 4), rational=True)
            (Quantity(3., 'm'), Quantity([1.7321], 'm^(1/2)'))
        """
        # Units need an exact exponent; a pure number takes the one that was given.
        p = Fraction(exact(power)) if any(self.u) else Fraction(power)
        u = [exact(p * each) for each in self.u]
        if not rational and (wrong := [each for each in u if isinstance(each, Fraction)]):
            raise UnitsError(f"({self.unit})^({p}) has the fractional exponent {wrong[0]}; power(p, rational=True) allows it")
        if p < 0:
            check_inverse(self.x)
        x = self.x if p.denominator == 1 and p >= 0 else _as_floats(self.x)
        if p.denominator > 1 and bool((self.x < 0).any()):
            raise DegenerateInputError(f"expected no negative number under the power {p}, got {float(self.x.min()):.6g}")
        return Quantity(x ** (int(p) if p.denominator == 1 else float(p)), u, self.system)

    def sqrt(self, rational: bool = False) -> "Quantity":
        """The root."""
        return self.power(Fraction(1, 2), rational)

    def dot(self, other: "Quantity") -> "Quantity":
        """The product of vectors along the last axis, (..., d) -> (...).

        Raises:
            ShapeError: vectors of different length.
        """
        if self.shape[-1:] != other.shape[-1:] or not self.shape:
            raise ShapeError(f"expected vectors of one length, got {tuple(self.shape)} and {tuple(other.shape)}")
        return (self * other).sum(-1)

    def norm(self) -> "Quantity":
        """The length of vectors, (..., d) -> (...)."""
        return self._like(_as_floats(self.x).norm(dim=-1))

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Functions of torch on quantities: those with a rule as it says, others on pure numbers."""
        return _applied(function, args, kwargs or {})

    def _like(self, x: Tensor) -> "Quantity":
        return Quantity(x, self.u, self.system)


NUMBERS = Quantity | Tensor | np.ndarray | Number


def _applied(function: Callable[..., Any], args: Sequence[Any], settings: Mapping[str, Any]) -> Any:
    """A function of quantities by the rule of its name: of units first, then of numbers."""
    name = SAME_AS.get(function.__name__, function.__name__)
    if name == "pow" or name in POWERS:
        return _raised(function, name, **dict(zip(("input", "exponent"), args, strict=False)), **settings)
    rule = RULES.get(name, PURE)
    operands: list[Any] = []

    def bare(given: Any, is_operand: bool) -> Any:
        if isinstance(given, list | tuple):
            parts = [bare(each, is_operand) for each in given]
            return parts if isinstance(given, list) else tuple(parts)
        if is_operand and isinstance(given, NUMBERS):
            operands.append(given)
            return given.x if isinstance(given, Quantity) else _as_tensor(given)
        return given.number(name) if isinstance(given, Quantity) else given

    args = [bare(each, rule.takes(i)) for i, each in enumerate(args)]
    # Names may come in any order, units of a quotient are in that of the rule.
    names = sorted(settings, key=lambda key: (rule.operands or ()).index(key) if rule.takes(key) else -1)
    settings = {key: bare(settings[key], rule.takes(key)) for key in names}
    systems = list(dict.fromkeys(each.system for each in operands if isinstance(each, Quantity)))
    if len(systems) > 1:
        raise UnitsError("base units " + " and ".join(", ".join(each.base) for each in systems))
    if not systems:
        return function(*args, **settings)
    system = systems[0]
    values = [each.x if isinstance(each, Quantity) else each for each in operands]
    units = [each.u if isinstance(each, Quantity) else (0,) * len(system.base) for each in operands]
    u = rule.units(Call(name, values, units, system.text, settings, args))
    if u is None:
        return function(*args, **settings)
    if settings.get("out") is not None:
        raise UnitsError(f"what {name} writes to out= would have no units; take what it returns")
    if name in FLOATS:
        args = [_as_floats(each) if isinstance(each, Tensor) else each for each in args]
        settings = {key: _as_floats(each) if isinstance(each, Tensor) else each for key, each in settings.items()}
    found = function(*args, **settings)
    return Quantity(found, u, system) if isinstance(found, Tensor) else type(found)(Quantity(each, u, system) for each in found)


def _raised(function: Callable[..., Any], name: str, input: Any, exponent: Any = None) -> Any:
    """A power; the exponent is a pure number."""
    if isinstance(exponent, Quantity):
        exponent = exponent.number("an exponent")
    if not isinstance(input, Quantity):
        return function(_as_tensor(input), exponent)
    if name in POWERS:
        return input.power(POWERS[name])
    if isinstance(exponent, Tensor | np.ndarray):
        exponent = torch.as_tensor(exponent)
        if input.is_dimensionless:
            return input._like(input.x**exponent)
        if exponent.numel() != 1:
            raise UnitsError(f"expected one power of what is in {input.unit}, got powers of shape {tuple(exponent.shape)}")
        exponent = exponent.item()
    return input.power(exponent)


def _as_floats(x: Tensor) -> Tensor:
    return x if x.is_floating_point() or x.is_complex() else x.to(torch.get_default_dtype())


def _formatted(given: Any, spec: str) -> str:
    return f"[{', '.join(_formatted(each, spec) for each in given)}]" if isinstance(given, list) else format(given, spec)


def _as_tensor(given: Any) -> Any:
    return torch.as_tensor(given) if isinstance(given, np.ndarray) else given


def _numbers(x: Tensor) -> str:
    return str(x.detach()).removeprefix("tensor(").removesuffix(")").split(", dtype")[0]


def _for_pint(quantity: Quantity) -> str:
    parts = [f"{name}**({each})" for name, each in zip(quantity.system.base, quantity.u, strict=True) if each]
    return "*".join(parts) or "dimensionless"
