"""Dimensionless products as a transformer of scikit-learn: in front of any regressor, in any pipeline."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from gnet.errors import ShapeError
from gnet.plugins.units.lattices import dimensionless_basis
from gnet.plugins.units.names import product_text
from gnet.plugins.units.products import Products


class DimensionlessFeatures(TransformerMixin, BaseEstimator):
    """All independent products of the columns that have no units: what a change of base units leaves as it is.

    Nothing is learned from the numbers, so that train and test sets may be in different systems of units.

    Args:
        units: row i has the exponents of the base units of column i; None takes pure numbers, which stay as they are.
        log: ln |z| in place of z.
        signs: adds the sign of every column; with ``log``, columns below zero need it.

    Attributes:
        exponents_: of the products, one row for each.

    Shapes:
        units: (n, k) integers    X: (samples, n)    returns: (samples, n - rank), with ``signs`` n more

    Raises:
        ShapeError: rows of units that are not as many as columns.
        UnitsError: exponents of base units that are no integers.
        DegenerateInputError: zero under a negative exponent or a logarithm, or a number below zero whose sign only the
            logarithm would see.

    References:
        Villar, Yao, Hogg, Blum-Smith and Dumitrascu (2023), arXiv:2204.00887.

    Example:
        >>> units = [[1, 0], [1, -2], [0, 1]]  # a length in m, an acceleration, a time
        >>> features = DimensionlessFeatures(units).fit([[2.0, 9.81, 3.0]])
        >>> features.get_feature_names_out(["l", "g", "t"]).tolist()
        ['l g^-1 t^-2']
        >>> metres, feet = [[2.0, 9.81, 3.0]], [[2 / 0.3048, 9.81 / 0.3048, 3.0]]
        >>> features.transform(metres).round(6).tolist(), features.transform(feet).round(6).tolist()
        ([[0.022653]], [[0.022653]])
    """

    def __init__(self, units: Any = None, *, log: bool = False, signs: bool = False) -> None:
        self.units = units
        self.log = log
        self.signs = signs

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Find the products; of X only the number and the names of the columns are used."""
        num = validate_data(self, X, dtype=[np.float64, np.float32]).shape[1]
        units = [[0]] * num if self.units is None else self.units
        if len(units) != num:
            raise ShapeError(f"expected one row of units for each of {num} columns, got {len(units)}")
        self.exponents_ = dimensionless_basis(units).numpy()
        return self

    def transform(self, X: ArrayLike) -> np.ndarray[Any, Any]:
        """Multiply."""
        check_is_fitted(self)
        x = torch.tensor(validate_data(self, X, reset=False, dtype=[np.float64, np.float32]))
        return Products(torch.tensor(self.exponents_)).features(x, self.log, self.signs).numpy()

    def get_feature_names_out(self, input_features: Sequence[str] | None = None) -> np.ndarray[Any, Any]:
        """The products, as text.

        Raises:
            ShapeError: other than one name for each column.
            ValueError: other names than in ``fit``.

        Example:
            >>> DimensionlessFeatures([[1], [1]], log=True, signs=True).fit([[1.0, 2.0]]).get_feature_names_out().tolist()
            ['ln|x0 x1^-1|', 'sign x0', 'sign x1']
        """
        check_is_fitted(self, "exponents_")
        known = getattr(self, "feature_names_in_", None)
        if input_features is None:
            input_features = [f"x{i}" for i in range(self.n_features_in_)] if known is None else known
        elif known is not None and list(input_features) != list(known):
            raise ValueError("input_features is not equal to feature_names_in_")  # the words scikit-learn's checks look for
        if len(input_features) != self.n_features_in_:
            raise ShapeError(f"input_features should have length equal to {self.n_features_in_}, got {len(input_features)}")
        texts = [product_text(input_features, row) for row in self.exponents_.tolist()]
        names = [f"ln|{each}|" for each in texts] if self.log else texts
        return np.array(names + [f"sign {each}" for each in input_features] * self.signs, dtype=object)
