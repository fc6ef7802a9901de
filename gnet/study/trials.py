"""One trial of a study, in a worker: train, measure, commit the predictions, return the row."""

import copy
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, NonFiniteError
from gnet.groups import TRIVIAL_ACTION, NodeGroup
from gnet.measures import equivariance_error
from gnet.randomness import derive_seed
from gnet.study.journal import Key, Row, metrics_text
from gnet.study.plan import Variant, run_seed, slug, trial_config

if TYPE_CHECKING:
    from gnet.study.baselines import Trained

NUM_INPUTS = 64  # test inputs that the equivariance error is measured on
NUM_ELEMENTS = 16  # group elements, the same for every trial


@dataclass(frozen=True, eq=False)
class Task:
    """One trial, with all that a worker needs to run it."""

    variant: Variant
    draw: int
    seed: int
    out: Path
    threads: int
    reference: NodeGroup
    study_seed: int
    checkpoint: bool
    code: str
    progress_seconds: float

    @property
    def key(self) -> Key:
        """As in the journal."""
        return self.variant.name, self.draw, self.seed

    @property
    def path(self) -> Path:
        """Where its predictions lie."""
        return trial_path(self.out, self.key)


def trial_path(out: Path, key: Key, suffix: str = ".npy") -> Path:
    """Where a trial's predictions (or its checkpoint) lie.

    Example:
        >>> trial_path(Path("out"), ("S4^16", 0, 3)).as_posix()
        'out/trials/S4^16/draw0-seed3.npy'
    """
    name, draw, seed = key
    return out / "trials" / slug(name) / f"draw{draw}-seed{seed}{suffix}"


def perform(task: Task) -> Row:
    """One trial, in a worker: train, measure, commit the predictions, return the row.

    A trial that was killed goes on from what it wrote down last, if the code is still the same; one that failed starts anew.

    Raises:
        NonFiniteError: losses or predictions are NaN or infinite.
        ConfigError: the trial's test set is not the study's.
    """
    path = task.path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        row = _performed(task, path)
    except Exception:
        _forget_progress(path)
        raise
    _forget_progress(path)
    return row


def _forget_progress(path: Path) -> None:
    for file in path.parent.glob(f"{path.stem}-*.last.ckpt"):
        file.unlink(missing_ok=True)


def _performed(task: Task, path: Path) -> Row:
    checkpoint = temporary_checkpoint(task)
    trained = _trained(task, checkpoint, path.with_name(f"{path.stem}-{task.code}.last.ckpt"))
    return commit(task, trained, checkpoint)


def temporary_checkpoint(task: Task) -> Path | None:
    """Where the weights of a trial are written before they are its checkpoint; None if it keeps none."""
    path = task.path
    return path.with_name(f"{path.stem}.{os.getpid()}.tmp.ckpt") if task.checkpoint else None


def commit(task: Task, trained: "Trained", checkpoint: Path | None) -> Row:
    """Measure a trained model, put its predictions and its checkpoint in their places, and return its row.

    Raises:
        NonFiniteError: losses or predictions are NaN or infinite.
        ConfigError: the trial's test set is not the study's.
    """
    path = task.path
    predictions = _in_units_of_study(trained, task.out / "test_set.npz")
    # No validation split, no validation loss; a net that produced NaN shows in what it puts out.
    if not (math.isfinite(trained.test_loss) and np.isfinite(predictions).all()):
        raise NonFiniteError(f"the trial ended with test_loss {trained.test_loss}; lower --model.lr")
    row = Row(
        symmetry=task.variant.name,
        num_clusters=trained.num_clusters,
        draw=task.draw,
        seed=task.seed,
        val_loss=trained.val_loss,
        test_loss=trained.test_loss,
        num_weights=trained.num_weights,
        equivariance_error=_equivariance_error(trained, task),
        seconds=trained.seconds,
        kind=task.variant.kind,
        run_seed=run_seed(task.draw, task.seed),
        metrics=metrics_text(trained.metrics),
    )
    if checkpoint is not None:
        os.replace(checkpoint, path.with_suffix(".ckpt"))
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.tmp.npy")
    with open(temporary, "wb") as file:
        np.save(file, predictions)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return row


def _trained(task: Task, checkpoint: Path | None, last: Path) -> "Trained":
    # Imported here: the parent of a finished study needs no lightning.
    from gnet.study.baselines import Trained, train_baseline
    from gnet.training.progress import KeepProgress
    from gnet.training.trial import run_trial

    config, progress = trial_config(task.variant.config, task.draw, task.seed), KeepProgress(last, task.progress_seconds)
    if task.variant.kind == "baseline":
        return train_baseline(task.variant.name, config, task.threads, progress)
    return Trained.of(run_trial(config, threads=task.threads, checkpoint=checkpoint, progress=progress))


@torch.no_grad()
def _equivariance_error(trained: "Trained", task: Task) -> float:
    """Relative error with respect to the study's reference group: same inputs, same elements for every trial."""
    generator = torch.Generator().manual_seed(derive_seed(task.study_seed, "study", "equivariance"))
    datamodule = trained.datamodule
    action_out = TRIVIAL_ACTION if datamodule.target == "graph" else None
    inputs = datamodule.predict_arrays().x[:NUM_INPUTS].double()
    function = trained.function
    if isinstance(function, nn.Module):
        function = copy.deepcopy(function).double()  # so that an exact symmetry shows as 1e-16, not as float32's rounding
    error = equivariance_error(
        function, inputs, task.reference, action_out=action_out, num_samples=NUM_ELEMENTS, generator=generator
    )
    return error.relative


def _in_units_of_study(trained: "Trained", test_set: Path) -> np.ndarray:
    """Predictions in the units of the first trial: other training sets may have given other means and deviations."""
    with np.load(test_set) as stored:
        target, mask, mean, std = (stored[name] for name in ("y", "mask", "y_mean", "y_std"))
    scale, batch = trained.datamodule.scaling.y, trained.datamodule.predict_arrays()
    same_units = np.array_equal(scale.mean.numpy(), mean) and np.array_equal(scale.std.numpy(), std)

    def convert(values: Tensor) -> np.ndarray:
        return (values if same_units else (scale.inverse(values) - torch.from_numpy(mean)) / torch.from_numpy(std)).numpy()

    y = convert(batch.y)
    if (
        y.shape != target.shape
        or not np.array_equal(batch.mask.numpy(), mask)
        or not np.allclose(y[mask], target[mask], atol=1e-4)
    ):
        raise ConfigError("the trial's test set is not that of the study; bias^2 and variance need one test set for all trials")
    return convert(torch.from_numpy(trained.predictions)).astype(np.float32)
