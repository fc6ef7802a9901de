"""A catalogue is read across the border of its box, whole or in chunks; what cannot be read is a DataError."""

import importlib
import itertools
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from gnet.errors import DataError, MissingExtraError
from gnet.plugins.halos import HaloTable, read_halos, synthetic_halos
from gnet.plugins.halos.data import G


def catalogue(folder: Path, halos, kept: list[bool]) -> tuple[Path, Path]:
    """Two files of the usual layout; halos that are not kept are light, dark or without subhalo in turn."""
    a, h, box, spread = 0.5, 0.7, 75_000.0, 10.0
    num = len(halos)
    mass, radius = 10 ** halos.log_mass.numpy(), np.linspace(100.0, 300.0, num)
    light = [not keep and place % 3 == 0 for place, keep in enumerate(kept)]
    mass = np.where(light, 1e9, mass)
    first = np.array([-1 if not keep and place % 3 == 1 else place for place, keep in enumerate(kept)])
    centres = np.array([[box - 1.0, 5.0, box / 2]] * num) + spread * np.arange(num)[:, None]
    drift = np.arange(3 * num, dtype=float).reshape(num, 3)
    speed = np.sqrt(G * mass / (radius * a / h))
    batch = halos.batch.numpy()
    with h5py.File(folder / "groups.hdf5", "w") as file:
        header = file.create_group("Header").attrs
        header["Time"], header["HubbleParam"], header["BoxSize"] = a, h, box
        lengths = np.zeros((num, 6), int)
        lengths[:, 1] = np.bincount(batch)
        stars = np.zeros((num, 6), int)
        stars[:, 4] = [20 if not keep and place % 3 == 2 else 60 for place, keep in enumerate(kept)]
        stellar = np.zeros((num, 6))
        stellar[:, 4] = 10 ** halos.log_stellar_mass.numpy() * h / 1e10
        for name, values in {
            "Group/GroupLenType": lengths,
            "Group/GroupFirstSub": first,
            "Group/Group_M_Crit200": mass * h / 1e10,
            "Group/Group_R_Crit200": radius,
            "Subhalo/SubhaloLenType": stars,
            "Subhalo/SubhaloMassType": stellar,
            "Subhalo/SubhaloPos": centres % box,
            "Subhalo/SubhaloVel": drift,
        }.items():
            file[name] = values
    with h5py.File(folder / "snapshot.hdf5", "w") as file:
        file.create_group("Header").attrs["MassTable"] = np.array([0, 5e-4, 0, 0, 0, 0])
        loose = np.zeros((7, 3))  # particles of no group come last
        x = np.concatenate([(halos.x.numpy() * radius[batch, None] + centres[batch]) % box, loose])
        v = np.concatenate([(halos.v.numpy() * speed[batch, None] + drift[batch]) / np.sqrt(a), loose])
        file["PartType1/Coordinates"], file["PartType1/Velocities"] = x, v
    return folder / "groups.hdf5", folder / "snapshot.hdf5"


def test_a_catalogue_is_read(tmp_path):
    halos = synthetic_halos(8, 30, seed=1)
    kept = [True, False, True, True, False, False, False, True]
    found = read_halos(*catalogue(tmp_path, halos, kept))
    chosen = torch.tensor(kept)
    rows = chosen[halos.batch]
    torch.testing.assert_close(found.x, halos.x[rows], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.v, halos.v[rows], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.log_mass, halos.log_mass[chosen])
    torch.testing.assert_close(found.log_stellar_mass, halos.log_stellar_mass[chosen])
    torch.testing.assert_close(found.mass, (5e-4 * 1e10 / 0.7 / 10**found.log_mass)[found.batch])
    assert torch.equal(found.batch.bincount(), torch.full((4,), 30))
    assert HaloTable.of(found).X.shape == (4, 73)


def test_catalogues_that_cannot_be_read(tmp_path, monkeypatch):
    groups, snapshot = catalogue(tmp_path, synthetic_halos(3, 10), [True] * 3)
    with pytest.raises(DataError, match="got none of 3"):
        read_halos(groups, snapshot, min_log_mass=15)
    with h5py.File(snapshot, "a") as file:
        values = file["PartType1/Coordinates"][:20]
        del file["PartType1/Coordinates"]
        file["PartType1/Coordinates"] = values
    with pytest.raises(DataError, match="at least 30 particles, got 20"):
        read_halos(groups, snapshot)
    with h5py.File(groups, "a") as file:
        del file["Group/GroupFirstSub"]
    with pytest.raises(DataError, match=r"expected Group/GroupFirstSub in .*groups\.hdf5"):
        read_halos(groups, snapshot)
    monkeypatch.setitem(sys.modules, "h5py", None)
    importlib.import_module("gnet.plugins.halos")  # needs no h5py
    with pytest.raises(MissingExtraError, match=r"'.\[halos\]'"):
        read_halos(groups, snapshot)


def rows_of(file: h5py.File) -> dict[str, np.ndarray]:
    """The data sets of a file by their paths."""
    found: dict[str, np.ndarray] = {}
    file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def in_chunks(path: Path, ends: list[int], counter: str) -> list[Path]:
    """The rows of a file cut into several, as they are released; of a chunk without rows the data sets are missing."""
    chunks = []
    with h5py.File(path) as whole:
        header, values = dict(whole["Header"].attrs), rows_of(whole)
    for number, (start, stop) in enumerate(itertools.pairwise(ends)):
        chunks.append(path.with_suffix(f".{number}.hdf5"))
        with h5py.File(chunks[-1], "w") as file:
            attributes = file.create_group("Header").attrs
            for name, value in {**header, counter: len(ends) - 1}.items():
                attributes[name] = value
            attributes["Ngroups_ThisFile"] = attributes["Nsubgroups_ThisFile"] = stop - start
            attributes["NumPart_ThisFile"] = np.array([0, stop - start, 0, 0, 0, 0])
            for name, rows in values.items():
                if stop > start:
                    file[name] = rows[start:stop]
    return chunks


def test_chunks_are_read_in_the_order_of_their_numbers(tmp_path):
    halos = synthetic_halos(8, 30, seed=1)
    groups, snapshot = catalogue(tmp_path, halos, [True, False, True, True, False, False, False, True])
    whole = read_halos(groups, snapshot)
    some_groups = in_chunks(groups, [0, 3, 3, 8], "NumFiles")  # the second is empty
    parts = in_chunks(snapshot, [0, 5, 40, 41, 60, 80, 99, 120, 130, 150, 199, 247], "NumFilesPerSnapshot")  # 11: halos are cut
    found = read_halos(some_groups[::-1], sorted(parts))  # by letters 10 comes before 2
    for name in ("x", "v", "mass", "batch", "log_mass", "log_stellar_mass"):
        assert torch.equal(getattr(found, name), getattr(whole, name)), name
    one, other = parts[1], parts[10]  # the liar: chunks whose numbers say another order
    one.rename(tmp_path / "kept"), other.rename(one), (tmp_path / "kept").rename(other)
    assert not torch.equal(read_halos(some_groups, parts).x, whole.x)
    with pytest.raises(DataError, match=r"expected all 11 chunks of .*, got 1 files; give a list of all of them"):
        read_halos(groups, parts[0])
    with pytest.raises(DataError, match=r"expected all 3 chunks of .*, got 2 files"):
        read_halos([some_groups[0], some_groups[1], some_groups[1]], snapshot)
    with pytest.raises(DataError, match="expected a file or its chunks, got none"):
        read_halos([], snapshot)


def changed(path: Path, name: str, value: object) -> None:
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        elif "." in name:
            del file["Header"].attrs[name.removeprefix("Header.")]
        if value is not None:
            file[name] = value


@pytest.mark.parametrize(
    ("which", "name", "value", "message"),
    [
        (0, "Header.HubbleParam", None, "expected the attribute HubbleParam in the Header of .*groups"),
        (1, "Header.MassTable", None, "expected the attribute MassTable in the Header of .*snapshot"),
        (0, "Header", None, r"expected Header in .*groups.hdf5, .*; the file has \['Group', 'Subhalo'\]"),
        (0, "Group/GroupLenType", np.zeros((3, 2)), r"expected Group/GroupLenType of shape \(rows, 6\) in .*, got \(3, 2\)"),
        (0, "Group/GroupFirstSub", np.zeros((3, 1)), r"expected Group/GroupFirstSub of shape \(rows,\)"),
        (0, "Group/GroupFirstSub", np.zeros(2), r"as many rows in each data set of Group in .*, got \[2, 3\]"),
        (0, "Group/GroupFirstSub", np.array([0, 1, 3]), "expected subhalos 0..3 of the groups in .*, got 3"),
        (1, "PartType1/Velocities", np.zeros((5, 3)), "at least 30 particles, got 5"),
    ],
)
def test_other_files(tmp_path, which, name, value, message):
    paths = catalogue(tmp_path, synthetic_halos(3, 10), [True] * 3)
    changed(paths[which], name, value)
    with pytest.raises(DataError, match=message):
        read_halos(*paths)


def test_files_that_are_none(tmp_path):
    groups, snapshot = catalogue(tmp_path, synthetic_halos(3, 10), [True] * 3)
    junk, empty = tmp_path / "junk.hdf5", tmp_path / "empty.hdf5"
    junk.write_bytes(b"junk" * 100)
    h5py.File(empty, "w").close()
    for path, message in ((junk, "files that can be read"), (tmp_path / "nowhere", "can be read"), (empty, "expected Header in")):
        with pytest.raises(DataError, match=message):
            read_halos(path, snapshot)
        with pytest.raises(DataError, match=message):
            read_halos(groups, path)
    snapshot.write_bytes(snapshot.read_bytes()[:1500])
    with pytest.raises(DataError, match="download the file again"):
        read_halos(groups, snapshot)
