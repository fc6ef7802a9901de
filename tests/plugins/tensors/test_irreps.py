"""Irreducible parts of tensors of O(3): multiplicities by counting, and the change of basis against e3nn, if installed."""

import math
import sys

import pytest
import scipy.linalg
import torch

from gnet.errors import MissingExtraError, RepresentationError
from gnet.plugins.tensors import SO, D, O, T, invariant_dim, irreps_of, regular, to_irreps

POWERS = {
    2: {(0, 1): 1, (1, 1): 1, (2, 1): 1},
    3: {(0, -1): 1, (1, -1): 3, (2, -1): 2, (3, -1): 1},
    4: {(0, 1): 3, (1, 1): 6, (2, 1): 6, (3, 1): 3, (4, 1): 1},
    5: {(0, -1): 6, (1, -1): 15, (2, -1): 15, (3, -1): 10, (4, -1): 4, (5, -1): 1},
}


@pytest.mark.parametrize(("rank", "expected"), POWERS.items())
def test_powers_of_vectors(rank, expected):
    assert irreps_of(T(rank)) == expected
    assert sum(count * (2 * degree + 1) for (degree, _), count in expected.items()) == 3**rank


def coordinates_that_turn(rep, span: torch.Tensor) -> dict[tuple[int, int], int]:
    """How many copies of each irrep lie in the space that rows of ``span`` (m, size) make, by the change of basis."""
    irreps, Q = to_irreps(rep)
    found, at = {}, 0
    for part in irreps:
        rows = Q[at : at + part.dim] @ span.mT  # copies one after another
        rank = int(torch.linalg.matrix_rank(rows.reshape(part.mul, part.ir.dim, -1).transpose(0, 1)[0], atol=1e-10))
        at += part.dim
        if rank:
            found[part.ir.l, part.ir.p] = rank
    return found


def matrices(sign: int) -> torch.Tensor:
    """All 3 x 3 matrices a with a^T = sign a, as rows of T(2)."""
    unit = torch.eye(9, dtype=torch.float64).reshape(9, 3, 3)
    return (unit + sign * unit.mT).flatten(1)


def elasticity() -> torch.Tensor:
    """All c_ijkl = c_jikl = c_ijlk = c_klij, as rows of T(4)."""
    c = torch.eye(81, dtype=torch.float64).reshape(81, 3, 3, 3, 3)
    c = c + c.transpose(1, 2)
    c = c + c.transpose(3, 4)
    return (c + c.permute(0, 3, 4, 1, 2)).flatten(1)


@pytest.mark.parametrize(
    ("rep", "span", "expected"),
    [
        (T(2), matrices(1), {(0, 1): 1, (2, 1): 1}),
        (T(2), matrices(-1), {(1, 1): 1}),
        (T(4), elasticity(), {(0, 1): 2, (2, 1): 2, (4, 1): 1}),
        (T(4), torch.eye(81, dtype=torch.float64), POWERS[4]),
    ],
    ids=["symmetric 0e+2e", "antisymmetric 1e", "elasticity 2x0e+2x2e+4e", "all of T(4)"],
)
def test_symmetric_tensors_hold_these_parts(rep, span, expected):
    pytest.importorskip("e3nn.o3", reason="e3nn is an optional extra")
    assert coordinates_that_turn(rep, span) == expected
    assert int(torch.linalg.matrix_rank(span)) == sum(count * (2 * degree + 1) for (degree, _), count in expected.items())


@pytest.mark.parametrize("rank", range(6))
def test_scalars_are_the_invariants(rank):
    found = irreps_of(T(rank))
    assert found.get((0, 1), 0) == invariant_dim(T(rank), O(3))
    assert found.get((0, 1), 0) + found.get((0, -1), 0) == invariant_dim(T(rank), SO(3))


def test_without_e3nn_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "e3nn", None)
    with pytest.raises(MissingExtraError, match=r"pip install --editable '.\[irreps\]'"):
        to_irreps(T(2))


def test_regular_types_are_none_of_o3():
    with pytest.raises(RepresentationError, match="none of O"):
        irreps_of(regular(D(3)))


def turned(irrep, angles: tuple[float, float, float], parity: int) -> torch.Tensor:
    """The matrix of an irrep of e3nn, (2 l + 1, 2 l + 1), by SciPy's exponential: torch's loses six digits at small angles."""
    from e3nn import o3

    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        about_x, about_y, _ = o3.so3_generators(irrep.l).numpy()
    finally:
        torch.set_default_dtype(default)
    alpha, beta, gamma = angles
    matrix = scipy.linalg.expm(alpha * about_y) @ scipy.linalg.expm(beta * about_x) @ scipy.linalg.expm(gamma * about_y)
    return torch.as_tensor(matrix) * irrep.p**parity


@pytest.mark.parametrize("rep", [T(2), T(3), T(4), T(5), 2 * T(1) + T(0) + 2 * T(2)], ids=lambda rep: rep.name)
def test_the_change_of_basis_makes_blocks(rep, rng):
    o3 = pytest.importorskip("e3nn.o3", reason="e3nn is an optional extra")
    irreps, Q = to_irreps(rep)
    size = rep.size(3)
    torch.testing.assert_close(Q @ Q.mT, torch.eye(size, dtype=torch.float64))
    counts = {(part.ir.l, part.ir.p): part.mul for part in irreps}
    assert counts == irreps_of(rep)
    for parity in (0, 1, 0):
        # Angles are drawn: found from a matrix, they lose half of their digits near the poles.
        alpha, beta, gamma = (torch.rand(3, generator=rng, dtype=torch.float64) * torch.tensor([2, 1, 2]) * math.pi).tolist()
        blocks = torch.block_diag(*(turned(part.ir, (alpha, beta, gamma), parity) for part in irreps for _ in range(part.mul)))
        g = (-1) ** parity * o3.angles_to_matrix(*(torch.tensor(x, dtype=torch.float64) for x in (alpha, beta, gamma)))
        moved = Q @ rep(g, torch.eye(size, dtype=torch.float64)).mT @ Q.mT
        torch.testing.assert_close(moved, blocks, atol=1e-12, rtol=0)
    with pytest.raises(AssertionError):  # the liar: another basis
        torch.testing.assert_close(Q.flip(0) @ rep(g, torch.eye(size, dtype=torch.float64)).mT @ Q.flip(0).mT, moved)


def test_constants_of_e3nn():
    o3 = pytest.importorskip("e3nn.o3", reason="e3nn is an optional extra")
    epsilon = torch.zeros(3, 3, 3)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        epsilon[i, j, k], epsilon[i, k, j] = 1.0, -1.0
    torch.testing.assert_close(o3.wigner_3j(1, 1, 1).float(), epsilon / 6**0.5, atol=1e-6, rtol=0)
    torch.testing.assert_close(o3.wigner_3j(1, 1, 0)[..., 0].float(), torch.eye(3) / 3**0.5, atol=1e-6, rtol=0)
    assert o3.Linear("3x0e+2x1o+1x2e", "4x0e+3x1o+2x2e").weight_numel == 20
    assert o3.FullyConnectedTensorProduct("2x0e+1x1o", "2x0e+1x1o", "2x0e+1x1o+1x1e+1x2e").weight_numel == 16
