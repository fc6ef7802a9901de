"""A practitioner's own signals and graph: read, split, masked and standardised for one of three tasks."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnet.errors import ConfigError, DataError
from gnet.randomness import derive_seed, streams
from gnet.training.datamodule import ArraySamples, GraphDataModule, Prepared, Samples, Split
from gnet.training.edges import correlation_graph, directed_graph, distance_graph, knn_graph, symmetric_graph
from gnet.training.reading import Signals, read_edges, read_positions, read_signals, read_targets
from gnet.training.standardise import Scaling, Standardiser
from gnet.training.tasks import ImputeSamples, WindowSamples, check_fractions, hidden_blocks, hidden_entries, window_starts

Rows = dict[Literal["train", "val", "test"], Tensor]


class FromFiles(GraphDataModule):
    """Signals ``(samples, nodes, channels)`` and a graph from files.

    Missing entries (NaN, an empty cell, False in ``mask``) enter neither the standardiser nor the loss, and reach the net as
    0, the mean of their channel. One mean and one std per channel serve all nodes, so that standardising keeps the symmetry.

    The test samples depend on ``study_seed`` alone. With one data set there is one training set: ``draw`` 0 is the training
    part as it is, every other one a bootstrap sample of it; with ``num_train`` each draw is another subset of that size.

    Args:
        signals: ``.npz`` with ``x`` (T, N, C) and optional ``y``, ``mask``, ``time``, ``node_ids``; or ``.csv`` with a row for
            each sample and the node ids in the header (a first column "time" labels the rows).
        edges: ``.csv`` with ``source,target[,weight]``, ids as in the signals.
        positions: ``.csv`` with ``node,x,y[,z]``.
        targets: ``.csv`` with a row for each sample, for ``task="regress"`` where the signals hold no ``y``.
        graph: take the edges from the file, join the nearest or the near nodes (by positions), or correlated ones.
        k: neighbours of each node, for ``graph="knn"``.
        radius: largest distance, for ``graph="distance"``.
        sigma: width of the Gaussian weights, for ``graph="distance"``.
        threshold: smallest |correlation|, for ``graph="correlation"``; measured without the test samples.
        directed: keep the direction of the edges in the file; else each counts both ways.
        task: "impute" hides entries and asks for them; "forecast" asks for the next steps; "regress" for ``y``.
        mask_fraction: share of the entries (or nodes) to hide, for ``task="impute"``.
        mask_kind: hide single entries, or a connected block of nodes.
        horizon_in: steps a forecast sees.
        horizon_out: steps a forecast makes.
        target: whether a two-dimensional ``y`` is "node" (T, N) or "graph" (T, C'); needed only where C' = N.
        split: cut the samples at "random" or in "time" order (train, val, test); None is "time" for a forecast, else "random".
        val_fraction: share of the samples to choose the epoch by.
        test_fraction: share of the samples to test on.
        num_train: training samples, drawn by ``draw``; None takes all.
        root: folder that relative paths start at; None is the current one.
        seed: of this run.
        draw: which of the possible training sets.
        study_seed: of the study this run belongs to.
        batch_size: samples per batch; None takes the whole split at once.
        num_workers: processes that load batches.

    Raises:
        ConfigError: settings that contradict each other.
        DataError: a file that is missing, corrupt, or holds something other than promised (when set up).
    """

    def __init__(
        self,
        signals: str,
        edges: str | None = None,
        positions: str | None = None,
        targets: str | None = None,
        graph: Literal["edges", "knn", "distance", "correlation"] = "edges",
        k: int = 6,
        radius: float | None = None,
        sigma: float | None = None,
        threshold: float = 0.5,
        directed: bool = False,
        task: Literal["impute", "forecast", "regress"] = "impute",
        mask_fraction: float = 0.25,
        mask_kind: Literal["entries", "block"] = "entries",
        horizon_in: int = 12,
        horizon_out: int = 12,
        target: Literal["node", "graph"] | None = None,
        split: Literal["random", "time"] | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        num_train: int | None = None,
        root: str | None = None,
        seed: int = 0,
        draw: int = 0,
        study_seed: int = 0,
        batch_size: int | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__(root, seed, draw, study_seed, batch_size, num_workers)
        check_fractions(val_fraction, test_fraction, mask_fraction)
        _check_choice("task", task, ("impute", "forecast", "regress"))
        _check_choice("graph", graph, ("edges", "knn", "distance", "correlation"))
        _check_choice("mask_kind", mask_kind, ("entries", "block"))
        _check_choice("split", split, (None, "random", "time"))
        _check_choice("target", target, (None, "node", "graph"))
        self.signals, self.edges, self.positions, self.targets = signals, edges, positions, targets
        self.graph_kind, self.k, self.radius, self.sigma, self.threshold = graph, k, radius, sigma, threshold
        self.directed, self.task, self.mask_fraction, self.mask_kind = directed, task, mask_fraction, mask_kind
        self.horizon_in, self.horizon_out, self.target_kind = horizon_in, horizon_out, target
        self.split = split or ("time" if task == "forecast" else "random")
        self.val_fraction, self.test_fraction, self.num_train = val_fraction, test_fraction, num_train
        self._check_settings()

    def _check_settings(self) -> None:
        if self.task == "forecast" and self.split == "random":
            raise ConfigError("task='forecast' with split='random' would test on windows that overlap training ones; use 'time'")
        if self.task == "forecast" and min(self.horizon_in, self.horizon_out) < 1:
            raise ConfigError(f"expected horizon_in and horizon_out >= 1, got {self.horizon_in} and {self.horizon_out}")
        if self.num_train is not None and self.num_train < 1:
            raise ConfigError(f"expected num_train >= 1, or None for all, got {self.num_train}")
        if self.graph_kind == "edges" and self.edges is None:
            other = "knn' or 'distance" if self.positions is not None else "correlation"
            raise ConfigError(f"graph='edges' needs the file edges (source,target[,weight]); without one, take graph='{other}'")
        if self.graph_kind in ("knn", "distance") and self.positions is None:
            raise ConfigError(f"graph={self.graph_kind!r} needs the file positions (node,x,y[,z])")
        if self.targets is not None and self.task != "regress":
            raise ConfigError(f"the file targets is for task='regress', got task={self.task!r}")

    def build(self) -> Prepared:
        """Read the files, cut the samples, make the graph, then the task."""
        signals = read_signals(self._path(self.signals))
        rows = self._rows(len(signals.x))
        graph = self._graph(signals, self._fitted(rows))
        make = {"impute": self._impute, "forecast": self._forecast, "regress": self._regress}[self.task]
        return make(signals, graph, rows)

    def describe(self) -> dict[str, Any]:
        """The data card: what was read, how it was cut, and the checksums of the files."""
        given = [path for path in (self.signals, self.edges, self.positions, self.targets) if path is not None]
        samples = {split: len(self.samples(split)) for split in ("train", "val", "test")}
        return {
            "name": Path(self.signals).stem,
            "source": ", ".join(given),
            "licence": "that of the files",
            "shapes": f"{len(self.node_ids)} nodes, {self.in_channels} -> {self.out_channels} channels, target per {self.target}",
            "units": "those of the files",
            "splits": f"{samples} by {self.split}, seed {self.seed}, draw {self.draw}; test by study seed {self.study_seed}",
            "checksum": {path: hashlib.sha256(self._path(path).read_bytes()).hexdigest() for path in given},
            "task": self.task,
        }

    def _path(self, name: str) -> Path:
        return Path(self.root or ".").expanduser() / Path(name).expanduser()

    def _rows(self, count: int) -> Rows:
        """Rows of each part; those to train on still as they are, whatever the draw."""
        num_test, num_val = (max(1, round(share * count)) for share in (self.test_fraction, self.val_fraction))
        num_train = count - num_test - num_val
        if num_train < 1:
            raise DataError(
                f"{self.signals}: too few samples: {count} leave {num_train} to train on beside {num_val} for validation "
                f"and {num_test} for testing; give more"
            )
        order = torch.arange(count)
        if self.split == "random":
            by_study = torch.Generator().manual_seed(derive_seed(self.study_seed, "split", "test"))
            order = torch.randperm(count, generator=by_study)
            rest = order[: num_train + num_val].sort().values
            order[: num_train + num_val] = rest[torch.randperm(len(rest), generator=streams(self.seed)["split"])]
        train, val, test = order.split([num_train, num_val, num_test])
        return {"train": train, "val": val, "test": test if self.split == "time" else test.sort().values}

    def _fitted(self, rows: Rows) -> Tensor:
        """What standardiser and correlations may see: the past, or all but the test samples, so that no run has its own units."""
        return rows["train"] if self.split == "time" else torch.cat([rows["train"], rows["val"]]).sort().values

    def _redrawn(self, train: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(derive_seed(self.draw, "draw"))
        if self.num_train is None:
            return train if self.draw == 0 else train[torch.randint(len(train), (len(train),), generator=generator)]
        if self.num_train > len(train):
            raise ConfigError(f"num_train={self.num_train}, but there are only {len(train)} samples to draw from; lower it")
        return train[torch.randperm(len(train), generator=generator)[: self.num_train]]

    def _graph(self, signals: Signals, fitted: Tensor) -> Data:
        num_nodes = len(signals.node_ids)
        pos = None if self.positions is None else read_positions(self._path(self.positions), signals.node_ids)
        if self.graph_kind == "correlation":
            return correlation_graph(signals.x[fitted], self.threshold, pos)
        if self.graph_kind == "edges" and self.edges is not None:
            index, weight = read_edges(self._path(self.edges), signals.node_ids)
            return (directed_graph if self.directed else symmetric_graph)(index, weight, num_nodes, pos)
        if pos is None:
            raise ConfigError(f"graph={self.graph_kind!r} needs the file positions (node,x,y[,z])")
        return knn_graph(pos, self.k) if self.graph_kind == "knn" else distance_graph(pos, self.radius, self.sigma)

    def _impute(self, signals: Signals, graph: Data, rows: Rows) -> Prepared:
        one = Standardiser.fit(signals.x[self._fitted(rows)])
        values, observed = one.filled(signals.x), ~signals.x.isnan()
        by_study = torch.Generator().manual_seed(derive_seed(self.study_seed, "mask", "test"))
        by_run, tested = (self._hidden(values, graph, generator) for generator in (streams(self.seed)["mask"], by_study))
        used: Rows = {**rows, "train": self._redrawn(rows["train"])}
        samples: dict[Split, Samples] = {
            part: ImputeSamples(values, observed, tested if part == "test" else by_run, at) for part, at in used.items()
        }
        return self._prepared_from(signals, graph, Scaling(one, one), samples, used)

    def _hidden(self, values: Tensor, graph: Data, generator: torch.Generator) -> Tensor:
        shape = (values.shape[0], values.shape[1], values.shape[2])
        if self.mask_kind == "block":
            return hidden_blocks(shape, self.mask_fraction, graph, generator)
        return hidden_entries(shape, self.mask_fraction, generator)

    def _forecast(self, signals: Signals, graph: Data, rows: Rows) -> Prepared:
        length = self.horizon_in + self.horizon_out
        starts: Rows = {part: window_starts(int(at[0]), int(at[-1]) + 1, length, part) for part, at in rows.items()}
        one = Standardiser.fit(signals.x[rows["train"]])
        values, observed = one.filled(signals.x), ~signals.x.isnan()
        used: Rows = {**starts, "train": self._redrawn(starts["train"])}
        samples: dict[Split, Samples] = {
            part: WindowSamples(values, observed, at, self.horizon_in, self.horizon_out) for part, at in used.items()
        }
        scaling = Scaling(one.repeated(self.horizon_in), one.repeated(self.horizon_out))
        # A forecast is named by the moment it is made: the last step it sees.
        return self._prepared_from(
            signals, graph, scaling, samples, {part: at + self.horizon_in - 1 for part, at in used.items()}
        )

    def _regress(self, signals: Signals, graph: Data, rows: Rows) -> Prepared:
        y = self._targets(signals)
        fitted = self._fitted(rows)
        scaling = Scaling(Standardiser.fit(signals.x[fitted]), Standardiser.fit(y[fitted]))
        x_values, y_values, counted = scaling.x.filled(signals.x), scaling.y.filled(y), ~y.isnan()
        used: Rows = {**rows, "train": self._redrawn(rows["train"])}
        samples: dict[Split, Samples] = {part: ArraySamples(x_values[at], y_values[at], counted[at]) for part, at in used.items()}
        return self._prepared_from(signals, graph, scaling, samples, used, "node" if y.ndim == 3 else "graph")

    def _targets(self, signals: Signals) -> Tensor:
        y, num_nodes = signals.y, len(signals.node_ids)
        if self.targets is not None:
            y = read_targets(self._path(self.targets), signals.node_ids, len(signals.x))
        if y is None:
            raise DataError(f"{self.signals}: task='regress' needs 'y' (T, N, C') or (T, C') in the .npz, or a file targets")
        if y.isinf().any():
            raise DataError(f"{self.targets or self.signals}: the targets hold infinity; mark missing ones by NaN")
        if y.ndim == 3 and self.target_kind == "graph":
            raise ConfigError(f"target='graph' needs y (T, C'), got {tuple(y.shape)}, a value for every node")
        if y.ndim == 2 and self.target_kind == "node":
            if y.shape[1] != num_nodes:
                raise ConfigError(f"target='node' needs y (T, {num_nodes}) or (T, {num_nodes}, C'), got {tuple(y.shape)}")
            return y.unsqueeze(2)
        if y.ndim == 2 and y.shape[1] == num_nodes and num_nodes > 1 and self.target_kind is None:
            raise ConfigError(
                f"y of shape {tuple(y.shape)} may be one value per node or {num_nodes} per graph; say target='node' or 'graph'"
            )
        return y

    def _prepared_from(
        self,
        signals: Signals,
        graph: Data,
        scaling: Scaling,
        samples: dict[Split, Samples],
        named_rows: Rows,
        target: Literal["node", "graph"] = "node",
    ) -> Prepared:
        for part, each in samples.items():
            if not any(bool(each[chunk].mask.any()) for chunk in torch.arange(len(each)).split(256)):
                raise DataError(f"{self.signals}: no observed target in the {part} part; give more data or hide more entries")
        samples["predict"] = samples["test"]
        labels: dict[Split, list[str]] = {part: [signals.time[row] for row in at.tolist()] for part, at in named_rows.items()}
        labels["predict"] = labels["test"]
        return Prepared(graph, scaling, samples, labels, signals.node_ids, target)


def _check_choice(name: str, value: str | None, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"expected {name} to be one of {list(choices)}, got {value!r}")
