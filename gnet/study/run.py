"""Run a study: every trial of the plan once, however often it is killed on the way."""

import copy
import inspect
import math
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from gnet.errors import ConfigError, DataError, NonFiniteError
from gnet.groups import TRIVIAL_ACTION, NodeGroup
from gnet.measures import equivariance_error
from gnet.randomness import derive_seed
from gnet.study import journal
from gnet.study.journal import Journal, Key, Row, metrics_text
from gnet.study.on_ray import run_on_ray
from gnet.study.plan import Plan, Variant, group_of, largest_group, run_seed, slug, trial_config
from gnet.study.pool import Failure, run_tasks
from gnet.study.provenance import Provenance, Record
from gnet.training.classes import loss_for

if TYPE_CHECKING:
    from gnet.study.baselines import Trained
    from gnet.training.data import GraphDataModule

NUM_INPUTS = 64  # test inputs that the equivariance error is measured on
NUM_ELEMENTS = 16  # group elements, the same for every trial
TEST_SET = ("x", "y", "mask", "y_mean", "y_std", "grid_shape", "node_ids")
"""Arrays of test_set.npz; of classes their names too, of poses the bones."""


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


@dataclass(frozen=True, eq=False)
class StudyResult:
    """What ``run_study`` leaves: all rows of the folder, in canonical order, and the trials that failed this time."""

    rows: list[Row]
    failures: dict[Key, Failure]
    manifest: dict[str, Any]


def trial_path(out: Path, key: Key, suffix: str = ".npy") -> Path:
    """Where a trial's predictions (or its checkpoint) lie.

    Example:
        >>> trial_path(Path("out"), ("S4^16", 0, 3)).as_posix()
        'out/trials/S4^16/draw0-seed3.npy'
    """
    name, draw, seed = key
    return out / "trials" / slug(name) / f"draw{draw}-seed{seed}{suffix}"


def run_study(plan: Plan, datamodule: "GraphDataModule") -> StudyResult:
    """Train what is missing in ``plan.out`` and return everything that is there.

    ``datamodule`` is that of the first draw and seed, set up: it gives the common test set and the units of the study.
    Predictions (and checkpoints) are committed by a rename before their row is written, and only this process writes rows.

    Raises:
        ConfigError: the folder holds another study, or is in use.
        DataError: the folder's test set is damaged. A trial with damaged predictions is run again.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    with journal.locked(plan.out):
        manifest = _merge_manifest(plan, datamodule)
        for leftover in [*plan.out.glob("trials/*/*.tmp*"), *plan.out.glob(".*.tmp")]:
            leftover.unlink()
        shape = _write_test_set(plan.out / "test_set.npz", datamodule)
        log = Journal(plan.out / "results.csv")
        log.keep(key for key in log.rows if _is_whole(trial_path(plan.out, key), shape))
        failures = _train(plan, _tasks(plan, manifest, log.rows, datamodule), log, manifest)
        _write_failures(plan.out, failures)
        return StudyResult(log.finish(list(manifest["variants"])), failures, manifest)


def _tasks(plan: Plan, manifest: dict[str, Any], done: Iterable[Key], datamodule: "GraphDataModule") -> list[Task]:
    reference = next((v.group for v in plan.variants if v.name == manifest["reference"]), None)
    if reference is None:
        # The reference of an earlier start is not among the variants of this one: make its group from its config.
        config = manifest["variants"][manifest["reference"]]["config"]
        reference = group_of(config, (datamodule.graph, datamodule.grid_shape))
    study_seed = int(plan.variants[0].config["data"].get("init_args", {}).get("study_seed") or 0)
    finished = set(done)
    tasks = [
        Task(
            variant,
            draw,
            seed,
            plan.out.absolute(),
            plan.threads,
            reference,
            study_seed,
            checkpoint=plan.checkpoints and variant.kind == "symmetry",
            code=Provenance.from_dict(manifest["starts"][-1]).code,
            progress_seconds=plan.progress_seconds,
        )
        for draw in range(plan.draws)
        for seed in plan.seeds
        for variant in plan.variants
    ]
    return [task for task in tasks if task.key not in finished]


def _train(plan: Plan, tasks: list[Task], log: Journal, manifest: dict[str, Any]) -> dict[Key, Failure]:
    sources = [Provenance.from_dict(source) for source in manifest["starts"]]
    record = Record(plan.record, plan.config_name, plan.overrides) if plan.record else None
    if record:
        record.append(list(log.rows.values()), sources[-2] if len(sources) > 1 else sources[-1])
    failures: dict[Key, Failure] = {}
    total = len(plan.variants) * plan.draws * len(plan.seeds)
    bar = tqdm(total=total, initial=total - len(tasks), desc="study", unit="trial", smoothing=0.1, disable=None, file=sys.stderr)
    try:
        run = run_on_ray if plan.backend == "ray" else run_tasks
        results = run(perform, tasks, jobs=plan.jobs, threads=plan.threads, log=plan.out.absolute() / "workers.log")
        for number, (task, result) in enumerate(results, total - len(tasks) + 1):
            name = f"[{number}/{total}] {task.variant.name}, draw {task.draw}, seed {task.seed}"
            if isinstance(result, Failure):
                failures[task.key] = result
                bar.write(f"{name}: FAILED: {result.message}", file=sys.stderr)
            else:
                log.append(result)
                if record:
                    record.append([result], sources[-1])
                bar.write(
                    f"{name}: test {result.test_loss:.4f}, val {result.val_loss:.4f}, {result.seconds:.1f} s",
                    file=sys.stderr,
                )
            bar.update()
    except KeyboardInterrupt:
        bar.close()
        print(f"\nstopped; {len(log.rows)} trials are kept. Start again with the same command to go on.", file=sys.stderr)
        raise
    bar.close()
    return failures


def perform(task: Task) -> Row:
    """One trial, in a worker: train, measure, commit the predictions, return the row.

    A trial that was killed goes on from what it wrote down last, if the code is still the same; one that failed starts anew.

    Raises:
        NonFiniteError: losses or predictions are NaN or infinite.
        ConfigError: the trial's test set is not the study's.
    """
    path = trial_path(task.out, task.key)
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
    checkpoint = path.with_name(f"{path.stem}.{os.getpid()}.tmp.ckpt") if task.checkpoint else None
    trained = _trained(task, checkpoint, path.with_name(f"{path.stem}-{task.code}.last.ckpt"))
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


def _is_whole(predictions: Path, shape: tuple[int, ...]) -> bool:
    """Whether the file is there and holds an array of that shape; mapped, not read: a file too short is noticed so, too."""
    try:
        return bool(np.load(predictions, mmap_mode="r").shape == shape)
    except Exception:  # a damaged file may raise anything
        return False


def _write_test_set(path: Path, datamodule: "GraphDataModule") -> tuple[int, ...]:
    """Write the common test set unless it is there; returns the shape of its targets, and so of all predictions."""
    if path.exists():
        try:
            with np.load(path) as stored:
                shapes = {name: stored[name].shape for name in TEST_SET}  # read, so that every checksum is looked at
        except Exception as error:  # a damaged file may raise anything
            raise DataError(f"{path} is damaged; delete it, and the same command makes it again") from error
        return tuple(shapes["y"])
    batch, scale = datamodule.predict_arrays(), datamodule.scaling.y
    arrays: dict[str, Any] = {
        "x": batch.x.numpy(),
        "y": batch.y.numpy(),
        "mask": batch.mask.numpy(),
        "y_mean": scale.mean.numpy(),
        "y_std": scale.std.numpy(),
        "grid_shape": np.array(datamodule.grid_shape or (), dtype=np.int64),
        "node_ids": np.array([str(node) for node in datamodule.node_ids]),
    }
    arrays |= {} if datamodule.classes is None else {"classes": np.array(datamodule.classes)}
    arrays |= {} if datamodule.bones is None else {"bones": datamodule.bones.numpy()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(temporary, path)
    return tuple(batch.y.shape)


def _merge_manifest(plan: Plan, datamodule: "GraphDataModule") -> dict[str, Any]:
    """Bring ``study.json`` up to this plan: more variants, seeds and draws are welcome, another config is not."""
    path = plan.out / "study.json"
    manifest = journal.read_manifest(path)
    checksum = journal.as_json({"checksum": datamodule.describe().get("checksum")})
    if manifest is not None:
        # A file that changed under the same name would mix trials of two data sets in one table.
        journal.check_same({"checksum": manifest.get("checksum")}, checksum, "the data", plan.out)
    if manifest is None:
        if (plan.out / "results.csv").exists():
            raise ConfigError(f"{plan.out} has a results.csv but no study.json; choose another --out")
        manifest = {
            "format": 1,
            "threads": plan.threads,
            **checksum,
            "reference": plan.reference or largest_group(plan.variants),
            "variants": {},
        }
        manifest["starts"] = []
    journal.check_same({"threads": manifest["threads"]}, {"threads": plan.threads}, "the study", plan.out)
    if plan.reference:
        journal.check_same({"reference": manifest["reference"]}, {"reference": plan.reference}, "the study", plan.out)
    known: dict[str, Any] = manifest["variants"]
    for variant in plan.variants:
        entry = _manifest_entry(variant)
        if variant.name in known:
            there, here = (_comparable(each["config"], datamodule.classes) for each in (known[variant.name], entry))
            journal.check_same(there, here, variant.name, plan.out)
        known[variant.name] = entry
    manifest["variants"] = dict(sorted(known.items(), key=lambda item: item[1]["kind"] == "baseline"))
    start = Provenance.now(plan.command)
    if any(Provenance.from_dict(earlier).code != start.code for earlier in manifest["starts"]):
        print(f"warning: {plan.out} holds trials of another state of gnet's code; see {path.name}", file=sys.stderr)
    manifest["starts"].append(start.as_dict())
    journal.write_atomically(path, journal.json_text(manifest))
    return manifest


def _manifest_entry(variant: Variant) -> dict[str, Any]:
    # Through JSON, so that what is compared with the file is what the file can hold.
    return journal.as_json(
        {
            "kind": variant.kind,
            "overrides": variant.overrides,
            "group": "" if variant.group is None else repr(variant.group),
            "log_order": None if variant.group is None else variant.log_order,
            "config": trial_config(variant.config, 0, 0),
        }
    )


def _comparable(config: dict[str, Any], classes: Sequence[str] | None) -> dict[str, Any]:
    """A config but for what changes no trial: where the data lie, further metrics, what a fit would log; the loss by its name.

    A setting of the model that the config of an older gnet did not have yet has its default.
    """
    from gnet.training.module import GNetModule

    data, defaults = config["data"], inspect.signature(GNetModule).parameters.items()
    arguments = {key: value for key, value in data["init_args"].items() if key not in ("root", "action_average")}
    model = {**{name: each.default for name, each in defaults if name != "symmetry"}, **config["model"]}
    model["loss"] = loss_for(model["loss"], classes)
    kept = {key: value for key, value in config.items() if key != "log_equivariance"}
    return {**kept, "model": model, "data": {**data, "init_args": arguments}}


def _write_failures(out: Path, failures: dict[Key, Failure]) -> None:
    path = out / "failures.csv"
    if not failures:
        path.unlink(missing_ok=True)
        return
    lines = [[*key, failure.message] for key, failure in failures.items()]
    journal.write_atomically(path, journal.csv_text(["symmetry", "draw", "seed", "error"], lines))
    for key, failure in failures.items():
        if failure.details:
            journal.write_atomically(trial_path(out, key, ".error.txt"), failure.details)
