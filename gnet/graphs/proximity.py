"""Graphs for signals that come without edges: nearest neighbours, distances, correlations; what ``coarsen`` then cuts up."""

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor
from torch_geometric.data import Data

from gnet.errors import DataError, GraphError, ShapeError

LEAST = 3
"""Samples that two nodes must have in common: any two points lie on a line."""
ROUNDING = 1e-12
"""A sum of squares about the mean, relative to that about another value, below which a signal counts as constant."""


def symmetric_graph(edge_index: Tensor, edge_weight: Tensor | None, num_nodes: int, pos: Tensor | None = None) -> Data:
    """The graph with every edge in both directions, once; of two weights the larger one counts.

    Example:
        >>> symmetric_graph(torch.tensor([[0, 1, 1], [1, 0, 2]]), None, 3).edge_index
        tensor([[0, 1, 1, 2],
                [1, 0, 2, 1]])
    """
    both = torch.cat([edge_index, edge_index.flip(0)], dim=1)
    weight = None if edge_weight is None else torch.cat([edge_weight, edge_weight])
    return directed_graph(both, weight, num_nodes, pos)


def directed_graph(edge_index: Tensor, edge_weight: Tensor | None, num_nodes: int, pos: Tensor | None = None) -> Data:
    """The graph with the edges as they are, sorted, each once; of two weights the larger one counts.

    Example:
        >>> directed_graph(torch.tensor([[1, 0, 1], [2, 1, 2]]), torch.tensor([1.0, 2.0, 3.0]), 3).edge_weight
        tensor([2., 3.])
    """
    key, place = torch.unique(edge_index[0] * num_nodes + edge_index[1], return_inverse=True)
    edges = torch.stack([key // num_nodes, key % num_nodes])
    given = {} if pos is None else {"pos": pos}
    if edge_weight is not None:
        given["edge_weight"] = edge_weight.new_zeros(len(key)).scatter_reduce(0, place, edge_weight, "amax", include_self=False)
    return Data(edge_index=edges, num_nodes=num_nodes, **given)


def knn_graph(pos: Tensor, k: int = 6) -> Data:
    """Each node joined to its k nearest ones, in both directions (so a node may have more than k neighbours).

    Shapes:
        pos: (N, D)

    Raises:
        GraphError: k < 1 or k >= N.
        ShapeError: ``pos`` is no tensor, of another shape, or not finite.

    Example:
        >>> knn_graph(torch.tensor([[0.0], [1.0], [3.0]]), k=1).edge_index
        tensor([[0, 1, 1, 2],
                [1, 0, 2, 1]])
        >>> pos = torch.tensor([[0.0, 0.0], [9.0, 0.0], [1.0, 0.0], [8.0, 1.0], [0.0, 1.0]])
        >>> ClusterGroup(coarsen(knn_graph(pos, k=1), num_clusters=2))
        ClusterGroup(S3 x S2, order 6 * 2)
    """
    points = _points(pos)
    if not 1 <= k < len(points):
        raise GraphError(f"expected 1 <= k < {len(points)} neighbours for {len(points)} nodes, got k={k}")
    _, found = KDTree(points).query(points, k=k + 1)
    # A node is not always its own first neighbour (equal positions), so it is looked for and left out by name.
    edges = [(node, int(other)) for node, row in enumerate(found) for other in [each for each in row if each != node][:k]]
    return symmetric_graph(torch.tensor(edges).T, None, len(points), pos)


def distance_graph(pos: Tensor, radius: float | None = None, sigma: float | None = None) -> Data:
    """Nodes within ``radius`` joined, with weights exp(-(distance / sigma)^2).

    Without ``radius`` edges of weight below 0.1 are left out, as is usual for road networks; without ``sigma`` all weights
    are 1.

    Shapes:
        pos: (N, D)

    Raises:
        GraphError: neither radius nor sigma, one that is not positive, or no edge at all.
        ShapeError: ``pos`` is no tensor, of another shape, or not finite.

    References:
        Li, Yu, Shahabi and Liu (2018), arXiv:1707.01926: the thresholded Gaussian kernel.

    Example:
        >>> distance_graph(torch.tensor([[0.0], [1.0], [3.0]]), radius=1.5).edge_index
        tensor([[0, 1],
                [1, 0]])
        >>> distance_graph(torch.tensor([[0.0], [1.0], [3.0]]), sigma=1.0).edge_weight
        tensor([0.3679, 0.3679])
        >>> coarsen(distance_graph(torch.tensor([[0.0], [5.0], [1.0], [6.0]]), sigma=1.0), num_clusters=2).labels
        tensor([0, 1, 0, 1])
    """
    given = [value for value in (radius, sigma) if value is not None]
    if not given or min(given) <= 0:
        raise GraphError(f"expected a positive radius or sigma, got radius={radius}, sigma={sigma}")
    points = _points(pos)
    reach = radius if radius is not None else float(np.sqrt(np.log(10))) * (sigma or 0.0)
    pairs = KDTree(points).query_pairs(reach, output_type="ndarray")
    if len(pairs) == 0:
        nearest = float(np.median(KDTree(points).query(points, k=2)[0][:, 1])) if len(points) > 1 else 0.0
        raise GraphError(f"no two nodes are within {reach:g}; the median distance to a node's nearest one is {nearest:g}")
    distance = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    weight = None if sigma is None else torch.as_tensor(np.exp(-((distance / sigma) ** 2)), dtype=torch.float32)
    return symmetric_graph(torch.as_tensor(pairs.T.copy(), dtype=torch.long), weight, len(points), pos)


def correlation_graph(x: Tensor, threshold: float = 0.5, pos: Tensor | None = None) -> Data:
    """Nodes joined whose signals have |correlation| >= ``threshold``, which is the weight; O(C N^2) memory.

    Pass training samples only. Where entries are missing (NaN), a pair of nodes is compared on the samples that both have, three
    at least. Of several channels |correlation| is averaged: nodes that go together in one and against each other in another are
    as closely related as those that go together in both.

    Shapes:
        x: (T, N, C)

    Raises:
        DataError: an infinite entry.
        GraphError: a threshold outside (0, 1], or no edge at all.
        ShapeError: ``x`` is no tensor, or of another shape.

    Example:
        >>> x = torch.tensor([[0.0, 0.0, 1.0], [1.0, 2.0, 0.0], [2.0, 4.0, 1.0]]).unsqueeze(2)
        >>> correlation_graph(x, 0.9).edge_index
        tensor([[0, 1],
                [1, 0]])
        >>> coarsen(correlation_graph(x, 0.9), num_clusters=2).labels
        tensor([0, 0, 1])
    """
    _check_tensor("x", x)
    if x.ndim != 3:
        hint = "; add an axis of one channel: x[:, :, None]" if x.ndim == 2 else ""
        raise ShapeError(f"expected x of shape (T, N, C), got {tuple(x.shape)}{hint}")
    if not 0 < threshold <= 1:
        raise GraphError(f"expected a threshold in (0, 1], got {threshold}")
    if x.isinf().any():
        sample, node, channel = x.isinf().nonzero()[0].tolist()
        raise DataError(
            f"expected finite signals, NaN where missing, got an infinite one: node {node}, channel {channel}, sample {sample}"
        )
    correlation = _sizes_of_correlations(x.double()).triu(1)
    edges = (correlation >= threshold).nonzero().T
    if edges.shape[1] == 0:
        raise GraphError(f"no two nodes have a correlation of {threshold} or more; the largest is {float(correlation.max()):.3f}")
    weight = correlation[edges[0], edges[1]].float().clamp(max=1.0)
    return symmetric_graph(edges, weight, x.shape[1], pos)


def _sizes_of_correlations(x: Tensor) -> Tensor:
    """|Correlation| of each pair of nodes over the samples both have, averaged over the channels that have one; 0 without any.

    Shapes:
        x: (T, N, C)    returns: (N, N)
    """
    known = (~x.isnan()).to(x).permute(2, 0, 1)  # (C, T, N)
    # Centred by each node's own mean first, so that the differences of sums below lose no digits.
    values = (x - x.nanmean(0)).nan_to_num(nan=0.0).permute(2, 0, 1)
    counts = known.mT @ known  # of the samples that i and j have in common, (C, N, N)
    sums, squares = values.mT @ known, values.square().mT @ known  # of node i over those
    variances = squares - sums.square() / counts.clamp_min(1)
    products = values.mT @ values - sums * sums.mT / counts.clamp_min(1)
    varies = (counts >= LEAST) & (variances > ROUNDING * squares)
    is_defined = varies & varies.mT
    sizes = products.abs() / (variances * variances.mT).sqrt()
    sizes = torch.where(is_defined, sizes, 0.0).clamp(max=1.0)
    return sizes.sum(0) / is_defined.sum(0).clamp_min(1)


def _check_tensor(name: str, values: object) -> None:
    if not isinstance(values, Tensor):
        fix = f"give data.{name}" if isinstance(values, Data) else f"torch.as_tensor({name}) makes one"
        raise ShapeError(f"expected {name} to be a tensor, got a {type(values).__name__}; {fix}")


def _points(pos: Tensor) -> np.ndarray:
    _check_tensor("pos", pos)
    if pos.ndim != 2 or not pos.isfinite().all():
        raise ShapeError(f"expected finite positions of shape (N, D), got {tuple(pos.shape)}")
    return pos.detach().cpu().double().numpy()
