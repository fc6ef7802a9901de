"""Forecasts on a graph: a gated recurrent unit whose candidate state diffuses along the edges, with weights for each cluster."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from gnet.counts import check_count
from gnet.errors import ConfigError, GroupError, ShapeError
from gnet.groups.base import NodeGroup
from gnet.nn.checks import check_placement, refuse_graph, signals_of
from gnet.nn.diffusion import Diffusion
from gnet.nn.weights import Start


class Weights(NamedTuple):
    """The numbers of one cell, made ready for a whole sequence: candidates for every node, once and not at every step."""

    gates: Tensor
    gates_bias: Tensor
    candidate: Tensor
    candidate_bias: Tensor


class DiffusionGRUCell(nn.Module):
    """One step of a gated recurrent unit on a graph, with candidate weights of each node orbit of a group.

        [r, u] = sigmoid([x, h] W + b),    c_i = tanh(diffusion([x, r h])_i W_a(i) + b_a(i)),    h' = u h + (1 - u) c

    The gates are the same for all nodes. The cell is exactly equivariant to those automorphisms of the graph that keep every
    orbit, approximately to the group.

    Args:
        data: the graph, ``edge_index`` senders first and perhaps ``edge_weight``; self-loops count as they stand.
        released: as the published code does (by mistake): one weight for all orbits, trained by the first alone. The biases are
            those of each orbit.
        beside: further groups, whose orbits add weights of their own: W_a(i) = sum over all groups of that of i's orbit. They
            start at zero, so that the cell starts as that of ``group``.

    Shapes:
        x: (N, B, C)    h: (N, B, U)    returns: (N, B, U)

    References:
        Li, Yu, Shahabi and Liu (2018), arXiv:1707.01926, for the cell. Huang, Levie and Villar (2023), arXiv:2308.10436, for
        weights of each cluster.

    Example:
        >>> ring = Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 0]]), num_nodes=3)
        >>> cell = DiffusionGRUCell(SymmetricGroup(3), 2, 8, ring)
        >>> cell(torch.zeros(3, 5, 2), torch.zeros(3, 5, 8)).shape
        torch.Size([3, 5, 8])
    """

    labels: Tensor

    def __init__(
        self,
        group: NodeGroup,
        in_channels: int,
        hidden_channels: int,
        data: Data,
        *,
        num_steps: int = 1,
        released: bool = False,
        beside: Sequence[NodeGroup] = (),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_count(in_channels=in_channels, hidden_channels=hidden_channels)
        _check_beside(group, beside, released)
        if data.num_nodes != group.degree:
            raise ConfigError(f"expected a graph of {group.degree} nodes, as the group has, got {data.num_nodes}")
        self.group, self.in_channels, self.hidden_channels = group, in_channels, hidden_channels
        self.released, self.diffusion = released, Diffusion(data, num_steps)
        orbits = group.node_orbits()
        self.num_orbits = orbits.num_clusters
        both = in_channels + hidden_channels
        self.gates = nn.Parameter(torch.empty(both, 2 * hidden_channels))
        self.gates_bias = nn.Parameter(torch.empty(2 * hidden_channels))
        num_weights = 1 if released else self.num_orbits
        self.candidate = nn.Parameter(torch.empty(num_weights, self.diffusion.num_parts * both, hidden_channels))
        self.candidate_bias = nn.Parameter(torch.empty(self.num_orbits, hidden_channels))
        self.register_buffer("labels", orbits.labels, persistent=False)
        self.beside = nn.ModuleList(_Increment(other, self.candidate.shape[1], hidden_channels) for other in beside)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Xavier's normal weights; gates with bias 1, which keep the state at first, candidates with bias 0."""
        start = Start("white", 1.0, 0.5, generator)
        for weight in (self.gates, self.candidate):
            start.normal_(weight, torch.tensor(math.sqrt(2 / (weight.shape[-2] + weight.shape[-1]))))
        with torch.no_grad():
            self.gates_bias.fill_(1.0)
            self.candidate_bias.zero_()
        for increment in self.beside:
            cast(_Increment, increment).reset_parameters()

    def weights(self) -> Weights:
        """What ``step`` needs; made once for a sequence, so that each orbit's gradient is summed up once."""
        if self.released:
            first = self.candidate.expand(self.group.degree, -1, -1)
            mine = (self.labels == 0)[:, None, None]
            candidate = torch.where(mine, first, first.detach())
        elif self.num_orbits == 1:
            candidate = self.candidate
        else:
            candidate = self.candidate.index_select(0, self.labels)
        bias = self.candidate_bias.index_select(0, self.labels)
        for increment in self.beside:
            weight, own = increment()
            candidate, bias = candidate + weight, bias + own
        return Weights(self.gates, self.gates_bias, candidate, bias[:, None])

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """One step."""
        for name, given, channels in (("x", x, self.in_channels), ("h", h, self.hidden_channels)):
            if given.ndim != 3 or given.shape != (self.group.degree, x.shape[1], channels):
                raise ShapeError(
                    f"expected x of shape ({self.group.degree}, B, {self.in_channels}) and h of shape "
                    f"({self.group.degree}, B, {self.hidden_channels}), nodes first, got {tuple(x.shape)} and {tuple(h.shape)}"
                )
            check_placement(given, self.gates, name)
        weights = self.weights()
        return self.step(self.diffusion(x), self.gates_of(x, weights), h, weights)

    def gates_of(self, x: Tensor, weights: Weights) -> Tensor:
        """What the input adds to both gates before the sigmoid, (*, 2 U), which does not depend on the state."""
        return F.linear(x, weights.gates[: self.in_channels].t(), weights.gates_bias)

    def step(self, spread_x: Tensor, gates_x: Tensor, h: Tensor, weights: Weights) -> Tensor:
        """One step with the diffused input (N, B, parts C), and its part of the gates, at hand."""
        gates = gates_x + F.linear(h, weights.gates[self.in_channels :].t())
        reset, update = gates.sigmoid().chunk(2, -1)
        seen = torch.cat([spread_x, self.diffusion(reset * h)], -1)
        if len(weights.candidate) == 1:
            candidate = F.linear(seen, weights.candidate[0].t()) + weights.candidate_bias
        else:
            candidate = torch.baddbmm(weights.candidate_bias.to(seen.dtype), seen, weights.candidate.to(seen.dtype))
        return update * h + (1 - update) * candidate.tanh()

    def extra_repr(self) -> str:
        """Channels and orbits."""
        counts = [self.num_orbits, *(len(each.weight) for each in self.beside)]  # type: ignore[arg-type]
        return f"{self.in_channels} -> {self.hidden_channels} | {' + '.join(map(str, counts))} candidate weights"


class _Increment(nn.Module):
    """What the orbits of one more group add to candidate weights and biases; zero at the start."""

    labels: Tensor

    def __init__(self, group: NodeGroup, rows: int, channels: int) -> None:
        super().__init__()
        orbits = group.node_orbits()
        self.weight = nn.Parameter(torch.empty(orbits.num_clusters, rows, channels))
        self.bias = nn.Parameter(torch.empty(orbits.num_clusters, channels))
        self.register_buffer("labels", orbits.labels, persistent=False)

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.weight.zero_()
            self.bias.zero_()

    def forward(self) -> tuple[Tensor, Tensor]:
        """Of every node: (N, rows, channels) and (N, channels)."""
        return self.weight.index_select(0, self.labels), self.bias.index_select(0, self.labels)


class GNetGRU(nn.Module):
    """Encoder and decoder of diffusion cells: reads the last steps of every node, writes the next ones.

    The encoder starts from h = 0. The decoder starts from a zero input and then reads its own last output; in training, where
    the truth is given, it reads the truth instead with probability tau / (tau + exp(i / tau)) after i batches (scheduled
    sampling), one coin for each step and batch. Coins come from torch's global generator.

    Args:
        group: nodes of one orbit share their candidate weights: S_N one weight, a cluster group one for each cluster.
        in_channels: channels of one step.
        out_channels: channels of one step of the forecast.
        horizon_in, horizon_out: steps read and written.
        edge_index, edge_weight: the graph, senders first.
        data: the same as one object, which holds its weights, ``data.edge_weight``.
        num_layers: cells on top of each other.
        num_steps: of the diffusion.
        sampling_decay: tau; None never shows the truth.
        released, beside: see ``DiffusionGRUCell``.

    Shapes:
        x: (*, N, horizon_in C), step by step    truth: (*, N, horizon_out C') or None    returns: (*, N, horizon_out C')
        or PyG's flat (B * N, ...) in place of (*, N, ...), which comes back flat

    Raises:
        ShapeError: x or the truth of another shape, dtype or device, or a truth for other windows than those of x.
        ConfigError: no graph, or two; weights beside ``data``; numbers that are not whole; edges where the net is called.
        GraphError: impossible edges, or weights that are negligible beside others of the same node.

    References:
        Li, Yu, Shahabi and Liu (2018), arXiv:1707.01926. Bengio et al. (2015), arXiv:1506.03099, on scheduled sampling.

    Example:
        >>> ring = Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 0]]), num_nodes=3)
        >>> group = ClusterGroup(Partition([0, 0, 1]))
        >>> net = GNetGRU(group, 2, 8, 1, horizon_in=3, horizon_out=4, edge_index=ring.edge_index)
        >>> net(torch.zeros(5, 3, 3 * 2)).shape
        torch.Size([5, 3, 4])
    """

    batches_seen: Tensor

    def __init__(
        self,
        group: NodeGroup,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        *,
        horizon_in: int,
        horizon_out: int,
        edge_index: Tensor | None = None,
        edge_weight: Tensor | None = None,
        data: Data | None = None,
        num_layers: int = 1,
        num_steps: int = 1,
        sampling_decay: float | None = 2000.0,
        released: bool = False,
        beside: Sequence[NodeGroup] = (),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_count(in_channels=in_channels, hidden_channels=hidden_channels, out_channels=out_channels)
        check_count(horizon_in=horizon_in, horizon_out=horizon_out, num_layers=num_layers)
        if sampling_decay is not None and not (isinstance(sampling_decay, int | float) and sampling_decay > 0):
            raise ConfigError(f"expected sampling_decay > 0, or None, got {sampling_decay!r}")
        graph = _graph_of(data, edge_index, edge_weight, group.degree)
        self.group, self.in_channels, self.out_channels = group, in_channels * horizon_in, out_channels * horizon_out
        self.horizon_in, self.horizon_out, self.sampling_decay = horizon_in, horizon_out, sampling_decay
        options: dict[str, Any] = {"num_steps": num_steps, "released": released, "beside": beside, "generator": generator}

        def cells(channels: int) -> nn.ModuleList:
            widths = [channels, *[hidden_channels] * (num_layers - 1)]
            return nn.ModuleList(DiffusionGRUCell(group, width, hidden_channels, graph, **options) for width in widths)

        self.encoder, self.decoder = cells(in_channels), cells(out_channels)
        self.readout = nn.Parameter(torch.empty(out_channels, hidden_channels))
        self.readout_bias = nn.Parameter(torch.empty(out_channels))
        self.register_buffer("batches_seen", torch.zeros((), dtype=torch.long))
        self._reset_readout(generator)

    def _reset_readout(self, generator: torch.Generator | None) -> None:
        start = Start("white", 1.0, 0.5, generator)
        start.normal_(self.readout, torch.tensor(math.sqrt(2 / sum(self.readout.shape))))
        start.uniform_(self.readout_bias, 0.0)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew and forget how many batches were seen."""
        for cell in [*_cells(self.encoder), *_cells(self.decoder)]:
            cell.reset_parameters(generator)
        self._reset_readout(generator)
        self.batches_seen.zero_()

    @property
    def num_weights(self) -> int:
        """Trained scalars that multiply something: all but the biases."""
        return sum(p.numel() for name, p in self.named_parameters() if "bias" not in name)

    @property
    def num_parameters(self) -> int:
        """Trained scalars of the whole net."""
        return sum(p.numel() for p in self.parameters())

    def extra_repr(self) -> str:
        """Group, steps and channels of each, and when the truth stops being shown."""
        steps, channels = (self.horizon_in, self.horizon_out), (self.in_channels, self.out_channels)
        seen, made = (f"{each} x {many // each}" for each, many in zip(steps, channels, strict=True))
        shown = "" if self.sampling_decay is None else f", sampling_decay={self.sampling_decay:g}"
        return f"{self.group}, {seen} -> {made}{shown} | {self.num_weights} weights"

    @property
    def teacher_probability(self) -> float:
        """How likely the decoder is shown the truth now."""
        if self.sampling_decay is None:
            return 0.0
        # e^x / (e^x + ...) turned round, which does not overflow.
        return 1 / (1 + math.exp(min(int(self.batches_seen) / self.sampling_decay, 700.0)) / self.sampling_decay)

    def forward(self, x: Tensor, truth: Tensor | None = None, *, edge_index: object = None, edge_weight: object = None) -> Tensor:
        """Forecast; edges are refused here, since the net has its graph."""
        num_nodes = self.group.degree
        refuse_graph(edge_index, edge_weight, truth if truth is not None and not truth.is_floating_point() else None)
        x, flat = self._checked("x", x, self.in_channels, self.horizon_in)
        check_placement(x, self.readout)
        batch = x.shape[:-2]
        if truth is not None:
            truth = self._checked_truth(truth, batch)
        steps = _by_step(x, self.horizon_in)  # (T, N, B, C)
        states = self._encode(steps)
        shown = None if truth is None or not self.training else _by_step(truth, self.horizon_out)
        y = self._decode(states, shown)  # (T, N, B, C')
        if shown is not None and y.numel():  # an empty batch teaches nothing
            self.batches_seen += 1
        y = y.permute(2, 1, 0, 3).reshape(*batch, num_nodes, self.out_channels)
        return y.flatten(0, 1) if flat else y

    def _checked_truth(self, truth: Tensor, batch: torch.Size) -> Tensor:
        """The truth as (*, N, horizon_out C'), checked whether a coin will show it or not."""
        signals, _ = self._checked("truth", truth, self.out_channels, self.horizon_out)
        if signals.shape[:-2] != batch:
            expected = (*batch, self.group.degree, self.out_channels)
            raise ShapeError(f"expected the truth of the windows of x, {expected}, got {tuple(truth.shape)}")
        check_placement(signals, self.readout, "truth")
        return signals

    def _checked(self, name: str, given: Tensor, channels: int, steps: int) -> tuple[Tensor, bool]:
        """The signals as (*, N, channels), and whether they came flat."""
        signals, flat = signals_of(given, self.group.degree)
        if signals.ndim < 2 or signals.shape[-2:] != (self.group.degree, channels):
            hint = ""
            if signals.ndim > 2 and signals.shape[-3:] == (steps, self.group.degree, channels // steps):
                hint = f"; the steps belong in the channels: {name}.transpose(-3, -2).flatten(-2)"
            raise ShapeError(f"expected {name} of shape (*, {self.group.degree}, {channels}), got {tuple(given.shape)}{hint}")
        return signals, flat

    def _encode(self, steps: Tensor) -> list[Tensor]:
        states = []
        for cell in _cells(self.encoder):
            weights, state = cell.weights(), steps.new_zeros(*steps.shape[1:3], cell.hidden_channels)
            seen = steps.transpose(0, 1).flatten(1, 2)  # the diffusion of the inputs, for all steps at once
            spreads = cell.diffusion(seen).unflatten(1, steps.shape[0:3:2]).transpose(0, 1)
            outputs = []
            for spread_x, gates_x in zip(spreads, cell.gates_of(steps, weights), strict=True):
                state = cell.step(spread_x, gates_x, state, weights)
                outputs.append(state)
            steps = torch.stack(outputs)
            states.append(state)
        return states

    def _decode(self, states: list[Tensor], truth: Tensor | None) -> Tensor:
        channels = self.readout.shape[0]
        weights = [cell.weights() for cell in _cells(self.decoder)]
        given = states[0].new_zeros(*states[0].shape[:2], channels)  # the zero GO symbol
        outputs: list[Tensor] = []
        shown = [False] * self.horizon_out if truth is None else self._coins()
        for step in range(self.horizon_out):
            if outputs:
                given = truth[step - 1] if truth is not None and shown[step] else outputs[-1]
            state = given
            for number, (cell, ready) in enumerate(zip(_cells(self.decoder), weights, strict=True)):
                gates_x = cell.gates_of(state, ready)
                states[number] = state = cell.step(cell.diffusion(state), gates_x, states[number], ready)
            outputs.append(F.linear(state, self.readout, self.readout_bias))
        return torch.stack(outputs)

    def _coins(self) -> list[bool]:
        """Whether each step of the decoder is shown the truth of the one before, drawn once for the batch; the first has none."""
        probability = self.teacher_probability  # read once: on a GPU the host waits for it
        return [False, *(coin < probability for coin in torch.rand(self.horizon_out - 1).tolist())]


def _graph_of(data: Data | None, edge_index: Tensor | None, edge_weight: Tensor | None, num_nodes: int) -> Data:
    if data is not None and edge_index is None and edge_weight is not None:
        raise ConfigError(
            "the weights of data=data are data.edge_weight, so edge_weight= would not be read: set data.edge_weight, "
            "or give edge_index=data.edge_index with edge_weight="
        )
    if (data is None) == (edge_index is None):
        got = "neither" if data is None else "both"
        raise ConfigError(f"expected the graph as edge_index=data.edge_index (and edge_weight=), or as data=data, got {got}")
    return Data(edge_index=edge_index, edge_weight=edge_weight, num_nodes=num_nodes) if data is None else data


def _check_beside(group: NodeGroup, beside: Sequence[NodeGroup], released: bool) -> None:
    for other in beside:
        if other.degree != group.degree:
            raise GroupError(f"expected groups on the same {group.degree} nodes, got {other.name} on {other.degree}")
    if released and beside:
        raise ConfigError("released=True is the published code, which has one group; leave beside out, or released")


def _cells(cells: nn.ModuleList) -> list[DiffusionGRUCell]:
    return cast(list[DiffusionGRUCell], list(cells))


def _by_step(x: Tensor, num_steps: int) -> Tensor:
    """(*, N, T C) -> (T, N, B, C)."""
    flat = x.reshape(math.prod(x.shape[:-2]), x.shape[-2], num_steps, x.shape[-1] // num_steps)
    return flat.permute(2, 1, 0, 3).contiguous()
