"""Candidate weights that are sums over several groups: their start, their value, who trains whom, symmetry, errors."""

import networkx as nx
import pytest
import torch

from gnet.errors import ConfigError, GroupError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, SymmetricGroup, TrivialGroup
from gnet.groups.kept import symmetries_within
from gnet.nn.recurrent import DiffusionGRUCell, GNetGRU
from tests.groups.graphs import as_data

RING = as_data(nx.cycle_graph(6))
HALVES, PARITY = (ClusterGroup(Partition(labels)) for labels in ([0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 0, 1]))
OPTIONS = {"horizon_in": 3, "horizon_out": 2, "data": RING}


def drawn(cell: DiffusionGRUCell, rng: torch.Generator) -> DiffusionGRUCell:
    """A cell with increments that are not zero."""
    with torch.no_grad():
        for increment in cell.beside:
            for parameter in increment.parameters():
                parameter.normal_(generator=rng)
    return cell.double()


def inputs(rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(6, 8, 2, generator=rng, dtype=torch.float64), torch.randn(6, 8, 4, generator=rng, dtype=torch.float64)


def test_the_start_is_that_of_the_first_group():
    plain, summed = (
        GNetGRU(SymmetricGroup(6), 2, 4, 1, beside=beside, generator=torch.Generator().manual_seed(3), **OPTIONS)
        for beside in ([], [HALVES, TrivialGroup(6)])
    )
    x = torch.randn(5, 6, 6)
    torch.testing.assert_close(summed(x), plain(x), rtol=1e-4, atol=1e-6)
    rows = 3 * (2 + 4) + 3 * (1 + 4)  # of the encoder and of the decoder, diffused twice
    assert summed.num_weights == plain.num_weights + (2 + 6) * rows * 4


def test_the_weights_of_a_node_are_the_sum_of_those_of_its_orbits(rng):
    """The same numbers in a cell with weights for every node."""
    summed = drawn(DiffusionGRUCell(HALVES, 2, 4, RING, beside=[PARITY], generator=rng), rng)
    nodes = DiffusionGRUCell(TrivialGroup(6), 2, 4, RING).double()
    with torch.no_grad():
        nodes.gates.copy_(summed.gates)
        for node in range(6):
            half, parity = int(HALVES.partition.labels[node]), int(PARITY.partition.labels[node])
            nodes.candidate[node] = summed.candidate[half] + summed.beside[0].weight[parity]
            nodes.candidate_bias[node] = summed.candidate_bias[half] + summed.beside[0].bias[parity]
    x, h = inputs(rng)
    torch.testing.assert_close(summed(x, h), nodes(x, h), rtol=1e-13, atol=1e-13)


def test_a_node_trains_the_weights_of_its_orbits_alone(rng):
    cell = drawn(DiffusionGRUCell(SymmetricGroup(6), 2, 4, RING, beside=[HALVES, TrivialGroup(6)], generator=rng), rng)
    cell(*inputs(rng))[4].square().sum().backward()
    grads = [cell.candidate.grad, *(each.weight.grad for each in cell.beside)]
    assert [(grad != 0).flatten(1).any(1).nonzero().flatten().tolist() for grad in grads] == [[0], [1], [4]]


@pytest.mark.parametrize("beside", [[], [HALVES], [HALVES, PARITY]], ids=["alone", "halves", "halves and parity"])
def test_exact_for_automorphisms_that_keep_the_orbits_of_all(beside, rng):
    cell = drawn(DiffusionGRUCell(SymmetricGroup(6), 2, 4, RING, beside=beside, generator=rng), rng)
    x, h = inputs(rng)
    labels = torch.stack([torch.zeros(6, dtype=torch.long), *(group.partition.labels for group in beside)])
    both = ClusterGroup(Partition(torch.unique(labels, dim=1, return_inverse=True)[1]))
    turns = symmetries_within(SymmetricGroup(6), RING).elements()
    kept = [g for g in turns if bool((both.partition.labels[g] == both.partition.labels).all())]
    errors = {tuple(g.tolist()): float((cell(x[g], h[g]) - cell(x, h)[g]).detach().abs().max()) for g in turns}
    assert max(errors[tuple(g.tolist())] for g in kept) < 1e-12
    broken = [error for g, error in errors.items() if g not in {tuple(k.tolist()) for k in kept}]
    assert all(error > 1e-3 for error in broken) and bool(broken) == bool(beside)


def test_errors():
    with pytest.raises(GroupError, match="on the same 6 nodes, got S5 on 5"):
        DiffusionGRUCell(SymmetricGroup(6), 2, 4, RING, beside=[SymmetricGroup(5)])
    with pytest.raises(ConfigError, match="leave beside out"):
        DiffusionGRUCell(HALVES, 2, 4, RING, released=True, beside=[PARITY])
