"""A graph less what its coarsened version says it is, never as an N x N matrix: its entries, its norms, its products."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigvalsh_tridiagonal
from scipy.sparse import csr_array

from gnet.graphs import coarse_weights
from gnet.graphs.edges import Edges, checked_edges
from gnet.graphs.partition import Partition
from gnet.theory.linear_maps import TOLERANCE

if TYPE_CHECKING:
    from torch_geometric.data import Data

Target = Literal["blowup", "reynolds"]
Array = NDArray[np.float64]
DENSE = 256
"""Nodes up to which norms are taken of the dense matrix."""
STEPS = 1000
"""Most products with A and its transpose for the operator norm of larger graphs."""


@dataclass(frozen=True, eq=False)
class Gap:
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
    def of(cls, data: "Data", partition: Partition, target: Target) -> "Gap":
        """Of a graph and its blow-up or average.

        Raises:
            PartitionError, GraphError: as ``coarse_weights``.

        Example:
            >>> from torch_geometric.data import Data
            >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
            >>> round(Gap.of(path, Partition([0, 0, 1]), "blowup").square, 9)
            2.0
        """
        blocks = coarse_weights(data, partition, "mean" if target == "blowup" else "offdiag_mean").numpy().copy()
        sparse = sparse_adjacency(checked_edges(data, signed=True))
        labels, sizes = partition.labels.numpy(), partition.sizes.numpy().astype(np.float64)
        diagonal = np.zeros(len(sizes))
        if target == "reynolds":
            own = np.bincount(labels, weights=sparse.diagonal(), minlength=len(sizes)) / sizes
            diagonal = np.where(sizes > 1, own - blocks.diagonal(), 0.0)
        return cls(sparse, labels, sizes, blocks, diagonal)

    @property
    def size(self) -> int:
        """N."""
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
        """The gap times x, (N,)."""
        sums = np.bincount(self.labels, weights=x, minlength=len(self.sizes))
        blocks = self.blocks.T if transposed else self.blocks
        approximated = (blocks @ sums)[self.labels] + self.diagonal[self.labels] * x
        return (self.sparse.T if transposed else self.sparse) @ x - approximated

    def dense(self) -> Array:
        """(N, N): for small graphs."""
        approximated = self.blocks[self.labels][:, self.labels] + np.diag(self.diagonal[self.labels])
        return np.asarray(self.sparse.todense()) - approximated

    def operator_norm(self) -> float:
        """The largest singular value."""
        if self.size <= DENSE:
            return float(np.linalg.norm(self.dense(), 2))
        return largest_singular_value(self.times, self.size)

    def one_sided_sum(self) -> float:
        """The larger of the sums of positive and of negative entries: no rectangle has more."""
        values, counts = self.entries
        return float(max(np.sum(counts * np.maximum(sign * values, 0.0)) for sign in (1, -1)))


def largest_singular_value(times: Callable[..., Array], size: int) -> float:
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


def sparse_adjacency(edges: Edges) -> csr_array:
    """A, with duplicate edges added up."""
    index = edges.index.numpy()
    sparse = csr_array((edges.weight.numpy(), (index[0], index[1])), shape=(edges.num_nodes,) * 2)
    sparse.sum_duplicates()
    return sparse


def ascend(gap: Gap, start: Array) -> float:
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
