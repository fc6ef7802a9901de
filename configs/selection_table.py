"""What the choice of a symmetry is worth where the truth is planted: the tables of a recorded ``simulate``."""

from collections.abc import Sequence
from pathlib import Path

from configs.recorded import RESULTS
from gnet.study.planted_regret import CURVES, regret_text
from gnet.study.simulate import Measured, read_record
from gnet.study.tables import markdown_rows

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
    regrets = regret_text([line for line in lines if line.quantity == "mean regret"])
    return "\n\n".join([regrets, *curve_tables(lines), where, COMMAND])


def selection_summary(folder: Path = RESULTS) -> str:
    """What the first tables come to: where "automatic" is behind a fixed group, and the regrets with the truth left out."""
    path = folder / NAME
    if not path.exists():
        return f"Not run yet.\n\n{COMMAND}"
    means = [line for line in read_record(path.read_text())[0] if line.quantity == "mean regret"]
    first = [line for line in means if line.settings["n"] == means[0].settings["n"]]
    conclusion = regret_text(first).split("\n\n")[-1].replace("Over these n", f"Over n = {means[0].settings['n']}")
    return f"{conclusion}\n\n{regret_text([line for line in first if line.settings['candidates'] == 'not listed'])}".rpartition(
        "\n\n"
    )[0]


def curve_tables(lines: Sequence[Measured]) -> list[str]:
    """What was learned and estimated at every n, deviations down."""
    tables = []
    for quantity, name, form, title in CURVES:
        mine = [line for line in lines if line.quantity == quantity and line.settings["method"] == name]
        if not mine:
            continue
        cells = {
            (line.settings["deviation"], line.settings["n"]): form.format(line.measured, line.standard_error) for line in mine
        }
        numbers = list(dict.fromkeys(line.settings["n"] for line in mine))
        rows = [
            [f"deviation {each}", *(cells.get((each, n), "-") for n in numbers)]
            for each in dict.fromkeys(line.settings["deviation"] for line in mine)
        ]
        text = markdown_rows(["", *(f"n = {n}" for n in numbers)], rows).replace("|  |", "| |", 1)
        tables.append(f"{title}:\n\n{text}")
    return tables
