"""What a study has done so far, on disk: it survives being killed at any moment, and only the parent process writes it."""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

from gnet.errors import ConfigError, DataError

Key = tuple[str, int, int]  # variant, draw, seed


@dataclass(frozen=True)
class Row:
    """One trained model: a line of ``results.csv``.

    ``seed`` counts the trials of a draw; ``run_seed`` is what ``--seed_everything`` was, so that a line can be made again.
    ``num_clusters`` is the number of node orbits, and losses are in the units that the config's loss has. ``metrics`` are those
    of the data module on the test split, ``name=value`` with semicolons between them.
    """

    symmetry: str
    num_clusters: int
    draw: int
    seed: int
    val_loss: float
    test_loss: float
    num_weights: int
    equivariance_error: float
    seconds: float
    kind: str
    run_seed: int
    metrics: str = ""

    @property
    def key(self) -> Key:
        """What no two rows of a study share."""
        return self.symmetry, self.draw, self.seed

    def cells(self) -> list[str]:
        """The line's cells: floats with nine digits, which is all that float32 has; seconds with two decimals."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["seconds"] = f"{self.seconds:.2f}"
        return [f"{value:.9g}" if isinstance(value, float) else str(value) for value in values.values()]

    @classmethod
    def from_cells(cls, cells: list[str]) -> "Row":
        """The row that ``cells`` shows."""
        kinds: dict[str, Any] = {"str": str, "int": int, "float": float}
        names = [getattr(field.type, "__name__", str(field.type)) for field in fields(cls)]
        return cls(*(kinds[name](cell) for name, cell in zip(names, cells, strict=True)))


def metrics_text(metrics: Mapping[str, float]) -> str:
    """Metrics as a cell of a table.

    Example:
        >>> metrics_text({"mae": 2.5, "rmse": 4.0})
        'mae=2.5;rmse=4'
    """
    return ";".join(f"{name}={value:.9g}" for name, value in metrics.items())


def parse_metrics(text: str) -> dict[str, float]:
    """The inverse of ``metrics_text``.

    Example:
        >>> parse_metrics("mae=2.5;rmse=4")
        {'mae': 2.5, 'rmse': 4.0}
    """
    return {name: float(value) for name, _, value in (pair.partition("=") for pair in text.split(";") if pair)}


COLUMNS = [field.name for field in fields(Row)]


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file as a whole: a reader, or a kill, sees the old content or the new, never a piece."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def csv_text(header: Iterable[str], lines: Iterable[Iterable[object]]) -> str:
    """A csv file's text, with plain newlines on every system."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return buffer.getvalue()


def json_text(tree: dict[str, Any]) -> str:
    """A file's text for a tree of primitives; paths and other settings are written as text."""
    return json.dumps(tree, indent=1, default=str) + "\n"


def as_json(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree as a file gives it back: tuples are lists, paths are text.

    Example:
        >>> as_json({"shape": (8, 8), "out": Path("runs")})
        {'shape': [8, 8], 'out': 'runs'}
    """
    restored: dict[str, Any] = json.loads(json_text(tree))
    return restored


class Journal:
    """``results.csv`` while it grows: one line per trial, flushed as each ends.

    A line that was cut off by a kill is dropped when the file is opened again, and so is one that ``is_whole`` refuses (its
    predictions are gone). ``finish`` rewrites the file in the study's own order, so that its bytes do not depend on the
    order in which trials ended.

    Raises:
        DataError: the file is there but is no table of a study.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[Key, Row] = {row.key: row for row in read_rows(path)}
        self._write()

    def keep(self, keys: Iterable[Key]) -> None:
        """Forget every row but these."""
        kept = set(keys)
        self.rows = {key: row for key, row in self.rows.items() if key in kept}
        self._write()

    def append(self, row: Row) -> None:
        """Add a line and bring it to the disk."""
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(row.cells())
            file.flush()
            os.fsync(file.fileno())
        self.rows[row.key] = Row.from_cells(row.cells())  # as it is read again, so that summaries do not depend on restarts

    def finish(self, order: list[str]) -> list[Row]:
        """Rewrite the file sorted by variant (in ``order``), draw and seed; returns the rows so sorted."""
        rank = {name: place for place, name in enumerate(order)}
        ordered = sorted(
            self.rows.values(), key=lambda row: (rank.get(row.symmetry, len(rank)), row.symmetry, row.draw, row.seed)
        )
        self.rows = {row.key: row for row in ordered}
        self._write()
        return ordered

    def _write(self) -> None:
        write_atomically(self.path, csv_text(COLUMNS, (row.cells() for row in self.rows.values())))


def read_rows(path: Path) -> list[Row]:
    """The whole lines of a ``results.csv``; none when the file is missing or was cut off inside its header.

    Raises:
        DataError: the file is no table of a study.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    lines = list(csv.reader(io.StringIO(whole)))
    if not lines:
        return []
    if lines[0] != COLUMNS:
        raise DataError(
            f"{path} is no results table of a study: expected the columns {','.join(COLUMNS)}, got {','.join(lines[0])}"
        )
    try:
        return [Row.from_cells(cells) for cells in lines[1:]]
    except ValueError as error:
        raise DataError(f"{path} has a line that is no trial ({error}); remove the line, and the trial is run again") from error


def read_manifest(path: Path) -> dict[str, Any] | None:
    """What ``study.json`` says, or nothing when there is none.

    Raises:
        DataError: the file does not parse.
    """
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} does not parse ({error}); choose another --out, or delete the folder") from error
    if not isinstance(manifest, dict) or "variants" not in manifest:
        raise DataError(f"{path} describes no study; choose another --out")
    return manifest


def check_same(before: dict[str, Any], now: dict[str, Any], what: str, folder: Path) -> None:
    """Refuse to mix trials of two configs in one folder.

    Raises:
        ConfigError: the two differ; the message says where.

    Example:
        >>> check_same({"lr": 0.1}, {"lr": 0.2}, "S4", Path("out"))
        Traceback (most recent call last):
        ...
        gnet.errors.ConfigError: out holds a study with another config: S4 has lr = 0.1 there, 0.2 now; choose another --out...
    """
    old, new = flatten(before), flatten(now)
    absent = "nothing"
    differing = [key for key in dict.fromkeys([*old, *new]) if old.get(key, absent) != new.get(key, absent)]
    if differing:
        shown = "; ".join(f"{key} = {old.get(key, absent)!r} there, {new.get(key, absent)!r} now" for key in differing[:5])
        more = f" (and {len(differing) - 5} more)" if len(differing) > 5 else ""
        raise ConfigError(
            f"{folder} holds a study with another config: {what} has {shown}{more}; choose another --out, or delete the folder"
        )


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with dotted keys.

    Example:
        >>> flatten({"model": {"lr": 0.1}, "seed": 0})
        {'model.lr': 0.1, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one study; the system lets go of it when the process ends, however it ends.

    Raises:
        ConfigError: another process is running a study there.
    """
    with open(folder / ".lock", "a") as file:
        if not lock_descriptor(file.fileno(), blocking=False):
            raise ConfigError(f"another process is running a study in {folder}; wait for it, or choose another --out")
        yield
