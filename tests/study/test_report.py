"""The report says nothing that the trials of its folder do not."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from gnet.study import report
from gnet.study.plan import Variant
from gnet.study.plots import Outputs, plot_outputs, read_summary
from gnet.study.run import StudyResult
from gnet.study.trials import trial_path
from tests.study.test_run import FULL, NONE, RIDGE, run


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyResult]:
    out = tmp_path_factory.mktemp("study")
    return out, run(out, FULL, NONE, RIDGE)


def write(out: Path, result: StudyResult, rows: slice | list[int]) -> str:
    """The report of some of the rows: S64 with seeds 0 and 1, then trivial, then ridge."""
    chosen = result.rows[rows] if isinstance(rows, slice) else [result.rows[place] for place in rows]
    report.write_report(out, StudyResult(chosen, {}, result.manifest), {"name": "digits"}, "tiny")
    return (out / "report.md").read_text()


@pytest.mark.parametrize(
    ("rows", "shown", "seeds"),
    [
        ([0, 1, 2, 3, 4], "one net of each symmetry, draw 0, seed 0", {"S64": 0, "trivial": 0}),
        ([0, 1, 3], "one net of each symmetry, draw 0, seed 1", {"S64": 1, "trivial": 1}),
        ([0, 3], "of different trials", {"S64\ndraw 0, seed 0": 0, "trivial\ndraw 0, seed 1": 1}),
    ],
    ids=["the first", "the first that both have", "none in common"],
)
def test_outputs_side_by_side_are_those_of_one_trial(
    study: tuple[Path, StudyResult], monkeypatch: pytest.MonkeyPatch, rows: list[int], shown: str, seeds: dict[str, int]
) -> None:
    drawn: list[tuple[Outputs, str]] = []

    def noted(outputs: Outputs, title: str) -> Figure:
        drawn.append((outputs, title))
        return plot_outputs(outputs, title)

    monkeypatch.setattr(report, "plot_outputs", noted)
    write(*study, rows)
    [(outputs, title)] = drawn
    assert title.endswith(shown)
    assert list(outputs.predictions) == list(seeds)
    for name, seed in seeds.items():
        stored = np.load(trial_path(study[0], (name.partition("\n")[0], 0, seed)))
        assert (outputs.predictions[name] == stored).all()


def test_the_report_says_how_the_best_was_chosen(study: tuple[Path, StudyResult]) -> None:
    text = write(*study, slice(None))
    assert "It was chosen by its mean validation loss" in text
    assert "2 pairs: too few for an interval" in text and "95% interval" not in text
    assert "What is independent are seeds: with fewer than 5 of them there is no interval" in text


def test_only_pictures_that_exist_are_linked(study: tuple[Path, StudyResult]) -> None:
    out, result = study
    vectors = [out / name.replace(".png", ".pdf") for name in report.PICTURES]
    for name in (*report.PICTURES, *vectors):
        (out / name).unlink(missing_ok=True)
    text = write(out, result, [4, 5])  # baselines alone make no picture
    assert "![" not in text and "For print" not in text
    text = write(out, result, slice(None))
    assert text.count("![") == 2
    assert "For print: [bias_variance.pdf](bias_variance.pdf), [outputs.pdf](outputs.pdf)." in text
    assert all(vector.read_bytes().startswith(b"%PDF") for vector in vectors)


def test_the_report_says_what_nets_the_baselines_are(tmp_path: Path) -> None:
    gcn = Variant("gcn", "baseline", {**FULL.config, "model": {**FULL.config["model"], "num_layers": 3}}, {}, None)
    text = write(tmp_path, run(tmp_path, FULL, RIDGE, gcn, seeds=(0,)), slice(None))
    assert "- gcn: channels 1 - 2 - 2 - 1 with relu between, 8 weights" in text
    assert "- ridge" not in text


def test_the_report_and_the_summary_show_the_errors_of_the_task(study: tuple[Path, StudyResult]) -> None:
    out, result = study
    recorded = {"S64": ["mae=2;mae_1=1", "mae=4;mae_1=1"], "trivial": ["mae=2.5;mae_1=1", "mae=4.7"], "ridge": ["", ""]}
    rows = [replace(row, metrics=recorded[row.symmetry][row.seed], val_loss=float(row.symmetry != "S64")) for row in result.rows]
    report.write_report(out, StudyResult(rows, {}, result.manifest), {"name": "digits"}, "tiny")
    text = (out / "report.md").read_text()
    assert "| test | S64 | trivial | ridge |" in text
    assert "| mae | 3.0000 +- 1.4142 | 3.6000 +- 1.5556 (+0.6 +- 0.1000) | not recorded |" in text
    assert "| mae_1 | 1.0000 +- 0.0000 | 1.0000 (+0) | not recorded |" in text
    with open(out / "summary.csv", newline="") as file:
        of_symmetry, of_trivial, of_ridge = csv.DictReader(file)
    assert (of_symmetry["test_mae"], of_symmetry["test_mae_difference"]) == ("3", "")
    assert float(of_trivial["test_mae_std"]) == pytest.approx(1.5556, abs=1e-4)
    assert [float(of_trivial[f"test_mae_difference{end}"]) for end in ("", "_error")] == pytest.approx([0.6, 0.1])
    assert of_ridge["test_mae"] == "" and of_ridge["test_loss"] != ""
    assert len(read_summary(out)) == 3  # more columns, for those who read the others


def test_without_metrics_there_is_no_such_section(study: tuple[Path, StudyResult]) -> None:
    assert "Errors of the task" not in write(*study, slice(None))


@pytest.mark.parametrize(
    ("model", "mean", "std", "units"),
    [
        ({"loss": "mae", "loss_units": "data"}, 54.4, 19.5, "mean absolute errors in the units of the data."),
        ({"loss": "mse", "loss_units": "data"}, 54.4, 19.5, "mean squared errors in the units of the data, squared."),
        ({"loss": "mse"}, 0.0, 1000.0, "mean squared errors in model units, (y - 0) / 1000 in the first trial."),
        ({"loss": "mse"}, 0.0, 1.0, "mean squared errors in the units of the data, squared."),
    ],
)
def test_losses_are_in_the_units_they_were_trained_in(
    study: tuple[Path, StudyResult], model: dict[str, str], mean: float, std: float, units: str
) -> None:
    assert report.losses_text(model, report.Targets(None, 2, 3, (mean,) * 3, (std,) * 3)) == f"Losses are {units}"
    assert "Losses are mean squared errors in model units, (y - " in write(*study, slice(None))
