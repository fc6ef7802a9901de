"""Scalars of vectors whose order is not seen: of each vector, of pairs, and of anchors that all share."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, ShapeError
from gnet.nn.checks import check_placement, first_linear
from gnet.plugins.scalars.anchors import anchors_of
from gnet.plugins.scalars.features import real_parts, root, upper, without_translation
from gnet.plugins.scalars.products import check_vectors, cross_products, determinants, kind_of, products


class SetSizes(NamedTuple):
    """How many scalars belong to each vector, to each pair, and to all."""

    own: int
    between: int
    shared: int


@dataclass(frozen=True)
class SetScalars:
    """Scalars that a permutation of the vectors permutes: of each vector, of each pair, and shared ones.

    Those of a vector are its square, its length, and its products with d anchors that the order of the vectors does not change;
    shared are the products of the anchors, and of groups that keep determinants that of the anchors. Where the anchors are
    independent the set of the first determines all vectors up to the group.

    Args:
        group, norms, eps: as in ``scalars``.
        anchors: "moments" or "kmeans".

    Shapes:
        x: (..., n, d), without translations    extra: (..., n, k)
        returns: (..., n, own), (..., n, n, between), (..., shared)

    Raises:
        ConfigError: an unknown group or word.
        ShapeError: vectors that the group does not act on, or ``extra`` without one row for each.

    References:
        Villar et al. (2021), arXiv:2106.06610, section 5; Blum-Smith et al. (2024), arXiv:2405.08097, for anchors.

    Example:
        >>> own, between, shared = SetScalars("O")(torch.randn(7, 5, 3))
        >>> own.shape, between.shape, shared.shape
        (torch.Size([7, 5, 5]), torch.Size([7, 5, 5, 1]), torch.Size([7, 6]))
    """

    group: str = "O"
    norms: bool = True
    anchors: str = "moments"
    eps: float = 1e-12

    def __post_init__(self) -> None:
        kind_of(self.group)
        if self.anchors not in ("moments", "kmeans"):
            raise ConfigError(f"expected anchors 'moments' or 'kmeans', which do not see the order, got {self.anchors!r}")

    def __call__(self, x: Tensor, extra: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The three kinds of scalars."""
        kind, x = kind_of(self.group), check_vectors(x, self.group)
        anchors = anchors_of(x, self.anchors, self.group)
        gram = products(x, group=self.group)
        squares = torch.diagonal(gram, dim1=-2, dim2=-1).real
        own = []
        if extra is not None:
            if extra.shape[:-1] != x.shape[:-1]:
                raise ShapeError(f"expected extra of shape {(*x.shape[:-1], 'k')}, got {tuple(extra.shape)}")
            own.append(extra)
        if kind.form != "symplectic":
            own.append(squares[..., None])
            own += [root(squares, self.eps)[..., None]] if self.norms else []
        own.append(real_parts(products(x, anchors, self.group)).flatten(-2))
        shared = [upper(products(anchors, group=self.group), self.group)]
        if kind.is_oriented:
            shared.append(determinants(anchors))
            if kind.form == "minkowski":
                own.append((torch.sign(x[..., 0]) * squares.clamp(min=0.0))[..., None])
        return torch.cat(own, -1), real_parts(gram), torch.cat(shared, -1)

    def untranslated(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The vectors less their mean, and the mean, of groups with translations."""
        x = check_vectors(x, self.group)
        return without_translation(x, "centroid") if kind_of(self.group).is_affine else (x, None)

    def crosses(self, x: Tensor) -> Tensor:
        """Cross products of the anchors, (..., d, d), of groups that keep determinants; else none."""
        if not kind_of(self.group).is_oriented:
            return x[..., :0, :]
        return cross_products(anchors_of(x, self.anchors, self.group), self.group)

    def sizes(self, d: int, extra: int = 0) -> SetSizes:
        """How many scalars there are for vectors of dimension d and ``extra`` numbers for each.

        Example:
            >>> SetScalars("SO").sizes(3)
            SetSizes(own=5, between=1, shared=7)
        """
        x = torch.randn(d + 1, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        return SetSizes(*(each.shape[-1] for each in self(x, x.new_zeros(d + 1, extra))))


class ScalarVectors(nn.Module):
    """h_t = sum_s g(v_t, v_s; all) v_s with one g: a vector for each vector, which moves with the group and with permutations.

    Args:
        mlp: from the scalars of t, of s, of the pair, the mean of ``pool`` over all s, and the shared ones, to one number (U: 2);
            of groups that keep determinants to d more, for the cross products of the anchors.
        pool: from the scalars of s and of the pair to any number of outputs.
        is_point: of groups with translations: results are points, the mean of x plus the sum.
        group, norms, anchors, eps: as in ``SetScalars``.

    Shapes:
        x: (..., n, d)    extra: (..., n, k)    returns: (..., n, d)

    Raises:
        ConfigError: an unknown group or word, or nets that are none.
        ShapeError: an mlp with another number of outputs, or nets with another number of inputs.

    References:
        Villar et al. (2021), arXiv:2106.06610, section 5.

    Example:
        >>> sizes = SetScalars("O").sizes(3)
        >>> pool = torch.nn.Linear(sizes.own + sizes.between, 8)
        >>> mlp = torch.nn.Linear(2 * sizes.own + sizes.between + 8 + sizes.shared, 1)
        >>> ScalarVectors(mlp, pool, "O")(torch.randn(7, 5, 3)).shape
        torch.Size([7, 5, 3])
    """

    def __init__(
        self,
        mlp: nn.Module,
        pool: nn.Module,
        group: str = "O",
        *,
        is_point: bool = True,
        norms: bool = True,
        anchors: str = "moments",
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        check_nets(mlp=mlp, **({} if pool is None else {"pool": pool}))
        self.mlp, self.pool, self.is_point = mlp, pool, is_point
        self.scalars = SetScalars(group, norms, anchors, eps)

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """Apply the function."""
        x, base = self.scalars.untranslated(x)
        own, between, shared = self.scalars(x, extra)
        crosses = self.scalars.crosses(x)
        batch, n = own.shape[:-2], own.shape[-2]
        about = torch.cat([own, pooled(self.pool, own, between)], -1)[..., :, None, :].expand(*batch, n, n, -1)
        other = own[..., None, :, :].expand(*batch, n, n, -1)
        given = torch.cat([about, other, between, shared[..., None, None, :].expand(*batch, n, n, -1)], -1)
        parts = {"own": 2 * own.shape[-1], "between": between.shape[-1], "shared": shared.shape[-1]}
        mlp = fitting(self.mlp, given, **parts, pool=given.shape[-1] - sum(parts.values()))
        g = coefficients(mlp(given), x, 1 + crosses.shape[-2])
        found = g[..., 0] @ x + g[..., 1:].mean(-2) @ crosses
        return found + base if base is not None and self.is_point else found


def pooled(pool: nn.Module | None, own: Tensor, between: Tensor) -> Tensor:
    """For each t the mean over s of what ``pool`` makes of the scalars of s and of the pair.

    Shapes:
        own: (..., n, F)    between: (..., n, n, P)    returns: (..., n, outputs)

    Example:
        >>> pooled(None, torch.tensor([[1.0], [3.0]]), torch.zeros(2, 2, 1))
        tensor([[2., 0.],
                [2., 0.]])
    """
    n = own.shape[-2]
    given = torch.cat([own[..., None, :, :].expand(*own.shape[:-2], n, n, -1), between], -1)
    if pool is None:
        return given.mean(-2)
    return fitting(pool, given, own=own.shape[-1], between=between.shape[-1])(given).mean(-2)


def fitting(f: nn.Module, given: Tensor, **parts: int) -> nn.Module:
    """A net, after checking that its first linear map, where it begins with one, takes numbers of this width, dtype and device.

    Args:
        parts: how many numbers of which kind are given, for the message.

    Raises:
        ShapeError: another number of inputs, or another dtype or device.

    Example:
        >>> fitting(nn.Sequential(nn.Linear(10, 1)), torch.zeros(7, 20), scalars=18, extra=2)
        Traceback (most recent call last):
        gnet.errors.ShapeError: expected a net with 20 inputs (scalars 18, extra 2), got one with 10
    """
    first = first_linear(f)
    if first is not None:
        if first.in_features != given.shape[-1]:
            kinds = ", ".join(f"{name} {count}" for name, count in parts.items())
            raise ShapeError(f"expected a net with {given.shape[-1]} inputs ({kinds}), got one with {first.in_features}")
        check_placement(given, first.weight)
    return f


def check_nets(**nets: object) -> None:
    """Refuse what cannot be called in place of a net, as where arguments come in another order.

    Raises:
        ConfigError: the first one.

    Example:
        >>> check_nets(mlp="O")
        Traceback (most recent call last):
        gnet.errors.ConfigError: expected mlp as a net, such as perceptron([3, 32, 1]), got 'O'; nets come first, ...
    """
    for name, net in nets.items():
        if not callable(net):
            raise ConfigError(
                f"expected {name} as a net, such as perceptron([3, 32, 1]), got {net!r}; nets come first, then the group's name"
            )


def coefficients(f: Tensor, vectors: Tensor, count: int) -> Tensor:
    """Outputs of an MLP as ``count`` coefficients; of complex vectors two outputs make one.

    Raises:
        ShapeError: another number of outputs.

    Example:
        >>> coefficients(torch.tensor([1.0, 2.0]), torch.ones(1, 2, dtype=torch.complex64), 1)
        tensor([1.+2.j])
    """
    parts = 2 if vectors.is_complex() else 1
    if f.shape[-1] != parts * count:
        raise ShapeError(f"expected an mlp with {parts * count} outputs, {parts} for each of {count} terms, got {f.shape[-1]}")
    return torch.view_as_complex(f.unflatten(-1, (count, 2)).contiguous()) if parts == 2 else f
