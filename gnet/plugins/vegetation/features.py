"""Inputs of the model without units: the twelve products of the talk, and the same numbers in other units."""

from collections.abc import Mapping

import torch
from torch import Tensor

from gnet.errors import ConfigError, ShapeError
from gnet.plugins.vegetation.model import FIELD_UNITS, SYSTEM, UNITS

FEATURES: Mapping[str, Mapping[str, int]] = {
    "c gm / alpha": {"c": 1, "gm": 1, "alpha": -1},
    "alpha k1 / R": {"alpha": 1, "k1": 1, "R": -1},
    "alpha k2 / (R c)": {"alpha": 1, "k2": 1, "R": -1, "c": -1},
    "dw / alpha": {"dw": 1, "alpha": -1},
    "dv / alpha": {"dv": 1, "alpha": -1},
    "W0": {"W0": 1},
    "Dv / (alpha L^2)": {"Dv": 1, "alpha": -1, "L": -2},
    "Du / (alpha L^2)": {"Du": 1, "alpha": -1, "L": -2},
    "alpha T": {"alpha": 1, "T": 1},
    "alpha dt": {"alpha": 1, "dt": 1},
    "Dw / (alpha L^2)": {"Dw": 1, "alpha": -1, "L": -2},
    "dl / L": {"dl": 1, "L": -1},
}
"""Twelve products without units; every other one is a product of them with whole powers."""


def feature_exponents() -> Tensor:
    """Powers of the inputs in each feature, (12, 16) int64.

    References:
        Villar (2024), talk "Exact and approximate symmetries in machine learning models".

    Example:
        >>> bool((feature_exponents() @ unit_exponents() == 0).all())
        True
    """
    return torch.tensor([[powers.get(name, 0) for name in UNITS] for powers in FEATURES.values()])


def unit_exponents() -> Tensor:
    """Exponents of litre, day, metre and gram of each input, (16, 4) int64.

    Example:
        >>> unit_exponents()[0].tolist()  # rain, l d^-1 m^-2
        [1, -1, -2, 0]
    """
    return SYSTEM.matrix(list(UNITS.values()))


def dimensionless_features(inputs: Tensor) -> Tensor:
    """The twelve products of ``FEATURES``.

    Shapes:
        inputs: (*, 16), columns as in ``UNITS``    returns: (*, 12)

    Raises:
        ShapeError: not sixteen columns.

    Example:
        >>> from gnet.plugins.vegetation import Rietkerk
        >>> dimensionless_features(Rietkerk().inputs)[0, :6]
        tensor([5.0000, 2.6667, 0.1333, 1.0000, 1.2500, 0.1000], dtype=torch.float64)
    """
    if inputs.shape[-1] != len(UNITS):
        raise ShapeError(f"expected inputs (*, {len(UNITS)}), got {tuple(inputs.shape)}")
    powers = feature_exponents().to(inputs.dtype)
    return (inputs[..., None, :] ** powers).prod(-1)  # ln and exp would round more, and W0 may be zero


def in_other_units(inputs: Tensor, units: Mapping[str, float]) -> Tensor:
    """The same inputs where the numbers of litres, days, metres and grams are multiplied: {"l": 1000} counts millilitres.

    Shapes:
        inputs: (*, 16)    returns: (*, 16)

    Raises:
        ConfigError: a name that is no base unit.

    Example:
        >>> from gnet.plugins.vegetation import Rietkerk
        >>> float(in_other_units(Rietkerk().inputs, {"m": 1000.0})[0, -1])  # 2 m are 2000 mm
        2000.0
    """
    return inputs * torch.tensor([_factor(unit, units) for unit in UNITS.values()], dtype=inputs.dtype)


def vegetation_factor(units: Mapping[str, float]) -> float:
    """What a density of vegetation is multiplied by in these units.

    Example:
        >>> vegetation_factor({"l": 7.0, "d": 2.0, "m": 0.5, "g": 3.0})  # 3 / 0.5^2
        12.0
    """
    return _factor(FIELD_UNITS["v"], units)


def _factor(unit: str, units: Mapping[str, float]) -> float:
    """What numbers of a unit are multiplied by."""
    if unknown := set(units) - set(SYSTEM.base):
        raise ConfigError(f"expected base units among {', '.join(SYSTEM.base)}, got {unknown.pop()}")
    one = SYSTEM(torch.ones((), dtype=torch.float64), unit)
    return float(one.rescaled([units.get(name, 1.0) for name in SYSTEM.base]).x)
