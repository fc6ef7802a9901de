"""Moments of the particles of a halo in radial bins, and the scalars that they make."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from typing import Literal

import torch
from torch import Tensor

from gnet.errors import ConfigError, DataError, ShapeError
from gnet.kernels.segments import segment_sum

REGROUPED = ((0,), (1, 2, 3), (4, 5, 6, 7, 8, 9))
"""The three published bins: which tenths of the virial radius each consists of."""
Tensors = Literal["eigenvalues", "traces"]


@dataclass(frozen=True)
class GeometricFeatures:
    """Moments of position and velocity of the particles of each halo and bin, of orders that sum to two at most.

    Shapes:
        m: (H, n), masses    x, v: (H, n, 3)    C_xx, C_vv: (H, n, 3, 3), symmetric    C_xv: (H, n, 3, 3), row x, column v
    """

    m: Tensor
    x: Tensor
    v: Tensor
    C_xx: Tensor
    C_vv: Tensor
    C_xv: Tensor

    @property
    def num_bins(self) -> int:
        """Radial bins."""
        return self.m.shape[1]


def geometric_features(
    x: Tensor,
    v: Tensor,
    mass: Tensor | float,
    batch: Tensor | None = None,
    *,
    bins: Sequence[Sequence[int]] = REGROUPED,
    width: float = 0.1,
    num_halos: int | None = None,
) -> GeometricFeatures:
    """g_lpn = sum over the particles i of bin n of m_i x_i^(l) v_i^(p), tensor powers with l + p <= 2.

    Everything is in virial units, so that the features have none: positions about the potential minimum in R_200, velocities
    about that of the halo in V_200, masses in M_200. Particles outside all bins count nowhere, and a bin without particles is 0.

    Args:
        x, v, mass: of the particles of all halos; one number as mass is that of every particle.
        batch: the halo of each particle; None is one halo.
        bins: each the shells it consists of, shell s reaching from ``s width`` to ``(s + 1) width``.
        width: of a shell.
        num_halos: how many, if the last have no particles.

    Shapes:
        x, v: (P, 3)    mass: () or (P,)    batch: (P,) int64    returns: features of H halos and n bins

    Raises:
        ShapeError: x, v, mass or batch of other shapes.
        DataError: values that are not finite, or a halo beyond ``num_halos``.
        ConfigError: no bins, an empty one, shells twice or below zero, or a width that is not positive.

    References:
        Storey-Fisher, Hogg, Genel, Hattori and Villar, public code; the moments are those of a halo's mass distribution function.

    Example:
        >>> x = torch.tensor([[0.05, 0.0, 0.0], [0.0, 0.25, 0.0]])
        >>> features = geometric_features(x, torch.ones(2, 3), 0.5)
        >>> features.m
        tensor([[0.5000, 0.5000, 0.0000]])
        >>> features.x[0, 1]
        tensor([0.0000, 0.1250, 0.0000])
    """
    shells = _bin_of_shell(bins, width)
    if x.ndim != 2 or x.shape[1] != 3 or v.shape != x.shape:
        raise ShapeError(f"expected x and v of one shape (P, 3), got {tuple(x.shape)} and {tuple(v.shape)}")
    masses = torch.as_tensor(mass, dtype=x.dtype, device=x.device)
    if masses.ndim > 1 or (masses.ndim == 1 and len(masses) != len(x)):
        raise ShapeError(f"expected one mass or those of {len(x)} particles, got mass of shape {tuple(masses.shape)}")
    halo = torch.zeros(len(x), dtype=torch.long, device=x.device) if batch is None else batch
    if halo.shape != (len(x),) or halo.is_floating_point():
        raise ShapeError(f"expected batch as {len(x)} whole numbers, got {halo.dtype} of shape {tuple(halo.shape)}")
    for name, tensor in {"x": x, "v": v, "mass": masses}.items():
        if not bool(torch.isfinite(tensor).all()):
            raise DataError(f"expected finite numbers in {name}, got NaN or infinity; leave such particles out")
    largest = int(halo.max()) if len(halo) else -1
    count = num_halos if num_halos is not None else largest + 1
    if (len(halo) and int(halo.min()) < 0) or largest >= count:
        raise DataError(f"expected halos 0..{count - 1} in batch, got {int(halo.min())}..{largest}")
    # k / (1 / width) is .1, .2, .3, ... for a width of .1, and k * width is not: a particle on a border is in the outer shell.
    borders = (torch.arange(1, len(shells), dtype=torch.float64) / (1.0 / width)).to(x)
    bin_of = shells.to(x.device)[torch.bucketize(x.norm(dim=1), borders, right=True)]
    inside = bin_of >= 0
    x, v, place = x[inside], v[inside], (halo * len(bins) + bin_of)[inside]
    weights = masses.expand(len(inside))[inside]

    def moment(values: Tensor) -> Tensor:
        flat = (weights.reshape(-1, *[1] * (values.ndim - 1)) * values).flatten(1)
        return segment_sum(flat, place, count * len(bins)).reshape(count, len(bins), *values.shape[1:])

    return GeometricFeatures(
        m=moment(torch.ones_like(x[:, :1]))[..., 0],
        x=moment(x),
        v=moment(v),
        C_xx=moment(x[:, :, None] * x[:, None]),
        C_vv=moment(v[:, :, None] * v[:, None]),
        C_xv=moment(x[:, :, None] * v[:, None]),
    )


@dataclass(frozen=True)
class _Feature:
    """One vector or matrix of each halo, with its name and its orders in x and v."""

    name: str
    value: Tensor
    orders: tuple[int, int]

    def paired(self, other: "_Feature") -> "_Feature":
        """The full contraction of two of one kind."""
        axes = tuple(range(1, self.value.ndim))
        orders = self.orders[0] + other.orders[0], self.orders[1] + other.orders[1]
        sign = "." if len(axes) == 1 else ":"
        return _Feature(f"{self.name} {sign} {other.name}", (self.value * other.value).sum(axes), orders)


def halo_scalars(
    features: GeometricFeatures,
    *,
    tensors: Tensors = "eigenvalues",
    pairs: bool = True,
    max_order: int | None = 2,
    products: bool = False,
) -> tuple[Tensor, list[str]]:
    """Scalars that no rotation or reflection changes, and their names.

    Single ones: masses, and eigenvalues (or traces) of the symmetric matrices, among them the symmetric part of C_xv. Pairs:
    products of two vectors, contractions of two symmetric or two antisymmetric matrices, of any bins. Three bins have 30 single
    ones and 42 pairs of orders at most two in x and in v, 72 in all.

    Args:
        features: of ``geometric_features``.
        tensors: what a symmetric matrix gives by itself.
        pairs: include them.
        max_order: of a pair, in x and in v; None is no limit.
        products: also those of two single scalars.

    Shapes:
        returns: (H, number of scalars), and as many names

    Raises:
        ConfigError: another word for ``tensors``.

    Example:
        >>> features = geometric_features(torch.rand(50, 3) / 2, torch.randn(50, 3), 0.02)
        >>> [halo_scalars(features, tensors=tensors)[0].shape[1] for tensors in ("eigenvalues", "traces")]
        [72, 54]
        >>> halo_scalars(features)[1][:4]
        ['m[0]', 'm[1]', 'm[2]', 'C_xx[0] eigenvalue 1']
    """
    if tensors not in ("eigenvalues", "traces"):
        raise ConfigError(f'expected tensors "eigenvalues" or "traces", got {tensors!r}')
    bins = range(features.num_bins)
    transposed = features.C_xv.mT
    symmetric, antisymmetric = (features.C_xv + transposed) / 2, (features.C_xv - transposed) / 2
    vectors = _of_bins(bins, {"x": (features.x, (1, 0)), "v": (features.v, (0, 1))})
    matrices = _of_bins(bins, {"C_xx": (features.C_xx, (2, 0)), "C_vv": (features.C_vv, (0, 2)), "C_xv sym": (symmetric, (1, 1))})
    turning = _of_bins(bins, {"C_xv anti": (antisymmetric, (1, 1))})
    single = [_Feature(f"m[{n}]", features.m[:, n], (0, 0)) for n in bins]
    for each in matrices:
        if tensors == "traces":
            single.append(_Feature(f"{each.name} trace", each.value.diagonal(dim1=1, dim2=2).sum(1), each.orders))
            continue
        values = torch.linalg.eigvalsh(each.value)
        single += [_Feature(f"{each.name} eigenvalue {at + 1}", values[:, at], each.orders) for at in range(3)]
    found = list(single)
    if pairs:
        made = [a.paired(b) for kind in (vectors, matrices, turning) for a, b in combinations_with_replacement(kind, 2)]
        found += [each for each in made if max_order is None or max(each.orders) <= max_order]
    if products:
        found += [
            _Feature(f"{a.name} * {b.name}", a.value * b.value, (0, 0)) for a, b in combinations_with_replacement(single, 2)
        ]
    return torch.stack([each.value for each in found], 1), [each.name for each in found]


def _of_bins(bins: range, values: dict[str, tuple[Tensor, tuple[int, int]]]) -> list[_Feature]:
    return [_Feature(f"{name}[{n}]", value[:, n], orders) for (name, (value, orders)), n in product(values.items(), bins)]


def _bin_of_shell(bins: Sequence[Sequence[int]], width: float) -> Tensor:
    """The bin of each shell, -1 for none; one more shell at the end stands for all that lie further out."""
    shells = [shell for each in bins for shell in each]
    if not bins or not all(bins) or len(set(shells)) < len(shells) or min(shells) < 0 or not width > 0.0:
        wanted = f"bins of distinct shells 0, 1, ... and a positive width, such as {REGROUPED} and 0.1"
        raise ConfigError(f"expected {wanted}, got {bins} and {width}")
    found = torch.full((max(shells) + 2,), -1)
    for number, each in enumerate(bins):
        found[list(each)] = number
    return found
