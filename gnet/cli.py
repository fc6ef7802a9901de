"""The command line: ``fit validate test predict`` are Lightning's, the others ours.

Nothing heavy is imported before the first word is known, so that ``--help`` and ``--version`` answer at once.
"""

import difflib
import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnet.errors import ConfigError, GnetError

if TYPE_CHECKING:
    from lightning.pytorch.cli import LightningArgumentParser

RUNS = {
    "fit": "train a net",
    "validate": "measure a trained net on the validation split",
    "test": "measure a trained net on the test split",
    "predict": "write a trained net's outputs to a file, in physical units",
}
COMMANDS = RUNS | {
    "study": "train many symmetries, seeds and draws, and say which symmetry is best",
    "select": "rank symmetries by predicted and validated risk, and write a config of the best",
    "export": "write a trained net as an ONNX file, for programs without Python",
    "simulate": "draw data whose truth is known, and measure beside theory",
    "catalog": "list every group: its family, size, flags and where to import it from",
}

HELP = """usage: {program} {{{words}}} [options]

{table}

  {program} fit --config gnet:digits
  {program} fit --config gnet:digits --model.symmetry Coarsened --model.symmetry.num_clusters 16
  {program} test --config gnet:digits --ckpt_path best
  {program} study --config gnet:digits --clusters 1 4 16 64 --seeds 5 --out runs/digits

`{program} COMMAND --help` lists the options of a command. A config is a file, or gnet:NAME for one that ships with gnet.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 2 after an error that gnet explains.

    Example:
        >>> main(["fti"])
        2
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except SystemExit as stop:  # --help and --print_config
        return stop.code if isinstance(stop.code, int) else 0
    except Exception as error:
        ours = _explained(error, arguments)
        if ours is None or os.environ.get("GNET_TRACEBACK"):
            raise
        print(f"error: {ours}", file=sys.stderr)
        return 2


def _explained(error: BaseException, arguments: Sequence[str]) -> GnetError | None:
    """The error if it is gnet's, or the one it was raised from: Lightning and jsonargparse wrap what constructors raise.

    Then what the system says about a path that stands in the arguments, and what Lightning says about the seed and the trainer.
    """
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    for each in chain:
        if isinstance(each, GnetError):
            return each
    for each in chain:
        if isinstance(each, OSError) and (path := _named(each.filename, arguments)):
            return ConfigError(f"{path}: {each.strerror}; give another path")
        if isinstance(each, ValueError) and "is not in bounds, numpy accepts" in str(each):
            return ConfigError(f"expected --seed_everything to be an integer in 0..{2**32 - 1}: {each}")
        if type(each).__name__ == "MisconfigurationException":  # named, not imported: lightning takes a second to load
            return ConfigError(f"Lightning refuses these settings: {' '.join(str(each).split())}")
    return None


def _named(file: object, arguments: Sequence[str]) -> str:
    """The file, if it is, holds or lies in something that the arguments name; else empty."""
    if not isinstance(file, str | os.PathLike):
        return ""
    path = Path(os.path.abspath(file))
    values = [word.partition("=")[2] if word.startswith("-") else word for word in arguments[1:]]
    named = [Path(os.path.abspath(value)) for value in values if value]
    return str(file) if any(path.is_relative_to(given) or given.is_relative_to(path) for given in named) else ""


def _dispatch(arguments: list[str]) -> int:
    word = arguments[0] if arguments else "--help"
    if word in ("-h", "--help"):
        table = "\n".join(f"  {name:10}{what}" for name, what in COMMANDS.items())
        print(HELP.format(program=program(), words=" | ".join(COMMANDS), table=table))
        return 0
    if word == "--version":
        print(f"gnet {version()}")
        return 0
    if word not in COMMANDS:
        near = difflib.get_close_matches(word, COMMANDS, n=1)
        meant = f"; did you mean {near[0]}?" if near else "."
        raise ConfigError(f"there is no command {word!r}{meant} The commands are {', '.join(COMMANDS)}")
    if word == "catalog":
        from gnet.plugins.registry import main as catalog

        return catalog(arguments[1:])
    rest = with_config_paths(arguments[1:])
    _check_command(word, rest)
    _import_datasets()
    if word == "study":
        from gnet.study.command import main as study

        return study(rest, resolve_config)
    if word == "select":
        from gnet.study.select import main as select

        return select(rest, resolve_config, program())
    if word == "export":
        from gnet.training.export import main as export

        return export(rest)
    if word == "simulate":
        from gnet.study.simulate import main as simulate

        return simulate(rest)
    from gnet.training.arguments import run

    run(word, rest)
    return 0


def resolve_config(argv: Sequence[str], overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The full config that ``fit`` would run with these arguments, as nested dicts of primitives; nothing is run.

    ``overrides`` come last, by dotted name: ``{"model.symmetry": "Coarsened", "model.symmetry.num_clusters": 16}``. A key
    ``study`` of the config is returned as it stands.

    Raises:
        ConfigError: an argument that does not exist, or a value of the wrong kind.

    Example:
        >>> resolve_config([], {"model.symmetry": "Coarsened", "model.symmetry.num_clusters": 16})["model"]["symmetry"]
        {'class_path': 'gnet.training.Coarsened', \
'init_args': {'num_clusters': 16, 'method': 'spectral', 'seed': 0, 'swaps': None, 'neighbours': None}}
    """
    from gnet.training.arguments import as_arguments, resolve

    _import_datasets()
    return resolve([*with_config_paths(argv), *as_arguments(overrides or {})])


def trial_parser() -> "LightningArgumentParser":
    """The parser behind ``resolve_config``: every option of ``fit`` but those of the fit itself."""
    from gnet.training import arguments

    return arguments.trial_parser()


def with_config_paths(argv: Sequence[str]) -> list[str]:
    """The arguments with ``gnet:NAME`` after ``--config`` or ``-c`` replaced by a path, and missing files refused.

    Example:
        >>> Path(with_config_paths(["--config", "gnet:digits"])[1]).name
        'digits.yaml'
    """
    found: list[str] = []
    for index, argument in enumerate(argv):
        if index and argv[index - 1] in ("--config", "-c"):
            found.append(str(config_path(argument)))
        elif argument.startswith("--config="):
            found.append(f"--config={config_path(argument.removeprefix('--config='))}")
        else:
            found.append(argument)
    return found


def config_path(name: str) -> Path:
    """The file of a config: ``gnet:NAME`` is one that ships with gnet, or any in the repository's ``configs``.

    Raises:
        ConfigError: there is no such file; the message lists near names.
    """
    package = Path(__file__).resolve().parent
    shipped = {path.stem: path for folder in (package.parent / "configs", package / "configs") for path in folder.rglob("*.yaml")}
    if name.startswith("gnet:"):
        short = name.removeprefix("gnet:")
        if short in shipped:
            return shipped[short]
        near = difflib.get_close_matches(short, shipped, n=3, cutoff=0.4) or sorted(shipped)
        raise ConfigError(f"gnet has no config {short!r}; there are {', '.join(f'gnet:{each}' for each in near)}")
    path = Path(name)
    if path.is_file():
        _check_text(path)
        return path
    beside = [str(each) for each in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(name, [*beside, *(f"gnet:{each}" for each in shipped)], n=3, cutoff=0.4)
    near += [f"gnet:{path.stem}"] if path.stem in shipped and f"gnet:{path.stem}" not in near else []
    raise ConfigError(f"there is no config file {name}{f'; near it: {chr(44).join(near)}' if near else ''}")


def _check_text(path: Path) -> None:
    """Refuse a config in which jsonargparse would find nothing, or no text."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    if all(line.split("#")[0].strip() in ("", "---") for line in lines):
        raise ConfigError(f"the config {path} is empty; write settings into it, or leave --config out")


def _check_command(word: str, arguments: Sequence[str]) -> None:
    """Refuse a config of a simulation elsewhere, and configs of nets for ``simulate``: the parsers would name some key in it."""
    pairs = zip(["", *arguments], arguments, strict=False)
    for before, each in pairs:
        name = each if before in ("--config", "-c") else each.removeprefix("--config=")
        if name is each and before not in ("--config", "-c"):
            continue
        is_simulation = any(line.startswith("simulation:") for line in Path(name).read_text(encoding="utf-8").splitlines())
        if is_simulation and word != "simulate":
            raise ConfigError(f"{name} is the config of a simulation; run: {program()} simulate --config {name}")
        if word == "simulate" and not is_simulation:
            raise ConfigError(f"{name} has no key simulation; it is a config for {program()} fit or study")


def version() -> str:
    """The installed version."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("gnet")
    except PackageNotFoundError:
        return "(not installed)"


def program() -> str:
    """What to type to run it again: this interpreter, by its path from here where it lies below, and the program.

    Example:
        >>> program().endswith(("python train.py", "python -m gnet"))
        True
    """
    here, name = Path.cwd(), Path(sys.argv[0]).name
    inside = Path(sys.executable).is_relative_to(here)
    python = str(Path(sys.executable).relative_to(here).with_name("python")) if inside else "python"
    return f"{python} train.py" if name == "train.py" else f"{python} -m gnet"


def _import_datasets() -> None:
    """Make the classes of the repository's ``datasets`` known by their short names, if that is what the name stands for."""
    spec = importlib.util.find_spec("datasets")
    ours = Path(__file__).resolve().parent.parent / "datasets" / "__init__.py"
    if spec is not None and spec.origin is not None and Path(spec.origin) == ours:
        for module in pkgutil.iter_modules([str(ours.parent)]):
            if not module.ispkg:
                importlib.import_module(f"datasets.{module.name}")
