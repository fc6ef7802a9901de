"""The catalog: every group obeys the laws, ours and a stranger's; a family that lies or breaks is named."""

import copy
import pickle
import tomllib
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import gnet.plugins
from gnet.cli import main
from gnet.errors import ConfigError
from gnet.groups import GeneratedGroup, NodeGroup
from gnet.nn import EquivariantLinear
from gnet.nn.relaxed import Penalised
from gnet.plugins import catalog, catalog_text, families
from gnet.plugins.registry import qualified
from gnet.plugins.scalars import E
from gnet.plugins.tensors import EMLP, T
from gnet.testing import LawBroken, check_group, check_layer

ROOT = Path(__file__).resolve().parents[2]
LISTED = {each.path: each for each in catalog()}
FLAGS = {
    "gnet.plugins.tensors.S(4)": "finite compact orthogonal permutation",
    "gnet.plugins.tensors.B(3)": "finite compact orthogonal",
    "gnet.plugins.tensors.O(3)": "compact orthogonal",
    "gnet.plugins.tensors.U(2)": "compact orthogonal",
    "gnet.plugins.tensors.Lorentz(3)": "-",
}


@pytest.mark.parametrize("path", LISTED)
def test_every_group_obeys_the_laws(path):
    check_group(LISTED[path].make())


@pytest.mark.parametrize("path", [path for path, each in LISTED.items() if isinstance(each.make(), NodeGroup)])
def test_layers_of_every_node_group_obey_the_laws(path):
    group = LISTED[path].make()
    check_layer(EquivariantLinear(group, 2, 1), group, gradients=False)


@pytest.mark.parametrize("path", LISTED)
def test_a_group_is_made_as_it_is_written(path):
    """By whoever imports gnet and the family's package, and nothing from them."""
    import_module(families()[LISTED[path].family].module)
    group = eval(path, {"gnet": gnet})
    assert (group.name, group.order()) == (LISTED[path].make().name, LISTED[path].make().order())


def test_a_name_without_its_package_is_none():
    """The liar: the name of the outer group alone was qualified."""
    with pytest.raises(NameError, match="SO"):
        eval("gnet.plugins.tensors.Embed(SO(2), 3)", {"gnet": gnet})
    assert qualified("Wheel(spokes(3), 2)", "gnet.plugins.tensors") == "gnet.plugins.tensors.Wheel(spokes(3), 2)"
    assert qualified("D 4", "gnet.plugins.tensors") == "gnet.plugins.tensors.D 4"


def test_the_table_says_what_each_group_is():
    lines = {line.split("  ")[-1].strip(): line for line in catalog_text().splitlines()}
    for path, flags in FLAGS.items():
        assert f"  {flags}  " in lines[path]
    assert "Lie dim 3 + 1 discrete" in lines["gnet.plugins.tensors.O(3)"]
    assert len(lines) == len(LISTED) + 1


def test_the_command_prints_it(capsys):
    assert main(["catalog", "--family", "core"]) == 0
    assert capsys.readouterr().out == f"{catalog_text('core')}\n"
    assert main(["catalog", "--family", "crystals"]) == 2
    assert "there is no family 'crystals'; the families are core" in capsys.readouterr().err
    assert main(["catalog", "--families"]) == 2


def test_every_family_here_is_an_entry_point_and_has_a_readme():
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["gnet.plugins"]
    assert points == {name: each.module for name, each in families().items() if each.module.startswith("gnet.plugins.")}
    for name in points:
        text = (ROOT / "gnet" / "plugins" / name / "README.md").read_text()
        assert "```python" in text
        assert f"`gnet.plugins.{name}`" in text


# --- strangers ---


def installed(monkeypatch, *points: EntryPoint) -> None:
    monkeypatch.setattr("gnet.plugins.registry.entry_points", lambda group: points if group == "gnet.plugins" else ())


class Sheared(GeneratedGroup):
    """Says that it is SO(2), and draws shears."""

    def sample(self, num, generator=None):
        return torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64).expand(num, 2, 2)


TURN = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)


def test_a_stranger_s_package_joins_the_catalog_and_is_held_to_the_laws(monkeypatch):
    package = SimpleNamespace(
        CATALOG={
            "Wheel()": lambda: GeneratedGroup("wheel", lie_algebra=[TURN]),
            "Liar()": lambda: Sheared("x", lie_algebra=[TURN]),
        }
    )
    monkeypatch.setitem(__import__("sys").modules, "crystals", package)
    installed(monkeypatch, EntryPoint("crystals", "crystals", "gnet.plugins"))
    wheel, liar = catalog("crystals")
    assert wheel.path == "crystals.Wheel()"
    assert wheel.cells()[1:4] == ["wheel", "2", "Lie dim 1"]
    check_group(wheel.make())
    with pytest.raises(LawBroken, match="orthogonal"):
        check_group(liar.make())


def test_a_stranger_that_cannot_be_imported_hides_no_other(monkeypatch):
    installed(
        monkeypatch, EntryPoint("broken", "no.such.package", "gnet.plugins"), EntryPoint("tensors", "elsewhere", "gnet.plugins")
    )
    with pytest.warns(UserWarning, match=r"broken cannot be imported from no\.such\.package|two families are called tensors"):
        found = catalog()
    assert [each.path for each in found] == list(LISTED)
    with pytest.raises(ConfigError, match="cannot be imported"), pytest.warns(UserWarning, match="two families"):
        catalog("broken")


def test_a_catalog_that_is_none_is_refused(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "crystals", SimpleNamespace(CATALOG=["Wheel()"]))
    installed(monkeypatch, EntryPoint("crystals", "crystals", "gnet.plugins"))
    with pytest.raises(ConfigError, match=r"expected crystals\.CATALOG as a dictionary"):
        catalog("crystals")


def test_groups_survive_copying():
    for each in LISTED.values():
        group = each.make()
        assert copy.deepcopy(group).name == group.name
        again = pickle.loads(pickle.dumps(group))
        drawn = [each.sample(2, torch.Generator().manual_seed(0)) for each in (group, again)]
        assert again.name == group.name and torch.equal(*drawn)


def test_what_holds_a_group_with_translations_is_saved():
    """A sampler that is a function inside another cannot be."""
    group = E(3)
    for module in (EMLP(T(1), T(1), group, ch=8, layers=1), Penalised(torch.nn.Linear(4, 4), group.sampled_by(group.sample))):
        again = pickle.loads(pickle.dumps(module))
        assert again.group.name == "E(3)"
