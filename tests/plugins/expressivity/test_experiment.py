"""The table of pairs runs from its config, and says what theory says."""

import math
from pathlib import Path

import pytest

from gnet.cli import main
from gnet.errors import ConfigError
from gnet.plugins.expressivity.experiment import HardPairs

ROOT = Path(__file__).resolve().parents[3]


def test_what_is_known_is_found():
    lines = HardPairs(hidden=8).run()
    assert all(line.measured == line.expected for line in lines if line.kind == "exact")
    found = {(line.settings["pair"], line.quantity): line.measured for line in lines}
    for pair, quantity in found:
        if quantity == "gin_constant":
            assert (found[pair, quantity] < 1e-12) == bool(found[pair, "alike_to_nodes"])
        elif quantity == "gin_named":
            assert found[pair, quantity] > 1e-6
        assert not math.isnan(found[pair, quantity])


def test_the_command_writes_its_table(tmp_path, capsys):
    config = ROOT / "configs" / "plugins" / "expressivity" / "pairs.yaml"
    assert main(["simulate", "--config", str(config), "--quick", "--out", str(tmp_path)]) == 0
    assert "| rook 4 x 4 and Shrikhande | yes | yes | 32, 32 |" in capsys.readouterr().out
    assert (tmp_path / "figure.png").is_file()


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="expected hidden and num_layers >= 1, got 0 and 4"):
        HardPairs(hidden=0)
