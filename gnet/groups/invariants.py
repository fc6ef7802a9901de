"""What a group leaves as it is, by linear algebra: signals that do not move, and linear maps that commute with it.

Nothing but the actions is asked for: their matrices come from acting on unit signals, the Lie algebra from a derivative at the
identity. Slow and general; families that know more of their actions have faster ways, which are tested against this one.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gnet.errors import GroupError
from gnet.groups.base import Action, Group

CUT = 1e-8
"""Singular values below this share of the largest count as zero, in float64."""


def action_matrix(action: Action, g: Tensor, shape: Sequence[int]) -> Tensor:
    """The matrix by which an element acts on signals of a shape, flattened.

    Shapes:
        returns: (n, n) with n the product of ``shape``

    Example:
        >>> action_matrix(SymmetricGroup(2).action, torch.tensor([1, 0]), (2, 1))
        tensor([[0., 1.],
                [1., 0.]], dtype=torch.float64)
    """
    units = _units(g, shape)
    return action(g, units).reshape(len(units), -1).mT


def derived_matrix(action: Action, algebra: Tensor, identity: Tensor, shape: Sequence[int]) -> Tensor:
    """d/dt of the action of exp(t A) at t = 0, as a matrix; of a linear action it depends on A linearly.

    Shapes:
        algebra, identity: (d, d)    returns: (n, n)

    Example:
        >>> from gnet.groups.matrix import GeneratedGroup
        >>> turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
        >>> derived_matrix(GeneratedGroup("SO(2)", lie_algebra=[turn]).action, turn, torch.eye(2).double(), (2,)).tolist()
        [[0.0, -1.0], [1.0, 0.0]]
    """
    units = _units(algebra, shape)
    at, along = identity.to(algebra), algebra
    moved = torch.func.jvp(lambda g: action(g, units), (at,), (along,))[1]
    return moved.reshape(len(units), -1).mT


def invariants(group: Group, action: Action | None = None, shape: Sequence[int] | None = None) -> Tensor:
    """An orthonormal basis of the signals that every element leaves as they are, one in each row.

    Args:
        action: None is the group's own.
        shape: of one signal; None is (d,) for matrices and (N, 1) for groups of nodes.

    Shapes:
        returns: (r, *shape)

    Raises:
        GroupError: an infinite group without generators and Lie algebra, of which nothing is known.

    References:
        Finzi, Welling and Wilson (2021), arXiv:2104.09459, theorem 1.

    Example:
        >>> len(invariants(ClusterGroup(Partition([0, 0, 1]))))
        2
    """
    action, shape = action or group.action, tuple(shape or own_shape(group))
    n = math.prod(shape)
    unit = torch.eye(n, dtype=_kind(group))
    rows = [action_matrix(action, g, shape) - unit for g in _generators(group)]
    rows += [derived_matrix(action, A, group.identity, shape) for A in group.lie_algebra]
    return null_space(rows, n, _kind(group)).reshape(-1, *shape)


def equivariant_maps(
    group: Group,
    action_in: Action | None = None,
    action_out: Action | None = None,
    shape_in: Sequence[int] | None = None,
    shape_out: Sequence[int] | None = None,
) -> Tensor:
    """An orthonormal basis of the linear maps L with L g = g L for every element, g acting on both sides.

    The constraints psi(h) L = L phi(h) and dpsi(A) L = L dphi(A) need no inverse. O((n n')^3) operations: for small signals.

    Args:
        action_in, action_out: None is the group's own.
        shape_in, shape_out: of one signal; None is (d,) for matrices, (N, 1) for groups of nodes.

    Shapes:
        returns: (r, n', n) with n and n' the products of the shapes

    Raises:
        GroupError: an infinite group without generators and Lie algebra.

    References:
        Finzi, Welling and Wilson (2021), arXiv:2104.09459, theorem 1.

    Example:
        >>> len(equivariant_maps(SymmetricGroup(4)))  # the identity and the mean
        2
    """
    before, after = action_in or group.action, action_out or group.action
    ins, outs = (
        tuple(own_shape(group) if shape_in is None else shape_in),
        tuple(own_shape(group) if shape_out is None else shape_out),
    )
    pairs = [(action_matrix(before, g, ins), action_matrix(after, g, outs)) for g in _generators(group)]
    identity = group.identity
    pairs += [(derived_matrix(before, A, identity, ins), derived_matrix(after, A, identity, outs)) for A in group.lie_algebra]
    n, m = math.prod(ins), math.prod(outs)
    return commuting(pairs, n, m, _kind(group))


def commuting(pairs: Sequence[tuple[Tensor, Tensor]], n: int, m: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """An orthonormal basis of the maps L with b L = L a for all pairs (a, b).

    Shapes:
        pairs: (n, n) and (m, m)    returns: (r, m, n)

    Example:
        >>> len(commuting([(torch.diag(torch.tensor([1.0, 2.0])).double(),) * 2], 2, 2))
        2
    """
    one_in, one_out = torch.eye(n, dtype=dtype), torch.eye(m, dtype=dtype)
    rows = [torch.kron(b.to(dtype).contiguous(), one_in) - torch.kron(one_out, a.to(dtype).mT.contiguous()) for a, b in pairs]
    return null_space(rows, n * m, dtype).reshape(-1, m, n)


def null_space(rows: Sequence[Tensor], size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """An orthonormal basis, in rows, of the vectors that every matrix sends to zero.

    Shapes:
        rows: each (?, size)    returns: (r, size)

    Example:
        >>> null_space([torch.ones(1, 2).double()], 2).abs()
        tensor([[0.7071, 0.7071]], dtype=torch.float64)
    """
    if not rows:
        return torch.eye(size, dtype=dtype)
    stacked = torch.cat([row.to(dtype) for row in rows])
    # R has the null space of C and at most size rows.
    r = torch.linalg.qr(stacked, mode="r")[1] if len(stacked) > size else stacked
    _, values, vh = torch.linalg.svd(r, full_matrices=True)
    # What is left of a constraint that holds everywhere is rounding of numbers of size one.
    scale = max(float(values.max()) if len(values) else 0.0, 1.0)
    rank = int((values > CUT * scale).sum())
    return vh[rank:].conj()


def own_shape(group: Group) -> tuple[int, ...]:
    """Of one signal that the group's own action moves: (N, 1) nodes, or a vector (d,).

    Example:
        >>> own_shape(SymmetricGroup(3))
        (3, 1)
    """
    degree = getattr(group, "degree", None)
    return (int(degree), 1) if degree is not None else (int(group.identity.shape[-1]),)


def _generators(group: Group) -> list[Tensor]:
    found = list(group.generators)
    if not found and not len(group.lie_algebra) and group.order() != 1:
        raise GroupError(
            f"{group.name} knows neither generators nor a Lie algebra, so its invariants cannot be found; define them"
        )
    return found


def _kind(group: Group) -> torch.dtype:
    return torch.complex128 if group.identity.is_complex() else torch.float64


def _units(like: Tensor, shape: Sequence[int]) -> Tensor:
    """Unit signals, (n, *shape)."""
    n = math.prod(shape)
    return torch.eye(n, dtype=torch.complex128 if like.is_complex() else torch.float64).reshape(n, *shape)
