"""Run a study: every trial of the plan once, however often it is killed on the way."""

import inspect
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from gnet.errors import ConfigError, DataError
from gnet.study import journal
from gnet.study.journal import Journal, Key, Row
from gnet.study.on_ray import run_on_ray
from gnet.study.plan import Plan, Variant, group_of, largest_group, trial_config
from gnet.study.pool import Failure, run_tasks
from gnet.study.provenance import Provenance, Record
from gnet.study.stacks import Outcome, Stack, perform_stack, plan_stacks, smaller
from gnet.study.trials import Task, perform, trial_path
from gnet.training.classes import loss_for

if TYPE_CHECKING:
    from gnet.training.data import GraphDataModule

TEST_SET = ("x", "y", "mask", "y_mean", "y_std", "grid_shape", "node_ids")
"""Arrays of test_set.npz; of classes their names too, of poses the bones."""


@dataclass(frozen=True, eq=False)
class StudyResult:
    """What ``run_study`` leaves: all rows of the folder, in canonical order, and the trials that failed this time."""

    rows: list[Row]
    failures: dict[Key, Failure]
    manifest: dict[str, Any]


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
        for leftover in [*plan.out.glob("trials/*/*.tmp*"), *plan.out.glob("stacks/*.tmp"), *plan.out.glob(".*.tmp")]:
            leftover.unlink()
        shape = _write_test_set(plan.out / "test_set.npz", datamodule)
        log = Journal(plan.out / "results.csv")
        log.keep(key for key in log.rows if _is_whole(trial_path(plan.out, key), shape))
        failures = _train(plan, _tasks(plan, manifest, log.rows, datamodule), log, manifest, datamodule)
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


def _train(
    plan: Plan, tasks: list[Task], log: Journal, manifest: dict[str, Any], datamodule: "GraphDataModule"
) -> dict[Key, Failure]:
    sources = [Provenance.from_dict(source) for source in manifest["starts"]]
    record = Record(plan.record, plan.config_name, plan.overrides) if plan.record else None
    if record:
        record.append(list(log.rows.values()), sources[-2] if len(sources) > 1 else sources[-1])
    failures: dict[Key, Failure] = {}
    total = len(plan.variants) * plan.draws * len(plan.seeds)
    bar = tqdm(total=total, initial=total - len(tasks), desc="study", unit="trial", smoothing=0.1, disable=None, file=sys.stderr)
    try:
        for number, (task, result) in enumerate(_results(plan, tasks, datamodule), total - len(tasks) + 1):
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


def _results(plan: Plan, tasks: list[Task], datamodule: "GraphDataModule") -> Iterator[tuple[Task, Row | Failure]]:
    """Each trial with its row, as trials end: one by one, or stack by stack."""
    run: Callable[..., Iterator[Any]] = run_on_ray if plan.backend == "ray" else run_tasks
    settings = {"jobs": plan.jobs, "threads": plan.threads, "log": plan.out.absolute() / "workers.log"}
    if not plan.vectorize:
        yield from run(perform, tasks, **settings)
        return
    stacks, reasons = plan_stacks(tasks, datamodule, plan.jobs)
    for name, reason in reasons.items():
        print(f"note: {name} is trained one by one: {reason}", file=sys.stderr)
    failed = False
    while stacks:
        again: list[Stack] = []
        for stack, result in run(perform_stack, stacks, **settings):
            if isinstance(result, Failure) and (parts := smaller(stack)):
                again += parts
                print(f"note: a stack of {len(stack.tasks)} is tried in smaller parts: {result.message}", file=sys.stderr)
                continue
            for outcome in [Outcome(task, result) for task in stack.tasks] if isinstance(result, Failure) else result:
                failed = failed or isinstance(outcome.result, Failure)
                if outcome.result is None:
                    again.append(Stack((outcome.task,), alone=True))
                    print(f"note: {outcome.task.variant.name} is trained one by one: {outcome.note}", file=sys.stderr)
                else:
                    yield outcome.task, outcome.result
        stacks = again
    if not failed:
        shutil.rmtree(plan.out / "stacks", ignore_errors=True)


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
