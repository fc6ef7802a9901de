"""Input shift: brute force over the group, unbiased over all samples from a finite population, jackknife, exact tests."""

import dataclasses
import itertools
import math

import pytest
import torch
from torch import Tensor

from gnet.errors import ConfigError, GroupError, ShapeError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, MatrixGroup, NodeGroup, PermutationGroup, SymmetricGroup, TrivialGroup
from gnet.measures import energy_shift, moment_shift
from gnet.measures import shift as room
from tests.laws.test_matrix_group import QuarterTurns

SEED = 0  # draws the identity and another element, without its inverse where that is a third
GROUPS: dict[str, NodeGroup] = {
    "clusters": ClusterGroup(Partition([0, 1, 0, 1])),
    "swaps": ClusterGroup(Partition([0, 1, 0, 1]), swaps=PermutationGroup([[1, 0]])),
    "symmetric": SymmetricGroup(3),
    "cycle": PermutationGroup([[1, 2, 0, 3]]),
}


@pytest.fixture(params=GROUPS)
def group(request: pytest.FixtureRequest) -> NodeGroup:
    return GROUPS[request.param]


def skewed(rng: torch.Generator, num: int, group: NodeGroup, channels: int = 2) -> Tensor:
    scale = torch.arange(1.0, group.degree + 1, dtype=torch.float64)[:, None]
    return scale * (torch.randn(num, group.degree, channels, dtype=torch.float64, generator=rng) + 0.5)


def moved_by_brute_force(x: Tensor, group: NodeGroup, order: int) -> float:
    """Mean over all elements of |S - g S g^T|^2, or of |m - g m|^2, of the sample's moment."""
    found = []
    for g in group.elements():
        z = group.act(g, x)
        if order == 2:
            here, there = (torch.einsum("bip,bjr->ipjr", each, each) / len(x) for each in (x, z))
        else:
            here, there = x.mean(0), z.mean(0)
        found.append(float((here - there).square().sum()))
    return sum(found) / len(found)


@pytest.mark.parametrize("order", [1, 2])
def test_plug_in_is_the_mean_over_the_group(group, rng, order, monkeypatch):
    monkeypatch.setattr(room, "CHUNK_ENTRIES", 3 * (group.degree * 2) ** 2)  # several pieces
    x = skewed(rng, 8, group)
    assert moment_shift(x, group, order=order).plug_in == pytest.approx(moved_by_brute_force(x, group, order))


@pytest.mark.parametrize("order", [1, 2])
def test_is_unbiased_over_all_samples_of_a_population(group, rng, order):
    """All 16 ordered samples of two from four points: the mean estimate is the population's shift, the plug-in's is not."""
    points = skewed(rng, 4, group)
    truth = moved_by_brute_force(points, group, order)
    found = [moment_shift(points[list(pair)], group, order=order) for pair in itertools.product(range(4), repeat=2)]
    assert sum(each.square for each in found) / 16 == pytest.approx(truth)
    assert sum(each.plug_in for each in found) / 16 != pytest.approx(truth, rel=1e-3)
    assert all(math.isnan(each.standard_error) for each in found)


def leave_one_out(estimate, x: Tensor) -> float:
    values = torch.tensor([estimate(torch.cat([x[:i], x[i + 1 :]])) for i in range(len(x))], dtype=torch.float64)
    return math.sqrt((len(x) - 1) / len(x) * float((values - values.mean()).square().sum()))


def by_chance(values: list[float], n: int) -> float:
    """The error of a mean over pairs whose samples' means are all alike."""
    return math.sqrt(2 / (n * (n - 1)) * sum(value**2 for value in values) / len(values))


@pytest.mark.parametrize("order", [1, 2])
def test_error_is_the_jackknife_or_that_by_chance(group, rng, order):
    x = skewed(rng, 7, group)
    found = moment_shift(x, group, order=order)
    # A pair of samples alone is twice the kernel of the pair.
    pairs = [moment_shift(x[list(pair)], group, order=order).square for pair in itertools.combinations(range(7), 2)]
    assert found.square == pytest.approx(sum(pairs) / 21)
    jackknife = leave_one_out(lambda some: moment_shift(some, group, order=order).square, x)
    assert found.standard_error == pytest.approx(max(jackknife, by_chance(pairs, 7)))


@pytest.mark.parametrize(("labels", "swap"), [([0, 1, 0, 2, 1, 0, 3], None), ([0, 1, 0, 2, 1, 3, 3], [1, 0, 2, 3])])
def test_sums_over_clusters_are_sums_over_pairs(labels, swap, rng):
    """The same group by clusters and by its generators, which go through every pair of nodes; with single nodes."""
    group = ClusterGroup(Partition(labels), None if swap is None else PermutationGroup([swap]))
    x = skewed(rng, 9, group)
    by_pairs = moment_shift(x, PermutationGroup([list(g) for g in group.generators]))
    assert dataclasses.astuple(moment_shift(x, group)) == pytest.approx(dataclasses.astuple(by_pairs))
    other = moment_shift(x, ClusterGroup(Partition([0, 0, 0, 1, 1, 2, 3])))
    assert other.square != pytest.approx(by_pairs.square, rel=1e-3)


def test_large_cluster_groups_look_at_no_pair_of_nodes_of_a_sample(rng, monkeypatch):
    monkeypatch.setattr(room, "_products", None)
    x = torch.randn(20, 1000, dtype=torch.float64, generator=rng)
    found = moment_shift(x, ClusterGroup(Partition(torch.arange(1000) % 10)))
    assert abs(found.square) < 5 * found.standard_error


def test_samples_that_are_all_alike_are_not_certain():
    """Both orders of (2, 0), twice: the sample's moment is invariant, so the jackknife error is 0, and the estimate is not."""
    x = torch.tensor([[2.0, 0.0], [0.0, 2.0]]).repeat(2, 1)
    found = moment_shift(x, SymmetricGroup(2))
    assert found.plug_in == pytest.approx(0, abs=1e-12)
    assert found.square < 0
    assert leave_one_out(lambda some: moment_shift(some, SymmetricGroup(2)).square, x) == pytest.approx(0, abs=1e-9)
    assert found.standard_error > abs(found.square) / 2


def test_invariant_inputs_are_within_five_errors_and_others_not(rng):
    group = SymmetricGroup(4)
    alike, scaled = torch.randn(500, 4, 1, dtype=torch.float64, generator=rng), skewed(rng, 3000, group, 1)
    for order in (1, 2):
        found = moment_shift(alike, group, order=order)
        assert abs(found.square) < 5 * found.standard_error
        found = moment_shift(scaled, group, order=order)
        assert found.square > 5 * found.standard_error
        assert found.relative > 0.1


def test_shapes_of_one_channel_agree_and_the_trivial_group_moves_nothing(rng):
    x = skewed(rng, 6, SymmetricGroup(3), 1)
    assert moment_shift(x[..., 0].tolist(), SymmetricGroup(3)) == moment_shift(x, SymmetricGroup(3))
    assert moment_shift(x, TrivialGroup(3)).square == pytest.approx(0, abs=1e-9)
    assert moment_shift(torch.zeros(4, 3), SymmetricGroup(3)).relative == 0.0


# --- energy ---


def energy_by_hand(one: Tensor, other: Tensor, elements: Tensor, act) -> float:
    """The kernel of two samples, a mean over elements."""
    values = []
    for g in elements:
        a, b = act(g, one[None])[0], act(g, other[None])[0]
        values.append((one - b).norm() + (other - a).norm() - (one - other).norm() - (a - b).norm())
    return float(torch.stack(values).mean())


def test_energy_is_unbiased_over_all_samples_of_a_population(rng):
    group = QuarterTurns()
    points = torch.randn(4, 2, dtype=torch.float64, generator=rng) + torch.tensor([2.0, 0.0])
    elements = group.elements()
    truth = sum(energy_by_hand(a, b, elements, group.action) for a in points for b in points) / 16
    found = [energy_shift(points[list(three)], group, num_samples=None).square for three in itertools.product(range(4), repeat=3)]
    assert sum(found) / 64 == pytest.approx(truth)
    assert truth > 0


def test_energy_error_is_the_jackknife_or_that_by_chance(rng):
    group = ClusterGroup(Partition([0, 1, 0]))
    x = skewed(rng, 6, group)
    found = energy_shift(x, group, num_samples=None)
    jackknife = leave_one_out(lambda some: energy_shift(some, group, num_samples=None).square, x)
    pairs = [energy_by_hand(a, b, group.elements(), group.action) for a, b in itertools.combinations(x, 2)]
    assert found.standard_error == pytest.approx(max(jackknife, by_chance(pairs, 6)))
    assert found.num_samples == 2
    assert math.isnan(found.p_value)


class Skew(MatrixGroup):
    """The identity and a reflection that is not orthogonal: of two images the distance is another one."""

    name, dim = "skew", 2
    generators = (torch.tensor([[1.0, 1.0], [0.0, -1.0]], dtype=torch.float64),)

    def order(self):
        return 2

    def sample(self, num, generator=None):
        return self.elements()[torch.randint(2, (num,), generator=generator)]


@pytest.mark.parametrize("group", [Skew(), PermutationGroup([[1, 2, 0]])], ids=lambda group: group.name)
def test_energy_of_drawn_elements(group, rng):
    """Of pairs and their jackknife, for elements without their inverses, and for an action that changes distances."""
    x = torch.randn(6, 2, dtype=torch.float64, generator=rng) + 1 if isinstance(group, Skew) else skewed(rng, 6, group)

    def estimate(some):
        return energy_shift(some, group, num_samples=2, generator=torch.Generator().manual_seed(SEED))

    elements = group.sample(2, torch.Generator().manual_seed(SEED))
    pairs = [energy_by_hand(a, b, elements, group.action) for a, b in itertools.combinations(x, 2)]
    found = estimate(x)
    assert found.square == pytest.approx(sum(pairs) / 15)
    jackknife = leave_one_out(lambda some: estimate(some).square, x)
    assert found.standard_error == pytest.approx(max(jackknife, by_chance(pairs, 6)))


def test_p_values_are_exact(rng):
    """Of invariant inputs at most a quarter of the p-values are below a quarter, whatever n; of shifted ones nearly all."""
    group, small = SymmetricGroup(2), 0
    for _ in range(40):
        x = torch.randn(8, 2, 1, dtype=torch.float64, generator=rng)
        small += energy_shift(x, group, num_samples=None, num_permutations=19, generator=rng).p_value <= 0.25
    assert small <= 40 * 0.25 + 5 * math.sqrt(40 * 0.25 * 0.75)
    x[:, 0] += 4
    assert energy_shift(x, group, num_samples=None, num_permutations=19, generator=rng).p_value <= 0.1


def test_energy_sees_what_two_moments_do_not(rng):
    """One node +-1, the other 0 or, rarely, +-3: the same mean and covariance, another distribution."""
    signs = torch.randint(2, (200, 2, 1), generator=rng).double() * 2 - 1
    rare = 3 * (torch.rand(200, 1, 1, generator=rng) < 1 / 9).double()
    x = signs * torch.cat([torch.ones_like(rare), rare], 1)
    moments, energy = moment_shift(x, SymmetricGroup(2)), energy_shift(x, SymmetricGroup(2), num_samples=None)
    assert abs(moments.square) < 5 * moments.standard_error
    assert energy.square > 5 * energy.standard_error


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"expected x of shape \(n, 3\) or \(n, 3, C\), got \(5, 4\)"):
        moment_shift(torch.zeros(5, 4), SymmetricGroup(3))
    with pytest.raises(ShapeError, match="expected at least two samples, got 1"):
        moment_shift(torch.zeros(1, 3), SymmetricGroup(3))
    with pytest.raises(ConfigError, match="expected order 1 or 2, got 3"):
        moment_shift(torch.zeros(5, 3), SymmetricGroup(3), order=3)
    with pytest.raises(GroupError, match="expected a node group, got QuarterTurns"):
        moment_shift(torch.zeros(5, 2), QuarterTurns())
    with pytest.raises(ShapeError, match="expected at least three inputs, got 2"):
        energy_shift(torch.zeros(2, 3, 1), SymmetricGroup(3))
    with pytest.raises(ConfigError, match="expected a whole num_permutations >= 0, got -1"):
        energy_shift(torch.zeros(4, 3, 1), SymmetricGroup(3), num_permutations=-1)
