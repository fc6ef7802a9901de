"""The predicted risk against the risk at fresh inputs, where samples are few more than inputs; Mallows' estimate is the liar."""

import math

import numpy as np
import pytest
import torch

from gnet.graphs import Partition
from gnet.groups import ClusterGroup, NodeGroup, PermutationGroup, SymmetricGroup, TrivialGroup
from gnet.orbits import PairOrbits
from gnet.selection import SymmetrySelection, predicted_risk
from gnet.theory import EquivariantRidge
from gnet.theory.solvers import solver_of

SIZE, NOISE = 6, 0.7
CLUSTERS = ClusterGroup(Partition([0, 1, 0, 1, 0, 1]))
SWAPPED = ClusterGroup(Partition([0, 1, 0, 1, 0, 1]), swaps=PermutationGroup([[1, 0]]))
TURNS = PermutationGroup([[1, 2, 3, 4, 5, 0]])  # of complex type


def risks(group: NodeGroup, theta: torch.Tensor, n: int, rng: torch.Generator, *, offset: bool) -> tuple[float, float, float]:
    """Predicted, exact at new white inputs, and the liar's; of one fit. theta: (N, C', N, C)."""
    x = torch.randn(n, SIZE, theta.shape[3], generator=rng, dtype=torch.float64)
    clean = torch.einsum("iojc,bjc->bio", theta, x)
    y = clean + NOISE * torch.randn(clean.shape, generator=rng, dtype=torch.float64)
    fit = EquivariantRidge(group, 0.0, fit_intercept=offset, output="equivariant").fit(x, y)
    solver = solver_of(group, is_invariant=False)
    errors = y - fit.outputs(x).reshape(y.shape)
    found = predicted_risk(solver, x - solver.fixed_mean(x) if offset else x, errors, has_offset=offset)
    away = fit.dense() - theta.flatten(2).flatten(0, 1)
    exact = NOISE**2 + float(away.square().sum() + fit.offset_.square().sum()) / y[0].numel()
    free = y.numel() - fit.num_weights_ - fit.num_offsets_
    square = float(errors.square().sum())
    return found, exact, square / y.numel() * (1 + 2 * (y.numel() - free) / free)


@pytest.mark.parametrize("group", [TrivialGroup(SIZE), CLUSTERS, SWAPPED, TURNS, SymmetricGroup(SIZE)])
@pytest.mark.parametrize(("channels", "offset"), [(1, True), (2, False)])
def test_it_is_the_risk_at_fresh_inputs(group: NodeGroup, channels: int, offset: bool, rng: torch.Generator) -> None:
    dense = torch.randn(SIZE, SIZE, generator=rng, dtype=torch.float64)
    theta = PairOrbits.of(group).mean(dense)[:, None, :, None] * torch.tensor([1.0, -0.5, 2.0]).double()[:, None, None]
    theta = theta.expand(SIZE, 3, SIZE, channels)
    # Inputs of the largest system (real ones over its rows per sample), and few samples more.
    n = {TrivialGroup(SIZE): SIZE, CLUSTERS: 2, SWAPPED: 2, TURNS: 1}.get(group, 1) * channels + 6
    each = np.array([risks(group, theta, n, rng, offset=offset) for _ in range(100)])
    gap = each[:, 0] - each[:, 1]
    assert abs(gap.mean()) < 4.5 * gap.std() / 10
    if group == TrivialGroup(SIZE):
        liar = np.log(each[:, 2] / each[:, 1])  # a few fits at these few samples are worse by far than all others
        assert liar.mean() < -5 * liar.std() / 10, "the risk at the inputs that were fitted is far less"


def test_what_the_truth_has_beyond_the_symmetry_counts(rng: torch.Generator) -> None:
    theta = 0.5 * torch.randn(SIZE, 1, SIZE, 1, generator=rng, dtype=torch.float64)
    each = np.array([risks(CLUSTERS, theta, 12, rng, offset=True)[:2] for _ in range(200)])
    assert each[:, 0].mean() == pytest.approx(each[:, 1].mean(), rel=0.1)
    assert each[:, 1].mean() > 1.5 * NOISE**2


def test_one_number_out_and_the_estimator(rng: torch.Generator) -> None:
    slopes, gaps = np.array([1.0, 3, 1, 3, 1, 3]), []
    for _ in range(60):
        x = torch.randn(14, SIZE, generator=rng, dtype=torch.float64).numpy()
        y = x @ slopes + NOISE * torch.randn(14, generator=rng, dtype=torch.float64).numpy()
        found = SymmetrySelection([CLUSTERS], "estimate", alphas=(0.0,), cv=2, merge=False).fit(x, y)
        exact = NOISE**2 + np.square(found.coef_ - slopes).sum() + found.intercept_**2
        gaps.append(found.path_[0].predicted - exact)
    assert abs(np.mean(gaps)) < 4.5 * np.std(gaps) / 60**0.5


def test_too_few_degrees_of_freedom_predict_nothing(rng: torch.Generator) -> None:
    for n, known in ((7, False), (8, False), (9, True)):
        x = torch.randn(n, SIZE, 1, generator=rng, dtype=torch.float64)
        found = predicted_risk(solver_of(TrivialGroup(SIZE), False), x, torch.randn(n, SIZE, 1, generator=rng).double())
        assert math.isnan(found) != known
    few = predicted_risk(solver_of(TrivialGroup(SIZE), True), x, torch.randn(n, 1, generator=rng).double())
    assert math.isnan(few), "one output with two degrees of freedom says next to nothing of the noise"
