"""Bias^2, variance and test loss: what is drawn, what is said, and what is refused."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from gnet.errors import ConfigError, DataError
from gnet.study.journal import csv_text
from gnet.study.plots import new_figure, plot_bias_variance, read_summary
from gnet.study.tables import SUMMARY_COLUMNS, Summary


def summary(
    name: str, num_clusters: int, kind: str = "symmetry", loss: float = 1.0, error: float = 0.1, n: int = 5, num_draws: int = 1
) -> Summary:
    numbers = {
        "test_loss": loss,
        "test_loss_error": error,
        "bias2": 0.7,
        "bias2_error": error,
        "variance": 0.3,
        "variance_error": error,
    }
    empty = dict.fromkeys(
        ["test_loss_std", "val_loss", "val_loss_std", "variance_between_draws", "variance_between_seeds", "equivariance_error"],
        math.nan,
    )
    differences = dict.fromkeys(["difference", "difference_error", "difference_low", "difference_high"], math.nan)
    return Summary(
        symmetry=name,
        kind=kind,
        num_clusters=num_clusters,
        num_weights=5,
        n=n,
        num_draws=num_draws,
        num_pairs=0,
        num_units=0,
        seconds=1.0,
        **numbers,
        **empty,
        **differences,
    )


def lines_of(axes: Axes) -> dict[str, list[float]]:
    """The heights of every curve, by its label."""
    return {str(bars.get_label()): [float(y) for y in bars.lines[0].get_ydata()] for bars in axes.containers}


def test_every_number_of_clusters_is_a_place() -> None:
    summaries = [summary("trivial", 16, loss=0.9), summary("S16", 1, loss=1.1), summary("(S4)^4", 4, loss=0.8)]
    summaries += [summary("ridge", 16, "baseline", 0.85), summary("mean", 16, "baseline", 50.0)]
    [axes] = plot_bias_variance(summaries, "title").axes
    assert lines_of(axes) == {"test loss": [1.1, 0.8, 0.9], "bias^2 + irreducible": [0.7] * 3, "variance": [0.3] * 3}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["16\ntrivial", "1\nS16", "4\n(S4)^4"]
    assert axes.get_title() == "title\nn = 5 trials per symmetry on one training set; bars: one standard error"
    assert axes.get_ylim()[0] <= 0 < 1.1 < axes.get_ylim()[1] < 2  # the baseline far above does not flatten the curves
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert named == [*lines_of(axes), "ridge, test loss", "mean: 50, off the scale"]
    assert len({(bars.lines[0].get_color(), bars.lines[0].get_marker()) for bars in axes.containers}) == 3


def test_two_with_as_many_clusters_are_told_by_name() -> None:
    [axes] = plot_bias_variance([summary("a", 4), summary("b", 4, loss=2.0)]).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a", "b"]
    assert axes.get_xscale() == "linear"


def test_curves_that_end_apart_are_named_at_their_ends() -> None:
    [axes] = plot_bias_variance([summary("a", 1), summary("b", 4)]).axes
    assert axes.get_legend() is None
    assert [text.get_text() for text in axes.texts] == ["test loss", "bias^2 + irreducible", "variance"]


@pytest.mark.parametrize(("loss", "unit"), [("mse", "model units"), ("cross_entropy", "nats"), ("mae", "or mae")])
def test_the_axis_says_the_unit(loss: str, unit: str) -> None:
    assert unit in plot_bias_variance([summary("a", 1)], "", loss).axes[0].get_ylabel()


@pytest.mark.parametrize(("n", "num_draws", "drawn"), [(5, 1, True), (4, 1, False), (20, 4, False), (20, 5, True)])
def test_bars_need_enough_independent_trials(monkeypatch: pytest.MonkeyPatch, n: int, num_draws: int, drawn: bool) -> None:
    bars = []
    errorbar = Axes.errorbar

    def noted(axes: Axes, *args: Any, yerr: Any, **kwargs: Any) -> Any:
        bars.append(np.isfinite(yerr).all())
        return errorbar(axes, *args, yerr=yerr, **kwargs)

    monkeypatch.setattr(Axes, "errorbar", noted)
    figure = plot_bias_variance([summary("a", 1, n=n, num_draws=num_draws), summary("b", 4, n=n, num_draws=num_draws)])
    assert bars == [drawn] * 3
    assert ("bars: one standard error" in figure.axes[0].get_title()) == drawn


def test_errors_that_are_unknown_leave_the_curves() -> None:
    [axes] = plot_bias_variance([summary("a", 1, error=math.nan), summary("b", 4, error=math.nan)]).axes
    assert lines_of(axes)["variance"] == [0.3, 0.3]


def test_baselines_alone_are_no_curve() -> None:
    with pytest.raises(ConfigError, match=r"at least one symmetry to draw, got \['ridge'\]"):
        plot_bias_variance([summary("ridge", 16, "baseline")])
    with pytest.raises(ConfigError, match="got no lines"):
        plot_bias_variance([])


def test_a_study_is_read_from_its_folder(tmp_path: Path) -> None:
    written = [summary("S4", 1), replace(summary("trivial", 4), bias2=math.nan)]
    (tmp_path / "summary.csv").write_text(csv_text(SUMMARY_COLUMNS, (each.cells() for each in written)))
    assert [str(each) for each in read_summary(tmp_path)] == [str(each) for each in written]  # NaN equals no NaN
    [axes] = plot_bias_variance(tmp_path / "summary.csv").axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1\nS4", "4\ntrivial"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected the summary.csv of a study"),
        ("a,b\n1,2\n", r"got none named \['symmetry', 'kind', 'num_clusters'\]"),
        (csv_text(SUMMARY_COLUMNS, [["x"] * len(SUMMARY_COLUMNS)]), "summary.csv: .*'x'"),
    ],
)
def test_a_file_that_is_no_summary_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "summary.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        plot_bias_variance(tmp_path)


def test_it_draws_into_axes_of_a_larger_figure() -> None:
    figure = new_figure(6, 2)
    left, right = figure.subplots(1, 2)
    assert plot_bias_variance([summary("a", 1)], axes=right) is figure
    assert not left.containers and len(right.containers) == 3


def test_matplotlib_waits_until_something_is_drawn() -> None:
    code = "import sys, gnet.study, gnet.study.run, gnet.study.tables, gnet.study.command; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
