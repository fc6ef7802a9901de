"""Equations from data: sparse regression on a library of terms, of which only those with the units of the rate are admitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from gnet.errors import ConfigError, ConvergenceError, DegenerateInputError, ShapeError
from gnet.plugins.vegetation.expressions import in_brackets, product_with_units
from gnet.plugins.vegetation.pde import PDEData

THRESHOLD = 0.02
"""Smallest share of the norm of the rate that a term makes; with a tenth of it, noise of 1 % now and then keeps false terms."""
MAX_CONDITION = 1e6
"""Largest condition number of a library with columns of unit norm."""


@dataclass(frozen=True)
class Equation:
    """What was found for one field.

    Attributes:
        field: its name.
        terms: the admitted terms, kept or not.
        coefficients: of each, zero where dropped; numbers without units.
        condition: of the library with columns of unit norm.
        residual: root mean square of what is left, over that of the rate.
    """

    field: str
    terms: tuple[str, ...]
    coefficients: tuple[float, ...]
    condition: float
    residual: float

    @property
    def support(self) -> dict[str, float]:
        """The terms that were kept, with their coefficients."""
        return {term: value for term, value in zip(self.terms, self.coefficients, strict=True) if value}

    def __str__(self) -> str:
        return f"d{self.field}/dt = {' '.join(f'{value:+.5g} {term}' for term, value in self.support.items()) or '0'}"


def discover(
    data: PDEData,
    library: Sequence[str] | Mapping[str, Sequence[str]],
    scales: Sequence[str] | None = None,
    *,
    threshold: float = THRESHOLD,
    max_passes: int = 20,
) -> dict[str, Equation]:
    """The equation of every field, from terms with the units of its rate.

    Without ``scales`` a term is admitted to the equation of f where its units equal those of df/dt. With them each term is
    multiplied by the smallest product of these parameters that gives it the units, and admitted where there is one; coefficients
    are then numbers that no change of units changes.

    Args:
        data: fields, rates and parameters.
        library: candidate terms, for all fields or for each by name.
        scales: parameters that make up missing units.
        threshold: share of the norm of the rate below which a term is dropped.
        max_passes: of dropping and fitting again.

    Raises:
        ConfigError: an unknown name, a field without a library, or an equation without any admitted term.
        DegenerateInputError: a collinear library: columns of which one is a sum of others, or a column of zeros.
        ConvergenceError: terms still fell out at the last pass.

    References:
        Brunton, Proctor and Kutz (2016), arXiv:1509.03580, for the thresholds; Rudy et al. (2017), arXiv:1609.06401, for partial
        differential equations; Villar et al. (2023), arXiv:2204.00887, for the units.

    Example:
        >>> from gnet.plugins.units import Units
        >>> system, u = Units("kg", "m", "s"), torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> fields, rates = {"u": system(u, "kg")}, {"u": system(-0.5 * u, "kg / s")}
        >>> data = PDEData(fields, rates, system(1.0, "m"), {"k": system(2.0, "s^-1")})
        >>> print(discover(data, ["k * u", "u", "k", "k * lap(u)"])["u"])
        du/dt = -0.25 k * u
    """
    if isinstance(library, Mapping) and (missing := set(data.rates) - set(library)):
        raise ConfigError(f"expected a library for each of {', '.join(data.rates)}, got none for {', '.join(sorted(missing))}")
    if unknown := set(scales or ()) - set(data.parameters):
        known = ", ".join(data.parameters) or "no parameter"
        raise ConfigError(f"expected scales among {known}, got {', '.join(sorted(unknown))}")
    found = {}
    for name, rate in data.rates.items():
        candidates = library[name] if isinstance(library, Mapping) else library
        columns = admitted_terms(data, candidates, rate.u, scales)
        if not columns:
            raise ConfigError(f"no term of the library has the units of d{name}/dt; give scales, or terms with parameters")
        matrix, y = torch.stack([each.flatten().double() for each in columns.values()], 1), rate.x.flatten().double()
        condition = _checked_condition(matrix, list(columns))
        values = thresholded_least_squares(matrix, y, threshold, max_passes)
        left = (y - matrix @ values).norm() / y.norm() if bool(y.any()) else 0.0
        found[name] = Equation(name, tuple(columns), tuple(values.tolist()), condition, float(left))
    return found


def admitted_terms(
    data: PDEData, candidates: Sequence[str], units: Sequence[int | Fraction], scales: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Those terms that have these units, or get them by a product of scales, as they are written, with their values.

    Shapes:
        values: (S, n_1, ..., n_d)
    """
    found = {}
    for text in candidates:
        term = data.term(text)
        if scales is not None and tuple(term.u) != tuple(units):
            missing = tuple(b - a for a, b in zip(term.u, units, strict=True))
            scale = product_with_units({name: data.parameters[name] for name in scales}, missing)
            if scale is None:
                continue
            text = scale if text.strip() == "1" else f"{scale} * {in_brackets(text)}"
            term = data.term(text)
        if tuple(term.u) == tuple(units):
            found[text] = term.x
    return found


def thresholded_least_squares(matrix: Tensor, y: Tensor, threshold: float = THRESHOLD, max_passes: int = 20) -> Tensor:
    """Least squares, again and again without the columns whose share in y is below the threshold.

    Columns are scaled to unit norm, so that a coefficient is compared with threshold |y|.

    Shapes:
        matrix: (samples, terms)    y: (samples,)    returns: (terms,)

    Raises:
        ShapeError: other shapes.
        ConvergenceError: terms still fell out at the last pass.

    Example:
        >>> x = torch.eye(4, 3, dtype=torch.float64)
        >>> thresholded_least_squares(x, torch.tensor([2.0, 0.01, 0.0, 0.0]).double())
        tensor([2., 0., 0.], dtype=torch.float64)
    """
    if matrix.ndim != 2 or y.shape != matrix.shape[:1]:
        raise ShapeError(f"expected a matrix (samples, terms) and y (samples,), got {tuple(matrix.shape)} and {tuple(y.shape)}")
    norms = matrix.norm(dim=0)
    scaled = matrix / norms
    kept = torch.ones(matrix.shape[1], dtype=torch.bool)
    values = torch.zeros(matrix.shape[1], dtype=matrix.dtype)
    for _ in range(max_passes):
        values = torch.zeros_like(values)
        if not bool(kept.any() and y.any()):
            return values
        values[kept] = torch.linalg.lstsq(scaled[:, kept], y[:, None]).solution[:, 0]
        large = kept & (values.abs() >= threshold * y.norm())
        if bool((large == kept).all()):
            return values / norms
        kept = large
    raise ConvergenceError(f"terms still fell out after {max_passes} passes; {int(kept.sum())} are left; allow more passes")


def _checked_condition(matrix: Tensor, terms: Sequence[str]) -> float:
    norms = matrix.norm(dim=0)
    if zero := [term for term, norm in zip(terms, norms.tolist(), strict=True) if not norm]:
        raise DegenerateInputError(f"collinear library: {zero[0]} is zero everywhere; leave it out")
    _, sizes, directions = torch.linalg.svd(matrix / norms, full_matrices=False)
    if len(matrix) < len(terms) or float(sizes[-1]) * MAX_CONDITION < float(sizes[0]):
        involved = [term for term, share in zip(terms, directions[-1].abs().tolist(), strict=True) if share > 0.1]
        raise DegenerateInputError(
            f"collinear library: of the terms {', '.join(involved)} one is a sum of the others (condition number above"
            f" {MAX_CONDITION:g}); leave one out"
        )
    return float(sizes[0] / sizes[-1])
