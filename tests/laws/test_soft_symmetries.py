"""Augmentation, penalties and projection of linear maps are tied by identities, for matrices and permutations alike."""

import math

import pytest
import torch
from torch import Tensor

from gnet.groups import SymmetricGroup, equivariant_maps
from gnet.measures import equivariance_error, project
from gnet.nn.relaxed import Augmentation, equivariance_penalty
from gnet.plugins.tensors import SO, B, D, S

THETA = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 10.0]], dtype=torch.float64)


def commutator(theta: Tensor, group) -> Tensor:
    """E_g ||theta g - g theta||^2 over all elements."""
    return torch.stack([(theta @ g - g @ theta).square().sum() for g in group.elements()]).mean()


def least_squares(x: Tensor, y: Tensor) -> Tensor:
    """Theta of y = x theta^T."""
    return torch.linalg.lstsq(x, y).solution.mT


def restricted(x: Tensor, y: Tensor, group) -> Tensor:
    """Least squares among the equivariant maps."""
    basis = equivariant_maps(group)
    features = torch.einsum("rij,nj->nir", basis, x).reshape(-1, len(basis))
    return torch.einsum("r,rij->ij", torch.linalg.lstsq(features, y.flatten()[:, None]).solution[:, 0], basis)


def penalised(x: Tensor, y: Tensor, group, weight: float) -> Tensor:
    """The minimum of mean ||y - theta x||^2 + weight E_g ||theta g - g theta||^2: one linear system."""
    d = x.shape[1]
    unit = torch.eye(d, dtype=x.dtype)
    moves = [torch.kron(unit, g.mT.contiguous()) - torch.kron(g, unit) for g in group.elements()]
    penalty = torch.stack([move.mT @ move for move in moves]).mean(0)
    gram, cross = torch.kron(unit, x.mT @ x / len(x)), (y.mT @ x / len(x)).flatten()
    return torch.linalg.solve(gram + weight * penalty, cross).reshape(d, d)


def test_the_penalty_is_twice_the_squared_distance():
    assert float(commutator(THETA, S(3))) == pytest.approx(137.3333, abs=1e-4)
    assert float((THETA - project(THETA, S(3))).square().sum()) == pytest.approx(68.6667, abs=1e-4)


@pytest.mark.parametrize("group", [S(3), B(3), D(5)], ids=lambda group: group.name)
def test_the_identity_holds_for_any_map(group, rng):
    theta = torch.randn(group.dim, group.dim, dtype=torch.float64, generator=rng)
    distance = (theta - project(theta, group)).square().sum()
    torch.testing.assert_close(commutator(theta, group), 2 * distance)


def test_a_map_in_a_skewed_basis_breaks_the_identity():
    """The liar: not an orthogonal action."""
    from tests.laws.test_matrix_laws import SKEWED

    theta = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    assert abs(float(commutator(theta, SKEWED)) / float(2 * (theta - project(theta, SKEWED)).square().sum()) - 1) > 0.1


def test_the_sampled_penalty_has_that_mean():
    """One random element for whitened inputs: the six unit vectors, both signs."""
    x = math.sqrt(3.0) * torch.cat([torch.eye(3), -torch.eye(3)]).double()
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([equivariance_penalty(lambda x: x @ THETA.mT, x, S(3), generator=generator) for _ in range(600)])
    error = float(draws.std()) / math.sqrt(len(draws))
    assert abs(float(draws.mean()) - 137.3333) < 5 * error
    whole = equivariance_error(lambda x: x @ THETA.mT, x, S(3), num_samples=None)
    assert whole.mean_square == pytest.approx(137.3333, abs=1e-4)


def test_all_augmented_data_give_the_restricted_fit_and_not_the_projected_one(rng):
    group = S(4)
    x, y = (torch.randn(30, 4, dtype=torch.float64, generator=rng) for _ in range(2))
    elements = group.elements()
    augmented = least_squares(torch.cat([x @ g.mT for g in elements]), torch.cat([y @ g.mT for g in elements]))
    exact = restricted(x, y, group)
    assert float((augmented - exact).abs().max()) < 1e-12
    assert float((project(least_squares(x, y), group) - exact).abs().max()) > 1e-3
    # Where X^T X commutes with the group the three agree.
    white = torch.linalg.qr(x)[0]
    torch.testing.assert_close(project(least_squares(white, y), group), restricted(white, y, group))


def test_the_node_group_gives_the_same_fit(rng):
    x, y = (torch.randn(30, 4, dtype=torch.float64, generator=rng) for _ in range(2))
    torch.testing.assert_close(restricted(x, y, S(4)), restricted(x, y, SymmetricGroup(4)))


def test_risk_splits_into_that_of_the_average_and_the_rest():
    """On data that the group does not change in law: all turns of the same points."""
    group = D(5)
    points = torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = torch.cat([points @ g.mT for g in group.elements()])
    y = x * x.norm(dim=1, keepdim=True)  # equivariant

    def f(x: Tensor) -> Tensor:
        return torch.stack([torch.tanh(x[:, 0] + 0.3 * x[:, 1]), x[:, 0] * x[:, 1]], 1)

    averaged = project(f, group, num_samples=None)
    risk, of_average, rest = ((a - b).square().sum(1).mean() for a, b in ((f(x), y), (averaged(x), y), (f(x), averaged(x))))
    torch.testing.assert_close(risk, of_average + rest)
    lopsided = x[: len(x) // 3]
    parts = [
        (a - b).square().sum(1).mean()
        for a, b in (
            (f(lopsided), y[: len(lopsided)]),
            (averaged(lopsided), y[: len(lopsided)]),
            (f(lopsided), averaged(lopsided)),
        )
    ]
    assert abs(float(parts[0] - parts[1] - parts[2])) > 1e-3  # the liar: other data


def test_a_strong_penalty_is_the_restriction_and_the_path_is_monotone(rng):
    group = S(4)
    x, y = (torch.randn(30, 4, dtype=torch.float64, generator=rng) for _ in range(2))
    weights = (0.0, 0.1, 1.0, 10.0, 100.0, 1e7)
    path = [penalised(x, y, group, weight) for weight in weights]
    torch.testing.assert_close(path[0], least_squares(x, y))
    torch.testing.assert_close(path[-1], restricted(x, y, group), atol=1e-5, rtol=1e-5)
    values = [float(commutator(theta, group)) for theta in path]
    assert values == sorted(values, reverse=True)


def test_soft_and_exact_symmetry_in_order():
    """S6 on R^6, noise of variance 1/4: exact < eight elements < none; the excess risks are those of theory."""
    group, generator = S(6), torch.Generator().manual_seed(0)
    truth = 0.5 * torch.eye(6, dtype=torch.float64) + 0.25
    for n in (10, 30, 100):
        found: dict[str, list[float]] = {"none": [], "8": [], "exact": []}
        for _ in range(40):
            x = torch.randn(n, 6, dtype=torch.float64, generator=generator)
            y = x @ truth.mT + 0.5 * torch.randn(n, 6, dtype=torch.float64, generator=generator)
            moved = Augmentation(group).copies(x, y, 8, generator=generator)
            fits = {"none": least_squares(x, y), "8": least_squares(*moved), "exact": restricted(x, y, group)}
            for name, theta in fits.items():
                found[name].append(float((theta - truth).square().sum()) / 6)
        means = {name: sum(values) / len(values) for name, values in found.items()}
        assert means["exact"] < means["8"] < means["none"]
        expected = 0.25 / 6 * (1 / (n - 2) + 5 / (5 * n - 2))
        assert means["exact"] == pytest.approx(expected, rel=0.6)


def test_few_elements_and_penalties_lie_in_between():
    """One element a sample is no better than none, eight nearly exact; errors of symmetry fall as the penalty grows."""
    group, generator = S(6), torch.Generator().manual_seed(0)
    elements, unit = group.elements(), torch.eye(6, dtype=torch.float64)
    moves = torch.kron(unit, elements.mT.contiguous()) - torch.stack([torch.kron(g, unit) for g in elements])
    penalty = (moves.mT @ moves).mean(0)
    truth, weights = 0.5 * unit + 0.25, (0.0, 0.1, 1.0, 10.0, 100.0)
    for n, eight in ((10, 0.032), (30, 0.0089), (100, 0.0025)):
        risks: dict[str, list[float]] = {}
        broken = torch.zeros(len(weights), dtype=torch.float64)
        for _ in range(40):
            x = torch.randn(n, 6, dtype=torch.float64, generator=generator)
            y = x @ truth.mT + 0.5 * torch.randn(n, 6, dtype=torch.float64, generator=generator)
            some = elements[torch.randint(len(elements), (n, 8), generator=generator)]
            fits = {"exact": restricted(x, y, group)}
            for k in (1, 8):
                moved = [torch.einsum("nkij,nj->nki", some[:, :k], each).reshape(-1, 6) for each in (x, y)]
                fits[f"{k} elements"] = least_squares(*moved)
            gram, cross = torch.kron(unit, x.mT @ x / n), (y.mT @ x / n).flatten()
            for place, weight in enumerate(weights):
                fits[f"penalty {weight}"] = theta = torch.linalg.solve(gram + weight * penalty, cross).reshape(6, 6)
                broken[place] += (theta - project(theta, group)).square().sum() / 40
            for name, theta in fits.items():
                risks.setdefault(name, []).append(float((theta - truth).square().sum()) / 6)
        means = {name: sum(values) / len(values) for name, values in risks.items()}
        assert means["8 elements"] == pytest.approx(eight, rel=0.5)
        assert means["penalty 0.0"] == pytest.approx(0.25 * 6 / (n - 7), rel=0.6)
        assert means["1 elements"] > 0.7 * means["penalty 0.0"]
        assert means["exact"] < means["8 elements"] < means["penalty 0.0"]
        assert means["penalty 100.0"] == pytest.approx(means["exact"], rel=0.1)
        assert bool((broken.diff() < 0).all())


def test_rotations_have_the_same_identity_by_drawing(rng):
    theta = torch.randn(3, 3, dtype=torch.float64, generator=rng)
    drawn = SO(3).sample(20_000, rng)
    values = (theta @ drawn - drawn @ theta).square().sum((1, 2))
    error = float(values.std()) / math.sqrt(len(values))
    assert abs(float(values.mean()) - float(2 * (theta - project(theta, SO(3))).square().sum())) < 5 * error
