"""A user's new files and a trained net: its units, rows without targets, a single row."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from gnet.cli import main
from gnet.training.callbacks import BestWeights, WriteCheckpoints
from gnet.training.checkpoint import load
from gnet.training.predict import WritePredictions
from gnet.training.symmetry import Symmetric
from tests.training.own_files import IDS, C, N, files, write
from tests.training.small import quiet_trainer, small_module


def trained(folder: Path, **options) -> Path:
    """The checkpoint of a net for the folder's files."""
    best = BestWeights()
    settings = {"enable_checkpointing": True, "default_root_dir": folder, "max_epochs": 3}
    quiet_trainer(best, WriteCheckpoints(best), **settings).fit(small_module(symmetry=Symmetric()), files(folder, **options))
    return folder / "checkpoints" / "best.ckpt"


def predicted(folder: Path, path: Path, *options: str) -> np.ndarray:
    """What the command writes, one prediction after the other."""
    arguments = [f"--data.root={folder}", "--data.signals=signals.npz", "--data.edges=edges.csv", *options]
    quiet = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={folder}"]
    output = f"--predictions.output={folder / 'p.csv'}"
    assert main(["predict", "--data=FromFiles", *arguments, *quiet, f"--ckpt_path={path}", output]) == 0
    with open(folder / "p.csv", newline="") as file:
        return np.array([float(row["prediction"]) for row in csv.DictReader(file)])


def expected(path: Path, x: np.ndarray) -> np.ndarray:
    return load(path).predict(torch.from_numpy(x).float()).flatten().numpy()


@pytest.mark.parametrize("count", [50, 1])
def test_gaps_are_the_mean_that_the_net_knows(folder: Path, x: np.ndarray, count: int):
    path = trained(folder)
    new = (x * 2 + 40)[7 : 7 + count]  # begins with a row with a gap
    assert np.isnan(new[0]).any()
    write(folder, x=new, node_ids=np.array(IDS))
    assert predicted(folder, path) == pytest.approx(expected(path, new), rel=1e-4, abs=1e-3)


def test_gaps_without_the_command(folder: Path, x: np.ndarray):
    path = trained(folder)
    write(folder, x=x * 2 + 40, node_ids=np.array(IDS))
    trainer = quiet_trainer(WritePredictions(str(folder / "p.npz")))
    trainer.predict(small_module(symmetry=Symmetric()), files(folder), return_predictions=False, ckpt_path=path)
    with np.load(folder / "p.npz") as found:
        assert found["predictions"].flatten() == pytest.approx(expected(path, x * 2 + 40), rel=1e-4, abs=1e-3)


def test_a_forecast_needs_no_more_rows_than_it_sees(folder: Path, x: np.ndarray, capsys: pytest.CaptureFixture[str]):
    options = {"task": "forecast", "horizon_in": 3, "horizon_out": 2}
    path = trained(folder, **options)
    new = x[5:8] + 3
    write(folder, x=new, node_ids=np.array(IDS))
    given = [f"--data.{name}={value}" for name, value in options.items()]
    windows = new.transpose(1, 0, 2).reshape(1, N, 3 * C)
    assert predicted(folder, path, *given) == pytest.approx(expected(path, windows), rel=1e-4, abs=1e-3)
    write(folder, x=new[:2], node_ids=np.array(IDS))
    with pytest.raises(AssertionError):
        predicted(folder, path, *given)
    assert "a forecast sees horizon_in=3 of them, got 2" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["node", "graph"])
@pytest.mark.parametrize("y", ["absent", "unknown"])
@pytest.mark.parametrize("count", [1, 9])
def test_regression_without_targets(folder: Path, x: np.ndarray, kind: str, y: str, count: int):
    x, shape = np.nan_to_num(x), (N, 1) if kind == "node" else (1,)
    write(folder, x=x, y=x[..., :1] * 2 if kind == "node" else x.sum(1)[:, :1], node_ids=np.array(IDS))
    path = trained(folder, task="regress")
    new = x[:count] + 1
    unknown = {} if y == "absent" else {"y": np.full((count, *shape), np.nan)}
    write(folder, x=new, node_ids=np.array(IDS), **unknown)
    assert predicted(folder, path, "--data.task=regress") == pytest.approx(expected(path, new), rel=1e-4, abs=1e-3)
