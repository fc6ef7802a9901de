"""The LightningModule: when the net is built, what is logged, the projected estimator."""

from pathlib import Path

import pytest
import torch

from gnet.errors import ConfigError
from gnet.groups import SymmetricGroup
from gnet.measures import equivariance_error, project
from gnet.randomness import streams
from gnet.training.callbacks import BestWeights, WriteCheckpoints
from gnet.training.checkpoint import Domain, build_net, load
from gnet.training.datamodule import Batch
from gnet.training.module import GNetModule
from gnet.training.symmetry import Coarsened, Symmetric, Trivial
from tests.training.small import quiet_trainer, small_digits, small_module


def built(**settings) -> GNetModule:
    module = small_module(**settings)
    module.build(Domain.of(small_digits()))
    return module


def test_without_a_trainer_no_net_is_built():
    module = small_module()
    module.configure_model()
    assert module.net is None
    with pytest.raises(ConfigError, match="built when a trainer is attached"):
        module(torch.zeros(1, 64, 1))


def test_a_net_that_exists_is_kept():
    module = built()
    net = module.net
    module._trainer = object()  # type: ignore[assignment]
    module.configure_model()
    assert module.net is net


def test_weights_come_from_the_init_stream_of_the_seed_alone():
    torch.manual_seed(1)
    first = built(seed=5)
    torch.manual_seed(2)
    second, third = built(seed=5), built(seed=6)
    for a, b, c in zip(first.parameters(), second.parameters(), third.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c) or not a.any()


def test_hyper_parameters_are_primitives():
    module = small_module(project_onto=Symmetric(), num_layers=1)
    flat = [*module.hparams["symmetry"]["init_args"].values(), *(v for v in module.hparams.values() if not isinstance(v, dict))]
    assert all(value is None or isinstance(value, (str, int, float)) for value in flat)
    assert GNetModule(**module.hparams).project_onto == Symmetric()


def test_logged_means_are_means_over_entries_with_a_ragged_last_batch(rng: torch.Generator):
    data = small_digits(batch_size=8)  # 11 validation samples: batches of 8 and 3
    for split in ("train", "val", "test"):
        batch = data.samples(split).all()
        counted = torch.rand(batch.y.shape, generator=rng) < torch.rand(len(batch.y), 1, 1, generator=rng)
        data.samples(split).batch = Batch(batch.x, batch.y, counted)
    module = small_module(lr=1e-30)  # so that all batches of the epoch meet the same weights
    trainer = quiet_trainer(max_epochs=1, num_sanity_val_steps=0)
    trainer.fit(module, datamodule=data)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    trainer.test(module, datamodule=data, verbose=False)
    logged |= {name: float(value) for name, value in trainer.callback_metrics.items()}
    for split in ("train", "val", "test"):
        x, y, mask = data.samples(split).all()
        with torch.no_grad():
            expected = (module(x) - y)[mask].double().square().mean()
        assert logged[f"{split}_loss"] == pytest.approx(float(expected), rel=1e-5)
    x, y, mask = data.samples("test").all()
    in_units = (module(x) - y)[mask].abs().mean() * data.scaling.y.std
    assert logged["test_mae_units"] == pytest.approx(float(in_units), rel=1e-4)


@pytest.mark.parametrize(("loss", "power"), [("mse", 2), ("mae", 1)])
def test_loss_counts_masked_entries_only(loss: str, power: int, rng: torch.Generator):
    module = built(loss=loss)
    x, y = torch.randn(2, 5, 64, 1, generator=rng)
    mask = torch.rand(y.shape, generator=rng) < 0.3
    errors = module.errors(x, Batch(x, y, mask))
    assert torch.allclose(errors.sum(), ((x - y)[mask].abs() ** power).sum(), rtol=1e-5)
    assert not errors[~mask].any()


def test_a_graph_target_ends_in_an_invariant_layer():
    domain = Domain.of(small_digits())
    domain = Domain(**{**vars(domain), "target": "graph", "out_channels": 2})
    group = Coarsened(4, "patches")(domain.graph, domain.grid_shape)
    x = torch.randn(3, 64, 1, dtype=torch.float64)
    for num_layers in (1, 2, 3):
        settings = dict(small_module(num_layers=num_layers).hparams)
        net = build_net(domain, group, settings, streams(0)["init"]).double()
        assert net(x).shape == (3, 2)
        assert len(net.blocks) == num_layers
        moved = group.act(group.sample(1)[0], x)
        assert torch.allclose(net(moved), net(x))


def test_project_onto_needs_one_layer():
    with pytest.raises(ConfigError, match="needs num_layers=1, got num_layers=2"):
        small_module(project_onto=Symmetric())


def test_project_onto_replaces_the_net_by_its_average():
    module = small_module(symmetry=Trivial(), project_onto=Coarsened(4, "patches"), num_layers=1, keep="last")
    free: list[torch.Tensor] = []

    class Watch(BestWeights):
        def on_train_end(self, trainer, pl_module):
            free.append(pl_module.net.blocks[0].linear.dense().detach().clone())

    data = small_digits()
    quiet_trainer(Watch()).fit(module, datamodule=data)
    group = Coarsened(4, "patches")(data.graph, data.grid_shape)
    assert module.group == group
    dense = module.net.blocks[0].linear.dense()
    assert torch.allclose(dense, project(free[0], group), atol=1e-6)
    assert not torch.allclose(dense, free[0], atol=1e-3)
    x = torch.randn(4, 64, 1)
    assert equivariance_error(module.net, x, group).relative < 1e-5


def test_a_checkpoint_is_validated_as_the_net_it_is_projected_to(tmp_path: Path):
    settings = {"symmetry": Trivial(), "project_onto": Coarsened(4, "patches"), "num_layers": 1}
    data, best = small_digits(), BestWeights()
    trainer = quiet_trainer(best, WriteCheckpoints(best), enable_checkpointing=True, default_root_dir=tmp_path)
    trainer.fit(small_module(**settings), datamodule=data)
    path = tmp_path / "checkpoints" / "best.ckpt"
    found = quiet_trainer().validate(small_module(**settings), data, ckpt_path=path, verbose=False)[0]["val_loss"]
    x, y, _ = data.val_arrays()
    with torch.no_grad():
        assert found == pytest.approx(float((load(path)(x) - y).square().mean()), rel=1e-5)
    assert found != pytest.approx(best.best, rel=1e-3)


def test_project_onto_averages_invariant_weights(rng: torch.Generator):
    from gnet.training.checkpoint import projected

    domain = Domain(**{**vars(Domain.of(small_digits())), "target": "graph"})
    settings = dict(small_module(num_layers=1).hparams)
    net = build_net(domain, Trivial()(domain.graph), settings, rng)
    mean = projected(net, domain, SymmetricGroup(64), settings)
    expected = net.blocks[0].dense().mean(1, keepdim=True).expand(-1, 64, -1)
    assert torch.allclose(mean.blocks[0].dense(), expected, atol=1e-6)
    x = torch.randn(3, 64, 1, generator=rng)
    assert torch.allclose(mean(x), x.mean(1) * expected.sum(1).T + net.blocks[0].bias, atol=1e-5)


def test_bad_settings_are_refused_where_they_are_made():
    with pytest.raises(ConfigError, match="expected lr > 0"):
        small_module(lr=0.0)
    with pytest.raises(ConfigError, match="expected loss to be one of 'mse', 'mae', 'cross_entropy', got 'rmse'"):
        small_module(loss="rmse")


def test_dropout_noise_depends_on_seed_and_epoch_alone():
    module = small_module(dropout=0.5)
    draws = []
    for before in (1, 2):
        torch.manual_seed(before)
        module.on_train_epoch_start()
        draws.append(torch.rand(3))
    assert torch.equal(*draws)
