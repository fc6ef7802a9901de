"""Mixed, single and double precision: losses stay float32 and finite, and the nets keep the laws they promise."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gnet
from gnet.groups import SymmetricGroup
from gnet.kernels.segments import segment_softmax
from gnet.measures import equivariance_error
from gnet.nn.blocks import NodeBatchNorm
from gnet.nn.propagate import Propagate
from gnet.training.module import GNetModule
from gnet.training.symmetry import Automorphism, Coarsened
from gnet.training.trial import run_trial
from tests.training.own_files import IDS, C, N, T, files, write
from tests.training.small import quiet_trainer

EPS = torch.finfo(torch.bfloat16).eps
LOW = ["bf16-mixed", "bf16-true"]
CLUSTERS = {"symmetry": Coarsened(2)}
MIRROR = {"symmetry": Automorphism()}  # the path of five nodes can be turned round
KINDS: dict[str, dict[str, Any]] = {
    "clusters": {**CLUSTERS, "num_layers": 3},
    "batch norm": {**CLUSTERS, "norm": "batch"},
    "layer norm": {**CLUSTERS, "norm": "layer"},
    "automorphisms": MIRROR,
    "edge weights": {**MIRROR, "propagate": "edge_weights", "tie_edges": True},
    "pointwise": {**MIRROR, "propagate": "pointwise", "tie_edges": True},
    "graph": {**MIRROR, "propagate": "graph"},
    "gru": {**MIRROR, "architecture": "gru", "sampling_decay": 5.0},
}


@pytest.fixture
def folder(tmp_path: Path, rng: torch.Generator) -> Path:
    """A series on a path of five nodes, whose edges weigh the same."""
    (tmp_path / "edges.csv").write_text("source,target\na1,a2\na2,b1\nb1,b2\nb2,b3\n")
    write(tmp_path, x=torch.randn(T, N, C, generator=rng).cumsum(0).numpy() * 3 + 50, node_ids=np.array(IDS))
    return tmp_path


def fitted(kind: str, folder: Path, precision: str, **settings: Any) -> tuple[GNetModule, Any, Any]:
    module = GNetModule(**{"hidden_channels": 4, **KINDS[kind], **settings})
    trainer = quiet_trainer(max_epochs=1, precision=precision)
    data = files(folder, task="forecast", horizon_in=3, horizon_out=2, batch_size=20)
    trainer.fit(module, datamodule=data)
    return module.eval(), trainer, data


def in_precision(trainer: Any, f: Any) -> Any:
    def computed(x: Tensor) -> Tensor:
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            return f(trainer.precision_plugin.convert_input(x))

    return computed


def error_of(f: Any, x: Tensor, module: GNetModule) -> float:
    """Relative, of elements that are not all the identity."""
    generator = torch.Generator().manual_seed(0)
    return equivariance_error(f, x, module.group, num_samples=16, generator=generator).relative


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", LOW)
def test_low_precision_keeps_losses_and_symmetry(kind, precision, folder):
    module, trainer, data = fitted(kind, folder, precision)
    metrics = {**trainer.callback_metrics, **trainer.test(module, datamodule=data, verbose=False)[0]}
    assert {"train_loss", "val_loss", "test_loss"} <= set(metrics)
    assert all(torch.isfinite(torch.as_tensor(value)) for value in metrics.values())
    assert all(value.dtype == torch.float32 for value in trainer.callback_metrics.values())
    batch = data.test_arrays()
    low = in_precision(trainer, module)(batch.x)
    assert module.errors(low, batch).dtype == torch.float32
    parameter = next(module.net.parameters())
    assert parameter.dtype == (torch.float32 if precision == "bf16-mixed" else torch.bfloat16)
    single = copy.deepcopy(module.net).float()
    torch.testing.assert_close(low.float(), single(batch.x), atol=8 * EPS, rtol=8 * EPS)
    # A liar: the same net with other weights for each node.
    spoil = 1 + torch.arange(N)[:, None] / N
    for f, law in ((module, True), (lambda x: spoil * module(x), False)):
        assert (error_of(in_precision(trainer, f), batch.x, module) < 2 * EPS) == law


@pytest.mark.parametrize("kind", KINDS)
def test_double_precision_is_exact_and_single_is_not(kind, folder):
    errors = {}
    for precision in ("64-true", "32-true"):
        module, _, data = fitted(kind, folder, precision)
        errors[precision] = error_of(module, data.test_arrays().x.to(next(module.parameters()).dtype), module)
    assert errors["64-true"] < 1e-12
    assert errors["32-true"] < 1e-5
    if KINDS[kind]["symmetry"] is CLUSTERS["symmetry"]:  # a mirror moves two terms at a time
        assert errors["32-true"] > 1e-12


@pytest.mark.parametrize("precision", [*LOW, "64-true"])
def test_a_trained_net_comes_back_in_single_precision(precision, folder):
    module, trainer, data = fitted("edge weights", folder, precision)
    trainer.save_checkpoint(folder / "net.ckpt")
    net, x = gnet.load(folder / "net.ckpt"), data.test_arrays().x
    assert next(net.parameters()).dtype == torch.float32
    torch.testing.assert_close(net(x), module.float()(x))


@pytest.mark.parametrize("precision", [*LOW, "64-true"])
def test_a_trial_measures_in_its_own_precision(precision):
    config = {
        "model": {"symmetry": Coarsened(4, "patches").as_config(), "hidden_channels": 3},
        "data": {"class_path": "gnet.training.data.Digits", "init_args": {"num_train": 20, "num_val": 11, "num_test": 23}},
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "precision": precision},
    }
    trial = run_trial(config, threads=1)
    assert trial.predictions.dtype == (np.float64 if precision == "64-true" else np.float32)
    assert np.isfinite([trial.val_loss, trial.test_loss]).all()
    plain = run_trial({**config, "trainer": {"max_epochs": 2, "accelerator": "cpu"}}, threads=1)
    assert trial.test_loss == pytest.approx(plain.test_loss, rel=10 * EPS)
    assert np.allclose(trial.predictions, plain.predictions, atol=20 * EPS)


class TestSoftmax:
    """Weights of the senders of each receiver sum to one."""

    def test_low_precision_is_summed_in_single(self, rng):
        logits, labels = torch.randn(3000, generator=rng).bfloat16(), torch.arange(3000) % 3

        def gap(weights: Tensor) -> float:
            sums = torch.zeros(3).index_add(0, labels, weights.float())
            return float((sums - 1).abs().max())

        weights = segment_softmax(logits, labels, 3)
        assert weights.dtype == torch.bfloat16
        assert gap(weights) < EPS
        grown = logits.exp()
        sums = torch.zeros(3, dtype=torch.bfloat16)
        for part in range(0, 3000, 3):  # a liar: one after the other in low precision, which stops growing
            sums = sums + grown[part : part + 3]
        assert gap(grown / sums[labels]) > 10 * EPS

    def test_of_a_net_under_autocast(self, rng):
        edges = torch.combinations(torch.arange(40)).T
        layer = Propagate(SymmetricGroup(40), 1, torch.cat([edges, edges.flip(0)], 1), trained=True, bias=None)
        with torch.no_grad():
            layer.support.logits.normal_(generator=rng)
        with torch.autocast("cpu", torch.bfloat16):
            weights, y = layer.support.weights(), layer(torch.ones(7, 40, 1, dtype=torch.bfloat16))
        assert weights.dtype == torch.float32
        sums = torch.zeros(40).index_add(0, layer.support.receivers, weights)
        torch.testing.assert_close(sums, torch.ones(40), atol=1e-5, rtol=0)
        assert y.dtype == torch.bfloat16
        assert (y.float() - 1).abs().max() <= 2 * EPS


class TestBatchNorm:
    """Statistics over batch and nodes: in training, too, it commutes with every permutation of the nodes."""

    @staticmethod
    def broken(norm: nn.Module, x: Tensor, rng: torch.Generator) -> tuple[float, Tensor]:
        perm = torch.randperm(x.shape[1], generator=rng)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            y, moved = copy.deepcopy(norm)(x), norm(x[:, perm])
        assert y.dtype == torch.bfloat16
        return float((moved - y[:, perm]).float().norm() / y.float().norm()), y.float()

    def test_low_precision_keeps_moments_and_symmetry(self, rng):
        x = (300 + 5 * torch.randn(64, 30, 2, generator=rng)).bfloat16()  # its values are 2 apart, its sums beyond bf16
        x = torch.cat([x[..., :1], x[..., 1:] - 300], -1)
        norm = NodeBatchNorm(2)
        error, y = self.broken(norm, x, rng)
        assert error < EPS
        flat, given = y.flatten(0, 1), x.float().flatten(0, 1)
        torch.testing.assert_close(flat.mean(0), torch.zeros(2), atol=EPS, rtol=0)
        torch.testing.assert_close(flat.std(0), torch.ones(2), atol=2 * EPS, rtol=0)
        assert norm.norm.running_mean.dtype == torch.float32
        torch.testing.assert_close(norm.norm.running_mean, 0.1 * given.mean(0), rtol=1e-3, atol=1e-3)

    def test_statistics_of_each_node_are_told_apart(self, rng):
        class OfEachNode(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.norm = nn.BatchNorm1d(30 * 2)
                nn.init.normal_(self.norm.weight, generator=rng)

            def forward(self, x: Tensor) -> Tensor:
                return self.norm(x.flatten(1)).unflatten(1, x.shape[1:])

        error, _ = self.broken(OfEachNode(), torch.randn(64, 30, 2, generator=rng).bfloat16(), rng)
        assert error > 10 * EPS
