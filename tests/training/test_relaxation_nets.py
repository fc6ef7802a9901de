"""Layers near a group in a GNetModule: configs, penalties in the loss, checkpoints with further groups."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import gnet
from gnet.cli import main, resolve_config
from gnet.errors import ConfigError
from gnet.groups import SymmetricGroup
from gnet.nn.relaxed import ChainGates, Penalised, penalty
from gnet.training.module import GNetModule
from gnet.training.symmetry import Coarsened, Grid, Symmetric, Trivial
from gnet.training.trial import instantiate
from tests.training.small import quiet_trainer, small_digits, small_module

KINDS: dict[str, dict[str, Any]] = {
    "residual": {"layer": "residual", "relaxation": {"identifiable": True, "sigma": [float("inf"), 0.5]}},
    "residual beside": {"layer": "residual", "beside": [Coarsened(16, "patches")]},
    "mixed": {"layer": "mixed", "relaxation": {"num_maps": 2, "alpha": 1e-3}},
    "low rank": {"layer": "low_rank", "relaxation": {"rank": 2, "weight_decay": 1e-3}},
    "chain": {"layer": "chain", "beside": [Symmetric(), Coarsened(16, "patches")], "relaxation": {"l1": 1e-3}},
    "chain to the trivial group": {"layer": "chain", "relaxation": {"node_wise": True}},
    "sum": {"layer": "sum", "beside": [Grid("horizontal_flip"), Symmetric()]},
    "sum along edges": {"layer": "sum", "beside": [Grid("translations")], "relaxation": {"local": True}},
    "soft": {"layer": "soft", "relaxation": {"entropy": 1e-2, "coarsening": 1e-4}, "propagate": "graph"},
}
ASKING = {"residual", "mixed", "low rank", "chain", "soft"}


@pytest.mark.parametrize("kind", KINDS)
def test_fits_and_comes_back_from_its_checkpoint(kind, tmp_path):
    trained, trainer = small_module(**KINDS[kind]), quiet_trainer()
    trainer.fit(trained, datamodule=small_digits())
    assert ("train_penalty" in trainer.callback_metrics) == (kind in ASKING)
    trainer.save_checkpoint(tmp_path / "net.ckpt")
    x = torch.randn(3, 64, 1)
    expected = trained.eval()(x)
    torch.testing.assert_close(gnet.load(tmp_path / "net.ckpt")(x), expected)
    again = GNetModule.load_from_checkpoint(tmp_path / "net.ckpt")
    torch.testing.assert_close(again.eval()(x), expected)
    assert [group.order() for group in again._groups_beside] == [group.order() for group in trained._groups_beside]


def test_the_penalty_is_part_of_the_loss():
    module, data = small_module(**KINDS["low rank"]), small_digits()
    quiet_trainer(max_epochs=0).fit(module, datamodule=data)
    module.log = lambda *_, **__: None
    batch = next(iter(data.train_dataloader()))
    loss = module.training_step(batch, 0)["loss"]
    expected = (module(batch.x) - batch.y).square().mean() + penalty(module)
    torch.testing.assert_close(loss, expected)
    with_penalty = torch.autograd.grad(loss, list(module.parameters()))
    for one, other in zip(with_penalty, torch.autograd.grad(expected, list(module.parameters())), strict=True):
        torch.testing.assert_close(one, other)


def test_train_loss_is_the_loss_without_the_penalty():
    module, data = small_module(**KINDS["low rank"], lr=1e-12), small_digits()
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module, datamodule=data)
    x, y, _ = data.train_arrays()
    with torch.no_grad():
        assert float(trainer.callback_metrics["train_loss"]) == pytest.approx(float((module(x) - y).square().mean()), rel=1e-4)
        assert float(trainer.callback_metrics["train_penalty"]) == pytest.approx(float(penalty(module)), rel=1e-4)


def test_a_wrapped_net_is_asked_too():
    module, data = small_module(), small_digits()
    quiet_trainer(max_epochs=0).fit(module, datamodule=data)
    module.net = Penalised(module.net, SymmetricGroup(64), 0.1)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module, datamodule=data)
    assert float(trainer.callback_metrics["train_penalty"]) > 0


def test_nets_that_ask_nothing_are_not_asked(monkeypatch):
    def refuse(module: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr("gnet.training.module.penalty", refuse)
    quiet_trainer(max_epochs=1).fit(small_module(), datamodule=small_digits())
    with pytest.raises(AssertionError, match="asked"):
        quiet_trainer(max_epochs=1).fit(small_module(**KINDS["low rank"]), datamodule=small_digits())


def test_weights_for_one_value_per_graph(rng):
    from gnet.training.checkpoint import Domain, build_net

    domain = Domain(**{**vars(Domain.of(small_digits())), "target": "graph"})
    net = build_net(domain, Symmetric()(domain.graph), dict(small_module(**KINDS["residual"]).hparams), rng)
    assert net(torch.randn(2, 64, 1)).shape == (2, 1)


def test_checkpoints_without_a_relaxation_load(tmp_path):
    """As they were written before there was any."""
    trained, trainer = small_module(symmetry=Trivial()), quiet_trainer(max_epochs=1)
    trainer.fit(trained, datamodule=small_digits())
    trainer.save_checkpoint(tmp_path / "net.ckpt")
    content = torch.load(tmp_path / "net.ckpt", weights_only=True)
    del content["gnet"]["beside"], content["gnet"]["settings"]["relaxation"]
    for name in ("relaxation", "beside"):
        del content["hyper_parameters"][name]
    torch.save(content, tmp_path / "old.ckpt")
    x = torch.randn(3, 64, 1)
    torch.testing.assert_close(gnet.load(tmp_path / "old.ckpt")(x), trained.eval()(x))
    torch.testing.assert_close(GNetModule.load_from_checkpoint(tmp_path / "old.ckpt").eval()(x), trained(x))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": "residul"}, "expected layer to be one of .* got 'residul'; did you mean 'residual'"),
        ({"layer": "residual", "relaxation": {"sacle": 1}}, "takes no relaxation 'sacle'; did you mean 'scale'"),
        ({"relaxation": {"scale": 1}}, "layer='equivariant' takes no relaxation 'scale'; layer='residual' does"),
        ({"beside": [Symmetric()]}, "layer='equivariant' has one group; leave beside out"),
        ({"layer": "chain", "architecture": "gru"}, "architecture='gru' has layers of its own, and no 'chain' ones"),
        ({"layer": "chain", "beside": ["Symetric"]}, "expected a symmetry among"),
        ({"layer": "residual", "num_layers": 1, "project_onto": Symmetric()}, "leave architecture, layer and propagate"),
    ],
)
def test_bad_settings_are_refused_where_they_are_made(settings, message):
    with pytest.raises(ConfigError, match=message):
        small_module(**settings)


class TestCommandLine:
    CONFIG = """
model:
  symmetry: {class_path: Coarsened, init_args: {num_clusters: 4, method: patches}}
  hidden_channels: 3
  layer: chain
  relaxation: {start: 0.25, l1: 1.0e-3}
  beside:
    - {class_path: Symmetric}
    - {class_path: Coarsened, init_args: {num_clusters: 16, method: patches}}
data:
  class_path: gnet.training.Digits
  init_args: {num_train: 20, num_val: 11, num_test: 23}
"""

    def test_a_config_of_a_chain(self, tmp_path):
        (tmp_path / "chain.yaml").write_text(self.CONFIG)
        config = resolve_config(["--config", str(tmp_path / "chain.yaml")])
        module = GNetModule(**instantiate(config["model"]))
        assert module.beside == [Symmetric(), Coarsened(16, "patches")]
        quiet_trainer(max_epochs=1).fit(module, datamodule=instantiate(config["data"]))
        layer = module.net.blocks[0].linear
        assert isinstance(layer, ChainGates)
        assert [level.orbits.count for level in layer.levels] == [272, 20, 2]

    def test_fit_and_test_with_an_infinite_width(self, tmp_path: Path, capsys):
        data = ["--data.num_train=20", "--data.num_val=11", "--data.num_test=23"]
        fit = ["fit", *data, "--model.hidden_channels=3", "--model.layer=residual", "--model.relaxation={sigma: [.inf, 0.5]}"]
        root = [f"--trainer.default_root_dir={tmp_path}", "--trainer.enable_progress_bar=false"]
        callbacks = ["--trainer.callbacks=Anneal", "--trainer.callbacks.schedule=[0, 1, 0]", "--model.keep=last"]
        assert main([*fit, *callbacks, *root, "--trainer.max_epochs=2"]) == 0
        left = re.search(r"to S.*: (\S+) \(0 is exact, .*\); layer='residual' lets it leave that group", capsys.readouterr().out)
        assert left is not None and float(left[1]) < 1e-6, "annealed away"
        assert main(["test", *data, *root, "--ckpt_path=last"]) == 0
        assert main(["test", *data, *root, "--ckpt_path=last", "--model.relaxation={sigma: [1, 0.5]}"]) == 2
        assert "--model.relaxation is" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("options", "to"),
        [
            (["--model.symmetry=Symmetric", "--model.layer=residual", "--model.relaxation={scale: 0.5}"], ["S64"]),
            (["--model.symmetry=Automatic"], ["S64"]),
            (
                ["--model.symmetry=Trivial", "--trainer.callbacks=GroupAugmentation", "--trainer.callbacks.group=Symmetric"],
                ["the group of GroupAugmentation"],
            ),
            ([], []),
        ],
    )
    def test_a_fit_says_how_much_symmetry_is_left(self, options, to, tmp_path: Path, capsys):
        """Of nets that may leave their group; of others it would be rounding."""
        data = ["--data.num_train=20", "--data.num_val=11", "--data.num_test=23", f"--trainer.default_root_dir={tmp_path}"]
        assert main(["fit", *data, "--model.hidden_channels=3", *options, "--trainer.max_epochs=2"]) == 0
        printed = capsys.readouterr().out
        found = re.findall(r"equivariance error of the net, to (.+): (\S+) \(0 is exact, 1 as large as its outputs\)", printed)
        assert "best val_loss" in printed and "checkpoints: " in printed and [name for name, _ in found] == to
        assert all(1e-3 < float(error) < 2 for _, error in found)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--model.layer=chian"], "did you mean chain?"),
            (["--model.layer=residual", "--model.relaxation={identifable: true}"], "did you mean 'identifiable'?"),
            (["--model.layer=sum", "--model.beside=[{class_path: Coarsend}]"], "no class 'Coarsend'; did you mean Coarsened?"),
            (["--model.layer=chain", "--model.beside=[{class_path: Coarsened, init_args: {num_cluster: 4}}]"], "num_clusters"),
            (["--trainer.callbacks=Aneal"], "did you mean Anneal?"),
            (["--trainer.callbacks=Anneal", "--trainer.callbacks.name=rate"], "takes no 'name'; it takes attribute, schedule"),
            (["--trainer.callbacks=GroupAugmentation", "--trainer.callbacks.kind=lzy"], "did you mean lazy?"),
        ],
    )  # fmt: skip
    def test_misspellings_are_answered(self, arguments, message, capsys):
        assert main(["fit", *arguments, "--trainer.max_epochs=1", "--trainer.logger=false"]) == 2
        assert message in capsys.readouterr().err
