"""Scalar products with units, and functions that turns and changes of units carry along, each beside a liar."""

import pytest
import torch
from torch import nn

from gnet.errors import ConfigError, DegenerateInputError, ShapeError, UnitsError
from gnet.plugins.units import Units, VectorUnitsEquivariant, dimensionless_basis, rescale, scalar_products

SI = Units("kg", "m", "s")
NUMBERS = SI.matrix(["kg", "kg", "kg s^-2", "kg s^-2", "m", "m"]).tolist()  # masses, springs, lengths
VECTORS = SI.matrix(["m s^-2", "kg m s^-1", "kg m s^-1", "m", "m"]).tolist()  # gravity, momenta, extensions
ENERGY, FORCE = (1, 2, -2), (1, 1, -2)


def drawn(rng):
    v = torch.randn(20, 5, 3, dtype=torch.float64, generator=rng)
    x = 0.5 + torch.rand(20, 6, dtype=torch.float64, generator=rng)
    lam = 0.2 + 3 * torch.rand(3, dtype=torch.float64, generator=rng)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=rng))[0]
    return v, x, lam, turn


def changed(v, x, lam, turn):
    """In other units, and turned or reflected."""
    return rescale(v.mT, VECTORS, lam).mT @ turn.mT, rescale(x, NUMBERS, lam)


def net(num_features, outputs):
    return nn.Sequential(nn.Linear(num_features, 8), nn.Tanh(), nn.Linear(8, outputs)).double()


def test_products_have_the_sum_of_units(rng):
    v, _, lam, turn = drawn(rng)
    values, units = scalar_products(v, VECTORS)
    torch.testing.assert_close(values[:, 1], (v[:, 0] * v[:, 1]).sum(-1))
    assert units[1].tolist() == [a + b for a, b in zip(*VECTORS[:2], strict=True)]
    other = scalar_products(rescale(v.mT, VECTORS, lam).mT @ turn.mT, VECTORS)[0]
    torch.testing.assert_close(other, rescale(values, units, lam), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(other, rescale(values, units.flip(0), lam))  # the liar: units of other products


def test_a_pendulum_has_eighteen_features(rng):
    model = VectorUnitsEquivariant(nn.Identity(), VECTORS, NUMBERS, out_units=ENERGY)
    v, x, _, _ = drawn(rng)
    assert model.num_features == model.features(v, x).shape[-1] == 18
    units = scalar_products(v, VECTORS)[1]
    assert len(dimensionless_basis(torch.cat([torch.tensor(NUMBERS), units]))) == 18


@pytest.mark.parametrize("returns", ["scalar", "vector"])
def test_turns_and_units_carry_the_function_along(rng, returns):
    v, x, lam, turn = drawn(rng)
    out = ENERGY if returns == "scalar" else FORCE
    model = VectorUnitsEquivariant(net(18, 1 if returns == "scalar" else 5), VECTORS, NUMBERS, out_units=out, returns=returns)

    def moved(y):
        y = rescale(y[..., None], [out], lam)[..., 0]
        return y @ turn.mT if returns == "vector" else y

    torch.testing.assert_close(model(*changed(v, x, lam, turn)), moved(model(v, x)), rtol=1e-9, atol=1e-9)
    for liar in (lambda v, x: model(v + 0.1, x), lambda v, x: model(v, x + 0.1)):  # not turned; with units
        assert not torch.allclose(liar(*changed(v, x, lam, turn)), moved(liar(v, x)), rtol=1e-3)


def test_features_tell_apart_what_scalars_tell_apart(rng):
    model = VectorUnitsEquivariant(nn.Identity(), VECTORS, NUMBERS, out_units=ENERGY)
    v = torch.randn(1, 5, 5, dtype=torch.float64, generator=rng)  # in fewer dimensions cosines of five vectors are related
    x = drawn(rng)[1][:1]
    features = torch.autograd.functional.jacobian(lambda v, x: model.features(v, x), (v, x))
    both = torch.cat([each.reshape(18, -1) for each in features], 1)
    assert int(torch.linalg.matrix_rank(both)) == 18  # none follows from the others


def test_without_numbers_and_with_signs(rng):
    v, x, _, _ = drawn(rng)
    two = VectorUnitsEquivariant(net(2, 1), VECTORS[3:], out_units=(0, 2, 0))
    assert two(v[:, 3:]).shape == (20,)
    signed = VectorUnitsEquivariant(nn.Identity(), VECTORS, NUMBERS, out_units=ENERGY, signs=True)
    assert signed.features(v, -x)[:, -6:].tolist() == [[-1.0] * 6] * 20
    with pytest.raises(DegenerateInputError, match="signs=True"):
        VectorUnitsEquivariant(nn.Identity(), VECTORS, NUMBERS, out_units=ENERGY)(v, -x)


def test_refusals(rng):
    v, x, _, _ = drawn(rng)
    model = VectorUnitsEquivariant(net(18, 2), VECTORS, NUMBERS, out_units=ENERGY)
    with pytest.raises(ShapeError, match="1 outputs, got 2"):
        model(v, x)
    with pytest.raises(ShapeError, match=r"\(\.\.\., 5, d\)"):
        model(v[:, 1:], x)
    with pytest.raises(ShapeError, match=r"\(\.\.\., 6\), got None"):
        model(v)
    with pytest.raises(DegenerateInputError, match="input 6"):
        model(v * torch.tensor([0.0, 1, 1, 1, 1], dtype=torch.float64)[:, None], x)
    with pytest.raises(UnitsError, match="outside the span"):
        VectorUnitsEquivariant(nn.Identity(), [[0, 1, 0]], out_units=ENERGY)
    with pytest.raises(ConfigError, match="tensor"):
        VectorUnitsEquivariant(nn.Identity(), VECTORS, NUMBERS, out_units=ENERGY, returns="tensor")
