"""A callback that ends a fit in the middle, as a crash or a signal would."""

import os
import signal
from typing import Any

from lightning.pytorch import Callback


class StopAt(Callback):
    """Breaks a fit off before a batch of an epoch: by an exception, or by killing the whole process."""

    def __init__(self, epoch: int, batch: int = 1, kill: bool = False) -> None:
        self.epoch, self.batch, self.kill = epoch, batch, kill

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Stopped


class Stopped(Exception):
    """What a fit breaks off with."""
