"""Linear estimators of scikit-learn's kind that know a group: ridge among its maps, and least squares shrunk towards them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from gnet.errors import ConfigError, ShapeError
from gnet.groups.base import NodeGroup, check_node_group
from gnet.theory.estimates import LeastSquares, estimate_shrinkage
from gnet.theory.shrinkage import as_chain
from gnet.theory.solvers import Solver, ridge, solver_of

Array = NDArray[np.float64]


class _Linear(MultiOutputMixin, RegressorMixin, BaseEstimator, ABC):
    """Shapes in and out, and the intercept: what both estimators share."""

    def _checked(self, X: ArrayLike, y: ArrayLike, group: NodeGroup | None, output: str | None) -> tuple[Tensor, Tensor]:
        """X as (n, N, C) and y as (n, N, C'), or (n, C') for an invariant output; without a group N is 1."""
        shape, y_shape = _shape(X), _shape(y)
        flat, targets = validate_data(self, _flat(X), _flat(y), multi_output=True, y_numeric=True, dtype=np.float64)
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
        values = torch.tensor(out, dtype=torch.float64)
        return signals, values if self._is_invariant else values.reshape(len(out), nodes, -1)

    def predict(self, X: ArrayLike) -> Array:
        """The fitted map.

        Shapes:
            X: as in ``fit``    returns: as y in ``fit``
        """
        check_is_fitted(self)
        flat = validate_data(self, _flat(X), dtype=np.float64, reset=False)
        x = torch.tensor(flat).reshape(len(flat), self._nodes, -1)
        return self._apply(x).reshape(len(flat), -1).add(self._offset.reshape(1, -1)).numpy().reshape(len(flat), *self._y_shape)

    @abstractmethod
    def _apply(self, x: Tensor) -> Tensor:
        """The map without offset, (n, N, C) -> (n, ...)."""

    @abstractmethod
    def _dense(self) -> Tensor:
        """The map as a matrix, (out, in)."""

    @property
    def coef_(self) -> Array:
        """The map as a matrix, (out, in), or (in,) where y was (n,); made when asked for."""
        check_is_fitted(self)
        dense = self._dense().numpy()
        return dense[0] if not self._y_shape else dense

    @property
    def intercept_(self) -> Array | float:
        """The offset, (out,), or a number where y was (n,)."""
        check_is_fitted(self)
        offset = self._offset.reshape(-1).numpy()
        return offset if self._y_shape else float(offset[0])


class EquivariantRidge(_Linear):
    """Ridge regression among the linear maps that commute with a group: min ||Y - X Theta - b||^2 + alpha ||Theta||^2.

    It is solved one irreducible representation at a time: for a cluster group a system of the cluster means and one of C
    channels for the deviations within each cluster, O(n N C^2 + (k C)^3), and no N x N matrix. The offset b is the same for all
    nodes that the group can exchange.

    Args:
        group: of nodes; None is the trivial group, which makes it ridge regression as everyone knows it.
        alpha: penalty, 0 is least squares (of least norm).
        fit_intercept: whether there is an offset.
        output: "equivariant" for targets that move with the nodes, "invariant" for others; None is "invariant" for y (n,).

    Shapes:
        X: (n, N), (n, N C) or (n, N, C), nodes slow    y: the same with C', or (n,), or (n, C') with ``output="invariant"``

    Raises:
        ConfigError: a negative penalty, or an unknown output.
        ShapeError: X or y that do not fit the group.
        GroupError: no group of nodes, or more than 4096 nodes of a group with generators.

    Attributes:
        coef_, intercept_: as in ``sklearn.linear_model.Ridge``
        num_weights_: dimension of the maps among which it looked.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, whose regression trains within the group; Hoerl and Kennard (1970).

    Example:
        >>> x = np.random.default_rng(0).standard_normal((20, 6))
        >>> model = EquivariantRidge(ClusterGroup(Partition([0, 0, 0, 1, 1, 2])), alpha=0.1).fit(x, 2 * x)
        >>> model.predict(x).shape, model.num_weights_, round(float(model.score(x, 2 * x)), 3)
        ((20, 6), 11, 1.0)
    """

    def __init__(
        self, group: NodeGroup | None = None, alpha: float = 1.0, *, fit_intercept: bool = True, output: str | None = None
    ) -> None:
        self.group = group
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.output = output

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit."""
        if not self.alpha >= 0 or math.isinf(self.alpha):
            raise ConfigError(f"expected a finite alpha >= 0, got {self.alpha!r}")
        if self.output not in (None, "equivariant", "invariant"):
            raise ConfigError(f"expected output 'equivariant', 'invariant' or None, got {self.output!r}")
        if self.group is not None:
            check_node_group(self.group)
        x, targets = self._checked(X, y, self.group, self.output)
        self._solver: Solver = solver_of(self.group, self._is_invariant)
        x_mean, y_mean = (
            self._solver.fixed_mean(each) if self.fit_intercept else torch.zeros_like(each[0]) for each in (x, targets)
        )
        self._solver.fit(x - x_mean, targets - y_mean, float(self.alpha))
        self._offset = y_mean - self._solver.apply(x_mean[None])[0]
        self.num_weights_ = self._solver.num_weights
        return self

    def _apply(self, x: Tensor) -> Tensor:
        return self._solver.apply(x)

    def _dense(self) -> Tensor:
        return self._solver.dense()


class ShrunkEquivariantRegression(_Linear):
    """Least squares, shrunk towards a chain of groups by as much as the data themselves say: no penalty, no validation set.

    For G_0 <= ... <= G_J it is Psi_J + sum_j lambda_j (Psi_j - Psi_(j + 1)) of least squares, lambda_j = max(0, 1 - v_j / q_j)
    with q_j the squared norm of the increment and v_j the estimate of the noise in it. Whatever the truth, it follows the better
    of the groups, and mixes them where neither is right.

    Args:
        groups: the chain, smallest first; one group stands for the chain from the trivial group to it; None is least squares.
        fit_intercept: whether there is an offset.
        output: see ``EquivariantRidge``.

    Shapes:
        as ``EquivariantRidge``

    Raises:
        ShapeError: not more samples than inputs (with groups), or shapes that do not fit them.
        GroupError: groups that are not nested.

    Attributes:
        coef_, intercept_: as in ``sklearn.linear_model.LinearRegression``
        factors_: lambda_j, one for each increment.

    References:
        ``gnet.theory.estimate_shrinkage``.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.standard_normal((50, 3))
        >>> y = x @ [1.0, 1.0, 0.9] + 0.5 * rng.standard_normal(50)
        >>> model = ShrunkEquivariantRegression([TrivialGroup(3), SymmetricGroup(3)]).fit(x, y)
        >>> model.coef_.shape, len(model.factors_)
        ((3,), 1)
    """

    def __init__(
        self,
        groups: NodeGroup | Sequence[NodeGroup] | None = None,
        *,
        fit_intercept: bool = True,
        output: str | None = None,
    ) -> None:
        self.groups = groups
        self.fit_intercept = fit_intercept
        self.output = output

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit."""
        if self.output not in (None, "equivariant", "invariant"):
            raise ConfigError(f"expected output 'equivariant', 'invariant' or None, got {self.output!r}")
        chain = None if self.groups is None else as_chain(self.groups)
        x, targets = self._checked(X, y, None if chain is None else chain[0], self.output)
        x_mean, y_mean = (each.mean(0) if self.fit_intercept else torch.zeros_like(each[0]) for each in (x, targets))
        self.factors_: tuple[float, ...] = ()
        if chain is None:
            self._weights = ridge((x - x_mean).flatten(1), (targets - y_mean).flatten(1), 0.0).mT
        else:
            self._weights = torch.cat([each.reshape(-1, x[0].numel()) for each in self._shrunk(x, targets, chain)])
        self._offset = y_mean.flatten() - self._weights @ x_mean.flatten()
        return self

    def _shrunk(self, x: Tensor, targets: Tensor, chain: Sequence[NodeGroup]) -> list[Tensor]:
        pieces = list(targets.unbind(1)) if self._is_invariant else [targets]
        found = []
        for piece in pieces:
            fit = LeastSquares.fit(x, piece, centred=self.fit_intercept)
            theta, factors = estimate_shrinkage(fit, chain)
            self.factors_ = (*self.factors_, *factors)
            found.append(theta if self._is_invariant else theta.flatten(2).flatten(0, 1))
        return found

    def _apply(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self._weights.mT

    def _dense(self) -> Tensor:
        return self._weights


def _shape(values: Any) -> tuple[int, ...]:
    return tuple(values.shape) if hasattr(values, "shape") else np.asarray(values).shape


def _flat(values: Any) -> Any:
    """(n, N, C) as (n, N C), everything else as it is, for scikit-learn to check."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    if isinstance(values, list | tuple | np.ndarray) and np.ndim(values) == 3:
        return np.reshape(values, (len(values), -1))
    return values
