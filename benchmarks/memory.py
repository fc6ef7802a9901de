"""Memory of this process as the system counts it: imported by the benchmarks beside it (Linux alone; NaN elsewhere)."""

import math
from pathlib import Path

STATUS, REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(peak: bool) -> float:
    """Megabytes in memory, now or at most."""
    if not STATUS.exists():
        return math.nan
    entry = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM" if peak else "VmRSS"))
    return int(entry.split()[1]) / 1024


def forget_peak() -> float:
    """Let the peak start afresh; returns what is resident now."""
    if REFERENCES.exists():
        REFERENCES.write_text("5")
    return resident(peak=False)
