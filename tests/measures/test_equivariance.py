"""Sampled and exact equivariance errors: fields, modes, invariance, replay, and what a bad input gets."""

import math

import pytest
import torch
from torch import Tensor, nn

from gnet.errors import GroupError, ShapeError
from gnet.graphs import Partition
from gnet.groups import TRIVIAL_ACTION, Action, ClusterGroup, NodeGroup, SymmetricGroup
from gnet.measures import AveragedModule, equivariance_error, linear_equivariance_error, pointwise_errors, project
from gnet.nn import GNet, InvariantLinear
from gnet.testing import enumerate_elements
from tests.laws.cases import GROUPS
from tests.laws.test_matrix_group import TURN, QuarterTurns, Scalings


@pytest.fixture(params=[name for name, group in GROUPS.items() if group.order() > 1])
def group(request: pytest.FixtureRequest) -> NodeGroup:
    return GROUPS[request.param]


def per_node(x: Tensor) -> Tensor:
    """Node i times i + 1: commutes with no permutation."""
    return x * torch.arange(1, x.shape[-2] + 1, dtype=x.dtype)[:, None]


def signals(group: NodeGroup, rng: torch.Generator, batch: int = 6) -> Tensor:
    return torch.randn(batch, group.degree, 2, dtype=torch.float64, generator=rng)


def test_equivariant_functions_have_none(group, rng):
    error = equivariance_error(GNet(group, 2, 4, 3).double(), signals(group, rng), group, num_samples=4, generator=rng)
    assert error.relative < 1e-12
    assert error.sup < 1e-10
    assert error.variance < 1e-20
    assert error.num_samples == 4


def test_other_functions_have_some(group, rng):
    error = equivariance_error(per_node, signals(group, rng), group, num_samples=16, generator=rng)
    assert error.relative > 1e-3
    assert error.sup >= math.sqrt(error.mean_square)
    assert error.standard_error > 0


def test_invariant_functions_take_the_trivial_action(group, rng):
    layer = InvariantLinear(group, 2, 3, generator=rng).double()
    x = signals(group, rng)
    assert equivariance_error(layer, x, group, action_out=TRIVIAL_ACTION, generator=rng).relative < 1e-12
    assert equivariance_error(lambda s: s[:, 0], x, SymmetricGroup(group.degree), action_out=TRIVIAL_ACTION).relative > 0.1


def test_is_the_mean_over_the_elements_that_were_drawn(group, rng):
    seed = int(torch.randint(2**31, (1,), generator=rng))
    x = signals(group, rng)
    elements = group.sample(8, torch.Generator().manual_seed(seed))
    moved = torch.stack([group.act(torch.argsort(g), per_node(group.act(g, x))) for g in elements])
    squares = (moved - per_node(x)).square().sum((2, 3))  # (elements, batch)
    error = equivariance_error(per_node, x, group, num_samples=8, generator=torch.Generator().manual_seed(seed))
    assert error.mean_square == pytest.approx(float(squares.mean()))
    assert error.sup == pytest.approx(float(squares.max().sqrt()))
    assert error.standard_error == pytest.approx(float(squares.mean(0).std() / math.sqrt(6)))
    assert error.variance == pytest.approx(float(moved.flatten(2).var(0).sum(1).mean()))
    assert error.relative == pytest.approx(float((squares.mean() / per_node(x).square().sum((1, 2)).mean()).sqrt()))


def test_replays_from_its_generator(group, rng):
    x = signals(group, rng)
    first, again, other = (
        equivariance_error(per_node, x, group, num_samples=3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert first == again
    assert group.order() < 100 or first != other


def test_scaling_the_output_scales_the_error_and_not_the_relative_one(rng):
    group, x = SymmetricGroup(5), torch.randn(4, 5, 1, dtype=torch.float64, generator=rng)
    one, ten = (
        equivariance_error(lambda s, c=c: c * per_node(s), x, group, generator=torch.Generator().manual_seed(0)) for c in (1, 10)
    )
    assert ten.mean_square == pytest.approx(100 * one.mean_square)
    assert ten.relative == pytest.approx(one.relative)


def test_the_zero_function_has_no_error():
    error = equivariance_error(torch.zeros_like, torch.ones(3, 4, 1), SymmetricGroup(4))
    assert (error.mean_square, error.relative, error.sup) == (0, 0, 0)


def test_modules_run_in_eval_mode_and_come_back(rng):
    group = SymmetricGroup(4)
    net = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4), nn.Dropout(0.5)).double()
    net[1].eval()  # frozen by its owner
    equivariance_error(net, torch.randn(5, 4, 2, dtype=torch.float64, generator=rng), group)
    assert [m.training for m in net] == [True, False, True]
    assert net.training
    assert torch.equal(net[1].running_mean, torch.zeros(4, dtype=torch.float64))
    assert equivariance_error(nn.Dropout(0.5).double(), torch.ones(5, 4, 2, dtype=torch.float64), group).mean_square == 0


def test_modules_come_back_when_they_fail():
    net = GNet(SymmetricGroup(4), 2, 3, 1)
    with pytest.raises(ShapeError, match="expected x of shape"):
        equivariance_error(net, torch.zeros(5, 4, 3), SymmetricGroup(4))
    assert net.training


def test_no_graph_is_kept(rng):
    net = GNet(SymmetricGroup(4), 2, 3, 1)
    outputs = []
    equivariance_error(lambda x: outputs.append(net(x)) or outputs[-1], torch.zeros(5, 4, 2), SymmetricGroup(4), num_samples=2)
    assert len(outputs) == 3
    assert not any(y.requires_grad for y in outputs)


def test_other_actions_take_the_place_of_the_group_s_own(rng):
    group = SymmetricGroup(4)
    on_first_axis = Action("first", lambda g, x: x[:, torch.argsort(g)])
    x = torch.randn(5, 4, 3, 2, dtype=torch.float64, generator=rng)  # nodes on axis 1
    assert equivariance_error(lambda s: s.cumsum(2), x, group, on_first_axis, on_first_axis, generator=rng).relative < 1e-12
    assert equivariance_error(lambda s: s.cumsum(1), x, group, on_first_axis, on_first_axis, generator=rng).relative > 0.01


@pytest.mark.parametrize("num_samples", [1, 0, -3])
def test_fewer_than_two_samples_are_refused(num_samples):
    with pytest.raises(ShapeError, match=f"expected a whole num_samples >= 2 for a variance over the group, got {num_samples}"):
        equivariance_error(torch.tanh, torch.zeros(2, 3, 1), SymmetricGroup(3), num_samples=num_samples)


def test_a_signal_without_axes_for_the_batch_is_refused():
    with pytest.raises(ShapeError, match=r"expected a batch \(B, ...\) of inputs, got shape \(3,\); add an axis with x\[None\]"):
        equivariance_error(torch.tanh, torch.zeros(3), SymmetricGroup(3))


def test_a_signal_on_other_nodes_is_refused():
    with pytest.raises(ShapeError, match=r"expected x of shape \(\*, 3, C\), got \(2, 4, 1\)"):
        equivariance_error(torch.tanh, torch.zeros(2, 4, 1), SymmetricGroup(3))


def test_one_signal_on_nodes_without_batch_axis_is_refused():
    with pytest.raises(ShapeError, match="batch"):
        equivariance_error(per_node, torch.ones(4, 2), SymmetricGroup(4))


def test_exact_error_is_what_sampling_tends_to(group, rng):
    weight = torch.randn(group.degree, 3, group.degree, 2, dtype=torch.float64, generator=rng)
    exact = linear_equivariance_error(weight, group, sigma_x=2.0)
    x = 2 * torch.randn(3000, group.degree, 2, dtype=torch.float64, generator=rng)
    linear = lambda s: torch.einsum("nomi,bmi->bno", weight, s)  # noqa: E731
    elements = [equivariance_error(linear, x, group, num_samples=2, generator=rng) for _ in range(60)]
    means = torch.tensor([e.mean_square for e in elements], dtype=torch.float64)
    within_elements = max(e.standard_error for e in elements)
    band = 5.5 * math.sqrt(float(means.var()) / len(means) + within_elements**2)
    assert abs(float(means.mean()) - exact.mean_square) < band


def test_exact_error_vanishes_on_projections_only(group, rng):
    weight = torch.randn(group.degree, group.degree, dtype=torch.float64, generator=rng)
    assert linear_equivariance_error(project(weight, group), group).relative < 1e-12
    assert linear_equivariance_error(weight, group).relative > 1e-3
    assert linear_equivariance_error(torch.zeros_like(weight), group).relative == 0
    assert math.isnan(linear_equivariance_error(weight, group).sup)


@pytest.mark.parametrize(("x", "got"), [(torch.zeros(0, 4, 1), "an empty one"), ([[1.0]], "list")])
def test_inputs_that_hold_nothing_are_refused(x, got):
    with pytest.raises(ShapeError, match=f"expected a batch of inputs as a tensor, got {got}"):
        equivariance_error(lambda signal: signal, x, SymmetricGroup(4))


# --- every element ---

SMALL = {name: group for name, group in GROUPS.items() if 1 < group.order() <= 200}


@pytest.fixture(params=SMALL)
def small(request: pytest.FixtureRequest) -> NodeGroup:
    return SMALL[request.param]


def test_all_elements_are_those_that_the_generators_make():
    turns = QuarterTurns()
    assert {tuple(g.flatten().tolist()) for g in turns.elements()} == {
        tuple((g + 0.0).flatten().tolist()) for g in enumerate_elements(turns)
    }
    with pytest.raises(GroupError, match=r"expected at most 3 elements to list, C4 has 4; draw some"):
        turns.elements(limit=3)
    with pytest.raises(GroupError, match=r"R\+ has inf"):
        Scalings().elements()


class NoTurn(QuarterTurns):
    """Says that it has four elements, and generates two."""

    generators = (TURN @ TURN,)


def test_an_order_that_lies_is_caught():
    with pytest.raises(GroupError, match="C4: the generators give 2 elements, the order says 4"):
        NoTurn().elements()


def test_enumeration_is_the_mean_over_the_group(small, rng):
    x = signals(small, rng)
    elements = enumerate_elements(small)
    moved = torch.stack([small.act(torch.argsort(g), per_node(small.act(g, x))) for g in elements])
    squares = (moved - per_node(x)).square().sum((2, 3))
    error = equivariance_error(per_node, x, small, num_samples=None)
    assert error.mean_square == pytest.approx(float(squares.mean()))
    assert error.sup == pytest.approx(float(squares.max().sqrt()))
    assert error.variance == pytest.approx(float((moved - moved.mean(0)).square().sum((2, 3)).mean()))
    per_item = (moved - moved.mean(0)).square().sum((2, 3)).mean(0)
    assert error.variance_standard_error == pytest.approx(float(per_item.std() / math.sqrt(len(x))))
    assert error.total_standard_error == error.standard_error
    assert error.rms <= error.sup
    assert error.num_samples == len(elements)


def test_invariant_inputs_have_twice_the_squared_rest(small, rng):
    """E e^2 = 2 V = 2 ||f - f averaged||^2 on whole orbits; on one item of an orbit it is a liar's identity."""
    elements = enumerate_elements(small)
    x = signals(small, rng, batch=2)
    bent = lambda s: torch.tanh(per_node(s)).cumsum(-2)  # noqa: E731
    orbits = torch.cat([small.act(g, x) for g in elements])
    error = equivariance_error(bent, orbits, small, num_samples=None)
    averaged = AveragedModule(bent, small, elements, small.action, small.action)
    rest = float((bent(orbits) - averaged(orbits)).square().sum((1, 2)).mean())
    assert error.mean_square == pytest.approx(2 * rest)
    assert error.variance == pytest.approx(rest)
    alone = equivariance_error(bent, x[:1], small, num_samples=None)
    assert alone.mean_square != pytest.approx(2 * alone.variance, rel=1e-3)


def test_variance_is_unbiased_over_all_pairs_of_elements(small, rng):
    """With K = 2 the estimate is |u_1 - u_2|^2 / 2; its mean over all pairs of draws is V, and that over distinct ones is not."""
    x = signals(small, rng, batch=1)
    elements = small.elements()
    u = torch.stack([small.act(torch.argsort(g), per_node(small.act(g, x))).flatten() for g in elements])
    halves = torch.cdist(u, u, compute_mode="donot_use_mm_for_euclid_dist").square() / 2
    exact = equivariance_error(per_node, x, small, num_samples=None).variance
    assert float(halves.mean()) == pytest.approx(exact)
    size = len(elements)
    assert float(halves.sum()) / (size * (size - 1)) == pytest.approx(exact * size / (size - 1))


def test_pointwise_errors_are_those_of_each_element_and_input(small, rng):
    x = signals(small, rng, batch=3)
    elements = small.elements()
    found = pointwise_errors(per_node, x, small)
    assert found.shape == (len(elements), 3)
    for g, row in zip(elements, found, strict=True):
        by_hand = (per_node(small.act(g, x)) - small.act(g, per_node(x))).flatten(1).norm(dim=1)  # the other side of g
        torch.testing.assert_close(row, by_hand)
    assert pointwise_errors(per_node, x, small, []).shape == (0, 3)


def test_quarter_turns_are_enumerated_too(rng):
    x = torch.randn(9, 2, dtype=torch.float64, generator=rng)
    stretch = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    error = equivariance_error(lambda v: v @ stretch, x, QuarterTurns(), num_samples=None)
    # Odd turns swap 1 and 3, which moves x by 2 |x|; even ones commute.
    assert error.mean_square == pytest.approx(2 * float(x.square().sum(1).mean()))
    length = equivariance_error(lambda v: v.norm(dim=-1), x, QuarterTurns(), action_out=TRIVIAL_ACTION, num_samples=None)
    assert length.relative < 1e-12


# --- standard errors ---


def test_errors_count_items_and_elements(rng):
    """Many items share few elements: the spread of repeated measurements is the total error, and the one over items is a liar."""
    group = ClusterGroup(Partition([0, 0, 0, 1, 1, 2]))
    few = []
    for _ in range(400):
        x = torch.randn(40, 6, 1, dtype=torch.float64, generator=rng)
        few.append(equivariance_error(per_node, x, group, num_samples=4, generator=rng))
    spread = torch.tensor([each.mean_square for each in few], dtype=torch.float64).std()
    total = math.sqrt(sum(each.total_standard_error**2 for each in few) / len(few))
    over_items = math.sqrt(sum(each.standard_error**2 for each in few) / len(few))
    assert total == pytest.approx(float(spread), rel=0.25)
    assert over_items < 0.75 * float(spread)


def test_total_error_is_that_of_two_crossed_factors(rng):
    """Mean squares of elements and of items less that of what both share, over all pairs: the two-way layout by hand."""
    group, x = SymmetricGroup(5), torch.randn(7, 5, 1, dtype=torch.float64, generator=rng)
    error = equivariance_error(per_node, x, group, num_samples=4, generator=torch.Generator().manual_seed(3))
    elements = group.sample(4, torch.Generator().manual_seed(3))
    pairs = pointwise_errors(per_node, x, group, elements).square()  # (K, B)
    rows, columns, grand = pairs.mean(1, keepdim=True), pairs.mean(0, keepdim=True), pairs.mean()
    of_elements = 7 * (rows - grand).square().sum() / 3
    of_items = 4 * (columns - grand).square().sum() / 6
    shared = (pairs - rows - columns + grand).square().sum() / 18
    assert error.total_standard_error**2 == pytest.approx(float(of_elements + of_items - shared) / 28)
    assert float(shared) > 0.01 * float(of_elements)


def test_one_item_has_an_error_over_elements_alone(rng):
    x = torch.randn(1, 5, 1, dtype=torch.float64, generator=rng)
    error = equivariance_error(per_node, x, SymmetricGroup(5), num_samples=16, generator=rng)
    assert math.isnan(error.standard_error) and math.isnan(error.variance_standard_error)
    assert error.total_standard_error > 0


# --- what may go wrong ---


def test_nan_stays_nan():
    error = equivariance_error(lambda x: x * torch.nan, torch.ones(2, 3, 1), SymmetricGroup(3))
    assert all(math.isnan(each) for each in (error.mean_square, error.relative, error.sup, error.variance))


def test_nothing_here_but_something_on_the_moved_input_is_infinite():
    x = torch.tensor([[[0.0], [1.0]]])
    first = lambda s: torch.cat([s[:, :1], torch.zeros_like(s[:, :1])], 1)  # noqa: E731
    assert equivariance_error(first, x, SymmetricGroup(2), num_samples=None).relative == math.inf


def test_functions_that_write_over_their_input_leave_it_alone(rng):
    x = torch.randn(4, 3, 1, generator=rng)
    kept = x.clone()
    assert equivariance_error(nn.ReLU(inplace=True), x, SymmetricGroup(3), generator=rng).mean_square == 0
    assert equivariance_error(nn.ReLU(inplace=True), x, SymmetricGroup(3), TRIVIAL_ACTION, TRIVIAL_ACTION).mean_square == 0
    assert torch.equal(x, kept)


@pytest.mark.parametrize(("f", "got"), [(lambda x: x.sum(), r"\(\)"), (lambda x: x[:1], r"\(1, 3, 1\)"), (lambda x: [x], "list")])
def test_functions_of_the_batch_are_refused(f, got):
    with pytest.raises(ShapeError, match=f"expected f to return a tensor with one output for each of 2 inputs, got {got}"):
        equivariance_error(f, torch.ones(2, 3, 1), SymmetricGroup(3))


def test_a_large_group_is_not_enumerated():
    with pytest.raises(GroupError, match="expected at most 10000 elements to list, S9 has"):
        equivariance_error(torch.tanh, torch.ones(2, 9, 1), SymmetricGroup(9), num_samples=None)
