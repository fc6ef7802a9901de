"""The equivariance error of net and layers in the log of a fit: when, of what, by which name, and read back."""

import copy
import csv
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gnet.cli import main
from gnet.errors import ConfigError, DataError, GroupError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, SymmetricGroup, TrivialGroup
from gnet.measures import equivariance_error, layer_equivariance_errors
from gnet.nn import GNet
from gnet.plugins.tensors import SO, RepLinear, T
from gnet.randomness import derive_seed
from gnet.training.log_equivariance import LogEquivariance
from gnet.training.logged import read_equivariance_errors
from gnet.training.symmetry import Coarsened, Symmetric
from tests.training.small import quiet_trainer, small_digits, small_module

LAYERS = ["blocks.0.linear", "blocks.1.linear"]


def fit(tmp_path: Path, log: LogEquivariance, **settings) -> tuple[dict[str, list[tuple[int, float]]], object]:
    module = small_module(symmetry=Coarsened(4, "patches"))
    trainer = quiet_trainer(log, logger=CSVLogger(tmp_path, name=None, version=""), **{"log_every_n_steps": 1, **settings})
    trainer.fit(module, datamodule=small_digits(batch_size=5))  # 4 steps an epoch
    found = {
        (f"{name}/{layer}" if layer != "net" else name): list(zip(*(each.tolist() for each in values), strict=True))
        for name in ("equivariance_error", "reference_equivariance_error")[: 1 + (log.reference is not None)]
        for layer, values in read_equivariance_errors(tmp_path, name).items()
    }
    return found, module


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
    assert [step for step, _ in accumulated["equivariance_error"]] == [2, 4]


def test_the_first_training_batch_stands_in_for_validation(tmp_path: Path):
    log = LogEquivariance(every_steps=2)
    found, _ = fit(tmp_path, log, limit_val_batches=0)
    assert [step for step, _ in found["equivariance_error"]] == [2, 4, 6, 8]
    assert len(log._x) == 5


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"limit_val_batches": 0}, [4, 8, 12, 12]),
        ({"check_val_every_n_epoch": 2}, [4, 8, 12, 12]),
        ({"val_check_interval": 0.5}, [2, 4, 6, 8, 10, 12, 12]),
        ({}, [4, 8, 12, 12]),
    ],
    ids=["no validation", "in every other epoch", "twice an epoch", "once an epoch"],
)
def test_epochs_without_validation_are_logged_too(tmp_path: Path, settings: dict, steps: list[int], monkeypatch):
    """Each epoch once, or as often as it validates, and the end; Lightning counts steps from 0 but at the end."""
    log, calls = LogEquivariance(every=1), []
    monkeypatch.setattr(log, "measure", lambda module: calls.append(module) or LogEquivariance.measure(log, module))
    found, _ = fit(tmp_path, log, max_epochs=3, **settings)
    assert len(calls) == len(steps)
    assert [step + 1 for step, _ in found["equivariance_error"][:-1]] == steps[:-1]
    assert found["equivariance_error"][-1][0] == steps[-1]


def test_a_module_without_validation_is_logged_every_other_epoch(tmp_path: Path):
    log = LogEquivariance(every=2, group=SymmetricGroup(5))
    trainer = quiet_trainer(log, logger=CSVLogger(tmp_path, name=None, version=""), max_epochs=4, log_every_n_steps=1)
    trainer.fit(Called(copy.deepcopy(FREE)), DataLoader(TensorDataset(X), batch_size=4))  # 2 steps an epoch
    assert read_equivariance_errors(tmp_path)["net"][0].tolist() == [3, 7, 8]


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
    found = read_equivariance_errors(tmp_path / "lightning_logs" / "version_0", "reference_equivariance_error")
    assert set(LAYERS) <= set(found)
    assert {len(values) for _, values in found.values()} == {2}  # the epoch and the end, once each
    with open(tmp_path / "lightning_logs" / "version_0" / "metrics.csv", newline="") as file:
        assert "val_loss" in next(csv.reader(file))


class Foreign(LightningModule):
    """A stranger's module: no graph, no group, batches as a DataLoader makes them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.model = net

    def training_step(self, batch, batch_idx: int) -> torch.Tensor:
        x = batch["signal"] if isinstance(batch, dict) else batch[0] if isinstance(batch, list | tuple) else batch
        return self.model(x).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


class Called(Foreign):
    """One that can be called itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


X = torch.randn(8, 5, 1, generator=torch.Generator().manual_seed(0))
EQUIVARIANT = GNet(SymmetricGroup(5), 1, 3, 1, generator=torch.Generator().manual_seed(1))
FREE = GNet(TrivialGroup(5), 1, 3, 1, generator=torch.Generator().manual_seed(1))


def fit_foreign(tmp_path: Path, module: LightningModule, log: LogEquivariance, data) -> dict[str, list[float]]:
    trainer = quiet_trainer(log, logger=CSVLogger(tmp_path, name=None, version=""), max_epochs=1, log_every_n_steps=1)
    trainer.fit(module, DataLoader(data, batch_size=4))
    return {name: values.tolist() for name, (_, values) in read_equivariance_errors(tmp_path).items()}


@pytest.mark.parametrize(
    ("data", "inputs"),
    [
        (TensorDataset(X), None),
        (TensorDataset(X, X), None),
        (list(X), None),
        ([{"signal": x} for x in X], lambda batch: batch["signal"]),
    ],
    ids=["a tuple of one", "a pair", "tensors", "a dict"],
)
def test_anybodys_module_is_measured(tmp_path: Path, data, inputs):
    log = LogEquivariance(every_steps=1, layers=True, group=SymmetricGroup(5), net="model", inputs=inputs)
    found = fit_foreign(tmp_path / "free", Foreign(copy.deepcopy(FREE)), log, data)
    assert sorted(found) == ["blocks.0.linear", "blocks.1.linear", "net"]
    assert len(found["net"]) == 2 and all(value > 1e-3 for value in found["net"])
    log = LogEquivariance(every_steps=1, group=SymmetricGroup(5), net="model", inputs=inputs)
    assert max(fit_foreign(tmp_path / "kept", Foreign(copy.deepcopy(EQUIVARIANT)), log, data)["net"]) < 1e-12


def test_a_module_that_can_be_called_is_its_own_net(tmp_path: Path):
    pair = ClusterGroup(Partition([0, 0, 0, 0, 0]))
    log = LogEquivariance(every_steps=1, group=TrivialGroup(5), reference=pair)
    module = Called(copy.deepcopy(FREE))
    fit_foreign(tmp_path, module, log, TensorDataset(X))
    other = read_equivariance_errors(tmp_path, "reference_equivariance_error")
    assert read_equivariance_errors(tmp_path)["net"][1].max() == 0 < other["net"][1].min()
    expected = equivariance_error(
        copy.deepcopy(module.model).double(),
        X[:4].double(),
        pair,
        num_samples=8,
        generator=torch.Generator().manual_seed(derive_seed(0, "noise", "equivariance")),
    )
    assert other["net"][1][-1] == pytest.approx(expected.relative)


class Mean(nn.Module):
    """Over the nodes: a number for each sample."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1)


def test_numbers_out_are_not_moved(tmp_path: Path):
    module = Called(nn.Sequential(copy.deepcopy(EQUIVARIANT), Mean()))
    log = LogEquivariance(every_steps=1, group=SymmetricGroup(5), output="invariant")
    assert max(fit_foreign(tmp_path, module, log, TensorDataset(X))["net"]) < 1e-9


@pytest.mark.parametrize(
    ("settings", "kind", "data", "message"),
    [
        ({}, Called, TensorDataset(X), "does not know the group of a Called: give group=, and where needed net='name"),
        (
            {"group": SymmetricGroup(5)},
            Foreign,
            TensorDataset(X),
            r"without forward cannot be called; give net= one of \['model'\]",
        ),
        (
            {"group": SymmetricGroup(5), "net": "modle"},
            Foreign,
            TensorDataset(X),
            r"no 'modle' to measure, expected one of \['model'\]",
        ),
        ({"group": SymmetricGroup(5), "reference": Symmetric()}, Called, TensorDataset(X), "has no graph of which a rule"),
        ({"group": SymmetricGroup(5)}, Called, [{"signal": x} for x in X], "got dict of a dict; give inputs=lambda batch"),
    ],
)
def test_what_a_foreign_module_must_say(settings, kind, data, message):
    with pytest.raises(ConfigError, match=message):
        quiet_trainer(LogEquivariance(every_steps=1, **settings), max_epochs=1).fit(
            kind(EQUIVARIANT), DataLoader(data, batch_size=4)
        )


@pytest.mark.parametrize("layers", [True, {"last": (T(1) + T(2), T(1))}], ids=["all", "named"])
def test_layers_of_a_net_of_tensors_are_logged(tmp_path: Path, layers):
    """They state how a group of matrices moves what they take and return."""
    net = nn.Sequential()
    net.add_module("first", RepLinear(T(1), T(1) + T(2), SO(3)))
    net.add_module("last", RepLinear(T(1) + T(2), T(1), SO(3)))
    expected = ["first", "last"] if layers is True else ["last"]
    log = LogEquivariance(every_steps=1, group=SO(3), net="model", layers=layers)
    found = fit_foreign(tmp_path, Foreign(net), log, TensorDataset(torch.randn(8, 3)))
    assert sorted(found) == sorted([*expected, "net"])
    assert max(max(values) for values in found.values()) < 1e-9
    crooked = LogEquivariance(every_steps=1, group=SO(3), net="model", layers={"0": (None, None), "2": (None, None)})
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    found = fit_foreign(tmp_path / "free", Foreign(net), crooked, TensorDataset(torch.randn(8, 3)))
    assert sorted(found) == ["0", "2", "net"] and min(min(values) for values in found.values()) > 1e-3


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        (True, GroupError, r"SO\(3\) acts on no nodes, and no module of the Sequential states .* name the layers"),
        ({"7": (None, None)}, ConfigError, "the net has no layer '7'"),
    ],
)
def test_layers_that_cannot_be_measured_are_refused_before_any_training(layers, error, message):
    module = Foreign(nn.Sequential(nn.Linear(3, 3), nn.Tanh()))
    before = copy.deepcopy(module.state_dict())
    log = LogEquivariance(every=1, group=SO(3), net="model", layers=layers)
    with pytest.raises(error, match=message):
        quiet_trainer(log, max_epochs=1).fit(module, DataLoader(TensorDataset(torch.randn(8, 3)), batch_size=4))
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in before.items())


def test_what_cannot_be_read_or_set_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="expected every_steps >= 0, got -2"):
        LogEquivariance(every_steps=-2)
    with pytest.raises(DataError, match=r"expected a metrics\.csv, or the folder of a run"):
        read_equivariance_errors(tmp_path)
    for text in ("", "val_loss,step\n0.5,1\n"):
        (tmp_path / "metrics.csv").write_text(text)
        with pytest.raises(DataError, match=r"no column that starts with 'equivariance_error', .*LogEquivariance\(every=1\)"):
            read_equivariance_errors(tmp_path / "metrics.csv")
