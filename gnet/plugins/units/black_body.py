"""The light of a black body: what dimensional analysis gains, what it loses without Planck's constant, and a search for that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline

from gnet.errors import ConfigError
from gnet.plugins.units.lattices import scaling_exponents
from gnet.plugins.units.missing import Found, missing_constant, with_constant
from gnet.plugins.units.names import Units
from gnet.plugins.units.transformer import DimensionlessFeatures
from gnet.randomness import derive_seed
from gnet.study.simulate import Measured, Simulation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]

SYSTEM = Units("kg", "m", "s", "K")
INPUTS = {"lambda": "m", "T": "K", "c": "m s^-1", "kB": "kg m^2 s^-2 K^-1"}
"""Wavelength, temperature, speed of light, Boltzmann's constant: what is known of every point."""
UNITS = SYSTEM.matrix(list(INPUTS.values())).tolist()
PLANCK = SYSTEM.exponents("kg m^2 s^-1")
RADIANCE = SYSTEM.exponents("kg m^-1 s^-3")
C, KB, H = 299_792_458.0, 1.380649e-23, 6.62607015e-34
TRAIN, TEST = (300.0, 1e3, 3e3, 1e4, 3e4), (6e3, 2e4, 6e4)
"""Temperatures in kelvin."""
LEAST = 1e6
"""Fainter points are left out, in W/m^3."""
PUBLISHED = {"no constant": 6.35, "plain MLP": 0.64, "Planck's constant": math.nan, "found constant": 0.39}
"""Root mean square errors of ln B at the test temperatures."""
MODELS = tuple(PUBLISHED)


@dataclass(frozen=True)
class Light:
    """Points of measured spectra.

    Shapes:
        X: (samples, 4), columns as ``INPUTS``    y: (samples,)

    Units: X as ``INPUTS`` says, y in W/m^3 per steradian.
    """

    X: Array
    y: Array


def planck(X: Array, h: float = H) -> Array:
    """Planck's law, the radiance per wavelength.

    Shapes:
        X: (samples, 4)    returns: (samples,)

    Units: X as ``INPUTS`` says; returns W/m^3 per steradian.

    Example:
        >>> sun = planck(np.array([[500e-9, 5772.0, C, KB]]))
        >>> f"{sun[0]:.4g}"
        '2.624e+13'
    """
    wavelength, temperature, c, kB = X.T
    with np.errstate(over="ignore"):
        return 2 * h * c**2 / wavelength**5 / np.expm1(h * c / (wavelength * kB * temperature))


def spectra(temperatures: Sequence[float], noise: float = 0.1, seed: int = 0) -> Light:
    """Spectra at 40 wavelengths from 10 nm to 79 micrometres, with multiplicative noise.

    Points that the law puts below ``LEAST`` are left out, so that every draw has as many.

    Example:
        >>> len(spectra(TRAIN, noise=0.0).y), len(spectra(TEST, noise=0.0).y)
        (126, 108)
    """
    wavelengths = 10 ** np.linspace(-8, -4.1, 40)
    X = np.array([[wavelength, T, C, KB] for T in temperatures for wavelength in wavelengths])
    drawn = np.random.default_rng(seed).standard_normal(len(X))
    y, is_kept = planck(X) * (1 + noise * drawn), planck(X) > LEAST
    return Light(X[is_kept], y[is_kept])


def perceptron(seed: int, max_iter: int = 20_000) -> MLPRegressor:
    """Three hidden layers of 20, Adam with lr 1e-4, until the loss no longer falls."""
    return MLPRegressor(hidden_layer_sizes=(20, 20, 20), learning_rate_init=1e-4, max_iter=max_iter, random_state=seed)


def log_scale(X: Array) -> Array:
    """ln of the product of inputs that has the units of a radiance.

    Example:
        >>> scaling_exponents(UNITS, RADIANCE)
        (-4, 1, 1, 1)
    """
    exponents = scaling_exponents(UNITS, [int(each) for each in RADIANCE])
    return np.log(X) @ np.array([float(each) for each in exponents])


def units_of(exponents: Sequence[int]) -> tuple[int, ...]:
    """The units of a product of inputs.

    Example:
        >>> units_of((1, 1, -1, 1)) == PLANCK
        True
    """
    return tuple(int(each) for each in np.array(exponents) @ np.array(UNITS))


def without_kelvin(units: Sequence[int]) -> tuple[bool, int]:
    """What physics says among constants that data cannot tell apart: kB makes energies of temperatures; then small exponents.

    Example:
        >>> without_kelvin((1, 2, -1, 0)) < without_kelvin((0, 1, 0, 1))
        True
    """
    return units[-1] != 0, sum(map(abs, units))


def search(light: Light, regressor: Any, folds: int = 5) -> Found:
    """``missing_constant`` of spectra: by its prediction of temperatures that it was not trained on, and without kelvin.

    Args:
        regressor: any of scikit-learn's, for ln of the dimensionless radiance.
        folds: into which temperatures are divided.

    References:
        Villar, Hogg, Yao, Kevrekidis and Schölkopf (2024), arXiv:2301.13724, whose search looks at the test error.

    Example:
        >>> from sklearn.neighbors import KNeighborsRegressor
        >>> found = search(spectra(TRAIN), KNeighborsRegressor())
        >>> found.exponents, SYSTEM.text(found.units), len(found.ties)
        ((1, 1, -1, 1), 'kg m^2 s^-1', 9)
    """
    target = [int(each) for each in RADIANCE]
    return missing_constant(light.X, light.y, UNITS, target, regressor, groups=light.X[:, 1], folds=folds, prefer=without_kelvin)


def covariant(exponents: Sequence[int], regressor: Any) -> Pipeline:
    """ln of the dimensionless radiance by the one feature that a constant with the units of a product of inputs makes."""
    return make_pipeline(DimensionlessFeatures([*UNITS, list(units_of(exponents))], log=True), clone(regressor))


class BlackBody(Simulation):
    """Learns Planck's law from spectra of five temperatures and predicts three others, one of them hotter than all.

    Args:
        models: "no constant", where dimensional analysis leaves one number to learn; "plain MLP" of ln lambda and ln T; "Planck's
            constant", given; "found constant", by ``search`` on the training spectra.
        seeds: draws of noise and weights.
        noise: of every point, as a share of it.
        folds: of temperatures, in the search.
        max_iter: steps of training, at most.

    Raises:
        ConfigError: a model that does not exist, or numbers out of range.

    References:
        Villar, Hogg, Yao, Kevrekidis and Schölkopf (2024), arXiv:2301.13724.
    """

    def __init__(
        self, models: list[str] | None = None, seeds: int = 3, noise: float = 0.1, folds: int = 5, max_iter: int = 20_000
    ) -> None:
        self.models = models or list(MODELS)
        if wrong := [each for each in self.models if each not in MODELS]:
            raise ConfigError(f"expected models among {', '.join(MODELS)}, got {wrong[0]!r}")
        if min(seeds, max_iter) < 1 or not 2 <= folds <= len(TRAIN) or not 0 <= noise <= 0.2:
            raise ConfigError(f"expected seeds, max_iter >= 1, folds in 2..{len(TRAIN)} and noise in [0, 0.2]")
        self.seeds, self.noise, self.folds, self.max_iter = seeds, noise, folds, max_iter

    def run(self) -> list[Measured]:
        """One line for each model and seed, and one for each constant."""
        lines = []
        for seed in range(self.seeds):
            train, test = (
                spectra(T, self.noise, derive_seed(seed, "units", name)) for T, name in ((TRAIN, "light"), (TEST, "test"))
            )
            for model in self.models:
                settings = {"model": model, "seed": str(seed)}
                if model == "found constant":
                    found = search(train, perceptron(seed, self.max_iter), self.folds)
                    settings |= {"units": SYSTEM.text(found.units), "ties": str(len(found.ties))}
                    lines.append(Measured("constant", settings, found.value, math.nan, H, "unknown"))
                    error = self._error(train, test, seed, found.exponents, found.value)
                elif model == "Planck's constant":
                    error = self._error(train, test, seed, (1, 1, -1, 1), H)
                else:
                    error = self._error_without(train, test, seed, model)
                lines.append(Measured("rmse", settings, error, math.nan, PUBLISHED[model], "unknown"))
        return lines

    def _error(self, train: Light, test: Light, seed: int, exponents: Sequence[int], value: float) -> float:
        model = covariant(exponents, perceptron(seed, self.max_iter))
        model.fit(with_constant(train.X, value), np.log(train.y) - log_scale(train.X))
        return _rms(model.predict(with_constant(test.X, value)) - np.log(test.y) + log_scale(test.X))

    def _error_without(self, train: Light, test: Light, seed: int, model: str) -> float:
        if model == "plain MLP":
            plain = perceptron(seed, self.max_iter).fit(np.log(train.X[:, :2]), np.log(train.y))
            return _rms(plain.predict(np.log(test.X[:, :2])) - np.log(test.y))
        number = np.mean(np.log(train.y) - log_scale(train.X))  # no feature is left: F is a number
        return _rms(number - np.log(test.y) + log_scale(test.X))

    def summary(self, lines: Sequence[Measured]) -> str:
        """The table, least and largest over seeds, the constants that were found, and whether it counts as reproduced."""
        rows = ["| model | RMSE of ln B | published |", "| --- | --- | --- |"]
        for model, errors in errors_of(lines).items():
            theirs = "" if math.isnan(PUBLISHED[model]) else f"{PUBLISHED[model]:.2f}"
            rows.append(f"| {model} | {min(errors):.3f} to {max(errors):.3f} | {theirs} |")
        constants = [
            f"Seed {line.settings['seed']}: {line.measured:.3g} {line.settings['units']}, {line.measured / H:.2f} h; "
            f"one of {line.settings['ties']} products that the data cannot tell apart."
            for line in lines
            if line.quantity == "constant"
        ]
        rules = pass_rules(errors_of(lines)) + constant_rules([line for line in lines if line.quantity == "constant"])
        verdicts = [f"{rule}: {'met' if is_met else 'not met'}" for rule, is_met in rules]
        return "\n".join([*rows, "", *constants, "", *verdicts])

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Errors of every seed, beside those published."""
        from gnet.study.plots import COLOURS, MARKERS, PAGE, new_figure

        figure, found = new_figure(0.7 * PAGE, 3.0), errors_of(lines)
        axes = figure.add_subplot()
        for number, errors in enumerate(found.values()):
            axes.plot([number] * len(errors), errors, color=COLOURS[0], marker=MARKERS[0], ls="none", label="ours" * (not number))
        theirs = [PUBLISHED[model] for model in found]
        axes.plot(range(len(found)), theirs, color=COLOURS[1], marker=MARKERS[1], mfc="none", ls="none", label="published")
        axes.set_xticks(range(len(found)), list(found))
        axes.set(yscale="log", ylabel="RMSE of ln B")
        axes.legend()
        return figure


def errors_of(lines: Sequence[Measured]) -> dict[str, list[float]]:
    """Root mean square errors of every seed by model.

    Example:
        >>> errors_of([Measured("rmse", {"model": "plain MLP", "seed": "0"}, 0.6, 0.0, 0.0)])
        {'plain MLP': [0.6]}
    """
    found: dict[str, list[float]] = {}
    for line in lines:
        if line.quantity == "rmse":
            found.setdefault(line.settings["model"], []).append(line.measured)
    return found


def pass_rules(found: dict[str, list[float]]) -> list[tuple[str, bool]]:
    """What the table has to show at every seed, and whether it does; rules of models that were not trained are left out.

    Example:
        >>> pass_rules({"no constant": [6.33, 6.36], "plain MLP": [1.2]})
        [('no constant: 6.30 to 6.40', True), ('plain MLP: 0.45 to 1.10', False)]
    """
    bands = {"no constant": (6.3, 6.4), "plain MLP": (0.45, 1.1), "Planck's constant": (0.35, 0.47)}
    rules = []
    for model, (low, high) in bands.items():
        if model in found:
            is_met = low <= min(found[model]) and max(found[model]) <= high
            rules.append((f"{model}: {low:.2f} to {high:.2f}", is_met))
    if set(bands) <= set(found):
        plain = found["plain MLP"]
        between = zip(found["Planck's constant"], plain, found["no constant"], strict=True)
        rules.append(("Planck's constant below the plain MLP below no constant", all(a < b < c for a, b, c in between)))
    return rules


def constant_rules(lines: Sequence[Measured]) -> list[tuple[str, bool]]:
    """What the constants that were found have to be: in the units of Planck's, and within a factor of two of it.

    Example:
        >>> constant_rules([Measured("constant", {"units": "kg m^2 s^-1"}, 5 * H, math.nan, H)])
        [('units of the constant: kg m^2 s^-1', True), ('constant within a factor of 2 of h', False)]
    """
    if not lines:
        return []
    units = SYSTEM.text(PLANCK)
    right, near = (line.settings["units"] == units for line in lines), (0.5 <= line.measured / H <= 2 for line in lines)
    return [(f"units of the constant: {units}", all(right)), ("constant within a factor of 2 of h", all(near))]


def _rms(errors: Array) -> float:
    return float(np.sqrt(np.mean(errors**2)))
