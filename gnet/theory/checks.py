"""What every formula asks of its arguments: finite numbers, sizes of samples, and words that it knows."""

import math
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from gnet.errors import ConfigError, DataError, ShapeError


def as_float64(values: ArrayLike | Tensor) -> Tensor:
    """Lists, arrays and tensors as float64 on the CPU; a list does not pass through float32.

    Raises:
        DataError: an entry that is NaN or infinite, of which formulas would make an answer that looks sure.
        ShapeError: complex numbers.

    Example:
        >>> as_float64([1, 2])
        tensor([1., 2.], dtype=torch.float64)
        >>> as_float64([[0.0, float("nan")]])
        Traceback (most recent call last):
        gnet.errors.DataError: expected finite numbers, got nan at (0, 1), 1 in all; leave such samples out, or fill them in
    """
    found = values.detach().cpu() if isinstance(values, Tensor) else torch.from_numpy(np.array(values, order="C"))
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
        if not 0 < value < math.inf:
            raise ConfigError(f"expected a finite {name} > 0, got {value}")


def check_non_negative(**numbers: float) -> None:
    """Refuse numbers, given by name, that are not finite and at least 0.

    Raises:
        ConfigError: one is not; NaN is none.
    """
    for name, value in numbers.items():
        if not 0 <= value < math.inf:
            raise ConfigError(f"expected a finite {name} >= 0, got {value}")


def check_sample_size(n: float, least: int = 1, why: str = "") -> None:
    """Refuse what is no whole number of samples, or too few.

    Raises:
        ConfigError: it is not; ``why`` says what the least number is for.
    """
    if isinstance(n, bool) or not least <= n < math.inf or n != int(n):
        raise ConfigError(f"expected a whole number of samples n >= {least}{why and f', {why}'}, got {n!r}")
