"""Laws of what a compact group of matrices draws and integrates: nothing changes when all elements are moved by one of them."""

import contextlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gnet.errors import GroupError, NotFiniteError
from gnet.groups.haar import haar_orthogonal, haar_unitary
from gnet.groups.invariants import null_space
from gnet.groups.matrix import MatrixGroup, orthonormal
from gnet.testing.tolerances import LawBroken, require_close

DRAWN = 8192
"""Elements that are drawn."""
FALSE_ALARM = 1e-7
"""Bound on the probability that one comparison of all means blames a uniform sampler; two or three are made."""
MOMENTS = 1_300
"""Entries of a matrix up to which the second moment is looked at: d^4."""
WIDTHS = (1.0, 2.0, 4.0)
"""Standard deviations of the arguments of the cosines: wide ones see finite subgroups, which integrate low degrees exactly."""
DIRECTIONS = 16
"""Random matrices of each width."""
MOVERS = 8
"""Generators, and random products of generators and exponentials, by which elements are moved."""
DEGREES = range(1, 7)
"""Of the polynomials that quadrature is tried on."""


def check_uniform(group: MatrixGroup, seed: int = 0) -> None:
    """Prove on samples that a compact group draws and integrates by its uniform law; says nothing where only samples are known.

    The means of cosines of random linear functions, and of the determinant, are those of h g for h in the group, and first and
    second moments are the projections onto what the group leaves as it is. Means are compared by a bound that holds for every
    law of bounded numbers, so that a uniform sampler is blamed with a probability below 10^-6.

    Raises:
        LawBroken: a law does not hold.

    References:
        Maurer and Pontil (2009), arXiv:0907.3740, theorem 4, for the bound.

    Example:
        >>> from gnet.plugins.tensors import SO
        >>> check_uniform(SO(3))
    """
    if not len(group.generators) and not len(group.lie_algebra) and group.order() != 1:
        return  # nothing but samples is known
    generator = torch.Generator().manual_seed(seed)
    drawn = group.sample(DRAWN, generator).to(_kind(group))
    _check_moments(group, drawn)
    movers = _movers(group, generator)
    _check_moved("sample: the law of what is drawn changes under an element of the group", drawn, movers, generator)
    _check_moved("contains: what it takes for an element changes the law of what is drawn", drawn, _taken(group), generator)
    _check_rules(group, movers, generator)


def _kind(group: MatrixGroup) -> torch.dtype:
    return torch.complex128 if group.identity.is_complex() else torch.float64


def _check_moments(group: MatrixGroup, drawn: Tensor) -> None:
    """First and second moments: E g and E g x g are the projections onto what the group leaves as it is."""
    kind, dim = drawn.dtype, group.dim
    unit = torch.eye(dim, dtype=kind)
    generators, algebra = [g.to(kind) for g in group.generators], [A.to(kind) for A in group.lie_algebra]
    for degree in (1, 2) if dim**4 <= MOMENTS else (1,):
        if degree == 1:
            rows = [g - unit for g in generators] + algebra
        else:
            rows = [torch.kron(g, g) - torch.kron(unit, unit) for g in generators]
            rows += [torch.kron(A, unit) + torch.kron(unit, A) for A in algebra]
        projector = _projector(rows, dim**degree, kind)
        powers = drawn if degree == 1 else _squares(drawn[: DRAWN // 2])
        away, allowed = _means(_real(powers - projector))
        _require(f"sample: moment {degree}", away, allowed)
        with contextlib.suppress(NotFiniteError, GroupError):  # no rule is known
            nodes, weights = group.quadrature(degree)
            moved = nodes.to(kind) if degree == 1 else _squares(nodes.to(kind))
            one = torch.eye(len(projector), dtype=kind)  # on both sides, so that zero has something to be near to
            mean = torch.einsum("k,kij->ij", weights.to(kind), moved)
            require_close(f"quadrature: moment {degree}", mean + one, projector + one)


def _squares(g: Tensor) -> Tensor:
    """g x g of each, (K, d^2, d^2)."""
    size = g.shape[-1] ** 2
    return torch.einsum("kij,kab->kiajb", g, g).reshape(-1, size, size)


def _projector(rows: Sequence[Tensor], size: int, kind: torch.dtype) -> Tensor:
    """Onto the invariants along the other components: B (C^* B)^-1 C^*, C the invariants of the transposed matrices.

    Raises:
        LawBroken: there is no such complement; of a compact group there always is.
    """
    basis = null_space(rows, size, kind)
    dual = null_space([row.mH for row in rows], size, kind)
    if not len(basis):
        return torch.zeros(size, size, dtype=kind)
    crossed = dual.conj() @ basis.mT
    if len(dual) != len(basis) or not float(torch.linalg.cond(crossed)) < 1e12:
        raise LawBroken(
            "flags: is_compact is true, and what the group leaves as it is has no complement that the group maps into itself"
        )
    return basis.mT @ torch.linalg.solve(crossed, dual.conj())


def _movers(group: MatrixGroup, generator: torch.Generator) -> list[Tensor]:
    """The first generators, and products of exponentials and of each generator with probability 1/2."""
    kind = _kind(group)
    generators = [g.to(kind) for g in group.generators]
    basis = orthonormal(torch.stack([A.to(kind) for A in group.lie_algebra])) if len(group.lie_algebra) else None
    found = generators[:MOVERS]
    for _ in range(MOVERS):
        h = torch.eye(group.dim, dtype=kind)
        if basis is not None:
            z = 2 * torch.randn(len(basis), dtype=torch.float64, generator=generator)
            h = torch.linalg.matrix_exp(torch.einsum("k,kij->ij", z.to(kind), basis))
        for g, coin in zip(generators, torch.rand(len(generators), generator=generator), strict=True):
            h = g @ h if coin < 0.5 else h
        found.append(h)
    return found


def _taken(group: MatrixGroup) -> list[Tensor]:
    """Of a few orthogonal (unitary) matrices those that the membership test takes for elements; none without a test."""
    unit = torch.eye(group.dim, dtype=_kind(group))
    mirror = unit.clone()
    mirror[0, 0] = -1
    rng = torch.Generator().manual_seed(0)
    others = haar_unitary(group.dim, 2, rng) if unit.is_complex() else haar_orthogonal(group.dim, 2, rng)
    try:
        return [g for g in (-unit, mirror, *others) if group.contains(g)]
    except GroupError:
        return []


def _check_moved(law: str, drawn: Tensor, movers: Sequence[Tensor], generator: torch.Generator) -> None:
    """Means of bounded functions over g against those over h g."""
    if not movers:
        return
    directions = torch.cat([width * _directions(DIRECTIONS, drawn, generator) for width in WIDTHS])
    phases = 2 * math.pi * torch.rand(len(directions), dtype=torch.float64, generator=generator)
    before = _waves(drawn, directions, phases)
    for h in movers:
        # |det| of an element of a compact group is one, so that all numbers are in [-2, 2].
        change = _waves(h @ drawn, directions, phases) - before
        away, allowed = _means(change, 4.0, len(movers))
        _require(law, away, allowed)


def _directions(num: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """Random matrices A for which Re <A, g> is a number of size one, flattened and real: (num, d^2), or (num, 2 d^2)."""
    size = like.shape[-1] ** 2 * (2 if like.is_complex() else 1)
    return torch.randn(num, size, dtype=torch.float64, generator=generator) / like.shape[-1] ** 0.5


def _waves(g: Tensor, directions: Tensor, phases: Tensor) -> Tensor:
    """cos(Re <A, g> + phase) and the parts of det g, (K, ...). The phase keeps g and -g apart."""
    det = torch.linalg.det(g)
    parts = torch.view_as_real(det) if det.is_complex() else det[:, None]
    return torch.cat([(_real(g) @ directions.mT + phases).cos(), parts], 1)


def _real(g: Tensor) -> Tensor:
    return torch.view_as_real(g).flatten(1) if g.is_complex() else g.flatten(1)


def _means(values: Tensor, width: float | None = None, times: int = 1) -> tuple[Tensor, Tensor]:
    """Sizes of the means of columns, and how large they may be if they are zero in truth, for all columns ``times`` times.

    Args:
        width: of the interval where the numbers are; None is what is seen of it.

    Shapes:
        values: (N, K)    returns: (K,) and (K,)
    """
    num, columns = values.shape
    log = math.log(4 * columns * times / FALSE_ALARM)  # of both sides, 2 more than the theorem's 2
    span = values.amax(0) - values.amin(0) if width is None else width
    return values.mean(0).abs(), (2 * values.var(0) * log / num).sqrt() + 7 * span * log / (3 * (num - 1)) + 1e-9


def _require(law: str, away: Tensor, allowed: Tensor) -> None:
    worst = int((away / allowed).argmax())
    if not float(away[worst]) <= float(allowed[worst]):
        raise LawBroken(
            f"{law}: the mean of a function is {float(away[worst]):.3g} away from that under the uniform law; chance explains "
            f"{float(allowed[worst]):.3g}"
        )


def _check_rules(group: MatrixGroup, movers: Sequence[Tensor], generator: torch.Generator) -> None:
    """The sum of w <A, g>^L over a rule of degree L is that of w <A, h g>^L."""
    for degree in DEGREES:
        try:
            nodes, weights = group.quadrature(degree)
        except (NotFiniteError, GroupError):
            return  # no rule is known
        nodes, weights = nodes.to(_kind(group)), weights.real if weights.is_complex() else weights.double()
        directions = _directions(DIRECTIONS, nodes, generator)
        law = f"quadrature: the integral of a polynomial of degree {degree} changes under an element of the group"
        before = (_real(nodes) @ directions.mT) ** degree
        size = weights.abs() @ before.abs()  # on both sides, so that zero has something to be near to
        for h in movers:
            after = (_real(h @ nodes) @ directions.mT) ** degree
            require_close(law, torch.cat([weights @ after, size]), torch.cat([weights @ before, size]))
