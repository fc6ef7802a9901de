"""The rule that asks nothing: its groups on grids, chains and lonely nodes, the nets it makes, what it refuses."""

import warnings

import networkx as nx
import pytest
import torch
from torch_geometric.data import Data

import gnet
from gnet.cli import main
from gnet.errors import CheckpointError, ConfigError
from gnet.graphs import check_chain
from gnet.groups import ClusterGroup
from gnet.nn.relaxed import GroupSum
from gnet.training import Automatic, PlantedTraffic
from gnet.training.module import GNetModule
from gnet.training.planted import Planted
from gnet.training.symmetry import Symmetric, as_symmetry
from tests.groups.graphs import as_data, skeleton
from tests.training.small import quiet_trainer, small_digits, small_module


def counts(graph: Data, shape: tuple[int, int] | None = None, **options: int) -> list[int]:
    groups = Automatic(**options).groups(graph, shape)
    return [group.partition.num_clusters for group in groups if isinstance(group, ClusterGroup)]


def test_grids_have_patches_of_powers_of_two_and_translations():
    assert counts(Data(num_nodes=784), (28, 28)) == [1, 4, 16, 49, 196]
    assert counts(Data(num_nodes=64), (8, 8)) == [1, 4, 16, 64]
    assert counts(Data(num_nodes=21), (3, 7)) == [1, 2, 8, 21]
    assert counts(Data(num_nodes=784), (28, 28), max_clusters=16) == [1, 4, 16]
    assert Automatic().groups(Data(num_nodes=784), (28, 28))[-1].order() == 784


def test_graphs_have_a_nested_chain_and_their_own_symmetries():
    graph = as_data(skeleton())
    groups = Automatic().groups(graph)
    assert groups[0].order() == 20922789888000  # 16!
    assert counts(graph) == [1, 4, 16] and groups[-1].order() == 4
    check_chain([group.partition for group in groups[:3]])
    assert counts(graph, max_clusters=15) == [1, 4] and len(Automatic(max_clusters=15).groups(graph)) == 2
    assert Automatic(automorphisms=False).groups(graph) == groups[:-1]
    assert counts(Data(num_nodes=1, edge_index=torch.empty(2, 0, dtype=torch.long))) == [1]


def test_lonely_nodes_with_positions_are_clustered_by_place():
    edges = as_data(nx.path_graph(59)).edge_index
    pos = torch.arange(60.0)[:, None]
    for placed in (Data(edge_index=edges, num_nodes=60, pos=pos), Data(edge_index=edges, num_nodes=60)):
        labels = Automatic().groups(placed)[1].partition.labels  # of four clusters
        assert (labels[-1] == labels[-2]) == (placed.pos is not None), "a lonely node is near its neighbour, or a cluster"


def test_a_net_starts_symmetric_and_leaves_it(tmp_path):
    module, trainer = small_module(symmetry=Automatic(), init="white"), quiet_trainer(max_epochs=5)
    trainer.fit(module, datamodule=small_digits())
    assert module.hparams["layer"] == "sum"
    first = module.net.blocks[0].linear
    assert isinstance(first, GroupSum) and len(first.members) == 5
    assert first.scales == pytest.approx([1, 1 / 2, 1 / 4, 1 / 8, 1])
    errors = [member.weight.coefficients().detach().abs().max() for member in first.members[1:-1]]
    assert min(errors) > 0 and first.equivariance_error() > 0
    fresh = small_module(symmetry=Automatic())
    quiet_trainer(max_epochs=0).fit(fresh, datamodule=small_digits())
    assert fresh.net.blocks[0].linear.equivariance_error() < 1e-6

    trainer.save_checkpoint(tmp_path / "net.ckpt")
    x = torch.randn(3, 64, 1)
    torch.testing.assert_close(gnet.load(tmp_path / "net.ckpt")(x), module.eval()(x))
    torch.testing.assert_close(GNetModule.load_from_checkpoint(tmp_path / "net.ckpt").eval()(x), module(x))


@pytest.mark.parametrize(("num_train", "more"), [(40, 1), (80, 1), (160, 2), (400, 5), (1000, 12.5)])
def test_with_more_samples_small_groups_come_in_sooner(num_train, more, tmp_path):
    module, data = small_module(symmetry=Automatic()), small_digits(num_train=num_train)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module, datamodule=data)
    assert module.net.blocks[0].linear.scales == pytest.approx([min(1, more * k**-0.5) for k in (1, 4, 16, 64, 1)])
    for scales, expected in (("orbits", [1, 1 / 2, 1 / 4, 1 / 8, 1]), (None, [1, 1, 1, 1, 1])):  # as they are asked for
        asked = small_module(symmetry=Automatic(), relaxation={"scales": scales})
        quiet_trainer(max_epochs=0).fit(asked, datamodule=data)
        assert asked.net.blocks[0].linear.scales == pytest.approx(expected)

    # A checkpoint keeps its scales, whatever the number of samples of the data that it meets.
    trainer.save_checkpoint(tmp_path / "net.ckpt")
    again, other = small_module(symmetry=Automatic()), small_digits(num_train=20)
    (found,) = quiet_trainer().test(again, datamodule=other, ckpt_path=str(tmp_path / "net.ckpt"), verbose=False)
    assert again.net.blocks[0].linear.scales == module.net.blocks[0].linear.scales
    assert again.hparams["relaxation"] == module.hparams["relaxation"]
    (expected,) = quiet_trainer().test(GNetModule.load_from_checkpoint(tmp_path / "net.ckpt"), datamodule=other, verbose=False)
    assert found == expected
    with pytest.raises(CheckpointError, match="holds another net: relaxation="):
        quiet_trainer().test(asked, datamodule=other, ckpt_path=str(tmp_path / "net.ckpt"), verbose=False)


def test_no_step_along_trained_edges_behind_maps_that_hear_all_nodes():
    steps = {"edge_weights": "self", "self": "self", "none": "none", "graph": "graph"}
    assert {name: GNetModule(Automatic(), propagate=name).hparams["propagate"] for name in steps} == steps


def test_pooled_weights_start_no_larger_than_own_ones():
    """Of S_N, in the mean over nodes: the correlated start has about 1.4 times the own ones, the other two 8 and 100 times."""

    def ratio(symmetry, init):
        module = small_module(symmetry=symmetry, init=init, hidden_channels=16, num_layers=3)
        quiet_trainer(max_epochs=0).fit(module, datamodule=small_digits())
        layer = module.net.blocks[1].linear
        weight = (layer.members[0] if isinstance(layer, GroupSum) else layer).weight
        return weight.mix.std() / weight.own.std()

    assert [GNetModule(Automatic(), init=init).hparams["init"] for init in ("white", "reference")] == ["correlated", "reference"]
    for init in ("white", "fan_in"):
        assert ratio(Automatic(), init) < 2 < 6 < ratio(Symmetric(), init)


def test_the_recurrent_net_sums_candidate_weights(tmp_path):
    module = GNetModule(Automatic(), architecture="gru", hidden_channels=4)
    data = PlantedTraffic(sizes=[8, 4], num_train=40, num_val=10, num_test=10)
    trainer = quiet_trainer()
    trainer.fit(module, datamodule=data)
    cell = module.net.encoder[0]
    assert [len(cell.candidate), *(len(each.weight) for each in cell.beside)][:3] == [1, 3, 12]
    trainer.save_checkpoint(tmp_path / "net.ckpt")
    x = torch.randn(3, 12, module.net.in_channels)
    torch.testing.assert_close(gnet.load(tmp_path / "net.ckpt")(x), module.eval()(x))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beside": [Symmetric()]}, "brings its own groups and does not go with beside; leave beside out"),
        ({"project_onto": Symmetric(), "num_layers": 1}, "does not go with project_onto"),
        ({"mixing": "coarse_edges"}, "does not go with mixing"),
        ({"layer": "chain"}, "is a sum over groups, got layer='chain'; leave layer out"),
        ({"relaxation": {"hops": 2}}, "takes no relaxation 'hops'"),
    ],
)
def test_settings_of_one_group_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        GNetModule(Automatic(), **settings)


def test_translations_of_an_image_act_within_hops_and_automorphisms_of_a_graph_on_all_pairs(tmp_path):
    module = small_module(symmetry=Automatic(hops=2))
    quiet_trainer(max_epochs=0).fit(module, datamodule=small_digits())
    convolution = module.net.blocks[0].linear.members[-1]
    rows, columns = torch.arange(64) // 8, torch.arange(64) % 8
    apart = (rows[:, None] - rows).abs() + (columns[:, None] - columns).abs()
    torch.nn.init.ones_(convolution.weight)
    support = convolution.dense().detach().abs().sum((1, 3)) > 0
    wrapped = torch.minimum((rows[:, None] - rows).abs(), 8 - (rows[:, None] - rows).abs())
    wrapped = wrapped + torch.minimum((columns[:, None] - columns).abs(), 8 - (columns[:, None] - columns).abs())
    assert bool(support[apart <= 2].all()) and not bool(support[(wrapped > 4)].any())
    assert module.hparams["relaxation"]["local"] == 2

    data = Planted(sizes=[3, 3], num_train=20, num_val=8, num_test=8, kind="ring")
    module = GNetModule(Automatic(hops=1), hidden_channels=4)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module, datamodule=data)
    own = module.net.blocks[0].linear.members[-1]
    assert own.group.order() > 1 and not isinstance(own, gnet.OrbitConv) and "local" not in module.hparams["relaxation"]
    alone = gnet.GNet(
        module.group, 1, 4, 1, layer="sum", beside=Automatic().groups(data.graph)[1:], relaxation={"start": "first"}
    )
    assert repr(alone.blocks[0].linear) == repr(module.net.blocks[0].linear)
    trainer.save_checkpoint(tmp_path / "net.ckpt")
    x = torch.randn(3, 6, 1)
    torch.testing.assert_close(gnet.load(tmp_path / "net.ckpt")(x), module.eval()(x))


def test_clusters_of_a_graph_that_says_nothing_are_arbitrary():
    nothing = torch.empty(2, 0, dtype=torch.long)
    with pytest.warns(UserWarning, match="20 nodes without edges and positions does not say which nodes belong together"):
        Automatic().groups(Data(edge_index=nothing, num_nodes=20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Automatic().groups(Data(edge_index=nothing, num_nodes=20, pos=torch.arange(20.0)[:, None]))


@pytest.mark.parametrize("name", ["max_clusters", "hops"])
@pytest.mark.parametrize("value", [0, 2.5, "3", True])
def test_numbers_that_are_not_whole_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"expected {name} to be a whole number >= 1, got {value!r}"):
        Automatic(**{name: value})


def test_the_command_line_knows_it(tmp_path):
    assert as_symmetry("Automatic") == Automatic()
    words = ["fit", "--config", "configs/inpainting/digits.yaml", "--model.symmetry", "Automatic", "--trainer.max_epochs", "2"]
    assert main([*words, "--trainer.default_root_dir", str(tmp_path)]) == 0
