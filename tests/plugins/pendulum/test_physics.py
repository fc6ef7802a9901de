"""The pendulum by hand and against another integrator: energies, forces, paths, what is kept, and what is refused."""

import builtins
import math
import warnings

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from gnet.errors import ConfigError, ConvergenceError, DegenerateInputError, MissingExtraError, ShapeError
from gnet.plugins.pendulum import Pendulum, angular_momentum, integrate
from gnet.plugins.pendulum.solvers import midpoint_step

Z = torch.tensor([0.1, -0.2, -1.5, -0.15, 0.1, -3, 0.4, 0, -0.1, -0.2, 0.3, 0.1], dtype=torch.float64)
TIMES = 0.2 * torch.arange(150, dtype=torch.float64)
AT_END = [0.39560753, -0.10770826, -2.32355571, -0.20814355, 0.52582025, -2.87228084]
AT_END += [-0.19130737, 0.28190371, -0.55074128, 0.23377017, -0.41799636, -0.27292267]


def by_numpy(t: float, z: np.ndarray) -> np.ndarray:
    """The slow twin, all constants 1 and kappa = 1."""
    q1, q2, p1, p2 = z.reshape(4, 3)
    g, y = np.array([0.0, 0.0, -1.0]), q2 - q1
    pull = 2 * (1 - 1 / np.sqrt(y @ y)) * y
    return np.concatenate([p1, p2, -(1 - 1 / np.sqrt(q1 @ q1)) * q1 + pull + g, -pull + g])


def reference(method: str, times: torch.Tensor, tol: float = 1e-12) -> torch.Tensor:
    found = solve_ivp(by_numpy, (0.0, float(times[-1])), Z.numpy(), method, times.numpy(), rtol=tol, atol=tol)
    return torch.from_numpy(found.y.T.copy())


def drift(path: torch.Tensor) -> float:
    return float((Pendulum().energy(path) - Pendulum().energy(Z)).abs().max())


def test_energy_force_and_angular_momentum_by_hand():
    assert float(Pendulum().energy(Z)) == pytest.approx(-3.90907508881, abs=1e-11)
    assert float(Pendulum(kappa=0.5).energy(Z)) == pytest.approx(-4.06032508881, abs=1e-11)
    force = [-0.21148131, 0.28102713, -1.55358684, 0.17741935, -0.21290323, 0.06451613]
    assert Pendulum()(Z)[6:].tolist() == pytest.approx(force, abs=1e-8)
    assert float(angular_momentum(Z)) == pytest.approx(-0.055, abs=1e-12)


@pytest.mark.parametrize("kappa", [1.0, 0.5])
def test_the_field_is_the_gradient_of_the_energy(kappa, rng):
    pendulum = Pendulum(kappa, m1=0.7, m2=1.3, k1=2.0, k2=0.6, l1=0.8, l2=1.1)
    z = (Z + 0.3 * torch.randn(5, 12, dtype=torch.float64, generator=rng)).requires_grad_()
    (found,) = torch.autograd.grad(pendulum.energy(z).sum(), z)
    z, expected = z.detach(), torch.cat([found[:, 6:], -found[:, :6]], 1)
    torch.testing.assert_close(pendulum(z), expected)
    wrong = Pendulum(1.5 - kappa)(z)  # the liar: the other reading of the second spring
    assert float((wrong - expected).abs().max()) > 0.1


def test_it_rests_where_it_should():
    for kappa, second in ((1.0, -4.5), (0.5, -5.0)):
        rest = Pendulum(kappa).equilibrium()
        assert rest[[2, 5]].tolist() == [-3.0, second]
        torch.testing.assert_close(Pendulum(kappa)(rest), torch.zeros(12, dtype=torch.float64))


def test_paths_at_three_times():
    """States worked out before; by RK4 with steps of 0.02, and by two solvers of another library."""
    path = integrate(Pendulum(), Z, TIMES, substeps=10)
    for found, tol in ((path, 3e-7), (reference("DOP853", TIMES), 2e-8)):
        assert found[1, :3].tolist() == pytest.approx([0.17506834, -0.19414343, -1.55037232], abs=tol)
        assert found[25, :3].tolist() == pytest.approx([-0.24561832, 0.24039974, -4.41966303], abs=tol)
        assert found[-1].tolist() == pytest.approx(AT_END, abs=tol)


def test_adaptive_solvers_keep_the_energy():
    dormand_prince, higher = reference("RK45", TIMES), reference("DOP853", TIMES)
    assert drift(dormand_prince) < 1e-10
    assert drift(higher) < 1e-10
    assert float((angular_momentum(dormand_prince) + 0.055).abs().max()) < 1e-11
    ours = integrate(Pendulum(), Z, TIMES, "dopri5", rtol=3e-13, atol=3e-13)
    assert drift(ours) < 1e-10  # 3.2e-11; at a tolerance of 1e-12 it is 1.05e-10
    assert float((angular_momentum(ours) + 0.055).abs().max()) < 1e-11
    torch.testing.assert_close(ours, higher, rtol=0, atol=1e-8)
    assert drift(integrate(Pendulum(), Z, TIMES[:11], "dopri5")) > 1e-8  # the liar: the published tolerance


@pytest.mark.parametrize(
    ("h", "kick_first", "drift_first"), [(0.1, 4.3e-3, 3.7e-3), (0.05, 1.1e-3, 9.3e-4), (0.02, 1.7e-4, 1.5e-4)]
)
def test_leapfrog_is_of_second_order(h, kick_first, drift_first):
    times = h * torch.arange(round(30 / h) + 1, dtype=torch.float64)
    for method, expected in (("leapfrog", kick_first), ("leapfrog_dkd", drift_first)):
        path = integrate(Pendulum(), Z, times, method, substeps=1)
        assert drift(path) == pytest.approx(expected, rel=0.03)
        assert float((angular_momentum(path) + 0.055).abs().max()) < 1e-14


def test_the_midpoint_rule_is_symplectic():
    """Its derivative M has M^T J M = J, at second order; that of RK4 does not."""
    unit = torch.eye(6, dtype=torch.float64)
    J = torch.cat([torch.cat([0 * unit, unit], 1), torch.cat([-unit, 0 * unit], 1)])

    def broken(method: str) -> float:
        step = lambda z: integrate(Pendulum(), z, torch.tensor([0.0, 0.3]), method, substeps=1)[-1]  # noqa: E731
        M = torch.autograd.functional.jacobian(step, Z)
        return float((M.mT @ J @ M - J).abs().max())

    assert broken("midpoint") < 1e-10
    assert broken("leapfrog") < 1e-10
    assert broken("rk4") > 1e-6
    few = TIMES[:26]
    true = reference("DOP853", few)
    coarse, fine = ((integrate(Pendulum(), Z, few, "midpoint", substeps=each) - true).abs().max() for each in (2, 4))
    assert 3.5 < float(coarse / fine) < 4.5


def test_batches_and_single_states_give_the_same_path(rng):
    z = Z + 0.1 * torch.randn(2, 3, 12, dtype=torch.float64, generator=rng)
    whole = integrate(Pendulum(), z, TIMES[:4])
    assert whole.shape == (2, 3, 4, 12)
    torch.testing.assert_close(whole[1, 2], integrate(Pendulum(), z[1, 2], TIMES[:4]))
    together = integrate(Pendulum(), z, TIMES[:4], "dopri5", rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(together, integrate(Pendulum(), z, TIMES[:4], substeps=40), rtol=1e-7, atol=1e-7)


def test_gradients_flow_through_every_solver():
    z = Z[None].clone().requires_grad_()
    for method in ("rk4", "leapfrog", "midpoint"):
        assert torch.autograd.gradcheck(
            lambda z, m=method: integrate(Pendulum(), z, TIMES[:2], m, substeps=1)[:, -1].sum(), z, atol=1e-6
        )


@pytest.mark.parametrize("method", ["rk4", "midpoint", "leapfrog", "leapfrog_dkd", "dopri5"])
def test_no_states_have_no_paths(method):
    assert integrate(Pendulum(), torch.zeros(0, 12), TIMES, method).shape == (0, 150, 12)
    assert integrate(Pendulum(), torch.zeros(3, 0, 12), TIMES[:4], method, check=False).shape == (3, 0, 4, 12)


# --- what is refused ---


def test_springs_without_direction_are_refused():
    at_pivot, together = Z.clone(), Z.clone()
    at_pivot[:3] = 0.0
    together[3:6] = together[:3]
    for z in (at_pivot, together):
        with pytest.raises(DegenerateInputError, match="spring of length zero"):
            Pendulum()(z)


def blow_up(z: torch.Tensor) -> torch.Tensor:
    """From 1 it reaches infinity at t = 1/2."""
    return z**3


START = torch.ones(1, 2, dtype=torch.float64)


def test_a_path_without_end_is_reported_with_the_time_reached():
    for start in (START, START[0]):
        with pytest.raises(ConvergenceError, match=r"not finite after t = 0\.[46]"):
            integrate(blow_up, start, TIMES)
    assert not bool(integrate(blow_up, START, TIMES, check=False)[:, -1].isfinite().any())
    with pytest.raises(ConvergenceError, match=r"dopri5 finds no step after t = 0\.(49|50)\d*; take"):
        integrate(blow_up, START, TIMES, "dopri5")
    with pytest.raises(ConvergenceError, match=r"dopri5 finds no step after t = 0; "):
        integrate(lambda z: z * torch.nan, START, TIMES, "dopri5", check=False)

    def refuses(z: torch.Tensor) -> torch.Tensor:
        raise AssertionError("of the field itself")

    with pytest.raises(AssertionError, match="of the field itself"):
        integrate(refuses, START, TIMES, "dopri5")


def test_a_midpoint_rule_that_does_not_converge_says_where():
    stiff = lambda z: -50 * z.sin()  # noqa: E731
    with pytest.raises(ConvergenceError, match="midpoint rule changes by"):
        midpoint_step(stiff, START, 1.0, max_steps=5)
    with pytest.raises(ConvergenceError, match=r"midpoint rule changes by .*; the path ends at t = 0\.4"):
        integrate(lambda z: torch.where(z > 4.5, -50 * z.sin(), 10.0), 0.5 * START, TIMES, "midpoint", substeps=1)


def test_items_that_do_not_converge_leave_the_others_as_they_are():
    """The first and third turn slowly, the second too fast for its step."""
    speeds = torch.tensor([[1.0], [60.0], [2.0]], dtype=torch.float64)
    start = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.3, 0.4]], dtype=torch.float64)

    def turn(z: torch.Tensor, speed: torch.Tensor) -> torch.Tensor:
        return speed * torch.stack([z[..., 1], -z[..., 0]], -1) * (1 + z.square().sum(-1, keepdim=True)).rsqrt()

    with pytest.raises(ConvergenceError, match="the path ends at t = 0"):
        integrate(lambda z: turn(z, speeds), start, TIMES[:6], "midpoint")
    found = integrate(lambda z: turn(z, speeds), start, TIMES[:6], "midpoint", check=False)
    assert bool(found[1, 1:].isnan().all())
    for item in (0, 2):
        alone = integrate(lambda z, item=item: turn(z, speeds[item]), start[item], TIMES[:6], "midpoint")
        assert torch.equal(found[item], alone)


def test_a_trained_field_takes_adaptive_steps_without_a_warning():
    z = torch.tensor([1.0, 0.0], requires_grad=True)
    speed = torch.ones(1, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        integrate(lambda z: speed * torch.stack([z[..., 1], -z[..., 0]], -1), z, TIMES.float(), "dopri5").sum().backward()
    assert float(speed.grad) != 0.0


def test_without_torchdiffeq_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "torchdiffeq":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install --editable '.\[pendulum\]'"):
        integrate(Pendulum(), Z, TIMES, "dopri5")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Pendulum(kappa=0), ConfigError, "masses, springs and kappa above zero"),
        (lambda: Pendulum(kappa=math.nan), ConfigError, "expected finite masses, .*kappa=nan"),
        (lambda: Pendulum(m1=math.inf), ConfigError, "expected finite masses"),
        (lambda: Pendulum(l2=math.nan), ConfigError, "expected finite masses"),
        (lambda: Pendulum(kappa="1"), ConfigError, "expected finite masses, .*kappa='1'"),
        (lambda: Pendulum(l1=None), ConfigError, "expected finite masses, .*l1=None"),
        (lambda: integrate(torch.sin, torch.ones(4), [0.0, 0.1]), ShapeError, r"expected times \(T,\), got a list, .*as_tensor"),
        (
            lambda: integrate(torch.sin, [1.0, 2.0], TIMES),
            ShapeError,
            r"expected states z \(\.\.\., S\), got a list, which is no",
        ),
        (lambda: integrate(torch.sin, torch.ones(4), torch.tensor([1.0, 0.0, 2.0])), ConfigError, "times, got 0 after 1"),
        (lambda: integrate(torch.sin, torch.ones(4), torch.tensor([0.0, 0.0])), ConfigError, "increasing times"),
        (lambda: integrate(torch.sin, torch.ones(4), torch.tensor([0.0, 0.0]), "dopri5"), ConfigError, "increasing times"),
        (lambda: integrate(torch.sin, torch.ones(4), torch.tensor([0.0, math.inf])), ConfigError, "got inf after 0"),
        (lambda: integrate(torch.sin, torch.ones(4), torch.tensor([math.nan])), ConfigError, "finite, increasing times"),
        (lambda: Pendulum()(torch.ones(6)), ShapeError, r"expected states \(..., 12\)"),
        (lambda: angular_momentum(torch.ones(13)), ShapeError, r"got \(13,\)"),
        (lambda: integrate(torch.sin, torch.ones(3), TIMES), ShapeError, "an even S"),
        (lambda: integrate(torch.sin, torch.ones(4), TIMES[:0]), ShapeError, "T >= 1"),
        (lambda: integrate(torch.sin, torch.ones(4), TIMES, "euler"), ConfigError, "got 'euler'"),
        (lambda: integrate(torch.sin, torch.ones(4), TIMES, substeps=0), ConfigError, "substeps to be a whole number >= 1"),
        (
            lambda: integrate(torch.sin, torch.ones(4), TIMES, "leapfrog"),
            ConfigError,
            r"needs a field with kick\(q\) and drift\(p\)",
        ),
    ],
)
def test_settings_are_checked(call, error, message):
    with pytest.raises(error, match=message):
        call()
