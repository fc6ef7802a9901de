"""Fits inside an experiment: Lightning on the CPU, without its files, bars and advice."""

from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from gnet.training.trial import QUIET, quiet


def fit(module: LightningModule, *loaders: Any, datamodule: LightningDataModule | None = None, **options: Any) -> Trainer:
    """Train a module of any kind where it is, and return the trainer; the caller's seed decides about every draw.

    Args:
        module: with its own optimiser.
        loaders: of training, and of validation where there is one; or else a ``datamodule``.
        options: of Lightning's ``Trainer``. Without any there is no logger, no checkpoint, no bar and no summary.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> from lightning.pytorch.demos.boring_classes import BoringModel, RandomDataset
        >>> fit(BoringModel(), DataLoader(RandomDataset(32, 8), batch_size=4), max_epochs=3).global_step
        6
    """
    with quiet():
        trainer = Trainer(**{"accelerator": "cpu", "devices": 1, **QUIET, **options})
        trainer.fit(module, *loaders, datamodule=datamodule)
    return trainer
