"""A target that a known set of rotations leaves nearly as it is: what the symmetry gains, what the defect costs."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gnet.errors import ConfigError
from gnet.study.circle import SIXTEEN, Rotations, largest_change, largest_gaps, nearest, rotated, slope
from gnet.study.simulate import Kind, Measured, Simulation
from gnet.theory import (
    approximation_gap,
    element_approximation_gap,
    generalisation_bound,
    optimal_model_error,
    shrinkage_factor,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]


class PartialSymmetry(Simulation):
    """Functions on the circle of circumference 1, its rotations by sixteenths, and a target that some of them nearly keep.

    The target is f*(t) = sqrt(2) (a cos(2 pi h t) + b cos(2 pi t)): the h rotations by multiples of 1 / h keep the first part
    and move the second, the defect, whose root mean square is b. So it is known how far each rotation moves the target. Model
    error and data error are both swept, in four measurements beside theory:

    - data error: how far each rotation moves the target, against the closed form;
    - generalisation: models are the functions of slope at most ``lipschitz`` that a set H of rotations, a group or not, changes
      by at most the model error e anywhere; losses are the distances |f - f*| of those that lie above the target. The largest gap
      between mean and expectation of the loss over *all* these models is found by a linear program for each sample. A rotation
      of H changes the loss by at most e + d, with d the largest change of the target: epsilon in ``generalisation_bound``;
    - approximation: the model nearest to the target, by numerical minimisation, among those whose model error (a root mean square
      here and below) is limited: over the h rotations together, against ``approximation_gap``, and for one rotation alone,
      against ``element_approximation_gap``;
    - estimation: least squares of all Fourier coefficients, with what the h rotations would take away multiplied by lambda; the
      risk, and the model error at which the draws' own risk is lowest, against ``optimal_model_error``. Samples are equidistant
      from a random start, so that Fourier functions are orthogonal on them and theory is exact.

    Bounds on gaps are those of their mean, without the term that makes a probability of it.

    Args:
        rotations: name -> a set H in sixteenths of a turn; the identity is always a member.
        symmetric_under: the h of the target, which divides 16.
        amplitude: a.
        defects: b.
        model_errors: e.
        factors: lambda.
        sizes: numbers of samples n; estimation needs more than twice ``harmonics``.
        lipschitz: of the models.
        points: of the circle on which generalisation and approximation are measured, a multiple of 16.
        harmonics: cosines and sines that are fitted, beside the constant.
        sigma_xi: standard deviation of the noise.
        num_trials: training sets for each number of estimation.
        num_samples: samples for each number of generalisation.
        seed: of everything that is drawn.

    Raises:
        ConfigError: settings that do not fit together.

    References:
        Petrache and Trivedi (2023), arXiv:2305.17592, whose bounds are restated in ``gnet.theory``.
    """

    def __init__(
        self,
        rotations: dict[str, list[int]] | None = None,
        symmetric_under: int = 4,
        amplitude: float = 0.1,
        defects: list[float] | None = None,
        model_errors: list[float] | None = None,
        factors: list[float] | None = None,
        sizes: list[int] | None = None,
        lipschitz: float = 10.0,
        points: int = 64,
        harmonics: int = 12,
        sigma_xi: float = 1.0,
        num_trials: int = 400,
        num_samples: int = 40,
        seed: int = 0,
    ) -> None:
        default = {"none": [0], "3 of 4": [-4, 0, 4], "4": [0, 4, 8, 12], "16": list(range(SIXTEEN))}
        self.rotations = {name: Rotations.of(each) for name, each in (default if rotations is None else rotations).items()}
        self.defects = [0.0, 0.1, 0.2, 0.4] if defects is None else defects
        self.model_errors = [0.0, 0.05, 0.1, 0.2, 0.4] if model_errors is None else model_errors
        self.factors = [0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 1.0] if factors is None else factors
        self.sizes = [32, 128, 512] if sizes is None else sorted(sizes)
        self.h, self.amplitude, self.lipschitz = symmetric_under, amplitude, lipschitz
        self.points, self.harmonics, self.sigma_xi = points, harmonics, sigma_xi
        self.num_trials, self.num_samples, self.seed = num_trials, num_samples, seed
        if not self.rotations or symmetric_under < 2 or SIXTEEN % symmetric_under or points % SIXTEEN or points < 2 * SIXTEEN:
            raise ConfigError(
                "expected a set of rotations, a target with 2, 4, 8 or 16 of them, and 32, 48, 64 ... points, "
                f"got {list(self.rotations)}, {symmetric_under}, {points}"
            )
        if harmonics < symmetric_under or self.sizes[0] <= 2 * harmonics or min(num_trials, num_samples) < 2:
            raise ConfigError(
                f"expected harmonics >= {symmetric_under}, more than twice as many samples, and two trials, "
                f"got {harmonics}, {self.sizes[0]}, {min(num_trials, num_samples)}"
            )
        if min(*self.defects, *self.model_errors, *self.factors, amplitude, lipschitz, sigma_xi) < 0:
            raise ConfigError("expected defects, model errors, factors, amplitude, lipschitz and sigma_xi >= 0")

    def run(self) -> list[Measured]:
        """All four."""
        rng = np.random.default_rng(self.seed)
        return [*self._rotated(), *self._generalisation(rng), *self._approximation(), *self._estimation(rng)]

    def _coefficients(self, defect: float) -> Array:
        """Of the target in the orthonormal basis: constant, cosines 1..K, sines 1..K."""
        coefficients = np.zeros(1 + 2 * self.harmonics)
        coefficients[self.h] += self.amplitude
        coefficients[1] += defect
        return coefficients

    def _target(self, defect: float) -> Array:
        """On the points."""
        return np.asarray(self._basis(np.arange(self.points) / self.points) @ self._coefficients(defect))

    def _lost(self) -> NDArray[np.bool_]:
        """Which coefficients the h rotations take away: those whose frequency h does not divide."""
        frequency = np.concatenate([[0], np.arange(1, self.harmonics + 1), np.arange(1, self.harmonics + 1)])
        return frequency % self.h != 0

    def _moved(self, defect: float, rotation: int) -> float:
        """||f*(. + rotation / 16) - f*|| by the closed form."""
        parts = [(self.amplitude, self.h), (defect, 1)]
        return math.sqrt(sum((2 * size * math.sin(math.pi * rate * rotation / SIXTEEN)) ** 2 for size, rate in parts))

    def _rotated(self) -> list[Measured]:
        lines = []
        for defect in self.defects:
            target = self._target(defect)
            for k in range(SIXTEEN):
                settings = {"defect": f"{defect:g}", "rotation": f"{k}/16"}
                lines.append(
                    Measured("data_error_of_rotation", settings, _rms(rotated(target, k) - target), 0.0, self._moved(defect, k))
                )
        return lines

    def _generalisation(self, rng: np.random.Generator) -> list[Measured]:
        """Of models above the target |f - f*| is f - f*, so that its largest gap is that of f and the target's own."""
        lines = []
        for n in self.sizes:
            places = rng.integers(self.points, size=(self.num_samples, n))
            weights = np.stack([np.bincount(each, minlength=self.points) / n for each in places]) - 1 / self.points
            for name, group in self.rotations.items():
                for allowed in self.model_errors if len(group.members) > 1 else [0.0]:
                    of_models = largest_gaps(weights, group, self.lipschitz, allowed)
                    for defect in self.defects:
                        target = self._target(defect)
                        settings = {"rotations": name, "model_error": f"{allowed:g}", "defect": f"{defect:g}", "n": str(n)}
                        bound = self.gap_bound(group, allowed, target, n)
                        lines.append(
                            _mean("generalisation_gap", settings, of_models + np.abs(weights @ target), bound, "upper bound")
                        )
        return lines

    def gap_bound(self, group: Rotations, model_error: float, target: Array, n: int) -> float:
        """On the mean of the largest gap of models with this error, on n samples."""
        epsilon = model_error + largest_change(target, group.members)
        radii, cells = group.covering(is_exact=epsilon < 1e-9)
        steepest = self.lipschitz + slope(target)
        bound = generalisation_bound(radii, cells, n, lipschitz=steepest, epsilon=epsilon, largest_loss=0.0)
        return bound.covering + bound.asymmetry

    def _approximation(self) -> list[Measured]:
        """The h rotations together change f by sqrt(2) ||f_lost|| in root mean square, a single one by its own model error."""
        lines, together = [], [step * SIXTEEN // self.h for step in range(self.h)]
        singles = {f"{k}/16": k for k in (1, SIXTEEN // self.h, SIXTEEN // 2)}
        for defect in self.defects:
            target = self._target(defect)
            for allowed in self.model_errors:
                settings = {"defect": f"{defect:g}", "model_error": f"{allowed:g}"}
                distance = _rms(nearest(target, together, math.sqrt(2) * allowed) - target)
                lines.append(Measured("approximation_error", settings, distance, 0.0, approximation_gap(defect, allowed)))
                for name, k in singles.items():
                    distance = _rms(nearest(target, [k], allowed) - target)
                    least = element_approximation_gap(self._moved(defect, k), allowed)
                    one = settings | {"rotation": name}
                    lines.append(Measured("approximation_error_of_rotation", one, distance, 0.0, least, "lower bound"))
        return lines

    def _estimation(self, rng: np.random.Generator) -> list[Measured]:
        lines, lost = [], self._lost()
        for defect in self.defects:
            target = self._coefficients(defect)
            for n in self.sizes:
                noise = self.sigma_xi**2 / n  # of each coefficient
                variance, kept = noise * lost.sum(), noise * (~lost).sum()
                fits = np.stack([self._fit(target, n, rng) for _ in range(self.num_trials)])
                settings = {"defect": f"{defect:g}", "n": str(n)}
                for factor in sorted({*self.factors, shrinkage_factor(defect**2, variance)}):
                    errors = np.sum((np.where(lost, factor * fits, fits) - target) ** 2, axis=1)
                    expected = (1 - factor) ** 2 * defect**2 + factor**2 * variance + kept
                    lines.append(_mean("risk", {**settings, "factor": f"{factor:g}"}, errors, expected))
                value, error = _lowest_model_error(fits[:, lost], target[lost])
                expected = optimal_model_error(defect**2, variance)
                lines.append(Measured("optimal_model_error", settings, value, error, expected))
        return lines

    def _fit(self, target: Array, n: int, rng: np.random.Generator) -> Array:
        basis = self._basis(rng.random() + np.arange(n) / n)
        y = basis @ target + self.sigma_xi * rng.standard_normal(n)
        return np.asarray(np.linalg.lstsq(basis, y, rcond=None)[0], dtype=np.float64)

    def _basis(self, t: Array) -> Array:
        angles = 2 * np.pi * np.outer(t, np.arange(1, self.harmonics + 1))
        return np.hstack([np.ones((len(t), 1)), math.sqrt(2) * np.cos(angles), math.sqrt(2) * np.sin(angles)])

    def summary(self, lines: Sequence[Measured]) -> str:
        """Whether bounds held, how near theory was, and what the symmetry gained."""
        text = []
        for kind, side in (("upper bound", 1), ("lower bound", -1)):
            mine = [line for line in lines if line.kind == kind]
            held = sum(side * (line.expected - line.measured) >= -1e-9 for line in mine)
            text.append(f"{held} of {len(mine)} numbers keep their {kind}.")
        exact = [line for line in lines if line.kind == "exact" and line.standard_error > 0]
        near = np.mean([abs(line.measured - line.expected) < 2 * line.standard_error for line in exact])
        text.append(f"{near:.0%} of {len(exact)} estimated risks and model errors lie within 2 standard errors of theory.")
        first = [line for line in lines if line.settings.get("n") == str(self.sizes[0])]
        gaps = [line for line in first if line.kind == "upper bound" and float(line.settings["defect"]) == self.defects[0]]
        for line in gaps:
            name, allowed = line.settings["rotations"], line.settings["model_error"]
            text.append(
                f"n = {self.sizes[0]}, rotations {name}, model error {allowed}: largest gap {line.measured:.3f}, "
                f"bound {line.expected:.3f}."
            )
        for line in first:
            if line.quantity == "optimal_model_error" and line.measured > 0:
                text.append(
                    f"Data error {line.settings['defect']}: the best model error at n = {self.sizes[0]} is "
                    f"{math.sqrt(line.measured):.3f} (theory {math.sqrt(line.expected):.3f})."
                )
        return "\n".join(text)

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Six panels: data error of each rotation, three of generalisation, approximation, estimation."""
        from gnet.study.plots import PAGE, new_figure

        figure = new_figure(PAGE, 5.4)
        panels = figure.subplots(2, 3).ravel()
        named: dict[str, list[Measured]] = {}
        for line in lines:
            named.setdefault(line.quantity, []).append(line)
        few, exact, sound = str(self.sizes[0]), f"{self.model_errors[0]:g}", f"{self.defects[0]:g}"
        gaps, defects = named["generalisation_gap"], [f"{each:g}" for each in self.defects]
        _draw(panels[0], named["data_error_of_rotation"], "defect", defects, "rotation")
        panels[0].set(title="data error", xlabel="rotation, sixteenths of a turn", ylabel="how far it moves the target")
        sets: dict[str, Any] = {"by": "rotations", "values": list(self.rotations), "first": 4}
        _draw(panels[1], _those(gaps, model_error=exact, defect=sound), along="n", **sets)
        panels[1].set(title="generalisation against n", xlabel=f"training samples n (model error {exact})")
        _draw(panels[2], _those(gaps, defect=sound, n=few), along="model_error", **sets)
        panels[2].set(title="against model error", xlabel=f"model error allowed (n = {few})")
        _draw(panels[3], _those(gaps, model_error=exact, n=few), along="defect", **sets)
        panels[3].set(title="against data error", xlabel=f"defect of the target (n = {few})")
        for axes in panels[1:4]:
            axes.set(ylabel="largest gap, and its bound", yscale="log")
        _draw(panels[4], named["approximation_error"], "defect", defects, "model_error")
        panels[4].set(title="approximation", xlabel="model error allowed", ylabel="distance from the target")
        optimal = [line for line in named["optimal_model_error"] if line.measured > 0]
        _draw(panels[5], optimal, "defect", defects, "n", root=True)
        panels[5].set(title="estimation", xlabel="training samples n", ylabel="model error of lowest risk")
        for axes in (panels[1], panels[5]):
            axes.set_xscale("log")
            axes.set_xticks(self.sizes, [str(n) for n in self.sizes])
            axes.set_xticks([], minor=True)
        legend: dict[str, Any] = {"ncols": 4, "handlelength": 1.5}
        figure.legend(*panels[0].get_legend_handles_labels(), title="defect", loc="outside lower left", **legend)
        figure.legend(*panels[1].get_legend_handles_labels(), title="rotations H", loc="outside lower right", **legend)
        bars = f"bars: one standard error (n = {self.num_trials} training sets; of gaps, {self.num_samples} samples)"
        figure.suptitle(f"marks: measured; lines: theory, for gaps a bound; {bars}", fontsize=8)
        return figure


def _those(lines: Sequence[Measured], **wanted: str) -> list[Measured]:
    return [line for line in lines if all(line.settings[name] == value for name, value in wanted.items())]


def _draw(
    axes: "Axes",
    lines: Sequence[Measured],
    by: str,
    values: Sequence[str],
    along: str,
    *,
    first: int = 0,
    root: bool = False,
) -> None:
    """A colour and a mark for each value of one setting, against another setting; of squares their roots.

    Marks from the fifth on are hollow, so that sets of rotations that gain the same can be told apart.
    """
    from gnet.study.plots import COLOURS, MARKERS

    for number, value in enumerate(values):
        mine, colour = _those(lines, **{by: value}), COLOURS[number]
        at = [float(line.settings[along].partition("/")[0]) for line in mine]
        measured, expected, errors = (
            np.array([getattr(line, name) for line in mine]) for name in ("measured", "expected", "standard_error")
        )
        if root:
            errors, measured, expected = errors / (2 * np.sqrt(measured)), np.sqrt(measured), np.sqrt(expected)
        axes.plot(at, expected, color=colour, linewidth=0.9)
        look: dict[str, Any] = {"markerfacecolor": "none", "markersize": 7 - 1.2 * number} if first else {"markersize": 3.5}
        axes.errorbar(at, measured, yerr=errors, fmt=MARKERS[first + number], color=colour, capsize=1.5, label=value, **look)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _lowest_model_error(fits: Array, target: Array) -> tuple[float, float]:
    """Squared model error lambda^2 mean |fit|^2 at the lambda of lowest mean risk over the draws, and its standard error.

    That lambda is mean <fit, target> over mean |fit|^2; the error follows by the delta method.
    """
    over, under = fits @ target, np.sum(fits**2, axis=1)
    if not over.any():
        return 0.0, 0.0
    value = over.mean() ** 2 / under.mean()
    relative = 2 * over / over.mean() - under / under.mean()
    return float(value), float(value * relative.std(ddof=1) / math.sqrt(len(over)))


def _mean(quantity: str, settings: dict[str, str], values: Array, expected: float, kind: Kind = "exact") -> Measured:
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return Measured(quantity, settings, float(values.mean()), error, float(expected), kind)
