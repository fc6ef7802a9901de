"""Fields on a grid with their units, how they change, and the parameters they may depend on: what equations are found from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnet.errors import ConfigError, DegenerateInputError, ShapeError, UnitsError
from gnet.plugins.geometric_images import GeometricImage, gradient, laplacian
from gnet.plugins.units import Quantity
from gnet.plugins.vegetation.expressions import evaluate


@dataclass(frozen=True, eq=False)
class PDEData:
    """Samples of fields with their derivatives in time, on a grid with periodic ends.

    Args:
        fields: by name.
        rates: of the same names, their derivatives in time.
        spacing: distance of two cells.
        parameters: what else may enter a term; one number, or one for each sample.

    Shapes:
        fields and rates: (S, n_1, ..., n_d) with S, d >= 1    parameters: () or (S,)

    Units: of each ``Quantity``; rates have those of their field over a time, the same time for all.

    Raises:
        ShapeError: fields of different shapes, no sample, or parameters with neither one nor S numbers.
        DegenerateInputError: NaN or infinity among the numbers.
        ConfigError: rates of other names than fields, a parameter called as a field, or no field.
        UnitsError: rates over different times, or a spacing that differs between samples.

    Example:
        >>> from gnet.plugins.units import Units
        >>> SI, u = Units("kg", "m", "s"), torch.randn(5, 8, 8)
        >>> PDEData({"u": SI(u, "kg")}, {"u": SI(-u, "kg / s")}, spacing=SI(0.1, "m"), parameters={})
        PDEData(5 samples of 8x8 cells: u)
    """

    fields: Mapping[str, Quantity]
    rates: Mapping[str, Quantity]
    spacing: Quantity
    parameters: Mapping[str, Quantity]

    def __post_init__(self) -> None:
        if not self.fields or set(self.fields) != set(self.rates):
            raise ConfigError(f"expected fields and rates of the same names, got {list(self.fields)} and {list(self.rates)}")
        if clash := set(self.fields) & set(self.parameters):
            raise ConfigError(f"a field and a parameter are called {clash.pop()}; rename one")
        shapes = {tuple(each.x.shape) for each in [*self.fields.values(), *self.rates.values()]}
        if len(shapes) > 1 or len(shape := next(iter(shapes))) < 2 or 0 in shape:
            expected = "fields and rates of one shape (samples, n_1, ..., n_d), none of them 0"
            raise ShapeError(f"expected {expected}, got {sorted(shapes)}")
        for kind, part in (("field", self.fields), ("rate of", self.rates), ("parameter", self.parameters)):
            if wrong := [name for name, each in part.items() if not bool(each.x.isfinite().all())]:
                raise DegenerateInputError(
                    f"expected finite numbers, got NaN or infinity in the {kind} {wrong[0]}; leave them out"
                )
        for name, each in self.parameters.items():
            if each.x.numel() != 1 and each.x.shape != (self.num_samples,):
                raise ShapeError(f"expected {name} as a number or ({self.num_samples},), got {tuple(each.x.shape)}")
        if self.spacing.x.numel() != 1:
            raise ShapeError(f"expected one spacing for all samples, got {tuple(self.spacing.x.shape)}")
        system = self.spacing.system
        if any(each.system != system for part in (self.fields, self.rates, self.parameters) for each in part.values()):
            raise UnitsError(f"expected all quantities in base units {', '.join(system.base)}")
        times = {tuple(a - b for a, b in zip(self.fields[n].u, self.rates[n].u, strict=True)) for n in self.fields}
        if len(times) > 1:
            raise UnitsError(
                f"expected every rate per the same unit of time, got per {' and per '.join(map(system.text, times))}"
            )

    # --- from snapshots ---

    @classmethod
    def from_pairs(
        cls,
        before: Mapping[str, Quantity],
        after: Mapping[str, Quantity],
        step: Quantity,
        spacing: Quantity,
        parameters: Mapping[str, Quantity] | None = None,
    ) -> "PDEData":
        """Samples now and a step of time later: forward differences, exact for what explicit Euler steps have made.

        Shapes:
            before, after: (S, n_1, ..., n_d)    step: () or (S,)
        """
        rates = {name: (after[name] - before[name]) / _over_cells(step, before[name].x.ndim - 1) for name in before}
        return cls(before, rates, spacing, parameters or {})

    @classmethod
    def from_series(
        cls, series: Mapping[str, Quantity], step: Quantity, spacing: Quantity, parameters: Mapping[str, Quantity] | None = None
    ) -> "PDEData":
        """Snapshots at equal steps of time: central differences; the first and the last snapshot serve for these alone.

        Shapes:
            series: (T, n_1, ..., n_d) with T >= 3    step: ()

        Raises:
            ShapeError: fewer than three snapshots.
        """
        if any(len(each.x) < 3 for each in series.values()):
            raise ShapeError("expected at least three snapshots for central differences")
        rates = {name: (each[2:] - each[:-2]) / (2 * step) for name, each in series.items()}
        return cls({name: each[1:-1] for name, each in series.items()}, rates, spacing, parameters or {})

    # --- what terms are made of ---

    @property
    def num_samples(self) -> int:
        """S."""
        return len(next(iter(self.fields.values())).x)

    @property
    def num_axes(self) -> int:
        """d."""
        return next(iter(self.fields.values())).x.ndim - 1

    def term(self, text: str) -> Quantity:
        """An expression of fields and parameters at every cell, with ``lap(.)`` and ``slope2(.)``, the square of the gradient.

        Derivatives are convolutions with filters that no signed permutation of the axes changes, so that a term moves along when
        the fields are translated, turned or mirrored.

        Shapes:
            returns: (S, n_1, ..., n_d)

        Raises:
            ConfigError: no expression, or an unknown name.
            UnitsError: unequal units are added.
        """
        names = {**{name: _over_cells(each, self.num_axes) for name, each in self.parameters.items()}, **self.fields}
        found = evaluate(text, names, {"lap": self.laplacian, "slope2": self.slope2})
        return _with(found, found.x.expand(next(iter(self.fields.values())).shape))

    def laplacian(self, field: Quantity) -> Quantity:
        """By the filter of 2 d + 1 cells; zero for what is the same in all cells."""
        if field.x.ndim <= self.num_axes or field.x.shape[-1] == 1:
            return 0 * field / self.spacing**2
        if self.num_axes == 1:  # geometric images begin with two axes
            return (_shifted(field, 1) - 2 * field + _shifted(field, -1)) / self.spacing**2
        return _with(field, laplacian(GeometricImage(field.x, self.num_axes)).data) / self.spacing**2

    def slope2(self, field: Quantity) -> Quantity:
        """|grad f|^2 by central differences."""
        if field.x.ndim <= self.num_axes or field.x.shape[-1] == 1:
            return 0 * field**2 / self.spacing**2
        if self.num_axes == 1:
            return ((_shifted(field, -1) - _shifted(field, 1)) / (2 * self.spacing)) ** 2
        slope = gradient(GeometricImage(field.x, self.num_axes)).data
        return _with(field**2, slope.square().sum(-1)) / self.spacing**2

    # --- other forms of the same data ---

    def dimensionless(self, scales: Mapping[str, str]) -> "PDEData":
        """The same data in units made of parameters: every field, the time and the length divided by its scale.

        Args:
            scales: an expression of parameters for each field, for "time" and for "length", such as {"u": "R / alpha", ...}.

        Raises:
            ConfigError: a scale is missing.
            UnitsError: a scale has not the units of what it scales.
        """
        if missing := {*self.fields, "time", "length"} - set(scales):
            raise ConfigError(f"expected scales of {sorted(missing)}, too")
        of = {
            name: evaluate(text, {each: _over_cells(q, self.num_axes) for each, q in self.parameters.items()})
            for name, text in scales.items()
        }
        found = {name: _pure(each / of[name], name) for name, each in self.fields.items()}
        rates = {name: _pure(each * of["time"] / of[name], f"the rate of {name}") for name, each in self.rates.items()}
        spacing = _pure(self.spacing / of["length"], "length")
        if spacing.x.numel() > 1 and bool((spacing.x != spacing.x.flatten()[0]).any()):
            raise ShapeError("the scale of length differs between samples, so that the spacing would, too; take a common one")
        return PDEData(found, rates, _with(spacing, spacing.x.flatten()[0]), {})

    def with_noise(self, share: float, generator: torch.Generator | None = None) -> "PDEData":
        """Gaussian noise on every rate, of ``share`` times its standard deviation."""
        noisy = {}
        for name, each in self.rates.items():
            noise = torch.randn(each.x.shape, dtype=each.x.dtype, generator=generator)
            noisy[name] = _with(each, each.x + share * each.x.std() * noise)
        return replace(self, rates=noisy)

    def __repr__(self) -> str:
        first = next(iter(self.fields.values())).x
        names = ", ".join([*self.fields, *self.parameters])
        return f"PDEData({self.num_samples} samples of {'x'.join(map(str, first.shape[1:]))} cells: {names})"


def _with(like: Quantity, x: Tensor) -> Quantity:
    """Other numbers in the same units."""
    return Quantity(x, like.u, like.system)


def _shifted(field: Quantity, cells: int) -> Quantity:
    return _with(field, field.x.roll(cells, -1))


def _over_cells(given: Quantity, axes: int) -> Quantity:
    """A number for each sample, shaped so that it meets fields."""
    return _with(given, given.x.reshape(()) if given.x.numel() == 1 else given.x.reshape(-1, *[1] * axes))


def _pure(given: Quantity, name: str) -> Quantity:
    if not given.is_dimensionless:
        raise UnitsError(f"the scale of {name} has not its units: {given.unit} is left")
    return given
