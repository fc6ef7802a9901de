"""Search for a dimensional constant that is missing: its units by what it predicts, its value by where the law bends."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from gnet.errors import DegenerateInputError, ShapeError
from gnet.plugins.units.lattices import exponent_rows, scaling_exponents
from gnet.plugins.units.transformer import DimensionlessFeatures

Array = np.ndarray[Any, Any]
WINDOW, SHARE = 8, 8
"""Points of a window in which a slope is measured: as many, or one in so many of all where that is more."""


@dataclass(frozen=True)
class Found:
    """A constant that makes the inputs dimensionless.

    Attributes:
        exponents: of the inputs in the product that has its units.
        units: of the constant.
        value: in base units, where the law bends, see ``bend``; NaN where it does not within the data.
        ties: all products that the data cannot tell from this one, since they differ in columns that never vary.
        errors: of every group of such ties, by its first member: root mean square of ln y at groups left out.
    """

    exponents: tuple[int, ...]
    units: tuple[int, ...]
    value: float
    ties: tuple[tuple[int, ...], ...]
    errors: dict[tuple[int, ...], float]


def candidates(num: int, entries: Sequence[int] = (1, 0, -1)) -> Iterator[tuple[int, ...]]:
    """Exponents of the inputs whose product would be a constant; of a product and its inverse, the first.

    Example:
        >>> found = list(candidates(4))
        >>> len(found), (1, 1, -1, 1) in found, (-1, -1, 1, -1) in found
        (40, True, False)
    """
    for row in itertools.product(entries, repeat=num):
        if next((each for each in row if each), -1) > 0:
            yield row


def with_constant(X: Array, value: float) -> Array:
    """A last column, of a constant."""
    return np.column_stack([X, np.full(len(X), value)])


def bend(product: Array, y: Array) -> float:
    """Where y, of the product and a constant alone, begins to depend on the constant: its exponent there has size one.

    If y = F(product / constant), the local exponent of the constant is minus the slope of ln y over ln product: 0 where the law
    does without it. A slope is that of a line through neighbouring points. A constant is only known up to a pure number, which F
    takes up; this convention settles it by the measured y alone. Of several places the middle one is taken.

    Shapes:
        product, y: (samples,), positive

    Raises:
        ShapeError: other than one y for each product.
        DegenerateInputError: the slope never is one within the data, numbers that are not positive, or fewer than eight points.

    Example:
        >>> x = np.logspace(-2, 2, 200)
        >>> round(bend(x, np.exp(-3.0 / x)))  # ln y = -3 / x has the slope 3 / x
        3
    """
    if product.shape != y.shape or product.ndim != 1:
        raise ShapeError(f"expected product and y of one shape (samples,), got {product.shape} and {y.shape}")
    if not ((product > 0).all() and (y > 0).all()):
        raise DegenerateInputError("expected positive numbers, which have logarithms")
    return float(np.exp(_bend(np.log(product), np.log(y))))


def _bend(logs: Array, labels: Array) -> float:
    """ln of the place, from ln of the product and of y."""
    if len(logs) < WINDOW:
        raise DegenerateInputError(f"expected at least {WINDOW} points, got {len(logs)}")
    order = np.argsort(logs, kind="stable")
    size = max(WINDOW, len(logs) // SHARE)
    windows = np.lib.stride_tricks.sliding_window_view
    logs, labels = (windows(each[order], size) for each in (logs, labels))
    middles = logs.mean(1)
    offsets = logs - middles[:, None]
    spread = (offsets**2).sum(1)
    is_wide = spread > 1e-12 * size
    if not is_wide.any():
        raise DegenerateInputError("expected a product that varies, got one number")
    slopes = np.abs((offsets * labels).sum(1)[is_wide] / spread[is_wide]) - 1
    places = middles[is_wide]
    found = [
        places[i] - slopes[i] * (places[i + 1] - places[i]) / (slopes[i + 1] - slopes[i])
        for i in np.flatnonzero((slopes[1:] > 0) != (slopes[:-1] > 0))
    ]
    if not found:
        raise DegenerateInputError("the law does not bend within the data: nowhere is the exponent of the constant one")
    return float(sorted(found)[len(found) // 2])


def missing_constant(
    X: Array,
    y: Array,
    in_units: Sequence[Sequence[int]],
    out_units: Sequence[int],
    regressor: Any,
    *,
    groups: Array | None = None,
    folds: int = 5,
    prefer: Callable[[tuple[int, ...]], Any] | None = None,
) -> Found:
    """The one constant that, with the inputs, explains y best at groups that it was not trained on.

    Every product of inputs with exponents in {-1, 0, 1} is tried as the constant's units. Products that differ only in columns
    that never vary give the same features, and the data cannot choose among them: ``prefer`` does.

    Args:
        in_units: row i has the exponents of the base units of column i.
        out_units: of y; a product of the inputs has them.
        regressor: any of scikit-learn's, for ln of y without units.
        groups: of samples that are left out together; None leaves out samples at random.
        folds: into which groups are divided, at most as many as there are groups.
        prefer: of the units of a constant; among ties the one with the smallest is taken. None takes the sum of sizes.

    Shapes:
        X: (samples, n), positive    y: (samples,), positive    in_units: (n, k)    out_units: (k,)    groups: (samples,)

    Raises:
        ShapeError: shapes that do not fit.
        DegenerateInputError: numbers that are not positive, or no column that varies.
        UnitsError: no product of the inputs has the units of y.

    References:
        Villar, Hogg, Yao, Kevrekidis and Schölkopf (2024), arXiv:2301.13724, whose search looks at the test error.

    Example:
        >>> from sklearn.neighbors import KNeighborsRegressor
        >>> x = np.random.default_rng(0).uniform(0.1, 10.0, (200, 2))  # a length in m, a mass in kg
        >>> y = x[:, 1] * np.exp(-x[:, 0] / 2.0)  # the mass that is left, with a decay length of 2 m
        >>> found = missing_constant(x, y, [[0, 1], [1, 0]], (1, 0), KNeighborsRegressor())
        >>> found.exponents, found.units, 1.5 < found.value < 2.5
        ((1, 0), (0, 1), True)
    """
    units = np.array(exponent_rows(in_units))
    if X.ndim != 2 or X.shape[1] != len(units) or y.shape != X.shape[:1]:
        raise ShapeError(f"expected X (samples, {len(units)}) and y (samples,), got {X.shape} and {y.shape}")
    if not ((X > 0).all() and (y > 0).all()):
        raise DegenerateInputError("expected positive numbers, which have logarithms")
    logs = np.log(X)
    labels = np.log(y) - logs @ np.array([float(each) for each in scaling_exponents(units.tolist(), list(out_units))])
    varies = np.ptp(logs, axis=0) > 0
    alike: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for row in candidates(len(units)):
        key = tuple(np.array(row)[varies].tolist())
        if any(key):
            alike.setdefault(key, []).append(row)
    if not alike:
        raise DegenerateInputError("expected a column that varies, got none")
    num_groups = len(y) if groups is None else len(np.unique(groups))
    folds = min(folds, num_groups)
    splits = KFold(folds, shuffle=True, random_state=0) if groups is None else GroupKFold(folds)
    errors: dict[tuple[int, ...], float] = {}
    for row, *_ in alike.values():
        middle = float(np.exp(np.median(logs @ np.array(row, dtype=float))))
        model = make_pipeline(DimensionlessFeatures([*units.tolist(), (row @ units).tolist()], log=True), clone(regressor))
        predicted = cross_val_predict(model, with_constant(X, middle), labels, groups=groups, cv=splits)
        errors[row] = float(np.sqrt(np.mean((predicted - labels) ** 2)))
    first = min(errors, key=errors.__getitem__)
    ties = next(rows for rows in alike.values() if rows[0] == first)
    rank = prefer or (lambda of: sum(map(abs, of)))
    best = min(ties, key=lambda row: rank(tuple((row @ units).tolist())))
    try:
        value = float(np.exp(_bend(logs @ np.array(best, dtype=float), labels)))
    except DegenerateInputError:
        value = float("nan")
    return Found(best, tuple((best @ units).tolist()), value, tuple(ties), errors)
