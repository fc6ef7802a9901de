"""Paths of ordinary differential equations: RK4, leapfrog, implicit midpoint, and Dormand-Prince through torchdiffeq."""

from collections.abc import Callable
from typing import Literal, Protocol, cast, get_args

import torch
from torch import Tensor

from gnet.counts import check_count
from gnet.errors import ConfigError, ConvergenceError, MissingExtraError, ShapeError
from gnet.nn.checks import check_placement, first_linear, no_tensor

Field = Callable[[Tensor], Tensor]
Method = Literal["rk4", "dopri5", "leapfrog", "leapfrog_dkd", "midpoint"]


class Separable(Protocol):
    """A field whose places change by the momenta alone, and momenta by the places alone, as of H = T(p) + V(q)."""

    def kick(self, q: Tensor) -> Tensor:
        """dp/dt."""
        ...

    def drift(self, p: Tensor) -> Tensor:
        """dq/dt."""
        ...


def integrate(
    field: Field,
    z: Tensor,
    times: Tensor,
    method: Method = "rk4",
    *,
    substeps: int = 2,
    rtol: float = 1e-4,
    atol: float = 1e-4,
    check: bool = True,
) -> Tensor:
    """The states at given times, of dz/dt = field(z) from z at the first of them; gradients flow through every step.

    - "rk4": the classical rule, fourth order, ``substeps`` equal steps between two times. Needs nothing.
    - "dopri5": Dormand-Prince 5(4) with errors controlled for the whole batch together;
      needs ``pip install --editable '.[pendulum]'``.
    - "leapfrog": kick, drift, kick, second order and symplectic, for fields with ``kick`` and ``drift``; "leapfrog_dkd" starts
      with half a drift.
    - "midpoint": implicit midpoint, second order and symplectic for every Hamiltonian, solved by iteration.

    Args:
        substeps: steps between two times, of all but "dopri5"; two of 0.1 between times 0.2 apart are enough for training.
        rtol, atol: of "dopri5"; the published ones by default. The springy pendulum's energy drifts by 1.05e-10 over 150 times
            of its data at 1e-12, by 3.2e-11 at 3e-13.
        check: raises where a state is not finite, or "midpoint" does not converge; without it that item of the batch alone has
            NaN or infinity from there on. "dopri5", whose steps the whole batch shares, raises in either case.

    Shapes:
        z: (..., S)    times: (T,), increasing    returns: (..., T, S)

    Raises:
        ShapeError: an odd S for places and momenta, no times, no tensors, or states of another size, dtype or device than a
            field that begins with a linear map takes.
        ConfigError: an unknown method, fewer than one substep, times that do not increase, or a field that cannot be split.
        ConvergenceError: a path without end, with the time reached.
        MissingExtraError: "dopri5" without torchdiffeq.

    References:
        Dormand and Prince (1980), doi:10.1016/0771-050X(80)90013-3; Hairer, Lubich and Wanner (2006), Geometric Numerical
        Integration.

    Example:
        >>> turn = lambda z: torch.stack([z[..., 1], -z[..., 0]], -1)
        >>> path = integrate(turn, torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([0.0, 1.5707963]), substeps=50)
        >>> path[-1].round(decimals=5).abs().tolist()
        [0.0, 1.0]
    """
    if method not in get_args(Method):
        raise ConfigError(f"expected method among {', '.join(get_args(Method))}, got {method!r}")
    for name, given in (("states z (..., S)", z), ("times (T,)", times)):
        if not isinstance(given, Tensor):
            raise ShapeError(f"expected {name}, got {no_tensor(given)}")
    if times.ndim != 1 or len(times) < 1:
        raise ShapeError(f"expected times (T,) with T >= 1, got {tuple(times.shape)}")
    is_right = times.isfinite()
    is_right[1:] &= times.diff() > 0
    if not bool(is_right.all()):
        place = int((~is_right).nonzero()[0])
        before = f" after {float(times[place - 1]):g}" if place else ""
        raise ConfigError(f"expected finite, increasing times, got {float(times[place]):g}{before}")
    check_count(substeps=substeps)
    if z.shape[-1] % 2:
        raise ShapeError(f"expected states (..., S) of places and momenta with an even S, got {tuple(z.shape)}")
    check_states(field, z)
    stepper = None if method == "dopri5" else _stepper(field, method, check)
    if not z.numel():
        return z.new_zeros(*z.shape[:-1], len(times), z.shape[-1])
    if stepper is None:
        found = _dopri5(field, z, times, rtol, atol)
    else:
        found = _fixed_steps(stepper, z, times, substeps)
    if check:
        _check_finite(found, times)
    return found


def check_states(field: object, z: Tensor) -> None:
    """Refuse states that the first linear map of a net, where it begins with one, does not take.

    Raises:
        ShapeError: another size, dtype or device.

    Example:
        >>> check_states(torch.nn.Sequential(torch.nn.Linear(12, 1)), torch.zeros(5, 6))
        Traceback (most recent call last):
        gnet.errors.ShapeError: expected states z (..., 12) for this field, got (5, 6)
    """
    first = first_linear(field)
    if first is not None:
        if first.in_features != z.shape[-1]:
            raise ShapeError(f"expected states z (..., {first.in_features}) for this field, got {tuple(z.shape)}")
        check_placement(z, first.weight, "z")


def _fixed_steps(step: Callable[[Tensor, float], Tensor], z: Tensor, times: Tensor, substeps: int) -> Tensor:
    states = [z]
    for a, b in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        h = (b - a) / substeps
        for done in range(substeps):
            try:
                z = step(z, h)
            except ConvergenceError as error:
                raise ConvergenceError(f"{error}; the path ends at t = {a + done * h:.6g}") from error
        states.append(z)
    return torch.stack(states, -2)


def _stepper(field: Field, method: Method, check: bool) -> Callable[[Tensor, float], Tensor]:
    if method == "rk4":
        return lambda z, h: rk4_step(field, z, h)
    if method == "midpoint":
        return lambda z, h: midpoint_step(field, z, h, check=check)
    if not (hasattr(field, "kick") and hasattr(field, "drift")):
        raise ConfigError("leapfrog needs a field with kick(q) and drift(p), as of H = T(p) + V(q); take method='midpoint'")
    separable = cast(Separable, field)
    if method == "leapfrog":
        return lambda z, h: leapfrog_step(separable, z, h)
    return lambda z, h: leapfrog_step(separable, z, h, drift_first=True)


def rk4_step(field: Field, z: Tensor, h: float) -> Tensor:
    """One step of the classical Runge-Kutta rule.

    Example:
        >>> rk4_step(lambda z: z, torch.ones(2, dtype=torch.float64), 1.0)  # 1 + 1 + 1/2 + 1/6 + 1/24
        tensor([2.7083, 2.7083], dtype=torch.float64)
    """
    a = field(z)
    b = field(z + h / 2 * a)
    c = field(z + h / 2 * b)
    d = field(z + h * c)
    return z + h / 6 * (a + 2 * b + 2 * c + d)


def leapfrog_step(field: Separable, z: Tensor, h: float, drift_first: bool = False) -> Tensor:
    """Half a kick, a drift, half a kick; or half a drift, a kick, half a drift.

    Example:
        >>> from gnet.plugins.pendulum import Pendulum
        >>> rest = Pendulum().equilibrium()
        >>> torch.allclose(leapfrog_step(Pendulum(), rest, 0.1), rest)
        True
    """
    half = z.shape[-1] // 2
    q, p = z[..., :half], z[..., half:]
    if drift_first:
        q = q + h / 2 * field.drift(p)
        p = p + h * field.kick(q)
        return torch.cat([q + h / 2 * field.drift(p), p], -1)
    p = p + h / 2 * field.kick(q)
    q = q + h * field.drift(p)
    return torch.cat([q, p + h / 2 * field.kick(q)], -1)


def midpoint_step(
    field: Field, z: Tensor, h: float, tol: float | None = None, max_steps: int = 200, *, check: bool = True
) -> Tensor:
    """z' = z + h field((z + z') / 2), by fixed-point iteration from an explicit step.

    Args:
        tol: largest change of an item that counts as none, relative to its size; None is eight roundings.
        check: raises where an item does not converge; without it that item is NaN, and the others are what they are alone.

    Shapes:
        z: (..., S)    returns: (..., S)

    Raises:
        ConvergenceError: ``max_steps`` iterations did not do; take smaller steps.

    Example:
        >>> midpoint_step(lambda z: -z, torch.ones(2, dtype=torch.float64), 0.5)  # (1 - h/2) / (1 + h/2)
        tensor([0.6000, 0.6000], dtype=torch.float64)
    """
    limit = 8 * torch.finfo(z.dtype).eps if tol is None else tol
    largest = limit * z.detach().abs().amax(-1).clamp(min=1.0)  # (...)
    following, is_done = z + h * field(z), torch.zeros_like(largest, dtype=torch.bool)
    for _ in range(max_steps):
        before = following
        moved = z + h * field((z + before) / 2)
        change = (moved - before).detach().abs().amax(-1)
        # An item that is done keeps its value, so that it does not depend on how long the others take.
        following = torch.where(is_done[..., None], before, moved)
        is_done = is_done | ~(change > largest)  # NaN stays NaN, so it is done, too
        if bool(is_done.all()):
            return following
    if check:
        size = float(change[~is_done].max())
        raise ConvergenceError(
            f"the implicit midpoint rule changes by {size:.3g} after {max_steps} iterations; take more substeps"
        )
    return torch.where(is_done[..., None], following, torch.nan)


class _Timed:
    """A field as torchdiffeq calls it, and the time that its accepted steps have reached."""

    def __init__(self, field: Field, start: float) -> None:
        self.field, self.reached = field, start

    def __call__(self, t: Tensor, z: Tensor) -> Tensor:
        return self.field(z)

    def callback_accept_step(self, t: Tensor, z: Tensor, h: Tensor) -> None:
        self.reached = float((t + h).detach())


def _dopri5(field: Field, z: Tensor, times: Tensor, rtol: float, atol: float) -> Tensor:
    try:
        from torchdiffeq import odeint
    except ImportError as error:
        raise MissingExtraError(
            "method='dopri5' needs torchdiffeq: pip install --editable '.[pendulum]'; or take method='rk4'"
        ) from error
    timed = _Timed(field, float(times[0]))
    try:
        path = odeint(timed, z, times.to(z), rtol=rtol, atol=atol, method="dopri5")
    except AssertionError as error:  # what torchdiffeq raises where steps become too small, or states infinite
        if not str(error).startswith(("underflow in dt", "non-finite values in state")):
            raise
        raise ConvergenceError(
            f"dopri5 finds no step after t = {timed.reached:.6g}; take method='rk4', or a lower learning rate"
        ) from error
    return path.movedim(0, -2)


def _check_finite(path: Tensor, times: Tensor) -> None:
    is_finite = path.isfinite().all(-1).flatten(0, -2).all(0) if path.ndim > 2 else path.isfinite().all(-1)
    if not bool(is_finite.all()):
        first = int((~is_finite).nonzero()[0])
        reached = float(times[max(first - 1, 0)])
        raise ConvergenceError(f"the path is not finite after t = {reached:.6g}; take more substeps, or a lower learning rate")
