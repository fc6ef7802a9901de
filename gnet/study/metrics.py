"""The errors a task is judged by, such as MAE at each horizon: means over trials, and differences to the best symmetry."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from gnet.study.journal import Row, parse_metrics
from gnet.study.tables import best_symmetry, by_variant, markdown_rows, number_text, paired_units, spread


@dataclass(frozen=True)
class MetricSummary:
    """One metric of one variant: mean and standard deviation over its trials, and the paired difference to the best symmetry.

    The difference and its standard error are those of ``paired_difference``; NaN for the best itself, and where no trial is
    shared or none recorded the metric.
    """

    mean: float
    std: float
    difference: float
    difference_error: float

    def cells(self) -> list[str]:
        """Its cells in ``summary.csv``; what is undetermined stays empty."""
        values = (self.mean, self.std, self.difference, self.difference_error)
        return ["" if math.isnan(value) else f"{value:.9g}" for value in values]


Metrics = Mapping[str, Mapping[str, MetricSummary]]
"""By variant, then by metric."""


def summarise_metrics(rows: Sequence[Row]) -> Metrics:
    """Every metric of every variant, in the order of ``rows``; a trial that did not record a metric does not count for it.

    Example:
        >>> common = {"num_clusters": 1, "draw": 0, "seed": 0, "num_weights": 1, "equivariance_error": 0.0, "seconds": 0.0}
        >>> common |= {"kind": "symmetry", "run_seed": 0, "test_loss": 3.0}
        >>> rows = [Row("a", val_loss=0.0, metrics="mae=2", **common), Row("b", val_loss=1.0, metrics="mae=2.5", **common)]
        >>> summarise_metrics(rows)["b"]["mae"].difference
        0.5
    """
    groups, best = by_variant(rows), best_symmetry(rows)
    names = dict.fromkeys(name for row in rows for name in parse_metrics(row.metrics))
    found: dict[str, dict[str, MetricSummary]] = {variant: {} for variant in groups}
    for name in names:
        value = partial(_value, name)
        having = {variant: [row for row in group if not math.isnan(value(row))] for variant, group in groups.items()}
        for variant, group in having.items():
            other = [] if best in (None, variant) else having[best]
            units, _ = paired_units(group, other, value)
            values = [value(row) for row in group]
            found[variant][name] = MetricSummary(
                float(np.mean(values)) if values else math.nan,
                spread(values),
                float(np.mean(units)) if len(units) else math.nan,
                spread(units) / math.sqrt(len(units)) if len(units) else math.nan,
            )
    return found


def metric_columns(metrics: Metrics) -> list[str]:
    """The columns that metrics add to ``summary.csv``: ``test_mae``, ``test_mae_std``, ``test_mae_difference``, ..."""
    names = dict.fromkeys(name for of_variant in metrics.values() for name in of_variant)
    return [f"test_{name}{end}" for name in names for end in ("", "_std", "_difference", "_difference_error")]


def metric_cells(of_variant: Mapping[str, MetricSummary]) -> list[str]:
    """The cells of a variant below ``metric_columns``."""
    return [cell for summary in of_variant.values() for cell in summary.cells()]


def metric_table(metrics: Metrics) -> str:
    """A line for each metric, a column for each variant: mean +- std, in brackets the difference to the best symmetry.

    Empty where the data have no metric.
    """
    names = dict.fromkeys(name for of_variant in metrics.values() for name in of_variant)
    lines = [[name, *(_cell(of_variant[name]) for of_variant in metrics.values())] for name in names]
    return markdown_rows(["test", *metrics], lines) if lines else ""


def _value(name: str, row: Row) -> float:
    return parse_metrics(row.metrics).get(name, math.nan)


def _cell(summary: MetricSummary) -> str:
    if math.isnan(summary.mean):
        return "not recorded"
    text = number_text(summary.mean) + ("" if math.isnan(summary.std) else f" +- {number_text(summary.std)}")
    if math.isnan(summary.difference):
        return text
    error = "" if math.isnan(summary.difference_error) else f" +- {number_text(summary.difference_error)}"
    return f"{text} ({summary.difference:+.4g}{error})"
