"""The trained numbers of an equivariant linear map, one class for each form of the pair orbits and each parametrisation.

Each class knows its map in two ways: ``forward`` applies it fast, ``coefficients`` gives its value on each pair orbit, from which
``PairOrbits.matrix`` makes the dense twin.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError
from gnet.kernels.blocks import ClusterIndex, pooled_linear, pooled_linear_nodes_first
from gnet.kernels.table import table_linear
from gnet.orbits import Blocks, PairOrbits

Init = Literal["white", "correlated", "reference"]


class Start:
    """How weights start: which rule, the gain gamma^2, and the correlation rho between nodes of a cluster.

    White inputs have independent entries; ``correlated`` suits images and traffic, where nodes of a cluster move together and a
    white start would inflate the output by N / k.
    """

    def __init__(self, rule: Init, gain: float, rho: float, generator: torch.Generator | None) -> None:
        if rule not in ("white", "correlated", "reference"):
            raise ConfigError(f"expected init 'white', 'correlated' or 'reference', got {rule!r}")
        if not gain > 0.0:
            raise ConfigError(f"expected a gain > 0, got {gain}")
        if not 0.0 <= rho <= 1.0:
            raise ConfigError(f"expected a correlation rho in [0, 1], got {rho}")
        self.rule, self.gain, self.rho, self.generator = rule, gain, rho, generator

    def normal_(self, weight: Tensor, std: Tensor) -> None:
        """Fill with zero-mean normals of the given standard deviations (drawn on the CPU, so that devices agree)."""
        drawn = torch.randn(weight.shape, generator=self.generator, dtype=torch.float32)
        with torch.no_grad():
            weight.copy_(drawn * std.expand(weight.shape))

    def uniform_(self, weight: Tensor, bound: float) -> None:
        """Fill with uniforms in (-bound, bound)."""
        drawn = torch.rand(weight.shape, generator=self.generator, dtype=torch.float32)
        with torch.no_grad():
            weight.copy_((2 * drawn - 1) * bound)


ALPHA = 0.5
"""Share of the output variance that the pointwise path starts with."""


class ClusterWeights(nn.Module):
    """Base of the weights of a cluster group: keeps where the nodes of each cluster are, in buffers that follow the device."""

    labels: Tensor
    divisor: Tensor
    order: Tensor
    inverse: Tensor

    def __init__(self, orbits: Blocks, in_channels: int, out_channels: int, divisor: Tensor) -> None:
        super().__init__()
        self.orbits, self.in_channels, self.out_channels = orbits, in_channels, out_channels
        for name, tensor in ClusterIndex.of(orbits.partition.labels, divisor).tensors().items():
            self.register_buffer(name, tensor, persistent=False)
        self.cluster_sizes = tuple(orbits.partition.sizes.tolist())
        self.is_sorted = torch.equal(orbits.partition.order, torch.arange(orbits.num_nodes))

    @property
    def index(self) -> ClusterIndex:
        """What the kernel wants to know of the partition."""
        return ClusterIndex(self.labels, self.divisor, self.order, self.inverse, self.cluster_sizes, self.is_sorted)

    def parts(self) -> tuple[Tensor | None, Tensor]:
        """The weight of each cluster's own nodes (k, C', C), if any, and of each pair of clusters (k, C', k, C)."""
        raise NotImplementedError

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """(*, N, C) -> (*, N, C'), with the bias given for each cluster (k, C')."""
        return pooled_linear(x, *self.parts(), bias, self.index)

    def forward_nodes_first(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """The same for nodes first and in cluster order, (N, B, C) -> (N, B, C')."""
        return pooled_linear_nodes_first(x, *self.parts(), bias, self.index)


class BlockWeights(ClusterWeights):
    """Canonical pooled coordinates of a cluster group: A for clusters of more than one node, and B.

    For a singleton A_l and B_ll are the same coordinate, so only B_ll is kept and the number of weights is dim Hom_G exactly.
    Without swaps B is kept as (k, C', k, C), which is the matrix of one product; with swaps as one (C', C) per orbit.
    """

    own: nn.Parameter | None
    own_rows: Tensor

    def __init__(self, orbits: Blocks, in_channels: int, out_channels: int) -> None:
        super().__init__(orbits, in_channels, out_channels, orbits.partition.sizes)
        k = orbits.partition.num_clusters
        own_rows = orbits.own_ids - int(orbits.pair_ids.max()) - 1  # row of A for each cluster, negative for singletons
        num_own = int(own_rows.max()) + 1
        self.own = nn.Parameter(torch.empty(max(num_own, 0), out_channels, in_channels)) if num_own > 0 else None
        shape = (k, out_channels, k, in_channels)
        self.mix = nn.Parameter(torch.empty(shape if not orbits.is_tied else (int(orbits.pair_ids.max()) + 1, *shape[1::2])))
        self.register_buffer("own_rows", torch.where(own_rows < 0, num_own, own_rows), persistent=False)
        self.register_buffer("pair_ids", orbits.pair_ids if orbits.is_tied else None, persistent=False)

    def own_of_clusters(self) -> Tensor | None:
        """A for each cluster, zero for singletons, (k, C', C)."""
        if self.own is None:
            return None
        if len(self.own) == len(self.own_rows) and not self.orbits.is_tied:
            return self.own
        padded = torch.cat([self.own, self.own.new_zeros(1, self.out_channels, self.in_channels)])
        return padded.index_select(0, self.own_rows)

    def mix_of_clusters(self) -> Tensor:
        """B for each pair of clusters, (k, C', k, C)."""
        if not self.orbits.is_tied:
            return self.mix
        return self.mix[self.pair_ids].permute(0, 2, 1, 3)  # type: ignore[index]

    def parts(self) -> tuple[Tensor | None, Tensor]:
        """A and B."""
        return self.own_of_clusters(), self.mix_of_clusters()

    def coefficients(self) -> Tensor:
        """The value on each pair orbit, (count, C', C)."""
        between = self.mix_of_clusters().permute(0, 2, 1, 3) / self.divisor.to(self.mix)[None, :, None, None]  # (k, k, C', C)
        own = self.own_of_clusters()
        values = self.mix.new_zeros(self.orbits.count, self.out_channels, self.in_channels)
        values[self.orbits.pair_ids] = between
        if own is not None:
            diagonal = between.diagonal().permute(2, 0, 1) + own
            values[self.orbits.own_ids] = diagonal
        return values

    @torch.no_grad()
    def set_coefficients(self, values: Tensor) -> None:
        """Set the map from its value on each pair orbit, (count, C', C)."""
        between = values[self.orbits.pair_ids]
        if self.own is not None:
            own = values[self.orbits.own_ids] - between.diagonal().permute(2, 0, 1)
            self.own[self.own_rows[self.orbits.has_own]] = own[self.orbits.has_own].to(self.own)
        pooled = between * self.divisor.to(values)[None, :, None, None]
        if self.orbits.is_tied:
            self.mix[self.pair_ids] = pooled.to(self.mix)  # type: ignore[index]
        else:
            self.mix.copy_(pooled.permute(0, 2, 1, 3))

    @torch.no_grad()
    def reset(self, start: Start) -> None:
        """Fill the weights so that outputs start with variance ``gain`` (per unit of input second moment)."""
        if start.rule == "reference":
            self._reset_reference(start)
            return
        d, k = self.in_channels, len(self.divisor)
        sizes = self.divisor.float()
        second = 1 / sizes if start.rule == "white" else start.rho + (1 - start.rho) / sizes  # E mean^2, (k,)
        share = torch.where(self.orbits.has_own.to(sizes.device), 1 - ALPHA, 1.0)  # no pointwise path in a singleton's row
        std = torch.sqrt(share[:, None] * start.gain / (d * k * second[None, :])).cpu()  # (k, k)
        if self.own is not None:
            start.normal_(self.own, torch.tensor(math.sqrt(ALPHA * start.gain / d)))
        if self.orbits.is_tied:
            per_orbit = torch.empty(len(self.mix))
            per_orbit[self.orbits.pair_ids] = std
            start.normal_(self.mix, per_orbit[:, None, None])
        else:
            start.normal_(self.mix, std[:, None, :, None])

    def _reset_reference(self, start: Start) -> None:
        """The distribution of the published code's start, expressed in canonical coordinates."""
        bound = 1 / math.sqrt(self.out_channels)
        num_nodes = self.orbits.num_nodes
        orbits = self.orbits
        own = torch.empty(int(orbits.own_ids.max()) + 1, self.out_channels, self.in_channels)
        off = torch.empty(int(orbits.pair_ids.max()) + 1, self.out_channels, self.in_channels)
        start.uniform_(own, bound)
        start.uniform_(off, bound)
        values = own.new_zeros(orbits.count, self.out_channels, self.in_channels)
        values[orbits.pair_ids] = off[orbits.pair_ids] / num_nodes
        values[orbits.own_ids] = own[orbits.own_ids] + off[orbits.pair_ids.diagonal()] / num_nodes
        self.set_coefficients(values)


class ReferenceWeights(ClusterWeights):
    """The parametrisation of the published code: W = diag(w_diag[a(i)]) + w_off[a(i), a(j)] / N, trained as (w_diag, w_off).

    Under Adam it matters which numbers are trained: a step of size lr moves an entry of W between clusters by lr / N only, a
    regulariser of fine partitions that the canonical coordinates do not have. For singletons it holds one weight too many.
    """

    def __init__(self, orbits: Blocks, in_channels: int, out_channels: int) -> None:
        if orbits.is_tied:
            raise ConfigError(
                "parametrization='reference' is made for cluster groups without swaps; use parametrization='canonical'"
            )
        k = orbits.partition.num_clusters
        super().__init__(orbits, in_channels, out_channels, torch.full((k,), orbits.num_nodes))
        self.own = nn.Parameter(torch.empty(k, out_channels, in_channels))
        self.mix = nn.Parameter(torch.empty(k, out_channels, k, in_channels))

    def parts(self) -> tuple[Tensor | None, Tensor]:
        """w_diag and w_off; the divisor N scales the pooled signal, not the k x k weights: the trivial group has k = N."""
        return self.own, self.mix

    def coefficients(self) -> Tensor:
        """The value on each pair orbit, (count, C', C)."""
        between = self.mix.permute(0, 2, 1, 3) / self.orbits.num_nodes
        values = self.mix.new_zeros(self.orbits.count, self.out_channels, self.in_channels)
        values[self.orbits.pair_ids] = between
        values[self.orbits.own_ids] = between.diagonal().permute(2, 0, 1) + self.own
        return values

    @torch.no_grad()
    def set_coefficients(self, values: Tensor) -> None:
        """Set the map from its value on each pair orbit; for singletons w_diag is set to zero (the map does not fix it)."""
        between = values[self.orbits.pair_ids]
        own = values[self.orbits.own_ids] - between.diagonal().permute(2, 0, 1)
        self.own.copy_(own)
        self.mix.copy_(between.permute(0, 2, 1, 3) * self.orbits.num_nodes)

    @torch.no_grad()
    def reset(self, start: Start) -> None:
        """Uniform in (-1, 1) / sqrt(C') for both, as published; other rules through the canonical coordinates."""
        if start.rule == "reference":
            bound = 1 / math.sqrt(self.out_channels)
            start.uniform_(self.own, bound)
            start.uniform_(self.mix, bound)
            return
        canonical = BlockWeights(self.orbits, self.in_channels, self.out_channels)
        canonical.reset(start)
        self.set_coefficients(canonical.coefficients().to(self.mix))


class TableWeights(nn.Module):
    """One (C', C) weight for each pair orbit of a general group, applied through the N x N table."""

    table: Tensor

    def __init__(self, orbits: PairOrbits, in_channels: int, out_channels: int, node_labels: Tensor) -> None:
        super().__init__()
        self.orbits = orbits
        self.weight = nn.Parameter(torch.empty(orbits.count, out_channels, in_channels))
        self.register_buffer("table", orbits.labels(), persistent=False)
        self.register_buffer("node_labels", node_labels, persistent=False)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """(*, N, C) -> (*, N, C'), with the bias given for each node orbit."""
        per_node = None if bias is None else bias[self.node_labels]  # type: ignore[index]
        return table_linear(x, self.weight, self.table, per_node)

    def coefficients(self) -> Tensor:
        """The weights themselves."""
        return self.weight

    @torch.no_grad()
    def set_coefficients(self, values: Tensor) -> None:
        """Copy."""
        self.weight.copy_(values)

    @torch.no_grad()
    def reset(self, start: Start) -> None:
        """Each orbit of a row gets its share of the output variance, the node's own orbit the pointwise share."""
        if start.rule == "reference":
            raise ConfigError("init='reference' is made for cluster groups; use 'white' or 'correlated'")
        n, d, count = len(self.table), self.weight.shape[2], self.orbits.count
        table = self.table.cpu()
        row_of_orbit = torch.zeros(count, dtype=torch.long)
        row_of_orbit[table.flatten()] = torch.arange(n).repeat_interleave(n)  # a receiver of each orbit
        rows = torch.zeros(n, count).index_put((torch.arange(n)[:, None], table), torch.ones(()), accumulate=True)
        senders = rows[row_of_orbit, torch.arange(count)]  # how many senders a receiver has in the orbit
        kinds = (rows > 0).sum(1)[row_of_orbit]
        is_own = torch.zeros(count, dtype=torch.bool)
        is_own[table.diagonal()] = True
        share = torch.where(is_own, ALPHA, (1 - ALPHA) / (kinds - 1).clamp(min=1))
        share = torch.where(kinds == 1, 1.0, share)
        spread = senders if start.rule == "white" else senders * (start.rho * senders + 1 - start.rho)
        start.normal_(self.weight, torch.sqrt(share * start.gain / (d * spread))[:, None, None])
