"""The tables run from their configs, in small; the user's files take the place of what is drawn; rules can fail."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch_geometric.data import Data
from torch_geometric.io import write_off

from gnet.cli import main
from gnet.errors import ConfigError, ShapeError
from gnet.plugins.point_clouds import coulomb_matrix, random_molecules
from gnet.plugins.point_clouds.experiment import CloudDistances
from gnet.plugins.point_clouds.spectra import CoulombSpectra
from gnet.plugins.point_clouds.spectrum_models import SortedRows
from gnet.study.simulate import Measured

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "plugins" / "point_clouds"


def arguments(**settings: object) -> list[str]:
    return [f"--simulation.init_args.{name}={value}" for name, value in settings.items()]


def test_distances_in_small(tmp_path, capsys):
    small = arguments(seeds=2, epochs=2, num=3, num_points=12)
    assert main(["simulate", "--config", str(CONFIGS / "distances.yaml"), "--out", str(tmp_path), *small]) == 0
    text = capsys.readouterr().out
    assert "| all products |" in text and "| graph net |" in text and "median test Spearman of 3 centroids" in text
    assert (tmp_path / "figure.png").is_file()


def test_the_order_of_distances_is_learned_and_reproducible():
    experiment = CloudDistances(["gram_gnn"], seeds=1, epochs=150, num=10, num_points=30)
    lines = {line.quantity: line for line in experiment.run()}
    assert lines["spearman_train"].measured > 0.9 and lines["spearman_test"].measured > 0.6
    train, test = experiment.clouds(0)
    assert not torch.equal(train[0], test[0]) and not torch.equal(train[0], experiment.clouds(1)[0][0])
    short = CloudDistances(["kmeans"], seeds=1, epochs=3, num=3, num_points=12)
    values = [[line.measured for line in short.run() if line.quantity != "seconds"] for _ in range(2)]
    assert values[0] == values[1]


def test_rules_can_fail():
    experiment = CloudDistances(["all", "kmeans"], seeds=3)

    def lines(correlations: list[float]) -> list[Measured]:
        settings = [{"model": model, "seed": str(seed)} for model in experiment.models for seed in range(3)]
        quantities = ("spearman_train", "spearman_test", "mse_test", "seconds")
        return [
            Measured(each, setting, value, 0.0, 0.0)
            for setting, value in zip(settings, correlations, strict=True)
            for each in quantities
        ]

    text = experiment.summary(lines([0.9, 0.96, 0.97, 0.2, 0.59, 0.9]))
    assert "all products at least 0.95: 0.960, met" in text and "3 centroids at least 0.6: 0.590, not met" in text
    assert "| all products | 0.900, 0.960, 0.970 |" in text


def test_meshes_of_the_user(tmp_path):
    face = torch.tensor([[0, 0, 0, 1], [1, 1, 2, 2], [2, 3, 3, 3]])
    for number, (category, split) in enumerate((c, s) for c in ("bed", "car") for s in ("train", "test")):
        folder = tmp_path / category / split
        folder.mkdir(parents=True)
        for mesh in range(2):
            corners = torch.eye(4)[:, :3] * torch.tensor([1.0, 2.0 + mesh, 3.0 + number])
            write_off(Data(pos=corners, face=face), str(folder / f"{category}_{mesh}.off"))
    experiment = CloudDistances(["kmeans"], seeds=1, epochs=1, num=2, num_points=10, modelnet_root=str(tmp_path))
    assert len(experiment.run()) == 4
    with pytest.raises(ConfigError, match="models among all, kmeans, gram_gnn, got 'pointnet'"):
        CloudDistances(["pointnet"])
    with pytest.raises(ConfigError, match="num >= 2"):
        CloudDistances(num=1)


def test_spectra_in_small(tmp_path, capsys):
    small = arguments(seeds=1, num_train=40, num_val=10, num_test=20, num_atoms=4, hidden=8, epochs=2)
    assert main(["simulate", "--config", str(CONFIGS / "coulomb.yaml"), "--out", str(tmp_path), *small]) == 0
    text = capsys.readouterr().out
    assert "| what is seen | largest | gap | roots | mean | seconds |" in text and "not met" in text
    assert (tmp_path / "figure.png").is_file()


def test_spectra_are_learned():
    options = {"seeds": 1, "num_train": 300, "num_val": 50, "num_test": 100, "num_atoms": 4, "hidden": 32, "epochs": 30}
    found = {
        (line.settings["model"], line.quantity): line.measured
        for line in CoulombSpectra(["all", "eigenvalues"], batch_size=50, **options).run()
    }
    assert found["all", "mean"] < 0.5 and found["eigenvalues", "mean"] < 0.3


def test_the_file_of_qm7b_takes_their_place(tmp_path):
    made = random_molecules(40, 5, torch.Generator().manual_seed(0))
    X = coulomb_matrix(made.charges, made.positions).numpy()
    X[:20, 4] = X[:20, :, 4] = 0.0  # smaller molecules, filled up
    savemat(tmp_path / "qm7b.mat", {"X": X, "T": np.arange(560.0).reshape(40, 14) ** 1.1})
    options = {"hidden": 4, "epochs": 1, "batch_size": 7, "expansion": 0.1, "qm7b": str(tmp_path / "qm7b.mat")}
    experiment = CoulombSpectra(["all", "sorted"], seeds=2, **options)
    tests = [test[1] for *_, test in experiment.parts()]
    assert [len(each) for each in tests] == [4, 4] and not torch.equal(*tests)
    lines = experiment.run()
    assert {line.quantity for line in lines} == {*(f"target {number}" for number in range(1, 15)), "mean", "seconds"}
    assert "| sorted rows |" in experiment.summary(lines) and "met" not in experiment.summary(lines)
    with pytest.raises(ConfigError, match="at most 10 seeds with QM7b"):
        CoulombSpectra(seeds=11, qm7b="x")
    with pytest.raises(ConfigError, match="models among all, sets, sorted, eigenvalues, got 'forest'"):
        CoulombSpectra(["forest"])
    with pytest.raises(ConfigError, match="num_atoms >= 2"):
        CoulombSpectra(num_atoms=1)


@pytest.mark.parametrize("spectrum", [False, True])
def test_sorted_rows_do_not_see_the_order(spectrum, rng):
    X = torch.randn(3, 5, 5, dtype=torch.float64, generator=rng)
    X = X + X.mT
    net, perm = SortedRows(6, 8, 2, spectrum).double(), [2, 0, 1, 4, 3]
    moved = [each[perm][:, perm] for each in X]
    torch.testing.assert_close(net.features(moved), net.features(list(X)), rtol=1e-9, atol=1e-9)
    assert net.features(moved).shape == (3, 6 if spectrum else 21)
    # A batch of molecules that are all smaller is one tensor.
    torch.testing.assert_close(net(X), net(list(X)))
    with pytest.raises(ShapeError, match=r"n <= 6, got \(1, 7, 7\)"):
        net(torch.ones(1, 7, 7, dtype=torch.float64))
    # The liars: the upper triangle as it stands, and the diagonal.
    i, j = torch.triu_indices(5, 5)
    assert float((torch.stack(moved)[:, i, j] - X[:, i, j]).abs().max()) > 1e-6
    if spectrum:
        shown = [torch.diagonal(torch.stack(each), dim1=-2, dim2=-1) for each in (moved, list(X))]
        assert float((shown[0] - shown[1]).abs().max()) > 1e-6
    if not spectrum:
        ordered = net.features(list(X))
        full = torch.zeros(3, 6, 6, dtype=torch.float64)
        i, j = torch.triu_indices(6, 6)
        full[:, i, j] = full[:, j, i] = ordered
        assert bool((full.norm(dim=-1).diff() <= 0).all())
        torch.testing.assert_close(torch.linalg.eigvalsh(full).sum(-1), torch.einsum("bii->b", X))
