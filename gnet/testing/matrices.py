"""Laws of groups of matrices: form, generators and Lie algebra belong together, flags are true, drawing is uniform."""

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor

from gnet.errors import GroupError, NotFiniteError
from gnet.groups.base import is_orthogonal_matrix
from gnet.groups.invariants import null_space
from gnet.groups.matrix import MatrixGroup
from gnet.testing.tolerances import LawBroken, require_close

DRAWN = 4096
"""Elements whose moments are compared with those of the uniform law."""
DEVIATIONS = 7.0
"""Standard errors that a mean may be away: less than one false alarm in 10^11 entries."""
SPAN = 1e-8
"""Share of a matrix outside the Lie algebra that counts as rounding."""
MOMENTS = 1_300
"""Entries of a matrix up to which the second moment is looked at: d^4."""


def check_matrices(group: MatrixGroup, elements: Sequence[Tensor]) -> None:
    """Prove what only groups of matrices have.

    Raises:
        LawBroken: a law does not hold.

    Example:
        >>> from gnet.groups import GeneratedGroup
        >>> turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
        >>> check_matrices(GeneratedGroup("SO(2)", lie_algebra=[turn]), [turn.double()])
    """
    _check_form(group, elements)
    _check_algebra(group)
    _check_flags(group, elements)
    if group.is_compact and group.sampling == "haar":
        _check_uniform(group)


def _check_form(group: MatrixGroup, elements: Sequence[Tensor]) -> None:
    form = group.form
    if form is None:
        return
    for g in elements:
        size = float(g.norm(p=2)) ** 2
        require_close("form: g^T J g = J", g.mH @ form.to(g) @ g, form.to(g), size)
    for A in group.lie_algebra:
        kept = A.mH @ form.to(A) + form.to(A) @ A
        if float(kept.norm()) > SPAN * float(A.norm()):
            raise LawBroken(f"form: A^T J + J A has norm {float(kept.norm()):.3g}, expected 0")


def _check_algebra(group: MatrixGroup) -> None:
    """A basis, closed under brackets and under conjugation by the discrete generators; its exponentials are elements."""
    if not len(group.lie_algebra):
        return
    basis = torch.stack(list(group.lie_algebra))
    if group.order() != float("inf"):
        raise LawBroken(f"Lie algebra: it has dimension {len(basis)}, and order() says that the group is finite")
    flat = _real(basis)
    rank = int(torch.linalg.matrix_rank(flat, rtol=SPAN))
    if rank != len(basis):
        raise LawBroken(f"Lie algebra: {len(basis)} matrices span {rank} dimensions; give a basis")
    q = torch.linalg.qr(flat.mT)[0]
    brackets = [A @ B - B @ A for i, A in enumerate(basis) for B in basis[:i]]
    _check_span("Lie algebra: a bracket [A, B]", brackets, q)
    turned = [h.to(basis) @ A @ torch.linalg.inv(h.to(basis)) for h in group.generators for A in basis]
    _check_span("Lie algebra: h A h^-1 of a generator h", turned, q)
    for A in basis:
        g = torch.linalg.matrix_exp(A / max(float(A.norm()), 1.0))
        try:
            inside = group.contains(g)
        except GroupError:
            return  # the group has no membership test
        if not inside:
            raise LawBroken("Lie algebra: the exponential of one of its elements is not contained")


def _check_span(what: str, matrices: Sequence[Tensor], q: Tensor) -> None:
    if not matrices:
        return
    flat = _real(torch.stack(list(matrices)))
    outside = (flat - flat @ q @ q.mT).norm(dim=1)
    if float(outside.max()) > SPAN * max(float(flat.norm(dim=1).max()), 1.0):
        raise LawBroken(f"{what} is not in its span: {float(outside.max()):.3g} of it is outside")


def _real(matrices: Tensor) -> Tensor:
    """Rows of real numbers: a Lie algebra is a real space also where its matrices are complex."""
    return torch.view_as_real(matrices).flatten(1) if matrices.is_complex() else matrices.double().flatten(1)


def _check_flags(group: MatrixGroup, elements: Sequence[Tensor]) -> None:
    if group.is_orthogonal and not all(map(is_orthogonal_matrix, elements)):
        raise LawBroken("flags: is_orthogonal is true, and an element does not keep lengths")
    if group.is_orthogonal and not group.is_compact:
        raise LawBroken("flags: is_orthogonal is true and is_compact is not")
    if group.is_permutation and not all(_is_permutation(g) for g in elements):
        raise LawBroken("flags: is_permutation is true, and an element is no permutation matrix")
    if not group.is_compact:
        return
    # In a compact group nothing grows: eigenvalues have size one, those of the Lie algebra are imaginary.
    for g in elements:
        size = float((torch.linalg.eigvals(g.to(torch.complex128)).abs() - 1).abs().max())
        if size > 1e-6:
            raise LawBroken(f"flags: is_compact is true, and an eigenvalue of an element has size {1 + size:.3g}")
    for A in group.lie_algebra:
        size = float(torch.linalg.eigvals(A.to(torch.complex128)).real.abs().max())
        if size > 1e-6 * max(float(A.norm()), 1.0):
            raise LawBroken(f"flags: is_compact is true, and an eigenvalue of the Lie algebra has real part {size:.3g}")


def _is_permutation(g: Tensor) -> bool:
    return bool(((g == 0) | (g == 1)).all()) and bool((g.sum(0) == 1).all()) and bool((g.sum(1) == 1).all())


def _check_uniform(group: MatrixGroup) -> None:
    """First and second moments: E g and E g x g are the projections onto what the group leaves as it is."""
    generators, algebra = list(group.generators), list(group.lie_algebra)
    if not generators and not algebra and group.order() != 1:
        return  # nothing but samples is known
    kind = torch.complex128 if group.identity.is_complex() else torch.float64
    unit = torch.eye(group.dim, dtype=kind)
    drawn = group.sample(DRAWN, torch.Generator().manual_seed(2)).to(kind)
    for degree in (1, 2) if group.dim**4 <= MOMENTS else (1,):
        if degree == 1:
            rows = [g.to(kind) - unit for g in generators] + [A.to(kind) for A in algebra]
        else:
            rows = [torch.kron(g.to(kind), g.to(kind)) - torch.kron(unit, unit) for g in generators]
            rows += [torch.kron(A.to(kind), unit) + torch.kron(unit, A.to(kind)) for A in algebra]
        projector = _projector(rows, group.dim**degree, kind)
        powers = drawn if degree == 1 else _squares(drawn)
        spread = powers.sub(projector).abs().square().mean(0).sqrt() / DRAWN**0.5
        worst = float(((powers.mean(0) - projector).abs() / (spread + 1e-9)).max())
        if worst > DEVIATIONS:
            raise LawBroken(f"sample: moment {degree} is {worst:.3g} standard errors from that of the uniform law")
        with contextlib.suppress(NotFiniteError, GroupError):  # no rule is known
            nodes, weights = group.quadrature(degree)
            moved = nodes.to(kind) if degree == 1 else _squares(nodes.to(kind))
            one = torch.eye(len(projector), dtype=kind)  # on both sides, so that zero has something to be near to
            require_close(
                f"quadrature: moment {degree}", torch.einsum("k,kij->ij", weights.to(kind), moved) + one, projector + one
            )


def _squares(g: Tensor) -> Tensor:
    """g x g of each, (K, d^2, d^2)."""
    size = g.shape[-1] ** 2
    return torch.einsum("kij,kab->kiajb", g, g).reshape(-1, size, size)


def _projector(rows: Sequence[Tensor], size: int, kind: torch.dtype) -> Tensor:
    """Onto the invariants along the other components: B (C^* B)^-1 C^*, C the invariants of the transposed matrices."""
    basis = null_space(rows, size, kind)
    dual = null_space([row.mH for row in rows], size, kind)
    return (
        basis.mT @ torch.linalg.solve(dual.conj() @ basis.mT, dual.conj()) if len(basis) else torch.zeros(size, size, dtype=kind)
    )
