"""Maps of nested groups, each with what the next larger group lacks, times a gate: as much symmetry as the gates say."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError
from gnet.groups.base import NodeGroup
from gnet.groups.cluster import TrivialGroup
from gnet.nn.base import Bias
from gnet.nn.linear import EquivariantLinear, Parametrization
from gnet.nn.relaxed.base import ApproximateLinear, check_at_least
from gnet.nn.relaxed.orbit_map import OrbitMap
from gnet.nn.relaxed.refinement import Tower, square_norm
from gnet.nn.weights import Init

SATURATED = 1000.0
"""A logit whose sigmoid is exactly 0 or 1 in every precision."""


class ChainGates(ApproximateLinear):
    """``W = W_J + sum_j gate_j (W_j - mean of W_j over G_(j+1))`` for groups G_0 <= ... <= G_J, W_j any map of G_j.

    The increments are orthogonal to each other and to W_J, so that the gates are identifiable: with all gates 0 the layer is
    exactly one of the largest group, with all gates 1 it reaches every map of the smallest, and (with one gate for all nodes) the
    squared distance from the largest is sum_j gate_j^2 ||increment_j||^2. Biases, one per node orbit of each group, have
    increments and gates in the same way. In linear regression the best gates are known:
    ``gnet.theory.optimal_shrinkage(...).factors``, in the same order; from data alone, of any net, ``bootstrap_gates`` has them.

    Each level costs its ``EquivariantLinear`` and a reading of its weights; those of the smallest group are applied once.

    Args:
        groups: nested, smallest first; one group stands for the chain from the trivial group to it.
        gates: "learned" (a sigmoid of trained logits), or fixed numbers in [0, 1], one for each group but the largest: gate j
            is that of what G_j has beyond G_(j+1).
        node_wise: gates of each receiving node, one per node orbit of the smallest group, to which the layer stays equivariant.
        l1: weight of the penalty, the sum of the gates (of their means over nodes).
        start: where learned gates start, in [0, 1]; one number, or one for each. Exactly 0 and 1 have no gradient and stay.
        bias, parametrization, init, gain, rho: as in ``EquivariantLinear``. Every level starts with the same share of the output
            variance ``gain``, times its gate squared.

    Shapes:
        x: (*, N, C)    returns: (*, N, C')

    Raises:
        GroupError: groups that are not nested.
        ConfigError: gates outside [0, 1], or another number of them.

    References:
        The increments are those of shrinkage along a chain of groups, ``gnet.theory.optimal_shrinkage``. Huang, Levie and Villar
        (2023), arXiv:2308.10436, for the chain.

    Example:
        >>> layer = ChainGates([TrivialGroup(3), ClusterGroup(Partition([0, 0, 1])), SymmetricGroup(3)], 2, 5)
        >>> layer
        ChainGates(2 -> 5 | S1 x S1 x S1 < S2 x S1 < S3 | gates 0.5, 0.5 | 9 + 5 + 2 weights per channel pair)
        >>> layer(torch.randn(7, 3, 2)).shape
        torch.Size([7, 3, 5])
        >>> layer.set_gates([0.0, 0.25])
        >>> layer.gates()
        tensor([0.0000, 0.2500], grad_fn=<SigmoidBackward0>)
    """

    logits: nn.Parameter | None
    fixed: Tensor
    node_rows: Tensor

    def __init__(
        self,
        groups: NodeGroup | Sequence[NodeGroup],
        in_channels: int,
        out_channels: int,
        *,
        gates: Literal["learned"] | Sequence[float] = "learned",
        node_wise: bool = False,
        l1: float = 0.0,
        start: float | Sequence[float] = 0.5,
        bias: Bias | None = "orbit",
        parametrization: Parametrization = "canonical",
        init: Init = "white",
        gain: float = 1.0,
        rho: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        chain = [TrivialGroup(groups.degree), groups] if isinstance(groups, NodeGroup) else list(groups)
        if len(chain) < 2:
            raise ConfigError(f"expected a chain of at least two groups, got {len(chain)}; one group alone is EquivariantLinear")
        super().__init__(chain[-1], in_channels, out_channels, None)
        check_at_least(0.0, l1=l1)
        is_learned = isinstance(gates, str)
        if is_learned and gates != "learned":
            raise ConfigError(f"expected gates 'learned' or numbers in [0, 1], got {gates!r}")
        self.node_wise, self.l1, self.start, self.bias_kind = node_wise, l1, start, bias
        options: dict[str, Any] = {"parametrization": parametrization, "init": init, "gain": gain, "rho": rho}
        own_bias: Bias | None = "orbit" if bias == "orbit" else None
        kinds = [own_bias] * (len(chain) - 1) + [bias]
        self.levels = nn.ModuleList(
            EquivariantLinear(group, in_channels, out_channels, bias=kind, generator=generator, **options)
            for group, kind in zip(chain, kinds, strict=True)
        )
        node_orbits = [group.node_orbits() for group in chain]
        names = [group.name for group in chain]
        self.pairs, self.nodes = Tower([level.orbits for level in self._levels], names), Tower(node_orbits, names)
        self.maps = nn.ModuleList(OrbitMap(level.orbits) for level in self._levels[1:])
        self.register_buffer("node_rows", node_orbits[0].labels, persistent=False)
        shape = (len(chain) - 1, node_orbits[0].num_clusters)[: 1 + node_wise]
        self.register_parameter("logits", nn.Parameter(torch.zeros(shape)) if is_learned else None)
        self.register_buffer("fixed", None if is_learned else torch.zeros(shape))
        self.set_gates(start if is_learned else gates)  # type: ignore[arg-type]
        self._share_out()

    @property
    def _levels(self) -> list[EquivariantLinear]:
        return list(self.levels)  # type: ignore[arg-type]

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw every level anew; learned gates go back to where they started."""
        for level in self._levels:
            level.reset_parameters(generator)
        if self.logits is not None:
            self.set_gates(self.start)
        self._share_out()

    @torch.no_grad()
    def _share_out(self) -> None:
        """Scale the levels such that each increment is as large as its level was drawn, and their sum has the gain."""
        values = [level.weight.coefficients() for level in self._levels]
        whole = [square_norm(value, level.orbits.orbit_sizes) for value, level in zip(values, self._levels, strict=True)]
        kept = [*self.pairs.squares(self.pairs.increments(values)), whole[-1]]
        share = 1 / (1 + float(self.gates().square().reshape(len(values) - 1, -1).mean(1).sum()))
        for level, before, after in zip(self._levels, whole, kept, strict=True):
            if after > 1e-6 * before:  # of equal groups nothing is left to scale
                for weight in level.weight.parameters():
                    weight.mul_((share * before / after).sqrt())

    @property
    def num_weights(self) -> int:
        """Those of all levels, and the learned gates."""
        return sum(level.num_weights for level in self._levels) + (0 if self.logits is None else self.logits.numel())

    def gates(self) -> Tensor:
        """The gate of each increment, (J,); ``node_wise`` of each node, (J, N)."""
        gates = self.fixed if self.logits is None else torch.sigmoid(self.logits)
        return gates.index_select(1, self.node_rows) if self.node_wise else gates

    @torch.no_grad()
    def set_gates(self, values: float | Sequence[float] | Tensor) -> None:
        """Set all gates: one number, J numbers, or with ``node_wise`` (J, node orbits of the smallest group).

        Raises:
            ConfigError: numbers outside [0, 1], or not as many as there are gates.
        """
        gates = self.fixed if self.logits is None else self.logits
        given = torch.as_tensor(values, dtype=gates.dtype, device=gates.device)
        given = given[:, None] if self.node_wise and given.ndim == 1 else given
        if given.shape not in ((), gates.shape, (*gates.shape[:1], 1)[: gates.ndim]):
            raise ConfigError(f"expected {self._told(gates)}, got {tuple(given.shape)}; one number stands for all")
        if not bool(((given >= 0) & (given <= 1)).all()):
            raise ConfigError(f"expected gates in [0, 1], got {given.flatten().tolist()}")
        if self.logits is not None:
            given = torch.logit(given).nan_to_num(posinf=SATURATED, neginf=-SATURATED)
        gates.copy_(given.expand(gates.shape))

    def _told(self, gates: Tensor) -> str:
        """Which gate is which."""
        if self.node_wise:
            return f"gates of shape {tuple(gates.shape)}, or {(len(gates),)}"
        names = [level.group.name for level in self._levels]
        steps = ", ".join(f"gate {place} from {larger} to {smaller}" for place, (smaller, larger) in enumerate(pairwise(names)))
        return f"{len(gates)} gate{'s' if len(gates) > 1 else ''} ({steps})"

    def increments(self) -> list[Tensor]:
        """The values of each increment on the pair orbits of its own group, (count, C', C) each, and W_J last."""
        return self.pairs.increments([level.weight.coefficients() for level in self._levels])

    def bias_increments(self) -> list[Tensor]:
        """The same of the biases on node orbits; empty where there is one bias for all nodes, or none."""
        if self.bias_kind != "orbit":
            return []
        return self.nodes.increments([cast(Tensor, level.bias) for level in self._levels])

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map, level by level: what a level loses by its gate and by the mean is taken off as a map of the next one."""
        self.check_input(x)
        levels = self._levels
        y = levels[0](x)
        gates = self.gates().to(y.dtype)  # rounded alike wherever they multiply, so that means cancel
        gates = torch.cat([gates, gates.new_ones(1, *gates.shape[1:])])  # of the largest group, which has none
        per_node = gates.unsqueeze(-1) if self.node_wise else gates
        y = per_node[0] * y
        for place, level in enumerate(levels[1:], 1):
            mean, bias = self.pairs.step(place - 1).mean_of(levels[place - 1].weight), self._mean_bias(place)
            apply = self.maps[place - 1]
            if self.node_wise:
                y = y + per_node[place] * level(x) - per_node[place - 1] * apply(x, mean, bias)
                continue
            before, gate, own_bias = gates[place - 1], gates[place], level.bias_of_places()
            if own_bias is not None:
                own_bias = gate * own_bias if bias is None else gate * own_bias - before * bias
            y = y + apply(x, gate * level.weight.coefficients() - before * mean, own_bias)
        return y

    def _mean_bias(self, place: int) -> Tensor | None:
        """The mean of the bias of the level before, at the places of this level; None if that has no bias."""
        before = self._levels[place - 1].bias
        rows = self._levels[place].bias_rows
        return None if before is None else self.nodes.step(place - 1).mean(before).index_select(0, rows)

    def dense(self) -> Tensor:
        """The explicit weight, (N, C', N, C), receiver first: for tests and for looking at."""
        *parts, last = (level.orbits.matrix(part) for level, part in zip(self._levels, self.increments(), strict=True))
        return last + sum(gate.reshape(-1, 1, 1, 1) * part for gate, part in zip(self.gates(), parts, strict=True))

    def dense_bias(self) -> Tensor | None:
        """The bias of each node, (N, C'), or None."""
        last, biases = self._levels[-1].dense_bias(), self.bias_increments()[:-1]
        labels = [level.group.node_orbits().labels.to(self.node_rows.device) for level in self._levels]
        for gate, bias, rows in zip(self.gates(), biases, labels, strict=False):
            last = cast(Tensor, last) + gate.reshape(-1, 1) * bias.index_select(0, rows)
        return last

    def broken(self) -> Tensor:
        """sum_j gate_j^2 ||increment_j||^2, from the values on pair orbits; with ``node_wise`` gates from the explicit map."""
        if self.node_wise:
            return super().broken()
        squares, biases = self.pairs.squares(self.increments()), self.bias_increments()
        squares = squares + self.nodes.squares(biases) if biases else squares
        return (self.gates().square() * squares).sum()

    def square(self) -> Tensor:
        """||W||^2 + ||b||^2."""
        if self.node_wise:
            return super().square()
        last = self._levels[-1]
        bias, sizes = last.dense_bias(), last.orbits.orbit_sizes.to(self.node_rows.device)
        kept = square_norm(last.weight.coefficients(), sizes)
        return self.broken() + kept + (0.0 if bias is None else bias.square().sum())

    def penalty(self) -> Tensor:
        """``l1`` times the sum of the gates, of their means over the nodes."""
        return self.l1 * self.gates().reshape(len(self.levels) - 1, -1).mean(1).sum() if self.l1 else self._nothing()

    def __repr__(self) -> str:
        groups = " < ".join(level.group.name for level in self._levels)
        counts = " + ".join(str(level.orbits.count) for level in self._levels)
        gates = ", ".join(f"{gate:.3g}" for gate in self.gates().detach().reshape(len(self.levels) - 1, -1).mean(1).tolist())
        gates = f"{'mean gates' if self.node_wise else 'gates'} {gates}"
        return f"ChainGates({self.in_channels} -> {self.out_channels} | {groups} | {gates} | {counts} weights per channel pair)"
