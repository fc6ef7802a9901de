"""Dimensionless products in scikit-learn: its conventions, other units, names, and what is refused."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from gnet.errors import DegenerateInputError, ShapeError
from gnet.plugins.units import DimensionlessFeatures, rescale

UNITS = [[1, 0, 0], [1, 0, 0], [1, 0, -2], [1, 0, -2], [0, 1, 0], [0, 1, -2], [0, 1, 0]]  # masses, springs, lengths, gravity


@parametrize_with_checks([DimensionlessFeatures()])
def test_conventions(estimator, check):
    check(estimator)


def drawn(rng):
    x = 0.5 + torch.rand(40, 7, dtype=torch.float64, generator=rng)
    factors = torch.tensor([1000.0, 3.28, 1 / 60], dtype=torch.float64)
    return x.numpy(), rescale(x, UNITS, factors).numpy()


@pytest.mark.parametrize("log", [False, True])
def test_other_units_are_not_seen(rng, log):
    x, other = drawn(rng)
    features = DimensionlessFeatures(UNITS, log=log).fit(x)
    assert features.transform(x).shape == (40, 4)
    np.testing.assert_allclose(features.transform(other), features.transform(x), rtol=1e-12, atol=1e-12)
    shifted = DimensionlessFeatures(UNITS, log=log).fit(x)  # the liar: an added number has units
    assert np.abs(shifted.transform(other + 0.1) - shifted.transform(x + 0.1)).max() > 1e-3


def test_a_pipeline_trained_in_one_system_predicts_in_another(rng):
    x, other = drawn(rng)
    y = np.log(x[:, 0] / x[:, 1])
    model = make_pipeline(DimensionlessFeatures(UNITS, log=True), StandardScaler(), LinearRegression()).fit(x, y)
    np.testing.assert_allclose(model.predict(other), y, atol=1e-10)
    liar = make_pipeline(StandardScaler(), LinearRegression()).fit(x, y)
    assert np.abs(liar.predict(other) - y).max() > 1.0


def test_names_are_the_products(rng):
    x = drawn(rng)[0]
    features = DimensionlessFeatures(UNITS).fit(x)
    names = features.get_feature_names_out(["m1", "m2", "k1", "k2", "l1", "g", "l2"])
    values = dict(zip(["m1", "m2", "k1", "k2", "l1", "g", "l2"], x[0], strict=True))
    for name, found in zip(names, features.transform(x[:1])[0], strict=True):
        factors = [each.partition("^") for each in name.split()]
        assert np.prod([values[base] ** int(power or 1) for base, _, power in factors]) == pytest.approx(found)


def test_signs_and_refusals():
    x = [[-2.0, 1.0]]
    with pytest.raises(DegenerateInputError, match="signs=True"):
        DimensionlessFeatures([[1], [1]], log=True).fit_transform(x)
    assert DimensionlessFeatures([[1], [1]], log=True, signs=True).fit_transform(x)[0, 1:].tolist() == [-1.0, 1.0]
    assert DimensionlessFeatures([[1], [1]]).fit_transform(x).tolist() == [[-2.0]]
    with pytest.raises(DegenerateInputError, match="input 1"):
        DimensionlessFeatures([[1], [1]]).fit_transform([[1.0, 0.0]])
    with pytest.raises(ShapeError, match="each of 2 columns, got 3"):
        DimensionlessFeatures([[1]] * 3).fit(x)
