"""How do automorphisms, pair orbits, layers and weights grow with N? As N^1.1 to N^1.7, N^2.3 (edges: E), N, and the group.

On one thread the automorphisms of a grid of 10^4 nodes take 0.5 s, of one of 10^5 nodes 28 s; a table of 4096 nodes 2.7 to 11 s,
10^6 edges 1.3 to 2.9 s. Layers of clusters cost 2.5 to 6.4 x ``nn.Linear`` at every N, ``OrbitConv`` 4.5 to 48 x.

    python benchmarks/orbits.py [--parts automorphisms pairs layers weights] [--shape 8 16] [--runs 7] [--budget 6] [--quick]

*automorphisms*: generators and order of Aut(G). Beside them igraph's BLISS on the plain graph, if igraph is installed: it gives
generators alone, and knows no weights. *pairs*: ``PairOrbits.of`` makes a table N x N, ``PairOrbits.on`` labels a support.
*layers*: forward and backward of (B, N, C), as a multiple of ``nn.Linear`` on the same signal; all layers of one N run in turn.
*weights*: per pair of channels.

Processor seconds of one thread, medians after a first call (which is the number itself where it took long). In the first two
parts N grows until one call takes longer than ``--budget`` (igraph: a twentieth of it); the rest is left out, and says so.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from gnet.graphs import grid_patches
from gnet.groups import ClusterGroup, NodeGroup, PermutationGroup, SymmetricGroup, TrivialGroup, automorphism_group, grid_group
from gnet.nn import EquivariantLinear, IsotypicLinear, OrbitConv
from gnet.orbits import PairOrbits, close_edges

SKELETON = [-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 8, 10, 11, 8, 13, 14]
"""Parents of the 16 joints of a human body."""
MANY = {16: 4, 28: 4, 100: 10, 320: 10}
"""Sides of the grids that layers are timed on, and of the patches that are their many clusters: 16, 49, 100 and 1024 of them."""
DENSE_LAYERS = 1000
"""Most nodes of a layer whose weight is a matrix for all nodes: (N C)^2 numbers."""
SLOW = 4000.0
"""Milliseconds after which a layer runs no more."""
Table = list[tuple[object, ...]]
T = TypeVar("T")


def both_ways(one: Tensor, other: Tensor) -> Tensor:
    """Edges in both directions, (2, 2 E)."""
    return torch.stack([torch.cat([one, other]), torch.cat([other, one])])


def grid(side: int) -> Tensor:
    """A square grid of ``side**2`` nodes, each joined to the next in its row and column."""
    nodes = torch.arange(side * side).reshape(side, side)
    pairs = [torch.stack([a.flatten(), b.flatten()]) for a, b in ((nodes[:, :-1], nodes[:, 1:]), (nodes[:-1], nodes[1:]))]
    return both_ways(*torch.cat(pairs, 1))


def torus(side: int) -> Tensor:
    """The same, closed to a torus."""
    nodes = torch.arange(side * side).reshape(side, side)
    return both_ways(nodes.flatten().repeat(2), torch.cat([nodes.roll(1, 0).flatten(), nodes.roll(1, 1).flatten()]))


def tree(num_nodes: int) -> Tensor:
    """A random recursive tree: each node hangs on a uniformly drawn earlier one."""
    generator = torch.Generator().manual_seed(0)
    later = torch.arange(1, num_nodes)
    return both_ways((torch.rand(num_nodes - 1, generator=generator, dtype=torch.float64) * later).long(), later)


def star(num_nodes: int) -> Tensor:
    """A hub and its leaves."""
    leaves = torch.arange(1, num_nodes)
    return both_ways(torch.zeros_like(leaves), leaves)


def hypercube(dimension: int) -> Tensor:
    """The ``2**dimension`` corners of a cube, joined where one coordinate differs."""
    corners = torch.arange(2**dimension)
    return torch.cat([torch.stack([corners, corners ^ (1 << bit)]) for bit in range(dimension)], 1)


def graph(edges: Tensor) -> Data:
    """As PyTorch Geometric has it."""
    return Data(edge_index=edges, num_nodes=int(edges.max()) + 1)


def aut(edges: Tensor) -> PermutationGroup:
    """The automorphisms."""
    return automorphism_group(graph(edges))


def anew(group: PermutationGroup) -> PermutationGroup:
    """The group from its generators alone: what it remembers is not measured."""
    return PermutationGroup(group.motions, group.degree)


def timed(call: Callable[[], T], enough: float = 1.0) -> tuple[float, T]:
    """Processor seconds and the result: the median of three calls after a first one, or the first if it took ``enough``."""
    times: list[float] = []
    while not times or (sum(times) < enough and len(times) < 4):
        start = time.thread_time()
        result = call()
        times.append(time.thread_time() - start)
    return statistics.median(times[1:] or times), result


def within(sizes: Iterable[int], measure: Callable[[int], float], budget: float) -> Iterator[tuple[int, float | None]]:
    """What each size takes, until one takes longer than the budget; None for those after it."""
    is_over = False
    for size in sizes:
        spent = None if is_over else measure(size)
        is_over = is_over or spent is None or spent > budget
        yield size, spent


def shown(spent: float | None) -> str:
    """Seconds for a table."""
    return "left out" if spent is None else f"{spent:.3g}"


def igraph_seconds(edges: Tensor) -> float:
    """Generators by igraph's BLISS, building its graph not counted."""
    import igraph

    net = igraph.Graph(n=int(edges.max()) + 1, edges=edges.t().tolist()).simplify()
    return timed(net.automorphism_group)[0]


def automorphisms(budget: float, quick: bool) -> Table:
    """One row for each graph."""
    try:
        import igraph

        print(f"igraph {igraph.__version__}")
        theirs: Callable[[Tensor], float] | None = igraph_seconds
    except ImportError:
        print("igraph is not installed, so there is no comparison with it: pip install 'gnet[igraph]'")
        theirs = None
    families: list[tuple[str, Callable[[int], Tensor], list[int]]] = [
        ("grid", grid, [10, 32, 100, 178, 316]),
        ("random tree", tree, [100, 1000, 10_000, 100_000]),
        ("star", star, [100, 1000, 10_000, 100_000]),
        ("hypercube", hypercube, [7, 10, 12, 13]),
    ]
    rows: Table = []
    for name, make, sizes in families:
        kept = sizes[:2] if quick else sizes
        ours = within(kept, lambda size, make=make: timed(lambda: aut(make(size)))[0], budget)  # type: ignore[misc]
        # igraph lists every generator in full: a star of 10,000 nodes would be 10^8 Python integers.
        other = within(kept, lambda size, make=make: theirs(make(size)) if theirs else 0.0, budget / 20)  # type: ignore[misc]
        for (size, spent), (_, reference) in zip(ours, other, strict=True):
            edges = make(size)
            rows.append(
                (name, int(edges.max()) + 1, edges.shape[1] // 2, shown(spent), shown(reference) if theirs else "not installed")
            )
    return rows


def dense_pairs(budget: float, quick: bool) -> Table:
    """``PairOrbits.of`` for groups given by generators, one row each."""
    families: list[tuple[str, Callable[[int], PermutationGroup]]] = [
        ("D4 of a grid", lambda side: grid_group((side, side), "dihedral")),
        ("translations of a torus", lambda side: grid_group((side, side), "translations")),
        ("Aut of a random tree", lambda side: aut(tree(side * side))),
        ("Aut of a hypercube", lambda side: aut(hypercube(2 * side.bit_length() - 2))),
    ]
    rows: Table = []
    for name, make in families:
        counts: dict[int, int] = {}

        def measure(side: int, make: Callable[[int], PermutationGroup] = make, counts: dict[int, int] = counts) -> float:
            group = make(side)
            spent, orbits = timed(lambda: PairOrbits.of(anew(group)))
            counts[side] = orbits.count
            return spent

        for side, spent in within([8, 16] if quick else [8, 16, 32, 64], measure, budget):
            rows.append((name, side * side, counts.get(side, "-"), shown(spent)))
    return rows


def pairs_on_edges(budget: float, quick: bool) -> Table:
    """``PairOrbits.on`` the edges of a graph, one row each; the tree's automorphisms alone take minutes for 10^6 edges."""
    families: list[tuple[str, Callable[[int], tuple[PermutationGroup, Tensor]]]] = [
        ("D4, grid", lambda side: (grid_group((side, side), "dihedral"), grid(side))),
        ("translations, torus", lambda side: (grid_group((side, side), "translations"), torus(side))),
        ("translations and D4, torus", lambda side: (grid_group((side, side), ["translations", "dihedral"]), torus(side))),
        ("Aut, random tree", lambda side: (aut(tree(2 * side * side)), tree(2 * side * side))),
    ]
    rows: Table = []
    for name, make in families:
        found: dict[int, tuple[int, int]] = {}

        def measure(
            side: int, make: Callable[[int], tuple[PermutationGroup, Tensor]] = make, found: dict[int, tuple[int, int]] = found
        ) -> float:
            group, edges = make(side)
            spent, orbits = timed(lambda: PairOrbits.on(anew(group), edges))
            found[side] = edges.shape[1], orbits.count
            return spent

        sides = [16, 50, 160, 500][: 2 if quick else 3 if "tree" in name else 4]
        for side, spent in within(sides, measure, budget):
            rows.append((name, *found.get(side, ("-", "-")), shown(spent)))
    return rows


def layers_on(side: int, channels: int) -> dict[str, Callable[[], nn.Module]]:
    """The layers that are timed on ``side**2`` nodes; the clusters are 4 x 4 patches, or many of them."""
    size, c = (side, side), channels
    many = ClusterGroup(grid_patches(size, (side // MANY[side],) * 2))
    dihedral, shifts, nodes = grid_group(size, "dihedral"), grid_group(size, "translations"), side * side
    layers: dict[str, Callable[[], nn.Module]] = {
        "nn.Linear": lambda: nn.Linear(c, c),
        "16 clusters": lambda: EquivariantLinear(ClusterGroup(grid_patches(size, (4, 4))), c, c),
        "many clusters, coarse edges": lambda: EquivariantLinear(many, c, c, mixing="coarse_edges", edge_index=grid(side)),
        "many clusters, coarse edges, 4 bases": lambda: EquivariantLinear(
            many, c, c, mixing="coarse_edges", edge_index=grid(side), num_bases=4
        ),
        "OrbitConv, translations of a torus": lambda: OrbitConv(shifts, c, c, torus(side)),
        "OrbitConv, D4 of a grid": lambda: OrbitConv(dihedral, c, c, grid(side)),
        "OrbitConv, Aut of a random tree": lambda: OrbitConv(aut(tree(nodes)), c, c, tree(nodes)),
    }
    if nodes <= DENSE_LAYERS:
        layers["dense table, D4 of a grid"] = lambda: EquivariantLinear(dihedral, c, c)
        layers["isotypic basis, D4 of a grid"] = lambda: IsotypicLinear(dihedral, c, c)
    return layers


def step(layer: nn.Module, x: Tensor, weight: Tensor) -> float:
    """Milliseconds of one forward and backward."""
    x.grad = None
    layer.zero_grad()
    start = time.thread_time()
    layer(x).backward(weight)
    return 1e3 * (time.thread_time() - start)


def timed_layers(side: int, shape: tuple[int, int], runs: int) -> dict[str, tuple[str, str, str]]:
    """For each layer on ``side**2`` nodes: its time as a multiple of ``nn.Linear``'s, its weights, and seconds to make it."""
    batch, channels = shape
    x = torch.randn(batch, side * side, channels, requires_grad=True)
    weight = torch.randn(x.shape)
    subjects, made = {}, {}
    for name, make in layers_on(side, channels).items():
        start = time.thread_time()
        subjects[name] = make()
        made[name] = f"{time.thread_time() - start:.2g}"
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(runs + 1):
        for name, layer in subjects.items():
            if len(times[name]) < 4 or sum(times[name]) < SLOW:
                times[name].append(step(layer, x, weight))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    linear = medians["nn.Linear"]
    ratios = {name: f"{median / linear:.3g}" if name != "nn.Linear" else f"{linear:.3g} ms" for name, median in medians.items()}
    return {name: (ratios[name], f"{weights_of(layer):,}", made[name]) for name, layer in subjects.items()}


def show_layers(sides: list[int], shape: tuple[int, int], runs: int) -> None:
    """Three tables, one column for each N."""
    found = {side: timed_layers(side, shape, runs) for side in sides}
    names = dict.fromkeys(name for each in found.values() for name in each)
    head = ", ".join(["layer", *(f"N = {side**2}" for side in sides)])
    for place, title in enumerate(
        ("Layers, forward and backward, x nn.Linear", "Their weights per pair", "Seconds to make them")
    ):
        rows: Table = [(name, *(found[side].get(name, ("-",) * 3)[place] for side in sides)) for name in names]
        show(title, head, rows)


def weights_of(layer: nn.Module) -> int:
    """Numbers per pair of channels, bases counted with their shares; without biases."""
    if isinstance(layer, EquivariantLinear | OrbitConv | IsotypicLinear):
        return round(layer.num_weights / (layer.in_channels * layer.out_channels))
    return 1


def weights() -> Table:
    """Weights per pair of channels on all pairs of nodes, and along the edges with the images and self-loops they need."""
    size, small = (28, 28), (14, 14)
    swaps = {name: grid_group(small, name) for name in ("horizontal_flip", "dihedral", "translations")}
    patches = grid_patches(size, small)
    groups: list[tuple[str, NodeGroup, Tensor]] = [
        ("28 x 28: all nodes, S784", SymmetricGroup(784), grid(28)),
        ("28 x 28: 2 x 2 patches", ClusterGroup(grid_patches(size, (2, 2))), grid(28)),
        ("28 x 28: 7 x 7 patches", ClusterGroup(grid_patches(size, (7, 7))), grid(28)),
        ("28 x 28: 14 x 14 patches", ClusterGroup(patches), grid(28)),
        *((f"28 x 28: 14 x 14 patches, {name}", ClusterGroup(patches, swaps=swap), grid(28)) for name, swap in swaps.items()),
        ("28 x 28: D4", grid_group(size, "dihedral"), grid(28)),
        ("28 x 28: translations", grid_group(size, "translations"), torus(28)),
        ("28 x 28: translations and D4", grid_group(size, ["translations", "dihedral"]), torus(28)),
        ("28 x 28: trivial", TrivialGroup(784), grid(28)),
        ("16 joints: Aut of the skeleton", aut(skeleton()), skeleton()),
        ("16 joints: trivial", TrivialGroup(16), skeleton()),
        ("hypercube of 1024: Aut", aut(hypercube(10)), hypercube(10)),
        ("star of 1000: Aut", aut(star(1000)), star(1000)),
        ("random tree of 1000: Aut", aut(tree(1000)), tree(1000)),
    ]
    rows: Table = []
    for name, group, edges in groups:
        loops = torch.arange(group.degree).expand(2, -1)
        support = close_edges(group, torch.cat([edges, loops], 1))
        on_edges = PairOrbits.on(group, support).count
        rows.append((name, f"{PairOrbits.of(group).count:,}", f"{on_edges:,}", f"{support.shape[1]:,}"))
    return rows


def skeleton() -> Tensor:
    """The bones of the 16 joints."""
    return both_ways(torch.tensor(SKELETON[1:]), torch.arange(1, len(SKELETON)))


def show(title: str, head: str, rows: Table) -> None:
    """A markdown table."""
    columns = head.split(", ")
    lines = [columns, ["---"] * len(columns), *([str(cell) for cell in row] for row in rows)]
    print(f"\n{title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines), flush=True)


def main() -> None:
    """Print the tables."""
    parts = ["automorphisms", "pairs", "layers", "weights"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--shape", type=int, nargs=2, default=[8, 16], metavar=("B", "C"))
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--budget", type=float, default=6.0, help="seconds after which N stops growing")
    parser.add_argument("--quick", action="store_true", help="small N alone")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, torch {torch.__version__}, 1 thread, (B, C) = {tuple(args.shape)}")
    if "automorphisms" in args.parts:
        show("Automorphisms, seconds", "graph, N, edges, gnet, igraph", automorphisms(args.budget, args.quick))
    if "pairs" in args.parts:
        show("All pairs, seconds", "group, N, pair orbits, seconds", dense_pairs(args.budget, args.quick))
        show(
            "Pairs on edges, seconds",
            "group and graph, directed edges, edge orbits, seconds",
            pairs_on_edges(args.budget, args.quick),
        )
    if "layers" in args.parts:
        show_layers(list(MANY)[:2] if args.quick else list(MANY), tuple(args.shape), args.runs)
    if "weights" in args.parts:
        show("Weights per pair of channels", "group, all pairs, along edges, pairs on that support", weights())


if __name__ == "__main__":
    main()
