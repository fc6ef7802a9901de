"""Which numbers stand in the READMEs here and above: write their tables again from the trials in ``configs/results/*.csv``.

    make tables     (or: python configs/tables.py; with --check it only says whether the pages are up to date)

A table is a region of a page, ``<!-- table:NAME -->`` ... ``<!-- /table -->``. A study records its trials with
``--record configs/results/NAME.csv``, a simulation its table as ``simulation_NAME.csv``. What has not been run yet says so.
"""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from configs.automatic_table import automatic_table  # noqa: E402 - found through the path set above
from configs.graph_tables import pose_table, traffic_differences, traffic_table  # noqa: E402 - found through the path set above
from configs.overview import config_table  # noqa: E402
from configs.recorded import RESULTS, Trial, read_trials, source_text  # noqa: E402
from configs.selection_table import selection_summary, selection_table  # noqa: E402
from gnet.study.journal import Row  # noqa: E402
from gnet.study.tables import markdown_rows, paired_difference  # noqa: E402

README = ROOT / "README.md"
CONFIGS = ROOT / "configs" / "README.md"
ESTIMATORS = ROOT / "docs" / "estimators.md"
SIDES = (1, 2, 4, 7, 14, 28)
SHOWN = 100  # the paper prints test MSE x 100


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
    return "\n".join([f"{markdown_rows(header, lines)}\n\n{source}\n", *commands])


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
    return "\n".join([f"{markdown_rows(header, lines)}\n\n{source_text(trials) if trials else 'Not run yet.'}\n", *commands])


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
    return f"{markdown_rows(header, lines)}\n\nRedrawn training sets:\n\n" + "\n".join(commands)


def difference_text(rows: Sequence[Row], unit: str) -> str:
    """Mean and standard error of the paired difference between 14 x 14 patches and none; ``unit`` is what is independent."""
    patches, trivial = ([row for row in rows if row.num_clusters == side**2] for side in (14, 28))
    difference = paired_difference(patches, trivial)
    if difference.units == 0:
        return "not run yet"
    error = f" ± {SHOWN * difference.error:.2f}" if difference.units > 1 else ""
    return f"{SHOWN * difference.mean:+.2f}{error} ({difference.units} {unit})"


def tables(recorded: Sequence[Trial]) -> dict[str, str]:
    """Every table of the README by name."""
    made = {name: inpainting_table(name, recorded) for name in EXPERIMENTS}
    made |= {"inpainting-hflip": flip_table(recorded), "inpainting-differences": difference_table(recorded)}
    made |= {"traffic": traffic_table(recorded), "traffic-differences": traffic_differences(recorded)}
    return {**made, "pose": pose_table(recorded), "automatic": automatic_table(recorded), "selection": selection_summary()}


def fill(text: str, made: Mapping[str, str]) -> str:
    """The text with each region filled; a region without a table, or a table without a region, is an error."""
    found = re.findall(r"<!-- table:([\w-]+) -->", text)
    if sorted(found) != sorted(made):
        raise SystemExit(f"the page has the tables {sorted(found)}, expected {sorted(made)}")
    region = re.compile(r"(<!-- table:([\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)
    return region.sub(lambda match: f"{match[1]}\n{made[match[2]]}\n\n{match[3]}", text)


def pages(recorded: Sequence[Trial]) -> dict[Path, dict[str, str]]:
    """Every page with its tables by name."""
    return {
        README: tables(recorded),
        CONFIGS: {"configs": config_table(recorded)},
        ESTIMATORS: {"selection-all": selection_table()},
    }


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with ``--check`` compare them."""
    old = {page: page.read_text() for page in (README, CONFIGS, ESTIMATORS)}
    new = {page: fill(old[page], made) for page, made in pages(read_trials(RESULTS)).items()}
    if "--check" in arguments:
        stale = [page.relative_to(ROOT).as_posix() for page in old if old[page] != new[page]]
        print(f"{', '.join(stale)} differ from configs/results; run: make tables" if stale else "up to date")
        return int(bool(stale))
    for page, text in new.items():
        page.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
