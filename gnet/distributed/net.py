"""Nets for graphs that do not fit one device: every process holds some of the nodes."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call

from gnet.distributed.collectives import Processes, gathered, num_processes, shared, this_process
from gnet.distributed.halo import ShardedPropagate
from gnet.distributed.layers import ShardedInvariant, ShardedLinear, copied
from gnet.distributed.norm import SharedBatchNorm
from gnet.errors import ConfigError, ShapeError
from gnet.groups.base import NodeGroup
from gnet.nn.blocks import Block, NodeBatchNorm, Residual
from gnet.nn.checks import check_shape
from gnet.nn.gnet import GNet
from gnet.nn.linear import EquivariantLinear, InvariantLinear
from gnet.nn.propagate import Propagate
from gnet.nn.weights import ClusterWeights

POINTWISE = (
    nn.Identity,
    nn.Linear,
    nn.LayerNorm,
    nn.ReLU,
    nn.GELU,
    nn.SiLU,
    nn.ELU,
    nn.Tanh,
    nn.Sigmoid,
    nn.LeakyReLU,
    nn.Dropout,
)
"""Modules that treat every node alike, and so need no word from other processes."""


class _Blocks(nn.Sequential):
    def forward(self, x: Tensor, start: int = 0, end: int | None = None) -> Tensor:
        for block in list(self)[start:end]:
            x = block(x)
        return x


class ShardedGNet(nn.Module):
    """A ``GNet`` whose nodes are spread over processes: signals and what layers keep of them are n/N of the whole in each.

    A layer of clusters sends one message of cluster sums, k C numbers for each signal, however clusters are cut; propagation
    sends the values of nodes at edges between processes. The weights are in every process; after ``backward()`` each has the
    gradient of the whole, so that any optimiser takes the same step everywhere. All processes call the net, and ``backward``,
    together.

    The loss has to be the same number in every process: of outputs on nodes ``whole_mean(errors.sum(), errors.numel())[0]``; an
    invariant output is the same in every process by itself. Dropout draws noise for own nodes: seed processes differently. There
    are no second derivatives.

    Parameters have the names of the net's: ``net.load_state_dict(sharded.state_dict())`` makes the trained net whole.

    Args:
        net: the whole net, on the device of this process, of cluster layers with biases, activations, dropout, residuals, norms,
            ``propagate`` "graph", "edge_weights" or "self"; it is copied. The weights are those of the first process.
        owners: the process of every node, (N,), the same everywhere; by default consecutive slices.
        processes: that work together; None is all.

    Shapes:
        x: (*, n, C), the signals of ``nodes``    returns: (*, n, C'), or of an invariant net (*, C')

    Raises:
        ConfigError: a layer that cannot be spread, named; owners that are no processes, or leave one without a node.
        ShapeError: owners for another number of nodes, or x of another shape.

    Example:
        >>> net = GNet(ClusterGroup(Partition([0, 0, 0, 1, 1, 2])), 1, 8, 1)
        >>> sharded = ShardedGNet(net)  # one process holds all nodes
        >>> x = torch.randn(4, 6, 1)
        >>> sharded.nodes, torch.allclose(sharded(sharded.part(x)), net(x), atol=1e-6)
        (tensor([0, 1, 2, 3, 4, 5]), True)
    """

    nodes: Tensor
    order: Tensor
    inverse: Tensor

    def __init__(self, net: GNet, owners: Tensor | None = None, processes: Processes = None) -> None:
        super().__init__()
        group = net.group
        if not isinstance(group, NodeGroup):
            raise ConfigError("expected a net of which some layer states its group, so that its nodes are known")
        self.num_nodes, self.processes = group.degree, processes
        device = next(iter(net.parameters())).device
        owners = _checked_owners(owners, group.degree, num_processes(processes), device, processes)
        nodes = torch.nonzero(owners == this_process(processes)).flatten()
        maps = [each.weight for each in net.modules() if isinstance(each, EquivariantLinear)]
        clusters = [each.orbits.partition.labels for each in maps if isinstance(each, ClusterWeights)]
        labels = clusters[0] if clusters else torch.zeros(group.degree, dtype=torch.long)
        order = torch.argsort(labels[nodes], stable=True)
        for name, tensor in {"nodes": nodes, "order": order, "inverse": torch.argsort(order)}.items():
            self.register_buffer(name, tensor.to(device), persistent=False)
        whole = list(net.blocks)
        #: How many blocks work on nodes; those behind work on numbers that every process has.
        self.num_spread = next((at for at, block in enumerate(whole) if _is_invariant(block)), len(whole))
        make = _Maker(nodes[order], owners, processes)
        self.blocks = _Blocks(
            *(make(block, f"blocks.{at}") for at, block in enumerate(whole[: self.num_spread + 1])),
            *(copied(block, {}) for block in whole[self.num_spread + 1 :]),
        )
        channels = (getattr(each, "in_channels", None) for each in net.modules())
        self.in_channels: int | None = next((each for each in channels if isinstance(each, int)), None)
        if num_processes(processes) > 1:
            source = 0 if processes is None else dist.get_global_rank(processes, 0)
            for tensor in self.state_dict().values():
                dist.broadcast(tensor, source, group=processes)

    @property
    def num_parameters(self) -> int:
        """Trained scalars of the whole net, all of which every process has."""
        return sum(p.numel() for p in self.parameters())

    def part(self, x: Tensor) -> Tensor:
        """The signals of this process's nodes, (*, N, C) -> (*, n, C)."""
        return x.index_select(-2, self.nodes)

    def whole(self, y: Tensor) -> Tensor:
        """Outputs on the nodes of all processes, (*, n, C) -> (*, N, C), without gradient; all processes call it together."""
        nodes = gathered(self.nodes, self.processes)
        parts = gathered(y.movedim(-2, 0).contiguous(), self.processes)
        return torch.empty_like(parts).index_copy_(0, nodes, parts).movedim(0, -2)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the net to the signals of this process's nodes."""
        check_shape(x, len(self.nodes), x.shape[-1] if self.in_channels is None else self.in_channels)
        batch = x.shape[:-2]
        first = x.reshape(math.prod(batch), *x.shape[-2:]).transpose(0, 1)
        y = self._on_nodes(first.index_select(0, self.order))
        if self.num_spread == len(self.blocks):
            y = y.index_select(0, self.inverse).transpose(0, 1)
        else:
            y = self.blocks(y, self.num_spread)
        return y.reshape(*batch, *y.shape[1:])

    def _on_nodes(self, x: Tensor) -> Tensor:
        """The blocks on nodes, with weights whose gradients are summed over processes in one message."""
        named = {name: p for name, p in self.blocks.named_parameters() if int(name.partition(".")[0]) < self.num_spread}
        tensors = dict(zip(named, shared(list(named.values()), self.processes), strict=True))
        return functional_call(self.blocks, tensors, (x, 0, self.num_spread))


def _checked_owners(owners: Tensor | None, num_nodes: int, world: int, device: torch.device, processes: Processes) -> Tensor:
    if owners is None:
        owners = torch.cat(
            [torch.full((len(part),), rank) for rank, part in enumerate(torch.arange(num_nodes).tensor_split(world))]
        )
    if owners.shape != (num_nodes,):
        raise ShapeError(f"expected the process of each of {num_nodes} nodes, got owners of shape {tuple(owners.shape)}")
    owners = owners.detach().cpu().long()
    if int(owners.min()) < 0 or int(owners.max()) >= world:
        raise ConfigError(f"expected owners in 0..{world - 1}, got {int(owners.min())}..{int(owners.max())}")
    if world > 1:
        first = owners.to(device, copy=True)
        dist.broadcast(first, 0 if processes is None else dist.get_global_rank(processes, 0), group=processes)
        owners = first.cpu()
    idle = sorted(set(range(world)) - set(owners.unique().tolist()))
    if idle:
        raise ConfigError(f"expected every process to hold a node, got none for {idle}; give owners, or start fewer processes")
    return owners


def _is_invariant(block: nn.Module) -> bool:
    return isinstance(block.linear if isinstance(block, Block) else block, InvariantLinear)


class _Maker:
    """Turns the blocks of a net into those of one process."""

    def __init__(self, nodes: Tensor, owners: Tensor, processes: Processes) -> None:
        self.nodes, self.owners, self.processes = nodes, owners, processes

    def __call__(self, module: nn.Module, name: str) -> nn.Module:
        """The module of that name, spread.

        Raises:
            ConfigError: it cannot be.
        """
        kinds: dict[type, Callable[[Any, str], nn.Module]] = {
            Block: self._block,
            Residual: lambda each, name: Residual(self(b, f"{name}.blocks.{at}") for at, b in enumerate(each.blocks)),
            nn.Sequential: lambda each, name: nn.Sequential(*(self(b, f"{name}.{at}") for at, b in enumerate(each))),
            EquivariantLinear: self._linear,
            InvariantLinear: lambda each, _: ShardedInvariant(each, self.nodes, self.processes),
            Propagate: lambda each, _: ShardedPropagate(each, self.nodes, self.owners, self.processes),
            NodeBatchNorm: lambda each, _: SharedBatchNorm.of(copied(each, {}), self.processes),
            **dict.fromkeys(POINTWISE, lambda each, _: copied(each, {})),
        }
        if type(module) not in kinds:
            raise self._refusal(module, name)
        return kinds[type(module)](module, name)

    def _block(self, block: Block, name: str) -> Block:
        linear = self(block.linear, f"{name}.linear")
        propagate = None if block.propagate is None else self(block.propagate, f"{name}.propagate")
        norm = None if block.norm is None else copied(block.norm, {})
        if norm is not None and not _is_invariant(block):
            norm = self(block.norm, f"{name}.norm")  # type: ignore[arg-type]
        return Block(linear, propagate, norm, block.act, block.dropout, block.residual)

    def _linear(self, layer: EquivariantLinear, name: str) -> ShardedLinear:
        if not isinstance(layer.weight, ClusterWeights):
            raise self._refusal(layer, name)
        return ShardedLinear(layer, self.nodes, self.processes)

    def _refusal(self, module: nn.Module, name: str) -> ConfigError:
        return ConfigError(
            f"{name} is {type(module).__name__}, which cannot be spread over processes{_of_group(module)}; those that can are "
            "EquivariantLinear and InvariantLinear of cluster groups, Propagate, batch and layer norms, and pointwise modules"
        )


def _of_group(module: nn.Module) -> str:
    group = getattr(module, "group", None)
    return f" (its group is {group.name})" if isinstance(group, NodeGroup) else ""
