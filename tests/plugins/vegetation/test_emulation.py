"""Emulation: the law of the inputs, predictions that do not see units, and raw ones that fail there."""

import pytest
import torch

from gnet.errors import ConfigError, DegenerateInputError, ShapeError
from gnet.plugins.vegetation import LogRidge, Rietkerk, Runs, draw_inputs, in_other_units, planted, simulate_runs, solve
from gnet.plugins.vegetation.features import dimensionless_features, vegetation_factor

OTHER = {"l": 1000.0, "d": 24.0, "m": 100.0, "g": 0.001}


def known_runs(num, rng):
    """Runs whose mean vegetation is k2 times a polynomial of logarithms of the features."""
    inputs = draw_inputs(num, rng)
    logs = dimensionless_features(inputs).log()
    return Runs(inputs, inputs[:, 2] * (2 + logs[:, 0] - logs[:, 3] * logs[:, 4] + logs[:, 1] ** 2))


def test_factors_near_and_far(rng):
    default = Rietkerk(L=64.0).inputs
    near, far = draw_inputs(200, rng) / default, draw_inputs(200, rng, far=True) / default
    assert near[:, 12:].eq(1).all() and far[:, 12:].eq(1).all()
    near, far = near[:, :12], far[:, :12]
    assert near.min() > 0.8 and near.max() < 1.2 and near.min() < 0.82 and near.max() > 1.18
    assert far.min() > 0.6 and far.max() < 1.4 and not bool(((far > 0.8 + 1e-12) & (far < 1.2 - 1e-12)).any())
    assert abs(float((far < 1).double().mean()) - 0.5) < 0.06


def test_runs_are_the_ends_of_simulations():
    inputs = draw_inputs(3, torch.Generator().manual_seed(1), side=12.0, duration=2.0)
    runs = simulate_runs(inputs, torch.Generator().manual_seed(2))
    model = Rietkerk.of(inputs)
    end = solve(model, model.start(planted(6, 3, torch.Generator().manual_seed(2))))[0, :, 2]
    assert torch.equal(runs.vegetation, end.mean((1, 2))) and len(runs[:2]) == 2


def test_only_the_dimensionless_model_keeps_its_word_in_other_units(rng):
    train, test = known_runs(150, rng), known_runs(60, rng)
    changed = Runs(in_other_units(test.inputs, OTHER), vegetation_factor(OTHER) * test.vegetation)
    models = {name: LogRidge(name, 2).fit(train) for name in ("raw", "dimensionless")}
    assert models["dimensionless"].r2(test) > 0.999 and models["raw"].r2(test) > 0.9
    again = models["dimensionless"].predict(changed.inputs) / vegetation_factor(OTHER)
    torch.testing.assert_close(again, models["dimensionless"].predict(test.inputs), rtol=1e-9, atol=0.0)
    assert models["dimensionless"].r2(changed) == pytest.approx(models["dimensionless"].r2(test), abs=1e-9)
    assert models["raw"].r2(changed) < 0


def test_a_line_does_not_fit_a_parabola(rng):
    train, test = known_runs(150, rng), known_runs(60, rng)
    assert LogRidge("dimensionless", 1).fit(train).r2(test) < LogRidge("dimensionless", 2).fit(train).r2(test)


def test_bad_calls_are_refused(rng):
    with pytest.raises(ConfigError, match="expected inputs 'raw' or 'dimensionless' and degree >= 1, got 'log' and 2"):
        LogRidge("log", 2)
    with pytest.raises(ConfigError, match="nothing was fitted"):
        LogRidge("raw").predict(draw_inputs(2, rng))


def test_runs_without_logarithms_or_too_few_are_refused():
    inputs = draw_inputs(6)
    with pytest.raises(ShapeError, match="at least five runs"):
        LogRidge("raw").fit(Runs(inputs[:3], inputs[:3, 0]))
    inputs[0, 3] = 0.0
    with pytest.raises(DegenerateInputError, match="positive inputs"):
        LogRidge("raw").fit(Runs(inputs, inputs[:, 0]))
