"""What linear estimators on nodes share: signals in and out of scikit-learn's arrays, the intercept, and prediction."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from gnet.errors import ConfigError, ShapeError
from gnet.groups.base import NodeGroup

Array = NDArray[np.float64]


class NodeRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator, ABC):
    """Base of linear estimators from signals to signals, or to numbers: shapes in and out, and the intercept.

    A subclass calls ``checked`` in ``fit``, sets ``offset_``, and says how its map is applied.
    """

    offset_: Tensor

    def checked(self, X: ArrayLike, y: ArrayLike, group: NodeGroup | None, output: str | None) -> tuple[Tensor, Tensor]:
        """X as (n, N, C) and y as (n, N, C'), or (n, C') for an invariant output; without a group N is 1.

        Raises:
            ShapeError: they do not fit the group.
            ConfigError: an unknown output.
        """
        if output not in (None, "equivariant", "invariant"):
            raise ConfigError(f"expected output 'equivariant', 'invariant' or None, got {output!r}")
        shape, y_shape = array_shape(X), array_shape(y)
        flat, targets = validate_data(self, flattened(X), flattened(y), multi_output=True, y_numeric=True, dtype=np.float64)
        self._y_shape = () if targets.ndim == 1 else y_shape[1:]
        self._nodes = nodes = 1 if group is None else group.degree
        if flat.shape[1] % nodes or (len(shape) == 3 and group is not None and shape[1] != nodes):
            raise ShapeError(f"expected X of shape (n, {nodes}), (n, {nodes} C) or (n, {nodes}, C), got {shape}")
        self._is_invariant = group is not None and (output == "invariant" or (output is None and targets.ndim == 1))
        out = targets.reshape(len(targets), -1)
        if not self._is_invariant and (out.shape[1] % nodes or (len(y_shape) == 3 and group is not None and y_shape[1] != nodes)):
            hint = 'for targets that do not move with the nodes say output="invariant"'
            raise ShapeError(f"expected y of shape (n, {nodes}), (n, {nodes} C') or (n, {nodes}, C'), got {y_shape}; {hint}")
        signals = torch.tensor(flat).reshape(len(flat), nodes, -1)
        # What X of three axes must look like in predict: nodes and channels, or without a group the axes of fit.
        self._signal_shape = tuple(signals.shape[1:]) if group is not None else shape[1:] if len(shape) == 3 else None
        values = torch.tensor(out, dtype=torch.float64)
        return signals, values if self._is_invariant else values.reshape(len(out), nodes, -1)

    def predict(self, X: ArrayLike) -> Array:
        """The fitted map.

        Shapes:
            X: as in ``fit``; (n, N C) and (n, N, C) stand for each other    returns: as y in ``fit``

        Raises:
            ShapeError: X of three axes that are not nodes and channels, as in ``fit``.
        """
        check_is_fitted(self)
        shape = array_shape(X)
        if len(shape) == 3 and shape[1:] != self._signal_shape:
            wanted = "(n, features)" if self._signal_shape is None else f"(n, {', '.join(map(str, self._signal_shape))})"
            raise ShapeError(f"expected X of shape {wanted} as in fit, got {shape}")
        flat = validate_data(self, flattened(X), dtype=np.float64, reset=False)
        x = torch.tensor(flat).reshape(len(flat), self._nodes, -1)
        return self.outputs(x).numpy().reshape(len(flat), *self._y_shape)

    def outputs(self, x: Tensor) -> Tensor:
        """The fitted map of signals (n, N, C), as (n, out)."""
        return self.linear(x).reshape(len(x), -1) + self.offset_.flatten()

    @abstractmethod
    def linear(self, x: Tensor) -> Tensor:
        """The fitted map without its offset, (n, N, C) -> (n, ...)."""

    @abstractmethod
    def dense(self) -> Tensor:
        """That map as a matrix, (out, in)."""

    @property
    def coef_(self) -> Array:
        """The map as a matrix, (out, in), or (in,) where y was (n,); made when asked for."""
        check_is_fitted(self)
        dense = self.dense().numpy()
        return dense[0] if not self._y_shape else dense

    @property
    def intercept_(self) -> Array | float:
        """The offset, (out,), or a number where y was (n,)."""
        check_is_fitted(self)
        offset = self.offset_.flatten().numpy()
        return offset if self._y_shape else float(offset[0])


def array_shape(values: Any) -> tuple[int, ...]:
    """Of an array, a tensor or nested lists."""
    return tuple(values.shape) if hasattr(values, "shape") else np.asarray(values).shape


def flattened(values: Any, most: float = 3) -> Any:
    """Signals of three axes, or of up to ``most``, as (n, entries); everything else as it is, for scikit-learn to check."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    if isinstance(values, list | tuple | np.ndarray) and 3 <= np.ndim(values) <= most:
        return np.reshape(values, (len(values), -1))
    return values
