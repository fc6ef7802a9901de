"""What do files for these configs look like? This writes small ones: 12 sensors in 4 districts of a ring road, 400 hours.

    python configs/custom/sample.py [FOLDER]

| file          | read by                          | what is in it                                                             |
|---------------|----------------------------------|---------------------------------------------------------------------------|
| `edges.csv`   | all                              | the ring; within a district the road is busier                            |
| `signals.csv` | `signals.yaml`                   | each district's slow signal, seen by its three sensors; 1 in 17 missing   |
| `counts.csv`  | `classify.yaml`, `regress.yaml`  | noisy counts; what is much in one district is little in another           |
| `states.csv`  | `classify.yaml`                  | whether each sensor's district is calm, busy or jammed; 1 in 19 not known |
| `delays.csv`  | `regress.yaml`                   | one number for each hour: the delay in the district where it is longest   |
"""

import random
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

NAMES = [f"s{i}" for i in range(12)]
HOURS = 400
STATES = ("calm", "busy", "jammed")
MINUTES = (4, 8, 2, 6)  # of delay for each step from calm to jammed, in each district
USUAL = (20, 32, 26, 38)  # counts of each district when calm


def main(folder: Path) -> None:
    """Write all files."""
    folder.mkdir(parents=True, exist_ok=True)
    ring = zip(NAMES, NAMES[1:] + NAMES[:1], strict=True)
    # Within a district the road is busier: what the clustering goes by.
    edges = [[a, b, str(3 if NAMES.index(a) % 3 < 2 else 1)] for a, b in ring]
    write(folder / "edges.csv", ["source", "target", "weight"], edges)
    write_levels(folder)
    write_states(folder)


def write_levels(folder: Path) -> None:
    """Readings of a slow level of each district."""
    drawn = random.Random(0)
    level = [0.0] * 4
    signals = []
    for hour in range(HOURS):
        level = [0.8 * each + 3 * drawn.gauss(0, 1) for each in level]
        readings = [f"{20 + level[i // 3] + 0.5 * drawn.gauss(0, 1):.2f}" for i in range(12)]
        signals.append([f"{hour}h", *(r if (5 * hour + i) % 17 else "" for i, r in enumerate(readings))])
    write(folder / "signals.csv", ["time", *NAMES], signals)


def write_states(folder: Path) -> None:
    """Counts that are so noisy that one sensor alone does not tell the state of its district, and what comes of the states."""
    drawn = random.Random(2)
    state = [0] * 4
    counts, states, delays = [], [], []
    for hour in range(HOURS):
        state = [each if drawn.random() < 0.7 else drawn.randrange(3) for each in state]
        counts.append([f"{hour}h", *(f"{USUAL[i // 3] + 4 * state[i // 3] + 3 * drawn.gauss(0, 1):.1f}" for i in range(12))])
        states.append([f"{hour}h", *(STATES[state[i // 3]] if (7 * hour + i) % 19 else "" for i in range(12))])
        delay = max(minutes * each for minutes, each in zip(MINUTES, state, strict=True))
        delays.append([f"{hour}h", f"{delay + drawn.gauss(0, 1):.1f}"])
    write(folder / "counts.csv", ["time", *NAMES], counts)
    write(folder / "states.csv", ["time", *NAMES], states)
    write(folder / "delays.csv", ["time", "delay"], delays)


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write one table and print its path."""
    path.write_text("\n".join([",".join(row) for row in (header, *rows)] + [""]))
    print(f"wrote {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
