"""Predictions as a file people can use: their samples, their nodes, their units."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from gnet.errors import ConfigError
from gnet.training.checkpoint import Domain

if TYPE_CHECKING:
    from gnet.training.data import Batch


class WritePredictions(Callback):
    """Writes what ``predict`` found to a file, in physical units.

    A ``.csv`` file has one row per sample, node and channel: ``sample,node,channel,prediction,target``; the target is empty
    where there is none, and the node where the target is one value per graph. A ``.npz`` file has the keys ``predictions`` and
    ``targets`` (M, N, C') or (M, C') with NaN where there is no target, ``samples`` (M,) and ``nodes`` (N,) as text.

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
        """Keep the outputs and the targets, in physical units."""
        units = _domain(pl_module).scaling.y.to(outputs.device)
        target = units.inverse(batch.y).masked_fill(~batch.mask, torch.nan)
        self._parts.append((units.inverse(outputs).cpu(), target.cpu()))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file and print its path."""
        if not self._parts or not trainer.is_global_zero:
            return
        self.path = Path(self.output or Path(trainer.log_dir or trainer.default_root_dir) / "predictions.csv")
        predictions, targets = (torch.cat(each).numpy() for each in zip(*self._parts, strict=True))
        samples = trainer.datamodule.sample_labels("predict")[: len(predictions)]  # type: ignore[attr-defined]
        write_predictions(self.path, predictions, targets, samples, list(_domain(pl_module).node_ids))
        print(f"predictions of {len(predictions)} samples: {self.path}")


def _domain(module: LightningModule) -> Domain:
    domain = module.domain
    if not isinstance(domain, Domain):
        raise ConfigError(f"expected a GNetModule whose net is built, got {type(module).__name__} without a domain")
    return domain


def write_predictions(path: Path, predictions: np.ndarray, targets: np.ndarray, samples: list[str], nodes: list[str]) -> None:
    """Write predictions in physical units; see ``WritePredictions`` for the two formats.

    Shapes:
        predictions, targets: (M, N, C'), or (M, C') for one value per graph; NaN where there is no target

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "predictions.csv"
        >>> write_predictions(path, np.array([[[1.5], [2.5]]]), np.array([[[1.0], [np.nan]]]), ["08:00"], ["north", "south"])
        >>> print(path.read_text().strip())
        sample,node,channel,prediction,target
        08:00,north,0,1.5,1.0
        08:00,south,0,2.5,
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez_compressed(path, predictions=predictions, targets=targets, samples=np.array(samples), nodes=np.array(nodes))
        return
    per_node = predictions.ndim == 3
    names = nodes if per_node else [""]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sample", "node", "channel", "prediction", "target"])
        for sample, predicted, target in zip(samples, predictions, targets, strict=True):
            values, truths = (each if per_node else each[None] for each in (predicted, target))
            writer.writerows(
                [sample, node, channel, value, "" if np.isnan(truth) else truth]
                for node, row, known in zip(names, values.tolist(), truths.tolist(), strict=True)
                for channel, (value, truth) in enumerate(zip(row, known, strict=True))
            )
