"""Many processes: sums over them with gradients, batch normalisation over all, nets whose nodes are spread over them."""

from gnet.distributed.collectives import gathered, num_processes, shared, summed, this_process, total_of, whole_mean
from gnet.distributed.net import ShardedGNet
from gnet.distributed.norm import SharedBatchNorm, share_batch_norms

__all__ = [
    "ShardedGNet",
    "SharedBatchNorm",
    "gathered",
    "num_processes",
    "share_batch_norms",
    "shared",
    "summed",
    "this_process",
    "total_of",
    "whole_mean",
]
