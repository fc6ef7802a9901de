"""What every formula asks of its arguments: finite numbers, sizes of samples, and words that it knows."""

import math
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from gnet.errors import ConfigError, DataError, PartitionError, ShapeError
from gnet.graphs.partition import Partition


def as_float64(values: ArrayLike | Tensor) -> Tensor:
    """Lists, arrays and tensors as float64 on the CPU; a list does not pass through float32.

    Raises:
        DataError: an entry that is NaN or infinite, of which formulas would make an answer that looks sure.
        ShapeError: complex numbers, or what is no array of numbers.

    Example:
        >>> as_float64([1, 2])
        tensor([1., 2.], dtype=torch.float64)
        >>> as_float64([[0.0, float("nan")]])
        Traceback (most recent call last):
        gnet.errors.DataError: expected finite numbers, got nan at (0, 1), 1 in all; leave such samples out, or fill them in
    """
    try:
        found = values.detach().cpu() if isinstance(values, Tensor) else torch.from_numpy(np.array(values, order="C"))
    except (TypeError, ValueError) as error:
        raise ShapeError(f"expected an array of numbers, got {type(values).__name__}: {error}") from None
    if found.is_complex():
        raise ShapeError(f"expected real numbers, got {found.dtype}")
    found = found.double()
    check_finite(found)
    return found


def check_finite(values: Tensor) -> None:
    """Refuse entries that are NaN or infinite.

    Raises:
        DataError: the first of them, and how many there are.
    """
    wrong = ~values.isfinite()
    if bool(wrong.any()):
        place = tuple(wrong.nonzero()[0].tolist())
        raise DataError(
            f"expected finite numbers, got {float(values[place])} at {place}, {int(wrong.sum())} in all; "
            "leave such samples out, or fill them in"
        )


def check_choice(name: str, value: object, choices: Any) -> None:
    """Refuse a word that is none of the choices: a ``Literal``.

    Raises:
        ConfigError: with all choices.

    Example:
        >>> from typing import Literal
        >>> check_choice("target", "blow-up", Literal["blowup", "reynolds"])
        Traceback (most recent call last):
        gnet.errors.ConfigError: expected target 'blowup' or 'reynolds', got 'blow-up'
    """
    known = get_args(choices)
    if value not in known:
        raise ConfigError(f"expected {name} {' or '.join(map(repr, known))}, got {value!r}")


def check_positive(**numbers: float) -> None:
    """Refuse numbers, given by name, that are not finite and above 0.

    Raises:
        ConfigError: one is not; NaN is none.
    """
    for name, value in numbers.items():
        if not 0 < as_number(value) < math.inf:
            raise ConfigError(f"expected a finite {name} > 0, got {value!r}")


def check_non_negative(**numbers: float) -> None:
    """Refuse numbers, given by name, that are not finite and at least 0.

    Raises:
        ConfigError: one is not; NaN is none.
    """
    for name, value in numbers.items():
        if not 0 <= as_number(value) < math.inf:
            raise ConfigError(f"expected a finite {name} >= 0, got {value!r}")


def check_sample_size(n: float, least: int = 1, why: str = "") -> None:
    """Refuse what is no whole number of samples, or too few.

    Raises:
        ConfigError: it is not; ``why`` says what the least number is for.
    """
    if not is_whole(n, least):
        raise ConfigError(f"expected a whole number of samples n >= {least}{why and f', {why}'}, got {n!r}")


def check_whole(least: int, **numbers: float) -> None:
    """Refuse numbers, given by name, that are not whole or below the least.

    Raises:
        ConfigError: one is; True is no number.
    """
    for name, value in numbers.items():
        if not is_whole(value, least):
            raise ConfigError(f"expected a whole {name} >= {least}, got {value!r}")


def is_whole(value: object, least: int) -> bool:
    """Whether it is a whole number, of any type, and not below the least.

    Example:
        >>> [is_whole(value, 1) for value in (2, 2.0, 2.5, 0, True, "2", float("nan"), float("inf"))]
        [True, True, False, False, False, False, False, False]
    """
    number = as_number(value)
    return least <= number < math.inf and number == int(number)


def as_number(value: object) -> float:
    """A number as float, NaN for what is none: text, None, or a truth value."""
    if isinstance(value, str | bool):
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def check_partition(partition: object) -> None:
    """Refuse what is no partition.

    Raises:
        PartitionError: it is none; the message says how to make one.
    """
    if not isinstance(partition, Partition):
        raise PartitionError(f"expected a partition, got {type(partition).__name__}; write Partition(labels)")
