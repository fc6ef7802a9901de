"""A user's own files: what is read, how it is cut and masked, and what a bad file gets."""

import pickle

import numpy as np
import pytest
import torch

from gnet.errors import ConfigError, DataError, GraphError
from gnet.training.data import FromFiles, GraphDataModule
from gnet.training.reading import read_edges, read_positions, read_signals

IDS = ["a1", "a2", "b1", "b2", "b3"]
EDGES = "source,target,weight\na1,a2,1.5\na2,b1,0.5\nb1,b2,1\nb2,b3,2\n"
POSITIONS = "node,x,y\nb3,4,0\nb2,3,0\nb1,2,0\na2,1,0\na1,0,0\n"
T, N, C = 50, 5, 2


@pytest.fixture
def x():
    values = np.random.default_rng(0).normal(size=(T, N, C)) * [1.0, 20.0] + [0.0, 100.0]
    values[::7, 2, 1] = np.nan
    values[3] = np.nan
    return values


@pytest.fixture
def folder(tmp_path, x):
    time = np.datetime64("2026-01-01T00:00") + np.arange(T) * np.timedelta64(5, "m")
    np.savez(tmp_path / "signals.npz", x=x, time=time, node_ids=np.array(IDS), y=np.nansum(x, (1,))[:, :1])
    (tmp_path / "edges.csv").write_text(EDGES)
    (tmp_path / "positions.csv").write_text(POSITIONS)
    return tmp_path


def files(folder, **options) -> FromFiles:
    return FromFiles(**{"signals": "signals.npz", "edges": "edges.csv", "root": str(folder), **options})


def write(folder, **arrays) -> None:
    np.savez(folder / "signals.npz", **arrays)


class TestImpute:
    def test_hides_observed_entries_and_asks_for_them(self, folder, x):
        module = files(folder, mask_fraction=0.4)
        raw = torch.as_tensor(x).float()
        for split in ("train", "val", "test"):
            batch = module.samples(split).all()
            rows = raw[_rows(module, split)]
            assert not any(each.isnan().any() for each in (batch.x, batch.y))
            assert not (batch.mask & rows.isnan()).any()
            assert batch.x[batch.mask].eq(0).all()
            back = module.scaling.y.inverse(batch.y)
            torch.testing.assert_close(back[~rows.isnan()], rows[~rows.isnan()], rtol=1e-4, atol=1e-4)
            seen = ~batch.mask & (batch.x != 0)
            assert torch.equal(batch.x[seen], batch.y[seen])
        assert (module.in_channels, module.out_channels, module.target) == (2, 2, "node")

    def test_share_of_hidden_entries(self, folder):
        counted = files(folder, mask_fraction=0.4).train_arrays().mask.float()
        assert abs(counted.mean() - 0.4) < 0.12

    def test_blocks_are_connected_and_of_one_size(self, folder):
        batch = files(folder, mask_fraction=0.5, mask_kind="block").test_arrays()
        hidden = (batch.x == 0).all(2)
        for row, counted in zip(hidden, batch.mask, strict=True):
            nodes = row.nonzero().flatten().tolist()
            if len(nodes) < N:  # not the sample without any reading
                assert len(nodes) == 2
                assert nodes[1] - nodes[0] == 1  # the graph is a path
            assert not counted[~row].any()

    def test_loss_counts_observed_entries_only(self, folder, x):
        write(folder, x=x, mask=np.arange(T)[:, None] % 2 * np.ones((1, N)), node_ids=np.array(IDS))
        module = files(folder)
        rows = _rows(module, "train")
        assert not module.train_arrays().mask[rows % 2 == 0].any()


class TestForecast:
    def test_windows_stay_inside_their_part_and_in_order(self, folder, x):
        x = np.arange(T)[:, None, None] + np.array([0.0, 1000.0]) + 100 * np.arange(N)[:, None]
        write(folder, x=x, node_ids=np.array(IDS))
        module = files(folder, task="forecast", horizon_in=3, horizon_out=2)
        assert (module.in_channels, module.out_channels) == (6, 4)
        ends = {}
        for split in ("train", "val", "test"):
            batch = module.samples(split).all()
            inputs, outputs = module.scaling.x.inverse(batch.x), module.scaling.y.inverse(batch.y)
            for node in range(N):
                steps = torch.cat([inputs[:, node, 0::2], outputs[:, node, 0::2]], 1) - 100 * node
                torch.testing.assert_close(steps, steps[:, :1] + torch.arange(5.0), atol=1e-2, rtol=0)
                torch.testing.assert_close(inputs[:, node, 1::2] - inputs[:, node, 0::2], torch.full((len(inputs), 3), 1000.0))
            ends[split] = (round(float(steps.min())), round(float(steps.max())))
            assert [int(label) for label in module.sample_labels(split)] == steps[:, 2].round().int().tolist()
        assert ends == {"train": (0, 34), "val": (35, 39), "test": (40, 49)}

    def test_missing_targets_do_not_count(self, folder, x):
        module = files(folder, task="forecast", horizon_in=2, horizon_out=1)
        batch = module.train_arrays()
        missing = torch.as_tensor(np.isnan(x[2:35])).reshape(33, N, C)
        assert torch.equal(~batch.mask, missing)
        assert module.scaling.x.mean.tolist()[:2] == module.scaling.x.mean.tolist()[2:]

    def test_the_scaler_sees_the_past_only(self, folder, x):
        module = files(folder, task="forecast", horizon_in=2, horizon_out=1)
        expected = np.nanmean(x[:35], (0, 1))
        np.testing.assert_allclose(module.scaling.y.mean, expected, rtol=1e-5)

    def test_too_few_samples(self, folder):
        with pytest.raises(DataError, match=r"too few samples: the val part has 5 in a row, one window needs 24"):
            files(folder, task="forecast").setup()

    def test_a_random_split_would_leak(self, folder):
        with pytest.raises(ConfigError, match="would test on windows that overlap training ones; use 'time'"):
            files(folder, task="forecast", split="random")


class TestRegress:
    def test_one_value_per_graph(self, folder, x):
        module = files(folder, task="regress")
        batch = module.train_arrays()
        assert (batch.y.shape, module.target, module.out_channels) == ((35, 1), "graph", 1)
        expected = torch.as_tensor(np.nansum(x, 1)[:, :1])[_rows(module, "train")].float()
        torch.testing.assert_close(module.scaling.y.inverse(batch.y), expected, rtol=1e-4, atol=1e-4)

    def test_one_value_per_node(self, folder, x):
        y = x[..., :1] * 2
        write(folder, x=x, y=y, node_ids=np.array(IDS))
        module = files(folder, task="regress")
        batch = module.val_arrays()
        assert (batch.y.shape, module.target) == ((5, 5, 1), "node")
        assert torch.equal(~batch.mask, torch.as_tensor(np.isnan(y))[_rows(module, "val")])

    def test_what_may_be_either_must_be_said(self, folder, x):
        write(folder, x=x, y=np.ones((T, N)), node_ids=np.array(IDS))
        with pytest.raises(ConfigError, match=r"y of shape \(50, 5\) may be one value per node or 5 per graph"):
            files(folder, task="regress").setup()
        assert files(folder, task="regress", target="node").train_arrays().y.shape == (35, 5, 1)
        assert files(folder, task="regress", target="graph").train_arrays().y.shape == (35, 5)

    def test_targets_from_csv(self, folder, x):
        np.savez(folder / "signals.npz", x=x, node_ids=np.array(IDS))
        with pytest.raises(DataError, match="task='regress' needs 'y'"):
            files(folder, task="regress").setup()
        (folder / "y.csv").write_text("total\n" + "\n".join(map(str, range(T))))
        assert files(folder, task="regress", targets="y.csv").train_arrays().y.shape == (35, 1)
        swapped = [IDS[::-1], *[[str(10 * t + n) for n in range(N)][::-1] for t in range(T)]]
        (folder / "y.csv").write_text("\n".join(",".join(row) for row in swapped))
        module = files(folder, task="regress", targets="y.csv")
        y = module.scaling.y.inverse(module.train_arrays().y)[:, :, 0]
        expected = 10.0 * _rows(module, "train")[:, None] + torch.arange(5.0)
        torch.testing.assert_close(y, expected, atol=1e-3, rtol=0)
        (folder / "y.csv").write_text("total\n1\n2\n")
        with pytest.raises(DataError, match="expected one row for each of the 50 samples, got 2"):
            files(folder, task="regress", targets="y.csv").setup()


class TestSplitsAndSeeds:
    def test_random_split_is_disjoint_and_complete(self, folder):
        module = files(folder)
        rows = [set(_rows(module, split).tolist()) for split in ("train", "val", "test")]
        assert [len(each) for each in rows] == [35, 5, 10]
        assert len(set.union(*rows)) == T

    def test_time_split_keeps_the_order(self, folder):
        module = files(folder, split="time")
        assert torch.cat([_rows(module, split) for split in ("train", "val", "test")]).tolist() == list(range(T))

    def test_seeds_are_independent(self, folder):
        base, seeded, drawn, studied = (files(folder, **options) for options in ({}, {"seed": 1}, {"draw": 1}, {"study_seed": 1}))
        assert seeded.sample_labels("train") != base.sample_labels("train")
        for other in (seeded, drawn):
            assert torch.equal(other.predict_arrays().x, base.predict_arrays().x)
            assert other.sample_labels("predict") == base.sample_labels("predict")
            assert torch.equal(other.scaling.x.mean, base.scaling.x.mean)
        assert torch.equal(drawn.val_arrays().x, base.val_arrays().x)
        assert set(drawn.sample_labels("train")) < set(base.sample_labels("train"))
        assert studied.sample_labels("test") != base.sample_labels("test")

    def test_draws_of_a_given_size(self, folder):
        draws = [files(folder, num_train=20, draw=draw).sample_labels("train") for draw in (0, 1, 1)]
        assert [len(set(labels)) for labels in draws] == [20, 20, 20]
        assert draws[0] != draws[1] == draws[2]
        with pytest.raises(ConfigError, match="num_train=40, but there are only 35 samples"):
            files(folder, num_train=40).setup()

    def test_the_labels_of_a_redrawn_training_set_are_its_own(self, folder, x):
        module = files(folder, draw=2, split="time", mask_fraction=0.01)
        rows, batch = _rows(module, "train"), module.train_arrays()
        assert len(rows) == 35
        expected = module.scaling.x.filled(torch.as_tensor(x).float())[rows]
        torch.testing.assert_close(batch.y, expected)

    def test_workers_and_pickle(self, folder):
        module = files(folder, batch_size=16, num_workers=2, task="forecast", horizon_in=2, horizon_out=1)
        batches = list(module.test_dataloader())
        assert torch.equal(torch.cat([batch.y for batch in batches]), module.test_arrays().y)
        assert torch.equal(pickle.loads(pickle.dumps(module)).val_arrays().x, module.val_arrays().x)


class TestGraphs:
    def test_edges_are_matched_by_name_in_both_directions(self, folder):
        graph = files(folder).graph
        expected = {(0, 1): 1.5, (1, 2): 0.5, (2, 3): 1.0, (3, 4): 2.0}
        found = {(s, t): w for (s, t), w in zip(graph.edge_index.T.tolist(), graph.edge_weight.tolist(), strict=True)}
        assert found == expected | {(t, s): w for (s, t), w in expected.items()}
        assert files(folder, directed=True).graph.edge_index.tolist() == [[0, 1, 2, 3], [1, 2, 3, 4]]
        assert files(folder).node_ids == IDS

    def test_without_weights(self, folder):
        (folder / "edges.csv").write_text("Source, Target\na1,b3\n\na2 , b3\n")
        graph = files(folder).graph
        assert graph.edge_weight is None
        assert graph.edge_index.tolist() == [[0, 1, 4, 4], [4, 4, 0, 1]]

    @pytest.mark.parametrize("options", [{"graph": "knn", "k": 1}, {"graph": "distance", "radius": 1.1}])
    def test_from_positions(self, folder, options):
        graph = files(folder, edges=None, positions="positions.csv", **options).graph
        assert graph.pos[:, 0].tolist() == [0, 1, 2, 3, 4]
        assert {tuple(edge) for edge in graph.edge_index.T.tolist()} <= {
            (i, j) for i in range(5) for j in range(5) if abs(i - j) == 1
        }
        assert graph.is_undirected()

    def test_from_correlations_without_the_test_samples(self, folder, x):
        x = np.random.default_rng(1).normal(size=(T, N, 1))
        x[:40, 1] = x[:40, 0] + 0.1 * x[:40, 1]
        x[40:, 3] = 100 * x[40:, 2]
        write(folder, x=x, node_ids=np.array(IDS))
        graph = files(folder, edges=None, graph="correlation", threshold=0.9, split="time").graph
        assert graph.edge_index.tolist() == [[0, 1], [1, 0]]

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"edges": None}, ConfigError, "graph='edges' needs the file edges .* take graph='correlation'"),
            ({"edges": None, "positions": "positions.csv"}, ConfigError, "take graph='knn' or 'distance'"),
            ({"graph": "knn"}, ConfigError, "graph='knn' needs the file positions"),
            ({"graph": "knn", "positions": "positions.csv", "k": 5}, GraphError, "expected 1 <= k < 5 neighbours"),
            ({"graph": "distance", "positions": "positions.csv"}, GraphError, "expected a positive radius or sigma"),
            ({"graph": "distance", "positions": "positions.csv", "radius": 0.5}, GraphError, "nearest one is 1"),
            ({"graph": "correlation", "threshold": 1.5}, GraphError, r"expected a threshold in \(0, 1\]"),
            ({"graph": "correlation", "threshold": 1.0}, GraphError, "the largest is"),
            ({"graph": "tree"}, ConfigError, "expected graph to be one of .* got 'tree'"),
        ],
    )
    def test_what_is_missing_for_a_graph_is_said(self, folder, options, error, message):
        with pytest.raises(error, match=message):
            files(folder, **options).setup()


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

    def test_defaults_of_ids_and_time(self, tmp_path):
        np.savez(tmp_path / "s.npz", x=np.zeros((3, 2, 1)))
        signals = read_signals(tmp_path / "s.npz")
        assert (signals.node_ids, signals.time) == (["0", "1"], ["0", "1", "2"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_fraction": 0.0}, r"expected mask_fraction in \(0, 1\), got 0.0"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "leave no training samples"),
        ({"task": "classify"}, "expected task to be one of"),
        ({"targets": "y.csv"}, "the file targets is for task='regress', got task='impute'"),
        ({"num_train": 0}, "expected num_train >= 1"),
        ({"task": "forecast", "horizon_in": 0}, "expected horizon_in and horizon_out >= 1"),
    ],
)
def test_contradictory_settings(folder, options, message):
    with pytest.raises(ConfigError, match=message):
        files(folder, **options)


def test_too_few_samples_for_three_parts(folder):
    write(folder, x=np.ones((2, N, 1)), node_ids=np.array(IDS))
    with pytest.raises(DataError, match="too few samples: 2 leave 0 to train on"):
        files(folder).setup()


def test_a_part_without_a_target_is_refused(folder, x):
    x[45:] = np.nan
    write(folder, x=x, node_ids=np.array(IDS))
    with pytest.raises(DataError, match="no observed target in the test part"):
        files(folder, split="time", test_fraction=0.1).setup()


def test_time_stamps_are_kept(folder):
    assert files(folder, split="time").sample_labels("train")[1].startswith("2026-01-01T00:05")


def test_the_standardiser_does_not_see_the_test_samples(folder, x):
    module = files(folder)
    seen = np.sort(torch.cat([_rows(module, "train"), _rows(module, "val")]).numpy())
    np.testing.assert_allclose(module.standardiser.mean, np.nanmean(x[seen], (0, 1)), rtol=1e-4)


def test_data_card_has_checksums(folder):
    card = files(folder).describe()
    assert set(card["checksum"]) == {"signals.npz", "edges.csv"}
    assert {"name", "source", "licence", "shapes", "units", "splits", "checksum"} <= set(card)


def test_the_command_line_parser_sees_plain_typed_arguments(folder):
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_subclass_arguments(GraphDataModule, "data")
    given = ["--data", "gnet.training.data.FromFiles", "--data.signals", "s.npz", "--data.task", "forecast"]
    config = parser.parse_args([*given, "--data.horizon_in", "3", "--data.graph", "correlation"])
    assert config.data.init_args.horizon_in == 3
    assert config.data.init_args.radius is None


def _rows(module: FromFiles, split: str) -> torch.Tensor:
    """Rows of the file, from the time stamps of a split."""
    labels = module.sample_labels(split)
    if labels[0].isdigit():
        return torch.tensor([int(label) for label in labels])
    start = np.datetime64("2026-01-01T00:00")
    return torch.tensor([int((np.datetime64(label) - start) / np.timedelta64(5, "m")) for label in labels])


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
