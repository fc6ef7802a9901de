"""The planted benchmark: what it plants is what it says, what it measures agrees with theory, and the command writes it."""

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gnet.cli import main
from gnet.errors import ConfigError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup
from gnet.orbits import PairOrbits
from gnet.study.planted_regret import LISTS, regret_text
from gnet.study.planted_selection import METHODS, PlantedSelection
from gnet.study.simulate import Measured, read_record
from gnet.theory import dim_hom

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "simulation" / "selection.yaml")


def value(lines: list[Measured], quantity: str, n: int, candidates: str, method: str, deviation: str = "0.6") -> Measured:
    """The one line with these settings."""
    wanted = {"n": str(n), "candidates": candidates, "method": method, "deviation": deviation}
    found = [line for line in lines if line.quantity == quantity and wanted.items() <= line.settings.items()]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("deviation", [0.0, 0.7])
def test_the_truth_is_as_far_from_the_planted_group_as_it_says(deviation: float, rng: torch.Generator) -> None:
    """By the average over all 576 elements, which shares no code with it."""
    simulation = PlantedSelection(sizes=[4, 4])
    theta = simulation.truth(deviation, rng)
    average, count = torch.zeros_like(theta), 0
    for one, other in itertools.product(itertools.permutations(range(4)), itertools.permutations(range(4, 8))):
        moved = torch.tensor([*one, *other])
        average, count = average + theta[moved][:, moved], count + 1
    assert float((theta - average / count).norm()) == pytest.approx(deviation, abs=1e-12)
    assert float((average / count - theta.mean()).norm()) > 0.1, "there is more to find than a constant"


@pytest.fixture(scope="module")
def measured() -> list[Measured]:
    return PlantedSelection(sizes=[4, 4], deviations=[0.0, 0.6], samples=[12, 400], num_trials=4, sigma_xi=0.5).run()


def test_the_strength_is_estimated_without_bias_and_the_clusters_are_found(measured: list[Measured]) -> None:
    strength = value(measured, "bias", 400, "", "estimate")
    assert abs(strength.measured - 0.36) < 5 * strength.standard_error and strength.standard_error < 0.05
    assert strength.expected == pytest.approx(0.36)
    agreement = {each: value(measured, "agreement", 400, "", "merging", each).measured for each in ("0", "0.6")}
    best = {each: value(measured, "agreement", 400, "", "truth", each) for each in ("0", "0.6")}
    assert best["0"].measured == 1 == best["0"].expected and math.isnan(best["0.6"].expected)
    assert best["0.6"].measured < agreement["0.6"] < 1, "nor are the planted ones what is to be found"
    assert agreement["0"] > 0.8 > agreement["0.6"], "with a deviation that shows, finer clusters predict better"


def test_risks_of_fixed_groups_are_those_of_theory_where_the_penalty_does_nothing(measured: list[Measured]) -> None:
    """Without symmetry, n = 400 samples and 8 inputs: N d s^2 / (n - d - 1); ridge may only be a little better."""
    found = value(measured, "risk", 400, "fixed", "trivial")
    exact = 8 * 8 * 0.25 / (400 - 8 - 1)
    assert 0.8 * exact < found.measured < exact + 5 * found.standard_error
    symmetric = value(measured, "risk", 400, "fixed", "symmetric").measured
    assert symmetric > 0.36, "what the largest group cannot have is left, the liar of the planted one"


@pytest.mark.parametrize(("n", "which"), [(n, which) for n in (12, 400) for which in LISTS])
def test_regret_is_against_the_best_fixed_group(measured: list[Measured], n: int, which: str) -> None:
    fixed = [name for name in ("trivial", "halves", "joined", "symmetric", "planted") if name not in LISTS[which]]
    regrets = {name: value(measured, "regret", n, which, name).measured for name in fixed}
    assert min(regrets.values()) == pytest.approx(0, abs=1e-12)
    risks = {name: value(measured, "risk", n, "fixed", name).measured for name in fixed}
    for method in METHODS:
        if n == 12 and method in ("shrinkage", "merging"):
            continue  # more inputs than samples allow
        chosen = value(measured, "risk", n, which, method).measured
        assert value(measured, "regret", n, which, method).measured == pytest.approx(chosen - min(risks.values()), abs=1e-12)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--config", CONFIG, "--quick", "--out", str(tmp_path), "--record", str(tmp_path / "kept.csv")]) == 0
    shown = capsys.readouterr().out
    assert "The same, planted group not listed:" in shown and "Estimated squared deviation:" in shown
    lines, source = read_record((tmp_path / "kept.csv").read_text())
    assert {line.quantity for line in lines} == {"regret", "mean regret", "agreement", "bias"} and source["date"].startswith("20")
    assert regret_text(lines) in shown
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} >= {*METHODS, "trivial", "planted"}
    assert all(math.isfinite(float(row["measured"])) for row in rows)
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


def test_a_way_above_a_fixed_group_is_named() -> None:
    lines = [
        Measured(
            "mean regret", {"deviation": deviation, "n": "20, 30", "candidates": "listed", "method": name}, mean, 0.1, np.nan
        )
        for deviation, means in {"0": (0.5, 0.0, 0.7), "3": (-0.5, 0.0, 0.7)}.items()
        for name, mean in zip(("automatic", "planted", "trivial"), means, strict=True)
    ]
    text = regret_text(lines)
    assert "Over these n, automatic is below every fixed group, but for planted at deviation 0 (planted group listed)." in text
    assert "| automatic | 0.500 ± 0.100 | -0.500 ± 0.100 |" in text
    assert regret_text([]).startswith("There is no n at which")


@pytest.mark.parametrize(
    "options",
    [{"sizes": [4]}, {"sizes": [3, 4]}, {"samples": [5]}, {"num_trials": 1}, {"sigma_xi": 0.0}, {"deviations": [-1.0]}],
)
def test_impossible_plans_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match="expected"):
        PlantedSelection(**options)


def test_regret_is_against_the_group_that_is_best_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trials in which different groups are best: the regret is less the one that is best on average."""
    simulation = PlantedSelection(sizes=[4, 4], deviations=[0.0], samples=[20], num_trials=2)
    fixed = {"trivial": (9, 9), "halves": (1, 6), "planted": (4, 1), "joined": (9, 9), "symmetric": (9, 9)}
    tables = [
        {
            20: {
                **{("risk", "fixed", name): float(each[trial]) for name, each in fixed.items()},
                ("risk", "listed", "averaging"): 3.0,
            }
        }
        for trial in range(2)
    ]
    monkeypatch.setattr(simulation, "_trial", lambda deviation, trial: tables[trial])
    lines = simulation.run()
    regret = value(lines, "regret", 20, "listed", "averaging", "0")
    assert regret.measured == 3 - 2.5 and regret.standard_error == pytest.approx(1.5)  # -1 and 2: less "planted", (4, 1)
    assert value(lines, "regret", 20, "not listed", "halves", "0").measured == 0


def test_the_mean_is_over_the_same_samples_for_all(measured: list[Measured]) -> None:
    """At n = 12 merging cannot be used, in folds of 9: 400 alone counts for all, and both n for the others."""
    mine = [line for line in measured if line.quantity == "mean regret" and line.settings["deviation"] == "0.6"]
    everywhere = [name for name in METHODS if name != "merging"]
    for over, methods in {"400": METHODS, "12, 400": everywhere}.items():
        lines = [line for line in mine if line.settings["n"] == over]
        assert len(lines) == 3 * len(methods) + 5 + 4 + 3
        for line in lines:
            singles = [
                value(measured, "regret", int(n), line.settings["candidates"], line.settings["method"]) for n in over.split(", ")
            ]
            assert line.measured == pytest.approx(np.mean([single.measured for single in singles]))
            if len(singles) == 1:
                assert line.standard_error == pytest.approx(singles[0].standard_error)
    assert len(mine) == 3 * (len(METHODS) + len(everywhere)) + 2 * (5 + 4 + 3)
    text = regret_text(measured).split("\n\n")
    tables = text[1:6:2]
    assert [table.count("\n") - 1 for table in tables] == [len(METHODS) + left for left in (5, 4, 3)]
    assert "| planted |" in tables[0] and "| planted |" not in tables[1] and "| halves |" not in tables[2]
    shown = value(measured, "regret", 400, "listed", "joined")
    assert f"{shown.measured:.3f} ± {shown.standard_error:.3f}" in next(
        row for row in tables[0].splitlines() if row.startswith("| joined |")
    )
    assert text[7] == "Mean regret over n = 12, 400, with its standard error; planted group listed:"
    assert text[6].startswith("Over these n, automatic is below") and text[13].startswith("Over these n, automatic is below")
    assert [table.count("\n") - 1 for table in text[8:13:2]] == [len(everywhere) + left for left in (5, 4, 3)]


def test_one_mean_is_enough_where_every_way_can_be_used_at_every_n() -> None:
    lines = PlantedSelection(sizes=[2, 2], deviations=[0.0], samples=[40, 50], num_trials=2).run()
    assert {line.settings["n"] for line in lines if line.quantity == "mean regret"} == {"40, 50"}
    few = PlantedSelection(sizes=[6, 6], deviations=[0.0], samples=[12], num_trials=2).run()
    ways = {line.settings["method"] for line in few if line.quantity == "mean regret" and line.settings["n"] == "12"}
    assert {"automatic", "averaging", "validation", "trivial"} <= ways and not {"shrinkage", "merging"} & ways


def test_the_clusters_of_lowest_true_risk_are_those_of_a_search_through_all() -> None:
    """Four nodes, 15 partitions: merging the truth finds the best of them; with a deviation not the planted ones."""
    simulation = PlantedSelection(sizes=[2, 2], sigma_xi=0.7)
    labels = [
        each
        for each in itertools.product(range(4), repeat=4)
        if all(b <= max(each[:i], default=-1) + 1 for i, b in enumerate(each))
    ]
    found = {}
    for deviation, n in ((0.0, 30), (0.0, 10**6), (2.0, 8), (2.0, 10**6)):
        theta = simulation.truth(deviation, torch.Generator().manual_seed(1))

        def risk(each: tuple[int, ...], theta: torch.Tensor = theta, n: int = n) -> float:
            group = ClusterGroup(Partition(list(each)))
            lost = theta - PairOrbits.of(group).mean(theta)
            return float(lost.square().sum()) + 0.49 * dim_hom(group) / (n - 5)

        found[deviation, n] = simulation.attainable(theta, n)
        assert found[deviation, n] == Partition(list(min(labels, key=risk)))
    assert found[0.0, 10**6] == simulation.partition and found[2.0, 10**6].num_clusters == 4
    with pytest.raises(ConfigError, match="n >= 6, for least squares of finite risk, got 5"):
        simulation.attainable(theta, 5)


def test_the_mean_of_two_numbers_of_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Averaged in each trial first: the standard error is over trials, not over all numbers."""
    simulation = PlantedSelection(sizes=[4, 4], deviations=[0.0], samples=[20, 30, 40], num_trials=2)
    fixed = {("risk", "fixed", name): 1.0 if name == "trivial" else 9.0 for name in simulation.groups}

    def trial(deviation: float, number: int) -> dict:
        ways = {("risk", which, method): 3.0 + number for which in LISTS for method in METHODS}
        lacking = {key: each for key, each in ways.items() if key[2] != "merging"}
        return {20: {**fixed, **lacking}, 30: {**fixed, **ways}, 40: {**fixed, **{key: each + 2 for key, each in ways.items()}}}

    monkeypatch.setattr(simulation, "_trial", trial)
    mean = next(line for line in simulation.run() if line.quantity == "mean regret" and line.settings["method"] == "estimate")
    assert mean.settings["n"] == "30, 40" and mean.measured == 3.5 and mean.standard_error == pytest.approx(0.5)


def test_the_picture_shows_regret_against_every_fixed_group(measured: list[Measured]) -> None:
    simulation = PlantedSelection(sizes=[4, 4], deviations=[0.0, 0.6], samples=[12, 400], num_trials=4)
    axes = simulation.draw(measured).axes
    assert len(axes) == 8 and [each.get_ylabel() for each in axes[::2]] == [
        "excess risk",
        "regret\nplanted group listed",
        "regret\nplanted group not listed",
        "regret\nno refinement listed",
    ]
    names = axes[3].get_legend_handles_labels()[1]
    assert {*METHODS, "trivial", "halves", "planted", "joined", "symmetric"} == set(names)
    assert all(container.has_yerr for container in axes[3].containers)
    line = next(each for each in axes[3].containers if each.get_label() == "averaging").lines[0]
    wanted = [value(measured, "regret", n, "listed", "averaging").measured for n in (12, 400)]
    assert line.get_ydata() == pytest.approx(wanted)


def test_automatic_uses_what_was_learned(measured: list[Measured]) -> None:
    """Averaging over the candidates alone is another map, and with many samples a worse one where nothing true is listed."""
    for deviation in ("0", "0.6"):
        automatic = value(measured, "risk", 400, "not listed", "automatic", deviation).measured
        assert automatic < value(measured, "risk", 400, "not listed", "averaging", deviation).measured
