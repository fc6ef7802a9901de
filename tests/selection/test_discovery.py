"""Tests of single symmetries: their level on symmetric data, their power on others, and the group they make."""

import numpy as np
import pytest
import torch

import gnet
from gnet.errors import ConfigError, GroupError, ShapeError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, SymmetricGroup
from gnet.selection import check_symmetries, exchanges, group_of_accepted
from gnet.selection.discovery import squared_error

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


def test_the_limits_hold_as_often_as_they_say_even_with_few_samples():
    """Heavy tails, eight samples: the exchange of two nodes is its own inverse, so the test is exact."""
    rng = torch.Generator().manual_seed(1)
    lopsided = lambda x: x * torch.tensor([2.0, 1.0, 1.0, 1.0], dtype=torch.float64)[:, None]  # noqa: E731
    missed = []
    for _ in range(400):
        x = torch.randn(8, 4, 1, generator=rng, dtype=torch.float64) ** 3
        y = x.sum(1, keepdim=True).expand(8, 4, 1) + torch.randn(8, 4, 1, generator=rng, dtype=torch.float64) ** 3
        tests = check_symmetries(lopsided, x, y, [SWAP], confidence=0.8, num_subsets=199, generator=rng)
        missed.append(bool(tests.lower[0] > 0) or bool(tests.upper[0] < 0))
    # Exact up to the ties of 8 samples: 255 different subsets.
    assert abs(np.mean(missed) - 0.2) < 4 * (0.2 * 0.8 / 400) ** 0.5 + 1 / 128


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
