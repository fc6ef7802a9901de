"""Fits to targets that were measured in part, against one explicit system of the entries that count."""

import numpy as np
import pytest
import torch

from gnet.errors import ShapeError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, PermutationGroup, TrivialGroup
from gnet.orbits import PairOrbits
from gnet.theory import EquivariantRidge, LeastSquares, ShrunkEquivariantRegression
from gnet.theory.counted import fill, fill_by_least_squares, least_squares

CLUSTERS = ClusterGroup(Partition([0, 1, 0, 1, 2, 0]))
GROUPS = [CLUSTERS, TrivialGroup(6), PermutationGroup([[1, 2, 0, 4, 5, 3]])]


def drawn(group, rng, num=60, share=0.6):
    """Signals of a map of the group with noise, and which of the targets were measured."""
    theta = PairOrbits.of(group).mean(torch.randn(6, 6, generator=rng, dtype=torch.float64))
    x = torch.randn(num, 6, 1, generator=rng, dtype=torch.float64)
    y = torch.einsum("ij,bjc->bic", theta, x) + 0.5 * torch.randn(x.shape, generator=rng, dtype=torch.float64) + 2.0
    return x, y, torch.rand(y.shape, generator=rng) < share, theta


def explicit(group, alpha, x, y, counted):
    """The same by the normal equations of pair orbits and node orbits, a row for each entry that counts."""
    labels, nodes = PairOrbits.of(group).labels(), group.node_orbits().labels
    count = int(labels.max()) + 1
    columns = torch.stack([torch.einsum("ij,bj->bi", (labels == k).double(), x[..., 0]) for k in range(count)], 2)
    offsets = torch.nn.functional.one_hot(nodes).double().expand(len(x), -1, -1)
    design = torch.cat([columns, offsets], 2)[counted[..., 0]]
    # The offset is not penalised, but for fixed inputs of mean zero over samples and orbits; so the inputs are.
    penalty = torch.diag(torch.cat([alpha * torch.bincount(labels.flatten()).double(), torch.zeros(offsets.shape[2])]))
    weights = torch.linalg.solve(design.mT @ design + penalty, design.mT @ y[counted])
    return (torch.cat([columns, offsets], 2) @ weights)[..., None]


@pytest.mark.parametrize("alpha", [0.0, 3.0])
@pytest.mark.parametrize("group", GROUPS, ids=repr)
def test_the_fit_is_that_of_the_entries_that_count(group, alpha, rng):
    x, y, counted, _ = drawn(group, rng)
    spoiled = y.masked_fill(~counted, 1e3)
    model = EquivariantRidge(group, alpha).fit_signals(x, spoiled, False, counted=counted)
    expected = explicit(group, alpha, x, y, counted)
    assert torch.allclose(model.outputs(x), expected.flatten(1), atol=1e-3)
    mean_filled = torch.where(counted, y, (y * counted).sum(0) / counted.sum(0))
    liar = EquivariantRidge(group, alpha).fit_signals(x, mean_filled, False)
    assert not torch.allclose(liar.outputs(x), expected.flatten(1), atol=1e-1)


def test_numbers_of_samples_that_do_not_count_are_left_out(rng):
    x = torch.randn(50, 6, 2, generator=rng, dtype=torch.float64)
    y = x.sum((1, 2))[:, None] + 0.3 * torch.randn(50, 1, generator=rng, dtype=torch.float64)
    counted = torch.rand(50, 1, generator=rng) < 0.7
    model = EquivariantRidge(CLUSTERS, 0.0).fit_signals(x, y.masked_fill(~counted, -50.0), True, counted=counted)
    kept = counted[:, 0]
    alone = EquivariantRidge(CLUSTERS, 0.0).fit_signals(x[kept], y[kept], True)
    assert torch.allclose(model.outputs(x), alone.outputs(x), atol=1e-3)


def test_inputs_that_are_hidden_where_they_are_asked_for_do_no_harm(rng):
    """Imputation: of a node's own reading the entries that count say nothing, since there it is hidden."""
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    level = torch.randn(300, 2, generator=rng, dtype=torch.float64)
    y = (level[:, labels] + 0.1 * torch.randn(300, 6, generator=rng, dtype=torch.float64))[..., None]
    hidden = torch.rand(y.shape, generator=rng) < 0.25
    x = y.masked_fill(hidden, 0.0)
    model = EquivariantRidge(ClusterGroup(Partition(labels)), 0.0).fit_signals(x, y, False, counted=hidden)
    error = float((model.outputs(x)[..., None] - y)[hidden].square().mean())
    # A map of the group: the other readings of the cluster that are left, each with the weight that is best on average.
    others = torch.stack([x[:, (labels == label), 0].sum(1) for label in labels], 1)[..., None] - x
    oracle = float((1.5 / 2.625 * others - y)[hidden].square().mean())
    assert error <= oracle + 1e-4 and error < 0.5 * float(y[hidden].square().mean())


def test_what_all_entries_tell_is_filled_in():
    targets = torch.tensor([[1.0, 5.0], [3.0, 7.0], [99.0, 99.0]])
    counted = torch.tensor([[True, True], [True, False], [False, False]])
    filled = fill(lambda y: y.mean(0).expand_as(y), targets, counted)
    assert torch.allclose(filled, torch.tensor([[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]]))
    assert fill(lambda y: y, targets, torch.ones_like(counted)) is targets


def test_noise_and_variance_are_those_of_the_entries_that_count():
    rng = torch.Generator().manual_seed(0)
    noises, thetas, variances = [], [], []
    for _ in range(60):
        x, y, counted, theta = drawn(TrivialGroup(6), rng, num=80, share=0.5)
        fit = least_squares(x, fill_by_least_squares(x, y, counted, centred=True), counted, centred=True)
        share = float(counted.double().mean())
        noises.append(fit.noise * share)
        thetas.append(float((fit.theta[:, 0, :, 0] - theta).square().sum()))
        variances.append(fit.noise * 6 * float(fit.inverse_gram.trace()))
    assert np.mean(noises) == pytest.approx(0.25, rel=0.05)
    assert np.mean(variances) == pytest.approx(np.mean(thetas), rel=0.25)


def test_too_few_entries_are_refused(rng):
    x, y, counted, _ = drawn(TrivialGroup(6), rng, num=20, share=0.2)
    with pytest.raises(ShapeError, match="more targets than weights"):
        least_squares(x, y, counted, centred=True)


def test_shrinkage_leaves_them_out(rng):
    x, y, counted, theta = drawn(CLUSTERS, rng, num=200, share=0.7)
    spoiled = y.masked_fill(~counted, 1e3)
    model = ShrunkEquivariantRegression([TrivialGroup(6), CLUSTERS]).fit_signals(x, spoiled, False, counted)
    plain = least_squares(x, fill_by_least_squares(x, spoiled, counted, centred=True), counted, centred=True)
    truth = theta.reshape(36)
    shrunk = float((model.dense().flatten() - truth).square().sum())
    assert isinstance(plain, LeastSquares) and 0 <= model.factors_[0] < 0.9
    assert shrunk < float((plain.theta.flatten() - truth).square().sum())
