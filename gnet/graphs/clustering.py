"""The clustering methods: each takes a connected graph and gives about k clusters, which ``connected.repair`` then makes exact.

scikit-learn, networkx, pymetis and igraph are imported by the method that needs them, when it runs.
"""

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.sparse import csr_array, triu

from gnet.errors import MissingExtraError

# Beyond this many eigenvectors the features of the dendrogram add detail that single clusters cannot show.
_NUM_FEATURES = 64
_LARGEST_RESOLUTION = 2.0**20


@dataclass(frozen=True)
class Piece:
    """A connected graph to cluster: similarity (n, n), and the positions (n, dim) of its nodes where they are known."""

    graph: csr_array
    pos: np.ndarray | None
    seed: int  # 0..2^32 - 1

    @property
    def num_nodes(self) -> int:
        """n."""
        return int(self.graph.shape[0])


Method: TypeAlias = Callable[[Piece, int], np.ndarray]


def spectral(piece: Piece, num_clusters: int) -> np.ndarray:
    """k-means on the first k eigenvectors of the normalised Laplacian (scikit-learn)."""
    from sklearn.cluster import SpectralClustering

    model = SpectralClustering(num_clusters, affinity="precomputed", eigen_solver="arpack", random_state=piece.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # eigenvectors and k-means may warn on tiny graphs; the result is repaired
        return np.asarray(model.fit_predict(_int32_indices(piece.graph)))


def kmeans(piece: Piece, num_clusters: int) -> np.ndarray:
    """k-means on the positions (scikit-learn); several nodes at one place may leave fewer clusters, repaired later."""
    from sklearn.cluster import KMeans

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(KMeans(num_clusters, n_init=10, random_state=piece.seed).fit_predict(piece.pos))


def agglomerative(piece: Piece, num_clusters: int) -> np.ndarray:
    """The cut of the dendrogram at ``num_clusters``."""
    return cut(dendrogram(piece), piece.num_nodes, num_clusters)


def dendrogram(piece: Piece) -> np.ndarray:
    """Ward's merges along edges only, first to last, (n - 1, 2); merge t makes cluster n + t (scikit-learn).

    Features are diffusion coordinates: eigenvectors of the random walk over the roots of their eigenvalues, so that squared
    distances are commute times. Nodes that the edge weights tie closely merge first.
    """
    from sklearn.cluster import ward_tree
    from sklearn.manifold import spectral_embedding

    if piece.num_nodes < 3:
        return np.array([[0, 1]])[: piece.num_nodes - 1]
    graph = _int32_indices(piece.graph)
    dims = min(piece.num_nodes - 2, _NUM_FEATURES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vectors = spectral_embedding(
            graph, n_components=dims, eigen_solver="arpack", random_state=piece.seed, drop_first=True
        )  # (n, dims)
        degree = np.asarray(graph.sum(axis=1)).ravel()
        mass = np.einsum("n,nd,nd->d", degree, vectors, vectors)
        energy = mass - np.einsum("nd,nd->d", vectors, graph @ vectors)
        scale = np.maximum(energy, 1e-12 * mass)  # a rounded eigenvalue must not fall to zero
        return np.asarray(ward_tree(vectors / np.sqrt(scale), connectivity=graph)[0])


def cut(merges: np.ndarray, num_nodes: int, num_clusters: int) -> np.ndarray:
    """Labels after the first n - k merges; cuts of one dendrogram are nested."""
    parent = np.arange(num_nodes + len(merges))
    for step, (left, right) in enumerate(merges[: num_nodes - num_clusters]):
        parent[left] = parent[right] = num_nodes + step
    for node in range(len(parent) - 1, -1, -1):  # parents come later than their children
        parent[node] = parent[parent[node]]
    return parent[:num_nodes]


def louvain(piece: Piece, num_clusters: int) -> np.ndarray:
    """Louvain communities (networkx) at the first resolution 1, 2, 4, ... that gives at least k; the repair merges them to k."""
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(piece.num_nodes))
    graph.add_weighted_edges_from(zip(*_edge_lists(piece.graph), strict=True))

    def at(resolution: float) -> np.ndarray:
        found = networkx.community.louvain_communities(graph, resolution=resolution, seed=piece.seed)
        labels = np.empty(piece.num_nodes, dtype=np.int64)
        for label, nodes in enumerate(found):
            labels[list(nodes)] = label
        return labels

    return _enough(at, num_clusters)


def leiden(piece: Piece, num_clusters: int) -> np.ndarray:
    """Leiden communities (igraph) at the first resolution 1, 2, 4, ... that gives at least k; the repair merges them to k."""
    try:
        import igraph
    except ImportError as error:
        raise MissingExtraError(
            "method='leiden' needs igraph, which is licensed under the GPL and therefore optional: "
            "pip install --editable '.[igraph]'; "
            "method='louvain' is close to it and needs nothing more"
        ) from error
    sources, targets, weights = _edge_lists(piece.graph)
    graph = igraph.Graph(n=piece.num_nodes, edges=list(zip(sources, targets, strict=True)))

    def at(resolution: float) -> np.ndarray:
        igraph.set_random_number_generator(random.Random(piece.seed))
        try:
            # Ten rounds and not "until stable" (-1): rounding can flip ties for ever, as on a path of five weights 2.0525e-4.
            found = graph.community_leiden("modularity", weights=weights, resolution=resolution, n_iterations=10)
        finally:
            igraph.set_random_number_generator(random)
        return np.asarray(found.membership)

    return _enough(at, num_clusters)


def metis(piece: Piece, num_clusters: int) -> np.ndarray:
    """Clusters of nearly equal size with few edges between them (pymetis); weights are rounded to 1..1000."""
    try:
        import pymetis
    except ImportError as error:
        raise MissingExtraError(
            "method='metis' needs pymetis: pip install --editable '.[metis]'; method='spectral' needs nothing more"
        ) from error
    graph = piece.graph
    weights = np.maximum(np.rint(graph.data * (1000 / graph.data.max())), 1).astype(int)
    found = pymetis.part_graph(
        num_clusters,
        adjacency=[row.tolist() for row in np.split(graph.indices, graph.indptr[1:-1])],
        eweights=weights.tolist(),
        recursive=True,  # direct k-way leaves clusters in pieces on a 28 x 28 grid, and cuts 30 % more edges at k = 49
        options=pymetis.Options(seed=piece.seed % 2**31),
    )
    return np.asarray(found[1])


METHODS: dict[str, Method] = {
    "spectral": spectral,
    "agglomerative": agglomerative,
    "louvain": louvain,
    "kmeans": kmeans,
    "metis": metis,
    "leiden": leiden,
}


def _enough(at: Callable[[float], np.ndarray], num_clusters: int) -> np.ndarray:
    resolution = 1.0
    labels = at(resolution)
    while labels.max() + 1 < num_clusters and resolution < _LARGEST_RESOLUTION:
        resolution *= 2
        labels = at(resolution)
    return labels


def _edge_lists(graph: csr_array) -> tuple[list[int], list[int], list[float]]:
    once = triu(graph, k=1).tocoo()
    return once.row.tolist(), once.col.tolist(), once.data.tolist()


def _int32_indices(graph: csr_array) -> csr_array:
    """The same matrix with the 32-bit indices that scikit-learn's solvers ask for."""
    return csr_array((graph.data, graph.indices.astype(np.int32), graph.indptr.astype(np.int32)), shape=graph.shape)
