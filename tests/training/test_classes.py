"""Targets that are classes: their names, one-hot targets with gaps, the loss, and what a loss that counts wrongly would say."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gnet.errors import ConfigError, DataError, ShapeError
from gnet.training.classes import class_texts, cross_entropy, loss_for, names_of, one_hot, per_node_or_graph
from gnet.training.datamodule import Batch
from gnet.training.metrics import MaskedAccuracy, MaskedF1
from gnet.training.module import GNetModule
from gnet.training.symmetry import Symmetric

K = 3


def masked_batch(rng: torch.Generator, *shape: int) -> tuple[Tensor, Tensor, Batch]:
    """Logits, known classes (-1 where there is none), and the batch that a net would see."""
    logits = 3 * torch.randn(*shape, K, generator=rng)
    known = torch.randint(-1, K, shape, generator=rng)
    known.view(-1)[:2] = torch.tensor([-1, 0])
    names = np.array(["a", "b", "c", ""])[known.numpy()]
    y, mask = one_hot(names, ["a", "b", "c"], "y")
    return logits, known, Batch(torch.zeros(shape[0], 5, 1), y, mask)


class TestNames:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            (np.array([[3, 1], [2, 1]]), [["3", "1"], ["2", "1"]]),
            (np.array([3.0, np.nan, -1.0]), ["3", "", "-1"]),
            (np.array([True, False]), ["True", "False"]),
            (np.array([b"wet", b""]), ["wet", ""]),
            (np.array([" wet ", "NaN", "none", "NA"]), ["wet", "", "none", "NA"]),
            (np.array(["1.0", "", "2"]), ["1", "", "2"]),
            (np.array(["007", "7"]), ["007", "7"]),
            (np.array(["1.5", "high"]), ["1.5", "high"]),
        ],
        ids=str,
    )
    def test_classes_keep_the_names_of_the_file(self, values: np.ndarray, expected: list):
        assert class_texts(values, "y").tolist() == expected

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (
                np.array([0.5, 1.0]),
                r"y\.csv: expected classes as text or whole numbers, got 0\.5; numbers are for task='regress'",
            ),
            (np.array(["inf", "1"]), "expected classes as text or whole numbers, got inf"),
            (np.array([1j]), "got complex128; write them as text"),
            (np.array([b"\xff"]), "got bytes that are none"),
        ],
        ids=str,
    )
    def test_what_names_no_class_is_refused(self, values: np.ndarray, message: str):
        with pytest.raises(DataError, match=message):
            class_texts(values, "y.csv")

    def test_numbers_are_in_their_order_and_texts_in_that_of_the_alphabet(self):
        assert names_of(np.array(["10", "9", "-1", ""] * 2), "y") == ["-1", "9", "10"]
        assert names_of(np.array([["10", "9"], ["x", ""]] * 2), "y") == ["10", "9", "x"]

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            (["a", "", "a"], "y: expected at least two classes to tell apart, got the one class 'a'"),
            (["", ""], "expected at least two classes to tell apart, got no class"),
            (list("abcdefgh"), r"8 classes among 8 known targets \(a, b, c, d, e, f, ... \(8 in all\)\) leave nothing to learn"),
        ],
        ids=str,
    )
    def test_too_few_or_too_many_are_refused(self, texts: list[str], message: str):
        with pytest.raises(DataError, match=message):
            names_of(np.array(texts), "y")

    @pytest.mark.parametrize(
        ("shape", "num_nodes", "target", "expected"),
        [
            ((4,), 3, None, (4,)),
            ((4, 1), 3, "graph", (4,)),
            ((4, 3), 3, "node", (4, 3)),
            ((4, 3, 1), 3, None, (4, 3)),
            ((4, 1), 1, None, (4,)),
            ((4,), 1, "node", (4, 1)),
            ((4, 1), 1, "node", (4, 1)),
        ],
    )
    def test_a_class_for_each_node_or_each_graph(self, shape, num_nodes, target, expected):
        assert per_node_or_graph(np.full(shape, "a"), num_nodes, target, "y").shape == expected

    @pytest.mark.parametrize(
        ("shape", "target", "error", "message"),
        [
            (
                (4, 2),
                None,
                DataError,
                r"\(T, 3\), or for each sample, \(T,\), got \(4, 2\); of one-hot rows give the class itself",
            ),
            ((4, 3, 2), None, DataError, r"got \(4, 3, 2\)"),
            ((4, 3), "graph", ConfigError, r"target='graph', but y has a class for each node, \(4, 3\); leave target out"),
            ((4,), "node", ConfigError, r"target='node', but y has a class for each graph, \(4,\)"),
        ],
    )
    def test_other_shapes_are_refused(self, shape, target, error, message):
        with pytest.raises(error, match=message):
            per_node_or_graph(np.full(shape, "a"), 3, target, "y")

    def test_a_class_the_net_does_not_know_is_refused(self):
        with pytest.raises(DataError, match="y: 'snow' is no class of the trained net, which knows dry, wet"):
            one_hot(np.array(["dry", "snow"]), ["dry", "wet"], "y")


class TestLoss:
    @pytest.mark.parametrize("shape", [(7, 5), (7,)], ids=["per node", "per graph"])
    def test_is_that_of_torch_over_the_known(self, shape: tuple[int, ...], rng: torch.Generator):
        logits, known, batch = masked_batch(rng, *shape)
        expected = functional.cross_entropy(logits.reshape(-1, K), known.flatten(), ignore_index=-1)
        module = GNetModule(Symmetric(), loss="cross_entropy")
        module.domain = type("Domain", (), {"classes": ["a", "b", "c"]})()
        terms = module.errors(logits, batch)
        assert terms.shape == batch.y.shape
        assert torch.allclose(terms.sum() / module.counted(batch.mask), expected)
        # The liar counts every class of an entry.
        assert not torch.allclose(terms.sum() / batch.mask.sum(), expected)
        assert not cross_entropy(logits, batch)[known == -1].any()

    def test_its_gradient_reaches_known_targets_only(self, rng: torch.Generator):
        logits, _, batch = masked_batch(rng, 7, 5)
        logits.requires_grad_()
        cross_entropy(logits, batch).sum().backward()
        softmax = logits.detach().softmax(-1)
        expected = torch.where(batch.mask, softmax - batch.y, torch.zeros(()))
        assert torch.allclose(logits.grad, expected, atol=1e-6)

    def test_is_finite_for_sure_and_wrong_logits(self):
        y, mask = one_hot(np.array(["a", ""]), ["a", "b"], "y")
        logits = torch.tensor([[-1e4, 1e4], [torch.inf, 0.0]])
        assert cross_entropy(logits, Batch(y, y, mask)).sum() == 2e4

    def test_fits_the_task_or_is_refused(self):
        assert [loss_for(asked, None) for asked in (None, "mse", "mae")] == ["mse", "mse", "mae"]
        assert [loss_for(asked, ["a", "b"]) for asked in (None, "cross_entropy")] == ["cross_entropy"] * 2
        with pytest.raises(ConfigError, match=r"loss='mae' compares numbers, .* are classes \(a, b\); leave the loss out, or"):
            loss_for("mae", ["a", "b"])
        with pytest.raises(ConfigError, match=r"loss='cross_entropy' needs classes, .*; take loss='mse' or 'mae', or task"):
            loss_for("cross_entropy", None)


class TestMetrics:
    @pytest.mark.parametrize("kind", [MaskedAccuracy, MaskedF1])
    def test_is_that_of_scikit_learn_over_the_known_of_all_batches(self, kind, rng: torch.Generator):
        from sklearn.metrics import accuracy_score, f1_score

        metric = kind(K)
        guesses, truths = [], []
        for size in (6, 6, 1):
            logits, known, batch = masked_batch(rng, size, 5)
            metric.update(logits.softmax(-1), batch.y, batch.mask)
            guesses.append(logits.argmax(-1)[known >= 0])
            truths.append(known[known >= 0])
        guess, truth = (torch.cat(each).numpy() for each in (guesses, truths))
        expected = accuracy_score(truth, guess) if kind is MaskedAccuracy else f1_score(truth, guess, average="macro")
        assert float(metric.compute()) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("kind", [MaskedAccuracy, MaskedF1])
    def test_a_liar_takes_what_is_not_known_for_the_first_class(self, kind):
        y, mask = one_hot(np.array(["b", "", "c", ""]), ["a", "b", "c"], "y")
        metric, liar = kind(K), kind(K)
        metric.update(torch.eye(K)[torch.tensor([1, 1, 2, 2])], y, mask)
        liar.update(torch.eye(K)[torch.tensor([1, 1, 2, 2])], y, torch.ones_like(mask))
        assert metric.compute() == 1
        assert liar.compute() < 0.9

    def test_a_class_that_nobody_has_does_not_count(self):
        metric = MaskedF1(4)
        metric.update(torch.eye(4)[[0, 1]], torch.eye(4)[[0, 1]], torch.ones(2, 4, dtype=torch.bool))
        assert metric.compute() == 1

    @pytest.mark.parametrize("wrong", [{"mask": torch.ones(2, 3)}, {"target": torch.ones(2, 2)}, {"prediction": torch.ones(2)}])
    def test_other_shapes_are_refused(self, wrong):
        given = {"prediction": torch.eye(3)[:2], "target": torch.eye(3)[:2], "mask": torch.ones(2, 3, dtype=torch.bool)}
        with pytest.raises(ShapeError, match=r"expected prediction and target of shape \(\*, 3\) and a bool mask like them"):
            MaskedAccuracy(3).update(**(given | wrong))
