"""Functions that every change of units carries along: a regressor of dimensionless products, times a scaling."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gnet.errors import ShapeError, UnitsError
from gnet.groups import Action, GeneratedGroup
from gnet.groups.matrix import matched
from gnet.plugins.units.lattices import dimensionless_basis, exponent_rows, scaling_exponents
from gnet.plugins.units.products import Products


def Rescalings(num_units: int) -> GeneratedGroup:
    """The group of changes of base units: positive diagonal matrices, one factor for each unit. It is not compact.

    Example:
        >>> Rescalings(3).lie_dim, Rescalings(3).is_compact
        (3, False)
    """
    algebra = torch.diag_embed(torch.eye(num_units, dtype=torch.float64))
    return GeneratedGroup(f"R+^{num_units}", lie_algebra=list(algebra), contains=_is_positive_diagonal)


def _is_positive_diagonal(g: Tensor) -> bool:
    factors = torch.diagonal(g)
    return bool((factors > 0).all()) and bool((g - torch.diag(factors)).abs().max() <= 1e-9 * factors.max())


def units_action(U: Tensor | Sequence[Sequence[int]]) -> Action:
    """How a change of units moves numbers with units U: for ``equivariance_error`` and whatever else takes an action.

    Shapes:
        U: (n, k)

    Example:
        >>> g = torch.diag(torch.tensor([1000.0, 100.0]))  # grams for kilograms, centimetres for metres
        >>> units_action([[1, 0], [1, 2]])(g, torch.tensor([[2.0, 3.0]]))
        tensor([[2.0000e+03, 3.0000e+07]])
    """
    rows = exponent_rows(U)

    def act(g: Tensor, x: Tensor) -> Tensor:
        g, x = matched(g, x)
        return rescale(x, rows, torch.diagonal(g, dim1=-2, dim2=-1))

    return Action("units", act)


def rescale(x: Tensor, U: Tensor | Sequence[Sequence[int]], lam: Tensor) -> Tensor:
    """The same quantities in other units: x_i times the product of lam_j^U_ij.

    Args:
        lam: how many of the new base unit make one of the old.

    Shapes:
        x: (..., n)    U: (n, k)    lam: (..., k)    returns: (..., n)

    Raises:
        ShapeError: numbers that do not fit.
        UnitsError: factors that are not positive.

    Example:
        >>> rescale(torch.tensor([5.0, 9.81]), [[1, 0], [1, -2]], torch.tensor([100.0, 1 / 60]))  # m, m/s^2 -> cm, cm/min^2
        tensor([5.0000e+02, 3.5316e+06])
    """
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    exponents = torch.tensor(exponent_rows(U), dtype=x.dtype, device=x.device)
    if x.shape[-1:] != exponents.shape[:1] or lam.shape[-1:] != exponents.shape[1:]:
        expected = f"(..., {exponents.shape[0]}) and (..., {exponents.shape[1]})"
        raise ShapeError(f"expected x and lam of shapes {expected}, got {tuple(x.shape)} and {tuple(lam.shape)}")
    if not bool((lam > 0).all()):
        raise UnitsError("expected positive factors between units, got zero or less")
    return x * (lam.to(x).log() @ exponents.mT).exp()


class UnitsEquivariant(nn.Module):
    """y = sum_j s_j(x) F_j(z): z all independent dimensionless products, s_j products with the units of y, F any regressor.

    Every function of positive x that changes of units carry along has this form with one s; for x of either sign F needs
    ``signs``, too (|x_1| of two lengths is not x_1 F(x_1 / x_2)). Predictions are right in every
    system of units. Standardise z as you like; of x only multiples may be taken, since a subtracted mean has units.

    Args:
        module: F, from (..., ``num_features``) to one output for each scaling (of several outputs: for each output and scaling).
        in_units: row i has the exponents of the base units of x_i.
        out_units: those of y; a matrix for several outputs.
        scalings: the exponents of the s_j; None takes one, of ``scaling_exponents``.
        log: F sees ln |z|; without it z. Zeros in x have no logarithm.
        features: exponents of other dimensionless products; None takes ``dimensionless_basis``.
        signs: F also sees the sign of every x_i.
        rational: fractional exponents are accepted where no whole ones give ``out_units``; for positive x.

    Shapes:
        x: (..., n)    in_units: (n, k)    out_units: (k,) or (m, k)    scalings: (J, n), of several outputs (m, J, n)
        features: (F, n)    returns: (..., m)

    Raises:
        ShapeError: exponents that do not fit, or a module with another number of outputs.
        UnitsError: ``out_units`` cannot be made of the inputs, or given scalings or features have other units.
        DegenerateInputError: (when called) a zero that has no logarithm or inverse; a negative number that only its logarithm,
            or a fractional power, would see.
        CheckpointError: (when loaded) a checkpoint of other units.

    References:
        Villar, Yao, Hogg, Blum-Smith and Dumitrascu (2023), arXiv:2204.00887.

    Example:
        >>> units = [[1, 0, 0], [1, 0, 0], [0, 1, -1]]  # two masses, a velocity
        >>> model = UnitsEquivariant(nn.Linear(1, 1), units, (1, 2, -2)).double()  # an energy
        >>> model.scalings.tolist(), model.basis.tolist()
        ([[[1.0, 0.0, 2.0]]], [[1.0, -1.0, 0.0]])
        >>> x = torch.tensor([[2.0, 3.0, 5.0]], dtype=torch.float64)
        >>> grams = rescale(x, units, torch.tensor([1000.0, 1.0, 1.0]))
        >>> torch.allclose(model(grams), 1000 * model(x))
        True
    """

    def __init__(
        self,
        module: nn.Module,
        in_units: Tensor | Sequence[Sequence[int]],
        out_units: Sequence[int] | Sequence[Sequence[int]],
        scalings: Tensor | Sequence[Any] | None = None,
        log: bool = True,
        *,
        features: Tensor | Sequence[Sequence[Any]] | None = None,
        signs: bool = False,
        rational: bool = False,
    ) -> None:
        super().__init__()
        rows = exponent_rows(in_units)
        outputs = exponent_rows(out_units if _is_matrix(out_units) else [out_units])  # type: ignore[list-item, arg-type]
        if scalings is None:
            found = [[scaling_exponents(rows, each, rational)] for each in outputs]
            scalings = torch.tensor([[[float(a) for a in row] for row in each] for each in found], dtype=torch.float64)
        scalings = torch.as_tensor(scalings, dtype=torch.float64)
        scalings = scalings if scalings.ndim == 3 else scalings[None]
        if scalings.ndim != 3 or scalings.shape[::2] != (len(outputs), len(rows)):
            expected = f"({len(outputs)}, J, {len(rows)})"
            raise ShapeError(f"expected scalings of shape {expected}, got {tuple(scalings.shape)}")
        basis = dimensionless_basis(rows) if features is None else torch.as_tensor(features, dtype=torch.float64)
        units = torch.tensor(rows, dtype=torch.float64)
        for kind, given, wanted in [("features", basis, torch.zeros(units.shape[1])), *_pairs(scalings, outputs)]:
            wrong = ((given.double() @ units - wanted).abs() > 1e-9).any(-1).nonzero()
            if len(wrong):
                have = (given[wrong[0, 0]].double() @ units).tolist()
                raise UnitsError(f"row {int(wrong[0, 0])} of {kind} has units {have}, expected {wanted.tolist()}")
        self.module, self.log, self.signs, self.units = module, log, signs, rows
        self.products, self.scales = Products(basis), Products(scalings.flatten(0, 1))
        self.num_outputs, self.num_scalings = scalings.shape[:2]

    @property
    def basis(self) -> Tensor:
        """Exponents of the features, (F, n)."""
        return self.products.exponents

    @property
    def scalings(self) -> Tensor:
        """Exponents of the s_j, (m, J, n)."""
        return self.scales.exponents.unflatten(0, (self.num_outputs, self.num_scalings))

    @property
    def num_features(self) -> int:
        """What the module sees."""
        return len(self.basis) + (len(self.units) if self.signs else 0)

    def features(self, x: Tensor) -> Tensor:
        """What the module sees of x, (..., n) -> (..., ``num_features``)."""
        return self.products.features(x, self.log, self.signs)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function."""
        weights = self.module(self.features(x))
        if weights.shape[-1] != self.num_outputs * self.num_scalings:
            expected = f"{self.num_outputs} x {self.num_scalings} outputs (outputs x scalings)"
            raise ShapeError(f"expected a module with {expected}, got {weights.shape[-1]}")
        return (weights * self.scales(x)).unflatten(-1, (self.num_outputs, self.num_scalings)).sum(-1)

    def extra_repr(self) -> str:
        """Counts."""
        return f"{len(self.units)} -> {self.num_outputs} | {len(self.basis)} products, {self.num_scalings} scalings"


def _is_matrix(units: Any) -> bool:
    return len(units) > 0 and isinstance(units[0], Sequence | Tensor | np.ndarray) and len(torch.as_tensor(units[0]).shape) > 0


def _pairs(scalings: Tensor, outputs: list[list[int]]) -> list[tuple[str, Tensor, Tensor]]:
    return [("scalings", given, torch.tensor(b, dtype=torch.float64)) for given, b in zip(scalings, outputs, strict=True)]
