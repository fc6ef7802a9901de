"""What a simulation has measured of every seed so far, on disk: a kill loses the seed that was running, a rerun goes on."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnet.study.simulate import Measured

COUNTS = ("seeds", "first_seed")
"""Settings that say which seeds are measured, not what is."""


class FinishedSeeds:
    """A file with a line of JSON for every finished seed. Several processes may add to it, each its own seeds.

    Args:
        path: made by the first seed that ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, folder: Path, settings: dict[str, Any]) -> "FinishedSeeds":
        """The file of a simulation: settings other than ``COUNTS`` have their own, so that no line stands for what it is not."""
        init_args = {name: value for name, value in (settings.get("init_args") or {}).items() if name not in COUNTS}
        text = json.dumps([settings.get("class_path"), init_args], sort_keys=True, default=str)
        return cls(folder / f"seeds-{sha256(text.encode()).hexdigest()[:8]}.jsonl")

    def read(self) -> dict[int, "list[Measured]"]:
        """The lines of each finished seed; one that a kill cut short does not count."""
        from gnet.study.simulate import Measured

        found: dict[int, list[Measured]] = {}
        for text in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                seed = json.loads(text)
                found[seed["seed"]] = [Measured(**line) for line in seed["lines"]]
            except json.JSONDecodeError:
                continue
        return found

    def add(self, seed: int, lines: "Sequence[Measured]") -> None:
        """Append a seed, at once and for good."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"seed": seed, "lines": [asdict(line) for line in lines]})
        with open(self.path, "a") as file:
            file.write(f"\n{text}\n")  # on a line of its own, whatever a kill left behind
            file.flush()
            os.fsync(file.fileno())
