"""Euler steps: the right-hand side, each set on its own, in any units, with the symmetry of the grid; known means."""

import numpy as np
import pytest
import torch

from gnet.errors import ConfigError, ConvergenceError, DegenerateInputError, ShapeError
from gnet.plugins.geometric_images import ImageGroup
from gnet.plugins.vegetation import Rietkerk, draw_inputs, in_other_units, planted, solve, solver

MEANS = torch.tensor([[8.41, 3.17, 9.23, 8.62], [8.44, 3.12, 9.37, 8.74], [8.42, 3.03, 9.34, 8.57]])
"""Mean vegetation after 50, 100, 150 and 200 days, first cells by numpy's generator of seeds 0, 1 and 2."""


def drawn(num, side, rng, duration=1.0):
    model = Rietkerk.of(draw_inputs(num, rng, side=side, duration=duration))
    return model, model.start(planted(model.num_cells, num, rng))


def numpy_cells(seed):
    return torch.from_numpy(np.random.default_rng(seed).random((100, 100)) < 0.1)


def test_steps_follow_the_right_hand_side(rng):
    model, start = drawn(3, 14.0, rng)
    expected = start
    for _ in range(40):
        expected = expected + model["dt"][:, None, None, None] * model.rates(expected)
    torch.testing.assert_close(solve(model, start, [40])[0], expected, rtol=1e-12, atol=1e-12)
    assert (solve(model, start, [39])[0] - expected).abs().max() > 1e-3


def test_chunks_and_kept_states_change_nothing(rng, monkeypatch):
    model, start = drawn(5, 10.0, rng)
    whole = solve(model, start, [0, 7, 200, 321])
    assert torch.equal(whole[0], start)
    monkeypatch.setattr(solver, "CELLS", 2 * 25)
    assert torch.equal(solve(model, start, [0, 7, 200, 321]), whole)
    assert torch.equal(solve(model, start, [321])[0], whole[-1])
    default = Rietkerk(L=10.0, T=1.0)
    assert torch.equal(solve(default, start[:1])[0], solve(default, start[:1], [200])[0])


def test_one_start_serves_all(rng):
    model = Rietkerk(R=torch.tensor([0.3, 0.5]), L=10.0)
    start = Rietkerk(L=10.0).start(planted(5, 1, rng))
    torch.testing.assert_close(solve(model, start, [50])[0, 1], solve(Rietkerk(R=0.5, L=10.0), start, [50])[0, 0])


def test_moved_cells_give_the_moved_pattern(rng):
    model, start = drawn(1, 12.0, rng)
    group = ImageGroup(6)

    def moved(g, state):
        return group.act(g, state.flatten(-2)[..., None])[..., 0].unflatten(-1, (6, 6))

    end = solve(model, start, [100])[0]
    for g in group.sample(4, rng):
        torch.testing.assert_close(solve(model, moved(g, start), [100])[0], moved(g, end), rtol=1e-11, atol=1e-11)
    other = start.clone()
    other[0, 2, 0, 0] += 1.0
    assert (solve(model, other, [100])[0] - end).abs().max() > 1e-3


def test_other_units_change_nothing_but_units(rng):
    model = Rietkerk(L=64.0, T=20.0)
    start = planted(32, 1, rng)
    other = Rietkerk.of(in_other_units(model.inputs, {"l": 7.0, "d": 2.0, "m": 0.5, "g": 3.0}))
    mine, theirs = (float(solve(each, each.start(start))[0, 0, 2].mean()) for each in (model, other))
    assert abs(theirs / mine / 12 - 1) < 1e-14
    assert float(other.start(start)[0, 2].max()) == 120.0


@pytest.mark.slow
def test_mean_vegetation_over_time():
    model = Rietkerk(R=torch.full((3,), 0.375))
    start = model.start(torch.stack([numpy_cells(seed) for seed in range(3)]))
    means = solve(model, start, [10_000, 20_000, 30_000, 40_000])[:, :, 2].mean((2, 3))
    torch.testing.assert_close(means.T, MEANS.double(), rtol=0.0, atol=0.01)
    finer = Rietkerk(dt=0.0025)
    halved = solve(finer, start[:1])[0, 0, 2].mean()
    assert abs(float(halved - means[-1, 0])) < 1e-3
    assert (means[:, 0] - means[:, 1]).abs().max() > 0.02  # the numbers tell draws apart


@pytest.mark.slow
def test_mean_vegetation_from_our_own_draws(rng):
    model = Rietkerk()
    found = solve(model, model.start(planted(100, 1, rng)), [10_000, 20_000, 30_000, 40_000])[:, 0, 2].mean((1, 2))
    bounds = ((8.4, 0.4), (3.05, 0.3), (9.3, 0.4), (8.8, 0.5))
    assert all(abs(each - middle) < width for each, (middle, width) in zip(found.tolist(), bounds, strict=True))


def test_long_steps_are_refused_with_the_bound():
    model = Rietkerk(dt=0.02, L=20.0)
    with pytest.raises(ConvergenceError, match=r"expected dt <= dl\^2 / \(4 max D\) = 0\.01, got dt = 0\.02"):
        solve(model, model.start(planted(10)))
    edge = Rietkerk(dt=0.01, L=20.0, T=1.0)
    assert bool(solve(edge, edge.start(planted(10))).isfinite().all())


def test_what_does_not_stay_finite_is_an_error():
    model = Rietkerk(L=10.0, Du=1e-3, Dw=1e-3, Dv=1e-3, dv=2000.0, T=20.0)  # reactions too fast for the step
    with pytest.raises(ConvergenceError, match=r"did not stay finite within \d+ steps"):
        solve(model, model.start(planted(5, 1, torch.Generator().manual_seed(0), share=0.5)))


def test_bad_calls_are_refused():
    model = Rietkerk(L=10.0)
    start = model.start(planted(5))
    with pytest.raises(ConfigError, match=r"steps that ascend from 0 or more, got \[5, 5\]"):
        solve(model, start, [5, 5])
    with pytest.raises(ShapeError, match=r"expected a start \(1, 3, 5, 5\)"):
        solve(model, start[:, :2])


def test_a_start_that_is_not_finite_is_refused():
    model = Rietkerk(L=8.0)
    start = model.start(planted(4))
    start[0, 1, 2, 3] = torch.nan
    with pytest.raises(DegenerateInputError, match="finite start"):
        solve(model, start, [0])
