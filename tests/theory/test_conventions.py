"""scikit-learn's conventions, with groups too: its own list of checks on nodes of any number, and what that list leaves out."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from gnet.errors import ShapeError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, PermutationGroup, SymmetricGroup, TrivialGroup
from gnet.theory import EquivariantRidge, InvariantKernelRidge, ShrunkEquivariantRegression
from gnet.theory.regressor import array_shape
from tests.theory.test_estimators import GROUPS


class OfAnySize:
    """An estimator whose group fits the features it is given: scikit-learn's checks do not know how many nodes there are."""

    output = "invariant"

    def fit(self, X, y):
        shape = array_shape(X)
        self._size = max(1, shape[1]) if len(shape) > 1 else 1
        return super().fit(X, y)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # the checks' targets have no symmetry
        return tags


class RidgeOnPairs(OfAnySize, EquivariantRidge):
    """Nodes 0 and 1, 2 and 3, ... may change places."""

    def __init__(self, alpha=1.0, *, fit_intercept=True):
        self.alpha, self.fit_intercept = alpha, fit_intercept

    @property
    def group(self):
        return ClusterGroup(Partition(torch.arange(self._size) // 2))


class RidgeOnARing(RidgeOnPairs):
    """All nodes may be turned round."""

    @property
    def group(self):
        return PermutationGroup([torch.arange(self._size).roll(1)])


class ShrunkOnPairs(OfAnySize, ShrunkEquivariantRegression):
    """From no symmetry by pairs to all permutations."""

    def __init__(self, *, fit_intercept=True):
        self.fit_intercept = fit_intercept

    @property
    def groups(self):
        pairs = ClusterGroup(Partition(torch.arange(self._size) // 2))
        return [TrivialGroup(self._size), pairs, SymmetricGroup(self._size)]


class KernelOnAll(OfAnySize, InvariantKernelRidge):
    """A kernel averaged over four permutations, drawn."""

    def __init__(self, *, kernel="rbf", gamma=None, alpha=1.0, num_samples=4, random_state=0):
        super().__init__(kernel=kernel, gamma=gamma, alpha=alpha, num_samples=num_samples, random_state=random_state)

    @property
    def group(self):
        return SymmetricGroup(self._size)

    @group.setter
    def group(self, value):
        """Nothing: it follows from the features."""


@parametrize_with_checks(
    [
        *(EquivariantRidge(), ShrunkEquivariantRegression(), InvariantKernelRidge()),
        *(RidgeOnPairs(), RidgeOnARing(), ShrunkOnPairs(), KernelOnAll()),
    ]
)
def test_scikit_learn_agrees(estimator, check):
    if isinstance(estimator, ShrunkOnPairs) and check.func.__name__ == "check_regressor_multioutput":
        pytest.skip("11 samples of 10 features and an offset leave no degree of freedom to estimate the noise from")
    check(estimator)


class TestConventions:
    """What those checks leave out: groups among the parameters, signals of three axes, searches and pipelines."""

    MODELS = (
        EquivariantRidge(GROUPS["[3, 2, 1]"], 0.1),
        EquivariantRidge(GROUPS["swaps"], 0.1),
        EquivariantRidge(GROUPS["cycle"], 0.1),
        ShrunkEquivariantRegression(GROUPS["[3, 2, 1]"]),
        ShrunkEquivariantRegression([TrivialGroup(6), GROUPS["[3, 2, 1]"], SymmetricGroup(6)]),
        InvariantKernelRidge(GROUPS["[3, 2, 1]"]),
        InvariantKernelRidge(GROUPS["[3, 2, 1]"], num_samples=5),
        InvariantKernelRidge(),
    )

    @pytest.fixture(params=MODELS, ids=lambda model: type(model).__name__)
    def model(self, request):
        return clone(request.param)

    @pytest.fixture
    def data(self):
        rng = np.random.default_rng(0)
        return rng.standard_normal((30, 6)), rng.standard_normal(30)

    def test_cloned_models_are_equal_and_parameters_survive(self, model, data):
        again = clone(model).set_params(**model.get_params())
        np.testing.assert_array_equal(model.fit(*data).predict(data[0]), again.fit(*data).predict(data[0]))

    def test_fitting_twice_changes_nothing_and_leaves_data_alone(self, model, data):
        x, y = (each.copy() for each in data)
        first = model.fit(*data).predict(data[0])
        np.testing.assert_array_equal(model.fit(*data).predict(data[0]), first)
        np.testing.assert_array_equal(data[0], x)
        np.testing.assert_array_equal(data[1], y)

    def test_pickled_models_predict_alike(self, model, data):
        model.fit(*data)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(data[0]), model.predict(data[0]))

    def test_lists_and_tensors_are_arrays(self, model, data):
        expected = model.fit(*data).predict(data[0])
        x, y = torch.from_numpy(data[0]), torch.from_numpy(data[1])
        np.testing.assert_allclose(model.fit(x, y).predict(x), expected)
        np.testing.assert_allclose(model.fit(data[0].tolist(), data[1].tolist()).predict(data[0].tolist()), expected)

    def test_a_search_over_groups(self, data):
        grid = {"group": [None, *GROUPS.values()], "alpha": [0.1, 1.0]}
        search = GridSearchCV(EquivariantRidge(), grid, cv=3).fit(data[0], data[0].sum(1))
        assert search.best_score_ > 0.99
        assert search.best_params_["group"] == SymmetricGroup(6)

    def test_axes_are_not_exchanged_in_silence(self, data):
        """Fitted on (n, nodes, channels), (n, channels, nodes) has as many numbers, and another meaning."""
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((40, 6, 2)), rng.standard_normal((40, 6, 1))
        for model in (
            EquivariantRidge(GROUPS["[3, 2, 1]"]),
            EquivariantRidge(),
            ShrunkEquivariantRegression(GROUPS["[3, 2, 1]"]),
            ShrunkEquivariantRegression(),
        ):
            model.fit(x, y)
            np.testing.assert_allclose(model.predict(x.reshape(40, 12)), model.predict(x))
            for wrong in (x.transpose(0, 2, 1), x.reshape(40, 3, 4), x.reshape(40, 12, 1)):
                with pytest.raises(ShapeError, match=r"expected X of shape \(n, 6, 2\) as in fit, got \(40, "):
                    model.predict(wrong)
        flat = EquivariantRidge(GROUPS["[3, 2, 1]"]).fit(x.reshape(40, 12), y)
        np.testing.assert_allclose(flat.predict(x), flat.predict(x.reshape(40, 12)))
        with pytest.raises(ShapeError, match=r"expected X of shape \(n, features\) as in fit"):
            EquivariantRidge().fit(x.reshape(40, 12), y).predict(x)

    def test_scores(self, model, data):
        assert model.fit(data[0], data[0].sum(1)).score(data[0], data[0].sum(1)) > 0.5

    def test_before_fit_there_is_nothing_to_predict(self, model, data):
        with pytest.raises(NotFittedError):
            model.predict(data[0])
        with pytest.raises(NotFittedError):
            model.score(*data)

    def test_numbers_of_features_are_known_and_checked(self, model, data):
        assert model.fit(*data).n_features_in_ == 6
        with pytest.raises(ValueError, match=r"X has 5 features, but .* is expecting 6 features"):
            model.predict(data[0][:, :5])

    def test_parameters_are_kept_as_they_were_given(self, model, data):
        before = model.get_params()
        model.fit(*data)
        after = model.get_params()
        assert before.keys() == after.keys() and all(before[name] is after[name] for name in before)
        public = {name for name in vars(model) if not name.startswith("_") and not name.endswith("_")}
        assert public == set(before)

    def test_predictions_do_not_depend_on_the_other_samples(self, model, data):
        model.fit(*data)
        whole = model.predict(data[0])
        np.testing.assert_allclose([model.predict(each[None])[0] for each in data[0]], whole)
        order = np.random.default_rng(1).permutation(30)
        np.testing.assert_allclose(model.predict(data[0][order]), whole[order])
        np.testing.assert_allclose(model.fit(data[0][order], data[1][order]).predict(data[0]), whole, atol=1e-9)

    def test_other_precisions_and_layouts(self, model, data):
        expected = model.fit(*data).predict(data[0])
        assert expected.dtype == np.float64 and expected.shape == (30,)
        near = model.fit(data[0].astype(np.float32), data[1].astype(np.float32)).predict(data[0].astype(np.float32))
        np.testing.assert_allclose(near, expected, atol=1e-4)
        fortran = np.asfortranarray(data[0])
        fortran.setflags(write=False)
        np.testing.assert_allclose(model.fit(fortran, data[1]).predict(fortran), expected)

    def test_several_numbers_out(self, model, data):
        if hasattr(model, "output"):
            model.set_params(output="invariant")
        both = np.stack([data[1], -data[1]], 1)
        found = model.fit(data[0], both).predict(data[0])
        assert found.shape == (30, 2)
        np.testing.assert_allclose(found[:, 1], -found[:, 0])
        np.testing.assert_allclose(found[:, 0], clone(model).fit(*data).predict(data[0]))

    def test_what_cannot_be_fitted_is_refused(self, model, data):
        for x, y in ((data[0][:20], data[1]), (data[0] + 1j, data[1]), (data[0][:0], data[1][:0]), (data[0][:, 0], data[1])):
            with pytest.raises(ValueError, match=r".+"):
                model.fit(x, y)

    def test_pipelines_and_cross_validation(self, model, data):
        y = data[0].sum(1)
        pipeline = make_pipeline(StandardScaler(), model)
        assert cross_val_score(pipeline, data[0], y, cv=3).mean() > 0.3
        assert pipeline.fit(data[0], y).predict(data[0]).shape == (30,)

    def test_predictions_follow_the_group(self, data):
        """Signals out move with the nodes, numbers out do not; for a motion that is none of the group's it is otherwise."""
        rng = np.random.default_rng(0)
        x, signals = rng.standard_normal((40, 6, 2)), rng.standard_normal((40, 6, 1))
        swap, wrong = [1, 0, 2, 3, 4, 5], [3, 1, 2, 0, 4, 5]
        model = EquivariantRidge(GROUPS["[3, 2, 1]"]).fit(x, signals)
        np.testing.assert_allclose(model.predict(x[:, swap]), model.predict(x)[:, swap])
        assert np.abs(model.predict(x[:, wrong]) - model.predict(x)[:, wrong]).max() > 1e-3
        for each in (EquivariantRidge(GROUPS["[3, 2, 1]"]), InvariantKernelRidge(GROUPS["[3, 2, 1]"])):
            each.fit(*data)
            np.testing.assert_allclose(each.predict(data[0][:, swap]), each.predict(data[0]))
            assert np.abs(each.predict(data[0][:, wrong]) - each.predict(data[0])).max() > 1e-3

    def test_without_a_group_they_are_everyones(self, data):
        for mine in (EquivariantRidge(None, 0.7), EquivariantRidge(TrivialGroup(6), 0.7)):
            np.testing.assert_allclose(mine.fit(*data).predict(data[0]), Ridge(0.7).fit(*data).predict(data[0]))
