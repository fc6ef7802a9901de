"""What ``SymmetrySelection`` is given: settings that none could use, masks, inputs that depend on others, splitters, and ties."""

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold, RepeatedKFold, ShuffleSplit
from torch_geometric.data import Data

from gnet.errors import ConfigError, GraphError, GroupError, ShapeError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, SymmetricGroup, TrivialGroup
from gnet.selection import MergePath, SymmetrySelection, UnstablePartitionWarning, candidate_groups, cluster_chain, merge_clusters
from gnet.selection.inputs import METHODS
from gnet.theory import EquivariantRidge, LeastSquares, ShrunkEquivariantRegression
from gnet.training.symmetry import Symmetric

PLANTED = ClusterGroup(Partition([0, 0, 0, 1, 1, 1]))
CHAIN = [TrivialGroup(6), PLANTED, SymmetricGroup(6)]


def drawn(num, seed, channels=1):
    """Samples of three sensors of slope 1 and three of slope 3."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((num, 6, channels))
    return x, x * np.repeat([1.0, 3.0], 3)[:, None] + 0.5 * rng.standard_normal(x.shape)


def ring():
    nodes = torch.arange(6)
    ahead = (nodes + 1) % 6
    return Data(edge_index=torch.stack([torch.cat([nodes, ahead]), torch.cat([ahead, nodes])]), num_nodes=6)


def test_bad_input_is_refused():
    x, y = drawn(30, seed=12)
    for options, error, message in [
        ({"method": "magic"}, ConfigError, "method in averaging, validation, estimate, shrinkage, got 'magic'"),
        ({"alphas": ()}, ConfigError, "finite ridge penalties >= 0"),
        ({"alphas": (-1.0,)}, ConfigError, "finite ridge penalties >= 0"),
        ({"groups": []}, ConfigError, "at least one group"),
        ({"groups": [TrivialGroup(6), TrivialGroup(5)]}, GroupError, "groups on the same nodes, got degrees 6 and 5"),
        ({"groups": [TrivialGroup(5)]}, ShapeError, "expected X of shape"),
        ({"groups": [PLANTED, Symmetric()]}, GroupError, r"such as SymmetricGroup\(12\), got the rule Symmetric\(\) of a config"),
        ({"groups": [6]}, GroupError, r"expected a node group, got int"),
        ({"groups": CHAIN, "cv": 31}, ShapeError, "as many samples as folds, cv=31, got n_samples=30; take a smaller cv"),
        ({"groups": CHAIN, "cv": KFold(31)}, ShapeError, "as many samples as folds, cv=31, got n_samples=30"),
        ({"groups": CHAIN, "method": "shrinkage", "merge": True}, ConfigError, "given or learned"),
    ]:
        with pytest.raises(error, match=message):
            SymmetrySelection(**options).fit(x, y)
    with pytest.raises(GroupError, match="groups on the 4 nodes of the graph, got 6"):
        SymmetrySelection(CHAIN).fit(x, y, Data(edge_index=torch.tensor([[0], [1]]), num_nodes=4))
    with pytest.raises(ShapeError, match=r"merge=False \(--no-merge\) to use fewer"):
        SymmetrySelection(CHAIN, merge=True).fit(x[:7], y[:7])
    with pytest.raises(ShapeError, match="take method='averaging'"):
        SymmetrySelection([TrivialGroup(6)], "estimate", cv=2).fit(x[:4], y[:4])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_bootstraps": -5}, "num_bootstraps as a whole number, 0 or at least 2, got -5"),
        ({"num_bootstraps": 2.0}, "num_bootstraps as a whole number"),
        ({"num_candidates": -1}, "num_candidates as a whole number >= 1, got -1"),
        ({"num_candidates": 0}, "num_candidates as a whole number >= 1, got 0"),
        ({"groups": PLANTED}, "a sequence of groups, got ClusterGroup.*; put one group into a list"),
        ({"groups": 5}, r"a sequence of groups, such as \[SymmetricGroup\(12\)\], got 5"),
        ({"groups": "S6"}, r"such as \[SymmetricGroup\(12\)\], got 'S6'"),
        ({"groups": {"all": PLANTED}}, r"such as \[SymmetricGroup\(12\)\], got \{'all'"),
        ({"groups": Symmetric()}, r"got the rule Symmetric\(\) of a config; give the group it makes, Symmetric\(\)\(graph\)"),
        ({"alphas": 1.0}, "finite ridge penalties >= 0 in alphas, got 1.0"),
        ({"alphas": ["a"]}, "finite ridge penalties >= 0 in alphas"),
        ({"alphas": "1"}, "finite ridge penalties >= 0 in alphas"),
        ({"alphas": (math.nan,)}, "finite ridge penalties >= 0 in alphas"),
        ({"merge": "yes"}, "merge as True, False or None, got 'yes'"),
        ({"complexity": math.nan}, "a finite complexity >= 0, got nan"),
        ({"complexity": -1}, "a finite complexity >= 0, got -1"),
        ({"complexity": "log"}, "a finite complexity >= 0, got 'log'"),
    ],
)
def test_settings_are_refused_before_any_fit(options, message, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("fitted")

    monkeypatch.setattr(SymmetrySelection, "_ridge", never)
    monkeypatch.setattr("gnet.selection.select.least_squares", never)
    x, y = drawn(30, seed=0)
    with pytest.raises(ConfigError, match=message):
        SymmetrySelection(**{"groups": CHAIN, **options}).fit(x, y)
    with pytest.raises(AssertionError, match="fitted"):
        SymmetrySelection(CHAIN, num_bootstraps=np.int64(2), alphas=np.ones(1), merge=np.True_).fit(x, y)


def test_what_is_no_graph_and_what_was_not_fitted():
    x, y = drawn(30, seed=0)
    with pytest.raises(GraphError, match=r"a graph with edge_index and num_nodes.*got str"):
        SymmetrySelection().fit(x, y, "g")
    with pytest.raises(NotFittedError):
        _ = SymmetrySelection().cv_results_


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_inputs_that_are_not_finite(wrong):
    x, y = drawn(30, seed=0)
    found = SymmetrySelection(CHAIN, merge=False).fit(x, np.where(np.arange(6)[:, None] == 2, y, math.nan))  # of y NaN is allowed
    x[3, 5, 0] = wrong
    for use in (lambda: SymmetrySelection(CHAIN).fit(x, y), lambda: found.predict(x)):
        with pytest.raises(ShapeError, match=r"X without NaN and infinity, got 1 of them, first at X\[3, 5, 0\]; leave such"):
            use()


def test_a_slip_is_told_and_what_is_meant_is_not():
    x, y = (each[..., 0] for each in drawn(30, seed=0))
    with pytest.warns(
        UserWarning, match=r"neither groups nor a graph: the 6 columns of X are taken for channels.*fit\(X, y, graph\)"
    ):
        SymmetrySelection().fit(x, y)
    with pytest.warns(
        UserWarning, match=r'one number for each sample.*the 6 nodes; say so by output="invariant", or pass y of shape'
    ):
        SymmetrySelection(merge=False).fit(x, y[:, 0], ring())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SymmetrySelection(merge=False).fit(x, y, ring())
        SymmetrySelection(merge=False, output="invariant").fit(x, y[:, 0], ring())
        SymmetrySelection(CHAIN, merge=False).fit(x, y)
        SymmetrySelection().fit(x[:, :1], y[:, 0])  # a single node with a single channel


def test_tensors_of_half_precision():
    x, y = (torch.tensor(each, dtype=torch.bfloat16) for each in drawn(40, seed=0))
    half, whole = (SymmetrySelection(CHAIN, merge=False).fit(each(x), each(y)) for each in (lambda t: t, torch.Tensor.double))
    assert np.array_equal(half.coef_, whole.coef_) and np.array_equal(half.predict(x), whole.predict(x.double()))


@pytest.mark.parametrize("spoil", ["constant", "twice", "constant in a fold"])
def test_inputs_that_depend_on_others_stop_merging_alone(spoil):
    x, y = drawn(200, seed=1)
    if spoil == "twice":
        x[:, 1] = x[:, 0]
    else:
        x[40 if spoil == "constant in a fold" else 0 :, 0] = 5
    with pytest.warns(UserWarning, match="no clusters are learned.*expected inputs of full rank"):
        found = SymmetrySelection(CHAIN, cv=KFold(5)).fit(x, y)
    assert found.merge_path_ is None and found.stability_ is None and not any(each.is_learned for each in found.path_)
    plain = SymmetrySelection(CHAIN, cv=KFold(5), merge=False).fit(x, y)
    assert np.array_equal(found.coef_, plain.coef_) and len(found.path_) == 3
    with pytest.raises(ShapeError, match=r"expected inputs of full rank.*merge=False"):
        SymmetrySelection(CHAIN, merge=True).fit(x, y)


@pytest.mark.parametrize(
    "cv", [RepeatedKFold(n_splits=4, n_repeats=3, random_state=0), ShuffleSplit(6, test_size=0.3, random_state=0)]
)
def test_samples_left_out_more_than_once_count_each_time(cv):
    x, y = drawn(40, seed=2, channels=2)
    found = SymmetrySelection(CHAIN, cv=cv, alphas=(1.0,), merge=False).fit(x, y)
    for place, candidate in enumerate(found.path_):
        sums, counts, last = np.zeros(40), np.zeros(40), np.zeros(40)
        for train, test in cv.split(x):
            model = EquivariantRidge(candidate.group, candidate.penalty, output="equivariant").fit(x[train], y[train])
            squares = np.square(model.predict(x[test]) - y[test]).mean((1, 2))
            sums[test], counts[test], last[test] = sums[test] + squares, counts[test] + 1, squares
        tested = counts > 0
        means = sums[tested] / counts[tested]
        assert candidate.validated == pytest.approx(means.mean())
        assert candidate.standard_error == pytest.approx(means.std(ddof=1) / math.sqrt(tested.sum()))
        assert candidate.validated != pytest.approx(last[tested].mean()), "the liar: the last repeat alone"
        assert found.error_products_[place, place] == pytest.approx(sums.sum() / counts.sum())


def test_a_mask_has_the_axes_of_y():
    x, y = drawn(60, seed=3, channels=2)
    mask = np.random.default_rng(0).random(y.shape) < 0.8
    options = {"merge": False, "alphas": (1.0,)}
    same, flat = (SymmetrySelection(CHAIN, **options).fit(x, y, mask=each) for each in (mask, mask.reshape(60, 12)))
    assert np.array_equal(same.coef_, flat.coef_)
    for wrong in (mask.swapaxes(1, 2), mask.reshape(60, 4, 3), mask.reshape(-1)):
        with pytest.raises(ShapeError, match=r"a mask of bool, shaped as y, \(60, 6, 2\) or \(60, 12\), got"):
            SymmetrySelection(CHAIN, **options).fit(x, y, mask=wrong)
        with pytest.raises(ShapeError, match="a mask of bool, shaped as y"):
            SymmetrySelection(CHAIN, **options).fit(x, np.where(mask, y, np.nan), mask=wrong)
    one, plain = mask[:, :, :1], y[:, :, :1]
    with_axis, without = (
        SymmetrySelection(CHAIN, **options).fit(x[:, :, 0], *each[:1], mask=each[1])
        for each in ((plain, one[..., 0]), (plain[..., 0], one))
    )
    assert np.array_equal(with_axis.coef_, without.coef_)
    numbers = [SymmetrySelection(CHAIN, **options).fit(x, plain[:, 0, 0], mask=each) for each in (one[:, 0, 0], one[:, 0])]
    assert np.array_equal(numbers[0].coef_, numbers[1].coef_)


@pytest.mark.parametrize("method", ["averaging", "validation", "estimate"])
@pytest.mark.parametrize("of", [np.ones_like, lambda x: 2 * x])
def test_of_equal_groups_the_one_of_fewest_weights_is_best(method, of):
    x, _ = drawn(60, seed=4)
    found = SymmetrySelection(CHAIN, method, merge=False, alphas=(0.0,)).fit(x, of(x))
    assert found.best_group_ == SymmetricGroup(6)
    differing = SymmetrySelection(CHAIN, method, merge=False, alphas=(0.0,)).fit(x, x * np.repeat([1.0, 1.0001], 3)[:, None])
    assert differing.best_group_ == PLANTED, "the liar: a small difference is no rounding"


def test_without_noise_learned_clusters_are_not_split_by_rounding(monkeypatch):
    x, _ = drawn(60, seed=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnstablePartitionWarning)
        found = SymmetrySelection(CHAIN, merge=True).fit(x, 2 * x)
        two = SymmetrySelection(CHAIN, merge=True).fit(x, x * np.repeat([1.0, 3.0], 3)[:, None])
    assert found.merge_path_.best_partition == Partition.whole(6) and found.stability_.score == 1.0
    assert two.merge_path_.best_partition == PLANTED.partition
    draws = [np.random.default_rng(seed).standard_normal((60, 12)) for seed in range(60)]
    counts = []
    for rounding in (1e-12, 0.0):  # the liar takes any difference for one
        monkeypatch.setattr("gnet.selection.merging.ROUNDING", rounding)
        paths = [merge_clusters(LeastSquares.fit(each, 2 * each)) for each in draws]
        counts.append([path.best_partition.num_clusters for path in paths])
    assert set(counts[0]) == {1} and max(counts[1]) > 1
    risks = torch.tensor([3.0, 1.0, 1.0 + 1e-13, 2.0], dtype=torch.float64)
    merges = torch.tensor([[0, 1], [0, 1], [0, 1]])
    assert MergePath(Partition.singletons(4), merges, risks).best == 1
    assert MergePath(Partition.singletons(4), merges, risks, rounding=1e-12).best == 2


def test_shrinkage_takes_the_clusterings_of_a_graph():
    x, y = drawn(60, seed=6)
    found = SymmetrySelection(method="shrinkage").fit(x, y, ring())
    chain = cluster_chain(ring())
    assert [each.group for each in found.path_] == chain and found.weights_[-1] == 1
    assert np.allclose(found.coef_, ShrunkEquivariantRegression(chain).fit(x, y).coef_)
    with pytest.raises(GroupError, match="as the smaller group"):
        SymmetrySelection(candidate_groups(ring()), "shrinkage").fit(x, y)  # the liar: with the ring's own symmetries


def test_one_group_stands_for_the_chain_from_the_trivial_one():
    x, y = drawn(60, seed=7)
    found = SymmetrySelection([PLANTED], "shrinkage").fit(x, y)
    assert [each.group for each in found.path_] == [TrivialGroup(6), PLANTED]
    assert np.allclose(found.coef_, ShrunkEquivariantRegression(PLANTED).fit(x, y).coef_)
    alone = SymmetrySelection([TrivialGroup(6)], "shrinkage").fit(x, y)
    assert alone.weights_.tolist() == [1.0] and np.allclose(
        alone.coef_, ShrunkEquivariantRegression([TrivialGroup(6)]).fit(x, y).coef_
    )
    for method in METHODS[:3]:
        assert len(SymmetrySelection([PLANTED], method, merge=False).fit(x, y).path_) == 1


def test_one_sample_left_out_has_no_standard_error():
    x, y = drawn(20, seed=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = SymmetrySelection(CHAIN, cv=[(np.arange(19), np.array([19]))], merge=False, alphas=(1.0,)).fit(x, y)
    assert all(math.isnan(each.standard_error) and math.isnan(each.difference_error) for each in found.path_)
    assert all(math.isfinite(each.validated) for each in found.path_)
