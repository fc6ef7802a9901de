"""The trials that studies have recorded in ``configs/results/*.csv``, and what tables say of them."""

import csv
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from gnet.study.journal import COLUMNS, Row, parse_metrics  # noqa: E402 - found through the path set above

RESULTS = ROOT / "configs" / "results"

# Where a run reads, writes and computes does not change which experiment it is.
INCIDENTAL = (
    *("data.root", "data.init_args.root", "data.num_workers", "data.init_args.num_workers"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.enable_progress_bar", "trainer.logger"),
)


@dataclass(frozen=True)
class Trial:
    """One recorded trial: its row, the config and overrides it was run with, and where and when."""

    row: Row
    config: str
    overrides: Mapping[str, str]
    revision: str
    machine: str
    date: str


def read_trials(folder: Path) -> list[Trial]:
    """Every trial in the recorded tables of a folder, which need not exist."""
    trials = []
    for path in sorted(folder.glob("*.csv")):
        if path.name.startswith("simulation_"):
            continue  # the table of a simulation, which has no trials
        with path.open(newline="") as file:
            for line in csv.DictReader(file):
                row = Row.from_cells([line[name] for name in COLUMNS])
                machine = f"{line['processor']}, {line['cores']} cores, torch {line['torch']}"
                settings = parse_overrides(line["overrides"])
                trials.append(Trial(row, Path(line["config"]).stem, settings, line["revision"], machine, line["date"]))
    return trials


def parse_overrides(text: str) -> dict[str, str]:
    """``--model.lr=0.1 --data.root /x`` as a mapping, without what does not change the experiment.

    Example:
        >>> parse_overrides("--model.num_layers 1 --trainer.devices=1 --trainer.max_epochs=2")
        {'model.num_layers': '1', 'trainer.max_epochs': '2'}
    """
    pairs = dict(re.findall(r"--([\w.]+)(?:=|\s+)(\S+)", text))
    return {key: value for key, value in pairs.items() if not key.startswith(INCIDENTAL)}


def source_text(trials: Sequence[Trial]) -> str:
    """Seeds, time, machine, date and code of the trials of a table."""
    seeds = len({t.row.seed for t in trials})
    hours = sum(t.row.seconds for t in trials) / 3600
    time = f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"
    machines = "; ".join(dict.fromkeys(t.machine for t in trials))
    revisions = ", ".join(dict.fromkeys(t.revision for t in trials))
    dates = sorted(t.date[:10] for t in trials)
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    return f"{len(trials)} trials, {seeds} seeds, {time} of training in all. {machines}. {when}, revision {revisions}."


def of_variants(recorded: Iterable[Trial], config: str, overrides: Mapping[str, str]) -> dict[str, list[Trial]]:
    """The recorded trials of a config under some overrides by the name of their variant; the newest where one was run again."""
    mine = [t for t in recorded if t.config == config and t.overrides == overrides and t.row.draw == 0]
    newest = {(t.row.symmetry, t.row.seed): t for t in sorted(mine, key=lambda t: t.date)}
    return {name: [t for (other, _), t in newest.items() if other == name] for name in dict.fromkeys(name for name, _ in newest)}


def metric_cell(trials: Sequence[Trial], name: str, digits: int) -> str:
    """Mean and standard deviation of a metric over the trials that recorded it, and their number where others did not."""
    if not trials:
        return "not run yet"
    recorded = (parse_metrics(t.row.metrics) for t in trials)
    values = [metrics[name] for metrics in recorded if name in metrics]
    if not values:
        return "not recorded"
    count = f" ({len(values)})" if len(values) < len(trials) else ""
    return f"{fmean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(set(values)) > 1 else "") + count
