"""Where to draw the nodes of a graph that has no positions: by distances along edges, the same in every run."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path
from torch import Tensor

from gnet.errors import GraphError
from gnet.graphs.connected import components
from gnet.graphs.edges import Edges, checked_edges, checked_positions, similarity, subgraph

if TYPE_CHECKING:
    from torch_geometric.data import Data

Array = NDArray[np.float64]
FEW = 400
"""Up to so many nodes every distance counts and is fitted; beyond, distances to ``PIVOTS`` nodes give the picture."""
PIVOTS = 50
ROUNDS = 150


def layout(data: "Data") -> Tensor:
    """Positions in the plane: ``data.pos`` where there is one, else such that distances are the numbers of edges between nodes.

    Of positions in space the two directions of largest spread are shown; those on a line are drawn on a line. Without
    positions each component is laid out by itself (classical scaling of the hop counts, then stress majorisation) and all are
    set side by side, large ones first. Direction and weights of edges do not count. No random numbers are drawn.

    Shapes:
        returns: (N, 2) float64

    Raises:
        GraphError: no graph, positions that are not finite, or not one per node.

    References:
        Gansner, Koren and North (2004), Graph drawing by stress majorization. Brandes and Pich (2006), Eigensolver methods for
        progressive multidimensional scaling, for large graphs.

    Example:
        >>> path = Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]), num_nodes=4)
        >>> (layout(path)[1:] - layout(path)[:-1]).norm(dim=1).round(decimals=2)
        tensor([1., 1., 1.], dtype=torch.float64)
    """
    edges = checked_edges(data, signed=True)
    pos = checked_positions(data, edges.num_nodes)
    if pos is not None and pos.shape[1] > 0:
        return in_the_plane(pos)
    joined = similarity(Edges(edges.num_nodes, edges.index, edges.weight.abs()))
    pieces = components(joined)
    drawn = [_component(subgraph(joined, nodes)) for nodes in pieces]
    found = np.empty((edges.num_nodes, 2))
    for nodes, place in zip(pieces, _side_by_side(drawn), strict=True):
        found[nodes] = place
    return torch.from_numpy(found)


def in_the_plane(pos: Tensor) -> Tensor:
    """Positions of any dimension as points of the plane.

    Shapes:
        pos: (N, D)    returns: (N, 2) float64

    Raises:
        GraphError: a position that is not finite.

    Example:
        >>> in_the_plane(torch.tensor([[1.0], [4.0]]))
        tensor([[1., 0.],
                [4., 0.]], dtype=torch.float64)
    """
    points = pos.detach().cpu().double()
    if not bool(points.isfinite().all()):
        node = int((~points.isfinite().all(1)).nonzero()[0])
        raise GraphError(f"expected finite positions, got {points[node].tolist()} for node {node}; drop data.pos to lay it out")
    if points.shape[1] == 1:
        return torch.cat([points, torch.zeros_like(points)], 1)
    if points.shape[1] == 2:
        return points
    return torch.from_numpy(_principal((points - points.mean(0)).numpy()))


def _principal(points: Array) -> Array:
    """The two directions of largest spread; the sign is that which makes the largest entry positive."""
    left, scale, _ = np.linalg.svd(points, full_matrices=False)
    plane = np.zeros((len(points), 2))
    kept = min(2, len(scale))
    plane[:, :kept] = left[:, :kept] * scale[:kept]
    largest = plane[np.abs(plane).argmax(0), [0, 1]]
    return plane * np.where(largest < 0, -1.0, 1.0)


def _component(graph: csr_array) -> Array:
    size = graph.shape[0]
    if size == 1:
        return np.zeros((1, 2))
    if size > FEW:
        pivots = np.unique(np.linspace(0, size - 1, PIVOTS).astype(int))
        hops = shortest_path(graph, directed=False, unweighted=True, indices=pivots).T  # (n, pivots)
        points = _principal(_centred(hops))
        ends = graph.tocoo()
        return points / np.linalg.norm(points[ends.row] - points[ends.col], axis=1).mean()
    hops = shortest_path(graph, directed=False, unweighted=True)
    values, vectors = np.linalg.eigh(_centred(hops))
    start = vectors[:, :-3:-1] * np.sqrt(np.maximum(values[:-3:-1], 0.0))
    start = _principal(start - start.mean(0))
    # Twins start at one place: a little spiral tells them apart, and does not depend on chance.
    turn = 2.4 * np.arange(size)
    return _majorised(start + 1e-2 * np.stack([np.cos(turn), np.sin(turn)], 1), hops)


def _centred(hops: Array) -> Array:
    """Inner products that belong to the distances, as far as points in space have them."""
    squares = hops**2
    return -0.5 * (squares - squares.mean(0) - squares.mean(1, keepdims=True) + squares.mean())


def _majorised(points: Array, hops: Array) -> Array:
    """Guttman's iteration for the sum of (|x_i - x_j| - d_ij)^2 / d_ij^2; it never goes up."""
    size = len(points)
    closeness = 1 / (hops + np.eye(size)) ** 2 - np.eye(size)  # weights d^-2, 0 on the diagonal
    laplacian = np.diag(closeness.sum(1)) - closeness
    inverse = np.linalg.inv(laplacian + 1 / size) - 1 / size  # of the part orthogonal to constants
    for _ in range(ROUNDS):
        apart = np.linalg.norm(points[:, None] - points[None], axis=2)
        ratio = closeness * hops / np.where(apart > 0, apart, 1.0)
        points = inverse @ ((np.diag(ratio.sum(1)) - ratio) @ points)
    return _principal(points - points.mean(0))


def _side_by_side(drawn: list[Array]) -> list[Array]:
    """Components in rows like words on a page, large ones first; single nodes close together at the end."""
    boxes = [np.ptp(points, axis=0) + 1.0 for points in drawn]
    order = sorted(range(len(drawn)), key=lambda piece: (-len(drawn[piece]), piece))
    page = max(math.sqrt(sum(float(np.prod(box)) for box in boxes)), max(float(box[0]) for box in boxes))
    left = top = row = 0.0
    placed = list(drawn)
    for piece in order:
        width, height = boxes[piece]
        if left > 0 and left + width > 1.001 * page:
            left, top, row = 0.0, top - row, 0.0
        corner = np.array([drawn[piece][:, 0].min(), drawn[piece][:, 1].max()])
        placed[piece] = drawn[piece] - corner + np.array([left, top])
        left, row = left + float(width), max(row, float(height))
    return placed
