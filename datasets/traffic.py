"""Speeds at detectors on roads and the graph of the roads, from files of one folder, checked to fit together."""

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnet.errors import DataError
from gnet.graphs.proximity import directed_graph, symmetric_graph
from gnet.training.reading import check_unique
from gnet.training.table import columns, number, read_table

KEYS = {"metr_la.npz": ("speed", "minutes", "start", "sensor_id"), "adj_mx.npz": ("adj", "sensor_id")}
LOCATIONS = "graph_sensor_locations.csv"
FILES = (*KEYS, LOCATIONS)
DAY, WEEK = 24 * 60, 7 * 24 * 60
EARTH_RADIUS = 6_371_008.8
"""Mean radius in metres."""


@dataclass(frozen=True, eq=False)
class Traffic:
    """Speeds at sensors on a road network, and the network.

    Shapes:
        speed: (T, N) float32, 0 where missing    minutes: (T,) int64    adj: (N, N) float32, row from, column to    pos: (N, 2)

    Units: miles per hour; minutes since 1970-01-01T00:00; metres east and north of the mean location.

    Raises:
        DataError: shapes that do not fit together, NaN, infinite or negative speeds or weights, no constant time step.
    """

    speed: Tensor
    minutes: Tensor
    adj: Tensor
    pos: Tensor
    sensor_ids: list[str]

    def __post_init__(self) -> None:
        nodes = len(self.sensor_ids)
        if self.speed.ndim != 2 or self.speed.shape[1] != nodes or self.minutes.shape != self.speed.shape[:1]:
            raise DataError(
                f"expected speed (T, {nodes}) with a column per sensor_id and minutes (T,), "
                f"got {tuple(self.speed.shape)} and {tuple(self.minutes.shape)}"
            )
        if self.adj.shape != (nodes, nodes):
            raise DataError(f"expected adj of shape ({nodes}, {nodes}), row from and column to, got {tuple(self.adj.shape)}")
        for name, values, meaning in (("speed", self.speed, "missing"), ("adj", self.adj, "no edge")):
            bad = (~(values.isfinite() & (values >= 0))).nonzero()
            if len(bad):
                row, column = bad[0].tolist()
                raise DataError(
                    f"expected {name} to be finite and >= 0 (0 is {meaning}), got {float(values[row, column]):g} "
                    f"at row {row}, column {column} ({len(bad)} such in all)"
                )
        steps = self.minutes.diff()
        if len(steps) == 0 or steps[0] <= 0 or (steps != steps[0]).any():
            row = int((steps != steps[0]).nonzero()[0]) if len(steps) and steps[0] > 0 else 0
            found = f"{int(steps[0])} minutes at first and {int(steps[row])} after row {row}" if len(steps) else "a single row"
            raise DataError(f"expected minutes to grow by a constant step, got {found}; fill gaps with rows of 0 (missing)")

    @property
    def step(self) -> int:
        """Minutes from one row to the next."""
        return int(self.minutes[1] - self.minutes[0])

    @property
    def time_of_day(self) -> Tensor:
        """(T,) in [0, 1), 0 at midnight."""
        return ((self.minutes % DAY).double() / DAY).float()

    @property
    def time_of_week(self) -> Tensor:
        """(T,) int64: steps since Monday, 00:00."""
        return (self.minutes - 4 * DAY) % WEEK // self.step  # the first Monday after 1970-01-01 was the 5th

    @property
    def labels(self) -> list[str]:
        """T times as ISO text, 2012-03-01T00:05."""
        return [str(moment) for moment in self.minutes.numpy().astype("datetime64[m]")]


def sensor_graph(adj: Tensor, pos: Tensor, threshold: float = 0.0, symmetric: bool = False) -> Data:
    """The graph of a weight matrix with row = from and column = to, so that ``edge_index[0]`` are the senders; loops stay.

    Raises:
        DataError: no two sensors are joined.

    Example:
        >>> adj = torch.tensor([[1.0, 0.2, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
        >>> sensor_graph(adj, torch.zeros(3, 2), threshold=0.3).edge_index
        tensor([[0, 1, 1, 2],
                [0, 1, 2, 2]])
    """
    edges = ((adj > 0) & (adj >= threshold)).nonzero().T
    if len(adj) > 1 and not (edges[0] != edges[1]).any():
        largest = float((adj - adj.diag().diag()).max())
        fix = f"take a threshold of at most {largest:g}" if largest > 0 else "convert the file again"
        raise DataError(f"expected weights of at least {threshold:g} between sensors, got {largest:g} at the most; {fix}")
    make = symmetric_graph if symmetric else directed_graph
    return make(edges, adj[edges[0], edges[1]], len(adj), pos)


def metres(latitude: Tensor, longitude: Tensor) -> Tensor:
    """Positions (N, 2) in metres east and north of the mean location, on the plane that touches the Earth there.

    Example:
        >>> metres(torch.tensor([34.0, 34.01]), torch.tensor([-118.0, -118.0])).round()
        tensor([[   0., -556.],
                [   0.,  556.]])
    """
    latitude, longitude = latitude.double().deg2rad(), longitude.double().deg2rad()
    east = (longitude - longitude.mean()) * latitude.mean().cos()
    return (EARTH_RADIUS * torch.stack([east, latitude - latitude.mean()], dim=1)).float()


def read_traffic(folder: Path) -> Traffic:
    """Speeds, weights and locations, checked to be of the same sensors in the same order.

    Raises:
        DataError: a file is missing, corrupt, or does not fit the others.
    """
    files = [folder / name for name in FILES]
    for file in files:
        if not file.is_file():
            keys = ", ".join(f"{name} ({', '.join(names)})" for name, names in KEYS.items())
            raise DataError(
                f"{file} is missing; datasets/prepare/metr_la.py makes {keys} and {LOCATIONS} "
                "(index, sensor_id, latitude, longitude) of the public files; or give another --data.root"
            )
    return _read_cached(str(folder), tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=2)
def _read_cached(folder: str, stamps: tuple[tuple[int, int], ...]) -> Traffic:
    # A study sets up a data module for every trial; sizes and times of change are part of the key, and nobody writes into it.
    speeds, roads = (_arrays(Path(folder) / name, names) for name, names in KEYS.items())
    ids = [str(each) for each in speeds["sensor_id"].ravel().tolist()]
    check_unique(ids, f"{Path(folder) / 'metr_la.npz'}: sensor_id")
    _check_same(ids, [str(each) for each in roads["sensor_id"].ravel().tolist()], Path(folder) / "adj_mx.npz")
    located = _locations(Path(folder) / LOCATIONS)
    _check_same(ids, [name for name, _, _ in located], Path(folder) / LOCATIONS)
    latitude, longitude = torch.tensor([[north, east] for _, north, east in located], dtype=torch.float64).T
    try:
        start = int(np.datetime64(speeds["start"].item(), "m").astype(np.int64))
        if speeds["minutes"].dtype.kind not in "iu":
            raise DataError(f"expected minutes to be integers since start, got {speeds['minutes'].dtype}")
        minutes = start + torch.from_numpy(speeds["minutes"].astype(np.int64))
        speed, adj = (torch.from_numpy(each.astype(np.float32)) for each in (speeds["speed"], roads["adj"]))
        return Traffic(speed, minutes, adj, metres(latitude, longitude), ids)
    except ValueError as error:  # as every DataError is
        raise DataError(f"{folder}: {error}") from error


def _arrays(file: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, AttributeError, TypeError) as error:
        raise DataError(f"{file}: corrupt, truncated, or no .npz of plain arrays ({error}); convert it again") from error
    absent = [name for name in names if name not in found]
    if absent:
        raise DataError(f"{file}: expected the keys {list(names)}, got {sorted(found)}: {absent} missing; convert it again")
    return found


def _locations(file: Path) -> list[tuple[str, float, float]]:
    header, rows = read_table(file)
    at = columns(file, header, ("sensor_id", "latitude", "longitude"), ("index",))
    found = []
    for line, row in rows:
        north, east = (number(file, line, name, row[at[name]]) for name in ("latitude", "longitude"))
        if not (abs(north) <= 90 and abs(east) <= 180):
            raise DataError(f"{file}, line {line}: expected a latitude and a longitude in degrees, got {north:g} and {east:g}")
        found.append((row[at["sensor_id"]], north, east))
    return found


def _check_same(expected: list[str], got: list[str], file: Path) -> None:
    other = sorted(set(expected) ^ set(got))
    if other or len(got) != len(expected):
        raise DataError(
            f"{file}: expected the {len(expected)} sensors of metr_la.npz, got {len(got)}; "
            f"only in one of the two files: {other[:5]}; convert both again"
        )
    for place, (mine, theirs) in enumerate(zip(expected, got, strict=True)):
        if mine != theirs:
            raise DataError(
                f"{file}: the sensors are in another order than in metr_la.npz: place {place} is {theirs!r} here and {mine!r} "
                "there; convert both again"
            )
