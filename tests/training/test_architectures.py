"""Every kind of net trains through the same module, survives its checkpoint, and takes part in a study."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics import Metric

import gnet
from gnet.errors import ConfigError
from gnet.nn import GNetGRU
from gnet.training.data import FromFiles
from gnet.training.module import GNetModule
from gnet.training.symmetry import Coarsened, Symmetric
from gnet.training.trial import metrics_on_test
from tests.training.own_files import EDGES, IDS, C, N, T, files, write
from tests.training.small import quiet_trainer

KINDS: dict[str, dict[str, Any]] = {
    "gru": {"architecture": "gru", "sampling_decay": 5.0},
    "released gru": {"architecture": "gru", "released": True, "diffusion_steps": 2, "num_layers": 2},
    "relaxed": {"layer": "relaxed", "symmetry": Symmetric()},
    "relaxed by the sender": {"layer": "relaxed_sender", "init": "fan_in", "symmetry": Symmetric()},
    "graph": {"propagate": "graph"},
    "edge weights": {"propagate": "edge_weights", "tie_edges": True},
    "pointwise": {"propagate": "pointwise", "norm": "batch"},
    "neighbours": {"mixing": "coarse_edges", "num_bases": 2},
    "skips": {"num_layers": 4, "residual": 2, "loss_units": "data", "loss": "mae"},
}


class Late(FromFiles):
    """A forecast whose data has a metric: the largest error."""

    def metrics(self) -> dict[str, Metric]:
        return {"largest": Largest()}


class Largest(Metric):
    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("value", torch.tensor(0.0), dist_reduce_fx="max")

    def update(self, prediction: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> None:
        self.value = torch.maximum(self.value, (prediction - target).abs()[mask].max())

    def compute(self) -> torch.Tensor:
        return self.value


@pytest.fixture
def folder(tmp_path: Path, rng: torch.Generator) -> Path:
    (tmp_path / "edges.csv").write_text(EDGES)
    x = torch.randn(T, N, C, generator=rng).cumsum(0).numpy() * 3 + 5
    write(tmp_path, x=x, y=x.mean(1), node_ids=np.array(IDS))
    return tmp_path


def module(**settings: Any) -> GNetModule:
    return GNetModule(**{"symmetry": Coarsened(2), "hidden_channels": 3, **settings})


@pytest.mark.parametrize("kind", KINDS)
def test_fits_and_comes_back_from_its_checkpoint(kind, folder):
    data = files(folder, task="forecast", horizon_in=3, horizon_out=2)
    trained, trainer = module(**KINDS[kind]), quiet_trainer(max_epochs=2)
    trainer.fit(trained, datamodule=data)
    path = folder / "net.ckpt"
    trainer.save_checkpoint(path)
    net = gnet.load(path)
    x = data.test_arrays().x
    trained.eval()
    torch.testing.assert_close(net(x), trained(x))
    again = GNetModule.load_from_checkpoint(path).eval()
    torch.testing.assert_close(again(x), trained(x))


def test_a_resumed_fit_is_the_undisturbed_one(folder):
    """Coins of scheduled sampling come from (seed, epoch), and the count of batches from the checkpoint."""

    def run(trainer: Any, **fit: Any) -> GNetModule:
        each = module(**KINDS["gru"], keep="last")
        trainer.fit(each, datamodule=files(folder, task="forecast", horizon_in=3, horizon_out=2, batch_size=7), **fit)
        return each

    whole = run(quiet_trainer(max_epochs=4))
    first = quiet_trainer(max_epochs=2)
    run(first)
    first.save_checkpoint(folder / "half.ckpt")
    resumed = run(quiet_trainer(max_epochs=4), ckpt_path=folder / "half.ckpt")
    assert isinstance(whole.net, GNetGRU)
    assert int(whole.net.batches_seen) > 8
    for (name, a), (_, b) in zip(whole.state_dict().items(), resumed.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


def test_losses_in_units_of_the_data(folder):
    data = files(folder, task="forecast", horizon_in=3, horizon_out=2)
    data.setup()
    losses = []
    for units in ("model", "data"):
        each, trainer = module(loss="mae", loss_units=units, seed=3), quiet_trainer(max_epochs=0)
        trainer.fit(each, datamodule=data)
        losses.append(each.errors(each(data.test_arrays().x), data.test_arrays()))
    torch.testing.assert_close(losses[1], losses[0] * data.scaling.y.std)


def test_metrics_of_the_data_are_in_its_units(folder):
    data = Late("signals.npz", "edges.csv", root=str(folder), task="forecast", horizon_in=3, horizon_out=2)
    each, trainer = module(), quiet_trainer(max_epochs=1)
    trainer.fit(each, datamodule=data)
    logged = trainer.test(each, datamodule=data, verbose=False)[0]
    batch, units = data.test_arrays(), data.scaling.y
    gap = (units.inverse(each.eval()(batch.x)) - units.inverse(batch.y)).abs()[batch.mask].max()
    assert logged["test_largest"] == pytest.approx(float(gap), rel=1e-5)
    assert metrics_on_test(each, data) == {"largest": pytest.approx(float(gap), rel=1e-5)}


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({"architecture": "gru"}, {}, "reads and writes steps in time: it needs data with task='forecast'"),
        (
            {"num_layers": 1, "propagate": "graph"},
            {"task": "regress"},
            "one layer from nodes to one value per graph does not read propagate='graph'; .* or take num_layers=2",
        ),
    ],
)
def test_nets_that_do_not_suit_the_data_are_refused(settings, options, message, folder):
    with pytest.raises(ConfigError, match=message):
        quiet_trainer(max_epochs=1).fit(module(**settings), datamodule=files(folder, **options))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "grus"}, "expected architecture to be one of 'gnet', 'gru', got 'grus'; did you mean 'gru'"),
        ({"loss_units": "mph"}, "expected loss_units to be one of 'model', 'data', got 'mph'"),
        (
            {"project_onto": Symmetric(), "num_layers": 1, "propagate": "graph"},
            "leave architecture, layer and propagate as they are",
        ),
        ({"architecture": "gru", "norm": "batch"}, "architecture='gru' does not read norm='batch'; leave norm out, or take arch"),
        ({"architecture": "gru", "dropout": 0.1}, "does not read dropout=0.1"),
        ({"architecture": "gru", "tie_edges": True}, "does not read tie_edges=True"),
        ({"released": True}, "architecture='gnet' does not read released=True; leave released out, or take architecture='gru'"),
        ({"sampling_decay": None}, "does not read sampling_decay=None"),
        ({"layer": "relaxed", "mixing": "none"}, "layer='relaxed' does not read mixing='none'; .* or take layer='equivariant'"),
        ({"layer": "relaxed_sender", "parametrization": "reference"}, "does not read parametrization='reference'"),
    ],
)
def test_bad_settings_are_refused_where_they_are_made(settings, message):
    with pytest.raises(ConfigError, match=message):
        module(**settings)
