"""How much faster is a training step of the inpainting net than through dense matrices? 21 to 40 x, and 5 x at 28 x 28.

    python benchmarks/inpainting_step.py [--patches 1 2 4 7 14 28] [--runs 9] [--fused] [--memory]

GNet 1 -> 28 -> 1 with a ReLU, reference parametrisation, m x m patches of a 28 x 28 image, 80 images, Adam; a step is zeroing,
forward, loss, backward and update. The twin has the same parameters and makes the matrices of both layers in every step, as its
gradient needs. Both run in turn; numbers are medians of processor time on one thread, wall clock on several. With ``--memory``
each is a process of its own, and the numbers are the highest resident set of two steps, net and Adam included, less that before.
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from memory import forget_peak, resident
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


def parts(patches: int, fused: bool) -> tuple[GNet, torch.optim.Optimizer]:
    """The net and its optimiser."""
    group = ClusterGroup(grid_patches((28, 28), (patches, patches)))
    net = GNet(group, 1, 28, 1, parametrization="reference", init="reference", bias="shared")
    return net, torch.optim.Adam(net.parameters(), lr=1e-3, fused=fused)


def megabytes(name: str, patches: int, fused: bool) -> float:
    """Of two steps of one of both, in this process."""
    warm, optimizer = parts(1, fused)  # everything is loaded
    step(warm, optimizer, torch.randn(2, 784, 1), torch.randn(2, 784, 1))
    x, y = torch.randn(80, 784, 1), torch.randn(80, 784, 1)
    before = forget_peak()
    net, optimizer = parts(patches, fused)
    for _ in range(2):
        step(net if name == "ours" else lambda x: through_matrices(net, x), optimizer, x, y)
    return resident(peak=True) - before


def compare_memory(patches: list[int], *options: str) -> None:
    """Print megabytes of both, and their ratio."""
    for m in patches:
        found = []
        for name in ("ours", "dense"):
            words = [sys.executable, __file__, "--process", name, "--patches", str(m), *options]
            done = subprocess.run(words, check=True, capture_output=True, text=True)
            found.append(float(done.stdout.split()[-1]))
        print(f"{m} x {m} patches: ours {found[0]:.0f} MB, dense {found[1]:.0f} MB, {found[1] / found[0]:.1f} x", flush=True)


def main() -> None:
    """Print milliseconds (or megabytes) of both, and their ratio, for each number of patches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, nargs="+", default=[1, 2, 4, 7, 14, 28])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--fused", action="store_true", help="the fused form of Adam for both")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true", help="megabytes in place of milliseconds")
    parser.add_argument("--process", choices=("ours", "dense"), help="print the megabytes of one of both, and nothing else")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.process:
        print(megabytes(args.process, args.patches[0], args.fused))
        return
    clock = time.thread_time if args.threads == 1 else time.perf_counter
    print(f"{platform.machine()}, torch {torch.__version__}, {args.threads} thread(s)")
    if args.memory:
        compare_memory(args.patches, *(["--fused"] if args.fused else []))
        return
    x, y = torch.randn(80, 784, 1), torch.randn(80, 784, 1)
    for m in args.patches:
        net, optimizer = parts(m, args.fused)
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
