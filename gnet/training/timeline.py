"""Time stamps: whether a cut in time keeps past and future apart, and those beyond the end of a series."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor

from gnet.errors import DataError

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


def check_order(file: Path, labels: Sequence[str], parts: Mapping[Any, Tensor]) -> None:
    """Refuse a cut in time whose parts reach into one another, as those of rows that are not sorted by time do.

    Dates tell time, and so do numbers that are all different and do not count down; other labels are taken as they come.

    Raises:
        DataError: a moment of one part is not before all those of the next.

    Example:
        >>> days = ["2026-01-03", "2026-01-02", "2026-01-01"]
        >>> check_order(Path("x.csv"), days, {"train": torch.tensor([0, 1]), "test": torch.tensor([2])})
        Traceback (most recent call last):
        gnet.errors.DataError: x.csv: a split by time would leak: the train part reaches to '2026-01-03', the test part starts \
at '2026-01-01'; sort the rows by time, oldest first
    """
    for read, _ in KINDS:
        try:
            at = [read(label) for label in labels]
            # Hours of the day repeat and are no time; numbers that only fall count down.
            if read is Decimal and (len(set(at)) < len(at) or all(later < earlier for earlier, later in pairwise(at))):
                return
            for (before, rows), (after, others) in pairwise(parts.items()):
                latest, earliest = max(rows.tolist(), key=at.__getitem__), min(others.tolist(), key=at.__getitem__)
                if at[latest] >= at[earliest]:
                    raise DataError(
                        f"{file}: a split by time would leak: the {before} part reaches to {labels[latest]!r}, the {after} "
                        f"part starts at {labels[earliest]!r}; sort the rows by time, oldest first"
                    )
            return
        except DataError:  # a ValueError, too
            raise
        except (ValueError, ArithmeticError, TypeError):
            continue


def _as_date(moment: datetime, like: str) -> str:
    """In the form of ``like``: only a date, or with minutes, or seconds, or a zone."""
    text = moment.isoformat(sep=like[10:11] or "T")
    return (text.replace("+00:00", "Z") if like.endswith("Z") else text)[: len(like)]


# Dates before numbers: 20260131 is followed by no 20260132.
KINDS: tuple[tuple[Callable[[str], Any], Callable[[Any, str], str]], ...] = (
    (datetime.fromisoformat, _as_date),
    (Decimal, lambda value, like: str(value)),
)
