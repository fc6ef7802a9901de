"""The smallest integer solution of a linear system: by enumeration where its sum is small, else by integer programming."""

import time
from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from gnet.errors import UnitsError

Row = list[int]
Picks = tuple[tuple[int, int], ...]
"""Inputs and the signs with which they enter, one after the other."""
SUM = 4
"""Solutions up to this sum of sizes are enumerated."""


def smallness(row: Row) -> tuple[int, int, Row]:
    """What is compared: sum of sizes, number of factors, and then larger first exponents.

    Example:
        >>> smallness([0, -2, 1])
        (3, 2, [0, 2, -1])
    """
    return sum(map(abs, row)), sum(each != 0 for each in row), [-each for each in row]


def along_line(start: Row, step: Row) -> Row:
    """The smallest of all start + t step with whole t: sizes bend only where an entry passes zero.

    Example:
        >>> along_line([7, -5], [3, -2])
        [1, -1]
    """
    places = {change(Fraction(-a, b)) for a, b in zip(start, step, strict=True) if b for change in (floor, ceil)}
    return min(([a + t * b for a, b in zip(start, step, strict=True)] for t in places), key=smallness)


def by_enumeration(rows: Sequence[Row], target: Row) -> Row | None:
    """The smallest solution with a sum of sizes of at most ``SUM``; None where there is none.

    Of inputs with the same units the rule of ties takes the first under positive exponents and the last under negative ones.
    Sums of two such steps are tabulated, and those of four looked up as pairs of these.

    Example:
        >>> by_enumeration([[1, 0], [1, 0], [1, -2]], [0, 2])
        [1, 0, -1]
    """
    steps = _steps(rows)
    known: list[dict[tuple[int, ...], list[Picks]]] = [{(0,) * len(target): [()]}, {}]
    for vector, pick in steps:
        known[1].setdefault(vector, []).append((pick,))
    for size in range(1, SUM + 1):
        if size == 3:
            known.append(_pairs(steps))
        found: set[Picks] = set()
        for vector, picks in known[size // 2].items():
            rest = tuple(a - b for a, b in zip(target, vector, strict=True))
            found |= {tuple(sorted(one + other)) for other in known[size - size // 2].get(rest, ()) for one in picks}
        if found:
            least = min(len(set(picks)) for picks in found)
            return min((_row(picks, len(rows)) for picks in found if len(set(picks)) == least), key=smallness)
    return None


def _steps(rows: Sequence[Row]) -> list[tuple[tuple[int, ...], tuple[int, int]]]:
    """Units that one factor more adds, with its input and sign."""
    first: dict[tuple[int, ...], int] = {}
    last: dict[tuple[int, ...], int] = {}
    for i, row in enumerate(rows):
        if any(row):
            first.setdefault(tuple(row), i)
            last[tuple(row)] = i
    above = [(units, (i, 1)) for units, i in first.items()]
    return above + [(tuple(-each for each in units), (i, -1)) for units, i in last.items()]


def _pairs(steps: Sequence[tuple[tuple[int, ...], tuple[int, int]]]) -> dict[tuple[int, ...], list[Picks]]:
    found: dict[tuple[int, ...], list[Picks]] = {}
    for number, (units, pick) in enumerate(steps):
        for others, other in steps[number:]:
            found.setdefault(tuple(a + b for a, b in zip(units, others, strict=True)), []).append((pick, other))
    return found


def _row(picks: Picks, n: int) -> Row:
    row = [0] * n
    for i, sign in picks:
        row[i] += sign
    return row


def by_programming(rows: Sequence[Row], target: Row, start: Row, seconds: float) -> Row:
    """The smallest solution by integer programming in floating point, verified in integers.

    Args:
        start: any solution; it bounds the others.
        seconds: for all stages together.

    Raises:
        UnitsError: the solver did not end within the time, or rounding spoiled what it found.

    Example:
        >>> by_programming([[2], [3]], [7], [2, 1], 10.0)
        [2, 1]
    """
    above, below = ([step for step in _steps(rows) if step[1][1] == sign] for sign in (1, -1))
    n, bound, until = len(above), sum(map(abs, start)), time.monotonic() + seconds
    units = np.array([units for units, _ in (*above, *below)], dtype=float).T
    cover = np.hstack([np.eye(n), np.eye(n), -bound * np.eye(n)])  # |a_i| <= bound used_i
    fixed = [LinearConstraint(np.hstack([units, np.zeros((len(target), n))]), target, target)]
    fixed.append(LinearConstraint(cover, -np.inf, 0))
    limits = Bounds(0, np.array([bound] * 2 * n + [1.0] * n))

    def solved(cost: np.ndarray[Any, Any]) -> Row:
        options = {"time_limit": max(until - time.monotonic(), 0.01), "mip_rel_gap": 0.0}
        found = milp(cost, constraints=fixed, integrality=np.ones(3 * n), bounds=limits, options=options)
        if not found.success:
            raise UnitsError(f"integer programming for the units {target} ended early: {found.message}; give a scaling")
        values = [round(each) for each in found.x]
        value = round(float(cost @ values))
        fixed.append(LinearConstraint(cost[None], value, value))
        best = [0] * len(rows)
        for (_, (i, sign)), size in zip((*above, *below), values, strict=False):
            best[i] += sign * size
        return best

    costs = np.repeat(np.eye(3), n, axis=1)
    solved(costs[0] + costs[1])
    best = solved(costs[2])
    for i in sorted({step[1][0] for step in (*above, *below)}):
        if not any(best[i:]):
            break
        sign = [-sign * (at == i) for _, (at, sign) in (*above, *below)]
        best = solved(np.array([*sign, *[0.0] * n], dtype=float))
    if [sum(a * row[j] for a, row in zip(best, rows, strict=True)) for j in range(len(target))] != target:
        raise UnitsError(f"integer programming missed the units {target} by rounding; give the scaling yourself")
    return best


def near_zero(particular: Row, basis: Sequence[Row]) -> Row:
    """A solution with small entries: rows of the basis are taken off while that makes the sum of sizes smaller.

    Example:
        >>> near_zero([9, 9], [[4, 4]])
        [1, 1]
    """
    best = particular
    while True:
        nearer = best
        for row in basis:
            square = sum(each * each for each in row)
            factor = round(Fraction(sum(a * b for a, b in zip(nearer, row, strict=True)), square))
            for times in {factor, 1, -1}:
                other = [a - times * b for a, b in zip(nearer, row, strict=True)]
                nearer = min(nearer, other, key=lambda each: sum(map(abs, each)))
        if nearer == best:
            return best
        best = nearer
