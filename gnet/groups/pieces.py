"""Coloured graphs that can be refined and split into independent parts: what the search for automorphisms works on."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

NO_EDGE = np.uint64(0x6A09E667F3BCC909)
CHOSEN = np.uint64(0xBB67AE8584CAA73B)
"""Arbitrary constants: the colour of a pair that is *not* joined, and the mark of an individualised node."""


def mixed(values: Hashes) -> Hashes:
    """A bijection of 64-bit numbers that spreads every bit over all (splitmix64, Steele, Lea and Flood 2014)."""
    x = values + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(eq=False)
class Piece:
    """A coloured graph on some of the nodes; each joined pair is listed once, with its colour as seen from either end.

    Shapes:
        nodes: (n,) names in the whole graph    colours: (n,)
        ends: (2, E) positions in ``nodes``     views: (2, E) the pair's colour seen from ``ends[0]`` and from ``ends[1]``
    """

    nodes: Ints
    colours: Hashes
    ends: Ints
    views: Hashes
    is_refined: bool = field(default=False)

    def __len__(self) -> int:
        return len(self.nodes)

    def refine(self) -> "Piece":
        """Refine the colours in place until the number of colours stays."""
        if self.is_refined:
            return self
        self.is_refined = True
        num_colours = len(np.unique(self.colours))
        if not self.ends.shape[1] or num_colours == len(self):
            return self
        source, target = self.ends.ravel(), self.ends[::-1].ravel()
        order = np.argsort(source, kind="stable")
        source, target, view = source[order], target[order], mixed(self.views.ravel()[order])
        starts = np.flatnonzero(np.r_[True, source[1:] != source[:-1]])
        touched = source[starts]
        while num_colours < len(self):
            seen = np.add.reduceat(mixed(self.colours[target] ^ view), starts)
            fresh = mixed(self.colours)
            fresh[touched] = mixed(fresh[touched] + seen)
            found = len(np.unique(fresh))
            if found == num_colours:
                break
            self.colours, num_colours = fresh, found
        return self

    @cached_property
    def profile(self) -> bytes:
        """What isomorphic pieces have in common: the sorted colours and the number of joined pairs."""
        self.refine()
        return np.sort(self.colours).tobytes() + self.ends.shape[1].to_bytes(8, "little")

    @cached_property
    def parts(self) -> "Parts | None":
        """The independent parts, or None if the piece holds together."""
        self.refine()
        return _split(self)

    @cached_property
    def target(self) -> Ints:
        """The positions of the smallest colour class, one that isomorphic pieces agree on."""
        _, which, sizes = np.unique(self.colours, return_inverse=True, return_counts=True)
        sizes = np.where(sizes > 1, sizes, len(self) + 1)
        return np.flatnonzero(which == int(np.argmin(sizes)))

    def individualised(self, position: int) -> "Piece":
        """A copy in which one node has a colour of its own."""
        colours = self.colours.copy()
        colours[position] = mixed(colours[position : position + 1] ^ CHOSEN)[0]
        return Piece(self.nodes, colours, self.ends, self.views)


@dataclass(eq=False)
class Parts:
    """What a piece falls into.

    Shapes:
        loose: positions of the nodes that are joined to nothing, sorted by colour    loose_colours: theirs
        components: for each, its piece and the positions of its nodes
    """

    loose: Ints
    loose_colours: Hashes
    components: list[tuple[Piece, Ints]]


def _split(piece: Piece) -> Parts | None:
    ends, views = _thinned(piece)
    n = len(piece)
    if ends.shape[1]:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        graph = coo_array((np.ones(ends.shape[1], dtype=np.int8), (ends[0], ends[1])), shape=(n, n))
        count, label = connected_components(graph, directed=False)
    else:
        count, label = n, np.arange(n)
    if count == 1 and n > 1 and ends.shape[1] == piece.ends.shape[1]:
        return None
    sizes = np.bincount(label, minlength=count)
    loose = np.flatnonzero(sizes[label] == 1)
    loose = loose[np.argsort(piece.colours[loose], kind="stable")]
    by_label = np.argsort(label, kind="stable")
    place = np.empty(n, dtype=np.int64)
    node_starts = np.concatenate([[0], np.cumsum(sizes)])
    place[by_label] = np.arange(n) - node_starts[label[by_label]]
    edge_order = np.argsort(label[ends[0]], kind="stable")
    edge_sizes = np.bincount(label[ends[0]], minlength=count)
    edge_starts = np.concatenate([[0], np.cumsum(edge_sizes)])
    components = []
    for part in np.flatnonzero(sizes > 1):
        members = by_label[node_starts[part] : node_starts[part + 1]]
        edges = edge_order[edge_starts[part] : edge_starts[part + 1]]
        components.append((Piece(piece.nodes[members], piece.colours[members], place[ends[:, edges]], views[:, edges]), members))
    return Parts(loose, piece.colours[loose], components)


def _thinned(piece: Piece) -> tuple[Ints, Hashes]:
    """The joined pairs without the commonest kind between each two colours; where not being joined is rarer, that is marked."""
    ends, views = piece.ends, piece.views
    if not ends.shape[1]:
        return ends, views
    kinds, cell, sizes = np.unique(piece.colours, return_inverse=True, return_counts=True)
    if len(kinds) == len(piece):  # all nodes are known apart: every pair is determined
        return ends[:, :0], views[:, :0]
    row, column = cell[ends]
    turned = row > column
    ends, views = np.where(turned, ends[::-1], ends), np.where(turned, views[::-1], views)
    row, column = np.minimum(row, column), np.maximum(row, column)
    within = row == column
    view = np.where(within, np.minimum(views[0], views[1]), views[0])
    order = np.lexsort((view, column, row))
    row, column, view, ends, views = row[order], column[order], view[order], ends[:, order], views[:, order]
    new_block = np.r_[True, (row[1:] != row[:-1]) | (column[1:] != column[:-1])]
    new_kind = new_block | np.r_[True, view[1:] != view[:-1]]
    kind_starts, block_starts = np.flatnonzero(new_kind), np.flatnonzero(new_block)
    counts = np.diff(np.r_[kind_starts, len(row)])
    # A kind within one colour that looks different from its two ends is no single relation: it must stay.
    rank = np.where((views[0] == views[1])[kind_starts] | (row != column)[kind_starts], counts, 0)
    block_of_kind = (np.cumsum(new_block) - 1)[kind_starts]
    joined = np.diff(np.r_[block_starts, len(row)])
    a, b = sizes[row[block_starts]], sizes[column[block_starts]]
    pairs = np.where(row[block_starts] == column[block_starts], a * (a - 1) // 2, a * b)
    missing = pairs - joined
    best = np.maximum.reduceat(rank, np.searchsorted(block_of_kind, np.arange(len(block_starts))))
    worst = best > missing
    if not worst.any():
        return piece.ends, piece.views
    # The last kind with the largest count: kinds are sorted by colour, so isomorphic pieces choose alike.
    chosen = np.full(len(block_starts), -1)
    is_best = (rank == best[block_of_kind]) & worst[block_of_kind]
    chosen[block_of_kind[is_best]] = np.flatnonzero(is_best)
    dropped = np.isin(np.cumsum(new_kind) - 1, chosen[chosen >= 0])
    kept_ends, kept_views = [ends[:, ~dropped]], [views[:, ~dropped]]
    for block in np.flatnonzero(worst & (missing > 0)):
        start, stop = block_starts[block], block_starts[block] + joined[block]
        added = _missing_pairs(ends[:, start:stop], cell, int(row[start]), int(column[start]), len(piece))
        kept_ends.append(added)
        kept_views.append(np.full(added.shape, NO_EDGE))
    return np.concatenate(kept_ends, 1), np.concatenate(kept_views, 1)


def _missing_pairs(ends: Ints, cell: Ints, row: int, column: int, n: int) -> Ints:
    """The pairs of two colours that are not joined; more are joined than not, so this is linear in the joined ones."""
    left, right = np.flatnonzero(cell == row), np.flatnonzero(cell == column)
    if row == column:
        first, second = np.triu_indices(len(left), 1)
        every = np.stack([left[first], left[second]])
        ends = np.sort(ends, 0)
    else:
        every = np.stack([np.repeat(left, len(right)), np.tile(right, len(left))])
    return every[:, ~np.isin(every[0] * n + every[1], ends[0] * n + ends[1])]
