"""Which families of groups there are, and the catalog of their groups.

A family is a package with a dictionary ``CATALOG``: how a group is written in that package -> a function that makes it. Ours are
the packages beside this file; a stranger's package names its own under the entry-point group ``gnet.plugins``:

    [project.entry-points."gnet.plugins"]
    crystals = "their_package.crystals"
"""

import ast
import math
import pkgutil
import re
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from gnet.errors import ConfigError
from gnet.groups.base import Group

ENTRY_POINTS = "gnet.plugins"
"""The entry-point group of packages that are not ours."""
CORE = "core"


@dataclass(frozen=True)
class Family:
    """A package of groups, not imported yet.

    Attributes:
        name: as in ``python -m gnet catalog --family NAME``.
        module: where it is imported from.
    """

    name: str
    module: str

    def groups(self) -> Mapping[str, Callable[[], Group]]:
        """How each group is written -> a function that makes it; empty for a family of methods without groups of its own.

        Raises:
            ConfigError: the package cannot be imported, or its ``CATALOG`` is no such dictionary.

        Example:
            >>> sorted(Family("core", "gnet.groups").groups())[0]
            'ClusterGroup(Partition([0, 0, 1, 1, 1]))'
        """
        if self.name == CORE:
            return _core_groups()
        try:
            found = getattr(import_module(self.module), "CATALOG", {})
        except Exception as error:
            raise ConfigError(f"the family {self.name} cannot be imported from {self.module}: {error}") from error
        if not isinstance(found, Mapping) or not all(isinstance(key, str) and callable(make) for key, make in found.items()):
            raise ConfigError(
                f"expected {self.module}.CATALOG as a dictionary from how a group is written to a function, got {found!r}"
            )
        return found


@dataclass(frozen=True)
class Listed:
    """A line of the catalog.

    Attributes:
        family: the name of its family.
        path: how to make it, every name with the package that it is imported from.
        make: makes it.
    """

    family: str
    path: str
    make: Callable[[], Group]

    def cells(self) -> list[str]:
        """Family, name, dimension, order or dimension of the Lie algebra, flags and import path."""
        group = self.make()
        size, flags = _size(group), [flag for flag in FLAGS if getattr(group, f"is_{flag}")]
        return [self.family, group.name, str(_dimension(group)), size, " ".join(flags) or "-", self.path]


FLAGS = ("finite", "compact", "orthogonal", "permutation")
COLUMNS = ("family", "group", "dim", "order", "flags", "made by")


def families() -> dict[str, Family]:
    """Every family by name: the core's own groups, ours, and those of installed packages. None is imported.

    A stranger cannot take the name of a family that is there; such an entry is left out with a warning.

    Example:
        >>> families()["core"]
        Family(name='core', module='gnet.groups')
    """
    found = {CORE: Family(CORE, "gnet.groups")}
    for info in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if info.ispkg:
            found[info.name] = Family(info.name, f"gnet.plugins.{info.name}")
    for point in entry_points(group=ENTRY_POINTS):
        if point.name not in found:
            found[point.name] = Family(point.name, point.value)
        elif found[point.name].module != point.value:
            warnings.warn(f"two families are called {point.name}; {point.value} is left out", stacklevel=2)
    return found


def catalog(family: str | None = None) -> list[Listed]:
    """Every group of every family, or of one, in the order in which the families list them.

    Of a stranger's package that cannot be imported there is a warning, and nothing else is lost.

    Raises:
        ConfigError: there is no family of that name, or the one asked for cannot be imported.

    Example:
        >>> listed = catalog("core")[0]
        >>> listed.path, listed.make()
        ('gnet.groups.SymmetricGroup(4)', ClusterGroup(S4, order 24))
    """
    known = families()
    if family is not None and family not in known:
        raise ConfigError(f"there is no family {family!r}; the families are {', '.join(known)}")
    found = []
    for each in known.values() if family is None else [known[family]]:
        try:
            groups = each.groups()
        except ConfigError as error:
            if family is not None:
                raise
            warnings.warn(str(error), stacklevel=2)
            continue
        found += [Listed(each.name, qualified(written, each.module), make) for written, make in groups.items()]
    return found


def qualified(written: str, module: str) -> str:
    """How a group is written in a package, with that package, or gnet, before each name: what can be evaluated as it stands.

    Example:
        >>> qualified("Embed(SO(2), 3)", "gnet.plugins.tensors")
        'gnet.plugins.tensors.Embed(gnet.plugins.tensors.SO(2), 3)'
    """
    try:
        places = sorted(node.col_offset for node in ast.walk(ast.parse(written, mode="eval")) if isinstance(node, ast.Name))
    except SyntaxError:
        return f"{module}.{written}"
    owners = {each: import_module(each) for each in (module, "gnet")}
    found = written
    for place in reversed(places[1:]):
        name = re.match(r"\w+", written[place:])
        owner = next((each for each, package in owners.items() if name and hasattr(package, name[0])), None)
        found = f"{found[:place]}{owner}.{found[place:]}" if owner else found
    return f"{module}.{found}"


def catalog_text(family: str | None = None) -> str:
    """The catalog as a table, one line for each group.

    Example:
        >>> print(catalog_text("core").splitlines()[1])
        core    S4                    4    24     finite compact orthogonal permutation  gnet.groups.SymmetricGroup(4)
    """
    rows = [list(COLUMNS), *(each.cells() for each in catalog(family))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def main(argv: Sequence[str]) -> int:
    """``catalog [--family NAME]``: print the table; returns the exit status.

    Raises:
        ConfigError: an unknown family or option.
    """
    parser = ArgumentParser(prog="catalog", description="List every group: family, dimension, order, flags and where it is made.")
    parser.add_argument("--family", default=None, help=f"one of {', '.join(families())}; all by default")
    given, unknown = parser.parse_known_args(list(argv))
    if unknown:
        raise ConfigError(f"catalog knows no {unknown[0]}; it takes --family NAME")
    sys.stdout.write(f"{catalog_text(given.family)}\n")
    return 0


def _dimension(group: Group) -> int:
    return int(getattr(group, "degree", None) or group.identity.shape[-1])


def _size(group: Group) -> str:
    if len(group.lie_algebra):
        pieces = f" + {len(group.generators)} discrete" if len(group.generators) else ""
        return f"Lie dim {len(group.lie_algebra)}{pieces}"
    return "infinite" if group.order() == math.inf else group.order_text()


def _core_groups() -> Mapping[str, Callable[[], Group]]:
    from gnet.graphs.partition import Partition
    from gnet.groups import ClusterGroup, PermutationGroup, SymmetricGroup, TrivialGroup, grid_group

    swapped = "ClusterGroup(Partition([0, 0, 1, 1]), swaps=PermutationGroup([[1, 0]]))"
    return {
        "SymmetricGroup(4)": lambda: SymmetricGroup(4),
        "TrivialGroup(3)": lambda: TrivialGroup(3),
        "ClusterGroup(Partition([0, 0, 1, 1, 1]))": lambda: ClusterGroup(Partition([0, 0, 1, 1, 1])),
        swapped: lambda: ClusterGroup(Partition([0, 0, 1, 1]), swaps=PermutationGroup([[1, 0]])),
        "PermutationGroup([[1, 2, 3, 0]])": lambda: PermutationGroup([[1, 2, 3, 0]]),
        'grid_group((3, 3), "dihedral")': lambda: grid_group((3, 3), "dihedral"),
        'grid_group((2, 3), "translations")': lambda: grid_group((2, 3), "translations"),
    }
