"""From trials to tables: means, paired differences with bootstrap intervals, and the sentence on which symmetry is best."""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Literal

import numpy as np
from scipy import stats

from gnet.measures.decomposition import Decomposition
from gnet.study.journal import Row

RESAMPLES = 9999
CONFIDENCE = 0.95
FEW = 5  # with fewer independent units a bootstrap interval is little more than their range: none is given


@dataclass(frozen=True)
class Difference:
    """How much worse one variant's test loss is than another's, over the trials that share draw and seed.

    ``error`` is the standard error and ``low``, ``high`` the bootstrap interval; both treat ``units`` as independent: draws
    when there are several (seeds of one draw share their training set), seeds otherwise. With fewer than ``FEW`` units there
    is no interval.
    """

    mean: float
    error: float
    low: float
    high: float
    units: int
    pairs: int

    @property
    def is_resolved(self) -> bool:
        """Whether there is an interval, and zero is outside."""
        return self.low > 0 or self.high < 0

    @property
    def counted(self) -> str:
        """How many independent units there are, in words."""
        unit = "draw" if self.pairs > self.units else "pair"
        return f"{self.units} {unit}{'' if self.units == 1 else 's'}"


NO_DIFFERENCE = Difference(math.nan, math.nan, math.nan, math.nan, 0, 0)


@dataclass(frozen=True)
class Summary:
    """One variant's line of ``summary.csv``: losses and their spread, bias^2 and variance, the difference to the best.

    ``difference`` and what belongs to it are those of ``paired_difference``: ``num_units`` of its pairs are independent.
    """

    symmetry: str
    kind: str
    num_clusters: int
    num_weights: int
    n: int
    num_draws: int
    test_loss: float
    test_loss_std: float
    test_loss_error: float
    val_loss: float
    val_loss_std: float
    bias2: float
    bias2_error: float
    variance: float
    variance_error: float
    variance_between_draws: float
    variance_between_seeds: float
    equivariance_error: float
    difference: float
    difference_error: float
    difference_low: float
    difference_high: float
    num_pairs: int
    num_units: int
    seconds: float

    def cells(self) -> list[str]:
        """The cells of its csv line; what is undetermined stays empty."""
        values = [getattr(self, field.name) for field in fields(self)]
        return [("" if math.isnan(v) else f"{v:.9g}") if isinstance(v, float) else str(v) for v in values]


SUMMARY_COLUMNS = [field.name for field in fields(Summary)]


def paired_difference(rows: Sequence[Row], others: Sequence[Row]) -> Difference:
    """Test loss of ``rows`` less that of ``others``, paired by (draw, seed): both trials saw the same data, masks and splits.

    The interval is the percentile bootstrap over units (``scipy.stats.bootstrap``, 9999 resamples, fixed generator).

    Example:
        >>> row = Row("a", 1, 0, 0, 0.0, 3.0, 1, 0.0, 0.0, "symmetry", 0)
        >>> paired_difference([row], [replace(row, test_loss=1.0)]).mean
        2.0
    """
    units, pairs = paired_units(rows, others, attrgetter("test_loss"))
    if not pairs:
        return NO_DIFFERENCE
    mean = float(np.mean(units))
    error = spread(units) / math.sqrt(len(units))
    if len(units) < FEW:
        return replace(NO_DIFFERENCE, mean=mean, error=error, units=len(units), pairs=pairs)
    interval = stats.bootstrap(
        (units,), np.mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return Difference(mean, error, float(interval.low), float(interval.high), len(units), pairs)


def paired_units(rows: Sequence[Row], others: Sequence[Row], value: Callable[[Row], float]) -> tuple[np.ndarray, int]:
    """Differences of ``value`` between trials of one draw and seed, averaged over what is not independent; and how many pairs."""
    there = {(row.draw, row.seed): value(row) for row in others}
    pairs = [(row.draw, row.seed, value(row) - there[row.draw, row.seed]) for row in rows if (row.draw, row.seed) in there]
    if not pairs:
        return np.empty(0), 0
    return _unit_means([(draw, seed) for draw, seed, _ in pairs], [gap for *_, gap in pairs]), len(pairs)


def summarise(rows: Sequence[Row], parts: dict[str, Decomposition]) -> list[Summary]:
    """One summary per variant, in the order of ``rows``, with the difference to the best symmetry (baselines cannot be it)."""
    groups = by_variant(rows)
    best = best_symmetry(rows)
    return [
        _summary(group, parts.get(name), NO_DIFFERENCE if best in (None, name) else paired_difference(group, groups[best]))
        for name, group in groups.items()
    ]


def best_symmetry(rows: Sequence[Row]) -> str | None:
    """The symmetry with the lowest mean validation loss, over the trials that all share; None where none was measured.

    The test loss has no say, so that for the chosen one it is a measurement and not the lowest of several.
    """
    means = _mean_losses(shared_trials(rows), "val_loss")
    return min(means, key=means.__getitem__, default=None)


def shared_trials(rows: Sequence[Row]) -> list[Row]:
    """The symmetries' rows whose draw and seed every symmetry has; all their rows where there is none.

    Means over different trials would compare data sets along with symmetries.
    """
    symmetries = [row for row in rows if row.kind == "symmetry"]
    names = {row.symmetry for row in symmetries}
    counts = Counter((row.draw, row.seed) for row in symmetries)
    return [row for row in symmetries if counts[row.draw, row.seed] == len(names)] or symmetries


def _mean_losses(rows: Sequence[Row], name: Literal["val_loss", "test_loss"]) -> dict[str, float]:
    """Mean loss of every variant that has one."""
    means = {}
    for variant, group in by_variant(rows).items():
        units = _unit_means([(row.draw, row.seed) for row in group], [getattr(row, name) for row in group])
        if np.isfinite(units).all():
            means[variant] = float(units.mean())
    return means


def by_variant(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each variant, in their order."""
    return {name: [row for row in rows if row.symmetry == name] for name in dict.fromkeys(row.symmetry for row in rows)}


def _summary(rows: Sequence[Row], parts: Decomposition | None, difference: Difference) -> Summary:
    test = [row.test_loss for row in rows]
    validation = [row.val_loss for row in rows]
    units = _unit_means([(row.draw, row.seed) for row in rows], test)
    nan = math.nan
    return Summary(
        symmetry=rows[0].symmetry,
        kind=rows[0].kind,
        num_clusters=rows[0].num_clusters,
        num_weights=rows[0].num_weights,
        n=len(rows),
        num_draws=len({row.draw for row in rows}),
        test_loss=statistics.fmean(test),
        test_loss_std=spread(test),
        test_loss_error=spread(units) / math.sqrt(len(units)),
        val_loss=statistics.fmean(validation),
        val_loss_std=spread(validation),
        bias2=parts.bias2 if parts else nan,
        bias2_error=parts.bias2_error if parts else nan,
        variance=parts.variance if parts else nan,
        variance_error=parts.variance_error if parts else nan,
        variance_between_draws=parts.between_draws if parts else nan,
        variance_between_seeds=parts.between_seeds if parts else nan,
        equivariance_error=statistics.fmean(row.equivariance_error for row in rows),
        difference=difference.mean,
        difference_error=difference.error,
        difference_low=difference.low,
        difference_high=difference.high,
        num_pairs=difference.pairs,
        num_units=difference.units,
        seconds=statistics.fmean(row.seconds for row in rows),
    )


def spread(values: Sequence[float] | np.ndarray) -> float:
    """The standard deviation over n - 1; NaN of fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _unit_means(keys: Sequence[tuple[int, int]], values: Sequence[float]) -> np.ndarray:
    """Means over what is independent: over the seeds of each draw, or the values themselves when there is one draw."""
    draws = [draw for draw, _ in keys]
    if len(set(draws)) == 1:
        return np.array(values)
    return np.array(
        [np.mean([value for value, draw in zip(values, draws, strict=True) if draw == each]) for each in dict.fromkeys(draws)]
    )


HEADER = ["symmetry", "clusters", "weights", "val loss", "test loss", "bias^2", "variance", "less best symmetry", "n"]


def table_cells(summaries: Sequence[Summary]) -> list[list[str]]:
    """The printed table, cell by cell: means over trials, +- their std, and paired differences with their interval."""
    return [
        [
            summary.symmetry,
            str(summary.num_clusters),
            str(summary.num_weights),
            number_text(summary.val_loss),
            number_text(summary.test_loss)
            + ("" if math.isnan(summary.test_loss_std) else f" +- {number_text(summary.test_loss_std)}"),
            number_text(summary.bias2),
            number_text(summary.variance),
            _difference_text(summary),
            str(summary.n),
        ]
        for summary in summaries
    ]


def text_table(summaries: Sequence[Summary]) -> str:
    """The table for a terminal, in aligned columns."""
    lines = [HEADER, *table_cells(summaries)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    padded = [
        [cell.ljust(w) if c == 0 else cell.rjust(w) for c, (cell, w) in enumerate(zip(line, widths, strict=True))]
        for line in lines
    ]
    padded.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(line).rstrip() for line in padded)


def markdown_table(summaries: Sequence[Summary]) -> str:
    """The table for ``report.md``."""
    return markdown_rows(HEADER, table_cells(summaries))


def markdown_rows(header: Sequence[str], cells: Sequence[Sequence[str]], *, text: bool = False) -> str:
    """A table in Markdown: the first column to the left, the others, unless they are ``text``, to the right."""
    lines = [header, ["---"] + ["---" if text else "---:"] * (len(header) - 1), *cells]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def verdict(rows: Sequence[Row], log_orders: dict[str, float]) -> str:
    """The plain sentences under the table: which symmetry validation chooses, whether it is interior, how sure that is.

    ``log_orders`` holds the logarithm of each symmetry's group order: what makes a group the smallest or the largest.
    """
    shared = shared_trials(rows)
    if not shared:
        return "No trial of any symmetry ended well: there is nothing to compare."
    groups = by_variant(rows)
    orders = {row.symmetry: log_orders[row.symmetry] for row in shared}
    validation, test = _mean_losses(shared, "val_loss"), _mean_losses(shared, "test_loss")
    lowest = min(test, key=test.__getitem__)
    chosen = best_symmetry(rows)
    if chosen is None:
        return f"No validation loss was measured, so no symmetry is chosen; {lowest} has the lowest test loss."
    best = f"Best symmetry: {_with_clusters(groups[chosen])}"
    if len(orders) == 1:
        return f"{best}, the only one of this study: nothing to compare it with."
    measured = f"It was chosen by its mean validation loss, {number_text(validation[chosen])}; its mean test loss is"
    sentences = [f"{best}, {_place(chosen, orders)}.", f"{measured} {number_text(test[chosen])}, the lowest too."]
    if lowest != chosen:
        sentences[1] = (
            f"{measured} {number_text(test[chosen])}. The test loss would choose another: {_with_clusters(groups[lowest])}, "
            f"{_place(lowest, orders)}, with a mean of {number_text(test[lowest])}."
        )
    sentences += _which_trials(shared, sum(len(groups[name]) for name in orders))
    differences = {name: paired_difference(group, groups[chosen]) for name, group in groups.items()}
    rivals = [*([lowest] if lowest != chosen else []), *_rivals(chosen, orders, validation)]
    sentences += [_compared(rival, differences[rival]) for rival in dict.fromkeys(rivals)]
    ahead = [name for name in groups if name not in orders and differences[name].mean < 0]
    if ahead:
        better = ", ".join(f"{name} is lower by {_amount(differences[name])}" for name in ahead)
        sentences.append(f"It does not beat every baseline: {better}.")
    return " ".join(sentences)


def _which_trials(shared: Sequence[Row], total: int) -> list[str]:
    """What must be said of means when the symmetries have not the same trials."""
    trials = {frozenset((row.draw, row.seed) for row in group) for group in by_variant(shared).values()}
    if len(trials) > 1:
        return ["The symmetries share no trial, so these means are over different ones: train what is missing."]
    return [] if len(shared) == total else [f"These means are over the {len(trials.pop())} trials that all symmetries have."]


def _with_clusters(rows: Sequence[Row]) -> str:
    number = rows[0].num_clusters
    return f"{rows[0].symmetry} ({number} cluster{'' if number == 1 else 's'})"


def _place(name: str, orders: dict[str, float]) -> str:
    """Where a group stands among those of the study; several variants may have groups of one order."""
    sizes = set(orders.values())
    if len(sizes) == 1:
        return "whose group is as large as any other of the study"
    if min(sizes) < orders[name] < max(sizes):
        return "neither the smallest nor the largest group of the study"
    end = "smallest" if orders[name] == min(sizes) else "largest"
    if len(sizes) == 2:
        return f"the {end} of the two groups, so there is no interior optimum to find"
    return f"the {end} group of the study: the optimum is not interior"


def _rivals(chosen: str, orders: dict[str, float], validation: dict[str, float]) -> list[str]:
    """Whom the chosen one should be compared with: both ends, or the next best and the other end."""
    ranked = sorted((name for name in orders if name != chosen), key=lambda name: validation.get(name, math.inf))
    ends = [[name for name in ranked if orders[name] == end] for end in (max(orders.values()), min(orders.values()))]
    opposite = [names[0] for names in ends if names and orders[names[0]] != orders[chosen]]
    return opposite if len(opposite) == 2 else list(dict.fromkeys([ranked[0], *opposite]))


def _compared(rival: str, difference: Difference) -> str:
    if not difference.pairs:
        return f"It shares no trial with {rival}."
    return f"It is {'behind' if difference.mean < 0 else 'ahead of'} {rival} by {_amount(difference)}."


def _amount(difference: Difference) -> str:
    """The size of a difference, and how sure it is."""
    size = number_text(abs(difference.mean))
    if difference.units < FEW:
        return f"{size} (test loss, paired; {difference.counted}: too few for an interval)"
    low, high = sorted(math.copysign(1, difference.mean) * end for end in (difference.low, difference.high))
    text = (
        f"{size} +- {number_text(difference.error)} (test loss, paired; standard error over {difference.counted}, "
        f"{CONFIDENCE:.0%} interval {number_text(low)} to {number_text(high)})"
    )
    return text if difference.is_resolved else f"{text}, which these trials do not resolve from zero"


def _difference_text(summary: Summary) -> str:
    if math.isnan(summary.difference):
        return "-"
    if math.isnan(summary.difference_low):
        few = replace(NO_DIFFERENCE, units=summary.num_units, pairs=summary.num_pairs)
        return f"{number_text(summary.difference)} ({few.counted}: too few)"
    return f"{number_text(summary.difference)} [{number_text(summary.difference_low)}, {number_text(summary.difference_high)}]"


def number_text(value: float) -> str:
    """Four significant digits, without an exponent where a reader can do without."""
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e3 or value == 0 else f"{value:.3g}"
