"""The arguments of a training run: one parser for ``fit validate test predict`` and for the trials of a study."""

import argparse
import functools
import importlib
import importlib.util
import json
import logging
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from gnet.errors import CheckpointError, ConfigError
from gnet.training import checkpoint
from gnet.training.callbacks import BestWeights, StopOnNonFinite, WriteCheckpoints
from gnet.training.data import GraphDataModule
from gnet.training.explain import explain
from gnet.training.log_equivariance import LogEquivariance
from gnet.training.module import GNetModule
from gnet.training.predict import WritePredictions
from gnet.training.reached import reached
from gnet.training.symmetry import as_symmetry

STRICT = {"exit_on_error": False, "allow_abbrev": False}
"""Errors are raised, not printed with a usage of 200 lines; an abbreviated option is a misspelled one."""

INCIDENTAL = (
    *("root", "base_url", "num_workers", "batch_size", "seed"),
    *("signals", "edges", "positions", "targets", "time_column", "delimiter"),
    *("own_files", "check_counts", "action_average"),
)
"""Settings of data that say where they are and how they are read, not what the task is; the seed is that of the run."""


class SaveConfig(SaveConfigCallback):
    """Lightning's ``config.yaml`` in the folder of the run; a second run into one folder is told what to do."""

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Write the file."""
        try:
            super().setup(trainer, pl_module, stage)
        except RuntimeError as error:
            if "to NOT exist" not in str(error):
                raise
            raise ConfigError(
                f"{trainer.log_dir} holds an earlier run (config.yaml); go on with it by --ckpt_path .../last.ckpt, or start "
                "a new one by --trainer.default_root_dir DIR or by leaving --trainer.logger at its default"
            ) from error


class GNetCLI(LightningCLI):
    """Lightning's command line for one model class, any data module, and our callbacks.

    Raises:
        ConfigError: an argument that does not exist (with the nearest one), or that a checkpoint contradicts.
    """

    def __init__(self, args: list[str], *, run: bool = True) -> None:
        self.command = args[0] if run else ""
        self.trained: checkpoint.Domain | None = None
        kwargs: dict[str, Any] = dict(STRICT) | {name: dict(STRICT) for name in self.subcommands()}
        super().__init__(
            GNetModule,
            GraphDataModule,
            save_config_callback=SaveConfig,
            seed_everything_default=0,
            subclass_mode_data=True,
            trainer_defaults={"max_epochs": 200, "log_every_n_steps": 1},
            parser_kwargs=kwargs,
            load_from_checkpoint_support=False,
            args=args,
            run=run,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The one that is asked for: each parser takes a tenth of a second to build."""
        return {name: skip for name, skip in LightningCLI.subcommands().items() if name == self.command}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Our callbacks, the links of the seed, and the key ``study``, which only the study reads."""
        parser.add_lightning_class_args(LogEquivariance, "log_equivariance")
        parser.add_lightning_class_args(WritePredictions, "predictions")
        parser.add_argument("--study", type=dict | None, default=None, help="what `study` ranges over; the others ignore it")
        parser.set_defaults({"model.symmetry": {"class_path": "gnet.training.Coarsened"}})
        for target in ("model.seed", "data.init_args.seed"):
            parser.link_arguments("seed_everything", target, compute_fn=int)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; with ``--ckpt_path`` the model and the seed are the checkpoint's."""
        self.config = parse(parser, args)
        command = self.config.get("subcommand")
        path = self.config[command].get("ckpt_path") if command else None
        if path is None and command in ("validate", "test", "predict"):
            raise ConfigError(f"{command} needs a trained net: --ckpt_path best is that of the last fit, or give its FILE")
        if path is None:
            return
        file = find_checkpoint(path, self.config[command].trainer.default_root_dir)
        content = checkpoint.read(file)
        self.trained = checkpoint.Domain.from_record(content[checkpoint.RECORD]["domain"])
        if command == "fit" and "optimizer_states" not in content:
            raise CheckpointError(f"{file} holds weights without the optimiser, so no fit can go on from it; take last.ckpt")
        settings = content["hyper_parameters"]
        given = [f"--seed_everything={settings['seed']}"]
        given += as_arguments({f"model.{name}": value for name, value in settings.items() if name != "seed"})
        training = content[checkpoint.RECORD].get("training", {}) if command == "fit" else {}
        given += as_arguments({key: value for key, value in training.items() if value and key != "data"})
        if training.get("data"):
            if with_default_data(args) == list(args):  # else they name no class, and go on with that of the checkpoint
                _refuse_other_class(file, "data", training["data"], task_of(self.config[command].data))
            given.append(f"--data={training['data']['class_path']}")
            given += as_arguments({f"data.{name}": value for name, value in training["data"]["init_args"].items()})
        # Values of a file yield to the checkpoint's; those typed by the user must not differ from them.
        files, typed = split_configs(args[1:])
        before, data = self.config[command].model.as_dict(), task_of(self.config[command].data)["init_args"]
        self.config = parse(parser, [command, *files, *given, *typed])
        self.config[command].ckpt_path = str(file)
        self.save_config_kwargs = {"overwrite": True}
        model = self.config[command].model.as_dict()
        wanted = dict(model, seed=self.config[command].seed_everything)
        names = [name for name in settings if command == "fit" or name != "seed"]
        _refuse_contradictions(file, {n: settings[n] for n in names}, {n: wanted[n] for n in names})
        _refuse_other_training(file, training, self.config[command])
        if files and (
            other := [name for name in before if _plain(name, before[name]) != _plain(name, model[name]) and name != "seed"]
        ):
            print(f"note: {', '.join(other)} of the model are those of {file}, not those of the config", file=sys.stderr)
        kept = (training.get("data") or {"init_args": {}})["init_args"]
        if files and (other := [name for name in kept if name in data and data[name] != kept[name]]):
            print(f"note: {', '.join(other)} of the data are those of {file}, not those of the config", file=sys.stderr)

    def _parse_ckpt_path(self) -> None:
        """Done in ``parse_arguments``; Lightning's own lets the checkpoint overrule explicit arguments without a word."""

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        """The net has no parameters yet, so the module makes the optimiser itself, when it has."""
        for name, key in (("optimizer_config", "optimizer"), ("scheduler_config", "lr_scheduler")):
            value = self._get(self.config_init, key)
            setattr(self.model, name, None if value is None else value.as_dict() if hasattr(value, "as_dict") else dict(value))
        self.model.data_config = task_of(self._get(self.config, "data"))

    def instantiate_classes(self) -> None:
        """Data for a trained net are made in its units."""
        super().instantiate_classes()
        if self.trained is not None:
            self.datamodule.in_units_of(self.trained, only_predicts=self.command == "predict")

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Trainer:
        """Add our callbacks and loggers; the callbacks at the end of a fit run in this order."""
        given = config.get("callbacks") or []
        given = given if isinstance(given, list) else [given]
        best = next((each for each in given if isinstance(each, BestWeights)), BestWeights())
        ours: list[Any] = [StopOnNonFinite()]
        if config.get("enable_checkpointing") is not False and not any(isinstance(each, Checkpoint) for each in given):
            ours.append(WriteCheckpoints(best))
        config = dict(config, callbacks=[*given, *ours, *([] if best in given else [best])])
        if any(isinstance(each, LogEquivariance) for each in given):  # two would log under the same names
            callbacks = [each for each in callbacks if not isinstance(each, LogEquivariance)]
        if config.get("logger") in (None, True):
            config["logger"] = default_loggers(config.get("default_root_dir"))
        return super()._instantiate_trainer(config, callbacks)

    def after_fit(self) -> None:
        """Say what was reached and where it lies."""
        lines = reached(self.trainer, self.model)
        for line in lines if self.trainer.is_global_zero else ():
            print(line)


class ParserOnly(GNetCLI):
    """The same arguments without subcommands, and nothing made from them."""

    def __init__(self) -> None:
        super().__init__([], run=False)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Nothing to parse yet."""
        self.config = parse(parser, args)

    def _set_seed(self) -> None:
        """A parser seeds nothing."""

    def instantiate_classes(self) -> None:
        """A parser makes nothing."""


def parse(parser: LightningArgumentParser, args: Sequence[str]) -> Any:
    """Parse ``args``, and say what was probably meant where that fails.

    Raises:
        ConfigError: what jsonargparse refuses.
    """
    _refuse_data_seed(args)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*args parameter is intended.*")
        try:
            return parser.parse_args(classes_first(with_default_data(args)))
        except argparse.ArgumentError as error:
            raise ConfigError(explain(parser, str(error), args)) from error


def with_default_data(args: Sequence[str]) -> list[str]:
    """The arguments with the digits as data where they name none.

    A default of the parser would not do: its ``num_train`` and the like would be carried over to any other class of data.

    Example:
        >>> with_default_data(["fit", "--data.num_train=5"]), with_default_data(["fit", "--data", "FromFiles"])
        (['fit', '--data=gnet.training.Digits', '--data.num_train=5'], ['fit', '--data', 'FromFiles'])
    """
    files, typed = split_configs(args)
    names = {Path(each.removeprefix("--config=")) for each in files if each not in ("-c", "--config")}
    in_file = any(re.search(r"^data *:", path.read_text(errors="replace"), re.MULTILINE) for path in names if path.is_file())
    if in_file or any(re.match(r"--data(\.class_path)?(=|$)", each) for each in typed):
        return list(args)
    position = 1 if args and args[0] in LightningCLI.subcommands() else 0
    return [*args[:position], "--data=gnet.training.Digits", *args[position:]]


def classes_first(args: Sequence[str]) -> list[str]:
    """The arguments with ``--data X`` before the ``--data.y`` that were typed ahead of it, so that they belong to X.

    Example:
        >>> classes_first(["fit", "--data.num_train=5", "--data", "Digits"])
        ['fit', '--data', 'Digits', '--data.num_train=5']
    """
    options: list[list[str]] = []  # each with its values
    for each in args:
        if (each.startswith("-") and not re.match(r"-\d", each)) or not options:
            options.append([each])
        else:
            options[-1].append(each)
    for at, option in enumerate(options):
        below = option[0].partition("=")[0] + "."
        first = next((i for i, other in enumerate(options[:at]) if other[0].startswith(below)), None)
        if first is not None and below.startswith("--"):
            options.insert(first, options.pop(at))
    return [word for option in options for word in option]


@functools.cache
def trial_parser() -> LightningArgumentParser:
    """The parser of a trial: every option of ``fit`` but those of the fit itself."""
    return ParserOnly().parser


def resolve(args: Sequence[str]) -> dict[str, Any]:
    """The full config that ``fit`` would run with, as nested dicts of primitives; nothing is run.

    Example:
        >>> config = resolve(["--model.symmetry=Symmetric", "--seed_everything=3"])
        >>> config["model"]["symmetry"], config["model"]["seed"], config["data"]["init_args"]["seed"]
        ({'class_path': 'gnet.training.Symmetric', 'init_args': {}}, 3, 3)
    """
    parser = trial_parser()
    config = json.loads(parser.dump(parse(parser, args), format="json", skip_unset=False, skip_link_targets=False))
    config.pop("config", None)
    return config


def as_arguments(settings: Mapping[str, Any]) -> list[str]:
    """Settings by dotted name as the command line writes them, a class before its arguments.

    Example:
        >>> as_arguments({"model.symmetry.num_clusters": 16, "model.symmetry": "Coarsened", "model.act": None})
        ['--model.symmetry=Coarsened', '--model.act=null', '--model.symmetry.num_clusters=16']
    """
    ordered = sorted(settings.items(), key=lambda item: item[0].count("."))
    plain = {key: value if isinstance(value, str) else json.dumps(value).replace("Infinity", ".inf") for key, value in ordered}
    return [f"--{key}={value}" for key, value in plain.items()]


def split_configs(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments that name config files, and all others.

    Example:
        >>> split_configs(["--config", "a.yaml", "--model.lr=1", "--config=b.yaml"])
        (['--config', 'a.yaml', '--config=b.yaml'], ['--model.lr=1'])
    """
    is_file = [
        each in ("-c", "--config") or each.startswith("--config=") or (index > 0 and args[index - 1] in ("-c", "--config"))
        for index, each in enumerate(args)
    ]
    return [a for a, chosen in zip(args, is_file, strict=True) if chosen], [
        a for a, chosen in zip(args, is_file, strict=True) if not chosen
    ]


def find_checkpoint(path: str, root: str | None) -> Path:
    """The file itself, or the newest ``last.ckpt`` (``best.ckpt``) below ``root`` for the words ``last`` (``best``).

    Raises:
        CheckpointError: there is none.
    """
    if path not in ("last", "best"):
        return Path(path)
    folder = Path(root or ".")
    found = sorted(folder.glob(f"lightning_logs/version_*/checkpoints/{path}.ckpt"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise CheckpointError(f"no {path}.ckpt under {folder / 'lightning_logs'}; give --ckpt_path FILE")
    return found[-1]


def default_loggers(root: str | None) -> list[Logger]:
    """``metrics.csv`` in a fresh ``lightning_logs/version_N``, and TensorBoard's file beside it if that is installed."""
    csv = CSVLogger(root or ".", name="lightning_logs")
    loggers: list[Logger] = [csv]
    if importlib.util.find_spec("tensorboard") or importlib.util.find_spec("tensorboardX"):
        loggers.append(TensorBoardLogger(root or ".", name="lightning_logs", version=csv.version))
    return loggers


def _refuse_data_seed(args: Sequence[str]) -> None:
    for argument in args:
        if re.match(r"--data\.(init_args\.)?seed(=|$)", argument):
            raise ConfigError("the data's seed is that of the run; give --seed_everything instead of --data.seed")


def _refuse_contradictions(file: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    for name, kept in there.items():
        kept, given = _plain(name, kept), _plain(name, here[name])
        if kept != given:
            option = "--seed_everything" if name == "seed" else f"--model.{name}"
            raise ConfigError(
                f"{option} is {_shown(given)}, but {file} was trained with {_shown(kept)}; leave {option} out, or train anew"
            )


def _plain(name: str, value: Any) -> Any:
    """One spelling for a value that has several: a class may be named by its module or by a package that offers it."""
    if name == "beside":
        return [as_symmetry(each).as_config() for each in value or ()]
    return as_symmetry(value).as_config() if name in ("symmetry", "project_onto") and value is not None else value


def task_of(data: Any) -> dict[str, Any]:
    """Class and settings of the data, as primitives, without the incidental ones."""
    plain = _primitives(data)
    return {**plain, "init_args": {name: value for name, value in plain["init_args"].items() if name not in INCIDENTAL}}


def _primitives(config: Any) -> dict[str, Any]:
    plain = json.loads(json.dumps(config.as_dict() if hasattr(config, "as_dict") else dict(config), default=str))
    return {"class_path": plain["class_path"], "init_args": plain.get("init_args") or {}}


def _refuse_other_training(file: Path, there: Mapping[str, Any], config: Any) -> None:
    for name, kept in there.items():
        value = config.get(name)
        kept, given = (None if each is None else _primitives(each) for each in (kept, value))
        if name == "data" and kept is None:
            continue  # not recorded
        _refuse_other_class(file, name, kept, given)
        for key, was in (kept or {"init_args": {}})["init_args"].items():
            now = (given or {"init_args": {}})["init_args"].get(key)
            if now != was:
                option = f"--{name}.{key}"
                raise CheckpointError(
                    f"{option} is {now!r}, but {file} was trained with {was!r}; leave {option} out, or train anew"
                )


def _refuse_other_class(file: Path, name: str, there: dict[str, Any] | None, here: dict[str, Any] | None) -> None:
    expected, given = (None if each is None else each["class_path"] for each in (there, here))
    if (expected or "").rpartition(".")[2] != (given or "").rpartition(".")[2]:  # a package may offer it too
        default = "Adam of the model" if name == "optimizer" else "none"
        raise CheckpointError(
            f"--{name} is {given or 'not given'}, but {file} was trained with {expected or default}; leave --{name} out, "
            "or train anew"
        )


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "class_path" in value:
        arguments = ", ".join(f"{key}={each!r}" for key, each in value["init_args"].items())
        return f"{value['class_path'].rpartition('.')[2]}({arguments})"
    return repr(value)


def run(command: str, args: Sequence[str]) -> GNetCLI:
    """``fit``, ``validate``, ``test`` or ``predict``."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: "litlogger" not in record.getMessage())
    for known in (".*does not have many workers.*", ".*You have overridden `.*` in `LightningModule`.*", ".*LeafSpec.*"):
        warnings.filterwarnings("ignore", message=known)  # the data are in memory; Lightning's own business
    before, sys.argv = sys.argv, [sys.argv[0], command, *args]  # what Lightning starts further processes with
    try:
        return GNetCLI([command, *args])
    finally:
        sys.argv = before
