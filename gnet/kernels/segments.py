"""Reductions over clusters: the one door to the scatter and segment operations of torch, torch-scatter and Triton."""

import math

import torch
from torch import Tensor

from gnet.errors import ShapeError
from gnet.kernels import backends


def cluster_sum(x: Tensor, labels: Tensor, num_clusters: int) -> Tensor:
    """Sum the nodes of each cluster, O(N C), by ``index_add`` along the node axis (no index expansion, no N x k matrix).

    Low-precision signals are summed in float32 and given back in their own dtype.

    Shapes:
        x: (*, N, C)    labels: (N,) int64 in 0..k-1    returns: (*, k, C)

    Raises:
        ShapeError: ``labels`` does not have one entry per node.

    Example:
        >>> cluster_sum(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1]), 2)
        tensor([[4.],
                [5.]])
    """
    if labels.shape != x.shape[-2:-1]:
        raise ShapeError(f"expected one label per node, got labels {tuple(labels.shape)} for x {tuple(x.shape)}")
    if backends.active is not None and backends.active.serves(x):
        flat = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
        return backends.active.sums(flat, labels, num_clusters).reshape(*x.shape[:-2], num_clusters, x.shape[-1])
    wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    zeros = wide.new_zeros((*x.shape[:-2], num_clusters, x.shape[-1]))
    return torch.index_add(zeros, -2, labels, wide).to(x.dtype)


def segment_sum(values: Tensor, places: Tensor, num_places: int) -> Tensor:
    """Sums of the rows that share a place, O(R C); low precision is summed in float32 and given back in its own dtype.

    Shapes:
        values: (R, *, C)    places: (R,) int64 in 0..num_places-1    returns: (num_places, *, C)

    Example:
        >>> segment_sum(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 2]), 3).flatten()
        tensor([4., 0., 5.])
    """
    if backends.active is not None and backends.active.serves(values):
        flat = values.reshape(1, len(values), math.prod(values.shape[1:]))
        return backends.active.sums(flat, places, num_places).reshape(num_places, *values.shape[1:])
    wide = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    return torch.index_add(wide.new_zeros((num_places, *values.shape[1:])), 0, places, wide).to(values.dtype)


def segment_softmax(values: Tensor, labels: Tensor, num_segments: int) -> Tensor:
    """Softmax within each segment, O(E); low precision is computed in float32 and given back in its own dtype.

    Shapes:
        values: (E,)    labels: (E,) int64 in 0..num_segments-1    returns: (E,)

    Example:
        >>> segment_softmax(torch.zeros(3), torch.tensor([0, 0, 1]), 2)
        tensor([0.5000, 0.5000, 1.0000])
    """
    wide = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    floor = wide.new_full((num_segments,), -torch.inf)
    largest = torch.scatter_reduce(floor, 0, labels, wide.detach(), "amax")
    grown = (wide - largest.index_select(0, labels)).exp()
    sums = torch.index_add(wide.new_zeros(num_segments), 0, labels, grown)
    return (grown / sums.index_select(0, labels)).to(values.dtype)


def cluster_mean(x: Tensor, labels: Tensor, num_clusters: int) -> Tensor:
    """Average the nodes of each cluster.

    Shapes:
        x: (*, N, C)    labels: (N,) int64 in 0..k-1, none empty    returns: (*, k, C)

    Example:
        >>> cluster_mean(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1]), 2)
        tensor([[2.],
                [5.]])
    """
    sizes = torch.zeros(num_clusters, dtype=torch.long, device=labels.device).index_add(0, labels, torch.ones_like(labels))
    return cluster_sum(x, labels, num_clusters) / sizes.to(x.dtype)[:, None]
