"""Time stamps go on beyond the end of a series only where they have a usual step."""

from pathlib import Path

import pytest
import torch

from gnet.errors import DataError
from gnet.training.timeline import check_order, continued


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["0", "1", "2"], ["3", "4"]),
        (["10", "8"], ["6", "4"]),
        (["0.1", "0.2"], ["0.3", "0.4"]),  # in floating point 0.30000000000000004
        (["2026-12-30", "2026-12-31"], ["2027-01-01", "2027-01-02"]),
        (["2026-01-01 23:50", "2026-01-01 23:55"], ["2026-01-02 00:00", "2026-01-02 00:05"]),
        (["2026-01-01T22:00:00", "2026-01-01T23:00:00"], ["2026-01-02T00:00:00", "2026-01-02T01:00:00"]),
        (["2026-01-01T22:00:00Z", "2026-01-01T23:00:00Z"], ["2026-01-02T00:00:00Z", "2026-01-02T01:00:00Z"]),
        (["2026-01-01T22:00:00+05:30", "2026-01-01T23:00:00+05:30"], ["2026-01-02T00:00:00+05:30", "2026-01-02T01:00:00+05:30"]),
        ([str(row) for row in range(30) if row != 7], ["30", "31"]),  # a gap in a long series
    ],
)
def test_goes_on_by_the_usual_step(labels, expected):
    assert continued(labels, 2) == expected


@pytest.mark.parametrize(
    "labels",
    [
        ["5"],
        ["a", "b"],
        ["", ""],
        ["1", "1", "1"],
        ["1", "nan"],
        ["007", "008"],  # would go on as 9
        ["1", "2", "4"],
        ["2026-01-01", "2026-02-01", "2026-03-01"],  # months
        ["20260130", "20260131"],  # not 20260132
        ["2026-01-01T22:00:00", "2026-01-01T23:00:00Z"],
    ],
)
def test_counts_from_the_last_where_there_is_none(labels):
    assert continued(labels, 2) == [f"{labels[-1]} + 1", f"{labels[-1]} + 2"]


THIRDS = {"train": torch.tensor([0, 1]), "val": torch.tensor([2, 3]), "test": torch.tensor([4, 5])}


@pytest.mark.parametrize(
    ("labels", "early", "late"),
    [
        (["2026-01-06", "2026-01-05", "2026-01-04", "2026-01-03", "2026-01-02", "2026-01-01"], "val", "2026-01-03"),
        (["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-05", "2026-01-05", "2026-01-06"], "test", "2026-01-05"),
        (["1", "2", "3", "10", "9", "11"], "test", "9"),
    ],
)
def test_a_cut_through_rows_that_are_not_sorted_leaks(labels, early, late):
    message = f"s.csv: a split by time would leak: .*, the {early} part starts at '{late}'; sort the rows by time, oldest first"
    with pytest.raises(DataError, match=message):
        check_order(Path("s.csv"), labels, THIRDS)


@pytest.mark.parametrize(
    "labels",
    [
        ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04", "2026-01-05", "2026-01-06"],
        ["2026-01-02", "2026-01-01", "2026-01-03", "2026-01-03", "2026-01-05", "2026-01-05"],  # within a part
        ["8", "9", "10", "11", "12", "13"],  # not as text
        ["22", "23", "22", "23", "22", "23"],  # hours of the day
        ["6", "5", "4", "3", "2", "1"],  # days before an event
        ["c", "b", "a", "c", "b", "a"],
        ["2026-01-02", "2026-01-01T00:00Z", "a", "", "1", "nan"],
    ],
)
def test_labels_that_keep_the_parts_apart_or_tell_no_time(labels):
    check_order(Path("s.csv"), labels, THIRDS)
