"""How much slower is a cluster layer than ``nn.Linear``? 1.4 to 2.2 x sorted, up to 3.7 x else, at k <= 16.

    python benchmarks/cluster_layer.py [--shape 80 784 28] [--clusters 1 4 16 49 196 784] [--runs 11]

Forward and backward on one batch (B, N, C), batch-major in and out, C channels in and out; float32 on the CPU, one thread unless
``--threads`` says otherwise. All subjects run in turn, over and over, and each number is a median, so that a busy machine hits
them alike; times are those of the calling thread's processor, or of the wall clock with several threads. The yardstick of a
layer is ``1.8 x nn.Linear + 1.3 x`` one matrix product ``(B, kC) x (kC, kC)``, and ``2.0 x nn.Linear`` where ``k^2 <= N / 4``.

The graph of ``GCNConv`` is a square grid. The dense twin holds (N C)^2 numbers and is left out above ``DENSE_LIMIT``.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv, HeteroLinear

from gnet.graphs import Partition
from gnet.groups import ClusterGroup
from gnet.nn import EquivariantLinear

DENSE_LIMIT = 700_000_000
"""Most numbers of a matrix that is made here: the product among 784 clusters of 28 channels still is."""
LAYOUTS = ("sorted", "mixed", "unequal")


def partition(num_nodes: int, num_clusters: int, layout: str, seed: int = 0) -> Partition:
    """Clusters of one size in node order, the same on scattered nodes, or of several sizes on scattered nodes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_nodes) * num_clusters // num_nodes
    if layout == "unequal":
        extra = torch.randint(0, num_clusters, (num_nodes - num_clusters,), generator=generator)
        labels = torch.cat([torch.arange(num_clusters), extra])
    return Partition(labels if layout == "sorted" else labels[torch.randperm(num_nodes, generator=generator)], num_clusters)


def grid(num_nodes: int) -> Tensor:
    """Edges of a square grid, both directions, (2, E)."""
    side = int(num_nodes**0.5)
    nodes = torch.arange(side * side).reshape(side, side)
    across = torch.stack([nodes[:, :-1].flatten(), nodes[:, 1:].flatten()])
    down = torch.stack([nodes[:-1].flatten(), nodes[1:].flatten()])
    return torch.cat([across, across.flip(0), down, down.flip(0)], 1)


def hetero(channels: int, clusters: Partition) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """PyG's linear map for each type of node, types being clusters: the own-node part of our layer alone."""
    layer = HeteroLinear(channels, channels, clusters.num_clusters)

    def call(x: Tensor) -> Tensor:
        return layer(x.flatten(0, 1), clusters.labels.repeat(len(x))).view(x.shape)

    return layer, call


def dense_twin(channels: int, num_nodes: int) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """One matrix for all nodes and channels."""
    layer = nn.Linear(num_nodes * channels, num_nodes * channels)
    return layer, lambda x: layer(x.flatten(1)).view(x.shape)


def time_one(layer: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor, weight: Tensor, clock: Callable[[], float]) -> float:
    """Seconds of one forward and backward."""
    x.grad = None
    layer.zero_grad()
    start = clock()
    call(x).backward(weight)
    return clock() - start


def measure(shape: tuple[int, int, int], num_clusters: int, runs: int, clock: Callable[[], float]) -> dict[str, float]:
    """Median milliseconds of every subject at one number of clusters."""
    batch, num_nodes, channels = shape
    x = torch.randn(shape, requires_grad=True)
    weight = torch.randn(shape)
    wide = torch.randn(batch, num_clusters * channels, requires_grad=True)
    linear = nn.Linear(channels, channels)
    product = nn.Linear(num_clusters * channels, num_clusters * channels)
    subjects: dict[str, Callable[[], float]] = {
        "nn.Linear": lambda: time_one(linear, linear, x, weight, clock),
        "product": lambda: time_one(product, product, wide, wide.detach(), clock),
    }
    for layout in LAYOUTS if num_clusters < num_nodes else LAYOUTS[:1]:
        ours = EquivariantLinear(ClusterGroup(partition(num_nodes, num_clusters, layout)), channels, channels)
        subjects[layout] = lambda ours=ours: time_one(ours, ours, x, weight, clock)  # type: ignore[misc]
    edges, gcn = grid(num_nodes), GCNConv(channels, channels, cached=True)
    subjects["GCNConv"] = lambda: time_one(gcn, lambda x: gcn(x, edges), x, weight, clock)
    typed, typed_call = hetero(channels, partition(num_nodes, num_clusters, "mixed"))
    subjects["HeteroLinear"] = lambda: time_one(typed, typed_call, x, weight, clock)
    times: dict[str, list[float]] = {name: [] for name in subjects}
    deadline = time.perf_counter() + 60
    for run in range(runs + 1):
        for name, subject in subjects.items():
            times[name].append(subject())
        if run >= 2 and time.perf_counter() > deadline:
            break
    if (num_nodes * channels) ** 2 <= DENSE_LIMIT and num_clusters < num_nodes:  # last: it sweeps every cache
        twin, twin_call = dense_twin(channels, num_nodes)
        times["dense twin"] = [time_one(twin, twin_call, x, weight, clock) for _ in range(3)]
    return {name: 1e3 * statistics.median(values[1:]) for name, values in times.items()}


def main() -> None:
    """Print one line for each number of clusters: milliseconds, and ours as a share of what the yardstick allows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[80, 784, 28], metavar=("B", "N", "C"))
    parser.add_argument("--clusters", type=int, nargs="+", default=[1, 4, 16, 49, 196, 784])
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.thread_time if args.threads == 1 else time.perf_counter
    shape = (args.shape[0], args.shape[1], args.shape[2])
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {args.threads} thread(s), (B, N, C) = {shape}"
    )
    for k in args.clusters:
        times = measure(shape, k, args.runs, clock)
        linear = times["nn.Linear"]
        allowed = 2.0 * linear if 4 * k * k <= shape[1] else 1.8 * linear + 1.3 * times["product"]
        print(f"k = {k}: " + ", ".join(f"{name} {value:.1f} ms" for name, value in times.items()))
        ours = {layout: times[layout] for layout in LAYOUTS if layout in times}
        print("    x nn.Linear: " + ", ".join(f"{name} {value / linear:.2f}" for name, value in ours.items()), end="")
        print(
            f"; share of the allowed {allowed:.1f} ms: " + ", ".join(f"{n} {v / allowed:.2f}" for n, v in ours.items()),
            flush=True,
        )


if __name__ == "__main__":
    main()
