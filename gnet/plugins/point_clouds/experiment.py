"""Distances of clouds learned from few pairs, by all entries of Gram matrices, by products with centroids, by a graph net."""

import time
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gnet.errors import ConfigError
from gnet.plugins.point_clouds.distances import CloudPairs, DistanceModule, third_lower_bound
from gnet.plugins.point_clouds.graphs import GramGNN
from gnet.plugins.point_clouds.models import CloudDeepSet, ConjInvariantDeepSet
from gnet.plugins.point_clouds.shapes import boxes, modelnet, tori
from gnet.plugins.scalars import products
from gnet.randomness import derive_seed
from gnet.study.fitting import fit
from gnet.study.simulate import Measured, Simulation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"all": "all products", "kmeans": "3 centroids", "gram_gnn": "graph net"}
CHANNELS = {"all": (16, 16), "kmeans": (16, 8), "gram_gnn": (16, 16)}
"""Hidden channels and outputs; the first two are the published ones."""
CATEGORIES = ("bed", "car")
"""Numbers 2 and 7 of ModelNet40."""
QUANTITIES = ("spearman_train", "spearman_test", "mse_test", "seconds")
RULES = {"all": 0.95, "kmeans": 0.60}
"""What the test Spearman correlation has to reach, the median over seeds."""


class CloudDistances(Simulation):
    """Trains a distance of clouds on all pairs of a torus and a box, and compares its order with the true one on new pairs.

    The truth is ``third_lower_bound`` over its deviation in training. Everything is one batch.

    Args:
        models: among "all", "kmeans" and "gram_gnn".
        seeds: repetitions, of clouds and weights.
        epochs: steps of Adam.
        num: clouds of each kind, in training and in the test.
        num_points: of a cloud.
        lr: of the encoder.
        head_lr: of the metric of its outputs; the published one.
        modelnet_root: the folder of ModelNet40, whose beds and cars then take the place of tori and boxes.

    Raises:
        ConfigError: a model that does not exist, or numbers below one.

    References:
        Blum-Smith, Huang, Cuturi and Villar (2024), arXiv:2405.08097, on ModelNet40.
    """

    def __init__(
        self,
        models: list[str] | None = None,
        seeds: int = 3,
        epochs: int = 400,
        num: int = 40,
        num_points: int = 100,
        lr: float = 3e-3,
        head_lr: float = 1e-2,
        modelnet_root: str | None = None,
    ) -> None:
        self.models = models or list(NAMES)
        if wrong := [each for each in self.models if each not in NAMES]:
            raise ConfigError(f"expected models among {', '.join(NAMES)}, got {wrong[0]!r}")
        if min(seeds, epochs, num - 1, num_points - 2) < 1:
            raise ConfigError("expected seeds and epochs >= 1, num >= 2 and num_points >= 3")
        self.seeds, self.epochs, self.num, self.num_points = seeds, epochs, num, num_points
        self.lr, self.head_lr, self.modelnet_root = lr, head_lr, modelnet_root
        self.shown: dict[str, tuple[Tensor, Tensor]] = {}
        """Of each model of seed 0 what it predicts of the test pairs, and the truth."""

    def run(self) -> list[Measured]:
        """Draw, train and measure."""
        lines = []
        for seed in range(self.seeds):
            train, test = self.clouds(seed)
            truth = [third_lower_bound(*each) for each in (train, test)]
            deviation = truth[0].std()
            distances = [(each / deviation).float() for each in truth]
            for model in self.models:
                begun = time.monotonic()
                predicted = self.predictions(model, train, test, distances[0], seed)
                seconds = time.monotonic() - begun
                values = [_spearman(*each) for each in zip(predicted, distances, strict=True)]
                values += [float((predicted[1] - distances[1]).square().mean()), seconds]
                if not seed:
                    self.shown[model] = (predicted[1], distances[1])
                settings = {"model": model, "seed": str(seed)}
                for quantity, value in zip(QUANTITIES, values, strict=True):
                    lines.append(Measured(quantity, settings, value, float("nan"), float("nan"), "unknown"))
        return lines

    def clouds(self, seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Two kinds of clouds for training, and two for the test."""
        drawn = torch.Generator().manual_seed(derive_seed(seed, "clouds"))
        if self.modelnet_root is None:
            train, test = ((tori(self.num, self.num_points, drawn), boxes(self.num, self.num_points, drawn)) for _ in range(2))
            return train, test
        first, second = (
            [modelnet(self.modelnet_root, each, split, self.num, self.num_points, drawn) for each in CATEGORIES]
            for split in ("train", "test")
        )
        return (first[0], first[1]), (second[0], second[1])

    def predictions(
        self, model: str, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], distance: Tensor, seed: int
    ) -> list[Tensor]:
        """Train one model, and predict the distances of the pairs of both parts."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "weights", model))
            hidden, channels = CHANNELS[model]
            encoder: Any = _encoder(model, hidden, channels)
            module = DistanceModule(encoder, channels, self.lr, self.head_lr)
        seen = products if model == "all" else lambda V: V
        encoder.fit_scales(seen(torch.cat(train)))
        parts = [[encoder.invariants(seen(each)) for each in part] for part in (train, test)]
        pairs: Any = [CloudPairs(parts[0][0], parts[0][1], distance)]
        fit(module, DataLoader(pairs, batch_size=None), max_epochs=self.epochs)
        module.eval()
        with torch.no_grad():
            return [module(*each) for each in parts]

    def summary(self, lines: Sequence[Measured]) -> str:
        """The table, least, median and largest over seeds, and the rules."""
        rows = ["| encoder | Spearman, training | Spearman, test | test MSE | seconds |", "| --- | --- | --- | --- | --- |"]
        for model in self.models:
            cells = [_range(_values(lines, model, quantity), 0 if quantity == "seconds" else 3) for quantity in QUANTITIES]
            rows.append(f"| {NAMES[model]} | {' | '.join(cells)} |")
        verdicts = []
        for model, least in RULES.items():
            if model in self.models:
                found = median(_values(lines, model, "spearman_test"))
                verdict = "met" if found >= least else "not met"
                verdicts.append(f"median test Spearman of {NAMES[model]} at least {least}: {found:.3f}, {verdict}")
        return "\n".join([*rows, "", f"Least, median and largest of {self.seeds} seeds.", "", *verdicts])

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Predicted distances of the test pairs of seed 0 over true ones."""
        from gnet.study.plots import COLOURS, PAGE, new_figure

        figure = new_figure(PAGE, 2.6)
        axes = figure.subplots(1, len(self.models), squeeze=False, sharex=True, sharey=True)[0]
        for number, (model, place) in enumerate(zip(self.models, axes, strict=True)):
            predicted, truth = self.shown[model]
            ends = (float(truth.min()), float(truth.max()))
            place.plot(truth.flatten(), predicted.flatten(), ".", color=COLOURS[number], markersize=2, alpha=0.4)
            place.plot(ends, ends, color="0.5", linewidth=1)
            place.set(title=f"{NAMES[model]}: {_values(lines, model, 'spearman_test')[0]:.3f}", xlabel="true distance")
        axes[0].set_ylabel("predicted")
        return figure


def _encoder(model: str, hidden: int, channels: int) -> nn.Module:
    if model == "all":
        return ConjInvariantDeepSet(hidden, channels)
    return CloudDeepSet(hidden, channels, k=3) if model == "kmeans" else GramGNN(hidden, channels)


def _spearman(predicted: Tensor, truth: Tensor) -> float:
    return float(spearmanr(predicted.flatten(), truth.flatten()).statistic)


def _values(lines: Sequence[Measured], model: str, quantity: str) -> list[float]:
    return [line.measured for line in lines if line.settings["model"] == model and line.quantity == quantity]


def _range(values: Sequence[float], digits: int) -> str:
    """Least, median and largest.

    Example:
        >>> _range([0.5, 0.25, 1.0], 2), _range([2.0], 0)
        ('0.25, 0.50, 1.00', '2')
    """
    ends = [min(values), median(values), max(values)] if len(values) > 1 else values
    return ", ".join(f"{each:.{digits}f}" for each in ends)
