"""The baseline ``historical_average``: only where the data has a history, in the units of the study."""

import pytest
import torch

from gnet.errors import ConfigError
from gnet.study.baselines import _in_batches, last_value
from gnet.study.plan import choose_baselines
from gnet.training.data import Batch
from gnet.training.metrics import MaskedMAE


class WithHistory:
    task = "forecast"

    def historical_average(self, split: str) -> torch.Tensor:
        return torch.zeros(0)


def test_it_is_offered_where_the_data_has_a_history() -> None:
    assert choose_baselines(None, WithHistory()) == ("gcn", "mlp_per_node", "ridge", "last_value", "historical_average")
    assert choose_baselines(["historical_average"], WithHistory()) == ("historical_average",)
    with pytest.raises(ConfigError, match="historical_average is the mean at the same time of the week, which this data has not"):
        choose_baselines(["historical_average"], object())


def test_the_last_value_of_the_forecast_channel_alone() -> None:
    steps = torch.tensor([[[1.0, 0.1, 2.0, 0.2, 3.0, 0.3]]])
    assert last_value(channels=2, horizon=2, out_channels=1)(steps).tolist() == [[[3.0, 3.0]]]


def test_metrics_of_baselines_are_taken_in_the_batches_of_nets() -> None:
    y, mask = torch.arange(6.0).reshape(6, 1, 1), torch.tensor([1, 1, 1, 1, 1, 0]).reshape(6, 1, 1) > 0
    found = []
    for size in (None, 4):
        metric = MaskedMAE(per_batch=True)
        for output, batch in _in_batches(torch.zeros_like(y), Batch(y, y, mask), size):
            metric.update(output, batch.y, batch.mask)
        found.append(float(metric.compute()))
    assert found == [2.0, 2.75]  # (0 + 1 + 2 + 3 + 4) / 5; (1.5 + 4) / 2
