"""The first figure of the theory: regression in a few dimensions with no symmetry, some and all, and where each of them wins."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from gnet.errors import ConfigError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup
from gnet.study.plan import group_label
from gnet.study.simulate import Measured, Simulation
from gnet.theory import crossover_sample_size, expected_excess_risk

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
ESTIMATORS = ("constrained", "projected")


class RegressionThresholds(Simulation):
    """y = beta . x + noise, fitted by exact least squares within each group ("constrained") and by projected least squares.

    The published simulation trains within the group, by 50 steps of gradient descent, and draws the threshold of the projected
    estimator. Here both estimators are solved exactly, and both thresholds are drawn. Inputs are standard normal, samples of one
    trial are nested (the first n of the largest set), and the test error contains the noise.

    Args:
        targets: name -> beta, a null entry is drawn (standard normal, once); each is scaled to norm 1.
        groups: name -> cluster labels of the entries of beta, from no symmetry to all.
        snr: norm of beta over the standard deviation of the noise.
        sizes: numbers of samples n.
        num_trials: how often training samples are drawn; 10 in the published figure.
        num_test: test samples of each trial.
        seed: of everything that is drawn.

    Raises:
        ConfigError: targets or groups of different dimensions, or too few samples.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, figure 1.
    """

    def __init__(
        self,
        targets: dict[str, list[float | None]],
        groups: dict[str, list[int]],
        snr: float = 6.0,
        sizes: list[int] | None = None,
        num_trials: int = 1000,
        num_test: int = 200,
        seed: int = 0,
    ) -> None:
        self.sizes = list(range(10, 40, 2)) if sizes is None else sorted(sizes)
        dimensions = {len(beta) for beta in targets.values()} | {len(labels) for labels in groups.values()}
        if len(dimensions) != 1 or not targets or not groups:
            raise ConfigError(f"expected targets and groups of one dimension, got {sorted(dimensions)}")
        self.dim = dimensions.pop()
        if min(self.sizes) <= self.dim + 1 or min(num_trials, num_test) < 1 or snr <= 0:
            raise ConfigError(
                f"expected more than {self.dim + 1} samples, at least one trial and test sample, snr > 0, "
                f"got {self.sizes[0]}, {num_trials}, {num_test}, {snr}"
            )
        self.num_trials, self.num_test, self.seed = num_trials, num_test, seed
        self.sigma_xi = 1 / snr
        rng = np.random.default_rng(seed)
        self.targets = {name: _unit([rng.standard_normal() if b is None else b for b in beta]) for name, beta in targets.items()}
        self.groups = {name: ClusterGroup(Partition(labels)) for name, labels in groups.items()}

    def run(self) -> list[Measured]:
        """Every target, group and estimator at every number of samples."""
        lines = []
        for number, (target, beta) in enumerate(self.targets.items()):
            rng = np.random.default_rng([self.seed, number])
            x = rng.standard_normal((self.num_trials, self.sizes[-1], self.dim))
            y = x @ beta + self.sigma_xi * rng.standard_normal(x.shape[:2])
            test = rng.standard_normal((self.num_trials, self.num_test, self.dim))
            observed = test @ beta + self.sigma_xi * rng.standard_normal(test.shape[:2])
            for n in self.sizes:
                for name, group in self.groups.items():
                    for estimator in ESTIMATORS:
                        fitted = _fit(x[:, :n], y[:, :n], group.partition.labels.numpy(), estimator)
                        errors = np.mean((np.einsum("tsi,ti->ts", test, fitted) - observed) ** 2, axis=1)
                        lines.append(self._line(target, beta, name, group, estimator, n, errors))
        return lines

    def _line(self, target: str, beta: Array, name: str, group: ClusterGroup, estimator: str, n: int, errors: Array) -> Measured:
        excess = expected_excess_risk(
            torch.from_numpy(beta),
            group,
            n,
            sigma_xi=self.sigma_xi,
            output="invariant",
            estimator=estimator,  # type: ignore[arg-type]
        )
        error = float(np.std(errors, ddof=1) / math.sqrt(len(errors))) if len(errors) > 1 else math.nan
        settings = {"target": target, "group": name, "estimator": estimator, "n": str(n)}
        return Measured("test_mse", settings, float(np.mean(errors)), error, excess + self.sigma_xi**2)

    def thresholds(self, target: str) -> dict[tuple[str, str, str], float]:
        """(smaller group, larger group, estimator) -> the number of samples below which the larger group wins."""
        names = list(self.groups)
        return {
            (one, other, estimator): crossover_sample_size(
                torch.from_numpy(self.targets[target]),
                self.groups[one],
                self.groups[other],
                sigma_xi=self.sigma_xi,
                output="invariant",
                estimator=estimator,  # type: ignore[arg-type]
            )
            for one, other in pairwise(names)
            for estimator in ESTIMATORS
        }

    def summary(self, lines: Sequence[Measured]) -> str:
        """How often theory lies within two standard errors, and the thresholds."""
        gaps = [abs(line.measured - line.expected) / line.standard_error for line in lines if line.standard_error > 0]
        near = np.mean(np.array(gaps) < 2)
        text = [f"{len(lines)} means over {self.num_trials} trials; {near:.0%} within 2 standard errors of theory."]
        for target in self.targets:
            for (one, other, estimator), n in self.thresholds(target).items():
                until = "for every n" if math.isinf(n) else f"for n < {n:.2f}"
                text.append(f"{target}: {other} beats {one} {until} ({estimator}).")
        return "\n".join(text)

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """A panel for each target: measured means with standard errors, theory as lines, thresholds upright."""
        from gnet.study.plots import COLOURS, MARKERS, PAGE, new_figure

        rows = math.ceil(len(self.targets) / 2)
        figure = new_figure(PAGE, 0.7 + 2.5 * rows)
        panels = figure.subplots(rows, min(2, len(self.targets)), squeeze=False)
        for axes, target in zip(panels.flat, self.targets, strict=False):
            for number, name in enumerate(self.groups):
                for estimator, style, face in (("constrained", "-", COLOURS[number]), ("projected", "--", "none")):
                    mine = [x for x in lines if _is(x.settings, target=target, group=name, estimator=estimator)]
                    at = [int(line.settings["n"]) for line in mine]
                    axes.plot(at, [line.expected for line in mine], style, color=COLOURS[number], linewidth=1)
                    axes.errorbar(
                        at,
                        [line.measured for line in mine],
                        yerr=[line.standard_error for line in mine],
                        fmt=MARKERS[number],
                        color=COLOURS[number],
                        markerfacecolor=face,
                        markersize=3.5,
                        linewidth=0.8,
                        capsize=1.5,
                        label=f"{name} ({group_label(self.groups[name])}), {estimator}",
                    )
            self._mark_thresholds(axes, target)
            axes.set(title=target, xlabel="training samples n", yscale="log", ylabel="test MSE (contains the noise)")
        for axes in panels.flat[len(self.targets) :]:
            axes.set_axis_off()
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(self.groups))
        shown = "dotted and dash-dotted: thresholds"
        figure.suptitle(
            f"lines: theory; marks: means of n = {self.num_trials} trials, bars: one standard error; {shown}", fontsize=8
        )
        return figure

    def _mark_thresholds(self, axes: "Axes", target: str) -> None:
        """Upright lines, each pair of groups at its height: the constrained one comes first and is named to its left."""
        pairs = list(pairwise(self.groups))
        for (one, other, estimator), n in self.thresholds(target).items():
            if not self.sizes[0] <= n <= self.sizes[-1]:
                continue
            is_first = estimator == "constrained"
            axes.axvline(n, color="0.4", linestyle=":" if is_first else "-.", linewidth=1)
            axes.annotate(
                f"{other} | {one}\n{estimator}",
                (n, 0.98 - 0.2 * pairs.index((one, other))),
                (-3 if is_first else 3, 0),
                axes.get_xaxis_transform(),
                "offset points",
                ha="right" if is_first else "left",
                va="top",
                fontsize=7,
            )


def _unit(beta: Sequence[float]) -> Array:
    values = np.asarray(beta, dtype=np.float64)
    if not np.linalg.norm(values) > 0:
        raise ConfigError("expected a target that is not 0")
    return values / np.linalg.norm(values)


def _fit(x: Array, y: Array, labels: NDArray[np.int64], estimator: str) -> Array:
    """Exact least squares of every trial at once: (T, n, p) and (T, n) -> (T, p)."""
    indicators = np.eye(labels.max() + 1)[labels]  # (p, k)
    design = x @ indicators if estimator == "constrained" else x
    gram, cross = np.einsum("tni,tnj->tij", design, design), np.einsum("tni,tn->ti", design, y)
    weights = np.linalg.solve(gram, cross[..., None])[..., 0]
    if estimator == "projected":
        weights = weights @ (indicators / indicators.sum(0))
    return weights @ indicators.T


def _is(settings: Mapping[str, str], **wanted: str) -> bool:
    return all(settings.get(name) == value for name, value in wanted.items())
