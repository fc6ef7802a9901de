"""Errors of the layers of a net: which are found, on which inputs, exact or sampled, and in which mode they come back."""

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from gnet.errors import ConfigError, GroupError
from gnet.graphs import Partition
from gnet.groups import TRIVIAL_ACTION, ClusterGroup, SymmetricGroup
from gnet.measures import equivariance_error, layer_equivariance_errors
from gnet.measures import layers as room
from gnet.nn import Block, EquivariantLinear, GNet, GNetGRU, InvariantLinear, OrbitConv, TensorLinear
from gnet.nn.blocks import NodeBatchNorm
from gnet.orbits import close_edges
from gnet.plugins.tensors import EMLP, SO, B, Lorentz, Realified, S, T, U
from tests.laws.test_matrix_group import QuarterTurns

FINE, COARSE = ClusterGroup(Partition([0, 0, 1, 1, 2])), SymmetricGroup(5)
RING = torch.tensor([[0, 1, 2, 3, 4, 1, 2, 3, 4, 0], [1, 2, 3, 4, 0, 0, 1, 2, 3, 4]])


@pytest.fixture
def x(rng):
    return torch.randn(6, 5, 2, dtype=torch.float64, generator=rng)


def by_name(net: nn.Module, x: Tensor, group, **options) -> dict[str, room.LayerEquivarianceError]:
    return {each.name: each for each in layer_equivariance_errors(net, x, group, **options)}


def test_the_layer_that_breaks_the_symmetry_is_found(x, rng):
    layers = [EquivariantLinear(COARSE, 2, 3, generator=rng), nn.Tanh(), EquivariantLinear(FINE, 3, 4, generator=rng)]
    net = GNet.from_layers([*layers, nn.LayerNorm(4), EquivariantLinear(COARSE, 4, 1, generator=rng)]).double()
    found = by_name(net, x, COARSE)
    assert list(found) == [f"blocks.{i}" for i in range(5)]
    assert [each.kind for each in found.values()] == [type(layer).__name__ for layer in net.blocks]
    assert [each.error.relative > 1e-3 for each in found.values()] == [False, False, True, False, False]
    assert [each.is_exact for each in found.values()] == [True, False, True, False, True]
    assert all(each.error.relative < 1e-12 for each in by_name(net, x, FINE).values())


def test_each_is_measured_on_the_input_that_reaches_it(x, rng):
    net = GNet(FINE, 2, 3, 4, num_layers=2, act="tanh", generator=rng).double()
    with torch.no_grad():
        hidden = net.blocks[0](x)
    found = by_name(net, x, COARSE)
    assert list(found) == ["blocks.0.linear", "blocks.1.linear"]
    for name, at, layer in (("blocks.0.linear", x, net.blocks[0].linear), ("blocks.1.linear", hidden, net.blocks[1].linear)):
        listed = equivariance_error(layer, at, COARSE, num_samples=None)
        assert found[name].error.mean_square == pytest.approx(listed.mean_square)
        assert found[name].error.relative == pytest.approx(listed.relative)
    at_input = equivariance_error(net.blocks[1].linear, torch.cat([x, x[..., :1]], -1), COARSE, num_samples=None)
    assert at_input.relative != pytest.approx(found["blocks.1.linear"].error.relative, rel=1e-3)


def test_large_maps_are_sampled_and_agree(x, rng, monkeypatch):
    net = GNet(FINE, 2, 3, 4, generator=rng).double()
    exact = by_name(net, x, COARSE)
    monkeypatch.setattr(room, "DENSE_ENTRIES", 0)
    listed = by_name(net, x, COARSE, num_samples=None)
    sampled = by_name(net, x, COARSE, num_samples=400, generator=rng)
    for name, each in exact.items():
        assert listed[name].is_exact and not sampled[name].is_exact
        assert listed[name].error.mean_square == pytest.approx(each.error.mean_square)
        assert abs(sampled[name].error.mean_square - each.error.mean_square) < 5 * sampled[name].error.total_standard_error


def test_what_a_net_may_be_made_of(x, rng):
    """Normalisation on flattened signals, edges, pairs of nodes, an invariant end and what comes behind it."""
    layers = [
        Block(EquivariantLinear(FINE, 2, 3), norm=NodeBatchNorm(3)),
        OrbitConv(FINE, 3, 2, close_edges(FINE, RING)),
        TensorLinear(FINE, 2, 2, order_in=1, order_out=2),
        TensorLinear(FINE, 2, 3, order_in=2, order_out=1),
        InvariantLinear(FINE, 3, 4),
        nn.Linear(4, 1),
    ]
    net = nn.Sequential(*layers).double()
    found = by_name(net, x, FINE)
    assert list(found) == ["0.linear", "0.norm", "1", "2", "3", "4"]
    assert all(each.error.relative < 1e-12 for each in found.values())
    assert found["4"].is_exact
    other = by_name(net, x, COARSE)
    assert [name for name, each in other.items() if each.error.relative < 1e-12] == ["0.norm"]


def test_modules_come_back_as_they_were(x):
    net = nn.Sequential(EquivariantLinear(FINE, 2, 2), nn.Dropout(0.5), nn.ReLU(inplace=True)).double()
    net[0].eval()
    kept = x.clone()
    found = by_name(net, x, COARSE)
    assert found["1"].error.mean_square == found["2"].error.mean_square == 0
    assert [module.training for module in net] == [False, True, True]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert torch.equal(x, kept)


def test_a_layer_called_dense_is_none_of_ours(x):
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.dense(x) * torch.arange(5.0)[:, None]

    net = Net().double()
    assert by_name(net, x, COARSE)["dense"].error.relative < 1e-12
    assert equivariance_error(net, x, COARSE).relative > 0.1


def test_flattened_layers_are_part_of_what_holds_them(x):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(10, 10), nn.Unflatten(1, (5, 2)))
    net = nn.Sequential(EquivariantLinear(COARSE, 2, 2), flat).double()
    found = by_name(net, x, COARSE)
    assert list(found) == ["0", "1"]
    assert found["1"].error.relative > 0.1


def test_a_net_that_calls_no_layer_of_its_own_is_one_layer(rng):
    ring = Data(edge_index=RING, num_nodes=5)
    net = GNetGRU(FINE, 2, 4, 1, horizon_in=3, horizon_out=2, data=ring).double()
    (found,) = layer_equivariance_errors(net, torch.randn(6, 5, 6, dtype=torch.float64, generator=rng), COARSE, num_samples=None)
    assert (found.name, found.kind) == ("", "GNetGRU")
    assert found.error.relative > 1e-6


def test_other_groups_need_the_actions_of_the_layers(rng):
    x = torch.randn(8, 2, dtype=torch.float64, generator=rng)
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1)).double()
    with pytest.raises(GroupError, match=r"C4 acts on no nodes, .* name the layers"):
        layer_equivariance_errors(net, x, QuarterTurns())
    found = by_name(net, x, QuarterTurns(), layers={"1": (None, TRIVIAL_ACTION), "0": (None, None)}, num_samples=None)
    assert list(found) == ["0", "1"]
    expected = equivariance_error(net[0], x, QuarterTurns(), num_samples=None)
    assert found["0"].error.mean_square == pytest.approx(expected.mean_square)
    with pytest.raises(ConfigError, match=r"the net has no layer '2', expected one of \['', '0', '1'\]"):
        layer_equivariance_errors(net, x, QuarterTurns(), layers={"2": (None, None)})


def test_a_layer_that_is_not_called_is_refused(x):
    net = nn.Sequential(EquivariantLinear(COARSE, 2, 2)).double()
    with pytest.raises(ConfigError, match=r"layer '0\.weight' is not called with one tensor"):
        layer_equivariance_errors(net, x, COARSE, layers={"0.weight": (None, None)})


MATRIX_GROUPS = {"SO(3)": SO(3), "B(3)": B(3), "O(1,2)": Lorentz(2), "S(3)": S(3), "U(2), real": Realified(U(2))}


@pytest.mark.parametrize("name", MATRIX_GROUPS)
def test_layers_that_state_their_actions_are_measured_for_any_group(name, rng):
    group = MATRIX_GROUPS[name]
    net = EMLP(2 * T(1), T(1), group, ch=12, layers=1, generator=rng).double()
    x = torch.randn(6, 2 * group.dim, dtype=torch.float64, generator=rng)
    found = by_name(net, x, group, generator=rng)
    assert list(found) == ["blocks.0.linear", "blocks.0.bilinear", "blocks.0.gate", "last"]
    assert max(each.error.relative for each in found.values()) < 1e-9
    liar = nn.Linear(net.last.action_in.size(group.dim), group.dim).double()
    liar.action_in, liar.action_out = net.last.action_in, net.last.action_out
    net.last = liar
    found = by_name(net, x, group, generator=rng)
    assert [name for name, each in found.items() if each.error.relative > 1e-3] == ["last"]


def test_a_net_that_states_nothing_is_refused_with_a_fix(rng):
    net, x = nn.Sequential(nn.Linear(3, 3), nn.Tanh()).double(), torch.randn(4, 3, dtype=torch.float64, generator=rng)
    with pytest.raises(GroupError, match=r"SO\(3\) acts on no nodes, and no module of the Sequential states its action_in"):
        layer_equivariance_errors(net, x, SO(3))
    assert list(by_name(net, x, SO(3), layers={"0": (None, None)})) == ["0"]
