"""Kernels averaged over groups: double sums by hand, streams of images, and kernels that an action does not keep."""

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import kernel_metrics

from gnet.errors import ConfigError, ShapeError
from gnet.groups import MatrixGroup, SymmetricGroup, TrivialGroup
from gnet.theory import InvariantKernelRidge
from gnet.theory.kernels import averaged_kernel
from tests.laws.test_matrix_group import QuarterTurns
from tests.theory.test_regression import clusters


class Shear(MatrixGroup):
    """(x, y) -> (x + y, -y), which undoes itself and keeps neither lengths nor angles."""

    name, dim = "shear", 2
    generators = (torch.tensor([[1.0, 1.0], [0.0, -1.0]], dtype=torch.float64),)

    def order(self):
        return 2

    def sample(self, num, generator=None):
        return self.elements()[torch.randint(2, (num,), generator=generator)]


class TestKernel:
    def test_the_whole_group_against_a_double_sum(self):
        rng, group = np.random.default_rng(0), clusters(2, 2)
        x = rng.standard_normal((20, 4))
        y, new = np.sin(x).sum(1), rng.standard_normal((5, 4))
        model = InvariantKernelRidge(group, gamma=0.2, alpha=0.1).fit(x, y)
        perms = [[0, 1, 2, 3], [1, 0, 2, 3], [0, 1, 3, 2], [1, 0, 3, 2]]

        def kernel(a, b):
            pairs = [np.exp(-0.2 * ((a[:, None, p] - b[None][:, :, q]) ** 2).sum(-1)) for p in perms for q in perms]
            return np.mean(pairs, 0)

        expected = kernel(new, x) @ np.linalg.solve(kernel(x, x) + 0.1 * np.eye(20), y)
        np.testing.assert_allclose(model.predict(new), expected)
        np.testing.assert_allclose(model.predict(new[:, [1, 0, 3, 2]]), expected)
        assert np.abs(model.predict(new[:, [2, 1, 0, 3]]) - expected).max() > 1e-3  # no element

    def test_sampled_groups_get_nearer_with_more_samples(self):
        rng, group = np.random.default_rng(0), SymmetricGroup(8)
        x, new = rng.standard_normal((30, 8)), rng.standard_normal((20, 8))
        y = (x**2).sum(1)
        gaps = []
        for count in (2, 64):
            model = InvariantKernelRidge(group, alpha=0.1, num_samples=count).fit(x, y)
            moved = [model.predict(new[:, rng.permutation(8)]) for _ in range(8)]
            gaps.append(np.std(moved, 0).mean() / np.std(model.predict(new)))
        assert gaps[1] < 0.5 * gaps[0]

    def test_larger_groups_learn_from_fewer_samples(self):
        rng = np.random.default_rng(0)
        x, test = rng.standard_normal((40, 5)), rng.standard_normal((300, 5))

        def target(z):
            return np.cos(z).sum(1) + np.sort(z, 1)[:, -1]

        groups = [TrivialGroup(5), clusters(2, 1, 1, 1), clusters(3, 2), SymmetricGroup(5)]
        errors = [
            np.mean((InvariantKernelRidge(g, gamma=0.2, alpha=0.01).fit(x, target(x)).predict(test) - target(test)) ** 2)
            for g in groups
        ]
        assert errors == sorted(errors, reverse=True)

    @pytest.mark.filterwarnings("ignore:Singular matrix")
    @pytest.mark.parametrize("kernel", sorted(kernel_metrics()))
    def test_every_kernel_that_scikit_learn_knows(self, kernel):
        """Some have no gamma; chi-squared ones want numbers >= 0. None is the trivial group, and gamma its own default."""
        rng = np.random.default_rng(0)
        x, y = rng.random((15, 4)), rng.standard_normal(15)
        alone = KernelRidge(kernel=kernel, gamma=0.25).fit(x, y).predict(x)
        for group in (None, TrivialGroup(4)):
            np.testing.assert_allclose(InvariantKernelRidge(group, kernel=kernel).fit(x, y).predict(x), alone)
        model = InvariantKernelRidge(SymmetricGroup(4), kernel=kernel).fit(x, y)
        np.testing.assert_allclose(model.predict(x[:, [2, 0, 3, 1]]), model.predict(x), atol=1e-9)

    def test_kernels_that_the_action_does_not_keep_are_refused(self):
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((15, 2)), rng.standard_normal(15)
        with pytest.raises(ConfigError, match=r"which 'rbf' is not for the action of shear; .* num_samples=64"):
            InvariantKernelRidge(Shear()).fit(x, y)
        InvariantKernelRidge(Shear(), num_samples=8).fit(x, y)  # both sides: no kernel that is kept is needed
        InvariantKernelRidge(QuarterTurns(), kernel="laplacian").fit(x, y)
        with pytest.raises(ConfigError, match="'laplacian' is not for the action of eighths"):
            InvariantKernelRidge(Eighths(), kernel="laplacian").fit(x, y)

    @pytest.mark.parametrize("both", [False, True])
    def test_few_images_are_held_at_once(self, both, monkeypatch):
        """720 elements, of which ten images and no more are there at a time; the mean is that of all."""
        monkeypatch.setattr("gnet.theory.kernels.ROWS", 30)
        rng, group = np.random.default_rng(0), SymmetricGroup(6 if not both else 4)
        x, other = (torch.from_numpy(rng.standard_normal((size, group.degree, 1))) for size in (3, 5))
        seen = []

        def kernel(a, b):
            seen.append((len(a), len(b)))
            return np.exp(-((a[:, None] - b[None]) ** 2).sum(-1))

        def moves(batch):
            return (group.act(g, batch) for g in group.elements())

        found = averaged_kernel(x, other, moves, kernel, both=both)
        assert max(a for a, _ in seen) <= 30 and max(b for _, b in seen) <= 30
        images = [np.stack([each.flatten(1).numpy() for each in moves(z)]) for z in (x, other)]
        others = images[1] if both else images[1][:1]
        expected = np.mean([[kernel(a, b) for b in others] for a in images[0]], (0, 1))
        np.testing.assert_allclose(found, expected)

    def test_signals_of_matrix_groups_and_of_several_channels(self):
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((12, 5, 2)), rng.standard_normal(12)
        turned = np.stack([-x[..., 1], x[..., 0]], -1)
        for group, moved in ((QuarterTurns(), turned), (SymmetricGroup(5), x[:, [4, 0, 1, 2, 3]])):
            model = InvariantKernelRidge(group, alpha=0.1).fit(x, y)
            np.testing.assert_allclose(model.predict(moved), model.predict(x))
            np.testing.assert_allclose(model.predict(x.reshape(12, 10)), model.predict(x))
            for wrong in (x[..., :1], x.transpose(0, 2, 1)):
                with pytest.raises(ShapeError, match=r"expected X of shape \(n, 5, 2\) as in fit, got \(12, "):
                    model.predict(wrong)


class Eighths(MatrixGroup):
    """Turns by eighths of the plane, which keep distances and not sums of absolute values."""

    name, dim = "eighths", 2
    generators = (torch.tensor([[1.0, -1.0], [1.0, 1.0]], dtype=torch.float64) / 2**0.5,)

    def order(self):
        return 8

    def sample(self, num, generator=None):
        return self.elements()[torch.randint(8, (num,), generator=generator)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group": SymmetricGroup(9)}, "num_samples=64"),
        ({"group": SymmetricGroup(3), "num_samples": 0}, "num_samples >= 1"),
        ({"group": SymmetricGroup(3), "alpha": 0}, "finite alpha > 0, got 0"),
        ({"group": SymmetricGroup(3), "alpha": np.nan}, "finite alpha > 0, got nan"),
        ({"group": SymmetricGroup(3), "gamma": -5.0}, "finite gamma > 0, or None, got -5"),
        ({"group": SymmetricGroup(3), "kernel": "rbfs"}, "expected a kernel of .*cosine.*, got 'rbfs'"),
        ({"group": [[1, 0, 2]]}, "expected a group, or None for the trivial one, got list"),
    ],
)
def test_settings_out_of_range(settings, message):
    size = 9 if "num_samples=64" in message else 3
    with pytest.raises(ConfigError, match=message):
        InvariantKernelRidge(**settings).fit(np.eye(size), np.ones(size))


def test_signals_on_other_nodes():
    with pytest.raises(ShapeError, match=r"X of shape \(n, 3\) or \(n, 3, C\), got \(4, 4\)"):
        InvariantKernelRidge(SymmetricGroup(3)).fit(np.eye(4), np.ones(4))
