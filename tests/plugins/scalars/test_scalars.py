"""Scalars by hand, anchors, edge cases, and what is refused."""

import pytest
import torch

from gnet.errors import ConfigError, DegenerateInputError, RepresentationError, ShapeError
from gnet.groups import TRIVIAL_ACTION, SymmetricGroup
from gnet.measures import equivariance_error
from gnet.plugins.scalars import (
    POINTS,
    Poincare,
    cross_products,
    determinants,
    generalized_cross,
    gram_from_anchors,
    group_of,
    kmeans_centroids,
    levi_civita,
    moment_vectors,
    num_scalars,
    products,
    scalars,
    spanning_vectors,
    without_translation,
)
from gnet.plugins.scalars.products import KINDS
from gnet.plugins.tensors import O


def points(kind: str, n: int, d: int, rng: torch.Generator, batch: int = 5) -> torch.Tensor:
    dtype = torch.complex128 if kind == "U" else torch.float64
    return torch.randn(batch, n, d, dtype=dtype, generator=rng)


def action_of(kind: str, d: int):
    """The group, and how it moves (..., n, d)."""
    group = group_of(kind, d)
    return group, POINTS if KINDS[kind].is_affine else group.action


# --- by hand ---


def test_minkowski_products_and_a_boost():
    x = torch.tensor([[2.0, 1, 0, -1], [1, 0.5, 3, 2], [-1, 2, 1, 0]], dtype=torch.float64)
    gram = torch.tensor([[2.0, 3.5, -4], [3.5, -12.25, -5], [-4, -5, -4]], dtype=torch.float64)
    torch.testing.assert_close(products(x, group="Lorentz"), gram)
    beta, gamma = 0.6, 1.25
    boost = torch.eye(4, dtype=torch.float64)
    boost[:2, :2] = gamma * torch.tensor([[1.0, -beta], [-beta, 1.0]], dtype=torch.float64)
    assert group_of("Lorentz+", 4).contains(boost)
    torch.testing.assert_close(products(x @ boost.mT, group="Lorentz"), gram)


def test_cross_products_by_hand():
    def cross(*rows):
        return generalized_cross(torch.tensor(rows, dtype=torch.float64)).tolist()

    assert cross((1.0, 2.0, 0.0), (0.0, 1.0, 1.0)) == [2.0, -1.0, 1.0]
    assert cross((1.0, 0, 2, 0), (0.0, 1, 0, 1), (1.0, 1, 0, 3)) == [-4.0, -2.0, 2.0, 2.0]
    assert cross((3.0, 4.0)) == [4.0, -3.0]


def test_symplectic_and_unitary_products_by_hand():
    x = torch.tensor([[1.0, 2, 3, 4], [0, 1, -1, 2]], dtype=torch.float64)
    assert products(x, group="Sp").tolist() == [[0.0, -1.0], [1.0, 0.0]]
    z = torch.tensor([[1 + 1j, 2], [0, 1 - 2j]], dtype=torch.complex128)
    assert products(z, group="U").tolist() == [[6, 2 - 4j], [2 + 4j, 5]]


@pytest.mark.parametrize("d", [2, 3, 4, 6, 9])
def test_determinants_and_cross_products_are_those_of_linear_algebra(d, rng):
    x = torch.randn(2, d + 1, d, dtype=torch.float64, generator=rng)
    found = determinants(x)
    assert found.shape == (2, d + 1)
    left_out = [torch.linalg.det(torch.cat([x[:, :k], x[:, k + 1 :]], 1)) for k in range(d, -1, -1)]
    torch.testing.assert_close(found, torch.stack(left_out, 1))
    v, w = x[:, : d - 1], x[:, d]
    torch.testing.assert_close((generalized_cross(v) * w).sum(-1), torch.linalg.det(torch.cat([w[:, None], v], 1)))
    a, b = x[:, d - 1], x[:, d]
    skew = torch.einsum("bi,bij,bj->b", a, levi_civita(x[:, : d - 2])[:, 0], b)
    torch.testing.assert_close(skew, torch.linalg.det(torch.cat([a[:, None], b[:, None], x[:, : d - 2]], 1)))


def test_the_product_of_two_determinants_is_one_of_products(rng):
    a, b = torch.randn(2, 3, 3, dtype=torch.float64, generator=rng)
    torch.testing.assert_close(determinants(a) * determinants(b), torch.linalg.det(products(a, b))[None])


def test_determinants_have_second_derivatives_at_singular_matrices():
    x = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: determinants(x).sum(), x + torch.diag(torch.tensor([1.0, 0, 0])).double())


# --- what the group does not change ---


@pytest.mark.parametrize("pairs", ["all", "upper", "anchor"])
@pytest.mark.parametrize(("kind", "d"), [(kind, 3) for kind in KINDS if kind != "Sp"] + [("Sp", 4), ("SO", 2), ("Lorentz+", 4)])
def test_scalars_do_not_change(kind, d, pairs, rng):
    group, action = action_of(kind, d)
    x = points(kind, d + 3, d, rng)
    error = equivariance_error(lambda x: scalars(x, kind, pairs), x, group, action, TRIVIAL_ACTION, generator=rng)
    assert error.relative < 1e-10
    size = num_scalars(d + 3, d, kind, pairs)
    assert size == scalars(x, kind, pairs).shape[-1]
    broken = lambda x: x.abs().sum(-1)  # noqa: E731 - the liar
    assert equivariance_error(broken, x, group, action, TRIVIAL_ACTION, generator=rng).relative > 1e-2


@pytest.mark.parametrize(("kind", "bigger", "d"), [("SO", "O", 3), ("SE", "E", 3), ("Lorentz+", "Lorentz", 4), ("O", "E", 3)])
def test_scalars_of_a_smaller_group_change_under_a_larger_one(kind, bigger, d, rng):
    group, action = action_of(bigger, d)
    x = points(kind, d + 1, d, rng, 20)
    error = equivariance_error(lambda x: scalars(x, kind, norms=False), x, group, action, TRIVIAL_ACTION, generator=rng)
    assert error.relative > 1e-2


def test_the_direction_of_time_is_a_scalar_of_the_connected_lorentz_group(rng):
    future = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64)
    assert scalars(future, "Lorentz+", norms=False).tolist() == [3.0, 3.0]
    assert scalars(-future, "Lorentz+", norms=False).tolist() == [3.0, -3.0]
    assert torch.equal(scalars(future, "Lorentz"), scalars(-future, "Lorentz"))


def test_numbers_of_scalars():
    assert num_scalars(4, 4, "Lorentz", norms=False) == 10
    assert num_scalars(2, 5, "O", norms=False) == 3
    assert num_scalars(7, 3, "O", "anchor", norms=False) == 7 * 3 - 3 * 2 // 2
    assert num_scalars(5, 3, "SO") == 15 + 5 + 10
    assert num_scalars(3, 4, "Sp", "all") == 9
    assert num_scalars(3, 2, "U", norms=False) == 9
    assert num_scalars(5, 3, "E", norms=False) == 10
    assert num_scalars(5, 3, "E", norms=False, origin="centroid") == 15
    assert num_scalars(5, 4, "Lorentz+", "anchor") == 14 + 5 + 1 + 5


# --- anchors ---


@pytest.mark.parametrize(("kind", "d"), [("O", 3), ("SO", 4), ("Lorentz", 4), ("Sp", 4), ("U", 3)])
def test_products_with_anchors_determine_all(kind, d, rng):
    x = points(kind, 9, d, rng)
    for anchors in (x[:, :d], moment_vectors(x, d, kind)):
        of_anchors, gram = products(anchors, group=kind), products(x, group=kind)
        found = gram_from_anchors(products(x, anchors, kind), of_anchors)
        rounding = 1e-14 * float(torch.linalg.cond(of_anchors).max()) * float(gram.abs().max())
        torch.testing.assert_close(found, gram, rtol=0, atol=10 * rounding)


def test_three_good_anchors_lose_nothing_but_rounding():
    x = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gram = products(x)
    found = gram_from_anchors(products(x, x[:3]), products(x[:3]))
    assert float((found - gram).norm() / gram.norm()) < 1e-13


def test_two_dependent_anchors_are_refused():
    x = torch.tensor([[1.0, 2.0], [2.0, 4.0], [0.0, 1.0]])
    with pytest.raises(DegenerateInputError, match="expected 2 independent anchors"):
        gram_from_anchors(products(x, x[:2]), products(x[:2]))
    with pytest.raises(ShapeError, match="expected products"):
        gram_from_anchors(x, x)


@pytest.mark.parametrize("group", ["O", "SO"])
def test_clouds_that_dependent_anchors_cannot_tell_apart_are_refused(group):
    """v_2 = 2 v_1: the products with both are the same for two clouds whose other products differ."""
    one = torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    other = one * torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
    assert torch.equal(products(one, one[:2]), products(other, other[:2]))
    assert not torch.equal(products(one), products(other))
    good = one[[0, 2, 1, 3]]
    both = torch.stack([good, one])
    for x, item in ((one, ""), (both, " of item 1"), (both[None], r" of item \(0, 1\)")):
        with pytest.raises(DegenerateInputError, match=f"2 independent anchors, got dependent ones{item}: .* take pairs='upper'"):
            scalars(x, group, "anchor")
    assert not torch.equal(scalars(good, group, "anchor"), scalars(other[[0, 2, 1, 3]], group, "anchor"))
    with pytest.raises(DegenerateInputError, match="dependent ones"):  # a cloud and its mirror image: no moment
        scalars(torch.cat([good, -good]), group, "anchor", anchors="moments")
    with pytest.raises(DegenerateInputError, match="dependent ones"):
        spanning_vectors(one, "SO", "anchor")
    assert scalars(one, group, "anchor", anchors=one[1:]).isfinite().all()  # three that span, of which two are dependent
    stretched = good * torch.tensor([[1.0], [1e-8], [1.0], [1.0]])
    assert scalars(stretched, group, "anchor").isfinite().all()  # short is not dependent


@pytest.mark.parametrize("name", ["moments", "kmeans"])
def test_anchors_move_with_rotations_and_do_not_see_the_order(name, rng):
    make = (lambda x: moment_vectors(x, 3)) if name == "moments" else (lambda x: kmeans_centroids(x, 3))
    x = points("O", 12, 3, rng)
    assert equivariance_error(make, x, O(3), generator=rng).relative < 1e-10
    assert equivariance_error(make, x, SymmetricGroup(12), action_out=TRIVIAL_ACTION, generator=rng).relative < 1e-10
    error = equivariance_error(lambda x: x[:, :3], x, SymmetricGroup(12), action_out=TRIVIAL_ACTION, generator=rng)
    assert error.relative > 0.1  # the liar: the first three
    x = x.requires_grad_()
    make(x).square().sum().backward()
    assert bool(x.grad.isfinite().all()) and bool((x.grad != 0).any(-1).all())


def test_moments_by_hand():
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert moment_vectors(x, 3).tolist() == [[1, 2], [1, 8], [1, 32]]


def test_centroids_by_hand():
    x = torch.tensor([[0.0, 1.0], [5.0, 5.0], [0.0, 2.0], [5.0, 6.0], [-9.0, 9.0]])
    assert kmeans_centroids(x, 3).tolist() == [[0.0, 1.5], [5.0, 5.5], [-9.0, 9.0]]
    with pytest.raises(DegenerateInputError, match="expected 2 different centroids"):
        kmeans_centroids(torch.ones(3, 2), 2)
    with pytest.raises(ShapeError, match="at least 4 points"):
        kmeans_centroids(torch.ones(3, 2), 4)


# --- edges ---


def test_lorentz_scalars_do_not_separate_a_null_vector_from_zero():
    null, zero = torch.tensor([[1.0, 1.0, 0.0, 0.0]]), torch.zeros(1, 4)
    for kind in ("Lorentz", "Lorentz+"):
        assert torch.equal(scalars(null, kind), scalars(zero, kind))
    both = torch.cat([null, torch.tensor([[1.0, 0.0, 0.0, 0.0]])])  # a second vector tells them apart
    assert not torch.equal(scalars(both, "Lorentz"), scalars(torch.cat([zero, both[1:]]), "Lorentz"))


def test_one_symplectic_vector_has_no_scalar():
    assert scalars(torch.ones(3, 1, 4), "Sp").shape == (3, 0)


def test_lengths_have_gradients_at_zero_and_are_exact_without(rng):
    x = torch.zeros(2, 3, requires_grad=True)
    for kind in ("O", "Lorentz", "U"):
        given = x.to(torch.complex64) if kind == "U" else x
        (gradient,) = torch.autograd.grad(scalars(given, kind).sum(), x)
        assert bool(gradient.isfinite().all())
        exact = scalars(given.detach(), kind)
        assert float(exact.abs().max()) == 0.0
    v = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    assert scalars(v, "O").tolist() == [25.0, 5.0]
    assert scalars(torch.tensor([[0.0, 3.0]]), "Lorentz").tolist() == [-9.0, -3.0]


def test_few_vectors_have_no_determinant():
    x = torch.randn(2, 4)
    assert torch.equal(scalars(x, "SO"), scalars(x, "O"))
    assert cross_products(torch.randn(3, 4)).shape == (1, 4)
    assert cross_products(torch.randn(2, 4)).shape == (0, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: scalars(torch.ones(2, 3), "Sp"), ShapeError, "expected vectors of even dimension for Sp"),
        (lambda: scalars(torch.ones(3)), ShapeError, r"expected vectors x of shape \(..., n, d\), got \(3,\)"),
        (lambda: scalars([[1.0]]), ShapeError, "got list"),
        (lambda: scalars(torch.ones(2, 3, dtype=torch.long)), ShapeError, "real floating numbers for O"),
        (lambda: scalars(torch.ones(2, 3, dtype=torch.complex64)), ShapeError, "real floating numbers for O"),
        (lambda: scalars(torch.ones(2, 3), "SU"), ConfigError, "expected group among O, SO"),
        (lambda: scalars(torch.ones(2, 3), pairs="some"), ConfigError, "got 'some'"),
        (lambda: scalars(torch.ones(2, 3), "E", origin="last"), ConfigError, "got 'last'"),
        (lambda: scalars(torch.ones(2, 3), pairs="anchor"), ShapeError, "at least 3 vectors for 3 anchors, got 2"),
        (lambda: scalars(torch.ones(5, 3), pairs="anchor", anchors="last"), ConfigError, "got 'last'"),
        (lambda: scalars(torch.ones(5, 3), pairs="anchor", anchors=torch.ones(2)), ShapeError, r"expected anchors \(..., k, 3\)"),
        (lambda: scalars(torch.ones(5, 3), "Lorentz", "anchor", anchors="kmeans"), ConfigError, "needs distances"),
        (lambda: scalars(torch.ones(50, 3), "SO"), RepresentationError, "19600 determinants, more than the cap of 10000"),
        (lambda: cross_products(torch.ones(30, 5)), RepresentationError, "27405 cross products"),
        (lambda: products(torch.ones(2, 3), torch.ones(2, 4)), ShapeError, "one dimension, got 3 and 4"),
        (lambda: generalized_cross(torch.ones(3, 3)), ShapeError, "expected d - 1 vectors"),
        (lambda: without_translation(torch.ones(0, 3)), ShapeError, "at least one vector"),
        (lambda: group_of("Lorentz", 1), ConfigError, "dimension 2 or more"),
        (lambda: group_of("SO", "3"), ConfigError, "expected d to be a whole number >= 1, got '3'"),
        (lambda: scalars(torch.ones(2, 3), group_of("SO", 3)), ConfigError, "got GeneratedGroup.*; give the name alone, as 'SO'"),
        (lambda: scalars(torch.ones(2, 3), ["SO"]), ConfigError, r"got \['SO'\]; give the name"),
        (lambda: num_scalars("SO", 4, 3), ConfigError, r"num_scalars\(n, d, group\) .* got n='SO', d=4"),
        (lambda: num_scalars(4, 3.0), ConfigError, r"got n=4, d=3\.0"),
        (lambda: POINTS(Poincare(3).identity, torch.ones(3)), ShapeError, r"expected points \(..., 4\)"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_many_vectors_have_determinants_of_anchors(rng):
    x = torch.randn(50, 3, dtype=torch.float64, generator=rng)
    found = scalars(x, "SO", "anchor", norms=False)
    assert len(found) == 50 * 3 - 3 + 1
    torch.testing.assert_close(found[-1], torch.linalg.det(x[:3]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_anchors_that_are_not_finite_are_called_so(value):
    """Linear algebra would fail without saying why; all products show what they are made of."""
    x = torch.randn(3, 6, 3, dtype=torch.float64)
    x[1, 0, 0] = value
    with pytest.raises(DegenerateInputError, match="expected finite anchors, got NaN or infinity in item 1"):
        scalars(x, "O", pairs="anchor")
    with pytest.raises(DegenerateInputError, match="expected finite products of anchors, got NaN or infinity in item 1"):
        gram_from_anchors(products(x, x[:, :3]), products(x[:, :3]))
    found = scalars(x, "O", pairs="all")
    assert not bool(found[1].isfinite().all()) and bool(found[[0, 2]].isfinite().all())


@pytest.mark.parametrize("k", [0, 2.0])
def test_moments_are_counted_from_one(k):
    with pytest.raises(ConfigError, match="k to be a whole number >= 1, got"):
        moment_vectors(torch.ones(4, 3), k)


@pytest.mark.parametrize("kind", ["O", "SO", "Lorentz", "Sp"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_anchors_of_half_precision(kind, dtype, rng):
    x = torch.randn(2, 6, 4, generator=rng)
    found = scalars(x.to(dtype), kind, pairs="anchor")
    assert found.dtype == dtype
    error = (found.float() - scalars(x, kind, pairs="anchor")).abs().max()
    assert float(error) < 0.02 * float(scalars(x, kind, pairs="anchor").abs().max()) + 0.1
    a = products(x[0].to(dtype), x[0, :4].to(dtype))
    assert gram_from_anchors(a, a[:4]).dtype == dtype
    with pytest.raises(DegenerateInputError, match="independent anchors"):
        scalars(x[:, :1].expand(2, 6, 4).to(dtype), kind, pairs="anchor")
