"""MNIST and Fashion-MNIST against the published protocol, on the real files."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import train_test_split

from datasets.fashion import FashionMNIST
from datasets.idx import read_idx
from datasets.mnist import MNIST

CASES = [(MNIST, "mnist", 14, 0.1307, 0.3081), (FashionMNIST, "fashion-mnist", 20, 0.5, 0.5)]


@pytest.fixture(params=CASES, ids=[case[1] for case in CASES])
def case(request, data_root):
    kind, folder, side, mean, std = request.param
    arrays = [read_idx(data_root / folder / f"{name}-ubyte.gz") for name in ("train-images-idx3", "train-labels-idx1")]
    arrays += [read_idx(data_root / folder / f"{name}-ubyte.gz") for name in ("t10k-images-idx3", "t10k-labels-idx1")]
    return kind, str(data_root), side, mean, std, arrays


def test_follows_the_published_protocol(case):
    kind, root, side, mean, std, (images, labels, test_images, test_labels) = case
    module = kind(root=root)
    for draw in (0, 3):
        drawn = kind(root=root, draw=draw, seed=5)
        expected, _ = train_test_split(
            np.arange(60000), train_size=100, random_state=999 + draw, shuffle=True, stratify=labels.numpy()
        )
        used = [int(label) for split in ("train", "val") for label in drawn.sample_labels(split)]
        assert sorted(used) == sorted(expected.tolist())
        assert used != expected.tolist()
    tested = train_test_split(np.arange(10000), test_size=0.9, random_state=999, shuffle=True, stratify=test_labels.numpy())[0]
    assert module.sample_labels("test") == module.sample_labels("predict") == [str(number) for number in tested]
    for split, source in (("train", images), ("val", images), ("test", test_images)):
        batch = module.samples(split).all()
        numbers = [int(label) for label in module.sample_labels(split)]
        torch.testing.assert_close(batch.y, ((source[numbers].float() / 255 - mean) / std).reshape(-1, 784, 1))
        assert batch.mask.all()
        holes = (batch.x != batch.y).reshape(-1, 28, 28)
        assert batch.x[batch.x != batch.y].eq(0).all()
        zeros = (batch.x == 0).reshape(-1, 28, 28)
        rows, columns = (zeros.sum(axis) == side for axis in (2, 1))
        assert rows.sum(1).eq(side).all()
        assert columns.sum(1).eq(side).all()
        assert not zeros[:, -1].any()
        assert not zeros[:, :, -1].any()
        assert not (holes & ~zeros).any()
    assert [len(module.samples(split)) for split in ("train", "val", "test", "predict")] == [80, 20, 1000, 1000]


def test_hflip_mirrors_half_of_the_images_before_the_squares(case):
    kind, root, *_ = case
    plain, flipped = kind(root=root).test_arrays(), kind(root=root, hflip=True).test_arrays()
    a, b = plain.y.reshape(-1, 28, 28), flipped.y.reshape(-1, 28, 28)
    mirrored = (b == a.flip(2)).all(2).all(1) & ~(a == a.flip(2)).all(2).all(1)
    assert abs(int(mirrored.sum()) - 500) < 5 * 16
    assert torch.equal(b, torch.where(mirrored[:, None, None], a.flip(2), a))
    assert torch.equal(plain.x == 0, flipped.x == 0)


def test_published_tables_draw_test_squares_for_every_run(case):
    kind, root, *_ = case
    runs = [kind(root=root, seed=seed, test_masks="run") for seed in (0, 1)]
    assert not torch.equal(runs[0].test_arrays().x, runs[1].test_arrays().x)
    assert torch.equal(runs[0].test_arrays().y, runs[1].test_arrays().y)
    assert torch.equal(runs[0].predict_arrays().x, runs[1].predict_arrays().x)


def test_graph_and_card(case):
    kind, root, side, *_ = case
    module = kind(root=root)
    assert module.graph.num_nodes == 784
    assert module.graph.edge_index.shape == (2, 2 * 2 * 28 * 27)
    card = module.describe()
    assert {"name", "source", "licence", "shapes", "units", "splits", "checksum"} <= set(card)
    assert f"side {side}" in card["task"]
