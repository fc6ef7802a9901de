"""Any regressor of scikit-learn, made right in every system of units."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.linear_model import LinearRegression
from sklearn.utils.validation import check_is_fitted, validate_data

from gnet.errors import DegenerateInputError
from gnet.plugins.units.lattices import scaling_exponents
from gnet.plugins.units.products import Products
from gnet.plugins.units.transformer import DimensionlessFeatures


class DimensionlessRegressor(RegressorMixin, BaseEstimator):
    """y = s(x) F(z): z the dimensionless products of the columns, s a product with the units of y, F any regressor.

    ``UnitsEquivariant`` for scikit-learn: train and test sets may be in different systems of units, and predictions come in that
    of the rows. Of y over s the regressor may do what it likes, subtract a mean among it.

    Args:
        regressor: F; None takes ``LinearRegression``.
        units: row i has the exponents of the base units of column i; None takes pure numbers.
        out_units: those of y; None takes a pure number.
        log: F sees ln |z| in place of z.
        signs: F also sees the sign of every column.
        rational: fractional exponents are accepted in s; for positive columns.

    Attributes:
        regressor_: F, fitted.
        features_: the products it sees.
        scaling_: exponents of s.

    Shapes:
        units: (n, k) integers    out_units: (k,)    X: (samples, n)    y: (samples,)

    Raises:
        ShapeError: rows of units that are not as many as columns.
        UnitsError: ``out_units`` cannot be made of the columns.
        DegenerateInputError: a zero or a negative number that the products cannot take, or an s of zero, which hides y.

    References:
        Villar, Yao, Hogg, Blum-Smith and Dumitrascu (2023), arXiv:2204.00887.

    Example:
        >>> from sklearn.neighbors import KNeighborsRegressor
        >>> x = np.random.default_rng(0).uniform(1.0, 2.0, (50, 3))  # two lengths in m, a mass in kg
        >>> y = x[:, 2] * np.tanh(x[:, 0] / x[:, 1])
        >>> model = DimensionlessRegressor(KNeighborsRegressor(), [[0, 1], [0, 1], [1, 0]], (1, 0), log=True).fit(x, y)
        >>> grams = x * [1.0, 1.0, 1000.0]
        >>> np.allclose(model.predict(grams), 1000 * model.predict(x))
        True
    """

    def __init__(
        self,
        regressor: Any = None,
        units: Any = None,
        out_units: Sequence[int] | None = None,
        *,
        log: bool = False,
        signs: bool = False,
        rational: bool = False,
    ) -> None:
        self.regressor = regressor
        self.units = units
        self.out_units = out_units
        self.log = log
        self.signs = signs
        self.rational = rational

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit F to y over s."""
        x, labels = validate_data(self, X, y, dtype=[np.float64, np.float32], y_numeric=True)
        self.features_ = DimensionlessFeatures(self.units, log=self.log, signs=self.signs).fit(x)
        units = [[0]] * x.shape[1] if self.units is None else self.units
        self.scaling_ = scaling_exponents(units, self.out_units or [0] * len(units[0]), self.rational)
        scale = self._scale(x)
        if not scale.all():
            raise DegenerateInputError(f"row {int((scale == 0).argmax())} has a scale of zero, which hides y; leave it out")
        self.regressor_ = clone(LinearRegression() if self.regressor is None else self.regressor).fit(
            self._seen(x), labels / scale
        )
        return self

    def predict(self, X: ArrayLike) -> np.ndarray[Any, Any]:
        """s times what F predicts, in the units of the rows."""
        check_is_fitted(self)
        x = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return np.asarray(self.regressor_.predict(self._seen(x)) * self._scale(x))

    def _scale(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return Products([self.scaling_])(torch.tensor(X))[:, 0].numpy()

    def _seen(self, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        found = self.features_.transform(X)
        return found if found.shape[1] else np.ones((len(X), 1))  # no product: F is a number
