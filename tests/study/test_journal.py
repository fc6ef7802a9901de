"""The journal survives cuts at every byte, and folders do not mix studies."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from gnet.errors import ConfigError, DataError
from gnet.study.journal import COLUMNS, Journal, Row, check_same, locked, read_manifest, read_rows, write_atomically

ROW = Row("S4^16", 16, 0, 3, 0.1234567891234, 0.25, 640, 1e-16, 12.3456, "symmetry", 3, "mae=2.5")


def rows(*seeds: int) -> list[Row]:
    return [dataclasses.replace(ROW, seed=seed, run_seed=seed) for seed in seeds]


def test_columns_are_those_users_rely_on() -> None:
    assert ",".join(COLUMNS).startswith(
        "symmetry,num_clusters,draw,seed,val_loss,test_loss,num_weights,equivariance_error,seconds"
    )


def test_a_row_comes_back_from_its_line() -> None:
    assert ROW.cells() == ["S4^16", "16", "0", "3", "0.123456789", "0.25", "640", "1e-16", "12.35", "symmetry", "3", "mae=2.5"]
    assert Row.from_cells(ROW.cells()) == dataclasses.replace(ROW, val_loss=0.123456789, seconds=12.35)


def test_a_cut_at_any_byte_costs_at_most_the_line_it_hit(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    journal = Journal(path)
    for row in rows(0, 1, 2):
        journal.append(row)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = max(0, whole[:length].count(b"\n") - 1)
        reopened = Journal(path)
        assert [row.seed for row in reopened.rows.values()] == [0, 1, 2][:kept]
        for row in rows(0, 1, 2)[kept:]:
            reopened.append(row)
        assert path.read_bytes() == whole


def test_the_finished_file_does_not_depend_on_the_order_of_trials(tmp_path: Path) -> None:
    some = [*rows(0, 1), *(dataclasses.replace(row, symmetry="S64") for row in rows(0, 1))]
    texts = []
    for number, order in enumerate(([0, 1, 2, 3], [3, 1, 2, 0])):
        journal = Journal(tmp_path / f"{number}.csv")
        for place in order:
            journal.append(some[place])
        finished = journal.finish(["S64", "S4^16"])
        assert [row.symmetry for row in finished] == ["S64", "S64", "S4^16", "S4^16"]
        texts.append(journal.path.read_bytes())
    assert texts[0] == texts[1]


def test_rows_without_predictions_are_forgotten(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "results.csv")
    for row in rows(0, 1):
        journal.append(row)
    journal.keep([("S4^16", 0, 1)])
    assert [row.seed for row in read_rows(journal.path)] == [1]


def test_a_foreign_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no results table of a study: expected the columns symmetry,"):
        Journal(path)
    path.write_text(",".join(COLUMNS) + "\nS4,one,0,0,1,1,1,0,0,symmetry,0\n")
    with pytest.raises(DataError, match="has a line that is no trial"):
        Journal(path)


def test_a_manifest_that_does_not_parse_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    assert read_manifest(path) is None
    path.write_text("{")
    with pytest.raises(DataError, match="does not parse"):
        read_manifest(path)
    path.write_text(json.dumps([1]))
    with pytest.raises(DataError, match="describes no study"):
        read_manifest(path)


def test_another_config_is_refused_by_name() -> None:
    check_same({"a": {"b": 1}}, {"a": {"b": 1}}, "S4", Path("out"))
    with pytest.raises(
        ConfigError, match=r"out holds a study with another config: S4 has a\.b = 1 there, 2 now; a\.c = 'nothing' there"
    ):
        check_same({"a": {"b": 1}}, {"a": {"b": 2, "c": 3}}, "S4", Path("out"))
    with pytest.raises(ConfigError, match=r"\(and 3 more\)"):
        check_same({str(n): 0 for n in range(8)}, {str(n): 1 for n in range(8)}, "S4", Path("out"))


def test_one_study_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(ConfigError, match="another process is running a study"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_killed_study_holds_no_lock(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from gnet.study.journal import locked\n"
    code += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(100)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with pytest.raises(ConfigError, match="another process is running a study"), locked(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with locked(tmp_path):
        pass


def test_files_need_no_fcntl_which_windows_lacks() -> None:
    code = "import sys; sys.modules['fcntl'] = None; import gnet.study.journal, gnet.study.provenance"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0


def test_writing_leaves_no_pieces(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "text")
    write_atomically(tmp_path / "a", b"other")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"other"
