"""Moments against loops over particles; scalars by count, name and invariance, with features that are no scalars as liars."""

import dataclasses
import itertools

import pytest
import torch

from gnet.errors import ConfigError, DataError, ShapeError
from gnet.plugins.halos import geometric_features, halo_scalars
from gnet.plugins.halos.features import REGROUPED
from gnet.plugins.tensors import O

FIELDS = ("m", "x", "v", "C_xx", "C_vv", "C_xv")


def particles(rng: torch.Generator, num_halos: int = 3, each: int = 40):
    count = num_halos * each
    x = torch.randn(count, 3, dtype=torch.float64, generator=rng) * 0.4
    v = torch.randn(count, 3, dtype=torch.float64, generator=rng)
    mass = torch.rand(count, dtype=torch.float64, generator=rng)
    return x, v, mass, torch.randint(num_halos, (count,), generator=rng)


@pytest.mark.parametrize("bins", [REGROUPED, [[0]], [[2, 0], [5]]])
def test_moments_are_sums_over_particles(bins, rng):
    x, v, mass, batch = particles(rng)
    found = geometric_features(x, v, mass, batch, bins=bins, num_halos=4)
    for name, l, p in (("m", 0, 0), ("x", 1, 0), ("v", 0, 1), ("C_xx", 2, 0), ("C_vv", 0, 2), ("C_xv", 1, 1)):
        expected = torch.zeros_like(getattr(found, name))
        for xi, vi, mi, halo in zip(x, v, mass, batch, strict=True):
            shell = int(float(xi.norm()) / 0.1)
            for n, shells in enumerate(bins):
                if shell in shells:
                    power = mi
                    for vector in [xi] * l + [vi] * p:
                        power = power[..., None] * vector
                    expected[int(halo), n] += power
        torch.testing.assert_close(getattr(found, name), expected, rtol=1e-12, atol=1e-12)
    assert not found.m[3].any()


def count(num_bins: int, **options) -> int:
    bins = [[shell] for shell in range(num_bins)]
    scalars, names = halo_scalars(geometric_features(torch.zeros(1, 3), torch.zeros(1, 3), 1.0, bins=bins), **options)
    assert scalars.shape == (1, len(names)) and len(set(names)) == len(names)
    return len(names)


def test_counts():
    assert count(3) == 72 and count(3, pairs=False) == 30
    assert count(3, tensors="traces") == 54
    assert [count(num_bins) for num_bins in (1, 5, 10)] == [16, 160, 520]
    assert count(3, max_order=None) - 30 == 72
    assert count(3, max_order=None, products=True) == 30 + 465 + 72 == 567


def test_pairs_are_contractions(rng):
    features = geometric_features(*particles(rng))
    scalars, names = halo_scalars(features, max_order=None)
    at = dict(zip(names, scalars.unbind(1), strict=True))
    turning = (features.C_xv - features.C_xv.mT) / 2
    torch.testing.assert_close(at["x[0] . v[2]"], (features.x[:, 0] * features.v[:, 2]).sum(1))
    torch.testing.assert_close(at["C_xx[1] : C_vv[1]"], torch.einsum("hij,hij->h", features.C_xx[:, 1], features.C_vv[:, 1]))
    torch.testing.assert_close(at["C_xv anti[0] : C_xv anti[1]"], torch.einsum("hij,hij->h", turning[:, 0], turning[:, 1]))
    torch.testing.assert_close(
        sum(at[f"C_vv[2] eigenvalue {k}"] for k in (1, 2, 3)), features.C_vv[:, 2].diagonal(dim1=1, dim2=2).sum(1)
    )
    orders = [name for name in names if name not in halo_scalars(features)[1]]
    assert len(orders) == 30 and "C_xx[0] : C_xx[1]" in orders and "C_vv[0] : C_xv sym[0]" in orders


def shift(values, moved) -> float:
    """The largest difference, in units of the largest value."""
    return float((values - moved).abs().max() / values.abs().max())


@pytest.mark.parametrize("options", [{"pairs": False}, {"tensors": "traces"}, {"max_order": None}, {"products": True}])
def test_no_rotation_or_reflection_changes_a_scalar(options, rng):
    x, v, mass, batch = particles(rng)
    before = halo_scalars(geometric_features(x, v, mass, batch), **options)[0]
    reflection = -torch.eye(3, dtype=torch.float64)
    for g in itertools.chain(O(3).sample(5, rng).double(), [reflection]):
        features = geometric_features(x @ g.T, v @ g.T, mass, batch)
        assert shift(before, halo_scalars(features, **options)[0]) < 1e-12
        assert shift(features.C_xv, g @ geometric_features(x, v, mass, batch).C_xv @ g.T) < 1e-12


def test_components_and_half_rotations_are_caught(rng):
    x, v, mass, batch = particles(rng)
    g = O(3).sample(1, rng).double()[0]
    components = [
        geometric_features(each @ h.T, v @ h.T, mass, batch).C_xx.flatten(1) for each, h in ((x, torch.eye(3).double()), (x, g))
    ]
    assert shift(*components) > 1e-3
    before, half = (halo_scalars(geometric_features(each, v, mass, batch))[0] for each in (x, x @ g.T))
    assert shift(before, half) > 1e-3  # positions turn, velocities stay
    pseudo = []
    for sign in (1, -1):
        f = geometric_features(sign * x, sign * v, mass, batch, bins=[range(4), range(4, 8)])
        pseudo.append(torch.linalg.det(torch.stack([f.x[:, 0], f.v[:, 0], f.x[:, 1]], 1)))
    assert shift(*pseudo) > 1  # a determinant changes its sign


def test_order_of_particles_and_of_halos(rng):
    x, v, mass, batch = particles(rng)
    order = torch.randperm(len(x), generator=rng)
    one, other = geometric_features(x, v, mass, batch), geometric_features(x[order], v[order], mass[order], batch[order])
    for name in FIELDS:
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-12, atol=1e-12)
    alone = geometric_features(*(each[batch == 1] for each in (x, v, mass)))
    for name in FIELDS:
        torch.testing.assert_close(getattr(alone, name)[0], getattr(one, name)[1], rtol=1e-12, atol=1e-12)
    assert [field.name for field in dataclasses.fields(one)] == list(FIELDS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_borders_and_far_particles(dtype):
    shells = [[shell] for shell in range(10)]
    for number in range(1, 10):  # .3 / .1 is below 3, .3 on the border all the same
        x = torch.tensor([[number / 10, 0.0, 0.0]], dtype=dtype)
        assert geometric_features(x, x, 1.0, bins=shells).m[0].nonzero().tolist() == [[number]]
    far = torch.tensor([[1e30, 0.0, 0.0], [0.15, 0.0, 0.0]], dtype=dtype)  # beyond every int64
    assert geometric_features(far, far, 1.0, bins=shells).m[0].nonzero().tolist() == [[1]]
    assert float(geometric_features(far, far, 1.0, bins=shells).m.sum()) == 1


X = torch.zeros(4, 3)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (
            ShapeError,
            r"expected x and v of one shape \(P, 3\), got \(4, 3\) and \(3, 3\)",
            lambda: geometric_features(X, X[:3], 1.0),
        ),
        (ShapeError, "expected one mass or those of 4 particles", lambda: geometric_features(X, X, torch.ones(3))),
        (ShapeError, "expected batch as 4 whole numbers", lambda: geometric_features(X, X, 1.0, torch.zeros(4))),
        (DataError, "expected finite numbers in v", lambda: geometric_features(X, X / 0, 1.0)),
        (
            DataError,
            r"expected halos 0\.\.0 in batch, got 0\.\.1",
            lambda: geometric_features(X, X, 1.0, torch.tensor([0, 1, 0, 0]), num_halos=1),
        ),
        (ConfigError, "expected bins of distinct shells", lambda: geometric_features(X, X, 1.0, bins=[[0, 1], [1]])),
        (ConfigError, "positive width", lambda: geometric_features(X, X, 1.0, width=0.0)),
        (
            ConfigError,
            'expected tensors "eigenvalues" or "traces"',
            lambda: halo_scalars(geometric_features(X, X, 1.0), tensors="det"),
        ),
    ],
)
def test_bad_input(error, message, call):
    with pytest.raises(error, match=message):
        call()
