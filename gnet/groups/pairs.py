"""The orbits of a group on pairs of nodes, from its generators: all pairs, or the edges of a support."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gnet.errors import GraphError
from gnet.graphs.partition import Partition
from gnet.groups.base import NodeGroup
from gnet.groups.permutation import Motion, connected, motions_of

CHUNK = 1 << 24
"""Most pairs that are joined in one pass."""


def pair_labels(group: NodeGroup) -> Tensor:
    """The orbit of each pair, (N, N), numbered by first appearance.

    With r the first node of the orbit of i and g_i a product of generators that takes r to i, the pair (i, j) is equivalent to
    (r, g_i^-1 j), so that only pairs (r, j) have to be joined: a generator s takes (i, j) to (si, sj), which joins (r, g_i^-1 j)
    and (r, g_si^-1 s j). Pairs that s does not move are left out.
    """
    n = group.degree
    motions = [motion for motion in motions_of(group) if len(motion.sources)]
    roots, back = _transported(group.node_orbits(), motions)
    labels = torch.arange((int(roots.max()) + 1) * n)
    waiting, size = [], 0
    for motion in motions:
        for before, after in _equivalent(motion, roots, back):
            one, other = labels[before], labels[after]
            differ = one != other
            waiting.append(torch.stack([one[differ], other[differ]]))
            size += waiting[-1].shape[1]
            if size > CHUNK:
                labels, waiting, size = _joined(labels, waiting), [], 0
    labels = _joined(labels, waiting) if waiting else labels
    table = labels[roots[:, None] * n + back]
    first = torch.full((int(labels.max()) + 1,), n * n).scatter_reduce(0, table.flatten(), torch.arange(n * n), "amin")
    appears = torch.zeros(n * n, dtype=torch.long)
    appears[first] = 1
    return (appears.cumsum(0) - 1)[first][table]


def _transported(orbits: Partition, motions: list[Motion]) -> tuple[Tensor, Tensor]:
    """The orbit of each node (N,), and row by row g_i^-1 for a g_i that takes the first node of the orbit to i, (N, N) int32."""
    n = orbits.num_nodes
    images = [motion.on(n) for motion in motions]
    inverses = [torch.argsort(image) for image in images]
    back = torch.arange(n, dtype=torch.int32).expand(n, -1).clone()
    known = torch.zeros(n, dtype=torch.bool)
    fresh = orbits.order[orbits.ptr[:-1]]
    known[fresh] = True
    while len(fresh):
        reached = []
        for image, inverse in zip(images, inverses, strict=True):
            goals = image[fresh]
            new = ~known[goals]
            if bool(new.any()):
                back[goals[new]] = back[fresh[new]][:, inverse]  # g_si^-1 j = g_i^-1 (s^-1 j)
                known[goals[new]] = True
                reached.append(goals[new])
        fresh = torch.cat(reached) if reached else fresh[:0]
    return orbits.labels, back


def _equivalent(motion: Motion, roots: Tensor, back: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Codes ``root * N + node`` of pairs that ``motion`` maps onto each other, some rows at a time."""
    n = len(roots)
    image = motion.on(n)
    still = torch.nonzero(image == torch.arange(n)).flatten()
    # Moved receivers with every sender, then the others, whose row is the same before and after, with moved senders.
    for rows in motion.sources.split(max(1, CHUNK // n)):
        offset = roots[rows][:, None] * n
        yield (offset + back[rows]).flatten(), (offset + back[image[rows]].index_select(1, image)).flatten()
    for rows in still.split(max(1, CHUNK // len(motion.sources))):
        offset = roots[rows][:, None] * n
        before, after = (back.index_select(1, ends)[rows] for ends in (motion.sources, motion.targets))
        yield (offset + before).flatten(), (offset + after).flatten()


def _joined(labels: Tensor, pairs: list[Tensor]) -> Tensor:
    """Labels 0, 1, ... after joining the two labels of every pair in every (2, P)."""
    one, other = torch.cat(pairs, 1)
    return connected(one, other, int(labels.max()) + 1)[labels]


def edge_orbits(group: NodeGroup, edges: Tensor) -> Tensor:
    """The orbit of each edge, numbered by first appearance, (E,)."""
    num = edges.shape[1]
    if num == 0:
        return torch.empty(0, dtype=torch.long)
    n = group.degree
    codes, distinct = torch.unique(edges[0] * n + edges[1], return_inverse=True)
    ends = torch.stack([codes // n, codes % n])
    incident = Incidence.of(ends, n)
    before, after = [torch.empty(0, dtype=torch.long)], [torch.empty(0, dtype=torch.long)]
    for motion in motions_of(group):
        touched = incident.of_nodes(motion.sources)
        image = moved_ends(motion, ends[:, touched])
        wanted = image[0] * n + image[1]
        found = torch.searchsorted(codes, wanted).clamp(max=len(codes) - 1)
        missing = torch.nonzero(codes[found] != wanted).flatten()
        if len(missing):
            at = int(missing[0])
            raise GraphError(
                f"the edges are no union of orbits: edge {tuple(ends[:, touched[at]].tolist())} is there, its image "
                f"{tuple(image[:, at].tolist())} is not; add the missing images with close_edges, or take a smaller group"
            )
        before.append(touched)
        after.append(found)
    orbits = connected(torch.cat(before), torch.cat(after), len(codes))
    return Partition(orbits[distinct]).labels


PATIENCE = 32
"""Rounds of single steps before generators are taken in powers, which reaches the end of a long orbit in few rounds."""


def closed_edges(group: NodeGroup, edges: Tensor) -> Tensor:
    """The edges (2, E) and all their images, each once, sorted."""
    n = group.degree
    motions = list(motions_of(group))
    codes = fresh = torch.unique(edges[0] * n + edges[1])
    rounds = 0
    while len(fresh):
        rounds += 1
        if rounds > PATIENCE:
            return _closed_by_powers(motions, codes, n)
        ends = torch.stack([fresh // n, fresh % n])
        incident = Incidence.of(ends, n)
        images = [torch.empty(0, dtype=torch.long)]
        for motion in motions:
            image = moved_ends(motion, ends[:, incident.of_nodes(motion.sources)])
            images.append(image[0] * n + image[1])
        reached = torch.unique(torch.cat(images))
        fresh = reached[~torch.isin(reached, codes, assume_unique=True)]
        codes = torch.unique(torch.cat([codes, fresh]))
    return torch.stack([codes // n, codes % n])


def _closed_by_powers(motions: list[Motion], codes: Tensor, n: int) -> Tensor:
    """Closed under each generator g by adding g, then g^2, g^4, ... of what is there, until no generator adds anything."""
    before = -1
    while before != len(codes):
        before = len(codes)
        for motion in motions:
            power = motion.on(n)
            while True:
                reached = torch.unique(torch.cat([codes, power[codes // n] * n + power[codes % n]]))
                if len(reached) == len(codes):
                    break
                codes, power = reached, power[power]
    return torch.stack([codes // n, codes % n])


@dataclass(frozen=True)
class Incidence:
    """Which edges touch which node: ``edges[ptr[i] : ptr[i + 1]]`` those of node i, on two halves for the two ends."""

    ptr: Tensor
    edges: Tensor

    @classmethod
    def of(cls, ends: Tensor, num_nodes: int) -> "Incidence":
        """The incidence of edges (2, E)."""
        both = ends.flatten()
        sizes = torch.bincount(both, minlength=num_nodes)
        return cls(
            torch.cat([torch.zeros(1, dtype=torch.long), sizes.cumsum(0)]), torch.argsort(both, stable=True) % ends.shape[1]
        )

    def of_nodes(self, nodes: Tensor) -> Tensor:
        """The edges that touch one of the nodes, each once."""
        start, size = self.ptr[nodes], self.ptr[nodes + 1] - self.ptr[nodes]
        inner = torch.arange(int(size.sum())) - torch.repeat_interleave(size.cumsum(0) - size, size)
        return torch.unique(self.edges[torch.repeat_interleave(start, size) + inner])


def moved_ends(motion: Motion, ends: Tensor) -> Tensor:
    """The images of edges, (2, E)."""
    sources, order = torch.sort(motion.sources)
    if not len(sources):
        return ends
    spot = torch.searchsorted(sources, ends).clamp(max=len(sources) - 1)
    return torch.where(sources[spot] == ends, motion.targets[order][spot], ends)
