"""Named graphs with known automorphism groups, as PyTorch Geometric data."""

import itertools
import math

import networkx as nx
import torch
from torch_geometric.data import Data


def as_data(graph: nx.Graph, relabel: torch.Generator | None = None) -> Data:
    """The graph with nodes numbered in the order of networkx, or at random; undirected edges are listed both ways."""
    place = {node: i for i, node in enumerate(graph.nodes)}
    names = torch.arange(len(place)) if relabel is None else torch.randperm(len(place), generator=relabel)
    index = torch.tensor([(place[a], place[b]) for a, b in graph.edges], dtype=torch.long).reshape(-1, 2).t()
    index = names[index]
    both = index if graph.is_directed() else torch.cat([index, index.flip(0)], 1)
    return Data(edge_index=both, num_nodes=len(place))


def paley(q: int) -> nx.Graph:
    """The Paley graph of a prime q = 1 mod 4: differences that are squares."""
    squares = {x * x % q for x in range(1, q)}
    return nx.Graph((i, j) for i, j in itertools.combinations(range(q), 2) if (i - j) % q in squares)


def rook() -> nx.Graph:
    """4 x 4 rook's graph: strongly regular with the parameters of the Shrikhande graph."""
    return nx.line_graph(nx.complete_bipartite_graph(4, 4))


def shrikhande() -> nx.Graph:
    """The Shrikhande graph: Cayley graph of Z4 x Z4 with +-(1, 0), +-(0, 1), +-(1, 1)."""
    steps = {(0, 1), (0, 3), (1, 0), (3, 0), (1, 1), (3, 3)}
    cells = itertools.product(range(4), range(4))
    return nx.Graph((a, b) for a, b in itertools.combinations(cells, 2) if ((a[0] - b[0]) % 4, (a[1] - b[1]) % 4) in steps)


def skeleton() -> nx.Graph:
    """The 16 joints of theory A."""
    parents = [-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 8, 10, 11, 8, 13, 14]
    graph = nx.empty_graph(16)
    graph.add_edges_from((i, parent) for i, parent in enumerate(parents) if parent >= 0)
    return graph


KNOWN: dict[str, tuple[nx.Graph, int]] = {
    "Petersen": (nx.petersen_graph(), 120),
    "Paley 13": (paley(13), 78),
    "Frucht": (nx.frucht_graph(), 1),
    "rook 4 x 4": (rook(), 1152),
    "Shrikhande": (shrikhande(), 192),
    "rook and Shrikhande side by side": (nx.disjoint_union(rook(), shrikhande()), 1152 * 192),
    "two Shrikhande and a rook": (nx.disjoint_union_all([shrikhande(), rook(), shrikhande()]), 2 * 192**2 * 1152),
    "karate club": (nx.karate_club_graph(), 480),
    "skeleton": (skeleton(), 4),
    "28 x 28 grid": (nx.grid_2d_graph(28, 28), 8),
    "10 x 10 torus": (nx.grid_2d_graph(10, 10, periodic=True), 800),
    "cycle": (nx.cycle_graph(30), 60),
    "directed cycle": (nx.cycle_graph(30, create_using=nx.DiGraph), 30),
    "complete": (nx.complete_graph(25), math.factorial(25)),
    "no edges": (nx.empty_graph(25), math.factorial(25)),
    "one node": (nx.empty_graph(1), 1),
    "complete bipartite": (nx.complete_bipartite_graph(7, 7), 2 * math.factorial(7) ** 2),
    "cocktail party": (nx.complete_multipartite_graph(*[2] * 12), 2**12 * math.factorial(12)),
    "five triangles": (nx.disjoint_union_all([nx.complete_graph(3)] * 5), 6**5 * 120),
    "binary tree": (nx.balanced_tree(2, 5), 2**31),
    "dodecahedron": (nx.dodecahedral_graph(), 120),
    "Desargues": (nx.desargues_graph(), 240),
} | {f"hypercube {d}": (nx.hypercube_graph(d), 2**d * math.factorial(d)) for d in range(1, 8)}
