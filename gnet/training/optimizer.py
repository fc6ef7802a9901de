"""The optimiser of a fit and the schedule of its learning rate, made by name, and checked against the trainer beforehand."""

import difflib
import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from gnet.errors import ConfigError
from gnet.training.callbacks import BestWeights
from gnet.training.log_equivariance import LogEquivariance

if TYPE_CHECKING:
    from gnet.training.module import GNetModule

OWN = ("gnet.", "lightning.")
"""Where a class comes from whose logged values are known."""


def make_optimizers(module: "GNetModule", parameters: Iterable[Tensor] | None = None) -> dict[str, Any]:
    """What Lightning asks of ``configure_optimizers``: Adam, or what ``--optimizer`` and ``--lr_scheduler`` named.

    It moves ``parameters``, by default those of the module.

    Raises:
        ConfigError: arguments that make no optimiser or schedule, a value that nothing logs, or settings of the trainer that
            cannot hold together.
    """
    trainer, given = module._trainer, module.scheduler_config
    clipped = trainer is not None and _clips_unscaled(trainer)
    optimizer = _optimizer(module, module.parameters() if parameters is None else parameters, fused=not clipped)
    if clipped and getattr(optimizer, "_step_supports_amp_scaling", False):
        raise ConfigError(
            f"a fused optimiser cannot clip gradients in precision {trainer.precision}; leave --optimizer.fused out, "  # type: ignore[union-attr]
            "or --trainer.gradient_clip_val"
        )
    by_step = module.hparams["lr_interval"] == "step"
    if given is None and by_step:
        raise ConfigError("lr_interval='step' is the pace of a schedule, and there is none; give --lr_scheduler, or leave it out")
    if trainer is not None:
        check_trainer(trainer, module)
    if given is None:
        return {"optimizer": optimizer}
    scheduler = _made(optimizer, given, "lr_scheduler")
    plan: dict[str, Any] = {"scheduler": scheduler, "interval": module.hparams["lr_interval"]}
    if isinstance(scheduler, ReduceLROnPlateau):
        if by_step:
            raise ConfigError("ReduceLROnPlateau looks at the loss of an epoch, so it needs lr_interval='epoch', got 'step'")
        plan["monitor"] = monitor = getattr(scheduler, "monitor", "val_loss")
        if trainer is not None:
            _check_logged("--lr_scheduler", monitor, trainer, module)
            plan["frequency"] = 1 if monitor == "train_loss" else trainer.check_val_every_n_epoch or 1
    return {"optimizer": optimizer, "lr_scheduler": plan}


def advance_plateaus(trainer: Trainer) -> None:
    """Show the schedules that watch a value that of this epoch; called when an epoch ends, before its checkpoint is written.

    Lightning does so after the checkpoint, so that a killed fit would forget one epoch when it is resumed.

    Raises:
        ConfigError: the value was not logged.
    """
    for plan in trainer.lr_scheduler_configs:
        if plan.reduce_on_plateau and (trainer.current_epoch + 1) % plan.frequency == 0:
            value = trainer.callback_metrics.get(plan.monitor or "")
            if value is None:
                raise ConfigError(f"--lr_scheduler watches {plan.monitor!r}, which this epoch did not log; watch train_loss")
            plan.scheduler.step(value)  # type: ignore[arg-type]


def advance(scheduler: Any, metric: Any) -> None:
    """Go on with a schedule by one step or epoch; one that watches a value did so in ``advance_plateaus``.

    Raises:
        ConfigError: the schedule has come to its end, or its numbers make none.
    """
    if isinstance(scheduler, ReduceLROnPlateau):
        return
    try:
        scheduler.step()
    except (ValueError, ArithmeticError) as error:  # OneCycleLR at its end, StepLR with a step of 0
        name = type(scheduler).__name__
        raise ConfigError(f"--lr_scheduler={name} cannot go on: {error}; change its arguments, or train for less") from error


def check_trainer(trainer: Trainer, module: "GNetModule") -> None:
    """Refuse a negative bound of gradients, and callbacks that watch what nothing logs, before the first epoch is trained.

    Raises:
        ConfigError: either.
    """
    if trainer.gradient_clip_val is not None and not float(trainer.gradient_clip_val) >= 0:
        raise ConfigError(f"expected --trainer.gradient_clip_val >= 0, or null for no clipping, got {trainer.gradient_clip_val}")
    for each in trainer.callbacks:  # type: ignore[attr-defined]
        monitor, strict = getattr(each, "monitor", None), getattr(each, "strict", True)
        # The best weights do without a validation split.
        if monitor is not None and strict and not (isinstance(each, BestWeights) and monitor == "val_loss"):
            _check_logged(type(each).__name__, monitor, trainer, module)


def _check_logged(who: str, monitor: str, trainer: Trainer, module: "GNetModule") -> None:
    parts = [*trainer.callbacks, module]  # type: ignore[attr-defined]
    if not all(type(each).__module__.startswith(OWN) for each in parts) or monitor.startswith("lr-"):
        return  # others log what they like
    known = ["train_loss"] if trainer.limit_val_batches == 0 else ["val_loss", "train_loss"]
    logs = [each for each in parts if isinstance(each, LogEquivariance) and each.every]
    known += ["equivariance_error"] if logs else []
    known += ["reference_equivariance_error"] if any(each.reference is not None for each in logs) else []
    of_layer = any(each.layers for each in logs) and monitor.partition("/")[0] in known
    if monitor not in known and not of_layer:
        near = difflib.get_close_matches(monitor, known, n=1, cutoff=0.4)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{who} watches {monitor!r}, expected one of {', '.join(known)}, which a fit logs{meant}")


def _clips_unscaled(trainer: Trainer) -> bool:
    """Whether gradients are clipped after they were scaled back, which fused optimisers do within their step."""
    return isinstance(trainer.precision_plugin, MixedPrecision) and (trainer.gradient_clip_val or 0) > 0


def _optimizer(module: "GNetModule", parameters: Iterable[Tensor], *, fused: bool) -> torch.optim.Optimizer:
    if module.optimizer_config is not None:
        optimizer: torch.optim.Optimizer = _made(parameters, module.optimizer_config, "optimizer")
        return optimizer
    # Fused: one pass over the weights instead of a dozen, 6 to 10 times faster on CPU from a million weights on.
    return torch.optim.Adam(parameters, lr=module.hparams["lr"], weight_decay=module.hparams["weight_decay"], fused=fused)


def _made(first: Any, given: dict[str, Any], option: str) -> Any:
    """The class that a config names, made of the parameters (or the optimiser) and its arguments."""
    place, _, name = given["class_path"].rpartition(".")
    arguments = given.get("init_args") or {}
    if name in ("LambdaLR", "MultiplicativeLR"):
        raise ConfigError(f"--{option}={name} takes a function, which no checkpoint can hold; take StepLR, OneCycleLR ...")
    try:
        kind = getattr(importlib.import_module(place), name)
        if issubclass(kind, torch.optim.Optimizer | LRScheduler):
            return kind(first, **arguments)
    except (ImportError, AttributeError, TypeError, ValueError, ArithmeticError) as error:
        settings = ", ".join(f"{key}={value!r}" for key, value in arguments.items() if value is not None)
        raise ConfigError(f"--{option}={name} cannot be made with {settings or 'no arguments'}: {error}; change them") from error
    raise ConfigError(f"--{option} expects a class of torch.optim, got {given['class_path']}")
