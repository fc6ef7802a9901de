"""The springy double pendulum: two masses in space, on two springs, under gravity."""

import math
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from gnet.errors import ConfigError, DegenerateInputError, ShapeError

SIZE = 12
"""Numbers of a state (q1, q2, p1, p2): places, then momenta, of both masses."""
GRAVITY = (0.0, 0.0, -1.0)


@dataclass(frozen=True)
class Pendulum:
    """H = |p1|^2 / 2 m1 + |p2|^2 / 2 m2 + k1 (|q1| - l1)^2 / 2 + kappa k2 (|q2 - q1| - l2)^2 - m1 g.q1 - m2 g.q2, hung at 0.

    Args:
        kappa: 1/2 is physics, and what the papers write; 1, the default, is in the code behind every published number.
        m1, m2, k1, k2, l1, l2: masses, springs and their lengths.

    Shapes:
        states z: (..., 12)

    Raises:
        ConfigError: masses, springs or kappa that are not above zero, lengths below, or any that is no finite number.

    References:
        Finzi, Welling and Wilson (2021), arXiv:2104.09459, section 7.2; Yao et al. (2021), arXiv:2110.03761.

    Example:
        >>> z = torch.tensor([0.1, -0.2, -1.5, -0.15, 0.1, -3, 0.4, 0, -0.1, -0.2, 0.3, 0.1], dtype=torch.float64)
        >>> round(float(Pendulum().energy(z)), 8), round(float(Pendulum(kappa=0.5).energy(z)), 8)
        (-3.90907509, -4.06032509)
    """

    kappa: float = 1.0
    m1: float = 1.0
    m2: float = 1.0
    k1: float = 1.0
    k2: float = 1.0
    l1: float = 1.0
    l2: float = 1.0

    def __post_init__(self) -> None:
        positive = (self.kappa, self.m1, self.m2, self.k1, self.k2)
        every = (*positive, self.l1, self.l2)
        is_finite = all(map(_is_finite, every))
        if not is_finite or min(positive) <= 0 or min(self.l1, self.l2) < 0:
            raise ConfigError(f"expected finite masses, springs and kappa above zero and lengths of zero or more, got {self}")

    def energy(self, z: Tensor) -> Tensor:
        """H, (..., 12) -> (...).

        Raises:
            ShapeError: states of another size.
        """
        q1, q2, p1, p2 = parts(z)
        kinetic = p1.square().sum(-1) / (2 * self.m1) + p2.square().sum(-1) / (2 * self.m2)
        first = self.k1 / 2 * (q1.norm(dim=-1) - self.l1).square()
        second = self.kappa * self.k2 * ((q2 - q1).norm(dim=-1) - self.l2).square()
        g = torch.tensor(GRAVITY, dtype=z.dtype, device=z.device)
        return kinetic + first + second - self.m1 * (q1 @ g) - self.m2 * (q2 @ g)

    def kick(self, q: Tensor) -> Tensor:
        """The rate of the momenta, -dH/dq.

        Shapes:
            q: (..., 6), both places    returns: (..., 6)

        Raises:
            DegenerateInputError: a spring of length zero, which has no direction.

        Example:
            >>> Pendulum().kick(torch.tensor([0.0, 0, -3, 0, 0, -4.5], dtype=torch.float64))  # at rest
            tensor([0., 0., 0., 0., 0., 0.], dtype=torch.float64)
        """
        q1, q2 = q[..., :3], q[..., 3:]
        first, second = q1.norm(dim=-1, keepdim=True), (q2 - q1).norm(dim=-1, keepdim=True)
        if bool((first == 0).any()) or bool((second == 0).any()):
            raise DegenerateInputError("expected q1 != 0 and q1 != q2, got a spring of length zero, which has no direction")
        g = torch.tensor(GRAVITY, dtype=q.dtype, device=q.device)
        pull = 2 * self.kappa * self.k2 * (1 - self.l2 / second) * (q2 - q1)
        return torch.cat([-self.k1 * (1 - self.l1 / first) * q1 + pull + self.m1 * g, self.m2 * g - pull], -1)

    def drift(self, p: Tensor) -> Tensor:
        """The rate of the places, dH/dp, (..., 6) -> (..., 6).

        Example:
            >>> Pendulum(m2=2.0).drift(torch.ones(6))
            tensor([1.0000, 1.0000, 1.0000, 0.5000, 0.5000, 0.5000])
        """
        return torch.cat([p[..., :3] / self.m1, p[..., 3:] / self.m2], -1)

    def __call__(self, z: Tensor) -> Tensor:
        """dz/dt, (..., 12) -> (..., 12)."""
        _check(z)
        return torch.cat([self.drift(z[..., 6:]), self.kick(z[..., :6])], -1)

    def equilibrium(self) -> Tensor:
        """The state at rest, hanging down, (12,) float64.

        Example:
            >>> [round(each, 9) for each in Pendulum().equilibrium()[[2, 5]].tolist()]
            [-3.0, -4.5]
        """
        first = self.l1 + (self.m1 + self.m2) / self.k1
        second = self.l2 + self.m2 / (2 * self.kappa * self.k2)
        z = torch.zeros(SIZE, dtype=torch.float64)
        z[2], z[5] = -first, -first - second
        return z


def angular_momentum(z: Tensor) -> Tensor:
    """(q1 x p1 + q2 x p2) . g / |g|, which motion keeps, (..., 12) -> (...).

    Example:
        >>> z = torch.tensor([0.1, -0.2, -1.5, -0.15, 0.1, -3, 0.4, 0, -0.1, -0.2, 0.3, 0.1], dtype=torch.float64)
        >>> round(float(angular_momentum(z)), 12)
        -0.055
    """
    q1, q2, p1, p2 = parts(z)
    total = torch.linalg.cross(q1, p1) + torch.linalg.cross(q2, p2)
    return total @ torch.tensor(GRAVITY, dtype=z.dtype, device=z.device)


def parts(z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q1, q2, p1 and p2 of states, each (..., 3).

    Raises:
        ShapeError: states of another size.

    Example:
        >>> [each.shape for each in parts(torch.zeros(5, 12))][0]
        torch.Size([5, 3])
    """
    _check(z)
    return z[..., :3], z[..., 3:6], z[..., 6:9], z[..., 9:]


def _is_finite(number: object) -> bool:
    return isinstance(number, Real | Tensor) and math.isfinite(number)


def _check(z: Tensor) -> None:
    if z.shape[-1:] != (SIZE,):
        raise ShapeError(f"expected states (..., {SIZE}), places and momenta of two masses, got {tuple(z.shape)}")
