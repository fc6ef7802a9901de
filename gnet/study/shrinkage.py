"""What shrinkage along a chain of groups really gains, when its factors come from the same data."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from gnet.errors import ConfigError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup
from gnet.study.simulate import Measured, Simulation
from gnet.theory import LeastSquares, estimate_shrinkage, expected_excess_risk, optimal_shrinkage, split_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
ESTIMATED, BEST = "estimated factors", "best factors"


class ChainShrinkage(Simulation):
    """y = beta . x + noise: least squares averaged over each group of a chain, and shrunk along the chain.

    Groups and best factors have exact risks. Factors that are estimated from the same data have none; their risk is measured:
    below that of least squares without symmetry, and above that of the best group, which the data do not name either.

    Args:
        target: beta, scaled to norm 1.
        groups: name -> cluster labels of the entries of beta, each group in the next, from no symmetry to all.
        snr: norm of beta over the standard deviation of the noise.
        sizes: numbers of samples n.
        num_trials: training sets for each number.
        seed: of everything that is drawn.

    Raises:
        ConfigError: a target and groups of different dimensions, or too few samples.
        GroupError: groups that are not nested.

    References:
        James and Stein (1961); ``gnet.theory.estimate_shrinkage``.
    """

    def __init__(
        self,
        target: list[float],
        groups: dict[str, list[int]],
        snr: float = 6.0,
        sizes: list[int] | None = None,
        num_trials: int = 3000,
        seed: int = 0,
    ) -> None:
        self.sizes = [10, 20, 40, 80] if sizes is None else sorted(sizes)
        if not groups or {len(labels) for labels in groups.values()} != {len(target)} or not any(target):
            raise ConfigError(f"expected a target that is not 0 and groups of its dimension, got {target} and {groups}")
        if self.sizes[0] <= len(target) + 1 or num_trials < 2 or snr <= 0:
            raise ConfigError(
                f"expected more than {len(target) + 1} samples, two trials, snr > 0, got {self.sizes[0]}, {num_trials}, {snr}"
            )
        self.beta = torch.tensor(target, dtype=torch.float64) / math.hypot(*target)
        self.groups = {name: ClusterGroup(Partition(labels)) for name, labels in groups.items()}
        self.options = {"sigma_xi": 1 / snr, "output": "invariant"}
        self.num_trials, self.seed = num_trials, seed

    def run(self) -> list[Measured]:
        """Every group and both kinds of factors, at every number of samples, on the same training sets."""
        lines = []
        for n in self.sizes:
            rng, chain = np.random.default_rng([self.seed, n]), list(self.groups.values())
            best = optimal_shrinkage(self.beta, chain, n, **self.options)  # type: ignore[arg-type]
            errors: dict[str, list[float]] = {name: [] for name in (*self.groups, BEST, ESTIMATED)}
            for _ in range(self.num_trials):
                for name, estimate in self._estimates(n, best.factors, rng).items():
                    errors[name].append(float((estimate - self.beta).square().sum()))
            expected = {name: expected_excess_risk(self.beta, group, n, **self.options) for name, group in self.groups.items()}  # type: ignore[arg-type]
            expected |= {BEST: best.risk, ESTIMATED: math.nan}
            for name, values in errors.items():
                error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
                kind = "unknown" if name == ESTIMATED else "exact"
                settings = {"estimator": name, "n": str(n)}
                lines.append(Measured("excess_risk", settings, float(np.mean(values)), error, expected[name], kind))  # type: ignore[arg-type]
        return lines

    def _estimates(self, n: int, factors: Sequence[float], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Of one training set."""
        x = torch.from_numpy(rng.standard_normal((n, len(self.beta))))
        y = x @ self.beta + self.options["sigma_xi"] * torch.from_numpy(rng.standard_normal(n))  # type: ignore[operator]
        fit = LeastSquares.fit(x, y)
        kept = {name: split_map(fit.theta, group, "invariant").kept.flatten() for name, group in self.groups.items()}
        steps = list(kept.values())
        shrunk = steps[-1] + sum(
            factor * (finer - coarser) for factor, finer, coarser in zip(factors, steps, steps[1:], strict=False)
        )
        return {**kept, BEST: shrunk, ESTIMATED: estimate_shrinkage(fit, list(self.groups.values()))[0].flatten()}

    def summary(self, lines: Sequence[Measured]) -> str:
        """A table: risks by theory where there is one, measured with estimated factors."""
        names = [ESTIMATED, *self.groups, BEST]
        found = {(line.settings["estimator"], line.settings["n"]): line for line in lines}
        rows = [f"| n | {' | '.join(names)} |", "|" + " --- |" * (len(names) + 1)]
        for n in map(str, self.sizes):
            mine = found[ESTIMATED, n]
            exact = [f"{found[name, n].expected:.5f}" for name in names[1:]]
            rows.append(f"| {n} | {mine.measured:.5f} ± {mine.standard_error:.5f} | {' | '.join(exact)} |")
        known = [line for line in lines if line.kind == "exact"]
        near = np.mean([abs(line.measured - line.expected) < 2 * line.standard_error for line in known])
        return "\n".join([*rows, "", f"{near:.0%} of {len(known)} means lie within 2 standard errors of theory."])

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Risks against the number of samples: measured as marks, theory as lines."""
        from gnet.study.plots import COLOURS, MARKERS, PAGE, new_figure

        figure = new_figure(0.7 * PAGE, 3.2)
        axes = figure.subplots()
        for number, name in enumerate((*self.groups, BEST, ESTIMATED)):
            mine, colour = [line for line in lines if line.settings["estimator"] == name], COLOURS[number]
            axes.plot(self.sizes, [line.expected for line in mine], color=colour)
            values, errors = [line.measured for line in mine], [line.standard_error for line in mine]
            axes.errorbar(self.sizes, values, yerr=errors, fmt=MARKERS[number], color=colour, label=name)
        axes.set(xlabel="training samples n", ylabel="excess risk", xscale="log", yscale="log")
        axes.set_xticks(self.sizes, [str(n) for n in self.sizes])
        axes.set_xticks([], minor=True)
        axes.set_title(f"marks: means of n = {self.num_trials} training sets, bars: one standard error; lines: theory")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return figure
