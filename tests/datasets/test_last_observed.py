"""The last reading of each sensor before a forecast: a brute-force search, and what it gains over the last step as it is."""

import pytest
import torch

from datasets.metr_la import MetrLA
from gnet.study.baselines import train_baseline
from tests.datasets.small_traffic import N, write


def sensors(tmp_path, rng, **settings) -> tuple[MetrLA, torch.Tensor]:
    speed = 1 + 60 * torch.rand(120, N, generator=rng)
    speed[torch.rand(120, N, generator=rng) < 0.4] = 0
    speed[:100, 1] = 0  # nothing seen before most forecasts
    return MetrLA(root=str(write(tmp_path, speed=speed.numpy())), split="windows", **settings), speed


@pytest.mark.parametrize("missing", ["mask", "zero"])
def test_is_the_last_reading_that_is_there_however_long_ago(tmp_path, rng, missing):
    module, speed = sensors(tmp_path, rng, missing=missing, horizon_in=2, horizon_out=3)
    times = module.traffic.labels
    for part in ("train", "test"):
        found = module.last_observed(part)
        for sample, label in enumerate(module.sample_labels(part)):
            for node in range(N):
                seen = [float(each) for each in speed[: times.index(label) + 1, node] if each > 0]
                expected = seen[-1] if seen else float(module.scaling.y.mean[0])
                assert found[sample, node].tolist() == pytest.approx([expected] * 3, rel=1e-6)


def test_a_missing_reading_that_counts_is_one_of_0_mph(tmp_path, rng):
    module, speed = sensors(tmp_path, rng, missing="zero", count_missing=True, horizon_in=2, horizon_out=1)
    last = [module.traffic.labels.index(label) for label in module.sample_labels("test")]
    assert torch.equal(module.last_observed("test")[..., 0], speed[last])
    assert (speed[last] == 0).any()


def test_the_baseline_takes_it(tmp_path, rng):
    module, _ = sensors(tmp_path, rng, missing="zero")
    batch = module.test_arrays()
    expected = (module.last_observed("test") - module.scaling.y.inverse(batch.y))[batch.mask].abs().mean()
    arguments = {"root": str(tmp_path), "split": "windows", "missing": "zero"}
    config = {"data": {"class_path": "datasets.MetrLA", "init_args": arguments}, "model": {"loss": "mae", "loss_units": "data"}}
    assert train_baseline("last_value", config, threads=1).metrics["mae"] == pytest.approx(float(expected), rel=1e-5)
