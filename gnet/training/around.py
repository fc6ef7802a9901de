"""The base of callbacks around the net inside any LightningModule."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from gnet.errors import ConfigError
from gnet.groups import TRIVIAL_ACTION, Action, Group
from gnet.groups.laws import require_sampler
from gnet.nn.modes import evaluating
from gnet.nn.relaxed.moving import check_moved, measured_error
from gnet.randomness import derive_seed
from gnet.training.symmetry import Symmetry

HOMES = ("net", "model")
"""Where a LightningModule usually keeps its net."""
MEASURED = 8
"""Random elements by which the equivariance error is measured after each epoch."""


class AroundNet(Callback):
    """Base of callbacks that hook onto the net inside a LightningModule while it is trained, and let go of it afterwards.

    The net is the submodule called ``module``; with None that of ``HOMES``, or the only child with parameters. With ``group``
    None it is the module's own (``pl_module.group``); a rule such as ``Coarsened(16)`` is applied to the graph of a
    ``GNetModule``. Random elements come from (seed, epoch, device), so that a resumed fit draws those of an undisturbed one, and
    several devices draw their own.

    After each epoch the relative equivariance error of the net, in evaluation, on the last batch, is logged as ``measured``: what
    training asks for at the elements it met is not what the net has at others.

    Raises:
        ConfigError: when the fit starts: no such net, or no group.
        NotCompactError: then, a group without a uniform law, for which no law was chosen (``group.sampled_by``).
    """

    measured: ClassVar[str] = "equivariance_error_measured"

    def __init__(
        self,
        group: Group | Symmetry | None,
        module: str | None,
        action_in: Action | None,
        action_out: Action | None,
        moved: list[int | str] | None = None,
    ) -> None:
        if group is not None and not isinstance(group, Group | Symmetry):
            raise ConfigError(f"expected a group or a rule that makes one, got {type(group).__name__}; write Coarsened(16)")
        check_moved(moved)
        self.group, self.module, self.action_in, self.action_out, self.moved = group, module, action_in, action_out, moved
        self.generator = torch.Generator()
        self._handles: list[Any] = []
        self._measure: Callable[[], float] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find net and group, and hook on."""
        net, group = net_inside(pl_module, self.module), self._group(pl_module)
        domain, action_out = getattr(pl_module, "domain", None), self.action_out
        if action_out is None and getattr(domain, "target", "node") == "graph":
            action_out = TRIVIAL_ACTION  # of this module; another one may have values at nodes
        self._release()
        self._handles = self.watch(net, group, action_out)

    def watch(self, net: nn.Module, group: Group, action_out: Action | None) -> list[Any]:
        """Register hooks and return their handles. They are functions, not methods, so that a net can be copied with them."""
        raise NotImplementedError

    def _group(self, pl_module: LightningModule) -> Group:
        group = getattr(pl_module, "group", None) if self.group is None else self.group
        if isinstance(group, Symmetry):
            domain = getattr(pl_module, "domain", None)
            if domain is None:
                raise ConfigError(f"{group} makes a group of a GNetModule's graph, and {type(pl_module).__name__} has none")
            group = group(domain.graph, domain.grid_shape)
        if not isinstance(group, Group):
            raise ConfigError(f"{type(pl_module).__name__} has no group of its own; give {type(self).__name__}(group)")
        require_sampler(group, type(self).__name__)
        return group

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed the random elements."""
        seed = int(pl_module.hparams.get("seed", 0))
        names = ("noise", type(self).__name__, trainer.current_epoch, trainer.global_rank)
        self.generator.manual_seed(derive_seed(seed, *names))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log how far the net itself is from the group, on the last batch of the epoch."""
        measure, self._measure = self._measure, None
        if measure is not None:
            with trainer.precision_plugin.forward_context():
                error = measure()
            pl_module.log(self.measured, error, on_step=False, on_epoch=True, batch_size=1, sync_dist=trainer.world_size > 1)

    def remember(self, net: nn.Module, group: Group, action_out: Action | None, inputs: tuple[Any, ...], named: Any) -> None:
        """Keep what the net was called with, as it was given, for the measurement at the end of the epoch."""
        x, *others = inputs

        def measure() -> float:
            with evaluating(net):
                return measured_error(
                    net.forward,
                    x,
                    others,
                    group,
                    self.action_in,
                    action_out,
                    named=named,
                    moved=self.moved,
                    num_samples=MEASURED,
                    generator=self.generator,
                )

        self._measure = measure

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let go of the net."""
        self._release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let go of the net."""
        self._release()

    def _release(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._measure = [], None


def net_inside(pl_module: LightningModule, name: str | None) -> nn.Module:
    """The submodule of that name; with None the one called as in ``HOMES``, or the only child with parameters.

    Raises:
        ConfigError: there is none, or more than one.
    """
    named = dict(pl_module.named_modules())
    if name is not None:
        if name not in named:
            raise ConfigError(f"{type(pl_module).__name__} has no submodule {name!r}; it has {', '.join(filter(None, named))}")
        return named[name]
    usual = [named[home] for home in HOMES if home in named]
    children = [child for child in pl_module.children() if next(child.parameters(), None) is not None]
    if not usual and len(children) != 1:
        known = ", ".join(child for child, _ in pl_module.named_children()) or "none"
        raise ConfigError(f"{type(pl_module).__name__} has several parts that may be its net ({known}); name one: module=...")
    return usual[0] if usual else children[0]
