"""``check_layer`` and ``expressible_rank`` as a stranger uses them on layers that are not ours."""

import copy

import pytest
import torch
from torch import Tensor, nn

from gnet.graphs.partition import Partition
from gnet.groups import TRIVIAL_ACTION, ClusterGroup, SymmetricGroup
from gnet.nn import EquivariantLinear, GNet, InvariantLinear
from gnet.testing import LawBroken, brute_force_mean, check_layer, enumerate_elements, expressible_rank

GROUP = ClusterGroup(Partition([1, 0, 1, 2, 0, 1], num_clusters=3))


class DeepSets(nn.Module):
    """x A + mean(x) B + b: what commutes with the symmetric group, written by a stranger."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.own, self.pooled = nn.Linear(in_channels, out_channels), nn.Linear(in_channels, out_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.own(x) + self.pooled(x.mean(-2, keepdim=True))


def test_a_stranger_s_layer_passes():
    check_layer(DeepSets(2, 3), SymmetricGroup(5), completeness=True)
    assert expressible_rank(DeepSets(2, 3), num_nodes=5, in_channels=2) == 2 * 6


def test_a_stranger_s_layer_is_not_complete_for_a_smaller_group():
    layer = DeepSets(2, 3)
    check_layer(layer, GROUP)  # no num_weights: completeness is not claimed
    with pytest.raises(LawBroken, match="completeness: the layer reaches 12 dimensions, the equivariant maps have 66"):
        check_layer(layer, GROUP, completeness=True)


def test_completeness_can_be_left_out():
    class Pointwise(nn.Linear):
        num_weights, in_channels = 1, 2

    check_layer(Pointwise(2, 3), GROUP, completeness=False)
    with pytest.raises(LawBroken, match="completeness: the layer reaches 6"):
        check_layer(Pointwise(2, 3), GROUP)


def test_gradients_can_be_left_out():
    class Detached(DeepSets):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.detach())

    check_layer(Detached(2, 3), SymmetricGroup(5), gradients=False)
    with pytest.raises(LawBroken, match="gradcheck"):
        check_layer(Detached(2, 3), SymmetricGroup(5))


def test_weights_are_random_so_a_layer_that_starts_at_zero_is_caught_too():
    class StartsAtZero(nn.Module):
        in_channels = 1

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(6, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight

    with pytest.raises(LawBroken, match="equivariance"):
        check_layer(StartsAtZero(), GROUP)


def test_the_layer_itself_is_left_alone():
    layer = EquivariantLinear(GROUP, 2, 3)
    before = copy.deepcopy(layer.state_dict())
    check_layer(layer, GROUP)
    assert layer.training
    for name, value in layer.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before[name])


def test_invariant_layers_are_recognised_by_their_output():
    check_layer(InvariantLinear(GROUP, 2, 3), GROUP)
    with pytest.raises(LawBroken, match="equivariance"):
        check_layer(EquivariantLinear(GROUP, 2, 3), GROUP, action_out=TRIVIAL_ACTION)


def test_nets_take_the_signal_that_is_given(rng):
    check_layer(GNet(GROUP, 2, 4, 3, act="tanh"), GROUP, torch.randn(2, 6, 2, dtype=torch.float64, generator=rng))


def test_rank_counts_directions_and_not_parameters():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))
            self.offset = nn.Parameter(torch.ones(6, 1))

        def forward(self, x: Tensor) -> Tensor:
            return (self.a + 2 * self.b) * x + self.offset

    assert expressible_rank(Twice(), num_nodes=6, in_channels=1) == 1


def test_brute_force_mean_of_one_pair_spreads_over_its_orbit():
    weight = torch.zeros(6, 6, dtype=torch.float64)
    weight[0, 2] = 6.0  # both in the cluster {0, 2, 5}
    expected = torch.zeros(6, 6, dtype=torch.float64)
    for i in (0, 2, 5):
        for j in (0, 2, 5):
            expected[i, j] = float(i != j)
    assert torch.equal(brute_force_mean(weight, GROUP), expected)


def test_elements_are_distinct_and_hold_the_identity():
    elements = enumerate_elements(GROUP)
    assert len(torch.unique(elements, dim=0)) == len(elements) == GROUP.order()
    assert bool((elements == torch.arange(6)).all(1).any())


def test_a_layer_that_does_not_state_its_channels_asks_for_a_signal():
    with pytest.raises(ValueError, match="x"):
        check_layer(nn.Linear(2, 3), GROUP)


class OneBiasForAll(EquivariantLinear):
    """Promises a bias per orbit and uses the first for all nodes."""

    def bias_of_places(self) -> Tensor:
        return self.bias[:1].expand(3, -1)


def test_a_bias_that_is_not_complete_is_caught():
    with pytest.raises(LawBroken, match="completeness"):
        check_layer(OneBiasForAll(GROUP, 2, 3), GROUP)
