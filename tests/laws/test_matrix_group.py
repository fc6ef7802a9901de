"""A stranger's group: quarter turns of the plane. Sampling, errors, projections and laws work on it unchanged."""

import math

import pytest
import torch
from torch import Tensor, nn

from gnet.errors import GroupError
from gnet.groups import TRIVIAL_ACTION, Action, Group, MatrixGroup
from gnet.measures import AveragedModule, equivariance_error, project
from gnet.testing import LawBroken, check_group, check_layer, enumerate_elements

TURN = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)


class QuarterTurns(MatrixGroup):
    """C4 acting on the plane."""

    name, dim, generators = "C4", 2, (TURN,)

    def order(self) -> int:
        return 4

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        powers = torch.stack([torch.linalg.matrix_power(TURN, p) for p in range(4)])
        return powers[torch.randint(4, (num,), generator=generator)]

    def contains(self, g: Tensor) -> bool:
        return any(torch.allclose(g, h) for h in enumerate_elements(self))


@pytest.fixture
def plane(rng):
    return torch.randn(50, 2, dtype=torch.float64, generator=rng)


def test_obeys_the_laws():
    check_group(QuarterTurns())


def test_properties_are_computed():
    group = QuarterTurns()
    assert group.is_finite
    assert group.is_compact
    assert group.is_orthogonal
    assert not group.is_permutation
    assert len(enumerate_elements(group)) == group.order() == 4
    assert repr(group) == "QuarterTurns(C4, order 4)"


def test_a_rotation_commutes_and_a_stretch_does_not(plane, rng):
    group = QuarterTurns()
    assert equivariance_error(lambda x: x @ TURN.mT + 2 * x, plane, group, generator=rng).relative < 1e-12
    stretch = torch.tensor([1.0, 3.0], dtype=torch.float64)
    assert equivariance_error(lambda x: x * stretch, plane, group, generator=rng).relative > 0.1


def test_the_length_is_invariant_and_a_coordinate_is_not(plane, rng):
    group = QuarterTurns()
    length, first = (lambda x: x.norm(dim=-1, keepdim=True)), (lambda x: x[:, :1])
    assert equivariance_error(length, plane, group, action_out=TRIVIAL_ACTION, generator=rng).relative < 1e-12
    assert equivariance_error(first, plane, group, action_out=TRIVIAL_ACTION, generator=rng).relative > 0.1


def test_the_average_over_all_elements_is_a_rotation_with_scale(plane, rng):
    group = QuarterTurns()
    linear = nn.Linear(2, 2).double()
    averaged = AveragedModule(linear, group, enumerate_elements(group), group.action, group.action)
    a, b = linear.weight.trace() / 2, (linear.weight[1, 0] - linear.weight[0, 1]) / 2
    torch.testing.assert_close(averaged(plane), plane @ (a * torch.eye(2, dtype=torch.float64) + b * TURN).mT)
    assert equivariance_error(averaged, plane, group, generator=rng).relative < 1e-12


def test_the_sampled_average_comes_near_the_exact_one(plane, rng):
    group = QuarterTurns()
    linear = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    exact = AveragedModule(linear, group, enumerate_elements(group), group.action, group.action)(plane)
    sampled = project(linear, group, num_samples=2000, generator=rng)(plane)
    plain_error = float((linear(plane) - exact).detach().norm())
    assert float((sampled - exact).detach().norm()) < 0.15 * plain_error  # expected about 1 / sqrt(2000) = 0.022


class RotationWithScale(nn.Module):
    """x -> a x + b J x, all that commutes with quarter turns."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.a * x + self.b * x @ TURN.to(x).mT


def test_layer_laws_run_on_it(plane):
    check_layer(RotationWithScale(), QuarterTurns(), plane)
    with pytest.raises(LawBroken, match="equivariance"):
        check_layer(nn.Linear(2, 2), QuarterTurns(), plane)


class Sheared(QuarterTurns):
    """Draws a matrix that is no turn."""

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64).expand(num, 2, 2)


class ActsFromTheRight(QuarterTurns):
    """Turns and a mirror, which do not commute, acting by x -> x g."""

    generators = (TURN, torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64)))
    contains = Group.contains

    @property
    def action(self) -> Action:
        return Action("right", lambda g, x: x @ g)


@pytest.mark.parametrize(("liar", "law"), [(Sheared, "orthogonal|membership"), (ActsFromTheRight, "left action")])
def test_a_matrix_group_that_lies_is_caught(liar, law):
    with pytest.raises(LawBroken, match=law):
        check_group(liar())


class Scalings(MatrixGroup):
    """Positive scalings of the line: infinite, not compact, without generators or membership test."""

    name, dim = "R+", 1

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.exp(torch.randn(num, 1, 1, dtype=torch.float64, generator=generator))


def test_an_unbounded_group_obeys_the_laws_too():
    group = Scalings()
    check_group(group)
    assert group.order() == math.inf
    assert not group.is_finite
    assert not group.is_compact
    assert repr(group) == "Scalings(R+, order infinite)"


def test_a_group_without_membership_test_says_so():
    with pytest.raises(GroupError, match=r"R\+ has no membership test; define contains"):
        Scalings().contains(torch.ones(1, 1))


def test_enumeration_refuses_an_infinite_group_without_generators():
    with pytest.raises(GroupError, match="generators"):
        enumerate_elements(Scalings())


class Signs(Group):
    """{1, -1} with scalars for elements."""

    name, generators, identity = "Z2", (torch.tensor(-1.0),), torch.tensor(1.0)
    action = Action("sign", lambda g, x: g * x)

    def order(self) -> int:
        return 2

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        return 1.0 - 2.0 * torch.randint(2, (num,), generator=generator)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return g * h

    def inverse(self, g: Tensor) -> Tensor:
        return g


def test_errors_and_projections_run_on_scalar_elements(rng):
    x = torch.randn(9, 3, dtype=torch.float64, generator=rng)
    assert equivariance_error(torch.tanh, x, Signs(), generator=rng).relative < 1e-12
    assert equivariance_error(torch.relu, x, Signs(), generator=rng).relative > 0.1


def test_laws_run_on_scalar_elements(rng):
    check_group(Signs(), torch.randn(9, 3, dtype=torch.float64, generator=rng))


class IntegerShears(MatrixGroup):
    """[[1, t], [0, 1]] with integer t, kept as integer matrices."""

    name, dim = "Z", 2
    generators = (torch.tensor([[1, 1], [0, 1]]),)

    @property
    def identity(self) -> Tensor:
        return torch.eye(2, dtype=torch.long)

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        shears = torch.eye(2, dtype=torch.long).repeat(num, 1, 1)
        shears[:, 0, 1] = torch.randint(-3, 4, (num,), generator=generator)
        return shears

    def inverse(self, g: Tensor) -> Tensor:
        return torch.tensor([[1, -int(g[0, 1])], [0, 1]])


def test_an_integer_matrix_is_no_permutation():
    group = IntegerShears()
    assert not group.is_permutation
    assert not group.is_orthogonal
