"""METR-LA: windows, splits, missing readings, graph and errors on a small made-up folder; published numbers on the real one."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gnet
from datasets.metr_la import MetrLA, slot_means, weighted_moments
from datasets.traffic import sensor_graph
from gnet.errors import ConfigError, DataError
from gnet.training.module import GNetModule
from gnet.training.standardise import Scaling, Standardiser
from gnet.training.symmetry import Symmetric
from tests.datasets.small_traffic import ADJ, IDS, N, made_up, write
from tests.training.small import quiet_trainer


@pytest.fixture
def arrays(rng) -> dict[str, np.ndarray]:
    return made_up(rng)


@pytest.fixture
def make(tmp_path, arrays):
    """A data module on a made-up folder of new random speeds."""
    write(tmp_path, **arrays)
    return lambda **settings: MetrLA(**{"root": str(tmp_path), "batch_size": 7, **settings})


def rows_of(module: MetrLA, split: str) -> torch.Tensor:
    """The row of the last step that each window sees, by its label."""
    times = module.traffic.labels
    return torch.tensor([times.index(label) for label in module.sample_labels(split)])


@pytest.mark.parametrize("missing", ["mask", "zero"])
def test_a_trained_net_takes_gaps_as_its_training_did(make, arrays, missing, tmp_path):
    module, trained = make(missing=missing), GNetModule(Symmetric(), architecture="gru", hidden_channels=3)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(trained, datamodule=module)
    trainer.save_checkpoint(tmp_path / "net.ckpt")
    batch = module.test_arrays()
    raw = torch.as_tensor(arrays["speed"])[rows_of(module, "test")[:, None] + torch.arange(-2, 1)].transpose(1, 2)  # (B, N, 3)
    inputs = module.scaling.x.inverse(batch.x)
    inputs[..., ::2] = raw.masked_fill(raw == 0, torch.nan)
    assert inputs.isnan().any()
    expected = module.scaling.y.inverse(trained.eval()(batch.x)).detach()
    torch.testing.assert_close(gnet.load(tmp_path / "net.ckpt").predict(inputs), expected, atol=1e-3, rtol=1e-5)


class TestWindows:
    @pytest.mark.parametrize("missing", ["mask", "zero"])
    @pytest.mark.parametrize("split", ["time", "windows"])
    def test_hold_the_steps_before_and_after_their_label(self, make, arrays, missing, split):
        module = make(horizon_in=3, horizon_out=2, missing=missing, split=split)
        assert (module.in_channels, module.out_channels, module.target, module.task) == (6, 2, "node", "forecast")
        raw = torch.as_tensor(arrays["speed"])
        for part in ("train", "val", "test", "predict"):
            batch, last = module.samples(part).all(), rows_of(module, part)
            inputs, outputs = module.scaling.x.inverse(batch.x), module.scaling.y.inverse(batch.y)
            for step in range(3):
                row = last - 2 + step
                known = (raw[row] > 0) | (missing == "zero")
                torch.testing.assert_close(inputs[..., 2 * step][known], raw[row][known], atol=1e-3, rtol=0)
                assert batch.x[..., 2 * step][~known].eq(0).all()
                day = (23 / 24 + row / 288) % 1
                torch.testing.assert_close(inputs[..., 2 * step + 1], day[:, None].expand(-1, N).float(), atol=1e-5, rtol=0)
            for step in range(2):
                row = last + 1 + step
                known = raw[row] > 0
                assert torch.equal(batch.mask[..., step], known)
                torch.testing.assert_close(outputs[..., step][known], raw[row][known], atol=1e-3, rtol=0)
            assert not any(each.isnan().any() for each in batch[:2])

    @pytest.mark.parametrize(("seen", "made"), [(3, 2), (8, 1)])
    def test_do_not_cross_a_cut_in_time(self, make, seen, made):
        module = make(horizon_in=seen, horizon_out=made)
        touched = {}
        for part in ("train", "val", "test"):
            last = rows_of(module, part)
            touched[part] = set(range(int(last.min()) - seen + 1, int(last.max()) + made + 1))
            assert torch.equal(last, torch.arange(int(last[0]), int(last[-1]) + 1))
        assert touched["train"] == set(range(84))
        assert touched["val"] == set(range(84, 96))
        assert touched["test"] == set(range(96, 120))

    def test_published_cut_reaches_across(self, make):
        """The published protocol cuts the list of windows: what the time split rules out happens there."""
        module = make(split="windows", horizon_in=3, horizon_out=2)
        counts = {part: len(module.samples(part)) for part in ("train", "val", "test")}
        assert counts == {"train": 81, "val": 12, "test": 23}  # of 116
        end_of_train = int(rows_of(module, "train")[-1]) + 2
        start_of_val = int(rows_of(module, "val")[0]) - 2
        assert end_of_train - start_of_val == 3 + 2 - 2
        assert "overlap across the cuts" in module.describe()["splits"]

    def test_mask_channel_says_what_was_observed(self, make, arrays):
        module = make(mask_channel=True)
        batch, last = module.test_arrays(), rows_of(module, "test")
        assert module.in_channels == 9
        for step in range(3):
            seen = torch.as_tensor(arrays["speed"])[last - 2 + step] > 0
            assert torch.equal(batch.x[..., 3 * step + 2], seen.float())
            assert batch.x[..., 3 * step][~seen].eq(0).all()

    def test_a_recurrent_net_gets_step_by_step(self, make):
        module = make(horizon_in=4, horizon_out=2)
        x = module.test_arrays().x.unflatten(-1, (module.horizon_in, -1))  # (B, N, steps, channels)
        assert x.shape[2:] == (4, 2)
        assert torch.equal(x[1:, :, :-1, 0], x[:-1, :, 1:, 0])
        mean, std = module.scaling.x.mean[0], module.scaling.x.std[0]
        assert (module.scaling.y.mean == mean).all()
        assert (module.scaling.y.std == std).all()


class TestMissing:
    def test_the_scaler_counts_each_training_input_as_often_as_windows_see_it(self, make, arrays):
        for settings in ({"missing": "zero"}, {"missing": "mask"}, {"missing": "mask", "every": 5, "draw": 3}):
            module = make(split="windows", **settings)
            windows = np.lib.stride_tricks.sliding_window_view(arrays["speed"].astype(np.float64), 3, axis=0)[: round(0.7 * 115)]
            used = windows if settings["missing"] == "zero" else windows[windows > 0]
            assert float(module.scaling.y.mean[0]) == pytest.approx(used.mean(), rel=1e-6)
            assert float(module.scaling.y.std[0]) == pytest.approx(used.std(), rel=1e-6)
            assert module.scaling.x.mean[1::2].eq(0).all()
            assert module.scaling.x.std[1::2].eq(1).all()

    def test_mask_is_that_of_the_raw_data_whatever_the_units(self, make, arrays):
        """With this scaler a missing 0 comes back as -3.8e-6, so that the mask y != 0 would count it."""
        mean, std = 53.71902, 20.26143
        units = Standardiser([mean, 0.0], [std, 1.0])
        module = make(missing="zero")
        scaling = Scaling(units.repeated(3), Standardiser([mean], [std]).repeated(3))
        module.in_units_of(SimpleNamespace(in_channels=6, scaling=scaling))
        batch, last = module.test_arrays(), rows_of(module, "test")
        assert torch.equal(module.scaling.y.mean, torch.full((3,), mean))
        known = torch.stack([torch.as_tensor(arrays["speed"])[last + step] > 0 for step in (1, 2, 3)], dim=2)
        assert torch.equal(batch.mask, known)
        scaled = ((torch.zeros(1).double() - mean) / std).float()
        liar = (scaled * std + mean) != 0
        assert bool(liar)
        assert not known.all()

    def test_count_missing_takes_them_for_true_zeros(self, make):
        plain, counting = make(missing="zero"), make(missing="zero", count_missing=True)
        assert counting.test_arrays().mask.all()
        assert not plain.test_arrays().mask.all()
        assert torch.equal(plain.test_arrays().y, counting.test_arrays().y)
        with pytest.raises(
            ConfigError, match="count_missing=True takes missing readings for speeds of 0 mph; say missing='zero'"
        ):
            make(count_missing=True)

    def test_windows_without_a_target_stay_and_are_counted(self, tmp_path, arrays):
        arrays["speed"][100:105] = 0
        module = MetrLA(root=str(write(tmp_path, **arrays)), horizon_out=2)
        module.setup()
        silent = ~module.test_arrays().mask.flatten(1).any(1)
        assert rows_of(module, "test")[silent].tolist() == [99, 100, 101, 102]
        assert module.silent_windows == {"train": 0, "val": 0, "test": 4}
        assert "windows without a target that counts: {'train': 0, 'val': 0, 'test': 4}" in module.describe()["missing"]

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            (slice(96, 120), "no speed was observed in the targets of the test part"),
            (slice(84, 96), "no speed was observed in the targets of the val part"),
            (slice(0, 84), "no speed was observed in the inputs of the training windows"),
        ],
    )
    def test_a_part_without_a_target_is_an_error(self, tmp_path, arrays, rows, message):
        arrays["speed"][rows] = 0
        with pytest.raises(DataError, match=message):
            MetrLA(root=str(write(tmp_path, **arrays))).setup()


class TestThinning:
    def test_every_thins_training_and_validation_and_not_the_test(self, make):
        whole, thin = make(), make(every=4)
        for part in ("train", "val", "test", "predict"):
            step = 4 if part in ("train", "val") else 1
            assert thin.sample_labels(part) == whole.sample_labels(part)[::step]
            for mine, theirs in zip(thin.samples(part).all(), whole.samples(part).all(), strict=True):
                assert torch.equal(mine, theirs[::step])
        fewer = make(every_test=4)
        assert fewer.sample_labels("test") == whole.sample_labels("test")[::4]
        assert fewer.sample_labels("train") == whole.sample_labels("train")

    def test_a_resumed_run_sees_the_batches_of_an_undisturbed_one(self, make):
        def epochs(loader, numbers):
            found = []
            for epoch in numbers:
                loader.sampler.set_epoch(epoch)
                found += [batch.x for batch in loader]
            return found

        undisturbed = epochs(make(every=3, seed=5).train_dataloader(), range(4))
        resumed = epochs(make(every=3, seed=5).train_dataloader(), range(2, 4))
        assert all(torch.equal(a, b) for a, b in zip(undisturbed[len(resumed) :], resumed, strict=True))
        other = epochs(make(every=3, seed=6).train_dataloader(), range(2, 4))
        assert not all(torch.equal(a, b) for a, b in zip(other, resumed, strict=True))

    def test_draws_are_bootstrap_samples_and_change_nothing_else(self, make):
        first, second = make(every=2), make(every=2, draw=1)
        assert second.sample_labels("train") == make(every=2, draw=1).sample_labels("train")
        assert set(second.sample_labels("train")) < set(first.sample_labels("train"))
        assert len(second.samples("train")) == len(first.samples("train"))
        assert torch.equal(first.scaling.x.mean, second.scaling.x.mean)
        for part in ("val", "test"):
            assert torch.equal(first.samples(part).all().x, second.samples(part).all().x)


class TestGraph:
    def test_edges_lead_from_row_to_column_and_loops_stay(self, make):
        graph = make().graph
        assert graph.edge_index.T.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [1, 2], [2, 2], [3, 2], [3, 3], [4, 4]]
        dense = torch.zeros(N, N)
        dense[graph.edge_index[0], graph.edge_index[1]] = graph.edge_weight
        assert torch.equal(dense, torch.as_tensor(ADJ))

    def test_symmetric_takes_the_larger_weight(self, make):
        graph = make(symmetric=True).graph
        dense = torch.zeros(N, N)
        dense[graph.edge_index[0], graph.edge_index[1]] = graph.edge_weight
        assert torch.equal(dense, torch.as_tensor(np.maximum(ADJ, ADJ.T)))

    def test_sparse_keeps_the_strong_edges(self, make):
        edges = make(graph="sparse").graph.edge_index.T.tolist()
        assert [edge for edge in edges if edge[0] != edge[1]] == [[0, 1], [3, 2]]
        assert len(make(graph="sparse", threshold=0.7).graph.edge_weight) == 1 + N
        assert len(sensor_graph(torch.as_tensor(ADJ), torch.zeros(N, 2), threshold=0.6).edge_weight) == 2 + N

    def test_a_graph_without_an_edge_is_refused(self, make):
        with pytest.raises(DataError, match=r"0.95 between sensors, got 0.9 at the most; take a threshold of at most 0.9"):
            make(graph="sparse", threshold=0.95).setup()
        with pytest.raises(DataError, match="got 0 at the most; convert the file again"):
            sensor_graph(torch.eye(3), torch.zeros(3, 2))

    def test_positions_are_metres(self, make):
        module = make()
        assert module.node_ids == IDS
        north = module.graph.pos[:, 1]
        torch.testing.assert_close(north.diff(), torch.full((4,), 1111.95), atol=0.01, rtol=0)
        assert module.graph.pos[:, 0].abs().max() < 1e-3


class TestForecasts:
    def test_predictions_carry_times_and_the_truth_of_the_file(self, make, arrays):
        module = make(horizon_out=2)
        asked, last = module.to_predict, rows_of(module, "test")
        times = module.traffic.labels
        assert times[:2] == ["2012-03-04T23:00", "2012-03-04T23:05"]
        assert list(asked.labels) == module.sample_labels("test")
        assert [list(each) for each in asked.times] == [[times[row + 1], times[row + 2]] for row in last.tolist()]
        truth = asked.truth.all().y
        raw = torch.stack([torch.as_tensor(arrays["speed"])[last + step] for step in (1, 2)], dim=2)
        assert torch.equal(truth.isnan(), raw == 0)
        assert torch.equal(truth.nan_to_num(), raw)

    def test_historical_average_is_that_of_training_readings_at_the_time_of_the_week(self, tmp_path, rng):
        weeks = 5 * 2016 // 6  # half-hourly for five weeks: 336 steps each
        speed = 1 + 60 * torch.rand(weeks, N, generator=rng)
        speed[torch.rand(weeks, N, generator=rng) < 0.3] = 0
        minutes = 30 * np.arange(weeks, dtype=np.int32)
        module = MetrLA(root=str(write(tmp_path, speed=speed.numpy(), minutes=minutes)), horizon_out=2, draw=1, every=3)
        end = round(0.7 * weeks)
        for part in ("train", "test"):
            found, last = module.historical_average(part), rows_of(module, part)
            assert found.shape == (len(last), N, 2)
            for sample in (0, len(last) // 2, len(last) - 1):
                for step in range(2):
                    row = int(last[sample]) + 1 + step
                    same = [speed[other] for other in range(row % 336, end, 336)]
                    for node in range(N):
                        known = [float(each[node]) for each in same if each[node] > 0]
                        fallback = float(speed[:end, node][speed[:end, node] > 0].mean())
                        expected = np.mean(known) if known else fallback
                        assert float(found[sample, node, step]) == pytest.approx(expected, rel=1e-5)

    def test_weeks_start_on_monday(self, make):
        slots = make().traffic.time_of_week
        assert slots[:12].tolist() == list(range(2004, 2016))
        assert slots[12:15].tolist() == [0, 1, 2]

    def test_a_sensor_without_readings_takes_the_mean_of_all(self):
        assert slot_means(torch.tensor([[0.0, 2.0], [0.0, 4.0]]), torch.tensor([0, 1]), 3).tolist() == [[3, 2], [3, 4], [3, 3]]

    def test_metrics_are_of_all_steps_and_of_each(self, make):
        module = make(horizon_out=2)
        metrics, batch = module.metrics(), module.test_arrays()
        assert sorted(metrics) == ["mae", "mae_1", "mae_2", "mae_batches", "mape", "mape_1", "mape_2", "rmse", "rmse_1", "rmse_2"]
        assert metrics["mae"] is not module.metrics()["mae"]
        target = module.scaling.y.inverse(batch.y)
        for metric in metrics.values():
            metric.update(target + torch.tensor([1.0, 3.0]), target, batch.mask)
        found = {name: float(metric.compute()) for name, metric in metrics.items()}
        assert (found["mae_1"], found["mae_2"]) == pytest.approx((1, 3), rel=1e-5)
        counts = batch.mask.flatten(0, 1).sum(0).double()
        assert found["mae"] == pytest.approx(float((counts * torch.tensor([1.0, 3.0])).sum() / counts.sum()), rel=1e-5)
        assert found["rmse_2"] == pytest.approx(3, rel=1e-5)
        assert found["mape_1"] == pytest.approx(float(100 * (1 / target[..., 0])[batch.mask[..., 0]].mean()), rel=1e-4)

    def test_weights_of_rows_are_counts(self, rng):
        x = torch.rand(6, 3, generator=rng)
        x[2, 1] = torch.nan
        weight = torch.tensor([0, 1, 2, 3, 0, 1])
        repeated = np.repeat(x.double().numpy(), weight.numpy(), axis=0)
        assert weighted_moments(x, weight) == pytest.approx((np.nanmean(repeated), np.nanstd(repeated)))


class TestErrors:
    @pytest.mark.parametrize("split", ["time", "windows"])
    def test_horizons_that_do_not_fit(self, make, split):
        with pytest.raises(
            DataError, match=r"horizon_in \+ horizon_out = 13 steps leave no window for the val part of 120 steps in all"
        ):
            make(horizon_in=7, horizon_out=6).setup()
        for horizon in (115, 120):
            with pytest.raises(DataError, match=rf"= {horizon + 1} steps leave no window for the (train|val) part of 120 steps"):
                make(horizon_in=horizon, horizon_out=1, split=split).setup()


class TestRealData:
    @pytest.fixture
    def real(self, data_root):
        if not (data_root / "metr-la").is_dir():
            pytest.skip(f"real data: {data_root} has no folder metr-la/")
        return lambda **settings: MetrLA(root=str(data_root), **settings)

    def test_published_counts_and_scaler(self, real):
        module = real(split="windows", missing="zero")
        counts = [len(module.samples(part)) for part in ("train", "val", "test")]
        assert (sum(counts), counts) == (34267, [23987, 3427, 6853])
        assert len(module.train_dataloader()) == 375
        standard = real(split="windows", missing="zero", horizon_in=12, horizon_out=12)
        counts = [len(standard.samples(part)) for part in ("train", "val", "test")]
        assert (sum(counts), counts) == (34249, [23974, 3425, 6850])
        assert float(standard.scaling.y.mean[0]) == pytest.approx(54.405928, abs=4e-6)
        assert float(standard.scaling.y.std[0]) == pytest.approx(19.493739, abs=2e-6)
        assert module.silent_windows == {"train": 1186, "val": 168, "test": 628}

    def test_the_published_mask_counts_what_is_missing(self, real):
        """With the scaler of the 3 -> 3 windows every missing 0 comes back as -3.8e-6, so that y != 0 counts all of them."""
        raw = real().traffic.speed.double()
        mean, std = weighted_moments(
            raw, torch.bincount((torch.arange(23987)[:, None] + torch.arange(3)).flatten(), minlength=34272)
        )
        assert (mean, std) == pytest.approx((54.405472, 19.494751), abs=1e-6)
        back = ((raw - mean) / std).float() * std + mean
        assert (back[raw == 0] != 0).all()
        standard = ((raw - 54.405928308) / 19.493739277).float() * 19.493739277 + 54.405928308
        assert (standard[raw == 0] == 0).all()  # that of 12 -> 12 is exact

    def test_errors_of_last_value_and_historical_average(self, real):
        """Golden numbers, made by this code. DCRNN reports 4.16, 7.80 and 13.0 for its average, which sees 80 % of the time."""
        module = real(split="windows", missing="zero")
        batch = module.test_arrays()
        target, last = (module.scaling.y.inverse(each) for each in (batch.y, batch.x[..., -2:-1].expand_as(batch.y)))
        metrics = module.metrics()
        for metric in metrics.values():
            metric.update(last, target, batch.mask)
        found = [float(metrics[name].compute()) for name in ("mae_3", "rmse_3", "mape_3")]
        assert found == pytest.approx([4.015, 8.690, 9.391], abs=2e-3)
        metrics = module.metrics()
        for name in ("mae", "rmse", "mape"):
            metrics[name].update(module.historical_average("test"), target, batch.mask)
        found = [float(metrics[name].compute()) for name in ("mae", "rmse", "mape")]
        assert found == pytest.approx([4.185, 7.850, 13.028], abs=2e-3)

    def test_graph_and_card(self, real):
        module = real(every=8)
        assert (module.graph.num_nodes, module.graph.edge_index.shape[1]) == (207, 1722)
        assert real(graph="sparse").graph.edge_index.shape[1] == 791 + 207
        assert real(symmetric=True).graph.edge_index.shape[1] == 2626 + 207
        reach = module.graph.pos.max(0).values - module.graph.pos.min(0).values
        assert ((reach > 10_000) & (reach < 50_000)).all()
        card = module.describe()
        assert {"name", "source", "licence", "shapes", "units", "splits", "checksum"} <= set(card)
        assert card["checksum"]["metr_la.npz"] == "b3443d7f3c017e5a6a22cec9cec26884bcc9ea03fca11b4ff7fb7ffa55fe2cb1"
        assert card["missing"].startswith("8.109% of the readings")
        assert module.sample_labels("train")[0] == "2012-03-01T00:10"
        assert module.sample_labels("test")[-1] == "2012-06-27T23:40"
