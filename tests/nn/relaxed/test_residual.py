"""Residual pathways: starts, limits, what is identifiable, the penalty written out, completeness, bad settings."""

import math

import numpy as np
import pytest
import torch

from gnet.errors import ConfigError, GroupError
from gnet.nn.relaxed import ResidualPathway
from gnet.orbits import PairOrbits
from gnet.testing import check_layer, expressible_rank
from tests.nn.relaxed.cases import ACROSS, DIHEDRAL, FINER, GROUP, RING, TRIVIAL, WHOLE, by_elements, made, scrambled, signals


@pytest.mark.parametrize("identifiable", [True, False])
def test_the_residual_path_starts_as_a_copy(identifiable, rng):
    layer = ResidualPathway(GROUP, 2, 3, scale=0.01, identifiable=identifiable, generator=rng).double()
    torch.testing.assert_close(layer.residual.dense(), 0.01 * layer.equivariant.dense())
    torch.testing.assert_close(layer.dense(), (1.0 if identifiable else 1.01) * layer.equivariant.dense())
    assert layer.equivariance_error() < 1e-12  # a copy of a symmetric map, whichever


@pytest.mark.parametrize("name", ["residual", "identifiable", "identifiable of generators"])
def test_without_strength_it_is_exactly_a_layer_of_the_group(name, rng):
    layer = made(name, rng)
    layer.strength.zero_()
    x = signals(4, 6, 2, rng=rng)
    torch.testing.assert_close(layer(x), layer.equivariant(x), rtol=1e-13, atol=1e-13)
    assert layer.equivariance_error() == 0.0
    check_layer(layer, layer.group, completeness=False, gradients=False)


@pytest.mark.parametrize(("group", "beside"), [(GROUP, None), (GROUP, FINER), (WHOLE, GROUP), (DIHEDRAL, RING)])
@pytest.mark.parametrize("identifiable", [True, False])
def test_reaches_every_map_of_the_subgroup(group, beside, identifiable):
    layer = ResidualPathway(group, 2, 1, beside=beside, identifiable=identifiable)
    subgroup = TRIVIAL if beside is None else beside
    assert expressible_rank(layer) == PairOrbits.of(subgroup).count * 2
    check_layer(layer, subgroup, completeness=False)


def test_an_identifiable_path_has_no_symmetric_part(rng):
    """What is added to U within the group's maps changes nothing; what remains is exactly the error."""
    layer = made("identifiable", rng)
    x = signals(4, 6, 2, rng=rng)
    before, error = layer(x), layer.equivariance_error()
    other = scrambled(ResidualPathway(GROUP, 2, 3).double(), rng).equivariant
    dense = layer.residual.dense().detach() + other.dense().detach()
    layer.residual.set_dense(dense, layer.residual.dense_bias().detach() + other.dense_bias().detach())
    torch.testing.assert_close(layer(x), before)
    assert layer.equivariance_error() == pytest.approx(error, rel=1e-10)
    lost = 0.7 * (dense.numpy() - by_elements(dense, GROUP))
    bias = layer.residual.dense_bias().detach()
    lost_bias = 0.7 * (bias - GROUP.node_orbits().average(bias))
    assert float(layer.broken().detach()) == pytest.approx(np.square(lost).sum() + float(lost_bias.square().sum()), rel=1e-10)


@pytest.mark.parametrize("sigma", [(2.0, 0.1), (math.inf, 0.5), (3.0, math.inf), (math.inf, math.inf)])
@pytest.mark.parametrize("name", ["residual", "residual beside clusters", "identifiable", "identifiable of generators"])
def test_penalty_is_the_written_one(name, sigma, rng):
    layer = made(name, rng, sigma=sigma)
    symmetric, free = layer.equivariant.dense().detach().numpy(), layer.residual.dense().detach()
    bias = layer.residual.dense_bias().detach()
    kept, kept_bias = free.numpy(), bias.numpy()
    if layer.identifiable:
        kept = kept - by_elements(free, layer.group)
        kept_bias = kept_bias - layer.group.node_orbits().average(bias).numpy()
    expected = np.square(symmetric).sum() / (2 * sigma[0] ** 2)
    expected += (np.square(kept).sum() + np.square(kept_bias).sum()) / (2 * sigma[1] ** 2)
    assert float(layer.penalty().detach()) == pytest.approx(expected, rel=1e-12)
    assert layer.penalty().requires_grad == (min(sigma) < math.inf)


def test_the_prior_shrinks_the_broken_part_by_the_known_factor(rng):
    """White inputs: the least of ||W - truth||^2 + ||W - mean||^2 / (2 sigma^2) keeps 1 / (1 + 1 / (2 sigma^2)) of it."""
    sigma, truth = 0.8, signals(6, 1, 6, 1, rng=rng)
    layer = ResidualPathway(GROUP, 1, 1, sigma=(math.inf, sigma), identifiable=True, bias=None, generator=rng).double()
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200, tolerance_grad=1e-12, tolerance_change=0.0)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (layer.dense() - truth).square().sum() + layer.penalty()
        loss.backward()
        return loss

    optimizer.step(closure)
    mean = torch.as_tensor(by_elements(truth, GROUP))
    expected = mean + (truth - mean) / (1 + 1 / (2 * sigma**2))
    torch.testing.assert_close(layer.dense().detach(), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sigma": (1.0, 0.0)}, ConfigError, r"expected sigma as two widths > 0, .*got \(1\.0, 0\.0\)"),
        ({"sigma": 1.0}, ConfigError, "expected sigma as two widths"),
        ({"sigma": "1"}, ConfigError, r"such as \[None, 0\.5\] \(None, or null, is no prior\), got '1'"),
        ({"sigma": "12"}, ConfigError, "got '12'"),
        ({"sigma": (1.0,)}, ConfigError, "expected sigma as two widths"),
        ({"scale": -1.0}, ConfigError, r"expected scale >= 0, got -1\.0"),
        ({"beside": ACROSS}, GroupError, "which are not nested; exchange them"),
        ({"beside": WHOLE}, GroupError, "got S6 as the smaller and .* exchange them .*what is beside is the smaller"),
    ],
)
def test_impossible_pathways_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        ResidualPathway(GROUP, 2, 3, **options)
