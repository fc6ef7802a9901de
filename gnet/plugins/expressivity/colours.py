"""Colours that message passing gives to nodes and to pairs of nodes, and the orbits that a group gives them."""

import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gnet.errors import ConfigError, ShapeError
from gnet.graphs.edges import checked_edges
from gnet.groups import automorphism_group

if TYPE_CHECKING:
    from torch_geometric.data import Data

PAIR_NODES = 256
"""Most nodes for which pairs are coloured: each round compares N^3 triples."""
ORBIT_NODES = 2000
"""Most nodes for which ``orbits`` searches for automorphisms."""
WEIGHT_TOLERANCE = 1e-6
"""Sorted weights that differ by no more are one weight, for colours as for automorphisms."""


class WLColors(NamedTuple):
    """What colour refinement ends with.

    Shapes:
        colors: (N,) for k = 1, (N, N) for k = 2; numbered 0, 1, ... by first appearance
    """

    colors: Tensor
    rounds: int

    @property
    def num_classes(self) -> int:
        """How many colours there are."""
        return int(self.colors.max()) + 1


def wl_colors(
    graph: "Data", k: Literal[1, 2] = 1, init: Tensor | Sequence[int] | None = None, *, strict: bool = True
) -> WLColors:
    """The stable colours of the Weisfeiler-Leman test, and how many rounds change them.

    k = 1 refines nodes by the multisets of their neighbours' colours, along the directions of the edges: what no message passing
    net with constant input can tell apart. k = 2 is the folklore test: the colour of (i, j) is refined by the multiset of
    (colour of (i, w), colour of (w, j)) over all w. Edges of different weight (beyond ``WEIGHT_TOLERANCE``) are different; an
    edge without weight counts 1.

    O(E log E) time a round for k = 1, O(N^3 log N) for k = 2.

    Args:
        init: (N,) integers, the colours to start from; None starts with one.
        strict: refuse self-loops and repeated edges; otherwise they count as neighbours, each time.

    Raises:
        ShapeError: self-loops or repeated edges with ``strict``, or ``init`` of another length or of no integers.
        ConfigError: another k, or more than ``PAIR_NODES`` nodes with k = 2.

    References:
        Weisfeiler and Leman (1968); Cai, Fuerer and Immerman (1992), for the folklore test; Xu et al. (2019), arXiv:1810.00826,
        and Morris et al. (2019), arXiv:1810.02244, for what they say of message passing.

    Example:
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 2, 1, 2, 3], [1, 2, 3, 0, 1, 2]]), num_nodes=4)
        >>> wl_colors(path)
        WLColors(colors=tensor([0, 1, 1, 0]), rounds=1)
        >>> wl_colors(path, k=2).colors[0]
        tensor([0, 1, 2, 3])
    """
    colours, rounds = refined([graph], k, [init], strict)
    return WLColors(_by_appearance(colours[0]), rounds)


def same_wl(graph: "Data", other: "Data", k: Literal[1, 2] = 1, *, strict: bool = True) -> bool:
    """Whether the test finds no difference: both graphs have equally many nodes (k = 1) or pairs (k = 2) of each colour.

    Isomorphic graphs always pass. Graphs that pass with k = 1 get the same readout from every message passing net with constant
    input (Xu et al. 2019, arXiv:1810.00826).

    Raises:
        ShapeError, ConfigError: as ``wl_colors``.

    Example:
        >>> from gnet.plugins.expressivity import pairs
        >>> hexagon, triangles = pairs()["C6 and two C3"]
        >>> same_wl(hexagon, triangles), same_wl(hexagon, triangles, k=2)
        (True, False)
    """
    (one, two), _ = refined([graph, other], k, [None, None], strict)
    most = int(max(one.max(), two.max())) + 1
    return bool(np.array_equal(np.bincount(one.ravel(), minlength=most), np.bincount(two.ravel(), minlength=most)))


def orbits(graph: "Data", init: Tensor | Sequence[int] | None = None) -> Tensor:
    """The orbits of nodes under Aut(G): what an equivariant map with constant input cannot tell apart, and an exact one does.

    Beyond ``ORBIT_NODES`` nodes the colours of ``wl_colors`` are returned, with a warning: every orbit lies within one of them.
    There is no limit to the number of automorphisms: the search finds generators and never lists them, so that colours in place
    of orbits would be coarser for nothing. One core takes .01 s for a star of 2000 nodes, .3 s for a circle of 2000, 2 s for the
    rook's graph of 20 x 20 (1e37 automorphisms).

    Args:
        init: (N,) integers; an automorphism keeps them.

    Shapes:
        returns: (N,) int64, numbered by first appearance

    Raises:
        GraphError: a graph whose edges are impossible.
        ShapeError: ``init`` of another length or of no integers.

    Example:
        >>> from torch_geometric.data import Data
        >>> star = Data(edge_index=torch.tensor([[0, 0, 1, 2], [1, 2, 0, 0]]), num_nodes=3)
        >>> orbits(star)
        tensor([0, 1, 1])
    """
    num_nodes = checked_edges(graph, signed=True).num_nodes
    labels = torch.from_numpy(_checked_init(init, num_nodes))
    if num_nodes > ORBIT_NODES:
        warnings.warn(
            f"graphs are searched for automorphisms up to {ORBIT_NODES} nodes, this one has {num_nodes}: these are the colours "
            "of message passing, of which orbits may be parts",
            stacklevel=2,
        )
        return wl_colors(graph, init=init, strict=False).colors
    return automorphism_group(graph, node_labels=labels, tol=WEIGHT_TOLERANCE).node_orbits().labels


@dataclass(frozen=True)
class _Start:
    """A graph as arrays: incoming edges sorted by target, and the colours to start from."""

    num_nodes: int
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    init: np.ndarray

    @classmethod
    def of(cls, graph: "Data", init: Tensor | Sequence[int] | None, strict: bool) -> "_Start":
        edges = checked_edges(graph, signed=True)
        source, target = edges.index.numpy()
        if strict:
            _check_simple(source, target, edges.num_nodes)
        colours = _checked_init(init, edges.num_nodes)
        order = np.argsort(target, kind="stable")
        return cls(edges.num_nodes, source[order], target[order], edges.weight.numpy()[order], colours)


def _checked_init(init: Tensor | Sequence[int] | None, num_nodes: int) -> np.ndarray:
    if init is None:
        return np.zeros(num_nodes, dtype=np.int64)
    colours = init.detach().cpu().numpy() if isinstance(init, Tensor) else np.asarray(init)
    if colours.shape != (num_nodes,):
        raise ShapeError(f"expected init of shape ({num_nodes},), one colour for each node, got {colours.shape}")
    if colours.dtype.kind not in "iu":
        raise ShapeError(f"expected init of integers, got {colours.dtype}; number the values: unique(..., return_inverse=True)")
    return colours.astype(np.int64)


def _check_simple(source: np.ndarray, target: np.ndarray, num_nodes: int) -> None:
    loops = source[source == target]
    if len(loops):
        raise ShapeError(f"expected a graph without self-loops, node {loops[0]} has one; remove them, or give strict=False")
    if len(np.unique(source * num_nodes + target)) < len(source):
        raise ShapeError("expected every edge once, got some repeatedly; coalesce the graph, or give strict=False")


def refined(
    graphs: "Sequence[Data]", k: int, inits: Sequence[Tensor | Sequence[int] | None], strict: bool
) -> tuple[list[np.ndarray], int]:
    """Stable colours with one palette for all graphs, and the number of rounds that made new ones.

    Example:
        >>> from gnet.plugins.expressivity import pairs
        >>> [each.tolist() for each in refined(pairs()["P4 and K1,3"], 1, [None, None], True)[0]]
        [[0, 1, 1, 0], [2, 3, 3, 3]]
    """
    starts = [_Start.of(graph, init, strict) for graph, init in zip(graphs, inits, strict=True)]
    if k not in (1, 2):
        raise ConfigError(f"expected k = 1 (nodes) or k = 2 (pairs, folklore), got {k!r}")
    if k == 2 and max(start.num_nodes for start in starts) > PAIR_NODES:
        raise ConfigError(f"k = 2 compares N^3 triples, so it takes up to {PAIR_NODES} nodes; take k=1")
    kinds = _kinds([start.weight for start in starts])
    if k == 1:
        colours = _palette([start.init.tolist() for start in starts])
        return _until_stable(colours, lambda each: [_of_nodes(*trio) for trio in zip(starts, kinds, each, strict=True)])
    names: dict[tuple[int, ...], int] = {(): 0}  # of the edges from one node to another; none is 0
    colours = _palette([_pairs_of(start, own, names) for start, own in zip(starts, kinds, strict=True)])
    squares = [each.reshape(start.num_nodes, start.num_nodes) for start, each in zip(starts, colours, strict=True)]
    return _until_stable(squares, lambda each: [_of_pairs(one, _most(each)) for one in each])


def _until_stable(
    colours: list[np.ndarray], keys: Callable[[list[np.ndarray]], Sequence[Sequence[Hashable]]]
) -> tuple[list[np.ndarray], int]:
    """Replace each colour by that of its key until there are no more of them."""
    rounds, count = 0, _most(colours)
    while True:
        finer = [new.reshape(old.shape) for new, old in zip(_palette(keys(colours)), colours, strict=True)]
        if _most(finer) == count:
            return colours, rounds
        colours, rounds, count = finer, rounds + 1, _most(finer)


def _kinds(weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    """One number for each weight of all graphs, by the rule of ``automorphism_group``; (E,) int64 each."""
    values = np.concatenate(weights)
    order = np.argsort(values, kind="stable")
    found = np.empty(len(values), dtype=np.int64)
    found[order] = np.cumsum(np.diff(values[order], prepend=values[order][:1]) > WEIGHT_TOLERANCE)
    return np.split(found, np.cumsum([len(each) for each in weights])[:-1])


def _most(colours: Sequence[np.ndarray]) -> int:
    return max(int(each.max()) for each in colours) + 1


def _palette(keys: Sequence[Sequence[Hashable]]) -> list[np.ndarray]:
    """Numbers for keys, equal where keys are equal, over all lists; (len,) int64 each."""
    known: dict[Hashable, int] = {}
    return [np.array([known.setdefault(key, len(known)) for key in each], dtype=np.int64) for each in keys]


def _of_nodes(start: _Start, kinds: np.ndarray, colours: np.ndarray) -> list[tuple[int, bytes]]:
    """Of each node its colour and the sorted colours (and kinds of edges) that it hears."""
    heard = (kinds << 32) + colours[start.source]  # the same number for the same in every graph
    order = np.lexsort((heard, start.target))
    ends = np.searchsorted(start.target, np.arange(start.num_nodes + 1))
    heard = heard[order]
    return [(int(colour), heard[ends[i] : ends[i + 1]].tobytes()) for i, colour in enumerate(colours)]


def _pairs_of(start: _Start, kinds: np.ndarray, names: dict[tuple[int, ...], int]) -> list[bytes]:
    """The first colour of each pair: whether it is a node, the edges both ways, the colours of both ends."""
    n = start.num_nodes
    joined: dict[tuple[int, int], list[int]] = {}
    for source, target, kind in zip(start.source.tolist(), start.target.tolist(), kinds.tolist(), strict=True):
        joined.setdefault((source, target), []).append(kind)
    edge = np.zeros((n, n), dtype=np.int64)
    for (source, target), found in joined.items():
        edge[source, target] = names.setdefault(tuple(sorted(found)), len(names))
    cells = np.stack([np.eye(n, dtype=np.int64), edge, edge.T, *np.broadcast_arrays(start.init[:, None], start.init[None])], -1)
    return [cell.tobytes() for cell in cells.reshape(n * n, -1)]


def _of_pairs(colours: np.ndarray, most: int) -> list[tuple[int, bytes]]:
    """Of each pair (i, j) its colour and the sorted pairs of colours of (i, w) and (w, j)."""
    found = []
    for row in colours:
        codes = np.sort(row[None, :] * most + colours.T, axis=1)  # (j, w)
        found += [(int(own), code.tobytes()) for own, code in zip(row, codes, strict=True)]
    return found


def _by_appearance(colours: np.ndarray) -> Tensor:
    _, first, inverse = np.unique(colours, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return torch.from_numpy(rank[inverse.reshape(colours.shape)])
