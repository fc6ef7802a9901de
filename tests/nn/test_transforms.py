"""Every form of the layer under every transformation that torch offers."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gnet.graphs.partition import Partition
from gnet.groups import ClusterGroup, PermutationGroup, TrivialGroup, grid_group
from gnet.nn import EquivariantLinear, GNet, InvariantLinear, IsotypicLinear, OrbitConv, TensorLinear
from tests.laws.cases import TIED_GROUPS


def _clusters(*sizes: int) -> Partition:
    """Interleaved labels of the given cluster sizes."""
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return Partition(labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))], len(sizes))


RING = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])


def _swapped(*sizes: int) -> ClusterGroup:
    return ClusterGroup(_clusters(*sizes), swaps=PermutationGroup([[1, 0, *range(2, len(sizes))]]))


FORMS: dict[str, Callable[[], nn.Module]] = {
    "even": lambda: EquivariantLinear(ClusterGroup(_clusters(3, 3, 3)), 2, 3),
    "fine": lambda: EquivariantLinear(ClusterGroup(_clusters(3, 1, 2)), 2, 3),
    "uneven": lambda: EquivariantLinear(ClusterGroup(_clusters(18, 15)), 2, 3),
    "sorted": lambda: EquivariantLinear(ClusterGroup(Partition([0, 0, 0, 1, 1, 1])), 2, 3),
    "one_cluster": lambda: EquivariantLinear(ClusterGroup(_clusters(5)), 2, 3),
    "one_channel": lambda: EquivariantLinear(ClusterGroup(_clusters(2, 1, 2)), 1, 3),
    "reference": lambda: EquivariantLinear(
        ClusterGroup(_clusters(3, 1, 2)), 2, 3, bias="shared", parametrization="reference", init="reference"
    ),
    "tied": lambda: EquivariantLinear(_swapped(2, 2, 3), 2, 3),
    "tied_orbits": lambda: EquivariantLinear(_swapped(2, 2, 1), 2, 3, parametrization="orbits"),
    "tied_reference": lambda: EquivariantLinear(_swapped(2, 2, 1), 2, 3, parametrization="reference", init="reference"),
    "coarse_edges": lambda: EquivariantLinear(
        ClusterGroup(_clusters(2, 3, 1)), 2, 3, mixing="coarse_edges", edge_index=torch.tensor([[0, 1], [1, 2]])
    ),
    "no_mixing": lambda: EquivariantLinear(ClusterGroup(_clusters(2, 3, 1)), 2, 3, mixing="none"),
    "bases": lambda: EquivariantLinear(ClusterGroup(_clusters(2, 3, 1)), 2, 3, num_bases=2),
    "bases_on_edges": lambda: EquivariantLinear(
        ClusterGroup(_clusters(2, 3, 1)), 2, 3, mixing="coarse_edges", num_bases=2, edge_index=torch.tensor([[0, 1], [1, 2]])
    ),
    "orbit_conv": lambda: OrbitConv(PermutationGroup([[1, 2, 3, 4, 0]]), 2, 3, RING),
    "isotypic": lambda: IsotypicLinear(PermutationGroup([[1, 2, 3, 4, 0]]), 2, 3),
    "tensor": lambda: TensorLinear(ClusterGroup(_clusters(2, 1)), 2, 3),
    "tensor_to_signal": lambda: TensorLinear(ClusterGroup(_clusters(2, 2)), 2, 3, 2, 1),
    "invariant": lambda: InvariantLinear(ClusterGroup(_clusters(3, 1, 2)), 2, 3),
    "trivial": lambda: EquivariantLinear(TrivialGroup(4), 2, 3),
    "table": lambda: EquivariantLinear(PermutationGroup([[1, 2, 3, 4, 0]]), 2, 3),
    "table_of_a_torus": lambda: EquivariantLinear(grid_group((8, 8), ["translations", "dihedral"]), 2, 5),
    "net": lambda: GNet(ClusterGroup(_clusters(3, 1, 2)), 2, 4, 3, act="tanh"),
    "relu_net": lambda: GNet(ClusterGroup(_clusters(2, 2, 2)), 1, 4, 1, parametrization="reference", bias="shared"),
}


@pytest.fixture(params=FORMS)
def module(request: pytest.FixtureRequest) -> nn.Module:
    return FORMS[request.param]()


def signal(module: nn.Module, rng: torch.Generator, *batch: int) -> Tensor:
    first = module.blocks[0].linear if isinstance(module, GNet) else module
    shape = getattr(first, "in_shape", (first.group.degree, first.in_channels))
    return torch.randn(*batch, *shape, generator=rng, dtype=next(module.parameters()).dtype)


def test_compile_in_one_graph_with_gradients(module, rng):
    torch._dynamo.reset()
    x = signal(module, rng, 4).requires_grad_()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    y, inputs = module(x), [x, *module.parameters()]
    weight = torch.randn(y.shape, generator=rng)
    torch.testing.assert_close(compiled(x), y)
    for a, b in zip(torch.autograd.grad(compiled(x), inputs, weight), torch.autograd.grad(y, inputs, weight), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_export(module, rng):
    x = signal(module, rng, 4)
    exported = torch.export.export(module, (x,)).module()
    torch.testing.assert_close(exported(x), module(x))


def test_vmap_over_signals(module, rng):
    x = signal(module, rng, 4)
    torch.testing.assert_close(torch.vmap(module)(x), module(x), rtol=1e-4, atol=1e-5)
    nested = signal(module, rng, 3, 2)
    torch.testing.assert_close(torch.vmap(module, in_dims=1)(nested.transpose(0, 1)), module(nested), rtol=1e-4, atol=1e-5)


def test_vmap_over_weights(module, rng):
    others = [copy.deepcopy(module) for _ in range(3)]
    for other in others:
        other.reset_parameters(rng)
    params, buffers = torch.func.stack_module_state(others)
    x = signal(module, rng, 4)

    def call(params: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(module, (params, buffers), (x,))

    expected = torch.stack([other(x) for other in others])
    torch.testing.assert_close(torch.vmap(call)(params, buffers), expected, rtol=1e-4, atol=1e-5)
    one = next(iter(params))  # one parameter alone: everything else is shared
    only = torch.vmap(lambda p: torch.func.functional_call(module, {one: p}, (x,)))(params[one])
    assert only.shape == expected.shape


def test_gradients_of_each_signal(module, rng):
    """Per-sample gradients: vmap of grad."""
    x = signal(module, rng, 3)
    params = dict(module.named_parameters())

    def loss(params: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(module, params, (x,)).square().sum()

    each = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(params, x)
    for name, total in torch.func.grad(loss)(params, x).items():
        torch.testing.assert_close(each[name].sum(0), total, rtol=1e-3, atol=1e-4)


def test_autocast_with_bfloat16_input(module, rng):
    x = signal(module, rng, 4)
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x.bfloat16())
        z = module(x)
    torch.testing.assert_close(y.float(), module(x), rtol=0.1, atol=0.1)
    torch.testing.assert_close(z.float(), module(x), rtol=0.1, atol=0.1)
    y.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == p.dtype and p.grad.isfinite().all() for p in module.parameters())


def test_gradcheck_and_gradgradcheck(module, rng):
    double = module.double()
    x = signal(double, rng, 2).requires_grad_()
    names, params = zip(*double.named_parameters(), strict=True)

    def call(x: Tensor, *params: Tensor) -> Tensor:
        return torch.func.functional_call(double, dict(zip(names, params, strict=True)), (x,))

    inputs = (x, *(p.detach().clone().requires_grad_() for p in params))
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_copies(module, rng, training):
    module.train(training)
    x = signal(module, rng, 4)
    expected = module(x)
    fresh = pickle.loads(pickle.dumps(module))
    fresh.reset_parameters(rng)
    assert not torch.equal(fresh(x), expected)
    fresh.load_state_dict(module.state_dict(), strict=True)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), fresh):
        assert other.training is training
        assert torch.equal(other(x), expected)


def test_a_hook_inside_a_net_sees_nodes_in_their_own_order(rng):
    net = FORMS["net"]()
    x, seen = signal(net, rng, 4), []
    expected = net(x)
    handle = net.blocks[0].register_forward_hook(lambda module, args, output: seen.append((args[0], output)))
    torch.testing.assert_close(net(x), expected)
    handle.remove()
    assert torch.equal(seen[0][0], x)
    assert torch.equal(seen[0][1], net.blocks[0](x))


@pytest.mark.parametrize("options", [{}, {"parametrization": "reference"}, {"mixing": "none"}, {"num_bases": 2}])
@pytest.mark.parametrize("name", TIED_GROUPS)
def test_the_explicit_map_has_the_gradient_of_the_layer(name, options, rng):
    """Weights that swaps tie stand in many entries of the map, and count as often as they stand there."""
    layer = EquivariantLinear(TIED_GROUPS[name], 2, 3, generator=rng, **options).double()
    x = torch.randn(4, layer.group.degree, 2, generator=rng, dtype=torch.float64)
    weights = list(layer.weight.parameters())
    fast = torch.autograd.grad(layer(x).square().sum(), weights)
    y = torch.einsum("nomi,bmi->bno", layer.dense(), x)
    y = y if layer.dense_bias() is None else y + layer.dense_bias()
    for one, other in zip(fast, torch.autograd.grad(y.square().sum(), weights), strict=True):
        torch.testing.assert_close(one, other)
