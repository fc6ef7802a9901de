"""Whole numbers, as all of gnet takes them: of Python's or NumPy's types, and no truth values."""

import numpy as np

from gnet.errors import ConfigError


def is_integer(value: object) -> bool:
    """Whether it is a whole number, of Python's or NumPy's types; True and 2.0 are none.

    Example:
        >>> [is_integer(value) for value in (1, -3, 2.0, True, "2")]
        [True, True, False, False, False]
    """
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_count(value: object, least: int = 1) -> bool:
    """Whether it is a whole number, and not below the least.

    Example:
        >>> [is_count(value) for value in (1, 0, 2.0, True, "2")]
        [True, False, False, False, False]
    """
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= least


def check_count(least: int = 1, **values: object) -> None:
    """Refuse settings that are no whole numbers, or too small ones.

    Raises:
        ConfigError: the first one that is.

    Example:
        >>> check_count(horizon_in=3, num_steps=1.5)
        Traceback (most recent call last):
        gnet.errors.ConfigError: expected num_steps to be a whole number >= 1, got 1.5
    """
    for name, value in values.items():
        if not is_count(value, least):
            raise ConfigError(f"expected {name} to be a whole number >= {least}, got {value!r}")
