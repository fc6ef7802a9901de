"""Groups of matrices: what a stranger subclasses, and the group that generators and a Lie algebra make."""

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from gnet.errors import GroupError, NotCompactError, NotFiniteError, ShapeError
from gnet.groups.base import Action, Group, is_orthogonal_matrix
from gnet.groups.closure import closure, sharpened

CAP = 20_000
"""Elements up to which a group without Lie algebra is searched before it counts as infinite."""
WALK = 64
"""Random steps in the walk that draws from a compact group without a sampler of its own."""
LOCAL = 0.3
"""Deviation of the Lie coefficients of local elements, as in the published code of Finzi, Welling and Wilson (2021)."""

DEPENDENT = 1e-6
"""Share of a Lie algebra element outside of the span of others that counts as none."""

Sampler = Callable[[int, torch.Generator | None], Tensor]
Quadrature = Callable[[int], tuple[Tensor, Tensor]]
_promoted = False


def matrix_times_vector(g: Tensor, x: Tensor) -> Tensor:
    """``g x`` on the last axis; a real signal under a complex matrix becomes complex, with one warning.

    Shapes:
        g: (d, d)    x: (..., d)    returns: (..., d)

    Raises:
        ShapeError: the last axis of x is not d.

    Example:
        >>> matrix_times_vector(torch.tensor([[0.0, -1.0], [1.0, 0.0]]), torch.tensor([1.0, 0.0]))
        tensor([0., 1.])
    """
    if x.shape[-1:] != g.shape[-1:]:
        raise ShapeError(f"expected x of shape (..., {g.shape[-1]}), got {tuple(x.shape)}")
    g, x = matched(g, x)
    return x @ g.mT


def matched(g: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Matrix and signal in one dtype and on the signal's device; a real signal under a complex matrix is promoted.

    Example:
        >>> [each.dtype for each in matched(torch.eye(2, dtype=torch.complex128), torch.zeros(2))]
        [torch.complex64, torch.complex64]
    """
    if g.is_complex() and not x.is_complex():
        global _promoted
        if not _promoted:
            warnings.warn("a complex group acts on a real signal, which becomes complex; give complex signals", stacklevel=4)
            _promoted = True
        x = x.to(torch.complex128 if x.dtype == torch.float64 else torch.complex64)
    return g.to(x), x


class MatrixGroup(Group):
    """A group of d x d matrices that acts on vectors ``(..., d)`` by ``x -> g x``.

    A subclass gives ``name`` and ``dim``, and what it knows of ``generators`` (discrete ones), ``lie_algebra`` and ``order``;
    ``sample`` where it knows better than what is made of these. Flags are computed from generators and Lie algebra. Of a group
    with neither nothing can be known but what its own ``sample`` shows.
    """

    dim: int = 1
    form: Tensor | None = None
    """A matrix J that the group keeps, g^T J g = J; of complex groups g^* J g = J. None where none is known."""

    @property
    def identity(self) -> Tensor:
        """The unit matrix."""
        return torch.eye(self.dim, dtype=torch.float64)

    @property
    def dtype(self) -> torch.dtype:
        """Of elements: float64, or complex128."""
        return self.identity.dtype

    @property
    def action(self) -> Action:
        """Matrix times vector, on the last axis."""
        return Action("vector", matrix_times_vector)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """The matrix product."""
        return g @ h

    def inverse(self, g: Tensor) -> Tensor:
        """The inverse matrix."""
        return torch.linalg.inv(g)

    @property
    def lie_dim(self) -> int:
        """The dimension of the Lie algebra; 0 for finite groups."""
        return len(self.lie_algebra)

    @property
    def discrete_generators(self) -> Tensor:
        """The generators as one tensor, (M, d, d); M may be 0."""
        none = self.identity.new_empty(0, self.dim, self.dim)
        return torch.stack([g.to(none) for g in self.generators]) if len(self.generators) else none

    @property
    def is_orthogonal(self) -> bool:
        """Whether elements keep lengths: g^* g = I of generators and A = -A^* of the Lie algebra."""
        return super().is_orthogonal and all(torch.allclose(A, -A.mH, atol=1e-6) for A in self.lie_algebra)

    @property
    def is_permutation(self) -> bool:
        """Whether elements have a single 1 in each row and column."""
        return not self.lie_dim and super().is_permutation

    def _witnesses(self) -> list[Tensor]:
        return list(self.generators) if self.lie_dim else super()._witnesses()

    def quadrature(self, degree: int) -> tuple[Tensor, Tensor]:
        """Elements and weights whose sum integrates every polynomial of that degree in the entries; here all elements.

        Shapes:
            returns: (K, d, d) and (K,)

        Raises:
            NotCompactError: there is no Haar probability.
            NotFiniteError: none is known for this infinite group.
        """
        if not self.is_compact:
            raise NotCompactError(f"quadrature needs a compact group, got {self.name}; it has no Haar probability")
        if not self.is_finite:
            raise NotFiniteError(f"no quadrature is known for {self.name}; draw elements with sample(num)")
        nodes = self.elements(limit=CAP)
        return nodes, nodes.new_full((len(nodes),), 1 / len(nodes))


class GeneratedGroup(MatrixGroup):
    """The closure of the group that given matrices and the exponentials of given Lie algebra elements generate.

    Orthogonal (unitary) generators of a finite group that are given in single precision are sharpened to double, in which all is
    computed. Gradients do not reach generators.

    Args:
        generators: discrete ones, h; may be none.
        lie_algebra: a basis of the tangent space at the identity; may be empty.
        dim: d, where there are neither generators nor a Lie algebra.
        form: a matrix J that the group keeps.
        sampler: draws uniform (Haar) elements; None lists a finite group, walks at random in another compact one, and draws near
            the identity where there is no uniform law.
        quadrature: degree -> elements and weights, exact for polynomials of that degree.
        order: of a finite group, where it is known; else elements are counted.
        is_compact: where it cannot be seen: None says yes for finite and orthogonal (unitary) groups, no for others.
        contains: the membership test; None looks among the elements of a finite group.

    Shapes:
        generators: (M, d, d)    lie_algebra: (D, d, d)    form: (d, d)

    Raises:
        GroupError: matrices that are not square, of different d, not finite numbers, or generators that cannot be inverted.

    References:
        Finzi, Welling and Wilson (2021), arXiv:2104.09459, section 4: generators suffice for every linear constraint.

    Example:
        >>> turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
        >>> GeneratedGroup("C4", generators=[turn]).order(), GeneratedGroup("SO(2)", lie_algebra=[turn]).is_compact
        (4, True)
    """

    def __init__(
        self,
        name: str,
        generators: Sequence[Tensor] | Tensor = (),
        lie_algebra: Sequence[Tensor] | Tensor = (),
        *,
        dim: int | None = None,
        form: Tensor | None = None,
        sampler: Sampler | None = None,
        quadrature: Quadrature | None = None,
        order: int | None = None,
        is_compact: bool | None = None,
        contains: Callable[[Tensor], bool] | None = None,
    ) -> None:
        given = [("generators", torch.as_tensor(g).detach()) for g in generators] + [
            ("lie_algebra", torch.as_tensor(A).detach()) for A in lie_algebra
        ]
        self.name, self.dim = name, _dimension(given, dim)
        kind = torch.complex128 if any(each.is_complex() for _, each in given) else torch.float64
        shape = (-1, self.dim, self.dim)
        self._generators = torch.stack([g.to(kind) for what, g in given if what == "generators"] or [torch.empty(0)]).reshape(
            shape
        )
        self._algebra = torch.stack([A.to(kind) for what, A in given if what == "lie_algebra"] or [torch.empty(0)]).reshape(shape)
        self._generators, self._algebra = self._generators.to(kind), self._algebra.to(kind)
        if not len(self._algebra) and given and all(g.dtype in (torch.float32, torch.complex64) for _, g in given):
            self._generators = sharpened(self._generators)
        for number, g in enumerate(self._generators):
            if not torch.linalg.cond(g) <= 1e12:  # of the zero matrix it is NaN
                raise GroupError(f"generators[{number}] of {name} cannot be inverted: its smallest singular value is about zero")
        self.form = None if form is None else torch.as_tensor(form, dtype=kind)
        self._sampler, self._quadrature, self._order = sampler, quadrature, order
        self._is_compact, self._contains = is_compact, contains

    @property
    def dtype(self) -> torch.dtype:
        """Of elements: float64, or complex128."""
        return self._generators.dtype

    @property
    def identity(self) -> Tensor:
        """The unit matrix."""
        return torch.eye(self.dim, dtype=self.dtype)

    @property
    def generators(self) -> Tensor:  # type: ignore[override]
        """The discrete ones, (M, d, d)."""
        return self._generators

    @property
    def lie_algebra(self) -> Tensor:  # type: ignore[override]
        """(D, d, d)."""
        return self._algebra

    @cached_property
    def _closure(self) -> Tensor | None:
        """All elements, or None where there are more than ``CAP``, or infinitely many."""
        if self.lie_dim:
            return None
        sizes = torch.linalg.eigvals(self._generators).abs() if len(self._generators) else torch.ones(1)
        if bool(((sizes - 1).abs() > 1e-6).any()):  # a power of it grows without end
            return None
        return closure(self._generators, self.identity, self._order or CAP)

    def order(self) -> int | float:
        """The number of elements; infinite with a Lie algebra, or beyond ``CAP`` elements where no order is given."""
        if self._order is not None:
            return self._order
        return math.inf if self._closure is None else len(self._closure)

    def elements(self, limit: int = 10_000) -> Tensor:
        """All elements, (order, d, d), in order of the number of generators that it takes to make them.

        Raises:
            NotFiniteError: infinitely many, or more than ``limit``.
        """
        if self.order() > limit:
            raise NotFiniteError(
                f"expected at most {limit} elements to list, {self.name} has {self.order_text()}; draw some with sample"
            )
        found = self._closure
        if found is None or len(found) != self.order():
            made = f"more than {self.order()}" if found is None else len(found)
            raise GroupError(f"{self.name}: the generators give {made} elements, the order says {self.order()}")
        return found

    @property
    def is_compact(self) -> bool:
        """As given; else finite, or orthogonal (unitary)."""
        if self._is_compact is not None:
            return self._is_compact
        return bool(self._order) or self.is_orthogonal or self.is_finite

    @property
    def is_orthogonal(self) -> bool:
        """g^* g = I of generators and A = -A^* of the Lie algebra."""
        skew = bool(((self._algebra + self._algebra.mH).abs() <= 1e-6).all())
        return skew and all(map(is_orthogonal_matrix, self._generators))

    def _witnesses(self) -> list[Tensor]:
        return list(self._generators) if self.lie_dim or len(self._generators) else [self.identity]

    def contains(self, g: Tensor) -> bool:
        """Whether ``g`` is an element.

        Raises:
            ShapeError: no matrix of the group's size.
            GroupError: no membership test was given and the group is not finite.
        """
        if g.shape != (self.dim, self.dim):
            raise ShapeError(f"expected a matrix of shape {(self.dim, self.dim)}, got {tuple(g.shape)}")
        if g.is_complex() and not self.dtype.is_complex:
            if bool((g.imag.abs() > 1e-6).any()):
                return False
            g = g.real
        g = g.to(self.dtype)
        if self._contains is not None:
            return bool(self._contains(g))
        if self._closure is None:
            return super().contains(g)
        return bool(((self._closure - g.to(self._closure)).abs().amax((1, 2)) < 1e-6).any())

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """``num`` elements, (num, d, d): uniform where the group is compact, near the identity where it is not (``sampling``)."""
        if self._sampler is not None:
            return self._sampler(num, generator)
        if not self.lie_dim and self._closure is not None:
            return self._closure[torch.randint(len(self._closure), (num,), generator=generator)]
        found = self.identity.expand(num, -1, -1)
        for _ in range(WALK if self.is_compact else 1):
            found = self._step(num, generator) @ found
        return found

    def _step(self, num: int, generator: torch.Generator | None) -> Tensor:
        """The exponential of a random Lie algebra element, and each discrete generator with probability 1/2, in random order."""
        g = self.identity.expand(num, -1, -1)
        if self.lie_dim:
            # Coefficients in an orthonormal basis, so that a rescaled basis gives the same law.
            basis = orthonormal(self._algebra) * math.sqrt(2.0)
            scale = 1.0 if self.is_compact else LOCAL
            z = scale * torch.randn(num, len(basis), dtype=torch.float64, generator=generator)
            g = torch.linalg.matrix_exp(torch.einsum("nk,kij->nij", z.to(self.dtype), basis))
        for index in torch.randperm(len(self._generators), generator=generator):
            moves = torch.rand(num, 1, 1, generator=generator) < 0.5
            g = torch.where(moves, self._generators[index], self.identity) @ g
        return g

    def quadrature(self, degree: int) -> tuple[Tensor, Tensor]:
        """Elements (K, d, d) and weights (K,), exact for polynomials of that degree in the entries."""
        return super().quadrature(degree) if self._quadrature is None else self._quadrature(degree)

    def renamed(self, name: str) -> "GeneratedGroup":
        """The same group under another name."""
        other = copy.copy(self)
        other.name = name
        return other


def generated(group: Group) -> GeneratedGroup:
    """A stranger's group of matrices by its generators and Lie algebra; one that is made of these already is itself.

    Raises:
        GroupError: no group of matrices, or one of which neither is known.

    Example:
        >>> generated(GeneratedGroup("C2", [-torch.eye(2)]))
        GeneratedGroup(C2, order 2)
    """
    if isinstance(group, GeneratedGroup):
        return group
    if not isinstance(group, MatrixGroup):
        raise GroupError(
            f"expected a group of matrices, got {getattr(group, 'name', None) or repr(group)}; take a GeneratedGroup"
        )
    order, kind = group.order(), type(group)
    if not len(group.generators) and not group.lie_dim and order != 1:
        raise GroupError(f"{group.name} knows neither generators nor a Lie algebra, which the maps come from; define them")
    return GeneratedGroup(
        group.name,
        list(group.generators),
        list(group.lie_algebra),
        dim=group.dim,
        form=group.form,
        sampler=group.sample,
        quadrature=None if kind.quadrature is MatrixGroup.quadrature else group.quadrature,
        order=None if order == math.inf else int(order),
        is_compact=group.is_compact,
        contains=None if kind.contains is Group.contains else group.contains,
    )


def _dimension(given: Sequence[tuple[str, Tensor]], dim: int | None) -> int:
    sizes = {dim} if dim is not None else set()
    for what, matrix in given:
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise GroupError(f"expected {what} as square matrices (d, d), got one of shape {tuple(matrix.shape)}")
        if not bool(matrix.isfinite().all()):
            raise GroupError(f"expected {what} of finite numbers, got NaN or infinity")
        sizes.add(matrix.shape[0])
    if len(sizes) != 1:
        shown = f"d = {sorted(sizes)}" if sizes else "none"
        raise GroupError(f"expected generators and lie_algebra of one dimension d, got {shown}; give dim where there are none")
    (found,) = sizes
    if found < 1:
        raise GroupError(f"expected a dimension d >= 1, got {found}")
    return found


def orthonormal(algebra: Tensor) -> Tensor:
    """An orthonormal (real) basis of the span of matrices, (D, d, d); those that depend on others before add nothing.

    Example:
        >>> orthonormal(torch.tensor([[[0.0, -5.0], [5.0, 0.0]]])).norm().round(decimals=4)
        tensor(1.)
    """
    flat = torch.view_as_real(algebra).flatten(1) if algebra.is_complex() else algebra.flatten(1)
    q = torch.linalg.qr(flat.mT)[0].mT
    for row in range(len(flat)):  # QR gives a dependent matrix some direction outside of the span
        if float(torch.linalg.vector_norm(flat[row] - (flat[row] @ q[:row].mT) @ q[:row])) <= DEPENDENT * float(flat[row].norm()):
            return orthonormal(torch.cat([algebra[:row], algebra[row + 1 :]]))
    back = torch.view_as_complex(q.unflatten(1, (-1, 2)).contiguous()) if algebra.is_complex() else q
    return back.reshape(-1, *algebra.shape[1:])
