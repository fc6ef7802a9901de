"""Trials trained at once: their weights are stacked, their batches and their choice of the best epoch stay their own."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor

from gnet.errors import ConfigError, NonFiniteError
from gnet.training.checkpoint import Domain
from gnet.training.classes import loss_for
from gnet.training.datamodule import ArraySamples, SeededSampler, Split
from gnet.training.module import GNetModule
from gnet.training.optimizer import advance, check_trainer, make_optimizers
from gnet.training.program import Programs
from gnet.training.stackable import stacked_tensors, stopper_of, why_own_batches
from gnet.training.trial import prepare_trial

if TYPE_CHECKING:
    from gnet.training.data import GraphDataModule

KEPT = 2**28
"""Bytes of a split that a stack keeps in one piece on the device; of a larger one the batches are read one by one."""


@dataclass(eq=False)
class Member:
    """A trial in a stack: what it is made of, and how far it has come."""

    module: GNetModule
    datamodule: "GraphDataModule"
    trainer: Trainer
    stopper: EarlyStopping | None = None
    best: float = math.inf
    best_epoch: int = -1
    last: float = math.nan
    epochs: int = 0
    failure: str | None = None
    done: bool = False

    @property
    def reached(self) -> float:
        """The validation loss of its weights."""
        return self.last if self.best_epoch < 0 else self.best

    def state(self) -> dict[str, Any]:
        """What a file to resume from holds of it."""
        names = ("best", "best_epoch", "last", "epochs", "failure", "done")
        stopper = None if self.stopper is None else self.stopper.state_dict()
        return {**{name: getattr(self, name) for name in names}, "stopper": stopper}

    def load(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``."""
        for name, value in state.items():
            if name != "stopper":
                setattr(self, name, value)
        if self.stopper is not None and state["stopper"] is not None:
            self.stopper.load_state_dict(state["stopper"])


def make_member(config: Mapping[str, Any], make_module: Callable[..., GNetModule] = GNetModule) -> Member:
    """The parts of a trial, its net built as a trainer would before the first epoch.

    Raises:
        ConfigError: what the trial by itself would refuse, or batches that no stack can read.
    """
    module, datamodule, trainer = prepare_trial(dict(config), make_module)
    datamodule.prepare_data()
    datamodule.setup("fit")
    reason = why_own_batches(datamodule)
    if reason is not None:
        raise ConfigError(reason)
    check_trainer(trainer, module)
    domain = Domain.of(datamodule)
    loss_for(module.hparams["loss"], domain.classes)
    module.build(domain)
    module.to(trainer.strategy.root_device)
    stopper = stopper_of(trainer)
    if stopper is not None and "callbacks" in (config.get("trainer") or {}):
        stopper = copy.deepcopy(stopper)
    return Member(module, datamodule, trainer, stopper)


@dataclass(eq=False)
class StackedFit:
    """The training of several trials at once: the same batches, steps and choices as each has alone, to rounding.

    One optimiser moves the stacked weights: it is one that moves each number by itself. Each trial is clipped, chosen by its
    validation loss and stopped by itself, and one that becomes NaN touches no other.

    Args:
        members: of one computation (``same_computation``).

    Example:
        >>> config = {
        ...     "model": {"symmetry": {"class_path": "gnet.training.Symmetric"}, "hidden_channels": 2},
        ...     "data": {"class_path": "gnet.training.Digits", "init_args": {"num_train": 12, "num_val": 10, "num_test": 20}},
        ...     "trainer": {"max_epochs": 2, "accelerator": "cpu", "logger": False, "enable_progress_bar": False},
        ... }
        >>> fit = StackedFit([make_member({**config, "seed_everything": seed}) for seed in (0, 1)])
        >>> fit.run()
        >>> [member.epochs for member in fit.members], fit.epoch
        ([2, 2], 2)
    """

    members: Sequence[Member]
    epoch: int = field(init=False, default=0)
    seconds: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        first = self.members[0]
        self.device = first.trainer.strategy.root_device
        params, buffers = stacked_tensors([each.module.net for each in self.members], self.device)  # type: ignore[misc]
        self.params = {name: torch.nn.Parameter(each) for name, each in params.items()}
        self.best = {name: each.detach().clone() for name, each in self.params.items()}
        self.programs = Programs(first.module, len(self.members), buffers)
        made = make_optimizers(first.module, self.params.values())
        self.optimizer: torch.optim.Optimizer = made["optimizer"]
        self.schedule = made.get("lr_scheduler")
        self.max_epochs = 1000 if first.trainer.max_epochs is None else first.trainer.max_epochs
        self.clip = first.trainer.gradient_clip_val, str(first.trainer.gradient_clip_algorithm or "norm")
        self.splits = {
            split: _Split([each.datamodule for each in self.members], split, self.device) for split in ("train", "val")
        }

    def run(self, after_epoch: Callable[["StackedFit"], None] | None = None) -> None:
        """Train until every trial has had its epochs, and put the weights that each keeps into its module."""
        begun, before = time.monotonic(), self.seconds
        while self.epoch < self.max_epochs and not all(each.done for each in self.members):
            with torch.no_grad():
                self._train_epoch()
                self._validate()
            if self.schedule is not None and self.schedule["interval"] == "epoch":
                advance(self.schedule["scheduler"], None)
            self.epoch += 1
            self.seconds = before + time.monotonic() - begun
            if after_epoch is not None:
                after_epoch(self)
        self._hand_back()

    def _train_epoch(self) -> None:
        losses, finite = [], []
        for batch in self.splits["train"].batches(self.epoch):
            grads, loss, fine = self.programs.gradients(self.params, batch)  # type: ignore[arg-type]
            self._clip(grads)
            for name, parameter in self.params.items():
                parameter.grad = grads[name].contiguous()  # a fused step pairs numbers by their place in memory
            self.optimizer.step()
            if self.schedule is not None and self.schedule["interval"] == "step":
                advance(self.schedule["scheduler"], None)
            losses.append(loss)
            finite.append(fine)
        self._look_for_nan("train", torch.stack(losses).isfinite(), torch.stack(finite))

    def _clip(self, grads: dict[str, Tensor]) -> None:
        bound, rule = self.clip
        if not bound:
            return
        if rule.rpartition(".")[2].lower() == "value":
            for each in grads.values():
                each.clamp_(-float(bound), float(bound))
            return
        squares = torch.stack([each.flatten(1).norm(dim=1) for each in grads.values()]).norm(dim=0)
        factors = (float(bound) / (squares + 1e-6)).clamp(max=1.0)
        for each in grads.values():
            each.mul_(factors.view(-1, *[1] * (each.ndim - 1)))

    def _validate(self) -> None:
        sums = []
        for batch in self.splits["val"].batches():
            total, count, fine = self.programs.losses(self.params, batch)  # type: ignore[arg-type]
            sums.append((total / count.clamp(min=1) * count, count, fine, total.isfinite()))
        totals, counts, finite, losses = (torch.stack(each) for each in zip(*sums, strict=True))
        self._look_for_nan("validation", losses, finite)
        better = []
        for place, (member, value) in enumerate(zip(self.members, (totals.sum(0) / counts.sum(0)).tolist(), strict=True)):
            if member.done:
                continue
            member.last, member.epochs = value, self.epoch + 1
            if member.module.hparams["keep"] == "last":
                better.append(place)
            elif value < member.best:
                member.best, member.best_epoch = value, self.epoch
                better.append(place)
            if member.stopper is not None:
                member.done = member.stopper._evaluate_stopping_criteria(torch.tensor(value))[0]
        self._keep(better)

    def _keep(self, places: list[int]) -> None:
        for name, kept in self.best.items():
            if len(places) == len(self.members):
                kept.copy_(self.params[name])
            else:
                for place in places:
                    kept[place].copy_(self.params[name][place])

    def _look_for_nan(self, stage: str, losses: Tensor, outputs: Tensor) -> None:
        """Mark the trials with a loss or an output that is not finite, (batches, trials) each."""
        if bool(losses.all()) and bool(outputs.all()):
            return
        fine = (losses & outputs).T.tolist()
        for member, batches in zip(self.members, fine, strict=True):
            if not all(batches) and not member.done:
                first = batches.index(False)
                what = "output" if bool(losses[first, self.members.index(member)]) else "loss"
                member.done = True
                member.failure = (
                    f"the net's {what} is NaN or infinite in {stage} batch {first} of epoch {self.epoch}; lower --model.lr, "
                    "or set --trainer.gradient_clip_val 1.0"
                )

    @torch.no_grad()
    def _hand_back(self) -> None:
        """Put the weights each trial keeps into its module, projected if it asks for that, and the epochs into its trainer."""
        for place, member in enumerate(self.members):
            for name, parameter in member.module.net.named_parameters():  # type: ignore[union-attr]
                parameter.copy_(self.best[name][place])
            trainer = member.trainer
            member.module.trainer = trainer
            trainer.strategy.connect(member.module)
            member.module.project()
            trainer.fit_loop.epoch_progress.current.completed = member.epochs
            steps = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step
            steps.total.completed = member.epochs * len(self.splits["train"])

    def check(self, member: Member) -> None:
        """Refuse what is no trained net.

        Raises:
            NonFiniteError: the net became NaN.
        """
        if member.failure is not None:
            raise NonFiniteError(member.failure)

    def state(self) -> dict[str, Any]:
        """All that a stack needs to go on from here, tensors and primitives."""
        return {
            "epoch": self.epoch,
            "seconds": self.seconds,
            "params": {name: each.detach() for name, each in self.params.items()},
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "schedule": None if self.schedule is None else self.schedule["scheduler"].state_dict(),
            "members": [each.state() for each in self.members],
        }

    @torch.no_grad()
    def load(self, state: Mapping[str, Any], places: Sequence[int] | None = None) -> None:
        """Go on from a state, of this stack or of a larger one whose trials at ``places`` these are."""
        chosen = list(range(len(self.members)) if places is None else places)
        size = len(state["members"])
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        for name, parameter in self.params.items():
            parameter.copy_(state["params"][name][chosen])
            self.best[name].copy_(state["best"][name][chosen])
        shapes = [(size, *each.shape[1:]) for each in self.params.values()]
        optimizer = copy.deepcopy(state["optimizer"])
        for number, values in optimizer["state"].items():
            for key, value in values.items():
                if isinstance(value, Tensor) and value.shape == shapes[number]:
                    values[key] = value[chosen].clone()
        self.optimizer.load_state_dict(optimizer)
        if self.schedule is not None:
            self.schedule["scheduler"].load_state_dict(state["schedule"])
        for member, place in zip(self.members, chosen, strict=True):
            member.load(state["members"][place])


class _Split:
    """The batches of one split for all trials of a stack, each in the order that it has alone."""

    def __init__(self, datamodules: Sequence["GraphDataModule"], split: Split, device: torch.device) -> None:
        self.samples = [each.samples(split) for each in datamodules]
        self.seeds, self.device = [each.seed for each in datamodules], device
        self.num_samples, self.batch_size = len(self.samples[0]), datamodules[0].batch_size or len(self.samples[0])
        self.arrays: tuple[Tensor, ...] | None = None
        kept = [each.all() for each in self.samples if isinstance(each, ArraySamples)]
        size = sum(part.nbytes for each in kept for part in each)
        if len(kept) == len(self.samples) and size <= KEPT:
            self.arrays = tuple(torch.stack(parts).to(device) for parts in zip(*kept, strict=True))

    def __len__(self) -> int:
        return -(-self.num_samples // self.batch_size)

    def batches(self, epoch: int | None = None) -> Iterator[tuple[Tensor, ...]]:
        """x, y and mask of one batch after the other, (trials, B, ...) each; without an epoch in fixed order."""
        if epoch is None:
            orders = torch.arange(self.num_samples).expand(len(self.samples), -1)
        else:
            orders = torch.stack([self._order(seed, epoch) for seed in self.seeds])
        yield from (self._batch(each) for each in orders.split(self.batch_size, 1))

    def _order(self, seed: int, epoch: int) -> Tensor:
        sampler = SeededSampler(self.num_samples, seed)
        sampler.set_epoch(epoch)
        return torch.tensor(list(sampler))

    def _batch(self, indices: Tensor) -> tuple[Tensor, ...]:
        if self.arrays is not None:
            trials = torch.arange(len(indices), device=self.device)[:, None]
            return tuple(each[trials, indices.to(self.device)] for each in self.arrays)
        parts = [samples[index] for samples, index in zip(self.samples, indices, strict=True)]
        return tuple(torch.stack(each).to(self.device) for each in zip(*parts, strict=True))
