"""What does a training step of the recurrent net cost with weights of each cluster, against one shared weight? As much.

    python benchmarks/traffic_step.py [--threads 1] [--runs 9]

A step is forward, masked loss, backward, gradient clipping and Adam, on batches of 64 windows of 3 steps in and 3 out at 207
nodes, with 64 hidden channels: the published traffic experiment, on a random graph of as many edges as METR-LA has. Processor
time, medians of interleaved runs.
"""

import argparse
import platform
import statistics
import time

import torch
from torch_geometric.data import Data

from gnet.graphs import Partition
from gnet.groups import ClusterGroup
from gnet.nn import GNetGRU

NODES, EDGES, BATCH, HIDDEN, STEPS = 207, 1722, 64, 64, 3


def make_net(num_clusters: int, graph: Data, generator: torch.Generator) -> GNetGRU:
    """The published net, with clusters of random sizes."""
    labels = torch.cat([torch.arange(num_clusters), torch.randint(num_clusters, (NODES - num_clusters,), generator=generator)])
    group = ClusterGroup(Partition(labels, num_clusters=num_clusters))
    return GNetGRU(group, 2, HIDDEN, 1, horizon_in=STEPS, horizon_out=STEPS, data=graph, generator=generator)


def step(net: GNetGRU, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor) -> None:
    """One step of training."""
    optimizer.zero_grad()
    loss = (net(x, y) - y).abs().masked_fill(~mask, 0.0).sum() / mask.sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    optimizer.step()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(NODES, (2, EDGES), generator=generator)
    graph = Data(edge_index=edges, edge_weight=torch.rand(EDGES, generator=generator), num_nodes=NODES)
    nets = {k: make_net(k, graph, generator) for k in (1, 2, 9, NODES)}
    optimizers = {k: torch.optim.Adam(net.parameters(), lr=0.01, eps=1e-3, fused=True) for k, net in nets.items()}
    x, y = (torch.randn(BATCH, NODES, channels * STEPS, generator=generator) for channels in (2, 1))
    mask = torch.rand(y.shape, generator=generator) < 0.9
    times: dict[int, list[float]] = {k: [] for k in nets}
    for _ in range(options.runs + 1):
        for k, net in nets.items():
            before = time.process_time()
            step(net, optimizers[k], x, y, mask)
            times[k].append(time.process_time() - before)
    medians = {k: statistics.median(each[1:]) for k, each in times.items()}  # the first run warms up
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {options.threads} thread(s)\n")
    print("| clusters | trained numbers | seconds a step | x shared weight |\n|---|---|---|---|")
    for k, seconds in medians.items():
        print(f"| {k} | {nets[k].num_parameters:,} | {seconds:.3f} | {seconds / medians[1]:.2f} |")


if __name__ == "__main__":
    main()
