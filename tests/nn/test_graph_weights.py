"""Weights of a graph inside nets: exact in float64 nets, whatever came before, and on every device; forward-mode derivatives."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from gnet.errors import ConfigError, GraphError, ShapeError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, SymmetricGroup, TrivialGroup
from gnet.kernels.sparse import FixedNumbers
from gnet.nn import GNet, GNetGRU, Propagate
from gnet.nn.diffusion import Diffusion

STAR = torch.tensor([[0, 1, 2], [3, 3, 3]])
RING = torch.stack([torch.arange(50), torch.arange(1, 51) % 50])


def sums_of_rows(module: nn.Module) -> Tensor:
    """The sums over the senders of node 3, 1 each."""
    if isinstance(module, Diffusion):
        return module.backwards.weights.sum()
    return module.matrix()[3].sum()


@pytest.mark.parametrize(
    "module",
    [Diffusion(Data(edge_index=STAR, num_nodes=4)), Propagate(SymmetricGroup(4), 1, STAR[:, :2])],
    ids=["diffusion", "propagation"],
)
def test_doubled_nets_have_the_weights_in_float64(module):
    """Thirds, which float32 has not: also after the net has been in low precision, and copied."""
    straight = copy.deepcopy(module).double()
    around = copy.deepcopy(copy.deepcopy(module).half().float()).double()
    for net in (straight, around):
        total = sums_of_rows(net)
        assert total.dtype == torch.float64
        assert abs(float(total) - 1) < 1e-15


def test_rounded_weights_are_the_liar():
    class Rounded(FixedNumbers):
        def _apply(self, fn, recurse=True):
            return nn.Module._apply(self, fn, recurse)

    third = torch.tensor([1 / 3], dtype=torch.float64)
    assert abs(float(Rounded(third).double()()) - 1 / 3) > 1e-9
    assert float(FixedNumbers(third).double()()) == 1 / 3


def test_weights_are_rounded_when_a_net_is_moved_and_not_when_it_is_called():
    numbers = FixedNumbers(torch.tensor([1 / 3], dtype=torch.float64))
    assert numbers() is numbers()
    assert numbers.double()() is numbers()


def test_state_dicts_have_no_weights_of_graphs():
    """Graphs are made anew with the net; checkpoints hold what is trained."""
    options = {"horizon_in": 1, "horizon_out": 1, "edge_index": STAR}
    net = GNetGRU(SymmetricGroup(4), 1, 2, 1, **options)
    assert not [name for name in net.state_dict() if "diffusion" in name]
    layers = GNet(SymmetricGroup(4), 1, 2, 1, propagate="edge_weights", edge_index=STAR)
    assert [name for name in layers.state_dict() if "support" in name] == [
        "blocks.0.propagate.support.logits",
        "blocks.1.propagate.support.logits",
    ]


def test_large_weights_count_by_their_ratios():
    """Above the largest number of float32 they were infinite there, and the means NaN."""
    weight = torch.tensor([1e39, 3e39, 4e39], dtype=torch.float64)
    layer = Propagate(TrivialGroup(4), 1, torch.tensor([[0, 1, 3], [3, 3, 3]]), weight, bias=None)
    torch.testing.assert_close(layer.matrix()[3], torch.tensor([0.125, 0.375, 0.0, 0.5]))


@pytest.mark.parametrize("make", [
    lambda weight: Propagate(TrivialGroup(4), 1, STAR, weight),
    lambda weight: Propagate(TrivialGroup(4), 1, STAR, weight, trained=True),
    lambda weight: Diffusion(Data(edge_index=STAR, edge_weight=weight, num_nodes=4)),
], ids=["fixed", "trained", "diffusion"])  # fmt: skip
def test_edges_that_float32_has_not_are_refused(make):
    with pytest.raises(GraphError, match=r"not negligible beside each other, got 1e-46 of a sum of .* at node 3, .* leave such"):
        make(torch.tensor([1.0, 1e-46, 1.0], dtype=torch.float64))
    make(torch.tensor([1.0, 1e-30, 0.0], dtype=torch.float64))


def test_forward_mode_through_a_sparse_graph(rng):
    """The tangent of a forecast is what its gradients say."""
    net = GNetGRU(SymmetricGroup(50), 2, 4, 1, horizon_in=2, horizon_out=2, edge_index=RING, generator=rng).double()
    x, tangent, cotangent = (torch.randn(2, 50, c, generator=rng, dtype=torch.float64) for c in (4, 4, 2))
    forecast, forwards = torch.func.jvp(net, (x,), (tangent,))
    torch.testing.assert_close(forecast, net(x))
    [back] = torch.func.vjp(net, x)[1](cotangent)
    torch.testing.assert_close((forwards * cotangent).sum(), (back * tangent).sum(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("propagate", ["graph", "edge_weights", "pointwise", "self"])
def test_nets_on_no_device_have_shapes(propagate):
    net = GNet(ClusterGroup(Partition([0, 0, 1, 1])), 2, 3, 1, propagate=propagate, edge_index=STAR).to("meta")
    assert net(torch.zeros(5, 4, 2, device="meta")).shape == (5, 4, 1)


@pytest.mark.parametrize("layer", ["relaxed", "relaxed_sender"])
def test_relaxed_layers_are_those_of_s_n(layer):
    for group in (ClusterGroup(Partition([0, 0, 1, 1])), TrivialGroup(4)):
        with pytest.raises(ConfigError, match=rf"layer='{layer}' is S_N with .* take SymmetricGroup\(4\) .* layer='mixed'"):
            GNet(group, 1, 2, 1, layer=layer)
    assert GNet(SymmetricGroup(4), 1, 2, 1, 1, layer=layer).num_weights == 2 * 4


def test_one_value_has_no_variance_to_normalise_by():
    net = GNet(SymmetricGroup(1), 1, 2, 1, norm="batch")
    with pytest.raises(ShapeError, match=r"more than one value of each channel in training, got x of shape \(1, 1, 2\)"):
        net(torch.zeros(1, 1, 1))
    assert net(torch.zeros(2, 1, 1)).shape == (2, 1, 1)
    assert net.eval()(torch.zeros(1, 1, 1)).shape == (1, 1, 1)


@pytest.mark.parametrize(("setting", "value"), [("num_layers", 1.5), ("num_layers", True), ("hidden_channels", 0)])
def test_counts_are_whole_numbers(setting, value):
    channels = {"hidden_channels": 2, "num_layers": 2, setting: value}
    with pytest.raises(ConfigError, match=f"expected {setting} to be a whole number >= 1, got {value}"):
        GNet(SymmetricGroup(3), 1, out_channels=1, **channels)
