"""Exponents, equivariant functions and quantities against the check values, each beside a liar."""

import pytest
import torch
from torch import nn

from gnet.errors import DegenerateInputError, UnitsError
from gnet.measures import equivariance_error
from gnet.plugins.pendulum import Pendulum, initial_states
from gnet.plugins.units import Products, Rescalings, Units, UnitsEquivariant, dimensionless_basis, scaling_exponents, units_action
from gnet.plugins.units.lattices import rank
from gnet.plugins.units.motion import PendulumHamiltonian
from gnet.plugins.units.pendulums import ENERGY, UNITS, Pendulums, drawn_motion

SI = Units("kg", "m", "s")
SEVEN = SI.matrix(["kg", "kg", "kg s^-2", "kg s^-2", "m", "m", "m s^-2"])
KELVIN = Units("kg", "m", "s", "K")
LIGHT = KELVIN.matrix(["m", "K", "m/s", "kg m^2 s^-2 K^-1", "kg m^2 s^-1"])  # wavelength, temperature, c, k_B, h
RADIANCE = KELVIN.exponents("kg m^-1 s^-3")


def test_the_ties_of_the_energy_are_decided():
    assert scaling_exponents(SEVEN, ENERGY) == (0, 0, 1, 0, 2, 0, 0)


def test_times_of_a_simple_pendulum():
    U = SI.matrix(["m", "m s^-2", "kg"])
    with pytest.raises(UnitsError, match="denominator 2"):
        scaling_exponents(U, (0, 0, 1))
    assert [str(each) for each in scaling_exponents(U, (0, 0, 1), rational=True)] == ["1/2", "-1/2", "0"]
    assert scaling_exponents(U, (0, 0, 2)) == (1, -1, 0)
    with pytest.raises(UnitsError, match="outside the span"):
        scaling_exponents(SI.matrix(["kg", "m"]), (0, 0, 1))


def test_pendulum_scalars_have_rank_three():
    assert rank(UNITS) == 3
    basis = dimensionless_basis(UNITS)
    assert basis.shape == (18, 21)
    assert not (basis @ torch.tensor(UNITS)).any()


def test_black_body():
    assert dimensionless_basis(LIGHT[:4]).shape == (0, 4)
    assert scaling_exponents(LIGHT[:4], RADIANCE) == (-4, 1, 1, 1)
    assert dimensionless_basis(LIGHT).tolist() == [[1, 1, -1, 1, -1]]


def test_a_change_of_units_carries_the_function_along(rng):
    x = 0.5 + torch.rand(20, 7, dtype=torch.float64, generator=rng)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    actions = units_action(SEVEN), units_action([ENERGY])
    model = UnitsEquivariant(net, SEVEN, ENERGY)
    assert equivariance_error(model, x, Rescalings(3), *actions, generator=rng).relative < 1e-12
    liar = lambda x: model(x + 0.1)  # noqa: E731 - an added number has units
    assert equivariance_error(liar, x, Rescalings(3), *actions, generator=rng).relative > 1e-3


def test_degenerate_inputs_are_refused():
    with pytest.raises(DegenerateInputError, match="input 1"):
        Products([[1, -1]])(torch.tensor([[1.0, 0.0]]))
    with pytest.raises(DegenerateInputError, match="fractional"):
        Products([[0.5]])(torch.tensor([[-1.0]]))
    with pytest.raises(UnitsError, match="row 0 of scalings"):
        UnitsEquivariant(nn.Identity(), SEVEN, ENERGY, scalings=[[1, 0, 0, 0, 0, 0, 0]])


def test_sums_and_functions_of_units_that_do_not_fit():
    q = SI(2.0, "kg m s^-1")
    with pytest.raises(UnitsError, match=r"^kg m s\^-1 \+ kg$"):
        q + SI(1.0, "kg")
    for function in (torch.exp, torch.log, nn.Linear(1, 1)):
        with pytest.raises(UnitsError, match="pure numbers"):
            function(q)
    assert float(torch.exp(q / q)) == pytest.approx(2.718281828)
    assert (torch.tensor(3.0) * q).unit == q.unit
    assert (torch.tensor(3.0) / q).unit == "kg^-1 m^-1 s"


def test_texts_need_an_exponent_for_each_name():
    assert SI.text((1, 0, -2)) == "kg s^-2"
    with pytest.raises(UnitsError, match=r"^expected one exponent for each of kg, m, s, got 2$"):
        SI.text((1, 0))


def test_pint_reads_other_units():
    pytest.importorskip("pint")
    assert SI.parse("N") == (1.0, (1, 1, -2))
    assert float(SI(36.0, "km/hour").x) == pytest.approx(10.0)
    assert float(SI.from_pint(SI(3.0, "N").to_pint()).x) == 3.0


def test_the_hamiltonian_scales_with_the_kilogram(rng):
    motion = drawn_motion(20, chunk=2, num_times=4, generator=rng)
    heavier = motion.heavier(torch.full((20,), 5.0))
    for model, is_exact in (("dimensionless", True), ("dimensional", False)):
        H = PendulumHamiltonian(model, motion, hidden=16, layers=2).double()
        before, after = (H(each.chunks[:, 0], each.constants) for each in (motion, heavier))
        assert bool(((after - 5 * before).abs() < 1e-9 * after.abs()).all()) == is_exact


def test_many_pendulums_are_one_by_one_those_of_the_other_family(rng):
    z = initial_states(3, rng)
    constants = torch.tensor([[1.5, 0.7, 2.0, 0.6, 0.8, 1.1, 0, 0, -1]], dtype=torch.float64).expand(3, -1)
    torch.testing.assert_close(Pendulums(constants)(z), Pendulum(1.0, 1.5, 0.7, 2.0, 0.6, 0.8, 1.1)(z))
    assert float((Pendulums(constants, 0.5)(z) - Pendulum(1.0, 1.5, 0.7, 2.0, 0.6, 0.8, 1.1)(z)).abs().max()) > 0.1
