"""Approximately equivariant targets whose rate can be computed: polynomial filters of a graph, and nets made of its shift."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from gnet.errors import ShapeError
from gnet.graphs.partition import Partition
from gnet.groups.base import NodeGroup
from gnet.theory.checks import as_float64, check_non_negative, check_positive, check_whole
from gnet.theory.coarsening import adjacency, coarse_approximation
from gnet.theory.graph_gap import Target
from gnet.theory.linear_maps import split_map

if TYPE_CHECKING:
    from torch_geometric.data import Data


def polynomial_filter(graph: "Data | ArrayLike | Tensor", coefficients: ArrayLike | Tensor) -> Tensor:
    """The map x -> sum_r A^r x H_r, dense: y_i = sum_r sum_j (A^r)_ij x_j H_r.

    Shapes:
        coefficients: (R,) for one channel, or (R, C, C'), from power 0 on    returns: (N, C', N, C), receiver first

    Units: those of y over those of x.

    Raises:
        ShapeError: coefficients of another shape, or a matrix that is not square.
        GraphError: impossible edges.
        DataError: entries that are NaN or infinite.

    References:
        Defferrard, Bresson and Vandergheynst (2016), arXiv:1606.09375, for filters that are polynomials of a graph's matrix.

    Example:
        >>> polynomial_filter([[0.0, 1.0], [1.0, 0.0]], [1.0, 0.5]).reshape(2, 2)
        tensor([[1.0000, 0.5000],
                [0.5000, 1.0000]], dtype=torch.float64)
    """
    shift, weights = adjacency(graph), _coefficients(coefficients)
    power = torch.eye(len(shift), dtype=torch.float64)
    total = torch.einsum("ij,co->iojc", power, weights[0])
    for weight in weights[1:]:
        power = power @ shift
        total = total + torch.einsum("ij,co->iojc", power, weight)
    return total


def filter_error(
    graph: "Data | ArrayLike | Tensor", group: NodeGroup, coefficients: ArrayLike | Tensor, *, sigma_x: float = 1.0
) -> float:
    """||f_lost||: the distance of a polynomial filter from the maps of a group, exactly, for white inputs.

    Args:
        sigma_x: standard deviation of the entries of the inputs.

    Shapes:
        coefficients: as in ``polynomial_filter``

    Units: those of the outputs.

    Raises:
        ShapeError: a group on other nodes, and as ``polynomial_filter``.
        GroupError: no group of nodes.
        ConfigError: sigma_x <= 0 or not finite.
        GraphError, DataError: as ``polynomial_filter``.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, for approximately equivariant targets.

    Example:
        >>> path = [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
        >>> filter_error(path, ClusterGroup(Partition([0, 1, 0])), [1.0, 1.0])
        0.0
    """
    check_positive(sigma_x=sigma_x)
    return sigma_x * float(split_map(polynomial_filter(graph, coefficients), group).lost.norm())


def filter_difference(
    graph: "Data | ArrayLike | Tensor",
    partition: Partition,
    coefficients: ArrayLike | Tensor,
    *,
    target: Target = "blowup",
    sigma_x: float = 1.0,
) -> float:
    """||f - f^||: the distance of a polynomial filter from the same filter of the coarsened graph, which is the group's.

    At least ``filter_error`` for the cluster group.

    Args:
        target: as in ``coarse_approximation``.
        sigma_x: standard deviation of the entries of the inputs.

    Shapes:
        coefficients: as in ``polynomial_filter``

    Units: those of the outputs.

    Raises:
        PartitionError: a partition of another number of nodes.
        ConfigError: an unknown target, sigma_x <= 0 or not finite.
        ShapeError, GraphError, DataError: as ``polynomial_filter``.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, for the filter of the coarsened graph.

    Example:
        >>> filter_difference([[0.0, 1.0], [1.0, 0.0]], Partition([0, 0]), [1.0, 1.0])
        1.0
    """
    check_positive(sigma_x=sigma_x)
    shift = adjacency(graph)
    coarse = coarse_approximation(shift, partition, target)
    return sigma_x * float((polynomial_filter(shift, coefficients) - polynomial_filter(coarse, coefficients)).norm())


def filter_bound(
    graph: "Data | ArrayLike | Tensor",
    partition: Partition,
    coefficients: ArrayLike | Tensor,
    *,
    target: Target = "blowup",
    sigma_x: float = 1.0,
) -> float:
    """The bound sigma_x sum_r r ||H_r||_F ||A||_op^(r - 1) ||A - A^||_F on both, from two numbers of the graph.

    Divided by the coarsening error it is the slope of the filter's equivariance rate, which ``equivariance_rate`` gives.

    Args:
        target: as in ``coarse_approximation``.
        sigma_x: standard deviation of the entries of the inputs.

    Shapes:
        coefficients: as in ``polynomial_filter``

    Units: those of the outputs.

    Raises:
        PartitionError, ConfigError, ShapeError, GraphError, DataError: as ``filter_difference``.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, for the notion of an equivariance rate.

    Example:
        >>> filter_bound([[0.0, 1.0], [1.0, 0.0]], Partition([0, 0]), [1.0, 1.0])
        1.0
    """
    shift = adjacency(graph)
    gap = float((shift - coarse_approximation(shift, partition, target)).norm())
    return equivariance_rate(shift, coefficients, sigma_x=sigma_x) * gap / len(shift)


def equivariance_rate(graph: "Data | ArrayLike | Tensor", coefficients: ArrayLike | Tensor, *, sigma_x: float = 1.0) -> float:
    """The slope kappa(e) / e of a polynomial filter: its distance from the maps of a cluster group is at most that times e.

    e is the coarsening error of the partition in Frobenius norm over N, so the bound holds for every partition at once.

    Returns:
        sigma_x N sum_r r ||H_r||_F ||A||_op^(r - 1)

    Shapes:
        coefficients: as in ``polynomial_filter``

    Units: those of the outputs over those of the edge weights.

    Raises:
        ConfigError: sigma_x <= 0 or not finite.
        ShapeError, GraphError, DataError: as ``polynomial_filter``.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, for the notion of an equivariance rate; the constant follows by
        telescoping A^r - A^^r.

    Example:
        >>> round(equivariance_rate([[0.0, 1.0], [1.0, 0.0]], [1.0, 0.5, 0.25]), 9)
        2.0
    """
    check_positive(sigma_x=sigma_x)
    shift, weights = adjacency(graph), _coefficients(coefficients)
    norm = float(torch.linalg.matrix_norm(shift, 2))
    terms = (power * float(weight.norm()) * norm ** (power - 1) for power, weight in enumerate(weights) if power)
    return sigma_x * len(shift) * math.fsum(terms)


def cut_filter_bound(power: int, largest: float, cut: float) -> float:
    """The bound 4 r a^(r - 1) ||A - A^||_cut on ||(S^r - S^^r) x||_1 / N, with S = A / N, |x| <= 1 and |A_ij| <= a.

    Args:
        power: r >= 1.
        largest: a.
        cut: the cut norm, over N^2.

    Shapes:
        power, largest, cut: numbers

    Units: those of the edge weights to the power r.

    Raises:
        ConfigError: a power that is no whole number >= 1, norms that are negative or not finite.

    References:
        The cut norm bounds sums over subsets, and any x in [-1, 1]^N is a mixture of signs (Lovasz 2012, Large Networks and
        Graph Limits, section 8.1).

    Example:
        >>> cut_filter_bound(2, 1.0, 0.046875)
        0.375
    """
    check_whole(1, power=power)
    check_non_negative(largest=largest, cut=cut)
    return 4 * power * largest ** (power - 1) * cut


def propagated_error(
    x: ArrayLike | Tensor,
    shift: ArrayLike | Tensor,
    coarse_shift: ArrayLike | Tensor,
    layers: Sequence[tuple[ArrayLike | Tensor, ArrayLike | Tensor]],
    act: Callable[[Tensor], Tensor] = torch.relu,
) -> Tensor:
    """How far the net X -> act(S X U + X V) can be from the same net on the coarsened graph, for each input.

    d_(t + 1) <= ||S - S^|| ||X_t||_F ||U|| + (||S^|| ||U|| + ||V||) d_t with operator norms; the states X_t are those of the net
    itself. Its root mean square over inputs that the group leaves as they are bounds the net's distance from the group.

    Args:
        act: 1-Lipschitz, as relu, tanh and the absolute value are.

    Shapes:
        x: (B, N, C)    shift, coarse_shift: (N, N)    layers: pairs (U, V) of (C, C')    returns: (B,)

    Units: those of the net's outputs.

    Raises:
        ShapeError: shapes that do not fit.
        DataError: entries that are NaN or infinite.

    References:
        Ruiz, Chamon and Ribeiro (2020), arXiv:2006.03548, for nets on a graph and on its limit; here with operator norms of both
        graphs, by the triangle inequality in each layer.

    Example:
        >>> path = adjacency([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
        >>> coarse = coarse_approximation(path, Partition([0, 0, 1]))
        >>> propagated_error(torch.ones(1, 3, 1), path, coarse, [([[0.5]], [[1.0]])])
        tensor([1.1830], dtype=torch.float64)
    """
    one, other, state = adjacency(shift), adjacency(coarse_shift), as_float64(x)
    if one.shape != other.shape or state.ndim != 3 or state.shape[1] != len(one):
        raise ShapeError(
            f"expected x (B, N, C) and two shifts (N, N), got {tuple(state.shape)}, {tuple(one.shape)}, {tuple(other.shape)}"
        )
    gap, norm = (float(torch.linalg.matrix_norm(each, 2)) for each in (one - other, other))
    error = torch.zeros(len(state), dtype=torch.float64)
    for number, (u, v) in enumerate(layers):
        mixed, plain = as_float64(u), as_float64(v)
        if mixed.shape != plain.shape or mixed.ndim != 2 or len(mixed) != state.shape[2]:
            raise ShapeError(
                f"layer {number}: expected U and V of shape ({state.shape[2]}, C'), "
                f"got {tuple(mixed.shape)} and {tuple(plain.shape)}"
            )
        u_norm, v_norm = (float(torch.linalg.matrix_norm(each, 2)) for each in (mixed, plain))
        error = gap * state.flatten(1).norm(dim=1) * u_norm + (norm * u_norm + v_norm) * error
        state = act(one @ state @ mixed + state @ plain)
    return error


def _coefficients(coefficients: ArrayLike | Tensor) -> Tensor:
    values = as_float64(coefficients)
    if values.ndim not in (1, 3) or not len(values):
        raise ShapeError(f"expected coefficients (R,) or (R, C, C'), from power 0 on, got {tuple(values.shape)}")
    return values if values.ndim == 3 else values[:, None, None]
