"""Coulomb matrices, made up molecules, the file of QM7b, and functions of a spectrum."""

import numpy as np
import pytest
import torch
from scipy.io import savemat

from gnet.errors import ConfigError, DataError, DegenerateInputError, ShapeError
from gnet.groups.haar import haar_orthogonal
from gnet.plugins.point_clouds import Molecules, coulomb_matrix, matrix_invariants, random_molecules, read_qm7b
from gnet.plugins.point_clouds.coulomb import APART, BOND, CHARGES, spectral_targets


def test_entries():
    charges = torch.tensor([6.0, 1.0, 8.0], dtype=torch.float64)
    positions = torch.tensor([[0.0, 0, 0], [0, 0, 2], [3, 4, 0]], dtype=torch.float64)
    X = coulomb_matrix(charges, positions)
    torch.testing.assert_close(X.diagonal(), 0.5 * charges**2.4)
    assert X[0, 1].item() == pytest.approx(3.0) and X[0, 2].item() == pytest.approx(48 / 5)
    assert X[1, 2].item() == pytest.approx(8 / 29**0.5) and torch.equal(X, X.mT)
    assert X[0, 0].item() == pytest.approx(36.858, abs=1e-3)  # of carbon, as in every table of Coulomb matrices


def test_motions_change_nothing_and_orders_of_atoms_conjugate(rng):
    made = random_molecules(5, 6, rng)
    X = coulomb_matrix(made.charges, made.positions)
    turn, perm = haar_orthogonal(3, 1, rng)[0], torch.randperm(6, generator=rng)
    torch.testing.assert_close(coulomb_matrix(made.charges, made.positions @ turn.mT + 1.0), X, rtol=1e-10, atol=1e-10)
    other = coulomb_matrix(made.charges[:, perm], made.positions[:, perm])
    torch.testing.assert_close(other, X[:, perm][:, :, perm])
    for one, two in zip(
        (*matrix_invariants(other), spectral_targets(other)), (*matrix_invariants(X), spectral_targets(X)), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)
    stretched = coulomb_matrix(made.charges, 1.1 * made.positions)
    assert float((spectral_targets(stretched) - spectral_targets(X)).abs().max()) > 0.1


def test_molecules_have_their_law(rng):
    made = random_molecules(300, 7, rng)
    assert set(made.charges.unique().tolist()) == set(map(float, CHARGES))
    distances = torch.cdist(made.positions, made.positions) + 99 * torch.eye(7)
    assert float(distances.min()) >= APART - 1e-9
    nearest_before = torch.stack([distances[:, atom, :atom].amin(-1) for atom in range(1, 7)])
    assert float(nearest_before.max()) <= BOND[1] + 1e-9
    assert float((made.charges == 1).double().mean()) == pytest.approx(0.4, abs=0.06)
    assert torch.equal(*(random_molecules(3, 4, torch.Generator().manual_seed(1)).positions for _ in range(2)))
    with pytest.raises(ConfigError, match="num and num_atoms >= 1, got 3 and 0"):
        random_molecules(3, 0)


def test_what_has_no_matrix():
    with pytest.raises(DegenerateInputError, match="two at one"):
        coulomb_matrix(torch.ones(2), torch.zeros(2, 3))
    for shape in [(3, 3), (2, 2), (3,)]:
        with pytest.raises(ShapeError, match=r"got \(2,\), \(" + ", ".join(map(str, shape))):
            coulomb_matrix(torch.ones(2), torch.randn(shape))
    with pytest.raises(ShapeError, match=r"torch\.int64"):
        coulomb_matrix(torch.ones(2), torch.arange(6).reshape(2, 3))
    for charges, positions in [((2,), (2, 3)), ((1, 2), (1, 3, 3)), ((1, 2), (1, 2, 2))]:
        with pytest.raises(ShapeError, match=r"expected charges \(B, n\), positions \(B, n, 3\)"):
            Molecules(torch.ones(charges), torch.ones(positions))


def test_whole_charges_are_as_exact_as_positions():
    positions = torch.tensor([[0.0, 0, 0], [0, 0, 2]], dtype=torch.float64)
    X = coulomb_matrix(torch.tensor([6, 16]), positions)
    assert X.dtype == torch.float64 and torch.equal(X, coulomb_matrix(torch.tensor([6.0, 16.0]).double(), positions))
    torch.testing.assert_close(X.diagonal().tolist(), [0.5 * 6**2.4, 0.5 * 16**2.4], rtol=1e-15, atol=0.0)


def test_derivatives_exist_twice():
    made = random_molecules(2, 3, torch.Generator().manual_seed(0))
    places = made.positions.requires_grad_()
    assert torch.autograd.gradcheck(lambda r: coulomb_matrix(made.charges, r), places)
    assert torch.autograd.gradgradcheck(lambda r: coulomb_matrix(made.charges, r), places)


def test_targets_are_of_the_spectrum():
    values = torch.tensor([7.0, -4.0, 2.0], dtype=torch.float64)
    Q = haar_orthogonal(3, 1, torch.Generator().manual_seed(0))[0]
    found = spectral_targets(Q @ values.diag() @ Q.mT)
    torch.testing.assert_close(found, torch.tensor([7.0, 5.0, 7**0.5 + 2.0 + 2**0.5], dtype=torch.float64))
    # They are no functions of the entries as two sets: a shuffle that keeps these changes them.
    X = torch.tensor([[1.0, 3, 0, 0], [3, 2, 0, 0], [0, 0, 5, 1], [0, 0, 1, 9]])
    shuffled = torch.tensor([[1.0, 1, 0, 0], [1, 2, 0, 0], [0, 0, 5, 3], [0, 0, 3, 9]])
    assert torch.equal(matrix_invariants(X).off_diagonal, matrix_invariants(shuffled).off_diagonal)
    assert float((spectral_targets(X) - spectral_targets(shuffled)).abs().min()) > 0.05
    with pytest.raises(ShapeError, match="n >= 2"):
        spectral_targets(torch.ones(1, 1))


def test_a_file_of_qm7b_is_read(tmp_path):
    X = np.zeros((2, 4, 4), dtype=np.float32)
    X[0, :3, :3] = np.diag([3.0, 2.0, 1.0]) + 0.5
    X[1] = np.eye(4)
    targets = np.arange(28.0).reshape(2, 14)
    savemat(tmp_path / "qm7b.mat", {"X": X, "T": targets})
    matrices, found = read_qm7b(tmp_path / "qm7b.mat")
    assert [tuple(each.shape) for each in matrices] == [(3, 3), (4, 4)]
    assert torch.equal(matrices[0], torch.from_numpy(X[0, :3, :3]).double()) and found.tolist() == targets.tolist()
    savemat(tmp_path / "other.mat", {"X": X})
    with pytest.raises(DataError, match=r"expected X and T in .*other\.mat"):
        read_qm7b(tmp_path / "other.mat")
    savemat(tmp_path / "short.mat", {"X": X, "T": targets[:1]})
    with pytest.raises(DataError, match=r"got \(2, 4, 4\) and \(1, 14\)"):
        read_qm7b(tmp_path / "short.mat")
    whole = (tmp_path / "qm7b.mat").read_bytes()
    savemat(tmp_path / "packed.mat", {"X": X, "T": targets}, do_compression=True)
    packed = (tmp_path / "packed.mat").read_bytes()
    junk = np.random.default_rng(0).bytes(400)
    pieces = [b"", b"no matrix", junk, whole[:128] + junk, packed[:128] + junk, packed[:200] + junk]
    for content in [*pieces, *(file[:end] for file in (whole, packed) for end in range(1, len(file) - 1, 37))]:
        (tmp_path / "broken.mat").write_bytes(content)
        with pytest.raises(DataError, match=r"expected X and T in .*broken\.mat"):
            read_qm7b(tmp_path / "broken.mat")
    with pytest.raises(DataError, match="expected the file"):
        read_qm7b(tmp_path / "none.mat")
