"""Synthetic proteins: embeddings of chains that turn with them, beside invariant and random ones."""

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError
from gnet.plugins.care.clouds import chains, probe_axis, turned
from gnet.plugins.care.evaluate import measure_symmetry
from gnet.plugins.care.losses import CARELoss
from gnet.plugins.care.models import CloudEncoder, seeded
from gnet.plugins.care.retrieval import axis_angles, draw_chain, nearest
from gnet.plugins.care.views import GroupAugmentation
from gnet.plugins.tensors import SO
from gnet.randomness import derive_seed
from gnet.study.simulate import Measured, Simulation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELS = ("random", "invariant", "care")
NAMES = {"random": "random encoder", "invariant": "InfoNCE", "care": "CARE"}
QUANTITIES = ("r2_linear", "r2_quadratic", "distance", "wahba", "gamma", "neighbour_angle", "seconds")
SMALLEST_R2, GAMMA_RATIO = 0.9, 100.0
"""What the table has to show: R^2 of CARE, and how many times larger the gamma of the invariant embeddings is."""


class SyntheticClouds(Simulation):
    """Trains an encoder of smooth chains with CARE and with InfoNCE, and asks a linear probe where their principal axis points.

    CARE is L_unif of both views together and ``lam`` L_equi without L_inv: under all rotations a loss that also asks for
    invariance wins. InfoNCE draws a rotation for each view.

    Args:
        models: among "random", "invariant" and "care".
        seeds: repetitions, of data, weights and augmentations.
        epochs: of CARE.
        invariant_epochs: of InfoNCE.
        num_train, num_test: chains.
        num_points: of a chain.
        out_channels: D.
        batch_size, chunks: of training.
        lam: weight of L_equi in its mean form.
        tau: of InfoNCE.
        lr: of Adam.
        num_elements: rotations that symmetry is measured with.

    Raises:
        ConfigError: a model that does not exist, or numbers below one.

    References:
        Gupta, Robinson, Lim, Villar and Jegelka (2024), arXiv:2306.13924, section 5.1, on proteins.
    """

    def __init__(
        self,
        models: list[str] | None = None,
        seeds: int = 3,
        epochs: int = 240,
        invariant_epochs: int = 40,
        num_train: int = 2048,
        num_test: int = 512,
        num_points: int = 64,
        out_channels: int = 16,
        batch_size: int = 256,
        chunks: int = 16,
        lam: float = 10.0,
        tau: float = 0.5,
        lr: float = 1e-3,
        num_elements: int = 20,
    ) -> None:
        self.models = models or list(MODELS)
        if wrong := [each for each in self.models if each not in MODELS]:
            raise ConfigError(f"expected models among {', '.join(MODELS)}, got {wrong[0]!r}")
        if min(seeds, epochs, invariant_epochs, num_train, num_test, num_elements) < 1:
            raise ConfigError("expected seeds, epochs, numbers of chains and of rotations >= 1")
        self.seeds, self.epochs, self.invariant_epochs = seeds, epochs, invariant_epochs
        self.sizes, self.num_points, self.out_channels = (num_train, num_test), num_points, out_channels
        self.batch_size, self.chunks, self.lam, self.tau, self.lr = batch_size, chunks, lam, tau, lr
        self.num_elements = num_elements
        self.shown: dict[str, tuple[Tensor, Tensor]] = {}
        """Of each trained model of seed 0 the queries and their neighbours, (Q, n, 3) and (Q, num, n, 3)."""

    def run(self) -> list[Measured]:
        """Train and measure."""
        found: dict[tuple[str, str], list[float]] = {}
        for seed in range(self.seeds):
            drawn = torch.Generator().manual_seed(derive_seed(seed, "chains"))
            train, test = (chains(num, self.num_points, drawn) for num in self.sizes)
            for model in self.models:
                begun = time.monotonic()
                embed = self.fit(model, train, seed)
                seconds = time.monotonic() - begun
                for quantity, value in self.measure(embed, model, train, test, seed).items():
                    found.setdefault((model, quantity), []).append(value)
                found.setdefault((model, "seconds"), []).append(seconds)
        lines = []
        for (model, quantity), values in found.items():
            each = torch.tensor(values, dtype=torch.float64)
            error = float(each.std()) / math.sqrt(len(each)) if len(each) > 1 else math.nan
            settings = {"model": model, "seeds": str(self.seeds), "least": f"{each.min():.6g}", "largest": f"{each.max():.6g}"}
            lines.append(Measured(quantity, settings, float(each.mean()), error, math.nan, "unknown"))
        return lines

    def fit(self, model: str, train: Tensor, seed: int) -> nn.Module:
        """The module from chains to unit embeddings, after its training if it has any."""
        from gnet.plugins.care.fitting import train as fitted
        from gnet.plugins.care.module import CAREModule

        encoder = seeded(CloudEncoder, derive_seed(seed, model), 3, self.out_channels)
        if model == "care":
            loss = CARELoss(self.lam, None, self.chunks, w_inv=0.0)
        else:
            loss = CARELoss(0.0, self.tau, self.chunks)
        module = CAREModule(encoder, GroupAugmentation(SO(3)), loss, same_for_chunk=model == "care", lr=self.lr, seed=seed)
        if model == "random":
            return module.eval()
        return fitted(module, train, self.epochs if model == "care" else self.invariant_epochs, self.batch_size, seed)

    def measure(self, embed: nn.Module, model: str, train: Tensor, test: Tensor, seed: int) -> dict[str, float]:
        """Everything of one embedding: probes, symmetry, and how far the axes of neighbours are from those of their queries."""
        generator = torch.Generator().manual_seed(derive_seed(seed, "measure"))  # the same for all models
        probe = probe_axis(embed, train, test, generator)
        symmetry = measure_symmetry(embed, test, GroupAugmentation(SO(3)), self.num_elements, generator)
        queries, database = turned(test, generator).tensor_split(2)
        with torch.no_grad():
            rows = nearest(embed(queries), embed(database), 5)
        if model != "random":
            self.shown.setdefault(model, (queries[:3], database[rows[:3]]))
        angles = axis_angles(queries[:, None].expand_as(database[rows]), database[rows])
        values = (probe.linear, probe.quadratic, *symmetry, float(angles.mean()))
        return dict(zip(QUANTITIES, values, strict=False))

    def summary(self, lines: Sequence[Measured]) -> str:
        """The table, least and largest of all seeds, and whether it shows what it has to."""
        cells = {(line.settings["model"], line.quantity): line for line in lines}
        header = "embedding | R^2, linear | R^2, quadratic | L_inv | Wahba / sqrt(n) | gamma | angle of neighbours | seconds"
        rows = [f"| {header} |", "|" + " --- |" * 8]
        for model in self.models:
            shown = [_range(cells[model, quantity]) for quantity in QUANTITIES]
            rows.append(f"| {NAMES[model]} | {' | '.join(shown)} |")
        found = {key: line.measured for key, line in cells.items()}
        verdicts = [f"{rule}: {'met' if is_met else 'not met'}" for rule, is_met in pass_rules(found)]
        below = f"Least to largest of {self.seeds} seeds; angles in degrees, 57.3 for neighbours that know nothing."
        return "\n".join([*rows, "", below, "", *verdicts])

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Neighbours of the same queries under CARE and under InfoNCE; R^2 and gamma of each."""
        from gnet.study.plots import COLOURS, PAGE, new_figure

        found = {(line.settings["model"], line.quantity): line.measured for line in lines}
        trained = [model for model in self.models if model in self.shown]
        figure = new_figure(PAGE, 2.0 + 1.3 * 3 * max(len(trained), 1))
        top, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(2.0, 1.3 * 3 * max(len(trained), 1)))[:, 0]
        bars, gammas = top.subplots(1, 2)
        names = [NAMES[model] for model in self.models]
        colours = [COLOURS[MODELS.index(model)] for model in self.models]
        bars.bar(names, [found[model, "r2_linear"] for model in self.models], color=colours)
        bars.set(ylim=(0, 1), title="linear probe of the principal axis: R^2")
        gammas.bar(names, [found[model, "gamma"] for model in self.models], color=colours)
        gammas.set(yscale="log", title="relative equivariance gamma")
        if trained:
            axes = below.subplots(3 * len(trained), 6, squeeze=False)
            for block, model in enumerate(trained):
                queries, neighbours = self.shown[model]
                for row, (query, near) in enumerate(zip(queries, neighbours, strict=True)):
                    place = axes[3 * block + row]
                    draw_chain(place[0], query, COLOURS[6], f"query, {NAMES[model]}" if not row else "")
                    for rank, cloud in enumerate(near):
                        angle = float(axis_angles(query, cloud))
                        draw_chain(place[rank + 1], cloud, COLOURS[MODELS.index(model)], f"{rank + 1}: {angle:.0f}°")
        return figure


def pass_rules(found: dict[tuple[str, str], float]) -> list[tuple[str, bool]]:
    """What the table has to show, and whether it does; rules about models that were not trained are left out.

    Example:
        >>> pass_rules({("care", "r2_linear"): 0.94})
        [('R^2 of CARE at least 0.9', True)]
    """
    rules, r2 = [], {model: found[model, "r2_linear"] for model in MODELS if (model, "r2_linear") in found}
    if "care" in r2:
        rules.append((f"R^2 of CARE at least {SMALLEST_R2}", r2["care"] >= SMALLEST_R2))
    if len(r2) == len(MODELS):
        rules.append(("R^2: CARE > random > InfoNCE", r2["care"] > r2["random"] > r2["invariant"]))
    if ("care", "gamma") in found and ("invariant", "gamma") in found:
        ratio = found["invariant", "gamma"] / found["care", "gamma"]
        rules.append((f"gamma of InfoNCE at least {GAMMA_RATIO:.0f} times that of CARE", ratio >= GAMMA_RATIO))
    return rules


def _range(line: Measured) -> str:
    ends = [float(line.settings[name]) for name in ("least", "largest")]
    digits = 0 if line.quantity == "seconds" else 3 if line.quantity != "neighbour_angle" else 1
    shown = list(dict.fromkeys(f"{end:.1e}" if line.quantity == "gamma" else f"{end:.{digits}f}" for end in ends))
    return " to ".join(shown)
