"""Equivariance errors of layers and along training: from numbers, from measurements, from what a trainer logged."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from matplotlib.figure import Figure

from gnet import ClusterGroup, EquivariantLinear, Partition, SymmetricGroup, equivariance_error
from gnet.errors import ConfigError, DataError
from gnet.measures import EquivarianceError
from gnet.study.plots import new_figure, plot_error_against_steps, plot_layer_errors, save
from gnet.study.plots.measured import Level
from gnet.training import read_equivariance_errors

HEADER = "epoch,step,train_loss,equivariance_error,equivariance_error/blocks.10,equivariance_error/blocks.2"
LOGGED = f"""{HEADER},reference_equivariance_error
0,4,0.5,,,,
0,4,,0.1,0.3,0.2,0.9
1,9,,0.05,0.1,,0.8
1,9,,0.04,,,
"""


def log(folder: Path, text: str = LOGGED) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "metrics.csv").write_text(text)
    return folder


def test_every_column_with_the_prefix_is_found(tmp_path: Path) -> None:
    found = read_equivariance_errors(log(tmp_path))
    assert list(found) == ["net", "blocks.2", "blocks.10"]  # in natural order
    assert found["net"][0].tolist() == [4, 9] and found["net"][1].tolist() == [0.1, 0.04]  # the last value of a step
    assert found["blocks.2"][0].tolist() == [4]
    assert list(read_equivariance_errors(tmp_path / "metrics.csv", "reference_equivariance_error")) == ["net"]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffstep, equivariance_error_head ,equivariance_error\n3, 0.5,0.25\n",
        "epoch,equivariance_error,equivariance_error.head\n3,0.25,0.5\n",
        "equivariance_error,equivariance_error-head\n,\n,\n,\n0.25,0.5\n",
    ],
    ids=["spaces and a byte-order mark", "epochs alone", "neither steps nor epochs"],
)
def test_the_reader_is_tolerant(tmp_path: Path, text: str) -> None:
    found = read_equivariance_errors(log(tmp_path, text))
    assert {name: (steps.tolist(), values.tolist()) for name, (steps, values) in found.items()} == {
        "net": ([3], [0.25]),
        "head": ([3], [0.5]),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected a metrics.csv, or the folder of a run"),
        ("step,train_loss\n0,1\n", r"no column that starts with 'equivariance_error', only \['step', 'train_loss'\]"),
        ("step,equivariance_error\n0,\n", "are empty; fit until"),
        ("step,equivariance_error\n0,much\n", "expected a number in column 'equivariance_error' of line 2, got 'much'"),
        ("", "no column"),
    ],
)
def test_a_file_without_errors_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    folder = tmp_path if text is None else log(tmp_path, text)
    for plot in (plot_layer_errors, plot_error_against_steps):
        with pytest.raises(DataError, match=message):
            plot(folder)


def test_what_lightning_writes_is_read(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="run", version=0)
    logger.log_metrics({"train_loss": 1.0}, step=0)
    logger.log_metrics({"equivariance_error": 0.5}, step=1)
    logger.save()
    logger.log_metrics({"equivariance_error": 0.25, "equivariance_error/blocks.0": 0.125}, step=3)  # a new column
    logger.save()
    found = read_equivariance_errors(logger.log_dir)
    assert {name: (steps.tolist(), values.tolist()) for name, (steps, values) in found.items()} == {
        "net": ([1, 3], [0.5, 0.25]),
        "blocks.0": ([3], [0.125]),
    }


def marks(figure: Figure) -> dict[float, tuple[float, float, float]]:
    """Place -> mean and the ends of the bar, of everything with a bar."""
    found = {}
    for bars in figure.axes[0].containers:
        x, y = (float(values[0]) for values in bars.lines[0].get_data())
        [low], [high] = bars.lines[1][0].get_ydata(), bars.lines[1][1].get_ydata()
        found[x] = (y, float(low), float(high))
    return found


def test_layers_stand_in_order_with_their_bars() -> None:
    figure = plot_layer_errors({"net": [0.2, 0.4], "head": [0.1, 0.2, 0.3], "body": 1e-3}, "a net")
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["head", "body", "net"]  # the net is last
    found = marks(figure)
    spread = 0.1 / math.sqrt(3)
    assert found[0] == pytest.approx((0.2, 0.2 - spread, 0.2 + spread))
    assert found[2] == pytest.approx((0.3, 0.2, 0.4))
    assert math.isnan(found[1][1])
    assert figure.axes[0].get_title() == "a net\nn = 1 to 3 measurements per layer\nbars: one standard error"
    low, high = figure.axes[0].get_ylim()
    assert low < 1e-3 and high > 0.4


def test_what_has_no_place_on_a_logarithmic_axis_is_said_in_words() -> None:
    figure = plot_layer_errors({"exact": 0.0, "broken": math.nan, "a": [1e-16, 2e-16], "b": [1e-3, 2e-1]})
    assert list(marks(figure)) == [2.0, 3.0]
    words = {text.get_text(): text.xy[0] for text in figure.axes[0].texts}
    assert words["0"] == 0 and words["unknown"] == 1
    assert "rounding" in words
    assert marks(figure)[3.0][1] >= figure.axes[0].get_ylim()[0]  # a bar that would reach 0 is cut off
    nothing = plot_layer_errors({"a": math.nan})
    assert nothing.axes[0].get_title() == "nothing measured"


def test_measurements_of_layers_are_drawn_as_they_are() -> None:
    @dataclass(frozen=True)
    class Found:
        name: str
        error: EquivarianceError

    x = torch.randn(16, 5, 1, dtype=torch.float64)
    layer = EquivariantLinear(ClusterGroup(Partition([0, 0, 1, 1, 1])), 1, 1).double()
    error = equivariance_error(layer, x, SymmetricGroup(5))
    figure = plot_layer_errors([Found("first", error), Found("", error)])
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["first", "net"]
    mean, low, high = marks(figure)[0]
    # The bar of the root against that of the square, as far as it is small.
    assert mean == error.relative and (high - low) / (2 * mean) == pytest.approx(error.standard_error / (2 * error.mean_square))
    assert figure.axes[0].get_title() == "n = 1 measurement per layer\nbars: one standard error over the inputs"


def test_runs_are_averaged_and_counted(tmp_path: Path) -> None:
    runs = [log(tmp_path / str(seed), f"step,equivariance_error\n0,1.0\n10,{value}\n") for seed, value in enumerate((0.1, 0.3))]
    figure = plot_layer_errors(runs)
    assert marks(figure)[0] == pytest.approx((0.2, 0.1, 0.3))
    assert figure.axes[0].get_title() == "n = 2 runs per layer\nbars: one standard error"
    figure = plot_error_against_steps(runs, "two seeds")
    [line] = figure.axes[0].lines
    assert line.get_xdata().tolist() == [0, 10] and line.get_ydata() == pytest.approx([1.0, 0.2])
    assert figure.axes[0].get_title() == "two seeds\nn = 2 runs; bands: one standard error"
    assert len(figure.axes[0].collections) == 1


def test_curves_have_styles_of_their_own_and_names(tmp_path: Path) -> None:
    names = [f"blocks.{number}" for number in range(11)]
    header = ",".join(["step", "equivariance_error", *(f"equivariance_error/{name}" for name in names)])
    rows = [",".join([str(step), *(str((number + 1) / (step + 1)) for number in range(12))]) for step in range(3)]
    [axes] = plot_error_against_steps(log(tmp_path, "\n".join([header, *rows]))).axes
    assert [line.get_label() for line in axes.lines] == ["net", *names]
    looks = {(line.get_color(), line.get_marker(), str(line.get_linestyle())) for line in axes.lines}
    assert len(looks) == 12
    assert axes.get_yscale() == "log" and axes.get_xlabel() == "training step (optimiser steps)"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["net", *names]


def test_a_layer_that_is_always_exact_says_so(tmp_path: Path) -> None:
    [axes] = plot_error_against_steps(log(tmp_path, "step,equivariance_error,equivariance_error/a\n0,0.5,0\n1,0.4,0\n")).axes
    assert [line.get_label() for line in axes.lines] == ["net", "a: 0 throughout"]
    low, high = axes.get_ylim()
    assert high / low >= 9.9  # a curve that hardly changes looks so
    assert "a: 0 throughout" in [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ({}, "at least one layer, got none"),
        ([], "at least one layer, got none"),
        ({"a": [-1.0]}, r">= 0, or NaN for unknown, got \[-1.0\]"),
    ],
)
def test_bad_errors_are_refused(errors: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plot_layer_errors(errors)  # type: ignore[arg-type]


def test_no_runs_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"at least one metrics\.csv"):
        plot_error_against_steps([])


def test_levels_count_what_is_known() -> None:
    assert Level.of([math.nan, math.inf]).n == 0
    assert Level.of(np.array(0.5)) == Level(0.5, pytest.approx(math.nan, nan_ok=True), 1)


def test_it_draws_into_given_axes_and_is_written_with_text(tmp_path: Path) -> None:
    figure = new_figure(7, 3)
    panels = figure.subplots(1, 2)
    assert plot_layer_errors({"first": 0.1}, axes=panels[0]) is figure
    assert plot_error_against_steps(log(tmp_path), axes=panels[1]) is figure
    written = save(figure, tmp_path / "a.svg").read_text()
    assert all(f">{word}<" in written for word in ("first", "blocks.10", "n = 1 run", "relative equivariance error"))
