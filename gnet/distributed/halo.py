"""Propagation along the edges of a graph whose nodes are spread over processes: values of far neighbours are sent across."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gnet.distributed.collectives import Processes, num_processes, this_process
from gnet.kernels.segments import segment_softmax, segment_sum
from gnet.nn.propagate import Propagate


def exchanged(parts: Sequence[Tensor], lengths: Sequence[int], processes: Processes) -> list[Tensor]:
    """Send ``parts[p]`` to each process p and receive ``lengths[p]`` rows from it; nothing goes where a length is 0."""
    me, operations = this_process(processes), []
    received = [part.new_empty(length, *part.shape[1:]) for part, length in zip(parts, lengths, strict=True)]
    for peer, (sent, found) in enumerate(zip(parts, received, strict=True)):
        if peer == me:
            continue
        number = peer if processes is None else dist.get_global_rank(processes, peer)
        if len(sent):
            operations.append(dist.P2POp(dist.isend, sent.contiguous(), number, processes))
        if len(found):
            operations.append(dist.P2POp(dist.irecv, found, number, processes))
    for work in dist.batch_isend_irecv(operations) if operations else ():
        work.wait()
    return received


class _Halo(torch.autograd.Function):
    """The values of nodes that other processes hold, (n, B, C) -> (h, B, C), by process and number of the node."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sent: list[Tensor], lengths: list[int], processes: Processes) -> Tensor:
        ctx.sent, ctx.lengths, ctx.processes, ctx.num_nodes = sent, lengths, processes, len(x)
        return torch.cat(exchanged([x.index_select(0, places) for places in sent], lengths, processes))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        back = exchanged(grad.split(ctx.lengths), [len(places) for places in ctx.sent], ctx.processes)
        total = grad.new_zeros(ctx.num_nodes, *grad.shape[1:])
        for places, part in zip(ctx.sent, back, strict=True):
            total.index_add_(0, places, part)  # a node may be heard by several processes
        return total, None, None, None


class ShardedPropagate(nn.Module):
    """A ``Propagate`` on the nodes of one process: ``S x + b`` for its receivers, whose far senders are sent across.

    Per layer and direction one message between any two processes that an edge joins, of the values of the nodes at its ends. The
    trained edge weights, one number each, are in every process. Parameters have the names of the layer's.

    Args:
        layer: the whole layer.
        nodes: the nodes of this process, in the order of ``x``.
        owners: the process of every node, (N,).

    Shapes:
        x: (n, B, C)    returns: (n, B, C)
    """

    bias: nn.Parameter | None
    bias_rows: Tensor
    senders: Tensor
    receivers: Tensor
    edge_weight: Tensor
    logit_rows: Tensor
    all_receivers: Tensor
    all_weight: Tensor
    all_rows: Tensor
    selves: Tensor

    def __init__(self, layer: Propagate, nodes: Tensor, owners: Tensor, processes: Processes = None) -> None:
        super().__init__()
        me, whole = this_process(processes), layer.support
        device = whole.senders.device
        self.processes, self.only_self, self.text = processes, layer.only_self, layer.extra_repr()
        self.support = nn.Module()
        self.support.register_parameter("logits", None if whole.logits is None else nn.Parameter(whole.logits.detach().clone()))
        self.register_parameter("bias", None if layer.bias is None else nn.Parameter(layer.bias.detach().clone()))
        senders, receivers = whole.senders.cpu(), whole.receivers.cpu()
        here = owners[receivers] == me
        if layer.only_self:
            here &= senders == receivers
        place = torch.full((len(owners),), -1)
        place[nodes] = torch.arange(len(nodes))
        # Pairs of a sender and a process that hears it, sorted by the sender, so that both sides mean the same order.
        hears = torch.unique(torch.stack([senders, owners[receivers]]), dim=1)
        hears = hears[:, owners[hears[0]] != hears[1]] if not layer.only_self else hears[:, :0]
        world = num_processes(processes)
        mine = owners[hears[0]] == me
        self.sent = [place[hears[0, mine & (hears[1] == peer)]].to(device) for peer in range(world)]
        wanted = [hears[0, (hears[1] == me) & (owners[hears[0]] == peer)] for peer in range(world)]
        self.lengths = [len(each) for each in wanted]
        far = torch.cat(wanted)
        place[far] = len(nodes) + torch.arange(len(far))
        buffers = {
            "senders": place[senders[here]],
            "receivers": place[receivers[here]],
            "edge_weight": whole.edge_weight.cpu()[here],
            "logit_rows": whole.logit_rows.cpu()[here],
            "bias_rows": layer.bias_rows.cpu()[nodes],
        }
        if layer.only_self:  # the weights of the other senders count in the mean, but nothing is heard of them
            all_here = owners[receivers] == me
            buffers |= {"all_receivers": place[receivers[all_here]], "all_rows": whole.logit_rows.cpu()[all_here]}
            buffers |= {"all_weight": whole.edge_weight.cpu()[all_here], "selves": (senders == receivers)[all_here]}
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor.to(device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        n = len(x)
        if self.only_self:
            own = self._weights(self.all_receivers, self.all_weight, self.all_rows, n)[self.selves].to(x.dtype)
            y = x * torch.zeros(n, dtype=x.dtype, device=x.device).index_copy(0, self.receivers, own)[:, None, None]
        else:
            weights = self._weights(self.receivers, self.edge_weight, self.logit_rows, n).to(x.dtype)
            halo = any(self.lengths) or any(map(len, self.sent))
            known = torch.cat([x, _Halo.apply(x, self.sent, self.lengths, self.processes)]) if halo else x
            y = segment_sum(known.index_select(0, self.senders) * weights[:, None, None], self.receivers, n)
        return y if self.bias is None else y + self.bias.index_select(0, self.bias_rows)[:, None]

    def _weights(self, receivers: Tensor, edge_weight: Tensor, rows: Tensor, num_nodes: int) -> Tensor:
        """The weight of each pair, as ``Support`` has it: all senders of a receiver are here."""
        logits = self.support.logits
        if not isinstance(logits, Tensor):
            return edge_weight / segment_sum(edge_weight, receivers, num_nodes).index_select(0, receivers)
        return segment_softmax(logits.index_select(0, rows), receivers, num_nodes)

    def extra_repr(self) -> str:
        """What the whole layer is."""
        return f"of {self.text}"
