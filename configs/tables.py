"""Which numbers stand in the README: write its tables again from the recorded trials in ``configs/results/*.csv``.

    make tables     (or: python configs/tables.py; with --check it only says whether the README is up to date)

A table is a region of the README, ``<!-- table:NAME -->`` ... ``<!-- /table -->``. A study records its trials with
``--record configs/results/NAME.csv``. What has not been run yet says so.
"""

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
from gnet.study.tables import paired_difference  # noqa: E402

README = ROOT / "README.md"
RESULTS = ROOT / "configs" / "results"
SIDES = (1, 2, 4, 7, 14, 28)
SHOWN = 100  # the paper prints test MSE x 100

# Where a run reads, writes and computes does not change which experiment it is.
INCIDENTAL = ("data.root", "data.init_args.root", "data.num_workers", "data.init_args.num_workers", "trainer")


@dataclass(frozen=True)
class Trial:
    """One recorded trial: its row, the config and overrides it was run with, and where and when."""

    row: Row
    config: str
    overrides: Mapping[str, str]
    revision: str
    machine: str
    date: str


@dataclass(frozen=True)
class Experiment:
    """A line of published numbers: which trials measure it, and what Huang, Levie and Villar (2023) report."""

    title: str
    config: str
    published: tuple[str, ...]
    overrides: Mapping[str, str]

    def trials(self, recorded: Iterable[Trial]) -> list[Trial]:
        """The recorded trials that belong here; the newest where one was run again."""
        mine = [t for t in recorded if t.config == self.config and t.overrides == self.overrides and t.row.kind == "symmetry"]
        newest = {(t.row.num_clusters, t.row.draw, t.row.seed): t for t in sorted(mine, key=lambda t: t.date)}
        return sorted(newest.values(), key=lambda t: (t.row.num_clusters, t.row.draw, t.row.seed))

    def command(self, clusters: str, repeats: str, out: str) -> str:
        """What trains and records the trials, on two indented lines."""
        words = [f"--{key} {value}" for key, value in self.overrides.items()]
        start = (
            f"    .venv/bin/python train.py study --config configs/inpainting/{self.config}.yaml --clusters {clusters} {repeats}"
        )
        where = f"--no-baselines --out runs/{out} --record configs/results/inpainting_{self.config}.csv"
        return " ".join([start, *words]) + " \\\n        " + where


LINEAR = {"model.num_layers": "1"}
EXPERIMENTS = {
    "inpainting-mnist": Experiment(
        "MNIST, 2 layers",
        "mnist",
        ("41.56 ± 0.16", "40.53 ± 0.26", "36.06 ± 0.24", "34.68 ± 0.50", "33.67 ± 0.07", "33.92 ± 0.04"),
        {},
    ),
    "inpainting-fashion": Experiment(
        "Fashion, 2 layers",
        "fashion",
        ("23.48 ± 0.14", "22.26 ± 0.02", "16.94 ± 0.08", "15.16 ± 0.10", "14.47 ± 0.11", "14.75 ± 0.11"),
        {},
    ),
    "inpainting-mnist-linear": Experiment(
        "MNIST, 1 layer",
        "mnist",
        ("44.65 ± 0.29", "44.20 ± 0.32", "39.11 ± 0.10", "36.57 ± 0.33", "35.57 ± 0.43", "35.35 ± 0.34"),
        LINEAR,
    ),
    "inpainting-fashion-linear": Experiment(
        "Fashion, 1 layer",
        "fashion",
        ("25.55 ± 0.25", "24.91 ± 0.47", "20.58 ± 0.21", "18.69 ± 0.29", "17.50 ± 0.07", "17.45 ± 0.17"),
        LINEAR,
    ),
}

FLIPS = {
    "trivial H": Experiment(
        "Fashion with flips",
        "fashion_hflip",
        ("23.52 ± 0.24", "22.83 ± 0.18", "18.11 ± 0.50", "16.28 ± 0.22", "16.11 ± 0.22", "16.12 ± 0.18"),
        {},
    ),
    "H = S2": Experiment(
        "Fashion with flips",
        "fashion_hflip",
        ("", "22.51 ± 0.16", "", "", "14.56 ± 0.08", "14.94 ± 0.27"),
        {"model.symmetry.swaps": "horizontal_flip"},
    ),
}

# Test MAE in mph and MPJPE and P-MPJPE in mm, Huang, Levie and Villar (2023), of three runs each.
TRAFFIC = {
    "full": {"S207": "3.106 ± 0.013", "2 clusters": "3.092 ± 0.008", "9 clusters": "3.174 ± 0.013"},
    "sparse": {"S207": "3.173 ± 0.013", "2 clusters": "3.150 ± 0.008", "9 clusters": "3.204 ± 0.006"},
}
RELEASED = ("2 clusters, one weight (released)", "9 clusters, one weight (released)")
TRAFFIC_BASELINES = ("gcn", "mlp_per_node", "last_value", "historical_average")
POSE = {
    "S16": ("42.55 ± 0.88", "34.48 ± 0.44"),
    "(S6)^2": ("43.33 ± 0.99", "34.87 ± 0.48"),
    "relaxed S16": ("39.87 ± 0.46", "31.38 ± 0.14"),
    "(S2)^2": ("42.18 ± 0.49", "32.08 ± 0.20"),
    "trivial": ("41.60 ± 0.3", "31.69 ± 0.1"),
    "S16, self": ("", ""),
    "(S2)^2, self": ("", ""),
    "ridge": ("", ""),
    "mean": ("", ""),
}


def read_trials(folder: Path) -> list[Trial]:
    """Every trial in the recorded tables of a folder, which need not exist."""
    trials = []
    for path in sorted(folder.glob("*.csv")):
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
        >>> parse_overrides("--model.num_layers 1 --trainer.devices=1")
        {'model.num_layers': '1'}
    """
    pairs = dict(re.findall(r"--([\w.]+)(?:=|\s+)(\S+)", text))
    return {key: value for key, value in pairs.items() if not key.startswith(INCIDENTAL)}


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table: first column to the left, the others to the right."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines])


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


def inpainting_table(name: str, recorded: Sequence[Trial]) -> str:
    """Our test MSE beside the published one, one line per size of patches."""
    experiment = EXPERIMENTS[name]
    trials = [t for t in experiment.trials(recorded) if t.row.draw == 0]
    lines = []
    for side, published in zip(SIDES, experiment.published, strict=True):
        here = [t.row for t in trials if t.row.num_clusters == side**2]
        ours, weights, away = "not run yet", "", ""
        if here:
            losses = [SHOWN * row.test_loss for row in here]
            ours = f"{fmean(losses):.2f}" + (f" ± {stdev(losses):.2f}" if len(losses) > 1 else "")
            weights = str(here[0].num_weights)
            away = f"{100 * (fmean(losses) / float(published.split()[0]) - 1):+.1f} %"
        group = "trivial" if side == 28 else f"S{784 // side**2}" + (f"^{side**2}" if side > 1 else "")
        lines.append((f"{side} x {side}", group, weights, str(len(here)), ours, published, away))
    header = ("patches", "group", "weights", "seeds", "test MSE x 100", "published", "difference")
    clusters = [str(side**2) for side in SIDES]
    # Fewer seeds without symmetry where it takes longest by far: with two layers it has 34 million weights.
    parts = [(clusters, 10)] if experiment.overrides == LINEAR else [(clusters[:-1], 10), (clusters[-1:], 3)]
    commands = [experiment.command(" ".join(part), f"--seeds {seeds}", name) for part, seeds in parts]
    source = source_text(trials) if trials else "Not run yet."
    return "\n".join([f"{markdown(header, lines)}\n\n{source}\n", *commands])


def flip_table(recorded: Sequence[Trial]) -> str:
    """The ablation of coarse symmetry: patches that a flip may swap, H = S2, beside patches that stay apart."""
    found = {
        # The column num_clusters counts node orbits, and the flip joins patches in pairs.
        name: {
            side: [t for t in experiment.trials(recorded) if t.row.num_clusters == side**2 // (2 if name == "H = S2" else 1)]
            for side in SIDES
        }
        for name, experiment in FLIPS.items()
    }
    lines = []
    for at, side in enumerate(SIDES):
        cells = [f"{side} x {side}"]
        for name, experiment in FLIPS.items():
            published, losses = experiment.published[at], [SHOWN * t.row.test_loss for t in found[name][side]]
            ours = (
                f"{fmean(losses):.2f}" + (f" ± {stdev(losses):.2f} ({len(losses)})" if len(losses) > 1 else "") if losses else ""
            )
            cells += [(ours or "not run yet") if published else "-", published or "-"]
        tied, free = ([t.row for t in found[name][side]] for name in ("H = S2", "trivial H"))
        paired = paired_difference(tied, free)
        error = f" ± {SHOWN * paired.error:.2f}" if paired.units > 1 else ""
        both = [each.published[at].split()[:1] for each in FLIPS.values()]
        gap = f"{float(both[1][0]) - float(both[0][0]):+.2f}" if all(both) else "-"
        lines.append((*cells, f"{SHOWN * paired.mean:+.2f}{error}" if paired.units else "-", gap))
    header = ("patches", "trivial H (seeds)", "published", "H = S2 (seeds)", "published", "H = S2 less trivial H", "published")
    trials = [t for of_side in found.values() for some in of_side.values() for t in some]
    free, tied = FLIPS.values()
    commands = [
        free.command("1 4 16 49 196", "--seeds 10", "hflip"),
        free.command("784", f"--seeds {max(3, len(found['trivial H'][28]))}", "hflip"),
        tied.command("4 196", "--seeds 10", "hflip-tied"),
        tied.command("784", f"--seeds {max(3, len(found['H = S2'][28]))}", "hflip-tied"),
    ]
    return "\n".join([f"{markdown(header, lines)}\n\n{source_text(trials) if trials else 'Not run yet.'}\n", *commands])


def difference_table(recorded: Sequence[Trial]) -> str:
    """Is 14 x 14 better than no symmetry? Differences paired by seed, on the published training set and on redrawn ones."""
    lines = []
    for experiment in EXPERIMENTS.values():
        rows = [t.row for t in experiment.trials(recorded)]
        published_set = difference_text([row for row in rows if row.draw == 0], "seeds")
        redrawn = difference_text([row for row in rows if row.draw > 0], "draws")
        low, high = (float(experiment.published[SIDES.index(side)].split()[0]) for side in (14, 28))
        lines.append((experiment.title, f"{low - high:+.2f}", published_set, redrawn))
    header = ("test MSE x 100, 14 x 14 less 28 x 28", "published means", "the published training set", "redrawn training sets")
    commands = [
        experiment.command("196 784", "--seeds 1 --draws 11", f"{name}-draws") for name, experiment in EXPERIMENTS.items()
    ]
    return f"{markdown(header, lines)}\n\nRedrawn training sets:\n\n" + "\n".join(commands)


def difference_text(rows: Sequence[Row], unit: str) -> str:
    """Mean and standard error of the paired difference between 14 x 14 patches and none; ``unit`` is what is independent."""
    patches, trivial = ([row for row in rows if row.num_clusters == side**2] for side in (14, 28))
    difference = paired_difference(patches, trivial)
    if difference.units == 0:
        return "not run yet"
    error = f" ± {SHOWN * difference.error:.2f}" if difference.units > 1 else ""
    return f"{SHOWN * difference.mean:+.2f}{error} ({difference.units} {unit})"


def of_variants(recorded: Iterable[Trial], config: str, overrides: Mapping[str, str]) -> dict[str, list[Trial]]:
    """The recorded trials of a config under some overrides by the name of their variant; the newest where one was run again."""
    mine = [t for t in recorded if t.config == config and t.overrides == overrides and t.row.draw == 0]
    newest = {(t.row.symmetry, t.row.seed): t for t in sorted(mine, key=lambda t: t.date)}
    return {name: [t for (other, _), t in newest.items() if other == name] for name in dict.fromkeys(name for name, _ in newest)}


def metric_cell(trials: Sequence[Trial], name: str, digits: int) -> str:
    """Mean and standard deviation of a metric over trials."""
    values = [parse_metrics(t.row.metrics)[name] for t in trials]
    if not values:
        return "not run yet"
    return f"{fmean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(set(values)) > 1 else "")


def traffic_table(recorded: Sequence[Trial]) -> str:
    """Errors of forecasts three steps ahead on METR-LA, beside the published ones."""
    lines, used = [], list[Trial]()
    for graph, published in TRAFFIC.items():
        found = of_variants(recorded, "metr_la", {} if graph == "full" else {"data.graph": "sparse"})
        for name in [*published, *([*RELEASED, *TRAFFIC_BASELINES] if graph == "full" else [])]:
            trials = found.get(name, [])
            used += trials
            cells = [metric_cell(trials, metric, 3) for metric in ("mae", "mae_1", "mae_2", "mae_3", "rmse")]
            place = graph if name not in ("mlp_per_node", "last_value", "historical_average") else "-"
            lines.append((name, place, str(len(trials)), *cells, metric_cell(trials, "mape", 2), published.get(name, "-")))
    header = (
        "weights of",
        "graph",
        "seeds",
        "MAE, mph",
        "in 5 min",
        "in 10 min",
        "in 15 min",
        "RMSE",
        "MAPE, %",
        "published MAE",
    )
    start = "    .venv/bin/python train.py study --config configs/traffic/metr_la.yaml --seeds 3"
    record = "\\\n        --record configs/results/traffic_metr_la.csv --out runs/metr_la"
    names = " ".join(_quoted(TRAFFIC["sparse"]))
    commands = [
        f"{start} --baselines {' '.join(TRAFFIC_BASELINES)} {record}",
        f"{start} --no-baselines --variants {names} {record}_sparse --data.graph sparse",
    ]
    return "\n".join([f"{markdown(header, lines)}\n\n{source_text(used) if used else 'Not run yet.'}\n", *commands])


def traffic_differences(recorded: Sequence[Trial]) -> str:
    """What weights of each cluster change: paired by seed, against one weight for all, in both senses."""
    lines = []
    pairs = [("2 clusters", "S207"), ("9 clusters", "S207"), *zip(("2 clusters", "9 clusters"), RELEASED, strict=True)]
    for graph in TRAFFIC:
        found = of_variants(recorded, "metr_la", {} if graph == "full" else {"data.graph": "sparse"})
        for one, other in pairs if graph == "full" else pairs[:2]:
            difference = paired_difference(*([t.row for t in found.get(name, [])] for name in (one, other)))
            error = f" ± {difference.error:.3f}" if difference.units > 1 else ""
            text = f"{difference.mean:+.3f}{error} ({difference.units} seeds)" if difference.units else "not run yet"
            published = "-"
            if other == "S207":
                published = f"{float(TRAFFIC[graph][one].split()[0]) - float(TRAFFIC[graph][other].split()[0]):+.3f}"
            lines.append((f"{one} less {other}", graph, text, published))
    return markdown(("test MAE, mph", "graph", "difference ± standard error", "published means"), lines)


def pose_table(recorded: Sequence[Trial]) -> str:
    """Errors of lifted poses on CMU motion capture, beside those published for Human3.6M."""
    lines, used = [], list[Trial]()
    found = of_variants(recorded, "cmu", {})
    for name, (mpjpe, p_mpjpe) in POSE.items():
        trials = found.get(name, [])
        used += trials
        weights = str(trials[0].row.num_weights) if trials else ""
        errors = (metric_cell(trials, metric, 1) for metric in ("mpjpe_mm", "p_mpjpe_mm"))
        lines.append((name, weights, str(len(trials)), *errors, mpjpe or "-", p_mpjpe or "-"))
    header = ("group", "weights", "seeds", "MPJPE, mm", "P-MPJPE, mm", "published MPJPE", "published P-MPJPE")
    command = (
        "    .venv/bin/python train.py study --config configs/pose/cmu.yaml --seeds 3 --baselines ridge mean \\\n"
        "        --record configs/results/pose_cmu.csv --out runs/cmu"
    )
    return f"{markdown(header, lines)}\n\n{source_text(used) if used else 'Not run yet.'}\n\n{command}"


def _quoted(names: Iterable[str]) -> list[str]:
    return [f'"{name}"' if " " in name else name for name in names]


def tables(recorded: Sequence[Trial]) -> dict[str, str]:
    """Every table of the README by name."""
    made = {name: inpainting_table(name, recorded) for name in EXPERIMENTS}
    made |= {"inpainting-hflip": flip_table(recorded), "inpainting-differences": difference_table(recorded)}
    made |= {"traffic": traffic_table(recorded), "traffic-differences": traffic_differences(recorded)}
    return {**made, "pose": pose_table(recorded)}


def fill(text: str, made: Mapping[str, str]) -> str:
    """The text with each region filled; a region without a table, or a table without a region, is an error."""
    found = re.findall(r"<!-- table:([\w-]+) -->", text)
    if sorted(found) != sorted(made):
        raise SystemExit(f"README has the tables {sorted(found)}, expected {sorted(made)}")
    region = re.compile(r"(<!-- table:([\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)
    return region.sub(lambda match: f"{match[1]}\n{made[match[2]]}\n\n{match[3]}", text)


def main(arguments: Sequence[str]) -> int:
    """Write the README, or with ``--check`` compare it."""
    text = README.read_text()
    new = fill(text, tables(read_trials(RESULTS)))
    if "--check" in arguments:
        print("up to date" if new == text else "README.md differs from configs/results; run: make tables")
        return int(new != text)
    README.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
