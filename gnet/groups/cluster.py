"""S_c1 x ... x S_ck: free permutations inside the clusters of a partition, and swaps of whole clusters."""

import math
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnet.errors import GroupError, PartitionError
from gnet.graphs.partition import Partition
from gnet.graphs.quotient import coarse_weights
from gnet.groups.base import LazySequence, NodeGroup, check_permutation
from gnet.groups.permutation import PermutationGroup

if TYPE_CHECKING:
    from torch_geometric.data import Data


class ClusterGroup(NodeGroup):
    """The group that permutes freely inside each cluster, S_c1 x ... x S_ck; with ``swaps`` also whole clusters.

    ``swaps`` is a group H on the k clusters whose elements keep cluster sizes. An element of H is lifted to the nodes by
    sending the r-th node of a cluster to the r-th node of its image; the full group is the semidirect product with H. Swaps may
    be an approximate symmetry; with ``data`` they must keep the weights of the coarsened graph, to ``tol``, as those of
    ``coarse_automorphisms`` do.

    Raises:
        PartitionError: labels in place of a partition.
        GroupError: ``swaps`` acts on another number of clusters, maps a cluster to one of another size, or with ``data`` a pair
            of clusters to one with another mean weight.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436: the symmetry group of a coarsened graph.

    Example:
        >>> ClusterGroup(Partition([0, 0, 0, 1, 1, 2]))
        ClusterGroup(S3 x S2 x S1, order 6 * 2)
        >>> ClusterGroup(Partition([0, 0, 1, 1]), swaps=PermutationGroup([[1, 0]])).order()
        8
    """

    def __init__(
        self,
        partition: Partition,
        swaps: PermutationGroup | None = None,
        *,
        data: "Data | None" = None,
        tol: float = 1e-6,
    ) -> None:
        if not isinstance(partition, Partition):
            raise PartitionError(f"expected a Partition, got {type(partition).__name__}; write ClusterGroup(Partition(labels))")
        self.partition = partition
        if swaps is not None:
            _check_swaps(partition, swaps)
            if data is not None:
                _check_weights(data, partition, swaps, tol)
        self.swaps = swaps if swaps is not None and len(swaps.generators) else None

    @property
    def name(self) -> str:  # type: ignore[override]
        """Factors in the order of the clusters where they are few, as powers where they are many."""
        sizes = self.partition.sizes.tolist()
        if len(sizes) <= 6:
            factors = [f"S{size}" for size in sizes]
        else:
            factors = [f"S{size}^{count}" if count > 1 else f"S{size}" for size, count in Counter(sizes).items()]
        product = " x ".join(factors)
        return product if self.swaps is None else f"({product}) x| H"

    def __getstate__(self) -> dict[str, object]:
        """Without the lazy generators, which hold a function."""
        return {key: value for key, value in self.__dict__.items() if key != "generators"}

    @property
    def degree(self) -> int:
        """N."""
        return self.partition.num_nodes

    def order(self) -> int:
        """|H| times the product of c_l!, as an exact Python integer."""
        factorials = math.prod(math.factorial(size) ** count for size, count in Counter(self.partition.sizes.tolist()).items())
        return factorials * (1 if self.swaps is None else self.swaps.order())

    def order_text(self) -> str:
        """Factored, as in ``24^4 * 8``; sizes over 20 keep their factorial sign."""
        powers = []
        for size, count in Counter(self.partition.sizes.tolist()).items():
            if size > 1:
                base = str(math.factorial(size)) if size <= 20 else f"{size}!"
                powers.append(f"{base}^{count}" if count > 1 else base)
        if self.swaps is not None:
            powers.append(self.swaps.order_text())
        return " * ".join(powers) or "1"

    @cached_property
    def generators(self) -> Sequence[Tensor]:
        """A transposition and a cycle for each cluster, then the lifted generators of H; made when asked for."""
        recipes = [(cluster, "swap") for cluster, size in enumerate(self.partition.sizes.tolist()) if size > 1]
        recipes += [(cluster, "cycle") for cluster, size in enumerate(self.partition.sizes.tolist()) if size > 2]
        coarse = () if self.swaps is None else self.swaps.generators

        def make(index: int) -> Tensor:
            if index >= len(recipes):
                return self.lift(coarse[index - len(recipes)])
            cluster, kind = recipes[index]
            nodes = self.partition.members(cluster)
            nodes = nodes[:2] if kind == "swap" else nodes
            perm = torch.arange(self.degree)
            perm[nodes] = nodes.roll(-1)
            return perm

        return LazySequence(len(recipes) + len(coarse), make)

    def lift(self, sigma: Tensor) -> Tensor:
        """The canonical lift of a permutation of clusters: r-th node of C_l to the r-th node of C_sigma(l).

        Shapes:
            sigma: (k,) or (num, k)    returns: (N,) or (num, N)

        Example:
            >>> ClusterGroup(Partition([0, 1, 0, 1])).lift(torch.tensor([1, 0]))
            tensor([1, 0, 3, 2])
        """
        order, ptr = self.partition.order, self.partition.ptr
        labels = self.partition.labels[order]
        rank = torch.arange(self.degree) - ptr[:-1][labels]
        targets = order[ptr[:-1][sigma[..., labels]] + rank]
        perm = torch.empty_like(targets)
        perm[..., order] = targets
        return perm

    def induced(self, perm: Tensor) -> Tensor:
        """How a permutation of the nodes moves the clusters, (N,) -> (k,).

        Raises:
            GroupError: it tears a cluster apart.
        """
        labels = self.partition.labels
        perm = check_permutation(perm, self.degree, "permutation")
        sigma = labels[perm[self.partition.order[self.partition.ptr[:-1]]]]
        torn = torch.nonzero(labels[perm] != sigma[labels]).flatten()
        if len(torn):
            node = int(torn[0])
            home, here, others = (int(each[node]) for each in (labels, labels[perm], sigma[labels]))
            raise GroupError(
                f"expected permutations that map clusters onto clusters, got one that sends node {node} of cluster {home} "
                f"to cluster {here}, and others of it to cluster {others}"
            )
        return sigma

    def extended_by(self, group: NodeGroup) -> "ClusterGroup":
        """The group that this one and ``group``, a group on the nodes that maps clusters onto clusters, generate together.

        Inside the clusters everything is free already, so only how ``group`` moves whole clusters counts.

        Raises:
            GroupError: another number of nodes, or a generator that tears a cluster apart.

        Example:
            >>> flip = PermutationGroup([[3, 2, 1, 0]])
            >>> ClusterGroup(Partition([0, 0, 1, 1])).extended_by(flip).order()
            8
        """
        if not isinstance(group, NodeGroup):
            raise GroupError(f"expected a group on the nodes, got {type(group).__name__}; write PermutationGroup([perm])")
        if group.degree != self.degree:
            raise GroupError(f"expected a group on {self.degree} nodes, got one on {group.degree}")
        moves = [self.induced(g) for g in group.generators]
        moves += [] if self.swaps is None else list(self.swaps.generators)
        return ClusterGroup(self.partition, PermutationGroup(moves, degree=self.partition.num_clusters))

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """``num`` uniform elements, (num, N): independent shuffles inside the clusters after a lifted element of H."""
        keys = torch.rand(num, self.degree, dtype=torch.float64, generator=generator)
        shuffled = torch.argsort(keys, dim=1)
        by_cluster = torch.argsort(self.partition.labels[shuffled], dim=1, stable=True)
        perm = torch.empty_like(shuffled)
        perm[:, self.partition.order] = torch.gather(shuffled, 1, by_cluster)
        if self.swaps is None:
            return perm
        return torch.gather(perm, 1, self.lift(self.swaps.sample(num, generator)))

    def contains(self, g: Tensor) -> bool:
        """Whether ``g`` maps clusters onto clusters, each to itself or as an element of H does."""
        perm = check_permutation(g, self.degree, "element")
        labels = self.partition.labels
        if self.swaps is None:
            return torch.equal(labels[perm], labels)
        try:
            sigma = self.induced(perm)
        except GroupError:
            return False
        return self.swaps.contains(sigma)

    def node_orbits(self) -> Partition:
        """The clusters, joined where H swaps them."""
        if self.swaps is None:
            return self.partition
        return Partition(self.swaps.node_orbits().labels[self.partition.labels])

    def __eq__(self, other: object) -> bool:
        """Equal as sets of permutations; without swaps that is equality of the partitions."""
        if isinstance(other, ClusterGroup) and self.swaps is None and other.swaps is None:
            return self.partition == other.partition
        return super().__eq__(other)

    def __hash__(self) -> int:
        return super().__hash__()


def _check_swaps(partition: Partition, swaps: PermutationGroup) -> None:
    if not isinstance(swaps, NodeGroup):
        raise GroupError(f"expected swaps to be a group, got {type(swaps).__name__}; write swaps=PermutationGroup(generators)")
    if swaps.degree != partition.num_clusters:
        raise GroupError(f"expected swaps of {partition.num_clusters} clusters, got a group on {swaps.degree}")
    sizes = partition.sizes
    for sigma in swaps.generators:
        wrong = torch.nonzero(sizes[sigma] != sizes).flatten().tolist()
        if wrong:
            l, m = wrong[0], int(sigma[wrong[0]])
            raise GroupError(
                f"swaps must keep cluster sizes: cluster {l} with {int(sizes[l])} nodes is mapped to cluster {m} "
                f"with {int(sizes[m])}; swap clusters of equal size only"
            )


def _check_weights(data: "Data", partition: Partition, swaps: PermutationGroup, tol: float) -> None:
    from gnet.groups.automorphism import coarse_automorphisms

    allowed, weights = coarse_automorphisms(data, partition, tol), coarse_weights(data, partition)
    for sigma in swaps.generators:
        image = weights[sigma[:, None], sigma]
        if not allowed.contains(sigma):
            l, m = divmod(int((image - weights).abs().argmax()), len(weights))
            raise GroupError(
                f"swaps must keep the weights of the coarsened graph: clusters ({l}, {m}) with mean weight "
                f"{float(weights[l, m]):.6g} are mapped to ({int(sigma[l])}, {int(sigma[m])}) with {float(image[l, m]):.6g}; "
                "take swaps from coarse_automorphisms(data, partition), a larger tol, or leave out data where the "
                "symmetry is approximate"
            )


def SymmetricGroup(num_nodes: int) -> ClusterGroup:
    """S_N: every permutation of the nodes.

    Example:
        >>> SymmetricGroup(5).order()
        120
    """
    return ClusterGroup(Partition.whole(num_nodes))


def TrivialGroup(num_nodes: int) -> ClusterGroup:
    """The group of the identity alone: every node unique.

    Example:
        >>> TrivialGroup(5).order()
        1
    """
    return ClusterGroup(Partition.singletons(num_nodes))
