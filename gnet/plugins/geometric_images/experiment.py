"""GI-Nets against CNNs at each number of training images: gravity, moving charges, and the next step of a flow."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError
from gnet.plugins.geometric_images.fitting import Data, Fit, norm_of_difference, relative_difference
from gnet.plugins.geometric_images.fluid import NavierStokes
from gnet.plugins.geometric_images.images import GeometricImage
from gnet.plugins.geometric_images.layers import ConvContract
from gnet.plugins.geometric_images.multi import Signature
from gnet.plugins.geometric_images.net import GINet, PlainCNN, PlainConv
from gnet.plugins.geometric_images.plots import plot_image
from gnet.plugins.geometric_images.tasks import task
from gnet.randomness import streams
from gnet.study.simulate import Measured, Simulation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELS = ("ginet", "cnn")
DILATIONS = (1, 2, 4, 2, 1, 1, 2, 1)
"""Of the published nets for moving charges."""


class Comparison(Simulation):
    """Test loss of a GI-Net and a CNN for each number of training images, the same data for both.

    Each seed draws its own training, validation and test images and first weights. The best of validation is tested.

    Args:
        sizes: numbers of training images.
        seeds: repetitions.
        models: "ginet", "cnn".
        num_val, num_test: other images.
        max_epochs, patience: of the training.

    Raises:
        ConfigError: numbers below one, or another model.
    """

    reference = ""
    """What the loss of ``guess`` is called."""

    def __init__(
        self,
        sizes: list[int],
        seeds: int,
        models: list[str] | None,
        num_val: int,
        num_test: int,
        max_epochs: int,
        patience: int,
    ) -> None:
        self.models = models or list(MODELS)
        if wrong := [each for each in self.models if each not in MODELS]:
            raise ConfigError(f"expected models among {', '.join(MODELS)}, got {wrong[0]!r}")
        if not sizes or min(*sizes, seeds, num_val, num_test, max_epochs, patience) < 1:
            raise ConfigError("expected sizes, seeds, num_val, num_test, max_epochs and patience >= 1")
        self.sizes, self.seeds, self.num_val, self.num_test = sizes, seeds, num_val, num_test
        self.max_epochs, self.patience = max_epochs, patience
        self._example: tuple[Tensor, Tensor] | None = None

    @abstractmethod
    def data(self, num: int, generator: torch.Generator) -> Data:
        """Inputs and targets, stacked."""

    @abstractmethod
    def network(self, model: str, generator: torch.Generator) -> nn.Module:
        """An untrained net."""

    @abstractmethod
    def fit(self, model: str) -> Fit:
        """How it is trained."""

    @abstractmethod
    def guess(self, x: Tensor, y: Tensor) -> Tensor:
        """What a net has to beat."""

    def run(self) -> list[Measured]:
        """Train every model at every size."""
        nan, lines = math.nan, []
        for model in self.models:
            weights = sum(p.numel() for p in self.network(model, streams(0)["init"]).parameters())
            lines.append(Measured("num_weights", {"model": model}, weights, 0.0, nan, "unknown"))
        losses: dict[tuple[str, int], list[float]] = {}
        for seed in range(self.seeds):
            test = self.data(self.num_test, streams(seed)["mask"])
            losses.setdefault((self.reference, 0), []).append(float(self.fit("ginet").loss(self.guess(*test), test[1])))
            for n in self.sizes:
                for model in self.models:
                    losses.setdefault((model, n), []).append(self.trained_loss(model, n, seed, test))
        for (model, n), values in losses.items():
            mean, spread = torch.tensor(values).mean(), torch.tensor(values).std() if len(values) > 1 else torch.tensor(nan)
            settings = {"model": model, "n": str(n) if n else ""}
            lines.append(Measured("test_loss", settings, float(mean), float(spread) / len(values) ** 0.5, nan, "unknown"))
        return lines

    def trained_loss(self, model: str, n: int, seed: int, test: Data) -> float:
        """The test loss of one training."""
        random = streams(seed)
        x, y = self.data(max(self.sizes) + self.num_val, random["draw"])  # all sizes begin with the same images
        train, val = (x[self.num_val :][:n], y[self.num_val :][:n]), (x[: self.num_val], y[: self.num_val])
        net, fit = self.network(model, random["init"]), self.fit(model)
        fit.run(net, train, val, random["batches"])
        if model == "ginet":
            with torch.no_grad():
                self._example = test[1][0], net(test[0][:1])[0]
        return fit.error(net, test)

    def summary(self, lines: Sequence[Measured]) -> str:
        """A table: test losses by size, and their ratio."""
        found = {(line.settings["model"], line.settings.get("n", "")): line for line in lines if line.quantity == "test_loss"}
        weights = {line.settings["model"]: int(line.measured) for line in lines if line.quantity == "num_weights"}
        heads = [f"{model} ({weights[model]} weights)" for model in self.models]
        rows = [f"| images | {' | '.join(heads)} | ratio |", "|" + " --- |" * (len(heads) + 2)]
        for n in map(str, self.sizes):
            mine = [found[model, n] for model in self.models]
            cells = [
                f"{each.measured:.4g}" + ("" if math.isnan(each.standard_error) else f" ± {each.standard_error:.2g}")
                for each in mine
            ]
            ratio = f"{mine[0].measured / mine[1].measured:.3g}" if len(mine) == 2 else ""
            rows.append(f"| {n} | {' | '.join(cells)} | {ratio} |")
        return "\n".join([*rows, "", f"{self.reference}: {found[self.reference, ''].measured:.4g}"])

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Loss against training images; a field of the test set and what the GI-Net makes of its input, as arrows."""
        from gnet.study.plots import COLOURS, MARKERS, PAGE, new_figure

        figure = new_figure(PAGE, PAGE / 3)
        curves, *fields = figure.subplots(1, 3)
        for index, model in enumerate(self.models):
            mine = [line for line in lines if line.quantity == "test_loss" and line.settings["model"] == model]
            sizes = [int(line.settings["n"]) for line in mine]
            curves.plot(sizes, [line.measured for line in mine], color=COLOURS[index], marker=MARKERS[index], label=model)
        curves.set(xscale="log", yscale="log", xlabel="training images", ylabel="test loss")
        curves.legend()
        if self._example is not None:
            images = [GeometricImage(each.movedim(0, -1), 2, 1) for each in self._example]
            limit = float(images[0].norm().data.max())
            for axes, image, title in zip(fields, images, ("target", "GI-Net"), strict=True):
                plot_image(image, axes, title=title, limit=limit)
        return figure


class ToyTask(Comparison):
    """The toy tasks of geometric images: the gravity of point masses (linear nets), and charges that move.

    Nets of "gravity" are linear: a convolution, the sum of convolutions with dilations 1 to 15, that with 1 to 7, and a linear
    combination of channels. Those of "charges" have hidden layers with dilations 1, 2, 4, 2, 1, 1, 2, 1; our GI-Net goes
    between scalars and vectors by all linear maps, gated by scalars, where the published one raises orders up to 5.

    Args:
        name: "gravity" or "charges".
        side: pixels per axis; zero outside.
        channels: of each type in the GI-Net.
        filters: orders of its filters; empty for all maps.
        cnn_channels: of the CNN.
        lr, cnn_lr: learning rates.
        sizes, seeds, models, num_val, num_test, max_epochs, patience: see ``Comparison``.

    Raises:
        ConfigError: another name, a model that does not exist, or numbers below one.

    References:
        Gregory, Hogg, Blum-Smith, Arias, Wong and Villar (2023), arXiv:2305.12585, section 7.
    """

    reference = "zero field"

    def __init__(
        self,
        name: str = "gravity",
        sizes: list[int] | None = None,
        seeds: int = 5,
        models: list[str] | None = None,
        side: int = 16,
        channels: int = 2,
        filters: list[int] | None = None,
        cnn_channels: int = 2,
        lr: float = 5e-3,
        cnn_lr: float = 5e-3,
        num_val: int = 10,
        num_test: int = 100,
        max_epochs: int = 1000,
        patience: int = 20,
    ) -> None:
        super().__init__(sizes or [5, 10, 20, 50], seeds, models, num_val, num_test, max_epochs, patience)
        self.name, self.task, self.side = name, task(name), side
        self.channels, self.filters, self.cnn_channels = channels, filters or None, cnn_channels
        self.lr, self.cnn_lr = lr, cnn_lr

    def data(self, num: int, generator: torch.Generator) -> Data:
        """Drawn on demand."""
        return self.task.draw(num, self.side, generator)

    def fit(self, model: str) -> Fit:
        """As published: five batches, a rate that falls by 0.995, losses not divided by the number of pixels."""
        lr = self.lr if model == "ginet" else self.cnn_lr
        return Fit(lr=lr, max_epochs=self.max_epochs, patience=self.patience, loss=norm_of_difference)

    def network(self, model: str, generator: torch.Generator) -> nn.Module:
        """Linear for gravity."""
        if self.name == "gravity":
            return self._linear(model, generator)
        if model == "cnn":
            return PlainCNN(2, self.cnn_channels, 2, DILATIONS, act=nn.LeakyReLU, padding="zero", bias=False, generator=generator)
        hidden = Signature(2, {(0, 1): self.channels, (1, 1): self.channels})
        given, out = self.task.sig_in, self.task.sig_out
        return GINet(given, hidden, out, DILATIONS, gate="scalars", filters=self.filters, padding="zero", generator=generator)

    def _linear(self, model: str, generator: torch.Generator) -> nn.Module:
        reaches: list[int | range] = [1, range(1, self.side), range(1, self.side // 2)]
        layers: list[nn.Module] = []
        if model == "cnn":
            sizes = [1, *[self.cnn_channels] * 3]
            for n, m, dilation in zip(sizes, sizes[1:], reaches, strict=False):
                layers.append(PlainConv(n, m, dilation=dilation, padding="zero", bias=False, generator=generator))
            return nn.Sequential(*layers, PlainConv(sizes[-1], 2, M=1, padding="zero", bias=False, generator=generator))
        hidden = Signature(2, {(0, 1): self.channels, (1, 1): self.channels})
        types = [self.task.sig_in, hidden, hidden, hidden]
        for before, after, dilation in zip(types, types[1:], reaches, strict=False):
            layers.append(ConvContract(before, after, self.filters, dilation, padding="zero", bias=False, generator=generator))
        return nn.Sequential(
            *layers, ConvContract(hidden, self.task.sig_out, M=1, padding="zero", bias=False, generator=generator)
        )

    def guess(self, x: Tensor, y: Tensor) -> Tensor:
        """Nothing anywhere."""
        return torch.zeros_like(y)


class Change(nn.Module):
    """x plus what a module makes of it: a net that predicts the change.

    Example:
        >>> Change(nn.Identity())(torch.ones(1))
        tensor([2.])
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """x + f(x)."""
        return x + self.module(x)


class FlowPrediction(Comparison):
    """The velocity of a two-dimensional flow some time later, from the velocity now; a CNN with as many weights.

    Flows are those of ``NavierStokes``, each from random velocities of its own, so that translations, turns and mirrors leave
    the law of the data as it is. Both nets predict the change; hidden layers have dilations 1, 2, 1. Losses are relative norms
    of the difference, averaged over images.

    Args:
        side, viscosity, dt, time: of the flow; rms velocity 1 and circumference 2 pi at the start.
        channels: of each type, (0, +), (0, -) and (1, +), in the GI-Net; the CNN has at least as many weights.
        lr: of both.
        sizes, seeds, models, num_val, num_test, max_epochs, patience: see ``Comparison``.

    Raises:
        ConfigError: a model that does not exist, or numbers below one.

    References:
        Gregory et al. (2023), arXiv:2305.12585, for the nets; Wang, Walters and Yu (2021), arXiv:2002.03061, for flows as a test
        of equivariance.
    """

    reference = "no change"

    def __init__(
        self,
        sizes: list[int] | None = None,
        seeds: int = 3,
        models: list[str] | None = None,
        side: int = 32,
        viscosity: float = 1e-3,
        dt: float = 0.02,
        time: float = 0.2,
        channels: int = 4,
        lr: float = 5e-3,
        num_val: int = 10,
        num_test: int = 50,
        max_epochs: int = 300,
        patience: int = 30,
    ) -> None:
        super().__init__(sizes or [4, 16, 64, 256], seeds, models, num_val, num_test, max_epochs, patience)
        self.solver, self.time, self.channels, self.lr = NavierStokes(side, viscosity, dt), time, channels, lr

    def data(self, num: int, generator: torch.Generator) -> Data:
        """Pairs of velocities."""
        return self.solver.pairs(num, self.time, generator)

    def fit(self, model: str) -> Fit:
        """The same for both."""
        return Fit(lr=self.lr, max_epochs=self.max_epochs, patience=self.patience, loss=relative_difference)

    def network(self, model: str, generator: torch.Generator) -> nn.Module:
        """Of the change."""
        vector, n = Signature(2, {(1, 1): 1}), self.channels
        hidden, dilations = Signature(2, {(0, 1): n, (0, -1): n, (1, 1): n}), (1, 2, 1)
        equivariant = GINet(vector, hidden, vector, dilations, gate="products", residual=True, generator=generator)
        if model == "ginet":
            return Change(equivariant)
        wanted, width = sum(p.numel() for p in equivariant.parameters()), 1
        while True:
            plain = PlainCNN(2, width, 2, dilations, residual=True, generator=generator)
            if sum(p.numel() for p in plain.parameters()) >= wanted:
                return Change(plain)
            width += 1

    def guess(self, x: Tensor, y: Tensor) -> Tensor:
        """What was there before."""
        return x
