"""The equivariance error of net and layers in the log of a fit: when, of what, by which name, and read back."""

import csv
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger

from gnet.cli import main
from gnet.errors import ConfigError, DataError
from gnet.measures import layer_equivariance_errors
from gnet.training.callbacks import LogEquivariance, read_equivariance_errors
from gnet.training.symmetry import Coarsened, Symmetric
from tests.training.small import quiet_trainer, small_digits, small_module

LAYERS = ["blocks.0.linear", "blocks.1.linear"]


def fit(tmp_path: Path, log: LogEquivariance, **settings) -> tuple[dict[str, list[tuple[int, float]]], object]:
    module = small_module(symmetry=Coarsened(4, "patches"))
    trainer = quiet_trainer(log, logger=CSVLogger(tmp_path, name=None, version=""), **{"log_every_n_steps": 1, **settings})
    trainer.fit(module, datamodule=small_digits(batch_size=5))  # 4 steps an epoch
    return read_equivariance_errors(tmp_path), module


def test_layers_are_logged_beside_the_net(tmp_path: Path):
    log = LogEquivariance(every=1, reference=Symmetric(), layers=True)
    found, module = fit(tmp_path, log)
    own, other = "equivariance_error", "reference_equivariance_error"
    assert sorted(found) == sorted([own, other, *(f"{name}/{layer}" for name in (own, other) for layer in LAYERS)])
    assert {len(values) for values in found.values()} == {3}  # two epochs and the end
    for name, values in found.items():
        assert all(value < 1e-12 if name.startswith(own) else value > 1e-3 for _, value in values), name
    group = Symmetric()(module.domain.graph, module.domain.grid_shape)
    x = log._x.double()
    for each in layer_equivariance_errors(module.net.double(), x, group):
        assert found[f"{other}/{each.name}"][-1][1] == pytest.approx(each.error.relative)


def test_steps_are_counted(tmp_path: Path):
    found, _ = fit(tmp_path, LogEquivariance(every_steps=3), log_every_n_steps=4)
    assert [step for step, _ in found["equivariance_error"]] == [3, 6, 8]  # and the end
    accumulated, _ = fit(tmp_path / "two", LogEquivariance(every_steps=2), accumulate_grad_batches=2)
    assert [step for step, _ in accumulated["equivariance_error"]] == [2, 4, 4]


def test_the_first_training_batch_stands_in_for_validation(tmp_path: Path):
    log = LogEquivariance(every_steps=2)
    found, _ = fit(tmp_path, log, limit_val_batches=0)
    assert len(found["equivariance_error"]) == 5  # steps 2, 4, 6, 8 and the end
    assert len(log._x) == 5


def test_the_net_trains_on_as_if_nobody_had_looked(tmp_path: Path):
    nets = []
    for log in (LogEquivariance(every=1, every_steps=1, layers=True), LogEquivariance()):
        torch.manual_seed(0)
        nets.append(fit(tmp_path / str(len(nets)), log)[1])
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(one, other)
    assert nets[0].training == nets[1].training


@pytest.mark.parametrize(("monitor", "known"), [("equivariance_error/blocks.1.linear", True), ("equivariance/blocks.1", False)])
def test_a_layer_may_be_watched(monitor: str, known: bool):
    log = LogEquivariance(every=1, layers=True)
    trainer = quiet_trainer(log, EarlyStopping(monitor), max_epochs=1, num_sanity_val_steps=0)
    if known:
        trainer.fit(small_module(), datamodule=small_digits())
        assert monitor in trainer.callback_metrics
    else:
        with pytest.raises(ConfigError, match=f"EarlyStopping watches '{monitor}', expected one of"):
            trainer.fit(small_module(), datamodule=small_digits())


def test_the_command_line_takes_it_among_the_trainer_s_callbacks(tmp_path: Path):
    small = [
        "--config=gnet:digits",
        "--data.num_train=20",
        "--data.num_val=11",
        "--data.num_test=23",
        "--trainer.accelerator=cpu",
    ]
    small += ["--trainer.enable_progress_bar=false", "--trainer.max_epochs=1", "--model.hidden_channels=3"]
    extra = ["--trainer.callbacks=LogEquivariance", "--trainer.callbacks.every=1", "--trainer.callbacks.layers=true"]
    extra += ["--trainer.callbacks.reference=Symmetric"]
    assert main(["fit", *small, *extra, f"--trainer.default_root_dir={tmp_path}"]) == 0
    found = read_equivariance_errors(tmp_path / "lightning_logs" / "version_0")
    assert {f"reference_equivariance_error/{layer}" for layer in LAYERS} <= set(found)
    assert {len(values) for values in found.values()} == {2}  # the epoch and the end, once each
    with open(tmp_path / "lightning_logs" / "version_0" / "metrics.csv", newline="") as file:
        assert "val_loss" in next(csv.reader(file))


def test_what_cannot_be_read_or_set_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="expected every_steps >= 0, got -2"):
        LogEquivariance(every_steps=-2)
    with pytest.raises(DataError, match=r"expected a metrics\.csv, or the folder of a run"):
        read_equivariance_errors(tmp_path)
    for text in ("", "val_loss,step\n0.5,1\n"):
        (tmp_path / "metrics.csv").write_text(text)
        with pytest.raises(DataError, match=r"no equivariance error; fit with --log_equivariance\.every=1"):
            read_equivariance_errors(tmp_path / "metrics.csv")
