"""Which backend should be the default on a CPU? A step of a net through torch's own sums and through torch-scatter's.

    python benchmarks/backends.py [--shape 80 784 28] [--runs 11]

Nets of two layers with ReLU between them, forward and backward, C channels in and out, float32, one thread: clusters of one size
in sorted and in random order of nodes, and layers with trained weights on the edges of a grid. Both backends run in turn on the
same nets and signals; medians of processor time. Without torch-scatter there is only the first column.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch_geometric.utils import grid

from gnet.errors import MissingExtraError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup
from gnet.kernels import backend
from gnet.nn import GNet


def nets(num_nodes: int, channels: int, generator: torch.Generator) -> dict[str, nn.Module]:
    """What is timed."""
    found: dict[str, nn.Module] = {}
    for k in (4, 16, 49):
        labels = torch.arange(num_nodes) * k // num_nodes
        for name, order in (("sorted", torch.arange(num_nodes)), ("mixed", torch.randperm(num_nodes, generator=generator))):
            group = ClusterGroup(Partition(labels[order]))
            found[f"{k} clusters, {name}"] = GNet(group, channels, channels, channels, num_layers=2, generator=generator)
    side = int(num_nodes**0.5)
    group = ClusterGroup(Partition(torch.arange(side * side) * 4 // (side * side)))
    edges = grid(side, side)[0]
    found["4 clusters, edge weights"] = GNet(
        group, channels, channels, channels, num_layers=2, propagate="edge_weights", edge_index=edges, generator=generator
    )
    return found


def seconds(net: nn.Module, x: Tensor) -> float:
    """Of processor time for a forward and backward pass."""
    begun = time.thread_time()
    net(x).square().mean().backward()
    return time.thread_time() - begun


def available() -> list[str]:
    """The backends that can be chosen here."""
    try:
        with backend("scatter"):
            return ["native", "scatter"]
    except MissingExtraError as error:
        print(error)
        return ["native"]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[80, 784, 28], metavar=("B", "N", "C"))
    parser.add_argument("--runs", type=int, default=11)
    options = parser.parse_args()
    torch.set_num_threads(1)
    batch, num_nodes, channels = options.shape
    generator, names = torch.Generator().manual_seed(0), available()
    print(f"{platform.machine()}, torch {torch.__version__}, (B, N, C) = ({batch}, {num_nodes}, {channels}), milliseconds\n")
    print(f"| net | {' | '.join(names)} | ratio |\n|---|{'---|' * len(names)}---|")
    for title, net in nets(num_nodes, channels, generator).items():
        x = torch.randn(batch, net.group.degree, channels, generator=generator)  # type: ignore[union-attr, arg-type]
        times = measure(net, x, names, options.runs, seconds)
        ratio = times[-1] / times[0]
        print(f"| {title} | {' | '.join(f'{1000 * each:.1f}' for each in times)} | {ratio:.2f} |")


def measure(net: nn.Module, x: Tensor, names: list[str], runs: int, clock: Callable[[nn.Module, Tensor], float]) -> list[float]:
    """Medians, one for each backend; the first round warms up."""
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(runs + 1):
        for name in names:
            with backend(name):
                found[name].append(clock(net, x))
    return [statistics.median(found[name][1:]) for name in names]


if __name__ == "__main__":
    main()
