"""Trained nets as graphs and ONNX files: onnxruntime gives what predict gives, for any batch; what cannot be written."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gnet
from gnet.cli import main
from gnet.errors import ConfigError, MissingExtraError
from gnet.training import Automatic, PlantedTraffic
from gnet.training.export import as_program, to_onnx
from gnet.training.module import GNetModule
from tests.training.small import quiet_trainer, small_digits, small_module

KINDS = {
    "patches": lambda: (small_module(), small_digits()),
    "edge weights": lambda: (
        small_module(propagate="edge_weights", norm="batch", residual=1, num_layers=3, hidden_channels=4),
        small_digits(),
    ),
    "automatic": lambda: (small_module(symmetry=Automatic()), small_digits()),
    "gru": lambda: (
        GNetModule(Automatic(), architecture="gru", hidden_channels=4),
        PlantedTraffic(sizes=[3, 2], num_train=20, num_val=8, num_test=4),
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> gnet.training.checkpoint.TrainedNet:
    module, data = KINDS[request.param]()
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module, datamodule=data)
    path = tmp_path_factory.mktemp("nets") / "net.ckpt"
    trainer.save_checkpoint(path)
    return gnet.load(path)


def readings(trained: gnet.training.checkpoint.TrainedNet, batch: int) -> torch.Tensor:
    """Signals in the data's units, one reading missing."""
    x = 3 + 2 * torch.randn(batch, trained.graph.num_nodes, trained.in_channels, generator=torch.Generator().manual_seed(batch))
    x[0, 0, 0] = torch.nan
    return x


def test_onnxruntime_gives_what_predict_gives(trained, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(to_onnx(trained, tmp_path / "net.onnx"))
    assert [each.name for each in session.get_inputs()] == ["x"] and [each.name for each in session.get_outputs()] == ["y"]
    for batch in (1, 2, 7):
        x = readings(trained, batch)
        expected = trained.predict(x).numpy()
        found = session.run(None, {"x": x.numpy()})[0]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected).max() > 0.1, "a net that gives nothing would agree with anything"
    known = session.get_modelmeta().custom_metadata_map
    assert json.loads(known["node_ids"]) == [str(node) for node in trained.node_ids]


def test_a_program_gives_what_the_net_gives(trained):
    program, bare = as_program(trained).module(), as_program(trained, in_units=False).module()
    for batch in (1, 5):
        x = readings(trained, batch)
        torch.testing.assert_close(program(x), trained.predict(x))
        torch.testing.assert_close(bare(x.nan_to_num()), trained(x.nan_to_num()))


def test_it_compiles_in_one_graph(trained):
    x = readings(trained, 3).nan_to_num()
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(trained, backend="aot_eager", fullgraph=True)(x), trained(x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_a_cuda_graph_gives_what_the_net_gives(trained):
    trained.cuda()
    x, stream = readings(trained, 3).nan_to_num().cuda(), torch.cuda.Stream()
    with torch.no_grad():
        with torch.cuda.stream(stream):
            for _ in range(3):
                trained(x)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = trained(x)
        x.copy_(torch.randn_like(x))
        graph.replay()
        torch.testing.assert_close(y, trained(x))


def test_the_command(tmp_path, capsys):
    pytest.importorskip("onnxscript")
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(small_module(), datamodule=small_digits())
    trainer.save_checkpoint(tmp_path / "net.ckpt")
    assert main(["export", "--ckpt_path", str(tmp_path / "net.ckpt")]) == 0
    assert (tmp_path / "net.onnx").stat().st_size > 1000
    assert "input x (batch, 64, 1) in the data's units" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "export needs --ckpt_path FILE"),
        (["--ckpt_pth", "a.ckpt"], "there is no option --ckpt_pth; did you mean --ckpt_path?"),
        (["--ckpt_path", "nowhere.ckpt"], "nowhere.ckpt: no such checkpoint"),
    ],
)
def test_bad_words_are_refused(words, message, capsys):
    assert main(["export", *words]) == 2
    assert message in capsys.readouterr().err


def test_without_the_packages_the_extra_is_named(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    trainer = quiet_trainer(max_epochs=0)
    trainer.fit(small_module(), datamodule=small_digits())
    trainer.save_checkpoint(tmp_path / "net.ckpt")
    trained = gnet.load(tmp_path / "net.ckpt")
    with pytest.raises(MissingExtraError, match=r"pip install --editable '.\[onnx\]'"):
        to_onnx(trained, tmp_path / "net.onnx")
    with pytest.raises(ConfigError, match=r"expected a path NAME\.onnx"):
        to_onnx(trained, tmp_path / "net.pt")
