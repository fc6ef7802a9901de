"""One trial of a study."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnet.errors import ConfigError
from gnet.training.checkpoint import load
from gnet.training.symmetry import Coarsened, Trivial
from gnet.training.trial import instantiate, loss_on_test, run_trial


def config(**changes: Any) -> dict[str, Any]:
    data = {"class_path": "gnet.training.data.Digits", "init_args": {"num_train": 20, "num_val": 11, "num_test": 23}}
    model = {"symmetry": Coarsened(4, "patches").as_config(), "hidden_channels": 3}
    return {"seed_everything": 3, "model": model, "data": data, "trainer": {"max_epochs": 3, "accelerator": "cpu"}, **changes}


def test_a_trial_is_the_same_to_the_bit_and_leaves_one_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    threads = torch.get_num_threads()
    first = run_trial(config(), threads=1, checkpoint=tmp_path / "deep" / "trial.ckpt")
    torch.rand(7)
    second = run_trial(config(), threads=1)
    assert torch.get_num_threads() == threads
    assert np.array_equal(first.predictions, second.predictions)
    assert (first.val_loss, first.test_loss) == (second.val_loss, second.test_loss)
    assert (first.num_clusters, first.num_weights) == (4, 2 * 3 * (4 + 16))
    assert first.predictions.shape == (23, 64, 1)
    assert not first.module.training
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["trial.ckpt"]
    assert capsys.readouterr().out == ""
    with torch.no_grad():
        loaded = load(tmp_path / "deep" / "trial.ckpt")(first.datamodule.predict_arrays().x)
    assert np.array_equal(loaded.numpy(), first.predictions)


def test_seed_reaches_model_and_data():
    trial = run_trial(config(trainer={"max_epochs": 1, "accelerator": "cpu"}, seed_everything=8), threads=1)
    assert trial.module.hparams["seed"] == 8
    assert trial.datamodule.seed == 8
    other = run_trial(config(trainer={"max_epochs": 1, "accelerator": "cpu"}, seed_everything=9), threads=1)
    assert not np.array_equal(trial.predictions, other.predictions)


def test_losses_are_those_of_the_best_epoch():
    trial = run_trial(config(), threads=1)
    x, y, _ = trial.datamodule.val_arrays()
    with torch.no_grad():
        assert trial.val_loss == pytest.approx(float((trial.module(x) - y).square().mean()), rel=1e-5)
        x, y, _ = trial.datamodule.test_arrays()
        assert trial.test_loss == pytest.approx(float((trial.module(x) - y).square().mean()), rel=1e-5)
    trial.datamodule.batch_size = 10
    assert loss_on_test(trial.module, trial.datamodule) == pytest.approx(trial.test_loss, rel=1e-5)


def test_optimiser_of_the_config_is_used():
    sgd = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e-30}}
    trial = run_trial(config(optimizer=sgd, model={**config()["model"], "keep": "last"}), threads=1)
    start = trial.module.state_dict()
    other = run_trial(config(optimizer=sgd, trainer={"max_epochs": 1, "accelerator": "cpu"}), threads=1).module.state_dict()
    assert all(torch.allclose(start[key], other[key], atol=1e-20) for key in start)


def test_configs_that_make_nothing_are_refused():
    with pytest.raises(ConfigError, match=r"expected a config with the keys model and data, got \['model'\]"):
        run_trial({"model": {}}, threads=1)
    with pytest.raises(ConfigError, match=r"cannot make gnet\.training\.data\.Digit: .*no attribute 'Digit'"):
        instantiate({"class_path": "gnet.training.data.Digit"})
    with pytest.raises(ConfigError, match=r"cannot make .*Coarsened: .*unexpected keyword argument 'k'"):
        instantiate([{"class_path": "gnet.training.symmetry.Coarsened", "init_args": {"k": 3}}])


def test_losses_are_those_of_the_projected_net():
    model = {**config()["model"], "symmetry": Trivial().as_config(), "num_layers": 1}
    model["project_onto"] = Coarsened(4, "patches").as_config()
    trial = run_trial(config(model=model), threads=1)
    x, y, _ = trial.datamodule.val_arrays()
    with torch.no_grad():
        assert trial.val_loss == pytest.approx(float((trial.module(x) - y).square().mean()), rel=1e-5)
