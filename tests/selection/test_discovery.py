"""Tests of single symmetries: their level on symmetric data, their power on others, and the group they make."""

import dataclasses

import pytest
import torch
from torch_geometric.data import Data

import gnet
from gnet.errors import ConfigError, DataError, GroupError, ShapeError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, PermutationGroup, SymmetricGroup
from gnet.selection import block_moves, check_symmetries, exchanges, group_of_accepted
from gnet.selection.discovery import SymmetryTests, squared_error

SWAP = [1, 0, 2, 3]


def samples(slopes, num, seed, noise=1.0):
    """y = slope x + noise, node by node."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(num, len(slopes), 1, generator=rng, dtype=torch.float64)
    return x, x * torch.tensor(slopes, dtype=torch.float64)[:, None] + noise * torch.randn(
        x.shape, generator=rng, dtype=torch.float64
    )


def test_excess_is_the_difference_of_the_risks():
    x, y = samples([1, 2, 3, 4], 30, seed=0)
    f = lambda x: 0.5 * x.flip(1)  # noqa: E731
    tests = check_symmetries(f, x, y, [SWAP, [3, 0, 1, 2]])
    for place, perm in enumerate(tests.elements):
        moved_x, moved_y = torch.empty_like(x), torch.empty_like(y)
        moved_x[:, perm], moved_y[:, perm] = x, y
        by_hand = squared_error(f(moved_x), moved_y) - squared_error(f(x), y)
        assert float(tests.excess[place]) == pytest.approx(float(by_hand.mean()))
    assert tests.risk == pytest.approx(float(squared_error(f(x), y).mean()))
    assert bool((tests.lower <= tests.excess).all()) and bool((tests.excess <= tests.upper).all())


def limits_of_exchange(num, draws, **options):
    """Lower and upper limits for data that an exchange leaves as they are, with heavy tails, under a function it changes."""
    rng = torch.Generator().manual_seed(num)
    lopsided = lambda x: x * torch.tensor([2.0, 1.0, 1.0, 1.0], dtype=torch.float64)[:, None]  # noqa: E731
    found = []
    for _ in range(draws):
        x = torch.randn(num, 4, 1, generator=rng, dtype=torch.float64) ** 3
        y = x.sum(1, keepdim=True).expand(num, 4, 1) + torch.randn(num, 4, 1, generator=rng, dtype=torch.float64) ** 3
        found.append(check_symmetries(lopsided, x, y, [SWAP], generator=rng, **options))
    return torch.cat([each.lower for each in found]), torch.cat([each.upper for each in found]), found


def test_the_limits_hold_as_often_as_they_say_even_with_few_samples():
    """Eight samples, 199 of their 256 subsets: the exchange of two nodes is its own inverse, so the test is exact."""
    lower, upper, _ = limits_of_exchange(8, 400, confidence=0.8, num_subsets=199)
    missed = ((lower > 0) | (upper < 0)).double().mean()
    assert abs(float(missed) - 0.2) < 4 * (0.2 * 0.8 / 400) ** 0.5


@pytest.mark.parametrize("num", [2, 3, 4, 5, 6, 11])
def test_few_samples_are_not_surer_than_they_can_be(num, monkeypatch):
    """2^B - 1 means for a tail of 0.025: no limit below six samples, and no p-value below 2^-B. The liar is quantiles alone."""
    draws = 300
    lower, upper, found = limits_of_exchange(num, draws)
    assert bool(lower.isfinite().all()) == bool(upper.isfinite().all()) == (num >= 6)
    spread = 4 * (0.05 * 0.95 / draws) ** 0.5
    assert float(((lower > 0) | (upper < 0)).double().mean()) < 0.05 + spread
    smallest = min(float(each.p_values) for each in found)
    assert smallest >= max(2.0**-num, 1 / 2000)
    for level in (2.0**-num, 0.1):  # a p-value is below any level at most that often
        often = float(torch.cat([each.p_values for each in found]).le(level).double().mean())
        assert often < level + 4 * (level / draws) ** 0.5

    def quantiles_alone(values, num_subsets, generator):
        inside = torch.rand(num_subsets, values.shape[1], generator=generator) < 0.5
        empty = ~inside.any(1)
        inside[empty, torch.randint(values.shape[1], (int(empty.sum()),), generator=generator)] = True
        return values @ (inside.double() / inside.sum(1, keepdim=True)).mT, 0

    monkeypatch.setattr("gnet.selection.discovery._subset_means", quantiles_alone)
    lower, upper, liars = limits_of_exchange(num, draws)
    if num < 5:
        assert float(((lower > 0) | (upper < 0)).double().mean()) > 0.05 + spread
        assert min(float(each.p_values) for each in liars) < 2.0**-num


def test_many_candidates_at_once_take_more_samples():
    """Six exchanges at 0.95: a tail of 0.025 / 6 is above 2^-B from eight samples on."""
    for num, finite in ((7, False), (8, True)):
        x, y = samples([1, 1, 3, 3], num, seed=0)
        tests = check_symmetries(lambda x: 2 * x, x, y, exchanges(Partition.whole(4)), simultaneous=True)
        assert bool(tests.lower.isfinite().all()) is finite and bool(tests.upper.isfinite().any()) is finite
        assert finite or not (tests.rejected.any() or tests.certified.any())
        assert group_of_accepted(tests).degree == 4


def test_a_broken_symmetry_is_found_by_a_good_function_only():
    x, y = samples([1, 1, 3, 3], 400, seed=2)
    good = lambda x: x * torch.tensor([1.0, 1.0, 3.0, 3.0], dtype=torch.float64)[:, None]  # noqa: E731
    perms = [SWAP, [0, 1, 3, 2], [2, 1, 0, 3]]
    rng = torch.Generator().manual_seed(0)
    assert check_symmetries(good, x, y, perms, generator=rng).rejected.tolist() == [False, False, True]
    assert not check_symmetries(lambda x: 0 * x, x, y, [SWAP], generator=rng).rejected.any()
    tests = check_symmetries(good, x, y, perms, epsilon=50.0, generator=rng)
    assert tests.certified.all() and not tests.rejected.any()
    assert bool((check_symmetries(good, x, y, perms, simultaneous=True, generator=rng).upper >= 0).all())


def test_numbers_that_do_not_move_and_other_groups():
    x, _ = samples([1, 1, 1, 1], 300, seed=3)
    y = x[:, :2].sum(1) + 4 * x[:, 2:].sum(1)
    f = lambda x: x[:, :2].sum(1) + 4 * x[:, 2:].sum(1)  # noqa: E731
    still = gnet.groups.TRIVIAL_ACTION
    tests = check_symmetries(f, x, y, [SWAP, [2, 1, 0, 3]], SymmetricGroup(4), action_out=still)
    assert tests.rejected.tolist() == [False, True]


def test_accepted_exchanges_and_swaps_make_the_group():
    slopes = [1.0, 1.0, 3.0, 3.0, 7.0]
    x, y = samples(slopes, 500, seed=4)
    f = lambda x: x * torch.tensor(slopes, dtype=torch.float64)[:, None]  # noqa: E731
    tests = check_symmetries(f, x, y, exchanges(Partition.whole(5)), simultaneous=True)
    assert group_of_accepted(tests) == ClusterGroup(Partition([0, 0, 1, 1, 2]))
    same = [2.0, 2.0, 2.0, 2.0]
    x, y = samples(same, 200, seed=5)
    pairs = [*exchanges(Partition([0, 0, 1, 1])), torch.tensor([2, 3, 0, 1])]
    found = group_of_accepted(check_symmetries(lambda x: 2 * x, x, y, pairs, simultaneous=True))
    assert found.order() == 8 and found.partition == Partition([0, 0, 1, 1])


def test_what_cannot_be_tested_is_refused():
    x, y = samples([1, 1, 1, 1], 10, seed=0)
    f = lambda x: x  # noqa: E731
    with pytest.raises(ConfigError, match="at least one candidate"):
        check_symmetries(f, x, y, [])
    with pytest.raises(GroupError, match="candidate 0: expected a permutation"):
        check_symmetries(f, x, y, [[0, 0, 1, 2]])
    with pytest.raises(GroupError, match="say whose elements"):
        check_symmetries(f, x, y, [torch.eye(4)])
    with pytest.raises(ConfigError, match=r"confidence in \(0, 1\), got 1"):
        check_symmetries(f, x, y, [SWAP], confidence=1.0)
    with pytest.raises(ConfigError, match="expected num_subsets >= 39 for limits"):
        check_symmetries(f, x, y, [SWAP], num_subsets=20)
    with pytest.raises(ShapeError, match=r"y of the shape of f\(x\)"):
        check_symmetries(f, x, y[:, :2], [SWAP])
    with pytest.raises(ShapeError, match="at least two samples"):
        check_symmetries(f, x[:1], y[:1], [SWAP])
    with pytest.raises(GroupError, match="tests of permutations"):
        group_of_accepted(check_symmetries(f, x, y, [torch.eye(4)], SymmetricGroup(4), *[gnet.groups.TRIVIAL_ACTION] * 2))


def test_what_is_not_a_number_is_refused_and_not_accepted():
    x, y = samples([1, 1, 3, 3], 60, seed=0)
    f = lambda x: x  # noqa: E731
    pairs = exchanges(Partition.whole(4))
    spoiled, unseen = y.clone(), x.clone()
    spoiled[2, 0], unseen[3, 1] = torch.nan, torch.nan
    with pytest.raises(DataError, match="on the data as they are for items 2; leave them out"):
        check_symmetries(f, x, spoiled, pairs)
    with pytest.raises(DataError, match="for items 3"):
        check_symmetries(f, unseen, y, pairs)
    moved_first = float(x[0, 1])
    only_moved = lambda x: x / (x[:, :1] != moved_first)  # noqa: E731
    with pytest.raises(DataError, match="moved by candidate 0 for items 0"):
        check_symmetries(only_moved, x, y, pairs)
    for epsilon in (float("nan"), float("inf"), "0.1"):
        with pytest.raises(ConfigError, match="expected a finite epsilon"):
            check_symmetries(f, x, y, pairs, epsilon=epsilon)
    for loss, shape in ((lambda a, b: (a - b).square(), r"\(60, 4, 1\)"), (lambda a, b: (a - b).square().mean(), r"\(\)")):
        with pytest.raises(ShapeError, match=rf"loss of shape \(60,\), one number for each item, got {shape}"):
            check_symmetries(f, x, y, pairs, loss=loss)
    tests = check_symmetries(f, x, y, pairs)
    with pytest.raises(DataError, match="would reject nothing"):
        group_of_accepted(dataclasses.replace(tests, lower=tests.lower * torch.nan))
    # Entries that were not measured, left out by the loss, which sees them move.
    seen = lambda a, b: (a - b).square().nan_to_num().sum((1, 2)) / b.isfinite().sum((1, 2))  # noqa: E731
    assert bool(check_symmetries(f, x, spoiled, pairs, loss=seen).lower.isfinite().all())


CHANGES = torch.tensor([4.0, -1.0, 0.5, 2.5], dtype=torch.float64)


def changed_by(changes):
    """Losses 0 as the data are, and these once two nodes are exchanged."""
    x = torch.zeros(len(changes), 2, 1, dtype=torch.float64)
    x[:, 1, 0] = 1
    return x, x, lambda outputs, targets: torch.where(targets[:, 0, 0] == 1, changes, torch.zeros_like(changes))


def test_limits_and_p_values_by_hand():
    """The means of 4, -1, 0.5, 2.5: -1, -.25, .5, 2/3, .75, 7/6, 1.5, 1.5, 1.5, 11/6, 2.25, 7/3, 2.5, 3.25, 4."""
    x, y, loss = changed_by(CHANGES)
    tests = check_symmetries(lambda x: x, x, y, [[1, 0]], loss=loss, num_subsets=15, confidence=0.75, epsilon=0.5)
    assert float(tests.excess) == 1.5 and tests.risk == 0
    # (1 - 0.75) / 2 of 16 intervals: the second from either end.
    assert float(tests.lower) == -0.25 and float(tests.upper) == 3.25
    # Three means are at most 0.5; the interval below all of them counts, too.
    assert float(tests.p_values) == 4 / 16
    surely = check_symmetries(lambda x: x, x, y, [[1, 0]], loss=loss, num_subsets=15, confidence=0.75, epsilon=-2)
    assert float(surely.p_values) == 1 / 16 and bool(surely.rejected)
    never = check_symmetries(lambda x: x, x, y, [[1, 0]], loss=loss, num_subsets=15, confidence=0.75, epsilon=9)
    assert float(never.p_values) == 1 and not bool(never.rejected) and bool(never.certified)


def test_limits_that_hold_at_once_are_wider():
    x, y, loss = changed_by(CHANGES)
    options = {"loss": loss, "num_subsets": 15, "confidence": 0.75}
    single = check_symmetries(lambda x: x, x, y, [[1, 0], [1, 0]], **options)
    both = check_symmetries(lambda x: x, x, y, [[1, 0], [1, 0]], simultaneous=True, **options)
    assert single.lower.tolist() == [-0.25, -0.25] and single.upper.tolist() == [3.25, 3.25]
    assert both.lower.tolist() == [-1, -1] and both.upper.tolist() == [4, 4]
    assert torch.equal(single.p_values, both.p_values)


def test_a_node_joins_only_if_all_its_exchanges_passed():
    """1 may take the place of 0 and of 2, but 0 not that of 2: two clusters, whichever way, never one."""
    pairs = exchanges(Partition.whole(3))  # (0 1), (0 2), (1 2)
    lower = torch.tensor([-1.0, 0.1, -1.0])
    tests = SymmetryTests(pairs, lower, lower, lower, lower, 1.0, 0.0, 0.95)
    assert tests.rejected.tolist() == [False, True, False]
    assert group_of_accepted(tests) == ClusterGroup(Partition([0, 0, 1]))


def test_blocks_that_change_places_are_candidates():
    """A square of four blocks of two nodes, exchanged node by node: eight symmetries, each a map of blocks onto blocks."""
    corners = torch.arange(4)
    ends = torch.stack([torch.cat([corners, (corners + 1) % 4]), torch.cat([(corners + 1) % 4, corners])])
    edges = torch.cat([torch.stack([2 * ends[0] + i, 2 * ends[1] + j]) for i in range(2) for j in range(2)], 1)
    square, blocks = Data(edge_index=edges, num_nodes=8), Partition(torch.arange(8) // 2)
    moves = block_moves(square, blocks)
    assert PermutationGroup(list(moves)).order() == 8
    for perm in moves:
        assert Partition(blocks.labels[perm]) == blocks, "blocks go to blocks"
        assert torch.equal(perm % 2, torch.arange(8) % 2), "node by node"
        moved = {tuple(pair) for pair in perm[edges].mT.tolist()}
        assert moved == {tuple(pair) for pair in edges.mT.tolist()}, "the graph stays as it is"
    heavier = Data(edge_index=edges, edge_weight=1.0 + (edges == 0).any(0).float(), num_nodes=8)
    assert PermutationGroup([*block_moves(heavier, blocks)]).order() == 2, "the first block is another one: one mirror remains"
    assert block_moves(square, Partition([0, 0, 0, 1, 1, 2, 3, 4])).shape[1] == 8
    assert block_moves(square, Partition.whole(8)).shape == (0, 8)


def test_tested_moves_of_blocks_become_swaps():
    """Two pairs that may change places, and a third with another slope, which the graph takes for one like them."""
    slopes = [1.0, 2.0, 1.0, 2.0, 1.0, 5.0]
    pairs, everyone = Partition([0, 1, 2, 3, 4, 5]), torch.cartesian_prod(torch.arange(6), torch.arange(6)).mT
    blocks = Partition([0, 0, 1, 1, 2, 2])
    graph = Data(edge_index=everyone[:, everyone[0] != everyone[1]], num_nodes=6)
    x, y = samples(slopes, 400, seed=6)
    f = lambda x: x * torch.tensor(slopes, dtype=torch.float64)[:, None]  # noqa: E731
    swap, other = [2, 3, 0, 1, 4, 5], [4, 5, 2, 3, 0, 1]
    assert PermutationGroup(list(block_moves(graph, blocks))).contains(torch.tensor(swap))
    tests = check_symmetries(f, x, y, [swap, other])
    assert tests.rejected.tolist() == [False, True]
    assert group_of_accepted(tests).order() == 2 and group_of_accepted(tests).partition == pairs
