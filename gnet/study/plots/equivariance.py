"""Which layer of a net breaks a symmetry, and when during training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from gnet.study.plots.measured import LayerErrors, Level, Paths, are_paths, levels, read_runs
from gnet.study.plots.style import COLOURS, LINES, MARKERS, PAGE, figure_and_axes, label_ends, styled
from gnet.training.logged import NET, PREFIX

ROUNDING = float(np.finfo(np.float64).eps)
"""Errors are measured in float64: below some tens of this number they are none."""
OF_NET, OF_LAYERS = COLOURS[6], COLOURS[0]
LABEL = "relative equivariance error"


def plot_layer_errors(errors: LayerErrors | Paths, title: str = "", *, prefix: str = PREFIX, axes: Axes | None = None) -> Figure:
    """Equivariance error of each layer of a net, in order, with one standard error where there are several measurements.

    Errors are relative to a layer's own output: 0 commutes with the group, about sqrt(2) forgets it. On the logarithmic axis an
    error of exactly 0 stands at the bottom and says so, as does one that is unknown (NaN); the dotted line is the rounding of
    float64. Bars that reach 0 are cut off at the bottom.

    Args:
        errors: name -> an error, several of them (of seeds), or an ``EquivarianceError``; or what
            ``gnet.measures`` finds layer by layer (things with ``name`` and ``error``); or the path of a ``metrics.csv`` or run
            folder, or several (of seeds), of which the last logged values count.
        prefix: what the columns of a ``metrics.csv`` start with; "reference_equivariance_error" is that of another group.

    Raises:
        ConfigError: no layer, or an error below 0.
        DataError: a path without such columns.

    Example:
        >>> figure = plot_layer_errors({"blocks.0": [0.1, 0.2, 0.3], "blocks.1": [1e-16, 2e-16, 0.0], "net": [0.1, 0.1, 0.2]})
        >>> [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
        ['blocks.0', 'blocks.1', 'net']
        >>> print(figure.axes[0].get_title())
        n = 3 measurements per layer
        bars: one standard error
    """
    found = levels(errors, prefix)
    names = [*(name for name in found if name != NET), *([NET] if NET in found else [])]
    with styled():
        width = min(max(3.4, 1.0 + 0.42 * len(names)), PAGE)
        figure, [panel] = figure_and_axes(axes, 1, 1, width, 2.8)
        _draw_levels(panel, names, [found[name] for name in names])
        panel.set_title(
            "\n".join(
                part for part in (title, _counted([*found.values()], "run" if are_paths(errors) else "measurement")) if part
            )
        )
    return figure


def _draw_levels(axes: Axes, names: list[str], given: list[Level]) -> None:
    means, bars = np.array([level.mean for level in given]), np.array([level.standard_error for level in given])
    seen = means > 0
    lowest, highest = (means[seen].min(), (means + np.nan_to_num(bars))[seen].max()) if seen.any() else (1.0, 1.0)
    # From decade to decade, and one more where words stand at the bottom.
    bottom = 10.0 ** np.floor(np.log10(lowest) - (0.3 if seen.all() else 1.3))
    axes.set_yscale("log")
    axes.set_ylim(bottom, 10.0 ** np.ceil(np.log10(highest) + 0.1))
    for name, level, at in zip(names, given, range(len(names)), strict=True):
        colour, marker = (OF_NET, "D") if name == NET else (OF_LAYERS, "o")
        if level.mean > 0:
            below = min(level.standard_error, level.mean - bottom)
            axes.errorbar(
                [at], [level.mean], yerr=[[below], [level.standard_error]], color=colour, marker=marker, linestyle="none"
            )
        else:
            said = "0" if level.mean == 0 else "unknown"
            axes.annotate(
                said, (at, 0), (0, 3), axes.get_xaxis_transform(), "offset points", ha="center", color=colour, fontsize=7
            )
    if NET in names and len(names) > 1:
        axes.axvline(len(names) - 1.5, color="0.7", linewidth=0.8)
    if bottom < 100 * ROUNDING:
        axes.axhline(ROUNDING, color="0.5", linestyle=":", linewidth=0.8)
        axes.annotate("rounding", (1.0, ROUNDING), (3, 0), axes.get_yaxis_transform(), "offset points", va="center", fontsize=7)
    steep = sum(len(name) for name in names) > 8 * len(names) or len(names) > 8
    axes.set_xticks(
        range(len(names)), names, rotation=45 if steep else 0, ha="right" if steep else "center", rotation_mode="anchor"
    )
    axes.set(xlim=(-0.6, len(names) - 0.4), ylabel=LABEL, xlabel="layer, from input to output")


def _counted(given: Sequence[Level], each: str) -> str:
    """How many numbers a mark stands for, and what its bars are."""
    counts = sorted({level.n for level in given if level.n})
    if not counts:
        return "nothing measured"
    shown = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    bars = "bars: one standard error" if any(np.isfinite(level.standard_error) for level in given) else "no bars"
    bars += " over the inputs" if all(level.over_inputs for level in given) else ""
    return f"n = {shown} {each}{'' if counts == [1] else 's'} per layer\n{bars}"


def plot_error_against_steps(paths: Paths, title: str = "", *, prefix: str = PREFIX, axes: Axes | None = None) -> Figure:
    """Equivariance error against the training step, for the net and each of its layers, from Lightning's ``metrics.csv``.

    Several runs are averaged step by step; the band is one standard error of the mean. An error of exactly 0 has no place on
    the logarithmic axis: its name stands in the legend with "0 throughout" where there is nothing else.

    Args:
        paths: of a ``metrics.csv`` or of the folder of the run, or several, of runs with other seeds.
        prefix: what the columns start with.

    Raises:
        DataError: no file, or no such columns.

    Example:
        >>> lines = ["step,equivariance_error,equivariance_error/blocks.0", "0,0.5,0.2", "10,0.1,0.05"]
        >>> _ = Path("metrics.csv").write_text(chr(10).join(lines))
        >>> figure = plot_error_against_steps("metrics.csv")
        >>> [line.get_label() for line in figure.axes[0].lines]
        ['net', 'blocks.0']
    """
    runs = 1 if isinstance(paths, str | Path) else len(paths)
    found = read_runs(paths, prefix)
    with styled():
        figure, [panel] = figure_and_axes(axes, 1, 1, PAGE, 2.8)
        ends = [_draw_curve(panel, number, name, curve) for number, (name, curve) in enumerate(found.items())]
        panel.set(yscale="log", xlabel="training step (optimiser steps)", ylabel=LABEL)
        _widen(panel)
        band = "; bands: one standard error" if runs > 1 else ""
        panel.set_title("\n".join(part for part in (title, f"n = {runs} run{'' if runs == 1 else 's'}{band}") if part))
        if not label_ends(panel, ends):
            panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), ncols=1 + len(found) // 16)
    return figure


def _draw_curve(axes: Axes, number: int, name: str, curve: list[tuple[float, Level]]) -> tuple[str, float, str]:
    """One line with its band; returns what to write at its end."""
    steps = np.array([step for step, _ in curve])
    means = np.array([level.mean for _, level in curve])
    errors = np.array([level.standard_error for _, level in curve])
    place = number % (len(COLOURS) - 1)  # the last colour, yellow, is too light for a line
    colour = OF_NET if name == NET else [each for each in COLOURS[:-1] if each != OF_NET][place % (len(COLOURS) - 2)]
    shown = np.where(means > 0, means, np.nan)
    label = f"{name}: 0 throughout" if (means == 0).all() else name
    axes.plot(
        steps,
        shown,
        color=colour,
        linestyle="-" if name == NET else LINES[number % len(LINES)],
        linewidth=1.8 if name == NET else 1.2,
        marker=MARKERS[number % len(MARKERS)],
        markevery=max(1, len(steps) // 8),
        label=label,
    )
    if np.isfinite(errors).any():
        low = np.where(means > errors, means - errors, np.nan_to_num(shown, nan=1.0) * 1e-1)
        axes.fill_between(
            steps, low, means + errors, where=np.isfinite(errors) & (means > 0), color=colour, alpha=0.2, linewidth=0
        )
    return label, float(shown[-1]), colour


def _widen(axes: Axes) -> None:
    """At least a decade, so that a curve that does not change looks so; plain numbers where they are short."""
    low, high = axes.get_ylim()
    if high < 10 * low:
        middle = (low * high) ** 0.5
        axes.set_ylim(middle / 10**0.5, middle * 10**0.5)
    if low > 1e-3 and high < 1e3:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
