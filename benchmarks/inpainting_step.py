"""How much faster is a training step of the inpainting net than through dense matrices? 21 to 40 x, and 5 x at 28 x 28.

    python benchmarks/inpainting_step.py [--patches 1 2 4 7 14 28] [--runs 9] [--fused]

GNet 1 -> 28 -> 1 with a ReLU, reference parametrisation, m x m patches of a 28 x 28 image, 80 images, Adam; a step is zeroing,
forward, loss, backward and update. The twin has the same parameters and makes the matrices of both layers in every step, as its
gradient needs. Both run in turn; numbers are medians of processor time on one thread, wall clock on several.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from gnet.graphs import grid_patches
from gnet.groups import ClusterGroup
from gnet.kernels.table import dense_linear
from gnet.nn import GNet


def through_matrices(net: GNet, x: Tensor) -> Tensor:
    """The same map with every weight an explicit (N, C', N, C) matrix."""
    for block in net.blocks:
        x = dense_linear(x, block.linear.dense(), block.linear.dense_bias())
        x = torch.relu(x) if block.act == "relu" else x
    return x


def step(call: Callable[[Tensor], Tensor], optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """One step of training."""
    optimizer.zero_grad()
    (call(x) - y).square().mean().backward()
    optimizer.step()


def main() -> None:
    """Print milliseconds of both, and their ratio, for each number of patches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, nargs="+", default=[1, 2, 4, 7, 14, 28])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--fused", action="store_true", help="the fused form of Adam for both")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.thread_time if args.threads == 1 else time.perf_counter
    print(f"{platform.machine()}, torch {torch.__version__}, {args.threads} thread(s)")
    x, y = torch.randn(80, 784, 1), torch.randn(80, 784, 1)
    for m in args.patches:
        group = ClusterGroup(grid_patches((28, 28), (m, m)))
        net = GNet(group, 1, 28, 1, parametrization="reference", init="reference", bias="shared")
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=args.fused)
        times: dict[str, list[float]] = {"ours": [], "dense": []}
        for _ in range(args.runs + 1):
            for name, call in (("ours", net), ("dense", lambda x, net=net: through_matrices(net, x))):
                start = clock()
                step(call, optimizer, x, y)
                times[name].append(1e3 * (clock() - start))
        ours, dense = (statistics.median(times[name][1:]) for name in ("ours", "dense"))
        print(f"{m} x {m} patches: ours {ours:.1f} ms, dense {dense:.1f} ms, {dense / ours:.1f} x", flush=True)


if __name__ == "__main__":
    main()
