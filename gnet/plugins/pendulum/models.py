"""Learned motion: Hamiltonians and fields by scalars, by equivariant perceptrons and by plain ones."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, DegenerateInputError, ShapeError
from gnet.groups import GeneratedGroup
from gnet.nn.checks import check_choice, check_placement
from gnet.plugins.pendulum.physics import GRAVITY, SIZE, parts
from gnet.plugins.pendulum.solvers import check_states
from gnet.plugins.scalars import perceptron, products
from gnet.plugins.scalars.features import root
from gnet.plugins.tensors import EMLP, SO, D, Embed, O, T

NUM_SCALARS = 30
PUBLISHED_CENTRES = 200

GROUPS = {
    "O(2)": lambda: Embed(O(2), 3),
    "SO(2)": lambda: Embed(SO(2), 3),
    "D6": lambda: Embed(D(6), 3),
    "D2": lambda: Embed(D(2), 3),
}
"""Groups about the vertical, by name."""
KINDS, MODELS = ("node", "hnn"), ("scalars", *GROUPS, "mlp")
"""Lines and columns of the published table, by name."""


def pendulum_scalars(z: Tensor) -> Tensor:
    """30 numbers that no rotation or mirror of places, momenta and gravity together changes.

    Lengths of q1, q2, p1, p2; their 16 products; their products with g; |y|^2, |y| and the products of y = q1 - q2 with the four.

    Shapes:
        z: (..., 12)    returns: (..., 30)

    References:
        Yao et al. (2021), arXiv:2110.03761, section 3, and its published code.

    Example:
        >>> pendulum_scalars(torch.ones(7, 12)).shape
        torch.Size([7, 30])
    """
    q1, q2, _, _ = parts(z)
    u = z.unflatten(-1, (4, 3))
    g = torch.tensor(GRAVITY, dtype=z.dtype, device=z.device)
    y = q1 - q2
    gram, square = products(u), y.square().sum(-1, keepdim=True)
    lengths = root(torch.diagonal(gram, dim1=-2, dim2=-1))
    return torch.cat([lengths, gram.flatten(-2), u @ g, square, root(square), (u @ y[..., None])[..., 0]], -1)


class HamiltonianField(nn.Module):
    """dz/dt = J grad H(z): places change by dH/dp, momenta by -dH/dq.

    ``torch.compile`` works with breaks in the graph, and not with ``fullgraph=True``: PyTorch cannot trace a gradient inside a
    forward pass.

    Args:
        hamiltonian: z -> (..., 1) or (...).

    Shapes:
        z: (..., S), S even    returns: (..., S)

    Raises:
        ShapeError: an odd S, or states of another size, dtype or device than a Hamiltonian that begins with a linear map takes.

    Example:
        >>> HamiltonianField(perceptron([12, 8, 1]))(torch.randn(5, 12)).shape
        torch.Size([5, 12])
    """

    def __init__(self, hamiltonian: nn.Module) -> None:
        super().__init__()
        self.hamiltonian = hamiltonian

    def forward(self, z: Tensor) -> Tensor:
        """Differentiate."""
        half = z.shape[-1] // 2
        if z.shape[-1] % 2:
            raise ShapeError(f"expected states (..., S) of places and momenta with an even S, got {tuple(z.shape)}")
        check_states(self.hamiltonian, z)
        found = _gradient(self.hamiltonian, z)
        return torch.cat([found[..., half:], -found[..., :half]], -1)


class SeparableHamiltonian(nn.Module):
    """H = T(p) + V(q).

    Shapes:
        z: (..., S)    returns: (..., 1)

    Example:
        >>> SeparableHamiltonian(perceptron([6, 8, 1]), perceptron([6, 8, 1]))(torch.randn(5, 12)).shape
        torch.Size([5, 1])
    """

    def __init__(self, kinetic: nn.Module, potential: nn.Module) -> None:
        super().__init__()
        self.kinetic, self.potential = kinetic, potential

    def forward(self, z: Tensor) -> Tensor:
        """Add."""
        half = z.shape[-1] // 2
        return self.kinetic(z[..., half:]) + self.potential(z[..., :half])


class SeparableField(HamiltonianField):
    """dz/dt of a learned H = T(p) + V(q), for which ``integrate`` takes leapfrog.

    Args:
        kinetic: T, p -> (..., 1).
        potential: V, q -> (..., 1).

    Shapes:
        z: (..., S), S even    returns: (..., S)

    Raises:
        ShapeError: an odd S.

    Example:
        >>> field = SeparableField(perceptron([6, 8, 1]), perceptron([6, 8, 1]))
        >>> field(torch.randn(5, 12)).shape, field.kick(torch.randn(5, 6)).shape
        (torch.Size([5, 12]), torch.Size([5, 6]))
    """

    def __init__(self, kinetic: nn.Module, potential: nn.Module) -> None:
        super().__init__(SeparableHamiltonian(kinetic, potential))

    def kick(self, q: Tensor) -> Tensor:
        """dp/dt = -dV/dq."""
        return -_gradient(cast(SeparableHamiltonian, self.hamiltonian).potential, q)

    def drift(self, p: Tensor) -> Tensor:
        """dq/dt = dT/dp."""
        return _gradient(cast(SeparableHamiltonian, self.hamiltonian).kinetic, p)


class ScalarHamiltonian(nn.Module):
    """An MLP with ReLU on the 30 scalars; 33 501 weights with four hidden layers of 100.

    Shapes:
        z: (..., 12)    returns: (..., 1)

    References:
        Yao et al. (2021), arXiv:2110.03761.

    Example:
        >>> sum(p.numel() for p in ScalarHamiltonian().parameters())
        33501
    """

    def __init__(self, hidden: int = 100, layers: int = 4) -> None:
        super().__init__()
        self.mlp = perceptron([NUM_SCALARS, *[hidden] * layers, 1], nn.ReLU)

    def forward(self, z: Tensor) -> Tensor:
        """Apply the function."""
        check_placement(z, self.mlp[0].weight, "z")  # type: ignore[arg-type]
        return self.mlp(pendulum_scalars(z))


class RadialFunctions(nn.Module):
    """exp(-gamma (s - mu_r)^2) of every scalar, at equal distances from ``low`` to ``high``.

    gamma = 2 (high - low) / 199 whatever the number of centres: with gamma from fewer centres functions vanish between them.

    Shapes:
        s: (..., F)    returns: (..., F num)

    Raises:
        ConfigError: fewer than two centres, or an empty range.

    Example:
        >>> RadialFunctions(0.0, 10.0, 5)(torch.zeros(7, 30)).shape
        torch.Size([7, 150])
    """

    def __init__(self, low: float, high: float, num: int = PUBLISHED_CENTRES) -> None:
        super().__init__()
        if num < 2 or not low < high:
            raise ConfigError(f"expected two centres or more and low < high, got {num}, {low} and {high}")
        self.register_buffer("gamma", torch.tensor(2 * (high - low) / (PUBLISHED_CENTRES - 1), dtype=torch.float32))
        self.register_buffer("centres", torch.linspace(low, high, num))

    gamma: Tensor
    centres: Tensor

    def forward(self, s: Tensor) -> Tensor:
        """Expand."""
        return (-self.gamma * (s[..., None] - self.centres).square()).exp().flatten(-2)


class ScalarField(nn.Module):
    """du_i/dt = sum_j c_ij u_j + c_(16+i) y + c_(20+i) g, for u = (q1, q2, p1, p2), with c from an MLP on expanded scalars.

    Args:
        low, high: the range of all scalars of the training states.
        centres: of the radial functions; 200, as published, make 632 824 weights.

    Shapes:
        z: (..., 12)    returns: (..., 12)

    References:
        Yao et al. (2021), arXiv:2110.03761, and its published code.

    Example:
        >>> sum(p.numel() for p in ScalarField(-18.0, 43.0).parameters())
        632824
    """

    def __init__(self, low: float, high: float, centres: int = PUBLISHED_CENTRES, hidden: int = 100, layers: int = 4) -> None:
        super().__init__()
        self.expand = RadialFunctions(low, high, centres)
        self.mlp = perceptron([NUM_SCALARS * centres, *[hidden] * layers, 24], nn.ReLU)

    def forward(self, z: Tensor) -> Tensor:
        """Apply the field."""
        check_placement(z, self.mlp[0].weight, "z")  # type: ignore[arg-type]
        c = self.mlp(self.expand(pendulum_scalars(z)))
        u = z.unflatten(-1, (4, 3))
        y = u[..., :1, :] - u[..., 1:2, :]
        g = torch.tensor(GRAVITY, dtype=z.dtype, device=z.device)
        found = c[..., :16].unflatten(-1, (4, 4)) @ u + c[..., 16:20, None] * y + c[..., 20:, None] * g
        return found.flatten(-2)


def about_vertical(name: str) -> GeneratedGroup:
    """A group of ``GROUPS``.

    Raises:
        ConfigError: another name.

    Example:
        >>> about_vertical("O(2)").dim
        3
    """
    if name not in GROUPS:
        raise ConfigError(f"expected a group among {', '.join(GROUPS)}, got {name!r}")
    return GROUPS[name]()


def check_model(kind: str, model: str) -> None:
    """Refuse what is no line or no column of the published table.

    Raises:
        ConfigError: another kind or model, with those that there are.

    Example:
        >>> check_model("hnn", "O2")
        Traceback (most recent call last):
        gnet.errors.ConfigError: expected model to be one of ... got 'O2'; did you mean 'O(2)'?
    """
    if kind not in KINDS:
        raise ConfigError(f"expected kind 'hnn' or 'node', got {kind!r}")
    check_choice("model", model, MODELS)


def field_of(
    kind: str,
    model: str,
    *,
    states: Tensor | None = None,
    centres: int = PUBLISHED_CENTRES,
    ch: int = 128,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """The field of a line and a column of the published table.

    Args:
        kind: "hnn" (dz/dt from a Hamiltonian) or "node" (dz/dt itself).
        model: "scalars", "mlp", or the group of an EMLP, "O(2)", "SO(2)", "D6", "D2".
        states: of training, for the range of the radial functions, (..., 12).
        centres: of the radial functions.
        ch: width of EMLP and MLP.
        generator: of the weights; without it PyTorch's own.

    Raises:
        ConfigError: another kind or model.
        DegenerateInputError: no two different scalars among the training states.

    Example:
        >>> sum(p.numel() for p in field_of("hnn", "mlp").parameters())
        34817
    """
    check_model(kind, model)
    seed = int(torch.randint(2**31, (), generator=generator))  # outside, or every call without a generator draws the same
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if model == "scalars":
            if kind == "hnn":
                return HamiltonianField(ScalarHamiltonian())
            low, high = scalar_range(states)
            return ScalarField(low, high, centres)
        if model == "mlp":
            plain = perceptron([SIZE, ch, ch, ch, 1 if kind == "hnn" else SIZE])
            return HamiltonianField(plain) if kind == "hnn" else plain
        group = about_vertical(model)
        net = EMLP(4 * T(1), T(0) if kind == "hnn" else 4 * T(1), group, ch=ch, layers=3, generator=generator)
        return HamiltonianField(net) if kind == "hnn" else net


def scalar_range(states: Tensor | None) -> tuple[float, float]:
    """Smallest and largest of all scalars of all states.

    Raises:
        ConfigError: no states.
        DegenerateInputError: they are all the same.

    Example:
        >>> scalar_range(torch.ones(1, 12))
        (-1.0, 3.0)
    """
    if states is None:
        raise ConfigError("expected training states for the range of the radial functions of 'node' by scalars, got none")
    found = pendulum_scalars(states)
    low, high = float(found.min()), float(found.max())
    if not (math.isfinite(low) and low < high):
        raise DegenerateInputError(f"expected different scalars of the training states, got {low} to {high}")
    return low, high


def _gradient(f: nn.Module, z: Tensor) -> Tensor:
    """Of the sum of f, whether or not gradients are on; a graph is kept where they are."""
    is_trained = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.enable_grad():
        given = z if z.requires_grad else z.clone().requires_grad_()
        (found,) = torch.autograd.grad(f(given).sum(), given, create_graph=is_trained)
    return found
