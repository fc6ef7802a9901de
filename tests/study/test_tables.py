"""Tables: paired differences, and sentences that say no more than the trials do."""

import dataclasses
import math

import numpy as np
import pytest

from gnet.measures.decomposition import decompose, residual_gram
from gnet.study.journal import Row
from gnet.study.tables import SUMMARY_COLUMNS, best_symmetry, markdown_table, paired_difference, summarise, text_table, verdict

NAMES = {"S8": 1, "S4^2": 2, "trivial": 8}
LOG_ORDERS = {"S8": math.log(40320), "S4^2": math.log(576), "trivial": 0.0}


def trials(
    means: dict[str, float], draws: int = 1, seeds: int = 5, spread: float = 0.001, validation: dict[str, float] | None = None
) -> list[Row]:
    """Rows with the given mean test losses, and validation losses if they are others; (draw, seed) moves all variants alike,
    and a little noise each for itself.
    """
    generator = np.random.default_rng(0)
    common = generator.standard_normal((draws, seeds))
    return [
        Row(
            name,
            NAMES.get(name, 8),
            draw,
            seed,
            (validation or means)[name] + common[draw, seed],
            mean + common[draw, seed] + spread * generator.standard_normal(),
            10,
            0.0,
            1.0,
            kind,
            seed,
        )
        for name, mean in means.items()
        for kind in ["symmetry" if name in NAMES else "baseline"]
        for draw in range(draws)
        for seed in range(seeds)
    ]


def of(rows: list[Row], name: str) -> list[Row]:
    return [row for row in rows if row.symmetry == name]


def test_pairing_removes_what_trials_share() -> None:
    rows = trials({"S8": 3.0, "trivial": 1.0}, seeds=10)
    difference = paired_difference(of(rows, "S8"), of(rows, "trivial"))
    assert difference.mean == pytest.approx(2.0, abs=0.02)
    assert difference.error < 0.01  # against a spread of 1 between seeds
    assert difference.low < difference.mean < difference.high
    assert difference.is_resolved
    assert (difference.units, difference.pairs) == (10, 10)


def test_seeds_of_one_draw_are_not_independent() -> None:
    rows = trials({"S8": 3.0, "trivial": 1.0}, draws=4, seeds=5)
    difference = paired_difference(of(rows, "S8"), of(rows, "trivial"))
    assert (difference.units, difference.pairs) == (4, 20)
    per_draw = [
        np.mean([a.test_loss - b.test_loss for a, b in zip(of(rows, "S8"), of(rows, "trivial"), strict=True) if a.draw == d])
        for d in range(4)
    ]
    assert difference.error == pytest.approx(np.std(per_draw, ddof=1) / 2)


def test_only_common_trials_are_paired() -> None:
    rows = trials({"S8": 3.0, "trivial": 1.0}, seeds=3)
    assert paired_difference(of(rows, "S8")[:2], of(rows, "trivial")[1:]).pairs == 1
    assert math.isnan(paired_difference(of(rows, "S8")[:1], of(rows, "trivial")[1:]).mean)


@pytest.mark.parametrize(("draws", "seeds", "counted"), [(1, 4, "4 pairs"), (4, 3, "4 draws"), (1, 1, "1 pair")])
def test_few_independent_trials_get_no_interval(draws: int, seeds: int, counted: str) -> None:
    rows = trials({"S8": 3.0, "trivial": 1.0}, draws=draws, seeds=seeds)
    difference = paired_difference(of(rows, "S8"), of(rows, "trivial"))
    assert difference.mean == pytest.approx(2.0, abs=0.02)
    assert math.isnan(difference.low) and math.isnan(difference.high) and not difference.is_resolved
    assert f"; {counted}: too few for an interval)" in verdict(rows, LOG_ORDERS)
    summaries = summarise(rows, {})
    assert f"({counted}: too few)" in text_table(summaries) and "[" not in text_table(summaries)
    cells = dict(zip(SUMMARY_COLUMNS, summaries[0].cells(), strict=True))
    assert cells["difference_low"] == cells["difference_high"] == "" and cells["num_units"] == counted.split()[0]


def test_bootstrap_intervals_cover() -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        noise = generator.standard_normal(20)
        rows = [Row("a", 1, 0, s, 0.0, float(noise[s]), 1, 0.0, 0.0, "symmetry", s) for s in range(20)]
        zero = [dataclasses.replace(row, test_loss=0.0) for row in rows]
        difference = paired_difference(rows, zero)
        hits += difference.low <= 0 <= difference.high
    assert hits >= 85  # 95 nominal, less the percentile bootstrap's known optimism at n = 20


def test_validation_chooses_and_test_only_measures() -> None:
    test, validation = {"S8": 3.0, "S4^2": 1.2, "trivial": 0.95}, {"S8": 3.0, "S4^2": 1.0, "trivial": 2.0}
    rows = trials(test, validation=validation)
    assert best_symmetry(rows) == "S4^2"
    assert {summary.symmetry: summary.difference > 0 for summary in summarise(rows, {})}["trivial"] is False
    text = verdict(rows, LOG_ORDERS)
    assert text.startswith(
        "Best symmetry: S4^2 (2 clusters), neither the smallest nor the largest group of the study. It was chosen"
    )
    assert "chosen by its mean validation loss, " in text
    assert "The test loss would choose another: trivial (8 clusters), the smallest group of the study: the optimum" in text
    assert "It is behind trivial by 0.2" in text and "It is ahead of S8 by 1.8" in text
    assert text.count("trivial by") == 1
    agreeing = verdict(trials(validation), LOG_ORDERS)
    assert ", the lowest too." in agreeing and "another" not in agreeing


def test_without_validation_losses_nothing_is_chosen() -> None:
    rows = [dataclasses.replace(row, val_loss=math.nan) for row in trials({"S8": 3.0, "trivial": 1.0})]
    assert best_symmetry(rows) is None
    assert verdict(rows, LOG_ORDERS) == (
        "No validation loss was measured, so no symmetry is chosen; trivial has the lowest test loss."
    )
    assert {summary.num_pairs for summary in summarise(rows, {})} == {0}


def test_the_choice_is_over_trials_that_all_symmetries_share() -> None:
    rows = trials({"S8": 3.0, "S4^2": 1.0, "trivial": 2.0}, seeds=6)
    hard, easy = (dataclasses.replace(of(rows, "S4^2")[0], seed=seed, val_loss=value) for seed, value in ((7, 99.0), (8, 0.5)))
    assert best_symmetry([*rows, hard]) == "S4^2"  # whom a hard seed of its own must not harm
    assert "These means are over the 6 trials that all symmetries have." in verdict([*rows, hard, easy], LOG_ORDERS)
    assert "These means" not in verdict(rows, LOG_ORDERS)
    apart = [*of(rows, "S8")[:3], *of(rows, "trivial")[3:]]
    assert "share no trial, so these means are over different ones" in verdict(apart, LOG_ORDERS)
    assert "It shares no trial with " in verdict(apart, LOG_ORDERS)


def test_variants_with_groups_of_one_order_are_no_curve() -> None:
    rows = trials({"S8": 3.0, "S4^2": 1.0, "trivial": 2.0})
    assert "S4^2 (2 clusters), whose group is as large as any other of the study." in verdict(rows, dict.fromkeys(NAMES, 0.0))
    two_sizes = verdict(rows, {"S8": 1.0, "S4^2": 0.0, "trivial": 0.0})
    assert "the smallest of the two groups, so there is no interior optimum to find" in two_sizes


def test_the_best_is_a_symmetry() -> None:
    assert best_symmetry(trials({"S8": 3.0, "S4^2": 1.0, "trivial": 2.0, "ridge": 0.0})) == "S4^2"
    assert best_symmetry(trials({"ridge": 0.0})) is None


def test_an_interior_optimum_is_called_one() -> None:
    text = verdict(trials({"S8": 3.0, "S4^2": 1.0, "trivial": 2.0}), LOG_ORDERS)
    assert text.startswith("Best symmetry: S4^2 (2 clusters), neither the smallest nor the largest group of the study.")
    assert "It is ahead of S8 by 2.0" in text and "It is ahead of trivial by 1.0" in text
    assert "do not resolve" not in text


@pytest.mark.parametrize(("best", "place"), [("S8", "the largest group"), ("trivial", "the smallest group")])
def test_an_end_is_called_an_end(best: str, place: str) -> None:
    means = {"S8": 3.0, "S4^2": 2.005, "trivial": 3.0, best: 1.0}
    text = verdict(trials(means), LOG_ORDERS)
    assert f"Best symmetry: {best}" in text
    assert f"{place} of the study: the optimum is not interior" in text
    assert "It is ahead of S4^2 by 1.0" in text


def test_what_is_not_resolved_is_said() -> None:
    assert "which these trials do not resolve from zero" in verdict(trials({"S8": 1.0, "S4^2": 1.0, "trivial": 1.0}), LOG_ORDERS)


def test_few_groups_are_not_called_a_curve() -> None:
    assert "the largest of the two groups, so there is no interior optimum to find" in verdict(
        trials({"S8": 1.0, "trivial": 2.0}), LOG_ORDERS
    )
    assert "nothing to compare it with" in verdict(trials({"S8": 1.0}), LOG_ORDERS)
    assert "No trial of any symmetry" in verdict(trials({"ridge": 1.0}), LOG_ORDERS)


def test_a_better_baseline_is_admitted() -> None:
    text = verdict(trials({"S8": 3.0, "S4^2": 1.0, "trivial": 2.0, "ridge": 0.55, "mean": 9.0}), LOG_ORDERS)
    assert "It does not beat every baseline: ridge is lower by 0.4" in text
    assert text.endswith(").") and "mean is lower" not in text


def test_summaries_hold_what_the_csv_promises() -> None:
    rows = trials({"S8": 3.0, "trivial": 1.0, "ridge": 0.5}, draws=3, seeds=2)
    predictions = np.random.default_rng(0).standard_normal((6, 7))
    parts = {"S8": decompose(residual_gram(predictions, np.zeros(7)), [0, 0, 1, 1, 2, 2])}
    summaries = {summary.symmetry: summary for summary in summarise(rows, parts)}
    assert list(summaries) == ["S8", "trivial", "ridge"]
    assert summaries["S8"].n == 6 and summaries["S8"].num_draws == 3
    assert summaries["S8"].bias2 == parts["S8"].bias2
    assert summaries["S8"].test_loss_std == pytest.approx(np.std([row.test_loss for row in of(rows, "S8")], ddof=1))
    assert summaries["S8"].difference == pytest.approx(2.0, abs=0.05)
    assert math.isnan(summaries["trivial"].difference)
    cells = dict(zip(SUMMARY_COLUMNS, summaries["trivial"].cells(), strict=True))
    assert cells["bias2"] == "" and cells["difference"] == "" and cells["n"] == "6"


def test_tables_line_up() -> None:
    summaries = summarise(trials({"S8": 3.0, "trivial": 1.0}), {})
    lines = text_table(summaries).splitlines()
    assert len(lines) == 4
    assert lines[0].split()[:3] == ["symmetry", "clusters", "weights"]
    assert len({len(line) for line in lines}) == 1
    assert markdown_table(summaries).count("\n") == 3
