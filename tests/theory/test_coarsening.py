"""Coarsening errors and equivariance rates: check values, brute force, the orderings that must hold, and liars."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.utils import grid

from gnet.errors import ConfigError, GroupError, PartitionError, ShapeError
from gnet.graphs import Partition, grid_patches
from gnet.groups import ClusterGroup, SymmetricGroup
from gnet.theory import (
    adjacency,
    coarse_approximation,
    coarse_eigenvalues,
    coarsening_error,
    cut_filter_bound,
    cut_norm,
    equivariance_rate,
    filter_bound,
    filter_difference,
    filter_error,
    infinity_to_one_norm,
    polynomial_filter,
    propagated_error,
    split_map,
)

# The four nearest neighbours, without the diagonals and loops that PyG's grid has.
GRID_EDGES = torch.tensor([[a, b] for a in range(16) for b in range(16) if abs(a // 4 - b // 4) + abs(a % 4 - b % 4) == 1]).T
GRID = Data(edge_index=GRID_EDGES, num_nodes=16)
PATCHES = grid_patches((4, 4), (2, 2))
PATH = Data(edge_index=torch.tensor([[0, 1, 2, 3, 4, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0, 1, 2, 3, 4]]), num_nodes=6)
FILTER = [1.0, 0.5, 0.25]


def random_graph(size: int, seed: int, *, directed: bool = True, signed: bool = True) -> Data:
    rng = np.random.default_rng(seed)
    dense = rng.standard_normal((size, size)) * (rng.random((size, size)) < 0.3)
    dense = dense if signed else np.abs(dense)
    dense = dense if directed else dense + dense.T
    index = np.stack(np.nonzero(dense))
    return Data(edge_index=torch.from_numpy(index), edge_weight=torch.from_numpy(dense[tuple(index)]), num_nodes=size)


class TestCheckValues:
    def test_grid(self):
        a = adjacency(GRID)
        error = coarsening_error(GRID, PATCHES)
        assert float(a.square().sum()) == 48
        assert (16 * error.frobenius) ** 2 == pytest.approx(30)
        assert error.frobenius == pytest.approx(0.3423266, abs=5e-8)
        assert error.operator == pytest.approx(0.2024849, abs=5e-8)
        assert (error.cut.lower, error.cut.upper) == (0.046875, 0.046875)
        assert (16 * coarsening_error(GRID, PATCHES, "reynolds").frobenius) ** 2 == pytest.approx(74 / 3)
        assert float(torch.linalg.matrix_norm(a, 2)) == pytest.approx(3.2360680, abs=5e-8)
        assert infinity_to_one_norm(a - coarse_approximation(a, PATCHES)) == pytest.approx(48)
        assert coarse_eigenvalues(GRID, PATCHES).tolist() == pytest.approx([3, 2, 2, 1])

    def test_spectrum_of_the_grid(self):
        values = torch.linalg.eigvalsh(adjacency(GRID)).flip(0)
        assert values[:4].tolist() == pytest.approx([3.2361, 2.2361, 2.2361, 1.2361], abs=5e-5)
        coarse = torch.linalg.eigvalsh(coarse_approximation(GRID, PATCHES)).flip(0)
        assert float((values - coarse).square().sum()) == pytest.approx(26.2229, abs=5e-5)

    def test_filter_on_the_grid(self):
        assert float(polynomial_filter(GRID, FILTER).norm()) == pytest.approx(8.514693, abs=5e-7)
        assert filter_error(GRID, ClusterGroup(PATCHES), FILTER) == pytest.approx(2.633913, abs=5e-7)
        assert filter_error(GRID, ClusterGroup(PATCHES), FILTER) ** 2 == pytest.approx(6.9375)
        assert filter_difference(GRID, PATCHES, FILTER) == pytest.approx(2.783882, abs=5e-7)
        assert filter_bound(GRID, PATCHES, FILTER) == pytest.approx(11.600950, abs=5e-7)
        assert filter_difference(GRID, PATCHES, FILTER, target="reynolds") == pytest.approx(3.110615, abs=5e-7)
        assert filter_bound(GRID, PATCHES, FILTER, target="reynolds") == pytest.approx(10.519332, abs=5e-7)

    def test_cut_norm_bound_of_powers(self):
        shift, coarse = adjacency(GRID) / 16, coarse_approximation(GRID, PATCHES) / 16
        signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=16)), dtype=torch.float64).T
        for power, worst, bound in ((1, 0.1875, 0.1875), (2, 0.037109, 0.375)):
            gap = torch.linalg.matrix_power(shift, power) - torch.linalg.matrix_power(coarse, power)
            assert float((gap @ signs).abs().sum(0).max()) / 16 == pytest.approx(worst, abs=5e-7)
            assert cut_filter_bound(power, 1.0, 0.046875) == bound

    def test_one_cluster_and_the_path(self):
        whole = Partition.whole(16)
        error = coarsening_error(GRID, whole)
        assert error.frobenius == pytest.approx(0.3903124, abs=5e-8) and error.cut.lower == 0.046875
        assert (16 * coarsening_error(GRID, whole, "reynolds").frobenius) ** 2 == pytest.approx(38.4)
        split = Partition([0, 0, 0, 1, 1, 2])
        assert (6 * coarsening_error(PATH, split).frobenius) ** 2 == pytest.approx(5 + 8 / 9)
        assert (6 * coarsening_error(PATH, split, "reynolds").frobenius) ** 2 == pytest.approx(4)
        assert 36 * coarsening_error(PATH, split).cut.lower == pytest.approx(2.94444, abs=5e-6)


@pytest.mark.parametrize("target", ["blowup", "reynolds"])
@pytest.mark.parametrize("seed", range(3))
class TestAgainstDenseMatrices:
    def partition(self, seed: int, size: int) -> Partition:
        labels = torch.randint(5, (size,), generator=torch.Generator().manual_seed(seed))
        return Partition(torch.cat([labels[:-1], torch.tensor([9])]))  # a singleton too

    def test_norms(self, target, seed):
        graph, partition = random_graph(11, seed), self.partition(seed, 11)
        gap = adjacency(graph) - coarse_approximation(graph, partition, target)
        if target == "reynolds":
            torch.testing.assert_close(gap.flatten(), split_map(adjacency(graph), ClusterGroup(partition)).lost.flatten())
        else:
            projector = torch.zeros(11, 11, dtype=torch.float64)
            for cluster in range(partition.num_clusters):
                members = partition.members(cluster)
                projector[members[:, None], members] = 1 / len(members)
            torch.testing.assert_close(adjacency(graph) - gap, projector @ adjacency(graph) @ projector)
        error = coarsening_error(graph, partition, target)
        assert error.frobenius == pytest.approx(float(gap.norm()) / 11)
        assert error.operator == pytest.approx(float(torch.linalg.matrix_norm(gap, 2)) / 11)
        subsets = [np.array(each) for each in itertools.product([0, 1], repeat=11)]
        brute = max(max(np.maximum(s @ gap.numpy(), 0).sum(), np.maximum(-s @ gap.numpy(), 0).sum()) for s in subsets) / 121
        assert error.cut.lower == error.cut.upper == pytest.approx(brute)

    def test_orderings_on_larger_graphs(self, target, seed):
        graph, partition = random_graph(60, seed), self.partition(seed, 60)
        error = coarsening_error(graph, partition, target)
        assert 0 < error.cut.lower <= error.cut.upper <= error.operator <= error.frobenius
        gap = adjacency(graph) - coarse_approximation(graph, partition, target)
        assert error.frobenius == pytest.approx(float(gap.norm()) / 60)
        one_sided = max(float(gap.clamp(min=0).sum()), float((-gap).clamp(min=0).sum())) / 3600
        assert error.cut.upper == pytest.approx(min(error.operator, one_sided))

    def test_sparse_products_beyond_the_dense_limit(self, target, seed):
        graph, partition = random_graph(300, seed), self.partition(seed, 300)
        gap = adjacency(graph) - coarse_approximation(graph, partition, target)
        assert coarsening_error(graph, partition, target).operator == pytest.approx(float(torch.linalg.matrix_norm(gap, 2)) / 300)


class TestCutNorm:
    def test_the_search_reaches_the_exact_value(self, monkeypatch):
        """Where both can be computed: 12 graphs of 14 nodes, searched as if they were large."""
        for seed in range(12):
            graph, partition = random_graph(14, seed, signed=False), Partition(torch.arange(14) % 3)
            exact = coarsening_error(graph, partition).cut.lower
            with monkeypatch.context() as patch:
                patch.setattr("gnet.theory.coarsening.ENUMERATED", 5)
                found = coarsening_error(graph, partition).cut
            assert 0.9 * exact <= found.lower <= exact * (1 + 1e-12) and found.upper >= exact * (1 - 1e-12)

    def test_between_the_sign_norm_and_its_quarter(self, rng):
        matrix = torch.randn(7, 7, generator=rng)
        signs = infinity_to_one_norm(matrix)
        assert signs / 4 - 1e-9 <= 49 * cut_norm(matrix) <= signs + 1e-9

    def test_fifteen_nodes_take_two_pieces(self, rng):
        matrix = torch.zeros(16, 16)
        matrix[:15, :15] = torch.randn(15, 15, generator=rng)
        assert 256 * cut_norm(matrix) == pytest.approx(225 * cut_norm(matrix[:15, :15]))


class TestSpectrum:
    @pytest.mark.parametrize("seed", range(4))
    def test_interlacing_weyl_and_hoffman_wielandt(self, seed):
        graph = random_graph(12, seed, directed=False)
        partition = Partition(torch.tensor([0, 1, 2, 0, 1, 0, 3, 3, 2, 0, 1, 4]))
        fine, coarse = torch.linalg.eigvalsh(adjacency(graph)).flip(0), coarse_eigenvalues(graph, partition)
        assert bool((fine[:5] >= coarse - 1e-12).all()) and bool((coarse >= fine[-5:] - 1e-12).all())
        approximated = torch.linalg.eigvalsh(coarse_approximation(graph, partition)).flip(0)
        torch.testing.assert_close(approximated[approximated.abs() > 1e-9], coarse[coarse.abs() > 1e-9])
        error = coarsening_error(graph, partition)
        assert float((fine - approximated).abs().max()) <= 12 * error.operator + 1e-12
        assert float((fine - approximated).square().sum()) <= (12 * error.frobenius) ** 2 + 1e-12

    @pytest.mark.parametrize("labels", [[0, 1, 2], [0, 0, 0]])
    def test_directed_graphs_are_refused(self, labels):
        """A cycle in one direction, too, whose mean over one cluster is symmetric."""
        with pytest.raises(GroupError, match="expected an undirected graph"):
            coarse_eigenvalues(Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 0]]), num_nodes=3), Partition(labels))
        edgeless = Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=3)
        assert coarse_eigenvalues(edgeless, Partition(labels)).abs().max() == 0


class TestFilters:
    @pytest.mark.parametrize("seed", range(4))
    def test_error_difference_and_bound_are_in_order(self, seed):
        graph = random_graph(9, seed)
        coefficients = np.random.default_rng(seed).standard_normal((4, 2, 3))
        partition = Partition([0, 1, 0, 2, 1, 0, 2, 0, 3])
        for target in ("blowup", "reynolds"):
            numbers = [
                filter_error(graph, ClusterGroup(partition), coefficients, sigma_x=1.5),
                filter_difference(graph, partition, coefficients, target=target, sigma_x=1.5),
                filter_bound(graph, partition, coefficients, target=target, sigma_x=1.5),
            ]
            assert 0 < numbers[0] < numbers[1] < numbers[2]
        slope = equivariance_rate(graph, coefficients, sigma_x=1.5)
        assert slope * coarsening_error(graph, partition).frobenius == pytest.approx(
            filter_bound(graph, partition, coefficients, sigma_x=1.5)
        )

    def test_the_dense_map_is_the_filter(self, rng):
        shift, weights = torch.randn(5, 5, generator=rng).double(), torch.randn(3, 2, 4, generator=rng).double()
        x = torch.randn(5, 2, generator=rng).double()
        expected = x @ weights[0] + shift @ x @ weights[1] + shift @ shift @ x @ weights[2]
        torch.testing.assert_close(torch.einsum("iojc,jc->io", polynomial_filter(shift, weights), x), expected)

    def test_a_filter_of_a_symmetric_graph_is_exact(self):
        complete = 1 - np.eye(4)
        assert filter_error(complete, SymmetricGroup(4), FILTER) < 1e-12
        assert filter_error(complete + np.diag([0, 0, 0, 1.0]), SymmetricGroup(4), FILTER) > 0.1

    @pytest.mark.parametrize("act", [torch.relu, torch.tanh])
    def test_nets_stay_within_the_propagated_error(self, act, rng):
        graph, partition = random_graph(9, 0), Partition([0, 1, 0, 2, 1, 0, 2, 0, 3])
        shift = adjacency(graph) / 9
        coarse = coarse_approximation(shift, partition)
        layers = [
            (torch.randn(a, b, generator=rng).double(), torch.randn(a, b, generator=rng).double()) for a, b in ((2, 4), (4, 3))
        ]
        x = torch.randn(20, 9, 2, generator=rng).double()

        def net(s):
            y = x
            for u, v in layers:
                y = act(s @ y @ u + y @ v)
            return y

        away = (net(shift) - net(coarse)).flatten(1).norm(dim=1)
        bound = propagated_error(x, shift, coarse, layers, act)
        assert bool((away <= bound).all()) and float(away.min()) > 0


class TestPropagation:
    """X -> act(S X U + X V) on two nodes that hear each other, against both hearing the mean."""

    SHIFT = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    MEAN = torch.full((2, 2), 0.5, dtype=torch.float64)
    X = torch.tensor([[[1.0], [-1.0]], [[3.0], [0.0]]], dtype=torch.float64)

    def bound(self, *layers):
        return propagated_error(self.X, self.SHIFT, self.MEAN, [([[u]], [[v]]) for u, v in layers], lambda x: x).tolist()

    def away(self, *layers, slope=1.0):
        def net(shift):
            y = self.X
            for u, v in layers:
                y = slope * (u * shift @ y + v * y)
            return y

        return (net(self.SHIFT) - net(self.MEAN)).flatten(1).norm(dim=1).tolist()

    def test_by_hand(self):
        """Both norms of the shifts' difference and of the mean are 1; |x| is the root of 2, and 3."""
        size = np.array([math.sqrt(2), 3.0])
        assert self.bound((1.0, 0.0)) == pytest.approx(size)
        assert self.bound((1.0, 0.0), (0.0, 3.0)) == pytest.approx(3 * size)
        assert self.bound((1.0, 0.0), (2.0, 0.0)) == pytest.approx(2 * size + 2 * size)  # the state keeps its norm
        assert self.bound((1.0, 0.0), (2.0, 5.0)) == pytest.approx(2 * size + (2 + 5) * size)
        assert self.bound((0.0, 4.0)) == pytest.approx([0.0, 0.0])

    def test_it_is_reached(self):
        """By a signal that the mean wipes out: what one layer loses, later ones carry on."""
        for layers in (((1.0, 0.0),), ((1.0, 0.0), (0.0, 3.0)), ((1.0, 0.0), (0.0, 3.0), (0.0, 2.0))):
            assert self.away(*layers)[0] == pytest.approx(self.bound(*layers)[0])
            assert self.away(*layers, slope=1.01)[0] > self.bound(*layers)[0]  # a steeper function breaks it
        assert self.away((1.0, 0.0), (2.0, 5.0))[0] < self.bound((1.0, 0.0), (2.0, 5.0))[0]


class TestLargeGraphs:
    """Beyond the dense limit, where norms come from products with the sparse matrix."""

    @pytest.mark.parametrize("case", ["single nodes", "complete", "no edges", "blocks"])
    def test_no_error_is_none(self, case):
        size, nodes = 300, torch.arange(300)
        graph, partition, target = {
            "single nodes": (random_graph(size, 0), Partition.singletons(size), "blowup"),
            "complete": (edges_of(torch.ones(size, size).fill_diagonal_(0)), Partition.whole(size), "reynolds"),
            "no edges": (edges_of(torch.zeros(size, size)), Partition(nodes % 3), "blowup"),
            "blocks": (edges_of(0.1 * (nodes[:, None] % 3 == nodes % 3).double()), Partition(nodes % 3), "blowup"),
        }[case]
        error = coarsening_error(graph, partition, target)
        assert (error.frobenius, error.operator, error.cut.lower, error.cut.upper) == (0.0, 0.0, 0.0, 0.0)
        weight = torch.ones(graph.edge_index.shape[1] + 1, dtype=torch.float64)
        more = Data(edge_index=torch.cat([graph.edge_index, torch.tensor([[0], [1]])], 1), edge_weight=weight, num_nodes=size)
        assert coarsening_error(more, Partition.whole(size)).operator > 0  # one edge more is an error

    def test_little_error_is_little(self, rng):
        """Seven digits below the graph's own norm: a difference of squares would have none of them."""
        weights = 1 + 1e-7 * torch.randn(300, 300, dtype=torch.float64, generator=rng)
        graph = edges_of(weights.fill_diagonal_(0))
        error = coarsening_error(graph, Partition.whole(300), "reynolds")
        gap = adjacency(graph) - coarse_approximation(graph, Partition.whole(300), "reynolds")
        assert error.frobenius == pytest.approx(float(gap.norm()) / 300, rel=1e-6)
        assert error.operator == pytest.approx(float(torch.linalg.matrix_norm(gap, 2)) / 300, rel=1e-6)

    @pytest.mark.parametrize("size", [600, 3000])
    def test_long_rings(self, size):
        """Eigenvalues 2 cos(2 pi k / N), those near -2 very close to each other; the largest, that of constants, is taken off."""
        nodes = torch.arange(size)
        index = torch.stack([torch.cat([nodes, (nodes + 1) % size]), torch.cat([(nodes + 1) % size, nodes])])
        error = coarsening_error(Data(edge_index=index, num_nodes=size), Partition.whole(size), restarts=1)
        assert size * error.operator == pytest.approx(2.0, rel=1e-6)
        assert size**2 * error.frobenius**2 == pytest.approx(2 * size - 4)


def edges_of(dense: torch.Tensor) -> Data:
    index = dense.nonzero().T
    return Data(edge_index=index, edge_weight=dense[tuple(index)].double(), num_nodes=len(dense))


def test_errors():
    with pytest.raises(ConfigError, match="restarts >= 1"):
        coarsening_error(GRID, PATCHES, restarts=0)
    with pytest.raises(PartitionError, match="graph's 16 nodes"):
        coarsening_error(GRID, Partition([0, 1]))
    with pytest.raises(PartitionError, match="16 nodes, got one of 2"):
        coarse_approximation(GRID, Partition([0, 1]))
    with pytest.raises(ShapeError, match="at most 20 nodes"):
        cut_norm(np.eye(21))
    with pytest.raises(ShapeError, match="square matrix"):
        adjacency(np.ones((2, 3)))
    with pytest.raises(ShapeError, match=r"coefficients \(R,\)"):
        polynomial_filter(np.eye(2), np.ones((2, 2)))
    with pytest.raises(ConfigError, match="whole power >= 1, got 0"):
        cut_filter_bound(0, 1.0, 1.0)
    with pytest.raises(ShapeError, match=r"layer 0: expected U and V of shape \(1, C'\)"):
        propagated_error(np.ones((1, 2, 1)), np.eye(2), np.eye(2), [(np.ones((2, 2)), np.ones((2, 2)))])
    with pytest.raises(ShapeError, match=r"x \(B, N, C\) and two shifts"):
        propagated_error(np.ones((1, 3, 1)), np.eye(2), np.eye(2), [])


def test_a_graph_that_its_partition_explains_has_no_error():
    edges, _ = grid(2, 2)
    complete = Data(edge_index=edges, num_nodes=4)  # PyG's grid has diagonals and loops
    error = coarsening_error(complete, Partition.whole(4))
    assert error.frobenius == error.cut.upper == 0 and error.operator == pytest.approx(0, abs=1e-12)
    assert math.isclose(coarsening_error(PATH, Partition.singletons(6)).frobenius, 0.0)
