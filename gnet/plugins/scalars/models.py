"""Invariant and equivariant functions of vectors: an MLP on scalars, times vectors or products of vectors."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from gnet.counts import is_count
from gnet.errors import ConfigError, ShapeError
from gnet.nn.checks import no_tensor
from gnet.plugins.scalars.features import Origin, Pairs, Scalars, spanning_vectors
from gnet.plugins.scalars.products import form_matrix, kind_of, levi_civita, products
from gnet.plugins.scalars.sets import SetScalars, check_nets, coefficients, fitting, pooled


def perceptron(widths: Sequence[int], act: type[nn.Module] = nn.SiLU) -> nn.Sequential:
    """Linear maps between the given widths, and a nonlinearity after all but the last.

    Raises:
        ConfigError: no sequence of two or more whole numbers.

    Example:
        >>> perceptron([3, 500, 1])(torch.zeros(7, 3)).shape
        torch.Size([7, 1])
    """
    if not isinstance(widths, Sequence) or len(widths) < 2 or not all(is_count(each, 0) for each in widths):
        raise ConfigError(f"expected two widths or more, whole numbers in a list as perceptron([3, 32, 1]), got {widths!r}")
    layers = [each for a, b in pairwise(widths) for each in (nn.Linear(a, b), act())]
    return nn.Sequential(*layers[:-1])


class ScalarInvariant(nn.Module):
    """f(scalars of x): every invariant function of vectors that polynomials come near to.

    Args:
        mlp: from the scalars (and ``extra`` invariants, such as masses) to any number of outputs; ``num_scalars`` counts them.
        group, pairs, norms, origin, anchors, eps: as in ``scalars``.
        permutation: whether the order of the vectors is not seen either; then ``pool`` takes the scalars of each vector
            (``SetScalars``), the mlp its mean over vectors and what is shared. Translations are taken off by the mean.
        pool: of ``permutation``.

    Shapes:
        x: (..., n, d)    extra: (..., k), with ``permutation`` (..., n, k)    returns: (..., outputs of the mlp)

    Raises:
        ConfigError: an unknown group, or an unknown word; nets that are none.
        ShapeError: vectors that the group does not act on; an mlp (where it begins with a linear map) with another number of
            inputs, dtype or device; ``extra`` of another shape.

    References:
        Villar et al. (2021), arXiv:2106.06610, propositions 1 to 6; Weyl (1946).

    Example:
        >>> f = ScalarInvariant(perceptron([3, 16, 1]), "O", norms=False)
        >>> f(torch.randn(7, 2, 5)).shape
        torch.Size([7, 1])
    """

    def __init__(
        self,
        mlp: nn.Module,
        group: str = "O",
        permutation: bool = False,
        *,
        pool: nn.Module | None = None,
        pairs: Pairs = "upper",
        norms: bool = True,
        origin: Origin = "first",
        anchors: str | None = None,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        check_nets(mlp=mlp)
        self.mlp, self.pool = mlp, pool
        self.scalars = _settings(group, permutation, pool, pairs, norms, origin, anchors, eps)

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """Apply the function."""
        if isinstance(self.scalars, Scalars):
            return _of_scalars(self.mlp, self.scalars(x), extra)
        own, _, shared = self.scalars(self.scalars.untranslated(x)[0], extra)
        mean = fitting(self.pool, own, own=own.shape[-1])(own).mean(-2)  # type: ignore[arg-type]
        given = torch.cat([mean, shared], -1)
        return fitting(self.mlp, given, pool=mean.shape[-1], shared=shared.shape[-1])(given)


class ScalarEquivariant(nn.Module):
    """sum_s f_s(scalars of x) v_s, over vectors and, of groups that keep determinants, cross products.

    Args:
        mlp: from the scalars to one number for each vector of ``spanning_vectors`` (U: real, then imaginary part).
        is_point: of groups with translations: the result is a point, the origin plus the sum; False leaves the sum, a velocity.
        group, pairs, norms, origin, anchors, eps: as in ``scalars``.
        permutation: whether the order of the vectors is not seen: sum_t f(v_t; the others) v_t with one f. Then ``pool`` takes
            the scalars of s and <v_t, v_s>, the mlp the scalars of t, the mean of ``pool`` over s and what is shared; of groups
            that keep determinants it has d more outputs, for the cross products of the anchors.
        pool: of ``permutation``.

    Shapes:
        x: (..., n, d)    extra: (..., k), with ``permutation`` (..., n, k)    returns: (..., d)

    Raises:
        ConfigError: an unknown group or word; ``pool`` without ``permutation`` or the other way round.
        ShapeError: an mlp with another number of outputs, or as ``ScalarInvariant``.
        RepresentationError: too many cross products; take ``pairs="anchor"``.

    References:
        Villar et al. (2021), arXiv:2106.06610, propositions 2 to 6.

    Example:
        >>> h = ScalarEquivariant(perceptron([5, 16, 3]), "SO")  # v1, v2 and their cross product
        >>> h(torch.randn(7, 2, 3)).shape
        torch.Size([7, 3])
    """

    def __init__(
        self,
        mlp: nn.Module,
        group: str = "O",
        permutation: bool = False,
        *,
        pool: nn.Module | None = None,
        is_point: bool = True,
        pairs: Pairs = "upper",
        norms: bool = True,
        origin: Origin = "first",
        anchors: str | None = None,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        check_nets(mlp=mlp)
        self.mlp, self.pool, self.is_point = mlp, pool, is_point
        self.scalars = _settings(group, permutation, pool, pairs, norms, origin, anchors, eps)

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """Apply the function."""
        vectors, base = self.scalars.untranslated(x)
        if isinstance(self.scalars, Scalars):
            vectors = spanning_vectors(vectors, self.scalars.group, self.scalars.pairs, self.scalars.anchors)
            f = coefficients(_of_scalars(self.mlp, self.scalars(x), extra), vectors, vectors.shape[-2])
            found = torch.einsum("...s,...sd->...d", f, vectors)
        else:
            own, between, shared = self.scalars(vectors, extra)
            crosses = self.scalars.crosses(vectors)
            mean = pooled(self.pool, own, between)
            given = torch.cat([own, mean, shared[..., None, :].expand(*own.shape[:-1], -1)], -1)
            mlp = fitting(self.mlp, given, own=own.shape[-1], pool=mean.shape[-1], shared=shared.shape[-1])
            f = coefficients(mlp(given), vectors, 1 + crosses.shape[-2])  # (..., n, 1 + crosses)
            found = torch.einsum("...s,...sd->...d", f[..., 0], vectors)
            found = found + torch.einsum("...s,...sd->...d", f[..., 1:].mean(-2), crosses)
        return found + base[..., 0, :] if base is not None and self.is_point else found


class ScalarMatrix(nn.Module):
    """sum_ij f_ij w_i w_j^* + f_0 J^-1, and of SO(d) f_S times the skew matrices of d - 2 vectors, w the spanning vectors.

    Args:
        mlp: from the scalars to m^2 + 1 numbers, of groups that keep determinants ``n choose d - 2`` more (U: twice as many).
        group, pairs, norms, origin, anchors, eps: as in ``scalars``; with translations the result does not see them.

    Shapes:
        x: (..., n, d)    extra: (..., k)    returns: (..., d, d), which moves as g M g^*

    Raises:
        ShapeError: an mlp with another number of outputs.

    References:
        Villar et al. (2021), arXiv:2106.06610, section 4.

    Example:
        >>> ScalarMatrix(perceptron([5, 16, 5]), "O")(torch.randn(7, 2, 3)).shape
        torch.Size([7, 3, 3])
    """

    def __init__(
        self,
        mlp: nn.Module,
        group: str = "O",
        *,
        pairs: Pairs = "upper",
        norms: bool = True,
        origin: Origin = "first",
        anchors: str = "first",
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        check_nets(mlp=mlp)
        self.mlp, self.group = mlp, group
        self.scalars = Scalars(group, pairs, norms, origin, anchors, eps)

    def matrices(self, x: Tensor) -> Tensor:
        """The matrices that are combined, (..., number, d, d)."""
        x, _ = self.scalars.untranslated(x)
        w = spanning_vectors(x, self.group, self.scalars.pairs, self.scalars.anchors)
        d = w.shape[-1]
        outer = (w[..., :, None, :, None] * w.conj()[..., None, :, None, :]).flatten(-4, -3)
        # J^-1 moves as g J^-1 g^T, since g^T J g = J.
        unit = torch.linalg.inv(form_matrix(self.group, d, w)).expand(*w.shape[:-2], 1, d, d)
        found = [outer, unit]
        if kind_of(self.group).is_oriented and d > 1:
            found.append(levi_civita(self.scalars.chosen(x), self.group))
        return torch.cat(found, -3)

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """Apply the function."""
        matrices = self.matrices(x)
        f = coefficients(_of_scalars(self.mlp, self.scalars(x), extra), matrices, matrices.shape[-3])
        return torch.einsum("...s,...sab->...ab", f, matrices)


class PairMatrix(nn.Module):
    """sum_i f(i) v_i v_i^T + sum_(i != j) g(i, j) v_i v_j^T + f_0 J^-1, f and g shared: the order of the vectors is not seen.

    f sees <v_i, v_i> and the numbers that come with v_i; g sees <v_i, v_i>, <v_j, v_j>, <v_i, v_j> and the numbers of both. Each
    has two outputs, of which the second is added up to f_0.

    Args:
        same: f, from 1 + k inputs to 2.
        other: g, from 3 + 2 k inputs to 2.
        group: "O", "Lorentz" or "Sp".

    Shapes:
        x: (..., n, d)    extra: (..., n, k), k numbers for each vector    returns: (..., d, d)

    Raises:
        ConfigError: another group.
        ShapeError: ``extra`` without one row for each vector.

    References:
        Villar et al. (2021), arXiv:2106.06610, section 6, moment of inertia, and its published code.

    Example:
        >>> model = PairMatrix(perceptron([2, 16, 2]), perceptron([5, 16, 2]))
        >>> model(torch.randn(7, 5, 3), torch.rand(7, 5, 1)).shape
        torch.Size([7, 3, 3])
    """

    def __init__(self, same: nn.Module, other: nn.Module, group: str = "O") -> None:
        super().__init__()
        check_nets(same=same, other=other)
        if group not in ("O", "Lorentz", "Sp"):
            raise ConfigError(f"expected group 'O', 'Lorentz' or 'Sp' for shared pairs, got {group!r}")
        self.same, self.other, self.group = same, other, group

    def pair_features(self, x: Tensor, extra: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features of i, of pairs i != j, and the two indices of each pair."""
        n = x.shape[-2]
        gram = products(x, group=self.group)
        own = torch.diagonal(gram, dim1=-2, dim2=-1)[..., None]
        if extra is not None:
            if extra.shape[:-1] != x.shape[:-1]:
                raise ShapeError(f"expected extra of shape {(*x.shape[:-1], 'k')}, got {tuple(extra.shape)}")
            own = torch.cat([extra, own], -1)
        i, j = (~torch.eye(n, dtype=torch.bool, device=x.device)).nonzero(as_tuple=True)
        return own, torch.cat([own[..., i, :], own[..., j, :], gram[..., i, j, None]], -1), i, j

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """Apply the function."""
        own, both, i, j = self.pair_features(x, extra)
        f = fitting(self.same, own, extra=own.shape[-1] - 1, product=1)(own)
        g = fitting(self.other, both, extra=both.shape[-1] - 3, products=3)(both)
        unit = torch.linalg.inv(form_matrix(self.group, x.shape[-1], x))
        total = f[..., 1].sum(-1) + g[..., 1].sum(-1)
        outer = x.mT @ (f[..., :1] * x) + x[..., i, :].mT @ (g[..., :1] * x[..., j, :])
        return outer + total[..., None, None] * unit


def _settings(
    group: str,
    permutation: bool,
    pool: nn.Module | None,
    pairs: Pairs,
    norms: bool,
    origin: Origin,
    anchors: str | None,
    eps: float,
) -> Scalars | SetScalars:
    if permutation != (pool is not None):
        raise ConfigError("pool and permutation=True belong together: give both, or neither")
    if permutation:
        return SetScalars(group, norms, anchors or "moments", eps)
    return Scalars(group, pairs, norms, origin, anchors or "first", eps)


def _of_scalars(mlp: nn.Module, found: Tensor, extra: Tensor | None) -> Tensor:
    if extra is None:
        return fitting(mlp, found, scalars=found.shape[-1], extra=0)(found)
    if not isinstance(extra, Tensor) or extra.shape[:-1] != found.shape[:-1] or not extra.ndim:
        got = tuple(extra.shape) if isinstance(extra, Tensor) else no_tensor(extra)
        raise ShapeError(f"expected extra of shape {(*found.shape[:-1], 'k')}, got {got}")
    given = torch.cat([found, extra], -1)
    return fitting(mlp, given, scalars=found.shape[-1], extra=extra.shape[-1])(given)
