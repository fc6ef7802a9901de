"""Reads halos from group catalogues and snapshots in the layout of the IllustrisTNG releases, whole or in chunks."""

import math
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnet.errors import DataError, MissingExtraError
from gnet.plugins.halos.data import LOWEST, STARS, G, Halos

TYPES = {"dark matter": 1, "stars": 4}
COLUMNS = {
    "Group/GroupLenType": 6,
    "Group/GroupFirstSub": 0,
    "Group/Group_M_Crit200": 0,
    "Group/Group_R_Crit200": 0,
    "Subhalo/SubhaloLenType": 6,
    "Subhalo/SubhaloMassType": 6,
    "Subhalo/SubhaloPos": 3,
    "Subhalo/SubhaloVel": 3,
}
"""Data sets of the catalogue and how many numbers each row has, 0 for one without an axis of its own."""
COUNTS = {"Group": "Ngroups_ThisFile", "Subhalo": "Nsubgroups_ThisFile", "PartType1": "NumPart_ThisFile"}
"""The attribute of the header with the rows of a chunk: where it has none, the data sets are left out."""
Paths = str | Path | Sequence[str | Path]


def read_halos(catalogue: Paths, snapshot: Paths, *, min_log_mass: float = LOWEST, min_stars: int = STARS) -> Halos:
    """Halos of a group catalogue and a snapshot in the layout of the IllustrisTNG releases, HDF5 files or all chunks of each.

    Particles of dark matter are sorted by group, ``GroupLenType[:, 1]`` of them in each; the galaxy of a halo is that of its
    first subhalo. Lengths are comoving kpc/h, velocities of particles km sqrt(a)/s, masses 10^10 solar masses / h. Velocities are
    taken about that of the first subhalo, positions about its potential minimum, across the border of the periodic box.

    Args:
        catalogue: the file with the groups ``Header``, ``Group`` and ``Subhalo``, or its chunks; they are put in the order of
            the numbers in their names.
        snapshot: the file with ``Header`` and ``PartType1``, or its chunks.
        min_log_mass: halos of M_200 above 10 to the power of this, in solar masses.
        min_stars: particles that a galaxy has at least.

    Raises:
        MissingExtraError: h5py is not installed.
        DataError: files that are missing or no HDF5, some chunks of several, a data set or attribute that is missing or of
            another shape, files that do not belong together, or no halo that is selected.

    References:
        Nelson et al. (2019), arXiv:1812.05609, for the layout.
    """
    _require_h5py()
    try:
        with ExitStack() as stack:
            groups = _Chunks(catalogue, "NumFiles", stack)
            particles = _Chunks(snapshot, "NumFilesPerSnapshot", stack)
            return _read_halos(groups, particles, min_log_mass, min_stars)
    except OSError as error:
        raise DataError(f"expected HDF5 files that can be read, got: {error}; download the file again") from error


def _read_halos(groups: "_Chunks", particles: "_Chunks", min_log_mass: float, min_stars: int) -> Halos:
    a, h, box = (float(groups.attribute(name)) for name in ("Time", "HubbleParam", "BoxSize"))
    values = {name: groups.read(name, columns) for name, columns in COLUMNS.items()}
    for kind in ("Group", "Subhalo"):
        if len(rows := {len(each) for name, each in values.items() if name.startswith(kind)}) > 1:
            raise DataError(f"expected as many rows in each data set of {kind} in {groups}, got {sorted(rows)}")
    lengths = values["Group/GroupLenType"][:, TYPES["dark matter"]].astype(np.int64)
    central = values["Group/GroupFirstSub"].astype(np.int64)
    mass = values["Group/Group_M_Crit200"].astype(float) * 1e10 / h
    radius = values["Group/Group_R_Crit200"].astype(float)  # comoving kpc/h, as the coordinates
    stars = values["Subhalo/SubhaloLenType"][:, TYPES["stars"]]
    stellar = values["Subhalo/SubhaloMassType"][:, TYPES["stars"]].astype(float) * 1e10 / h
    centres, drift = values["Subhalo/SubhaloPos"].astype(float), values["Subhalo/SubhaloVel"].astype(float)
    if len(central) and central.max() >= len(stars):
        raise DataError(f"expected subhalos 0..{central.max()} of the groups in {groups}, got {len(stars)}")
    particle_mass = float(np.asarray(particles.attribute("MassTable"))[TYPES["dark matter"]]) * 1e10 / h
    x, v = (_Rows(particles, f"PartType1/{name}", 3) for name in ("Coordinates", "Velocities"))
    if min(len(x), len(v)) < lengths.sum():
        wanted = f"the snapshot of the catalogue, with at least {lengths.sum()} particles"
        raise DataError(f"expected {wanted}, got {min(len(x), len(v))}")
    has_galaxy = central >= 0
    kept = has_galaxy & (mass > 10.0**min_log_mass)
    kept[has_galaxy] &= stars[central[has_galaxy]] >= min_stars
    if not kept.any():
        wanted = f"halos above 10^{min_log_mass} solar masses with {min_stars} particles of stars"
        raise DataError(f"expected {wanted}, got none of {len(mass)}")
    starts = np.concatenate([[0], lengths.cumsum()[:-1]])
    parts = []
    for halo in np.flatnonzero(kept):
        span = starts[halo], starts[halo] + lengths[halo]
        offset = x.between(*span) - centres[central[halo]]
        offset -= box * np.round(offset / box)
        speed = math.sqrt(G * mass[halo] / (radius[halo] * a / h))
        parts.append((offset / radius[halo], (v.between(*span) * math.sqrt(a) - drift[central[halo]]) / speed))
    counts = torch.tensor([len(each[0]) for each in parts])
    batch = torch.arange(len(parts)).repeat_interleave(counts)
    chosen = torch.from_numpy(mass[kept])
    return Halos(
        x=torch.from_numpy(np.concatenate([each[0] for each in parts])),
        v=torch.from_numpy(np.concatenate([each[1] for each in parts])),
        mass=(particle_mass / chosen)[batch],
        batch=batch,
        log_mass=torch.log10(chosen),
        log_stellar_mass=torch.from_numpy(np.log10(stellar[central[kept]])),
    )


class _Chunks:
    """The open files of a catalogue or a snapshot; a data set is those of all files, one after the other."""

    def __init__(self, paths: Paths, counter: str, stack: ExitStack) -> None:
        h5py = _require_h5py()
        given = [paths] if isinstance(paths, str | Path) else list(paths)
        if not given:
            raise DataError("expected a file or its chunks, got none")
        ordered = sorted(map(Path, given), key=_numbers)
        self.files = [stack.enter_context(h5py.File(each, "r")) for each in ordered]
        whole = int(self.attribute(counter)) if counter in self._header(self.files[0]) else len(ordered)
        if whole != len(set(ordered)) or whole != len(ordered):
            raise DataError(f"expected all {whole} chunks of {self}, got {len(set(ordered))} files; give a list of all of them")

    def __str__(self) -> str:
        return self.files[0].filename

    def attribute(self, name: str) -> Any:
        """Of the header of the first file."""
        header = self._header(self.files[0])
        if name not in header:
            raise DataError(f"expected the attribute {name} in the Header of {self}, as in the IllustrisTNG releases")
        return header[name]

    def data_sets(self, name: str, columns: int) -> list[Any]:
        """One of each file that has rows of it."""
        found = []
        for file in self.files:
            if name in file:
                values = file[name]
                if values.ndim != 1 + bool(columns) or values.shape[1:] not in ((), (columns,)):
                    wanted = f"(rows, {columns})" if columns else "(rows,)"
                    raise DataError(f"expected {name} of shape {wanted} in {file.filename}, got {values.shape}")
                found.append(values)
            elif np.atleast_1d(self._header(file).get(COUNTS[name.split("/")[0]], 1))[:2].any():
                there = ", ".join(file) or "nothing"
                raise DataError(f"expected {name} in {file.filename}, as in the IllustrisTNG releases; the file has {there}")
        return found

    def read(self, name: str, columns: int) -> np.ndarray:
        """All rows."""
        parts = [each[()] for each in self.data_sets(name, columns)]
        return np.concatenate(parts) if parts else np.zeros((0, columns) if columns else 0)

    @staticmethod
    def _header(file: Any) -> Any:
        if "Header" not in file:
            raise DataError(f"expected Header in {file.filename}, as in the IllustrisTNG releases; the file has {list(file)}")
        return file["Header"].attrs


class _Rows:
    """Rows of a data set that are read where they are wanted, across the borders of chunks."""

    def __init__(self, chunks: _Chunks, name: str, columns: int) -> None:
        self.parts = chunks.data_sets(name, columns)
        self.ends = np.cumsum([0, *map(len, self.parts)])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def between(self, start: int, stop: int) -> np.ndarray:
        """Rows start to stop, without stop, in float64."""
        cut = [
            np.asarray(part[max(start - first, 0) : max(stop - first, 0)], float)
            for part, first, last in zip(self.parts, self.ends, self.ends[1:], strict=False)
            if first < stop and start < last
        ]
        return np.concatenate(cut) if cut else np.zeros((0, 3))


def _numbers(path: Path) -> list[tuple[int, str]]:
    """The parts of a name, numbers by their size: chunk 10 comes after chunk 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _require_h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError(
            "read_halos needs h5py: pip install --editable '.[halos]'; synthetic_halos needs nothing"
        ) from error
    return h5py
