"""What a fit says when it is done."""

from lightning.pytorch import Trainer

from gnet.training.around import AroundNet
from gnet.training.automatic import Automatic
from gnet.training.callbacks import BestWeights, WriteCheckpoints
from gnet.training.log_equivariance import LogEquivariance
from gnet.training.module import GNetModule


def reached(trainer: Trainer, model: GNetModule) -> list[str]:
    """The best validation loss, how much symmetry a net kept that need not keep all, and where its checkpoints lie.

    The error to the net's own group is that of ``LogEquivariance`` at the weights that the fit leaves, the one to the group of a
    callback around the net what it logged last. To be asked in every process.

    Example:
        >>> from gnet.training.symmetry import Symmetric
        >>> reached(Trainer(logger=False, enable_checkpointing=False), GNetModule(Symmetric()))
        []
    """
    parts = trainer.callbacks  # type: ignore[attr-defined]
    folders = [each.folder(trainer) for each in parts if isinstance(each, WriteCheckpoints)]  # all processes ask together
    lines = []
    best = next((each for each in parts if isinstance(each, BestWeights)), None)
    if best is not None and best.weights:
        before = "" if model.project_onto is None else ", before the net was projected"
        lines.append(f"best val_loss {best.best:.6g} in epoch {best.best_epoch}{before}")
    logs = [each for each in parts if isinstance(each, LogEquivariance)]
    if logs and may_leave_its_group(model):
        error = logs[0].measure(model).get("equivariance_error")
        lines += [] if error is None else [f"{_told(own_group(model, logs[0]), error)}; {why_it_may_leave(model)}"]
    for each in parts:
        logged = trainer.callback_metrics.get(each.measured) if isinstance(each, AroundNet) else None
        if logged is not None:
            lines.append(_told(f"the group of {type(each).__name__}", float(logged)))
    if not trainer.fast_dev_run:  # type: ignore[attr-defined]
        lines += [f"checkpoints: {folder}" for folder in folders]
    return lines


def _told(group: str, error: float) -> str:
    return f"equivariance error of the net, to {group}: {error:.3g} (0 is exact, 1 as large as its outputs)"


def own_group(model: GNetModule, log: LogEquivariance) -> str:
    """The name of the group that the error of ``log`` is about."""
    group = model.group if log.group is None else log.group
    return getattr(group, "name", "its own group")


def why_it_may_leave(model: GNetModule) -> str:
    """Why such an error is no failure.

    Example:
        >>> from gnet.training.symmetry import Symmetric
        >>> why_it_may_leave(GNetModule(Symmetric(), layer="residual"))
        "layer='residual' lets it leave that group"
        >>> why_it_may_leave(GNetModule(Automatic()))
        'Automatic, a sum over groups, holds it to none'
    """
    if isinstance(model.symmetry, Automatic):
        return "Automatic, a sum over groups, holds it to none"
    if model.hparams["layer"] != "equivariant":
        return f"layer={model.hparams['layer']!r} lets it leave that group"
    return "groups beside let it leave that group"


def may_leave_its_group(model: GNetModule) -> bool:
    """Whether the net's layers let it break its symmetry.

    Example:
        >>> from gnet.training.symmetry import Symmetric
        >>> may_leave_its_group(GNetModule(Symmetric())), may_leave_its_group(GNetModule(Symmetric(), layer="residual"))
        (False, True)
    """
    return bool(model.hparams["layer"] != "equivariant" or model.hparams.get("beside") or isinstance(model.symmetry, Automatic))
