"""Greedy merging: every step is the best of all, its risk that of the partition, and planted clusters come back."""

import itertools
import math

import numpy as np
import pytest
import torch

from gnet.errors import ConfigError, GraphError, PartitionError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup
from gnet.selection import MergePath, merge_clusters
from gnet.selection.merging import geometric_counts
from gnet.theory import LeastSquares, dim_hom, estimate_bias


def drawn(nodes, inputs, outputs, samples, seed, theta=None):
    """Samples of a random truth, or a given one; no outputs means one number."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, nodes, inputs, generator=rng, dtype=torch.float64)
    if outputs == 0:
        return x, torch.randn(samples, generator=rng, dtype=torch.float64)
    y = torch.randn(samples, nodes, outputs, generator=rng, dtype=torch.float64)
    return x, y if theta is None else 0.5 * y + torch.einsum("iojc,bjc->bio", theta, x)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (2, 3), (1, 0), (2, 0)])
@pytest.mark.parametrize("start", [None, Partition([0, 0, 1, 2, 1, 3, 4])])
def test_each_step_is_the_best_of_all_merges(inputs, outputs, start):
    fit = LeastSquares.fit(*drawn(7, inputs, outputs, 40, seed=inputs + 10 * outputs))
    path = merge_clusters(fit, start)
    assert len(path) == (7 if start is None else 5)
    for place in range(len(path)):
        partition = path.partition(place)
        assert float(path.risks[place]) == pytest.approx(estimate_bias(fit, ClusterGroup(partition)).risk, abs=1e-10)
        unions = []
        for first, second in itertools.combinations(range(partition.num_clusters), 2):
            labels = torch.where(partition.labels == second, first, partition.labels)
            unions.append(estimate_bias(fit, ClusterGroup(Partition(labels))).risk)
        if unions:
            assert float(path.risks[place + 1]) == pytest.approx(min(unions), abs=1e-10)
            assert partition.refines(path.partition(place + 1))
    assert path.risks.argmin() == path.best


def test_a_merge_loses_as_many_weights_as_the_formula_says():
    for labels in ([0, 0, 1, 2, 3], [0, 1, 2, 3, 4], [0, 0, 1, 1, 2]):
        before = Partition(labels)
        k = before.num_clusters
        for first, second in itertools.combinations(range(k), 2):
            after = Partition(torch.where(before.labels == second, first, before.labels))
            larger = int((before.sizes > 1).sum()) - int((after.sizes > 1).sum())
            assert dim_hom(ClusterGroup(before)) - dim_hom(ClusterGroup(after)) == 2 * k - 1 + larger


def test_planted_clusters_come_back_and_noise_alone_does_not_bring_them():
    truth = Partition([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    rng = torch.Generator().manual_seed(5)
    values = torch.randn(3, 3, generator=rng, dtype=torch.float64)
    theta = values[truth.labels][:, truth.labels] + torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)[truth.labels])
    x, y = drawn(10, 1, 1, 200, 6, theta[:, None, :, None])
    assert merge_clusters(LeastSquares.fit(x, y), complexity=math.log(200)).best_partition == truth
    cheap = merge_clusters(LeastSquares.fit(x, y)).best_partition
    assert cheap.refines(truth) and cheap.num_clusters < 7
    scrambled = y[:, torch.randperm(10, generator=rng)]
    assert merge_clusters(LeastSquares.fit(x, scrambled), complexity=math.log(200)).best_partition != truth


def test_only_neighbours_merge_where_edges_are_given():
    x, y = drawn(6, 1, 0, 60, seed=1)
    y = x[:, ::2, 0].sum(1) + 5 * x[:, 1::2, 0].sum(1) + 0.1 * y  # even and odd nodes, which are nowhere neighbours
    fit = LeastSquares.fit(x, y)
    assert merge_clusters(fit).best_partition == Partition([0, 1, 0, 1, 0, 1])
    path = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]])
    found = merge_clusters(fit, edge_index=path)
    assert len(found) == 6
    assert all(bool((found.partition(place).labels.diff().abs() <= 1).all()) for place in range(6))
    two_parts = merge_clusters(fit, edge_index=torch.tensor([[0, 1, 3, 4], [1, 2, 4, 5]]))
    assert two_parts.partition(len(two_parts) - 1) == Partition([0, 0, 0, 1, 1, 1])


def test_a_chain_is_nested_and_holds_both_ends_and_the_best():
    path = merge_clusters(LeastSquares.fit(*drawn(12, 1, 1, 60, seed=3)))
    assert len(path.chain()) == 12
    chosen = path.chain(5)
    assert [chosen[0].num_clusters, chosen[-1].num_clusters] == [1, 12] and path.best_partition in chosen
    assert all(fine.refines(coarse) for coarse, fine in itertools.pairwise(chosen))
    assert geometric_counts(1, 207, 8) == sorted({round(207 ** (step / 7)) for step in range(8)})


def test_the_risk_it_ends_with_is_too_low_on_average():
    """What the docstring warns of: of many estimates the lowest is lucky."""
    gaps = []
    for seed in range(30):
        fit = LeastSquares.fit(*drawn(8, 1, 0, 30, seed=100 + seed))  # nothing to learn: theta = 0
        path = merge_clusters(fit)
        estimate = estimate_bias(fit, ClusterGroup(path.best_partition))
        labels, theta = path.best_partition.labels, fit.theta[:, 0]
        kept = torch.stack([theta[labels == label].mean() for label in labels])
        gaps.append(estimate.risk - float(kept.square().sum()))
    assert np.mean(gaps) + 2 * np.std(gaps) / 30**0.5 < 0


def test_what_cannot_be_merged_is_refused():
    fit = LeastSquares.fit(*drawn(4, 1, 1, 20, seed=0))
    with pytest.raises(PartitionError, match="expected a partition of 4 nodes, got one of 3"):
        merge_clusters(fit, Partition([0, 0, 1]))
    with pytest.raises(ConfigError, match=r"min_clusters in 1\.\.4, got 5"):
        merge_clusters(fit, min_clusters=5)
    with pytest.raises(GraphError, match=r"edges among nodes 0\.\.3"):
        merge_clusters(fit, edge_index=torch.tensor([[0], [4]]))
    with pytest.raises(ConfigError, match=r"place in 0\.\.3, got 4"):
        merge_clusters(fit).partition(4)
    with pytest.raises(ConfigError, match="complexity >= 0, got -1"):
        merge_clusters(fit, complexity=-1)
    with pytest.raises(ConfigError, match="num_partitions >= 3"):
        merge_clusters(fit).chain(2)


def test_of_equal_risks_the_coarsest_partition_is_best():
    path = MergePath(Partition.singletons(4), torch.tensor([[0, 1], [0, 1], [0, 1]]), torch.tensor([3.0, 1.0, 1.0, 2.0]).double())
    assert path.best == 2 and path.best_partition == Partition([0, 0, 0, 1])
