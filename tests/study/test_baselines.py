"""Baselines: each is what its name says, and none sees the test set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnet.errors import ConfigError
from gnet.groups import PermutationGroup
from gnet.measures import equivariance_error
from gnet.study.baseline_nets import CNN, GCN, NETS, PerNodeMLP
from gnet.study.baselines import fit_mean, fit_ridge, last_value, masked_loss, train_baseline
from gnet.study.plan import choose_baselines
from gnet.training.checkpoint import Domain
from gnet.training.datamodule import Batch
from gnet.training.standardise import Scaling
from gnet.training.symmetry import Trivial

CONFIG: dict[str, Any] = {
    "seed_everything": 3,
    "model": {"symmetry": {"class_path": "gnet.training.symmetry.Trivial", "init_args": {}}, "hidden_channels": 4, "seed": 3},
    "data": {"class_path": "gnet.training.data.Digits", "init_args": {"seed": 3, "num_test": 50}},
    "trainer": {"max_epochs": 2, "accelerator": "cpu"},
}


def batch(x: Tensor, y: Tensor, mask: Tensor | None = None) -> Batch:
    return Batch(x, y, torch.ones_like(y, dtype=torch.bool) if mask is None else mask)


def test_ridge_finds_a_linear_map_and_shrinks_noise(rng: torch.Generator) -> None:
    theta = torch.randn(6, 4, generator=rng)
    x, x_val = torch.randn(40, 3, 2, generator=rng), torch.randn(30, 3, 2, generator=rng)
    linear = [batch(each, (each.flatten(1) @ theta + 5).reshape(-1, 2, 2)) for each in (x, x_val)]
    predict, num_weights = fit_ridge(*linear, "mse")
    assert num_weights == 24
    assert masked_loss(predict(x_val), linear[1], "mse") < 1e-6
    noise = [batch(each, torch.randn(len(each), 3, 1, generator=rng)) for each in (x, x_val)]
    predict, _ = fit_ridge(*noise, "mse")
    with_offset = [torch.cat([each.flatten(1), torch.ones(len(each), 1)], 1) for each in (x, x_val)]
    least_squares = torch.linalg.lstsq(with_offset[0], noise[0].y.flatten(1)).solution
    plain = masked_loss((with_offset[1] @ least_squares).reshape(-1, 3, 1), noise[1], "mse")
    assert masked_loss(predict(x_val), noise[1], "mse") < plain * (1 + 1e-4)  # the smallest penalty is next to none


def test_ridge_solves_more_inputs_than_samples(rng: torch.Generator) -> None:
    x = torch.randn(5, 20, 1, generator=rng)
    predict, _ = fit_ridge(batch(x, x), batch(x, x), "mse")
    assert predict(x).shape == x.shape
    assert torch.allclose(predict(x), x, atol=1e-3)


def test_the_mean_leaves_out_what_does_not_count() -> None:
    y = torch.tensor([[[1.0]], [[3.0]], [[100.0]]])
    mask = torch.tensor([[[True]], [[True]], [[False]]])
    predict, num_weights = fit_mean(batch(y, y, mask), batch(y, y), "mse")
    assert predict(torch.zeros(2, 1, 1)).flatten().tolist() == [2.0, 2.0]
    assert num_weights == 0


def test_the_last_value_is_that_of_the_last_step() -> None:
    x = torch.arange(12.0).reshape(1, 2, 6)  # 3 steps of 2 channels
    assert last_value(channels=2, horizon=2)(x).tolist() == [[[4.0, 5.0, 4.0, 5.0], [10.0, 11.0, 10.0, 11.0]]]


def test_a_gcn_commutes_with_the_graphs_automorphisms(rng: torch.Generator) -> None:
    ring = torch.stack([torch.arange(5), (torch.arange(5) + 1) % 5])
    graph = Data(edge_index=torch.cat([ring, ring.flip(0)], 1), num_nodes=5)
    net = GCN(graph, [2, 8, 1], "relu").double()
    x = torch.randn(7, 5, 2, generator=rng, dtype=torch.float64)
    turn, swap = PermutationGroup([[1, 2, 3, 4, 0]]), PermutationGroup([[1, 0, 2, 3, 4]])
    assert equivariance_error(net, x, turn, generator=rng).relative < 1e-12
    assert equivariance_error(net, x, swap, generator=rng).relative > 1e-3


def test_a_perceptron_per_node_sees_its_node_alone(rng: torch.Generator) -> None:
    net = PerNodeMLP(Data(num_nodes=4), [1, 8, 1], "tanh")  # units of relu may all be off
    x = torch.randn(1, 4, 1, generator=rng)
    moved = x.clone()
    moved[0, 2] += 1
    changed = (net(moved) != net(x)).flatten()
    assert changed.tolist() == [False, False, True, False]


def test_a_convolution_moves_with_what_it_sees(rng: torch.Generator) -> None:
    image = torch.zeros(3, 12, 15, 2)
    image[:, 4:7, 5:9] = torch.randn(3, 3, 4, 2, generator=rng)

    def error(net: torch.nn.Module) -> float:
        """Of moving the image, less what the net makes of nothing: near a border it is another net."""
        nothing = net(torch.zeros(1, 180, 2)).unflatten(1, (12, 15))
        here, there = (net(each.flatten(1, 2)).unflatten(1, (12, 15)) - nothing for each in (image, image.roll((2, -1), (1, 2))))
        return float((here.roll((2, -1), (1, 2)) - there).detach().abs().max())

    assert error(CNN((12, 15), [2, 4, 1], "relu", kernel_size=3)) < 1e-6
    assert error(PerNodeMLP(Data(num_nodes=180), [2, 4, 1], "relu")) > 1e-2


@pytest.mark.parametrize("name", NETS)
def test_beside_a_recurrent_net_of_one_cell_no_net_is_linear(name: str, rng: torch.Generator) -> None:
    """The second difference of a linear map with offsets is 0; a study of linear models keeps its linear baselines."""

    def second_difference(**settings: Any) -> float:
        module = NETS[name](Trivial(), hidden_channels=8, num_layers=1, **settings)
        graph = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        module.build(Domain(graph, (1, 3), 2, 1, "node", Scaling.identity(2, 1), list("abc")))
        x = torch.randn(9, 3, 2, generator=rng)
        return float((module(x) + module(-x) - 2 * module(torch.zeros_like(x))).detach().abs().max())

    assert second_difference(architecture="gru") > 1e-3
    assert second_difference() < 1e-5


@pytest.mark.parametrize("name", [*choose_baselines(None, object()), "cnn"])
def test_every_baseline_trains_under_the_protocol(name: str, tmp_path: Path) -> None:
    first, again = (train_baseline(name, CONFIG, threads=1) for _ in range(2))
    assert first.predictions.shape == (50, 64, 1)
    assert (first.val_loss, first.test_loss) == (again.val_loss, again.test_loss)
    assert (first.predictions == again.predictions).all()
    assert first.num_clusters == (1 if name in ("gcn", "cnn") else 64)
    weights = {"gcn": 2 * 4, "mlp_per_node": 64 * 2 * 4, "cnn": 49 * 2 * 4, "ridge": 64 * 64, "mean": 0}
    assert first.num_weights == weights[name]
    batch = first.datamodule.test_arrays()
    with torch.no_grad():
        assert masked_loss(first.function(batch.x), batch, "mse") == pytest.approx(first.test_loss, rel=1e-5)


def test_in_a_forecast_the_mean_is_a_mean_and_the_last_value_is_the_last(tmp_path: Path) -> None:
    np.savez(tmp_path / "series.npz", x=np.random.default_rng(0).standard_normal((90, 3, 2)).cumsum(0))
    (tmp_path / "edges.csv").write_text("source,target\n0,1\n1,2\n")
    settings = {"root": str(tmp_path), "signals": "series.npz", "edges": "edges.csv", "task": "forecast"}
    data = {"class_path": "gnet.training.data.FromFiles", "init_args": settings | {"horizon_in": 3, "horizon_out": 2}}
    mean, last = (train_baseline(name, CONFIG | {"data": data}, threads=1) for name in ("mean", "last_value"))
    test = last.datamodule.test_arrays()
    assert torch.equal(torch.from_numpy(last.predictions), torch.cat([test.x[..., -2:]] * 2, -1))
    assert mean.predictions == pytest.approx(mean.datamodule.train_arrays().y.mean(0).expand_as(test.y).numpy(), abs=1e-5)


def test_baselines_that_do_not_exist_or_fit_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown baseline lasso\. Expected some of gcn, mlp_per_node, cnn, ridge, mean, last_value"
    ):
        train_baseline("lasso", CONFIG, threads=1)
    with pytest.raises(ConfigError, match="last_value repeats the last step before a forecast, and this is none; take mean"):
        train_baseline("last_value", CONFIG, threads=1)
    for refused in (
        lambda: choose_baselines(["cnn"], object()),
        lambda: NETS["cnn"](Trivial()).build(Domain(Data(num_nodes=3), None, 2, 1, "node", Scaling.identity(2, 1), list("abc"))),
    ):
        with pytest.raises(ConfigError, match="cnn convolves images, and these nodes are no grid of pixels; take gcn"):
            refused()
