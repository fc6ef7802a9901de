"""The pairs that look alike to message passing, and what random nets make of them."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import networkx as nx
import torch
from torch import Tensor, nn

from gnet.errors import ConfigError
from gnet.plugins.expressivity.colours import refined, same_wl
from gnet.plugins.expressivity.pairs import pairs, triangles
from gnet.randomness import derive_seed
from gnet.study.simulate import Measured, Simulation

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch_geometric.data import Data

QUANTITIES = ("alike_to_nodes", "alike_to_pairs", "triangles_first", "triangles_second", "gin_constant", "gin_named")


class HardPairs(Simulation):
    """For each pair: do colours of nodes or pairs tell it apart, how many triangles has it, what does a random GIN say.

    Readouts are compared by ``|a - b| / (|a| + |b|)``: rounding where message passing is blind.

    Args:
        hidden, num_layers: of the GIN.
        seed: of its weights, and of the names.

    Raises:
        ConfigError: numbers below one.

    References:
        Xu et al. (2019), arXiv:1810.00826; Murphy et al. (2019), arXiv:1903.02541, for circles with skip links; Chen, Chen,
        Villar and Bruna (2020), arXiv:2002.04025, for what cannot be counted.
    """

    def __init__(self, hidden: int = 32, num_layers: int = 4, seed: int = 0) -> None:
        if min(hidden, num_layers) < 1:
            raise ConfigError(f"expected hidden and num_layers >= 1, got {hidden} and {num_layers}")
        self.hidden, self.num_layers, self.seed = hidden, num_layers, seed

    def run(self) -> list[Measured]:
        """Measure every pair; what is known of the colours and triangles stands beside."""
        net, lines = self._net(), []
        for name, (one, other) in pairs().items():
            known = KNOWN[name]
            names = torch.randn(one.num_nodes or 0, 1, generator=torch.Generator().manual_seed(self.seed)).double()
            values = {
                "alike_to_nodes": float(same_wl(one, other)),
                "alike_to_pairs": float(same_wl(one, other, k=2)),
                "triangles_first": triangles(one),
                "triangles_second": triangles(other),
                "gin_constant": difference(net, one, other, torch.ones_like(names)),
                "gin_named": difference(net, one, other, names),
            }
            for quantity, value in values.items():
                expected = known.get(quantity, math.nan)
                kind = "exact" if quantity in known else "unknown"
                lines.append(Measured(quantity, {"pair": name}, value, math.nan, expected, kind))  # type: ignore[arg-type]
        return lines

    def _net(self) -> nn.Module:
        from torch_geometric.nn import GIN

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, "weights"))
            return GIN(1, self.hidden, self.num_layers).double().eval()

    def summary(self, lines: Sequence[Measured]) -> str:
        """The table of pairs."""
        found = {(line.settings["pair"], line.quantity): line.measured for line in lines}
        rows = ["| pair | same 1-WL | same 2-FWL | triangles | GIN, constant input | GIN, named nodes |"]
        rows.append("| --- | --- | --- | --- | ---: | ---: |")
        for name in dict.fromkeys(line.settings["pair"] for line in lines):
            cell = {quantity: found[name, quantity] for quantity in QUANTITIES}
            same = ["yes" if cell[each] else "no" for each in ("alike_to_nodes", "alike_to_pairs")]
            counts = f"{cell['triangles_first']:.0f}, {cell['triangles_second']:.0f}"
            readouts = " | ".join(f"{cell[each]:.0e}" for each in ("gin_constant", "gin_named"))
            rows.append(f"| {name} | {same[0]} | {same[1]} | {counts} | {readouts} |")
        return "\n".join(rows)

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Every pair in the joint colours of 1-WL; circles of 41 nodes look like those of 11 and are left out."""
        from gnet.study.plots import COLOURS, PAGE, new_figure

        shown = {name: both for name, both in pairs().items() if both[0].num_nodes != 41}
        figure = new_figure(PAGE, 0.5 * PAGE)
        for column, (name, both) in zip(figure.subplots(2, len(shown)).T, shown.items(), strict=True):
            colours, _ = refined(both, 1, [None, None], True)  # the same colour in both is the same class
            for axes, graph, own, title in zip(column, both, colours, name.split(" and "), strict=True):
                nodes = list(range(graph.num_nodes or 0))
                drawn = nx.Graph(graph.edge_index.t().tolist())
                where = nx.circular_layout(nodes) if name.startswith("CSL") else nx.kamada_kawai_layout(drawn)
                paint = [COLOURS[each % len(COLOURS)] for each in own.tolist()]
                nx.draw(drawn, where, ax=axes, nodelist=nodes, node_color=paint, node_size=25, width=0.6)
                axes.set_title(title, fontsize=8)
        return figure


KNOWN: dict[str, dict[str, float]] = {
    name: {"alike_to_nodes": nodes, "alike_to_pairs": both, "triangles_first": first, "triangles_second": second}
    for name, (nodes, both, first, second) in {
        "C6 and two C3": (1, 0, 0, 2),
        "decalin and bicyclopentyl": (1, 0, 0, 0),
        "CSL(11, 2) and CSL(11, 3)": (1, 0, 11, 0),
        "CSL(41, 2) and CSL(41, 3)": (1, 0, 41, 0),
        "rook 4 x 4 and Shrikhande": (1, 1, 32, 32),
        "P4 and K1,3": (0, 0, 0, 0),
    }.items()
}
"""What theory says of the pairs."""


def difference(net: nn.Module, one: "Data", other: "Data", x: Tensor) -> float:
    """How far summed outputs of a net on two graphs are apart: ``|a - b| / (|a| + |b|)``.

    Example:
        >>> hexagon, triangles = pairs()["C6 and two C3"]
        >>> first = lambda x, edge_index: x[edge_index[0]]
        >>> difference(first, hexagon, triangles, torch.ones(6, 1))
        0.0
    """
    with torch.no_grad():
        a, b = (net(x, graph.edge_index).sum(0) for graph in (one, other))
    return float((a - b).norm() / (a.norm() + b.norm()))
