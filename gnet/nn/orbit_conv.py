"""Convolution on the edges of a graph with one weight per edge orbit."""

import torch
from torch import Tensor, nn

from gnet.groups.base import NodeGroup
from gnet.kernels.sparse import RowIndex, sparse_linear
from gnet.nn.base import Bias, NodeLinear
from gnet.nn.weights import Kept, Start
from gnet.nn.window import Window
from gnet.orbits import PairOrbits, check_edges


class OrbitConv(NodeLinear):
    """Every equivariant linear map (*, N, C) -> (*, N, C') along the given edges only: one weight per edge orbit.

        y_i = sum_{j -> i} W_{o(j, i)} x_j + b_{o(i)}

    The edges must be a union of orbits (``close_edges`` adds what is missing). Any support does: the edges of the graph, the
    pairs within r hops (``within_hops``), the edges between clusters. Translations of a torus give the usual convolution of an
    image, which torch computes.

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

    def __init__(
        self,
        group: NodeGroup,
        in_channels: int,
        out_channels: int,
        edge_index: Tensor,
        *,
        add_self_loops: bool = True,
        bias: Bias | None = "orbit",
        gain: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(group, in_channels, out_channels, bias)
        self.gain = gain
        self.orbits = PairOrbits.on(group, _support(edge_index, group.degree, add_self_loops))
        self.rows = Kept(RowIndex.of(self.orbits.edge_index, self.orbits.orbits, group.degree, self.orbits.count))
        self.window = Window.of(group, self.orbits)
        self.weight = nn.Parameter(torch.empty(self.orbits.count, out_channels, in_channels))
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Normal weights: every orbit at a receiver has the same share of the output's variance; zero bias."""
        start = Start("white", self.gain, 0.5, generator)
        index = self.rows()
        receivers = index.receivers.cpu()
        senders = torch.bincount(index.rows.cpu(), minlength=len(receivers))
        kinds = torch.bincount(receivers, minlength=self.group.degree)[receivers]
        # All rows of an orbit have as many senders, and their receivers as many orbits: they are images of one another.
        spread = torch.ones(self.orbits.count, dtype=torch.long)
        spread[index.orbits.cpu()] = senders * kinds
        start.normal_(self.weight, torch.sqrt(self.gain / (self.in_channels * spread))[:, None, None])
        self.reset_bias(start)

    @property
    def support(self) -> Tensor:
        """The pairs of nodes (2, E), senders first, that the layer connects, self-loops included."""
        return self.orbits.edge_index

    @property
    def num_weights(self) -> int:
        """Edge orbits times C C'."""
        return self.weight.numel()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        self.check_input(x)
        y = sparse_linear(x, self.weight, self.rows()) if self.window is None else self.window.convolve(x, self.weight)
        bias = self.bias_of_places()
        return y if bias is None else y + bias

    def dense(self) -> Tensor:
        """The explicit weight, (N, C', N, C), receiver first: for tests and for looking at."""
        return self.orbits.matrix(self.weight)

    def __repr__(self) -> str:
        count, edges = self.orbits.count, self.orbits.edge_index.shape[1]
        weights = f"{count} weight{'' if count == 1 else 's'} per channel pair on {edges} edges"
        return f"OrbitConv({self.in_channels} -> {self.out_channels} | {self.group.name} | {weights})"


def _support(edge_index: Tensor, num_nodes: int, add_self_loops: bool) -> Tensor:
    """The edges, each once, with every node's own if that is wanted."""
    edges = check_edges(edge_index, num_nodes)
    loops = torch.arange(num_nodes if add_self_loops else 0).expand(2, -1)
    senders, receivers = torch.cat([edges, loops], 1)
    codes = torch.unique(senders * num_nodes + receivers)
    return torch.stack([codes // num_nodes, codes % num_nodes])
