"""How do time and memory of a cluster layer grow with the number of nodes? Linearly: 2 to 3 x ``nn.Linear`` at a million.

    python benchmarks/scaling.py [--nodes 1000 10000 100000 1000000] [--clusters 10 100 1000] [--runs 5] [--plot scaling.png]

Forward and backward of one layer on one signal (1, N, C), float32, one thread. Three ways to mix clusters: all with all at C = 8
channels, all with all through 16 bases at C = 64, and those alone that an edge joins at C = 64, on a square grid with bands for
clusters. Every point is a process of its own. Times are medians of processor time, interleaved with ``nn.Linear`` on the same
signal. Memory is the highest resident set while the layer is made and runs, less that before (Linux alone): weights and their
gradients are in it, and so are the signal, its gradient and the gradient of the output. "growth" is the exponent of N between
a point and the one before.
"""

import argparse
import json
import math
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from memory import forget_peak, resident
from torch import Tensor, nn

from gnet.graphs import Partition
from gnet.groups import ClusterGroup
from gnet.nn import EquivariantLinear

MIXINGS = {"full": 8, "num_bases=16": 64, "coarse_edges": 64}
"""Channels of each."""


def grid(num_nodes: int) -> Tensor:
    """Edges to the right and down, both directions, of a grid with about as many rows as columns, (2, E)."""
    width = math.isqrt(num_nodes)
    nodes = torch.arange(num_nodes)
    right = nodes[(nodes % width != width - 1) & (nodes + 1 < num_nodes)]
    down = nodes[: num_nodes - width]
    one_way = torch.cat([torch.stack([right, right + 1]), torch.stack([down, down + width])], 1)
    return torch.cat([one_way, one_way.flip(0)], 1)


def layer_of(mixing: str, num_nodes: int, num_clusters: int) -> EquivariantLinear:
    """Clusters are of one size, or nearly, and in node order."""
    channels = MIXINGS[mixing]
    group = ClusterGroup(Partition(torch.arange(num_nodes) * num_clusters // num_nodes))
    if mixing == "coarse_edges":
        return EquivariantLinear(group, channels, channels, mixing="coarse_edges", edge_index=grid(num_nodes))
    return EquivariantLinear(group, channels, channels, num_bases=16 if mixing == "num_bases=16" else None)


def seconds(layer: nn.Module, x: Tensor, weight: Tensor) -> float:
    """Of one forward and backward."""
    x.grad = None
    layer.zero_grad()
    start = time.thread_time()
    layer(x).backward(weight)
    return time.thread_time() - start


def measure(mixing: str, num_nodes: int, num_clusters: int, runs: int) -> dict[str, float]:
    """Median milliseconds of the layer and of ``nn.Linear``, megabytes, and how many numbers are trained."""
    torch.set_num_threads(1)
    channels = MIXINGS[mixing]
    linear = nn.Linear(channels, channels)
    seconds(linear, torch.randn(1, 10, channels, requires_grad=True), torch.randn(1, 10, channels))  # autograd is loaded
    before = forget_peak()
    layer = layer_of(mixing, num_nodes, num_clusters)
    x = torch.randn(1, num_nodes, channels, requires_grad=True)
    weight = torch.randn(1, num_nodes, channels)
    seconds(layer, x, weight)
    megabytes = resident(peak=True) - before
    seconds(linear, x, weight)
    times = [(seconds(layer, x, weight), seconds(linear, x, weight)) for _ in range(runs)]
    ours, floor = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    return {"ms": ours, "linear_ms": floor, "megabytes": megabytes, "parameters": layer.num_parameters}


def growth(now: float, before: float | None, factor: float) -> str:
    """The exponent with which a number grew while another grew by a factor."""
    return "" if before is None else f"{math.log(now / before) / math.log(factor):.2f}"


def draw(found: dict[tuple[str, int, int], dict[str, float]], path: Path) -> None:
    """Time and memory against the number of nodes, a panel for each way to mix."""
    from gnet.study.plots import COLOURS, MARKERS, PAGE, new_figure, save, styled

    with styled():
        figure = new_figure(PAGE, 4.6)
        panels = figure.subplots(2, len(MIXINGS), sharex=True, sharey="row")
        for column, mixing in enumerate(MIXINGS):
            mine = sorted(point for point in found if point[0] == mixing)
            for row, (quantity, unit) in enumerate({"ms": "milliseconds", "megabytes": "megabytes"}.items()):
                axes = panels[row][column]
                for number, k in enumerate(sorted({clusters for _, _, clusters in mine})):
                    at = [nodes for _, nodes, clusters in mine if clusters == k]
                    heights = [found[mixing, nodes, k][quantity] for nodes in at]
                    axes.plot(at, heights, color=COLOURS[number], marker=MARKERS[number], markersize=3, label=f"{k} clusters")
                axes.set(xscale="log", yscale="log", ylabel="" if column else unit, xlabel="nodes" if row else "")
            floor = {nodes: found[mixing, nodes, clusters]["linear_ms"] for _, nodes, clusters in mine}
            panels[0][column].plot(list(floor), list(floor.values()), color="0.5", linestyle=":", label="nn.Linear")
            panels[0][column].set_title(f"{mixing}, {MIXINGS[mixing]} channels")
        figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        save(figure, path)


def in_a_process(point: tuple[str, int, int], runs: int) -> dict[str, float]:
    """Measured in an interpreter of its own, so that no memory of another point is in it."""
    arguments = ["--point", point[0], str(point[1]), str(point[2]), "--runs", str(runs)]
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print a line for each point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--clusters", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--point", nargs=3, metavar=("MIXING", "N", "K"), help="measure one point alone, and print it as JSON")
    args = parser.parse_args()
    if args.point:
        print(json.dumps(measure(args.point[0], int(args.point[1]), int(args.point[2]), args.runs)))
        return
    print(f"{platform.machine()}, torch {torch.__version__}, one thread, (B, N, C) = (1, N, C)")
    print("| mixing | C | k | N | parameters | ms | growth with N | x nn.Linear | MB | growth with N |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    found: dict[tuple[str, int, int], dict[str, float]] = {}
    for mixing, channels in MIXINGS.items():
        for k in args.clusters:
            before: dict[str, float] = {}
            last = 0
            for nodes in (nodes for nodes in args.nodes if nodes >= k):
                now = found[mixing, nodes, k] = in_a_process((mixing, nodes, k), args.runs)
                time_growth = growth(now["ms"], before.get("ms"), nodes / max(last, 1))
                memory_growth = growth(now["megabytes"], before.get("megabytes"), nodes / max(last, 1))
                print(
                    f"| {mixing} | {channels} | {k} | {nodes} | {now['parameters']} | {now['ms']:.2f} | {time_growth} "
                    f"| {now['ms'] / now['linear_ms']:.2f} | {now['megabytes']:.0f} | {memory_growth} |",
                    flush=True,
                )
                before, last = now, nodes
    if args.plot:
        draw(found, args.plot)


if __name__ == "__main__":
    main()
