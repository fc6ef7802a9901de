"""A target that a known set of rotations leaves nearly as it is: what the symmetry gains, what the defect costs."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gnet.errors import ConfigError
from gnet.study.simulate import Measured, Simulation
from gnet.theory import approximation_gap, generalisation_bound, optimal_model_error, shrinkage_factor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
LEVELS = 14


class PartialSymmetry(Simulation):
    """Functions on the circle of circumference 1, the rotations by k / 16 of it, and a target that a few of them keep.

    The target is f*(t) = cos(2 pi h t) + sqrt(2) b cos(2 pi t): the h rotations by multiples of 1 / h keep the first part and
    move the second, the defect, whose root mean square is b. So of all rotations it is known by how much each moves the target,
    and for every epsilon which set of them, a group or not, moves it by at most epsilon.

    Three measurements, each beside theory:

    - generalisation: the largest gap between mean and expectation over all functions u + v with u 1-Lipschitz and invariant under
      h rotations and |v| <= epsilon / 2, which rotations change by at most epsilon. It is the transport distance of the sample
      to the uniform distribution on the circle modulo rotations, plus epsilon; the bound is that of ``generalisation_bound``;
    - approximation: the distance of the target from functions with ||f_lost|| <= model error, found by a fit of Fourier
      coefficients to the noiseless target, against ``approximation_gap``;
    - estimation: least squares of all Fourier coefficients, with what the h rotations would take away multiplied by lambda; the
      risk, and the model error at which it is lowest, against ``optimal_model_error``. Samples are equidistant from a random
      start, so that Fourier functions are orthogonal on them and theory is exact.

    Args:
        rotations: sizes h of the groups of rotations that are compared; each divides 16.
        symmetric_under: the h of the target.
        epsilons: asymmetries of the losses, for the first measurement.
        defects: b, for the other two.
        model_errors: of the second.
        factors: lambda, of the third.
        sizes: numbers of samples n; the third needs more than twice ``harmonics``.
        harmonics: cosines and sines that are fitted, beside the constant.
        sigma_xi: standard deviation of the noise.
        num_trials: samples drawn for each number.
        seed: of everything that is drawn.

    Raises:
        ConfigError: settings that do not fit together.

    References:
        Petrache and Trivedi (2023), arXiv:2305.17592, whose bounds are restated in ``gnet.theory``.
    """

    def __init__(
        self,
        rotations: list[int] | None = None,
        symmetric_under: int = 4,
        epsilons: list[float] | None = None,
        defects: list[float] | None = None,
        model_errors: list[float] | None = None,
        factors: list[float] | None = None,
        sizes: list[int] | None = None,
        harmonics: int = 12,
        sigma_xi: float = 1.0,
        num_trials: int = 400,
        seed: int = 0,
    ) -> None:
        self.rotations = [1, 2, 4, 8, 16] if rotations is None else rotations
        self.epsilons = [0.0, 0.05] if epsilons is None else epsilons
        self.defects = [0.0, 0.1, 0.2, 0.4] if defects is None else defects
        self.model_errors = [0.0, 0.05, 0.1, 0.2, 0.3, 0.5] if model_errors is None else model_errors
        self.factors = [0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 1.0] if factors is None else factors
        self.sizes = [32, 128, 512, 2048] if sizes is None else sorted(sizes)
        self.h, self.harmonics, self.sigma_xi = symmetric_under, harmonics, sigma_xi
        self.num_trials, self.seed = num_trials, seed
        if any(16 % h for h in (*self.rotations, symmetric_under)) or symmetric_under < 2:
            raise ConfigError(f"expected numbers of rotations that divide 16, and a target with 2 or more, got {self.rotations}")
        if harmonics < symmetric_under or self.sizes[0] <= 2 * harmonics or num_trials < 2:
            raise ConfigError(
                f"expected harmonics >= {symmetric_under}, more than twice as many samples, and two trials, "
                f"got {harmonics}, {self.sizes[0]}, {num_trials}"
            )
        if min(*self.epsilons, *self.defects, *self.model_errors, *self.factors, sigma_xi) < 0:
            raise ConfigError("expected epsilons, defects, model errors, factors and sigma_xi >= 0")

    def run(self) -> list[Measured]:
        """All three, and how much each rotation moves the target."""
        rng = np.random.default_rng(self.seed)
        return [*self._rotated(), *self._generalisation(rng), *self._approximation(), *self._estimation(rng)]

    def _target(self, defect: float) -> Array:
        """Its coefficients in the orthonormal basis: constant, cosines 1..K, sines 1..K."""
        coefficients = np.zeros(1 + 2 * self.harmonics)
        coefficients[self.h] += 1 / math.sqrt(2)
        coefficients[1] += defect
        return coefficients

    def _lost(self) -> NDArray[np.bool_]:
        """Which coefficients the h rotations take away: those whose frequency h does not divide."""
        frequency = np.concatenate([[0], np.arange(1, self.harmonics + 1), np.arange(1, self.harmonics + 1)])
        return frequency % self.h != 0

    def _rotated(self) -> list[Measured]:
        """||f*(. + k / 16) - f*||: on a grid, against the closed form."""
        lines, grid = [], np.arange(4096) / 4096
        for defect in self.defects:
            for k in range(16):
                values = [self._basis(t) @ self._target(defect) for t in (grid, grid + k / 16)]
                measured = float(np.sqrt(np.mean((values[1] - values[0]) ** 2)))
                parts = [(math.sqrt(0.5), self.h), (defect, 1)]
                exact = math.sqrt(sum((2 * size * math.sin(math.pi * frequency * k / 16)) ** 2 for size, frequency in parts))
                settings = {"defect": f"{defect:g}", "rotation": f"{k}/16"}
                lines.append(Measured("data_error_of_rotation", settings, measured, 0.0, exact))
        return lines

    def _generalisation(self, rng: np.random.Generator) -> list[Measured]:
        lines = []
        for h in self.rotations:
            # The circle modulo h rotations has circumference 1 / h: an arc of length r has diameter r, at most half of it.
            radii, cells = [0.5 / h], [1.0]
            for level in range(1, LEVELS):
                radii.append(min(0.5, 2.0**-level) / h)
                cells.append(2.0**level)
            for n in self.sizes:
                gaps = _distances_to_uniform(rng.random((self.num_trials, n)) % (1 / h), 1 / h)
                for epsilon in self.epsilons:
                    bound = generalisation_bound(radii, cells, n, epsilon=epsilon, largest_loss=0.0)
                    error = float(np.std(gaps, ddof=1)) / math.sqrt(len(gaps))
                    settings = {"rotations": str(h), "epsilon": f"{epsilon:g}", "n": str(n)}
                    value = bound.covering + bound.asymmetry
                    lines.append(Measured("generalisation_gap", settings, float(np.mean(gaps)) + epsilon, error, value, True))
        return lines

    def _approximation(self) -> list[Measured]:
        lines, lost, grid = [], self._lost(), np.arange(512) / 512
        basis = self._basis(grid)
        for defect in self.defects:
            values = basis @ self._target(defect)
            for allowed in self.model_errors:
                coefficients = np.linalg.lstsq(basis, values, rcond=None)[0]
                size = float(np.linalg.norm(coefficients[lost]))
                coefficients[lost] *= min(1.0, allowed / size) if size > 0 else 0.0
                measured = float(np.sqrt(np.mean((basis @ coefficients - values) ** 2)))
                settings = {"defect": f"{defect:g}", "model_error": f"{allowed:g}"}
                lines.append(Measured("approximation_error", settings, measured, 0.0, approximation_gap(defect, allowed)))
        return lines

    def _estimation(self, rng: np.random.Generator) -> list[Measured]:
        lines, lost = [], self._lost()
        for defect in self.defects:
            target = self._target(defect)
            for n in self.sizes:
                noise = self.sigma_xi**2 / n  # of each coefficient
                variance, kept = noise * lost.sum(), noise * (~lost).sum()
                fits = np.stack([self._fit(target, n, rng) for _ in range(self.num_trials)])
                settings = {"defect": f"{defect:g}", "n": str(n)}
                best = shrinkage_factor(defect**2, variance)
                for factor in sorted({*self.factors, best}):
                    errors = np.sum((np.where(lost, factor * fits, fits) - target) ** 2, axis=1)
                    expected = (1 - factor) ** 2 * defect**2 + factor**2 * variance + kept
                    lines.append(_mean("risk", {**settings, "factor": f"{factor:g}"}, errors, expected))
                sizes = np.sum((best * fits[:, lost]) ** 2, axis=1)
                lines.append(_mean("optimal_model_error", settings, sizes, optimal_model_error(defect**2, variance)))
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
        bounds = [line for line in lines if line.is_bound]
        held = sum(line.measured <= line.expected for line in bounds)
        exact = [line for line in lines if not line.is_bound and line.standard_error > 0]
        near = np.mean([abs(line.measured - line.expected) < 2 * line.standard_error for line in exact])
        text = [
            f"{held} of {len(bounds)} generalisation gaps lie below their bound.",
            f"{near:.0%} of {len(exact)} estimated risks and model errors lie within 2 standard errors of theory.",
        ]
        first = [line for line in lines if line.settings.get("n") == str(self.sizes[0])]
        gaps = {line.settings["rotations"]: line for line in first if line.is_bound and line.settings["epsilon"] == "0"}
        if {"1", "16"} <= set(gaps):
            ratio = gaps["1"].measured / gaps["16"].measured
            text.append(f"16 exact rotations divide the gap at n = {self.sizes[0]} by {ratio:.1f}.")
        for line in first:
            defect = float(line.settings.get("defect", 0))
            if line.quantity == "optimal_model_error" and defect > 0:
                text.append(
                    f"Data error {defect:g}: the best model error at n = {self.sizes[0]} is {math.sqrt(line.measured):.3f} "
                    f"(theory {math.sqrt(line.expected):.3f})."
                )
        return "\n".join(text)

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Four panels: data error of each rotation, generalisation, approximation, estimation."""
        from gnet.study.plots import new_figure

        figure = new_figure(12.0, 3.4)
        panels = figure.subplots(1, 4)
        named: dict[str, list[Measured]] = {}
        for line in lines:
            named.setdefault(line.quantity, []).append(line)
        _draw_rotations(panels[0], named["data_error_of_rotation"])
        _draw_gaps(panels[1], named["generalisation_gap"])
        _draw_curves(panels[2], named["approximation_error"], "defect", "model_error", "data error")
        panels[2].set(title="approximation", xlabel="model error allowed", ylabel="distance from the target")
        optimal = [line for line in named["optimal_model_error"] if float(line.settings["defect"]) > 0]
        _draw_curves(panels[3], optimal, "defect", "n", "data error", root=True)
        panels[3].set(title="best model error", xlabel="training samples n", ylabel="model error of lowest risk", xscale="log")
        for number, defect in enumerate(sorted({float(line.settings["defect"]) for line in optimal})):
            panels[3].axhline(defect, color=_colour(number), linestyle=":", linewidth=0.8)
        for axes in panels:
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, fontsize=5.5)
        trials = f"n = {self.num_trials} trials, bars: one standard error"
        shown = f"marks: measured ({trials}); lines: theory; dotted: the data error that the model error tends to"
        figure.suptitle(shown, fontsize=8)
        return figure


def _colour(number: int) -> str:
    from gnet.study.plots import COLOURS

    return COLOURS[number % len(COLOURS)]


def _draw_rotations(axes: "Axes", lines: Sequence[Measured]) -> None:
    for number, defect in enumerate(dict.fromkeys(line.settings["defect"] for line in lines)):
        mine = [line for line in lines if line.settings["defect"] == defect]
        at = range(len(mine))
        axes.plot(at, [line.expected for line in mine], color=_colour(number), linewidth=0.8)
        _marks(axes, number, at, [line.measured for line in mine], f"defect {defect}")
    axes.set(title="data error", xlabel="rotation, sixteenths of a turn", ylabel="how far it moves the target")


def _draw_gaps(axes: "Axes", lines: Sequence[Measured]) -> None:
    groups = list(dict.fromkeys(line.settings["rotations"] for line in lines))
    epsilons = list(dict.fromkeys(line.settings["epsilon"] for line in lines))
    for number, h in enumerate(groups):
        for epsilon, style in zip(epsilons, ("-", "--", ":", "-."), strict=False):
            mine = [line for line in lines if line.settings["rotations"] == h and line.settings["epsilon"] == epsilon]
            at = [int(line.settings["n"]) for line in mine]
            axes.plot(at, [line.expected for line in mine], style, color=_colour(number), linewidth=0.8)
            label = f"{h} rotations" if epsilon == epsilons[0] else None
            _marks(axes, number, at, [line.measured for line in mine], label)
    shown = ", ".join(f"{style} {epsilon}" for style, epsilon in zip(("-", "--", ":", "-."), epsilons, strict=False))
    axes.set(title=f"generalisation, epsilon: {shown}", xlabel="training samples n", ylabel="largest gap, and its bound")
    axes.set(xscale="log", yscale="log")


def _draw_curves(axes: "Axes", lines: Sequence[Measured], by: str, along: str, what: str, *, root: bool = False) -> None:
    for number, value in enumerate(dict.fromkeys(line.settings[by] for line in lines)):
        mine = [line for line in lines if line.settings[by] == value]
        at = [float(line.settings[along]) for line in mine]
        measured, expected = (np.array([getattr(line, name) for line in mine]) for name in ("measured", "expected"))
        errors = np.array([line.standard_error for line in mine])
        if root:
            errors, measured, expected = errors / (2 * np.sqrt(measured)), np.sqrt(measured), np.sqrt(expected)
        axes.plot(at, expected, color=_colour(number), linewidth=0.8)
        _marks(axes, number, at, measured, f"{what} {value}", errors)


def _marks(
    axes: "Axes",
    number: int,
    at: Sequence[float],
    values: Sequence[float] | Array,
    label: str | None,
    errors: Array | None = None,
) -> None:
    axes.errorbar(at, values, yerr=errors, fmt="os^Dv"[number % 5], color=_colour(number), markersize=3, label=label)


def _distances_to_uniform(points: Array, circumference: float) -> Array:
    """Transport distances of points on a circle to the uniform distribution: the least mean of |F_n - F - c| over shifts c.

    Shapes:
        points: (T, n), a sample in each row    returns: (T,)
    """
    trials, n = points.shape
    # Between two points F_n - F falls linearly, from i / n - t_i to i / n - t_(i + 1).
    edges = np.hstack([np.zeros((trials, 1)), np.sort(points, axis=1) / circumference, np.ones((trials, 1))])
    levels, widths = np.arange(n + 1) / n, np.diff(edges, axis=1)
    starts, ends = levels - edges[:, :-1], levels - edges[:, 1:]
    # The best shift is the median: F_n - F has slope -1, so what lies below a level is a length on each piece.
    low, high = ends.min(1, keepdims=True), starts.max(1, keepdims=True)
    for _ in range(50):
        middle = (low + high) / 2
        below = np.clip(middle - ends, 0, widths).sum(1, keepdims=True) < 0.5
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    above, under = np.clip(starts - low, 0, widths), np.clip(low - ends, 0, widths)
    far_above, far_under = np.maximum(ends - low, 0), np.maximum(low - starts, 0)  # how far the nearer end of a piece is
    costs = above * (above / 2 + far_above) + under * (under / 2 + far_under)
    return np.asarray(circumference * costs.sum(1), dtype=np.float64)


def _mean(quantity: str, settings: dict[str, str], values: Array, expected: float) -> Measured:
    return Measured(quantity, settings, float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values)), float(expected))
