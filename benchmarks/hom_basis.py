"""How does the cost of a basis of equivariant maps grow with d and rank? As d^(3 rank) by linear algebra, d^rank by orbits.

Up to 4000 entries the Gram matrix of the constraints is the quickest of the general ways; descent starts to win beyond, where no
matrix of that size fits. Orbits of index tuples cost as little as writing the tensor down.

    python benchmarks/hom_basis.py [--groups SO O S B] [--budget 20] [--quick] [--pairs]

T(2) -> T(2) is rank 4. Processor seconds of one thread, of the first call, which is the number itself (bases are kept). A solver
is left out once it took longer than ``--budget`` at a smaller size, or needs more than 20 million numbers. ``--pairs``: the maps
T(2) -> T(2) of every group of the catalog, by the solver that "auto" takes.
"""

import argparse
import platform
import time
from collections.abc import Callable, Iterator

import torch

from gnet.errors import ConvergenceError, GnetError
from gnet.groups import GeneratedGroup
from gnet.plugins.tensors import CATALOG, SO, B, HomSpace, Lorentz, O, S, Simple, T, chosen_solver, invariant_tensors
from gnet.plugins.tensors.solvers import Solver, is_monomial

GROUPS: dict[str, Callable[[int], GeneratedGroup]] = {
    "SO": SO,
    "O": O,
    "Lorentz": lambda d: Lorentz(d - 1),
    "S": S,
    "B": B,
}
GENERAL: tuple[Solver, ...] = ("svd", "eigh", "iterative")


def measure(make: Callable[[], GeneratedGroup], rank: int, solver: Solver) -> tuple[float, int | str]:
    """Processor seconds of one basis, and its size or why there is none.

    Example:
        >>> measure(lambda: SO(2), 2, "eigh")[1]
        2
    """
    group = make()
    start = time.process_time()
    try:
        found: int | str = invariant_tensors(group, rank, 0, solver).shape[1]
    except ConvergenceError:
        found = "not converged"
    except GnetError:
        found = "too large"
    return time.process_time() - start, found


def lines(names: list[str], ranks: list[int], sizes: list[int], budget: float) -> Iterator[str]:
    """One line of the table for each group, rank and d."""
    slow: set[tuple[str, Solver, int]] = set()
    for name in names:
        for rank in ranks:
            for d in sizes:
                group = GROUPS[name](d)
                solvers = (("orbits",) if is_monomial(group) else ()) + GENERAL
                cells, count = {}, None
                for solver in ("orbits", *GENERAL):
                    if solver not in solvers:
                        cells[solver] = "-"
                        continue
                    if any((name, solver, entries) in slow for entries in range(d**rank + 1)):
                        cells[solver] = f"> {budget:g}"
                        continue
                    seconds, found = measure(lambda name=name, d=d: GROUPS[name](d), rank, solver)  # type: ignore[misc]
                    cells[solver] = f"{seconds:.3f}" if isinstance(found, int) else found
                    count = found if isinstance(found, int) else count
                    if seconds > budget:
                        slow.add((name, solver, d**rank))
                shown = " | ".join(cells[solver] for solver in ("orbits", *GENERAL))
                yield f"| {group.name} | {rank} | {d**rank} | {'?' if count is None else count} | {shown} |"


def pairs() -> Iterator[str]:
    """One line for each group of the catalog, T(2) -> T(2), and the sum."""
    total = 0.0
    for name, make in CATALOG.items():
        group = make()
        part = Simple(2, 2).canonical(group)
        start = time.process_time()
        found = HomSpace(T(2), T(2), group).dim
        seconds = time.process_time() - start
        total += seconds
        yield f"| {name} | {group.dim**4} | {found} | {chosen_solver(group, part.p, part.q)} | {seconds:.3f} |"
    yield f"| all {len(CATALOG)} | | | | {total:.3f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", nargs="+", default=["SO", "Lorentz", "S", "B"], choices=GROUPS)
    parser.add_argument("--ranks", nargs="+", type=int, default=[2, 3, 4, 5])
    parser.add_argument("--sizes", nargs="+", type=int, default=[2, 3, 4, 5])
    parser.add_argument("--budget", type=float, default=20.0)
    parser.add_argument("--quick", action="store_true", help="ranks 2 and 3, d = 2 and 3")
    parser.add_argument("--pairs", action="store_true", help="T(2) -> T(2) of every group of the catalog instead")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.quick:
        given.ranks, given.sizes = [2, 3], [2, 3]
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread, processor seconds\n")
    if given.pairs:
        print("| group | entries | maps | solver | seconds |\n|---|---|---|---|---|")
        for line in pairs():
            print(line, flush=True)
        return
    print("| group | rank | entries | invariants | orbits | svd | eigh | iterative |\n|---|---|---|---|---|---|---|---|")
    for line in lines(given.groups, given.ranks, given.sizes, given.budget):
        print(line, flush=True)


if __name__ == "__main__":
    main()
