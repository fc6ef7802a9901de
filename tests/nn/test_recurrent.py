"""The recurrent net: published counts, a plain twin, weights that are really separate, sampling, symmetry, errors."""

import itertools
import math
from collections import Counter

import networkx as nx
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnet.graphs import Partition
from gnet.groups import ClusterGroup, NodeGroup, SymmetricGroup, TrivialGroup
from gnet.groups.kept import symmetries_within
from gnet.nn.diffusion import Diffusion
from gnet.nn.recurrent import DiffusionGRUCell, GNetGRU
from gnet.testing.tolerances import tolerance
from tests.groups.graphs import as_data

THREE = ClusterGroup(Partition([0, 1, 2, 1, 2, 2]))
RING = as_data(nx.cycle_graph(6))


def random_graph(rng: torch.Generator) -> Data:
    """Directed and weighted, with a loop, and a node that nothing enters or leaves."""
    weight = torch.rand(6, 6, generator=rng) * (torch.rand(6, 6, generator=rng) < 0.5)
    weight[5], weight[:, 5], weight[0, 0] = 0.0, 0.0, 0.7
    edges = torch.nonzero(weight).t()
    return Data(edge_index=edges, edge_weight=weight[edges[0], edges[1]], num_nodes=6)


def net(group: NodeGroup, data: Data = RING, **options: object) -> GNetGRU:
    return GNetGRU(group, 2, 4, 1, **{"horizon_in": 3, "horizon_out": 2, "data": data, **options})


@pytest.mark.parametrize(("clusters", "published"), [(1, 42_369), (2, 67_649), (9, 244_609)])
def test_trained_scalars_of_the_traffic_nets(clusters, published):
    """U = 64, two input channels, one output, diffusion of one step (theory C)."""
    group = ClusterGroup(Partition(torch.arange(18) % clusters))
    layers = GNetGRU(group, 2, 64, 1, horizon_in=3, horizon_out=3, data=as_data(nx.cycle_graph(18)))
    assert layers.num_parameters == published


@pytest.mark.parametrize("num_steps", [0, 1, 2, 3])
def test_diffusion_is_that_of_the_dense_walks(num_steps, rng):
    data = random_graph(rng)
    adjacency = torch.zeros(6, 6, dtype=torch.float64)
    adjacency[data.edge_index[0], data.edge_index[1]] = data.edge_weight.double()
    walks = [each / each.sum(1, keepdim=True).clamp(min=1e-300) for each in (adjacency, adjacency.T)]
    z = torch.randn(6, 2, 3, generator=rng, dtype=torch.float64)
    expected = [z]
    for walk in walks:
        terms = [z, torch.einsum("ji,jbc->ibc", walk, z)]
        while len(terms) <= num_steps:
            terms.append(2 * torch.einsum("ji,jbc->ibc", walk, terms[-1]) - terms[-2])
        expected += terms[1 : num_steps + 1]
    torch.testing.assert_close(
        Diffusion(data, num_steps).double()(z), torch.cat(expected, -1), rtol=tolerance(z.dtype), atol=tolerance(z.dtype)
    )


def plain_cell(cell: DiffusionGRUCell, x: Tensor, h: Tensor) -> Tensor:
    """The equations node by node, for one signal: (N, C), (N, U) -> (N, U)."""
    rows = []
    gates = torch.sigmoid(torch.cat([x, h], 1) @ cell.gates + cell.gates_bias)
    reset, update = gates.chunk(2, 1)
    held = cell.diffusion((reset * h)[:, None])[:, 0]
    seen = torch.cat([cell.diffusion(x[:, None])[:, 0], held], 1)
    for node, label in enumerate(cell.labels.tolist()):
        rows.append(torch.tanh(seen[node] @ cell.candidate[label] + cell.candidate_bias[label]))
    return update * h + (1 - update) * torch.stack(rows)


@pytest.mark.parametrize("group", [THREE, SymmetricGroup(6), TrivialGroup(6)], ids=["clusters", "S6", "trivial"])
def test_a_cell_is_its_equations_node_by_node(group, rng):
    cell = DiffusionGRUCell(group, 2, 4, random_graph(rng), generator=rng).double()
    x, h = (torch.randn(6, 3, c, generator=rng, dtype=torch.float64) for c in (2, 4))
    expected = torch.stack([plain_cell(cell, x[:, b], h[:, b]) for b in range(3)], 1)
    torch.testing.assert_close(cell(x, h), expected)


def test_a_forecast_is_the_cells_one_after_the_other(rng):
    layers = net(THREE, random_graph(rng), generator=rng).double()
    x = torch.randn(6, 6, generator=rng, dtype=torch.float64)
    state = torch.zeros(6, 4, dtype=torch.float64)
    for step in range(3):
        state = plain_cell(layers.encoder[0], x[:, 2 * step : 2 * step + 2], state)
    given, outputs = torch.zeros(6, 1, dtype=torch.float64), []
    for _ in range(2):
        state = plain_cell(layers.decoder[0], given, state)
        given = state @ layers.readout.T + layers.readout_bias
        outputs.append(given)
    torch.testing.assert_close(layers(x), torch.cat(outputs, 1))


def test_the_decoder_is_shown_the_step_before_and_never_the_one_it_writes(rng):
    """Teaching at every step: the truth of step t is the input of step t + 1; the last one is read by nobody."""
    layers = net(THREE, random_graph(rng), horizon_out=3, sampling_decay=1e12, generator=rng).double().train()
    x = torch.randn(6, 6, generator=rng, dtype=torch.float64)
    truth = torch.randn(6, 3, generator=rng, dtype=torch.float64)
    state = torch.zeros(6, 4, dtype=torch.float64)
    for step in range(3):
        state = plain_cell(layers.encoder[0], x[:, 2 * step : 2 * step + 2], state)
    outputs = []
    for given in (torch.zeros(6, 1, dtype=torch.float64), truth[:, :1], truth[:, 1:2]):
        state = plain_cell(layers.decoder[0], given, state)
        outputs.append(state @ layers.readout.T + layers.readout_bias)
    torch.testing.assert_close(layers(x, truth), torch.cat(outputs, 1))
    torch.testing.assert_close(layers(x, torch.cat([truth[:, :2], truth[:, 2:] + 1], 1)), torch.cat(outputs, 1))


def test_clusters_of_equal_weights_are_the_shared_cell(rng):
    shared, layers = net(SymmetricGroup(6), generator=rng).double(), net(THREE).double()
    state = {name: value.expand_as(layers.state_dict()[name]) for name, value in shared.state_dict().items()}
    layers.load_state_dict(state)
    x = torch.randn(5, 6, 6, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(layers(x), shared(x))


def trained_on(cluster: int, cell: DiffusionGRUCell, rng: torch.Generator) -> list[list[bool]]:
    """Which rows of candidate weights and biases, and of their optimiser's state, one step on a cluster's loss has changed."""
    optimizer = torch.optim.Adam(cell.parameters(), lr=0.1)
    candidates = (cell.candidate, cell.candidate_bias)
    before = [each.detach().clone() for each in candidates]
    x, h = torch.randn(6, 8, 2, generator=rng), torch.randn(6, 8, 4, generator=rng)
    cell(x, h)[THREE.partition.labels == cluster].square().sum().backward()
    optimizer.step()
    changed = [each != old for each, old in zip(candidates, before, strict=True)]
    changed += [optimizer.state[each][name] != 0 for each in candidates for name in ("exp_avg", "exp_avg_sq")]
    return [each.flatten(1).any(1).tolist() for each in changed]


def test_a_loss_on_one_cluster_changes_its_weights_and_optimiser_state_alone(rng):
    """Of one cell, and of an optimiser without a past. A whole net lets other clusters in through its graph, see below."""
    changed = trained_on(2, DiffusionGRUCell(THREE, 2, 4, RING, generator=rng), rng)
    assert changed == 6 * [[False, False, True]]


def test_the_shared_and_the_released_cell_are_liars(rng):
    """S_N has one weight for all; the published code has one too, and trains it by cluster 0 alone."""
    shared = trained_on(2, DiffusionGRUCell(SymmetricGroup(6), 2, 4, RING, generator=rng), rng)
    released = [trained_on(cluster, DiffusionGRUCell(THREE, 2, 4, RING, released=True, generator=rng), rng) for cluster in (2, 0)]
    assert shared == 6 * [[True]]
    for weights, expected in zip(released, ([False], [True]), strict=True):
        assert [weights[0], *weights[2:4]] == 3 * [expected]
    assert [each[1] for each in released] == [[False, False, True], [True, False, False]], "biases are of each cluster"


def test_the_released_weight_has_the_gradient_of_cluster_zero(rng):
    released = DiffusionGRUCell(THREE, 2, 4, RING, released=True, generator=rng)
    whole = DiffusionGRUCell(THREE, 2, 4, RING)
    whole.load_state_dict({**released.state_dict(), "candidate": released.candidate.expand(3, -1, -1)})
    x, h = torch.randn(6, 8, 2, generator=rng), torch.randn(6, 8, 4, generator=rng)
    for cell in (released, whole):
        cell(x, h).square().sum().backward()
    torch.testing.assert_close(released.candidate.grad[0], whole.candidate.grad[0])
    assert float(released.candidate.grad.abs().max()) > 0


def gradient_on_cluster_two(layers: GNetGRU, rng: torch.Generator) -> dict[str, list[bool]]:
    """Which rows of the candidate weights have a gradient of a loss on cluster 2, exactly zero counting as none."""
    layers.zero_grad()
    layers(torch.randn(8, 6, 6, generator=rng))[:, THREE.partition.labels == 2].square().sum().backward()
    cells = {"encoder": layers.encoder[0], "decoder": layers.decoder[0]}
    return {name: (cell.candidate.grad != 0).flatten(1).any(1).tolist() for name, cell in cells.items()}


def test_in_a_whole_net_each_evaluation_of_a_candidate_trains_the_rows_of_its_own_nodes(rng):
    """One step ahead the decoder makes one candidate. What else there is comes from neighbours, whose rows these are."""
    one, two = (net(THREE, horizon_out=steps, generator=rng) for steps in (1, 2))
    assert gradient_on_cluster_two(one, rng) == {"encoder": [True, True, True], "decoder": [False, False, True]}
    assert gradient_on_cluster_two(two, rng)["decoder"] == [True, True, True]  # the liar: two candidates, and the graph between
    alone = net(THREE, horizon_out=2, num_steps=0, generator=rng)  # without a graph, whole nets are separate
    assert gradient_on_cluster_two(alone, rng) == {"encoder": [False, False, True], "decoder": [False, False, True]}


def test_rows_without_a_gradient_move_by_what_their_optimiser_remembers(rng):
    layers = net(THREE, horizon_out=1, generator=rng)
    weight = layers.decoder[0].candidate
    optimizer = torch.optim.Adam(layers.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        layers(torch.randn(8, 6, 6, generator=rng)).square().sum().backward()
        optimizer.step()
    before, state = weight.detach().clone(), {key: value.clone() for key, value in optimizer.state[weight].items()}
    assert gradient_on_cluster_two(layers, rng)["decoder"] == [False, False, True]
    optimizer.step()
    first, second, step = 0.9 * state["exp_avg"], 0.999 * state["exp_avg_sq"], float(state["step"]) + 1
    remembered = 0.1 * first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
    torch.testing.assert_close(weight[:2], before[:2] - remembered[:2])
    assert float((weight[2] - before[2] + remembered[2]).detach().abs().max()) > 1e-3


def test_released_cells_have_one_weight_and_the_biases_of_each_cluster():
    cell = DiffusionGRUCell(THREE, 2, 4, RING, released=True)
    assert (len(cell.candidate), len(cell.candidate_bias)) == (1, 3)
    with torch.no_grad():
        cell.candidate_bias[2] += 1.0
    shared = DiffusionGRUCell(THREE, 2, 4, RING)
    shared.load_state_dict({**cell.state_dict(), "candidate": cell.candidate.expand(3, -1, -1)})
    x, h = torch.randn(6, 2, 2), torch.randn(6, 2, 4)
    torch.testing.assert_close(cell(x, h), shared(x, h))


class TestSymmetry:
    @pytest.mark.parametrize("group", [THREE, SymmetricGroup(6), TrivialGroup(6)], ids=["clusters", "S6", "trivial"])
    def test_exact_for_automorphisms_that_keep_the_orbits(self, group, rng):
        layers = net(group, generator=rng).double()
        x = torch.randn(2, 6, 6, generator=rng, dtype=torch.float64)
        for g in symmetries_within(group, RING).generators:
            torch.testing.assert_close(layers(group.act(g, x)), group.act(g, layers(x)))

    def test_not_exact_beyond(self, rng):
        """The liar: an element of the group that the ring does not have, and one of the ring that mixes clusters."""
        layers = net(THREE, generator=rng).double()
        x = torch.randn(2, 6, 6, generator=rng, dtype=torch.float64)
        for g in (torch.tensor([0, 3, 2, 1, 4, 5]), torch.tensor([1, 2, 3, 4, 5, 0])):
            assert float((layers(THREE.act(g, x)) - THREE.act(g, layers(x))).detach().abs().max()) > 1e-3


class TestSampling:
    @pytest.mark.parametrize(("batches", "expected"), [(0, 0.99950), (10_000, 0.93092), (11_250, 0.87824)])
    def test_the_probability_falls_as_published(self, batches, expected):
        layers = net(THREE)
        layers.batches_seen.fill_(batches)
        assert layers.teacher_probability == pytest.approx(expected, abs=5e-6)

    def test_it_never_overflows_and_can_be_left_out(self):
        layers = net(THREE)
        layers.batches_seen.fill_(10**9)
        assert layers.teacher_probability == pytest.approx(0.0, abs=1e-12)
        assert net(THREE, sampling_decay=None).teacher_probability == 0.0

    def test_the_truth_is_shown_in_training_only(self, rng):
        layers = net(THREE, sampling_decay=1e12)
        x, truth = torch.randn(5, 6, 6, generator=rng), torch.randn(5, 6, 2, generator=rng)
        shown = layers(x, truth)
        assert not torch.equal(shown, layers(x))
        assert torch.equal(shown[..., 0], layers(x)[..., 0])  # the first step sees no truth
        assert int(layers.batches_seen) == 1
        layers.eval()
        assert torch.equal(layers(x, truth), layers(x))
        assert int(layers.batches_seen) == 1

    @torch.no_grad()
    def test_one_coin_for_each_step_and_batch_falls_as_often_as_it_should(self, rng, monkeypatch):
        """500 forecasts of three steps: which of the two truths were shown, read off the outputs of the four ways."""
        layers = net(THREE, horizon_in=1, horizon_out=3, sampling_decay=100.0, generator=rng)
        layers.batches_seen.fill_(376)
        p = layers.teacher_probability
        assert p == pytest.approx(0.7, abs=0.001)
        x, truth = (5 * torch.randn(4, 6, c, generator=rng) for c in (2, 3))
        ways = {}
        for coins in itertools.product((0.0, 1.0), repeat=2):
            with monkeypatch.context() as patch:
                layers.batches_seen.fill_(376)
                patch.setattr(torch, "rand", lambda *_, fixed=coins: torch.tensor(fixed))
                ways[coins] = layers(x, truth)
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=rng)))
        found = Counter()
        for _ in range(500):
            layers.batches_seen.fill_(376)
            y = layers(x, truth)
            [coins] = [coins for coins, way in ways.items() if torch.equal(way, y)]  # the same coin for all of the batch
            found[coins] += 1
        for first, second in ways:
            share = (p if first == 0.0 else 1 - p) * (p if second == 0.0 else 1 - p)
            assert abs(found[first, second] - 500 * share) < 5 * math.sqrt(500 * share * (1 - share)), (first, second)

    def test_an_empty_batch_teaches_nothing(self):
        layers = net(THREE)
        assert layers(torch.zeros(0, 6, 6), torch.zeros(0, 6, 2)).shape == (0, 6, 2)
        assert int(layers.batches_seen) == 0
        layers(torch.zeros(1, 6, 6), torch.zeros(1, 6, 2))
        assert int(layers.batches_seen) == 1

    def test_the_count_is_read_once_for_a_forecast(self, monkeypatch):
        """On a GPU each reading waits for it. The coins are those of one drawing for each step."""
        layers, reads = net(THREE, horizon_out=5), []
        truth, chance = torch.zeros(2, 6, 5), property(lambda _: reads.append(1) or 0.5)
        monkeypatch.setattr(GNetGRU, "teacher_probability", chance)
        torch.manual_seed(4)
        layers(torch.zeros(2, 6, 6), truth)
        after = torch.rand(())
        torch.manual_seed(4)
        coins = [float(torch.rand(())) < 0.5 for _ in range(4)]
        assert (len(reads), torch.rand(())) == (1, after)
        torch.manual_seed(4)
        assert layers._coins() == [False, *coins]

    def test_without_decay_the_truth_is_never_shown(self, rng):
        layers = net(THREE, sampling_decay=None)
        x, truth = torch.randn(5, 6, 6, generator=rng), torch.randn(5, 6, 2, generator=rng)
        assert torch.equal(layers(x, truth), layers(x))

    def test_the_count_is_in_the_checkpoint(self):
        layers, again = net(THREE), net(THREE)
        layers.batches_seen.fill_(7)
        again.load_state_dict(layers.state_dict())
        assert again.teacher_probability == layers.teacher_probability


def test_gradients(rng):
    layers = net(THREE, generator=rng, num_layers=2).double()
    x = torch.randn(2, 6, 6, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layers(x), (x,), fast_mode=True)
    layers(x).square().sum().backward()
    assert all(bool((p.grad != 0).any()) for p in layers.parameters())


def test_any_batch_axes_and_a_fresh_start(rng):
    layers = net(THREE, generator=rng)
    x = torch.randn(2, 3, 6, 6, generator=rng)
    torch.testing.assert_close(layers(x)[1, 2], layers(x[1, 2]))
    assert layers(x[:0]).shape == (0, 3, 6, 2)
    before = layers.readout.clone()
    layers.reset_parameters(rng)
    assert not torch.equal(layers.readout, before)
    assert layers.num_weights < layers.num_parameters


def test_flat_batches_of_pyg_come_back_flat(rng):
    layers = net(THREE, generator=rng, sampling_decay=1e12)
    x, truth = torch.randn(5, 6, 6, generator=rng), torch.randn(5, 6, 2, generator=rng)
    torch.testing.assert_close(layers(x.flatten(0, 1)), layers(x).flatten(0, 1))
    torch.testing.assert_close(layers(x.flatten(0, 1), truth.flatten(0, 1)), layers(x, truth).flatten(0, 1))
    assert layers(x[0]).shape == (6, 2)


def test_the_graph_comes_as_edges_or_as_data(rng):
    data = random_graph(rng)
    seed = int(torch.randint(2**31, (1,), generator=rng))
    edges = {"data": None, "edge_index": data.edge_index, "edge_weight": data.edge_weight}
    first, again = (net(THREE, generator=torch.Generator().manual_seed(seed), **each) for each in ({"data": data}, edges))
    x = torch.randn(2, 6, 6, generator=rng)
    assert torch.equal(first(x), again(x))


def test_it_says_its_group_and_its_steps():
    text = repr(net(THREE, sampling_decay=500.0))
    assert text.startswith(f"GNetGRU(\n  {THREE}, 3 x 2 -> 2 x 1, sampling_decay=500 | 488 weights\n")
    assert "sampling_decay" not in repr(net(THREE, sampling_decay=None))


def test_compiles_in_one_graph_without_truth(rng):
    torch._dynamo.reset()
    layers = net(THREE, generator=rng).eval()
    x = torch.randn(2, 6, 6, generator=rng)
    torch.testing.assert_close(torch.compile(layers, backend="aot_eager", fullgraph=True)(x), layers(x))


def test_weights_start_as_xavier_says(rng):
    cell = DiffusionGRUCell(SymmetricGroup(6), 2, 64, RING, generator=rng)
    assert float(cell.candidate.detach().std()) == pytest.approx(math.sqrt(2 / (3 * 66 + 64)), rel=0.05)
    assert bool((cell.gates_bias == 1).all() and (cell.candidate_bias == 0).all())
