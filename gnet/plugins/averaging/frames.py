"""Frames: a few elements that move with the input, over which an average is as symmetric as over the whole group.

A frame F is equivariant, F(h x) = h F(x); then the mean of psi(g) f(phi(g)^-1 x) over g in F(x) is exactly equivariant at the
cost of |F| calls. With one element it is a canonical form. None of these is continuous: they jump where eigenvalues or keys meet,
and for these groups no continuous choice exists in general (Dym, Lawrence and Siegel 2024, arXiv:2402.16077); exceptions are
sorted numbers, and the rows of Gram^(1/2) for O(d) and n <= d. Kaba et al. (2023), arXiv:2211.06489, learn a canonical form.
"""

from collections.abc import Callable
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from gnet.errors import ConfigError, DegenerateInputError, ShapeError
from gnet.groups.haar import haar_orthogonal
from gnet.nn.checks import check_choice, require_finite

Degenerate = Literal["raise", "average"]
GAP = 1e-6
"""Relative distance of eigenvalues, sizes of R_ii, or keys below which a frame is not defined."""


def pca(
    x: Tensor,
    special: bool = False,
    *,
    on_degenerate: Degenerate = "raise",
    num_samples: int = 32,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Eigenvectors of the covariance of each cloud with all signs: 2^d elements of O(d), or the 2^(d-1) of SO(d).

    The cloud is centred first, so that the frame does not see translations; ``centred`` moves the signals.

    Args:
        special: those of determinant +1 alone.
        on_degenerate: "raise", or "average" over random bases of the space that equal eigenvalues share.
        num_samples: random bases; the whole batch gets as many where one item needs them.

    Shapes:
        x: (B, n, d)    returns: (B, F, d, d), eigenvectors in columns

    Raises:
        ShapeError: x of another shape.
        ConfigError: an unknown ``on_degenerate``.
        DegenerateInputError: two eigenvalues closer than ``GAP`` of the largest, or a cloud that is not finite.

    References:
        Puny et al. (2022), arXiv:2110.03336, section 3.1.

    Example:
        >>> x = torch.randn(5, 6, 3)
        >>> pca(x).shape, pca(x, special=True).shape
        (torch.Size([5, 8, 3, 3]), torch.Size([5, 4, 3, 3]))
    """
    return _bases(x, special, on_degenerate, num_samples, generator, "pca")


def euclidean(
    x: Tensor,
    special: bool = False,
    *,
    on_degenerate: Degenerate = "raise",
    num_samples: int = 32,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The frame of E(d), or SE(d): those of ``pca`` about the mean of the cloud, as matrices [[R, t], [0, 1]].

    Args, errors and source as those of ``pca``.

    Shapes:
        x: (B, n, d) points    returns: (B, F, d + 1, d + 1)

    Example:
        >>> euclidean(torch.tensor([[[1.0], [3.0]]])).tolist()
        [[[[1.0, 2.0], [0.0, 1.0]], [[-1.0, 2.0], [0.0, 1.0]]]]
    """
    turns = _bases(x, special, on_degenerate, num_samples, generator, "euclidean")
    d = x.shape[-1]
    found = turns.new_zeros(*turns.shape[:2], d + 1, d + 1)
    found[..., :d, :d] = turns
    found[..., :d, d] = x.to(turns).mean(-2)[:, None]
    found[..., d, d] = 1.0
    return found


def _bases(
    x: Tensor, special: bool, on_degenerate: Degenerate, num_samples: int, generator: torch.Generator | None, name: str
) -> Tensor:
    """``pca``; ``name`` is what the way out of a degenerate input is called."""
    check_choice("on_degenerate", on_degenerate, Degenerate)
    clouds, size = _scaled(_finite(x), (-2, -1))
    spread, width = _scaled(clouds - clouds.mean(-2, keepdim=True), (-2, -1))
    values, vectors = torch.linalg.eigh(spread.mT @ spread)
    scale = values[:, -1:].abs().clamp(min=torch.finfo(values.dtype).tiny)
    is_close = (values.diff(dim=1) / scale) < GAP
    is_close |= (values[:, -1:] == 0).expand_as(is_close)
    signs = torch.tensor(list(product((1.0, -1.0), repeat=x.shape[-1])), dtype=vectors.dtype, device=x.device)
    bases = vectors[:, None]
    if bool(is_close.any()):
        item, place = is_close.nonzero()[0].tolist()
        if on_degenerate == "raise":
            unit = (float(size[item]) * float(width[item])) ** 2
            near = [value * unit for value in values[item, place : place + 2].tolist()]
            raise DegenerateInputError(
                f"expected different eigenvalues, got {near[0]:.6g} and {near[1]:.6g} of item {item}; a frame is not defined "
                "there: to average over their common space, take "
                f"frame=lambda x: frames.{name}(x{', special=True' if special else ''}, on_degenerate='average')"
            )
        bases = bases @ _turned_blocks(is_close, num_samples, generator).to(vectors)
    elements = (bases[:, :, None] * signs[:, None, :]).flatten(1, 2)  # (B, K 2^d, d, d)
    if not special:
        return elements
    # Half of the signs of each basis; which half depends on the sign of its own determinant.
    keep = torch.linalg.det(elements) > 0
    return elements[keep].reshape(len(x), elements.shape[1] // 2, *elements.shape[2:])


def centred(x: Tensor) -> tuple[Tensor, Tensor]:
    """Clouds about their means, and the means: for frames of E(d), with translations.

    Shapes:
        x: (B, n, d)    returns: (B, n, d) and (B, 1, d)

    Example:
        >>> centred(torch.tensor([[[1.0], [3.0]]]))
        (tensor([[[-1.],
                 [ 1.]]]), tensor([[[2.]]]))
    """
    means = _clouds(x).mean(-2, keepdim=True)
    return x - means, means


def gram_schmidt(x: Tensor) -> Tensor:
    """The orthonormal basis that the first d vectors of each item make, one after the other: one element of O(d).

    Shapes:
        x: (B, n, d) with n >= d    returns: (B, 1, d, d)

    Raises:
        ShapeError: fewer than d vectors.
        DegenerateInputError: the first d vectors are not independent, or not finite.

    Example:
        >>> gram_schmidt(torch.tensor([[[0.0, 2.0], [1.0, 1.0]]]))[0, 0]
        tensor([[0., 1.],
                [1., 0.]])
    """
    d = _clouds(x).shape[-1]
    if x.shape[-2] < d:
        raise ShapeError(f"expected at least {d} vectors in R^{d}, got {x.shape[-2]}")
    first, _ = _scaled(_finite(x[:, :d]), (-1,))
    q, r = torch.linalg.qr(first.mT)
    diagonal = torch.diagonal(r, dim1=-2, dim2=-1)
    small = (diagonal.abs() <= GAP * first.norm(dim=-1)).any(1)  # of its own vector: lengths may differ
    if bool(small.any()):
        item = int(small.nonzero()[0])
        raise DegenerateInputError(f"expected {d} independent vectors, got dependent ones in item {item}")
    basis = q * diagonal.sign()[:, None, :]
    return torch.where(basis == 0, basis.abs(), basis)[:, None]


def sort(x: Tensor, key: Callable[[Tensor], Tensor] | Tensor) -> Tensor:
    """The permutation that a key of each point sorts: one element of S_n.

    Args:
        key: one number for each point, which moves with the points: (B, n, d) -> (B, n), or these numbers.

    Shapes:
        x: (B, n, d)    returns: (B, 1, n) permutations g, with g^-1 x in the order of the key

    Raises:
        ShapeError: a key of another shape.
        ConfigError: a key that is neither function nor tensor.
        DegenerateInputError: two points with one key, or keys that are not finite.

    Example:
        >>> sort(torch.tensor([[[3.0], [1.0], [2.0]]]), lambda x: x[..., 0])
        tensor([[[1, 2, 0]]])
    """
    if not callable(key) and not isinstance(key, Tensor):
        raise ConfigError(f"expected a key as a function of x or a tensor (B, n), got {key!r}")
    values = key if isinstance(key, Tensor) else key(_clouds(x))
    if values.shape != _clouds(x).shape[:2]:
        raise ShapeError(f"expected a key of shape {tuple(x.shape[:2])}, got {tuple(values.shape)}")
    require_finite(values, "keys")
    ordered, perm = values.sort(dim=1)
    ties = ordered.diff(dim=1) <= GAP * ordered.abs().amax(1, keepdim=True)
    if bool(ties.any()):
        item, place = ties.nonzero()[0].tolist()
        raise DegenerateInputError(f"expected different keys, got {float(ordered[item, place]):.6g} twice in item {item}")
    return perm[:, None]


def _clouds(x: Tensor) -> Tensor:
    if not isinstance(x, Tensor) or x.ndim != 3:
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ShapeError(f"expected x of shape (B, n, d), got {got}")
    return x


def _finite(x: Tensor) -> Tensor:
    """Clouds in a precision that linear algebra takes, float32 or more."""
    clouds = _clouds(x)
    require_finite(clouds, "clouds")
    return clouds.to(torch.promote_types(clouds.dtype, torch.float32))


def _scaled(x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Divided by the largest entry along axes, so that no square overflows; frames and gradients do not depend on it."""
    size = x.detach().abs().amax(axes, keepdim=True)
    size = torch.where(size == 0, 1, size)
    return x / size, size


def _turned_blocks(is_close: Tensor, num: int, generator: torch.Generator | None) -> Tensor:
    """Uniform rotations and mirrors inside each run of equal eigenvalues, (B, num, d, d)."""
    items, d = is_close.shape[0], is_close.shape[1] + 1
    found = torch.eye(d, dtype=torch.float64).repeat(items, num, 1, 1)
    for item in is_close.any(1).nonzero().flatten().tolist():
        start = 0
        for end in range(1, d + 1):
            if end == d or not is_close[item, end - 1]:
                if end - start > 1:
                    found[item, :, start:end, start:end] = haar_orthogonal(end - start, num, generator)
                start = end
    return found
