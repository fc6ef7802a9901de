"""``simulate``: what is measured is what theory says, bounds hold, and the command writes what it promises."""

import csv
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, minimize

from gnet.cli import main
from gnet.errors import ConfigError
from gnet.study.circle import Rotations, largest_gaps, nearest, rotated, slope
from gnet.study.partial_symmetry import PartialSymmetry, _lowest_model_error
from gnet.study.plots import styled
from gnet.study.shrinkage import ChainShrinkage
from gnet.study.simulate import Measured
from gnet.study.thresholds import RegressionThresholds
from gnet.theory import expected_excess_risk, generalisation_bound, optimal_shrinkage
from tests.study.plots.page import unreadable

ROOT = Path(__file__).resolve().parents[2]
R3, PARTIAL, SHRINKAGE = (
    str(ROOT / "configs" / "simulation" / f"{name}.yaml") for name in ("r3", "partial_symmetry", "shrinkage")
)
GROUPS = {"I": [0, 1, 2], "S2": [0, 0, 1], "S3": [0, 0, 0]}


@pytest.mark.parametrize("config", [R3, PARTIAL, SHRINKAGE], ids=["r3", "partial_symmetry", "shrinkage"])
def test_the_command(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--simulation.num_trials", "4"]
    assert main(["simulate", "--config", config, "--quick", *words, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "within 2 standard errors of theory" in shown and "figure.pdf" in shown
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 20 and all(math.isfinite(float(row["measured"])) for row in rows)
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF") and (tmp_path / "figure.png").stat().st_size > 20_000
    assert "num_trials: 4" in (tmp_path / "report.md").read_text()  # later words win over --quick


@pytest.mark.parametrize(
    "simulation",
    [
        RegressionThresholds(
            {"nearly S3": [1.0, 1.0, 0.92], "a": [None] * 3, "b": [1.0, 1.0, 1.0]}, GROUPS, sizes=[10, 38], num_trials=2
        ),
        RegressionThresholds({"alone": [1.0, 1.0, 0.92]}, GROUPS, sizes=[10, 38], num_trials=2),
        PartialSymmetry(sizes=[32, 128], num_trials=4, num_samples=2),
        ChainShrinkage([1.0, 1.0, 0.92], GROUPS, sizes=[10, 20], num_trials=3),
    ],
    ids=["thresholds", "one target", "partial symmetry", "shrinkage"],
)
def test_figures_are_read_at_the_size_of_a_page(simulation) -> None:
    with styled():
        figure = simulation.draw(simulation.run())
        assert unreadable(figure) == []
        for axes in figure.axes:
            boxes = [text.get_window_extent() for text in axes.texts]
            assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        handles = [each for axes in figure.axes for each in axes.containers]
        assert handles and all(each.has_yerr for each in handles)  # every mark has its bar


def test_regression_means_are_those_of_theory() -> None:
    simulation = RegressionThresholds(
        {"nearly S3": [1.0, 1.0, 0.92], "any": [None] * 3}, GROUPS, sizes=[10, 20, 38], num_trials=800
    )
    lines = simulation.run()
    assert len(lines) == 2 * 3 * 3 * 2
    assert all(abs(line.measured - line.expected) < 5 * line.standard_error for line in lines)
    swapped = {
        line.settings["estimator"]: line for line in lines if line.settings["group"] == "S3" and line.settings["target"] == "any"
    }
    assert abs(swapped["constrained"].measured - swapped["projected"].expected) > 5 * swapped["constrained"].standard_error
    thresholds = simulation.thresholds("nearly S3")
    assert thresholds["S2", "S3", "projected"] == pytest.approx(22.53125)
    assert thresholds["S2", "S3", "constrained"] == pytest.approx(21.53125)


def test_estimated_factors_lie_between() -> None:
    """Beside exact risks: below no symmetry, above the better of the groups; the check value of theory at n = 20 is 0.003755."""
    simulation = ChainShrinkage(
        [1.0, 1.0, 0.92], {"none": [0, 1, 2], "S2": [0, 0, 1], "S3": [0, 0, 0]}, sizes=[20], num_trials=800
    )
    lines = simulation.run()
    found = {line.settings["estimator"]: line for line in lines}
    for line in lines:
        if line.kind == "exact":
            assert abs(line.measured - line.expected) < 5 * line.standard_error, line
    mine = found["estimated factors"]
    assert mine.kind == "unknown" and math.isnan(mine.expected)
    assert abs(mine.measured - 0.003755) < 5 * mine.standard_error
    assert mine.measured + 5 * mine.standard_error < found["none"].expected
    assert found["best factors"].expected < min(found["S2"].expected, found["S3"].expected) < mine.measured
    assert "| 20 | 0.003" in simulation.summary(lines)


def test_the_guide_shows_the_measured_table() -> None:
    """Its exact columns are those of theory, its measured one that of the check values."""
    rows = re.findall(
        r"^\| (10|20|40|80) \| ([\d.]+) ± ([\d.]+) \| (.*) \|$", (ROOT / "docs" / "estimators.md").read_text(), re.MULTILINE
    )
    assert [int(row[0]) for row in rows] == [10, 20, 40, 80]
    for (n, measured, error, rest), check in zip(rows, (0.008962, 0.003755, 0.001931, 0.001014), strict=True):
        assert abs(float(measured) - check) < 5 * float(error)
        simulation = ChainShrinkage([1.0, 1.0, 0.92], {"none": [0, 1, 2], "S2": [0, 0, 1], "S3": [0, 0, 0]})
        chain = list(simulation.groups.values())
        exact = [expected_excess_risk(simulation.beta, group, int(n), **simulation.options) for group in chain]
        exact.append(optimal_shrinkage(simulation.beta, chain, int(n), **simulation.options).risk)
        assert rest.split(" | ") == [f"{value:.5f}" for value in exact]


def small_partial(**settings) -> PartialSymmetry:
    return PartialSymmetry(**{"sizes": [32, 128], "num_trials": 150, "num_samples": 12, "defects": [0.0, 0.2], **settings})


def gaps_of(lines: list[Measured], **wanted: str) -> dict[tuple[str, str], Measured]:
    """Of the sets of rotations, at each model error."""
    mine = [line for line in lines if line.quantity == "generalisation_gap" and wanted.items() <= line.settings.items()]
    return {(line.settings["rotations"], line.settings["model_error"]): line for line in mine}


def test_partial_symmetry_is_measured_as_theory_says() -> None:
    lines = small_partial().run()
    for line in lines:
        if line.kind == "exact":
            assert abs(line.measured - line.expected) <= 5 * line.standard_error + 1e-9, line
        else:
            assert (1 if line.kind == "upper bound" else -1) * (line.expected - line.measured) > -1e-9, line
    assert {line.kind for line in lines} == {"exact", "upper bound", "lower bound"}
    # The bound of one rotation is reached where it is its own inverse, and not elsewhere.
    single = [line for line in lines if line.quantity == "approximation_error_of_rotation" and line.expected > 0.01]
    assert all((line.measured < line.expected + 1e-9) is (line.settings["rotation"] == "8/16") for line in single)


def test_gaps_grow_with_model_error_and_data_error_and_fall_with_rotations() -> None:
    lines = small_partial(model_errors=[0.0, 0.1, 2.0]).run()
    sound = gaps_of(lines, n="32", defect="0")
    for name in ("3 of 4", "4", "16"):
        values = [sound[name, allowed].measured for allowed in ("0", "0.1", "2")]
        assert values[0] < values[1] < values[2] <= sound["none", "0"].measured + 1e-9
        assert sound[name, "0.1"].expected - sound[name, "0"].expected >= 0.2 - 1e-9  # the price of the bound is twice the error
        assert gaps_of(lines, n="32", defect="0.2")[name, "0"].measured > values[0]
    assert sound["none", "0"].measured > 3 * sound["4", "0"].measured > 6 * sound["16", "0"].measured
    assert sound["3 of 4", "0"].measured == pytest.approx(sound["4", "0"].measured)  # exact symmetries make a group
    assert sound["3 of 4", "0.1"].measured > sound["4", "0.1"].measured  # two steps of a set that is none cost twice
    assert gaps_of(lines, n="128", defect="0")["none", "0"].measured < 0.6 * sound["none", "0"].measured


def test_a_bound_that_keeps_quiet_about_an_error_is_broken() -> None:
    """The liar: 16 exact rotations, where models change by up to 2, or where there are no rotations at all."""
    simulation = small_partial(model_errors=[0.0, 2.0], defects=[0.0])
    sound = gaps_of(simulation.run(), n="32")
    radii, cells = simulation.rotations["16"].covering(is_exact=True)
    steepest = simulation.lipschitz + slope(simulation._target(0.0))
    lie = generalisation_bound(radii, cells, 32, lipschitz=steepest, epsilon=0.0, largest_loss=0.0).covering
    for honest in (sound["16", "2"], sound["none", "0"]):
        assert lie + 3 * honest.standard_error < honest.measured < honest.expected


def test_a_bound_on_gaps_by_hand() -> None:
    """Half turns, n = 9, models of slope 10; the target goes up and down with slope 4, which half a turn changes by 2.

    Losses have slope 14. Arcs of 1/2, 1/4, 1/8, 1/16: 1/16 + (1/2 sqrt(2) + 1/4 sqrt(4) + 1/8 sqrt(8)) / (2 sqrt(9)) is least.
    """
    half = Rotations.of([8])
    up_and_down = 4 * np.minimum(np.arange(32), 32 - np.arange(32)) / 32
    covering = 1 / 16 + (math.sqrt(2) / 2 + 1 / 2 + math.sqrt(8) / 8) / 6
    simulation = small_partial(lipschitz=10.0)
    assert simulation.gap_bound(half, 0.3, up_and_down, 9) == pytest.approx(14 * covering + 2 * (0.3 + 2))
    # Without any change distances are modulo half turns, on a circle of 1/2 whose diameter is 1/4: no level is better.
    assert simulation.gap_bound(half, 0.0, np.ones(32), 9) == pytest.approx(10 / 4)


def test_the_bound_of_a_group_that_keeps_the_target_is_divided_by_its_size() -> None:
    """Of the four rotations, and of half of them; not of three, whose products are not all among them, nor of all sixteen."""
    simulation = PartialSymmetry(
        rotations={"none": [0], "2": [0, 8], "3 of 4": [-4, 0, 4], "4": [0, 4, 8, 12], "16": [*range(16)]}
    )
    bounds = {name: simulation.gap_bound(each, 0.0, simulation._target(0.0), 32) for name, each in simulation.rotations.items()}
    gains = {name: bounds["none"] / bound for name, bound in bounds.items()}
    assert gains["2"] == pytest.approx(2) and gains["4"] == pytest.approx(4)
    assert 1 < gains["3 of 4"] < 2 and 4 < gains["16"] < 5
    defect = simulation._target(0.2)
    assert simulation.gap_bound(Rotations.of([0]), 0.0, defect, 32) < 2 * simulation.gap_bound(
        Rotations.of([0, 4, 8, 12]), 0.0, defect, 32
    )


@pytest.mark.parametrize("noise", [0.1, 0.5, 2.0])
def test_the_error_of_the_best_model_error_is_its_spread(noise: float) -> None:
    """By the delta method, against the spread of many runs of 100 draws each."""
    rng, target = np.random.default_rng(0), np.array([0.8, -0.5, 0.0, 0.0, 0.3])
    found = np.array([_lowest_model_error(target + noise * rng.standard_normal((100, 5)), target) for _ in range(2000)])
    assert np.mean(found[:, 1]) == pytest.approx(np.std(found[:, 0]), rel=0.1)
    assert _lowest_model_error(np.ones((3, 2)), np.zeros(2)) == (0.0, 0.0)


def shortest_paths(points: int, jumps: set[int], lipschitz: float, jump_cost: float) -> np.ndarray:
    """Of steps to the neighbour and of jumps, each at its cost (Floyd and Warshall)."""
    here, costs = np.arange(points), np.full((points, points), np.inf)
    np.fill_diagonal(costs, 0.0)
    for step, cost in [(1, lipschitz / points), *((each * points // 16, jump_cost) for each in jumps)]:
        for target in ((here + step) % points, (here - step) % points):
            costs[here, target] = np.minimum(costs[here, target], cost)
    for middle in here:
        costs = np.minimum(costs, costs[:, [middle]] + costs[[middle]])
    return costs


@pytest.mark.parametrize("rotations", [[0], [8], [0, 4, 8, 12], [-4, 0, 4], [1]])
@pytest.mark.parametrize("model_error", [0.0, 0.02, 1.0])
def test_the_largest_gap_is_a_transport_cost(rotations: list[int], model_error: float) -> None:
    """Duality: of moving the sample's mass to the points evenly, by steps and jumps, as an assignment of equal parts."""
    places = np.random.default_rng(0).integers(32, size=8)
    weights = np.bincount(places, minlength=32)[None] / 8 - 1 / 32
    costs = shortest_paths(32, set(rotations) - {0}, 2.0, model_error)[np.repeat(places, 4)]
    rows, columns = linear_sum_assignment(costs)
    found = largest_gaps(weights, Rotations.of(rotations), 2.0, model_error)
    assert found[0] == pytest.approx(costs[rows, columns].mean(), abs=1e-9)


@pytest.mark.parametrize(
    ("rotations", "arc", "is_group"),
    [
        ([0], 16, True),
        ([8], 8, True),
        ([0, 4, 8, 12], 4, True),
        ([-4, 0, 4], 8, False),
        ([0, 1], 15, False),
        (range(16), 1, True),
    ],
)
def test_arcs_of_representatives(rotations: Sequence[int], arc: int, is_group: bool) -> None:
    found = Rotations.of(rotations)
    assert (found.arc, found.is_group) == (arc, is_group)
    covered = {(a + b) % 16 for a in found.members for b in range(arc)}
    assert covered == set(range(16))
    radii, cells = found.covering(is_exact=False)
    assert radii[0] == min(arc / 16, 0.5) and cells[:3] == [1, 2, 4] and radii[3] == arc / 128
    assert found.covering(is_exact=True)[0][0] == (arc / 32 if is_group else radii[0])


def test_the_nearest_function(rng: torch.Generator) -> None:
    """Against a general minimiser, and against functions that keep the limit by chance."""
    source = np.random.default_rng(int(torch.randint(2**31, (), generator=rng)))
    target = source.standard_normal(16)

    def change(f: np.ndarray) -> float:
        return float(np.sqrt(np.mean([np.mean((rotated(f, k) - f) ** 2) for k in (1, 4)])))

    limit = 0.4 * change(target)
    found = nearest(target, [1, 4], limit)
    assert change(found) == pytest.approx(limit)
    keeps = {"type": "ineq", "fun": lambda f: limit**2 - change(f) ** 2}
    best = minimize(
        lambda f: np.mean((f - target) ** 2), np.zeros(16), method="SLSQP", constraints=keeps, options={"ftol": 1e-12}
    )
    assert np.mean((found - target) ** 2) == pytest.approx(best.fun, rel=1e-4)
    for _ in range(20):
        other = found + 0.1 * source.standard_normal(16)
        other = other.mean() + (other - other.mean()) * min(1.0, limit / change(other))
        assert np.mean((other - target) ** 2) > np.mean((found - target) ** 2)
    assert nearest(target, [1, 4], 10.0) is target
    assert np.ptp(nearest(target, [1], 0.0)) < 1e-9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RegressionThresholds({"a": [1.0, 2.0]}, GROUPS), r"targets and groups of one dimension, got \[2, 3\]"),
        (lambda: RegressionThresholds({"a": [1.0, 2.0, 3.0]}, GROUPS, sizes=[4]), "more than 4 samples"),
        (lambda: RegressionThresholds({"a": [0.0, 0.0, 0.0]}, GROUPS), "a target that is not 0"),
        (lambda: ChainShrinkage([1.0, 2.0], GROUPS), "groups of its dimension"),
        (lambda: ChainShrinkage([1.0, 2.0, 3.0], GROUPS, sizes=[4]), "more than 4 samples"),
        (lambda: PartialSymmetry(symmetric_under=3), r"a target with 2, 4, 8 or 16 of them, .* got \['none', .*\], 3, 64"),
        (lambda: PartialSymmetry(points=40), "32, 48, 64 ... points"),
        (lambda: PartialSymmetry(rotations={}), "expected a set of rotations"),
        (lambda: PartialSymmetry(sizes=[20]), "more than twice as many samples"),
        (lambda: PartialSymmetry(defects=[-0.1]), "defects, model errors, factors, amplitude, lipschitz and sigma_xi >= 0"),
    ],
)
def test_errors(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected a config with a simulation"),
        (["--quick"], "--quick needs a config with the key quick"),
        (["--config", R3, "--simulation.num_trails", "3"], "num_trails"),
    ],
)
def test_wrong_words(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", *words]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and message in shown
