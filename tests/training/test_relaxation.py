"""Callbacks around the net of any LightningModule: what they add to the gradient, and what they leave behind."""

import copy
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch_geometric.nn import GCNConv

from gnet.errors import ConfigError
from gnet.groups import ClusterGroup, PermutationGroup, TrivialGroup
from gnet.measures import equivariance_error
from gnet.nn import EquivariantLinear, GNet
from gnet.nn.relaxed import Augmentation
from gnet.nn.relaxed.moving import error_at
from gnet.randomness import derive_seed
from gnet.training.around import MEASURED
from gnet.training.callbacks import BestWeights
from gnet.training.log_equivariance import LogEquivariance
from gnet.training.module import GNetModule
from gnet.training.relaxation import Anneal, EquivariancePenalty, GroupAugmentation
from gnet.training.symmetry import Coarsened, Symmetric, Trivial
from tests.nn.relaxed.cases import CLUSTERS, GROUP
from tests.training.small import quiet_trainer, small_digits, small_module


class Stranger(LightningModule):
    """Somebody else's module: one layer, plain SGD."""

    def __init__(self, net: nn.Module | None = None, lr: float = 0.1) -> None:
        super().__init__()
        self.net = EquivariantLinear(TrivialGroup(6), 1, 2, generator=torch.Generator().manual_seed(3)) if net is None else net
        self.lr = lr

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return (self.net(x) - y).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def pairs(num: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(num, 6, 1, generator=generator), torch.randn(num, 6, 2, generator=generator)


def fit(module: LightningModule, *callbacks: Any, num: int = 8, batch_size: int = 8, **settings: Any) -> LightningModule:
    trainer = quiet_trainer(*callbacks, **{"max_epochs": 1, **settings})
    trainer.fit(module, DataLoader(TensorDataset(*pairs(num)), batch_size=batch_size))
    return module


def drawn_by(callback: type, epoch: int = 0) -> torch.Generator:
    """The generator that a callback draws from, written out."""
    return torch.Generator().manual_seed(derive_seed(0, "noise", callback.__name__, epoch, 0))


def one_step(net: nn.Module, loss: Tensor, lr: float = 0.1) -> list[Tensor]:
    """The weights after one step of gradient descent."""
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    return [(p - lr * g).detach() for p, g in zip(net.parameters(), gradients, strict=True)]


def same(module: LightningModule, weights: list[Tensor]) -> None:
    for got, expected in zip(module.net.parameters(), weights, strict=True):
        torch.testing.assert_close(got.detach(), expected)


class TestPenalty:
    def test_adds_to_the_loss_of_a_stranger(self):
        net, (x, y) = Stranger().net, pairs()
        g = GROUP.sample(1, drawn_by(EquivariancePenalty))[0]
        expected = (net(x) - y).square().mean() + 0.3 * error_at(net, g, x, (), net(x), GROUP, None, None)
        same(fit(Stranger(), EquivariancePenalty(GROUP, 0.3)), one_step(net, expected))

    def test_many_elements_are_a_mean(self):
        net, (x, y) = Stranger().net, pairs()
        drawn = GROUP.sample(4, drawn_by(EquivariancePenalty))
        terms = [error_at(net, g, x, (), net(x), GROUP, None, None) for g in drawn]
        expected = (net(x) - y).square().mean() + 0.3 * torch.stack(terms).mean()
        same(fit(Stranger(), EquivariancePenalty(GROUP, 0.3, num_samples=4)), one_step(net, expected))

    def test_accumulated_gradients_are_means(self):
        """Two batches in one step: the mean of their losses and of their penalties."""
        net, (x, y) = Stranger().net, pairs(16)
        draws, total = drawn_by(EquivariancePenalty), torch.zeros(())
        for part in (slice(0, 8), slice(8, 16)):
            g = GROUP.sample(1, draws)[0]
            here = (net(x[part]) - y[part]).square().mean() + 0.3 * error_at(net, g, x[part], (), net(x[part]), GROUP, None, None)
            total = total + here / 2
        module = fit(Stranger(), EquivariancePenalty(GROUP, 0.3), num=16, accumulate_grad_batches=2)
        same(module, one_step(net, total))

    def test_a_gradient_scaler_scales_both(self):
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        settings = {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}
        scaled = fit(Stranger(), EquivariancePenalty(GROUP, 0.3), **settings)
        plain = fit(Stranger(), EquivariancePenalty(GROUP, 0.3))
        for got, expected in zip(scaled.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-2)
        free = fit(Stranger())
        gaps = [(one - other).abs().max() for one, other in zip(plain.parameters(), free.parameters(), strict=True)]
        assert float(torch.stack(gaps).max().detach()) > 1e-2

    def test_logs_and_costs_one_more_call(self):
        module, calls = Stranger(), []
        forward = module.net.forward
        module.net.forward = lambda x: calls.append(len(x)) or forward(x)
        trainer = quiet_trainer(EquivariancePenalty(GROUP), max_epochs=1)
        trainer.fit(module, DataLoader(TensorDataset(*pairs()), batch_size=4))
        assert calls == [4] * (4 + 1 + MEASURED)
        assert float(trainer.callback_metrics["equivariance_penalty"]) > 0

    def test_nothing_is_left_behind(self):
        module = fit(Stranger(), EquivariancePenalty(GROUP), GroupAugmentation(GROUP))
        assert not module.net._forward_hooks and not module.net._forward_pre_hooks
        copy.deepcopy(module)

    def test_large_weights_lead_to_the_group(self, rng):
        x = torch.randn(50, 6, 1, generator=rng)
        errors = []
        for weight in (0.0, 0.3, 3.0):
            module = fit(Stranger(lr=0.02), EquivariancePenalty(GROUP, weight), max_epochs=60)
            errors.append(equivariance_error(module.net.double(), x.double(), GROUP, num_samples=None).relative)
        assert errors[0] > errors[1] > errors[2]
        assert errors[2] < 0.1 * errors[0]

    def test_manual_optimisation_is_refused(self):
        module = Stranger()
        module.automatic_optimization = False
        with pytest.raises(ConfigError, match=r"does its own backward pass .*add gnet\.nn\.relaxed\.equivariance_penalty"):
            fit(module, EquivariancePenalty(GROUP))


class TestAugmentation:
    @pytest.mark.parametrize("options", [{}, {"kind": "lazy", "p": 0.5}, {"kind": "partial", "clusters": [1], "per": "batch"}])
    def test_trains_on_moved_pairs(self, options):
        net, (x, y) = Stranger().net, pairs()
        elements = Augmentation(GROUP, **options).draw(x, drawn_by(GroupAugmentation))
        elements = elements.expand(8, -1)
        moved = [torch.stack([GROUP.act(g, item) for g, item in zip(elements, signal, strict=True)]) for signal in (x, y)]
        module = fit(Stranger(), GroupAugmentation(GROUP, **options))
        same(module, one_step(net, (net(moved[0]) - moved[1]).square().mean()))

    @pytest.mark.parametrize("order", [1, -1])
    def test_goes_together_with_a_penalty(self, order):
        """The penalty is that of the net itself, at the moved inputs."""
        net, (x, y) = Stranger().net, pairs()
        elements = Augmentation(GROUP).draw(x, drawn_by(GroupAugmentation))
        moved = [torch.stack([GROUP.act(g, item) for g, item in zip(elements, signal, strict=True)]) for signal in (x, y)]
        g = GROUP.sample(1, drawn_by(EquivariancePenalty))[0]
        loss = (net(moved[0]) - moved[1]).square().mean()
        loss = loss + 0.3 * error_at(net, g, moved[0], (), net(moved[0]), GROUP, None, None)
        callbacks = [EquivariancePenalty(GROUP, 0.3), GroupAugmentation(GROUP)][::order]
        same(fit(Stranger(), *callbacks), one_step(net, loss))

    def test_evaluation_is_not_moved(self):
        module, data = small_module(symmetry=Trivial()), small_digits()
        trainer = quiet_trainer(GroupAugmentation(Symmetric()), BestWeights(), max_epochs=2)
        trainer.fit(module, datamodule=data)
        free = trainer.validate(module, data, verbose=False)[0]["val_loss"]
        x, y, _ = data.val_arrays()
        with torch.no_grad():
            assert free == pytest.approx(float((module(x) - y).square().mean()), rel=1e-5)


class OnEdges(Stranger):
    """Its net takes edges, as those of PyG do."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(GCNConv(1, 2))
        ring = torch.arange(6)
        self.edges = torch.stack([ring, (ring + 1) % 6])

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return (self.net(x, self.edges) - y).square().mean()


@pytest.mark.parametrize("kind", [EquivariancePenalty, GroupAugmentation])
class TestOfAnyNet:
    def test_edges_stay_and_the_error_is_logged(self, kind):
        module, trainer, seen = OnEdges(), quiet_trainer(kind(GROUP), max_epochs=1), []
        forward = module.net.forward
        module.net.forward = lambda x, edges: seen.append(edges) or forward(x, edges)
        trainer.fit(module, DataLoader(TensorDataset(*pairs()), batch_size=8))
        assert all(torch.equal(edges, module.edges) for edges in seen)
        logged = float(trainer.callback_metrics[kind.measured])
        exact = equivariance_error(lambda x: forward(x, module.edges), pairs()[0], GROUP, num_samples=300).relative
        assert logged == pytest.approx(exact, rel=0.5) and exact > 0.1
        assert module.net.training

    def test_one_callback_serves_two_modules(self, kind, rng):
        """With one value per graph outputs do not move; at nodes of the next module they do."""
        callback = kind(PermutationGroup([[1, 0, 2, 3, 4, 5]]))
        of_graphs = Stranger(nn.Sequential(nn.Flatten(), nn.Linear(6, 2)))
        of_graphs.domain = SimpleNamespace(target="graph")
        of_graphs.training_step = lambda batch, batch_idx: of_graphs.net(batch[0]).square().mean()
        fit(of_graphs, callback)
        assert callback.action_out is None
        again, fresh = fit(Stranger(), callback), fit(Stranger(), kind(PermutationGroup([[1, 0, 2, 3, 4, 5]])))
        for one, other in zip(again.parameters(), fresh.parameters(), strict=True):
            assert torch.equal(one, other)


class TestOfGNets:
    def test_groups_come_from_the_module_or_from_rules(self):
        module = small_module(symmetry=Coarsened(4, "patches"))
        trainer = quiet_trainer(EquivariancePenalty(), BestWeights(), max_epochs=1)
        trainer.fit(module, datamodule=small_digits())
        assert float(trainer.callback_metrics["equivariance_penalty"]) < 1e-8, "of its own group it has none"
        trainer = quiet_trainer(EquivariancePenalty(Symmetric()), LogEquivariance(every=1), BestWeights(), max_epochs=1)
        trainer.fit(small_module(symmetry=Coarsened(4, "patches")), datamodule=small_digits())
        assert float(trainer.callback_metrics["equivariance_penalty"]) > 1e-3

    def test_a_resumed_fit_draws_what_an_undisturbed_one_does(self, tmp_path):
        def run(trainer: Any, **more: Any) -> GNetModule:
            module = small_module(symmetry=Trivial(), keep="last")
            trainer.fit(module, datamodule=small_digits(), **more)
            return module

        def trainer(epochs: int) -> Any:
            return quiet_trainer(EquivariancePenalty(Symmetric(), 0.1), GroupAugmentation(Symmetric()), max_epochs=epochs)

        whole, half = run(trainer(4)), trainer(2)
        run(half)
        half.save_checkpoint(tmp_path / "half.ckpt")
        resumed = run(trainer(4), ckpt_path=tmp_path / "half.ckpt")
        for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
            assert torch.equal(one, other)


class TestAnneal:
    def test_ends_exactly_equivariant(self):
        seen = []

        class Watch(BestWeights):
            def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
                seen.append(float(pl_module.net.blocks[0].linear.strength))

        module = small_module(layer="residual", relaxation={"scale": 0.5}, keep="last")
        trainer = quiet_trainer(Anneal("strength", [0, 1, 0]), Watch(), max_epochs=5)
        trainer.fit(module, datamodule=small_digits(batch_size=5))
        assert len(seen) == 20 and seen == pytest.approx([min(step, 20 - step) / 10 for step in range(20)])
        assert [block.linear.equivariance_error() for block in module.net.blocks] == [0.0, 0.0]
        x = torch.randn(4, 64, 1)
        assert equivariance_error(module.net, x, module.group).relative < 1e-5
        free = module.net.blocks[0].linear.residual.dense() - 0.5 * module.net.blocks[0].linear.equivariant.dense()
        assert float(free.detach().abs().max()) > 1e-3, "and its residual path was trained"
        logged = trainer.callback_metrics["val_loss"]
        x, y, _ = small_digits_arrays()
        with torch.no_grad():
            assert float(logged) == pytest.approx(float((module.eval()(x) - y).square().mean()), rel=1e-4), "of the last net"

    def test_hardens_soft_clusters(self):
        module = small_module(layer="soft", symmetry=Coarsened(4, "patches"), keep="last")
        quiet_trainer(Anneal("temperature", [1.0, 1e-4]), max_epochs=3).fit(module, datamodule=small_digits())
        for block in module.net.blocks:
            assert float(block.linear.temperature) == pytest.approx(1e-4)
            assert block.linear.equivariance_error() < 1e-6

    def test_a_fit_that_stops_early_arrives_too(self):
        module = small_module(layer="residual", keep="last")

        class Stop(BestWeights):
            def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
                trainer.should_stop = True

        quiet_trainer(Anneal(), Stop(), max_epochs=50).fit(module, datamodule=small_digits())
        assert float(module.net.blocks[0].linear.strength) == 0.0

    def test_a_checkpoint_of_the_best_epoch_is_named(self, tmp_path):
        def annealed(**settings):
            module = small_module(layer="residual", keep="last")
            trainer = quiet_trainer(Anneal(), ModelCheckpoint(tmp_path, **settings), max_epochs=1, enable_checkpointing=True)
            trainer.fit(module, datamodule=small_digits())

        with pytest.warns(UserWarning, match=r"ModelCheckpoint\(monitor='val_loss'\) keeps a net of an epoch that may be before"):
            annealed(monitor="val_loss")
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="ModelCheckpoint")
            annealed(save_last=True)

    def test_plain_numbers_and_several_at_once(self):
        net = GNet(ClusterGroup(CLUSTERS), 1, 2, 2)
        net.alpha = 3.0
        fit(Stranger(net), Anneal("alpha", [2.0]), max_epochs=1)
        assert net.alpha == 2.0
        assert Anneal("alpha").state_key != Anneal("strength").state_key

    @pytest.mark.parametrize(
        ("schedule", "done", "value"),
        [([0, 1, 0], 0.75, 0.5), ([1.0], 0.3, 1.0), ([0, 3], 2.0, 3.0), ([4, 2, 1, 0], 0.5, 1.5), ([1, 0], -1.0, 1.0)],
    )
    def test_schedules_are_piecewise_linear(self, schedule, done, value):
        assert Anneal(schedule=schedule).value(done) == pytest.approx(value)

    def test_what_cannot_be_annealed_is_refused(self):
        with pytest.raises(ConfigError, match=r"no layer has a number 'strenght'; layer='residual' has strength"):
            fit(Stranger(), Anneal("strenght"))
        for schedule in ([], ["a"], [float("nan")], 3):
            with pytest.raises(ConfigError, match="expected a schedule of numbers"):
                Anneal(schedule=schedule)
        with pytest.raises(ConfigError, match=r"keep the last one: --model\.keep last"):
            quiet_trainer(Anneal(), BestWeights()).fit(small_module(layer="residual"), datamodule=small_digits())
        with pytest.raises(ConfigError, match="a schedule needs a fit that ends"):
            quiet_trainer(Anneal(), max_epochs=-1).fit(small_module(layer="residual"), datamodule=small_digits())


def small_digits_arrays() -> Any:
    data = small_digits()
    data.setup()
    return data.val_arrays()


def test_nets_and_groups_that_cannot_be_found():
    class Two(Stranger):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = self.net, nn.Linear(1, 1)
            del self.net

    with pytest.raises(ConfigError, match=r"several parts that may be its net \(one, two\); name one: module="):
        fit(Two(), EquivariancePenalty(GROUP))
    with pytest.raises(ConfigError, match="has no submodule 'nets'; it has net, "):
        fit(Stranger(), EquivariancePenalty(GROUP, module="nets"))
    with pytest.raises(ConfigError, match=r"Stranger has no group of its own; give EquivariancePenalty\(group\)"):
        fit(Stranger(), EquivariancePenalty())
    with pytest.raises(ConfigError, match="makes a group of a GNetModule's graph, and Stranger has none"):
        fit(Stranger(), GroupAugmentation(Symmetric()))
    with pytest.raises(ConfigError, match="expected a group or a rule that makes one, got list"):
        GroupAugmentation([[1, 0]])
    with pytest.raises(ConfigError, match="expected weight >= 0"):
        EquivariancePenalty(GROUP, -1.0)
    with pytest.raises(ConfigError, match="kind='partial' shuffles clusters"):
        fit(Stranger(), GroupAugmentation(PermutationGroup([[1, 0, 2, 3, 4, 5]]), "partial"))


def test_a_named_part_may_be_the_net():
    class Two(Stranger):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(self.net)
            del self.net
            self.other = nn.Linear(1, 1)

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            return self.encoder(batch[0]).square().mean() + self.other.weight.square().sum()

    module = Two()
    plain, penalised = copy.deepcopy(module), copy.deepcopy(module)
    fit(plain)
    fit(penalised, EquivariancePenalty(GROUP, 1.0, module="encoder.0"))
    assert torch.equal(plain.other.weight, penalised.other.weight)
    assert not torch.allclose(next(plain.encoder[0].parameters()), next(penalised.encoder[0].parameters()))
