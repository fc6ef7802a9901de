"""The Reynolds operator: idempotent, self-adjoint, equal to brute force, nested, compatible with swaps; with liars."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from gnet.graphs.partition import Partition
from gnet.groups import ClusterGroup, NodeGroup, SymmetricGroup, TrivialGroup
from gnet.measures import project
from gnet.orbits import PairOrbits
from gnet.testing import brute_force_mean, enumerate_elements
from tests.laws.cases import GROUPS, TIED_GROUPS, UNTIED

Mean = Callable[[Tensor], Tensor]


@pytest.fixture(params=GROUPS)
def group(request: pytest.FixtureRequest) -> NodeGroup:
    return GROUPS[request.param]


def weights(group: NodeGroup, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two random maps (N, 3, N, 2)."""
    shape = (group.degree, 3, group.degree, 2)
    return torch.randn(shape, dtype=torch.float64, generator=rng), torch.randn(shape, dtype=torch.float64, generator=rng)


def is_idempotent(mean: Mean, w: Tensor) -> bool:
    return torch.allclose(mean(mean(w)), mean(w), atol=1e-12)


def is_self_adjoint(mean: Mean, v: Tensor, w: Tensor) -> bool:
    return torch.allclose((mean(v) * w).sum(), (v * mean(w)).sum(), atol=1e-10)


def is_the_average(mean: Mean, w: Tensor, group: NodeGroup) -> bool:
    return torch.allclose(mean(w), brute_force_mean(w, group), atol=1e-12)


def test_is_the_orthogonal_projection_onto_equivariant_maps(group, rng):
    mean = PairOrbits.of(group).mean
    v, w = weights(group, rng)
    assert is_idempotent(mean, w)
    assert is_self_adjoint(mean, v, w)
    assert is_the_average(mean, w, group)


def test_projection_of_a_tensor_is_the_mean_over_orbits(group, rng):
    w, _ = weights(group, rng)
    assert torch.equal(project(w, group), PairOrbits.of(group).mean(w))
    assert torch.equal(project(w[:, 0, :, 0], group), PairOrbits.of(group).mean(w[:, 0, :, 0]))


def test_channels_are_projected_one_by_one(group, rng):
    w, _ = weights(group, rng)
    for q in range(3):
        for p in range(2):
            torch.testing.assert_close(project(w, group)[:, q, :, p], project(w[:, q, :, p], group))


def test_projection_commutes_with_transposition(group, rng):
    w, _ = weights(group, rng)
    torch.testing.assert_close(project(w.permute(2, 3, 0, 1), group), project(w, group).permute(2, 3, 0, 1))


def test_an_invariant_theta_is_averaged_over_node_orbits(group, rng):
    theta = torch.randn(group.degree, 2, dtype=torch.float64, generator=rng)
    expected = torch.stack([group.act(g, theta) for g in enumerate_elements(group)]).mean(0)
    torch.testing.assert_close(project(theta, group, output="invariant"), expected)
    torch.testing.assert_close(project(theta[:, 0], group, output="invariant"), expected[:, 0])


def test_trivial_group_changes_nothing(rng):
    w, _ = weights(TrivialGroup(5), rng)
    assert torch.equal(project(w, TrivialGroup(5)), w)


CHAIN = [
    SymmetricGroup(10),
    ClusterGroup(Partition([1, 0, 0, 1, 0, 1, 0, 1, 0, 1])),
    ClusterGroup(UNTIED),
    ClusterGroup(Partition([2, 0, 1, 3, 1, 3, 0, 2, 4, 2])),
    TrivialGroup(10),
]


@pytest.mark.parametrize("step", range(len(CHAIN) - 1))
def test_projections_of_a_chain_are_nested(step, rng):
    large, small = CHAIN[step], CHAIN[step + 1]
    assert small.partition.refines(large.partition)
    w, _ = weights(large, rng)
    torch.testing.assert_close(project(project(w, small), large), project(w, large))
    torch.testing.assert_close(project(project(w, large), small), project(w, large))
    assert (w - project(w, small)).norm() <= (w - project(w, large)).norm()
    assert PairOrbits.of(large).count < PairOrbits.of(small).count


def test_increments_of_a_chain_are_orthogonal(rng):
    w, _ = weights(CHAIN[0], rng)
    increments = [project(w, small) - project(w, large) for large, small in pairwise(CHAIN)]
    for i, first in enumerate(increments):
        for second in increments[i + 1 :]:
            assert float((first * second).sum()) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", TIED_GROUPS)
def test_averaging_inside_clusters_and_over_swaps_commute(name, rng):
    tied = TIED_GROUPS[name]
    untied = ClusterGroup(tied.partition)
    lifts = tied.lift(enumerate_elements(tied.swaps))
    w, _ = weights(tied, rng)

    def over_lifts(weight: Tensor) -> Tensor:
        backs = torch.argsort(lifts)
        return torch.stack([weight[back][:, :, back] for back in backs]).mean(0)

    torch.testing.assert_close(over_lifts(project(w, untied)), project(w, tied))
    torch.testing.assert_close(project(over_lifts(w), untied), project(w, tied))


def test_a_half_way_average_is_caught(rng):
    group = ClusterGroup(UNTIED)
    w, _ = weights(group, rng)
    mean = PairOrbits.of(group).mean
    assert not is_idempotent(lambda weight: (weight + mean(weight)) / 2, w)


def test_a_shear_onto_equivariant_maps_is_caught(rng):
    group = ClusterGroup(UNTIED)
    v, w = weights(group, rng)
    orbits = PairOrbits.of(group)
    first = torch.stack([torch.nonzero(orbits.labels() == o)[0] for o in range(orbits.count)])

    def sheared(weight: Tensor) -> Tensor:
        return orbits.matrix(weight[first[:, 0], :, first[:, 1]])  # the value at one pair instead of the mean

    assert is_idempotent(sheared, w)
    assert not is_self_adjoint(sheared, v, w)


def test_block_means_that_forget_the_diagonal_are_caught(rng):
    group = ClusterGroup(UNTIED)
    v, w = weights(group, rng)
    labels = UNTIED.labels[:, None] * 3 + UNTIED.labels[None, :]

    def blown_up(weight: Tensor) -> Tensor:
        flat = weight.permute(0, 2, 1, 3).flatten(0, 1)
        sums = torch.zeros(9, 3, 2, dtype=w.dtype).index_add(0, labels.flatten(), flat)
        means = sums / torch.bincount(labels.flatten()).reshape(-1, 1, 1)
        return means[labels].permute(0, 2, 1, 3)

    assert is_idempotent(blown_up, w)
    assert is_self_adjoint(blown_up, v, w)
    assert not is_the_average(blown_up, w, group)
