"""Gates from data alone: the rule by hand, its exact limits, shrinkage of least squares, and what it is worth."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from gnet import GNet
from gnet.errors import ConfigError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, SymmetricGroup, TrivialGroup
from gnet.nn.relaxed import ChainGates, bootstrap_gates
from gnet.theory import ShrunkEquivariantRegression
from tests.nn.relaxed.cases import by_elements

CHAIN = [TrivialGroup(5), ClusterGroup(Partition([0, 1, 0, 1, 0])), SymmetricGroup(5)]


def chained(gates=(1.0, 1.0), bias=None):
    return ChainGates(CHAIN, 1, 1, gates=list(gates), bias=bias).double()


def set_to(layer, theta):
    """The layer is this map, all gates being 1."""
    for level in layer.levels:
        level.set_dense(theta[:, None, :, None])


def on(x, y):
    """Least squares on some of the samples."""

    def fit(layer, rows):
        set_to(layer, torch.linalg.lstsq(x[rows], y[rows]).solution.mT)

    return fit


def parts_of(theta):
    """What each group adds to the next, by averages over all elements."""
    means = [torch.as_tensor(by_elements(theta[:, None, :, None], group))[:, 0, :, 0] for group in CHAIN]
    return [small - large for small, large in pairwise(means)]


def drawn(num, deviation, rng, noise=1.0):
    """A truth that is near the clusters' group, and samples of it."""
    theta = torch.randn(5, 5, generator=rng, dtype=torch.float64)
    within = torch.as_tensor(by_elements(theta[:, None, :, None], CHAIN[1]))[:, 0, :, 0]
    theta = within + deviation * (theta - within)
    x = torch.randn(num, 5, generator=rng, dtype=torch.float64)
    return theta, x, x @ theta.mT + noise * torch.randn(num, 5, generator=rng, dtype=torch.float64)


def test_the_rule_by_hand(rng):
    """Two copies, one map more and one less: the variance of an increment is twice the square of that map's."""
    theta, off = torch.randn(2, 5, 5, generator=rng, dtype=torch.float64)
    layer, signs = chained((1.0, 0.5)), iter([1.0, -1.0])
    set_to(layer, theta)
    found = bootstrap_gates(layer, lambda copied, rows: set_to(copied, theta + next(signs) * 0.3 * off), 9, num_runs=2)[""]
    squares, noise = ([float(part.square().sum()) for part in parts_of(each)] for each in (theta, 0.3 * off))
    expected = [gate * max(0.0, q - 2 * v) / q for gate, q, v in zip((1.0, 0.5), squares, noise, strict=True)]
    assert found.tolist() == pytest.approx(expected)
    whole = float((0.3 * off).square().sum())
    liar = [gate * max(0.0, q - 2 * whole) / q for gate, q in zip((1.0, 0.5), squares, strict=True)]
    assert found.tolist() != pytest.approx(liar, rel=1e-3), "which takes the noise of all of the level for the increment's"


def test_biases_count_as_their_increments_do(rng):
    layer, signs = chained(bias="orbit"), iter([1.0, -1.0])
    values = torch.randn(5, 1, generator=rng, dtype=torch.float64)
    for level in layer.levels:
        level.set_dense(torch.zeros(5, 1, 5, 1).double())
        nn.init.zeros_(level.bias)
    layer.levels[0].bias.data.copy_(values)

    def fit(copied, rows):
        copied.levels[0].bias.data.mul_(1 + 0.4 * next(signs))

    assert bootstrap_gates(layer, fit, 9, num_runs=2)[""].tolist() == pytest.approx([1 - 2 * 0.16, 0.0])


def test_without_noise_every_gate_stays(rng):
    """An increment of nothing has gate 0, as in the theory."""
    _, x, y = drawn(60, 0.5, rng, noise=0.0)
    layer = chained()
    on(x, y)(layer, torch.arange(60))
    assert bootstrap_gates(layer, on(x, y), 60, num_runs=4, generator=rng)[""].tolist() == pytest.approx([1.0, 1.0], abs=1e-9)
    set_to(layer, torch.ones(5, 5).double())
    same = bootstrap_gates(layer, lambda copied, rows: None, 60, num_runs=2)[""]
    assert same.tolist() == [0.0, 0.0]


def test_with_many_samples_the_gates_are_those_of_the_group(rng):
    """Nothing outside the clusters' group: its own increment keeps its gate, the one below is noise."""
    _, x, y = drawn(2000, 0.0, rng)
    layer = chained()
    on(x, y)(layer, torch.arange(2000))
    gates = bootstrap_gates(layer, on(x, y), 2000, num_runs=30, generator=rng)[""]
    assert float(gates[1]) > 0.95 and float(gates[0]) < 0.7
    _, x, y = drawn(2000, 1.0, rng)
    on(x, y)(layer, torch.arange(2000))
    assert float(bootstrap_gates(layer, on(x, y), 2000, num_runs=30, generator=rng)[""].min()) > 0.95


def test_gates_are_those_of_shrunk_least_squares(rng):
    _, x, y = drawn(400, 0.15, rng)
    layer = chained()
    on(x, y)(layer, torch.arange(400))
    gates = bootstrap_gates(layer, on(x, y), 400, num_runs=60, generator=rng)[""]
    model = ShrunkEquivariantRegression(CHAIN, fit_intercept=False).fit(x.numpy(), y.numpy())
    assert gates.tolist() == pytest.approx(list(model.factors_), abs=0.15)


def test_they_are_worth_it():
    """Over many draws the risk is below that of the group (gate 0) and of no symmetry (gate 1); of the liar, it is not."""
    rng, risks = torch.Generator().manual_seed(0), []
    for _ in range(30):
        theta, x, y = drawn(25, 0.35, rng)
        layer = chained()
        on(x, y)(layer, torch.arange(25))
        gates = bootstrap_gates(layer, on(x, y), 25, num_runs=15, generator=rng)[""]
        tried = [gates, torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0]), 1 - gates]
        errors = []
        for each in tried:
            layer.set_gates(each)
            errors.append(float((layer.dense()[:, 0, :, 0] - theta).square().sum()))
        risks.append(errors)
    estimated, group, none, liar = torch.tensor(risks).mean(0).tolist()
    assert estimated < min(group, none) < liar


def test_every_layer_of_a_net_has_its_own(rng):
    net = GNet(CHAIN[1], 1, 3, 1, layer="chain", beside=[CHAIN[2], CHAIN[0]], relaxation={"gates": [1.0, 1.0]}, generator=rng)
    x = torch.randn(40, 5, 1, generator=rng)
    y = x * torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0])[:, None] + 0.5 * torch.randn(40, 5, 1, generator=rng)

    def fit(trained, rows):
        optimizer = torch.optim.Adam(trained.parameters(), lr=0.02)
        for _ in range(15):
            optimizer.zero_grad()
            (trained(x[rows]) - y[rows]).square().mean().backward()
            optimizer.step()

    fit(net, torch.arange(40))
    before = [each.clone() for each in net.parameters()]
    found = bootstrap_gates(net, fit, 40, num_runs=4, generator=rng)
    assert list(found) == [name for name, each in net.named_modules() if isinstance(each, ChainGates)] and len(found) == 2
    assert all(torch.equal(one, other) for one, other in zip(before, net.parameters(), strict=True)), "copies were trained"
    assert all(gates.shape == (2,) and bool(((gates >= 0) & (gates <= 1)).all()) for gates in found.values())
    for name, gates in found.items():
        net.get_submodule(name).set_gates(gates)
        torch.testing.assert_close(net.get_submodule(name).gates(), gates)
    assert len({tuple(gates.tolist()) for gates in found.values()}) == 2


def test_what_has_no_gates_is_refused():
    with pytest.raises(ConfigError, match=r"a net with ChainGates layers \(layer='chain'\), got Linear without any"):
        bootstrap_gates(nn.Linear(1, 1), lambda net, rows: None, 9)
    with pytest.raises(ConfigError, match="got node_wise=True"):
        bootstrap_gates(ChainGates(CHAIN, 1, 1, node_wise=True), lambda net, rows: None, 9)
    with pytest.raises(ConfigError, match="num_runs >= 2 and num_samples >= 2, got 1 and 9"):
        bootstrap_gates(chained(), lambda net, rows: None, 9, num_runs=1)
    holder = nn.Sequential(chained())
    with pytest.raises(ConfigError, match="train the copy in place, but it has put a Identity there"):
        bootstrap_gates(holder, lambda net, rows: net.__setitem__(0, nn.Identity()), 9)
