"""Hom(U, W): every linear map between two sums of types that commutes with the group, pair of types by pair of types."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gnet.errors import RepresentationError, ShapeError
from gnet.groups import GeneratedGroup, MatrixGroup
from gnet.plugins.tensors.canonical import orthonormal_columns
from gnet.plugins.tensors.reps import CAP, Regular, Rep, Simple, T, check_types
from gnet.plugins.tensors.solvers import Solver, invariant_tensors


class HomSpace:
    """The equivariant maps from one type to another, as coefficients of an orthonormal basis.

    For sums Hom is the sum over pairs of simple types, each solved once: coefficients are (n, m, r) for n copies out, m copies in
    and r maps of the pair. No basis of whole maps is kept.

    Args:
        rep_in, rep_out: types; for orthogonal groups duals count as the same.
        solver: of the invariant tensors.

    Raises:
        GroupError: regular types of another group.
        RepresentationError: no types, no group, or a pair of types whose maps have too many entries, one by one or together.

    References:
        Finzi, Welling and Wilson (2021), arXiv:2104.09459, section 5.

    Example:
        >>> from gnet.plugins.tensors import SO, T
        >>> HomSpace(5 * T(0) + 5 * T(1), 3 * T(0) + T(2) + 2 * T(1), SO(3)).dim
        35
    """

    def __init__(self, rep_in: Rep, rep_out: Rep, group: MatrixGroup, solver: Solver = "auto") -> None:
        group = check_types(group, rep_in, rep_out)
        self.rep_in, self.rep_out, self.group = rep_in.canonical(group), rep_out.canonical(group), group
        d = group.dim
        self.shape = self.rep_out.size(d), self.rep_in.size(d)
        self._bases = [[_pair(group, out, given, solver) for _, given in self.rep_in.parts] for _, out in self.rep_out.parts]
        self._cast: dict[tuple[torch.dtype, torch.device], list[list[Tensor]]] = {}

    @property
    def dim(self) -> int:
        """The number of independent maps."""
        return sum(n * m * len(basis) for n, m, basis in self.pairs())

    def pairs(self) -> Iterator[tuple[int, int, Tensor]]:
        """Of each pair of types the copies out, the copies in, and the maps (r, size out, size in)."""
        for (n, _), row in zip(self.rep_out.parts, self._bases, strict=True):
            for (m, _), basis in zip(self.rep_in.parts, row, strict=True):
                yield n, m, basis

    def bases(self, like: Tensor) -> list[list[Tensor]]:
        """Of each pair (r, size out, size in), in the dtype and on the device of a tensor; kept for the next call."""
        key = like.dtype, like.device
        if key not in self._cast:
            # Not as tensors of inference mode: they stay, and weights could not be trained with them.
            with torch.inference_mode(False):
                self._cast[key] = [[basis.to(like) for basis in row] for row in self._bases]
        return self._cast[key]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cast": {}}  # made again when they are called for

    def matrix(self, coefficients: Tensor) -> Tensor:
        """The map with given coefficients.

        Shapes:
            coefficients: (dim,)    returns: (size out, size in)

        Raises:
            ShapeError: another number of coefficients.
        """
        if coefficients.shape != (self.dim,):
            raise ShapeError(f"expected {self.dim} coefficients, got shape {tuple(coefficients.shape)}")
        if not self.dim:
            return coefficients.new_zeros(self.shape)
        start, rows = 0, []
        for (n, out), row in zip(self.rep_out.parts, self.bases(coefficients), strict=True):
            blocks = []
            for (m, given), basis in zip(self.rep_in.parts, row, strict=True):
                some = coefficients[start : start + n * m * len(basis)].reshape(n, m, len(basis))
                start += some.numel()
                size_out, size_in = out.size(self.group.dim), given.size(self.group.dim)
                blocks.append(torch.einsum("nmr,rij->nimj", some, basis).reshape(n * size_out, m * size_in))
            rows.append(torch.cat(blocks, 1))
        return torch.cat(rows)

    def coefficients(self, matrix: Tensor) -> Tensor:
        """Those of the nearest equivariant map (Frobenius): the inverse of ``matrix`` on equivariant maps.

        Shapes:
            matrix: (size out, size in)    returns: (dim,)

        Raises:
            ShapeError: another shape.
        """
        if matrix.shape != self.shape:
            raise ShapeError(f"expected a map of shape {self.shape}, got {tuple(matrix.shape)}")
        found, top = [matrix.new_zeros(0)], 0
        for (n, out), row in zip(self.rep_out.parts, self.bases(matrix), strict=True):
            left, size_out = 0, out.size(self.group.dim)
            for (m, given), basis in zip(self.rep_in.parts, row, strict=True):
                size_in = given.size(self.group.dim)
                block = matrix[top : top + n * size_out, left : left + m * size_in].reshape(n, size_out, m, size_in)
                found.append(torch.einsum("nimj,rij->nmr", block, basis.conj()).flatten())
                left += m * size_in
            top += n * size_out
        return torch.cat(found)

    def __repr__(self) -> str:
        return f"HomSpace({self.rep_in.name} -> {self.rep_out.name} | {self.group.name} | {self.dim} maps)"


def hom_basis(rep_in: Rep, rep_out: Rep, group: MatrixGroup, solver: Solver = "auto") -> Tensor:
    """An orthonormal basis of all equivariant maps, each flattened row by row, in columns; the projector is Q Q^*.

    Shapes:
        returns: (size out * size in, r)

    Raises:
        RepresentationError: as ``HomSpace``, or a basis with more than ``CAP`` entries; take ``HomSpace``, which keeps pairs of
            types alone.

    Example:
        >>> from gnet.plugins.tensors import O, T
        >>> hom_basis(T(1), T(1), O(3)).shape
        torch.Size([9, 1])
    """
    space = HomSpace(rep_in, rep_out, group, solver)
    entries = space.shape[0] * space.shape[1] * space.dim
    if entries > CAP:
        raise RepresentationError(f"the basis has {entries} entries, more than the cap of {CAP}; take HomSpace, which needs few")
    units = torch.eye(space.dim, dtype=space.group.dtype)
    columns = [space.matrix(unit).flatten() for unit in units]
    return torch.stack(columns, 1) if columns else units.new_zeros(space.shape[0] * space.shape[1], 0)


def invariant_dim(rep: Rep, group: MatrixGroup, solver: Solver = "auto") -> int:
    """How many independent signals of a type no element moves: dim Hom(T(0), rep).

    Example:
        >>> from gnet.plugins.tensors import Lorentz, T
        >>> invariant_dim(T(2, 2), Lorentz(3))
        3
    """
    return HomSpace(T(0), rep, group, solver).dim


def axis_order(out: Simple, given: Simple) -> tuple[tuple[int, int], list[int]]:
    """The type T(p, q) that maps between two types have, and which of its axes each axis of the map is.

    A map L has the axes of the output, then those of the input, on which the dual acts. In T(p, q) all upper ones come first.

    Example:
        >>> axis_order(Simple(1), Simple(1)), axis_order(Simple(0, 1), Simple(0, 1))
        (((1, 1), [0, 1]), ((1, 1), [1, 0]))
    """
    is_upper = [True] * out.p + [False] * out.q + [False] * given.p + [True] * given.q
    ups = sum(is_upper)
    places, seen = [], [0, ups]
    for upper in is_upper:
        which = 0 if upper else 1
        places.append(seen[which])
        seen[which] += 1
    return (ups, len(is_upper) - ups), places


def _pair(group: GeneratedGroup, out: Simple, given: Simple, solver: Solver) -> Tensor:
    """The maps between two simple types, orthonormal, (r, size out, size in)."""
    d = group.dim
    if isinstance(given, Regular):
        return _from_regular(out, given, group)
    if isinstance(out, Regular):
        return _to_regular(out, given, group)
    (p, q), places = axis_order(out, given)
    if group.is_orthogonal and not group.dtype.is_complex:
        p, q, places = p + q, 0, list(range(p + q))
    basis = invariant_tensors(group, p, q, solver).mT
    cubes = basis.reshape(len(basis), *[d] * (p + q)).permute(0, *[1 + place for place in places])
    return cubes.reshape(len(basis), out.size(d), given.size(d))


def _from_regular(out: Simple, given: Regular, group: GeneratedGroup) -> Tensor:
    """Free on the identity: L sends the indicator of h to rho(h) w, for any w."""
    size = out.size(group.dim)
    unit = torch.eye(size, dtype=group.dtype)
    maps = torch.stack([out.act(h, unit) for h in given.elements], -1)  # (w, size out, |G|)
    return _orthonormal(maps)


def _to_regular(out: Regular, given: Simple, group: GeneratedGroup) -> Tensor:
    """The value at h is a free linear form of rho(h)^-1 x."""
    size = given.size(group.dim)
    unit = torch.eye(size, dtype=group.dtype)
    inverses = torch.linalg.inv(out.elements)
    maps = torch.stack([given.act(h, unit).mT for h in inverses], 1)  # (form, |G|, size in)
    return _orthonormal(maps)


def _orthonormal(maps: Tensor) -> Tensor:
    return orthonormal_columns(maps.flatten(1).mT).mT.reshape(maps.shape)
