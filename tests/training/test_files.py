"""A user's own files: how they are cut, seeded and described."""

import pickle

import numpy as np
import pytest
import torch

from gnet.errors import ConfigError, DataError
from gnet.training.data import GraphDataModule
from tests.training.own_files import IDS, N, T, files, rows_of, write


class TestSplitsAndSeeds:
    def test_random_split_is_disjoint_and_complete(self, folder):
        module = files(folder)
        rows = [set(rows_of(module, split).tolist()) for split in ("train", "val", "test")]
        assert [len(each) for each in rows] == [35, 5, 10]
        assert len(set.union(*rows)) == T

    def test_time_split_keeps_the_order(self, folder):
        module = files(folder, split="time")
        assert torch.cat([rows_of(module, split) for split in ("train", "val", "test")]).tolist() == list(range(T))

    def test_seeds_are_independent(self, folder):
        base, seeded, drawn, studied = (files(folder, **options) for options in ({}, {"seed": 1}, {"draw": 1}, {"study_seed": 1}))
        assert seeded.sample_labels("train") != base.sample_labels("train")
        for other in (seeded, drawn):
            assert torch.equal(other.predict_arrays().x, base.predict_arrays().x)
            assert other.sample_labels("predict") == base.sample_labels("predict")
            assert torch.equal(other.scaling.x.mean, base.scaling.x.mean)
        assert torch.equal(drawn.val_arrays().x, base.val_arrays().x)
        assert set(drawn.sample_labels("train")) < set(base.sample_labels("train"))
        assert studied.sample_labels("test") != base.sample_labels("test")

    def test_draws_of_a_given_size(self, folder):
        draws = [files(folder, num_train=20, draw=draw).sample_labels("train") for draw in (0, 1, 1)]
        assert [len(set(labels)) for labels in draws] == [20, 20, 20]
        assert draws[0] != draws[1] == draws[2]
        with pytest.raises(ConfigError, match="num_train=40, but there are only 35 samples"):
            files(folder, num_train=40).setup()

    def test_the_labels_of_a_redrawn_training_set_are_its_own(self, folder, x):
        module = files(folder, draw=2, split="time", mask_fraction=0.01)
        rows, batch = rows_of(module, "train"), module.train_arrays()
        assert len(rows) == 35
        expected = module.scaling.x.filled(torch.as_tensor(x).float())[rows]
        torch.testing.assert_close(batch.y, expected)

    def test_workers_and_pickle(self, folder):
        module = files(folder, batch_size=16, num_workers=2, task="forecast", horizon_in=2, horizon_out=1)
        batches = list(module.test_dataloader())
        assert torch.equal(torch.cat([batch.y for batch in batches]), module.test_arrays().y)
        assert torch.equal(pickle.loads(pickle.dumps(module)).val_arrays().x, module.val_arrays().x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_fraction": 0.0}, r"expected mask_fraction in \(0, 1\), got 0.0"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "leave no training samples"),
        ({"task": "cluster"}, "expected task to be one of 'impute', 'forecast', 'regress', 'classify', got 'cluster'$"),
        ({"task": "imputation"}, r"got 'imputation'; did you mean 'impute'\?"),
        ({"mask_kind": "blocks"}, r"expected mask_kind to be one of 'entries', 'block', got 'blocks'; did you mean 'block'\?"),
        ({"split": "times"}, r"expected split to be one of 'random', 'time', got 'times'; did you mean 'time'\?"),
        ({"target": "nodes"}, r"expected target to be one of 'node', 'graph', got 'nodes'; did you mean 'node'\?"),
        ({"targets": "y.csv"}, "the file targets is for task='regress' or 'classify', got task='impute'"),
        ({"num_train": 0}, "expected num_train >= 1"),
        ({"task": "forecast", "horizon_in": 0}, "expected horizon_in and horizon_out >= 1"),
    ],
)
def test_contradictory_settings(folder, options, message):
    with pytest.raises(ConfigError, match=message):
        files(folder, **options)


def test_too_few_samples_for_three_parts(folder):
    write(folder, x=np.ones((2, N, 1)), node_ids=np.array(IDS))
    with pytest.raises(DataError, match="too few samples: 2 leave 0 to train on"):
        files(folder).setup()


def test_a_part_without_a_target_is_refused(folder, x):
    x[45:] = np.nan
    write(folder, x=x, node_ids=np.array(IDS))
    with pytest.raises(DataError, match="no observed target in the test part"):
        files(folder, split="time", test_fraction=0.1).setup()


def test_time_stamps_are_kept(folder):
    assert files(folder, split="time").sample_labels("train")[1].startswith("2026-01-01T00:05")


def test_the_standardiser_does_not_see_the_test_samples(folder, x):
    module = files(folder)
    seen = np.sort(torch.cat([rows_of(module, "train"), rows_of(module, "val")]).numpy())
    np.testing.assert_allclose(module.standardiser.mean, np.nanmean(x[seen], (0, 1)), rtol=1e-4)


def test_a_channel_that_never_changes_is_named(folder, x, recwarn):
    files(folder).setup()
    assert not [each for each in recwarn if "one value" in str(each.message)], "readings that change"
    still = np.where(np.isnan(x[..., :1]), np.nan, 60.0)
    write(folder, x=np.concatenate([x, still], axis=2), node_ids=np.array(IDS))
    with pytest.warns(UserWarning, match=rf"the channels \[{x.shape[2]}\] have one value in all 40 samples that"):
        files(folder).setup()


def test_data_card_has_checksums(folder):
    card = files(folder).describe()
    assert set(card["checksum"]) == {"signals.npz", "edges.csv"}
    assert {"name", "source", "licence", "shapes", "units", "splits", "checksum"} <= set(card)


def test_the_command_line_parser_sees_plain_typed_arguments(folder):
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_subclass_arguments(GraphDataModule, "data")
    given = ["--data", "gnet.training.data.FromFiles", "--data.signals", "s.npz", "--data.task", "forecast"]
    config = parser.parse_args([*given, "--data.horizon_in", "3", "--data.graph", "correlation"])
    assert config.data.init_args.horizon_in == 3
    assert config.data.init_args.radius is None
