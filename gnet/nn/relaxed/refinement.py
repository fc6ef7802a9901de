"""Values on the orbits of a group and on those of a subgroup: lifted from one to the other, averaged back."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from gnet.errors import GroupError
from gnet.graphs.partition import Partition
from gnet.kernels.segments import segment_sum
from gnet.nn.relaxed.block_sums import BlockSums
from gnet.nn.weights import BlockWeights, first_of_each
from gnet.orbits import Blocks, PairOrbits, Sparse


class Refinement(nn.Module):
    """The orbits of a subgroup inside those of a group: every fine orbit is part of one coarse orbit.

    With pair orbits the values are those of equivariant maps, as ``PairOrbits.matrix`` takes them: ``lift`` writes a map of the
    group as one of the subgroup, ``mean`` is the group's Reynolds operator on maps of the subgroup, ``lost`` what it takes away.
    With partitions into node orbits the values are those of invariant signals, such as biases. O(k^2) where both groups are
    cluster groups, no N x N table. A module without weights, so that it follows the layer that keeps it to another device.

    Args:
        fine: of the subgroup.
        coarse: of the group.
        names: of both groups, for the message.

    Shapes:
        coarse values: (coarse count, ...)    fine values: (fine count, ...)

    Raises:
        GroupError: a fine orbit that lies in no single coarse orbit.

    References:
        The average over a group of a map that a subgroup keeps already: Elesedy and Zaidi (2021), arXiv:2102.10333, section 3.

    Example:
        >>> fine, coarse = (ClusterGroup(Partition(labels)) for labels in ([0, 0, 1], [0, 0, 0]))
        >>> inside = Refinement(PairOrbits.of(fine), PairOrbits.of(coarse))
        >>> inside.lift(torch.tensor([5.0, 7.0]))  # between different nodes 5, of a node itself 7
        tensor([5., 5., 5., 7., 7.])
        >>> inside.mean(torch.tensor([1.0, 2.0, 3.0, 6.0, 9.0]))  # orbits of 2, 2, 2 pairs; of 1 and 2
        tensor([2., 8.])
    """

    parent: Tensor
    sizes: Tensor
    coarse_sizes: Tensor

    def __init__(
        self, fine: PairOrbits | Partition, coarse: PairOrbits | Partition, names: tuple[str, str] | None = None
    ) -> None:
        super().__init__()
        if fine.num_nodes != coarse.num_nodes:
            raise GroupError(f"expected orbits on the same nodes, got {fine.num_nodes} and {coarse.num_nodes}")
        if isinstance(fine, Partition) and isinstance(coarse, Partition):
            inner, outer, sizes, coarse_sizes = fine.labels, coarse.labels, fine.sizes, coarse.sizes
        elif isinstance(fine, PairOrbits) and isinstance(coarse, PairOrbits):
            pairs = _enough_pairs(fine, coarse)
            inner, outer = fine.labels_of(*pairs), coarse.labels_of(*pairs)
            sizes, coarse_sizes = fine.orbit_sizes, coarse.orbit_sizes
        else:
            raise GroupError("expected pair orbits of two groups, or node orbits of two groups, got one of each")
        codes = torch.unique(inner * len(coarse_sizes) + outer) if bool((outer >= 0).all()) else inner.new_empty(0)
        parent = codes % len(coarse_sizes)
        is_nested = len(codes) == len(sizes) and torch.equal(
            torch.zeros_like(coarse_sizes).index_add(0, parent, sizes), coarse_sizes
        )
        if not is_nested:
            smaller, larger = names or (fine, coarse)
            raise GroupError(
                f"expected the orbits of a subgroup inside those of a group, got {smaller} as the smaller and {larger} as the "
                "larger, which are not nested; exchange them (a chain goes from smallest to largest, and what is beside is the "
                "smaller), or take a sum (GroupSum, layer='sum'), whose groups need not be nested"
            )
        buffers = {"parent": parent, "sizes": sizes, "coarse_sizes": coarse_sizes}
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor, persistent=False)
        self.blocks = None
        if isinstance(fine, Blocks) and isinstance(coarse, Blocks) and not fine.is_tied:
            self.blocks = BlockSums(fine, coarse) if fine.partition.refines(coarse.partition) else None

    def lift(self, values: Tensor) -> Tensor:
        """Each fine orbit's value is that of its coarse orbit, (coarse count, ...) -> (fine count, ...)."""
        return values.index_select(0, self.parent)

    def mean(self, values: Tensor) -> Tensor:
        """The average over each coarse orbit, pair by pair (or node by node), (fine count, ...) -> (coarse count, ...)."""
        wide = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
        share = self.sizes.to(wide.dtype) / self.coarse_sizes.index_select(0, self.parent).to(wide.dtype)
        sums = segment_sum(wide * _beside(share, wide), self.parent, len(self.coarse_sizes))
        return sums.to(values.dtype)

    def lost(self, values: Tensor) -> Tensor:
        """What the average takes away, ``values - lift(mean(values))``."""
        return values - self.lift(self.mean(values))

    def square(self, values: Tensor) -> Tensor:
        """Squared Frobenius norm of the map (or signal) with these fine values."""
        return square_norm(values, self.sizes)

    def mean_of(self, weights: Any) -> Tensor:
        """``mean`` of the values of a layer's weights; those of clusters are read as they lie, N x N of them once."""
        if self.blocks is None or not isinstance(weights, BlockWeights):
            return self.mean(weights.coefficients())
        return self.blocks(weights) / self.coarse_sizes.to(weights.mix.dtype)[:, None, None]

    def square_of(self, weights: Any) -> Tensor:
        """``square`` of the values of a layer's weights, likewise."""
        if self.blocks is None or not isinstance(weights, BlockWeights):
            return self.square(weights.coefficients())
        return self.blocks.square(weights)

    def __repr__(self) -> str:
        return f"Refinement({len(self.coarse_sizes)} orbits into {len(self.sizes)})"


class Tower(nn.Module):
    """Values on the orbits of nested groups, smallest group first, and what each adds to the next larger one.

    The increments ``values_j - lift(mean(values_j))`` of different levels, and the values of the last, are orthogonal.

    Raises:
        GroupError: orbits that are not nested.

    Example:
        >>> chain = [TrivialGroup(3), ClusterGroup(Partition([0, 0, 1])), SymmetricGroup(3)]
        >>> tower = Tower([group.node_orbits() for group in chain])
        >>> parts = tower.increments([torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0.0, 3.0]), torch.tensor([7.0])])
        >>> parts
        [tensor([-1.,  1.,  0.]), tensor([-1.,  2.]), tensor([7.])]
        >>> tower.total(parts, torch.tensor([0.0, 0.5]))
        tensor([6.5000, 6.5000, 8.0000])
    """

    def __init__(self, levels: Sequence[PairOrbits] | Sequence[Partition], names: Sequence[str] | None = None) -> None:
        super().__init__()
        pairs: list[tuple[Any, Any]] = list(pairwise(levels))
        told = [None] * len(pairs) if names is None else list(pairwise(names))
        self.steps = nn.ModuleList(Refinement(*pair, names=both) for pair, both in zip(pairs, told, strict=True))

    def step(self, place: int) -> Refinement:
        """From that level to the next."""
        return self.steps[place]  # type: ignore[return-value]

    def increments(self, values: Sequence[Tensor]) -> list[Tensor]:
        """What each level adds to the next, on its own orbits; the last level as it is."""
        steps: list[Refinement] = list(self.steps)  # type: ignore[arg-type]
        return [*(step.lost(each) for step, each in zip(steps, values, strict=False)), values[-1]]

    def total(self, increments: Sequence[Tensor], factors: Tensor) -> Tensor:
        """The last level and each increment times its factor, on the orbits of the first level."""
        steps: list[Refinement] = list(self.steps)  # type: ignore[arg-type]
        found = increments[-1]
        for step, each, factor in reversed(list(zip(steps, increments, factors, strict=False))):
            found = step.lift(found) + factor.to(each.dtype) * each
        return found

    def squares(self, increments: Sequence[Tensor]) -> Tensor:
        """Squared Frobenius norm of each increment, the last level left out, (levels - 1,)."""
        steps: list[Refinement] = list(self.steps)  # type: ignore[arg-type]
        return torch.stack([step.square(each) for step, each in zip(steps, increments, strict=False)])


def square_norm(values: Tensor, sizes: Tensor) -> Tensor:
    """``sum_o sizes_o |values_o|^2``: the squared norm of what is constant on orbits of these sizes.

    Example:
        >>> square_norm(torch.tensor([1.0, 2.0]), torch.tensor([3, 1]))
        tensor(7.)
    """
    return (_beside(sizes.to(values), values) * values.square()).sum()


def representatives(orbits: PairOrbits) -> tuple[Tensor, Tensor]:
    """Receiver and sender of one pair of each orbit, (count,) both.

    Example:
        >>> representatives(PairOrbits.of(ClusterGroup(Partition([0, 0, 1]))))
        (tensor([0, 0, 2, 2, 0]), tensor([1, 2, 0, 2, 0]))
    """
    receivers, senders = _enough_pairs(orbits, orbits)
    first = first_of_each(orbits.labels_of(receivers, senders))
    return receivers[first], senders[first]


def _beside(each: Tensor, values: Tensor) -> Tensor:
    """One number per orbit, with as many axes as the values."""
    return each.reshape(-1, *[1] * (values.ndim - 1))


def _enough_pairs(fine: PairOrbits, coarse: PairOrbits) -> tuple[Tensor, Tensor]:
    """Receivers and senders of pairs that show every combination of a fine and a coarse orbit."""
    nodes = torch.arange(fine.num_nodes)
    if isinstance(fine, Sparse):
        return fine.edge_index[1], fine.edge_index[0]
    if not (isinstance(fine, Blocks) and isinstance(coarse, Blocks)):
        return nodes.repeat_interleave(len(nodes)), nodes.repeat(len(nodes))
    # Of nodes that share both clusters two tell of all.
    atoms = Partition(fine.partition.labels * coarse.partition.num_clusters + coarse.partition.labels)
    first = atoms.order[atoms.ptr[:-1]]
    second = atoms.order[atoms.ptr[:-1] + (atoms.sizes > 1).long()]
    receivers, senders = first[:, None].expand(-1, len(first)), first.repeat(len(first), 1)
    senders = senders.fill_diagonal_(0) + torch.diag(second)
    return torch.cat([receivers.flatten(), first]), torch.cat([senders.flatten(), first])
