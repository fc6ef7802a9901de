"""Every example in a docstring runs, and so does every Python block of the README."""

import doctest
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch_geometric.data import Data

import gnet

ROOT = Path(__file__).resolve().parents[1]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def sources() -> list[Path]:
    folders = ("gnet", "datasets", "benchmarks", "configs")
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path.relative_to(ROOT) for path in found if ">>>" in path.read_text()]


def load(path: Path) -> ModuleType:
    """The module in a file: by its name in gnet, by its path elsewhere (other packages are called ``datasets`` too)."""
    if path.parts[0] == "gnet":
        parts = path.with_suffix("").parts
        return importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    if path.parts[0] == "datasets":
        package = importlib.import_module("gnet.training.data").repository_datasets()
        return (
            package
            if path.stem == "__init__"
            else importlib.import_module(".".join([package.__name__, *path.with_suffix("").parts[1:]]))
        )
    spec = importlib.util.spec_from_file_location(f"doctest_of_{path.stem}", ROOT / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def failures(module: ModuleType) -> tuple[str, int]:
    """What the examples of a module print where they should not, and how many examples there are."""
    public = {name: getattr(gnet, name) for name in gnet.__all__}
    names = {"torch": torch, "Data": Data, "gnet": gnet, **public, **vars(module)}
    report: list[str] = []
    attempted = 0
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, globs=names):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            attempted += runner.run(test, out=report.append).attempted
    return "".join(report), attempted


@pytest.mark.parametrize("path", sources(), ids=str)
def test_examples_of(path, tmp_path, monkeypatch):
    module = load(path)
    monkeypatch.chdir(tmp_path)  # an example that writes a file writes it here
    report, attempted = failures(module)
    assert attempted > 0
    if report:
        pytest.fail(report, pytrace=False)


def test_an_example_that_lies_is_caught():
    module = ModuleType("liar")
    module.__doc__ = ">>> torch.zeros(1).item()\n1.0\n"
    report, attempted = failures(module)
    assert attempted == 1
    assert "Expected:" in report


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL))
def test_readme_block_runs(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "readme"}
    exec(compile(block, "README.md", "exec"), names)
    modules = [value for value in names.values() if isinstance(value, torch.nn.Module)]
    assert modules or capsys.readouterr().out, "a block makes a net, or prints what it found"
    assert all(p.isfinite().all() for module in modules for p in module.parameters())
