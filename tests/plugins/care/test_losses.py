"""Losses and measures by the numbers worked out by hand on a circle, and by what exact rotations, mirrors and liars must give."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from gnet.errors import ConfigError, DegenerateInputError, ShapeError
from gnet.groups.haar import haar_orthogonal, haar_special_orthogonal
from gnet.plugins.care import (
    CARELoss,
    GammaMetric,
    UniformityMetric,
    WahbaMetric,
    alignment,
    care_equivariance,
    gamma,
    info_nce,
    info_nce_parts,
    uniformity,
    wahba,
)


def on_circle(*angles: float) -> torch.Tensor:
    given = torch.tensor(angles, dtype=torch.float64)
    return torch.stack([given.cos(), given.sin()], -1)


FIRST, SECOND = on_circle(0, 1, 2.5, 4), on_circle(0.3, 1.2, 2.9, 4.1)
MIRROR = torch.tensor([1.0, -1.0], dtype=torch.float64)


def unit(rng: torch.Generator, n: int = 6, d: int = 3) -> torch.Tensor:
    return normalize(torch.randn(n, d, dtype=torch.float64, generator=rng), dim=-1)


KNOWN = {
    "InfoNCE": (lambda: info_nce(FIRST, SECOND, 0.5), 0.66159094),
    "its positives": (lambda: info_nce_parts(FIRST, SECOND, 0.5)[0], -1.92573411),
    "its denominator": (lambda: info_nce_parts(FIRST, SECOND, 0.5)[1], 2.58732505),
    "equivariance, mean form": (lambda: care_equivariance(FIRST, SECOND), 0.02563568),
    "equivariance, code form, 1 chunk": (lambda: 2 * 3 * care_equivariance(FIRST, SECOND), 0.15381407),
    "equivariance, code form, 2 chunks": (lambda: 2 * 1 * care_equivariance(FIRST, SECOND, 2), 0.09165348),
    "uniformity": (lambda: uniformity(FIRST), 0.28520052),
    "invariance": (lambda: alignment(FIRST, SECOND), 0.24896002),
    "Wahba": (lambda: wahba(FIRST, SECOND).error, 0.22341586),
    "gamma": (lambda: gamma(FIRST, SECOND), 4.3605988),
}


@pytest.mark.parametrize("name", KNOWN)
def test_numbers_on_a_circle(name):
    make, expected = KNOWN[name]
    assert float(make()) == pytest.approx(expected, abs=6e-8 if name == "gamma" else 6e-9)


def test_the_log_of_the_negatives_alone_is_another_number():
    both = torch.cat([FIRST, SECOND])
    n, products = len(FIRST), both @ both.mT / 0.5
    negatives = torch.ones(2 * n, 2 * n, dtype=torch.bool)
    for shift in (0, n):
        negatives &= ~torch.eye(2 * n, dtype=torch.bool).roll(shift, 0)
    alone = torch.stack([row[kept].logsumexp(0) for row, kept in zip(products, negatives, strict=True)])
    assert float(alone.mean()) == pytest.approx(1.83426295, abs=6e-9)


def test_the_best_rotation_is_that_of_the_page():
    expected = torch.tensor([[0.9689, -0.2474], [0.2474, 0.9689]], dtype=torch.float64)
    torch.testing.assert_close(wahba(FIRST, SECOND).rotation, expected, atol=5e-5, rtol=0)


def test_an_exact_rotation_is_equivariance_and_not_invariance():
    moved = on_circle(0.7, 1.7, 3.2, 4.7)
    for found in (care_equivariance(FIRST, moved), wahba(FIRST, moved).error, gamma(FIRST, moved)):
        assert float(found) < 1e-14
    assert float(alignment(FIRST, moved)) == pytest.approx(0.68579561, abs=6e-9)


def test_a_mirror_is_an_orthogonal_map_and_no_rotation():
    moved = FIRST * MIRROR
    assert float(wahba(FIRST, moved).error) == pytest.approx(2.37273, abs=6e-6)
    assert float(wahba(FIRST, moved, special=False).error) < 1e-14
    assert float(care_equivariance(FIRST, moved)) < 1e-30


def test_equivariance_is_zero_for_one_map_per_chunk_and_not_for_one_per_sample(rng):
    z = unit(rng, 12, 3)
    maps = haar_orthogonal(3, 3, rng)
    moved = (z.unflatten(0, (3, 4)) @ maps.mT).flatten(0, 1)
    assert float(care_equivariance(z, moved, chunks=3)) < 1e-28
    assert float(care_equivariance(z, moved, chunks=1)) > 1e-3  # chunks matter
    liar = (z[:, None] @ haar_orthogonal(3, 12, rng).mT)[:, 0]
    assert float(care_equivariance(z, liar, chunks=3)) > 1e-3


def test_equivariance_by_loops(rng):
    z1, z2 = unit(rng), unit(rng)
    squares = []
    for chunk in range(2):
        rows = range(3 * chunk, 3 * chunk + 3)
        squares += [float(z1[i] @ z1[j] - z2[i] @ z2[j]) ** 2 for i in rows for j in rows if i != j]
    assert float(care_equivariance(z1, z2, chunks=2)) == pytest.approx(sum(squares) / len(squares), rel=1e-12)


def test_infonce_by_loops(rng):
    z1, z2 = unit(rng), unit(rng)
    both, n, losses = torch.cat([z1, z2]), len(z1), []
    for i in range(2 * n):
        weights = [math.exp(float(both[i] @ both[j]) / 0.3) if i != j else 0.0 for j in range(2 * n)]
        losses.append(-math.log(weights[(i + n) % (2 * n)] / sum(weights)))
    assert float(info_nce(z1, z2, 0.3)) == pytest.approx(sum(losses) / len(losses), rel=1e-12)


@pytest.mark.parametrize("name", ["Lorentz", "symplectic"])
def test_other_forms_are_kept_by_their_own_isometries_and_not_by_rotations(name, rng):
    if name == "Lorentz":
        form = torch.diag(torch.tensor([1.0, -1, -1, -1], dtype=torch.float64))
        boost = torch.eye(4, dtype=torch.float64)
        c, s = math.cosh(0.5), math.sinh(0.5)
        boost[:2, :2] = torch.tensor([[c, s], [s, c]], dtype=torch.float64)
    else:
        half = torch.eye(2, dtype=torch.float64)
        form = torch.kron(torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64), half)
        boost = torch.diag(torch.tensor([2.0, 3.0, 0.5, 1 / 3], dtype=torch.float64))
    z = torch.randn(6, 4, dtype=torch.float64, generator=rng)
    assert float(care_equivariance(z, z @ boost.mT, form=form)) < 1e-24
    turned = z @ haar_special_orthogonal(4, 1, rng)[0].mT
    assert float(care_equivariance(z, turned, form=form)) > 1e-4
    loss = CARELoss(lam=1.0, tau=None, form=form)
    assert "form" in dict(loss.named_buffers())


def test_the_loss_is_the_weighted_sum_of_its_terms(rng):
    z1, z2 = unit(rng), unit(rng)
    both = info_nce(z1, z2, 0.5) + 3 * care_equivariance(z1, z2, 2)
    torch.testing.assert_close(CARELoss(3.0, 0.5, 2)(z1, z2), both)
    plain = 0.5 * alignment(z1, z2) + 2 * uniformity(torch.cat([z1, z2])) + 3 * care_equivariance(z1, z2, 2)
    torch.testing.assert_close(CARELoss(3.0, None, 2, 0.5, 2.0)(z1, z2), plain)
    assert list(CARELoss(0.0)(z1, z2).shape) == [] and "equi" not in CARELoss(0.0).terms(z1, z2)
    assert "chunks=2" in repr(CARELoss(3.0, 0.5, 2))


def test_losses_have_the_gradients_of_their_formulas(rng):
    raw = [torch.randn(4, 3, dtype=torch.float64, generator=rng, requires_grad=True) for _ in range(2)]
    for loss in (CARELoss(2.0, 0.5, 2), CARELoss(2.0, None, 2)):
        assert torch.autograd.gradcheck(lambda a, b, loss=loss: loss(normalize(a, dim=-1), normalize(b, dim=-1)), raw)


# --- measures ---


def test_wahba_s_rotation_is_best_among_many(rng):
    z, other = unit(rng, 8, 3), unit(rng, 8, 3)
    tried = haar_special_orthogonal(3, 300, rng)
    errors = (z @ tried.mT - other).flatten(1).norm(dim=1)
    found = wahba(z, other)
    assert float(found.error) <= float(errors.min())
    assert float(wahba(z, other, special=False).error) <= float(found.error)
    torch.testing.assert_close(found.rotation @ found.rotation.mT, torch.eye(3, dtype=torch.float64))
    assert float(torch.linalg.det(found.rotation)) == pytest.approx(1)


def test_wahba_of_many_at_once(rng):
    z, other = torch.stack([FIRST, SECOND]), torch.stack([SECOND, FIRST * MIRROR])
    found = wahba(z, other)
    for i in range(2):
        torch.testing.assert_close(found.error[i], wahba(z[i], other[i]).error)


def test_gamma_by_loops(rng):
    z, moved = unit(rng, 5, 4), unit(rng, 5, 4)
    ratios = []
    for i in range(5):
        for j in range(5):
            if i != j:
                top = float((moved[i] - moved[j]).square().sum() - (z[i] - z[j]).square().sum()) ** 2
                ratios.append(top / float((moved[i] - z[i]).square().sum() + (moved[j] - z[j]).square().sum()) ** 2)
    assert float(gamma(z, moved)) == pytest.approx(sum(ratios) / len(ratios), rel=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gamma_of_what_does_not_move_is_undefined_and_its_gradient_no_nan(dtype, rng):
    z = unit(rng).to(dtype)
    rounded = z * (1 + torch.finfo(dtype).eps)
    for moved in (z, rounded):
        assert math.isnan(float(gamma(z, moved)))
    constant = torch.ones(3, 2, dtype=dtype)
    assert math.isnan(float(gamma(constant, constant)))
    given = torch.cat([z[:3], -z[3:]]).requires_grad_()  # three that move, three that do not
    found = gamma(z, given)
    found.backward()
    assert float(found) >= 0 and bool(given.grad.isfinite().all())


def test_metrics_add_up_augmentations():
    pairs = [(FIRST, SECOND), (SECOND, FIRST * MIRROR)]
    wahbas, gammas, spread = WahbaMetric(), GammaMetric(), UniformityMetric()
    assert math.isnan(float(wahbas.compute())) and math.isnan(float(gammas.compute())) and math.isnan(float(spread.compute()))
    for each in (wahbas, gammas, spread):
        each.reset()  # forgets what compute() kept
    for z, moved in pairs:
        wahbas.update(z, moved)
        gammas.update(z, moved)
    spread.update(FIRST)
    expected = sum(float(wahba(z, moved).error) / 2 for z, moved in pairs) / 2
    assert float(wahbas.compute()) == pytest.approx(expected, rel=1e-12)
    assert float(gammas.compute()) == pytest.approx(sum(float(gamma(z, moved)) for z, moved in pairs) / 2, rel=1e-12)
    assert float(spread.compute()) == pytest.approx(0.28520052, abs=6e-9)
    gammas.reset()
    gammas.update(FIRST, FIRST)
    assert math.isnan(float(gammas.compute()))
    mirrors = WahbaMetric(special=False)
    mirrors.update(FIRST, FIRST * MIRROR)
    assert float(mirrors.compute()) < 1e-14


# --- bad input ---


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: care_equivariance(FIRST, SECOND, 3), ShapeError, "got 4 samples in 3 chunks"),
        (lambda: care_equivariance(FIRST, SECOND, 4), ShapeError, "two samples or more, got 4 samples in 4 chunks"),
        (lambda: care_equivariance(2 * FIRST, SECOND), DegenerateInputError, "norm 1, got one off by 1"),
        (lambda: uniformity(1.001 * FIRST), DegenerateInputError, "norm 1, got one off by 0.001"),
        (lambda: uniformity(math.nan * FIRST), DegenerateInputError, "norm 1, got one off by nan"),
        (lambda: uniformity(FIRST[0]), ShapeError, r"embeddings of shape \(n, D\)"),
        (lambda: alignment(FIRST, SECOND[:3]), ShapeError, r"got \(4, 2\) and \(3, 2\)"),
        (lambda: info_nce(FIRST[:1], SECOND[:1], 0.5), ShapeError, "n >= 2 samples"),
        (lambda: info_nce(FIRST, SECOND, 0.0), ConfigError, "tau > 0, got 0.0"),
        (lambda: CARELoss(lam=-1.0), ConfigError, "expected lam, w_inv and w_unif >= 0"),
        (lambda: CARELoss(tau=-1.0), ConfigError, "tau > 0 or None"),
        (lambda: CARELoss(chunks=0), ConfigError, "chunks >= 1"),
        (lambda: wahba(FIRST, SECOND[:3]), ShapeError, r"F and Fa of shape \(\.\.\., n, D\)"),
        (lambda: gamma(FIRST[:1], SECOND[:1]), ShapeError, "which make pairs, got 1"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
    uniformity((1 + 5e-5) * FIRST)  # within the tolerance
