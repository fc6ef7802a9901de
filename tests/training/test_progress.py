"""What a long trial writes on the way: a killed one goes on to the same bits, and a short one writes nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnet.training.progress import KeepProgress
from gnet.training.symmetry import Coarsened
from gnet.training.trial import TrialResult, run_trial
from tests.end_to_end.stopping import StopAt, Stopped

STOP_EARLY = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val_loss", "patience": 1}}


def config(*callbacks: dict[str, Any], epochs: int = 6, **model: Any) -> dict[str, Any]:
    data = {"num_train": 20, "num_val": 11, "num_test": 23, "batch_size": 8}
    return {
        "seed_everything": 3,
        "model": {"symmetry": Coarsened(4, "patches").as_config(), "hidden_channels": 3, "dropout": 0.2, **model},
        "data": {"class_path": "gnet.training.data.Digits", "init_args": data},
        "trainer": {"max_epochs": epochs, "accelerator": "cpu", "callbacks": list(callbacks)},
        "lr_scheduler": {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 2, "gamma": 0.5}},
    }


def stop_at(epoch: int) -> dict[str, Any]:
    return {"class_path": f"{StopAt.__module__}.StopAt", "init_args": {"epoch": epoch}}


def trial(path: Path, settings: dict[str, Any], every_seconds: float = 0.0) -> TrialResult:
    return run_trial(settings, threads=1, progress=KeepProgress(path, every_seconds))


@pytest.mark.parametrize("model", [{}, {"keep": "last"}, {"norm": "batch"}], ids=["best", "last", "norm"])
@pytest.mark.parametrize("epoch", [1, 4])
def test_a_trial_that_was_cut_goes_on_to_the_same_bits(tmp_path: Path, model: dict[str, Any], epoch: int):
    path, whole = tmp_path / "trial.last.ckpt", run_trial(config(**model), threads=1)
    with pytest.raises(Stopped):
        trial(path, config(stop_at(epoch), **model))
    assert torch.load(path, weights_only=True)["epoch"] == epoch - 1
    torch.rand(7)
    again = trial(path, config(**model))
    assert np.array_equal(again.predictions, whole.predictions)
    assert (again.val_loss, again.test_loss) == (whole.val_loss, whole.test_loss)
    for (name, mine), theirs in zip(again.module.state_dict().items(), whole.module.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name


def test_the_time_of_all_parts_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, now = tmp_path / "trial.last.ckpt", [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    first = KeepProgress(path, 100.0)
    now[0] = 70.0
    second = KeepProgress(path, 100.0)
    second.load_state_dict(first.state_dict())
    now[0] = 75.0
    assert second.seconds == 75.0


def test_a_short_trial_writes_nothing(tmp_path: Path):
    trial(tmp_path / "trial.last.ckpt", config(epochs=2), every_seconds=3600.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "last"), [(config(epochs=3), 1), (config(STOP_EARLY, epochs=9, lr=0.5), None)], ids=["all", "early"]
)
def test_the_epoch_that_ends_a_fit_is_not_written(tmp_path: Path, settings: dict[str, Any], last: int | None):
    """Nothing would be left to go on with, and the best weights would not be put back."""
    path = tmp_path / "trial.last.ckpt"
    done = trial(path, settings)
    written = torch.load(path, weights_only=True)["epoch"]
    ended = done.module.trainer.current_epoch
    assert written == (ended - 2 if last is None else last)
    assert np.array_equal(trial(path, settings).predictions, done.predictions)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_no_beginning(tmp_path: Path, content: bytes):
    path = tmp_path / "trial.last.ckpt"
    path.write_bytes(content)
    assert np.array_equal(trial(path, config(epochs=2)).predictions, run_trial(config(epochs=2), threads=1).predictions)


def test_without_progress_callbacks_that_write_stay_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    run_trial(config(epochs=1), threads=1)
    assert list(tmp_path.iterdir()) == []
