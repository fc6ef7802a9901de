"""Learned motion: sizes as published, symmetry about the vertical, Lightning modules that learn, and the table in small."""

import copy
import csv
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from gnet.cli import main
from gnet.errors import ConfigError, ConvergenceError, DegenerateInputError, ShapeError
from gnet.measures import equivariance_error
from gnet.plugins.pendulum import (
    HamiltonianField,
    Pendulum,
    RadialFunctions,
    ScalarField,
    SeparableField,
    about_vertical,
    field_of,
    initial_states,
    integrate,
    pendulum_data,
    pendulum_scalars,
    state_error,
)
from gnet.plugins.pendulum.experiment import PUBLISHED, PendulumTable, pass_rules
from gnet.plugins.pendulum.models import KINDS
from gnet.plugins.pendulum.models import MODELS as COLUMNS
from gnet.plugins.pendulum.module import PendulumChunks, PendulumModule, Schedule, schedule_of
from gnet.plugins.scalars import perceptron
from gnet.plugins.tensors import O, T

ROOT = Path(__file__).resolve().parents[3]
SHORT = torch.tensor([0.0, 0.2])
SIZES = {
    ("hnn", "scalars"): 33_501,
    ("node", "scalars"): 632_824,
    ("hnn", "mlp"): 34_817,
    ("node", "mlp"): 36_236,
    ("hnn", "O(2)"): 27_523,
}


class Energy(nn.Module):
    """The true Hamiltonian as a module."""

    def forward(self, z):
        return Pendulum().energy(z)


def states(num: int, rng: torch.Generator) -> torch.Tensor:
    return initial_states(num, rng)


@pytest.mark.parametrize(("kind", "model"), SIZES)
def test_numbers_of_weights_are_those_published(kind, model):
    field = field_of(kind, model, states=torch.eye(12))
    assert sum(p.numel() for p in field.parameters()) == SIZES[kind, model]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["scalars", "O(2)", "mlp"])
def test_weights_follow_the_generator(kind, model):
    def weights(generator: torch.Generator | None = None) -> torch.Tensor:
        field = field_of(kind, model, states=torch.eye(12), centres=3, ch=10, generator=generator)
        return torch.cat([p.detach().flatten() for p in field.parameters()])

    assert not torch.equal(weights(), weights())
    one, again, other = (weights(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    before = torch.get_rng_state()
    weights(torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["scalars", "O(2)", "SO(2)", "D6", "D2"])
def test_fields_turn_with_the_pendulum(kind, model, rng):
    field = field_of(kind, model, states=states(20, rng), centres=10, ch=20, generator=rng).double()
    group = about_vertical("O(2)" if model == "scalars" else model)
    z = states(12, rng)
    assert equivariance_error(field, z, group, 4 * T(1), 4 * T(1), generator=rng).relative < 1e-10
    plain = field_of(kind, "mlp", ch=20, generator=rng).double()  # the liar
    assert equivariance_error(plain, z, group, 4 * T(1), 4 * T(1), generator=rng).relative > 1e-2


def test_the_motion_itself_has_that_symmetry_and_no_more(rng):
    z = states(12, rng)
    assert equivariance_error(Pendulum(), z, about_vertical("O(2)"), 4 * T(1), 4 * T(1), generator=rng).relative < 1e-12
    assert equivariance_error(Pendulum(), z, O(3), 4 * T(1), 4 * T(1), generator=rng).relative > 0.1


def test_scalars_by_hand():
    z = torch.tensor([[1.0, 0, 0, 0, 0, -2, 3, 0, 0, 0, 4, 0]])
    found = pendulum_scalars(z)[0]
    assert found.shape == (30,)
    assert found[:4].tolist() == [1, 2, 3, 4]
    assert found[4:8].tolist() == [1, 0, 3, 0]
    assert found[20:24].tolist() == [0, 2, 0, 0]
    assert found[24:26].tolist() == pytest.approx([5, 5**0.5])
    assert found[26:].tolist() == [1, -4, 3, 0]
    assert not torch.equal(pendulum_scalars(z)[0, 4:20], pendulum_scalars(z.roll(3, 1))[0, 4:20])


def test_a_hamiltonian_field_is_that_of_the_pendulum(rng):
    z = states(5, rng)
    field = HamiltonianField(Energy())
    torch.testing.assert_close(field(z), Pendulum()(z))
    with torch.inference_mode():
        torch.testing.assert_close(field(z.clone()), Pendulum()(z))
    with torch.no_grad():
        assert not field(z).requires_grad
    with pytest.raises(ShapeError, match="an even S"):
        field(torch.ones(3))


def test_separable_hamiltonians_take_leapfrog(rng):
    field = SeparableField(perceptron([6, 8, 1]), perceptron([6, 8, 1])).double()
    z, times = states(3, rng), torch.tensor([0.0, 0.2])
    torch.testing.assert_close(torch.cat([field.drift(z[:, 6:]), field.kick(z[:, :6])], 1), field(z))
    fine = integrate(field, z, times, substeps=4)[:, -1]
    torch.testing.assert_close(integrate(field, z, times, "leapfrog", substeps=20)[:, -1], fine, atol=1e-4, rtol=0)
    integrate(field, z, times, "leapfrog")[:, -1].square().sum().backward()
    assert all(p.grad is not None for p in field.parameters() if p.ndim > 1)
    copied = copy.deepcopy(field)
    for p in copied.parameters():
        torch.nn.init.zeros_(p)
    ours, theirs = (float(each.kick(z[:, :6]).detach().abs().max()) for each in (field, copied))
    assert ours > theirs == 0.0


def test_the_width_of_radial_functions_does_not_follow_their_number():
    many, few = RadialFunctions(-18.0, 43.0), RadialFunctions(-18.0, 43.0, 30)
    assert float(many.gamma) == float(few.gamma) == pytest.approx(0.61, abs=0.004)
    found = many(torch.tensor([[0.0, 5.0]]))
    assert found.shape == (1, 400)
    assert float(found[0, :200].argmax()) == round(18 / 61 * 199)
    with pytest.raises(ConfigError, match="two centres or more"):
        RadialFunctions(1.0, 1.0)


def test_a_field_takes_the_range_of_the_one_that_is_loaded(rng):
    z = states(20, rng).float()
    saved, other = (field_of("node", "scalars", states=scale * z, centres=5, generator=rng) for scale in (1.0, 5.0))
    weights = {name: p for name, p in saved.state_dict().items() if not name.startswith("expand.")}
    assert set(other.load_state_dict(weights, strict=False).missing_keys) == {"expand.gamma", "expand.centres"}
    assert not torch.allclose(saved(z), other(z))  # the liar: weights alone
    other.load_state_dict(saved.state_dict())
    assert torch.equal(saved(z), other(z))


def test_schedules_are_those_published():
    factors = [schedule_of("hnn", "scalars").factor(epoch, 2000) for epoch in (0, 199, 200, 999, 1000, 1999)]
    assert factors == [1.0, 1.0, 0.4, 0.4, 0.1, 0.1]
    assert [schedule_of("node", "scalars").factor(epoch, 2000) for epoch in (299, 300, 1200)] == [1.0, 0.5, 0.2]
    assert schedule_of("node", "O(2)").lr == 3e-3
    with pytest.raises(ConfigError, match=r"grow to 1\.0"):
        Schedule(1e-3, ((0.5, 1.0),))


# --- training ---


QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)


def trainer(epochs: int) -> pl.Trainer:
    return pl.Trainer(max_epochs=epochs, accelerator="cpu", **QUIET)


def test_lightning_trains_validates_and_tests():
    data = pendulum_data(30, 10, 10, num_times=5)
    generator = torch.Generator().manual_seed(0)
    module = PendulumModule(field_of("hnn", "scalars", generator=generator), data.chunk_times, schedule_of("hnn", "scalars"))
    before = float(module._loss([data.test]).detach())
    fitting = trainer(12)
    fitting.fit(module, datamodule=PendulumChunks(data, batch_size=15))
    assert "val_loss" in fitting.callback_metrics  # gradients inside of H are taken in validation, too
    (tested,) = fitting.test(module, datamodule=PendulumChunks(data), verbose=False)
    assert tested["test_loss"] < 0.5 * before


def test_a_loss_that_is_not_finite_stops_with_its_epoch():
    class Explodes(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor(1e30))

        def forward(self, z):
            return self.w * z**3

    data = pendulum_data(4, 2, 2, num_times=5)
    with pytest.raises(ConvergenceError, match="not finite in epoch 0"):
        trainer(1).fit(PendulumModule(Explodes(), data.chunk_times), PendulumChunks(data))


class SpringsThatStiffen(nn.Module):
    """Forces that a midpoint step of 0.1 resolves near rest only."""

    def forward(self, z):
        return torch.cat([z[..., 6:], -z[..., :6] * (1 + 1e4 * z[..., :6].square())], -1)


@pytest.mark.parametrize("method", ["rk4", "midpoint", "dopri5"])
def test_a_path_that_ends_counts_as_an_error_of_one(method):
    """By the solvers of one path at a time it takes no other path with it."""
    data = pendulum_data(2, 1, 3, num_times=6)
    data.test[:, 0] = 1e-3
    data.test[1, 0] = 50.0
    table = PendulumTable(num_times=6, method=method)
    path = table.path(SpringsThatStiffen() if method != "dopri5" else lambda z: z**3, data)
    assert path.shape == (3, 6, 12)
    assert not bool(path[1, -1].isfinite().any())
    assert bool(path[[0, 2]].isfinite().all()) == (method != "dopri5")
    assert state_error(path[1:2], path[1:2].nan_to_num(0.0, 0.0, 0.0), include_t0=False) == 1.0


def test_the_table_in_small(tmp_path, capsys, monkeypatch):
    config = ROOT / "configs" / "plugins" / "pendulum" / "table.yaml"
    small = ("models=[scalars,mlp]", "seeds=1", "epochs=1", "centres=4", "ch=8", "num_train=6", "num_val=2", "num_test=2")
    small = [f"--simulation.init_args.{each}" for each in (*small, "num_times=8")]
    assert main(["simulate", "--config", str(config), "--out", str(tmp_path), *small]) == 0
    printed = capsys.readouterr().out
    assert "| HNN | " in printed and "(0.005)" in printed
    assert "N-ODE by scalars at most 0.020: " in printed and "HNN: scalars < mlp: " in printed
    assert (tmp_path / "figure.png").is_file()
    # The same command again, for fewer models: nothing is trained, and the paths of the picture are there.
    monkeypatch.setattr(PendulumTable, "fit", None)
    assert main(["simulate", "--config", str(config), "--out", str(tmp_path), *small, "--simulation.init_args.models=[mlp]"]) == 0
    report = capsys.readouterr()
    assert "Ended before: node, mlp, seed 0; hnn, mlp, seed 0." in report.err
    row = next(line for line in printed.splitlines() if line.startswith("| HNN"))
    assert row.split(" | ")[-1] in report.out
    with open(tmp_path / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(each["field"], each["model"]) for each in rows if each["quantity"] == "path_x" and each["time"] == "1.4"] == [
        *(("true", ""), ("node", "mlp"), ("hnn", "mlp"))
    ]
    assert len({each["measured"] for each in rows if each["quantity"] == "path_x" and each["time"] == "0.0"}) == 1


def test_what_counts_as_reproduced():
    known = {key: mean for key, (mean, _) in PUBLISHED.items()}
    assert len(known) == len(KINDS) * len(COLUMNS)
    assert all(is_met for _, is_met in pass_rules(known))
    assert len(pass_rules(known)) == 2 + 2 + 7
    worse = pass_rules({**known, ("hnn", "scalars"): 0.013, ("node", "D6"): 0.1})
    assert [rule for rule, is_met in worse if not is_met] == [
        "HNN by scalars at most 0.012",
        "HNN: scalars < O(2) < mlp",
        "N-ODE by D6 within a factor 2.5 of the published",
    ]
    assert pass_rules({}) == []


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: PendulumTable(["ode"]), ConfigError, "got 'ode'"),
        (lambda: PendulumTable(models=["cnn"]), ConfigError, "got 'cnn'"),
        (lambda: PendulumTable(epochs=0), ConfigError, "seeds, epochs, ch"),
        (lambda: field_of("ode", "mlp"), ConfigError, "expected kind 'hnn' or 'node'"),
        (lambda: field_of("hnn", "O(3)"), ConfigError, r"'scalars', 'O\(2\)', 'SO\(2\)', 'D6', 'D2', 'mlp', got 'O\(3\)'"),
        (lambda: field_of("hnn", "O2"), ConfigError, r"got 'O2'; did you mean 'O\(2\)'\?"),
        (lambda: about_vertical("O(3)"), ConfigError, r"among O\(2\), SO\(2\), D6, D2, got 'O\(3\)'"),
        (lambda: schedule_of("hnn", "foo"), ConfigError, "expected model to be one of 'scalars', .* got 'foo'"),
        (lambda: schedule_of("ode", "mlp"), ConfigError, "expected kind 'hnn' or 'node', got 'ode'"),
        (lambda: field_of("hnn", "mlp")(torch.ones(5, 6)), ShapeError, r"expected states z \(\.\.\., 12\) .*, got \(5, 6\)"),
        (lambda: integrate(field_of("hnn", "mlp"), torch.ones(5, 6), SHORT), ShapeError, r"z \(\.\.\., 12\) .*, got \(5, 6\)"),
        (lambda: integrate(field_of("node", "mlp"), torch.ones(5, 6), SHORT), ShapeError, r"z \(\.\.\., 12\) .*, got \(5, 6\)"),
        (lambda: integrate(field_of("hnn", "scalars"), torch.ones(5, 6), SHORT), ShapeError, r"states \(\.\.\., 12\)"),
        (lambda: field_of("hnn", "mlp")(torch.ones(12).double()), ShapeError, r"expected z of dtype .*float32, got .*float64"),
        (
            lambda: field_of("hnn", "scalars")(torch.ones(12).double()),
            ShapeError,
            r"expected z of dtype .*float32, got .*float64",
        ),
        (lambda: ScalarField(-1.0, 1.0, 5)(torch.ones(12).double()), ShapeError, r"expected z of dtype .*float32, got .*float64"),
        (lambda: field_of("node", "scalars"), ConfigError, "training states for the range"),
        (lambda: field_of("node", "scalars", states=torch.zeros(3, 12)), DegenerateInputError, "different scalars"),
    ],
)
def test_settings_are_checked(call, error, message):
    with pytest.raises(error, match=message):
        call()
