"""The twelve features: a basis of all products without units, their values, and what a change of units does."""

import pytest
import torch

from gnet.errors import ShapeError
from gnet.plugins.units import dimensionless_basis, scaling_exponents
from gnet.plugins.vegetation import (
    FEATURES,
    UNITS,
    Rietkerk,
    dimensionless_features,
    feature_exponents,
    in_other_units,
    unit_exponents,
)
from gnet.plugins.vegetation.features import vegetation_factor

DEFAULTS = (5, 8 / 3, 2 / 15, 1, 1.25, 0.1, 1.25e-5, 0.0125, 40, 0.001, 1.25e-5, 0.01)
OTHER = {"l": 7.0, "d": 2.0, "m": 0.5, "g": 3.0}


def index_of(rows):
    """In the lattice of all products without units: the determinant of coordinates in a basis of it."""
    basis = dimensionless_basis(unit_exponents()).double()
    coordinates = torch.linalg.lstsq(basis.mT, rows.double().mT).solution
    torch.testing.assert_close(basis.mT @ coordinates.round(), rows.double().mT)
    return round(abs(float(torch.linalg.det(coordinates.round()))))


def test_they_are_a_basis_of_all_products_without_units():
    rows = feature_exponents()
    assert rows.shape == (12, 16) and bool((rows @ unit_exponents() == 0).all())
    assert int(torch.linalg.matrix_rank(unit_exponents().double())) == 4
    assert index_of(rows) == 1


def test_a_squared_feature_leaves_products_out():
    rows = feature_exponents()
    rows[0] *= 2
    assert index_of(rows) == 2


def test_their_default_values():
    assert dimensionless_features(Rietkerk().inputs)[0].tolist() == pytest.approx(DEFAULTS, rel=1e-14)
    assert len(FEATURES) == 12


def test_other_units_do_not_change_them(rng):
    inputs = Rietkerk().inputs * (0.5 + torch.rand(7, 16, generator=rng, dtype=torch.float64))
    features = dimensionless_features(inputs)
    torch.testing.assert_close(dimensionless_features(in_other_units(inputs, OTHER)), features, rtol=1e-14, atol=0.0)
    half = in_other_units(inputs, OTHER)
    half[:, 0] = inputs[:, 0]  # rain in the old units
    assert (dimensionless_features(half) / features - 1).abs().max() > 0.1


def test_vegetation_is_measured_by_k2():
    assert scaling_exponents(unit_exponents(), (0, 0, -2, 1)) == tuple(int(name == "k2") for name in UNITS)
    assert vegetation_factor(OTHER) == pytest.approx(12.0, rel=1e-15)
    assert vegetation_factor({}) == 1.0


def test_other_shapes_are_refused():
    with pytest.raises(ShapeError, match=r"expected inputs \(\*, 16\), got \(2, 12\)"):
        dimensionless_features(torch.ones(2, 12))
