"""Drawn halos have the law that they say; a catalogue is read across the border of its box; regressors see more than the mass."""

import importlib
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from gnet.cli import main
from gnet.errors import ConfigError, DataError, MissingExtraError, ShapeError
from gnet.plugins.halos import HaloTable, geometric_features, half_width, nfw_radii, read_halos, ridge_pipeline, synthetic_halos
from gnet.plugins.halos.data import G
from gnet.plugins.halos.experiment import GalaxyFromHalo
from gnet.plugins.halos.regression import Perceptron

ROOT = Path(__file__).resolve().parents[3]


def test_radii_invert_the_mass_within():
    c = torch.tensor([[1.0], [5.0], [30.0]], dtype=torch.float64)
    shares = torch.linspace(0, 1, 21, dtype=torch.float64)
    r = nfw_radii(shares, c)
    within = (torch.log1p(c * r) - c * r / (1 + c * r)) / (torch.log1p(c) - c / (1 + c))
    torch.testing.assert_close(within, shares.expand_as(within), rtol=1e-9, atol=1e-9)
    assert bool((r[2, 1:-1] < r[0, 1:-1]).all())  # more concentrated


def test_halos_have_their_law():
    halos = synthetic_halos(400, 200, noise=0.0, seed=3)
    again, other = synthetic_halos(400, 200, noise=0.0, seed=3), synthetic_halos(400, 200, noise=0.0, seed=4)
    assert torch.equal(halos.x, again.x) and not torch.equal(halos.x, other.x)
    assert float(halos.log_mass.min()) >= 10.25 and float(halos.log_mass.max()) <= 14.0
    mu = halos.log_mass - 12
    rest = halos.log_stellar_mass - 10.5 - torch.log10(2 * 10 ** (1.8 * mu) / (1 + 10 ** (1.3 * mu)))
    c_part = 0.35 * (-0.1 * mu)  # of the mean concentration
    assert float((rest - c_part).mean().abs()) < 0.03 and 0.06 < float((rest - c_part).std()) < 0.12
    noisy = synthetic_halos(400, 200, noise=0.05, seed=3)
    assert float((noisy.log_stellar_mass - halos.log_stellar_mass).std()) == pytest.approx(0.05, rel=0.15)
    shells = geometric_features(halos.x, halos.v, halos.mass, halos.batch, bins=[range(20)])
    assert float((shells.m - 1).abs().max()) < 1e-9
    orientation = torch.linalg.eigh(shells.C_xx[:, 0]).eigenvectors[:, :, 0]  # short axes point anywhere
    assert float((orientation[:, :, None] * orientation[:, None]).mean(0).sub(torch.eye(3) / 3).abs().max()) < 0.08
    with pytest.raises(ConfigError, match="num_halos and num_particles >= 1"):
        synthetic_halos(0)


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
    with pytest.raises(MissingExtraError, match=r"gnet\[halos\]"):
        read_halos(groups, snapshot)


@pytest.fixture(scope="module")
def table() -> HaloTable:
    return HaloTable.of(synthetic_halos(1500, 200, seed=0))


def only(table: HaloTable, columns: int) -> HaloTable:
    return HaloTable(table.X[:, :columns], table.y, table.names[:columns])


def test_scalars_tell_more_than_the_mass(table):
    widths = {}
    for columns in (1, 31, 73):
        train, _, test = only(table, columns).split()
        widths[columns] = half_width(ridge_pipeline().fit(train.X, train.y).predict(test.X) - test.y)
    assert widths[31] < 0.75 * widths[1] and widths[73] < 0.75 * widths[1] and min(widths.values()) > 0.045
    train, _, test = table.split()
    shuffled = np.random.default_rng(0).permutation(len(train.y))  # scalars of other halos
    liar = np.concatenate([train.X[:, :1], train.X[shuffled, 1:]], 1)
    assert half_width(ridge_pipeline().fit(liar, train.y).predict(test.X) - test.y) > 0.9 * widths[1]


def test_the_perceptron_learns_stops_and_is_reproducible(table):
    train, val, test = only(table, 31).split()
    options = {"width": 16, "layers": 1, "dropout": 0.0, "lr": 1e-2}
    short, long = (Perceptron(max_epochs=epochs, patience=5, **options).fit(train, val) for epochs in (1, 40))
    errors = [half_width(each.predict(test.X) - test.y) for each in (short, long)]
    assert errors[1] < 0.3 * errors[0]
    again = Perceptron(max_epochs=1, patience=5, **options).fit(train, val)
    assert np.array_equal(again.predict(test.X), short.predict(test.X))
    with pytest.raises(ShapeError, match="same columns"):
        Perceptron(max_epochs=1).fit(train, table)
    with pytest.raises(ConfigError, match="variance > 0"):
        Perceptron(variance=0.0)


def test_tables_are_cut_into_three(table):
    parts = table.split()
    assert [len(part.y) for part in parts] == [1050, 225, 225]
    assert np.array_equal(np.concatenate([part.y for part in parts]), table.y)
    with pytest.raises(ConfigError, match="rows for each part"):
        table.split(0.9, 0.1)
    with pytest.raises(DataError, match="finite errors"):
        half_width(np.array([np.nan, 1.0]))
    assert half_width(np.random.default_rng(0).normal(size=200_000)) == pytest.approx(1.0, abs=0.01)


def test_a_run_in_small(tmp_path, capsys):
    config = ROOT / "configs" / "plugins" / "halos" / "galaxies.yaml"
    small = [f"--simulation.init_args.{each}" for each in ("num_halos=200", "num_particles=50", "seeds=1", "max_epochs=1")]
    assert main(["simulate", "--config", str(config), "--out", str(tmp_path), *small]) == 0
    assert "| mlp | all scalars |" in capsys.readouterr().out
    assert (tmp_path / "figure.png").is_file()
    with pytest.raises(ConfigError, match="regressors among ridge, mlp, got forest"):
        GalaxyFromHalo(["forest"])
