"""Functions whose arguments and results have units."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from gnet.errors import UnitsError
from gnet.plugins.units.names import Units
from gnet.plugins.units.quantities import Quantity


def typed(system: Units, returns: str | None = None, **units: str) -> Callable[[Callable[..., Any]], Callable[..., Quantity]]:
    """Decorates a function with the units of its arguments: what comes with other units is refused, and so is a wrong result.

    Plain numbers are taken to be in the units said; None, where it is the default, is passed on. The function itself gets
    quantities, so that its body is checked.

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
                if given is None and signature.parameters[name].default is None:
                    continue  # an argument that may be left out
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
