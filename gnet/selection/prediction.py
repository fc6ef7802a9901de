"""What a fit among the maps of a group will have at new inputs, from the samples it was fitted to."""

import math

import torch
from torch import Tensor

from gnet.theory.solvers import Solver

LEAST_FREEDOM = 8
"""Degrees of freedom of the errors, in each system, from which the noise is known to half of itself (one standard error)."""


def predicted_risk(solver: Solver, x: Tensor, errors: Tensor, *, share: float = 1.0, has_offset: bool = True) -> float:
    """Mean squared error of one entry of y, the noise included, that least squares in a group is to have at new inputs.

    Such a fit falls into systems with no weight in common, one for each irreducible representation (of a cluster group: cluster
    means, and the deviations within each cluster). A system of R rows and M inputs leaves errors of variance s^2, estimated by
    their squares over R - M, and has s^2 (1 + M / (R - M - 1)) at new inputs, because E (X^T X)^-1 is that of an inverse Wishart
    matrix. Mallows' estimate has s^2 (1 + M / R), the risk at the inputs that were fitted, which is far less where R is not much
    more than M.

    Unbiased for normal inputs that the group leaves as they are in distribution, if the truth has the symmetry; what it has
    beyond the symmetry counts as noise, which is exact for the means of clusters, and nearly so for deviations. Of other inputs,
    and where targets were measured in part (each row then counts by the ``share`` of them), it is an approximation.

    Args:
        solver: of the group.
        x: inputs less their fixed means, as they were fitted.
        errors: of the fit, 0 where a target does not count.
        share: of the targets that count.
        has_offset: whether an offset was fitted.

    Shapes:
        x: (n, N, C)    errors: (n, N, C'), or (n, C') of invariant numbers    returns: NaN where the rows are too few

    References:
        Hocking (1976), doi:10.2307/2529336, the criterion S_p; Rosset and Tibshirani (2020), doi:10.1080/01621459.2018.1424632,
        on fixed and random inputs.

    Example:
        >>> from gnet.theory.solvers import Plain
        >>> predicted_risk(Plain(), torch.ones(12, 1, 1), torch.ones(12, 1, 1), has_offset=False)  # 12 / 11 (1 + 1 / 10)
        1.2
    """
    total, n = 0.0, len(x) * share
    for block in solver.blocks(x, errors):
        offset = 1 if has_offset and block.is_fixed else 0
        rows, inputs = n * block.dim - offset, int(torch.linalg.matrix_rank(block.inputs))
        left = rows - inputs
        # The mean of an inverse Wishart matrix, real, complex or quaternionic, in real rows and inputs.
        spread = left - 2 + block.field
        if spread <= 0 or left * block.errors.shape[1] < LEAST_FREEDOM:
            return math.nan
        noise = float(block.errors.square().sum()) / left
        total += block.dim * noise * (1 + inputs / spread) * (1 + offset / n)
    return total / errors[0].numel()
