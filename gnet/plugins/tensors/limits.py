"""How large a basis may be, and how many tensors it has at least: what is refused before it is made."""

from math import factorial, prod

from gnet.errors import RepresentationError
from gnet.groups import GeneratedGroup
from gnet.plugins.tensors.reps import Simple

HELD = 100_000_000
"""Most numbers of one basis, 0.8 GB in float64; a solver works with several stacks of that size."""


def check_held(group: GeneratedGroup, part: Simple, count: int) -> None:
    """Refuse a basis of ``count`` tensors or more that has more than ``HELD`` numbers, before it is made.

    Raises:
        RepresentationError: with its size and the memory that it would take.

    Example:
        >>> from gnet.plugins.tensors import O
        >>> check_held(O(5), Simple(10), 945)
        Traceback (most recent call last):
        gnet.errors.RepresentationError: T(10) of O(5) has 945 invariants or more, each of 9765625 entries: 74 GB, more than ...
    """
    size = part.size(group.dim)
    if size * count > HELD:
        raise RepresentationError(
            f"{part} of {group.name} has {count} invariants or more, each of {size} entries: {8e-9 * size * count:.2g} GB, more "
            f"than the {8e-9 * HELD:.2g} GB of a basis; take types of lower rank, or functions of scalars (gnet.plugins.scalars)"
        )


def fewest_invariants(group: GeneratedGroup, part: Simple) -> int:
    """A bound from below of dim T(p, q), in no time: the invariants of all of O(d), or of GL(d), which every subgroup has.

    They are the pairings of indices, of which (2 m - 1)!! and m! at least are independent, m being the number of pairs, or d
    if that is less.

    References:
        Weyl (1946), The Classical Groups: the first and second fundamental theorems.

    Example:
        >>> from gnet.plugins.tensors import GL, O
        >>> fewest_invariants(O(5), Simple(10)), fewest_invariants(O(3), Simple(3)), fewest_invariants(GL(3), Simple(2, 2))
        (945, 0, 2)
    """
    if group.is_orthogonal and not group.dtype.is_complex:
        return 0 if part.rank % 2 else prod(range(1, 2 * min(part.rank // 2, group.dim), 2))
    return factorial(min(part.p, group.dim)) if part.p == part.q else 0
