"""Linear estimators of scikit-learn's kind that know a group: ridge among its maps, and least squares shrunk towards them."""

import copy
import math
from collections.abc import Sequence
from typing import Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from gnet.errors import ConfigError
from gnet.groups.base import NodeGroup, check_node_group
from gnet.theory.counted import fill, fill_by_least_squares, least_squares
from gnet.theory.estimates import estimate_shrinkage
from gnet.theory.regressor import NodeRegressor
from gnet.theory.shrinkage import as_chain
from gnet.theory.solvers import Solver, ridge, solver_of


class EquivariantRidge(NodeRegressor):
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

    Units: those of y in ``predict``; alpha in those of X squared.

    Raises:
        ConfigError: a negative penalty, or an unknown output.
        ShapeError: X or y that do not fit the group.
        GroupError: no group of nodes, or more than 4096 nodes of a group with generators.

    Attributes:
        coef_, intercept_: as in ``sklearn.linear_model.Ridge``
        num_weights_: dimension of the maps among which it looked.
        num_offsets_: of the offsets, 0 without intercept.
        min_samples_: from how many samples on least squares has one solution, for inputs in general position: node orbits times
            channels, and one more for the offset.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, whose regression trains within the group; Hoerl and Kennard (1970).

    Example:
        >>> import numpy as np
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
        if self.group is not None:
            check_node_group(self.group)
        return self.fit_signals(*self.checked(X, y, self.group, self.output), self._is_invariant)

    def fit_signals(
        self,
        x: Tensor,
        targets: Tensor,
        is_invariant: bool,
        solver: Solver | None = None,
        counted: Tensor | None = None,
    ) -> Self:
        """``fit`` to float64 tensors that were checked already: x (n, N, C), targets (n, N, C'), or (n, C') if invariant.

        ``solver`` is one that was made for the group before: it spares finding the irreducible representations again. Entries
        of the targets that are not ``counted`` are left out of the sum of squares.
        """
        self._solver: Solver = solver_of(self.group, is_invariant) if solver is None else copy.copy(solver)
        x_mean = self._solver.fixed_mean(x) if self.fit_intercept else torch.zeros_like(x[0])
        centred = x - x_mean
        solve = self._solver.prepare(centred, float(self.alpha))

        def fitted_mean(known: Tensor) -> Tensor:
            mean = self._solver.fixed_mean(known) if self.fit_intercept else torch.zeros_like(known[0])
            solve(known - mean)
            return mean

        if counted is not None:
            targets = fill(lambda known: fitted_mean(known) + self._solver.apply(centred), targets, counted)
        self.offset_ = fitted_mean(targets) - self._solver.apply(x_mean[None])[0]
        self.num_weights_ = self._solver.num_weights
        orbits = x.shape[1] if self.group is None else self.group.node_orbits().num_clusters
        # Sums over node orbits need most: another representation V is in an orbit at most dim V / f times (Frobenius), each time
        # with f columns per channel (1, 2 or 4), and has dim V rows per sample.
        self.min_samples_ = orbits * x.shape[2] + int(self.fit_intercept)
        if not self.fit_intercept:
            self.num_offsets_ = 0
        elif self.group is None or is_invariant:
            self.num_offsets_ = targets[0].numel()
        else:
            self.num_offsets_ = orbits * targets.shape[2]
        return self

    def linear(self, x: Tensor) -> Tensor:
        """The fitted map without its offset."""
        return self._solver.apply(x)

    def dense(self) -> Tensor:
        """That map as a matrix, (out, in)."""
        return self._solver.dense()


class ShrunkEquivariantRegression(NodeRegressor):
    """Least squares, shrunk towards a chain of groups by as much as the data themselves say: no penalty, no validation set.

    For G_0 <= ... <= G_J it is Psi_J + sum_j lambda_j (Psi_j - Psi_(j + 1)) of least squares, lambda_j = max(0, 1 - v_j / q_j)
    with q_j the squared norm of the increment and v_j the estimate of the noise in it. Factors are noisy where an increment has
    few dimensions: one of a single dimension has 0.33 times the risk of least squares where the truth has the symmetry, and up to
    1.49 times where it nearly has. The guide on estimators has a table; ``configs/simulation/shrinkage.yaml`` makes it.

    Args:
        groups: the chain, smallest first; one group stands for the chain from the trivial group to it; None is least squares.
        fit_intercept: whether there is an offset.
        output: see ``EquivariantRidge``.

    Shapes:
        as ``EquivariantRidge``

    Units: those of y in ``predict``.

    Raises:
        ShapeError: not more samples than inputs (with groups), or shapes that do not fit them.
        GroupError: no groups of nodes, or groups that are not nested.

    Attributes:
        coef_, intercept_: as in ``sklearn.linear_model.LinearRegression``
        factors_: lambda_j, one for each increment.

    References:
        James and Stein (1961), in each increment on its own; see ``gnet.theory.estimate_shrinkage``.

    Example:
        >>> import numpy as np
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
        chain = None if self.groups is None else as_chain(self.groups)
        return self.fit_signals(*self.checked(X, y, None if chain is None else chain[0], self.output), self._is_invariant)

    def fit_signals(self, x: Tensor, targets: Tensor, is_invariant: bool, counted: Tensor | None = None) -> Self:
        """``fit`` to float64 tensors that were checked already; see ``EquivariantRidge.fit_signals``."""
        targets = fill_by_least_squares(x, targets, counted, centred=self.fit_intercept)
        x_mean, y_mean = (each.mean(0) if self.fit_intercept else torch.zeros_like(each[0]) for each in (x, targets))
        self.factors_: tuple[float, ...] = ()
        if self.groups is None:
            self._weights = ridge((x - x_mean).flatten(1), 0.0)((targets - y_mean).flatten(1)).mT
        else:
            pieces = self._shrunk(x, targets, is_invariant, counted, as_chain(self.groups))
            self._weights = torch.cat([each.reshape(-1, x[0].numel()) for each in pieces])
        self.offset_ = y_mean.flatten() - self._weights @ x_mean.flatten()
        return self

    def _shrunk(
        self, x: Tensor, targets: Tensor, is_invariant: bool, counted: Tensor | None, chain: Sequence[NodeGroup]
    ) -> list[Tensor]:
        """Of signals one map, of numbers one for each."""
        pieces = [(targets, counted)]
        if is_invariant:
            pieces = [(targets[:, i], None if counted is None else counted[:, i]) for i in range(targets.shape[1])]
        found = []
        for piece, counts in pieces:
            theta, factors = estimate_shrinkage(least_squares(x, piece, counts, centred=self.fit_intercept), chain)
            self.factors_ = (*self.factors_, *factors)
            found.append(theta if is_invariant else theta.flatten(2).flatten(0, 1))
        return found

    def linear(self, x: Tensor) -> Tensor:
        """The fitted map without its offset."""
        return x.flatten(1) @ self._weights.mT

    def dense(self) -> Tensor:
        """That map as a matrix, (out, in)."""
        return self._weights
