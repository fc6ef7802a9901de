"""The demonstration runs, and its table says what theory says."""

from pathlib import Path

import pytest

from gnet.cli import main
from gnet.errors import ConfigError
from gnet.plugins.averaging.experiment import AveragingModes

ROOT = Path(__file__).resolve().parents[3]


def test_errors_and_costs():
    simulation = AveragingModes(hidden=8, degrees=[2, 6], samples=[16, 256], num_inputs=6, num_elements=4)
    lines = simulation.run()
    found = {(line.quantity, line.settings["mode"]): line.measured for line in lines}
    for mode in ("exact", "frame SO(3)", "frame O(3)"):
        assert found["equivariance_error", mode] < 1e-10
    assert found["equivariance_error", "quadrature 6"] < found["equivariance_error", "quadrature 2"]
    assert found["equivariance_error", "sample 256"] < found["equivariance_error", "sample 16"]
    counted = {mode: found["calls", mode] for mode in ("exact", "quadrature 6", "sample 16", "frame SO(3)", "frame O(3)")}
    assert list(counted.values()) == [48, 196, 16, 4, 8]
    assert "| exact | B(3) | 48 |" in simulation.summary(lines)


def test_the_command_writes_its_table(tmp_path, capsys):
    config = ROOT / "configs" / "plugins" / "averaging" / "modes.yaml"
    assert main(["simulate", "--config", str(config), "--quick", "--out", str(tmp_path)]) == 0
    assert "| frame O(3) | O(3) | 8 |" in capsys.readouterr().out
    assert (tmp_path / "figure.png").is_file()


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="num_points >= 2"):
        AveragingModes(num_points=1)
