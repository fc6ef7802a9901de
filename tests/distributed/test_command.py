"""The command line with several processes: what a user types leaves what one process leaves."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gnet.cli import main

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "--config=gnet:digits", "--data.num_train=19", "--data.num_val=21", "--data.num_test=23", "--data.batch_size=10",
    "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
]  # fmt: skip
TWO = ["--trainer.strategy=ddp", "--trainer.devices=2"]


def typed(*arguments: str) -> str:
    """What ``python train.py`` prints; both its processes are in it."""
    command = [sys.executable, "train.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def columns(folder: Path, name: str) -> list[float]:
    with open(folder / "lightning_logs/version_0/metrics.csv", newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


@pytest.mark.slow
def test_fit_and_predict_with_two_processes(tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    model = ["--model.hidden_channels=4", "--trainer.max_epochs=2"]
    assert main(["fit", *SMALL, *model, f"--trainer.default_root_dir={one}"]) == 0
    printed = typed("fit", *SMALL, *model, *TWO, f"--trainer.default_root_dir={two}")
    assert printed.count("best val_loss") == 1
    assert printed.count("checkpoints: ") == 1
    for name in ("train_loss", "val_loss"):
        assert columns(two, name) == pytest.approx(columns(one, name), rel=1e-5)
    assert [path.name for path in two.glob("lightning_logs/*")] == ["version_0"]
    files = sorted(path.name for path in two.rglob("*.ckpt"))
    assert files == ["best.ckpt", "last.ckpt"]
    first, second = (
        torch.load(each / "lightning_logs/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for each in (one, two)
    )
    assert first.keys() == second.keys()
    assert all(torch.allclose(first[name], second[name], atol=1e-4) for name in first)

    best = two / "lightning_logs/version_0/checkpoints/best.ckpt"
    for folder, also in ((one, []), (two, TWO)):
        output = [f"--predictions.output={folder / 'all.npz'}", f"--trainer.default_root_dir={folder}"]
        arguments = ["predict", *SMALL, f"--ckpt_path={best}", *also, *output]
        assert main(arguments) == 0 if not also else typed(*arguments).count("predictions of 23 samples") == 1
    with np.load(one / "all.npz") as alone, np.load(two / "all.npz") as together:
        assert alone["samples"].tolist() == together["samples"].tolist()
        np.testing.assert_allclose(together["predictions"], alone["predictions"], atol=1e-5)
        np.testing.assert_array_equal(together["targets"], alone["targets"])


@pytest.mark.parametrize(
    "setting", ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.num_nodes=2", "--trainer.strategy=ddp_spawn"]
)
def test_a_trial_of_a_study_is_one_process(setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["study", *SMALL, "--clusters", "1", setting, "--out", str(tmp_path / "study"), "--jobs", "0"]) == 2
    name = setting.partition("=")[0]
    assert f"a trial of a study is one process, so leave {name} out" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()
