"""Numbers and tensors with units: sums of equal units, products of any, functions of pure numbers."""

import functools
import inspect
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from gnet.errors import DegenerateInputError, ShapeError, UnitsError
from gnet.plugins.units.lattices import Exponent
from gnet.plugins.units.names import Units, required_registry


class Quantity:
    """x with units u: all components of a vector or tensor x share them.

    Sums and comparisons are of equal units, products add exponents, ``q ** p`` multiplies them. Some functions of torch
    are known (sums, ``torch.sqrt`` ...); all others, exp and networks among them, take pure numbers alone and return tensors.

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

    def __init__(self, x: Any, u: Sequence[Exponent], system: Units | None = None) -> None:
        self.system = system or Units(*(f"u{i + 1}" for i in range(len(u))))
        self.u = tuple(_plain(each) for each in u)
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
            raise UnitsError(f"{what} takes pure numbers, got {self.unit}; divide by something in {self.unit} first")
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
        """``spec`` is a format of pint's, such as ``~P``, ``~L`` or ``C``."""
        return f"{_numbers(self.x)} {self.system.pretty(self.u, spec)}" if spec else str(self)

    # --- sums of equal units ---

    def __add__(self, other: Any) -> "Quantity":
        return self._like(self.x + self._same(other, "+"))

    __radd__ = __add__

    def __sub__(self, other: Any) -> "Quantity":
        return self._like(self.x - self._same(other, "-"))

    def __rsub__(self, other: Any) -> "Quantity":
        return self._like(self._same(other, "-") - self.x)

    def __neg__(self) -> "Quantity":
        return self._like(-self.x)

    def __abs__(self) -> "Quantity":
        return self._like(self.x.abs())

    def __getitem__(self, index: Any) -> "Quantity":
        return self._like(self.x[index])

    def __lt__(self, other: Any) -> Tensor:
        return self.x < self._same(other, "<")

    def __le__(self, other: Any) -> Tensor:
        return self.x <= self._same(other, "<=")

    def __gt__(self, other: Any) -> Tensor:
        return self.x > self._same(other, ">")

    def __ge__(self, other: Any) -> Tensor:
        return self.x >= self._same(other, ">=")

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return self.x == self._same(other, "==")

    __hash__ = None  # type: ignore[assignment]

    def sum(self, dim: int | None = None) -> "Quantity":
        """Along an axis, or of all."""
        return self._like(self.x.sum() if dim is None else self.x.sum(dim))

    def mean(self, dim: int | None = None) -> "Quantity":
        """Along an axis, or of all."""
        return self._like(self.x.mean() if dim is None else self.x.mean(dim))

    # --- products ---

    def __mul__(self, other: Any) -> "Quantity":
        x, u = self._parts(other)
        return Quantity(self.x * x, [a + b for a, b in zip(self.u, u, strict=True)], self.system)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "Quantity":
        x, u = self._parts(other)
        _check_inverse(x)
        return Quantity(self.x / x, [a - b for a, b in zip(self.u, u, strict=True)], self.system)

    def __rtruediv__(self, other: Any) -> "Quantity":
        x, u = self._parts(other)
        _check_inverse(self.x)
        return Quantity(x / self.x, [b - a for a, b in zip(self.u, u, strict=True)], self.system)

    def __matmul__(self, other: Any) -> "Quantity":
        x, u = self._parts(other)
        return Quantity(self.x @ x, [a + b for a, b in zip(self.u, u, strict=True)], self.system)

    def __rmatmul__(self, other: Any) -> "Quantity":
        x, u = self._parts(other)
        return Quantity(x @ self.x, [a + b for a, b in zip(self.u, u, strict=True)], self.system)

    def __pow__(self, power: float | Fraction) -> "Quantity":
        return self.power(power)

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
        exact = Fraction(power).limit_denominator(1000)
        u = [_plain(exact * each) for each in self.u]
        if not rational and (wrong := [each for each in u if isinstance(each, Fraction)]):
            raise UnitsError(f"({self.unit})^({exact}) has the fractional exponent {wrong[0]}; power(p, rational=True) allows it")
        if exact < 0:
            _check_inverse(self.x)
        if exact.denominator > 1 and bool((self.x < 0).any()):
            raise DegenerateInputError(f"expected no negative number under the power {exact}, got {float(self.x.min()):.6g}")
        return Quantity(self.x ** (int(exact) if exact.denominator == 1 else float(exact)), u, self.system)

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
        return self._like(self.x.norm(dim=-1))

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Functions of torch on quantities: those of ``THROUGH`` as they are meant, others on pure numbers."""
        name = getattr(function, "__name__", str(function))
        if name in THROUGH:
            return THROUGH[name](*args, **(kwargs or {}))
        return function(*(_plain_argument(each, name) for each in args), **(kwargs or {}))

    def _like(self, x: Tensor) -> "Quantity":
        return Quantity(x, self.u, self.system)

    def _parts(self, other: Any) -> tuple[Any, tuple[Exponent, ...]]:
        if not isinstance(other, Quantity):
            return other, (0,) * len(self.u)
        if other.system != self.system:
            raise UnitsError(f"base units {', '.join(self.system.base)} and {', '.join(other.system.base)}")
        return other.x, other.u

    def _same(self, other: Any, sign: str) -> Any:
        x, u = self._parts(other)
        if u != self.u:
            raise UnitsError(f"{self.unit} {sign} {self.system.text(u)}")
        return x


def typed(system: Units, returns: str | None = None, **units: str) -> Callable[[Callable[..., Any]], Callable[..., Quantity]]:
    """Decorates a function with the units of its arguments: what comes with other units is refused, and so is a wrong result.

    Plain numbers are taken to be in the units said. The function itself gets quantities, so that its body is checked.

    Args:
        system: base units.
        returns: units of the result; None takes any.
        units: those of the arguments, by name; the others are passed on as they are.

    Raises:
        UnitsError: a name that is no argument; (when called) units that do not fit, with the name of the argument.

    Example:
        >>> SI = Units("kg", "m", "s")
        >>> @typed(SI, "kg m^2 s^-2", m="kg", v="m/s")
        ... def kinetic(m, v):
        ...     return m * v**2 / 2
        >>> kinetic(2.0, v=SI(3.0, "m/s"))
        Quantity(9., 'kg m^2 s^-2')
        >>> kinetic(SI(2.0, "m"), 3.0)
        Traceback (most recent call last):
        gnet.errors.UnitsError: kinetic: expected m in kg, got m
    """
    wanted = {name: system.exponents(unit) for name, unit in units.items()}

    def decorate(function: Callable[..., Any]) -> Callable[..., Quantity]:
        signature = inspect.signature(function)
        if unknown := set(wanted) - set(signature.parameters):
            raise UnitsError(f"{function.__name__} has no argument {', '.join(sorted(unknown))}")

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Quantity:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            for name, u in wanted.items():
                given = bound.arguments[name]
                quantity = given if isinstance(given, Quantity) else Quantity(given, u, system)
                if quantity.u != u or quantity.system != system:
                    raise UnitsError(f"{function.__name__}: expected {name} in {system.text(u)}, got {quantity.unit}")
                bound.arguments[name] = quantity
            found = function(*bound.args, **bound.kwargs)
            found = found if isinstance(found, Quantity) else Quantity(found, (0,) * len(system.base), system)
            if returns is not None and found.u != system.exponents(returns):
                raise UnitsError(f"{function.__name__}: expected a result in {returns}, got {found.unit}")
            return found

        return checked

    return decorate


def _joined(function: Callable[..., Tensor]) -> Callable[..., Quantity]:
    def join(parts: Sequence[Any], *args: Any, **kwargs: Any) -> Quantity:
        first = next(each for each in parts if isinstance(each, Quantity))
        return first._like(function([first._same(each, "beside") for each in parts], *args, **kwargs))

    return join


THROUGH: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b if isinstance(a, Quantity) else b.__radd__(a),
    "sub": lambda a, b: a - b if isinstance(a, Quantity) else b.__rsub__(a),
    "rsub": lambda a, b: b - a if isinstance(b, Quantity) else a.__rsub__(b),
    "mul": lambda a, b: a * b if isinstance(a, Quantity) else b.__rmul__(a),
    "div": lambda a, b: a / b if isinstance(a, Quantity) else b.__rtruediv__(a),
    "true_divide": lambda a, b: a / b if isinstance(a, Quantity) else b.__rtruediv__(a),
    "matmul": lambda a, b: a @ b if isinstance(a, Quantity) else b.__rmatmul__(a),
    "neg": lambda a: -a,
    "abs": abs,
    "sqrt": Quantity.sqrt,
    "square": lambda a: a**2,
    "pow": lambda a, power: a**power,
    "sum": Quantity.sum,
    "mean": Quantity.mean,
    "cat": _joined(torch.cat),
    "stack": _joined(torch.stack),
}
"""Functions of torch that units go through, by name."""


def _plain_argument(given: Any, name: str) -> Any:
    if isinstance(given, Quantity):
        return given.number(name)
    return type(given)(_plain_argument(each, name) for each in given) if isinstance(given, list | tuple) else given


def _plain(value: Any) -> Exponent:
    exact = Fraction(value).limit_denominator(1000)
    return int(exact) if exact.denominator == 1 else exact


def _check_inverse(x: Any) -> None:
    if bool(torch.as_tensor(x == 0).any()):
        raise DegenerateInputError("expected no zero under a negative exponent, got one")


def _numbers(x: Tensor) -> str:
    return str(x.detach()).removeprefix("tensor(").removesuffix(")").split(", dtype")[0]


def _for_pint(quantity: Quantity) -> str:
    parts = [f"{name}**({each})" for name, each in zip(quantity.system.base, quantity.u, strict=True) if each]
    return "*".join(parts) or "dimensionless"
