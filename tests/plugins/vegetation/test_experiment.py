"""The three experiments in small, their rules with numbers that break them, and vegetation over time on a hundred cells."""

import pytest
import torch

from gnet.errors import ConfigError, ShapeError
from gnet.plugins.vegetation import Rietkerk, planted, plot_pattern, solve
from gnet.plugins.vegetation.experiment import (
    EquationDiscovery,
    PatternOverTime,
    VegetationEmulation,
    discovery_rules,
    emulation_rules,
    wavelength,
)
from gnet.study.simulate import Measured


def test_emulation_in_small(tmp_path):
    simulation = VegetationEmulation([12], num_test=6, num_far=3, splits=1, degrees=[2], side=16.0, duration=20.0)
    lines = simulation.run()
    assert torch.equal(simulation.runs()[0].vegetation, simulation.runs()[0].vegetation)
    changes = {line.settings["inputs"]: line.measured for line in lines if line.quantity == "change_by_units"}
    assert changes["dimensionless"] < 1e-9 < changes["raw"]
    text = simulation.summary(lines)
    assert "| 12 | 2 | " in text and "degree 2, 12 runs: dimensionless unchanged in other units: met" in text
    simulation.draw(lines).savefig(tmp_path / "figure.png")


def test_rules_of_emulation_can_fail():
    settings = {"degree": "2", "n": "64"}
    good = [
        Measured("gain", settings, 0.1, 0.0, 0.0),
        Measured("change_by_units", {**settings, "inputs": "dimensionless"}, 1e-12, 0.0, 0.0),
        Measured("r2_other_units", {**settings, "inputs": "raw"}, -2.0, 0.0, 0.0),
    ]
    assert [is_met for _, is_met in emulation_rules(good)] == [True] * 3
    bad = [Measured(each.quantity, each.settings, value, 0.0, 0.0) for each, value in zip(good, (-0.1, 1e-3, 0.2), strict=True)]
    assert [is_met for _, is_met in emulation_rules(bad)] == [False] * 3
    assert emulation_rules([Measured("gain", {"degree": "1", "n": "64"}, -0.1, 0.0, 0.0)]) == []


def test_discovery_in_small(tmp_path):
    simulation = EquationDiscovery(16, snapshots=10, every=200, draws=2)
    lines = simulation.run()
    text = simulation.summary(lines)
    assert "noise 0: exact support in all 1 draws: met" in text and "noise 0: coefficients within 0.0001: met" in text
    assert "dv/dt = " in text and "(-1.25) v" in text
    simulation.draw(lines).savefig(tmp_path / "figure.png")
    wrong = [Measured("exact_support", {"noise": "0", "draws": "1"}, 0.9, 0.0, 1.0)]
    wrong.append(Measured("largest_error", {"noise": "0.01"}, 3e-3, 0.0, 2e-3))
    assert [is_met for _, is_met in discovery_rules(wrong)] == [False, False]


def test_vegetation_over_time_on_a_hundred_cells(tmp_path):
    simulation = PatternOverTime(seeds=2, times=[0.0, 5.0, 50.0], side=20.0)
    lines = simulation.run()
    means = [line.measured for line in lines if line.quantity == "mean_vegetation"]
    assert simulation.states.shape == (3, 2, 3, 10, 10)
    assert 0.2 < means[0] < 2.5 and all(mean > 0 for mean in means)
    assert torch.equal(simulation.states[0, :, 2].unique(), torch.tensor([0.0, 10.0], dtype=torch.float64))
    text = simulation.summary(lines)
    assert "| 50 | " in text and "42.1 m grows fastest" in text
    figure = simulation.draw(lines)
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["0 d", "5 d", "50 d"]
    figure.savefig(tmp_path / "figure.png")


def test_wavelengths():
    x = torch.arange(20, dtype=torch.float64) / 20
    stripes = (6 * torch.pi * x).sin().expand(20, 20)
    assert float(wavelength(torch.stack([stripes, stripes.mT, 2 * stripes + 5]), 60.0).max()) == pytest.approx(20.0)
    assert float(wavelength((2 * torch.pi * x).sin().expand(1, 20, 20), 60.0)) == pytest.approx(60.0)


def test_pictures_of_other_states_are_refused():
    model = Rietkerk(L=8.0)
    states = solve(model, model.start(planted(4)), [0, 5])
    with pytest.raises(ShapeError, match=r"expected states \(3, B, 3, n, n\) and run < B"):
        plot_pattern(model, states, [0, 5, 10])
    with pytest.raises(ShapeError, match="expected fields among u, w, v"):
        plot_pattern(model, states, [0, 5], fields=["x"])


@pytest.mark.parametrize(
    "make", [lambda: VegetationEmulation([0]), lambda: EquationDiscovery(draws=0), lambda: PatternOverTime(seeds=0)]
)
def test_nothing_to_do_is_refused(make):
    with pytest.raises(ConfigError, match=">= 1"):
        make()


def test_rain_is_not_rounded():
    assert float(PatternOverTime(rain=0.4, seeds=1, side=8.0).model["R"]) == 0.4
