"""What learns functions of a spectrum beside DeepSets: a perceptron on sorted rows, and the training of any net."""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from gnet.errors import ShapeError
from gnet.plugins.point_clouds.sets import FeatureScale, silu_mlp

Batch = tuple[Any, Tensor]
"""Matrices, as one tensor or a list, and targets."""


class SpectrumModule(pl.LightningModule):
    """A net from matrices to standardised targets, trained by the absolute error; the step shrinks where validation stalls.

    Args:
        net: from matrices to (B, targets).
        targets: of training, (num, targets), whose mean and deviation it takes.
        lr, patience: as in ``CoulombSpectra``.

    Example:
        >>> from gnet.plugins.point_clouds import ConjInvariantDeepSet
        >>> net = ConjInvariantDeepSet(8, 3)
        >>> SpectrumModule(net, torch.randn(10, 3))(torch.eye(4).expand(5, 4, 4)).shape
        torch.Size([5, 3])
    """

    def __init__(self, net: nn.Module, targets: Tensor, lr: float = 3e-3, patience: int = 10) -> None:
        super().__init__()
        self.net, self.lr, self.patience = net, lr, patience
        self.scale = FeatureScale(targets.shape[1]).fit(targets)

    def forward(self, X: Any) -> Tensor:
        """Targets in their own units."""
        return self.net(X) * self.scale.deviation + self.scale.mean

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        return nn.functional.l1_loss(self.net(batch[0]), self.scale(batch[1]))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log ``val_loss``."""
        self.log("val_loss", nn.functional.l1_loss(self.net(batch[0]), self.scale(batch[1])), batch_size=len(batch[1]))

    def configure_optimizers(self) -> Any:
        """Adam, and its plateau."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.8, patience=self.patience)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}


class SortedRows(nn.Module):
    """A perceptron on the upper triangle of X with its rows and columns in the order of their lengths, or on its eigenvalues.

    Smaller matrices are filled up with zeros.

    Args:
        size: of the largest matrix.
        hidden, outputs: of the perceptron, which has two hidden layers.
        spectrum: eigenvalues, in the order of their sizes, in place of entries.

    Shapes:
        X: (B, n, n), n <= size, or a sequence of matrices of different sizes    returns: (B, outputs)

    Raises:
        ShapeError: no square matrices, or larger ones.

    Example:
        >>> SortedRows(5, 8, 3)([torch.eye(5), torch.eye(2)]).shape
        torch.Size([2, 3])
    """

    def __init__(self, size: int, hidden: int, outputs: int, spectrum: bool = False) -> None:
        super().__init__()
        self.size, self.spectrum = size, spectrum
        channels = size if spectrum else size * (size + 1) // 2
        self.scale = FeatureScale(channels)
        self.out = silu_mlp(channels, hidden, hidden, outputs)

    def features(self, X: Tensor | Sequence[Tensor]) -> Tensor:
        """What the perceptron sees, (B, channels)."""
        X = self._filled(X) if isinstance(X, Tensor) else torch.stack([self._filled(each) for each in X])
        if self.spectrum:
            values = torch.linalg.eigvalsh(X)
            return values.gather(-1, values.abs().argsort(-1, descending=True))
        order = X.norm(dim=-1).argsort(-1, descending=True)
        rows = X.gather(-2, order[..., None].expand_as(X))
        ordered = rows.gather(-1, order[..., None, :].expand_as(X))
        i, j = torch.triu_indices(self.size, self.size)
        return ordered[..., i, j]

    def _filled(self, X: Tensor) -> Tensor:
        if X.ndim < 2 or X.shape[-1] != X.shape[-2] or X.shape[-1] > self.size:
            raise ShapeError(f"expected matrices (..., n, n) with n <= {self.size}, got {tuple(X.shape)}")
        return nn.functional.pad(X, (0, self.size - X.shape[-1]) * 2)

    def fit_scales(self, X: Tensor | Sequence[Tensor]) -> "SortedRows":
        """Standardise by these matrices."""
        self.scale.fit(self.features(X))
        return self

    def forward(self, X: Tensor | Sequence[Tensor]) -> Tensor:
        """Outputs of matrices (B, n, n)."""
        return self.out(self.scale(self.features(X)))
