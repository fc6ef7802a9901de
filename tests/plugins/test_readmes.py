"""The README of every family: its Python blocks run, one after the other."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
READMES = sorted((ROOT / "gnet" / "plugins").glob("*/README.md"))
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_blocks_run_and_print(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "readme"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for block in BLOCK.findall(path.read_text()):
            exec(compile(block, str(path), "exec"), names)
    assert capsys.readouterr().out


def test_there_are_some():
    assert READMES
