"""Exact integer algebra of exponents: dimensionless products, products of given units, both with small exponents."""

import math
from collections.abc import Sequence
from fractions import Fraction
from numbers import Rational
from typing import Any

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from sympy import ZZ
from sympy.polys.matrices import DomainMatrix
from torch import Tensor

from gnet.errors import ShapeError, UnitsError

Row = list[int]


def dimensionless_basis(U: Tensor | Sequence[Sequence[int]], reduce: bool = True) -> Tensor:
    """A basis of all products x_1^a_1 ... x_n^a_n without units: the integer rows a with a U = 0.

    There are n - rank U of them, and *every* product without units is one of their products with whole exponents. Row operations
    on [U | I] in integers of any size give a basis, LLL one with small exponents; the first exponent of each row is positive,
    rows with small exponents come first.

    Args:
        U: row i has the exponents of the base units of x_i.
        reduce: LLL; without it exponents may be large.

    Shapes:
        U: (n, k) integers    returns: (n - rank U, n) int64

    Raises:
        ShapeError: no matrix.
        UnitsError: exponents that are no integers.

    References:
        Villar, Yao, Hogg, Blum-Smith and Dumitrascu (2023), arXiv:2204.00887; Lenstra, Lenstra and Lovász (1982),
        doi:10.1007/BF01457454.

    Example:
        >>> dimensionless_basis([[1, 0], [1, 0], [1, -2], [0, 1]])  # two lengths, an acceleration, a time
        tensor([[ 1, -1,  0,  0],
                [ 1,  0, -1, -2]])
    """
    rows = exponent_rows(U)
    n = len(rows)
    transform, echelon = row_echelon(rows)
    kernel = [row for row, image in zip(transform, echelon, strict=True) if not any(image)]
    if reduce:
        kernel = reduced(kernel, n)
    kernel = [row if next(each for each in row if each) > 0 else [-each for each in row] for row in kernel]
    return torch.tensor(sorted(kernel, key=_smallness), dtype=torch.int64).reshape(len(kernel), n)


def scaling_exponents(
    U: Tensor | Sequence[Sequence[int]], b: Sequence[int], rational: bool = False
) -> tuple[int | Fraction, ...]:
    """The exponents of a product of the x_i with units b: smallest sum of sizes, then fewest factors, then the first ones.

    The minimum is found by integer programming over all solutions and checked in exact integers.

    Args:
        U: row i has the exponents of the base units of x_i.
        b: of the base units of the product.
        rational: whether fractions are accepted where whole exponents do not do; the smallest common denominator is taken. Then
            the x_i must be positive.

    Shapes:
        U: (n, k)    b: (k,)    returns: n numbers, ``int`` or ``Fraction``

    Raises:
        ShapeError: b has other than k exponents.
        UnitsError: no product has these units, or only one with fractions and ``rational`` is off.

    References:
        Villar, Yao, Hogg, Blum-Smith and Dumitrascu (2023), arXiv:2204.00887; the rule of ties is ours.

    Example:
        >>> length, gravity, mass = (0, 1, 0), (0, 1, -2), (1, 0, 0)  # kg, m, s
        >>> scaling_exponents([length, gravity, mass], (0, 0, 2))  # a time squared
        (1, -1, 0)
        >>> [str(each) for each in scaling_exponents([length, gravity, mass], (0, 0, 1), rational=True)]
        ['1/2', '-1/2', '0']
    """
    rows, target = exponent_rows(U), list(b)
    if any(len(row) != len(target) for row in rows):
        raise ShapeError(f"expected one exponent for each of the {len(rows[0]) if rows else 0} base units, got {len(target)}")
    target = exponent_rows([target])[0]
    transform, echelon = row_echelon(rows)
    coefficients = _in_rows(echelon, target)
    if coefficients is None:
        raise UnitsError(f"no product of the inputs has units {target}: they are outside the span of the units of the inputs")
    denominator = math.lcm(*(each.denominator for each in coefficients)) if coefficients else 1
    if denominator > 1 and not rational:
        raise UnitsError(
            f"products with units {target} have fractional exponents (denominator {denominator}); "
            "rational=True takes them for positive inputs"
        )
    whole = [int(each * denominator) for each in coefficients]
    particular = [sum(c * transform[i][j] for i, c in enumerate(whole)) for j in range(len(rows))]
    kernel = [row for row, image in zip(transform, echelon, strict=True) if not any(image)]
    found = _smallest(rows, [denominator * each for each in target], particular, kernel)
    if denominator == 1:
        return tuple(found)
    return tuple(exact(Fraction(each, denominator)) for each in found)


def exponent_rows(U: Tensor | Sequence[Sequence[int]] | np.ndarray[Any, Any]) -> list[Row]:
    """Rows of Python integers.

    Raises:
        ShapeError: no matrix.
        UnitsError: exponents that are no integers.

    Example:
        >>> exponent_rows(torch.tensor([[1.0, -2.0]]))
        [[1, -2]]
    """
    given = U.tolist() if isinstance(U, Tensor | np.ndarray) else [list(row) for row in U]
    if any(not isinstance(row, list) for row in given) or len({len(row) for row in given}) > 1:
        raise ShapeError("expected a matrix (n, k): for each of n inputs the exponents of k base units")
    for row in given:
        if wrong := [each for each in row if each != int(each)]:
            raise UnitsError(f"expected whole exponents of base units, got {wrong[0]}")
    return [[int(each) for each in row] for row in given]


def row_echelon(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """A unimodular T and T U in echelon form, zero rows last, by Euclid's algorithm in exact integers.

    Shapes:
        rows: U, (n, k)    returns: T (n, n) and T U (n, k)

    Example:
        >>> row_echelon([[2], [3]])
        ([[-1, 1], [3, -2]], [[1], [0]])
    """
    n, k = len(rows), len(rows[0]) if rows else 0
    table = [[*row, *(int(i == j) for j in range(n))] for i, row in enumerate(rows)]
    top = 0
    for column in range(k):
        while True:
            left = [i for i in range(top, n) if table[i][column]]
            if not left:
                break
            best = min(left, key=lambda i: (abs(table[i][column]), sum(map(abs, table[i]))))
            table[top], table[best] = table[best], table[top]
            pivot = table[top]
            for i in range(top + 1, n):
                if factor := table[i][column] // pivot[column]:
                    table[i] = [a - factor * b for a, b in zip(table[i], pivot, strict=True)]
            if not any(table[i][column] for i in range(top + 1, n)):
                top += 1
                break
    return [row[k:] for row in table], [row[:k] for row in table]


def rank(U: Tensor | Sequence[Sequence[int]]) -> int:
    """The rank of an integer matrix, exactly.

    Example:
        >>> rank([[1, -1], [2, -2]])
        1
    """
    return sum(any(row) for row in row_echelon(exponent_rows(U))[1])


def reduced(basis: list[Row], n: int) -> list[Row]:
    """The LLL-reduced basis of the same lattice, by sympy in exact arithmetic.

    Example:
        >>> sorted(reduced([[1, 0], [7, 1]], 2))
        [[0, 1], [1, 0]]
    """
    if len(basis) < 2:
        return basis
    matrix = DomainMatrix([[ZZ(each) for each in row] for row in basis], (len(basis), n), ZZ)
    return [[int(each) for each in row] for row in matrix.lll().to_list()]


def _smallness(row: Row) -> tuple[int, int, Row]:
    """What is compared: sum of sizes, number of factors, and then larger first exponents."""
    return sum(map(abs, row)), sum(each != 0 for each in row), [-each for each in row]


def exact(value: float | Fraction) -> int | Fraction:
    """An exponent as integer or fraction; a float is taken for the nearest fraction with a denominator of at most 1000.

    Example:
        >>> exact(2.0), exact(0.5), exact(1 / 3), exact(Fraction(4, 2))
        (2, Fraction(1, 2), Fraction(1, 3), 2)
    """
    found = Fraction(value) if isinstance(value, Rational) else Fraction(float(value)).limit_denominator(1000)
    return int(found) if found.denominator == 1 else found


def _in_rows(echelon: Sequence[Row], target: Row) -> list[Fraction] | None:
    """The coefficients with which rows in echelon form sum up to the target; None where they cannot."""
    left, found = [Fraction(each) for each in target], []
    for row in echelon:
        column = next((j for j, each in enumerate(row) if each), None)
        factor = Fraction(0) if column is None else left[column] / row[column]
        found.append(factor)
        left = [a - factor * b for a, b in zip(left, row, strict=True)]
    return None if any(left) else found


def _smallest(rows: Sequence[Row], target: Row, particular: Row, kernel: list[Row]) -> Row:
    """Among the integer solutions the first in the order of ``_smallness``."""
    n = len(rows)
    start = _near_zero(particular, reduced(kernel, n))
    if not kernel or not any(start):
        return start
    bound = sum(map(abs, start))  # no solution with a smaller sum has a larger entry
    plus, minus, used = range(n), range(n, 2 * n), range(2 * n, 3 * n)
    matrix = np.array(rows, dtype=float).T
    units = np.hstack([matrix, -matrix, np.zeros_like(matrix)])
    cover = np.hstack([np.eye(n), np.eye(n), -bound * np.eye(n)])  # |a_i| <= bound used_i
    fixed: list[LinearConstraint] = [LinearConstraint(units, target, target), LinearConstraint(cover, -np.inf, 0)]
    upper = np.array([bound] * 2 * n + [1.0] * n)
    sizes, counts = np.zeros(3 * n), np.zeros(3 * n)
    sizes[[*plus, *minus]], counts[list(used)] = 1.0, 1.0

    def solved(cost: np.ndarray[Any, Any]) -> tuple[int, Row]:
        found = milp(cost, constraints=fixed, integrality=np.ones(3 * n), bounds=Bounds(0, upper))
        values = np.rint(found.x).astype(int)
        return int(np.rint(cost @ values)), (values[:n] - values[n : 2 * n]).tolist()

    for cost in (sizes, counts):
        value, best = solved(cost)
        fixed.append(LinearConstraint(cost[None], value, value))
    for i in range(n):
        if not any(best[i:]):
            break
        cost = np.zeros(3 * n)
        cost[i], cost[n + i] = -1.0, 1.0
        value, best = solved(cost)
        fixed.append(LinearConstraint(cost[None], value, value))
    if [sum(a * row[j] for a, row in zip(best, rows, strict=True)) for j in range(len(target))] != target:
        raise UnitsError(f"integer programming missed the units {target} by rounding; give the scaling yourself")
    return best


def _near_zero(particular: Row, basis: Sequence[Row]) -> Row:
    """A solution with small entries: rows of the basis are taken off while that makes the sum of sizes smaller."""
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
