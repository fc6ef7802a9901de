"""Wrappers around nets that are called with edges, with shown targets, or with PyG's flat batches."""

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv

from gnet.errors import ConfigError
from gnet.groups import TRIVIAL_ACTION, PermutationGroup, SymmetricGroup
from gnet.measures import equivariance_error
from gnet.nn.relaxed import Augmented, Penalised, equivariance_penalty

SWAP, GROUP = PermutationGroup([[1, 0, 2, 3]]), SymmetricGroup(4)
# Four edges for four nodes: told from signals by what they hold, and edges of two nodes by nothing but that.
EDGES = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])


class Graph(nn.Module):
    """A GCN that is called as those of PyG are."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = GCNConv(2, 3), GCNConv(3, 1)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        return self.second(self.first(x, edge_index, edge_weight).tanh(), edge_index, edge_weight)


def moved(x: Tensor) -> Tensor:
    """By the exchange of the first two nodes."""
    return x[..., [1, 0, 2, 3], :]


class Only(PermutationGroup):
    """Draws nothing but the exchange."""

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        return SWAP.generators[0].expand(num, -1)


def always(wrapper: nn.Module) -> nn.Module:
    """With the exchange as the only element that is drawn."""
    wrapper.group = type(
        "Only", (PermutationGroup,), {"sample": lambda self, num, generator=None: SWAP.generators[0].expand(num, -1)}
    )([[1, 0, 2, 3]])
    if isinstance(wrapper, Augmented):
        object.__setattr__(wrapper.augmentation, "group", wrapper.group)
    return wrapper


@pytest.mark.parametrize("named", [False, True])
def test_edges_and_their_weights_stay_where_they_are(named: bool) -> None:
    net, x, weight = Graph(), torch.randn(8, 4, 2), torch.rand(4)
    extra = {"edge_index": EDGES, "edge_weight": weight} if named else {}
    args = () if named else (EDGES, weight)
    expected = moved(net(moved(x), EDGES, weight))
    assert torch.allclose(always(Augmented(net, GROUP))(x, *args, **extra), expected, atol=1e-6)
    penalised = always(Penalised(net, GROUP, weight=2.0))
    y = penalised(x, *args, **extra)
    by_hand = 2 * (expected - y).square().sum() / 8
    assert torch.allclose(penalised.penalty(), by_hand, rtol=1e-4) and float(by_hand.detach()) > 1e-6


def test_two_nodes_have_edges_of_the_shape_of_signals() -> None:
    """(2, E) whole numbers with one row for each of two nodes: moving them would turn every edge around in silence."""
    net, x, edges = Graph(), torch.randn(6, 2, 2), torch.tensor([[0], [1]])
    turned = [net(x.flip(1), edges).flip(1), net(x, edges)]
    penalised = Penalised(net, SymmetricGroup(2))
    found = set()
    for _ in range(20):
        y = penalised(x, edges)
        found.add(round(float(penalised.penalty()), 5))
        assert torch.equal(y, turned[1])
    assert found == {0.0, round(float((turned[0] - turned[1]).square().sum()) / 6, 5)}


def test_flat_batches_are_moved_graph_by_graph() -> None:
    net, x = Graph(), torch.randn(8, 4, 2)
    batched = torch.cat([EDGES + 4 * item for item in range(8)], 1)
    expected = moved(net(moved(x), EDGES))
    flat = x.flatten(0, 1)
    assert torch.allclose(always(Augmented(net, GROUP))(flat, batched), expected.flatten(0, 1), atol=1e-6)
    one = always(Augmented(net, GROUP, per="batch"))
    assert torch.allclose(one(flat, batched), expected.flatten(0, 1), atol=1e-6)
    penalised = always(Penalised(net, GROUP))
    y = penalised(flat, batched)
    assert torch.allclose(penalised.penalty(), (expected.flatten(0, 1) - y).square().sum() / 8, rtol=1e-4)
    by_function = equivariance_penalty(lambda z: net(z, batched), flat, always(Penalised(net, GROUP)).group)
    assert torch.allclose(by_function, (expected.flatten(0, 1) - y).square().sum() / 8, rtol=1e-4)


def test_each_item_of_a_flat_batch_has_an_element_of_its_own(rng: torch.Generator) -> None:
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x

    x = torch.arange(4.0).repeat(50)[:, None]
    assert torch.equal(Augmented(Spy(), GROUP, generator=rng)(x), x)
    assert len({tuple(row) for row in seen[0].reshape(50, 4).tolist()}) > 5


def test_what_moves_can_be_said() -> None:
    class Shown(nn.Module):
        def forward(self, x: Tensor, target: Tensor, labels: Tensor) -> Tensor:
            return x + 2 * target + 3 * labels

    x, target, labels = torch.randn(5, 4, 1), torch.randn(5, 4, 1), torch.randint(9, (5, 4, 1))
    f = always(Augmented(Shown(), GROUP))
    assert torch.allclose(f(x, target, labels), x + 2 * target + 3 * moved(labels))
    f.moved = [0, 1]
    assert torch.allclose(f(x, target, labels), x + 2 * target + 3 * labels)
    f.moved = ["labels"]
    assert torch.allclose(f(x, target, labels=labels), x + 2 * moved(target) + 3 * labels)
    with pytest.raises(ConfigError, match="moved names 'labels', and the net was called with no such tensor"):
        f(x, target, labels)
    with pytest.raises(ConfigError, match="expected moved as places and names"):
        Penalised(nn.Identity(), GROUP, moved="target")


@pytest.mark.parametrize("kind", [Augmented, Penalised])
def test_wrappers_measure_their_error(kind: type, rng: torch.Generator) -> None:
    torch.manual_seed(0)
    net, x = Graph(), torch.randn(30, 4, 2)
    f = kind(net, GROUP)
    reference = equivariance_error(lambda z: net(z, EDGES), x, GROUP, num_samples=None).relative
    assert f.equivariance_error(x, EDGES, num_samples=400, generator=rng) == pytest.approx(reference, rel=0.1)
    assert f.training and net.training and reference > 0.05
    same = kind(nn.Linear(2, 1), GROUP)
    assert same.equivariance_error(x) < 1e-6 and kind(net, GROUP, action_out=TRIVIAL_ACTION).equivariance_error(x, EDGES) > 0.05
