"""From trials to tables: means, paired differences with bootstrap intervals, and the sentence on which symmetry is best."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy import stats

from gnet.study.journal import Row
from gnet.study.variance import Decomposition

RESAMPLES = 9999
CONFIDENCE = 0.95
FEW = 5  # below, a bootstrap interval is little more than the range of the values


@dataclass(frozen=True)
class Difference:
    """How much worse one variant's test loss is than another's, over the trials that share draw and seed.

    ``error`` is the standard error and ``low``, ``high`` the bootstrap interval; both treat ``units`` as independent: draws
    when there are several (seeds of one draw share their training set), seeds otherwise.
    """

    mean: float
    error: float
    low: float
    high: float
    units: int
    pairs: int

    @property
    def is_resolved(self) -> bool:
        """Whether the interval leaves zero out, and comes from enough units to mean something."""
        return self.units >= FEW and (self.low > 0 or self.high < 0)


NO_DIFFERENCE = Difference(math.nan, math.nan, math.nan, math.nan, 0, 0)


@dataclass(frozen=True)
class Summary:
    """One variant's line of ``summary.csv``: losses and their spread, bias^2 and variance, the difference to the best."""

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
    there = {(row.draw, row.seed): row.test_loss for row in others}
    pairs = [(row.draw, row.seed, row.test_loss - there[row.draw, row.seed]) for row in rows if (row.draw, row.seed) in there]
    if not pairs:
        return NO_DIFFERENCE
    units = _unit_means([(draw, seed) for draw, seed, _ in pairs], [value for *_, value in pairs])
    mean = float(np.mean(units))
    if len(units) < 2:
        return replace(NO_DIFFERENCE, mean=mean, units=len(units), pairs=len(pairs))
    error = float(np.std(units, ddof=1) / math.sqrt(len(units)))
    interval = stats.bootstrap(
        (units,), np.mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return Difference(mean, error, float(interval.low), float(interval.high), len(units), len(pairs))


def summarise(rows: Sequence[Row], parts: dict[str, Decomposition]) -> list[Summary]:
    """One summary per variant, in the order of ``rows``, with the difference to the best symmetry (baselines cannot be it)."""
    groups = {name: [row for row in rows if row.symmetry == name] for name in dict.fromkeys(row.symmetry for row in rows)}
    best = best_symmetry(rows)
    return [
        _summary(group, parts.get(name), NO_DIFFERENCE if best in (None, name) else paired_difference(group, groups[best]))
        for name, group in groups.items()
    ]


def best_symmetry(rows: Sequence[Row]) -> str | None:
    """The symmetry with the lowest mean test loss; None without any."""
    losses: dict[str, list[float]] = {}
    for row in rows:
        if row.kind == "symmetry":
            losses.setdefault(row.symmetry, []).append(row.test_loss)
    return min(losses, key=lambda name: statistics.fmean(losses[name]), default=None)


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
        test_loss_std=statistics.stdev(test) if len(test) > 1 else nan,
        test_loss_error=float(np.std(units, ddof=1) / math.sqrt(len(units))) if len(units) > 1 else nan,
        val_loss=statistics.fmean(validation),
        val_loss_std=statistics.stdev(validation) if len(validation) > 1 else nan,
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
        seconds=statistics.fmean(row.seconds for row in rows),
    )


def _unit_means(keys: Sequence[tuple[int, int]], values: Sequence[float]) -> np.ndarray:
    """Means over what is independent: over the seeds of each draw, or the values themselves when there is one draw."""
    draws = [draw for draw, _ in keys]
    if len(set(draws)) == 1:
        return np.array(values)
    return np.array(
        [np.mean([value for value, draw in zip(values, draws, strict=True) if draw == each]) for each in dict.fromkeys(draws)]
    )


HEADER = ["symmetry", "clusters", "weights", "test loss", "bias^2", "variance", "less best symmetry", "n"]


def table_cells(summaries: Sequence[Summary]) -> list[list[str]]:
    """The printed table, cell by cell: mean +- std over trials, and paired differences with their interval."""
    return [
        [
            summary.symmetry,
            str(summary.num_clusters),
            str(summary.num_weights),
            _number(summary.test_loss) + ("" if math.isnan(summary.test_loss_std) else f" +- {_number(summary.test_loss_std)}"),
            _number(summary.bias2),
            _number(summary.variance),
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
    lines = [HEADER, ["---"] + ["---:"] * (len(HEADER) - 1), *table_cells(summaries)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def verdict(rows: Sequence[Row], log_orders: dict[str, float]) -> str:
    """The plain sentences under the table: which symmetry is best, whether it is interior, and how sure that is.

    ``log_orders`` holds the logarithm of each symmetry's group order: what makes a group the smallest or the largest.
    """
    best = best_symmetry(rows)
    if best is None:
        return "No trial of any symmetry ended well: there is nothing to compare."
    groups = {name: [row for row in rows if row.symmetry == name] for name in dict.fromkeys(row.symmetry for row in rows)}
    names = [name for name in groups if name in log_orders]
    clusters = groups[best][0].num_clusters
    best_text = f"Best symmetry: {best} ({clusters} cluster{'' if clusters == 1 else 's'})"
    if len(names) < 2:
        return f"{best_text}, the only one of this study: nothing to compare it with."
    smallest, largest = min(names, key=log_orders.__getitem__), max(names, key=log_orders.__getitem__)
    means = {name: statistics.fmean(row.test_loss for row in group) for name, group in groups.items()}
    runner_up = min((name for name in names if name != best), key=means.__getitem__)
    place, rivals = _place(best, smallest, largest, runner_up, len(names))
    sentences = [f"{best_text}, {place}."]
    sentences += [f"It beats {name} by {_sure(paired_difference(groups[name], groups[best]))}." for name in rivals]
    better = [name for name, mean in means.items() if name not in names and mean < means[best]]
    if better:
        sentences.append(
            f"No symmetry beats every baseline: {', '.join(better)} {'has' if len(better) == 1 else 'have'} a lower test loss."
        )
    return " ".join(sentences)


def _place(best: str, smallest: str, largest: str, runner_up: str, num_groups: int) -> tuple[str, list[str]]:
    """Where the best stands among the groups, and whom it should be compared with."""
    if best not in (smallest, largest):
        return "neither the smallest nor the largest group of the study", [largest, smallest]
    which, opposite = ("smallest", largest) if best == smallest else ("largest", smallest)
    if num_groups == 2:
        return f"the {which} of the two groups, so there is no interior optimum to find", [opposite]
    return f"the {which} group of the study: the optimum is not interior", list(dict.fromkeys([runner_up, opposite]))


def _sure(difference: Difference) -> str:
    if not difference.pairs:
        return "an unknown amount: no trial of the two shares draw and seed"
    if math.isnan(difference.error):
        return f"{_number(difference.mean)} (one pair of trials: no error can be given)"
    unit = "draws" if difference.pairs > difference.units else "pairs"
    text = (
        f"{_number(difference.mean)} +- {_number(difference.error)} (paired, standard error over {difference.units} {unit}, "
        f"{CONFIDENCE:.0%} interval {_number(difference.low)} to {_number(difference.high)})"
    )
    if difference.units < FEW:
        return f"{text}, from too few {unit} to be sure"
    return text if difference.is_resolved else f"{text}, which these trials do not resolve from zero"


def _difference_text(summary: Summary) -> str:
    if math.isnan(summary.difference):
        return "-"
    if math.isnan(summary.difference_low):
        return _number(summary.difference)
    return f"{_number(summary.difference)} [{_number(summary.difference_low)}, {_number(summary.difference_high)}]"


def _number(value: float) -> str:
    """Four significant digits, without an exponent where a reader can do without."""
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e3 or value == 0 else f"{value:.3g}"
