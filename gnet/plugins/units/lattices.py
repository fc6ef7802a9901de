"""Exact integer algebra of exponents: dimensionless products, products of given units, both with small exponents."""

import math
from collections.abc import Sequence
from fractions import Fraction
from numbers import Rational
from typing import Any

import numpy as np
import torch
from sympy import ZZ
from sympy.polys.matrices import DomainMatrix
from torch import Tensor

from gnet.errors import ShapeError, UnitsError
from gnet.plugins.units.smallest import along_line, by_enumeration, by_programming, near_zero, smallness

Row = list[int]
WHOLE, BLOCK = 40, 12
"""Up to so many rows are reduced at once; more of them in blocks, since LLL takes the fourth power of their number."""
SECONDS = 60.0
"""For integer programming."""


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
        UnitsError: exponents that are no integers, or products with exponents of more than 64 bits.

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
    if large := [each for row in kernel for each in row if abs(each) >= 1 << 63]:
        raise UnitsError(f"expected products with exponents of at most 64 bits, got {large[0]}; take smaller ones of units")
    return torch.tensor(sorted(kernel, key=smallness), dtype=torch.int64).reshape(len(kernel), n)


def scaling_exponents(
    U: Tensor | Sequence[Sequence[int]], b: Sequence[int], rational: bool = False
) -> tuple[int | Fraction, ...]:
    """The exponents of a product of the x_i with units b: smallest sum of sizes, then fewest factors, then the first ones.

    Sums of up to four are enumerated in exact integers; larger ones are found by integer programming and checked in them.

    Args:
        U: row i has the exponents of the base units of x_i.
        b: of the base units of the product.
        rational: whether fractions are accepted where whole exponents do not do; the smallest common denominator is taken. Then
            the x_i must be positive.

    Shapes:
        U: (n, k)    b: (k,)    returns: n numbers, ``int`` or ``Fraction``

    Raises:
        ShapeError: b has other than k exponents.
        UnitsError: no product has these units, or only one with fractions and ``rational`` is off, or the integer program took
            longer than a minute.

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
    given = U.tolist() if isinstance(U, Tensor | np.ndarray) else list(U)
    if texts := [row for row in given if isinstance(row, str)]:
        raise UnitsError(f"expected exponents of base units, got {texts[0]!r}; Units(...).matrix makes them of texts")
    if any(not isinstance(row, Sequence | Tensor | np.ndarray) for row in given) or len({len(row) for row in given}) > 1:
        raise ShapeError("expected a matrix (n, k): for each of n inputs the exponents of k base units")
    for row in given:
        if wrong := [each for each in row if each % 1 != 0]:  # NaN and infinity have no rest, either
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
    """The LLL-reduced basis of the same lattice, by sympy in exact arithmetic; of many rows each block is reduced.

    Example:
        >>> sorted(reduced([[1, 0], [7, 1]], 2))
        [[0, 1], [1, 0]]
    """
    if len(basis) < 2:
        return basis
    if len(basis) > WHOLE:
        return [row for i in range(0, len(basis), BLOCK) for row in reduced(basis[i : i + BLOCK], n)]
    matrix = DomainMatrix([[ZZ(each) for each in row] for row in basis], (len(basis), n), ZZ)
    return [[int(each) for each in row] for row in matrix.lll().to_list()]


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
    """Among the integer solutions the first in the order of ``smallness``."""
    if not any(target):
        return [0] * len(rows)
    if not kernel:
        return particular
    if len(kernel) == 1:
        return along_line(particular, kernel[0])
    found = by_enumeration(rows, target)
    return found or by_programming(rows, target, near_zero(particular, reduced(kernel, len(rows))), SECONDS)
