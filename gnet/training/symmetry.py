"""Rules that turn a data module's graph into a group: what ``--model.symmetry`` may be."""

import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import torch

from gnet.errors import ConfigError, PartitionError
from gnet.graphs import Partition, coarsen, grid_patches
from gnet.graphs.proximity import knn_graph
from gnet.groups import (
    ClusterGroup,
    GridSymmetry,
    NodeGroup,
    PermutationGroup,
    SymmetricGroup,
    TrivialGroup,
    automorphism_group,
    coarse_automorphisms,
    grid_group,
)

if TYPE_CHECKING:
    from torch_geometric.data import Data

Method = Literal["patches", "spectral", "agglomerative", "louvain", "kmeans", "metis", "leiden"]
Swaps = Literal["automorphisms", GridSymmetry]


class Symmetry(ABC):
    """A rule ``(graph, grid_shape) -> group``: it can stand in a config before any graph is known.

    A subclass is a frozen dataclass whose fields are primitives, so that a checkpoint can hold it. ``has_clusters`` says whether
    ``with_clusters`` makes sense.
    """

    has_clusters: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, graph: "Data", grid_shape: tuple[int, int] | None = None) -> NodeGroup:
        """The group on the nodes of ``graph``; ``grid_shape`` is the height and width of an image grid, if it is one."""

    def with_clusters(self, num_clusters: int) -> "Symmetry":
        """The rule of the same kind with another number of clusters; 1 is the symmetric group, N the trivial group.

        Example:
            >>> Coarsened(4, method="kmeans").with_clusters(16)
            Coarsened(num_clusters=16, method='kmeans', seed=0, swaps=None, neighbours=None)
            >>> Symmetric().with_clusters(16)
            Coarsened(num_clusters=16, method='spectral', seed=0, swaps=None, neighbours=None)
        """
        return Coarsened(num_clusters)

    def as_config(self) -> dict[str, Any]:
        """The rule as a config and a checkpoint write it.

        Example:
            >>> Symmetric().as_config()
            {'class_path': 'gnet.training.symmetry.Symmetric', 'init_args': {}}
        """
        names: list[str] = [field.name for field in dataclasses.fields(self)] if dataclasses.is_dataclass(self) else []
        kind = type(self)
        return {
            "class_path": f"{kind.__module__}.{kind.__qualname__}",
            "init_args": {name: getattr(self, name) for name in names},
        }


def as_symmetry(value: "Symmetry | str | dict[str, Any]") -> Symmetry:
    """The rule that a config value stands for: a rule itself, a class name, or ``{"class_path": ..., "init_args": {...}}``.

    Only classes already imported are looked up, so that reading a checkpoint runs nobody's code.

    Raises:
        ConfigError: no imported rule has that name.

    Example:
        >>> as_symmetry("Symmetric")
        Symmetric()
        >>> as_symmetry({"class_path": "Coarsened", "init_args": {"num_clusters": 9}})
        Coarsened(num_clusters=9, method='spectral', seed=0, swaps=None, neighbours=None)
    """
    if isinstance(value, Symmetry):
        return value
    path, arguments = (value, {}) if isinstance(value, str) else (value.get("class_path", ""), value.get("init_args") or {})
    known = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in symmetries()}
    # A class may also be named by a package that offers it: gnet.training.Coarsened.
    package, _, name = path.rpartition(".")
    found = [kind for kind in known.values() if kind.__qualname__ == name and kind.__module__.startswith(package)]
    if len(found) != 1:
        raise ConfigError(f"expected a symmetry among {sorted(known)}, got {path!r}; import the module that defines it first")
    return found[0](**arguments)


def symmetries() -> list[type[Symmetry]]:
    """Every rule that has been imported, ours or a stranger's.

    Example:
        >>> sorted(kind.__name__ for kind in symmetries() if kind.__module__ == "gnet.training.symmetry")
        ['Automorphism', 'Coarsened', 'GivenPartition', 'Grid', 'Symmetric', 'Trivial']
    """
    found: list[type[Symmetry]] = []
    pending = Symmetry.__subclasses__()
    while pending:
        kind = pending.pop()
        found.append(kind)
        pending.extend(kind.__subclasses__())
    return found


@dataclass(frozen=True)
class Trivial(Symmetry):
    """No symmetry: every node has weights of its own, as in a dense layer.

    Example:
        >>> from torch_geometric.data import Data
        >>> Trivial()(Data(num_nodes=4)).order()
        1
    """

    def __call__(self, graph: "Data", grid_shape: tuple[int, int] | None = None) -> NodeGroup:
        """The group of the identity alone."""
        return TrivialGroup(num_nodes_of(graph))


@dataclass(frozen=True)
class Symmetric(Symmetry):
    """Full symmetry S_N: all nodes alike, as in Deep Sets.

    Example:
        >>> from torch_geometric.data import Data
        >>> Symmetric()(Data(num_nodes=4)).order()
        24
    """

    def __call__(self, graph: "Data", grid_shape: tuple[int, int] | None = None) -> NodeGroup:
        """Every permutation of the nodes."""
        return SymmetricGroup(num_nodes_of(graph))


@dataclass(frozen=True)
class Coarsened(Symmetry):
    """The graph is cut into clusters, and nodes of one cluster are alike: S_c1 x ... x S_ck.

    ``method="patches"`` cuts an image grid into ``num_clusters`` = m^2 rectangles, m along each side; the other methods are
    those of ``coarsen``. One cluster is the symmetric group and N clusters the trivial group, whatever the method.

    ``neighbours`` clusters the graph of each node's so many nearest (by ``pos``) in place of the data's own edges: for graphs
    with lonely nodes, which would be clusters of their own.

    ``swaps`` lets whole clusters change places, and ties their weights: "automorphisms" are those of the coarsened graph that
    keep cluster sizes; for patches also a symmetry of the grid of patches, such as "horizontal_flip" or "dihedral" (all names
    in ``grid_group``). Of N clusters the swaps alone remain.

    Raises:
        ConfigError: patches of a graph that is no grid, a number of patches that is no square, or unknown swaps.
        GroupError: swaps of clusters of different sizes.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436.

    Example:
        >>> from torch_geometric.data import Data
        >>> Coarsened(4, method="patches")(Data(num_nodes=16), grid_shape=(4, 4))
        ClusterGroup(S4 x S4 x S4 x S4, order 24^4)
        >>> Coarsened(4, method="patches", swaps="horizontal_flip")(Data(num_nodes=16), grid_shape=(4, 4))
        ClusterGroup((S4 x S4 x S4 x S4) x| H, order 24^4 * 2)
    """

    num_clusters: int = 4
    method: Method = "spectral"
    seed: int = 0
    swaps: Swaps | None = None
    neighbours: int | None = None

    def __post_init__(self) -> None:
        if self.neighbours is not None and self.method == "patches":
            raise ConfigError("neighbours are of a graph to be clustered, and method='patches' cuts a grid; leave them out")
        if self.num_clusters < 1:
            raise ConfigError(f"expected num_clusters >= 1, got {self.num_clusters}")
        if self.swaps not in (None, "automorphisms") and self.method != "patches":
            raise ConfigError(
                f"swaps={self.swaps!r} turns a grid of patches, and method={self.method!r} makes none; "
                "use method='patches', or swaps='automorphisms'"
            )

    def __call__(self, graph: "Data", grid_shape: tuple[int, int] | None = None) -> NodeGroup:
        """The group that permutes freely inside each cluster."""
        num_nodes = num_nodes_of(graph)
        if self.num_clusters > num_nodes:
            raise PartitionError(
                f"expected at most one cluster per node, got num_clusters={self.num_clusters} for {num_nodes} nodes"
            )
        if self.num_clusters == 1:
            return SymmetricGroup(num_nodes)
        partition = self._partition(graph, num_nodes, grid_shape)
        return ClusterGroup(partition, None if self.swaps is None else self._swaps(graph, partition))

    def _partition(self, graph: "Data", num_nodes: int, grid_shape: tuple[int, int] | None) -> Partition:
        if self.num_clusters == num_nodes:
            return Partition.singletons(num_nodes)
        if self.method == "patches":
            return self._patches(grid_shape)
        if self.neighbours is not None:
            if graph.pos is None:
                raise ConfigError("neighbours need positions, and the graph has none; leave neighbours out, or give data.pos")
            graph = knn_graph(graph.pos, self.neighbours)
        return coarsen(graph, self.num_clusters, method=self.method, seed=self.seed)

    def _swaps(self, graph: "Data", partition: Partition) -> PermutationGroup:
        if self.swaps == "automorphisms":
            return coarse_automorphisms(graph, partition)
        side = math.isqrt(self.num_clusters)
        return grid_group((side, side), cast(GridSymmetry, self.swaps))

    def _patches(self, grid_shape: tuple[int, int] | None) -> Partition:
        if grid_shape is None:
            raise ConfigError("method='patches' needs data on an image grid, and this graph is none; use method='spectral'")
        side = math.isqrt(self.num_clusters)
        if side**2 != self.num_clusters:
            raise ConfigError(
                f"method='patches' needs a square number of clusters, got {self.num_clusters}; the nearest are "
                f"{side**2} and {(side + 1) ** 2}"
            )
        return grid_patches(grid_shape, (side, side))

    def with_clusters(self, num_clusters: int) -> Symmetry:
        """The same method and seed with another number of clusters."""
        return dataclasses.replace(self, num_clusters=num_clusters)


@dataclass(frozen=True)
class Automorphism(Symmetry):
    """The symmetries of the graph itself, exact from its edges and, to ``tol``, their weights.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436: active symmetries of a fixed graph.

    Example:
        >>> from torch_geometric.data import Data
        >>> Automorphism()(Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)).order()
        2
    """

    has_clusters: ClassVar[bool] = False
    tol: float = 1e-6

    def __call__(self, graph: "Data", grid_shape: tuple[int, int] | None = None) -> NodeGroup:
        """The automorphism group."""
        return automorphism_group(graph, tol=self.tol)


@dataclass(frozen=True)
class Grid(Symmetry):
    """Symmetries of an image grid: flips, turns, translations on the torus; the names are those of ``grid_group``.

    Raises:
        ConfigError: a graph that is no grid, or an unknown symmetry.

    Example:
        >>> from torch_geometric.data import Data
        >>> Grid("dihedral")(Data(num_nodes=16), grid_shape=(4, 4)).order()
        8
    """

    has_clusters: ClassVar[bool] = False
    kind: GridSymmetry | list[GridSymmetry] = "dihedral"

    def __call__(self, graph: "Data", grid_shape: tuple[int, int] | None = None) -> NodeGroup:
        """The group on the pixels."""
        if grid_shape is None or grid_shape[0] * grid_shape[1] != num_nodes_of(graph):
            raise ConfigError(
                f"symmetries of a grid need data on an image grid, got a graph of {num_nodes_of(graph)} nodes and grid shape "
                f"{grid_shape}; use Automorphism or Coarsened"
            )
        return grid_group(grid_shape, self.kind)


@dataclass(frozen=True)
class GivenPartition(Symmetry):
    """Clusters given by ``labels``, one integer per node, or by a file: a label per line in the order of the nodes, or ``.npy``.

    Lines ``node,label`` are allowed too, in any order, with nodes numbered 0..N-1; a first line of words is a header.

    Raises:
        ConfigError: neither a path nor labels, or both.
        PartitionError: the file is missing, does not parse, or has labels for another number of nodes.

    Example:
        >>> from torch_geometric.data import Data
        >>> GivenPartition(labels=[0, 1, 1])(Data(num_nodes=3))
        ClusterGroup(S1 x S2, order 2)
    """

    path: str | None = None
    labels: list[int] | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.labels is None):
            raise ConfigError("expected the clusters as path (a file) or as labels (a list), one of the two")

    def __call__(self, graph: "Data", grid_shape: tuple[int, int] | None = None) -> NodeGroup:
        """The group that permutes freely inside each of the given clusters."""
        partition = read_partition(self.path) if self.path is not None else Partition(self.labels or [])
        if partition.num_nodes != num_nodes_of(graph):
            raise PartitionError(
                f"{self.path or 'labels'}: expected labels for {num_nodes_of(graph)} nodes, got {partition.num_nodes}"
            )
        return ClusterGroup(partition)

    def with_clusters(self, num_clusters: int) -> Symmetry:
        """Only the two ends: the number of clusters in between is the file's."""
        if num_clusters == 1:
            return Symmetric()
        raise ConfigError(
            f"the clusters come from {self.path or 'labels'}, so {num_clusters} of them cannot be made; use Coarsened instead"
        )


def read_partition(path: str) -> Partition:
    """The partition in a file; see ``GivenPartition`` for the formats.

    Raises:
        PartitionError: the file is missing or does not parse; the message names the line.
    """
    file = Path(path)
    if not file.is_file():
        raise PartitionError(f"{path}: no such partition file")
    if file.suffix == ".npy":
        import numpy

        try:
            return Partition(torch.from_numpy(numpy.load(file, allow_pickle=False)))
        except (ValueError, TypeError, OSError, EOFError) as error:
            raise PartitionError(f"{path}: expected a .npy array of N integer labels: {error}") from error
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PartitionError(f"{path}: expected a text file with one label per line: {error}") from error
    return _parse_labels(path, text)


def _parse_labels(path: str, text: str) -> Partition:
    rows: list[list[int]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.replace(",", " ").split()
        if not words or (number == 1 and not any(word.lstrip("+-").isdigit() for word in words)):
            continue
        try:
            rows.append([int(word) for word in words])
        except ValueError as error:
            raise PartitionError(f"{path}: line {number}: expected an integer label, got {line.strip()!r}") from error
        if len(words) > 2 or len(words) != len(rows[0]):
            raise PartitionError(f"{path}: line {number}: expected 'label' or 'node,label' on every line, got {line.strip()!r}")
    if not rows:
        raise PartitionError(f"{path}: expected one label per node, got an empty file")
    if len(rows[0]) == 1:
        return Partition([row[0] for row in rows])
    nodes = sorted(row[0] for row in rows)
    if nodes != list(range(len(rows))):
        raise PartitionError(
            f"{path}: expected each node 0..{len(rows) - 1} once, got {nodes[:8]}{'...' if len(nodes) > 8 else ''}"
        )
    return Partition([label for _, label in sorted(rows)])


def num_nodes_of(graph: "Data") -> int:
    """N of a graph.

    Raises:
        ConfigError: the graph does not know its number of nodes.
    """
    num_nodes = graph.num_nodes
    if num_nodes is None:
        raise ConfigError("expected a graph with num_nodes, got one without; set data.num_nodes")
    return int(num_nodes)
