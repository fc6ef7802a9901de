"""The nets of the toy tasks: the published GI-Nets, GI-Nets with all linear maps, and the CNNs beside them.

All but ``complete_net`` are without biases. What the paper leaves open is decided here, and not by any loss: the published nets
have two channels of each order (for gravity that makes as many weights as the CNN with two channels has), contractions are all
ways to pair indices, and scalars are added to the tensors that they were contracted from.
"""

from collections.abc import Collection, Sequence

import torch
from torch import nn

from gnet.plugins.geometric_images.convolve import Padding
from gnet.plugins.geometric_images.layers import ConvContract
from gnet.plugins.geometric_images.multi import Signature
from gnet.plugins.geometric_images.net import GINet, PlainCNN, PlainConv
from gnet.plugins.geometric_images.raising import START, ContractedScalars, OuterConv

DILATIONS = (1, 2, 4, 2, 1, 1, 2, 1)
"""Of the published nets for moving charges."""
LARGEST_ORDER = 5
"""Of the tensors in the published net for moving charges."""
Reach = int | Sequence[int]


def linear_reaches(side: int) -> list[Reach]:
    """Dilations of the three convolutions of the nets for gravity: 1, then all below N in parallel, then all below N / 2.

    Example:
        >>> linear_reaches(8)
        [1, [1, 2, 3, 4, 5, 6, 7], [1, 2, 3]]
    """
    return [1, list(range(1, side)), list(range(1, side // 2))]


def raising_linear_net(
    channels: int = 2, side: int = 16, *, padding: Padding = "zero", generator: torch.Generator | None = None
) -> nn.Sequential:
    """The published net for gravity, a linear map from scalars to vectors: orders rise from layer to layer.

    A convolution (orders 0, 1), the sum of convolutions with dilations 1 to 15, each with weights of its own (0, 1, 2), the sum
    of those with dilations 1 to 7 (1, 3: a vector is made of no others), and a linear combination of all contractions to vectors.
    Filters are of orders 0 and 1, M = 3. First weights are 0.1 N(0, 1).

    Args:
        channels: of each order.
        side: pixels per axis, N.

    Shapes:
        x: (B, 1, N, N)    returns: (B, 2, N, N)

    References:
        Gregory et al. (2023), arXiv:2305.12585, section 7.1.

    Example:
        >>> raising_linear_net(side=8)[-1]
        OuterConv(2 x 1(+) + 2 x 3(+) -> 1 x 1(+) in d = 2 | M = 1 | orders 0 | 8 weights)
    """
    sigs = [_orders(channels, orders) for orders in ((0, 1), (0, 1, 2), (1, 3))]
    layers, given = [], Signature(2, {(0, 1): 1})
    for sig, reach in zip(sigs, linear_reaches(side), strict=True):
        layers.append(OuterConv(given, sig, (0, 1), reach, padding=padding, generator=generator))
        given = sig
    last = OuterConv(given, Signature(2, {(1, 1): 1}), (0,), M=1, padding=padding, generator=generator)
    return nn.Sequential(*layers, last)


def raising_net(
    channels: int = 2,
    dilations: Sequence[int] = DILATIONS,
    largest: int = LARGEST_ORDER,
    *,
    padding: Padding = "zero",
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """The published net for moving charges, from vectors to vectors.

    For each dilation a convolution with filters of orders 1 and 2, M = 3, whose results of orders above ``largest`` are
    contracted to it or to one below, in all ways; then leaky ReLUs on the scalars that contractions make of even orders, as
    further channels. At the end a convolution (odd orders), and a linear combination of all contractions to vectors. First
    weights are 0.1 N(0, 1).

    Args:
        channels: of each order; time grows with the square.
        dilations: of the hidden layers.
        largest: order of tensors.

    Shapes:
        x: (B, 2, N, N)    returns: (B, 2, N, N)

    References:
        Gregory et al. (2023), arXiv:2305.12585, section 7.2.

    Example:
        >>> net = raising_net(1, dilations=(1, 2))
        >>> net[2].sig_in
        Signature(1 x 0(+) + 1 x 2(+) + 1 x 3(+) in d = 2)
        >>> net[2].sig_out
        Signature(1 x 1(+) + 1 x 2(+) + 1 x 3(+) + 1 x 4(+) + 1 x 5(+) in d = 2)
    """
    given, layers = Signature(2, {(1, 1): 1}), []
    for dilation in dilations:
        sig = _raised_by(given, (1, 2), channels, largest)
        gate = ContractedScalars(sig)
        layers += [OuterConv(given, sig, (1, 2), dilation, padding=padding, generator=generator), gate]
        given = gate.sig_out
    odd = _orders(channels, [k for k, _ in _raised_by(given, (1, 2), channels, largest).channels if k % 2])
    layers.append(OuterConv(given, odd, (1, 2), padding=padding, generator=generator))
    layers.append(OuterConv(odd, Signature(2, {(1, 1): 1}), (0,), M=1, padding=padding, generator=generator))
    return nn.Sequential(*layers)


def _orders(channels: int, orders: Collection[int]) -> Signature:
    return Signature(2, {(k, 1): channels for k in orders})


def _raised_by(given: Signature, filters: Collection[int], channels: int, largest: int) -> Signature:
    """All orders that a convolution makes; those above ``largest`` become ``largest`` or one below."""
    sums = {k + order for k, _ in given.channels for order in filters}
    return _orders(channels, {k if k <= largest else largest - (k - largest) % 2 for k in sums})


def complete_linear_net(
    channels: int = 2,
    side: int = 16,
    filters: Collection[int] | None = None,
    *,
    padding: Padding = "zero",
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """The same dilations between scalars and vectors by all linear maps; no higher orders are kept.

    Args:
        filters: orders of filters, None for all maps.

    Shapes:
        x: (B, 1, N, N)    returns: (B, 2, N, N)

    Example:
        >>> complete_linear_net(side=8)[0]
        ConvContract(1 x 0(+) -> 2 x 0(+) + 2 x 1(+) in d = 2 | M = 3 | 10 weights)
    """
    layers, given, hidden = [], Signature(2, {(0, 1): 1}), _orders(channels, (0, 1))
    for reach in linear_reaches(side):
        layers.append(ConvContract(given, hidden, filters, reach, padding=padding, bias=False, generator=generator))
        given = hidden
    last = ConvContract(hidden, Signature(2, {(1, 1): 1}), M=1, padding=padding, bias=False, generator=generator)
    return nn.Sequential(*layers, last)


def complete_net(
    channels: int = 8,
    filters: Collection[int] | None = None,
    *,
    padding: Padding = "zero",
    generator: torch.Generator | None = None,
) -> GINet:
    """The same dilations between scalars and vectors by all linear maps, gated by scalars; scalars have biases.

    Args:
        channels: of scalars and of vectors.
        filters: orders of filters, None for all maps.

    Shapes:
        x: (B, 2, N, N)    returns: (B, 2, N, N)

    Example:
        >>> complete_net().num_weights
        7744
    """
    vector, hidden = Signature(2, {(1, 1): 1}), _orders(channels, (0, 1))
    return GINet(vector, hidden, vector, DILATIONS, gate="scalars", filters=filters, padding=padding, generator=generator)


def plain_linear_net(channels: int = 2, side: int = 16, *, generator: torch.Generator | None = None) -> nn.Sequential:
    """The CNN beside the nets for gravity: free scalar filters of 3 x 3 pixels with the same dilations.

    Shapes:
        x: (B, 1, N, N)    returns: (B, 2, N, N)

    Example:
        >>> sum(p.numel() for p in plain_linear_net().parameters())
        814
    """
    layers, given = [], 1
    for reach in linear_reaches(side):
        layers.append(PlainConv(given, channels, dilation=reach, padding="zero", bias=False, generator=generator))
        given = channels
    return nn.Sequential(*layers, PlainConv(given, 2, M=1, padding="zero", bias=False, generator=generator))


def plain_net(channels: int = 20, *, generator: torch.Generator | None = None) -> PlainCNN:
    """The CNN beside the nets for moving charges.

    Shapes:
        x: (B, 2, N, N)    returns: (B, 2, N, N)

    Example:
        >>> sum(p.numel() for p in plain_net().parameters())
        25920
    """
    return PlainCNN(2, channels, 2, DILATIONS, act=nn.LeakyReLU, padding="zero", bias=False, generator=generator)


def started(net: nn.Module, generator: torch.Generator | None = None) -> nn.Module:
    """The same net with the published first weights, 0.1 N(0, 1).

    Example:
        >>> net = started(plain_net(), torch.Generator().manual_seed(0))
        >>> round(float(net.last.weight.detach().std()), 2)
        0.1
    """
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(START * torch.randn(weight.shape, generator=generator))
    return net
