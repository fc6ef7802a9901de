"""What the choice of a symmetry is worth where the truth is planted: the tables of a recorded ``simulate``."""

from pathlib import Path

from configs.recorded import RESULTS
from gnet.study.planted_regret import behind_text, regret_tables, regret_text
from gnet.study.simulate import read_record

COMMAND = """    .venv/bin/python train.py simulate --config configs/simulation/selection.yaml --out runs/selection \\
        --record configs/results/simulation_selection.csv"""
NAME = "simulation_selection.csv"


def selection_table(folder: Path = RESULTS) -> str:
    """Mean regrets of every way to choose and every fixed group, what was learned and estimated, and where it comes from."""
    path = folder / NAME
    if not path.exists():
        return f"Not run yet.\n\n{COMMAND}"
    lines, source = read_record(path.read_text())
    machine = f"{source['processor']}, {source['cores']} cores, torch {source['torch']}"
    minutes = float(source["seconds"]) / 60
    where = f"{minutes:.0f} min. {machine}. {source['date'][:10]}, revision {source['revision']}."
    return "\n\n".join([regret_text(lines), where, COMMAND])


def selection_summary(folder: Path = RESULTS) -> str:
    """What the first tables come to: where "automatic" is behind a fixed group, and the regrets with the truth left out."""
    path = folder / NAME
    if not path.exists():
        return f"Not run yet.\n\n{COMMAND}"
    means = [line for line in read_record(path.read_text())[0] if line.quantity == "mean regret"]
    first = [line for line in means if line.settings["n"] == means[0].settings["n"]]
    told = behind_text(first, "automatic", f"n = {means[0].settings['n']}")
    return "\n\n".join([told, *regret_tables([line for line in first if line.settings["candidates"] == "not listed"])])
