"""The automorphisms of a graph, exactly: those permutations of nodes that keep every edge, weight and label."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnet.errors import ConfigError, GraphError, MissingExtraError
from gnet.graphs.edges import checked_edges
from gnet.graphs.partition import Partition
from gnet.graphs.quotient import coarse_weights
from gnet.groups.base import check_permutation
from gnet.groups.permutation import Motion, PermutationGroup
from gnet.groups.pieces import Piece, mixed
from gnet.groups.search import Level, solve

if TYPE_CHECKING:
    from torch_geometric.data import Data

Backend = Literal["search", "igraph"]
SALTS = 4
"""How many families of hashes are tried before giving up; a second one is for two different colours with one hash."""


def automorphism_group(
    data: "Data", node_labels: Tensor | Sequence[int] | None = None, tol: float = 1e-6, *, backend: Backend = "search"
) -> "AutomorphismGroup":
    """Aut(G): generators and order of the permutations that keep edges, directions, weights, self-loops and labels.

    Duplicate edges add up; edges without weight count 1, and an edge of weight 0 is not the same as no edge. Weights are
    compared in sorted order: neighbours closer than ``tol`` are one colour.

    Args:
        node_labels: (N,) integers; a node is mapped to nodes of its own label only.
        backend: "search" is gnet's own; "igraph" (BLISS, GPL-2, an optional extra) checks it independently.

    Raises:
        GraphError: a graph whose edges are impossible, or labels for another number of nodes.
        ConfigError: a negative ``tol``, or an unknown backend.
        MissingExtraError: igraph is asked for and not installed.

    References:
        McKay and Piperno (2014), arXiv:1301.1493. Huang, Levie and Villar (2023), arXiv:2308.10436, on Aut(G) as the exact
        symmetry of signals on a fixed graph.

    Example:
        >>> from torch_geometric.data import Data
        >>> square = Data(edge_index=torch.tensor([[0, 1, 2, 3, 1, 2, 3, 0], [1, 2, 3, 0, 0, 1, 2, 3]]), num_nodes=4)
        >>> automorphism_group(square)
        AutomorphismGroup(Aut of 4 nodes, order 8)
        >>> automorphism_group(square, node_labels=[0, 0, 0, 1]).order()
        2
    """
    graph = _Coloured.of(data, node_labels, tol)
    if backend == "igraph":
        return AutomorphismGroup(graph, *_by_igraph(graph))
    if backend != "search":
        raise ConfigError(f"expected backend 'search' or 'igraph', got {backend!r}")
    for salt in range(SALTS):
        level = solve(graph.piece(salt))
        motions = [Motion(*map(torch.from_numpy, move)) for move in level.generators()]
        if all(graph.is_kept_by(motion) for motion in motions):
            return AutomorphismGroup(graph, motions, level.order, level)
    raise GraphError(
        f"the search found a map that is no automorphism with each of {SALTS} families of hashes: this is a defect of gnet; "
        "please report it"
    )


def coarse_automorphisms(data: "Data", partition: Partition, tol: float = 1e-6) -> "AutomorphismGroup":
    """The automorphisms of the coarsened graph that keep cluster sizes: what ``ClusterGroup(partition, swaps=...)`` takes.

    Two blocks of the coarsened graph are alike if their mean weights are, to ``tol``; O(E + k^2).

    Raises:
        PartitionError: a partition of another number of nodes.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436: A_G', lifted to the nodes.

    Example:
        >>> from torch_geometric.data import Data
        >>> from torch_geometric.utils import grid
        >>> lattice = Data(edge_index=grid(4, 4)[0], num_nodes=16)
        >>> coarse_automorphisms(lattice, grid_patches((4, 4), (2, 2))).order()
        8
    """
    from torch_geometric.data import Data

    weight = coarse_weights(data, partition)
    joined = torch.nonzero(weight.abs() > tol).t()  # no weight and a weight of 0 are the same for a mean over a block
    coarse = Data(edge_index=joined, edge_weight=weight[joined[0], joined[1]], num_nodes=partition.num_clusters)
    return automorphism_group(coarse, node_labels=partition.sizes, tol=tol)


class AutomorphismGroup(PermutationGroup):
    """The automorphisms of one graph. Order, membership and uniform samples are exact and cheap at any degree.

    Made by ``automorphism_group``; membership is asked of the graph, samples of the search.
    """

    def __init__(self, graph: "_Coloured", motions: Sequence[Motion], order: int, level: Level | None = None) -> None:
        super().__init__(motions, graph.num_nodes)
        self._graph, self._order, self._level = graph, order, level
        self.name = f"Aut of {graph.num_nodes} nodes"

    def order(self) -> int:
        """The number of automorphisms, exact."""
        return self._order

    def order_text(self) -> str:
        """In full while it is short, else factored: orders have thousands of digits soon."""
        if self._level is None or self._order < 10**15:
            return super().order_text()
        powers = self._level.factors().items()
        return " * ".join(f"{factor}^{power}" if power > 1 else factor for factor, power in powers)

    def contains(self, g: Tensor) -> bool:
        """Whether ``g`` keeps the graph, O(N + E)."""
        return self._graph.is_kept_by(Motion.of(check_permutation(g, self.degree, "element")))

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """``num`` uniform elements, (num, N)."""
        if self._level is None:
            return super().sample(num, generator)
        random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        result = np.tile(np.arange(self.degree), (num, 1))
        for image in result:
            self._level.draw(image, random)
        return torch.from_numpy(result)


@dataclass(frozen=True, eq=False)
class _Coloured:
    """A graph reduced to what automorphisms see: a colour for each node, and for each joined pair one from either end.

    Shapes:
        node_colours: (N,)    ends: (2, E) with ends[0] < ends[1]    views: (2, E)
    """

    num_nodes: int
    node_colours: NDArray[np.int64]
    ends: NDArray[np.int64]
    views: NDArray[np.int64]

    @classmethod
    def of(cls, data: "Data", node_labels: Tensor | Sequence[int] | None, tol: float) -> "_Coloured":
        if not tol >= 0:
            raise ConfigError(f"expected tol >= 0, got {tol}")
        edges = checked_edges(data, signed=True)
        n = edges.num_nodes
        codes, place = np.unique(edges.index[0].numpy() * n + edges.index[1].numpy(), return_inverse=True)
        colours = 1 + _grouped(np.bincount(place, edges.weight.numpy(), len(codes)), tol)  # 0: no edge
        source, target = np.divmod(codes, n)
        loops = source == target
        nodes = np.zeros(n, dtype=np.int64)
        nodes[source[loops]] = colours[loops]
        nodes = np.unique(np.stack([_labels(node_labels, n), nodes]), axis=1, return_inverse=True)[1].reshape(-1)
        source, target, colours = source[~loops], target[~loops], colours[~loops]
        one, other = np.minimum(source, target), np.maximum(source, target)
        pairs, place = np.unique(one * n + other, return_inverse=True)
        both = np.zeros((2, len(pairs)), dtype=np.int64)  # the colours of the edges one -> other and other -> one
        both[(source > target).astype(int), place] = colours
        width = int(both.max(initial=0)) + 1
        return cls(n, nodes, np.stack(np.divmod(pairs, n)), np.stack([both[0] * width + both[1], both[1] * width + both[0]]))

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """One sorted number for each joined pair, (E,)."""
        return self.ends[0] * self.num_nodes + self.ends[1]

    def piece(self, salt: int) -> Piece:
        """The graph as the search takes it."""
        shift = np.uint64(2 * salt)
        views = mixed(mixed(self.views.astype(np.uint64)) + shift)
        return Piece(np.arange(self.num_nodes), mixed(mixed(self.node_colours.astype(np.uint64)) + shift), self.ends, views)

    def is_kept_by(self, motion: Motion) -> bool:
        """Whether a permutation keeps all colours; looks at the pairs with a moved end alone."""
        sources, targets = motion.sources.numpy(), motion.targets.numpy()
        if not np.array_equal(self.node_colours[sources], self.node_colours[targets]):
            return False
        image = np.arange(self.num_nodes)
        image[sources] = targets
        touched = np.flatnonzero((image[self.ends] != self.ends).any(0))
        one, other = image[self.ends[:, touched]]
        view = np.where(one < other, self.views[0, touched], self.views[1, touched])
        codes = np.minimum(one, other) * self.num_nodes + np.maximum(one, other)
        spot = np.minimum(np.searchsorted(self.codes, codes), max(len(self.codes) - 1, 0))
        return bool(np.all(self.codes[spot] == codes) and np.all(self.views[0, spot] == view))


def _grouped(values: NDArray[Any], tol: float) -> NDArray[np.int64]:
    """Numbers of values from the smallest up; sorted neighbours that differ by at most ``tol`` share one."""
    order = np.argsort(values, kind="stable")
    ranks = np.cumsum(np.diff(values[order], prepend=values[order][:1]) > tol)
    result = np.empty(len(values), dtype=np.int64)
    result[order] = ranks
    return result


def _labels(given: Tensor | Sequence[int] | None, num_nodes: int) -> NDArray[np.int64]:
    if given is None:
        return np.zeros(num_nodes, dtype=np.int64)
    try:
        labels = torch.as_tensor(given).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise GraphError(f"expected node_labels of integers, got {given!r:.60}; number the labels") from error
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise GraphError(f"expected node_labels of integers, got {labels.dtype}; number the labels")
    if labels.shape != (num_nodes,):
        raise GraphError(f"expected node_labels of shape ({num_nodes},), one per node, got {tuple(labels.shape)}")
    return labels.long().numpy()


def _by_igraph(graph: _Coloured) -> tuple[list[Motion], int]:
    """Generators and order by BLISS; each joined pair becomes nodes of its own, so that colours of pairs are colours of nodes."""
    try:
        import igraph
    except ImportError as error:
        raise MissingExtraError("backend='igraph' needs igraph (GPL-2.0 or later): pip install --editable '.[igraph]'") from error
    n, count = graph.num_nodes, graph.ends.shape[1]
    near, far = n + np.arange(count), n + count + np.arange(count)
    edges = np.concatenate([[graph.ends[0], near], [near, far], [far, graph.ends[1]]], axis=1)
    colours = np.concatenate([graph.node_colours, graph.node_colours.max() + 1 + graph.views.ravel()])
    net = igraph.Graph(n=n + 2 * count, edges=edges.T.tolist())
    colour = np.unique(colours, return_inverse=True)[1].tolist()
    motions = [Motion.of(torch.tensor(g[:n])) for g in net.automorphism_group(color=colour)]
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)  # igraph hands the order over as text, and it may have thousands of digits
    try:
        return motions, int(net.count_automorphisms(color=colour))
    finally:
        sys.set_int_max_str_digits(limit)
