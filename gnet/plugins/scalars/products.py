"""What a group leaves of vectors: inner products, determinants, and the cross products that go with them."""

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from gnet.errors import ConfigError, RepresentationError, ShapeError

CAP = 10_000
"""Most determinants or cross products of one set of vectors."""
LAPLACE = 8
"""Dimension up to which determinants are expanded as polynomials, whose derivatives exist at singular matrices, too."""

Form = Literal["euclidean", "minkowski", "symplectic", "hermitian"]


@dataclass(frozen=True)
class Kind:
    """A family of groups, one for each dimension, by what it keeps.

    Attributes:
        form: the product of two vectors that it keeps.
        is_oriented: whether it keeps determinants, too.
        is_affine: whether it has translations.
    """

    name: str
    form: Form
    is_oriented: bool = False
    is_affine: bool = False


KINDS = {
    kind.name: kind
    for kind in (
        Kind("O", "euclidean"),
        Kind("SO", "euclidean", is_oriented=True),
        Kind("E", "euclidean", is_affine=True),
        Kind("SE", "euclidean", is_oriented=True, is_affine=True),
        Kind("Lorentz", "minkowski"),
        Kind("Lorentz+", "minkowski", is_oriented=True),
        Kind("Poincare", "minkowski", is_affine=True),
        Kind("Poincare+", "minkowski", is_oriented=True, is_affine=True),
        Kind("Sp", "symplectic"),
        Kind("U", "hermitian"),
    )
}
"""How a group is called -> what it keeps. "Lorentz+" is SO+(1, d), "Poincare+" the same with translations."""


def kind_of(group: str) -> Kind:
    """What a group keeps, by name.

    Raises:
        ConfigError: another name, or no name.

    Example:
        >>> kind_of("SO").is_oriented
        True
    """
    if not isinstance(group, str):
        raise ConfigError(
            f"expected the name of a group among {', '.join(KINDS)}, got {group!r}; give the name alone, as 'SO': the vectors "
            "say the dimension"
        )
    if group not in KINDS:
        raise ConfigError(f"expected group among {', '.join(KINDS)}, got {group!r}")
    return KINDS[group]


def form_matrix(group: str, d: int, like: Tensor | None = None) -> Tensor:
    """The matrix J of the product <v, w> = v^T J w: I, diag(1, -1, ..., -1), or [[0, I], [-I, 0]].

    Shapes:
        returns: (d, d), in the dtype of ``like``, float64 by default

    Raises:
        ConfigError: an unknown group.
        ShapeError: an odd d for Sp.

    Example:
        >>> form_matrix("Lorentz", 3).diagonal()
        tensor([ 1., -1., -1.], dtype=torch.float64)
    """
    form, one = kind_of(group).form, torch.eye(d, dtype=torch.float64)
    if form == "minkowski":
        one[1:] *= -1
    if form == "symplectic":
        if d % 2:
            raise ShapeError(f"expected vectors of even dimension for {group}, whose form pairs coordinates, got {d}")
        one = torch.cat([one[d // 2 :], -one[: d // 2]])
    return one if like is None else one.to(like)


def check_vectors(x: Tensor, group: str) -> Tensor:
    """``x`` as vectors that the group acts on; for U a real signal becomes complex.

    Raises:
        ShapeError: no (..., n, d), integers, complex vectors of a real group, or an odd d for Sp.
    """
    kind = kind_of(group)
    if not isinstance(x, Tensor) or x.ndim < 2:
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ShapeError(f"expected vectors x of shape (..., n, d), got {got}")
    if kind.form == "hermitian":
        return x if x.is_complex() else x.to(torch.complex128 if x.dtype == torch.float64 else torch.complex64)
    if not x.is_floating_point():
        raise ShapeError(f"expected vectors x of real floating numbers for {group}, got {x.dtype}")
    if kind.form == "symplectic":
        form_matrix(group, x.shape[-1])
    return x


def products(x: Tensor, y: Tensor | None = None, group: str = "O") -> Tensor:
    """<x_i, y_j> of the form that the group keeps, for all i and j; of U the first factor is conjugated.

    Shapes:
        x: (..., n, d)    y: (..., m, d), x by default    returns: (..., n, m)

    Raises:
        ConfigError: an unknown group.
        ShapeError: vectors that the group does not act on.

    References:
        Villar et al. (2021), arXiv:2106.06610, section 3.

    Example:
        >>> products(torch.tensor([[2.0, 1.0], [1.0, 3.0]]), group="Lorentz")
        tensor([[ 3., -1.],
                [-1., -8.]])
    """
    x = check_vectors(x, group)
    y = x if y is None else check_vectors(y, group)
    if x.shape[-1] != y.shape[-1]:
        raise ShapeError(f"expected vectors of one dimension, got {x.shape[-1]} and {y.shape[-1]}")
    if kind_of(group).form == "euclidean":
        return x @ y.mT
    return x.conj() @ form_matrix(group, x.shape[-1], x) @ y.mT


def determinants(x: Tensor) -> Tensor:
    """det(v_i1, ..., v_id) of every d of n vectors, in lexicographic order; none where n < d.

    Shapes:
        x: (..., n, d)    returns: (..., n choose d)

    Raises:
        RepresentationError: more than ``CAP``.

    Example:
        >>> determinants(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 5.0]]))
        tensor([ 1.,  5., -2.])
    """
    return _minors(_subsets(x, x.shape[-1], "determinants"))[..., 0]


def generalized_cross(v: Tensor) -> Tensor:
    """The vector with entries det(e_k, v_1, ..., v_(d-1)): orthogonal to all, and as long as their volume.

    Shapes:
        v: (..., d - 1, d)    returns: (..., d)

    Raises:
        ShapeError: another number of vectors.

    Example:
        >>> generalized_cross(torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]))
        tensor([ 2., -1.,  1.])
        >>> generalized_cross(torch.tensor([[3.0, 4.0]]))
        tensor([ 4., -3.])
    """
    if v.ndim < 2 or v.shape[-2] != v.shape[-1] - 1:
        raise ShapeError(f"expected d - 1 vectors in R^d, got shape {tuple(v.shape)}")
    d = v.shape[-1]
    # Columns left out: those of the last subset first; the sign of e_k in the first row is (-1)^k.
    signs = torch.tensor([(-1.0) ** k for k in range(d)], dtype=v.dtype, device=v.device)
    return _minors(v).flip(-1) * signs


def cross_products(x: Tensor, group: str = "SO") -> Tensor:
    """The generalised cross product of every d - 1 of n vectors; with the index raised where the form is not I.

    Shapes:
        x: (..., n, d)    returns: (..., n choose d - 1, d)

    Raises:
        RepresentationError: more than ``CAP``.

    Example:
        >>> cross_products(torch.tensor([[1.0, 2.0, 1.0], [3.0, 1.0, 1.0]]))
        tensor([[ 1.,  2., -5.]])
    """
    found = generalized_cross(_subsets(x, x.shape[-1] - 1, "cross products"))
    return found if kind_of(group).form == "euclidean" else found @ form_matrix(group, x.shape[-1], x)


def levi_civita(x: Tensor, group: str = "SO") -> Tensor:
    """The skew matrices with entries det(e_a, e_b, v_1, ..., v_(d-2)), of every d - 2 of n vectors, indices raised.

    Shapes:
        x: (..., n, d)    returns: (..., n choose d - 2, d, d)

    Raises:
        RepresentationError: more than ``CAP``.

    Example:
        >>> levi_civita(torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[[ 0.,  3., -2.],
                 [-3.,  0.,  1.],
                 [ 2., -1.,  0.]]])
    """
    d = x.shape[-1]
    chosen = _subsets(x, d - 2, "skew matrices")
    minors = _minors(chosen)  # one for each d - 2 columns
    matrix = minors.new_zeros(*minors.shape[:-1], d, d)
    for number, columns in enumerate(combinations(range(d), d - 2)):
        a, b = (each for each in range(d) if each not in columns)
        # Row e_a is expanded first: sign (-1)^a, then e_b among what is left, at place b - 1.
        value = (-1.0) ** (a + b - 1) * minors[..., number]
        skew = torch.zeros(d, d, dtype=x.dtype, device=x.device)
        skew[a, b], skew[b, a] = 1.0, -1.0
        matrix = matrix + value[..., None, None] * skew
    if kind_of(group).form == "euclidean":
        return matrix
    form = form_matrix(group, d, x)
    return form @ matrix @ form.mT


def _subsets(x: Tensor, size: int, what: str) -> Tensor:
    """Every ``size`` of n vectors, (..., n choose size, size, d)."""
    # torch.compile(fullgraph=True) traces neither math.comb nor combinations of a size that it takes for a variable; that of a
    # range is a number to it.
    n, size, count = x.shape[-2], len(range(size)), 1
    for i in range(size):
        count = count * (n - i) // (i + 1)
    if count > CAP:
        raise RepresentationError(
            f"{n} vectors in dimension {x.shape[-1]} have {count} {what}, more than the cap of {CAP}; take pairs='anchor'"
        )
    chosen = torch.tensor(list(combinations(range(n), size)), dtype=torch.long, device=x.device).reshape(count, size)
    return x[..., chosen, :]


def _minors(v: Tensor) -> Tensor:
    """Determinants of r rows and every r columns, (..., r, d) -> (..., d choose r), columns in lexicographic order.

    Expanded row by row over sets of columns, 2^d d products: a polynomial, so that gradients of gradients exist everywhere.
    """
    rows, d = v.shape[-2:]
    if d > LAPLACE:
        chosen = list(combinations(range(d), rows))
        return torch.stack([torch.linalg.det(v[..., list(columns)]) for columns in chosen], -1)
    found: dict[tuple[int, ...], Tensor] = {(): v.new_ones(v.shape[:-2])}
    for size in range(1, rows + 1):
        row = v[..., rows - size, :]  # from the last row upwards, so that the new row is the first
        following = {}
        for columns in combinations(range(d), size):
            terms = [(-1.0) ** place * row[..., j] * found[_without(columns, j)] for place, j in enumerate(columns)]
            following[columns] = torch.stack(terms).sum(0)
        found = following
    return torch.stack(list(found.values()), -1)


def _without(columns: tuple[int, ...], j: int) -> tuple[int, ...]:
    return tuple(each for each in columns if each != j)
