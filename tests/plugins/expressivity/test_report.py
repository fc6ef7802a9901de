"""What models tell apart: message passing on Frucht's graph and on pairs, the right group, ids; the liars."""

import networkx as nx
import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GAT, GCN, GIN, global_add_pool

from gnet import EquivariantLinear, GNet, TrivialGroup, automorphism_group
from gnet.errors import ConfigError, NonFiniteError, ShapeError
from gnet.plugins.expressivity import expressivity_report, named_graphs, pairs
from gnet.plugins.expressivity.pairs import as_data

FRUCHT = named_graphs()["Frucht"]
MODELS = {"GIN": GIN, "GCN": GCN, "GAT": GAT}
ALIKE = list(pairs())[:4]


def model(name: str, rng: torch.Generator, in_channels: int = 1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(10**6, (), generator=rng)))
        return MODELS[name](in_channels, 16, 4, out_channels=3, act="tanh").double()  # no unit is dead, as with ReLU


@pytest.mark.parametrize("name", MODELS)
def test_message_passing_sees_one_node_where_the_right_group_sees_twelve(name, rng):
    found = expressivity_report(model(name, rng), FRUCHT)
    assert found.spread <= 1e-6 * float(found.outputs.abs().max()) + 1e-12 and found.num_told_apart == 1
    assert (found.num_colors, found.num_orbits) == (1, 12)
    net = GNet(automorphism_group(FRUCHT), 1, 8, 2, generator=rng).double()
    ours = expressivity_report(net, FRUCHT)
    assert ours.num_told_apart == 12 and ours.within_orbits == 0 < ours.within_colors


@pytest.mark.parametrize("name", ALIKE)
@pytest.mark.parametrize("kind", MODELS)
def test_readouts_agree_on_what_looks_alike_until_nodes_have_names(name, kind, rng):
    one, other = pairs()[name]
    net = model(kind, rng)

    def readout(graph: Data, x: torch.Tensor) -> torch.Tensor:
        return global_add_pool(net.eval()(x, graph.edge_index), None)

    constant = [readout(graph, torch.ones(graph.num_nodes, 1, dtype=torch.float64)) for graph in (one, other)]
    torch.testing.assert_close(*constant, rtol=1e-5, atol=0)
    names = torch.randn(one.num_nodes, 1, dtype=torch.float64, generator=rng)
    named = [readout(graph, names) for graph in (one, other)]
    assert (named[0] - named[1]).abs().max() > 1e-5 * named[0].abs().max()
    perm = torch.arange(one.num_nodes)
    perm[:2] = torch.tensor([1, 0])  # no automorphism of any of them
    moved = Data(edge_index=perm[one.edge_index], num_nodes=one.num_nodes)  # and invariance is lost
    again = readout(moved, names)
    assert (named[0] - again).abs().max() > 1e-6 * named[0].abs().max()


def test_linear_maps_on_frucht_are_many_and_polynomials_in_its_edges_few():
    group = automorphism_group(FRUCHT)
    assert EquivariantLinear(group, 1, 1).num_weights == 144
    adjacency = torch.zeros(12, 12, dtype=torch.float64)
    adjacency[tuple(FRUCHT.edge_index)] = 1
    polynomials = chebyshev(adjacency / 3, 30)
    assert torch.linalg.matrix_rank(polynomials) == 12  # as many as its eigenvalues, which all differ
    named = torch.diag(torch.linspace(-1, 1, 12, dtype=torch.float64))
    for liar in (chebyshev(named @ adjacency / 3, 30, adjacency / 3), torch.cat([polynomials, named.reshape(1, -1)])):
        assert torch.linalg.matrix_rank(liar) > 12  # matrices that name nodes are no polynomials in the edges


def chebyshev(matrix: torch.Tensor, num: int, first: torch.Tensor | None = None) -> torch.Tensor:
    """T_0 ... of a matrix as rows: they span the powers and, unlike them, stay of one size; or from another T_1."""
    found = [torch.eye(len(matrix), dtype=matrix.dtype), matrix if first is None else first]
    while len(found) < num:
        found.append(2 * matrix @ found[-1] - found[-2])
    return torch.stack(found).flatten(1)


def test_classes_orbits_and_single_nodes_on_a_tree(rng):
    """A map with all symmetries of the graph cannot tell siblings apart; one with fewer can: the liar of the second spread."""
    tree = named_graphs()["binary tree of height 3"]
    kept = expressivity_report(GNet(automorphism_group(tree), 1, 8, 2, generator=rng).double(), tree)
    broken = expressivity_report(GNet(TrivialGroup(15), 1, 8, 2, generator=rng).double(), tree)
    assert kept.num_told_apart == kept.num_orbits == kept.num_colors == 4
    assert kept.within_orbits <= 1e-12 * kept.spread
    assert broken.num_told_apart == 15 and broken.within_orbits > 0.01 * broken.spread
    assert "the model tells 4 apart" in str(kept) and "classes of 1-WL 4, orbits of Aut(G) 4" in str(kept)


def test_a_signal_of_ones_own_and_weights(rng):
    path = as_data(nx.path_graph(4))
    x = torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    found = expressivity_report(model("GIN", rng), path, x)
    assert (found.num_colors, found.num_orbits, found.num_told_apart) == (4, 4, 4)
    weighted = Data(edge_index=path.edge_index, edge_weight=torch.tensor([1.0, 2.0, 3.0] * 2), num_nodes=4)
    seen = expressivity_report(model("GCN", rng), weighted)
    assert seen.num_colors == 4 and seen.num_told_apart == 4

    def plain(signal):
        return signal * torch.tensor([[1.0], [1.0], [1.0], [1.0 + 1e-9]])

    assert expressivity_report(plain, path).num_told_apart == 1
    assert expressivity_report(plain, path, x.double() + 1, tolerance=0).num_told_apart > 1


def test_negative_weights(rng):
    path = as_data(nx.path_graph(4))  # 0 - 1, 1 - 2, 2 - 3, and back
    signed = Data(edge_index=path.edge_index, edge_weight=torch.tensor([-1.0, 2.0, -1.0] * 2), num_nodes=4)
    found = expressivity_report(GNet(automorphism_group(signed), 1, 8, 2, generator=rng).double(), signed)
    assert found.num_colors == found.num_orbits == found.num_told_apart == 2


def test_dropout_is_off_and_the_mode_comes_back(rng):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = GIN(1, 8, 3, out_channels=2, dropout=0.5)
    assert net.training and expressivity_report(net, FRUCHT).num_told_apart == 1 and net.training


def test_bad_input():
    with pytest.raises(ShapeError, match=r"expected x of shape \(12, C\), got \(11, 1\)"):
        expressivity_report(nn.Identity(), FRUCHT, torch.ones(11, 1))
    with pytest.raises(ShapeError, match=r"one output for each of 12 nodes, got \(1,\); give the model without its readout"):
        expressivity_report(lambda x: x.sum(0), FRUCHT)
    with pytest.raises(NonFiniteError, match="expected finite outputs, got NaN"):
        expressivity_report(lambda x: torch.where(torch.arange(12)[:, None] > 5, x, torch.nan), FRUCHT)
    with pytest.raises(NonFiniteError, match="x of finite numbers"):
        expressivity_report(nn.Identity(), FRUCHT, torch.full((12, 1), torch.inf))
    with pytest.raises(ConfigError, match="tolerance >= 0"):
        expressivity_report(nn.Identity(), FRUCHT, tolerance=-1.0)
