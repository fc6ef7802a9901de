"""Types of tensors: T(p, q), sums, products, duals, regular representations; each is an action of a group's elements."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gnet.counts import is_count
from gnet.errors import GroupError, RepresentationError, ShapeError
from gnet.groups import Action, GeneratedGroup, MatrixGroup, NodeGroup
from gnet.groups.closure import keys
from gnet.groups.matrix import generated, matched

CAP = 20_000_000
"""Most entries of one tensor."""


class Rep(Action):
    """A type of signals ``(..., size)``: how elements act on them, and the sum of simple types that they are made of.

    Types are added, multiplied (``*`` with a number: copies; with a type: the tensor product) and dualised (``.dual``). A type is
    an ``Action``, so that ``equivariance_error``, ``project`` and penalties take it as it is.

    Shapes:
        elements: (d, d), or permutations of coordinates as (d,) int64    signals: (..., size)

    Example:
        >>> 2 * T(0) + T(1) + T(1) * T(1)
        Rep(2 T(0) + T(1) + T(2))
    """

    def __init__(self, parts: "Iterable[tuple[int, Simple]]") -> None:
        merged: Counter[Simple] = Counter()
        for count, part in parts:
            if not is_count(count, 0):
                raise RepresentationError(f"expected a whole number of copies >= 0, got {count!r}")
            merged[part] += int(count)
        object.__setattr__(self, "parts", tuple((n, part) for part, n in merged.items() if n))
        object.__setattr__(self, "group", self._common_group())
        object.__setattr__(self, "name", " + ".join(f"{n} {part}" if n > 1 else str(part) for n, part in self.parts) or "0")
        object.__setattr__(self, "act", self._act)

    parts: "tuple[tuple[int, Simple], ...]"
    """Simple types with the number of copies of each, in order; copies of one type lie together."""
    group: GeneratedGroup | None
    """The group of regular types; None where any group will do."""

    def _common_group(self) -> GeneratedGroup | None:
        groups = [part.group for _, part in self.parts if isinstance(part, Regular)]  # equal ones are merged already
        if len(groups) > 1:
            raise GroupError(f"expected types of one group, got those of {', '.join(g.name for g in groups)}")
        return groups[0] if groups else None

    def size(self, d: int) -> int:
        """Entries of a signal, for a group on R^d.

        Raises:
            RepresentationError: a tensor with more than ``CAP`` entries.

        Example:
            >>> (T(0) + 2 * T(2)).size(3)
            19
        """
        return sum(n * part.size(d) for n, part in self.parts)

    def slices(self, d: int) -> "list[tuple[Simple, slice]]":
        """Each copy with its place in a signal.

        Example:
            >>> [place for _, place in (T(0) + 2 * T(1)).slices(3)]
            [slice(0, 1, None), slice(1, 4, None), slice(4, 7, None)]
        """
        found, start = [], 0
        for n, part in self.parts:
            for _ in range(n):
                found.append((part, slice(start, start + part.size(d))))
                start += part.size(d)
        return found

    def _act(self, g: Tensor, x: Tensor) -> Tensor:
        if g.ndim == 1:  # of a group of nodes
            g = _matrix_of(g)
        d = g.shape[-1]
        if x.shape[-1:] != (self.size(d),):
            raise ShapeError(f"expected signals (..., {self.size(d)}) of type {self.name}, got {tuple(x.shape)}")
        found, start = [], 0
        for n, part in self.parts:
            size = part.size(d)
            copies = x[..., start : start + n * size].unflatten(-1, (n, size))
            found.append(part.act(g, copies).flatten(-2))
            start += n * size
        return torch.cat(found, -1) if found else x

    @property
    def dual(self) -> "Rep":
        """T(q, p) for T(p, q): for orthogonal groups the same signals."""
        return Rep((n, part.dual) for n, part in self.parts)

    def canonical(self, group: MatrixGroup) -> "Rep":
        """The same signals with fewer names: for orthogonal (real) groups V and its dual are one, T(p + q).

        Raises:
            GroupError: regular types of another group.

        Example:
            >>> from gnet.plugins.tensors import O, SL
            >>> T(1, 1).canonical(O(3)), T(1, 1).canonical(SL(3))
            (Rep(T(2)), Rep(T(1,1)))
        """
        if self.group is not None and not is_same(self.group, generated(group)):
            raise GroupError(f"expected types of {group.name}, got regular ones of {self.group.name}")
        return Rep((n, part.canonical(group)) for n, part in self.parts)

    def __add__(self, other: object) -> "Rep":
        if not isinstance(other, Rep):
            raise RepresentationError(f"expected a type such as T(1) to add to {self.name}, got {other!r}; scalars are n * T(0)")
        return Rep([*self.parts, *other.parts])

    def __radd__(self, other: object) -> "Rep":
        # The start of sum([...]).
        return self if isinstance(other, int) and other == 0 else self + other

    def __mul__(self, other: "int | Rep") -> "Rep":
        if isinstance(other, Rep):
            pairs = [(n * m, _product(one, two)) for n, one in self.parts for m, two in other.parts]
            return Rep(pairs)
        if not is_count(other, 0):
            raise RepresentationError(f"expected a whole number of copies >= 0, got {other!r}")
        return Rep((other * n, part) for n, part in self.parts)

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rep) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    def __repr__(self) -> str:
        return f"Rep({self.name})"

    def __reduce__(self) -> tuple[object, ...]:
        return (Rep, (self.parts,))

    def __deepcopy__(self, memo: object) -> "Rep":
        return self  # frozen


@dataclass(frozen=True)
class Simple:
    """T(p, q): p factors V and q factors of its dual; entries in row-major order."""

    p: int
    q: int = 0

    def size(self, d: int) -> int:
        """d^(p + q).

        Raises:
            RepresentationError: more than ``CAP``.
        """
        size = d ** (self.p + self.q)
        if size > CAP:
            raise RepresentationError(f"{self} of R^{d} has {size} entries, more than the cap of {CAP}; take a lower rank")
        return int(size)

    @property
    def rank(self) -> int:
        """p + q."""
        return self.p + self.q

    @property
    def dual(self) -> "Simple":
        """T(q, p)."""
        return Simple(self.q, self.p)

    def canonical(self, group: MatrixGroup) -> "Simple":
        """T(p + q) where V is its own dual."""
        return Simple(self.rank) if group.is_orthogonal and not group.dtype.is_complex else self

    def act(self, g: Tensor, x: Tensor) -> Tensor:
        """g on every factor V, g^-T on every dual one: O(rank d^(rank + 1)), no matrix of the tensor's size."""
        if not self.rank:
            return x
        wide = torch.promote_types(g.dtype, torch.float32)  # half precision has no inverse
        inverse = torch.linalg.inv(g.to(wide)) if self.q else g  # (g^-T) v = v @ g^-1 for rows
        g, x = matched(g, x)
        inverse = inverse.to(x)
        d = g.shape[-1]
        batch = x.shape[:-1]
        x = x.reshape(-1, *[d] * self.rank)
        for axis in range(self.rank):
            # The first axis goes through the matrix and comes back last: after all of them they are in order again.
            x = torch.tensordot(x, g.mT if axis < self.p else inverse, dims=([1], [0]))
        return x.reshape(*batch, d**self.rank)

    def __str__(self) -> str:
        return f"T({self.p},{self.q})" if self.q else f"T({self.p})"


class Regular(Simple):
    """Functions on a finite group, (g f)(h) = f(g^-1 h): a permutation of the elements."""

    group: GeneratedGroup

    def __init__(self, group: GeneratedGroup) -> None:
        object.__setattr__(self, "p", 1)
        object.__setattr__(self, "q", 0)
        object.__setattr__(self, "group", group)
        object.__setattr__(self, "elements", group.elements())

    elements: Tensor

    def size(self, d: int) -> int:
        """|G|."""
        return len(self.elements)

    @property
    def dual(self) -> "Simple":
        """Itself."""
        return self

    def canonical(self, group: MatrixGroup) -> "Simple":
        """Itself."""
        return self

    @cached_property
    def _place(self) -> dict[bytes, int]:
        return {key: index for index, key in enumerate(keys(self.elements))}

    def permutation(self, g: Tensor) -> Tensor:
        """Where g sends each element, (|G|,)."""
        try:
            return torch.tensor([self._place[key] for key in keys(g.to(self.elements) @ self.elements)])
        except KeyError:
            raise GroupError(f"expected an element of {self.group.name}, got another matrix") from None

    def act(self, g: Tensor, x: Tensor) -> Tensor:
        """Move the values."""
        return x.index_select(-1, torch.argsort(self.permutation(g)).to(x.device))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Regular) and is_same(self.group, other.group)

    def __hash__(self) -> int:
        return hash(("regular", self.group.dim, self.group.generators.numpy().tobytes()))

    def __str__(self) -> str:
        return f"regular({self.group.name})"


def is_same(one: GeneratedGroup, other: GeneratedGroup) -> bool:
    """Whether two groups have the same generators: then they are one group, and list their elements in one order.

    Example:
        >>> from gnet.plugins.tensors import D
        >>> is_same(D(3), D(3)), is_same(D(3), D(4))
        (True, False)
    """
    return one is other or (
        torch.equal(one.generators, other.generators) and torch.equal(one.lie_algebra, other.lie_algebra) and one.dim == other.dim
    )


def _product(one: Simple, two: Simple) -> Simple:
    if isinstance(one, Regular) or isinstance(two, Regular):
        raise RepresentationError(f"expected types T(p, q) in a product, got {one} and {two}; regular types are added only")
    return Simple(one.p + two.p, one.q + two.q)


def T(p: int, q: int = 0) -> Rep:
    """Tensors with p upper and q lower indices; T(0) are scalars, T(1) vectors.

    A product T(p, q) * T(r, s) is T(p + r, q + s): upper axes first, then lower ones.

    Raises:
        RepresentationError: ranks that are not whole, or below zero.

    Example:
        >>> T(1).act(torch.tensor([[0.0, -1.0], [1.0, 0.0]]), torch.tensor([1.0, 0.0]))
        tensor([0., 1.])
        >>> T(1, 1)
        Rep(T(1,1))
    """
    for each in (p, q):
        if not is_count(each, 0):
            raise RepresentationError(f"expected whole ranks >= 0, got T({p!r}, {q!r})")
    return Rep([(1, Simple(int(p), int(q)))])


def _matrix_of(perm: Tensor) -> Tensor:
    """The matrix that sends e_i to e_perm[i]."""
    if perm.is_floating_point():
        raise ShapeError(f"expected an element as a matrix (d, d), or a permutation (d,) of whole numbers, got {perm.dtype}")
    return torch.eye(len(perm), dtype=torch.float64, device=perm.device)[perm].mT


def check_types(group: MatrixGroup, *types: Rep) -> GeneratedGroup:
    """The group by its generators, after refusing what are no types, or no group of matrices.

    Raises:
        RepresentationError: with the order of arguments that is expected.
        GroupError: a group of which neither generators nor a Lie algebra are known.

    Example:
        >>> from gnet.plugins.tensors import O
        >>> check_types(O(3), T(1), 5)
        Traceback (most recent call last):
        gnet.errors.RepresentationError: expected types such as T(1), then a group such as O(3), got T(1), 5, O(3)
    """
    if not isinstance(group, MatrixGroup) or not all(isinstance(each, Rep) for each in types):
        got = ", ".join(getattr(each, "name", None) or repr(each) for each in (*types, group))
        hint = "; a group of nodes permutes them: take S, Z, DPerm or GeneratedGroup" if isinstance(group, NodeGroup) else ""
        raise RepresentationError(f"expected types such as T(1), then a group such as O(3), got {got}{hint}")
    return generated(group)


def regular(group: MatrixGroup) -> Rep:
    """Functions on a finite group; linear maps between them are group convolutions.

    Raises:
        NotFiniteError: the group is infinite, or too large to list.

    References:
        Cohen and Welling (2016), arXiv:1602.07576.

    Example:
        >>> from gnet.plugins.tensors import D
        >>> regular(D(4)).size(2)
        8
    """
    return Rep([(1, Regular(generated(group)))])


def is_permutation_type(part: Simple, group: MatrixGroup) -> bool:
    """Whether elements permute the entries, so that a function of single entries is equivariant.

    Example:
        >>> from gnet.plugins.tensors import S, O
        >>> is_permutation_type(Simple(2), S(3)), is_permutation_type(Simple(1), O(3)), is_permutation_type(Simple(0), O(3))
        (True, False, True)
    """
    return isinstance(part, Regular) or part.rank == 0 or group.is_permutation


def derived(part: Simple, A: Tensor, x: Tensor) -> Tensor:
    """d/dt of the action of exp(t A) on T(p, q) at t = 0: the sum over factors of A, or of -A^T, on each.

    Shapes:
        A: (d, d)    x: (N, d^rank)    returns: (N, d^rank)

    Example:
        >>> derived(Simple(2), torch.eye(2), torch.ones(1, 4))
        tensor([[2., 2., 2., 2.]])
    """
    if not part.rank:
        return torch.zeros_like(x)
    d, shape = A.shape[-1], x.shape
    A, x = matched(A, x)
    total = torch.zeros_like(x)
    for axis in range(part.rank):
        before, after = d**axis, d ** (part.rank - axis - 1)
        cube = x.reshape(-1, before, d, after)
        total = total + torch.einsum("ij,najb->naib", A if axis < part.p else -A.mT, cube).reshape(shape)
    return total
