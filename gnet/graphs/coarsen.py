"""From a graph to partitions of its nodes: one clustering, patches of an image, or a nested chain."""

import difflib
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch

from gnet.counts import is_count, is_integer
from gnet.errors import ConfigError, GraphError, PartitionError
from gnet.graphs.clustering import METHODS, Piece, cut, dendrogram
from gnet.graphs.connected import apportion, bridge, components, groups, repair
from gnet.graphs.edges import checked_edges, checked_positions, similarity, subgraph
from gnet.graphs.partition import Partition

if TYPE_CHECKING:
    from torch_geometric.data import Data

ClusteringMethod: TypeAlias = Literal["spectral", "agglomerative", "louvain", "kmeans", "metis", "leiden"]


def coarsen(data: "Data", num_clusters: int, method: ClusteringMethod = "spectral", seed: int = 0) -> Partition:
    """Partition a graph into exactly ``num_clusters`` clusters: connected ones unless the graph has more components.

    Edge weights are similarities; direction is dropped, duplicate edges add up, self loops and edges of weight 0 do not
    count. Each component gets its share of the clusters by size and is clustered by itself; then clusters that are not
    connected are repaired. A graph with more components than clusters has its small components pooled into few clusters.
    Deterministic for a seed. Clusters are numbered by their first node.

    =================  ==================================================================================================
    "spectral"         balanced between few cut edges and even sizes: a good first choice (scikit-learn)
    "agglomerative"    Ward merges along edges, on diffusion coordinates: one dendrogram for all numbers (scikit-learn)
    "louvain"          modularity, merged or split to the number asked for (networkx)
    "kmeans"           compact regions of ``data.pos`` (scikit-learn)
    "metis"            nearly equal sizes (``pip install --editable '.[metis]'``)
    "leiden"           modularity (``pip install --editable '.[igraph]'``, GPL)
    =================  ==================================================================================================

    Raises:
        PartitionError: ``num_clusters`` is not in 1..N.
        GraphError: edges or weights that make no sense; no usable ``pos`` for "kmeans".
        ConfigError: unknown method, bad seed.
        MissingExtraError: the optional package of the method is not installed.

    Example:
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]), num_nodes=6)
        >>> coarsen(path, 2).labels
        tensor([0, 0, 0, 1, 1, 1])
    """
    _check_method(method)
    whole = _piece(data, method, seed)
    _check_count(num_clusters, whole.num_nodes)
    whole = _bridged(whole, num_clusters)
    return Partition(torch.from_numpy(_divide(whole, components(whole.graph), num_clusters, method)))


def chain(
    data: "Data", num_clusters: Sequence[int], method: ClusteringMethod = "agglomerative", seed: int = 0
) -> list[Partition]:
    """Nested partitions with these numbers of clusters, coarse to fine: each refines the one before.

    "agglomerative" cuts one dendrogram at every number; any other method divides the clusters of each level for the next.
    The map from the clusters of one level to those of the level before is ``fine.coarse_labels(coarse)``. Clusters are
    connected as in ``coarsen`` if the graph has no more components than the first number above 1; if it has more, nesting
    comes first.

    Raises:
        ConfigError: numbers that do not increase, unknown method, bad seed.
        PartitionError, GraphError, MissingExtraError: as ``coarsen``.

    Example:
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]), num_nodes=6)
        >>> coarse, fine = chain(path, num_clusters=[2, 4])
        >>> fine.refines(coarse), fine.coarse_labels(coarse)
        (True, tensor([0, 0, 1, 1]))
    """
    _check_method(method)
    whole = _piece(data, method, seed)
    if not isinstance(num_clusters, Sequence):
        raise ConfigError(f"expected several num_clusters, coarse to fine, got {num_clusters!r}; for one partition use coarsen")
    counts = list(num_clusters)
    for count in counts:
        _check_count(count, whole.num_nodes)
    if not counts or any(fine <= coarse for coarse, fine in pairwise(counts)):
        raise ConfigError(f"expected increasing num_clusters, coarse to fine, got {counts}; try {sorted(set(counts)) or [1, 4]}")
    whole = _bridged(whole, next((count for count in counts if count > 1), 1))
    levels = _cut_levels(whole, counts) if method == "agglomerative" else _divided_levels(whole, counts, method)
    return check_chain([Partition(torch.from_numpy(labels)) for labels in levels])


def check_chain(partitions: Sequence[Partition]) -> list[Partition]:
    """The partitions as a list if each refines the one before.

    Raises:
        PartitionError: a partition splits a cluster of the next one; the message names the first.

    Example:
        >>> check_chain([Partition([0, 0, 0, 1]), Partition([0, 1, 1, 2])])
        [Partition(4 nodes into 2 clusters of sizes [3, 1]), Partition(4 nodes into 3 clusters of sizes [1, 2, 1])]
    """
    for level, (coarse, fine) in enumerate(pairwise(partitions), start=1):
        if not fine.refines(coarse):
            across = (fine.coarse_labels(coarse)[fine.labels] != coarse.labels).nonzero()[0]
            cluster = int(fine.labels[across])
            raise PartitionError(
                f"expected partition {level} to refine partition {level - 1}; its cluster {cluster} = "
                f"{fine.members(cluster).tolist()[:8]} lies in several clusters there; make nested ones with chain(...)"
            )
    return list(partitions)


def grid_patches(grid_shape: tuple[int, int], patches: tuple[int, int]) -> Partition:
    """``rows x cols`` patches of an image of H x W pixels, both numbered row by row; sides as equal as possible.

    Raises:
        PartitionError: more patches than pixels along a side, or fewer than one.

    Example:
        >>> grid_patches((4, 6), (2, 3)).labels.view(4, 6)
        tensor([[0, 0, 1, 1, 2, 2],
                [0, 0, 1, 1, 2, 2],
                [3, 3, 4, 4, 5, 5],
                [3, 3, 4, 4, 5, 5]])
    """
    (height, width), (rows, cols) = _pair("grid_shape", grid_shape), _pair("patches", patches)
    for side, pixels, count in (("rows", height, rows), ("cols", width, cols)):
        if not 1 <= count <= pixels:
            raise PartitionError(
                f"expected 1..{pixels} {side} of patches for a grid of {height} x {width}, got {count}; "
                f"equal patches: {[d for d in range(1, pixels + 1) if pixels % d == 0]}"
            )
    row = torch.arange(height) * rows // height
    col = torch.arange(width) * cols // width
    return Partition((row[:, None] * cols + col).flatten(), rows * cols)


def _pair(name: str, value: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(value, Sequence) or len(value) != 2 or not all(is_count(side) for side in value):
        raise PartitionError(f"expected {name} as two positive integers, got {value!r}; for instance (28, 28)")
    return int(value[0]), int(value[1])


def _check_method(method: str) -> None:
    if method not in METHODS:
        near = difflib.get_close_matches(str(method), METHODS, n=1)
        hint = f"did you mean {near[0]!r}? Known" if near else "known"
        raise ConfigError(f"unknown method {method!r}; {hint}: {', '.join(METHODS)}")


def _check_count(num_clusters: int, num_nodes: int) -> None:
    if not is_integer(num_clusters):
        raise PartitionError(f"expected num_clusters as an integer, got {num_clusters!r}")
    if not 1 <= num_clusters <= num_nodes:
        nearest = "1 (all nodes alike)" if num_clusters < 1 else f"{num_nodes} (no symmetry)"
        raise PartitionError(
            f"expected num_clusters in 1..{num_nodes} (the number of nodes), got {num_clusters}; nearest: {nearest}"
        )


def _piece(data: "Data", method: str, seed: int) -> Piece:
    if not is_count(seed, 0):
        raise ConfigError(f"expected a seed that is an integer >= 0, got {seed!r}")
    graph = similarity(checked_edges(data))
    if graph.nnz:
        graph = graph / graph.data.max()  # the unit of the weights must not matter, solvers have absolute tolerances
    pos = _positions(data, graph.shape[0]) if method == "kmeans" else None
    return Piece(graph, pos, int(seed) % 2**32)


def _positions(data: "Data", num_nodes: int) -> np.ndarray:
    pos = checked_positions(data, num_nodes)
    if pos is None:
        raise GraphError(
            "method='kmeans' needs node positions, got a graph without; set data.pos (N, dim) or use method='spectral'"
        )
    values = pos.double().numpy()
    if not np.isfinite(values).all():
        rows = np.nonzero(~np.isfinite(values).all(axis=1))[0].tolist()
        raise GraphError(
            f"expected finite data.pos, got NaN or infinity at nodes {rows[:5]}; fill them in or use method='spectral'"
        )
    return values


def _bridged(whole: Piece, num_clusters: int) -> Piece:
    return Piece(bridge(whole.graph, num_clusters), whole.pos, whole.seed)


def _restrict(whole: Piece, nodes: np.ndarray) -> Piece:
    return Piece(subgraph(whole.graph, nodes), None if whole.pos is None else whole.pos[nodes], whole.seed)


def _divide(whole: Piece, parts: list[np.ndarray], num_clusters: int, method: str) -> np.ndarray:
    """Divide connected parts, each by itself, into ``num_clusters`` clusters together."""
    labels = np.empty(whole.num_nodes, dtype=np.int64)
    start = 0
    for nodes, share in zip(parts, apportion([len(part) for part in parts], num_clusters), strict=True):
        labels[nodes] = start + _cluster_connected(_restrict(whole, nodes), share, method)
        start += share
    return labels


def _cluster_connected(piece: Piece, num_clusters: int, method: str) -> np.ndarray:
    if num_clusters == 1:
        return np.zeros(piece.num_nodes, dtype=np.int64)
    if num_clusters == piece.num_nodes:
        return np.arange(piece.num_nodes)
    return repair(piece.graph, METHODS[method](piece, num_clusters), num_clusters)


def _divided_levels(whole: Piece, counts: list[int], method: str) -> list[np.ndarray]:
    levels: list[np.ndarray] = []
    parts = components(whole.graph)
    for count in counts:
        if count == 1:
            levels.append(np.zeros(whole.num_nodes, dtype=np.int64))
            continue
        levels.append(_divide(whole, parts, count, method))
        parts = groups(levels[-1])
    return levels


def _cut_levels(whole: Piece, counts: list[int]) -> list[np.ndarray]:
    parts = components(whole.graph)
    trees = [dendrogram(_restrict(whole, nodes)) for nodes in parts]
    levels: list[np.ndarray] = []
    for count in counts:
        labels = np.zeros(whole.num_nodes, dtype=np.int64)
        if count > 1:
            shares = apportion([len(part) for part in parts], count)
            for part, (nodes, tree, share) in enumerate(zip(parts, trees, shares, strict=True)):
                labels[nodes] = part * 2 * whole.num_nodes + cut(tree, len(nodes), share)
        levels.append(labels)
    return levels
