"""METR-LA: forecast the speeds at 207 detectors on the highways of Los Angeles from the last ones."""

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torchmetrics import Metric

from gnet.counts import check_count
from gnet.errors import ConfigError, DataError
from gnet.nn.checks import check_choice
from gnet.randomness import derive_seed
from gnet.training.datamodule import Batch, GraphDataModule, Prepared, Samples, Split, ToPredict
from gnet.training.metrics import MaskedMAE, MaskedMAPE, MaskedRMSE, of_each_step
from gnet.training.standardise import Scaling, Standardiser
from gnet.training.tasks import WindowSamples

from .folders import data_folder
from .traffic import FILES, WEEK, Traffic, read_traffic, sensor_graph

Part = Literal["train", "val", "test"]
Missing = Literal["mask", "zero"]
Cut = Literal["time", "windows"]
Roads = Literal["full", "sparse"]

THRESHOLD = 0.3
PARTS: tuple[Part, ...] = ("train", "val", "test")


class SpeedWindows(WindowSamples):
    """Windows whose inputs have several channels per step, of which the first, the speed, is the target.

    Shapes:
        values, observed: (T, N, C)    x: (B, N, horizon_in C)    y, mask: (B, N, horizon_out)

    Example:
        >>> series = torch.tensor([[[5.0, 0.0]], [[6.0, 0.5]], [[7.0, 0.0]]])
        >>> SpeedWindows(series, torch.ones_like(series, dtype=torch.bool), torch.tensor([0]), 2, 1).all()[:2]
        (tensor([[[5.0000, 0.0000, 6.0000, 0.5000]]]), tensor([[[7.]]]))
    """

    def __getitem__(self, indices: Any) -> Batch:
        x, y, mask = super().__getitem__(indices)
        channels = self.values.shape[2]
        return Batch(x, y[..., ::channels].contiguous(), mask[..., ::channels].contiguous())


class MetrLA(GraphDataModule):
    """The next ``horizon_out`` speeds at every sensor from the last ``horizon_in`` ones and the time of day.

    Inputs are, step by step, the speed and the time of day in [0, 1); targets are the speeds of the steps after them. A reading
    of 0 is missing: it never counts in loss and metrics, which the raw data decide (scaled and scaled back it may be no 0).
    Windows whose targets are all missing stay, without a loss; ``describe`` says how many there are. One mean and one std of
    the speeds, over the inputs of all training windows whatever ``every`` and ``draw``, serve all sensors; the time of day is
    left as it is.

    With one data set there is one training set: ``draw`` 0 is the training windows as they are, every other one a bootstrap
    sample of them. The test windows are the same always, in order, and are what ``predict`` runs over.

    Args:
        horizon_in: steps of 5 minutes that a forecast sees.
        horizon_out: steps that it makes.
        missing: "mask" standardises without missing readings and gives them to the net as 0, the mean; "zero" takes them for
            speeds of 0 mph in both, as the released code does.
        mask_channel: give the net a third channel that is 1 where the speed was observed and else 0.
        count_missing: count missing readings as true speeds of 0 mph, which is what the released code does in effect: its mask
            is made after scaling and scaling back, and by the scaler of its 3 -> 3 windows every 0 comes back as -3.8e-6. Needs
            ``missing="zero"``.
        graph: "full" has the published weights exp(-(road distance / s)^2) >= 0.1, "sparse" those of at least ``threshold``.
            How the published sparse graph was made is not known; this one is a stand-in for it.
        threshold: smallest weight of the sparse graph; 0.3 (2.8 km) keeps 791 of 1515 edges. Loops have weight 1 and stay.
        symmetric: join both ways by the larger weight; else an edge leads from ``edge_index[0]`` to ``edge_index[1]`` as cars do.
        split: "time" cuts the time axis into 70 % train, 10 % validation and 20 % test, and no window crosses a cut; "windows"
            cuts the list of all windows in these shares, as published: the last training windows reach into the validation part
            by ``horizon_in + horizon_out - 1`` steps, and those into the test part, of which a warning tells.
        every: keep every n-th training and every n-th validation window, for small machines; the test windows stay.
        every_test: keep every n-th test window.
        batch_size: windows per batch; None takes the whole split at once.
        options: see ``GraphDataModule``.

    Raises:
        ConfigError: settings that do not exist or contradict each other.
        DataError: a file that is missing, or holds something other than promised; too long horizons; nothing observed to
            train, choose or test by (when set up).

    References:
        Li, Yu, Shahabi and Liu (2018), arXiv:1707.01926: data, graph and splits.
        Huang, Levie and Villar (2023), arXiv:2308.10436: 3 steps in and 3 out.

    Example:
        >>> module = MetrLA(horizon_in=12, horizon_out=12)
        >>> module.task, module.horizon_out, module.batch_size
        ('forecast', 12, 64)
    """

    task: ClassVar[str] = "forecast"

    def __init__(
        self,
        horizon_in: int = 3,
        horizon_out: int = 3,
        missing: Missing = "mask",
        mask_channel: bool = False,
        count_missing: bool = False,
        graph: Roads = "full",
        threshold: float = THRESHOLD,
        symmetric: bool = False,
        split: Cut = "time",
        every: int = 1,
        every_test: int = 1,
        batch_size: int | None = 64,
        **options: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **options)
        check_count(horizon_in=horizon_in, horizon_out=horizon_out, every=every, every_test=every_test)
        check_choice("missing", missing, Missing)
        check_choice("graph", graph, Roads)
        check_choice("split", split, Cut)
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
            raise ConfigError(f"expected threshold in (0, 1], got {threshold!r}")
        if graph == "full" and threshold != THRESHOLD:
            raise ConfigError(f"graph='full' has no threshold, got {threshold}; take graph='sparse', or leave threshold out")
        if count_missing and missing != "zero":
            raise ConfigError("count_missing=True takes missing readings for speeds of 0 mph; say missing='zero' too")
        self.horizon_in, self.horizon_out = horizon_in, horizon_out
        self.missing, self.mask_channel, self.count_missing = missing, mask_channel, count_missing
        self.roads, self.threshold, self.symmetric = graph, threshold, symmetric
        self.split, self.every, self.every_test = split, every, every_test
        self.silent_windows: dict[Part, int] = {}
        """Of the windows of each part, how many have no target that counts; known after ``setup``."""

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return data_folder("metr-la", self.root)

    @property
    def missing_input(self) -> float | None:
        """0 mph with ``missing="zero"``, else the mean."""
        return 0.0 if self.missing == "zero" else None

    @property
    def traffic(self) -> Traffic:
        """The data as they are in the files."""
        return read_traffic(self.folder)

    def build(self) -> Prepared:
        """Cut the windows, standardise, make the graph."""
        traffic = self.traffic
        known = (traffic.speed > 0).unsqueeze(2)  # (T, N, 1)
        if self.split == "windows":
            rank_zero_warn(
                f"split='windows', as published: the parts overlap by {self.horizon_in + self.horizon_out - 1} steps, which are "
                "inputs or targets of both; with split='time' no window crosses a cut"
            )
        starts = self._starts(len(known))
        series = self._series(traffic)
        units = self._units(series, starts["train"])
        values, counted = units.filled(series), known | self.count_missing
        kept = self._kept(starts)
        self.silent_windows = {part: self._silent(counted, at, part) for part, at in kept.items()}
        seen, made, channels = self.horizon_in, self.horizon_out, series.shape[2]
        each_channel = counted.expand(-1, -1, channels)
        samples: dict[Split, Samples] = {part: SpeedWindows(values, each_channel, at, seen, made) for part, at in kept.items()}
        # A forecast is named by the moment it is made: the last step it sees.
        times = traffic.labels
        labels: dict[Split, list[str]] = {part: [times[row + seen - 1] for row in at.tolist()] for part, at in kept.items()}
        samples["predict"], labels["predict"] = samples["test"], labels["test"]
        raw = traffic.speed.unsqueeze(2).masked_fill(~known, torch.nan)
        tested = ToPredict(
            samples["test"],
            labels["test"],
            WindowSamples(raw, known, kept["test"], seen, made),
            times=[times[row + seen : row + seen + made] for row in kept["test"].tolist()],
        )
        speeds = Standardiser(units.mean[:1], units.std[:1])
        scaling = Scaling(units.repeated(seen), speeds.repeated(made))
        graph = sensor_graph(traffic.adj, traffic.pos, self.threshold if self.roads == "sparse" else 0.0, self.symmetric)
        return Prepared(graph, scaling, samples, labels, traffic.sensor_ids, to_predict=tested)

    def metrics(self) -> dict[str, Metric]:
        """MAE and RMSE in mph and MAPE in per cent: over all steps (``mae``), and n steps ahead (``mae_1`` ...).

        ``mae_batches`` is the mean of the batches' MAE, which the released code reports.
        """
        found = of_each_step({"mae": MaskedMAE, "rmse": MaskedRMSE, "mape": MaskedMAPE}, self.horizon_out)
        return {**found, "mae_batches": MaskedMAE(per_batch=True)}

    def historical_average(self, split: Split) -> Tensor:
        """Forecast each sensor's mean training speed at that time of the week, from observed readings.

        Shapes:
            returns: (B, N, horizon_out), for the windows of the split in their order

        Units: miles per hour.
        """
        samples, traffic = self.samples(split), self.traffic
        starts = samples.starts if isinstance(samples, WindowSamples) else torch.empty(0, dtype=torch.long)
        end = int(self._starts(len(traffic.speed))["train"][-1]) + self.horizon_in + self.horizon_out
        slots = traffic.time_of_week
        means = slot_means(traffic.speed[:end], slots[:end], -(-WEEK // traffic.step))
        ahead = starts[:, None] + self.horizon_in + torch.arange(self.horizon_out)
        return means[slots[ahead]].transpose(1, 2)  # (B, H, N) -> (B, N, H)

    def last_observed(self, split: Split) -> Tensor:
        """Forecast the last reading that was there when the forecast is made, however long ago; before the first one the mean.

        With ``count_missing`` a missing reading is one of 0 mph.

        Shapes:
            returns: (B, N, horizon_out), for the windows of the split in their order

        Units: miles per hour.
        """
        samples, speed = self.samples(split), self.traffic.speed
        starts = samples.starts if isinstance(samples, WindowSamples) else torch.empty(0, dtype=torch.long)
        if not self.count_missing:
            steps = torch.arange(len(speed))[:, None].expand_as(speed)
            there = steps.masked_fill(speed == 0, -1).cummax(0).values  # the step of the last reading
            mean = float(self.scaling.y.mean[0])
            speed = torch.where(there < 0, mean, speed.gather(0, there.clamp_min(0)))
        return speed[starts + self.horizon_in - 1][:, :, None].expand(-1, -1, self.horizon_out)

    def describe(self) -> dict[str, Any]:
        """The data card."""
        windows = {part: len(self.samples(part)) for part in PARTS}
        cut = "time, no window crosses a cut" if self.split == "time" else "windows, which overlap across the cuts"
        speed, edges = self.traffic.speed, self.graph.edge_index
        loops = int((edges[0] == edges[1]).sum())
        way = "symmetric" if self.symmetric else "directed"
        return {
            "name": "METR-LA",
            "source": "https://github.com/liyaguang/DCRNN (Li, Yu, Shahabi and Liu, 2018), converted",
            "licence": "speeds CC BY 4.0 (doi:10.5281/zenodo.5146275); graph MIT (Yaguang Li)",
            "shapes": f"{len(speed)} steps of {self.traffic.step} minutes at {len(self.node_ids)} sensors; "
            f"{self.in_channels} -> {self.out_channels} channels",
            "units": "miles per hour, 0 missing; time of day in [0, 1)",
            "splits": f"{windows} windows, 70 / 10 / 20 % of the {cut}; every={self.every} thins train and val, "
            f"every_test={self.every_test} the test windows; draw {self.draw}",
            "checksum": {name: hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in FILES},
            "task": f"{self.horizon_in} steps in, {self.horizon_out} out",
            "missing": f"{float((speed == 0).float().mean()):.3%} of the readings, treated by {self.missing!r}; "
            f"windows without a target that counts: {self.silent_windows}",
            "graph": f"{self.roads}, {way}: {edges.shape[1] - loops} edges and {loops} loops",
        }

    def _starts(self, steps: int) -> dict[Part, Tensor]:
        """Where the windows of each part start, before any is left out."""
        length = self.horizon_in + self.horizon_out
        items = steps if self.split == "time" else max(steps - length + 1, 0)
        num_train, num_test = round(0.7 * items), round(0.2 * items)
        borders = [0, num_train, items - num_test, items]
        cuts = dict(zip(PARTS, pairwise(borders), strict=True))
        reach = length - 1 if self.split == "time" else 0
        for part, (first, end) in cuts.items():
            if end - reach <= first:
                raise DataError(
                    f"{self.folder}: horizon_in + horizon_out = {length} steps leave no window for the {part} part "
                    f"of {steps} steps in all; shorten the horizons"
                )
        return {part: torch.arange(first, end - reach) for part, (first, end) in cuts.items()}

    def _kept(self, starts: dict[Part, Tensor]) -> dict[Part, Tensor]:
        train = starts["train"][:: self.every]
        if self.draw > 0:
            generator = torch.Generator().manual_seed(derive_seed(self.draw, "draw"))
            train = train[torch.randint(len(train), (len(train),), generator=generator)]
        return {"train": train, "val": starts["val"][:: self.every], "test": starts["test"][:: self.every_test]}

    def _series(self, traffic: Traffic) -> Tensor:
        """(T, N, C) in physical units: speed (NaN where it is missing and masked), time of day, perhaps the mask."""
        speed, missing = traffic.speed, traffic.speed == 0
        shown = speed.masked_fill(missing, torch.nan) if self.missing == "mask" else speed
        channels = [shown, traffic.time_of_day[:, None].expand_as(speed)]
        return torch.stack(channels + ([(~missing).float()] if self.mask_channel else []), dim=2)

    def _units(self, series: Tensor, train: Tensor) -> Standardiser:
        channels = series.shape[2]
        given = self.trained_units(channels, self.horizon_in)
        if given is not None:
            return given
        seen = torch.bincount((train[:, None] + torch.arange(self.horizon_in)).flatten(), minlength=len(series))
        mean, std = weighted_moments(series[..., 0], seen)
        return Standardiser([mean, *[0.0] * (channels - 1)], [std, *[1.0] * (channels - 1)])

    def _silent(self, counted: Tensor, starts: Tensor, part: Part) -> int:
        ahead = starts[:, None] + self.horizon_in + torch.arange(self.horizon_out)
        silent = ~counted.flatten(1).any(1)[ahead].any(1)
        if silent.all():
            raise DataError(f"{self.folder}: no speed was observed in the targets of the {part} part; give a longer series")
        return int(silent.sum())


def weighted_moments(x: Tensor, weight: Tensor) -> tuple[float, float]:
    """Mean and population std of the entries that are not NaN, each row as often as its weight says.

    Shapes:
        x: (T, N)    weight: (T,) integers

    Raises:
        DataError: nothing to average.

    Example:
        >>> weighted_moments(torch.tensor([[1.0, float("nan")], [4.0, 4.0]]), torch.tensor([2, 1]))
        (2.5, 1.5)
    """
    known = ~x.isnan()
    weights = weight.double()[:, None] * known
    total = weights.sum()
    if total == 0:
        raise DataError("no speed was observed in the inputs of the training windows; give a longer series")
    values = x.double().masked_fill(~known, 0.0)
    mean = (weights * values).sum() / total
    return float(mean), float(((weights * (values - mean).square()).sum() / total).sqrt())


def slot_means(speed: Tensor, slots: Tensor, num_slots: int) -> Tensor:
    """Mean of each sensor's observed speeds in each slot; where there is none, its mean; without any, the mean of all.

    Shapes:
        speed: (T, N), 0 where missing    slots: (T,) in 0..num_slots-1    returns: (num_slots, N)

    Example:
        >>> slot_means(torch.tensor([[4.0, 0.0], [0.0, 0.0], [6.0, 0.0]]), torch.tensor([0, 0, 1]), 3)
        tensor([[4., 5.],
                [6., 5.],
                [5., 5.]])
    """
    sums, counts = (
        torch.zeros(num_slots, speed.shape[1], dtype=torch.float64).index_add_(0, slots, each.double())
        for each in (speed, speed > 0)
    )
    everywhere = sums.sum() / counts.sum()
    of_sensor = torch.where(counts.sum(0) > 0, sums.sum(0) / counts.sum(0), everywhere)
    return torch.where(counts > 0, sums / counts, of_sensor).float()
