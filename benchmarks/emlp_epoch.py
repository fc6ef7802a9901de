"""How long is an epoch of an EMLP on the springy double pendulum? Under half of what it takes with maps first in every product.

    python benchmarks/emlp_epoch.py [--kinds hnn node] [--chunks 200] [--rounds 3] [--group "O(2)"] [--quick]

One epoch is one step of Adam on all chunks, RK4 with two steps between five times, as in configs/plugins/pendulum/table.yaml.
"as trained": maps are made once for a path, products are taken in the cheaper order. "maps at each call": without the first.
"maps first": without either, products of maps and signals before weights. Processor seconds, one thread, float32, smallest of
interleaved rounds.
"""

import argparse
import platform
import time
from collections.abc import Callable
from contextlib import nullcontext
from unittest import mock

import torch
from torch import Tensor, nn

from gnet.plugins.pendulum import field_of, initial_states, integrate
from gnet.plugins.tensors import Bilinear, shared_maps

TIMES = torch.arange(5) * 0.2


def maps_first(weight: Tensor, maps: Tensor, signals: Tensor) -> Tensor:
    """sum_mk w_nmk M_k x_m, with every M_k x_m made.

    Example:
        >>> maps_first(torch.ones(2, 3, 4), torch.ones(5, 6, 7, 4), torch.ones(5, 7, 3)).shape
        torch.Size([5, 6, 2])
    """
    products = torch.einsum("bstk,btm->bksm", maps.flatten(1, -2).unflatten(1, (-1, signals.shape[1])), signals)
    return torch.einsum("nmk,bksm->bsn", weight, products)


def epoch(field: nn.Module, optimizer: torch.optim.Optimizer, z: Tensor, is_shared: bool) -> None:
    """One step.

    Example:
        >>> field = nn.Linear(12, 12)
        >>> epoch(field, torch.optim.SGD(field.parameters()), torch.zeros(2, 12), True)
    """
    with shared_maps(field) if is_shared else nullcontext():
        path = integrate(field, z, TIMES, check=False)
    optimizer.zero_grad()
    (path - z[:, None]).square().mean().backward()
    optimizer.step()


def seconds(call: Callable[[], None]) -> float:
    """Processor time.

    Example:
        >>> seconds(lambda: None) >= 0
        True
    """
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=["node", "hnn"])
    parser.add_argument("--chunks", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--group", default="O(2)")
    parser.add_argument("--quick", action="store_true", help="ten chunks, one round")
    given = parser.parse_args()
    if given.quick:
        given.chunks, given.rounds = 10, 1
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread, processor seconds\n")
    print("| kind | chunks | as trained | maps at each call | maps first |\n|---|---|---|---|---|")
    z = initial_states(given.chunks, torch.Generator().manual_seed(0)).float()
    for kind in given.kinds:
        field = field_of(kind, given.group, generator=torch.Generator().manual_seed(0))
        optimizer = torch.optim.Adam(field.parameters(), lr=3e-3)
        found: list[list[float]] = [[], [], []]
        for _ in range(given.rounds + 1):
            found[0].append(seconds(lambda: epoch(field, optimizer, z, True)))  # noqa: B023
            found[1].append(seconds(lambda: epoch(field, optimizer, z, False)))  # noqa: B023
            with mock.patch.object(Bilinear, "_product", staticmethod(maps_first)):
                found[2].append(seconds(lambda: epoch(field, optimizer, z, False)))  # noqa: B023
        cells = " | ".join(f"{min(each[1:]):.2f}" for each in found)
        print(f"| {kind} | {given.chunks} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
