"""GI-Nets against CNNs at each number of training images: gravity, moving charges, and the next step of a flow."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gnet.counts import check_count
from gnet.errors import ConfigError
from gnet.plugins.geometric_images.fitting import Data, Fit, norm_of_difference, relative_difference
from gnet.plugins.geometric_images.fluid import NavierStokes
from gnet.plugins.geometric_images.images import GeometricImage
from gnet.plugins.geometric_images.multi import Signature
from gnet.plugins.geometric_images.net import GINet, PlainCNN
from gnet.plugins.geometric_images.plots import plot_image
from gnet.plugins.geometric_images.tasks import task
from gnet.plugins.geometric_images.toy_nets import (
    complete_linear_net,
    complete_net,
    plain_linear_net,
    plain_net,
    raising_linear_net,
    raising_net,
    started,
)
from gnet.randomness import streams
from gnet.study.simulate import Measured, Simulation, mean_and_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELS = {"ginet": "GI-Net", "cnn": "CNN"}
NETS = ("published", "complete")


class Comparison(Simulation):
    """Test loss of a GI-Net and a CNN for each number of training images, the same data for both.

    Each seed draws its own training, validation and test images and first weights. The best of validation is tested. Seeds that
    ended are kept beside the results, and are not trained again.

    Args:
        sizes: numbers of training images.
        seeds: repetitions.
        models: "ginet", "cnn".
        num_val, num_test: other images.
        max_epochs, patience: of the training.

    Raises:
        ConfigError: numbers below one, or not whole, another model, or none.
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
        self.models = list(MODELS) if models is None else list(models)
        if wrong := [each for each in self.models if each not in MODELS]:
            raise ConfigError(f"expected models among {', '.join(MODELS)}, got {wrong[0]!r}")
        if not sizes or not self.models:
            raise ConfigError(f"expected at least one of the sizes and of the models, got {sizes} and {self.models}")
        for each in sizes:
            check_count(sizes=each)
        check_count(seeds=seeds, num_val=num_val, num_test=num_test, max_epochs=max_epochs, patience=patience)
        self.sizes, self.seeds, self.num_val, self.num_test = sizes, seeds, num_val, num_test
        self.max_epochs, self.patience = max_epochs, patience
        self._example: tuple[Tensor, Tensor] | None = None
        self._parts: tuple[int, tuple[Data, Data, Data]] | None = None

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
        """Train every model at every size; what ended before is not trained again."""
        nan, lines = math.nan, []
        for model in self.models:
            weights = sum(p.numel() for p in self.network(model, streams(0)["init"]).parameters())
            lines.append(Measured("num_weights", {"model": model}, weights, 0.0, nan, "unknown"))
        kinds = [(self.reference,), *product(self.sizes, self.models)]
        found = self.over_runs([(*kind, seed) for seed in range(self.seeds) for kind in kinds], self.measure)
        for kind in kinds:
            mine = [found[*kind, seed][0] for seed in range(self.seeds)]
            values = [line.measured for line in mine]
            lines.append(Measured("test_loss", mine[0].settings, *mean_and_error(values), nan, "unknown"))
        return lines

    def measure(self, run: tuple[int | str, ...]) -> list[Measured]:
        """The test loss of one training, (n, model, seed), or of the guess, (reference, seed)."""
        *kind, seed = run
        val, (x, y), test = self.parts(int(seed))
        if len(kind) == 1:
            settings, loss = {"model": self.reference, "n": ""}, float(self.fit("ginet").loss(self.guess(*test), test[1]))
        else:
            n, model = int(kind[0]), str(kind[1])
            settings, loss = {"model": model, "n": str(n)}, self.trained_loss(model, int(seed), (x[:n], y[:n]), val, test)
        return [Measured("test_loss", settings, loss, math.nan, math.nan, "unknown")]

    def parts(self, seed: int) -> tuple[Data, Data, Data]:
        """The images of one seed, drawn once: to validate, to train on (all sizes begin with the same), and to test."""
        if self._parts is None or self._parts[0] != seed:
            random = streams(seed)
            test = self.data(self.num_test, random["mask"])
            x, y = self.data(max(self.sizes) + self.num_val, random["draw"])
            self._parts = seed, ((x[: self.num_val], y[: self.num_val]), (x[self.num_val :], y[self.num_val :]), test)
        return self._parts[1]

    def trained_loss(self, model: str, seed: int, train: Data, val: Data, test: Data) -> float:
        """The test loss of one training."""
        random = streams(seed)
        net, fit = self.network(model, random["init"]), self.fit(model)
        fit.run(net, train, val, random["batches"])
        if model == "ginet":
            with torch.no_grad():
                self._example = test[1][0], net(test[0][:1])[0]
        return fit.error(net, test)

    def summary(self, lines: Sequence[Measured]) -> str:
        """A table: test losses by size, and their ratio; then whether the GI-Net's is below the CNN's at every size."""
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
            ratio = ""
            if len(mine) == 2:
                ratio = f"{found['ginet', n].measured / found['cnn', n].measured:.3g}"
            rows.append(f"| {n} | {' | '.join(cells)} | {ratio} |")
        rows += ["", f"{self.reference}: {found[self.reference, ''].measured:.4g}"]
        if len(self.models) == 2:
            rows.append(self.verdict({n: (found["ginet", str(n)].measured, found["cnn", str(n)].measured) for n in self.sizes}))
        return "\n".join(rows)

    def verdict(self, losses: dict[int, tuple[float, float]]) -> str:
        """Whether the rule holds, and where the GI-Net is ahead most.

        Args:
            losses: of GI-Net and CNN for each number of training images.
        """
        missed = [str(n) for n, (ours, other) in losses.items() if not ours < other]
        text = f"not met at {', '.join(missed)} images" if missed else "met"
        ahead = min(losses, key=lambda n: losses[n][0] / losses[n][1])
        return f"GI-Net below CNN at every size: {text}. Least ratio: at {ahead} images."

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Loss against training images; a field of the test set and what the GI-Net makes of its input, as arrows."""
        from gnet.study.plots import COLOURS, MARKERS, PAGE, new_figure

        figure = new_figure(PAGE, PAGE / 3)
        curves, *fields = figure.subplots(1, 3)
        for index, model in enumerate(self.models):
            mine = [line for line in lines if line.quantity == "test_loss" and line.settings["model"] == model]
            sizes = [int(line.settings["n"]) for line in mine]
            losses, errors = [line.measured for line in mine], [line.standard_error for line in mine]
            curves.errorbar(sizes, losses, yerr=errors, color=COLOURS[index], marker=MARKERS[index], label=MODELS[model])
        curves.set(xscale="log", yscale="log", xlabel="training images", ylabel="test loss")
        curves.legend()
        if self._example is not None:
            images = [GeometricImage(each.movedim(0, -1), 2, 1) for each in self._example]
            limit = float(images[0].norm().data.max())
            for axes, image, title in zip(fields, images, ("target", "GI-Net"), strict=True):
                plot_image(image, axes, title=title, limit=limit)
        else:  # all ended before, and nets are not kept
            for axes in fields:
                axes.remove()
        return figure


class ToyTask(Comparison):
    """The toy tasks of geometric images: the gravity of point masses (linear nets), and charges that move.

    Published GI-Nets raise orders from layer to layer by filters of few orders (``raising_linear_net``, ``raising_net``); those
    of "complete" go between scalars and vectors by all linear maps (``complete_linear_net``, ``complete_net``). First weights
    are 0.1 N(0, 1), as published; those of "complete" and of its CNN keep the size of white noise.

    Args:
        name: "gravity" or "charges".
        net: "published" or "complete".
        side: pixels per axis; zero outside.
        channels: of each type in the GI-Net; None is 2, for charges by the complete net 8.
        filters: orders of the filters of the complete net; None is all maps.
        cnn_channels: of the CNN; None is the published number, 2 and 20.
        lr, cnn_lr: learning rates.
        sizes, seeds, models, num_val, num_test, max_epochs, patience: see ``Comparison``.

    Raises:
        ConfigError: another name, net or model, orders of filters for the published net, numbers below one or not whole, fewer
            than 4 pixels (3 for charges), or learning rates that are not positive.

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
        net: str = "published",
        side: int = 16,
        channels: int | None = None,
        filters: list[int] | None = None,
        cnn_channels: int | None = None,
        lr: float = 5e-3,
        cnn_lr: float = 5e-3,
        num_val: int = 10,
        num_test: int = 100,
        max_epochs: int = 1000,
        patience: int = 20,
    ) -> None:
        super().__init__([5, 10, 20, 50] if sizes is None else sizes, seeds, models, num_val, num_test, max_epochs, patience)
        self.name, self.task, self.side, self.net = name, task(name), side, net
        if net not in NETS:
            raise ConfigError(f"expected a net among {', '.join(NETS)}, got {net!r}")
        if filters is not None and (net == "published" or not filters):
            raise ConfigError(f"expected filters null (all maps), or orders for the net 'complete', got {filters} for {net!r}")
        charges = name == "charges"
        self.channels = channels if channels is not None else 8 if charges and net == "complete" else 2
        self.cnn_channels = cnn_channels if cnn_channels is not None else 20 if charges else 2
        check_count(3 if charges else 4, side=side)  # as large as the filters, and as the reach of the linear nets
        check_count(channels=self.channels, cnn_channels=self.cnn_channels)
        self.filters, self.lr, self.cnn_lr = filters, lr, cnn_lr
        for model in self.models:
            self.fit(model)  # which checks the learning rate

    def data(self, num: int, generator: torch.Generator) -> Data:
        """Drawn on demand."""
        return self.task.draw(num, self.side, generator)

    def fit(self, model: str) -> Fit:
        """As published: five batches, a rate that falls by 0.995, losses not divided by the number of pixels."""
        lr = self.lr if model == "ginet" else self.cnn_lr
        return Fit(lr=lr, max_epochs=self.max_epochs, patience=self.patience, loss=norm_of_difference)

    def network(self, model: str, generator: torch.Generator) -> nn.Module:
        """Linear for gravity."""
        linear = self.name == "gravity"
        if model == "cnn":
            net = (
                plain_linear_net(self.cnn_channels, self.side, generator=generator)
                if linear
                else plain_net(self.cnn_channels, generator=generator)
            )
            return started(net, generator) if self.net == "published" else net
        if self.net == "published":
            if linear:
                return raising_linear_net(self.channels, self.side, generator=generator)
            return raising_net(self.channels, generator=generator)
        if linear:
            return complete_linear_net(self.channels, self.side, self.filters, generator=generator)
        return complete_net(self.channels, self.filters, generator=generator)

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
    """The velocity of a two-dimensional flow some time later, from the velocity now; a CNN with at least as many weights.

    Flows are those of ``NavierStokes``, each from random velocities of its own, so that translations, turns and mirrors leave
    the law of the data as it is. Both nets predict the change; hidden layers have dilations 1, 2, 1. Losses are relative norms
    of the difference, averaged over images.

    Args:
        side, viscosity, dt, time: of the flow; rms velocity 1 and circumference 2 pi at the start.
        channels: of each type, (0, +), (0, -) and (1, +), in the GI-Net; the CNN has at least as many weights.
        lr: of both.
        sizes, seeds, models, num_val, num_test, max_epochs, patience: see ``Comparison``.

    Raises:
        ConfigError: a model that does not exist, numbers below one or not whole, a time below zero, or see ``NavierStokes``.

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
        super().__init__([4, 16, 64, 256] if sizes is None else sizes, seeds, models, num_val, num_test, max_epochs, patience)
        self.solver, self.time, self.channels, self.lr = NavierStokes(side, viscosity, dt), time, channels, lr
        check_count(channels=channels)
        if not 0 <= time < math.inf:
            raise ConfigError(f"expected a finite time >= 0, got {time}")
        self.fit("ginet")  # which checks the learning rate

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
