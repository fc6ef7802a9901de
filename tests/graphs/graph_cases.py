"""Graphs that the tests of this folder share, and what it means for a partition to be connected."""

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnet.graphs import Partition


def graph(num_nodes: int, edges: list[tuple[int, int]], weights: list[float] | None = None, both_ways: bool = True) -> Data:
    """A graph from an edge list; each edge in both directions unless told."""
    index = torch.tensor(edges, dtype=torch.long).view(-1, 2).t()
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    if both_ways:
        index = torch.cat([index, index.flip(0)], dim=1)
        weight = None if weight is None else weight.repeat(2)
    return Data(edge_index=index, edge_weight=weight, num_nodes=num_nodes)


def path(num_nodes: int) -> Data:
    return graph(num_nodes, [(i, i + 1) for i in range(num_nodes - 1)])


def grid(height: int, width: int) -> Data:
    nodes = torch.arange(height * width).view(height, width)
    across = torch.stack([nodes[:, :-1].flatten(), nodes[:, 1:].flatten()], dim=1)
    down = torch.stack([nodes[:-1].flatten(), nodes[1:].flatten()], dim=1)
    data = graph(height * width, torch.cat([across, down]).tolist())
    data.pos = torch.stack([nodes.flatten() // width, nodes.flatten() % width], dim=1).float()
    return data


def random_graph(num_nodes: int, num_edges: int, rng: torch.Generator, *, weighted: bool = True) -> Data:
    """Random directed edges, duplicates and self loops included, with positions; often not connected."""
    return Data(
        edge_index=torch.randint(num_nodes, (2, num_edges), generator=rng),
        edge_weight=torch.rand(num_edges, generator=rng) + 0.1 if weighted else None,
        pos=torch.randn(num_nodes, 2, generator=rng),
        num_nodes=num_nodes,
    )


def dense(data: Data) -> Tensor:
    """A with A_ij the weight from i to j, duplicates added up; (N, N) float64."""
    weight = data.edge_weight if data.edge_weight is not None else torch.ones(data.edge_index.shape[1])
    matrix = torch.zeros(data.num_nodes, data.num_nodes, dtype=torch.float64)
    return matrix.index_put(tuple(data.edge_index), weight.double(), accumulate=True)


def num_components(data: Data, nodes: Tensor | None = None) -> int:
    """Connected components among some nodes, by spreading labels: independent of the library's own search."""
    linked = (dense(data) + dense(data).T > 0).numpy()
    if nodes is not None:
        linked = linked[np.ix_(nodes, nodes)]
    todo, found = set(range(len(linked))), 0
    while todo:
        found += 1
        reached = {todo.pop()}
        while reached:
            node = reached.pop()
            near = set(np.nonzero(linked[node])[0].tolist()) & todo
            todo -= near
            reached |= near
    return found


def disconnected_clusters(data: Data, partition: Partition) -> list[int]:
    return [c for c in range(partition.num_clusters) if num_components(data, partition.members(c)) > 1]
