"""The study's pictures: bias^2, variance and test loss against the symmetry, and what the nets put out. No screen is needed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gnet.study.tables import FEW, Summary

# Okabe and Ito (2008): told apart by every kind of colour vision, and each curve has a marker of its own besides.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"]
LOSS, BIAS2, VARIANCE = COLOURS[6], COLOURS[0], COLOURS[1]
HIDDEN = COLOURS[5]
NUM_SAMPLES = 6
NUM_NODES = 4
NUM_STEPS = 200
NUM_POSES = 4
LOSS_NAMES = {"cross_entropy": "cross-entropy"}


@dataclass(frozen=True)
class Outputs:
    """What the pictures of outputs show: test inputs, targets, and each variant's predictions on them.

    Shapes:
        inputs: (M, N, C)    target: (M, N, C') or (M, C')    mask: like target, the entries that count
        predictions: each like target    bones: (2, E), none where targets are no positions in space
        units: mean and standard deviation of each target channel, (C',) each
        classes: of targets that are classes, whose channels are probabilities
    """

    inputs: NDArray[np.floating]
    target: NDArray[np.floating]
    mask: NDArray[np.bool_]
    predictions: dict[str, NDArray[np.floating]]
    grid_shape: tuple[int, int] | None
    node_ids: Sequence[str]
    bones: NDArray[np.integer] = field(default_factory=lambda: np.empty((2, 0), dtype=np.int64))
    units: tuple[NDArray[np.floating], NDArray[np.floating]] = field(default_factory=lambda: (np.zeros(1), np.ones(1)))
    classes: Sequence[str] = ()

    @property
    def hidden(self) -> NDArray[np.bool_]:
        """The entries of the inputs that the net had to fill in: 0, the mean, where the rest is the target itself.

        Shapes:
            returns: (M, N, C)
        """
        if self.inputs.shape != self.target.shape:
            return np.zeros(self.inputs.shape, dtype=bool)
        differ = self.inputs != self.target
        return differ & ~self.inputs[differ].any()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, which needs no screen and can be written as PDF, SVG or PNG."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plot_bias_variance(summaries: Sequence[Summary], path: Path, title: str, loss: str = "mse") -> None:
    """Bias^2, variance and mean test loss of every symmetry against its number of clusters, with one standard error.

    Baselines are horizontal lines: they have no place on the axis of clusters. Where two symmetries have the same number of
    clusters the axis shows names instead of numbers. Where fewer than ``FEW`` trials are independent, none is.
    """
    symmetries = [summary for summary in summaries if summary.kind == "symmetry"]
    if not symmetries:
        return
    figure = Figure(figsize=(8.5, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = _places(axes, symmetries)
    draws = max(summary.num_draws for summary in symmetries)
    trials = sorted({summary.n for summary in symmetries})
    units = np.array([summary.num_draws if summary.num_draws > 1 else summary.n for summary in symmetries])
    for label, name, colour, marker in (
        ("test loss" if loss == "mse" else f"test loss ({LOSS_NAMES.get(loss, loss)})", "test_loss", LOSS, "o"),
        ("bias^2 + irreducible", "bias2", BIAS2, "s"),
        ("variance", "variance", VARIANCE, "^"),
    ):
        values = np.array([getattr(summary, name) for summary in symmetries])
        errors = np.where(units < FEW, np.nan, [getattr(summary, f"{name}_error") for summary in symmetries])
        order = np.argsort(places)
        axes.errorbar(
            np.array(places)[order], values[order], yerr=errors[order], color=colour, marker=marker, capsize=3, label=label
        )
    _draw_baselines(axes, summaries, highest=max(summary.test_loss for summary in symmetries))
    if loss == "cross_entropy":
        axes.set_ylabel("Brier score, or cross-entropy in nats, mean per target")
    else:
        axes.set_ylabel(f"{'squared error' if loss == 'mse' else f'squared error, or {loss}'}, mean per entry, model units")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    counted = str(trials[0]) if len(trials) == 1 else f"{trials[0]} to {trials[-1]}"
    data = "one training set" if draws == 1 else f"{draws} training sets"
    bars = "bars: one standard error" if units.max() >= FEW else "too few for error bars"
    axes.set_title(f"{title}\nn = {counted} trials per symmetry on {data}; {bars}", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def _places(axes: Axes, symmetries: Sequence[Summary]) -> list[float]:
    """Where each symmetry stands on the horizontal axis; sets the axis' ticks."""
    clusters = [summary.num_clusters for summary in symmetries]
    if len(set(clusters)) == len(clusters):
        axes.set_xscale("log")
        axes.set_xlabel("number of clusters: the more, the less symmetry")
        axes.set_xticks(clusters, [f"{summary.num_clusters}\n{summary.symmetry}" for summary in symmetries], fontsize=8)
        axes.set_xticks([], minor=True)
        return [float(number) for number in clusters]
    axes.set_xticks(range(len(symmetries)), [summary.symmetry for summary in symmetries], fontsize=8)
    return [float(place) for place in range(len(symmetries))]


def _draw_baselines(axes: Axes, summaries: Sequence[Summary], highest: float) -> None:
    baselines = [summary for summary in summaries if summary.kind == "baseline"]
    for number, summary in enumerate(baselines):
        # A baseline far above the curves would flatten them: it is named in the legend instead of drawn.
        if summary.test_loss > 1.5 * highest:
            axes.plot([], [], " ", label=f"{summary.symmetry}: {summary.test_loss:.3g}, off the scale")
        else:
            colour = COLOURS[2 + number % 4]
            axes.axhline(
                summary.test_loss,
                color=colour,
                linestyle=(0, (4, 1 + number)),
                linewidth=1,
                label=f"{summary.symmetry}, test loss",
            )


def plot_outputs(outputs: Outputs, path: Path, title: str) -> None:
    """People look before they read: images for data on a grid, skeletons for poses, curves of some nodes for anything else."""
    targets_are_nodes = outputs.target.ndim == 3
    if outputs.grid_shape is not None and targets_are_nodes:
        figure = _images(outputs, outputs.grid_shape)
        title += "\nbelow each output: its mean squared error, model units"
    elif outputs.bones.size:
        figure = _skeletons(outputs)
        title += (
            "\nblack: true, orange: predicted; the number is the mean\ndistance of the joints, root on root, in units of the data"
        )
    else:
        figure = _curves(outputs)
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, dpi=150)


def _images(outputs: Outputs, grid_shape: tuple[int, int]) -> Figure:
    """A row for each test sample: the input with what is hidden marked, every variant's output with its error, the target."""
    num = min(NUM_SAMPLES, len(outputs.target))
    hidden = outputs.hidden[:num]
    columns = ["input\n(blue: hidden)" if hidden.any() else "input", *outputs.predictions, "target"]
    colours = matplotlib.colormaps["gray"].with_extremes(bad=HIDDEN)
    figure = Figure(figsize=(max(1.15 * len(columns) + 0.3, 4.5), 1.3 * num + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(num, len(columns), squeeze=False)
    low, high = float(np.nanmin(outputs.target[:num, :, 0])), float(np.nanmax(outputs.target[:num, :, 0]))
    for sample in range(num):
        seen = np.ma.masked_where(hidden[sample], outputs.inputs[sample])
        pictures = [seen, *(p[sample] for p in outputs.predictions.values()), outputs.target[sample]]
        for column, (axes, name, picture) in enumerate(zip(grid[sample], columns, pictures, strict=True)):
            axes.imshow(picture[:, 0].reshape(grid_shape), cmap=colours, vmin=low, vmax=high, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            if sample == 0:
                axes.set_title(name, fontsize=7)
            if 0 < column < len(columns) - 1:
                counted = outputs.mask[sample]
                error = np.mean((picture - outputs.target[sample])[counted] ** 2) if counted.any() else np.nan
                axes.set_xlabel(f"{error:.3f}", fontsize=6, labelpad=1)
    return figure


def _curves(outputs: Outputs) -> Figure:
    """A panel for each of some nodes: the target and every variant's output along the test samples."""
    target = outputs.target if outputs.target.ndim == 3 else outputs.target[:, None, :]
    mask = outputs.mask if outputs.mask.ndim == 3 else outputs.mask[:, None, :]
    nodes = np.unique(np.linspace(0, target.shape[1] - 1, NUM_NODES).astype(int))
    steps = np.arange(min(NUM_STEPS, len(target)))
    figure = Figure(figsize=(8, 1.9 * len(nodes) + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(nodes), 1, squeeze=False, sharex=True)[:, 0]
    for axes, node in zip(panels, nodes, strict=True):
        truth = np.where(mask[steps, node, 0], target[steps, node, 0], np.nan)
        axes.plot(steps, truth, color="black", linewidth=1.6, label="target", marker="." if len(steps) < 40 else None)
        for number, (name, prediction) in enumerate(outputs.predictions.items()):
            values = prediction.reshape(target.shape)[steps, node, 0]
            axes.plot(
                steps, values, color=COLOURS[number % 6], linestyle=["-", "--", "-.", ":"][number % 4], linewidth=1, label=name
            )
        shown = f"P({outputs.classes[0]})" if outputs.classes else "output"
        named = f"node {outputs.node_ids[node]}"
        axes.set_ylabel(shown if outputs.target.ndim < 3 else f"{named}: {shown}" if outputs.classes else named, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("test sample")
    panels[0].legend(frameon=False, fontsize=7, ncols=4)
    return figure


def _skeletons(outputs: Outputs) -> Figure:
    """A row for each of some poses, spread over the test set, and a column for each variant: predicted on true."""
    # Here, since it brings torchmetrics, which no other picture needs.
    from gnet.training.pose import draw_skeleton, mpjpe

    mean, std = outputs.units
    poses = np.unique(np.linspace(0, len(outputs.target) - 1, NUM_POSES + 2).astype(int)[1:-1])
    figure = Figure(figsize=(max(1.5 * len(outputs.predictions), 4.5), 1.9 * len(poses) + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(poses), len(outputs.predictions), squeeze=False, subplot_kw={"projection": "3d"})
    bones = torch.from_numpy(outputs.bones)

    def pose_of(values: NDArray[np.floating], pose: int) -> torch.Tensor:
        pose_in_units = torch.from_numpy(np.array(values[pose]) * std + mean)
        return pose_in_units - pose_in_units[:1]

    for line, pose in zip(panels, poses, strict=True):
        true = pose_of(outputs.target, pose)
        for axes, (name, values) in zip(line, outputs.predictions.items(), strict=True):
            predicted = pose_of(values, pose)
            draw_skeleton(axes, predicted, true, bones)
            axes.set_title(name if pose == poses[0] else "", fontsize=7)
            axes.text2D(0.5, 0.0, f"{float(mpjpe(predicted, true)):.3g}", transform=axes.transAxes, ha="center", fontsize=6)
    return figure
