"""Invariant tensors by gradient descent: no matrix of the tensor's size is made."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gnet.errors import ConvergenceError
from gnet.groups import GeneratedGroup
from gnet.plugins.tensors.canonical import orthonormal_columns
from gnet.plugins.tensors.constraints import constraints, gradient
from gnet.plugins.tensors.limits import check_held
from gnet.plugins.tensors.reps import Simple

POLISHED = 1e-10
"""Share of the first residual at which a round of conjugate gradients stops."""


@dataclass(frozen=True)
class Descent:
    """Settings of the iterative solver, as in the published code of Finzi, Welling and Wilson (2021), arXiv:2104.09459.

    Attributes:
        step, momentum, max_steps: of gradient descent on |C W|^2 / 2.
        tolerance: |C W| at which it stops.
        cut: singular values of W below it are no directions.
        gap: how much smaller the first value below the cut has to be than the last above.
        start: columns of the first attempt; doubled while all are used.
    """

    step: float = 1e-2
    momentum: float = 0.9
    max_steps: int = 20_000
    tolerance: float = 1e-5
    cut: float = 1e-4
    gap: float = 100.0
    start: int = 10


def descend(group: GeneratedGroup, part: Simple, settings: Descent, generator: torch.Generator | None = None) -> Tensor:
    """Gradient descent on |C W|^2 / 2 for random columns W, the rank by their singular values; C is applied factor by factor.

    O(r rank d^(rank + 1)) per step and constraint. What descent leaves, 1e-5, conjugate gradients take away: the basis is right
    to rounding.

    Raises:
        ConvergenceError: not converged, no step small enough, or no clear gap in the singular values.

    Example:
        >>> from gnet.plugins.tensors import SO
        >>> descend(SO(3), Simple(2), Descent()).shape
        torch.Size([9, 1])
    """
    n = part.size(group.dim)
    columns = settings.start
    # The same tensors at every call: a basis is part of what a net is.
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    while True:
        columns = min(columns, n)
        check_held(group, part, columns)
        found = _descent(group, part, settings, columns, generator)
        u, values, _ = torch.linalg.svd(found, full_matrices=False)
        rank = int((values > settings.cut).sum())
        if rank < columns:
            largest_lost, smallest_kept = float(values[rank]), float(values[rank - 1]) if rank else math.inf
            if smallest_kept < settings.gap * largest_lost:
                raise ConvergenceError(
                    f"descent for {part} of {group.name}: singular values {smallest_kept:.3g} and {largest_lost:.3g} beside "
                    f"the cut {settings.cut:g} are no gap of {settings.gap:g}; lower the tolerance"
                )
            return _polished(u[:, :rank], group, part, settings)
        if columns == n:
            return u
        columns *= 2


def _descent(group: GeneratedGroup, part: Simple, settings: Descent, columns: int, generator: torch.Generator) -> Tensor:
    """(N, columns) with |C W| below the tolerance."""
    n, step, moves = part.size(group.dim), settings.step, constraints(group)
    start = torch.randn(n, columns, dtype=group.dtype, generator=generator) / math.sqrt(n)
    while step >= 1e-4:
        W, speed = start.clone(), torch.zeros_like(start)
        for number in range(settings.max_steps):
            slope, loss = gradient(moves, part, W)
            if math.sqrt(2 * loss) <= settings.tolerance:
                return W
            if not math.isfinite(loss) or (number > 100 and loss > 2e3):
                break
            speed = settings.momentum * speed - step * slope
            W = W + speed
        else:
            raise ConvergenceError(
                f"descent for {part} of {group.name}: |C W| is {math.sqrt(2 * loss):.3g} after {settings.max_steps} steps, "
                f"expected {settings.tolerance:g}; raise max_steps"
            )
        step /= 3
    raise ConvergenceError(f"descent for {part} of {group.name} diverges even with steps of {3 * step:.2g}")


def _polished(basis: Tensor, group: GeneratedGroup, part: Simple, settings: Descent) -> Tensor:
    """Less its part outside of the null space, E with C^* C E = C^* C W, by conjugate gradients, all columns side by side.

    They take about the square root of the number of steps that descent does; of a compact connected group C^* C is a Casimir
    operator, and they take one for each of its few eigenvalues.
    """
    moves = constraints(group)
    for _ in range(2):  # the second takes what rounding has left in the recursion of the first
        residual, _ = gradient(moves, part, basis)
        error, direction = torch.zeros_like(basis), residual
        size = residual.abs().square().sum(0)
        enough = POLISHED**2 * float(size.max()) if basis.shape[1] else 0.0
        for _ in range(settings.max_steps):
            if not bool((size > enough).any()):
                break
            moved, _ = gradient(moves, part, direction)
            along = (direction.conj() * moved).sum(0).real
            step = torch.where(along > 0, size / along, 0.0)  # a column that is done stays
            error, residual = error + step * direction, residual - step * moved
            before, size = size, residual.abs().square().sum(0)
            direction = residual + torch.where(before > 0, size / before, 0.0) * direction
        basis = orthonormal_columns(basis - error)
    return basis
