"""``python train.py simulate``: experiments whose truth is known, measured beside what theory says, as a table and a picture."""

import csv
import io
import math
import sys
import time
from abc import ABC, abstractmethod
from argparse import ArgumentError
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import numpy as np
import yaml

from gnet.errors import ConfigError
from gnet.study.finished import FinishedRuns, Run
from gnet.study.journal import csv_text, write_atomically
from gnet.study.provenance import Provenance

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser
    from matplotlib.figure import Figure


Part = TypeVar("Part", bound=Run)
Kind = Literal["exact", "upper bound", "lower bound", "unknown"]


@dataclass(frozen=True)
class Measured:
    """A line of a simulation's table: what was varied, what was measured, and what theory says of it.

    ``expected`` is the same quantity by a closed form, or a bound on it, or NaN where nothing is known; ``kind`` says which.
    """

    quantity: str
    settings: dict[str, str]
    measured: float
    standard_error: float
    expected: float
    kind: Kind = "exact"

    def cells(self, names: Sequence[str]) -> list[str]:
        """The cells of its csv line."""
        numbers = [f"{value:.9g}" for value in (self.measured, self.standard_error, self.expected)]
        return [self.quantity, *(self.settings.get(name, "") for name in names), *numbers, self.kind]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean of repetitions and its standard error, NaN for one.

    Example:
        >>> mean_and_error([1.0, 3.0]), mean_and_error([2.0])
        ((2.0, 1.0), (2.0, nan))
    """
    return float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan


class Simulation(ABC):
    """An experiment that needs no data: it is drawn, solved and measured within seconds or minutes.

    Attributes:
        recorded: the quantities that ``--record`` keeps; None keeps all.
        choosing: settings that choose which runs there are, and do not change what a run measures.
        finished: where ``over_runs`` keeps what it has measured; None keeps nothing.
    """

    recorded: tuple[str, ...] | None = None
    choosing: tuple[str, ...] = ("seeds", "first_seed")
    finished: FinishedRuns | None = None

    @abstractmethod
    def run(self) -> list[Measured]:
        """Draw and measure."""

    def over_runs(self, runs: Iterable[Part], measure: Callable[[Part], list[Measured]]) -> dict[Part, list[Measured]]:
        """The lines of each run, of those that ended before from ``finished``: for simulations of hours.

        Example:
            >>> Never = type("Never", (Simulation,), {"run": None, "draw": None, "summary": None})
            >>> [len(lines) for lines in Never().over_runs(range(2), lambda seed: [Measured("x", {}, seed, 0.0, 0.0)]).values()]
            [1, 1]
        """
        wanted = list(runs)
        known = self.finished.read() if self.finished else {}
        if self.finished and (before := [FinishedRuns.told(run) for run in wanted if run in known]):
            text = f"Ended before: {'; '.join(before)}. They are in {self.finished.path}; delete it to measure them again."
            print(text, file=sys.stderr)
        for place, run in enumerate(wanted):
            if run in known:
                continue
            begun = time.monotonic()
            known[run] = measure(run)
            if self.finished:
                self.finished.add(run, known[run])
                print(f"[{place + 1}/{len(wanted)}] {FinishedRuns.told(run)}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
        return {run: known[run] for run in wanted}

    @abstractmethod
    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """The picture of what was measured."""

    @abstractmethod
    def summary(self, lines: Sequence[Measured]) -> str:
        """A few sentences to print: what a reader should look at."""


def main(argv: Sequence[str]) -> int:
    """Run a simulation and write ``results.csv``, ``figure.pdf``, ``figure.png`` and ``report.md``; returns the exit status.

    Simulations of hours keep every run that ended beside them (``over_runs``): the same command goes on after a kill.

    Raises:
        ConfigError: no config, or one without a simulation.
    """
    words = parser()
    try:
        settings = words.parse_args(_with_quick(list(argv)))
    except ArgumentError as error:
        from gnet.training.explain import explain  # here, since it brings lightning

        raise ConfigError(explain(words, str(error), argv)) from error
    if not settings.get("simulation"):
        raise ConfigError("expected a config with a simulation; give --config configs/simulation/r3.yaml")
    out = Path(settings.out or Path("studies") / Path(_configs(argv)[-1] if _configs(argv) else "simulation").stem)
    simulation = words.instantiate(settings)["simulation"]
    start = Provenance.now(" ".join(["simulate", *argv]))
    begun = time.monotonic()
    simulation.finished = FinishedRuns.of(out, settings.simulation.as_dict(), simulation.choosing)
    print(f"{type(simulation).__name__} begins; its results go to {out}.", file=sys.stderr)
    lines = simulation.run()
    out.mkdir(parents=True, exist_ok=True)
    header, cells = _table(lines)
    write_atomically(out / "results.csv", csv_text(header, cells))
    if settings.record:
        kept = [line for line in lines if simulation.recorded is None or line.quantity in simulation.recorded]
        write_atomically(Path(settings.record), record_text(kept, start, time.monotonic() - begun))
    from gnet.study.plots import save, styled  # here, since they bring matplotlib

    with styled():
        figure = simulation.draw(lines)
    for kind in ("pdf", "png"):
        save(figure, out / f"figure.{kind}")
    text = simulation.summary(lines)
    write_atomically(out / "report.md", _report(text, start, words.dump(settings)))
    print(f"{text}\n\nWritten to {out}: results.csv, figure.pdf, figure.png, report.md.")
    return 0


SOURCE = ("seconds", "revision", "processor", "cores", "torch", "date")
"""Columns of a recorded table that say where it comes from."""


def record_text(lines: Sequence[Measured], source: Provenance, seconds: float) -> str:
    """The table of a simulation with its time, code, machine and date, as ``--record`` writes it: ``read_record`` reads it.

    Example:
        >>> line = Measured("risk", {"n": "20"}, 2.0, 0.5, 1.5)
        >>> lines, source = read_record(record_text([line], Provenance.now("simulate"), 60.0))
        >>> lines == [line], source["seconds"]
        (True, '60')
    """
    where = [f"{seconds:.0f}", source.revision, source.processor, str(source.cores), source.versions["torch"], source.date]
    header, cells = _table(lines)
    return csv_text([*header, *SOURCE], [[*row, *where] for row in cells])


def read_record(text: str) -> tuple[list[Measured], dict[str, str]]:
    """The lines of a recorded simulation, and where they come from: the columns of ``SOURCE``.

    Example:
        >>> read_record(record_text([], Provenance.now("simulate"), 1.0))
        ([], {})
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    own = ("quantity", "measured", "standard_error", "expected", "kind", *SOURCE)
    lines = [
        Measured(
            row["quantity"],
            {name: value for name, value in row.items() if name not in own},
            float(row["measured"]),
            float(row["standard_error"]),
            float(row["expected"]),
            cast(Kind, row["kind"]),
        )
        for row in rows
    ]
    return lines, {name: rows[0][name] for name in SOURCE} if rows else {}


def _table(lines: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    """Columns and cells."""
    names = list(dict.fromkeys(name for line in lines for name in line.settings))
    return ["quantity", *names, "measured", "standard_error", "expected", "kind"], [line.cells(names) for line in lines]


def parser() -> "ArgumentParser":
    """The options of ``simulate``; every argument of the simulation is a dotted override."""
    from jsonargparse import ArgumentParser

    import gnet.study.partial_symmetry
    import gnet.study.planted_selection
    import gnet.study.shrinkage
    import gnet.study.soft_symmetry
    import gnet.study.thresholds  # noqa: F401 - so that the classes are known by their short names

    words = ArgumentParser(prog="simulate", description=__doc__, exit_on_error=False)
    words.add_argument("--config", "-c", action="config", help="YAML config with the key simulation")
    words.add_argument("--out", type=str, default=None, help="where everything is written (studies/<config>)")
    words.add_argument("--record", type=str, default=None, help="a csv that keeps the table with code, machine and date")
    words.add_argument("--quick", type=dict[str, Any], default={}, metavar="", help="--quick takes the config's quick settings")
    words.add_subclass_arguments(Simulation, "simulation", required=False)
    return words


def _configs(argv: Sequence[str]) -> list[str]:
    return [b for a, b in pairwise(argv) if a in ("--config", "-c")] + [
        a.partition("=")[2] for a in argv if a.startswith("--config=")
    ]


def _with_quick(argv: list[str]) -> list[str]:
    """The arguments with ``--quick`` replaced by what the config says it means."""
    if "--quick" not in argv:
        return argv
    found: dict[str, Any] = {}
    for name in _configs(argv):
        found |= (yaml.safe_load(Path(name).read_text()) or {}).get("quick") or {}
    if not found:
        raise ConfigError("--quick needs a config with the key quick; leave it out")
    at = argv.index("--quick")
    return [*argv[:at], *(f"--simulation.init_args.{name}={value}" for name, value in found.items()), *argv[at + 1 :]]


def _report(text: str, start: Provenance, config: str) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in start.versions.items())
    where = f"{start.processor}, {start.cores} cores, {start.system}; {versions}; git revision {start.revision}; {start.date}"
    body = f"{text}\n\n![figure](figure.png)\n\n## Command, code and machine\n\n    {start.command}\n\n{where}"
    return f"# Simulation\n\n{body}\n\n## Configuration\n\n```yaml\n{config}```\n"
