"""What every equivariant linear layer has: a group, channels, a bias per node orbit, and checks of its input."""

from typing import Literal

import torch
from torch import Tensor, nn

from gnet.groups.base import NodeGroup, check_node_group
from gnet.nn.checks import check_channels, check_choice, check_placement, check_shape
from gnet.nn.weights import Start

Bias = Literal["orbit", "shared"]


class NodeLinear(nn.Module):
    """Base of the linear maps (*, N, C) -> (*, N, C') that commute with a group of nodes.

    A subclass makes its weights, then calls ``reset_bias``; it adds ``bias_of_places`` in ``forward``.

    Args:
        bias: one vector per node orbit ("orbit"), which is all that equivariance allows, one for all nodes ("shared"), or None.
        places: the nodes that ``bias_of_places`` has a row for, such as one of each cluster; by default all nodes.

    Raises:
        ConfigError: numbers of channels below one, or an unknown bias.
    """

    bias: nn.Parameter | None
    bias_rows: Tensor

    def __init__(
        self, group: NodeGroup, in_channels: int, out_channels: int, bias: Bias | None, places: Tensor | None = None
    ) -> None:
        super().__init__()
        check_choice("bias", bias, ("orbit", "shared", None))
        check_channels(in_channels, out_channels)
        check_node_group(group)
        self.group, self.in_channels, self.out_channels, self.bias_kind = group, in_channels, out_channels, bias
        orbits = group.node_orbits()
        rows = orbits.labels if places is None else orbits.labels[places]
        num_biases = {"orbit": orbits.num_clusters, "shared": 1, None: 0}[bias]
        self.register_parameter("bias", nn.Parameter(torch.empty(num_biases, out_channels)) if num_biases else None)
        self.register_buffer("bias_rows", torch.zeros_like(rows) if bias == "shared" else rows, persistent=False)

    def reset_bias(self, start: Start) -> None:
        """Biases start at zero, or uniform in (-1, 1) / sqrt(C') as published."""
        if self.bias is not None:
            start.uniform_(self.bias, self.out_channels**-0.5 if start.rule == "reference" else 0.0)

    def bias_of_places(self) -> Tensor | None:
        """The bias of each place, (places, C'), or None without."""
        return None if self.bias is None else self.bias.index_select(0, self.bias_rows)

    def dense_bias(self) -> Tensor | None:
        """The bias of each node, (N, C'), or None."""
        return self.bias_of_places()

    @property
    def num_parameters(self) -> int:
        """Trained scalars, biases included."""
        return sum(p.numel() for p in self.parameters())

    def check_input(self, x: Tensor) -> None:
        """Refuse an x of another shape, dtype or device.

        Raises:
            ShapeError: it is.
        """
        check_shape(x, self.group.degree, self.in_channels)
        check_placement(x, next(self.parameters()))
