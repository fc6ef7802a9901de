"""Fits by Lightning in the processes of a team, and what they leave behind."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping

from gnet.training.callbacks import BestWeights, StopOnNonFinite, WriteCheckpoints
from gnet.training.data import Digits
from gnet.training.log_equivariance import LogEquivariance
from gnet.training.module import GNetModule
from gnet.training.symmetry import Coarsened


class InTeam(LightningEnvironment):
    """The processes are there and joined."""

    def __init__(self, rank: int, size: int) -> None:
        super().__init__()
        self._global_rank, self._world_size, self.size = rank, size, size

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return self.global_rank()

    def set_world_size(self, size: int) -> None:
        pass

    def world_size(self) -> int:
        return self.size

    def teardown(self) -> None:
        pass


class PartlyMasked(Digits):
    """Digits whose targets count unevenly: many entries of the first samples, few of the last."""

    def build(self) -> Any:
        prepared = super().build()
        for samples in prepared.samples.values():
            share = torch.linspace(0.95, 0.05, len(samples))[:, None, None]
            samples.batch = samples.batch._replace(
                mask=torch.rand(samples.batch.mask.shape, generator=torch.Generator().manual_seed(1)) < share
            )
        return prepared


class Diary(StopOnNonFinite):
    """Keeps the batches and losses that a fit saw; with ``poison`` one process puts NaN into a batch."""

    def __init__(self, poison: bool = False) -> None:
        self.poison, self.sizes, self.losses = poison, [], []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.sizes.append(len(batch.x))
        if self.poison and trainer.global_rank == 1 and trainer.current_epoch == 1:
            batch.x.fill_(torch.nan)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.losses.append(float(outputs["loss"]))


def fit(rank: int, size: int, folder: str, data: dict[str, Any], model: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Fit and test in ``size`` processes; with one, without any process group's help."""
    kind: type[GNetModule] = settings.pop("kind", GNetModule)
    callbacks: list[Any] = [Diary(settings.pop("poison", False)), *(make() for make in settings.pop("callbacks", []))]
    best = BestWeights()
    if settings.pop("checkpoints", False):
        callbacks.append(WriteCheckpoints(best, every_seconds=0.0))
    module = kind(**{"symmetry": Coarsened(4, "patches"), "hidden_channels": 3, "seed": 5, **model})
    datamodule = PartlyMasked(**{"num_train": 20, "num_val": 11, "num_test": 13, "seed": 2, "batch_size": 8, **data})
    many = {"strategy": "ddp", "devices": size, "plugins": [InTeam(rank, size)]} if size > 1 else {"devices": 1}
    trainer = Trainer(
        **{"max_epochs": 3, "accelerator": "cpu", "logger": False, "enable_progress_bar": False, **many, **settings},
        enable_checkpointing=any(isinstance(each, WriteCheckpoints) for each in callbacks),
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[*callbacks, best],
    )
    error = ""
    try:
        trainer.fit(module, datamodule=datamodule)
    except ArithmeticError as stopped:
        error = str(stopped)
    found = {
        "sizes": callbacks[0].sizes,
        "losses": callbacks[0].losses,
        "fitted": {name: float(value) for name, value in trainer.callback_metrics.items()},
        "best": (best.best, best.best_epoch),
        "epochs": trainer.current_epoch,
        "weights": {name: value.clone() for name, value in module.state_dict().items()},
        "files": sorted(path.name for path in Path(folder).rglob("*.ckpt")),
        "error": error,
    }
    if not error:
        trainer.test(module, datamodule=datamodule, verbose=False)
        found["tested"] = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return found


def fit_in_team(rank: int, size: int, folder: str, data: dict[str, Any], model: dict[str, Any], settings: Any) -> dict[str, Any]:
    return fit(rank, size, folder, data, model, **settings)


def early_stopping() -> EarlyStopping:
    return EarlyStopping("val_loss", min_delta=0.3, patience=1)


def equivariance() -> LogEquivariance:
    return LogEquivariance(every=1, reference=Coarsened(1, "patches"))


class AveragedPerProcess(GNetModule):
    """A liar: every process takes the mean over its own entries, and the gradients are averaged."""

    def _step(self, batch: Any, stage: Any) -> Any:
        output = self(batch.x)
        loss = self.errors(output, batch).sum() / max(self.counted(batch.mask), 1)
        self._log_mean(f"{stage}_loss", loss, self.counted(batch.mask))
        return loss, output
