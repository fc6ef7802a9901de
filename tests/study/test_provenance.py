"""Where numbers come from is written beside them."""

import dataclasses
import subprocess
from pathlib import Path

import pytest

from gnet.errors import DataError
from gnet.study import provenance
from gnet.study.journal import Row
from gnet.study.provenance import RECORD_COLUMNS, Provenance, Record, revision

ROW = Row("S4", 1, 0, 0, 0.5, 0.25, 10, 0.0, 1.0, "symmetry", 0)


def test_a_start_survives_its_file() -> None:
    start = Provenance.now("study --seeds 3")
    assert Provenance.from_dict(start.as_dict()) == start
    assert start.versions["torch"] != "none" and start.cores >= 1 and start.processor


def test_a_revision_is_marked_dirty_by_code_not_by_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "gnet" / "study" / "provenance.py"))
    assert revision() == "unknown"
    for folder in ("gnet/study", "configs/results"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").write_text("a")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    clean = revision()
    assert len(clean) == 12
    (tmp_path / "configs/results/file").write_text("b")
    assert revision() == clean
    (tmp_path / "gnet/study/file").write_text("b")
    assert revision() == f"{clean}+dirty"


def test_a_record_keeps_every_trial_once(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    start = Provenance.now("")
    Record(path, "digits", "").append([ROW], start)
    again = Record(path, "digits", "")
    again.append([dataclasses.replace(ROW, seconds=9.0), dataclasses.replace(ROW, seed=1)], start)
    lines = path.read_text().splitlines()
    assert lines[0] == ",".join(RECORD_COLUMNS)
    assert len(lines) == 3


def test_a_trial_run_again_with_another_result_has_two_lines(tmp_path: Path) -> None:
    record, start = Record(tmp_path / "results.csv", "digits", ""), Provenance.now("")
    record.append([ROW, dataclasses.replace(ROW, test_loss=0.125)], start)
    assert [line.split(",")[7] for line in record.path.read_text().splitlines()[1:]] == ["0.25", "0.125"]


def test_a_record_that_cannot_be_written_is_noticed_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Record(tmp_path / "file" / "results.csv", "digits", "")


def test_two_studies_that_begin_a_record_together_write_one_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.csv"
    start = Provenance.now("")
    mine, other = Record(path, "digits", ""), Record(path, "mnist", "")
    lock = provenance.lock_descriptor

    def late(descriptor: int) -> bool:
        """The other study was faster: it has written between our opening of the file and our lock."""
        monkeypatch.setattr(provenance, "lock_descriptor", lock)
        other.append([ROW], start)
        return lock(descriptor)

    monkeypatch.setattr(provenance, "lock_descriptor", late)
    mine.append([ROW], start)
    assert [line.partition(",")[0] for line in path.read_text().splitlines()] == ["config", "mnist", "digits"]


def test_a_foreign_table_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("a,b\n")
    with pytest.raises(DataError, match="is no table of recorded trials: expected the columns config,overrides,symmetry"):
        Record(path, "digits", "")
