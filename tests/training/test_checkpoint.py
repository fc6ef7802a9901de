"""What a checkpoint holds, what it refuses, and loading it without data and without lightning."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data

from gnet.errors import CheckpointError, DataError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, PermutationGroup, TrivialGroup
from gnet.training.checkpoint import RECORD, Domain, group_from_record, group_record, load, read
from gnet.training.module import GNetModule
from gnet.training.standardise import Scaling, Standardiser
from gnet.training.symmetry import Coarsened, Trivial
from tests.training.small import quiet_trainer, small_digits, small_module


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[GNetModule, Path]:
    module, path = small_module(norm="batch", dropout=0.1), tmp_path_factory.mktemp("run") / "net.ckpt"
    trainer = quiet_trainer()
    trainer.fit(module, datamodule=small_digits())
    trainer.save_checkpoint(path)
    return module.eval(), path


def primitive(value: object) -> bool:
    if isinstance(value, dict):
        return all(primitive(key) and primitive(each) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(primitive, value))
    return value is None or isinstance(value, (str, int, float, bool, torch.Tensor))


def test_the_file_holds_tensors_and_primitives_only(trained):
    content = torch.load(trained[1], weights_only=True)
    assert primitive(content[RECORD])
    assert primitive(content["hyper_parameters"])
    assert set(content[RECORD]["domain"]) >= {"edge_index", "edge_weight", "num_nodes", "scaling", "node_ids", "edges_hash"}


def test_load_gives_the_net_without_its_data(trained, rng: torch.Generator):
    module, path = trained
    net, data = load(path), small_digits()
    x = data.predict_arrays().x
    assert isinstance(net, torch.nn.Module)
    assert not net.training
    assert torch.equal(net(x), module(x))
    assert net.node_ids == data.node_ids
    assert net.group == module.group
    assert net.hyper_parameters["hidden_channels"] == 3
    units = data.scaling.x.inverse(x)
    assert torch.allclose(net.predict(units), data.scaling.y.inverse(module(x)), atol=1e-5)
    units[0, 5] = torch.nan
    assert net.standardise(units)[0, 5] == 0
    assert net.predict(units).isfinite().all()
    assert "64 nodes, symmetry S16 x S16 x S16 x S16" in repr(net)


def test_infinite_readings_are_named(trained):
    x = torch.zeros(2, 64, 1)
    x[1, 9] = -torch.inf
    with pytest.raises(DataError, match=r"NaN where one is missing, got -inf at node '1,1', channel 0, sample 1"):
        load(trained[1]).predict(x)


def test_load_needs_no_lightning(trained):
    code = (
        f"import sys, torch, gnet; from gnet.training.checkpoint import load; net = load({str(trained[1])!r});"
        "net.predict(torch.zeros(1, 64, 1)); bad = [m for m in sys.modules if m.split('.')[0] in ('lightning', 'jsonargparse')];"
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_load_from_checkpoint_without_data(trained):
    module, path = trained
    again = GNetModule.load_from_checkpoint(path, map_location="cpu", weights_only=True).eval()
    x = small_digits().predict_arrays().x
    assert torch.equal(again(x), module(x))
    assert again.symmetry == Coarsened(4, "patches")


def test_strict_state_dicts_go_round_in_train_and_eval_mode(trained):
    module, path = trained
    for mode in (True, False):
        state = {key: value.clone() for key, value in module.train(mode).state_dict().items()}
        for other in (True, False):
            again = GNetModule.load_from_checkpoint(path, map_location="cpu").train(other)
            again.load_state_dict(state, strict=True)
            assert list(again.state_dict()) == list(state)
    module.eval()


def other_graph(change: str):
    data = small_digits()
    data.setup()
    graph, prepared = data.graph.clone(), dict(vars(data.prepared))
    if change == "edges":
        graph.edge_index = graph.edge_index[:, 1:]
    if change == "rewired":
        graph.edge_index = graph.edge_index.clone()
        graph.edge_index[1, 0] = 63
    if change == "weights":
        graph.edge_weight = torch.full((graph.edge_index.shape[1],), 2.0)
    if change == "order":
        graph.edge_index = graph.edge_index.flip(1)
    if change == "names":
        prepared["node_ids"] = ["first", *prepared["node_ids"][1:]]
    if change == "sorted":
        prepared["node_ids"] = prepared["node_ids"][::-1]
        graph.edge_index = (63 - graph.edge_index)[:, 1:].clone()
        graph.edge_index = torch.cat([graph.edge_index, graph.edge_index[:, :1]], 1)
    data._prepared = type(data.prepared)(**{**prepared, "graph": graph})
    return data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("edges", "belongs to another graph: number of edges is 224 there and 223 here"),
        ("rewired", "another graph: edges or their weights have hash [0-9a-f]{12} there and [0-9a-f]{12} here"),
        ("weights", "edges or their weights have hash"),
        ("names", "node 0 is '0,0' there and 'first' here; use the data"),
        ("sorted", "node 0 is '0,0' there and '7,7' here, the same nodes in another order: sort them as there; use the data"),
    ],
)
def test_another_graph_is_refused(trained, change: str, message: str):
    with pytest.raises(CheckpointError, match=message):
        quiet_trainer().test(small_module(norm="batch", dropout=0.1), other_graph(change), ckpt_path=trained[1], verbose=False)


def test_the_order_of_edges_does_not_matter(trained):
    module = small_module(norm="batch", dropout=0.1)
    measured = quiet_trainer().test(module, other_graph("order"), ckpt_path=trained[1], verbose=False)
    assert measured[0]["test_loss"] > 0
    assert module.group == trained[0].group


def test_another_net_is_refused(trained):
    with pytest.raises(CheckpointError, match="holds another net: hidden_channels=3 there and 5 here"):
        quiet_trainer().test(
            small_module(norm="batch", dropout=0.1, hidden_channels=5), small_digits(), ckpt_path=trained[1], verbose=False
        )


def test_clusters_of_the_checkpoint_win_over_those_of_today(trained):
    module = small_module(symmetry=Trivial(), norm="batch", dropout=0.1)
    quiet_trainer().test(module, small_digits(), ckpt_path=trained[1], verbose=False)
    assert module.group == trained[0].group


def test_data_in_other_units_are_brought_to_those_of_the_checkpoint(trained, monkeypatch: pytest.MonkeyPatch):
    module, path = trained
    data = small_digits()
    monkeypatch.setattr(data, "in_units_of", lambda *_, **__: None)  # a data module that goes on in its own units
    data.setup()
    scale = data.scaling.x
    other = Standardiser(scale.mean + 1.0, scale.std * 2.0)
    batch = data.samples("test").all()  # the very samples of the split "predict" too
    data.samples("test").batch = type(batch)(*(other(scale.inverse(each)) for each in (batch.x, batch.y)), batch.mask)
    data._prepared = type(data.prepared)(**{**vars(data.prepared), "scaling": Scaling(other, other)})
    again = small_module(norm="batch", dropout=0.1)
    found = quiet_trainer().test(again, data, ckpt_path=path, verbose=False)[0]["test_loss"]
    expected = quiet_trainer().test(module, small_digits(), verbose=False)[0]["test_loss"]
    assert found == pytest.approx(expected, rel=1e-4)


def test_text_files_are_refused(tmp_path: Path):
    path = tmp_path / "notes.ckpt"
    path.write_text("hello")
    with pytest.raises(CheckpointError, match=r"notes\.ckpt: no checkpoint, .* a checkpoint is a zip archive"):
        load(path)


@pytest.mark.parametrize("kept", [0, 100, 3000])
def test_truncated_files_are_refused(trained, tmp_path: Path, kept: int):
    path = tmp_path / "cut.ckpt"
    path.write_bytes(trained[1].read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"cut\.ckpt: no checkpoint, or a truncated one"):
        load(path)


def test_strange_files_are_refused(trained, tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"none\.ckpt: no such checkpoint; there are \['.*net\.ckpt'\]"):
        read(trained[1].with_name("none.ckpt"))
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="not one of gnet"):
        read(tmp_path / "other.ckpt")
    content = torch.load(trained[1], weights_only=True)
    content["state_dict"].popitem()
    torch.save(content, tmp_path / "lost.ckpt")
    with pytest.raises(CheckpointError, match="parts of the checkpoint do not fit together"):
        load(tmp_path / "lost.ckpt")


def test_groups_survive_their_record():
    swaps = PermutationGroup([[1, 0, 2]])
    for group in (
        ClusterGroup(Partition([1, 0, 0, 1, 2])),
        ClusterGroup(Partition([1, 0, 0, 1, 2]), swaps),
        PermutationGroup([[1, 2, 0, 3]]),
        PermutationGroup([], degree=3),
        TrivialGroup(3),
    ):
        assert group_from_record(group_record(group)) == group


def test_domain_survives_its_record():
    domain = Domain(
        Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=torch.tensor([0.5, 2.0]), num_nodes=3),
        None, 2, 1, "graph", Scaling.identity(2, 1), ["a", "b", "c"],
    )  # fmt: skip
    again = Domain.from_record(domain.record())
    again.check_same(domain)
    assert again.edges_hash() == domain.edges_hash()
    assert (again.target, again.node_ids, again.grid_shape) == ("graph", ["a", "b", "c"], None)


def test_a_checkpoint_before_the_projection_loads_projected(tmp_path: Path):
    module = small_module(symmetry=Trivial(), project_onto=Coarsened(4, "patches"), num_layers=1)
    data = small_digits()
    module.build(Domain.of(data))
    trainer = quiet_trainer()
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "free.ckpt", weights_only=True)
    net = load(tmp_path / "free.ckpt")
    module.project()
    x = data.predict_arrays().x
    assert net.group == module.group == Coarsened(4, "patches")(data.graph, data.grid_shape)
    assert torch.allclose(net(x), module(x), atol=1e-6)
