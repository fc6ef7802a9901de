"""The light of a black body: its data, the search for a constant, and the table, on few steps of training."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsRegressor

from gnet.errors import ConfigError, DegenerateInputError, ShapeError
from gnet.plugins.units.black_body import (
    KB,
    MODELS,
    PLANCK,
    TEST,
    TRAIN,
    BlackBody,
    C,
    H,
    Light,
    constant_rules,
    covariant,
    log_scale,
    pass_rules,
    planck,
    search,
    spectra,
    units_of,
    with_constant,
)
from gnet.plugins.units.missing import bend, candidates, missing_constant
from gnet.study.simulate import Measured


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
    rows = list(candidates(4))
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


def world(factor, seed):
    """Spectra on the same wavelengths and temperatures where Planck's constant is another."""
    X = np.array([[wavelength, T, C, KB] for T in TRAIN for wavelength in 10 ** np.linspace(-8, -4.1, 40)])
    y = planck(X, factor * H) * (1 + 0.1 * np.random.default_rng(seed).standard_normal(len(X)))
    is_seen = planck(X, factor * H) > 1e6
    return Light(X[is_seen], y[is_seen])


def test_the_value_comes_from_the_spectra():
    values = {}
    for factor in (0.01, 1.0, 100.0):
        found = [search(world(factor, seed), KNeighborsRegressor(3)) for seed in range(2)]
        assert {each.exponents for each in found} == {(1, 1, -1, 1)}
        values[factor] = np.mean([each.value for each in found])
        assert all(0.5 < each.value / (factor * H) < 2 for each in found)
    assert 0.7 < values[100.0] / (100 * values[1.0]) < 1.4
    assert 0.7 < values[0.01] / (0.01 * values[1.0]) < 1.4
    X = world(1.0, 0).X  # the liar: what is known of the inputs alone is the same in all three worlds
    liar = float(np.exp(np.median(np.log(X) @ [1, 1, -1, 1])))
    assert not 0.5 < liar / (100 * H) < 2


def test_where_laws_bend():
    x = np.logspace(-1, 3, 300)
    assert bend(x, np.exp(-5.0 / x)) == pytest.approx(5.0, rel=0.05)  # lines through half a decade, over which the slope varies
    assert bend(x[::-1], (1 + x[::-1] / 7.0) ** -2) == pytest.approx(7.0, rel=0.02)  # a slope of -1 halfway between 0 and -2
    with pytest.raises(DegenerateInputError, match="does not bend"):
        bend(x, np.full(300, 2.0))
    with pytest.raises(DegenerateInputError, match="at least 8 points, got 3"):
        bend(x[:3], x[:3])
    with pytest.raises(DegenerateInputError, match="varies"):
        bend(np.ones(9), np.arange(1.0, 10.0))
    with pytest.raises(ShapeError, match="one shape"):
        bend(x, x[:3])
    with pytest.raises(DegenerateInputError, match="positive"):
        bend(x, 0 * x)  # as where an exponential is too small for floats


def test_any_law_is_searched():
    rng = np.random.default_rng(0)
    x = rng.uniform(0.1, 10.0, (300, 2))  # time in s, length in m
    y = x[:, 1] / (1 + (x[:, 0] / 3.0) ** 2)  # of a time of 3 s
    found = missing_constant(x, y, [[1, 0], [0, 1]], (0, 1), KNeighborsRegressor())
    assert (found.exponents, found.units) == ((1, 0), (1, 0))
    assert found.value == pytest.approx(3.0, rel=0.2)
    assert np.isnan(missing_constant(x, x[:, 1], [[1, 0], [0, 1]], (0, 1), KNeighborsRegressor()).value)  # no constant at all
    with pytest.raises(DegenerateInputError, match="positive"):
        missing_constant(-x, y, [[1, 0], [0, 1]], (0, 1), KNeighborsRegressor())
    with pytest.raises(ShapeError, match=r"expected X \(samples, 1\)"):
        missing_constant(x, y, [[1, 0]], (0, 1), KNeighborsRegressor())
    with pytest.raises(DegenerateInputError, match="column that varies"):
        missing_constant(np.ones((9, 1)), np.ones(9), [[1]], (1,), KNeighborsRegressor())


def test_rules_of_the_constant_can_fail():
    def found(units, value):
        return [Measured("constant", {"units": units}, value, 0.0, H)]

    assert [is_met for _, is_met in constant_rules(found("kg m^2 s^-1", 0.7 * H))] == [True, True]
    assert [is_met for _, is_met in constant_rules(found("kg m^2 s^-1", 0.4 * H))] == [True, False]
    assert [is_met for _, is_met in constant_rules(found("kg m^2 s^-2", H))] == [False, True]
    assert constant_rules([]) == []


@pytest.mark.slow
def test_errors_of_trained_nets_lie_where_they_should():
    simulation = BlackBody(models=["no constant", "plain MLP", "Planck's constant"], seeds=1)
    no_constant, plain, planned = (line.measured for line in simulation.run())
    assert abs(no_constant - 6.35) < 0.05
    assert 0.45 < plain < 1.1
    assert abs(planned - 0.41) < 0.06
    assert planned < plain < no_constant


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
