"""Workers: results come back, failures are kept apart, nobody outlives the parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gnet.study.pool import THREAD_VARIABLES, Failure, run_tasks


@pytest.fixture(autouse=True)
def _light_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tasks need neither torch nor lightning."""
    monkeypatch.setattr("gnet.study.pool.PRELOAD", [])


def square(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * number


def die(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def threads_and_noise(number: int) -> tuple[str, ...]:
    print("noise")
    return tuple(os.environ[name] for name in THREAD_VARIABLES)


@pytest.mark.parametrize(("jobs", "method"), [(0, "forkserver"), (1, "forkserver"), (2, "forkserver"), (2, "spawn")])
def test_every_task_comes_back_once(jobs: int, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gnet.study.pool.METHOD", method)
    done = dict(run_tasks(square, [3, -1, 5, 2], jobs=jobs))
    failure = done.pop(-1)
    assert done == {3: 9, 5: 25, 2: 4}
    assert isinstance(failure, Failure)
    assert failure.message == "ValueError: -1 is negative"
    assert "test_pool.py" in failure.details


def test_a_worker_that_dies_takes_nobody_along() -> None:
    done = dict(run_tasks(die, [0, 1, 2, 3], jobs=2))
    failure = done.pop(1)
    assert done == {0: 0, 2: 2, 3: 3}
    assert isinstance(failure, Failure)
    assert "the worker process died (signal SIGKILL)" in failure.message


def test_threads_are_set_and_noise_goes_to_the_log(tmp_path: Path) -> None:
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    [(_, found)] = run_tasks(threads_and_noise, [0], jobs=1, threads=3, log=tmp_path / "log")
    assert found == ("3", "3", "3")
    assert {name: os.environ.get(name) for name in THREAD_VARIABLES} == before
    deadline = time.monotonic() + 20  # Python flushes its output when the worker ends
    while (tmp_path / "log").read_text() != "noise\n" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "log").read_text() == "noise\n"


PARENT = """
import sys, time
sys.path[:0] = {path!r}
from gnet.study import pool
from tests.study.test_pool import announce
if __name__ == "__main__":
    pool.PRELOAD = []
    list(pool.run_tasks(announce, [{folder!r}] * 2, jobs=2))
"""


def announce(folder: str) -> None:
    Path(folder, str(os.getpid())).touch()
    time.sleep(120)


def test_workers_end_when_the_parent_alone_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(path=sys.path, folder=str(pids)))
    parent = subprocess.Popen([sys.executable, str(script)])
    deadline = time.monotonic() + 300
    while len(list(pids.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = [int(path.name) for path in pids.iterdir()]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    while any(is_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_alive(pid) for pid in workers)


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    if status.parent.parent.exists():
        return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
    return subprocess.run(["ps", "-p", str(pid)], capture_output=True, check=False).returncode == 0
