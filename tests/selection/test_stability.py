"""Agreement of clusters: the index by hand, and what resampling does to clear and unclear ones."""

import itertools

import pytest
import torch
from sklearn.cluster import KMeans
from torch_geometric.data import Data

from gnet.errors import ConfigError, PartitionError
from gnet.graphs import Partition, coarsen
from gnet.selection import Stability, bootstrap_stability, partition_stability, seed_stability


def rand_index(first, second):
    """Adjusted by chance, over pairs of nodes, as Hubert and Arabie define it."""
    pairs = list(itertools.combinations(range(first.num_nodes), 2))
    same = [(int(first.labels[i] == first.labels[j]), int(second.labels[i] == second.labels[j])) for i, j in pairs]
    both, ones, others = sum(a * b for a, b in same), sum(a for a, _ in same), sum(b for _, b in same)
    chance = ones * others / len(pairs)
    return (both - chance) / ((ones + others) / 2 - chance)


def test_agreement_is_the_adjusted_rand_index():
    found = [Partition(torch.randint(3, (9,), generator=torch.Generator().manual_seed(seed))) for seed in range(4)]
    stability = partition_stability(found)
    for first, second in itertools.combinations(range(4), 2):
        assert float(stability.agreement[first, second]) == pytest.approx(rand_index(found[first], found[second]))
    assert stability.score == pytest.approx(float(stability.agreement[torch.ones(4, 4).triu(1).bool()].mean()))


def test_the_names_of_clusters_do_not_matter_and_doubtful_nodes_are_found():
    stability = partition_stability([Partition([0, 0, 1, 1], 2), Partition([1, 1, 0, 0], 2), Partition([0, 0, 0, 1], 2)])
    assert float(stability.agreement[0, 1]) == 1.0
    assert float(stability.together[0, 1]) == 1.0 and float(stability.together[2, 3]) == pytest.approx(2 / 3)
    assert int(stability.doubtful.argmax()) == 2 and not stability.is_stable


def test_resampling_tells_clear_clusters_from_none():
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(200, 12, generator=rng, dtype=torch.float64)
    clear = noise + 3 * torch.randn(200, 3, generator=rng, dtype=torch.float64).repeat_interleave(4, 1)

    def learn(signals):
        return lambda rows: Partition(torch.tensor(KMeans(3, n_init=5, random_state=0).fit_predict(signals[rows].mT.numpy())))

    assert bootstrap_stability(learn(clear), 200, num_runs=6, generator=rng).is_stable
    assert not bootstrap_stability(learn(noise), 200, num_runs=6, generator=rng).is_stable


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ConfigError, match="at least two partitions to compare, got 1"):
        partition_stability([Partition([0, 1])])
    with pytest.raises(PartitionError, match=r"some of \[2, 3\] nodes"):
        partition_stability([Partition([0, 1]), Partition([0, 1, 1])])


def test_stable_is_three_quarters():
    pair = (Partition([0, 1]), Partition([0, 1]))
    for score, verdict in ((0.74, False), (0.75, True), (0.5, False)):
        assert Stability(pair, torch.tensor([[1.0, score], [score, 1.0]], dtype=torch.float64)).is_stable is verdict


def test_seeds_of_a_clustering_are_compared():
    ring = torch.arange(24)
    edges = torch.stack([torch.cat([ring, (ring + 1) % 24]), torch.cat([(ring + 1) % 24, ring])])
    nothing_to_cut = Data(edge_index=edges, num_nodes=24)
    found = seed_stability(nothing_to_cut, 5, num_runs=4)
    assert found.partitions[2] == coarsen(nothing_to_cut, 5, "spectral", seed=2)
    assert found.score < 1.0


def test_parts_of_the_samples_hold_no_copies():
    rows = []
    bootstrap_stability(lambda r: rows.append(r) or Partition([0, 1]), 30, num_runs=3, share=0.5)
    assert all(len(torch.unique(each)) == 15 for each in rows)
    with pytest.raises(ConfigError, match=r"expected a share in \(0, 1\), got 1"):
        bootstrap_stability(lambda r: Partition([0, 1]), 30, share=1)
