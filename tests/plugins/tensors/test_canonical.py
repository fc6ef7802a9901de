"""One basis for each space: whichever solver, threads or processor found it, and whichever basis they found."""

import pytest
import torch

from gnet.plugins.tensors import SO, SU, D, Embed, HomSpace, Lorentz, O, Simple, Sp, T, U, descend, invariant_tensors, regular
from gnet.plugins.tensors.canonical import TIE, canonical, orthonormal_columns
from gnet.plugins.tensors.descent import Descent
from gnet.plugins.tensors.stamp import sketch

CASES = {
    "O(2) in R3": (Embed(O(2), 3), 4, 0),
    "SO(3)": (SO(3), 5, 0),
    "Sp(4)": (Sp(4), 2, 2),
    "SO+(1,2)": (Lorentz(2, "SO+"), 2, 2),
    "U(2)": (U(2), 2, 2),
    "SU(2)": (SU(2), 3, 1),
}


def turned(basis: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Another orthonormal basis of the same space, with the rounding of a product."""
    drawn = torch.randn(basis.shape[1], basis.shape[1], dtype=basis.dtype, generator=rng)
    return basis @ torch.linalg.qr(drawn)[0]


@pytest.mark.parametrize("name", CASES)
def test_every_basis_of_a_space_gives_the_same(name, rng):
    group, p, q = CASES[name]
    basis = invariant_tensors(group, p, q)
    unit = torch.eye(basis.shape[1], dtype=basis.dtype)
    torch.testing.assert_close(basis.mH @ basis, unit, atol=1e-14, rtol=0)
    for _ in range(5):
        other = turned(basis, rng)
        assert float((other - basis).abs().max()) > 0.01  # the liar: as a solver leaves it
        torch.testing.assert_close(canonical(other), basis, atol=1e-13, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_every_solver_gives_the_same(name):
    group, p, q = CASES[name]
    usual = invariant_tensors(group, p, q, "eigh")
    for solver in ("svd", "iterative") if len(usual) < 200 else ("iterative",):
        torch.testing.assert_close(invariant_tensors(group, p, q, solver), usual, atol=1e-11, rtol=0)


def test_a_pivot_is_chosen_by_place_and_not_by_rounding():
    """Rows of equal length, but for the last digits: those of the identity on two coordinates, turned."""
    c = 0.5**0.5
    basis = torch.tensor([[c, c], [c, -c]], dtype=torch.float64)
    for noise in (-1e-12, 0.0, 1e-12):
        torch.testing.assert_close(canonical(basis + noise * torch.eye(2)), torch.eye(2).double(), atol=1e-11, rtol=0)
    # The liar: by the longest row alone the last digit chooses the order.
    longest = [int((basis + noise * torch.eye(2)).square().sum(1).argmax()) for noise in (-1e-12, 1e-12)]
    lengths = [(basis + noise * torch.eye(2)).square().sum(1) for noise in (-1e-12, 1e-12)]
    assert longest[0] != longest[1] and all(float(each[0] / each[1]) == pytest.approx(1.0, abs=TIE) for each in lengths)


def test_no_space_at_all():
    assert canonical(torch.zeros(9, 0, dtype=torch.float64)).shape == (9, 0)


def test_descent_is_right_to_rounding():
    """And not to the 1e-5 at which it stops: the liar is a basis that is not polished."""
    group, part = SO(3), Simple(4)
    expected = invariant_tensors(group, 4, 0, "eigh")
    expected = expected @ expected.mT
    found = descend(group, part, Descent())
    torch.testing.assert_close(found @ found.mT, expected, atol=1e-12, rtol=0)
    loose = descend(group, part, Descent(tolerance=1e-3, cut=1e-2))
    torch.testing.assert_close(loose @ loose.mT, expected, atol=1e-12, rtol=0)


def test_unpolished_descent_is_found(monkeypatch):
    monkeypatch.setattr("gnet.plugins.tensors.descent._polished", lambda basis, *rest: basis)
    found, expected = descend(SO(3), Simple(4), Descent()), invariant_tensors(SO(3), 4, 0, "eigh")
    assert 1e-9 < float((found @ found.mT - expected @ expected.mT).abs().max()) < 1e-4


@pytest.mark.parametrize("kind", [torch.float64, torch.complex128])
def test_gram_schmidt_is_unique(kind, rng):
    matrix = torch.randn(6, 3, dtype=kind, generator=rng)
    found = orthonormal_columns(matrix)
    torch.testing.assert_close(found.mH @ found, torch.eye(3, dtype=kind))
    triangle = found.mH @ matrix
    torch.testing.assert_close(found @ triangle.triu(), matrix)
    diagonal = torch.diagonal(triangle)
    torch.testing.assert_close(diagonal, diagonal.abs().to(kind))


def test_maps_of_regular_types_have_a_sign():
    """What a map makes of the identity, or with it, is a positive unit signal: QR alone leaves signs to the processor."""
    group = D(3)
    (maps,) = (each for _, _, each in HomSpace(regular(group), T(1), group).pairs())
    torch.testing.assert_close(maps[:, :, 0], torch.eye(2).double() / 6**0.5)
    (maps,) = (each for _, _, each in HomSpace(T(1), regular(group), group).pairs())
    torch.testing.assert_close(maps[:, 0], torch.eye(2).double() / 6**0.5)


def test_a_sketch_tells_bases_apart(rng):
    basis = invariant_tensors(SO(3), 5).mT
    own = sketch(basis)
    flipped = basis.clone()
    flipped[2] *= -1
    liars = {"sign": flipped, "order": basis.flip(0), "turn": turned(basis.mT, rng).mT, "none": basis + 1e-13}
    assert [name for name, liar in liars.items() if abs(sketch(liar) - own) < 1e-6 * (1 + abs(own))] == ["none"]
