"""What the sum over groups (``symmetry: Automatic``) is worth on real data: beside every other net, paired by seed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from configs.graph_tables import RELEASED
from configs.recorded import Trial, of_variants, source_text
from gnet.study.journal import parse_metrics
from gnet.study.tables import markdown_rows, paired_difference

AUTOMATIC = "automatic"


@dataclass(frozen=True)
class Task:
    """A task on which symmetries were fixed: its config, what is shown of a trial, the options that train the sum, and the seeds
    whose test errors were seen when the rule was made, which do not count; of images, overrides that make the rivals' data these.
    """

    title: str
    config: str
    folder: str
    results: str
    shown: Callable[[Trial], float]
    digits: int
    overrides: Mapping[str, str]
    options: str
    seen: tuple[int, ...] = ()
    rival_data: Mapping[str, str] | None = None

    def columns(self, recorded: Sequence[Trial]) -> tuple[list[Trial], dict[str, list[Trial]]]:
        """The trials of the sum, and those of each fixed symmetry by name."""
        found = of_variants(recorded, self.config, {})
        summed = of_variants(recorded, self.config, self.overrides)
        fixed = {name: trials for name, trials in found.items() if trials[0].row.kind == "symmetry" and name not in LEFT_OUT}
        if self.rival_data is not None:
            fixed |= of_variants(recorded, RIVALS, self.rival_data)
        names = summed if self.overrides else [AUTOMATIC]  # by overrides everything is the sum, else the variant
        return [trial for name in names for trial in summed.get(name, [])], fixed

    @property
    def command(self) -> str:
        """What trains and records the sums, and the rivals on images, each on two indented lines."""
        first = f" --first-seed {max(self.seen) + 1}" if self.seen else ""
        start = "    .venv/bin/python train.py study --config"
        lines = [
            f"{start} configs/{self.folder}/{self.config}.yaml {self.options} --seeds 3{first} \\",
            f"        --no-baselines --out runs/automatic-{self.config} --record configs/results/{self.results}.csv",
        ]
        if self.rival_data is not None:
            options = "".join(f" --{key} {value}" for key, value in self.rival_data.items())
            lines += [
                f"{start} configs/inpainting/{RIVALS}.yaml{options} --seeds 3{first} \\",
                f"        --out runs/rivals-{self.config} --record configs/results/inpainting_{RIVALS}.csv",
            ]
        return "\n".join(lines)


RIVALS = "rivals"
"""The config of other nets that the sum should beat."""

LEFT_OUT = (AUTOMATIC, *RELEASED)
"""No fixed symmetries: the sum itself, and the published code's mistake."""


def _loss(trial: Trial) -> float:
    return 100 * trial.row.test_loss


def _metric(name: str) -> Callable[[Trial], float]:
    return lambda trial: parse_metrics(trial.row.metrics)[name]


RULE = {"model.symmetry": "Automatic"}
FASHION = {"data": "datasets.FashionMNIST", "data.mask_side": "20"}
TASKS = (
    Task("MNIST, MSE x 100", "mnist", "inpainting", "inpainting_mnist", _loss, 2, RULE, "--model.symmetry Automatic", (0,), {}),
    Task(
        "Fashion, MSE x 100",
        "fashion",
        "inpainting",
        "inpainting_fashion",
        _loss,
        2,
        RULE,
        "--model.symmetry Automatic",
        (),
        FASHION,
    ),
    Task("METR-LA, MAE in mph", "metr_la", "traffic", "traffic_metr_la", _metric("mae"), 3, {}, "--variants automatic"),
    Task("CMU poses, MPJPE in mm", "cmu", "pose", "pose_cmu", _metric("mpjpe_mm"), 1, {}, "--variants automatic"),
)


def automatic_table(recorded: Sequence[Trial]) -> str:
    """The sum over groups beside every fixed symmetry, and rival, of each task, best first by mean test error."""
    lines, used = [], list[Trial]()
    for task in TASKS:
        summed, fixed = task.columns(recorded)
        summed = [t for t in summed if t.row.seed not in task.seen]
        used += summed
        seeds = {t.row.seed for t in summed}
        paired = {name: [t for t in trials if t.row.seed in seeds] for name, trials in fixed.items()}
        ranked = sorted((name for name in paired if paired[name]), key=lambda name: fmean(map(task.shown, paired[name])))
        if not summed or not ranked:
            lines.append((task.title, "not run yet", "", "", ""))
        for place, name in enumerate(ranked):
            first = (task.title, _mean(task, summed)) if place == 0 else ("", "")
            lines.append((*first, name, _mean(task, paired[name]), _less(task, summed, paired[name])))
    header = ("task and test error", "automatic", "other net", "its error on the same seeds", "automatic less other")
    commands = [task.command for task in TASKS]
    return "\n".join([f"{markdown_rows(header, lines)}\n\n{source_text(used) if used else 'Not run yet.'}\n", *commands])


def _mean(task: Task, trials: Sequence[Trial]) -> str:
    values = [task.shown(trial) for trial in trials]
    return f"{fmean(values):.{task.digits}f}" + (f" ± {stdev(values):.{task.digits}f}" if len(values) > 1 else "")


def _less(task: Task, one: Sequence[Trial], other: Sequence[Trial]) -> str:
    """Mean difference of what is shown, paired by seed, with its standard error."""
    shown = [[replace(trial.row, test_loss=task.shown(trial)) for trial in trials] for trials in (one, other)]
    difference = paired_difference(*shown)
    error = f" ± {difference.error:.{task.digits}f}" if difference.units > 1 else ""
    return f"{difference.mean:+.{task.digits}f}{error} ({difference.units} {'seeds' if difference.units > 1 else 'seed'})"
