"""Do the Triton kernels reach the memory bandwidth of a GPU, and beat torch.compile? Not measured: no GPU was at hand.

    python benchmarks/kernels_gpu.py [--runs 50] [--dtypes float32 bfloat16 float16]
    TRITON_INTERPRET=1 python benchmarks/kernels_gpu.py --smoke

For each kernel, forward and backward: the largest error against torch's own in float64, relative to the largest entry; the median
time; the share of the bandwidth of a plain copy on the same device, counting every input and output once; and the time of
torch.compile of the plain version over ours, so that more than 1 is faster. Subjects are interleaved, and every call is waited
for. ``--smoke`` runs the same on tiny signals in Triton's interpreter, on the CPU: errors count, times say nothing.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from gnet.kernels import backend
from gnet.kernels.blocks import ClusterIndex, own_linear, pooled_linear
from gnet.kernels.segments import cluster_mean
from gnet.kernels.sparse import RowIndex, sparse_linear

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
ERRORS = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
Subject = tuple[Callable[..., Tensor], list[Tensor]]


def subjects(batch: int, sizes: list[int], channels: int, device: str, rng: torch.Generator) -> dict[str, Subject]:
    """The kernels, and what they are called with, in float64."""
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    nodes, k = len(labels), len(sizes)
    index = ClusterIndex.of(labels[torch.randperm(nodes, generator=rng)].to(device), torch.tensor(sizes).to(device))
    senders = torch.arange(nodes).repeat(3)
    receivers = torch.cat([torch.arange(nodes), torch.arange(nodes).roll(1), torch.arange(nodes).roll(-1)])
    orbits = torch.arange(3 * nodes) // nodes
    rows = RowIndex.of(torch.stack([senders, receivers]).to(device), orbits.to(device), nodes, 3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64).to(device)

    x, own = draw(batch, nodes, channels), draw(k, channels, channels) / channels**0.5
    mix, sent = draw(k, channels, k, channels) / (k * channels) ** 0.5, draw(batch, k, channels)
    return {
        "mean of clusters": (lambda x: cluster_mean(x, index.labels, k), [x]),
        "own product, plus": (lambda x, own, sent: own_linear(x, own, sent, index), [x, own, sent]),
        "whole layer": (lambda x, own, mix: pooled_linear(x, own, mix, None, index), [x, own, mix]),
        "along edges": (lambda x, w: sparse_linear(x, w, rows), [x, draw(3, channels, channels) / channels**0.5]),
    }


def both_ways(call: Callable[..., Tensor], inputs: list[Tensor], weight: Tensor) -> list[Tensor]:
    """The values and the gradients."""
    y = call(*inputs)
    return [y, *torch.autograd.grad(y, inputs, weight)]


def wait(device: str) -> None:
    """Until the device has done its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def median_seconds(calls: dict[str, Callable[[], object]], runs: int, device: str) -> dict[str, float]:
    """The median of each, all in turn, after two calls that do not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(runs + 2):
        for name, call in calls.items():
            wait(device)
            start = time.perf_counter()
            call()
            wait(device)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each[2:]) for name, each in times.items()}


def measure(name: str, subject: Subject, dtype: torch.dtype, runs: int, device: str) -> float:
    """Print a row of the table; returns the largest relative error."""
    call, exact = subject
    given = [x.to(dtype).requires_grad_() for x in exact]
    exact = [x.detach().double().requires_grad_() for x in given]
    weight = torch.ones_like(call(*given))
    plain = torch.compile(call) if device == "cuda" else call

    def ours() -> list[Tensor]:
        with backend("triton"):
            return both_ways(call, given, weight)

    found, expected = ours(), both_ways(call, exact, weight.double())
    error = max(
        float((a.detach().double() - b.detach()).abs().max() / b.detach().abs().max().clamp(min=1.0))
        for a, b in zip(found, expected, strict=True)
    )
    # Forward and backward read inputs and the gradient of the output, and write the output and the gradients of the inputs.
    moved = 2 * sum(x.numel() * x.element_size() for x in [*given, weight])
    block = torch.empty(moved // 2, dtype=torch.uint8, device=device)
    seconds = median_seconds({"ours": ours, "plain": lambda: both_ways(plain, given, weight), "copy": block.clone}, runs, device)
    share, ratio = seconds["copy"] / seconds["ours"], seconds["plain"] / seconds["ours"]
    dtype_name = str(dtype).removeprefix("torch.")
    print(f"| {name} | {dtype_name} | {error:.1e} | {1e3 * seconds['ours']:.3f} | {share:.0%} | {ratio:.2f} x |", flush=True)
    return error


def main() -> None:
    """Print the table; status 1 where an error is too large, 2 where there is nothing to run on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16", "float16"])
    parser.add_argument("--smoke", action="store_true", help="tiny, in Triton's interpreter on the CPU")
    args = parser.parse_args()
    if args.smoke and not INTERPRETED:
        sys.exit("--smoke runs in Triton's interpreter: set TRITON_INTERPRET=1 before the command")
    if not args.smoke and (INTERPRETED or not torch.cuda.is_available()):
        print(
            "this measures a GPU, and there is none (or TRITON_INTERPRET=1 hides it); --smoke tries the script", file=sys.stderr
        )
        sys.exit(2)
    device, shape, runs = ("cpu", (2, [1, 3], 3), 1) if args.smoke else ("cuda", (64, [1, 40, 260, 483], 64), args.runs)
    dtypes = ["float32"] if args.smoke else args.dtypes
    print(torch.cuda.get_device_name() if device == "cuda" else "Triton's interpreter: times say nothing", torch.__version__)
    print("| kernel | dtype | error | ms | of a copy | torch.compile / ours |\n|---|---|---|---|---|---|")
    cases = subjects(*shape, device, torch.Generator().manual_seed(0))
    wrong = [
        f"{name} in {dtype}"
        for dtype in dtypes
        for name, subject in cases.items()
        if not measure(name, subject, getattr(torch, dtype), runs, device) <= ERRORS[getattr(torch, dtype)]
    ]
    sys.exit(f"too far from float64: {', '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    main()
