"""Linear estimators: ridge without a group, and brute force in a basis of the group's maps."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge

from gnet.errors import ConfigError, GroupError, ShapeError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, PermutationGroup, SymmetricGroup, TrivialGroup, grid_group
from gnet.theory import EquivariantRidge, ShrunkEquivariantRegression, dim_hom
from gnet.theory.regression import expected_excess_risk
from tests.theory.simulate import constrained_basis, matrices
from tests.theory.test_regression import clusters

GROUPS = {
    "[3, 2, 1]": clusters(3, 2, 1),
    "interleaved": ClusterGroup(Partition([0, 1, 0, 2, 1, 0])),
    "S6": SymmetricGroup(6),
    "trivial": TrivialGroup(6),
    "swaps": ClusterGroup(Partition([0, 0, 1, 1, 2, 2]), PermutationGroup([[1, 0, 2]])),
    "all swaps": ClusterGroup(Partition([0, 0, 1, 1, 2, 2]), PermutationGroup([[1, 2, 0], [1, 0, 2]])),
    "grid": grid_group((2, 3), "flips"),
    "cycle": PermutationGroup([[1, 2, 3, 4, 5, 0]]),
}
OF_OTHER_TYPES = {  # complex and quaternionic, and one with an orbit whose sum is all that is alike
    "C4 x C2": grid_group((4, 2), "translations"),
    "quaternions": PermutationGroup([[1, 2, 3, 0, 5, 6, 7, 4], [4, 7, 6, 5, 2, 1, 0, 3]]),
    "two cycles": PermutationGroup([[1, 2, 0, 4, 5, 3, 6]]),
}


def brute_force(x, y, outer, inner, alpha, intercept):
    """Least squares in an orthonormal basis of the group's maps and offsets; x (n, p), y (n, q)."""
    basis = constrained_basis(outer, inner)
    offsets = constrained_basis(outer, np.ones((len(outer), 1, 1)))[:, :, 0] if intercept else np.zeros((0, y.shape[1]))
    design = np.einsum("dqp,np->nqd", basis, x).reshape(y.size, -1)
    design = np.hstack([design, np.tile(offsets.T, (len(x), 1))])
    penalty = np.hstack([np.sqrt(alpha) * np.eye(len(basis)), np.zeros((len(basis), len(offsets)))])
    stacked, targets = np.vstack([design, penalty]), np.concatenate([y.reshape(-1), np.zeros(len(basis))])
    weights = np.linalg.lstsq(stacked, targets, rcond=None)[0]
    return np.tensordot(weights[: len(basis)], basis, 1), weights[len(basis) :] @ offsets


class TestRidge:
    @pytest.mark.parametrize("name", GROUPS)
    @pytest.mark.parametrize("alpha", [0.3, 0.0])
    @pytest.mark.parametrize("intercept", [True, False])
    def test_it_is_the_best_of_the_groups_maps(self, name, alpha, intercept):
        group, rng = GROUPS[name], np.random.default_rng(0)
        elements = group.elements().tolist()
        x, y = rng.standard_normal((40, 6, 2)) + 1, rng.standard_normal((40, 6, 3)) - 2
        model = EquivariantRidge(group, alpha, fit_intercept=intercept).fit(x, y)
        outer, inner = matrices(elements, 3), matrices(elements, 2)
        weights, offset = brute_force(x.reshape(40, -1), y.reshape(40, -1), outer, inner, alpha, intercept)
        np.testing.assert_allclose(model.coef_, weights, atol=1e-9)
        np.testing.assert_allclose(model.intercept_, offset if intercept else 0, atol=1e-9)
        np.testing.assert_allclose(model.predict(x).reshape(40, -1), x.reshape(40, -1) @ weights.T + offset, atol=1e-9)
        assert model.num_weights_ == dim_hom(group, 2, 3)

    @pytest.mark.parametrize("name", GROUPS)
    @pytest.mark.parametrize("alpha", [0.3, 0.0])
    def test_numbers_out(self, name, alpha):
        group, rng = GROUPS[name], np.random.default_rng(0)
        inner = matrices(group.elements().tolist(), 2)
        outer = np.broadcast_to(np.eye(3), (len(inner), 3, 3))
        x, y = rng.standard_normal((40, 6, 2)) + 1, rng.standard_normal((40, 3)) - 2
        model = EquivariantRidge(group, alpha, output="invariant").fit(x, y)
        weights, offset = brute_force(x.reshape(40, -1), y, outer, inner, alpha, True)
        np.testing.assert_allclose(model.coef_, weights, atol=1e-9)
        np.testing.assert_allclose(model.intercept_, offset, atol=1e-9)
        assert model.num_weights_ == 3 * dim_hom(group, 2, output="invariant")

    @pytest.mark.parametrize("name", [*GROUPS, *OF_OTHER_TYPES])
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("intercept", [True, False])
    @pytest.mark.parametrize("output", ["equivariant", "invariant"])
    def test_from_how_many_samples_on_there_is_one_solution(self, name, channels, intercept, output):
        """By the rank of the design of all the group's maps and offsets, with so many samples and with one fewer."""
        group, rng = {**GROUPS, **OF_OTHER_TYPES}[name], np.random.default_rng(0)
        elements, size = group.elements().tolist(), group.degree
        y = np.zeros((60, size, 2) if output == "equivariant" else (60, 2))
        model = EquivariantRidge(group, 1.0, fit_intercept=intercept, output=output)
        model.fit(rng.standard_normal((60, size, channels)), y)
        one, inner = np.ones((len(elements), 1, 1)), matrices(elements, channels)
        outer = matrices(elements) if output == "equivariant" else one  # to each channel of its own
        basis = constrained_basis(outer, inner)
        offsets = constrained_basis(outer, one)[:, :, 0]
        assert model.num_weights_ == 2 * len(basis)
        assert model.num_offsets_ == (2 * len(offsets) if intercept else 0)
        columns = len(basis) + (len(offsets) if intercept else 0)
        for n, is_enough in ((model.min_samples_, True), (model.min_samples_ - 1, False)):
            x = rng.standard_normal((n, size * channels))
            design = np.einsum("dqp,np->nqd", basis, x).reshape(-1, len(basis))
            design = np.hstack([design, np.tile(offsets.T, (n, 1))]) if intercept else design
            assert bool(np.linalg.matrix_rank(design) == columns) is is_enough, n

    def test_without_a_group_every_input_needs_a_sample(self):
        x, y = np.random.default_rng(0).standard_normal((20, 3, 2)), np.zeros((20, 5))
        for intercept in (True, False):
            model = EquivariantRidge(None, 0.0, fit_intercept=intercept).fit(x, y)
            assert (model.min_samples_, model.num_weights_, model.num_offsets_) == (6 + intercept, 30, 5 * intercept)

    def test_another_group_is_another_answer(self):
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((40, 6)), rng.standard_normal((40, 6))
        mine, other = (EquivariantRidge(GROUPS[name]).fit(x, y).coef_ for name in ("[3, 2, 1]", "interleaved"))
        assert np.abs(mine - other).max() > 1e-3

    @pytest.mark.parametrize("group", [None, TrivialGroup(5)])
    @pytest.mark.parametrize("samples", [30, 4])
    @pytest.mark.parametrize("single", [True, False])
    def test_without_a_group_it_is_ridge_regression(self, group, samples, single):
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((samples, 5)), rng.standard_normal(samples if single else (samples, 5))
        for intercept in (True, False):
            mine = EquivariantRidge(group, 0.7, fit_intercept=intercept).fit(x, y)
            theirs = Ridge(0.7, fit_intercept=intercept).fit(x, y)
            np.testing.assert_allclose(mine.coef_, theirs.coef_)
            np.testing.assert_allclose(mine.intercept_, theirs.intercept_, atol=1e-12)
            np.testing.assert_allclose(mine.predict(x), theirs.predict(x))

    def test_its_risk_is_that_of_theory(self):
        group, rng = clusters(3, 3), np.random.default_rng(0)
        theta = np.kron(np.array([[1.0, 0.5], [0.0, 1.0]]), np.ones((3, 3)) / 3) + np.eye(6)
        risks = []
        for _ in range(1500):
            x = rng.standard_normal((8, 6))
            found = EquivariantRidge(group, 0.0, fit_intercept=False).fit(x, x @ theta.T + 0.5 * rng.standard_normal((8, 6)))
            risks.append(np.sum((found.coef_ - theta) ** 2))
        expected = expected_excess_risk(theta, group, 8, sigma_xi=0.5, estimator="constrained")
        assert abs(np.mean(risks) - expected) < 5 * np.std(risks) / np.sqrt(1500)

    def test_thousands_of_nodes(self):
        """6000 nodes: a dense system would have 36 million unknowns."""
        rng, labels = np.random.default_rng(0), np.arange(6000) % 40
        group = ClusterGroup(Partition(labels))
        x = rng.standard_normal((60, 6000))
        means = np.stack([x[:, labels == cluster].mean(1) for cluster in range(40)], 1)
        y = 2 * x + means[:, labels]
        model = EquivariantRidge(group, 1e-6).fit(x, y)
        np.testing.assert_allclose(model.predict(x), y, atol=1e-5)
        assert model.num_weights_ == 40**2 + 40


class TestShrunk:
    def test_without_groups_it_is_least_squares(self):
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((30, 4)), rng.standard_normal((30, 2))
        mine, theirs = ShrunkEquivariantRegression().fit(x, y), LinearRegression().fit(x, y)
        np.testing.assert_allclose(mine.coef_, theirs.coef_)
        np.testing.assert_allclose(mine.intercept_, theirs.intercept_)

    def test_it_follows_the_truth(self):
        """Exact symmetry: nearly all is shrunk away; none, and plenty of data: nearly nothing is."""
        rng, group = np.random.default_rng(0), SymmetricGroup(5)
        x = rng.standard_normal((400, 5))
        factors = [
            np.mean(ShrunkEquivariantRegression(group).fit(x, x @ beta + rng.standard_normal(400)).factors_)
            for beta in (np.ones(5), np.arange(5.0))
        ]
        assert factors[0] < 0.7 and factors[1] > 0.98

    def test_signals_out(self):
        rng, group = np.random.default_rng(0), clusters(2, 2)
        x, y = rng.standard_normal((60, 4, 2)), rng.standard_normal((60, 4, 3))
        model = ShrunkEquivariantRegression([TrivialGroup(4), group]).fit(x, y)
        theirs = LinearRegression().fit(x.reshape(60, -1), y.reshape(60, -1)).coef_
        elements = group.elements().tolist()
        kept = np.mean([g.T @ theirs @ h for g, h in zip(matrices(elements, 3), matrices(elements, 2), strict=True)], 0)
        np.testing.assert_allclose(model.coef_, kept + model.factors_[0] * (theirs - kept))
        assert model.predict(x).shape == (60, 4, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: EquivariantRidge(alpha=-1).fit(np.eye(2), np.ones(2)), ConfigError, "alpha >= 0, got -1"),
        (lambda: EquivariantRidge(output="both").fit(np.eye(2), np.ones(2)), ConfigError, "got 'both'"),
        (lambda: EquivariantRidge("S3").fit(np.eye(2), np.ones(2)), GroupError, "expected a node group, got str"),
        (lambda: EquivariantRidge(SymmetricGroup(3)).fit(np.eye(4), np.ones(4)), ShapeError, r"X of shape \(n, 3\)"),
        (lambda: EquivariantRidge(SymmetricGroup(3)).fit(np.ones((4, 2, 3)), np.ones(4)), ShapeError, r"got \(4, 2, 3\)"),
        (lambda: EquivariantRidge(SymmetricGroup(3)).fit(np.eye(3), np.ones((3, 2))), ShapeError, 'say output="invariant"'),
        (
            lambda: ShrunkEquivariantRegression(SymmetricGroup(3)).fit(np.eye(3), np.ones(3)),
            ShapeError,
            "more samples than inputs",
        ),
        (
            lambda: ShrunkEquivariantRegression([SymmetricGroup(3), TrivialGroup(3)]).fit(np.eye(3), np.ones(3)),
            GroupError,
            "subgroup",
        ),
        (lambda: ShrunkEquivariantRegression(output="x").fit(np.eye(3), np.ones(3)), ConfigError, "got 'x'"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
