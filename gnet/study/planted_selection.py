"""Does the choice of a symmetry find what was planted? Risks of every way to choose, against every fixed group."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gnet.errors import ConfigError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, NodeGroup, SymmetricGroup, TrivialGroup
from gnet.orbits import PairOrbits
from gnet.randomness import derive_seed
from gnet.selection import SymmetrySelection, UnstablePartitionWarning, convex_weights, merge_clusters, partition_stability
from gnet.selection.candidates import distinct_groups
from gnet.study.planted_regret import LISTS, TOLD, curve, regret_text
from gnet.study.simulate import Measured, Simulation
from gnet.theory import EquivariantRidge, LeastSquares, ShrunkEquivariantRegression, estimate_bias

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = ("estimate", "validation", "shrinkage", "averaging", "merging", "automatic")
_Name = tuple[str, str, str]
_Trial = Mapping[int, Mapping[_Name, float]]


class PlantedSelection(Simulation):
    """y = Theta x + noise, Theta a diffusion on a graph of communities, with hidden weights for each community.

    Theta = sum_r S^r H_r: S is the normalised adjacency of a stochastic block model, averaged over its communities, and H_r
    differs from community to community, so that Theta commutes with their cluster group. To it is added what the same diffusion
    with the graph's own edges, and weights of each node, has outside the group's maps, scaled to a given norm. Inputs and
    noise are normal. Every way to choose a symmetry is compared with every fixed group, all of them fitted by ridge regression
    with a cross-validated penalty, in excess risk ||estimate - Theta||^2; "regret" is the risk less that of the fixed group
    that was best on average over the trials, so it may be negative. "Mean regret" averages it over n, with the standard error
    over trials, twice: over the n at which every way to choose can be used, for all of them, and over every n, for the fixed
    groups and those ways that can be used at each.

    With "listed" the planted group is among the candidates, with "not listed" it is left out: only merging can find it. The
    halves of its clusters, which stay listed, are an exact refinement of it: they have no bias, only more variance. With "no
    refinement" they are left out, too, so that only the trivial group is below the planted one.
    "Automatic" is the default of ``SymmetrySelection``, averaging over all candidates and, where there are samples enough, those
    that merging learns. "Agreement" is the adjusted Rand index of learned and planted clusters (method "merging"), or of the
    clusters that the same merging finds in Theta itself, by true instead of estimated risks (method "truth"): with a deviation
    finer clusters than the planted ones have a lower risk, so that nothing better is to be learned. "Bias" estimates the squared
    deviation.

    Args:
        sizes: nodes of each community.
        deviations: norms of what is outside the planted group's maps.
        samples: numbers of samples n; those of one trial are nested.
        num_trials: how often graph, Theta and samples are drawn.
        sigma_xi: standard deviation of the noise.
        seed: of everything that is drawn.

    Raises:
        ConfigError: communities of odd size, or fewer than two, or fewer than ten samples.

    References:
        Holland, Laskey and Leinhardt (1983), doi:10.1016/0378-8733(83)90021-7, for the graphs; Huang, Levie and Villar (2023),
        arXiv:2308.10436, for the trade-off.
    """

    recorded = ("regret", "mean regret", "agreement", "bias")

    def __init__(
        self,
        sizes: list[int] | None = None,
        deviations: list[float] | None = None,
        samples: list[int] | None = None,
        num_trials: int = 20,
        sigma_xi: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.sizes = [6, 6, 6, 6] if sizes is None else list(sizes)
        self.deviations = [0.0, 1.0, 3.0] if deviations is None else list(deviations)
        self.samples = [16, 24, 36, 54, 81, 122, 182, 273, 410] if samples is None else sorted(samples)
        if len(self.sizes) < 2 or any(size < 2 or size % 2 for size in self.sizes):
            raise ConfigError(f"expected at least two communities of even size, got {self.sizes}")
        if min(self.samples) < 10 or num_trials < 2 or sigma_xi <= 0 or min(self.deviations) < 0:
            raise ConfigError(
                f"expected n >= 10, num_trials >= 2, sigma_xi > 0 and deviations >= 0, got {self.samples[0]}, {num_trials}, "
                f"{sigma_xi} and {min(self.deviations)}"
            )
        self.num_trials, self.sigma_xi, self.seed = num_trials, sigma_xi, seed
        labels = torch.repeat_interleave(torch.arange(len(self.sizes)), torch.tensor(self.sizes))
        self.partition = Partition(labels)
        within = torch.cat([torch.arange(size) % 2 for size in self.sizes])
        self.groups: dict[str, NodeGroup] = {
            "trivial": TrivialGroup(len(labels)),
            "halves": ClusterGroup(Partition(2 * labels + within)),
            "planted": ClusterGroup(self.partition),
            "joined": ClusterGroup(Partition(labels // 2)),
            "symmetric": SymmetricGroup(len(labels)),
        }

    def run(self) -> list[Measured]:
        """Every deviation and number of samples, all ways to choose on the same data."""
        lines = []
        for deviation in self.deviations:
            trials = [self._trial(deviation, trial) for trial in range(self.num_trials)]
            for n in self.samples:
                risks = {name: np.array([trial[n][name] for trial in trials]) for name in trials[0][n]}
                for (quantity, which, method), values in risks.items():
                    settings = {"deviation": f"{deviation:g}", "n": str(n), "candidates": which, "method": method}
                    expected = {"bias": deviation**2, "agreement": math.nan if deviation else 1.0}.get(quantity, math.nan)
                    lines.append(_measured(quantity, settings, values, expected))
                for which in LISTS:
                    best = self._best_fixed(risks, which)
                    for method in self._compared(risks, which):
                        settings = {"deviation": f"{deviation:g}", "n": str(n), "candidates": which, "method": method}
                        lines.append(_measured("regret", settings, _risk(risks, which, method) - best, math.nan))
            lines += self._means(deviation, trials)
        return lines

    def _means(self, deviation: float, trials: "Sequence[_Trial]") -> list[Measured]:
        """The regret, averaged in each trial over the same n for all: those at which every way can be used, then every n."""
        lines = []
        for which in LISTS:
            usable = {
                n: [name for name in METHODS if all(("risk", which, name) in trial[n] for trial in trials)] for n in self.samples
            }
            common = [n for n in self.samples if usable[n] == list(METHODS)]
            everywhere = [name for name in METHODS if all(name in usable[n] for n in self.samples)]
            for over, methods in [(common, METHODS), (self.samples, everywhere)][: 2 if common != self.samples else 1]:
                lines += self._mean(deviation, trials, which, over, [*methods, *self._fixed(which)] if over else [])
        return lines

    def _mean(
        self, deviation: float, trials: "Sequence[_Trial]", which: str, over: Sequence[int], methods: Sequence[str]
    ) -> list[Measured]:
        """The mean regrets of these ways and fixed groups over these n."""
        risks = {n: {name: np.array([trial[n][name] for trial in trials]) for name in trials[0][n]} for n in over}
        settings = {"deviation": f"{deviation:g}", "n": ", ".join(map(str, over)), "candidates": which}
        return [
            _measured(
                "mean regret",
                settings | {"method": method},
                np.mean([_risk(risks[n], which, method) - self._best_fixed(risks[n], which) for n in over], 0),
                math.nan,
            )
            for method in methods
        ]

    def _fixed(self, which: str) -> list[str]:
        return [name for name in self.groups if name not in LISTS[which]]

    def _compared(self, risks: "Mapping[_Name, np.ndarray]", which: str) -> list[str]:
        """Ways to choose that can be used, and fixed groups."""
        return [*(method for method in METHODS if ("risk", which, method) in risks), *self._fixed(which)]

    def _best_fixed(self, risks: "Mapping[_Name, np.ndarray]", which: str) -> np.ndarray:
        """The risks of the fixed group that is best on average over the trials."""
        return min((risks["risk", "fixed", name] for name in self._fixed(which)), key=np.mean)

    def truth(self, deviation: float, generator: torch.Generator) -> Tensor:
        """Theta, (N, N), receiver first."""
        labels, n = self.partition.labels, self.partition.num_nodes
        chance = torch.where(labels[:, None] == labels, 0.8, 0.2)
        edges = (torch.rand(n, n, generator=generator) < chance).triu(1)
        adjacency = (edges | edges.mT).double()
        scale = (adjacency.sum(1).clamp(min=1) ** -0.5).diag()
        own, orbits = scale @ adjacency @ scale, PairOrbits.of(self.groups["planted"])
        weights = torch.randn(3, len(self.sizes), generator=generator, dtype=torch.float64)
        steps = [torch.eye(n, dtype=torch.float64)]
        for _ in range(2):
            steps.append(orbits.mean(own) @ steps[-1])
        kept = sum(step @ weight[labels].diag() for step, weight in zip(steps, weights, strict=True))
        of_nodes = torch.randn(3, n, generator=generator, dtype=torch.float64)
        powers = [torch.eye(n, dtype=torch.float64), own, own @ own]
        rough = sum(power @ weight.diag() for power, weight in zip(powers, of_nodes, strict=True))
        outside = rough - orbits.mean(torch.as_tensor(rough))
        return torch.as_tensor(kept) + deviation * outside / outside.norm()

    def _trial(self, deviation: float, trial: int) -> dict[int, dict[tuple[str, str, str], float]]:
        """(quantity, candidates, method) -> value, for each number of samples."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, f"planted selection {trial}"))
        theta = self.truth(deviation, generator)
        x = torch.randn(self.samples[-1], len(theta), generator=generator, dtype=torch.float64)
        y = x @ theta.mT + self.sigma_xi * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        return {n: self._measure(x[:n].numpy(), y[:n].numpy(), theta) for n in self.samples}

    def _measure(self, x: np.ndarray, y: np.ndarray, theta: Tensor) -> dict[tuple[str, str, str], float]:
        names = list(self.groups)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnstablePartitionWarning)
            chosen = _Everything(list(self.groups.values()), num_bootstraps=0, fit_intercept=False).fit(x, y)

        def risk(weights: np.ndarray) -> float:
            return float(np.square(weights - theta.numpy()).sum())

        def fitted(group: NodeGroup, penalty: float) -> np.ndarray:
            return EquivariantRidge(group, penalty, fit_intercept=False).fit(x, y).coef_

        maps = [fitted(each.group, each.penalty) for each in chosen.path_]
        found = {("risk", "fixed", name): risk(weights) for name, weights in zip(names, maps, strict=False)}
        for which in LISTS:
            places = [names.index(name) for name in self._fixed(which)]
            if not all(math.isnan(chosen.path_[place].predicted) for place in places):
                lowest = min(places, key=lambda place: np.nan_to_num(chosen.path_[place].predicted, nan=math.inf))
                found["risk", which, "estimate"] = risk(fitted(chosen.path_[lowest].group, 0.0))
            found["risk", which, "validation"] = risk(maps[min(places, key=lambda place: chosen.path_[place].validated)])
            found["risk", which, "averaging"] = risk(_average(chosen, maps, places))
            if len(x) > len(theta) + 1:
                chain = [self.groups[names[place]] for place in places]
                found["risk", which, "shrinkage"] = risk(ShrunkEquivariantRegression(chain, fit_intercept=False).fit(x, y).coef_)
            groups = [chosen.path_[place].group for place in [*places, *range(len(names), len(maps))]]
            learned = [place - len(places) + len(names) for place in distinct_groups(groups) if place >= len(places)]
            found["risk", which, "automatic"] = risk(_average(chosen, maps, places + learned))
            if chosen.merge_path_ is not None:
                found["risk", which, "merging"] = risk(maps[-1])
        if chosen.merge_path_ is not None:
            best = chosen.merge_path_.best_partition
            found["agreement", "", "merging"] = partition_stability([best, self.partition]).score
            found["agreement", "", "truth"] = partition_stability([self.attainable(theta, len(x)), self.partition]).score
            fit = LeastSquares.fit(x, y)
            found["bias", "", "estimate"] = estimate_bias(fit, self.groups["planted"]).bias
        return found

    def attainable(self, theta: Tensor, n: int) -> Partition:
        """The clusters that merging finds in the truth itself: of lowest risk, at each step and of all steps.

        The risk is that of least squares on n samples, averaged over the cluster group: what is lost of Theta, squared, and
        sigma_xi^2 / (n - N - 1) for each weight.

        Raises:
            ConfigError: so few samples that least squares has no finite risk.
        """
        left = n - len(theta) - 1
        if left < 1:
            raise ConfigError(f"expected n >= {len(theta) + 2}, for least squares of finite risk, got {n}")
        gram = torch.eye(len(theta), dtype=torch.float64) / left  # the mean of (X^T X)^-1
        exact = LeastSquares(theta[:, None, :, None], gram, self.sigma_xi**2)
        # The truth has no noise to take off: its risk counts a weight once, where the estimated risk counts it twice.
        return merge_clusters(exact, complexity=1.0).best_partition

    def summary(self, lines: Sequence[Measured]) -> str:
        """Mean regrets of every way to choose and of every fixed group, over the same n for all."""
        return f"{self.num_trials} trials.\n\n{regret_text(lines)}"

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Against n, for each deviation: the risk, then the regret with each list of candidates.

        Fixed groups are grey, ways to choose in colour; bars are one standard error.
        """
        from gnet.study.plots import COLOURS, MARKERS, new_figure

        figure = new_figure(7.0, 8.8)
        rows = [("risk", "listed"), *(("regret", which) for which in LISTS)]
        panels = figure.subplots(len(rows), len(self.deviations), squeeze=False, sharex=True)
        styles = dict(zip(self.groups, ["-", "--", "-.", ":", (0, (1, 3))], strict=True))
        for row, (quantity, which) in enumerate(rows):
            for axes, deviation in zip(panels[row], self.deviations, strict=True):
                for name in self._fixed(which):
                    of = "fixed" if quantity == "risk" else which
                    at, means, errors = curve(lines, quantity, f"{deviation:g}", of, name)
                    axes.errorbar(at, means, yerr=errors, color="0.55", linestyle=styles[name], linewidth=1, label=name)
                for number, name in enumerate(METHODS):
                    at, means, errors = curve(lines, quantity, f"{deviation:g}", which, name)
                    look = {"color": COLOURS[number], "marker": MARKERS[number], "markersize": 3, "linewidth": 1}
                    axes.errorbar(at, means, yerr=errors, label=name, **look)
                axes.set_xscale("log")
                if quantity == "risk":
                    axes.set_yscale("log")
                    axes.set_title(f"deviation {deviation:g}")
                else:
                    axes.set_yscale("symlog", linthresh=0.1)
                    axes.axhline(0.0, color="0.8", linewidth=0.5)
                axes.set_xticks(self.samples[::2], labels=[str(n) for n in self.samples[::2]])
                axes.set_xticks([], minor=True)
            panels[row][0].set_ylabel(f"excess {quantity}" if quantity == "risk" else f"regret\n{TOLD[which]}")
        for axes in panels[-1]:
            axes.set_xlabel("samples n")
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        return figure


class _Everything(SymmetrySelection):
    """Learned clusters that are given are kept twice, since a list may leave the given ones out."""

    _drops_repeated = False


def _average(chosen: SymmetrySelection, maps: Sequence[np.ndarray], places: Sequence[int]) -> np.ndarray:
    """The convex combination of some candidates."""
    weights = convex_weights(chosen.error_products_[np.ix_(places, places)])
    return np.sum([weight * maps[place] for weight, place in zip(weights, places, strict=True)], axis=0)


def _risk(risks: "Mapping[_Name, np.ndarray]", which: str, method: str) -> np.ndarray:
    return risks["risk", which, method] if method in METHODS else risks["risk", "fixed", method]


def _measured(quantity: str, settings: dict[str, str], values: np.ndarray, expected: float) -> Measured:
    error = float(np.std(values, ddof=1) / math.sqrt(len(values)))
    return Measured(quantity, settings, float(np.mean(values)), error, expected)
