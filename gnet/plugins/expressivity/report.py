"""What a model tells apart on one graph: its outputs on constant signals, beside colours of message passing and orbits."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from gnet.errors import ConfigError, NonFiniteError, ShapeError
from gnet.graphs.edges import checked_edges
from gnet.nn.modes import evaluating
from gnet.plugins.expressivity.colours import orbits, wl_colors

if TYPE_CHECKING:
    from torch_geometric.data import Data


@dataclass(frozen=True, eq=False)
class ExpressivityReport:
    """What ``expressivity_report`` found; spreads are the largest distance between two outputs in any coordinate.

    Attributes:
        colors: the classes of 1-WL, (N,).
        orbits: those of the automorphisms, (N,), parts of the classes.
        outputs: of the model, (N, C').
        spread: over all nodes.
        within_colors: the largest within a class. Zero for every message passing net.
        within_orbits: the largest within an orbit. Zero for every map that is equivariant to Aut(G).
        num_told_apart: how many outputs differ by more than the tolerance.
    """

    colors: Tensor
    orbits: Tensor
    outputs: Tensor
    spread: float
    within_colors: float
    within_orbits: float
    num_told_apart: int

    @property
    def num_colors(self) -> int:
        """How many nodes message passing tells apart, at best."""
        return int(self.colors.max()) + 1

    @property
    def num_orbits(self) -> int:
        """How many nodes a map that keeps all symmetries of the graph tells apart, at best."""
        return int(self.orbits.max()) + 1

    def __str__(self) -> str:
        return "\n".join(
            [
                f"nodes {len(self.colors)}, classes of 1-WL {self.num_colors}, orbits of Aut(G) {self.num_orbits}",
                f"the model tells {self.num_told_apart} apart; spread {self.spread:.3g}",
                f"  within a class of 1-WL {self.within_colors:.3g} (0 for message passing)",
                f"  within an orbit        {self.within_orbits:.3g} (0 for a map that keeps Aut(G))",
            ]
        )


def expressivity_report(
    model: Callable[..., Any], graph: "Data", x: Tensor | None = None, *, in_channels: int = 1, tolerance: float = 1e-6
) -> ExpressivityReport:
    """Run a model on a signal that is the same at all nodes, and see which nodes it tells apart.

    A model that needs an argument ``edge_index`` (those of PyTorch Geometric) is called ``model(x, edge_index)``, with
    ``edge_weight`` where it takes and the graph has one; any other ``model(x)``, as a ``GNet``. Modules run in evaluation.

    Args:
        x: another signal; nodes with different values then start as different, in classes and orbits, too.
        in_channels: of the constant signal.
        tolerance: of outputs that count as the same, relative to the largest.

    Shapes:
        x: (N, C)

    Raises:
        ShapeError: x, or an output, with another number of nodes.
        NonFiniteError: x, or an output, with NaN or infinite entries.
        ConfigError: a negative tolerance.

    References:
        Xu et al. (2019), arXiv:1810.00826; Huang, Levie and Villar (2023), arXiv:2308.10436, on graphs that are fixed.

    Example:
        >>> from gnet import GNet, TrivialGroup
        >>> from gnet.plugins.expressivity import named_graphs
        >>> frucht = named_graphs()["Frucht"]  # no automorphism, and all nodes have the same colour
        >>> with torch.random.fork_rng():
        ...     _ = torch.manual_seed(0)
        ...     print(expressivity_report(GNet(TrivialGroup(12), 1, 4, 1), frucht).num_told_apart)
        12
    """
    num_nodes = checked_edges(graph, signed=True).num_nodes
    if not tolerance >= 0:
        raise ConfigError(f"expected tolerance >= 0, got {tolerance}")
    like = next(iter(model.parameters()), None) if isinstance(model, nn.Module) else None
    dtype, device = (torch.get_default_dtype(), torch.device("cpu")) if like is None else (like.dtype, like.device)
    signal = torch.ones(num_nodes, in_channels) if x is None else x
    if signal.shape[:1] != (num_nodes,) or signal.ndim != 2:
        raise ShapeError(f"expected x of shape ({num_nodes}, C), got {tuple(signal.shape)}")
    if not bool(torch.isfinite(signal).all()):
        raise NonFiniteError("expected x of finite numbers, got NaN or infinity")
    kinds = torch.unique(signal.detach().cpu(), dim=0, return_inverse=True)[1]
    with evaluating(model):
        outputs = _called(model, graph, signal.to(device, dtype))
    if not isinstance(outputs, Tensor) or outputs.ndim < 1 or outputs.shape[0] != num_nodes:
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ShapeError(f"expected one output for each of {num_nodes} nodes, got {found}; give the model without its readout")
    values = outputs.detach().double().cpu().reshape(num_nodes, -1)
    if not bool(torch.isfinite(values).all()):
        raise NonFiniteError(
            "expected finite outputs, got NaN or infinity, of which nothing can be told apart; GCN, for one, takes no negative "
            "edge weights"
        )
    colours, own = wl_colors(graph, init=kinds, strict=False).colors, orbits(graph, init=kinds)
    limit = tolerance * float(values.abs().max())
    near = torch.cdist(values, values, p=torch.inf) <= limit
    return ExpressivityReport(
        colours,
        own,
        outputs.detach(),
        _spread(values, torch.zeros_like(colours)),
        _spread(values, colours),
        _spread(values, own),
        int(connected_components(near.numpy(), directed=False)[0]),
    )


def _called(model: Callable[..., Any], graph: "Data", x: Tensor) -> Any:
    takes = inspect.signature(model.forward if isinstance(model, nn.Module) else model).parameters
    if "edge_index" not in takes or takes["edge_index"].default is not inspect.Parameter.empty:
        return model(x)
    weight = getattr(graph, "edge_weight", None)
    named = {} if weight is None or "edge_weight" not in takes else {"edge_weight": weight.to(x)}
    return model(x, graph.edge_index.to(x.device), **named)


def _spread(values: Tensor, classes: Tensor) -> float:
    """The largest difference of a coordinate within a class."""
    index, shape = classes[:, None].expand_as(values), (int(classes.max()) + 1, values.shape[1])
    ends = [values.new_zeros(shape).scatter_reduce(0, index, values, how, include_self=False) for how in ("amax", "amin")]
    return float((ends[0] - ends[1]).max())
