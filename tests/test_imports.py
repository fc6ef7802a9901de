"""Imports run one way: the table of rooms, read from the syntax tree of every file, imports inside functions included."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What each room may import from gnet, besides itself.
CORE = {"errors", "counts", "graphs", "groups", "orbits", "isotypic", "kernels", "nn", "randomness"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "counts": {"errors"},
    "randomness": {"errors", "counts"},
    "graphs": {"errors", "counts", "randomness"},
    "kernels": {"errors", "counts", "randomness"},
    "groups": {"errors", "counts", "randomness", "graphs"},
    "orbits": {"errors", "counts", "randomness", "graphs", "groups"},
    "isotypic": {"errors", "counts", "randomness", "graphs", "groups", "orbits"},
    "nn": {"errors", "counts", "randomness", "graphs", "groups", "orbits", "isotypic", "kernels"},
    "theory": {"errors", "counts", "randomness", "graphs", "groups", "orbits", "isotypic"},
    "measures": CORE | {"theory"},
    "distributed": CORE,
    "testing": CORE | {"theory", "measures"},
    "training": CORE | {"theory", "measures", "distributed"},
    "selection": CORE | {"theory", "measures", "training"},
    "study": CORE | {"theory", "measures", "training", "selection"},
}
FRAME = {"plugins/__init__", "plugins/registry"}
"""What finds the families; it imports none by name."""
MAY_IMPORT["cli"] = {*MAY_IMPORT, "plugins"}
MAY_IMPORT["__main__"] = {"cli"}
# The public names come from anywhere but the plug-ins and the tests' own laws; `test_import_is_light` holds it to be lazy.
MAY_IMPORT["__init__"] = set(MAY_IMPORT) - {"testing", "cli", "__main__"}

# Imported only where its room is (any room may import torch, numpy ...).
HEAVY: dict[str, set[str]] = {
    "lightning": {"training", "study", "selection", "cli"},
    "jsonargparse": {"training", "study", "selection", "cli"},
    "torchmetrics": {"training", "study", "selection"},
    "matplotlib": {"study", "selection"},
    "pooch": {"training", "datasets"},
    "tqdm": {"training", "study", "selection", "datasets", "cli"},
}
NEVER = {"pytorch_lightning": "import lightning.pytorch"}


def room_of(path: Path) -> str:
    """The room a file is in: the first folder or module below gnet; plug-ins are named with their family."""
    parts = path.with_suffix("").parts
    return f"plugins/{parts[2]}" if parts[1] == "plugins" and len(parts) > 2 else parts[1]


def imported(path: Path, source: str) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of every import; ``from a import b`` yields ``a.b``, which may be a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(path.parent.parts[: len(path.parent.parts) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (package, node.module) if part)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def broken_rules(path: Path, source: str) -> list[str]:
    """What a file (named relative to the root) imports against the table."""
    room = room_of(path)
    wrong = []
    for line, name in imported(path, source):
        top, *rest = name.split(".")
        where = f"{path}:{line}"
        if top in NEVER:
            wrong.append(f"{where}: {top}: {NEVER[top]}")
        elif top in HEAVY and room not in HEAVY[top] and not room.startswith("plugins"):
            wrong.append(f"{where}: {room} must not import {top}")
        elif top in ("datasets", "train", "tests", "configs"):
            wrong.append(f"{where}: gnet must not import {top}, which the wheel does not hold")
        elif top == "gnet" and not allowed(room, rest):
            wrong.append(f"{where}: {room} must not import {name}")
    return wrong


def allowed(room: str, target: list[str]) -> bool:
    """Whether ``gnet.<target>`` may be imported in a room."""
    there = target[0] if target else "__init__"
    if room in FRAME:
        return there in CORE or "/".join(target[:2]) in FRAME
    if room.startswith("plugins"):
        # Experiments of a family are simulations of ``study``, which only they load.
        allies = {room, *(f"plugins/{name}" for name in named_in_readme(room))}
        return there in {*CORE, "theory", "measures", "study"} or "/".join(target[:2]) in allies
    if room not in MAY_IMPORT:
        return False  # a new room must enter the table
    return there == room or there in MAY_IMPORT[room]


def named_in_readme(room: str) -> set[str]:
    """The other families that a family's own README says it uses: a line ``Uses: `gnet.plugins.NAME`.``"""
    readme = ROOT / "gnet" / room / "README.md"
    lines = readme.read_text().splitlines() if readme.is_file() else []
    return {name for line in lines if line.startswith("Uses: ") for name in re.findall(r"`gnet\.plugins\.(\w+)`", line)}


def files() -> list[Path]:
    return sorted(path.relative_to(ROOT) for path in (ROOT / "gnet").rglob("*.py"))


@pytest.mark.parametrize("path", files(), ids=str)
def test_imports_run_one_way(path):
    assert broken_rules(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "source", "message"),
    [
        ("gnet/errors.py", "from gnet.graphs import Partition", "errors must not import gnet.graphs"),
        ("gnet/graphs/coarsen.py", "import gnet.groups", "graphs must not import gnet.groups"),
        ("gnet/kernels/blocks.py", "from gnet import graphs", "kernels must not import gnet.graphs"),
        ("gnet/kernels/blocks.py", "from gnet import GNet", "kernels must not import gnet.GNet"),
        ("gnet/groups/base.py", "def f():\n    from ..nn import GNet", "groups must not import gnet.nn"),
        ("gnet/groups/__init__.py", "from .. import orbits", "groups must not import gnet.orbits"),
        ("gnet/orbits.py", "from .nn import GNet", "orbits must not import gnet.nn"),
        ("gnet/orbits.py", "import gnet", "orbits must not import gnet"),
        ("gnet/nn/linear.py", "if True:\n    import gnet.measures.equivariance", "nn must not import gnet.measures"),
        ("gnet/theory/risk.py", "from gnet.nn.gnet import GNet", "theory must not import gnet.nn"),
        ("gnet/measures/equivariance.py", "from gnet.testing import check_group", "measures must not import gnet.testing"),
        ("gnet/testing/laws.py", "from gnet.training import data", "testing must not import gnet.training"),
        ("gnet/training/data.py", "from gnet.study import run", "training must not import gnet.study"),
        ("gnet/training/data.py", "from gnet.testing import check_group", "training must not import gnet.testing"),
        ("gnet/training/data.py", "import datasets.mnist", "gnet must not import datasets"),
        ("gnet/selection/merge.py", "from gnet.study.tables import x", "selection must not import gnet.study"),
        ("gnet/nn/linear.py", "from gnet.plugins.tensors import x", "nn must not import gnet.plugins"),
        (
            "gnet/plugins/tensors/group.py",
            "from gnet.plugins.units import x",
            "plugins/tensors must not import gnet.plugins.units",
        ),
        ("gnet/plugins/tensors/group.py", "from gnet.cli import main", "plugins/tensors must not import gnet.cli"),
        ("gnet/plugins/registry.py", "import gnet.plugins.tensors", "plugins/registry must not import gnet.plugins.tensors"),
        ("gnet/groups/base.py", "from gnet.plugins import registry", "groups must not import gnet.plugins"),
        ("gnet/study/run.py", "from gnet.cli import main", "study must not import gnet.cli"),
        ("gnet/nn/gnet.py", "import lightning.pytorch as pl", "nn must not import lightning"),
        ("gnet/measures/bias.py", "from matplotlib import pyplot", "measures must not import matplotlib"),
        ("gnet/training/module.py", "import pytorch_lightning", "import lightning.pytorch"),
        ("gnet/helpers.py", "from gnet.errors import GnetError", "helpers must not import gnet.errors"),
    ],
)
def test_a_liar_is_caught(path, source, message):
    (wrong,) = broken_rules(Path(path), source)
    assert message in wrong


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("gnet/groups/cluster.py", "from .base import Group\nfrom gnet.graphs.partition import Partition"),
        ("gnet/plugins/tensors/layer.py", "from .group import x\nfrom gnet.nn import EquivariantLinear"),
        ("gnet/study/run.py", "from gnet.training.trial import run_trial\nimport matplotlib.pyplot"),
        ("gnet/cli.py", "def main():\n    import lightning.pytorch\n    from gnet.study import command"),
    ],
)
def test_the_honest_pass(path, source):
    assert broken_rules(Path(path), source) == []


def test_table_has_no_cycle():
    order: list[str] = []
    rooms = dict(MAY_IMPORT)
    rooms.pop("__init__")
    while rooms:
        free = [room for room, others in rooms.items() if not others & rooms.keys()]
        assert free, f"rooms that import each other: {sorted(rooms)}"
        order += free
        for room in free:
            del rooms[room]
    assert order[0] == "errors"


@pytest.mark.parametrize("module", ["gnet", "gnet.measures"])
def test_import_is_light(module):
    heavy = ("lightning", "networkx", "sklearn", "matplotlib", "jsonargparse", "torchmetrics", "pooch")
    # PyG and torch bring some of these along by themselves; only what gnet adds to them counts.
    code = (
        f"import sys, torch, torch_geometric.data; before = set(sys.modules); import {module}; "
        f"print(sorted(name for name in set(sys.modules) - before if name in {heavy}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
