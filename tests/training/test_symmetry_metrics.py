"""Measurements as torchmetrics: batches of any size, several processes, float64 sums, and what does not fit."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gnet.errors import ConfigError, ShapeError
from gnet.graphs import Partition
from gnet.groups import TRIVIAL_ACTION, ClusterGroup, SymmetricGroup
from gnet.measures import (
    approximate_stabiliser,
    bias_variance,
    data_error,
    energy_shift,
    equivariance_error,
    held_out_risk_gap,
    layer_equivariance_errors,
    moment_shift,
)
from gnet.nn import GNet
from gnet.training.data_metrics import BiasVarianceMetric, DataErrorMetric, EnergyShiftMetric, MomentShiftMetric, RiskGapMetric
from gnet.training.symmetry_metrics import EquivarianceErrorMetric, LayerEquivarianceErrorMetric, StabiliserMetric, SymmetryMetric
from tests.laws.test_matrix_group import QuarterTurns

GROUP = SymmetricGroup(3)
SPLITS = [(0, 20), (20, 40), (40, 41)]
CANDIDATES = torch.tensor([[0, 1, 2], [1, 0, 2], [2, 0, 1]])


def f(x: Tensor) -> Tensor:
    return torch.tanh(x * torch.tensor([[1.0], [1.1], [4.0]], dtype=x.dtype))


def net() -> GNet:
    return GNet(ClusterGroup(Partition([0, 0, 1])), 2, 3, 1, generator=torch.Generator().manual_seed(0)).double()


def source() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class Case:
    """A metric, how a slice of the data enters it, and the measurement that it repeats."""

    def __init__(self, make: Callable[[], SymmetryMetric], update: Callable[..., None], whole: Callable[..., Any]) -> None:
        self.make, self.update, self.whole = make, update, whole


def stacked(x: Tensor) -> Tensor:
    """Four predictors of x."""
    return torch.stack([x, 2 * x, f(x), x.roll(1, 1)])


CASES = {
    "equivariance": Case(
        lambda: EquivarianceErrorMetric(GROUP, num_samples=4),
        lambda m, x, y: m.update(f, x),
        lambda x, y: equivariance_error(f, x, GROUP, num_samples=4, generator=source()),
    ),
    "every element": Case(
        lambda: EquivarianceErrorMetric(GROUP, action_out=TRIVIAL_ACTION, num_samples=None),
        lambda m, x, y: m.update(f, x),
        lambda x, y: equivariance_error(f, x, GROUP, action_out=TRIVIAL_ACTION, num_samples=None),
    ),
    "layers": Case(
        lambda: LayerEquivarianceErrorMetric(GROUP, ["blocks.1.linear", "blocks.0.linear"]),
        lambda m, x, y: m.update(net(), x),
        lambda x, y: {e.name: e.error.relative for e in reversed(layer_equivariance_errors(net(), x, GROUP))},
    ),
    "stabiliser": Case(
        lambda: StabiliserMetric(GROUP, CANDIDATES, 0.5),
        lambda m, x, y: m.update(f, x),
        lambda x, y: approximate_stabiliser(f, x, CANDIDATES, 0.5, GROUP),
    ),
    "data": Case(
        lambda: DataErrorMetric(GROUP, 2, 2, sigma_x=2.0),
        lambda m, x, y: m.update(x, y),
        lambda x, y: data_error(x, y, GROUP, sigma_x=2),
    ),
    "data, one number": Case(
        lambda: DataErrorMetric(GROUP, 2, None),
        lambda m, x, y: m.update(x, y[:, 0, 0]),
        lambda x, y: data_error(x, y[:, 0, 0], GROUP),
    ),
    "gap": Case(
        lambda: RiskGapMetric(GROUP, num_samples=3),
        lambda m, x, y: m.update(f, x, y),
        lambda x, y: held_out_risk_gap(f, x, y, GROUP, num_samples=3, generator=source()),
    ),
    "moments": Case(lambda: MomentShiftMetric(GROUP, 2), lambda m, x, y: m.update(x), lambda x, y: moment_shift(x, GROUP)),
    "means": Case(
        lambda: MomentShiftMetric(GROUP, 2, order=1), lambda m, x, y: m.update(x), lambda x, y: moment_shift(x, GROUP, order=1)
    ),
    "energy": Case(
        lambda: EnergyShiftMetric(GROUP, num_samples=4, num_permutations=3),
        lambda m, x, y: m.update(x),
        lambda x, y: energy_shift(x, GROUP, num_samples=4, num_permutations=3, generator=source()),
    ),
    "bias and variance": Case(
        lambda: BiasVarianceMetric([0, 0, 1, 1]),
        lambda m, x, y: m.update(stacked(x), y, y > -1),
        lambda x, y: bias_variance(stacked(x), y, [0, 0, 1, 1], y > -1),
    ),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def data(rng: torch.Generator) -> tuple[Tensor, Tensor]:
    x = torch.randn(41, 3, 2, dtype=torch.float64, generator=rng) + 0.3
    return x, f(x) + 0.2 * torch.randn(41, 3, 2, dtype=torch.float64, generator=rng)


def filled(case: Case, data: tuple[Tensor, Tensor], splits: list[tuple[int, int]], **options: Any) -> SymmetryMetric:
    metric = case.make()
    for start, end in splits:
        case.update(metric, *(part[start:end] for part in data))
    return metric


def numbers(result: Any) -> dict[str, Any]:
    """A result as plain numbers, the errors of a stabiliser included."""
    if isinstance(result, dict):
        return result
    found = dict(vars(result))
    if "errors" in found:
        found |= vars(found.pop("errors"))
    return {name: value.flatten().tolist() if isinstance(value, Tensor) else value for name, value in found.items()}


def assert_same(one: Any, other: Any) -> None:
    one, other = numbers(one), numbers(other)
    assert list(one) == list(other)
    for name, value in one.items():
        if name != "standard_error" or value == value:  # that of a moment needs all samples at once
            assert value == pytest.approx(other[name], rel=1e-6, abs=1e-9, nan_ok=True), name


def test_batches_of_any_size_give_the_measurement_of_the_whole(case: Case, data: tuple[Tensor, Tensor]):
    whole = case.whole(*data)
    assert_same(filled(case, data, SPLITS).measured(), whole)
    assert_same(filled(case, data, [(0, 41)]).measured(), whole)
    last = filled(case, data, SPLITS[:1])
    last.reset()
    case.update(last, *data)
    assert_same(copy.deepcopy(last).measured(), whole)


def test_a_mean_of_batch_means_lies(data: tuple[Tensor, Tensor]):
    """The last batch holds one sample: its relative error would weigh as much as that of twenty."""
    case = CASES["equivariance"]
    each = [float(filled(case, data, [split]).compute()) for split in SPLITS]
    assert sum(each) / 3 != pytest.approx(float(filled(case, data, SPLITS).compute()), rel=1e-3)


def from_another(metric: SymmetryMetric) -> Callable[..., list[Tensor]]:
    """What a process gathers where another holds ``metric``."""

    def states() -> Iterator[Tensor]:
        for name in metric._reductions:
            state = getattr(metric, name)
            yield torch.cat(state) if isinstance(state, list) else state

    theirs = states()
    return lambda mine, group=None: [mine, next(theirs)]


def test_processes_give_the_measurement_of_the_whole(case: Case, data: tuple[Tensor, Tensor]):
    one, other = filled(case, data, SPLITS[:1]), filled(case, data, SPLITS[1:])
    one.dist_sync_fn, one.distributed_available_fn = from_another(other), lambda: True
    alone = filled(case, data, SPLITS)
    together, whole = one.compute(), alone.compute()
    if isinstance(whole, dict):
        together, whole = torch.stack(list(together.values())), torch.stack(list(whole.values()))
    torch.testing.assert_close(together, whole, rtol=1e-6, atol=1e-9)


def test_sums_are_float64_at_any_precision(case: Case, data: tuple[Tensor, Tensor]):
    metric = case.make().half()
    states = [getattr(metric, name) for name in metric._defaults]
    assert all(state.dtype == torch.float64 for state in states if isinstance(state, Tensor))
    value = filled(case, data, SPLITS).compute()
    values = value.values() if isinstance(value, dict) else [value]
    assert all(each.dtype in (torch.float64, torch.bool) for each in values)


def test_many_small_float32_batches_keep_their_digits():
    """In float32 2^24 + 1 is 2^24."""
    metric = MomentShiftMetric(SymmetricGroup(2), 1, order=1)
    metric.update(torch.tensor([[[2.0**24], [0.0]]]))
    for _ in range(10):
        metric.update(torch.tensor([[[1.0], [0.0]]]))
    assert float(metric.moment[0, 0]) == 2**24 + 10


def test_matrix_groups_have_metrics_too(rng: torch.Generator):
    x = torch.randn(10, 2, dtype=torch.float64, generator=rng)
    linear = nn.Linear(2, 2).double()
    metric = EquivarianceErrorMetric(QuarterTurns(), num_samples=None, value="rms")
    metric.update(linear, x[:3])
    metric.update(linear, x[3:])
    assert float(metric.compute()) == pytest.approx(equivariance_error(linear, x, QuarterTurns(), num_samples=None).rms)


class Logs(LightningModule):
    """Logs a metric as Lightning has it: the object itself."""

    def __init__(self) -> None:
        super().__init__()
        self.error = EquivarianceErrorMetric(GROUP, num_samples=4)

    def test_step(self, batch, batch_idx: int) -> None:
        self.error.update(f, batch)
        self.log("test_error", self.error, on_step=False, on_epoch=True, batch_size=1)


def test_works_in_lightning(data: tuple[Tensor, Tensor]):
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    loader = DataLoader([data[0][start:end] for start, end in SPLITS], batch_size=None)
    module = Logs()
    for _ in range(2):  # reset between two runs
        logged = trainer.test(module, loader, verbose=False)[0]
        assert logged["test_error"] == pytest.approx(float(filled(CASES["equivariance"], data, SPLITS).compute()))
    assert not module.state_dict()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match=r"expected value to be one of mean_square, .*rms, got 'mean'"):
        EquivarianceErrorMetric(GROUP, value="mean")
    with pytest.raises(ShapeError, match=r"expected x \(B, 3, 2\) and y \(B,\), got \(4, 3, 1\) and \(4,\)"):
        DataErrorMetric(GROUP, 2, None).update(torch.zeros(4, 3, 1), torch.zeros(4))
    metric = DataErrorMetric(GROUP, 1, None)
    metric.update(torch.eye(3)[..., None], torch.zeros(3))
    with pytest.raises(ShapeError, match="expected more samples than 3 inputs, and none that depends on others, got 3"):
        metric.compute()
    with pytest.raises(ShapeError, match=r"expected x of shape \(B, 3, 2\), got \(4, 3, 1\)"):
        MomentShiftMetric(GROUP, 2).update(torch.zeros(4, 3, 1))
    with pytest.raises(ConfigError, match="expected order 1 or 2, got 0"):
        MomentShiftMetric(GROUP, 2, order=0)
    with pytest.raises(ShapeError, match=r"expected predictions \(2, 4\), of each draw like the target, got \(3, 4\)"):
        BiasVarianceMetric([0, 1]).update(torch.zeros(3, 4), torch.zeros(4))
    with pytest.raises(ConfigError, match=r"the net has no layer 'blocks\.7' to measure"):
        LayerEquivarianceErrorMetric(GROUP, ["blocks.7"]).update(net(), torch.zeros(2, 3, 2, dtype=torch.float64))


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
@pytest.mark.parametrize("name", ["equivariance", "energy", "gap"])
def test_nothing_added_is_nothing_measured(name: str):
    with pytest.raises(ShapeError, match="got none; call update first"):
        CASES[name].make().compute()
