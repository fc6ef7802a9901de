"""Augmentation and penalties beside exact symmetry: what a linear map of S_n gains from each, and how equivariant it becomes."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnet.errors import ConfigError
from gnet.groups import SymmetricGroup, TrivialGroup
from gnet.measures import project
from gnet.nn.relaxed import Augmentation
from gnet.randomness import derive_seed
from gnet.study.simulate import Measured, Simulation
from gnet.theory import expected_excess_risk

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NONE, ALL, EXACT = "none", "augment, all", "exact"
RISK, ERROR = "excess_risk", "equivariance_error"


class SoftSymmetry(Simulation):
    """y = theta x + noise, theta a map of R^n that commutes with S_n: least squares without, with soft and with exact symmetry.

    - "none": least squares.
    - "augment, K": least squares on K moved copies of each sample, ``Augmentation.copies``; "augment, all" on all n! of them.
    - "penalty, lambda": the smallest mean of |y - theta x|^2 + lambda E_g |theta g x - g theta x|^2 over the samples, g uniform.
    - "exact": least squares among the maps that commute with S_n.

    The excess risk is E |estimate x - theta x|^2 / n, the equivariance error E_g E |estimate g x - g estimate x|^2 / n, both at
    new x of N(0, I); the second is 2 / n times the squared distance to the maps that commute. Without symmetry, with one copy and
    with exact symmetry both are known; with all copies the estimate is that with exact symmetry.

    Args:
        num_nodes: n, at most 7.
        truth: theta is truth[0] times the identity plus truth[1] times the mean of all entries.
        sigma: standard deviation of the noise of each output.
        sizes: numbers of samples N.
        copies: numbers K.
        penalties: weights lambda.
        num_trials: training sets for each size.
        seed: of everything that is drawn.

    Raises:
        ConfigError: too few or too many nodes, too few samples or trials, or penalties below zero.

    References:
        Chen, Dobriban and Lee (2020), arXiv:1907.10905, on augmentation as an average; Wang, Walters and Yu (2022),
        arXiv:2201.11969, on penalties.
    """

    def __init__(
        self,
        num_nodes: int = 6,
        truth: Sequence[float] = (1.0, 1.0),
        sigma: float = 0.5,
        sizes: list[int] | None = None,
        copies: list[int] | None = None,
        penalties: list[float] | None = None,
        num_trials: int = 200,
        seed: int = 0,
    ) -> None:
        self.sizes = sorted(sizes or [10, 30, 100])
        self.copies, self.penalties = sorted(copies or [1, 8]), sorted(penalties or [0.1, 1.0, 10.0, 100.0])
        if not 2 <= num_nodes <= 7 or len(truth) != 2:
            raise ConfigError(f"expected 2 to 7 nodes and two numbers of the truth, got {num_nodes} and {list(truth)}")
        if self.sizes[0] <= num_nodes + 1 or num_trials < 2 or sigma <= 0:
            raise ConfigError(
                f"expected more than {num_nodes + 1} samples, two trials, sigma > 0, got {self.sizes[0]}, {num_trials}, {sigma}"
            )
        if self.copies[0] < 1 or self.penalties[0] < 0:
            raise ConfigError(f"expected copies >= 1 and penalties >= 0, got {self.copies} and {self.penalties}")
        self.group, self.sigma, self.num_trials, self.seed = SymmetricGroup(num_nodes), sigma, num_trials, seed
        unit = torch.eye(num_nodes, dtype=torch.float64)
        self.theta = truth[0] * unit + truth[1] / num_nodes
        # Column j n + k is the average over the group of the map with a single 1 at (j, k).
        units = torch.eye(num_nodes**2, dtype=torch.float64).unflatten(1, unit.shape)
        self.average = torch.stack([project(each, self.group).flatten() for each in units], 1)
        values, vectors = torch.linalg.eigh(self.average)
        self.maps = vectors[:, values > 0.5].mT.unflatten(1, unit.shape)  # (dim Hom, n, n)
        self.elements = self.group.elements()

    def run(self) -> list[Measured]:
        """Every estimator at every size, on the same training sets."""
        lines = []
        for n in self.sizes:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "samples", n))
            found: dict[str, list[Tensor]] = {}
            for _ in range(self.num_trials):
                for name, estimate in self.estimates(n, generator).items():
                    found.setdefault(name, []).append(estimate)
            for name, estimates in found.items():
                stacked = torch.stack(estimates)
                values = ((RISK, stacked - self.theta), (ERROR, math.sqrt(2) * (stacked - self.averaged(stacked))))
                for quantity, maps in values:
                    drawn = maps.square().sum((1, 2)) / len(self.theta)
                    error = float(drawn.std()) / math.sqrt(len(drawn))
                    expected = self.expected(quantity, name, n)
                    kind = "unknown" if math.isnan(expected) else "exact"
                    settings = {"estimator": name, "n": str(n)}
                    lines.append(Measured(quantity, settings, float(drawn.mean()), error, expected, kind))  # type: ignore[arg-type]
        return lines

    def estimates(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Of one training set of n samples, by estimator."""
        size = len(self.theta)
        x = torch.randn(n, size, dtype=torch.float64, generator=generator)
        y = x @ self.theta.mT + self.sigma * torch.randn(n, size, dtype=torch.float64, generator=generator)
        moves = Augmentation(self.group)
        found = {NONE: least_squares(x, y)}
        for num in self.copies:
            moved = moves.copies(x[..., None], y[..., None], num, generator=generator)
            found[f"augment, {num}"] = least_squares(*(each[..., 0] for each in moved))
        each = self.elements.repeat_interleave(n, 0)
        whole = (moves.move(each, part.repeat(len(self.elements), 1)[..., None], None)[..., 0] for part in (x, y))
        found[ALL] = least_squares(*whole)
        for weight in self.penalties:
            found[f"penalty, {weight:g}"] = self.penalised(x, y, weight)
        found[EXACT] = self.within_group(x, y)
        return found

    def penalised(self, x: Tensor, y: Tensor, weight: float) -> Tensor:
        """Least squares with ``weight`` times the mean of |theta g x - g theta x|^2 over samples and the whole group.

        With S = X^T X / N and Q the average over the group, the penalty has the gradient
        2 (theta (S + Q S) - Q(theta) S - Q(theta S)), since g S g^T averages to Q S and g^T theta g to Q theta.

        Shapes:
            x, y: (N, n)    returns: (n, n)
        """
        size, gram = len(self.theta), x.mT @ x / len(x)
        unit = torch.eye(size, dtype=x.dtype)
        times_gram = torch.kron(unit, gram)
        penalty = torch.kron(unit, gram + self.averaged(gram)) - times_gram @ self.average - self.average @ times_gram
        cross = (y.mT @ x / len(x)).flatten()
        return torch.linalg.solve(times_gram + weight * penalty, cross).unflatten(0, (size, size))

    def within_group(self, x: Tensor, y: Tensor) -> Tensor:
        """Least squares among the maps that commute with the group, (N, n) and (N, n) -> (n, n)."""
        design = torch.einsum("mij,nj->nim", self.maps, x).flatten(0, 1)  # (N n, dim Hom)
        coefficients = torch.linalg.lstsq(design, y.reshape(-1, 1)).solution[:, 0]
        return torch.einsum("m,mij->ij", coefficients, self.maps)

    def averaged(self, maps: Tensor) -> Tensor:
        """g^T theta g averaged over the group, (..., n, n) -> (..., n, n)."""
        return (maps.flatten(-2) @ self.average.mT).unflatten(-1, self.theta.shape)

    def expected(self, quantity: str, name: str, n: int) -> float:
        """By a closed form, NaN where there is none: one moved copy of a sample has the law of the sample itself."""
        is_free, size = name in (NONE, "augment, 1"), len(self.theta)
        if not is_free and name not in (ALL, EXACT):
            return math.nan
        if quantity == ERROR:
            # The error of least squares is as large in every direction of R^(n n), of which dim Hom are maps of the group.
            return 2 * self.sigma**2 * (size**2 - len(self.maps)) / (n - size - 1) / size if is_free else 0.0
        group = TrivialGroup(size) if is_free else self.group
        return expected_excess_risk(self.theta, group, n, sigma_xi=self.sigma, estimator="constrained") / size

    def summary(self, lines: Sequence[Measured]) -> str:
        """Both tables, by size, and which orders hold."""
        found = {(line.quantity, line.settings["estimator"], int(line.settings["n"])): line for line in lines}
        names = list(dict.fromkeys(line.settings["estimator"] for line in lines))
        head = [f"{what}, N = {n}" for what in ("excess risk", "equivariance error") for n in self.sizes]
        rows = [f"| estimator | {' | '.join(head)} |", "|" + " --- |" * (1 + len(head))]
        for name in names:
            cells = [_cell(found[quantity, name, n]) for quantity in (RISK, ERROR) for n in self.sizes]
            rows.append(f"| {name} | {' | '.join(cells)} |")
        near = [_is_near(line) for line in lines if line.kind == "exact" and line.expected]
        text = f"{sum(near) / len(near):.0%} of {len(near)} means lie within 2 standard errors of theory (in brackets)."
        verdicts = [f"- {rule}: {'met' if is_met else 'not met'}" for rule, is_met in self.pass_rules(lines)]
        return "\n".join([*rows, "", f"Means of {self.num_trials} training sets. {text}", "", *verdicts])

    def pass_rules(self, lines: Sequence[Measured]) -> list[tuple[str, bool]]:
        """At every size: exact = all copies < most copies < none in risk, and a larger penalty leaves less equivariance error."""
        found = {(line.quantity, line.settings["estimator"], int(line.settings["n"])): line.measured for line in lines}
        most, rules = f"augment, {self.copies[-1]}", []
        for n in self.sizes:
            exact, copied, some, none = (found[RISK, name, n] for name in (EXACT, ALL, most, NONE))
            is_ordered = math.isclose(exact, copied, rel_tol=1e-9) and copied < some < none
            rules.append((f"N = {n}, excess risk: {EXACT} = {ALL} < {most} < {NONE}", is_ordered))
            errors = [found[ERROR, name, n] for name in (NONE, *(f"penalty, {each:g}" for each in self.penalties))]
            falls = all(a > b for a, b in pairwise(errors))
            rules.append((f"N = {n}, equivariance error falls with lambda", falls))
        return rules

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Risk against samples for each estimator with theory as lines, and the equivariance error beside it."""
        from gnet.study.plots import COLOURS, MARKERS, PAGE, new_figure

        figure = new_figure(PAGE, 3.6)
        names = list(dict.fromkeys(line.settings["estimator"] for line in lines))
        for place, (quantity, title) in enumerate(((RISK, "excess risk"), (ERROR, "equivariance error"))):
            axes = figure.add_subplot(1, 2, place + 1)
            for number, name in enumerate(names):
                if quantity == ERROR and name in (ALL, EXACT):
                    continue  # zero
                mine = [line for line in lines if line.quantity == quantity and line.settings["estimator"] == name]
                values, errors = [line.measured for line in mine], [line.standard_error for line in mine]
                colour, mark = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
                axes.plot(self.sizes, [line.expected for line in mine], color=colour, linewidth=0.8)
                axes.errorbar(self.sizes, values, yerr=errors, fmt=mark, color=colour, markersize=4, label=name)
            axes.set(xscale="log", yscale="log", xlabel="training samples N", title=f"{title} per output")
            axes.set_xticks(self.sizes, [str(n) for n in self.sizes])
            axes.set_xticks([], minor=True)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
        figure.suptitle(f"marks: means of {self.num_trials} training sets, bars: one standard error; lines: theory", fontsize=8)
        return figure


def least_squares(x: Tensor, y: Tensor) -> Tensor:
    """The map theta with the smallest mean of |y - theta x|^2.

    Shapes:
        x: (N, p)    y: (N, q)    returns: (q, p)

    Example:
        >>> least_squares(torch.eye(2), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor([[1., 3.],
                [2., 4.]])
    """
    return torch.linalg.lstsq(x, y).solution.mT


def _cell(line: Measured) -> str:
    if line.quantity == ERROR and line.measured < 1e-12:
        return "0"
    return f"{line.measured:.2g} ± {line.standard_error:.1g}" + (f" ({line.expected:.2g})" if line.kind == "exact" else "")


def _is_near(line: Measured) -> bool:
    return abs(line.measured - line.expected) <= 2 * line.standard_error + 1e-12
