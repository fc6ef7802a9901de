"""A practitioner's own signals and graph: read, split, masked and standardised for one of four tasks."""

import hashlib
import math
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch_geometric.data import Data

from gnet.errors import ConfigError, DataError
from gnet.graphs.proximity import correlation_graph, directed_graph, distance_graph, knn_graph, symmetric_graph
from gnet.nn.checks import check_choice
from gnet.randomness import derive_seed, streams
from gnet.training.classes import listed, names_of, one_hot, per_node_or_graph, unseen
from gnet.training.datamodule import ArraySamples, GraphDataModule, Prepared, Samples, Split, Target, ToPredict
from gnet.training.reading import Signals, Targets, read_class_targets, read_edges, read_positions, read_signals, read_targets
from gnet.training.standardise import Scaling, Standardiser
from gnet.training.table import Delimiter
from gnet.training.tasks import ImputeSamples, WindowSamples, check_fractions, hidden_blocks, hidden_entries, window_starts
from gnet.training.timeline import check_order, continued

GraphKind = Literal["edges", "knn", "distance", "correlation"]
Task = Literal["impute", "forecast", "regress", "classify"]
MaskKind = Literal["entries", "block"]
Order = Literal["random", "time"]
Rows = dict[Literal["train", "val", "test"], Tensor]
MORE = "give more data, or another val_fraction or test_fraction"
ADVICE = {"impute": f"{MORE}, or hide more entries (mask_fraction)", "forecast": f"{MORE}: its windows forecast nothing but gaps"}


class FromFiles(GraphDataModule):
    """Signals ``(samples, nodes, channels)`` and a graph from files.

    Missing entries (NaN, an empty cell, False in ``mask``) enter neither the standardiser nor the loss, and reach the net as
    0, the mean of their channel. A sample or window that is missing altogether stays, without a loss; a part in which all are is
    refused. One mean and one std per channel serve all nodes, so that standardising keeps the symmetry.

    The test samples depend on ``study_seed`` alone. With one data set there is one training set: ``draw`` 0 is the training
    part as it is, every other one a bootstrap sample of it; with ``num_train`` each draw is another subset of that size.

    The command ``predict`` runs over the whole file, in its order: it fills what is missing, with nothing hidden; makes a
    forecast from every row that has ``horizon_in`` rows up to it, the last ones beyond the end of the file; or regresses or
    classifies every row, whether its target is known or not. One row is enough, or ``horizon_in`` of them. Rows that the net was
    trained on are among them: how good it is, ``test`` says. With a checkpoint the units are those of the checkpoint, and so are
    the classes, whatever is in the files.

    Args:
        signals: ``.npz`` with ``x`` (T, N, C) and optional ``y``, ``mask``, ``time``, ``node_ids``; or ``.csv`` with a row for
            each sample and the node ids in the header.
        edges: ``.csv`` with ``source,target[,weight]``, ids as in the signals.
        positions: ``.csv`` with ``node,x,y[,z]``.
        targets: ``.csv`` with a row for each sample, for "regress" and "classify" where the signals hold no ``y``.
        time_column: the column of ``signals`` that labels the rows, in a ``.csv``; None is the first one if it has no header, or
            "time", "timestamp", "date", "datetime" or "index".
        delimiter: what separates the cells of every ``.csv``.
        graph: take the edges from the file, join the nearest or the near nodes (by positions), or correlated ones.
        k: neighbours of each node, for ``graph="knn"``.
        radius: largest distance, for ``graph="distance"``.
        sigma: width of the Gaussian weights, for ``graph="distance"``.
        threshold: smallest |correlation|, for ``graph="correlation"``; measured without the test samples.
        directed: keep the direction of the edges in the file; else each counts both ways.
        task: "impute" hides entries and asks for them; "forecast" asks for the next steps; "regress" for the numbers ``y``;
            "classify" for the classes ``y``, texts or whole numbers, one for each node (T, N) or for each sample (T,), empty or
            NaN where not known. All classes of the file are told apart, those that the training part lacks too.
        mask_fraction: share of the entries (or nodes) to hide, for ``task="impute"``.
        mask_kind: hide single entries, or a connected block of nodes.
        horizon_in: steps a forecast sees.
        horizon_out: steps a forecast makes.
        target: whether a two-dimensional ``y`` is "node" (T, N) or "graph" (T, C'); needed only for numbers with C' = N.
        split: cut the samples at "random" or in "time" order (train, val, test); None is "time" for a forecast, else "random". No
            window of a forecast crosses a cut, and rows must be sorted by time, oldest first.
        val_fraction: share of the samples to choose the epoch by.
        test_fraction: share of the samples to test on.
        num_train: training samples, drawn by ``draw``; None takes all.
        root: folder that relative paths start at; None is the current one.
        options: see ``GraphDataModule``.

    Raises:
        ConfigError: settings that contradict each other.
        DataError: a file that is missing, corrupt, or holds something other than promised (when set up).
        UserWarning: nodes without a reading, or without an edge; classes to test on that the training part lacks.
    """

    def __init__(
        self,
        signals: str,
        edges: str | None = None,
        positions: str | None = None,
        targets: str | None = None,
        time_column: str | None = None,
        delimiter: Delimiter = "comma",
        graph: GraphKind = "edges",
        k: int = 6,
        radius: float | None = None,
        sigma: float | None = None,
        threshold: float = 0.5,
        directed: bool = False,
        task: Task = "impute",
        mask_fraction: float = 0.25,
        mask_kind: MaskKind = "entries",
        horizon_in: int = 12,
        horizon_out: int = 12,
        target: Target | None = None,
        split: Order | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        num_train: int | None = None,
        root: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(root=root, **options)
        check_fractions(val_fraction, test_fraction, mask_fraction)
        check_choice("delimiter", delimiter, Delimiter)
        check_choice("graph", graph, GraphKind)
        check_choice("task", task, Task)
        check_choice("mask_kind", mask_kind, MaskKind)
        if split is not None:
            check_choice("split", split, Order)
        if target is not None:
            check_choice("target", target, Target)
        self.signals, self.edges, self.positions, self.targets = signals, edges, positions, targets
        self.time_column, self.delimiter = time_column, delimiter
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
        if self.targets is not None and self.task not in ("regress", "classify"):
            raise ConfigError(f"the file targets is for task='regress' or 'classify', got task={self.task!r}")

    def build(self) -> Prepared:
        """Read the files, cut the samples, make the graph, then the task."""
        kind: Targets | None = None
        if self.targets is None and self.task in ("regress", "classify"):
            kind = "numbers" if self.task == "regress" else "classes"
        signals = read_signals(self._path(self.signals), self.time_column, self.delimiter, targets=kind)
        self._warn(signals, signals.x.isnan().all(2).all(0), "no reading", "drop them, or expect no more than a guess there")
        rows: Rows = {} if self.only_predicts else self._rows(len(signals.x))
        if self.split == "time":
            check_order(self._path(self.signals), signals.time, rows)
        graph = self._graph(signals, rows)
        make = {"impute": self._impute, "forecast": self._forecast, "regress": self._regress, "classify": self._classify}
        return make[self.task](signals, graph, rows)

    def describe(self) -> dict[str, Any]:
        """The data card: what was read, how it was cut, and the checksums of the files."""
        given = [path for path in (self.signals, self.edges, self.positions, self.targets) if path is not None]
        samples = {split: len(each) for split, each in self.prepared.samples.items() if split != "predict"}
        return {
            "name": Path(self.signals).stem,
            "source": ", ".join(given),
            "licence": "that of the files",
            "shapes": f"{len(self.node_ids)} nodes, {self.in_channels} -> {self.out_channels} channels, target per {self.target}",
            "units": "those of the files",
            "splits": f"{samples} by {self.split}, seed {self.seed}, draw {self.draw}; test by study seed {self.study_seed}",
            "checksum": {path: hashlib.sha256(self._path(path).read_bytes()).hexdigest() for path in given},
            "task": self.task,
            **({} if self.classes is None else {"classes": listed(self.classes)}),
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

    def _fitted(self, rows: Rows) -> Tensor | slice:
        """What standardiser and correlations may see: the past, or all but the test samples, so that no run has its own units."""
        if not rows:  # only to predict: the net brings its units, or is refused for other channels where it is loaded
            return slice(None)
        return rows["train"] if self.split == "time" else torch.cat([rows["train"], rows["val"]]).sort().values

    def _fit(self, values: Tensor, rows: Rows, what: str = "channels") -> Standardiser:
        """The standardiser of what it may see."""
        seen = values[self._fitted(rows)]
        empty = seen.isnan().flatten(0, -2).all(0).nonzero().flatten().tolist()
        if empty:
            raise DataError(
                f"{self._path(self.signals)}: the {what} {empty} have no observed entry in the {len(seen)} of {len(values)} "
                "samples that training may see; drop them, or move the cut by val_fraction and test_fraction"
            )
        flat = seen.flatten(0, -2)
        constant = (flat.nan_to_num(math.inf).amin(0) == flat.nan_to_num(-math.inf).amax(0)).nonzero().flatten().tolist()
        if constant and rows:
            where = f"{self._path(self.signals)}: the {what} {constant} have one value in all {len(seen)} samples"
            warnings.warn(f"{where} that training may see, so that there is nothing to learn from them, or of them", stacklevel=2)
        return Standardiser.fit(seen)

    def _used(self, rows: Rows) -> Rows:
        return {part: self._redrawn(at) if part == "train" else at for part, at in rows.items()}

    def _redrawn(self, train: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(derive_seed(self.draw, "draw"))
        if self.num_train is None:
            return train if self.draw == 0 else train[torch.randint(len(train), (len(train),), generator=generator)]
        if self.num_train > len(train):
            raise ConfigError(f"num_train={self.num_train}, but there are only {len(train)} samples to draw from; lower it")
        return train[torch.randperm(len(train), generator=generator)[: self.num_train]]

    def _graph(self, signals: Signals, rows: Rows) -> Data:
        nodes = signals.node_ids
        pos = None if self.positions is None else read_positions(self._path(self.positions), nodes, self.delimiter)
        if self.graph_kind == "correlation" and self.trained is not None and not rows:
            return self.trained.graph  # that of the readings it was trained on
        if self.graph_kind == "correlation":
            graph = correlation_graph(signals.x[self._fitted(rows)], self.threshold, pos)
        elif self.graph_kind == "edges" and self.edges is not None:
            index, weight = read_edges(self._path(self.edges), nodes, self.delimiter)
            graph = (directed_graph if self.directed else symmetric_graph)(index, weight, len(nodes), pos)
        elif pos is None:
            raise ConfigError(f"graph={self.graph_kind!r} needs the file positions (node,x,y[,z])")
        else:
            graph = knn_graph(pos, self.k) if self.graph_kind == "knn" else distance_graph(pos, self.radius, self.sigma)
        self._check_edges(signals, graph)
        return graph

    def _check_edges(self, signals: Signals, graph: Data) -> None:
        joined = graph.edge_index[:, graph.edge_index[0] != graph.edge_index[1]]
        lonely = torch.ones(len(signals.node_ids), dtype=torch.bool).index_fill(0, joined.flatten(), False)
        advice = f"if {signals.node_ids[0]!r} labels the rows, say time_column={signals.node_ids[0]!r}"
        if signals.first_grows and self.graph_kind == "edges" and lonely[0] and not lonely.all():
            raise DataError(
                f"{self._path(self.signals)}: the first column has no edge, and its numbers run in one direction as time does; "
                f"{advice}; if it is a node, put another column first"
            )
        if signals.first_grows and self.graph_kind == "correlation":
            self._warn(signals, torch.arange(len(lonely)) == 0, "numbers that run in one direction as time does", advice)
        csv = Path(self.signals).suffix == ".csv" and self.time_column is None and bool(lonely[0])
        self._warn(signals, lonely, "no edge", "give them edges, or drop them" + (f"; {advice}" if csv else ""))

    def _warn(self, signals: Signals, which: Tensor, what: str, advice: str) -> None:
        names = [signals.node_ids[node] for node in which.nonzero().flatten().tolist()]
        if names:
            shown = ", ".join(map(repr, names[:5])) + (" ..." if len(names) > 5 else "")
            text = f"{self._path(self.signals)}: {len(names)} of {len(which)} nodes have {what}: {shown}; {advice}"
            warnings.warn(text, stacklevel=2)

    def _impute(self, signals: Signals, graph: Data, rows: Rows) -> Prepared:
        one = self.trained_units(signals.x.shape[2]) or self._fit(signals.x, rows)
        values, observed = one.filled(signals.x), ~signals.x.isnan()
        used, samples = self._used(rows), dict[Split, Samples]()
        if used:
            by_study = torch.Generator().manual_seed(derive_seed(self.study_seed, "mask", "test"))
            by_run, tested = (self._hidden(values, graph, generator) for generator in (streams(self.seed)["mask"], by_study))
            samples = {
                part: ImputeSamples(values, observed, tested if part == "test" else by_run, at) for part, at in used.items()
            }
        truth = ArraySamples(signals.readings, signals.readings)
        everything = ToPredict(ArraySamples(values, values, observed), signals.time, truth, fills=True)
        return self._prepared_from(signals, graph, Scaling(one, one), samples, used, everything)

    def _hidden(self, values: Tensor, graph: Data, generator: torch.Generator) -> Tensor:
        shape = (values.shape[0], values.shape[1], values.shape[2])
        if self.mask_kind == "block":
            return hidden_blocks(shape, self.mask_fraction, graph, generator)
        return hidden_entries(shape, self.mask_fraction, generator)

    def _forecast(self, signals: Signals, graph: Data, rows: Rows) -> Prepared:
        seen, made = self.horizon_in, self.horizon_out
        if not rows and len(signals.x) < seen:
            raise DataError(f"{self.signals}: too few samples: a forecast sees horizon_in={seen} of them, got {len(signals.x)}")
        starts: Rows = {part: window_starts(int(at[0]), int(at[-1]) + 1, seen + made, part) for part, at in rows.items()}
        one = self.trained_units(signals.x.shape[2], seen) or self._fit(signals.x, rows)
        # The steps after the last row are not known: 0 and not observed.
        after = (0, 0, 0, 0, 0, made)
        values, observed = (pad(each, after) for each in (one.filled(signals.x), ~signals.x.isnan()))
        used = self._used(starts)
        samples: dict[Split, Samples] = {part: WindowSamples(values, observed, at, seen, made) for part, at in used.items()}
        # A forecast is named by the moment it is made: the last step it sees.
        last_seen: Rows = {part: at + seen - 1 for part, at in used.items()}
        every = torch.arange(len(signals.x) - seen + 1)
        times = signals.time + continued(signals.time, made)
        everything = ToPredict(
            WindowSamples(values, observed, every, seen, made),
            signals.time[seen - 1 :],
            WindowSamples(pad(signals.readings, after, value=torch.nan), observed, every, seen, made),
            times=[times[start + seen : start + seen + made] for start in every.tolist()],
        )
        return self._prepared_from(
            signals, graph, Scaling(one.repeated(seen), one.repeated(made)), samples, last_seen, everything
        )

    def _regress(self, signals: Signals, graph: Data, rows: Rows) -> Prepared:
        truth = self._targets(signals)
        y, there = truth.float(), self.trained
        of_y = there.scaling.y if there is not None and there.out_channels == y.shape[-1] else None
        of_x = self.trained_units(signals.x.shape[2]) or self._fit(signals.x, rows)
        scaling = Scaling(of_x, of_y or self._fit(y, rows, "targets"))
        every = ArraySamples(scaling.x.filled(signals.x), scaling.y.filled(y), ~y.isnan())
        used = self._used(rows)
        samples: dict[Split, Samples] = {part: ArraySamples(*every[at]) for part, at in used.items()}
        everything = ToPredict(every, signals.time, ArraySamples(signals.x, truth))
        return self._prepared_from(signals, graph, scaling, samples, used, everything, "node" if y.ndim == 3 else "graph")

    def _classify(self, signals: Signals, graph: Data, rows: Rows) -> Prepared:
        source = str(self._path(self.targets or self.signals))
        nodes, texts, known = signals.node_ids, signals.classes, None if self.trained is None else self.trained.classes
        if self.targets is not None:
            texts = read_class_targets(source, nodes, len(signals.x), self.time_column, self.delimiter)
        if texts is None and self.only_predicts and self.trained is not None and known is not None:
            texts = np.full((len(signals.x), len(nodes)) if self.trained.target == "node" else len(signals.x), "")
        if texts is None:
            raise DataError(f"{source}: task='classify' needs 'y' (T, N) or (T,) in the .npz, or a file targets")
        texts = per_node_or_graph(texts, len(nodes), self.target_kind, source)
        classes = names_of(texts, source) if known is None else known
        units = self.trained_units(signals.x.shape[2]) or self._fit(signals.x, rows)
        every = ArraySamples(units.filled(signals.x), *one_hot(texts, classes, source))
        used = self._used(rows)
        samples: dict[Split, Samples] = {part: ArraySamples(*every[at]) for part, at in used.items()}
        if used and (lacking := unseen(every.batch.y, used)):
            names = listed([classes[place] for place in lacking])
            warnings.warn(f"{source}: no training sample has the classes {names}, which other samples have", stacklevel=2)
        scaling, everything = Scaling(units, Standardiser.identity(len(classes))), ToPredict(every, signals.time)
        target: Target = "node" if texts.ndim == 2 else "graph"
        return self._prepared_from(signals, graph, scaling, samples, used, everything, target, classes)

    def _targets(self, signals: Signals) -> Tensor:
        y, num_nodes = signals.y, len(signals.node_ids)
        if self.targets is not None:
            columns = (self.time_column, self.delimiter, self.target_kind)
            y = read_targets(self._path(self.targets), signals.node_ids, len(signals.x), *columns)
        if y is None and self.only_predicts and self.trained is not None:
            shape = (num_nodes, self.trained.out_channels) if self.trained.target == "node" else (self.trained.out_channels,)
            return torch.full((len(signals.x), *shape), torch.nan)
        if y is None:
            raise DataError(f"{self.signals}: task='regress' needs 'y' (T, N, C') or (T, C') in the .npz, or a file targets")
        if y.float().isinf().any():
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
        everything: ToPredict,
        target: Target = "node",
        classes: list[str] | None = None,
    ) -> Prepared:
        for part, each in samples.items():
            if not any(bool(each[chunk].mask.any()) for chunk in torch.arange(len(each)).split(256)):
                raise DataError(
                    f"{self.signals}: no observed target in the {part} part, {len(each)} samples; {ADVICE.get(self.task, MORE)}"
                )
        labels: dict[Split, list[str]] = {part: [signals.time[row] for row in at.tolist()] for part, at in named_rows.items()}
        samples["predict"], labels["predict"] = (
            (everything.samples, list(everything.labels)) if self.only_predicts else (samples["test"], labels["test"])
        )
        return Prepared(graph, scaling, samples, labels, signals.node_ids, target, to_predict=everything, classes=classes)
