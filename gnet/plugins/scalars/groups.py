"""The groups behind the names, as groups of matrices, and those with translations: how they are drawn and move points."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from gnet.counts import check_count
from gnet.errors import ConfigError, ShapeError
from gnet.groups import Action, GeneratedGroup
from gnet.plugins.scalars.products import kind_of
from gnet.plugins.tensors import SO, Lorentz, O, Sp, U

NEAR = 1e-6
"""Error up to which membership tests forgive."""


def E(d: int) -> GeneratedGroup:
    """Rotations, mirrors and translations of R^d, as (d + 1) x (d + 1) matrices [[R, t], [0, 1]]; ``POINTS`` moves points.

    Rotations are drawn uniformly, translations from a normal law: no uniform law exists.

    Example:
        >>> E(3), E(3).lie_dim, E(3).is_compact
        (GeneratedGroup(E(3), order infinite), 6, False)
    """
    return _with_translations(f"E({d})", O(d))


def SE(d: int) -> GeneratedGroup:
    """Rotations and translations of R^d, as ``E``.

    Example:
        >>> len(SE(3).generators), SE(3).lie_dim
        (0, 6)
    """
    return _with_translations(f"SE({d})", SO(d))


def Poincare(d: int, component: str = "O") -> GeneratedGroup:
    """The Lorentz group O(1, d), or "SO" or "SO+", with translations of space-time, as (d + 2) x (d + 2) matrices.

    Example:
        >>> Poincare(3).lie_dim, Poincare(3).dim
        (10, 5)
    """
    return _with_translations(f"R^{d + 1} x {Lorentz(d, component).name}", Lorentz(d, component))  # type: ignore[arg-type]


def move_points(g: Tensor, x: Tensor) -> Tensor:
    """R x + t of points, for g = [[R, t], [0, 1]].

    Shapes:
        g: (d + 1, d + 1)    x: (..., d)    returns: (..., d)

    Raises:
        ShapeError: points of another dimension.

    Example:
        >>> move_points(torch.tensor([[1.0, 0.0, 5.0], [0.0, 1.0, 6.0], [0.0, 0.0, 1.0]]), torch.zeros(2))
        tensor([5., 6.])
    """
    d = g.shape[-1] - 1
    if x.shape[-1:] != (d,):
        raise ShapeError(f"expected points (..., {d}), got {tuple(x.shape)}")
    g = g.to(x)
    return x @ g[:d, :d].mT + g[:d, d]


def turn_vectors(g: Tensor, x: Tensor) -> Tensor:
    """R x of vectors that translations leave as they are, such as velocities; shapes as in ``move_points``.

    Example:
        >>> turn_vectors(torch.tensor([[1.0, 0.0, 5.0], [0.0, 1.0, 6.0], [0.0, 0.0, 1.0]]), torch.ones(2))
        tensor([1., 1.])
    """
    return move_points(g, x) - move_points(g, torch.zeros_like(x))


def turn_matrices(g: Tensor, x: Tensor) -> Tensor:
    """g M g^* of matrices M (..., d, d), for a group of d x d matrices.

    Example:
        >>> turn_matrices(torch.diag(torch.tensor([1.0, -1.0])), torch.ones(2, 2))
        tensor([[ 1., -1.],
                [-1.,  1.]])
    """
    g = g.to(x)
    return g @ x @ g.mH


POINTS = Action("points", move_points)
"""How groups with translations move points (..., d)."""
VECTORS = Action("vectors without translation", turn_vectors)
"""How groups with translations move differences of points."""
MATRICES = Action("matrices", turn_matrices)
"""How a group of matrices moves matrices, g M g^*."""


def group_of(name: str, d: int) -> GeneratedGroup:
    """The group of a name and of vectors of dimension d, to measure errors with.

    Raises:
        ConfigError: an unknown name, a d that is no whole number, or d < 2 of a Lorentz group.

    Example:
        >>> group_of("Lorentz+", 4), group_of("E", 3).dim
        (GeneratedGroup(SO+(1,3), order infinite), 4)
    """
    kind = kind_of(name)
    check_count(d=d)
    if kind.form == "minkowski" and d < 2:
        raise ConfigError(f"expected vectors of dimension 2 or more for {name}, got {d}")
    makers: dict[str, Callable[[int], GeneratedGroup]] = {
        "O": O,
        "SO": SO,
        "E": E,
        "SE": SE,
        "Lorentz": lambda d: Lorentz(d - 1),
        "Lorentz+": lambda d: Lorentz(d - 1, "SO+"),
        "Poincare": lambda d: Poincare(d - 1),
        "Poincare+": lambda d: Poincare(d - 1, "SO+"),
        "Sp": Sp,
        "U": U,
    }
    return makers[name](d)


def _with_translations(name: str, group: GeneratedGroup) -> GeneratedGroup:
    """The semidirect product of a group on R^d with translations."""
    d = group.dim

    one = torch.zeros(d + 1, d + 1, dtype=torch.float64)
    one[d, d] = 1.0
    translations = [torch.zeros(d + 1, d + 1, dtype=torch.float64) for _ in range(d)]
    for k, A in enumerate(translations):
        A[k, d] = 1.0

    generators = [_extended(g) + one for g in group.generators]
    algebra = [*(_extended(A) for A in group.lie_algebra), *translations]
    return GeneratedGroup(
        name,
        generators,
        algebra,
        dim=d + 1,
        sampler=partial(_draw_affine, group),
        is_compact=False,
        contains=partial(_is_affine, group),
    )


def _extended(g: Tensor) -> Tensor:
    """[[g, 0], [0, 0]]."""
    d = g.shape[-1]
    found = torch.zeros(*g.shape[:-2], d + 1, d + 1, dtype=g.dtype)
    found[..., :d, :d] = g
    return found


def _draw_affine(group: GeneratedGroup, num: int, generator: torch.Generator | None = None) -> Tensor:
    """Elements of the group with normal translations."""
    found = _extended(group.sample(num, generator))
    found[:, -1, -1] = 1.0
    found[:, :-1, -1] = torch.randn(num, group.dim, dtype=torch.float64, generator=generator)
    return found


def _is_affine(group: GeneratedGroup, g: Tensor) -> bool:
    last = torch.zeros(len(g), dtype=g.dtype)
    last[-1] = 1.0
    return bool(((g[-1] - last).abs() < NEAR).all()) and group.contains(g[:-1, :-1])
