"""Edge orbits of a cluster group, from its clusters alone: O(E + k), whatever the number of clusters."""

import torch
from torch import Tensor

from gnet.errors import GraphError
from gnet.graphs.partition import Partition
from gnet.groups.cluster import ClusterGroup
from gnet.groups.pairs import closed_edges, edge_orbits


def cluster_edge_orbits(group: ClusterGroup, edges: Tensor) -> Tensor:
    """The orbit of each edge (2, E), numbered by first appearance, (E,).

    An edge from C_m to C_l belongs to the orbit of the pair (m, l) of clusters under the swaps, an edge from a node to itself to
    that of its cluster. A union of orbits has all pairs of nodes of each pair of clusters it touches, which counting shows.

    Raises:
        GraphError: the edges are no union of orbits; the message names an edge and its missing image.
    """
    if edges.shape[1] == 0:
        return torch.empty(0, dtype=torch.long)
    partition, n = group.partition, group.degree
    codes, distinct = torch.unique(edges[0] * n + edges[1], return_inverse=True)
    ends = torch.stack([codes // n, codes % n])
    k, sizes = partition.num_clusters, partition.sizes
    cells = partition.labels[ends]  # (2, E)
    is_own = (ends[0] == ends[1]) & (sizes[cells[0]] > 1)
    blocks, block, present = torch.unique((cells[0] * k + cells[1]) * 2 + is_own.long(), return_inverse=True, return_counts=True)
    sender, receiver, own = blocks // (2 * k), blocks // 2 % k, blocks % 2 == 1
    pairs = sizes[sender] * sizes[receiver]
    inside = (sender == receiver) & ~own & (sizes[sender] > 1)
    wanted = torch.where(own, sizes[sender], pairs - torch.where(inside, sizes[sender], 0))
    short = torch.nonzero(present < wanted).flatten()
    if len(short):
        _raise_missing(group, ends[:, block == short[0]], bool(own[short[0]]), codes)
    if group.swaps is None:
        return Partition(block[distinct]).labels
    _check_swapped(group, blocks, ends, block)
    orbit = torch.empty(len(blocks), dtype=torch.long)
    for kind, offset in ((own, 0), (~own, len(blocks))):
        orbit[kind] = offset + edge_orbits(group.swaps, torch.stack([sender, receiver])[:, kind])
    return Partition(orbit[block][distinct]).labels


def closed_cluster_edges(group: ClusterGroup, edges: Tensor) -> Tensor:
    """The edges and all their images: every pair of nodes between the clusters that an edge joins, and the swaps of these."""
    partition, n, k = group.partition, group.degree, group.partition.num_clusters
    cells = partition.labels[edges]
    is_own = (edges[0] == edges[1]) & (partition.sizes[cells[0]] > 1)
    found = [edges[0, :0]]
    for kind in (is_own, ~is_own):
        pairs = torch.unique(cells[:, kind], dim=1)
        if group.swaps is not None:
            pairs = closed_edges(group.swaps, pairs)
        if kind is is_own:
            touched = torch.zeros(k, dtype=torch.bool).index_fill(0, pairs[0], True)
            nodes = torch.nonzero(touched[partition.labels]).flatten()
            found.append(nodes * (n + 1))
            continue
        rows, columns = partition.sizes[pairs]
        block = torch.repeat_interleave(torch.arange(pairs.shape[1]), rows * columns)
        place = torch.arange(len(block)) - torch.repeat_interleave((rows * columns).cumsum(0) - rows * columns, rows * columns)
        starts = partition.ptr[pairs]
        senders = partition.order[starts[0][block] + place // columns[block]]
        receivers = partition.order[starts[1][block] + place % columns[block]]
        kept = (senders != receivers) | (rows * columns == 1)[block]
        found.append((senders * n + receivers)[kept])
    codes = torch.unique(torch.cat(found))
    return torch.stack([codes // n, codes % n])


def _check_swapped(group: ClusterGroup, blocks: Tensor, ends: Tensor, block: Tensor) -> None:
    """Refuse blocks, coded (sender k + receiver) 2 + own, that the swaps do not map onto one another."""
    k = group.partition.num_clusters
    for sigma in group.swaps.generators if group.swaps is not None else ():
        image = (sigma[blocks // (2 * k)] * k + sigma[blocks // 2 % k]) * 2 + blocks % 2
        missing = torch.nonzero(~torch.isin(image, blocks)).flatten()
        if len(missing):
            edge = ends[:, block == missing[0]][:, 0]
            raise GraphError(_message(edge, group.lift(sigma)[edge]))


def _raise_missing(group: ClusterGroup, ends: Tensor, own: bool, codes: Tensor) -> None:
    senders, receivers = (group.partition.members(int(group.partition.labels[end])) for end in ends[:, 0])
    limit = len(codes) + 1
    if own:
        candidates = torch.stack([senders, senders])
    else:
        spot = torch.arange(min(limit + len(senders), len(senders) * len(receivers)))
        candidates = torch.stack([senders[spot // len(receivers)], receivers[spot % len(receivers)]])
        candidates = candidates[:, (candidates[0] != candidates[1]) | (len(senders) == 1)]
    missing = candidates[:, ~torch.isin(candidates[0] * group.degree + candidates[1], codes)][:, 0]
    raise GraphError(_message(ends[:, 0], missing))


def _message(edge: Tensor, image: Tensor) -> str:
    return (
        f"the edges are no union of orbits: edge {tuple(edge.tolist())} is there, its image {tuple(image.tolist())} is not; "
        "add the missing images with close_edges, or take a smaller group"
    )
