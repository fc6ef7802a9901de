"""A symmetric map and a freer one beside it, held small by a prior: residual pathways."""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from gnet.errors import ConfigError, GroupError
from gnet.groups.base import Group, NodeGroup
from gnet.groups.cluster import TrivialGroup
from gnet.nn.base import Bias
from gnet.nn.linear import EquivariantLinear, Parametrization
from gnet.nn.relaxed.base import ApproximateLinear, check_at_least
from gnet.nn.relaxed.orbit_map import OrbitMap
from gnet.nn.relaxed.refinement import Refinement, square_norm
from gnet.nn.weights import Init


class ResidualPathway(ApproximateLinear):
    """``y = f(x) + strength U x``: a map f of the group, and beside it one of a subgroup.

    ``identifiable=True`` replaces U by U - mean of U over the group. Then f alone is the symmetric part, and ``strength``
    ||U - mean|| is exactly the distance from the group. Both start exactly equivariant: U begins as a small copy of f.

    The penalty ||W_f||^2 / (2 sigma_a^2) + ||U||^2 / (2 sigma_b^2) is that of Gaussian priors on the entries of the maps; the
    bias of the residual path counts with U, that of f is free. It is added to the loss as it is: for a mean square error over M
    entries with noise of variance v, a prior of deviation s is sigma^2 = M s^2 / (2 v).

    Args:
        beside: the subgroup whose maps the residual path has, with a bias per node orbit of it; None is no symmetry, a dense
            map of N^2 C C' weights.
        identifiable: take the group's average away from the residual path.
        sigma: (sigma_a, sigma_b), the widths of the priors; inf (or None) is none. A small sigma_b pulls towards the group.
        scale: the residual path starts as a copy of f times this.
        bias: "orbit" has one vector per node orbit of the group, and of ``beside`` in the residual path; "shared" one in all.
        parametrization, init, gain, rho: as in ``EquivariantLinear``; the gain is that of f.

    Attributes:
        strength: a buffer, 1 at first, that multiplies the residual path; 0 is exactly the group. ``gnet.training.Anneal``
            moves it during a fit.

    Shapes:
        x: (*, N, C)    returns: (*, N, C')

    Raises:
        GroupError: ``beside`` is no subgroup of the group, or no group of nodes (``Relaxed`` takes any group).
        ConfigError: a sigma <= 0, or a negative scale.

    References:
        Finzi, Benton and Wilson (2021), arXiv:2112.01388. Pertigkiozoglou, Chatzipantazis, Trivedi and Daniilidis (2024),
        arXiv:2408.13242, for a strength that ends at 0.

    Example:
        >>> layer = ResidualPathway(SymmetricGroup(3), 2, 5, sigma=(float("inf"), 0.1))
        >>> layer
        ResidualPathway(2 -> 5 | S3 beside S1 x S1 x S1 | 2 + 9 weights per channel pair)
        >>> layer(torch.randn(7, 3, 2)).shape, layer.equivariance_error() < 1e-3
        (torch.Size([7, 3, 5]), True)
        >>> _ = layer.strength.fill_(0.0)
        >>> layer.equivariance_error()
        0.0
    """

    strength: Tensor

    def __init__(
        self,
        group: NodeGroup,
        in_channels: int,
        out_channels: int,
        *,
        beside: NodeGroup | None = None,
        identifiable: bool = False,
        sigma: Sequence[float | None] = (math.inf, math.inf),
        scale: float = 1e-3,
        bias: Bias | None = "orbit",
        parametrization: Parametrization = "canonical",
        init: Init = "white",
        gain: float = 1.0,
        rho: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        if isinstance(group, Group) and not isinstance(group, NodeGroup):
            raise GroupError(
                f"expected a node group, got {group.name}; of other groups take gnet.nn.relaxed.Relaxed(equivariant, free, w)"
            )
        super().__init__(group, in_channels, out_channels, None)
        self.sigma = check_sigma(sigma)
        check_at_least(0.0, scale=scale)
        self.identifiable, self.scale, self.bias_kind = identifiable, scale, bias
        start = {"init": init, "gain": gain, "rho": rho, "generator": generator}
        self.equivariant = EquivariantLinear(
            group, in_channels, out_channels, bias=bias, parametrization=parametrization, **start  # type: ignore[arg-type]
        )  # fmt: skip
        beside = TrivialGroup(group.degree) if beside is None else beside
        own_bias: Bias | None = "orbit" if bias == "orbit" else None
        self.residual = EquivariantLinear(beside, in_channels, out_channels, bias=own_bias, generator=generator)
        names = (beside.name, group.name)
        self.pairs = Refinement(self.residual.orbits, self.equivariant.orbits, names)
        self.nodes = Refinement(beside.node_orbits(), group.node_orbits(), names)
        self.symmetric_part = OrbitMap(self.equivariant.orbits) if identifiable else None
        self.register_buffer("strength", torch.tensor(1.0))
        self._copy()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw f anew; the residual path becomes ``scale`` times a copy of it, without a bias."""
        self.equivariant.reset_parameters(generator)
        self._copy()

    @torch.no_grad()
    def _copy(self) -> None:
        self.residual.weight.set_coefficients(self.scale * self.pairs.lift(self.equivariant.weight.coefficients()))
        if self.residual.bias is not None:
            self.residual.bias.zero_()

    @property
    def num_weights(self) -> int:
        """Those of both paths."""
        return self.equivariant.num_weights + self.residual.num_weights

    def forward(self, x: Tensor) -> Tensor:
        """Apply both paths and add."""
        self.check_input(x)
        if self.symmetric_part is None:
            y = self.equivariant(x)
        else:
            # U - mean of U, with the mean applied as what it is, a map of the group.
            values = self.equivariant.weight.coefficients() - self.strength * self.pairs.mean_of(self.residual.weight)
            y = self.symmetric_part(x, values, self._symmetric_bias())
        free = self.residual(x)
        return y + self.strength.to(free.dtype) * free

    def _symmetric_bias(self) -> Tensor | None:
        if self.residual.bias is None:
            return self.equivariant.bias_of_places()
        bias = cast(Tensor, self.equivariant.bias) - self.strength * self.nodes.mean(self.residual.bias)
        return bias.index_select(0, self.equivariant.bias_rows)

    def breaking(self) -> tuple[Tensor, Tensor | None]:
        """The residual path on its own orbits, the part that counts: values of U (less their mean), and its bias.

        Shapes:
            values: (pair orbits of ``beside``, C', C)    bias: (node orbits of ``beside``, C') or None
        """
        values = self.residual.weight.coefficients()
        return (self.pairs.lost(values) if self.identifiable else values), self._free_bias()

    def _free_bias(self) -> Tensor | None:
        bias = self.residual.bias
        return self.nodes.lost(bias) if self.identifiable and bias is not None else bias

    def dense(self) -> Tensor:
        """The explicit weight, (N, C', N, C), receiver first: for tests and for looking at."""
        return self.equivariant.dense() + self.strength * self.residual.orbits.matrix(self.breaking()[0])

    def dense_bias(self) -> Tensor | None:
        """The bias of each node, (N, C'), or None."""
        own, bias = self.equivariant.dense_bias(), self._free_bias()
        if own is None or bias is None:
            return own
        return own + self.strength * bias.index_select(0, self.residual.group.node_orbits().labels.to(bias.device))

    def broken(self) -> Tensor:
        """||strength (U - mean of U)||^2, from the values on pair orbits."""
        values, bias = self.residual.weight.coefficients(), self.residual.bias
        lost = self.pairs.square(self.pairs.lost(values))
        lost = lost if bias is None else lost + self.nodes.square(self.nodes.lost(bias))
        return self.strength.square() * lost

    def square(self) -> Tensor:
        """||W||^2 + ||b||^2, from the values on pair orbits."""
        values, bias = self.pairs.lift(self.equivariant.weight.coefficients()), self.dense_bias()
        whole = self.pairs.square(values + self.strength * self.breaking()[0])
        return whole if bias is None else whole + bias.square().sum()

    def penalty(self) -> Tensor:
        """||W_f||^2 / (2 sigma_a^2) + (||U||^2 + ||bias of U||^2) / (2 sigma_b^2); of U less its mean if identifiable."""
        narrow, wide = self.sigma[1], self.sigma[0]
        total = self._nothing()
        if wide < math.inf:
            total = total + square_norm(self.equivariant.weight.coefficients(), self.pairs.coarse_sizes) / (2 * wide**2)
        if narrow < math.inf:
            square, bias = self.pairs.square_of(self.residual.weight), self._free_bias()
            if self.identifiable:  # Pythagoras: the mean is orthogonal to the rest
                mean = self.pairs.mean_of(self.residual.weight)
                square = (square - square_norm(mean, self.pairs.coarse_sizes)).clamp(min=0.0)
            total = total + (square if bias is None else square + self.nodes.square(bias)) / (2 * narrow**2)
        return total

    def __repr__(self) -> str:
        per_pair = self.in_channels * self.out_channels
        counts = f"{self.equivariant.num_weights // per_pair} + {self.residual.num_weights // per_pair}"
        groups = f"{self.group.name} beside {self.residual.group.name}"
        return f"ResidualPathway({self.in_channels} -> {self.out_channels} | {groups} | {counts} weights per channel pair)"


def check_sigma(sigma: Sequence[float | None]) -> tuple[float, float]:
    """Two widths of priors, None as infinity.

    Raises:
        ConfigError: another number of them, or one that is not > 0.

    Example:
        >>> check_sigma((None, 0.5))
        (inf, 0.5)
    """
    given: Any = sigma  # a config may hold anything, and a text of two digits has two numbers
    try:
        wide, narrow = (math.inf if each is None else float(each) for each in (() if isinstance(given, str) else given))
    except (TypeError, ValueError):
        wide = narrow = math.nan
    if not (wide > 0 and narrow > 0):
        raise ConfigError(
            "expected sigma as two widths > 0, of the priors of the symmetric and of the residual path, such as [None, 0.5] "
            f"(None, or null, is no prior), got {sigma!r}"
        )
    return wide, narrow
