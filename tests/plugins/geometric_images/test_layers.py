"""Layers and nets: complete, equal to filters and contractions one by one, equivariant; liars are not."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from gnet import equivariance_error
from gnet.errors import ConfigError, RepresentationError, ShapeError
from gnet.groups import equivariant_maps
from gnet.plugins.geometric_images import (
    ConvContract,
    GeometricImage,
    GINet,
    ImageGroup,
    MultiImage,
    PlainCNN,
    Signature,
    correlate,
    count_filters,
    filters_between,
    make_gate,
)
from gnet.plugins.geometric_images.gates import GATES
from gnet.plugins.tensors import B
from gnet.testing import LawBroken, check_layer, expressible_rank
from tests.plugins.geometric_images.slow import drawn, spoil

MIXED = Signature(2, {(0, 1): 2, (0, -1): 1, (1, 1): 2, (1, -1): 1, (2, 1): 1})
VECTORS = Signature(2, {(1, 1): 2})


def error_of(module, sig_in, sig_out, group, rng, batch=2):
    """At 16 elements: half of all change no sign, and six such would let a liar pass."""
    x = torch.randn(batch, sig_in.size, *[group.side] * group.d, dtype=torch.float64, generator=rng)
    module = copy.deepcopy(module).double()
    return equivariance_error(
        module, x, group, sig_in.action(group), sig_out.action(group), num_samples=16, generator=rng
    ).relative


# --- completeness ---


def rank_on_noise(layer, rng):
    """How many of the outputs of one random batch that single weights make are independent."""
    layer = copy.deepcopy(layer).double()
    x = torch.randn(3, layer.sig_in.size, *[layer.M + 1] * layer.d, dtype=torch.float64, generator=rng)
    outputs = []
    with torch.no_grad():
        for unit in torch.eye(layer.num_weights, dtype=torch.float64):
            layer.weight.copy_(unit[None])
            outputs.append(layer(x).flatten())
    return int(torch.linalg.matrix_rank(torch.stack(outputs)))


@pytest.mark.parametrize("parity", [1, -1])
@pytest.mark.parametrize(
    ("d", "M", "k", "k_out"),
    [
        *((2, 3, 0, 0), (2, 3, 0, 1), (2, 3, 1, 0), (2, 3, 1, 1), (2, 3, 1, 2)),
        *((2, 5, 0, 0), (2, 5, 1, 1), (2, 1, 1, 1), (2, 7, 0, 1)),
        *((3, 3, 0, 0), (3, 3, 0, 1), (3, 3, 1, 0), (3, 3, 1, 1), (3, 1, 1, 1), (3, 1, 2, 1), (3, 5, 0, 0)),
    ],
)
def test_the_rank_is_burnside_s_count(d, M, k, k_out, parity, rng):
    given, out = Signature(d, {(k, -1): 2}), Signature(d, {(k_out, -parity): 1})
    expected = 2 * count_filters(d, M, k + k_out, parity)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        layer = ConvContract(given, out, M=M, bias=False)
    assert layer.num_weights == expected
    assert [str(each.message)[-14:] for each in caught] == ([] if expected else ["the layer is 0"])
    if not expected:  # no map but zero is equivariant
        x = torch.randn(2, given.size, *[5] * d, generator=rng)
        assert torch.equal(layer(x), torch.zeros(2, out.size, *[5] * d))
        return
    assert rank_on_noise(layer, rng) == expected
    if (d, M) == (2, 3):
        layer.in_shape = (given.size, 3, 3)
        assert expressible_rank(layer) == expected


def test_a_layer_with_one_map_twice_has_a_smaller_rank(rng):
    layer = ConvContract(VECTORS, VECTORS, bias=False)
    assert rank_on_noise(layer, rng) == 20
    layer._sources = layer._sources.clamp(max=18)
    assert rank_on_noise(layer, rng) == 19


def test_the_rank_is_the_dimension_that_linear_algebra_finds(rng):
    group, given, out = ImageGroup(3), Signature(2, {(0, 1): 1, (1, 1): 1}), Signature(2, {(1, 1): 1})
    layer = ConvContract(given, out, bias=False)
    layer.in_shape = (given.size, 3, 3)
    found = equivariant_maps(group, given.action(group), out.action(group), (given.size, 3, 3), (out.size, 3, 3))
    assert len(found) == layer.num_weights == expressible_rank(layer) == 2 + 5
    without = ConvContract(given, out, (0, 1), bias=False)  # filters of low order alone reach a part
    without.in_shape = (given.size, 3, 3)
    assert len(found) > without.num_weights == expressible_rank(without) == 2 + 3


# --- the layer is what it says ---


@pytest.mark.parametrize("torus", [True, False])
def test_the_layer_is_a_sum_over_filters_contracted_one_by_one(torus, rng):
    given, out = Signature(2, {(1, -1): 2}), Signature(2, {(0, 1): 3, (2, 1): 1})
    padding = "torus" if torus else "zero"
    layer = ConvContract(given, out, padding=padding, bias=False, dilation=2, generator=rng).double()
    image = drawn(rng, 2, 1, -1, side=7, lead=(4, 2), torus=torus)
    found = layer(MultiImage.of(image))
    weights = layer.weight[0].detach()
    start = 0
    for (k_out, parity), n in out.channels.items():
        filters = filters_between(2, 3, 1, k_out, -parity)
        count = len(filters.data)
        scale = filters.data.flatten(1).norm(dim=1) / 2 ** (k_out / 2)
        w = weights[start : start + n * 2 * count].reshape(n, 2, count) / scale
        start += n * 2 * count
        every = image.conv(filters, dilation=2).contract(0, 1)  # (4, 2, count, pixels, k'')
        expected = torch.einsum("nmf,bmf...->bn...", w, every.data)
        torch.testing.assert_close(found[k_out, parity].data, expected)
        assert found[k_out, parity].torus == torus


def test_several_dilations_are_a_sum_that_is_not_kept_apart(rng):
    layer = ConvContract(VECTORS, VECTORS, dilation=(1, 2, 5, 3), generator=rng)
    sizes = []

    class Sizes(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            found = func(*args, **(kwargs or {}))
            sizes.append(found.numel() if isinstance(found, torch.Tensor) else 0)
            return found

    x = torch.randn(30, VECTORS.size, 16, 16, generator=rng)
    with Sizes():
        y = layer(x)
    assert max(sizes) < 4 * y.numel()


def test_several_dilations_are_a_sum(rng):
    layer = ConvContract(MIXED, VECTORS, dilation=(1, 2, 5), generator=rng)
    x = torch.randn(2, MIXED.size, 4, 4, generator=rng)
    expected = sum(correlate(x, k, dilation=n) for k, n in zip(layer.kernel(), (1, 2, 5), strict=True))
    torch.testing.assert_close(layer(x), expected)


def test_white_noise_keeps_its_size(rng):
    for sig in (MIXED, VECTORS):
        # One layer of few filters is far from the mean of many.
        layers = [ConvContract(sig, MIXED, generator=rng) for _ in range(60)]
        y = torch.cat([layer(torch.randn(2, sig.size, 16, 16, generator=rng)).detach() for layer in layers])
        for (k, p), block in MIXED.blocks(y):
            assert 0.6 < float(block.square().mean()) < 1.5, (k, p)


# --- laws ---


@pytest.mark.parametrize("torus", [True, False])
def test_layers_obey_the_laws(torus, rng):
    group = ImageGroup(4, torus=torus)
    layer = ConvContract(MIXED, MIXED, padding="torus" if torus else "zero", dilation=(1, 3))
    x = torch.randn(2, MIXED.size, 4, 4, dtype=torch.float64, generator=rng)
    act = MIXED.action(group)
    check_layer(layer, group, x, action_in=act, action_out=act, completeness=False)
    liar = copy.deepcopy(layer)
    spoil(liar, 1)
    with pytest.raises(LawBroken, match="equivariance"):
        check_layer(liar, group, x, action_in=act, action_out=act, completeness=False, gradients=False)


@pytest.mark.parametrize("d", [3, 4])
def test_layers_in_more_dimensions(d, rng):
    sig = Signature(d, {(0, 1): 1, (1, 1): 1, (1, -1): 1} if d == 3 else {(0, 1): 1, (1, 1): 1})
    assert error_of(ConvContract(sig, sig), sig, sig, ImageGroup(3, d), rng) < 1e-10


@pytest.mark.parametrize("gate", ["norm", "scalars", "products", "contract", "odd"])
@pytest.mark.parametrize("torus", [True, False])
def test_nets_obey_the_laws_with_every_gate(gate, torus, rng):
    group = ImageGroup(5, torus=torus)
    net = GINet(VECTORS, MIXED, VECTORS, (1, 2), gate=gate, residual=True, padding="torus" if torus else "zero", generator=rng)
    assert error_of(net, VECTORS, VECTORS, group, rng) < 1e-10
    images = MultiImage.of(drawn(rng, 2, 1, side=5, lead=(3, 2), torus=torus))
    net = net.double()
    for g in B(2).sample(3, rng):
        moved, after = net(images.act(g)), net(images).act(g)
        torch.testing.assert_close(moved[1, 1].data, after[1, 1].data)


@pytest.mark.parametrize("gate", ["norm", "scalars", "products", "contract", "odd"])
def test_gates_obey_the_laws(gate, rng):
    group, module = ImageGroup(3), make_gate(gate, MIXED)
    x = torch.randn(2, module.sig_in.size, 3, 3, dtype=torch.float64, generator=rng)
    acts = module.sig_in.action(group), MIXED.action(group)
    check_layer(module, group, x, action_in=acts[0], action_out=acts[1], completeness=False, gradients=gate != "contract")
    assert module(MultiImage.from_stacked(x.float(), module.sig_in)).signature == MIXED


class Lie(nn.Module):
    """What is no equivariant map."""

    def __init__(self, of):
        super().__init__()
        self.of = of

    def forward(self, x):
        return self.of(x)


PSEUDO = Signature(2, {(0, -1): 2})
LIARS = {
    "relu of components": (VECTORS, torch.relu),
    "silu of pseudoscalars": (PSEUDO, nn.functional.silu),
    "a bias on vectors": (VECTORS, lambda x: x + torch.arange(4.0)[:, None, None]),
    "a bias on pseudoscalars": (PSEUDO, lambda x: x + 1),
    "norms over all channels are right, sums of components are not": (VECTORS, lambda x: x * x.sum(1, keepdim=True).sigmoid()),
    "free filters": (VECTORS, PlainCNN(4, 3, 4, generator=torch.Generator().manual_seed(0)).double()),
}


@pytest.mark.parametrize("name", LIARS)
def test_nonlinearities_that_are_none_are_caught(name, rng):
    sig, of = LIARS[name]
    assert error_of(Lie(of), sig, sig, ImageGroup(4), rng) > 0.01


def test_translations_alone_do_not_tell_a_cnn_from_a_gi_net(rng):
    group = ImageGroup(4)
    x = torch.randn(1, 4, 4, 4, dtype=torch.float64, generator=rng)
    net, act = PlainCNN(4, 3, 4, (1, 2), generator=rng).double(), VECTORS.action(group)
    step, turn = group.element(torch.eye(2), [1, 2]), group.element(torch.tensor([[0.0, -1.0], [1.0, 0.0]]))
    assert float((net(act(step, x)) - act(step, net(x))).detach().abs().max()) < 1e-12
    assert float((net(act(turn, x)) - act(turn, net(x))).detach().abs().max()) > 0.01


# --- multi-images ---


def test_images_are_stacked_and_taken_apart(rng):
    images = MultiImage.of(
        drawn(rng, 2, 1, lead=(3, 2)),
        drawn(rng, 2, 0, lead=(3, 1)),
        drawn(rng, 2, 0, -1, lead=(3, 4)),
        drawn(rng, 2, 1, lead=(3, 1)),
    )
    assert images.signature == Signature(2, {(1, 1): 3, (0, -1): 4, (0, 1): 1})
    assert repr(images.signature) == "Signature(1 x 0(+) + 4 x 0(-) + 3 x 1(+) in d = 2)"
    x = images.stacked()
    assert x.shape == (3, images.signature.size, 5, 5)
    back = MultiImage.from_stacked(x, images.signature)
    assert all(torch.equal(back[kind].data, images[kind].data) for kind in images)
    group = ImageGroup(5)
    g = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    moved = images.signature.action(group)(group.element(g, [1, 3]), x)
    torch.testing.assert_close(moved, images.act(g, [1, 3]).stacked())
    for same in (images + images, 2 * images, images * 2, images / 0.5, -(-images - images)):
        torch.testing.assert_close(same.stacked(), 2 * x)
    assert images.to(torch.float32).stacked().dtype == torch.float32
    with pytest.raises(RepresentationError, match="multiplied by numbers, got Tensor"):
        images * torch.ones(2)
    with pytest.raises(RepresentationError, match="one signature"):
        images - MultiImage.of(drawn(rng, 2, 1, lead=(3, 3)))


def test_batches_without_items(rng):
    given = {(0, 1): 2, (1, 1): 1, (2, -1): 1}
    none = MultiImage.of(*(drawn(rng, 2, k, p, side=4, lead=(0, n)) for (k, p), n in given.items()))
    sig = none.signature
    assert none.stacked().shape == (0, sig.size, 4, 4)
    assert MultiImage.from_stacked(none.stacked(), sig).signature == sig
    net = GINet(sig, VECTORS, VECTORS, gate="products").double()
    assert net(none)[1, 1].data.shape == (0, 2, 4, 4, 2)
    assert sig.action(ImageGroup(4))(ImageGroup(4).generators[0], none.stacked()).shape == (0, sig.size, 4, 4)


def test_what_is_printed_is_the_mathematics():
    assert repr(make_gate("scalars", VECTORS)) == "ScalarGate(2 x 0(+) + 2 x 1(+) -> 2 x 1(+) in d = 2 | SiLU(s), T sigmoid(s'))"
    assert repr(make_gate("odd", VECTORS)) == "Odd(2 x 1(+) in d = 2 | SiLU(s), tanh of every other component)"
    texts = {repr(make_gate(name, MIXED)) for name in GATES}
    assert len(texts) == len(GATES)
    assert all(f"{MIXED.words} in d = 2 | " in text for text in texts)
    assert "| products |" in repr(GINet(VECTORS, VECTORS, VECTORS, gate="products"))


def test_orders_of_filters_that_make_no_map_are_refused():
    for orders in ([5], [1], (0, 1), [3, 2]):
        with pytest.raises(RepresentationError, match=r"no filter of order [135] and side 3 makes a map 2 x 1\(\+\) -> 2 x 1"):
            ConvContract(VECTORS, VECTORS, orders)
    with pytest.raises(RepresentationError, match=r"expected orders of filters, as \(0, 1\), or None for all filters, got \[\]"):
        ConvContract(VECTORS, VECTORS, [])
    with pytest.raises(RepresentationError, match="no filter of order 1"):
        GINet(VECTORS, VECTORS, VECTORS, filters=[1])
    with pytest.raises(RepresentationError, match="no filter of order 0"):  # no pseudoscalar filter reaches 3 x 3 pixels
        ConvContract(PSEUDO, Signature(2, {(0, 1): 1}), [0])
    with pytest.raises(RepresentationError, match=r"whole numbers >= 0, got 0\.5"):
        ConvContract(VECTORS, VECTORS, [0.5])
    for orders in ([0], [2], [4], [0, 2, 2]):
        assert ConvContract(VECTORS, VECTORS, orders).num_weights == (12 if orders == [0] else 20)
    assert ConvContract(PSEUDO, Signature(2, {(0, 1): 1}), [0], M=5).num_weights == 2


def test_a_bias_that_would_be_left_out_is_refused():
    with pytest.raises(RepresentationError, match=r"a bias on type \(0, 1\) needs channels of it"):
        ConvContract(VECTORS, VECTORS, bias=[(0, 1)])
    for bias in (1, [1], None):
        with pytest.raises(ConfigError, match="expected bias True, False or types"):
            ConvContract(VECTORS, MIXED, bias=bias)
    assert ConvContract(VECTORS, MIXED, bias=[[0, 1]]).bias.shape == (2,)
    assert ConvContract(VECTORS, VECTORS).bias is None
    assert ConvContract(VECTORS, MIXED, bias=[]).bias is None


def test_what_is_refused(rng):
    with pytest.raises(RepresentationError, match=r"a bias is equivariant on type \(0, 1\) alone, got one on \(1, 1\)"):
        ConvContract(VECTORS, VECTORS, bias=[(1, 1)])
    with pytest.raises(ShapeError, match="odd side"):
        ConvContract(VECTORS, VECTORS, M=4)
    with pytest.raises(ShapeError, match="M <= N, got M = 5"):
        ConvContract(VECTORS, VECTORS, M=5)(torch.zeros(1, 4, 4, 4))
    with pytest.raises(ShapeError, match=r"expected x of shape \(B, 4"):
        ConvContract(VECTORS, VECTORS)(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ShapeError, match="torus=True for padding 'torus'"):
        ConvContract(VECTORS, VECTORS)(MultiImage.of(drawn(rng, 2, 1, lead=(1, 2), torus=False)))
    with pytest.raises(ShapeError, match="expected images Signature"):
        ConvContract(VECTORS, VECTORS)(MultiImage.of(drawn(rng, 2, 0, lead=(1, 2))))
    with pytest.raises(ConfigError, match="padding 'torus' or 'zero', got 'same'"):
        ConvContract(VECTORS, VECTORS, padding="same")(torch.zeros(1, 4, 4, 4))
    with pytest.raises(ConfigError, match="got 'relu'"):
        GINet(VECTORS, VECTORS, VECTORS, gate="relu")
    with pytest.raises(ConfigError, match="got none"):
        GINet(VECTORS, VECTORS, VECTORS, ())
    for wrong in ({(0, 1): 2.5}, {(0.5, 1): 1}, {(0, 1, 1): 1}, {(0, 1): True}, {(-1, 1): 1}, {(0, 1): -1}, {0: 1}):
        with pytest.raises(ShapeError, match="expected whole numbers d >= 2"):
            Signature(2, wrong)
    with pytest.raises(ShapeError, match="expected whole numbers d >= 2"):
        Signature(2.0, {(0, 1): 1})
    for setting in ({"dilation": 1.5}, {"dilation": (1, 0)}, {"stride": 0}, {"stride": 2.0}):
        with pytest.raises(ConfigError, match="to be a whole number >= 1"):
            ConvContract(VECTORS, VECTORS, **setting)
    with pytest.raises(ShapeError, match="at least one dilation"):
        ConvContract(VECTORS, VECTORS, dilation=())
    with pytest.raises(ShapeError, match="at least one channel"):
        Signature(2, {})
    with pytest.raises(RepresentationError, match="got 0"):
        Signature(2, {(0, 0): 1})
    with pytest.raises(ShapeError, match="two signatures of one d"):
        ConvContract(VECTORS, Signature(3, {(0, 1): 1}))
    with pytest.raises(ShapeError, match="on one grid"):
        MultiImage.of(drawn(rng, 2, 0, lead=(1, 2)), drawn(rng, 2, 1, side=4, lead=(1, 2)))
    with pytest.raises(RepresentationError, match="one signature"):
        MultiImage.of(drawn(rng, 2, 0, lead=(1, 2))) + MultiImage.of(drawn(rng, 2, 1, lead=(1, 2)))
    with pytest.raises(ShapeError, match="leading axes"):
        MultiImage.of(GeometricImage(torch.zeros(5, 5), 2))


def test_a_layer_survives_saving(rng):
    layer = ConvContract(MIXED, VECTORS, generator=rng)
    other = ConvContract(MIXED, VECTORS)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(2, MIXED.size, 4, 4, generator=rng)
    assert torch.equal(layer(x), other(x))
    assert list(layer.state_dict()) == ["weight"]  # vectors have no bias
