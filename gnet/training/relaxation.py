"""Callbacks that relax a symmetry, or impose one, while any LightningModule is trained."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from gnet.errors import ConfigError
from gnet.groups import Action, Group
from gnet.nn.relaxed import Augmentation
from gnet.nn.relaxed.base import check_at_least
from gnet.nn.relaxed.moving import error_at, moved_arguments
from gnet.nn.relaxed.wrappers import Kind, Per
from gnet.training.around import AroundNet
from gnet.training.callbacks import BestWeights
from gnet.training.symmetry import Symmetry


class EquivariancePenalty(AroundNet):
    """Adds ``weight`` times the equivariance error of the net at random elements to every training loss.

    It is ``gnet.nn.relaxed.equivariance_penalty`` at the inputs of the net's last call, a squared norm per item: unbiased,
    and ``num_samples`` more calls of the net per batch, in the trainer's precision. The loss is changed in place just before
    the backward pass, so that one backward pass sees both. Of batches whose gradients accumulate it takes the mean, as
    Lightning does of their losses; with a gradient scaler (16-mixed) it is scaled as they are; with DDP every device draws an
    element of its own and gradients are averaged (strategies that shard a net's weights are not supported). The loss that the
    module logs is its own; the penalty is logged as ``equivariance_penalty``, and the error that is left as
    ``equivariance_error_penalised``.

    Args:
        group: a group, a rule that makes one (as ``--model.symmetry``), or None for the module's own.
        weight: of the penalty.
        module: name of the net inside the LightningModule; None finds it.
        action_in, action_out: None is the group's own; of a GNetModule with one value per graph outputs do not move.
        moved: further arguments that move as outputs do, by place (from 0 on) or name; None moves floating tensors with the items
            and nodes of x, such as targets shown to a recurrent net, and leaves edges and their weights where they are.
        num_samples: random elements for each batch.

    Raises:
        ConfigError: a negative weight, or ``num_samples`` below 1; when the fit starts, no net, no group, or manual optimisation.

    References:
        Wang, Walters and Yu (2022), arXiv:2201.11969, for the error that is penalised.

    Example:
        >>> from gnet.training.symmetry import Symmetric
        >>> EquivariancePenalty(Symmetric(), weight=0.1).weight
        0.1
    """

    measured = "equivariance_error_penalised"

    def __init__(
        self,
        group: Group | Symmetry | None = None,
        weight: float = 1.0,
        module: str | None = None,
        action_in: Action | None = None,
        action_out: Action | None = None,
        moved: list[int | str] | None = None,
        num_samples: int = 1,
    ) -> None:
        super().__init__(group, module, action_in, action_out, moved)
        check_at_least(0.0, weight=weight)
        check_at_least(1, num_samples=num_samples)
        self.weight, self.num_samples = weight, num_samples
        self._term: Callable[[], Tensor] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what it cannot add to."""
        if not pl_module.automatic_optimization:
            raise ConfigError(
                f"{type(pl_module).__name__} does its own backward pass (automatic_optimization=False); add "
                "gnet.nn.relaxed.equivariance_penalty to its loss there"
            )

    def watch(self, net: nn.Module, group: Group, action_out: Action | None) -> list[Any]:
        """Remember each training call of the net."""

        def after(net: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            if not net.training:
                return
            if not inputs or not isinstance(inputs[0], Tensor) or not isinstance(output, Tensor):
                raise ConfigError(f"expected a net called with a tensor that returns one, got {type(net).__name__}; give module=")
            x, *others = inputs
            actions = (self.action_in, action_out)

            def term() -> Tensor:
                # Not by net(...), whose hooks would take this call for one of the training step.
                terms = [
                    error_at(net.forward, g, x, others, output, group, *actions, named=named, moved=self.moved)
                    for g in group.sample(self.num_samples, self.generator)
                ]
                return torch.stack(terms).mean()

            self._term = term
            self.remember(net, group, action_out, inputs, named)

        # First of all hooks: it sees what the net itself was given and returned.
        return [net.register_forward_hook(after, prepend=True, with_kwargs=True)]

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Add the penalty to the loss."""
        term, self._term = self._term, None
        if term is None or not self.weight:
            return
        with trainer.precision_plugin.forward_context():
            penalty = self.weight * term()
        pl_module.log("equivariance_penalty", penalty.detach(), on_step=False, on_epoch=True, batch_size=1)
        penalty = penalty / trainer.accumulate_grad_batches
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        loss.add_((penalty if scaler is None else scaler.scale(penalty)).to(loss.dtype))


class GroupAugmentation(AroundNet):
    """Trains the net on moved inputs and targets: in training it is ``g^-1 f(g x)`` with random g, otherwise itself.

    What ``gnet.nn.relaxed.Augmented`` does, for the net inside any LightningModule, which keeps its structure and the names of
    its weights. Equal to moving inputs, targets and masks together for losses that the action leaves as they are. Costs nothing
    but the moving; with several devices each draws its own elements. The error of the net is logged as
    ``equivariance_error_augmented``.

    Args:
        group: a group, a rule that makes one (as ``--model.symmetry``), or None for the module's own.
        kind, p, clusters, per: which elements, see ``gnet.nn.relaxed.Augmentation``.
        module: name of the net inside the LightningModule; None finds it.
        action_in, action_out: None is the group's own; of a GNetModule with one value per graph outputs do not move.
        moved: further arguments that move as outputs do, by place (from 0 on) or name; None moves floating tensors with the items
            and nodes of x, such as targets shown to a recurrent net, and leaves edges and their weights where they are.

    Raises:
        ConfigError: when the fit starts: no net, no group, or elements that the group does not have.

    References:
        Chen, Dobriban and Lee (2020), arXiv:1907.10905.

    Example:
        >>> from gnet.training.symmetry import Coarsened
        >>> GroupAugmentation(Coarsened(4), kind="partial", p=0.1).kind
        'partial'
    """

    measured = "equivariance_error_augmented"

    def __init__(
        self,
        group: Group | Symmetry | None = None,
        kind: Kind = "uniform",
        p: float | None = None,
        clusters: list[int] | None = None,
        per: Per = "sample",
        module: str | None = None,
        action_in: Action | None = None,
        action_out: Action | None = None,
        moved: list[int | str] | None = None,
    ) -> None:
        super().__init__(group, module, action_in, action_out, moved)
        self.kind, self.p, self.clusters, self.per = kind, p, clusters, per

    def watch(self, net: nn.Module, group: Group, action_out: Action | None) -> list[Any]:
        """Move what goes in, and back what comes out."""
        augmentation = Augmentation(group, self.kind, self.p, self.clusters, self.per)
        drawn: list[Tensor] = []

        def before(net: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any] | None:
            if not net.training:
                return None
            if not inputs or not isinstance(inputs[0], Tensor):
                raise ConfigError(f"expected a net that is called with a tensor, got {type(net).__name__}; give module=")
            self.remember(net, group, action_out, inputs, named)
            x, *others = inputs
            drawn[:] = [augmentation.draw(x, self.generator)]

            def out(value: Tensor) -> Tensor:
                return augmentation.move(drawn[0], value, action_out)

            args, kwargs = moved_arguments(out, x, others, named, group, self.action_in, action_out, self.moved)
            return (augmentation.move(drawn[0], x, self.action_in), *args), kwargs

        def after(net: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            return augmentation.move(drawn.pop(), output, action_out, back=True) if net.training and drawn else None

        return [net.register_forward_pre_hook(before, with_kwargs=True), net.register_forward_hook(after)]


class Anneal(Callback):
    """Moves a number inside the layers along a schedule, piecewise linear over the whole fit.

    With ``strength`` of ``ResidualPathway`` or ``Relaxed`` and [0, 1, 0] a net is relaxed and exactly equivariant at the end; with
    ``temperature`` of ``SoftClusters`` and [1.0, 0.01] its clusters harden. After every step the number stands where the steps
    done so far put it, so that the last validation, and the net the fit leaves behind, have the last value; so does a fit that
    stops early.

    Args:
        attribute: a buffer, or a float attribute, of one layer or more.
        schedule: values at equal distances from the first step to the last.

    Raises:
        ConfigError: no numbers; when the fit starts, no layer with that attribute, a fit without an end, or best weights of an
            epoch before the last that would be put back into the net (``keep="best"``).

    A ``ModelCheckpoint(monitor=...)`` may keep the net of an epoch before the last, too, and a warning says so: such a checkpoint
    has the number as it was then, and is not exactly equivariant.

    References:
        Pertigkiozoglou, Chatzipantazis, Trivedi and Daniilidis (2024), arXiv:2408.13242.

    Example:
        >>> anneal = Anneal(schedule=[0.0, 1.0, 0.0])
        >>> [anneal.value(done) for done in (0.0, 0.25, 0.5, 1.0)]
        [0.0, 0.5, 1.0, 0.0]
    """

    def __init__(self, attribute: str = "strength", schedule: Sequence[float] = (0.0, 1.0, 0.0)) -> None:
        try:
            self.schedule = [float(each) for each in schedule]
        except (TypeError, ValueError):
            self.schedule = []
        if not self.schedule or not all(map(math.isfinite, self.schedule)):
            raise ConfigError(f"expected a schedule of numbers such as [0, 1, 0], got {schedule!r}")
        self.attribute = attribute

    @property
    def state_key(self) -> str:
        """Two numbers may be moved at once."""
        return f"Anneal[{self.attribute}]"

    def value(self, done: float) -> float:
        """The number when that share of the fit is done."""
        place = min(max(done, 0.0), 1.0) * (len(self.schedule) - 1)
        before = min(int(place), max(len(self.schedule) - 2, 0))
        after = min(before + 1, len(self.schedule) - 1)
        return self.schedule[before] + (place - before) * (self.schedule[after] - self.schedule[before])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what cannot be annealed, and begin."""
        if not self._holders(pl_module):
            raise ConfigError(
                f"no layer has a number {self.attribute!r}; layer='residual' has strength, layer='soft' has temperature"
            )
        if trainer.estimated_stepping_batches == math.inf:
            raise ConfigError("a schedule needs a fit that ends; set --trainer.max_epochs or --trainer.max_steps")
        kept = [each for each in trainer.callbacks if isinstance(each, BestWeights)]  # type: ignore[attr-defined]
        if kept and pl_module.hparams.get("keep") != "last" and len(set(self.schedule)) > 1:
            raise ConfigError("the best epoch may be one before the schedule ends; keep the last one: --model.keep last")
        monitors = [each.monitor for each in trainer.callbacks if isinstance(each, ModelCheckpoint) and each.monitor]  # type: ignore[attr-defined]
        if monitors and len(set(self.schedule)) > 1:
            warnings.warn(
                f"ModelCheckpoint(monitor={monitors[0]!r}) keeps a net of an epoch that may be before the schedule of "
                f"{self.attribute} ends; take the last one (save_last=True, or trainer.save_checkpoint after the fit)",
                UserWarning,
                stacklevel=2,
            )
        self._set(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Go on."""
        self._set(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Arrive, whether or not all steps were taken."""
        self._fill(pl_module, self.schedule[-1])

    def _set(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._fill(pl_module, self.value(trainer.global_step / max(trainer.estimated_stepping_batches, 1)))

    def _holders(self, pl_module: LightningModule) -> list[nn.Module]:
        name = self.attribute
        return [each for each in pl_module.modules() if name in each._buffers or isinstance(vars(each).get(name), float)]

    @torch.no_grad()
    def _fill(self, pl_module: LightningModule, value: float) -> None:
        for holder in self._holders(pl_module):
            buffer = holder._buffers.get(self.attribute)
            if buffer is None:
                setattr(holder, self.attribute, value)
            else:
                buffer.fill_(value)
