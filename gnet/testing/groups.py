"""Laws of groups and of their actions, and the brute-force average that everything exact is checked against."""

import torch
from torch import Tensor

from gnet.counts import is_count
from gnet.errors import GroupError
from gnet.graphs.partition import Partition
from gnet.groups.base import Action, Group, NodeGroup
from gnet.groups.closure import closure
from gnet.groups.matrix import MatrixGroup
from gnet.groups.permutation import orbit_labels
from gnet.measures.equivariance import check_is_group
from gnet.testing.matrices import check_matrices
from gnet.testing.tolerances import LawBroken, require_close

ENUMERATED = 2_000
"""Largest order for which ``check_group`` compares a finite group with all its elements."""
PRODUCTS, ENTRIES = 100_000, 20_000_000
"""Products of two elements, and numbers in them, that ``check_group`` makes to count the elements of a larger one."""


def enumerate_elements(group: Group, limit: int = 50_000) -> Tensor:
    """All elements of a finite group, by closing the generators under composition: slow and obviously right.

    Shapes:
        returns: (order, ...)

    Raises:
        GroupError: more than ``limit`` elements, or no generators.

    Example:
        >>> len(enumerate_elements(SymmetricGroup(4)))
        24
    """
    if not len(group.generators) and group.order() != 1:
        raise GroupError(f"{group!r} knows no generators, so its elements cannot be enumerated")
    found = {_key(group.identity): group.identity}
    frontier = [group.identity]
    generators = list(group.generators)
    while frontier:
        fresh = []
        for element in frontier:
            for generator in generators:
                product = group.compose(generator, element)
                if _key(product) not in found:
                    found[_key(product)] = product
                    fresh.append(product)
        if len(found) > limit:
            raise GroupError(f"expected at most {limit} elements to enumerate, got more; {group!r}")
        frontier = fresh
    return torch.stack(list(found.values()))


def brute_force_mean(weight: Tensor, group: NodeGroup) -> Tensor:
    """The average of g W g^-1 over every element: the slow twin of ``PairOrbits.mean``.

    Shapes:
        weight: (N, N) or (N, C', N, C)
    """
    elements = enumerate_elements(group)
    total = torch.zeros_like(weight)
    for g in elements:
        back = torch.argsort(g)
        total += weight[back][:, back] if weight.ndim == 2 else weight[back][:, :, back]
    return total / len(elements)


def check_group(
    group: Group, x: Tensor | None = None, *, action: Action | None = None, num_samples: int = 8, seed: int = 0
) -> None:
    """Prove on samples that a group is one and that its action is a left action.

    Laws: identity, inverse, associativity, ``act(g h, x) = act(g, act(h, x))``, linearity of the action, membership of samples
    and generators, for orthogonal groups that lengths are kept, and for small finite ones that order, samples and node orbits
    are those of the elements that the generators make (the order also of larger ones, up to ``PRODUCTS`` products). Of groups of
    matrices also that form, Lie algebra and flags are true, that matrices outside are not contained, and that a compact one draws
    and integrates by its uniform law. What lies only beyond the functions that are tried is not seen: a rule that fails above
    degree 6, or draws from a very large finite subgroup.

    Args:
        x: signals to act on; a default is drawn for node groups (3, N, 2) and matrix groups (3, d).

    Raises:
        GroupError: no group, or a class of them.
        LawBroken: a law does not hold, or elements are not of the shape and dtype of the identity.

    Example:
        >>> check_group(ClusterGroup(Partition([0, 1, 0, 1, 1])))
    """
    check_is_group(group)
    generator = torch.Generator().manual_seed(seed)
    act = action or group.action
    samples = group.sample(num_samples, generator)
    if len(samples) != num_samples:
        raise LawBroken(f"sample: asked for {num_samples} elements, got {len(samples)}")
    elements = [*samples, *list(group.generators)[:num_samples]]
    _check_form(group, elements)
    signal = _signal(group, generator) if x is None else x
    identity, is_orthogonal = group.identity, group.is_orthogonal
    require_close("identity acts as nothing", act(identity, signal), signal)
    other = torch.randn(signal.shape, dtype=signal.dtype, generator=generator)
    for index, g in enumerate(elements):
        h, f = elements[(index + 1) % len(elements)], elements[(index + 2) % len(elements)]
        size = _size(g) * _size(h)
        require_close("identity on the left", group.compose(identity, g), g)
        require_close("identity on the right", group.compose(g, identity), g)
        require_close("inverse", group.compose(g, group.inverse(g)), identity, size * _size(group.inverse(g)))
        associated = group.compose(group.compose(g, h), f)
        require_close("associativity", group.compose(g, group.compose(h, f)), associated, size * _size(f))
        require_close("left action", act(group.compose(g, h), signal), act(g, act(h, signal)), size)
        require_close("linear action", act(g, signal + 2 * other), act(g, signal) + 2 * act(g, other), size)
        if is_orthogonal:
            require_close("orthogonal action", act(g, signal).norm(), signal.norm())
    _check_membership(group, elements)
    _check_finite(group, samples)
    if isinstance(group, MatrixGroup):
        check_matrices(group, elements, seed)


def _check_form(group: Group, elements: list[Tensor]) -> None:
    """Elements of groups of matrices look like the identity: other laws would fail on them without saying why."""
    if not isinstance(group, MatrixGroup):
        return
    if not is_count(group.dim):
        raise LawBroken(f"dim: expected a whole number >= 1, got {group.dim!r}")
    form = group.identity
    for g in elements:
        if not isinstance(g, Tensor) or g.shape != form.shape:
            got = tuple(g.shape) if isinstance(g, Tensor) else type(g).__name__
            raise LawBroken(
                f"shape: expected elements {tuple(form.shape)} for dim = {group.dim}, got {got}; give the class its dim"
            )
        if g.dtype != form.dtype:
            raise LawBroken(f"dtype: expected elements of {form.dtype} as the identity has, got {g.dtype}; make them with dtype=")


def _check_membership(group: Group, elements: list[Tensor]) -> None:
    try:
        inside = [group.contains(g) for g in elements]
    except GroupError:
        return  # the group has no membership test
    if not all(inside):
        raise LawBroken(f"membership: {inside.count(False)} of {len(inside)} own elements are not contained")


def _check_finite(group: Group, samples: Tensor) -> None:
    """Order, samples and node orbits against the enumeration of all elements, where there are few and generators are known."""
    if not group.is_finite or not len(group.generators):
        return
    if group.order() > ENUMERATED:
        _check_large_order(group)
        return
    claimed = int(group.order())
    try:
        known = enumerate_elements(group, claimed)
    except GroupError:
        raise LawBroken(f"order: the generators make more than {claimed} elements, order() says {claimed}") from None
    if len(known) != group.order():
        raise LawBroken(f"order: the generators make {len(known)} elements, order() says {group.order()}")
    keys = {_key(g) for g in known}
    outside = sum(_key(g) not in keys for g in samples)
    if outside:
        raise LawBroken(f"sample: {outside} of {len(samples)} samples are not made by the generators")
    many = group.sample(64, torch.Generator().manual_seed(1))
    if len(known) > 1 and len({_key(g) for g in many}) == 1:
        raise LawBroken(f"sample: 64 samples of a group of {len(known)} elements are all the same")
    if isinstance(group, NodeGroup) and group.node_orbits() != Partition(orbit_labels(known)):
        raise LawBroken("node orbits: node_orbits() is not what the elements map onto each other")


def _check_large_order(group: Group) -> None:
    """A claimed order beyond ``ENUMERATED`` against as many products of generators as ``PRODUCTS`` and ``ENTRIES`` allow."""
    claimed, number = int(group.order()), len(group.generators)
    limit = min(claimed, PRODUCTS // number, ENTRIES // (number * group.identity.numel()))
    if limit < 2 or not isinstance(group, NodeGroup | MatrixGroup):
        return
    known = _products(group, limit)
    if known != claimed and (known is not None or limit == claimed):
        made = f"more than {claimed}" if known is None else known
        raise LawBroken(f"order: the generators make {made} elements, order() says {claimed}")


def _products(group: NodeGroup | MatrixGroup, limit: int) -> int | None:
    """How many elements the generators make, all at once where ``enumerate_elements`` goes one by one; None if over ``limit``."""
    generators = torch.stack(list(group.generators))
    if isinstance(group, MatrixGroup):
        known = closure(generators, group.identity.to(generators), limit)
        return None if known is None else len(known)
    fresh, seen = group.identity[None], {group.identity.numpy().tobytes()}
    while len(fresh):
        products = torch.cat([g[fresh] for g in generators])
        new = []
        for index, row in enumerate(products.numpy()):
            key = row.tobytes()
            if key not in seen:
                seen.add(key)
                new.append(index)
        if len(seen) > limit:
            return None
        fresh = products[new]
    return len(seen)


def _signal(group: Group, generator: torch.Generator) -> Tensor:
    if isinstance(group, NodeGroup):
        return torch.randn(3, group.degree, 2, dtype=torch.float64, generator=generator)
    kind = torch.complex128 if group.identity.is_complex() else torch.float64
    return torch.randn(3, group.identity.shape[-1], dtype=kind, generator=generator)


def _size(g: Tensor) -> float:
    return float(g.norm(p=2)) if g.is_floating_point() or g.is_complex() else 1.0


def _key(g: Tensor) -> tuple[float, ...]:
    real = torch.view_as_real(g) if g.is_complex() else g
    return tuple((real.double() + 0.0).round(decimals=6).add(0.0).flatten().tolist())
