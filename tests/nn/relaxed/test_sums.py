"""Sums over groups that need not be nested: the space they reach, what stays exact, members of other kinds."""

import numpy as np
import pytest
import torch
from torch import nn

from gnet.errors import ConfigError, GroupError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, SymmetricGroup
from gnet.nn import EquivariantLinear, OrbitConv
from gnet.nn.relaxed import GroupSum
from gnet.orbits import PairOrbits
from gnet.testing import LawBroken, check_layer, expressible_rank
from gnet.testing.tolerances import require_close
from tests.nn.relaxed.cases import ACROSS, DIHEDRAL, EDGES, FINER, GROUP, RING, SWAPPED, WHOLE, made, signals

SUMS = {
    "not nested": [GROUP, ACROSS],
    "nested": [GROUP, FINER, WHOLE],
    "swaps": [SWAPPED, ACROSS],
    "generators": [DIHEDRAL, GROUP],
    "one": [GROUP],
    "twice": [GROUP, GROUP],
}


@pytest.mark.parametrize("name", SUMS)
def test_reaches_the_sum_of_the_spaces(name):
    indicators = []
    for group in SUMS[name]:
        labels = PairOrbits.of(group).labels().flatten().numpy()
        indicators += [labels == orbit for orbit in range(labels.max() + 1)]
    dimension = np.linalg.matrix_rank(np.array(indicators, dtype=float))
    assert expressible_rank(GroupSum(SUMS[name], 2, 1)) == dimension * 2


@pytest.mark.parametrize("name", SUMS)
def test_is_exactly_equivariant_to_what_the_groups_share(name, rng):
    groups = SUMS[name]
    common = [g for g in groups[0].elements() if all(group.contains(g) for group in groups[1:])]
    layer, x = GroupSum(groups, 2, 3, generator=rng).double(), signals(4, 6, 2, rng=rng)
    for member in layer.members:
        torch.nn.init.normal_(member.bias, generator=rng)
    for g in common:
        require_close("common", layer(groups[0].act(g, x)), groups[0].act(g, layer(x)))
    assert len(common) < groups[0].order() or name in ("nested", "one", "twice")


def test_is_not_equivariant_to_each_group(rng):
    for group in (GROUP, ACROSS):
        with pytest.raises(LawBroken, match="equivariance"):
            check_layer(GroupSum([GROUP, ACROSS], 2, 3, generator=rng), group)


def test_members_may_be_modules(rng):
    conv = OrbitConv(RING, 2, 3, EDGES, generator=rng)
    layer = GroupSum([GROUP, conv, nn.Linear(2, 3)], 2, 3)
    x = torch.randn(4, 6, 2, generator=rng)
    torch.testing.assert_close(layer(x), sum(member(x) for member in layer.members))
    assert layer.members[1] is conv
    with pytest.raises(ConfigError, match=r"expected members with dense\(\), which Linear has not"):
        layer.dense()


def test_edges_make_convolutions_of_groups_by_generators(rng):
    layer = GroupSum([GROUP, RING, DIHEDRAL], 2, 3, edge_index=EDGES, generator=rng)
    assert [type(member) for member in layer.members] == [EquivariantLinear, OrbitConv, OrbitConv]
    assert layer.members[1].orbits.count == 2  # itself and the sender before
    assert layer.members[2].orbits.count == 2  # itself and both neighbours: the images are added


def test_groups_by_generators_do_not_need_the_published_start():
    layer = GroupSum([GROUP, RING], 2, 3, parametrization="reference", init="reference")
    assert [member.init for member in layer.members] == ["reference", "white"]


def test_a_shared_bias_is_there_once():
    layer = GroupSum([GROUP, ACROSS], 2, 3, bias="shared")
    assert [member.bias is None for member in layer.members] == [False, True]


def test_intersections_of_clusters_are_enough_for_the_error(rng):
    """4 x 4 and 6 x 6 patches of a 24 x 24 image: 36 intersections in a row, no matrix of 576 x 576 pixels."""
    places = torch.cartesian_prod(torch.arange(24), torch.arange(24))
    groups = [ClusterGroup(Partition(places[:, 0] // s * 24 + places[:, 1] // s)) for s in (6, 4)]
    layer = GroupSum(groups, 1, 2, generator=rng).double()
    assert len(layer.to_first.sizes) == 64**2 + 64
    slow = super(GroupSum, layer).broken()
    assert float(layer.broken().detach()) == pytest.approx(float(slow.detach()), rel=1e-10)


def test_errors_are_about_the_first_group(rng):
    first, second = made("sum", rng), GroupSum([ACROSS, GROUP], 2, 3)
    assert first.reference is GROUP and second.reference is ACROSS
    assert GroupSum([ACROSS], 2, 3).equivariance_error() < 1e-12


def test_it_may_start_as_its_first_group_alone(rng):
    layer = GroupSum([GROUP, ACROSS, RING], 2, 3, start="first", gain=2.0, generator=rng)
    alone = EquivariantLinear(GROUP, 2, 3, gain=2.0, generator=torch.Generator().manual_seed(3))
    layer.reset_parameters(torch.Generator().manual_seed(3))
    x = torch.randn(4, 6, 2, generator=rng)
    torch.testing.assert_close(layer(x), alone(x))
    assert float(layer.equivariance_error()) < 1e-6


def test_scales_multiply_members_and_leave_the_start(rng):
    layer = GroupSum([GROUP, WHOLE, RING], 2, 3, scales="orbits", generator=rng)
    assert layer.scales == pytest.approx([3**-0.5, 1.0, 1.0])
    x = torch.randn(4, 6, 2, generator=rng)
    parts = [scale * member(x) for scale, member in zip(layer.scales, layer.members, strict=True)]
    torch.testing.assert_close(layer(x), torch.stack(parts).sum(0))
    plain = GroupSum([GROUP, WHOLE, RING], 2, 3, generator=torch.Generator().manual_seed(3))
    layer.reset_parameters(torch.Generator().manual_seed(3))
    torch.testing.assert_close(layer(x), plain(x))


def test_a_step_of_adam_moves_a_member_by_its_scale(rng):
    groups, x = [WHOLE, GROUP], torch.randn(4, 6, 2, generator=rng)
    moved = []
    for scales in (None, [1.0, 0.25]):
        layer = GroupSum(groups, 2, 3, start="first", scales=scales, bias=None, generator=torch.Generator().manual_seed(3))
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.1, eps=1e-12)
        before = layer.dense().detach()
        (layer(x) * torch.arange(6.0)[:, None]).sum().backward()
        layer.members[0].zero_grad()
        optimizer.step()
        moved.append(layer.dense().detach() - before)
    torch.testing.assert_close(moved[1], 0.25 * moved[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": "frist"}, "expected start to be one of 'even', 'first', got 'frist'; did you mean 'first'"),
        ({"scales": "orbit"}, "did you mean 'orbits'"),
        ({"scales": [1.0]}, r"expected 2 scales > 0, one for each member, or 'orbits', got \[1.0\]"),
        ({"scales": [1.0, 0.0]}, "expected 2 scales > 0"),
    ],
)
def test_impossible_starts_and_scales_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        GroupSum([GROUP, WHOLE], 2, 3, **options)


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ([], ConfigError, "expected at least one group, got none"),
        ([nn.Linear(2, 3), GROUP], GroupError, "expected a first member with a group"),
        ([GROUP, SymmetricGroup(5)], GroupError, "expected groups on the same 6 nodes, got S5 on 5"),
        (
            [GROUP, EquivariantLinear(GROUP, 2, 4)],
            ConfigError,
            "expected members with out_channels=3, got EquivariantLinear with 4",
        ),
    ],
)
def test_impossible_sums_are_refused(groups, error, message):
    with pytest.raises(error, match=message):
        GroupSum(groups, 2, 3)
