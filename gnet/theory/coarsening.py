"""How far a graph is from its coarsened version: in Frobenius, operator and cut norm, and in its spectrum."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from gnet.errors import GroupError, PartitionError, ShapeError
from gnet.graphs import coarse_weights
from gnet.graphs.edges import checked_edges
from gnet.graphs.partition import Partition
from gnet.theory.checks import as_float64, check_choice, check_partition, check_whole
from gnet.theory.graph_gap import Gap, Target, ascend, sparse_adjacency
from gnet.theory.linear_maps import TOLERANCE

if TYPE_CHECKING:
    from torch_geometric.data import Data

Array = NDArray[np.float64]
ENUMERATED = 20
"""Nodes up to which the cut norm is exact, by all 2^N subsets."""


@dataclass(frozen=True)
class Bounds:
    """A number that is known to lie between two; exact where they are equal."""

    lower: float
    upper: float


@dataclass(frozen=True)
class CoarseningError:
    """Distances of A from what the coarsened graph says it is, over N (the cut norm over N^2): cut <= operator <= frobenius."""

    frobenius: float
    operator: float
    cut: Bounds


def coarsening_error(
    data: "Data",
    partition: Partition,
    target: Target = "blowup",
    *,
    restarts: int = 16,
    generator: torch.Generator | None = None,
) -> CoarseningError:
    """The coarsening error of a partition, in O(E + k^2) memory and a few products with the sparse graph.

    The cut norm is exact up to 20 nodes; beyond, alternating maximisation finds a lower bound, and the smallest of the operator
    norm and of the sums of the positive and negative entries is an upper bound. The operator norm of more than 256 nodes is found
    from below, to six digits and mostly to all.

    Args:
        data: the graph, directed or not.
        partition: of its nodes.
        target: "blowup" replaces each block by its mean, "reynolds" averages A over the cluster group, which keeps the diagonal
            of a block apart from the rest and is never farther away in Frobenius norm.
        restarts: of the maximisation.
        generator: for its starts; None is one with seed 0.

    Shapes:
        data.edge_index: (2, E)    data.edge_weight: (E,) or none

    Units: those of the edge weights.

    Raises:
        PartitionError: no partition, or one of another number of nodes.
        GraphError: no graph, edges out of range, weights that are not finite.
        ConfigError: an unknown target, or restarts that are no whole number >= 1.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, coarsening up to an error. Frieze and Kannan (1999),
        doi:10.1007/s004930050052, for the cut norm; Alon and Naor (2006), doi:10.1137/S0097539704441629, on computing it.

    Example:
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> error = coarsening_error(path, Partition([0, 0, 1]))
        >>> round(9 * error.frobenius**2, 3), error.cut.lower == error.cut.upper
        (2.0, True)
    """
    check_choice("target", target, Target)
    check_whole(1, restarts=restarts)
    check_partition(partition)
    gap = Gap.of(data, partition, target)
    size = partition.num_nodes
    if gap.is_none:
        return CoarseningError(0.0, 0.0, Bounds(0.0, 0.0))
    frobenius, operator = math.sqrt(gap.square) / size, gap.operator_norm() / size
    if size <= ENUMERATED:
        exact = _cut_norm(gap.dense()) / size**2
        return CoarseningError(frobenius, operator, Bounds(exact, exact))
    drawn = torch.Generator().manual_seed(0) if generator is None else generator
    starts = torch.rand(restarts, size, generator=drawn).numpy() < 0.5
    lower = max(ascend(gap, start.astype(np.float64)) for start in starts) / size**2
    return CoarseningError(frobenius, operator, Bounds(lower, min(operator, gap.one_sided_sum() / size**2)))


def cut_norm(matrix: ArrayLike | Tensor) -> float:
    """max over subsets S, T of |sum of M over S x T| / N^2, by listing all S.

    Shapes:
        matrix: (N, N) with N <= 20

    Units: those of the entries.

    Raises:
        ShapeError: not square, or larger.
        DataError: entries that are NaN or infinite.

    References:
        Frieze and Kannan (1999), doi:10.1007/s004930050052.

    Example:
        >>> cut_norm([[1.0, -1.0], [-1.0, 1.0]])
        0.25
    """
    values = _square(matrix)
    return _cut_norm(values) / len(values) ** 2


def infinity_to_one_norm(matrix: ArrayLike | Tensor) -> float:
    """max over signs s, t of s^T M t; between once and four times N^2 the cut norm.

    Shapes:
        matrix: (N, N) with N <= 20

    Units: those of the entries.

    Raises:
        ShapeError: not square, or larger.
        DataError: entries that are NaN or infinite.

    References:
        Alon and Naor (2006), doi:10.1137/S0097539704441629.

    Example:
        >>> infinity_to_one_norm([[1.0, -1.0], [-1.0, 1.0]])
        4.0
    """
    values = _square(matrix)
    return max(float(np.abs(signs @ values).sum(1).max()) for signs in _subsets(len(values), -1.0))


def coarse_eigenvalues(data: "Data", partition: Partition) -> Tensor:
    """The eigenvalues of the blow-up that are not 0 by construction, largest first: of Q^T A Q, Q the normalised indicators.

    For a symmetric graph they interlace with those of A: lambda_i(A) >= lambda_i >= lambda_(N - k + i)(A).

    Shapes:
        returns: (k,) float64

    Units: those of the edge weights.

    Raises:
        GroupError: the graph is directed.
        PartitionError, GraphError: as ``coarsening_error``.

    References:
        Horn and Johnson, Matrix Analysis (2013), theorem 4.3.28, for the interlacing.

    Example:
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> coarse_eigenvalues(path, Partition([0, 1, 0]))
        tensor([ 1.4142, -1.4142], dtype=torch.float64)
    """
    check_partition(partition)
    weights, sizes = coarse_weights(data, partition), partition.sizes.double()
    scaled = sizes.sqrt()[:, None] * weights * sizes.sqrt()
    fine = sparse_adjacency(checked_edges(data, signed=True))  # a directed graph may have symmetric block means
    if abs(fine - fine.T).max() > TOLERANCE * abs(fine).max():
        raise GroupError("expected an undirected graph, for which eigenvalues are real; make it symmetric first")
    return torch.linalg.eigvalsh((scaled + scaled.mT) / 2).flip(0)


def adjacency(graph: "Data | ArrayLike | Tensor") -> Tensor:
    """A as a dense (N, N) float64 matrix: of a graph, where A_ij is the weight of the edge from i to j, or the matrix itself.

    Shapes:
        graph: a graph of N nodes, or (N, N)    returns: (N, N)

    Units: those of the edge weights.

    Raises:
        ShapeError: a matrix that is not square, or what is neither graph nor matrix.
        GraphError: impossible edges.
        DataError: entries of a matrix that are NaN or infinite.

    References:
        Lovasz (2012), Large Networks and Graph Limits, section 7.1: duplicate edges add up, edges without weight count 1.

    Example:
        >>> from torch_geometric.data import Data
        >>> adjacency(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2))
        tensor([[0., 1.],
                [0., 0.]], dtype=torch.float64)
    """
    if hasattr(graph, "edge_index"):
        edges = checked_edges(graph, signed=True)
        flat = torch.zeros(edges.num_nodes**2, dtype=torch.float64)
        return flat.index_add(0, edges.index[0] * edges.num_nodes + edges.index[1], edges.weight).view(edges.num_nodes, -1)
    values = as_float64(graph)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ShapeError(f"expected a graph or a square matrix, got shape {tuple(values.shape)}")
    return values


def coarse_approximation(graph: "Data | ArrayLike | Tensor", partition: Partition, target: Target = "blowup") -> Tensor:
    """What the coarsened graph says A is, dense (N, N): block means, with the means of the diagonals apart for "reynolds".

    Shapes:
        graph: a graph of N nodes, or (N, N)    returns: (N, N)

    Units: those of the edge weights.

    Raises:
        PartitionError: no partition, or one of another number of nodes.
        ConfigError: an unknown target.
        ShapeError, GraphError, DataError: as ``adjacency``.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, on coarsened graphs and their blow-up.

    Example:
        >>> coarse_approximation([[0.0, 1.0], [1.0, 0.0]], Partition([0, 0]))
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]], dtype=torch.float64)
    """
    check_choice("target", target, Target)
    check_partition(partition)
    values = adjacency(graph)
    if len(values) != partition.num_nodes:
        raise PartitionError(f"expected a partition of {len(values)} nodes, got one of {partition.num_nodes}")
    labels, sizes = partition.labels, partition.sizes.double()
    sums = partition.sum(partition.sum(values), 1)
    if target == "blowup":
        return (sums / (sizes[:, None] * sizes))[labels][:, labels]
    own = partition.sum(values.diagonal())
    inside = torch.where(sizes > 1, (sums.diagonal() - own) / (sizes * (sizes - 1)).clamp(min=1), own)
    means = torch.diagonal_scatter(sums / (sizes[:, None] * sizes), inside)[labels][:, labels]
    return torch.diagonal_scatter(means, (own / sizes)[labels])


def _cut_norm(values: Array) -> float:
    best = 0.0
    for rows in _subsets(len(values), 0.0):
        sums = rows @ values
        best = max(best, float(np.maximum(sums, 0).sum(1).max()), float(np.maximum(-sums, 0).sum(1).max()))
    return best


def _subsets(size: int, outside: float) -> list[Array]:
    """All rows of ones and ``outside``, in pieces of at most 2^14."""
    free, pieces = min(size, 14), []
    codes = (np.arange(2**free)[:, None] >> np.arange(free)) & 1
    for rest in range(2 ** (size - free)):
        fixed = np.broadcast_to((rest >> np.arange(size - free)) & 1, (len(codes), size - free))
        pieces.append(np.where(np.concatenate([codes, fixed], 1) == 1, 1.0, outside))
    return pieces


def _square(matrix: ArrayLike | Tensor) -> Array:
    values = adjacency(matrix).numpy()
    if len(values) > ENUMERATED:
        raise ShapeError(
            f"expected at most {ENUMERATED} nodes, since all subsets are listed, got {len(values)}; use coarsening_error"
        )
    return values
