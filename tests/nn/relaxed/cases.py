"""Every layer near a group, on unequal interleaved clusters with a singleton, and what their maps are by listed elements."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gnet.graphs import Partition
from gnet.groups import ClusterGroup, NodeGroup, PermutationGroup, SymmetricGroup, TrivialGroup
from gnet.nn import OrbitConv
from gnet.nn.relaxed import (
    ApproximateLinear,
    ChainGates,
    GroupSum,
    LowRankBreaking,
    RelaxedMixing,
    ResidualPathway,
    SoftClusters,
)

CLUSTERS = Partition([1, 0, 2, 1, 0, 1], num_clusters=3)  # sizes 2, 3, 1
GROUP = ClusterGroup(CLUSTERS)  # 12 elements
FINER = ClusterGroup(Partition([1, 0, 3, 2, 0, 1]))  # sizes 2, 1, 2, 1
WHOLE = SymmetricGroup(6)
TRIVIAL = TrivialGroup(6)
SWAPPED = ClusterGroup(Partition([0, 0, 1, 1, 2, 2]), swaps=PermutationGroup([[1, 0, 2]]))
RING = PermutationGroup([[1, 2, 3, 4, 5, 0]])
DIHEDRAL = PermutationGroup([[1, 2, 3, 4, 5, 0], [5, 4, 3, 2, 1, 0]])
ACROSS = ClusterGroup(Partition([0, 1, 1, 0, 1, 2]))  # neither in GROUP nor the other way round
EDGES = torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]])

Maker = Callable[..., ApproximateLinear]

LAYERS: dict[str, Maker] = {
    "residual": lambda **more: ResidualPathway(GROUP, 2, 3, **more),
    "residual beside clusters": lambda **more: ResidualPathway(GROUP, 2, 3, beside=FINER, **more),
    "identifiable": lambda **more: ResidualPathway(GROUP, 2, 3, identifiable=True, **more),
    "identifiable with swaps": lambda **more: ResidualPathway(SWAPPED, 2, 3, identifiable=True, **more),
    "identifiable of generators": lambda **more: ResidualPathway(DIHEDRAL, 2, 3, beside=RING, identifiable=True, **more),
    "mixing": lambda **more: RelaxedMixing(GROUP, 2, 3, 3, 0.5, **more),
    "mixing of generators": lambda **more: RelaxedMixing(DIHEDRAL, 2, 3, 2, 0.5, "orbit_mean", **more),
    "low rank": lambda **more: LowRankBreaking(GROUP, 2, 3, 2, 0.1, **more),
    "low rank with swaps": lambda **more: LowRankBreaking(SWAPPED, 2, 3, 1, **more),
    "low rank of generators": lambda **more: LowRankBreaking(RING, 2, 3, 2, **more),
    "chain": lambda **more: ChainGates([TRIVIAL, FINER, GROUP, WHOLE], 2, 3, l1=0.1, **more),
    "chain with fixed gates": lambda **more: ChainGates([FINER, GROUP], 2, 3, gates=[0.25], **more),
    "chain of node gates": lambda **more: ChainGates([TRIVIAL, GROUP, WHOLE], 2, 3, node_wise=True, l1=0.1, **more),
    "chain of generators": lambda **more: ChainGates([TRIVIAL, RING, DIHEDRAL], 2, 3, **more),
    "sum": lambda **more: GroupSum([GROUP, ACROSS, WHOLE], 2, 3, **more),
    "sum with swaps": lambda **more: GroupSum([SWAPPED, ACROSS], 2, 3, **more),
    "sum with generators": lambda **more: GroupSum([GROUP, DIHEDRAL, OrbitConv(RING, 2, 3, EDGES)], 2, 3, **more),
    "sum along edges": lambda **more: GroupSum([GROUP, RING], 2, 3, edge_index=EDGES, **more),
    "soft": lambda **more: SoftClusters(6, 3, 2, 3, logits=CLUSTERS, entropy=0.1, coarsening=0.1, edge_index=EDGES, **more),
    "soft and random": lambda **more: SoftClusters(6, 2, 2, 3, temperature=0.5, **more),
}
START_EXACT = [name for name in LAYERS if name.startswith(("residual", "identifiable", "mixing", "low rank"))]


def made(name: str, rng: torch.Generator, scramble: bool = True, **more: Any) -> ApproximateLinear:
    """The layer in float64; scrambled: all its numbers drawn anew, so that nothing is zero or equal by its start."""
    layer = LAYERS[name](generator=rng, **more).double()
    return scrambled(layer, rng) if scramble else layer


def scrambled(module: Any, rng: torch.Generator) -> Any:
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=rng, dtype=p.dtype))
        for name, buffer in module.named_buffers():
            if name in ("strength", "temperature"):
                buffer.fill_(0.7)
    return module


def signals(*shape: int, rng: torch.Generator) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=rng)


def by_elements(weight: Tensor, group: NodeGroup) -> np.ndarray:
    """The average of a map (N, C', N, C) over all elements of a group, one after the other, in numpy."""
    array = weight.detach().double().numpy()
    return np.mean([array[g][:, :, g] for g in group.elements().numpy()], axis=0)


def bias_by_elements(bias: Tensor, group: NodeGroup) -> np.ndarray:
    return np.mean([bias.detach().double().numpy()[g] for g in group.elements().numpy()], axis=0)


def explicit(layer: nn.Module, x: Tensor) -> Tensor:
    """The layer by its dense map and bias."""
    y = torch.einsum("nomi,...mi->...no", layer.dense(), x)
    bias = layer.dense_bias()
    return y if bias is None else y + bias
