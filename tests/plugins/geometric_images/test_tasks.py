"""Data made on demand: numbers by hand, symmetry, and a flow that keeps what a flow keeps."""

import math

import pytest
import torch

from gnet import equivariance_error
from gnet.errors import ConfigError, NonFiniteError, ShapeError
from gnet.plugins.geometric_images import ImageGroup, Signature
from gnet.plugins.geometric_images.fluid import NavierStokes, taylor_green
from gnet.plugins.geometric_images.tasks import charge_field, compressed, gravity, inverse_square, moving_charges, pushed, task

START = torch.tensor([[5.5, 6.25], [9.75, 8.5], [7.1, 10.3]], dtype=torch.float64)
VECTOR = Signature(2, {(1, 1): 1})


def test_charges_by_hand():
    early = [[5.44240559, 6.18072011], [9.86882362, 8.46548189], [7.03877079, 10.403798]]
    late = [[5.02470502, 5.66803557], [10.64899467, 8.26627382], [6.6763003, 11.1156906]]
    torch.testing.assert_close(pushed(START), torch.tensor(early, dtype=torch.float64), rtol=0, atol=1e-8)
    torch.testing.assert_close(pushed(START, 11), torch.tensor(late, dtype=torch.float64), rtol=0, atol=1e-7)
    torch.testing.assert_close(pushed(pushed(START), 10), pushed(START, 11))
    field = charge_field(pushed(START)[None])[0, :, 0, 0]
    torch.testing.assert_close(field, torch.tensor([-0.08879247, -0.10068108], dtype=torch.float64), rtol=0, atol=1e-8)
    assert float(charge_field(START[None]).norm(dim=1).max()) < 2
    small = torch.tensor([1e-12, 0.0], dtype=torch.float64)
    torch.testing.assert_close(compressed(small) / small[0], torch.tensor([5.0, 0.0], dtype=torch.float64))


def test_gravity_by_hand(rng):
    sources = torch.tensor([[3.0, 4.0], [10.0, 12.0]], dtype=torch.float64)
    masses = torch.tensor([1.0, 0.5], dtype=torch.float64)
    here = inverse_square(torch.tensor([5.0, 5.0], dtype=torch.float64), sources, masses)
    torch.testing.assert_close(here, torch.tensor([-0.17495815, -0.08394452], dtype=torch.float64), rtol=0, atol=1e-8)
    x, y = gravity(3, 8, rng)
    pixels = x[1, 0].nonzero()
    assert len(pixels) == 5 and float(x[1].max()) == 1
    for place in ((0, 0), tuple(pixels[0].tolist())):  # elsewhere, and at a mass
        expected = torch.zeros(2, dtype=torch.float64)
        for pixel in pixels:
            away = (pixel - torch.tensor(place)).double()
            if float(away.norm()):
                expected += float(x[1, 0][tuple(pixel)]) * away / away.norm() ** 3
        torch.testing.assert_close(y[1, :, place[0], place[1]].double(), expected, rtol=1e-5, atol=1e-6)


def test_the_targets_turn_with_the_inputs(rng):
    group = ImageGroup(8, torus=False)

    def field(x):
        places = torch.cartesian_prod(torch.arange(8), torch.arange(8)).double()
        found = inverse_square(places.reshape(8, 8, 2), places, x.flatten(1)[:, None, None])
        return found.movedim(-1, 1)

    x, y = gravity(4, 8, rng)
    torch.testing.assert_close(field(x.double()).float(), y, rtol=1e-4, atol=1e-5)
    given = Signature(2, {(0, 1): 1})
    error = equivariance_error(field, x.double(), group, given.action(group), VECTOR.action(group), generator=rng)
    assert error.relative < 1e-10
    wrong = Signature(2, {(1, -1): 1})
    assert equivariance_error(field, x.double(), group, given.action(group), wrong.action(group), generator=rng).relative > 0.1
    for g in group.generators:  # charges are places, not pixels
        turned = (START - 3.5) @ group.linear(g).mT + 3.5
        one, other = charge_field(pushed(turned, 3)[None], 8), charge_field(pushed(START, 3)[None], 8)
        torch.testing.assert_close(one, VECTOR.action(group)(g, other))


def test_draws_are_replayed():
    for name in ("gravity", "charges"):
        one, other = (task(name).draw(3, 16, torch.Generator().manual_seed(5)) for _ in range(2))
        assert all(map(torch.equal, one, other))
        assert one[0].shape[1] == task(name).sig_in.size and one[1].shape[1] == task(name).sig_out.size
    early, late = moving_charges(2, 16, torch.Generator().manual_seed(0))
    assert not torch.equal(early, late)
    with pytest.raises(ConfigError, match="gravity, charges, got 'light'"):
        task("light")


def test_data_follow_the_dtype_and_the_device_of_the_input():
    for dtype in (torch.float32, torch.float64):
        charges = START.to(dtype)
        assert pushed(charges).dtype == charge_field(charges[None], 4).dtype == dtype
    far = START.to("meta")  # a device of which no number can be mixed with those of another
    assert pushed(far, 2).device.type == charge_field(far[None], 4).device.type == "meta"
    solver, u = NavierStokes(8), torch.zeros(2, 2, 8, 8, device="meta")
    w = solver.vorticity(u)
    for each in (w, solver.velocity(w, u.mean((2, 3)).double()), solver.advection(w), solver.enstrophy(u), solver.energy(u)):
        assert each.device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_paths_of_charges_have_gradients(dtype):
    start = START.to(dtype).requires_grad_()
    pushed(start, 3).square().sum().backward()
    assert bool(start.grad.isfinite().all())
    on_pixel = torch.tensor([[[1.0, 2.0]]], dtype=dtype, requires_grad=True)  # a pixel's own charge adds nothing there
    charge_field(on_pixel, 4).square().sum().backward()
    assert bool(on_pixel.grad.isfinite().all())
    with torch.no_grad():
        assert float(charge_field(on_pixel, 4)[0, :, 1, 2].abs().max()) == 0


def test_numbers_of_images_and_pixels_are_checked():
    for draw in (lambda: gravity(2, 2), lambda: gravity(0), lambda: moving_charges(0), lambda: moving_charges(1, 0)):
        with pytest.raises(ShapeError, match="num >= 1"):
            draw()


# --- the flow ---


def test_a_vortex_decays_exactly():
    for waves, viscosity, time in ((1, 0.1, 1.0), (2, 0.02, 0.7)):
        solver, u = NavierStokes(16, viscosity, 0.05), taylor_green(16, waves)
        expected = math.exp(-2 * viscosity * waves**2 * time) * u
        torch.testing.assert_close(solver.advance(u, time), expected, rtol=0, atol=1e-12)


def test_flows_stay_without_divergence(rng):
    solver = NavierStokes(16, 1e-3, 0.02)
    u = solver.advance(solver.random(3, rng), 0.5)
    modes = torch.fft.fft2(u)
    k = torch.fft.fftfreq(16, 1 / 16, dtype=torch.float64)
    assert float((k[:, None] * modes[:, 0] + k[None] * modes[:, 1]).abs().max() / modes.abs().max()) < 1e-12
    gradient = torch.randn(1, 16, 16, dtype=torch.float64, generator=rng)  # the liar: a field that is a gradient has some
    modes = torch.fft.fft2(gradient)
    assert float((k[:, None] * k[:, None] * modes + k * k * modes).abs().max()) > 1


def test_energy_is_lost_to_viscosity_alone(rng):
    still = NavierStokes(16, 0.0, 0.01)
    u = still.random(2, rng)
    w = still.vorticity(u)
    pushed_by = still.advection(w)
    stream = w / still.squares.clamp(min=1)
    weight = torch.full((9,), 2.0, dtype=torch.float64)  # modes that rfft leaves out
    weight[[0, 8]] = 1
    for other in (stream, w):  # d/dt of energy and of enstrophy
        rate = float((weight * (other.conj() * pushed_by).real).sum())
        assert abs(rate) < 1e-12 * float((weight * (other.conj() * pushed_by).abs()).sum())
    thick = NavierStokes(16, 0.05, 0.01)
    steps = [u]
    for _ in range(20):
        steps.append(thick.advance(steps[-1], 0.01))
    losses = torch.stack([2 * thick.viscosity * thick.enstrophy(each) for each in steps])
    simpson = 0.01 / 3 * (losses[0] + 4 * losses[1::2].sum(0) + 2 * losses[2:-1:2].sum(0) + losses[-1])
    torch.testing.assert_close(thick.energy(u) - thick.energy(steps[-1]), simpson, rtol=1e-6, atol=0)


def test_the_steps_are_of_fourth_order(rng):
    u = NavierStokes(16).random(1, rng, wave=2.0)
    exact = NavierStokes(16, 0.01, 0.0025).advance(u, 0.8)
    errors = [float((NavierStokes(16, 0.01, dt).advance(u, 0.8) - exact).norm()) for dt in (0.08, 0.04)]
    assert 11 < errors[0] / errors[1] < 22


def test_the_flow_commutes_with_the_group_and_is_carried_by_its_mean(rng):
    solver, group = NavierStokes(12, 1e-3, 0.05), ImageGroup(12)
    u = solver.random(2, rng)
    act = VECTOR.action(group)
    error = equivariance_error(lambda u: solver.advance(u, 0.2), u, group, act, act, num_samples=4, generator=rng)
    assert error.relative < 1e-10
    pseudo = Signature(2, {(1, -1): 1}).action(group)
    assert equivariance_error(lambda u: solver.advance(u, 0.2), u, group, act, pseudo, generator=rng).relative > 0.1
    mean = torch.tensor([2 * (2 * math.pi / 12) / 0.2, 0.0], dtype=torch.float64)[:, None, None]  # two pixels in that time
    fine = NavierStokes(12, 1e-3, 0.005)
    carried = fine.advance(u + mean, 0.2) - mean
    torch.testing.assert_close(carried, fine.advance(u, 0.2).roll(2, 2), rtol=0, atol=1e-5)


def test_pairs_are_replayed_and_bad_flows_refused():
    solver = NavierStokes(12)
    one, other = (solver.pairs(2, 0.1, torch.Generator().manual_seed(1), warm_up=0.1) for _ in range(2))
    assert all(map(torch.equal, one, other)) and one[0].dtype == torch.float32
    with pytest.raises(ShapeError, match=r"velocities \(B, 2, 12, 12\)"):
        solver.advance(torch.zeros(1, 2, 8, 8), 1.0)
    with pytest.raises(NonFiniteError, match="smaller dt"):
        NavierStokes(12, 0.0, 1.0).advance(1e3 * solver.random(1), 50.0)
    for time in (-1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="time >= 0"):
            solver.advance(solver.random(1), time)
    for wave in (0.0, 0.01, math.nan):
        with pytest.raises(ConfigError, match="wave >= 1/2"):
            solver.random(1, wave=wave)
    assert bool(solver.random(1, wave=0.5).isfinite().all())
    for viscosity, dt in ((-1.0, 0.1), (math.nan, 0.1), (math.inf, 0.1), (0.1, 0.0), (0.1, math.nan), (0.1, math.inf)):
        with pytest.raises(ConfigError, match="a finite viscosity >= 0 and dt > 0"):
            NavierStokes(12, viscosity, dt)
    for side in (3, 16.5):
        with pytest.raises(ConfigError, match="side to be a whole number >= 4"):
            NavierStokes(side)
    with pytest.raises(ConfigError, match="num to be a whole number >= 1, got 0"):
        solver.random(0)
    with pytest.raises(ShapeError, match=r"a floating dtype, got torch.int64; convert them with u\.double"):
        solver.advance(torch.ones(1, 2, 12, 12, dtype=torch.int64), 1.0)
    assert NavierStokes(15).advance(torch.zeros(1, 2, 15, 15), 0.1).dtype == torch.float32
