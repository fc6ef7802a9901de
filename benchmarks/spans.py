"""Do live peers find the same span, and how long do they take? Yes, to 1e-14 (EMLP iterating: 4e-5); 3 to 11,000 x ours.

    python benchmarks/spans.py [--peers emlp escnn symm-learning] [--envs DIR] [--limit 120] [--quick]

The span is that of the linear maps on node signals that commute with a permutation group. Each peer runs in a virtual environment
of its own, made on first use in ``--envs`` (about 1.2 GB each with torch), and in a new process per case; it gets generators and
returns a basis. Spans agree when their dimensions do and the projectors onto them differ by less than 1e-6 (spectral norm,
float64). The same comparison with a liar, the group with two nodes exchanged, must fail. Exit status 1: a peer
found another span; EMLP does for constraints of more than 3e7 numbers, which it solves by iteration to a tolerance of 1e-5.

Seconds of processor time on one thread, from generators to a dense basis; "first" is the first call in a process, "irreps" our
isotypic decomposition, which the last two peers do on their way. The peers solve more general problems: EMLP takes any matrices,
the other two any representation of a group whose irreducible ones they know.
"""

import argparse
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gnet.groups import PermutationGroup, grid_group
from gnet.nn import isotypic_decomposition
from gnet.orbits import PairOrbits

TOLERANCE = 1e-6
ANOTHER = "not the same"
WORKERS = Path(__file__).parent / "peers"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
# escnn requires py3nj, which has no wheel and builds with a Fortran compiler only; escnn does without it except for SO(3).
ESCNN = (["torch==2.13.0", "numpy<2", "scipy", "lie-learn", "joblib", "pymanopt", "autograd"],)
RECIPES: dict[str, tuple[list[str], ...]] = {
    "emlp": (["emlp==1.0.3", "jax==0.10.2", "objax==1.8.0", "six"],),  # objax forgets that it needs six
    "escnn": (*ESCNN, ["--no-deps", "escnn==1.0.11"]),
    "symm-learning": (*ESCNN, ["--no-deps", "escnn==1.0.11", "symm-learning==0.8.1"]),
}
"""What pip installs for each peer, one call after the other."""


@dataclass(frozen=True)
class Case:
    """A permutation group; ``factors`` names it as a product of groups that escnn has, with these generators in this order."""

    name: str
    generators: list[list[int]]
    factors: list[tuple[str, int]]

    @property
    def liar(self) -> "Case":
        """The same group with the first and the last node exchanged; where that changes nothing, its first generator's group."""
        last = len(self.generators[0]) - 1
        swap = [last, *range(1, last), 0]
        other = Case("liar", [[swap[g[swap[i]]] for i in range(last + 1)] for g in self.generators], [])
        same = torch.equal(orbits(other).labels(), orbits(self).labels())
        return Case("liar", self.generators[:1], []) if same else other


def moving(num_nodes: int, *cycles: list[int]) -> list[int]:
    """The permutation with the given cycles."""
    perm = list(range(num_nodes))
    for cycle in cycles:
        for node, image in zip(cycle, cycle[1:] + cycle[:1], strict=True):
            perm[node] = image
    return perm


def grid(side: int, symmetry: str) -> list[list[int]]:
    """Generators of a group of a square grid."""
    return [g.tolist() for g in grid_group((side, side), symmetry).generators]  # type: ignore[arg-type]


def cases(quick: bool) -> list[Case]:
    """From four nodes up to 64, in growing order."""
    ring = [moving(4, [0, 1, 2, 3]), moving(4, [1, 3])]
    clusters = [moving(6, [0, 1, 2]), moving(6, [1, 2]), moving(6, [3, 4])]
    unit = [moving(8, [0, 1, 2, 3], [4, 7, 6, 5]), moving(8, [0, 4, 2, 6], [1, 5, 3, 7])]  # i and j, by left multiplication
    mirror = [moving(16, [1, 4], [2, 5], [3, 6]), moving(16, [10, 13], [11, 14], [12, 15])]
    d4: list[tuple[str, int]] = [("dihedral", 4)]
    small = [
        Case("ring of 4, D4", ring, d4),
        Case("5 nodes, S5", [moving(5, list(range(5))), moving(5, [0, 1])], []),
        Case("clusters 3, 2, 1", clusters, [("dihedral", 3), ("cyclic", 2)]),
        Case("ring of 7, C7", [moving(7, list(range(7)))], [("cyclic", 7)]),
        Case("8 nodes, Q8", unit, []),
        Case("3 x 3 grid, D4", grid(3, "dihedral"), d4),
        Case("skeleton, (S2)^2", mirror, [("cyclic", 2), ("cyclic", 2)]),
        Case("4 x 4 grid, D4", grid(4, "dihedral"), d4),
        Case("4 x 4 torus, C4 x C4", grid(4, "translations"), [("cyclic", 4), ("cyclic", 4)]),
    ]
    large = [
        Case("6 x 6 grid, D4", grid(6, "dihedral"), d4),
        Case("8 x 8 grid, D4", grid(8, "dihedral"), d4),
        Case("8 x 8 torus, C8 x C8", grid(8, "translations"), [("cyclic", 8), ("cyclic", 8)]),
    ]
    return small if quick else small + large


def orbits(case: Case) -> PairOrbits:
    """Our pair orbits."""
    return PairOrbits.of(PermutationGroup(case.generators))


def our_basis(case: Case) -> Tensor:
    """An orthonormal basis from the pair orbits, (N^2, dim) float64."""
    found = orbits(case)
    return torch.nn.functional.one_hot(found.labels().flatten()).double() / found.orbit_sizes.double().sqrt()


def orthonormal(basis: Tensor) -> Tensor:
    """Orthonormal columns with the span of the matrices (dim, N, N), (N^2, rank)."""
    vectors, values, _ = torch.linalg.svd(basis.double().flatten(1).mT, full_matrices=False)
    return vectors[:, values > 1e-9 * values[0]]


def assert_same_span(one: Tensor, other: Tensor) -> float:
    """The spectral norm of the difference of the projectors onto two spans, given by orthonormal columns.

    Raises:
        AssertionError: another dimension, or projectors that differ.
    """
    outside = one - other @ (other.mT @ one), other - one @ (one.mT @ other)
    gap = max(float(torch.linalg.matrix_norm(each, ord=2)) for each in outside)
    assert one.shape == other.shape, f"dimensions {one.shape[1]} and {other.shape[1]}"
    assert gap < TOLERANCE, f"projectors differ by {gap:.1e}"
    return gap


def refused(peer_basis: Tensor, case: Case) -> str:
    """What the comparison says to a liar.

    Raises:
        SystemExit: it takes the liar for the group.
    """
    try:
        assert_same_span(peer_basis, our_basis(case.liar))
    except AssertionError as error:
        return str(error)
    raise SystemExit(f"{case.name}: the comparison cannot tell the group from another")


def environment(peer: str, folder: Path) -> Path | str:
    """The Python of a peer's environment, which is made unless it is there; what pip says if it cannot be."""
    home = folder / peer
    python, recipe = home / "bin" / "python", json.dumps(RECIPES[peer])
    done = home / "installed.json"
    if done.exists() and done.read_text() == recipe:
        return python
    print(f"installing {peer} in {home}", file=sys.stderr)
    steps = [[sys.executable, "-m", "venv", "--clear", str(home)]]
    steps += [[str(python), "-m", "pip", "install", "-q", *step] for step in RECIPES[peer]]
    for step in steps:
        result = subprocess.run(step, capture_output=True, text=True, check=False)
        if result.returncode:
            errors = [line.strip() for line in result.stderr.splitlines() if "ERROR" in line or line.startswith("error")]
            return errors[0] if errors else f"exit status {result.returncode}"
    done.write_text(recipe)
    return python


def call(python: Path, peer: str, *args: Path, limit: int) -> str:
    """What a worker prints.

    Raises:
        RuntimeError: it fails, with the last line of its error; or it needs more processor time than the limit.
    """
    command = [python, WORKERS / f"{peer.replace('-', '_')}_basis.py", *args]
    outside = {**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, **ONE_THREAD}
    # Processor time, so that a busy machine leaves out the same cases.
    limited = partial(resource.setrlimit, resource.RLIMIT_CPU, (limit, limit + 5))
    result = subprocess.run(command, capture_output=True, text=True, env=outside, check=False, preexec_fn=limited)
    if result.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise RuntimeError(f"over {limit} s")
    if result.returncode:
        raise RuntimeError(result.stderr.strip().splitlines()[-1])
    return result.stdout.strip()


def measure(python: Path, peer: str, case: Case, limit: int) -> str:
    """Compare a peer with us on one case: its seconds and those of the first call, or what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "case.json", Path(folder) / "basis.npz"
        asked.write_text(json.dumps(asdict(case)))
        try:
            call(python, peer, asked, answered, limit=limit)
        except RuntimeError as error:
            return str(error).removeprefix("NotImplementedError: ")
        with np.load(answered) as found:
            peer_basis = orthonormal(torch.from_numpy(found["basis"]))
            seconds, first = float(found["seconds"]), float(found["first"])
    told = f"{seconds:.3g} ({first:.3g})"
    try:
        verdict = f"same span, projectors differ by {assert_same_span(peer_basis, our_basis(case)):.1e}"
    except AssertionError as error:
        verdict = f"{ANOTHER}: {error}"
        told = f"{told}, {verdict}"
    print(f"{peer}, {case.name}: {verdict}; liar: {refused(peer_basis, case)}", flush=True)
    return told


def our_seconds(make: Callable[[], object], runs: int = 7) -> str:
    """Median seconds after a first call."""
    times = []
    for _ in range(runs + 1):
        start = time.process_time()
        make()
        times.append(time.process_time() - start)
    return f"{statistics.median(times[1:]):.2g}"


def main() -> None:
    """Print what each peer found, then one table of seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--envs", type=Path, default=Path.home() / ".cache" / "gnet-benchmarks", help="folder of environments")
    parser.add_argument("--limit", type=int, default=120, help="most processor seconds of one case in one peer")
    parser.add_argument("--quick", action="store_true", help="small cases alone")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, 1 thread\n")
    pythons: dict[str, Path] = {}
    for peer in args.peers:
        found = environment(peer, args.envs.resolve())
        try:
            print(f"{peer}: {call(found, peer, limit=args.limit) if isinstance(found, Path) else f'not installed: {found}'}")
        except RuntimeError as error:
            found = str(error)
            print(f"{peer}: does not run: {error}")
        if isinstance(found, Path):
            pythons[peer] = found
    print()
    rows = [f"| group | nodes | dimension | gnet | irreps | {' | '.join(pythons)} |", "|---" * (5 + len(pythons)) + "|"]
    for case in cases(args.quick):
        theirs = [measure(python, peer, case, args.limit) for peer, python in pythons.items()]
        cells = [case.name, str(len(case.generators[0])), str(orbits(case).count), our_seconds(partial(our_basis, case))]
        irreps = our_seconds(lambda case=case: isotypic_decomposition(PermutationGroup(case.generators)))  # type: ignore[misc]
        rows.append(f"| {' | '.join([*cells, irreps, *theirs])} |")
    print("\nSeconds to a dense basis, median (first call):\n\n" + "\n".join(rows))
    if any(ANOTHER in row for row in rows):
        raise SystemExit("not every peer found our span; see the table")


if __name__ == "__main__":
    main()
