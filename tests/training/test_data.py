"""The base data module and the digits: protocol, splits, independence of the seeds, loaders."""

import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from gnet.errors import ConfigError, DataError, ShapeError
from gnet.training import data as data_room
from gnet.training.data import ArraySamples, Batch, Digits, GraphDataModule, SeededSampler, grid_graph, repository_datasets
from gnet.training.datamodule import Prepared
from gnet.training.inpainting import draw_corners, hidden_pixels, stratified

SPLITS = ("train", "val", "test", "predict")


def fingerprint(module: GraphDataModule) -> dict[str, object]:
    """What each random decision led to, one entry each."""
    images = set(module.sample_labels("train")) | set(module.sample_labels("val"))
    train, test, predict = module.train_arrays(), module.test_arrays(), module.predict_arrays()
    holes = {
        label: (x != y).flatten().tolist() for label, x, y in zip(module.sample_labels("train"), train.x, train.y, strict=True)
    }
    first = [batch.y.sum((1, 2)).tolist() for batch in module.train_dataloader()]
    return {
        "images": sorted(images),
        "split": module.sample_labels("train"),
        "masks": holes,
        "batches": first,
        "test images": test.y.flatten().tolist(),
        "test masks": test.x.flatten().tolist(),
        "predict masks": predict.x.flatten().tolist(),
        "scaling": module.scaling.x.mean.tolist(),
    }


def changed(first: dict[str, object], second: dict[str, object]) -> set[str]:
    return {name for name in first if first[name] != second[name]}


@pytest.fixture(scope="module")
def reference():
    return fingerprint(Digits(batch_size=16))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, set()),
        ({"seed": 1}, {"split", "masks", "batches"}),
        ({"draw": 1}, {"images", "split", "masks", "batches"}),
        ({"study_seed": 1}, {"test masks", "predict masks"}),
        ({"num_workers": 2}, set()),
    ],
)
def test_each_seed_changes_its_own_decisions_and_no_other(reference, options, expected):
    assert changed(reference, fingerprint(Digits(batch_size=16, **options))) == expected


def test_per_run_test_masks_follow_the_seed_and_predictions_do_not():
    first, second = (fingerprint(Digits(seed=seed, test_masks="run")) for seed in (1, 2))
    assert changed(first, second) == {"split", "masks", "batches", "test masks"}
    assert first["test masks"] != first["predict masks"]


def test_a_redrawn_training_set_keeps_the_places_of_squares_and_of_the_cut():
    first, second = Digits(), Digits(draw=1)
    assert set(first.sample_labels("train")) != set(second.sample_labels("train"))
    assert torch.equal(first.train_arrays().x == 0, second.train_arrays().x == 0)


def test_digits_are_split_and_stratified():
    digits = Digits()
    assert [len(digits.samples(split)) for split in SPLITS] == [80, 20, 400, 400]
    ids = {split: {int(label) for label in digits.sample_labels(split)} for split in SPLITS}
    assert not ids["train"] & ids["val"]
    assert not (ids["train"] | ids["val"]) & ids["test"]
    for split in (["train", "val"], ["test"]):
        counts = np.bincount(load_digits().target[[i for part in split for i in ids[part]]])
        assert counts.max() - counts.min() <= max(2, 0.1 * counts.mean())


def test_every_input_is_its_target_with_one_square_of_zeros():
    digits = Digits()
    for split in SPLITS:
        x, y, mask = digits.samples(split).all()
        assert mask.all()
        for before, after in zip(y.reshape(-1, 8, 8), x.reshape(-1, 8, 8), strict=True):
            rows, columns = (after != before).any(1).nonzero(), (after != before).any(0).nonzero()
            top, left = int(rows.min()), int(columns.min())
            assert int(rows.max()) - top < 4
            assert int(columns.max()) - left < 4
            assert torch.equal(after, torch.where(after != before, 0.0, before))
            assert (after == 0).sum() >= 16


def test_values_are_digits_in_their_own_units():
    digits = Digits()
    images = digits.denormalise(digits.val_arrays().y)
    source = torch.as_tensor(load_digits().images[[int(label) for label in digits.sample_labels("val")]]).float() / 16
    torch.testing.assert_close(images, source)
    assert digits.denormalise(torch.full((2, 3, 64, 1), 9.0)).shape == (2, 3, 8, 8)
    assert digits.denormalise(torch.full((64, 1), 9.0)).max() == 1


def test_hflip_mirrors_about_half_of_the_images_and_the_same_ones_for_every_run():
    plain, flipped, again = Digits(), Digits(hflip=True), Digits(hflip=True, seed=0, draw=0)
    for split in ("train", "test"):
        a, b = (each.samples(split).all().y.reshape(-1, 8, 8) for each in (plain, flipped))
        mirrored = (b == a.flip(2)).all(2).all(1)
        assert ((b == a).all(2).all(1) | mirrored).all()
        assert 0.3 < mirrored.float().mean() < 0.7
        assert torch.equal(b, again.samples(split).all().y.reshape(-1, 8, 8))
    test_of_other_run = Digits(hflip=True, seed=3, draw=2).test_arrays().y
    assert torch.equal(test_of_other_run, flipped.test_arrays().y)


@pytest.mark.parametrize(("side", "highest"), [(14, 13), (20, 7)])
def test_corners_reach_every_place_but_the_last(side, highest, rng):
    corners = draw_corners(5000, (28, 28), side, rng)
    assert sorted(corners[:, 0].unique().tolist()) == sorted(corners[:, 1].unique().tolist()) == list(range(highest + 1))
    hidden = hidden_pixels(corners, (28, 28), side)
    assert hidden.sum((1, 2)).eq(side**2).all()
    assert not hidden[:, -1].any()
    assert not hidden[:, :, -1].any()


def test_chance_of_being_hidden_agrees_with_the_exact_one(rng):
    one_axis = torch.tensor([sum(1 for corner in range(4) if corner <= pixel < corner + 4) / 4 for pixel in range(8)])
    exact = one_axis[:, None] * one_axis
    measured = hidden_pixels(draw_corners(20000, (8, 8), 4, rng), (8, 8), 4).float().mean(0)
    assert (measured - exact).abs().max() < 5 * 0.5 / 20000**0.5


def test_the_grid_joins_each_pixel_to_its_four_neighbours():
    graph = grid_graph(3, 4)
    assert graph.edge_index.shape == (2, 2 * (3 * 3 + 2 * 4))
    assert graph.is_undirected()
    assert (graph.pos[graph.edge_index[0]] - graph.pos[graph.edge_index[1]]).abs().sum(1).eq(1).all()


def test_setup_twice_is_setup_once():
    digits = Digits()
    digits.setup("fit")
    prepared = digits.prepared
    digits.setup("test")
    assert digits.prepared is prepared
    assert (digits.in_channels, digits.out_channels, digits.target, len(digits.node_ids)) == (1, 1, "node", 64)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loaders_yield_whole_batches_and_pad_nothing(num_workers):
    digits = Digits(batch_size=32, num_workers=num_workers)
    batches = list(digits.train_dataloader())
    assert [len(batch.x) for batch in batches] == [32, 32, 16]
    assert isinstance(batches[0], Batch)
    assert torch.cat([batch.x for batch in digits.predict_dataloader()]).equal(digits.predict_arrays().x)
    assert torch.cat([batch.x for batch in digits.test_dataloader()]).equal(digits.test_arrays().x)
    rows = {tuple(row.flatten().tolist()) for row in digits.train_arrays().y}
    assert rows == {tuple(row.flatten().tolist()) for batch in batches for row in batch.y}


def test_without_batch_size_the_split_is_one_batch():
    assert [len(batch.y) for batch in Digits().train_dataloader()] == [80]


def test_loaders_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    digits = Digits(batch_size=16)
    for _ in range(2):
        list(digits.train_dataloader())
    assert torch.equal(state, torch.get_rng_state())


def test_order_depends_on_seed_and_epoch_alone():
    orders = {}
    for seed in (0, 1):
        for epoch in (0, 1):
            sampler = SeededSampler(50, seed)
            sampler.set_epoch(epoch)
            orders[seed, epoch] = tuple(sampler)
            assert tuple(sampler) == orders[seed, epoch]
    assert len(set(orders.values())) == 4


def test_lightning_tells_the_sampler_its_epoch():
    import lightning.pytorch as L

    class Reader(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.orders = torch.nn.Parameter(torch.zeros(())), {}

        def training_step(self, batch, batch_idx):
            self.orders.setdefault(self.current_epoch, []).extend(batch.y.sum((1, 2)).tolist())
            return self.weight * batch.x.sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    reader = Reader()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    L.Trainer(max_epochs=3, accelerator="cpu", log_every_n_steps=1, **quiet).fit(
        reader, datamodule=(digits := Digits(batch_size=32))
    )
    for epoch, seen in reader.orders.items():
        sampler = SeededSampler(80, 0)
        sampler.set_epoch(epoch)
        assert seen == digits.train_arrays().y[list(sampler)].sum((1, 2)).tolist()


def test_pickles():
    digits = Digits(seed=2)
    digits.setup()
    other = pickle.loads(pickle.dumps(digits))
    assert torch.equal(other.train_arrays().x, digits.train_arrays().x)


def test_data_card_is_complete():
    card = Digits().describe()
    assert {"name", "source", "licence", "shapes", "units", "splits", "checksum"} <= set(card)
    assert "80 train + 20 validation" in card["splits"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_side": 8}, r"expected mask_side in 1..7 for images of \(8, 8\), got 8"),
        ({"num_train": 2, "num_val": 2}, "expected between 10 .one image of each class. and 1290 images"),
        ({"num_train": 0}, "expected num_train, num_val, num_test >= 1"),
        ({"num_test": 490}, "expected between 10 .* and 487 images"),
        ({"test_masks": "none"}, "expected test_masks to be one of 'study', 'run', got"),
        ({"seed": -1}, "expected seed to be a whole number >= 0, got -1"),
        ({"draw": True}, "expected draw to be a whole number >= 0, got True"),
        ({"batch_size": 0}, "expected batch_size >= 1"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Digits(**options).setup()


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"got x \(3, 2, 1\), y \(4, 2, 1\)"):
        ArraySamples(torch.zeros(3, 2, 1), torch.zeros(4, 2, 1))
    with pytest.raises(ConfigError, match="expected between 2"):
        stratified(torch.tensor([0, 0, 1, 1]), 1, 0)


def test_a_data_module_of_a_stranger_needs_only_build():
    class Mine(GraphDataModule):
        def build(self):
            samples = ArraySamples(torch.zeros(3, 4, 1), torch.zeros(3, 2))
            empty = ArraySamples(torch.zeros(0, 4, 1), torch.zeros(0, 2))
            from gnet.training.standardise import Scaling

            splits = {"train": samples, "val": empty if self.draw else samples, "test": samples, "predict": samples}
            return Prepared(grid_graph(2, 2), Scaling.identity(1, 2), splits, {}, list("abcd"), "graph")

    assert next(iter(Mine(batch_size=2).val_dataloader())).mask.shape == (2, 2)
    with pytest.raises(DataError, match=r"Mine: the splits \['val'\] have no sample"):
        Mine(draw=1).setup()
    with pytest.raises(NotImplementedError, match="override build"):
        GraphDataModule().setup()


def test_importing_training_loads_nothing_heavy():
    code = (
        "import sys, gnet.training, gnet.training.standardise; "
        "print([name for name in ('lightning', 'sklearn', 'matplotlib', 'networkx') if name in sys.modules])"
    )
    root = Path(data_room.__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert result.stdout.strip() == "[]"


def test_every_lazy_name_exists():
    import gnet.training

    assert gnet.training.Digits is Digits
    with pytest.raises(AttributeError, match="has no attribute 'Digit'"):
        gnet.training.Digit  # noqa: B018


def test_the_command_line_parser_sees_plain_typed_arguments():
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_subclass_arguments(GraphDataModule, "data")
    config = parser.parse_args(["--data", "gnet.training.data.Digits", "--data.num_train", "40", "--data.test_masks", "run"])
    assert config.data.init_args.num_train == 40
    assert config.data.init_args.num_test == 400
    assert config.data.init_args.mask_side == 4


@pytest.mark.parametrize("kind", ["gnet.training.FromFiles", "gnet.training.Planted", "gnet.training.Digits", "datasets.MNIST"])
def test_options_that_are_passed_on_are_options_of_the_command_line(kind, capsys):
    """They are spelled out once, in the class that keeps them."""
    from gnet.cli import main

    given = [f"--data={kind}", *(["--data.signals=s.csv"] if kind.endswith("Files") else [])]
    assert main(["fit", *given, "--data.batch_size=7", "--data.study_seed=3", "--data.root=there", "--print_config"]) == 0
    shown = capsys.readouterr().out
    assert all(line in shown for line in ("batch_size: 7", "study_seed: 3", "root: there", "num_workers: 0"))
    assert main(["fit", *given, "--data.batchsize=7"]) == 2
    assert f"{kind.rpartition('.')[2]} takes no 'batchsize'; did you mean batch_size?" in capsys.readouterr().err
    assert main(["fit", f"--data.help={kind}"]) == 0
    assert "samples per batch; None takes the whole split at once." in " ".join(capsys.readouterr().out.split())


class TestRepositoryDatasets:
    """The folder `datasets` is found whatever else is called so."""

    @pytest.fixture
    def strangers(self, tmp_path, monkeypatch):
        """A package `datasets` of someone else, first on the path and already imported."""
        (tmp_path / "datasets").mkdir()
        (tmp_path / "datasets" / "__init__.py").write_text("OWNER = 'a stranger'\n")
        for name in [name for name in sys.modules if name == "datasets" or name.startswith(("datasets.", "gnet_repository"))]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(tmp_path)
        stranger = importlib.import_module("datasets")
        yield stranger
        for name in [name for name in sys.modules if name.startswith(("datasets", "gnet_repository"))]:
            sys.modules.pop(name)

    def test_a_stranger_of_that_name_is_left_alone(self, strangers):
        assert strangers.OWNER == "a stranger"
        ours = repository_datasets()
        assert ours.MNIST.__name__ == "MNIST"
        assert ours.FashionMNIST().mask_side == 20
        assert repository_datasets() is ours
        assert importlib.import_module("datasets") is strangers

    def test_an_import_of_our_own_is_used(self):
        assert repository_datasets() is importlib.import_module("datasets") or "gnet_repository_datasets" in sys.modules

    def test_a_wheel_says_what_to_do(self, strangers, monkeypatch, tmp_path):
        monkeypatch.setattr(data_room, "__file__", str(tmp_path / "site" / "gnet" / "training" / "data.py"))
        with pytest.raises(DataError, match=r"clone the repository and install it with `pip install -e \.`"):
            repository_datasets()
