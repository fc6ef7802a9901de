"""What does a geometric convolution cost beside a plain one of as many channels? A fifth at 16 x 16 pixels, nothing at 128 x 128.

    python benchmarks/geometric_conv.py [--sizes 16 32 64 128 256] [--rounds 15] [--ginjax PYTHON] [--quick]

The floor is ``conv2d`` with as many channels as our layer has components, on the same wrapped signal: no layer of this kind can
do less. ginjax (Gregory et al. 2023, arXiv:2305.12585) runs the same layer, with as many weights, in a process of its own; PYTHON
is that of an environment with ginjax (``pip install "jax==0.10.2" equinox optax jaxtyping imageio matplotlib`` and
``pip install --no-deps ginjax``). Forward and backward, median processor milliseconds of interleaved calls, one thread, float32.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch

from gnet.plugins.geometric_images import ConvContract, Signature
from gnet.plugins.geometric_images.convolve import wrapped

WORKER = Path(__file__).parent / "peers" / "ginjax_conv.py"
CHANNELS = {0: 8, 1: 8}
BATCH, M = 4, 3
ONE_THREAD = {"OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}


def seconds(call: Callable[[], torch.Tensor]) -> float:
    """Processor time of a forward and a backward pass.

    Example:
        >>> weight = torch.ones(1, requires_grad=True)
        >>> seconds(lambda: 2 * weight) >= 0
        True
    """
    start = time.process_time()
    call().square().sum().backward()
    return time.process_time() - start


def ours(N: int) -> dict[str, Callable[[], torch.Tensor]]:
    """Our layer on N x N pixels, the floor, and the kernel that our layer makes, by itself.

    Example:
        >>> sorted(ours(8))
        ['conv2d', 'kernel', 'ours']
    """
    sig = Signature(2, {(k, 1): n for k, n in CHANNELS.items()})
    x = torch.randn(BATCH, sig.size, N, N, requires_grad=True)
    layer = ConvContract(sig, sig, M=M, bias=False)
    weight = torch.randn(sig.size, sig.size, M, M, requires_grad=True)
    return {
        "ours": lambda: layer(x),
        "conv2d": lambda: torch.nn.functional.conv2d(wrapped(x, M // 2, 2), weight),
        "kernel": layer.kernel,
    }


class Peer:
    """A process with ginjax that times one call for each line it is sent."""

    def __init__(self, python: str) -> None:
        settings = json.dumps({"d": 2, "M": M, "channels": CHANNELS, "batch": BATCH})
        self.process = subprocess.Popen(
            [python, str(WORKER), settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": ""},
        )
        self.about = json.loads(self._answer())

    def _answer(self) -> str:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise SystemExit(f"the process with ginjax ended with status {self.process.wait()}; its error stands above")
        return line

    def seconds(self, N: int) -> float:
        """Of one call."""
        if self.process.stdin:
            self.process.stdin.write(f"{N}\n")
            self.process.stdin.flush()
        return float(self._answer())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[16, 32, 64, 128, 256])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--ginjax", default=None, help="the Python of an environment with ginjax")
    parser.add_argument("--quick", action="store_true", help="N = 16 and 32, 5 rounds")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.quick:
        given.sizes, given.rounds = [16, 32], 5
    peer = Peer(given.ginjax) if given.ginjax else None
    weights = sum(p.numel() for p in ConvContract(*[Signature(2, {(k, 1): n for k, n in CHANNELS.items()})] * 2).weight)
    about = f"{peer.about['versions']}, {peer.about['weights']} weights" if peer else "ginjax not measured: give --ginjax PYTHON"
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread; ours {weights} weights; {about}\n"
    )
    print("| N | conv2d | ours | of which kernel | ours / conv2d | ginjax | ginjax / ours |\n|---|---|---|---|---|---|---|")
    for N in given.sizes:
        calls = ours(N)
        found: dict[str, list[float]] = {name: [] for name in [*calls, "ginjax"]}
        for turn in range(given.rounds + 2):
            for name, call in calls.items():
                found[name].append(seconds(call))
            if peer:
                found["ginjax"].append(peer.seconds(N))
            if turn == 1:  # the first two warm up
                found = {name: [] for name in found}
        ms = {name: 1000 * statistics.median(times) for name, times in found.items() if times}
        theirs = f"{ms['ginjax']:.1f} | {ms['ginjax'] / ms['ours']:.1f}" if peer else "not measured | "
        print(
            f"| {N} | {ms['conv2d']:.2f} | {ms['ours']:.2f} | {ms['kernel']:.2f} | {ms['ours'] / ms['conv2d']:.2f} | {theirs} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
