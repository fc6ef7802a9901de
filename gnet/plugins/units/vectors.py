"""Vectors with units: their scalar products first, dimensionless products of these next; rotations and units at once."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, ShapeError
from gnet.plugins.scalars import scalars
from gnet.plugins.units.lattices import dimensionless_basis, exponent_rows, scaling_exponents
from gnet.plugins.units.products import Products

Rows = Tensor | Sequence[Sequence[int]]


def scalar_products(v: Tensor, U: Rows) -> tuple[Tensor, Tensor]:
    """All products <v_i, v_j>, i <= j, of vectors with units, and the units of each, u_i + u_j.

    Args:
        U: row i has the exponents of the base units of v_i.

    Shapes:
        v: (..., n, d)    U: (n, k)    returns: (..., n (n + 1) / 2) and (n (n + 1) / 2, k) int64

    Raises:
        ShapeError: other than n vectors.

    Example:
        >>> force_and_path = torch.tensor([[0.0, 2.0], [3.0, 4.0]])
        >>> scalar_products(force_and_path, [[1, 1, -2], [0, 1, 0]])  # the second is the work
        (tensor([ 4.,  8., 25.]), tensor([[ 2,  2, -4],
                [ 1,  2, -2],
                [ 0,  2,  0]]))
    """
    units = torch.tensor(exponent_rows(U), dtype=torch.int64)
    _check_vectors(v, len(units))
    i, j = torch.triu_indices(len(units), len(units))
    return scalars(v, norms=False), units[i] + units[j]


class VectorUnitsEquivariant(nn.Module):
    """Functions of vectors and numbers that rotations, reflections and changes of units carry along.

    What the module sees are ln of the independent dimensionless products of the numbers and the lengths |v_i|, and the
    cosines between vectors: together as many as independent dimensionless products of all scalars, without logarithms of
    scalar products that may be zero. A number with units b is s F, a vector with units b is sum_i s_i F_i v_i, where s_i has
    the units b - u_i.

    Args:
        module: F, from (..., ``num_features``) to one number, or to one for each vector.
        vector_units: row i has the exponents of the base units of v_i.
        scalar_units: of the numbers x, positive unless ``signs``; none by default.
        out_units: of what is returned.
        returns: "scalar" or "vector".
        signs: the module also sees the signs of x.
        rational: fractional exponents are accepted where no whole ones give ``out_units``; for positive x.

    Shapes:
        v: (..., n, d)    x: (..., m)    vector_units: (n, k)    scalar_units: (m, k)    out_units: (k,)
        returns: (...), or (..., d) of a vector

    Raises:
        ConfigError: an unknown word.
        ShapeError: exponents, vectors or numbers that do not fit, or a module with another number of outputs.
        UnitsError: ``out_units`` cannot be made of the inputs, or only with fractions and ``rational`` is off.
        DegenerateInputError: (when called) a vector of length zero, a number that is zero, or below zero without ``signs``.
        CheckpointError: (when loaded) a checkpoint of other units.

    References:
        Villar, Yao, Hogg, Blum-Smith and Dumitrascu (2023), arXiv:2204.00887, section 3; Villar et al. (2021),
        arXiv:2106.06610.

    Example:
        >>> position, velocity, mass = (0, 1, 0), (0, 1, -1), (1, 0, 0)  # kg, m, s
        >>> model = VectorUnitsEquivariant(nn.Linear(1, 1), [position, velocity], [mass], out_units=(1, 2, -2))
        >>> model.num_features, model.scales.exponents.tolist()  # the cosine; energies are mass |velocity|^2 F
        (1, [[1.0, 0.0, 2.0]])
        >>> model(torch.randn(5, 2, 3), torch.rand(5, 1)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        module: nn.Module,
        vector_units: Rows,
        scalar_units: Rows = (),
        *,
        out_units: Sequence[int],
        returns: Literal["scalar", "vector"] = "scalar",
        signs: bool = False,
        rational: bool = False,
    ) -> None:
        super().__init__()
        if returns not in ("scalar", "vector"):
            raise ConfigError(f"expected returns 'scalar' or 'vector', got {returns!r}")
        vectors, numbers = exponent_rows(vector_units), exponent_rows(scalar_units)
        rows = exponent_rows([*numbers, *vectors])
        (out,) = exponent_rows([out_units])
        shifts = [[0] * len(out)] if returns == "scalar" else vectors
        wanted = [[b - a for a, b in zip(shift, out, strict=False)] for shift in shifts]
        self.module, self.returns, self.signs = module, returns, signs
        self.num_vectors, self.num_scalars = len(vectors), len(numbers)
        self.products = Products(dimensionless_basis(rows))
        self.scales = Products([scaling_exponents(rows, each, rational) for each in wanted])

    @property
    def num_features(self) -> int:
        """What the module sees."""
        cosines = self.num_vectors * (self.num_vectors - 1) // 2
        return len(self.products.exponents) + cosines + self.num_scalars * self.signs

    def features(self, v: Tensor, x: Tensor | None = None) -> Tensor:
        """What the module sees, (..., n, d) and (..., m) -> (..., ``num_features``)."""
        numbers = self._numbers(v, x)
        if not self.signs:
            self.products.check_signs(numbers)
        lengths = numbers[..., self.num_scalars :]
        found = [self.products.logarithms(numbers)]
        if self.num_vectors > 1:
            i, j = torch.triu_indices(self.num_vectors, self.num_vectors, 1, device=v.device)
            directions = v / torch.where(lengths > 0, lengths, 1)[..., None]
            found.append((directions @ directions.mT)[..., i, j])
        if self.signs and x is not None:
            found.append(x.sign())
        return torch.cat(found, -1)

    def forward(self, v: Tensor, x: Tensor | None = None) -> Tensor:
        """Apply the function."""
        weights = self.module(self.features(v, x))
        num = len(self.scales.exponents)
        if weights.shape[-1] != num:
            raise ShapeError(f"expected a module with {num} outputs, got {weights.shape[-1]}")
        weights = weights * self.scales(self._numbers(v, x))
        return weights.squeeze(-1) if self.returns == "scalar" else (weights[..., None] * v).sum(-2)

    def _numbers(self, v: Tensor, x: Tensor | None) -> Tensor:
        """The numbers and the lengths, (..., m + n)."""
        _check_vectors(v, self.num_vectors)
        given = 0 if x is None else x.shape[-1]
        if given != self.num_scalars:
            raise ShapeError(f"expected x of shape (..., {self.num_scalars}), got {None if x is None else tuple(x.shape)}")
        lengths = v.norm(dim=-1)
        return lengths if x is None else torch.cat([x, lengths], -1)

    def extra_repr(self) -> str:
        """Counts."""
        return f"{self.num_vectors} vectors, {self.num_scalars} numbers -> {self.returns} | {self.num_features} features"


def _check_vectors(v: Tensor, num: int) -> None:
    if v.ndim < 2 or v.shape[-2] != num:
        raise ShapeError(f"expected vectors of shape (..., {num}, d), got {tuple(v.shape)}")
