"""How much symmetry do the data want? An estimator of scikit-learn's kind that tries groups and keeps what serves best."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from gnet.errors import ConfigError, ShapeError
from gnet.graphs.partition import Partition
from gnet.groups.base import NodeGroup
from gnet.groups.cluster import ClusterGroup, TrivialGroup
from gnet.selection.averaging import Candidate, convex_weights
from gnet.selection.candidates import distinct_groups, given_groups, is_finest_first
from gnet.selection.inputs import (
    LARGEST,
    Method,
    as_numpy,
    check_finite,
    check_penalties,
    check_settings,
    counted_entries,
    folds_of,
    num_nodes_in,
    wants_larger,
    warn_of_slips,
    without_missing,
)
from gnet.selection.judging import errors_left_out, judged, simplest_of_best
from gnet.selection.merging import MergePath, geometric_counts, merge_clusters
from gnet.selection.prediction import predicted_risk
from gnet.selection.stability import DIFFERENT, Stability, bootstrap_stability
from gnet.theory.counted import fill_by_least_squares, least_squares
from gnet.theory.estimators import EquivariantRidge, ShrunkEquivariantRegression
from gnet.theory.regressor import Array, NodeRegressor
from gnet.theory.solvers import Solver, solver_of

if TYPE_CHECKING:
    from torch_geometric.data import Data


class UnstablePartitionWarning(UserWarning):
    """Other samples would have given other clusters."""


class SymmetrySelection(NodeRegressor):
    """Linear regression on a graph with as much symmetry as the data want.

    Every candidate group is fitted by ridge regression among its maps (``EquivariantRidge``), judged by cross-validation and,
    where the samples are enough, by an estimate of the risk that least squares has at new inputs (``predicted_risk``: unbiased
    for normal inputs that the group leaves as they are). What is kept, by ``method``:

    - "averaging": the convex combination of all candidates with the lowest cross-validated error. Needs no nesting and no more
      samples than inputs.
    - "validation": the candidate of the lowest cross-validated error.
    - "estimate": least squares in the candidate of the lowest estimate, Hocking's S_p. That of least squares without symmetry,
      averaged over the group, is another: ``gnet.theory.select_group``.
    - "shrinkage": least squares without symmetry, shrunk along a chain of groups by as much as the data say
      (``ShrunkEquivariantRegression``). Needs nested groups and more samples than inputs.

    Args:
        groups: the candidates, all on the same nodes; None takes those that ``candidate_groups`` finds on the graph given to
            ``fit`` (with "shrinkage" those of ``cluster_chain``, which are nested); without a graph what merging learns, or, with
            a warning, no symmetry: all columns are channels of one node. With "shrinkage" one group stands for the chain from
            the trivial group to it.
        merge: learn nested clusters from the data by ``merge_clusters``, and add them to the candidates, which needs more samples
            (in each fold) than inputs, none of which depends on others; None does so where there are as many, and groups or a
            graph that say what a node is, and goes on without, with a warning, where some inputs depend on others.
        alphas: ridge penalties to try, in units of the mean square of an input, 0 for least squares (of least norm); None tries 0
            and 0.1 to 100, and larger ones up to 1e6 while they are better, with a warning if the last is.
        cv: folds, or a splitter of scikit-learn's: ``TimeSeriesSplit`` for series.
        complexity: price of a weight in merging, see ``merge_clusters``: None is log n (Schwarz), which finds true clusters where
            there are any as n grows, and prefers coarse ones; 2 is the unbiased estimate of the risk.
        num_bootstraps: how often clusters are learned again, each time from a random 63 % of the samples, for ``stability_``; 0
            does not.
        num_candidates: about how many cluster groups a graph or a merge path gives.
        fit_intercept: whether there is an offset.
        output: see ``EquivariantRidge``; a y of one number for each sample is invariant, with a warning unless this says so.

    Shapes:
        X, y: see ``EquivariantRidge``

    Raises:
        ConfigError: settings that none could use, no group, no penalty.
        GroupError: groups that are not nested, with "shrinkage".
        GraphError: a graph that is none.
        ShapeError: shapes that do not fit the groups, NaN in X, or too few samples for what was asked for.

    Attributes:
        best_group_: the group of lowest validated risk (estimated risk, of the methods that estimate), ``path_[best_index_]``; of
            those that differ by rounding alone the one of fewest weights. ``predict`` uses it alone with "validation" and
            "estimate".
        path_: a ``Candidate`` for each group, in the order given, chains smallest first; of learned clusters the best last. Of
            groups that are the same the first is kept.
        cv_results_: the same as arrays, as scikit-learn's searches have it.
        weights_: shares (averaging) or factors (shrinkage) of the candidates.
        error_products_: mean products of the candidates' cross-validated errors over all entries that count, (J, J). Where as
            many count in every sample, ``validated``, a mean over samples, is the diagonal.
        merge_path_: what merging went through, or None.
        stability_: agreement of the clusters that merging learns from random parts of the samples (``bootstrap_stability``); None
            without merging, and where the parts are too small. A warning is given then, and where it is low.
        coef_, intercept_: of the fitted map.

    References:
        Hocking (1976), doi:10.2307/2529336, for the estimate; Breiman (1996), doi:10.1007/BF00117832, and Hansen and Racine
        (2012), doi:10.1016/j.jeconom.2011.06.019, for averaging by cross-validation.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.standard_normal((60, 6))
        >>> y = x * [1, 1, 1, 3, 3, 3] + 0.5 * rng.standard_normal((60, 6))
        >>> groups = [TrivialGroup(6), ClusterGroup(Partition([0, 0, 0, 1, 1, 1])), SymmetricGroup(6)]
        >>> selection = SymmetrySelection(groups, method="validation", merge=False).fit(x, y)
        >>> selection.best_group_, [candidate.num_weights for candidate in selection.path_]
        (ClusterGroup(S3 x S3, order 6^2), [36, 6, 2])
    """

    _drops_repeated = True

    def __init__(
        self,
        groups: Sequence[NodeGroup] | None = None,
        method: Method = "averaging",
        *,
        merge: bool | None = None,
        alphas: Sequence[float] | None = None,
        cv: Any = 5,
        complexity: float | None = None,
        num_bootstraps: int = 10,
        num_candidates: int = 8,
        fit_intercept: bool = True,
        output: str | None = None,
    ) -> None:
        self.groups = groups
        self.method = method
        self.merge = merge
        self.alphas = alphas
        self.cv = cv
        self.complexity = complexity
        self.num_bootstraps = num_bootstraps
        self.num_candidates = num_candidates
        self.fit_intercept = fit_intercept
        self.output = output

    def fit(self, X: ArrayLike, y: ArrayLike, graph: "Data | None" = None, mask: ArrayLike | None = None) -> Self:
        """Fit all candidates, judge them, and keep what ``method`` says, fitted to all samples.

        ``mask``, shaped as y, says which entries of y were measured: no others count, neither in the fits nor in the risks, nor
        do those that are NaN.
        """
        options = (self.method, self.merge, self.complexity, self.num_bootstraps, self.num_candidates)
        check_settings(*options, graph=graph)
        alphas = check_penalties(self.alphas)
        X, (y, mask) = as_numpy(X), without_missing(y, mask)
        check_finite(X)
        given = self._given(graph)
        degree = given[0].degree if given else num_nodes_in(X) if self.merge else None
        warn_of_slips(X, y, degree, self.output)
        x, targets = self.checked(X, y, None if degree is None else TrivialGroup(degree), self.output)
        self._solvers: dict[int, tuple[NodeGroup, Solver]] = {}  # the group is kept, so that its id stays its own
        self._folds = folds_of(self.cv, len(x))
        counted = counted_entries(mask, targets)
        self._merges = self._may_merge(given, x, targets, counted) if self.merge is None else self.merge
        scale = float((x - x.mean(0)).square().mean())
        (groups, self.merge_path_), *folds = self._candidates_everywhere(given, x, targets, counted)
        losses, products = self._cross_validate([each for each, _ in folds], x, targets, counted, alphas, scale)
        kept = distinct_groups(groups) if self._drops_repeated else list(range(len(groups)))
        groups, losses, products = [groups[place] for place in kept], losses[kept], products[kept][:, :, kept]
        self.path_ = self._judged(groups, len(groups) if self.merge_path_ is None else len(given), x, targets, losses, counted)
        places = [self._penalties.index(each.penalty) + number * len(self._penalties) for number, each in enumerate(self.path_)]
        self.error_products_ = products.flatten(2).flatten(0, 1).numpy()[np.ix_(places, places)]
        self._scale = float(targets[counted].square().mean())
        self._keep(x, targets, counted)
        self.stability_ = self._stability(x, targets, counted)
        del self._solvers
        return self

    @property
    def cv_results_(self) -> dict[str, Any]:
        """``path_`` as arrays."""
        check_is_fitted(self, "path_")
        columns = {
            "mean_test_risk": "validated",
            "std_error_test_risk": "standard_error",
            "mean_predicted_risk": "predicted",
            "param_alpha": "penalty",
            "num_weights": "num_weights",
            "weight": "weight",
            "mean_difference": "difference",
            "std_error_difference": "difference_error",
            "is_learned": "is_learned",
        }
        found: dict[str, Any] = {key: np.array([getattr(each, name) for each in self.path_]) for key, name in columns.items()}
        found["param_group"] = np.array([each.group for each in self.path_], dtype=object)
        found["rank_test_risk"] = np.argsort(np.argsort(found["mean_test_risk"], kind="stable"), kind="stable") + 1
        return found

    def _given(self, graph: "Data | None") -> list[NodeGroup]:
        """The candidates that do not depend on the samples; none where there is neither group nor graph."""
        is_chain = self.method == "shrinkage"
        if self.groups is None and self.merge and is_chain:
            return []
        groups = given_groups(self.groups, graph, num_candidates=self.num_candidates, is_chain=is_chain and not self.merge)
        return [groups[place] for place in distinct_groups(groups)] if self._drops_repeated else groups

    def _may_merge(self, given: list[NodeGroup], x: Tensor, targets: Tensor, counted: Tensor) -> bool:
        """Whether merging is possible in every fold, and adds to what was given."""
        fewest = min(int(counted[train].sum(0).min()) for train, _ in self._folds) - int(self.fit_intercept)
        is_one_task = targets.ndim == 3 or targets.shape[1] == 1
        return bool(given) and self.method != "shrinkage" and is_one_task and fewest > x[0].numel() + 1

    def _candidates_everywhere(
        self, given: list[NodeGroup], x: Tensor, targets: Tensor, counted: Tensor
    ) -> list[tuple[list[NodeGroup], MergePath | None]]:
        """``_candidates`` on all samples, then in each fold; nothing is learned where that is impossible and nobody asked."""
        rows = [np.arange(len(x)), *(train for train, _ in self._folds)]
        try:
            return [self._candidates(given, x[each], targets[each], counted[each]) for each in rows]
        except ShapeError as error:
            if self.merge is not None:
                raise
            text = f"no clusters are learned, since merging starts from least squares without symmetry: {error.__cause__}"
            warnings.warn(text, UserWarning, stacklevel=3)
        self._merges = False
        return [(given, None) for _ in rows]

    def _candidates(
        self, given: list[NodeGroup], x: Tensor, targets: Tensor, counted: Tensor
    ) -> tuple[list[NodeGroup], MergePath | None]:
        """The groups to compare on these samples, learned clusters last: smallest group first, then the best of them."""
        if not self._merges:
            return given or [TrivialGroup(x.shape[1])], None
        if given and self.method == "shrinkage":
            raise ConfigError("shrinkage takes a chain of groups, given or learned; leave groups, or merge, out")
        if targets.ndim == 2 and targets.shape[1] > 1:
            raise ShapeError(f"merging by invariant targets takes one number for each sample, got {targets.shape[1]}")
        known, seen = (each if targets.ndim == 3 else each[:, 0] for each in (targets, counted))
        centred = self.fit_intercept
        try:
            fit = least_squares(x, fill_by_least_squares(x, known, seen, centred=centred), seen, centred=centred)
        except ShapeError as error:
            hint = (
                f"merging starts from least squares without symmetry, on {len(x)} samples here; take merge=False (--no-merge) to "
                "use fewer"
            )
            raise ShapeError(f"{error} ({hint})") from error
        path = merge_clusters(fit, complexity=math.log(len(x)) if self.complexity is None else self.complexity)
        size = x.shape[1]
        counts = geometric_counts(1, size, self.num_candidates)
        partitions = [path.partition(size - count) for count in reversed(counts)]
        return [*given, *map(ClusterGroup, partitions), ClusterGroup(path.best_partition)], path

    def _ridge(self, group: NodeGroup, penalty: float, x: Tensor, targets: Tensor, counted: Tensor) -> EquivariantRidge:
        if id(group) not in self._solvers:
            self._solvers[id(group)] = (group, solver_of(group, self._is_invariant))
        model = EquivariantRidge(group, penalty, fit_intercept=self.fit_intercept)
        return model.fit_signals(x, targets, self._is_invariant, self._solvers[id(group)][1], counted)

    def _cross_validate(
        self, folds: list[list[NodeGroup]], x: Tensor, targets: Tensor, counted: Tensor, alphas: list[float], scale: float
    ) -> tuple[Tensor, Tensor]:
        """``errors_left_out`` at the given penalties, or at those of ``PENALTIES`` and as many larger ones as are better."""

        def outputs(group: NodeGroup, penalty: float, train: np.ndarray, test: np.ndarray) -> Tensor:
            return self._ridge(group, penalty, x[train], targets[train], counted[train]).outputs(x[test])

        while True:
            self._penalties = [alpha * scale for alpha in alphas]
            losses, products = errors_left_out(self._folds, folds, self._penalties, outputs, targets, counted)
            risks = losses[:, :, ~losses[0, 0].isnan()].mean(2)
            if self.alphas is not None or not wants_larger(risks):
                return losses, products
            if alphas[-1] >= LARGEST:
                warnings.warn(
                    f"the largest ridge penalty tried, {LARGEST:g} times the mean square of an input, is the best of some "
                    "candidates: the inputs say next to nothing of the targets, or are not standardised; give alphas",
                    UserWarning,
                    stacklevel=3,
                )
                return losses, products
            alphas = [*alphas, 10 * alphas[-1], 100 * alphas[-1]]

    def _judged(
        self, groups: list[NodeGroup], num_given: int, x: Tensor, targets: Tensor, losses: Tensor, counted: Tensor
    ) -> tuple[Candidate, ...]:
        """Both risks of each group; all but the first ``num_given`` were learned."""
        verdicts = judged(losses)
        fits = [self._ridge(group, 0.0, x, targets, counted) for group in groups]
        return tuple(
            Candidate(
                group,
                fits[number].num_weights_,
                self._predicted(fits[number], group, x, targets, counted),
                verdict.validated,
                verdict.standard_error,
                self._penalties[verdict.penalty],
                difference=verdict.difference,
                difference_error=verdict.difference_error,
                is_learned=number >= num_given,
            )
            for number, (group, verdict) in enumerate(zip(groups, verdicts, strict=True))
        )

    def _predicted(self, fit: EquivariantRidge, group: NodeGroup, x: Tensor, targets: Tensor, counted: Tensor) -> float:
        """The risk of that fit at new inputs."""
        if len(x) < fit.min_samples_:
            return math.nan
        solver, share = self._solvers[id(group)][1], float(counted.double().mean())
        inputs = x - solver.fixed_mean(x) if self.fit_intercept else x
        errors = (targets - fit.outputs(x).reshape(targets.shape)) * counted
        return predicted_risk(solver, inputs, errors, share=share, has_offset=self.fit_intercept)

    def _keep(self, x: Tensor, targets: Tensor, counted: Tensor) -> None:
        """Fit what was chosen to all samples: shares of ridge regressions, or one that is shrunk."""
        path = self.path_
        groups = [each.group for each in path]
        self._members: list[tuple[float, NodeRegressor]] = []
        if self.method == "shrinkage":
            # The best of the learned clusters, the last, is out of order, unless it is one of the others and was dropped.
            chain = groups[:-1] if self._merges and not is_finest_first(groups) else groups
            model = ShrunkEquivariantRegression(chain, fit_intercept=self.fit_intercept)
            self._members = [(1.0, model.fit_signals(x, targets, self._is_invariant, counted))]
            factors = np.reshape(model.factors_, (-1, len(chain) - 1)).mean(0) if len(chain) > 1 else []
            self.weights_ = np.concatenate([factors, [1.0], np.full(len(groups) - len(chain), math.nan)])
        elif self.method == "averaging":
            self.weights_ = convex_weights(self.error_products_)
            self._members = [
                (float(weight), self._ridge(each.group, each.penalty, x, targets, counted))
                for weight, each in zip(self.weights_, path, strict=True)
                if weight > 0
            ]
        else:
            chosen = self._best()
            self.weights_ = np.eye(len(path))[chosen]
            penalty = 0.0 if self.method == "estimate" else path[chosen].penalty
            self._members = [(1.0, self._ridge(groups[chosen], penalty, x, targets, counted))]
        self.path_ = tuple(replace(each, weight=float(weight)) for each, weight in zip(path, self.weights_, strict=True))
        self.best_index_ = self._best()
        self.best_group_ = groups[self.best_index_]
        self.offset_ = _total([weight * model.offset_.flatten() for weight, model in self._members])

    def _best(self) -> int:
        """The place of the lowest risk: as predicted, for the methods that predict, else as validated; the simplest of equals."""
        validates = self.method in ("averaging", "validation")
        risks = [each.validated if validates else each.predicted for each in self.path_]
        if np.isnan(risks).all():
            raise ShapeError(
                "expected enough samples that least squares in one of the groups has a single solution; take method='averaging' "
                "or 'validation', which use ridge penalties"
            )
        return simplest_of_best(risks, [each.num_weights for each in self.path_], self._scale)

    def _stability(self, x: Tensor, targets: Tensor, counted: Tensor) -> Stability | None:
        """How much the best clusters of random parts of the samples agree."""
        if self.merge_path_ is None or not self.num_bootstraps:
            return None

        def best(rows: Tensor) -> Partition:
            path = self._candidates([], x[rows], targets[rows], counted[rows])[1]
            return path.best_partition if path is not None else Partition.singletons(x.shape[1])

        try:
            generator = torch.Generator().manual_seed(0)
            runs = {"num_runs": self.num_bootstraps, "share": DIFFERENT, "generator": generator}
            stability = bootstrap_stability(best, len(x), **runs)  # type: ignore[arg-type]
        except ShapeError:
            text = (
                f"too few samples ({len(x)} of {x[0].numel()} inputs) to tell whether others would give the same clusters: "
                "part of them gives none; read nothing into the clusters"
            )
            warnings.warn(text, UnstablePartitionWarning, stacklevel=3)
            return None
        if not stability.is_stable:
            text = f"{stability}: other samples would give other clusters; use what is fitted, but read nothing into the clusters"
            warnings.warn(text, UnstablePartitionWarning, stacklevel=3)
        return stability

    def predict(self, X: ArrayLike) -> Array:
        """The fitted map; see ``NodeRegressor.predict``."""
        check_finite(X)
        return super().predict(as_numpy(X))

    def linear(self, x: Tensor) -> Tensor:
        """The fitted map without its offset."""
        return _total([weight * model.linear(x).reshape(len(x), -1) for weight, model in self._members])

    def dense(self) -> Tensor:
        """That map as a matrix, (out, in)."""
        return _total([weight * model.dense() for weight, model in self._members])


def _total(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum(0)
