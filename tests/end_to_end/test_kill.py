"""A study killed again and again ends with the table of an undisturbed one, byte for byte."""

import math
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NUM_KILLS = 10
NUM_EARLY = 5  # of them before the first trial of that start has ended
WORDS = shlex.split(
    "study --config configs/inpainting/digits.yaml --clusters 1 16 64 --baselines ridge --seeds 6 --trainer.max_epochs 2 "
    "--data.num_train 12 --data.num_val 10 --data.num_test 20 --model.hidden_channels 2"
)


def start(out: Path, jobs: int) -> subprocess.Popen[bytes]:
    """The real command, in a process group of its own."""
    command = [sys.executable, "train.py", *WORDS, "--jobs", str(jobs), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(out.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=environment, start_new_session=True)


def num_lines(out: Path) -> int:
    path = out / "results.csv"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def table(out: Path) -> bytes:
    """``results.csv`` without its column ``seconds``."""
    lines = (out / "results.csv").read_bytes().split(b"\n")
    place = lines[0].split(b",").index(b"seconds")
    return b"\n".join(b",".join(cell for number, cell in enumerate(line.split(b",")) if number != place) for line in lines)


def first_row(out: Path, process: subprocess.Popen[bytes], at_most: float = math.inf) -> float:
    """Wait until this start has brought a row more (or has ended, or so many seconds); returns how long that took."""
    begin, before = time.monotonic(), num_lines(out)
    while num_lines(out) <= max(before, 1) and process.poll() is None and time.monotonic() - begin < at_most:
        time.sleep(0.01)
    return time.monotonic() - begin


@pytest.mark.slow
def test_ten_kills_leave_no_trace(tmp_path: Path) -> None:
    seed = int(os.environ.get("GNET_SEED", time.time_ns() % 2**31))
    print(f"replay with GNET_SEED={seed}")
    moments = random.Random(seed)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    process = start(undisturbed, jobs=1)
    warm_up = first_row(undisturbed, process)
    assert process.wait() == 0, undisturbed.with_suffix(".log").read_text()
    early = set(moments.sample(range(NUM_KILLS), NUM_EARLY))
    seen = set()
    for number in range(NUM_KILLS):
        process = start(killed, jobs=2)
        if number in early:
            # Not longer than the first row: a start after a slow one would else bring the whole study.
            first_row(killed, process, moments.uniform(0, warm_up))
        else:
            first_row(killed, process)
            time.sleep(moments.uniform(0, 0.3))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        seen.add(num_lines(killed))
    assert len(seen) >= 3, "the kills did not hit the study at different stages"
    assert start(killed, jobs=2).wait() == 0, killed.with_suffix(".log").read_text()
    assert table(killed) == table(undisturbed)
    assert table(killed).count(b"\n") == 1 + 4 * 6
    assert not list(killed.glob("trials/*/*.tmp*"))
    assert (killed / "summary.csv").read_bytes().count(b"\n") == 1 + 4
