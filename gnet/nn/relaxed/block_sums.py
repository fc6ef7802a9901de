"""Sums over the pair orbits of a cluster group of a map of finer clusters, from the weights that a layer keeps."""

from typing import Any

import torch
from torch import Tensor, nn

from gnet.kernels.segments import segment_sum
from gnet.nn.weights import BlockWeights
from gnet.orbits import Blocks


class BlockSums(nn.Module):
    """The sum of a map's entries over each pair orbit of a coarser cluster group, O(k^2 C C') in two passes of whole rows.

    The map is given by the weights of finer clusters without swaps, mix (k, C', k, C) and own (k, C', C): its entry from a node
    of C_m to one of C_l is mix_lm / v_m, and own_l more from a node to itself. For single nodes, N^2 C C' numbers, this reads the
    weights once; going by their values on pair orbits would copy them several times.

    Shapes:
        returns: (coarse count, C', C)

    Example:
        >>> fine, coarse = ClusterGroup(Partition([0, 0, 1])), ClusterGroup(Partition([0, 0, 0]))
        >>> layer = EquivariantLinear(fine, 1, 1)
        >>> sums = BlockSums(layer.orbits, PairOrbits.of(coarse))(layer.weight).flatten()
        >>> dense = layer.dense()[:, 0, :, 0]
        >>> torch.allclose(sums, torch.stack([dense.sum() - dense.trace(), dense.trace()]), atol=1e-6)
        True
    """

    sizes: Tensor
    clusters: Tensor
    places: Tensor

    def __init__(self, fine: Blocks, coarse: Blocks) -> None:
        super().__init__()
        self.count, self.num_clusters = coarse.count, coarse.partition.num_clusters
        k = torch.arange(self.num_clusters)
        diagonal = coarse.pair_ids[k, k]  # what nodes give themselves is summed with the rest of a block, and moved
        places = torch.cat([coarse.pair_ids.flatten(), diagonal, coarse.own_ids])
        buffers = {"sizes": fine.partition.sizes, "clusters": fine.partition.coarse_labels(coarse.partition), "places": places}
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor, persistent=False)
        self.is_single = bool((fine.partition.sizes == 1).all())

    def forward(self, weights: BlockWeights) -> Tensor:
        """The sums."""
        own, mix = weights.own_of_clusters(), weights.mix
        sizes = self.sizes.to(mix.dtype)
        share = sizes / weights.index.divisor.to(mix.dtype)
        pairs, same = _Sums.apply(mix, sizes, share, self.clusters, self.num_clusters, self.is_single)
        whole = same
        if own is not None:
            whole = same + segment_sum(own * sizes[:, None, None], self.clusters, self.num_clusters)
        return segment_sum(torch.cat([pairs.flatten(0, 1), -same, whole]), self.places, self.count)

    def square(self, weights: BlockWeights) -> Tensor:
        """Squared Frobenius norm of the map."""
        own, mix = weights.own_of_clusters(), weights.mix
        sizes, divisor = self.sizes.to(mix.dtype), weights.index.divisor.to(mix.dtype)
        if own is None and self.is_single:  # the divisor is the size; a norm needs no second N x N tensor
            return torch.linalg.vector_norm(mix).square()
        entries = mix / divisor[:, None]
        total = (entries.square().sum((1, 3)) * sizes[:, None] * sizes).sum()
        if own is None:
            return total
        to_itself = torch.diagonal(entries, dim1=0, dim2=2).permute(2, 0, 1)
        return total + (sizes[:, None, None] * own * (2 * to_itself + own)).sum()


class _Sums(torch.autograd.Function):
    """Sums of ``sizes_l mix_lm share_m`` over blocks of clusters, (K, K, C', C), and of their part with l = m, (K, C', C).

    Its own backward writes the gradient once: those of a diagonal and of two sums would each fill a tensor as large as mix.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(mix: Tensor, sizes: Tensor, share: Tensor, clusters: Tensor, num: int, is_single: bool) -> tuple[Tensor, Tensor]:
        by_receiver = segment_sum(mix if is_single else mix * sizes[:, None, None, None], clusters, num)
        by_sender = (by_receiver * share[:, None]).permute(2, 0, 1, 3)  # (k, K, C', C)
        to_itself = torch.diagonal(mix, dim1=0, dim2=2).permute(2, 0, 1) * share[:, None, None]
        return segment_sum(by_sender, clusters, num).transpose(0, 1).contiguous(), segment_sum(to_itself, clusters, num)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _, sizes, share, clusters, _, ctx.is_single = inputs
        ctx.save_for_backward(sizes, share, clusters)

    @staticmethod
    def backward(ctx: Any, grad_pairs: Tensor, grad_same: Tensor) -> tuple[Tensor | None, ...]:
        sizes, share, clusters = ctx.saved_tensors
        by_sender = grad_pairs.permute(0, 2, 1, 3)[:, :, clusters] * share[:, None]  # (K, C', k, C)
        grad = by_sender.index_select(0, clusters)
        grad = grad if ctx.is_single else grad * sizes[:, None, None, None]
        to_itself = grad_same.index_select(0, clusters) * share[:, None, None]
        torch.diagonal(grad, dim1=0, dim2=2).add_(to_itself.permute(1, 2, 0))
        return grad, None, None, None, None, None
