"""Model error by element, and which elements an epsilon accepts: enumeration, subadditivity, limits, families."""

import math

import pytest
import torch
from torch import Tensor

from gnet.errors import ConfigError, GroupError, ShapeError
from gnet.graphs import Partition
from gnet.groups import TRIVIAL_ACTION, ClusterGroup, SymmetricGroup
from gnet.measures import ElementErrors, approximate_stabiliser, equivariance_error, model_error, pointwise_errors, stabiliser_of
from tests.golden.fixtures import SIZES_321, fixture_weight
from tests.laws.test_matrix_group import QuarterTurns

GROUP = SymmetricGroup(4)
SLOPES = torch.tensor([[1.0], [1.1], [2.0], [5.0]], dtype=torch.float64)


def scaled(x: Tensor) -> Tensor:
    return torch.tanh(SLOPES * x)


@pytest.fixture
def orbits(rng):
    """Whole orbits: an invariant distribution."""
    x = torch.randn(3, 4, 1, dtype=torch.float64, generator=rng)
    return torch.cat([GROUP.act(g, x) for g in GROUP.elements()])


def test_check_value_of_the_largest_element():
    """Theory, check F: sup over the 12 elements at one point 0.7302723685660251, mean of squares 0.26766310886383055."""
    x = (torch.tensor([1.0, 2, 4, 8, 16, 32], dtype=torch.float64) / 32).reshape(1, 6, 1)
    errors = model_error(lambda s: torch.tanh(fixture_weight(6) @ s / 10), x, ClusterGroup(SIZES_321))
    assert len(errors.elements) == 12
    assert errors.largest == pytest.approx(0.7302723685660251, abs=1e-14)
    assert float(errors.mean_square.mean()) == pytest.approx(0.26766310886383055, abs=1e-14)
    assert bool(errors.standard_error.isnan().all())


def test_elements_by_hand(rng):
    x = torch.randn(9, 4, 1, dtype=torch.float64, generator=rng)
    errors = model_error(scaled, x, GROUP)
    for g, square, error, sup in zip(errors.elements, errors.mean_square, errors.standard_error, errors.sup, strict=True):
        each = (scaled(GROUP.act(g, x)) - GROUP.act(g, scaled(x))).square().sum((1, 2))
        assert float(square) == pytest.approx(float(each.mean()))
        assert float(error) == pytest.approx(float(each.std() / 3))
        assert float(sup) == pytest.approx(float(each.max().sqrt()))
    whole = equivariance_error(scaled, x, GROUP, num_samples=None)
    assert float(errors.mean_square.mean()) == pytest.approx(whole.mean_square)
    assert float(errors.sup.max()) == pytest.approx(whole.sup)


def test_a_family_is_as_far_off_as_its_worst(rng):
    x = torch.randn(9, 4, 1, dtype=torch.float64, generator=rng)
    other = lambda s: torch.sin(s.cumsum(-2))  # noqa: E731
    one, two, both = (model_error(f, x, GROUP) for f in (scaled, other, [scaled, other]))
    assert torch.equal(both.mean_square, torch.maximum(one.mean_square, two.mean_square))
    assert torch.equal(both.sup, torch.maximum(one.sup, two.sup))
    assert both.largest > min(one.largest, two.largest)


def test_stabilisers_of_exact_functions_are_groups(orbits):
    """tanh of slopes (1, 1.1, 2, 5) is kept by the identity alone; with two equal slopes by their swap, a group of two."""
    elements = GROUP.elements()
    assert approximate_stabiliser(scaled, orbits, elements, 1e-12).elements.tolist() == [[0, 1, 2, 3]]
    two = approximate_stabiliser(lambda x: torch.tanh(SLOPES[[0, 0, 2, 3]] * x), orbits, elements, 1e-12)
    assert two.elements.tolist() == [[0, 1, 2, 3], [1, 0, 2, 3]]
    assert bool(approximate_stabiliser(torch.tanh, orbits, elements, 0.0).kept.all())


def test_products_lie_in_the_stabiliser_of_the_sum(orbits):
    errors = model_error(scaled, orbits, GROUP)
    elements = [tuple(g.tolist()) for g in errors.elements]
    rms = dict(zip(elements, errors.rms.tolist(), strict=True))
    for g in errors.elements:
        for h in errors.elements:
            product = rms[tuple(GROUP.compose(g, h).tolist())]
            assert product <= rms[tuple(g.tolist())] + rms[tuple(h.tolist())] + 1e-12
    small = min(value for value in rms.values() if value > 1e-9)
    kept = {tuple(g.tolist()) for g in stabiliser_of(errors, 1.5 * small).elements}
    # It need not be a group: some product of accepted elements is not accepted.
    values = sorted(rms.values())
    partial = [{g for g in elements if rms[g] <= value} for value in values]
    products = [{tuple(torch.tensor(g)[list(h)].tolist()) for g in part for h in part} for part in partial]
    assert len(kept) > 1
    assert any(made - part for made, part in zip(products, partial, strict=True))


def test_limits_cover_as_often_as_they_say(rng):
    """The error of the swap of 0 and 3 for white inputs is that of a linear map: 2 (5 - 1)^2 for each channel.

    Five items, of 100 channels, so that their squares are nearly normal: limits of the normal distribution would cover in 82 %.
    """
    truth, trials, swap = math.sqrt(100 * 2 * 16), 4000, torch.tensor([3, 1, 2, 0])
    x = torch.randn(5 * trials, 4, 100, dtype=torch.float64, generator=rng)
    squares = pointwise_errors(lambda s: SLOPES * s, x, GROUP, [swap]).square().reshape(trials, 5)
    mean, error = squares.mean(1), squares.std(1) / math.sqrt(5)
    found = stabiliser_of(ElementErrors(swap.expand(trials, 4), mean, error, mean, 5), 1.0, confidence=0.9)
    covered = float(((found.lower <= truth) & (found.upper >= truth)).double().mean())
    assert abs(covered - 0.9) < 5 * math.sqrt(0.9 * 0.1 / trials)
    alone = model_error(lambda s: SLOPES * s, x[:5], GROUP, elements=swap[None])
    assert float(alone.mean_square) == pytest.approx(float(mean[0])) and float(alone.standard_error) == pytest.approx(
        float(error[0])
    )
    assert not bool(found.kept.any()) and bool(found.certain.all())


def test_limits_by_hand():
    """Mean square 4 with a standard error of 1/2 over five items: Student's 2.776 for four degrees of freedom and 95 %."""
    one = torch.ones(1, dtype=torch.float64)
    found = stabiliser_of(ElementErrors(torch.arange(3)[None], 4 * one, 0.5 * one, 3 * one, 5), 2.0, confidence=0.95)
    assert float(found.upper) == pytest.approx(math.sqrt(4 + 0.5 * 2.776445), rel=1e-6)
    assert float(found.lower) == pytest.approx(math.sqrt(4 - 0.5 * 2.776445), rel=1e-6)


def test_certain_is_what_both_limits_say(rng):
    x = torch.randn(30, 4, 1, dtype=torch.float64, generator=rng)
    errors = model_error(scaled, x, GROUP, elements=torch.tensor([[1, 0, 2, 3]]))
    assert not bool(stabiliser_of(errors, errors.largest).certain)
    assert bool(stabiliser_of(errors, 10.0).certain) and bool(stabiliser_of(errors, 0.0).certain)
    alone = stabiliser_of(model_error(scaled, x[:1], GROUP), 10.0)
    assert bool(alone.upper.isnan().all()) and not bool(alone.certain.any()) and bool(alone.kept.all())


def test_other_groups_say_whose_elements_they_are(rng):
    x = torch.randn(20, 2, dtype=torch.float64, generator=rng)
    turns = QuarterTurns()
    found = approximate_stabiliser(lambda v: v[:, :1].abs(), x, turns.elements(), 1e-9, turns, action_out=TRIVIAL_ACTION)
    assert len(found.elements) == 2  # the half turn and the identity
    with pytest.raises(GroupError, match="expected permutations"):
        approximate_stabiliser(torch.tanh, x, turns.elements(), 1.0)


def test_random_elements_replay(rng):
    x = torch.randn(5, 12, 1, dtype=torch.float64, generator=rng)
    one, two = (
        model_error(torch.tanh, x, SymmetricGroup(12), num_samples=3, generator=torch.Generator().manual_seed(4))
        for _ in range(2)
    )
    assert torch.equal(one.elements, two.elements) and one.elements.shape == (3, 12)


def test_what_makes_no_sense_is_refused():
    x = torch.ones(3, 4, 1)
    with pytest.raises(ConfigError, match=r"expected epsilon >= 0 and confidence in \(0, 1\), got -1 and 0.95"):
        approximate_stabiliser(torch.tanh, x, [[0, 1, 2, 3]], -1)
    with pytest.raises(ConfigError, match="expected at least one candidate, got none"):
        approximate_stabiliser(torch.tanh, x, [], 1.0)
    with pytest.raises(GroupError, match=r"candidate 1: expected a permutation of 0..3, got \[0, 0, 2, 3\]"):
        approximate_stabiliser(torch.tanh, x, [[0, 1, 2, 3], [0, 0, 2, 3]], 1.0)
    with pytest.raises(ConfigError, match="expected at least one function, got none"):
        model_error([], x, GROUP)
    with pytest.raises(ConfigError, match="expected at least one group element, got none"):
        model_error(torch.tanh, x, GROUP, elements=[])
    with pytest.raises(ShapeError, match="add an axis"):
        model_error(torch.tanh, x[0], ClusterGroup(Partition([0, 0, 1, 1])))
