"""Layers between types: they commute with the group, reach every map, and have the published numbers of parameters."""

import pytest
import torch
from torch import nn

from gnet.errors import ConfigError, GroupError, RepresentationError, ShapeError
from gnet.groups import TRIVIAL_ACTION
from gnet.measures import equivariance_error, project
from gnet.nn.relaxed import Augmented, Penalised
from gnet.plugins import catalog
from gnet.plugins.averaging import Averaged
from gnet.plugins.tensors import (
    EMLP,
    GL,
    SO,
    B,
    Bilinear,
    BlockSum,
    C,
    D,
    Descent,
    Embed,
    EMLPBlock,
    GatedNonlinearity,
    HomSpace,
    Lorentz,
    O,
    Rep,
    RepLinear,
    S,
    Simple,
    Sp,
    T,
    U,
    Z,
    descend,
    gated,
    hom_basis,
    regular,
    uniform_rep,
)
from gnet.testing import LawBroken, check_layer

D3 = D(3)
CASES = {
    "SO(3)": (2 * T(0) + T(1) + T(2), T(1) + T(2), SO(3)),
    "O(2) in R3": (2 * T(1), T(0) + T(1), Embed(O(2), 3)),
    "O(1,1)": (T(1) + T(0, 1), T(1) + T(1, 1), Lorentz(1)),
    "Sp(2)": (T(2) + T(1), T(0, 1) + T(0), Sp(2)),
    "B(2)": (T(1) + T(2), T(2) + T(0), B(2)),
    "S(3)": (T(1) + T(2), T(1), S(3)),
    "C(3)": (T(1), T(2), C(3)),
    "regular": (T(1) + regular(D3), regular(D3) + T(2), D3),
}


@pytest.mark.parametrize("name", CASES)
def test_linear_layers_obey_the_laws(name):
    given, out, group = CASES[name]
    check_layer(RepLinear(given, out, group), group, num_samples=3)


@pytest.mark.parametrize(
    "each", [each for each in catalog("tensors") if not each.make().identity.is_complex()], ids=lambda each: each.path
)
def test_linear_layers_of_the_whole_catalog_obey_the_laws(each):
    group = each.make()
    check_layer(RepLinear(T(1) + T(0), 2 * T(1), group), group, gradients=False, num_samples=3)


class NoMixing(RepLinear):
    """Leaves half of the maps out."""

    def dense(self):
        mask = torch.ones_like(self.weight)
        mask[::2] = 0
        return self.maps.matrix(self.weight * mask)


class Forgotten(RepLinear):
    """Is not equivariant: a mask on entries."""

    def dense(self):
        return super().dense().triu()


def test_liars_among_linear_layers():
    given, out, group = CASES["SO(3)"]
    with pytest.raises(LawBroken, match="completeness: the layer reaches 4 dimensions, the equivariant maps have 8"):
        check_layer(NoMixing(given, out, group), group)
    with pytest.raises(LawBroken, match="equivariance"):
        check_layer(Forgotten(given, out, group), group)
    with pytest.raises(LawBroken, match="equivariance"):
        check_layer(RepLinear(given, out, SO(3)), O(3), action_in=given, action_out=out + 0 * T(0))


def test_coefficients_are_those_of_the_projection(rng):
    given, out, group = CASES["SO(3)"]
    space, d = HomSpace(given, out, group), 3
    theta = torch.randn(out.size(d), given.size(d), dtype=torch.float64, generator=rng)
    nearest = space.matrix(space.coefficients(theta))
    torch.testing.assert_close(nearest, project(theta, group, action_in=given, action_out=out))
    basis = hom_basis(given, out, group)
    torch.testing.assert_close((basis @ (basis.mT @ theta.flatten())).reshape(theta.shape), nearest)
    with pytest.raises(ShapeError, match="expected 8 coefficients"):
        space.matrix(torch.zeros(3))
    with pytest.raises(ShapeError, match="expected a map of shape"):
        space.coefficients(torch.zeros(3, 3))


# --- gates, products, networks ---


@pytest.mark.parametrize(
    ("rep", "group"),
    [
        (2 * T(0) + 3 * T(1) + T(2), O(3)),
        (T(2) + T(1), Embed(SO(2), 3)),
        (T(1) + T(0, 1) + T(1, 1), Lorentz(1)),
        (2 * T(1) + T(2), S(3)),
        (T(1) + regular(D3), D3),
    ],
    ids=["O3", "axis", "lorentz", "S3", "regular"],
)
def test_gates_and_products_commute_with_the_group(rep, group, rng):
    gate = GatedNonlinearity(rep, group)
    x = torch.randn(5, gate.in_shape[0], dtype=torch.float64, generator=rng)
    assert equivariance_error(gate, x, group, gate.action_in, rep, generator=rng).relative < 1e-10
    products = Bilinear(rep, group, generator=rng).double()
    x = torch.randn(5, rep.size(group.dim), dtype=torch.float64, generator=rng)
    assert equivariance_error(products, x, group, rep, rep, generator=rng).relative < 1e-10


def test_a_gate_without_a_scalar_is_no_gate(rng):
    """Pointwise functions of vectors are not equivariant; those of permuted entries are."""
    x = torch.randn(50, 2, dtype=torch.float64, generator=rng)
    assert equivariance_error(torch.relu, x, SO(2), generator=rng).relative > 0.1
    values = torch.randn(50, 6, dtype=torch.float64, generator=rng)
    reg = regular(D3)
    assert equivariance_error(torch.relu, values, D3, reg, reg, generator=rng).relative == 0
    assert gated(3 * T(0) + 2 * T(1), S(3)) == 3 * T(0) + 2 * T(1)


def test_products_use_the_tensors_as_maps(rng):
    """Against the explicit W(x), made for each item."""
    rep, group = 2 * T(0) + 2 * T(1) + T(2), O(3)
    layer = Bilinear(rep, group, generator=rng).double()
    x = torch.randn(rep.size(3), dtype=torch.float64, generator=rng)
    scalars, vectors, matrix = x[:2], x[2:8].reshape(2, 3), x[8:].reshape(3, 3)
    out = {0: torch.zeros(2).double(), 1: torch.zeros(2, 3).double(), 2: torch.zeros(1, 9).double()}
    maps = {1: vectors, 2: matrix[None]}
    copies = {0: scalars[:, None], 1: vectors, 2: matrix.reshape(1, 9)}
    for weight, (to, of, kind, _) in zip(layer.weights, layer._pairs, strict=True):
        for n in range(weight.shape[0]):
            for m in range(weight.shape[1]):
                for k, chosen in enumerate(layer._chosen(layer._places[kind])):
                    W = maps[kind.rank][chosen].reshape(3**to, 3**of)
                    y = 0.1 * weight[n, m, k] * W @ copies[of][m]
                    out[to][n] = out[to][n] + y.squeeze() if to == 0 else out[to][n] + y
    torch.testing.assert_close(layer(x), torch.cat([out[rank].flatten() for rank in range(3)]).detach())


COPIES = {
    (128, 3): (38, 12, 3, 1),
    (384, 3): (102, 34, 11, 3),
    (384, 4): (112, 28, 6, 1),
    (384, 5): (134, 25, 5),
    (100, 2): (24, 12, 5, 2, 1),
}


@pytest.mark.parametrize(("width", "copies"), COPIES.items())
def test_hidden_types(width, copies):
    ch, d = width
    rep = uniform_rep(ch, O(d))
    assert tuple(n for n, _ in rep.parts) == copies
    assert rep.size(d) == ch
    assert uniform_rep(ch, Lorentz(d - 1)).size(d) == ch


def test_a_very_wide_hidden_type():
    rep = uniform_rep(10**6, O(3))
    assert rep.size(3) == 10**6
    assert max(part.rank for _, part in rep.parts) == 10  # 11 * 3^10 = 649 539, and 12 * 3^11 is more


def test_parameters_of_the_published_network():
    group = Embed(O(2), 3)
    hidden = uniform_rep(128, group)
    wide = gated(hidden, group)
    assert tuple(n for n, _ in wide.parts) == (54, 12, 3, 1)
    first = RepLinear(4 * T(1), wide, group)
    assert (first.num_weights, first.num_parameters) == (400, 476)
    assert HomSpace(hidden, wide, group).dim == 5209
    assert [HomSpace(hidden, out, group).dim for out in (T(0), 4 * T(1))] == [60, 336]
    assert Bilinear(wide, group).num_parameters == 5472
    net = EMLP(4 * T(1), T(0), group, ch=128, layers=3)
    assert sum(p.numel() for p in net.parameters()) == 27_523


@pytest.mark.parametrize(
    ("given", "out", "group", "bound"),
    [(5 * T(0) + 5 * T(1), T(2), O(3), 1e-10), (4 * T(1), T(0), Lorentz(3), 1e-10), (2 * T(1), T(0) + T(1), O(5), 1e-10)],
    ids=["inertia", "particles", "O5"],
)
def test_networks_are_equivariant(given, out, group, bound, rng):
    net = EMLP(given, out, group, ch=40, layers=2, generator=rng)
    x = 4 * torch.randn(8, given.size(group.dim), generator=rng)
    values = net(x).detach()
    # Beside what x changes: a net at its start is nearly constant, which hides errors in its size.
    varied = float((values - values.mean(0)).square().sum(1).mean().sqrt())
    assert equivariance_error(net, x, group, given, out, generator=rng).rms < 1e-5 * varied
    net = net.double()
    error = equivariance_error(net, x.double(), group, given, out, generator=rng)
    assert error.relative < bound
    assert error.scale > 0
    net(x.double()).square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())
    plain = nn.Sequential(nn.Linear(given.size(group.dim), 20), nn.ReLU(), nn.Linear(20, out.size(group.dim))).double()
    assert equivariance_error(plain, x.double(), group, given, out, generator=rng).relative > 1e-2


def test_the_core_takes_types_as_they_are(rng):
    """Penalties, augmentation and averages with a type of tensors as the action."""
    group, given, out = SO(3), 2 * T(1), T(2)
    plain = nn.Linear(6, 9).double()
    x = torch.randn(10, 6, dtype=torch.float64, generator=rng)
    penalised = Penalised(plain, group, action_in=given, action_out=out, generator=rng)
    penalised(x)
    assert float(penalised.penalty().detach()) > 0
    exact = RepLinear(given, out, group).double()
    kept = Penalised(exact, group, action_in=given, action_out=out, generator=rng)
    kept(x)
    assert float(kept.penalty().detach()) < 1e-20
    moved = Augmented(exact, group, action_in=given, action_out=out, generator=rng)
    torch.testing.assert_close(moved.train()(x), exact(x))
    averaged = Averaged(plain, group, given, out, mode="quadrature", degree=3)
    linear = project(plain.weight.detach(), group, action_in=given, action_out=out)
    constant = project(torch.diag(plain.bias.detach()), group, action_in=TRIVIAL_ACTION, action_out=out).sum(1)
    torch.testing.assert_close(averaged(x), x @ linear.mT + constant)
    assert (
        equivariance_error(
            Averaged(plain, D3, 3 * T(1), T(0) + regular(D3) + T(1), mode="exact"), x, D3, 3 * T(1), T(0) + regular(D3) + T(1)
        ).relative
        < 1e-10
    )


# --- types ---


def test_types_add_multiply_and_dualise():
    rep = 2 * T(0) + T(1) + T(1) * T(1, 1)
    assert repr(rep) == "Rep(2 T(0) + T(1) + T(2,1))"
    assert rep.dual == 2 * T(0) + T(0, 1) + T(1, 2)
    assert rep.canonical(O(3)) == 2 * T(0) + T(1) + T(3)
    assert (T(0) + T(1)) * (T(0) + T(1)) == T(0) + 2 * T(1) + T(2)
    assert 0 * T(3) == Rep([])
    assert hash(T(1) + T(0)) == hash(T(1) + T(0))


@pytest.mark.parametrize("rep", [T(2, 1), T(0, 2), 2 * T(1) + T(0) + T(1, 1), Rep([])], ids=lambda rep: rep.name)
def test_types_are_actions(rep, rng):
    group = Lorentz(2)
    g, h = group.sample(2, rng)
    x = torch.randn(4, rep.size(3), dtype=torch.float64, generator=rng)
    torch.testing.assert_close(rep(g @ h, x), rep(g, rep(h, x)))
    torch.testing.assert_close(rep(group.identity, x), x)


def test_tensors_move_factor_by_factor(rng):
    g = Lorentz(2).sample(1, rng)[0]
    inverse = torch.linalg.inv(g)
    x = torch.randn(3, 3, 3, dtype=torch.float64, generator=rng)
    slow = torch.einsum("ai,bj,kc,ijk->abc", g, g, inverse, x)
    torch.testing.assert_close(T(2, 1)(g, x.flatten()), slow.flatten())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: T(-1), RepresentationError, r"whole ranks >= 0, got T\(-1, 0\)"),
        (lambda: -1 * T(1), RepresentationError, "whole number of copies"),
        (lambda: 1.5 * T(1), RepresentationError, "got 1.5"),
        (lambda: regular(D(3)) + regular(D(4)), GroupError, r"types of one group, got those of D\(3\), D\(4\)"),
        (lambda: regular(D3) * T(1), RepresentationError, "regular types are added only"),
        (lambda: HomSpace(regular(D(3)), T(0), D(4)), GroupError, r"expected types of D\(4\)"),
        (lambda: regular(D3)(torch.eye(2) * 2, torch.zeros(6)), GroupError, "another matrix"),
        (lambda: T(1)(torch.eye(3), torch.zeros(2)), ShapeError, r"signals \(\.\.\., 3\) of type T\(1\)"),
        (lambda: T(20).size(3), RepresentationError, "more than the cap"),
        (lambda: RepLinear(T(1), T(1), U(2)), RepresentationError, r"take Realified\(U\(2\)\)"),
        (lambda: RepLinear(T(1), T(1), O(3))(torch.zeros(2)), ShapeError, r"\(\.\.\., 3\) for T\(1\)"),
        (lambda: GatedNonlinearity(T(1), O(3))(torch.zeros(3)), ShapeError, r"\(\.\.\., 4\)"),
        (lambda: Bilinear(T(1), O(3))(torch.zeros(4)), ShapeError, r"\(\.\.\., 3\)"),
        (lambda: EMLP(T(1), T(1), O(3), layers=0), ConfigError, "layers >= 1"),
        (lambda: EMLP(T(1), T(1), O(3), ch=[T(1)], layers=2), ConfigError, "each of 2 layers, got 1"),
        (lambda: uniform_rep(0, O(3)), ConfigError, "expected ch to be a whole number >= 1, got 0"),
        (lambda: uniform_rep(2.5, O(3)), ConfigError, r"expected ch to be a whole number >= 1, got 2\.5"),
        (lambda: Embed(SO(2), 3.0), GroupError, r"whole n >= 2 to embed SO\(2\), got 3\.0"),
        (lambda: BlockSum(), GroupError, "one group or more"),
        (lambda: RepLinear(T(1), T(1), O(3))(torch.zeros(3).double()), ShapeError, "dtype torch.float32, got torch.float64"),
        (lambda: RepLinear(T(1), T(1), O(3))(torch.zeros(3).long()), ShapeError, "dtype torch.float32, got torch.int64"),
        (lambda: EMLP(T(1), T(1), O(3), ch=8)(torch.zeros(3).half()), ShapeError, "dtype torch.float32, got torch.float16"),
        (lambda: hom_basis(60 * T(2), 60 * T(2), O(3)), RepresentationError, "take HomSpace"),
        (lambda: hom_basis(T(5), T(5), O(5)), RepresentationError, "945 invariants or more, .* 74 GB, .* types of lower rank"),
        (lambda: HomSpace(T(5), T(5), S(5)), RepresentationError, "945 invariants or more"),
        (lambda: HomSpace(T(3), T(4), Z(5)), RepresentationError, "15625 invariants or more, each of 78125 entries"),
        (lambda: descend(SO(5), Simple(8), Descent(start=300)), RepresentationError, "300 invariants or more"),
        (lambda: HomSpace(T(5, 0), T(5, 0), GL(5)), RepresentationError, r"T\(5,5\) of GL\(5\) has 120 invariants or more"),
        (lambda: RepLinear(O(3), T(1), T(1)), RepresentationError, r"types .*, then a group .*, got O\(3\), T\(1\), T\(1\)"),
        (lambda: RepLinear(5, 9, O(3)), RepresentationError, r"expected types such as T\(1\), .*, got 5, 9, O\(3\)"),
        (lambda: HomSpace(T(1), T(1), "O(3)"), RepresentationError, r"a group such as O\(3\), got T\(1\), T\(1\), 'O\(3\)'"),
        (lambda: EMLP(O(3), T(1), T(1)), RepresentationError, "then a group such as"),
        (lambda: Bilinear(O(3), T(1)), RepresentationError, "then a group such as"),
        (lambda: GatedNonlinearity(O(3), T(1)), RepresentationError, "then a group such as"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_block_keeps_batch_axes(rng):
    block = EMLPBlock(2 * T(1), T(0) + T(1), O(2))
    assert block(torch.randn(3, 5, 4, generator=rng)).shape == (3, 5, 3)
