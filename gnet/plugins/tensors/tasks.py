"""Three synthetic regressions with known symmetry: O(5) scalars, matrices of inertia, scattering of particles.

Definitions and scalings are those of Finzi, Welling and Wilson (2021), arXiv:2104.09459, section 7.1, and its published code.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gnet.groups import GeneratedGroup
from gnet.plugins.tensors.groups import Lorentz, O
from gnet.plugins.tensors.reps import Rep, T


@dataclass(frozen=True)
class Task:
    """A regression: types, group, how inputs are drawn, the target, and the scale of each input vector.

    Attributes:
        rep_in, rep_out, group: the symmetry that the target has exactly.
        draw: (num, generator) -> x (num, size in).
        target: x -> y (num, size out).
        scale: training x -> one positive number for each entry of x, the same for entries of one vector.
    """

    rep_in: Rep
    rep_out: Rep
    group: GeneratedGroup
    draw: Callable[[int, torch.Generator | None], Tensor]
    target: Callable[[Tensor], Tensor]
    scale: Callable[[Tensor], Tensor]


def o5_target(x: Tensor) -> Tensor:
    """sin |x1| - |x2|^3 / 2 + cosine of the angle between x1 and x2.

    Shapes:
        x: (B, 10)    returns: (B, 1)

    Example:
        >>> x = torch.tensor([[1.0, 0, 0, 0, 0, 1, 1, 1, 0, 0]], dtype=torch.float64)
        >>> round(float(o5_target(x)), 9)
        -1.179254957
    """
    one, two = x[:, :5], x[:, 5:]
    lengths = one.norm(dim=1), two.norm(dim=1)
    angle = (one * two).sum(1) / (lengths[0] * lengths[1])
    return (lengths[0].sin() - lengths[1] ** 3 / 2 + angle)[:, None]


def inertia_target(x: Tensor) -> Tensor:
    """sum_i m_i (r_i . r_i I - r_i r_i^T) of masses, then positions.

    Shapes:
        x: (B, 4 n), n masses and n positions    returns: (B, 9)

    Example:
        >>> x = torch.tensor([[1.0, 2, 1, 0, 0, 0, 1, 2]])
        >>> inertia_target(x).reshape(3, 3).tolist()
        [[10.0, 0.0, 0.0], [0.0, 9.0, -4.0], [0.0, -4.0, 3.0]]
    """
    n = x.shape[1] // 4
    masses, places = x[:, :n], x[:, n:].reshape(-1, n, 3)
    squares = torch.einsum("bn,bni,bni->b", masses, places, places)
    outer = torch.einsum("bn,bni,bnj->bij", masses, places, places)
    return (squares[:, None, None] * torch.eye(3, dtype=x.dtype, device=x.device) - outer).flatten(1)


def particle_target(x: Tensor) -> Tensor:
    """The matrix element 4 L_e^(mu nu) L_mu,(mu nu) of the scattering of an electron and a muon, of four momenta.

    Shapes:
        x: (B, 16)    returns: (B, 1)

    Example:
        >>> p = [1, 0.1, 0.2, 0.3, 0.5, -0.1, 0, 0.2, 0.4, 0.3, -0.2, 0.1, 0.2, 0.1, 0.1, -0.3]
        >>> round(float(particle_target(torch.tensor([p], dtype=torch.float64))), 6)
        0.7824
    """
    eta = torch.diag(torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=x.dtype, device=x.device))
    p1, p2, p3, p4 = x.reshape(-1, 4, 4).unbind(1)

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return ((a @ eta) * b).sum(1)[:, None, None]

    electron = p1[:, :, None] * p3[:, None] - (dot(p1, p3) - dot(p1, p1)) * eta
    low2, low4 = p2 @ eta, p4 @ eta
    muon = low2[:, :, None] * low4[:, None] - (dot(p2, p4) - dot(p2, p2)) * eta
    return 4 * (electron * muon).sum((1, 2))[:, None]


def _normal(size: int, deviation: float) -> Callable[[int, torch.Generator | None], Tensor]:
    def draw(num: int, generator: torch.Generator | None = None) -> Tensor:
        return deviation * torch.randn(num, size, generator=generator)

    return draw


def _bodies(num: int, generator: torch.Generator | None = None) -> Tensor:
    masses = torch.nn.functional.softplus(torch.randn(num, 5, generator=generator))
    return torch.cat([masses, torch.randn(num, 15, generator=generator)], 1)


def _root_mean_square(x: Tensor) -> Tensor:
    """Of each vector of five entries, over samples and entries."""
    return x.reshape(len(x), -1, 5).square().mean((0, 2)).sqrt().repeat_interleave(5)


def _minkowski(x: Tensor) -> Tensor:
    """Root of the mean size of p . p, of each momentum."""
    momenta = x.reshape(len(x), -1, 4)
    squares = momenta.square() * torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=x.dtype)
    return squares.sum(2).abs().mean(0).sqrt().repeat_interleave(4)


def task(name: str) -> Task:
    """ "o5", "inertia" or "particle".

    Raises:
        KeyError: another name.

    Example:
        >>> task("inertia").rep_in
        Rep(5 T(0) + 5 T(1))
    """
    return {
        "o5": lambda: Task(2 * T(1), T(0), O(5), _normal(10, 1.0), o5_target, _root_mean_square),
        "inertia": lambda: Task(5 * T(0) + 5 * T(1), T(2), O(3), _bodies, inertia_target, lambda x: torch.ones(x.shape[1])),
        "particle": lambda: Task(4 * T(1), T(0), Lorentz(3), _normal(16, 0.25), particle_target, _minkowski),
    }[name]()
