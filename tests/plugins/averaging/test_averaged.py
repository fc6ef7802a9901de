"""Averages against numbers worked out by hand, and what is refused."""

import math

import pytest
import torch
from torch import nn

from gnet.errors import ConfigError, GroupError, NotCompactError, NotFiniteError, RepresentationError, ShapeError
from gnet.groups import TRIVIAL_ACTION, SymmetricGroup
from gnet.measures import equivariance_error
from gnet.plugins.averaging import Averaged, frames, project_linear
from gnet.plugins.tensors import GL, SO, B, C, D, DPerm, Lorentz, O, S, Sp, U, Z
from gnet.testing import LawBroken, check_layer

POINT = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)


def net(rows: int, out: int, generator: torch.Generator) -> nn.Module:
    """A random net that has no symmetry."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(rows, 16), nn.Tanh(), nn.Linear(16, out)).double()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, dtype=p.dtype, generator=generator))
    return module


# --- numbers ---


@pytest.mark.parametrize(("group", "value"), [(Z(3), 25 / 3), (S(3), 8.0), (SymmetricGroup(3), 8.0)], ids=["Z3", "S3", "nodes"])
def test_a_polynomial_over_permutations(group, value):
    x = POINT[..., None] if isinstance(group, type(SymmetricGroup(3))) else POINT
    f = Averaged(lambda x: x.flatten(1)[:, 0] * x.flatten(1)[:, 1] ** 2, group)
    assert float(f(x)) == pytest.approx(value, abs=1e-12)


def test_an_equivariant_average_over_permutations():
    def h(x):
        return torch.stack([x[:, 0] * x[:, 1], 0 * x[:, 0], 0 * x[:, 0]], 1)

    found = Averaged(h, S(3), rep_out=S(3).action)(POINT)
    torch.testing.assert_close(found, torch.tensor([[5 / 6, 4 / 3, 3 / 2]], dtype=torch.float64))


def test_a_polynomial_over_signs_and_permutations():
    f = Averaged(lambda x: x[:, 0] ** 3 * x[:, 1] + x[:, 0] ** 2, B(2))
    assert float(f(POINT[:, :2])) == pytest.approx(2.5, abs=1e-12)


@pytest.mark.parametrize(("degree", "value"), [(4, 234.375), (3, 168.5)])
def test_five_angles_are_enough_for_degree_four_and_four_are_not(degree, value):
    f = Averaged(lambda x: x[:, 0] ** 4, SO(2), mode="quadrature", degree=degree)
    x = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    assert float(f(x)) == pytest.approx(value, abs=1e-10)
    mirrored = Averaged(lambda x: x[:, 0] ** 4, O(2), mode="quadrature", degree=4)
    assert float(mirrored(x)) == pytest.approx(234.375, abs=1e-10)


MOMENTS = {
    "R11^2": (lambda R: R[:, 0, 0] ** 2, 1 / 3),
    "R11^4": (lambda R: R[:, 0, 0] ** 4, 1 / 5),
    "R11^2 R22^2": (lambda R: R[:, 0, 0] ** 2 * R[:, 1, 1] ** 2, 2 / 15),
    "R11 R22 R12 R21": (lambda R: R[:, 0, 0] * R[:, 1, 1] * R[:, 0, 1] * R[:, 1, 0], -1 / 30),
    "R11 R22 R33": (lambda R: R[:, 0, 0] * R[:, 1, 1] * R[:, 2, 2], 1 / 6),
    "R11^6": (lambda R: R[:, 0, 0] ** 6, 1 / 7),
}


def moment(name: str, degree: int) -> float:
    nodes, weights = SO(3).quadrature(degree)
    return float((weights * MOMENTS[name][0](nodes)).sum())


@pytest.mark.parametrize("name", MOMENTS)
def test_moments_of_rotations(name, rng):
    value = MOMENTS[name][1]
    assert moment(name, 6) == pytest.approx(value, abs=1e-12)
    drawn = MOMENTS[name][0](SO(3).sample(40_000, rng))
    assert abs(float(drawn.mean()) - value) < 6 * float(drawn.std()) / 200
    if name == "R11^6":
        assert moment(name, 4) == pytest.approx(0.140625, abs=1e-12)
    else:
        assert moment(name, 4) == pytest.approx(value, abs=1e-12)


def test_a_rule_of_too_low_degree_is_wrong():
    assert moment("R11^4", 3) == pytest.approx(0.2777777777, abs=1e-9)
    assert [len(SO(3).quadrature(degree)[1]) for degree in (2, 3, 4, 6)] == [18, 32, 75, 196]
    assert len(O(3).quadrature(2)[1]) == 36


def test_linear_maps_by_hand():
    theta = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    torch.testing.assert_close(project_linear(theta, SO(2)), torch.tensor([[2.5, -0.5], [0.5, 2.5]], dtype=torch.float64))
    torch.testing.assert_close(project_linear(theta, O(2)), 2.5 * torch.eye(2, dtype=torch.float64))
    theta = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 10.0]], dtype=torch.float64)
    mean = project_linear(theta, S(3))
    torch.testing.assert_close(mean, torch.full((3, 3), 5.0, dtype=torch.float64) + torch.eye(3, dtype=torch.float64) / 3)
    assert float((theta - mean).square().sum()) == pytest.approx(68.6667, abs=1e-4)


FINITE = {
    **{f"Z{n}": (Z(n), n) for n in (2, 3, 5)},
    **{f"S{n}": (S(n), 2) for n in (2, 3, 4, 5)},
    **{f"D{n} on the cycle": (DPerm(n), dims) for n, dims in ((4, 3), (5, 3), (6, 4))},
    **{f"C{k}": (C(k), 2) for k in (3, 4, 6)},
    **{f"D{k}": (D(k), dims) for k, dims in ((2, 2), (3, 1), (4, 1), (6, 1))},
    **{f"B{d}": (B(d), 1) for d in (2, 3, 4)},
}


@pytest.mark.parametrize("name", FINITE)
def test_the_trace_of_the_projector_is_the_number_of_maps(name):
    group, dims = FINITE[name]
    units = torch.eye(group.dim**2, dtype=torch.float64).reshape(-1, group.dim, group.dim)
    trace = sum(float((project_linear(unit, group) * unit).sum()) for unit in units)
    assert trace == pytest.approx(dims, abs=1e-9)
    characters = torch.einsum("kii->k", group.elements())
    assert float(characters.square().mean()) == pytest.approx(dims, abs=1e-9)


# --- the operator ---


def test_averaging_twice_is_averaging_once(rng):
    f = net(6, 1, rng)
    once = Averaged(f, B(3))
    x = torch.randn(4, 2, 3, dtype=torch.float64, generator=rng)
    torch.testing.assert_close(Averaged(once, B(3))(x), once(x))
    length = nn.Sequential(nn.Flatten())
    invariant = lambda x: length(x).square().sum(1)  # noqa: E731
    torch.testing.assert_close(Averaged(invariant, B(3))(x), invariant(x))


def test_chunks_do_not_change_the_average(rng):
    f, x = net(6, 3, rng), torch.randn(5, 2, 3, dtype=torch.float64, generator=rng)
    sizes = []

    def watched(x):
        sizes.append(len(x))
        return f(x)

    whole, parts = (Averaged(watched, B(3), rep_out=B(3).action, chunk=chunk)(x) for chunk in (4096, 7))
    torch.testing.assert_close(whole, parts)
    assert sizes[0] == 5 * 48
    assert max(sizes[1:]) <= 7
    few = Averaged(watched, B(3), rep_out=B(3).action, chunk=2)(x)
    torch.testing.assert_close(few, whole)


@pytest.mark.parametrize("group", [B(3), D(5), S(3), Z(4)], ids=lambda group: group.name)
def test_exact_averages_are_equivariant_layers(group, rng):
    f = net(2 * group.dim, group.dim, rng)
    x = torch.randn(3, 2, group.dim, dtype=torch.float64, generator=rng)
    check_layer(Averaged(f, group, rep_out=group.action), group, x, gradients=False)
    with pytest.raises(LawBroken, match="equivariance"):
        check_layer(f, group, x, action_out=group.action, gradients=False)


def test_the_standard_error_says_how_far_a_sampled_average_is(rng):
    f = net(6, 1, rng)
    x = torch.randn(200, 2, 3, dtype=torch.float64, generator=rng)
    exact = Averaged(f, B(3))(x)
    drawn = Averaged(f, B(3), mode="sample", n_samples=400, generator=rng)
    # Elements are shared by all items, so the deviations of one call go together; the mean over calls has to fit.
    ratios = []
    for _ in range(25):
        y = drawn(x)
        assert drawn.last_stderr.shape == y.shape
        ratios.append(((y - exact) / drawn.last_stderr).square().mean().detach())
    assert 0.5 < float(torch.stack(ratios).mean()) < 1.8


def test_elements_are_drawn_anew_or_kept(rng):
    f, x = net(6, 1, rng), torch.randn(2, 2, 3, dtype=torch.float64, generator=rng)
    step, fixed = (Averaged(f, O(3), mode="sample", n_samples=3, resample=how, generator=rng) for how in ("step", "fixed"))
    assert not torch.equal(step(x), step(x))
    assert torch.equal(fixed(x), fixed(x))
    assert "elements" in fixed.state_dict()


def test_a_quadrature_is_exact_for_polynomials(rng):
    cubic = lambda x: (x[:, 0, 0] + 2 * x[:, 1, 1]) ** 2 * x[:, 1, 2]  # noqa: E731 - degree 3
    x = torch.randn(6, 2, 3, dtype=torch.float64, generator=rng)
    enough, higher = (Averaged(cubic, SO(3), mode="quadrature", degree=degree)(x) for degree in (3, 7))
    torch.testing.assert_close(enough, higher)
    vector = lambda x: x[:, 0] * x[:, 1, :1] ** 2  # noqa: E731
    averaged = Averaged(vector, O(3), rep_out=O(3).action, mode="quadrature", degree=4)
    assert equivariance_error(averaged, x, O(3), generator=rng).relative < 1e-12


def test_complex_groups_are_averaged(rng):
    x = torch.randn(4, 2, dtype=torch.complex128, generator=rng)
    drawn = Averaged(lambda x: x[:, 0].abs() ** 2, U(2), mode="sample", n_samples=4000, generator=rng)
    y = drawn(x)
    half = x.abs().square().sum(1) / 2
    assert bool(((y - half).abs() < 6 * drawn.last_stderr).all())


# --- what is refused ---


@pytest.mark.parametrize("group", [Lorentz(3), Sp(4), GL(2)], ids=lambda group: group.name)
def test_groups_without_a_uniform_law_have_no_average(group):
    for settings in ({"mode": "exact"}, {"mode": "quadrature", "degree": 2}, {"mode": "sample"}):
        with pytest.raises(NotCompactError, match="no Haar probability; use invariants or units"):
            Averaged(torch.sum, group, **settings)
    with pytest.raises(NotCompactError):
        project_linear(torch.eye(group.dim), group)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"group": SO(3)}, NotFiniteError, "SO\\(3\\) has inf; take mode='quadrature'"),
        ({"group": S(10)}, NotFiniteError, "S\\(10\\) has 3628800"),
        ({"group": SO(4), "mode": "quadrature", "degree": 2}, NotFiniteError, "no quadrature is known for SO\\(4\\)"),
        ({"group": SymmetricGroup(3), "mode": "quadrature", "degree": 2}, NotFiniteError, "no quadrature is known for S3"),
        ({"group": SO(3), "mode": "quadrature"}, ConfigError, "expected a degree"),
        ({"group": SO(3), "mode": "frames"}, ConfigError, "got 'frames'"),
        ({"group": S(3), "resample": "never"}, ConfigError, "got 'never'"),
        ({"group": S(3), "n_samples": 3}, ConfigError, "n_samples belongs to mode='sample', got mode='exact'"),
        ({"group": S(3), "degree": 3}, ConfigError, "degree belongs to"),
        ({"group": S(3), "frame": frames.pca}, ConfigError, "frame belongs to"),
        ({"group": S(3), "chunk": 0}, ConfigError, "whole chunk >= 1, got 0"),
        ({"group": S(3), "chunk": 10.5}, ConfigError, "whole chunk >= 1, got 10.5"),
        ({"group": SO(3), "mode": "sample", "n_samples": 2.5}, ConfigError, "whole n_samples >= 1, got 2.5"),
        ({"group": S(3), "mode": "frame"}, RepresentationError, "no frame is known for S\\(3\\)"),
        ({"group": "SO(3)"}, GroupError, "expected a group, got 'SO\\(3\\)'; write .* gnet.plugins.tensors.SO\\(3\\)"),
        ({"group": S}, GroupError, "expected a group, got function"),
        (
            {"group": S(3), "rep_out": "vector"},
            RepresentationError,
            "expected rep_out as an action, .*TRIVIAL_ACTION, got 'vector'",
        ),
        ({"group": S(3), "rep_in": 3}, RepresentationError, "expected rep_in as an action, .* got 3"),
    ],
)
def test_settings_that_cannot_be(settings, error, message):
    with pytest.raises(error, match=message):
        Averaged(torch.sum, **settings)


@pytest.mark.parametrize(("mode", "group"), [("exact", S(3)), ("frame", SO(3))])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.randn(2, 5, 3), r"expected x of dtype torch\.float64, got torch\.float32; convert x, or the layer"),
        ([[1.0, 2.0, 3.0]], r"expected x of shape \(B, \.\.\.\), got a list, which is no tensor"),
    ],
    ids=["dtype", "list"],
)
def test_inputs_that_a_module_does_not_take(mode, group, x, message):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(15, 1)).double()
    with pytest.raises(ShapeError, match=message):
        Averaged(net, group, mode=mode)(x)


def test_other_failures_of_a_module_are_its_own():
    """And a module that casts is left to do so."""
    net = torch.nn.Linear(4, 1).double()
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        Averaged(net, S(3))(torch.randn(2, 3).double())

    class Casts(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x.double())

    assert Averaged(Casts(3, 1).double(), S(3))(torch.randn(2, 3)).dtype == torch.float64


def test_several_outputs_need_an_action():
    f = Averaged(lambda x: x, S(3))
    with pytest.raises(RepresentationError, match=r"expected rep_out for outputs of shape \(6, 3\)"):
        f(POINT)
    assert Averaged(lambda x: x, S(3), rep_out=TRIVIAL_ACTION)(POINT).tolist() == [[2.0, 2.0, 2.0]]


def test_quadratures_need_a_whole_degree():
    with pytest.raises(ConfigError, match="whole degree"):
        SO(2).quadrature(-1)
    assert math.isclose(float(SO(2).quadrature(0)[1].sum()), 1.0)


@pytest.mark.parametrize("chunk", [4096, 64])
def test_an_offset_does_not_change_the_standard_error(chunk, rng):
    x = torch.randn(4, 3, generator=rng)
    found = []
    for offset, dtype in ((1e4, torch.float32), (0.0, torch.float64)):
        averaged = Averaged(
            lambda x, offset=offset: offset + x[:, :1],
            O(3),
            mode="sample",
            n_samples=64,
            resample="fixed",
            generator=torch.Generator().manual_seed(0),
            chunk=chunk,
        )
        averaged(x.to(dtype))
        found.append(averaged.last_stderr.double())
    torch.testing.assert_close(*found, rtol=1e-2, atol=0.0)


def test_modules_without_a_batch_axis_are_refused():
    for module in (lambda x: x.sum(), lambda x: x[:1]):
        with pytest.raises(ShapeError, match=r"expected one output for each of \d+ items"):
            Averaged(module, S(3))(torch.ones(2, 3))
