"""fit, validate, test, predict as a user types them."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import gnet
from gnet.cli import main
from gnet.training.checkpoint import load
from gnet.training.data import Digits

SMALL = [
    "--config=gnet:digits", "--data.num_train=20", "--data.num_val=11", "--data.num_test=23", "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run of three epochs."""
    root = tmp_path_factory.mktemp("fit")
    arguments = ["--trainer.max_epochs=3", "--model.hidden_channels=5", "--log_equivariance.every=2"]
    assert main(["fit", *SMALL, *arguments, f"--trainer.default_root_dir={root}"]) == 0
    return root


def test_a_trial_run_of_one_batch_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["--trainer.fast_dev_run=1", f"--trainer.default_root_dir={tmp_path}"]
    assert main(["fit", *SMALL, "--model.hidden_channels=3", *arguments]) == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert "checkpoints:" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def sgd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run of one epoch."""
    root = tmp_path_factory.mktemp("sgd")
    arguments = ["--trainer.max_epochs=1", "--model.hidden_channels=3", "--optimizer=SGD", "--optimizer.lr=0.1"]
    assert main(["fit", *SMALL, *arguments, f"--trainer.default_root_dir={root}"]) == 0
    return root


def run_of(folder: Path, number: int = 0) -> Path:
    return folder / "lightning_logs" / f"version_{number}"


def test_a_fit_leaves_config_metrics_and_two_checkpoints(folder: Path):
    run = run_of(folder)
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert {"config.yaml", "hparams.yaml", "metrics.csv", "checkpoints/last.ckpt", "checkpoints/best.ckpt"} <= names
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(bool(row["train_loss"]) for row in rows) == 3
    assert sum(bool(row["val_loss"]) for row in rows) == 3
    errors = [float(row["equivariance_error"]) for row in rows if row.get("equivariance_error")]
    assert len(errors) == 2
    assert max(errors) < 1e-12
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["hidden_channels"] == 5
    assert config["seed_everything"] == 0
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert min(float(row["val_loss"]) for row in rows if row["val_loss"]) < 10
    assert set(best["state_dict"]) == set(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])


def test_the_saved_config_gives_the_same_run(folder: Path, tmp_path: Path):
    assert main(["fit", f"--config={run_of(folder) / 'config.yaml'}", f"--trainer.default_root_dir={tmp_path}"]) == 0
    first, second = (
        torch.load(run_of(each) / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for each in (folder, tmp_path)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_best_checkpoint_is_tested_without_model_arguments(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    best = run_of(folder) / "checkpoints" / "best.ckpt"
    assert main(["test", *SMALL, f"--ckpt_path={best}", f"--trainer.default_root_dir={tmp_path}"]) == 0
    assert "test_loss" in capsys.readouterr().out
    with open(run_of(tmp_path) / "metrics.csv", newline="") as file:
        row = next(csv.DictReader(file))
    net, data = load(best), Digits(num_train=20, num_val=11, num_test=23)
    assert net.hyper_parameters["hidden_channels"] == 5
    x, y, _ = data.test_arrays()
    with torch.no_grad():
        assert float(row["test_loss"]) == pytest.approx(float((net(x) - y).square().mean()), rel=1e-4)


def test_words_best_and_last_find_the_newest_run(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["validate", *SMALL, "--ckpt_path=best", f"--trainer.default_root_dir={folder}"]) == 0
    assert main(["validate", *SMALL, "--ckpt_path=best", f"--trainer.default_root_dir={folder}/none"]) == 2
    assert "no best.ckpt under" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_nothing_is_measured_without_a_trained_net(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([command, *SMALL, f"--trainer.default_root_dir={tmp_path}"]) == 2
    assert f"{command} needs a trained net: --ckpt_path best" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--data.mask_side=3", "--data.mask_side is 3, but .*last.ckpt was trained with 4; leave --data.mask_side out, or train"),
        ("--data.num_train=30", "--data.num_train is 30, but .* was trained with 20"),
        ("--data=Planted", "--data is gnet.training.Planted, but .* was trained with gnet.training.*Digits; leave --data out"),
        (
            "--optimizer=SGD --optimizer.lr=0.2",
            "--optimizer.lr is 0.2, but .* was trained with 0.1; leave --optimizer.lr out, or train anew",
        ),
    ],
)
def test_a_fit_goes_on_with_its_own_data_and_optimiser(
    sgd: Path, argument: str, message: str, capsys: pytest.CaptureFixture[str]
):
    arguments = ["--config=gnet:digits", *SMALL[4:], "--trainer.max_epochs=2", f"--trainer.default_root_dir={sgd}"]
    assert main(["fit", *arguments, "--ckpt_path=last", *argument.split()]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_fit_goes_on_without_repeating_what_it_was_given(sgd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = [*SMALL[4:], "--trainer.max_epochs=2", f"--trainer.default_root_dir={tmp_path}", "--data.batch_size=10"]
    last = f"--ckpt_path={run_of(sgd) / 'checkpoints' / 'last.ckpt'}"
    for number, config in enumerate((["--config=gnet:digits"], [])):
        assert main(["fit", *config, *arguments, last, "--optimizer=SGD", "--optimizer.lr=0.1"]) == 0
        data = yaml.safe_load((run_of(tmp_path, number) / "config.yaml").read_text())["data"]["init_args"]
        assert (data["num_train"], data["num_test"], data["batch_size"]) == (20, 23, 10)
        noted = re.search(r"note: .*num_train.* of the data are those of .*last\.ckpt", capsys.readouterr().err)
        assert bool(noted) == bool(config)


def test_predictions_are_written_where_asked_and_agree_with_load(folder: Path, tmp_path: Path):
    best, out = run_of(folder) / "checkpoints" / "best.ckpt", tmp_path / "out.npz"
    arguments = [f"--ckpt_path={best}", f"--predictions.output={out}", f"--trainer.default_root_dir={tmp_path}"]
    assert main(["predict", *SMALL, *arguments]) == 0
    data = Digits(num_train=20, num_val=11, num_test=23)
    expected = load(best).predict(data.scaling.x.inverse(data.predict_arrays().x))
    with np.load(out) as found:
        assert np.allclose(found["predictions"], expected, atol=1e-5)
        assert found["nodes"].tolist() == data.node_ids


@pytest.mark.parametrize("arguments", [["--optimizer=torch.optim.LBFGS", "--optimizer.lr=0.5"], ["--lr_scheduler=StepLR", "--lr_scheduler.step_size=1", "--optimizer=SGD", "--optimizer.lr=1e-2"]])  # fmt: skip  # noqa: E501
def test_optimisers_and_schedulers_by_name(tmp_path: Path, arguments: list[str]):
    common = [*SMALL, "--model.hidden_channels=3", f"--trainer.default_root_dir={tmp_path}"]
    assert main(["fit", *common, "--trainer.max_epochs=2", *arguments]) == 0
    last = run_of(tmp_path) / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    rate = content["optimizer_states"][0]["param_groups"][0]["lr"]
    assert rate == pytest.approx(0.5 if "LBFGS" in arguments[0] else 1e-4)
    assert main(["fit", *common, "--trainer.max_epochs=3", f"--ckpt_path={last}"]) == 0


def test_a_second_fit_goes_to_a_fresh_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    common = [*SMALL, "--trainer.max_epochs=1", "--model.hidden_channels=3", f"--trainer.default_root_dir={tmp_path}"]
    assert main(["fit", *common]) == main(["fit", *common]) == 0
    assert run_of(tmp_path, 0).is_dir()
    assert run_of(tmp_path, 1).is_dir()
    without = [*common, "--trainer.logger=false"]
    assert main(["fit", *without]) == 0
    assert main(["fit", *without]) == 2
    assert "holds an earlier run (config.yaml); go on with it by --ckpt_path" in capsys.readouterr().err
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert main(["fit", *without, f"--ckpt_path={last}", "--trainer.max_epochs=2"]) == 0


def test_gnet_load_is_public(folder: Path):
    assert gnet.load is load


def test_a_users_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The example that README and config describe, in the files that ``configs/custom/sample.py`` writes."""
    config = Path(__file__).parents[2] / "configs" / "custom" / "signals.yaml"
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, config.with_name("sample.py")], check=True)
    common = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    assert main(["fit", f"--config={config}", *common, "--trainer.max_epochs=3"]) == 0
    assert main(["predict", f"--config={config}", *common, "--ckpt_path=best", "--predictions.output=readings.csv"]) == 0
    with open("readings.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open("signals.csv", newline="") as file:
        given = [(row["time"], node, row[node]) for row in csv.DictReader(file) for node in row if node != "time"]
    assert [(row["sample"], row["node"]) for row in rows] == [(time, node) for time, node, _ in given]
    assert 200 < sum(not reading for _, _, reading in given) < 400
    for row, (_, _, reading) in zip(rows, given, strict=True):
        assert row["observed"] == str(int(reading != ""))
        assert float(row["filled"]) == float(reading or row["prediction"])


@pytest.mark.parametrize("symmetry", [["Automorphism"], ["Grid", "--model.symmetry.kind=flips"]], ids=lambda words: words[0])
def test_any_permutation_group_from_the_command_line(symmetry: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The image configs train the published numbers, which only cluster groups have; one message says what to give instead."""
    words = ["fit", *SMALL, "--trainer.max_epochs=1", f"--trainer.default_root_dir={tmp_path}", "--model.symmetry", *symmetry]
    assert main(words) != 0
    assert "give parametrization='canonical' and init='white'" in capsys.readouterr().err
    assert main([*words, "--model.parametrization=canonical", "--model.init=white"]) == 0
    net = load(run_of(tmp_path, 1) / "checkpoints" / "best.ckpt")  # the refused run has a folder, too
    assert net.group is not None
    assert net.group.order() == {"Automorphism": 8, "Grid": 4}[symmetry[0]]
    x = torch.randn(2, 64, 1)
    for g in net.group.generators:
        torch.testing.assert_close(net(net.group.act(g, x)), net.group.act(g, net(x)), atol=1e-5, rtol=1e-4)
