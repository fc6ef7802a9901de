"""Trials on a Ray cluster of two cores on this machine: results, failures and resuming are those of local processes."""

import contextlib
import csv
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gnet.cli import main
from gnet.errors import ConfigError
from gnet.study.on_ray import run_on_ray
from gnet.study.plan import Plan
from gnet.study.pool import Failure

SMALL = [
    "study", "--config=gnet:digits", "--data.num_train=20", "--data.num_val=11", "--data.num_test=23", "--trainer.max_epochs=2",
    "--model.hidden_channels=3", "--seeds=1", "--baselines", "mean",
]  # fmt: skip


def test_without_ray_the_error_names_the_extra(monkeypatch, tmp_path: Path, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*SMALL, "--clusters", "1", "--backend", "ray", "--out", str(tmp_path / "out")]) == 2
    assert "pip install --editable '.[ray]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_jobs_on_a_cluster_is_refused():
    with pytest.raises(ConfigError, match="--jobs 0 trains in this process, and --backend ray on a cluster"):
        Plan(variants=(), out=Path("out"), seeds=(0,), jobs=0, backend="ray")


def test_another_backend_is_refused(capsys):
    assert main([*SMALL, "--backend", "spark"]) == 2
    assert "--backend" in capsys.readouterr().err


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Two cores of this machine, for all tests of this file."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install --editable '.[ray]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)]))
        before = signal.getsignal(signal.SIGTERM)
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield ray
        ray.shutdown()
        signal.signal(signal.SIGTERM, before)


def square(number: int) -> int:
    print("noise")
    if number < 0:
        raise ValueError(f"{number} is negative")
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def wait_for_ever(folder: str) -> None:
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)


@pytest.mark.slow
def test_every_task_comes_back_once_and_the_dead_take_nobody_along(ray: Any, tmp_path: Path):
    done = dict(run_on_ray(square, [3, -1, 13, 5, 2], jobs=2, log=tmp_path / "log"))
    failed, died = done.pop(-1), done.pop(13)
    assert done == {3: 9, 5: 25, 2: 4}
    assert isinstance(failed, Failure) and isinstance(died, Failure)
    assert failed.message == "ValueError: -1 is negative"
    assert died.message.startswith("the worker process died (")
    assert (tmp_path / "log").read_text().count("noise") >= 4


@pytest.mark.slow
def test_more_threads_than_cores_are_refused(ray: Any):
    with pytest.raises(ConfigError, match="at most the 2 cores of a machine of the Ray cluster, got 3"):
        list(run_on_ray(square, [1], jobs=1, threads=3))


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.mark.slow
def test_leaving_early_ends_the_workers(ray: Any, tmp_path: Path):
    results = run_on_ray(_first_or_wait, [str(tmp_path), "first"], jobs=2)
    assert next(results) == ("first", "first")
    deadline = time.monotonic() + 120
    while not (pids := [int(path.name) for path in tmp_path.iterdir()]) and time.monotonic() < deadline:
        time.sleep(0.1)
    results.close()
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert pids and not any(map(alive, pids))


def _first_or_wait(what: str) -> str:
    if what != "first":
        wait_for_ever(what)
    return what


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "results.csv", newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_a_study_goes_on_where_it_was_and_equals_a_local_one(ray: Any, tmp_path: Path):
    here, there = ["--out", str(tmp_path / "here"), "--jobs", "0"], ["--out", str(tmp_path / "there"), "--backend", "ray"]
    record = tmp_path / "record.csv"
    assert main([*SMALL, "--clusters", "1", "4", *here]) == 0
    assert main([*SMALL, "--clusters", "1", *there, "--record", str(record)]) == 0
    first = rows(tmp_path / "there")
    assert main([*SMALL, "--clusters", "1", "4", *there, "--record", str(record)]) == 0
    assert all(row in rows(tmp_path / "there") for row in first)
    assert rows(tmp_path / "there") == rows(tmp_path / "here")
    assert len(record.read_text().splitlines()) == 1 + len(rows(tmp_path / "here"))
