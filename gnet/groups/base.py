"""What a group is, for ours and for a stranger's: elements, how to draw them, how they act.

Averaging, equivariance errors, projections, augmentation and penalties are written once, on (group, action_in, action_out);
a new group states only what is peculiar to it.
"""

import contextlib
import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gnet.errors import GroupError, NotFiniteError, ShapeError

if TYPE_CHECKING:
    from gnet.graphs.partition import Partition


@dataclass(frozen=True)
class Action:
    """A named way for group elements to move a signal: ``act(g, x)`` returns a tensor shaped like ``x``.

    Example:
        >>> flip_sign = Action("sign", lambda g, x: g * x)
        >>> flip_sign(-1, torch.tensor([2.0]))
        tensor([-2.])
    """

    name: str
    act: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, g: Tensor, x: Tensor) -> Tensor:
        """``g x``."""
        return self.act(g, x)


TRIVIAL_ACTION = Action("trivial", lambda g, x: x)
"""Leaves every signal as it is: the output action of an invariant map."""


class LazySequence(Sequence[Tensor]):
    """A sequence whose items are made when asked for, so that many long permutations need no memory."""

    def __init__(self, length: int, make: Callable[[int], Tensor]) -> None:
        self._length, self._make = length, make

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        firsts = [self._make(i).tolist() for i in range(min(self._length, 2))]
        shown = [str(each) for each in firsts if len(each) <= 32]
        shown += ["..."] if len(shown) < self._length else []
        plural = "" if self._length == 1 else "s"
        return f"{self._length} generator{plural} made when asked for [{', '.join(shown)}]"

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        """One item, or the list of a slice."""
        if isinstance(index, slice):
            return [self._make(i) for i in range(*index.indices(self._length))]
        position = index + self._length if index < 0 else index
        if not 0 <= position < self._length:
            raise IndexError(f"expected an index in 0..{self._length - 1}, got {index}")
        return self._make(position)

    def __iter__(self) -> Iterator[Tensor]:
        return (self._make(i) for i in range(self._length))


class Group(ABC):
    """A group: its elements are tensors, its product ``compose(g, h)`` is g after h, its ``action`` a left action.

    A subclass gives ``name``, ``identity``, ``sample``, ``compose``, ``inverse`` and ``action``; a finite one also ``order``
    and ``generators``. The properties ``is_...`` are computed from these, and may be overridden where that cannot see enough.
    """

    name: str = "G"

    @property
    @abstractmethod
    def identity(self) -> Tensor:
        """The neutral element."""

    @property
    @abstractmethod
    def action(self) -> Action:
        """How elements act on the signals the group is made for."""

    @abstractmethod
    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """``num`` independent elements, stacked along a first axis; uniform (Haar) for compact groups."""

    @abstractmethod
    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """The element g h, which acts as g after h."""

    @abstractmethod
    def inverse(self, g: Tensor) -> Tensor:
        """The element that undoes ``g``."""

    def order(self) -> int | float:
        """The number of elements, ``math.inf`` unless a subclass knows better."""
        return math.inf

    @property
    def generators(self) -> Sequence[Tensor]:
        """Elements that generate the group; empty where none are known."""
        return ()

    @property
    def lie_algebra(self) -> Sequence[Tensor]:
        """A basis of the Lie algebra of a matrix group; empty for finite groups."""
        return ()

    def elements(self, limit: int = 10_000) -> Tensor:
        """All elements of a small group, (order, ...), made from its generators; matrices closer than 1e-6 are one.

        Raises:
            NotFiniteError: more than ``limit`` of them.
            GroupError: no generators.
        """
        if self.order() > limit:
            raise NotFiniteError(
                f"expected at most {limit} elements to list, {self.name} has {self.order_text()}; draw some with sample(num), "
                "or raise limit"
            )
        if self.order() != 1 and not len(self.generators):
            raise GroupError(f"{self.name} knows no generators, so its elements cannot be listed; define generators")
        found = {_rounded(self.identity): self.identity}
        fresh = [self.identity]
        while fresh and len(found) <= self.order():
            products = {_rounded(gh): gh for g in self.generators for h in fresh for gh in [self.compose(g, h)]}
            fresh = [element for key, element in products.items() if key not in found]
            found |= products
        if len(found) != self.order():
            raise GroupError(f"{self.name}: the generators give {len(found)} elements, the order says {self.order()}")
        return torch.stack(list(found.values()))

    def contains(self, g: Tensor) -> bool:
        """Whether ``g`` is an element.

        Raises:
            GroupError: the group has no membership test.
        """
        raise GroupError(f"{self.name} has no membership test; define contains(g)")

    @property
    def is_finite(self) -> bool:
        """Whether the order is finite."""
        return self.order() != math.inf

    @property
    def is_compact(self) -> bool:
        """Finite, or made of orthogonal matrices."""
        return self.is_finite or self.is_orthogonal

    @property
    def is_orthogonal(self) -> bool:
        """Whether elements keep lengths: index tensors always, matrices if g^T g = I on generators and samples."""
        if self.is_permutation:
            return True
        return all(map(is_orthogonal_matrix, self._witnesses()))

    @property
    def sampling(self) -> Literal["haar", "local", "chosen"]:
        """What ``sample`` draws: uniform elements, some near the identity where no uniform law exists, or a caller's own law.

        ``sampled_by`` chooses; averages need "haar", penalties and augmentation refuse "local".
        """
        return "chosen" if "sample" in self.__dict__ else "haar" if self.is_compact else "local"

    def sampled_by(self, sampler: Callable[[int, torch.Generator | None], Tensor]) -> "Group":
        """The same group whose ``sample`` is a given function: penalties on groups without a uniform law need a chosen one.

        Shapes:
            sampler: (num, generator) -> (num, ...)

        Example:
            >>> only_identity = SymmetricGroup(3).sampled_by(lambda num, generator: torch.arange(3).expand(num, 3))
            >>> only_identity.sample(2).tolist(), only_identity.sampling
            ([[0, 1, 2], [0, 1, 2]], 'chosen')
        """
        chosen = copy.copy(self)
        chosen.__dict__["sample"] = ChosenSampler(sampler)  # shadows the method
        return chosen

    @property
    def is_permutation(self) -> bool:
        """Whether elements are index tensors (one axis of integers), or matrices with a single 1 in each row and column."""
        return all(_is_index(g) or _is_permutation_matrix(g) for g in self._witnesses())

    def _witnesses(self) -> list[Tensor]:
        return list(self.generators) or list(self.sample(8, torch.Generator().manual_seed(0)))

    def __repr__(self) -> str:
        order = self.order()
        return f"{type(self).__name__}({self.name}, order {'infinite' if order == math.inf else self.order_text()})"

    def order_text(self) -> str:
        """The order as a reader likes it; subclasses may print it factored."""
        order = self.order()
        if isinstance(order, int) and order.bit_length() > 256:  # Python refuses to print more than 4300 digits
            return f"about 10^{math.floor(math.log10(order))}"
        return str(order)


@dataclass(frozen=True)
class ChosenSampler:
    """What ``sampled_by`` puts in the place of ``sample``: the caller's function, also without a generator."""

    sampler: Callable[[int, torch.Generator | None], Tensor]

    def __call__(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """``num`` elements."""
        return self.sampler(num, generator)


def is_orthogonal_matrix(g: Tensor) -> bool:
    """Whether ``g^* g = I`` to 1e-6; complex matrices that are unitary count.

    Example:
        >>> is_orthogonal_matrix(torch.eye(2)), is_orthogonal_matrix(2 * torch.eye(2))
        (True, False)
    """
    if not _is_square(g):
        return False
    exact = g.to(torch.complex128 if g.is_complex() else torch.float64)
    return torch.allclose(exact.mH @ exact, torch.eye(len(g), dtype=exact.dtype), atol=1e-6)


def _rounded(g: Tensor) -> tuple[int, ...]:
    """What equal elements share, whatever the rounding of the products that made them."""
    real = torch.view_as_real(g) if g.is_complex() else g
    return tuple((real.double() * 1e6).round().long().flatten().tolist())


def _is_square(g: Tensor) -> bool:
    return g.ndim == 2 and g.shape[0] == g.shape[1]


def _is_index(g: Tensor) -> bool:
    return g.ndim == 1 and not g.is_floating_point() and torch.equal(torch.sort(g).values, torch.arange(len(g)))


def _is_permutation_matrix(g: Tensor) -> bool:
    if not _is_square(g):
        return False
    ones = torch.ones(len(g), dtype=g.dtype)
    return bool(((g == 0) | (g == 1)).all()) and torch.equal(g.sum(0), ones) and torch.equal(g.sum(1), ones)


class NodeGroup(Group):
    """A group of permutations of the nodes 0..N-1; an element is an int64 tensor ``perm`` with pi(i) = perm[i].

    It acts on signals ``(*, N, C)`` by ``(g x)[perm[i]] = x[i]``.
    """

    @property
    @abstractmethod
    def degree(self) -> int:
        """N, the number of nodes."""

    @abstractmethod
    def node_orbits(self) -> "Partition":
        """The nodes that the group can map onto each other."""

    @property
    def identity(self) -> Tensor:
        """0, 1, ..., N-1."""
        return torch.arange(self.degree)

    @property
    def action(self) -> Action:
        """Moves nodes: axis -2 of a signal."""
        return Action("nodes", self.act)

    def tensor_action(self, order: int) -> Action:
        """Moves all node axes of tensors ``(*, N, ..., C)`` of the given order; of order 0 there are none, order 1 are signals.

        Example:
            >>> swap = SymmetricGroup(2).tensor_action(2)
            >>> swap(torch.tensor([1, 0]), torch.tensor([[[1], [2]], [[3], [4]]]))[..., 0]
            tensor([[4, 3],
                    [2, 1]])
        """

        def act(perm: Tensor, x: Tensor) -> Tensor:
            inverse = torch.argsort(check_permutation(perm, self.degree, "element")).to(x.device)
            if x.ndim <= order or set(x.shape[x.ndim - 1 - order : -1]) - {self.degree}:
                raise ShapeError(f"expected x of shape (*, {'N, ' * order}C) with N = {self.degree}, got {tuple(x.shape)}")
            for axis in range(-2, -2 - order, -1):
                x = x.index_select(axis, inverse)
            return x

        return Action(f"tensors of order {order}", act)

    def act(self, perm: Tensor, x: Tensor) -> Tensor:
        """``g x`` on axis -2.

        Shapes:
            perm: (N,)    x: (*, N, C)    returns: (*, N, C)

        Raises:
            ShapeError: axis -2 of ``x`` is not the N nodes.
            GroupError: ``perm`` is no permutation of them.
        """
        perm = check_permutation(perm, self.degree, "element")
        if x.ndim < 2 or x.shape[-2] != self.degree:
            raise ShapeError(f"expected x of shape (*, {self.degree}, C), got {tuple(x.shape)}")
        return x.index_select(-2, torch.argsort(perm).to(x.device))

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """g after h: ``g[h]``."""
        return g[h]

    def inverse(self, g: Tensor) -> Tensor:
        """The permutation that undoes ``g``."""
        return torch.argsort(g)

    def elements(self, limit: int = 10_000) -> Tensor:
        """All elements of a small group, sorted, (order, N).

        Raises:
            NotFiniteError: more than ``limit`` of them.

        Example:
            >>> SymmetricGroup(3).elements().tolist()
            [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
        """
        order = self.order()
        if order > limit:
            raise NotFiniteError(
                f"expected at most {limit} elements to list, {self.name} has {self.order_text()}; draw some with sample(num), "
                "or raise limit"
            )
        found = self.identity[None]
        while len(found) < order:
            known = len(found)
            found = torch.unique(torch.cat([found, *(g[found] for g in self.generators)]), dim=0)
            if len(found) == known:
                raise GroupError(f"{self.name}: the generators give {known} elements, the order says {order}")
        return found

    @property
    def is_permutation(self) -> bool:
        """Always true."""
        return True

    def __eq__(self, other: object) -> bool:
        """Equal as sets of permutations, however they were made."""
        if not isinstance(other, NodeGroup):
            return NotImplemented
        if self.degree != other.degree or self.order() != other.order():
            return False
        # Of two finite groups of one order either may answer; a stranger's group may have no membership test.
        for one, another in ((self, other), (other, self)):
            with contextlib.suppress(GroupError):
                return all(another.contains(g) for g in one.generators)
        raise GroupError(f"neither {self.name} nor {other.name} has a membership test, so they cannot be compared")

    def __hash__(self) -> int:
        return hash((self.degree, self.order()))


def check_node_group(group: object) -> None:
    """Refuse what is no group of nodes.

    Raises:
        GroupError: it is none; the message says how to make one.
    """
    if not isinstance(group, NodeGroup):
        how = "PermutationGroup([perm, ...])" if isinstance(group, list | tuple | Tensor) else "ClusterGroup(partition)"
        raise GroupError(f"expected a node group, got {type(group).__name__}; write {how}")


def check_permutation(perm: Tensor, degree: int, what: str) -> Tensor:
    """``perm`` as an int64 tensor on the CPU, after checking that it permutes 0..degree-1.

    Raises:
        GroupError: it does not; the message starts with ``what``.
    """
    values = torch.as_tensor(perm).detach().cpu()
    if values.is_floating_point() or values.dtype == torch.bool:
        raise GroupError(f"{what}: expected integers, got {values.dtype}")
    if values.shape != (degree,) or not torch.equal(torch.sort(values.long()).values, torch.arange(degree)):
        shown = values.flatten()[:12].tolist()
        raise GroupError(f"{what}: expected a permutation of 0..{degree - 1}, got {shown}{'...' if values.numel() > 12 else ''}")
    return values.long().clone()  # nobody else may change a checked permutation
