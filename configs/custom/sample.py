"""What do files for ``signals.yaml`` look like? This writes a small pair: 12 sensors in 4 districts of a ring road, 400 hours.

    python configs/custom/sample.py [FOLDER]

Each district has its own slow signal, which its three sensors see with a little noise of their own; one reading in 17 is missing.
"""

import random
import sys
from pathlib import Path

NAMES = [f"s{i}" for i in range(12)]


def main(folder: Path) -> None:
    """Write ``signals.csv`` and ``edges.csv``."""
    folder.mkdir(parents=True, exist_ok=True)
    ring = zip(NAMES, NAMES[1:] + NAMES[:1], strict=True)
    # Within a district the road is busier: what the clustering goes by.
    edges = [f"{a},{b},{3 if NAMES.index(a) % 3 < 2 else 1}" for a, b in ring]
    (folder / "edges.csv").write_text("\n".join(["source,target,weight", *edges, ""]))
    drawn = random.Random(0)
    level = [0.0] * 4
    lines = ["time," + ",".join(NAMES)]
    for hour in range(400):
        level = [0.8 * each + 3 * drawn.gauss(0, 1) for each in level]
        readings = [f"{20 + level[i // 3] + 0.5 * drawn.gauss(0, 1):.2f}" for i in range(12)]
        lines.append(f"{hour}h," + ",".join(r if (5 * hour + i) % 17 else "" for i, r in enumerate(readings)))
    (folder / "signals.csv").write_text("\n".join([*lines, ""]))
    print(f"wrote {folder / 'signals.csv'} and {folder / 'edges.csv'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
