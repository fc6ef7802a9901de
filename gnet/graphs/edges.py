"""The edges of a PyTorch Geometric graph, checked once, as arrays and as the similarity matrix that clustering works on."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from gnet.errors import ConfigError, GraphError

if TYPE_CHECKING:
    from torch_geometric.data import Data


@dataclass(frozen=True)
class Edges:
    """Edges that name existing nodes and carry finite weights; an edge without weight counts 1.

    Shapes:
        index: (2, E) int64, source first    weight: (E,) float64; both on the CPU
    """

    num_nodes: int
    index: Tensor
    weight: Tensor


def checked_edges(data: "Data", *, signed: bool = False) -> Edges:
    """The edges of ``data``, checked; ``signed`` allows negative weights (means of blocks do, clustering does not).

    Raises:
        GraphError: no edges attribute, wrong shape or dtype, a node out of range, weights that are NaN, infinite or negative.

    Example:
        >>> from torch_geometric.data import Data
        >>> checked_edges(Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3)).weight
        tensor([1., 1.], dtype=torch.float64)
    """
    num_nodes, index = _nodes_and_index(data)
    if index.numel() and (int(index.min()) < 0 or int(index.max()) >= num_nodes):
        outside = sorted({int(node) for node in index.flatten() if not 0 <= node < num_nodes})
        raise GraphError(
            f"edge_index names nodes {outside[:5]}, expected 0..{num_nodes - 1} for num_nodes={num_nodes}; "
            "renumber the nodes from 0 or raise num_nodes"
        )
    return Edges(num_nodes, index, _weights(data, index.shape[1], signed))


def _nodes_and_index(data: "Data") -> tuple[int, Tensor]:
    index = getattr(data, "edge_index", None)
    if not isinstance(index, Tensor):
        raise GraphError(f"expected a graph with edge_index (2, E), got {type(data).__name__} without; set data.edge_index")
    if index.ndim != 2 or index.shape[0] != 2:
        transposed = index.ndim == 2 and index.shape[1] == 2
        fix = "transpose it: edge_index.t()" if transposed else "row 0 holds the sources, row 1 the targets"
        raise GraphError(f"expected edge_index of shape (2, E), got {tuple(index.shape)}; {fix}")
    index = index.detach().cpu()
    if index.numel() and (index.is_floating_point() or index.is_complex() or index.dtype == torch.bool):
        raise GraphError(f"expected integer edge_index, got {index.dtype}; convert with edge_index.long()")
    num_nodes = data.num_nodes
    if not num_nodes:
        raise GraphError(f"expected a graph with at least one node, got num_nodes={num_nodes}; set data.num_nodes")
    return int(num_nodes), index.long()


def _weights(data: "Data", num_edges: int, signed: bool) -> Tensor:
    given = getattr(data, "edge_weight", None)
    if given is None and getattr(data, "edge_attr", None) is not None:
        warnings.warn(
            "the graph has edge_attr but no edge_weight, so every edge counts 1; for weighted edges set data.edge_weight",
            stacklevel=2,
        )
    if given is None:
        return torch.ones(num_edges, dtype=torch.float64)
    weight = given.detach().cpu().to(torch.float64)
    if weight.shape != (num_edges,):
        fix = "; flatten it with edge_weight.flatten()" if weight.numel() == num_edges else "; give one number per edge"
        raise GraphError(f"expected edge_weight of shape ({num_edges},), got {tuple(weight.shape)}{fix}")
    unusable = ~torch.isfinite(weight)
    if unusable.any():
        first = int(unusable.nonzero()[0])
        raise GraphError(
            f"expected finite edge weights, got {float(weight[first])} at edge {first} ({int(unusable.sum())} in all); "
            "drop these edges or set their weight to 0"
        )
    if not signed and (weight < 0).any():
        first = int((weight < 0).nonzero()[0])
        raise GraphError(
            f"expected edge weights >= 0, got {float(weight[first])} at edge {first} ({int((weight < 0).sum())} in all); "
            "take edge_weight.abs(), or leave these edges out"
        )
    return weight


def shares(weight: Tensor, ends: Tensor, num_nodes: int) -> Tensor:
    """The part that each edge has in the sum of the weights at one of its ends, as random walks and averages over neighbours
    take it; 0 at nodes whose weights are all 0.

    Shapes:
        weight: (E,) float64, not negative    ends: (E,) in 0..N-1    returns: (E,)

    Raises:
        GraphError: an edge whose part is so small that it would be none in float32.

    Example:
        >>> shares(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 1]), 2)
        tensor([0.2500, 0.7500, 1.0000])
    """
    sums = torch.zeros(num_nodes, dtype=weight.dtype).index_add(0, ends, weight)[ends]
    found = torch.where(sums > 0, weight / sums, 0.0)
    lost = ((weight > 0) & (found.float() == 0)).nonzero().flatten()
    if len(lost):
        first = int(lost[0])
        raise GraphError(
            f"expected edge weights that are not negligible beside each other, got {float(weight[first]):g} of a sum of "
            f"{float(sums[first]):g} at node {int(ends[first])}, which is 0 in float32; leave such edges out, or set them to 0"
        )
    return found


def checked_positions(data: "Data", num_nodes: int) -> Tensor | None:
    """``data.pos`` on the CPU, (N, dim), or None where the graph has no positions.

    Raises:
        GraphError: not one row per node.

    Example:
        >>> from torch_geometric.data import Data
        >>> checked_positions(Data(pos=torch.tensor([[0.0], [2.0]])), 2)
        tensor([[0.],
                [2.]])
    """
    pos = getattr(data, "pos", None)
    if pos is None:
        return None
    if pos.ndim != 2 or pos.shape[0] != num_nodes:
        raise GraphError(f"expected data.pos of shape ({num_nodes}, dim), got {tuple(pos.shape)}; give one row per node")
    return pos.detach().cpu()


def similarity(edges: Edges) -> csr_array:
    """The symmetric matrix A + A^T without diagonal, (N, N) sparse: duplicate edges add up, edges of weight zero vanish."""
    source, target = edges.index.numpy()
    n = edges.num_nodes
    off_diagonal = source != target
    one_way = csr_array((edges.weight.numpy()[off_diagonal], (source[off_diagonal], target[off_diagonal])), shape=(n, n))
    both_ways = csr_array(one_way + one_way.T)
    both_ways.sum_duplicates()
    both_ways.eliminate_zeros()
    return both_ways


def within_hops(data: "Data", hops: int) -> Tensor:
    """The pairs of different nodes that at most so many edges join, in the direction of the edges, (2, E'), each once.

    Raises:
        GraphError: as ``checked_edges``.
        ConfigError: fewer than one hop.

    Example:
        >>> from torch_geometric.data import Data
        >>> within_hops(Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]), num_nodes=4), 2)
        tensor([[0, 0, 1, 1, 2],
                [1, 2, 2, 3, 3]])
    """
    if hops < 1:
        raise ConfigError(f"expected at least one hop, got {hops}")
    edges = checked_edges(data)
    ones = np.ones(edges.index.shape[1], dtype=bool)
    step = csr_array((ones, edges.index.numpy()), shape=(edges.num_nodes,) * 2)
    reached = step
    for _ in range(hops - 1):
        reached = reached + reached @ step
    reached.sort_indices()
    pairs = torch.from_numpy(np.stack(reached.nonzero())).long()
    return pairs[:, pairs[0] != pairs[1]]


def subgraph(graph: csr_array, nodes: np.ndarray) -> csr_array:
    """The rows and columns of ``graph`` at ``nodes``."""
    return csr_array(graph[nodes][:, nodes])
