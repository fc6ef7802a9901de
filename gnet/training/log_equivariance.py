"""Logs of the equivariance error of a net and of its layers while it trains."""

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from gnet.distributed import gathered, num_processes
from gnet.errors import ConfigError
from gnet.groups import TRIVIAL_ACTION, Action, Group
from gnet.measures import equivariance_error, layer_equivariance_errors
from gnet.measures.layers import checked_layers
from gnet.randomness import derive_seed
from gnet.training.symmetry import Symmetry

if TYPE_CHECKING:
    from gnet.training.module import GNetModule


class LogEquivariance(Callback):
    """Logs how far the net is from commuting with its own group, and with a reference group if one is given.

    The error is relative: root mean square of f(g x) - g f(x) over that of f(x), in float64, on the first batch of validation
    (or test; before any, or without a validation split, the first of training), for the same random elements every time. One
    measurement copies the net and runs it ``num_samples`` + 1 times on that batch for each group; with ``layers`` each layer runs
    as often once more, or has its dense map made where that is small.

    What is logged, by name: ``equivariance_error``, ``reference_equivariance_error``, and with ``layers`` one
    ``equivariance_error/NAME`` for each layer (``reference_equivariance_error/NAME``), with NAME as in ``net.named_modules()``.
    ``read_equivariance_errors`` reads them back from ``metrics.csv``.

    A ``GNetModule`` knows its net, its group and what a batch is. Any other ``LightningModule`` needs ``group``, and may need
    ``net``, ``inputs`` and ``output``.

    Args:
        every: log every this many epochs, at the end of validation, or of training where an epoch has none; 0 only at the end of
            the fit.
        reference: a second group to measure against, logged as ``reference_equivariance_error``; of a ``GNetModule`` also a rule
            that makes one of its graph.
        num_samples: group elements drawn.
        every_steps: log every this many optimiser steps too; 0 never. Goes straight to the loggers, however often they log.
        layers: log each layer too, on the inputs that reach it; of groups of other things than nodes those that state their
            ``action_in`` and ``action_out``. Or names of layers with their actions, ``{"net.0": (action_in, action_out)}``.
        group: to measure against; None is the module's own.
        net: name of what is measured in the ``LightningModule``, as in ``named_modules()``; None is the net of a ``GNetModule``,
            and of any other the module itself, by its ``forward``.
        inputs: what of a batch the net takes; None is ``batch.x``, the first of a tuple or list, or the batch itself.
        action_in, action_out: of the group on what the net takes and returns; None is the group's own.
        output: "invariant" where the group does not act on what the net returns; a ``GNetModule`` knows.

    Raises:
        ConfigError: a negative interval, fewer than two samples; when the fit begins, no group, or no such net or layer.
        GroupError: when the fit begins, layers of a net that states no actions, and a group that does not act on nodes.

    References:
        ``gnet.measures.equivariance_error`` and ``gnet.measures.layer_equivariance_errors``.

    Example:
        >>> LogEquivariance(every=1, layers=True).every
        1
        >>> LogEquivariance(every_steps=10, group=SymmetricGroup(5), net="model").group
        ClusterGroup(S5, order 120)
    """

    def __init__(
        self,
        every: int = 0,
        reference: Symmetry | Group | None = None,
        num_samples: int = 8,
        every_steps: int = 0,
        layers: bool | Mapping[str, Any] = False,
        group: Group | None = None,
        net: str | None = None,
        inputs: Callable[[Any], Tensor] | None = None,
        output: Literal["equivariant", "invariant"] = "equivariant",
        action_in: Action | None = None,
        action_out: Action | None = None,
    ) -> None:
        if every < 0 or num_samples < 2:
            raise ConfigError(f"expected every >= 0 and num_samples >= 2, got {every} and {num_samples}")
        if every_steps < 0:
            raise ConfigError(f"expected every_steps >= 0, got {every_steps}")
        self.every, self.reference, self.num_samples = every, reference, num_samples
        self.every_steps, self.layers = every_steps, layers
        self.group, self.net, self.inputs, self.output = group, net, inputs, output
        self.action_in, self.action_out = action_in, action_out
        self._x: Tensor | None = None
        self._last_step = 0
        self._validated = False  # in this epoch

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a module that says too little of itself, before any training."""
        if _as_gnet(pl_module) is not None:
            return
        kind = type(pl_module).__name__
        if self.group is None:
            raise ConfigError(
                f"LogEquivariance does not know the group of a {kind}: give group=, and where needed net='name of the "
                "module' and inputs=function of a batch"
            )
        if isinstance(self.reference, Symmetry):
            raise ConfigError(f"a {kind} has no graph of which a rule could make the reference; give a group")
        net = self._net_of(pl_module)
        for group in (self.group, self.reference):
            if self.layers and net is not None and isinstance(group, Group):
                checked_layers(net, group, self._named_layers)

    @property
    def _named_layers(self) -> Mapping[str, Any] | None:
        """Those that were given by name; None finds them."""
        return self.layers if isinstance(self.layers, Mapping) else None

    def _net_of(self, module: LightningModule) -> nn.Module | None:
        """The module that is measured; None where a ``GNetModule`` has none yet.

        Raises:
            ConfigError: there is none of that name, or nothing that can be called.
        """
        names = [name for name, _ in module.named_children()]
        if self.net is not None:
            try:
                return module.get_submodule(self.net)
            except AttributeError:
                raise ConfigError(f"the module has no {self.net!r} to measure, expected one of {names}") from None
        own = _as_gnet(module)
        if own is not None:
            return own.net
        if type(module).forward is LightningModule.forward:
            raise ConfigError(f"a {type(module).__name__} without forward cannot be called; give net= one of {names}")
        return module

    def _groups_of(self, module: LightningModule) -> dict[str, Group]:
        """Those to measure against, by the name that is logged; none where a ``GNetModule`` has no graph yet."""
        own, groups = _as_gnet(module), {"equivariance_error": self.group, "reference_equivariance_error": self.reference}
        if own is not None:
            if own.domain is None:
                return {}
            groups["equivariance_error"] = own.group if self.group is None else self.group
            if isinstance(self.reference, Symmetry):
                groups["reference_equivariance_error"] = self.reference(own.domain.graph, own.domain.grid_shape)
        return {name: group for name, group in groups.items() if isinstance(group, Group)}

    @torch.no_grad()
    def measure(self, module: LightningModule) -> dict[str, float]:
        """The relative errors, by the name they are logged under; empty before any batch was seen."""
        net, groups = self._net_of(module), self._groups_of(module)
        if self._x is None or net is None or not groups:
            return {}
        net = copy.deepcopy(net).double().eval()
        x = self._x.to(module.device)
        x = x.double() if x.is_floating_point() else x
        own = _as_gnet(module)
        is_invariant = self.output == "invariant" or (own is not None and own.domain is not None and own.domain.target == "graph")
        actions = self.action_in, TRIVIAL_ACTION if is_invariant else self.action_out
        found = {}
        for name, group in groups.items():
            seed = derive_seed(module.hparams.get("seed", 0), "noise", "equivariance")
            generator = torch.Generator().manual_seed(seed)
            error = equivariance_error(net, x, group, *actions, num_samples=self.num_samples, generator=generator)
            found[name] = float(error.relative)
            if self.layers:
                parts = layer_equivariance_errors(
                    net, x, group, layers=self._named_layers, num_samples=self.num_samples, generator=generator
                )
                # A net of one layer is that layer, and has no name in itself.
                found |= {f"{name}/{part.name}": part.error.relative for part in parts if part.name}
        return found

    def _see(self, batch: Any, batch_idx: int) -> None:
        """Remember what the net takes of the first batch.

        Raises:
            ConfigError: it is no tensor.
        """
        if batch_idx:
            return
        if self.inputs is not None:
            x = self.inputs(batch)
        else:
            x = batch.x if hasattr(batch, "x") else batch[0] if isinstance(batch, tuple | list) else batch
        if not isinstance(x, Tensor):
            raise ConfigError(
                f"expected a tensor of inputs in the batch, got {type(x).__name__} of a {type(batch).__name__}; "
                "give inputs=lambda batch: ..."
            )
        self._x = gathered(x.detach())  # the batch of all processes

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing was validated in this epoch yet."""
        self._validated = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log every ``every`` epochs, where validation did not."""
        if self._is_due(trainer) and not self._validated:
            self._log(pl_module)

    def _is_due(self, trainer: Trainer) -> bool:
        return self.every > 0 and (trainer.current_epoch + 1) % self.every == 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember the first batch, as long as there is none of validation."""
        if self._x is None:
            self._see(batch, 0)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log every ``every_steps`` optimiser steps; several batches may make one step."""
        step = trainer.global_step
        if self.every_steps and step != self._last_step and step % self.every_steps == 0:
            self._last_step = step
            self._write(trainer, pl_module)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Remember the first batch."""
        self._see(batch, batch_idx)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Remember the first batch."""
        self._see(batch, batch_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log every ``every`` epochs of a fit, and always in ``validate``."""
        if trainer.sanity_checking:
            return
        self._validated = True
        if self._is_due(trainer) or trainer.state.fn != "fit":
            self._log(pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log beside the test loss."""
        self._log(pl_module)

    def _log(self, pl_module: LightningModule) -> None:
        # Several processes measure the same on the same batch; Lightning averages what is equal.
        pl_module.log_dict(self.measure(pl_module), sync_dist=num_processes() > 1)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the net that the fit leaves behind."""
        self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = self.measure(pl_module) if trainer.loggers else {}
        for logger in trainer.loggers:
            if found:
                logger.log_metrics(found, step=trainer.global_step)
                logger.save()


def _as_gnet(module: LightningModule) -> "GNetModule | None":
    """The module, if it is one of ours, which knows its graph and group."""
    from gnet.training.module import GNetModule  # it imports this file

    return module if isinstance(module, GNetModule) else None
