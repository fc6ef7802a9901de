"""Tensors of O(3) in irreducible parts. Multiplicities are counted here; the change of basis comes from e3nn, if installed."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gnet.errors import MissingExtraError, RepresentationError
from gnet.plugins.tensors.reps import Rep, Simple

if TYPE_CHECKING:
    from e3nn.o3 import Irreps

Label = tuple[int, int]
"""Degree l and parity, 1 or -1."""


def irreps_of(rep: Rep) -> dict[Label, int]:
    """How often each irreducible representation of O(3) is in a type: (l, parity) -> multiplicity, by degree.

    A factor V = 1o turns (l, p) into (|l - 1|, -p), ..., (l + 1, -p). Needs no other package.

    Raises:
        RepresentationError: regular types.

    Example:
        >>> from gnet.plugins.tensors import T
        >>> irreps_of(T(3))
        {(0, -1): 1, (1, -1): 3, (2, -1): 2, (3, -1): 1}
    """
    total: Counter[Label] = Counter()
    for n, part in rep.parts:
        if type(part) is not Simple:
            raise RepresentationError(f"expected types T(p, q), got {part}, which is none of O(3)")
        found: Counter[Label] = Counter({(0, 1): 1})
        for _ in range(part.rank):
            found = _times_vector(found)
        for label, count in found.items():
            total[label] += n * count
    return dict(sorted(total.items()))


def to_irreps(rep: Rep) -> "tuple[Irreps, Tensor]":
    """The irreps of e3nn that a type of O(3) is made of, and the orthogonal change of basis: irrep coordinates are Q x.

    Q is made factor by factor with the 3j tensors of e3nn; equal irreps lie together, sorted by degree, and Q g Q^T is block
    diagonal with e3nn's matrices in its blocks.

    Shapes:
        returns: irreps, and (size, size) float64

    Raises:
        MissingExtraError: e3nn is not installed.
        RepresentationError: regular types.

    References:
        Geiger and Smidt (2022), arXiv:2207.09453.

    Example:
        >>> from gnet.plugins.tensors import T
        >>> try:
        ...     print(to_irreps(T(2))[1].shape)
        ... except MissingExtraError:
        ...     print("torch.Size([9, 9])")
        torch.Size([9, 9])
    """
    o3 = _e3nn()
    counts = irreps_of(rep)
    rows: dict[Label, list[Tensor]] = {label: [] for label in counts}
    size, at = rep.size(3), 0
    for n, part in rep.parts:
        for label, block in _powers(part.rank, o3):
            for copy in range(n):
                whole = torch.zeros(len(block), size, dtype=torch.float64)
                whole[:, at + copy * part.size(3) : at + (copy + 1) * part.size(3)] = block
                rows[label].append(whole)
        at += n * part.size(3)
    irreps = o3.Irreps([(count, label) for label, count in counts.items()])
    return irreps, torch.cat([row for label in counts for row in rows[label]])


def _times_vector(found: "Counter[Label]") -> "Counter[Label]":
    times: Counter[Label] = Counter()
    for (degree, parity), count in found.items():
        for other in range(abs(degree - 1), degree + 2):
            times[other, -parity] += count
    return times


def _powers(rank: int, o3: Any) -> list[tuple[Label, Tensor]]:
    """Each irreducible part of T(rank) with its rows, (2 l + 1, 3^rank)."""
    found: list[tuple[Label, Tensor]] = [((0, 1), torch.ones(1, 1, dtype=torch.float64))]
    for _ in range(rank):
        fresh = []
        for (degree, parity), rows in found:
            for other in range(abs(degree - 1), degree + 2):
                # Norm of the 3j tensor is 1; times root(2 l + 1) the new rows are orthonormal.
                coupling = o3.wigner_3j(degree, 1, other, dtype=torch.float64) * (2 * other + 1) ** 0.5
                fresh.append(((other, -parity), torch.einsum("abc,ai->cib", coupling, rows).flatten(1)))
        found = fresh
    return found


def _e3nn() -> Any:
    try:
        from e3nn import o3
    except ImportError as error:
        raise MissingExtraError(
            "irreps need e3nn, which is not installed: pip install --editable '.[irreps]'; irreps_of counts without it"
        ) from error
    return o3
