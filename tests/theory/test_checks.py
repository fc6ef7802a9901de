"""No formula answers what was not asked: NaN, misspelled words, numbers out of range, two ways to say one thing."""

import math

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from gnet.errors import ConfigError, DataError, ShapeError
from gnet.graphs import Partition
from gnet.groups import SymmetricGroup, TrivialGroup
from gnet.measures import channel_equivariance_errors, data_error, energy_shift, linear_equivariance_error, moment_shift, project
from gnet.theory import (
    EquivariantRidge,
    InvariantKernelRidge,
    LeastSquares,
    ShrunkEquivariantRegression,
    approximation_gap,
    coarse_approximation,
    coarsening_error,
    crossover_sample_size,
    cut_filter_bound,
    dim_hom,
    equivariance_rate,
    estimate_bias,
    estimate_shrinkage,
    expected_excess_risk,
    expected_risk_gap,
    filter_bound,
    filter_difference,
    filter_error,
    generalisation_bound,
    greedy_net_sizes,
    linear_risk_gap,
    optimal_model_error,
    optimal_shrinkage,
    propagated_error,
    select_group,
    shrinkage_factor,
    split_map,
    weighted_split,
)
from gnet.theory.checks import as_float64
from gnet.training.data_metrics import DataErrorMetric, MomentShiftMetric

S3, NAN, PAIR = SymmetricGroup(3), math.nan, [[0.0, 1.0], [1.0, 0.0]]
EYE, WHOLE = np.eye(3), Partition.whole(2)
GRAPH = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)


def with_nan(*shape: int) -> np.ndarray:
    values = np.random.default_rng(0).standard_normal(shape)
    values[-1] = np.nan
    return values


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: coarse_approximation(PAIR, WHOLE, "blow-up"), "target"),
        (lambda: filter_bound(PAIR, WHOLE, [1.0, 1.0], target="nonsense"), "target"),
        (lambda: filter_difference(PAIR, WHOLE, [1.0, 1.0], target="Reynolds"), "target"),
        (lambda: coarsening_error(GRAPH, WHOLE, "mean"), "target"),
        (lambda: split_map(EYE, S3, "equivarant"), "output"),
        (lambda: dim_hom(S3, output="both"), "output"),
        (lambda: weighted_split(EYE, S3, EYE, "both"), "output"),
        (lambda: linear_equivariance_error(torch.eye(3), S3, output="both"), "output"),
        (lambda: channel_equivariance_errors(torch.eye(3), S3, output="both"), "output"),
        (lambda: project(torch.eye(3), S3, output="both"), "output"),
        (lambda: expected_excess_risk(EYE, S3, 9, estimator="ridge"), "estimator"),
        (lambda: crossover_sample_size(EYE, TrivialGroup(3), S3, estimator="ols"), "estimator"),
    ],
)
def test_misspelled_words_are_refused(call, word):
    with pytest.raises(ConfigError, match=rf"expected {word} '\w+' or '\w+'.*, got '"):
        call()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda bad: expected_risk_gap(EYE, S3, 9, sigma_x=bad), "sigma_x > 0"),
        (lambda bad: expected_excess_risk(EYE, S3, 9, sigma_xi=bad), "sigma_xi >= 0"),
        (lambda bad: crossover_sample_size(EYE, TrivialGroup(3), S3, sigma_xi=bad), "sigma_xi >= 0"),
        (lambda bad: optimal_shrinkage(EYE, S3, 9, sigma_x=bad), "sigma_x > 0"),
        (lambda bad: linear_risk_gap(EYE, EYE, S3, sigma_x=bad), "sigma_x > 0"),
        (lambda bad: data_error(np.eye(9)[:, :3], np.ones(9), S3, sigma_x=bad), "sigma_x > 0"),
        (lambda bad: DataErrorMetric(S3, 1, None, sigma_x=bad), "sigma_x > 0"),
        (lambda bad: linear_equivariance_error(torch.eye(3), S3, sigma_x=bad), "sigma_x > 0"),
        (lambda bad: expected_risk_gap(EYE, S3, 9, sigma_xi=bad, covariance=EYE, weighted=True), "sigma_xi >= 0"),
        (lambda bad: filter_bound(PAIR, WHOLE, [1.0, 1.0], sigma_x=bad), "sigma_x > 0"),
        (lambda bad: filter_error(PAIR, SymmetricGroup(2), [1.0], sigma_x=bad), "sigma_x > 0"),
        (lambda bad: filter_difference(PAIR, WHOLE, [1.0], sigma_x=bad), "sigma_x > 0"),
        (lambda bad: equivariance_rate(PAIR, [1.0], sigma_x=bad), "sigma_x > 0"),
        (lambda bad: cut_filter_bound(1, bad, 0.1), "largest >= 0"),
        (lambda bad: cut_filter_bound(1, 0.1, bad), "cut >= 0"),
        (lambda bad: generalisation_bound([1.0, 0.5], [1, 2], 10, epsilon=bad), "epsilon >= 0"),
        (lambda bad: generalisation_bound([1.0, 0.5], [1, 2], 10, lipschitz=bad), "lipschitz >= 0"),
        (lambda bad: generalisation_bound([1.0, 0.5], [1, 2], 10, largest_loss=bad), "largest_loss >= 0"),
        (lambda bad: approximation_gap(bad, 0.1), "data_error >= 0"),
        (lambda bad: approximation_gap(0.1, bad), "model_error >= 0"),
        (lambda bad: shrinkage_factor(1.0, bad), "variance >= 0"),
        (lambda bad: optimal_model_error(bad, 1.0), "bias >= 0"),
        (lambda bad: greedy_net_sizes([[0.0], [1.0]], [1.0, bad]), r"diameters\[1\] >= 0"),
    ],
)
@pytest.mark.parametrize("bad", [NAN, math.inf, -1.0])
def test_numbers_out_of_range_are_refused(call, name, bad):
    with pytest.raises(ConfigError, match=f"expected a finite {name}, got {bad}"):
        call(bad)


@pytest.mark.parametrize(
    "call",
    [
        lambda: expected_risk_gap(with_nan(3, 3), S3, 9),
        lambda: crossover_sample_size(with_nan(3, 3), TrivialGroup(3), S3),
        lambda: expected_risk_gap(EYE, S3, 9, covariance=with_nan(3, 3)),
        lambda: weighted_split(EYE, S3, with_nan(3, 3)),
        lambda: LeastSquares.fit(with_nan(50, 2), np.ones(50)),
        lambda: LeastSquares.fit(np.eye(50)[:, :2], with_nan(50)),
        lambda: EquivariantRidge(S3).fit(with_nan(9, 3), np.ones(9)),
        lambda: ShrunkEquivariantRegression(S3).fit(with_nan(9, 3), np.ones(9)),
        lambda: InvariantKernelRidge(S3).fit(with_nan(9, 3), np.ones(9)),
        lambda: estimate_shrinkage(LeastSquares(torch.full((3, 1), NAN), torch.eye(3), 1.0), S3),
        lambda: select_group(LeastSquares(torch.full((3, 1), NAN), torch.eye(3), 1.0), [S3, TrivialGroup(3)]),
        lambda: estimate_shrinkage(LeastSquares(torch.ones(3, 1), torch.eye(3), NAN), S3),
        lambda: select_group(LeastSquares(torch.ones(3, 1), torch.eye(3), NAN), [S3, TrivialGroup(3)]),
        lambda: estimate_bias(LeastSquares(torch.ones(3, 1), torch.full((3, 3), NAN), 1.0), S3),
        lambda: moment_shift(with_nan(9, 3), S3),
        lambda: energy_shift(torch.from_numpy(with_nan(9, 3, 1)), S3, num_permutations=3),
        lambda: greedy_net_sizes(with_nan(9, 3), [1.0]),
        lambda: coarse_approximation(with_nan(2, 2), WHOLE),
        lambda: filter_bound(PAIR, WHOLE, [1.0, NAN]),
        lambda: propagated_error(with_nan(1, 2, 1), PAIR, PAIR, []),
        lambda: MomentShiftMetric(S3, 1).update(torch.from_numpy(with_nan(9, 3, 1))),
        lambda: DataErrorMetric(S3, 1, None).update(torch.from_numpy(with_nan(9, 3, 1)), torch.zeros(9)),
        lambda: as_float64([1.0, math.inf]),
    ],
)
def test_nan_does_not_become_an_answer(call):
    with pytest.raises(ValueError, match=r"finite numbers, got|contains NaN") as caught:
        call()
    assert isinstance(caught.value, DataError) or "contains NaN" in str(caught.value)  # scikit-learn says the latter


@pytest.mark.parametrize("n", [20.5, NAN, math.inf, 0, True])
def test_samples_are_counted_in_whole_numbers(n):
    for call in (
        lambda: expected_risk_gap(EYE, S3, n),
        lambda: expected_risk_gap(EYE, S3, n, covariance=EYE, weighted=True),
        lambda: expected_excess_risk(EYE, S3, n),
        lambda: optimal_shrinkage(EYE, S3, n),
        lambda: generalisation_bound([1.0], [1], n),
    ):
        with pytest.raises(ConfigError, match=r"expected a whole number of samples n >= \d"):
            call()


def test_a_covariance_holds_all_variances():
    """Beside it sigma_x would be left out without a word."""
    for call in (
        lambda: expected_risk_gap(EYE, S3, 20, sigma_x=7.0, covariance=EYE),
        lambda: expected_risk_gap(EYE, S3, 20, sigma_x=7.0, covariance=EYE, weighted=True),
        lambda: expected_excess_risk(EYE, S3, 20, sigma_x=7.0, covariance=EYE),
        lambda: crossover_sample_size(EYE, TrivialGroup(3), S3, sigma_x=7.0, covariance=EYE),
        lambda: optimal_shrinkage(EYE, S3, 20, sigma_x=7.0, covariance=EYE),
        lambda: linear_risk_gap(EYE, EYE, S3, sigma_x=7.0, covariance=EYE),
    ):
        with pytest.raises(ConfigError, match=r"expected sigma_x or covariance, got both; multiply the covariance by 7.0\^2"):
            call()
    theta = np.diag([1.0, 2.0, 4.0])
    gap = expected_risk_gap(theta, S3, 20, covariance=49 * EYE)
    assert gap == pytest.approx(expected_risk_gap(theta, S3, 20, sigma_x=7.0))


@pytest.mark.parametrize(
    ("theta", "inverse_gram", "noise", "error", "message"),
    [
        (torch.ones(3), torch.eye(3), 1.0, ShapeError, r"expected theta \(N, C', N, C\), or \(N, C\) .*, got \(3,\)"),
        (torch.ones(3, 1, 2, 1), torch.eye(2), 1.0, ShapeError, r"got \(3, 1, 2, 1\)"),
        (torch.ones(3, 2), torch.eye(3), 1.0, ShapeError, r"expected inverse_gram \(6, 6\) beside theta \(3, 2\), got \(3, 3\)"),
        (torch.ones(3, 1), torch.eye(3), -1.0, ConfigError, "expected a finite noise >= 0, got -1.0"),
        (torch.ones(3, 1), torch.eye(3), math.inf, DataError, "expected finite numbers, got inf"),
    ],
)
def test_least_squares_of_nothing_is_refused(theta, inverse_gram, noise, error, message):
    with pytest.raises(error, match=message):
        LeastSquares(theta, inverse_gram, noise)


def test_units_do_not_decide_whether_inputs_depend_on_others():
    """Two independent inputs, one of them in units 1e13 times as large; then two that are one."""
    rng = np.random.default_rng(0)
    x, scale = rng.standard_normal((50, 2)), np.array([1.0, 1e-13])
    y = x @ [1.0, 2.0] + 0.1 * rng.standard_normal(50)
    plain, scaled = LeastSquares.fit(x, y), LeastSquares.fit(x * scale, y)
    np.testing.assert_allclose(scaled.theta.flatten().numpy() * scale, plain.theta.flatten().numpy(), rtol=1e-9)
    np.testing.assert_allclose(scale[:, None] * scaled.inverse_gram.numpy() * scale, plain.inverse_gram.numpy(), rtol=1e-9)
    assert scaled.noise == pytest.approx(plain.noise)
    for liar in (x[:, [0, 0]] * scale, x * [1.0, 0.0]):
        with pytest.raises(ShapeError, match="inputs of full rank"):
            LeastSquares.fit(liar, y)


def test_numbers_of_every_kind_become_float64():
    for values in ([1, 2], (1.0, 2.0), np.array([2, 1], dtype=np.int8)[::-1], torch.tensor([1, 2], dtype=torch.float16)):
        found = as_float64(values)
        assert found.dtype == torch.float64 and found.tolist() == [1.0, 2.0]
    assert float(as_float64([0.1])) == 0.1  # not by way of float32
    with pytest.raises(ShapeError, match=r"expected real numbers, got torch\.complex128"):
        as_float64([1j])
