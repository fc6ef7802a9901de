"""Sampled and exact equivariance errors: fields, modes, invariance, replay, and what a bad input gets."""

import math

import pytest
import torch
from torch import Tensor, nn

from gnet.errors import ShapeError
from gnet.groups import TRIVIAL_ACTION, Action, NodeGroup, SymmetricGroup
from gnet.measures import equivariance_error, linear_equivariance_error, project
from gnet.nn import GNet, InvariantLinear
from tests.laws.cases import GROUPS


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
    with pytest.raises(ShapeError, match=f"expected num_samples >= 2 for a variance over the group, got {num_samples}"):
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
