"""The tables of forecasts and poses: nets with a graph inside, on METR-LA and on CMU motion capture, beside published numbers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from configs.recorded import Trial, metric_cell, of_variants, source_text
from gnet.study.tables import markdown_rows, paired_difference


@dataclass(frozen=True)
class Forecasts:
    """Trials on METR-LA: overrides, folder, further variants, the baselines that these overrides change, published test MAE."""

    overrides: Mapping[str, str]
    out: str
    others: tuple[str, ...]
    baselines: tuple[str, ...]
    published: Mapping[str, str]

    @property
    def command(self) -> str:
        """What trains and records them, on indented lines."""
        words = ["--seeds 3", f"--baselines {' '.join(self.baselines)}"]
        words += [f"--{name} {value}" for name, value in self.overrides.items()]
        variants = " ".join(_quoted([*self.published, *self.others]))
        where = f"--variants {variants} \\\n        --record configs/results/traffic_metr_la.csv --out runs/{self.out}"
        return f"    .venv/bin/python train.py study --config configs/traffic/metr_la.yaml {' '.join(words)} \\\n        {where}"


# Published are test MAE in mph, and MPJPE and P-MPJPE in mm, of three runs each: Huang, Levie and Villar (2023).
RELEASED = ("2 clusters, one weight (released)", "9 clusters, one weight (released)")
SEE_NO_GRAPH = ("mlp_per_node", "last_value", "historical_average")
TRAFFIC = {
    "full": Forecasts(
        {},
        "metr_la",
        RELEASED,
        ("gcn", *SEE_NO_GRAPH),
        {"S207": "3.106 ± 0.013", "2 clusters": "3.092 ± 0.008", "9 clusters": "3.174 ± 0.013"},
    ),
    "sparse": Forecasts(
        {"data.graph": "sparse"},
        "metr_la_sparse",
        (),
        ("gcn",),
        {"S207": "3.173 ± 0.013", "2 clusters": "3.150 ± 0.008", "9 clusters": "3.204 ± 0.006"},
    ),
    "full, zeros counted": Forecasts(
        {"data.count_missing": "true"},  # the published metric
        "metr_la_zeros",
        (),
        ("last_value",),
        {"S207": "3.106 ± 0.013", "2 clusters": "3.092 ± 0.008", "9 clusters": "3.174 ± 0.013"},
    ),
}
POSE = {
    "S16": ("42.55 ± 0.88", "34.48 ± 0.44"),
    "(S6)^2": ("43.33 ± 0.99", "34.87 ± 0.48"),
    "relaxed S16": ("39.87 ± 0.46", "31.38 ± 0.14"),
    "(S2)^2": ("42.18 ± 0.49", "32.08 ± 0.20"),
    "trivial": ("41.60 ± 0.3", "31.69 ± 0.1"),
    "S16, self": ("", ""),
    "(S2)^2, self": ("", ""),
    "trivial, self": ("", ""),
    "S16, means": ("42.55 ± 0.88", "34.48 ± 0.44"),
    "(S6)^2, means": ("43.33 ± 0.99", "34.87 ± 0.48"),
    "S16, self, means": ("", ""),
    "ridge": ("", ""),
    "mean": ("", ""),
}


def traffic_table(recorded: Sequence[Trial]) -> str:
    """Errors of forecasts three steps ahead on METR-LA, beside the published ones."""
    lines, used = [], list[Trial]()
    for graph, runs in TRAFFIC.items():
        found = of_variants(recorded, "metr_la", runs.overrides)
        for name in [*runs.published, *runs.others, *runs.baselines]:
            trials = found.get(name, [])
            used += trials
            cells = [metric_cell(trials, metric, 3) for metric in ("mae", "mae_1", "mae_2", "mae_3", "rmse")]
            place = graph.replace("full", "-") if name in SEE_NO_GRAPH else graph
            lines.append((name, place, str(len(trials)), *cells, metric_cell(trials, "mape", 2), runs.published.get(name, "-")))
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
    commands = [runs.command for runs in TRAFFIC.values()]
    return "\n".join([f"{markdown_rows(header, lines)}\n\n{source_text(used) if used else 'Not run yet.'}\n", *commands])


def traffic_differences(recorded: Sequence[Trial]) -> str:
    """What weights of each cluster change: paired by seed, against one weight for all, in both senses."""
    lines = []
    for graph, runs in TRAFFIC.items():
        found = of_variants(recorded, "metr_la", runs.overrides)
        clusters = ("2 clusters", "9 clusters")
        for one, other in [*((name, "S207") for name in clusters), *zip(clusters, runs.others, strict=False)]:
            difference = paired_difference(*([t.row for t in found.get(name, [])] for name in (one, other)))
            error = f" ± {difference.error:.3f}" if difference.units > 1 else ""
            text = (
                f"{difference.mean:+.3f}{error} ({difference.units} seed{'s' * (difference.units > 1)})"
                if difference.units
                else "not run yet"
            )
            means = [float(runs.published[name].split()[0]) for name in (one, other) if name in runs.published]
            lines.append((f"{one} less {other}", graph, text, f"{means[0] - means[1]:+.3f}" if len(means) == 2 else "-"))
    return markdown_rows(("test MAE, mph", "graph", "difference ± standard error", "published means"), lines)


def pose_table(recorded: Sequence[Trial]) -> str:
    """Errors of lifted poses on CMU motion capture, beside those published for Human3.6M."""
    lines, used = [], list[Trial]()
    found = of_variants(recorded, "cmu", {})
    for name, (mpjpe, p_mpjpe) in POSE.items():
        trials = found.get(name, [])
        used += trials
        weights = str(trials[0].row.num_weights) if trials else ""
        errors = (metric_cell(trials, f"{metric}_mm{over}", 1) for over in ("", "_actions") for metric in ("mpjpe", "p_mpjpe"))
        lines.append((name, weights, str(len(trials)), *errors, mpjpe or "-", p_mpjpe or "-"))
    over = (f"{metric} over {what}, mm" for what in ("frames", "actions") for metric in ("MPJPE", "P-MPJPE"))
    header = ("group", "weights", "seeds", *over, "published MPJPE", "published P-MPJPE")
    variants = " ".join(_quoted([name for name in POSE if name not in ("ridge", "mean")]))
    command = (
        "    .venv/bin/python train.py study --config configs/pose/cmu.yaml --seeds 3 --baselines ridge mean \\\n"
        f"        --variants {variants} \\\n        --record configs/results/pose_cmu.csv --out runs/cmu"
    )
    return f"{markdown_rows(header, lines)}\n\n{source_text(used) if used else 'Not run yet.'}\n\n{command}"


def _quoted(names: Iterable[str]) -> list[str]:
    return [f'"{name}"' if set(name) & set(" ()^,") else name for name in names]
