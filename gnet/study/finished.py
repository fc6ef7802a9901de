"""What a simulation has measured so far, on disk: a kill loses the run that was going on, the same command goes on after it."""

import json
import os
from collections.abc import Collection, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnet.study.simulate import Measured

Run = int | tuple[int | str, ...]
"""A part of a simulation that depends on no other: a seed, or what is trained, on what, and which seed."""


class FinishedRuns:
    """A file with a line of JSON for every finished run. Several processes may add to it, each its own runs.

    Args:
        path: made by the first run that ends.

    Example:
        >>> FinishedRuns(Path("studies/table/runs.jsonl")).read()
        {}
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, folder: Path, settings: dict[str, Any], choosing: Collection[str]) -> "FinishedRuns":
        """The file of a simulation.

        Settings that choose which runs there are share it; others have their own, so that no line stands for what it is not.
        """
        init_args = {name: value for name, value in (settings.get("init_args") or {}).items() if name not in choosing}
        text = json.dumps([settings.get("class_path"), init_args], sort_keys=True, default=str)
        return cls(folder / f"runs-{sha256(text.encode()).hexdigest()[:8]}.jsonl")

    @staticmethod
    def told(run: Run) -> str:
        """A run in words.

        Example:
            >>> FinishedRuns.told(3), FinishedRuns.told(("hnn", "scalars", 0))
            ('seed 3', 'hnn, scalars, seed 0')
        """
        *what, seed = run if isinstance(run, tuple) else (run,)
        return ", ".join([*map(str, what), f"seed {seed}"])

    def read(self) -> dict[Run, "list[Measured]"]:
        """The lines of each finished run; one that a kill cut short does not count."""
        from gnet.study.simulate import Measured

        found: dict[Run, list[Measured]] = {}
        for text in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                kept = json.loads(text)
                run = tuple(kept["run"]) if isinstance(kept["run"], list) else kept["run"]
                found[run] = [Measured(**line) for line in kept["lines"]]
            except json.JSONDecodeError:
                continue
        return found

    def add(self, run: Run, lines: "Sequence[Measured]") -> None:
        """Append a run, at once and for good."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"run": run, "lines": [asdict(line) for line in lines]})
        with open(self.path, "a") as file:
            file.write(f"\n{text}\n")  # on a line of its own, whatever a kill left behind
            file.flush()
            os.fsync(file.fileno())
