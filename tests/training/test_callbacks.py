"""Best weights in memory, stopping on NaN, the logged equivariance error."""

import copy
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from gnet.errors import ConfigError, NonFiniteError
from gnet.training.callbacks import BestWeights, StopOnNonFinite, WriteCheckpoints
from gnet.training.datamodule import Batch
from gnet.training.log_equivariance import LogEquivariance
from gnet.training.symmetry import Coarsened, Symmetric, Trivial
from tests.training.small import quiet_trainer, small_digits, small_module


class Remember(Callback):
    """The weights and the validation loss of every epoch."""

    def __init__(self) -> None:
        self.epochs: list[tuple[float, dict[str, torch.Tensor]]] = []

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            self.epochs.append((float(trainer.callback_metrics["val_loss"]), copy.deepcopy(pl_module.state_dict())))


class Spoil(Callback):
    """Makes the weights worse from the fourth epoch on."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch >= 3:
            for parameter in pl_module.parameters():
                parameter.data *= 3


def test_the_epoch_of_lowest_validation_loss_is_kept():
    module, remember, best = small_module(), Remember(), BestWeights()
    quiet_trainer(Spoil(), remember, best, max_epochs=6).fit(module, datamodule=small_digits())
    losses = [loss for loss, _ in remember.epochs]
    number = losses.index(min(losses))
    assert number < 3
    assert (best.best, best.best_epoch) == (min(losses), number)
    for key, value in module.state_dict().items():
        assert torch.equal(value, remember.epochs[number][1][key])


def test_keep_last_leaves_the_last_epoch():
    module, remember, best = small_module(keep="last"), Remember(), BestWeights()
    quiet_trainer(Spoil(), remember, best, max_epochs=6).fit(module, datamodule=small_digits())
    assert not best.weights
    for key, value in module.state_dict().items():
        assert torch.equal(value, remember.epochs[-1][1][key])


def test_state_of_best_weights_survives():
    module, best = small_module(), BestWeights()
    quiet_trainer(best).fit(module, datamodule=small_digits())
    again = BestWeights()
    again.load_state_dict(best.state_dict())
    assert (again.best, again.best_epoch) == (best.best, best.best_epoch)
    for key, value in best.weights.items():
        assert torch.equal(again.weights[key], value)
        assert again.weights[key].data_ptr() != value.data_ptr()


def poison(data, split: str, sample: int) -> None:
    batch = data.samples(split).all()
    x = batch.x.clone()
    x[sample] = torch.nan
    data.samples(split).batch = Batch(x, batch.y, batch.mask)


class BreakAt(Callback):
    """Makes the training data NaN from an epoch on."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            for sample in range(20):
                poison(trainer.datamodule, "train", sample)


def test_nan_stops_training_and_what_was_reached_is_kept(tmp_path):
    module, remember, best = small_module(), Remember(), BestWeights()
    data = small_digits(batch_size=8)
    callbacks = [BreakAt(2), remember, StopOnNonFinite(), WriteCheckpoints(best, every_seconds=0), best]
    trainer = quiet_trainer(*callbacks, max_epochs=5, default_root_dir=tmp_path, enable_checkpointing=True)
    with pytest.raises(NonFiniteError, match=r"loss is NaN or infinite in train batch 0 of epoch 2; lower --model.lr"):
        trainer.fit(module, datamodule=data)
    losses = [loss for loss, _ in remember.epochs]
    assert len(losses) == 2
    for key, value in module.state_dict().items():
        assert torch.equal(value, remember.epochs[losses.index(min(losses))][1][key])
        assert torch.isfinite(value).all()
    for name in ("last", "best"):
        content = torch.load(tmp_path / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert all(torch.isfinite(value).all() for value in content["state_dict"].values())


def test_index_of_the_bad_batch_is_named():
    data = small_digits(batch_size=4)
    poison(data, "val", 9)
    with pytest.raises(NonFiniteError, match=r"output is NaN or infinite in validation batch 2 of epoch 0"):
        quiet_trainer(StopOnNonFinite(), num_sanity_val_steps=0).fit(small_module(), datamodule=data)


def test_nan_at_a_masked_entry_stops_too():
    data = small_digits()
    poison(data, "train", 3)
    batch = data.samples("train").all()
    mask = batch.mask.clone()
    mask[3] = False
    data.samples("train").batch = Batch(batch.x, batch.y, mask)
    with pytest.raises(NonFiniteError, match="output is NaN or infinite in train batch 0 of epoch 0"):
        quiet_trainer(StopOnNonFinite()).fit(small_module(), datamodule=data)


def plain_trainer(*callbacks: Callback, **settings: Any) -> Trainer:
    """Lightning's own, without ours."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", callbacks=list(callbacks), **quiet, **settings)


@pytest.mark.parametrize(("keep", "kept"), [("best", min), ("last", lambda losses: losses[-1])])
def test_any_trainer_leaves_the_weights_that_keep_promises(keep, kept):
    module, remember = small_module(keep=keep), Remember()
    plain_trainer(Spoil(), remember, max_epochs=6).fit(module, datamodule=small_digits())
    losses = [loss for loss, _ in remember.epochs]
    assert losses.index(min(losses)) < 3  # so that the two differ
    for key, value in module.state_dict().items():
        assert torch.equal(value, remember.epochs[losses.index(kept(losses))][1][key])


def test_nan_stops_any_trainer():
    with pytest.raises(NonFiniteError, match=r"NaN or infinite in (train|validation) batch 0 of epoch \d"):
        plain_trainer(max_epochs=3).fit(small_module(lr=1e20), datamodule=small_digits())


def test_callbacks_that_a_trainer_has_are_not_doubled():
    class Own(BestWeights):
        """A user's own kind."""

    mine, module = [Own(), StopOnNonFinite()], small_module()
    trainer = plain_trainer(*mine, max_epochs=1)
    trainer.fit(module, datamodule=small_digits())
    trainer.validate(module, datamodule=small_digits(), verbose=False)
    assert [each for each in trainer.callbacks if isinstance(each, BestWeights | StopOnNonFinite)] == mine
    assert mine[0].weights


def test_equivariance_error_is_logged_as_often_as_asked():
    seen: list[tuple[int, bool]] = []

    class Watch(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            seen.append((trainer.current_epoch, "equivariance_error" in trainer.callback_metrics))
            trainer.callback_metrics.pop("equivariance_error", None)

    log = LogEquivariance(every=2, reference=Symmetric())
    trainer = quiet_trainer(log, Watch(), max_epochs=2, num_sanity_val_steps=0)
    module = small_module(symmetry=Coarsened(4, "patches"))
    trainer.fit(module, datamodule=small_digits())
    assert seen == [(0, False), (1, True)]
    found = log.measure(module)
    assert found["equivariance_error"] < 1e-12
    assert found["reference_equivariance_error"] > 1e-2


def test_the_trivial_group_has_no_error():
    log, module = LogEquivariance(), small_module(symmetry=Trivial(), num_layers=1)
    assert log.measure(module) == {}
    quiet_trainer(log, max_epochs=1).fit(module, datamodule=small_digits())
    assert log.measure(module) == {"equivariance_error": 0.0}


def test_settings_of_the_log_are_checked():
    with pytest.raises(ConfigError, match="expected every >= 0 and num_samples >= 2, got -1 and 8"):
        LogEquivariance(every=-1)
