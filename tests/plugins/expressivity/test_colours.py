"""Colours and orbits: the table of classes and pairs, brute force on all small graphs, what is refused."""

import itertools
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from gnet import automorphism_group
from gnet.errors import ConfigError, ShapeError
from gnet.plugins.expressivity import colours, csl, named_graphs, orbits, pairs, same_wl, triangles, wl_colors
from gnet.plugins.expressivity.pairs import as_data

CLASSES = {  # classes of 1-WL, rounds, orbits, automorphisms
    "P5": (3, 2, 3, 2),
    "K1,5": (2, 1, 2, 120),
    "grid 3 x 3": (3, 1, 3, 8),
    "binary tree of height 3": (4, 2, 4, 128),
    "Petersen": (1, 0, 1, 120),
    "Frucht": (1, 0, 12, 1),
    "karate club": (27, 2, 27, 480),
    "C6": (1, 0, 1, 12),
}
PAIRS = {  # same 1-WL, same 2-FWL, triangles
    "C6 and two C3": (True, False, (0, 2)),
    "decalin and bicyclopentyl": (True, False, (0, 0)),
    "CSL(11, 2) and CSL(11, 3)": (True, False, (11, 0)),
    "CSL(41, 2) and CSL(41, 3)": (True, False, (41, 0)),
    "rook 4 x 4 and Shrikhande": (True, True, (32, 32)),
    "P4 and K1,3": (False, False, (0, 0)),
}


@pytest.mark.parametrize("name", CLASSES)
def test_classes_and_rounds(name):
    graph = named_graphs()[name]
    found = wl_colors(graph)
    num_orbits, order = int(orbits(graph).max()) + 1, automorphism_group(graph).order()
    assert (found.num_classes, found.rounds, num_orbits, order) == CLASSES[name]


def test_the_readme_has_the_tables():
    text = (Path(__file__).resolve().parents[3] / "gnet" / "plugins" / "expressivity" / "README.md").read_text()
    for name, numbers in CLASSES.items():
        assert f"| {' | '.join(map(str, (name, *numbers)))} |" in text
    for name, (nodes, both, counts) in PAIRS.items():
        same = ["yes" if each else "no" for each in (nodes, both)]
        assert f"| {' | '.join((name, *same, ', '.join(map(str, counts))))} |" in text


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name):
    one, other = pairs()[name]
    found = same_wl(one, other), same_wl(one, other, k=2), (triangles(one), triangles(other))
    assert found == PAIRS[name]
    assert not nx.is_isomorphic(*(nx.Graph(each.edge_index.t().tolist()) for each in (one, other)))


def by_hand(graph: Data, init: list[int]) -> list[int]:
    """Refinement as it is written in books: nested tuples, no palette."""
    heard = [graph.edge_index[0][graph.edge_index[1] == node].tolist() for node in range(graph.num_nodes)]
    now: list[object] = list(init)
    for _ in range(graph.num_nodes):
        now = [(now[node], tuple(sorted((now[other] for other in heard[node]), key=repr))) for node in range(graph.num_nodes)]
        names = {each: number for number, each in enumerate(sorted(set(now), key=repr))}
        now = [names[each] for each in now]
    return now


def same_classes(one, other) -> bool:
    one, other = np.asarray(one).ravel(), np.asarray(other).ravel()
    joint = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(joint) == len(set(one.tolist())) == len(set(other.tolist()))


def test_colours_are_those_of_the_book_and_keep_out_of_the_numbering(rng):
    for _ in range(30):
        n = int(torch.randint(2, 9, (), generator=rng))
        adjacency = torch.rand(n, n, generator=rng) < 0.35
        adjacency.fill_diagonal_(False)  # directed
        graph = Data(edge_index=adjacency.nonzero().t(), num_nodes=n)
        init = torch.randint(2, (n,), generator=rng)
        found = wl_colors(graph, init=init)
        assert same_classes(found.colors, by_hand(graph, init.tolist()))
        perm = torch.randperm(n, generator=rng)
        moved = Data(edge_index=perm[graph.edge_index], num_nodes=n)
        again = wl_colors(moved, init=init[torch.argsort(perm)])
        assert again.rounds == found.rounds and same_classes(again.colors[perm], found.colors)
        assert same_wl(graph, moved) and same_wl(graph, moved, k=2)


def test_pairs_of_colours_refine_nodes_and_orbits_refine_both(rng):
    """2-FWL on the diagonal is at least as fine as 1-WL; orbits lie within both."""
    for _ in range(15):
        n = int(torch.randint(3, 9, (), generator=rng))
        graph = as_data(nx.gnp_random_graph(n, 0.4, seed=int(torch.randint(10**6, (), generator=rng))))
        node, pair, orbit = wl_colors(graph).colors, wl_colors(graph, k=2).colors, orbits(graph)
        for fine, coarse in ((orbit, pair.diagonal()), (pair.diagonal(), node)):
            both = set(zip(fine.tolist(), coarse.tolist(), strict=True))
            assert len(both) == len(set(fine.tolist()))


def test_pairs_tell_apart_what_brute_force_does():
    """All graphs on five nodes: 2-FWL separates exactly what is not isomorphic; 1-WL does not lie in the other direction."""
    graphs = [each for each in nx.graph_atlas_g() if each.number_of_nodes() == 5]
    for one, other in itertools.combinations(graphs, 2):
        a, b = as_data(one), as_data(other)
        assert not same_wl(a, b, k=2)
        if one.number_of_edges() != other.number_of_edges():
            assert not same_wl(a, b)


def test_edges_of_other_weight_are_other_edges():
    edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    graph = Data(edge_index=edge_index, edge_weight=torch.tensor([1.0, 1.0, 2.0, 2.0]), num_nodes=3)
    assert wl_colors(graph).num_classes == 3 and wl_colors(Data(edge_index=edge_index, num_nodes=3)).num_classes == 2
    assert wl_colors(graph, k=2).colors.unique().numel() == 9
    other = Data(edge_index=edge_index, edge_weight=torch.tensor([1.0, 1.0, 3.0, 3.0]), num_nodes=3)
    assert not same_wl(graph, other) and not same_wl(graph, other, k=2)


def test_weights_are_rounded_once_for_colours_and_orbits():
    path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    for near, far in (([1.0, 1.0, 1 + 1e-8, 1 + 1e-8], [1.0, 1.0, 1.001, 1.001]), ([0.0, 0.0, -0.0, -0.0], [0, 0, -1, -1.0])):
        same, other = (
            Data(edge_index=path, edge_weight=torch.tensor(each, dtype=torch.float64), num_nodes=3) for each in (near, far)
        )
        assert wl_colors(same).colors.tolist() == orbits(same).tolist() == [0, 1, 0]
        assert wl_colors(other).colors.tolist() == orbits(other).tolist() == [0, 1, 2]
        assert same_wl(same, same) and not same_wl(same, other) and not same_wl(other, same, k=2)


def test_orbits_are_exact_whatever_the_number_of_automorphisms():
    star = as_data(nx.star_graph(12))  # 12! automorphisms
    assert automorphism_group(star).order() > 10**6 and orbits(star).tolist() == [0] + [1] * 12
    ring, two = nx.cycle_graph(6), nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))
    leaves = nx.disjoint_union(nx.disjoint_union(ring, two), nx.star_graph(12))
    assert automorphism_group(as_data(leaves)).order() > 10**6
    assert int(orbits(as_data(leaves)).max()) + 1 == 4 > wl_colors(as_data(leaves)).num_classes == 3  # colours would be coarser


def test_loops_and_repeated_edges():
    looped = Data(edge_index=torch.tensor([[0, 0, 1], [0, 1, 0]]), num_nodes=2)
    with pytest.raises(ShapeError, match=r"without self-loops, node 0 has one; remove them, or give strict=False"):
        wl_colors(looped)
    assert wl_colors(looped, strict=False).num_classes == 2
    double = Data(edge_index=torch.tensor([[0, 1, 1, 1, 2], [1, 0, 0, 2, 1]]), num_nodes=3)
    with pytest.raises(ShapeError, match="every edge once, got some repeatedly"):
        same_wl(double, double, k=2)
    assert wl_colors(double, strict=False).num_classes == 3
    assert wl_colors(double, k=2, strict=False).num_classes == 9


def test_bad_input(monkeypatch):
    path = as_data(nx.path_graph(4))
    with pytest.raises(ShapeError, match=r"init of shape \(4,\), one colour for each node, got \(3,\)"):
        wl_colors(path, init=[0, 1, 2])
    for call in (wl_colors, orbits):
        with pytest.raises(ShapeError, match="expected init of integers, got float32; number the values"):
            call(path, init=torch.tensor([0.2, 0.7, 0.2, 0.7]))
    with pytest.raises(ShapeError, match="expected init of integers, got float64"):
        wl_colors(path, init=[0.2, 0.7, 0.2, 0.7])
    with pytest.raises(ConfigError, match=r"expected whole numbers, 2 <= skip <= num_nodes - 2, got skip=2.5 of num_nodes=5"):
        csl(5, 2.5)
    with pytest.raises(ConfigError, match=r"expected k = 1 \(nodes\) or k = 2 \(pairs, folklore\), got 3"):
        wl_colors(path, k=3)
    with pytest.raises(ConfigError, match="so it takes up to 256 nodes; take k=1"):
        wl_colors(as_data(nx.path_graph(257)), k=2)
    with pytest.raises(ConfigError, match="2 <= skip <= num_nodes - 2, got skip=10 of num_nodes=11"):
        csl(11, 10)
    monkeypatch.setattr(colours, "ORBIT_NODES", 3)
    with pytest.warns(UserWarning, match="up to 3 nodes, this one has 4"):
        assert orbits(path).tolist() == [0, 1, 1, 0]
