"""The search for the automorphisms of a coloured graph: refine, split into independent pieces, individualise, recurse.

A *piece* is a graph with a colour on every node and on every pair of joined nodes. Four steps, each exact whatever the graph:

1. *Refine*: every node takes up the multiset of its neighbours' colours, until nothing changes. Colours are 64-bit hashes of
   what was seen, so that colours of two pieces can be compared; two different neighbourhoods with one hash would only make the
   colouring coarser, and no verdict rests on it.
2. *Thin out*: between two colours (and within one) the commonest kind of pair says nothing that the others do not, so it is
   left out, joined or not. Complete and empty blocks vanish, twins fall apart.
3. *Split*: what is no longer connected is independent. Isomorphic components give a wreath product, loose nodes of one colour a
   symmetric group.
4. *Individualise*, if nothing fell apart: give one node v of the smallest colour class a colour of its own. The stabiliser of v
   is found by recursion; then every other node w of the class is tried, unless known automorphisms reach it already.

The order is the product of what steps 3 and 4 find. The caller verifies generators on the graph itself.

References:
    McKay and Piperno (2014), arXiv:1301.1493, on refinement, individualisation and pruning by automorphisms.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from gnet.groups.pieces import Ints, Parts, Piece

Move = tuple[Ints, Ints]
"""A permutation as its moved points: where from, where to."""


def isomorphism(one: Piece, other: Piece) -> Ints | None:
    """Where each position of ``one`` goes in ``other``, keeping all colours; None if that is impossible."""
    if len(one) != len(other) or one.profile != other.profile:
        return None
    first, second = one.parts, other.parts
    if first is None or second is None:
        if first is not second:
            return None
        fixed = one.individualised(int(one.target[0]))
        for position in other.target:
            found = isomorphism(fixed, other.individualised(int(position)))
            if found is not None:
                return found
        return None
    if len(first.components) != len(second.components) or not np.array_equal(first.loose_colours, second.loose_colours):
        return None
    image = np.empty(len(one), dtype=np.int64)
    image[first.loose] = second.loose
    waiting: dict[bytes, list[tuple[Piece, Ints]]] = {}
    for each in reversed(second.components):
        waiting.setdefault(each[0].profile, []).append(each)
    for piece, positions in first.components:
        candidates = waiting.get(piece.profile, [])
        for at in reversed(range(len(candidates))):
            found = isomorphism(piece, candidates[at][0])
            if found is not None:
                image[positions] = candidates.pop(at)[1][found]
                break
        else:
            return None
    return image


@dataclass(eq=False)
class Level:
    """What was found of a piece: factors of its group, one after the other.

    ``loose``: sets of nodes (names) that may be permuted freely. ``classes``: for each class of isomorphic components the level
    of the first one and, as names, the nodes of every component in corresponding order. ``stabiliser`` and ``nodes``,
    ``first``, ``orbit``: after individualising, the level of the piece with node ``first`` fixed, all its nodes, and those that
    ``first`` can go to; ``movers`` with the generators of the stabiliser move it there.
    """

    loose: list[Ints] = field(default_factory=list)
    classes: list[tuple["Level", list[Ints]]] = field(default_factory=list)
    stabiliser: "Level | None" = None
    nodes: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    first: int = -1
    orbit: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    movers: list[Move] = field(default_factory=list)

    @cached_property
    def order(self) -> int:
        """The number of automorphisms."""
        result = math.prod(math.factorial(len(nodes)) for nodes in self.loose)
        for level, copies in self.classes:
            result *= level.order ** len(copies) * math.factorial(len(copies))
        return result if self.stabiliser is None else result * self.stabiliser.order * len(self.orbit)

    def factors(self) -> Counter[str]:
        """The order as a product of factorials and numbers, with the power of each."""
        found = Counter(f"{len(nodes)}!" for nodes in self.loose)
        for level, copies in self.classes:
            for factor, power in level.factors().items():
                found[factor] += power * len(copies)
            found[f"{len(copies)}!"] += 1
        if self.stabiliser is not None:
            found.update(self.stabiliser.factors())
            found[str(len(self.orbit))] += 1
        return Counter({factor: power for factor, power in found.items() if factor not in ("1", "1!")})

    def generators(self) -> Iterator[Move]:
        """Automorphisms that generate the group."""
        for nodes in self.loose:
            yield nodes[:2], nodes[1::-1].copy()
            if len(nodes) > 2:
                yield nodes, np.roll(nodes, -1)
        for level, copies in self.classes:
            yield from level.generators()
            if len(copies) > 1:
                yield np.concatenate(copies[:2]), np.concatenate(copies[1::-1])
            if len(copies) > 2:
                yield np.concatenate(copies), np.concatenate([*copies[1:], copies[0]])
        if self.stabiliser is not None:
            yield from self.stabiliser.generators()
        yield from self.movers

    def draw(self, image: Ints, random: np.random.Generator) -> None:
        """Overwrite ``image`` (N,) on this level's nodes with a uniform automorphism of them."""
        for nodes in self.loose:
            image[nodes] = random.permutation(nodes)
        for level, copies in self.classes:
            first, moved = copies[0], []
            rank = dict(zip(first.tolist(), range(len(first)), strict=True))
            for copy, goal in zip(copies, random.permutation(len(copies)), strict=True):
                image[first] = first
                level.draw(image, random)
                inside = [rank[each] for each in image[first].tolist()]
                moved.append((copy, copies[goal][inside]))
            for copy, targets in moved:
                image[copy] = targets
        if self.stabiliser is not None:
            self.stabiliser.draw(image, random)
            for sources, targets in self._way_to(int(random.choice(self.orbit))):
                now = image[self.nodes]
                spot = np.minimum(np.searchsorted(sources, now), len(sources) - 1)
                image[self.nodes] = np.where(sources[spot] == now, targets[spot], now)

    @cached_property
    def _tree(self) -> dict[int, tuple[int, Move]]:
        """For every point of the orbit but the first: a point nearer to it, and a generator that leads on from there."""
        moves = []
        for sources, targets in [*self.movers, *(() if self.stabiliser is None else self.stabiliser.generators())]:
            order = np.argsort(sources)
            moves.append((sources[order], targets[order]))
        tables = [dict(zip(sources.tolist(), targets.tolist(), strict=True)) for sources, targets in moves]
        tree: dict[int, tuple[int, Move]] = {}
        reached = [self.first]
        for point in reached:
            for move, table in zip(moves, tables, strict=True):
                goal = table.get(point, point)
                if goal != self.first and goal not in tree:
                    tree[goal] = (point, move)
                    reached.append(goal)
        return tree

    def _way_to(self, point: int) -> list[Move]:
        """Generators that take the first point to ``point``, one after the other."""
        way = []
        while point != self.first:
            point, move = self._tree[point]
            way.append(move)
        return way[::-1]


def solve(piece: Piece) -> Level:
    """The automorphisms of a piece."""
    piece.refine()
    parts = piece.parts
    return _individualise(piece) if parts is None else _solve_parts(piece, parts)


def _solve_parts(piece: Piece, parts: Parts) -> Level:
    level = Level()
    cuts = np.flatnonzero(parts.loose_colours[1:] != parts.loose_colours[:-1]) + 1
    level.loose = [piece.nodes[each] for each in np.split(parts.loose, cuts) if len(each) > 1]
    classes: dict[bytes, list[tuple[Piece, list[Ints]]]] = {}
    for component, _ in parts.components:
        known = classes.setdefault(component.profile, [])
        for first, copies in known:
            found = isomorphism(first, component)
            if found is not None:
                copies.append(component.nodes[found])
                break
        else:
            known.append((component, [component.nodes]))
    for alike in classes.values():
        for first, copies in alike:
            below = solve(first)
            if below.order > 1 or len(copies) > 1:
                level.classes.append((below, copies))
    return level


def _individualise(piece: Piece) -> Level:
    target = piece.target
    fixed = piece.individualised(int(target[0]))
    below = solve(fixed)
    place = {int(node): at for at, node in enumerate(piece.nodes)}
    orbits = _Orbits(len(piece))
    for sources, targets in below.generators():
        orbits.join([place[int(each)] for each in sources], [place[int(each)] for each in targets])
    level = Level(stabiliser=below, nodes=piece.nodes, first=int(piece.nodes[target[0]]))
    failed = np.zeros(len(piece), dtype=bool)  # by the roots of their orbits, which a later join may change
    for position in map(int, target[1:]):
        root = orbits.find(position)
        if root == orbits.find(int(target[0])) or failed[root]:
            continue
        found = isomorphism(fixed, piece.individualised(position))
        if found is None:
            failed[root] = True
            continue
        tried = np.flatnonzero(failed)
        orbits.join(range(len(piece)), found.tolist())
        failed[[orbits.find(int(each)) for each in tried]] = True
        moved = np.flatnonzero(found != np.arange(len(piece)))
        level.movers.append((piece.nodes[moved], piece.nodes[found[moved]]))
    first = orbits.find(int(target[0]))
    level.orbit = piece.nodes[[each for each in target if orbits.find(int(each)) == first]]
    return level


class _Orbits:
    """Union and find."""

    def __init__(self, size: int) -> None:
        self.parent = list(range(size))

    def find(self, item: int) -> int:
        while self.parent[item] != item:
            self.parent[item] = self.parent[self.parent[item]]
            item = self.parent[item]
        return item

    def join(self, ones: Iterable[int], others: Iterable[int]) -> None:
        for one, other in zip(ones, others, strict=True):
            a, b = self.find(one), self.find(other)
            if a != b:
                self.parent[max(a, b)] = min(a, b)
