"""An equivariant linear map given by its values on pair orbits: for layers that compute their values."""

import torch
from torch import Tensor, nn

from gnet.kernels.blocks import ClusterIndex, pooled_linear
from gnet.kernels.table import table_linear
from gnet.nn.weights import Kept
from gnet.orbits import Blocks, PairOrbits


class OrbitMap(nn.Module):
    """``(x, values) -> W x`` with W the map of the given values; a cluster group's in its pooled form, others by their table.

    It has no weights of its own. Where the values are those of an ``EquivariantLinear`` it is that layer.

    Shapes:
        x: (*, N, C)    values: (count, C', C)    returns: (*, N, C')
        bias: (k, C') of each cluster, (N, C') for groups by generators, as ``EquivariantLinear.bias_of_places`` gives it

    Example:
        >>> layer = EquivariantLinear(ClusterGroup(Partition([0, 1, 0])), 2, 3)
        >>> apply, x = OrbitMap(layer.orbits), torch.randn(5, 3, 2)
        >>> torch.allclose(apply(x, layer.weight.coefficients(), layer.bias_of_places()), layer(x), atol=1e-6)
        True
    """

    def __init__(self, orbits: PairOrbits) -> None:
        super().__init__()
        self.is_pooled = isinstance(orbits, Blocks)
        if isinstance(orbits, Blocks):
            self.clusters = Kept(ClusterIndex.of(orbits.partition.labels, orbits.partition.sizes))
            pair_ids = orbits.pair_ids.flatten()
            self.has_own = bool(orbits.has_own.any())
            self.in_order = torch.equal(pair_ids, torch.arange(len(pair_ids)))  # as without swaps: no gathering
            self.register_buffer("own_ids", orbits.own_ids, persistent=False)
            self.register_buffer("pair_ids", pair_ids, persistent=False)
        else:
            self.register_buffer("table", orbits.labels(), persistent=False)

    def forward(self, x: Tensor, values: Tensor, bias: Tensor | None = None) -> Tensor:
        """Apply the map."""
        if not self.is_pooled:
            return table_linear(x, values, self.get_buffer("table"), bias)
        index = self.clusters()
        k = len(index.sizes)
        between = values[: k * k] if self.in_order else values.index_select(0, self.get_buffer("pair_ids"))
        between = between.unflatten(0, (k, k))  # (k, k, C', C)
        mix = (between * index.divisor.to(values.dtype)[:, None, None]).permute(0, 2, 1, 3)
        own = None
        if self.has_own:
            own = values.index_select(0, self.get_buffer("own_ids")) - torch.diagonal(between).permute(2, 0, 1)
        return pooled_linear(x, own, mix, bias, index)
