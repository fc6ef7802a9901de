"""Regressors in any system of units: exactly the same predictions, as scikit-learn wants its estimators."""

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from gnet.errors import DegenerateInputError, UnitsError
from gnet.plugins.units.regressor import DimensionlessRegressor

UNITS = [[0, 1], [0, 1], [1, 0]]  # two lengths, a mass; kg, m


@parametrize_with_checks([DimensionlessRegressor()])
def test_the_rules_of_scikit_learn(estimator, check):
    check(estimator)


def drawn(num=60, seed=0):
    x = np.random.default_rng(seed).uniform(1.0, 2.0, (num, 3))
    return x, x[:, 2] * np.tanh(x[:, 0] / x[:, 1])


def test_a_change_of_units_carries_predictions_along():
    x, y = drawn()
    model = DimensionlessRegressor(KNeighborsRegressor(), UNITS, (1, 0)).fit(x, y)
    other = x * [100.0, 100.0, 1000.0]
    np.testing.assert_allclose(model.predict(other), 1000 * model.predict(x), rtol=1e-12)
    again = DimensionlessRegressor(KNeighborsRegressor(), UNITS, (1, 0)).fit(other, 1000 * y)
    np.testing.assert_allclose(again.predict(x), model.predict(x), rtol=1e-12)
    liar = TransformedTargetRegressor(KNeighborsRegressor(), func=np.log, inverse_func=np.exp).fit(x, y)
    assert np.abs(liar.predict(other) / liar.predict(x) / 1000 - 1).max() > 0.1
    test = drawn(50, 1)
    assert model.score(*test) > 0.99


def test_settings_of_the_regressor_are_searched():
    grid = GridSearchCV(DimensionlessRegressor(KNeighborsRegressor(), UNITS, (1, 0)), {"regressor__n_neighbors": [1, 5]}, cv=3)
    assert grid.fit(*drawn()).best_score_ > 0.9


def test_without_a_product_a_number_is_left():
    x, _ = drawn()
    model = DimensionlessRegressor(LinearRegression(), [[1, 0, 0], [0, 1, 0], [0, 0, 1]], (1, 1, 0)).fit(x, 3 * x[:, 0] * x[:, 1])
    np.testing.assert_allclose(model.predict(2 * x), 12 * x[:, 0] * x[:, 1])


def test_refusals():
    x, y = drawn()
    with pytest.raises(UnitsError, match="outside the span"):
        DimensionlessRegressor(units=[[1, 0], [1, 0], [1, 0]], out_units=(0, 1)).fit(x, y)
    x[3, 2] = 0.0
    with pytest.raises(DegenerateInputError, match="row 3 has a scale of zero"):
        DimensionlessRegressor(units=UNITS, out_units=(1, 0)).fit(x, y)
