"""Projections of modules and tensors: averages, replay, and what a bad input gets."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from gnet.errors import ConfigError, GnetError, GroupError, ShapeError
from gnet.graphs.partition import Partition
from gnet.groups import TRIVIAL_ACTION, ClusterGroup, SymmetricGroup
from gnet.measures import AveragedModule, equivariance_error, project
from gnet.nn import EquivariantLinear
from gnet.testing import enumerate_elements
from tests.laws.test_matrix_group import QuarterTurns

GROUP = ClusterGroup(Partition([1, 0, 1, 2, 0, 1], num_clusters=3))


class Free(nn.Module):
    """An unconstrained net on 6 nodes with 2 channels in and 3 out."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(-2), nn.Linear(12, 18), nn.Tanh(), nn.Unflatten(-1, (6, 3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def test_the_average_over_all_elements_is_equivariant(rng):
    free = Free().double()
    averaged = AveragedModule(free, GROUP, enumerate_elements(GROUP), GROUP.action, GROUP.action)
    x = torch.randn(4, 6, 2, dtype=torch.float64, generator=rng)
    assert equivariance_error(free, x, GROUP, generator=rng).relative > 0.1
    assert equivariance_error(averaged, x, GROUP, generator=rng).relative < 1e-12


def test_sampling_a_linear_module_tends_to_the_exact_projection(rng):
    linear = nn.Sequential(nn.Flatten(-2), nn.Linear(12, 18, bias=False), nn.Unflatten(-1, (6, 3))).double()
    weight = linear[1].weight.detach().reshape(6, 3, 6, 2)
    x = torch.randn(20, 6, 2, dtype=torch.float64, generator=rng)
    exact = torch.einsum("nomi,bmi->bno", project(weight, GROUP), x)
    averaged = AveragedModule(linear, GROUP, enumerate_elements(GROUP), GROUP.action, GROUP.action)
    torch.testing.assert_close(averaged(x), exact)
    sampled = project(linear, GROUP, num_samples=1000, generator=rng)(x)
    assert float((sampled - exact).detach().norm()) < 0.2 * float((linear(x) - exact).detach().norm())


def test_equivariant_modules_stay_as_they_are(rng):
    layer = EquivariantLinear(GROUP, 2, 3, generator=rng).double()
    x = torch.randn(4, 6, 2, dtype=torch.float64, generator=rng)
    torch.testing.assert_close(project(layer, GROUP, num_samples=3, generator=rng)(x), layer(x))


def test_invariant_average_takes_the_trivial_action(rng):
    averaged = AveragedModule(lambda x: x[..., 0, :], GROUP, enumerate_elements(GROUP), GROUP.action, TRIVIAL_ACTION)
    x = torch.randn(4, 6, 2, dtype=torch.float64, generator=rng)
    torch.testing.assert_close(averaged(x), x[:, GROUP.partition.members(1)].mean(1))  # node 0 lies in cluster 1


def test_a_projected_module_is_a_function_with_the_module_s_parameters(rng):
    free = Free()
    projected = project(free, GROUP, num_samples=3, generator=rng)
    x = torch.randn(4, 6, 2, generator=rng)
    assert torch.equal(projected(x), projected(x))
    assert {id(p) for p in projected.parameters()} == {id(p) for p in free.parameters()}
    assert torch.equal(copy.deepcopy(projected)(x), projected(x))


def test_replays_from_its_generator():
    first, again = (project(torch.tanh, GROUP, num_samples=5, generator=torch.Generator().manual_seed(2)) for _ in range(2))
    assert torch.equal(first.elements, again.elements)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.zeros(5, 5), r"expected a map of shape \(6, 6\) or \(6, C', 6, C\), got \(5, 5\)"),
        (torch.zeros(6), r"expected a map of shape \(6, 6\)"),
        (torch.zeros(6, 6, dtype=torch.long), "expected a floating-point map, got torch.int64"),
    ],
)
def test_maps_that_do_not_fit_are_refused(weight, message):
    with pytest.raises(ShapeError, match=message):
        project(weight, GROUP)


@pytest.mark.parametrize("shape", [(5,), (5, 2), (6, 2, 1)])
def test_invariant_thetas_that_do_not_fit_are_refused(shape):
    with pytest.raises(ShapeError, match=r"expected an invariant theta \(6,\) or \(6, C\), got"):
        project(torch.zeros(shape), GROUP, output="invariant")


def test_an_invariant_theta_without_axes_is_refused():
    with pytest.raises(ShapeError, match="expected an invariant theta"):
        project(torch.tensor(1.0), GROUP, output="invariant")


def test_a_map_of_vectors_is_averaged_exactly_and_of_other_sizes_refused():
    stretch = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    expected = torch.tensor([[2.5, -0.5], [0.5, 2.5]], dtype=torch.float64)
    torch.testing.assert_close(project(stretch, QuarterTurns()), expected)
    with pytest.raises(ShapeError, match=r"expected x of shape \(\.\.\., 2\)"):
        project(torch.eye(3), QuarterTurns())


def test_an_unknown_output_is_refused():
    with pytest.raises(ConfigError, match="output"):
        project(torch.zeros(6, 6), GROUP, output="equivarant")


def test_small_groups_are_averaged_over_whole(rng):
    """Without a word all 12 elements, with None those of larger groups too; else as many random ones as were asked for."""
    free = Free().double()
    x = torch.randn(4, 6, 2, dtype=torch.float64, generator=rng)
    listed = AveragedModule(free, GROUP, enumerate_elements(GROUP), GROUP.action, GROUP.action)
    for projected in (project(free, GROUP), project(free, GROUP, num_samples=None)):
        assert len(projected.elements) == 12
        torch.testing.assert_close(projected(x), listed(x))
        assert equivariance_error(projected, x, GROUP, generator=rng).relative < 1e-12
    assert len(project(torch.tanh, SymmetricGroup(6)).elements) == 32
    assert len(project(torch.tanh, SymmetricGroup(6), num_samples=None).elements) == 720
    assert len(project(torch.tanh, GROUP, num_samples=5).elements) == 5
    with pytest.raises(GroupError, match="expected at most 10000 elements to list, S9 has"):
        project(torch.tanh, SymmetricGroup(9), num_samples=None)


class Unlisted(QuarterTurns):
    """Four elements that can be drawn, and not be listed."""

    generators = ()


def test_a_small_group_that_cannot_be_listed_is_sampled(rng):
    assert len(project(torch.tanh, Unlisted(), generator=rng).elements) == 32
    with pytest.raises(GroupError, match="knows no generators"):
        project(torch.tanh, Unlisted(), num_samples=None)


def test_an_average_has_gradients(rng):
    free = Free()
    project(free, GROUP)(torch.randn(4, 6, 2, generator=rng)).square().mean().backward()
    assert all(bool(parameter.grad.abs().sum() > 0) for parameter in free.parameters())


def test_no_samples_are_refused():
    with pytest.raises(GnetError, match="num_samples"):
        project(torch.tanh, SymmetricGroup(3), num_samples=0)


@pytest.mark.parametrize("thing", [np.eye(6), [[1.0, 2.0]], "a"], ids=["array", "list", "text"])
def test_what_is_neither_tensor_nor_function_is_refused(thing):
    with pytest.raises(ShapeError, match=r"expected a tensor or a function, got (ndarray|list|str);"):
        project(thing, GROUP)


def test_the_elements_of_an_average_are_part_of_its_state(rng):
    """Two averages over different elements are different functions, unless one takes the state of the other."""
    weight = torch.randn(5, 1, generator=rng)
    one, other = (project(lambda x: weight * x, SymmetricGroup(5), num_samples=3, generator=rng) for _ in range(2))
    x = torch.randn(2, 5, 1, generator=rng)
    assert not torch.allclose(one(x), other(x))
    other.load_state_dict(one.state_dict(), strict=True)
    torch.testing.assert_close(one(x), other(x))
