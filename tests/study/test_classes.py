"""A study of classes: predictions are probabilities, bias^2 and variance parts of the Brier score, baselines those that fit."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gnet.cli import main
from gnet.errors import ConfigError
from gnet.measures import decompose, residual_gram
from gnet.study.baselines import fit_frequencies, masked_loss, train_baseline
from gnet.study.journal import read_rows
from gnet.study.plan import choose_baselines
from gnet.study.report import Targets, decompositions
from gnet.study.trials import trial_path
from gnet.training.checkpoint import load
from gnet.training.datamodule import Batch

NAMES = ["calm", "jam", "slow"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty samples of four nodes: the size of a reading tells its class, a few of which are not known."""
    root, draw = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    x = draw.normal(size=(60, 4, 1))
    y = np.array(["calm", "slow", "jam"])[np.digitize(x[..., 0] + 0.3 * draw.normal(size=(60, 4)), [-0.5, 0.6])]
    y[::7, 2] = ""
    np.savez(root / "signals.npz", x=x, y=y)
    (root / "edges.csv").write_text("source,target\n0,1\n1,2\n2,3\n")
    return root


def arguments(folder: Path, *more: str) -> list[str]:
    data = ["--data=FromFiles", f"--data.root={folder}", "--data.signals=signals.npz", "--data.edges=edges.csv"]
    small = ["--model.hidden_channels=3", "--trainer.max_epochs=2", "--trainer.accelerator=cpu"]
    return [*data, "--data.task=classify", *small, *more]


def study(folder: Path, out: Path, *more: str) -> int:
    return main(["study", *arguments(folder), "--clusters", "1", "4", "--jobs=0", f"--out={out}", *more])


@pytest.fixture(scope="module")
def done(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    assert study(folder, out, "--seeds=2", "--draws=2") == 0
    return out


def config(folder: Path, **model: Any) -> dict[str, Any]:
    init = {"root": str(folder), "signals": "signals.npz", "edges": "edges.csv", "task": "classify"}
    symmetry = {"class_path": "gnet.training.symmetry.Trivial", "init_args": {}}
    return {
        "seed_everything": 1,
        "model": {"symmetry": symmetry, "hidden_channels": 3, **model},
        "data": {"class_path": "gnet.training.data.FromFiles", "init_args": init},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
    }


class TestStudy:
    def test_predictions_are_the_probabilities_of_the_checkpoint(self, done: Path) -> None:
        assert Targets.read(done).classes == NAMES
        path = trial_path(done, ("trivial", 1, 1))
        stored = np.load(path)
        assert np.allclose(stored.sum(-1), 1, atol=1e-5)
        with np.load(done / "test_set.npz") as test, torch.no_grad():
            expected = load(path.with_suffix(".ckpt"))(torch.from_numpy(test["x"])).softmax(-1)
            assert test["y"].shape == stored.shape == (12, 4, 3)
        assert stored == pytest.approx(expected.numpy(), abs=1e-5)

    def test_the_table_has_the_metrics_and_the_baselines_that_fit(self, done: Path) -> None:
        rows = read_rows(done / "results.csv")
        assert list(dict.fromkeys(row.symmetry for row in rows)) == ["S4", "trivial", "gcn", "mlp_per_node", "mean"]
        assert all(row.metrics.startswith("accuracy=") and ";f1_macro=" in row.metrics for row in rows)
        assert max(row.equivariance_error for row in rows if row.symmetry == "S4") < 1e-12

    def test_bias_and_variance_add_up_to_the_brier_score(self, done: Path) -> None:
        rows = read_rows(done / "results.csv")
        with np.load(done / "test_set.npz") as test:
            y, known = test["y"], test["mask"][..., 0]
        for name, parts in decompositions(done, rows).items():
            trials = [np.load(trial_path(done, row.key)) for row in rows if row.symmetry == name]
            brier = np.mean([brier_score(each, y, known) for each in trials])
            assert parts.mse == pytest.approx(brier, rel=1e-5)
            assert 0 < parts.bias2 + parts.variance < 2

    def test_the_report_says_what_adds_up(self, done: Path) -> None:
        text = (done / "report.md").read_text()
        assert "bias^2 + variance is the **expected Brier score**" in text
        assert "Losses are cross-entropies in nats, per target" in text
        assert "squared error" not in text and "model units" not in text
        assert "- classes: calm, jam, slow" in text
        assert (done / "bias_variance.png").is_file() and (done / "outputs.png").is_file()

    def test_an_explicit_loss_goes_on_with_the_folder(self, folder: Path, done: Path) -> None:
        before = read_rows(done / "results.csv")
        assert study(folder, done, "--seeds=2", "--draws=2", "--model.loss=cross_entropy") == 0
        assert read_rows(done / "results.csv") == before
        assert json.loads((done / "study.json").read_text())["variants"]["S4"]["config"]["model"]["loss"] == "cross_entropy"

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--model.loss=mse"], "error: loss='mse' compares numbers"),
            (["--baselines", "ridge"], "error: the baseline ridge predicts numbers, the targets are classes; take gcn"),
            (["--data.task=impute", "--model.loss=cross_entropy"], "error: loss='cross_entropy' needs classes"),
        ],
    )
    def test_what_does_not_fit_is_refused_before_training(
        self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
    ) -> None:
        assert study(folder, tmp_path / "out", *more) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def brier_score(probabilities: NDArray[np.floating], y: NDArray[np.floating], known: NDArray[np.bool_]) -> float:
    """The definition: over known targets, the mean of the sum over classes of (p - y)^2."""
    scores = []
    for p, one, counts in zip(probabilities.reshape(-1, 3), y.reshape(-1, 3), known.flatten(), strict=True):
        if counts:
            scores.append(sum((float(a) - float(b)) ** 2 for a, b in zip(p, one, strict=True)))
    return float(np.mean(scores))


def test_expected_brier_score_of_probabilities_that_are_known() -> None:
    """p and y by hand, with every draw equally likely: E |p - y|^2 = |E p - y|^2 + Var p, summed over the classes."""
    y = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    draws = [np.array([[0.8, 0.1, 0.1], [0.2, 0.2, 0.6]]), np.array([[0.6, 0.3, 0.1], [0.4, 0.4, 0.2]])]
    parts = decompose(3 * residual_gram(draws, y), [0, 1])
    assert parts.mse == pytest.approx(np.mean([brier_score(each, y, np.ones(2, bool)) for each in draws]))
    assert parts.variance == pytest.approx(np.mean(np.sum(np.var(draws, axis=0, ddof=1), -1)))
    assert parts.bias2 + parts.variance == pytest.approx(parts.mse)
    liar = decompose(residual_gram(draws, y), [0, 1])  # a mean over the classes
    assert liar.mse != pytest.approx(parts.mse)


class TestBaselines:
    @pytest.mark.parametrize("name", choose_baselines(None, SimpleNamespace(classes=NAMES)))
    def test_every_one_is_trained_by_cross_entropy(self, folder: Path, name: str) -> None:
        trained = train_baseline(name, config(folder), threads=1)
        assert trained.predictions.shape == (12, 4, 3)
        assert np.allclose(trained.predictions.sum(-1), 1, atol=1e-5)
        test = trained.datamodule.test_arrays()
        known = test.mask[..., 0]
        with torch.no_grad():
            logits = trained.function(test.x)
        expected = torch.nn.functional.cross_entropy(logits[known], test.y[known].argmax(-1))
        assert trained.test_loss == pytest.approx(float(expected), rel=1e-5)
        assert masked_loss(logits, test, "cross_entropy") == pytest.approx(float(expected), rel=1e-5)
        assert set(trained.metrics) == {"accuracy", "f1_macro"}

    def test_frequencies_are_those_of_the_known_and_never_zero(self) -> None:
        y = torch.eye(3)[torch.tensor([[0, 1], [0, 2], [0, 1]])]  # three samples of two nodes
        mask = torch.tensor([[True, True], [True, False], [True, True]])[..., None].expand_as(y)
        predict, num_weights = fit_frequencies(Batch(y, y, mask), Batch(y, y, mask), "cross_entropy")
        third = 1 / 3
        expected = torch.tensor([[3 + third, third, third], [third, 2 + third, third]]) / torch.tensor([[4.0], [3.0]])
        assert torch.allclose(predict(torch.zeros(5, 2, 1)).softmax(-1), expected.expand(5, 2, 3), atol=1e-6)
        assert num_weights == 0

    def test_those_of_numbers_are_refused_and_left_out(self, folder: Path) -> None:
        classes = SimpleNamespace(classes=NAMES, historical_average=lambda split: None)
        assert choose_baselines(None, classes) == ("gcn", "mlp_per_node", "mean")
        for name in ("ridge", "last_value", "historical_average"):
            with pytest.raises(ConfigError, match=f"the baseline {name} predicts numbers, the targets are classes"):
                choose_baselines(["gcn", name], classes)
        with pytest.raises(ConfigError, match="the baseline ridge predicts numbers"):
            train_baseline("ridge", config(folder), threads=1)
        with pytest.raises(ConfigError, match="loss='mae' compares numbers"):
            train_baseline("mean", config(folder, loss="mae"), threads=1)
