"""Relaxed mixing and low-rank breaking: penalties written out, special cases, size, bad settings."""

import pytest
import torch

from gnet.errors import ConfigError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, SymmetricGroup
from gnet.nn.relaxed import LowRankBreaking, RelaxedLinear, RelaxedMixing
from gnet.nn.relaxed.mixing import sum_of_gaps
from tests.nn.relaxed.cases import GROUP, WHOLE, made, scrambled, signals


def gaps(values: torch.Tensor, labels: torch.Tensor, power: int) -> torch.Tensor:
    """The sum over pairs, one after the other."""
    pairs = [(i, j) for i in range(len(labels)) for j in range(i) if labels[i] == labels[j]]
    return torch.stack([(values[i] - values[j]).abs() ** power for i, j in pairs]).sum()


@pytest.mark.parametrize("kind", ["absolute", "squared", "orbit_mean"])
def test_penalty_is_the_written_one(kind, rng):
    layer = scrambled(RelaxedMixing(GROUP, 2, 3, 3, 0.5, kind).double(), rng)
    labels = GROUP.partition.labels
    if kind == "orbit_mean":
        expected = sum((layer.mixing[labels == c] - layer.mixing[labels == c].mean(0)).square().sum() for c in range(3))
    else:
        expected = gaps(layer.mixing, labels, {"absolute": 1, "squared": 2}[kind])
    torch.testing.assert_close(layer.penalty(), 0.5 * expected)


def test_gaps_by_sorting_have_the_gradient_of_pairs_also_at_ties(rng):
    labels = torch.tensor([0, 2, 0, 1, 0, 2, 2, 0, 0])
    values = torch.randint(0, 3, (9, 4), generator=rng).double().requires_grad_()
    torch.testing.assert_close(sum_of_gaps(values, labels), gaps(values, labels, 1))
    fast, slow = (torch.autograd.grad(f, values)[0] for f in (sum_of_gaps(values, labels), gaps(values, labels, 1)))
    torch.testing.assert_close(fast, slow)


def test_equal_weights_are_not_pulled_apart():
    layer = RelaxedMixing(WHOLE, 2, 3, 2, 1.0)
    layer.penalty().backward()
    assert bool((layer.mixing.grad == 0).all())


@pytest.mark.parametrize("kind", ["absolute", "squared", "orbit_mean"])
def test_only_differences_within_orbits_cost(kind, rng):
    layer = RelaxedMixing(GROUP, 2, 3, 2, 1.0, kind).double()
    with torch.no_grad():
        layer.mixing.copy_(torch.randn(3, 2, dtype=torch.float64, generator=rng)[GROUP.partition.labels])
    assert float(layer.penalty().detach()) == pytest.approx(0.0, abs=1e-12)
    assert layer.equivariance_error() < 1e-12


def test_relaxed_s_n_is_a_special_case(rng):
    """Two maps, of the node itself and of all others, with weights of the receiver."""
    relaxed = scrambled(RelaxedLinear(6, 1, 1).double(), rng)
    layer = RelaxedMixing(WHOLE, 1, 1, 2).double()
    with torch.no_grad():
        layer.maps.set_dense(torch.stack([torch.eye(6), 1 - torch.eye(6)], 1).double().unsqueeze(-1))
        layer.mixing.copy_(torch.stack([relaxed.own.flatten(), relaxed.off.flatten()], 1))
    torch.testing.assert_close(layer.dense(), relaxed.dense())
    assert float(layer.broken().detach()) == pytest.approx(
        float((relaxed.own - relaxed.own.mean()).square().sum() + 5 * (relaxed.off - relaxed.off.mean()).square().sum())
    )


def test_a_growing_alpha_leads_to_the_group(rng):
    """Least squares onto a truth without symmetry; decay keeps the maps from growing while their weights shrink."""
    truth = signals(6, 1, 6, 1, rng=rng)
    errors = []
    for alpha in (0.0, 1e7):
        layer = RelaxedMixing(GROUP, 1, 1, 2, alpha, "squared", bias=None, generator=torch.Generator().manual_seed(0)).double()
        optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=80, line_search_fn="strong_wolfe")

        def closure(layer: RelaxedMixing = layer, optimizer: torch.optim.Optimizer = optimizer) -> torch.Tensor:
            optimizer.zero_grad()
            decay = 1e-4 * sum(p.square().sum() for p in layer.maps.parameters())
            loss = (layer.dense() - truth).square().sum() + layer.penalty() + decay
            loss.backward()
            return loss

        optimizer.step(closure)
        errors.append(layer.equivariance_error())
    assert errors[0] > 0.1 and errors[-1] < 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "expected num_maps to be a whole number >= 1, got 0"),
        ((1.5,), "expected num_maps to be a whole number >= 1, got 1.5"),
        ((2, -1.0), r"expected alpha >= 0, got -1\.0"),
        ((2, 1.0, "square"), "expected kind to be one of .* got 'square'; did you mean 'squared'"),
    ],
)
def test_impossible_mixings_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        RelaxedMixing(GROUP, 2, 3, *arguments)


def test_weight_decay_of_the_factors(rng):
    layer = made("low rank", rng)
    expected = 0.1 / 2 * (layer.receivers.square().sum() + layer.senders.square().sum())
    torch.testing.assert_close(layer.penalty(), expected)


def test_the_least_weight_decay_is_the_nuclear_norm(rng):
    layer = made("low rank", rng)
    left, right = layer.receivers.detach().flatten(0, 1), layer.senders.detach().flatten(0, 1)
    u, s, v = torch.linalg.svd(left @ right.t(), full_matrices=False)
    with torch.no_grad():
        layer.receivers.copy_((u[:, :2] * s[:2].sqrt()).reshape(layer.receivers.shape))
        layer.senders.copy_((v[:2].t() * s[:2].sqrt()).reshape(layer.senders.shape))
    torch.testing.assert_close(
        left @ right.t(), layer.receivers.detach().flatten(0, 1) @ layer.senders.detach().flatten(0, 1).t()
    )
    assert float(layer.penalty().detach()) == pytest.approx(0.1 * float(s.sum()), rel=1e-10)


def test_what_breaks_has_the_rank(rng):
    layer = made("low rank", rng)
    rest = (layer.dense() - layer.equivariant.dense()).detach().reshape(18, 12)
    assert int(torch.linalg.matrix_rank(rest)) == 2
    assert layer.num_parameters == 3 * 2 * (9 + 2) + 3 * 3 + 2 * 6 * (2 + 3)


def test_no_n_by_n_matrix_is_made(rng):
    """30 000 nodes: one float32 matrix would take 3.6 GB."""
    group = ClusterGroup(Partition(torch.arange(30_000) % 3))
    layer = LowRankBreaking(group, 2, 1, 2, generator=rng)
    torch.nn.init.normal_(layer.receivers, generator=rng)
    y = layer(torch.randn(2, 30_000, 2, generator=rng))
    (y.square().mean() + layer.broken()).backward()
    assert 0 < layer.equivariance_error() <= 1
    assert bool(layer.senders.grad.isfinite().all())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0,), "expected rank to be a whole number >= 1, got 0"), ((2, -0.1), r"expected weight_decay >= 0, got -0\.1")],
)
def test_impossible_ranks_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        LowRankBreaking(SymmetricGroup(4), 1, 1, *arguments)
