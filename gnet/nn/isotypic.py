"""The basis in which every equivariant linear map is block-diagonal, and the layer that works in it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from gnet.errors import GroupError, ShapeError
from gnet.groups.base import NodeGroup
from gnet.groups.permutation import connected
from gnet.nn.base import Bias, NodeLinear
from gnet.nn.weights import Start
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


class IsotypicLinear(NodeLinear):
    """The maps of ``EquivariantLinear``, in the isotypic basis: one small matrix product per irreducible representation.

    Shapes:
        x: (*, N, C)    returns: (*, N, C')

    Raises:
        ShapeError: x is not (*, N, C), or has another dtype or device than the weights.
        GroupError: as ``isotypic_decomposition``.

    References:
        The commutant of a representation is a sum of matrix algebras over R, C and H (Serre 1977, section 13.2).

    Example:
        >>> layer = IsotypicLinear(PermutationGroup([[3, 2, 1, 0]]), 2, 5)
        >>> layer, layer(torch.randn(7, 4, 2)).shape
        (IsotypicLinear(2 -> 5 | <1 generator on 4 nodes> | multiplicities 2 2), torch.Size([7, 4, 5]))
    """

    def __init__(
        self,
        group: NodeGroup,
        in_channels: int,
        out_channels: int,
        *,
        bias: Bias | None = "orbit",
        gain: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(group, in_channels, out_channels, bias)
        self.gain = gain
        self.decomposition = isotypic_decomposition(group)
        weights = []
        for number, component in enumerate(self.decomposition.components):
            # In float64 until the layer is converted, so that layer.double() is as exact as the decomposition.
            self.register_buffer(f"basis_{number}", component.basis, persistent=False)
            self.register_buffer(f"field_{number}", component.field, persistent=False)
            shape = (component.multiplicity, component.multiplicity, len(component.field), out_channels, in_channels)
            weights.append(nn.Parameter(torch.empty(shape)))
        self.weights = nn.ParameterList(weights)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Normal weights that give outputs variance ``gain`` for white inputs; zero bias."""
        start = Start("white", self.gain, 0.5, generator)
        for weight in self.weights:
            start.normal_(weight, torch.tensor(math.sqrt(self.gain / (self.in_channels * weight.shape[1] * weight.shape[2]))))
        self.reset_bias(start)

    @property
    def num_weights(self) -> int:
        """Sum of multiplicity^2 times 1, 2 or 4, times C C': dim Hom_G."""
        return sum(weight.numel() for weight in self.weights)

    def _parts(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for number, weight in enumerate(self.weights):
            basis, field = self.get_buffer(f"basis_{number}"), self.get_buffer(f"field_{number}")
            yield weight, basis.to(weight.dtype), field.to(weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        self.check_input(x)
        bias = self.bias_of_places()
        y = x.new_zeros(()) if bias is None else bias
        for weight, basis, field in self._parts():
            inner = torch.einsum("bnd,...nc->...bdc", basis, x)
            turned = torch.einsum("fed,...bdc->...bfec", field, inner)
            y = y + torch.einsum("ane,...aeo->...no", basis, torch.einsum("abfoc,...bfec->...aeo", weight, turned))
        return y

    @torch.no_grad()
    def set_dense(self, weight: Tensor) -> None:
        """Take the equivariant part of a map (N, C', N, C), receiver first: its coordinates in the basis.

        Raises:
            ShapeError: another shape.
        """
        expected = (self.group.degree, self.out_channels, self.group.degree, self.in_channels)
        if weight.shape != expected:
            raise ShapeError(f"expected a map of shape {expected}, got {tuple(weight.shape)}")
        for own, basis, field in self._parts():
            left = torch.einsum("ane,nomc->aeomc", basis.to(weight), weight)
            block = torch.einsum("aeomc,bmd->abeodc", left, basis.to(weight))
            own.copy_(torch.einsum("abeodc,fed->abfoc", block, field.to(weight)) / field.shape[1])

    def dense(self) -> Tensor:
        """The explicit weight, (N, C', N, C), receiver first: for tests and for looking at."""
        parts = [torch.einsum("ane,fed,bmd,abfoc->nomc", basis, field, basis, weight) for weight, basis, field in self._parts()]
        return torch.stack(parts).sum(0)

    def __repr__(self) -> str:
        multiplicities = " ".join(map(str, self.decomposition.multiplicities))
        channels = f"{self.in_channels} -> {self.out_channels}"
        return f"IsotypicLinear({channels} | {self.group.name} | multiplicities {multiplicities})"
