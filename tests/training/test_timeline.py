"""Time stamps go on beyond the end of a series only where they have a usual step."""

import pytest

from gnet.training.timeline import continued


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
