"""Functions on finitely many points of a circle, and rotations by sixteenths of it: what can be computed exactly.

Points are equidistant on a circle of circumference 1, their number m is a multiple of 16, and samples are uniform on them. So
largest gaps are linear programs, and nearest functions are found by the root of one equation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, linprog
from scipy.sparse import csr_array, vstack

Array = NDArray[np.float64]
SIXTEEN = 16
LEVELS = 14


def rotated(values: Array, rotation: int) -> Array:
    """f(. + rotation / 16).

    Shapes:
        values: (m,)    returns: (m,)

    Example:
        >>> rotated(np.arange(16.0), 4)[:3]
        array([4., 5., 6.])
    """
    return np.roll(values, -rotation * len(values) // SIXTEEN)


def largest_change(values: Array, rotations: Sequence[int]) -> float:
    """The largest |f(t + s) - f(t)| over all points t and some rotations s."""
    return max(float(np.abs(rotated(values, each) - values).max()) for each in rotations)


def slope(values: Array) -> float:
    """The smallest Lipschitz constant."""
    return float(np.abs(np.roll(values, -1) - values).max()) * len(values)


@dataclass(frozen=True)
class Rotations:
    """A set of rotations by sixteenths of a turn, the identity among them; it need not be a group.

    Example:
        >>> Rotations.of([0, 4, 8, 12]).arc, Rotations.of([-4, 0, 4]).arc, Rotations.of([-4, 0, 4]).is_group
        (4, 8, False)
    """

    members: tuple[int, ...]

    @classmethod
    def of(cls, rotations: Sequence[int]) -> "Rotations":
        """Of any whole numbers of sixteenths."""
        return cls(tuple(sorted({0, *(each % SIXTEEN for each in rotations)})))

    @property
    def is_group(self) -> bool:
        """Whether products are members."""
        return {(a + b) % SIXTEEN for a in self.members for b in self.members} == set(self.members)

    @property
    def arc(self) -> int:
        """The length, in sixteenths, of the shortest arc that the members move over the whole circle."""
        reached = (len({(a + b) % SIXTEEN for a in self.members for b in range(size)}) for size in range(1, SIXTEEN + 1))
        return 1 + next(place for place, count in enumerate(reached) if count == SIXTEEN)

    def covering(self, is_exact: bool) -> tuple[list[float], list[float]]:
        """Radii and numbers of cells for ``generalisation_bound``: an arc of representatives, halved again and again.

        An arc of length r has diameter r, at most 1/2. Where functions do not change at all under a group of rotations, distances
        are those of the circle modulo the group, whose diameter is half its circumference.
        """
        length = self.arc / SIXTEEN
        widest = length / 2 if is_exact and self.is_group else 0.5
        return [min(widest, length / 2**level) for level in range(LEVELS)], [2.0**level for level in range(LEVELS)]


def largest_gaps(weights: Array, rotations: Rotations, lipschitz: float, model_error: float) -> Array:
    """The largest sum of weights times f over all Lipschitz functions f that the rotations change by at most the model error.

    With the frequencies of a sample less 1 / m as weights this is the largest gap between mean and expectation. A linear
    program, of m unknowns.

    Shapes:
        weights: (T, m), each row of sum 0    returns: (T,)

    Example:
        >>> weights = np.eye(16)[:1] - 1 / 16
        >>> largest_gaps(weights, Rotations.of([0]), 1.0, 0.0), largest_gaps(weights, Rotations.of([8]), 1.0, 0.0)
        (array([0.25]), array([0.125]))
    """
    m = weights.shape[1]
    here, blocks, limits = np.arange(m), [], []
    jumps = sorted({min(each, SIXTEEN - each) for each in rotations.members} - {0})
    for step, limit in [(1, lipschitz / m), *((each * m // SIXTEEN, model_error) for each in jumps)]:
        ends = np.concatenate([here, here]), np.concatenate([(here + step) % m, here])
        change = csr_array((np.repeat([1.0, -1.0], m), ends), shape=(m, m))
        blocks += [change, -change]
        limits.append(np.full(2 * m, limit))
    matrix, limit_of = vstack(blocks), np.concatenate(limits)
    bounds = [(0.0, 0.0), *[(None, None)] * (m - 1)]  # a constant changes nothing
    return np.array([-linprog(-each, A_ub=matrix, b_ub=limit_of, bounds=bounds, method="highs").fun for each in weights])


def nearest(target: Array, rotations: Sequence[int], limit: float) -> Array:
    """The function nearest to a target, in root mean square, of those that rotations change by at most ``limit``.

    The change is the root mean square of f(t + s) - f(t) over all points t and the given rotations s. Where the target changes
    by more, f = (1 + x K)^-1 target with K the square of the changes as a matrix, and x such that f changes by the limit.

    Shapes:
        target: (m,)    returns: (m,)

    Example:
        >>> nearest(np.tile([1.0, 3.0], 8), [1], 1.0)[:2]
        array([1.5, 2.5])
    """
    m = len(target)
    changes = [np.roll(np.eye(m), each * m // SIXTEEN, axis=1) - np.eye(m) for each in rotations]
    sizes, vectors = np.linalg.eigh(sum(change.T @ change for change in changes) / (m * len(changes)))
    sizes, parts = np.where(sizes > 1e-12, sizes, 0.0), vectors.T @ target

    def excess(x: float) -> float:
        return float(np.sqrt(np.sum(sizes * (parts / (1 + x * sizes)) ** 2))) - limit

    if excess(0.0) <= 0:
        return target
    if limit == 0:
        return np.asarray(vectors @ np.where(sizes > 0, 0.0, parts))
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return np.asarray(vectors @ (parts / (1 + brentq(excess, 0.0, high, xtol=1e-14, rtol=1e-14) * sizes)))
