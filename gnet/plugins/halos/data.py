"""Halos of particles, drawn with galaxies whose masses depend on them."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import lambertw
from torch import Tensor

from gnet.errors import ConfigError
from gnet.groups.haar import haar_special_orthogonal

G = 4.300917e-6
"""Newton's constant in kpc (km/s)^2 per solar mass."""
LOWEST, STARS = 10.25, 50
"""Published selection: log10 of the halo's mass in solar masses, and particles of stars."""


@dataclass(frozen=True)
class Halos:
    """Particles of all halos one after the other, in virial units, and the galaxy of each.

    Shapes:
        x, v: (P, 3), in R_200 about the potential minimum, in V_200 about the halo    mass: (P,), in M_200
        batch: (P,), the halo of each    log_mass, log_stellar_mass: (H,), log10 in solar masses
    """

    x: Tensor
    v: Tensor
    mass: Tensor
    batch: Tensor
    log_mass: Tensor
    log_stellar_mass: Tensor

    def __len__(self) -> int:
        return len(self.log_mass)


def synthetic_halos(num_halos: int, num_particles: int = 400, *, noise: float = 0.05, seed: int = 0) -> Halos:
    """Halos of a known law, whose galaxies know more of them than the mass.

    Radii follow Navarro, Frenk and White with a concentration c that falls with the mass; positions are stretched to three axes
    1, q and s; velocities are isotropic, slower further out, and turn about the short axis with spin lambda; every halo is
    rotated by a uniform element of SO(3). With mu = log10 M - 12,

        log10 M* = 10.5 + log10(2 10^(1.8 mu) / (1 + 10^(1.3 mu))) + 0.35 (log10 c - 1) + 0.4 (s - 0.55)
                   + 0.12 (log10 lambda + 1.4) + noise

    Args:
        num_halos: how many.
        num_particles: of each.
        noise: standard deviation of log10 M*.
        seed: of everything that is drawn.

    Raises:
        ConfigError: numbers below one.

    References:
        Navarro, Frenk and White (1997), arXiv:astro-ph/9611107, for the radii; the law of the galaxies is made up.

    Example:
        >>> halos = synthetic_halos(3, 100)
        >>> len(halos), halos.x.shape, bool((halos.log_mass > 10.25).all())
        (3, torch.Size([300, 3]), True)
    """
    if min(num_halos, num_particles) < 1:
        raise ConfigError(f"expected num_halos and num_particles >= 1, got {num_halos} and {num_particles}")
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shape = num_halos, num_particles
    log_mass = uniform(num_halos, low=LOWEST, high=14.0)
    log_c = 1.0 - 0.1 * (log_mass - 12.0) + 0.15 * normal(num_halos)
    q = uniform(num_halos, low=0.5)
    s = q * uniform(num_halos, low=0.5)
    log_spin = -1.4 + 0.25 * normal(num_halos)
    radii = nfw_radii(uniform(*shape), 10.0 ** log_c[:, None])
    directions = torch.nn.functional.normalize(normal(*shape, 3), dim=-1)
    axes = torch.stack([torch.ones_like(q), q, s], 1) / (q * s)[:, None] ** (1 / 3)  # unit volume
    x = radii[..., None] * directions * axes[:, None]
    v = 0.6 * (1.0 - radii).clamp(min=0.0).sqrt()[..., None] * normal(*shape, 3)
    v = v + 8.0 * (10.0**log_spin)[:, None, None] * torch.stack([-x[..., 1], x[..., 0], torch.zeros_like(x[..., 0])], -1)
    turns = haar_special_orthogonal(3, num_halos, generator)
    mu = log_mass - 12.0
    law = 10.5 + torch.log10(2.0 * 10.0 ** (1.8 * mu) / (1.0 + 10.0 ** (1.3 * mu)))
    law = law + 0.35 * (log_c - 1.0) + 0.4 * (s - 0.55) + 0.12 * (log_spin + 1.4)
    return Halos(
        x=(x @ turns.mT).flatten(0, 1),
        v=(v @ turns.mT).flatten(0, 1),
        mass=torch.full((num_halos * num_particles,), 1.0 / num_particles, dtype=torch.float64),
        batch=torch.arange(num_halos).repeat_interleave(num_particles),
        log_mass=log_mass,
        log_stellar_mass=law + noise * normal(num_halos),
    )


def nfw_radii(shares: Tensor, concentration: Tensor) -> Tensor:
    """The radius, in R_200, within which a share of the mass of an NFW halo lies: the inverse of m(c r) / m(c), in closed form.

    m(y) = log(1 + y) - y / (1 + y).

    Shapes:
        shares: (*,) in [0, 1]    concentration: broadcasts    returns: (*,)

    Example:
        >>> nfw_radii(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64), torch.tensor(10.0))
        tensor([0.0000, 0.3606, 1.0000], dtype=torch.float64)
    """
    c = concentration.to(shares.dtype)
    wanted = shares * (torch.log1p(c) - c / (1.0 + c))
    # y = 1 + c r solves log y + 1 / y = wanted + 1; where that is 1, the end of the branch, rounding can step over it.
    root = -1.0 / lambertw(-np.exp(-(wanted.numpy() + 1.0))).real
    return ((torch.from_numpy(np.asarray(root)) - 1.0) / c).clamp(min=0.0).where(wanted > 0.0, 0.0)
