"""Linear layers that commute with a node group, or forget it: exactly as many weights as there are pair orbits."""

from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, ShapeError
from gnet.graphs.partition import Partition
from gnet.groups.base import NodeGroup, check_node_group
from gnet.kernels.segments import cluster_mean
from gnet.nn.base import Bias, NodeLinear
from gnet.nn.checks import check_channels, check_choice, check_placement, check_shape
from gnet.nn.mixing import Mixing, MixingWeights, mixing_pairs
from gnet.nn.weights import BlockWeights, Init, OrbitWeights, ReferenceWeights, Start, TableWeights
from gnet.orbits import Blocks, PairOrbits

Parametrization = Literal["canonical", "orbits", "reference"]
COORDINATES = {"canonical": BlockWeights, "orbits": OrbitWeights, "reference": ReferenceWeights}


class EquivariantLinear(NodeLinear):
    """Every linear map (*, N, C) -> (*, N, C') that commutes with the group, and no other.

    ``bias="orbit"`` has one vector per node orbit, which is all that equivariance allows; ``"shared"`` one for all nodes, as in
    the published code. ``parametrization`` says which numbers of a cluster group are trained, which matters under Adam:
    "canonical" those between means of clusters, "orbits" the entries of the map, "reference" the published code's (see
    ``ReferenceWeights``); the maps are the same. ``gain`` is the variance of the output per unit of input second moment at the
    start (2 before a ReLU); ``rho`` is the correlation that ``init="correlated"`` assumes between nodes of a cluster.

    For many clusters ``mixing`` says which of them send their mean to which: all ("full"), those that an edge of ``edge_index``
    joins ("coarse_edges", with the images under swaps), or only each node to itself ("none"). Any of these is exactly
    equivariant and complete among the maps on its support. ``num_bases`` makes the weights between clusters combinations of a
    few: exactly equivariant, not complete.

    Shapes:
        x: (*, N, C)    returns: (*, N, C')

    Raises:
        ShapeError: x is not (*, N, C), or has another dtype or device than the weights.
        ConfigError: an unknown bias, parametrisation or init, or one that the group does not have.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436; Maron et al. (2019), arXiv:1812.09902.

    Example:
        >>> layer = EquivariantLinear(ClusterGroup(Partition([0, 0, 0, 1, 1, 2])), 2, 5)
        >>> layer
        EquivariantLinear(2 -> 5 | S3 x S2 x S1 | 11 weights per channel pair)
        >>> layer(torch.randn(7, 6, 2)).shape, layer.num_weights, layer.num_parameters
        (torch.Size([7, 6, 5]), 110, 125)
    """

    def __init__(
        self,
        group: NodeGroup,
        in_channels: int,
        out_channels: int,
        *,
        bias: Bias | None = "orbit",
        mixing: Mixing = "full",
        num_bases: int | None = None,
        edge_index: Tensor | None = None,
        parametrization: Parametrization = "canonical",
        init: Init = "white",
        gain: float = 1.0,
        rho: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        orbits = PairOrbits.of(group)
        first_nodes = orbits.partition.order[orbits.partition.ptr[:-1]] if isinstance(orbits, Blocks) else None
        super().__init__(group, in_channels, out_channels, bias, first_nodes)
        check_choice("parametrization", parametrization, get_args(Parametrization))
        check_choice("mixing", mixing, ("full", "coarse_edges", "none"))
        self.parametrization, self.init, self.gain, self.rho = parametrization, init, gain, rho
        self.mixing, self.num_bases, self.orbits = mixing, num_bases, orbits
        self.weight = self._make_weights(edge_index)
        self.reset_parameters(generator)

    def _make_weights(self, edge_index: Tensor | None) -> BlockWeights | ReferenceWeights | TableWeights | MixingWeights:
        if self.mixing != "full" or self.num_bases is not None or edge_index is not None:
            if not isinstance(self.orbits, Blocks) or self.parametrization != "canonical":
                raise ConfigError(
                    "mixing, num_bases and edge_index are for cluster groups in the canonical parametrisation; "
                    "for edges of other groups use OrbitConv"
                )
            pairs = mixing_pairs(self.orbits, self.mixing, edge_index)
            return MixingWeights(self.orbits, self.in_channels, self.out_channels, pairs, self.num_bases)
        if isinstance(self.orbits, Blocks):
            return COORDINATES[self.parametrization](self.orbits, self.in_channels, self.out_channels)
        if self.parametrization == "reference" or self.init == "reference":
            raise ConfigError(
                f"parametrization='reference' and init='reference' are made for cluster groups, and {self.group.name} is none; "
                "give parametrization='canonical' and init='white' (or 'correlated', 'fan_in')"
            )
        return TableWeights(self.orbits, self.in_channels, self.out_channels)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew; biases start at zero, or uniform in (-1, 1) / sqrt(C') with ``init="reference"``."""
        start = Start(self.init, self.gain, self.rho, generator)
        self.weight.reset(start)
        self.reset_bias(start)

    @property
    def num_weights(self) -> int:
        """dim Hom_G with channels: pair orbits times C C'; with another mixing or bases the weights there are."""
        if isinstance(self.weight, MixingWeights):
            return sum(p.numel() for p in self.weight.parameters())
        return self.orbits.count * self.in_channels * self.out_channels

    @property
    def support(self) -> Tensor | None:
        """The pairs of nodes (2, E), senders first, that the layer can connect; None for all. For tests: up to N^2 pairs."""
        if self.mixing == "full":
            return None
        weight = cast(MixingWeights, self.weight)
        allowed = torch.cat([weight.used.cpu(), self.orbits.own_ids])  # type: ignore[attr-defined]
        return torch.nonzero(torch.isin(self.orbits.labels(), allowed)).t().flip(0)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        self.check_input(x)
        return self.weight(x, self.bias_of_places())

    @property
    def allows_nodes_first(self) -> bool:
        """Whether ``forward_nodes_first`` can be called: the group is one of clusters."""
        return isinstance(self.weight, BlockWeights)

    def forward_nodes_first(self, x: Tensor) -> Tensor:
        """The map inside a net that sorts the nodes by cluster once: (N, B, C) -> (N, B, C'), unchecked."""
        return cast(BlockWeights, self.weight).forward_nodes_first(x, self.bias_of_places())

    def dense(self) -> Tensor:
        """The explicit weight, (N, C', N, C), receiver first: for tests and for looking at."""
        return self.orbits.matrix(self.weight.coefficients())

    def dense_bias(self) -> Tensor | None:
        """The bias of each node, (N, C'), or None."""
        bias = self.bias_of_places()
        return bias[self.orbits.partition.labels] if bias is not None and isinstance(self.orbits, Blocks) else bias

    @torch.no_grad()
    def set_dense(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Become the average over the group of a dense map, and of its bias.

        Shapes:
            weight: (N, C', N, C)    bias: (N, C') or None

        Raises:
            ShapeError: other shapes.
            ConfigError: a bias for a layer that has none.

        Example:
            >>> layer = EquivariantLinear(SymmetricGroup(3), 1, 1)
            >>> layer.set_dense(torch.eye(3).reshape(3, 1, 3, 1))
            >>> layer(torch.tensor([[1.0], [2.0], [3.0]])).flatten()
            tensor([1., 2., 3.], grad_fn=<ViewBackward0>)
        """
        num_nodes = self.group.degree
        expected = (num_nodes, self.out_channels, num_nodes, self.in_channels)
        if weight.shape != expected or (bias is not None and bias.shape != expected[:2]):
            got = f"{tuple(weight.shape)}" + ("" if bias is None else f" and {tuple(bias.shape)}")
            raise ShapeError(f"expected a weight {expected} and a bias {expected[:2]} or None, got {got}")
        if bias is not None and self.bias is None:
            raise ConfigError("got a bias and the layer has bias=None; make it with bias='orbit'")
        self.weight.set_coefficients(self.orbits.coefficients(weight).to(next(self.parameters())))
        if self.bias is not None:
            self.bias.zero_()
            if bias is not None:
                orbits = Partition.whole(len(bias)) if self.bias_kind == "shared" else self.group.node_orbits()
                self.bias.copy_(cluster_mean(bias, orbits.labels, orbits.num_clusters))

    def to_reference_params(self) -> dict[str, Tensor]:
        """The published code's layout of this map: w_diag (C' C, k), w_off (C' C, k, k), output channel major, and the bias.

        Weights that swaps tie are repeated. For singletons w_diag is zero: only canonical -> reference -> canonical
        round-trips. ``b`` is (k, C'); a layer without bias has none.
        """
        reference = self._reference()
        if isinstance(self.weight, ReferenceWeights):
            reference = self.weight
        else:
            reference.set_coefficients(self.weight.coefficients())
        bias = self.bias_of_places()
        own, mix = cast(Tensor, reference.own_of_clusters()).detach(), reference.mix_of_clusters().detach()
        found = {
            "w_diag": own.permute(1, 2, 0).flatten(0, 1),
            "w_off": mix.permute(1, 3, 0, 2).flatten(0, 1),
        }
        return found if bias is None else {**found, "b": bias.detach()}

    @torch.no_grad()
    def from_reference_params(self, w_diag: Tensor, w_off: Tensor, b: Tensor | None = None) -> "EquivariantLinear":
        """Take over a map in the published code's layout; returns the layer.

        Shapes:
            w_diag: (C' C, k)    w_off: (C' C, k, k)    b: (C',), one for all nodes, or (k, C')

        Raises:
            ShapeError: other shapes.
            ConfigError: no cluster group, weights that differ where the swaps tie them, or a bias that the layer cannot hold.
        """
        reference = self._reference()
        k, size = reference.orbits.partition.num_clusters, (self.out_channels, self.in_channels)
        expected = (self.out_channels * self.in_channels, k)
        if w_diag.shape != expected or w_off.shape != (*expected, k):
            raise ShapeError(
                f"expected w_diag {expected} and w_off {(*expected, k)}, got {tuple(w_diag.shape)} and {tuple(w_off.shape)}"
            )
        own, mix = w_diag.reshape(*size, k).permute(2, 0, 1), w_off.reshape(*size, k, k).permute(2, 0, 3, 1)
        cast(nn.Parameter, reference.own)[reference.own_rows] = own.to(reference.mix)
        if reference.orbits.is_tied:
            reference.mix[reference.pair_ids] = mix.permute(0, 2, 1, 3).to(reference.mix)
        else:
            reference.mix.copy_(mix)
        if not (
            torch.allclose(reference.mix_of_clusters(), mix.to(reference.mix))
            and torch.allclose(cast(Tensor, reference.own_of_clusters()), own.to(reference.mix))
        ):
            raise ConfigError("expected weights that are equal where the swaps tie them, got others; average them first")
        if isinstance(self.weight, ReferenceWeights):
            self.weight.load_state_dict(reference.state_dict())
        else:
            self.weight.set_coefficients(reference.coefficients())
        if b is not None and b.shape not in ((self.out_channels,), (k, self.out_channels)):
            raise ShapeError(f"expected b of shape ({self.out_channels},) or ({k}, {self.out_channels}), got {tuple(b.shape)}")
        if b is not None:
            self._set_cluster_bias(b.expand(k, self.out_channels))
        return self

    def _reference(self) -> ReferenceWeights:
        if not isinstance(self.orbits, Blocks):
            raise ConfigError("reference parameters exist for cluster groups only")
        return ReferenceWeights(self.orbits, self.in_channels, self.out_channels).to(next(self.parameters()))

    def _set_cluster_bias(self, bias: Tensor) -> None:
        if self.bias is None:
            raise ConfigError("the parameters have a bias and the layer has bias=None; make it with bias='orbit'")
        if self.bias_kind == "shared" and not torch.equal(bias, bias[:1].expand_as(bias)):
            raise ConfigError("the parameters have a bias per cluster and the layer bias='shared'; make it with bias='orbit'")
        self.bias.data[self.bias_rows] = bias.to(self.bias)

    def __repr__(self) -> str:
        channels = f"{self.in_channels} -> {self.out_channels}"
        if isinstance(self.weight, MixingWeights) and self.num_bases is not None:
            own = 0 if self.weight.own is None else len(self.weight.own)
            pairs = f"{own} own weights, {len(self.weight.used)} pairs of clusters from {self.num_bases} bases per channel pair"
            return f"EquivariantLinear({channels} | {self.group.name} | {pairs})"
        count = self.num_weights // (self.in_channels * self.out_channels)
        mixing = "" if self.mixing == "full" else f", mixing {self.mixing}"
        return f"EquivariantLinear({channels} | {self.group.name} | {count} weights per channel pair{mixing})"


class InvariantLinear(nn.Module):
    """Every linear map (*, N, C) -> (*, C') that does not notice the group: one weight per node orbit, on orbit means.

    Shapes:
        x: (*, N, C)    returns: (*, C')

    References:
        Elesedy and Zaidi (2021), arXiv:2102.10333, on invariant linear regression.

    Example:
        >>> layer = InvariantLinear(SymmetricGroup(4), 3, 2)
        >>> layer, layer(torch.randn(5, 4, 3)).shape
        (InvariantLinear(3 -> 2 | S4 | 1 weight per channel pair), torch.Size([5, 2]))
    """

    bias: nn.Parameter | None
    labels: Tensor

    def __init__(
        self,
        group: NodeGroup,
        in_channels: int,
        out_channels: int,
        *,
        bias: bool = True,
        gain: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels, out_channels)
        check_node_group(group)
        self.group, self.in_channels, self.out_channels, self.gain = group, in_channels, out_channels, gain
        orbits = group.node_orbits()
        self.num_orbits = orbits.num_clusters
        self.weight = nn.Parameter(torch.empty(out_channels, self.num_orbits, in_channels))
        self.register_parameter("bias", nn.Parameter(torch.empty(out_channels)) if bias else None)
        self.register_buffer("labels", orbits.labels, persistent=False)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Normal weights that give outputs variance ``gain`` for white inputs; zero bias."""
        sizes = torch.bincount(self.labels, minlength=self.num_orbits).float().cpu()
        start = Start("white", self.gain, 0.5, generator)
        start.normal_(self.weight, torch.sqrt(self.gain * sizes / (self.in_channels * self.num_orbits))[None, :, None])
        if self.bias is not None:
            start.uniform_(self.bias, 0.0)

    @property
    def num_weights(self) -> int:
        """Node orbits times C C'."""
        return self.weight.numel()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        check_shape(x, self.group.degree, self.in_channels)
        check_placement(x, self.weight)
        means = cluster_mean(x, self.labels, self.num_orbits)  # (*, orbits, C)
        return nn.functional.linear(means.flatten(-2), self.weight.flatten(1), self.bias)

    def dense(self) -> Tensor:
        """The explicit weight on nodes, (C', N, C)."""
        sizes = torch.bincount(self.labels, minlength=self.num_orbits).to(self.weight)
        return (self.weight / sizes[None, :, None])[:, self.labels]

    def __repr__(self) -> str:
        plural = "" if self.num_orbits == 1 else "s"
        channels = f"{self.in_channels} -> {self.out_channels}"
        return f"InvariantLinear({channels} | {self.group.name} | {self.num_orbits} weight{plural} per channel pair)"
