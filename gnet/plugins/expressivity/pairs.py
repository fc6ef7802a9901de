"""Graphs that are hard to tell apart, and graphs whose colours and orbits are known."""

import itertools
from typing import TYPE_CHECKING

import networkx as nx
import torch

from gnet.counts import is_count
from gnet.errors import ConfigError

if TYPE_CHECKING:
    from torch_geometric.data import Data


def as_data(graph: nx.Graph) -> "Data":
    """The graph with nodes numbered in the order of networkx, and every edge both ways.

    Example:
        >>> as_data(nx.path_graph(3)).edge_index
        tensor([[0, 1, 1, 2],
                [1, 2, 0, 1]])
    """
    from torch_geometric.data import Data

    place = {node: i for i, node in enumerate(graph.nodes)}
    one_way = torch.tensor([(place[a], place[b]) for a, b in graph.edges], dtype=torch.long).reshape(-1, 2).t()
    return Data(edge_index=torch.cat([one_way, one_way.flip(0)], 1), num_nodes=len(place))


def csl(num_nodes: int, skip: int) -> "Data":
    """A circle with skip links: node i is joined with i + 1 and i + skip, all modulo N.

    Raises:
        ConfigError: no whole numbers, or a skip outside 2..N - 2.

    References:
        Murphy et al. (2019), arXiv:1903.02541.

    Example:
        >>> csl(11, 3).num_edges
        44
    """
    if not is_count(num_nodes) or not is_count(skip, 2) or skip > num_nodes - 2:
        raise ConfigError(f"expected whole numbers, 2 <= skip <= num_nodes - 2, got skip={skip!r} of num_nodes={num_nodes!r}")
    return as_data(nx.circulant_graph(int(num_nodes), [1, int(skip)]))


def pairs() -> "dict[str, tuple[Data, Data]]":
    """Pairs of graphs that are not isomorphic: all but the last look alike to message passing, the last but one to pairs as well.

    Example:
        >>> list(pairs())[:2], len(pairs())
        (['C6 and two C3', 'decalin and bicyclopentyl'], 6)
    """
    return {
        "C6 and two C3": (as_data(nx.cycle_graph(6)), as_data(nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3)))),
        "decalin and bicyclopentyl": (as_data(_decalin()), as_data(_bicyclopentyl())),
        "CSL(11, 2) and CSL(11, 3)": (csl(11, 2), csl(11, 3)),
        "CSL(41, 2) and CSL(41, 3)": (csl(41, 2), csl(41, 3)),
        "rook 4 x 4 and Shrikhande": (as_data(nx.line_graph(nx.complete_bipartite_graph(4, 4))), as_data(_shrikhande())),
        "P4 and K1,3": (as_data(nx.path_graph(4)), as_data(nx.star_graph(3))),
    }


def named_graphs() -> "dict[str, Data]":
    """Graphs whose colours and orbits differ, or do not: paths and stars to the one cubic graph without any automorphism.

    Example:
        >>> named_graphs()["Frucht"].num_nodes
        12
    """
    made = {
        "P5": nx.path_graph(5),
        "K1,5": nx.star_graph(5),
        "grid 3 x 3": nx.grid_2d_graph(3, 3),
        "binary tree of height 3": nx.balanced_tree(2, 3),
        "Petersen": nx.petersen_graph(),
        "Frucht": nx.frucht_graph(),
        "karate club": nx.karate_club_graph(),
        "C6": nx.cycle_graph(6),
    }
    return {name: as_data(graph) for name, graph in made.items()}


def triangles(graph: "Data") -> int:
    """The number of triangles, edges taken both ways: what no message passing net can count.

    References:
        Chen, Chen, Villar and Bruna (2020), arXiv:2002.04025.

    Example:
        >>> triangles(csl(11, 2)), triangles(csl(11, 3))
        (11, 0)
    """
    found = nx.Graph(graph.edge_index.t().tolist())
    return sum(nx.triangles(found).values()) // 3


def _decalin() -> nx.Graph:
    """Two hexagons with an edge in common."""
    return nx.Graph([*nx.cycle_graph(10).edges, (0, 5)])


def _bicyclopentyl() -> nx.Graph:
    """Two pentagons with a bond between them."""
    graph = nx.disjoint_union(nx.cycle_graph(5), nx.cycle_graph(5))
    graph.add_edge(0, 5)
    return graph


def _shrikhande() -> nx.Graph:
    """The Cayley graph of Z4 x Z4 with steps +-(1, 0), +-(0, 1), +-(1, 1)."""
    steps = {(0, 1), (0, 3), (1, 0), (3, 0), (1, 1), (3, 3)}
    cells = list(itertools.product(range(4), range(4)))
    joined = [(a, b) for a, b in itertools.combinations(cells, 2) if ((a[0] - b[0]) % 4, (a[1] - b[1]) % 4) in steps]
    graph = nx.Graph()
    graph.add_nodes_from(cells)
    graph.add_edges_from(joined)
    return graph
