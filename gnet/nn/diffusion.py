"""Random walks along the edges of a graph, as the diffusion convolution takes them."""

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from gnet.counts import check_count
from gnet.graphs.edges import checked_edges, shares
from gnet.kernels.sparse import FixedEdges


class Diffusion(nn.Module):
    """``[z, P_f^T z, P_b^T z, ...]``: a signal, and what random walks along and against the edges make of it.

    P_f = D_out^-1 A and P_b = D_in^-1 A^T, rows of nodes without such edges zero. Further steps are Chebyshev polynomials of
    each walk, T_r = 2 P^T T_(r-1) - T_(r-2), each walk starting anew from T_0 = z (a well-known public implementation lets the
    second walk go on from the first).

    Raises:
        GraphError: impossible edges, or weights that are negligible beside others of the same node.
        ConfigError: a number of steps that is negative or not whole.

    Shapes:
        z: (N, B, C)    returns: (N, B, (1 + 2 num_steps) C)

    References:
        Li, Yu, Shahabi and Liu (2018), arXiv:1707.01926, equation 2.

    Example:
        >>> walk = Diffusion(Data(edge_index=torch.tensor([[0, 0], [1, 2]]), num_nodes=3), num_steps=1)
        >>> walk(torch.tensor([1.0, 2.0, 4.0]).reshape(3, 1, 1))[:, 0]
        tensor([[1.0000, 0.0000, 6.0000],
                [2.0000, 0.5000, 0.0000],
                [4.0000, 0.5000, 0.0000]])
    """

    def __init__(self, data: Data, num_steps: int = 1) -> None:
        super().__init__()
        check_count(0, num_steps=num_steps)
        edges = checked_edges(data)
        self.num_steps = num_steps
        codes, place = torch.unique(edges.index[0] * edges.num_nodes + edges.index[1], return_inverse=True)
        weight = torch.zeros(len(codes), dtype=torch.float64).index_add(0, place, edges.weight)
        senders, receivers = codes // edges.num_nodes, codes % edges.num_nodes
        self.forwards = FixedEdges(senders, receivers, shares(weight, senders, edges.num_nodes), edges.num_nodes)
        self.backwards = FixedEdges(receivers, senders, shares(weight, receivers, edges.num_nodes), edges.num_nodes)

    @property
    def num_parts(self) -> int:
        """1 + 2 num_steps."""
        return 1 + 2 * self.num_steps

    def forward(self, z: Tensor) -> Tensor:
        """Diffuse."""
        if self.num_steps == 0:
            return z
        flat, parts = z.flatten(1), [z.flatten(1)]
        for walk in (self.forwards, self.backwards):
            before, now = flat, walk(flat)
            parts.append(now)
            for _ in range(self.num_steps - 1):
                before, now = now, 2 * walk(now) - before
                parts.append(now)
        return torch.stack([part.reshape(z.shape) for part in parts], 2).flatten(2)
