"""Differentiated invariants are equivariant, with the right pairing and no other; generators give the maps that are known."""

import pytest
import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, DegenerateInputError, NotFiniteError, RepresentationError, ShapeError
from gnet.measures import equivariance_error
from gnet.plugins.covariants import (
    CovariantSum,
    EquivariantFromInvariant,
    covariant_generators,
    equivariant_from_invariant,
    molien_series,
)
from gnet.plugins.scalars import cross_products, form_matrix, scalars
from gnet.plugins.tensors import SO, B, C, D, Lorentz, O, S, Sp, Z
from gnet.testing import check_layer
from tests.plugins.scalars.polynomials import equivariant_dimension, rank


class OfFeatures(nn.Module):
    """A random tanh-network of features of (v, l)."""

    def __init__(self, features, size: int, rng: torch.Generator) -> None:
        super().__init__()
        self.features = features
        self.net = nn.Sequential(nn.Linear(size, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)).double()
        with torch.no_grad():
            for p in self.net.parameters():
                p.copy_(torch.randn(p.shape, dtype=p.dtype, generator=rng) / p.shape[-1] ** 0.5)

    def forward(self, v: Tensor, covector: Tensor) -> Tensor:
        return self.net(self.features(v, covector))


def joined(v: Tensor, covector: Tensor) -> Tensor:
    return torch.cat([v, covector[:, None]], 1)


def of_form(kind: str):
    """<v_i, v_j>, <v_i, l> and <l, l> by the form: l is treated as a vector."""
    return lambda v, l: scalars(joined(v, l), kind, norms=False)


def plain(kind: str):
    """<v_i, v_j> by the form, v_i . l plainly, and l J^-1 l: l is a covector."""

    def features(v: Tensor, l: Tensor) -> Tensor:
        inverse = torch.linalg.inv(form_matrix(kind, v.shape[-1], v))
        own = torch.einsum("bi,ij,bj->b", l, inverse, l)[:, None]
        return torch.cat([scalars(v, kind, norms=False), torch.einsum("bnd,bd->bn", v, l), own], 1)

    return features


def power_sums(v: Tensor, l: Tensor) -> Tensor:
    """p_k(v) and sum_i v_i^k l_i."""
    powers = torch.stack([v**k for k in range(4)], 1)
    return torch.cat([(v[:, None] * powers).sum(2), (powers * l[:, None]).sum(2)], 1)


def error(features, size, group, rng, *, n: int | None = 2, form=None) -> float:
    h = EquivariantFromInvariant(OfFeatures(features, size, rng), group.dim, form=form)
    shape = (30, group.dim) if n is None else (30, n, group.dim)
    x = 0.7 * torch.randn(shape, dtype=torch.float64, generator=rng)
    return equivariance_error(h, x, group, generator=rng).relative


def test_rotations_and_mirrors(rng):
    assert error(of_form("O"), 6, O(3), rng) < 1e-9
    assert error(of_form("SO"), 7, SO(3), rng) < 1e-9
    assert error(of_form("SO"), 7, O(3), rng) > 0.02  # the liar: a determinant under mirrors


def test_lorentz_needs_the_right_pairing(rng):
    eta = form_matrix("Lorentz", 4)
    assert error(plain("Lorentz"), 6, Lorentz(3), rng) < 1e-9
    assert error(of_form("Lorentz"), 6, Lorentz(3), rng, form=eta) < 1e-9
    assert error(of_form("Lorentz"), 6, Lorentz(3), rng) > 0.05  # the liar: the index is left where it is


def test_symplectic_needs_it_too(rng):
    J = form_matrix("Sp", 4)
    assert error(plain("Sp"), 1 + 2 + 1, Sp(4), rng) < 1e-9
    assert error(of_form("Sp"), 3, Sp(4), rng, form=J) < 1e-9
    assert error(of_form("Sp"), 3, Sp(4), rng) > 0.05


def test_predictions_without_gradients_are_those_with(rng):
    h = EquivariantFromInvariant(OfFeatures(of_form("O"), 6, rng), 3)
    v = torch.randn(5, 2, 3, dtype=torch.float64, generator=rng)
    expected = h(v).detach()
    assert float(expected.abs().min()) > 0
    with torch.no_grad():
        torch.testing.assert_close(h(v), expected)
    with torch.inference_mode():
        torch.testing.assert_close(h(v.clone()), expected)  # a tensor of inference, as a trainer's batch
        assert not h(v).requires_grad


def test_permutations(rng):
    assert error(power_sums, 8, S(4), rng, n=None) < 1e-9
    weighted = lambda v, l: power_sums(v * torch.arange(1.0, 5.0), l)  # noqa: E731 - the liar
    assert error(weighted, 8, S(4), rng, n=None) > 0.02


def test_the_parts_that_do_not_count_vanish(rng):
    v = torch.randn(5, 2, 3, dtype=torch.float64, generator=rng)
    known = equivariant_from_invariant(lambda v, l: (v[:, 0] * l).sum(1), 3)(v)
    more = lambda v, l: 7 + v.square().sum((1, 2)) + (v[:, 0] * l).sum(1) + (l * l).sum(1) ** 2  # noqa: E731
    torch.testing.assert_close(equivariant_from_invariant(more, 3)(v), known)
    torch.testing.assert_close(known, v[:, 0])
    of_squares = equivariant_from_invariant(lambda v, l: v.sum((1, 2)) + (l * l).sum(1), 3)
    assert torch.equal(of_squares(v), torch.zeros(5, 3).double())


def test_every_equivariant_map_arises(rng):
    v = torch.randn(5, 2, 3, dtype=torch.float64, generator=rng)
    h = lambda v: cross_products(v)[:, 0] * v.square().sum((1, 2))[:, None]  # noqa: E731
    torch.testing.assert_close(equivariant_from_invariant(lambda v, l: (h(v) * l).sum(1), 3)(v), h(v))
    matrices = lambda v, l: torch.einsum("bi,bij,bj->b", v[:, 0], l, v[:, 1])  # noqa: E731
    torch.testing.assert_close(equivariant_from_invariant(matrices, (3, 3))(v), v[:, 0, :, None] * v[:, 1, None])


def test_weights_are_trained_and_derivatives_are_right(rng):
    group = O(3)
    model = EquivariantFromInvariant(OfFeatures(of_form("O"), 6, rng), 3)
    x = torch.randn(2, 2, 3, dtype=torch.float64, generator=rng)
    check_layer(model, group, x, action_out=group.action)
    with torch.no_grad():
        torch.testing.assert_close(model(x), model(x).detach())
        assert not model(x).requires_grad
    model(x).square().sum().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if name != "f.net.4.bias")


# --- generators ---


def test_generators_of_rotations_are_the_vectors_and_their_cross_product(rng):
    pairs = [(i, j) for i in range(2) for j in range(i, 2)]
    fs = [lambda v, l, i=i, j=j: (v[:, i] * v[:, j]).sum(1) for i, j in pairs]
    fs += [lambda v, l, i=i: (v[:, i] * l).sum(1) for i in range(2)] + [lambda v, l: (l * l).sum(1)]
    fs += [lambda v, l: torch.linalg.det(torch.stack([v[:, 0], v[:, 1], l], 1))]
    degree0, maps = covariant_generators(fs, (2, 3), 3, generator=rng)
    v = torch.randn(4, 2, 3, dtype=torch.float64, generator=rng)
    assert len(degree0) == 3
    for found, expected in zip(maps, (v[:, 0], v[:, 1], torch.linalg.cross(v[:, 0], v[:, 1])), strict=True):
        torch.testing.assert_close(found(v), expected)
    torch.testing.assert_close(degree0[1](v), (v[:, 0] * v[:, 1]).sum(1))
    model = CovariantSum(degree0, maps, nn.Linear(3, 3).double())
    assert equivariance_error(model, v, SO(3), generator=rng).relative < 1e-10
    with pytest.raises(ShapeError, match="expected an mlp with 3 outputs"):
        CovariantSum(degree0, maps, nn.Linear(3, 2).double())(v)


def invariants_and_maps(name: str):
    """Generators of the invariants on V x W* for S_n on R^n, and D_3 on the plane."""
    if name.startswith("S"):
        n = int(name[1:])
        fs = [lambda v, l, k=k: (v**k).sum(1) for k in range(1, n + 1)]
        return fs + [lambda v, l, k=k: (v**k * l).sum(1) for k in range(n)], n, n

    def z(v: Tensor) -> Tensor:
        return torch.complex(v[:, 0], v[:, 1])

    fs = [lambda v, l: z(v).abs() ** 2, lambda v, l: (z(v) ** 3).real]
    fs += [lambda v, l: (z(v).conj() * z(l)).real, lambda v, l: (z(v) ** 2 * z(l)).real, lambda v, l: z(l).abs() ** 2]
    return fs, 2, 2


COUNTS = {
    "S3": (S(3), [1, 2, 4, 6, 9, 12, 16]),
    "S4": (S(4), [1, 2, 4, 7, 11]),
    "Z3": (Z(3), [1, 3, 6, 10, 15, 21, 28]),
    "D3": (D(3), [0, 1, 1, 1, 2, 2, 2, 3, 3, 3]),
    "C3": (C(3), [0, 2, 2, 2, 4, 4, 4, 6, 6, 6]),
    "B2": (B(2), [0, 1, 0, 2, 0, 3, 0, 4, 0, 5]),
}


@pytest.mark.parametrize("name", COUNTS)
def test_molien_counts_what_linear_algebra_finds(name, rng):
    group, counts = COUNTS[name]
    assert molien_series(group, len(counts) - 1) == counts
    for degree, expected in enumerate(counts[:5]):
        assert equivariant_dimension(group, 1, degree, rng) == expected


@pytest.mark.parametrize("name", ["S3", "S4", "D3"])
def test_generators_make_all_of_them(name, rng):
    """Products of invariants times maps have the rank that Molien says; for these groups they are a free basis."""
    counts = COUNTS[name][1]
    fs, d, num_invariants = invariants_and_maps(name)
    invariants, maps = covariant_generators(fs, (d,), d, generator=rng)
    assert len(invariants) == num_invariants
    assert len(maps) == (d if name != "D3" else 2)
    x = torch.randn(60, d, dtype=torch.float64, generator=rng)
    sizes = list(range(1, d + 1)) if name != "D3" else [2, 3]
    degrees = list(range(d)) if name != "D3" else [1, 2]
    values, vectors = [f(x) for f in invariants], [F(x) for F in maps]
    for degree, expected in enumerate(counts):
        terms = [
            (monomial[:, None] * vector).flatten()
            for vector, own in zip(vectors, degrees, strict=True)
            for monomial in products_of(values, sizes, degree - own)
        ]
        assert len(terms) == expected  # free: no relation
        assert (rank(torch.stack(terms)) if terms else 0) == expected
    if name == "D3":
        z = torch.complex(x[:, 0], x[:, 1])
        torch.testing.assert_close(vectors[1], torch.view_as_real((z.conj() ** 2).resolve_conj()))
        torch.testing.assert_close(vectors[0], x)
    else:
        torch.testing.assert_close(vectors[2], x**2)


def products_of(values, sizes, degree):
    if degree < 0:
        return []
    if not values:
        return [torch.ones(60, dtype=torch.float64)] if degree == 0 else []
    found = []
    for times in range(degree // sizes[0] + 1):
        found += [values[0] ** times * each for each in products_of(values[1:], sizes[1:], degree - times * sizes[0])]
    return found


# --- what is refused ---


def test_lengths_of_the_covector_have_no_gradient():
    h = equivariant_from_invariant(lambda v, l: (l * l).sum(1).sqrt() + (v * l).sum(1), 3)
    with pytest.raises(DegenerateInputError, match="not finite for item 0; leave out lengths of l"):
        h(torch.ones(2, 3))


@pytest.mark.parametrize("length", [lambda v, l: l.norm(dim=1), lambda v, l: scalars(l[:, None], "O", norms=True)[:, -1]])
def test_lengths_with_a_gradient_by_convention_say_nothing(length, rng):
    """Nothing is raised, and nothing is added: the rest of f is what it is without them."""
    v = torch.randn(4, 3, dtype=torch.float64, generator=rng)
    assert torch.equal(equivariant_from_invariant(length, 3)(v), torch.zeros_like(v))
    f = lambda v, l: length(v, l) + (v * l).sum(1)  # noqa: E731
    torch.testing.assert_close(equivariant_from_invariant(f, 3)(v), v)
    # That is no derivative: to either side of zero the slopes along v differ, while those of (v . l) are one number.
    for g, is_kinked in ((f, True), (lambda v, l: (v * l).sum(1), False)):
        small = 1e-6 * v / v.norm(dim=1, keepdim=True)
        ahead, behind = (g(v, side * small) / (side * 1e-6) for side in (1, -1))
        assert bool(((ahead - behind).abs() > 1e-3).all()) == is_kinked


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite_are_called_so(value):
    """And not a length of l."""
    v = torch.ones(3, 2)
    v[2, 0] = value
    with pytest.raises(DegenerateInputError, match="expected finite v, got NaN or infinity in item 2"):
        equivariant_from_invariant(lambda v, l: (v * v).sum(1) * (v * l).sum(1), 2)(v)


def test_half_precision_raises_the_index(rng):
    eta = form_matrix("Lorentz", 4).float()
    v = torch.randn(3, 4, generator=rng).bfloat16()
    h = EquivariantFromInvariant(OfFeatures(lambda v, l: (v * l).sum(1, keepdim=True), 1, rng).bfloat16(), 4, form=eta)
    assert h(v).dtype == torch.bfloat16


def test_an_f_that_fails_says_what_it_was_called_with():
    with pytest.raises(RuntimeError) as caught:
        equivariant_from_invariant(lambda v, l: (v * l).sum(1), 4)(torch.ones(2, 3))
    assert caught.value.__notes__ == ["f was called with v of shape (2, 3), l of shape (2, 4) from dim_W"]
    with pytest.raises(ShapeError) as caught:  # an error of ours, from within f, as well
        equivariant_from_invariant(lambda v, l: scalars(l[0], "O"), 4)(torch.ones(2, 3))
    assert "l of shape (2, 4)" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    "f",
    [
        lambda v, l: (v**3).sum(1),
        lambda v, l: (v**3 * l.detach()).sum(1),
        lambda v, l: (v**3).sum(1).requires_grad_(),
        lambda v, l: nn.Linear(3, 1)(v * l.detach()),
    ],
    ids=["without", "detached", "other graph", "weights alone"],
)
def test_an_f_without_l_is_no_map_of_zeros(f):
    with pytest.raises(RepresentationError, match=r"expected f\(v, l\) to depend on l"):
        equivariant_from_invariant(f, 3)(torch.ones(2, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: equivariant_from_invariant(torch.add, 0), ConfigError, "whole number >= 1, or several, got 0"),
        (lambda: equivariant_from_invariant(torch.add, (3, 2.5)), ConfigError, r"got \(3, 2\.5\)"),
        (
            lambda: EquivariantFromInvariant(nn.Identity(), 3, form=torch.eye(4)),
            ShapeError,
            r"form of shape \(3, 3\) .* got \(4, 4\)",
        ),
        (
            lambda: equivariant_from_invariant(torch.add, 3)(torch.ones(2, 3).long()),
            ShapeError,
            "floating numbers, got torch.int",
        ),
        (lambda: CovariantSum([], [], nn.Identity()), RepresentationError, "got 0 and 0"),
        (lambda: molien_series(S(3), 2.5), ConfigError, r"max_degree to be a whole number >= 0, got 2\.5"),
        (
            lambda: equivariant_from_invariant(lambda v, l: v * l, 3)(torch.ones(2, 3)),
            ShapeError,
            r"one number for each of 2 .* \(2, 3\)",
        ),
        (lambda: molien_series(SO(3), 2), NotFiniteError, "expected a finite group, got SO"),
        (lambda: molien_series(S(3), -1), ConfigError, "max_degree to be a whole number >= 0"),
        (
            lambda: covariant_generators([lambda v, l: (v * l).sum(1) + (l * l).sum(1)], (3,), 3),
            RepresentationError,
            "generator 0 in v: expected a homogeneous function",
        ),
        (
            lambda: covariant_generators([lambda v, l: (v * v).sum(1) * ((v * l).sum(1) + (v * l).sum(1) ** 2)], (3,), 3),
            RepresentationError,
            "generator 0 in v",
        ),
        (
            lambda: covariant_generators([lambda v, l: (l * l).sum(1) + l.sum(1)], (3,), 3),
            RepresentationError,
            "generator 0 in l: expected a homogeneous function, got one that is not",
        ),
        (lambda: covariant_generators([lambda v, l: 0 * v.sum(1)], (3,), 3), RepresentationError, "got zero at random places"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("form", [None, torch.diag(torch.tensor([1.0, -1.0, -2.0], dtype=torch.float64))], ids=["plain", "form"])
def test_maps_under_transforms_of_functions(form, rng):
    """vmap over batches of batches, and derivatives; values cannot be looked at there, and f is not blamed."""
    v = torch.randn(2, 5, 3, dtype=torch.float64, generator=rng)
    h = equivariant_from_invariant(lambda v, l: torch.tanh((v * l).sum(-1)) * (v * v).sum(-1), 3, form=form)
    expected = torch.stack([h(each) for each in v])
    torch.testing.assert_close(torch.vmap(h)(v), expected)
    slow = torch.autograd.functional.jacobian(h, v[0])
    for derivative in (torch.func.jacrev, torch.func.jacfwd):
        torch.testing.assert_close(derivative(h)(v[0]), slow)
    torch.testing.assert_close(torch.vmap(torch.func.jacrev(h))(v)[0], slow)
    module = EquivariantFromInvariant(OfFeatures(lambda v, l: torch.cat([v * l, v * v], 1), 6, rng), 3)
    torch.testing.assert_close(torch.vmap(module)(v)[1], module(v[1]))
    weights = torch.func.grad(lambda p: torch.func.functional_call(module, p, v[0]).sum())(dict(module.named_parameters()))
    module(v[0]).sum().backward()
    torch.testing.assert_close(weights["f.net.0.weight"], module.f.net[0].weight.grad)
