"""The quick ways of layers against the written sums: products in either order, gates by lookup, maps made once for many calls."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gnet.errors import ShapeError
from gnet.plugins.pendulum import HamiltonianField, integrate
from gnet.plugins.tensors import (
    EMLP,
    SO,
    Bilinear,
    D,
    Embed,
    GatedNonlinearity,
    Lorentz,
    O,
    Rep,
    RepLinear,
    S,
    T,
    gated,
    regular,
    shared_maps,
)

D3 = D(3)
CASES = {
    "O(3)": (5 * T(0) + 4 * T(1) + 2 * T(2), O(3)),
    "O(2) in R3": (7 * T(0) + 3 * T(1) + 2 * T(2) + T(3), Embed(O(2), 3)),
    "O(1,1)": (2 * T(0) + 2 * T(1) + T(0, 1) + T(1, 1) + T(2), Lorentz(1)),
    "S(3)": (2 * T(1) + T(2), S(3)),
    "no products": (3 * T(0), O(3)),
    "regular": (2 * T(1) + T(2) + regular(D3), D3),
}


def copies_of(x: Tensor, rep: Rep, d: int) -> list[Tensor]:
    """(B, copies, size) of each type."""
    found, start = [], 0
    for n, part in rep.parts:
        size = part.size(d)
        found.append(x[:, start : start + n * size].reshape(-1, n, size))
        start += n * size
    return found


def written(layer: Bilinear, x: Tensor) -> Tensor:
    """0.1 sum_mk w_nmk M_k x_m as one sum, with every map made for every item."""
    d, rep = layer.group.dim, layer.rep
    copies = copies_of(x, rep, d)
    found = [torch.zeros_like(each) for each in copies]
    for weight, (out, given, kind, places) in zip(layer.weights, layer._pairs, strict=True):
        place = layer._places[kind]
        chosen = layer._chosen(place)
        cubes = copies[place][:, chosen].reshape(len(x), len(chosen), *[d] * kind.rank)
        cubes = cubes.permute(0, 1, *[2 + each for each in places])
        maps = cubes.reshape(*cubes.shape[:2], rep.parts[out][1].size(d), rep.parts[given][1].size(d))
        whole = torch.einsum("nmk,bkij->bnimj", weight, maps)
        found[out] = found[out] + torch.einsum("bnimj,bmj->bni", whole, copies[given])
    return 0.1 * torch.cat([each.flatten(1) for each in found], 1)


def derivatives(f: nn.Module, call, x: Tensor) -> list[Tensor]:
    """Values, the gradient with respect to x, and that of its square with respect to the weights."""
    x = x.clone().requires_grad_()
    y = call(x)
    (slope,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
    seconds = torch.autograd.grad(slope.square().sum(), list(f.parameters()), allow_unused=True)
    return [y, slope, *(each for each in seconds if each is not None)]


@pytest.mark.parametrize("name", CASES)
def test_products_are_the_written_sum_with_all_derivatives(name, rng):
    rep, group = CASES[name]
    layer = Bilinear(rep, group, generator=rng).double()
    x = torch.randn(4, rep.size(group.dim), dtype=torch.float64, generator=rng)
    if not layer.num_parameters:
        assert torch.equal(layer(x), torch.zeros_like(x))
        return
    for quick, slow in zip(derivatives(layer, layer, x), derivatives(layer, lambda x: written(layer, x), x), strict=True):
        torch.testing.assert_close(quick, slow, rtol=1e-11, atol=1e-11)
    before = layer(x)
    with torch.no_grad():  # the liar: weights of another order
        for weight in layer.weights:
            weight.copy_(weight.flip(0, 1, 2))
    assert not torch.allclose(written(layer, x), before)


@pytest.mark.parametrize("sizes", [(54, 12, 3, 1, 3), (12, 54, 3, 3, 1), (3, 12, 1, 9, 3), (12, 3, 1, 3, 9), (5, 4, 2, 3, 3)])
def test_products_take_the_cheaper_order(sizes, rng):
    """Counted, with s = size out and t = size in: maps first, m k s t + n m k s, or weights first, n m k t + n k s t."""
    n, m, k, s, t = sizes
    weight, maps, signals = (torch.randn(*shape, generator=rng).double() for shape in ((n, m, k), (7, s, t, k), (7, t, m)))
    with FlopCounterMode(display=False) as counter:
        found = Bilinear._product(weight, maps, signals)
    torch.testing.assert_close(found, torch.einsum("nmk,bstk,btm->bsn", weight, maps, signals))
    orders = m * k * s * t + n * m * k * s, n * m * k * t + n * k * s * t
    assert counter.get_total_flops() == 2 * 7 * min(orders)
    assert min(orders) < max(orders) or s == t


@pytest.mark.parametrize("name", ["O(3)", "S(3)", "regular", "O(1,1)"])
def test_gates_are_those_written_copy_by_copy(name, rng):
    rep, group = CASES[name]
    d, gate = group.dim, GatedNonlinearity(rep, group)
    x = torch.randn(4, gate.in_shape[0], dtype=torch.float64, generator=rng)
    wide = gated(rep, group)
    scalars = next((c for c, (_, part) in zip(copies_of(x, wide, d), wide.parts, strict=True) if not part.rank), None)
    own = sum(n for n, part in rep.parts if not part.rank)
    expected, used = [], own
    there = {part: copies for copies, (_, part) in zip(copies_of(x, wide, d), wide.parts, strict=True)}
    for n, part in rep.parts:
        signals = there[part][:, :n]
        if not part.rank or group.is_permutation or "regular" in str(part):
            expected.append((signals * signals.sigmoid()).flatten(1))
        else:
            expected.append((signals * scalars[:, used : used + n].sigmoid()).flatten(1))
            used += n
    torch.testing.assert_close(gate(x), torch.cat(expected, 1))
    assert gate.state_dict() == {}


# --- maps that are made once ---


def counted(monkeypatch) -> list[int]:
    calls, dense = [], RepLinear.dense
    monkeypatch.setattr(RepLinear, "dense", lambda self: calls.append(1) or dense(self))
    return calls


def path_of(net: nn.Module, z: Tensor) -> Tensor:
    return integrate(HamiltonianField(net), z, torch.tensor([0.0, 0.1, 0.2]).double(), check=False)


def test_maps_are_made_once_for_a_path_with_the_same_gradients(rng, monkeypatch):
    group = Embed(SO(2), 3)
    net = EMLP(4 * T(1), T(0), group, ch=20, layers=2, generator=rng).double()
    z = torch.randn(3, 12, dtype=torch.float64, generator=rng)
    calls = counted(monkeypatch)
    plain = path_of(net, z)
    assert len(calls) == 2 * 2 * 4 * 3  # steps, halves of them, stages of RK4, maps
    weights = [p for name, p in net.named_parameters() if name != "last.bias"]  # which no gradient of H has
    expected = torch.autograd.grad(plain.square().sum(), weights)
    calls.clear()
    with shared_maps(net), shared_maps(net):  # the inner one finds them made
        path = path_of(net, z)
    assert len(calls) == 3
    torch.testing.assert_close(path, plain, rtol=1e-12, atol=1e-12)
    for found, other in zip(torch.autograd.grad(path.square().sum(), weights), expected, strict=True):
        torch.testing.assert_close(found, other, rtol=1e-10, atol=1e-10)
    with torch.inference_mode(), shared_maps(net):
        torch.testing.assert_close(path_of(net, z.clone()), plain.detach(), rtol=1e-12, atol=1e-12)
    with torch.no_grad(), shared_maps(net):
        assert not path_of(net, z).requires_grad


def test_shared_maps_end_with_the_block(rng):
    """Weights that change within are not seen; after it they are, whatever ended it."""
    layer = RepLinear(2 * T(1), T(0) + T(1), O(3), generator=rng).double()
    x = torch.randn(5, 6, dtype=torch.float64, generator=rng)
    before = layer(x)
    with shared_maps(nn.Sequential(layer)), torch.no_grad():
        layer.weight.mul_(2)
        assert torch.equal(layer(x), before)
    assert layer._shared is None and not torch.allclose(layer(x), before)
    with pytest.raises(ShapeError), shared_maps(layer):
        layer(x[:, :2])
    assert layer._shared is None
    with shared_maps(torch.sin):  # a function has none
        pass


def test_maps_without_gradients_are_not_those_of_a_training_inside(rng):
    layer = RepLinear(2 * T(1), T(0) + T(1), O(3), generator=rng).double()
    x = torch.randn(5, 6, dtype=torch.float64, generator=rng)
    with torch.no_grad(), shared_maps(layer):
        assert not layer(x).requires_grad
        with torch.enable_grad(), shared_maps(layer):
            assert torch.autograd.grad(layer(x).sum(), layer.bias)[0].abs().min() > 0
        assert not layer(x).requires_grad
    assert layer._shared is None


@pytest.mark.parametrize("is_trained", [True, False])
def test_copies_and_pickles_have_weights_of_their_own(is_trained, rng):
    layer = RepLinear(2 * T(1), T(0) + T(1), O(3), generator=rng).double()
    x = torch.randn(5, 6, dtype=torch.float64, generator=rng)
    with torch.set_grad_enabled(is_trained), shared_maps(layer):
        others = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
    for other in others:
        torch.testing.assert_close(other(x), layer(x))
        with torch.no_grad():
            other.weight.mul_(2)
        assert not torch.allclose(other(x), layer(x))
        assert other(x).requires_grad


def test_empty_batches_stay_empty():
    net = EMLP(4 * T(1), T(0), O(3), ch=20, layers=1)
    for batch in ((0,), (3, 0), (0, 2)):
        assert net(torch.ones(*batch, 12)).shape == (*batch, 1)
