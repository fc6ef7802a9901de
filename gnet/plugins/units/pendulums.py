"""Springy double pendulums of all masses, springs, lengths and gravities: 21 scalars with units, and products of them."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnet.errors import ConfigError, DegenerateInputError, ShapeError
from gnet.plugins.pendulum import initial_states, integrate
from gnet.plugins.pendulum.physics import parts
from gnet.plugins.scalars import products
from gnet.plugins.units.quantities import Units

STEP, NUM_TIMES = 0.2, 60
SI = Units("kg", "m", "s")
CONSTANTS = ("m1", "m2", "k1", "k2", "l1", "l2", "g")
VECTORS = ("g", "p1", "p2", "q1", "q21")
OF_ONE = {"m": "kg", "k": "kg s^-2", "l": "m", "g": "m s^-2", "p": "kg m s^-1", "q": "m"}
PAIRS = ("g.p1", "g.p2", "g.q1", "g.q21", "p1.p2", "p1.q1", "p1.q21", "p2.q1", "p2.q21", "q1.q21")
NAMES = (*CONSTANTS, *PAIRS[:4], "p1", *PAIRS[4:7], "p2", *PAIRS[7:9], "q1", PAIRS[9], "q21")
"""The 21 scalars: constants, lengths of vectors under the vector's name, and products; q21 = q2 - q1."""
ENERGY = SI.exponents("kg m^2 s^-2")


def _units(name: str) -> tuple[int, ...]:
    given = [SI.exponents(OF_ONE[part[0]]) for part in name.split(".")]
    return tuple(int(sum(each)) for each in zip(*given, strict=True))


UNITS = [_units(name) for name in NAMES]
"""Exponents of kg, m and s of the 21 scalars, (21, 3)."""


def _row(**exponents: float) -> list[float]:
    named = {name.replace("_", "."): value for name, value in exponents.items()}
    if unknown := set(named) - set(NAMES):
        raise ConfigError(f"expected scalars among {', '.join(NAMES)}, got {', '.join(sorted(unknown))}")
    return [float(named.get(name, 0)) for name in NAMES]


def dimensionless_features() -> Tensor:
    """The published 32 products without units, (32, 21): ratios, cosines, strains, and squares of some.

    References:
        Villar, Yao, Hogg, Blum-Smith and Dumitrascu (2023), arXiv:2204.00887, section 6 and the published code.

    Example:
        >>> found = dimensionless_features()
        >>> found.shape, bool((found @ torch.tensor(UNITS).double() == 0).all())
        (torch.Size([32, 21]), True)
    """
    ratios = [_row(**{f"{of}{a}": 1, f"{of}{3 - a}": -1}) for of in "mkl" for a in (1, 2)]
    weights = [_row(**{f"m{a}": 1, "g": 1, f"k{a}": -1, f"l{a}": -1}) for a in (1, 2)]
    weights += [[-each for each in row] for row in weights]
    cosines = [_row(**{pair.replace(".", "_"): 1, **dict.fromkeys(pair.split("."), -1)}) for pair in PAIRS]
    strains = [_row(q1=1, l1=-1), _row(q21=1, l2=-1)]
    speeds = [_row(**{f"p{a}": 1, f"l{a}": -1, f"m{a}": -0.5, f"k{a}": -0.5}) for a in (1, 2)]
    squares = [[2 * each for each in row] for row in (*weights, *strains, *speeds)]
    return torch.tensor([*ratios, *weights, *cosines, *strains, *speeds, *squares], dtype=torch.float64)


def energy_scalings() -> Tensor:
    """The published 26 products with the units of an energy, (26, 21): of springs, of motion, of weights.

    References:
        Villar, Yao, Hogg, Blum-Smith and Dumitrascu (2023), arXiv:2204.00887, section 6 and the published code.

    Example:
        >>> energy_scalings().shape, (energy_scalings() @ torch.tensor(UNITS).double()).unique(dim=0).tolist()
        (torch.Size([26, 21]), [[1.0, 2.0, -2.0]])
    """
    springs = [
        _row(**{k: 1, **lengths})
        for one, other in (("l1", "l2"), ("q1", "q21"))
        for k in ("k1", "k2")
        for lengths in ({one: 2}, {other: 2}, {one: 1, other: 1})
    ]
    motion = [_row(**{m: -1, **momenta}) for m in ("m1", "m2") for momenta in ({"p1": 2}, {"p2": 2}, {"p1_p2": 1})]
    weights = [_row(**{m: 1, height: 1}) for m in ("m1", "m2") for height in ("g_q1", "g_q21")]
    weights += [_row(**{m: 1, length: 1, "g": 1}) for m in ("m1", "m2") for length in ("l1", "l2")]
    return torch.tensor([*springs, *motion, *weights], dtype=torch.float64)


@dataclass(frozen=True)
class Pendulums:
    """A batch of pendulums: dz/dt of each as a function of its state.

    Args:
        constants: m1, m2, k1, k2, l1, l2 and gravity (three numbers) of each.
        kappa: of the second spring, as in ``gnet.plugins.pendulum.Pendulum``; 1 in the published code.

    Shapes:
        constants: (B, 9)    states: (B, 12)

    Raises:
        ShapeError: other than nine constants.
        DegenerateInputError: (when called) a spring of length zero.

    Example:
        >>> from gnet.plugins.pendulum import Pendulum
        >>> ours = Pendulums(torch.tensor([[1.0, 1, 1, 1, 1, 1, 0, 0, -1]], dtype=torch.float64))
        >>> z = initial_states(1)
        >>> torch.allclose(ours(z), Pendulum()(z)), torch.allclose(ours.energy(z), Pendulum().energy(z))
        (True, True)
    """

    constants: Tensor
    kappa: float = 1.0

    def __post_init__(self) -> None:
        if self.constants.ndim != 2 or self.constants.shape[1] != 9:
            raise ShapeError(f"expected constants (B, 9), got {tuple(self.constants.shape)}")

    def __call__(self, z: Tensor) -> Tensor:
        """dz/dt, (B, 12) -> (B, 12)."""
        q1, q2, p1, p2 = parts(z)
        m1, m2, k1, k2, l1, l2 = self.constants[:, :6, None].unbind(1)
        g, y = self.constants[:, 6:], q2 - q1
        first, second = q1.norm(dim=-1, keepdim=True), y.norm(dim=-1, keepdim=True)
        if bool((first == 0).any()) or bool((second == 0).any()):
            raise DegenerateInputError("expected q1 != 0 and q1 != q2, got a spring of length zero, which has no direction")
        pull = 2 * self.kappa * k2 * (1 - l2 / second) * y
        return torch.cat([p1 / m1, p2 / m2, -k1 * (1 - l1 / first) * q1 + pull + m1 * g, m2 * g - pull], -1)

    def energy(self, z: Tensor) -> Tensor:
        """H, (B, 12) -> (B,)."""
        q1, q2, p1, p2 = parts(z)
        m1, m2, k1, k2, l1, l2 = self.constants[:, :6].unbind(1)
        g = self.constants[:, 6:]
        kinetic = p1.square().sum(-1) / (2 * m1) + p2.square().sum(-1) / (2 * m2)
        springs = k1 / 2 * (q1.norm(dim=-1) - l1).square() + self.kappa * k2 * ((q2 - q1).norm(dim=-1) - l2).square()
        return kinetic + springs - m1 * (q1 * g).sum(-1) - m2 * (q2 * g).sum(-1)


def pendulum_scalars(z: Tensor, constants: Tensor) -> Tensor:
    """The 21 scalars ``NAMES`` of states and constants.

    Shapes:
        z: (B, 12)    constants: (B, 9)    returns: (B, 21)

    Example:
        >>> pendulum_scalars(torch.ones(5, 12), torch.ones(5, 9)).shape
        torch.Size([5, 21])
    """
    q1, q2, p1, p2 = parts(z)
    vectors = torch.stack([constants[:, 6:], p1, p2, q1, q2 - q1], -2)
    gram, lengths = products(vectors), vectors.norm(dim=-1)
    columns = dict(zip(CONSTANTS[:6], constants[:, :6].unbind(-1), strict=True))
    columns |= dict(zip(VECTORS, lengths.unbind(-1), strict=True))
    columns |= {pair: gram[:, VECTORS.index(pair.split(".")[0]), VECTORS.index(pair.split(".")[1])] for pair in PAIRS}
    return torch.stack([columns[name] for name in NAMES], -1)


@dataclass(frozen=True)
class Motion:
    """Chunks of paths of many pendulums.

    Attributes:
        constants: (num, 9).
        chunks: states 0.2 apart, (num, T, 12).
    """

    constants: Tensor
    chunks: Tensor

    def __len__(self) -> int:
        return len(self.constants)

    def heavier(self, factors: Tensor) -> "Motion":
        """The same motion with masses, springs and momenta times a factor: kilograms counted in another unit.

        Shapes:
            factors: (num,)

        Example:
            >>> found = drawn_motion(2, generator=torch.Generator().manual_seed(0)).heavier(torch.tensor([3.0, 5.0]))
            >>> speed = Pendulums(found.constants)(found.chunks[:, 0])
            >>> speed.shape
            torch.Size([2, 12])
        """
        by = factors.to(self.constants)
        moved, chunks = self.constants.clone(), self.chunks.clone()
        moved[:, :4] *= by[:, None]
        chunks[..., 6:] *= by[:, None, None]
        return replace(self, constants=moved, chunks=chunks)

    def paths(self, num_times: int = NUM_TIMES, kappa: float = 1.0) -> Tensor:
        """True paths from the first states of the chunks, (num, ``num_times``, 12)."""
        times = STEP * torch.arange(num_times, dtype=torch.float64)
        return integrate(Pendulums(self.constants, kappa), self.chunks[:, 0], times, substeps=10, check=True)


def drawn_motion(
    num: int,
    chunk: int = 10,
    high: float = 2.0,
    *,
    num_times: int = NUM_TIMES,
    kappa: float = 1.0,
    generator: torch.Generator | None = None,
) -> Motion:
    """Pendulums by the published law, and of the path of each one chunk at random.

    Masses, springs and lengths are uniform on [1, ``high``]; gravity has a random direction and a size uniform on [1, 2]; states
    start as in ``gnet.plugins.pendulum``. RK4 with steps of 0.02 in float64.

    Raises:
        ConfigError: no pendulums, or a chunk that is longer than the path.

    References:
        Villar, Yao, Hogg, Blum-Smith and Dumitrascu (2023), arXiv:2204.00887, section 6 and the published code.

    Example:
        >>> drawn_motion(3, chunk=5, num_times=10).chunks.shape
        torch.Size([3, 5, 12])
    """
    if num < 1 or not 1 < chunk <= num_times:
        raise ConfigError(f"expected num >= 1 and a chunk of 2 to {num_times} states, got {num} and {chunk}")
    drawn = torch.rand(num, 7, dtype=torch.float64, generator=generator)
    gravity = torch.randn(num, 3, dtype=torch.float64, generator=generator)
    gravity = (1 + drawn[:, 6:]) * gravity / gravity.norm(dim=-1, keepdim=True)
    constants = torch.cat([1 + (high - 1) * drawn[:, :6], gravity], -1)
    starts = initial_states(num, generator)
    first = chunk * torch.randint(num_times // chunk, (num,), generator=generator)
    whole = Motion(constants, starts[:, None]).paths(num_times, kappa)
    return Motion(constants, whole[torch.arange(num)[:, None], first[:, None] + torch.arange(chunk)])
