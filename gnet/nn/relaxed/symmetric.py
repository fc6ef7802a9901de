"""Maps that almost have a symmetry: a few more weights than it allows."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from gnet.groups.cluster import SymmetricGroup
from gnet.nn.base import Bias, NodeLinear
from gnet.nn.checks import check_choice
from gnet.nn.weights import ALPHA, Init, Start

Sides = Literal["receiver", "sender"]


class RelaxedLinear(NodeLinear):
    """S_N relaxed: W_ii = D_i for each node, W_ij = O_i of the receiver, or O_j of the sender.

    2 N C C' weights, between the 2 C C' of S_N and the N^2 C C' of no symmetry. Its distance from the maps of S_N is
    sum_i |D_i - mean D|^2 + (N - 1) sum_i |O_i - mean O|^2, whichever side the weights belong to.

    Args:
        by: whose weight is used between two nodes; the published code takes the sender's.
        bias: "orbit" and "shared" are one vector for all nodes, as S_N has it.

    Shapes:
        x: (*, N, C)    returns: (*, N, C')

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, relaxed S_16 of the pose experiment. Wang, Walters and Yu (2022),
        arXiv:2201.11969, on relaxed weight sharing.

    Example:
        >>> layer = RelaxedLinear(4, 2, 5)
        >>> layer, layer(torch.randn(7, 4, 2)).shape
        (RelaxedLinear(2 -> 5 | relaxed S4 | 8 weights per channel pair), torch.Size([7, 4, 5]))
    """

    def __init__(
        self,
        num_nodes: int,
        in_channels: int,
        out_channels: int,
        *,
        by: Sides = "receiver",
        bias: Bias | None = "orbit",
        init: Init = "white",
        gain: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(SymmetricGroup(num_nodes), in_channels, out_channels, bias)
        check_choice("by", by, Sides)
        self.by, self.init, self.gain = by, init, gain
        self.own = nn.Parameter(torch.empty(num_nodes, out_channels, in_channels))
        self.off = nn.Parameter(torch.empty(num_nodes, out_channels, in_channels))
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Normal weights that give outputs variance ``gain``, or uniform in (-1, 1) / sqrt(N C) for "fan_in", as published."""
        start = Start(self.init, self.gain, 0.5, generator)
        num_nodes, channels = self.group.degree, self.in_channels
        if self.init in ("fan_in", "reference"):
            for weight in (self.own, self.off):
                start.fan_in_(weight, num_nodes)
        else:
            start.normal_(self.own, torch.tensor(math.sqrt(ALPHA * self.gain / channels)))
            start.normal_(self.off, torch.tensor(math.sqrt((1 - ALPHA) * self.gain / (channels * max(num_nodes - 1, 1)))))
        self.reset_bias(start)

    @property
    def num_weights(self) -> int:
        """2 N C C'."""
        return self.own.numel() + self.off.numel()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        self.check_input(x)
        nodes = x.movedim(-2, 0).reshape(self.group.degree, -1, self.in_channels)  # (N, B, C)
        own, off = (weight.transpose(1, 2).to(x.dtype) for weight in (self.own, self.off))
        if self.by == "receiver":
            y = torch.bmm(nodes, own) + torch.bmm(nodes.sum(0, keepdim=True) - nodes, off)
        else:
            sent = torch.bmm(nodes, off)
            y = torch.bmm(nodes, own) + (sent.sum(0, keepdim=True) - sent)
        y = y.reshape(self.group.degree, *x.shape[:-2], self.out_channels).movedim(0, -2)
        bias = self.bias_of_places()
        return y if bias is None else y + bias

    def dense(self) -> Tensor:
        """The explicit weight, (N, C', N, C), receiver first: for tests and for looking at."""
        num_nodes = self.group.degree
        between = self.off[:, :, None].expand(-1, -1, num_nodes, -1)  # of the receiver
        if self.by == "sender":
            between = between.transpose(0, 2)
        same = torch.eye(num_nodes, dtype=torch.bool, device=self.off.device)[:, None, :, None]
        return torch.where(same, self.own[:, :, None], between)

    def __repr__(self) -> str:
        channels = f"{self.in_channels} -> {self.out_channels}"
        return f"RelaxedLinear({channels} | relaxed S{self.group.degree} | {2 * self.group.degree} weights per channel pair)"
