"""Dimensions of invariant tensors: the number for every group, rank by rank, with T(1,1) and T(2,2).

Each was computed as a null space in float64; those with a formula are checked against it in ``test_dimensions``.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gnet.groups import GeneratedGroup
from gnet.plugins.tensors import GL, SL, SO, SU, B, C, D, DPerm, Embed, Lorentz, O, Realified, S, Sp, U, Z


@dataclass(frozen=True)
class Row:
    """dim T(k) for k = 0, 1, ..., and those of T(1,1) and T(2,2)."""

    make: Callable[[], GeneratedGroup]
    ranks: tuple[int, ...]
    mixed: int
    double: int


def cyclic(n: int) -> Row:
    return Row(lambda: Z(n), (1, 1, n, n**2, n**3), n, n**3)


TABLE = {
    "S2": Row(lambda: S(2), (1, 1, 2, 4, 8, 16, 32), 2, 8),
    "S3": Row(lambda: S(3), (1, 1, 2, 5, 14, 41, 122), 2, 14),
    "S4": Row(lambda: S(4), (1, 1, 2, 5, 15, 51, 187), 2, 15),
    "S5": Row(lambda: S(5), (1, 1, 2, 5, 15, 52, 202), 2, 15),
    "S6": Row(lambda: S(6), (1, 1, 2, 5, 15, 52, 203), 2, 15),
    **{f"Z{n}": cyclic(n) for n in (2, 3, 4, 5, 6)},
    "D4 on the cycle": Row(lambda: DPerm(4), (1, 1, 3, 10, 36), 3, 36),
    "D5 on the cycle": Row(lambda: DPerm(5), (1, 1, 3, 13, 63), 3, 63),
    "D6 on the cycle": Row(lambda: DPerm(6), (1, 1, 4, 20, 112), 4, 112),
    "C3": Row(lambda: C(3), (1, 0, 2, 2, 6, 10, 22), 2, 6),
    "C4": Row(lambda: C(4), (1, 0, 2, 0, 8, 0, 32), 2, 8),
    "C6": Row(lambda: C(6), (1, 0, 2, 0, 6, 0, 22), 2, 6),
    "D2": Row(lambda: D(2), (1, 0, 2, 0, 8, 0, 32), 2, 8),
    "D3": Row(lambda: D(3), (1, 0, 1, 1, 3, 5, 11), 1, 3),
    "D4": Row(lambda: D(4), (1, 0, 1, 0, 4, 0, 16), 1, 4),
    "D6": Row(lambda: D(6), (1, 0, 1, 0, 3, 0, 11), 1, 3),
    "B2": Row(lambda: B(2), (1, 0, 1, 0, 4, 0, 16), 1, 4),
    "B3": Row(lambda: B(3), (1, 0, 1, 0, 4, 0, 31), 1, 4),
    "B4": Row(lambda: B(4), (1, 0, 1, 0, 4), 1, 4),
    "SO(2)": Row(lambda: SO(2), (1, 0, 2, 0, 6, 0, 20), 2, 6),
    "O(2)": Row(lambda: O(2), (1, 0, 1, 0, 3, 0, 10), 1, 3),
    "SO(3)": Row(lambda: SO(3), (1, 0, 1, 1, 3, 6, 15), 1, 3),
    "O(3)": Row(lambda: O(3), (1, 0, 1, 0, 3, 0, 15), 1, 3),
    "SO(4)": Row(lambda: SO(4), (1, 0, 1, 0, 4), 1, 4),
    "O(4)": Row(lambda: O(4), (1, 0, 1, 0, 3), 1, 3),
    "SO(5)": Row(lambda: SO(5), (1, 0, 1, 0, 3), 1, 3),
    "O(5)": Row(lambda: O(5), (1, 0, 1, 0, 3), 1, 3),
    "SO+(1,1)": Row(lambda: Lorentz(1, "SO+"), (1, 0, 2, 0, 6, 0, 20), 2, 6),
    "O(1,1)": Row(lambda: Lorentz(1), (1, 0, 1, 0, 3, 0, 10), 1, 3),
    "SO+(1,2)": Row(lambda: Lorentz(2, "SO+"), (1, 0, 1, 1, 3, 6, 15), 1, 3),
    "O(1,2)": Row(lambda: Lorentz(2), (1, 0, 1, 0, 3, 0, 15), 1, 3),
    "SO+(1,3)": Row(lambda: Lorentz(3, "SO+"), (1, 0, 1, 0, 4), 1, 4),
    "SO(1,3)": Row(lambda: Lorentz(3, "SO"), (1, 0, 1, 0, 4), 1, 4),
    "O(1,3)": Row(lambda: Lorentz(3), (1, 0, 1, 0, 3), 1, 3),
    "Sp(2)": Row(lambda: Sp(2), (1, 0, 1, 0, 2, 0, 5), 1, 2),
    "SL(2)": Row(lambda: SL(2), (1, 0, 1, 0, 2, 0, 5), 1, 2),
    "SU(2)": Row(lambda: SU(2), (1, 0, 1, 0, 2, 0, 5), 1, 2),
    "Sp(4)": Row(lambda: Sp(4), (1, 0, 1, 0, 3), 1, 3),
    "SL(3)": Row(lambda: SL(3), (1, 0, 0, 1, 0, 0, 5), 1, 2),
    "SU(3)": Row(lambda: SU(3), (1, 0, 0, 1, 0, 0, 5), 1, 2),
    "GL(3)": Row(lambda: GL(3), (1, 0, 0, 0, 0, 0, 0), 1, 2),
    "U(3)": Row(lambda: U(3), (1, 0, 0, 0, 0, 0, 0), 1, 2),
    "U(2)": Row(lambda: U(2), (1, 0, 0, 0, 0, 0, 0), 1, 2),
    "U(1)": Row(lambda: U(1), (1, 0, 0, 0, 0, 0, 0), 1, 1),
    "U(2), real": Row(lambda: Realified(U(2)), (1, 0, 2, 0, 12), 2, 12),
    "SO(2) in R3": Row(lambda: Embed(SO(2), 3), (1, 1, 3, 7, 19, 51, 141), 3, 19),
    "O(2) in R3": Row(lambda: Embed(O(2), 3), (1, 1, 2, 4, 10, 26, 71), 2, 10),
    "D2 in R3": Row(lambda: Embed(D(2), 3), (1, 1, 3, 7, 21, 61, 183), 3, 21),
    "D6 in R3": Row(lambda: Embed(D(6), 3), (1, 1, 2, 4, 10, 26, 72), 2, 10),
}
