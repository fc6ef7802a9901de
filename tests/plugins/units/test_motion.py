"""The dimensionless pendulum in small: its table and rules, paths that diverge, and settings that are refused."""

import math

import pytest
import torch
from torch import nn

from gnet.errors import ConfigError, ConvergenceError
from gnet.plugins.pendulum import state_error
from gnet.plugins.units import motion as experiment
from gnet.plugins.units.motion import (
    EXPERIMENTS,
    DimensionlessPendulum,
    PendulumHamiltonian,
    chunk_errors,
    in_old_kilograms,
    pass_rules,
    rollout,
)
from gnet.plugins.units.pendulums import Pendulums, drawn_motion
from gnet.study.finished import FinishedRuns

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
    assert [line.quantity for line in lines].count("state_error_in_old_kg") == 2
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


def test_in_old_kilograms_the_dimensionless_paths_agree(rng):
    """So that all of their larger error in new ones is that of the metric, in whose norm momenta weigh more."""
    drawn = drawn_motion(20, chunk=2, num_times=6, generator=rng)
    factors = 3 + 4 * torch.rand(20, dtype=torch.float64, generator=rng)
    heavier, truth = drawn.heavier(factors), drawn.paths(6)
    torch.testing.assert_close(in_old_kilograms(heavier.paths(6), factors), truth)
    for model, agrees in (("dimensionless", True), ("dimensional", False)):
        torch.manual_seed(0)
        H = PendulumHamiltonian(model, drawn, hidden=16, layers=2)
        before, after = (rollout(H, each, 6).detach().double() for each in (drawn, heavier))
        back = in_old_kilograms(after, factors)
        assert (state_error(back[:, 1:], before[:, 1:]) < 1e-4) == agrees
        assert (abs(state_error(back, truth) / state_error(before, truth) - 1) < 1e-3) == agrees


def test_a_kill_loses_one_seed(tmp_path, monkeypatch, capsys):
    settings = {**SMALL, "seeds": 3}
    whole = DimensionlessPendulum(**settings, epochs=1).run()
    named = {"class_path": "DimensionlessPendulum", "init_args": {**settings, "epochs": 1}}

    def begun(first_seed, seeds):
        simulation = DimensionlessPendulum(**{**settings, "seeds": seeds}, epochs=1, first_seed=first_seed)
        counts = {"seeds": seeds, "first_seed": first_seed}
        simulation.finished = FinishedRuns.of(
            tmp_path, {**named, "init_args": {**named["init_args"], **counts}}, simulation.choosing
        )
        return simulation

    begun(1, 1).run()  # another process, in the same folder
    killed = begun(0, 3)
    measure = killed.run_seed

    def kill(seed):
        if seed == 2:
            raise KeyboardInterrupt
        return measure(seed)

    monkeypatch.setattr(killed, "run_seed", kill)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    with open(killed.finished.path, "a") as file:
        file.write('{"run": 2, "lines": [{"quan')  # cut short
    resumed, calls = begun(0, 3), []
    monkeypatch.setattr(resumed, "run_seed", lambda seed: calls.append(seed) or measure(seed))
    lines = resumed.run()
    assert calls == [2]
    assert "Ended before: seed 0; seed 1." in capsys.readouterr().err
    for one, other in zip(lines, whole, strict=True):
        assert (one.quantity, one.settings) == (other.quantity, other.settings)
        assert one.quantity == "seconds_per_run" or one.measured == other.measured
    assert sorted(begun(0, 3).finished.read()) == [0, 1, 2]
    others = FinishedRuns.of(tmp_path, {**named, "init_args": {**named["init_args"], "epochs": 2}}, ("seeds", "first_seed"))
    assert not others.read()  # other settings have their own file
