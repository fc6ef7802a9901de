"""The scalars of a set of vectors as one row of real numbers, and the vectors that equivariant maps are made of."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gnet.counts import is_count
from gnet.errors import ConfigError, ShapeError
from gnet.plugins.scalars.anchors import anchors_of, check_independent
from gnet.plugins.scalars.products import check_vectors, cross_products, determinants, kind_of, products

Pairs = Literal["all", "upper", "anchor"]
Origin = Literal["first", "centroid"]


def scalars(
    x: Tensor,
    group: str = "O",
    pairs: Pairs = "upper",
    norms: bool = True,
    *,
    origin: Origin = "first",
    anchors: str | Tensor = "first",
    eps: float = 1e-12,
) -> Tensor:
    """Numbers that the group does not change and of which every polynomial with that symmetry is a polynomial.

    In this order: products of pairs; lengths; determinants, of groups that keep them; and of SO+(1, d) sign(v^0) max(0, <v, v>),
    a continuous invariant that polynomials miss. Lorentz scalars cannot tell vectors whose orbits touch: (1, 1, 0, 0) and 0 have
    the same.

    Args:
        group: "O", "SO", "Lorentz", "Lorentz+" (SO+(1, d)), "Sp", "U"; with translations "E", "SE", "Poincare", "Poincare+".
        pairs: "all" n^2 products, "upper" those with i <= j (Sp: i < j; U: real parts, and imaginary parts for i < j), "anchor"
            those with d independent anchors, n d - d (d - 1) / 2 numbers that determine all (``gram_from_anchors``).
        norms: adds the root of every <v, v>, of indefinite forms with the sign of <v, v>; Sp has none.
        origin: of groups with translations: the vectors are v_i - v_1, i > 1, or v_i less their mean.
        anchors: of "anchor": "first" takes the first d vectors, "moments" and "kmeans" do not see the order of the vectors, and
            have n d + d (d + 1) / 2 numbers; or (..., k, d), given, of which fewer than d do not determine all.
        eps: added under the root where a gradient flows, since the root has none at zero.

    Shapes:
        x: (..., n, d)    returns: (..., number of scalars), real

    Raises:
        ConfigError: an unknown group, or an unknown word.
        ShapeError: vectors that the group does not act on, or too few of them for anchors.
        DegenerateInputError: dependent anchors.
        RepresentationError: too many determinants.

    References:
        Villar et al. (2021), arXiv:2106.06610, sections 3 and 5; Weyl (1946), The Classical Groups.

    Example:
        >>> scalars(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "SO", norms=False)  # 1 + 4, 3 + 8, 9 + 16, and 4 - 6
        tensor([ 5., 11., 25., -2.])
    """
    if pairs not in ("all", "upper", "anchor"):
        raise ConfigError(f"expected pairs 'all', 'upper' or 'anchor', got {pairs!r}")
    kind, x = kind_of(group), check_vectors(x, group)
    if kind.is_affine:
        x, _ = without_translation(x, origin)
    gram = products(x, group=group)
    found, chosen = [], x
    if pairs == "anchor":
        chosen = check_independent(anchors_of(x, anchors, group))
        with_anchors = products(x, chosen, group)
        if isinstance(anchors, str) and anchors == "first":
            d = x.shape[-1]
            found += [upper(gram[..., :d, :d], group), _flat(with_anchors[..., d:, :])]
        else:
            found += [_flat(with_anchors), upper(products(chosen, group=group), group)]
    else:
        found.append(_flat(gram) if pairs == "all" else upper(gram, group))
    squares = torch.diagonal(gram, dim1=-2, dim2=-1).real
    if norms and kind.form != "symplectic":
        found.append(root(squares, eps))
    if kind.is_oriented:
        found.append(determinants(chosen))
        if kind.form == "minkowski":
            found.append(torch.sign(x[..., 0]) * squares.clamp(min=0.0))
    return torch.cat(found, -1)


def root(squares: Tensor, eps: float = 1e-12) -> Tensor:
    """sign(s) sqrt(|s|); where a gradient flows of |s| + eps, so that there is one at zero.

    Example:
        >>> root(torch.tensor([4.0, 0.0, -9.0]))
        tensor([ 2.,  0., -3.])
        >>> s = torch.zeros(1, requires_grad=True)
        >>> root(s).sum().backward()
        >>> bool(s.grad.isfinite())
        True
    """
    if not squares.requires_grad:
        return squares.sign() * squares.abs().sqrt()
    size = (squares.abs() + eps).sqrt()
    return torch.where(squares >= 0, size, -size)


def num_scalars(
    n: int,
    d: int,
    group: str = "O",
    pairs: Pairs = "upper",
    norms: bool = True,
    *,
    origin: Origin = "first",
    anchors: str = "first",
) -> int:
    """How many scalars n vectors of dimension d have: the inputs of an MLP on them.

    Raises:
        ConfigError: n or d that are no whole numbers, an unknown group, or an unknown word.

    Example:
        >>> num_scalars(4, 4, "Lorentz", norms=False), num_scalars(100, 3, pairs="anchor", norms=False)
        (10, 297)
    """
    if not is_count(n, 0) or not is_count(d):
        raise ConfigError(f"expected num_scalars(n, d, group) of n vectors of dimension d, whole numbers, got n={n!r}, d={d!r}")
    x = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return int(scalars(x, group, pairs, norms, origin=origin, anchors=anchors).shape[-1])


def without_translation(x: Tensor, origin: Origin = "first") -> tuple[Tensor, Tensor]:
    """Vectors less the first of them, which is left out, or less their mean; and what was taken off, (..., 1, d).

    Raises:
        ConfigError: another origin.
        ShapeError: no vector.

    Example:
        >>> without_translation(torch.tensor([[1.0], [3.0], [6.0]]))
        (tensor([[2.],
                [5.]]), tensor([[1.]]))
    """
    if x.shape[-2] < 1:
        raise ShapeError(f"expected at least one vector, got x of shape {tuple(x.shape)}")
    if origin == "first":
        return x[..., 1:, :] - x[..., :1, :], x[..., :1, :]
    if origin != "centroid":
        raise ConfigError(f"expected origin 'first' or 'centroid', got {origin!r}")
    mean = x.mean(-2, keepdim=True)
    return x - mean, mean


def spanning_vectors(x: Tensor, group: str = "O", pairs: Pairs = "upper", anchors: str | Tensor = "first") -> Tensor:
    """The vectors that every equivariant map is a combination of, with invariant coefficients: v_s, and cross products.

    Cross products are those of every d - 1 vectors, or with pairs="anchor" of every d - 1 anchors; only groups that keep
    determinants have them. Vectors of groups with translations have to be without them.

    Shapes:
        x: (..., n, d)    returns: (..., m, d)

    Raises:
        DegenerateInputError: dependent anchors, of which cross products are taken.

    References:
        Villar et al. (2021), arXiv:2106.06610, propositions 2 to 6.

    Example:
        >>> spanning_vectors(torch.eye(3), "O").shape, spanning_vectors(torch.eye(3), "SO").shape
        (torch.Size([3, 3]), torch.Size([6, 3]))
    """
    x = check_vectors(x, group)
    if not kind_of(group).is_oriented:
        return x
    chosen = check_independent(anchors_of(x, anchors, group)) if pairs == "anchor" else x
    return torch.cat([x, cross_products(chosen, group)], -2)


def real_parts(z: Tensor) -> Tensor:
    """Real numbers as they are; of complex ones real and imaginary parts on a last axis, (...,) -> (..., 1 or 2).

    Example:
        >>> real_parts(torch.tensor([1 + 2j]))
        tensor([[1., 2.]])
    """
    return torch.view_as_real(z.resolve_conj()) if z.is_complex() else z[..., None]


@dataclass(frozen=True)
class Scalars:
    """The settings of ``scalars`` as one function, with the vectors that go with it.

    Example:
        >>> Scalars("E")(torch.tensor([[1.0, 1.0], [1.0, 3.0]]))
        tensor([4., 2.])
    """

    group: str = "O"
    pairs: Pairs = "upper"
    norms: bool = True
    origin: Origin = "first"
    anchors: str = "first"
    eps: float = 1e-12

    def __post_init__(self) -> None:
        kind_of(self.group)

    def __call__(self, x: Tensor) -> Tensor:
        """The scalars of x."""
        return scalars(x, self.group, self.pairs, self.norms, origin=self.origin, anchors=self.anchors, eps=self.eps)

    def untranslated(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The vectors without translations, and what was taken off, of groups that have them."""
        x = check_vectors(x, self.group)
        return without_translation(x, self.origin) if kind_of(self.group).is_affine else (x, None)

    def chosen(self, x: Tensor) -> Tensor:
        """The vectors whose determinants are taken, without translations: all, or the anchors."""
        return anchors_of(x, self.anchors, self.group) if self.pairs == "anchor" else x


def _flat(gram: Tensor) -> Tensor:
    return real_parts(gram).flatten(-3)


def upper(gram: Tensor, group: str) -> Tensor:
    """Products with i <= j; of a skew form i < j; of a Hermitian one real parts, then imaginary parts for i < j.

    Example:
        >>> upper(torch.tensor([[1.0, 2.0], [2.0, 3.0]]), "O")
        tensor([1., 2., 3.])
    """
    form, n = kind_of(group).form, gram.shape[-1]
    i, j = torch.triu_indices(n, n, 1 if form == "symplectic" else 0, device=gram.device)
    if not gram.is_complex():
        return gram[..., i, j]
    above_i, above_j = torch.triu_indices(n, n, 1, device=gram.device)
    return torch.cat([gram.real[..., i, j], gram.imag[..., above_i, above_j]], -1)
