"""What a graph does inside a net: averages over neighbours behind an equivariant map, or weights within it."""

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from gnet.errors import ConfigError
from gnet.graphs.edges import checked_edges, shares
from gnet.groups.base import NodeGroup
from gnet.groups.kept import symmetries_within
from gnet.kernels.segments import segment_softmax
from gnet.kernels.sparse import FixedNumbers, RowIndex, sparse_linear, spread
from gnet.nn.base import Bias, NodeLinear
from gnet.nn.checks import check_choice, check_shape
from gnet.nn.linear import EquivariantLinear
from gnet.nn.weights import Init, Kept, Start
from gnet.orbits import PairOrbits

Propagation = Literal["none", "graph", "edge_weights", "pointwise", "self"]


class Support(nn.Module):
    """The pairs of nodes that exchange signals, edges and self-loops, with a row-stochastic weight for each.

    Without training the weights are D^-1 (A + I), with D the row sums; trained ones are a softmax over the senders of each
    receiver and start there. They are exactly zero off the support. An edge of weight 0 is none; a node that has a loop keeps
    its weight, all others get one of weight 1.

    Args:
        trained: learn a logit for each pair.
        tied: one logit for each orbit of pairs under those elements of ``group`` that keep the graph, which stays exact.

    Raises:
        GraphError: impossible edges, negative weights, or some that are negligible beside others of the same receiver.
        ConfigError: ``tied`` with a group whose common symmetries with the graph cannot be found.

    Example:
        >>> support = Support(SymmetricGroup(3), torch.tensor([[0, 1], [1, 0]]))
        >>> support.dense()
        tensor([[0.5000, 0.5000, 0.0000],
                [0.5000, 0.5000, 0.0000],
                [0.0000, 0.0000, 1.0000]])
    """

    logits: nn.Parameter | None
    senders: Tensor
    receivers: Tensor
    own: Tensor
    logit_rows: Tensor

    def __init__(
        self,
        group: NodeGroup,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        *,
        trained: bool = False,
        tied: bool = False,
    ) -> None:
        super().__init__()
        self.num_nodes = n = group.degree
        given = Data(edge_index=edge_index, edge_weight=edge_weight, num_nodes=n)
        edges = checked_edges(given)
        kept = edges.weight > 0
        codes = edges.index[1, kept] * n + edges.index[0, kept]  # by receiver
        loops = torch.arange(n) * (n + 1)
        loops = loops[~torch.isin(loops, codes)]
        codes, place = torch.unique(torch.cat([codes, loops]), return_inverse=True)
        ones = torch.ones(len(loops), dtype=torch.float64)
        weight = torch.zeros(len(codes), dtype=torch.float64).index_add(0, place, torch.cat([edges.weight[kept].double(), ones]))
        receivers, senders = codes // n, codes % n
        self.register_buffer("senders", senders, persistent=False)
        self.register_buffer("receivers", receivers, persistent=False)
        self.register_buffer("own", (senders == receivers).nonzero().flatten(), persistent=False)  # of each node its loop
        self.edge_weight = weight  # not rounded, and read when weights are drawn only
        parts = shares(weight, receivers, n)
        self.fixed = None if trained else FixedNumbers(parts)
        rows = torch.arange(len(codes))
        if tied:
            rows = PairOrbits.on(symmetries_within(group, given), torch.stack([senders, receivers])).orbits
        self.register_buffer("logit_rows", rows, persistent=False)
        self.register_parameter("logits", nn.Parameter(torch.empty(int(rows.max()) + 1)) if trained else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Logits whose softmax is D^-1 (A + I)."""
        if self.logits is not None:
            with torch.no_grad():
                self.logits[self.logit_rows] = self.edge_weight.log().to(self.logits)

    def weights(self) -> Tensor:
        """The weight of each pair, (E,)."""
        if self.logits is None:
            return cast(FixedNumbers, self.fixed)()
        return segment_softmax(self.logits.index_select(0, self.logit_rows), self.receivers, self.num_nodes)

    def dense(self) -> Tensor:
        """The matrix S, (N, N), receiver first."""
        weights = self.weights()
        return weights.new_zeros(self.num_nodes, self.num_nodes).index_put((self.receivers, self.senders), weights)


class Propagate(NodeLinear):
    """``S x + b``: every node receives a weighted mean over itself and its neighbours.

    Behind a map f of a group G it makes the graph convolution S f(x) + b, exactly equivariant to the elements of G that keep S:
    those of Aut(A) for fixed weights, none for certain once free weights have been trained, and those of Aut(A) again with tied
    ones. Its distance from G is at most that of S from G, in the operator norm, times the norm of f (the other two are Frobenius
    norms).

    Args:
        channels: C.
        trained: learn the weights (gc+ew); else they are D^-1 (A + I) (gc).
        tied: see ``Support``.
        only_self: keep what a node receives from itself alone, as the published code of the pose experiment does (by mistake).

    Shapes:
        x: (*, N, C)    returns: (*, N, C)

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, section on G-Net(gc) and G-Net(gc+ew). Zhao et al. (2019),
        arXiv:1904.03345, for the softmax of learned edge weights.

    Example:
        >>> edges = torch.tensor([[0, 1], [1, 0]])
        >>> Propagate(SymmetricGroup(3), 1, edges, bias=None)(torch.tensor([[2.0], [4.0], [6.0]])).flatten()
        tensor([3., 3., 6.])
    """

    def __init__(
        self,
        group: NodeGroup,
        channels: int,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        *,
        trained: bool = False,
        tied: bool = False,
        only_self: bool = False,
        bias: Bias | None = "orbit",
        init: Init = "white",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(group, channels, channels, bias)
        self.support = Support(group, edge_index, edge_weight, trained=trained, tied=tied)
        self.only_self, self.init = only_self, init
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """The weights of the graph; biases as in the other layers."""
        self.support.reset_parameters()
        self.reset_bias(Start(self.init, 1.0, 0.5, generator))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        check_shape(x, self.group.degree, self.in_channels)
        support, weights = self.support, self.support.weights()
        if self.only_self:
            y = x * weights.index_select(0, support.own).to(x.dtype)[:, None]
        else:
            y = spread(x, support.senders, support.receivers, weights, support.num_nodes)
        bias = self.bias_of_places()
        return y if bias is None else y + bias

    def matrix(self) -> Tensor:
        """S, (N, N), receiver first."""
        dense = self.support.dense()
        return dense.diagonal().diag() if self.only_self else dense

    def extra_repr(self) -> str:
        """What the weights are."""
        pairs = f"{len(self.support.senders)} pairs"
        if self.support.logits is None:
            return f"{pairs}, fixed"
        return f"{pairs}, {len(self.support.logits)} trained" + (", from itself alone" if self.only_self else "")


class PointwiseLinear(NodeLinear):
    """``(E . W) x + b``: an equivariant map whose every entry is weighted by the graph, and zero where there is no edge.

    The weights E of the graph are trained as in ``Support``; W is that of ``EquivariantLinear``. Exactly equivariant to the
    elements of G that keep E.

    Shapes:
        x: (*, N, C)    returns: (*, N, C')

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, G-Net(pt).

    Example:
        >>> layer = PointwiseLinear(SymmetricGroup(3), 2, 5, torch.tensor([[0, 1], [1, 0]]))
        >>> layer(torch.randn(7, 3, 2)).shape, layer.num_parameters  # 2 * 2 * 5 of S3, 5 pairs, 5 biases
        (torch.Size([7, 3, 5]), 30)
    """

    def __init__(
        self,
        group: NodeGroup,
        in_channels: int,
        out_channels: int,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        *,
        tied: bool = False,
        bias: Bias | None = "orbit",
        generator: torch.Generator | None = None,
        **linear: object,
    ) -> None:
        super().__init__(group, in_channels, out_channels, bias)
        self.linear = EquivariantLinear(group, in_channels, out_channels, bias=None, generator=generator, **linear)  # type: ignore[arg-type]
        self.support = Support(group, edge_index, edge_weight, trained=True, tied=tied)
        senders, receivers = self.support.senders, self.support.receivers
        used, orbits = torch.unique(self.linear.orbits.labels_of(receivers, senders), return_inverse=True)
        order = torch.argsort(orbits * group.degree + receivers, stable=True)  # that of the rows of the kernel
        self.register_buffer("used", used, persistent=False)
        self.register_buffer("order", order, persistent=False)
        self.rows = Kept(RowIndex.of(torch.stack([senders, receivers])[:, order], orbits[order], group.degree, len(used)))
        self.reset_bias(Start(self.linear.init, 1.0, 0.5, generator))

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the map anew, set the weights of the graph to D^-1 (A + I)."""
        self.linear.reset_parameters(generator)
        self.support.reset_parameters()
        self.reset_bias(Start(self.linear.init, 1.0, 0.5, generator))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        self.check_input(x)
        weights = self.linear.weight.coefficients().index_select(0, self.get_buffer("used"))
        y = sparse_linear(x, weights, self.rows(), self.support.weights().index_select(0, self.get_buffer("order")))
        bias = self.bias_of_places()
        return y if bias is None else y + bias

    def dense(self) -> Tensor:
        """The explicit weight, (N, C', N, C), receiver first: for tests and for looking at."""
        return self.linear.dense() * self.support.dense()[:, None, :, None]


def check_propagation(propagate: Propagation, edge_index: Tensor | None, tie_edges: bool) -> None:
    """Refuse a propagation without edges, and ties of edges that nothing trains.

    Raises:
        ConfigError: either.
    """
    check_choice("propagate", propagate, Propagation)
    if propagate != "none" and edge_index is None:
        raise ConfigError(f"propagate={propagate!r} needs a graph; give edge_index=data.edge_index, or propagate='none'")
    if tie_edges and propagate in ("none", "graph"):
        raise ConfigError(f"tie_edges ties trained edge weights, and propagate={propagate!r} trains none; use 'edge_weights'")
