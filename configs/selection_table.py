"""What the choice of a symmetry is worth where the truth is planted: the tables of a recorded ``simulate``."""

from pathlib import Path

from configs.recorded import RESULTS
from gnet.study.planted_regret import regret_text
from gnet.study.simulate import read_record

COMMAND = """    .venv/bin/python train.py simulate --config configs/simulation/selection.yaml --out runs/selection \\
        --record configs/results/simulation_selection.csv"""


def selection_table(folder: Path = RESULTS) -> str:
    """Mean regrets of every way to choose and every fixed group, what was learned and estimated, and where it comes from."""
    path = folder / "simulation_selection.csv"
    if not path.exists():
        return f"Not run yet.\n\n{COMMAND}"
    lines, source = read_record(path.read_text())
    machine = f"{source['processor']}, {source['cores']} cores, torch {source['torch']}"
    minutes = float(source["seconds"]) / 60
    where = f"{minutes:.0f} min. {machine}. {source['date'][:10]}, revision {source['revision']}."
    return f"{regret_text(lines)}\n\n{where}\n\n{COMMAND}"
