"""Clusters that nodes belong to in part: learned with the weights, hardened into a partition by the temperature."""

import math
from typing import cast, get_args

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from gnet.counts import is_integer
from gnet.errors import ConfigError, ShapeError
from gnet.graphs.edges import checked_edges
from gnet.graphs.partition import Partition
from gnet.groups.base import NodeGroup
from gnet.groups.cluster import ClusterGroup
from gnet.kernels.segments import segment_sum
from gnet.nn.base import Bias
from gnet.nn.checks import check_choice
from gnet.nn.linear import EquivariantLinear
from gnet.nn.relaxed.base import ApproximateLinear, check_at_least
from gnet.nn.weights import ALPHA, Init, Start
from gnet.orbits import Blocks

CONFIDENCE = 0.9
"""Share of a node in its own cluster where the clusters start from a partition."""
LEAST = 1e-6
"""Clusters in which all nodes together have a smaller share fade out, with finite gradients."""


class SoftClusters(ApproximateLinear):
    """``y_i = sum_l C_il (A_l x_i + sum_m B_lm mean_m(x) + b_l)``, with node i in cluster l to the share C_il.

    C = softmax(logits / temperature) has rows that sum to one; mean_m(x) = sum_i C_im x_i / sum_i C_im. One-hot rows give the
    pooled form of the partition exactly. Towards temperature 0 they are one-hot; ``harden`` makes the layer of that partition.
    ``broken`` and ``equivariance_error`` are about the partition that each node's largest share names now (``partition``).

    The penalty, by which ``edge_index`` has a say,

        entropy * mean_i (-sum_l C_il log C_il) + coarsening * ||A - C A' C^T||^2,    A' = C_bar^T A C_bar, C_bar = C / sum_i C_i

    sums over the edges and k x k matrices, O(E k + N k^2).

    Args:
        temperature: a buffer at this value at first; ``gnet.training.Anneal`` moves it during a fit.
        logits: (N, k); or a partition into k clusters, to which each node then belongs to the share ``CONFIDENCE``; None draws
            them from a normal distribution.
        entropy, coarsening: weights of the penalty.
        edge_index, edge_weight: the graph A, senders first; needed for ``coarsening``.
        bias: one vector per cluster ("orbit"), one for all ("shared"), or None.
        init, gain, rho: as in ``EquivariantLinear``; the gain is that of the clusters the layer starts with, as soft as they are.

    Shapes:
        x: (*, N, C)    returns: (*, N, C')

    Raises:
        ShapeError: logits of another shape.
        ConfigError: a temperature <= 0, a negative weight, more clusters than nodes, or ``coarsening`` without edges.

    References:
        Ying et al. (2018), arXiv:1806.08804, for soft assignments with both regularisers. Huang, Levie and Villar (2023),
        arXiv:2308.10436, for the pooled form they soften.

    Example:
        >>> layer = SoftClusters(6, 3, 2, 5, logits=Partition([0, 0, 0, 1, 1, 2]))
        >>> layer
        SoftClusters(2 -> 5 | 6 nodes in 3 soft clusters at temperature 1 | 12 weights per channel pair and 18 logits)
        >>> _ = layer.temperature.fill_(0.01)
        >>> x = torch.randn(7, 6, 2)
        >>> torch.allclose(layer.harden()(x), layer(x), atol=1e-6)
        True
    """

    temperature: Tensor
    senders: Tensor
    receivers: Tensor
    edge_weight: Tensor

    def __init__(
        self,
        num_nodes: int,
        num_clusters: int,
        in_channels: int,
        out_channels: int,
        *,
        temperature: float = 1.0,
        logits: Tensor | Partition | None = None,
        entropy: float = 0.0,
        coarsening: float = 0.0,
        edge_index: Tensor | None = None,
        edge_weight: Tensor | None = None,
        bias: Bias | None = "orbit",
        init: Init = "white",
        gain: float = 1.0,
        rho: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        if not 0 < temperature < math.inf:
            raise ConfigError(f"expected a temperature > 0, got {temperature}; it must be finite, too")
        check_choice("bias", bias, (*get_args(Bias), None))
        if not is_integer(num_clusters):
            raise ConfigError(f"expected num_clusters as a whole number, got {num_clusters!r}")
        if not 1 <= num_clusters <= num_nodes:
            raise ConfigError(f"expected between one cluster and one per node, got {num_clusters} for {num_nodes} nodes")
        check_at_least(0.0, entropy=entropy, coarsening=coarsening)
        if coarsening > 0 and edge_index is None:
            raise ConfigError("coarsening compares with a graph; give edge_index=data.edge_index, or coarsening=0")
        starting = _starting_logits(num_nodes, num_clusters, temperature, logits, generator)
        super().__init__(ClusterGroup(Partition(starting.argmax(1))), in_channels, out_channels, None)
        self.num_clusters, self.entropy, self.coarsening = num_clusters, entropy, coarsening
        self.init, self.gain, self.rho, self.bias_kind = init, gain, rho, bias
        self.register_buffer("temperature", torch.tensor(float(temperature)))
        self.logits = nn.Parameter(starting)
        self.own = nn.Parameter(torch.empty(num_clusters, out_channels, in_channels))
        self.mix = nn.Parameter(torch.empty(num_clusters, out_channels, num_clusters, in_channels))
        rows = {"orbit": num_clusters, "shared": 1, None: 0}[bias]
        self.register_parameter("bias", nn.Parameter(torch.empty(rows, out_channels)) if rows else None)
        for name, tensor in _merged_edges(edge_index, edge_weight, num_nodes).items():
            self.register_buffer(name, tensor, persistent=False)
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew; the logits stay."""
        start = Start(self.init, self.gain, self.rho, generator)
        if start.rule in ("reference", "fan_in"):
            raise ConfigError(f"init={start.rule!r} is made for clusters that are no longer soft; use 'white' or 'correlated'")
        shares, d, k = self.shares().cpu(), self.in_channels, self.num_clusters
        second = shares.square().sum(0) / shares.sum(0).square().clamp(min=1e-12)  # E mean^2 of white inputs, (k,)
        second = second if start.rule == "white" else start.rho + (1 - start.rho) * second
        gain = start.gain / float(shares.square().sum(1).mean())  # a node hears a mean over clusters
        start.normal_(self.own, torch.tensor(math.sqrt(ALPHA * gain / d)))
        start.normal_(self.mix, torch.sqrt((1 - ALPHA) * gain / (d * k * second.clamp(min=1e-12)))[:, None])
        start.uniform_(self.bias, 0.0) if self.bias is not None else None

    @property
    def num_weights(self) -> int:
        """(k + k^2) C C' and the logits."""
        return self.own.numel() + self.mix.numel() + self.logits.numel()

    @property
    def partition(self) -> Partition:
        """The partition that each node's largest share names now; clusters that no node is in most of all are left out."""
        return Partition(torch.unique(self.logits.detach().argmax(1).cpu(), return_inverse=True)[1])

    @property
    def reference(self) -> NodeGroup:
        """The group of ``partition``."""
        return ClusterGroup(self.partition)

    def _log_shares(self) -> Tensor:
        """In float32 at least; a temperature of 0 counts as 1e-6."""
        wide = torch.promote_types(self.logits.dtype, torch.float32)
        return torch.log_softmax(self.logits.to(wide) / self.temperature.to(wide).clamp(min=1e-6), 1)

    def shares(self) -> Tensor:
        """C, (N, k): rows sum to one."""
        return self._log_shares().exp()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        self.check_input(x)
        shares = self.shares()
        means = _within(shares).to(x.dtype).t() @ x  # (*, k, C)
        shares = shares.to(x.dtype)
        mixed = means.flatten(-2) @ self.mix.flatten(2).flatten(0, 1).to(x.dtype).t()
        mixed = mixed.unflatten(-1, (self.num_clusters, self.out_channels))  # (*, k, C')
        mixed = mixed if self.bias is None else mixed + self.bias.to(mixed.dtype)
        own = torch.einsum("nk,koi->noi", shares, self.own.to(x.dtype))  # of each node
        return torch.einsum("noi,...ni->...no", own, x) + shares @ mixed

    def dense(self) -> Tensor:
        """The explicit weight, (N, C', N, C), receiver first: for tests and for looking at."""
        shares = self.shares().to(self.own.dtype)
        between = torch.einsum("nk,kolp,ml->nomp", shares, self.mix, _within(shares))
        same = torch.eye(len(shares), dtype=shares.dtype, device=shares.device)[:, None, :, None]
        return between + same * torch.einsum("nk,kop->nop", shares, self.own)[:, :, None]

    def dense_bias(self) -> Tensor | None:
        """The bias of each node, (N, C'), or None."""
        return None if self.bias is None else self.shares().to(self.bias) @ self.bias.expand(self.num_clusters, -1)

    @torch.no_grad()
    def harden(self) -> EquivariantLinear:
        """The layer of ``partition``, with the same A, B and b: where the shares are one-hot it is the same map."""
        used, labels = torch.unique(self.logits.argmax(1).cpu(), return_inverse=True)
        group = ClusterGroup(Partition(labels, len(used)))
        unused = torch.Generator().manual_seed(0)  # of a start that is overwritten
        layer = EquivariantLinear(group, self.in_channels, self.out_channels, bias=self.bias_kind, generator=unused).to(self.own)
        sizes = group.partition.sizes.to(self.mix)
        between = self.mix[used][:, :, used].permute(0, 2, 1, 3) / sizes[None, :, None, None]
        orbits = cast(Blocks, layer.orbits)
        values = between.new_zeros(orbits.count, self.out_channels, self.in_channels)
        values[orbits.pair_ids] = between
        values[orbits.own_ids] = between.diagonal().permute(2, 0, 1) + self.own[used]
        layer.weight.set_coefficients(values)
        if self.bias is not None and layer.bias is not None:
            layer.bias.copy_(self.bias if len(self.bias) == 1 and len(layer.bias) == 1 else self.bias[used])
        return layer

    def penalty(self) -> Tensor:
        """Entropy of the shares and coarsening error of the graph, with their weights."""
        total = self._nothing()
        if self.entropy:
            logs = self._log_shares()
            total = total - self.entropy * (logs.exp() * logs).sum(1).mean()
        return total + self.coarsening * self.coarsening_error() if self.coarsening else total

    def coarsening_error(self) -> Tensor:
        """||A - C A' C^T||^2 for the soft clusters, by k x k matrices: ||A||^2 - 2 <A, C A' C^T> + ||C A' C^T||^2."""
        shares = self.shares()
        weight = self.edge_weight.to(shares.dtype)
        heard = segment_sum(weight[:, None] * shares.index_select(0, self.senders), self.receivers, len(shares))
        among = shares.t() @ heard  # C^T A C
        mass, overlap = shares.sum(0).clamp(min=LEAST), shares.t() @ shares
        mean = among / mass[:, None] / mass
        return weight.square().sum() - 2 * (mean * among).sum() + ((overlap @ mean @ overlap) * mean).sum()

    def __repr__(self) -> str:
        clusters = f"{self.group.degree} nodes in {self.num_clusters} soft cluster{'' if self.num_clusters == 1 else 's'}"
        weights = f"{self.num_clusters * (1 + self.num_clusters)} weights per channel pair and {self.logits.numel()} logits"
        at = f"at temperature {float(self.temperature):.3g}"
        return f"SoftClusters({self.in_channels} -> {self.out_channels} | {clusters} {at} | {weights})"


def _within(shares: Tensor) -> Tensor:
    """What each node counts in the mean of each cluster: columns sum to one, or to zero of an empty cluster."""
    return shares / shares.sum(0).clamp(min=LEAST)


def _merged_edges(edge_index: Tensor | None, edge_weight: Tensor | None, num_nodes: int) -> dict[str, Tensor]:
    """The entries of A, each once: edges listed twice add up."""
    if edge_index is None:
        edge_index = torch.empty(2, 0, dtype=torch.long)
    graph = checked_edges(Data(edge_index=edge_index, edge_weight=edge_weight, num_nodes=num_nodes))
    codes, place = torch.unique(graph.index[1] * num_nodes + graph.index[0], return_inverse=True)
    weight = torch.zeros(len(codes), dtype=torch.float64).index_add(0, place, graph.weight.double())
    return {"receivers": codes // num_nodes, "senders": codes % num_nodes, "edge_weight": weight.float()}


def _starting_logits(
    num_nodes: int, k: int, temperature: float, logits: Tensor | Partition | None, generator: torch.Generator | None
) -> Tensor:
    if logits is None:
        return torch.randn(num_nodes, k, generator=generator)
    if isinstance(logits, Partition):
        if (logits.num_nodes, logits.num_clusters) != (num_nodes, k):
            raise ShapeError(f"expected a partition of {num_nodes} nodes into {k} clusters, got {logits}")
        gap = temperature * math.log(CONFIDENCE * max(k - 1, 1) / (1 - CONFIDENCE))
        return gap * torch.nn.functional.one_hot(logits.labels, k).float()
    if logits.shape != (num_nodes, k):
        raise ShapeError(f"expected logits of shape ({num_nodes}, {k}), got {tuple(logits.shape)}")
    if not bool(logits.isfinite().all()):
        raise ConfigError("expected finite logits, got NaN or infinity; take a partition for clusters that are nearly hard")
    return logits.detach().clone().float()
