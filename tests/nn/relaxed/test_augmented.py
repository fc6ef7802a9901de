"""Augmentation from within: the gradient of moved data, the optimum it leads to, which elements are drawn."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, ShapeError
from gnet.groups import TRIVIAL_ACTION, ClusterGroup, Group, PermutationGroup
from gnet.nn import EquivariantLinear, GNet, InvariantLinear
from gnet.nn.relaxed import Augmentation, Augmented, Penalised
from tests.nn.relaxed.cases import CLUSTERS, DIHEDRAL, GROUP, RING, SWAPPED, TRIVIAL, WHOLE, by_elements, scrambled, signals
from tests.nn.relaxed.test_penalties import Turns, minimise


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def moved(elements: Tensor, x: Tensor, group: Group) -> Tensor:
    """g x of every item, one after the other."""
    elements = elements.expand(len(x), *elements.shape[1:])
    return torch.stack([group.action(g, item) for g, item in zip(elements, x, strict=True)])


@pytest.mark.parametrize("group", [GROUP, DIHEDRAL], ids=["clusters", "generators"])
def test_copies_are_moved_pairs_with_an_element_each(group, rng):
    x, y = signals(4, 6, 2, rng=rng), signals(4, 6, 1, rng=rng)
    augmentation = Augmentation(group)
    elements = augmentation.draw(x.repeat(3, 1, 1), seeded())
    found = augmentation.copies(x, y, 3, generator=seeded())
    for got, one in zip(found, (x, y), strict=True):
        torch.testing.assert_close(got, moved(elements, one.repeat(3, 1, 1), group))
    assert len(set(map(str, elements.tolist()))) > 3, "fresh elements for every copy"
    _, still = augmentation.copies(x, y[:, 0], 3, action_out=TRIVIAL_ACTION)
    torch.testing.assert_close(still, y[:, 0].repeat(3, 1))
    with pytest.raises(ConfigError, match="expected num_samples >= 1, got 0"):
        augmentation.copies(x, y, 0)
    with pytest.raises(ShapeError, match="as many items"):
        augmentation.copies(x, y[:2])


@pytest.mark.parametrize("per", ["sample", "batch"])
@pytest.mark.parametrize(("group", "kind", "p"), [(GROUP, "uniform", None), (DIHEDRAL, "lazy", 0.6), (GROUP, "partial", 0.5)])
def test_training_on_it_is_training_on_moved_pairs(group, kind, p, per, rng):
    net = scrambled(GNet(TRIVIAL, 2, 4, 3, act="tanh").double(), rng)
    x, y = signals(8, 6, 2, rng=rng), signals(8, 6, 3, rng=rng)
    wrapped = Augmented(net, group, kind, p, per=per, generator=seeded())
    parameters = list(net.parameters())
    within = torch.autograd.grad((wrapped(x) - y).square().mean(), parameters)
    elements = Augmentation(group, kind, p, per=per).draw(x, seeded())
    assert len(elements) == (8 if per == "sample" else 1)
    outside = torch.autograd.grad((net(moved(elements, x, group)) - moved(elements, y, group)).square().mean(), parameters)
    for one, other in zip(within, outside, strict=True):
        torch.testing.assert_close(one, other)


def test_a_liar_that_forgets_to_move_back_is_caught(rng):
    class Forgetful(Augmented):
        def forward(self, x: Tensor) -> Tensor:
            return self.module(self.augmentation.move(self.augmentation.draw(x, self.generator), x, None))

    net, x, y = scrambled(GNet(TRIVIAL, 2, 4, 3).double(), rng), signals(8, 6, 2, rng=rng), signals(8, 6, 3, rng=rng)
    elements = Augmentation(GROUP).draw(x, seeded())
    expected = (net(moved(elements, x, GROUP)) - moved(elements, y, GROUP)).square().mean()
    assert ((Forgetful(net, GROUP, generator=seeded())(x) - y).square().mean() - expected).item() != pytest.approx(0.0, abs=1e-3)


def test_evaluation_is_the_module_itself(rng):
    net, x = GNet(TRIVIAL, 2, 4, 3, generator=rng), torch.randn(8, 6, 2, generator=rng)
    wrapped = Augmented(net, WHOLE)
    assert torch.equal(wrapped.eval()(x), net(x))
    assert not torch.equal(wrapped.train()(x), net(x))


def test_an_equivariant_net_does_not_notice(rng):
    net, x = scrambled(GNet(GROUP, 2, 4, 3).double(), rng), signals(8, 6, 2, rng=rng)
    torch.testing.assert_close(Augmented(net, GROUP)(x), net(x))


def test_more_batch_axes_and_none(rng):
    net = scrambled(EquivariantLinear(TRIVIAL, 2, 3).double(), rng)
    x = signals(4, 5, 6, 2, rng=rng)
    wrapped = Augmented(net, GROUP, generator=seeded())
    g = Augmentation(GROUP).draw(x, seeded())
    expected = torch.stack([GROUP.act(torch.argsort(each), net(GROUP.act(each, item))) for each, item in zip(g, x, strict=True)])
    torch.testing.assert_close(wrapped(x), expected)
    assert Augmented(net, GROUP)(x[0, 0]).shape == (6, 3)


def test_invariant_outputs_other_groups_and_shown_targets(rng):
    net, x = InvariantLinear(GROUP, 2, 3, generator=rng).double(), signals(8, 6, 2, rng=rng)
    torch.testing.assert_close(Augmented(net, GROUP, action_out=TRIVIAL_ACTION)(x), net(x))
    points = signals(9, 5, 2, rng=rng)
    torch.testing.assert_close(Augmented(nn.Identity(), Turns(), "lazy", 0.5)(points), points)
    assert not torch.allclose(Augmented(nn.ReLU(), Turns(), generator=rng)(points), torch.relu(points))

    class Shown(nn.Module):
        def forward(self, x: Tensor, y: Tensor, steps: int) -> Tensor:
            return x + steps * y

    y = signals(8, 6, 2, rng=rng)
    torch.testing.assert_close(Augmented(Shown(), GROUP)(x, y, 3), x + 3 * y)


@pytest.mark.parametrize("p", [None, 0.25])
def test_the_optimum_is_the_truth_averaged_and_lazy_lies_between(p, rng):
    """Least squares over all (g x, g y), white inputs: Psi truth; with the identity at 1 - p, (1 - p) truth + p Psi truth."""
    truth, x = signals(6, 1, 6, 1, rng=rng), torch.eye(6, dtype=torch.float64)[:, :, None]  # E x x^T = I
    y, elements = torch.einsum("nomi,bmi->bno", truth, x), GROUP.elements()

    class All(ClusterGroup):
        """Draws each element once for each input."""

        def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
            return elements.repeat_interleave(len(x), 0)

    net = EquivariantLinear(TRIVIAL, 1, 1, bias=None, generator=rng).double()
    uniform = Augmented(net, All(CLUSTERS))
    share = 1.0 if p is None else p
    copies = len(elements)

    def loss() -> Tensor:
        augmented = (uniform(x.repeat(copies, 1, 1)) - y.repeat(copies, 1, 1)).square().sum() / copies
        return share * augmented + (1 - share) * (net(x) - y).square().sum()

    minimise(loss, net)
    mean = torch.as_tensor(by_elements(truth, GROUP))
    torch.testing.assert_close(net.dense().detach(), share * mean + (1 - share) * truth)


class TestElements:
    def test_uniform_ones_are_those_of_the_group(self, rng):
        counts = np.unique(Augmentation(GROUP).sample(1200, rng).numpy(), axis=0, return_counts=True)[1]
        assert len(counts) == 12 and np.abs(counts - 100).max() < 6 * 10

    @pytest.mark.parametrize("p", [0.0, 0.3, 1.0, None])
    def test_lazy_ones_move_with_probability_p(self, p, rng):
        drawn = Augmentation(RING, "lazy", p).sample(600, rng)
        moves = float((drawn != RING.identity).any(1).double().mean())
        expected = (0.5 if p is None else p) * 5 / 6  # the identity is drawn too
        assert moves == pytest.approx(expected, abs=5 * math.sqrt(0.25 / 600))

    def test_partial_ones_shuffle_each_cluster_with_probability_p(self, rng):
        drawn = Augmentation(GROUP, "partial", 0.4).sample(600, rng)
        assert all(GROUP.contains(g) for g in drawn)
        for cluster, size in ((0, 2), (1, 3)):
            nodes = CLUSTERS.members(cluster)
            moves = float((drawn[:, nodes] != nodes).any(1).double().mean())
            assert moves == pytest.approx(0.4 * (1 - 1 / math.factorial(size)), abs=5 * math.sqrt(0.25 / 600))

    def test_partial_ones_of_given_clusters(self, rng):
        drawn = Augmentation(GROUP, "partial", clusters=[1]).sample(200, rng)
        others = torch.cat([CLUSTERS.members(0), CLUSTERS.members(2)])
        assert bool((drawn[:, others] == others).all())
        assert len(torch.unique(drawn, dim=0)) == 6

    def test_partial_ones_swap_no_clusters(self, rng):
        inside = ClusterGroup(SWAPPED.partition)
        assert all(inside.contains(g) for g in Augmentation(SWAPPED, "partial", 1.0).sample(50, rng))

    def test_matrices(self, rng):
        drawn = Augmentation(Turns(), "lazy", 0.5).sample(50, rng)
        is_identity = torch.isclose(drawn, torch.eye(2, dtype=torch.float64)).all(-1).all(-1)
        assert 5 < int(is_identity.sum()) < 45


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((GROUP, "unifrom"), {}, "did you mean 'uniform'"),
        ((GROUP, "uniform", 0.5), {}, "p is the share of moved samples of kind='lazy'.*leave it out"),
        ((GROUP, "lazy", 1.5), {}, r"expected a probability p in \[0, 1\], got 1\.5"),
        ((GROUP, "lazy"), {"clusters": [0]}, "clusters belong to kind='partial'"),
        ((RING, "partial"), {}, "kind='partial' shuffles clusters, and .* has none; use 'lazy'"),
        ((GROUP, "partial"), {"clusters": [0, 3]}, r"expected clusters in 0\.\.2, got \[3\]"),
        ((GROUP,), {"per": "item"}, "expected per to be one of 'sample', 'batch'"),
        (([[1, 0]],), {}, "expected a group, got list"),
    ],
)
def test_impossible_augmentations_are_refused(arguments, options, message):
    with pytest.raises(ConfigError, match=message):
        Augmented(nn.Identity(), *arguments, **options)


@pytest.mark.parametrize("shape", [(4, 5, 2), (5, 2), (6,), (1, 2, 5, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_signals_on_other_nodes_are_refused_before_the_module_sees_them(shape, training):
    class Never(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("called")

    for kind in (Augmented, Penalised):
        with pytest.raises(ShapeError, match=r"expected x of shape \(B, 6, C\), .* on the 6 nodes of S.*, got"):
            kind(Never(), GROUP).train(training)(torch.zeros(shape))
        own = kind(Never(), GROUP, action_in=TRIVIAL_ACTION, action_out=TRIVIAL_ACTION).train(training)
        with pytest.raises(AssertionError, match="called"):  # the liar: an action of one's own has its own axes
            own(torch.zeros(shape))


def test_a_module_of_vectors_is_told_what_it_gets():
    for kind in (Augmented, Penalised):
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
            kind(nn.Linear(6, 6), GROUP)(torch.zeros(4, 6, 1))
        assert (
            f"{kind.__name__} passes signals on nodes" in caught.value.__notes__[0] and "(4, 6, 1)" in caught.value.__notes__[0]
        )
        assert "needs Flatten() before it and Unflatten(1, (6, channels)) after it" in caught.value.__notes__[0]
        kind(nn.Sequential(nn.Flatten(), nn.Linear(6, 6), nn.Unflatten(1, (6, 1))), GROUP)(torch.zeros(4, 6, 1))


def test_outputs_of_other_lengths_are_refused():
    class First(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:1]

    with pytest.raises(ShapeError, match=r"expected the 4 items that were moved, got \(1, 6, 2\); take per='batch'"):
        Augmented(First(), PermutationGroup([[1, 2, 3, 4, 5, 0]]))(torch.zeros(4, 6, 2))
