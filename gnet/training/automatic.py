"""All symmetries at once: the rule that asks nothing."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gnet.counts import check_count
from gnet.errors import ConfigError
from gnet.graphs import chain, grid_patches, knn_graph
from gnet.groups import ClusterGroup, NodeGroup, PermutationGroup, SymmetricGroup, automorphism_group, grid_group
from gnet.training.symmetry import Symmetry, num_nodes_of

if TYPE_CHECKING:
    from torch_geometric.data import Data

NEIGHBOURS = 8
"""Nearest nodes, where the clusters are those of positions."""

FEW_SAMPLES = 80
"""Up to so many training samples scales are those of ``GroupSum(scales="orbits")``: as many as the images they were found on."""


@dataclass(frozen=True)
class Automatic(Symmetry):
    """No choice of a symmetry: every layer is a sum of maps over groups from S_N downwards, and training finds how much of each.

    Levels have N / 4, N / 16, ... clusters (of the graph, nested), those with at most ``max_clusters``, and at last one. On an
    image grid they are patches of 2 x 2, 4 x 4, 8 x 8 ... pixels, with sides as equal as possible, and the translations join in,
    along the pairs within ``hops`` steps of the grid. Of other graphs the automorphisms join in, on all pairs, if there are any
    but the identity; ``automorphisms=False`` leaves both out. A graph of at most ``max_clusters`` nodes also has weights of
    single nodes. A graph without edges and positions says nothing of its clusters: the levels between S_N and single nodes are
    then arbitrary, and a warning says so.

    In ``GNetModule`` it stands for ``layer="sum"`` with ``relaxation={"start": "first", "scales": "samples"}``, on an image
    grid with ``"local": hops``: its maps start as those of S_N; what smaller groups add starts at zero and comes the later, the
    fewer nodes share it, and the sooner, the more samples there are: with "samples", a group of k node orbits has the scale
    k^(-1/2) up to n = 80 of them, then min(1, n / 80 k^(-1/2)). ``init`` becomes "correlated", unless it is "reference": the
    other starts give S_N pooled weights that drown what nodes have of their own. ``propagate="edge_weights"`` becomes "self":
    the maps hear neighbours already, and a mean over them behind the maps mixes what these told apart; each node keeps a
    trained share of its own, which starts at one over its neighbours and itself, and which no symmetry ties. The recurrent net
    sums its candidate weights, without scales. The best epoch by validation says where to stop.

    Called, it is the group whose maps the net starts with: S_N, of all permutations.

    Raises:
        ConfigError: numbers that are no whole ones from one on.

    Example:
        >>> from torch_geometric.data import Data
        >>> Automatic().groups(Data(num_nodes=784), grid_shape=(28, 28))[:2]
        [ClusterGroup(S784, order 784!), ClusterGroup(S196 x S196 x S196 x S196, order 196!^4)]
    """

    has_clusters: ClassVar[bool] = False
    max_clusters: int = 256
    hops: int = 3
    automorphisms: bool = True

    def __post_init__(self) -> None:
        check_count(max_clusters=self.max_clusters, hops=self.hops)

    def __call__(self, graph: "Data", grid_shape: tuple[int, int] | None = None) -> NodeGroup:
        """S_N."""
        return SymmetricGroup(num_nodes_of(graph))

    def groups(self, graph: "Data", grid_shape: tuple[int, int] | None = None) -> list[NodeGroup]:
        """All groups of the sum, S_N first, clusters from coarse to fine."""
        num_nodes = num_nodes_of(graph)
        clusters = self._patches(grid_shape) if grid_shape is not None else self._chain(graph, num_nodes)
        found: list[NodeGroup] = [SymmetricGroup(num_nodes), *clusters]
        own = self._own(graph, grid_shape)
        return found if own is None or own in found else [*found, own]

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What the rule means for the other settings of a ``GNetModule``.

        Raises:
            ConfigError: settings that go with one group.
        """
        for name, usual in (
            ("beside", None),
            ("project_onto", None),
            ("released", False),
            ("num_bases", None),
            ("mixing", "full"),
        ):
            if given[name] not in (usual, [], ()):
                raise ConfigError(f"symmetry=Automatic brings its own groups and does not go with {name}; leave {name} out")
        if given["layer"] not in ("equivariant", "sum"):
            raise ConfigError(f"symmetry=Automatic is a sum over groups, got layer={given['layer']!r}; leave layer out")
        if given["architecture"] == "gru":
            return {}
        return {
            "layer": "sum",
            "relaxation": {"start": "first", "scales": "samples", **(given["relaxation"] or {})},
            "init": "reference" if given["init"] == "reference" else "correlated",
            "propagate": "self" if given["propagate"] == "edge_weights" else given["propagate"],
        }

    def relaxation(
        self,
        given: Mapping[str, Any] | None,
        grid_shape: tuple[int, int] | None,
        groups: Sequence[NodeGroup] = (),
        num_samples: int | None = None,
    ) -> dict[str, Any] | None:
        """The options of the sum once the data are known: translations of an image act on neighbours, "samples" become numbers.

        Example:
            >>> Automatic().relaxation({"scales": "samples"}, (28, 28)), Automatic().relaxation({"scales": None}, None)
            ({'local': 3, 'scales': 'orbits'}, {'scales': None})
            >>> groups = [SymmetricGroup(784), ClusterGroup(grid_patches((28, 28), (2, 2)))]
            >>> Automatic().relaxation({"scales": "samples"}, None, groups, num_samples=120)
            {'scales': [1.0, 0.75]}
        """
        if given is None:
            return None
        options = dict(given) if grid_shape is None or not self.automorphisms else {"local": self.hops, **given}
        if options.get("scales") == "samples":
            more = max(1.0, (num_samples or 0) / FEW_SAMPLES)
            counts = [group.node_orbits().num_clusters for group in groups]
            options["scales"] = "orbits" if more == 1 else [min(1.0, more * count**-0.5) for count in counts]
        return options

    def _patches(self, shape: tuple[int, int]) -> list[NodeGroup]:
        height, width = shape
        found: list[NodeGroup] = []
        for level in range(max(height, width).bit_length()):
            sides = math.ceil(height / 2**level), math.ceil(width / 2**level)
            if 1 < math.prod(sides) <= self.max_clusters:
                found.insert(0, ClusterGroup(grid_patches(shape, sides)))
        return found

    def _chain(self, graph: "Data", num_nodes: int) -> list[NodeGroup]:
        counts = {math.ceil(num_nodes / 4**level) for level in range(num_nodes.bit_length())}
        wanted = sorted(count for count in counts if 1 < count <= self.max_clusters)
        if not wanted:
            return []
        if not graph.edge_index.numel() and graph.pos is None and any(count < num_nodes for count in wanted):
            warnings.warn(
                f"a graph of {num_nodes} nodes without edges and positions does not say which nodes belong together: its "
                "clusters are arbitrary; give edges, or positions, or take symmetry Symmetric or Trivial",
                UserWarning,
                stacklevel=3,
            )
        return [ClusterGroup(partition) for partition in chain(self._connected(graph), wanted)]

    @staticmethod
    def _connected(graph: "Data") -> "Data":
        """The graph, or that of the nearest neighbours where it falls into pieces and its nodes have positions."""
        from torch_geometric.utils import contains_isolated_nodes

        lonely = contains_isolated_nodes(graph.edge_index, num_nodes_of(graph))
        return knn_graph(graph.pos, NEIGHBOURS) if lonely and graph.pos is not None else graph

    def _own(self, graph: "Data", shape: tuple[int, int] | None) -> PermutationGroup | None:
        """Symmetries that the graph has by itself."""
        if not self.automorphisms:
            return None
        if shape is not None:
            return grid_group(shape, "translations")
        if num_nodes_of(graph) > self.max_clusters:
            return None  # maps of so few symmetries on all pairs of nodes would be too many
        own = automorphism_group(graph)
        return own if own.order() > 1 else None


def differ_in_scales(mine: Mapping[str, Any] | None, kept: Mapping[str, Any] | None) -> bool:
    """Whether the options of two sums are the same but for their scales, which the number of samples decides.

    Example:
        >>> differ_in_scales({"local": 3, "scales": "orbits"}, {"local": 3, "scales": [1.0, 0.5]})
        True
    """
    return mine != kept and mine is not None and kept is not None and {**mine, "scales": None} == {**kept, "scales": None}
