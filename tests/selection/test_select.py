"""Choosing a symmetry: each method against its definition, recovery of what was planted, and scikit-learn's conventions."""

import itertools
import math
import unittest.mock
import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, TimeSeriesSplit
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch_geometric.data import Data

from gnet.errors import ConfigError, GroupError, ShapeError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, PermutationGroup, SymmetricGroup, TrivialGroup
from gnet.selection import SymmetrySelection, UnstablePartitionWarning, candidate_groups, cluster_chain
from gnet.selection.averaging import convex_weights
from gnet.selection.inputs import METHODS
from gnet.theory import EquivariantRidge, ShrunkEquivariantRegression

PLANTED = ClusterGroup(Partition([0, 0, 0, 1, 1, 1]))
CHAIN = [TrivialGroup(6), PLANTED, SymmetricGroup(6)]
PAIRS = ClusterGroup(Partition([0, 1, 0, 1, 2, 2]))


def drawn(num, seed, noise=0.5, deviation=0.0, channels=1):
    """Samples of a map that the planted group allows, up to a deviation."""
    rng = torch.Generator().manual_seed(seed)
    labels = PLANTED.partition.labels
    values = torch.randn(2, 2, generator=rng, dtype=torch.float64)[labels][:, labels] / 3
    theta = values + torch.diag(torch.tensor([1.0, 3.0], dtype=torch.float64)[labels])
    theta = theta + deviation * torch.randn(6, 6, generator=rng, dtype=torch.float64)
    x = torch.randn(num, 6, channels, generator=rng, dtype=torch.float64)
    y = torch.einsum("ij,bjc->bic", theta, x) + noise * torch.randn(x.shape, generator=rng, dtype=torch.float64)
    return x.numpy(), y.numpy(), theta


def outputs_left_out(group, alpha, x, y, cv):
    """Cross-validated predictions of one ridge regression."""
    found = np.full(y.shape, np.nan)
    for train, test in cv.split(x):
        found[test] = EquivariantRidge(group, alpha, output="equivariant").fit(x[train], y[train]).predict(x[test])
    return found


@pytest.mark.parametrize("method", METHODS)
def test_each_method_finds_the_planted_group(method):
    x, y, theta = drawn(80, seed=1)
    selection = SymmetrySelection(CHAIN, method, merge=False).fit(x, y)
    assert selection.best_group_ == PLANTED and selection.stability_ is None
    error = np.square(selection.coef_ - theta.numpy()).sum()
    for group in (TrivialGroup(6), SymmetricGroup(6)):
        assert error < np.square(EquivariantRidge(group, 0.0).fit(x, y).coef_ - theta.numpy()).sum()


def test_validated_risks_are_those_of_cross_validation():
    x, y, _ = drawn(40, seed=2, channels=2)
    cv = KFold(4)
    selection = SymmetrySelection([*CHAIN, PAIRS], "validation", cv=cv, alphas=(0.0, 5.0), merge=False).fit(x, y)
    scale = np.square(x - x.mean(0)).mean()
    for candidate in selection.path_:
        losses = {
            alpha: np.square(outputs_left_out(candidate.group, alpha * scale, x, y, cv) - y).mean((1, 2)) for alpha in (0.0, 5.0)
        }
        best = min(losses, key=lambda alpha: losses[alpha].mean())
        assert candidate.penalty == pytest.approx(best * scale)
        assert candidate.validated == pytest.approx(losses[best].mean())
        assert candidate.standard_error == pytest.approx(losses[best].std(ddof=1) / 40**0.5)
    results = selection.cv_results_
    assert results["rank_test_risk"][np.argmin(results["mean_test_risk"])] == 1
    assert sorted(results["rank_test_risk"]) == [1, 2, 3, 4] and list(results["param_group"]) == [*CHAIN, PAIRS]


def test_averaging_is_the_best_convex_combination_of_what_was_left_out():
    x, y, _ = drawn(30, seed=4, deviation=0.15, noise=1.0)
    cv = KFold(5)
    selection = SymmetrySelection([*CHAIN, PAIRS], cv=cv, alphas=(0.0, 1.0), merge=False).fit(x, y)
    errors = np.stack([(outputs_left_out(c.group, c.penalty, x, y, cv) - y).ravel() for c in selection.path_])

    def loss(logits):
        shares = np.exp(logits - logits.max())
        return np.square(shares / shares.sum() @ errors).mean()

    best = min(
        (minimize(loss, start, method="Nelder-Mead", options={"maxiter": 4000}) for start in np.eye(4) * 3), key=lambda r: r.fun
    )
    assert loss(np.log(selection.weights_ + 1e-12)) <= best.fun * (1 + 1e-6)
    assert np.allclose(selection.error_products_, errors @ errors.T / errors.shape[1])
    assert selection.weights_.sum() == pytest.approx(1) and (selection.weights_ >= 0).all()
    members = [EquivariantRidge(c.group, c.penalty).fit(x, y) for c in selection.path_]
    mixed = sum(w * m.predict(x) for w, m in zip(selection.weights_, members, strict=True))
    assert np.allclose(selection.predict(x), mixed) and np.allclose(
        x[..., 0] @ selection.coef_.T + selection.intercept_, mixed[..., 0]
    )


def test_convex_weights_solve_their_problem():
    rng = np.random.default_rng(0)
    for size in (1, 3, 6):
        errors = rng.standard_normal((size, 50)) + rng.standard_normal(50)
        weights = convex_weights(errors @ errors.T)
        gradient = errors @ errors.T @ weights
        # Karush, Kuhn and Tucker: the gradient is lowest, and equal, where a weight is positive.
        assert gradient[weights > 1e-9] == pytest.approx(gradient.min(), rel=1e-5)


def test_shrinkage_is_the_shrunk_regression():
    x, y, _ = drawn(60, seed=5, deviation=0.1)
    selection = SymmetrySelection(CHAIN, "shrinkage").fit(x, y)
    plain = ShrunkEquivariantRegression(CHAIN).fit(x, y)
    assert np.allclose(selection.predict(x), plain.predict(x)) and selection.weights_[-1] == 1
    assert selection.weights_[:-1] == pytest.approx(plain.factors_)
    with pytest.raises(GroupError):
        SymmetrySelection([TrivialGroup(6), PAIRS, PLANTED], "shrinkage").fit(x, y)


def test_merging_learns_what_is_in_no_list():
    x, y, theta = drawn(120, seed=6)
    given = [TrivialGroup(6), PAIRS, SymmetricGroup(6)]
    learned = SymmetrySelection(given, merge=True).fit(x, y)
    assert learned.merge_path_.best_partition == PLANTED.partition and learned.best_group_ == PLANTED
    assert learned.stability_ is not None and learned.stability_.score == 1.0
    without = SymmetrySelection(given, merge=False).fit(x, y)
    assert np.square(learned.coef_ - theta.numpy()).sum() < 0.5 * np.square(without.coef_ - theta.numpy()).sum()
    assert SymmetrySelection(given).fit(x, y).merge_path_ is not None
    assert SymmetrySelection(given).fit(x[:8], y[:8]).merge_path_ is None
    chain = SymmetrySelection(method="shrinkage", merge=True).fit(x, y)
    assert chain.weights_[-1] == 1 and len(chain.path_) == 6, "the best is one of the chain, and stands there once"
    few = SymmetrySelection(method="shrinkage", merge=True, num_candidates=2).fit(x, y)
    assert [each.group.partition.num_clusters for each in few.path_] == [6, 1, 2]
    assert math.isnan(few.weights_[-1]) and few.weights_[-2] == 1


def test_the_same_group_is_one_candidate():
    """However it was made, and whether it was given or learned; a liar keeps all."""
    x, y, _ = drawn(120, seed=6)
    twice = [*CHAIN, PermutationGroup(list(PLANTED.generators)), TrivialGroup(6)]
    found = SymmetrySelection(twice, merge=True, num_bootstraps=0).fit(x, y)
    groups = [each.group for each in found.path_]
    assert groups[:3] == CHAIN and not any(one == other for one, other in itertools.combinations(groups, 2))
    assert found.merge_path_.best_partition == PLANTED.partition and not found.path_[1].is_learned
    assert found.error_products_.shape == (len(groups), len(groups)) and len(found.weights_) == len(groups)
    assert np.diag(found.error_products_) == pytest.approx([each.validated for each in found.path_])

    class Keeps(SymmetrySelection):
        _drops_repeated = False

    everything = Keeps(twice, merge=True, num_bootstraps=0).fit(x, y)
    assert len(everything.path_) > len(groups) + 3 and everything.path_[-1].is_learned


def test_clusters_that_noise_has_made_are_flagged():
    rng = np.random.default_rng(0)
    x, slopes = rng.standard_normal((60, 8)), rng.standard_normal(8)
    with pytest.warns(UnstablePartitionWarning, match="other samples would give other clusters"):
        SymmetrySelection(merge=True, output="invariant").fit(x, x @ slopes + 3 * rng.standard_normal(60))
    clear = x @ [1, 1, 1, 1, 9, 9, 9, 9] + 0.1 * rng.standard_normal(60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        selection = SymmetrySelection(merge=True, output="invariant").fit(x, clear)
    assert selection.best_group_ == ClusterGroup(Partition([0, 0, 0, 0, 1, 1, 1, 1]))


def test_a_graph_gives_the_candidates():
    ring = torch.arange(6)
    graph = Data(edge_index=torch.stack([torch.cat([ring, (ring + 1) % 6]), torch.cat([(ring + 1) % 6, ring])]), num_nodes=6)
    groups = candidate_groups(graph)
    assert groups[0] == TrivialGroup(6) and groups[-2] == SymmetricGroup(6) and groups[-1].order() == 12
    assert all(a.partition.refines(b.partition) for a, b in itertools.pairwise(cluster_chain(graph)))
    x, y, _ = drawn(50, seed=7)
    selection = SymmetrySelection(merge=False).fit(x, y, graph)
    assert len(selection.path_) == len(groups)
    assert [candidate.num_weights for candidate in selection.path_][-2:] == [2, 4]


def test_numbers_out_and_few_samples():
    x, _, _ = drawn(12, seed=8)
    x = x[..., 0]
    y = x @ [1, 1, 1, 3, 3, 3] + 0.1 * np.random.default_rng(0).standard_normal(12)
    selection = SymmetrySelection(CHAIN, cv=4).fit(x, y)
    assert selection.best_group_ == PLANTED and selection.coef_.shape == (6,) and isinstance(selection.intercept_, float)
    few = SymmetrySelection(CHAIN, cv=2).fit(x[:11], y[:11])
    assert math.isnan(few.path_[0].predicted) and not math.isnan(few.path_[2].predicted)


def test_series_leave_their_first_samples_out_of_the_average():
    x, y, _ = drawn(60, seed=9)
    selection = SymmetrySelection(CHAIN, cv=TimeSeriesSplit(3), merge=False).fit(x, y)
    assert selection.best_group_ == PLANTED and all(math.isfinite(each.validated) for each in selection.path_)


@parametrize_with_checks([SymmetrySelection()])
def test_scikit_learn(estimator, check):
    check(estimator)


def test_without_groups_it_is_ridge_regression():
    x, y, _ = drawn(40, seed=10)
    with pytest.warns(UserWarning, match="neither groups nor a graph"):
        plain = SymmetrySelection(alphas=(0.0,)).fit(x[..., 0], y[..., 0])
    assert np.allclose(plain.coef_, LinearRegression().fit(x[..., 0], y[..., 0]).coef_)
    assert clone(SymmetrySelection(CHAIN, "estimate")).method == "estimate"


def test_entries_that_were_not_measured_do_not_count():
    x, y, _ = drawn(80, seed=13)
    mask = np.random.default_rng(0).random(y.shape) < 0.9
    spoiled = np.where(mask, y, 1e3)
    with_mask = SymmetrySelection(CHAIN, merge=False).fit(x, spoiled, mask=mask)
    assert with_mask.best_group_ == PLANTED
    other = SymmetrySelection(CHAIN, merge=False).fit(x, np.where(mask, y, -1e3), mask=mask)
    assert np.array_equal(with_mask.coef_, other.coef_)
    whole = SymmetrySelection(CHAIN, merge=False).fit(x, y)
    assert with_mask.path_[1].validated == pytest.approx(whole.path_[1].validated, rel=0.5)
    assert SymmetrySelection(CHAIN, merge=False).fit(x, spoiled).path_[1].validated > 1e3 * whole.path_[1].validated
    with pytest.raises(ShapeError, match="a mask of bool, shaped as y"):
        SymmetrySelection(CHAIN).fit(x, y, mask=mask[:, :3])
    with pytest.raises(ShapeError, match="samples left out that have targets"):
        SymmetrySelection(CHAIN).fit(x, y, mask=np.zeros(y.shape, dtype=bool))


def test_readings_that_were_hidden_are_predicted_from_the_others():
    """Where a quarter of the targets count, filling the others with their mean would make every map a quarter as strong."""
    rng = np.random.default_rng(0)
    y = rng.standard_normal((400, 2))[:, [0, 0, 0, 1, 1, 1]] + 0.1 * rng.standard_normal((400, 6))
    hidden = rng.random(y.shape) < 0.25
    x = np.where(hidden, 0.0, y)
    for method in METHODS:
        selection = SymmetrySelection(CHAIN, method, merge=False, alphas=(0.0, 1.0)).fit(x[:300], y[:300], mask=hidden[:300])
        errors = (selection.predict(x[300:]) - y[300:])[hidden[300:]]
        assert selection.best_group_ == PLANTED
        # Of two others each is seen with probability 3/4: the best weight leaves 1 - 1.5^2 / 2.625 of the variance.
        assert np.square(errors).mean() < 0.22 and selection.path_[1].validated == pytest.approx(0.143, abs=0.06)


def test_differences_to_the_best_are_paired():
    x, y, _ = drawn(60, seed=14)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnstablePartitionWarning)
        selection = SymmetrySelection(CHAIN, alphas=(1.0,), cv=KFold(4)).fit(x, y)
    given = selection.path_[:3]
    left_out = [outputs_left_out(each.group, each.penalty, x, y, KFold(4)) for each in given]
    squares = [np.square(each - y).mean((1, 2)) for each in left_out]
    assert given[1].difference == min(each.difference for each in given)
    for candidate, losses in zip(given, squares, strict=True):
        behind = losses - squares[1]
        assert not candidate.is_learned and candidate.difference == pytest.approx(behind.mean() + given[1].difference)
        if given[1].difference == 0:
            assert candidate.difference_error == pytest.approx(behind.std(ddof=1) / math.sqrt(60))
    assert all(each.is_learned for each in selection.path_[3:]) and len(selection.path_) > 3
    assert selection.cv_results_["mean_difference"].min() == 0


def test_any_group_of_nodes_is_a_candidate():
    x, _, _ = drawn(60, seed=11)
    cycle = PermutationGroup([[1, 2, 3, 4, 5, 0]])
    y = x + 2 * np.roll(x, 1, axis=1) + 0.3 * np.random.default_rng(0).standard_normal(x.shape)
    selection = SymmetrySelection([TrivialGroup(6), cycle, SymmetricGroup(6)], "estimate", merge=False).fit(x, y)
    assert selection.best_group_ == cycle and selection.path_[1].num_weights == 6


def test_clusters_are_compared_on_random_parts_of_the_samples():
    x, y, _ = drawn(60, seed=6)
    calls = []

    class Spied(SymmetrySelection):
        def _candidates(self, given, x, targets, counted):
            calls.append(len(torch.unique(x[:, 0, 0])))
            return super()._candidates(given, x, targets, counted)

    found = Spied(CHAIN, merge=True, cv=KFold(3), num_bootstraps=4).fit(x, y)
    assert calls[:4] == [60, 40, 40, 40] and calls[4:] == [38] * 4
    assert len(found.stability_.partitions) == 4
    assert Spied(CHAIN, merge=True, num_bootstraps=0).fit(x, y).stability_ is None
    with pytest.warns(UnstablePartitionWarning, match="too few samples .9 of 6 inputs. to tell whether others"):
        few = SymmetrySelection(CHAIN, merge=True, cv=[(np.arange(9), np.arange(9))]).fit(x[:9], y[:9])
    assert few.stability_ is None and few.merge_path_ is not None
    with pytest.raises(ConfigError, match="num_bootstraps as a whole number, 0 or at least 2, got 1"):
        SymmetrySelection(CHAIN, num_bootstraps=1).fit(x, y)


def test_the_price_of_a_weight_in_merging():
    x, y, _ = drawn(100, seed=3, deviation=0.15)
    cheap, default = (SymmetrySelection(CHAIN, merge=True, num_bootstraps=0, complexity=c).fit(x, y) for c in (0.0, None))
    schwarz = SymmetrySelection(CHAIN, merge=True, num_bootstraps=0, complexity=math.log(100)).fit(x, y)
    assert torch.equal(default.merge_path_.risks, schwarz.merge_path_.risks)
    assert cheap.merge_path_.best == 0 < default.merge_path_.best


def test_penalties_grow_while_they_help_up_to_a_bound():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 30))
    y = 0.2 * x + 3 * rng.standard_normal((20, 30))
    scale = np.square(x - x.mean(0)).mean()
    few, grown = (SymmetrySelection([TrivialGroup(30)], alphas=a).fit(x, y) for a in ((0.0, 1.0, 100.0), None))
    assert few.path_[0].penalty == pytest.approx(100 * scale) and grown.path_[0].penalty > 500 * scale
    assert grown.path_[0].validated < few.path_[0].validated
    with (
        unittest.mock.patch("gnet.selection.select.LARGEST", 100.0),
        pytest.warns(UserWarning, match="the largest ridge penalty tried, 100 times the mean square of an input"),
    ):
        SymmetrySelection([TrivialGroup(30)]).fit(x, y)


def test_targets_that_are_nan_were_not_measured():
    x, y, _ = drawn(80, seed=13)
    mask = np.random.default_rng(0).random(y.shape) < 0.9
    missing = np.where(mask, y, np.nan)
    with_mask, alone, both = (
        SymmetrySelection(CHAIN, merge=False).fit(x, *given) for given in ((y, None, mask), (missing,), (missing, None, mask))
    )
    assert np.array_equal(with_mask.coef_, alone.coef_) and np.array_equal(with_mask.coef_, both.coef_)
    with pytest.raises(ValueError, match="infinity"):
        SymmetrySelection(CHAIN, merge=False).fit(x, np.where(mask, y, np.inf))


def test_products_of_errors_are_over_entries_and_validated_over_samples():
    x, y, _ = drawn(40, seed=2)
    uneven = np.ones(y.shape, dtype=bool)
    uneven[20:, 1:] = False
    even, masked = (SymmetrySelection(CHAIN, merge=False, alphas=(1.0,)).fit(x, y, mask=m) for m in (None, uneven))
    assert np.diag(even.error_products_) == pytest.approx([each.validated for each in even.path_])
    assert np.diag(masked.error_products_) != pytest.approx([each.validated for each in masked.path_], rel=1e-3)
