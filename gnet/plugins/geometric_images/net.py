"""GI-Nets: stacks of convolutions with invariant filters and equivariant nonlinearities, and the plain CNNs beside them."""

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor, nn

from gnet.counts import check_count
from gnet.errors import ConfigError, RepresentationError, ShapeError
from gnet.nn.checks import no_tensor
from gnet.plugins.geometric_images.convolve import Padding, checked_dilations, dilated_sum
from gnet.plugins.geometric_images.gates import make_gate
from gnet.plugins.geometric_images.layers import ConvContract, has_bias
from gnet.plugins.geometric_images.multi import MultiImage, Signature, Type
from gnet.plugins.geometric_images.weighted import check_signal, through


class GINet(nn.Module):
    """A net from multi-images to multi-images that commutes with translations (of a torus) and signed permutations.

    A ``ConvContract`` and a nonlinearity for each entry of ``dilations``, then a last ``ConvContract``.

    Args:
        sig_in, hidden, sig_out: types and channels.
        dilations: of the hidden layers, one each.
        gate: "norm", "scalars", "products", "contract" or "odd".
        filters: orders of the invariant filters; None is all maps.
        M: side of the filters.
        padding: "torus" or "zero".
        residual: add the input of every hidden layer but the first to its output.
        bias: of scalars, wherever there are any; True or False, or types, see ``ConvContract``.
        generator: of the first weights.

    Shapes:
        x: (B, sig_in.size, N, ..., N), or a MultiImage    returns: (B, sig_out.size, N, ..., N), or a MultiImage

    Raises:
        ConfigError: no sequence of dilations, none in it, an unknown nonlinearity, or see ``ConvContract``.
        RepresentationError: an order of filters that makes no map in some layer, or a type whose channels would be 0 for every
            input, since no filters reach it.

    References:
        Gregory, Hogg, Blum-Smith, Arias, Wong and Villar (2023), arXiv:2305.12585, section 5.

    Example:
        >>> flow = Signature(2, {(1, 1): 1})
        >>> net = GINet(flow, Signature(2, {(0, 1): 4, (0, -1): 4, (1, 1): 4}), flow, dilations=(1, 2))
        >>> net
        GINet(1 x 1(+) -> (4 x 0(+) + 4 x 0(-) + 4 x 1(+)) x 2 -> 1 x 1(+) in d = 2 | M = 3 | dilations 1, 2 | norm | 376 weights)
        >>> net(torch.randn(3, 2, 16, 16)).shape
        torch.Size([3, 2, 16, 16])
    """

    def __init__(
        self,
        sig_in: Signature,
        hidden: Signature,
        sig_out: Signature,
        dilations: Sequence[int] = (1, 1),
        *,
        gate: str = "norm",
        filters: Collection[int] | None = None,
        M: int = 3,
        padding: Padding = "torus",
        residual: bool = False,
        bias: bool | Collection[Type] = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        dilations = _one_each(dilations)
        self.sig_in, self.sig_out, self.padding, self.residual = sig_in, sig_out, padding, residual
        self.layers, self.gates = nn.ModuleList(), nn.ModuleList()
        self.hidden, self.dilations, self.gate = hidden, dilations, gate
        gates = [make_gate(gate, hidden) for _ in dilations]
        given, biased = sig_in, _some_bias([*(each.sig_in for each in gates), sig_out], bias)
        for dilation, nonlinear in zip(dilations, gates, strict=True):
            self.layers.append(
                ConvContract(given, nonlinear.sig_in, filters, dilation, M=M, padding=padding, bias=biased, generator=generator)
            )
            self.gates.append(nonlinear)
            given = hidden
        self.last = ConvContract(hidden, sig_out, filters, M=M, padding=padding, bias=biased, generator=generator)
        self._check_reached()

    def _check_reached(self) -> None:
        """Refuse channels that are 0 for every input."""
        given, ever = set(self.sig_in.channels), set[Type]()
        for index, (layer, gate) in enumerate(zip(self.layers, self.gates, strict=True)):
            made = gate.reached(layer.reached(given) | ({(0, 1)} if layer.bias is not None else set()))  # type: ignore[operator]
            given = made | given if self.residual and index else made
            ever |= made
        for name, sig, reached in (("hidden", self.hidden, ever), ("sig_out", self.sig_out, self.last.reached(given))):
            if lost := [kind for kind in sig.channels if kind not in reached]:
                raise RepresentationError(
                    f"no filters of side {self.last.M} reach type {lost[0]} of {name} from {self.sig_in!r}: its channels would "
                    "be 0; leave it out, take a larger M, or other hidden types"
                )

    @property
    def num_weights(self) -> int:
        """Of all convolutions, biases left out."""
        return sum(layer.num_weights for layer in [*self.layers, self.last])

    def forward(self, x: Tensor | MultiImage) -> Tensor | MultiImage:
        """Apply all layers."""
        if isinstance(x, MultiImage):
            return through(self, x, self.sig_in, self.sig_out, self.padding)
        for index, (layer, gate) in enumerate(zip(self.layers, self.gates, strict=True)):
            y = gate(layer(x))
            x = x + y if self.residual and index else y
        return self.last(x)

    def __repr__(self) -> str:
        ins, between, outs = (sig.words for sig in (self.sig_in, self.hidden, self.sig_out))
        return (
            f"GINet({ins} -> ({between}) x {len(self.dilations)} -> {outs} in d = {self.sig_in.d} | M = {self.last.M} | "
            f"dilations {', '.join(map(str, self.dilations))} | {self.gate} | {self.num_weights} weights)"
        )


def _one_each(dilations: Sequence[int]) -> tuple[int, ...]:
    """Dilations of hidden layers."""
    if not isinstance(dilations, Iterable):
        raise ConfigError(f"expected dilations as a sequence, one for each hidden layer, such as (1, 2, 1), got {dilations!r}")
    found = tuple(dilations)
    if not found:
        raise ConfigError("expected a dilation for each hidden layer, got none; a linear map is one layer")
    for each in found:
        check_count(dilation=each)
    return tuple(int(each) for each in found)


def _some_bias(signatures: Sequence[Signature], bias: bool | Collection[Type]) -> bool:
    """Whether layers have biases; one of the signatures has to have the types of them."""
    return has_bias(next((sig for sig in signatures if (0, 1) in sig.channels), signatures[0]), bias)


class PlainConv(nn.Module):
    """A convolution with free filters, the layer of a CNN, with the same borders as ``ConvContract`` has.

    Shapes:
        x: (B, C, N, ..., N)    returns: (B, C', N, ..., N)

    Raises:
        ShapeError: an even M, no dilations, or x of another shape, dtype or device.
        ConfigError: numbers below one, or not whole, or an unknown padding.

    Example:
        >>> PlainConv(2, 5, dilation=2)(torch.randn(4, 2, 8, 8)).shape
        torch.Size([4, 5, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        d: int = 2,
        M: int = 3,
        dilation: int | Sequence[int] = 1,
        padding: Padding = "torus",
        bias: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_count(in_channels=in_channels, out_channels=out_channels, d=d)
        self.dilations, self.padding = checked_dilations(M, dilation, padding), padding
        shape = (len(self.dilations), out_channels, in_channels, *[M] * d)
        deviation = (len(self.dilations) * in_channels * M**d) ** -0.5
        self.weight = nn.Parameter(deviation * torch.randn(shape, generator=generator))
        self.bias = nn.Parameter(torch.zeros(out_channels, *[1] * d)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """One convolution for each dilation."""
        channels, d = self.weight.shape[2], self.weight.ndim - 3
        if not isinstance(x, Tensor) or x.ndim != 2 + d or x.shape[1] != channels:
            got = tuple(x.shape) if isinstance(x, Tensor) else no_tensor(x)
            raise ShapeError(f"expected x of shape (B, {channels}, {d} axes of pixels), got {got}")
        check_signal(x, self.weight)
        y = dilated_sum(x, self.weight, self.dilations, self.padding)
        return y if self.bias is None else y + self.bias


class PlainCNN(nn.Module):
    """A CNN of the shape of a ``GINet``: a convolution and an activation for each dilation, then a last convolution.

    Shapes:
        x: (B, in_channels, N, ..., N)    returns: (B, out_channels, N, ..., N)

    Raises:
        ConfigError, ShapeError: see ``PlainConv``; at least one dilation is expected.

    Example:
        >>> net = PlainCNN(2, 20, 2, dilations=(1, 2, 4, 2, 1, 1, 2, 1), padding="zero", bias=False)
        >>> sum(p.numel() for p in net.parameters())
        25920
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        dilations: Sequence[int] = (1, 1),
        *,
        act: type[nn.Module] = nn.SiLU,
        d: int = 2,
        M: int = 3,
        padding: Padding = "torus",
        residual: bool = False,
        bias: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.residual, self.act, self.layers = residual, act(), nn.ModuleList()
        given = in_channels
        for dilation in _one_each(dilations):
            self.layers.append(
                PlainConv(given, hidden_channels, d=d, M=M, dilation=dilation, padding=padding, bias=bias, generator=generator)
            )
            given = hidden_channels
        self.last = PlainConv(given, out_channels, d=d, M=M, padding=padding, bias=bias, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Apply all layers."""
        for index, layer in enumerate(self.layers):
            y = self.act(layer(x))
            x = x + y if self.residual and index else y
        return self.last(x)
