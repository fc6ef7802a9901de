"""Nets of layers near a group: by name, with options, further groups and graphs, and what is refused."""

import pytest
import torch

from gnet.errors import ConfigError, GroupError
from gnet.groups import ClusterGroup
from gnet.nn import EquivariantLinear, GNet, OrbitConv
from gnet.nn.make import NEAR, relaxation_options
from gnet.nn.relaxed import ChainGates, ResidualPathway, SoftClusters, penalty
from gnet.testing.tolerances import require_close
from tests.nn.relaxed.cases import CLUSTERS, EDGES, FINER, GROUP, RING, TRIVIAL, WHOLE, signals

NETS = {
    "residual": {"relaxation": {"identifiable": True, "scale": 0.01, "sigma": [None, 0.5]}},
    "mixed": {"relaxation": {"num_maps": 3, "alpha": 0.1, "kind": "orbit_mean"}},
    "low_rank": {"relaxation": {"rank": 2, "weight_decay": 0.1}},
    "chain": {"beside": [WHOLE, FINER], "relaxation": {"node_wise": True, "l1": 0.1}},
    "sum": {"beside": [RING, WHOLE], "relaxation": {"local": True}, "edge_index": EDGES},
    "soft": {"relaxation": {"temperature": 0.5, "coarsening": 0.1}, "edge_index": EDGES},
}


@pytest.mark.parametrize("propagate", ["none", "graph", "edge_weights"])
@pytest.mark.parametrize("layer", NETS)
def test_nets_take_every_layer(layer, propagate, rng):
    options = {**NETS[layer], "propagate": propagate}
    options |= {} if propagate == "none" else {"edge_index": EDGES}
    net = GNet(GROUP, 2, 5, 3, num_layers=3, layer=layer, act="tanh", norm="layer", residual=True, generator=rng, **options)
    x = torch.randn(4, 6, 2, generator=rng)
    assert net(x).shape == (4, 6, 3)
    assert net(x.flatten(0, 1)).shape == (24, 3)
    torch.testing.assert_close(net(x.flatten(0, 1)).reshape(4, 6, 3), net(x))
    (net(x).square().mean() + penalty(net)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)
    kinds = [type(block.linear) for block in net.blocks]
    assert kinds == [NEAR[layer]] * 3
    assert (propagate == "none") == (net.blocks[0].linear.dense_bias() is not None)


def test_options_reach_the_layers():
    layer = (
        GNet(GROUP, 1, 4, 1, layer="residual", beside=[FINER], relaxation={"scale": 0.5, "identifiable": True}).blocks[0].linear
    )
    assert isinstance(layer, ResidualPathway)
    assert (layer.scale, layer.identifiable, layer.residual.group) == (0.5, True, FINER)
    chain = GNet(GROUP, 1, 4, 1, layer="chain", beside=[WHOLE, TRIVIAL]).blocks[0].linear
    assert [level.group for level in chain.levels] == [TRIVIAL, GROUP, WHOLE], "in whatever order they come"
    alone = GNet(GROUP, 1, 4, 1, layer="chain").blocks[0].linear
    assert [level.group.order() for level in alone.levels] == [1, 12]
    members = (
        GNet(GROUP, 1, 4, 1, layer="sum", beside=[RING], relaxation={"local": True}, edge_index=EDGES).blocks[0].linear.members
    )
    assert [type(member) for member in members] == [EquivariantLinear, OrbitConv]
    soft = GNet(GROUP, 1, 4, 1, layer="soft").blocks[0].linear
    assert isinstance(soft, SoftClusters) and soft.partition == CLUSTERS
    reference = GNet(GROUP, 1, 4, 1, layer="chain", parametrization="reference", init="reference", bias="shared").blocks[1].linear
    assert {level.parametrization for level in reference.levels} == {"reference"}


@pytest.mark.parametrize("layer", ["residual", "mixed", "low_rank"])
def test_nets_start_equivariant(layer, rng):
    net = GNet(GROUP, 2, 5, 3, num_layers=3, layer=layer, generator=rng).double()
    x = signals(4, 6, 2, rng=rng)
    for g in GROUP.generators:
        require_close("start", net(GROUP.act(g, x)), GROUP.act(g, net(x)), scale=100.0)  # copies drawn in float32


def test_outer_layers_alone_count_and_reset(rng):
    net = GNet(WHOLE, 2, 5, 3, layer="residual", generator=rng)
    assert net.num_weights == sum((2 + 36) * c for c in (2 * 5, 5 * 3))
    net.reset_parameters(rng)
    for block in net.blocks:
        layer = block.linear
        torch.testing.assert_close(layer.residual.dense(), 1e-3 * layer.equivariant.dense(), msg="a reset net starts small again")


def test_every_layer_has_options():
    assert {name: relaxation_options(name) for name in NEAR} == {
        "residual": ["identifiable", "sigma", "scale"],
        "mixed": ["num_maps", "alpha", "kind"],
        "low_rank": ["rank", "weight_decay"],
        "chain": ["gates", "node_wise", "l1", "start"],
        "sum": ["start", "scales", "local"],
        "soft": ["temperature", "entropy", "coarsening"],
    }


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": "residul"}, ConfigError, "got 'residul'; did you mean 'residual'"),
        ({"layer": "residual", "relaxation": {"identifable": True}}, ConfigError, "did you mean 'identifiable'"),
        ({"layer": "residual", "relaxation": {"rank": 2}}, ConfigError, "takes no relaxation 'rank'; layer='low_rank' does"),
        ({"relaxation": {"scale": 2}}, ConfigError, "layer='equivariant' takes no relaxation 'scale'; layer='residual' does"),
        (
            {"layer": "relaxed", "relaxation": {"x": 2}},
            ConfigError,
            r"takes no relaxation 'x'\. Layers that take any are residual",
        ),
        ({"layer": "residual", "relaxation": True}, ConfigError, "expected relaxation as names and values"),
        ({"layer": "residual", "relaxation": {"scale": "much"}}, ConfigError, "expected scale >= 0, got 'much'"),
        (
            {"beside": [WHOLE]},
            ConfigError,
            "layer='equivariant' has one group; leave beside out, or take layer='residual', 'chain'",
        ),
        ({"layer": "residual", "beside": [TRIVIAL, FINER]}, ConfigError, "has one group beside the net's, got 2"),
        ({"layer": "sum"}, ConfigError, r"give the others as beside=\[\.\.\.\]"),
        ({"layer": "sum", "beside": [RING], "relaxation": {"local": True}}, ConfigError, "relaxation 'local' needs a graph"),
        ({"layer": "soft", "relaxation": {"coarsening": 1.0}}, ConfigError, "relaxation 'coarsening' needs a graph"),
        ({"layer": "chain", "beside": [RING]}, GroupError, "which are not nested; .*layer='sum'"),
        ({"layer": "residual", "mixing": "none"}, ConfigError, "residual layers take no 'mixing'; leave it out"),
        ({"layer": "soft", "parametrization": "reference"}, ConfigError, "soft layers take no 'parametrization'"),
        ({"layer": "residul", "propagate": "pointwise"}, ConfigError, "did you mean 'residual'"),
        ({"layer": "chain", "propagate": "pointwise", "edge_index": EDGES}, ConfigError, "take layer='equivariant'"),
        ({"relaxaton": {}}, ConfigError, "GNet takes no 'relaxaton'; did you mean relaxation"),
    ],
)
def test_impossible_nets_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        GNet(GROUP, 1, 2, 1, **options)


def test_soft_clusters_start_from_clusters():
    with pytest.raises(GroupError, match=r"layer='soft' starts from clusters, and .* has none"):
        GNet(RING, 1, 2, 1, layer="soft")


def test_a_chain_of_equal_groups_is_no_error():
    net = GNet(GROUP, 1, 2, 1, layer="chain", beside=[ClusterGroup(CLUSTERS)])
    assert isinstance(net.blocks[0].linear, ChainGates)
    assert net.blocks[0].linear.equivariance_error() < 1e-12
