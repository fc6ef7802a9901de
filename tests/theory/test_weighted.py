"""Inputs that the group changes: the nearest map against a numerical search, the theorem in their norm against simulation."""

import numpy as np
import pytest
import torch

from gnet.errors import ConfigError, ShapeError
from gnet.groups import SymmetricGroup, grid_group
from gnet.theory import expected_risk_gap, split_map, weighted_split
from tests.theory.simulate import agrees, cluster_elements, constrained_basis, matrices
from tests.theory.test_regression import clusters


def covariance_of(size: int, seed: int) -> np.ndarray:
    root = np.random.default_rng(seed).standard_normal((size, size))
    return root @ root.T + 0.2 * np.eye(size)


@pytest.mark.parametrize("channels", [(1, 1), (2, 3)])
@pytest.mark.parametrize("name", ["clusters", "grid"])
def test_it_is_the_nearest_in_the_norm_of_the_inputs(name, channels):
    group = {"clusters": clusters(3, 2, 1), "grid": grid_group((2, 3), "flips")}[name]
    c_in, c_out = channels
    theta, covariance = np.random.default_rng(0).standard_normal((6, c_out, 6, c_in)), covariance_of(6 * c_in, 1)
    found = weighted_split(theta, group, covariance)
    elements = group.elements().tolist()
    basis = constrained_basis(matrices(elements, c_out), matrices(elements, c_in))
    root = np.linalg.cholesky(covariance)
    design = np.stack([(each @ root).ravel() for each in basis], 1)
    weights = np.linalg.lstsq(design, (theta.reshape(6 * c_out, -1) @ root).ravel(), rcond=None)[0]
    np.testing.assert_allclose(found.kept.numpy(), np.tensordot(weights, basis, 1), atol=1e-9)
    assert abs(float(((found.lost @ torch.from_numpy(covariance)) * found.kept).sum())) < 1e-9
    away = split_map(theta, group).lost @ torch.from_numpy(root)  # the average is farther away
    assert float((found.lost @ torch.from_numpy(root)).norm()) < float(away.norm()) - 1e-3


def test_for_inputs_that_the_group_keeps_it_is_the_average(rng):
    theta = torch.randn(5, 5, generator=rng).double()
    kept = 0.3 * torch.ones(5, 5).double() + torch.eye(5).double()
    torch.testing.assert_close(weighted_split(theta, SymmetricGroup(5), kept).kept, split_map(theta, SymmetricGroup(5)).kept)
    gaps = [expected_risk_gap(theta, SymmetricGroup(5), 20, covariance=kept, weighted=weighted) for weighted in (True, False)]
    assert gaps[0] == pytest.approx(gaps[1])


@pytest.mark.parametrize("output", ["equivariant", "invariant"])
def test_the_theorem_holds_in_the_norm_of_the_inputs(output):
    group, covariance, rng = clusters(2, 2), covariance_of(4, 2), np.random.default_rng(0)
    theta = rng.standard_normal((4, 4) if output == "equivariant" else 4)
    root, gaps = np.linalg.cholesky(covariance), []
    rows = theta.reshape(-1, 4)
    elements = matrices(cluster_elements(2, 2))
    basis = constrained_basis(elements if output == "equivariant" else np.ones((len(elements), 1, 1)), elements)
    design = np.stack([(each @ root).ravel() for each in basis], 1)
    project = design @ np.linalg.pinv(design)
    for _ in range(3000):
        x = rng.standard_normal((12, 4)) @ root.T
        fitted = np.linalg.lstsq(x, x @ rows.T + 2.0 * rng.standard_normal((12, len(rows))), rcond=None)[0].T
        whitened, truth = (fitted @ root).ravel(), (rows @ root).ravel()
        gaps.append(np.sum((whitened - truth) ** 2) - np.sum((project @ whitened - truth) ** 2))
    expected = expected_risk_gap(theta, group, 12, sigma_xi=2.0, output=output, covariance=covariance, weighted=True)
    assert agrees(expected, (np.mean(gaps), np.std(gaps) / np.sqrt(3000)))
    assert not agrees(2 * expected, (np.mean(gaps), np.std(gaps) / np.sqrt(3000)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: weighted_split(np.eye(3), SymmetricGroup(3), np.eye(2)), ShapeError, r"symmetric covariance \(3, 3\)"),
        (lambda: weighted_split(np.eye(3), SymmetricGroup(3), np.diag([1.0, 1.0, 0.0])), ShapeError, "positive definite"),
        (lambda: expected_risk_gap(np.eye(3), SymmetricGroup(3), 9, weighted=True), ConfigError, "give covariance"),
        (lambda: expected_risk_gap(np.eye(3), SymmetricGroup(3), 4, weighted=True, covariance=np.eye(3)), ConfigError, "n >= 5"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
