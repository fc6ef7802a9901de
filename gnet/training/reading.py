"""Signals, edges, positions and targets from files people have: .npz and .csv."""

import difflib
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gnet.errors import ConfigError, DataError
from gnet.training.classes import Texts, class_texts
from gnet.training.table import Delimiter, columns, existing, number, read_table

Targets = Literal["numbers", "classes"]

TIME_NAMES = ("time", "timestamp", "date", "datetime", "index", "")
"""Headers of a first column that labels the rows and is no node, where no other column is named."""


@dataclass(frozen=True)
class Signals:
    """Signals on named nodes; NaN where nothing was observed.

    ``first_grows`` says that the first of several columns of a .csv, which is read as a node, only grows or only falls, as a
    time axis does.

    ``readings`` and ``y`` have the precision of the file, so that they can be written as they were read.

    Shapes:
        readings: (T, N, C)    y: (T, N, C') or (T, C'), or None    time: T strings    node_ids: N strings
        classes: ``y`` as text where it was asked for as classes, (T, ...), or None
    """

    readings: Tensor
    y: Tensor | None
    time: list[str]
    node_ids: list[str]
    first_grows: bool = False
    classes: Texts | None = None
    x: Tensor = field(init=False)
    """The readings as the net takes them: (T, N, C) float32."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", self.readings.float())


def read_signals(
    path: str | Path, time_column: str | None = None, delimiter: Delimiter = "comma", *, targets: Targets | None = "numbers"
) -> Signals:
    """Signals from ``.npz`` (``x``, optional ``y mask time node_ids``) or ``.csv`` (rows samples, header node ids).

    The column ``time_column`` of a .csv labels the rows; None is a first column with one of the headers ``TIME_NAMES``.
    ``targets`` says what ``y`` is; with None nobody asks for it, so it is not looked at.

    Raises:
        ConfigError: ``time_column`` for a .npz, or a delimiter that has no name.
        DataError: no such file, another format, missing keys or columns, wrong shapes, ids that occur twice, cells that are no
            number, a channel or everything missing.
    """
    file = existing(path, "signals")
    if file.suffix not in (".npz", ".csv"):
        raise DataError(f"{file}: expected signals as .npz or .csv, got {file.suffix or 'no ending'!r}; convert the file")
    if file.suffix == ".npz" and time_column is not None:
        raise ConfigError(f"time_column={time_column!r} is for signals in a .csv; in {file} the key 'time' labels the samples")
    signals = _signals_from_npz(file, targets) if file.suffix == ".npz" else _signals_from_csv(file, time_column, delimiter)
    check_unique(signals.node_ids, f"{file}: node id")
    if "" in signals.node_ids:
        raise DataError(
            f"{file}: column {signals.node_ids.index('') + 1} of the nodes has no name; every node needs one (pandas writes such "
            "a column for its row numbers: to_csv(..., index=False); commas at the end of the lines make one too)"
        )
    missing = signals.x.isnan()
    if missing.all(0).all(0).any():
        channels = missing.all(0).all(0).nonzero().flatten().tolist()
        raise DataError(f"{file}: channels {channels} of x have no observed entry; drop them, or check mask and NaN")
    if signals.x.isinf().any():
        at = signals.x.isinf().nonzero()[0].tolist()
        raise DataError(f"{file}: x holds infinity at (sample, node, channel) {tuple(at)}; mark missing entries by NaN")
    return signals


def read_edges(path: str | Path, node_ids: Sequence[str], delimiter: Delimiter = "comma") -> tuple[Tensor, Tensor | None]:
    """Edges from a ``.csv`` with the columns ``source,target[,weight]``, ids matched by name.

    Shapes:
        returns: edge_index (2, E) int64, edge_weight (E,) float32 or None

    Raises:
        DataError: missing columns, an id that is no node (with the nearest one), a weight that is no number.
    """
    file = existing(path, "edges")
    header, rows = read_table(file, delimiter)
    at = columns(file, header, ("source", "target"), ("weight",))
    nodes = {name: node for node, name in enumerate(node_ids)}
    index, weights = [], []
    for line, row in rows:
        index.append([_node(file, line, row[at[end]], nodes) for end in ("source", "target")])
        if "weight" in at:
            weights.append(_weight(file, line, row[at["weight"]]))
    if not index:
        raise DataError(f"{file}: expected at least one edge below the header, got none")
    return torch.tensor(index).T.contiguous(), torch.tensor(weights, dtype=torch.float32) if "weight" in at else None


def read_positions(path: str | Path, node_ids: Sequence[str], delimiter: Delimiter = "comma") -> Tensor:
    """Positions from a ``.csv`` with the columns ``node,x,y[,z]``, in the order of ``node_ids``.

    Shapes:
        returns: (N, 2) or (N, 3) float32

    Raises:
        DataError: missing columns, nodes without a position or with two, unknown ids, cells that are no number.
    """
    file = existing(path, "positions")
    header, rows = read_table(file, delimiter)
    at = columns(file, header, ("node", "x", "y"), ("z",))
    axes = [at[name] for name in ("x", "y", "z") if name in at]
    nodes = {name: node for node, name in enumerate(node_ids)}
    found: dict[int, list[float]] = {}
    for line, row in rows:
        node = _node(file, line, row[at["node"]], nodes)
        if node in found:
            raise DataError(f"{file}, line {line}: node {row[at['node']]!r} has two positions; keep one")
        found[node] = [number(file, line, header[axis], row[axis]) for axis in axes]
    missing = [name for node, name in enumerate(node_ids) if node not in found]
    if missing:
        hint = f"; if {missing[0]!r} labels the rows of the signals, say time_column={missing[0]!r}"
        raise DataError(
            f"{file}: {len(missing)} of {len(node_ids)} nodes have no position, the first are {missing[:5]}"
            f"{hint if missing == [node_ids[0]] else ''}"
        )
    pos = torch.tensor([found[node] for node in range(len(node_ids))], dtype=torch.float32)
    if not pos.isfinite().all():
        node = int((~pos.isfinite()).any(1).nonzero()[0])
        raise DataError(f"{file}: the position of node {node_ids[node]!r} is not finite; every node needs one")
    return pos


def read_targets(
    path: str | Path,
    node_ids: Sequence[str],
    num_samples: int,
    time_column: str | None = None,
    delimiter: Delimiter = "comma",
    target: Literal["node", "graph"] | None = None,
) -> Tensor:
    """Targets from a ``.csv`` with a row for each sample: one column per node (its header the ids), or any others.

    A column that labels the rows is left out. ``target`` says what the others are where their names do not: "node", in any order,
    or "graph".

    Shapes:
        returns: float64, (T, N, 1) where the header holds just the node ids, else (T, C') with a channel per column

    Raises:
        DataError: another number of rows, cells that are no number, columns of other nodes.
    """
    file = existing(path, "targets")
    header, _, values = _numeric_csv(file, delimiter, time_column, needed=False)
    _check_rows(file, len(header), len(values), num_samples)
    other, absent = ([each for each in one if each not in two] for one, two in ((header, node_ids), (node_ids, header)))
    if target == "graph" or (target is None and len(other) == len(header)):
        return torch.from_numpy(values)
    if other or absent:
        raise DataError(
            f"{file}: expected a column for each of the {len(node_ids)} nodes of the signals, in any order; the columns "
            f"{other[:5]} are no nodes, the nodes {absent[:5]} have no column; rename or add them, or say target='graph'"
        )
    check_unique(header, f"{file}: column")
    return torch.from_numpy(values[:, [header.index(name) for name in node_ids]]).unsqueeze(2)


def read_class_targets(
    path: str | Path,
    node_ids: Sequence[str],
    num_samples: int,
    time_column: str | None = None,
    delimiter: Delimiter = "comma",
) -> Texts:
    """Classes from a ``.csv`` with a row for each sample: one column per node (its header the ids), or a single one.

    A column that labels the rows is left out. An empty cell, or NaN, is no class.

    Shapes:
        returns: (T, N) where the header holds just the node ids, else (T, 1)

    Raises:
        DataError: another number of rows or columns, fractions.
    """
    file = existing(path, "targets")
    header, rows = read_table(file, delimiter)
    labels = _labels_at(file, header, time_column, needed=False)
    at = [column for column in range(len(header)) if column != labels]
    names = [header[column] for column in at]
    _check_rows(file, len(names), len(rows), num_samples)
    if set(names) == set(node_ids):
        check_unique(names, f"{file}: column")
        at = [at[names.index(name)] for name in node_ids]
    elif len(names) != 1:
        raise DataError(
            f"{file}, line 1: expected one column of classes, or one for each of the {len(node_ids)} nodes, got {len(names)}: "
            f"{names[:5]}{' ...' if len(names) > 5 else ''}"
        )
    return class_texts(np.array([[row[column] for column in at] for _, row in rows]), str(file))


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


def _check_rows(file: Path, num_columns: int, count: int, num_samples: int) -> None:
    if count != num_samples:
        hint = "; in a file of one column an empty line is no row: write NaN there" if num_columns == 1 else ""
        raise DataError(f"{file}: expected one row for each of the {num_samples} samples, got {count}{hint}")


def _signals_from_npz(file: Path, targets: Targets | None) -> Signals:
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
    y, texts = None, None
    if "y" in arrays and targets == "classes":
        texts = class_texts(arrays["y"], f"{file}: y")
        if len(texts.shape) == 0 or len(texts) != samples:
            raise DataError(f"{file}: expected a class for each of the {samples} samples, or of their nodes, got y {texts.shape}")
    elif "y" in arrays and targets == "numbers":
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
    known_y = None if y is None else torch.from_numpy(y)
    return Signals(torch.from_numpy(x), known_y, time=labels["time"], node_ids=labels["node_ids"], classes=texts)


def _load_npz(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, AttributeError, TypeError) as error:
        raise DataError(
            f"{file}: corrupt, truncated, or no .npz of plain arrays ({error}); write it again with numpy.savez"
        ) from error


def _floats(file: Path, name: str, array: np.ndarray, ndims: tuple[int, ...], shape: str) -> np.ndarray:
    if array.ndim not in ndims:
        raise DataError(f"{file}: expected {name} of shape {shape}, got {array.shape}")
    if array.dtype.kind not in "fiub":
        advice = "classes are for task='classify'" if name == "y" and array.dtype.kind in "US" else "missing entries are NaN"
        raise DataError(f"{file}: expected numbers in {name}, got {array.dtype}; {advice}")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _where_observed(file: Path, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    if mask.shape not in (x.shape, x.shape[:2]):
        raise DataError(f"{file}: expected mask of shape {x.shape} or {x.shape[:2]} (True where observed), got {mask.shape}")
    if mask.dtype != np.bool_ and not np.isin(mask, (0, 1)).all():
        raise DataError(f"{file}: expected a mask of True (observed) and False (missing), got other numbers ({mask.dtype})")
    observed = mask.astype(bool) if mask.ndim == 3 else mask.astype(bool)[:, :, None]
    return np.where(observed, x, x.dtype.type(np.nan))


def _signals_from_csv(file: Path, time_column: str | None, delimiter: Delimiter) -> Signals:
    node_ids, time, values = _numeric_csv(file, delimiter, time_column, needed=True)
    x = torch.from_numpy(values).unsqueeze(2)
    if time is not None:
        return Signals(x, None, time, node_ids)
    steps = np.diff(values[:, 0])  # in float64: as float32, time stamps in seconds stand still
    grows = len(steps) > 0 and bool((steps > 0).all() or (steps < 0).all())
    return Signals(x, None, [str(row) for row in range(len(x))], node_ids, first_grows=grows)


def _numeric_csv(
    file: Path, delimiter: Delimiter, time_column: str | None, *, needed: bool
) -> tuple[list[str], list[str] | None, np.ndarray]:
    """Header and values (float64) of the columns that hold numbers, and the labels of the rows if there are any."""
    header, rows = read_table(file, delimiter)
    labels = _labels_at(file, header, time_column, needed)
    numeric = [at for at in range(len(header)) if at != labels]
    if not rows or not numeric:
        raise DataError(
            f"{file}: expected a header of node ids and a row for each sample, got {len(rows)} rows below {header[:5]}"
        )
    hints = ["" if needed else "; classes are for task='classify'"] * len(header)
    if labels is None and (needed or len(header) > 1):
        hints[0] = f"; if this column labels the rows, say time_column={header[0]!r}"
    values = np.array([[number(file, line, header[at], row[at], hints[at]) for at in numeric] for line, row in rows])
    return [header[at] for at in numeric], None if labels is None else [row[labels] for _, row in rows], values


def _labels_at(file: Path, header: list[str], time_column: str | None, needed: bool) -> int | None:
    if time_column in header:
        return header.index(time_column)
    if time_column is not None and needed:
        near = difflib.get_close_matches(time_column, header, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"the columns are {header[:5]} ..."
        raise DataError(f"{file}, line 1: there is no column {time_column!r} to label the rows (time_column); {hint}")
    return 0 if header[0].lower() in TIME_NAMES else None


def _node(file: Path, line: int, name: str, nodes: dict[str, int]) -> int:
    if name in nodes:
        return nodes[name]
    near = difflib.get_close_matches(name, list(nodes), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"the nodes are {list(nodes)[:5]} ..."
    if list(nodes) == [str(each) for each in range(len(nodes))] and not name.isdecimal():
        hint = f"those are numbered 0 to {len(nodes) - 1}: give their names (node_ids of the .npz), or these numbers here"
    raise DataError(f"{file}, line {line}: {name!r} is no node of the signals; {hint}")


def _weight(file: Path, line: int, cell: str) -> float:
    weight = number(file, line, "weight", cell)
    if not 0 <= weight < float("inf"):
        raise DataError(
            f"{file}, line {line}: expected a finite weight >= 0, got {cell!r}; leave the edge out or give its strength"
        )
    return weight
