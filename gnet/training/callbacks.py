"""Callbacks: keep the best weights in memory, write checkpoints, stop on NaN."""

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from gnet.distributed import num_processes
from gnet.distributed.collectives import any_process
from gnet.errors import NonFiniteError

if TYPE_CHECKING:
    pass


class BestWeights(Callback):
    """Keeps a copy of the weights with the lowest ``monitor`` in memory, and puts them back when the fit ends or breaks off.

    Its state enters every checkpoint, so a resumed fit still knows the best epoch of the part before. Nothing happens without
    a validation split, or where the module says ``keep="last"``.

    Example:
        >>> BestWeights().best
        inf
    """

    def __init__(self, monitor: str = "val_loss") -> None:
        self.monitor = monitor
        self.best, self.best_epoch = math.inf, -1
        self.weights: dict[str, Tensor] = {}

    @property
    def state_key(self) -> str:
        """One state for each monitored value."""
        return f"BestWeights[{self.monitor}]"

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the weights if this epoch is the best so far."""
        value = trainer.callback_metrics.get(self.monitor)
        if trainer.sanity_checking or trainer.state.fn != "fit" or value is None or pl_module.hparams.get("keep") == "last":
            return
        if float(value) < self.best:
            self.best, self.best_epoch = float(value), trainer.current_epoch
            self._copy(pl_module)

    def _copy(self, pl_module: LightningModule) -> None:
        for key, value in pl_module.state_dict().items():
            if key in self.weights:
                self.weights[key].copy_(value)
            else:
                self.weights[key] = value.detach().clone()

    def restore(self, pl_module: LightningModule) -> None:
        """Put the best weights into the module; does nothing before the first validation."""
        if self.weights:
            pl_module.load_state_dict(self.weights)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The fit is over: keep its best epoch."""
        self.restore(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """The fit broke off: what was reached so far is kept."""
        if trainer.state.fn == "fit":
            self.restore(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Value, epoch and weights."""
        return {"best": self.best, "best_epoch": self.best_epoch, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of ``state_dict``."""
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]
        self.weights = {key: value.clone() for key, value in state_dict["weights"].items()}


class WriteCheckpoints(Checkpoint):
    """Writes ``checkpoints/last.ckpt``, to resume from, and ``checkpoints/best.ckpt``, in the folder of the run.

    A net with dense layers takes longer to write than to train for an epoch, so the files are written at most every
    ``every_seconds``, and always when the fit ends or breaks off. ``best.ckpt`` holds the weights of ``best``. A trial run
    (``fast_dev_run``) writes nothing.

    Args:
        best: the callback that keeps the best weights.
        every_seconds: pause between two writings; 0 writes after every epoch.

    Example:
        >>> WriteCheckpoints(BestWeights()).every_seconds
        10.0
    """

    def __init__(self, best: BestWeights, every_seconds: float = 10.0) -> None:
        self.best, self.every_seconds = best, every_seconds
        self._written_at, self._written_best = -math.inf, -1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write both files if it is time."""
        # Writing is an act of all processes, whose clocks differ.
        if trainer.strategy.broadcast(time.monotonic() - self._written_at >= self.every_seconds):
            self._write_last(trainer)
            self._write_best(trainer, pl_module)
            self._written_at = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write both files; comes before the best weights are put back."""
        self._write_last(trainer)
        self._write_best(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep the best weights; ``last.ckpt`` stays what it was, since an epoch that broke off cannot be resumed.

        Several processes write together, so they do only where all have stopped, for NaN; else ``best.ckpt`` stays, too.
        """
        if trainer.state.fn == "fit" and (num_processes() == 1 or isinstance(exception, NonFiniteError)):
            self._write_best(trainer, pl_module)

    def folder(self, trainer: Trainer) -> Path:
        """Where the files are."""
        return Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints"

    def _write_last(self, trainer: Trainer) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(self.folder(trainer) / "last.ckpt", weights_only=False)

    def _write_best(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fast_dev_run or self.best.best_epoch == self._written_best or not self.best.weights:  # type: ignore[attr-defined]
            return
        current = {key: value.detach().clone() for key, value in pl_module.state_dict().items()}
        self.best.restore(pl_module)
        trainer.save_checkpoint(self.folder(trainer) / "best.ckpt", weights_only=True)
        pl_module.load_state_dict(current)
        self._written_best = self.best.best_epoch


class StopOnNonFinite(Callback):
    """Stops with the index of the batch when the net's output or the loss is NaN or infinite.

    The loss is looked at before the backward pass, so that a bad batch does not reach the weights. Of several processes all stop.

    Raises:
        NonFiniteError: from the hooks.
    """

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Check the training loss."""
        if any_process(not torch.isfinite(loss), loss.device):
            self._stop("train", "loss", trainer, trainer.fit_loop.batch_idx)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Check the output of a training batch."""
        self._check("train", outputs, trainer, batch_idx)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Check the output and loss of a validation batch."""
        self._check("validation", outputs, trainer, batch_idx)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Check the output and loss of a test batch."""
        self._check("test", outputs, trainer, batch_idx)

    def _check(self, stage: str, outputs: Any, trainer: Trainer, batch_idx: int) -> None:
        for what in ("output", "loss"):
            value = outputs.get(what) if isinstance(outputs, dict) else None
            if value is not None and any_process(not torch.isfinite(value).all(), value.device):
                self._stop(stage, what, trainer, batch_idx)

    def _stop(self, stage: str, what: str, trainer: Trainer, batch_idx: int) -> None:
        where = f"{stage} batch {batch_idx}" + (f" of epoch {trainer.current_epoch}" if trainer.state.fn == "fit" else "")
        raise NonFiniteError(
            f"the net's {what} is NaN or infinite in {where}; lower --model.lr, or set --trainer.gradient_clip_val 1.0. "
            "The best weights and checkpoints up to here are kept"
        )
