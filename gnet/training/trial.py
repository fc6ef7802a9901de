"""One trial of a study: train, take the best weights, test, predict, with as little around it as Lightning allows."""

import importlib
import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint, DeviceStatsMonitor, LearningRateMonitor, ModelSummary, ProgressBar
from torch import Tensor

from gnet.errors import ConfigError
from gnet.training.callbacks import BestWeights, StopOnNonFinite
from gnet.training.checkpoint import Domain
from gnet.training.classes import as_probabilities
from gnet.training.module import GNetModule
from gnet.training.progress import KeepProgress

if TYPE_CHECKING:
    from gnet.training.data import Batch, GraphDataModule

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}
"""What a trial switches off: the study keeps its own journal."""
RECORDERS = (Checkpoint, LearningRateMonitor, DeviceStatsMonitor, ProgressBar, ModelSummary)
"""Callbacks of a fit that a trial leaves out for the same reason."""


@dataclass(frozen=True, eq=False)
class TrialResult:
    """What a trial leaves behind.

    Shapes:
        predictions: (M, N, C'), or (M, C') for one value per graph, in model units, in the order of the split "predict"; of
            classes their probabilities
    """

    val_loss: float
    test_loss: float
    num_weights: int
    num_clusters: int
    predictions: np.ndarray
    module: GNetModule
    datamodule: "GraphDataModule"
    seconds: float
    metrics: dict[str, float]


def run_trial(
    config: dict[str, Any],
    *,
    threads: int,
    checkpoint: Path | None = None,
    make_module: Callable[..., GNetModule] = GNetModule,
    progress: KeepProgress | None = None,
) -> TrialResult:
    """Train and measure what a plain config describes; the same bits every time for a given number of threads.

    ``config`` has the keys ``model`` and ``data``, and may have ``seed_everything``, ``trainer``, ``optimizer`` and
    ``lr_scheduler``, as ``gnet.cli.resolve_config`` returns them. A checkpoint is written once, after training, without the
    state of the optimiser. ``make_module`` is called with the settings under ``model``: a study trains its baselines as nets of
    another kind. With ``progress`` a long fit goes on where an earlier call was killed, to the same bits.

    Raises:
        ConfigError: a class that cannot be imported, or a missing key.
        NonFiniteError: the net produced NaN.
    """
    start, before = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with quiet():
            module, datamodule, trainer = prepare_trial(config, make_module, progress)
            trainer.fit(module, datamodule=datamodule, ckpt_path=None if progress is None else progress.resumes_from)
            best = next(c for c in trainer.callbacks if isinstance(c, BestWeights))  # type: ignore[attr-defined]
            last = trainer.callback_metrics.get("val_loss", torch.tensor(float("nan")))
            reached = best.best if best.weights else float(last)
            result = finish_trial(module, datamodule, trainer, reached, checkpoint)
            return replace(result, seconds=time.perf_counter() - start if progress is None else progress.seconds)
    finally:
        torch.set_num_threads(before)


def finish_trial(
    module: GNetModule, datamodule: "GraphDataModule", trainer: Trainer, reached: float, checkpoint: Path | None = None
) -> TrialResult:
    """Write the checkpoint of a trained net, test it and predict; ``reached`` is the validation loss of its epochs."""
    module.eval()
    if checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        trainer.save_checkpoint(checkpoint, weights_only=True)
    return TrialResult(
        # What the epochs reached is that of the net before its projection.
        val_loss=reached if module.project_onto is None else loss_on(datamodule.val_dataloader(), module),
        test_loss=loss_on_test(module, datamodule),
        num_weights=module.net.num_weights if module.net is not None else 0,
        num_clusters=module.group.node_orbits().num_clusters if module.group is not None else 0,
        predictions=predictions_of(module, datamodule),
        module=module,
        datamodule=datamodule,
        metrics=metrics_on_test(module, datamodule),
        seconds=0.0,
    )


def prepare_trial(
    config: dict[str, Any], make_module: Callable[..., GNetModule] = GNetModule, progress: KeepProgress | None = None
) -> tuple[GNetModule, "GraphDataModule", Trainer]:
    """The module, the data and the trainer that a plain config describes, nothing of them used yet.

    Raises:
        ConfigError: a class that cannot be imported, or a missing key.
    """
    for key in ("model", "data"):
        if key not in config:
            raise ConfigError(f"expected a config with the keys model and data, got {sorted(config)}")
    seed = int(config.get("seed_everything") or 0)
    seed_everything(seed, verbose=False)
    module = make_module(**{**instantiate(config["model"]), "seed": seed})
    module.optimizer_config, module.scheduler_config = config.get("optimizer"), config.get("lr_scheduler")
    data = config["data"]
    datamodule = instantiate({**data, "init_args": {**data.get("init_args", {}), "seed": seed}})
    settings = {**instantiate(as_one_process(config.get("trainer") or {})), **QUIET}
    given = settings.pop("callbacks", None) or []
    given = [each for each in (given if isinstance(given, list) else [given]) if not isinstance(each, RECORDERS)]
    watched = ((module.scheduler_config or {}).get("init_args") or {}).get("monitor")
    # Nobody else would read it, and a log call costs more than a small step.
    module.log_train_loss = bool(given) or watched == "train_loss"
    ours: list[Any] = [] if any(isinstance(each, BestWeights) for each in given) else [BestWeights()]
    if progress is not None:
        ours, settings["enable_checkpointing"] = [*ours, progress], True
    return module, datamodule, Trainer(**settings, callbacks=[*given, *ours, StopOnNonFinite()])


def as_one_process(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a trial's trainer: one process on one device, however many there are.

    Raises:
        ConfigError: several devices or nodes, or a strategy for them.

    Example:
        >>> as_one_process({"max_epochs": 3, "devices": "auto"})
        {'max_epochs': 3, 'devices': 1}
    """
    devices = trainer.get("devices", "auto")
    named = devices.strip("[] ").split(",") if isinstance(devices, str) and "," in devices else devices
    is_named = isinstance(named, list) and len([each for each in named if each != ""]) == 1  # such as [2], the third GPU
    allowed = {"devices": (None, "auto", 1, "1"), "strategy": (None, "auto", "single_device"), "num_nodes": (None, 1)}
    for name, values in allowed.items():
        given = trainer.get(name)
        if given not in values and not (name == "devices" and is_named):
            raise ConfigError(
                f"a trial of a study is one process, so leave --trainer.{name} out (got {given!r}); --jobs N runs N trials "
                "side by side, and fit trains one net with many processes"
            )
    return dict(trainer) if is_named else {**trainer, "devices": 1}


def loss_on_test(module: GNetModule, datamodule: "GraphDataModule") -> float:
    """Masked mean of the loss over the test split, in model units."""
    return loss_on(datamodule.test_dataloader(), module)


@torch.no_grad()
def loss_on(batches: Iterable["Batch"], module: GNetModule) -> float:
    """Masked mean of the loss over batches, in model units."""
    total, count = 0.0, 0
    for batch in batches:
        batch = type(batch)(*(part.to(module.device) for part in batch))
        total += float(module.errors(output_of(module, batch.x), batch).double().sum())
        count += module.counted(batch.mask)
    return total / max(count, 1)


@torch.no_grad()
def metrics_of(outputs: Iterable[tuple[Tensor, "Batch"]], datamodule: "GraphDataModule") -> dict[str, float]:
    """The metrics of the data module over batches and the outputs for them, both in model units."""
    metrics, domain = datamodule.metrics(), Domain.of(datamodule)
    for output, batch in outputs if metrics else ():
        prediction, target = domain.in_units(output.cpu()), domain.scaling.y.inverse(batch.y)
        for metric in metrics.values():
            metric.update(prediction, target, batch.mask)
    return {name: float(metric.compute()) for name, metric in metrics.items()}


@torch.no_grad()
def metrics_on_test(module: GNetModule, datamodule: "GraphDataModule") -> dict[str, float]:
    """The metrics of the data module over the test split."""
    return metrics_of(((output_of(module, batch.x), batch) for batch in datamodule.test_dataloader()), datamodule)


@torch.no_grad()
def predictions_of(module: GNetModule, datamodule: "GraphDataModule") -> np.ndarray:
    """The outputs on the split "predict", in order, in model units; of classes their probabilities."""
    loader = datamodule.loader(datamodule.samples("predict"))
    outputs = torch.cat([output_of(module, batch.x).cpu() for batch in loader])
    return as_probabilities(outputs, datamodule.classes).numpy()


def output_of(module: GNetModule, x: Tensor) -> Tensor:
    """The output in the precision of the trainer that the module was trained by, given back in float32 or float64."""
    x, trainer = x.to(module.device), module._trainer
    if trainer is None:
        return module(x)
    with trainer.precision_plugin.forward_context():
        output = module(trainer.precision_plugin.convert_input(x))
    return output if output.dtype == torch.float64 else output.float()


def instantiate(value: Any) -> Any:
    """A config value with every ``{"class_path": ..., "init_args": {...}}`` inside it made into an object.

    Raises:
        ConfigError: the class cannot be imported, or does not take the arguments.

    Example:
        >>> instantiate({"a": {"class_path": "gnet.training.symmetry.Coarsened", "init_args": {"num_clusters": 9}}})
        {'a': Coarsened(num_clusters=9, method='spectral', seed=0, swaps=None, neighbours=None)}
    """
    if isinstance(value, list):
        return [instantiate(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "class_path" not in value:
        return {key: instantiate(each) for key, each in value.items()}
    module, _, name = value["class_path"].rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
        return kind(**instantiate(value.get("init_args") or {}))
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(f"cannot make {value['class_path']}: {error}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning's advice about loggers, workers and hardware is for interactive runs."""
    names = ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed", "lightning.pytorch")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
