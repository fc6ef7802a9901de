"""Equivariant linear maps between tensors on the nodes: numbers, signals, and pairs of nodes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnet.errors import ConfigError, ShapeError
from gnet.groups.cluster import ClusterGroup
from gnet.groups.permutation import orbit_labels
from gnet.kernels.blocks import ClusterIndex, own_linear
from gnet.kernels.segments import cluster_mean
from gnet.nn.checks import check_channels, check_placement
from gnet.nn.weights import Kept, Start


def set_partitions(size: int) -> Iterator[tuple[int, ...]]:
    """Every way to split 0..size-1 into blocks, as the block of each, blocks numbered by first appearance.

    Example:
        >>> list(set_partitions(2)), sum(1 for _ in set_partitions(4))
        ([(0, 0), (0, 1)], 15)
    """
    if size == 0:
        yield ()
        return
    for start in set_partitions(size - 1):
        for block in range(max(start, default=-1) + 2):
            yield (*start, block)


@dataclass(frozen=True)
class Operation:
    """One way to move a tensor: which of its output and input axes run together, and with what weights.

    Blocks of axes are shared by input and output, or belong to the output or the input alone; ``weights`` has for every choice
    of a cluster for each block, in this order, the row of the weight, or one past the last where the clusters are too small.
    """

    outputs: tuple[int, ...]
    inputs: tuple[int, ...]
    shared: tuple[int, ...]
    sent: tuple[int, ...]
    pooled: tuple[int, ...]
    rows: Tensor


def operations(group: ClusterGroup, order_in: int, order_out: int) -> tuple[list[Operation], int]:
    """A basis of the equivariant maps between tensors of these orders: operations, and how many weights they have in all.

    An orbit of index tuples says which indices are equal and in which cluster each distinct one lies. The basis here leaves out
    the "which differ": it is the orbit basis up to a triangular matrix, and cheaper to apply. A cluster cannot hold more
    distinct indices than it has nodes; swaps tie what they map onto each other.

    Example:
        >>> operations(ClusterGroup(Partition([0, 0, 0, 0])), 2, 2)[1]
        15
    """
    sizes, k = group.partition.sizes, group.partition.num_clusters
    found, count = [], 0
    for blocks in set_partitions(order_out + order_in):
        outputs, inputs = blocks[:order_out], blocks[order_out:]
        shared = tuple(sorted(set(outputs) & set(inputs)))
        sent, pooled = (tuple(sorted(set(ends) - set(shared))) for ends in (outputs, inputs))
        num = len(shared) + len(sent) + len(pooled)
        places = torch.cartesian_prod(*[torch.arange(k)] * num).reshape(-1, num) if num else torch.empty(1, 0, dtype=torch.long)
        used = F.one_hot(places, k).sum(1)  # how many distinct nodes of each cluster
        fits = (used <= sizes).all(1)
        orbits = _tied(group, places)
        kept = torch.unique(orbits[fits])
        rows = torch.where(fits, count + torch.searchsorted(kept, orbits).clamp(max=max(len(kept) - 1, 0)), -1)
        count += len(kept)
        found.append(Operation(outputs, inputs, shared, sent, pooled, rows.reshape([k] * num)))
    last = [Operation(**{**vars(op), "rows": torch.where(op.rows < 0, count, op.rows)}) for op in found]
    return last, count


def _tied(group: ClusterGroup, places: Tensor) -> Tensor:
    """The orbit under the swaps of each tuple of clusters, (k^b, b) -> (k^b,)."""
    if group.swaps is None or places.shape[1] == 0:
        return torch.arange(len(places))
    k = group.partition.num_clusters
    powers = k ** torch.arange(places.shape[1] - 1, -1, -1)
    return orbit_labels(torch.stack([(sigma[places] * powers).sum(1) for sigma in group.swaps.generators]))


class TensorLinear(nn.Module):
    """Every linear map between tensors on the nodes that commutes with a cluster group; of order 0, 1 or 2.

    A tensor of order 0 is a number for the whole graph, (*, C), one of order 1 a signal, (*, N, C), one of order 2 a number for
    each ordered pair of nodes, (*, N, N, C), such as a matrix of distances; a permutation moves all its node axes. From order 2
    to order 2 the symmetric group has the 15 operations of invariant graph networks, k clusters of at least four nodes have
    k + 7 k^2 + 6 k^3 + k^4: meant for few clusters. Order 1 to 1 are the maps of ``EquivariantLinear``, in other coordinates.

    O(B N^2 C C') operations and O(N^2) memory for indices; means over clusters take the place of sums.

    Args:
        bias: add a constant tensor that the group keeps, one vector per orbit of node tuples.
        gain: variance of the outputs (off the diagonal, for order 2) per unit of input second moment at the start, for white
            inputs.

    Shapes:
        x: (*, N, ..., C) with ``order_in`` node axes    returns: (*, N, ..., C') with ``order_out``

    Raises:
        ConfigError: an order other than 0, 1, 2, channels below one, or a group that is none of clusters.
        ShapeError: x of another shape, dtype or device.

    References:
        Maron, Ben-Hamu, Shamir and Lipman (2019), arXiv:1812.09902: the bases for S_n. Their number for products of symmetric
        groups follows from counting set partitions (Stirling numbers of the second kind).

    Example:
        >>> layer = TensorLinear(SymmetricGroup(5), 2, 3, order_in=2, order_out=2)
        >>> layer, layer(torch.randn(7, 5, 5, 2)).shape
        (TensorLinear(2 -> 3 | order 2 -> 2 | S5 | 15 weights per channel pair), torch.Size([7, 5, 5, 3]))
    """

    bias: nn.Parameter | None
    labels: Tensor

    def __init__(
        self,
        group: ClusterGroup,
        in_channels: int,
        out_channels: int,
        order_in: int = 2,
        order_out: int = 2,
        *,
        bias: bool = True,
        gain: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels, out_channels)
        if not isinstance(group, ClusterGroup):
            raise ConfigError(
                f"expected a cluster group, got {type(group).__name__}; tensors of order two are made for "
                "ClusterGroup(partition), with or without swaps, SymmetricGroup(n) and TrivialGroup(n)"
            )
        if order_in not in (0, 1, 2) or order_out not in (0, 1, 2):
            raise ConfigError(f"expected orders 0, 1 or 2, got order_in={order_in} and order_out={order_out}")
        self.group, self.in_channels, self.out_channels, self.gain = group, in_channels, out_channels, gain
        self.order_in, self.order_out = order_in, order_out
        self.operations, count = operations(group, order_in, order_out)
        self.constants, num_biases = operations(group, 0, order_out)
        self.weight = nn.Parameter(torch.empty(count, out_channels, in_channels))
        self.register_parameter("bias", nn.Parameter(torch.empty(num_biases, out_channels)) if bias else None)
        labels, k = group.partition.labels, group.partition.num_clusters
        self.register_buffer("labels", labels, persistent=False)
        self.nodes = Kept(ClusterIndex.of(labels, group.partition.sizes))
        if (order_in, order_out) == (2, 2):
            pairs = (labels[:, None] * k + labels).flatten()
            self.pairs = Kept(ClusterIndex.of(pairs, torch.bincount(pairs, minlength=k * k)))
        for name, found in (("rows", self.operations), ("bias_rows", self.constants)):
            for number, op in enumerate(found):
                self.register_buffer(f"{name}_{number}", op.rows, persistent=False)
        self.reset_parameters(generator)

    @property
    def in_shape(self) -> tuple[int, ...]:
        """(N, ..., C) of one input."""
        return (*[self.group.degree] * self.order_in, self.in_channels)

    @property
    def num_weights(self) -> int:
        """Orbits of tuples of ``order_out + order_in`` nodes, times C C'."""
        return self.weight.numel()

    @property
    def num_parameters(self) -> int:
        """Trained scalars, biases included."""
        return sum(p.numel() for p in self.parameters())

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Normal weights, every operation with the same share of the output's variance; zero bias."""
        start = Start("white", self.gain, 0.5, generator)
        sizes, k = self.group.partition.sizes, self.group.partition.num_clusters
        generic = sum(len(set(op.outputs)) == self.order_out for op in self.operations)
        std = torch.zeros(len(self.weight) + 1)
        for op in self.operations:
            root = torch.full([k] * op.rows.ndim, math.sqrt(self.gain / (generic * self.in_channels * k ** len(op.pooled))))
            for axis in range(op.rows.ndim - len(op.pooled), op.rows.ndim):  # a mean of c white numbers has variance 1 / c
                root = root * sizes.sqrt().reshape([-1 if each == axis else 1 for each in range(op.rows.ndim)])
            std[op.rows] = root
        start.normal_(self.weight, std[:-1, None, None])
        if self.bias is not None:
            start.uniform_(self.bias, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        shape = self.in_shape
        if not isinstance(x, Tensor) or x.ndim < len(shape) or x.shape[x.ndim - len(shape) :] != shape:
            got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ShapeError(f"expected x of shape (*, {', '.join(map(str, shape))}), got {got}")
        check_placement(x, self.weight)
        batch = x.shape[: x.ndim - len(shape)]
        flat = x.reshape(math.prod(batch), *shape)
        padded = torch.cat([self.weight, self.weight.new_zeros(1, self.out_channels, self.in_channels)])
        parts = [
            self._move(op, flat, padded[self.get_buffer(f"rows_{number}")].to(x.dtype))
            for number, op in enumerate(self.operations)
        ]
        y = torch.stack(parts).sum(0)
        bias = self.dense_bias()
        return (y if bias is None else y + bias).reshape(*batch, *y.shape[1:])

    def dense_bias(self) -> Tensor | None:
        """The constant tensor (N, ..., C'), or None."""
        if self.bias is None:
            return None
        padded = torch.cat([self.bias, self.bias.new_zeros(1, self.out_channels)])
        one = self.bias.new_ones(1, 1)
        rows = [self.get_buffer(f"bias_rows_{number}") for number in range(len(self.constants))]
        parts = [self._move(op, one, padded[row].unsqueeze(-1)) for op, row in zip(self.constants, rows, strict=True)]
        return torch.stack(parts).sum(0)[0]

    def _move(self, op: Operation, x: Tensor, weights: Tensor) -> Tensor:
        """One operation: (B, N, ..., C) -> (B, N, ..., C'), with weights (k, ..., k, C', C), one axis for each block."""
        k = self.group.partition.num_clusters
        x, axes = _diagonal(x, op.inputs)
        for block in op.pooled:  # the axes of x become: shared blocks with all nodes, pooled blocks with clusters, channels
            x = cluster_mean(x.movedim(1 + axes.index(block), -2), self.labels, k)
            axes = [*(each for each in axes if each != block), block]
        if axes[: len(op.shared)] != list(op.shared):
            x = x.transpose(1, 2)
        num_shared, num_sent, num_nodes = len(op.shared), len(op.sent), self.group.degree
        matrix = weights.movedim(-2, num_shared + num_sent).flatten(num_shared + num_sent + 1)  # (k.., k.., C', k.. C)
        matrix = matrix.flatten(num_shared, num_shared + num_sent)  # (shared k.., sent k.. C', pooled k.. C)
        features = x.flatten(1 + num_shared)
        if num_shared == 0:
            y = F.linear(features, matrix)
        else:
            index = self.nodes() if num_shared == 1 else self.pairs()
            rows, own = features.flatten(1, num_shared), matrix.flatten(0, num_shared - 1)
            y = own_linear(rows, own, rows.new_zeros(len(rows), len(own), own.shape[1]), index)
        y = y.reshape(len(x), *[num_nodes] * num_shared, *[k] * num_sent, weights.shape[-2])
        for axis in range(1 + num_shared, 1 + num_shared + num_sent):
            y = y.index_select(axis, self.labels)
        return _on_outputs(y, [*op.shared, *op.sent], op.outputs)

    def __repr__(self) -> str:
        channels, orders = f"{self.in_channels} -> {self.out_channels}", f"order {self.order_in} -> {self.order_out}"
        plural = "" if len(self.weight) == 1 else "s"
        return f"TensorLinear({channels} | {orders} | {self.group.name} | {len(self.weight)} weight{plural} per channel pair)"


def _diagonal(x: Tensor, blocks: Sequence[int]) -> tuple[Tensor, list[int]]:
    """(B, N, ..., C) with one node axis for each block of input axes, and the block of each."""
    if len(blocks) == 2 and blocks[0] == blocks[1]:
        return x.diagonal(dim1=1, dim2=2).transpose(1, 2), [blocks[0]]
    return x, list(blocks)


def _on_outputs(y: Tensor, axes: list[int], blocks: Sequence[int]) -> Tensor:
    """(B, one node axis for each block, C') to the output axes: in their order, or on the diagonal."""
    if len(blocks) == 2 and blocks[0] == blocks[1]:
        return torch.diag_embed(y.transpose(1, 2), dim1=1, dim2=2)
    return y if list(blocks) == axes else y.transpose(1, 2)
