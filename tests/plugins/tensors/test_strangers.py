"""Groups and types as others write them: a class of matrices, rounded generators, permutations by index, sums that are none."""

import math

import pytest
import torch

from gnet import equivariance_error
from gnet.errors import GroupError, RepresentationError, ShapeError
from gnet.groups import GeneratedGroup, MatrixGroup, SymmetricGroup, TrivialGroup
from gnet.plugins.tensors import (
    EMLP,
    BlockSum,
    C,
    D,
    Embed,
    GatedNonlinearity,
    HomSpace,
    OnProduct,
    Realified,
    RepLinear,
    S,
    T,
    count_orbits,
    hom_basis,
    invariant_tensors,
    regular,
    uniform_rep,
)
from gnet.testing import LawBroken, check_group, check_layer

QUARTER = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)


class Quarters(MatrixGroup):
    """C(4), as a class that subclasses no more than it has to."""

    name, dim, generators = "C4", 2, (QUARTER,)

    def order(self):
        return 4

    def sample(self, num, generator=None):
        powers = torch.stack([torch.linalg.matrix_power(QUARTER, k) for k in range(4)])
        return powers[torch.randint(4, (num,), generator=generator)]


class Phases(Quarters):
    """The same on the complex line."""

    name, dim, generators = "phases", 1, (torch.full((1, 1), 1j, dtype=torch.complex128),)

    @property
    def identity(self):
        return torch.ones(1, 1, dtype=torch.complex128)

    def sample(self, num, generator=None):
        return (1j ** torch.randint(4, (num, 1, 1), generator=generator)).to(torch.complex128)


class Sampled(MatrixGroup):
    """A group of which nothing is known but how to draw from it."""

    name, dim = "drawn", 2

    def sample(self, num, generator=None):
        return torch.eye(2, dtype=torch.float64).expand(num, 2, 2)


def test_a_class_of_matrices_is_a_group_of_tensors(rng):
    own, usual = Quarters(), C(4)
    check_group(own)
    for p, q in ((2, 0), (1, 1), (2, 2)):
        torch.testing.assert_close(invariant_tensors(own, p, q), invariant_tensors(usual, p, q))
    assert count_orbits(own, 4) == count_orbits(usual, 4) == 8
    reg = regular(own)
    assert HomSpace(T(1), reg, own).dim == 2 and hom_basis(T(1) + reg, T(1) + reg, own).shape == (36, 10)
    for make in (lambda g: Embed(g, 3), lambda g: BlockSum(g, S(2)), lambda g: OnProduct(g, D(3))):
        made, expected = make(own), make(usual)
        assert made.order() == expected.order() and HomSpace(T(1), T(1), made).dim == HomSpace(T(1), T(1), expected).dim
    assert uniform_rep(20, own) == uniform_rep(20, usual)
    assert GatedNonlinearity(T(1), own)(torch.ones(3)).shape == (2,)
    layer = RepLinear(T(1), T(1) + T(2), own, generator=rng).double()
    check_layer(layer, own)
    net, x = EMLP(T(1), T(1), own, ch=16, layers=1, generator=rng).double(), torch.randn(9, 2, dtype=torch.float64, generator=rng)
    assert equivariance_error(net, x, own, T(1), T(1)).relative < 1e-12
    liar = RepLinear(T(1), T(1), GeneratedGroup("half turns", [-torch.eye(2)])).double()  # a subgroup has more maps
    torch.nn.init.normal_(liar.weight, generator=rng)
    assert equivariance_error(liar, x, own, T(1), T(1)).relative > 1e-6
    layer.load_state_dict(RepLinear(T(1), T(1) + T(2), GeneratedGroup("other", [QUARTER])).state_dict())


def test_a_complex_class_of_matrices():
    assert HomSpace(T(1), T(1), Phases()).dim == 1 and Realified(Phases()).order() == 4
    with pytest.raises(RepresentationError, match="phases is complex"):
        RepLinear(T(1), T(1), Phases())


def test_groups_of_which_too_little_is_known_say_so():
    with pytest.raises(GroupError, match="drawn knows neither generators nor a Lie algebra"):
        RepLinear(T(1), T(1), Sampled())
    with pytest.raises(GroupError, match="expected a group of matrices, got S"):
        Embed(SymmetricGroup(3), 4)
    with pytest.raises(RepresentationError, match=r"a group of nodes permutes them: take S, Z"):
        HomSpace(T(1), T(1), SymmetricGroup(3))


# --- what generators are given as ---


def icosahedral() -> list[torch.Tensor]:
    """Turns by a fifth about a vertex (0, 1, golden), and by a third about (1, 1, 1)."""
    axis = torch.tensor([0.0, 1.0, (1 + 5**0.5) / 2], dtype=torch.float64)
    x, y, z = (axis / axis.norm()).tolist()
    skew = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
    return [torch.linalg.matrix_exp(2 * math.pi / 5 * skew), torch.eye(3, dtype=torch.float64).roll(1, 0)]


def test_generators_in_single_precision_are_orthogonal_in_double():
    group = GeneratedGroup("I", [g.float() for g in icosahedral()])
    g = group.generators
    assert float((g.mT @ g - torch.eye(3)).abs().max()) < 1e-15
    torch.testing.assert_close(g, torch.stack(icosahedral()), atol=1e-7, rtol=0)
    assert group.order() == 60
    check_group(group)
    # The liar: the rounding of single precision, taken for numbers in double.
    with pytest.raises(LawBroken, match="orthogonal action"):
        check_group(GeneratedGroup("I", [g.float().double() for g in icosahedral()]))


def test_generators_that_are_not_orthogonal_stay_as_they_are():
    squeeze = torch.tensor([[1.0, 1e-3], [0.0, 1.0]])
    assert torch.equal(GeneratedGroup("shear", [squeeze]).generators[0], squeeze.double())
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    assert torch.equal(GeneratedGroup("turn", [turn]).generators[0], turn)
    endless = GeneratedGroup("endless", [turn.float()])
    assert torch.equal(endless.generators[0], turn.float().double())


def test_unitary_generators_are_sharpened_as_well():
    third = torch.tensor([[-0.5 + 0.75**0.5 * 1j]], dtype=torch.complex64)
    group = GeneratedGroup("thirds", [third])
    assert float((group.generators[0] ** 3 - 1).abs()) < 1e-15 < float((third.to(torch.complex128) ** 3 - 1).abs())
    check_group(group)


def test_gradients_do_not_reach_generators(rng):
    group = GeneratedGroup("C4", [QUARTER.clone().requires_grad_()], [torch.zeros(2, 2, requires_grad=True)][:0])
    rotations = GeneratedGroup("SO(2)", lie_algebra=[QUARTER.clone().requires_grad_()])
    for each in (group, rotations):
        assert RepLinear(T(1), T(1), each, generator=rng)(torch.ones(3, 2)).shape == (3, 2)


# --- permutations by index ---


def test_types_take_permutations_by_index(rng):
    x = torch.randn(5, 4, dtype=torch.float64, generator=rng)
    squares = lambda x: torch.einsum("bi,bj->bij", x, x).flatten(1)  # noqa: E731
    for g in SymmetricGroup(4).sample(5, rng):
        torch.testing.assert_close(T(1)(g, x), SymmetricGroup(4).act(g, x[..., None])[..., 0])
        torch.testing.assert_close(T(2)(g, squares(x)), squares(T(1)(g, x)))
        torch.testing.assert_close(T(1, 1)(g, squares(x)), squares(T(1)(g, x)))
    assert equivariance_error(squares, x, SymmetricGroup(4), T(1), T(2)).relative < 1e-12
    first = lambda x: squares(x)[:, [0] * 16]  # noqa: E731
    assert (
        equivariance_error(first, x, SymmetricGroup(4), T(1), T(2)).relative
        > 0.01
        > 0
        == equivariance_error(squares, x, TrivialGroup(4), T(1), T(2)).relative
    )
    with pytest.raises(ShapeError, match="or a permutation"):
        T(1)(torch.ones(4), x)


# --- sums ---


def test_types_add_to_types_alone():
    assert sum([T(1), T(2), T(1)]) == 2 * T(1) + T(2)
    assert sum([T(1)]) == T(1)
    for wrong in (1, 0, "a", None, 1.0):
        with pytest.raises(RepresentationError, match=r"expected a type such as T\(1\) to add to T\(1\), got"):
            T(1) + wrong
    for wrong in (1, "a", None, 0.5):
        with pytest.raises(RepresentationError, match=r"expected a type such as T\(1\) to add to T\(1\), got"):
            wrong + T(1)
