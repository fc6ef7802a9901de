"""Incompressible flow on a doubly periodic square: a pseudo-spectral solver that makes velocity fields on demand.

The vorticity w = d_x u_y - d_y u_x obeys w_t + u . grad w = nu lap w, with u from the stream function, -lap psi = w. Derivatives
are exact for the modes kept (two thirds of each axis, so that products do not alias); viscosity is integrated exactly, advection
by the Runge-Kutta method of fourth order. Without viscosity the truncated equations keep energy and enstrophy.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gnet.counts import check_count
from gnet.errors import ConfigError, NonFiniteError, ShapeError


@dataclass(frozen=True)
class NavierStokes:
    """The flow map of the two-dimensional Navier-Stokes equations on a torus of circumference 2 pi.

    Everything happens in float64, on the device of the velocities. These are stacked vector images, component 0 along pixel
    axis 0. The mean velocity stays, and carries the rest along.

    Args:
        side: pixels per axis.
        viscosity: nu.
        dt: time step; a flow that crosses more than a pixel or so in a step does not stay finite.

    Raises:
        ConfigError: a side below 4, or not whole, a viscosity below zero, a time step that is not positive, or not finite ones.

    References:
        Orszag (1971), J. Atmos. Sci. 28:1074, for the two thirds; Canuto, Hussaini, Quarteroni and Zang (1988), chapter 7.

    Example:
        >>> solver = NavierStokes(side=16, viscosity=0.1, dt=0.05)
        >>> u = taylor_green(16)
        >>> ratio = solver.advance(u, 1.0).norm() / u.norm()
        >>> round(float(ratio), 9) == round(math.exp(-0.2), 9)
        True
    """

    side: int = 32
    viscosity: float = 1e-3
    dt: float = 0.02

    def __post_init__(self) -> None:
        check_count(4, side=self.side)
        if not 0 <= self.viscosity < math.inf or not 0 < self.dt < math.inf:
            raise ConfigError(f"expected a finite viscosity >= 0 and dt > 0, got {self.viscosity} and {self.dt}")

    @cached_property
    def waves(self) -> tuple[Tensor, Tensor]:
        """Wave numbers along both axes, for rfft2, (N, 1) and (1, N // 2 + 1); on the CPU, as what follows from them."""
        along = torch.fft.fftfreq(self.side, 1 / self.side, dtype=torch.float64)
        return along[:, None], torch.arange(self.side // 2 + 1, dtype=torch.float64)[None]

    @cached_property
    def kept(self) -> Tensor:
        """The modes with wave numbers below N / 3."""
        kx, ky = self.waves
        return (kx.abs() < self.side / 3) & (ky < self.side / 3)

    @cached_property
    def squares(self) -> Tensor:
        """|k|^2."""
        return self.waves[0] ** 2 + self.waves[1] ** 2

    def _waves_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return self.waves[0].to(device), self.waves[1].to(device)

    def vorticity(self, u: Tensor) -> Tensor:
        """Fourier coefficients of the vorticity of the modes kept.

        Shapes:
            u: (B, 2, N, N)    returns: (B, N, N // 2 + 1) complex
        """
        if u.ndim != 4 or u.shape[1:] != (2, self.side, self.side):
            raise ShapeError(f"expected velocities (B, 2, {self.side}, {self.side}), got {tuple(u.shape)}")
        if not u.is_floating_point():
            raise ShapeError(f"expected velocities of a floating dtype, got {u.dtype}; convert them with u.double()")
        modes = torch.fft.rfft2(u.double())
        kx, ky = self._waves_on(u.device)
        return 1j * (kx * modes[:, 1] - ky * modes[:, 0]) * self.kept.to(u.device)

    def velocity(self, w: Tensor, mean: Tensor | None = None) -> Tensor:
        """Back on the grid; the velocity has no divergence, whatever the vorticity is.

        Shapes:
            w: (B, N, N // 2 + 1) complex    mean: (B, 2)    returns: (B, 2, N, N) float64
        """
        kx, ky = self._waves_on(w.device)
        stream = w / self.squares.clamp(min=1.0).to(w.device)  # 0 for the mean alone, and otherwise at least 1
        modes = torch.stack([1j * ky * stream, -1j * kx * stream], 1)
        u = torch.fft.irfft2(modes, s=(self.side, self.side))
        return u if mean is None else u + mean[..., None, None]

    def advection(self, w: Tensor, mean: Tensor | None = None) -> Tensor:
        """- u . grad w of the modes kept.

        Shapes:
            w: (B, N, N // 2 + 1) complex    returns: likewise
        """
        kx, ky = self._waves_on(w.device)
        slope = torch.fft.irfft2(torch.stack([1j * kx * w, 1j * ky * w], 1), s=(self.side, self.side))
        return -torch.fft.rfft2((self.velocity(w, mean) * slope).sum(1)) * self.kept.to(w.device)

    def advance(self, u: Tensor, time: float) -> Tensor:
        """The velocity after ``time``, in whole steps of at most ``dt``; the dtype of u stays.

        Shapes:
            u: (B, 2, N, N)    returns: (B, 2, N, N)

        Raises:
            ShapeError: velocities of another shape, or of a dtype that is not floating.
            ConfigError: a time below zero, or one that is not finite: viscosity has no way back.
            NonFiniteError: the flow is too fast for the time step.
        """
        if not 0 <= time < math.inf:
            raise ConfigError(f"expected a finite time >= 0, got {time}")
        steps = max(1, math.ceil(time / self.dt - 1e-9))
        w = self.vorticity(u)
        h, mean = time / steps, u.double().mean((2, 3))
        half = torch.exp(-self.viscosity * self.squares * h / 2).to(u.device)
        for _ in range(steps):
            one = self.advection(w, mean)
            two = self.advection(half * (w + h / 2 * one), mean)
            three = self.advection(half * w + h / 2 * two, mean)
            four = self.advection(half * half * w + h * half * three, mean)
            w = half * half * w + h / 6 * (half * half * one + 2 * half * (two + three) + four)
        found = self.velocity(w, mean)
        if not bool(found.isfinite().all()):
            raise NonFiniteError(f"the flow did not stay finite; take a smaller dt than {self.dt}")
        return found.to(u.dtype)

    def energy(self, u: Tensor) -> Tensor:
        """Half the mean of |u|^2, (B,)."""
        return u.double().square().sum(1).mean((1, 2)) / 2

    def enstrophy(self, u: Tensor) -> Tensor:
        """Half the mean of w^2, (B,): energy falls by 2 nu times it."""
        return torch.fft.irfft2(self.vorticity(u), s=(self.side, self.side)).square().mean((1, 2)) / 2

    def random(self, num: int, generator: torch.Generator | None = None, *, wave: float = 4.0) -> Tensor:
        """Random velocities without divergence and mean, of root mean square 1, with waves about ``wave`` to the circumference.

        The law is that of white noise through a filter of |k|, so that no translation, turn or mirror changes it.

        Shapes:
            returns: (num, 2, N, N) float64

        Raises:
            ConfigError: no velocities, or a wave number below 1/2; the longest wave of the torus has 1, and below it nothing but
                rounding is left.

        Example:
            >>> solver = NavierStokes(side=16)
            >>> solver.energy(solver.random(2))
            tensor([0.5000, 0.5000], dtype=torch.float64)
        """
        check_count(num=num)
        if not 0.5 <= wave < math.inf:
            raise ConfigError(f"expected a finite wave >= 1/2, got {wave}")
        noise = torch.randn(num, self.side, self.side, dtype=torch.float64, generator=generator)
        spectrum = self.squares * torch.exp(-self.squares / wave**2) * self.kept
        u = self.velocity(torch.fft.rfft2(noise) * spectrum)
        return u / (2 * self.energy(u)).sqrt()[:, None, None, None]

    def pairs(
        self, num: int, time: float, generator: torch.Generator | None = None, *, warm_up: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Velocities of developed flows, and the same ``time`` later, float32; each pair is a flow of its own.

        Shapes:
            returns: (num, 2, N, N) twice

        Example:
            >>> [each.shape for each in NavierStokes(side=16).pairs(3, 0.1, warm_up=0.1)]
            [torch.Size([3, 2, 16, 16]), torch.Size([3, 2, 16, 16])]
        """
        early = self.advance(self.random(num, generator), warm_up)
        return early.float(), self.advance(early, time).float()


def taylor_green(side: int, waves: int = 1) -> Tensor:
    """u = (cos kx sin ky, - sin kx cos ky): advection moves nothing, and it decays as exp(-2 nu k^2 t).

    Shapes:
        returns: (1, 2, N, N) float64

    References:
        Taylor and Green (1937), Proc. R. Soc. A 158:499.

    Example:
        >>> taylor_green(8).shape
        torch.Size([1, 2, 8, 8])
    """
    place = 2 * math.pi * waves * torch.arange(side, dtype=torch.float64) / side
    x, y = torch.meshgrid(place, place, indexing="ij")
    return torch.stack([x.cos() * y.sin(), -x.sin() * y.cos()])[None]
