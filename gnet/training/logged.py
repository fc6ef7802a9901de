"""Equivariance errors as ``LogEquivariance`` logged them, read back from ``metrics.csv``, whatever else is in it."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnet.errors import DataError

Array = NDArray[np.float64]
PREFIX = "equivariance_error"
NET = "net"
"""The name of the net as a whole, whose column is the prefix alone."""


def read_equivariance_errors(path: str | Path, prefix: str = PREFIX) -> dict[str, tuple[Array, Array]]:
    """Steps and values of every column of a ``metrics.csv`` whose name starts with ``prefix``; the whole net first.

    The rest of a column's name, without what joins it to the prefix, names the layer; layers stand in natural order, 2 before
    10. Empty cells are skipped; of several values at one step the last one counts. Without a column ``step`` the epoch counts,
    and without that the line.

    Args:
        path: of the file, or of the folder of the run that holds it.
        prefix: "reference_equivariance_error" is that of the reference group.

    Raises:
        DataError: no such file or column, or something that is no number.

    Example:
        >>> lines = ["step,equivariance_error,equivariance_error/blocks.0", "0,,0.5", "0,1.0,", "9,0.1,0.2"]
        >>> _ = Path("metrics.csv").write_text(chr(10).join(lines))
        >>> {name: values.tolist() for name, (steps, values) in read_equivariance_errors("metrics.csv").items()}
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
    for column in sorted(columns, key=lambda name: natural_order(_layer(name, prefix))):
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


def natural_order(name: str) -> tuple[Any, ...]:
    """A key that puts the net first, and blocks.2 before blocks.10."""
    parts = re.split(r"(\d+)", "" if name == NET else name)
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)


def _layer(column: str, prefix: str) -> str:
    return column[len(prefix) :].strip("/_.:- ") or NET


def _number(text: str, file: Path, line: int, column: str | None) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{file}: expected a number in column {column!r} of line {line + 2}, got {text!r}") from None
