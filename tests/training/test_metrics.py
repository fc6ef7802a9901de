"""Masked errors of forecasts: check values, batches of any size, horizons, and what a lying mean would say."""

import copy

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from gnet.errors import ConfigError, ShapeError
from gnet.training.metrics import MaskedError, MaskedMAE, MaskedMAPE, MaskedRMSE

TARGET = torch.tensor([0.0, 10.0, 20.0, 0.0, 40.0])
GUESS = torch.tensor([5.0, 11.0, 18.0, 7.0, 44.0])
KINDS = [MaskedMAE, MaskedRMSE, MaskedMAPE]


def by_hand(kind: type[MaskedError], prediction: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> float:
    """The definition, entry by entry in float64."""
    pairs = [(float(p), float(t)) for p, t, m in zip(prediction.flatten(), target.flatten(), mask.flatten(), strict=True) if m]
    if kind is MaskedMAE:
        return float(np.mean([abs(p - t) for p, t in pairs]))
    if kind is MaskedRMSE:
        return float(np.sqrt(np.mean([(p - t) ** 2 for p, t in pairs])))
    return float(100 * np.mean([abs(p - t) / abs(t) for p, t in pairs if t != 0]))


@pytest.fixture
def batches(rng):
    """Three batches of 4, 4 and 1 samples of 5 nodes and 3 steps; the second counts few entries."""
    made = []
    for size, share in ((4, 0.8), (4, 0.1), (1, 0.5)):
        target = 60 * torch.rand(size, 5, 3, generator=rng) + 1
        mask = torch.rand(size, 5, 3, generator=rng) < share
        mask[0, 0] = True
        made.append((target + torch.randn(size, 5, 3, generator=rng) / (1 - share), target, mask))
    return made


def value_of(metric: MaskedError, batches) -> float:
    for batch in batches:
        metric.update(*batch)
    return float(metric.compute())


def test_check_value():
    assert value_of(MaskedMAE(), [(GUESS, TARGET, TARGET != 0)]) == pytest.approx(7 / 3)
    assert value_of(MaskedRMSE(), [(GUESS, TARGET, TARGET != 0)]) == pytest.approx(7**0.5)
    assert value_of(MaskedMAPE(), [(GUESS, TARGET, TARGET != 0)]) == pytest.approx(10.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("horizon", [None, 0, 2])
def test_is_the_mean_over_all_entries_that_count(kind, horizon, batches):
    whole = [torch.cat(parts) for parts in zip(*batches, strict=True)]
    channels = slice(None) if horizon is None else horizon
    expected = by_hand(kind, *(part[..., channels] for part in whole))
    assert value_of(kind(horizon=horizon), batches) == pytest.approx(expected, rel=1e-5)
    assert value_of(kind(horizon=horizon), [whole]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_mean_of_batch_means_lies(kind, batches):
    """It weighs the entries of a batch in which few count more; offered, since others report it, and not by default."""
    expected = np.mean([by_hand(kind, *batch) for batch in batches])
    per_batch = value_of(kind(per_batch=True), batches)
    assert per_batch == pytest.approx(expected, rel=1e-5)
    assert per_batch != pytest.approx(value_of(kind(), batches), rel=1e-3)


def test_a_batch_that_counts_nothing_is_an_error_of_0_per_batch_and_nothing_else():
    empty = (GUESS, TARGET, torch.zeros(5, dtype=torch.bool))
    batches = [(GUESS, TARGET, TARGET != 0), empty]
    assert value_of(MaskedMAE(), batches) == pytest.approx(7 / 3)
    assert value_of(MaskedMAE(per_batch=True), batches) == pytest.approx(7 / 6)
    assert np.isnan(value_of(MaskedMAE(), [empty]))


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_count_may_be_nan(kind):
    target, guess = TARGET.clone(), GUESS.clone()
    target[0], guess[3] = torch.nan, torch.inf
    expected = by_hand(kind, GUESS, TARGET, TARGET != 0)
    assert value_of(kind(), [(guess, target, TARGET != 0)]) == pytest.approx(expected)


def test_mape_skips_zeros_also_after_scaling_back():
    everything = torch.ones(5, dtype=torch.bool)
    mean, std = 53.71902, 20.26143
    scaled = ((TARGET.double() - mean) / std).float()
    back = scaled * std + mean
    assert back[0] != 0  # a mask made of this would count it
    assert value_of(MaskedMAPE(), [(GUESS, TARGET, everything)]) == pytest.approx(10.0)
    assert value_of(MaskedMAPE(), [(GUESS, back, everything)]) == pytest.approx(10.0, rel=1e-5)
    assert value_of(MaskedMAPE(smallest=0.0), [(GUESS, back, everything)]) > 1e6


@pytest.mark.parametrize("kind", KINDS)
def test_states_of_processes_add_up(kind, batches):
    one, two = kind(), kind()
    for metric, part in ((one, batches[:1]), (two, batches[1:])):
        value_of(metric, part)
    assert all(reduce is torch.sum or reduce.__name__ == "dim_zero_sum" for reduce in one._reductions.values())
    one.total, one.count = one.total + two.total, one.count + two.count
    one._computed = None
    assert float(one.compute()) == pytest.approx(value_of(kind(), batches), rel=1e-5)
    one.reset()
    assert value_of(one, batches[:1]) == pytest.approx(by_hand(kind, *batches[0]), rel=1e-5)
    assert value_of(copy.deepcopy(one), batches[1:]) == pytest.approx(value_of(kind(), batches), rel=1e-5)


def test_float64_stays_float64(batches):
    metric = MaskedMAE()
    value_of(metric, [(p.double(), t.double(), m) for p, t, m in batches])
    assert metric.compute().dtype == torch.float64


class Logs(LightningModule):
    """Logs a metric as Lightning has it: the object itself."""

    def __init__(self) -> None:
        super().__init__()
        self.mae = MaskedMAE(horizon=1)

    def test_step(self, batch, batch_idx: int) -> None:
        self.mae.update(*batch)
        self.log("test_mae", self.mae, on_step=False, on_epoch=True, batch_size=1)


def test_works_in_lightning(batches):
    module = Logs()
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    loader = DataLoader(batches, batch_size=None)
    expected = value_of(MaskedMAE(horizon=1), batches)
    for _ in range(2):  # reset between two runs
        logged = trainer.test(module, loader, verbose=False)[0]
        assert logged["test_mae"] == pytest.approx(expected)
    assert not module.state_dict()


def test_refuses_what_does_not_fit():
    with pytest.raises(ShapeError, match=r"a bool mask like them, got \(5,\), \(5,\) and \(5,\) torch.float32"):
        MaskedMAE().update(GUESS, TARGET, torch.ones(5))
    with pytest.raises(ShapeError, match=r"got \(5,\), \(4,\) and \(5,\) torch.bool"):
        MaskedMAE().update(GUESS, TARGET[:4], TARGET != 0)
    with pytest.raises(ShapeError, match=r"expected at least 6 channels for horizon=5, got \(5,\)"):
        MaskedMAE(horizon=5).update(GUESS, TARGET, TARGET != 0)
    with pytest.raises(ConfigError, match="expected horizon to be a channel >= 0, or None for all, got -1"):
        MaskedMAE(horizon=-1)
    with pytest.raises(ConfigError, match="expected smallest >= 0, got -1"):
        MaskedMAPE(smallest=-1.0)


def test_sums_of_many_batches_are_exact():
    """In float32, ones stop counting at 2^24; the liar sums so."""
    metric, liar = MaskedMAE(), MaskedMAE()
    liar.total = liar.total.float()
    for each in (metric, liar):
        each.total += 2.0**24
        each.count += 2**24
        for _ in range(2**10):
            each.update(torch.ones(1), torch.zeros(1), torch.ones(1, dtype=torch.bool))
    assert (float(metric.total), float(liar.total)) == (2.0**24 + 2**10, 2.0**24)
    assert metric.compute() == 1.0 > liar.compute()
    assert metric.compute().dtype == torch.float32


def test_devices_without_float64_sum_in_float32():
    """As MPS, which refuses to have it."""

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return tensor

    metric = MaskedMAE()
    metric._apply(moved)
    metric.update(torch.ones(2), torch.zeros(2), torch.tensor([True, False]))
    assert (metric.total.dtype, metric.compute()) == (torch.float32, 1.0)
    metric.reset()
    assert metric.total.dtype == torch.float32
