"""The dimensionless pendulum in small: its table and rules, paths that diverge, and settings that are refused."""

import math

import pytest
import torch
from torch import nn

from gnet.errors import ConfigError, ConvergenceError
from gnet.plugins.units import motion as experiment
from gnet.plugins.units.motion import EXPERIMENTS, DimensionlessPendulum, chunk_errors, pass_rules, rollout
from gnet.plugins.units.pendulums import Pendulums, drawn_motion

SMALL = {
    "seeds": 1,
    "num_train": 16,
    "num_val": 4,
    "num_test": 4,
    "chunk": 3,
    "batch": 8,
    "hidden": 8,
    "layers": 2,
    "num_times": 6,
}


class True_(nn.Module):
    """The energy itself."""

    def forward(self, z, constants):
        return Pendulums(constants.to(z), 1.0).energy(z)[:, None]


class Steep(nn.Module):
    """An energy whose paths run away, of the pendulums with a first mass above a limit."""

    def __init__(self, limit):
        super().__init__()
        self.limit, self.factor = limit, nn.Parameter(torch.ones(()))

    def forward(self, z, constants):
        return self.factor * torch.where(constants[:, :1] > self.limit, 1e3, 0.0) * (z**4).sum(-1, keepdim=True)


def test_the_table_in_small():
    simulation = DimensionlessPendulum(**SMALL, epochs=2)
    lines = simulation.run()
    assert [line.quantity for line in lines].count("state_error") == 6
    assert all(0 < line.measured <= 1 for line in lines if line.quantity == "state_error")
    assert {line.measured for line in lines if line.quantity in ("diverged", "left_out")} == {0.0}
    text = simulation.summary(lines)
    assert "| dimensionless | " in text
    assert "dimensional: kg x U(3, 7) at least 20 times in distribution: not met" in text  # after two epochs
    assert simulation.draw(lines).axes


def test_rules_can_fail_both_ways():
    good = {"dimensional": (0.006, 0.3, 0.2), "dimensionless": (0.006, 0.009, 0.04)}
    found = {(model, name): value for model, row in good.items() for name, value in zip(EXPERIMENTS, row, strict=True)}
    assert [is_met for _, is_met in pass_rules(found)] == [True, True]
    swapped = {
        ("dimensionless" if model == "dimensional" else "dimensional", name): value for (model, name), value in found.items()
    }
    assert [is_met for _, is_met in pass_rules(swapped)] == [False, False]
    assert pass_rules({}) == []


def test_the_true_energy_has_no_error(rng):
    drawn = drawn_motion(5, chunk=4, num_times=6, generator=rng)
    assert float(chunk_errors(True_(), drawn.constants, drawn.chunks.float()).detach().max()) < 1e-4
    assert float(chunk_errors(Steep(9.0), drawn.constants, drawn.chunks.float()).detach().min()) > 1e-3  # nothing moves


def test_paths_that_diverge_are_left_out_of_a_step_and_count_as_wrong(rng, monkeypatch):
    drawn = drawn_motion(16, chunk=3, num_times=6, generator=rng)
    limit = float(drawn.constants[:, 0].median())
    path = rollout(Steep(limit), drawn, 6)
    assert (path.isfinite().flatten(1).all(1) == (drawn.constants[:, 0] <= limit)).all()
    monkeypatch.setattr(experiment, "PendulumHamiltonian", lambda *_: Steep(limit))
    simulation = DimensionlessPendulum(["dimensional"], **SMALL, epochs=3)
    net, left_out = simulation.fit("dimensional", drawn, 0)
    assert left_out == 0.5
    assert bool(net.factor.isfinite())
    monkeypatch.setattr(simulation, "data", lambda seed: (drawn, drawn, [drawn] * 3))
    lines = simulation.run()
    assert [line.measured for line in lines if line.quantity == "diverged"] == [0.5] * 3
    assert [line.measured for line in lines if line.quantity == "left_out"] == [0.5]
    assert not math.isfinite(next(line.measured for line in lines if line.quantity == "val_loss"))
    monkeypatch.setattr(experiment, "PendulumHamiltonian", lambda *_: Steep(0.0))
    with pytest.raises(ConvergenceError, match="all paths diverge in epoch 0; take a lower lr"):
        simulation.fit("dimensional", drawn, 0)


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="expected models among dimensional, dimensionless, got 'raw'"):
        DimensionlessPendulum(["raw"])
    with pytest.raises(ConfigError, match="epochs, batch, hidden and layers >= 1"):
        DimensionlessPendulum(epochs=0)


def test_a_step_of_infinite_slope_is_not_taken(monkeypatch):
    """Errors are finite, and the gradient is not: one such step would leave no weight finite."""
    calls, measured = [], experiment.chunk_errors

    def steep_once(net, constants, chunks):
        calls.append(1)
        flat = sum(p.sum() for p in net.parameters()) * 0
        return measured(net, constants, chunks) + (flat.sqrt() if len(calls) == 2 else 0)

    monkeypatch.setattr(experiment, "chunk_errors", steep_once)
    net, left_out = DimensionlessPendulum(**SMALL, epochs=2).fit("dimensionless", drawn_motion(16, chunk=3, num_times=6), 0)
    assert len(calls) == 4 and left_out == 8 / 32
    assert all(p.isfinite().all() for p in net.parameters())
