"""The average over a group as an operator: linear, a projection, and the nearest equivariant function; with liars."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gnet.groups import TRIVIAL_ACTION, GeneratedGroup, Group, equivariant_maps
from gnet.plugins.averaging import Averaged, project_linear
from gnet.plugins.tensors import SO, B, C, D, Embed, O, S, T, Z

Function = Callable[[Tensor], Tensor]
Operator = Callable[[Function], Function]
SKEWED = GeneratedGroup("C3, skewed", [torch.tensor([[0.0, -1.0], [1.0, -1.0]])])  # finite, and not orthogonal


def crooked(rows: int, d: int, generator: torch.Generator) -> nn.Module:
    """A function of ``rows`` vectors in R^d to R^d that has no symmetry, a polynomial of degree 3."""

    class Cubic(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (torch.randn(d, rows * d, dtype=torch.float64, generator=generator) for _ in range(2))

        def forward(self, x):
            flat = x.flatten(1)
            return (flat @ self.a.mT) ** 3 + (flat @ self.b.mT) ** 2 + flat @ self.b.mT

    return Cubic()


def averaging(group: Group, mode: str, **more: object) -> Operator:
    return lambda f: Averaged(f, group, rep_out=group.action, mode=mode, **more)  # type: ignore[arg-type]


def some_elements(group: Group, generator: torch.Generator) -> Operator:
    """The mean over three elements, the same at every use."""
    seed = int(torch.randint(2**31, (), generator=generator))
    return lambda f: Averaged(
        f,
        group,
        rep_out=group.action,
        mode="sample",
        n_samples=3,
        resample="fixed",
        generator=torch.Generator().manual_seed(seed),
    )


def is_linear(Q: Operator, f: Function, h: Function, x: Tensor) -> bool:
    mixed = Q(lambda x: 0.7 * f(x) - 2.5 * h(x))(x)
    return torch.allclose(mixed, 0.7 * Q(f)(x) - 2.5 * Q(h)(x), rtol=1e-10, atol=1e-10)


def is_idempotent(Q: Operator, f: Function, x: Tensor) -> bool:
    once = Q(f)
    return torch.allclose(Q(once)(x), once(x), rtol=1e-10, atol=1e-10)


OPERATORS = {
    "exact B(3)": (B(3), averaging(B(3), "exact")),
    "exact D(5)": (D(5), averaging(D(5), "exact")),
    "quadrature O(2)": (O(2), averaging(O(2), "quadrature", degree=8)),
    "quadrature SO(3)": (SO(3), averaging(SO(3), "quadrature", degree=4)),
    "frame O(3)": (O(3), averaging(O(3), "frame")),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_it_is_linear_and_a_projection(name, rng):
    group, Q = OPERATORS[name]
    f, h = crooked(4, group.dim, rng), crooked(4, group.dim, rng)
    x = torch.randn(3, 4, group.dim, dtype=torch.float64, generator=rng)
    assert is_linear(Q, f, h, x)
    assert is_idempotent(Q, f, x)
    assert not torch.allclose(Q(f)(x), f(x))


def test_liars_are_caught(rng):
    """The largest value over a group is idempotent and not linear; half an average, or one of a few elements, is linear alone."""
    group = B(3)
    f, h = crooked(4, 3, rng), crooked(4, 3, rng)
    x = torch.randn(3, 4, 3, dtype=torch.float64, generator=rng)

    def largest(f: Function) -> Function:
        def found(x: Tensor) -> Tensor:
            return torch.stack([f(x @ g.mT)[:, :1] for g in group.elements()]).amax(0)

        return found

    assert is_idempotent(largest, f, x) and not is_linear(largest, f, h, x)
    whole = averaging(group, "exact")
    for Q in (lambda f: lambda x: (f(x) + whole(f)(x)) / 2, some_elements(group, rng)):
        assert is_linear(Q, f, h, x) and not is_idempotent(Q, f, x)


# --- the nearest linear map ---

MAPS = {
    "S(4)": (S(4), T(1), T(1)),
    "Z(5)": (Z(5), T(1), T(1)),
    "C(3)": (C(3), 2 * T(1), T(1)),
    "B(2)": (B(2), T(1) + T(2), T(2)),
    "SO(3)": (SO(3), 2 * T(1), T(2)),
    "O(2) in R3": (Embed(O(2), 3), T(1) + T(0), T(1)),
}


def nearest_map(theta: Tensor, maps: Tensor) -> Tensor:
    """Least squares in the span of maps, which need not be orthonormal."""
    columns = maps.flatten(1).mT
    return (columns @ torch.linalg.lstsq(columns, theta.flatten()[:, None]).solution).reshape(theta.shape)


@pytest.mark.parametrize("name", MAPS)
def test_the_average_of_a_map_is_its_orthogonal_projection_on_those_that_commute(name, rng):
    group, given, out = MAPS[name]
    shape = out.size(group.dim), given.size(group.dim)
    theta = torch.randn(shape, dtype=torch.float64, generator=rng)
    maps = equivariant_maps(group, given, out, shape[1:], shape[:1])
    skewed = torch.randn(len(maps), len(maps), dtype=torch.float64, generator=rng)  # any basis of them will do
    average = project_linear(theta, group, given, out)
    torch.testing.assert_close(average, nearest_map(theta, torch.einsum("ab,bij->aij", skewed, maps)), atol=1e-8, rtol=1e-8)
    if group.is_finite:
        unit = torch.eye(shape[1], dtype=torch.float64)
        slow = Averaged(lambda x: x @ theta.mT, group, given, out)(unit).mT
        torch.testing.assert_close(average, slow)
    for _ in range(5):  # Pythagoras: nothing equivariant is nearer
        other = torch.einsum("a,aij->ij", torch.randn(len(maps), dtype=torch.float64, generator=rng), maps)
        parts = (theta - average).square().sum() + (average - other).square().sum()
        torch.testing.assert_close((theta - other).square().sum(), parts)


def test_in_a_skewed_basis_another_map_is_nearer(rng):
    """The liar: an action that keeps no lengths; its average is equivariant, and not the nearest such map."""
    maps = equivariant_maps(SKEWED)
    theta = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    average, nearest = project_linear(theta, SKEWED), nearest_map(theta, maps)
    torch.testing.assert_close(nearest_map(average, maps), average)
    assert float((theta - nearest).norm()) < 0.99 * float((theta - average).norm())


# --- the nearest function on samples ---


def nearest_values(values: Tensor, moves: Tensor, weights: Tensor) -> Tensor:
    """Of all equivariant functions on points g_1 x_p, ..., g_K x_p the values nearest in mean square: h(g x_p) = g v_p.

    Shapes:
        values: (P, K, d)    moves: (K, d, d)    weights: (P, K)    returns: (P, K, d)
    """
    found = []
    for target, share in zip(values, weights.sqrt(), strict=True):
        rows = (share[:, None, None] * moves).flatten(0, 1)
        v = torch.linalg.lstsq(rows, (share[:, None] * target).reshape(-1, 1)).solution[:, 0]
        found.append(moves @ v)
    return torch.stack(found)


@pytest.mark.parametrize("group", [D(5), B(2), C(4), S(3)], ids=lambda group: group.name)
def test_on_closed_samples_the_average_is_the_nearest_equivariant_function(group, rng):
    d, elements = group.dim, group.elements()
    f = crooked(1, d, rng)
    points = torch.randn(3, d, dtype=torch.float64, generator=rng)
    x = torch.einsum("kij,pj->pki", elements, points)  # three whole orbits
    values, average = (each(x.flatten(0, 1)).reshape(x.shape) for each in (f, Averaged(f, group, rep_out=group.action)))
    even = torch.ones(x.shape[:2], dtype=torch.float64)
    torch.testing.assert_close(average, nearest_values(values, elements, even), atol=1e-8, rtol=1e-8)
    # Liars: points that count differently, and orbits that are there in part.
    uneven = even * torch.cat([torch.full((1,), 20.0), torch.ones(len(elements) - 1)])
    for importance, some in ((uneven, slice(None)), (even, slice(2))):
        target, weights = values[:, some], importance[:, some]
        nearest = nearest_values(target, elements[some], weights)
        risks = [float((weights[..., None] * (target - h).square()).sum()) for h in (nearest, average[:, some])]
        assert risks[0] < risks[1] and not torch.allclose(nearest, average[:, some], rtol=1e-4)


def test_of_invariant_functions_the_mean_of_each_orbit_is_nearest(rng):
    group = B(3)
    points = torch.randn(4, 3, dtype=torch.float64, generator=rng)
    x = torch.einsum("kij,pj->pki", group.elements(), points)
    f = crooked(1, 3, rng)
    values, average = (each(x.flatten(0, 1)).reshape(x.shape) for each in (f, Averaged(f, group, rep_out=TRIVIAL_ACTION)))
    torch.testing.assert_close(average, values.mean(1, keepdim=True).expand_as(values))
    assert float((values - average).square().sum()) < float((values - values[:, :1]).square().sum())
