"""Connected clusters: how a clustering is repaired, a count is shared out, and a graph with too many components is bridged.

Every function takes a symmetric non-negative sparse matrix (``edges.similarity``) and is deterministic: ties go to the
smaller node.
"""

import heapq
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from gnet.graphs.edges import subgraph


def components(graph: csr_array) -> list[np.ndarray]:
    """The nodes of each connected component, components by their first node."""
    return groups(connected_components(graph, directed=False)[1])


def groups(labels: np.ndarray) -> list[np.ndarray]:
    """The nodes of each label, groups by their first node."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    split = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
    return [split[label] for label in np.argsort(first)]


def pieces(graph: csr_array, labels: np.ndarray) -> np.ndarray:
    """Labels of the connected components of the clusters: as ``labels``, with every cluster cut where it is not connected."""
    edges = coo_array(graph)
    inside = labels[edges.row] == labels[edges.col]
    kept = csr_array((edges.data[inside], (edges.row[inside], edges.col[inside])), shape=graph.shape)
    return connected_components(kept, directed=False)[1]


def apportion(sizes: list[int], total: int) -> list[int]:
    """Share ``total`` clusters among groups of these sizes: at least one each, at most one per node.

    The next cluster goes where clusters are largest on average. The shares of total + 1 are those of total plus one
    (no share ever falls), which is what makes nested chains nest.

    Example:
        >>> apportion([10, 1, 5], 6)
        [3, 1, 2]
    """
    shares = [1] * len(sizes)
    heap = [(-float(size), i) for i, size in enumerate(sizes) if size > 1]
    heapq.heapify(heap)
    for _ in range(total - len(sizes)):
        _, i = heapq.heappop(heap)
        shares[i] += 1
        if shares[i] < sizes[i]:
            heapq.heappush(heap, (-sizes[i] / shares[i], i))
    return shares


def bridge(graph: csr_array, num_clusters: int) -> csr_array:
    """A graph of at most ``num_clusters`` components: unchanged if it has no more, else small components are joined.

    Components with fewer than N/k nodes are filled into bins of about N/k nodes, each joined by light edges, so that the large
    components are still divided; joining the smallest components only would leave one giant cluster beside single nodes.
    """
    parts = components(graph)
    if len(parts) <= num_clusters:
        return graph
    share = graph.shape[0] / num_clusters
    small = sorted((part for part in parts if len(part) < share), key=len)
    links: list[tuple[int, int]] = []
    filled = len(small[0])
    for before, part in pairwise(small):
        if filled < share:
            links.append((int(before[0]), int(part[0])))
            filled += len(part)
        else:
            filled = len(part)
    light = float(graph.data.min()) * 1e-3 if graph.nnz else 1.0
    rows, cols = np.array(links, dtype=np.int64).T
    one_way = csr_array((np.full(len(links), light), (rows, cols)), shape=graph.shape)
    return csr_array(graph + one_way + one_way.T)


def repair(graph: csr_array, labels: np.ndarray, num_clusters: int) -> np.ndarray:
    """Exactly ``num_clusters`` connected clusters, near the given ones; ``graph`` is connected and has that many nodes.

    The largest connected piece of a cluster stays, its other pieces join the neighbouring cluster they share most weight
    with; so do the smallest clusters while there are too many; the largest are split while there are too few.
    """
    cut = pieces(graph, labels)
    sizes = np.bincount(cut)
    largest: dict[int, int] = {}
    for piece, node in zip(*np.unique(cut, return_index=True), strict=True):
        owner = int(labels[node])
        if owner not in largest or sizes[piece] > sizes[largest[owner]]:
            largest[owner] = int(piece)
    kept = set(largest.values())
    orphans = [piece for piece in range(len(sizes)) if piece not in kept]
    merging = _Merging(graph, cut)
    merging.absorb(orphans, down_to=max(len(kept), 1))
    merging.absorb(merging.alive(), down_to=num_clusters)
    return _split_largest(graph, merging.labels(), num_clusters)


class _Merging:
    """Clusters that join neighbours, smallest first; ``links[a][b]`` is the weight between clusters a and b."""

    def __init__(self, graph: csr_array, labels: np.ndarray) -> None:
        self._node_labels = labels
        self._sizes = dict(enumerate(np.bincount(labels).tolist()))
        self._parent = list(range(len(self._sizes)))
        self._links: dict[int, dict[int, float]] = {label: {} for label in self._sizes}
        edges = coo_array(graph)
        k = len(self._sizes)
        total = coo_array(csr_array((edges.data, (labels[edges.row], labels[edges.col])), shape=(k, k)))
        for a, b, weight in zip(total.row.tolist(), total.col.tolist(), total.data.tolist(), strict=True):
            if a != b:
                self._links[a][b] = weight

    def alive(self) -> list[int]:
        return list(self._sizes)

    def labels(self) -> np.ndarray:
        return np.array([self._root(label) for label in range(len(self._parent))])[self._node_labels]

    def absorb(self, candidates: list[int], down_to: int) -> None:
        """Merge the smallest candidate into its strongest neighbour until ``down_to`` clusters are left or no candidate is."""
        pool = set(candidates)
        heap = [(self._sizes[label], label) for label in candidates]
        heapq.heapify(heap)
        while heap and len(self._sizes) > down_to:
            size, label = heapq.heappop(heap)
            if self._sizes.get(label) != size or not self._links[label]:
                continue  # merged or grown since it was queued
            strongest = min(self._links[label], key=lambda other: (-self._links[label][other], other))
            self._merge(label, into=strongest)
            if strongest in pool:
                heapq.heappush(heap, (self._sizes[strongest], strongest))

    def _merge(self, label: int, into: int) -> None:
        self._parent[label] = into
        self._sizes[into] += self._sizes.pop(label)
        for other, weight in self._links.pop(label).items():
            del self._links[other][label]
            if other != into:
                self._links[into][other] = self._links[into].get(other, 0.0) + weight
                self._links[other][into] = self._links[into][other]

    def _root(self, label: int) -> int:
        while self._parent[label] != label:
            label = self._parent[label]
        return label


def _split_largest(graph: csr_array, labels: np.ndarray, num_clusters: int) -> np.ndarray:
    members = groups(labels)
    heap = [(-len(nodes), int(nodes[0]), nodes) for nodes in members]
    heapq.heapify(heap)
    while len(heap) < num_clusters:
        nodes = heapq.heappop(heap)[2]
        side = bisect(subgraph(graph, nodes))
        for half in (nodes[side], nodes[~side]):
            heapq.heappush(heap, (-len(half), int(half[0]), half))
    result = np.empty(graph.shape[0], dtype=np.int64)
    for label, (_, _, nodes) in enumerate(heap):
        result[nodes] = label
    return result


def bisect(graph: csr_array) -> np.ndarray:
    """Cut a connected graph of at least two nodes into two connected sides as even as one tree edge allows; (N,) bool.

    The tree is a breadth-first tree from a node at the rim (the last one reached from node 0), so layers far apart separate.
    """
    n = graph.shape[0]
    rim = breadth_first_order(graph, 0, directed=False)[0][-1]
    order, parent = breadth_first_order(graph, rim, directed=False)
    weight = np.ones(n, dtype=np.int64)
    for node in order[:0:-1]:
        weight[parent[node]] += weight[node]
    top = min(order[1:].tolist(), key=lambda node: (abs(2 * weight[node] - n), node))
    side = np.zeros(n, dtype=bool)
    side[top] = True
    for node in order[1:]:
        side[node] |= side[parent[node]]
    return side
