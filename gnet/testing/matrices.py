"""Laws of groups of matrices: form, generators and Lie algebra belong together, flags are true, drawing is uniform."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gnet.errors import GroupError
from gnet.groups.base import is_orthogonal_matrix
from gnet.groups.matrix import MatrixGroup
from gnet.testing.tolerances import LawBroken, require_close
from gnet.testing.uniform import check_uniform

SPAN = 1e-8
"""Share of a matrix outside the Lie algebra that counts as rounding."""
STRANGERS, TAKEN = 16, 2
"""Random matrices that are offered to ``contains``, and how many it may take: a tolerance lets one in 10^4 pass."""


def check_matrices(group: MatrixGroup, elements: Sequence[Tensor], seed: int = 0) -> None:
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
    _check_strangers(group, elements, seed)
    if group.is_compact and group.sampling == "haar":
        check_uniform(group, seed)


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


def _check_strangers(group: MatrixGroup, elements: Sequence[Tensor], seed: int) -> None:
    """In a group of lower dimension than all matrices, random ones are no elements, nor is 2 I in a compact one."""
    unit = group.identity.to(torch.complex128 if group.identity.is_complex() else torch.float64)
    size = group.dim**2 * (2 if unit.is_complex() else 1)
    if not group.is_compact and not 0 < len(group.lie_algebra) < size:
        return
    noise = torch.randn(STRANGERS, *unit.shape, dtype=unit.dtype, generator=torch.Generator().manual_seed(seed))
    near = [elements[index % len(elements)].to(unit) @ (unit + 0.1 * each) for index, each in enumerate(noise)]
    for what, matrices in (("random matrices", list(noise)), ("elements times I + 0.1 noise", near)):
        try:
            taken = sum(group.contains(g) for g in matrices)
            double = group.is_compact and group.contains(2 * unit)
        except GroupError:
            return  # the group has no membership test
        if taken > TAKEN:
            raise LawBroken(f"contains: it takes {taken} of {STRANGERS} {what} for elements, expected none")
        if double:
            raise LawBroken("contains: it takes 2 I for an element, and is_compact is true")
