"""Which trials can be trained in one stack, and why the others cannot."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from gnet.errors import ConfigError
from gnet.training.automatic import Automatic
from gnet.training.callbacks import BestWeights, StopOnNonFinite
from gnet.training.datamodule import GraphDataModule
from gnet.training.module import GNetModule
from gnet.training.symmetry import as_symmetry
from gnet.training.trial import RECORDERS, instantiate

ELEMENTWISE = ("Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "ASGD", "Rprop")
"""Optimisers of ``torch.optim`` that move each number by itself, so that a stack of weights moves as its members do alone."""
WITHOUT_EFFECT = (
    *("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary", "enable_autolog_hparams"),
    *("num_sanity_val_steps", "default_root_dir", "log_every_n_steps", "model_registry", "inference_mode"),
    *("accelerator", "devices", "strategy", "num_nodes", "use_distributed_sampler", "sync_batchnorm", "deterministic"),
    *("benchmark", "limit_test_batches", "limit_predict_batches"),
)
"""Settings of the trainer that say where and how loudly a trial runs, or that a trial of a study does not read."""
READ = ("max_epochs", "gradient_clip_val", "gradient_clip_algorithm", "callbacks")
SPELLINGS: dict[str, tuple[Any, ...]] = {  # of the same type: val_check_interval=1 is every batch, and 1.0 every epoch
    "precision": (None, 32, "32", "32-true"),
    "limit_train_batches": (None, 1.0),
    "limit_val_batches": (None, 1.0),
    "val_check_interval": (None, 1.0),
}
"""Other ways to say the default."""
BATCHES = ("train_dataloader", "val_dataloader", "loader", "on_before_batch_transfer", "on_after_batch_transfer")


def why_alone(config: Mapping[str, Any], kind: type[GNetModule] = GNetModule) -> str | None:
    """Why a trial of this config is trained by itself; None if it may enter a stack.

    Raises:
        ConfigError: a class that cannot be imported.

    Example:
        >>> config = {"model": {"symmetry": {"class_path": "gnet.training.Symmetric"}, "dropout": 0.5}, "data": {}}
        >>> why_alone(config)
        'dropout draws noise of its own for each trial'
        >>> why_alone({**config, "model": {**config["model"], "dropout": 0.0}})
    """
    reasons = (_of_class(kind), _of_model(config["model"]), _of_trainer(config.get("trainer") or {}), _of_optimiser(config))
    return next((reason for reason in reasons if reason is not None), None)


def _of_class(kind: type[GNetModule]) -> str | None:
    hooks = {name for name, _ in inspect.getmembers(LightningModule, callable) if not name.startswith("_")}
    for each in kind.__mro__[: kind.__mro__.index(GNetModule)]:
        if own := sorted((hooks | {"errors", "counted", "_step"}) & set(vars(each)) - {"build"}):
            return f"{each.__name__} has a {own[0]} of its own"
    return None


def _of_model(model: Mapping[str, Any]) -> str | None:
    if model.get("dropout"):
        return "dropout draws noise of its own for each trial"
    if model.get("norm") == "batch":
        return "batch norm keeps running moments, which a stack would mix up"
    if model.get("architecture") == "gru":
        return "a recurrent net is shown the truth by the toss of a coin"
    if isinstance(as_symmetry(model["symmetry"]), Automatic):
        return "Automatic makes the parts of its net from the data"
    return None


def _of_trainer(trainer: Mapping[str, Any]) -> str | None:
    defaults = {name: each.default for name, each in inspect.signature(Trainer.__init__).parameters.items()}
    for name, value in trainer.items():
        usual = (*SPELLINGS.get(name, ()), defaults.get(name))
        if name in (*WITHOUT_EFFECT, *READ) or any(type(value) is type(each) and value == each for each in usual):
            continue
        return f"trainer.{name}={value!r} is left to Lightning"
    if (trainer.get("max_epochs") or 1) < 0:
        return "trainer.max_epochs=-1 has no end"
    given = instantiate(trainer.get("callbacks")) or []
    for each in given if isinstance(given, list) else [given]:
        if isinstance(each, RECORDERS) or type(each) is StopOnNonFinite:
            continue
        is_stop = type(each) is EarlyStopping and each.monitor == "val_loss"
        if not is_stop and not (type(each) is BestWeights and each.monitor == "val_loss"):
            return f"the callback {type(each).__name__} looks into a trial while it is trained"
    return None


def _of_optimiser(config: Mapping[str, Any]) -> str | None:
    optimizer, schedule = ((config.get(key) or {}).get("class_path", "") for key in ("optimizer", "lr_scheduler"))
    if optimizer and not (optimizer.startswith("torch.optim.") and optimizer.rpartition(".")[2] in ELEMENTWISE):
        return f"the optimiser {optimizer.rpartition('.')[2]} does not move each weight by itself"
    if schedule.rpartition(".")[2] == ReduceLROnPlateau.__name__:
        return "ReduceLROnPlateau gives each trial a learning rate of its own"
    return None


def why_own_batches(datamodule: GraphDataModule) -> str | None:
    """Why the batches of a data module cannot be read for a whole stack; None if they can.

    Example:
        >>> from gnet.training.data import Digits
        >>> why_own_batches(Digits())
    """
    kind = type(datamodule)
    own = next((name for name in BATCHES if getattr(kind, name) is not getattr(GraphDataModule, name)), None)
    return None if own is None else f"{kind.__name__} has a {own} of its own"


def stopper_of(trainer: Trainer) -> EarlyStopping | None:
    """The callback that ends a trial early, if there is one.

    Raises:
        ConfigError: there are two.
    """
    found = [each for each in trainer.callbacks if isinstance(each, EarlyStopping)]  # type: ignore[attr-defined]
    if len(found) > 1:
        raise ConfigError(f"expected one EarlyStopping, got {len(found)}")
    return found[0] if found else None


def same_computation(one: GNetModule, other: GNetModule, datamodules: Sequence[GraphDataModule]) -> bool:
    """Whether two nets differ in the numbers they hold and in nothing else, so that one program serves both.

    Parts, shapes and plain attributes agree. Where two groups differ, everything that tells them apart has to lie in buffers, as
    in the layers of plain cluster groups; of other layers the groups and the graphs must be the same.

    Example:
        >>> from gnet.training.checkpoint import Domain
        >>> from gnet.training.data import Digits
        >>> from gnet.training.symmetry import Coarsened, Symmetric
        >>> data = Digits()
        >>> rules = [Symmetric(), Symmetric(), Coarsened(4, "patches")]
        >>> nets = [GNetModule(rule, seed=seed) for seed, rule in enumerate(rules)]
        >>> for net in nets:
        ...     net.build(Domain.of(data))
        >>> [same_computation(nets[0], other, [data, data]) for other in nets]
        [True, True, False]
    """
    if one.net is None or other.net is None or type(one) is not type(other) or _shape_of(one.net) != _shape_of(other.net):
        return False
    if dict(one.hparams, seed=0, symmetry=None) != dict(other.hparams, seed=0, symmetry=None) or not _same_sizes(*datamodules):
        return False
    if one.hparams["loss_units"] == "data" and not torch.equal(*(each.scaling.y.std for each in datamodules)):
        return False  # the loss holds the units
    if one.group == other.group and one._groups_beside == other._groups_beside and _same_graph(one, other):
        return True
    return all(_holds_its_group_in_buffers(each) for each in (one.net, other.net))


def _same_sizes(one: GraphDataModule, other: GraphDataModule) -> bool:
    sizes = [[(len(each.samples(split)), each.batch_size) for split in ("train", "val")] for each in (one, other)]
    return sizes[0] == sizes[1]


def _same_graph(one: GNetModule, other: GNetModule) -> bool:
    return one.domain is not None and other.domain is not None and one.domain.edges_hash() == other.domain.edges_hash()


def _shape_of(net: nn.Module) -> list[Any]:
    """What a net computes, but for the numbers: its parts, the shapes of their tensors, their plain attributes."""
    shape: list[Any] = []
    for name, part in net.named_modules():
        tensors = {
            key: (each.shape, each.dtype) for key, each in {**part._parameters, **part._buffers}.items() if each is not None
        }
        plain = {key: value for key, value in vars(part).items() if not key.startswith("_") and _is_plain(value)}
        shape.append((name, type(part), tensors, plain))
    return shape


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _holds_its_group_in_buffers(net: nn.Module) -> bool:
    from gnet.nn import EquivariantLinear, GNet
    from gnet.nn.blocks import Block
    from gnet.nn.weights import BlockWeights, ReferenceWeights
    from gnet.orbits import Blocks

    if type(net) is not GNet or not all(type(each) is Block and each.propagate is None for each in net.blocks):
        return False
    layers = [each.linear for each in net.blocks]
    return all(
        type(each) is EquivariantLinear
        and type(each.weight) in (BlockWeights, ReferenceWeights)
        and isinstance(each.orbits, Blocks)
        and not each.orbits.is_tied
        for each in layers
    )


def stacked_tensors(nets: Sequence[nn.Module], device: torch.device) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters and buffers of nets of one shape, each with a first axis for the nets.

    Example:
        >>> params, buffers = stacked_tensors([nn.Linear(2, 3), nn.Linear(2, 3)], torch.device("cpu"))
        >>> params["weight"].shape, buffers
        (torch.Size([2, 3, 2]), {})
    """
    params, buffers = torch.func.stack_module_state(list(nets))
    return (
        {name: each.detach().to(device) for name, each in params.items()},
        {n: each.to(device) for n, each in buffers.items()},
    )
