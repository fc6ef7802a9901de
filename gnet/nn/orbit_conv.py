"""Convolution on the edges of a graph with one weight per edge orbit."""

from typing import Literal

import torch
from torch import Tensor, nn

from gnet.groups.base import NodeGroup
from gnet.kernels.sparse import RowIndex, sparse_linear
from gnet.nn.checks import check_channels, check_choice, check_placement, check_shape
from gnet.nn.weights import Start
from gnet.orbits import PairOrbits


class OrbitConv(nn.Module):
    """Every equivariant linear map (*, N, C) -> (*, N, C') along the given edges only: one weight per edge orbit.

        y_i = sum_{j -> i} W_{o(j, i)} x_j + b_{o(i)}

    The edges must be a union of orbits (``close_edges`` adds what is missing). Any support does: the edges of the graph, the
    pairs within r hops, the edges between clusters. Translations of a torus give the usual convolution of an image.

    Args:
        edge_index: (2, E), senders first; duplicates count once.
        add_self_loops: let each node see itself, one weight per node orbit.
        bias: one vector per node orbit ("orbit"), one for all nodes ("shared"), or None.
        gain: variance of the output per unit of input second moment at the start, for white inputs.

    Shapes:
        x: (*, N, C)    returns: (*, N, C')

    Raises:
        GraphError: edges that are no union of orbits; the message names an edge and its missing image.
        ShapeError: x is not (*, N, C), or has another dtype or device than the weights.

    References:
        Ravanbakhsh, Schneider and Poczos (2017), arXiv:1702.08389: parameters shared along orbits.

    Example:
        >>> ring = torch.tensor([[0, 1, 2, 3, 1, 2, 3, 0], [1, 2, 3, 0, 0, 1, 2, 3]])
        >>> turns = PermutationGroup([[1, 2, 3, 0]])
        >>> layer = OrbitConv(turns, 2, 5, ring)
        >>> layer, layer(torch.randn(7, 4, 2)).shape
        (OrbitConv(2 -> 5 | <1 generator on 4 nodes> | 3 weights per channel pair on 12 edges), torch.Size([7, 4, 5]))
    """

    bias: nn.Parameter | None
    bias_rows: Tensor
    senders: Tensor
    rows: Tensor
    receivers: Tensor
    row_orbits: Tensor

    def __init__(
        self,
        group: NodeGroup,
        in_channels: int,
        out_channels: int,
        edge_index: Tensor,
        *,
        add_self_loops: bool = True,
        bias: Literal["orbit", "shared"] | None = "orbit",
        gain: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_choice("bias", bias, ("orbit", "shared", None))
        check_channels(in_channels, out_channels)
        self.group, self.in_channels, self.out_channels, self.gain = group, in_channels, out_channels, gain
        self.orbits = PairOrbits.on(group, _support(edge_index, group.degree, add_self_loops))
        index = RowIndex.of(self.orbits.edge_index, self.orbits.orbits, group.degree, self.orbits.count)
        for name, tensor in index.tensors().items():
            self.register_buffer("row_orbits" if name == "orbits" else name, tensor, persistent=False)
        self.sizes = index.sizes
        self.weight = nn.Parameter(torch.empty(self.orbits.count, out_channels, in_channels))
        node_orbits = group.node_orbits()
        num_biases = {"orbit": node_orbits.num_clusters, "shared": 1, None: 0}[bias]
        self.register_parameter("bias", nn.Parameter(torch.empty(num_biases, out_channels)) if num_biases else None)
        rows = node_orbits.labels
        self.register_buffer("bias_rows", torch.zeros_like(rows) if bias == "shared" else rows, persistent=False)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Normal weights: every orbit at a receiver has the same share of the output's variance; zero bias."""
        start = Start("white", self.gain, 0.5, generator)
        senders = torch.bincount(self.rows.cpu(), minlength=len(self.receivers))
        kinds = torch.bincount(self.receivers.cpu(), minlength=self.group.degree)[self.receivers.cpu()]
        # All rows of an orbit have as many senders, and their receivers as many orbits: they are images of one another.
        spread = torch.ones(self.orbits.count, dtype=torch.long)
        spread[self.row_orbits.cpu()] = senders * kinds
        start.normal_(self.weight, torch.sqrt(self.gain / (self.in_channels * spread))[:, None, None])
        if self.bias is not None:
            start.uniform_(self.bias, 0.0)

    @property
    def support(self) -> Tensor:
        """The pairs of nodes (2, E), senders first, that the layer connects, self-loops included."""
        return self.orbits.edge_index

    @property
    def num_weights(self) -> int:
        """Edge orbits times C C'."""
        return self.weight.numel()

    @property
    def num_parameters(self) -> int:
        """Trained scalars, biases included."""
        return sum(p.numel() for p in self.parameters())

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        check_shape(x, self.group.degree, self.in_channels)
        check_placement(x, self.weight)
        index = RowIndex(self.senders, self.rows, self.receivers, self.row_orbits, self.sizes, self.group.degree)
        y = sparse_linear(x, self.weight, index)
        return y if self.bias is None else y + self.bias.index_select(0, self.bias_rows)

    def dense(self) -> Tensor:
        """The explicit weight, (N, C', N, C), receiver first: for tests and for looking at."""
        return self.orbits.matrix(self.weight)

    def dense_bias(self) -> Tensor | None:
        """The bias of each node, (N, C'), or None."""
        return None if self.bias is None else self.bias[self.bias_rows]

    def __repr__(self) -> str:
        count, edges = self.orbits.count, self.orbits.edge_index.shape[1]
        weights = f"{count} weight{'' if count == 1 else 's'} per channel pair on {edges} edges"
        return f"OrbitConv({self.in_channels} -> {self.out_channels} | {self.group.name} | {weights})"


def _support(edge_index: Tensor, num_nodes: int, add_self_loops: bool) -> Tensor:
    """The edges, each once, with every node's own if that is wanted."""
    edges = torch.as_tensor(edge_index).detach().cpu().long()
    loops = torch.arange(num_nodes if add_self_loops else 0).expand(2, -1)
    return torch.unique(torch.cat([edges, loops], 1), dim=1)
