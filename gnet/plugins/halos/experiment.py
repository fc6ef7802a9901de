"""How much more than the mass of a halo its scalars tell of the galaxy: synthetic halos, ridge regression and perceptron."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gnet.errors import ConfigError
from gnet.plugins.halos.data import synthetic_halos
from gnet.plugins.halos.regression import HaloTable, Perceptron, half_width, ridge_pipeline
from gnet.study.simulate import Measured, Simulation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INPUTS = {"mass": 1, "single scalars": 31, "all scalars": 73}
"""Columns of the table: the mass alone, and with 30 or 72 scalars."""
REGRESSORS = ("ridge", "mlp")
SMALLEST_GAIN = 0.25
"""What the table has to show: by how much all scalars make the mean width smaller than the mass alone does."""


class GalaxyFromHalo(Simulation):
    """Half the width of the errors of log10 M*, between the 16th and 84th percentile, on test halos.

    Args:
        regressors: "ridge", "mlp".
        num_halos: 70 % of them for training, 15 % for validation, 15 % for the test, in the order of drawing, which is random.
        num_particles: of each.
        seeds: draws of all halos.
        noise: of log10 M*, which no regressor falls below.
        max_epochs: of the perceptron.

    Raises:
        ConfigError: a regressor that does not exist, or numbers below one.

    References:
        Features and pipeline: Storey-Fisher, Hogg, Genel, Hattori and Villar, public code. The halos are made up.
    """

    def __init__(
        self,
        regressors: list[str] | None = None,
        num_halos: int = 3000,
        num_particles: int = 400,
        seeds: int = 4,
        noise: float = 0.05,
        max_epochs: int = 1000,
    ) -> None:
        self.regressors = regressors or list(REGRESSORS)
        if unknown := sorted(set(self.regressors) - set(REGRESSORS)):
            raise ConfigError(f"expected regressors among {', '.join(REGRESSORS)}, got {', '.join(unknown)}")
        if min(num_halos - 9, num_particles, seeds, max_epochs) < 1:
            raise ConfigError("expected num_halos >= 10, and num_particles, seeds and max_epochs >= 1")
        self.num_halos, self.num_particles, self.seeds = num_halos, num_particles, seeds
        self.noise, self.max_epochs = noise, max_epochs

    def run(self) -> list[Measured]:
        """One line for each regressor, input and seed."""
        lines = []
        for seed in range(self.seeds):
            halos = synthetic_halos(self.num_halos, self.num_particles, noise=self.noise, seed=seed)
            table = HaloTable.of(halos)
            for regressor in self.regressors:
                for name, columns in INPUTS.items():
                    train, val, test = HaloTable(table.X[:, :columns], table.y, table.names[:columns]).split(seed=None)
                    width = half_width(self._predict(regressor, train, val, test, seed) - test.y)
                    settings = {"regressor": regressor, "inputs": name, "seed": str(seed)}
                    lines.append(Measured("half_width", settings, width, float("nan"), self.noise, "lower bound"))
        return lines

    def _predict(self, regressor: str, train: HaloTable, val: HaloTable, test: HaloTable, seed: int) -> np.ndarray:
        if regressor == "ridge":
            return np.asarray(ridge_pipeline().fit(train.X, train.y).predict(test.X))
        return Perceptron(self.noise**2, self.max_epochs, seed=seed).fit(train, val).predict(test.X)

    def summary(self, lines: Sequence[Measured]) -> str:
        """A table: least and largest width over seeds, and by how much the mean is below that of the mass alone."""
        rows = ["| regressor | inputs | half width, dex | below the mass alone |", "| --- | --- | --- | --- |"]
        for regressor, inputs in dict.fromkeys((line.settings["regressor"], line.settings["inputs"]) for line in lines):
            found, mass = _widths(lines, regressor, inputs), _widths(lines, regressor, "mass")
            gain = "" if inputs == "mass" else f"{100 * (1 - found.mean() / mass.mean()):.0f} %"
            rows.append(f"| {regressor} | {inputs} | {found.min():.3f} to {found.max():.3f} | {gain} |")
        verdicts = [f"{rule}: {'met' if is_met else 'not met'}" for rule, is_met in pass_rules(lines)]
        return "\n".join([*rows, "", f"No regressor falls below the noise, {self.noise:g}.", "", *verdicts])

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Widths of every seed, beside the noise."""
        from gnet.study.plots import COLOURS, MARKERS, PAGE, new_figure

        figure = new_figure(0.6 * PAGE, 3.0)
        axes = figure.subplots()
        names = list(INPUTS)
        for number, regressor in enumerate(self.regressors):
            mine = [line for line in lines if line.settings["regressor"] == regressor]
            places = [names.index(line.settings["inputs"]) + 0.1 * number for line in mine]
            widths = [line.measured for line in mine]
            axes.plot(places, widths, color=COLOURS[number], marker=MARKERS[number], linestyle="none", label=regressor)
        axes.axhline(self.noise, color="0.5", linewidth=1, label="noise")
        axes.set_xticks(range(len(names)), names)
        axes.set(ylabel="half width of errors, dex", ylim=(0.0, None))
        axes.legend()
        return figure


def pass_rules(lines: Sequence[Measured]) -> list[tuple[str, bool]]:
    """What each regressor has to show, and whether it does, in means over seeds.

    Example:
        >>> def line(inputs, width):
        ...     return Measured("half_width", {"regressor": "ridge", "inputs": inputs}, width, float("nan"), 0.05, "lower bound")
        >>> pass_rules([line("mass", 0.1), line("all scalars", 0.06)])
        [('ridge: all scalars at least 25 % below the mass alone', True)]
    """
    rules = []
    for regressor in dict.fromkeys(line.settings["regressor"] for line in lines):
        found, mass = _widths(lines, regressor, "all scalars"), _widths(lines, regressor, "mass")
        rule = f"{regressor}: all scalars at least {100 * SMALLEST_GAIN:.0f} % below the mass alone"
        rules.append((rule, bool(found.mean() <= (1 - SMALLEST_GAIN) * mass.mean())))
    return rules


def _widths(lines: Sequence[Measured], regressor: str, inputs: str) -> np.ndarray:
    return np.array(
        [each.measured for each in lines if (each.settings["regressor"], each.settings["inputs"]) == (regressor, inputs)]
    )
