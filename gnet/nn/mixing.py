"""Weights of a cluster group that let only some clusters talk to each other, or that share a few bases: for many clusters."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from gnet.counts import is_count
from gnet.errors import ConfigError
from gnet.kernels.blocks import own_linear
from gnet.kernels.segments import cluster_mean, cluster_sum
from gnet.kernels.sparse import RowIndex, sparse_linear
from gnet.nn.weights import ALPHA, ClusterWeights, Kept, Start, first_of_each, own_rows_of
from gnet.orbits import Blocks, check_edges

Mixing = Literal["full", "coarse_edges", "none"]


def mixing_pairs(orbits: Blocks, mixing: Mixing, edge_index: Tensor | None) -> Tensor:
    """Which clusters send their mean to which, (2, P), senders first: a union of orbits, each pair once.

    "coarse_edges" are the pairs of clusters that an edge joins and every cluster itself; swaps add the images. A cluster of one
    node sends to itself in any case: that is its own weight.

    Raises:
        ConfigError: "coarse_edges" without edges, or edges with another mixing.
        GraphError: edges among other nodes.
    """
    k = orbits.partition.num_clusters
    if (mixing == "coarse_edges") != (edge_index is not None):
        raise ConfigError("mixing='coarse_edges' and edge_index=... belong together: give both or neither")
    if mixing == "full":
        return torch.cartesian_prod(torch.arange(k), torch.arange(k)).t()
    singles = torch.nonzero(~orbits.has_own).flatten()
    if edge_index is None:
        return singles.expand(2, -1)
    sender, receiver = orbits.partition.labels[check_edges(edge_index, orbits.num_nodes)]
    wanted = torch.unique(torch.cat([orbits.pair_ids[receiver, sender], orbits.pair_ids.diagonal()]))
    found = torch.nonzero(torch.isin(orbits.pair_ids, wanted)).t()  # receivers first
    return found.flip(0)


class MixingWeights(ClusterWeights):
    """A for clusters of more than one node, and B on the given pairs of clusters, free or a combination of a few bases.

    With bases B_lm = sum_b a_lm,b V_b, as in relational graph convolutions: k^2 num_bases + num_bases C C' numbers instead of
    k^2 C C'. Such a layer is exactly equivariant, but does not reach every equivariant map.

    References:
        Schlichtkrull et al. (2018), arXiv:1703.06103, equation 3.
    """

    used: Tensor
    edge_orbits: Tensor
    edge_spots: Tensor
    edge_senders: Tensor
    edge_receivers: Tensor

    def __init__(self, orbits: Blocks, in_channels: int, out_channels: int, pairs: Tensor, num_bases: int | None) -> None:
        super().__init__(orbits, in_channels, out_channels, orbits.partition.sizes, own_rows_of(orbits))
        if num_bases is not None and not is_count(num_bases):
            raise ConfigError(f"expected num_bases to be a whole number >= 1, or None, got {num_bases!r}")
        self.num_bases = num_bases
        used, edge_orbits = torch.unique(orbits.pair_ids[pairs[1], pairs[0]], return_inverse=True)
        self.rows = Kept(RowIndex.of(pairs, edge_orbits, orbits.partition.num_clusters, len(used)))
        buffers = {"used": used, "edge_orbits": edge_orbits, "edge_senders": pairs[0], "edge_receivers": pairs[1]}
        buffers["edge_spots"] = first_of_each(edge_orbits) if len(edge_orbits) else edge_orbits
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor.contiguous(), persistent=False)
        shape = (len(used), out_channels, in_channels)
        if num_bases is None:
            self.mix = nn.Parameter(torch.empty(shape))
        else:
            self.shares = nn.Parameter(torch.empty(len(self.used), num_bases))
            self.bases = nn.Parameter(torch.empty(num_bases, *shape[1:]))

    def between(self) -> Tensor:
        """B of each used orbit of pairs, (Q, C', C)."""
        return self.mix if self.num_bases is None else torch.einsum("qb,boi->qoi", self.shares, self.bases)

    def _offsets(self, means: Tensor) -> Tensor:
        """What each cluster is sent, (*, k, C) -> (*, k, C')."""
        k = self.orbits.partition.num_clusters
        if self.num_bases is None:
            return sparse_linear(means, self.mix, self.rows())
        shares = self.shares.index_select(0, self.edge_orbits)  # (P, b)
        if len(self.edge_senders) == k * k:
            table = shares.new_zeros(k, k, shares.shape[1]).index_put((self.edge_receivers, self.edge_senders), shares)
            return torch.einsum("lmb,...mi,boi->...lo", table, means, self.bases)
        sent = means.index_select(-2, self.edge_senders).unsqueeze(-2) * shares.unsqueeze(-1)  # (*, P, b, C)
        heard = cluster_sum(sent.flatten(-2), self.edge_receivers, k).unflatten(-1, sent.shape[-2:])
        return torch.einsum("...lbi,boi->...lo", heard, self.bases)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """(*, N, C) -> (*, N, C'), with the bias given for each cluster (k, C')."""
        index = self.index
        offsets = self._offsets(cluster_mean(x, index.labels, len(index.sizes)))
        return own_linear(x, self.own_of_clusters(), offsets if bias is None else offsets + bias, index)

    def coefficients(self) -> Tensor:
        """The value on each pair orbit, (count, C', C); zero where clusters do not send."""
        between = self.between()
        orbits = self.orbits
        values = between.new_zeros(orbits.count, self.out_channels, self.in_channels)
        divisor = self.index.divisor.to(between)[self.edge_senders[self.edge_spots]]
        values = values.index_copy(0, self.used, between / divisor[:, None, None])
        own = self.own_of_clusters()
        if own is None:
            return values
        first = torch.nonzero(orbits.has_own).flatten()[first_of_each(own_rows_of(orbits)[orbits.has_own])].to(values.device)
        same = values.index_select(0, orbits.pair_ids.diagonal().to(values.device)[first]) + own.index_select(0, first)
        return values.index_copy(0, orbits.own_ids.to(values.device)[first], same)

    def set_coefficients(self, values: Tensor) -> None:
        """Not possible in general.

        Raises:
            ConfigError: always; a layer of another mixing holds fewer maps.
        """
        raise ConfigError(
            "a layer with mixing='coarse_edges' or 'none', or with bases, cannot hold every equivariant map; use 'full'"
        )

    @torch.no_grad()
    def reset(self, start: Start) -> None:
        """Fill the weights so that outputs start with variance ``gain`` (per unit of input second moment)."""
        if start.rule in ("reference", "fan_in"):
            raise ConfigError(f"init={start.rule!r} is made for mixing='full' without bases; use 'white' or 'correlated'")
        sizes, d = self.orbits.partition.sizes.float(), self.in_channels
        second = 1 / sizes if start.rule == "white" else start.rho + (1 - start.rho) / sizes  # E mean^2, (k,)
        receivers, senders = self.edge_receivers.cpu(), self.edge_senders.cpu()
        heard = torch.bincount(receivers, minlength=len(sizes)).clamp(min=1)
        share = torch.where(self.orbits.has_own, 1 - ALPHA, 1.0)
        silent = torch.bincount(receivers, minlength=len(sizes)) == 0
        alpha = torch.tensor(1.0 if bool((silent | ~self.orbits.has_own).all()) else ALPHA)
        variance = share[receivers] * start.gain / (d * heard[receivers] * second[senders])  # of B on each pair
        per_orbit = torch.zeros(len(self.used))
        per_orbit[self.edge_orbits.cpu()] = torch.sqrt(variance)
        if self.own is not None:
            start.normal_(self.own, torch.sqrt(alpha * start.gain / d))
        if self.num_bases is None:
            start.normal_(self.mix, per_orbit[:, None, None])
        else:
            start.normal_(self.shares, per_orbit[:, None] / math.sqrt(self.num_bases))
            start.normal_(self.bases, torch.ones(()))
