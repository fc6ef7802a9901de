"""The springy double pendulum: data, learned motion, solvers, and the published metric."""

from gnet.plugins.pendulum.data import CHECKSUM, PendulumData, initial_states, pendulum_data
from gnet.plugins.pendulum.metric import momentum_error, relative_errors, state_error
from gnet.plugins.pendulum.models import (
    HamiltonianField,
    RadialFunctions,
    ScalarField,
    ScalarHamiltonian,
    SeparableField,
    SeparableHamiltonian,
    about_vertical,
    field_of,
    pendulum_scalars,
)
from gnet.plugins.pendulum.physics import Pendulum, angular_momentum
from gnet.plugins.pendulum.solvers import integrate

__all__ = [
    "CHECKSUM",
    "HamiltonianField",
    "Pendulum",
    "PendulumData",
    "RadialFunctions",
    "ScalarField",
    "ScalarHamiltonian",
    "SeparableField",
    "SeparableHamiltonian",
    "about_vertical",
    "angular_momentum",
    "field_of",
    "initial_states",
    "integrate",
    "momentum_error",
    "pendulum_data",
    "pendulum_scalars",
    "relative_errors",
    "state_error",
]
