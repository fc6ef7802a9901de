"""Inputs that the group does not leave as they are: the nearest equivariant map is then another one than the average."""

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from gnet.errors import ConfigError, ShapeError
from gnet.groups.base import NodeGroup
from gnet.orbits import PairOrbits
from gnet.theory.checks import as_float64
from gnet.theory.linear_maps import TOLERANCE, Output, Split, split_map

LARGEST_SYSTEM = 4096
"""Unknowns per output channel up to which the normal equations are solved."""
LARGEST_BASIS = 2**28
"""Numbers in a dense basis of the maps."""


def weighted_split(
    theta: ArrayLike | Tensor, group: NodeGroup, covariance: ArrayLike | Tensor, output: Output = "equivariant"
) -> Split:
    """Cut a map into the nearest map of the group, in the norm E ||f(x)||^2 of the inputs, and the rest.

    Averaging over the group is the orthogonal projection only if the group leaves the covariance as it is; for other inputs the
    average is equivariant, but not the nearest. The nearest solves one system of pair orbits times input channels for each
    output channel.

    Shapes:
        theta: as in ``split_map``    covariance: (N C, N C), nodes slow, channels fast
        kept, lost of the result: orthogonal in the norm of the inputs

    Units: those of theta.

    Raises:
        ShapeError: shapes that do not fit, or a covariance that is not symmetric and positive definite.
        ConfigError: more than 4096 unknowns, an unknown output.
        GroupError: no group of nodes.
        DataError: entries that are NaN or infinite.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, assume inputs that the group keeps; this is what takes the place of the
        average where it does not.

    Example:
        >>> parts = weighted_split([1.0, 3.0], SymmetricGroup(2), [[3.0, 0.0], [0.0, 1.0]], "invariant")
        >>> parts.kept
        tensor([[1.5000, 1.5000]], dtype=torch.float64)
    """
    plain = split_map(theta, group, output)
    values = as_float64(covariance)
    if values.shape != (plain.in_dim, plain.in_dim) or not torch.allclose(values, values.mT):
        raise ShapeError(f"expected a symmetric covariance ({plain.in_dim}, {plain.in_dim}), got {tuple(values.shape)}")
    if float(torch.linalg.eigvalsh(values)[0]) <= TOLERANCE * float(values.diagonal().max()):
        raise ShapeError("expected a positive definite covariance; leave inputs out that depend on others")
    size, channels = group.degree, plain.in_dim // group.degree
    if output == "invariant":
        basis = _spread(torch.nn.functional.one_hot(group.node_orbits().labels).double().mT[:, None, :], channels)
    else:
        labels = PairOrbits.of(group).labels()
        count = int(labels.max()) + 1
        if count * channels > LARGEST_SYSTEM or count * channels**2 * size**2 > LARGEST_BASIS:
            raise ConfigError(
                f"expected at most {LARGEST_SYSTEM} unknowns and a basis of {LARGEST_BASIS} numbers, got {count} pair orbits of "
                f"{channels} channels on {size} nodes; take a larger group"
            )
        basis = _spread(torch.nn.functional.one_hot(labels, count).double().permute(2, 0, 1), channels)
    rows = plain.out_dim // basis.shape[1]  # output channels
    whole = plain.whole.reshape(basis.shape[1], rows, -1)  # (receivers, C', inputs)
    moved = torch.einsum("brp,pq->brq", basis, values)
    gram = torch.einsum("brp,crp->bc", moved, basis)
    weights = torch.linalg.solve(gram, torch.einsum("brp,rop->bo", moved, whole))
    kept = torch.einsum("bo,brp->rop", weights, basis).reshape(plain.kept.shape)
    return Split(kept, plain.whole - kept, plain.dim)


def _spread(indicators: Tensor, channels: int) -> Tensor:
    """A basis for one output channel: (orbits, receivers, N) to (orbits C, receivers, N C)."""
    unit = torch.eye(channels, dtype=torch.float64)
    return torch.einsum("brn,cd->bcrnd", indicators, unit).flatten(3).flatten(0, 1)
