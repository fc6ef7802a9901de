"""Convert the public files of METR-LA to what ``datasets.MetrLA`` reads.

    python datasets/prepare/metr_la.py --speeds metr-la.h5 --graph adj_mx.pkl --locations graph_sensor_locations.csv \
        --out $GNET_DATA/metr-la

The three files are those of https://github.com/liyaguang/DCRNN: the speeds by the link in its README, graph and locations in
``data/sensor_graph/``. Speeds may also be a ``.csv`` (a first column of ISO time stamps, then one column per sensor) or a
``.npz`` (``speed`` (T, N), ``time`` (T,), ``sensor_id`` (N,)); the graph a ``.npz`` (``adj`` (N, N), ``sensor_id`` (N,)). For
a ``.h5``: ``pip install pandas tables``. Written are ``metr_la.npz``, ``adj_mx.npz`` and ``graph_sensor_locations.csv``, with
the sensors of all three in the order of the speeds; a speed that is not known is 0.
"""

import argparse
import csv
import importlib
import pickle
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from gnet.errors import DataError, GnetError, MissingExtraError
from gnet.training.data import repository_datasets
from gnet.training.table import columns, number, read_table


class Table(NamedTuple):
    """Speeds by time and sensor.

    Shapes:
        speed: (T, N) float32, 0 where missing    time: (T,) datetime64[m]    sensor_ids: N names
    """

    speed: np.ndarray
    time: np.ndarray
    sensor_ids: list[str]


BROKEN = (
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError),
    *(ValueError, TypeError, AttributeError, IndexError, KeyError),
)
"""What reading a damaged file raises."""


def read_speeds(path: Path) -> Table:
    """The table of speeds in a ``.h5``, ``.csv`` or ``.npz``; readings that are not known (NaN) become 0.

    Raises:
        DataError: no such file, another format, or no table of speeds.
        MissingExtraError: a ``.h5`` without pandas or tables.
    """
    read = {".h5": _speeds_from_h5, ".csv": _speeds_from_csv, ".npz": _speeds_from_npz}.get(path.suffix)
    if read is None:
        raise DataError(f"{path}: expected speeds as .h5, .csv or .npz, got {path.suffix or 'no ending'!r}")
    try:
        speed, time, sensor_ids = read(_existing(path))
        table = Table(np.nan_to_num(speed.astype(np.float32), nan=0.0), time.astype("datetime64[m]"), sensor_ids)
    except BROKEN as error:
        raise _placed(error, path, "no table of speeds") from error
    if table.speed.shape != (len(table.time), len(table.sensor_ids)) or len(table.time) == 0:
        shapes = f"{table.speed.shape}, {len(table.time)} times and {len(table.sensor_ids)} sensors"
        raise DataError(f"{path}: expected speeds (times, sensors), got {shapes}")
    if np.isnat(table.time).any():
        raise DataError(f"{path}: row {int(np.isnat(table.time).argmax())} has no time")
    return table


def read_graph(path: Path) -> tuple[list[str], np.ndarray]:
    """Sensor ids and weights (N, N), row from and column to, of a ``.pkl`` (ids, places, weights) or ``.npz``.

    Raises:
        DataError: no such file, another format, a pickle of anything but lists, dicts, texts and arrays.
    """
    if path.suffix not in (".pkl", ".npz"):
        raise DataError(f"{path}: expected the graph as .pkl or .npz, got {path.suffix or 'no ending'!r}")
    try:
        if path.suffix == ".npz":
            with np.load(_existing(path), allow_pickle=False) as arrays:
                ids, adj = arrays["sensor_id"].tolist(), arrays["adj"]
        else:
            with open(_existing(path), "rb") as file:
                ids, _, adj = _ours("unpickle").ArrayUnpickler(file, encoding="latin1").load()
        found = [each.decode() if isinstance(each, bytes) else str(each) for each in ids], np.asarray(adj, dtype=np.float32)
    except BROKEN as error:
        raise _placed(error, path, "no graph of sensors") from error
    if found[1].shape != (len(found[0]), len(found[0])):
        raise DataError(f"{path}: expected a row and a column for each of the {len(found[0])} sensors, got {found[1].shape}")
    return found


def read_locations(path: Path) -> dict[str, tuple[float, float]]:
    """Latitude and longitude by sensor id.

    Raises:
        DataError: no such file, missing columns, cells that are no number.
    """
    header, rows = read_table(_existing(path))
    at = columns(path, header, ("sensor_id", "latitude", "longitude"), ("index",))
    found = {}
    for line, row in rows:
        latitude, longitude = (number(path, line, name, row[at[name]]) for name in ("latitude", "longitude"))
        found[row[at["sensor_id"]]] = (latitude, longitude)
    return found


def convert(speeds: Path, graph: Path, locations: Path, out: Path) -> tuple[int, int]:
    """Write the three files to ``out``, read them back, and return how many steps and sensors there are.

    Raises:
        DataError: a file that cannot be read, or does not fit the others.
    """
    speed, time, sensor_ids = read_speeds(speeds)
    graph_ids, adj = read_graph(graph)
    located = read_locations(locations)
    if set(graph_ids) != set(sensor_ids):
        raise DataError(
            f"{graph}: other sensors than in {speeds}: {sorted(set(graph_ids) ^ set(sensor_ids))[:5]} are in one only"
        )
    absent = [name for name in sensor_ids if name not in located]
    if absent:
        raise DataError(f"{locations}: {len(absent)} of {len(sensor_ids)} sensors have no location, the first are {absent[:5]}")
    order = [graph_ids.index(name) for name in sensor_ids]
    out.mkdir(parents=True, exist_ok=True)
    minutes = (time - time[0]).astype(np.int32)
    ids = np.array(sensor_ids)
    np.savez_compressed(out / "metr_la.npz", speed=speed, minutes=minutes, start=np.array(str(time[0])), sensor_id=ids)
    np.savez_compressed(out / "adj_mx.npz", adj=adj[np.ix_(order, order)], sensor_id=ids)
    with open(out / "graph_sensor_locations.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index", "sensor_id", "latitude", "longitude"])
        writer.writerows([place, name, *located[name]] for place, name in enumerate(sensor_ids))
    _ours("traffic").read_traffic(out)
    return speed.shape


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--speeds", type=Path, required=True, help="metr-la.h5, or a .csv or .npz")
    parser.add_argument("--graph", type=Path, required=True, help="adj_mx.pkl, or a .npz")
    parser.add_argument("--locations", type=Path, required=True, help="graph_sensor_locations.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to, metr-la below --data.root")
    given = parser.parse_args(arguments)
    try:
        steps, sensors = convert(given.speeds, given.graph, given.locations, given.out)
    except GnetError as error:
        sys.exit(f"error: {error}")
    print(f"{given.out}: {steps} steps, {sensors} sensors")


def _ours(name: str) -> ModuleType:
    # By path and not `import datasets`: a script finds another package of that name first.
    return importlib.import_module(f"{repository_datasets().__name__}.{name}")


def _placed(error: Exception, path: Path, what: str) -> Exception:
    said = isinstance(error, GnetError) and str(path) in str(error)
    return error if said else DataError(f"{path}: {what}: {error}")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path}: no such file; the public ones are at https://github.com/liyaguang/DCRNN")
    return path


def _speeds_from_h5(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    try:
        pandas = importlib.import_module("pandas")
        importlib.import_module("tables")
    except ImportError as error:
        raise MissingExtraError(f"{path} is read by pandas: pip install pandas tables (or give a .csv of the speeds)") from error
    frame = pandas.read_hdf(path)
    return frame.to_numpy(), frame.index.to_numpy(), [str(name) for name in frame.columns]


def _speeds_from_csv(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    header, rows = read_table(path)
    speed = [[number(path, line, name, cell) for name, cell in zip(header[1:], row[1:], strict=True)] for line, row in rows]
    return np.array(speed), np.array([row[0].replace(" ", "T") for _, row in rows], dtype="datetime64[s]"), header[1:]


def _speeds_from_npz(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    with np.load(path, allow_pickle=False) as arrays:
        time = np.array([str(each) for each in arrays["time"]], dtype="datetime64[s]")
        return arrays["speed"], time, [str(name) for name in arrays["sensor_id"].tolist()]


if __name__ == "__main__":
    main()
