"""Anchors: a few vectors that move with all the others, so that products with them are enough."""

import torch
from torch import Tensor

from gnet.counts import check_count
from gnet.errors import ConfigError, DegenerateInputError, ShapeError
from gnet.nn.checks import require_finite
from gnet.plugins.scalars.products import check_vectors, kind_of, products

ROUNDING = 16.0
"""Anchors count as dependent where the smallest singular value of their products is this many roundings of the largest."""


def gram_from_anchors(with_anchors: Tensor, of_anchors: Tensor) -> Tensor:
    """All products of n vectors from those with d independent anchors: G = A B^-* A^*, with A = <x_i, a_j> and B = <a_i, a_j>.

    So n d numbers hold what n (n + 1) / 2 do, for every form; with anchors among the vectors d (d - 1) / 2 of them are double.

    Shapes:
        with_anchors: (..., n, d)    of_anchors: (..., d, d)    returns: (..., n, n)

    Raises:
        ShapeError: shapes that do not fit.
        DegenerateInputError: dependent anchors, or products that are not finite.

    Example:
        >>> x = torch.randn(6, 3, dtype=torch.float64)
        >>> a = products(x, x[:3])
        >>> torch.allclose(gram_from_anchors(a, a[:3]), products(x))
        True
    """
    d = of_anchors.shape[-1]
    if of_anchors.shape[-2:] != (d, d) or with_anchors.shape[-1] != d:
        raise ShapeError(
            f"expected products (..., n, d) and (..., d, d), got {tuple(with_anchors.shape)} and {tuple(of_anchors.shape)}"
        )
    require_finite(of_anchors, "products of anchors")
    dtype, wide = with_anchors.dtype, torch.promote_types(of_anchors.dtype, torch.float32)
    with_anchors, of_anchors = with_anchors.to(wide), of_anchors.to(wide)  # half precision has no linear algebra of its own
    sizes = torch.linalg.svdvals(of_anchors)
    if bool((sizes[..., -1] <= ROUNDING * d * torch.finfo(sizes.dtype).eps * sizes[..., 0]).any()):
        raise DegenerateInputError(f"expected {d} independent anchors, got dependent ones; take other vectors, or pairs='all'")
    return (with_anchors @ torch.linalg.solve(of_anchors.mH, with_anchors.mH)).to(dtype)


def check_independent(anchors: Tensor) -> Tensor:
    """The anchors, if those of every item span R^d; else their products do not determine those of the other vectors.

    Each anchor counts at length one, so that long ones do not hide short ones.

    Shapes:
        anchors: (..., k, d) with k >= d; fewer are not judged

    Raises:
        DegenerateInputError: dependent anchors, or NaN and infinity among them, with the first item that has them.

    Example:
        >>> check_independent(torch.tensor([[1.0, 0.0], [1.0, 1e-3]])).shape
        torch.Size([2, 2])
    """
    k, d = anchors.shape[-2:]
    if k < d or not anchors.numel():
        return anchors
    given = anchors.detach().to(torch.promote_types(anchors.dtype, torch.float32))
    require_finite(given, "anchors")
    lengths = given.norm(dim=-1, keepdim=True)
    sizes = torch.linalg.svdvals(torch.where(lengths > 0, given / lengths, given))
    is_dependent = sizes[..., -1] <= ROUNDING * d * torch.finfo(sizes.dtype).eps * sizes[..., 0]
    if bool(is_dependent.any()):
        item = is_dependent.nonzero()[0].tolist()
        where = f" of item {item[0] if len(item) == 1 else tuple(item)}" if item else ""
        raise DegenerateInputError(
            f"expected {d} independent anchors, got dependent ones{where}: products with them do not determine the others; "
            "take pairs='upper' or 'all', or other anchors ('first', 'moments', 'kmeans', or your own)"
        )
    return anchors


def moment_vectors(x: Tensor, k: int, group: str = "O") -> Tensor:
    """Vectors that move with a cloud and do not see the order of its points: m_j = sum_i <v_i, v_i>^(j-1) v_i.

    Of Sp, where every <v, v> is zero, m_1 is the sum and m_(j+1) = sum_i <v_i, m_j> v_i.

    Shapes:
        x: (..., n, d)    returns: (..., k, d)

    Units: powers 2 j - 1 of those of x; give x of size about one.

    Raises:
        ConfigError: k < 1.

    Example:
        >>> moment_vectors(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), 2)
        tensor([[1., 2.],
                [1., 8.]])
    """
    x = check_vectors(x, group)
    check_count(k=k)
    if kind_of(group).form == "symplectic":
        found = [x.sum(-2, keepdim=True)]
        for _ in range(k - 1):
            found.append((products(x, found[-1], group) * x).sum(-2, keepdim=True))
        return torch.cat(found, -2)
    squares = torch.diagonal(products(x, group=group), dim1=-2, dim2=-1)
    powers = torch.stack([squares**j for j in range(k)], -2)  # (..., k, n)
    return powers @ x


def kmeans_centroids(x: Tensor, k: int, num_steps: int = 25) -> Tensor:
    """Centroids of k clusters, by their length: they move with rotations and do not see the order of the points.

    The first centre is the longest vector, each next one the point farthest from those chosen; nothing is drawn. Gradients flow
    through the means, not through the choice of clusters. Where two points are as long or as far, the order of points decides.

    Shapes:
        x: (..., n, d)    returns: (..., k, d)

    Raises:
        ShapeError: fewer than k points.
        DegenerateInputError: two centroids that are the same.

    Example:
        >>> kmeans_centroids(torch.tensor([[0.0], [1.0], [10.0], [12.0]]), 2)
        tensor([[ 0.5000],
                [11.0000]])
    """
    if x.shape[-2] < k:
        raise ShapeError(f"expected at least {k} points for {k} centroids, got {x.shape[-2]}")
    clouds = x.reshape(-1, *x.shape[-2:])
    with torch.no_grad():
        centres = _farthest(clouds, k)
        for _ in range(num_steps):
            members = torch.nn.functional.one_hot(torch.cdist(clouds, centres).argmin(-1), k).to(clouds)  # (B, n, k)
            sizes = members.sum(1)[..., None]
            centres = torch.where(sizes > 0, members.mT @ clouds / sizes.clamp(min=1), centres)
        members = torch.nn.functional.one_hot(torch.cdist(clouds, centres).argmin(-1), k).to(clouds)
        is_empty = bool((members.sum(1) == 0).any())  # two centres are the same: the first of them takes all points
    if is_empty:
        raise DegenerateInputError(f"expected {k} different centroids, got two that are the same; take fewer, or moments")
    found = members.mT @ clouds / members.sum(1)[..., None]
    order = found.detach().norm(dim=-1).argsort(-1)
    return found.gather(1, order[..., None].expand_as(found)).reshape(*x.shape[:-2], k, x.shape[-1])


def anchors_of(x: Tensor, anchors: str | Tensor, group: str) -> Tensor:
    """The anchors that a word stands for, d of them: "first", "moments" or "kmeans"; a tensor (..., k, d) is taken as it is.

    Raises:
        ConfigError: another word, or "kmeans" for a form that is no distance.
        ShapeError: fewer than d vectors, or anchors of another dimension.

    Example:
        >>> anchors_of(torch.eye(3), "first", "O").shape
        torch.Size([3, 3])
    """
    d = x.shape[-1]
    if isinstance(anchors, Tensor):
        if anchors.ndim < 2 or anchors.shape[-1] != d:
            raise ShapeError(f"expected anchors (..., k, {d}), got {tuple(anchors.shape)}")
        return anchors
    if anchors == "moments":
        return moment_vectors(x, d, group)
    if anchors == "kmeans":
        if kind_of(group).form != "euclidean":
            raise ConfigError(f"anchors='kmeans' needs distances, which {group} does not keep; take 'moments'")
        return kmeans_centroids(x, d)
    if anchors != "first":
        raise ConfigError(f"expected anchors 'first', 'moments', 'kmeans' or a tensor, got {anchors!r}")
    if x.shape[-2] < d:
        raise ShapeError(f"expected at least {d} vectors for {d} anchors, got {x.shape[-2]}; take pairs='all'")
    return x[..., :d, :]


def _farthest(clouds: Tensor, k: int) -> Tensor:
    """The longest vector, then k - 1 times the point farthest from those before, (B, k, d)."""
    rows = torch.arange(len(clouds), device=clouds.device)
    chosen = [clouds[rows, clouds.norm(dim=-1).argmax(-1)]]
    for _ in range(k - 1):
        distances = torch.cdist(clouds, torch.stack(chosen, 1)).amin(-1)
        chosen.append(clouds[rows, distances.argmax(-1)])
    return torch.stack(chosen, 1)
