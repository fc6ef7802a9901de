"""Signs, several outputs and scalings, functions with typed arguments, and what is left without pint."""

import sys

import pytest
import torch
from torch import nn

from gnet.errors import DegenerateInputError, MissingExtraError, ShapeError, UnitsError
from gnet.measures import equivariance_error
from gnet.plugins.units import Quantity, Rescalings, Units, UnitsEquivariant, names, typed, units_action

SI = Units("kg", "m", "s")
MOTION = SI.matrix(["kg", "kg", "m/s", "m/s"])


class Given(nn.Module):
    """Any function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


# --- signs ---


def test_signs_reach_functions_that_products_do_not():
    x = torch.tensor([[-3.0, 2.0], [3.0, -2.0], [3.0, 2.0]], dtype=torch.float64)
    size = Given(lambda z: z[..., -2:-1])  # the sign of x_1, which makes |x_1| of x_1
    model = UnitsEquivariant(size, [[1], [1]], (1,), scalings=[[1, 0]], signs=True)
    assert model.num_features == 3
    torch.testing.assert_close(model(x), x[:, :1].abs())
    blind = UnitsEquivariant(Given(lambda z: z), [[1], [1]], (1,), scalings=[[1, 0]], log=False)
    assert torch.equal(blind.features(x[:1]), blind.features(x[1:2]))  # so that no F tells -x from x
    with pytest.raises(DegenerateInputError, match="signs=True"):
        UnitsEquivariant(nn.Identity(), [[1], [1]], (1,))(x)


@pytest.mark.parametrize("log", [False, True])
def test_signs_do_not_see_units(rng, log):
    x = torch.randn(30, 4, dtype=torch.float64, generator=rng)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    model = UnitsEquivariant(net, MOTION, (1, 2, -2), log=log, signs=True)
    actions = units_action(MOTION), units_action([(1, 2, -2)])
    assert equivariance_error(model, x, Rescalings(3), *actions, generator=rng).relative < 1e-9
    liar = lambda x: model(x - x.mean(1, keepdim=True))  # noqa: E731 - of numbers in several units
    assert equivariance_error(liar, x, Rescalings(3), *actions, generator=rng).relative > 1e-3


# --- several outputs and scalings ---

ENERGY, MOMENTUM = (1, 2, -2), (1, 1, -1)


def test_every_output_has_its_units(rng):
    x = 0.5 + torch.rand(20, 4, dtype=torch.float64, generator=rng)
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    model = UnitsEquivariant(net, MOTION, [ENERGY, MOMENTUM])
    assert model.scalings.shape == (2, 1, 4)
    actions = units_action(MOTION), units_action([ENERGY, MOMENTUM])
    assert equivariance_error(model, x, Rescalings(3), *actions, generator=rng).relative < 1e-12
    swapped = units_action(MOTION), units_action([MOMENTUM, ENERGY])
    assert equivariance_error(model, x, Rescalings(3), *swapped, generator=rng).relative > 1e-3


def test_outputs_are_sums_over_their_own_scalings(rng):
    x = 0.5 + torch.rand(20, 4, dtype=torch.float64, generator=rng)
    scalings = [[[1, 0, 2, 0], [0, 1, 0, 2]], [[1, 0, 1, 0], [0, 1, 0, 1]]]
    model = UnitsEquivariant(
        Given(lambda z: z.new_tensor([0.5, 0.5, 1.0, 1.0]).expand(len(z), 4)), MOTION, [ENERGY, MOMENTUM], scalings
    )
    m, v = x[:, :2], x[:, 2:]
    torch.testing.assert_close(model(x), torch.stack([(m * v**2).sum(1) / 2, (m * v).sum(1)], 1))
    with pytest.raises(UnitsError, match="row 0 of scalings has units"):
        UnitsEquivariant(nn.Identity(), MOTION, [ENERGY, MOMENTUM], scalings[::-1])
    with pytest.raises(ShapeError, match=r"\(2, J, 4\)"):
        UnitsEquivariant(nn.Identity(), MOTION, [ENERGY, MOMENTUM], scalings[:1])
    with pytest.raises(ShapeError, match="2 x 1 outputs"):
        UnitsEquivariant(nn.Linear(2, 3).double(), MOTION, [ENERGY, MOMENTUM])(x)


# --- typed ---


@typed(SI, "kg m^2 s^-2", m="kg", v="m/s")
def kinetic(m, v, factor=0.5):
    """Half of m v^2."""
    return factor * m * v**2


def test_typed_functions_take_quantities_and_plain_numbers():
    assert kinetic.__name__ == "kinetic"
    for m, v in ((2.0, 3.0), (SI(2.0, "kg"), 3.0), (2.0, SI(3.0, "m/s")), (torch.tensor(2.0), SI(3.0, "m/s"))):
        found = kinetic(m, v=v)
        assert (float(found.x), found.unit) == (9.0, "kg m^2 s^-2")
    assert float(kinetic(2.0, 3.0, factor=1.0).x) == 18.0


def test_typed_functions_refuse_what_does_not_fit():
    with pytest.raises(UnitsError, match=r"^kinetic: expected v in m s\^-1, got m$"):
        kinetic(2.0, SI(3.0, "m"))
    with pytest.raises(UnitsError, match="expected m in kg"):
        kinetic(Quantity(2.0, (1, 0), Units("kg", "m")), 3.0)  # another system
    with pytest.raises(UnitsError, match="kinetic: expected a result in"):
        kinetic(2.0, 3.0, factor=SI(1.0, "s"))
    with pytest.raises(UnitsError, match=r"kg \+ m s\^-1"):
        typed(SI, m="kg", v="m/s")(lambda m, v: m + v)(1.0, 2.0)  # the body is checked as well
    with pytest.raises(UnitsError, match="has no argument w"):
        typed(SI, w="kg")(kinetic)
    with pytest.raises(UnitsError, match="expected a result in kg, got 1"):
        typed(SI, "kg", m="kg")(lambda m: 1.0)(1.0)


def test_arguments_that_may_be_left_out():
    @typed(SI, m="kg")
    def mass(m=None):
        return SI(1.0, "kg") if m is None else m

    assert (float(mass().x), float(mass(2.0).x)) == (1.0, 2.0)
    with pytest.raises(UnitsError, match="expected m in kg"):
        mass(SI(1.0, "m"))


# --- without pint ---


@pytest.fixture
def no_pint(monkeypatch):
    """As where pint is not installed."""
    monkeypatch.setitem(sys.modules, "pint", None)
    names.pint_registry.cache_clear()
    yield
    names.pint_registry.cache_clear()


@pytest.mark.usefixtures("no_pint")
def test_base_units_need_no_pint():
    assert names.pint_registry() is None
    assert SI.parse("kg m^2/s^2") == (1.0, (1, 2, -2))
    assert str(SI(3.0, "kg m s^-2")) == "3. kg m s^-2"
    assert f"{SI(3.0, 'm^2'):~P}" == "3. m^2"
    assert float((SI(3.0, "m") / SI(2.0, "s")).value_in("m/s")) == 1.5


@pytest.mark.usefixtures("no_pint")
def test_other_units_ask_for_pint():
    for text in ("N", "km"):
        with pytest.raises(UnitsError, match=r"pip install --editable '.\[units\]'"):
            SI.parse(text)
    for call in (SI(3.0, "m").to_pint, lambda: SI.from_pint(3.0)):
        with pytest.raises(MissingExtraError, match=r"pip install --editable '.\[units\]'"):
            call()
