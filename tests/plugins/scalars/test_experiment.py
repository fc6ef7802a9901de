"""The regressions by scalars: models have the symmetry, a run in small is repeatable, settings are checked."""

import pytest
import torch

from gnet.errors import ConfigError
from gnet.measures import equivariance_error
from gnet.plugins.scalars.experiment import PUBLISHED, TRAINING, ScalarRegressions, scalar_model
from gnet.plugins.tensors.tasks import task
from gnet.study.simulate import Measured


@pytest.mark.parametrize("name", ["o5", "inertia", "particle"])
def test_models_have_the_symmetry(name, rng):
    its = task(name)
    net = scalar_model(name, TRAINING[name].shortened(0.1), rng).double()
    x = its.draw(10, rng).double()
    assert equivariance_error(net, x, its.group, its.rep_in, its.rep_out, generator=rng).relative < 1e-9
    broken = lambda x: net(x * torch.linspace(0.5, 1.5, x.shape[1]))  # noqa: E731
    assert equivariance_error(broken, x, its.group, its.rep_in, its.rep_out, generator=rng).relative > 1e-3


def test_settings_are_those_published():
    assert all(len(values) == 7 for values in PUBLISHED.values())
    assert len(PUBLISHED) == 12
    assert (TRAINING["o5"].epochs, TRAINING["o5"].draws, TRAINING["particle"].epochs) == (1000, 4096, 500)
    short = TRAINING["particle"].shortened(0.5)
    assert (short.epochs, short.milestones) == (250, (15, 40, 70, 100, 150))


def test_a_run_in_small():
    settings = {"tasks": ["o5"], "sizes": [30], "seeds": 1, "share": 0.002, "num_val": 20, "num_test": 40}
    simulation = ScalarRegressions(models=["scalars", "mlp"], ch=16, max_epochs=2, **settings)
    lines = simulation.run()
    assert [line.settings["model"] for line in lines] == ["scalars", "mlp"]
    assert lines[0].expected == 0.11
    assert "(0.11)" in simulation.summary(lines)
    assert ScalarRegressions(**settings).run()[0].measured == lines[0].measured


def test_the_quick_run_beats_the_perceptron_and_not_always_moved_samples():
    """The errors of the README, and the verdicts there."""
    quick = {"o5": 0.0289, "inertia": 0.136, "particle": 0.0336}
    lines = [
        Measured("test_mse", {"task": name, "model": "scalars", "n": "1000"}, error, 0.0, 0.0) for name, error in quick.items()
    ]
    met = dict(ScalarRegressions(sizes=[1000]).pass_rules(lines))
    assert len(met) == 9
    below = {name: [is_met for rule, is_met in met.items() if rule.startswith(name) and "below" in rule] for name in quick}
    assert below == {"o5": [True, True], "inertia": [True, False], "particle": [True, False]}
    assert not any(is_met for rule, is_met in met.items() if "within a factor 2" in rule)


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="got 'cnn'"):
        ScalarRegressions(models=["cnn"])
    with pytest.raises(ConfigError, match=r"share in \(0, 1\], got 0"):
        ScalarRegressions(share=0)
