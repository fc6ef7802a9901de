"""Equations found back: those of vegetation with and without noise, others, in any units; and libraries that must be refused."""

import pytest
import torch

from gnet.errors import ConfigError, ConvergenceError, DegenerateInputError, ShapeError, UnitsError
from gnet.plugins.geometric_images import GeometricImage, ImageGroup, invariant_filters, laplacian_filter
from gnet.plugins.units import Quantity, Units
from gnet.plugins.vegetation import (
    LIBRARY,
    SCALES,
    PDEData,
    Rietkerk,
    admitted_terms,
    discover,
    expected_coefficients,
    pattern_data,
    planted,
    thresholded_least_squares,
)

STEPS = range(600, 12_001, 600)
TYPED = ("1", "w", "v", "k2 * u / (k2 + v)", "u * v / (k2 + v)", "v * w", "v * w / (k1 + w)", "lap(u)", "lap(w)", "lap(v)")


SI = Units("kg", "m", "s")


def of(x, units):
    return SI(torch.as_tensor(x, dtype=torch.float64), units)


@pytest.fixture(scope="module")
def model():
    return Rietkerk(L=64.0)


@pytest.fixture(scope="module")
def data(model):
    return pattern_data(model, model.start(planted(32, 1, torch.Generator().manual_seed(0))), STEPS, 200.0)


def worst(found, expected):
    assert {f: set(found[f].support) for f in expected} == {f: set(terms) for f, terms in expected.items()}
    return max(abs(found[f].support[term] / value - 1) for f, terms in expected.items() for term, value in terms.items())


def test_expected_coefficients(model):
    u, w, v = (expected_coefficients(model, 200.0)[field].values() for field in "uwv")
    assert list(u) == pytest.approx([1.0, -0.1, -1.0, 0.0125])
    assert list(w) == pytest.approx([0.0375, 0.375, -0.25, -1.0, 1.25e-5])
    assert list(v) == pytest.approx([5.0, -1.25, 1.25e-5])


def test_vegetation_without_noise(model, data):
    found = discover(data.dimensionless(SCALES), LIBRARY)
    assert worst(found, expected_coefficients(model, 200.0)) < 1e-4
    assert all(320 < each.condition < 410 and each.residual < 1e-8 for each in found.values())


def test_vegetation_with_noise_of_one_per_cent(model, data):
    flat, expected = data.dimensionless(SCALES), expected_coefficients(model, 200.0)
    for seed in range(8):
        found = discover(flat.with_noise(0.01, torch.Generator().manual_seed(seed)), LIBRARY)
        assert worst(found, expected) < 2e-3
        assert 0.005 < found["u"].residual < 0.0101  # of the whole rate, noise is a share of its deviation


def test_a_low_threshold_keeps_what_is_not_there(model, data):
    noisy = data.dimensionless(SCALES).with_noise(0.1, torch.Generator().manual_seed(0))
    found = discover(noisy, LIBRARY, threshold=1e-4)
    assert any(set(found[f].support) - set(terms) for f, terms in expected_coefficients(model, 200.0).items())


def test_typed_terms_complete_themselves_and_do_not_see_units(model, data):
    found = discover(data, TYPED, ["R", "alpha", "k1", "k2", "L"])
    assert found["u"].support == pytest.approx(
        {"R": 1.0, "alpha * k2 * u / (k2 + v)": -0.1, "alpha * u * v / (k2 + v)": -1.0, "alpha * L**2 * lap(u)": 0.0125}, rel=1e-6
    )
    assert found["v"].support == pytest.approx(
        {"alpha * v": -1.25, "alpha * v * w / (k1 + w)": 5.0, "alpha * L**2 * lap(v)": 1.25e-5}, rel=1e-6
    )
    other = in_units(data, (7.0, 2.0, 0.5, 3.0))
    for name, each in discover(other, TYPED, ["R", "alpha", "k1", "k2", "L"]).items():
        assert each.support == pytest.approx(found[name].support, rel=1e-9)
    # Without units the same numbers mean something else in every system of units.
    bare, bare_other = (untyped(each) for each in (data, other))
    library = ["u * v / (k2 + v)", "u * k2 / (k2 + v)", "lap(u)"]
    before, after = (discover(each, {"w": ["w"], "v": ["w"], "u": library})["u"].coefficients for each in (bare, bare_other))
    assert abs(before[2] / after[2] - 1) > 0.5


def in_units(data, sizes):
    """The same data with other numbers for the same things."""

    def other(given):
        return given.rescaled(sizes)

    parts = [{name: other(each) for name, each in part.items()} for part in (data.fields, data.rates, data.parameters)]
    return PDEData(parts[0], parts[1], other(data.spacing), parts[2])


def untyped(data):
    def bare(given):
        return Quantity(given.x, (0,) * len(given.u), given.system)

    parts = [{name: bare(each) for name, each in part.items()} for part in (data.fields, data.rates, data.parameters)]
    return PDEData(parts[0], parts[1], bare(data.spacing), parts[2])


def test_several_sets_of_parameters_say_which_parameter_stands_where(rng):
    factors = 0.8 + 0.4 * torch.rand(6, 12, generator=rng, dtype=torch.float64)
    inputs = Rietkerk(L=24.0).inputs.repeat(6, 1)
    inputs[:, :12] *= factors
    model = Rietkerk.of(inputs)
    data = pattern_data(model, model.start(planted(12, 6, rng, share=0.3)), [200, 1000, 3000], 24.0)
    library = ["R", "alpha * k1", "alpha * u * (v + k2 * W0) / (v + k2)", "gm * v * w / (k1 + w)", "c * gm * v * w / (k1 + w)"]
    library += ["dw * w", "alpha * w", "dv * v", "dw * v", "Du * lap(u)", "Dw * lap(w)", "Dv * lap(v)", "Du * lap(w)"]
    found = discover(data, library, threshold=1e-4)
    expected = {
        "u": {"R": 1, "alpha * u * (v + k2 * W0) / (v + k2)": -1, "Du * lap(u)": 1},
        "w": {"alpha * u * (v + k2 * W0) / (v + k2)": 1, "gm * v * w / (k1 + w)": -1, "dw * w": -1, "Dw * lap(w)": 1},
        "v": {"c * gm * v * w / (k1 + w)": 1, "dv * v": -1, "Dv * lap(v)": 1},
    }
    assert worst(found, expected) < 1e-6
    assert "c * gm * v * w / (k1 + w)" not in found["w"].terms and "dw * w" not in found["v"].terms  # other units


# --- other equations ---


def test_diffusion_in_three_dimensions_and_central_differences(rng):
    n, h, rate = 6, 0.5, 0.03
    wave = torch.tensor([1.0, 2.0, 1.0]) * 2 * torch.pi / n
    cells = torch.stack(torch.meshgrid(*[torch.arange(n)] * 3, indexing="ij"), -1).float() @ wave
    series, x = [], cells.double().sin() + torch.randn(n, n, n, generator=rng, dtype=torch.float64)
    step = 1e-3
    for _ in range(6):
        series.append(x)
        curved = sum(x.roll(1, axis) + x.roll(-1, axis) - 2 * x for axis in range(3)) / h**2
        x = x + step * rate * curved
    data = PDEData.from_series({"q": of(torch.stack(series), "kg")}, of(step, "s"), of(h, "m"), {"D": of(2 * rate, "m^2 s^-1")})
    assert data.num_samples == 4
    found = discover(data, ["q", "D * lap(q)", "D * slope2(q)"])["q"]
    assert found.terms == ("D * lap(q)",)  # the others have not the units of dq/dt
    assert found.coefficients[0] == pytest.approx(0.5, rel=1e-3)
    assert str(found).startswith("dq/dt = +0.5")
    with pytest.raises(ShapeError, match="at least three snapshots"):
        PDEData.from_series({"q": of(torch.stack(series[:2]), "kg")}, of(step, "s"), of(h, "m"))


def test_fronts_that_steepen(rng):
    """q' = a lap q + b |grad q|^2 + k q (1 - q / m)."""
    q = torch.randn(4, 7, 7, generator=rng, dtype=torch.float64)
    parameters = {"a": of(0.3, "m^2 s^-1"), "k": of(0.7, "s^-1"), "m": of(2.0, "kg")}
    blank = PDEData({"q": of(q, "kg")}, {"q": of(q, "kg s^-1")}, of(0.5, "m"), parameters)
    terms = ["a * lap(q)", "a * slope2(q) / m", "k * q", "k * q**2 / m", "k * m"]
    rate = sum(c * blank.term(term).x for c, term in zip((1.0, 0.2, 1.0, -1.0), terms, strict=False))
    found = discover(PDEData(blank.fields, {"q": of(rate, "kg s^-1")}, blank.spacing, parameters), terms)["q"]
    assert found.coefficients == pytest.approx([1.0, 0.2, 1.0, -1.0, 0.0], abs=1e-10)


# --- laws ---


def test_columns_move_along_with_the_fields(rng):
    q = torch.randn(2, 6, 6, generator=rng, dtype=torch.float64)
    group = ImageGroup(6)

    def moved(g, x):
        return group.act(g, x.flatten(1)[..., None])[..., 0].unflatten(1, (6, 6))

    def columns(x):
        data = PDEData({"q": of(x, "1")}, {"q": of(x, "1")}, of(1.0, "1"), {})
        return [data.term(text).x for text in ("lap(q)", "slope2(q)", "q**2", "lap(q * lap(q))")]

    def one_sided(x):
        return x.roll(1, 1) - x

    for g in group.sample(5, rng):
        for here, there in zip(columns(q), columns(moved(g, q)), strict=True):
            torch.testing.assert_close(moved(g, here), there, rtol=1e-11, atol=1e-11)
    turns = [g for g in group.generators if not torch.allclose(moved(g, one_sided(q)), one_sided(moved(g, q)))]
    assert turns


def test_the_laplacian_is_an_invariant_filter():
    basis = invariant_filters(2, 3, 0).data.flatten(1)
    star = laplacian_filter(2).data.flatten()
    assert (torch.linalg.lstsq(basis.mT, star[:, None]).solution.flatten() @ basis - star).abs().max() < 1e-14
    x = torch.randn(1, 5, 5, dtype=torch.float64)
    data = PDEData({"q": of(x, "kg")}, {"q": of(x, "kg s^-1")}, of(0.5, "m"), {})
    expected = GeometricImage(x, 2).conv(laplacian_filter(2)).data / 0.25
    torch.testing.assert_close(data.term("lap(q)").x, expected)
    assert data.term("lap(q)").u == (1, -2, 0) and data.term("slope2(q)").u == (2, -2, 0)
    assert not data.term("lap(2)").x.any() and not data.term("slope2(2)").x.any()


def test_a_collinear_library_is_refused(data):
    flat = data.dimensionless(SCALES)
    with pytest.raises(DegenerateInputError, match=r"collinear library: of the terms u / \(1 \+ v\), u \* v / \(1 \+ v\), u one"):
        discover(flat, [*LIBRARY, "u"])
    with pytest.raises(DegenerateInputError, match=r"collinear library: lap\(1\) is zero everywhere"):
        discover(flat, [*LIBRARY, "lap(1)"])


def test_thresholds_are_shares_of_the_rate(rng):
    matrix = torch.randn(50, 3, generator=rng, dtype=torch.float64) * torch.tensor([1.0, 1e3, 1e-3])
    y = matrix @ torch.tensor([1.0, 0.0, 1e-5]).double()
    assert thresholded_least_squares(matrix, y).tolist()[1:] == [0.0, 0.0]
    torch.testing.assert_close(thresholded_least_squares(matrix, y, 0.0), torch.tensor([1.0, 0.0, 1e-5]).double())
    assert not thresholded_least_squares(matrix, y, 2.0).any()
    with pytest.raises(ConvergenceError, match="terms still fell out after 1 passes; 1 are left"):
        thresholded_least_squares(matrix, y, max_passes=1)
    with pytest.raises(ShapeError, match=r"got \(50, 3\) and \(3,\)"):
        thresholded_least_squares(matrix, y[:3])


def test_bad_data_are_refused(data):
    q, rate, one = of(torch.ones(2, 3, 3), "kg"), of(torch.ones(2, 3, 3), "kg s^-1"), of(1.0, "m")
    with pytest.raises(ConfigError, match="of the same names"):
        PDEData({"q": q}, {"p": rate}, one, {})
    with pytest.raises(ConfigError, match="a field and a parameter are called q"):
        PDEData({"q": q}, {"q": rate}, one, {"q": one})
    with pytest.raises(ShapeError, match="of one shape"):
        PDEData({"q": q}, {"q": of(torch.ones(2, 3, 4), "kg s^-1")}, one, {})
    with pytest.raises(ShapeError, match=r"expected k as a number or \(2,\), got \(3,\)"):
        PDEData({"q": q}, {"q": rate}, one, {"k": of(torch.ones(3), "1")})
    with pytest.raises(ShapeError, match="one spacing for all samples"):
        PDEData({"q": q}, {"q": rate}, of(torch.ones(2), "m"), {})
    with pytest.raises(UnitsError, match="per the same unit of time"):
        PDEData({"q": q, "p": q}, {"q": rate, "p": of(torch.ones(2, 3, 3), "kg s^-2")}, one, {})
    with pytest.raises(ConfigError, match="no term of the library has the units of dq/dt"):
        discover(PDEData({"q": q}, {"q": rate}, one, {}), ["q", "lap(q)"])
    assert admitted_terms(PDEData({"q": q}, {"q": rate}, one, {}), ["q"], rate.u, []) == {}
    with pytest.raises(ConfigError, match=r"expected scales of \['length'\], too"):
        data.dimensionless({name: text for name, text in SCALES.items() if name != "length"})
    with pytest.raises(UnitsError, match="the scale of v has not its units"):
        data.dimensionless({**SCALES, "v": "k1"})


def small(u, rate=None, k=2.0, dtype=torch.float64):
    fields = {"u": SI(u.to(dtype), "kg")}
    rates = {"u": SI((-0.5 * u if rate is None else rate).to(dtype), "kg/s")}
    return PDEData(fields, rates, SI(0.5, "m"), {"k": SI(k, "s^-1"), "D": SI(3.0, "m^2/s")})


def test_one_axis_of_space(rng):
    """Diffusion and a slope on a ring, with the filters (1, -2, 1) and (-1, 0, 1) / 2."""
    u = torch.randn(6, 40, dtype=torch.float64, generator=rng)
    lap = (u.roll(1, 1) + u.roll(-1, 1) - 2 * u) / 0.5**2
    found = discover(small(u, 0.3 * 3.0 * lap - 0.5 * u), ["k * u", "D * lap(u)"])["u"]
    assert found.support == pytest.approx({"k * u": -0.25, "D * lap(u)": 0.3})
    slope = ((u.roll(-1, 1) - u.roll(1, 1)) / (2 * 0.5)) ** 2
    torch.testing.assert_close(small(u).term("slope2(u)").x, slope)
    torch.testing.assert_close(small(u).term("lap(u)").x, lap)
    plane = u[:, :, None].expand(6, 40, 5).clone()  # the same in a second direction
    torch.testing.assert_close(small(plane).term("lap(u)").x[:, :, 0], lap)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_of_any_precision_meet(dtype, rng):
    u = torch.randn(5, 8, 8, dtype=torch.float64, generator=rng)
    k = torch.full((5,), 2.0, dtype=torch.float64)
    found = discover(small(u, k=k, dtype=dtype), ["k * u"])["u"]
    assert found.support["k * u"] == pytest.approx(-0.25, rel=1e-2)


def test_a_field_at_rest_has_no_terms(rng):
    u = torch.randn(5, 8, 8, dtype=torch.float64, generator=rng)
    found = discover(small(u, 0 * u), ["k * u"])["u"]
    assert (str(found), found.residual) == ("du/dt = 0", 0.0)


def test_data_that_is_none_is_refused(rng):
    u = torch.randn(5, 8, 8, dtype=torch.float64, generator=rng)
    holed = u.clone()
    holed[0, 1, 2] = torch.nan
    with pytest.raises(DegenerateInputError, match="NaN or infinity in the field u"):
        small(holed)
    with pytest.raises(DegenerateInputError, match="in the rate of u"):
        small(u, holed)
    with pytest.raises(DegenerateInputError, match="in the parameter k"):
        small(u, k=float("inf"))
    with pytest.raises(ShapeError, match="none of them 0"):
        small(u[:0])
    with pytest.raises(ConfigError, match="expected scales among k, D, got kk"):
        discover(small(u), ["u"], scales=["kk"])
    with pytest.raises(ConfigError, match="got none for u"):
        discover(small(u), {"w": ["k * u"]})
