"""Fewer samples than inputs: least squares of least norm, with and without the average over a group."""

import torch

from gnet.errors import GroupError
from gnet.groups.base import NodeGroup
from gnet.orbits import PairOrbits
from gnet.theory.linear_maps import Output, Split

LARGEST_SUM = 128
"""Nodes up to which the sum over pairs of pairs is taken that maps of any form need."""


def least_norm_gap(split: Split, group: NodeGroup, n: int, output: Output, signal: float, noise: float) -> float:
    """The expected risk of the solution of least norm less that of its average, for n < p - 1 and white inputs.

    The fit is P Theta plus noise, P the projection onto a random n-dimensional subspace, for which
    E[P A P] = alpha A + beta (A^T + tr(A) I).

    Args:
        signal: sigma_x^2.
        noise: sigma_xi^2.

    Raises:
        GroupError: maps of more than ``LARGEST_SUM`` nodes that are not the group's.

    References:
        Elesedy and Zaidi (2021), arXiv:2102.10333, theorems 8 and 13, for maps that are the group's.
    """
    p = split.in_dim
    beta = n * (p - n) / (p * (p - 1) * (p + 2))
    alpha = (n / p) ** 2 - 2 * beta / p
    whole, kept, lost = (float(each.square().sum()) for each in (split.whole, split.kept, split.lost))
    if output == "invariant":
        transposed, traces = kept, whole * split.dim
    else:
        transposed, traces = _group_sums(split, group)
    averaged = alpha * kept + beta * (transposed + traces)  # E ||average over the group of P Theta||^2
    signal = signal * (n / p * (whole - 2 * lost) - averaged)
    return signal + noise * split.lost_dim * n / (p * (p - n - 1))


def _group_sums(split: Split, group: NodeGroup) -> tuple[float, float]:
    """E_g tr(Theta g^-1 Theta^T g^-1) and E_g tr(g) tr(Theta^T Theta g), from pair orbits alone.

    A random element maps the pair (j, l) to each pair of its orbit with the same probability.
    """
    size = group.degree
    orbits = PairOrbits.of(group)
    labels = orbits.labels()
    share = 1 / orbits.orbit_sizes.double()
    theta = split.whole.reshape(size, -1, size, split.in_dim // size)  # (receiver, C', sender, C)
    gram = torch.einsum("iajc,kajc->ik", theta, theta)
    fixed = torch.zeros(size, size, dtype=torch.float64)  # E[tr(g) 1(g moves i to k)] = sum over m of P((m, i) -> (m, k))
    for node in range(size):
        same = labels[node][:, None] == labels[node]
        fixed += same * share[labels[node]]
    traces = float((fixed * gram).sum()) * theta.shape[3]
    if split.is_exact:
        # g^-1 Theta = Theta g^-1, so that the first sum is that of tr(Theta Theta^T g^2).
        squares = torch.zeros(size, size, dtype=torch.float64)  # P(g^2 moves i to k) = sum over m of P((i, m) -> (m, k))
        for node in range(size):
            same = labels[:, node][:, None] == labels[node]
            squares += same * share[labels[node]]
        return float((squares * gram).sum()), traces
    if size > LARGEST_SUM:
        raise GroupError(
            f"with fewer samples than inputs, maps of more than {LARGEST_SUM} nodes must be the group's, got {size} nodes; "
            "average the map first, or simulate"
        )
    total = 0.0
    by_sender = theta.permute(0, 2, 1, 3)  # (receiver, sender, C', C)
    for sender in range(size):  # of Theta[i, j] and Theta[k, l]: g moves the pair (j, k) to (l, i)
        left = by_sender[:, sender]  # (i, C', C) for j = sender
        weights = (labels.mT[:, None, :] == labels[sender][None, :, None]) * share[labels[sender]][None, :, None]  # (i, k, l)
        total += float(torch.einsum("iac,ikl,klac->", left, weights, by_sender))
    return total, traces
