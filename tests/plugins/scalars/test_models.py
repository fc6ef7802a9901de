"""Functions of scalars commute with their group and with no larger one; versions for sets do not see the order."""

import pytest
import torch

from gnet.errors import ConfigError, ShapeError
from gnet.groups import TRIVIAL_ACTION, SymmetricGroup
from gnet.measures import equivariance_error
from gnet.plugins.scalars import (
    MATRICES,
    POINTS,
    VECTORS,
    PairMatrix,
    ScalarEquivariant,
    ScalarInvariant,
    ScalarMatrix,
    ScalarVectors,
    SetScalars,
    group_of,
    num_scalars,
    perceptron,
    spanning_vectors,
    without_translation,
)
from gnet.plugins.scalars.products import KINDS
from gnet.testing import LawBroken, check_layer
from tests.plugins.scalars.test_scalars import action_of, points

N = 5
CASES = [(kind, 4 if kind == "Sp" else 3) for kind in KINDS]
ORIENTED = [kind for kind, each in KINDS.items() if each.is_oriented]


def drawn(net: torch.nn.Module, rng: torch.Generator) -> torch.nn.Module:
    net = net.double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, dtype=p.dtype, generator=rng) / max(p.shape[-1], 1) ** 0.5)
    return net


def equivariant(kind: str, d: int, rng: torch.Generator, pairs: str = "upper", **settings) -> ScalarEquivariant:
    inputs = num_scalars(N, d, kind, pairs)
    model = ScalarEquivariant(torch.nn.Identity(), kind, pairs=pairs, **settings)
    vectors, _ = model.scalars.untranslated(points(kind, N, d, rng))
    count = spanning_vectors(vectors, kind, pairs).shape[-2] * (2 if kind == "U" else 1)
    model.mlp = perceptron([inputs, 12, count])
    return drawn(model, rng)


@pytest.mark.parametrize("pairs", ["upper", "anchor"])
@pytest.mark.parametrize(("kind", "d"), CASES)
def test_equivariant_functions(kind, d, pairs, rng):
    group, action = action_of(kind, d)
    x = points(kind, N, d, rng, 8)
    h = equivariant(kind, d, rng, pairs)
    assert equivariance_error(h, x, group, action, action, generator=rng).relative < 1e-10
    f = drawn(ScalarInvariant(perceptron([num_scalars(N, d, kind, pairs), 12, 2]), kind, pairs=pairs), rng)
    assert f(x).shape == (8, 2)
    assert equivariance_error(f, x, group, action, TRIVIAL_ACTION, generator=rng).relative < 1e-10
    first = lambda x: x[:, 0] * x[:, 1, :1]  # noqa: E731 - the liar
    assert equivariance_error(first, x, group, action, action, generator=rng).relative > 1e-2


@pytest.mark.parametrize(("kind", "bigger"), [("SO", "O"), ("SE", "E"), ("Lorentz+", "Lorentz"), ("Poincare+", "Poincare")])
def test_no_larger_group_is_imposed(kind, bigger, rng):
    group, action = action_of(bigger, 3)
    h = equivariant(kind, 3, rng)
    assert equivariance_error(h, points(kind, N, 3, rng, 20), group, action, action, generator=rng).relative > 1e-3


def test_velocities_do_not_move_with_translations(rng):
    x = points("E", N, 3, rng)
    h = equivariant("E", 3, rng, is_point=False)
    assert equivariance_error(h, x, group_of("E", 3), POINTS, VECTORS, generator=rng).relative < 1e-10
    assert equivariance_error(h, x, group_of("E", 3), POINTS, POINTS, generator=rng).relative > 1e-2


def test_the_laws_of_layers(rng):
    h = equivariant("SO", 3, rng)
    x = points("SO", N, 3, rng, 2)
    check_layer(h, group_of("SO", 3), x, action_out=group_of("SO", 3).action)
    with pytest.raises(LawBroken, match="equivariance"):
        check_layer(h, group_of("O", 3), x, action_out=group_of("O", 3).action, gradients=False)


@pytest.mark.parametrize(("kind", "d"), CASES)
def test_matrices(kind, d, rng):
    group = group_of(kind, d)
    x = points(kind, 3, d, rng, 6)
    model = ScalarMatrix(torch.nn.Identity(), kind)
    count = model.matrices(x).shape[-3] * (2 if kind == "U" else 1)
    model.mlp = perceptron([num_scalars(3, d, kind), 12, count])
    model = drawn(model, rng)
    if KINDS[kind].is_affine:  # the result turns, and is not translated
        turning = lambda g, m: MATRICES(g[:-1, :-1], m)  # noqa: E731
        after, before = type(MATRICES)("turned", turning), POINTS
    else:
        after, before = MATRICES, group.action
    assert model(x).shape == (6, d, d)
    assert equivariance_error(model, x, group, before, after, generator=rng).relative < 1e-10
    transposed = equivariance_error(lambda x: model(x) * torch.arange(d), x, group, before, after, generator=rng)
    assert transposed.relative > 1e-2


@pytest.mark.parametrize("kind", ["O", "Lorentz"])
def test_shared_pairs(kind, rng):
    model = drawn(PairMatrix(perceptron([2, 8, 2]), perceptron([5, 8, 2]), kind), rng)
    x, masses = points(kind, N, 3, rng), torch.rand(5, N, 1, dtype=torch.float64, generator=rng)
    group = group_of(kind, 3)
    found = equivariance_error(lambda x: model(x, masses), x, group, action_out=MATRICES, generator=rng)
    assert found.relative < 1e-10
    both = torch.cat([x, masses], -1)
    split = lambda both: model(both[..., :3], both[..., 3:])  # noqa: E731
    assert equivariance_error(split, both, SymmetricGroup(N), action_out=TRIVIAL_ACTION, generator=rng).relative < 1e-10
    apart = lambda both: model(both[..., :3], masses)  # noqa: E731 - the liar: masses stay where they are
    assert equivariance_error(apart, both, SymmetricGroup(N), action_out=TRIVIAL_ACTION, generator=rng).relative > 1e-3
    by_hand = torch.zeros(3, 3, dtype=torch.float64)
    form = torch.diag(torch.tensor([1.0, -1, -1])).double() if kind == "Lorentz" else torch.eye(3).double()
    for i in range(N):
        v, q = x[0, i], x[0, i] @ form @ x[0, i]
        f = model.same(torch.stack([masses[0, i, 0], q]))
        by_hand += f[0] * v.outer(v) + f[1] * form
        for j in set(range(N)) - {i}:
            w = x[0, j]
            g = model.other(torch.stack([masses[0, i, 0], q, masses[0, j, 0], w @ form @ w, v @ form @ w]))
            by_hand += g[0] * v.outer(w) + g[1] * form
    torch.testing.assert_close(model(x, masses)[0], by_hand)


# --- sets ---


def of_sets(kind: str, d: int, rng: torch.Generator, extra: int = 0):
    """An invariant function, an equivariant one, and one with a vector for each vector; none sees the order."""
    sizes, parts = SetScalars(kind).sizes(d, extra), 2 if kind == "U" else 1
    outputs = parts * (1 + (d if KINDS[kind].is_oriented else 0))
    pool = lambda inputs: perceptron([inputs, 8, 6])  # noqa: E731
    between = sizes.own + sizes.between
    invariant = ScalarInvariant(perceptron([6 + sizes.shared, 8, 2]), kind, True, pool=pool(sizes.own))
    one = ScalarEquivariant(perceptron([sizes.own + 6 + sizes.shared, 8, outputs]), kind, True, pool=pool(between))
    inputs = 2 * sizes.own + 6 + sizes.between + sizes.shared
    each = ScalarVectors(perceptron([inputs, 8, outputs]), pool(between), kind)
    return drawn(invariant, rng), drawn(one, rng), drawn(each, rng)


@pytest.mark.parametrize(("kind", "d"), CASES)
def test_functions_of_sets(kind, d, rng):
    group, action = action_of(kind, d)
    x = 0.5 * points(kind, N, d, rng)
    nodes = SymmetricGroup(N)
    invariant, one, each = of_sets(kind, d, rng)
    for f, moves, permuted in ((invariant, TRIVIAL_ACTION, TRIVIAL_ACTION), (one, action, TRIVIAL_ACTION), (each, action, None)):
        assert equivariance_error(f, x, group, action, moves, generator=rng).relative < 1e-8
        assert equivariance_error(f, x, nodes, action_out=permuted, generator=rng).relative < 1e-10
    # The liar: an ordinary function of the same scalars sees the order.
    h = equivariant(kind, d, rng)
    assert equivariance_error(h, x, nodes, action_out=TRIVIAL_ACTION, generator=rng).relative > 1e-3
    if kind in ("SO", "Lorentz+"):
        larger = group_of("O" if kind == "SO" else "Lorentz", d)
        assert equivariance_error(one, x, larger, generator=rng).relative > 1e-6


def test_numbers_that_come_with_vectors_move_with_them(rng):
    invariant, one, each = of_sets("O", 3, rng, extra=2)
    both = torch.cat([points("O", N, 3, rng), torch.rand(5, N, 2, dtype=torch.float64, generator=rng)], -1)
    for f, out in ((invariant, TRIVIAL_ACTION), (one, TRIVIAL_ACTION), (each, None)):
        moved = equivariance_error(
            lambda x, f=f: f(x[..., :3], x[..., 3:]), both, SymmetricGroup(N), action_out=out, generator=rng
        )
        assert moved.relative < 1e-10


def test_the_set_of_scalars_tells_clouds_apart(rng):
    """One of four points turned: all lengths are the same, and the scalars of the set are not."""
    x = torch.randn(1, 4, 3, dtype=torch.float64, generator=rng)
    other = x.clone()
    other[0, 0] = x[0, 0] @ group_of("SO", 3).sample(1, rng)[0].mT
    own, _, shared = SetScalars("O")(torch.cat([x, other]))
    order = own[..., 0].argsort(1)
    arranged = own.gather(1, order[..., None].expand_as(own))
    assert float((arranged[0, :, 0] - arranged[1, :, 0]).abs().max()) < 1e-10
    assert float((arranged[0] - arranged[1]).abs().max()) > 1e-3
    assert float((shared[0] - shared[1]).abs().max()) > 1e-3


def test_every_map_of_one_vector_can_be_learned(rng):
    """sin |v| v by an MLP on one scalar: near everywhere, and exactly equivariant."""
    x = torch.randn(200, 1, 3, dtype=torch.float64, generator=rng)
    y = x[:, 0] * x.norm(dim=-1).sin()
    h = drawn(ScalarEquivariant(perceptron([2, 32, 32, 1], torch.nn.Tanh), "O"), rng)
    optimizer = torch.optim.Adam(h.parameters(), lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        loss = (h(x) - y).square().mean()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 2e-2 * float(y.square().mean())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ScalarInvariant(perceptron([1, 1]), "O", True), ConfigError, "pool and permutation=True belong together"),
        (lambda: ScalarEquivariant(perceptron([1, 1]), pool=perceptron([1, 1])), ConfigError, "give both, or neither"),
        (lambda: ScalarEquivariant(perceptron([1, 1]), "G"), ConfigError, "got 'G'"),
        (lambda: SetScalars("O", anchors="first"), ConfigError, "which do not see the order, got 'first'"),
        (lambda: SetScalars("O")(torch.ones(2, 3), torch.ones(3, 1)), ShapeError, "expected extra of shape"),
        (lambda: PairMatrix(perceptron([1, 2]), perceptron([3, 2]), "SO"), ConfigError, "for shared pairs, got 'SO'"),
        (lambda: PairMatrix(perceptron([2, 2]), perceptron([5, 2]))(torch.ones(2, 3), torch.ones(3, 1)), ShapeError, "extra"),
        (lambda: perceptron([3]), ConfigError, "two widths or more"),
        (lambda: perceptron(3, 4), ConfigError, r"in a list as perceptron\(\[3, 32, 1\]\), got 3"),
        (lambda: perceptron([3, 4.5]), ConfigError, r"got \[3, 4\.5\]"),
        (lambda: ScalarVectors("O", None, None), ConfigError, "expected mlp as a net, .* got 'O'; nets come first"),
        (lambda: ScalarVectors(perceptron([1, 1]), "O"), ConfigError, "expected pool as a net, .* got 'O'"),
        (lambda: ScalarEquivariant("SO", perceptron([1, 1])), ConfigError, "expected mlp as a net, .* got 'SO'"),
        (lambda: ScalarInvariant(7), ConfigError, "expected mlp as a net, .* got 7"),
        (lambda: ScalarMatrix("SO"), ConfigError, "expected mlp as a net, .* got 'SO'"),
        (lambda: PairMatrix("O", 1), ConfigError, "expected same as a net, .* got 'O'"),
        (
            lambda: ScalarEquivariant(perceptron([10, 8, 10]), "SO")(torch.ones(5, 4, 3)),
            ShapeError,
            r"expected a net with 18 inputs \(scalars 18, extra 0\), got one with 10",
        ),
        (
            lambda: ScalarInvariant(perceptron([5, 8, 1]))(torch.ones(5, 2, 3), torch.ones(5, 1)),
            ShapeError,
            r"expected a net with 6 inputs \(scalars 5, extra 1\), got one with 5",
        ),
        (
            lambda: ScalarInvariant(perceptron([6, 8, 1]))(torch.ones(5, 2, 3), torch.ones(4, 1)),
            ShapeError,
            r"expected extra of shape \(5, 'k'\), got \(4, 1\)",
        ),
        (
            lambda: ScalarInvariant(perceptron([6, 8, 1]))(torch.ones(2, 3), 1.5),
            ShapeError,
            r"expected extra of shape \('k',\), got a float, which is no tensor",
        ),
        (
            lambda: ScalarEquivariant(perceptron([5, 8, 3]), "SO")(torch.ones(5, 2, 3).double()),
            ShapeError,
            r"expected x of dtype torch\.float32, got torch\.float64; convert x, or the layer",
        ),
        (
            lambda: ScalarMatrix(perceptron([5, 5]))(torch.ones(5, 2, 3).double()),
            ShapeError,
            r"expected x of dtype torch\.float32, got torch\.float64",
        ),
        (
            lambda: ScalarInvariant(perceptron([5, 1]), "O", True, pool=perceptron([6, 4]))(torch.ones(6, 3)),
            ShapeError,
            r"expected a net with 5 inputs \(own 5\), got one with 6",
        ),
        (
            lambda: ScalarInvariant(perceptron([5, 1]), "O", True, pool=perceptron([5, 4]))(torch.ones(6, 3)),
            ShapeError,
            r"expected a net with 10 inputs \(pool 4, shared 6\), got one with 5",
        ),
        (
            lambda: ScalarVectors(perceptron([5, 1]), perceptron([6, 4]))(torch.ones(6, 3)),
            ShapeError,
            r"expected a net with 21 inputs \(own 10, between 1, shared 6, pool 4\), got one with 5",
        ),
        (
            lambda: PairMatrix(perceptron([1, 2]), perceptron([3, 2]))(torch.ones(2, 3).double()),
            ShapeError,
            "dtype torch.float32",
        ),
        (
            lambda: PairMatrix(perceptron([2, 2]), perceptron([3, 2]))(torch.ones(2, 3)),
            ShapeError,
            r"expected a net with 1 inputs \(extra 0, product 1\), got one with 2",
        ),
        (
            lambda: ScalarEquivariant(perceptron([5, 2]), "SO")(torch.ones(2, 3)),
            ShapeError,
            "expected an mlp with 3 outputs, 1 for each of 3 terms, got 2",
        ),
        (
            lambda: ScalarEquivariant(perceptron([2, 1]), "U")(torch.ones(1, 3)),
            ShapeError,
            "expected an mlp with 2 outputs, 2 for each of 1 terms, got 1",
        ),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(("kind", "d"), [("SE", 3), ("Lorentz+", 4), ("Poincare+", 4)])
def test_cross_products_are_compiled_whole(kind, d, rng):
    x = torch.randn(3, d + 1, d, dtype=torch.float64, generator=rng)
    given = without_translation(x)[0] if kind in ("SE", "Poincare+") else x
    net = perceptron([num_scalars(d + 1, d, kind), 8, spanning_vectors(given, kind).shape[-2]])
    h = ScalarEquivariant(net, kind).double()
    torch.testing.assert_close(torch.compile(h, backend="aot_eager", fullgraph=True)(x), h(x))
