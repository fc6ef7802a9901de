"""The constraints whose null space the invariant tensors are: a generator leaves them, the Lie algebra sends them to zero."""

from typing import TypeAlias

import torch
from torch import Tensor

from gnet.groups import GeneratedGroup
from gnet.groups.matrix import orthonormal
from gnet.plugins.tensors.reps import Simple, derived

ROUNDING = 1e-9
"""Distance of a generator from the identity that counts as none."""

Moves: TypeAlias = tuple[list[tuple[Tensor, float]], Tensor]
"""Generators with weights, and a basis of the Lie algebra."""


def constraints(group: GeneratedGroup) -> Moves:
    """Generators with the weights of their constraints, and an orthonormal basis of the Lie algebra.

    What an invariant is does not depend on the lengths of a basis, nor on how far a generator moves; whether a number counts as
    zero would. Elements next to the identity have a larger weight, 2 / |g - 1|, up to where g - 1 is rounding.

    Shapes:
        returns: pairs ((d, d), weight), and (D, d, d)

    Example:
        >>> from gnet.plugins.tensors import C
        >>> [round(weight) for _, weight in constraints(C(1000))[0]]
        [318]
    """
    unit, weighted = group.identity, []
    for g in group.generators:
        size = float(torch.linalg.matrix_norm(g - unit, 2))
        if size > ROUNDING:
            weighted.append((g, 2.0 / size))
    return weighted, orthonormal(group.lie_algebra) if group.lie_dim else group.lie_algebra


def gradient(moves: Moves, part: Simple, W: Tensor) -> tuple[Tensor, float]:
    """C^* C W and |C W|^2 / 2, factor by factor: O(r rank d^(rank + 1)) for each constraint.

    Shapes:
        W: (n, r)    returns: (n, r) and a number

    Example:
        >>> from gnet.plugins.tensors import SO
        >>> gradient(constraints(SO(2)), Simple(2), torch.eye(2).double().reshape(4, 1))[1]
        0.0
    """
    rows, total, loss = W.mT, torch.zeros_like(W.mT), 0.0
    weighted, algebra = moves
    for g, weight in weighted:
        residual = weight * (part.act(g, rows) - rows)
        # The transpose of g^-T on dual factors is what g^* does to them, and likewise for V.
        total = total + weight * (part.act(g.mH, residual) - residual)
        loss += float(residual.abs().square().sum()) / 2
    for A in algebra:
        residual = derived(part, A, rows)
        total = total + derived(part, A.mH, residual)
        loss += float(residual.abs().square().sum()) / 2
    return total.mT, loss
