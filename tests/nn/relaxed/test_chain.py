"""Chain gates: both ends, orthogonal increments, shrinkage by theory, gates of nodes, and what is refused."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from gnet.errors import ConfigError, GroupError
from gnet.groups import ClusterGroup, NodeGroup
from gnet.nn import EquivariantLinear
from gnet.nn.relaxed import ChainGates
from gnet.testing import LawBroken, check_layer
from gnet.theory import optimal_shrinkage
from tests.nn.relaxed.cases import (
    ACROSS,
    DIHEDRAL,
    FINER,
    GROUP,
    RING,
    SWAPPED,
    TRIVIAL,
    WHOLE,
    by_elements,
    scrambled,
    signals,
)

CHAINS: dict[str, list[NodeGroup]] = {
    "clusters": [TRIVIAL, FINER, GROUP, WHOLE],
    "two": [FINER, GROUP],
    "swaps": [ClusterGroup(SWAPPED.partition), SWAPPED, WHOLE],
    "generators": [TRIVIAL, RING, DIHEDRAL, WHOLE],
    "equal": [GROUP, GROUP],
}


@pytest.fixture(params=CHAINS)
def chain(request: pytest.FixtureRequest) -> list[NodeGroup]:
    return CHAINS[request.param]


@pytest.mark.parametrize("node_wise", [False, True])
def test_gates_of_one_reach_every_map_of_the_smallest_group(chain, node_wise):
    layer = ChainGates(chain, 2, 1, gates=[1.0] * (len(chain) - 1), node_wise=node_wise)
    check_layer(layer, chain[0], completeness=True, gradients=False, num_samples=2)  # its biases too


@pytest.mark.parametrize("node_wise", [False, True])
def test_gates_of_zero_are_exactly_the_largest_group(chain, node_wise, rng):
    layer = scrambled(ChainGates(chain, 2, 1, gates=[0.0] * (len(chain) - 1), node_wise=node_wise).double(), rng)
    assert layer.equivariance_error() == pytest.approx(0.0, abs=1e-12)
    check_layer(layer, chain[-1], completeness=True, gradients=False, num_samples=2)
    exact = EquivariantLinear(chain[-1], 2, 1).double()
    exact.load_state_dict(layer.levels[-1].state_dict())
    x = signals(4, 6, 2, rng=rng)
    torch.testing.assert_close(layer(x), exact(x))


def test_a_gate_that_is_not_zero_breaks_the_largest_group(rng):
    with pytest.raises(LawBroken, match="equivariance"):
        check_layer(ChainGates([FINER, GROUP], 2, 1, gates=[1e-3]), GROUP, gradients=False)


def test_increments_are_those_of_listed_elements_and_orthogonal(chain, rng):
    gates = [0.25, 0.5, 0.75][: len(chain) - 1]
    layer = scrambled(ChainGates(chain, 2, 3, gates=gates, bias=None).double(), rng)
    levels = [level.dense().detach() for level in layer.levels]
    increments = [one.numpy() - by_elements(one, larger) for one, (_, larger) in zip(levels, pairwise(chain), strict=False)]
    total = levels[-1].numpy() + sum(gate * each for gate, each in zip(gates, increments, strict=True))
    np.testing.assert_allclose(layer.dense().detach().numpy(), total, atol=1e-12)
    parts = np.stack([each.ravel() for each in [*increments, levels[-1].numpy()]])
    gram = parts @ parts.T
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-10)
    squares = np.diag(gram)[:-1] * np.square(gates)
    assert layer.broken().item() == pytest.approx(squares.sum(), rel=1e-10, abs=1e-12)
    assert layer.square().item() == pytest.approx(np.square(total).sum(), rel=1e-10)


def test_best_gates_of_theory_are_the_shrunk_map(rng):
    """Every level set to one estimate: the layer is its shrinkage along the chain."""
    chain = CHAINS["clusters"]
    theta = signals(6, 1, 6, 1, rng=rng)
    best = optimal_shrinkage(theta, chain, 40, sigma_xi=2.0)
    layer = ChainGates(chain, 1, 1, gates=[0.5] * 3, bias=None).double()
    layer.set_gates(best.factors)
    for level in layer.levels:
        level.set_dense(theta)
    means = [by_elements(theta, group) for group in chain]
    expected = means[-1] + sum(f * (small - large) for f, (small, large) in zip(best.factors, pairwise(means), strict=True))
    np.testing.assert_allclose(layer.dense().detach().numpy(), expected, atol=1e-6)
    assert 0 < min(best.factors) < max(best.factors) < 1
    assert layer.broken().item() == pytest.approx(np.square(expected - means[-1]).sum(), rel=1e-5)


class TestNodeGates:
    def test_equal_gates_are_one_gate(self, chain, rng):
        one = ChainGates(chain, 2, 3, gates=[0.3] * (len(chain) - 1), generator=rng).double()
        each = ChainGates(chain, 2, 3, gates=[0.3] * (len(chain) - 1), node_wise=True).double()
        each.levels.load_state_dict(scrambled(one, rng).levels.state_dict())
        x = signals(4, 6, 2, rng=rng)
        torch.testing.assert_close(each(x), one(x))
        torch.testing.assert_close(each.broken(), one.broken())

    def test_each_receiver_has_its_own(self, rng):
        layer = scrambled(ChainGates([TRIVIAL, GROUP], 2, 3, node_wise=True).double(), rng)
        gates = torch.tensor([[0.0, 1.0, 0.5, 0.0, 0.25, 1.0]], dtype=torch.float64)
        layer.set_gates(gates)
        torch.testing.assert_close(layer.gates(), gates)
        free, tied = layer.levels[0].dense(), layer.levels[1].dense()
        expected = tied + gates.reshape(6, 1, 1, 1) * (free - torch.as_tensor(by_elements(free, GROUP)))
        torch.testing.assert_close(layer.dense(), expected)

    def test_stay_equivariant_to_the_smallest_group(self, chain, rng):
        layer = ChainGates(chain, 2, 1, node_wise=True)
        assert layer.logits.shape == (len(chain) - 1, chain[0].node_orbits().num_clusters)
        check_layer(layer, chain[0], completeness=False, gradients=False)


def test_learned_gates_of_exactly_zero_or_one_stay(rng):
    layer = ChainGates([TRIVIAL, GROUP, WHOLE], 2, 3, start=[0.0, 1.0], l1=1.0, generator=rng)
    assert layer.gates().tolist() == [0.0, 1.0]
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (layer(torch.randn(8, 6, 2, generator=rng)).square().mean() + layer.penalty()).backward()
        optimizer.step()
    assert layer.gates().tolist() == [0.0, 1.0]
    layer.set_gates(0.25)
    torch.testing.assert_close(layer.gates(), torch.tensor([0.25, 0.25]))


def test_the_penalty_is_the_sum_of_gates(rng):
    layer = ChainGates([TRIVIAL, GROUP, WHOLE], 2, 3, l1=0.5, start=[0.1, 0.7])
    assert layer.penalty().item() == pytest.approx(0.4)
    layer = ChainGates([FINER, GROUP], 2, 3, l1=0.5, node_wise=True)
    gates = torch.tensor([[0.1, 0.2, 0.3, 0.4]])  # of clusters of 2, 1, 2, 1 nodes
    layer.set_gates(gates)
    assert layer.penalty().item() == pytest.approx(0.5 * float(gates[0][FINER.partition.labels].mean()), rel=1e-5)
    assert ChainGates([FINER, GROUP], 2, 3, gates=[0.5]).penalty().item() == 0.0


def test_l1_closes_gates_that_nothing_needs(rng):
    """A target of the largest group: the gates go down, and with them the error."""
    layer = ChainGates([TRIVIAL, GROUP, WHOLE], 1, 1, l1=0.3, bias=None, generator=rng).double()
    truth = EquivariantLinear(WHOLE, 1, 1, generator=rng).double().dense().detach()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.08)
    before = layer.equivariance_error()
    for _ in range(120):
        optimizer.zero_grad()
        ((layer.dense() - truth).square().sum() + layer.penalty()).backward()
        optimizer.step()
    assert float(layer.gates().detach().max()) < 0.3
    assert layer.equivariance_error() < 0.2 * before


@pytest.mark.parametrize(
    ("groups", "options", "error", "message"),
    [
        (
            [WHOLE, GROUP],
            {},
            GroupError,
            r"got S6 as the smaller and .* exchange them \(a chain goes from smallest to largest.*or take a sum",
        ),
        ([TRIVIAL, ACROSS, GROUP], {}, GroupError, "which are not nested"),
        ([GROUP], {}, ConfigError, "expected a chain of at least two groups, got 1"),
        ([FINER, GROUP], {"gates": [1.5]}, ConfigError, r"expected gates in \[0, 1\], got \[1\.5\]"),
        (
            [FINER, GROUP],
            {"gates": [0.5, 0.5]},
            ConfigError,
            r"expected 1 gate \(gate 0 from S2 x S3 x S1 to S2.*\), got \(2,\); one number stands for all",
        ),
        (
            [TRIVIAL, FINER, GROUP],
            {"gates": [0.5] * 3},
            ConfigError,
            r"expected 2 gates \(gate 0 from .*, gate 1 from .*\), got \(3,\)",
        ),
        (
            [FINER, GROUP],
            {"gates": [[0.5, 0.5]], "node_wise": True},
            ConfigError,
            r"expected gates of shape \(1, \d\), or \(1,\), got",
        ),
        ([FINER, GROUP], {"gates": "learnt"}, ConfigError, "expected gates 'learned' or numbers"),
        ([FINER, GROUP], {"start": float("nan")}, ConfigError, r"expected gates in \[0, 1\], got \[nan\]"),
        ([FINER, GROUP], {"l1": -1.0}, ConfigError, r"expected l1 >= 0, got -1\.0"),
    ],
)
def test_impossible_chains_are_refused(groups, options, error, message):
    with pytest.raises(error, match=message):
        ChainGates(groups, 2, 3, **options)


def test_one_group_stands_for_the_chain_from_the_trivial_one():
    layer = ChainGates(GROUP, 2, 3)
    assert [level.group.order() for level in layer.levels] == [1, 12]
