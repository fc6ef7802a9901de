"""Schedules by epochs and by steps, what they watch, clipped gradients, and fits that broke off, with either kind of net."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from gnet.errors import ConfigError
from gnet.training.callbacks import BestWeights, StopOnNonFinite, WriteCheckpoints
from gnet.training.data import GraphDataModule
from gnet.training.log_equivariance import LogEquivariance
from gnet.training.module import GNetModule
from gnet.training.symmetry import Coarsened
from gnet.training.trial import run_trial
from tests.end_to_end.stopping import StopAt, Stopped
from tests.training.own_files import EDGES, IDS, C, N, T, files, write
from tests.training.small import quiet_trainer, small_digits, small_module
from tests.training.test_callbacks import Remember, Spoil

SCHEDULERS = "torch.optim.lr_scheduler."
PLATEAU = {"class_path": "lightning.pytorch.cli.ReduceLROnPlateau", "init_args": {"monitor": "val_loss", "patience": 0}}
STEPS = {"class_path": f"{SCHEDULERS}StepLR", "init_args": {"step_size": 2, "gamma": 0.5}}
SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1.0}}
KINDS = ("gnet", "gru")


@pytest.fixture
def folder(tmp_path: Path, rng: torch.Generator) -> Path:
    """A series of two channels on five nodes."""
    (tmp_path / "edges.csv").write_text(EDGES)
    write(tmp_path, x=torch.randn(T, N, C, generator=rng).cumsum(0).numpy(), node_ids=np.array(IDS))
    return tmp_path


def module_of(kind: str, schedule: dict[str, Any] | None = None, optimizer: dict[str, Any] | None = None, **settings: Any):
    if kind == "gru":
        settings = {"symmetry": Coarsened(2), "architecture": "gru", "sampling_decay": 5.0, **settings}
    module = small_module(**settings)
    module.scheduler_config, module.optimizer_config = schedule, optimizer
    return module


def data_of(kind: str, folder: Path) -> GraphDataModule:
    """Three batches of training samples."""
    if kind == "gnet":
        return small_digits(batch_size=8)
    return files(folder, task="forecast", horizon_in=2, horizon_out=2, batch_size=12)


def rate(trainer: Any) -> float:
    return trainer.optimizers[0].param_groups[0]["lr"]


@pytest.mark.parametrize(
    ("kind", "interval", "accumulated", "halved"),
    [("gnet", "epoch", 1, 1), ("gnet", "step", 1, 3), ("gnet", "step", 3, 1), ("gru", "step", 1, 3)],
)
def test_a_schedule_counts_epochs_or_optimiser_steps(kind, interval, accumulated, halved, folder):
    """Two epochs of three batches: two epochs, six steps, or two steps of three batches each."""
    trainer = quiet_trainer(max_epochs=2, accumulate_grad_batches=accumulated)
    trainer.fit(module_of(kind, STEPS, lr=0.08, lr_interval=interval), datamodule=data_of(kind, folder))
    assert rate(trainer) == pytest.approx(0.08 * 0.5**halved)


def test_a_decay_after_many_steps(folder):
    """As lifting poses needs: 0.96 every 100 000 steps, here every 2."""
    schedule = {"class_path": f"{SCHEDULERS}StepLR", "init_args": {"step_size": 2, "gamma": 0.96}}
    trainer = quiet_trainer(max_epochs=3)
    trainer.fit(module_of("gnet", schedule, lr_interval="step"), datamodule=data_of("gnet", folder))
    assert rate(trainer) == pytest.approx(0.01 * 0.96 ** (9 // 2))


@pytest.mark.parametrize("monitor", ["val_loss", "train_loss"])
@pytest.mark.parametrize("every", [1, 2])
def test_a_plateau_is_shown_every_epoch_once(monitor, every, folder):
    schedule = {"class_path": PLATEAU["class_path"], "init_args": {"monitor": monitor, "patience": 0, "threshold": 10.0}}
    trainer = quiet_trainer(max_epochs=4, check_val_every_n_epoch=every)
    trainer.fit(module_of("gnet", schedule), datamodule=data_of("gnet", folder))
    shown = 4 if monitor == "train_loss" else 4 // every
    assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == shown
    assert rate(trainer) == pytest.approx(0.01 * 0.1**shown)  # nothing is better by a threshold of 10


class Lightnings(GNetModule):
    """A liar: shows a plateau its loss when Lightning does, behind the checkpoint."""

    def on_train_epoch_end(self) -> None: ...

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step(*() if metric is None else (metric,))


def resumed_as_undisturbed(make: Any, data: Any, folder: Path) -> list[str]:
    """Which parts of the last checkpoint differ between a fit that broke off and one that did not."""

    def run(name: str, *more: Any, **fit: Any) -> dict[str, Any]:
        best = BestWeights()
        # The patience outlasts the fit: nothing stops it, and its count is compared.
        stop = EarlyStopping("val_loss", patience=50)
        callbacks = [*more, stop, StopOnNonFinite(), WriteCheckpoints(best, every_seconds=0), best]
        root = folder / name
        trainer = quiet_trainer(*callbacks, max_epochs=5, default_root_dir=root, enable_checkpointing=True)
        if more:
            with pytest.raises(Stopped):
                trainer.fit(make(), datamodule=data(), **fit)
        else:
            trainer.fit(make(), datamodule=data(), **fit)
        return torch.load(root / "checkpoints" / "last.ckpt", weights_only=True)

    whole = run("whole")
    half = run("parts", StopAt(epoch=3))
    assert half["global_step"] == 9
    parts = run("parts", ckpt_path=folder / "parts" / "checkpoints" / "last.ckpt")
    assert len(whole["callbacks"]) == 2
    names = ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "epoch", "global_step")
    return [name for name in names if not same(whole[name], parts[name])]


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("schedule", "interval"), [(STEPS, "step"), (PLATEAU, "epoch")], ids=["steps", "plateau"])
def test_a_fit_that_broke_off_goes_on_as_if_it_had_not(kind, schedule, interval, folder):
    differ = resumed_as_undisturbed(
        lambda: module_of(kind, schedule, lr_interval=interval, lr=0.1), lambda: data_of(kind, folder), folder
    )
    assert differ == []


def test_a_plateau_that_is_shown_its_loss_behind_the_checkpoint_forgets_an_epoch(folder):
    def liar() -> Lightnings:
        module = Lightnings(symmetry=Coarsened(4, "patches"), hidden_channels=3, lr=0.1)
        module.scheduler_config = PLATEAU
        return module

    assert "lr_schedulers" in resumed_as_undisturbed(liar, lambda: data_of("gnet", folder), folder)


@pytest.mark.parametrize("kind", KINDS)
def test_early_stopping_leaves_the_best_weights(kind, folder):
    remember, best, stop = Remember(), BestWeights(), EarlyStopping("val_loss", patience=2)
    module, trainer = module_of(kind, lr=1e-3), quiet_trainer(Spoil(), stop, remember, best, max_epochs=50)
    trainer.fit(module, datamodule=data_of(kind, folder))
    losses = [loss for loss, _ in remember.epochs]
    number = losses.index(min(losses))
    assert len(losses) == number + 1 + 2 < 50
    assert (best.best, best.best_epoch) == (min(losses), number)
    for key, value in module.state_dict().items():
        assert torch.equal(value, remember.epochs[number][1][key])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("bound", "algorithm"), [(1e-3, "norm"), (1e-4, "value"), (None, None)])
def test_gradients_are_clipped(kind, bound, algorithm, folder):
    """One step of SGD with rate 1 moves the weights by the gradient; without a bound they move further."""
    moved = []
    for rate_of in (1e-30, 1.0):
        settings = {"gradient_clip_val": bound, "gradient_clip_algorithm": algorithm, "limit_train_batches": 1}
        module = module_of(kind, None, {**SGD, "init_args": {"lr": rate_of}}, keep="last")
        trainer = quiet_trainer(max_epochs=1, **settings)
        trainer.fit(module, datamodule=data_of(kind, folder))
        moved.append(torch.cat([parameter.detach().flatten() for parameter in module.parameters()]))
    step = moved[1] - moved[0]
    if bound is None:
        assert step.norm() > 2e-3
    elif algorithm == "norm":
        assert float(step.norm()) == pytest.approx(bound, rel=1e-2)
    else:
        assert float(step.abs().max()) == pytest.approx(bound, rel=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_clipped_in_mixed_precision_too(kind, folder):
    for bound in (None, 1.0):
        trainer = quiet_trainer(max_epochs=1, precision="bf16-mixed", gradient_clip_val=bound)
        trainer.fit(module_of(kind), datamodule=data_of(kind, folder))
        assert trainer.optimizers[0].defaults["fused"] == (bound is None)


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        (STEPS, {"gradient_clip_val": -1.0}, r"gradient_clip_val >= 0, or null for no clipping, got -1\.0"),
        (None, {"lr_interval": "step"}, "lr_interval='step' is the pace of a schedule, and there is none; give --lr_scheduler"),
        (PLATEAU, {"lr_interval": "step"}, "ReduceLROnPlateau looks at the loss of an epoch, so it needs lr_interval='epoch'"),
        (PLATEAU, {"limit_val_batches": 0}, "--lr_scheduler watches 'val_loss', expected one of train_loss, which a fit logs"),
        (
            {**PLATEAU, "init_args": {"monitor": "val_los"}},
            {},
            "--lr_scheduler watches 'val_los', expected one of val_loss, train_loss, which a fit logs; did you mean 'val_loss'",
        ),
        (
            {**STEPS, "init_args": {"step_size": 0}},
            {},
            "--lr_scheduler=StepLR cannot go on: integer modulo by zero; change its arguments",
        ),
        (
            {**STEPS, "init_args": {"gamma": 0.5}},
            {},
            r"--lr_scheduler=StepLR cannot be made with gamma=0\.5: .*missing 1 required .*'step_size'; change them",
        ),
        (
            {"class_path": f"{SCHEDULERS}OneCycleLR", "init_args": {"max_lr": 0.1, "total_steps": 3}},
            {"lr_interval": "step"},
            "--lr_scheduler=OneCycleLR cannot go on: Tried to step 4 times.*; change its arguments, or train for less",
        ),
        ({"class_path": f"{SCHEDULERS}LambdaLR"}, {}, "--lr_scheduler=LambdaLR takes a function, which no checkpoint can hold"),
        ({"class_path": "torch.nn.Linear"}, {}, r"--lr_scheduler expects a class of torch\.optim, got torch\.nn\.Linear"),
    ],
)
def test_what_cannot_train_is_refused(given, settings, message):
    own = {name: settings.pop(name) for name in ("lr_interval",) if name in settings}
    with pytest.raises(ConfigError, match=message):
        quiet_trainer(max_epochs=4, **settings).fit(module_of("gnet", given, **own), datamodule=small_digits())


def test_a_fused_optimiser_that_cannot_clip_is_refused():
    fused = {"class_path": "torch.optim.Adam", "init_args": {"fused": True}}
    with pytest.raises(ConfigError, match="a fused optimiser cannot clip gradients in precision bf16-mixed; leave --optimizer"):
        quiet_trainer(precision="bf16-mixed", gradient_clip_val=1.0).fit(
            module_of("gnet", None, fused), datamodule=small_digits()
        )


def test_callbacks_that_watch_nothing_are_refused_before_the_first_epoch():
    message = "EarlyStopping watches 'val_mae', expected one of val_loss, train_loss, which a fit logs; did you mean 'val_loss'"
    with pytest.raises(ConfigError, match=message):
        quiet_trainer(EarlyStopping("val_mae")).fit(small_module(), datamodule=small_digits())
    with pytest.raises(ConfigError, match="BestWeights watches 'val_los'"):
        quiet_trainer(BestWeights("val_los")).fit(small_module(), datamodule=small_digits())
    # What a callback logs may be watched, and a stranger's may log anything.
    for others in ([LogEquivariance(every=1), EarlyStopping("equivariance_error")], [Spoil(), EarlyStopping("a", strict=False)]):
        quiet_trainer(*others, max_epochs=1).fit(small_module(), datamodule=small_digits())


def test_a_trial_has_the_options_of_a_fit(folder):
    """Early stopping, a schedule by steps, a bound of gradients and mixed precision; recorders of a fit are left out."""
    callbacks = [
        {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val_loss", "patience": 1}},
        {"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"},
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint"},
        {"class_path": "gnet.training.callbacks.BestWeights"},
    ]
    trainer = {"max_epochs": 60, "accelerator": "cpu", "gradient_clip_val": 1.0, "precision": "bf16-mixed"}
    config = {
        "model": {"symmetry": Coarsened(4, "patches").as_config(), "hidden_channels": 3, "lr": 1.0, "lr_interval": "step"},
        "data": {"class_path": "gnet.training.data.Digits", "init_args": {"num_train": 20, "num_val": 11, "num_test": 23}},
        "trainer": {**trainer, "callbacks": callbacks},
        "lr_scheduler": STEPS,
    }
    trial = run_trial(config, threads=1)
    assert trial.module.trainer.current_epoch < 60
    assert rate(trial.module.trainer) < 1.0
    assert trial.module.trainer.optimizers[0].defaults["fused"] is False


@pytest.mark.parametrize("monitor", ["val_loss", "train_loss"])
def test_a_trial_logs_what_its_schedule_watches(monitor):
    config = {
        "model": {"symmetry": Coarsened(4, "patches").as_config(), "hidden_channels": 3},
        "data": {"class_path": "gnet.training.data.Digits", "init_args": {"num_train": 20, "num_val": 11, "num_test": 23}},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
        "lr_scheduler": {**PLATEAU, "init_args": {"monitor": monitor}},
    }
    trial = run_trial(config, threads=1)
    assert trial.module.trainer.lr_scheduler_configs[0].scheduler.last_epoch == 2
