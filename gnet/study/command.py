"""``python train.py study``: its options, and how they become a plan."""

import argparse
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from gnet.counts import is_integer
from gnet.errors import ConfigError
from gnet.study.on_ray import require_ray
from gnet.study.plan import (
    BASELINES,
    Plan,
    Resolve,
    baseline_overrides,
    choose_baselines,
    chosen_variants,
    did_you_mean,
    make_variants,
    refuse_seeds,
    trial_config,
)
from gnet.study.pool import warm_up

if TYPE_CHECKING:
    from gnet.training.data import GraphDataModule

DEFAULTS: dict[str, Any] = {
    "seeds": 10,
    "first_seed": 0,
    "draws": 1,
    "jobs": 2,
    "threads": 1,
    "backend": "processes",
    "vectorize": False,
    "baselines": None,
    "reference": "",
    "record": None,
    "checkpoints": True,
    "clusters": [],
    "variants": {},
    "out": None,
    "study_seed": None,
}


def _is_list_of(kind: Callable[[object], bool], value: object) -> bool:
    return isinstance(value, list) and all(map(kind, value))


KINDS: dict[str, tuple[str, Callable[[object], bool]]] = {
    **dict.fromkeys(("seeds", "first_seed", "draws", "jobs", "threads", "study_seed"), ("an integer", is_integer)),
    **dict.fromkeys(("reference", "record", "out", "backend"), ("text", lambda value: isinstance(value, str))),
    "baselines": (
        "a list of names, names with their overrides, true or false",
        lambda value: isinstance(value, bool | Mapping) or _is_list_of(lambda name: isinstance(name, str), value),
    ),
    **dict.fromkeys(("checkpoints", "vectorize"), ("true or false", lambda value: isinstance(value, bool))),
    "clusters": ("a list of integers", lambda value: _is_list_of(is_integer, value)),
    "variants": ("names with their overrides", lambda value: isinstance(value, Mapping)),
}
"""What each key under ``study:`` has to be; the parser sees to that for the command line."""

EPILOG = """\
Every other option is that of `fit`: --model.hidden_channels 16, --data.num_train 40, --trainer.max_epochs 100 ...
The options above may also stand in the config, under `study:`; there `variants` names sets of overrides, and so may `baselines`:
  study: {variants: {S64: {model.symmetry: Symmetric}, trivial: {model.symmetry: Trivial}}}
  study: {baselines: {gcn: {model.num_layers: 3}, ridge: {}}}
A study that was stopped or killed goes on where it was when it is started again with the same command, a trial of more than
three minutes inside the trial.
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``study`` that ``fit`` does not have. None has a default here: the config's ``study:`` comes in between."""
    words = argparse.ArgumentParser(
        prog="study",
        description="Train every symmetry for every seed and draw of the training set, and say which one is best.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        exit_on_error=False,
        argument_default=argparse.SUPPRESS,
    )
    words.add_argument("--config", "-c", action="append", metavar="FILE", help="YAML config, as for fit; may be repeated")
    words.add_argument(
        "--clusters", nargs="+", type=_integer, metavar="K", help="numbers of clusters to compare: 1 is Symmetric, N is Trivial"
    )
    words.add_argument("--variants", nargs="+", metavar="NAME", dest="only", help="of the config's variants only these")
    words.add_argument("--seeds", type=_integer, metavar="N", help="trials per draw (10)")
    words.add_argument(
        "--first-seed", "--first_seed", type=_integer, metavar="N", dest="first_seed", help="the first of them (0)"
    )
    words.add_argument("--draws", type=_integer, metavar="N", help="draws of the training set (1)")
    words.add_argument(
        "--jobs", type=_integer, metavar="N", help="trials side by side, each in a process of its own (2); 0: in this process"
    )
    words.add_argument(
        "--threads", type=_integer, metavar="N", help="threads of each trial (1); the results depend on it in their last bits"
    )
    words.add_argument(
        "--backend",
        choices=("processes", "ray"),
        help="where trials run: processes of this machine (default), or a Ray cluster (extra ray), that of RAY_ADDRESS if set",
    )
    words.add_argument(
        "--vectorize",
        action="store_true",
        help="train trials of one shape at once, seeds, draws and symmetries; the same results to rounding",
    )
    words.add_argument("--out", type=Path, metavar="DIR", help="where everything is written (studies/<config>)")
    words.add_argument("--no-baselines", action="store_const", const=[], dest="baselines", help="train the symmetries alone")
    words.add_argument("--baselines", nargs="+", metavar="NAME", dest="baselines", help=f"only these of {', '.join(BASELINES)}")
    words.add_argument("--reference", metavar="NAME", help="variant whose group equivariance_error refers to (the largest)")
    words.add_argument("--record", type=Path, metavar="FILE.csv", help="append every trial, with code and machine, to this table")
    words.add_argument("--no-checkpoints", action="store_false", dest="checkpoints", help="keep predictions, but no weights")
    words.add_argument(
        "--study-seed",
        "--study_seed",
        type=_integer,
        metavar="N",
        dest="study_seed",
        help="seed of what all trials share: test masks",
    )
    return words


def parse(argv: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The options of ``study`` that are there, and the other words, which are for the parser of ``fit``.

    Raises:
        ConfigError: a value of the wrong kind.

    Example:
        >>> parse(["--seeds", "3", "--model.lr", "0.1"])
        ({'seeds': 3}, ['--model.lr', '0.1'])
    """
    try:
        given, rest = parser().parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise ConfigError(f"{(error.argument_name or '').partition('/')[0]}: {error.message}") from error
    return vars(given), rest


def refuse_unknown(argv: Sequence[str]) -> None:
    """Refuse options that neither ``study`` nor ``fit`` has, and seeds; the dotted ones are left to the parser of ``fit``.

    Raises:
        ConfigError: with the nearest option of both.
    """
    from gnet.training.arguments import trial_parser

    known = [*parser()._option_string_actions, *trial_parser()._option_string_actions]
    for word in argv:
        name = word.partition("=")[0]
        refuse_seeds(name)
        if re.match(r"--?[A-Za-z]", name) and "." not in name and name not in known:
            raise ConfigError(f"there is no option {name}{did_you_mean(name, known)}")


def main(argv: Sequence[str], resolve_config: Resolve) -> int:
    """Run a study; returns the exit code: 0, 1 when trials failed, 130 when stopped.

    ``resolve_config`` turns the options of ``fit`` into one plain config, and may keep the config's key ``study``.

    Raises:
        ConfigError: options that contradict each other or the folder.
    """
    given, rest = parse(argv)
    if given.get("jobs", DEFAULTS["jobs"]) > 0 and given.get("backend") != "ray":
        warm_up(given.get("threads", DEFAULTS["threads"]))  # it imports while this process reads configs and data
    refuse_unknown(argv)
    try:
        with _stopped_by_sigterm():
            plan, datamodule = make_plan(given, rest, resolve_config, command=shlex.join(["study", *argv]))
            return execute(plan, datamodule)
    except KeyboardInterrupt:
        return 130


def execute(plan: Plan, datamodule: "GraphDataModule") -> int:
    """Train, report and print; returns the exit code."""
    from gnet.study.report import write_report  # before hours of training: what is missing is missed now
    from gnet.study.run import run_study

    result = run_study(plan, datamodule)
    print(write_report(plan.out, result, datamodule.describe(), plan.config_name))
    if result.failures:
        print(
            f"\n{len(result.failures)} trials FAILED; see {plan.out / 'failures.csv'}. "
            "The same command tries them again and keeps the others.",
            file=sys.stderr,
        )
        return 1
    return 0


def make_plan(
    given: Mapping[str, Any], rest: list[str], resolve_config: Resolve, command: str = ""
) -> tuple[Plan, "GraphDataModule"]:
    """The plan and the data module of its first trial, from parsed options and the options of ``fit``.

    Raises:
        ConfigError: an unknown key under ``study:``, a value of the wrong kind, or settings that fit no plan or no net.
    """
    from gnet.training.checkpoint import Domain
    from gnet.training.classes import loss_for
    from gnet.training.module import GNetModule
    from gnet.training.trial import as_one_process, instantiate

    if given.get("clusters") and given.get("only"):
        raise ConfigError("--variants chooses from the config's, and --clusters takes their place; give one of the two")
    configs = list(given.get("config", []))
    argv = [word for name in configs for word in ("--config", name)] + rest
    if "study_seed" in given:
        argv.append(f"--data.study_seed={given['study_seed']}")
    base = resolve_config(argv)
    settings = _settings(base.get("study") or {}, given)
    if settings["backend"] == "ray":
        require_ray()  # before data are read
    if settings["study_seed"] is not None and "study_seed" not in given:
        argv.append(f"--data.study_seed={settings['study_seed']}")
    first = trial_config(base, 0, int(settings["first_seed"]))
    datamodule = instantiate(first["data"])
    datamodule.setup()
    overrides = baseline_overrides((base.get("study") or {}).get("baselines"))
    variants = make_variants(
        argv,
        resolve_config,
        (datamodule.graph, datamodule.grid_shape),
        clusters=settings["clusters"] or [],
        named=chosen_variants(settings["variants"] or {}, given.get("only", [])),
        baselines={name: overrides.get(name, {}) for name in choose_baselines(settings["baselines"], datamodule)},
    )
    for variant in variants:  # before all its trials fail
        loss_for(variant.config["model"].get("loss"), datamodule.classes)
        as_one_process(variant.config.get("trainer") or {})
        if variant.kind == "symmetry":
            module = GNetModule(**instantiate(variant.config["model"]))
            module.check_read(dict(module.hparams), Domain.of(datamodule))
    name = Path(configs[-1].removeprefix("gnet:")).stem if configs else type(datamodule).__name__.lower()
    plan = Plan(
        variants=variants,
        out=Path(settings["out"] or Path("studies") / name),
        seeds=tuple(range(settings["first_seed"], settings["first_seed"] + settings["seeds"])),
        draws=settings["draws"],
        jobs=settings["jobs"],
        threads=settings["threads"],
        reference=settings["reference"] or "",
        checkpoints=settings["checkpoints"],
        backend=settings["backend"],
        vectorize=settings["vectorize"],
        record=None if settings["record"] is None else Path(settings["record"]),
        config_name=name,
        overrides=shlex.join(_without_places(argv[2 * len(configs) :])),
        command=command,
    )
    return plan, datamodule


def _without_places(words: Sequence[str]) -> list[str]:
    """Options without ``--data.root``: where the data lie on this machine is no part of an experiment."""
    kept: list[str] = []
    for place, word in enumerate(words):
        if not word.startswith("--data.root") and not (place and words[place - 1] == "--data.root"):
            kept.append(word)
    return kept


def _settings(of_config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults, then the config's ``study:``, then the command line; a null in the config is the default."""
    in_config = {key: value for key, value in of_config.items() if value is not None}
    for key, value in in_config.items():
        if key not in KINDS:
            raise ConfigError(f"unknown key study.{key}{did_you_mean(str(key), KINDS)} The keys are {', '.join(sorted(KINDS))}")
        kind, fits = KINDS[key]
        if not fits(value):
            raise ConfigError(f"expected study.{key} to be {kind}, got {value!r}")
    if isinstance(in_config.get("baselines"), bool):
        in_config["baselines"] = None if in_config["baselines"] else []
    return {**DEFAULTS, **in_config, **{key: value for key, value in given.items() if key != "config"}}


def _integer(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected an integer, got {word!r}") from None


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM, a scheduler's way to say Ctrl-C, is taken as such."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may have handlers
        return
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
