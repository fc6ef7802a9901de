"""Sums of maps of several groups, none of which need be inside another."""

import math
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, GroupError
from gnet.graphs.partition import Partition
from gnet.groups.base import NodeGroup
from gnet.groups.cluster import ClusterGroup
from gnet.nn.base import Bias
from gnet.nn.checks import check_choice
from gnet.nn.linear import EquivariantLinear, Parametrization
from gnet.nn.orbit_conv import OrbitConv
from gnet.nn.relaxed.base import ApproximateLinear
from gnet.nn.relaxed.refinement import Refinement
from gnet.nn.weights import Init
from gnet.orbits import MANY_CLUSTERS, PairOrbits, close_edges


class GroupSum(ApproximateLinear):
    """``y = sum_a s_a f_a(x)``, each f_a any map of its group G_a: the sum of the spaces of maps.

    Exactly equivariant to what all groups have in common, of which nothing need be nested: clusters of two sizes, clusters and
    the translations of a grid, the automorphisms of the graph and clusters. ``broken`` and ``equivariance_error`` are about the
    first group. Where all are cluster groups they are found on the orbits of the clusters' intersections, without any N x N
    matrix.

    With ``start="first"`` all members but the first start at zero: the layer starts exactly equivariant to the first group, say
    S_N, and what training adds to it is learned, not drawn. On few samples that matters: random maps of small groups are noise
    that early stopping does not take away again. With ``scales="orbits"`` a group of k node orbits has s_a = k^(-1/2): one step
    of Adam then moves maps that fewer nodes share by less, so that they come in late, and only as far as validation lets them.

    Args:
        groups: groups, or modules (*, N, C) -> (*, N, C') such as an ``OrbitConv``; the first has a group.
        edge_index: give it, and groups by generators act along these edges, their images and the nodes themselves only
            (``OrbitConv``), in place of all pairs; cluster groups still act on all.
        bias: one vector per node orbit of each group, one in all ("shared"), or None.
        start: "even" draws all members alike, "first" the first one alone, and the others are zero. Modules keep the start they
            were made with.
        scales: the numbers s_a, one for each member, "orbits" for those above, or None for 1. The start does not depend on them.
        gain: of all together; each of M members gets gain / M, and with ``start="first"`` the first gets all.
        parametrization, init, rho: as in ``EquivariantLinear``, of cluster groups; others start "white" where they are not given
            a rule that suits them.

    Shapes:
        x: (*, N, C)    returns: (*, N, C')

    Raises:
        GroupError: groups on different nodes, or a first member without a group.
        ConfigError: no member, or a module of other channels.

    References:
        Finzi, Benton and Wilson (2021), arXiv:2112.01388, who sum maps of a group and of a subgroup.

    Example:
        >>> rows, columns = (ClusterGroup(Partition(labels)) for labels in ([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]))
        >>> layer = GroupSum([rows, columns], 2, 5)
        >>> layer
        GroupSum(2 -> 5 | S3 x S3, S2 x S2 x S2 | 6 + 12 weights per channel pair)
        >>> layer(torch.randn(7, 6, 2)).shape
        torch.Size([7, 6, 5])
    """

    def __init__(
        self,
        groups: Sequence[NodeGroup | nn.Module],
        in_channels: int,
        out_channels: int,
        *,
        edge_index: Tensor | None = None,
        start: Literal["even", "first"] = "even",
        scales: Sequence[float] | Literal["orbits"] | None = None,
        bias: Bias | None = "orbit",
        parametrization: Parametrization = "canonical",
        init: Init = "white",
        gain: float = 1.0,
        rho: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        members = [groups] if isinstance(groups, NodeGroup | nn.Module) else list(groups)
        if not members:
            raise ConfigError("expected at least one group, got none")
        check_choice("start", start, ("even", "first"))
        first = getattr(members[0], "group", members[0])
        if not isinstance(first, NodeGroup):
            raise GroupError("expected a first member with a group, against which errors are measured; put a group first")
        super().__init__(first, in_channels, out_channels, None)
        self.bias_kind, self.start = bias, start
        self.scales = _scales(scales, members)
        share = gain / len(members) if start == "even" else gain
        layers: list[nn.Module] = []
        for place, (member, scale) in enumerate(zip(members, self.scales, strict=True)):
            own: Bias | None = None if bias == "shared" and place else bias
            if isinstance(member, NodeGroup):
                common = {"bias": own, "gain": share / scale**2, "generator": generator}
                options = {"parametrization": parametrization, "init": init, "rho": rho}
                layers.append(_member(member, in_channels, out_channels, edge_index, common, options))
            else:
                layers.append(member)
            _check_member(layers[-1], self)
        self.members = nn.ModuleList(layers)
        self._drawn = [isinstance(member, NodeGroup) for member in members]
        self._zero_others()
        self._refine()

    def _zero_others(self) -> None:
        for member, is_drawn in zip(self.members[1:], self._drawn[1:], strict=True):
            if self.start == "first" and is_drawn:
                for parameter in member.parameters():
                    nn.init.zeros_(parameter)

    def _refine(self) -> None:
        """The orbits of the intersections of all clusters, in those of every member and of the first group."""
        self.inside, self.to_first = nn.ModuleList(), None
        layers = [member for member in self.members if type(member) is EquivariantLinear]
        groups = [layer.group for layer in layers if isinstance(layer.group, ClusterGroup)]
        if len(groups) < len(self.members):
            return
        labels = torch.stack([group.partition.labels for group in groups])
        common = Partition(torch.unique(labels, dim=1, return_inverse=True)[1])
        if common.num_clusters > MANY_CLUSTERS:
            return
        meet = PairOrbits.of(ClusterGroup(common))
        self.inside = nn.ModuleList(Refinement(meet, layer.orbits) for layer in layers)
        self.to_first = Refinement(meet, PairOrbits.of(self.group))

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw every member anew, as far as it can be."""
        for member in self.members:
            if hasattr(member, "reset_parameters"):
                member.reset_parameters(generator) if hasattr(member, "group") else member.reset_parameters()  # type: ignore[operator]
        self._zero_others()

    @property
    def num_weights(self) -> int:
        """Those of all members, which may describe the same map in several ways."""
        counts = [getattr(member, "num_weights", None) for member in self.members]
        parameters = [sum(p.numel() for p in member.parameters()) for member in self.members]
        return sum(other if count is None else count for count, other in zip(counts, parameters, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the members and add."""
        self.check_input(x)
        y: Tensor | None = None
        for member, scale in zip(self.members, self.scales, strict=True):
            one = member(x) if scale == 1.0 else scale * member(x)
            y = one if y is None else y + one
        return cast(Tensor, y)

    def dense(self) -> Tensor:
        """The explicit weight, (N, C', N, C), receiver first: for tests and for looking at."""
        for member in self.members:
            if not hasattr(member, "dense"):
                raise ConfigError(f"expected members with dense(), which {type(member).__name__} has not; measure by samples")
        pairs = zip(self.members, self.scales, strict=True)
        return torch.stack([scale * member.dense() for member, scale in pairs]).sum(0)  # type: ignore[operator]

    def dense_bias(self) -> Tensor | None:
        """The bias of each node, (N, C'), or None."""
        pairs = [(m, scale) for m, scale in zip(self.members, self.scales, strict=True) if hasattr(m, "dense_bias")]
        each = [(member.dense_bias(), scale) for member, scale in pairs]  # type: ignore[operator]
        known = [scale * bias for bias, scale in each if bias is not None]
        return torch.stack(known).sum(0) if known else None

    def broken(self) -> Tensor:
        """Squared distance from the first group."""
        if self.to_first is None:
            return super().broken()
        bias = self.dense_bias()
        lost = self.to_first.square(self.to_first.lost(self._values()))
        return lost if bias is None else lost + (bias - self.group.node_orbits().average(bias)).square().sum()

    def square(self) -> Tensor:
        """||W||^2 + ||b||^2."""
        if self.to_first is None:
            return super().square()
        bias = self.dense_bias()
        return self.to_first.square(self._values()) + (0.0 if bias is None else bias.square().sum())

    def _values(self) -> Tensor:
        """The values of the sum on the orbits of the intersections, (count, C', C)."""
        trios = zip(self.inside, self.members, self.scales, strict=True)
        lifted = [scale * inside.lift(member.weight.coefficients()) for inside, member, scale in trios]  # type: ignore[operator, union-attr]
        return torch.stack(lifted).sum(0)

    def __repr__(self) -> str:
        per_pair = self.in_channels * self.out_channels
        named = [
            (getattr(getattr(m, "group", None), "name", type(m).__name__), getattr(m, "num_weights", 0)) for m in self.members
        ]
        names, counts = ", ".join(name for name, _ in named), " + ".join(str(count // per_pair) for _, count in named)
        return f"GroupSum({self.in_channels} -> {self.out_channels} | {names} | {counts} weights per channel pair)"


def _member(
    group: NodeGroup, before: int, after: int, edge_index: Tensor | None, common: dict[str, Any], options: dict[str, Any]
) -> nn.Module:
    """The layer of a group: along edges where they are given and the group is none of clusters, else on all pairs."""
    if isinstance(group, ClusterGroup):
        return EquivariantLinear(group, before, after, **common, **options)
    if edge_index is not None:
        return OrbitConv(group, before, after, close_edges(group, edge_index), **common)
    # The published start and coordinates exist for clusters only.
    rule = {"init": "white" if options["init"] == "reference" else options["init"], "rho": options["rho"]}
    return EquivariantLinear(group, before, after, **common, **rule)


def _scales(scales: Sequence[float] | str | None, members: Sequence[NodeGroup | nn.Module]) -> list[float]:
    """One number for each member."""
    if scales is None:
        return [1.0] * len(members)
    if isinstance(scales, str):
        check_choice("scales", scales, ("orbits",))
        groups = [member if isinstance(member, NodeGroup) else getattr(member, "group", None) for member in members]
        return [1.0 if group is None else group.node_orbits().num_clusters ** -0.5 for group in groups]
    numbers = [float(scale) for scale in scales]
    if len(numbers) != len(members) or not all(0 < scale < math.inf for scale in numbers):
        raise ConfigError(f"expected {len(members)} scales > 0, one for each member, or 'orbits', got {list(scales)}")
    return numbers


def _check_member(member: nn.Module, layer: GroupSum) -> None:
    for name in ("in_channels", "out_channels"):
        found, wanted = getattr(member, name, None), getattr(layer, name)
        if found not in (None, wanted):
            raise ConfigError(f"expected members with {name}={wanted}, got {type(member).__name__} with {found}")
    group = getattr(member, "group", layer.group)
    if group.degree != layer.group.degree:
        raise GroupError(f"expected groups on the same {layer.group.degree} nodes, got {group.name} on {group.degree}")
