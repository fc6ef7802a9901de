"""The Rietkerk model of vegetation: its sixteen numbers with their units, its right-hand side, and its uniform states."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gnet.errors import ConfigError, DegenerateInputError, ShapeError
from gnet.plugins.geometric_images import GeometricImage, laplacian
from gnet.plugins.units import Units

SYSTEM = Units("l", "d", "m", "g")
"""Litres of water, days, metres, grams of vegetation."""
UNITS: Mapping[str, str] = {
    "R": "l d^-1 m^-2",
    "alpha": "d^-1",
    "k2": "g m^-2",
    "W0": "1",
    "Du": "m^2 d^-1",
    "gm": "l g^-1 d^-1",
    "k1": "l m^-2",
    "dw": "d^-1",
    "Dw": "m^2 d^-1",
    "c": "g l^-1",
    "dv": "d^-1",
    "Dv": "m^2 d^-1",
    "T": "d",
    "dt": "d",
    "L": "m",
    "dl": "m",
}
"""Of each input, in the order of the columns of ``Rietkerk.inputs``."""
PHYSICAL = tuple(UNITS)[:12]
"""The inputs that are parameters of the equations; the other four say where and how long they are solved."""
FIELD_UNITS: Mapping[str, str] = {"u": "l m^-2", "w": "l m^-2", "v": "g m^-2"}
"""Surface water, soil water and vegetation, in the order of the axis of fields."""


@dataclass(frozen=True, eq=False)
class Rietkerk:
    """Surface water u, soil water w and vegetation v on a torus, for one set of parameters or a batch.

        f = (v + k2 W0) / (v + k2)
        u' = R - alpha f u + Du lap u
        w' = alpha f u - gm v w / (k1 + w) - dw w + Dw lap w
        v' = c gm v w / (k1 + w) - dv v + Dv lap v

    Args:
        R: rain.
        alpha: rate at which water infiltrates.
        k2: vegetation at which infiltration is halfway from bare to full.
        W0: infiltration of bare soil, as a share of the full one.
        Du, Dw, Dv: diffusion constants.
        gm: uptake of water per vegetation.
        k1: soil water at which uptake is half of its largest.
        dw: loss of soil water.
        c: growth per water taken up.
        dv: death rate.
        T, dt: time that is simulated, and time step.
        L, dl: side of the torus, and distance of two cells.

    Shapes:
        each number or (B,)    states: (..., B, 3, n, n) with n = L / dl, the fields u, w, v

    Units: see ``UNITS``; any others do if all are changed alike.

    Raises:
        ShapeError: batches of different lengths, or without any set of parameters.
        ConfigError: an input that is not positive (W0 may be zero), or L / dl or T / dt that is no whole number, or differs
            within the batch.

    References:
        Rietkerk et al. (2002), Am. Nat. 160:524; the values in Villar et al. (2023), arXiv:2204.00887.

    Example:
        >>> model = Rietkerk(R=torch.tensor([0.375, 0.6]))
        >>> model
        Rietkerk(2 sets of parameters, 100 x 100 cells, 40000 steps)
        >>> model.bare()[0]
        tensor([18.7500,  1.8750,  0.0000], dtype=torch.float64)
    """

    R: Tensor | float = 0.375
    alpha: Tensor | float = 0.2
    k2: Tensor | float = 5.0
    W0: Tensor | float = 0.1
    Du: Tensor | float = 100.0
    gm: Tensor | float = 0.05
    k1: Tensor | float = 5.0
    dw: Tensor | float = 0.2
    Dw: Tensor | float = 0.1
    c: Tensor | float = 20.0
    dv: Tensor | float = 0.25
    Dv: Tensor | float = 0.1
    T: Tensor | float = 200.0
    dt: Tensor | float = 0.005
    L: Tensor | float = 200.0
    dl: Tensor | float = 2.0

    def __post_init__(self) -> None:
        if any(torch.as_tensor(getattr(self, name)).ndim > 1 for name in UNITS):
            raise ShapeError("expected each input as a number or a tensor (B,)")
        if not len(self):
            raise ShapeError("expected at least one set of parameters, got none")
        low = (self.inputs <= 0) & (torch.tensor([name != "W0" for name in UNITS]) | (self.inputs < 0))
        if bool((low | ~self.inputs.isfinite()).any()):
            name = list(UNITS)[int((low | ~self.inputs.isfinite()).any(0).nonzero()[0])]
            raise ConfigError(f"expected {name} > 0, got {float(self.inputs[:, list(UNITS).index(name)].min())}")
        for whole in (self["L"] / self["dl"], self["T"] / self["dt"]):
            if bool(((whole - whole.round()).abs() > 1e-6 * whole).any()) or len(set(whole.round().tolist())) > 1:
                raise ConfigError(
                    f"expected L / dl and T / dt as whole numbers, the same for every set of parameters, got {whole.tolist()}"
                )
        if self.num_cells < 3:
            raise ConfigError(f"expected at least 3 cells along a side, got L / dl = {self.num_cells}")

    @classmethod
    def of(cls, inputs: Tensor) -> "Rietkerk":
        """From one row of sixteen numbers for each set of parameters.

        Shapes:
            inputs: (B, 16), columns as in ``UNITS``

        Raises:
            ShapeError: not sixteen columns.

        Example:
            >>> Rietkerk.of(Rietkerk().inputs.expand(4, 16))
            Rietkerk(4 sets of parameters, 100 x 100 cells, 40000 steps)
        """
        if inputs.ndim != 2 or inputs.shape[1] != len(UNITS):
            raise ShapeError(f"expected inputs (B, {len(UNITS)}), got {tuple(inputs.shape)}")
        return cls(**dict(zip(UNITS, inputs.double().unbind(1), strict=True)))

    @property
    def inputs(self) -> Tensor:
        """All numbers, (B, 16) float64, columns as in ``UNITS``; a copy."""
        return self._inputs.clone()

    @cached_property
    def _inputs(self) -> Tensor:
        columns = [torch.as_tensor(getattr(self, name), dtype=torch.float64).reshape(-1) for name in UNITS]
        try:
            return torch.stack(torch.broadcast_tensors(*columns), 1)
        except RuntimeError as error:
            raise ShapeError(f"expected inputs of one length, got {sorted({len(each) for each in columns})}") from error

    def __getitem__(self, name: str) -> Tensor:
        """One input, (B,) float64."""
        return self._inputs[:, list(UNITS).index(name)].clone()

    def __len__(self) -> int:
        return len(self._inputs)

    @property
    def num_cells(self) -> int:
        """n = L / dl."""
        return round(float(self["L"][0] / self["dl"][0]))

    @property
    def num_steps(self) -> int:
        """T / dt."""
        return round(float(self["T"][0] / self["dt"][0]))

    def step_bound(self) -> Tensor:
        """The longest time step at which explicit diffusion is stable, dl^2 / (4 max D), (B,).

        Example:
            >>> Rietkerk().step_bound()
            tensor([0.0100], dtype=torch.float64)
        """
        return self["dl"] ** 2 / (4 * torch.stack([self["Du"], self["Dw"], self["Dv"]]).amax(0))

    def start(self, is_planted: Tensor) -> Tensor:
        """The first state: water as on bare soil that takes up all rain, v = 2 k2 where planted.

        u = R / (alpha W0) and w = R / dw carry no dimensional constant of their own, so that a change of units changes nothing.

        Shapes:
            is_planted: (n, n), (1, n, n) or (B, n, n) bool    returns: (B, 3, n, n) float64

        Raises:
            ShapeError: another shape.
            DegenerateInputError: W0 is zero, so that no water at all infiltrates bare soil.

        Example:
            >>> Rietkerk(L=8.0).start(torch.eye(4) > 0)[0, 2, 0]
            tensor([10.,  0.,  0.,  0.], dtype=torch.float64)
        """
        n = self.num_cells
        if is_planted.shape not in ((n, n), (1, n, n), (len(self), n, n)):
            raise ShapeError(f"expected planted cells ({n}, {n}) or ({len(self)}, {n}, {n}), got {tuple(is_planted.shape)}")
        water = self.bare()[:, :2, None, None].expand(-1, -1, n, n)
        plants = 2 * self["k2"][:, None, None] * is_planted.double()
        return torch.cat([water, plants[:, None]], 1)

    # --- the equations ---

    def reaction(self, state: Tensor) -> Tensor:
        """The right-hand side without diffusion.

        Shapes:
            state: (..., B, 3, *cells)    returns: the same
        """
        axis = state.ndim - self._cells(state) - 1
        u, w, v = state.unbind(axis)
        p = {name: self[name].reshape(-1, *[1] * self._cells(state)) for name in PHYSICAL}
        infiltrated = p["alpha"] * (v + p["k2"] * p["W0"]) / (v + p["k2"]) * u
        taken_up = p["gm"] * v * w / (p["k1"] + w)
        rates = (p["R"] - infiltrated, infiltrated - taken_up - p["dw"] * w, p["c"] * taken_up - p["dv"] * v)
        return torch.stack(rates, axis)

    def rates(self, state: Tensor) -> Tensor:
        """The right-hand side, with the Laplacian of five cells on the torus.

        Shapes:
            state: (..., B, 3, n, n)    returns: the same

        Example:
            >>> model = Rietkerk(L=8.0)
            >>> bare = model.bare()[..., None, None].expand(1, 3, 4, 4)
            >>> bool(model.rates(bare).abs().max() < 1e-14)
            True
        """
        diffusion = torch.stack([self[name] for name in ("Du", "Dw", "Dv")], 1) / self["dl"][:, None] ** 2
        curved = laplacian(GeometricImage(state, 2)).data
        return self.reaction(state) + diffusion[..., None, None] * curved

    def _cells(self, state: Tensor) -> int:
        """How many axes of cells there are after that of fields."""
        for cells in (0, 2):
            shape = state.shape[: state.ndim - cells]
            if len(shape) >= 2 and shape[-1] == 3 and shape[-2] in (1, len(self)):
                return cells
        raise ShapeError(f"expected states (..., {len(self)}, 3) or (..., {len(self)}, 3, n, n), got {tuple(state.shape)}")

    # --- uniform states ---

    def bare(self) -> Tensor:
        """The state without vegetation, u = R / (alpha W0), w = R / dw, (B, 3).

        Raises:
            DegenerateInputError: W0 is zero: water then stays on the surface for ever.
        """
        if bool((self["W0"] == 0).any()):
            raise DegenerateInputError("there is no bare state with W0 = 0: no water infiltrates; take W0 > 0")
        return torch.stack([self["R"] / (self["alpha"] * self["W0"]), self["R"] / self["dw"], 0 * self["R"]], 1)

    def vegetated(self) -> Tensor:
        """The uniform state with vegetation, (B, 3).

        w = dv k1 / (c gm - dv), v = (R - dw w) c / dv, u = R (v + k2) / (alpha (v + k2 W0)).

        Raises:
            DegenerateInputError: there is none, since c gm <= dv or it does not rain enough.

        Example:
            >>> Rietkerk().vegetated()
            tensor([[4.0761, 1.6667, 3.3333]], dtype=torch.float64)
        """
        w = self["dv"] * self["k1"] / (self["c"] * self["gm"] - self["dv"])
        v = (self["R"] - self["dw"] * w) * self["c"] / self["dv"]
        if bool(((w <= 0) | (v <= 0)).any()):
            raise DegenerateInputError(
                "there is no uniform state with vegetation: expected c gm > dv and R > dw dv k1 / (c gm - dv)"
            )
        u = self["R"] * (v + self["k2"]) / (self["alpha"] * (v + self["k2"] * self["W0"]))
        return torch.stack([u, w, v], 1)

    def jacobian(self, state: Tensor, wavelength: Tensor | float = torch.inf) -> Tensor:
        """Linear response of a uniform state to a wave on it, with the exact Laplacian -(2 pi / wavelength)^2.

        Shapes:
            state: (B, 3)    wavelength: a number or (B,)    returns: (B, 3, 3)

        Example:
            >>> Rietkerk().jacobian(Rietkerk().bare())[0, 2]  # of vegetation on bare soil, it alone feeds back on itself
            tensor([0.0000, 0.0000, 0.0227], dtype=torch.float64)
        """
        local = torch.autograd.functional.jacobian(lambda each: self.reaction(each).sum(0), state).movedim(1, 0)
        diffusion = torch.stack([self[name] for name in ("Du", "Dw", "Dv")], 1)
        wave = 2 * torch.pi / torch.as_tensor(wavelength, dtype=torch.float64).reshape(-1, 1, 1)
        return local - torch.diag_embed(diffusion) * wave**2

    def growth_rates(self, state: Tensor, wavelength: Tensor | float = torch.inf) -> Tensor:
        """Eigenvalues of the response, by falling real part, (B, 3) complex.

        Example:
            >>> model = Rietkerk()
            >>> model.growth_rates(model.vegetated(), 42.1)[0, 0].real  # a pattern of this wavelength grows
            tensor(0.0506, dtype=torch.float64)
        """
        found = torch.linalg.eigvals(self.jacobian(state, wavelength))
        return found.gather(1, found.real.argsort(1, descending=True))

    def fastest_wavelength(self) -> Tensor:
        """The wavelength that grows fastest on the uniform vegetated state, between dl and 10 L, (B,).

        Example:
            >>> round(float(Rietkerk().fastest_wavelength()), 2)
            42.1
        """
        state, steps = self.vegetated(), torch.linspace(-1, 1, 41, dtype=torch.float64)
        low, high = self["dl"].log(), (10 * self["L"]).log()
        middle, half = (low + high) / 2, (high - low) / 2
        for _ in range(7):  # ever finer grids, each about the best of the last one
            logs = middle + half * steps[:, None]
            heights = torch.stack([self.growth_rates(state, each.exp())[:, 0].real for each in logs])
            middle = logs.gather(0, heights.argmax(0, keepdim=True))[0]
            half = half / 10
        return middle.exp()

    def __repr__(self) -> str:
        return f"Rietkerk({len(self)} sets of parameters, {self.num_cells} x {self.num_cells} cells, {self.num_steps} steps)"
