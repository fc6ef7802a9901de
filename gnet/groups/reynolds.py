"""The average of a linear map over a compact group of matrices, by the invariants of its generators and Lie algebra."""

import torch
from torch import Tensor

from gnet.errors import GroupError, ShapeError
from gnet.groups.base import TRIVIAL_ACTION, Action, Group
from gnet.groups.invariants import action_matrix, commuting, derived_matrix


def reynolds(weight: Tensor, group: Group, action_in: Action | None = None, action_out: Action | None = None) -> Tensor:
    """The average of psi(g)^-1 theta phi(g) over a compact group, of a map of flat signals: exact, nothing is drawn.

    With B a basis of the equivariant maps and C one of the maps that commute with the transposed actions, the average is
    B (C^* B)^-1 C^*. For orthogonal actions B = C, and it is the orthogonal projection.

    Shapes:
        weight: (n', n), or (n,) for one number    returns: the same

    Raises:
        ShapeError: another shape, or one that the actions do not fit.
        GroupError: an infinite group of which neither generators nor a Lie algebra are known.

    References:
        Elesedy and Zaidi (2021), arXiv:2102.10333, for the projection; Finzi, Welling and Wilson (2021), arXiv:2104.09459, for
        the constraints by generators.

    Example:
        >>> from gnet.groups import GeneratedGroup
        >>> turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
        >>> reynolds(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), GeneratedGroup("SO(2)", lie_algebra=[turn]))
        tensor([[ 2.5000, -0.5000],
                [ 0.5000,  2.5000]])
    """
    if weight.ndim not in (1, 2) or not (weight.is_floating_point() or weight.is_complex()):
        raise ShapeError(f"expected a floating map (n', n) or a theta (n,), got {tuple(weight.shape)} of {weight.dtype}")
    theta = weight if weight.ndim == 2 else weight[None]
    before, after = action_in or group.action, (action_out or group.action) if weight.ndim == 2 else TRIVIAL_ACTION
    (m, n), identity = theta.shape, group.identity
    kind = torch.complex128 if identity.is_complex() or weight.is_complex() else torch.float64
    pairs = [(action_matrix(before, g, (n,)), action_matrix(after, g, (m,))) for g in group.generators]
    pairs += [(derived_matrix(before, A, identity, (n,)), derived_matrix(after, A, identity, (m,))) for A in group.lie_algebra]
    if not pairs and group.order() != 1:
        raise GroupError(
            f"{group.name} knows neither generators nor a Lie algebra, so no exact average; wrap the map in a function"
        )
    basis = commuting(pairs, n, m, kind).flatten(1)
    dual = commuting([(a.mH, b.mH) for a, b in pairs], n, m, kind).flatten(1)
    parts = torch.linalg.solve(dual.conj() @ basis.mT, dual.conj() @ theta.to(kind).flatten())
    found = (parts @ basis).reshape(m, n)
    found = found if weight.is_complex() or not found.is_complex() else found.real
    return found.to(weight).reshape(weight.shape)
