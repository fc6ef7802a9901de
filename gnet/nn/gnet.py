"""The net: a stack of blocks that are equivariant to one group."""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from gnet.counts import check_count
from gnet.errors import ConfigError
from gnet.groups.base import NodeGroup
from gnet.kernels.blocks import nodes_first, nodes_last
from gnet.nn.blocks import Block, Norm, check_activation, check_dropout, gain_before, make_norm, with_skips
from gnet.nn.checks import refuse_graph, signals_of
from gnet.nn.linear import EquivariantLinear
from gnet.nn.make import Layer, LayerMaker, check_relaxation
from gnet.nn.propagate import Propagation, check_propagation
from gnet.nn.weights import BlockWeights

LINEAR_OPTIONS = {"mixing", "num_bases", "bias", "parametrization", "init", "gain", "rho"}
"""What ``GNet`` hands to every ``EquivariantLinear``."""

NET_OPTIONS = {
    *("num_layers", "layer", "relaxation", "beside", "propagate", "edge_index", "edge_weight", "tie_edges"),
    *("act", "norm", "dropout", "residual", "generator"),
}


def _is_watched(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks)


def _outermost(module: nn.Module, name: str) -> Iterator[Any]:
    """The parts of a module with an attribute of that name, without the parts of these."""
    for child in module.children():
        if hasattr(child, name):
            yield child
        else:
            yield from _outermost(child, name)


class GNet(nn.Module):
    """Equivariant linear maps and pointwise nonlinearities in turn: L_T . act . ... . act . L_1.

    The last layer has neither activation nor norm nor dropout; with one layer ``hidden_channels`` is ignored. Layers before a
    ReLU start with gain 2, the last with 1. Further keywords go to every ``EquivariantLinear``.

    Sums over several operators of a graph, S_1 f_1(x) + S_2 f_2(x) + ..., are no option of the net: add up a map for each,
    ``EquivariantLinear`` with ``Propagate`` or any other operator behind it, in a module of your own, and give it to ``Block`` or
    ``from_layers``. ``GNetGRU`` has such sums over random walks inside.

    Args:
        layer: "relaxed" takes ``RelaxedLinear``, S_N with weights of each receiver, and needs the group S_N; "relaxed_sender"
            those of each sender. Layers near the group (``gnet.nn.relaxed``): "residual" is ``ResidualPathway``, "mixed"
            ``RelaxedMixing``, "low_rank" ``LowRankBreaking``, "chain" ``ChainGates``, "sum" ``GroupSum``, "soft"
            ``SoftClusters``, which start as the group's clusters.
        relaxation: options of these by name, such as ``{"identifiable": True}``; for "sum" also ``local``: groups by generators
            then act on pairs within so many hops only.
        beside: further groups of these: of the residual path (none is no symmetry), of the chain (in any order; none is the
            chain from the trivial group), of the sum.
        propagate: what the graph does in every layer: nothing ("none"), average each node with its neighbours ("graph"), with
            trained weights ("edge_weights"), or weight the entries of the map themselves ("pointwise"). "self" is the published
            code of the pose experiment, where a node hears itself alone. Biases are added afterwards. Exact are then those
            elements of the group that keep the graph (and its trained weights).
        edge_index, edge_weight: the graph, senders first; for ``propagate`` and ``mixing="coarse_edges"``.
        tie_edges: one trained weight for each orbit of edges under the symmetries that group and graph share, which keeps them
            exact.
        residual: add the input of a hidden layer to its output; 2 adds it behind every second one, and so on.

    Shapes:
        x: (*, N, C), or PyG's flat (B * N, C), which comes back flat    returns: (*, N, C') or (B * N, C')
        with an invariant last layer: (*, C'), or (B, C') from flat batches, of which (N, C) is one with B = 1

    Raises:
        ShapeError: x has another number of nodes or channels.
        ConfigError: an unknown activation or norm, fewer than one layer, or a graph that nothing reads.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436.

    Example:
        >>> net = GNet(ClusterGroup(Partition([0, 0, 0, 1, 1, 2])), 1, 8, 1)
        >>> net(torch.randn(4, 6, 1)).shape, net(torch.randn(4 * 6, 1)).shape
        (torch.Size([4, 6, 1]), torch.Size([24, 1]))
    """

    def __init__(
        self,
        group: NodeGroup,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 2,
        *,
        layer: Layer = "equivariant",
        relaxation: Mapping[str, Any] | None = None,
        beside: Sequence[NodeGroup] = (),
        propagate: Propagation = "none",
        edge_index: Tensor | None = None,
        edge_weight: Tensor | None = None,
        tie_edges: bool = False,
        act: str | None = "relu",
        norm: Norm | None = None,
        dropout: float = 0.0,
        residual: bool | int = False,
        generator: torch.Generator | None = None,
        **linear: Any,
    ) -> None:
        super().__init__()
        check_count(num_layers=num_layers)
        if num_layers > 1:
            check_count(hidden_channels=hidden_channels)
        own_options = check_relaxation(layer, relaxation, len(beside))
        check_propagation(propagate, edge_index, tie_edges)
        graph = {"edge_index": edge_index, "edge_weight": edge_weight}
        reads_weights = propagate != "none" or bool(own_options.get("coarsening"))
        reads_edges = reads_weights or linear.get("mixing") == "coarse_edges" or bool(own_options.get("local"))
        for name, given in graph.items():
            if given is not None and not (reads_edges if name == "edge_index" else reads_weights):
                raise ConfigError(
                    f"propagate='none' does not read {name}; take propagate='graph' or 'edge_weights', or leave {name} out"
                )
        check_activation(act)
        check_dropout(dropout)
        make_norm(norm, 1)  # a net of one layer has no norm, and its name is checked all the same
        unknown = sorted(set(linear) - LINEAR_OPTIONS)
        if unknown:
            near = difflib.get_close_matches(unknown[0], [*LINEAR_OPTIONS, *NET_OPTIONS], n=1)
            meant = f"; did you mean {near[0]}?" if near else "."
            raise ConfigError(f"GNet takes no {unknown[0]!r}{meant} Layers take {', '.join(sorted(LINEAR_OPTIONS))}")
        widths = [in_channels, *[hidden_channels] * (num_layers - 1), out_channels]
        gain = linear.pop("gain", gain_before(act))
        make = LayerMaker(group, layer, propagate, graph, tie_edges, generator, linear, own_options, tuple(beside))
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths[:-1]):
            linear_map, propagation = make(before, after, gain)
            blocks.append(Block(linear_map, propagation, make_norm(norm, after), act, dropout))
        blocks = with_skips(blocks, int(residual), skip_first=in_channels != hidden_channels)
        self.group: NodeGroup | None = group
        self.blocks = nn.ModuleList([*blocks, Block(*make(widths[-2], widths[-1], 1.0))])

    @classmethod
    def from_layers(cls, layers: Iterable[nn.Module]) -> "GNet":
        """A net from any modules in turn; nodes and channels are read off the first layer that states its group.

        Example:
            >>> group = SymmetricGroup(3)
            >>> net = GNet.from_layers([Block(EquivariantLinear(group, 1, 4), act="relu"), InvariantLinear(group, 4, 2)])
            >>> net(torch.randn(5, 3, 1)).shape
            torch.Size([5, 2])
        """
        net = cls.__new__(cls)
        nn.Module.__init__(net)
        net.blocks = nn.ModuleList(layers)
        if not len(net.blocks):
            raise ConfigError("expected at least one layer, got none")
        groups = (module.group for module in net.modules() if module is not net and hasattr(module, "group"))
        net.group = next((group for group in groups if isinstance(group, NodeGroup)), None)
        return net

    @property
    def num_weights(self) -> int:
        """Sum over layers of dim Hom_G (biases not counted)."""
        return sum(int(layer.num_weights) for layer in _outermost(self.blocks, "num_weights"))

    @property
    def num_parameters(self) -> int:
        """Trained scalars of the whole net."""
        return sum(p.numel() for p in self.parameters())

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw every layer anew."""
        for module in _outermost(self.blocks, "reset_parameters"):
            module.reset_parameters(generator) if hasattr(module, "group") else module.reset_parameters()

    def forward(self, x: Tensor, edge_index: object = None, edge_weight: object = None) -> Tensor:
        """Apply the net; edges are refused here, since the net has its graph."""
        refuse_graph(edge_index, edge_weight)
        x, flat = (x, False) if self.group is None else signals_of(x, self.group.degree)
        if self._keeps_cluster_order():
            x = self._in_cluster_order(x)
        else:
            for block in self.blocks:
                x = block(x)
        return x.flatten(0, 1) if flat and x.ndim == 3 else x

    def _keeps_cluster_order(self) -> bool:
        """Whether nobody would notice: no part knows nodes apart or was redefined, and no hook looks inside."""
        if len(self.blocks) < 2 or any(_is_watched(module) for module in self.blocks.modules()):
            return False
        # A subclass may have another forward, which the short way would leave out.
        plain = [b for b in self.blocks if type(b) is Block and type(b.linear) is EquivariantLinear and b.allows_nodes_first]
        return len(plain) == len(self.blocks) and all(cast(EquivariantLinear, b.linear).group is self.group for b in plain)

    def _in_cluster_order(self, x: Tensor) -> Tensor:
        """Apply the blocks with the nodes sorted by cluster once for all, (N, B, C) inside."""
        first = cast(EquivariantLinear, self.blocks[0].linear)
        first.check_input(x)
        index = cast(BlockWeights, first.weight).index
        y = nodes_first(x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:]), index)
        for block in self.blocks:
            y = cast(Block, block).forward_nodes_first(y)
        return nodes_last(y, index).reshape(*x.shape[:-1], y.shape[-1])
