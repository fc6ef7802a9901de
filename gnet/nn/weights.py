"""The trained numbers of an equivariant linear map, one class for each form of the pair orbits and each parametrisation.

Each class knows its map in two ways: ``forward`` applies it fast, ``coefficients`` gives its value on each pair orbit, from which
``PairOrbits.matrix`` makes the dense twin.
"""

import math
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError
from gnet.graphs.partition import Partition
from gnet.kernels.blocks import ClusterIndex, pooled_linear, pooled_linear_nodes_first
from gnet.kernels.sparse import RowIndex, sparse_linear
from gnet.kernels.table import table_linear
from gnet.nn.checks import check_choice
from gnet.orbits import Blocks, PairOrbits

Init = Literal["white", "correlated", "reference", "fan_in"]


class Start:
    """How weights start: which rule, the gain gamma^2, and the correlation rho between nodes of a cluster.

    White inputs have independent entries; ``correlated`` suits images and traffic, where nodes of a cluster move together and a
    white start would inflate the output by N / k. ``reference`` is the published start of the inpainting experiment, ``fan_in``
    that of the pose experiment: every entry of the map uniform in (-1, 1) / sqrt(N C), equal within pair orbits. For groups other
    than S_N and the trivial one the published code draws isotypic blocks instead, each uniform in (-1, 1) / sqrt(its rows C): of
    (S_2)^2 on the skeleton 10, 3 and 3 rows. The distribution is another one; outputs of white inputs have variance 1/3 in both.
    """

    def __init__(self, rule: Init, gain: float, rho: float, generator: torch.Generator | None) -> None:
        check_choice("init", rule, Init)
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

    def fan_in_(self, weight: Tensor, num_nodes: int) -> None:
        """Fill the values of pair orbits (count, C', C) with uniforms in (-1, 1) / sqrt(N C), whatever the size of the orbits."""
        self.uniform_(weight, 1 / math.sqrt(num_nodes * weight.shape[-1]))

    def uniform_(self, weight: Tensor, bound: float) -> None:
        """Fill with uniforms in (-bound, bound)."""
        drawn = torch.rand(weight.shape, generator=self.generator, dtype=torch.float32)
        with torch.no_grad():
            weight.copy_((2 * drawn - 1) * bound)


ALPHA = 0.5
"""Share of the output variance that the pointwise path starts with."""


class Kept(nn.Module):
    """A named tuple of a kernel whose tensors follow the device of the layer that keeps it; call it to have it back."""

    def __init__(self, index: ClusterIndex | RowIndex) -> None:
        super().__init__()
        self.kind, self.plain = type(index), {}
        for name, value in index._asdict().items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value.contiguous(), persistent=False)
            else:
                self.plain[name] = value

    def forward(self) -> Any:
        """The named tuple."""
        return self.kind(**self._buffers, **self.plain)  # type: ignore[arg-type]


class ClusterWeights(nn.Module):
    """Base of the weights of a cluster group: where the nodes of each cluster are, and the weight of its own nodes.

    ``own_rows`` (k,) says which row of ``own`` each cluster reads, negative for none.
    """

    own: nn.Parameter | None
    own_rows: Tensor

    def __init__(self, orbits: Blocks, in_channels: int, out_channels: int, divisor: Tensor, own_rows: Tensor) -> None:
        super().__init__()
        self.orbits, self.in_channels, self.out_channels = orbits, in_channels, out_channels
        self.clusters = Kept(ClusterIndex.of(orbits.partition.labels, divisor))
        num_own = max(int(own_rows.max()) + 1, 0)
        self.own = nn.Parameter(torch.empty(num_own, out_channels, in_channels)) if num_own else None
        self.is_one_to_one = torch.equal(own_rows, torch.arange(num_own))
        self.register_buffer("own_rows", torch.where(own_rows < 0, num_own, own_rows), persistent=False)

    @property
    def index(self) -> ClusterIndex:
        """What the kernel wants to know of the partition."""
        return self.clusters()

    def own_of_clusters(self) -> Tensor | None:
        """The weight of each cluster's own nodes, zero where it has none, (k, C', C)."""
        if self.own is None or self.is_one_to_one:
            return self.own
        padded = torch.cat([self.own, self.own.new_zeros(1, self.out_channels, self.in_channels)])
        return padded.index_select(0, self.own_rows)


def first_of_each(labels: Tensor) -> Tensor:
    """The first place of each of the labels 0, 1, ..., all of which occur.

    Example:
        >>> first_of_each(torch.tensor([1, 0, 1, 0, 2]))
        tensor([1, 0, 4])
    """
    places = torch.arange(len(labels))
    return torch.full((int(labels.max()) + 1,), len(labels)).scatter_reduce(0, labels, places, "amin")


def own_rows_of(orbits: Blocks) -> Tensor:
    """The rows of A in canonical coordinates, (k,): one for each orbit of clusters of more than one node."""
    return orbits.own_ids - int(orbits.pair_ids.max()) - 1


class BlockWeights(ClusterWeights):
    """Canonical pooled coordinates of a cluster group: A for clusters of more than one node, and B.

    For a singleton A_l and B_ll are the same coordinate, so only B_ll is kept and the number of weights is dim Hom_G exactly.
    Without swaps B is kept as (k, C', k, C), which is the matrix of one product; with swaps as one (C', C) per orbit.
    """

    pair_ids: Tensor
    spots: Tensor

    def __init__(
        self,
        orbits: Blocks,
        in_channels: int,
        out_channels: int,
        divisor: Tensor | None = None,
        own_rows: Tensor | None = None,
    ) -> None:
        divisor = orbits.partition.sizes if divisor is None else divisor
        super().__init__(orbits, in_channels, out_channels, divisor, own_rows_of(orbits) if own_rows is None else own_rows)
        k = orbits.partition.num_clusters
        shape = (k, out_channels, k, in_channels)
        self.mix = nn.Parameter(torch.empty(shape if not orbits.is_tied else (int(orbits.pair_ids.max()) + 1, *shape[1::2])))
        self.register_buffer("pair_ids", orbits.pair_ids if orbits.is_tied else None, persistent=False)
        self.register_buffer("spots", first_of_each(torch.cat([orbits.own_ids, orbits.pair_ids.flatten()])), persistent=False)

    def mix_of_clusters(self) -> Tensor:
        """B for each pair of clusters, (k, C', k, C)."""
        if not self.orbits.is_tied:
            return self.mix
        return self.mix.index_select(0, self.pair_ids.flatten()).unflatten(0, self.pair_ids.shape).permute(0, 2, 1, 3)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """(*, N, C) -> (*, N, C'), with the bias given for each cluster (k, C')."""
        return pooled_linear(x, self.own_of_clusters(), self.mix_of_clusters(), bias, self.index)

    def forward_nodes_first(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """The same for nodes first and in cluster order, (N, B, C) -> (N, B, C')."""
        return pooled_linear_nodes_first(x, self.own_of_clusters(), self.mix_of_clusters(), bias, self.index)

    def coefficients(self) -> Tensor:
        """The value on each pair orbit, (count, C', C)."""
        divisor = self.index.divisor.to(self.mix)
        between = self.mix_of_clusters().permute(0, 2, 1, 3) / divisor[None, :, None, None]  # (k, k, C', C)
        own, same = self.own_of_clusters(), torch.diagonal(between).permute(2, 0, 1)
        # One place of each orbit is read; writing all that swaps tie would give the right values and several times the gradient.
        return torch.cat([same if own is None else same + own, between.flatten(0, 1)]).index_select(0, self.spots)

    @torch.no_grad()
    def set_coefficients(self, values: Tensor) -> None:
        """Set the map from its value on each pair orbit, (count, C', C); the own weight of singletons becomes zero."""
        between = values[self.orbits.pair_ids]
        if self.own is not None:
            own = values[self.orbits.own_ids] - between.diagonal().permute(2, 0, 1)
            kept = self.own_rows < len(self.own)
            self.own[self.own_rows[kept]] = own[kept].to(self.own)
        pooled = between * self.index.divisor.to(values)[None, :, None, None]
        if self.orbits.is_tied:
            self.mix[self.pair_ids] = pooled.to(self.mix)
        else:
            self.mix.copy_(pooled.permute(0, 2, 1, 3))

    @torch.no_grad()
    def reset(self, start: Start) -> None:
        """Fill the weights so that outputs start with variance ``gain`` (per unit of input second moment)."""
        if start.rule == "reference":
            self._reset_reference(start)
            return
        if start.rule == "fan_in":
            values = torch.empty(self.orbits.count, self.out_channels, self.in_channels)
            start.fan_in_(values, self.orbits.num_nodes)
            self.set_coefficients(values)
            return
        d, k = self.in_channels, self.orbits.partition.num_clusters
        sizes = self.orbits.partition.sizes.float()
        second = 1 / sizes if start.rule == "white" else start.rho + (1 - start.rho) / sizes  # E mean^2, (k,)
        share = torch.where(self.orbits.has_own, 1 - ALPHA, 1.0)  # no pointwise path in a singleton's row
        std = torch.sqrt(share[:, None] * start.gain / (d * k * second[None, :]))  # (k, k)
        if self.own is not None:
            start.normal_(self.own, torch.tensor(math.sqrt(ALPHA * start.gain / d)))
        if self.orbits.is_tied:
            per_orbit = torch.empty(len(self.mix))
            per_orbit[self.orbits.pair_ids] = std
            start.normal_(self.mix, per_orbit[:, None, None])
        else:
            start.normal_(self.mix, std[:, None, :, None])

    def _reset_as_canonical(self, start: Start) -> None:
        """The same start as in canonical coordinates."""
        canonical = BlockWeights(self.orbits, self.in_channels, self.out_channels)
        canonical.reset(start)
        self.set_coefficients(canonical.coefficients().to(self.mix))

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


class ReferenceWeights(BlockWeights):
    """The parametrisation of the published code: W = diag(w_diag[a(i)]) + w_off[a(i), a(j)] / N, trained as (w_diag, w_off).

    Under Adam it matters which numbers are trained: a step of size lr moves an entry of W between clusters by lr / N only, a
    regulariser of fine partitions that the canonical coordinates do not have. Swaps tie both along their orbits. For singletons
    it holds one weight too many, which coefficients do not fix: they give w_diag = 0 there. The divisor N scales the pooled
    signal, not the k x k weights: the trivial group has k = N.
    """

    def __init__(self, orbits: Blocks, in_channels: int, out_channels: int) -> None:
        divisor = torch.full((orbits.partition.num_clusters,), orbits.num_nodes)
        super().__init__(orbits, in_channels, out_channels, divisor, Partition(orbits.pair_ids.diagonal()).labels)

    @torch.no_grad()
    def reset(self, start: Start) -> None:
        """Uniform in (-1, 1) / sqrt(C') for both, as published; other rules through the canonical coordinates."""
        if start.rule == "reference":
            bound = 1 / math.sqrt(self.out_channels)
            start.uniform_(cast(Tensor, self.own), bound)
            start.uniform_(self.mix, bound)
            return
        self._reset_as_canonical(start)


class OrbitWeights(BlockWeights):
    """The values of a cluster group's map on its pair orbits, trained as they stand, as those of a general group are.

    Under Adam it matters which numbers are trained: here every entry of the map moves by steps of size lr, in canonical
    coordinates one that a cluster of n nodes sends by lr / n. The published pose code trains S_N so.
    """

    def __init__(self, orbits: Blocks, in_channels: int, out_channels: int) -> None:
        super().__init__(orbits, in_channels, out_channels, torch.ones(orbits.partition.num_clusters, dtype=torch.long))

    def own_of_clusters(self) -> Tensor | None:
        """What a node's own weight is more than that between nodes of its cluster, (k, C', C)."""
        if self.own is None:
            return None
        if self.orbits.is_tied:
            same = self.mix.index_select(0, self.pair_ids.diagonal())
        else:
            same = torch.diagonal(self.mix, dim1=0, dim2=2).permute(2, 0, 1)
        if self.is_one_to_one:
            return self.own - same
        has_own = (self.own_rows < len(self.own))[:, None, None]
        return torch.where(has_own, cast(Tensor, super().own_of_clusters()) - same, 0.0)

    @torch.no_grad()
    def set_coefficients(self, values: Tensor) -> None:
        """Set the map from its value on each pair orbit, (count, C', C)."""
        super().set_coefficients(values)
        if self.own is not None:
            kept = self.own_rows < len(self.own)
            self.own[self.own_rows[kept]] = values[self.orbits.own_ids][kept].to(self.own)

    def reset(self, start: Start) -> None:
        """The same start as in canonical coordinates."""
        self._reset_as_canonical(start)


SHARED = 4
"""Mean number of senders of one orbit at a receiver from which summing them first may pay."""


class TableWeights(nn.Module):
    """One (C', C) weight for each pair orbit of a general group.

    Applied through the N x N table, O(N^2 C C') memory; where each receiver has several senders in an orbit, and there are fewer
    signals than output channels, by summing those first, O(B N^2 C) memory.
    """

    table: Tensor

    def __init__(self, orbits: PairOrbits, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.orbits = orbits
        self.weight = nn.Parameter(torch.empty(orbits.count, out_channels, in_channels))
        table = orbits.labels()
        self.register_buffer("table", table, persistent=False)
        nodes = torch.arange(len(table))
        kinds = len(torch.unique(table * len(table) + nodes[:, None]))  # pairs of a receiver and an orbit
        self.rows = None
        if SHARED * kinds <= table.numel():
            pairs = torch.stack([nodes.repeat(len(table)), nodes.repeat_interleave(len(table))])
            self.rows = Kept(RowIndex.of(pairs, table.flatten(), len(table), orbits.count))

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """(*, N, C) -> (*, N, C'), with the bias given for each node (N, C')."""
        if self.rows is None or math.prod(x.shape[:-2]) > self.weight.shape[1]:
            return table_linear(x, self.weight, self.table, bias)
        y = sparse_linear(x, self.weight, self.rows())
        return y if bias is None else y + bias

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
        if start.rule == "fan_in":
            start.fan_in_(self.weight, len(self.table))
            return
        n, d, count = len(self.table), self.weight.shape[2], self.orbits.count
        table = self.table.cpu()
        # Receivers of one orbit are images of one another, so any row of an orbit tells of all.
        codes, num_senders = torch.unique(torch.arange(n)[:, None] * count + table, return_counts=True)
        senders, receiver = torch.empty(count), torch.empty(count, dtype=torch.long)
        senders[codes % count], receiver[codes % count] = num_senders.float(), codes // count
        kinds = torch.bincount(codes // count, minlength=n)[receiver]  # how many orbits the receiver has
        is_own = torch.zeros(count, dtype=torch.bool)
        is_own[table.diagonal()] = True
        share = torch.where(is_own, ALPHA, (1 - ALPHA) / (kinds - 1).clamp(min=1))
        share = torch.where(kinds == 1, 1.0, share)
        spread = senders if start.rule == "white" else senders * (start.rho * senders + 1 - start.rho)
        start.normal_(self.weight, torch.sqrt(share * start.gain / (d * spread))[:, None, None])
