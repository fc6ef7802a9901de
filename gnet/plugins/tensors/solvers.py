"""Invariant tensors: the vectors of T(p, q) that no element moves, by orbits of indices, by linear algebra, or by descent."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from gnet.errors import ConfigError, RepresentationError
from gnet.groups import GeneratedGroup, MatrixGroup
from gnet.groups.invariants import null_space
from gnet.groups.matrix import generated
from gnet.groups.permutation import connected
from gnet.plugins.tensors.canonical import canonical
from gnet.plugins.tensors.constraints import constraints
from gnet.plugins.tensors.descent import Descent, descend
from gnet.plugins.tensors.limits import check_held, fewest_invariants
from gnet.plugins.tensors.reps import CAP, Simple, derived

Solver = Literal["auto", "orbits", "svd", "eigh", "iterative"]
SOLVERS = ("auto", "orbits", "svd", "eigh", "iterative")
DENSE_SIZE = 4_000
"""Most entries of a tensor for which "auto" takes linear algebra, O(N^3)."""
SVD_ENTRIES = 30_000_000
"""Most entries of the stacked constraints that "svd" takes."""
EIGENVALUE_CUT = 1e-11
"""Eigenvalues of C^* C below this share of the largest are zero: 3e-6 in singular values, above rounding of the square."""
KEPT = 512
"""Bases that are remembered."""


_known: OrderedDict[tuple[str, int, int, str], Tensor] = OrderedDict()


def invariant_tensors(group: MatrixGroup, p: int, q: int = 0, solver: Solver = "auto") -> Tensor:
    """An orthonormal basis of the invariants of T(p, q), in columns; found once for all groups of the same matrices.

    Of real orthogonal groups T(p, q) is T(p + q). The basis is the same to rounding whatever the solver of linear algebra, the
    number of threads and the processor (``canonical``); orbits are exact, and in order of their first tuples.

    Args:
        solver: "orbits" for groups of (signed) permutation matrices, O(d^(p+q)); "svd" of the stacked constraints; "eigh" of
            their Gram matrix, which is smaller; "iterative" descent, which never makes a matrix of the tensor's size. "auto"
            takes orbits where they apply, eigh up to ``DENSE_SIZE`` entries, then descent.

    Shapes:
        returns: (d^(p + q), r)

    Raises:
        ConfigError: an unknown solver, or orbits of a group that has none.
        RepresentationError: more than ``CAP`` entries, a basis of more than ``HELD`` numbers, or too many for "svd".
        ConvergenceError: descent did not converge.

    References:
        Finzi, Welling and Wilson (2021), arXiv:2104.09459, theorem 1 and algorithm 1; Maron et al. (2019), arXiv:1812.09902, for
        orbits.

    Example:
        >>> from gnet.plugins.tensors import O, S
        >>> invariant_tensors(O(3), 4).shape, invariant_tensors(S(3), 4).shape
        (torch.Size([81, 3]), torch.Size([81, 14]))
    """
    group = generated(group)
    solver = chosen_solver(group, p, q, solver)
    check_held(group, Simple(p, q), fewest_invariants(group, Simple(p, q)))
    if q and group.is_orthogonal and not group.dtype.is_complex:
        p, q = p + q, 0
    key = (_digest(group), p, q, solver)
    if key not in _known:
        part = Simple(p, q)
        if solver == "orbits":
            found = orbit_basis(group, p + q)
        else:
            found = canonical(descend(group, part, Descent()) if solver == "iterative" else _dense(group, part, solver))
        _known[key] = found
        if len(_known) > KEPT:
            _known.popitem(last=False)
    _known.move_to_end(key)
    return _known[key].clone()  # whoever writes over it spoils no other


def _digest(group: GeneratedGroup) -> str:
    """Of what makes a group: its generators and its Lie algebra."""
    found = hashlib.sha256(f"{group.dim} {group.dtype} {group.lie_dim}".encode())
    for matrices in (group.generators, group.lie_algebra):
        found.update(matrices.contiguous().numpy().tobytes())
    return found.hexdigest()


def chosen_solver(group: GeneratedGroup, p: int, q: int, solver: Solver = "auto") -> Solver:
    """What "auto" stands for; other words after checking that they are possible.

    Example:
        >>> from gnet.plugins.tensors import SO, B
        >>> chosen_solver(SO(3), 4, 0), chosen_solver(B(3), 4, 0), chosen_solver(SO(3), 8, 0)
        ('eigh', 'orbits', 'iterative')
    """
    if solver not in SOLVERS:
        raise ConfigError(f"expected solver among {', '.join(SOLVERS)}, got {solver!r}")
    if solver == "orbits" and not is_monomial(group):
        raise ConfigError(f"orbits need (signed) permutation matrices, and {group.name} has others; take solver='auto'")
    if solver != "auto":
        return solver
    if is_monomial(group):
        return "orbits"
    return "eigh" if group.dim ** (p + q) <= DENSE_SIZE else "iterative"


def is_monomial(group: GeneratedGroup) -> bool:
    """Whether all elements are permutation matrices with signs.

    Example:
        >>> from gnet.plugins.tensors import B, C
        >>> is_monomial(B(3)), is_monomial(C(4)), is_monomial(C(3))
        (True, True, False)
    """
    if group.lie_dim or group.dtype.is_complex:
        return False
    sizes = group.generators.abs()
    # A quarter turn by cosine and sine is a signed permutation to rounding.
    near = ((sizes < 1e-12) | ((sizes - 1).abs() < 1e-12)).all()
    return bool(near) and bool((sizes.sum(1) - 1).abs().max() < 1e-9 if len(sizes) else True)


def orbit_basis(group: GeneratedGroup, rank: int) -> Tensor:
    """Indicators of the orbits of index tuples, with signs, normed; an orbit that meets its own negative has none.

    A tuple with sign + and the same with sign - are two points; the generators join points, and an orbit counts if it does not
    hold both signs of a tuple. For these groups V is its own dual.

    Shapes:
        returns: (d^rank, r)

    Example:
        >>> from gnet.plugins.tensors import B
        >>> orbit_basis(B(2), 2)
        tensor([[0.7071],
                [0.0000],
                [0.0000],
                [0.7071]], dtype=torch.float64)
    """
    labels, signs = signed_orbits(group, rank)
    kept = labels >= 0
    count = int(labels.max()) + 1 if bool(kept.any()) else 0
    check_held(group, Simple(rank), count)
    basis = torch.zeros(len(labels), count, dtype=torch.float64)
    rows = kept.nonzero().flatten()
    basis[rows, labels[rows]] = signs[rows]
    return basis / basis.norm(dim=0, keepdim=True)


def signed_orbits(group: GeneratedGroup, rank: int) -> tuple[Tensor, Tensor]:
    """The orbit of each index tuple, -1 where signs cancel, and its sign relative to the first tuple of the orbit.

    O(M d^rank), no matrix.

    Shapes:
        returns: (d^rank,) int64 and (d^rank,) float64

    Example:
        >>> from gnet.plugins.tensors import S
        >>> signed_orbits(S(2), 2)[0]
        tensor([0, 1, 1, 0])
    """
    size = group.dim**rank
    if size > CAP:
        raise RepresentationError(f"T({rank}) of {group.name} has {size} entries, more than the cap of {CAP}")
    return signed_components([moved_tuples(g, rank) for g in group.generators], size)


def moved_tuples(g: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Where a (signed) permutation matrix sends each index tuple, and with which sign.

    Shapes:
        g: (d, d)    returns: (d^rank,) int64 and (d^rank,) float64, each +1 or -1

    Example:
        >>> moved_tuples(torch.tensor([[0.0, -1.0], [1.0, 0.0]]), 1)
        (tensor([1, 0]), tensor([ 1., -1.], dtype=torch.float64))
    """
    image, sign = g.abs().argmax(0), g.sum(0).round().double()
    places, signs = torch.zeros(1, dtype=torch.long), torch.ones(1, dtype=torch.float64)
    for _ in range(rank):
        places = (places[:, None] * len(g) + image).flatten()
        signs = (signs[:, None] * sign).flatten()
    return places, signs


def signed_components(moves: Sequence[tuple[Tensor, Tensor]], size: int) -> tuple[Tensor, Tensor]:
    """The orbits of points that maps move and change in sign: label, -1 where signs cancel, and sign relative to the first.

    Point i + size is point i with the other sign; an orbit counts if it does not hold a point with both signs.

    Shapes:
        moves: of each generator the images (size,) int64 and the signs (size,)    returns: (size,) int64 and (size,) float64

    Example:
        >>> swap, keep = torch.tensor([1, 0, 2]), torch.tensor([0, 1, 2])
        >>> signed_components([(swap, torch.tensor([-1, -1, 1])), (keep, torch.tensor([1, 1, -1]))], 3)
        (tensor([ 0,  0, -1]), tensor([ 1., -1.,  1.], dtype=torch.float64))
    """
    sources, targets = [torch.empty(0, dtype=torch.long)], [torch.empty(0, dtype=torch.long)]
    for places, signs in moves:
        index, flips = torch.arange(size), (signs < 0).long() * size
        sources += [index, index + size]
        targets += [places + flips, (places + size + flips) % (2 * size)]
    found = connected(torch.cat(sources), torch.cat(targets), 2 * size)
    plus, minus = found[:size], found[size:]
    # A component and its negative are one orbit; its name is the first point in either.
    first = torch.full((int(found.max()) + 1,), 2 * size, dtype=torch.long)
    first.scatter_reduce_(0, found, torch.arange(2 * size) % size, "amin")
    head = first[plus]
    names, labels = torch.unique(torch.where(plus == minus, -1, head), return_inverse=True)
    labels = labels - int(bool((names == -1).any()))
    relative = torch.where(plus == plus[head], 1.0, -1.0).double()
    return labels, relative


def count_orbits(group: MatrixGroup, rank: int) -> int:
    """dim T(rank) of a group of (signed) permutation matrices, without a basis.

    Example:
        >>> from gnet.plugins.tensors import S
        >>> count_orbits(S(6), 6)
        203
    """
    return int(signed_orbits(generated(group), rank)[0].max()) + 1


def _dense(group: GeneratedGroup, part: Simple, solver: str) -> Tensor:
    """The null space of the stacked constraints, or of their Gram matrix."""
    n = part.size(group.dim)
    weighted, algebra = constraints(group)
    count = (len(weighted) + len(algebra)) * n * n
    if solver == "svd" and count > SVD_ENTRIES:
        raise RepresentationError(
            f"svd takes constraints of up to {SVD_ENTRIES} entries, {part} of {group.name} has {count}; take 'eigh'"
        )
    unit = torch.eye(n, dtype=group.dtype)

    def rows() -> Iterator[Tensor]:  # one after the other: all of them together are that many times larger than their Gram matrix
        for g, weight in weighted:
            yield weight * (part.act(g, unit).mT - unit)
        for A in algebra:
            yield derived(part, A, unit).mT

    if solver == "svd":
        return null_space(list(rows()), n, group.dtype).mT
    gram = torch.zeros(n, n, dtype=group.dtype)
    for row in rows():
        gram += row.mH @ row
    values, vectors = torch.linalg.eigh(gram)
    return vectors[:, values <= EIGENVALUE_CUT * max(float(values[-1]), 1.0)]


def sparsify(basis: Tensor) -> Tensor:
    """Another basis of the same space with the unit matrix in some rows, thus many zeros: for pictures, not orthonormal.

    Shapes:
        basis: (N, r)    returns: (N, r)

    Example:
        >>> from gnet.plugins.tensors import SO
        >>> sparsify(invariant_tensors(SO(2), 2)).abs().round(decimals=6).unique()
        tensor([0., 1.], dtype=torch.float64)
    """
    from scipy.linalg import qr

    rank = basis.shape[1]
    rows: Sequence[int] = qr(basis.mT.numpy(), pivoting=True, mode="r")[1][:rank]
    found = basis @ torch.linalg.inv(basis[torch.as_tensor(list(rows), dtype=torch.long)])
    return torch.where(found.abs() < 1e-9, torch.zeros_like(found), found)
