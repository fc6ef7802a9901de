"""Predictions as a file people can use: their samples, their nodes, their units."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from gnet.distributed import gathered
from gnet.errors import ConfigError
from gnet.training.checkpoint import Domain

if TYPE_CHECKING:
    from gnet.training.data import Batch


class WritePredictions(Callback):
    """Writes what ``predict`` found to a file, in physical units.

    A ``.csv`` file has one row per sample, node, channel and (of forecasts) step. Its columns are always

    - ``sample``: the time stamp or the number of the sample; of a forecast, that of the last step it sees,
    - ``node``: the node's id; empty where the target is one value per graph,
    - ``channel``: from 0,
    - ``prediction``: the output of the net,
    - ``target``: what should have come out; empty where it is not known;

    where missing readings are filled also

    - ``observed``: 1 if the file has the reading, which is the target, and 0 if it is missing,
    - ``filled``: the reading where there is one, else the prediction: the column to go on with;

    and of forecasts also

    - ``step``: how many steps ahead, from 1,
    - ``time``: the time stamp of that step. After the end of the file time stamps go on by their usual step; where they have
      none, or are neither numbers nor ISO dates, "LAST + 2" is two steps after the last one.

    Of classes, each row is a node (or a sample), without a channel: ``prediction`` is the most probable class and ``target`` the
    known one, by the names of the user's file, and between them stands ``probability``, that of the prediction.

    A ``.npz`` file has the keys ``predictions`` and ``targets`` (M, N, C') or (M, C') with NaN where there is no target,
    ``samples`` (M,) and ``nodes`` (N,) as text; ``filled`` like ``predictions``; of forecasts ``times`` (M, H) as text, and
    C' = H C is step by step, C at a time. Of classes, ``predictions`` and ``targets`` are text, (M, N) or (M,), empty where
    there is no target, beside ``probabilities`` (M, N, K) or (M, K) and ``classes``, the names of the K.

    Args:
        output: the file; ``predictions.csv`` in the folder of the run unless given.

    Raises:
        ConfigError: a file that is neither .csv nor .npz.

    Example:
        >>> WritePredictions("speeds.npz").output
        'speeds.npz'
    """

    def __init__(self, output: str | None = None) -> None:
        if output is not None and Path(output).suffix not in (".csv", ".npz"):
            raise ConfigError(f"expected a file that ends in .csv or .npz, got {output}")
        self.output = output
        self.path: Path | None = None
        self._parts: list[tuple[Tensor, Tensor]] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier run."""
        self._parts = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: "Batch",
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the outputs and the targets, in physical units; of several processes those of the whole batch."""
        domain = _domain(pl_module)
        if pl_module.predict_units == "model":
            outputs = domain.in_units(outputs)
        target = domain.scaling.y.to(outputs.device).inverse(batch.y).masked_fill(~batch.mask, torch.nan)
        self._parts.append((gathered(outputs).cpu(), gathered(target).cpu()))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file and print its path."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # which several processes ask for together
        if not self._parts or not trainer.is_global_zero:
            return
        self.path = Path(self.output or folder / "predictions.csv")
        predictions, targets = (torch.cat(each).numpy() for each in zip(*self._parts, strict=True))
        count = len(predictions)  # perhaps not all: --trainer.limit_predict_batches
        given = trainer.datamodule.to_predict  # type: ignore[attr-defined]
        domain, samples = _domain(pl_module), given.labels[:count]
        if domain.classes is not None:
            write_classes(self.path, predictions, targets, domain.classes, samples, domain.node_ids)
        else:
            write_predictions(
                self.path,
                predictions,
                # As they stand in the file, not as they come back from model units.
                targets if given.truth is None else given.truth[torch.arange(count)].y.numpy(),
                samples,
                domain.node_ids,
                fills=given.fills,
                times=None if given.times is None else given.times[:count],
            )
        print(f"predictions of {count} samples: {self.path}")


def _domain(module: LightningModule) -> Domain:
    domain = module.domain
    if not isinstance(domain, Domain):
        raise ConfigError(f"expected a GNetModule whose net is built, got {type(module).__name__} without a domain")
    return domain


def write_predictions(
    path: Path,
    predictions: np.ndarray,
    targets: np.ndarray,
    samples: Sequence[str],
    nodes: Sequence[str],
    *,
    fills: bool = False,
    times: Sequence[Sequence[str]] | None = None,
) -> None:
    """Write predictions in physical units; see ``WritePredictions`` for the two formats.

    Shapes:
        predictions, targets: (M, N, C'), or (M, C') for one value per graph; NaN where there is no target
        samples: M names    nodes: N names    times: M x H, C' is then H C

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "predictions.csv"
        >>> write_predictions(path, np.array([[[1.5], [2.5]]]), np.array([[[1.0], [np.nan]]]), ["08:00"], ["a", "b"], fills=True)
        >>> print(path.read_text().strip())
        sample,node,channel,prediction,target,observed,filled
        08:00,a,0,1.5,1.0,1,1.0
        08:00,b,0,2.5,,0,2.5
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        also: dict[str, Any] = {"filled": np.where(np.isnan(targets), predictions, targets)} if fills else {}
        also |= {} if times is None else {"times": np.array(times)}
        np.savez_compressed(
            path, predictions=predictions, targets=targets, samples=np.array(samples), nodes=np.array(nodes), **also
        )
        return
    header = ["sample", "node", "channel", "prediction", "target"]
    header += ["observed", "filled"] if fills else []
    header += ["step", "time"] if times is not None else []
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for number, (sample, predicted, target) in enumerate(zip(samples, predictions, targets, strict=True)):
            moments = None if times is None else times[number]
            for node, channel, value, truth in _entries(nodes, predicted, target):
                row = [sample, node, channel, value, truth]
                if fills:
                    row += ["1", truth] if truth else ["0", value]
                if moments is not None:
                    step, row[2] = divmod(channel, predictions.shape[-1] // len(moments))
                    row += [step + 1, moments[step]]
                writer.writerow(row)


def write_classes(
    path: Path,
    probabilities: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    samples: Sequence[str],
    nodes: Sequence[str],
) -> None:
    """Write the most probable classes by their names; see ``WritePredictions`` for the two formats.

    Shapes:
        probabilities, targets: (M, N, K), or (M, K) for one class per graph; a target is 1 at the known class, NaN without one
        classes: K names    samples: M names    nodes: N names

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "predictions.csv"
        >>> known = np.array([[[1.0, 0.0], [np.nan, np.nan]]])
        >>> write_classes(path, np.array([[[0.75, 0.25], [0.5, 0.5]]]), known, ["dry", "wet"], ["08:00"], ["a", "b"])
        >>> print(path.read_text().strip())
        sample,node,prediction,probability,target
        08:00,a,dry,0.75,dry
        08:00,b,dry,0.5,
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    names = np.array([*classes, ""])
    predicted = names[probabilities.argmax(-1)]
    known = names[np.where(np.isnan(targets).any(-1), len(classes), np.nan_to_num(targets).argmax(-1))]
    if path.suffix == ".npz":
        arrays = {"predictions": predicted, "targets": known, "probabilities": probabilities, "classes": names[:-1]}
        np.savez_compressed(path, **arrays, samples=np.array(samples), nodes=np.array(nodes))
        return
    highest = probabilities.max(-1).astype(str)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sample", "node", "prediction", "probability", "target"])
        for sample, *rows in zip(samples, predicted, highest, known, strict=True):
            columns = (np.atleast_1d(row).tolist() for row in rows)
            entries = zip(nodes if predicted.ndim == 2 else [""], *columns, strict=True)
            writer.writerows([sample, *entry] for entry in entries)


def _entries(nodes: Sequence[str], predicted: np.ndarray, target: np.ndarray) -> Iterator[tuple[str, int, str, str]]:
    """Node, channel, prediction and target of every entry of a sample, in as few digits as give the same number back."""
    per_node = predicted.ndim == 2
    known = np.where(np.isnan(target), "", target.astype(str))
    values, truths = (each.reshape(-1, predicted.shape[-1]).tolist() for each in (predicted.astype(str), known))
    for node, row, answers in zip(nodes if per_node else [""], values, truths, strict=True):
        yield from ((node, channel, value, truth) for channel, (value, truth) in enumerate(zip(row, answers, strict=True)))
