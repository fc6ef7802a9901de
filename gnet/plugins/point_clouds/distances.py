"""A bound on the Gromov-Wasserstein distance of clouds, and a model that learns it from pairs."""

from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from gnet.errors import ConfigError, NonFiniteError, ShapeError
from gnet.plugins.scalars.products import check_vectors


def third_lower_bound(first: Tensor, second: Tensor) -> Tensor:
    """How far two clouds are from isometric, by the distances seen from each point: min over pairings of a mean of squares.

    With the ascending distances s_i of point i to all n points, C_ij = |s_i - s'_j|^2 / n, and the value is the least mean of
    C_(i pi(i)) over permutations pi, found exactly. It is a bound of squares: half its root is Mémoli's third lower bound of the
    2-Gromov-Wasserstein distance under uniform weights, and it is at most the mean of (d_ij - d'_(pi(i) pi(j)))^2 for every pi.
    Clouds that O(d) and permutations relate have 0; others may, too.

    Cost: O(n^3) for each pair; 1600 pairs of 100 points take a few seconds. It has no gradient.

    Shapes:
        first: (A, n, d)    second: (B, n, d')    returns: (A, B), float64

    Units: the square of those of the points.

    Raises:
        ShapeError: other shapes, or clouds of different numbers of points, or of none.
        NonFiniteError: points that are NaN or infinite.

    References:
        Mémoli (2011), Foundations of Computational Mathematics 11, 417.

    Example:
        >>> third_lower_bound(torch.tensor([[[0.0], [2.0]]]), torch.tensor([[[5.0], [5.0]], [[0.0], [-2.0]]]))
        tensor([[2., 0.]], dtype=torch.float64)
    """
    first, second = check_vectors(first, "O").detach(), check_vectors(second, "O").detach()
    if first.ndim != 3 or second.ndim != 3 or first.shape[1] != second.shape[1] or not first.shape[1]:
        raise ShapeError(
            f"expected clouds (A, n, d) and (B, n, d') with one n >= 1, got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    for name, clouds in {"first": first, "second": second}.items():
        if not bool(torch.isfinite(clouds).all()):
            raise NonFiniteError(f"expected finite points in {name}, got NaN or infinity; leave such clouds out")
    rows, columns = sorted_distances(first), sorted_distances(second)
    n = first.shape[1]
    found = torch.zeros(len(first), len(second), dtype=torch.float64)
    for a, row in enumerate(rows):
        costs = (torch.cdist(row, columns) ** 2 / n).cpu().numpy()
        for b, cost in enumerate(costs):
            found[a, b] = float(cost[linear_sum_assignment(cost)].mean())
    return found


def sorted_distances(V: Tensor) -> Tensor:
    """Of each point its distances to all, ascending; the first is 0, to itself: (..., n, d) -> (..., n, n), float64.

    Example:
        >>> sorted_distances(torch.tensor([[0.0], [3.0], [1.0]]))
        tensor([[0., 1., 3.],
                [0., 2., 3.],
                [0., 1., 2.]], dtype=torch.float64)
    """
    V = V.double()
    return torch.cdist(V, V, compute_mode="donot_use_mm_for_euclid_dist").sort(-1).values


class CloudPairs(NamedTuple):
    """All pairs of two lists of clouds, and what is known of each.

    Attributes:
        first, second: what the encoder sees of the clouds: (A, ...) and (B, ...), or tuples of such.
        distance: (A, B).

    Example:
        >>> V, W = torch.randn(2, 4, 3), torch.randn(5, 4, 3)
        >>> CloudPairs(V, W, third_lower_bound(V, W)).distance.shape
        torch.Size([2, 5])
    """

    first: Any
    second: Any
    distance: Tensor


class DistanceModule(pl.LightningModule):
    """a |W (f(v) - f(w))| + b for an encoder f: a distance of clouds, trained on all pairs at once by the mean square error.

    Logged: ``train_loss``.

    Args:
        encoder: a ``ConjInvariantDeepSet``, ``CloudDeepSet``, ``GramGNN``, or any module with ``of_invariants``.
        channels: its outputs.
        lr: of Adam.
        head_lr: of a, b and W; ``lr`` by default.

    Shapes:
        first, second: invariants of A and of B inputs, as ``encoder.invariants`` makes them    returns: (A, B)

    Raises:
        ConfigError: steps that are not positive.

    References:
        Blum-Smith, Huang, Cuturi and Villar (2024), arXiv:2405.08097, on ModelNet40.

    Example:
        >>> from gnet.plugins.point_clouds import CloudDeepSet
        >>> f = CloudDeepSet(8, 4)
        >>> model = DistanceModule(f, 4)
        >>> model(f.invariants(torch.randn(5, 20, 3)), f.invariants(torch.randn(6, 20, 3))).shape
        torch.Size([5, 6])
    """

    def __init__(self, encoder: nn.Module, channels: int, lr: float = 3e-3, head_lr: float | None = None) -> None:
        super().__init__()
        if not min(lr, lr if head_lr is None else head_lr) > 0:
            raise ConfigError(f"expected lr and head_lr > 0, got {lr} and {head_lr}")
        self.encoder, self.metric = encoder, nn.Linear(channels, channels, bias=False)
        self.a, self.b = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))
        self.lr, self.head_lr = lr, lr if head_lr is None else head_lr

    def forward(self, first: Any, second: Any) -> Tensor:
        """Predicted distances of all pairs."""
        one, other = (self.metric(self.encoder.of_invariants(each)) for each in (first, second))  # type: ignore[operator]
        return self.a * torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist") + self.b

    def training_step(self, batch: CloudPairs, batch_idx: int) -> Tensor:
        """The mean square error of all pairs."""
        loss = nn.functional.mse_loss(self(batch.first, batch.second), batch.distance)
        self.log("train_loss", loss, batch_size=1)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, with a step of its own for the head."""
        head = [self.a, self.b, *self.metric.parameters()]
        groups: list[dict[str, Any]] = [{"params": list(self.encoder.parameters())}, {"params": head, "lr": self.head_lr}]
        return torch.optim.Adam(groups, lr=self.lr)
