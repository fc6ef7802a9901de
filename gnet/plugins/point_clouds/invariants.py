"""Few invariants that tell almost all apart: of symmetric matrices under S_n, of point clouds under O(d) x S_n."""

from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor

from gnet.errors import ConfigError, DegenerateInputError, NonFiniteError, ShapeError
from gnet.plugins.point_clouds.generators import FieldGenerators, field_generators
from gnet.plugins.scalars import products
from gnet.plugins.scalars.anchors import kmeans_centroids
from gnet.plugins.scalars.products import check_vectors

SYMMETRY = 1e-6
"""How far each matrix may be from its transpose, relative to its largest entry."""
TIE = 16.0
"""Lengths of two centroids, and of two points that k-means could start from, count as the same within so many roundings."""

Mode = Literal["gram", "kmeans", "generators"]


class MatrixInvariants(NamedTuple):
    """What ``matrix_invariants`` makes of X: n + n (n - 1) / 2 + 1 numbers.

    Attributes:
        diagonal: X_ii, ascending, (..., n).
        off_diagonal: X_ij of i < j, ascending, (..., n (n - 1) / 2).
        mixed: the sum of X_ii X_ij over i != j, which ties the two sets together, (..., 1).

    Example:
        >>> matrix_invariants(torch.tensor([[3.0, 2.0], [2.0, 1.0]])).mixed
        tensor([8.])
    """

    diagonal: Tensor
    off_diagonal: Tensor
    mixed: Tensor


class CloudInvariants(NamedTuple):
    """What ``cloud_invariants`` makes of a cloud and its k centroids C: k^2 + n k numbers.

    Attributes:
        gram: C C^T, (..., k, k).
        rows: those of V C^T, in lexicographic order, (..., n, k).

    Example:
        >>> cloud_invariants(torch.tensor([[1.0], [-3.0]]), "kmeans").rows
        tensor([[-1.],
                [ 3.]])
    """

    gram: Tensor
    rows: Tensor


def matrix_invariants(X: Tensor) -> MatrixInvariants:
    """Invariants of symmetric matrices X under X -> P X P^T: the set of diagonal entries, that of the others, and one sum.

    They generate the field of invariant rational functions, and tell apart all orbits but a set of measure zero. The two sets
    alone do not change either when the other entries are shuffled among themselves; the sum does. It helps where the diagonal
    has distinct entries: with a constant one it is known from the sets, with a zero one it is zero, and all graphs with equally
    many edges look alike by their adjacency matrices. Put degrees or squared lengths there.

    Cost: O(n^2 log n), by the sorting.

    Shapes:
        X: (..., n, n)

    Raises:
        ShapeError: no square matrix of finite real floating numbers, or one that is farther from its transpose than 1e-6 of its
            largest entry; nearer ones count as (X + X^T) / 2.

    References:
        Blum-Smith, Huang, Cuturi and Villar (2024), arXiv:2405.08097. Their notebook on distances counts the diagonal among the
        other entries; the text and this function do not.

    Example:
        >>> found = matrix_invariants(torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]]))
        >>> found.off_diagonal, found.mixed
        (tensor([2., 3., 5.]), tensor([81.]))
    """
    diagonal, off_diagonal, mixed = matrix_entries(X)
    return MatrixInvariants(diagonal.sort(-1).values, off_diagonal.sort(-1).values, mixed)


def matrix_entries(X: Tensor) -> MatrixInvariants:
    """The same with the entries in the order of the matrix, for networks that see no order anyway.

    Raises:
        ShapeError: as ``matrix_invariants``.

    Example:
        >>> matrix_entries(torch.tensor([[3.0, 2.0], [2.0, 1.0]])).diagonal
        tensor([3., 1.])
    """
    X = check_symmetric(X)
    diagonal = torch.diagonal(X, dim1=-2, dim2=-1)
    rows, columns = torch.triu_indices(X.shape[-1], X.shape[-1], 1, device=X.device)
    others = (X - torch.diag_embed(diagonal)).sum(-1)  # row sums less the diagonal would cancel where it is large
    return MatrixInvariants(diagonal, X[..., rows, columns], (diagonal * others).sum(-1, keepdim=True))


def check_symmetric(X: Tensor) -> Tensor:
    """The symmetric part of ``X``, if that is all of it but rounding: of a matrix, or of each of a batch.

    So what is computed from it is invariant to rounding, also where ``X`` is not quite symmetric.

    Raises:
        ShapeError: it is not symmetric, or has NaN or infinite entries.

    Example:
        >>> check_symmetric(torch.eye(2)).shape
        torch.Size([2, 2])
    """
    if X.ndim < 2 or X.shape[-1] != X.shape[-2] or not X.is_floating_point():
        raise ShapeError(f"expected symmetric matrices X (..., n, n) of real floating numbers, got {tuple(X.shape)} of {X.dtype}")
    if X.numel():
        given = X.detach()
        error, size = ((given - given.mT).abs().amax((-2, -1)).flatten(), given.abs().amax((-2, -1)).flatten())
        is_other = ~(error <= SYMMETRY * size)  # NaN and infinity are, too
        if bool(is_other.any()):
            first = int(is_other.nonzero()[0])
            raise ShapeError(
                f"expected symmetric X of finite entries, got |X - X^T| up to {error[first]:.3g} of {size[first]:.3g}"
                f"{f' in matrix {first}' if X.ndim > 2 else ''}; take (X + X.mT) / 2"
            )
    return (X + X.mT) / 2


@overload
def cloud_invariants(V: Tensor, mode: Literal["gram"] = "gram", k: int | None = None) -> MatrixInvariants: ...


@overload
def cloud_invariants(V: Tensor, mode: Literal["kmeans"], k: int | None = None) -> CloudInvariants: ...


@overload
def cloud_invariants(V: Tensor, mode: Literal["generators"], k: int | None = None) -> FieldGenerators: ...


def cloud_invariants(
    V: Tensor, mode: Mode = "gram", k: int | None = None
) -> MatrixInvariants | CloudInvariants | FieldGenerators:
    """Invariants of point clouds under O(d) and permutations of the points; subtract the mean first for translations, too.

    Args:
        mode: "gram": ``matrix_invariants`` of V V^T, O(n^2) numbers. "kmeans": products with k centroids of the cloud itself, and
            of these with each other, O(n k); clusters start from the longest point and those farthest, so that neither rotations
            nor the order of points matter. On a sphere there is no longest point, and nothing to start from.
            "generators": ``field_generators``, for tests on small clouds.
        k: of "kmeans"; d by default, which determines the cloud where the centroids are independent.

    Shapes:
        V: (..., n, d)

    Raises:
        ConfigError: another mode, or k without "kmeans".
        ShapeError: no cloud, or fewer than k points.
        DegenerateInputError: two centroids that are the same, or equally long, so that their order is not defined; two points
            that are both longest, or both farthest from the starts before, within 16 roundings.
        NonFiniteError: points that are NaN or infinite, with "kmeans".

    References:
        Blum-Smith, Huang, Cuturi and Villar (2024), arXiv:2405.08097.

    Example:
        >>> V = torch.randn(7, 20, 3)
        >>> [tuple(each.shape) for each in cloud_invariants(V)]
        [(7, 20), (7, 190), (7, 1)]
        >>> [tuple(each.shape) for each in cloud_invariants(V, "kmeans", k=2)]
        [(7, 2, 2), (7, 20, 2)]
    """
    if mode not in ("gram", "kmeans", "generators"):
        raise ConfigError(f"expected mode 'gram', 'kmeans' or 'generators', got {mode!r}")
    if k is not None and mode != "kmeans":
        raise ConfigError(f"mode={mode!r} has no centroids; leave k out, or take mode='kmeans'")
    V = check_vectors(V, "O")
    if mode == "gram":
        return matrix_invariants(products(V))
    if mode == "generators":
        return field_generators(V)
    centroids = ordered_centroids(V, V.shape[-1] if k is None else k)
    return CloudInvariants(products(centroids), _lexicographic(products(V, centroids)))


def ordered_centroids(V: Tensor, k: int) -> Tensor:
    """k centroids of a cloud by their length, (..., n, d) -> (..., k, d).

    Raises:
        ShapeError: fewer than k points, or k < 1.
        DegenerateInputError: two that are the same or equally long, or two points to start from.
        NonFiniteError: points that are NaN or infinite.

    Example:
        >>> ordered_centroids(torch.tensor([[0.0], [1.0], [10.0], [12.0]]), 2)
        tensor([[ 0.5000],
                [11.0000]])
    """
    if k < 1:
        raise ShapeError(f"expected k >= 1 centroids, got {k}")
    if not V.numel() and V.shape[-2] >= k:
        return V[..., :k, :]
    if not bool(torch.isfinite(V.detach()).all()):
        raise NonFiniteError("expected clouds of finite points, got NaN or infinity; leave such clouds out")
    # Distances are not computed in half precision, nor should clusters be found in it.
    wide = V.float() if V.dtype in (torch.bfloat16, torch.float16) else V
    with torch.autocast(V.device.type, enabled=False):
        centroids = kmeans_centroids(wide, k)
        _check_start(wide.detach(), k)
        lengths = centroids.detach().norm(dim=-1)
    gaps = lengths[..., 1:] - lengths[..., :-1]
    if bool((gaps <= TIE * torch.finfo(wide.dtype).eps * lengths[..., 1:]).any()):
        raise DegenerateInputError(f"expected {k} centroids of different lengths, got two that are equally long; take another k")
    return centroids.to(V.dtype)


def _check_start(V: Tensor, k: int) -> None:
    """Raise where rounding or the order of points decides which of them the k clusters start from."""
    if k == 1:  # all points are one cluster, from wherever it starts
        return
    values = V.norm(dim=-1)
    # Rounding of squared distances grows with squared lengths, whatever the distance.
    rounding = TIE * torch.finfo(V.dtype).eps * values.amax(-1, keepdim=True).square()
    nearest = torch.full_like(values, torch.inf)
    for start in range(k):
        top, place = values.max(-1, keepdim=True)
        chosen = V.gather(-2, place[..., None].expand(*place.shape, V.shape[-1]))
        apart = (V - chosen).norm(dim=-1)
        # One point that stands in the cloud twice is the same start.
        if bool((((top - values) * top <= rounding) & (apart * top > rounding)).any()):
            what = "longest" if not start else "farthest from the starts before"
            raise DegenerateInputError(
                f"expected one point to start a cluster from, got two that are {what}; take mode='gram', or float64"
            )
        values = nearest = torch.minimum(nearest, apart)


def _lexicographic(rows: Tensor) -> Tensor:
    """Rows by their first entry, those that tie by their second, and so on: (..., n, k)."""
    order = torch.arange(rows.shape[-2], device=rows.device).expand(rows.shape[:-1])
    for column in reversed(range(rows.shape[-1])):
        keys = rows.detach()[..., column].gather(-1, order)
        order = order.gather(-1, keys.argsort(dim=-1, stable=True))
    return rows.gather(-2, order[..., None].expand_as(rows))
