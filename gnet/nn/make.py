"""The layers of a net: what its options mean for one linear map."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError
from gnet.groups.base import NodeGroup
from gnet.nn.linear import EquivariantLinear
from gnet.nn.propagate import PointwiseLinear, Propagate, Propagation
from gnet.nn.relaxed import RelaxedLinear

Layer = Literal["equivariant", "relaxed", "relaxed_sender"]


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
        known = {name: value for name, value in options.items() if name in ("bias", "init", "gain", "generator")}
        refused = sorted(set(options) - set(known))
        if refused:
            raise ConfigError(f"relaxed layers take no {refused[0]!r}; leave it out, or take layer='equivariant'")
        by: Literal["receiver", "sender"] = "receiver" if self.layer == "relaxed" else "sender"
        return RelaxedLinear(self.group.degree, before, after, by=by, **known)
