"""The experiments in small: their nets have the symmetry, their tables the rows, and the same seeds give the same numbers."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from gnet import equivariance_error
from gnet.errors import ConfigError, NonFiniteError
from gnet.plugins.geometric_images import ImageGroup, Signature
from gnet.plugins.geometric_images.experiment import FlowPrediction, ToyTask
from gnet.plugins.geometric_images.fitting import Fit, norm_of_difference, relative_difference
from gnet.plugins.geometric_images.tasks import task
from gnet.study.finished import FinishedRuns

SMALL = {"seeds": 2, "side": 8, "num_val": 2, "num_test": 3, "max_epochs": 2}
VECTOR = Signature(2, {(1, 1): 1})
NAMES = ["gravity", "charges", "gravity, complete", "charges, complete", "flow"]


def simulations():
    return {
        "gravity": ToyTask("gravity", [2, 3], **SMALL),
        "charges": ToyTask("charges", [2], channels=1, cnn_channels=3, **SMALL),
        "gravity, complete": ToyTask("gravity", [2], net="complete", filters=[0, 1], **SMALL),
        "charges, complete": ToyTask("charges", [2], net="complete", channels=2, cnn_channels=3, **SMALL),
        "flow": FlowPrediction([2], channels=2, time=0.1, **SMALL),
    }


@pytest.mark.parametrize("name", NAMES)
def test_nets_have_the_symmetry_of_the_task_and_cnns_have_not(name, rng):
    simulation = simulations()[name]
    group = ImageGroup(8, torus=name == "flow")
    given = VECTOR if name == "flow" else task(name.split(",")[0]).sig_in
    x, y = simulation.data(3, rng)
    for model in ("ginet", "cnn"):
        net = simulation.network(model, rng).double()
        assert net(x.double()).shape == y.shape
        error = equivariance_error(
            net, x.double(), group, given.action(group), VECTOR.action(group), num_samples=6, generator=rng
        ).relative
        assert (error < 1e-10) == (model == "ginet")


@pytest.mark.parametrize("name", NAMES)
def test_tables_and_pictures(name, tmp_path):
    simulation, again = simulations()[name], simulations()[name]
    lines = simulation.run()
    losses = [line for line in lines if line.quantity == "test_loss"]
    assert len(losses) == 1 + 2 * len(simulation.sizes)
    assert all(0 < line.measured < 100 for line in losses)
    assert [line.measured for line in again.run()] == [line.measured for line in lines]
    text = simulation.summary(lines)
    assert f"| {simulation.sizes[0]} | " in text and simulation.reference in text
    figure = simulation.draw(lines)
    assert [axes.get_title() for axes in figure.axes[1:]] == ["target", "GI-Net"]
    figure.savefig(tmp_path / "figure.png")


def losses_of(simulation):
    lines = simulation.run()
    return lines, {line.settings["model"]: line.measured for line in lines if line.quantity == "test_loss"}


def test_a_published_linear_net_learns_gravity_and_beats_its_cnn():
    simulation = ToyTask("gravity", [5], 1, side=8, num_val=5, num_test=20, max_epochs=100)
    lines, found = losses_of(simulation)
    assert found["ginet"] < 0.3 * found["zero field"] and found["ginet"] < 0.8 * found["cnn"]
    assert "GI-Net below CNN at every size: met. Least ratio: at 5 images." in simulation.summary(lines)
    swap = {"ginet": "cnn", "cnn": "ginet"}
    liar = [replace(line, settings={**line.settings, "model": swap.get(line.settings["model"], "zero field")}) for line in lines]
    assert "GI-Net below CNN at every size: not met at 5 images." in simulation.summary(liar)


def test_a_flow_net_beats_no_change():
    small = {"side": 16, "time": 0.1, "num_val": 4, "num_test": 10, "max_epochs": 40}
    _, found = losses_of(FlowPrediction([8], 1, ["ginet"], **small))
    assert found["ginet"] < 0.8 * found["no change"]


def test_the_rule_holds_at_every_size_or_says_where_not():
    verdict = ToyTask().verdict
    assert verdict({5: (1.0, 2.0), 20: (1.0, 4.0)}) == "GI-Net below CNN at every size: met. Least ratio: at 20 images."
    assert "not met at 5, 50 images. Least ratio: at 20" in verdict({5: (2.0, 1.0), 20: (1.0, 2.0), 50: (3.0, 3.0)})
    assert "not met at 5 images" in verdict({5: (math.nan, 1.0)})


def test_trainings_that_ended_are_not_done_again(tmp_path, monkeypatch):
    simulation = simulations()["gravity"]
    simulation.finished = FinishedRuns(tmp_path / "runs.jsonl")
    measured, asked = simulation.measure, []

    def killed_at(last, run):
        if run == last:
            raise KeyboardInterrupt
        asked.append(run)
        return measured(run)

    monkeypatch.setattr(simulation, "measure", partial(killed_at, (3, "cnn", 1)))
    with pytest.raises(KeyboardInterrupt):
        simulation.run()
    one = [("zero field",), (2, "ginet"), (2, "cnn"), (3, "ginet"), (3, "cnn")]
    assert asked == [(*run, seed) for seed in range(2) for run in one][:-1]
    monkeypatch.setattr(simulation, "measure", partial(killed_at, None))
    lines = simulation.run()
    assert asked[9:] == [(3, "cnn", 1)] and lines == simulations()["gravity"].run()
    simulation.run()
    assert len(asked) == 10
    again = simulations()["gravity"]
    again.finished = simulation.finished
    assert len(again.draw(again.run()).axes) == 1  # no net was trained, so no field is drawn


def test_images_are_drawn_once_for_a_seed(monkeypatch):
    simulation, asked = simulations()["gravity"], []
    drawn = simulation.data
    monkeypatch.setattr(simulation, "data", lambda num, generator: asked.append(num) or drawn(num, generator))
    simulation.run()
    assert asked == [3, 3 + 2] * 2


def test_the_cnn_has_as_many_weights():
    simulation = FlowPrediction()
    counts = [sum(p.numel() for p in simulation.network(m, torch.Generator()).parameters()) for m in ("ginet", "cnn")]
    assert counts[0] <= counts[1] < 1.25 * counts[0]
    published = ToyTask("charges", cnn_channels=20).network("cnn", torch.Generator())
    assert sum(p.numel() for p in published.parameters()) == 25_920


def test_published_nets_and_their_cnns_start_alike():
    for model in ("ginet", "cnn"):
        for net, near in (("published", True), ("complete", False)):
            weights = [p.detach().flatten() for p in ToyTask("charges", net=net).network(model, torch.Generator()).parameters()]
            assert (abs(float(torch.cat(weights).std()) - 0.1) < 0.005) == near


def test_losses_and_early_stopping(rng):
    y, target = torch.ones(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    assert float(norm_of_difference(y, target)) == 2.0
    assert float(relative_difference(2 * y, y)) == 1.0
    net, x = torch.nn.Linear(1, 1), torch.randn(20, 1, generator=rng)
    with torch.no_grad():
        net.weight.fill_(5.0)
        net.bias.fill_(5.0)
    start = net(x).detach()  # of which training moves away, so that the first epoch is the best
    assert Fit(lr=0.01, max_epochs=500, patience=7).run(net, (x, 0 * x), (x, start)) == 8
    assert 0 < float(norm_of_difference(net(x).detach(), start)) < 0.2
    assert Fit(lr=0.01, max_epochs=3, patience=7).run(net, (x, 0 * x), (x, start)) == 3


def test_a_training_without_a_finite_loss_is_refused():
    net, x = torch.nn.Linear(1, 1), torch.randn(4, 1)
    with pytest.raises(NonFiniteError, match="finite in none of 3 epochs"):
        Fit(max_epochs=5, patience=3).run(net, (x, x), (x, math.nan * x))
    with pytest.raises(NonFiniteError, match="smaller lr"):
        Fit(max_epochs=2).run(net, (x, math.nan * x), (x, x))
    assert Fit(max_epochs=2).run(torch.nn.Linear(1, 1), (x, x), (x, x)) == 2


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="ginet, cnn, got 'mlp'"):
        ToyTask(models=["mlp"])
    with pytest.raises(ConfigError, match="got 'light'"):
        ToyTask("light")
    with pytest.raises(ConfigError, match="published, complete, got 'free'"):
        ToyTask(net="free")
    for net, filters in (("published", [0, 1]), ("complete", [])):
        with pytest.raises(ConfigError, match="filters null"):
            ToyTask(net=net, filters=filters)
    for wrong, message in (
        ({"channels": 0}, "channels to be a whole number >= 1, got 0"),
        ({"sizes": []}, r"at least one of the sizes and of the models, got \[\] and"),
        ({"models": []}, r"at least one of .* and \[\]"),
        ({"sizes": [0]}, "sizes to be a whole number >= 1, got 0"),
        ({"sizes": [4, 2.5]}, r"sizes to be a whole number >= 1, got 2\.5"),
        ({"seeds": 1.5}, "seeds to be a whole number"),
        ({"patience": 0}, "patience to be a whole number >= 1, got 0"),
        ({"lr": -1.0}, "a finite lr > 0"),
        ({"lr": math.nan}, "a finite lr > 0"),
        ({"side": 3}, "side to be a whole number >= 4, got 3"),
        ({"side": 16.5}, r"side to be a whole number >= 4, got 16\.5"),
    ):
        for make in (ToyTask, FlowPrediction):
            with pytest.raises(ConfigError, match=message):
                make(**wrong)
    for wrong in ({"cnn_lr": 0.0}, {"cnn_channels": 0}, {"name": "charges", "side": 2}):
        with pytest.raises(ConfigError, match=r"lr > 0|whole number >= [13]"):
            ToyTask(**wrong)
    for wrong in ({"time": -1.0}, {"dt": math.nan}, {"viscosity": math.inf}):
        with pytest.raises(ConfigError, match="finite"):
            FlowPrediction(**wrong)
    for wrong in ({"lr": 0.0}, {"lr": math.nan}, {"lr": math.inf}, {"decay": 0.0}, {"max_epochs": 2.5}, {"num_batches": 0}):
        with pytest.raises(ConfigError, match=r"lr > 0|whole number"):
            Fit(**wrong)


def test_the_smallest_images_make_nets(rng):
    for name, side in (("gravity", 4), ("charges", 3)):
        simulation = ToyTask(name, [2], side=side, channels=1)
        x, y = simulation.data(2, rng)
        assert simulation.network("ginet", rng)(x).shape == simulation.network("cnn", rng)(x).shape == y.shape
