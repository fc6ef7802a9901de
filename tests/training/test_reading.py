"""Files that people have: what is read, and what a bad one gets."""

import numpy as np
import pytest

from gnet.errors import ConfigError, DataError
from gnet.training.reading import read_edges, read_positions, read_signals, read_targets
from tests.training.own_files import IDS, C, N, T, files


class TestCsv:
    def test_rows_are_samples_and_the_header_node_ids(self, tmp_path):
        (tmp_path / "s.csv").write_text("time,a,b\n08:00,1,2\n08:05,,4.5\n08:10,nan,-1e3\n")
        signals = read_signals(tmp_path / "s.csv")
        assert signals.node_ids == ["a", "b"]
        assert signals.time == ["08:00", "08:05", "08:10"]
        assert signals.x.shape == (3, 2, 1)
        assert signals.x.isnan().flatten().tolist() == [False, False, True, False, True, False]
        (tmp_path / "s.csv").write_text("a,b\n1,2\n")
        assert read_signals(tmp_path / "s.csv").time == ["0"]

    @pytest.mark.parametrize("header", ["time", "Timestamp", "DATE", "datetime", "index", ""])
    def test_headers_of_a_first_column_that_labels_the_rows(self, tmp_path, header):
        (tmp_path / "s.csv").write_text(f"{header},a\n1,2\n3,5\n")
        signals = read_signals(tmp_path / "s.csv")
        assert (signals.node_ids, signals.time, signals.first_grows) == (["a"], ["1", "3"], False)

    def test_a_column_without_a_name_is_no_node(self, tmp_path):
        (tmp_path / "s.csv").write_text(",time,a\n0,noon,2\n1,night,5\n")
        with pytest.raises(DataError, match=r"column 1 of the nodes has no name; .* to_csv\(..., index=False\)"):
            read_signals(tmp_path / "s.csv", time_column="time")

    def test_any_column_may_label_the_rows(self, tmp_path):
        (tmp_path / "s.csv").write_text("time,a,when\n1,2,noon\n2,5,night\n")
        signals = read_signals(tmp_path / "s.csv", time_column="when")
        assert (signals.node_ids, signals.time) == (["time", "a"], ["noon", "night"])
        assert signals.x[:, 1, 0].tolist() == [2, 5]

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("hours", r"no column 'hours' to label the rows \(time_column\); did you mean 'hour'\?"),
            ("xyz", r"columns are \['hour'"),
        ],
    )
    def test_a_column_of_labels_that_is_not_there(self, tmp_path, name, message):
        (tmp_path / "s.csv").write_text("hour,a\n1,2\n")
        with pytest.raises(DataError, match=message):
            read_signals(tmp_path / "s.csv", time_column=name)

    def test_labels_that_are_no_numbers_are_recognised(self, tmp_path):
        (tmp_path / "s.csv").write_text("clock,a\n08:00,2\n")
        with pytest.raises(DataError, match=r"got '08:00'; if this column labels the rows, say time_column='clock'"):
            read_signals(tmp_path / "s.csv")

    def test_targets_may_have_the_column_or_not(self, tmp_path):
        for text in ("hour,total\n7,1\n8,2\n", "total\n1\n2\n", "time,total\n7,1\n8,2\n"):
            (tmp_path / "y.csv").write_text(text)
            assert read_targets(tmp_path / "y.csv", ["a"], 2, time_column="hour").tolist() == [[1], [2]]

    @pytest.mark.parametrize(("delimiter", "character"), [("semicolon", ";"), ("tab", "\t")])
    def test_other_delimiters(self, folder, delimiter, character):
        (folder / "s.csv").write_text("time,a1,a2,b1,b2,b3\n".replace(",", character) + f"1{f'{character}0.5' * 5}\n" * T)
        names = {"signals": "s.csv", "edges": "edges.csv", "positions": "positions.csv"}
        with pytest.raises(
            DataError, match=f"s.csv, line 1: expected several columns, .*; say delimiter='{delimiter}', which holds"
        ):
            files(folder, **names).setup()
        with pytest.raises(
            DataError, match=r"edges.csv, line 1: .* got the one column 'source,target,weight'; say delimiter='comma'"
        ):
            files(folder, **(names | {"positions": None}), delimiter=delimiter).setup()
        for name in ("edges.csv", "positions.csv"):
            (folder / name).write_text((folder / name).read_text().replace(",", character))
        module = files(folder, **names, delimiter=delimiter)
        assert (module.node_ids, module.to_predict.labels) == (IDS, ["1"] * T)
        assert module.graph.pos[:, 0].tolist() == [0, 1, 2, 3, 4]
        with pytest.raises(ConfigError, match=r"expected delimiter to be one of 'comma', 'semicolon', 'tab', got ';'"):
            files(folder, delimiter=";")

    def test_decimal_commas_are_named(self, tmp_path):
        (tmp_path / "s.csv").write_text("a;b\n1;2,5\n")
        with pytest.raises(DataError, match=r"line 2, column 'b': expected a number .* got '2,5'; write decimals with a point"):
            read_signals(tmp_path / "s.csv", delimiter="semicolon")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a,b\n1,2\n3,four\n", r"s.csv, line 3, column 'b': expected a number or an empty cell, got 'four'"),
            ("a,b\n1,2\n\n1,2,3\n", r"s.csv, line 4: expected 2 cells as in the header, got 3"),
            ('a,b\n1,"2\n', r"s.csv, line 2: no valid csv"),
            ("a,b,a\n1,2,3\n", r"s.csv: node id 'a' occurs twice"),
            ("", "got an empty file"),
            ("a,b\n", "expected a header of node ids and a row for each sample, got 0 rows"),
            ("a,b\n,nan\n,\n,NA\n", r"channels \[0\] of x have no observed entry"),
            ("a,b\n1,inf\n", r"holds infinity at \(sample, node, channel\) \(0, 1, 0\)"),
        ],
    )
    def test_bad_tables(self, tmp_path, text, message):
        (tmp_path / "s.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            read_signals(tmp_path / "s.csv")

    def test_binary_is_no_text(self, tmp_path):
        (tmp_path / "s.csv").write_bytes(b"a,b\n\xff\xfe\n")
        with pytest.raises(DataError, match="expected a text file in UTF-8, got other bytes at 4"):
            read_signals(tmp_path / "s.csv")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("from,to\na1,a2\n", r"line 1: expected the columns source,target\[,weight\], got from,to"),
            ("source,target\na1,a2\na1,b11\n", r"line 3: 'b11' is no node of the signals; did you mean 'b1'\?"),
            ("source,target\na1,zzzz\n", r"'zzzz' is no node of the signals; the nodes are \['a1'"),
            ("source,target,weight\na1,a2,-1\n", r"line 2: expected a finite weight >= 0, got '-1'"),
            ("source,target,weight\na1,a2,\n", "expected a finite weight >= 0, got ''"),
            ("source,target\n", "expected at least one edge below the header"),
        ],
    )
    def test_bad_edges(self, tmp_path, text, message):
        (tmp_path / "e.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            read_edges(tmp_path / "e.csv", IDS)

    def test_names_of_nodes_that_have_numbers(self, tmp_path):
        (tmp_path / "e.csv").write_text("source,target\ns0,s1\n")
        with pytest.raises(DataError, match=r"'s0' is no node of the signals; those are numbered 0 to 12: give their names"):
            read_edges(tmp_path / "e.csv", [str(node) for node in range(13)])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("node,x\na,0\n", r"expected the columns node,x,y\[,z\], got node,x: \['y'\] missing"),
            ("node,x,y\na,0,0\n", r"1 of 2 nodes have no position, the first are \['b'\]"),
            ("node,x,y\na,0,0\na,0,0\n", "line 3: node 'a' has two positions"),
            ("node,x,y\na,0,0\nb,,1\n", "the position of node 'b' is not finite"),
        ],
    )
    def test_bad_positions(self, tmp_path, text, message):
        (tmp_path / "p.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            read_positions(tmp_path / "p.csv", ["a", "b"])

    def test_positions_in_space(self, tmp_path):
        (tmp_path / "p.csv").write_text("node,x,y,z\nb,0,0,1\na,0,2,0\n")
        assert read_positions(tmp_path / "p.csv", ["a", "b"]).tolist() == [[0, 2, 0], [0, 0, 1]]


class TestNpz:
    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"data": np.ones((T, N, C))}, r"expected the key 'x' \(T, N, C\), optional .*'mask'.*; got \['data'\]"),
            ({"x": np.ones((T, N))}, r"expected x of shape \(T, N, C\); add an axis .* got \(50, 5\)"),
            ({"x": np.ones((T, N, 0))}, "with at least one sample, node and channel"),
            ({"x": np.full((2, 2, 1), "a")}, "expected numbers in x"),
            ({"x": np.ones((T, N, C)), "mask": np.ones((T, C))}, r"expected mask of shape \(50, 5, 2\) or \(50, 5\)"),
            ({"x": np.ones((T, N, C)), "mask": np.full((T, N), 2)}, "expected a mask of True"),
            ({"x": np.ones((T, N, C)), "mask": np.stack([np.ones((T, N)), np.zeros((T, N))], 2)}, r"channels \[1\] of x have no"),
            (
                {"x": np.ones((T, N, C)), "y": np.ones((T, 4, 1))},
                r"expected y of shape \(50, 5, C'\) or \(50, C'\), got \(50, 4, 1\)",
            ),
            ({"x": np.ones((T, N, C)), "y": np.ones((9, 2))}, r"got \(9, 2\)"),
            ({"x": np.ones((T, N, C)), "node_ids": np.arange(4)}, r"expected node_ids of shape \(5,\) to go with x"),
            ({"x": np.ones((T, N, C)), "time": np.arange(4)}, r"expected time of shape \(50,\)"),
            ({"x": np.ones((T, N, C)), "node_ids": np.array(list("aabcd"))}, "node id 'a' occurs twice"),
            ({"x": np.array([{}])}, "corrupt, truncated, or no .npz of plain arrays"),
        ],
    )
    def test_bad_arrays(self, tmp_path, arrays, message):
        np.savez(tmp_path / "s.npz", **arrays)
        with pytest.raises(DataError, match=message):
            read_signals(tmp_path / "s.npz")

    def test_damaged_files(self, folder):
        whole = (folder / "signals.npz").read_bytes()
        for content in (whole[: len(whole) // 2], b"", b"hello"):
            (folder / "signals.npz").write_bytes(content)
            with pytest.raises(DataError, match=r"signals.npz: corrupt, truncated"):
                files(folder).setup()

    def test_missing_files(self, folder):
        with pytest.raises(DataError, match=r"no such file of signals; did you mean 'signals.npz'\?"):
            files(folder, signals="signal.npz").setup()
        with pytest.raises(DataError, match="no such file of edges"):
            files(folder, edges="elsewhere/edges.csv").setup()
        (folder / "signals.h5").write_text("")
        with pytest.raises(DataError, match=r"expected signals as .npz or .csv, got '.h5'"):
            files(folder, signals="signals.h5").setup()

    def test_time_has_a_key_of_its_own(self, folder):
        with pytest.raises(
            ConfigError, match=r"time_column='t' is for signals in a .csv; in .*signals.npz the key 'time' labels"
        ):
            files(folder, time_column="t").setup()

    def test_defaults_of_ids_and_time(self, tmp_path):
        np.savez(tmp_path / "s.npz", x=np.zeros((3, 2, 1)))
        signals = read_signals(tmp_path / "s.npz")
        assert (signals.node_ids, signals.time) == (["0", "1"], ["0", "1", "2"])


def test_a_sample_without_any_reading_is_kept(tmp_path):
    (tmp_path / "outage.csv").write_text("a,b,c\n1,2,3\n,,\n\n4,5,6\n")
    signals = read_signals(tmp_path / "outage.csv")
    assert signals.x.shape == (3, 3, 1)
    assert signals.x[1].isnan().all()
    assert signals.x[2, 0] == 4


def test_a_misspelled_optional_column_is_named(tmp_path):
    (tmp_path / "edges.csv").write_text("source,target,wieght\na,b,1\n")
    with pytest.raises(DataError, match="there is no column 'wieght'; did you mean 'weight'"):
        read_edges(tmp_path / "edges.csv", ["a", "b"])
