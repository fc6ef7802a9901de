"""Trials of a study trained at once: which share a stack, what a worker does with one, and why some stay alone."""

import hashlib
import itertools
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from gnet.errors import ConfigError
from gnet.groups import ClusterGroup
from gnet.study.journal import Key, Row
from gnet.study.plan import Variant, trial_config
from gnet.study.pool import Failure, attempt
from gnet.study.trials import Task, commit, perform, temporary_checkpoint

if TYPE_CHECKING:
    from gnet.training.data import GraphDataModule
    from gnet.training.stacked import Member, StackedFit

MOST_WEIGHTS = 2**24
"""Numbers in the weights of a stack. Larger nets keep a core busy by themselves, and a stack of them would only take memory."""
CLOSED_FORM = "it is fitted in closed form"
SAME = 1e-4
"""How far the validation loss of a net may be from the one it was chosen by, relative; more is a step that went wrong."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Trials that one worker trains at once, or one that is trained alone."""

    tasks: tuple[Task, ...]
    alone: bool = False


@dataclass(frozen=True, eq=False)
class Outcome:
    """The row of a trial or why it failed; None, with a note why, where the trial is still to be trained by itself."""

    task: Task
    result: Row | Failure | None
    note: str = ""


def plan_stacks(tasks: Sequence[Task], datamodule: "GraphDataModule", jobs: int) -> tuple[list[Stack], dict[str, str]]:
    """Stacks of trials that differ in seed, draw or a symmetry of the same shape; and of variants that stay alone the reasons.

    There is at least one stack for each job, and the largest come first, so that no job waits long for another at the end.
    """
    families: dict[str, list[Task]] = {}
    alone: list[Task] = []
    reasons: dict[str, str] = {}
    for task in tasks:
        reason = reasons[task.variant.name] if task.variant.name in reasons else why_variant_alone(task.variant)
        if reason is None:
            families.setdefault(_family(task.variant), []).append(task)
        else:
            reasons[task.variant.name] = reason
            alone.append(task)
    variants = {task.variant.name: task.variant for task in tasks}
    sizes = {name: num_parameters(variant, datamodule) for name, variant in variants.items()}
    stacks = [Stack((task,), alone=True) for task in alone]
    for members in families.values():
        most = max(1, MOST_WEIGHTS // max(sizes[members[0].variant.name], 1))
        parts = min(len(members), max(math.ceil(len(members) / most), math.ceil(jobs / len(families))))
        edges = [len(members) * part // parts for part in range(parts + 1)]
        stacks += [Stack(tuple(members[start:end])) for start, end in itertools.pairwise(edges)]
    return sorted(stacks, key=lambda stack: -sum(1 + sizes[task.variant.name] for task in stack.tasks)), reasons


def smaller(stack: Stack) -> list[Stack]:
    """What to try after the worker of a stack died: its halves, or its only trial by itself; nothing after that.

    Example:
        >>> [len(each.tasks) for each in smaller(Stack(tuple("abc")))], smaller(Stack(("a",), alone=True))
        ([1, 2], [])
    """
    if stack.alone:
        return []
    if len(stack.tasks) == 1:
        return [Stack(stack.tasks, alone=True)]
    half = len(stack.tasks) // 2
    return [Stack(stack.tasks[:half]), Stack(stack.tasks[half:])]


def why_variant_alone(variant: Variant) -> str | None:
    """Why the trials of a variant cannot share a stack; None if they can, as far as its config says."""
    from gnet.study.baseline_nets import NETS
    from gnet.training.module import GNetModule
    from gnet.training.stackable import why_alone

    if variant.kind == "baseline" and variant.name not in NETS:
        return CLOSED_FORM
    model = variant.config["model"]
    if variant.kind == "baseline":  # whatever the settings of another net say, this one is built of plain layers
        from gnet.training.symmetry import Symmetric

        model = {"symmetry": Symmetric(), "loss": model.get("loss")}
        return why_alone({**variant.config, "model": model}, GNetModule)
    return why_alone(variant.config, GNetModule)


def num_parameters(variant: Variant, datamodule: "GraphDataModule") -> int:
    """How many numbers a net of the variant trains, 0 for other models: one is made to see.

    Example:
        >>> from gnet.groups import TrivialGroup
        >>> from gnet.training.data import Digits
        >>> config = {"model": {"symmetry": {"class_path": "gnet.training.Trivial"}, "hidden_channels": 10, "bias": None}}
        >>> num_parameters(Variant("none", "symmetry", config, {}, TrivialGroup(64)), Digits())
        81920
    """
    from gnet.study.baseline_nets import NETS
    from gnet.training.checkpoint import Domain
    from gnet.training.module import GNetModule
    from gnet.training.trial import instantiate

    if variant.kind == "baseline" and variant.name not in NETS:
        return 0
    made = attempt(instantiate, variant.config["model"])
    if isinstance(made, Failure):
        return 0  # its trials say what is wrong
    module = (NETS[variant.name] if variant.kind == "baseline" else GNetModule)(**made)
    built = attempt(module.build, Domain.of(datamodule))
    return 0 if isinstance(built, Failure) or module.net is None else sum(each.numel() for each in module.net.parameters())


def _family(variant: Variant) -> str:
    """What trials of one stack have in common, as far as it shows before their nets are made."""
    config = trial_config(variant.config, 0, 0)
    shape: Any = variant.name
    group = variant.group
    if isinstance(group, ClusterGroup) and group.swaps is None and not config["model"].get("project_onto"):
        shape = group.partition.sizes.tolist()
        config = {**config, "model": {name: value for name, value in config["model"].items() if name != "symmetry"}}
    return json.dumps([variant.kind, shape, config], sort_keys=True, default=str)


def perform_stack(stack: Stack) -> list[Outcome]:
    """Train the trials of a stack, in a worker; what cannot be stacked after all comes back to be trained by itself.

    A stack that was killed goes on from what it wrote down last, if the code is still the same, also as a part of it.
    """
    if stack.alone:
        return [Outcome(task, attempt(perform, task)) for task in stack.tasks]
    from gnet.training.trial import quiet

    before = torch.get_num_threads()
    torch.set_num_threads(stack.tasks[0].threads)
    try:
        with quiet():
            return _performed(stack.tasks)
    finally:
        torch.set_num_threads(before)


def _performed(tasks: Sequence[Task]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    members: list[tuple[Task, Member]] = []
    for task in tasks:
        made = attempt(_member, task)
        if isinstance(made, Failure):
            outcomes.append(Outcome(task, None, made.message))
        else:
            members.append((task, made))
    for part in _alike(members):
        outcomes += _trained(part)
    return outcomes


def _member(task: Task) -> "Member":
    from gnet.study.baseline_nets import NETS
    from gnet.training.module import GNetModule
    from gnet.training.stacked import make_member

    kind = NETS[task.variant.name] if task.variant.kind == "baseline" else GNetModule
    return make_member(trial_config(task.variant.config, task.draw, task.seed), kind)


def _alike(members: Sequence[tuple[Task, "Member"]]) -> list[list[tuple[Task, "Member"]]]:
    from gnet.training.stackable import same_computation

    parts: list[list[tuple[Task, Member]]] = []
    for task, member in members:
        for part in parts:
            first = part[0][1]
            if same_computation(first.module, member.module, [first.datamodule, member.datamodule]):
                part.append((task, member))
                break
        else:
            parts.append([(task, member)])
    return parts


def _trained(part: Sequence[tuple[Task, "Member"]]) -> list[Outcome]:
    from gnet.training.stacked import StackedFit

    tasks, members = [task for task, _ in part], [member for _, member in part]
    progress = Progress(tasks)
    try:
        fit = StackedFit(members)
        progress.load(fit)
        fit.run(progress.write)
    except Exception as error:  # a net that cannot be traced, or memory for one but not for all
        note = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
        progress.forget()
        return [Outcome(task, None, note) for task in tasks]
    outcomes = []
    for task, member in part:
        result = attempt(lambda each: _row(each, fit, members), (task, member))
        wrong = isinstance(result, Failure) and result.message.startswith("ConfigError")
        outcomes.append(Outcome(task, None, result.message) if wrong else Outcome(task, result))  # type: ignore[union-attr]
    progress.forget()
    return outcomes


def _row(given: tuple[Task, "Member"], fit: "StackedFit", members: Sequence["Member"]) -> Row:
    from gnet.study.baselines import Trained
    from gnet.training.trial import finish_trial, loss_on

    task, member = given
    begun = time.monotonic()
    path = task.path
    path.parent.mkdir(parents=True, exist_ok=True)
    fit.check(member)
    member.module.eval()
    if member.module.project_onto is None:
        again = loss_on(member.datamodule.val_dataloader(), member.module)
        if math.isfinite(again) and not math.isclose(again, member.reached, rel_tol=SAME, abs_tol=1e-7):
            raise ConfigError(f"the net has the validation loss {again:g} by itself, and had {member.reached:g} in its stack")
    checkpoint = temporary_checkpoint(task)
    result = finish_trial(member.module, member.datamodule, member.trainer, member.reached, checkpoint)
    seconds = fit.seconds / len(members) + time.monotonic() - begun
    return commit(task, Trained.of(replace(result, seconds=seconds)), checkpoint)


class Progress:
    """The file that a stack goes on from when it was killed, written at the end of an epoch, as that of a long trial is.

    Any file that holds all the trials serves, so that what is left of a stack goes on, too.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.keys: list[Key] = [task.key for task in tasks]
        self.every_seconds, code = tasks[0].progress_seconds, tasks[0].code
        digest = hashlib.sha256(json.dumps(self.keys).encode()).hexdigest()[:16]
        self.folder = tasks[0].out / "stacks"
        self.path = self.folder / f"{digest}-{code}.last.ckpt"
        self._others = f"*-{code}.last.ckpt"
        self._written_at = time.monotonic()

    def write(self, fit: "StackedFit") -> None:
        """Write if it is time; after the last epoch, too, since what follows may be killed."""
        if time.monotonic() - self._written_at < self.every_seconds:
            return
        self.folder.mkdir(exist_ok=True)
        temporary = self.path.with_name(f"{self.path.stem}.{os.getpid()}.tmp")
        torch.save({"keys": [list(key) for key in self.keys], "fit": fit.state()}, temporary)
        os.replace(temporary, self.path)
        self._written_at = time.monotonic()

    def load(self, fit: "StackedFit") -> None:
        """Bring a stack to where the furthest file leaves it; does nothing without one."""
        found: list[tuple[int, Mapping[str, Any], list[int]]] = []
        for path in self.folder.glob(self._others):
            try:
                content = torch.load(path, weights_only=True, map_location=fit.device)
                keys = [tuple(key) for key in content["keys"]]
                if set(self.keys) <= set(keys):
                    found.append((content["fit"]["epoch"], content["fit"], [keys.index(key) for key in self.keys]))
            except Exception:  # a damaged file may raise anything; the stack starts anew
                continue
        if found:
            _, state, places = max(found, key=lambda each: each[0])
            fit.load(state, places)

    def forget(self) -> None:
        """The trials are in their places."""
        self.path.unlink(missing_ok=True)
