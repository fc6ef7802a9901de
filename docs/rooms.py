"""The reference: which public names there are, where each is documented, and whether the built site has them all.

In a page of the reference, ``.. names:: gnet`` stands for the list of a package's names, each a link to its home, and
``.. modules:: gnet.study`` for a section on each public module of a package that exports no names itself. Both are filled in when
the site is built, so that a new name or module appears without an edit.
"""

import ast
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import gnet

REFERENCE = Path(__file__).resolve().parent / "reference"
INNER = ("kernels",)
"""Rooms without a page: what they hold is for other rooms."""
FAMILIES = tuple(
    f"gnet.plugins.{each.name}" for each in pkgutil.iter_modules(import_module("gnet.plugins").__path__) if each.ispkg
)
ROOMS = ("gnet", *(f"gnet.{room}" for room in gnet._ROOMS if room not in INNER), *FAMILIES, "datasets")
DIRECTIVE = re.compile(r"^\.\. (automodule|names|modules):: (\S+)\n((?:   :.*\n)*)", re.MULTILINE)


def public_names(module: ModuleType) -> list[str]:
    """What a module offers: its ``__all__``, or else what it defines under a name without underscore."""
    exported = getattr(module, "__all__", None)
    if exported is not None:
        return sorted(exported)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__ and callable(value)
    )


def notes(module: str) -> dict[str, str]:
    """The text below each assignment of a module, by name."""
    found = {}
    body = ast.parse(inspect.getsource(import_module(module))).body
    for each, after in pairwise(body):
        targets = each.targets if isinstance(each, ast.Assign) else [each.target] if isinstance(each, ast.AnnAssign) else []
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            found |= {target.id: inspect.cleandoc(after.value.value) for target in targets if isinstance(target, ast.Name)}
    return found


def constants(module: str) -> list[str]:
    """Exported values, no modules, without a text below them in that module: autodoc shows them only where it is told to."""
    found = {name: getattr(import_module(module), name) for name in getattr(import_module(module), "__all__", ())}
    others = (inspect.isclass, inspect.isroutine, inspect.ismodule)
    shown = notes(module)
    return sorted(name for name, value in found.items() if name not in shown and not any(kind(value) for kind in others))


def note_below(name: str) -> list[str]:
    """The text below the assignment of an exported value, in the module of its room that makes it."""
    room, _, own = name.rpartition(".")
    for module in [room, *submodules(room)] if hasattr(import_module(room), "__path__") else [room]:
        if note := notes(module).get(own):
            return [*note.splitlines(), ""]
    return []


def submodules(package: str) -> list[str]:
    """Public modules in a package, by name; a package inside that exports names stands for its own modules."""
    found = []
    for info in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
        if info.name.rpartition(".")[2].startswith("_"):
            continue
        module = import_module(info.name)
        if info.ispkg and not hasattr(module, "__all__"):
            found += submodules(info.name)
        elif public_names(module):
            found.append(info.name)
    return sorted(found)


def expand(page: str, lists: bool = True) -> str:
    """A page of the reference with ``modules`` filled in, and ``names`` where ``lists`` are wanted."""

    def fill(match: re.Match[str]) -> str:
        kind, name, options = match[1], match[2], match[3]
        if kind == "names" and lists:
            return "\n".join(_entry(each, getattr(import_module(name), each)) for each in import_module(name).__all__) + "\n"
        if kind == "modules":
            return DIRECTIVE.sub(
                fill, "\n".join(_section(each, each.removeprefix(f"{name}."), name) for each in submodules(name))
            )
        if kind == "automodule" and ":no-members:" not in options:
            return match[0] + "".join(f"\n.. autodata:: {name}.{each}\n   :no-value:\n" for each in constants(name))
        return match[0]

    return DIRECTIVE.sub(fill, page)


def _section(module: str, title: str, package: str) -> str:
    """A module of a package; what it passes on from its neighbours is left to them."""
    names = {each: getattr(import_module(module), each) for each in public_names(import_module(module))}
    others = {each for each in submodules(package) if each != module}
    passed_on = [each for each, value in names.items() if getattr(value, "__module__", None) in others]
    options = f"   :exclude-members: {', '.join(passed_on)}\n" if passed_on else ""
    return f"{title}\n{'-' * len(title)}\n\n.. automodule:: {module}\n{options}"


def _entry(name: str, value: Any) -> str:
    import docstrings

    first = (inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " ")
    return f":py:obj:`~{home_of(name)}`\n    {docstrings.escape(first)}\n"


def documented(pages: list[str]) -> set[str]:
    """Every name that these pages of the reference document, with its module."""
    found = set()
    for page in pages:
        for kind, name, options in DIRECTIVE.findall(expand(page, lists=False)):
            if kind != "automodule" or ":no-members:" in options:
                continue
            left_out = re.findall(r":exclude-members: (.*)", options)
            module = import_module(name)
            # Autodoc sees what dir() lists: a name that only __getattr__ knows would be lost.
            seen = set(dir(module)) - {each.strip() for line in left_out for each in line.split(",")}
            found |= {f"{name}.{each}" for each in public_names(module) if each in seen}
    return found


def pages() -> list[str]:
    """The text of each page of the reference."""
    return [path.read_text() for path in sorted(REFERENCE.glob("*.rst"))]


def missing(found: set[str]) -> list[str]:
    """Public names of the rooms that are not among those documented."""
    wrong = []
    for room in ROOMS:
        module = import_module(room)
        if room == "gnet":
            homes = {each: f"{gnet._ROOM_OF[each]}.{each}" for each in gnet.__all__}
        elif hasattr(module, "__all__"):
            homes = {each: f"{room}.{each}" for each in module.__all__}
        elif hasattr(module, "__path__"):
            homes = {name: name for each in submodules(room) for name in _full(each, room)}
        else:
            homes = {name: name for name in _full(room, room)}
        wrong += sorted(f"{room}: {each}" for each, home in homes.items() if home not in found)
    return wrong


def _full(module: str, package: str) -> Iterator[str]:
    """The names of a module that are not another's of its package."""
    for name in public_names(import_module(module)):
        owner = getattr(getattr(import_module(module), name), "__module__", None)
        if owner == module or owner not in submodules(package):
            yield f"{module}.{name}"


@cache
def _homes() -> dict[str, str]:
    """A name in one room only, or in the rooms of gnet's own list -> where it is documented."""
    found: dict[str, set[str]] = {}
    for full in documented(pages()):
        found.setdefault(full.rpartition(".")[2], set()).add(full)
    homes = {name: min(places, key=len) for name, places in found.items() if len({_same(place) for place in places}) == 1}
    return {**homes, **{name: f"{room}.{name}" for name, room in gnet._ROOM_OF.items()}}


def _same(place: str) -> int:
    room, _, name = place.rpartition(".")
    return id(getattr(import_module(room), name))


def home_of(name: str) -> str | None:
    """Where a public name is documented, if it is one and no other has the same name.

    Example:
        >>> home_of("ClusterGroup"), home_of("nothing")
        ('gnet.groups.ClusterGroup', None)
    """
    return _homes().get(name.removesuffix("()"))


def fill_in(app: Any, docname: str, content: list[str]) -> None:
    """Sphinx's hook: fill in a page of the reference when it is read."""
    if docname.startswith("reference/"):
        content[0] = expand(content[0])


def check(app: Any, env: Any) -> None:
    """Sphinx's hook: a warning, thus an error, for every public name that the site does not have."""
    from sphinx.util import logging

    for each in missing(set(env.domains["py"].objects)):
        logging.getLogger(__name__).warning("not in the reference: %s", each)


def setup(app: Any) -> None:
    """Connect the hooks."""
    app.connect("source-read", fill_in)
    app.connect("env-check-consistency", check)
