"""The layers of a net: what its options mean for one linear map."""

import difflib
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from gnet.errors import ConfigError, GroupError
from gnet.graphs import within_hops
from gnet.groups.base import NodeGroup
from gnet.groups.cluster import ClusterGroup
from gnet.nn.checks import check_choice
from gnet.nn.linear import EquivariantLinear
from gnet.nn.propagate import PointwiseLinear, Propagate, Propagation
from gnet.nn.relaxed import (
    ApproximateLinear,
    ChainGates,
    GroupSum,
    LowRankBreaking,
    RelaxedLinear,
    RelaxedMixing,
    ResidualPathway,
    SoftClusters,
)

Layer = Literal["equivariant", "relaxed", "relaxed_sender", "residual", "mixed", "low_rank", "chain", "sum", "soft"]

NEAR: dict[str, type[ApproximateLinear]] = {
    "residual": ResidualPathway,
    "mixed": RelaxedMixing,
    "low_rank": LowRankBreaking,
    "chain": ChainGates,
    "sum": GroupSum,
    "soft": SoftClusters,
}
"""The layers that take a ``relaxation``: their own options, by name."""

COMMON = ("bias", "init", "gain", "rho", "generator", "parametrization")
FROM_NET = ("beside", "logits", "edge_index", "edge_weight", "num_nodes", "num_clusters")
"""What the net gives such a layer: the same for every kind, and what it makes of its groups and its graph."""
BESIDE = ("residual", "chain", "sum")
"""The layers that take further groups."""


def relaxation_options(layer: str) -> list[str]:
    """The names that ``relaxation`` may have for a layer.

    Example:
        >>> relaxation_options("residual"), relaxation_options("equivariant")
        (['identifiable', 'sigma', 'scale'], [])
    """
    if layer not in NEAR:
        return []
    names = list(inspect.signature(NEAR[layer]).parameters)
    leading = names.index("out_channels") + 1
    own = [name for name in names[leading:] if name not in (*COMMON, *FROM_NET)]
    return [*own, "local"] if layer == "sum" else own


def check_relaxation(layer: str, relaxation: Mapping[str, Any] | None, num_beside: int) -> dict[str, Any]:
    """The options of a layer near a group, after checking that it has them; known before there is any group.

    Raises:
        ConfigError: an unknown layer, an option that it does not take (with the nearest one), or further groups for a layer
            without a use for them.

    Example:
        >>> check_relaxation("residual", {"identifable": True}, 0)
        Traceback (most recent call last):
        gnet.errors.ConfigError: layer='residual' takes no relaxation 'identifable'; did you mean 'identifiable'? It takes \
identifiable, sigma, scale
    """
    check_choice("layer", layer, Layer)
    if relaxation is not None and not isinstance(relaxation, Mapping):
        raise ConfigError(f"expected relaxation as names and values, such as {{'scale': 0.001}}, got {relaxation!r}")
    given, known = dict(relaxation or {}), relaxation_options(layer)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            others = [other for other in NEAR if name in relaxation_options(other)]
            meant = f"; did you mean {near[0]!r}?" if near else f"; layer={others[0]!r} does." if others else "."
            takes = f"It takes {', '.join(known)}" if known else f"Layers that take any are {', '.join(NEAR)}"
            raise ConfigError(f"layer={layer!r} takes no relaxation {name!r}{meant} {takes}")
    if num_beside and layer not in BESIDE:
        raise ConfigError(f"layer={layer!r} has one group; leave beside out, or take layer={', '.join(map(repr, BESIDE))}")
    if layer == "residual" and num_beside > 1:
        raise ConfigError(f"layer='residual' has one group beside the net's, got {num_beside}; layer='chain' or 'sum' take more")
    if layer == "sum" and not num_beside:
        raise ConfigError("layer='sum' adds maps of several groups; give the others as beside=[...]")
    return given


@dataclass(frozen=True)
class LayerMaker:
    """Makes the linear map of a block, and what propagates its output; the last of the two holds the bias."""

    group: NodeGroup
    layer: Layer
    propagate: Propagation
    graph: dict[str, Tensor | None]
    tie_edges: bool
    generator: torch.Generator | None
    options: dict[str, Any]
    relaxation: dict[str, Any]
    beside: tuple[NodeGroup, ...]

    def __call__(self, before: int, after: int, gain: float) -> tuple[nn.Module, nn.Module | None]:
        """The map of that many channels, and its propagation or None."""
        options = dict(self.options)
        if options.get("mixing", "full") == "coarse_edges":
            options["edge_index"] = self.graph["edge_index"]
        options |= {"gain": gain, "generator": self.generator}
        if self.propagate == "pointwise":
            if self.layer != "equivariant":
                raise ConfigError("propagate='pointwise' weights the maps of a group; take layer='equivariant'")
            of_mixing = options.pop("edge_index", None)
            if of_mixing is not None:
                raise ConfigError("propagate='pointwise' connects edges only, so it goes with mixing='full'")
            return PointwiseLinear(self.group, before, after, **self.graph, tied=self.tie_edges, **options), None  # type: ignore[arg-type]
        if self.propagate == "none":
            return self._linear(before, after, options), None
        bias = options.pop("bias", "orbit")
        linear = self._linear(before, after, {**options, "bias": None})
        return linear, Propagate(
            self.group,
            after,
            **self.graph,  # type: ignore[arg-type]
            trained=self.propagate != "graph",
            tied=self.tie_edges,
            only_self=self.propagate == "self",
            bias=bias,
            init=options.get("init", "white"),
            generator=self.generator,
        )

    def _linear(self, before: int, after: int, options: dict[str, Any]) -> nn.Module:
        if self.layer == "equivariant":
            return EquivariantLinear(self.group, before, after, **options)
        if self.layer in NEAR:
            self._refuse(options, [name for name in COMMON if name in inspect.signature(NEAR[self.layer]).parameters])
            return self._near(before, after, {**options, **self.relaxation})
        self._refuse(options, ["bias", "init", "gain", "generator"])
        if self.group.order() != math.factorial(self.group.degree):
            raise ConfigError(
                f"layer={self.layer!r} is S_N with weights of each node and reads no other group, got {self.group.name}; "
                f"take SymmetricGroup({self.group.degree}) (symmetry Symmetric), or layer='mixed', which relaxes any group"
            )
        by: Literal["receiver", "sender"] = "receiver" if self.layer == "relaxed" else "sender"
        return RelaxedLinear(self.group.degree, before, after, by=by, **options)

    def _refuse(self, options: dict[str, Any], known: list[str]) -> None:
        refused = sorted(set(options) - set(known))
        if refused:
            raise ConfigError(f"{self.layer} layers take no {refused[0]!r}; leave it out, or take layer='equivariant'")

    def _near(self, before: int, after: int, options: dict[str, Any]) -> nn.Module:
        """A layer near the group, or near the first of several."""
        if self.layer == "residual":
            return ResidualPathway(self.group, before, after, beside=self.beside[0] if self.beside else None, **options)
        if self.layer == "chain":
            return ChainGates(self._chain(), before, after, **options)
        if self.layer == "sum":
            hops = int(options.pop("local", 0))
            by_generators = [group for group in (self.group, *self.beside) if not isinstance(group, ClusterGroup)]
            edges = self._nearby(hops) if hops and by_generators else None
            return GroupSum([self.group, *self.beside], before, after, edge_index=edges, **options)
        if self.layer == "soft":
            if not isinstance(self.group, ClusterGroup):
                raise GroupError(f"layer='soft' starts from clusters, and {self.group.name} has none; take a cluster group")
            partition = self.group.partition
            graph = {**self.graph, "edge_index": self._edges("coarsening")} if options.get("coarsening") else {}
            num_nodes, k = partition.num_nodes, partition.num_clusters
            return SoftClusters(num_nodes, k, before, after, logits=partition, **graph, **options)  # type: ignore[arg-type]
        return NEAR[self.layer](self.group, before, after, **options)

    def _chain(self) -> NodeGroup | list[NodeGroup]:
        """All groups, smallest first; alone the group stands for the chain from the trivial one."""
        return sorted([self.group, *self.beside], key=lambda group: group.order()) if self.beside else self.group

    def _nearby(self, hops: int) -> Tensor:
        edges = self._edges("local")
        return edges if hops == 1 else within_hops(Data(edge_index=edges, num_nodes=self.group.degree), hops)

    def _edges(self, option: str) -> Tensor:
        edges = self.graph["edge_index"]
        if edges is None:
            raise ConfigError(f"relaxation {option!r} needs a graph; give edge_index=data.edge_index")
        return edges
