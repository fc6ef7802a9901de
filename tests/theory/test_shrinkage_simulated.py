"""Shrinkage against regressions drawn and solved by NumPy, with projectors made of listed elements."""

import math
from itertools import pairwise

import numpy as np
import pytest

from gnet.groups import SymmetricGroup, TrivialGroup
from gnet.theory import LeastSquares, Shrinkage, estimate_shrinkage, expected_excess_risk, optimal_shrinkage
from tests.theory.simulate import agrees, cluster_elements, matrices, projector
from tests.theory.test_regression import BETA, R3, S2, S3, clusters

CHAIN = [TrivialGroup(3), S2, S3]
PARTS = [np.eye(3), np.kron(np.diag([1, 0]), np.ones((2, 2)) / 2)[:3, :3] + np.diag([0, 0, 1]), np.ones((3, 3)) / 3]
"""The three projections of a theta in R^3."""


def least_squares(theta, n, trials, rng, sigma_xi, root):
    """Maps fitted to inputs ``root`` times white ones, (trials, q, p)."""
    q, p = theta.shape
    x = rng.standard_normal((trials, n, p)) @ root.T
    y = x @ theta.T + sigma_xi * rng.standard_normal((trials, n, q))
    return np.linalg.solve(x.mT @ x, x.mT @ y).mT


def increments(projectors, maps):
    """(Psi_j - Psi_(j+1)) of maps (..., q, p) for each step of a chain, then what the largest group keeps."""
    q, p = maps.shape[-2:]
    kept = [(maps.reshape(-1, q * p) @ each.T).reshape(maps.shape) for each in projectors]
    return [*(a - b for a, b in pairwise(kept)), kept[-1]]


def risks(pieces, factors, theta, root):
    """Squared errors on noiseless targets of the estimate with these factors."""
    estimate = sum(factor * piece for factor, piece in zip([*factors, 1.0], pieces, strict=True))
    return np.sum(((estimate - theta) @ root) ** 2, axis=(1, 2))


def mean(values):
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))


KEPT = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.2], [0.2, 0.2, 2.0]])  # a covariance that S2 leaves as it is
CASES = {
    "one number out": (BETA[None], CHAIN, [(1, 1, 1), (2, 1), (3,)], 20, R3, np.eye(3)),
    "a variance": (BETA[None], CHAIN, [(1, 1, 1), (2, 1), (3,)], 20, R3 | {"sigma_x": 0.3}, 0.3 * np.eye(3)),
    "a covariance": (
        np.array([[1.0, 0.6, 0.5]]),
        [TrivialGroup(3), S2],
        [(1, 1, 1), (2, 1)],
        12,
        {"sigma_xi": 0.8, "output": "invariant", "covariance": KEPT},
        np.linalg.cholesky(KEPT),
    ),
    "signals out": (
        np.random.default_rng(0).standard_normal((4, 4)),
        [clusters(2, 1, 1), clusters(2, 2), SymmetricGroup(4)],
        [(2, 1, 1), (2, 2), (4,)],
        12,
        {"sigma_xi": 3.0, "sigma_x": 2.0},
        2.0 * np.eye(4),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_risks_and_best_factors(name):
    theta, chain, sizes, n, options, root = CASES[name]
    rng, invariant = np.random.default_rng(0), options.get("output") == "invariant"
    elements = [matrices(cluster_elements(*each)) for each in sizes]
    projectors = [projector(np.ones((len(each), 1, 1)) if invariant else each, each) for each in elements]
    fitted = least_squares(theta, n, 20_000, rng, options["sigma_xi"], root)
    pieces, truth = increments(projectors, fitted), increments(projectors, theta[None])
    best = optimal_shrinkage(theta[0] if invariant else theta, chain, n, **options)
    steps = len(best.factors)
    for factors in (best.factors, [0.0] * steps, [1.0] * steps, np.linspace(0.2, 0.7, steps)):
        assert agrees(best.risk_at(factors), mean(risks(pieces, factors, theta, root))), factors
    assert agrees(
        best.model_error, mean(np.sum((sum(f * p for f, p in zip(best.factors, pieces, strict=False)) @ root) ** 2, (1, 2)))
    )
    for factor, piece, true in zip(best.factors, pieces, truth, strict=False):
        # The factor that the draws themselves want: <piece, truth> over |piece|^2, by the delta method.
        over, under = (np.sum((piece @ root) * (other @ root), axis=(1, 2)) for other in (true, piece))
        wanted = over.mean() / under.mean()
        assert agrees(factor, (wanted, np.std(over - wanted * under) / under.mean() / math.sqrt(len(over))))
    wrong = Shrinkage(best.factors, best.biases, tuple(2 * each for each in best.variances), best.rest)
    assert not agrees(wrong.risk_at([1.0] * steps), mean(risks(pieces, [1.0] * steps, theta, root)))


def test_an_increment_of_one_dimension_gains_or_loses():
    """Two inputs and their swap, so many samples that the noise is known: (1 - 1 / z^2)_+ z for z normal about the truth."""
    rng, n = np.random.default_rng(0), 200
    grid = np.linspace(-9, 9, 4001)
    share = np.exp(-(grid**2) / 2)
    for away, ratio in ((0.0, 0.333), (2.36, 1.491), (8.0, 1.049)):
        z = away + grid
        exact = np.average((np.maximum(0, 1 - 1 / np.maximum(z**2, 1e-12)) * z - away) ** 2, weights=share)
        assert exact == pytest.approx(ratio, abs=5e-4)
        theta = 1.0 + away / math.sqrt(n) * np.array([1.0, -1.0]) / math.sqrt(2)  # noise 1: least squares errs by 1 / n
        found = []
        for _ in range(500):
            x = rng.standard_normal((n, 2))
            estimate, _ = estimate_shrinkage(LeastSquares.fit(x, x @ theta + rng.standard_normal(n)), SymmetricGroup(2))
            apart = (estimate.flatten().numpy() - theta) @ [1.0, -1.0] / math.sqrt(2)
            found.append(n * apart**2)
        assert abs(np.mean(found) - exact) < 5 * np.std(found) / math.sqrt(500) + 0.03


def plug_in(x, y):
    """Chain shrinkage in R^3 of many data sets at once: (T, n, 3) and (T, n) -> (T, 3)."""
    gram = np.linalg.inv(x.mT @ x)
    fitted = (gram @ (x.mT @ y[..., None]))[..., 0]
    noise = np.sum((y - np.einsum("tni,ti->tn", x, fitted)) ** 2, axis=1) / (x.shape[1] - 3)
    estimate = fitted @ PARTS[2]
    for finer, coarser in pairwise(PARTS):
        piece = fitted @ (finer - coarser)
        q, v = np.sum(piece**2, axis=1), noise * np.einsum("tij,ji->t", gram, finer - coarser)
        estimate = estimate + (np.maximum(0, q - v) / q)[:, None] * piece
    return estimate


@pytest.mark.parametrize(
    ("n", "measured", "error", "theory"),
    [
        (10, 0.008962, 2.7e-5, (0.013889, 0.009259, 0.006129)),
        (20, 0.003755, 8e-6, (0.005208, 0.003472, 0.003235)),
        (40, 0.001931, 3.4e-6, (0.002315, 0.001543, 0.002271)),
        (80, 0.001014, 1.8e-6, (0.001096, 0.000731, 0.001864)),
    ],
)
def test_estimated_factors_along_the_chain(n, measured, error, theory):
    """Check values of 240 000 trials, and the exact risks of no group, S2 and S3: it beats no group, not always the others."""
    rng = np.random.default_rng(n)
    x = rng.standard_normal((30_000, n, 3))
    y = x @ BETA + rng.standard_normal((30_000, n)) / 6
    for place in range(30):
        theta, _ = estimate_shrinkage(LeastSquares.fit(x[place], y[place]), CHAIN)
        np.testing.assert_allclose(theta.flatten().numpy(), plug_in(x[place : place + 1], y[place : place + 1])[0], rtol=1e-9)
    found, spread = mean(np.sum((plug_in(x, y) - BETA) ** 2, axis=1))
    assert agrees(measured, (found, math.hypot(spread, error)))
    for group, value in zip(CHAIN, theory, strict=True):
        assert expected_excess_risk(BETA, group, n, **R3) == pytest.approx(value, abs=5.1e-7)
    assert found + 5 * spread < theory[0]
    assert found > min(theory[1:]) + 5 * spread  # and never the better of the two
