"""The nets of the toy tasks: their layers by hand, their symmetry, their shapes and their first weights."""

import itertools
import math

import pytest
import torch

from gnet import equivariance_error
from gnet.errors import RepresentationError, ShapeError
from gnet.plugins.geometric_images import ImageGroup, Signature, invariant_filters
from gnet.plugins.geometric_images.orders import pairings
from gnet.plugins.geometric_images.raising import ContractedScalars, OuterConv
from gnet.plugins.geometric_images.toy_nets import (
    complete_net,
    plain_linear_net,
    plain_net,
    raising_linear_net,
    raising_net,
    started,
)
from tests.plugins.geometric_images.slow import drawn, spoil

VECTOR = Signature(2, {(1, 1): 1})
SCALAR = Signature(2, {(0, 1): 1})


def error_of(module, sig_in, sig_out, rng, *, torus=False, side=8):
    """At 16 elements: half of all change no sign, and six such would let a liar pass."""
    group = ImageGroup(side, sig_in.d, torus=torus)
    x = torch.randn(2, sig_in.size, *[side] * sig_in.d, dtype=torch.float64, generator=rng)
    return equivariance_error(
        module, x, group, sig_in.action(group), sig_out.action(group), num_samples=16, generator=rng
    ).relative


@pytest.fixture
def double():
    """Layers are made in float64, so that the numbers of filters are not rounded."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_pairings_are_counted():
    for k, n in itertools.product(range(8), range(4)):
        found = pairings(k, n)
        expected = math.factorial(k) // (2**n * math.factorial(n) * math.factorial(k - 2 * n)) if 2 * n <= k else 0
        assert len(set(found)) == len(found) == expected
        assert all(len({*itertools.chain(*pairs)}) == 2 * n and all(i < j for i, j in pairs) for pairs in found)


@pytest.mark.parametrize(("k", "order", "k_out"), [(0, 1, 1), (1, 1, 0), (1, 2, 3), (2, 1, 1), (3, 0, 1), (2, 2, 0)])
def test_an_outer_convolution_is_a_product_and_contractions(k, order, k_out, rng, double):
    sig_in, sig_out = Signature(2, {(k, 1): 1}), Signature(2, {(k_out, 1): 1})
    layer = OuterConv(sig_in, sig_out, (order,), padding="zero", generator=rng)
    image = drawn(rng, 2, k, side=5, lead=(3, 1), torus=False)
    filters, ways = invariant_filters(2, 3, order), pairings(k + order, (k + order - k_out) // 2)
    assert layer.num_weights == len(filters.data) * len(ways)
    expected = torch.zeros(3, 5, 5, *[2] * k_out, dtype=torch.float64)
    weights = iter(layer.weight[0].detach())
    for each in filters.data:
        product = image.conv(filters.like(each))
        for pairs in ways:
            made = product
            for one, other in sorted(pairs, reverse=True):  # later pairs first; an index falls by one for each smaller one gone
                gone = [i for pair in pairs if pair > (one, other) for i in pair]
                made = made.contract(one - sum(i < one for i in gone), other - sum(i < other for i in gone))
            expected += next(weights) * made.data[:, 0]
    found = layer(image.components_first().reshape(3, -1, 5, 5)).detach()
    expected = expected.reshape(3, 5, 5, -1).movedim(-1, 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("d", "torus"), [(2, True), (2, False), (3, False)])
def test_outer_convolutions_commute_and_liars_do_not(d, torus, rng):
    sig_in, sig_out = Signature(d, {(0, -1): 1, (1, -1): 2}), Signature(d, {(1, -1): 2, (2, -1): 3})
    layer = OuterConv(sig_in, sig_out, (1, 2), (1, 2), padding="torus" if torus else "zero", generator=rng).double()
    assert error_of(layer, sig_in, sig_out, rng, torus=torus, side=5) < 1e-12
    spoil(layer)  # a filter that is not invariant any more
    assert error_of(layer, sig_in, sig_out, rng, torus=torus, side=5) > 1e-3


def test_contracted_scalars_are_traces_and_commute(rng):
    sig = Signature(2, {(0, 1): 1, (2, 1): 2, (2, -1): 1, (3, 1): 1, (4, 1): 1})
    gate = ContractedScalars(sig)
    assert gate.sig_out.channels == {**sig.channels, (0, 1): 1 + 2 + 3}
    assert error_of(gate, sig, gate.sig_out, rng) < 1e-12
    x = torch.randn(2, sig.size, 3, 3, dtype=torch.float64, generator=rng)
    y, blocks = gate(x), dict(sig.blocks(x))
    assert torch.equal(y[:, 6:], x[:, 1:])
    two, four = blocks[2, 1].unflatten(2, (2, 2)), blocks[4, 1][:, 0].unflatten(1, (2, 2, 2, 2))
    traces = [*torch.einsum("bniixy->nbxy", two), *(torch.einsum(f"b{w}xy->bxy", four) for w in ("iijj", "ijij", "ijji"))]
    expected = torch.nn.functional.leaky_relu(torch.stack([x[:, 0], *traces], 1), 0.01)
    torch.testing.assert_close(y[:, :6], expected, rtol=0, atol=1e-12)

    def of_components(x):  # the liar: a leaky ReLU of the components of 2-tensors
        return torch.cat([gate(x)[:, :6], torch.nn.functional.leaky_relu(x[:, 1:9]), x[:, 9:]], 1)

    assert error_of(of_components, sig, gate.sig_out, rng) > 1e-2


@pytest.mark.parametrize("name", ["gravity", "charges"])
def test_published_nets_commute_and_cnns_do_not(name, rng):
    given = SCALAR if name == "gravity" else VECTOR
    net = (raising_linear_net(1, 8, generator=rng) if name == "gravity" else raising_net(1, (1, 2, 1), generator=rng)).double()
    assert error_of(net, given, VECTOR, rng) < 1e-12
    spoil(net[2])
    assert error_of(net, given, VECTOR, rng) > 1e-6
    other = plain_linear_net(2, 8, generator=rng) if name == "gravity" else plain_net(3, generator=rng)
    assert error_of(other.double(), given, VECTOR, rng) > 1e-2


def test_published_nets_have_the_published_shape():
    gravity, charges = raising_linear_net(), raising_net()
    assert [len(layer.dilations) for layer in gravity] == [1, 15, 7, 1]
    assert [[k for k, _ in layer.sig_out.channels] for layer in gravity] == [[0, 1], [0, 1, 2], [1, 3], [1]]
    assert all(layer.orders == (0, 1) for layer in gravity[:3])
    layers = [each for each in charges if isinstance(each, OuterConv)]
    assert [layer.dilations[0] for layer in layers] == [1, 2, 4, 2, 1, 1, 2, 1, 1, 1]
    assert [[k for k, _ in layer.sig_out.channels] for layer in layers[:3]] == [[2, 3], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]
    assert all(layer.orders == (1, 2) and layer.M == 3 for layer in layers[:-1]) and layers[-1].M == 1
    counts = [sum(p.numel() for p in net.parameters()) for net in (gravity, charges, plain_linear_net(), plain_net())]
    assert counts == [814, 6908, 814, 25_920]


def test_published_weights_start_at_a_tenth(rng):
    for net in (raising_net(generator=rng), started(plain_net(generator=rng), rng)):
        weights = torch.cat([p.detach().flatten() for p in net.parameters()])
        assert abs(float(weights.std()) - 0.1) < 0.01 and abs(float(weights.mean())) < 0.01
    assert float(plain_net(generator=rng).last.weight.detach().std()) < 0.09  # what started is for
    one, other = (raising_net(generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(map(torch.equal, one.parameters(), other.parameters()))
    assert complete_net(2, [0, 1]).num_weights < complete_net(2).num_weights


def test_bad_settings_are_refused():
    with pytest.raises(RepresentationError, match=r"orders \[2\] joins input type \(1, 1\)"):
        OuterConv(VECTOR, SCALAR, (2,))
    with pytest.raises(RepresentationError, match=r"joins output type \(4, 1\)"):
        OuterConv(VECTOR, Signature(2, {(2, 1): 1, (4, 1): 1}), (1,))
    with pytest.raises(ShapeError, match="at least one dilation"):
        OuterConv(VECTOR, SCALAR, (1,), ())
    with pytest.raises(ShapeError, match="one d"):
        OuterConv(VECTOR, Signature(3, {(1, 1): 1}), (0,))
