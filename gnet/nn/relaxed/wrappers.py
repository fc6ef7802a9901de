"""Any module with any group: penalised for its equivariance error, or trained on moved inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, ShapeError
from gnet.groups.base import Action, Group, NodeGroup
from gnet.groups.cluster import ClusterGroup
from gnet.groups.laws import require_sampler
from gnet.nn.checks import check_choice
from gnet.nn.modes import evaluating
from gnet.nn.relaxed.base import check_at_least
from gnet.nn.relaxed.moving import Moved, check_moved, error_at, measured_error, move_items, moved_arguments, num_items

Kind = Literal["uniform", "lazy", "partial"]
Per = Literal["sample", "batch"]


@dataclass(frozen=True)
class Augmentation:
    """Which random elements of a group move a training batch.

    "uniform" draws from the whole group, which imposes all of it: for inputs that the group does not change in distribution the
    best predictor is then the truth averaged over the group. "lazy" draws the identity with probability 1 - p, which lies
    between that and the truth. "partial" shuffles each cluster of a cluster group with probability p, and with ``clusters`` none
    but these; whole clusters are not swapped.

    Args:
        p: of "lazy" and "partial"; None is 1/2, or 1 with ``clusters``.
        per: one element for each item of the batch, or one for all.

    Raises:
        ConfigError: a p outside [0, 1] or without a use, clusters that do not exist, or "partial" with another group.
        NotCompactError: a group without a uniform law, for which no law was chosen (``group.sampled_by``).

    References:
        Chen, Dobriban and Lee (2020), arXiv:1907.10905, on augmentation as an average over the group.

    Example:
        >>> one = Augmentation(ClusterGroup(Partition([0, 0, 0, 1, 1])), "partial", clusters=[1])
        >>> sorted(set(map(tuple, one.sample(50).tolist())))
        [(0, 1, 2, 3, 4), (0, 1, 2, 4, 3)]
    """

    group: Group
    kind: Kind = "uniform"
    p: float | None = None
    clusters: Sequence[int] | None = None
    per: Per = "sample"

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, Kind)
        check_choice("per", self.per, Per)
        if not isinstance(self.group, Group):
            raise ConfigError(f"expected a group, got {type(self.group).__name__}; write ClusterGroup(partition)")
        require_sampler(self.group, "augmentation")
        if self.kind == "uniform" and self.p is not None:
            raise ConfigError("p is the share of moved samples of kind='lazy', or of clusters of kind='partial'; leave it out")
        if self.p is not None and not 0.0 <= self.p <= 1.0:
            raise ConfigError(f"expected a probability p in [0, 1], got {self.p}")
        if self.kind != "partial":
            if self.clusters is not None:
                raise ConfigError(f"clusters belong to kind='partial', got kind={self.kind!r}")
            return
        if not isinstance(self.group, ClusterGroup):
            raise ConfigError(f"kind='partial' shuffles clusters, and {self.group.name} has none; use 'lazy', or a cluster group")
        k = self.group.partition.num_clusters
        if wrong := [each for each in self.clusters or () if not 0 <= each < k]:
            raise ConfigError(f"expected clusters in 0..{k - 1}, got {wrong}")

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """``num`` independent elements, stacked along a first axis."""
        if self.kind == "uniform":
            return self.group.sample(num, generator)
        if isinstance(self.group, ClusterGroup) and self.kind == "partial":
            return self._shuffled(self.group, num, generator)
        drawn, identity = self.group.sample(num, generator), self.group.identity
        moves = torch.rand(num, generator=generator) < (0.5 if self.p is None else self.p)
        return torch.where(moves.reshape(-1, *[1] * identity.ndim), drawn, identity.to(drawn))

    def _shuffled(self, group: ClusterGroup, num: int, generator: torch.Generator | None) -> Tensor:
        partition = group.partition
        share = torch.zeros(partition.num_clusters)
        whole = 0.5 if self.clusters is None else 1.0
        share[list(range(partition.num_clusters)) if self.clusters is None else list(self.clusters)] = (
            whole if self.p is None else self.p
        )
        moves = torch.rand(num, partition.num_clusters, generator=generator) < share
        drawn = ClusterGroup(partition).sample(num, generator)
        return torch.where(moves[:, partition.labels], drawn, group.identity)

    def draw(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The elements for one input: one for each item of a batch, or a single one."""
        return self.sample(1 if self.per == "batch" else num_items(x, self.group, None), generator)

    def copies(
        self,
        x: Tensor,
        y: Tensor,
        num_samples: int = 1,
        *,
        action_in: Action | None = None,
        action_out: Action | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(g x, g y) for ``num_samples`` fresh elements of each item: a larger training set, or batch of a loader.

        Args:
            action_in, action_out: None is the group's own; ``gnet.groups.TRIVIAL_ACTION`` for targets that do not move.

        Shapes:
            x, y: (B, ...)    returns: (num_samples B, ...) of both, all items once, then all once more

        Raises:
            ConfigError: ``num_samples`` below 1.
            ShapeError: other numbers of items in x and y.

        Example:
            >>> x = torch.arange(4.0).reshape(1, 4, 1)
            >>> moved, same = Augmentation(SymmetricGroup(4)).copies(x, x, 8)
            >>> moved.shape, torch.equal(moved, same)
            (torch.Size([8, 4, 1]), True)
        """
        check_at_least(1, num_samples=num_samples)
        if len(x) != len(y):
            raise ShapeError(f"expected x and y with as many items, got {tuple(x.shape)} and {tuple(y.shape)}")
        xs, ys = (each.repeat(num_samples, *[1] * (each.ndim - 1)) for each in (x, y))
        drawn = self.draw(xs, generator)
        return self.move(drawn, xs, action_in), self.move(drawn, ys, action_out)

    def move(self, elements: Tensor, x: Tensor, action: Action | None, *, back: bool = False) -> Tensor:
        """g x of each item, or g^-1 x; None is the group's own action, of which x may be PyG's flat batch."""
        return move_items(self.group, elements, x, action, back=back)


class AroundModule(nn.Module):
    """Base of what stands around a module: f, the group, its actions, and what moves with the signals.

    Raises:
        ConfigError: ``moved`` has other things than places and names.
    """

    def __init__(
        self,
        module: nn.Module,
        group: Group,
        action_in: Action | None,
        action_out: Action | None,
        moved: Moved | None,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        check_moved(moved)
        self.moved = None if moved is None else list(moved)
        self.module, self.group = module, group
        self.action_in, self.action_out, self.generator = action_in, action_out, generator

    def _called(self, x: Tensor, *others: Any, **named: Any) -> Tensor:
        """The module at x, with a hint where it may want other shapes."""
        try:
            return self.module(x, *others, **named)
        except RuntimeError as error:
            if isinstance(self.group, NodeGroup) and self.action_in is None and "shapes" in str(error):
                error.add_note(
                    f"{type(self).__name__} passes signals on nodes to its module as they are, here {tuple(x.shape)}; one of "
                    f"vectors needs Flatten() before it and Unflatten(1, ({self.group.degree}, channels)) after it"
                )
            raise

    def _check_nodes(self, x: Tensor) -> None:
        """Refuse signals on other nodes than the group's."""
        if self.action_in is not None or not isinstance(self.group, NodeGroup):
            return
        size = self.group.degree
        if x.ndim < 2 or (x.shape[-2] != size and (x.ndim > 2 or len(x) % size)):
            raise ShapeError(
                f"expected x of shape (B, {size}, C), (B {size}, C) or ({size}, C) on the {size} nodes of {self.group.name}, got "
                f"{tuple(x.shape)}"
            )

    def equivariance_error(
        self, x: Tensor, *others: Any, num_samples: int = 32, generator: torch.Generator | None = None, **named: Any
    ) -> float:
        """Of f in evaluation, measured: sqrt(E ||g^-1 f(g x) - f(x)||^2 / E ||f(x)||^2) over random elements of the whole group.

        ``gnet.measures.equivariance_error(f, x, group)`` has standard errors, too, for an f of x alone.
        """
        with evaluating(self.module):
            return measured_error(
                self.module,
                x,
                others,
                self.group,
                self.action_in,
                self.action_out,
                named=named,
                moved=self.moved,
                num_samples=num_samples,
                generator=generator,
            )


class Augmented(AroundModule):
    """In training ``g^-1 f(g x)`` with random g, in evaluation f itself: group augmentation from within.

    Training on it with (x, y) is training f on (g x, g y), for every loss that the action leaves as it is when it moves
    prediction and target together, as mean square errors do under permutations. Masks and metrics stay where they are. The
    variance of g enters the gradient; nothing is added to the cost.

    Args:
        module: f, of any arguments: ``f(x, edge_index)`` of PyG, too.
        kind, p, clusters, per: as in ``Augmentation``.
        action_in, action_out: None is the group's own; ``gnet.groups.TRIVIAL_ACTION`` for an invariant f.
        moved: further arguments that move as outputs do, by place (from 0 on) or name; None moves floating tensors with the items
            and nodes of x, such as targets shown to a recurrent net, and leaves edges and their weights where they are.

    Shapes:
        x: (B, ...), or (N, C) or PyG's flat (B N, C) for a group of nodes    returns: what f returns

    Raises:
        ConfigError: as in ``Augmentation``.
        ShapeError: x on other nodes than the group's; one element per sample, and an output with another number of items.

    References:
        Chen, Dobriban and Lee (2020), arXiv:1907.10905.

    Example:
        >>> f = Augmented(EquivariantLinear(TrivialGroup(4), 1, 1), SymmetricGroup(4), "lazy", p=0.25)
        >>> x = torch.randn(8, 4, 1)
        >>> f(x).shape, torch.equal(f.eval()(x), f.module(x))
        (torch.Size([8, 4, 1]), True)
    """

    def __init__(
        self,
        module: nn.Module,
        group: Group,
        kind: Kind = "uniform",
        p: float | None = None,
        *,
        clusters: Sequence[int] | None = None,
        per: Per = "sample",
        action_in: Action | None = None,
        action_out: Action | None = None,
        moved: Moved | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(module, group, action_in, action_out, moved, generator)
        self.augmentation = Augmentation(group, kind, p, clusters, per)

    def forward(self, x: Tensor, *others: Any, **named: Any) -> Tensor:
        """Apply the module."""
        self._check_nodes(x)
        if not self.training:
            return self._called(x, *others, **named)
        drawn, actions = self.augmentation.draw(x, self.generator), (self.action_in, self.action_out)

        def out(value: Tensor) -> Tensor:
            return self.augmentation.move(drawn, value, self.action_out)

        args, kwargs = moved_arguments(out, x, others, named, self.group, *actions, self.moved)
        y = self._called(self.augmentation.move(drawn, x, self.action_in), *args, **kwargs)
        return self.augmentation.move(drawn, y, self.action_out, back=True)

    def extra_repr(self) -> str:
        """The group and which elements."""
        return f"{self.group.name}, {self.augmentation.kind}, one element per {self.augmentation.per}"


class Penalised(AroundModule):
    """f itself, which asks the loss for ``weight`` times its equivariance error: ``penalty()``, after each training forward.

    The penalty is ``equivariance_penalty`` with ``num_samples`` random elements, and reuses the output of the last forward in
    training mode, so that it costs one more call of f for each. Asked again before the next forward, or in evaluation, it is
    zero. ``penalty(net)`` of ``gnet.nn.relaxed`` finds it inside any net, and ``GNetModule`` adds that to its loss.

    Args:
        module: f, for any group, of any arguments: ``f(x, edge_index)`` of PyG, too.
        weight: of the penalty, which is a squared norm per item: for a loss averaged over the entries of an output divide by
            their number to have both in the same units.
        num_samples: random elements of each penalty.
        action_in, action_out: None is the group's own; ``gnet.groups.TRIVIAL_ACTION`` for an invariant f.
        moved: further arguments that move as outputs do, by place (from 0 on) or name; None moves floating tensors with the items
            and nodes of x, such as targets shown to a recurrent net, and leaves edges and their weights where they are.

    Shapes:
        x: (B, ...), or (N, C) or PyG's flat (B N, C) for a group of nodes    returns: what f returns

    Raises:
        ConfigError: a negative weight, or ``num_samples`` below 1.
        NotCompactError: a group without a uniform law, for which no law was chosen (``group.sampled_by``).
        ShapeError: x on other nodes than the group's.

    References:
        Wang, Walters and Yu (2022), arXiv:2201.11969, for the error that is penalised.

    Example:
        >>> f = Penalised(EquivariantLinear(TrivialGroup(4), 1, 1), SymmetricGroup(4), weight=0.5)
        >>> y = f(torch.randn(8, 4, 1))
        >>> asked, again = f.penalty(), f.penalty()
        >>> asked.requires_grad, again
        (True, tensor(0.))
    """

    def __init__(
        self,
        module: nn.Module,
        group: Group,
        weight: float = 1.0,
        *,
        num_samples: int = 1,
        action_in: Action | None = None,
        action_out: Action | None = None,
        moved: Moved | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(module, group, action_in, action_out, moved, generator)
        check_at_least(0.0, weight=weight)
        check_at_least(1, num_samples=num_samples)
        require_sampler(group, "a penalty")
        self.weight, self.num_samples = weight, num_samples
        self._last: tuple[Tensor, tuple[Any, ...], dict[str, Any], Tensor, int] | None = None

    def forward(self, x: Tensor, *others: Any, **named: Any) -> Tensor:
        """Apply the module."""
        self._check_nodes(x)
        y = self._called(x, *others, **named)
        self._last = (x, others, named, y, y._version) if self.training and self.weight else None
        return y

    def penalty(self) -> Tensor:
        """``weight`` times the equivariance error at the last training inputs, for fresh random elements; 0-dim."""
        last, self._last = self._last, None
        if last is None:
            return next((p.new_zeros(()) for p in self.parameters()), torch.zeros(()))
        x, others, named, y, version = last
        if y._version != version:  # somebody wrote over the output, such as an activation in place
            y = self.module(x, *others, **named)
        actions = (self.action_in, self.action_out)
        terms = [
            error_at(self.module, g, x, others, y, self.group, *actions, named=named, moved=self.moved)
            for g in self.group.sample(self.num_samples, self.generator)
        ]
        return self.weight * torch.stack(terms).mean()

    def __getstate__(self) -> dict[str, Any]:
        """Without the last output, which belongs to a graph and cannot be copied."""
        return {**self.__dict__, "_last": None}

    def extra_repr(self) -> str:
        """The group and the weight."""
        return f"{self.group.name}, weight {self.weight:g}"
