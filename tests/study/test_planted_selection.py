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
from gnet.study.planted_selection import METHODS, PlantedSelection
from gnet.study.simulate import Measured

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
    assert agreement["0"] > 0.8 > agreement["0.6"], "with a deviation that shows, finer clusters predict better"


def test_risks_of_fixed_groups_are_those_of_theory_where_the_penalty_does_nothing(measured: list[Measured]) -> None:
    """Without symmetry, n = 400 samples and 8 inputs: N d s^2 / (n - d - 1); ridge may only be a little better."""
    found = value(measured, "risk", 400, "fixed", "trivial")
    exact = 8 * 8 * 0.25 / (400 - 8 - 1)
    assert 0.8 * exact < found.measured < exact + 5 * found.standard_error
    symmetric = value(measured, "risk", 400, "fixed", "symmetric").measured
    assert symmetric > 0.36, "what the largest group cannot have is left, the liar of the planted one"


@pytest.mark.parametrize(("n", "which"), [(12, "listed"), (12, "not listed"), (400, "listed"), (400, "not listed")])
def test_regret_is_against_the_best_fixed_group(measured: list[Measured], n: int, which: str) -> None:
    fixed = ["trivial", "halves", "joined", "symmetric", *(["planted"] if which == "listed" else [])]
    regrets = {name: value(measured, "regret", n, which, name).measured for name in fixed}
    assert min(regrets.values()) == pytest.approx(0, abs=1e-12)
    risks = {name: value(measured, "risk", n, "fixed", name).measured for name in fixed}
    for method in METHODS:
        if n == 12 and method in ("shrinkage", "merging"):
            continue  # more inputs than samples allow
        chosen = value(measured, "risk", n, which, method).measured
        assert value(measured, "regret", n, which, method).measured == pytest.approx(chosen - min(risks.values()), abs=1e-12)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--config", CONFIG, "--quick", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "Deviation 1, planted group not listed:" in shown and "Estimated squared deviation (planted 1)" in shown
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} >= {*METHODS, "trivial", "planted"}
    assert all(math.isfinite(float(row["measured"])) for row in rows)
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


def test_a_way_above_a_fixed_group_is_named() -> None:
    simulation = PlantedSelection(sizes=[4, 4], deviations=[0.0], samples=[20], num_trials=2)
    settings = {"deviation": "0", "n": "20", "candidates": "listed"}
    regrets = {"validation": 0.5, "planted": 0.0, "trivial": 0.7}
    lines = [Measured("regret", {**settings, "method": name}, mean, 0.1, np.nan) for name, mean in regrets.items()]
    assert "- validation: 0.500 over 1 n (above planted at the same n)" in simulation.summary(lines)


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


def test_automatic_uses_what_was_learned(measured: list[Measured]) -> None:
    """Averaging over the candidates alone is another map, and with many samples a worse one where nothing true is listed."""
    for deviation in ("0", "0.6"):
        automatic = value(measured, "risk", 400, "not listed", "automatic", deviation).measured
        assert automatic < value(measured, "risk", 400, "not listed", "averaging", deviation).measured
