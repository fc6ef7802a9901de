"""What the nets of a study put out: images, curves or skeletons, beside the truth."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gnet.study.plots.style import COLOURS, LINES, PAGE, new_figure, styled

HIDDEN = COLOURS[5]
NUM_SAMPLES = 6
NUM_NODES = 4
NUM_STEPS = 200
NUM_POSES = 4


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


def plot_outputs(outputs: Outputs, title: str = "") -> Figure:
    """People look before they read: images for data on a grid, skeletons for poses, curves of some nodes for anything else.

    Example:
        >>> values = np.arange(12.0).reshape(3, 4, 1)
        >>> shown = Outputs(values, values, np.ones_like(values, dtype=bool), {"S4": values + 1}, None, list("abcd"))
        >>> [axes.get_ylabel() for axes in plot_outputs(shown).axes]
        ['node a', 'node b', 'node c', 'node d']
    """
    with styled():
        return _drawn(outputs, title)


def _drawn(outputs: Outputs, title: str) -> Figure:
    if outputs.grid_shape is not None and outputs.target.ndim == 3:
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
    return figure


def _images(outputs: Outputs, grid_shape: tuple[int, int]) -> Figure:
    """A row for each test sample: the input with what is hidden marked, every variant's output with its error, the target."""
    num = min(NUM_SAMPLES, len(outputs.target))
    hidden = outputs.hidden[:num]
    columns = ["input\n(blue: hidden)" if hidden.any() else "input", *outputs.predictions, "target"]
    colours = matplotlib.colormaps["gray"].with_extremes(bad=HIDDEN)
    size = min(1.15, (PAGE - 0.3) / len(columns))
    figure = new_figure(max(size * len(columns) + 0.3, 4.5), (size + 0.15) * num + 0.9)
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
                axes.set_title(_wrapped(name, size), fontsize=7)
            if 0 < column < len(columns) - 1:
                counted = outputs.mask[sample]
                error = np.mean((picture - outputs.target[sample])[counted] ** 2) if counted.any() else np.nan
                axes.set_xlabel(f"{error:.3f}", fontsize=7, labelpad=1)
    return figure


def _curves(outputs: Outputs) -> Figure:
    """A panel for each of some nodes: target and outputs along the test samples, of the first channel in the data's units."""
    target = outputs.target if outputs.target.ndim == 3 else outputs.target[:, None, :]
    mask = outputs.mask if outputs.mask.ndim == 3 else outputs.mask[:, None, :]
    mean, std = (0.0, 1.0) if outputs.classes else (float(each[0]) for each in outputs.units)
    nodes = np.unique(np.linspace(0, target.shape[1] - 1, NUM_NODES).astype(int))
    steps = np.arange(min(NUM_STEPS, len(target)))
    figure = new_figure(PAGE, 1.9 * len(nodes) + 0.8)
    panels = figure.subplots(len(nodes), 1, squeeze=False, sharex=True)[:, 0]
    for axes, node in zip(panels, nodes, strict=True):
        truth = np.where(mask[steps, node, 0], target[steps, node, 0] * std + mean, np.nan)
        axes.plot(steps, truth, color="black", linewidth=1.6, label="target", marker="." if len(steps) < 40 else None)
        for number, (name, prediction) in enumerate(outputs.predictions.items()):
            values = prediction.reshape(target.shape)[steps, node, 0] * std + mean
            axes.plot(steps, values, color=COLOURS[number % 6], linestyle=LINES[number % 4], linewidth=1, label=name)
        shown = f"P({outputs.classes[0]})" if outputs.classes else "output"
        named = f"node {outputs.node_ids[node]}"
        axes.set_ylabel(shown if outputs.target.ndim < 3 else f"{named}: {shown}" if outputs.classes else named, fontsize=8)
    panels[-1].set_xlabel("test sample")
    panels[0].legend(ncols=4)
    return figure


def _skeletons(outputs: Outputs) -> Figure:
    """A row for each of some poses, spread over the test set, and a column for each variant: predicted on true."""
    # Here, since it brings torchmetrics, which no other picture needs.
    from gnet.training.pose import draw_skeleton, mpjpe

    mean, std = outputs.units
    poses = np.unique(np.linspace(0, len(outputs.target) - 1, NUM_POSES + 2).astype(int)[1:-1])
    size = min(1.5, PAGE / len(outputs.predictions))
    figure = new_figure(max(size * len(outputs.predictions), 4.5), (size + 0.4) * len(poses) + 0.8)
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
            axes.set_title(_wrapped(name, size) if pose == poses[0] else "", fontsize=7)
            axes.text2D(0.5, 0.0, f"{float(mpjpe(predicted, true)):.3g}", transform=axes.transAxes, ha="center", fontsize=7)
    return figure


def _wrapped(name: str, inches: float) -> str:
    """In lines that are as wide as a column, at 7 points."""
    return "\n".join(textwrap.fill(line, max(int(inches * 72 / 4), 4)) for line in name.splitlines())
