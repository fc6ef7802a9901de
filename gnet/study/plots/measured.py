"""Equivariance errors of layers: as they were measured, or as trainers logged them, averaged over runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gnet.errors import ConfigError
from gnet.measures import EquivarianceError
from gnet.training.logged import NET, PREFIX, natural_order, read_equivariance_errors

Array = NDArray[np.float64]
Paths: TypeAlias = str | Path | Sequence[str | Path]


class NamedError(Protocol):
    """What ``gnet.measures`` finds for one layer of a net."""

    @property
    def name(self) -> str:
        """Of the layer."""

    @property
    def error(self) -> EquivarianceError:
        """Of the layer."""


LayerErrors: TypeAlias = Mapping[str, Any] | Sequence[NamedError]


@dataclass(frozen=True)
class Level:
    """A mean with its standard error (NaN where there is none) over n numbers."""

    mean: float
    standard_error: float
    n: int
    over_inputs: bool = False
    """Whether the standard error is that of a single measurement, over its inputs."""

    @classmethod
    def of(cls, values: Any) -> "Level":
        """Of one number, of several (those that are NaN or infinite do not count), or of an ``EquivarianceError``.

        Example:
            >>> Level.of([1.0, 3.0, float("nan")])
            Level(mean=2.0, standard_error=1.0, n=2, over_inputs=False)
        """
        if isinstance(values, EquivarianceError):
            # The root's error is that of the mean square over twice the root.
            slope = values.relative / (2 * values.mean_square) if values.mean_square > 0 else math.nan
            return cls(values.relative, slope * values.standard_error, 1, over_inputs=True)
        numbers = np.atleast_1d(np.asarray(values, dtype=np.float64)).ravel()
        known = numbers[np.isfinite(numbers)]
        if (known < 0).any():
            raise ConfigError(f"expected equivariance errors >= 0, or NaN for unknown, got {numbers.tolist()}")
        if len(known) == 0:
            return cls(math.nan, math.nan, 0)
        spread = float(known.std(ddof=1)) / math.sqrt(len(known)) if len(known) > 1 else math.nan
        return cls(float(known.mean()), spread, len(known))


def read_runs(paths: Paths, prefix: str = PREFIX) -> dict[str, list[tuple[float, Level]]]:
    """For every layer the error at each step, averaged over runs; n counts the runs that logged it."""
    files = [paths] if isinstance(paths, str | Path) else list(paths)
    if not files:
        raise ConfigError("expected at least one metrics.csv, got no path")
    gathered: dict[str, dict[float, list[float]]] = {}
    for file in files:
        for name, (steps, values) in read_equivariance_errors(file, prefix).items():
            at = gathered.setdefault(name, {})
            for step, value in zip(steps.tolist(), values.tolist(), strict=True):
                at.setdefault(step, []).append(value)
    ordered = sorted(gathered, key=natural_order)
    return {name: [(step, Level.of(gathered[name][step])) for step in sorted(gathered[name])] for name in ordered}


def levels(errors: LayerErrors | Paths, prefix: str = PREFIX) -> dict[str, Level]:
    """The error of every layer: of paths the last that each run logged, of anything else what is given.

    Raises:
        ConfigError: nothing given, or numbers that are no errors.
        DataError: as in ``read_equivariance_errors``.
    """
    if isinstance(errors, Mapping):
        found = {str(name): Level.of(values) for name, values in errors.items()}
    elif are_paths(errors):
        files = [errors] if isinstance(errors, str | Path) else list(errors)
        gathered: dict[str, list[float]] = {}
        for file in files:
            for name, (_, values) in read_equivariance_errors(file, prefix).items():  # type: ignore[arg-type]
                gathered.setdefault(name, []).append(float(values[-1]))
        found = {name: Level.of(gathered[name]) for name in sorted(gathered, key=natural_order)}
    else:
        found = {each.name or NET: Level.of(each.error) for each in errors}  # type: ignore[union-attr]
    if not found:
        raise ConfigError("expected the error of at least one layer, got none")
    return found


def are_paths(errors: Any) -> bool:
    """Whether errors are to be read from files."""
    if isinstance(errors, str | Path | Mapping):
        return not isinstance(errors, Mapping)
    return len(errors) > 0 and all(isinstance(each, str | Path) for each in errors)
