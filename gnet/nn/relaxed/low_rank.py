"""A map of the group and one of low rank beside it, without any N x N matrix."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from gnet.counts import check_count
from gnet.groups.base import NodeGroup
from gnet.nn.base import Bias
from gnet.nn.linear import EquivariantLinear, Parametrization
from gnet.nn.relaxed.base import ApproximateLinear, check_at_least
from gnet.nn.relaxed.refinement import square_norm
from gnet.nn.weights import Init, Start
from gnet.orbits import Blocks


class LowRankBreaking(ApproximateLinear):
    """``y = f(x) + U V^T x`` with f a map of the group, and U, V of ``rank`` columns over nodes and channels.

    U is zero at the start, so the layer starts exactly equivariant; V is normal, such that V^T x of white inputs has variance
    one. The penalty is ``weight_decay`` (||U||^2 + ||V||^2) / 2, whose least value for a given U V^T is ``weight_decay`` times
    its nuclear norm: it prefers low rank.

    r (N C + N C') weights beside those of f, O(B r N (C + C')) operations, no N x N matrix; the distance from a cluster group
    too needs none.

    Args:
        rank: r.
        weight_decay: weight of the penalty.
        bias, parametrization, init, gain, rho: as in ``EquivariantLinear``; the bias stays the group's.

    Attributes:
        receivers, senders: U (N, C', r) and V (N, C, r).

    Shapes:
        x: (*, N, C)    returns: (*, N, C')

    Raises:
        ConfigError: a rank below one, or a negative weight decay.

    References:
        Srebro, Rennie and Jaakkola (2004), on the norm of factors as a nuclear norm. Hu et al. (2021), arXiv:2106.09685, for the
        start.

    Example:
        >>> layer = LowRankBreaking(ClusterGroup(Partition([0, 0, 0, 1, 1, 2])), 2, 5, rank=3)
        >>> layer
        LowRankBreaking(2 -> 5 | S3 x S2 x S1 and rank 3 | 11 weights per channel pair and 126)
        >>> layer(torch.randn(7, 6, 2)).shape, layer.equivariance_error()
        (torch.Size([7, 6, 5]), 0.0)
    """

    def __init__(
        self,
        group: NodeGroup,
        in_channels: int,
        out_channels: int,
        rank: int = 1,
        weight_decay: float = 0.0,
        *,
        bias: Bias | None = "orbit",
        parametrization: Parametrization = "canonical",
        init: Init = "white",
        gain: float = 1.0,
        rho: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(group, in_channels, out_channels, None)
        check_count(rank=rank)
        check_at_least(0.0, weight_decay=weight_decay)
        self.rank, self.weight_decay, self.bias_kind = rank, weight_decay, bias
        start = {"init": init, "gain": gain, "rho": rho, "generator": generator}
        self.equivariant = EquivariantLinear(
            group, in_channels, out_channels, bias=bias, parametrization=parametrization, **start  # type: ignore[arg-type]
        )  # fmt: skip
        self.receivers = nn.Parameter(torch.empty(group.degree, out_channels, rank))
        self.senders = nn.Parameter(torch.empty(group.degree, in_channels, rank))
        self._start(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw f and V anew; U is zero."""
        self.equivariant.reset_parameters(generator)
        self._start(generator)

    def _start(self, generator: torch.Generator | None) -> None:
        normal = Start("white", 1.0, 0.5, generator)
        normal.normal_(self.senders, torch.tensor(1 / math.sqrt(self.group.degree * self.in_channels)))
        nn.init.zeros_(self.receivers)

    @property
    def num_weights(self) -> int:
        """Those of f, and r N (C + C')."""
        return self.equivariant.num_weights + self.receivers.numel() + self.senders.numel()

    def forward(self, x: Tensor) -> Tensor:
        """Apply both parts and add."""
        self.check_input(x)
        heard = x.flatten(-2) @ self.senders.flatten(0, 1).to(x.dtype)  # (*, r)
        free = heard @ self.receivers.flatten(0, 1).to(heard.dtype).t()
        return self.equivariant(x) + free.unflatten(-1, self.receivers.shape[:2])

    def dense(self) -> Tensor:
        """The explicit weight, (N, C', N, C), receiver first: for tests and for looking at."""
        return self.equivariant.dense() + torch.einsum("nor,mir->nomi", self.receivers, self.senders)

    def dense_bias(self) -> Tensor | None:
        """The bias of each node, (N, C'), or None."""
        return self.equivariant.dense_bias()

    def broken(self) -> Tensor:
        """||U V^T||^2 less that of its mean over the group, O(N r (r + C + C') + k^2 r C C') for a cluster group."""
        orbits = self.equivariant.orbits
        mean = self._mean_values() if isinstance(orbits, Blocks) else orbits.coefficients(self._breaking())
        return (self._breaking_square() - square_norm(mean, orbits.orbit_sizes.to(mean.device))).clamp(min=0.0)

    def square(self) -> Tensor:
        """||W||^2 + ||b||^2: that of the group's part, and what breaks it."""
        orbits, bias = self.equivariant.orbits, self.dense_bias()
        mean = self._mean_values() if isinstance(orbits, Blocks) else orbits.coefficients(self._breaking())
        kept = square_norm(self.equivariant.weight.coefficients() + mean, orbits.orbit_sizes.to(mean.device))
        return kept + self.broken() + (0.0 if bias is None else bias.square().sum())

    def _breaking(self) -> Tensor:
        return torch.einsum("nor,mir->nomi", self.receivers, self.senders)

    def _breaking_square(self) -> Tensor:
        """||U V^T||^2, by the r x r matrices U^T U and V^T V."""
        left, right = (each.flatten(0, 1) for each in (self.receivers, self.senders))
        return ((left.t() @ left) * (right.t() @ right)).sum()

    def _mean_values(self) -> Tensor:
        """The mean of U V^T over each pair orbit of a cluster group, (count, C', C), by sums over clusters."""
        orbits, device = cast(Blocks, self.equivariant.orbits), self.receivers.device
        partition = orbits.partition
        left, right = partition.sum(self.receivers), partition.sum(self.senders)
        pairs = torch.einsum("kor,mir->kmoi", left, right)
        own = partition.sum(torch.einsum("nor,nir->noi", self.receivers, self.senders))  # of the pairs (i, i)
        places = torch.cat([each.flatten() for each in (orbits.pair_ids, orbits.pair_ids.diagonal(), orbits.own_ids)])
        values = torch.cat([pairs.flatten(0, 1), -own, own])
        sums = values.new_zeros(orbits.count, *values.shape[1:]).index_add(0, places.to(device), values)
        return sums / orbits.orbit_sizes.to(values)[:, None, None]

    def penalty(self) -> Tensor:
        """``weight_decay`` (||U||^2 + ||V||^2) / 2."""
        if not self.weight_decay:
            return self._nothing()
        return self.weight_decay / 2 * (self.receivers.square().sum() + self.senders.square().sum())

    def __repr__(self) -> str:
        per_pair = self.equivariant.num_weights // (self.in_channels * self.out_channels)
        free = self.receivers.numel() + self.senders.numel()
        weights = f"{per_pair} weight{'' if per_pair == 1 else 's'} per channel pair and {free}"
        return f"LowRankBreaking({self.in_channels} -> {self.out_channels} | {self.group.name} and rank {self.rank} | {weights})"
