"""Settings and dtypes of layers and nets: what is refused, types that no filter reaches, compiled graphs, exact filters."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch

from gnet.errors import ConfigError, RepresentationError, ShapeError
from gnet.plugins.geometric_images import (
    ContractedScalars,
    ConvContract,
    GINet,
    MultiImage,
    OuterConv,
    PlainCNN,
    PlainConv,
    Signature,
)
from gnet.plugins.geometric_images.gates import GATES
from gnet.plugins.geometric_images.toy_nets import raising_linear_net, raising_net
from tests.plugins.geometric_images.slow import drawn

SCALAR, VECTOR, PSEUDOSCALARS = Signature(2, {(0, 1): 1}), Signature(2, {(1, 1): 1}), Signature(2, {(0, -1): 3})
HIDDEN = Signature(2, {(0, 1): 2, (0, -1): 1, (1, 1): 1, (2, 1): 1})


# --- compiled graphs ---


def compiled_alike(of, x):
    """A whole graph from a cold start: signatures have not been used before."""
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(of, fullgraph=True, backend="aot_eager")(x), of(x))


@pytest.mark.parametrize("gate", GATES)
def test_nets_compile_to_one_graph(gate, rng):
    vector = Signature(2, {(1, 1): 1})
    hidden = Signature(2, dict(HIDDEN.channels))
    compiled_alike(GINet(vector, hidden, vector, (1,), gate=gate, generator=rng), torch.randn(1, 2, 4, 4, generator=rng))


def test_layers_that_raise_orders_compile_to_one_graph(rng):
    layer = OuterConv(Signature(2, {(1, 1): 1}), Signature(2, {(2, 1): 1, (3, 1): 1}), (1, 2), generator=rng)
    both = torch.nn.Sequential(layer, ContractedScalars(layer.sig_out))
    compiled_alike(both, torch.randn(1, 2, 4, 4, generator=rng))


def test_signatures_do_not_change():
    sig = Signature(2, {(0, 1): 2, (1, 1): 3})
    with pytest.raises(TypeError, match="does not support item assignment"):
        sig.channels[1, 1] = 5
    with pytest.raises(TypeError, match="does not support item assignment"):
        sig.places[1, 1] = slice(0, 1)
    for other in (
        pickle.loads(pickle.dumps(sig)),
        copy.deepcopy(sig),
        Signature(2, sig.channels),
        Signature(2, {(1, 1): 3, (0, 1): 2}),
    ):
        assert other == sig and hash(other) == hash(sig) and repr(other) == repr(sig) and other.size == 8
    assert sig != Signature(3, sig.channels) and sig != Signature(2, {(0, 1): 2}) and sig.channels == {(0, 1): 2, (1, 1): 3}
    assert pickle.loads(pickle.dumps(ConvContract(sig, sig))).sig_in == sig


# --- multi-images ---


def test_published_nets_take_multi_images(rng):
    for net, k in ((raising_linear_net(1, 8, generator=rng), 0), (raising_net(1, (1, 2), generator=rng), 1)):
        images = MultiImage.of(drawn(rng, 2, k, side=8, lead=(3, 1), torus=False)).to(torch.float32)
        found = net(images)
        assert isinstance(found, MultiImage) and found.signature == VECTOR and not found.torus
        assert torch.equal(found.stacked(), net(images.stacked()))
        with pytest.raises(ShapeError, match="torus=False for padding 'zero', got torus=True"):
            net(MultiImage.of(drawn(rng, 2, k, side=8, lead=(3, 1))).to(torch.float32))


# --- types that no filter reaches ---


@pytest.mark.filterwarnings("ignore:no filter of side:UserWarning")
def test_types_without_maps_are_refused():
    three = Signature(3, {(1, 1): 1})
    with pytest.raises(RepresentationError, match=r"no filter of orders \[1\] joins input type \(1, 1\)"):
        OuterConv(three, Signature(3, {(2, 1): 1}), (1,), M=1)  # a single pixel has no vector
    with pytest.raises(RepresentationError, match=r"no filters of side 3 reach type \(0, -1\) of hidden"):
        GINet(SCALAR, PSEUDOSCALARS, SCALAR)
    with pytest.raises(RepresentationError, match=r"no filters of side 1 reach type \(1, 1\) of sig_out"):
        GINet(SCALAR, SCALAR, VECTOR, M=1)
    with pytest.raises(RepresentationError, match=r"reach type \(0, -1\) of hidden"):
        GINet(SCALAR, Signature(2, {(0, 1): 1, (0, -1): 1}), SCALAR)
    with pytest.warns(UserWarning, match=r"no filter of side 3 makes a map 1 x 0\(\+\) -> 1 x 1\(-\): the layer is 0"):
        ConvContract(Signature(3, {(0, 1): 1}), Signature(3, {(1, -1): 1}))


def test_types_that_later_layers_or_products_reach_are_taken(rng):
    """Of scalars 3 x 3 pixels make no pseudoscalars; vectors do, and products of vectors and pseudovectors are some."""
    net = GINet(SCALAR, Signature(2, {(0, 1): 1, (0, -1): 1, (1, 1): 1}), SCALAR, generator=rng)
    assert [(0, -1) in layer.reached({(0, 1)}) for layer in net.layers] == [False, False]
    assert (0, -1) in net.layers[1].reached({(1, 1)})
    hidden = Signature(2, {(0, -1): 1, (1, 1): 1, (1, -1): 1})
    x, found = torch.randn(4, 1, 5, 5, generator=rng), {}
    for gate in ("norm", "products"):
        if gate == "norm":
            with pytest.raises(RepresentationError, match=r"reach type \(0, -1\) of hidden"):
                GINet(SCALAR, hidden, SCALAR, (1,), gate=gate)
        net = GINet(SCALAR, hidden, SCALAR, (1,) if gate == "products" else (1, 1), gate=gate, generator=rng)
        y = net.gates[0](net.layers[0](x))
        found[gate] = {kind for kind, block in hidden.blocks(y) if bool(block.abs().amax() > 1e-5)}
        assert found[gate] == net.gates[0].reached(net.layers[0].reached({(0, 1)}))
    assert found == {"norm": {(1, 1), (1, -1)}, "products": set(hidden.channels)}


# --- settings ---


MAKERS = {
    "ConvContract": lambda **more: ConvContract(VECTOR, VECTOR, **more),
    "OuterConv": lambda **more: OuterConv(VECTOR, VECTOR, (2,), **more),
    "PlainConv": lambda **more: PlainConv(2, 2, **more),
}


@pytest.mark.parametrize("name", MAKERS)
def test_settings_of_all_convolutions_are_checked(name, rng):
    make = MAKERS[name]
    for dilation in (0, 1.5, True, (1, 0), "12"):
        with pytest.raises(ConfigError, match="expected dilation to be a whole number >= 1"):
            make(dilation=dilation)
    with pytest.raises(ShapeError, match="at least one dilation"):
        make(dilation=())
    for M in (4, 0, 3.0):
        with pytest.raises(ShapeError, match="expected an odd side M"):
            make(M=M)
    with pytest.raises(ConfigError, match="padding 'torus' or 'zero', got 'same'"):
        make(padding="same")
    x = torch.randn(1, 2, 6, 6, generator=rng)
    for one, other in ((np.int64(2), 2), (np.array([1, 2]), (1, 2)), (range(1, 3), [1, 2])):
        layer, plain = make(dilation=one, generator=rng), make(dilation=other)
        plain.load_state_dict(layer.state_dict())
        assert torch.equal(layer(x), plain(x))
    with pytest.raises(ShapeError, match=r"expected x of dtype torch.float32, got torch.float64"):
        make()(x.double())
    with pytest.raises(ShapeError, match=r"expected x of shape \(B, 2, 2 axes of pixels\)"):
        make()(x[:, :1])


def test_settings_of_nets_and_orders_are_checked(rng):
    for orders in (2, (), (0.5,), (-1,)):
        with pytest.raises(RepresentationError, match="expected orders of filters, whole numbers >= 0"):
            OuterConv(VECTOR, VECTOR, orders)
    assert OuterConv(VECTOR, VECTOR, (2, 2)).num_weights == OuterConv(VECTOR, VECTOR, (2,)).num_weights
    for make in (lambda **more: GINet(VECTOR, HIDDEN, VECTOR, **more), lambda **more: PlainCNN(2, 3, 2, **more)):
        assert make(dilations=np.array([1, 2])).layers[1].dilations == (2,)
        for dilations, message in (
            (3, "dilations as a sequence"),
            ((), "got none"),
            ((1, 0), "whole number >= 1"),
            ("12", "whole"),
        ):
            with pytest.raises(ConfigError, match=message):
                make(dilations=dilations)
    net = PlainCNN(1, 2, 3, (1, 2), d=3, M=5)
    assert net(torch.randn(2, 1, 5, 5, 5, generator=rng)).shape == (2, 3, 5, 5, 5) and net.last.weight.shape[-1] == 5
    with pytest.raises(ConfigError, match="expected out_channels to be a whole number >= 1, got 0"):
        PlainConv(2, 0)
    with pytest.raises(ShapeError, match="got a list, which is no tensor"):
        PlainConv(1, 1)([1.0])


def test_biases_of_nets_are_those_of_their_scalars():
    net = GINet(VECTOR, HIDDEN, VECTOR, bias=[(0, 1)])
    assert [layer.bias is not None for layer in [*net.layers, net.last]] == [True, True, False]
    assert all(layer.bias is None for layer in GINet(VECTOR, HIDDEN, VECTOR, bias=[]).layers)
    with pytest.raises(RepresentationError, match="needs channels of it"):
        GINet(VECTOR, VECTOR, VECTOR, bias=[(0, 1)])
    with pytest.raises(RepresentationError, match=r"got one on \(1, 1\)"):
        GINet(VECTOR, HIDDEN, VECTOR, bias=[(1, 1)])


# --- dtypes ---


@pytest.mark.parametrize("name", ["ConvContract", "OuterConv"])
def test_filters_are_exact_in_every_dtype(name, rng):
    layer = MAKERS[name](generator=rng)
    x = torch.randn(2, 2, 5, 5, dtype=torch.float64, generator=rng)
    torch.set_default_dtype(torch.float64)
    try:
        exact = MAKERS[name]()
    finally:
        torch.set_default_dtype(torch.float32)
    exact.load_state_dict(layer.state_dict())
    assert torch.equal(copy.deepcopy(layer).double()(x), exact(x))
    back = copy.deepcopy(layer).bfloat16().float()
    back.load_state_dict(layer.state_dict())
    assert torch.equal(back(x.float()), layer(x.float()))
    rounded = copy.deepcopy(layer)  # the liar: filters that were rounded once stay so
    rounded._values.exact = rounded._values.exact.bfloat16().double()
    rounded = rounded.bfloat16().float()
    rounded.load_state_dict(layer.state_dict())
    assert float((rounded(x.float()) - layer(x.float())).detach().abs().max()) > (1e-5 if name == "ConvContract" else -1)


@pytest.mark.parametrize("name", MAKERS)
def test_complex_signals_take_complex_weights(name, rng):
    x = torch.randn(2, 2, 5, 5, dtype=torch.complex64, generator=rng)
    layer = MAKERS[name](generator=rng)
    with pytest.raises(ShapeError, match=r"got torch.complex64 on cpu; convert the layer with layer\.to\(torch\.complex64\)"):
        layer(x)
    expected = torch.complex(layer(x.real), layer(x.imag))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls complex modules new
        layer = layer.to(torch.complex64)
    torch.testing.assert_close(layer(x), expected)
    with pytest.raises(ShapeError, match=r"expected x of dtype torch\.complex64, got torch\.float32"):
        layer(x.real)
