"""The LightningModule: a G-Net trained to reconstruct, regress or classify, with missing entries masked."""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule
from torch import Tensor

from gnet.distributed import num_processes, share_batch_norms, whole_mean
from gnet.errors import CheckpointError, ConfigError
from gnet.groups import NodeGroup
from gnet.nn import GNetGRU
from gnet.nn.make import Layer
from gnet.nn.relaxed.base import asking, penalty
from gnet.randomness import derive_seed, streams
from gnet.training.automatic import Automatic, differ_in_scales
from gnet.training.callbacks import BestWeights, StopOnNonFinite
from gnet.training.checkpoint import RECORD, Domain, Net, build_net, group_from_record, groups_beside, make_record, projected
from gnet.training.classes import Loss, cross_entropy, loss_for
from gnet.training.optimizer import advance, advance_plateaus, make_optimizers
from gnet.training.settings import check_settings, refuse_unread
from gnet.training.symmetry import Symmetry, as_symmetry

if TYPE_CHECKING:
    from torchmetrics import Metric

    from gnet.training.data import Batch

Stage = Literal["train", "val", "test"]


class GNetModule(LightningModule):
    """A net that is equivariant to the group that ``symmetry`` makes of the data's graph, and how it is trained.

    Several processes (``Trainer(strategy="ddp", devices=2)``) train the net that one would: each has its share of every batch,
    and loss, gradient, batch norm and everything logged are those of the whole batch. Dropout draws noise for each share.

    Args:
        symmetry: the rule that turns the graph into a group; ``Automatic`` takes many at once.
        hidden_channels: channels between two layers.
        num_layers: linear maps of the net; 1 is a linear model.
        act: the nonlinearity between layers.
        norm: normalisation of the hidden channels, over batch and nodes, so that it keeps every symmetry.
        dropout: of the hidden channels.
        residual: add the input of a hidden layer to its output where shapes allow; 2 adds it behind every second one.
        bias: one per node orbit, or one shared by all nodes as in the published code.
        parametrization: of the linear maps; "orbits" trains their entries, "reference" the published code's numbers.
        init: the start of the weights; "white" gives outputs variance one.
        architecture: layers one after the other, or a recurrent net that reads and writes steps in time (forecasts only), with
            weights for each node orbit.
        layer: maps of the group; S_N relaxed by weights of each receiver ("relaxed", with symmetry Symmetric) or sender; or a
            layer near the group, see ``GNet``: "residual", "mixed", "low_rank", "chain", "sum", "soft".
        relaxation: options of these layers by name, such as ``{identifiable: true, scale: 0.001}``.
        beside: further rules that make groups of the same graph: of the residual path, of the chain, of the sum, of the recurrent
            net's candidate weights.
        propagate: what the graph does in every layer, see ``GNet``.
        tie_edges: one trained edge weight for each orbit of edges.
        mixing: which clusters send to which, see ``EquivariantLinear``.
        num_bases: make the weights between clusters combinations of so few.
        diffusion_steps: of the recurrent net.
        sampling_decay: of the recurrent net, how slowly it stops being shown the truth; None never shows it.
        released: the recurrent net as in the published code, whose clusters share one weight by mistake.
        loss: averaged over the entries that count (``mask``), of a whole epoch in everything logged; None is the one of the
            task: "mse", or "cross_entropy" where the targets are classes, which takes no other.
        loss_units: of the model, or of the data (squared for "mse").
        lr: learning rate of Adam, unless ``--optimizer`` says otherwise.
        weight_decay: of Adam.
        lr_interval: whether the schedule of ``--lr_scheduler`` goes on by epochs or by optimiser steps.
        project_onto: train a one-layer net with ``symmetry``, then replace it by its average over this group: the projected
            estimator of theory.
        keep: after a fit, the weights of the epoch with the lowest validation loss, or those of the last one.
        predict_units: what ``trainer.predict`` returns: the data's own units (of classes probabilities), as files of predictions
            have them, or the model's. No part of a checkpoint.
        seed: of the initialisation and of dropout; the command line sets it from ``--seed_everything``.

    Raises:
        ConfigError: ``project_onto`` with more than one layer, a negative learning rate, or a setting that the net does not read.
        CheckpointError: weights of another graph are loaded.

    Example:
        >>> from gnet.training.symmetry import Symmetric
        >>> GNetModule(Symmetric(), num_layers=1).hparams["symmetry"]
        {'class_path': 'gnet.training.symmetry.Symmetric', 'init_args': {}}
    """

    net: Net | None
    group: NodeGroup | None

    def __init__(
        self,
        symmetry: Symmetry,
        hidden_channels: int = 28,
        num_layers: int = 2,
        act: str | None = "relu",
        norm: Literal["batch", "layer"] | None = None,
        dropout: float = 0.0,
        residual: bool | int = False,
        bias: Literal["orbit", "shared"] | None = "orbit",
        parametrization: Literal["canonical", "orbits", "reference"] = "canonical",
        init: Literal["white", "correlated", "reference", "fan_in"] = "white",
        architecture: Literal["gnet", "gru"] = "gnet",
        layer: Layer = "equivariant",
        relaxation: dict[str, Any] | None = None,
        beside: list[Symmetry] | None = None,
        propagate: Literal["none", "graph", "edge_weights", "pointwise", "self"] = "none",
        tie_edges: bool = False,
        mixing: Literal["full", "coarse_edges", "none"] = "full",
        num_bases: int | None = None,
        diffusion_steps: int = 1,
        sampling_decay: float | None = 2000.0,
        released: bool = False,
        loss: Loss | None = None,
        loss_units: Literal["model", "data"] = "model",
        lr: float = 1e-2,
        weight_decay: float = 0.0,
        lr_interval: Literal["epoch", "step"] = "epoch",
        project_onto: Symmetry | None = None,
        keep: Literal["best", "last"] = "best",
        predict_units: Literal["data", "model"] = "data",
        seed: int = 0,
    ) -> None:
        super().__init__()
        settings = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self.symmetry = as_symmetry(symmetry)
        self.project_onto = None if project_onto is None else as_symmetry(project_onto)
        self.beside = [as_symmetry(each) for each in beside or ()]
        if isinstance(self.symmetry, Automatic):
            settings |= self.symmetry.settings(settings)
        check_settings(settings, len(self.beside), isinstance(self.symmetry, Automatic))
        self.check_read(settings)
        self.predict_units: str = settings.pop("predict_units")
        settings["symmetry"] = self.symmetry.as_config()
        settings["project_onto"] = None if self.project_onto is None else self.project_onto.as_config()
        settings["beside"] = [each.as_config() for each in self.beside] or None
        self.save_hyperparameters(settings)
        self.optimizer_config: dict[str, Any] | None = None
        self.scheduler_config: dict[str, Any] | None = None
        self.data_config: dict[str, Any] | None = None  # what defines the task, so that a resumed fit goes on with the same
        self.log_train_loss = True
        self.domain: Domain | None = None
        self.net, self.group = None, None
        self._groups_beside: tuple[NodeGroup, ...] = ()
        self._asks = True  # for a penalty
        self._target_group: NodeGroup | None = None  # of the projection still to be done
        self._scales_of_data = False  # the number of samples says how large
        self._metrics: dict[str, Metric] = {}
        self._data_domain: Domain | None = None  # where its units are not those of the checkpoint

    def check_read(self, settings: Mapping[str, Any], domain: Domain | None = None) -> None:
        """Refuse settings that this kind of net does not read, or does not for this domain."""
        defaults = {name: each.default for name, each in inspect.signature(GNetModule).parameters.items()}
        known: dict[str, Any] = {} if domain is None else {"target": domain.target, "of_classes": domain.classes is not None}
        refuse_unread(settings, defaults, **known)

    def configure_callbacks(self) -> list[Callback]:
        """What holds under any trainer: NaN stops it and, with ``keep="best"``, a fit ends with the best weights."""
        wanted: list[type[Callback]] = [StopOnNonFinite, *([BestWeights] if self.hparams["keep"] == "best" else [])]
        there = self.trainer.callbacks  # type: ignore[attr-defined]
        return [kind() for kind in wanted if not any(isinstance(each, kind) for each in there)]

    def configure_model(self) -> None:
        """Build the net from the data module's graph; does nothing when a net exists or no trainer is attached."""
        trainer = self._trainer
        if self.net is not None or trainer is None:
            return
        datamodule = getattr(trainer, "datamodule", None)
        if datamodule is None:
            raise ConfigError("GNetModule takes its graph from a data module: trainer.fit(module, datamodule=...)")
        # Lightning asks for the net in the trainer's precision; its weights are drawn in float32 whatever that is.
        domain, wanted = Domain.of(datamodule), torch.get_default_dtype()
        if getattr(datamodule, "trained", None) is not None:  # before a rule for another graph fails on this one
            datamodule.trained.check_same(domain)
        loss_for(self.hparams["loss"], domain.classes)
        torch.set_default_dtype(torch.float32)
        try:
            self.build(domain)
        finally:
            torch.set_default_dtype(wanted)
        self.to(wanted)

    def build(self, domain: Domain) -> None:
        """Make the group and the net for a domain, with weights from the ``init`` stream of the seed."""
        self.check_read(dict(self.hparams), domain)
        self.domain = domain
        self.group = self.symmetry(domain.graph, domain.grid_shape)
        self._target_group = None if self.project_onto is None else self.project_onto(domain.graph, domain.grid_shape)
        self._groups_beside = self._make_groups_beside(domain)
        if isinstance(self.symmetry, Automatic) and self.hparams["layer"] == "sum":
            groups, given = (self.group, *self._groups_beside), self.hparams["relaxation"]
            self.hparams["relaxation"] = self.symmetry.relaxation(given, domain.grid_shape, groups, domain.num_samples)
            self._scales_of_data = (given or {}).get("scales") == "samples"
        generator = streams(self.hparams["seed"])["init"]
        self.net = build_net(domain, self.group, dict(self.hparams), generator, beside=self._groups_beside)

    def _make_groups_beside(self, domain: Domain) -> tuple[NodeGroup, ...]:
        if isinstance(self.symmetry, Automatic):
            return tuple(self.symmetry.groups(domain.graph, domain.grid_shape)[1:])
        return tuple(rule(domain.graph, domain.grid_shape) for rule in self.beside)

    def project(self) -> None:
        """Replace the trained linear net by its Reynolds average, if ``project_onto`` asks for it; a second call does nothing."""
        if self._target_group is None or self.net is None or self.domain is None:
            return
        net = projected(self.net, self.domain, self._target_group, dict(self.hparams))
        self.net, self.group, self._target_group = net.to(self.device), self._target_group, None

    def forward(self, x: Tensor) -> Tensor:
        """Model units to model units."""
        if self.net is None:
            raise ConfigError("the net is built when a trainer is attached: fit first, load a checkpoint, or call build(domain)")
        return self.net(x)

    @property
    def loss(self) -> str:
        """The name of the loss: the one asked for, or the task's."""
        return loss_for(self.hparams["loss"], None if self.domain is None else self.domain.classes)

    def errors(self, output: Tensor, batch: "Batch") -> Tensor:
        """Loss of every entry, zero where the mask does not count it; of classes the terms whose sum is that of an entry.

        Shapes:
            output: like ``batch.y``    returns: the same
        """
        # In float32 at least, or sums over thousands of entries would lose their digits.
        output = output.float() if output.dtype in (torch.bfloat16, torch.float16) else output
        if self.loss == "cross_entropy":
            return cross_entropy(output, batch)
        difference = output - batch.y
        if self.hparams["loss_units"] == "data" and self.domain is not None:
            difference = difference * self.domain.scaling.y.std.to(difference)
        each = difference.square() if self.loss == "mse" else difference.abs()
        return each.masked_fill(~batch.mask, 0.0)

    def counted(self, mask: Tensor) -> int:
        """How many entries count: an entry is a number, or a target with all its classes."""
        return int((mask[..., 0] if self.loss == "cross_entropy" else mask).sum())

    def _step(self, batch: "Batch", stage: Stage) -> tuple[Tensor, Tensor]:
        if stage == "train" and isinstance(self.net, GNetGRU):
            output = self.net(batch.x, batch.y)  # which may be shown the truth
        else:
            output = self(batch.x)
        total = self.errors(output, batch).sum()
        loss, count = whole_mean(total, self.counted(batch.mask), gradients_are_averaged=True)
        if stage == "train" and not self.log_train_loss:
            return loss, output
        # Weighted by the entries that count, so that the mean over an epoch is the mean over its entries, ragged batch or not.
        self._log_mean(f"{stage}_loss", loss, count, prog_bar=stage != "test")
        return loss, output

    def _log_mean(self, name: str, value: Tensor, count: int, prog_bar: bool = False) -> None:
        """Log a mean over ``count`` entries of all processes, the same in each, so that Lightning's average changes nothing."""
        many = num_processes() > 1
        self.log(name, value.detach(), on_step=False, on_epoch=True, prog_bar=prog_bar, batch_size=count, sync_dist=many)

    def on_train_start(self) -> None:
        """Look once whether any part of the net asks for a penalty; several processes share the moments of batch norms."""
        self._asks = bool(asking(self))
        if num_processes() > 1:
            share_batch_norms(self)

    def on_train_epoch_start(self) -> None:
        """Seed dropout and coins from (seed, epoch), so that a resumed run draws the noise of an undisturbed one."""
        draws = self.hparams["dropout"] > 0 or isinstance(self.net, GNetGRU)
        if draws:  # seeding takes 1 ms: torch records a stack trace for devices not yet started
            # Dropout of each share is its own; the coins of a recurrent net fall alike for all.
            share = (self.global_rank,) if self.hparams["dropout"] > 0 and self.global_rank else ()
            torch.manual_seed(derive_seed(self.hparams["seed"], "noise", self.current_epoch, *share))

    def transfer_batch_to_device(self, batch: "Batch", device: torch.device, dataloader_idx: int) -> "Batch":
        """Move the three tensors; Lightning's general way walks through any collection and costs more than a small step."""
        return type(batch)(*(part.to(device) for part in batch))

    def on_after_batch_transfer(self, batch: "Batch", dataloader_idx: int) -> "Batch":
        """Data in other units than the checkpoint's, of a data module that goes on in its own, are brought to the checkpoint's.

        A missing input, 0 in its own units, does not become 0 here; ``in_units_of`` is what keeps it.
        """
        if self._data_domain is None or self.domain is None:
            return batch
        here, there = self._data_domain.scaling.to(batch.x.device), self.domain.scaling.to(batch.x.device)
        return batch._replace(x=there.x(here.x.inverse(batch.x)), y=there.y(here.y.inverse(batch.y)))

    def training_step(self, batch: "Batch", batch_idx: int) -> dict[str, Tensor]:
        """Masked mean of the loss over the batch, and what parts of the net ask to be added (logged as ``train_penalty``)."""
        loss, output = self._step(batch, "train")
        asked = penalty(self) if self._asks else loss.new_zeros(())
        if asked.requires_grad:
            self._log_mean("train_penalty", *whole_mean(asked.detach() * len(batch.x), len(batch.x)))
            loss = loss + asked
        return {"loss": loss, "output": output.detach()}

    def validation_step(self, batch: "Batch", batch_idx: int) -> dict[str, Tensor]:
        """Log ``val_loss``."""
        loss, output = self._step(batch, "val")
        return {"loss": loss, "output": output}

    def test_step(self, batch: "Batch", batch_idx: int) -> dict[str, Tensor]:
        """Log ``test_loss``, the data's metrics and, of numbers, the mean absolute error of each channel, in physical units."""
        loss, output = self._step(batch, "test")
        if self.domain is not None:
            units = self.domain.scaling.y.to(output.device)
            for metric in self._metrics.values():  # float64 sums
                metric.update(self.domain.in_units(output).cpu(), units.inverse(batch.y).cpu(), batch.mask.cpu())
        if self.domain is not None and self.domain.classes is None:
            units = self.domain.scaling.y.to(output.device)
            gaps = (units.inverse(output) - units.inverse(batch.y)).abs().masked_fill(~batch.mask, 0.0)
            counts = batch.mask.flatten(0, -2).sum(0).tolist()
            for channel, (total, count) in enumerate(zip(gaps.flatten(0, -2).sum(0), counts, strict=True)):
                name = "test_mae_units" if len(counts) == 1 else f"test_mae_units_{channel}"
                self._log_mean(name, *whole_mean(total, count))
        return {"loss": loss, "output": output}

    def on_test_epoch_end(self) -> None:
        """Log the data's metrics of the whole split."""
        many = num_processes() > 1
        # Sums of several processes travel by the backend of the device, which may be NCCL.
        metrics = {name: metric.to(self.device) if many else metric for name, metric in self._metrics.items()}
        self.log_dict({f"test_{name}": metric.compute() for name, metric in metrics.items()}, sync_dist=many)

    def predict_step(self, batch: "Batch", batch_idx: int) -> Tensor:
        """The output in ``predict_units``."""
        output = self(batch.x)
        return output if self.predict_units == "model" or self.domain is None else self.domain.in_units(output)

    def on_validation_start(self) -> None:
        """As ``on_test_start``, but a net that is being trained is not projected yet."""
        if self.trainer.state.fn == "validate":
            self.project()

    def on_train_end(self) -> None:
        """The projected estimator is projected after training."""
        self.project()

    def on_test_start(self) -> None:
        """A checkpoint written during training holds the net before its projection; the metrics start anew."""
        self.project()
        datamodule = getattr(self._trainer, "datamodule", None)
        self._metrics = {} if datamodule is None else datamodule.metrics()

    def on_predict_start(self) -> None:
        """A checkpoint written during training holds the net before its projection."""
        self.project()

    def configure_optimizers(self) -> Any:
        """Adam, or what ``--optimizer`` and ``--lr_scheduler`` named."""
        return make_optimizers(self)

    def on_train_epoch_end(self) -> None:
        """Schedules that watch a loss see that of this epoch before its checkpoint is written."""
        advance_plateaus(self.trainer)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Go on with a schedule."""
        advance(scheduler, metric)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the graph, the group and the units, as tensors and primitives."""
        if self.domain is not None and self.group is not None:
            checkpoint[RECORD] = make_record(self.domain, self.group, dict(self.hparams), self._target_group, self._groups_beside)
            configs = (self.optimizer_config, self.scheduler_config, self.data_config)
            checkpoint[RECORD]["training"] = dict(zip(("optimizer", "lr_scheduler", "data"), configs, strict=True))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the net that the checkpoint was written from; its clusters win over those the rule would make today."""
        record = checkpoint.get(RECORD)
        if record is None:
            raise CheckpointError(f"a checkpoint, but not one of gnet (it has no key {RECORD!r})")
        there = Domain.from_record(record["domain"])
        if self.domain is not None:
            there.check_same(self.domain)
            datamodule = getattr(self._trainer, "datamodule", None)
            if datamodule is not None and not _same_units(there, self.domain):
                datamodule.in_units_of(there, only_predicts=datamodule.only_predicts)
                self.domain = Domain.of(datamodule)
            self._data_domain = None if _same_units(there, self.domain) else self.domain
        group, beside = group_from_record(record["group"]), groups_beside(record)
        kept = record["settings"].get("relaxation")
        if rescaled := self._scales_of_data and differ_in_scales(self.hparams["relaxation"], kept):  # other data, its own scales
            self.hparams["relaxation"] = dict(kept)
        settings = {
            name: (value, self.hparams[name]) for name, value in record["settings"].items() if value != self.hparams[name]
        }
        if settings:
            differ = ", ".join(f"{name}={mine!r} there and {given!r} here" for name, (mine, given) in settings.items())
            raise CheckpointError(f"the checkpoint holds another net: {differ}; leave these arguments out")
        if self.net is None or group != self.group or beside != self._groups_beside or self.domain is None or rescaled:
            dtype = next((parameter.dtype for parameter in self.parameters()), torch.float32)
            self.net = build_net(there, group, record["settings"], beside=beside).to(dtype)
        target = record["project_onto"]
        self.domain, self.group, self._groups_beside = there, group, beside
        self._target_group = None if target is None else group_from_record(target)


def _same_units(one: Domain, other: Domain) -> bool:
    kept, here = one.scaling.state_dict(), other.scaling.state_dict()
    return all(torch.equal(kept[key].cpu(), here[key].cpu()) for key in kept)
