"""Nets that are whole in one process and spread over several: outputs, gradients and steps of both."""

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnet.distributed import ShardedGNet, num_processes, this_process, whole_mean
from gnet.distributed.halo import _Halo
from gnet.distributed.layers import ShardedLinear
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, NodeGroup, PermutationGroup, SymmetricGroup, TrivialGroup, grid_group
from gnet.nn import Block, EquivariantLinear, GNet, InvariantLinear

M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
LABELS = [0, 1, 2, 1, 2, 0, 2, 3, 2, 1, 2]  # clusters of 2, 3, 5 and 1, interleaved
PATH = torch.tensor([[*range(10), *range(1, 11), 0, 10, 3], [*range(1, 11), *range(10), 10, 0, 8]])
WEIGHTS = torch.linspace(0.5, 2.0, PATH.shape[1])

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "reference, shared bias": {"parametrization": "reference", "bias": "shared", "act": "tanh"},
    "coarse edges": {"mixing": "coarse_edges", "edge_index": PATH},
    "own nodes alone, no bias": {"mixing": "none", "bias": None},
    "bases": {"num_bases": 2},
    "batch norm, residual": {"norm": "batch", "residual": 1},
    "layer norm, residual of two": {"norm": "layer", "residual": 2, "num_layers": 4},
    "one layer": {"num_layers": 1},
    "graph": {"propagate": "graph", "edge_index": PATH, "edge_weight": WEIGHTS},
    "edge weights": {"propagate": "edge_weights", "edge_index": PATH, "norm": "layer", "bias": "shared"},
    "tied edge weights": {"propagate": "edge_weights", "edge_index": PATH, "tie_edges": True},
    "self": {"propagate": "self", "edge_index": PATH},
}
GROUPS: dict[str, NodeGroup] = {
    "swaps": ClusterGroup(Partition([0, 1, 0, 2, 1, 2, 2, 1, 0]), PermutationGroup([torch.tensor([1, 0, 2])])),
    "one cluster": SymmetricGroup(7),
    "singletons": TrivialGroup(5),
    "large": ClusterGroup(Partition([node % 7 // 2 for node in range(290)])),
}
CASES = [*OPTIONS, *GROUPS, "invariant", "two partitions"]


def build(case: str) -> GNet:
    generator = torch.Generator().manual_seed(7)
    group = GROUPS.get(case, ClusterGroup(Partition(LABELS)))
    if case == "invariant":
        net = GNet.from_layers(
            [
                Block(EquivariantLinear(group, 2, 4, generator=generator), act="relu"),
                Block(InvariantLinear(group, 4, 3, generator=generator), act="tanh"),
                nn.Linear(3, 2),
            ]
        )
        with torch.no_grad():
            net.blocks[2].weight.copy_(torch.randn(2, 3, generator=generator))
            net.blocks[2].bias.copy_(torch.randn(2, generator=generator))
    elif case == "two partitions":
        other = ClusterGroup(Partition([node % 2 for node in range(11)]))
        layers = [EquivariantLinear(each, 2, 2, generator=generator) for each in (group, other)]
        net = GNet.from_layers([Block(layers[0], act="gelu"), nn.LayerNorm(2), layers[1]])
    else:
        net = GNet(group, 2, 4, 2, **{"num_layers": 3, "generator": generator, **OPTIONS.get(case, {})})
    net = net.double()
    with torch.no_grad():  # zero biases would hide mistakes
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return net


def signals(net: GNet) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(11)
    x, y = (torch.randn(3, 2, net.group.degree, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    return x, y


def train(net: nn.Module, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Outputs and gradients at the start, then three steps of Adam on the mean squared error, of one half of the entries."""
    x = x.clone().requires_grad_()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    found: dict[str, Any] = {}
    for step in range(4):
        optimizer.zero_grad()
        output = net(x)
        if output.shape == y.shape:
            errors = (output - y)[y > 0].square()
            loss, _ = whole_mean(errors.sum(), errors.numel())
        else:
            loss = F.mse_loss(output, torch.ones_like(output))
        loss.backward()
        if step == 0:
            grads = {name: p.grad.clone() for name, p in net.named_parameters()}
            found = {"output": output.detach(), "x": x.grad.clone(), "loss": float(loss.detach()), "grads": grads}
        if step < 3:
            optimizer.step()
    return found | {"state": {name: value.clone() for name, value in net.state_dict().items()}, "after": output.detach()}


def train_whole(case: str) -> dict[str, Any]:
    net = build(case)
    return train(net, *signals(net))


def owners_of(case: str, num_nodes: int, world: int) -> Tensor | None:
    if case == "plain":
        return None
    return torch.randint(0, world, (num_nodes,), generator=torch.Generator().manual_seed(1)).scatter(
        0, torch.arange(world), torch.arange(world)
    )


def train_sharded(rank: int, case: str, lie: str = "") -> dict[str, Any]:
    net = build(case)
    if rank:
        with torch.no_grad():
            next(net.parameters()).zero_()  # the first process's weights hold
    x, y = signals(net)
    sharded = ShardedGNet(net, owners_of(case, net.group.degree, num_processes()))
    before = ShardedLinear.total, _Halo.backward
    if lie == "sums":
        ShardedLinear.total = lambda self, sums: sums
    if lie == "halo":
        _Halo.backward = staticmethod(lambda ctx, grad: (grad.new_zeros(ctx.num_nodes, *grad.shape[1:]), None, None, None))
    try:
        found = train(sharded, sharded.part(x), sharded.part(y))
    finally:
        ShardedLinear.total, _Halo.backward = before[0], staticmethod(before[1])
    if found["output"].ndim == x.ndim:
        for name in ("output", "after"):
            found[name] = sharded.whole(found[name])
    found["x"] = sharded.whole(found["x"])
    return found


def refusal(rank: int, kind: str) -> str:
    """The error of a net that cannot be spread."""
    group = ClusterGroup(Partition(LABELS))
    owners = None
    if kind == "grid":
        net = GNet(grid_group((3, 3), "rotations"), 1, 2, 1)
    elif kind == "relaxed":
        net = GNet(SymmetricGroup(11), 1, 2, 1, layer="relaxed")
    elif kind == "pointwise":
        net = GNet(group, 1, 2, 1, propagate="pointwise", edge_index=PATH)
    elif kind == "idle":
        net, owners = GNet(group, 1, 2, 1), torch.zeros(11)
    elif kind == "stranger":
        net, owners = GNet(group, 1, 2, 1), torch.full((11,), 5)
    elif kind == "short":
        net, owners = GNet(group, 1, 2, 1), torch.zeros(3)
    else:
        net = GNet(group, 1, 2, 1)
    try:
        sharded = ShardedGNet(net, owners)
        sharded(torch.zeros(2, 11, 1))
    except ValueError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was refused"


def peak(rank: int, spread: bool) -> int:
    """Bytes that making a net and a training step take at their peak, beyond what is there before."""
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 16)  # what is freed goes back at once, so that no earlier test leaves room
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew
    before = _status("VmRSS")
    group = ClusterGroup(Partition((torch.arange(120_000) * 7919) % 8))
    net = GNet(group, 16, 16, 16, num_layers=4, generator=torch.Generator().manual_seed(0))
    model: nn.Module = ShardedGNet(net, torch.arange(120_000) % 2) if spread else net
    assert not spread or this_process() == rank
    output = model(torch.ones(4, 60_000 if spread else 120_000, 16))
    loss, _ = whole_mean(output.square().sum(), output.numel())
    loss.backward()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))
