"""Signals, edges and positions from files people have: .npz and .csv, with an error that points at the line."""

import csv
import difflib
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gnet.errors import DataError

TIME_NAMES = ("time", "timestamp", "date", "datetime", "index", "")
"""Headers of a first column that holds labels of the rows, not a node."""


@dataclass(frozen=True)
class Signals:
    """Signals on named nodes; NaN where nothing was observed.

    Shapes:
        x: (T, N, C) float32    y: (T, N, C') or (T, C') float32, or None    time: T strings    node_ids: N strings
    """

    x: Tensor
    y: Tensor | None
    time: list[str]
    node_ids: list[str]


def read_signals(path: str | Path) -> Signals:
    """Signals from ``.npz`` (``x``, optional ``y mask time node_ids``) or ``.csv`` (rows samples, header node ids).

    Raises:
        DataError: no such file, another format, missing keys, wrong shapes, ids that occur twice, cells that are no number,
            a channel or everything missing.
    """
    file = _existing(path, "signals")
    readers = {".npz": _signals_from_npz, ".csv": _signals_from_csv}
    if file.suffix not in readers:
        raise DataError(f"{file}: expected signals as .npz or .csv, got {file.suffix or 'no ending'!r}; convert the file")
    signals = readers[file.suffix](file)
    check_unique(signals.node_ids, f"{file}: node id")
    missing = signals.x.isnan()
    if missing.all(0).all(0).any():
        channels = missing.all(0).all(0).nonzero().flatten().tolist()
        raise DataError(f"{file}: channels {channels} of x have no observed entry; drop them, or check mask and NaN")
    if signals.x.isinf().any():
        at = signals.x.isinf().nonzero()[0].tolist()
        raise DataError(f"{file}: x holds infinity at (sample, node, channel) {tuple(at)}; mark missing entries by NaN")
    return signals


def read_edges(path: str | Path, node_ids: Sequence[str]) -> tuple[Tensor, Tensor | None]:
    """Edges from a ``.csv`` with the columns ``source,target[,weight]``, ids matched by name.

    Shapes:
        returns: edge_index (2, E) int64, edge_weight (E,) float32 or None

    Raises:
        DataError: missing columns, an id that is no node (with the nearest one), a weight that is no number.
    """
    file = _existing(path, "edges")
    header, rows = _read_table(file)
    at = _columns(file, header, ("source", "target"), ("weight",))
    number = {name: node for node, name in enumerate(node_ids)}
    index, weights = [], []
    for line, row in rows:
        index.append([_node(file, line, row[at[end]], number) for end in ("source", "target")])
        if "weight" in at:
            weights.append(_weight(file, line, row[at["weight"]]))
    if not index:
        raise DataError(f"{file}: expected at least one edge below the header, got none")
    return torch.tensor(index).T.contiguous(), torch.tensor(weights, dtype=torch.float32) if "weight" in at else None


def read_positions(path: str | Path, node_ids: Sequence[str]) -> Tensor:
    """Positions from a ``.csv`` with the columns ``node,x,y[,z]``, in the order of ``node_ids``.

    Shapes:
        returns: (N, 2) or (N, 3) float32

    Raises:
        DataError: missing columns, nodes without a position or with two, unknown ids, cells that are no number.
    """
    file = _existing(path, "positions")
    header, rows = _read_table(file)
    at = _columns(file, header, ("node", "x", "y"), ("z",))
    axes = [at[name] for name in ("x", "y", "z") if name in at]
    number = {name: node for node, name in enumerate(node_ids)}
    found: dict[int, list[float]] = {}
    for line, row in rows:
        node = _node(file, line, row[at["node"]], number)
        if node in found:
            raise DataError(f"{file}, line {line}: node {row[at['node']]!r} has two positions; keep one")
        found[node] = [_number(file, line, header[axis], row[axis]) for axis in axes]
    missing = [name for node, name in enumerate(node_ids) if node not in found]
    if missing:
        raise DataError(f"{file}: {len(missing)} of {len(node_ids)} nodes have no position, the first are {missing[:5]}")
    pos = torch.tensor([found[node] for node in range(len(node_ids))], dtype=torch.float32)
    if not pos.isfinite().all():
        node = int((~pos.isfinite()).any(1).nonzero()[0])
        raise DataError(f"{file}: the position of node {node_ids[node]!r} is not finite; every node needs one")
    return pos


def read_targets(path: str | Path, node_ids: Sequence[str], num_samples: int) -> Tensor:
    """Targets from a ``.csv`` with a row for each sample: one column per node (its header the ids), or any others.

    Shapes:
        returns: (T, N, 1) where the header holds just the node ids, else (T, C') with a channel per column

    Raises:
        DataError: another number of rows, cells that are no number.
    """
    file = _existing(path, "targets")
    header, _, values = _numeric_csv(file)
    if len(values) != num_samples:
        raise DataError(f"{file}: expected one row for each of the {num_samples} samples, got {len(values)}")
    if set(header) != set(node_ids):
        return torch.from_numpy(values)
    check_unique(header, f"{file}: column")
    return torch.from_numpy(values[:, [header.index(name) for name in node_ids]]).unsqueeze(2)


def check_unique(names: Iterable[str], what: str) -> None:
    """Refuse names that occur twice.

    Raises:
        DataError: they do.

    Example:
        >>> check_unique(["a", "b"], "node id")
    """
    seen: set[str] = set()
    twice = sorted({name for name in names if name in seen or seen.add(name)})  # type: ignore[func-returns-value]
    if twice:
        raise DataError(f"{what} {twice[0]!r} occurs twice ({len(twice)} such in all); every node needs its own")


def _signals_from_npz(file: Path) -> Signals:
    arrays = _load_npz(file)
    known = ("x", "y", "mask", "time", "node_ids")
    if "x" not in arrays:
        raise DataError(f"{file}: expected the key 'x' (T, N, C), optional {list(known[1:])}; got {sorted(arrays)}")
    x = _floats(file, "x", arrays["x"], (3,), "(T, N, C); add an axis of length 1 for a single channel: x[:, :, None]")
    samples, nodes, _ = x.shape
    if min(x.shape) == 0:
        raise DataError(f"{file}: expected x (T, N, C) with at least one sample, node and channel, got {x.shape}")
    if "mask" in arrays:
        x = _where_observed(file, x, arrays["mask"])
    y = None
    if "y" in arrays:
        y = _floats(file, "y", arrays["y"], (1, 2, 3), "(T, N, C') or (T, C')")
        y = y[:, None] if y.ndim == 1 else y
        if len(y) != samples or (y.ndim == 3 and y.shape[1] != nodes):
            raise DataError(f"{file}: expected y of shape ({samples}, {nodes}, C') or ({samples}, C'), got {y.shape}")
    labels = {}
    for name, count in (("time", samples), ("node_ids", nodes)):
        values = arrays.get(name, np.arange(count))
        if values.shape != (count,):
            raise DataError(f"{file}: expected {name} of shape ({count},) to go with x {x.shape}, got {values.shape}")
        labels[name] = [str(value) for value in values.tolist()] if values.dtype.kind != "M" else [str(value) for value in values]
    return Signals(
        torch.from_numpy(x), None if y is None else torch.from_numpy(y), time=labels["time"], node_ids=labels["node_ids"]
    )


def _load_npz(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise DataError(
            f"{file}: corrupt, truncated, or no .npz of plain arrays ({error}); write it again with numpy.savez"
        ) from error


def _floats(file: Path, name: str, array: np.ndarray, ndims: tuple[int, ...], shape: str) -> np.ndarray:
    if array.ndim not in ndims:
        raise DataError(f"{file}: expected {name} of shape {shape}, got {array.shape}")
    if array.dtype.kind not in "fiub":
        raise DataError(f"{file}: expected numbers in {name}, got {array.dtype}; missing entries are NaN")
    return array.astype(np.float32)


def _where_observed(file: Path, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    if mask.shape not in (x.shape, x.shape[:2]):
        raise DataError(f"{file}: expected mask of shape {x.shape} or {x.shape[:2]} (True where observed), got {mask.shape}")
    if mask.dtype != np.bool_ and not np.isin(mask, (0, 1)).all():
        raise DataError(f"{file}: expected a mask of True (observed) and False (missing), got other numbers ({mask.dtype})")
    observed = mask.astype(bool) if mask.ndim == 3 else mask.astype(bool)[:, :, None]
    return np.where(observed, x, np.float32(np.nan))


def _signals_from_csv(file: Path) -> Signals:
    node_ids, time, values = _numeric_csv(file)
    return Signals(torch.from_numpy(values).unsqueeze(2), None, time, node_ids)


def _numeric_csv(file: Path) -> tuple[list[str], list[str], np.ndarray]:
    header, rows = _read_table(file)
    first = 1 if header[0].lower() in TIME_NAMES else 0
    if not rows or len(header) == first:
        raise DataError(
            f"{file}: expected a header of node ids and a row for each sample, got {len(rows)} rows below {header[:5]}"
        )
    values = np.array([[_number(file, line, header[at], row[at]) for at in range(first, len(header))] for line, row in rows])
    time = [row[0] for _, row in rows] if first else [str(number) for number in range(len(rows))]
    return header[first:], time, values.astype(np.float32)


def _read_table(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header, and the rows that are no blank lines, with their line numbers (from 1, the header's)."""
    rows: list[tuple[int, list[str]]] = []
    try:
        with open(file, newline="", encoding="utf-8-sig") as text:
            reader = csv.reader(text, strict=True)
            for row in reader:
                cells = [cell.strip() for cell in row]
                if not row:  # a blank line; a row of empty cells is a sample without any reading
                    continue
                if rows and len(cells) != len(rows[0][1]):
                    expected = len(rows[0][1])
                    raise DataError(
                        f"{file}, line {reader.line_num}: expected {expected} cells as in the header, got {len(cells)}"
                    )
                rows.append((reader.line_num, cells))
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: expected a text file in UTF-8, got other bytes at {error.start}") from error
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: no valid csv ({error})") from error
    if not rows:
        raise DataError(f"{file}: expected a csv with a header, got an empty file")
    return rows[0][1], rows[1:]


def _columns(file: Path, header: list[str], needed: Sequence[str], optional: Sequence[str]) -> dict[str, int]:
    names = [name.lower() for name in header]
    missing = [name for name in needed if name not in names]
    if missing:
        expected = ",".join(needed) + "".join(f"[,{name}]" for name in optional)
        raise DataError(f"{file}, line 1: expected the columns {expected}, got {','.join(header)}: {missing} missing")
    for name in set(names) - {*needed, *optional}:
        near = difflib.get_close_matches(name, [each for each in optional if each not in names], n=1, cutoff=0.7)
        if near:
            raise DataError(f"{file}, line 1: there is no column {name!r}; did you mean {near[0]!r}?")
    return {name: names.index(name) for name in (*needed, *optional) if name in names}


def _node(file: Path, line: int, name: str, number: dict[str, int]) -> int:
    if name in number:
        return number[name]
    near = difflib.get_close_matches(name, list(number), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"the nodes are {list(number)[:5]} ..."
    raise DataError(f"{file}, line {line}: {name!r} is no node of the signals; {hint}")


def _number(file: Path, line: int, column: str, cell: str) -> float:
    if cell.lower() in ("", "nan", "na", "null", "none"):
        return float("nan")
    try:
        return float(cell)
    except ValueError:
        raise DataError(f"{file}, line {line}, column {column!r}: expected a number or an empty cell, got {cell!r}") from None


def _weight(file: Path, line: int, cell: str) -> float:
    weight = _number(file, line, "weight", cell)
    if not 0 <= weight < float("inf"):
        raise DataError(
            f"{file}, line {line}: expected a finite weight >= 0, got {cell!r}; leave the edge out or give its strength"
        )
    return weight


def _existing(path: str | Path, what: Literal["signals", "edges", "positions", "targets"]) -> Path:
    file = Path(path).expanduser()
    if file.is_file():
        return file
    near = (
        difflib.get_close_matches(file.name, [each.name for each in file.parent.iterdir()], n=1) if file.parent.is_dir() else []
    )
    hint = f"did you mean {near[0]!r}?" if near else f"relative paths start at {Path.cwd()}"
    raise DataError(f"{file}: no such file of {what}; {hint}")
