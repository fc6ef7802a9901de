"""Drawn halos have the law that they say; regressors see more than the mass."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gnet.cli import main
from gnet.errors import ConfigError, DataError, ShapeError
from gnet.plugins.halos import HaloTable, geometric_features, half_width, nfw_radii, ridge_pipeline, synthetic_halos
from gnet.plugins.halos.experiment import GalaxyFromHalo, pass_rules
from gnet.plugins.halos.regression import Perceptron
from gnet.study.simulate import Measured

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


def mean_spin(x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The mean of the unit spins of halos (H, P, 3): 0 where they point anywhere, up to 1 / sqrt(3 H)."""
    return torch.nn.functional.normalize(torch.linalg.cross(x, v).sum(1), dim=1).mean(0)


def test_spins_point_anywhere(monkeypatch):
    """Axes have no sign and would not show that a half of all directions is preferred; spins do."""
    halos = synthetic_halos(2000, 50, seed=0)
    assert float(mean_spin(halos.x.view(2000, 50, 3), halos.v.view(2000, 50, 3)).abs().max()) < 0.05

    def without_signs(dim: int, num: int, generator: torch.Generator) -> torch.Tensor:
        q = torch.linalg.qr(torch.randn(num, dim, dim, dtype=torch.float64, generator=generator))[0]
        return q * torch.linalg.det(q)[:, None, None]

    monkeypatch.setattr("gnet.plugins.halos.data.haar_special_orthogonal", without_signs)
    liar = synthetic_halos(2000, 50, seed=0)
    assert float(mean_spin(liar.x.view(2000, 50, 3), liar.v.view(2000, 50, 3)).abs().max()) > 0.2
    np.testing.assert_allclose(HaloTable.of(liar).X, HaloTable.of(halos).X, rtol=1e-8, atol=1e-10)  # scalars do not see it


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
    assert np.array_equal(np.concatenate([part.y for part in table.split(seed=None)]), table.y)
    assert np.array_equal(parts[0].X, table.split(seed=0)[0].X) and not np.array_equal(parts[0].y, table.split(seed=1)[0].y)
    rows = {tuple(row) for part in parts for row in np.column_stack([part.X, part.y])}
    assert rows == {tuple(row) for row in np.column_stack([table.X, table.y])}  # each row once, with its own y
    with pytest.raises(ConfigError, match="rows for each part"):
        table.split(0.9, 0.1)
    with pytest.raises(DataError, match="finite errors"):
        half_width(np.array([np.nan, 1.0]))
    assert half_width(np.random.default_rng(0).normal(size=200_000)) == pytest.approx(1.0, abs=0.01)


def test_a_catalogue_sorted_by_mass_is_cut_at_random(table):
    order = np.argsort(-table.X[:, 0])
    catalogue = HaloTable(table.X[order], table.y[order], table.names)
    spans = [(part.X[:, 0].min(), part.X[:, 0].max()) for part in catalogue.split()]
    assert all(low < 10.5 and high > 13.7 for low, high in spans)
    train, _, test = catalogue.split(seed=None)  # the liar
    assert test.X[:, 0].max() < train.X[:, 0].min()


def test_many_rows_and_few_are_mapped_by_all_of_them(recwarn):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12_000, 3))
    table = HaloTable(X, X.sum(1), tuple("abc"))
    one, other = (ridge_pipeline().fit(X, table.y).predict(X[:5]) for _ in range(2))
    assert np.array_equal(one, other)
    train, val, _ = table.split(0.95, 0.01)
    assert len(train.y) > 10_000  # scikit-learn's subsample
    mapped = [Perceptron(max_epochs=1, batch_size=4096, width=4, layers=1).fit(train, val).predict(X[:5]) for _ in range(2)]
    assert np.array_equal(*mapped)
    ridge_pipeline().fit(X[:50], table.y[:50])
    assert not [each for each in recwarn if "n_quantiles" in str(each.message)]


def test_tables_that_teach_nothing():
    X = np.random.default_rng(0).normal(size=(20, 2))
    table = HaloTable(X, X[:, 0], ("a", "b"))
    with pytest.raises(ShapeError, match=r"X \(H, 2\) and y \(H,\) for 2 names, got \(20, 2\) and \(5,\)"):
        HaloTable(X, X[:5, 0], ("a", "b"))
    with pytest.raises(ConfigError, match="call fit first"):
        Perceptron().predict(X)
    small = Perceptron(max_epochs=1, width=4, layers=1)
    for train in (HaloTable(X, np.ones(20), table.names), HaloTable(X * np.nan, table.y, table.names)):
        with pytest.raises(DataError, match="values of y that differ"):
            small.fit(train, table)
    with pytest.raises(DataError, match="two rows to train on or more and one to stop by, got 1 and 20"):
        small.fit(HaloTable(X[:1], table.y[:1], table.names), table)
    with pytest.raises(ShapeError, match=r"expected X \(H, 2\), as in training, got \(20, 1\)"):
        small.fit(table, table).predict(X[:, :1])


def line(regressor: str, inputs: str, width: float) -> Measured:
    return Measured("half_width", {"regressor": regressor, "inputs": inputs}, width, float("nan"), 0.05, "lower bound")


def test_what_counts_as_reproduced():
    lines = [line("ridge", "mass", 0.1), line("ridge", "mass", 0.12), line("ridge", "all scalars", 0.06)]
    lines += [line("mlp", "mass", 0.1), line("mlp", "all scalars", 0.08)]
    assert [is_met for _, is_met in pass_rules(lines)] == [True, False]
    assert pass_rules([]) == []


def test_a_run_in_small(tmp_path, capsys):
    config = ROOT / "configs" / "plugins" / "halos" / "galaxies.yaml"
    small = [f"--simulation.init_args.{each}" for each in ("num_halos=200", "num_particles=50", "seeds=1", "max_epochs=1")]
    assert main(["simulate", "--config", str(config), "--out", str(tmp_path), *small]) == 0
    printed = capsys.readouterr().out
    assert "| mlp | all scalars |" in printed and "mlp: all scalars at least 25 % below the mass alone: not met" in printed
    assert (tmp_path / "figure.png").is_file()
    with pytest.raises(ConfigError, match="regressors among ridge, mlp, got forest"):
        GalaxyFromHalo(["forest"])
