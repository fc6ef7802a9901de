"""Coulomb matrices: of molecules made up on the spot, or read from a file of QM7b; and functions of their spectra."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gnet.errors import ConfigError, DataError, DegenerateInputError, ShapeError

CHARGES = (1, 6, 7, 8, 16)
"""H, C, N, O, S, of which molecules of QM7b consist, too (and of chlorine)."""
SHARES = (0.4, 0.35, 0.1, 0.1, 0.05)
"""How often each is drawn."""
BROKEN = (KeyError, IndexError, ValueError, TypeError, NotImplementedError, OSError, OverflowError, MemoryError, zlib.error)
"""What scipy raises on files that are cut off, overwritten, or of another kind."""
BOND, APART = (1.0, 1.6), 0.9
"""Between which the distance of an atom from the one it is put next to lies, and the least from any other."""


@dataclass(frozen=True)
class Molecules:
    """Atoms of molecules of one size.

    Shapes:
        charges: (B, n)    positions: (B, n, 3)

    Raises:
        ShapeError: other shapes.

    Example:
        >>> Molecules(torch.tensor([[8.0, 1.0, 1.0]]), torch.randn(1, 3, 3)).charges.shape
        torch.Size([1, 3])
    """

    charges: Tensor
    positions: Tensor

    def __post_init__(self) -> None:
        if self.charges.ndim != 2 or self.positions.shape != (*self.charges.shape, 3):
            raise ShapeError(
                f"expected charges (B, n), positions (B, n, 3), got {tuple(self.charges.shape)}, {tuple(self.positions.shape)}"
            )


def coulomb_matrix(charges: Tensor, positions: Tensor) -> Tensor:
    """X_ii = Z_i^2.4 / 2 and X_ij = Z_i Z_j / |r_i - r_j|: rotations and shifts change nothing, atoms number rows and columns.

    Shapes:
        charges: (..., n)    positions: (..., n, 3), real floating    returns: (..., n, n), of the dtype of positions

    Units: charges of a proton, squared, over those of the positions; the diagonal has no unit and means atomic ones.

    Raises:
        ShapeError: shapes that do not fit, or positions that are no real floating numbers.
        DegenerateInputError: two atoms at one place.

    References:
        Rupp, Tkatchenko, Müller and von Lilienfeld (2012), Physical Review Letters 108, 058301.

    Example:
        >>> coulomb_matrix(torch.tensor([1.0, 1.0]), torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]))
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """
    if positions.shape != (*charges.shape, 3) or not charges.ndim or not positions.is_floating_point():
        raise ShapeError(
            f"expected charges (..., n), positions (..., n, 3) of real floating numbers, got {tuple(charges.shape)}, "
            f"{tuple(positions.shape)} of {positions.dtype}"
        )
    charges = charges.to(positions)
    here = torch.eye(charges.shape[-1], dtype=torch.bool, device=charges.device)
    apart = positions[..., :, None, :] - positions[..., None, :, :]
    # cdist has no second derivative, and a norm none at zero: here an atom stands sqrt(3) from itself, which is left out below.
    distances = torch.where(here[..., None], torch.ones_like(apart), apart).norm(dim=-1)
    if bool((distances[..., ~here] <= 0).any()):
        raise DegenerateInputError("expected atoms at different places, got two at one")
    pairs = charges[..., :, None] * charges[..., None, :] / distances
    return torch.where(here, torch.diag_embed(0.5 * charges**2.4), pairs)


def random_molecules(num: int, num_atoms: int = 8, generator: torch.Generator | None = None) -> Molecules:
    """Made up: atoms H, C, N, O, S at random, each but the first 1 to 1.6 from an earlier one and .9 or more from all.

    Shapes:
        charges: (num, num_atoms)    positions: (num, num_atoms, 3), both float64

    Raises:
        ConfigError: numbers below one.

    Example:
        >>> random_molecules(4, 6).positions.shape
        torch.Size([4, 6, 3])
    """
    if min(num, num_atoms) < 1:
        raise ConfigError(f"expected num and num_atoms >= 1, got {num} and {num_atoms}")
    drawn = torch.multinomial(torch.tensor(SHARES), num * num_atoms, replacement=True, generator=generator)
    charges = torch.tensor(CHARGES, dtype=torch.float64)[drawn].reshape(num, num_atoms)
    positions = torch.zeros(num, num_atoms, 3, dtype=torch.float64)
    for atom in range(1, num_atoms):
        missing = torch.arange(num)
        while len(missing):  # a free place beside the outermost atom always exists
            there = torch.randint(atom, (len(missing),), generator=generator)
            direction = torch.randn(len(missing), 3, dtype=torch.float64, generator=generator)
            length = BOND[0] + (BOND[1] - BOND[0]) * torch.rand(len(missing), 1, dtype=torch.float64, generator=generator)
            tried = positions[missing, there] + length * torch.nn.functional.normalize(direction, dim=-1)
            is_free = (tried[:, None] - positions[missing, :atom]).norm(dim=-1).amin(-1) >= APART
            positions[missing[is_free], atom] = tried[is_free]
            missing = missing[~is_free]
    return Molecules(charges, positions)


def read_qm7b(path: str | Path) -> tuple[list[Tensor], Tensor]:
    """Coulomb matrices without the rows of zeros that fill them up, and the 14 targets, from ``qm7b.mat``. Nothing is fetched.

    Shapes:
        returns: matrices (n, n) of different n, and (molecules, 14), both float64

    Raises:
        DataError: no such file, or one without X (molecules, n, n) and T (molecules, targets).

    References:
        Montavon et al. (2013), New Journal of Physics 15, 095003.

    Example:
        >>> read_qm7b("/nowhere/qm7b.mat")
        Traceback (most recent call last):
        ...
        gnet.errors.DataError: expected the file /nowhere/qm7b.mat of QM7b; it is qm7b.mat of quantum-machine.org/datasets
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    if not Path(path).is_file():
        raise DataError(f"expected the file {path} of QM7b; it is qm7b.mat of quantum-machine.org/datasets")
    try:
        found = loadmat(str(path))
        X, T = (torch.from_numpy(found[name].astype("float64")) for name in ("X", "T"))
    except (*BROKEN, MatReadError) as error:
        raise DataError(f"expected X and T in {path}, got what scipy cannot read: {error}") from error
    if X.ndim != 3 or X.shape[1] != X.shape[2] or T.ndim != 2 or len(T) != len(X):
        raise DataError(f"expected X (molecules, n, n) and T (molecules, targets), got {tuple(X.shape)} and {tuple(T.shape)}")
    matrices = []
    for each in X:
        is_atom = each.diagonal() > 0
        matrices.append(each[is_atom][:, is_atom])
    return matrices, T


def spectral_targets(X: Tensor) -> Tensor:
    """Three functions of the spectrum of X: the largest eigenvalue, its distance from the next, and sum of sqrt|lambda|.

    Traces of X and X^2 are known from the sets of entries; these are not.

    Shapes:
        X: (..., n, n), n >= 2    returns: (..., 3)

    Raises:
        ShapeError: smaller matrices.

    Example:
        >>> spectral_targets(torch.diag(torch.tensor([9.0, 4.0, 1.0])))
        tensor([9., 5., 6.])
    """
    if X.ndim < 2 or X.shape[-1] != X.shape[-2] or X.shape[-1] < 2:
        raise ShapeError(f"expected X (..., n, n) with n >= 2, got {tuple(X.shape)}")
    values = torch.linalg.eigvalsh(X)
    return torch.stack([values[..., -1], values[..., -1] - values[..., -2], values.abs().sqrt().sum(-1)], -1)
