"""What a user's own files are asked for: hidden entries, next steps, targets."""

import numpy as np
import pytest
import torch

from gnet.errors import ConfigError, DataError
from tests.training.own_files import IDS, START, STEP, C, N, T, files, rows_of, write

PARTS = ("train", "val", "test")


class TestImpute:
    def test_hides_observed_entries_and_asks_for_them(self, folder, x):
        module = files(folder, mask_fraction=0.4)
        raw = torch.as_tensor(x).float()
        for split in ("train", "val", "test"):
            batch = module.samples(split).all()
            rows = raw[rows_of(module, split)]
            assert not any(each.isnan().any() for each in (batch.x, batch.y))
            assert not (batch.mask & rows.isnan()).any()
            assert batch.x[batch.mask].eq(0).all()
            back = module.scaling.y.inverse(batch.y)
            torch.testing.assert_close(back[~rows.isnan()], rows[~rows.isnan()], rtol=1e-4, atol=1e-4)
            seen = ~batch.mask & (batch.x != 0)
            assert torch.equal(batch.x[seen], batch.y[seen])
        assert (module.in_channels, module.out_channels, module.target) == (2, 2, "node")

    def test_share_of_hidden_entries(self, folder):
        counted = files(folder, mask_fraction=0.4).train_arrays().mask.float()
        assert abs(counted.mean() - 0.4) < 0.12

    def test_blocks_are_connected_and_of_one_size(self, folder):
        batch = files(folder, mask_fraction=0.5, mask_kind="block").test_arrays()
        hidden = (batch.x == 0).all(2)
        for row, counted in zip(hidden, batch.mask, strict=True):
            nodes = row.nonzero().flatten().tolist()
            if len(nodes) < N:  # not the sample without any reading
                assert len(nodes) == 2
                assert nodes[1] - nodes[0] == 1  # the graph is a path
            assert not counted[~row].any()

    def test_loss_counts_observed_entries_only(self, folder, x):
        write(folder, x=x, mask=np.arange(T)[:, None] % 2 * np.ones((1, N)), node_ids=np.array(IDS))
        module = files(folder)
        rows = rows_of(module, "train")
        assert not module.train_arrays().mask[rows % 2 == 0].any()


class TestForecast:
    def test_windows_stay_inside_their_part_and_in_order(self, folder, x):
        x = np.arange(T)[:, None, None] + np.array([0.0, 1000.0]) + 100 * np.arange(N)[:, None]
        write(folder, x=x, node_ids=np.array(IDS))
        module = files(folder, task="forecast", horizon_in=3, horizon_out=2)
        assert (module.in_channels, module.out_channels) == (6, 4)
        ends = {}
        for split in ("train", "val", "test"):
            batch = module.samples(split).all()
            inputs, outputs = module.scaling.x.inverse(batch.x), module.scaling.y.inverse(batch.y)
            for node in range(N):
                steps = torch.cat([inputs[:, node, 0::2], outputs[:, node, 0::2]], 1) - 100 * node
                torch.testing.assert_close(steps, steps[:, :1] + torch.arange(5.0), atol=1e-2, rtol=0)
                torch.testing.assert_close(inputs[:, node, 1::2] - inputs[:, node, 0::2], torch.full((len(inputs), 3), 1000.0))
            ends[split] = (round(float(steps.min())), round(float(steps.max())))
            assert [int(label) for label in module.sample_labels(split)] == steps[:, 2].round().int().tolist()
        assert ends == {"train": (0, 34), "val": (35, 39), "test": (40, 49)}

    def test_missing_targets_do_not_count(self, folder, x):
        module = files(folder, task="forecast", horizon_in=2, horizon_out=1)
        batch = module.train_arrays()
        missing = torch.as_tensor(np.isnan(x[2:35])).reshape(33, N, C)
        assert torch.equal(~batch.mask, missing)
        assert module.scaling.x.mean.tolist()[:2] == module.scaling.x.mean.tolist()[2:]

    def test_the_scaler_sees_the_past_only(self, folder, x):
        module = files(folder, task="forecast", horizon_in=2, horizon_out=1)
        expected = np.nanmean(x[:35], (0, 1))
        np.testing.assert_allclose(module.scaling.y.mean, expected, rtol=1e-5)

    def test_too_few_samples(self, folder):
        with pytest.raises(DataError, match=r"too few samples: the val part has 5 in a row, one window needs 24"):
            files(folder, task="forecast").setup()

    def test_a_random_split_would_leak(self, folder):
        with pytest.raises(ConfigError, match="would test on windows that overlap training ones; use 'time'"):
            files(folder, task="forecast", split="random")

    @pytest.mark.parametrize("fractions", [(0.1, 0.2), (0.3, 0.3), (0.45, 0.5), (0.08, 0.06)])
    def test_no_fractions_make_windows_cross_a_cut(self, folder, x, fractions):
        write(folder, x=x, node_ids=np.array(IDS))
        val, test = fractions
        module = files(folder, task="forecast", horizon_in=1, horizon_out=1, val_fraction=val, test_fraction=test)
        touched = [set(rows.tolist()) | set((rows + 1).tolist()) for rows in (rows_of(module, part) for part in PARTS)]
        assert sorted(row for part in touched for row in part) == list(range(T))
        crossing = set(range(max(touched[0]), max(touched[0]) + 2))  # a liar: the window that a cut would have to split
        assert crossing & touched[0] and crossing & touched[1]

    @pytest.mark.parametrize("order", ["falling", "mixed"])
    @pytest.mark.parametrize("task", ["forecast", "impute"])
    def test_rows_that_are_not_sorted_by_time_would_leak(self, folder, x, order, task):
        rows = np.arange(T)[::-1] if order == "falling" else np.roll(np.arange(T), 7)
        write(folder, x=x, node_ids=np.array(IDS), time=START + rows * STEP)
        message = (
            r"signals.npz: a split by time would leak: the train part reaches to '2026-01-01T0.*sort the rows by time, oldest"
        )
        with pytest.raises(DataError, match=message):
            files(folder, task=task, split="time", horizon_in=2, horizon_out=1).setup()
        files(folder, split="random").setup()

    @pytest.mark.parametrize(("rows", "part"), [(slice(35, 40), "val part, 3"), (slice(40, 50), "test part, 8")])
    def test_a_part_whose_windows_forecast_nothing_is_refused(self, folder, x, rows, part):
        x[rows] = np.nan
        write(folder, x=x, node_ids=np.array(IDS))
        with pytest.raises(
            DataError, match=rf"signals.npz: no observed target in the {part} samples; .* forecast nothing but gaps"
        ):
            files(folder, task="forecast", horizon_in=2, horizon_out=1).setup()

    def test_windows_without_any_reading_stay_without_a_loss(self, folder, x):
        x[10:16] = np.nan
        write(folder, x=x, node_ids=np.array(IDS))
        batch = files(folder, task="forecast", horizon_in=2, horizon_out=1).train_arrays()
        silent = ~batch.mask.flatten(1).any(1)
        empty = (batch.x == 0).flatten(1).all(1)
        assert silent.nonzero().flatten().tolist() == [1, *range(8, 14)]  # the fourth row has no reading, either
        assert (silent & empty).nonzero().flatten().tolist() == [10, 11, 12, 13]

    @pytest.mark.parametrize("task", ["forecast", "impute", "regress"])
    def test_a_channel_that_training_does_not_see_is_named(self, folder, x, task):
        x[:35, :, 1] = np.nan
        write(folder, x=x, y=np.ones((T, 1)), node_ids=np.array(IDS))
        message = (
            r"signals.npz: the channels \[1\] have no observed entry in the 35 of 50 samples that training may see; drop them"
        )
        with pytest.raises(DataError, match=message):
            files(folder, task=task, split="time", horizon_in=2, horizon_out=1).setup()


class TestRegress:
    def test_one_value_per_graph(self, folder, x):
        module = files(folder, task="regress")
        batch = module.train_arrays()
        assert (batch.y.shape, module.target, module.out_channels) == ((35, 1), "graph", 1)
        expected = torch.as_tensor(np.nansum(x, 1)[:, :1])[rows_of(module, "train")].float()
        torch.testing.assert_close(module.scaling.y.inverse(batch.y), expected, rtol=1e-4, atol=1e-4)

    def test_one_value_per_node(self, folder, x):
        y = x[..., :1] * 2
        write(folder, x=x, y=y, node_ids=np.array(IDS))
        module = files(folder, task="regress")
        batch = module.val_arrays()
        assert (batch.y.shape, module.target) == ((5, 5, 1), "node")
        assert torch.equal(~batch.mask, torch.as_tensor(np.isnan(y))[rows_of(module, "val")])

    def test_what_may_be_either_must_be_said(self, folder, x):
        write(folder, x=x, y=np.ones((T, N)), node_ids=np.array(IDS))
        with pytest.raises(ConfigError, match=r"y of shape \(50, 5\) may be one value per node or 5 per graph"):
            files(folder, task="regress").setup()
        assert files(folder, task="regress", target="node").train_arrays().y.shape == (35, 5, 1)
        assert files(folder, task="regress", target="graph").train_arrays().y.shape == (35, 5)

    def test_targets_from_csv(self, folder, x):
        np.savez(folder / "signals.npz", x=x, node_ids=np.array(IDS))
        with pytest.raises(DataError, match="task='regress' needs 'y'"):
            files(folder, task="regress").setup()
        (folder / "y.csv").write_text("total\n" + "\n".join(map(str, range(T))))
        assert files(folder, task="regress", targets="y.csv").train_arrays().y.shape == (35, 1)
        swapped = [IDS[::-1], *[[str(10 * t + n) for n in range(N)][::-1] for t in range(T)]]
        (folder / "y.csv").write_text("\n".join(",".join(row) for row in swapped))
        module = files(folder, task="regress", targets="y.csv")
        y = module.scaling.y.inverse(module.train_arrays().y)[:, :, 0]
        expected = 10.0 * rows_of(module, "train")[:, None] + torch.arange(5.0)
        torch.testing.assert_close(y, expected, atol=1e-3, rtol=0)
        (folder / "y.csv").write_text("total\n1\n2\n")
        with pytest.raises(DataError, match="expected one row for each of the 50 samples, got 2"):
            files(folder, task="regress", targets="y.csv").setup()

    @pytest.mark.parametrize("target", [None, "node"])
    def test_targets_of_other_sensors_are_refused(self, folder, target):
        for names in (["b3", "a1", "a2", "c9", "b1"], ["a1", "a2", "b1", "b2"]):
            (folder / "y.csv").write_text("\n".join([",".join(names)] + [",".join("12345"[: len(names)])] * T))
            with pytest.raises(
                DataError, match=r"y.csv: expected a column for each of the 5 nodes .*have no column; rename or add"
            ):
                files(folder, task="regress", targets="y.csv", target=target).setup()
            assert files(folder, task="regress", targets="y.csv", target="graph").out_channels == len(names)

    def test_targets_in_another_order_are_matched_by_name(self, folder):
        (folder / "y.csv").write_text("\n".join(["b3,a1,a2,b2,b1"] + ["5,1,2,4,3"] * T))
        batch = files(folder, task="regress", targets="y.csv").prepared.to_predict.truth.all()
        assert batch.y[0, :, 0].tolist() == [1, 2, 3, 4, 5]

    def test_targets_that_name_no_node_are_of_the_graph(self, folder):
        (folder / "y.csv").write_text("\n".join(["load,heat"] + ["1,2"] * T))
        assert files(folder, task="regress", targets="y.csv").target == "graph"
        with pytest.raises(DataError, match=r"the columns \['load', 'heat'\] are no nodes, the nodes \['a1', 'a2'"):
            files(folder, task="regress", targets="y.csv", target="node").setup()
