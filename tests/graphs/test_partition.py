import pytest
import torch

from gnet.errors import PartitionError, ShapeError
from gnet.graphs import Partition


def test_any_integers_are_renumbered_by_first_appearance():
    assert Partition([9, -3, 9, 5, -3]).labels.tolist() == [0, 1, 0, 2, 1]


def test_given_labels_are_kept_with_num_clusters():
    partition = Partition(torch.tensor([2, 0, 1, 2]), num_clusters=3)
    assert partition.labels.tolist() == [2, 0, 1, 2]
    assert partition.sizes.tolist() == [1, 1, 2]
    assert partition.order.tolist() == [1, 2, 0, 3]
    assert partition.ptr.tolist() == [0, 1, 2, 4]


def test_from_clusters_keeps_the_given_order():
    partition = Partition.from_clusters([[3, 1], [0], [4, 2]])
    assert [partition.members(c).tolist() for c in range(3)] == [[1, 3], [0], [2, 4]]


def test_ends_of_the_lattice():
    whole, singletons = Partition.whole(5), Partition.singletons(5)
    assert (whole.num_clusters, singletons.num_clusters) == (1, 5)
    assert singletons.refines(whole) and not whole.refines(singletons)


def test_refinement_and_its_index_map():
    coarse, fine = Partition([0, 1, 0, 1, 1]), Partition([0, 1, 0, 2, 1])
    assert fine.refines(coarse) and fine.refines(fine)
    assert fine.coarse_labels(coarse).tolist() == [0, 1, 1]
    assert not Partition([0, 0, 1, 2, 2]).refines(coarse)


def test_numbers_of_clusters_do_not_matter_for_equality():
    left, right = Partition([0, 1, 0], 2), Partition([1, 0, 1], 2)
    assert left == right and hash(left) == hash(right)
    assert left != Partition([0, 0, 1])
    assert left != "a partition"


def test_repr_says_the_sizes():
    assert repr(Partition([0, 0, 1])) == "Partition(3 nodes into 2 clusters of sizes [2, 1])"
    assert repr(Partition.singletons(9)).endswith("[1, 1, 1, 1, 1, 1, 1, ...])")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Partition([]), r"shape \(N,\) with N >= 1, got shape \(0,\)"),
        (lambda: Partition(torch.zeros(2, 2, dtype=torch.long)), r"got shape \(2, 2\)"),
        (lambda: Partition([0.0, 1.0]), r"expected integer labels, got torch.float32"),
        (lambda: Partition([0, 2, 2], 3), r"clusters \[1\] have no node; num_clusters=3 needs labels 0..2"),
        (lambda: Partition([0, 5], 2), r"expected labels in 0..1, got 0..5"),
        (lambda: Partition([0, 0], 3), r"at most one cluster per node, got num_clusters=3 for 2 nodes"),
        (lambda: Partition.from_clusters([[0, 1], [1, 3]]), r"twice: \[1\], in none: \[2\]"),
        (lambda: Partition.from_clusters([[0, 1], []]), r"clusters \[1\] have no node"),
        (lambda: Partition([0, 1]).members(2), r"cluster in 0..1, got 2"),
        (lambda: Partition([0, 1]).refines(Partition([0])), r"of 2 and of 1 nodes cannot be compared"),
    ],
)
def test_what_is_no_partition_is_refused(make, message):
    with pytest.raises(PartitionError, match=message):
        make()


def test_numbers_are_whole():
    with pytest.raises(PartitionError, match=r"expected num_clusters as an integer >= 1, got 3\.0"):
        Partition([0, 1, 2], num_clusters=3.0)
    with pytest.raises(PartitionError, match=r"expected num_nodes as an integer >= 1, got 2\.5"):
        Partition.whole(2.5)


def test_sums_and_averages_are_those_of_the_indicator_matrix():
    partition, values = Partition([1, 0, 1, 2, 0]), torch.randn(5, 5, 3, dtype=torch.float64)
    indicator = torch.nn.functional.one_hot(partition.labels).double()
    torch.testing.assert_close(partition.sum(values, 1), torch.einsum("bnc,nk->bkc", values, indicator))
    means = indicator @ torch.diag(1 / indicator.sum(0)) @ indicator.mT
    torch.testing.assert_close(partition.average(values), torch.einsum("mn,nbc->mbc", means, values))
    with pytest.raises(ShapeError, match=r"expected 5 nodes along axis 1, got \(2, 4\)"):
        partition.sum(torch.zeros(2, 4), 1)
