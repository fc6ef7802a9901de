"""Is it a rotation? How well one rotation of embeddings does what an augmentation does, and how far from invariance that is."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from gnet.errors import ShapeError
from gnet.plugins.care.losses import check_unit, wide, without_autocast

ROUNDING = 64.0
"""Two embeddings count as the same where they differ by less than so many roundings of their size."""


class Wahba(NamedTuple):
    """Solution of Wahba's problem.

    Attributes:
        error: the smallest Frobenius norm of R F - F_a, (...); over sqrt(n) it does not grow with the number of samples.
        rotation: R, (..., D, D): row i of the first embeddings times R^T is nearest to row i of the others.
    """

    error: Tensor
    rotation: Tensor


@without_autocast
def wahba(F: Tensor, Fa: Tensor, special: bool = True) -> Wahba:
    """The rotation that takes embeddings nearest to those of augmented samples: min over R of |R F - F_a|.

    From the singular vectors of F_a^T F; with ``special=False`` mirrors are allowed, too.

    Shapes:
        F, Fa: (..., n, D), a row for each sample    returns: (...) and (..., D, D)

    Raises:
        ShapeError: other shapes.

    References:
        Gupta et al. (2024), arXiv:2306.13924, section 4; Wahba (1965), SIAM Review 7, 409.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
        >>> quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
        >>> found = wahba(points, points @ quarter.mT)
        >>> bool(found.error < 1e-12), torch.allclose(found.rotation, quarter)
        (True, True)
    """
    _check_pair(F, Fa)
    F, Fa = wide(F), wide(Fa)
    u, _, vh = torch.linalg.svd(Fa.mT @ F)
    if special:
        sign = (torch.linalg.det(u) * torch.linalg.det(vh)).sign()
        u = torch.cat([u[..., :-1], u[..., -1:] * sign[..., None, None]], -1)
    rotation = u @ vh
    return Wahba((F @ rotation.mT - Fa).flatten(-2).norm(dim=-1), rotation)


def gamma(F: Tensor, Fa: Tensor) -> Tensor:
    """Relative equivariance: how much distances change, over how far embeddings move; small is equivariance without invariance.

    Mean over pairs of different samples of (|Fa_i - Fa_j|^2 - |F_i - F_j|^2)^2 / (|Fa_i - F_i|^2 + |Fa_j - F_j|^2)^2. Pairs that
    do not move (beyond rounding) are left out; where none moves, as under an invariant function, gamma is undefined: NaN.

    Shapes:
        F, Fa: (..., n, D)    returns: (...)

    Raises:
        ShapeError: other shapes, or fewer than two samples.

    References:
        Gupta et al. (2024), arXiv:2306.13924, section 4.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> gamma(points, -points), gamma(points, points)
        (tensor(0.), tensor(nan))
    """
    total, count = gamma_sums(F, Fa)
    return torch.where(count > 0, total / count.clamp(min=1), math.nan)


@without_autocast
def gamma_sums(F: Tensor, Fa: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the ratios of ``gamma`` and the number of pairs for which they are defined.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> gamma_sums(points, -points)
        (tensor(0.), tensor(2))
    """
    _check_pair(F, Fa)
    if F.shape[-2] < 2:
        raise ShapeError(f"expected two samples or more, which make pairs, got {F.shape[-2]}")
    rounding = ROUNDING * torch.finfo(F.dtype).eps  # of the embeddings as they came
    F, Fa = wide(F), wide(Fa)
    stretched = _square_distances(Fa) - _square_distances(F)
    moved = (Fa - F).square().sum(-1)
    both = moved[..., :, None] + moved[..., None, :]
    size = torch.maximum(F.square().sum(-1).amax(-1), Fa.square().sum(-1).amax(-1))[..., None, None]
    defined = both > rounding**2 * size
    defined = defined & ~torch.eye(F.shape[-2], dtype=torch.bool, device=F.device)
    # where() twice: a division that is not wanted must not leave NaN in the gradient either.
    ratios = torch.where(defined, (stretched / torch.where(defined, both, 1)).square(), 0)
    return ratios.sum((-2, -1)), defined.sum((-2, -1))


class _Mean(Metric):
    """A mean of sums in float64 and numbers of terms, over batches and processes; NaN before any."""

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("total", torch.zeros((), dtype=torch.float64), "sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), "sum")

    def add(self, total: Tensor, count: int | Tensor) -> None:
        """Count the terms of a batch."""
        self.total += total.double()
        self.count += count

    def compute(self) -> Tensor:
        """The mean of all that was added; NaN before any update."""
        return self.total / self.count if self.count else torch.full_like(self.total, math.nan)


class WahbaMetric(_Mean):
    """Mean of ``wahba(F, Fa).error`` / sqrt(n) over all augmentations: 0 is exact equivariance, invariance included.

    Args:
        special: rotations alone, or mirrors too.
        options: of ``torchmetrics.Metric``.

    Example:
        >>> metric, z = WahbaMetric(), torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=-1)
        >>> metric.update(z, z[:, [1, 2, 0]])
        >>> bool(metric.compute() < 1e-14)
        True
    """

    def __init__(self, special: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.special = special

    def update(self, F: Tensor, Fa: Tensor) -> None:
        """Add augmentations, each shared by all its samples: (..., n, D)."""
        errors = wahba(F.double(), Fa.double(), self.special).error / math.sqrt(F.shape[-2])
        self.add(errors.sum(), errors.numel())


class GammaMetric(_Mean):
    """``gamma`` over all pairs of all augmentations; NaN where it is undefined for every one.

    Args:
        options: of ``torchmetrics.Metric``.

    Example:
        >>> metric = GammaMetric()
        >>> metric.update(torch.eye(3), -torch.eye(3))
        >>> metric.compute()
        tensor(0., dtype=torch.float64)
    """

    def update(self, F: Tensor, Fa: Tensor) -> None:
        """Add augmentations, each shared by all its samples: (..., n, D)."""
        total, count = gamma_sums(F, Fa)  # in the dtype of the embeddings, whose rounding decides what is defined
        self.add(total.sum(), count.sum())


class UniformityMetric(_Mean):
    """``uniformity`` over batches: the log of the mean over all pairs within a batch.

    Args:
        options: of ``torchmetrics.Metric``.

    Example:
        >>> metric = UniformityMetric()
        >>> metric.update(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        >>> metric.compute()
        tensor(0.4338, dtype=torch.float64)
    """

    def update(self, z: Tensor) -> None:
        """Add a batch of unit rows, (n, D)."""
        check_unit(z)
        self.add((z.double() @ z.double().mT).exp().sum(), len(z) ** 2)

    def compute(self) -> Tensor:
        """The log of the mean; NaN before any update."""
        return super().compute().log()


def _square_distances(z: Tensor) -> Tensor:
    """Without products, which cancel where points are near; (..., n, n)."""
    return torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist").square()


def _check_pair(F: Tensor, Fa: Tensor) -> None:
    if F.shape != Fa.shape or F.ndim < 2 or not F.is_floating_point() or not Fa.is_floating_point():
        found = f"{tuple(F.shape)} of {F.dtype} and {tuple(Fa.shape)} of {Fa.dtype}"
        raise ShapeError(f"expected F and Fa of shape (..., n, D) of real floating numbers, got {found}")
