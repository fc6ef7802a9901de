"""Time stamps beyond the end of a series."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

USUAL = 0.95
"""The share of steps that must be equal for the series to go on by them: months and working days have no usual step."""


def continued(labels: Sequence[str], count: int) -> list[str]:
    """The next ``count`` labels: numbers and ISO dates go on by their usual step, all others count steps from the last.

    Example:
        >>> continued(["0.1", "0.2", "0.3"], 2)
        ['0.4', '0.5']
        >>> continued(["2026-02-28 23:50", "2026-02-28 23:55"], 1)
        ['2026-03-01 00:00']
        >>> continued(["Monday", "Tuesday"], 2)
        ['Tuesday + 1', 'Tuesday + 2']
    """
    last = labels[-1]
    for read, write in KINDS:
        try:
            at = [read(label) for label in labels]
            steps = Counter(later - earlier for earlier, later in pairwise(at))
        except (ValueError, ArithmeticError, TypeError):  # TypeError: some with a time zone, some without
            continue
        step, times = steps.most_common(1)[0] if steps else (None, 0)
        if step and times >= USUAL * steps.total() and write(at[-1], last) == last:
            return [write(at[-1] + number * step, last) for number in range(1, count + 1)]
        break
    return [f"{last} + {number}" for number in range(1, count + 1)]


def _as_date(moment: datetime, like: str) -> str:
    """In the form of ``like``: only a date, or with minutes, or seconds, or a zone."""
    text = moment.isoformat(sep=like[10:11] or "T")
    return (text.replace("+00:00", "Z") if like.endswith("Z") else text)[: len(like)]


# Dates before numbers: 20260131 is followed by no 20260132.
KINDS: tuple[tuple[Callable[[str], Any], Callable[[Any, str], str]], ...] = (
    (datetime.fromisoformat, _as_date),
    (Decimal, lambda value, like: str(value)),
)
