"""A line of the table of configs/README.md: its numbers from recorded trials, their seeds, time and machine."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from configs.recorded import Trial, metric_cell


@dataclass(frozen=True)
class Number:
    """A number of a config: of the trials of one variant (by name, or by its number of clusters) on the first training set."""

    variant: str | int
    label: str
    overrides: Mapping[str, str] = field(default_factory=dict)
    metric: str = ""
    scale: float = 1.0
    digits: int = 2

    def trials(self, recorded: Iterable[Trial], config: str) -> list[Trial]:
        """Those that measure it; the newest of each seed."""
        mine = [t for t in recorded if t.config == config and t.overrides == self.overrides and t.row.draw == 0]
        named = [t for t in mine if t.row.symmetry == self.variant]
        mine = named or [t for t in mine if (t.row.num_clusters, t.row.kind) == (self.variant, "symmetry")]
        return list({t.row.seed: t for t in sorted(mine, key=lambda t: t.date)}.values())

    def text(self, trials: Sequence[Trial]) -> str:
        """Mean and standard deviation, and what it is."""
        if self.metric or not trials:
            return f"{metric_cell(trials, self.metric, self.digits)} ({self.label})"
        values = [self.scale * t.row.test_loss for t in trials]
        spread = f" ± {stdev(values):.{self.digits}f}" if len(values) > 1 else ""
        return f"{fmean(values):.{self.digits}f}{spread} ({self.label})"


@dataclass(frozen=True)
class Config:
    """A line of the table; ``by_hand`` are number, seeds and time of what no study records."""

    path: str
    makes: str
    published: str
    data: str
    numbers: tuple[Number, ...] = ()
    by_hand: tuple[str, str, str] = ("", "", "")

    def cells(self, recorded: Sequence[Trial]) -> list[str]:
        """Its cells."""
        start, end = [f"`{self.path}`", self.makes, self.published], [self.data]
        if not self.numbers:
            return [*start, *self.by_hand, "2 cores" if self.by_hand[2] else "", *end]
        name = self.path.rpartition("/")[2].removesuffix(".yaml")
        found = [number.trials(recorded, name) for number in self.numbers]
        used = [t for trials in found for t in trials]
        seeds = ", ".join(dict.fromkeys(str(len(trials)) for trials in found))
        time = time_text([fmean(t.row.seconds for t in trials) for trials in found if trials])
        machines = "; ".join(dict.fromkeys(t.machine for t in used))
        return [*start, ", ".join(n.text(t) for n, t in zip(self.numbers, found, strict=True)), seeds, time, machines, *end]


def time_text(seconds: Sequence[float]) -> str:
    """How long a trial takes, in the unit that suits the longest.

    Example:
        >>> time_text([12.0, 50.0]), time_text([1800.0, 1830.0]), time_text([])
        ('12 to 50 s a trial', '30 min a trial', '')
    """
    if not seconds:
        return ""
    unit, size = ("s", 1) if max(seconds) < 120 else ("min", 60)
    ends = dict.fromkeys(f"{each / size:.0f}" for each in (min(seconds), max(seconds)))
    return f"{' to '.join(ends)} {unit} a trial"
