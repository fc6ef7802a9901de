"""The maps of a group in its isotypic basis."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gnet.errors import ShapeError
from gnet.groups.base import NodeGroup
from gnet.isotypic import isotypic_decomposition
from gnet.nn.base import Bias, NodeLinear
from gnet.nn.weights import Start


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
