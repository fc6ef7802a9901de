"""Linear layers whose every number is random, biases too."""

import torch

from gnet.graphs.partition import Partition
from gnet.groups import ClusterGroup
from gnet.nn import EquivariantLinear

GROUP = ClusterGroup(Partition([1, 0, 1, 2, 0, 1], num_clusters=3))  # sizes 2, 3, 1


def filled(layer: EquivariantLinear, rng: torch.Generator) -> EquivariantLinear:
    """The layer in float64 with random weights and biases."""
    layer = layer.double()
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape, dtype=torch.float64, generator=rng))
    return layer
