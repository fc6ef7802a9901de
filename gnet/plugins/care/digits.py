"""Digits of 8 x 8 pixels: embeddings by InfoNCE with and without L_equi, at the accuracy of a linear probe."""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError
from gnet.plugins.care.evaluate import measure_symmetry
from gnet.plugins.care.losses import CARELoss
from gnet.plugins.care.models import ImageEncoder, seeded
from gnet.plugins.care.retrieval import draw_image, nearest
from gnet.plugins.care.views import ImageAugmentation
from gnet.plugins.scalars import perceptron
from gnet.randomness import derive_seed
from gnet.study.simulate import Measured, Simulation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELS = ("random", "invariant", "care")
NAMES = {"random": "random encoder", "invariant": "InfoNCE", "care": "CARE"}
QUANTITIES = ("accuracy", "distance", "wahba", "gamma", "neighbour_turn", "neighbour_class", "seconds")
SPLITS = (1100, 200)
"""Images to train on and to choose settings by; the other 497 are the test."""


class DigitSplit(NamedTuple):
    """Images (num, 1, 8, 8) between 0 and 1 and their classes (num,)."""

    train: Tensor
    train_classes: Tensor
    held_out: Tensor
    held_out_classes: Tensor


def digit_split(on: str = "test") -> DigitSplit:
    """The digits embedded in scikit-learn, cut once and for all; held out are those of "val" or of "test".

    Raises:
        ConfigError: another word.

    Example:
        >>> [len(each) for each in digit_split("val")]
        [1100, 1100, 200, 200]
    """
    if on not in ("val", "test"):
        raise ConfigError(f"expected images of 'val' or 'test', got {on!r}")
    from sklearn.datasets import load_digits

    source = load_digits()
    images, classes = torch.as_tensor(source.images).float()[:, None] / 16, torch.as_tensor(source.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(derive_seed(0, "digits")))
    train, val, test = order.tensor_split([SPLITS[0], sum(SPLITS)])
    held_out = val if on == "val" else test
    return DigitSplit(images[train], classes[train], images[held_out], classes[held_out])


def probe_accuracy(features: Callable[[Tensor], Tensor], split: DigitSplit) -> float:
    """Share of held-out images that a logistic regression on the (standardised) features of images puts into their class.

    Example:
        >>> probe_accuracy(lambda images: images.flatten(1), digit_split("val")) > 0.9
        True
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with torch.no_grad():
        x, y = features(split.train), features(split.held_out)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 500 steps are the probe
        probe.fit(x.numpy(), split.train_classes.numpy())
    return float(probe.score(y.numpy(), split.held_out_classes.numpy()))


class ContrastiveDigits(Simulation):
    """A small convolutional net trained by InfoNCE and by InfoNCE + ``lam`` L_equi under turns, shifts and contrasts.

    The probe reads the encoder, symmetry is that of the unit vectors after a head of two layers. ``lam`` weighs the mean form
    of L_equi: .01 to .03 of the published code are .3 to .9 here, at 16 samples per chunk.

    Args:
        models: among "random", "invariant" and "care".
        seeds: of weights, batches and augmentations; the images are the same.
        epochs, batch_size, chunks, lam, tau, lr: of training; weight decay 1e-6.
        width, out_channels: of encoder and head.
        degrees, shift, contrast: of ``ImageAugmentation``.
        num_elements: augmentations that symmetry is measured with.
        held_out: "val" to choose settings by, or "test".

    Raises:
        ConfigError: a model or word that does not exist, or numbers below one.

    References:
        Gupta, Robinson, Lim, Villar and Jegelka (2024), arXiv:2306.13924, section 5.3, on CIFAR-10 and others.
    """

    def __init__(
        self,
        models: list[str] | None = None,
        seeds: int = 3,
        epochs: int = 200,
        batch_size: int = 256,
        chunks: int = 16,
        lam: float = 1.0,
        tau: float = 0.5,
        lr: float = 1e-3,
        width: int = 32,
        out_channels: int = 32,
        degrees: float = 30.0,
        shift: float = 1.0,
        contrast: float = 0.3,
        num_elements: int = 20,
        held_out: str = "test",
    ) -> None:
        self.models = models or list(MODELS)
        if wrong := [each for each in self.models if each not in MODELS]:
            raise ConfigError(f"expected models among {', '.join(MODELS)}, got {wrong[0]!r}")
        if min(seeds, epochs, width, out_channels, num_elements) < 1:
            raise ConfigError("expected seeds, epochs, widths and numbers of augmentations >= 1")
        if held_out not in ("val", "test"):
            raise ConfigError(f"expected images of 'val' or 'test', got {held_out!r}")
        self.seeds, self.epochs, self.batch_size, self.chunks = seeds, epochs, batch_size, chunks
        self.lam, self.tau, self.lr, self.width, self.out_channels = lam, tau, lr, width, out_channels
        self.augmentation, self.num_elements, self.held_out = ImageAugmentation(degrees, shift, contrast), num_elements, held_out
        self.shown: dict[str, tuple[Tensor, Tensor]] = {}
        """Of each trained model of seed 0 the queries and their neighbours, (Q, 1, 8, 8) and (Q, num, 1, 8, 8)."""

    def run(self) -> list[Measured]:
        """Train and measure."""
        split, lines = digit_split(self.held_out), []
        for model in self.models:
            found: dict[str, list[float]] = {}
            for seed in range(self.seeds):
                begun = time.monotonic()
                module = self.fit(model, split.train, seed)
                seconds = time.monotonic() - begun
                values = (*self.measure(module, model, split, seed), seconds)
                for quantity, value in zip(QUANTITIES, values, strict=True):
                    found.setdefault(quantity, []).append(value)
            for quantity, drawn in found.items():
                each = torch.tensor(drawn, dtype=torch.float64)
                error = float(each.std()) / math.sqrt(len(each)) if len(each) > 1 else math.nan
                settings = {"model": model, "seeds": str(self.seeds), "held_out": self.held_out}
                lines.append(Measured(quantity, settings, float(each.mean()), error, math.nan, "unknown"))
        return lines

    def fit(self, model: str, images: Tensor, seed: int) -> nn.Module:
        """The module after its training, if it has any."""
        from gnet.plugins.care.fitting import train
        from gnet.plugins.care.module import CAREModule

        encoder = seeded(ImageEncoder, derive_seed(seed, "encoder"), 1, self.width)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "head"))
            head = perceptron([4 * self.width, 4 * self.width, self.out_channels])
        loss = CARELoss(self.lam if model == "care" else 0.0, self.tau, self.chunks)
        module = CAREModule(
            encoder, self.augmentation, loss, head, same_for_chunk=model == "care", lr=self.lr, weight_decay=1e-6, seed=seed
        )
        return module.eval() if model == "random" else train(module, images, self.epochs, self.batch_size, seed)

    def measure(self, module: nn.Module, model: str, split: DigitSplit, seed: int) -> tuple[float, ...]:
        """All but seconds: accuracy, symmetry; of five neighbours how far they are turned from the query, and their class."""
        generator = torch.Generator().manual_seed(derive_seed(seed, "measure"))  # the same for all models
        accuracy = probe_accuracy(module.encoder, split)  # type: ignore[arg-type]
        symmetry = measure_symmetry(module, split.held_out, self.augmentation, self.num_elements, generator)
        drawn = self.augmentation.sample(len(split.held_out), generator)
        images = self.augmentation.apply(drawn, split.held_out[:, None])[:, 0]
        (queries, database), (asked, there) = images.tensor_split(2), drawn[:, 0].tensor_split(2)
        classes, known = split.held_out_classes.tensor_split(2)
        with torch.no_grad():
            rows = nearest(module(queries), module(database), 5)
        if model != "random":
            self.shown.setdefault(model, (queries[:4], database[rows[:4]]))
        turn = float((there[rows] - asked[:, None]).abs().mean()) * 180 / math.pi
        same = float((known[rows] == classes[:, None]).float().mean())
        return (accuracy, *symmetry, turn, same)

    def summary(self, lines: Sequence[Measured]) -> str:
        """The table."""
        found = {(line.settings["model"], line.quantity): line.measured for line in lines}
        header = "embedding | accuracy | L_inv | Wahba / sqrt(n) | gamma | turn of neighbours | of the same class | seconds"
        rows = [f"| {header} |", "|" + " --- |" * 8]
        for model in self.models:
            formats = (".3f", ".3f", ".3f", ".3f", ".1f", ".3f", ".0f")
            cells = [format(found[model, quantity], how) for quantity, how in zip(QUANTITIES, formats, strict=True)]
            rows.append(f"| {NAMES[model]} | {' | '.join(cells)} |")
        degrees = math.degrees(float(self.augmentation.scales[0]))
        known = f"turns in degrees, {2 * degrees / 3:.0f} for neighbours that know nothing"
        verdicts = [f"{rule}: {'met' if is_met else 'not met'}" for rule, is_met in pass_rules(found)]
        return "\n".join([*rows, "", f"Means of {self.seeds} seeds, images of {self.held_out}; {known}.", "", *verdicts])

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Four queries and their neighbours under InfoNCE and under CARE, side by side."""
        from gnet.study.plots import COLOURS, PAGE, new_figure

        figure = new_figure(PAGE, 3.0)
        for part, model in zip(figure.subfigures(1, max(len(self.shown), 1), squeeze=False)[0], self.shown, strict=False):
            queries, neighbours = self.shown[model]
            axes = part.subplots(len(queries), 6, squeeze=False)
            part.suptitle(f"query and its neighbours, {NAMES[model]}")
            for row, (query, near) in enumerate(zip(queries, neighbours, strict=True)):
                draw_image(axes[row, 0], query, COLOURS[6])
                for rank, image in enumerate(near):
                    draw_image(axes[row, rank + 1], image, COLOURS[MODELS.index(model)])
        return figure


LOST_ACCURACY, GAMMA_FACTOR = 0.01, 2.0
"""What the table has to show: accuracy that L_equi may cost, and how many times smaller gamma is with it."""


def pass_rules(found: dict[tuple[str, str], float]) -> list[tuple[str, bool]]:
    """What the table has to show, and whether it does; nothing without both trained models.

    Example:
        >>> pass_rules({("care", "gamma"): 0.1, ("invariant", "gamma"): 1.0})
        [('gamma of InfoNCE at least 2 times that of CARE', True)]
    """
    rules = []
    if ("care", "gamma") in found and ("invariant", "gamma") in found:
        ratio = found["invariant", "gamma"] / found["care", "gamma"]
        rules.append((f"gamma of InfoNCE at least {GAMMA_FACTOR:.0f} times that of CARE", ratio >= GAMMA_FACTOR))
    if ("care", "accuracy") in found and ("invariant", "accuracy") in found:
        lost = found["invariant", "accuracy"] - found["care", "accuracy"]
        rules.append((f"accuracy of CARE at most {LOST_ACCURACY} below that of InfoNCE", lost <= LOST_ACCURACY))
    return rules
