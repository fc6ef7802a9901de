"""What jsonargparse refuses, in one line with the nearest option, argument, class or value."""

import argparse
import difflib
import importlib
import inspect
import re
from collections.abc import Sequence
from types import ModuleType

import lightning.pytorch.callbacks
import torch

from gnet.training.data import GraphDataModule
from gnet.training.log_equivariance import LogEquivariance
from gnet.training.relaxation import Anneal, EquivariancePenalty, GroupAugmentation
from gnet.training.symmetry import symmetries

OURS = [Anneal, EquivariancePenalty, GroupAugmentation, LogEquivariance]
"""Callbacks of gnet for a user's config."""


def explain(parser: argparse.ArgumentParser, message: str, args: Sequence[str]) -> str:
    """jsonargparse's message in one line, with the nearest option, argument or class where a name is unknown."""
    options = [option.lstrip("-") for option in _options(parser, args[0] if args else "")]
    if found := re.search(r"unrecognized arguments: --([^\s=]+)", message):
        return f"there is no option --{found[1]}{_nearest_option(found[1], options, '--')}"
    if found := re.search(r"(?:Subcommand '\w+'|Parser|Group '([\w.]+)') does not accept option '([\w.]+)'", message):
        key = f"{found[1]}.{found[2]}" if found[1] else found[2]
        return f"there is no setting {key}{_nearest_option(key, options, '')}"
    if found := re.search(r"class_path '([\w.]+)':\s+Option '(\w+)' is not accepted", message):
        known = [each for each in _arguments(found[1]) if each not in ("self", "args", "kwargs")]
        meant = _nearest(found[2], known, "") or f"; it takes {', '.join(dict.fromkeys(known)) or 'nothing'}"
        return f"{found[1].rpartition('.')[2]} takes no {found[2]!r}{meant}"
    if found := re.search(
        r"Parser key \"([\w.]+)\":.*class_path '([\w.]+)':\s+the following arguments are required: (.+)", message, re.DOTALL
    ):
        needed = [name.strip() for name in found[3].splitlines()[0].split(",")]
        return f"{found[2].rpartition('.')[2]} needs {' and '.join(f'--{found[1]}.{name}' for name in needed)}"
    nested = r"Parser key \"([\w.]+)\":.*class_path '[\w.]+':\s+Parser key \"([\w.]+)\":.*?<class '(\w+)'>.*?Given value: (.+?)\n"
    if "not accessible or invalid" in message and (found := re.search(nested, message, re.DOTALL)):
        return f"{found[1]}.{found[2]}: expected {found[3]}, got {found[4]!r}"
    if found := re.search(r"Parser key \"([\w.]+)\":.*Expected a dot import path string: (\S+)", message, re.DOTALL):
        known = sorted({kind.__name__ for kind in _classes(found[1])})
        meant = _nearest(found[2], known, "")
        listed = f"{'' if meant else '.'} Known are {', '.join(known)}" if known else "; give its import path"
        return f"{found[1]}: there is no class {found[2]!r}{meant}{listed}"
    if found := re.search(r"Parser key \"([\w.]+)\":.*No module named '([\w.]+)'", message, re.DOTALL):
        return f"{found[1]}: there is no module {found[2]!r}; put its file beside train.py, or install it"
    if 'in "<unicode string>"' in message:  # of the YAML parser, which does not know the file
        where = [each for each in args if each.endswith((".yaml", ".yml"))]
        return f"{where[-1] if where else 'the config'} is no YAML: {' '.join(message.split())}"
    if found := re.search(r"unrecognized arguments: (?!-)(\S+)", message):
        meant = f"; did you mean --config {found[1]}?" if found[1].endswith((".yaml", ".yml")) else ""
        return f"there is no place for {found[1]!r}: every option has a name{meant}"
    return _explain_value(message) or " ".join(message.split())


def _explain_value(message: str) -> str:
    """What was expected of a value and what came, from jsonargparse's message; empty if it says something else."""
    keys = re.findall(r"Parser key \"([\w.]+)\"", message)
    given = re.search(r"(?:Got|Given) value: (.*?)(?:\s*$|\n)", message)
    words = re.search(r"Expected a typing\.Literal\[(.*?)\]", message)
    kind = re.search(r"Expected a <class '(\w+)'>", message)
    if not keys or given is None or (words is None and kind is None):
        return ""
    name, got = ".".join(keys), given[1].strip("'\"")
    if words is None:
        return f"{name}: expected {kind[1]}, got {got!r}" if kind else ""
    known = [each.strip(" '\"") for each in words[1].split(",")]
    unions = [types for types in re.findall(r"Subtypes: \[(.*)\]", message) if words[1] in types]
    also = " or null" if any("NoneType" in types for types in unions) else ""
    return f"{name}: expected one of {', '.join(known)}{also}, got {got!r}{_nearest(got, known, '')}"


def _options(parser: argparse.ArgumentParser, command: str) -> list[str]:
    for action in parser._actions:
        if isinstance(action.choices, dict) and command in action.choices:
            return _options(action.choices[command], "")
    return [option for action in parser._actions for option in action.option_strings if option.startswith("--")]


def _arguments(class_path: str) -> list[str]:
    module, _, name = class_path.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    # A class that passes **kwargs on takes what its bases take.
    return [each for base in kind.__mro__ if "__init__" in vars(base) for each in inspect.signature(base.__init__).parameters]


def _classes(key: str) -> list[type]:
    """The classes that may stand for a key; none where gnet does not know."""
    match key.rpartition(".")[2]:
        case "symmetry" | "project_onto" | "reference" | "beside":
            return [*symmetries()]
        case "data":
            return [kind for kind in _subclasses(GraphDataModule) if "build" in vars(kind) or "images" in vars(kind)]
        case "optimizer":
            return _public(torch.optim, torch.optim.Optimizer)
        case "lr_scheduler":
            return _public(torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler)
        case "callbacks":
            return [*_public(lightning.pytorch.callbacks, lightning.pytorch.Callback), *OURS]
    return []


def _subclasses(base: type) -> list[type]:
    children: list[type] = base.__subclasses__()
    return [kind for child in children for kind in (child, *_subclasses(child))]


def _public(module: ModuleType, base: type) -> list[type]:
    named = [value for name, value in vars(module).items() if not name.startswith("_")]
    return [kind for kind in named if isinstance(kind, type) and issubclass(kind, base) and kind is not base]


def _nearest_option(word: str, options: Sequence[str], prefix: str) -> str:
    """The option with the same last word, or one that holds it (``epochs``: ``trainer.max_epochs``), or one spelt alike."""
    known = [*options, "model.symmetry.num_clusters"]
    last = word.rpartition(".")[2]
    same = [each for each in known if each.rpartition(".")[2] == last]
    # Only options of gnet itself and the usual ones of the trainer: others hold many words.
    parts = [each for each in known if last in each.rpartition(".")[2].split("_") and each.startswith(("model.", "trainer.max_"))]
    found = same or ([] if difflib.get_close_matches(word, known, n=1, cutoff=0.85) else parts)
    return f"; did you mean {prefix}{min(found, key=len)}?" if found else _nearest(word, known, prefix)


def _nearest(word: str, known: Sequence[str], prefix: str) -> str:
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {prefix}{found[0]}?" if found else ""
