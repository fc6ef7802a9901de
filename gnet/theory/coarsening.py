"""How far a graph is from its coarsened version: in Frobenius, operator and cut norm, and in its spectrum."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigvalsh_tridiagonal
from scipy.sparse import csr_array
from torch import Tensor

from gnet.errors import ConfigError, GroupError, PartitionError, ShapeError
from gnet.graphs import coarse_weights
from gnet.graphs.edges import Edges, checked_edges
from gnet.graphs.partition import Partition
from gnet.theory.checks import as_float64, check_choice
from gnet.theory.linear_maps import TOLERANCE

if TYPE_CHECKING:
    from torch_geometric.data import Data

Target = Literal["blowup", "reynolds"]
Array = NDArray[np.float64]
ENUMERATED = 20
"""Nodes up to which the cut norm is exact, by all 2^N subsets."""
DENSE = 256
"""Nodes up to which norms are taken of the dense matrix."""
STEPS = 1000
"""Most products with A and its transpose for the operator norm of larger graphs."""


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
    norm and of the sums of the positive and negative entries is an upper bound.

    Args:
        target: "blowup" replaces each block by its mean, "reynolds" averages A over the cluster group, which keeps the diagonal
            of a block apart from the rest and is never farther away in Frobenius norm.
        restarts: of the maximisation.
        generator: for its starts; None is one with seed 0.

    Units: those of the edge weights.

    Raises:
        PartitionError: of another number of nodes.
        GraphError: edges out of range, weights that are not finite.
        ConfigError: an unknown target, or no restart.

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
    if restarts < 1:
        raise ConfigError(f"expected restarts >= 1, got {restarts}")
    gap = _Gap.of(data, partition, target)
    size = partition.num_nodes
    if gap.is_none:
        return CoarseningError(0.0, 0.0, Bounds(0.0, 0.0))
    frobenius, operator = math.sqrt(gap.square) / size, gap.operator_norm() / size
    if size <= ENUMERATED:
        exact = _cut_norm(gap.dense()) / size**2
        return CoarseningError(frobenius, operator, Bounds(exact, exact))
    drawn = torch.Generator().manual_seed(0) if generator is None else generator
    starts = torch.rand(restarts, size, generator=drawn).numpy() < 0.5
    lower = max(_ascend(gap, start.astype(np.float64)) for start in starts) / size**2
    return CoarseningError(frobenius, operator, Bounds(lower, min(operator, gap.one_sided_sum() / size**2)))


def cut_norm(matrix: ArrayLike | Tensor) -> float:
    """max over subsets S, T of |sum of M over S x T| / N^2, by listing all S.

    Shapes:
        matrix: (N, N) with N <= 20

    Raises:
        ShapeError: not square, or larger.

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

    Raises:
        ShapeError: not square, or larger.

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

    Raises:
        GroupError: the graph is directed.
        PartitionError, GraphError: as ``coarsening_error``.

    Example:
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> coarse_eigenvalues(path, Partition([0, 1, 0]))
        tensor([ 1.4142, -1.4142], dtype=torch.float64)
    """
    weights, sizes = coarse_weights(data, partition), partition.sizes.double()
    scaled = sizes.sqrt()[:, None] * weights * sizes.sqrt()
    fine = _sparse(checked_edges(data, signed=True))  # a directed graph may have symmetric block means
    if abs(fine - fine.T).max() > TOLERANCE * abs(fine).max():
        raise GroupError("expected an undirected graph, for which eigenvalues are real; make it symmetric first")
    return torch.linalg.eigvalsh((scaled + scaled.mT) / 2).flip(0)


def adjacency(graph: "Data | ArrayLike | Tensor") -> Tensor:
    """A as a dense (N, N) float64 matrix: of a graph, where A_ij is the weight of the edge from i to j, or the matrix itself.

    Raises:
        ShapeError: a matrix that is not square.
        GraphError: impossible edges.

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

    Example:
        >>> coarse_approximation([[0.0, 1.0], [1.0, 0.0]], Partition([0, 0]))
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]], dtype=torch.float64)
    """
    check_choice("target", target, Target)
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


@dataclass(frozen=True, eq=False)
class _Gap:
    """A less its approximation: A sparse, the approximation as a k x k matrix and a number for the diagonal of each block.

    Shapes:
        sparse: (N, N)    labels: (N,)    sizes, diagonal: (k,)    blocks: (k, k)
    """

    sparse: csr_array
    labels: NDArray[np.int64]
    sizes: Array
    blocks: Array
    diagonal: Array
    """What is added on the diagonal of each block."""

    @classmethod
    def of(cls, data: "Data", partition: Partition, target: Target) -> "_Gap":
        blocks = coarse_weights(data, partition, "mean" if target == "blowup" else "offdiag_mean").numpy().copy()
        sparse = _sparse(checked_edges(data, signed=True))
        labels, sizes = partition.labels.numpy(), partition.sizes.numpy().astype(np.float64)
        diagonal = np.zeros(len(sizes))
        if target == "reynolds":
            own = np.bincount(labels, weights=sparse.diagonal(), minlength=len(sizes)) / sizes
            diagonal = np.where(sizes > 1, own - blocks.diagonal(), 0.0)
        return cls(sparse, labels, sizes, blocks, diagonal)

    @property
    def size(self) -> int:
        return len(self.labels)

    @cached_property
    def entries(self) -> tuple[Array, Array]:
        """All entries of the gap and how often each occurs: one by one where A has any, by blocks and diagonals elsewhere."""
        k, entries = len(self.sizes), self.sparse.tocoo()
        row, column, on = self.labels[entries.row], self.labels[entries.col], entries.row == entries.col
        own = self.blocks.diagonal() + self.diagonal
        stored = entries.data - np.where(on, own[row], self.blocks[row, column])
        pairs = np.outer(self.sizes, self.sizes) - np.diag(self.sizes)
        pairs -= np.bincount(row[~on] * k + column[~on], minlength=k * k).reshape(k, k)
        loops = self.sizes - np.bincount(row[on], minlength=k)
        values = np.concatenate([stored, -self.blocks.ravel(), -own])
        return values, np.concatenate([np.ones_like(stored), pairs.ravel(), loops])

    @property
    def square(self) -> float:
        """Squared Frobenius norm, a sum of squares: a difference of two large ones would leave rounding where it is 0."""
        values, counts = self.entries
        return float(np.sum(counts * values**2))

    @property
    def is_none(self) -> bool:
        """Whether the approximation is A itself, to rounding; then there is no largest singular vector to look for."""
        return self.square <= TOLERANCE**2 * float(np.sum(self.sparse.data**2))

    def times(self, x: Array, transposed: bool = False) -> Array:
        sums = np.bincount(self.labels, weights=x, minlength=len(self.sizes))
        blocks = self.blocks.T if transposed else self.blocks
        approximated = (blocks @ sums)[self.labels] + self.diagonal[self.labels] * x
        return (self.sparse.T if transposed else self.sparse) @ x - approximated

    def dense(self) -> Array:
        approximated = self.blocks[self.labels][:, self.labels] + np.diag(self.diagonal[self.labels])
        return np.asarray(self.sparse.todense()) - approximated

    def operator_norm(self) -> float:
        if self.size <= DENSE:
            return float(np.linalg.norm(self.dense(), 2))
        return _largest_singular_value(self.times, self.size)

    def one_sided_sum(self) -> float:
        """The larger of the sums of positive and of negative entries: no rectangle has more."""
        values, counts = self.entries
        return float(max(np.sum(counts * np.maximum(sign * values, 0.0)) for sign in (1, -1)))


def _largest_singular_value(times: Callable[..., Array], size: int) -> float:
    """By bidiagonalisation, without restarts, which stall where the largest values crowd, as on long roads."""
    right = np.random.default_rng(0).standard_normal(size)  # fixed: the same number every time
    right, left, beta = right / np.linalg.norm(right), np.zeros(size), 0.0
    diagonal: list[float] = []
    above: list[float] = []
    found = 0.0
    for step in range(1, min(STEPS, size) + 1):
        left = times(right) - beta * left
        alpha = float(np.linalg.norm(left))
        diagonal.append(alpha**2 + beta**2)
        left = left / alpha if alpha else left
        right = times(left, transposed=True) - alpha * right
        beta = float(np.linalg.norm(right))
        is_last = beta <= TOLERANCE * alpha or step == min(STEPS, size)
        if is_last or step % 20 == 0:
            before, found = found, float(eigvalsh_tridiagonal(diagonal, above, select="i", select_range=(step - 1, step - 1))[0])
            if is_last or found - before <= 1e-14 * found:
                break
        right = right / beta
        above.append(alpha * beta)
    return math.sqrt(max(found, 0.0))


def _sparse(edges: Edges) -> csr_array:
    """A, with duplicate edges added up."""
    index = edges.index.numpy()
    sparse = csr_array((edges.weight.numpy(), (index[0], index[1])), shape=(edges.num_nodes,) * 2)
    sparse.sum_duplicates()
    return sparse


def _ascend(gap: _Gap, start: Array) -> float:
    """Choose the best columns for the rows, the best rows for the columns, and so on, until nothing changes."""
    best = 0.0
    for sign in (1.0, -1.0):
        rows, value = start, -math.inf
        while True:
            columns = (sign * gap.times(rows, transposed=True) > 0).astype(np.float64)
            sums = sign * gap.times(columns)
            rows = (sums > 0).astype(np.float64)
            reached = float(sums @ rows)
            if reached <= value + 1e-12 * abs(reached):
                break
            value = reached
        best = max(best, value)
    return best


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
