"""The coarsened graph G' of a partition, and its blow-up back to all nodes."""

from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor

from gnet.errors import ConfigError, PartitionError
from gnet.graphs.edges import Edges, checked_edges, checked_positions
from gnet.graphs.partition import Partition

if TYPE_CHECKING:
    from torch_geometric.data import Data

Diagonal: TypeAlias = Literal["mean", "offdiag_mean"]


def coarse_weights(data: "Data", partition: Partition, diag: Diagonal = "mean") -> Tensor:
    """A'_lm = mean of A_ij over i in C_l, j in C_m: the dense weights of the coarsened graph, (k, k) float64.

    A_ij is the weight of the edge from i to j, as in PyG's ``to_dense_adj``; duplicates add up, missing edges count 0.
    ``diag="mean"`` averages over all ordered pairs of a cluster, i = j included (the graphon convention); "offdiag_mean"
    leaves i = j out, and gives a cluster {i} its own A_ii. O(E + k^2), no N x N matrix.

    Raises:
        PartitionError: the partition has another number of nodes than the graph.
        GraphError: edges out of range, weights that are NaN or infinite.
        ConfigError: unknown ``diag``.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, on graph coarsening.

    Example:
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> coarse_weights(path, Partition([0, 0, 1]))
        tensor([[0.5000, 0.5000],
                [0.5000, 0.0000]], dtype=torch.float64)
    """
    if diag not in ("mean", "offdiag_mean"):
        raise ConfigError(f"expected diag='mean' or 'offdiag_mean', got {diag!r}; 'mean' is the default")
    edges = checked_edges(data, signed=True)
    if not isinstance(partition, Partition):
        raise PartitionError(f"expected a Partition, got {type(partition).__name__}; write Partition(labels)")
    if partition.num_nodes != edges.num_nodes:
        raise PartitionError(
            f"expected a partition of the graph's {edges.num_nodes} nodes, got one of {partition.num_nodes}; "
            "make it from this graph with coarsen(data, num_clusters)"
        )
    return _block_means(edges, partition, diag)


def _block_means(edges: Edges, partition: Partition, diag: Diagonal) -> Tensor:
    k = partition.num_clusters
    source, target = edges.index
    block = partition.labels[source] * k + partition.labels[target]
    sums = torch.zeros(k * k, dtype=torch.float64).index_add(0, block, edges.weight).view(k, k)
    sizes = partition.sizes.to(torch.float64)
    means = sums / (sizes[:, None] * sizes)
    if diag == "mean":
        return means
    loops = source == target
    on_diagonal = torch.zeros(k, dtype=torch.float64).index_add(0, partition.labels[source[loops]], edges.weight[loops])
    pairs = sizes * (sizes - 1)
    inside = torch.where(pairs > 0, (sums.diagonal() - on_diagonal) / pairs.clamp(min=1), on_diagonal)
    return torch.diagonal_scatter(means, inside)


def coarsened_graph(data: "Data", partition: Partition, diag: Diagonal = "mean") -> "Data":
    """The coarsened graph G': one node per cluster, edges weighted by ``coarse_weights``, self loops where not zero.

    The result has ``edge_index``, ``edge_weight``, ``num_nodes`` = k, ``sizes`` (k,), and ``pos``, the mean position of each
    cluster, where the graph has positions. dtype and device follow the edge weights (without: the default dtype).
    O(E + k^2).

    Raises:
        PartitionError, GraphError, ConfigError: as ``coarse_weights``.

    Example:
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> coarse = coarsened_graph(path, Partition([0, 0, 1]))
        >>> coarse.edge_index, coarse.edge_weight, coarse.sizes
        (tensor([[0, 0, 1],
                [0, 1, 0]]), tensor([0.5000, 0.5000, 0.5000]), tensor([2, 1]))
    """
    from torch_geometric.data import Data

    weights = coarse_weights(data, partition, diag)
    edge_index = weights.nonzero().t().contiguous()
    values = weights[edge_index[0], edge_index[1]]
    coarse = Data(edge_index=edge_index, edge_weight=values.to(_weight_dtype(data)), num_nodes=partition.num_clusters)
    coarse.sizes = partition.sizes.clone()
    pos = checked_positions(data, partition.num_nodes)
    if pos is not None:
        sums = torch.zeros(partition.num_clusters, pos.shape[1], dtype=pos.dtype).index_add(0, partition.labels, pos)
        coarse.pos = sums / partition.sizes[:, None].to(pos.dtype)
    return coarse.to(data.edge_index.device)


def _weight_dtype(data: "Data") -> torch.dtype:
    weight = getattr(data, "edge_weight", None)
    return weight.dtype if weight is not None and weight.is_floating_point() else torch.get_default_dtype()


def blow_up(coarse: "Data", partition: Partition) -> "Data":
    """The full blow-up: the graph on N nodes that is constant on blocks, A^_ij = A'_(a(i) a(j)).

    For ``diag="mean"`` it is P A P, with P the projector on vectors constant on clusters. Every pair of a non-zero block is an
    edge, self loops included: memory is the sum of c_l c_m over the edges of ``coarse``, N^2 at worst.

    Raises:
        PartitionError: ``coarse`` has another number of nodes than the partition has clusters, or other ``sizes``.

    Example:
        >>> from torch_geometric.data import Data
        >>> coarse = Data(edge_index=torch.tensor([[0], [1]]), edge_weight=torch.tensor([0.5]), num_nodes=2)
        >>> full = blow_up(coarse, Partition([0, 0, 1]))
        >>> full.edge_index, full.edge_weight
        (tensor([[0, 1],
                [2, 2]]), tensor([0.5000, 0.5000]))
    """
    from torch_geometric.data import Data

    edges = checked_edges(coarse, signed=True)
    if edges.num_nodes != partition.num_clusters:
        raise PartitionError(
            f"expected a coarse graph with one node per cluster, {partition.num_clusters}, got {edges.num_nodes} nodes; "
            "make it with coarsened_graph(data, partition)"
        )
    sizes = getattr(coarse, "sizes", None)
    if sizes is not None and sizes.cpu().tolist() != partition.sizes.tolist():
        raise PartitionError(
            f"expected the partition the graph was coarsened with, cluster sizes {sizes.tolist()[:8]}, "
            f"got {partition.sizes.tolist()[:8]}"
        )
    source, target = edges.index
    width = partition.sizes[target]
    counts = partition.sizes[source] * width  # (E',)
    edge = torch.repeat_interleave(torch.arange(len(counts)), counts)
    within = torch.arange(len(edge)) - (counts.cumsum(0) - counts)[edge]
    senders = partition.order[partition.ptr[source[edge]] + within // width[edge]]
    receivers = partition.order[partition.ptr[target[edge]] + within % width[edge]]
    weight = edges.weight[edge].to(_weight_dtype(coarse))
    full = Data(edge_index=torch.stack([senders, receivers]), edge_weight=weight, num_nodes=partition.num_nodes)
    return full.to(coarse.edge_index.device)
