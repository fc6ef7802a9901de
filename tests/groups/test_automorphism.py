"""Automorphisms: known orders, brute force on small graphs, large graphs, and what a bad input gets."""

import copy
import itertools
import math
import pickle
import sys

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from gnet.errors import ConfigError, GraphError, MissingExtraError
from gnet.graphs import Partition, grid_patches
from gnet.groups import ClusterGroup, PermutationGroup, automorphism_group, coarse_automorphisms
from gnet.training.checkpoint import group_from_record, group_record
from tests.groups.graphs import KNOWN, as_data, paley, rook, shrikhande


@pytest.fixture(autouse=True)
def _without_igraph(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The search must do without igraph, which is hidden unless the test is marked to compare with it."""
    if request.node.get_closest_marker("igraph") is None:
        monkeypatch.setitem(sys.modules, "igraph", None)


def dense(data: Data) -> np.ndarray:
    """Summed weights, with NaN where there is no edge."""
    n = data.num_nodes
    weight = np.ones(data.edge_index.shape[1]) if data.edge_weight is None else data.edge_weight.double().numpy()
    matrix, count = np.zeros((n, n)), np.zeros((n, n))
    np.add.at(matrix, tuple(data.edge_index.numpy()), weight)
    np.add.at(count, tuple(data.edge_index.numpy()), 1)
    return np.where(count > 0, matrix, np.nan)


def keeps(data: Data, perm: torch.Tensor) -> bool:
    """Whether P A P^T = A, on the dense matrix."""
    matrix = dense(data)
    return np.array_equal(matrix[np.ix_(perm, perm)], matrix, equal_nan=True)


def keeps_edges(data: Data, perm: torch.Tensor) -> bool:
    """Whether a permutation maps the set of (unweighted) edges onto itself."""
    n = data.num_nodes
    codes = torch.unique(data.edge_index[0] * n + data.edge_index[1])
    return torch.equal(codes, torch.unique(perm[data.edge_index[0]] * n + perm[data.edge_index[1]]))


def random_graph(seed: int, num_nodes: int) -> tuple[Data, np.ndarray]:
    """A graph, often symmetric, with loops, duplicates, two weights and two labels; directed or not."""
    random = np.random.default_rng(seed)
    edges = random.integers(0, num_nodes, (2, random.integers(0, num_nodes**2 + 1)))
    if seed % 3 == 0:
        edges = np.concatenate([edges, edges[::-1]], 1)
    weight = random.integers(1, 3, edges.shape[1]).astype(float) if seed % 2 else np.ones(edges.shape[1])
    data = Data(edge_index=torch.tensor(edges), edge_weight=torch.tensor(weight), num_nodes=num_nodes)
    return data, random.integers(0, 1 + seed % 2, num_nodes)


@pytest.mark.parametrize("name", KNOWN)
def test_known_orders(name):
    graph, order = KNOWN[name]
    data = as_data(graph)
    group = automorphism_group(data)
    assert group.order() == order
    assert all(keeps_edges(data, g) for g in group.generators)


@pytest.mark.parametrize(
    ("graph", "order"), [(paley(13), 78), (rook(), 1152), (shrikhande(), 192)], ids=["Paley 13", "rook", "Shrikhande"]
)
def test_names_of_nodes_do_not_matter(graph, order, rng):
    for _ in range(20):
        data = as_data(graph, rng)
        group = automorphism_group(data)
        assert group.order() == order
        assert all(keeps_edges(data, g) for g in group.generators)
        assert PermutationGroup(list(group.generators)).order() == order  # Schreier-Sims, which shares nothing with the search


@pytest.mark.parametrize(
    ("graph", "order"),
    [
        (nx.grid_2d_graph(100, 100), 8),
        (nx.star_graph(9999), math.factorial(9999)),
        (nx.random_labeled_tree(10_000, seed=1), None),
    ],
    ids=["100 x 100 grid", "K(1, 9999)", "random tree"],
)
def test_ten_thousand_nodes(graph, order, rng):
    data = as_data(graph, rng)
    group = automorphism_group(data)
    assert all(keeps_edges(data, g) for g in group.generators)
    assert group.order() == (tree_order(graph) if order is None else order)
    assert all(keeps_edges(data, g) for g in group.sample(3, rng))


def tree_order(tree: nx.Graph) -> int:
    """The number of automorphisms of a tree, from the multiplicities of equal branches below its centre."""
    centres = nx.center(tree)
    root = centres[0] if len(centres) == 1 else "middle"
    if len(centres) == 2:
        tree = tree.copy()
        tree.remove_edge(*centres)
        tree.add_edges_from((root, each) for each in centres)
    names: dict[tuple[int, ...], int] = {}
    name: dict[object, int] = {}
    order = 1
    parents = nx.predecessor(tree, root)
    for node in reversed(list(parents)):
        below = sorted(name[child] for child in tree[node] if child not in parents[node])
        order *= math.prod(math.factorial(len(list(same))) for _, same in itertools.groupby(below))
        name[node] = names.setdefault(tuple(below), len(names))
    return order


@pytest.mark.parametrize("seed", range(300))
def test_order_is_that_of_brute_force(seed):
    """Every permutation tried: directed, weighted, coloured graphs with loops and duplicate edges."""
    data, labels = random_graph(seed, 1 + seed % 6)
    perms = itertools.permutations(range(data.num_nodes))
    kept = sum(keeps(data, torch.tensor(p)) for p in perms if np.array_equal(labels[list(p)], labels))
    group = automorphism_group(data, node_labels=labels)
    assert group.order() == kept
    assert all(keeps(data, g) and np.array_equal(labels[g], labels) for g in group.generators)


def test_samples_are_uniform_elements(rng):
    """Chi-squared on the 72 automorphisms of K(3, 3), whose mean is 71 and standard deviation 12."""
    group = automorphism_group(as_data(nx.complete_bipartite_graph(3, 3)))
    drawn, counts = torch.unique(group.sample(7200, rng), dim=0, return_counts=True)
    assert len(drawn) == group.order() == 72
    assert float(((counts - 100.0) ** 2 / 100).sum()) < 71 + 6 * 12


@pytest.mark.parametrize("name", ["Petersen", "two Shrikhande and a rook", "10 x 10 torus", "five triangles", "hypercube 4"])
def test_samples_reach_every_node_of_an_orbit(name, rng):
    data = as_data(KNOWN[name][0])
    group = automorphism_group(data)
    drawn = group.sample(2000, rng)
    assert all(keeps_edges(data, g) for g in drawn[:20])
    for orbit in range(group.node_orbits().num_clusters):
        members = group.node_orbits().members(orbit)
        assert set(drawn[:, members[0]].tolist()) == set(members.tolist())


@pytest.mark.parametrize("name", ["Petersen", "five triangles", "10 x 10 torus"])
def test_a_copy_is_the_same_group(name, rng):
    group = automorphism_group(as_data(KNOWN[name][0]))
    group.sample(2, rng)  # fills what is made when needed
    for copied in (copy.deepcopy(group), pickle.loads(pickle.dumps(group)), group_from_record(group_record(group))):
        assert copied == group
        assert repr(copied.node_orbits()) == repr(group.node_orbits())
        assert all(group.contains(g) for g in copied.sample(3, rng))


def test_orders_of_thousands_of_digits_are_printed_factored():
    star = automorphism_group(as_data(nx.star_graph(9999)))
    assert repr(star) == "AutomorphismGroup(Aut of 10000 nodes, order 9999!)"
    triangles = automorphism_group(as_data(nx.disjoint_union_all([nx.cycle_graph(3)] * 30)))
    assert repr(triangles) == "AutomorphismGroup(Aut of 90 nodes, order 3!^30 * 30!)"
    assert triangles.order() == 6**30 * math.factorial(30)


@pytest.mark.parametrize("name", ["Petersen", "dodecahedron", "five triangles", "rook 4 x 4"])
def test_the_printed_factors_multiply_to_the_order(name):
    group = automorphism_group(as_data(KNOWN[name][0]))
    factors = group._level.factors().items()
    values = [math.factorial(int(f[:-1])) if f.endswith("!") else int(f) for f, _ in factors]
    assert math.prod(v**power for v, (_, power) in zip(values, factors, strict=True)) == group.order()


def test_membership_is_asked_of_the_graph():
    group = automorphism_group(as_data(nx.cycle_graph(5)))
    assert group.contains(torch.tensor([1, 2, 3, 4, 0]))
    assert not group.contains(torch.tensor([1, 0, 2, 3, 4]))


def test_equality_is_that_of_sets():
    square = automorphism_group(as_data(nx.cycle_graph(4)))
    assert square == PermutationGroup([[1, 2, 3, 0], [0, 3, 2, 1]])
    assert square != PermutationGroup([[1, 2, 3, 0]])


def test_weights_within_the_tolerance_are_one_colour():
    data = as_data(nx.cycle_graph(4))
    data.edge_weight = 1 + 1e-7 * torch.arange(8, dtype=torch.float64)
    assert automorphism_group(data).order() == 8
    assert automorphism_group(data, tol=0.0).order() == 1
    data.edge_weight = torch.tensor([1.0, 2.0, 3.0, 4.0] * 2)
    assert automorphism_group(data).order() == 1


def test_an_edge_of_weight_zero_is_an_edge():
    data = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=torch.zeros(2), num_nodes=4)
    assert automorphism_group(data).order() == 4


def test_loops_and_directions_count():
    loop = Data(edge_index=torch.tensor([[0], [0]]), num_nodes=3)
    assert automorphism_group(loop).order() == 2
    tournament = Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 0]]), num_nodes=3)
    assert automorphism_group(tournament).order() == 3


def test_metr_la_has_sixteen_symmetries_and_one_with_weights(data_root):
    adjacency = torch.from_numpy(np.load(data_root / "metr-la" / "adj_mx.npz")["adj"])
    edges = torch.nonzero(adjacency).t()
    assert automorphism_group(Data(edge_index=edges, num_nodes=207)).order() == 16
    weights = adjacency[edges[0], edges[1]]
    assert automorphism_group(Data(edge_index=edges, edge_weight=weights, num_nodes=207)).order() == 1


@pytest.mark.igraph
@pytest.mark.parametrize("name", [name for name, (graph, _) in KNOWN.items() if len(graph) < 50])
def test_igraph_agrees(name):
    pytest.importorskip("igraph")
    data = as_data(KNOWN[name][0])
    assert automorphism_group(data, backend="igraph").order() == automorphism_group(data).order()


@pytest.mark.igraph
def test_igraph_counts_beyond_what_python_prints():
    pytest.importorskip("igraph")
    star = as_data(nx.star_graph(1599))
    assert automorphism_group(star, backend="igraph").order() == math.factorial(1599)


@pytest.mark.igraph
@pytest.mark.parametrize("seed", range(40))
def test_igraph_agrees_on_random_graphs(seed):
    pytest.importorskip("igraph")
    data, labels = random_graph(seed, 9)
    assert automorphism_group(data, labels, backend="igraph") == automorphism_group(data, labels)


def test_coarse_automorphisms_lift_to_the_group_of_the_blow_up():
    """Theory A, check A: a 4 x 4 grid with four patches, (4!)^4 * 8."""
    lattice = as_data(nx.grid_2d_graph(4, 4))
    patches = grid_patches((4, 4), (2, 2))
    swaps = coarse_automorphisms(lattice, patches)
    assert swaps.order() == 8
    assert ClusterGroup(patches, swaps=swaps).order() == 2_654_208


def test_clusters_of_different_size_are_not_swapped():
    path = as_data(nx.path_graph(6))
    assert coarse_automorphisms(path, Partition([0, 0, 0, 1, 1, 2])).order() == 1
    lonely = Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=5)
    assert coarse_automorphisms(lonely, Partition([0, 0, 1, 1, 2])).order() == 2


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"expected node_labels of shape \(4,\), one per node, got \(2,\)"),
        (["a", "b", "a", "b"], r"expected node_labels of integers, got \['a', 'b', 'a', 'b'\]; number the labels"),
        ([0.5, 0.5, 1.0, 1.0], r"expected node_labels of integers, got torch.float32; number the labels"),
        ([[0], [0], [1], [1]], r"expected node_labels of shape \(4,\), one per node, got \(4, 1\)"),
    ],
)
def test_labels_of_another_graph_are_refused(labels, message):
    with pytest.raises(GraphError, match=message):
        automorphism_group(as_data(nx.cycle_graph(4)), node_labels=labels)


def test_impossible_graphs_and_settings_are_refused(monkeypatch):
    square = as_data(nx.cycle_graph(4))
    with pytest.raises(GraphError, match="num_nodes=3"):
        automorphism_group(Data(edge_index=square.edge_index, num_nodes=3))
    with pytest.raises(GraphError, match="expected finite edge weights"):
        automorphism_group(Data(edge_index=square.edge_index, edge_weight=torch.full((8,), torch.nan), num_nodes=4))
    with pytest.raises(ConfigError, match="expected tol >= 0, got nan"):
        automorphism_group(square, tol=float("nan"))
    with pytest.raises(ConfigError, match="expected backend 'search' or 'igraph', got 'nauty'"):
        automorphism_group(square, backend="nauty")
    with pytest.raises(MissingExtraError, match=r"pip install --editable '.\[igraph\]'"):
        automorphism_group(square, backend="igraph")


def test_a_map_that_is_no_automorphism_is_noticed(monkeypatch):
    """The liar: a search that returns a wrong map is not believed."""
    from gnet.groups import automorphism
    from gnet.groups.search import Level

    wrong = Level(loose=[np.array([0, 1])])
    monkeypatch.setattr(automorphism, "solve", lambda piece: wrong)
    with pytest.raises(GraphError, match="the search found a map that is no automorphism"):
        automorphism_group(as_data(nx.path_graph(4)))
