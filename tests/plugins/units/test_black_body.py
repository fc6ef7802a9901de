"""The light of a black body: its data, the search for a constant, and the table, on few steps of training."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsRegressor

from gnet.errors import ConfigError
from gnet.plugins.units.black_body import (
    MODELS,
    PLANCK,
    TEST,
    TRAIN,
    BlackBody,
    H,
    candidates,
    constant_value,
    covariant,
    log_scale,
    pass_rules,
    planck,
    search,
    spectra,
    units_of,
    with_constant,
)


def test_data():
    train, test = spectra(TRAIN, seed=1), spectra(TEST, seed=2)
    assert (len(train.y), len(test.y)) == (126, 108)
    assert 0.08 < np.std(train.y / planck(train.X)) < 0.12
    assert np.array_equal(spectra(TRAIN, seed=1).y, train.y)
    assert not np.array_equal(spectra(TRAIN, seed=3).y, train.y)


def test_all_spectra_are_one_curve_with_the_constant_and_none_without():
    train = spectra(TRAIN, noise=0.0)
    labels = np.log(train.y) - log_scale(train.X)
    features = covariant((1, 1, -1, 1), KNeighborsRegressor())[0]
    z = features.fit_transform(with_constant(train.X, H))[:, 0]
    np.testing.assert_allclose(labels, np.log(2 * np.exp(-z) / np.expm1(np.exp(-z))), rtol=1e-9)
    assert covariant((1, 0, 0, 0), KNeighborsRegressor())[0].fit_transform(with_constant(train.X, 1.0)).shape == (126, 1)
    assert features.get_feature_names_out().tolist() == ["ln|x0 x1 x2^-1 x3 x4^-1|"]


def test_dimensional_analysis_without_the_constant_misses_by_the_known_amount():
    errors = []
    for seed in range(5):
        train, test = spectra(TRAIN, seed=2 * seed), spectra(TEST, seed=2 * seed + 1)
        number = np.mean(np.log(train.y) - log_scale(train.X))
        errors.append(np.sqrt(np.mean((np.log(test.y) - log_scale(test.X) - number) ** 2)))
    assert min(errors) > 6.3
    assert max(errors) < 6.4


def test_candidates_are_products_up_to_inverses():
    rows = list(candidates())
    assert len(set(rows)) == 40 == (3**4 - 1) // 2
    assert not {tuple(-each for each in row) for row in rows} & set(rows)
    assert [row for row in rows if units_of(row) == PLANCK] == [(1, 1, -1, 1)]


def test_the_search_finds_the_units_of_planck_s_constant():
    train = spectra(TRAIN, seed=1)
    found = search(train, KNeighborsRegressor())
    assert found.exponents == (1, 1, -1, 1)
    assert units_of(found.exponents) == PLANCK
    assert 0.5 < found.value / H < 2
    assert len(found.errors) == 4
    assert len(set(found.ties)) == 9
    assert {row[:2] for row in found.ties} == {(1, 1)}
    liar = type(train)(train.X, np.random.default_rng(0).permutation(train.y))  # no law at all: nothing is much better
    errors = sorted(search(liar, KNeighborsRegressor()).errors.values())
    assert errors[0] > 0.5 * errors[1]
    true = sorted(found.errors.values())
    assert true[0] < 0.5 * true[1]


def test_value_makes_the_median_one():
    X = spectra(TRAIN).X
    value = constant_value(X, (1, 1, -1, 1))
    assert np.median(X[:, 0] * X[:, 1] / X[:, 2] * X[:, 3]) == pytest.approx(value, rel=0.1)


def test_table_and_rules():
    simulation = BlackBody(models=["no constant", "Planck's constant", "plain MLP"], seeds=1, max_iter=20)
    lines = simulation.run()
    assert [line.settings["model"] for line in lines] == simulation.models
    text = simulation.summary(lines)
    assert "no constant: 6.30 to 6.40: met" in text
    assert "plain MLP: 0.45 to 1.10: not met" in text  # after 20 steps
    assert simulation.draw(lines).axes
    good = {"no constant": [6.35], "plain MLP": [0.6], "Planck's constant": [0.4]}
    assert all(is_met for _, is_met in pass_rules(good))
    assert not pass_rules(good | {"plain MLP": [0.39]})[-1][1]


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="plain MLP"):
        BlackBody(models=["perceptron"])
    with pytest.raises(ConfigError, match=r"folds in 2\.\.5"):
        BlackBody(folds=6)
    assert BlackBody().models == list(MODELS)
