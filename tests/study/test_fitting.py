"""Fits of any module inside an experiment."""

import logging
import warnings

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel, RandomDataset
from torch.utils.data import DataLoader

from gnet.study.fitting import fit


@pytest.fixture
def loader():
    torch.manual_seed(0)
    return DataLoader(RandomDataset(32, 8), batch_size=4)


def test_a_fit_writes_nothing_and_says_nothing(loader, tmp_path, monkeypatch, capfd, recwarn):
    monkeypatch.chdir(tmp_path)
    fit(BoringModel(), loader, max_epochs=2, accelerator="cpu")
    assert not list(tmp_path.iterdir())
    assert not recwarn.list
    said = capfd.readouterr()
    assert said.out == said.err == ""


def test_without_it_lightning_writes_or_speaks(loader, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        Trainer(max_epochs=2, accelerator="cpu", devices=1, enable_progress_bar=False).fit(BoringModel(), loader)
    assert found
    assert list(tmp_path.iterdir())


def test_it_trains_what_the_trainer_trains(loader):
    torch.manual_seed(0)
    ours = BoringModel()
    torch.manual_seed(0)
    theirs = BoringModel()
    fit(ours, loader, max_epochs=3, limit_train_batches=1)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    Trainer(max_epochs=3, limit_train_batches=1, accelerator="cpu", devices=1, **options).fit(theirs, loader)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_options_of_the_trainer_win(tmp_path):
    trainer = fit(
        BoringModel(),
        datamodule=BoringDataModule(),
        default_root_dir=tmp_path,
        max_steps=1,
        enable_checkpointing=True,
        logger=None,
    )
    assert trainer.global_step == 1
    assert trainer.checkpoint_callback is not None


def test_levels_of_loggers_are_as_before(loader):
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    with pytest.raises(RuntimeError, match="interrupted"):
        fit(_Interrupted(), loader, max_epochs=1)
    assert logger.level == before


class _Interrupted(BoringModel):
    def training_step(self, batch, batch_idx):
        raise RuntimeError("interrupted")
