"""Groups made of groups: on more coordinates, products on tensor products and on direct sums, complex ones as real ones."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from gnet.counts import is_count
from gnet.errors import GroupError
from gnet.groups import GeneratedGroup, MatrixGroup
from gnet.groups.matrix import generated

NEAR = 1e-6
"""Distance up to which a matrix counts as an element."""


def Embed(group: MatrixGroup, n: int) -> GeneratedGroup:
    """A group of d x d matrices on the first d of n coordinates, the identity on the others: SO(2) about the z-axis of R^3.

    Raises:
        GroupError: n < d, or no whole number.

    Example:
        >>> from gnet.plugins.tensors import SO
        >>> Embed(SO(2), 3).sample(1).shape
        torch.Size([1, 3, 3])
    """
    part = generated(group)
    if not is_count(n, part.dim):
        raise GroupError(f"expected a whole n >= {part.dim} to embed {part.name}, got {n!r}")
    blocks, contains = partial(_blocks, (part.dim,), n), partial(_is_of_blocks, [part])
    return _made_of(f"{part.name} in R^{n}", [part], blocks, _derived_blocks((part.dim,), n), contains)


def BlockSum(*groups: MatrixGroup) -> GeneratedGroup:
    """G_1 x ... x G_k on the direct sum of their spaces: each moves its own coordinates.

    Raises:
        GroupError: no group.

    Example:
        >>> from gnet.plugins.tensors import S
        >>> BlockSum(S(2), S(3)).order()
        12
    """
    if not groups:
        raise GroupError("expected one group or more for BlockSum, got none")
    parts = [generated(group) for group in groups]
    sizes = tuple(part.dim for part in parts)
    name = " x ".join(part.name for part in parts)
    build, derive = partial(_blocks, sizes, sum(sizes)), _derived_blocks(sizes, sum(sizes))
    return _made_of(f"{name} on the sum", parts, build, derive, partial(_is_of_blocks, parts))


def OnProduct(first: MatrixGroup, second: MatrixGroup) -> GeneratedGroup:
    """G x H on the tensor product of their spaces, by Kronecker products.

    dim T(k) of invariants is the product of those of G and H. Elements (g, h) and (-g, -h) are the same matrix, so the order may
    be less than the product of orders; of finite groups it is counted.

    Example:
        >>> from gnet.plugins.tensors import O, S
        >>> OnProduct(S(4), O(3)).dim
        12
    """
    name = f"{first.name} x {second.name} on the product"
    parts = one, other = generated(first), generated(second)
    is_rigid = all(part.is_orthogonal and not part.dtype.is_complex for part in parts)
    contains = partial(_is_kronecker, one, other) if is_rigid else None
    return _made_of(name, parts, _kronecker, partial(_derived_kronecker, first.dim, second.dim), contains)


def Realified(group: MatrixGroup) -> GeneratedGroup:
    """A group on C^n as one on R^(2n): real parts first, then imaginary parts.

    Raises:
        GroupError: the group is real already.

    Example:
        >>> from gnet.plugins.tensors import U
        >>> Realified(U(2)).dim
        4
    """
    part = generated(group)
    if not part.dtype.is_complex:
        raise GroupError(f"expected a complex group, got {part.name}, which is real already")
    contains = partial(_is_complex, part)
    return _made_of(f"{part.name} on R^{2 * part.dim}", [part], _real_blocks, lambda which, A: _real_blocks(A), contains)


def _made_of(
    name: str,
    parts: Sequence[GeneratedGroup],
    build: Callable[..., Tensor],
    derive: Callable[[int, Tensor], Tensor],
    contains: Callable[[Tensor], bool] | None = None,
) -> GeneratedGroup:
    """The group of ``build(g_1, ..., g_k)``; ``derive(i, A)`` is the Lie algebra element of A in part i."""
    kinds = {part.dtype for part in parts}
    kind = torch.complex128 if torch.complex128 in kinds else torch.float64
    units = [part.identity.to(kind) for part in parts]

    def alone(index: int, g: Tensor) -> Tensor:
        return build(*[g.to(kind) if i == index else unit for i, unit in enumerate(units)])

    generators = [alone(i, g) for i, part in enumerate(parts) for g in part.generators]
    algebra = [derive(i, A.to(kind)) for i, part in enumerate(parts) for A in part.lie_algebra]
    is_compact = all(part.is_compact for part in parts)
    return GeneratedGroup(
        name,
        generators,
        algebra,
        dim=build(*units).shape[-1],
        # Local elements of an unbounded part are those of the whole: the factory's own walk would do, too.
        sampler=partial(_sample, parts, build, kind) if is_compact else None,
        quadrature=partial(_product_rule, parts, build, kind) if is_compact else None,
        is_compact=is_compact,
        order=_order(parts, build),
        contains=contains,
    )


def _order(parts: Sequence[GeneratedGroup], build: Callable[..., Tensor]) -> int | None:
    """Of finite groups on a direct sum the product of orders; on other spaces two elements may be one matrix: count."""
    orders = [part.order() for part in parts]
    return None if math.inf in orders or build is _kronecker else int(math.prod(orders))


def _sample(
    parts: Sequence[GeneratedGroup],
    build: Callable[..., Tensor],
    kind: torch.dtype,
    num: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    return build(*[part.sample(num, generator).to(kind) for part in parts])


def _product_rule(
    parts: Sequence[GeneratedGroup], build: Callable[..., Tensor], kind: torch.dtype, degree: int
) -> tuple[Tensor, Tensor]:
    rules = [part.quadrature(degree) for part in parts]
    grid = torch.cartesian_prod(*[torch.arange(len(weights)) for _, weights in rules]).reshape(-1, len(rules))
    nodes = build(*[rule[0][grid[:, i]].to(kind) for i, rule in enumerate(rules)])
    weights = torch.stack([rule[1][grid[:, i]].double() for i, rule in enumerate(rules)]).prod(0)
    return nodes, weights


def _blocks(sizes: Sequence[int], n: int, *matrices: Tensor) -> Tensor:
    """Matrices along the diagonal, ones in what is left of it."""
    batch = matrices[0].shape[:-2]
    found = torch.eye(n, dtype=matrices[0].dtype).repeat(*batch, 1, 1)
    start = 0
    for size, matrix in zip(sizes, matrices, strict=True):
        found[..., start : start + size, start : start + size] = matrix
        start += size
    return found


def _derived_blocks(sizes: Sequence[int], n: int) -> Callable[[int, Tensor], Tensor]:
    def derive(index: int, A: Tensor) -> Tensor:
        found = torch.zeros(n, n, dtype=A.dtype)
        start = sum(sizes[:index])
        found[start : start + sizes[index], start : start + sizes[index]] = A
        return found

    return derive


def _kronecker(g: Tensor, h: Tensor) -> Tensor:
    size = g.shape[-1] * h.shape[-1]
    return torch.einsum("...ij,...kl->...ikjl", g, h).reshape(*g.shape[:-2], size, size)


def _derived_kronecker(first: int, second: int, index: int, A: Tensor) -> Tensor:
    unit = torch.eye(second if index == 0 else first, dtype=A.dtype)
    return torch.kron(A, unit) if index == 0 else torch.kron(unit, A)


def _real_blocks(g: Tensor) -> Tensor:
    """[[Re, -Im], [Im, Re]]."""
    return torch.cat([torch.cat([g.real, -g.imag], -1), torch.cat([g.imag, g.real], -1)], -2)


def _is_of_blocks(parts: Sequence[GeneratedGroup], g: Tensor) -> bool:
    """Elements of the parts along the diagonal, and ones in what is left of it."""
    start, rest = 0, g.clone()
    for part in parts:
        place = slice(start, start + part.dim)
        if not part.contains(g[place, place]):
            return False
        rest[place, place] = part.identity.to(g.dtype)
        start += part.dim
    return bool(((rest - torch.eye(len(g), dtype=g.dtype)).abs() < NEAR).all())


def _is_kronecker(first: GeneratedGroup, second: GeneratedGroup, g: Tensor) -> bool:
    """A Kronecker product of orthogonal elements: of rank one as a map between the factors, which are known up to a sign.

    References:
        Van Loan and Pitsianis (1993), doi:10.1007/978-94-015-8196-7_17.
    """
    sizes = (first.dim, second.dim)
    flat = g.reshape(*sizes, *sizes).transpose(1, 2).reshape(first.dim**2, second.dim**2)
    u, values, v = torch.linalg.svd(flat, full_matrices=False)
    if bool((values[1:] > NEAR * values[0]).any()):
        return False
    left = (u[:, 0] * math.sqrt(first.dim)).reshape(first.dim, first.dim)
    right = (v[0] * values[0] / math.sqrt(first.dim)).reshape(second.dim, second.dim)
    left, right = (torch.where((each - each.round()).abs() < 1e-9, each.round(), each) for each in (left, right))
    return any(first.contains(sign * left) and second.contains(sign * right) for sign in (1.0, -1.0))


def _is_complex(group: GeneratedGroup, g: Tensor) -> bool:
    """[[A, -B], [B, A]] with A + i B in the group."""
    d = group.dim
    real, imaginary = g[:d, :d], g[d:, :d]
    is_complex = bool(((_real_blocks(torch.complex(real, imaginary)) - g).abs() < NEAR).all())
    return is_complex and group.contains(torch.complex(real, imaginary))
