"""What is what under another name (theory C): layers of PyG, DeepSets, perceptrons, sums over operators; and a bound."""

from collections.abc import Callable

import networkx as nx
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv, GraphConv

from gnet.graphs import Partition
from gnet.groups import ClusterGroup, NodeGroup, SymmetricGroup, TrivialGroup, automorphism_group
from gnet.measures import project
from gnet.nn import EquivariantLinear, GNet, Propagate
from gnet.nn.recurrent import DiffusionGRUCell
from gnet.testing.tolerances import tolerance
from tests.groups.graphs import as_data

RING, PATH = as_data(nx.cycle_graph(6)), as_data(nx.path_graph(6))
PAIRS = ClusterGroup(Partition([0, 0, 1, 1, 2, 2]))
TOLERANCE = {"rtol": tolerance(torch.float64), "atol": tolerance(torch.float64)}
Case = tuple[Tensor, Tensor, Tensor]
"""What a part of gnet gives, what the same layer under another name gives, and what a liar gives that is nearly it."""


def of_each_node(group: NodeGroup, channels: int, out_channels: int, rng: torch.Generator) -> EquivariantLinear:
    """The pointwise path only: no pooled term, no bias."""
    return EquivariantLinear(group, channels, out_channels, mixing="none", bias=None, generator=rng).double()


def weight_of(layer: EquivariantLinear) -> Tensor:
    """The one matrix (C', C) of the pointwise path of S_N."""
    return layer.dense().detach()[0, :, 0]


def convolution(edges: Tensor, mixing: str, rng: torch.Generator) -> GNet:
    return GNet(
        SymmetricGroup(6), 2, 1, 3, 1, propagate="graph", edge_index=edges, mixing=mixing, bias="shared", generator=rng
    ).double()  # fmt: skip


def gcn(conv: GCNConv, net: GNet) -> GCNConv:
    with torch.no_grad():
        conv.double().lin.weight.copy_(weight_of(net.blocks[0].linear))
        net.blocks[0].propagate.bias.normal_()
        conv.bias.copy_(net.blocks[0].propagate.bias[0])
    return conv


def gcn_on_a_regular_graph(x: Tensor, rng: torch.Generator) -> Case:
    """Where all degrees are one, D^-1 (A + I) is the default D^-1/2 (A + I) D^-1/2 of PyG; on a path it is not."""
    net, other = (convolution(data.edge_index, "none", rng) for data in (RING, PATH))
    other.load_state_dict(net.state_dict())
    conv = gcn(GCNConv(2, 3), net)
    other.load_state_dict(net.state_dict())
    return net(x), conv(x, RING.edge_index), other(x)


def gcn_on_any_graph(x: Tensor, rng: torch.Generator) -> Case:
    """With the weights of D^-1 (A + I) given; the liar has the pooled term too."""
    net, liar = (convolution(PATH.edge_index, mixing, rng) for mixing in ("none", "full"))
    conv, support = gcn(GCNConv(2, 3, normalize=False), net), net.blocks[0].propagate.support
    theirs = conv(x, torch.stack([support.senders, support.receivers]), support.weights())
    return net(x), theirs, liar(x)


def sum_over_the_identity_and_the_adjacency(x: Tensor, rng: torch.Generator) -> Case:
    """x W_0 + A x W_1, made by adding two maps; the liar adds them behind the adjacency."""
    root, neighbours = (of_each_node(SymmetricGroup(6), 2, 3, rng) for _ in range(2))
    conv = GraphConv(2, 3, bias=False).double()
    with torch.no_grad():
        conv.lin_root.weight.copy_(weight_of(root))
        conv.lin_rel.weight.copy_(weight_of(neighbours))
    adjacency = torch.zeros(6, 6, dtype=torch.float64)
    adjacency[PATH.edge_index[1], PATH.edge_index[0]] = 1.0
    return root(x) + adjacency @ neighbours(x), conv(x, PATH.edge_index), adjacency @ (root(x) + neighbours(x))


def deep_sets(x: Tensor, rng: torch.Generator) -> Case:
    layer = EquivariantLinear(SymmetricGroup(6), 2, 3, generator=rng).double()
    dense = layer.dense().detach()
    own, pooled = dense[0, :, 0] - dense[0, :, 1], dense[0, :, 1]
    theirs = x @ own.T + x.sum(-2, keepdim=True) @ pooled.T
    return layer(x), theirs, x @ own.T + x.mean(-2, keepdim=True) @ pooled.T


def perceptron(x: Tensor, rng: torch.Generator) -> Case:
    net = GNet(TrivialGroup(6), 2, 4, 3, generator=rng).double()
    parts = [nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 18)]
    mlp = nn.Sequential(*parts).double()
    with torch.no_grad():
        for block, linear in zip(net.blocks, (parts[0], parts[2]), strict=True):
            block.linear.bias.normal_(generator=rng)
            linear.weight.copy_(block.linear.dense().flatten(2).flatten(0, 1))
            linear.bias.copy_(block.linear.dense_bias().flatten())
    theirs = mlp(x.flatten(-2)).unflatten(-1, (6, 3))
    return net(x), theirs, mlp(x.transpose(-2, -1).flatten(-2)).unflatten(-1, (6, 3))


def convolution_by_a_kept_graph(x: Tensor, rng: torch.Generator) -> Case:
    """With G in Aut(S), S f(x) is a map of G without a graph: its average over G is itself. S_N does not keep the ring."""
    found = []
    for group in (automorphism_group(RING), SymmetricGroup(6)):
        net = GNet(group, 2, 1, 3, 1, propagate="graph", edge_index=RING.edge_index, bias=None, generator=rng).double()
        dense = torch.einsum("nm,moic->noic", net.blocks[0].propagate.matrix(), net.blocks[0].linear.dense()).detach()
        vanilla = torch.stack(
            [torch.stack([project(dense[:, o, :, c], group) for c in range(2)], -1) for o in range(3)], 1
        )  # (N, C', N, C)
        found.append((net(x), torch.einsum("nomi,bmi->bno", vanilla, x)))
    (ours, theirs), (_, liar) = found
    return ours, theirs, liar


def candidate_of(group: NodeGroup) -> Callable[[Tensor, torch.Generator], Case]:
    """Of the recurrent cell: a sum over diffusion operators of pointwise maps, one for S_N or one for each cluster."""

    def case(x: Tensor, rng: torch.Generator) -> Case:
        weight = torch.rand(PATH.edge_index.shape[1], generator=rng)
        cell = DiffusionGRUCell(group, 2, 3, Data(edge_index=PATH.edge_index, edge_weight=weight, num_nodes=6), num_steps=2)
        cell = cell.double()
        x, h = x.transpose(0, 1), torch.randn(6, len(x), 3, generator=rng, dtype=torch.float64)
        with torch.no_grad():  # r = 1 and u = 0: the candidate alone is left
            cell.gates.zero_()
            cell.gates_bias.copy_(torch.tensor([60.0] * 3 + [-60.0] * 3))
        operators = cell.diffusion(torch.eye(6, dtype=torch.float64)[:, :, None]).permute(2, 0, 1)  # (R, N, N)
        z, total, lying = torch.cat([x, h], -1), 0.0, 0.0
        of_x, of_h = cell.candidate.detach().split([2 * len(operators), 3 * len(operators)], 1)  # all parts of x, then of h
        for number, operator in enumerate(operators):
            rows = torch.cat([of_x[:, 2 * number : 2 * number + 2], of_h[:, 3 * number : 3 * number + 3]], 1)
            part = of_each_node(group, 5, 3, rng)
            with torch.no_grad():
                part.weight.own.copy_(rows.transpose(1, 2))
            spread = torch.einsum("ij,jbc->ibc", operator, z).transpose(0, 1)
            total = total + part(spread)
            lying = lying + torch.einsum("ij,bjc->bic", operator, part(z.transpose(0, 1)))  # f in front: equal for S_N only
        lying = lying if group is PAIRS else total + 1e-3
        return cell(x, h).transpose(0, 1), total.tanh(), lying.tanh()

    return case


CASES: dict[str, Callable[[Tensor, torch.Generator], Case]] = {
    "GCN, regular": gcn_on_a_regular_graph,
    "GCN, any": gcn_on_any_graph,
    "x W0 + A x W1": sum_over_the_identity_and_the_adjacency,
    "DeepSets": deep_sets,
    "MLP": perceptron,
    "gc of a kept graph": convolution_by_a_kept_graph,
    "DCRNN candidate": candidate_of(SymmetricGroup(6)),
    "candidate of clusters": candidate_of(PAIRS),
}


@pytest.mark.parametrize("name", CASES)
def test_layers_under_another_name_are_the_same(name, rng):
    x = torch.randn(4, 6, 2, generator=rng, dtype=torch.float64)
    ours, theirs, liar = CASES[name](x, rng)
    torch.testing.assert_close(ours, theirs, **TOLERANCE)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ours, liar, **TOLERANCE)


def distance_and_bound(weight: Tensor, graph: Tensor, group: NodeGroup) -> tuple[float, float]:
    """|S W - its average over G| and |S - its average|_op |W|, of one channel."""
    away, of_graph = (each - project(each, group) for each in (graph @ weight, graph))
    return float(away.norm()), float(torch.linalg.matrix_norm(of_graph, 2) * weight.norm())


@pytest.mark.parametrize("group", [SymmetricGroup(6), PAIRS, automorphism_group(PATH)], ids=["S6", "pairs", "Aut"])
@pytest.mark.parametrize("trained", [False, True])
def test_behind_a_map_of_the_group_the_distance_is_bounded_by_that_of_the_graph(group, trained, rng):
    """A map that is not of the group is the liar: even behind the identity, which is at distance 0, it is far away."""
    for _ in range(5):
        propagate = Propagate(group, 1, PATH.edge_index, trained=trained).double()
        if trained:
            with torch.no_grad():
                propagate.support.logits.normal_(generator=rng)
        graph = propagate.matrix().detach()
        free = torch.randn(6, 6, generator=rng, dtype=torch.float64)
        distance, bound = distance_and_bound(project(free, group), graph, group)
        assert distance <= bound * (1 + tolerance(torch.float64)) + tolerance(torch.float64)
        distance, bound = distance_and_bound(free, torch.eye(6, dtype=torch.float64), group)
        assert distance > bound + 0.1
