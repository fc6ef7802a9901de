"""The basis in which every equivariant linear map is block-diagonal."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from gnet.errors import GroupError
from gnet.groups.base import NodeGroup
from gnet.groups.permutation import connected
from gnet.orbits import PairOrbits

FieldType = Literal["real", "complex", "quaternionic"]
FIELD_DIMENSIONS: dict[int, FieldType] = {1: "real", 2: "complex", 4: "quaternionic"}
GAP = 1e-9
"""Eigenvalues closer than this, relative to their spread, are one."""
ATTEMPTS = 8


@dataclass(frozen=True, eq=False)
class IsotypicComponent:
    """All copies in R^N of one irreducible representation, in coordinates in which the group acts on each copy alike.

    Shapes:
        basis: (multiplicity, N, dim) orthonormal columns
        field: (f, dim, dim) an orthogonal basis of the maps of one copy that commute with the group, each of norm sqrt(dim), the
            unit matrix first; f = 1, 2, 4 for real, complex, quaternionic type
    """

    basis: Tensor
    field: Tensor

    @property
    def multiplicity(self) -> int:
        """How often the representation occurs."""
        return self.basis.shape[0]

    @property
    def dim(self) -> int:
        """Its real dimension."""
        return self.basis.shape[2]

    @property
    def type(self) -> FieldType:
        """Whether its commuting maps are the real, the complex numbers or the quaternions."""
        return FIELD_DIMENSIONS[len(self.field)]

    @property
    def num_maps(self) -> int:
        """Dimension of the equivariant maps of this component: multiplicity^2 times 1, 2 or 4."""
        return self.multiplicity**2 * len(self.field)

    def __repr__(self) -> str:
        return f"IsotypicComponent({self.multiplicity} x {self.dim}-dimensional, {self.type})"


@dataclass(frozen=True, eq=False)
class IsotypicDecomposition:
    """R^N as an orthogonal sum of isotypic components, the trivial representation first, then by dimension."""

    components: tuple[IsotypicComponent, ...]

    @property
    def multiplicities(self) -> tuple[int, ...]:
        """Of each component."""
        return tuple(component.multiplicity for component in self.components)

    @property
    def types(self) -> tuple[FieldType, ...]:
        """Of each component."""
        return tuple(component.type for component in self.components)

    @cached_property
    def basis(self) -> Tensor:
        """All of R^N, component after component, copy after copy: an orthogonal (N, N)."""
        return torch.cat([component.basis.permute(1, 0, 2).flatten(1) for component in self.components], 1)


def isotypic_decomposition(group: NodeGroup, *, seed: int = 0) -> IsotypicDecomposition:
    """Split R^N into the irreducible representations of a node group, exactly as many as the pair orbits say.

    A random symmetric equivariant matrix has an irreducible representation for each of its eigenspaces; a second random
    equivariant matrix says which of them are isomorphic, and turns the coordinates of one into those of the other. O(N^3).

    Raises:
        GroupError: more nodes than the dense pair orbits allow, or eigenvalues that float64 cannot tell apart.

    References:
        Serre (1977), Linear Representations of Finite Groups, sections 2.6 and 13.2. Maehara and Murota (2010),
        doi:10.1007/s13160-010-0006-9, on the random-matrix method.

    Example:
        >>> isotypic_decomposition(PermutationGroup([[1, 2, 0]]))
        IsotypicDecomposition(components=(IsotypicComponent(1 x 1-dimensional, real), \
IsotypicComponent(1 x 2-dimensional, complex)))
    """
    orbits = PairOrbits.of(group)
    for attempt in range(ATTEMPTS):
        generator = torch.Generator().manual_seed(seed + attempt)
        components = _components(orbits, generator)
        if sum(component.num_maps for component in components) == orbits.count:
            ones = torch.ones(group.degree, dtype=torch.float64)
            ordered = sorted(components, key=lambda each: (_share(each, ones) < 0.5, each.dim, -each.multiplicity))
            return IsotypicDecomposition(tuple(ordered))
    raise GroupError(f"{group.name}: the irreducible representations could not be told apart in float64; try another seed")


def _share(component: IsotypicComponent, vector: Tensor) -> float:
    """Which part of a vector lies in the component."""
    return float((torch.einsum("mnd,n->md", component.basis, vector)).square().sum() / vector.square().sum())


def _random_map(orbits: PairOrbits, generator: torch.Generator) -> Tensor:
    """A random equivariant matrix, (N, N) float64."""
    return orbits.matrix(torch.randn(orbits.count, generator=generator, dtype=torch.float64))


def _components(orbits: PairOrbits, generator: torch.Generator) -> list[IsotypicComponent]:
    first, second = _random_map(orbits, generator), _random_map(orbits, generator)
    values, vectors = torch.linalg.eigh(first + first.mT)
    breaks = torch.nonzero(values.diff() > GAP * float(values[-1] - values[0] + 1)).flatten() + 1
    spaces = list(vectors.tensor_split(breaks.tolist(), dim=1))
    middle = vectors.mT @ second @ vectors
    which = torch.repeat_interleave(torch.arange(len(spaces)), torch.tensor([space.shape[1] for space in spaces]))
    strength = torch.zeros(len(spaces), len(spaces), dtype=torch.float64)
    strength.index_put_((which[:, None], which[None, :]), middle.square(), accumulate=True)
    alike = torch.nonzero(strength > GAP * strength.max())
    label = connected(alike[:, 0], alike[:, 1], len(spaces))
    fields = [_random_map(orbits, generator) for _ in range(8)]
    return [
        _component([spaces[i] for i in torch.nonzero(label == kind).flatten().tolist()], second, fields)
        for kind in range(int(label.max()) + 1)
    ]


def _component(copies: list[Tensor], between: Tensor, fields: list[Tensor]) -> IsotypicComponent:
    reference = copies[0]
    aligned = [reference]
    for copy in copies[1:]:
        # A multiple of an orthogonal matrix, as are all maps between copies; the polar factor takes off the rounding.
        left, _, right = torch.linalg.svd(copy.mT @ between @ reference)
        aligned.append(copy @ (left @ right))
    dim = reference.shape[1]
    inside = torch.stack([torch.eye(dim, dtype=torch.float64), *(reference.mT @ each @ reference for each in fields)]).flatten(1)
    field = [inside[0] / math.sqrt(dim)]
    for each in inside[1:]:
        rest = each
        for _ in range(2):  # twice is enough
            for known in field:
                rest = rest - (rest @ known) * known
        if rest.norm() > 1e-6 * each.norm():
            field.append(rest / rest.norm())
    return IsotypicComponent(torch.stack(aligned), torch.stack(field).unflatten(1, (dim, dim)) * math.sqrt(dim))
