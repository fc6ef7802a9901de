"""Equivariance errors as a trainer logged them: read from ``metrics.csv``, whatever else is in it, and averaged over runs."""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gnet.errors import ConfigError, DataError
from gnet.measures import EquivarianceError

Array = NDArray[np.float64]
Paths: TypeAlias = str | Path | Sequence[str | Path]
PREFIX = "equivariance_error"
NET = "net"
"""The name of the net as a whole, whose column is the prefix alone."""


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


def read_errors(path: str | Path, prefix: str = PREFIX) -> dict[str, tuple[Array, Array]]:
    """Steps and values of every column of a ``metrics.csv`` whose name starts with ``prefix``; the whole net first.

    The rest of a column's name, without what joins it to the prefix, names the layer; layers stand in natural order, 2 before
    10. Empty cells are skipped; of several values at one step the last one counts. Without a column ``step`` the epoch counts,
    and without that the line.

    Args:
        path: of the file, or of the folder of the run that holds it.

    Raises:
        DataError: no such file or column, or something that is no number.

    Example:
        >>> lines = ["step,equivariance_error,equivariance_error/blocks.0", "0,,0.5", "0,1.0,", "9,0.1,0.2"]
        >>> _ = Path("metrics.csv").write_text(chr(10).join(lines))
        >>> {name: values.tolist() for name, (steps, values) in read_errors("metrics.csv").items()}
        {'net': [1.0, 0.1], 'blocks.0': [0.5, 0.2]}
    """
    file = Path(path) / "metrics.csv" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise DataError(f"expected a metrics.csv, or the folder of a run that holds one, got {path}, where there is none")
    with open(file, newline="", encoding="utf-8-sig") as opened:
        reader = csv.DictReader(opened, skipinitialspace=True)
        names = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = names
        rows = list(reader)
    columns = [name for name in names if name.startswith(prefix)]
    if not columns:
        raise DataError(
            f"{file} has no column that starts with {prefix!r}, only {names}; fit with the callback LogEquivariance(every=1)"
        )
    clock = next((name for name in ("step", "epoch") if name in names), None)
    found = {}
    for column in sorted(columns, key=lambda name: _natural(_layer(name, prefix))):
        at = {}
        for line, row in enumerate(rows):
            cell = (row[column] or "").strip()
            if cell:
                step = _number(row[clock] or "", file, line, clock) if clock else float(line)
                at[step] = _number(cell, file, line, column)
        if at:
            found[_layer(column, prefix)] = (np.array(sorted(at)), np.array([at[step] for step in sorted(at)]))
    if not found:
        raise DataError(f"{file}: the columns {columns} are empty; fit until an equivariance error is logged")
    return found


def read_runs(paths: Paths, prefix: str = PREFIX) -> dict[str, list[tuple[float, Level]]]:
    """For every layer the error at each step, averaged over runs; n counts the runs that logged it."""
    files = [paths] if isinstance(paths, str | Path) else list(paths)
    if not files:
        raise ConfigError("expected at least one metrics.csv, got no path")
    gathered: dict[str, dict[float, list[float]]] = {}
    for file in files:
        for name, (steps, values) in read_errors(file, prefix).items():
            at = gathered.setdefault(name, {})
            for step, value in zip(steps.tolist(), values.tolist(), strict=True):
                at.setdefault(step, []).append(value)
    ordered = sorted(gathered, key=lambda name: _natural("" if name == NET else name))
    return {name: [(step, Level.of(gathered[name][step])) for step in sorted(gathered[name])] for name in ordered}


def levels(errors: LayerErrors | Paths, prefix: str = PREFIX) -> dict[str, Level]:
    """The error of every layer: of paths the last that each run logged, of anything else what is given.

    Raises:
        ConfigError: nothing given, or numbers that are no errors.
        DataError: as in ``read_errors``.
    """
    if isinstance(errors, Mapping):
        found = {str(name): Level.of(values) for name, values in errors.items()}
    elif are_paths(errors):
        files = [errors] if isinstance(errors, str | Path) else list(errors)
        gathered: dict[str, list[float]] = {}
        for file in files:
            for name, (_, values) in read_errors(file, prefix).items():  # type: ignore[arg-type]
                gathered.setdefault(name, []).append(float(values[-1]))
        found = {name: Level.of(gathered[name]) for name in sorted(gathered, key=lambda n: _natural("" if n == NET else n))}
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


def _layer(column: str, prefix: str) -> str:
    return column[len(prefix) :].strip("/_.:- ") or NET


def _natural(name: str) -> tuple[Any, ...]:
    """A key that puts the net first, and blocks.2 before blocks.10."""
    parts = re.split(r"(\d+)", "" if name == NET else name)
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)


def _number(text: str, file: Path, line: int, column: str | None) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{file}: expected a number in column {column!r} of line {line + 2}, got {text!r}") from None
