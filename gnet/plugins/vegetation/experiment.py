"""Vegetation over time, its emulation in any units, its equations found back: three simulations of ``train.py simulate``."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnet.errors import ConfigError
from gnet.plugins.vegetation.discovery import THRESHOLD, discover
from gnet.plugins.vegetation.emulation import EXTINCT, Inputs, LogRidge, Runs, draw_inputs, simulate_runs
from gnet.plugins.vegetation.equations import LIBRARY, SCALES, expected_coefficients, pattern_data
from gnet.plugins.vegetation.features import in_other_units, vegetation_factor
from gnet.plugins.vegetation.model import Rietkerk
from gnet.plugins.vegetation.plots import plot_pattern
from gnet.plugins.vegetation.solver import planted, solve
from gnet.randomness import derive_seed, streams
from gnet.study.simulate import Measured, Simulation, mean_and_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELS: tuple[Inputs, ...] = ("raw", "dimensionless")
OTHER_UNITS = {"l": 1000.0, "d": 24.0, "m": 100.0, "g": 0.001}
"""Millilitres, hours, centimetres and kilograms."""
EXACT = 1e-9
"""Largest relative change of predictions in other units with which they count as unchanged."""
LARGEST_ERROR = {0.0: 1e-4, 0.01: 2e-3}
"""Of coefficients, relative, by noise."""
LENGTH = 200.0
"""Metres that are the unit of length in dimensionless equations, on every grid."""


class VegetationEmulation(Simulation):
    """Mean vegetation after 200 days from the inputs of a run: ridge regression on raw and on dimensionless inputs.

    The runs of training and test are drawn alike and split several times; others are drawn further away. Then the test runs are
    expressed in other units, which the models were not told.

    Args:
        sizes: numbers of training runs.
        num_test, num_far: runs of the two tests.
        splits: how often the runs are divided anew into training and test.
        degrees: of the polynomials in logarithms.
        seed: of parameters, first cells and splits.
        side, duration: L in metres and T in days of each run.

    Raises:
        ConfigError: numbers below one.

    References:
        The task of Villar et al. (2023), arXiv:2204.00887; ranges and regressors are ours, since theirs are not published.
    """

    def __init__(
        self,
        sizes: list[int] | None = None,
        num_test: int = 64,
        num_far: int = 64,
        splits: int = 4,
        degrees: list[int] | None = None,
        seed: int = 0,
        side: float = 64.0,
        duration: float = 200.0,
    ) -> None:
        self.sizes, self.degrees = sorted(sizes or [64, 128, 256]), degrees or [1, 2]
        if min(*self.sizes, *self.degrees, num_test, num_far, splits) < 1:
            raise ConfigError("expected sizes, degrees, num_test, num_far and splits >= 1")
        self.num_test, self.num_far, self.splits, self.seed = num_test, num_far, splits, seed
        self.side, self.duration = side, duration
        self.shown: dict[Inputs, tuple[Tensor, Tensor]] = {}
        """Of each model true and predicted vegetation of the last test runs."""

    def runs(self) -> tuple[Runs, Runs]:
        """Those near the default parameters, for training and test, and those further away."""
        random = streams(self.seed)
        near = draw_inputs(self.sizes[-1] + self.num_test, random["draw"], side=self.side, duration=self.duration)
        far = draw_inputs(self.num_far, random["draw"], far=True, side=self.side, duration=self.duration)
        every = simulate_runs(torch.cat([near, far]), random["init"], progress=True)
        return every[: len(near)], every[len(near) :]

    def run(self) -> list[Measured]:
        """Simulate, fit and test."""
        near, far = self.runs()
        extinct = float((near.vegetation < EXTINCT).double().mean())
        lines = [Measured("extinct", {}, extinct, math.sqrt(extinct * (1 - extinct) / len(near)), math.nan, "unknown")]
        found: dict[tuple[str, Inputs, int, int], list[float]] = {}
        for split in range(self.splits):
            order = torch.randperm(len(near), generator=torch.Generator().manual_seed(derive_seed(self.seed, "split", split)))
            test, train = near[order[: self.num_test]], near[order[self.num_test :]]
            changed = Runs(in_other_units(test.inputs, OTHER_UNITS), vegetation_factor(OTHER_UNITS) * test.vegetation)
            for n in self.sizes:
                for degree in self.degrees:
                    for model in MODELS:
                        fitted = LogRidge(model, degree, seed=split).fit(train[:n])
                        for name, runs in (("test", test), ("other_units", changed), ("far", far)):
                            found.setdefault((f"r2_{name}", model, degree, n), []).append(fitted.r2(runs))
                        moved = fitted.predict(changed.inputs) / vegetation_factor(OTHER_UNITS) - fitted.predict(test.inputs)
                        change = float(moved.abs().max() / test.vegetation.abs().max())
                        found.setdefault(("change_by_units", model, degree, n), []).append(change)
                        self.shown[model] = test.vegetation, fitted.predict(test.inputs)
        for (quantity, inputs, degree, n), values in found.items():
            settings = {"inputs": inputs, "degree": str(degree), "n": str(n)}
            lines.append(Measured(quantity, settings, *mean_and_error(values), math.nan, "unknown"))
        for degree in self.degrees:
            for n in self.sizes:
                pairs = zip(*(found["r2_test", model, degree, n] for model in reversed(MODELS)), strict=True)
                ahead = [a - b for a, b in pairs]
                settings = {"degree": str(degree), "n": str(n)}
                lines.append(Measured("gain", settings, *mean_and_error(ahead), 0.0, "lower bound"))
                lines.append(Measured("splits_ahead", settings, sum(each >= 0 for each in ahead), 0.0, self.splits, "unknown"))
        return lines

    def summary(self, lines: Sequence[Measured]) -> str:
        """A table of R^2, raw / dimensionless, and whether the task counts as reproduced."""
        found = _by_settings(lines)
        rows = ["| training runs | degree | test | test in other units | far away | splits ahead |", "|" + " --- |" * 6]
        for n in self.sizes:
            for degree in self.degrees:
                cells = [
                    " / ".join(f"{found[f'r2_{name}', model, str(degree), str(n)]:.3g}" for model in MODELS)
                    for name in ("test", "other_units", "far")
                ]
                ahead = int(found["splits_ahead", "", str(degree), str(n)])
                rows.append(f"| {n} | {degree} | {' | '.join(cells)} | {ahead} of {self.splits} |")
        text = f"R^2 of mean vegetation, raw / dimensionless inputs, mean over {self.splits} splits;"
        text = f"{text} {found['extinct', '', '', '']:.0%} of the runs lose all vegetation."
        verdicts = [f"{rule}: {'met' if is_met else 'not met'}" for rule, is_met in emulation_rules(lines)]
        return "\n".join([*rows, "", text, "", *verdicts])

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """R^2 against training runs for the largest degree; predicted and true vegetation of the test runs."""
        from gnet.study.plots import COLOURS, MARKERS, PAGE, new_figure

        figure, found, degree = new_figure(PAGE, 0.45 * PAGE), _by_settings(lines), str(self.degrees[-1])
        curves, points = figure.subplots(1, 2)
        for index, model in enumerate(MODELS):
            style = {"color": COLOURS[index], "marker": MARKERS[index]}
            heights = [found["r2_test", model, degree, str(n)] for n in self.sizes]
            curves.plot(self.sizes, heights, label=model, **style)
            if model in self.shown:
                points.plot(*self.shown[model], ls="", ms=3, label=model, **style)
        if self.shown:
            top = float(self.shown[MODELS[0]][0].max())
            points.plot([0, top], [0, top], color="black", lw=0.8)
        curves.set(xlabel="training runs", ylabel="test R²", xscale="log", title=f"degree {degree}")
        curves.set_xticks(self.sizes, [str(n) for n in self.sizes], minor=False)
        points.set(xlabel="mean vegetation, g / m²", ylabel="predicted", title="test runs")
        curves.legend()
        return figure


def emulation_rules(lines: Sequence[Measured]) -> list[tuple[str, bool]]:
    """What has to hold of the quadratic models, and whether it does.

    Example:
        >>> emulation_rules([Measured("gain", {"degree": "2", "n": "64"}, 0.1, 0.0, 0.0)])[0]
        ('degree 2, 64 runs: dimensionless at least as good as raw', True)
    """
    rules = []
    for line in lines:
        if line.settings.get("degree") != "2":
            continue
        n, model = line.settings["n"], line.settings.get("inputs", "")
        if line.quantity == "gain":
            rules.append((f"degree 2, {n} runs: dimensionless at least as good as raw", line.measured >= 0))
        if (line.quantity, model) == ("change_by_units", "dimensionless"):
            rules.append((f"degree 2, {n} runs: dimensionless unchanged in other units", line.measured <= EXACT))
        if (line.quantity, model) == ("r2_other_units", "raw"):
            rules.append((f"degree 2, {n} runs: raw fails in other units (R^2 < 0)", line.measured < 0))
    return sorted(rules, key=lambda rule: rule[0].partition(": ")[2])


class EquationDiscovery(Simulation):
    """The equations of vegetation found back from snapshots, with noise on the derivatives.

    Args:
        num_cells: along a side, 2 m each; the unit of length of the equations stays 200 m.
        snapshots, every: number of snapshots, and steps between two.
        noises: standard deviations of the noise, as shares of that of each derivative.
        draws: of the noise.
        threshold: of ``discover``.
        seed: of the first cells and of the noise.

    Raises:
        ConfigError: numbers below one.
    """

    def __init__(
        self,
        num_cells: int = 32,
        snapshots: int = 20,
        every: int = 600,
        noises: list[float] | None = None,
        draws: int = 60,
        threshold: float = THRESHOLD,
        seed: int = 0,
    ) -> None:
        if min(num_cells, snapshots, every, draws) < 1:
            raise ConfigError("expected num_cells, snapshots, every and draws >= 1")
        self.num_cells, self.noises, self.draws = num_cells, noises if noises is not None else [0.0, 0.01], draws
        self.steps, self.threshold, self.seed = [every * (1 + each) for each in range(snapshots)], threshold, seed

    def run(self) -> list[Measured]:
        """Simulate once; fit for each noise and draw."""
        model, random = Rietkerk(L=2.0 * self.num_cells), streams(self.seed)
        start = model.start(planted(self.num_cells, 1, random["init"]))
        data = pattern_data(model, start, self.steps, LENGTH, progress=True).dimensionless(SCALES)
        expected, lines = expected_coefficients(model, LENGTH), []
        for noise in self.noises:
            draws = self.draws if noise else 1
            fits = [discover(data.with_noise(noise, random["noise"]), LIBRARY, threshold=self.threshold) for _ in range(draws)]
            condition = max(each.condition for each in fits[0].values())
            lines.append(Measured("condition", {"noise": f"{noise:g}"}, condition, 0.0, math.nan, "unknown"))
            exact = [all(set(fit[f].support) == set(terms) for f, terms in expected.items()) for fit in fits]
            settings = {"noise": f"{noise:g}", "draws": str(draws)}
            lines.append(Measured("exact_support", settings, sum(exact) / draws, 0.0, 1.0, "exact"))
            worst = 0.0
            for field, terms in expected.items():
                for term, value in terms.items():
                    found = [fit[field].support.get(term, 0.0) for fit in fits]
                    worst = max(worst, *(abs(each / value - 1) for each in found))
                    named = {"noise": f"{noise:g}", "draws": str(draws), "field": field, "term": term}
                    lines.append(Measured("coefficient", named, *mean_and_error(found), value, "exact"))
            lines.append(Measured("largest_error", settings, worst, 0.0, LARGEST_ERROR.get(noise, math.nan), "upper bound"))
        return lines

    def summary(self, lines: Sequence[Measured]) -> str:
        """The equations of the noisiest draw, and whether they count as found."""
        noise, rows = f"{self.noises[-1]:g}", []
        for field in ("u", "w", "v"):
            mine = [each for each in lines if each.settings.get("field") == field and each.settings["noise"] == noise]
            terms = " ".join(f"{each.measured:+.5g} ({each.expected:+.5g}) {each.settings['term']}" for each in mine)
            rows.append(f"d{field}/dt = {terms}")
        verdicts = [f"{rule}: {'met' if is_met else 'not met'}" for rule, is_met in discovery_rules(lines)]
        return "\n\n".join([f"Noise {noise}, coefficients found, in brackets expected:", *rows, "\n".join(verdicts)])

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Relative errors of all coefficients, one mark for each noise."""
        from gnet.study.plots import COLOURS, MARKERS, PAGE, new_figure

        figure = new_figure(PAGE, 0.5 * PAGE)
        axes = figure.subplots()
        for index, noise in enumerate(self.noises):
            mine = [line for line in lines if line.quantity == "coefficient" and line.settings["noise"] == f"{noise:g}"]
            names = [f"{line.settings['field']}: {line.settings['term']}" for line in mine]
            errors = [max(abs(line.measured / line.expected - 1), 1e-16) for line in mine]
            axes.plot(names, errors, ls="", marker=MARKERS[index], color=COLOURS[index], label=f"noise {noise:g}")
        axes.set(yscale="log", ylabel="relative error of the mean")
        axes.tick_params(axis="x", rotation=60)
        axes.legend()
        return figure


def discovery_rules(lines: Sequence[Measured]) -> list[tuple[str, bool]]:
    """Exact support in every draw, and coefficients within the limit of their noise.

    Example:
        >>> discovery_rules([Measured("exact_support", {"noise": "0.01", "draws": "60"}, 1.0, 0.0, 1.0)])
        [('noise 0.01: exact support in all 60 draws', True)]
    """
    rules = []
    for line in lines:
        noise = line.settings["noise"]
        if line.quantity == "exact_support":
            rules.append((f"noise {noise}: exact support in all {line.settings['draws']} draws", line.measured == 1))
        if line.quantity == "largest_error" and not math.isnan(line.expected):
            rules.append((f"noise {noise}: coefficients within {line.expected:g}", line.measured <= line.expected))
    return rules


class PatternOverTime(Simulation):
    """Vegetation over time from random cells, as pictures; the wavelength of the pattern beside that which grows fastest.

    Args:
        rain: R in litres per day and square metre.
        seeds: repetitions, batched.
        times: days of the pictures, ascending.
        side: L in metres.

    Raises:
        ConfigError: no seed, or no times.
    """

    def __init__(self, rain: float = 0.375, seeds: int = 3, times: list[float] | None = None, side: float = 200.0) -> None:
        self.times = times or [0.0, 10.0, 50.0, 100.0, 150.0, 200.0]
        if seeds < 1:
            raise ConfigError(f"expected seeds >= 1, got {seeds}")
        self.model, self.seeds = Rietkerk(R=torch.full((seeds,), rain, dtype=torch.float64), L=side, T=self.times[-1]), seeds
        self.steps = [round(each / float(self.model["dt"][0])) for each in self.times]
        self.states = torch.zeros(0)

    def run(self) -> list[Measured]:
        """Simulate all seeds at once."""
        n = self.model.num_cells
        cells = torch.cat([planted(n, 1, streams(seed)["init"]) for seed in range(self.seeds)])
        self.states = solve(self.model, self.model.start(cells), self.steps, progress=True)
        lines = []
        for time, mean in zip(self.times, self.states[:, :, 2].mean((2, 3)), strict=True):
            lines.append(Measured("mean_vegetation", {"day": f"{time:g}"}, *mean_and_error(mean.tolist()), math.nan, "unknown"))
        found = wavelength(self.states[-1, :, 2], float(self.model["L"][0]))
        fastest = float(self.model.fastest_wavelength()[0])
        lines.append(Measured("wavelength", {"day": f"{self.times[-1]:g}"}, *mean_and_error(found.tolist()), fastest, "unknown"))
        return lines

    def summary(self, lines: Sequence[Measured]) -> str:
        """Mean vegetation at each time."""
        rows = ["| day | mean vegetation, g / m² |", "| --- | --- |"]
        means = [line for line in lines if line.quantity == "mean_vegetation"]
        rows += [f"| {each.settings['day']} | {each.measured:.3f} ± {each.standard_error:.3f} |" for each in means]
        last = next(line for line in lines if line.quantity == "wavelength")
        text = f"Wavelength of the pattern {last.measured:.1f} m; {last.expected:.1f} m grows fastest on the uniform state."
        return "\n".join([*rows, "", text])

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Maps of vegetation and soil water of the first seed."""
        return plot_pattern(self.model, self.states, self.steps, fields=("v", "w"))


def wavelength(field: Tensor, side: float) -> Tensor:
    """One over the mean wave number of a pattern on a square torus, weighted by the power spectrum.

    Shapes:
        field: (B, n, n)    returns: (B,)

    Example:
        >>> x = torch.arange(16) / 16
        >>> wavelength((4 * math.pi * x).sin().expand(1, 16, 16), 100.0)
        tensor([50.])
    """
    power = torch.fft.fft2(field - field.mean((1, 2), keepdim=True)).abs().square()
    along = torch.fft.fftfreq(field.shape[-1], side / field.shape[-1])
    number = (along[:, None] ** 2 + along**2).sqrt()
    return power.sum((1, 2)) / (power * number).sum((1, 2))


def _by_settings(lines: Sequence[Measured]) -> dict[tuple[str, str, str, str], float]:
    found = {}
    for line in lines:
        key = (line.quantity, *(line.settings.get(name, "") for name in ("inputs", "degree", "n")))
        found[key[0], key[1], key[2], key[3]] = line.measured
    return found
