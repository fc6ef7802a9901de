"""A study whose worker is killed inside a trial: the next start goes on in that trial, and nothing shows."""

import copy
import dataclasses
from pathlib import Path

from gnet.study.plan import Variant
from tests.study.test_run import NONE, run, table

EPOCH = 3


def dying(diary: Path) -> Variant:
    """A net whose trial dies with its process, the first time."""
    config = copy.deepcopy(NONE.config)
    stop = {"class_path": "tests.end_to_end.stopping.StopAt", "init_args": {"epoch": EPOCH, "kill": True, "diary": str(diary)}}
    config["trainer"] |= {"max_epochs": 6, "callbacks": [stop]}
    config["data"]["init_args"] |= {"batch_size": 5}
    return dataclasses.replace(NONE, config=config)


def test_a_trial_goes_on_where_its_process_was_killed(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    diary.write_text("0\n")  # as if it had died already
    run(tmp_path / "whole", dying(diary), seeds=(0,))
    diary.unlink()
    killed = tmp_path / "killed"
    first = run(killed, dying(diary), seeds=(0,), jobs=1, progress_seconds=0.0)
    [failure] = first.failures.values()
    assert "the worker process died (signal SIGKILL)" in failure.message
    [progress] = killed.glob("trials/*/*.last.ckpt")
    stale = progress.with_name("draw0-seed0-othercode.last.ckpt")
    stale.write_bytes(b"of another state of the code")
    run(killed, dying(diary), seeds=(0,), jobs=1, progress_seconds=0.0)
    assert diary.read_text().split() == ["0", str(EPOCH)]
    assert table(killed) == table(tmp_path / "whole")
    assert not list(killed.glob("trials/*/*.last.ckpt"))


def test_a_trial_that_failed_starts_anew(tmp_path: Path) -> None:
    wild = copy.deepcopy(NONE.config)
    wild["model"]["lr"], wild["trainer"]["max_epochs"] = 1e12, 30
    result = run(tmp_path, dataclasses.replace(NONE, config=wild), seeds=(0,), progress_seconds=0.0)
    [failure] = result.failures.values()
    assert failure.message.startswith("NonFiniteError")
    assert not list(tmp_path.glob("trials/*/*.ckpt"))
