"""Ask of single symmetries whether data allow them, with confidence intervals, and put those that pass together as a group."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnet.errors import ConfigError, DataError, GroupError, ShapeError
from gnet.graphs.partition import Partition
from gnet.groups.automorphism import coarse_automorphisms
from gnet.groups.base import Action, Group, check_permutation
from gnet.groups.cluster import ClusterGroup, SymmetricGroup
from gnet.groups.permutation import PermutationGroup
from gnet.measures.equivariance import check_inputs, output_of
from gnet.nn.modes import evaluating

if TYPE_CHECKING:
    from torch_geometric.data import Data

Loss = Callable[[Tensor, Tensor], Tensor]
"""Losses of the items of a batch, (B,), from outputs and targets."""


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean square over the entries of each item.

    Example:
        >>> squared_error(torch.zeros(2, 3), torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]]))
        tensor([3., 0.], dtype=torch.float64)
    """
    return (outputs.double() - targets.double()).reshape(len(outputs), -1).square().mean(1)


@dataclass(frozen=True, eq=False)
class SymmetryTests:
    """What moving the data by each candidate does to the risk of a function, with confidence limits.

    Shapes:
        elements: (K, ...)    excess, lower, upper, p_values: (K,) float64

    Attributes:
        excess: mean over samples of loss(f(g x), g y) - loss(f(x), y), in units of the loss.
        lower, upper: confidence limits of its expectation; infinite where the samples are too few for the confidence.
        p_values: of "the expectation is at most epsilon", for each candidate alone; never below 2^-B with B samples.
        risk: mean loss on the data as they are.
    """

    elements: Tensor
    excess: Tensor
    lower: Tensor
    upper: Tensor
    p_values: Tensor
    risk: float
    epsilon: float
    confidence: float

    @property
    def rejected(self) -> Tensor:
        """Candidates whose lower limit is above epsilon: the data speak against them, (K,) bool."""
        return self.lower > self.epsilon

    @property
    def certified(self) -> Tensor:
        """Candidates whose upper limit is at most epsilon: the data vouch for them, (K,) bool."""
        return self.upper <= self.epsilon


def check_symmetries(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    candidates: Iterable[Tensor],
    group: Group | None = None,
    action_in: Action | None = None,
    action_out: Action | None = None,
    *,
    epsilon: float = 0.0,
    confidence: float = 0.95,
    simultaneous: bool = False,
    loss: Loss = squared_error,
    num_subsets: int = 1999,
    generator: torch.Generator | None = None,
) -> SymmetryTests:
    """Is the risk of f on the data moved by g that on the data themselves? One test for each candidate g.

    If g is a symmetry of the distribution of (x, y), both risks are the same, whatever f is; a better f sees smaller defects. f
    must not have seen these samples. The limits are quantiles of means over subsets of the samples, all of them or random ones,
    which is a test by signs turned into an interval: it covers at least as often as it says at any number of samples if g is its
    own inverse, as are the exchanges of two nodes, for then a pair of losses and the same pair exchanged are equally likely; for
    other g if the differences are symmetric about their mean, and in the limit of many samples.

    B samples have 2^B subsets, so that none of them can reject with a p-value below 2^-B: limits are finite from about
    B = log2(2 / (1 - confidence)) samples on, six for 0.95, and log2(K) more for K candidates ``simultaneous``. Fewer reject
    nothing and certify nothing.

    Args:
        f: fitted to other samples.
        candidates: group elements, such as permutations (K, N): ``exchanges``, ``block_moves``.
        group: whose elements they are; None for permutations of nodes.
        action_in: of g on x; None is the group's own.
        action_out: of g on y and f(x); ``gnet.groups.TRIVIAL_ACTION`` for numbers that do not move.
        epsilon: a growth of the risk that would be accepted.
        confidence: of each two-sided pair of limits.
        simultaneous: all pairs of limits hold at once with this confidence (Bonferroni).
        loss: of each item, (B,) from outputs and targets.
        num_subsets: random subsets of samples; where there are no more in all, each of them once.

    Shapes:
        x: (B, ...)    y: shaped as f(x)

    Units: epsilon and all results in those of the loss.

    Raises:
        ConfigError: no candidate, a confidence outside (0, 1), too few subsets for it, or no finite epsilon.
        GroupError: candidates that are no permutations, without a group.
        ShapeError: x without batch axis, fewer than two samples, y of another shape than f(x), or a loss that is no number for
            each item.
        DataError: a loss that is NaN or infinite, as targets that were not measured make it: leave these samples out, or give a
            ``loss`` that leaves these entries out (as NaN, they move with y).

    References:
        Hartigan (1969), doi:10.1080/01621459.1969.10501057, on typical values: means over random subsets cut the line into
        intervals that are equally likely to hold the centre; Hemerik and Goeman (2018), doi:10.1007/s11749-017-0571-1, on random
        ones, among which the empty one counts against every limit.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> x = torch.randn(200, 3, 1, generator=generator)
        >>> y = x * torch.tensor([[1.0], [1.0], [3.0]])
        >>> tests = check_symmetries(lambda x: 0.9 * x, x, y, [[1, 0, 2], [2, 1, 0]], generator=generator)
        >>> tests.rejected
        tensor([False, False])
        >>> check_symmetries(lambda x: x * torch.tensor([[1.0], [1.0], [3.0]]), x, y, [[1, 0, 2], [2, 1, 0]]).rejected
        tensor([False,  True])
    """
    chosen = [torch.as_tensor(each) for each in candidates]
    if not chosen:
        raise ConfigError("expected at least one candidate, got none")
    if not 0 < confidence < 1:
        raise ConfigError(f"expected confidence in (0, 1), got {confidence}")
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not math.isfinite(epsilon):
        raise ConfigError(f"expected a finite epsilon, in units of the loss, got {epsilon!r}")
    if group is None:
        if chosen[0].ndim != 1:
            raise GroupError("expected permutations (K, N); say whose elements others are with group=")
        group = SymmetricGroup(len(chosen[0]))
        chosen = [check_permutation(each, group.degree, f"candidate {place}") for place, each in enumerate(chosen)]
    check_inputs(x, group, action_in, None)
    if len(x) < 2:
        raise ShapeError(f"expected at least two samples, got {len(x)}")
    tail = (1 - confidence) / 2 / (len(chosen) if simultaneous else 1)
    rank = math.floor(tail * (num_subsets + 1))
    if rank < 1:
        raise ConfigError(
            f"expected num_subsets >= {math.ceil(1 / tail) - 1} for limits at {tail:.2g} on each side, got {num_subsets}"
        )
    losses, moved = _losses_moved(f, x, y, chosen, action_in or group.action, action_out or group.action, loss)
    changes = (moved - losses).double().cpu()  # (K, B)
    means, num_empty = _subset_means(changes, num_subsets, generator)
    drawn = means.shape[1] + num_empty
    ordered = means.sort(1).values
    # The empty subset, whose mean is any number, is below every lower limit and above every upper one.
    place = math.floor(tail * (drawn + 1)) - 1 - num_empty
    infinite = torch.full_like(ordered[:, 0], math.inf)
    at_most = (means <= epsilon).sum(1) + num_empty
    return SymmetryTests(
        torch.stack(chosen),
        changes.mean(1),
        ordered[:, place] if place >= 0 else -infinite,
        ordered[:, -place - 1] if place >= 0 else infinite,
        (at_most + 1).double() / (drawn + 1),
        float(losses.double().mean()),
        epsilon,
        confidence,
    )


def _losses_moved(
    f: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, elements: Iterable[Tensor], before: Action, after: Action, loss: Loss
) -> tuple[Tensor, Tensor]:
    """Losses (B,) on the data as they are, and (K, B) on them moved by each element."""
    with evaluating(f):
        plain = output_of(f, x)
        if plain.shape != y.shape:
            raise ShapeError(f"expected y of the shape of f(x), {tuple(plain.shape)}, got {tuple(y.shape)}")
        losses = _losses(loss, plain, y, "the data as they are")
        moved = [
            _losses(loss, output_of(f, before(g, x).clone()), after(g, y), f"the data moved by candidate {place}")
            for place, g in enumerate(elements)
        ]
    return losses, torch.stack(moved)


def _losses(loss: Loss, outputs: Tensor, targets: Tensor, which: str) -> Tensor:
    """One finite number for each item."""
    values = loss(outputs, targets)
    if not isinstance(values, Tensor) or values.shape != (len(targets),):
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ShapeError(f"expected a loss of shape ({len(targets)},), one number for each item, got {got}")
    if not bool(values.isfinite().all()):
        items = torch.nonzero(~values.isfinite()).flatten().tolist()
        some = ", ".join(map(str, items[:5])) + (" ..." if len(items) > 5 else "")
        raise DataError(
            f"expected finite losses, got NaN or infinity on {which} for items {some}; leave them out, or give a loss that "
            "leaves out entries that were not measured"
        )
    return values


SUBSET_ENTRIES = 2**24
"""Most entries of subsets x samples that are held at a time: 128 MB."""


def _subset_means(values: Tensor, num_subsets: int, generator: torch.Generator | None) -> tuple[Tensor, int]:
    """Means of the rows (K, B) over subsets, (K, S), and how many subsets beside them were empty.

    All subsets but the empty one where these are at most ``num_subsets``; else so many random ones, each sample in with
    probability 1/2.
    """
    num = values.shape[1]
    if 2 ** min(num, 63) - 1 <= num_subsets:
        numbers = torch.arange(1, 2**num)
        return values @ _shares((numbers[:, None] >> torch.arange(num)) % 2 == 1).mT, 0
    found, num_empty = [], 0
    for start in range(0, num_subsets, step := max(1, SUBSET_ENTRIES // num)):
        inside = torch.rand(min(step, num_subsets - start), num, generator=generator) < 0.5
        some = inside.any(1)
        num_empty += int((~some).sum())
        found.append(values @ _shares(inside[some]).mT)
    return torch.cat(found, 1), num_empty


def _shares(inside: Tensor) -> Tensor:
    """Equal weights with sum 1 for the members of each subset."""
    return inside.double() / inside.sum(1, keepdim=True)


def exchanges(partition: Partition) -> Tensor:
    """All exchanges of two nodes of one cluster, (K, N): they generate the cluster group.

    Example:
        >>> exchanges(Partition([0, 1, 0]))
        tensor([[2, 1, 0]])
    """
    pairs = torch.nonzero((partition.labels[:, None] == partition.labels).triu(1))
    perms = torch.arange(partition.num_nodes).repeat(len(pairs), 1)
    rows = torch.arange(len(pairs))
    perms[rows, pairs[:, 0]], perms[rows, pairs[:, 1]] = pairs[:, 1], pairs[:, 0]
    return perms


def block_moves(graph: "Data", partition: Partition) -> Tensor:
    """Generators of the symmetries of the coarsened graph, lifted to the nodes: clusters change places whole, (K, N).

    The r-th node of a cluster goes to the r-th of the one whose place it takes (``ClusterGroup.lift``); clusters of different
    sizes, or of different mean weights, stay. Beside ``exchanges`` these are the candidates for the clusters' own symmetry and
    that of their arrangement. (0, N) where there are none.

    Raises:
        PartitionError: a partition of another number of nodes.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436: the automorphisms of the coarsened graph.

    Example:
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 2, 1, 2, 3], [1, 2, 3, 0, 1, 2]]), num_nodes=4)
        >>> halves = Partition([0, 0, 1, 1])
        >>> block_moves(path, halves)
        tensor([[2, 3, 0, 1]])
        >>> torch.cat([exchanges(halves), block_moves(path, halves)]).shape
        torch.Size([3, 4])
    """
    group, moves = ClusterGroup(partition), coarse_automorphisms(graph, partition).generators
    return torch.stack([group.lift(sigma) for sigma in moves]) if len(moves) else torch.empty(0, partition.num_nodes).long()


def group_of_accepted(tests: SymmetryTests) -> ClusterGroup:
    """The group of what was not rejected: clusters of nodes all of whose exchanges passed, and what moves these clusters whole.

    A node joins the first cluster with every member of which its exchange was tested and not rejected; exchanges that were not
    tested count as rejected. Other candidates that passed become swaps if they map these clusters onto each other.

    Raises:
        GroupError: candidates that are no permutations.
        DataError: limits that are NaN, which would reject nothing.

    Example:
        >>> x = torch.randn(500, 3, 1, generator=torch.Generator().manual_seed(0))
        >>> slopes = torch.tensor([[1.0], [1.0], [3.0]])
        >>> group_of_accepted(check_symmetries(lambda x: slopes * x, x, slopes * x, exchanges(Partition.whole(3))))
        ClusterGroup(S2 x S1, order 2)
    """
    if tests.elements.ndim != 2 or tests.elements.is_floating_point():
        raise GroupError("expected tests of permutations of nodes (K, N), got other elements")
    if bool(tests.lower.isnan().any()) or math.isnan(tests.epsilon):
        raise DataError("expected limits and an epsilon that are numbers, got NaN, which would reject nothing")
    kept = tests.elements[~tests.rejected]
    size = tests.elements.shape[1]
    moved = kept != torch.arange(size)
    allowed = torch.eye(size, dtype=torch.bool)
    for pair in kept[moved.sum(1) == 2]:
        first, second = torch.nonzero(pair != torch.arange(size)).flatten().tolist()
        allowed[first, second] = allowed[second, first] = True
    clusters: list[list[int]] = []
    for node in range(size):
        home = next((cluster for cluster in clusters if bool(allowed[node, cluster].all())), None)
        if home is None:
            clusters.append([node])
        else:
            home.append(node)
    group = ClusterGroup(Partition.from_clusters(clusters))
    for perm in kept[moved.sum(1) > 2]:
        if group.partition == Partition(group.partition.labels[perm]):
            group = group.extended_by(PermutationGroup([perm]))
    return group
