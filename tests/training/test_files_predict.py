"""``predict`` runs over the whole of a user's files: it fills gaps, forecasts beyond the end, and regresses every row."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from gnet.training.predict import WritePredictions
from gnet.training.symmetry import Symmetric
from gnet.training.trial import predictions_of
from tests.training.own_files import IDS, START, STEP, C, N, T, files, write
from tests.training.small import quiet_trainer, small_module


def predicted(data, path: Path, **settings) -> tuple[torch.nn.Module, list[dict[str, str]]]:
    """The module, not trained, and what it writes."""
    module = small_module(symmetry=Symmetric())
    quiet_trainer(WritePredictions(str(path)), **settings).predict(module, datamodule=data, return_predictions=False)
    if path.suffix == ".npz":
        return module, []
    with open(path, newline="") as file:
        return module, list(csv.DictReader(file))


def stamps(first: int, end: int) -> list[str]:
    return [str(START + row * STEP) for row in range(first, end)]


class TestImpute:
    def test_every_row_is_filled_and_nothing_more_is_hidden(self, folder, x):
        data = files(folder, batch_size=7, draw=1)
        module, found = predicted(data, folder / "p.csv")
        assert list(found[0]) == ["sample", "node", "channel", "prediction", "target", "observed", "filled"]
        keys = [(row["sample"], row["node"], row["channel"]) for row in found]
        assert keys == [(time, node, str(channel)) for time in stamps(0, T) for node in IDS for channel in range(C)]
        values = x.astype(np.float32)
        with torch.no_grad():
            output = data.scaling.y.inverse(module(data.scaling.x.filled(torch.from_numpy(values)))).numpy()
        for row, reading, expected in zip(found, x.flatten(), output.flatten(), strict=True):
            assert float(row["prediction"]) == pytest.approx(float(expected), abs=1e-3)
            if np.isnan(reading):
                assert (row["target"], row["observed"], row["filled"]) == ("", "0", row["prediction"])
            else:  # the very digits of the file, not those that come back from standard deviations
                assert (row["target"], row["observed"], row["filled"]) == (str(reading), "1", str(reading))

    def test_as_arrays(self, folder, x):
        predicted(files(folder), folder / "p.npz")
        with np.load(folder / "p.npz") as found:
            assert set(found.files) == {"predictions", "targets", "samples", "nodes", "filled"}
            assert np.array_equal(found["targets"], x, equal_nan=True)
            assert np.array_equal(found["filled"], np.where(np.isnan(x), found["predictions"], x))
            assert found["samples"].tolist() == stamps(0, T)

    @pytest.mark.parametrize(("dtype", "digits"), [(np.float64, "2459124.875"), (np.float32, "0.1"), (np.int64, "7")])
    def test_readings_keep_their_digits(self, folder, x, dtype, digits: str):
        values = np.nan_to_num(x * 10).astype(dtype)
        values[2, 1, 0] = dtype(digits)
        write(folder, x=values)
        _, found = predicted(files(folder, graph="correlation", edges=None, threshold=0.1), folder / "p.csv")
        row = found[(2 * N + 1) * C]
        assert row["target"] == row["filled"] == digits + (".0" if dtype == np.int64 else "")

    def test_a_part_of_the_batches(self, folder):
        _, found = predicted(files(folder, batch_size=7), folder / "p.csv", limit_predict_batches=2)
        assert [row["sample"] for row in found[:: N * C]] == stamps(0, 14)

    def test_a_study_still_compares_its_runs_on_the_test_samples(self, folder):
        data = files(folder)
        module, _ = predicted(data, folder / "p.csv")
        assert data.sample_labels("predict") == data.sample_labels("test")
        with torch.no_grad():
            expected = module(data.predict_arrays().x).numpy()
        assert np.array_equal(predictions_of(module, data), expected)
        assert len(expected) == 10


class TestForecast:
    @pytest.fixture
    def series(self, folder):
        """A value that names its step, node and channel, in steps of 5 minutes, with one gap."""
        x = 1000.0 * np.arange(T)[:, None, None] + 10 * np.arange(N)[:, None] + np.arange(C)
        x[20, 3, 1] = np.nan
        write(folder, x=x, time=START + np.arange(T) * STEP, node_ids=np.array(IDS))
        return files(folder, task="forecast", horizon_in=3, horizon_out=2)

    def test_goes_beyond_the_end_of_the_file(self, folder, series):
        _, found = predicted(series, folder / "p.csv")
        assert list(found[0]) == ["sample", "node", "channel", "prediction", "target", "step", "time"]
        assert [row["sample"] for row in found[:: 2 * N * C]] == stamps(2, T)
        time = {stamp: row for row, stamp in enumerate(stamps(0, T + 2))}
        for row in found:
            at = time[row["time"]]
            assert at == time[row["sample"]] + int(row["step"])
            node, channel = IDS.index(row["node"]), int(row["channel"])
            if at >= T or (at, node, channel) == (20, 3, 1):
                assert row["target"] == ""
            else:
                assert float(row["target"]) == pytest.approx(1000 * at + 10 * node + channel, abs=0.1)
        assert {row["time"] for row in found[-2 * N * C :]} == set(stamps(T, T + 2))

    def test_the_last_forecast_sees_the_last_rows(self, folder, series):
        module, found = predicted(series, folder / "p.csv")
        seen = torch.from_numpy(np.load(folder / "signals.npz")["x"][-3:]).float()  # (3, N, C)
        x = series.scaling.x(seen.transpose(0, 1).flatten(1))
        with torch.no_grad():
            expected = series.scaling.y.inverse(module(x)).reshape(N, 2, C)
        last = {(row["node"], row["step"], row["channel"]): float(row["prediction"]) for row in found[-2 * N * C :]}
        for node, name in enumerate(IDS):
            for step in range(2):
                for channel in range(C):
                    assert last[name, str(step + 1), str(channel)] == pytest.approx(
                        float(expected[node, step, channel]), rel=1e-4
                    )

    def test_rows_without_time_stamps_go_on_counting(self, folder):
        write(folder, x=np.random.default_rng(0).normal(size=(T, N, 1)), node_ids=np.array(IDS))
        _, found = predicted(files(folder, task="forecast", horizon_in=3, horizon_out=2), folder / "p.csv")
        assert [(row["sample"], row["step"], row["time"]) for row in found[-2:]] == [("49", "1", "50"), ("49", "2", "51")]

    def test_as_arrays(self, folder, series):
        predicted(series, folder / "p.npz")
        with np.load(folder / "p.npz") as found:
            assert found["predictions"].shape == (T - 2, N, 2 * C)
            assert found["times"].tolist() == [stamps(row, row + 2) for row in range(3, T + 1)]
            assert np.isnan(found["targets"][-1]).all()
            assert np.isnan(found["targets"][-2, :, C:]).all()


class TestRegress:
    def test_every_row_in_order(self, folder, x):
        _, found = predicted(files(folder, task="regress", batch_size=7), folder / "p.csv")
        assert list(found[0]) == ["sample", "node", "channel", "prediction", "target"]
        assert [(row["sample"], row["node"]) for row in found] == [(stamp, "") for stamp in stamps(0, T)]
        np.testing.assert_allclose([float(row["target"]) for row in found], np.nansum(x, 1)[:, 0], atol=1e-4)

    def test_rows_without_a_target_are_predicted_too(self, folder, x):
        y = x[..., :1] * 2
        y[-9:] = np.nan
        write(folder, x=x, y=y, node_ids=np.array(IDS))
        _, found = predicted(files(folder, task="regress"), folder / "p.csv")
        assert len(found) == T * N
        assert all(row["target"] == "" and float(row["prediction"]) for row in found[-9 * N :])
