"""The net: its widths, its flat input, nets from any layers, counts, and what a bad input gets."""

import copy
import pickle
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from gnet.errors import ConfigError, ShapeError
from gnet.graphs.partition import Partition
from gnet.groups import ClusterGroup, SymmetricGroup
from gnet.measures import equivariance_error
from gnet.nn import Block, EquivariantLinear, GNet, InvariantLinear, NodeBatchNorm
from tests.laws.cases import GROUPS

EDGES = torch.tensor([[0, 1], [1, 0]])
GROUP = ClusterGroup(Partition([1, 0, 1, 2, 0, 1], num_clusters=3))  # sizes 2, 3, 1; 11 pair orbits, 3 node orbits


@pytest.mark.parametrize("num_layers", [1, 2, 4])
def test_widths_go_from_in_through_hidden_to_out(num_layers):
    net = GNet(GROUP, 2, 7, 3, num_layers)
    widths = [(block.linear.in_channels, block.linear.out_channels) for block in net.blocks]
    inner = [2, *[7] * (num_layers - 1), 3]
    assert widths == list(pairwise(inner))
    assert [block.act for block in net.blocks] == ["relu"] * (num_layers - 1) + [None]


def test_one_layer_is_linear_and_ignores_hidden_channels(rng):
    net = GNet(GROUP, 2, 999, 3, num_layers=1, norm="batch", dropout=0.5, residual=True, generator=rng)
    x = torch.randn(4, 6, 2, generator=rng)
    assert torch.equal(net(x), net.blocks[0].linear(x))
    assert net.num_weights == 11 * 6


def test_counts_weights_and_parameters():
    net = GNet(GROUP, 2, 7, 3, num_layers=3, norm="layer")
    assert net.num_weights == 11 * (2 * 7 + 7 * 7 + 7 * 3)
    assert net.num_parameters == net.num_weights + 3 * (7 + 7 + 3) + 2 * (2 * 7)
    assert net.num_parameters == sum(p.numel() for p in net.parameters())


def test_settings_reach_every_layer():
    net = GNet(GROUP, 2, 4, 3, bias="shared", parametrization="reference", init="reference")
    for block in net.blocks:
        assert block.linear.bias.shape[0] == 1
        assert (block.linear.parametrization, block.linear.init) == ("reference", "reference")


def test_layers_before_a_relu_start_with_gain_two():
    assert [b.linear.gain for b in GNet(GROUP, 2, 4, 3, num_layers=3).blocks] == [2.0, 2.0, 1.0]
    assert [b.linear.gain for b in GNet(GROUP, 2, 4, 3, act="tanh").blocks] == [1.0, 1.0]
    assert [b.linear.gain for b in GNet(GROUP, 2, 4, 3, act=None).blocks] == [1.0, 1.0]
    assert [b.linear.gain for b in GNet(GROUP, 2, 4, 3, gain=3.0).blocks] == [3.0, 1.0]


def test_hidden_layers_carry_norm_dropout_and_residual():
    net = GNet(GROUP, 2, 4, 3, num_layers=3, norm="batch", dropout=0.5, residual=True)
    assert [isinstance(b.norm, NodeBatchNorm) for b in net.blocks] == [True, True, False]
    assert [b.dropout for b in net.blocks] == [0.5, 0.5, 0.0]
    assert [b.residual for b in net.blocks] == [False, True, False]  # where the channels agree


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_net(dtype, rng):
    net = GNet(GROUP, 2, 4, 3, norm="batch").to(dtype)
    assert net(torch.randn(5, 6, 2, dtype=dtype, generator=rng)).dtype == dtype


def test_flat_input_of_pyg_comes_back_flat(rng):
    net = GNet(GROUP, 2, 4, 3, generator=rng)
    x = torch.randn(5, 6, 2, generator=rng)
    edges = torch.tensor([[0, 1], [1, 0]])
    batch = Batch.from_data_list([Data(x=signal, edge_index=edges, num_nodes=6) for signal in x])
    assert batch.x.shape == (30, 2)
    torch.testing.assert_close(net(batch.x), net(x).flatten(0, 1))
    assert net(x[0]).shape == (6, 3)


def test_flat_input_of_no_signals_is_empty():
    assert GNet(GROUP, 2, 4, 3)(torch.zeros(0, 2)).shape == (0, 3)


def test_flat_input_that_is_no_multiple_of_the_nodes_is_refused():
    with pytest.raises(ShapeError, match=r"or flat \(B \* 6, C\), got \(20, 2\): 20 is no multiple of 6 nodes"):
        GNet(GROUP, 2, 4, 3)(torch.zeros(20, 2))


def test_lists_are_no_signals():
    with pytest.raises(ShapeError, match=r"got a list, which is no tensor; convert with torch\.as_tensor\(x\)"):
        GNet(GROUP, 2, 4, 3)([1.0, 2.0])
    with pytest.raises(ShapeError, match=r"expected x of shape \(\*, 6, 2\), got a list, which is no tensor"):
        EquivariantLinear(GROUP, 2, 4)([1.0, 2.0])


def test_a_graph_is_no_signal_and_no_second_argument():
    data = Data(x=torch.zeros(6, 2), edge_index=EDGES)
    net = GNet(GROUP, 2, 4, 3)
    for module in (net, net.blocks[0].linear):
        with pytest.raises(ShapeError, match=r"got a Data, which is no tensor; give its signals, data\.x"):
            module(data)
    for call in (lambda: net(data.x, EDGES), lambda: net(data.x, edge_weight=torch.ones(2))):
        with pytest.raises(ConfigError, match=r"the graph is fixed when the net is made .* call net\(x\) alone"):
            call()


@pytest.mark.parametrize("shape", [(4, 5, 2), (4, 6, 3), (12, 3), (6,)])
def test_signals_of_another_shape_are_refused(shape):
    with pytest.raises(ShapeError, match=r"expected x of shape \(\*, 6, 2\), got"):
        GNet(GROUP, 2, 4, 3)(torch.zeros(shape))


def test_any_number_of_batch_axes(rng):
    net = GNet(GROUP, 2, 4, 3, norm="batch", generator=rng).eval()
    x = torch.randn(2, 3, 6, 2, generator=rng)
    torch.testing.assert_close(net(x), torch.stack([net(part) for part in x]))


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize(
    "options", [{}, {"norm": "batch", "dropout": 0.3, "residual": True, "num_layers": 3}], ids=["plain", "full"]
)
def test_is_equivariant_in_eval_mode(name, options, rng):
    group = GROUPS[name]
    net = GNet(group, 2, 4, 3, generator=rng, **options).double()
    if options.get("norm") and group.degree > 1:
        net(torch.randn(9, group.degree, 2, dtype=torch.float64, generator=rng))  # running statistics that are not the first ones
    x = torch.randn(5, group.degree, 2, dtype=torch.float64, generator=rng)
    assert equivariance_error(net, x, group, num_samples=4, generator=rng).relative < 1e-12
    assert net.training


def test_float32_is_equivariant_to_rounding(rng):
    net = GNet(GROUP, 2, 16, 3, generator=rng)
    x = torch.randn(5, 6, 2, generator=rng)
    assert equivariance_error(net, x, GROUP, num_samples=4, generator=rng).relative < 1e-6


def test_dropout_breaks_the_symmetry_of_a_single_pass_in_training(rng):
    net = GNet(GROUP, 2, 16, 3, dropout=0.5, generator=rng).double()
    x = torch.randn(5, 6, 2, dtype=torch.float64, generator=rng)
    g = GROUP.sample(1, rng)[0]
    assert float((net(GROUP.act(g, x)) - GROUP.act(g, net(x))).detach().abs().max()) > 1e-3


def test_nets_from_any_layers(rng):
    layers = [Block(EquivariantLinear(GROUP, 2, 4), act="relu"), nn.Linear(4, 5), InvariantLinear(GROUP, 5, 3)]
    net = GNet.from_layers(layers)
    x = torch.randn(7, 6, 2, generator=rng)
    assert net.group == GROUP
    assert net(x).shape == net(x.flatten(0, 1)).shape == (7, 3)
    torch.testing.assert_close(net(x), layers[2](layers[1](layers[0](x))))
    assert net.num_weights == 11 * 8 + 3 * 15
    assert net.num_parameters == 11 * 8 + 3 * 4 + 4 * 5 + 5 + 3 * 15 + 3


def test_invariant_nets_give_a_row_for_each_graph_of_a_loader(rng):
    """Also for the last batch, of one graph: what comes out of a loader can be put together."""
    net = GNet.from_layers([Block(EquivariantLinear(GROUP, 2, 4), act="relu"), InvariantLinear(GROUP, 4, 3)])
    samples = [Data(x=torch.randn(6, 2, generator=rng), num_nodes=6) for _ in range(5)]
    outputs = [net(batch.x) for batch in DataLoader(samples, batch_size=4)]
    assert [each.shape for each in outputs] == [(4, 3), (1, 3)]
    torch.testing.assert_close(torch.cat(outputs), net(torch.stack([sample.x for sample in samples])))


def test_nets_from_layers_without_a_group_take_signals_as_they_come():
    net = GNet.from_layers([nn.Linear(2, 3)])
    assert net.group is None
    assert net(torch.zeros(20, 2)).shape == (20, 3)
    assert net.num_weights == 0


def test_a_net_without_layers_is_refused():
    with pytest.raises(ConfigError, match="expected at least one layer, got none"):
        GNet.from_layers([])


def test_nets_inside_nets_are_counted_once():
    inner = GNet(GROUP, 2, 4, 3)
    assert GNet.from_layers([inner]).num_weights == inner.num_weights


def test_weights_replay_from_their_generator(rng):
    seed = int(torch.randint(2**31, (1,), generator=rng))
    first, again = (GNet(GROUP, 2, 4, 3, generator=torch.Generator().manual_seed(seed)) for _ in range(2))
    x = torch.randn(5, 6, 2, generator=rng)
    assert torch.equal(first(x), again(x))
    first.reset_parameters(torch.Generator().manual_seed(seed + 1))
    assert not torch.equal(first(x), again(x))
    first.reset_parameters(torch.Generator().manual_seed(seed))
    assert torch.equal(first(x), again(x))


def test_resetting_resets_norms_too(rng):
    net = GNet(GROUP, 2, 4, 3, norm="batch")
    net(5 + torch.randn(5, 6, 2, generator=rng))
    assert bool((net.blocks[0].norm.norm.running_mean != 0).any())
    net.reset_parameters()
    assert torch.equal(net.blocks[0].norm.norm.running_mean, torch.zeros(4))


def test_copies_pickles_and_state_dicts(rng):
    net = GNet(ClusterGroup(Partition([1, 0, 1, 2, 0, 1], 3)), 2, 4, 3, norm="batch", generator=rng).eval()
    other = GNet(GROUP, 2, 4, 3, norm="batch").eval()
    other.load_state_dict(net.state_dict(), strict=True)
    x = torch.randn(5, 6, 2, generator=rng)
    for clone in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), other):
        assert torch.equal(clone(x), net(x))


def test_repr_shows_every_layer():
    text = repr(GNet(SymmetricGroup(3), 2, 4, 1))
    assert "EquivariantLinear(2 -> 4 | S3 | 2 weights per channel pair)" in text
    assert "EquivariantLinear(4 -> 1 | S3 | 2 weights per channel pair)" in text
    assert "act=relu" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 0}, "expected num_layers to be a whole number >= 1, got 0"),
        ({"act": "softmax"}, r"expected act in .* got 'softmax'"),
        ({"norm": "graph"}, "expected norm 'batch', 'layer' or None, got 'graph'"),
        ({"dropout": 1.0}, r"expected dropout in \[0, 1\), got 1.0"),
        ({"bias": "node"}, "expected bias to be one of"),
        ({"edge_index": EDGES}, "propagate='none' does not read edge_index; take propagate='graph' or 'edge_weights'"),
        ({"edge_weight": torch.ones(2)}, "propagate='none' does not read edge_weight"),
        ({"edge_index": EDGES, "edge_weight": torch.ones(2), "mixing": "coarse_edges"}, "does not read edge_weight"),
    ],
)
def test_settings_that_do_not_exist_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        GNet(GROUP, 2, 4, 3, **options)


@pytest.mark.parametrize("options", [{"norm": "graph"}, {"dropout": 2.0}])
def test_settings_that_do_not_exist_are_refused_with_one_layer(options):
    with pytest.raises(ConfigError, match="expected"):
        GNet(GROUP, 2, 4, 3, num_layers=1, **options)


class DoubledLinear(EquivariantLinear):
    def forward(self, x):
        return 2 * super().forward(x)


class DoubledBlock(Block):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize("kind", ["linear", "block"])
def test_a_redefined_part_is_never_bypassed(kind, rng):
    group = ClusterGroup(Partition([0, 1, 0, 1, 1]))
    linear = (DoubledLinear if kind == "linear" else EquivariantLinear)(group, 1, 4)
    first = (DoubledBlock if kind == "block" else Block)(linear, act="relu")
    net = GNet.from_layers([first, Block(EquivariantLinear(group, 4, 1))])
    x = torch.randn(3, 5, 1, generator=rng)
    assert torch.allclose(net(x), net.blocks[1](net.blocks[0](x)), atol=1e-6)


def test_a_backward_hook_inside_a_net_is_called():
    net = GNet(ClusterGroup(Partition([0, 1, 0, 1, 1])), 1, 4, 1)
    calls = []
    net.blocks[0].linear.register_full_backward_hook(lambda *_: calls.append(1))
    net(torch.randn(3, 5, 1)).sum().backward()
    assert calls


@pytest.mark.parametrize(("word", "near"), [("droput", "dropout"), ("biass", "bias")])
def test_a_misspelled_keyword_of_a_net_is_named(word, near):
    with pytest.raises(ConfigError, match=f"GNet takes no '{word}'; did you mean {near}"):
        GNet(SymmetricGroup(3), 1, 4, 1, **{word: 0.1})
