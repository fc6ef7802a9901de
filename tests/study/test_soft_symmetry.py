"""Soft symmetries of a linear map: closed forms, penalties against brute force over the group, orders, and the command."""

import math
from pathlib import Path

import pytest
import torch

from gnet.cli import main
from gnet.errors import ConfigError
from gnet.groups import SymmetricGroup
from gnet.measures import equivariance_error
from gnet.study.plots import styled
from gnet.study.simulate import Measured
from gnet.study.soft_symmetry import ERROR, RISK, SoftSymmetry, least_squares
from tests.study.plots.page import unreadable

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "simulation" / "soft_symmetry.yaml"
NONE = {10: 0.5, 30: 0.25 * 6 / 23, 100: 0.25 * 6 / 93}
EXACT = {n: 0.25 / 6 * (1 / (n - 2) + 5 / (5 * n - 2)) for n in NONE}
EIGHT = {10: 0.032, 30: 0.0089, 100: 0.0025}


@pytest.fixture(scope="module")
def simulation() -> SoftSymmetry:
    return SoftSymmetry(num_trials=24)


@pytest.fixture(scope="module")
def lines(simulation) -> list[Measured]:
    return simulation.run()


def risks(lines: list[Measured], name: str, quantity: str = RISK) -> dict[int, Measured]:
    return {int(each.settings["n"]): each for each in lines if (each.quantity, each.settings["estimator"]) == (quantity, name)}


def samples(n: int, size: int, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets without any symmetry."""
    return tuple(torch.randn(n, size, dtype=torch.float64, generator=rng) for _ in range(2))


def test_risks_are_those_of_the_closed_forms(lines):
    for name, expected in (("none", NONE), ("augment, 1", NONE), ("exact", EXACT), ("augment, all", EXACT)):
        for n, line in risks(lines, name).items():
            assert line.expected == pytest.approx(expected[n], rel=1e-9)
            assert abs(line.measured - line.expected) < 4.5 * line.standard_error
    for n, line in risks(lines, "augment, 8").items():
        assert abs(line.measured - EIGHT[n]) < 4.5 * line.standard_error + 0.02 * EIGHT[n]
        assert math.isnan(line.expected)
    for name in ("none", "augment, 1"):
        for n, line in risks(lines, name, ERROR).items():
            assert line.expected == pytest.approx(2 * 34 / 36 * NONE[n], rel=1e-9)  # 34 of 36 directions are no maps of S6
            assert abs(line.measured - line.expected) < 4.5 * line.standard_error


def test_the_orders_hold(simulation, lines):
    rules = simulation.pass_rules(lines)
    assert len(rules) == 6
    assert all(is_met for _, is_met in rules)
    assert max(line.measured for line in risks(lines, "exact", ERROR).values()) < 1e-25
    assert max(line.measured for line in risks(lines, "augment, all", ERROR).values()) < 1e-25
    for place, line in enumerate(lines):  # the liar: any two estimators that change places
        if (line.quantity, line.settings) == (RISK, {"estimator": "none", "n": "30"}):
            worse = [*lines[:place], Measured(RISK, line.settings, 0.001, 0.0, 0.0), *lines[place + 1 :]]
            assert [rule for rule, is_met in simulation.pass_rules(worse) if not is_met] == [rules[2][0]]
        if (line.quantity, line.settings) == (ERROR, {"estimator": "penalty, 10", "n": "100"}):
            worse = [*lines[:place], Measured(ERROR, line.settings, 1.0, 0.0, 0.0), *lines[place + 1 :]]
            assert [rule for rule, is_met in simulation.pass_rules(worse) if not is_met] == [rules[5][0]]


def test_all_copies_are_exact_symmetry_whatever_the_targets(simulation, rng):
    """Not so the average of least squares, nor a single element that is left out."""
    x, y = samples(10, 6, rng)
    exact = simulation.within_group(x, y)
    moved = [torch.cat([part[:, each.argsort()] for each in simulation.elements]) for part in (x, y)]
    assert len(moved[0]) == 7200
    torch.testing.assert_close(least_squares(*moved), exact, rtol=0, atol=1e-11)
    assert float((simulation.averaged(least_squares(x, y)) - exact).abs().max()) > 1e-3
    assert float((least_squares(*(part[:-10] for part in moved)) - exact).abs().max()) > 1e-6


def test_estimates_with_all_copies_are_those_with_exact_symmetry(simulation, rng):
    found = simulation.estimates(10, rng)
    torch.testing.assert_close(found["augment, all"], found["exact"], rtol=0, atol=1e-11)
    assert float((found["augment, 8"] - found["exact"]).abs().max()) > 1e-4


@pytest.mark.parametrize("weight", [0.0, 0.3, 20.0])
def test_penalised_maps_are_the_smallest_sum_by_brute_force(weight, rng):
    """The gradient over all elements vanishes; without half of the group it does not."""
    simulation = SoftSymmetry(num_nodes=4, sizes=[6])
    x, y = samples(9, 4, rng)
    theta = simulation.penalised(x, y, weight).requires_grad_()

    def slope(elements: torch.Tensor) -> float:
        moved = torch.stack([((x[:, g] @ theta.mT) - (x @ theta.mT)[:, g]).square().sum(1).mean() for g in elements]).mean()
        loss = (y - x @ theta.mT).square().sum(1).mean() + weight * moved
        return float(torch.autograd.grad(loss, theta)[0].abs().max())

    assert len(simulation.elements) == 24
    assert slope(simulation.elements) < 1e-10
    if weight:
        assert slope(simulation.elements[:12]) > 1e-4


def test_penalties_lead_from_least_squares_to_exact_symmetry(simulation, rng):
    x, y = samples(12, 6, rng)
    torch.testing.assert_close(simulation.penalised(x, y, 0.0), least_squares(x, y))
    torch.testing.assert_close(simulation.penalised(x, y, 1e8), simulation.within_group(x, y), rtol=0, atol=1e-5)


def test_the_equivariance_error_is_that_of_the_package(simulation, rng):
    theta = torch.randn(6, 6, dtype=torch.float64, generator=rng)
    corners = 6**0.5 * torch.cat([torch.eye(6), -torch.eye(6)]).double()[..., None]  # mean of x x^T is I
    found = equivariance_error(lambda x: theta @ x, corners, SymmetricGroup(6), num_samples=None).mean_square
    assert float(2 * (theta - simulation.averaged(theta)).square().sum()) == pytest.approx(found, rel=1e-10)


def test_the_same_seed_gives_the_same_numbers():
    one, again, other = (SoftSymmetry(4, sizes=[8], num_trials=2, seed=seed).run() for seed in (3, 3, 4))
    values = [line.measured for line in one]
    assert [line.measured for line in again] == pytest.approx(values, rel=1e-9, abs=1e-25)
    assert [line.measured for line in other] != pytest.approx(values, rel=1e-3, abs=1e-25)


def test_the_command_and_the_figure(simulation, lines, tmp_path, capsys):
    small = [f"--simulation.init_args.{each}" for each in ("num_nodes=4", "num_trials=2", "sizes=[8,12]")]
    assert main(["simulate", "--config", str(CONFIG), "--quick", *small, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| estimator | excess risk, N = 8 |" in printed and "- N = 12, equivariance error falls with lambda: " in printed
    assert (tmp_path / "figure.png").is_file()
    with styled():
        assert not unreadable(simulation.draw(lines))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_nodes": 8}, "2 to 7 nodes"),
        ({"truth": [1.0]}, "two numbers of the truth"),
        ({"sizes": [7]}, "more than 7 samples"),
        ({"num_trials": 1}, "two trials"),
        ({"copies": [0]}, "copies >= 1"),
        ({"penalties": [-1.0]}, "penalties >= 0"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        SoftSymmetry(**settings)
