"""The report says nothing that the trials of its folder do not."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from gnet.study import report
from gnet.study.plan import Variant
from gnet.study.plots import Outputs, plot_outputs
from gnet.study.run import StudyResult, trial_path
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
