"""Invariant models of symmetric matrices and of clouds: DeepSets of the few invariants."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, ShapeError
from gnet.plugins.point_clouds.invariants import CloudInvariants, MatrixInvariants, cloud_invariants, matrix_entries
from gnet.plugins.point_clouds.sets import DeepSet, FeatureScale, Pooling, ScalarExpansion, silu_mlp


class ConjInvariantDeepSet(nn.Module):
    """MLP[DeepSet(diagonal), DeepSet(entries above it), MLP(their mixed sum)]: an invariant function of symmetric matrices.

    It tells almost all orbits of X -> P X P^T apart if its parts are wide enough; what it misses stands at
    ``matrix_invariants``. Of a cloud give the Gram matrix.

    Args:
        hidden_channels: h of the parts.
        out_channels: of the outputs.
        aggr: "mean" or "sum" over sets.
        expansion: theta of a ``ScalarExpansion`` of every standardised entry; None leaves entries as they are.
        mixed: False leaves the mixed sum out, which then also forgets which diagonal entry belongs to which row.

    Shapes:
        X: (..., n, n), or a sequence of matrices of different sizes    returns: (..., out_channels)

    Raises:
        ConfigError: numbers below one, or another aggr.
        ShapeError: matrices that are not symmetric.

    References:
        Blum-Smith, Huang, Cuturi and Villar (2024), arXiv:2405.08097.

    Example:
        >>> f = ConjInvariantDeepSet(16, 2)
        >>> X = torch.eye(4).expand(7, 4, 4)
        >>> f(X).shape, f([torch.eye(3), torch.eye(5)]).shape
        (torch.Size([7, 2]), torch.Size([2, 2]))
    """

    def __init__(
        self,
        hidden_channels: int,
        out_channels: int,
        aggr: Pooling = "mean",
        expansion: float | None = None,
        mixed: bool = True,
    ) -> None:
        super().__init__()
        if out_channels < 1:
            raise ConfigError(f"expected out_channels >= 1, got {out_channels}")
        width = 1 if expansion is None else ScalarExpansion.SIZE
        self.scales = nn.ModuleList([FeatureScale(1) for _ in range(3)])
        self.expansion: nn.Module = nn.Identity() if expansion is None else ScalarExpansion(expansion)
        self.diagonal = DeepSet(width, hidden_channels, aggr)
        self.off_diagonal = DeepSet(width, hidden_channels, aggr)
        self.mixed = silu_mlp(width, hidden_channels, hidden_channels) if mixed else None
        self.out = silu_mlp((3 if mixed else 2) * hidden_channels, hidden_channels, out_channels)

    def invariants(self, X: Tensor) -> MatrixInvariants:
        """What the net sees of matrices (..., n, n), unsorted; a training computes it once."""
        return matrix_entries(X)

    def fit_scales(self, X: Tensor | Sequence[Tensor]) -> "ConjInvariantDeepSet":
        """Standardise entries by these matrices from now on."""
        found, _ = _joined(X) if not isinstance(X, Tensor) else (matrix_entries(X), None)
        for scale, values in zip(self.scales, found, strict=True):
            scale.fit(values.reshape(-1, 1))  # type: ignore[operator]
        return self

    def forward(self, X: Tensor | Sequence[Tensor]) -> Tensor:
        """Outputs of matrices."""
        if isinstance(X, Tensor):
            return self.of_invariants(matrix_entries(X))
        return self._of(*_joined(X))

    def of_invariants(self, found: MatrixInvariants) -> Tensor:
        """Outputs from what ``invariants`` or ``matrix_invariants`` returns."""
        return self._of(found, None)

    def _of(self, found: MatrixInvariants, places: "tuple[Tensor, Tensor] | None") -> Tensor:
        diagonal, off_diagonal = (self._seen(each[..., None], part) for part, each in enumerate(found[:2]))
        mixed = self._seen(found.mixed, 2)
        if places is None:
            parts = [self.diagonal(diagonal), self.off_diagonal(off_diagonal)]
        else:
            num = len(found.mixed)
            parts = [self.diagonal(diagonal, places[0], num), self.off_diagonal(off_diagonal, places[1], num)]
        return self.out(torch.cat(parts if self.mixed is None else [*parts, self.mixed(mixed)], -1))

    def _seen(self, values: Tensor, part: int) -> Tensor:
        return self.expansion(self.scales[part](values))


class CloudDeepSet(nn.Module):
    """MLP[MLP(C C^T), DeepSet(rows of V C^T)] of a cloud V and k centroids C of its own: invariant under O(d) and permutations.

    The cost is O(n k) where Gram matrices have O(n^2). Outputs jump where a point changes its cluster; clouds whose clusters are
    not clear, such as symmetric shapes, have centroids that another sample of points moves far.

    Args:
        hidden_channels: h of the parts.
        out_channels: of the outputs.
        k: centroids; the dimension of the points determines almost every cloud.
        aggr: "mean" or "sum" over points.

    Shapes:
        V: (..., n, d)    returns: (..., out_channels)

    Raises:
        ConfigError: numbers below one, or another aggr.
        ShapeError, DegenerateInputError: as ``cloud_invariants``.

    References:
        Blum-Smith, Huang, Cuturi and Villar (2024), arXiv:2405.08097.

    Example:
        >>> CloudDeepSet(16, 8)(torch.randn(7, 20, 3)).shape
        torch.Size([7, 8])
    """

    def __init__(self, hidden_channels: int, out_channels: int, k: int = 3, aggr: Pooling = "mean") -> None:
        super().__init__()
        if min(out_channels, k) < 1:
            raise ConfigError(f"expected out_channels and k >= 1, got {out_channels} and {k}")
        self.k = k
        self.scales = nn.ModuleList([FeatureScale(k * k), FeatureScale(k)])
        self.gram = silu_mlp(k * k, hidden_channels, hidden_channels)
        self.rows = DeepSet(k, hidden_channels, aggr)
        self.out = silu_mlp(2 * hidden_channels, hidden_channels, out_channels)

    def invariants(self, V: Tensor) -> CloudInvariants:
        """What the net sees of clouds (..., n, d); a training computes it once."""
        return cloud_invariants(V, "kmeans", self.k)

    def fit_scales(self, V: Tensor) -> "CloudDeepSet":
        """Standardise products by these clouds from now on."""
        found = self.invariants(V)
        self.scales[0].fit(found.gram.flatten(-2))  # type: ignore[operator]
        self.scales[1].fit(found.rows)  # type: ignore[operator]
        return self

    def forward(self, V: Tensor) -> Tensor:
        """Outputs of clouds."""
        return self.of_invariants(self.invariants(V))

    def of_invariants(self, found: CloudInvariants) -> Tensor:
        """Outputs from what ``invariants`` returns."""
        if found.rows.shape[-1] != self.k:
            raise ShapeError(f"expected invariants of k={self.k} centroids, got {found.rows.shape[-1]}")
        gram = self.gram(self.scales[0](found.gram.flatten(-2)))
        return self.out(torch.cat([gram, self.rows(self.scales[1](found.rows))], -1))


def _joined(matrices: Sequence[Tensor]) -> tuple[MatrixInvariants, tuple[Tensor, Tensor]]:
    """Entries of matrices of different sizes one after the other, (m,), sums (B, 1), and which matrix each entry is of."""
    if not len(matrices):
        raise ShapeError("expected at least one matrix, got none")
    found = [matrix_entries(X) for X in matrices]
    device = found[0].mixed.device
    places = [
        torch.repeat_interleave(
            torch.arange(len(found), device=device), torch.tensor([each[part].shape[-1] for each in found], device=device)
        )
        for part in range(2)
    ]
    diagonal, off_diagonal = (torch.cat([each[part] for each in found]) for part in range(2))
    return MatrixInvariants(diagonal, off_diagonal, torch.stack([each.mixed for each in found])), (places[0], places[1])
