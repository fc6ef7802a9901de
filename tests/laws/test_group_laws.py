"""Groups: identity, inverse, associativity, left action, membership, order, uniform sampling; each law with its liar."""

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from gnet.errors import GroupError
from gnet.groups import Action, ClusterGroup, NodeGroup, PermutationGroup, SymmetricGroup
from gnet.testing import LawBroken, check_group, enumerate_elements
from tests.laws.cases import GROUPS, ORDERS, TIED_GROUPS, UNTIED

PROBABILITY_OF_A_FALSE_ALARM = 1e-7


@pytest.fixture(params=GROUPS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def group(name: str) -> NodeGroup:
    return GROUPS[name]


def test_every_group_obeys_the_laws(group):
    check_group(group)


def test_acts_by_moving_node_i_to_node_perm_i(group, rng):
    x = torch.randn(2, group.degree, 3, generator=rng, dtype=torch.float64)
    for perm in group.sample(4, rng):
        moved = group.act(perm, x)
        for i in range(group.degree):
            assert torch.equal(moved[:, perm[i]], x[:, i])


def test_composes_as_g_after_h(group, rng):
    x = torch.randn(group.degree, 2, generator=rng, dtype=torch.float64)
    for g, h in zip(group.sample(5, rng), group.sample(5, rng), strict=True):
        assert torch.equal(group.act(group.compose(g, h), x), group.act(g, group.act(h, x)))
        assert torch.equal(group.compose(g, h), g[h])


def test_pointwise_functions_commute_with_the_action(group, rng):
    x = torch.randn(group.degree, 2, generator=rng, dtype=torch.float64)
    for g in group.sample(3, rng):
        assert torch.equal(group.act(g, torch.relu(x)), torch.relu(group.act(g, x)))


def test_order_is_the_number_of_elements(name, group):
    assert group.order() == len(enumerate_elements(group)) == ORDERS[name]


def test_contains_its_elements_and_no_others(group, rng):
    inside = {tuple(g.tolist()) for g in enumerate_elements(group)}
    for _ in range(40):
        perm = torch.randperm(group.degree, generator=rng)
        assert group.contains(perm) == (tuple(perm.tolist()) in inside)
    assert all(group.contains(g) for g in group.sample(10, rng))


def test_node_orbits_are_the_images_of_each_node(group):
    elements = enumerate_elements(group)
    labels = group.node_orbits().labels
    for i in range(group.degree):
        assert sorted(set(elements[:, i].tolist())) == torch.nonzero(labels == labels[i]).flatten().tolist()


def test_samples_are_as_many_as_asked_for_and_replay(group, rng):
    seed = int(torch.randint(2**31, (1,), generator=rng))
    first, again = (group.sample(7, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert first.shape == (7, group.degree)
    assert first.dtype == torch.int64
    assert torch.equal(first, again)


def chi_square(group: NodeGroup, rng: torch.Generator, per_element: int = 40) -> tuple[float, float]:
    """The statistic of the counts of all elements, and what it exceeds with the probability of a false alarm."""
    elements = enumerate_elements(group)
    powers = group.degree ** torch.arange(group.degree)
    known, _ = torch.sort((elements * powers).sum(1))
    drawn = torch.searchsorted(known, (group.sample(per_element * len(elements), rng) * powers).sum(1))
    counts = torch.bincount(drawn, minlength=len(elements)).double()
    statistic = float(((counts - per_element) ** 2 / per_element).sum())
    return statistic, float(chi2.isf(PROBABILITY_OF_A_FALSE_ALARM, len(elements) - 1))


@pytest.mark.parametrize("name", [name for name, order in ORDERS.items() if 1 < order <= 300])
def test_samples_uniformly(name, rng):
    statistic, limit = chi_square(GROUPS[name], rng)
    assert statistic < limit


class SwapsTooRarely(ClusterGroup):
    """Swaps in a quarter of the draws instead of half of them."""

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        plain = ClusterGroup(self.partition).sample(num, generator)
        rare = torch.rand(num, generator=generator) < 0.25
        return torch.where(rare[:, None], super().sample(num, generator), plain)


class WalksFromTheIdentity(PermutationGroup):
    """A product of three random generators or identities: inside the group, and far from uniform."""

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        steps = torch.stack([self.identity, *self.generators])
        result = self.identity.expand(num, -1)
        for _ in range(3):
            result = torch.gather(result, 1, steps[torch.randint(len(steps), (num,), generator=generator)])
        return result


@pytest.mark.parametrize(
    "liar",
    [
        SwapsTooRarely(TIED_GROUPS["tied"].partition, TIED_GROUPS["tied"].swaps),
        WalksFromTheIdentity(GROUPS["hexagon"].generators),
    ],
    ids=lambda liar: type(liar).__name__,
)
def test_the_sampling_test_catches_a_biased_sampler(liar, rng):
    check_group(liar)  # every other law holds
    statistic, limit = chi_square(liar, rng)
    assert statistic > limit


class WrongInverse(ClusterGroup):
    def inverse(self, g: Tensor) -> Tensor:
        return g


class WrongIdentity(ClusterGroup):
    @property
    def identity(self) -> Tensor:
        return torch.arange(self.degree).flip(0)


class ComposesBackwards(ClusterGroup):
    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return h[g]


class NotAssociative(ClusterGroup):
    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        if torch.equal(g, self.identity) or torch.equal(h, self.identity) or torch.equal(g, torch.argsort(h)):
            return g[h]
        return torch.argsort(g[h])


class SamplesOutside(ClusterGroup):
    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.stack([torch.randperm(self.degree, generator=generator) for _ in range(num)])


class SamplesTooFew(ClusterGroup):
    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        return super().sample(num - 1, generator)


class GeneratesOutside(ClusterGroup):
    @property
    def generators(self) -> list[Tensor]:  # type: ignore[override]
        return [torch.arange(self.degree).roll(1)]


class RightAction(ClusterGroup):
    @property
    def action(self) -> Action:
        return Action("right", lambda g, x: x[..., g, :])


class ConstantAction(ClusterGroup):
    @property
    def action(self) -> Action:
        return Action("zero", lambda g, x: torch.zeros_like(x))


class NonlinearAction(ClusterGroup):
    """x -> f^-1(g f(x)) with a pointwise f that is another one on each node: a left action, but not a linear one."""

    @property
    def action(self) -> Action:
        power = 1.0 + 2.0 * (torch.arange(self.degree, dtype=torch.float64) % 2)[:, None]

        def act(g: Tensor, x: Tensor) -> Tensor:
            return _signed_power(self.act(g, _signed_power(x, power)), 1 / power)

        return Action("nonlinear", act)


class StretchingAction(ClusterGroup):
    """Conjugated by a stretch of the nodes: linear and a left action, but lengths change."""

    @property
    def action(self) -> Action:
        stretch = torch.arange(1.0, self.degree + 1, dtype=torch.float64)[:, None]
        return Action("stretched", lambda g, x: self.act(g, x * stretch) / stretch)


def _signed_power(x: Tensor, power: Tensor) -> Tensor:
    return x.sign() * x.abs() ** power


@pytest.mark.parametrize(
    ("liar", "law"),
    [
        (WrongInverse, "inverse"),
        (WrongIdentity, "identity"),
        (ComposesBackwards, "left action"),
        (NotAssociative, "associativity"),
        (SamplesOutside, "membership"),
        (SamplesTooFew, "asked for 8 elements, got 7"),
        (GeneratesOutside, "membership"),
        (RightAction, "left action"),
        (ConstantAction, "identity acts as nothing"),
        (NonlinearAction, "linear action"),
        (StretchingAction, "orthogonal action"),
    ],
)
def test_a_group_that_lies_is_caught(liar, law):
    with pytest.raises(LawBroken, match=law):
        check_group(liar(UNTIED))


def test_laws_run_on_the_action_that_is_given():
    right = Action("right", lambda g, x: x[..., g, :])
    with pytest.raises(LawBroken, match="left action"):
        check_group(SymmetricGroup(4), action=right)


def test_laws_run_on_the_signal_that_is_given():
    seen = []
    watching = Action("watching", lambda g, x: (seen.append(x.shape), SymmetricGroup(4).act(g, x))[1])
    check_group(SymmetricGroup(4), torch.zeros(2, 4, 5, dtype=torch.float64), action=watching)
    assert set(seen) == {(2, 4, 5)}


def test_enumeration_refuses_a_group_that_is_too_large():
    with pytest.raises(GroupError, match="expected at most 100 elements to enumerate"):
        enumerate_elements(SymmetricGroup(6), limit=100)
