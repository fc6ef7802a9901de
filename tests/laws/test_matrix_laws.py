"""Laws that only groups of matrices have, each with its liar; what constructors refuse; exact averages against all elements."""

import math
import pickle
import warnings

import pytest
import torch
from torch import nn

from gnet.errors import GroupError, NotCompactError, NotFiniteError, ShapeError
from gnet.groups import TRIVIAL_ACTION, Action, GeneratedGroup, NodeGroup, SymmetricGroup, equivariant_maps, invariants
from gnet.groups.haar import haar_orthogonal, quadrature_so3
from gnet.groups.matrix import closure
from gnet.measures import AveragedModule, equivariance_error, project
from gnet.nn.relaxed import Augmentation, Augmented, Penalised, equivariance_penalty
from gnet.plugins import catalog
from gnet.plugins.tensors import SO, SU, B, BlockSum, C, D, Embed, Lorentz, O, OnProduct, Realified, S, U, Z
from gnet.testing import LawBroken, brute_force_mean, check_group, check_layer

TURN = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
STRETCH = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))


def near_identity(num, generator=None):
    """No uniform law: angles within a quarter turn."""
    angles = torch.rand(num, dtype=torch.float64, generator=generator)
    return torch.linalg.matrix_exp(angles[:, None, None] * TURN)


def lying_signs(num, generator=None):
    """QR without the signs: not uniform, since the routine has a taste for signs."""
    return torch.linalg.qr(torch.randn(num, 3, 3, dtype=torch.float64, generator=generator))[0]


def spread_out(degree):
    nodes, weights = SO(2).quadrature(degree)
    return nodes[:-1], weights[:-1] / weights[:-1].sum()


SO3_BASIS = SO(3).lie_algebra
LIARS = {
    "form": (GeneratedGroup("x", [TURN], form=torch.diag(torch.tensor([1.0, -1.0]))), "form: g"),
    "form of the algebra": (
        GeneratedGroup(
            "x",
            lie_algebra=[STRETCH],
            form=torch.eye(2),
            is_compact=False,
            sampler=lambda n, g=None: torch.eye(2).double().expand(n, 2, 2),
        ),
        "form: A",
    ),
    "basis": (GeneratedGroup("x", lie_algebra=[TURN, 2 * TURN], sampler=SO(2).sample), "2 matrices span 1 dimensions"),
    "bracket": (GeneratedGroup("x", lie_algebra=SO3_BASIS[:2], sampler=SO(3).sample), "bracket"),
    "conjugation": (
        GeneratedGroup("x", [torch.eye(3)[[1, 2, 0]]], SO3_BASIS[:1], sampler=SO(3).sample),
        "h A h",
    ),
    "exponential": (
        GeneratedGroup(
            "x",
            lie_algebra=[TURN],
            contains=lambda g: bool(g[0, 1].abs() < 0.3),
            sampler=lambda n, g=None: torch.eye(2).double().expand(n, 2, 2),
        ),
        "exponential",
    ),
    "compact": (GeneratedGroup("x", lie_algebra=[STRETCH], is_compact=True), "eigenvalue"),
    "uniform": (GeneratedGroup("x", lie_algebra=[TURN], sampler=near_identity), "sample: moment 1"),
    "uniform signs": (GeneratedGroup("x", O(3).generators, SO3_BASIS, sampler=lying_signs), "sample: moment"),
    "half of it": (GeneratedGroup("x", O(2).generators, O(2).lie_algebra, sampler=SO(2).sample), "sample: moment 2"),
    "quadrature": (GeneratedGroup("x", lie_algebra=[TURN], quadrature=spread_out), "quadrature: moment 1"),
    "finite": (GeneratedGroup("x", lie_algebra=[TURN], order=4), "order"),
}


@pytest.mark.parametrize("name", LIARS)
def test_a_liar_is_found_out(name):
    group, law = LIARS[name]
    with pytest.raises(LawBroken, match=law):
        check_group(group)


def test_a_walk_draws_uniformly_where_no_sampler_is_given():
    check_group(GeneratedGroup("SO(3)", lie_algebra=0.01 * SO3_BASIS))  # a rescaled basis is the same algebra
    check_group(GeneratedGroup("O(2)", O(2).generators, O(2).lie_algebra))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"generators": [torch.ones(2, 3)]}, r"generators as square matrices .* shape \(2, 3\)"),
        ({"generators": [torch.eye(2)], "lie_algebra": [torch.zeros(3, 3)]}, r"one dimension d, got d = \[2, 3\]"),
        ({"generators": [torch.ones(2, 2)]}, r"generators\[0\] of x cannot be inverted"),
        ({"generators": [torch.zeros(2, 2)]}, r"generators\[0\] of x cannot be inverted"),
        ({"generators": [torch.full((2, 2), math.nan)]}, "finite numbers"),
        ({}, "give dim"),
        ({"dim": 0}, "d >= 1"),
    ],
)
def test_matrices_that_make_no_group_are_refused(arguments, message):
    with pytest.raises(GroupError, match=message):
        GeneratedGroup("x", **arguments)


def test_infinite_discrete_groups_are_not_listed():
    shear = GeneratedGroup("shears", [torch.tensor([[1.0, 1.0], [0.0, 1.0]])])
    assert not shear.is_finite
    assert not shear.is_compact
    stretch = GeneratedGroup("stretches", [torch.diag(torch.tensor([2.0, 0.5]))])
    assert stretch.order() == math.inf
    for group in (stretch, SO(3)):
        with pytest.raises(NotFiniteError, match="expected at most"):
            group.elements()
    with pytest.raises(GroupError, match="the generators give 4 elements, the order says 8"):
        GeneratedGroup("x", [TURN], order=8).elements()
    assert closure(TURN[None], torch.eye(2).double(), 3) is None


def test_signals_of_another_dimension_are_refused():
    with pytest.raises(ShapeError, match=r"expected x of shape \(..., 3\), got \(5, 2\)"):
        SO(3).action(torch.eye(3), torch.zeros(5, 2))


def test_a_complex_group_promotes_real_signals_and_says_so_once(monkeypatch):
    monkeypatch.setattr("gnet.groups.matrix._promoted", False)
    group = SU(2)
    with pytest.warns(UserWarning, match="becomes complex"):
        y = group.action(group.sample(1)[0], torch.ones(4, 2))
    assert y.dtype == torch.complex64
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        group.action(group.sample(1)[0], torch.ones(4, 2))


def test_no_matrix_is_taken_for_another_size_or_dtype():
    assert O(3).contains(torch.eye(3, dtype=torch.int64)) and O(3).contains(torch.eye(3, dtype=torch.complex64))
    assert not O(3).contains(1j * torch.eye(3))
    with pytest.raises(ShapeError, match=r"expected a matrix of shape \(3, 3\), got \(2, 2\)"):
        O(3).contains(torch.eye(2))


COMPOSED = [Embed(SO(2), 3), Embed(O(2), 3), BlockSum(S(2), O(2)), OnProduct(S(2), O(2)), OnProduct(SO(3), O(2)), Realified(U(2))]


@pytest.mark.parametrize("group", COMPOSED, ids=lambda group: group.name)
def test_groups_made_of_groups_know_their_elements(group, rng):
    for g in group.sample(8, rng):
        assert group.contains(g)
        away = g.clone()
        away[0, -1] += 0.1
        assert not group.contains(away)
    other = torch.linalg.qr(torch.randn(group.dim, group.dim, dtype=torch.float64, generator=rng))[0]
    assert not group.contains(other)


def test_mirrors_in_pairs_are_in_a_product_and_single_ones_are_not():
    mirror, unit = torch.diag(torch.tensor([1.0, -1.0])).double(), torch.eye(3).double()
    group = OnProduct(SO(3), SO(2))
    assert group.contains(torch.kron(unit, -torch.eye(2).double())) and not group.contains(torch.kron(unit, mirror))
    assert group.contains(torch.kron(-unit, torch.eye(2).double()))  # 1 x (-1) is in it
    assert not OnProduct(SO(3), D(3)).contains(torch.kron(-unit, torch.eye(2).double()))


def test_an_exact_average_is_over_no_chosen_law():
    chosen = Lorentz(3).sampled_by(lambda num, generator: torch.eye(4).double().expand(num, 4, 4))
    theta = torch.arange(16.0).reshape(4, 4).double()
    with pytest.raises(NotCompactError, match="needs a compact group"):
        project(theta, chosen)
    with pytest.raises(NotCompactError, match="needs a compact group"):
        project(lambda x: x, chosen, num_samples=None)
    averaged = project(lambda x: x @ theta.mT, chosen, num_samples=4)  # over the law that was chosen
    x = torch.randn(3, 4).double()
    torch.testing.assert_close(averaged(x), x @ theta.mT)


CATALOG = {each.path: each for each in catalog()}


@pytest.mark.parametrize("path", CATALOG)
def test_errors_penalties_averages_and_moves_of_the_whole_catalog(path, rng):
    """One interface: the unit map is equivariant, a scaled one is not, and the penalty has the measured error as its mean."""
    group = CATALOG[path].make()
    nodes = isinstance(group, NodeGroup)
    size = group.degree if nodes else group.dim
    kind = torch.float64 if nodes or not group.dtype.is_complex else torch.complex128
    x = torch.randn(6, size, *([1] if nodes else []), dtype=kind, generator=rng)
    factors = torch.linspace(0.5, 1.5, size, dtype=torch.float64).reshape(-1, *([1] if nodes else []))
    crooked = lambda x: x * factors  # noqa: E731
    assert equivariance_error(lambda x: 2 * x, x, group, generator=rng).relative < 1e-9
    if group.is_compact:
        measured = equivariance_error(crooked, x, group, num_samples=64, generator=torch.Generator().manual_seed(0))
        asked = equivariance_penalty(crooked, x, group, num_samples=64, generator=torch.Generator().manual_seed(0))
        assert asked.dtype == torch.float64
        assert float(asked) == pytest.approx(measured.mean_square, rel=1e-9)
        if size > 1 and group.order() > 1:
            theta = torch.randn(size, size, dtype=kind, generator=rng)
            once = project(theta, group)
            torch.testing.assert_close(project(once, group), once, atol=1e-9, rtol=0)
            assert equivariance_error(lambda x: once @ x if nodes else x @ once.mT, x, group, generator=rng).relative < 1e-9
        moved, same = Augmentation(group).copies(x, x, 2, generator=rng)
        torch.testing.assert_close(moved, same)
    else:
        with pytest.raises(NotCompactError):
            equivariance_penalty(crooked, x, group)


# --- what is invariant, and exact averages ---

SKEWED = GeneratedGroup("C3, skewed", [torch.tensor([[0.0, -1.0], [1.0, -1.0]])])  # finite, and not orthogonal
SMALL = {"C(3)": C(3), "D(4)": D(4), "S(3)": S(3), "B(2)": B(2), "Z(4)": Z(4), "skewed": SKEWED}


@pytest.mark.parametrize("name", SMALL)
def test_the_exact_average_is_that_over_all_elements(name, rng):
    group = SMALL[name]
    theta = torch.randn(group.dim, group.dim, dtype=torch.float64, generator=rng)
    elements = group.elements()
    slow = torch.stack([torch.linalg.inv(g) @ theta @ g for g in elements]).mean(0)
    torch.testing.assert_close(project(theta, group), slow)
    vector = theta[0]
    torch.testing.assert_close(project(vector, group, output="invariant"), (vector @ elements).mean(0))


def test_the_average_over_rotations_is_that_of_a_quadrature(rng):
    theta = torch.randn(3, 3, dtype=torch.float64, generator=rng)
    nodes, weights = quadrature_so3(2)
    slow = torch.einsum("k,kji,jl,klm->im", weights, nodes, theta, nodes)
    torch.testing.assert_close(project(theta, SO(3)), slow)
    torch.testing.assert_close(project(theta, SO(3)), theta.trace() / 3 * torch.eye(3, dtype=torch.float64))


def test_node_groups_have_the_same_maps_by_linear_algebra(rng):
    group = SymmetricGroup(4)
    maps = equivariant_maps(group).reshape(-1, 16)
    theta = torch.randn(4, 4, dtype=torch.float64, generator=rng)
    torch.testing.assert_close((maps.mT @ (maps @ theta.flatten())).reshape(4, 4), brute_force_mean(theta, group))
    assert len(invariants(group)) == 1


def test_invariants_of_any_action():
    """A tensor product that nobody gave a name: x -> g x g^T on matrices."""
    conjugated = Action("conjugated", lambda g, x: g @ x @ g.mT)
    found = invariants(SO(3), conjugated, (3, 3))
    assert len(found) == 1
    torch.testing.assert_close(found[0].abs(), torch.eye(3, dtype=torch.float64) / math.sqrt(3))
    assert len(invariants(SO(2), conjugated, (2, 2))) == 2


def test_a_group_of_which_nothing_is_known_has_no_exact_average():
    stranger = GeneratedGroup("x", [TURN])
    stranger.__class__ = type(
        "Unknown", (GeneratedGroup,), {"generators": (), "lie_algebra": (), "order": lambda self: math.inf, "is_compact": True}
    )
    with pytest.raises(GroupError, match="neither generators nor a Lie algebra"):
        project(torch.eye(2), stranger)


# --- one interface for all groups ---


def test_no_average_over_what_has_no_uniform_law(rng):
    for call in (
        lambda: project(torch.eye(4), Lorentz(3)),
        lambda: project(nn.Linear(4, 4), Lorentz(3)),
        lambda: Penalised(nn.Linear(4, 4), Lorentz(3)),
        lambda: Augmented(nn.Linear(4, 4), Lorentz(3)),
        lambda: Augmentation(Lorentz(3)),
        lambda: equivariance_penalty(nn.Linear(4, 4), torch.ones(2, 4), Lorentz(3)),
        lambda: Lorentz(3).quadrature(2),
    ):
        with pytest.raises(NotCompactError, match=r"O\(1,3\)"):
            call()
    chosen = Lorentz(3).sampled_by(Lorentz(3).sample)
    assert Penalised(nn.Linear(4, 4), chosen).module is not None
    assert chosen.name == "O(1,3)"


def test_errors_of_unbounded_groups_are_measured_on_local_elements(rng):
    eta = Lorentz(3).form
    interval = lambda x: ((x @ eta) * x).sum(-1, keepdim=True)  # noqa: E731
    x = torch.randn(20, 4, dtype=torch.float64, generator=rng)
    assert equivariance_error(interval, x, Lorentz(3), action_out=TRIVIAL_ACTION, generator=rng).relative < 1e-10
    length = lambda x: x.norm(dim=-1, keepdim=True)  # noqa: E731
    assert equivariance_error(length, x, Lorentz(3), action_out=TRIVIAL_ACTION, generator=rng).relative > 0.05


def test_augmentation_moves_every_item_by_its_own_element(rng):
    augmentation = Augmentation(SO(3))
    x = torch.randn(5, 7, 3, dtype=torch.float64, generator=rng)
    drawn = augmentation.draw(x, rng)
    moved = augmentation.move(drawn, x, None)
    for item, g, got in zip(x, drawn, moved, strict=True):
        torch.testing.assert_close(got, item @ g.mT)
    torch.testing.assert_close(augmentation.move(drawn, moved, None, back=True), x)


def test_actions_that_look_at_values_are_applied_item_by_item(rng):
    def looking(g, x):
        return x @ g.mT if float(g[0, 0]) < 2 else x

    augmentation, x = Augmentation(SO(3)), torch.randn(5, 3, dtype=torch.float64, generator=rng)
    drawn = augmentation.draw(x, rng)
    moved = augmentation.move(drawn, x, Action("looking", looking))
    torch.testing.assert_close(moved, torch.stack([item @ g.mT for g, item in zip(drawn, x, strict=True)]))


def test_complex_groups_are_measured_and_averaged(rng):
    group = SU(2)
    x = torch.randn(6, 2, dtype=torch.complex128, generator=rng)
    matrix = torch.randn(2, 2, dtype=torch.complex128, generator=rng)
    assert equivariance_error(lambda x: x @ matrix.mT, x, group, generator=rng).relative > 0.1
    nearest = project(matrix, group)
    torch.testing.assert_close(nearest, matrix.trace() / 2 * torch.eye(2, dtype=torch.complex128))
    error = equivariance_error(lambda x: x @ nearest.mT, x, group, generator=rng)
    assert error.relative < 1e-12
    assert error.variance < 1e-20


def test_a_module_is_averaged_over_all_turns(rng):
    net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    averaged = project(net, C(6))
    assert isinstance(averaged, AveragedModule)
    assert len(averaged.elements) == 6
    x = torch.randn(8, 2, dtype=torch.float64, generator=rng)
    assert equivariance_error(averaged, x, C(6), num_samples=None).relative < 1e-12
    assert equivariance_error(net, x, C(6), num_samples=None).relative > 0.1


class ScaledTurn(nn.Module):
    """Every map that commutes with rotations of the plane: a x + b J x."""

    in_shape, num_weights = (2,), 2

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.a * x + self.b * x @ TURN.to(x).mT


class OnlyScaled(ScaledTurn):
    def forward(self, x):
        return (self.a + self.b) * x


def test_completeness_of_layers_on_vectors():
    check_layer(ScaledTurn(), SO(2))
    with pytest.raises(LawBroken, match="completeness: the layer reaches 1 dimensions, the equivariant maps have 2"):
        check_layer(OnlyScaled(), SO(2))
    check_layer(OnlyScaled(), O(2))
    with pytest.raises(LawBroken, match="equivariance"):
        check_layer(ScaledTurn(), O(2))


def test_groups_can_be_pickled():
    for group in (SO(3), S(4), Lorentz(3), B(3)):
        again = pickle.loads(pickle.dumps(group))
        assert torch.equal(again.sample(3, torch.Generator().manual_seed(1)), group.sample(3, torch.Generator().manual_seed(1)))


def test_the_same_seed_gives_the_same_elements():
    first, again = (haar_orthogonal(3, 5, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, again)
