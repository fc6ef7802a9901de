"""Bias^2, variance and test loss of every symmetry of a study."""

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gnet.errors import ConfigError, DataError
from gnet.study.plots.style import COLOURS, LINES, PAGE, figure_and_axes, label_ends, styled
from gnet.study.tables import FEW, SUMMARY_COLUMNS, Summary

LOSS, BIAS2, VARIANCE = COLOURS[6], COLOURS[0], COLOURS[1]
LOSS_NAMES = {"cross_entropy": "cross-entropy"}


def read_summary(path: str | Path) -> list[Summary]:
    """The lines of a study's ``summary.csv``; what is empty is NaN.

    Args:
        path: of the file, or of the study's folder.

    Raises:
        DataError: there is no such file, or it is no summary of a study.

    Example:
        >>> counts = ["num_clusters", "num_weights", "n", "num_draws", "num_pairs", "num_units"]
        >>> values = dict.fromkeys(SUMMARY_COLUMNS, 0.5) | dict.fromkeys(counts, 3) | {"kind": "symmetry", "symmetry": "S4"}
        >>> lines = [",".join(SUMMARY_COLUMNS), ",".join(Summary(**values | {"bias2_error": math.nan}).cells())]
        >>> _ = Path("summary.csv").write_text(chr(10).join(lines))
        >>> [line] = read_summary("summary.csv")
        >>> line.symmetry, line.num_clusters, line.test_loss, line.bias2_error
        ('S4', 3, 0.5, nan)
    """
    file = Path(path) / "summary.csv" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise DataError(f"expected the summary.csv of a study, or its folder, got {path}, where there is none")
    with open(file, newline="", encoding="utf-8-sig") as opened:
        lines = list(csv.DictReader(opened))
    missing = [name for name in SUMMARY_COLUMNS if not lines or name not in lines[0]]
    if missing:
        raise DataError(f"{file}: expected the columns of a study's summary, got none named {missing[:3]}")
    readers: dict[Any, Callable[[str], Any]] = {str: str, int: int}
    kinds = {field.name: readers.get(field.type, _number) for field in fields(Summary)}
    try:
        return [Summary(**{name: kind(line[name]) for name, kind in kinds.items()}) for line in lines]
    except ValueError as error:
        raise DataError(f"{file}: {error}") from error


def _number(text: str) -> float:
    return float(text) if text else math.nan


def plot_bias_variance(
    summaries: Sequence[Summary] | str | Path, title: str = "", loss: str = "mse", *, axes: Axes | None = None
) -> Figure:
    """Bias^2, variance and mean test loss of every symmetry against its number of clusters, with one standard error.

    Baselines are horizontal lines: they have no place on the axis of clusters. Where two symmetries have the same number of
    clusters the axis shows names instead of numbers. Where fewer than ``FEW`` trials are independent, no bar is drawn.

    Args:
        summaries: lines of the summary, or the path of a ``summary.csv`` or of the study's folder.
        loss: the loss of training, "mse" or "cross_entropy".

    Raises:
        ConfigError: no symmetry among the lines.
        DataError: a path without a summary.

    Example:
        >>> rest = dict.fromkeys(SUMMARY_COLUMNS, 0.1) | {"kind": "symmetry", "num_draws": 1, "n": 5}
        >>> lines = [Summary(**rest | {"symmetry": name, "num_clusters": k}) for name, k in (("S4", 1), ("trivial", 4))]
        >>> print(plot_bias_variance(lines, "four nodes").axes[0].get_title())
        four nodes
        n = 5 trials per symmetry on one training set; bars: one standard error
    """
    lines = read_summary(summaries) if isinstance(summaries, str | Path) else list(summaries)
    symmetries = [summary for summary in lines if summary.kind == "symmetry"]
    if not symmetries:
        names = [summary.symmetry for summary in lines]
        raise ConfigError(f"expected at least one symmetry to draw, got {names or 'no lines'}; baselines alone make no curve")
    with styled():
        figure, [panel] = figure_and_axes(axes, 1, 1, PAGE, 3.6)
        _draw(panel, lines, symmetries, title, loss)
    return figure


def _draw(axes: Axes, summaries: Sequence[Summary], symmetries: Sequence[Summary], title: str, loss: str) -> None:
    places = np.array(_places(axes, symmetries))
    order = np.argsort(places)
    units = np.array([summary.num_draws if summary.num_draws > 1 else summary.n for summary in symmetries])
    ends, handles = [], []
    for label, name, colour, marker, line in (
        ("test loss" if loss == "mse" else f"test loss ({LOSS_NAMES.get(loss, loss)})", "test_loss", LOSS, "o", "-"),
        ("bias^2 + irreducible", "bias2", BIAS2, "s", "--"),
        ("variance", "variance", VARIANCE, "^", "-."),
    ):
        values = np.array([getattr(summary, name) for summary in symmetries])
        errors = np.where(units < FEW, np.nan, [getattr(summary, f"{name}_error") for summary in symmetries])
        drawn = axes.errorbar(
            places[order], values[order], yerr=errors[order], color=colour, marker=marker, linestyle=line, label=label
        )
        handles.append(drawn)
        ends.append((label, float(values[order][-1]), colour))
    curves = len(axes.lines)
    ends += _draw_baselines(axes, summaries, highest=max(summary.test_loss for summary in symmetries))
    if loss == "cross_entropy":
        axes.set_ylabel("Brier score, or cross-entropy in nats,\nmean per target")
    else:
        axes.set_ylabel(f"{'squared error' if loss == 'mse' else f'squared error, or {loss}'}, mean per entry\n(model units)")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set_title("\n".join(part for part in (title, _counted(symmetries, bars=units.max() >= FEW)) if part))
    if not label_ends(axes, ends):
        axes.legend(handles=[*handles, *axes.lines[curves:]], loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _counted(symmetries: Sequence[Summary], *, bars: bool) -> str:
    """How much was measured, and what the bars are."""
    trials = sorted({summary.n for summary in symmetries})
    draws = max(summary.num_draws for summary in symmetries)
    counted = str(trials[0]) if len(trials) == 1 else f"{trials[0]} to {trials[-1]}"
    data = "one training set" if draws == 1 else f"{draws} training sets"
    return f"n = {counted} trials per symmetry on {data}; {'bars: one standard error' if bars else 'too few for error bars'}"


def _places(axes: Axes, symmetries: Sequence[Summary]) -> list[float]:
    """Where each symmetry stands on the horizontal axis; sets the axis' ticks."""
    clusters = [summary.num_clusters for summary in symmetries]
    if len(set(clusters)) == len(clusters):
        axes.set_xscale("log")
        axes.set_xlabel("number of clusters: the more, the less symmetry")
        axes.set_xticks(clusters, [f"{summary.num_clusters}\n{summary.symmetry}" for summary in symmetries])
        axes.set_xticks([], minor=True)
        return [float(number) for number in clusters]
    axes.set_xticks(range(len(symmetries)), [summary.symmetry for summary in symmetries])
    return [float(place) for place in range(len(symmetries))]


def _draw_baselines(axes: Axes, summaries: Sequence[Summary], highest: float) -> list[tuple[str, float, str]]:
    """Lines across; returns what to write at their ends."""
    ends = []
    for number, summary in enumerate(summary for summary in summaries if summary.kind == "baseline"):
        # A baseline far above the curves would flatten them: it is named in the legend instead of drawn.
        if summary.test_loss > 1.5 * highest:
            label, height, colour = f"{summary.symmetry}: {summary.test_loss:.3g}, off the scale", math.nan, "black"
            axes.plot([], [], " ", label=label)
        else:
            label, height, colour = f"{summary.symmetry}, test loss", summary.test_loss, COLOURS[2 + number % 4]
            axes.axhline(height, color=colour, linestyle=LINES[3 + number % 5], linewidth=1, label=label)
        ends.append((label, height, colour))
    return ends
