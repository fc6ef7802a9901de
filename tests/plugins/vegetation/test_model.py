"""The model: uniform states and their stability by the numbers, units of every term, symmetry of its right-hand side."""

import pytest
import torch

from gnet.errors import ConfigError, DegenerateInputError, ShapeError
from gnet.plugins.geometric_images import ImageGroup
from gnet.plugins.vegetation import PHYSICAL, UNITS, Rietkerk, in_other_units, planted

MODEL = Rietkerk()


def test_bare_state():
    bare = MODEL.bare()
    assert bare[0].tolist() == pytest.approx([18.75, 1.875, 0.0], rel=1e-14)
    assert float(MODEL.growth_rates(bare)[0, 0].real) == pytest.approx(0.0227273, abs=5e-8)
    assert MODEL.rates(bare[..., None, None].expand(1, 3, 4, 4)).abs().max() < 1e-14


def test_vegetated_state():
    state = MODEL.vegetated()
    assert state[0].tolist() == pytest.approx([4.0760870, 5 / 3, 10 / 3], abs=5e-8)
    assert MODEL.rates(state[..., None, None].expand(1, 3, 4, 4)).abs().max() < 1e-14


def test_uniform_vegetation_is_stable_and_waves_on_it_grow():
    state = MODEL.vegetated()
    flat = MODEL.growth_rates(state)[0]
    assert flat.real.tolist() == pytest.approx([-0.00596, -0.00596, -0.29884], abs=5e-6)
    assert flat.imag.abs().tolist() == pytest.approx([0.03752, 0.03752, 0.0], abs=5e-6)
    for length, rate in ((200.0, 0.02738), (50.0, 0.05037), (10.0, 0.01558), (5.0, -0.10275)):
        assert float(MODEL.growth_rates(state, length)[0, 0].real) == pytest.approx(rate, abs=5e-6)
    fastest = MODEL.fastest_wavelength()
    assert float(fastest) == pytest.approx(42.10, abs=5e-3)
    assert float(MODEL.growth_rates(state, fastest)[0, 0].real) == pytest.approx(0.05062, abs=5e-6)


def test_without_differences_in_diffusion_no_wave_grows():
    even = Rietkerk(Du=0.1)
    state = even.vegetated()
    assert all(float(even.growth_rates(state, length)[0, 0].real) < 0 for length in (200.0, 50.0, 10.0, 5.0))


def test_response_is_the_derivative(rng):
    model = Rietkerk.of(
        MODEL.inputs * (0.99 + 0.02 * torch.rand(2, 16, generator=rng)) * (torch.arange(16) < 12)
        + MODEL.inputs * (torch.arange(16) >= 12)
    )
    state, step = model.vegetated(), 1e-6
    for axis in range(3):
        along = step * torch.eye(3, dtype=torch.float64)[axis]
        numeric = (model.reaction(state + along) - model.reaction(state - along)) / (2 * step)
        torch.testing.assert_close(model.jacobian(state)[..., axis], numeric, rtol=1e-6, atol=1e-8)


def test_rates_in_other_units_are_the_rates(rng):
    units = {"l": 7.0, "d": 2.0, "m": 0.5, "g": 3.0}
    state = torch.rand(1, 3, 5, 5, generator=rng, dtype=torch.float64)
    field = torch.tensor([28.0, 28.0, 12.0], dtype=torch.float64)[:, None, None]
    other = Rietkerk.of(in_other_units(Rietkerk(L=10.0).inputs, units))
    torch.testing.assert_close(other.rates(field * state), field / 2 * Rietkerk(L=10.0).rates(state), rtol=1e-13, atol=1e-13)
    wrong = {**units, "m": 0.6}  # a field that is not changed alike
    assert (
        Rietkerk.of(in_other_units(Rietkerk(L=10.0).inputs, wrong)).rates(field * state)
        / (field / 2 * Rietkerk(L=10.0).rates(state))
        - 1
    ).abs().max() > 1e-2


def test_rates_have_the_symmetry_of_the_grid(rng):
    model, group = Rietkerk(L=10.0), ImageGroup(5)
    state = torch.rand(1, 3, 25, generator=rng, dtype=torch.float64)
    for g in group.sample(6, rng):
        moved = group.act(g, state[..., None])[..., 0]
        expected = group.act(g, model.rates(state.unflatten(-1, (5, 5))).flatten(2)[..., None])[..., 0]
        torch.testing.assert_close(model.rates(moved.unflatten(-1, (5, 5))).flatten(2), expected, rtol=1e-12, atol=1e-12)


def test_a_batch_is_its_members(rng):
    model = Rietkerk(R=torch.tensor([0.3, 0.4, 0.5]), L=12.0)
    state = torch.rand(3, 3, 6, 6, generator=rng, dtype=torch.float64)
    alone = [Rietkerk(R=rain, L=12.0).rates(state[i : i + 1]) for i, rain in enumerate((0.3, 0.4, 0.5))]
    torch.testing.assert_close(model.rates(state), torch.cat(alone), rtol=1e-6, atol=1e-6)  # 0.3 in float32
    assert len(model) == 3 and model.inputs.shape == (3, 16) and tuple(UNITS)[:12] == PHYSICAL


def test_the_first_state():
    cells = planted(4, 2, torch.Generator().manual_seed(0), share=0.5)
    model = Rietkerk(L=8.0, k2=torch.tensor([5.0, 3.0]))
    state = model.start(cells)
    water = torch.tensor([18.75, 1.875], dtype=torch.float64)[:, None, None].expand(2, 2, 4, 4)
    torch.testing.assert_close(state[:, :2], water, rtol=1e-14, atol=0.0)
    torch.testing.assert_close(state[1, 2], 6.0 * cells[1].double())
    with pytest.raises(ShapeError, match=r"expected planted cells \(4, 4\) or \(2, 4, 4\), got \(3, 4\)"):
        model.start(cells[0, :3])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"R": -1.0}, ConfigError, "expected R > 0, got -1"),
        ({"k1": float("nan")}, ConfigError, "expected k1 > 0"),
        ({"L": 201.0}, ConfigError, r"expected L / dl and T / dt as whole numbers, the same .* got \[100\.5\]"),
        ({"dt": torch.tensor([0.005, 0.0025])}, ConfigError, "the same for every set"),
        ({"L": 4.0}, ConfigError, "at least 3 cells"),
        ({"R": torch.ones(2), "c": torch.ones(3)}, ShapeError, "inputs of one length"),
        ({"R": torch.ones(2, 2)}, ShapeError, r"a number or a tensor \(B,\)"),
    ],
)
def test_bad_inputs_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        Rietkerk(**given)


def test_states_that_do_not_exist_are_refused():
    with pytest.raises(DegenerateInputError, match="no uniform state with vegetation"):
        Rietkerk(R=0.1).vegetated()
    with pytest.raises(DegenerateInputError, match="no bare state with W0 = 0"):
        Rietkerk(W0=0.0).bare()
    with pytest.raises(ShapeError, match=r"expected inputs \(B, 16\), got \(2, 15\)"):
        Rietkerk.of(torch.ones(2, 15))
    with pytest.raises(ShapeError, match=r"expected states"):
        MODEL.rates(torch.ones(2, 4, 5, 5))


def test_inputs_are_copies():
    model = Rietkerk()
    model.inputs.zero_()
    model["R"].zero_()
    assert float(model.inputs[0, 0]) == float(model["R"]) == 0.375


def test_no_set_of_parameters_is_refused():
    with pytest.raises(ShapeError, match="at least one set"):
        Rietkerk.of(torch.empty(0, 16))
