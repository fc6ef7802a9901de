"""A callback that ends a fit in the middle, as a crash or a signal would."""

import os
import signal
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback


class StopAt(Callback):
    """Breaks a fit off before a batch of an epoch: by an exception, or by killing the whole process.

    With a ``diary`` it does so once: the file lists the epochs in which fits began, and of two the second one goes on.
    """

    def __init__(self, epoch: int, batch: int = 1, kill: bool = False, diary: str | None = None) -> None:
        self.epoch, self.batch, self.kill = epoch, batch, kill
        self.diary = None if diary is None else Path(diary)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if self.diary is not None:
            with open(self.diary, "a") as file:
                file.write(f"{trainer.current_epoch}\n")
            if len(self.diary.read_text().split()) > 1:
                self.epoch = -1

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Stopped


class Stopped(Exception):
    """What a fit breaks off with."""
