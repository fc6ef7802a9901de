"""What does the switch between backends cost where nobody uses it? Less than 1 % of the smallest call.

    python benchmarks/backend_switch.py [--rounds 2000]

Each function of the kernels that asks for the backend in force, against a copy of it without the question, on signals so small
that nothing but overhead is left: (1, 3, 1), two clusters. Both run in turn, 20 calls at a time; medians of processor time.
"""

import argparse
import ast
import inspect
import platform
import statistics
import time
from collections.abc import Callable

import torch

from gnet.kernels import blocks, segments, sparse


def without_the_switch(call: Callable) -> Callable:
    """The function less every statement that asks for the backend in force."""
    module = inspect.getmodule(call)
    tree = ast.parse(inspect.getsource(call))
    body = tree.body[0].body
    kept = [each for each in body if "active" not in ast.unparse(each)]
    if len(kept) == len(body):
        raise SystemExit(f"{call.__name__} does not ask for the backend")
    tree.body[0].body = kept
    names = dict(vars(module))
    exec(compile(tree, module.__file__, "exec"), names)
    return names[call.__name__]


def seconds(call: Callable, args: tuple) -> float:
    """Of processor time for 20 calls."""
    start = time.thread_time()
    for _ in range(20):
        call(*args)
    return time.thread_time() - start


def main() -> None:
    """Print microseconds with and without, and their ratio, for each function."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, torch {torch.__version__}, one thread, {args.rounds} rounds of 20 calls")
    labels = torch.tensor([0, 0, 1])
    index = blocks.ClusterIndex.of(labels, torch.tensor([2, 1]))
    rows = sparse.RowIndex.of(torch.tensor([[0, 1], [1, 2]]), torch.tensor([0, 0]), 3, 1)
    x, own, mix = torch.ones(1, 3, 1), torch.ones(2, 1, 1), torch.ones(2, 1, 2, 1)
    calls: list[tuple[Callable, tuple]] = [
        (blocks.pooled_linear, (x, own, mix, None, index)),
        (blocks.pooled_linear_nodes_first, (x.transpose(0, 1), own, mix, None, index)),
        (blocks.own_linear, (x, own, torch.ones(1, 2, 1), index)),
        (segments.cluster_sum, (x, labels, 2)),
        (segments.segment_sum, (x[0], labels, 2)),
        (sparse.sparse_linear, (x, own[:1], rows)),
    ]
    with torch.no_grad():
        for call, given in calls:
            bare = without_the_switch(call)
            times = [(seconds(call, given), seconds(bare, given)) for _ in range(args.rounds)]
            ours, other = (statistics.median(column) for column in zip(*times, strict=True))
            each = f"{ours / 20 * 1e6:.2f} us, without the switch {other / 20 * 1e6:.2f} us"
            print(f"{call.__name__}: {each}, ratio {ours / other:.3f}", flush=True)


if __name__ == "__main__":
    main()
