"""A long fit is written down on the way, so that a kill costs minutes of it and not the whole."""

import os
import time
import zipfile
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint


class KeepProgress(Checkpoint):
    """Writes one file to resume from, at the end of an epoch every ``every_seconds``; a fit shorter than that writes none.

    The epoch that ends a fit is not written: nothing would be left to resume.

    Args:
        path: the file; it is replaced as a whole.
        every_seconds: from the start to the first writing, and between two; 0 writes after every epoch.

    Example:
        >>> KeepProgress(Path("trial.last.ckpt"), every_seconds=180).resumes_from is None
        True
    """

    def __init__(self, path: Path, every_seconds: float) -> None:
        self.path, self.every_seconds = path, every_seconds
        self._before, self._begun = 0.0, time.monotonic()
        self._written_at = self._begun

    @property
    def resumes_from(self) -> Path | None:
        """The file, if there is a whole one."""
        return self.path if zipfile.is_zipfile(self.path) else None

    @property
    def seconds(self) -> float:
        """Since the fit began, in all its parts that were written."""
        return self._before + time.monotonic() - self._begun

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write if it is time."""
        limits = ((trainer.max_epochs, trainer.current_epoch + 1), (trainer.max_steps, trainer.global_step))
        is_last = trainer.should_stop or any(most is not None and 0 <= most <= done for most, done in limits)
        if is_last or time.monotonic() - self._written_at < self.every_seconds:
            return
        temporary = self.path.with_name(f"{self.path.stem}.{os.getpid()}.tmp.ckpt")
        trainer.save_checkpoint(temporary, weights_only=False)
        os.replace(temporary, self.path)
        self._written_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The time that was spent."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of ``state_dict``."""
        self._before = state_dict["seconds"]
