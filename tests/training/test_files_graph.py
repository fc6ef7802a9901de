"""The graph of a user's own files, and nodes that are left out of it."""

import numpy as np
import pytest

from gnet.errors import ConfigError, DataError, GraphError
from tests.training.own_files import EDGES, IDS, N, T, files, write


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
        with pytest.warns(UserWarning, match=r"2 of 5 nodes have no edge: 'b1', 'b2'; give them edges, or drop them$"):
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
        with pytest.warns(UserWarning, match="3 of 5 nodes have no edge"):
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
            ({"graph": "tree"}, ConfigError, "expected graph to be one of 'edges', 'knn', 'distance', 'correlation', got 'tree'"),
        ],
    )
    def test_what_is_missing_for_a_graph_is_said(self, folder, options, error, message):
        with pytest.raises(error, match=message):
            files(folder, **options).setup()


class TestNodesLeftOut:
    """A column that labels the rows is no node, and a node without a neighbour or a reading is hardly meant."""

    def csv(self, folder, header, first):
        """Signals of the five nodes behind one more column."""
        numbers = np.random.default_rng(2).normal(size=(len(first), N)).round(2)
        lines = [",".join([label, *map(str, row)]) for label, row in zip(first, numbers, strict=True)]
        (folder / "signals.csv").write_text("\n".join([",".join([header, *IDS]), *lines]))
        return {"signals": "signals.csv"}

    @pytest.mark.parametrize("first", [range(T), range(1_790_000_000, 1_790_000_000 + 60 * T, 60), range(T, 0, -1)])
    def test_a_time_axis_that_is_not_known_as_one_is_refused(self, folder, first):
        options = self.csv(folder, "hour", list(map(str, first)))
        with pytest.raises(
            DataError, match=r"first column has no edge, .* if 'hour' labels the rows, say time_column='hour'; if it"
        ):
            files(folder, **options).setup()
        module = files(folder, **options, time_column="hour")
        assert module.node_ids == IDS
        assert module.to_predict.labels == list(map(str, first))

    def test_a_column_that_goes_up_and_down_is_a_node_without_edges(self, folder):
        options = self.csv(folder, "hour", [str(hour % 24) for hour in range(T)])
        with pytest.warns(UserWarning, match=r"1 of 6 nodes have no edge: 'hour'; .* if 'hour' labels the rows, say time_column"):
            assert files(folder, **options).node_ids == ["hour", *IDS]

    def test_a_node_with_edges_may_grow(self, folder, recwarn):
        options = self.csv(folder, "counter", list(map(str, range(T))))
        (folder / "edges.csv").write_text(EDGES + "counter,a1,1\n")
        assert files(folder, **options).graph.num_nodes == 6
        assert not recwarn

    def test_correlations_know_no_better(self, folder):
        options = self.csv(folder, "hour", list(map(str, range(T))))
        with pytest.warns(
            UserWarning, match="1 of 6 nodes have numbers that run in one direction as time does: 'hour'; if 'hour'"
        ):
            files(folder, **options, graph="correlation", threshold=0.01).setup()

    def test_positions_say_so_too(self, folder):
        options = self.csv(folder, "hour", list(map(str, range(T))))
        with pytest.raises(
            DataError, match=r"1 of 6 nodes have no position, the first are \['hour'\]; if 'hour' labels the rows"
        ):
            files(folder, **options, graph="knn", k=1, positions="positions.csv").setup()

    def test_only_the_first_five_are_named(self, folder):
        write(folder, x=np.random.default_rng(3).normal(size=(T, 9, 1)))
        (folder / "edges.csv").write_text("source,target\n0,8\n")
        with pytest.warns(UserWarning, match=r"7 of 9 nodes have no edge: '1', '2', '3', '4', '5' \.\.\.; give"):
            files(folder).setup()

    def test_an_edge_to_itself_is_none(self, folder):
        (folder / "edges.csv").write_text(EDGES.replace("b2,b3", "b3,b3"))
        with pytest.warns(UserWarning, match="1 of 5 nodes have no edge: 'b3'"):
            files(folder).setup()

    def test_nodes_without_a_reading_are_named(self, folder, x):
        x[:, 1] = np.nan
        write(folder, x=x, node_ids=np.array(IDS))
        with pytest.warns(UserWarning, match="1 of 5 nodes have no reading: 'a2'; drop them"):
            files(folder).setup()
