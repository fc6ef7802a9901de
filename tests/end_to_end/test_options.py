"""The trainer's own options as a user types or writes them, for either kind of net, in a fit and in the trials of a study."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from gnet.cli import main, resolve_config
from tests.training.own_files import EDGES, IDS, C, N, T
from tests.training.test_optimizer import same

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("digits", "gru")
QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's series on five nodes."""
    folder = tmp_path_factory.mktemp("own")
    steps = torch.randn(T, N, C, generator=torch.Generator().manual_seed(0))
    np.savez(folder / "signals.npz", x=steps.cumsum(0).numpy() + 50, node_ids=np.array(IDS))
    (folder / "edges.csv").write_text(EDGES)
    return folder


def words(kind: str, own: Path) -> list[str]:
    if kind == "digits":
        counts = ["--data.num_train=20", "--data.num_val=11", "--data.num_test=23", "--data.batch_size=8"]
        return ["--config=gnet:digits", *counts, "--model.hidden_channels=3", *QUIET]
    data = ["--data=FromFiles", f"--data.root={own}", "--data.signals=signals.npz", "--data.edges=edges.csv"]
    task = ["--data.task=forecast", "--data.horizon_in=2", "--data.horizon_out=2", "--data.batch_size=12"]
    net = ["--model.architecture=gru", "--model.hidden_channels=4", "--model.sampling_decay=5", "--model.symmetry.num_clusters=2"]
    return [*data, *task, *net, *QUIET]


def options(folder: Path) -> Path:
    """A config with all of them."""
    stop = {"class_path": "EarlyStopping", "init_args": {"monitor": "val_loss", "patience": 2}}
    content: dict[str, Any] = {
        "trainer": {"max_epochs": 40, "callbacks": [stop], "gradient_clip_val": 1.0, "precision": "bf16-mixed"},
        "model": {"lr": 0.3, "lr_interval": "step"},
        "lr_scheduler": {"class_path": "StepLR", "init_args": {"step_size": 5, "gamma": 0.9}},
    }
    path = folder / "options.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def last(folder: Path, number: int = 0) -> dict[str, Any]:
    path = folder / "lightning_logs" / f"version_{number}" / "checkpoints" / "last.ckpt"
    return torch.load(path, weights_only=True)


def losses(folder: Path) -> list[float]:
    with open(folder / "lightning_logs" / "version_0" / "metrics.csv", newline="") as file:
        return [float(row["val_loss"]) for row in csv.DictReader(file) if row["val_loss"]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("written", [True, False], ids=["yaml", "typed"])
def test_all_of_them_in_a_fit(kind, written, own, tmp_path):
    typed = "--trainer.max_epochs=40 --trainer.callbacks=EarlyStopping --trainer.callbacks.monitor=val_loss "
    typed += "--trainer.callbacks.patience=2 --trainer.gradient_clip_val=1 --trainer.precision=bf16-mixed --model.lr=0.3 "
    typed += "--lr_scheduler=StepLR --lr_scheduler.step_size=5 --lr_scheduler.gamma=0.9 --model.lr_interval=step"
    given = [f"--config={options(tmp_path)}"] if written else typed.split()
    assert main(["fit", *words(kind, own), *given, f"--trainer.default_root_dir={tmp_path}"]) == 0
    content, seen = last(tmp_path), losses(tmp_path)
    best = content["callbacks"]["BestWeights[val_loss]"]
    assert len(seen) == best["best_epoch"] + 1 + 2 < 40
    assert best["best"] == pytest.approx(min(seen))
    assert content["lr_schedulers"][0]["last_epoch"] == content["global_step"] == 3 * len(seen)
    rate = content["optimizer_states"][0]["param_groups"][0]["lr"]
    assert rate == pytest.approx(0.3 * 0.9 ** (3 * len(seen) // 5))


def test_every_line_of_the_readme_is_understood():
    section = (ROOT / "README.md").read_text().partition("## Training options")[2].partition("\n## ")[0]
    lines = [line.partition("#")[0].split() for line in section.splitlines() if line.startswith("    --")]
    configs = [resolve_config(["--config=gnet:digits", *line]) for line in lines]
    assert [config["trainer"]["precision"] for config in configs].count("bf16-mixed") == 1
    assert sum(config["lr_scheduler"] is not None for config in configs) == 3
    assert len(lines) == 6


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_them_in_the_trials_of_a_study(kind, own, tmp_path, capsys):
    more = ["--clusters", "1", "--seeds", "1", "--baselines", "gcn", "--jobs", "0"]
    given = [each for each in words(kind, own) if "num_clusters" not in each]
    assert main(["study", *given, f"--config={options(tmp_path)}", *more, "--out", str(tmp_path / "out")]) == 0
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert all(np.isfinite(float(row["test_loss"])) for row in rows)
    assert not (tmp_path / "out" / "failures.csv").exists()


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_a_net_of_any_precision_is_tested_and_predicts(precision, own, tmp_path):
    given = [*words("gru", own), f"--trainer.precision={precision}", f"--trainer.default_root_dir={tmp_path}"]
    assert main(["fit", *given, "--trainer.max_epochs=1"]) == 0
    best = f"--ckpt_path={tmp_path / 'lightning_logs/version_0/checkpoints/best.ckpt'}"
    assert main(["test", *given, best]) == 0
    assert main(["predict", *given, best, f"--predictions.output={tmp_path / 'out.npz'}"]) == 0
    with np.load(tmp_path / "out.npz") as found:
        assert np.isfinite(found["predictions"]).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--trainer.callbacks=EarlyStopping", "EarlyStopping needs --trainer.callbacks.monitor"),
        ("--trainer.callbacks=EarlyStoping", "there is no class 'EarlyStoping'; did you mean EarlyStopping?"),
        (
            "--trainer.callbacks=EarlyStopping --trainer.callbacks.monitor=val_los",
            "EarlyStopping watches 'val_los', expected one of val_loss, train_loss, which a fit logs; did you mean 'val_loss'?",
        ),
        (
            "--trainer.callbacks=EarlyStopping --trainer.callbacks.monitor=val_loss --trainer.callbacks.mode=up",
            "Lightning refuses these settings: `mode` can be min, max, got up",
        ),
        ("--lr_scheduler=StepLR", "StepLR needs --lr_scheduler.step_size"),
        ("--lr_scheduler=ReduceLROnPlateau", "ReduceLROnPlateau needs --lr_scheduler.monitor"),
        ("--model.lr_interval=steps", "model.lr_interval: expected one of epoch, step, got 'steps'; did you mean step?"),
        ("--optimizer=SGD --optimizer.lr=abc", "optimizer.lr: expected float, got 'abc'"),
        ("--trainer.gradient_clip_val=-1", "expected --trainer.gradient_clip_val >= 0, or null for no clipping, got -1.0"),
        ("--trainer.gradient_clip_algorithm=foo", "Lightning refuses these settings: `gradient_clip_algorithm` foo is invalid"),
        ("--trainer.precision=bf17", "trainer.precision: expected one of"),
    ],
)
def test_bad_settings_are_explained(given, message, own, tmp_path, capsys):
    assert main(["fit", *words("digits", own), *given.split(), f"--trainer.default_root_dir={tmp_path}"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_fit_goes_on_as_if_it_had_not_been(own, tmp_path):
    """A recurrent net with scheduled sampling and a schedule by steps, killed within its third epoch."""
    common = [*words("gru", own), "--trainer.max_epochs=5", "--seed_everything=3", "--model.lr=0.1", "--model.lr_interval=step"]
    common += ["--lr_scheduler=StepLR", "--lr_scheduler.step_size=2", "--trainer.precision=64-true"]
    assert main(["fit", *common, f"--trainer.default_root_dir={tmp_path / 'whole'}"]) == 0
    kill = [
        "--trainer.callbacks=tests.end_to_end.stopping.StopAt",
        "--trainer.callbacks.epoch=2",
        "--trainer.callbacks.kill=true",
    ]
    command = [sys.executable, "train.py", "fit", *common, *kill, f"--trainer.default_root_dir={tmp_path / 'parts'}"]
    ended = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert last(tmp_path / "parts")["global_step"] < 3 * 2 + 1
    assert main(["fit", *common, f"--trainer.default_root_dir={tmp_path / 'parts'}", "--ckpt_path=last"]) == 0
    whole, parts = last(tmp_path / "whole"), last(tmp_path / "parts", 1)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step"):
        assert same(whole[part], parts[part]), part
    assert same(*(each["callbacks"]["BestWeights[val_loss]"] for each in (whole, parts)))
    assert all(value.dtype == torch.float64 for name, value in parts["state_dict"].items() if "batches_seen" not in name)
    assert int(whole["state_dict"]["net.batches_seen"]) == 15
