"""The demonstration: both models have the same form and symmetry, and a run in small gives a table."""

from pathlib import Path

import pytest
import torch

from gnet.cli import main
from gnet.errors import ConfigError
from gnet.measures import equivariance_error
from gnet.plugins.covariants.experiment import MODELS, CovariantInertia
from gnet.plugins.tensors.tasks import task
from gnet.study.simulate import Measured

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", MODELS)
def test_models_are_equivariant(name, rng):
    its = task("inertia")
    net = CovariantInertia(width=8).model(name).double()
    x = its.draw(20, rng).double()
    assert equivariance_error(net, x, its.group, its.rep_in, its.rep_out, generator=rng).relative < 1e-10
    broken = lambda x: net(x * torch.linspace(0.5, 1.5, 20))  # noqa: E731
    assert equivariance_error(broken, x, its.group, its.rep_in, its.rep_out, generator=rng).relative > 1e-3


def test_a_run_in_small(tmp_path, capsys):
    config = ROOT / "configs" / "plugins" / "covariants" / "inertia.yaml"
    small = [
        f"--simulation.init_args.{each}" for each in ("sizes=[60]", "seeds=1", "epochs=4", "width=8", "draws=64", "num_test=50")
    ]
    assert main(["simulate", "--config", str(config), "--out", str(tmp_path), *small]) == 0
    printed = capsys.readouterr().out
    assert "| inertia | covariants |" in printed and "(nan)" not in printed
    assert "- inertia, 60 samples: covariants within 20 % of scalars: " in printed
    assert (tmp_path / "figure.png").is_file()


@pytest.mark.parametrize(("error", "is_met"), [(0.111, True), (0.1325, False), (0.0875, False), (float("nan"), False)])
def test_errors_within_a_fifth_of_each_other_count_as_equal(error, is_met):
    lines = [
        Measured("test_mse", {"task": "inertia", "model": model, "n": "1000"}, value, 0.0, 0.0)
        for model, value in (("covariants", error), ("scalars", 0.110))
    ]
    assert CovariantInertia().pass_rules(lines) == [("inertia, 1000 samples: covariants within 20 % of scalars", is_met)]
    assert CovariantInertia().pass_rules(lines[:1]) == []


def test_training_helps():
    long, short = (
        CovariantInertia(["covariants"], [200], 1, 16, epochs=each, num_test=200).run()[0].measured for each in (30, 1)
    )
    assert long < 0.7 * short


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="width, layers, epochs"):
        CovariantInertia(width=0)
    with pytest.raises(ConfigError, match="got 'emlp'"):
        CovariantInertia(["emlp"])
