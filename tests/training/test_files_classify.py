"""Classes in a user's own files: per node or per graph, with gaps, from .npz or .csv; through training to a file."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from gnet.errors import CheckpointError, ConfigError, DataError
from gnet.training.checkpoint import Domain, load
from gnet.training.predict import WritePredictions
from gnet.training.symmetry import Coarsened, Symmetric
from gnet.training.trial import loss_on_test, predictions_of
from tests.training.own_files import IDS, N, T, files, rows_of, write
from tests.training.small import quiet_trainer, small_module

NAMES = ["dry", "snow", "wet"]


def states(x: np.ndarray, kind: str) -> np.ndarray:
    """Three classes by the size of the first channel, some of them not known."""
    each = np.nan_to_num(x[..., 0] if kind == "node" else x[..., 0].mean(1))
    found = np.array(NAMES)[np.searchsorted(np.quantile(each, [0.3, 0.7]), each)]
    found[::9] = ""
    return found


@pytest.fixture(params=["node", "graph"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def y(folder: Path, x: np.ndarray, kind: str) -> np.ndarray:
    """The classes in ``signals.npz``."""
    found = states(x, kind)
    write(folder, x=x, y=found, node_ids=np.array(IDS))
    return found


def trained(folder: Path, epochs: int = 2, **options: Any):
    """A module, its data, and a checkpoint."""
    module, data = small_module(symmetry=Coarsened(2), num_layers=2), files(folder, task="classify", **options)
    trainer = quiet_trainer(max_epochs=epochs)
    trainer.fit(module, data)
    trainer.save_checkpoint(folder / "net.ckpt", weights_only=True)
    return module.eval(), data, folder / "net.ckpt"


class TestBatches:
    def test_targets_are_one_at_the_known_class(self, folder: Path, y: np.ndarray, kind: str):
        data = files(folder, task="classify")
        assert (data.classes, data.out_channels, data.target) == (NAMES, 3, kind)
        for split in ("train", "val", "test"):
            batch, texts = data.samples(split).all(), y[rows_of(data, split)]
            assert batch.y.shape == batch.mask.shape == (*texts.shape, 3)
            assert np.array_equal(batch.mask.numpy(), np.repeat(texts[..., None] != "", 3, -1))
            assert np.array_equal(batch.y.numpy(), (texts[..., None] == np.array(NAMES)).astype(np.float32))
        assert torch.equal(data.scaling.y.inverse(batch.y), batch.y)
        assert data.describe()["classes"] == "dry, snow, wet"

    @pytest.mark.parametrize("header", ["nodes", "nodes in another order", "one"])
    def test_a_csv_says_the_same_as_the_array(self, folder: Path, x: np.ndarray, header: str):
        texts = states(x, "graph" if header == "one" else "node").reshape(T, -1)
        write(folder, x=x, y=texts, node_ids=np.array(IDS))
        expected = files(folder, task="classify").train_arrays()
        write(folder, x=x, node_ids=np.array(IDS))
        order = [2, 0, 4, 1, 3] if header == "nodes in another order" else list(range(texts.shape[1]))
        names = ["state"] if header == "one" else [IDS[node] for node in order]
        lines = [["time", *names], *([str(row), *texts[row, order]] for row in range(T))]
        (folder / "y.csv").write_text("\n".join(",".join(line) for line in lines))
        found = files(folder, task="classify", targets="y.csv").train_arrays()
        assert torch.equal(found.y, expected.y)
        assert torch.equal(found.mask, expected.mask)

    def test_numbers_with_gaps_are_classes_too(self, folder: Path, x: np.ndarray):
        write(folder, x=x, y=np.where(np.arange(T) % 7, np.arange(T) % 3 * 5.0, np.nan))
        data = files(folder, task="classify", graph="correlation", edges=None, threshold=0.1)
        assert data.classes == ["0", "5", "10"]

    def test_redrawn_training_sets_have_the_same_classes(self, folder: Path, y: np.ndarray):
        assert files(folder, task="classify", draw=3, num_train=4, seed=2).classes == NAMES

    def test_a_class_that_training_lacks_is_told_apart_with_a_warning(self, folder: Path, x: np.ndarray):
        write(folder, x=x, y=np.array(["a", "b"])[np.arange(T) % 2].tolist()[:-9] + ["c"] * 9, node_ids=np.array(IDS))
        data = files(folder, task="classify", split="time")
        with pytest.warns(UserWarning, match="no training sample has the classes c, which other samples have"):
            data.setup()
        assert data.classes == ["a", "b", "c"]

    @pytest.mark.parametrize(
        ("y", "options", "error", "message"),
        [
            (None, {}, DataError, r"task='classify' needs 'y' \(T, N\) or \(T,\) in the .npz, or a file targets"),
            (["a"] * T, {}, DataError, "signals.npz: y: expected at least two classes|at least two classes to tell apart"),
            (["a", "b"], {}, DataError, r"expected a class for each of the 50 samples, or of their nodes, got y \(2,\)"),
            (np.eye(T)[:, :2], {}, DataError, r"got \(50, 2\); of one-hot rows give the class itself"),
            (np.linspace(0, 1, T), {}, DataError, "expected classes as text or whole numbers, got 0.02"),
            (["a", "b"] * 25, {"target": "node"}, ConfigError, "target='node', but .* has a class for each graph"),
            (["a", "b"] * 25, {"task": "regress"}, DataError, "expected numbers in y, got <U1; classes are for task='classify'"),
            ([""] * 40 + ["a", "b"] * 5, {"split": "time"}, DataError, "no observed target in the train part"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:.*no training sample has the classes")
    def test_what_cannot_be_classes_is_refused(self, folder: Path, x: np.ndarray, y, options, error, message):
        write(folder, x=x, node_ids=np.array(IDS), **({} if y is None else {"y": np.array(y)}))
        with pytest.raises(error, match=message):
            files(folder, **{"task": "classify", **options}).setup()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "state\na\nb\n",
                "expected one row for each of the 50 samples, got 2; in a file of one column an empty line is no row",
            ),
            (
                "a,b\n" + "x,y\n" * T,
                r"y.csv, line 1: expected one column of classes, or one for each of the 5 nodes, got 2: \['a'",
            ),
            ("delay\n" + "0.5\n1\n" * 25, "y.csv: expected classes as text or whole numbers, got 0.5"),
        ],
    )
    def test_a_csv_without_classes_is_refused(self, folder: Path, text: str, message: str):
        (folder / "y.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            files(folder, task="classify", targets="y.csv").setup()
        with pytest.raises(DataError, match="no such file of targets"):
            files(folder, task="classify", targets="z.csv").setup()

    def test_who_does_not_ask_for_classes_does_not_stumble_over_them(self, folder: Path, y: np.ndarray):
        assert files(folder, task="impute").classes is None
        assert files(folder, task="forecast", horizon_in=2, horizon_out=1).train_arrays().y.shape[1:] == (N, 2)
        (folder / "y.csv").write_text("delay\n" + "0.5\n1\n" * 25)
        assert files(folder, task="regress", targets="y.csv").train_arrays().y.shape == (35, 1)

    def test_texts_are_no_numbers_to_regress(self, folder: Path):
        (folder / "y.csv").write_text("state\n" + "dry\nwet\n" * 25)
        with pytest.raises(DataError, match="expected a number or an empty cell, got 'dry'; classes are for task='classify'"):
            files(folder, task="regress", targets="y.csv").setup()


class TestNet:
    def test_the_losses_are_means_over_the_known_targets(self, folder: Path, y: np.ndarray):
        module, data, _ = trained(folder, batch_size=7)
        batch = data.test_arrays()
        known = batch.mask[..., 0]
        with torch.no_grad():
            logits = module(batch.x)
        expected = functional.cross_entropy(logits[known], batch.y[known].argmax(-1))
        assert loss_on_test(module, data) == pytest.approx(float(expected), rel=1e-5)
        logged = quiet_trainer().test(module, data, verbose=False)[0]
        assert logged["test_loss"] == pytest.approx(float(expected), rel=1e-5)
        right = (logits.argmax(-1) == batch.y.argmax(-1))[known].double().mean()
        assert logged["test_accuracy"] == pytest.approx(float(right), rel=1e-6)
        assert 0 <= logged["test_f1_macro"] <= 1
        assert not [name for name in logged if "mae" in name]
        assert np.allclose(predictions_of(module, data), logits.softmax(-1), atol=1e-6)

    def test_training_finds_what_there_is_to_find(self, folder: Path, x: np.ndarray):
        write(folder, x=x, y=states(x, "node"), node_ids=np.array(IDS))
        module, data, _ = trained(folder, epochs=150)
        found = quiet_trainer().test(module, data, verbose=False)[0]["test_accuracy"]
        assert found > 0.7  # guessing the most frequent class is right in 4 of 10

    def test_a_trained_net_returns_probabilities(self, folder: Path, x: np.ndarray, y: np.ndarray):
        module, data, path = trained(folder)
        net = load(path)
        assert net.classes == NAMES
        found = net.predict(torch.from_numpy(x).float())
        assert found.shape == (*y.shape, 3)
        assert torch.allclose(found.sum(-1), torch.ones(y.shape), atol=1e-6)
        assert torch.allclose(found, module(data.to_predict.samples.all().x).softmax(-1), atol=1e-6)

    def test_losses_of_the_other_kind_are_refused_both_ways(self, folder: Path, x: np.ndarray):
        write(folder, x=x, y=np.arange(T) % 3, node_ids=np.array(IDS))
        for loss, task in (("mse", "classify"), ("cross_entropy", "regress")):
            with pytest.raises(ConfigError, match=f"loss='{loss}'"):
                quiet_trainer().fit(small_module(symmetry=Symmetric(), loss=loss), files(folder, task=task))

    def test_a_recurrent_net_is_refused(self, folder: Path, y: np.ndarray):
        with pytest.raises(ConfigError, match="needs data with task='forecast'"):
            quiet_trainer().fit(small_module(symmetry=Symmetric(), architecture="gru"), files(folder, task="classify"))


class TestPredict:
    @pytest.mark.parametrize("suffix", [".csv", ".npz"])
    def test_the_file_has_the_users_names(self, folder: Path, x: np.ndarray, y: np.ndarray, kind: str, suffix: str):
        module, data, path = trained(folder, batch_size=7)
        file = folder / f"p{suffix}"
        quiet_trainer(WritePredictions(str(file))).predict(module, data, return_predictions=False)
        probabilities = load(path).predict(torch.from_numpy(x).float()).numpy()
        names = np.array(NAMES)[probabilities.argmax(-1)]
        if suffix == ".npz":
            with np.load(file) as found:
                assert set(found.files) == {"predictions", "probabilities", "targets", "classes", "samples", "nodes"}
                assert np.allclose(found["probabilities"], probabilities, atol=1e-6)
                assert np.array_equal(found["predictions"], names)
                assert np.array_equal(found["targets"], y)
                assert found["classes"].tolist() == NAMES
            return
        with open(file, newline="") as text:
            rows = list(csv.DictReader(text))
        assert list(rows[0]) == ["sample", "node", "prediction", "probability", "target"]
        nodes = IDS if kind == "node" else [""]
        assert [(row["sample"], row["node"]) for row in rows] == [(str(row), node) for row in range(T) for node in nodes]
        assert [row["prediction"] for row in rows] == names.flatten().tolist()
        assert [row["target"] for row in rows] == y.flatten().tolist()
        assert [float(row["probability"]) for row in rows] == pytest.approx(probabilities.max(-1).flatten().tolist(), abs=1e-6)

    @pytest.mark.parametrize("known", ["absent", "empty", "one class"])
    def test_new_rows_need_not_have_all_classes_or_any(self, folder: Path, x: np.ndarray, y: np.ndarray, known: str):
        _, data, path = trained(folder)
        new = files(folder, task="classify")
        texts = {"absent": {}, "empty": {"y": np.full_like(y[:3], "")}, "one class": {"y": np.full_like(y[:3], "wet")}}[known]
        write(folder, x=x[1:4] + 1, node_ids=np.array(IDS), **texts)
        new.in_units_of(Domain.of(data), only_predicts=True)
        assert new.classes == NAMES
        batch = new.to_predict.samples.all()
        assert batch.mask.all() == (known == "one class")
        file = folder / "p.npz"
        quiet_trainer(WritePredictions(str(file))).predict(
            small_module(symmetry=Coarsened(2)), new, return_predictions=False, ckpt_path=path
        )
        with np.load(file) as found:
            expected = load(path).predict(torch.from_numpy(x[1:4] + 1).float()).numpy()
            assert np.allclose(found["probabilities"], expected, atol=1e-5)

    def test_other_classes_are_refused(self, folder: Path, x: np.ndarray, y: np.ndarray):
        _, data, path = trained(folder)
        write(folder, x=x, y=np.where(y == "wet", "flood", y), node_ids=np.array(IDS))
        module = small_module(symmetry=Coarsened(2))
        message = "belongs to other targets: the classes dry, snow, wet there and the classes dry, flood, snow here"
        with pytest.raises(CheckpointError, match=message):
            quiet_trainer().test(module, files(folder, task="classify"), ckpt_path=path, verbose=False)
        known = files(folder, task="classify")
        known.in_units_of(Domain.of(data))
        with pytest.raises(DataError, match="'flood' is no class of the trained net, which knows dry, snow, wet"):
            known.setup()
        with pytest.raises(CheckpointError, match="the classes dry, snow, wet there and numbers here"):
            quiet_trainer().test(small_module(symmetry=Coarsened(2)), files(folder), ckpt_path=path, verbose=False)


def test_classes_survive_the_record_and_old_records_have_none(folder: Path, y: np.ndarray):
    domain = Domain.of(files(folder, task="classify"))
    record = domain.record()
    assert record["classes"] == NAMES
    assert Domain.from_record(record).classes == NAMES
    del record["classes"]
    assert Domain.from_record(record).classes is None
    with pytest.raises(CheckpointError, match="numbers there and the classes dry, snow, wet here"):
        Domain.from_record(record).check_same(domain)
