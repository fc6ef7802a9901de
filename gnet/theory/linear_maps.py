"""A linear map as theory sees it: what a group keeps of it, what it takes away, and how many numbers are left."""

from dataclasses import dataclass
from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from gnet.errors import ConfigError, GroupError, ShapeError
from gnet.groups.base import NodeGroup, check_node_group
from gnet.orbits import PairOrbits
from gnet.theory.checks import as_float64, check_choice, check_positive, check_whole

Output = Literal["equivariant", "invariant"]
TOLERANCE = 1e-9
"""What is smaller than this, relative to the map, is rounding."""


@dataclass(frozen=True, eq=False)
class Split:
    """A linear map as a matrix of out_dim x in_dim numbers, cut into its projection onto a group's maps and the rest.

    Shapes:
        kept, lost: (out_dim, in_dim) float64, orthogonal to each other
    """

    kept: Tensor
    lost: Tensor
    dim: int
    """Of the group's maps, channels included."""

    @property
    def whole(self) -> Tensor:
        """The map itself."""
        return self.kept + self.lost

    @property
    def out_dim(self) -> int:
        """Numbers that come out."""
        return self.kept.shape[0]

    @property
    def in_dim(self) -> int:
        """Numbers that go in."""
        return self.kept.shape[1]

    @property
    def lost_dim(self) -> int:
        """Dimension of what the group takes away."""
        return self.kept.numel() - self.dim

    @property
    def is_exact(self) -> bool:
        """Whether the map is the group's, to rounding."""
        return float(self.lost.norm()) <= TOLERANCE * float(self.whole.norm())


def split_map(theta: ArrayLike | Tensor, group: NodeGroup, output: Output = "equivariant") -> Split:
    """Cut a map into its Reynolds average and the rest.

    Shapes:
        theta: (N, N) or (N, C', N, C), receiver first; with ``output="invariant"`` (N,) or (N, C), the weights of one number

    Units: those of theta.

    Raises:
        ShapeError: theta has another shape.
        GroupError: no group of nodes, or one of more than 4096 nodes with generators.
        ConfigError: an unknown output.
        DataError: entries that are NaN or infinite.

    References:
        Elesedy and Zaidi (2021), arXiv:2102.10333, for the average as an orthogonal projection.

    Example:
        >>> parts = split_map([[1.0, 0.0], [0.0, 3.0]], SymmetricGroup(2))
        >>> parts.kept, float(parts.lost.square().sum()), parts.dim
        (tensor([[2., 0.],
                [0., 2.]], dtype=torch.float64), 2.0, 2)
    """
    check_node_group(group)
    check_choice("output", output, Output)
    values, size = as_float64(theta), group.degree
    if output == "invariant":
        if values.ndim not in (1, 2) or len(values) != size:
            raise ShapeError(f"expected an invariant theta ({size},) or ({size}, C), got {tuple(values.shape)}")
        weights = values.reshape(size, -1)
        orbits = group.node_orbits()
        kept = orbits.average(weights).reshape(1, -1)
        return Split(kept, values.reshape(1, -1) - kept, orbits.num_clusters * weights.shape[1])
    if values.ndim not in (2, 4) or values.shape[0] != size or values.shape[values.ndim // 2] != size:
        hint = '; for a theta of one number say output="invariant"' if values.ndim == 1 else ""
        raise ShapeError(f"expected a map ({size}, {size}) or ({size}, C', {size}, C), got {tuple(values.shape)}{hint}")
    channels = 1 if values.ndim == 2 else values.shape[1] * values.shape[3]
    rows = size if values.ndim == 2 else size * values.shape[1]
    orbits_of_pairs = PairOrbits.of(group)
    kept = orbits_of_pairs.mean(values).reshape(rows, -1)
    return Split(kept, values.reshape(rows, -1) - kept, orbits_of_pairs.count * channels)


def dim_hom(group: NodeGroup, in_channels: int = 1, out_channels: int = 1, output: Output = "equivariant") -> int:
    """Dimension of the linear maps that a group allows: pair orbits (or node orbits) times channels.

    Shapes:
        returns: a whole number

    Units: weights.

    Raises:
        GroupError: no group of nodes, or one of more than 4096 nodes with generators.
        ConfigError: channels that are no whole number >= 1, an unknown output.

    References:
        Serre (1977), Linear Representations of Finite Groups, section 2.3: the inner product of the characters.

    Example:
        >>> group = ClusterGroup(Partition([0, 0, 1]))
        >>> dim_hom(group), dim_hom(group, 2, 1), dim_hom(group, 2, output="invariant")
        (5, 10, 4)
    """
    check_node_group(group)
    check_choice("output", output, Output)
    check_whole(1, in_channels=in_channels, out_channels=out_channels)
    if output == "invariant":
        return group.node_orbits().num_clusters * in_channels * out_channels
    return PairOrbits.of(group).count * in_channels * out_channels


@dataclass(frozen=True, eq=False)
class InputNorm:
    """The norm E ||f(x)||^2 of linear maps f: of white inputs, or of those with a covariance that a group leaves as it is.

    Shapes:
        covariance: (in_dim, in_dim), None for white inputs
    """

    variance: float
    covariance: Tensor | None

    @classmethod
    def of(cls, sigma_x: float, covariance: ArrayLike | Tensor | None, group: NodeGroup, in_dim: int) -> "InputNorm":
        """Checked.

        Raises:
            ConfigError: sigma_x <= 0 or not finite, or one beside a covariance, which holds all variances.
            ShapeError, GroupError: as ``check_covariance``.
        """
        check_positive(sigma_x=sigma_x)
        if covariance is None:
            return cls(sigma_x**2, None)
        if sigma_x != 1:
            raise ConfigError(f"expected sigma_x or covariance, got both; multiply the covariance by {sigma_x}^2, or leave it")
        return cls(1.0, check_covariance(covariance, group, in_dim))

    def times(self, matrix: Tensor) -> Tensor:
        """A map times the covariance, (out_dim, in_dim)."""
        return matrix * self.variance if self.covariance is None else matrix @ self.covariance

    def square(self, matrix: Tensor) -> float:
        """E ||f(x)||^2 of the map of a matrix (out_dim, in_dim)."""
        return float((self.times(matrix) * matrix).sum())


def check_covariance(covariance: ArrayLike | Tensor, group: NodeGroup, in_dim: int) -> Tensor:
    """A covariance of inputs as float64, after checking that the group leaves it as it is.

    Shapes:
        covariance: (N C, N C), nodes slow, channels fast    returns: the same

    Raises:
        ShapeError: another shape, not symmetric, or not positive semidefinite.
        GroupError: the group changes it; then the Reynolds average is no orthogonal projection, and the theorem does not hold.
    """
    values = as_float64(covariance)
    if values.shape != (in_dim, in_dim):
        raise ShapeError(f"expected a covariance of shape ({in_dim}, {in_dim}), got {tuple(values.shape)}")
    scale = float(values.abs().max())
    if not torch.allclose(values, values.mT, atol=TOLERANCE * scale) or torch.linalg.eigvalsh(values)[0] < -TOLERANCE * scale:
        raise ShapeError("expected a covariance: a symmetric, positive semidefinite matrix")
    channels = in_dim // group.degree
    mean = PairOrbits.of(group).mean(values.reshape(group.degree, channels, group.degree, channels)).reshape(in_dim, in_dim)
    away = float((mean - values).abs().max()) / scale if scale else 0.0
    if away > TOLERANCE:
        raise GroupError(
            f"expected a covariance that {group.name} leaves as it is, got one whose average over the group differs by "
            f"{away:.1e} of its largest entry; take a smaller group, or PairOrbits.of(group).mean(covariance)"
        )
    return values
